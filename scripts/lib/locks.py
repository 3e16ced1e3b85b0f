"""The kernel's locks on files and folders, which end with the process that holds them."""

import fcntl
import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import IO


def lock(file: IO[bytes] | int, kind: int = fcntl.LOCK_EX | fcntl.LOCK_NB) -> bool | None:
    """Take the kernel's lock on an open file if it is free; whether it was.

    `None` on a file system that has no locks.
    """
    try:
        fcntl.flock(file, kind)
    except BlockingIOError:
        return False
    except OSError:
        return None
    return True


@contextmanager
def locked_folder(folder: Path) -> Iterator[None]:
    """Let one process at a time into the block, of those that name the same folder.

    On a file system that has no locks it lets in all.
    """
    descriptor = os.open(folder, os.O_RDONLY)
    try:
        lock(descriptor, fcntl.LOCK_EX)
        yield
    finally:
        os.close(descriptor)
