"""Prompts that show a model some samples of a task and let it write the next one.

This is how Self-Instruct (Wang et al., arXiv 2212.10560) makes instructions, and its template. What
differs: it shows six seeds and two of the instructions that it has made before, here eight seeds
are shown, since the texts of a shard do not wait for each other and shards do not know each other;
and it lets the model write on to further tasks, here a text ends with its first one.
"""

import random
from collections.abc import Sequence
from pathlib import Path

from scripts.lib.records import Seed

SHOWN = 8
HEADING = "Come up with a series of tasks:\n\n"
# What follows an instruction of several lines; one of a single line ends with that.
NEXT = "\nTask "


def has_lines(seeds: Sequence[Seed]) -> bool:
    """Whether an instruction of this task may have several lines."""
    return any("\n" in seed.instruction for seed in seeds)


def marks(seeds: Sequence[Seed]) -> list[str]:
    """The texts that end an instruction beside the task's own closing marks."""
    if not has_lines(seeds):
        return ["\n"]
    # Where no seed has an empty line, what stands behind one is no instruction any more.
    return [NEXT] if any("\n\n" in seed.instruction for seed in seeds) else [NEXT, "\n\n"]


def rest_of_prompt(seeds: Sequence[Seed], opening: str, seed: int) -> str:
    """What stands behind `HEADING`: some of the seeds, and how the next one opens.

    Which ones are shown, and in what order, is drawn with the text's random seed `seed`.
    """
    shown = random.Random(seed).sample(seeds, min(SHOWN, len(seeds)))
    behind_number, between = (":\n", "\n\n") if has_lines(seeds) else (": ", "\n")
    parts = [
        f"Task {at}{behind_number}{one.instruction}{between}"
        for at, one in enumerate(shown, start=1)
    ]
    last = f"Task {len(shown) + 1}{behind_number}{opening}"
    # A space at the end of a prompt is a token that no text goes on from.
    return "".join([*parts, last.removesuffix(" ")])


def code() -> Path:
    """The file that decides these prompts."""
    return Path(__file__)
