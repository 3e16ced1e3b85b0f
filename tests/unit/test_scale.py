"""The table of docs/scale.md: its numbers are those that bench/scale.py works out."""

import re

import pytest

from bench.scale import Numbers, Scale
from tests.conftest import PROJECT

ROWS = {
    "instructions sampled": "instructions sampled",
    "requests": "requests",
    "jobs, in shards of 25,000": "jobs",
    "a plan, seconds of CPU": "plan",
    "GPU hours": "GPU",
    "sample": "GPU, sample",
    "train generator": "GPU, train generator",
    "train student": "GPU, train student",
    "an hour of GPU at which all cost as much, dollars": "GPUs cost as much at",
    "minutes of the API": "API",
    "dollars (Batch API)": "API, dollars",
    "disk, GB": "disk",
    "of it the journal, GB": "disk, journal",
    "inodes": "inodes",
    "filter: encode, hours of a core": "filter, encoding",
    "filter: compare, hours of two cores": "filter, comparing",
    "filter: memory, GB": "filter, memory",
    "label: memory, GB": "label, memory",
    "verify: hours of a core": "verify",
    "verify: memory, GB": "verify, memory",
}


def number(cell: str) -> float:
    """The first number of a cell."""
    found = re.match(r"([\d,.]+)( million)?", cell.strip("*"))
    assert found, cell
    return float(found[1].replace(",", "")) * (1e6 if found[2] else 1)


@pytest.mark.parametrize("row", ROWS)
def test_the_page_says_what_the_arithmetic_gives(row: str) -> None:
    page = (PROJECT / "docs" / "scale.md").read_text(encoding="utf-8")
    lines = [line.split(" | ") for line in page.replace("**", "").splitlines()]
    cells = next(cells[1:4] for cells in lines if cells[0] == f"| {row}")
    for rows, cell in zip((1e4, 1e6, 1e8), cells, strict=True):
        value, _ = Scale(rows, Numbers()).figures()[ROWS[row]]
        # The page gives two digits; a tenth, where that is one.
        assert number(cell) == pytest.approx(value, rel=0.06, abs=0.05 if value < 1 else 0)


def test_a_hundred_times_the_rows_are_compared_in_ten_thousand_times_the_time() -> None:
    few, many = (Scale(rows, Numbers()).figures() for rows in (1e6, 1e8))
    assert many["filter, comparing"][0] == pytest.approx(1e4 * few["filter, comparing"][0])
    assert many["verify"][0] == pytest.approx(100 * few["verify"][0])


def test_trainings_take_what_their_operations_do() -> None:
    # 8 operations a weight and token, 13 billion weights, 900 tokens a row, 10^14 a second.
    for rows, hours in ((1e4, 2.6), (1e6, 260), (1e8, 26_000)):
        assert Scale(rows, Numbers()).figures()["GPU, train student"][0] == pytest.approx(hours)
    figures = Scale(1e6, Numbers()).figures()
    parts = [value for name, (value, _) in figures.items() if name.startswith("GPU, ")]
    assert figures["GPU"][0] == pytest.approx(sum(parts)) and len(parts) == 3


def test_one_client_is_no_faster_than_it_is_and_needs_no_share_of_a_limit() -> None:
    numbers = Numbers(requests_a_minute=1e9, tokens_a_minute=1e12)
    figures = Scale(1e6, numbers).figures()
    assert figures["API"][0] == pytest.approx(figures["requests"][0] / 1575 / 60)


def test_the_binding_limit_of_the_endpoint_counts() -> None:
    requests = Scale(1e4, Numbers(requests_a_minute=100)).figures()["API"][0]
    tokens = Scale(1e4, Numbers(tokens_a_minute=1e5)).figures()["API"][0]
    both = Scale(1e4, Numbers(requests_a_minute=100, tokens_a_minute=1e5)).figures()["API"][0]
    assert both == max(requests, tokens) > Scale(1e4, Numbers()).figures()["API"][0]
