"""Texts to learn from, as tokens; what does not fit is told, never dropped in silence."""

from collections.abc import Iterable
from dataclasses import dataclass
from typing import TYPE_CHECKING

from scripts.lib.chat import tokens_behind
from scripts.lib.errors import UserError

if TYPE_CHECKING:
    from transformers import PreTrainedTokenizerBase


@dataclass(frozen=True)
class Example:
    """A text to learn from: `prompt` is read, `target` is learnt.

    A target that `needs_its_end` is of no use without it: a model that has learnt beginnings of
    replies does not know how to stop.
    """

    id: str
    prompt: str
    target: str
    needs_its_end: bool = False


@dataclass(frozen=True)
class Row:
    """An example as tokens; those from `start` on are learnt."""

    tokens: list[int]
    start: int

    @property
    def learnt(self) -> int:
        """How many tokens are learnt. Nothing predicts the first one of a text."""
        return len(self.tokens) - max(1, self.start)


@dataclass(frozen=True)
class Misfit:
    """An example of more than `max_length` tokens.

    `reason` is `cut` for one whose last tokens are not learnt, `no_room` for one that is left out
    because its prompt alone is too long, `no_end` for one that is left out because its end would be
    cut off.
    """

    id: str
    reason: str
    prompt_tokens: int
    target_tokens: int
    max_length: int


def encode(
    tokenizer: "PreTrainedTokenizerBase", example: Example, max_length: int
) -> tuple[Row | None, Misfit | None]:
    """The tokens of an example, unless it is left out, and what of it does not fit, if anything.

    The prompt has the tokens that it has when the model is sampled. Raises `UserError` for an
    example without anything to learn.
    """
    prompt, target = tokens_behind(tokenizer, example.prompt, example.target)
    tokens = prompt + target
    if not target or len(tokens) < 2:
        raise UserError(f"no token of example {example.id} can be learnt: its target is empty")

    def misfit(reason: str) -> Misfit:
        return Misfit(example.id, reason, len(prompt), len(target), max_length)

    if len(tokens) <= max_length:
        return Row(tokens, len(prompt)), None
    if len(prompt) >= max_length:
        return None, misfit("no_room")
    if example.needs_its_end:
        return None, misfit("no_end")
    return Row(tokens[:max_length], len(prompt)), misfit("cut")


def encode_all(
    tokenizer: "PreTrainedTokenizerBase", examples: Iterable[Example], max_length: int
) -> tuple[list[Row], list[Misfit]]:
    """The rows of all examples that can be learnt, and what does not fit.

    Raises `UserError` where none is left.
    """
    rows, misfits = [], []
    for example in examples:
        row, misfit = encode(tokenizer, example, max_length)
        if row:
            rows.append(row)
        if misfit:
            misfits.append(misfit)
    if not rows:
        longest = max((found.prompt_tokens for found in misfits), default=0)
        raise UserError(
            f"none of {len(misfits)} examples can be learnt within max_length {max_length} (the "
            f"longest prompt has {longest} tokens): raise training.max_length in config.yaml"
            if misfits
            else "there is nothing to learn from: no row has passed the verification"
        )
    return rows, misfits
