"""How many shards of instructions are sampled for the rows that are wanted."""

import json
import math
from fractions import Fraction
from pathlib import Path

from scripts.lib.errors import UserError


def shards_for(target_rows: int, margin: float, shard_size: int) -> int:
    """Shards of `shard_size` instructions that hold `margin` of them for each wanted row."""
    # In fractions: 100 rows with a margin of 1.1 are 110, not the 110.00000000000001 of floats.
    return math.ceil(target_rows * Fraction(str(margin)) / shard_size)


def further_shards(target_rows: int, rows: int, shards: int) -> int:
    """How many more shards bring `rows` to `target_rows`, at the yield of the `shards` so far.

    A tenth more is added, since later shards repeat more of what is already there; and at most as
    many as there are, since the yield of a few rows says little. Raises `ValueError` where there
    is no row.
    """
    if rows <= 0:
        raise ValueError("no row: the yield is unknown")
    missing = max(0, target_rows - rows)
    return min(shards, math.ceil(Fraction(11 * missing * shards, 10 * rows)))


def topped_up_shards(results: Path, task: str, shard_size: int) -> int:
    """The number of shards that the step `top_up` has raised a task to; 0 without one.

    It holds for shards of the size that it was counted in. Raises `UserError` where its file is
    broken.
    """
    path = results / task / "top_up.json"
    if not path.exists():
        return 0
    try:
        top_up = json.loads(path.read_text(encoding="utf-8"))
        return int(top_up["shards"]) if top_up["shard_size"] == shard_size else 0
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise UserError(f"{path}: is broken: remove it and run the top-up again") from error
