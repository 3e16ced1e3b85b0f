"""What docs/moving-results.md says of a finished run in another folder, or on another machine."""

from pathlib import Path

import pytest

TARGET = "results/toy_verified.jsonl"


@pytest.mark.parametrize(
    "left_behind", [(), (".cache",), (".snakemake",), (".snakemake", ".cache")]
)
def test_nothing_runs_again_where_times_were_kept(
    left_behind: tuple[str, ...], finished_toy, tmp_path: Path
) -> None:
    project = finished_toy[0].moved(tmp_path / "there", *left_behind)
    assert project.planned(TARGET) == set()


def test_without_what_snakemake_knows_new_times_count_until_they_are_touched(
    finished_toy, tmp_path: Path
) -> None:
    project = finished_toy[0].moved(tmp_path / "there", ".snakemake", keep_times=False)
    # The order of times in a copy is that of the copying: make one input newer than its outputs.
    (project.path / "results" / "toy" / "seeds.jsonl").touch()
    assert {"train", "generate_instructions", "label_instructions"} <= project.planned(TARGET)
    done = project.run("--touch", TARGET)
    assert done.returncode == 0, done.stdout
    assert project.planned(TARGET) == set()


def test_with_what_snakemake_knows_a_newer_file_of_the_same_content_reruns_nothing(
    finished_toy, tmp_path: Path
) -> None:
    project = finished_toy[0].moved(tmp_path / "there")
    (project.path / "results" / "toy" / "seeds.jsonl").touch()
    assert project.planned(TARGET) == set()
