"""Which rows each process sees at which step.

An optimizer step has the same examples however many processes and micro-batches share it, so the
loss curve is the same, too. Each share gets about as many tokens: a process that has finished its
own waits for the others.
"""

import random
from collections.abc import Sequence
from dataclasses import dataclass

from scripts.lib.errors import UserError
from scripts.lib.training.examples import Row
from scripts.lib.training.settings import TrainingSettings


@dataclass(frozen=True)
class MicroBatch:
    """Rows that a process learns from at once, and the learnt tokens of the whole step."""

    rows: list[Row]
    step_tokens: int


def steps_per_epoch(rows: int, settings: TrainingSettings) -> int:
    """The number of optimizer steps of one pass over all rows; the last may be a smaller one."""
    return -(-rows // settings.batch_size)


def steps_of_training(number_of_rows: int, settings: TrainingSettings) -> list[list[int]]:
    """The positions of the rows of each step, in an order of their own for each epoch."""
    steps = []
    for epoch in range(settings.epochs):
        order = list(range(number_of_rows))
        random.Random(f"{settings.seed} {epoch}").shuffle(order)
        size = settings.batch_size
        steps += [order[start : start + size] for start in range(0, number_of_rows, size)]
    return steps


def shares(lengths: Sequence[int], number: int) -> list[list[int]]:
    """Deal positions out in `number` shares of about the same total length.

    The longest goes first, each to the lightest share that has room. No share has more than its
    part of the positions, rounded up; where there are fewer positions than shares, some are empty.
    """
    room = -(-len(lengths) // number)
    dealt: list[list[int]] = [[] for _ in range(number)]
    loads = [0] * number
    for position in sorted(range(len(lengths)), key=lambda at: (-lengths[at], at)):
        lightest = min(
            (share for share in range(number) if len(dealt[share]) < room),
            key=lambda share: (loads[share], share),
        )
        dealt[lightest].append(position)
        loads[lightest] += lengths[position]
    return dealt


def check_shares(settings: TrainingSettings, processes: int) -> None:
    """Raise `UserError` where a step has fewer examples than shares: some would always be idle."""
    number = processes * settings.accumulation
    if settings.batch_size < number:
        raise UserError(
            f"{settings.batch_size} examples a step cannot be shared by {processes} processes with "
            f"{settings.accumulation} micro-batches each: raise training.batch_size in "
            f"config.yaml to at least {number}, or lower training.gpus or training.accumulation"
        )


def micro_batches(
    rows: list[Row], settings: TrainingSettings, processes: int, process: int
) -> list[MicroBatch]:
    """What one of the processes learns from, `settings.accumulation` micro-batches a step."""
    check_shares(settings, processes)
    found = []
    for step in steps_of_training(len(rows), settings):
        step_rows = [rows[position] for position in step]
        step_tokens = sum(row.learnt for row in step_rows)
        lengths = [len(row.tokens) for row in step_rows]
        for share in shares(lengths, processes * settings.accumulation)[process::processes]:
            found.append(MicroBatch([step_rows[at] for at in share], step_tokens))
    return found
