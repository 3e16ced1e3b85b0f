"""Draw the rows that an arm of a study learns from: as many as the poorest arm has.

    python -m scripts.draw_rows --rows ada_verified.jsonl \\
        --all ada_verified.jsonl self_instruct_unverified.jsonl --most 200 --fewest 8 --seed 42 \\
        --output ada_verified_rows.jsonl

The number is the same for all arms of all cells, so that no arm is better for having more rows. No
instruction gives a second row while another one has none, so that an arm has as many different
instructions as it can.
"""

import random
import time
from collections import Counter
from pathlib import Path

from scripts.lib.console import counts, run_step, step_parser
from scripts.lib.errors import UserError
from scripts.lib.records import Verified, read_rows, write_rows


def common_number(available: dict[str, int], most: int, fewest: int) -> int:
    """How many rows every arm gets, at most `most`; `available` holds the rows of each file.

    Raises `UserError` where that are fewer than `fewest`.
    """
    poorest = min(available, key=lambda name: available[name])
    if available[poorest] < fewest:
        raise UserError(
            f"{poorest}: holds {available[poorest]} rows, and each arm of the study is to have "
            f"{fewest} at least: raise sampling.target_rows or study.seed_replies, or lower "
            "study.min_rows in config.yaml"
        )
    return min(most, available[poorest])


def draw(rows: list[Verified], number: int, seed: int) -> list[Verified]:
    """That many of the rows, sorted by id; which ones, the seed decides.

    No instruction has two rows while another one has none.
    """
    generator = random.Random(seed)
    shuffled = generator.sample(rows, len(rows))
    before: Counter[str] = Counter()
    turns = []
    for row in shuffled:
        turns.append(before[row.instruction_id])
        before[row.instruction_id] += 1
    in_turn = sorted(range(len(rows)), key=lambda at: turns[at])
    return sorted((shuffled[at] for at in in_turn[:number]), key=lambda row: row.id)


def main(argv: list[str] | None = None) -> None:
    parser = step_parser(__doc__)
    parser.add_argument("--rows", type=Path, required=True, help="of this arm")
    parser.add_argument("--all", type=Path, nargs="+", required=True, help="of all arms")
    parser.add_argument("--most", type=int, required=True)
    parser.add_argument("--fewest", type=int, required=True)
    parser.add_argument("--seed", type=int, required=True)
    parser.add_argument("--output", type=Path, required=True)
    arguments = parser.parse_args(argv)

    started = time.monotonic()
    available = {
        str(path): sum(1 for _ in read_rows(path, Verified))
        for path in (*arguments.all, arguments.rows)
    }
    number = common_number(available, arguments.most, arguments.fewest)
    rows = draw(list(read_rows(arguments.rows, Verified)), number, arguments.seed)
    write_rows(arguments.output, rows)
    counts(
        "draw_rows",
        time.monotonic() - started,
        rows=len(rows),
        instructions=len({row.instruction_id for row in rows}),
    )


if __name__ == "__main__":
    run_step(main)
