"""Rows: what is read is what was written, and a broken row is named."""

import json
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from scripts.lib.errors import UserError
from scripts.lib.records import Seed, read_rows, write_rows

seeds = st.lists(st.builds(Seed, instruction=st.text(), tests=st.lists(st.text())))


@given(rows=seeds)
def test_rows_come_back_as_they_were_written(rows: list[Seed], tmp_path_factory) -> None:
    path = tmp_path_factory.mktemp("rows") / "rows.jsonl"
    assert write_rows(path, rows) == len(rows)
    assert list(read_rows(path, Seed)) == rows


@pytest.mark.parametrize(
    ("line", "message"),
    [
        ("{not json", "line 2: is not valid JSON"),
        ("[]", "line 2: is not an object"),
        ('{"tests": []}', "line 2: lacks 'instruction'"),
        ('{"instruction": "a", "tests": "b"}', "line 2: 'tests' is not of type list[str]"),
        ('{"instruction": 1, "tests": []}', "line 2: 'instruction' is not of type str"),
        ('{"instruction": "a", "tests": [], "x": 1}', "line 2: has the unknown column 'x'"),
    ],
)
def test_a_broken_row_is_named(tmp_path: Path, line: str, message: str) -> None:
    path = tmp_path / "seeds.jsonl"
    path.write_text('{"instruction": "good", "tests": []}\n' + line + "\n")
    with pytest.raises(UserError, match="seeds.jsonl") as caught:
        list(read_rows(path, Seed))
    assert message in str(caught.value)
    assert "\n" not in str(caught.value)


def test_a_file_of_another_encoding_is_named(tmp_path: Path) -> None:
    path = tmp_path / "seeds.jsonl"
    path.write_bytes('{"instruction": "Grüße"}'.encode("latin-1"))
    with pytest.raises(UserError, match="seeds.jsonl: is not UTF-8 text"):
        list(read_rows(path, Seed))


def test_the_columns_of_a_file_are_always_in_the_same_order(tmp_path: Path) -> None:
    write_rows(tmp_path / "rows.jsonl", [Seed("a", ["b"])])
    row = json.loads((tmp_path / "rows.jsonl").read_text())
    assert list(row) == ["instruction", "tests"]
