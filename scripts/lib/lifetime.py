"""No process outlives the run that started it.

Snakemake starts `bash`, which starts the step. When Snakemake is killed with SIGKILL nobody tells
the step, and it would go on using the GPU or paying for replies beside the next run.
"""

import ctypes
import os
import signal
import sys
import threading
import time
from pathlib import Path

POLL_SECONDS = 1.0
# Longer than a step may take to finish what it has paid for, shorter than Slurm's KillWait.
INSIST_SECONDS = 28.0
PR_SET_PDEATHSIG = 1


def _parent(pid: int) -> int | None:
    """The parent of a process, `None` when it is gone."""
    try:
        stat = Path(f"/proc/{pid}/stat").read_text()
    except OSError:
        return None
    # The second field is the command in parentheses and may hold anything.
    return int(stat.rpartition(")")[2].split()[1])


def _is_snakemake(pid: int) -> bool:
    try:
        arguments = Path(f"/proc/{pid}/cmdline").read_bytes().split(b"\0")
    except OSError:
        return False
    return any(os.path.basename(argument) == b"snakemake" for argument in arguments)


def _links_to_snakemake() -> list[tuple[int, int]]:
    """The (process, parent) pairs from this process up to the outermost Snakemake above it."""
    links, pid, found = [], os.getpid(), 0
    while (parent := _parent(pid)) and parent > 1:
        links.append((pid, parent))
        if _is_snakemake(parent):
            found = len(links)
        pid = parent
    return links[:found]


def end_with_snakemake() -> None:
    """Send SIGTERM to this process as soon as the Snakemake run above it is gone.

    Does nothing where the step was started by hand, or where there is no /proc (macOS).
    """
    if not sys.platform.startswith("linux") or not (links := _links_to_snakemake()):
        return

    def watch() -> None:
        while all(_parent(pid) == parent for pid, parent in links):
            time.sleep(POLL_SECONDS)
        os.kill(os.getpid(), signal.SIGTERM)
        # The main thread may be deep in a library that does not return: insist.
        time.sleep(INSIST_SECONDS)
        os.kill(os.getpid(), signal.SIGKILL)

    threading.Thread(target=watch, daemon=True).start()


def die_with_parent(parent: int) -> None:
    """Ask the kernel to kill this process when its parent, of that id, dies (Linux).

    A parent that died before it was asked kills this process at once.
    """
    if sys.platform.startswith("linux"):
        ctypes.CDLL(None).prctl(PR_SET_PDEATHSIG, signal.SIGKILL)
        if os.getppid() != parent:
            os.kill(os.getpid(), signal.SIGKILL)
