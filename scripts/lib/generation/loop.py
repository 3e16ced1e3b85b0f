"""The engine `loop`: this project's own sampling loop, for a CPU or one GPU.

As many texts as there are slots grow at a time; where one ends, the next one begins in its slot.
What all prompts share is read once, the rest of a prompt by itself. A text depends on its own seed
and prompt alone; on a CPU the rows of a matrix product do not depend on how many there are, so that
neither `batch_size` nor a resumed run changes a text.
"""

from collections import deque
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from scripts.lib.console import say
from scripts.lib.generation.drawing import draw, uniforms
from scripts.lib.generation.ending import Ending
from scripts.lib.generation.request import Request, Sample, text_seed
from scripts.lib.generation.slots import Slots
from scripts.lib.memory import free_bytes
from scripts.lib.models import load_tuned_model

if TYPE_CHECKING:
    import numpy
    import torch
    from transformers import PreTrainedModel

# With fewer rows a matrix product takes another way, which rounds differently.
MIN_ROWS = 8
# Of what is free, the part for the texts' keys and values; logits and activations need the rest.
MEMORY_SHARE = 0.8


@dataclass
class _Text:
    """A text that grows: its tokens so far, and the uniform numbers that they are drawn with.

    `rest` is how many tokens of its prompt stand before them in its slot.
    """

    number: int
    seed: int
    uniforms: "numpy.ndarray"
    rest: int
    ids: list[int] = field(default_factory=list)

    @property
    def age(self) -> int:
        """How many tokens its slot holds: all but the last one, which is yet to be read."""
        return self.rest + len(self.ids) - 1


def sample(request: Request, numbers: Sequence[int]) -> Iterator[list[Sample]]:
    """Sample the texts of these numbers of a shard; yields those that end, step by step.

    Raises `UserError` for a model that `Slots` does not know.
    """
    yield from grow(load_tuned_model(request.model), request, numbers)


def grow(
    model: "PreTrainedModel", request: Request, numbers: Sequence[int]
) -> Iterator[list[Sample]]:
    """`sample` with a model that is loaded."""
    request.check_length(model.config, numbers)
    shared = request.shared_ids
    by_beginning: dict[bool, list[int]] = {}
    for number in numbers:
        begins = request.ids_of(number)[: len(shared)] == shared
        by_beginning.setdefault(begins, []).append(number)
    # A tokenizer may join the end of what is shared with what follows it, though none is known to.
    for begins, group in by_beginning.items():
        yield from _grow_from(model, request, shared if begins else [], group)


def _grow_from(
    model: "PreTrainedModel", request: Request, shared: list[int], numbers: Sequence[int]
) -> Iterator[list[Sample]]:
    """`grow` for texts whose prompts begin with the tokens `shared`."""
    limit = request.settings.max_new_tokens
    waiting = deque(numbers)
    ended: list[_Text] = []
    slots = Slots(model, request.length_of(numbers) - len(shared))
    behind_shared = slots.start(shared)
    count = _slots_that_fit(slots, min(request.batch_size, len(waiting)))
    ending = Ending(request)

    def next_text(slot: int) -> _Text | None:
        """The next text that does not end with its first token, which follows its prompt."""
        while waiting:
            number = waiting.popleft()
            seed = text_seed(request.seed, request.shard, number)
            rest = request.ids_of(number)[len(shared) :]
            text = _Text(number, seed, uniforms(seed, limit), len(rest))
            _extend([text], slots.read(rest, slot) if rest else behind_shared, request)
            if not ending.reached(text.ids, number):
                return text
            ended.append(text)
        return None

    growing: list[_Text] = []
    while len(growing) < count and (text := next_text(len(growing))):
        growing.append(text)
    while growing:
        _extend(growing, _read_last_tokens(slots, growing), request)
        # From the last row on, so that the text that fills a hole is one that goes on.
        for row in reversed(range(len(growing))):
            if not ending.reached(growing[row].ids, growing[row].number):
                continue
            ended.append(growing[row])
            if text := next_text(row):
                growing[row] = text
                continue
            last = growing.pop()
            if row < len(growing):
                growing[row] = last
                slots.move(len(growing), row, last.age)
        if ended:
            yield [request.sample(text.number, text.seed, text.ids) for text in ended]
            ended.clear()
    if ended:
        yield [request.sample(text.number, text.seed, text.ids) for text in ended]


def _slots_that_fit(slots: Slots, wanted: int) -> int:
    """How many slots there will be: those that are wanted, or as many as the memory holds."""
    fit = MEMORY_SHARE * free_bytes(slots.device.type) / slots.bytes_of_one
    count = wanted if fit >= wanted else max(1, int(fit))
    if count < wanted:
        say(f"the memory holds {count} texts at a time, and not sampling.batch_size {wanted}")
    slots.reserve(max(MIN_ROWS, count))
    return count


def _read_last_tokens(slots: Slots, growing: list[_Text]) -> "torch.Tensor":
    """Let each text's slot read its last token; returns the logits of what follows."""
    import torch

    unused = [0] * (MIN_ROWS - len(growing))
    tokens = torch.tensor([text.ids[-1] for text in growing] + unused, device=slots.device)
    ages = [text.age for text in growing] + unused
    logits = slots.step(tokens, torch.tensor(ages, device=slots.device), max(ages))
    return logits[: len(growing)]


def _extend(texts: list[_Text], logits: "torch.Tensor", request: Request) -> None:
    """Draw a token for each text. Raises `UserError` where the model is broken."""
    import torch

    numbers = [text.uniforms[len(text.ids)] for text in texts]
    uniform = torch.tensor(numbers, dtype=torch.float64, device=logits.device)
    for text, token in zip(texts, draw(logits, uniform, request.settings).tolist(), strict=True):
        text.ids.append(token)
