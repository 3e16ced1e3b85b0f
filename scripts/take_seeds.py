"""Take the seeds themselves as instructions: what a study compares generated ones with.

    python -m scripts.take_seeds --task tasks/mbpp.yaml --seeds results/mbpp/seeds.jsonl \\
        --instructions results/mbpp_instructions.jsonl --dropped results/mbpp/dropped.jsonl

They take the place of what the filter writes; nothing is dropped.
"""

import time
from pathlib import Path

from scripts.lib.console import counts, run_step, step_parser
from scripts.lib.records import Instruction, Seed, read_rows, write_rows
from scripts.lib.tasks import load_task


def main(argv: list[str] | None = None) -> None:
    parser = step_parser(__doc__)
    parser.add_argument("--task", type=Path, required=True)
    parser.add_argument("--seeds", type=Path, required=True)
    parser.add_argument("--instructions", type=Path, required=True)
    parser.add_argument("--dropped", type=Path, required=True)
    arguments = parser.parse_args(argv)

    started = time.monotonic()
    task = load_task(arguments.task)
    instructions = [
        Instruction(
            id=f"{task.name}-seed-{number:06d}",
            task=task.name,
            instruction=seed.instruction,
            neighbour="",
            similarity=0.0,
            model="",
        )
        for number, seed in enumerate(read_rows(arguments.seeds, Seed))
    ]
    write_rows(arguments.dropped, [])
    write_rows(arguments.instructions, instructions)
    counts("take_seeds", time.monotonic() - started, instructions=len(instructions))


if __name__ == "__main__":
    run_step(main)
