"""Compacting a journal: the files of runs that have ended become one."""

import contextlib
import json
import os
import re
import socket
from collections import Counter
from collections.abc import Iterator
from pathlib import Path

from scripts.lib.completions.entries import cost_alone, key_in, line_of
from scripts.lib.completions.journal import (
    COMPACTING_LOCK,
    REPLACED,
    files_in,
    lock,
    stamp,
    whole_lines,
)
from scripts.lib.errors import UserError
from scripts.lib.files import atomic_file


def compact(folder: Path, other_hosts: bool = False) -> tuple[int, int]:
    """Merge the files that no live process writes into one, with one reply to each request.

    Left out are torn lines; of a second reply to a request, and of failures, what they have cost
    stays. A file that is locked, or of which no lock says that it is free, is left alone; so is
    one of another host, whose locks need not be seen from here, unless `other_hosts` says that
    nothing runs there. Returns the number of the others before and after. A process that reads
    meanwhile is not disturbed.
    """
    with contextlib.ExitStack() as stack:
        claim = stack.enter_context(open(folder / COMPACTING_LOCK, "ab"))
        if lock(claim) is not True:
            raise UserError(
                f"{folder}: is being read or compacted right now, or its file system has no "
                "locks: try again later"
            )
        _finish(folder)
        paths = []
        for path in files_in(folder):
            if not (other_hosts or _is_of_this_host(path)):
                continue
            file = stack.enter_context(open(path, "r+b"))
            if lock(file) is True:
                paths.append(path)
        if len(paths) < 2:
            return len(paths), len(paths)
        merged = folder / f"compacted-{stamp()}-{socket.gethostname()}.jsonl"
        # From the moment in which the merged file has its name the others are not read any more,
        # whether they are still there or not.
        with atomic_file(merged.with_suffix(REPLACED)) as names:
            names.writelines(f"{path.name}\n" for path in paths)
        partial = merged.with_suffix(".partial")
        with open(partial, "wb") as stream:
            stream.writelines(_merged(paths))
            stream.flush()
            os.fsync(stream.fileno())
        partial.replace(merged)
        _finish(folder)
        return len(paths), 1


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
    return re.search(rf"-{re.escape(socket.gethostname())}(-\d+)?$", path.stem) is not None


def _merged(paths: list[Path]) -> Iterator[bytes]:
    """The whole lines of files, with one reply to each request."""
    # The last one counts, as it does for who reads the files one after the other.
    left = Counter(key for path in paths for key, _ in _lines(path))
    for path in paths:
        for key, line in _lines(path):
            left[key] -= 1
            yield line if key is None or not left[key] else line_of(cost_alone(json.loads(line)))


def _lines(path: Path) -> Iterator[tuple[str | None, bytes]]:
    """The whole lines of a file, with the keys of their replies."""
    for line in whole_lines(path):
        with contextlib.suppress(ValueError, LookupError, TypeError):
            yield key_in(line), line
