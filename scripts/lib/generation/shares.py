"""The texts that a step samples, shared by its processes, which exchange nothing.

Each process samples and keeps its own ones; the first one reads all of them when they are there.
"""

import time
from collections.abc import Callable, Sequence
from dataclasses import asdict
from pathlib import Path

from scripts.lib import models
from scripts.lib.console import say
from scripts.lib.errors import UserError
from scripts.lib.generation import engines
from scripts.lib.generation.kept import KeptTexts
from scripts.lib.generation.request import Request, Sample
from scripts.lib.kept_work import name_of_work
from scripts.lib.ranks import rank, world_size
from scripts.lib.tasks import form

# Those whose versions decide a text.
PACKAGES = ("torch", "transformers", "peft")
# Seconds between two looks for the texts of the other processes.
POLL_SECONDS = 0.5


def name_of_texts(request: Request, model_id: str, engine: str, *more: object) -> str:
    """The name of the folder of kept texts: a digest of everything that decides them.

    The rests of prompts are not in it: numbers that do not stand for them need `more`.
    """
    inputs = {
        "model": model_id,
        "prompt": request.prompt,
        "closing": request.closing,
        "keep_mark": request.keep_mark,
        "sampling": asdict(request.settings),
        "seed": request.seed,
        "shard": request.shard,
        "engine": engine,
        "precision": models.device_and_dtype(),
        "more": more,
    }
    code = [*engines.files_of(engine), Path(form.__file__), Path(models.__file__)]
    return name_of_work(inputs, code, PACKAGES)


def own_share(numbers: Sequence[int]) -> Sequence[int]:
    """The numbers of the texts that fall to this process."""
    return numbers[rank() :: world_size()]


def sample_own_part(
    engine: str,
    request: Request,
    numbers: Sequence[int],
    kept: KeptTexts,
    advance: Callable[[int], None],
) -> None:
    """Sample and keep the texts that fall to this process of those that are not there yet.

    `numbers` are those of all processes. `advance` is told how many are there of all texts that
    fall to this one: first those that were kept, then those that end. Raises `UserError` where the
    engine ends without all of them.
    """
    texts = kept.read()
    share = own_share(numbers)
    own = {number for number in share if number not in texts}
    advance(len(share) - len(own))
    if not own:
        return
    if (there := sum(number in texts for number in numbers)) and rank() == 0:
        say(f"{there} of {len(numbers)} texts are there from an earlier run")
    with kept.writer() as writer:
        for samples in engines.sample(engine, request, sorted(own)):
            writer.write(samples)
            own -= {sample.number for sample in samples}
            advance(len(samples))
    if own:
        raise UserError(
            f"{len(own)} texts did not come back from the engine '{engine}': run the same command "
            "again, those that came are kept"
        )


def all_texts(kept: KeptTexts, numbers: Sequence[int]) -> list[Sample]:
    """The texts of these numbers, in their order, once those of the other processes are there.

    A process that fails takes the others with it, so that this one does not wait for ever.
    """
    while True:
        texts = kept.read()
        if all(number in texts for number in numbers):
            return [texts[number] for number in numbers]
        time.sleep(POLL_SECONDS)
