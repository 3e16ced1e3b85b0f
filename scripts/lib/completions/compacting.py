"""Compacting a journal: the files of runs that have ended become one."""

import contextlib
import json
import os
import re
import socket
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

from scripts.lib.completions.entries import REPLY, cost_alone, line_of, settled
from scripts.lib.completions.journal import (
    COMPACTING_LOCK,
    REPLACED,
    files_in,
    lines_of,
    stamp,
)
from scripts.lib.errors import UserError
from scripts.lib.files import atomic_file
from scripts.lib.locks import lock

# Files that are merged at a time, and so are open: a process may often have a thousand.
MOST_AT_ONCE = 500


class Compacted(NamedTuple):
    """How many files there were `before` and are `after`, and what was left as it is or left out.

    `others` are the files of other hosts, `busy` those of runs that go on.
    """

    before: int
    after: int
    others: int
    busy: int
    broken_lines: int


def compact(folder: Path, other_hosts: bool = False) -> Compacted:
    """Merge the files that no live process writes into one, with one reply to each request.

    Left out are torn and broken lines; of a second reply to a request, and of failures, what they
    have cost stays. A file that is locked, or of which no lock says that it is free, is left alone;
    so is one of another host, whose locks need not be seen from here, unless `other_hosts` says
    that nothing runs there. A process that reads meanwhile is not disturbed.
    """
    with open(folder / COMPACTING_LOCK, "ab") as claim:
        if lock(claim) is not True:
            raise UserError(
                f"{folder}: is being read or compacted right now, or its file system has no "
                "locks: try again later"
            )
        _finish(folder)
        paths = files_in(folder)
        mine = [path for path in paths if other_hosts or _is_of_this_host(path)]
        waiting, kept, busy, broken = list(mine), 0, 0, Counter[Path]()
        while waiting:
            portion, waiting = waiting[:MOST_AT_ONCE], waiting[MOST_AT_ONCE:]
            with contextlib.ExitStack() as stack:
                free = [path for path in portion if _is_free(path, stack)]
                busy += len(portion) - len(free)
                merged = _merge(folder, free, broken)
            if merged and waiting:
                # It comes first: of two replies to a request the later one counts.
                waiting.insert(0, merged)
            elif merged:
                kept = 1
        before = len(mine) - busy
        return Compacted(before, kept, len(paths) - len(mine), busy, broken.total())


def _is_free(path: Path, stack: contextlib.ExitStack) -> bool:
    """Whether no process writes a file; none can from here on, as long as the stack is open."""
    return lock(stack.enter_context(open(path, "r+b"))) is True


def _merge(folder: Path, paths: list[Path], broken: Counter[Path]) -> Path | None:
    """One file in place of some: a merged one, or the only one where nothing is to be left out."""
    found = Counter[Path]()
    left = Counter(
        line.key
        for path in paths
        for line in settled(lines_of(path, found, thorough=True))
        if line.kind == REPLY
    )
    broken.update(found)
    if not paths or (len(paths) == 1 and not found):
        return paths[0] if paths else None
    merged = folder / f"compacted-{stamp()}-{socket.gethostname()}.jsonl"
    # From the moment in which the merged file has its name the others are not read any more,
    # whether they are still there or not.
    with atomic_file(merged.with_suffix(REPLACED)) as names:
        names.writelines(f"{path.name}\n" for path in paths)
    partial = merged.with_suffix(".partial")
    with open(partial, "wb") as stream:
        stream.writelines(_merged_lines(paths, left))
        stream.flush()
        os.fsync(stream.fileno())
    partial.replace(merged)
    _finish(folder)
    return merged


def _merged_lines(paths: list[Path], left: Counter[str]) -> Iterator[bytes]:
    """The lines of files, with one reply to each request; `left` counts those of each."""
    # The last one counts, as it does for who reads the files one after the other.
    for path in paths:
        for kind, key, content in settled(lines_of(path, thorough=True)):
            left[key] -= kind == REPLY
            if kind != REPLY or not left[key]:
                yield content
            else:
                yield line_of(cost_alone(json.loads(content)))


def _finish(folder: Path) -> None:
    """Remove what merged files replace, and what a merging that was killed has left."""
    for path in folder.glob(f"*{REPLACED}"):
        if path.with_suffix(".jsonl").exists():
            for name in path.read_text(encoding="utf-8").splitlines():
                (folder / name).unlink(missing_ok=True)
        path.unlink()
    for path in folder.glob("*.partial"):
        path.unlink()


def _is_of_this_host(path: Path) -> bool:
    host = re.escape(socket.gethostname())
    return re.search(rf"(^|-)\d{{8}}T\d+-{host}(-\d+)?$", path.stem) is not None
