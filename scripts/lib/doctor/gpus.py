"""The GPUs of this machine, whether PyTorch can use them, and which are free."""

import os
import subprocess
import sys
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path

from scripts.lib.doctor import MISSING, OK, SECONDS, WARN, Finding
from scripts.lib.doctor.setup import Setup

# PyTorch may come from a slow file system, and asks the driver.
TORCH_SECONDS = 60.0
TORCH = "import torch; print(torch.__version__, torch.version.cuda, torch.cuda.is_available())"


def gpus(setup: Setup | None) -> list[Finding]:
    """The GPUs beside those that a step asks for at most; without any, the CPU stands in."""
    from scripts.lib.gpus import visible_gpus

    wanted, paged = (_wanted(setup), setup.values("sampling/engine")) if setup else (1, [])
    found = visible_gpus()
    elsewhere = setup is not None and setup.on_slurm
    if not found:
        if elsewhere:
            return [Finding(OK, "gpu", "none on this machine: the partitions have them")]
        for engine in ("vllm", "paged"):
            if engine in paged:
                detail = f"none, and sampling.engine is {engine}"
                return [Finding(MISSING, "gpu", detail, "set sampling.engine: auto")]
        return [Finding(OK, "gpu", "none: everything runs on the CPU, small models only")]
    free = [gpu for gpu in found if not _claimed(gpu.id)]
    findings = [
        Finding(OK, "gpu", f"{len(found)}, {len(free)} not claimed by runs of ours{_memory()}")
    ]
    if len(found) < wanted and not elsewhere:
        detail = f"a step asks for {wanted} and there are {len(found)}"
        remedy = "lower training.gpus or sampling.processes, or name a cluster's profile"
        findings = [Finding(MISSING, "gpu", detail, remedy)]
    return [*findings, torch()]


def torch() -> Finding:
    """Whether PyTorch, in a process of its own, sees a GPU."""
    try:
        version("torch")
        done = subprocess.run(
            [sys.executable, "-c", TORCH], capture_output=True, text=True, timeout=TORCH_SECONDS
        )
    except PackageNotFoundError:
        return Finding(MISSING, "torch", "is not installed", "see packages")
    except subprocess.TimeoutExpired:
        return Finding(WARN, "torch", f"was not there within {TORCH_SECONDS:g} s", "try again")
    if done.returncode:
        return Finding(MISSING, "torch", _last(done.stderr), "install it anew")
    name, cuda, available = done.stdout.split()[-3:]
    if cuda == "None":
        return Finding(WARN, "torch", f"{name} is built for the CPU", "see docs/environments.md")
    if available != "True":
        detail = f"{name} with CUDA {cuda} sees no GPU"
        return Finding(WARN, "torch", detail, "is the driver too old for it? see nvidia-smi")
    return Finding(OK, "torch", f"{name} with CUDA {cuda} sees the GPU")


def _wanted(setup: Setup) -> int:
    trained = setup.values("generator/training/gpus") + setup.values("student/training/gpus")
    asked = trained + setup.values("sampling/processes")
    # `auto` asks for as many as there are to be on a cluster.
    return max(number for number in asked if isinstance(number, int))


def _claimed(gpu: str) -> bool:
    """Whether a run holds the lock of a GPU; looks at the lock for no more than a moment."""
    from scripts.lib.gpus import DEFAULT_LOCKS, LOCKS, lock_name
    from scripts.lib.locks import lock

    path = Path(os.environ.get(LOCKS, DEFAULT_LOCKS), lock_name(gpu))
    try:
        with open(path, "rb") as file:
            return lock(file) is False
    except OSError:
        return False


def _memory() -> str:
    """The driver and the memory of each GPU as the driver's own tool tells them, if it is there."""
    query = "--query-gpu=name,memory.free,memory.total,driver_version"
    try:
        done = subprocess.run(
            ["nvidia-smi", query, "--format=csv,noheader,nounits"],
            capture_output=True,
            text=True,
            timeout=SECONDS,
        )
        rows = [[part.strip() for part in line.split(",")] for line in done.stdout.splitlines()]
        told = [
            f"{name} {int(free) / 1024:.0f} of {int(total) / 1024:.0f} GiB free"
            for name, free, total, _ in rows
        ]
    except (OSError, subprocess.TimeoutExpired, ValueError):
        return ""
    return f": {'; '.join(told)}; driver {rows[0][3]}" if told and not done.returncode else ""


def _last(text: str) -> str:
    return (text.strip() or "it ended without a word").splitlines()[-1][:200]
