"""Claims on the GPUs of a machine where no scheduler hands them out.

Each GPU has a lock file. The kernel's lock on it is the claim: it ends with the processes that hold
the file open, however they end.
"""

import os
import random
import re
import shutil
import subprocess
import time
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

from scripts.lib.console import say
from scripts.lib.errors import UserError
from scripts.lib.locks import lock
from scripts.lib.ranks import local_rank

VISIBLE = "CUDA_VISIBLE_DEVICES"
# The variable that names the folder of lock files, and the folder where all users and runs of a
# machine look for them, whatever their TMPDIR says.
LOCKS = "ADA_INSTRUCT_LOCKS"
DEFAULT_LOCKS = "/tmp"
DEVICE_FILES = ("nvidia[0-9]*", "kfd", "dxg")
POLL_SECONDS = 2.0
NVIDIA_SMI_SECONDS = 60


@dataclass(frozen=True)
class Gpu:
    """A GPU, or a part of one: `name` is how CUDA_VISIBLE_DEVICES calls it.

    `id` is what it is called in all processes of the machine, its UUID where that is known.
    """

    name: str
    id: str


def _listed(text: str) -> list[Gpu]:
    """The GPUs that `nvidia-smi -L` lists; of one that is cut into parts (MIG), the parts."""
    found: list[Gpu] = []
    for line in text.splitlines():
        if match := re.match(r"GPU (\d+): .*\(UUID: (GPU-[^)]+)\)", line):
            whole = Gpu(*match.groups())
            found.append(whole)
        elif match := re.match(r"\s+MIG .*\(UUID: (MIG-[^)]+)\)", line):
            if found[-1] == whole:
                found.pop()
            found.append(Gpu(match[1], match[1]))
    return found


def _named(names: list[str], gpus: list[Gpu]) -> list[Gpu]:
    """The GPUs that the entries of CUDA_VISIBLE_DEVICES name, by number or beginning of a UUID.

    As for CUDA, an entry that names none ends the list.
    """
    found: dict[str, Gpu] = {}
    for name in names:
        for gpu in gpus:
            if name == gpu.name or (name and not name.isdigit() and gpu.id.startswith(name)):
                found.setdefault(gpu.id, Gpu(name, gpu.id))
                break
        else:
            break
    return list(found.values())


def visible_gpus() -> list[Gpu]:
    """The GPUs that this process may use, all without CUDA_VISIBLE_DEVICES.

    No context is made on any of them, and without a GPU nothing heavy is loaded.
    """
    listing = shutil.which("nvidia-smi")
    if not listing and not any(any(Path("/dev").glob(name)) for name in DEVICE_FILES):
        return []
    entries = os.environ.get(VISIBLE)
    names = None if entries is None else [name.strip() for name in entries.split(",")]
    if names and names[0] in ("", "-1", "NoDevFiles"):
        return []
    gpus: list[Gpu] = []
    if listing:
        with suppress(OSError, subprocess.TimeoutExpired):
            done = subprocess.run(
                [listing, "-L"], capture_output=True, text=True, timeout=NVIDIA_SMI_SECONDS
            )
            gpus = _listed(done.stdout) if done.returncode == 0 else []
    if not gpus:
        import torch

        # Counts those of CUDA_VISIBLE_DEVICES alone.
        count = torch.cuda.device_count()
        return [Gpu(name, name) for name in (names or map(str, range(count)))][:count]
    return gpus if names is None else _named(names, gpus)


def lock_name(gpu: str) -> str:
    """The name of the lock file of a GPU, by its id."""
    return f"ada-instruct-gpu-{gpu.replace('/', '-')}.lock"


def _lock_file(folder: Path, gpu: Gpu) -> int:
    """Open the lock file of a GPU, so that runs of other users can open it too."""
    path = folder / lock_name(gpu.id)
    while True:
        # Reading is enough for a lock. O_CREAT is refused for a file of another user in a folder
        # like /tmp (fs.protected_regular), also where the file is there.
        with suppress(FileNotFoundError):
            return os.open(path, os.O_RDONLY | os.O_NOFOLLOW)
        with suppress(FileExistsError):
            made = os.open(path, os.O_RDONLY | os.O_CREAT | os.O_EXCL)
            os.fchmod(made, 0o666)
            return made


def _take(count: int, gpus: list[Gpu], folder: Path) -> tuple[list[Gpu], int]:
    """Lock `count` GPUs, or none; those that are locked, and how many others hold."""
    taken: dict[int, Gpu] = {}
    in_use = 0
    for gpu in gpus:
        file = _lock_file(folder, gpu)
        # Without locks on this file system nobody can be kept out.
        if lock(file) is False:
            os.close(file)
            in_use += 1
            continue
        taken[file] = gpu
        if len(taken) == count:
            for held in taken:
                os.set_inheritable(held, True)
            return list(taken.values()), in_use
    for held in taken:
        os.close(held)
    return [], in_use


def claim(count: int, gpus: list[Gpu], folder: Path | None = None) -> list[Gpu]:
    """Wait until `count` of the GPUs are free and hold them until this process and all that it
    leaves its open files to have ended.

    It takes all of them or none, so that two who want more than there is never wait for each other.
    """
    folder = folder or Path(os.environ.get(LOCKS, DEFAULT_LOCKS))
    said = False
    while True:
        taken, in_use = _take(count, gpus, folder)
        if taken:
            return taken
        if not said:
            said = True
            say(f"waiting for {count} free GPUs ({in_use} of {len(gpus)} in use by other runs)")
        # Two that gave back what the other needs must not try again at the same moment.
        time.sleep(POLL_SECONDS * random.uniform(0.5, 1.5))


def claim_visible(count: int) -> int:
    """Claim GPUs of this machine and leave only them in CUDA_VISIBLE_DEVICES; how many.

    0 where `count` is 0, which hides all, or there is no GPU: the CPU stands in for it. What a
    scheduler gave this job alone is free, so that it is claimed at once. Raises `UserError` where
    there are fewer than `count`.
    """
    if not count:
        os.environ[VISIBLE] = ""
    gpus = visible_gpus()
    if not gpus:
        return 0
    if len(gpus) < count:
        raise UserError(
            f"{count} GPUs are asked for and there are {len(gpus)}: lower training.gpus or "
            f"sampling.processes in config.yaml, widen {VISIBLE}, or name a profile of a cluster "
            "that has them"
        )
    taken = claim(count, gpus)
    os.environ[VISIBLE] = ",".join(gpu.name for gpu in taken)
    # CUDA counts the fastest first unless told to count as nvidia-smi does.
    os.environ["CUDA_DEVICE_ORDER"] = "PCI_BUS_ID"
    return count


def narrow_to_own_gpu() -> None:
    """Leave this process of a launch only the GPU of its local rank; to be called before torch is.

    For processes that work beside each other without speaking: each then finds its GPU as the
    first. Does nothing where the launch claimed no GPUs.
    """
    names = os.environ.get(VISIBLE, "").split(",")
    if len(names) > 1:
        os.environ[VISIBLE] = names[local_rank() % len(names)]
