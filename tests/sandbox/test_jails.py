"""Jails that die, hang or are dirty, and what a sample may use of one."""

import contextlib
import json
import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor

import pytest

from scripts.lib.sandbox import Job, Limits, Sandbox, worker
from tests.sandbox.conftest import (
    COMMAND,
    ROOT,
    Process,
    descendants,
    jail_processes,
    processes,
    wait_until,
)

SLOW = "import time\n\ndef f(x):\n    time.sleep(0.5)\n    return x + 1\n"
TESTS = ["assert f(1) == 2", "assert f(2) == 3"]
QUICK = Job("quick", "def f(x):\n    return x + 1\n", TESTS)


class Watched:
    """A sandbox whose processes are known: all jails that are younger than it."""

    def __init__(self, workers: int, limits: Limits | None = None) -> None:
        self._before = self._all()
        self.sandbox = Sandbox(workers, limits=limits)

    def _all(self, role: str = "") -> set[int]:
        return {process.pid for process in jail_processes(os.getpid(), role)}

    def processes(self, role: str = "") -> set[int]:
        """The processes inside of its jails."""
        return self._all(role) - self._before

    def first(self, role: str = "") -> set[int]:
        """The first process of each jail."""
        inside = self.processes(role)
        return {pid for pid in inside if (p := _known(pid)) and p.parent not in inside}

    def samples(self) -> set[int]:
        """What runs in jails of players beside their first processes."""
        return self.processes("players") - self.first("players")


def _known(pid: int) -> Process | None:
    with contextlib.suppress(LookupError):
        return Process(pid)
    return None


@pytest.fixture
def open_watched(bwrap: str) -> Iterator[Callable[..., Watched]]:
    """Makes watched sandboxes, and closes them."""
    with contextlib.ExitStack() as stack:

        def make(workers: int = 1, limits: Limits | None = None) -> Watched:
            made = Watched(workers, limits)
            stack.enter_context(made.sandbox)
            return made

        yield make


def is_gone(pid: int) -> bool:
    """Whether a process is dead (in a container nobody may care to reap it)."""
    process = _known(pid)
    return process is None or process.state == "Z"


# Jails that die


@pytest.mark.parametrize("role", ["players", "judges"])
@pytest.mark.parametrize(("returned", "verdict"), [("x + 1", "pass"), ("x + 2", "fail")])
def test_a_killed_jail_is_replaced(
    open_watched: Callable[..., Watched], role: str, returned: str, verdict: str
) -> None:
    """A jail that dies below a sample costs it nothing: it gets its true verdict from the next."""
    watched = open_watched()
    job = Job("slow", SLOW.replace("x + 1", returned), TESTS)
    with ThreadPoolExecutor(1) as pool:
        running = pool.submit(watched.sandbox.run, job)
        wait_until(watched.samples)
        (killed,) = watched.first(role)
        os.kill(killed, signal.SIGKILL)
        assert running.result().verdict == verdict, running.result()
    assert len(watched.first("players")) == len(watched.first("judges")) == 1
    assert killed not in watched.first(role)
    assert watched.sandbox.run(QUICK).verdict == "pass"


def test_jails_that_keep_dying_are_an_error(open_watched: Callable[..., Watched]) -> None:
    """Of a sample whose jail dies again and again nothing is known; it has not failed."""
    watched, over = open_watched(), threading.Event()

    def kill_all() -> None:
        while not over.is_set():
            if watched.samples():
                for pid in watched.first("players"):
                    with contextlib.suppress(ProcessLookupError):
                        os.kill(pid, signal.SIGKILL)

    killer = threading.Thread(target=kill_all)
    killer.start()
    try:
        found = watched.sandbox.run(Job("doomed", SLOW, TESTS))
    finally:
        over.set()
        killer.join()
    assert (found.verdict, found.id) == ("error", "doomed") and found.reason
    assert watched.sandbox.run(QUICK).verdict == "pass"


@pytest.mark.parametrize("role", ["players", "judges"])
def test_a_stopped_jail_is_killed(
    open_watched: Callable[..., Watched], monkeypatch: pytest.MonkeyPatch, role: str
) -> None:
    """A jail that has stopped answering costs its own sample a timeout, and others nothing."""
    monkeypatch.setattr(worker, "GRACE_SECONDS", 1.0)
    watched = open_watched(workers=2)
    with ThreadPoolExecutor(1) as pool:
        slow = Job("slow", SLOW.replace("0.5", "30"), TESTS, timeout=0.1)
        running = pool.submit(watched.sandbox.run, slow)
        (sample,) = wait_until(watched.samples)
        players = Process(sample).parent
        # The jails of a worker are started one after the other.
        number = sorted(watched.first("players")).index(players)
        stopped = players if role == "players" else sorted(watched.first("judges"))[number]
        os.kill(stopped, signal.SIGSTOP)
        try:
            others = list(watched.sandbox.judge([QUICK] * 20))
            assert [verdict.verdict for verdict in others] == ["pass"] * 20
            found = running.result(timeout=60)
            assert found.verdict == "timeout" and found.reason
            again = list(watched.sandbox.judge([QUICK] * 10))
            assert [verdict.verdict for verdict in again] == ["pass"] * 10
            wait_until(lambda: is_gone(stopped) and is_gone(sample), 5)
        finally:
            with contextlib.suppress(ProcessLookupError):
                os.kill(stopped, signal.SIGKILL)


IMPOSSIBLE = {
    "a time beyond clocks": "Job(0, CODE, TESTS, timeout=1e300)",
    "a time beyond floats": "Job(0, CODE, TESTS, timeout=10**400)",
    "no time": "Job(0, CODE, TESTS, timeout=float('nan'))",
    "bytes": "Job(0, b'x', TESTS)",
    "bytes as tests": "Job(0, CODE, [b'x'])",
    "tests that are none": "Job(0, CODE, [None])",
    "an input that is no data": "Job(0, CODE, calls=Calls('f', [[object()]], [2]))",
}
# In a process of its own: a worker that never answers must not stop these tests.
JUDGES_IMPOSSIBLE = """
import contextlib, json, sys
from scripts.lib.sandbox import Calls, Job, Sandbox
CODE, TESTS = "def f(x): return x + 1", ["assert f(1) == 2"]
right, wrong = Job("right", CODE, TESTS), Job("wrong", "def f(x): return x", TESTS)
with Sandbox(1) as sandbox:
    with contextlib.suppress(Exception):
        assert sandbox.run(eval(sys.argv[1])).verdict != "pass"
    verdicts = [sandbox.run(job) for job in (right, wrong, right, right, wrong, wrong)]
print(json.dumps([(verdict.id, verdict.verdict) for verdict in verdicts]))
"""


@pytest.mark.parametrize("name", IMPOSSIBLE)
def test_a_job_that_cannot_be_judged_disturbs_no_other(bwrap: str, name: str) -> None:
    """A caller's mistake may raise, but the verdicts on the next jobs come, and are their own."""
    answer = subprocess.run(
        [sys.executable, "-c", JUDGES_IMPOSSIBLE, IMPOSSIBLE[name]],
        cwd=ROOT, capture_output=True, text=True, timeout=15,
    )  # fmt: skip
    assert answer.returncode == 0, answer.stderr
    passes, fails = ["right", "pass"], ["wrong", "fail"]
    assert json.loads(answer.stdout) == [passes, fails, passes, passes, fails, fails]


# The supervisor's end

FORKING = """
import os, time
for _ in range(3):
    if os.fork() == 0:
        os.setsid()
        os.fork()
        time.sleep(600)

def f(x):
    time.sleep(600)
"""


@contextlib.contextmanager
def busy_command(seconds: float) -> Iterator[tuple[subprocess.Popen[bytes], list[int]]]:
    """The command amid samples that have forked, and all its processes. Its input stays open."""
    command = [*COMMAND, "--workers", "2"]
    with subprocess.Popen(
        command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.PIPE, cwd=ROOT
    ) as process:
        try:
            assert process.stdin
            for number in range(2):
                job = {"id": number, "code": FORKING, "tests": TESTS, "timeout": seconds}
                process.stdin.write(json.dumps(job).encode() + b"\n")
            process.stdin.flush()

            def forked() -> list[int]:
                found = [p.pid for p in descendants(process.pid)]
                # Twice: two jails of two processes (bubblewrap's and the first), a sample and six.
                return found if len(found) >= 2 * (2 * 2 + 1 + 6) else []

            yield process, wait_until(forked, 60)
        finally:
            process.kill()


def test_jails_die_with_a_killed_supervisor(bwrap: str) -> None:
    """Whoever kills the supervisor without a warning leaves no process behind."""
    with busy_command(10.0) as (process, started):
        process.kill()
        process.wait()
        wait_until(lambda: all(map(is_gone, started)), 5)


def test_interrupt_leaves_waiting_samples(bwrap: str) -> None:
    """After Ctrl-C no other sample is begun: only those that are running come to their end."""
    sleeps = {"code": "import time\ntime.sleep(600)", "tests": TESTS, "timeout": 0.25}
    jobs = "".join(json.dumps({"id": number, **sleeps}) + "\n" for number in range(30))
    with subprocess.Popen(
        [*COMMAND, "--workers", "1"], stdin=subprocess.PIPE, stderr=subprocess.PIPE, cwd=ROOT,
        stdout=subprocess.PIPE, text=True,
    ) as process:  # fmt: skip
        try:
            assert process.stdin and process.stdout
            process.stdin.write(jobs)
            process.stdin.flush()
            process.stdout.readline()
            process.send_signal(signal.SIGINT)
            interrupted = time.monotonic()
            process.communicate(timeout=60)
            # A sample that sleeps takes two seconds to its limit.
            assert time.monotonic() - interrupted < 5
        finally:
            process.kill()


def test_interrupt_ends_everything(bwrap: str) -> None:
    """Ctrl-C ends the command and its jails, once running samples have come to their end."""
    with busy_command(0.5) as (process, started):
        process.send_signal(signal.SIGINT)
        _, messages = process.communicate(timeout=20)
        wait_until(lambda: all(map(is_gone, started)), 5)
        assert process.returncode in (1, 130, -signal.SIGINT), messages
        assert b"Fatal Python error" not in messages, messages


# What a sample leaves behind

LITTLE = {
    "a file": "open('left', 'w').write('x')",
    "a hidden file": "open('.left', 'w').write('x')",
    "shared memory": "open('/dev/shm/left', 'w').write('x')",
    "a small tree": "import os\nos.makedirs('a/b/c')\nopen('a/b/c/left', 'w').write('x')",
    "a dangling link": "import os\nos.symlink('/nowhere', 'left')",
    "a link to a folder": "import os\nos.symlink('/usr/lib', 'left')",
    "a socket": "import socket\nsocket.socket(socket.AF_UNIX).bind('left')",
    "a pipe": "import os\nos.mkfifo('left')",
    "a read-only file": "import os\nopen('left', 'w').write('x')\nos.chmod('left', 0)",
    "an odd name": "open('\\n\\udcff', 'w').write('x')",
}
MUCH = {
    "many files": "for n in range(200):\n    open(f'left{n}', 'w').write('x')",
    "a deep tree": "import os\nos.makedirs('a/' * 50)",
    "a closed folder": "import os\nos.makedirs('a/b')\nos.chmod('a', 0)",
    "a closed folder in shared memory": (
        "import os\nos.makedirs('/dev/shm/a/b')\nos.chmod('/dev/shm/a', 0)"
    ),
}
SEES = """
import os

def f():
    return [entry for place in ("/tmp", "/dev/shm") for entry in os.listdir(place)]
"""


@pytest.fixture(scope="module")
def watched(bwrap: str) -> Iterator[Watched]:
    """A watched sandbox with one worker: samples come one after the other into the same jail."""
    made = Watched(1)
    with made.sandbox:
        yield made


@pytest.mark.parametrize("left", [*LITTLE, *MUCH])
def test_leftovers_are_gone(watched: Watched, left: str) -> None:
    """What a sample writes no other one sees; only one that has left too much costs a jail."""
    before = watched.first("players")
    code = f"{(LITTLE | MUCH)[left]}\n\ndef f():\n    return 1\n"
    found = watched.sandbox.run(Job("leaves", code, "assert f() == 1"))
    assert found.verdict == "pass", found.reason
    found = watched.sandbox.run(Job("looks", SEES, "assert f() == []"))
    assert found.verdict == "pass", found.reason
    assert (watched.first("players") == before) == (left in LITTLE)


@pytest.mark.parametrize("left", [*LITTLE, *MUCH])
def test_leftovers_of_tests_are_gone(watched: Watched, left: str) -> None:
    """The same of what tests write, which are executed in the jail of judges."""
    before = watched.first("judges")
    tests = f"{(LITTLE | MUCH)[left]}\nassert f() == 1"
    found = watched.sandbox.run(Job("leaves", "def f(): return 1", tests))
    assert found.verdict == "pass", found.reason
    tests = f"{SEES.replace('def f', 'def seen')}\nassert seen() == []\nassert f() == 1"
    found = watched.sandbox.run(Job("looks", "def f(): return 1", tests))
    assert found.verdict == "pass", found.reason
    assert (watched.first("judges") == before) == (left in LITTLE)


def test_honest_samples_keep_their_jails(watched: Watched) -> None:
    """Passes, failures, crashes and timeouts alike are ended without a new jail."""
    before = watched.first()
    endings = {
        "pass": "def f(x):\n    return x + 1",
        "fail": "import os\n\ndef f(x):\n    os.abort()",
        "timeout": "def f(x):\n    while True: pass",
    }
    for verdict, code in endings.items():
        found = watched.sandbox.run(Job(verdict, code, TESTS, timeout=0.2))
        assert found.verdict == verdict, found.reason
    assert watched.first() == before


def test_processes_end_with_their_sample(watched: Watched) -> None:
    """Daemons of a sample that has passed are dead when its verdict is there."""
    code = FORKING.replace("    time.sleep(600)\n\ndef", "\ndef").rpartition("def f")[0]
    passing = f"{code}def f(x):\n    return x + 1\n"
    found = watched.sandbox.run(Job("forks", passing, TESTS, timeout=1.0))
    assert found.verdict == "pass", found.reason
    assert watched.samples() == set()
    assert len(watched.processes()) == 2


# Limits


@pytest.mark.parametrize(
    ("body", "verdict"),
    [
        ("time.sleep(1.5)", "pass"),
        ("while time.process_time() < 0.9: pass", "timeout"),
        ("for _ in range(3):\n        if os.fork() == 0: spin(0.3)\n    wait_for(3)", "timeout"),
        ("for _ in range(3):\n        if os.fork() == 0: spin(0.05)\n    wait_for(3)", "pass"),
        ("[t.start() for t in threads] and [t.join() for t in threads]", "timeout"),
    ],
    ids=["sleeps", "computes", "lets children compute", "short children", "threads"],
)
def test_the_limit_is_processor_time(watched: Watched, body: str, verdict: str) -> None:
    """Waiting is free; the processor time of all threads and children counts together."""
    code = f"""
import os, threading, time

def spin(seconds):
    end = time.process_time() + seconds
    while time.process_time() < end: pass
    os._exit(0)

def wait_for(children):
    for _ in range(children): os.wait()

def compute():
    while time.thread_time() < 0.3: pass

threads = [threading.Thread(target=compute) for _ in range(3)]

def f(x):
    {body}
    return x + 1
"""
    found = watched.sandbox.run(Job("limit", code, "assert f(1) == 2", timeout=0.5))
    assert found.verdict == verdict, found.reason
    assert found.verdict != "pass" or found.cpu_seconds < 0.5


@pytest.mark.parametrize(("children", "verdict"), [(1, "pass"), (4, "fail")])
def test_memory_of_all_processes_is_limited(
    open_watched: Callable[..., Watched], children: int, verdict: str
) -> None:
    """Processes that each keep to the limit must keep to it together."""
    code = f"""
import os, time

def f(x):
    for _ in range({children}):
        if os.fork() == 0:
            mine = b"x" * (150 << 20)
            time.sleep(0.7)
            os._exit(0)
    for _ in range({children}): os.wait()
    return x + 1
"""
    limits = Limits(memory_bytes=300 << 20)
    found = open_watched(limits=limits).sandbox.run(Job("memory", code, "assert f(1) == 2"))
    assert found.verdict == verdict, found.reason
    assert "memory" in found.reason or verdict == "pass"


def test_no_process_is_left(open_watched: Callable[..., Watched]) -> None:
    """A closed sandbox leaves no process, neither of a jail nor of bubblewrap."""
    before = set(processes()) & {p.pid for p in descendants(os.getpid())}
    watched = open_watched(workers=3)
    assert len(watched.first()) == 6
    watched.sandbox.close()
    assert {p.pid for p in descendants(os.getpid())} <= before
