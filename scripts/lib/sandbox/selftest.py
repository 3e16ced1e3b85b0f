"""Attacks that must fail before a worker is trusted with a sample.

A sandbox that is configured wrongly often works without a word, only without isolation.
"""

import os
import socket
import sys
import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

from scripts.lib.sandbox.bubblewrap import ENVIRONMENT
from scripts.lib.sandbox.levels import FULL, LANDLOCK, NONE
from scripts.lib.sandbox.model import FAIL, PASS, Job, Limits, Verdict

# An attack comes after the first seconds of a busy machine, too.
SECONDS = 20.0
# Processes that the attack on their number tries to start.
MOST_FORKS = 100

PROBE = """
import json, os, resource, socket, sys, time

def refused(action, *arguments):
    try:
        action(*arguments)
    except OSError:
        return True
    return False

def environment():
    return {name: value for name, value in os.environ.items() if name not in VARYING}

def status(name):
    with open("/proc/self/status") as lines:
        return int(dict(line.split(":", 1) for line in lines)[name], 16)

def is_root():
    return 0 in (*os.getresuid(), *os.getresgid())

def networks():
    with open("/proc/self/net/dev") as lines:
        return [line.split(":")[0].strip() for line in lines if ":" in line]

def connects(port):
    return not refused(socket.create_connection, ("127.0.0.1", port), 2)

def reads(paths):
    return [path for path in paths if not refused(open, path)]

def sees(paths):
    return [path for path in paths if os.path.exists(path)]

def writes():
    places = ["", "/usr/lib", "/dev", "/etc", os.path.dirname(json.__file__)]
    return [place for place in places if not refused(open, place + "/canary", "w")]

def leftovers():
    return os.listdir(os.environ["HOME"])

def memory_limit():
    return resource.getrlimit(resource.RLIMIT_AS)[1]

def forks(most):
    for count in range(most):
        try:
            if os.fork() == 0:
                time.sleep(60)
                os._exit(0)
        except OSError:
            return count
    return most

def signals_host():
    return not refused(os.kill, HOST_PROCESS, 0)

def visible_processes():
    return sum(name.isdigit() for name in os.listdir("/proc"))

def traces_parent():
    import ctypes
    return ctypes.CDLL(None).ptrace(16, os.getppid(), 0, 0) == 0

def makes_namespace():
    import ctypes
    return ctypes.CDLL(None).unshare(0x10000000) == 0
"""

# What was promised, and the attack that shows it. The first that succeeds is what the user reads.
Promise = tuple[str, str]


def _promises(level: str, facts: dict[str, Any]) -> list[Promise]:
    everywhere: list[Promise] = [
        ("the environment is not empty", "environment() == {environment!r}"),
        ("it runs as root", "is_root() == False"),
        ("it finds what an earlier sample left", "leftovers() == []"),
        ("memory is not limited", "memory_limit() <= {memory}"),
    ]
    confined: list[Promise] = [
        ("it reaches the host's network", "connects({port}) == False"),
        ("it reads the host's files", "reads({files!r}) == []"),
        ("the file system is writable", "writes() == []"),
        ("it traces its parent", "traces_parent() == False"),
        ("it makes namespaces", "makes_namespace() == False"),
    ]
    unjailed: list[Promise] = [("it signals the host's processes", "signals_host() == False")]
    jailed: list[Promise] = [
        ("it has capabilities", "status('CapEff') == 0"),
        ("it may gain privileges", "status('NoNewPrivs') == 1"),
        ("it runs without a filter of system calls", "status('Seccomp') == 2"),
        ("the host's files are visible", "sees({files!r}) == []"),
        ("the host's processes are visible", "visible_processes() <= 4"),
    ]
    own_network: list[Promise] = [("it has a network", "networks() == ['lo']")]
    promises = everywhere
    if level != NONE:
        promises = promises + confined
    if level == LANDLOCK:
        promises = promises + unjailed
    if level not in (NONE, LANDLOCK):
        promises = promises + jailed
    if level == FULL:
        promises = promises + own_network
    # The last one, for it leaves a crowd.
    crowd = ("the number of processes is not limited", "forks({most}) <= {processes}")
    promises = [*promises, crowd]
    return [(promise, attack.format(**facts)) for promise, attack in promises]


def broken_promise(
    judge: Callable[[Job], Verdict], jails: list[dict[str, Any]], level: str, limits: Limits
) -> str | None:
    """The first promise that a worker breaks, `None` if it keeps them all.

    judge: what gives its verdicts; jails: what its jails say of themselves.
    """
    for jail in jails:
        if jail["prefix"] != sys.base_prefix or not jail["library"].startswith(sys.base_prefix):
            return f"another Python runs inside: {jail['prefix']}, {jail['library']}"
    with socket.create_server(("127.0.0.1", 0)) as listener, tempfile.NamedTemporaryFile() as file:
        facts = {
            "environment": {k: v for k, v in ENVIRONMENT.items() if k not in VARYING},
            "port": listener.getsockname()[1],
            "files": [file.name, str(Path(__file__).resolve()), "/etc/passwd"],
            "memory": 3 * limits.memory_bytes,
            # Without namespaces all processes of the user count, and the limit was made with room
            # for those of the moment: some have ended since, so that a limit is all to be seen.
            "processes": MOST_FORKS - 1 if level in (LANDLOCK, NONE) else limits.processes,
            "most": MOST_FORKS,
        }
        promises = _promises(level, facts)
        for problem in _attack(judge, promises):
            return problem
    return None


# What differs from jail to jail where there are no namespaces.
VARYING = ("HOME", "PWD", "TMPDIR", "LC_CTYPE")


def _attack(judge: Callable[[Job], Verdict], promises: list[Promise]) -> list[str]:
    """The promises that are broken, first by a sample, then by tests in the judges' jail."""
    probe = f"VARYING, HOST_PROCESS = {VARYING!r}, {os.getpid()}\n{PROBE}"
    tests = [f"assert {attack}" for _, attack in promises]
    by_sample = judge(Job("self-test", probe, tests, timeout=SECONDS))
    if by_sample.verdict != PASS:
        return [_said(by_sample, promises)]
    text = [f"{probe}\n" + "\n".join(tests), "assert sample() == 1"]
    by_tests = judge(Job("self-test", "def sample(): return 1", text, timeout=SECONDS))
    if by_tests.verdict != PASS:
        return [f"tests: {_said(by_tests, promises)}"]
    leaves = "open('left', 'w').write('x')\ndef f(): return 1"
    for code, tests, verdict, promise in (
        ("import os; os._exit(0)", "assert f() == 1", FAIL, "a sample that exits early passes"),
        (FORGERY, "assert f() == 1", FAIL, "a sample forges equality"),
        (leaves, "assert f() == 1", PASS, "a sample cannot write to its scratch directory"),
        (probe, "assert leftovers() == []", PASS, "it finds what an earlier sample left"),
    ):
        found = judge(Job("self-test", code, tests, timeout=SECONDS))
        if found.verdict != verdict:
            return [f"{promise} ({found.verdict}: {found.reason})"]
    return []


FORGERY = """
class Equal:
    def __eq__(self, other):
        return True

def f():
    return Equal()
"""


def _said(found: Verdict, promises: list[Promise]) -> str:
    promise = next((text for text, attack in promises if attack in found.reason), "")
    return f"{promise} ({found.verdict}: {found.reason})" if promise else found.reason
