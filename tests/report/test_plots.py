"""The plots of the report: their numbers lie beside them, and the same data give the same bytes."""

import csv
from pathlib import Path
from typing import Any

import pytest

from scripts import plot_funnel, plot_scores, plot_study
from scripts.lib.errors import UserError
from tests.report import made_up

PLOTS = {
    "funnel": (plot_funnel, made_up.funnel),
    "scores": (plot_scores, made_up.scores),
    "study": (plot_study, made_up.study),
}


def drawn(name: str, content: Any, folder: Path) -> tuple[str, list[dict[str, str]]]:
    """The plot of a content, and the rows of its data."""
    PLOTS[name][0].draw(content, folder / f"{name}.svg")
    with open(folder / f"{name}.csv", encoding="utf-8", newline="") as stream:
        return (folder / f"{name}.svg").read_text(encoding="utf-8"), list(csv.DictReader(stream))


@pytest.mark.parametrize("name", PLOTS)
def test_a_plot_repeats_byte_for_byte_and_loads_nothing(name: str, tmp_path: Path) -> None:
    content = PLOTS[name][1]()
    first, second = (drawn(name, content, tmp_path / folder) for folder in "ab")
    assert first == second
    assert "<title>" in first[0] and "<script" not in first[0] and "<image" not in first[0]


def test_the_funnel_tells_what_was_lost_and_why(tmp_path: Path) -> None:
    plot, rows = drawn("funnel", made_up.funnel(), tmp_path)
    assert [(row["stage"], row["count"], row["lost"]) for row in rows] == [
        ("sampled", "9", "0"), ("well_formed", "6", "3"), ("unique", "5", "1"),
        ("clean", "4", "1"), ("labelled", "4", "0"), ("valid", "4", "0"), ("verified", "2", "2"),
    ]  # fmt: skip
    assert rows[1]["reasons"] == "2 pattern, 1 unfinished"
    assert "6  (66.7 %)" in plot


def test_a_funnel_of_nothing_can_be_drawn(tmp_path: Path) -> None:
    from scripts.lib.funnel import build_funnel

    _, rows = drawn("funnel", build_funnel("t", [], [], [], []), tmp_path)
    assert {row["count"] for row in rows} == {"0"}


def test_scores_have_models_and_differences_of_every_benchmark(tmp_path: Path) -> None:
    plot, rows = drawn("scores", made_up.scores(), tmp_path)
    assert len(rows) == 2 * (2 * 2 + 2)
    of_mbpp = [row for row in rows if row["benchmark"] == "MBPP" and row["metric"] == "pass@1"]
    assert [(row["model"], row["value"]) for row in of_mbpp] == [
        ("base", "0.04"), ("student", "0.06"), ("difference", "0.02")
    ]  # fmt: skip
    assert "pass@10, student" in plot and "MBPP+, 378 problems" in plot


def test_the_study_has_every_seed_and_mean(tmp_path: Path) -> None:
    plot, rows = drawn("study", made_up.study(), tmp_path)
    arms = [row for row in rows if row["part"] == "arms"]
    assert len(arms) == 5 * 4 and len(rows) == 5 * 4 + 12 * 4
    assert [row["seed"] for row in arms[:4]] == ["1", "2", "3", "mean"]
    assert "Ada-Instruct, verified, 10 epochs" in plot and "epochs of the generator" in plot


@pytest.mark.parametrize("kept", ["none", "one cell", "one thing varied"])
def test_only_what_varies_is_drawn_as_a_sweep(kept: str, tmp_path: Path) -> None:
    study = made_up.study()
    cells = {"none": 0, "one cell": 1, "one thing varied": 3}[kept]
    study["sweeps"] = study["sweeps"][:cells]
    plot, _ = drawn("study", study, tmp_path)
    assert ("epochs of the generator" in plot) == (kept == "one thing varied")
    assert "sample instructions of the generator" not in plot


def test_more_lines_than_can_be_told_apart_are_left_to_the_data(tmp_path: Path) -> None:
    study = made_up.study()
    cell = study["sweeps"][0]
    study["sweeps"] = [
        {**cell, "seed_rows": samples, "epochs": epochs}
        for samples in range(1, 10)
        for epochs in (1, 2)
    ]
    plot, rows = drawn("study", study, tmp_path)
    assert "too many lines" in plot and len(rows) == 5 * 4 + 18 * 4


@pytest.mark.parametrize("name", PLOTS)
def test_a_file_of_another_form_is_named(name: str, tmp_path: Path) -> None:
    (tmp_path / "other.json").write_text('{"task": "t"}', encoding="utf-8")
    with pytest.raises(UserError, match=r"other\.json: is not what its step writes \(lacks"):
        PLOTS[name][0].main(
            [f"--{name}", str(tmp_path / "other.json"), "--output", str(tmp_path / "p.svg")]
        )
    assert not (tmp_path / "p.svg").exists()
