"""The real evaluation and the real study, from seeds to their results, on a tiny model."""

import json
import shutil
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.conftest import TOY_TASK, LabelEndpoint, Project, toy_config, toy_project

PROBLEMS = [
    {"id": at, "text": f"Write a function that adds {at} to a number.",
     "code": f"def add(n):\n    return n + {at}", "tests": [f"assert add(1) == {1 + at}"]}
    for at in range(4)
]  # fmt: skip
BENCHMARK = {
    "name": "Adding",
    "protocol": "Adding test, 0-shot",
    "dataset": {"hub": "own/adding", "split": "test"},
    "id": "{id}",
    "instruction": "{text}",
    "tests": "tests",
    "solution": "{code}",
}
TARGETS = ("results/toy_eval.json", "results/toy_study.json")
ARMS = ["seeds_only", "self_instruct", "ada_unverified", "ada_verified"]
CELL = "results/toy/study/seed_rows~10/epochs~2/seed~7"


def measured_config(model: Path) -> dict:
    """The toy's configuration with an evaluation and a study that take seconds."""
    config = toy_config(model)
    return {
        **config,
        "datasets": {"own/adding:test": "adding.jsonl"},
        "student": {
            "model": str(model),
            "training": {"method": "full", "epochs": 1, "learning_rate": 0.001},
        },
        "evaluation": {
            "limit": 3,
            "samples": 2,
            "k": [1, 2],
            "max_new_tokens": 8,
            # A model that knows nothing writes no code.
            "min_parsed": 0,
        },
        "quality": {"max_texts": 20},
        "study": {"seeds": [7], "epochs": [2], "rows": 5, "min_rows": 2, "seed_replies": 1},
    }


@pytest.fixture(scope="module")
def measured(
    tmp_path_factory: pytest.TempPathFactory,
    tiny_model: Path,
    finished_toy: tuple[Project, LabelEndpoint],
) -> Iterator[Project]:
    endpoint = LabelEndpoint()
    project = toy_project(tmp_path_factory.mktemp("measured") / "toy", tiny_model, endpoint)
    # From the seeds to the verified rows another test has gone.
    for folder in ("results", ".snakemake", ".cache"):
        shutil.copytree(finished_toy[0].path / folder, project.path / folder)
    task = {**TOY_TASK, "evaluation": [BENCHMARK]}
    (project.path / "tasks" / "toy.yaml").write_text(json.dumps(task))
    (project.path / "adding.jsonl").write_text("\n".join(map(json.dumps, PROBLEMS)))
    project.configure(measured_config(tiny_model))
    assert "generate_instructions" not in project.planned("results/toy_verified.jsonl")
    done = project.run(*TARGETS)
    assert done.returncode == 0, done.stdout
    yield project
    endpoint.close()


def result(project: Project, name: str) -> dict:
    """A JSON file of the results."""
    return json.loads((project.path / name).read_text())


def test_both_models_are_measured_and_the_own_solutions_are_right(measured: Project) -> None:
    (found,) = result(measured, "results/toy_eval.json")["benchmarks"]
    assert (found["benchmark"], found["problems"], found["of"]) == ("Adding", 3, 4)
    assert found["reference"] == {"right": 3, "of": 3}
    assert found["limit"] == 3
    for model in ("base", "student"):
        metrics = found["models"][model]["metrics"]
        assert {"pass@1", "pass@2"} <= set(metrics)
        low, high = metrics["pass@1"]["interval"]
        assert low <= metrics["pass@1"]["value"] <= high
    assert set(found["differences"]) == set(found["models"]["base"]["metrics"])
    assert found["protocol"]["name"].startswith("Adding test, 0-shot, greedy")
    responses = measured.rows("results/toy/responses/Adding/student.jsonl")
    # One greedy and two sampled ones to each problem.
    assert len(responses) == 9


def test_the_study_has_all_arms_with_as_many_rows(measured: Project) -> None:
    study = result(measured, "results/toy_study.json")
    assert [arm["arm"] for arm in study["arms"]] == ["base", *ARMS]
    assert {study["rows"][arm]["7"]["rows"] for arm in ARMS} == {5}
    assert set(study["funnels"]) == {"ada", "self_instruct"}
    for arm in ARMS:
        ways = {row["verification"] for row in measured.rows(f"{CELL}/arms/{arm}_rows.jsonl")}
        assert ways == ({"own_tests"} if arm == "ada_verified" else {"none"})
    bare = {row["bare_instruction"] for row in measured.rows(f"{CELL}/arms/seeds_only_rows.jsonl")}
    assert bare <= {row["instruction"] for row in measured.rows("results/toy/seeds.jsonl")}


def test_both_arms_of_a_generator_share_all_that_costs(measured: Project) -> None:
    sources = {path.name for path in (measured.path / CELL).iterdir() if path.is_dir()}
    assert sources == {"ada", "self_instruct", "seeds_only", "arms"}
    assert not (measured.path / CELL / "self_instruct" / "generator").exists()


def test_nothing_reruns_and_a_larger_evaluation_trains_nothing(
    measured: Project, tiny_model: Path
) -> None:
    assert measured.planned(*TARGETS) == set()
    config = measured_config(tiny_model)
    config["evaluation"]["limit"] = None
    measured.configure(config)
    planned = measured.planned(TARGETS[0])
    measured.configure(measured_config(tiny_model))
    assert planned == {
        "respond_to_problems", "respond_by_reference", "evaluate_model", "compare_models"
    }  # fmt: skip
