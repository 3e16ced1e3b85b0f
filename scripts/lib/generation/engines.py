"""Which engine samples: each is a module of this package, imported once it is chosen."""

from collections.abc import Iterator, Sequence
from importlib import import_module
from pathlib import Path

from scripts.lib.generation.request import Request, Sample

# What `sampling.engine` may be.
CHOICES = ("auto", "loop", "paged", "vllm")
# The modules of this package that decide an engine's texts.
MODULES = {
    "loop": ("request", "drawing", "ending", "slots", "loop"),
    "paged": ("request", "drawing", "ending", "paged_draws", "paged"),
    "vllm": ("request", "vllm"),
}


def choose(name: str) -> str:
    """The engine that a name of `CHOICES` stands for on this machine.

    `auto` is `paged` on a GPU with flash attention, without which it lets every text attend to the
    cache of all others; else `loop`.
    """
    if name != "auto":
        return name
    import torch
    from transformers.utils import is_flash_attn_2_available

    return "paged" if torch.cuda.is_available() and is_flash_attn_2_available() else "loop"


def files_of(engine: str) -> list[Path]:
    """The files of this package that decide an engine's texts."""
    return [Path(__file__).with_name(f"{name}.py") for name in MODULES[engine]]


def sample(engine: str, request: Request, numbers: Sequence[int]) -> Iterator[list[Sample]]:
    """Sample the texts of these numbers of a shard; yields them as they end, in no order.

    Raises `UserError` where the engine is not installed, does not know the model or loses a text.
    """
    return import_module(f"scripts.lib.generation.{engine}").sample(request, numbers)
