"""Tasks are data, and bad data is named in one line."""

from pathlib import Path

import pytest
import yaml

from scripts.filter_instructions import cut
from scripts.lib.errors import UserError
from scripts.lib.tasks import fill, load_task

TASKS = Path(__file__).parents[2] / "tasks"


@pytest.fixture
def spec() -> dict:
    return yaml.safe_load((TASKS / "mbpp.yaml").read_text())


def written(directory: Path, spec: dict, seeds: str) -> Path:
    (directory / "own.yaml").write_text(yaml.safe_dump(spec))
    (directory / spec["seeds"]).write_text(seeds)
    return directory / "own.yaml"


def test_every_task_of_the_project_loads_with_ten_different_seeds() -> None:
    for path in TASKS.glob("*.yaml"):
        seeds = load_task(path).seeds()
        assert len({seed.instruction for seed in seeds}) == len(seeds) == 10
        assert all(len(seed.tests) == 3 for seed in seeds)


def test_the_prompt_is_the_one_that_mbpp_is_evaluated_with() -> None:
    task = load_task(TASKS / "mbpp.yaml")
    assert task.prompt(
        "Write a function to triple a number.", ["assert t(1) == 3", "assert t(2) == 6"]
    ) == (
        "You are an expert Python programmer, and here is your task: "
        "Write a function to triple a number.\n"
        "Your code should pass these tests:\n\nassert t(1) == 3\nassert t(2) == 6\n"
        "Your code should start with a [PYTHON] tag and end with a [/PYTHON] tag."
    )
    assert task.response("x = {1}") == "[PYTHON]\nx = {1}\n[/PYTHON]"


def test_values_with_braces_are_filled_in_as_they_are() -> None:
    assert fill("{a} {b} {{c}}", a="{b}", c="d") == "{b} {b} {d}"


def test_a_text_is_cut_at_its_first_closing_mark() -> None:
    task = load_task(TASKS / "mbpp.yaml")
    assert cut(task, "Write a loop. Your code should\npass") == "Write a loop."
    assert cut(task, "Write a loop.\nmore Your code should") == "Write a loop."
    assert cut(task, " Write a loop ") == "Write a loop"


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"kind": "poem"}, "'kind'"),
        ({"extra": 1}, "'extra' was unexpected"),
        ({"sampling": {"temperature": 0, "max_new_tokens": 5}}, "'sampling.temperature'"),
        ({"sampling": {"max_new_tokens": 5}}, "'temperature' is a required property"),
        ({"seeds": 3}, "'seeds'"),
    ],
)
def test_a_wrong_task_file_is_explained(
    tmp_path: Path, spec: dict, change: dict, message: str
) -> None:
    (tmp_path / "own.yaml").write_text(yaml.safe_dump({**spec, **change}))
    with pytest.raises(UserError, match="own.yaml") as caught:
        load_task(tmp_path / "own.yaml")
    assert message in str(caught.value)
    assert "\n" not in str(caught.value)


def test_a_missing_or_unreadable_task_file_is_explained(tmp_path: Path) -> None:
    with pytest.raises(UserError, match="none.yaml does not exist: describe the task 'none' there"):
        load_task(tmp_path / "none.yaml")
    (tmp_path / "own.yaml").write_text("kind: [")
    with pytest.raises(UserError, match="own.yaml, line 1: is not valid YAML"):
        load_task(tmp_path / "own.yaml")


@pytest.mark.parametrize(
    ("seeds", "message"),
    [
        ('{"instruction": "Write a b", "tests": []}\n', "holds 1 seed"),
        ("", "holds 0 seed"),
        ('{"instruction": "Write a b", "tests": []}\n{"inst', "line 2: is not valid JSON"),
        ('{"instruction": "Do a b", "tests": []}\n' * 2, "seed 1: does not begin with 'Write'"),
    ],
)
def test_wrong_seeds_are_explained(tmp_path: Path, spec: dict, seeds: str, message: str) -> None:
    task = load_task(written(tmp_path, spec, seeds))
    with pytest.raises(UserError, match="mbpp_seeds.jsonl") as caught:
        task.seeds()
    assert message in str(caught.value)
