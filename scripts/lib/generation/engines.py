"""Which engine samples: each is a module of this package, imported once it is chosen."""

from collections.abc import Iterator, Sequence
from importlib import import_module
from types import ModuleType

from scripts.lib.generation.request import Request, Sample

# What `sampling.engine` may be; `auto` is `paged` on a GPU and `loop` on a CPU.
CHOICES = ("auto", "loop", "paged", "vllm")


def choose(name: str) -> str:
    """The engine that a name of `CHOICES` stands for on this machine."""
    if name != "auto":
        return name
    import torch

    return "paged" if torch.cuda.is_available() else "loop"


def block_of(engine: str) -> int:
    """How many consecutive texts of a shard are sampled by one seed, and so only together."""
    return getattr(_module(engine), "BLOCK", 1)


def sample(engine: str, request: Request, numbers: Sequence[int]) -> Iterator[list[Sample]]:
    """Sample the texts of these numbers of a shard; yields them as they end, in no order.

    Raises `UserError` where the engine is not installed, does not know the model or loses a text.
    """
    return _module(engine).sample(request, numbers)


def _module(engine: str) -> ModuleType:
    return import_module(f"scripts.lib.generation.{engine}")
