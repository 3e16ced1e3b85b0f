"""`scripts.train` in float32 on a CPU; with FSDP where accelerate has it on GPUs only.

    python -m scripts.launch --gpus 0 --processes 2 --accelerate-config FILE -- \\
        tests.training.on_cpu --role student ...

accelerate takes CPU processes for data-parallel ones and leaves FSDP out. Where the launcher asks
for FSDP, they are told here to be GPU processes whose device is the CPU and whose messages go by
gloo: from there on everything is what GPU processes do.
"""

import os
from collections.abc import Callable
from typing import Any

import torch

from scripts.lib.console import run_step
from scripts.lib.training import methods, run
from scripts.train import main


def in_float32(set_attribute: Callable[[Any, str, Any], None] = setattr) -> None:
    """Compute in a precision in which sums of another order are the same."""
    for module in (run, methods):
        set_attribute(module, "device_and_dtype", lambda: ("cpu", torch.float32))


def as_on_gpus() -> None:
    """Have accelerate shard over CPU processes."""
    from accelerate.state import PartialState
    from accelerate.utils import DistributedType

    os.environ["ACCELERATE_TORCH_DEVICE"] = "cpu"
    initialize = PartialState.__init__

    def without_cpu(self: PartialState, cpu: bool = False, **options: Any) -> None:
        initialize(self, cpu=False, **options)

    PartialState.__init__ = without_cpu
    PartialState._prepare_backend = lambda *_: ("gloo", DistributedType.MULTI_GPU)


if __name__ == "__main__":
    in_float32()
    if os.environ.get("ACCELERATE_USE_FSDP") == "true":
        as_on_gpus()
    run_step(main)
