"""Free space and inodes where a run writes, beside what it will want: roughly, without quotas."""

import os
import tempfile
from collections.abc import Mapping
from pathlib import Path

from scripts.lib.doctor import MISSING, OK, WARN, Finding
from scripts.lib.doctor.hub import cache, in_cache, models_of
from scripts.lib.doctor.setup import Setup
from scripts.lib.resources import parameters_of

GB = 10**9
# Bytes of a weight: in a download (16 bits), in a directory that a step writes, and in a checkpoint
# of full training with the two moments of Adam.
DOWNLOADED, WRITTEN, CHECKPOINT = 2, 4, 12
# Bytes of a text, and of a reply with its request, in all files that hold them.
TEXT, REPLY = 3_000, 8_000
# What is wanted in any case.
LEAST_BYTES, LEAST_INODES = GB, 10_000
# A sentence encoder's download.
ENCODER = GB / 2


def disk(setup: Setup | None) -> list[Finding]:
    """One finding a file system of those that a run writes to."""
    return room(wants(setup, main=True), wants(setup, main=False))


def wants(setup: Setup | None, *, main: bool) -> dict[Path, float]:
    """The places that a run writes to, with the bytes that it will want there.

    `main` leaves out what only a student wants.
    """
    results, kept, hub = 0.0, 0.0, 0.0
    if setup:
        for name, (purpose, needed) in models_of(setup).items():
            if main and not needed:
                continue
            if name in setup.config["models"]:
                results += (
                    0 if Path("results/models", name).is_dir() else WRITTEN * parameters_of(name)
                )
            elif "/" in name and not Path(name).is_dir() and not in_cache("models", name):
                hub += ENCODER if purpose == "encoder" else DOWNLOADED * parameters_of(name)
        for task in setup.tasks.values():
            for role in ("generator",) if main else ("generator", "student"):
                if task[role]["training"]["method"] == "full":
                    results += WRITTEN * parameters_of(task[role]["model"])
                    kept = max(kept, CHECKPOINT * parameters_of(task[role]["model"]))
            texts = task["sampling"]["target_rows"] * task["sampling"]["margin"]
            results += texts * TEXT
            kept += texts * (TEXT + task["label"]["replies"] * REPLY)
    temporary = Path(os.environ.get("TMPDIR") or tempfile.gettempdir())
    return {Path("results"): results, Path(".cache"): kept, temporary: 0.0, cache(): hub}


def room(needed: Mapping[Path, float], wanted: Mapping[Path, float]) -> list[Finding]:
    """Whether file systems have room for so many bytes: the needed ones, and all that are wanted.

    Both name the same places; those on one file system share its room.
    """
    places: dict[int, list[Path]] = {}
    for path in wanted:
        places.setdefault(_there(path).stat().st_dev, []).append(path)
    return [
        _room(paths, sum(needed[path] for path in paths), sum(wanted[path] for path in paths))
        for paths in places.values()
    ]


def _room(paths: list[Path], needed: float, wanted: float) -> Finding:
    """What one file system has for all that lies on it."""
    names = ", ".join(str(path) for path in paths)
    if closed := [path for path in paths if _closed(path)]:
        return Finding(MISSING, "disk", f"{closed[0]}: may not be written", "check the permissions")
    state = os.statvfs(_there(paths[0]))
    free = state.f_bavail * state.f_frsize
    # Some file systems count no inodes.
    inodes = state.f_favail if state.f_files else None
    counted = "" if inodes is None else f" and {inodes:,} inodes"
    detail = f"{names}: {free / GB:,.1f} GB{counted} free"
    if wanted:
        detail += f", about {wanted / GB:,.1f} GB wanted ({needed / GB:,.1f} without students)"
    remedy = "free some space, or put it elsewhere (HF_HOME, TMPDIR, a link)"
    if free < needed or not free or inodes == 0:
        return Finding(MISSING, "disk", detail, remedy)
    if free < wanted + LEAST_BYTES or (inodes is not None and inodes < LEAST_INODES):
        return Finding(WARN, "disk", detail, remedy)
    return Finding(OK, "disk", detail)


def _there(path: Path) -> Path:
    """A place, or the nearest folder above it that exists already."""
    path = path.absolute()
    return next(place for place in (path, *path.parents) if os.path.exists(place))


def _closed(path: Path) -> bool:
    """Whether nothing may be written in a place."""
    return not os.access(_there(path), os.W_OK | os.X_OK)
