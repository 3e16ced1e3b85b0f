"""How code would be isolated here: the sandbox's own attempt, of one worker, for a second."""

from scripts.lib.doctor import MISSING, OK, WARN, Finding
from scripts.lib.doctor.setup import Setup


def sandbox(setup: Setup | None) -> list[Finding]:
    """The level that each setting of a task with code gets, and what a better one lacks."""
    if setup is None:
        return [_level("auto", False, on_slurm=False)]
    settings = []
    for name, task in setup.tasks.items():
        wanted = task["verification"]
        if setup.specs[name]["kind"] == "code" and wanted["method"] != "none":
            one = wanted["sandbox"]["level"], wanted["sandbox"]["accept_risk"]
            settings += [one] if one not in settings else []
    if not settings:
        return [Finding(OK, "sandbox", "no task of this config runs a model's code")]
    return [_level(*one, on_slurm=setup.on_slurm) for one in settings]


def _level(level: str, accept_risk: bool, *, on_slurm: bool) -> Finding:
    from scripts.lib.sandbox.levels import FULL

    found, detail = _tried(level, accept_risk)
    if on_slurm:
        detail += " (here; on a compute node it may be otherwise)"
    if found == FULL:
        return Finding(OK, "sandbox", detail)
    remedy = ""
    # What `auto` lacks it has said already.
    if found or level != "auto":
        works, lack = _tried(FULL, False)
        remedy = f"set verification.sandbox.level: auto, {FULL} works here" if works else lack
    return Finding(WARN if found or on_slurm else MISSING, "sandbox", detail, remedy)


def _tried(level: str, accept_risk: bool) -> tuple[str, str]:
    """The level that a sandbox gets, and how it isolates; or nothing, and what it lacks."""
    from scripts.lib.sandbox import Sandbox, SandboxUnavailable

    try:
        with Sandbox(1, level, accept_risk=accept_risk) as opened:
            return opened.level, opened.description
    except SandboxUnavailable as error:
        return "", str(error)
