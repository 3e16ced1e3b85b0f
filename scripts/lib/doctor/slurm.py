"""Slurm, as the profile would use it: its commands, its controller, partitions and accounting."""

import getpass
import re
import shutil
import subprocess
from pathlib import Path
from typing import Any

from scripts.lib.doctor import MISSING, OK, SECONDS, WARN, Finding
from scripts.lib.doctor.setup import Setup

COMMANDS = ("sbatch", "squeue", "scancel", "scontrol", "sinfo")
ACCOUNTING = re.compile(r"^AccountingStorageType\s*=\s*(\S*)", re.MULTILINE)
AGE = re.compile(r"^MinJobAge\s*=\s*(\d+)", re.MULTILINE)
# For so many seconds the executor (2.8.0) wants ended jobs to be known to squeue: three times the
# seconds between its questions. Else it takes sacct, whatever the profile says.
LEAST_AGE = 120
PROFILE = "profiles/slurm"
# In minutes.
UNITS = {"d": 1440, "h": 60, "m": 1, "s": 1 / 60}


class Unanswered(Exception):
    """A command of Slurm failed, or did not answer in time; the message is one line."""


def slurm(setup: Setup | None) -> list[Finding]:
    """Everything about Slurm; where it is not wanted, a fault is a doubt and no more."""
    wanted = setup is not None and setup.on_slurm
    absent = [command for command in COMMANDS if shutil.which(command) is None]
    if len(absent) == len(COMMANDS) and not wanted:
        return [Finding(OK, "slurm", f"none on this machine ({PROFILE} alone wants it)")]
    findings = _findings(setup.profile if setup else {}, absent)
    findings += _hours(setup) if setup else []
    if wanted:
        return findings
    return [
        Finding(WARN if one.state == MISSING else one.state, one.what, one.detail, one.remedy)
        for one in findings
    ]


def _findings(profile: dict[str, Any], absent: list[str]) -> list[Finding]:
    if absent:
        remedy = "run from a node where Slurm's commands are: the login node"
        return [Finding(MISSING, "slurm", f"no command {', '.join(absent)}", remedy)]
    try:
        if not re.search(r"\bis UP\b", _ask("scontrol", "ping")):
            raise Unanswered("scontrol ping: no controller is up")
        up = Finding(OK, "slurm", "the controller answers")
        return [up, _accounting(profile), *_partitions(profile), *_account(profile)]
    except Unanswered as error:
        return [Finding(MISSING, "slurm", str(error), "wait for it, or ask your site")]


def _ask(*command: str) -> str:
    """What a command says. Raises `Unanswered`."""
    try:
        done = subprocess.run(command, capture_output=True, text=True, timeout=SECONDS)
    except (OSError, subprocess.TimeoutExpired) as error:
        reason = "no answer" if isinstance(error, subprocess.TimeoutExpired) else error.strerror
        raise Unanswered(f"{command[0]}: {reason} within {SECONDS:g} s") from None
    # `scontrol ping` fails where a controller is down, and says which.
    if done.returncode and "is DOWN" not in done.stdout:
        lines = (done.stderr + done.stdout).strip().splitlines() or ["no message"]
        raise Unanswered(f"{' '.join(command[:2])}: {lines[-1][:200]}")
    return done.stdout


def _accounting(profile: dict[str, Any]) -> Finding:
    """Whether job states can be asked for in the way that the profile names."""
    config = _ask("scontrol", "show", "config")
    found = ACCOUNTING.search(config)
    on = bool(found) and "slurmdbd" in found[1]
    command = profile.get("slurm-status-command")
    key = "slurm-status-command in the profile"
    if command is None:
        remedy = f"name it: {'sacct' if on else 'squeue'}"
        return Finding(MISSING, "slurm", f"no {key}: its default hangs without accounting", remedy)
    if command == "squeue":
        return _squeue(config)
    if not on:
        detail = f"accounting is off here and {key} is {command}: Snakemake would hang"
        return Finding(MISSING, "slurm", detail, "set it to squeue")
    try:
        _ask_sacct()
    except Unanswered as error:
        return Finding(MISSING, "slurm", str(error), f"set {key} to squeue")
    return Finding(OK, "slurm", "job states by sacct, accounting is on")


def _ask_sacct() -> None:
    """Raises `Unanswered` where sacct tells no job states."""
    _ask("sacct", "--noheader", "--allocations", "--starttime=now")


def _squeue(config: str) -> Finding:
    """Whether squeue can tell job states, and is what the executor asks.

    Where ended jobs are soon forgotten, or the controller does not answer, the executor takes sacct
    if there is one. If that fails it forgets all its jobs, and waits for them.
    """
    age = AGE.search(config)
    known = int(age[1]) if age else None
    soon = known is not None and known < LEAST_AGE
    detail = f"job states by squeue, which knows ended jobs for {known} s (MinJobAge)"
    raise_it = f"ask your site for {LEAST_AGE} or more"
    if shutil.which("sacct") is None:
        if soon:
            remedy = f"{raise_it}: Snakemake waits for ever for those it misses"
            return Finding(WARN, "slurm", detail, remedy)
        return Finding(OK, "slurm", "job states by squeue")
    try:
        _ask_sacct()
    except Unanswered:
        if soon:
            detail += ": Snakemake takes sacct, which fails, and would hang"
            return Finding(MISSING, "slurm", detail, raise_it)
        detail = "job states by squeue, and a sacct that fails: an outage may hang Snakemake"
        return Finding(WARN, "slurm", detail, "docs/cluster.md, 'While it runs', has a remedy")
    if soon:
        return Finding(WARN, "slurm", f"{detail}: Snakemake takes sacct", "set it to sacct")
    return Finding(OK, "slurm", "job states by squeue")


def _partitions(profile: dict[str, Any]) -> list[Finding]:
    """Whether the profile's partitions exist, with its GPUs and its time."""
    there: dict[str, tuple[float, set[str]]] = {}
    for line in _ask("sinfo", "--noheader", "--format=%R|%l|%G").splitlines():
        name, limit, devices = line.strip().split("|")
        kinds = there.setdefault(name, (minutes(limit), set()))[1]
        kinds.update(re.findall(r"gpu(?::([A-Za-z][\w.-]*))?", devices))
    by_need, resources = _by_need(profile), _resources(profile)
    named = [one["slurm_partition"] for one in resources if "slurm_partition" in one]
    wanted = list(dict.fromkeys([*by_need, *named]))
    findings = []
    for name in wanted:
        limits = by_need.get(name) or {}
        longest = minutes(str(limits.get("max_runtime", 0)))
        if name not in there:
            remedy = f"put your own into {PROFILE}; there are {', '.join(there)}"
            findings.append(Finding(MISSING, "slurm", f"there is no partition {name}", remedy))
        elif longest > there[name][0]:
            detail = f"partition {name}: {longest:g} minutes are over its limit, {there[name][0]:g}"
            remedy = f"lower max_runtime in {PROFILE}: such jobs may wait for ever"
            findings.append(Finding(MISSING, "slurm", detail, remedy))
        elif limits.get("max_gpu") and not there[name][1]:
            detail = f"partition {name} has no GPU and {PROFILE} says that it has"
            findings.append(Finding(MISSING, "slurm", detail, "sinfo -o '%R %G' shows which do"))
    kinds = set().union(*(there[name][1] for name in wanted if name in there))
    for model in sorted({one["gpu_model"] for one in resources if "gpu_model" in one} - kinds):
        remedy = f"there are {', '.join(sorted(kinds - {''})) or 'none with a name'}"
        findings.append(Finding(MISSING, "slurm", f"no partition has GPUs {model}", remedy))
    if not wanted:
        detail = f"the site's default partition (there are {', '.join(there)})"
        return [Finding(OK, "slurm", detail)]
    return findings or [Finding(OK, "slurm", f"partitions {', '.join(wanted)} are there")]


def _hours(setup: Setup) -> list[Finding]:
    """A doubt where a job may ask for more time than any partition of the profile gives."""
    limits = [one.get("max_runtime") for one in _by_need(setup.profile).values()]
    hours = setup.config["cluster"]["max_hours"]
    if not limits or None in limits or 60 * hours <= max(minutes(str(one)) for one in limits):
        return []
    detail = f"cluster.max_hours is {hours:g}, and no partition of the profile runs so long"
    return [Finding(WARN, "slurm", detail, "lower it: such jobs go to the default partition")]


def _account(profile: dict[str, Any]) -> list[Finding]:
    """Whether the user belongs to the account that the profile names, where that can be known."""
    named = {one["slurm_account"] for one in _resources(profile) if "slurm_account" in one}
    if not named or shutil.which("sacctmgr") is None:
        return []
    user = f"user={getpass.getuser()}"
    try:
        listing = _ask(
            "sacctmgr", "--noheader", "--parsable2", "show", "associations", user, "format=account"
        )
    except Unanswered:
        return []
    own = set(listing.split())
    return [
        Finding(MISSING, "slurm", f"{user} has no account {name}", f"yours: {', '.join(own)}")
        for name in sorted(named - own)
        if own
    ]


def _by_need(profile: dict[str, Any]) -> dict[str, Any]:
    """The partitions of the file from which the executor chooses by need."""
    from scripts.lib.doctor.setup import read_mapping

    path = profile.get("slurm-partition-config")
    return read_mapping(Path(path)).get("partitions", {}) if path else {}


def _resources(profile: dict[str, Any]) -> list[dict[str, Any]]:
    """The resources that the profile sets: for all jobs, and for those of some rules."""
    common, own = profile.get("default-resources") or {}, profile.get("set-resources") or {}
    return [one for one in (common, *own.values()) if isinstance(one, dict)]


def minutes(limit: str) -> float:
    """A time limit in minutes, as Slurm writes it (`infinite`, 90, 30:00, 1-00:00:00) or Snakemake
    (12h, 1d12h).
    """
    if re.fullmatch(r"(\d+[dhms])+", limit):
        return sum(int(one) * UNITS[unit] for one, unit in re.findall(r"(\d+)([dhms])", limit))
    if not re.fullmatch(r"(\d+-)?\d+(:\d+){0,2}", limit):
        return float("inf")
    days, _, rest = limit.rpartition("-")
    parts = [int(part) for part in rest.split(":")]
    # Behind days it begins with hours; else two numbers are minutes and seconds.
    if days:
        hours, mins, seconds = (*parts, 0, 0)[:3]
    elif len(parts) == 3:
        hours, mins, seconds = parts
    else:
        hours, (mins, seconds) = 0, (*parts, 0)[:2]
    return int(days or 0) * 1440 + hours * 60 + mins + seconds / 60
