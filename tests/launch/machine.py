"""A machine with GPUs that are not there: an `nvidia-smi` on the path, a folder for lock files."""

import os
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

PROJECT = Path(__file__).parents[2]


class Machine:
    """Starts launches that see `gpus` GPUs, each of a module that the test writes."""

    def __init__(self, folder: Path, gpus: int, variables: dict[str, str] | None = None) -> None:
        self.folder = folder
        self.locks = folder / "tmp"
        self.locks.mkdir()
        listing = "".join(f"GPU {at}: Test 80GB (UUID: GPU-{at}a-b)\n" for at in range(gpus))
        program = folder / "bin" / "nvidia-smi"
        program.parent.mkdir()
        program.write_text(f"#!/bin/sh\nprintf '{listing}'\n")
        program.chmod(0o755)
        own = ("CUDA_VISIBLE_DEVICES", "CUDA_DEVICE_ORDER", "SLURM_JOB_ID")
        self.environment = {
            **{name: value for name, value in os.environ.items() if name not in own},
            "PATH": f"{program.parent}{os.pathsep}{os.environ['PATH']}",
            "PYTHONPATH": os.pathsep.join([str(folder), str(PROJECT)]),
            "ADA_INSTRUCT_LOCKS": str(self.locks),
            "OMP_NUM_THREADS": "1",
            **(variables or {}),
        }
        self.started: list[subprocess.Popen[str]] = []

    def step(self, source: str) -> str:
        """Write a module; its name."""
        (self.folder / "step.py").write_text(source)
        return "step"

    def command(self, gpus: int, *command: str, options: tuple[str, ...] = ()) -> list[str]:
        """The command line of a launch."""
        launch = [sys.executable, "-m", "scripts.launch", "--gpus", str(gpus)]
        return [*launch, *options, "--", *command]

    def start(self, arguments: list[str]) -> subprocess.Popen[str]:
        """Start a program on the machine."""
        process = subprocess.Popen(
            arguments,
            cwd=self.folder,
            env=self.environment,
            text=True,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
        )
        self.started.append(process)
        return process

    def run(self, arguments: list[str]) -> tuple[int, str]:
        """Run a program on the machine to its end; its status and what it printed."""
        process = self.start(arguments)
        output, _ = process.communicate(timeout=180)
        return process.returncode, output

    def close(self) -> None:
        """End what a test left running."""
        for process in self.started:
            if process.poll() is None:
                process.kill()
                process.wait()
            process.stdout.close()


def soon(condition: Callable[[], object], seconds: float = 20) -> bool:
    """Whether something comes true within some seconds."""
    deadline = time.monotonic() + seconds
    while not condition():
        if time.monotonic() > deadline:
            return False
        time.sleep(0.02)
    return True
