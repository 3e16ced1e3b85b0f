"""The plans of an evaluation and of a study, and what stops them."""

import re
from pathlib import Path

import pytest
import yaml

from tests.conftest import PROJECT, Project


@pytest.fixture(scope="module")
def fresh(tmp_path_factory: pytest.TempPathFactory) -> Project:
    return Project(tmp_path_factory.mktemp("fresh"), {})


def jobs_of(project: Project, *targets: str, config: dict) -> dict[str, int]:
    """How many jobs of each rule the targets plan."""
    project.configure(config)
    done = project.run("-n", *targets)
    assert done.returncode == 0, done.stdout
    return {rule: int(count) for rule, count in re.findall(r"^(\w+) +(\d+)$", done.stdout, re.M)}


def refusal(project: Project, target: str, config: dict) -> str:
    """What is said of a config that stops the plan."""
    project.configure(config)
    done = project.run("-n", target)
    assert done.returncode != 0
    assert "Traceback (most recent call last)" not in done.stdout
    return done.stdout


def test_student_base_and_the_own_solutions_are_evaluated(fresh: Project) -> None:
    jobs = jobs_of(fresh, "results/mbpp_eval.json", config={})
    assert (jobs["respond_to_problems"], jobs["respond_by_reference"]) == (2, 1)
    assert (jobs["evaluate_model"], jobs["compare_models"], jobs["fetch_problems"]) == (3, 1, 1)
    # The generator and the student.
    assert jobs["train"] == 2


def test_several_benchmarks_are_evaluated_where_the_config_asks_for_them(fresh: Project) -> None:
    config = {"evaluation": {"benchmarks": ["HumanEval", "HumanEval+"]}}
    jobs = jobs_of(fresh, "results/humaneval_eval.json", config=config)
    assert (jobs["evaluate_model"], jobs["fetch_problems"], jobs["train"]) == (6, 2, 2)


def test_every_task_of_the_project_can_be_evaluated(fresh: Project) -> None:
    targets = [f"results/{path.stem}_eval.json" for path in (PROJECT / "tasks").glob("*.yaml")]
    assert jobs_of(fresh, *targets, config={})["compare_models"] == len(targets) > 1


@pytest.mark.parametrize(
    ("config", "message"),
    [
        (
            {"evaluation": {"benchmarks": ["MBPQ"]}},
            "key 'evaluation.benchmarks': tasks/mbpp.yaml has no benchmark 'MBPQ': it has MBPP",
        ),
        (
            {"evaluation": {"samples": 5, "k": [1, 10]}},
            "key 'evaluation.k': pass@10 cannot be told from 5 samples",
        ),
        ({"evaluation": {"limit": 0}}, "key 'evaluation.limit'"),
    ],
)
def test_a_wrong_evaluation_stops_the_plan(fresh: Project, config: dict, message: str) -> None:
    assert message in refusal(fresh, "results/mbpp_eval.json", config)


def test_a_task_without_a_benchmark_is_explained(tmp_path: Path) -> None:
    own = Project(tmp_path, {})
    path = own.path / "tasks" / "mbpp.yaml"
    spec = yaml.safe_load(path.read_text())
    del spec["evaluation"]
    path.write_text(yaml.safe_dump(spec))
    message = "tasks/mbpp.yaml: has no section 'evaluation': describe a benchmark there"
    assert message in refusal(own, "results/mbpp_eval.json", {})


def test_a_study_has_every_arm_with_every_seed_and_sweeps_the_generator(fresh: Project) -> None:
    study = {"seeds": [1, 2], "seed_rows": [10, 5], "epochs": [8]}
    jobs = jobs_of(fresh, "results/mbpp_study.json", config={"study": study})
    # Two cells with four arms of three sources, and two with those of the generator alone.
    assert jobs["draw_rows"] == 2 * 4 + 2 * 2
    assert jobs["respond_to_problems"] == jobs["draw_rows"] + 1
    assert jobs["evaluate_model"] == jobs["draw_rows"] + 2
    assert jobs["label_instructions"] == 2 * 3 + 2
    # One generator a cell serves both of its arms.
    assert jobs["train"] == jobs["draw_rows"] + 4
    assert (jobs["take_seeds"], jobs["summarize_study"]) == (2, 1)


def test_the_study_of_the_embedded_default_is_planned(fresh: Project) -> None:
    config = yaml.safe_load((PROJECT / "configs" / "study.yaml").read_text())
    jobs = jobs_of(fresh, "results/mbpp_study.json", config=config)
    assert jobs["draw_rows"] == 3 * 4
    assert len(config["study"]["seeds"]) == 3


def test_the_runs_of_a_study_differ_in_what_it_is_about(fresh: Project) -> None:
    fresh.configure({"study": {"seeds": [7], "seed_rows": [5], "epochs": [3]}})
    planned = " ".join(fresh.run("-n", "-p", "results/mbpp_study.json").stdout.split())
    fresh.configure({})
    commands = re.split(r"(?=scripts\.\w+ )", planned)

    def of(script: str, *parts: str) -> list[str]:
        return [
            command.replace("\\ ", "")
            for command in commands
            if command.startswith(f"scripts.{script} ") and all(part in command for part in parts)
        ]

    assert all("--count 5 --seed 7" in command for command in of("select_seeds", "/study/"))
    assert "--epochs 3 " in of("train", "--role generator")[0]
    written = {"in_context" in command for command in of("generate_instructions")}
    assert written == {True, False}
    shown = of("generate_instructions", "in_context")[0]
    assert "--generator results/models/smollm2-135m-instruct --method in_context" in shown
    assert (
        "--seeds results/mbpp/study/seed_rows~5/epochs~3/seed~7/self_instruct/seeds.jsonl" in shown
    )
    cell = "--verified results/mbpp/study/seed_rows~5/epochs~3/seed~7"
    unverified = of("verify_samples", f"{cell}/ada_unverified.jsonl")[0]
    assert "--method none" in unverified
    alone = of("verify_samples", f"{cell}/seeds_only_unverified.jsonl")[0]
    assert "--rows-per-instruction 20" in alone
    asked = "--instructions results/mbpp/study/seed_rows~5/epochs~3/seed~7"
    assert "--replies 20" in of("label_instructions", f"{asked}/seeds_only_instructions.jsonl")[0]
