"""Runs one child process within limits, and leaves nothing behind of what it has started.

The process that does so is the first one of its jail (in a jail with namespaces: process 1 of its
PID namespace, which inherits every orphan). It imports only what is cheap to fork.
"""

import os
import resource
import select
import signal
import time
from collections.abc import Callable, Iterator
from typing import NamedTuple

CPU_TICKS = os.sysconf("SC_CLK_TCK")
PAGE_BYTES = os.sysconf("SC_PAGE_SIZE")
# How often a child that takes its time is looked at.
LOOK_SECONDS = 0.05
OPEN_FILES = 64
STACK_BYTES = 8 << 20
# What a sample may leave behind in its scratch directories and have removed; else the jail goes.
SWEPT_ENTRIES = 64
SWEPT_DEPTH = 8
# Rounds of looking for descendants where there is no PID namespace to do so.
HUNTS = 200


class Ending(NamedTuple):
    """How a child ended.

    how: `exit N`, `signal N`, `stopped` (on demand) or the limit that it ran into: `cpu`, `wall` or
        `memory`.
    cpu, wall: seconds; the processor time is that of all its processes.
    clean: whether nothing is left of it: no process, no file.
    """

    how: str
    cpu: float
    wall: float
    clean: bool


class Confines(NamedTuple):
    """What all children of a jail may use; see `limits.Limits`, and `jail` for what isolates them.

    scratch: the directories that a child may write to.
    alone: whether the jail has a PID namespace of its own.
    """

    memory_bytes: int
    processes: int
    file_bytes: int
    scratch: tuple[str, ...]
    alone: bool


def wall_limit(cpu_seconds: float) -> float:
    """Seconds on the wall for so many of the processor, so that a loaded machine fails nobody."""
    return 4 * cpu_seconds + 1


def apply_limits(confines: Confines) -> None:
    """Limit this process and every child of it for good; the processor time is left to `fork`."""
    for name, value in (
        (resource.RLIMIT_AS, confines.memory_bytes),
        (resource.RLIMIT_NPROC, confines.processes + 1),
        (resource.RLIMIT_FSIZE, confines.file_bytes),
        (resource.RLIMIT_NOFILE, OPEN_FILES),
        (resource.RLIMIT_STACK, STACK_BYTES),
        (resource.RLIMIT_CORE, 0),
        (resource.RLIMIT_MEMLOCK, 0),
        (resource.RLIMIT_MSGQUEUE, 0),
    ):
        ceiling = resource.getrlimit(name)[1]
        if ceiling != resource.RLIM_INFINITY:
            value = min(value, ceiling)
        resource.setrlimit(name, (value, value))


class Keeper:
    """Forks children, one at a time, and ends them.

    control: the descriptor on which the supervisor sends; when something arrives there or it is
        closed, the child is over. confine: called in each child, where no jail confines it already.
    """

    def __init__(
        self, confines: Confines, control: int, confine: Callable[[], None] | None
    ) -> None:
        self._confines = confines
        self._control = control
        self._confine = confine
        self._woken, self._waker = os.pipe()
        for descriptor in (self._woken, self._waker):
            os.set_blocking(descriptor, False)
        signal.signal(signal.SIGCHLD, lambda number, frame: None)
        # The only other signal with a handler: a sample could send it.
        signal.signal(signal.SIGINT, signal.SIG_IGN)
        signal.set_wakeup_fd(self._waker, warn_on_full_buffer=False)
        self._modes = [os.stat(path).st_mode for path in confines.scratch]

    def run(self, body: Callable[[], None], cpu_seconds: float) -> Ending:
        """Fork a child that executes `body`, wait for its end, wipe out whatever it has started."""
        started = time.monotonic()
        child = os.fork()
        if child == 0:
            self._become_child(body, cpu_seconds)
        how, used = self._wait(child, started, cpu_seconds)
        more, alone = self._kill_the_rest()
        used += more
        wall = time.monotonic() - started
        if how == f"signal {int(signal.SIGXCPU)}" or (how[:4] == "exit" and used > cpu_seconds):
            how = "cpu"
        return Ending(how, used, wall, alone and self._sweep())

    def _become_child(self, body: Callable[[], None], cpu_seconds: float) -> None:
        leave = os._exit
        try:
            signal.set_wakeup_fd(-1)
            signal.signal(signal.SIGCHLD, signal.SIG_DFL)
            signal.signal(signal.SIGINT, signal.default_int_handler)
            for descriptor in (self._woken, self._waker, self._control):
                os.close(descriptor)
            # Behind the keeper's own clock, for the case that it is disturbed.
            seconds = int(cpu_seconds) + 2
            resource.setrlimit(resource.RLIMIT_CPU, (seconds, seconds + 1))
            if self._confine:
                self._confine()
            body()
        finally:
            leave(1)

    def _wait(self, child: int, started: float, cpu_seconds: float) -> tuple[str, float]:
        """How the child ended, and the processor seconds that it and its reaped children took."""
        poll = select.poll()
        poll.register(self._woken, select.POLLIN)
        poll.register(self._control, select.POLLIN)
        deadline, look = started + wall_limit(cpu_seconds), started + LOOK_SECONDS
        how = ""
        while True:
            ready = poll.poll(max(0.0, look - time.monotonic()) * 1000)
            for descriptor, _ in ready:
                if descriptor == self._control:
                    how = "stopped"
                else:
                    os.read(self._woken, 512)
            pid, status, usage = os.wait4(child, os.WNOHANG)
            if pid:
                return how or _described(status), usage.ru_utime + usage.ru_stime
            now = time.monotonic()
            if not how and now >= look:
                look = now + LOOK_SECONDS
                how = self._excess(cpu_seconds) or ("wall" if now >= deadline else "")
            if how:
                os.kill(child, signal.SIGKILL)
                _, _, usage = os.wait4(child, 0)
                return how, usage.ru_utime + usage.ru_stime

    def _excess(self, cpu_seconds: float) -> str:
        """The limit that all processes of the child together have passed, if they have."""
        cpu = memory = 0.0
        for pid in self._processes():
            try:
                with open(f"/proc/{pid}/stat", "rb") as stat, open(f"/proc/{pid}/statm") as pages:
                    fields = stat.read().rpartition(b")")[2].split()
                    resident, shared = pages.read().split()[1:3]
            except (OSError, ValueError):
                continue
            cpu += sum(map(int, fields[11:15])) / CPU_TICKS
            memory += (int(resident) - int(shared)) * PAGE_BYTES
        if cpu > cpu_seconds:
            return "cpu"
        return "memory" if memory > self._confines.memory_bytes else ""

    def _processes(self) -> Iterator[int]:
        """The processes of the child: all but this one where it has a PID namespace of its own."""
        own = os.getpid()
        everybody = [int(name) for name in os.listdir("/proc") if name.isdigit()]
        if self._confines.alone:
            return (pid for pid in everybody if pid != own)
        return iter(_descendants(own, everybody))

    def _kill_the_rest(self) -> tuple[float, bool]:
        """Kill what is left of a child; the processor seconds it took, and whether all is dead."""
        used = 0.0
        for _ in range(HUNTS):
            if self._confines.alone:
                try:
                    os.kill(-1, signal.SIGKILL)
                except ProcessLookupError:
                    return used, True
            else:
                for pid in self._processes():
                    os.kill(pid, signal.SIGKILL)
            try:
                while True:
                    # Whatever is alive has been sent its end: this waits for no one's pleasure.
                    flags = 0 if self._confines.alone else os.WNOHANG
                    pid, _, usage = os.wait4(-1, flags)
                    if not pid:
                        break
                    used += usage.ru_utime + usage.ru_stime
            except ChildProcessError:
                return used, True
        return used, False

    def _sweep(self) -> bool:
        """Empty the scratch directories; whether they are as they were."""
        try:
            for path, mode in zip(self._confines.scratch, self._modes, strict=True):
                if os.stat(path).st_mode != mode:
                    return False
                if names := os.listdir(path):
                    _remove(path, names, SWEPT_ENTRIES, SWEPT_DEPTH)
        except (OSError, RecursionError):
            return False
        return True


def _described(status: int) -> str:
    code = os.waitstatus_to_exitcode(status)
    return f"exit {code}" if code >= 0 else f"signal {-code}"


def _descendants(root: int, everybody: list[int]) -> list[int]:
    children: dict[int, list[int]] = {}
    for pid in everybody:
        try:
            with open(f"/proc/{pid}/stat", "rb") as stat:
                fields = stat.read().rpartition(b")")[2].split()
        except OSError:
            continue
        if fields[0] != b"Z" or int(fields[1]) != root:
            children.setdefault(int(fields[1]), []).append(pid)
    found, waiting = [], [root]
    while waiting:
        for pid in children.get(waiting.pop(), ()):
            found.append(pid)
            waiting.append(pid)
    return found


def _remove(path: str, names: list[str], left: int, depth: int) -> int:
    """Remove entries of a directory; how many more may be removed. Raises OSError beyond that."""
    for name in names:
        left -= 1
        if left < 0 or depth == 0:
            raise OSError("too much is left behind")
        entry = f"{path}/{name}"
        if os.path.isdir(entry) and not os.path.islink(entry):
            left = _remove(entry, os.listdir(entry), left, depth - 1)
            os.rmdir(entry)
        else:
            os.unlink(entry)
    return left
