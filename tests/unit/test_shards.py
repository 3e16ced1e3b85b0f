"""How many shards a target needs, and how a top-up raises them."""

import json
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from scripts import top_up
from scripts.lib.errors import UserError
from scripts.lib.shards import further_shards, shards_for, topped_up_shards


# A margin as people write one, in hundredths: counted in whole numbers, the law has no rounding.
@given(st.integers(1, 10**6), st.integers(100, 5000), st.integers(1, 5000))
def test_the_shards_hold_the_margin_and_none_too_many(rows: int, percent: int, size: int) -> None:
    shards = shards_for(rows, percent / 100, size)
    assert (shards - 1) * size * 100 < rows * percent <= shards * size * 100


def test_a_top_up_goes_by_the_yield_and_at_most_doubles() -> None:
    assert shards_for(100, 1.1, 10) == 11
    assert further_shards(target_rows=100, rows=80, shards=8) == 3
    assert further_shards(target_rows=100, rows=1, shards=8) == 8
    assert further_shards(target_rows=100, rows=100, shards=8) == 0
    assert further_shards(target_rows=100, rows=170, shards=8) == 0
    assert further_shards(target_rows=100, rows=99, shards=1) == 1
    with pytest.raises(ValueError, match="no row"):
        further_shards(target_rows=100, rows=0, shards=8)


def test_the_next_plan_reads_what_a_top_up_wrote(tmp_path: Path, finished_toy) -> None:
    project, _ = finished_toy
    verified = project.path / "results" / "toy_verified.jsonl"
    rows = len(project.rows("results/toy_verified.jsonl"))
    output = tmp_path / "toy" / "top_up.json"
    assert topped_up_shards(tmp_path, "toy", 12) == 0
    top_up.main(
        ["--verified", str(verified), "--target-rows", str(rows + 1), "--shards", "2",
         "--shard-size", "12", "--output", str(output)]
    )  # fmt: skip
    assert json.loads(output.read_text()) == {"shards": 3, "shard_size": 12, "missing_rows": 1}
    assert topped_up_shards(tmp_path, "toy", 12) == 3
    # Other shards are other instructions: their number says nothing of these.
    assert topped_up_shards(tmp_path, "toy", 2500) == 0
    output.write_text("{}")
    with pytest.raises(UserError, match="top_up.json: is broken: remove it"):
        topped_up_shards(tmp_path, "toy", 12)
