"""Files and directories that are complete or absent."""

from pathlib import Path

import pytest

from scripts.lib.errors import UserError
from scripts.lib.files import atomic_directory, atomic_file, read_json, write_json


def test_a_file_appears_whole_or_not_at_all(tmp_path: Path) -> None:
    path = tmp_path / "out.txt"
    path.write_text("before")
    with pytest.raises(RuntimeError), atomic_file(path) as stream:
        stream.write("half")
        raise RuntimeError
    assert path.read_text() == "before"
    assert [file.name for file in tmp_path.iterdir()] == ["out.txt"]


def test_a_directory_appears_whole_or_not_at_all(tmp_path: Path) -> None:
    path = tmp_path / "model"
    with atomic_directory(path) as directory:
        (directory / "old").write_text("1")
    with pytest.raises(RuntimeError), atomic_directory(path) as directory:
        (directory / "half").write_text("2")
        raise RuntimeError
    assert [file.name for file in path.iterdir()] == ["old"]
    with atomic_directory(path) as directory:
        (directory / "new").write_text("3")
    assert [file.name for file in path.iterdir()] == ["new"]
    assert [file.name for file in tmp_path.iterdir()] == ["model"]


def test_what_a_kill_left_is_cleared(tmp_path: Path) -> None:
    (tmp_path / ".model.partial").mkdir()
    (tmp_path / ".model.partial" / "rest").write_text("x")
    (tmp_path / ".rows.partial").write_text("a torn row")
    with atomic_directory(tmp_path / "model"), atomic_file(tmp_path / "rows") as stream:
        stream.write("whole")
    assert sorted(file.name for file in tmp_path.iterdir()) == ["model", "rows"]
    assert (tmp_path / "rows").read_text() == "whole"
    assert not list((tmp_path / "model").iterdir())


def test_a_json_file_comes_back_or_says_why_not(tmp_path: Path) -> None:
    path = tmp_path / "numbers.json"
    write_json(path, {"é": [1, None]})
    assert read_json(path) == {"é": [1, None]}
    path.write_text("{")
    with pytest.raises(UserError, match=r"numbers\.json: is not JSON: remove it"):
        read_json(path)
    with pytest.raises(UserError, match=r"other\.json: cannot be read: No such file"):
        read_json(tmp_path / "other.json")
