"""Python, and its packages as requirements.txt pins them."""

import platform
import re
import sys
from importlib.metadata import PackageNotFoundError, requires, version
from pathlib import Path

from scripts.lib.doctor import MISSING, OK, WARN, Finding

PIN = re.compile(r"^([A-Za-z0-9][\w.-]*)==([^\s;\\]+)(?:\s*;\s*([^\\\n]+))?", re.MULTILINE)
INSTALL = "make .venv/ready, or as docs/environments.md says"
LOCK, CUDA = Path("requirements.txt"), Path("requirements-cuda.txt")
SHOWN = 3


def python() -> Finding:
    """The interpreter that runs this; the Makefile has looked whether it is new enough."""
    return Finding(OK, "python", f"{platform.python_version()}, {sys.executable}")


def packages(lock: Path = LOCK, cuda: Path = CUDA) -> Finding:
    """The installed packages beside the pins; those of `cuda` where PyTorch's build asks for them.

    A local part of a version (2.13.0+cpu) is what a pin leaves open.
    """
    pins = _pins(lock) | (_pins(cuda) if _wants_cuda() else {})
    absent, other = [], []
    for name, wanted in pins.items():
        try:
            found = version(name)
        except PackageNotFoundError:
            absent.append(name)
            continue
        if found != wanted and found.partition("+")[0] != wanted:
            other.append(f"{name} {found}, not {wanted}")
    if absent:
        detail = f"{len(absent)} of {len(pins)} are not installed: {_some(absent)}"
        return Finding(MISSING, "packages", detail, INSTALL)
    if other:
        detail = f"{len(other)} of {len(pins)} are not as pinned: {_some(other)}"
        return Finding(WARN, "packages", detail, INSTALL)
    return Finding(OK, "packages", f"all {len(pins)} as {lock.name} pins them")


def _pins(lock: Path) -> dict[str, str]:
    """The version of each package that a lock pins for this machine."""
    found = PIN.findall(lock.read_text(encoding="utf-8"))
    return {name: wanted for name, wanted, marker in found if _applies(marker)}


def _wants_cuda() -> bool:
    try:
        return any(one.startswith("nvidia-") for one in requires("torch") or [])
    except PackageNotFoundError:
        return False


def _applies(marker: str) -> bool:
    if not marker:
        return True
    try:
        from packaging.markers import Marker
    except ImportError:
        # Then others are missing as well, and are told of.
        return False
    return Marker(marker).evaluate()


def _some(names: list[str]) -> str:
    return "; ".join(names[:SHOWN]) + ("; ..." if len(names) > SHOWN else "")
