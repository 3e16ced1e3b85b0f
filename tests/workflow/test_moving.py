"""What docs/moving-results.md says of a finished run in another folder, or on another machine."""

import copy
import shutil
from pathlib import Path

import pytest

from tests.conftest import Project

TARGET = "results/toy_verified.jsonl"


def moved(project: Project, there: Path, *left_behind: str, keep_times: bool = True) -> Project:
    """The project in another folder, without some of its own."""
    shutil.copytree(
        project.path,
        there,
        ignore=lambda folder, _: left_behind if Path(folder) == project.path else (),
        copy_function=shutil.copy2 if keep_times else shutil.copy,
    )
    at_there = copy.copy(project)
    at_there.path = there
    return at_there


@pytest.mark.parametrize(
    "left_behind", [(), (".cache",), (".snakemake",), (".snakemake", ".cache")]
)
def test_nothing_runs_again_where_times_were_kept(
    left_behind: tuple[str, ...], finished_toy, tmp_path: Path
) -> None:
    project = moved(finished_toy[0], tmp_path / "there", *left_behind)
    assert project.planned(TARGET) == set()


def test_without_what_snakemake_knows_new_times_count_until_they_are_touched(
    finished_toy, tmp_path: Path
) -> None:
    project = moved(finished_toy[0], tmp_path / "there", ".snakemake", keep_times=False)
    # The order of times in a copy is that of the copying: make one input newer than its outputs.
    (project.path / "results" / "toy" / "seeds.jsonl").touch()
    assert {"train", "generate_instructions", "label_instructions"} <= project.planned(TARGET)
    done = project.run("--touch", TARGET)
    assert done.returncode == 0, done.stdout
    assert project.planned(TARGET) == set()


def test_with_what_snakemake_knows_a_newer_file_of_the_same_content_reruns_nothing(
    finished_toy, tmp_path: Path
) -> None:
    project = moved(finished_toy[0], tmp_path / "there")
    (project.path / "results" / "toy" / "seeds.jsonl").touch()
    assert project.planned(TARGET) == set()
