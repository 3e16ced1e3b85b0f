"""The kernel's locks on files, which end with the process that holds them."""

import fcntl
import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import IO


def lock(file: IO[bytes], kind: int = fcntl.LOCK_EX | fcntl.LOCK_NB) -> bool | None:
    """Take the kernel's lock on an open file if it is free; whether it was.

    `None` on a file system that has no locks. A network file system wants a file that is open for
    writing (for reading, where the lock is to be shared).
    """
    try:
        fcntl.flock(file, kind)
    except BlockingIOError:
        return False
    except OSError:
        return None
    return True


@contextmanager
def locked(path: Path) -> Iterator[None]:
    """Let one process at a time into the block, of those that name the same file.

    The file is made if it is not there, and may be replaced in the block. On a file system that has
    no locks all are let in.
    """
    while True:
        with open(path, "a+b") as file:
            lock(file, fcntl.LOCK_EX)
            if os.fstat(file.fileno()).st_ino == path.stat().st_ino:
                yield
                return
