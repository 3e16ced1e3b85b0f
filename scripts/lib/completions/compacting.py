"""Compacting a journal: the files of runs that have ended become one."""

import contextlib
import json
import os
import re
import socket
from collections.abc import Iterator
from pathlib import Path

from scripts.lib.completions.entries import cost_alone, key_in, line_of
from scripts.lib.completions.journal import COMPACTING_LOCK, lock, stamp, whole_lines
from scripts.lib.errors import UserError


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
        paths = []
        for path in sorted(folder.glob("*.jsonl")):
            if not (other_hosts or _is_of_this_host(path)):
                continue
            file = stack.enter_context(open(path, "r+b"))
            if lock(file) is True:
                paths.append(path)
        if len(paths) < 2:
            return len(paths), len(paths)
        merged = folder / f"compacted-{stamp()}-{socket.gethostname()}.jsonl"
        # Not a name that a reader's pattern matches before it is whole.
        partial = merged.with_suffix(".partial")
        with open(partial, "wb") as stream:
            stream.writelines(_merged(paths))
            stream.flush()
            os.fsync(stream.fileno())
        partial.replace(merged)
        for path in paths:
            path.unlink()
        return len(paths), 1


def _is_of_this_host(path: Path) -> bool:
    return re.search(rf"-{re.escape(socket.gethostname())}(-\d+)?$", path.stem) is not None


def _merged(paths: list[Path]) -> Iterator[bytes]:
    """The whole lines of files, with one reply to each request."""
    written: set[str] = set()
    for path in paths:
        for line in whole_lines(path):
            try:
                key = key_in(line)
            except (ValueError, LookupError, TypeError):
                continue
            yield line_of(cost_alone(json.loads(line))) if key in written else line
            if key is not None:
                written.add(key)
