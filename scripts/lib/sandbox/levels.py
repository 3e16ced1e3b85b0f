"""How samples are isolated: the levels, from the best that a machine can do, and their commands.

full        namespaces, a filter of system calls, limits of resources
no-netns    the same without a network namespace, where a site forbids them: the filter refuses
            every socket instead
landlock    no namespaces: Landlock and the filter; processes of the host can be seen (not
            touched), and files' names and sizes. Only where it is asked for by name
none        limits of resources alone. Only where it is asked for twice
"""

import importlib.util
import itertools
import json
import os
import re
import secrets
import shutil
import sys
import tempfile
from collections.abc import Iterator
from contextlib import suppress
from dataclasses import dataclass, field
from functools import cache
from pathlib import Path
from typing import Any

from scripts.lib.sandbox import bubblewrap
from scripts.lib.sandbox.bubblewrap import ENVIRONMENT, Bubblewrap
from scripts.lib.sandbox.landlock import ruleset
from scripts.lib.sandbox.model import Limits, SandboxUnavailable
from scripts.lib.sandbox.seccomp import filter_program, readable

FULL, NO_NETNS, LANDLOCK, NONE, AUTO = "full", "no-netns", "landlock", "none", "auto"
LEVELS = (FULL, NO_NETNS, LANDLOCK, NONE)
UNASKED = (FULL, NO_NETNS)

PLAYERS, JUDGES = "players", "judges"
INSIDE = Path(__file__).with_name("inside")
JAIL_HOME, JAIL_PACKAGES = "/sandbox", "/packages"
# `random` would have every fork draw new numbers; equal samples are to end equally. The folder of
# `inside` is on the path only while it is imported: samples may have an `inside`.
BOOT = (
    "import os, sys; register = os.register_at_fork; os.register_at_fork = lambda **hooks: None; "
    "import random; os.register_at_fork = register; random.seed(0); "
    "sys.path.insert(0, {home!r}); from inside import {role}; del sys.path[0]; "
    "sys.path += {packages!r}; {role}.main()"
)
# What samples import most. Each costs a little memory of the process that is forked for every
# sample, and saves its own start.
PRELOADED = (
    "bisect", "collections", "collections.abc", "copy", "datetime", "decimal", "fractions",
    "functools", "heapq", "itertools", "json", "math", "operator", "random", "re", "string",
    "typing",
)  # fmt: skip
# The decisions of a judge take memory for the values as well as for what they are made of.
JUDGE_MEMORY = 3
OTHER_USER = "run it as an ordinary user, or with a Python that every user may read"
# Devices that harmless programs open.
DEVICES = ["/dev/null", "/dev/zero", "/dev/random", "/dev/urandom"]


_NUMBERS = itertools.count(secrets.randbelow(bubblewrap.ROOT_UIDS))


@dataclass(frozen=True)
class Launch:
    """What starts one jail.

    command: {control} in it is to be replaced by the number of the descriptor of the connection to
        the supervisor, {stop} by that of the one between the two jails of a worker, {information}
        by that of one that bubblewrap writes to.
    remedy: what to do if the jail does not start.
    descriptors: open ones that it needs, closed by `close`. scratch: a folder of the host.
    """

    command: list[str]
    environment: dict[str, str]
    remedy: str
    descriptors: list[int] = field(default_factory=list)
    scratch: str = ""

    def close(self) -> None:
        """Close the descriptors; the jail has its own copies."""
        for descriptor in self.descriptors:
            os.close(descriptor)

    def remove(self) -> None:
        """Remove what the jail had outside of itself; call it when the jail is dead."""
        if self.scratch:
            shutil.rmtree(self.scratch, ignore_errors=True)


@dataclass(frozen=True)
class Isolation:
    """A level, and for the first two the bubblewrap that makes it.

    description: for the rows of a result.
    """

    level: str
    bwrap: Bubblewrap | None = None

    @property
    def description(self) -> str:
        if self.bwrap is None:
            return {LANDLOCK: "Landlock, seccomp", NONE: "no isolation"}[self.level]
        namespaces = ["pid", "ipc", "uts"]
        if self.level == FULL:
            namespaces.insert(1, "net")
        if not bubblewrap.can_drop_root():
            namespaces.insert(0, "user")
        return f"bubblewrap {self.bwrap.version}, namespaces: {' '.join(namespaces)}, seccomp"

    def launch(self, role: str, limits: Limits, with_numpy: bool) -> Launch:
        """What starts a jail. role: PLAYERS or JUDGES. Raises SandboxUnavailable."""
        packages = _numpy() if with_numpy else []
        preloaded = [*PRELOADED, *(["numpy"] if with_numpy else [])]
        memory = limits.memory_bytes * (JUDGE_MEMORY if role == JUDGES else 1)
        confines: dict[str, Any] = {
            "memory_bytes": memory,
            "processes": limits.processes,
            "file_bytes": limits.file_bytes,
        }
        arguments: dict[str, Any] = {"control": "{control}", "stop": "{stop}", "confines": confines}
        arguments |= {"preloaded": preloaded, "uid": 0, "rules": None}
        if self.bwrap is None:
            return self._bare(role, packages, arguments)
        as_root = bubblewrap.can_drop_root()
        if not as_root and _counts_across_namespaces():
            confines["processes"] += _tasks_of(os.geteuid())
        arguments["uid"] = _unused_uid() if as_root else 0
        confines |= {"scratch": ["/tmp", "/dev/shm"], "alone": True}
        program = readable(filter_program(sockets=self.level == FULL, signals=True))
        binds = [(str(INSIDE), f"{JAIL_HOME}/inside")]
        binds += [(str(path), f"{JAIL_PACKAGES}/{path.name}") for path in packages]
        jail = bubblewrap.command_line(
            self.bwrap, self.level == FULL, as_root, limits.tmp_bytes, binds
        )
        command = [*jail, "--seccomp", str(program), "--info-fd", "{information}", "--"]
        command += _python(role, JAIL_HOME, [JAIL_PACKAGES] if packages else [], arguments)
        return Launch(command, ENVIRONMENT, bubblewrap.ENABLE, [program])

    def _bare(self, role: str, packages: list[Path], arguments: dict[str, Any]) -> Launch:
        """A process of the host; it confines every child that it forks, if Landlock is to."""
        as_root = os.geteuid() == 0
        if as_root and not _everybody_reads(bubblewrap.interpreter()):
            raise SandboxUnavailable(
                f"level {self.level}: {bubblewrap.interpreter()} is for root alone, and samples "
                f"run as another user; {OTHER_USER}"
            )
        scratch = tempfile.mkdtemp(prefix="sandbox-")
        home = os.path.join(scratch, "home")
        os.mkdir(home)
        libraries = os.path.join(scratch, "packages")
        os.mkdir(libraries)
        for path in packages:
            os.symlink(path, os.path.join(libraries, path.name))
        descriptors: list[int] = []
        if not as_root:
            arguments["confines"]["processes"] += _tasks_of(os.geteuid())
        if as_root:
            arguments["uid"] = _unused_uid()
            os.chmod(scratch, 0o711)
            os.chmod(libraries, 0o755)
            os.chown(home, arguments["uid"], arguments["uid"])
        if self.level == LANDLOCK:
            readable_paths = [*bubblewrap.read_only_paths(), "/lib", "/lib64", "/bin", libraries]
            readable_paths += [*map(str, packages), "/etc/ld.so.cache", str(INSIDE)]
            rules = ruleset([*readable_paths, *DEVICES], [home, "/dev/null"])
            program = readable(filter_program(sockets=False, signals=False))
            descriptors = [rules, program]
            arguments["rules"] = [rules, program]
        arguments["confines"] |= {"scratch": [home], "alone": False}
        environment = ENVIRONMENT | {"HOME": home, "TMPDIR": home, "PWD": home}
        command = _python(role, str(INSIDE.parent), [libraries] if packages else [], arguments)
        return Launch(command, environment, OTHER_USER, descriptors, scratch)


def _python(role: str, home: str, packages: list[str], arguments: dict[str, Any]) -> list[str]:
    boot = BOOT.format(home=home, role=role, packages=packages)
    # Not -I: it would ignore PYTHONHASHSEED=0, and equal samples are to end equally. The other
    # variables are ours as well, so that there is nothing to be protected from.
    options = ["-s", "-P", "-S", "-B", "-X", "utf8", "-c", boot]
    text = json.dumps(arguments).replace('"{control}"', "{control}").replace('"{stop}"', "{stop}")
    return [bubblewrap.interpreter(), *options, text]


def _everybody_reads(path: str) -> bool:
    """Whether every user may pass all folders above a path."""
    return all(parent.stat().st_mode & 0o001 for parent in Path(path).parents)


def _counts_across_namespaces() -> bool:
    """Whether the limit on processes counts those of the user outside of the jail: before 5.14."""
    return tuple(map(int, re.findall(r"\d+", os.uname().release)[:2])) < (5, 14)


def _tasks_of(uid: int) -> int:
    """How many processes and threads a user has."""
    number = 0
    for process in Path("/proc").iterdir():
        with suppress(OSError):
            if process.name.isdigit() and process.stat().st_uid == uid:
                number += len(os.listdir(process / "task"))
    return number


def _unused_uid() -> int:
    """A user of the host that no other jail of this process is, nor most likely of another one."""
    return bubblewrap.FIRST_ROOT_UID + next(_NUMBERS) % bubblewrap.ROOT_UIDS


@cache
def numpy_is_here() -> bool:
    """Whether samples can have numpy: ours."""
    return importlib.util.find_spec("numpy") is not None


def _numpy() -> list[Path]:
    """The folders of numpy in our own environment."""
    found = importlib.util.find_spec("numpy")
    assert found and found.origin
    folder = Path(found.origin).parent
    libraries = folder.with_name("numpy.libs")
    return [folder, libraries] if libraries.is_dir() else [folder]


def candidates(level: str, accept_risk: bool) -> Iterator[Isolation | str]:
    """The isolations to try, best first, or the reasons why there is none.

    Raises SandboxUnavailable for a level that has to be asked for in another way.
    """
    if level not in (*LEVELS, AUTO):
        raise SandboxUnavailable(f"there is no level {level!r}, only {', '.join(LEVELS)} and auto")
    if level == NONE and not accept_risk:
        raise SandboxUnavailable(
            "level none runs a model's code without isolation: accept the risk as well "
            "(verification.sandbox.accept_risk: true, or --accept-risk)"
        )
    if level in (LANDLOCK, NONE):
        yield Isolation(level)
        return
    binaries = bubblewrap.find_binaries()
    if not binaries:
        yield f"bubblewrap (bwrap) was not found; {bubblewrap.INSTALL}"
    for wanted in UNASKED if level == AUTO else (level,):
        for path in binaries:
            try:
                yield Isolation(wanted, bubblewrap.inspect_binary(path))
            except SandboxUnavailable as error:
                yield str(error)


def platform_problem() -> str:
    """Why this system can isolate nothing, empty if it may."""
    return "" if sys.platform == "linux" else f"this is {sys.platform}: samples need Linux"
