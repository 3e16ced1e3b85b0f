"""Processes as /proc shows them."""

import os
from dataclasses import dataclass
from pathlib import Path

TICKS, PAGE = os.sysconf("SC_CLK_TCK"), os.sysconf("SC_PAGE_SIZE")


@dataclass(frozen=True)
class Process:
    """One process.

    cpu_seconds: its own and that of its children that have ended.
    """

    id: int
    parent: int
    cpu_seconds: float
    memory_bytes: int


def everything() -> dict[int, Process]:
    """All processes that can be seen, by id."""
    found = (_process(path) for path in Path("/proc").glob("[0-9]*/stat"))
    return {process.id: process for process in found if process}


def _process(path: Path) -> Process | None:
    try:
        # The name, in parentheses, may hold anything.
        before, _, after = path.read_text(errors="replace").rpartition(") ")
    except OSError:
        return None
    fields = after.split()
    return Process(
        id=int(before.split()[0]),
        parent=int(fields[1]),
        cpu_seconds=sum(map(int, fields[11:15])) / TICKS,
        memory_bytes=int(fields[21]) * PAGE,
    )


def tree(root: int) -> list[Process]:
    """A process, first, and all below it."""
    processes = everything()
    found = [processes[root]]
    for process in found:
        found += [other for other in processes.values() if other.parent == process.id]
    return found


def cpu_seconds() -> float:
    """CPU time of this process and of all below it, living ones and those that have ended."""
    return sum(process.cpu_seconds for process in tree(os.getpid()))
