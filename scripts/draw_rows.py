"""Draw the rows that an arm of a study learns from: as many as the poorest arm of its cell has.

    python -m scripts.draw_rows --arm ada_verified --rows $CELL/ada_verified.jsonl \\
        --arms ada_unverified self_instruct --others $CELL/ada_unverified.jsonl \\
        $CELL/self_instruct_unverified.jsonl --most 200 --fewest 8 --seed 42 \\
        --output $CELL/arms/ada_verified_rows.jsonl

`--others` are the rows of the other arms, in the order of `--arms`. No instruction gives a second
row while another one has none, so that an arm has as many different instructions as it can.
"""

import random
import time
from collections import Counter
from pathlib import Path

from scripts.lib.console import counts, run_step, step_parser
from scripts.lib.errors import UserError
from scripts.lib.records import Verified, read_rows, write_rows
from scripts.lib.study import ARM_NAMED


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


def rows_of(arm: str, path: Path) -> list[Verified]:
    """The rows of a file that an arm may learn from."""
    first_replies = ARM_NAMED[arm].first_replies
    return [row for row in read_rows(path, Verified) if row.reply_number == 0 or not first_replies]


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
    parser.add_argument("--arm", choices=sorted(ARM_NAMED), required=True)
    parser.add_argument("--rows", type=Path, required=True, help="of this arm")
    parser.add_argument("--arms", choices=sorted(ARM_NAMED), nargs="+", required=True)
    parser.add_argument("--others", type=Path, nargs="+", required=True, help="rows of those arms")
    parser.add_argument("--most", type=int, required=True)
    parser.add_argument("--fewest", type=int, required=True)
    parser.add_argument("--seed", type=int, required=True)
    parser.add_argument("--output", type=Path, required=True)
    arguments = parser.parse_args(argv)

    started = time.monotonic()
    rows = rows_of(arguments.arm, arguments.rows)
    available = {str(arguments.rows): len(rows)}
    for arm, path in zip(arguments.arms, arguments.others, strict=True):
        available[f"{path} ({arm})"] = len(rows_of(arm, path))
    number = common_number(available, arguments.most, arguments.fewest)
    rows = draw(rows, number, arguments.seed)
    write_rows(arguments.output, rows)
    counts(
        "draw_rows",
        time.monotonic() - started,
        rows=len(rows),
        instructions=len({row.instruction_id for row in rows}),
    )


if __name__ == "__main__":
    run_step(main)
