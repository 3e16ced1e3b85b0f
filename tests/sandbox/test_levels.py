"""The levels of isolation: which one a machine gets, and that it keeps what it promises."""

import json
import os
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from scripts.lib.sandbox import Job, Limits, Sandbox, SandboxUnavailable, bubblewrap, selftest
from tests.sandbox.attacks import ATTACKS
from tests.sandbox.benign import BENIGN
from tests.sandbox.conftest import (
    ORDINARY_UID,
    ROOT,
    SECRET_VARIABLE,
    Host,
    OrdinaryUser,
    needs_numpy,
)
from tests.sandbox.programs import Program

RIGHT = Job("right", "def f(x): return x + 1", "assert f(1) == 2")
WRONG = Job("wrong", "def f(x): return x", "assert f(1) == 2")
# Answers questions as bubblewrap does.
ANSWERS = (
    '[ "$1" = --version ] && echo bubblewrap 0.11.0 && exit\n'
    '[ "$1" = --help ] && echo --size --perms --as-pid-1 --die-with-parent && exit\n'
)
NO_LOOPBACK = "bwrap: loopback: Failed RTM_NEWADDR: Operation not permitted"
NO_USERS = (
    "bwrap: No permissions to create a new namespace, likely because the kernel does not allow "
    "non-privileged user namespaces."
)


def without_network(real: str) -> str:
    """A script: the real bubblewrap on a machine that forbids network namespaces."""
    return (
        f'for option; do\n[ "$option" = --unshare-net ] && echo "{NO_LOOPBACK}" >&2 && exit 1\n'
        f'done\nexec {real} "$@"'
    )


@pytest.fixture
def fake_bwrap(readable_path: Path, monkeypatch: pytest.MonkeyPatch) -> Callable[[str], None]:
    """Makes a script the only bubblewrap there is."""

    def make(script: str) -> None:
        binary = readable_path / "bwrap"
        binary.write_text(f"#!/bin/sh\n{script}\n")
        binary.chmod(0o755)

    monkeypatch.setenv("PATH", f"{readable_path}:/usr/bin:/bin")
    monkeypatch.setattr(
        bubblewrap, "find_binaries", lambda: [str(p) for p in readable_path.glob("bwrap")]
    )
    return make


def refusal(*arguments: object, **settings: object) -> str:
    """What a sandbox says that cannot be opened: one printable line."""
    with pytest.raises(SandboxUnavailable) as raised:
        Sandbox(1, *arguments, **settings).close()  # type: ignore[arg-type]
    message = str(raised.value)
    assert message.isprintable()
    return message


def chosen(*beginnings: str) -> list[Program]:
    """Attacks whose names begin so, that need neither numpy nor seconds."""
    return [
        program
        for program in ATTACKS
        if program.name.startswith(beginnings)
        and program.verdict != "timeout"
        and not needs_numpy(program)
    ]


# Without a network namespace


@pytest.fixture(scope="module")
def no_netns(bwrap: str, host: Host) -> Iterator[Sandbox]:
    """What `auto` opens on a machine that forbids network namespaces."""
    with pytest.MonkeyPatch.context() as patch:
        path = host.directory.with_name(f"{host.directory.name}-bwrap")
        path.write_text(f"#!/bin/sh\n{without_network(bwrap)}\n")
        path.chmod(0o755)
        patch.setattr(bubblewrap, "find_binaries", lambda: [str(path)])
        opened = Sandbox(2)
    with opened:
        yield opened
    path.unlink()


def test_auto_falls_back_to_no_netns(no_netns: Sandbox) -> None:
    """The best level that works is taken, and the rows say which one."""
    assert no_netns.level == "no-netns"
    assert "net" not in no_netns.description.split("namespaces:")[1].split()
    verdicts = list(no_netns.judge([RIGHT, WRONG]))
    assert [verdict.verdict for verdict in verdicts] == ["pass", "fail"]
    assert {verdict.isolation for verdict in verdicts} == {"no-netns"}


# What gets further than in a network namespace of its own, and how far.
SEEN_WITHOUT_NETNS = {
    "unix: no abstract socket of anybody else is known": "reads names of sockets in /proc/net",
}


def test_no_netns_contains_attacks(no_netns: Sandbox, host: Host) -> None:
    """Whoever shares the host's network gets no socket of it, and the rest holds as ever."""
    programs = chosen("network", "unix", "signals", "files", "proc", "environment", "syscalls")
    verdicts = list(no_netns.judge(map(host.fill, programs)))
    wrong = [
        (program.name, program.verdict, found.verdict, found.reason)
        for program, found in zip(programs, verdicts, strict=True)
        if found.verdict != program.verdict and program.name not in SEEN_WITHOUT_NETNS
    ]
    assert len(programs) > 50
    assert not wrong
    host.assert_untouched()


def test_full_by_name_does_not_fall_back(bwrap: str, fake_bwrap: Callable[[str], None]) -> None:
    """Who asks for a level by name gets it or a refusal with the reason and what to enable."""
    fake_bwrap(without_network(bwrap))
    message = refusal("full")
    assert NO_LOOPBACK in message and "user.max_net_namespaces" in message


# Machines on which nothing works


def test_no_bubblewrap(fake_bwrap: Callable[[str], None]) -> None:
    """Without bubblewrap one is told how to install it, and nothing runs."""
    for level in ("auto", "full", "no-netns"):
        assert "apt-get install bubblewrap" in refusal(level)


def test_no_user_namespaces(fake_bwrap: Callable[[str], None]) -> None:
    """Where the kernel's settings forbid namespaces, the message names the settings, once."""
    fake_bwrap(f'{ANSWERS}echo "{NO_USERS}" >&2; exit 1')
    message = refusal()
    assert NO_USERS in message and "kernel.unprivileged_userns_clone=1" in message
    assert message.count("kernel.unprivileged_userns_clone=1") == 1


@pytest.mark.parametrize(
    ("script", "part"),
    [
        ("echo no way >&2; exit 1", "no way"),
        ("echo bubblewrap 0.4.0", "too old"),
        (f"{ANSWERS}exit 0", "does not start"),
        (f"{ANSWERS}kill -9 $$", "does not start"),
        (f"{ANSWERS}printf '\\033[31mno\\nway\\007' >&2; exit 1", "way"),
    ],
    ids=["fails", "old", "ends", "is killed", "writes control characters"],
)
def test_broken_bubblewrap(fake_bwrap: Callable[[str], None], script: str, part: str) -> None:
    """A bubblewrap that does not work is a reason on one line."""
    fake_bwrap(script)
    assert part in refusal()


@pytest.mark.parametrize(
    ("option", "arguments", "promise"),
    [("--unshare-net", 0, "it reaches the host's network"), ("--seccomp", 1, "")],
)
def test_a_bubblewrap_that_forgets_an_option(
    bwrap: str, fake_bwrap: Callable[[str], None], option: str, arguments: int, promise: str
) -> None:
    """One thing that is missing is enough for a refusal."""
    fake_bwrap(
        f"""
skip=0
for part; do
    shift
    if [ "$part" = {option} ]; then skip={arguments}; continue; fi
    if [ $skip = 1 ]; then skip=0; continue; fi
    set -- "$@" "$part"
done
exec {bwrap} "$@"
"""
    )
    message = refusal("full")
    assert "does not isolate here" in message and promise in message


# Levels by name


def test_unknown_level() -> None:
    """A wrong name is answered with the right ones."""
    message = refusal("fully")
    assert "'fully'" in message and "no-netns" in message


def test_none_has_to_be_asked_for_twice() -> None:
    """Without isolation nothing runs, unless somebody accepts the risk."""
    assert "accept" in refusal("none")


def test_none_works_and_says_so() -> None:
    """Who accepts the risk gets verdicts, and every row shows how."""
    if os.geteuid() == 0 and not os.stat(os.path.realpath(sys.executable)).st_mode & 0o001:
        pytest.skip("this Python is for root alone")
    try:
        opened = Sandbox(1, "none", accept_risk=True)
    except SandboxUnavailable as error:
        assert os.geteuid() == 0 and "for root alone" in str(error)
        pytest.skip(str(error))
    with opened:
        verdicts = list(opened.judge([RIGHT, WRONG]))
    assert [verdict.verdict for verdict in verdicts] == ["pass", "fail"]
    assert {verdict.isolation for verdict in verdicts} == {"none"}


def judged_by(user: OrdinaryUser, host: Host, programs: list[Program], *options: str) -> list[dict]:
    """The verdicts of the command on programs, as a user without rights."""
    jobs = [host.fill(program) for program in programs]
    lines = [
        {"id": j.id, "code": j.code, "tests": j.tests, "setup": j.setup, "timeout": j.timeout}
        for j in jobs
    ]
    secret = {SECRET_VARIABLE: host.secret}
    with user.start("--workers", "2", *options, environment=secret) as process:
        output, messages = process.communicate("".join(json.dumps(line) + "\n" for line in lines))
    if "no Landlock" in messages:
        pytest.skip(messages)
    assert messages == ""
    return [json.loads(line) for line in output.splitlines()]


@pytest.fixture
def ordinary_host() -> Iterator[Host]:
    """A host whose victim and files belong to the ordinary user."""
    made = Host(ORDINARY_UID)
    yield made
    made.close()


def test_ordinary_user_none(ordinary_user: OrdinaryUser, ordinary_host: Host) -> None:
    """The command has an option for the risk, too."""
    programs = [Program("right", RIGHT.code, str(RIGHT.tests), "pass")]
    (found,) = judged_by(ordinary_user, ordinary_host, programs, "--level", "none", "--accept-risk")
    assert (found["verdict"], found["isolation"]) == ("pass", "none")


# Honest programs that cannot do under Landlock what they do in a jail, and why.
NOT_UNDER_LANDLOCK = {
    "multiprocessing with a queue and a pipe": "semaphores need /dev/shm",
    "multiprocessing pool": "semaphores need /dev/shm",
    "stops a child by a signal": "no signal can be sent at all",
    "writes and reads files": "no attribute of a file can be changed, as shutil.copy does",
    "sqlite in memory and in a file": "/tmp is that of the host; HOME and TMPDIR are elsewhere",
}


def test_landlock_lets_honest_programs_pass(
    ordinary_user: OrdinaryUser, ordinary_host: Host
) -> None:
    """Without namespaces honest programs pass, but for a few that need what is not there."""
    programs = [p for p in BENIGN if not needs_numpy(p) and (p.timeout or 0) < 3]
    found = judged_by(ordinary_user, ordinary_host, programs, "--level", "landlock")
    assert {verdict["isolation"] for verdict in found} == {"landlock"}
    wrong = {v["id"]: v["reason"] for v in found if v["verdict"] != "pass"}
    assert {name: r for name, r in wrong.items() if name not in NOT_UNDER_LANDLOCK} == {}
    assert wrong.keys() == NOT_UNDER_LANDLOCK.keys()
    ordinary_host.assert_untouched()


# Programs that take for granted what there is only in a jail, and end by an error instead.
NO_ATTACK_UNDER_LANDLOCK = {
    "files: symbolic links do not lead out": "writes to /tmp",
    "files: nobody is root, privileges cannot come back": "reads /proc",
    "files: leaves some in /tmp and /dev/shm": "writes to /tmp",
    "files: looks for what was left in /tmp and /dev/shm": "reads /tmp",
    "files: /tmp has an end": "fills /tmp",
    "environment: no secret in that of any process": "reads /proc",
}


def test_landlock_contains_attacks(ordinary_user: OrdinaryUser, ordinary_host: Host) -> None:
    """Files, network and signals are refused without namespaces, too; forgers fail."""
    programs = chosen("network", "unix", "signals", "files", "environment", "exit", "forgery")
    found = judged_by(ordinary_user, ordinary_host, programs, "--level", "landlock")
    wrong = {
        program.name: (program.verdict, verdict["verdict"], verdict["reason"])
        for program, verdict in zip(programs, found, strict=True)
        if program.verdict != verdict["verdict"]
    }
    assert {name: w for name, w in wrong.items() if name not in NO_ATTACK_UNDER_LANDLOCK} == {}
    ordinary_host.assert_untouched()


def test_landlock_among_many_processes(ordinary_user: OrdinaryUser, ordinary_host: Host) -> None:
    """Without a user namespace, too, a user's other processes take nothing from a sample."""
    programs = [Program("right", RIGHT.code, str(RIGHT.tests), "pass")]
    others = [subprocess.Popen(["sleep", "600"], user=ORDINARY_UID) for _ in range(40)]
    try:
        (found,) = judged_by(ordinary_user, ordinary_host, programs, "--level", "landlock")
    finally:
        for other in others:
            other.kill()
            other.wait()
    assert found["verdict"] == "pass"


# The self-test


def test_self_test_names_what_is_broken(bwrap: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """An attack that succeeds in one worker of many closes them all, and says which it was."""
    promises = selftest._promises
    asked: list[str] = []

    def broken(level: str, facts: dict) -> list:
        asked.append(level)
        broken_ones = [("the moon is made of cheese", "memory_limit() < 0")] * (len(asked) == 2)
        return [*promises(level, facts), *broken_ones]

    monkeypatch.setattr(selftest, "_promises", broken)
    with pytest.raises(SandboxUnavailable, match="the moon is made of cheese"):
        Sandbox(3, "full")
    # Each worker has attacked its own jails.
    assert asked == ["full"] * 3


def test_self_test_notices_a_judge_that_believes_exits(
    bwrap: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Verdicts are part of what is tried out, not only walls."""
    from scripts.lib.sandbox import worker

    real = worker.Worker.judge

    def gullible(self: worker.Worker, job: Job) -> object:
        found = real(self, job)
        return (
            found
            if "_exit" not in job.code
            else type(found)(found.id, "pass", "", 0.0, 0.0, 1, found.isolation)
        )

    monkeypatch.setattr(worker.Worker, "judge", gullible)
    assert "exits early passes" in refusal("full")


def test_limits_are_those_that_were_asked_for(bwrap: str) -> None:
    """Smaller limits reach the sample, and the self-test passes with them."""
    limits = Limits(memory_bytes=200 << 20, processes=7, file_bytes=1 << 20, tmp_bytes=2 << 20)
    code = """
import resource, shutil
def f():
    names = "AS", "FSIZE", "NPROC"
    return [resource.getrlimit(getattr(resource, "RLIMIT_" + name))[1] for name in names]
def disk():
    return shutil.disk_usage("/tmp").total
"""
    tests = [
        "assert f()[:2] == [200 << 20, 1 << 20]",
        "assert f()[2] <= 8",
        "assert disk() <= 2 << 20",
    ]
    with Sandbox(1, limits=limits) as opened:
        found = opened.run(Job("limits", code, tests))
    assert found.verdict == "pass", found.reason


# A machine within the machine: a supervisor whose jails hold nobody kills and removes what it
# takes for a sample's. Whatever it reaches in there is neither a process nor a file out here.


def in_a_container(bwrap: str, script: str, *binds: Path) -> dict:
    """What a script, as process 1 of a container, says in JSON.

    binds: what it sees of our /tmp. All of our files are read-only, its own /tmp is empty, and it
    refuses to run where that is not so.
    """
    if os.geteuid() != 0:
        pytest.skip("only root can make namespaces within namespaces everywhere")
    here = os.readlink("/proc/self/ns/pid")
    guard = (
        "import os\n"
        f"assert os.readlink('/proc/self/ns/pid') != {here!r} and os.getpid() == 1\n"
        f"assert not set(os.listdir('/tmp')) - {set(map(_below_tmp, (ROOT, *binds)))!r}\n"
        "assert os.listdir('/dev/shm') == [] and os.statvfs('/').f_flag & os.ST_RDONLY\n"
    )
    options = ["--ro-bind", "/", "/", "--dev", "/dev", "--proc", "/proc", "--tmpfs", "/tmp"]
    options += ["--tmpfs", "/dev/shm"]
    for path in (ROOT, *binds):
        options += ["--ro-bind", str(path), str(path)]
    options += ["--unshare-pid", "--unshare-ipc", "--as-pid-1", "--die-with-parent"]
    answer = subprocess.run(
        [bwrap, *options, "--cap-add", "ALL", sys.executable, "-c", guard + script],
        cwd=ROOT,
        capture_output=True,
        text=True,
        timeout=30,
    )
    assert answer.returncode == 0, answer.stderr
    return json.loads(answer.stdout)


def _below_tmp(path: Path) -> str:
    return path.parts[2] if path.parts[1] == "tmp" else ""


AS_FIRST_PROCESS = """
import json
from scripts.lib.sandbox import Job, Sandbox, SandboxUnavailable
try:
    with Sandbox(1, "full") as sandbox:
        found = sandbox.run(Job("right", "def f(x): return x + 1", "assert f(1) == 2")).verdict
except SandboxUnavailable as error:
    found = str(error)
print(json.dumps({"found": found}))
"""
AS_EARLY_PROCESS = """
import json, subprocess, sys
command = [sys.executable, "-m", "scripts.lib.sandbox", "--workers", "1", "--level", "full"]
job = {"id": 1, "code": "def f(x): return x + 1", "tests": "assert f(1) == 2"}
answer = subprocess.run(command, input=json.dumps(job), capture_output=True, text=True)
said = json.loads(answer.stdout)["verdict"] if answer.stdout else answer.stderr
print(json.dumps({"found": said}))
"""


@pytest.mark.parametrize("script", [AS_FIRST_PROCESS, AS_EARLY_PROCESS], ids=["first", "early"])
def test_the_first_processes_of_a_container(bwrap: str, script: str) -> None:
    """A supervisor whose number is that of a process of the jail is not taken for it."""
    assert in_a_container(bwrap, script) == {"found": "pass"}


# Runs what stands behind `--`, outside of any jail.
UNJAILED = """
while [ "$1" != -- ]; do shift; done
shift
for part; do
    shift
    set -- "$@" "$(printf %s "$part" | sed 's|/sandbox|{inside}|g; s|"uid": [0-9]*|"uid": 0|')"
done
exec "$@"
"""
OPEN_UNJAILED = """
import json, os, subprocess, sys
bystander = subprocess.Popen(["sleep", "600"])
canaries = ["/tmp/canary", "/dev/shm/canary"]
for canary in canaries:
    open(canary, "w").close()
code = (
    "from scripts.lib.sandbox import Sandbox, SandboxUnavailable, bubblewrap\\n"
    "bubblewrap.find_binaries = lambda: [{binary!r}]\\n"
    "try: Sandbox(1)\\n"
    "except SandboxUnavailable as error: print(error)"
)
answer = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
said = answer.stdout or f"{answer.returncode} {answer.stderr}"
dead = bystander.poll() is not None
removed = [canary for canary in canaries if not os.path.exists(canary)]
print(json.dumps({"said": said.strip(), "dead": dead, "removed": removed}))
bystander.kill()
"""


def test_a_bubblewrap_that_does_not_isolate(bwrap: str, readable_path: Path) -> None:
    """A jail that works and holds nobody is found out before it harms other processes."""
    binary = readable_path / "bwrap"
    inside = str(Path(bubblewrap.__file__).parent)
    script = UNJAILED.replace("{inside}", inside)
    binary.write_text(f"#!/bin/sh\n{ANSWERS}{script}\n")
    binary.chmod(0o755)
    open_unjailed = OPEN_UNJAILED.replace("{binary!r}", repr(str(binary)))
    found = in_a_container(bwrap, open_unjailed, readable_path)
    assert "no PID namespace" in found["said"] or "does not isolate here" in found["said"]
    assert not found["dead"] and found["removed"] == []
