"""Attacks that must fail before the sandbox is trusted with a sample.

A sandbox that is configured wrongly often works without a word, only without isolation.
"""

import socket
import sys
import tempfile
from collections.abc import Callable
from pathlib import Path

from scripts.lib.sandbox.bubblewrap import ENVIRONMENT
from scripts.lib.sandbox.model import ERROR, PASSED, Execution, Limits

LIMITS = Limits(wall_seconds=20.0, processes=8)

PROBE = """
import json, os, resource, socket, sys, time

def refused(action, *arguments):
    try:
        action(*arguments)
    except OSError:
        return True
    return False

def status():
    return dict(line.split(":", 1) for line in open("/proc/self/status"))

def forks():
    for count in range(100):
        try:
            if os.fork() == 0:
                time.sleep(60)
                os._exit(0)
        except OSError:
            return count
    return 100
"""

# Each test says what was promised; the first that fails is what the user reads.
PROMISES = [
    "assert dict(os.environ) == {environment!r}, 'the environment is not empty'",
    "assert os.getpid() == 2 and os.getppid() == 1, 'processes of the host are visible'",
    "assert 0 not in (os.getuid(), os.geteuid(), os.getgid(), os.getegid()), 'it runs as root'",
    "assert int(status()['CapEff'], 16) == int(status()['CapPrm'], 16) == 0, 'it has capabilities'",
    "assert int(status()['NoNewPrivs']) == 1, 'it may gain privileges'",
    "assert sys.base_prefix == {prefix!r}, 'another Python runs inside: ' + sys.base_prefix",
    "assert json.__file__.startswith({prefix!r}), 'another standard library is used inside'",
    "assert [name for _, name in socket.if_nameindex()] == ['lo'], 'it has a network'",
    "assert refused(socket.create_connection, ('127.0.0.1', {port}), 2), 'it reaches the host'",
    "assert not any(map(os.path.exists, {files!r})), 'files of the host are visible'",
    "assert all(refused(open, d + '/canary', 'w') for d in ('', '/usr/lib', '/dev', '/etc', "
    "os.path.dirname(json.__file__))), 'the file system is writable'",
    "assert os.listdir('/tmp') == os.listdir('/dev/shm') == [], '/tmp is not private'",
    "assert resource.getrlimit(resource.RLIMIT_AS)[1] <= {memory}, 'memory is not limited'",
    "assert forks() <= {processes}, 'the number of processes is not limited'",
]


def failed_promise(run: Callable[[str, list[str], Limits], Execution]) -> str | None:
    """The first promise that `run` (see `Sandbox.run`) breaks, `None` if it keeps them all."""
    with socket.create_server(("127.0.0.1", 0)) as listener, tempfile.NamedTemporaryFile() as file:
        facts = {
            "environment": ENVIRONMENT,
            "prefix": sys.base_prefix,
            "port": listener.getsockname()[1],
            "files": [file.name, str(Path(__file__).resolve()), "/etc/passwd"],
            "memory": LIMITS.memory_bytes,
            "processes": LIMITS.processes,
        }
        attacks = run(PROBE, [promise.format(**facts) for promise in PROMISES], LIMITS)
    if attacks.verdict != PASSED:
        return attacks.detail.split("AssertionError: ")[-1]
    exit_early = run("import os; os._exit(0)", [], LIMITS)
    if exit_early.verdict != ERROR:
        return "a sample that exits early passes"
    return None
