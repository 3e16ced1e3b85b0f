"""How much memory this process may still take."""

import os
import re
from pathlib import Path

from scripts.lib.ranks import local_rank


def free_bytes(device: str) -> float:
    """The memory that each process of this machine has for itself: of its GPU, or its share."""
    if device == "cuda":
        import torch

        # A process that was left one GPU of several sees it as the first.
        return float(torch.cuda.mem_get_info(local_rank() % torch.cuda.device_count())[0])
    known = [available for available in (_available(), _left_in_cgroup()) if available]
    return min(known, default=float("inf")) / int(os.environ.get("LOCAL_WORLD_SIZE", 1))


def _available() -> float | None:
    """What the kernel could give, in bytes."""
    try:
        found = re.search(r"MemAvailable: +(\d+) kB", Path("/proc/meminfo").read_text())
    except OSError:
        return None
    return 1024.0 * int(found[1]) if found else None


def _left_in_cgroup(root: Path = Path("/sys/fs/cgroup")) -> float | None:
    """What the process's control group may still take, in bytes; `None` where it has no limit."""
    try:
        group = Path("/proc/self/cgroup").read_text().rpartition("0::/")[2].strip()
        folder = root / group if (root / group / "memory.max").exists() else root
        limit = (folder / "memory.max").read_text().strip()
        used = int((folder / "memory.current").read_text())
        # Of files that were read: it is given back when memory is asked for.
        cached = re.search(r"^inactive_file (\d+)$", (folder / "memory.stat").read_text(), re.M)
    except (OSError, ValueError):
        return None
    return None if limit == "max" else float(int(limit) - used + int(cached[1] if cached else 0))
