"""Say how many shards a task needs to reach its wanted rows, by the yield of those it has.

    python -m scripts.top_up --verified results/mbpp_verified.jsonl --target-rows 12 --shards 2 \\
        --shard-size 36 --output results/mbpp/top_up.json

The next plan reads the output: it samples the shards that are missing and redoes none.
"""

import json
from pathlib import Path

from scripts.lib.console import run_step, say, step_parser
from scripts.lib.files import atomic_file
from scripts.lib.records import Verified, read_rows
from scripts.lib.shards import further_shards


def main(argv: list[str] | None = None) -> None:
    parser = step_parser(__doc__)
    parser.add_argument("--verified", type=Path, required=True)
    parser.add_argument("--target-rows", type=int, required=True)
    parser.add_argument("--shards", type=int, required=True, help="shards so far")
    parser.add_argument("--shard-size", type=int, required=True, help="instructions of a shard")
    parser.add_argument("--output", type=Path, required=True)
    arguments = parser.parse_args(argv)

    rows = sum(1 for _ in read_rows(arguments.verified, Verified))
    missing = max(0, arguments.target_rows - rows)
    further = further_shards(arguments.target_rows, rows, arguments.shards)
    with atomic_file(arguments.output) as stream:
        shards = arguments.shards + further
        json.dump(
            {"shards": shards, "shard_size": arguments.shard_size, "missing_rows": missing}, stream
        )
        stream.write("\n")
    say(
        f"top_up: {rows} rows of {arguments.target_rows}"
        + (f"; run again to sample {further} more shards" if further else ": enough")
    )


if __name__ == "__main__":
    run_step(main)
