"""What a training that was killed goes on from.

The Trainer does not write a checkpoint at once: one that a kill has cut off looks much like a whole
one. So each that is whole is marked, and no other is ever loaded. They lie under a name made of all
that the result depends on: another model, other rows or settings never find them.
"""

import os
import shutil
import time
from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

from scripts.lib import models
from scripts.lib.kept_work import name_of_work
from scripts.lib.training import DECIDE_NOTHING
from scripts.lib.training.examples import Row
from scripts.lib.training.settings import TrainingSettings

CHECKPOINTS = Path(".cache/training")
MARK = "complete"
PACKAGES = ("torch", "transformers", "accelerate", "peft")


def checkpoint_folder(
    model: str, rows: Sequence[Row], settings: TrainingSettings, parallel: Sequence[object]
) -> Path:
    """Where the checkpoints of a training lie.

    `parallel` says what the work is spread over: checkpoints of two processes are of no use to one.
    """
    code = [
        path
        for path in (*sorted(Path(__file__).parent.glob("*.py")), Path(models.__file__))
        if path.stem not in DECIDE_NOTHING
    ]
    inputs = [
        _state_of(model),
        [[row.start, *row.tokens] for row in rows],
        asdict(settings),
        parallel,
    ]
    return CHECKPOINTS / name_of_work(inputs, code, PACKAGES)


def _state_of(model: str) -> Any:
    """Names, sizes and times of a model's files: to read all of a large one takes minutes."""
    if not Path(model).is_dir():
        return model
    files = [path for path in sorted(Path(model).rglob("*")) if path.is_file()]
    return [
        (str(path.relative_to(model)), path.stat().st_size, path.stat().st_mtime_ns)
        for path in files
    ]


def _step(checkpoint: Path) -> int:
    return int(checkpoint.name.rpartition("-")[2])


def last_checkpoint(folder: Path) -> Path | None:
    """The last whole checkpoint of a folder, if there is one."""
    marked = [mark.parent for mark in folder.glob(f"checkpoint-*/{MARK}")]
    return max(marked, key=_step, default=None)


def keep_only(folder: Path, kept: Path | None) -> None:
    """Delete all checkpoints of a folder but one, those that were cut off among them."""
    for checkpoint in folder.glob("checkpoint-*"):
        if checkpoint != kept:
            # Without its mark it counts for nothing, should this be cut off as well.
            (checkpoint / MARK).unlink(missing_ok=True)
            shutil.rmtree(checkpoint)


def mark_complete(checkpoint: Path) -> None:
    """Say that a checkpoint is whole, when all that it holds is on the disk."""
    for path in checkpoint.rglob("*"):
        if path.is_file():
            with open(path, "rb") as stream:
                os.fsync(stream.fileno())
    (checkpoint / MARK).touch()


def checkpoint_callback(folder: Path, minutes: float) -> Any:
    """Ask for a checkpoint when the last one is `minutes` old, and mark it when it is whole.

    The first process decides for all, whose clocks and speeds differ.
    """
    import torch
    from torch import distributed
    from transformers import TrainerCallback

    class Checkpoints(TrainerCallback):
        def __init__(self) -> None:
            self.last = time.monotonic()

        def on_step_end(self, args: Any, state: Any, control: Any, **_: Any) -> None:
            if state.global_step >= state.max_steps:
                return
            due = torch.tensor(time.monotonic() - self.last >= 60 * minutes, device=args.device)
            if args.world_size > 1:
                due = due.to(torch.int32)
                distributed.broadcast(due, src=0)
            control.should_save = bool(due)

        def on_save(self, args: Any, state: Any, control: Any, **_: Any) -> None:
            self.last = time.monotonic()
            if args.world_size > 1:
                distributed.barrier()
            if state.is_world_process_zero:
                whole = folder / f"checkpoint-{state.global_step}"
                mark_complete(whole)
                keep_only(folder, whole)

    return Checkpoints()
