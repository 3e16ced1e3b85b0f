"""Tasks are data, and bad data is named in one line."""

import re
import textwrap
from pathlib import Path

import pytest
import yaml

from scripts.lib.errors import UserError
from scripts.lib.records import Seed
from scripts.lib.seeds import load_seed_file, seed_source
from scripts.lib.tasks import load_task
from scripts.lib.tasks.form import cut_at_closing_mark, fill

TASKS = Path(__file__).parents[2] / "tasks"


@pytest.fixture
def spec() -> dict:
    return yaml.safe_load((TASKS / "mbpp.yaml").read_text())


def written(directory: Path, spec: dict, seeds: str) -> Path:
    (directory / "own.yaml").write_text(yaml.safe_dump(spec))
    (directory / "own_seeds.jsonl").write_text(seeds)
    return directory / "own.yaml"


def own_seeds(name: str) -> list[Seed]:
    task = load_task(TASKS / f"{name}.yaml")
    return load_seed_file(task, TASKS / seed_source(task, "own"))


@pytest.mark.parametrize("path", sorted(TASKS.glob("*.yaml")), ids=lambda path: path.stem)
def test_every_task_of_the_project_loads_with_ten_different_seeds(path: Path) -> None:
    seeds = own_seeds(path.stem)
    assert len({seed.instruction for seed in seeds}) == len(seeds) == 10


@pytest.mark.parametrize("name", ["csqa", "gsm8k", "math", "mbpp"])
def test_the_papers_seeds_are_ten_rows_of_a_dataset(name: str) -> None:
    source = seed_source(load_task(TASKS / f"{name}.yaml"), "paper")
    assert len(source["ids"]) == 10
    assert source["dataset"]["split"] in ("train", "validation")


def test_the_examples_of_a_request_are_read_as_they_are_meant() -> None:
    for path in sorted(TASKS.glob("*.yaml")):
        task = load_task(path)
        for example in task.spec["label"]["examples"]:
            instruction = example["instruction"]
            assert task.kind.read_instruction(task, instruction).reason in ("", "too_short")
            parsed = task.kind.parse_reply(task, instruction, example["reply"], "stop", 3)
            assert parsed.reason == "", (path.name, example)


def test_values_with_braces_are_filled_in_as_they_are() -> None:
    assert fill("{a} {b} {{c}}", a="{b}", c="d") == "{b} {b} {d}"


def test_a_text_is_cut_at_its_first_closing_mark() -> None:
    marks = ["\n", "Your code should"]
    assert cut_at_closing_mark("Write a loop. Your code should\npass", marks) == "Write a loop."
    assert cut_at_closing_mark("Write a loop.\nmore Your code should", marks) == "Write a loop."
    assert cut_at_closing_mark(" Write a loop ", marks) == "Write a loop"
    assert cut_at_closing_mark("\nWrite a loop\n", marks, start=1) == "Write a loop"


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"kind": "poem"}, "'kind'"),
        ({"extra": 1}, "'extra' was unexpected"),
        ({"sampling": {"temperature": 0, "max_new_tokens": 5}}, "'sampling.temperature'"),
        ({"sampling": {"max_new_tokens": 5}}, "'temperature' is a required property"),
        ({"seeds": 3}, "'seeds'"),
        ({"filter": {"pattern": "(?i"}}, "'filter.pattern'"),
        ({"seeds": {"paper": "a.jsonl"}}, "'seeds'"),
        ({"label": {"request": "Solve it."}}, "'label.request'"),
        ({"judge": {"request": "Is {reply} right?", "accept": "yes"}}, "'kind'"),
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
    (tmp_path / "own.yaml").write_bytes("kind: Grüße".encode("latin-1"))
    with pytest.raises(UserError, match="own.yaml: is not UTF-8 text"):
        load_task(tmp_path / "own.yaml")


@pytest.mark.parametrize(
    ("seeds", "message"),
    [
        ('{"instruction": "Write a b", "tests": []}\n', "holds 1 seed"),
        ("", "holds 0 seed"),
        ('{"instruction": "Write a b", "tests": []}\n{"inst', "line 2: is not valid JSON"),
        ('{"instruction": "Do a b", "tests": []}\n' * 2, "seed 1: does not begin with 'Write'"),
        (
            '{"instruction": "Write a poem of love and peace."}\n' * 2,
            "seed 1: is dropped as 'pattern'",
        ),
        ('{"instruct": "Write a b"}\n' * 2, "line 1: lacks 'instruction'"),
    ],
)
def test_wrong_seeds_are_explained(tmp_path: Path, spec: dict, seeds: str, message: str) -> None:
    task = load_task(written(tmp_path, spec, seeds))
    with pytest.raises(UserError, match="own_seeds.jsonl") as caught:
        load_seed_file(task, tmp_path / "own_seeds.jsonl")
    assert message in str(caught.value)
    with pytest.raises(UserError, match="none.jsonl does not exist"):
        load_seed_file(task, tmp_path / "none.jsonl")


def test_the_smallest_task_of_the_guide_works(tmp_path: Path) -> None:
    guide = (TASKS.parent / "docs" / "own-task.md").read_text(encoding="utf-8")
    blocks = {
        kind: textwrap.dedent(text)
        for kind, text in re.findall(r"```(yaml|json)\n(.*?)```", guide, re.DOTALL)[:2]
    }
    (tmp_path / "capitals.yaml").write_text(blocks["yaml"])
    (tmp_path / "capitals_seeds.jsonl").write_text(blocks["json"].strip() + "\n" + blocks["json"])
    task = load_task(tmp_path / "capitals.yaml")
    assert len(load_seed_file(task, tmp_path / task.spec["seeds"])) == 2
