"""Runs one child process within limits, and leaves nothing behind of what it has started.

The process that does so is the first one of its jail (in a jail with namespaces: process 1 of its
PID namespace, which inherits every orphan). It imports only what is cheap to fork.
"""

import os
import re
import resource
import select
import time
from _signal import SIG_IGN, SIGINT, SIGKILL, SIGXCPU, default_int_handler, signal
from collections.abc import Callable, Iterator
from contextlib import suppress
from typing import NamedTuple

CPU_TICKS = os.sysconf("SC_CLK_TCK")
# Memory of a process that is no file's: its own, and what it shares with others.
RESIDENT = re.compile(r"^Rss(?:Anon|Shmem):\s*(\d+) kB", re.MULTILINE)
OUT_OF_TIME = f"signal {int(SIGXCPU)}"
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

    def line(self) -> bytes:
        """It as JSON."""
        clean = "true" if self.clean else "false"
        text = '{"how": "%s", "cpu": %.6f, "wall": %.6f, "clean": %s}'
        return (text % (self.how, self.cpu, self.wall, clean)).encode()


class Confines(NamedTuple):
    """What all children of a jail may use; see `model.Limits`, outside.

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


def close_standard_streams() -> None:
    """Put a newly opened /dev/null in place of standard input, output and error."""
    null = os.open("/dev/null", os.O_RDWR)
    for descriptor in (0, 1, 2):
        os.dup2(null, descriptor)
    os.close(null)


class Keeper:
    """Forks children, one at a time, and ends them.

    control: the descriptor on which the supervisor sends. stop: that of the connection between
        judges and players. Neither is a child's. confine: called in each child, where no
        jail confines it already.
    """

    def __init__(
        self,
        confines: Confines,
        control: int,
        stop: int,
        confine: Callable[[], None] | None,
    ) -> None:
        self.confines = confines
        self.control = control
        self.stop = stop
        self._confine = confine
        self._poll = select.poll()
        for descriptor in (control, stop):
            self._poll.register(descriptor, select.POLLIN)
        # The only signal with a handler: a sample could send it.
        signal(SIGINT, SIG_IGN)
        self._looks = [_look(path) for path in confines.scratch]
        with open("/proc/self/status") as status:
            self._own_memory = 1024 * sum(map(int, RESIDENT.findall(status.read())))

    def run(
        self,
        body: Callable[[], None],
        cpu_seconds: float,
        given: list[int],
        heard: Callable[[int], bool],
        result: int = -1,
    ) -> Ending:
        """Fork a child that executes `body`, wait for its end, wipe out whatever it has started.

        given: descriptors that are the child's from now on.
        heard: called with the descriptor, control or stop, on which something has come; whether the
            child is to be stopped.
        result: a descriptor from which something can be read, or nothing any more, when the child
            has done its work.
        """
        started = time.monotonic()
        child = os.fork()
        if child == 0:
            self._become_child(body, cpu_seconds)
        for descriptor in given:
            os.close(descriptor)
        if result >= 0:
            self._poll.register(result, select.POLLIN)
        how, used = self._wait(child, started, cpu_seconds, heard)
        if result >= 0:
            self._poll.unregister(result)
        more, alone = self._kill_the_rest()
        used += more
        wall = time.monotonic() - started
        if how == OUT_OF_TIME or (how[:4] == "exit" and used > cpu_seconds):
            how = "cpu"
        return Ending(how, used, wall, alone and self._sweep())

    def _become_child(self, body: Callable[[], None], cpu_seconds: float) -> None:
        leave = os._exit
        try:
            signal(SIGINT, default_int_handler)
            os.close(self.control)
            os.close(self.stop)
            # Of its own: flags and locks of an open file are those of everybody who has it.
            close_standard_streams()
            # Behind the keeper's own clock, for the case that it is disturbed.
            seconds = int(cpu_seconds) + 2
            resource.setrlimit(resource.RLIMIT_CPU, (seconds, seconds + 1))
            if self._confine:
                self._confine()
            body()
        finally:
            leave(1)

    def _wait(
        self, child: int, started: float, cpu_seconds: float, heard: Callable[[int], bool]
    ) -> tuple[str, float]:
        """How the child ended, and the processor seconds that it and its reaped children took."""
        deadline, how = started + wall_limit(cpu_seconds), ""
        while not how:
            if ready := self._poll.poll(LOOK_SECONDS * 1000):
                for descriptor, _ in ready:
                    if descriptor not in (self.control, self.stop) or heard(descriptor):
                        how = "stopped"
                continue
            # A child that dies is missed by the judge, who has us stopped, long before this; unless
            # something that it has started keeps its connection open.
            pid, status, usage = os.wait4(child, os.WNOHANG)
            if pid:
                return _described(status), usage.ru_utime + usage.ru_stime
            how = self._excess(cpu_seconds) or ("wall" if time.monotonic() > deadline else "")
        # A child that has ended by itself says how, whoever has us stopped; or is about to end.
        pid, status, usage = os.wait4(child, os.WNOHANG)
        if pid:
            return _described(status), usage.ru_utime + usage.ru_stime
        os.kill(child, SIGKILL)
        _, status, usage = os.wait4(child, 0)
        return how if status == SIGKILL else _described(status), usage.ru_utime + usage.ru_stime

    def _excess(self, cpu_seconds: float) -> str:
        """The limit that all processes of the child together have passed, if they have."""
        cpu = memory = 0.0
        for pid in self._processes():
            try:
                with open(f"/proc/{pid}/stat", "rb") as stat, open(f"/proc/{pid}/status") as status:
                    fields = stat.read().rpartition(b")")[2].split()
                    resident = [int(size) for size in RESIDENT.findall(status.read())]
            except (OSError, ValueError):
                continue
            cpu += sum(map(int, fields[11:15])) / CPU_TICKS
            # What a fork has in common with this process is not its own.
            memory += max(0, 1024 * sum(resident) - self._own_memory)
        if cpu > cpu_seconds:
            return "cpu"
        return "memory" if memory > self.confines.memory_bytes else ""

    def _processes(self) -> Iterator[int]:
        """The processes of the child: all but this one where it has a PID namespace of its own."""
        own = os.getpid()
        everybody = [int(name) for name in os.listdir("/proc") if name.isdigit()]
        if self.confines.alone:
            return (pid for pid in everybody if pid != own)
        return iter(_descendants(own, everybody))

    def _kill_the_rest(self) -> tuple[float, bool]:
        """Kill what is left of a child; the processor seconds it took, and whether all is dead."""
        used = 0.0
        for _ in range(HUNTS):
            if self.confines.alone:
                # Everybody in the namespace: `zygote` has made sure that there is one.
                try:
                    os.kill(-1, SIGKILL)
                except ProcessLookupError:
                    return used, True
            else:
                for pid in self._processes():
                    with suppress(ProcessLookupError):
                        os.kill(pid, SIGKILL)
            try:
                while True:
                    # Whatever is alive has been sent its end: this waits for no one's pleasure.
                    flags = 0 if self.confines.alone else os.WNOHANG
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
            for path, look in zip(self.confines.scratch, self._looks, strict=True):
                # Other file systems do not count entries.
                if _look(path) != look or (not self.confines.alone and os.listdir(path)):
                    _remove(path, os.listdir(path), SWEPT_ENTRIES, SWEPT_DEPTH)
                    if _look(path) != look:
                        return False
        except (OSError, RecursionError):
            return False
        return True


def _look(path: str) -> tuple[int, ...]:
    """What a directory shows of itself; on a tmpfs, its size is that of its entries."""
    found = os.stat(path)
    return found.st_mode, found.st_size, found.st_nlink


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
