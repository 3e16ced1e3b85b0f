"""Going on after a kill: a lock that a dead Snakemake left must not stop the next run."""

import shutil
from pathlib import Path
from typing import IO

from scripts.lib.locks import lock

# Open for as long as this process lives: the kernel frees the lock at its end, however it ends.
_held: list[IO[bytes]] = []


def clear_stale_lock(state: Path) -> None:
    """Remove Snakemake's own lock from its state directory when nobody can be holding it.

    Snakemake locks a directory by files, which outlive a SIGKILL and then ask the user for
    `--unlock`. Every run of this workflow also holds a kernel lock, which cannot outlive it:
    whoever gets that one is alone, and any lock file is a leftover. Where another run holds it,
    nothing is touched, and Snakemake's lock does its work.
    """
    state.mkdir(exist_ok=True)
    file = open(state / "run.lock", "wb")
    if lock(file) is not True:
        file.close()
        return
    _held.append(file)
    shutil.rmtree(state / "locks", ignore_errors=True)
    (state / "locks").mkdir()
