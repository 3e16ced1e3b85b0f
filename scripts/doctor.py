"""Say what a run with this config would lack on this machine, without starting anything.

    python -m scripts.doctor [--configfile FILE ...] [--workflow-profile FOLDER] [--task NAME]

Takes all options of `snakemake`, and heeds those that name a config or a profile. Prints a line a
finding: `ok`, `warn` (a run works, but worse or with a doubt) or `missing`. Exit status: 1 where
something is missing without which verified rows cannot be made, else 0.

No job, no server, no request that costs, no download. The sandbox tries itself for a second.
"""

import argparse
import os
import threading
from collections.abc import Callable, Iterable
from functools import partial
from pathlib import Path

from scripts.lib.doctor import MISSING, WARN, Finding
from scripts.lib.doctor.disk import disk
from scripts.lib.doctor.endpoint import endpoint
from scripts.lib.doctor.gpus import gpus
from scripts.lib.doctor.hub import hub
from scripts.lib.doctor.isolation import sandbox
from scripts.lib.doctor.packages import packages, python
from scripts.lib.doctor.setup import Setup, read_setup
from scripts.lib.doctor.slurm import slurm
from scripts.lib.errors import UserError

# All look at once, and none is waited for any longer; a name server alone may take half a minute.
PATIENCE = 90.0

Check = Callable[[], Iterable[Finding] | Finding]


def parse(argv: list[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
        allow_abbrev=False,
    )
    parser.add_argument("--configfile", "--configfiles", nargs="+", type=Path, default=[])
    parser.add_argument("--config", "-C", nargs="*", default=[], metavar="KEY=VALUE")
    parser.add_argument("--workflow-profile", "--profile", type=Path)
    parser.add_argument("--task", action="append", default=[], help="one of tasks/; default: all")
    return parser.parse_known_args(argv)[0]


def look(name: str, check: Check) -> list[Finding]:
    """The findings of a check; one that says so where it cannot be made."""
    try:
        found = check()
        return [found] if isinstance(found, Finding) else list(found)
    except UserError as error:
        return [Finding(MISSING, name, str(error))]
    except ImportError as error:
        return [Finding(MISSING, name, f"cannot be looked at: {error}", "see packages")]
    except Exception as error:
        return [Finding(WARN, name, f"cannot be looked at: {type(error).__name__}: {error}")]


def look_at_all(checks: dict[str, Check]) -> Iterable[Finding]:
    """The findings of all checks in their order, as they come."""
    found: dict[str, list[Finding]] = {}

    def one(name: str, check: Check) -> None:
        found[name] = look(name, check)

    threads = {
        name: threading.Thread(target=one, args=(name, check), daemon=True)
        for name, check in checks.items()
    }
    for thread in threads.values():
        thread.start()
    for name, thread in threads.items():
        thread.join(PATIENCE)
        yield from found.get(name) or [Finding(WARN, name, f"nothing known after {PATIENCE:g} s")]


def main(argv: list[str] | None = None) -> int:
    arguments = parse(argv)
    setup: Setup | None = None
    findings = [*look("python", python), *look("packages", packages)]
    try:
        setup = read_setup(
            arguments.configfile, arguments.config, arguments.workflow_profile, arguments.task
        )
    except UserError as error:
        findings.append(Finding(MISSING, "config", str(error)))
    except ImportError as error:
        findings.append(Finding(MISSING, "config", f"cannot be read: {error}", "see packages"))
    anyhow: dict[str, Check] = {"gpu": gpus, "sandbox": sandbox, "slurm": slurm, "disk": disk}
    checks = {name: partial(check, setup) for name, check in anyhow.items()}
    if setup:
        checks |= {"hub": partial(hub, setup), "endpoint": partial(endpoint, setup)}
    for finding in findings:
        print(finding, flush=True)
    for finding in look_at_all(checks):
        print(finding, flush=True)
        findings.append(finding)
    return int(any(finding.state == MISSING for finding in findings))


if __name__ == "__main__":
    try:
        status = main()
    except (BrokenPipeError, KeyboardInterrupt) as error:
        # Whoever reads has gone, or does not want to wait.
        status = 130 if isinstance(error, KeyboardInterrupt) else 1
    # Whatever is still waited for must not keep it.
    os._exit(status)
