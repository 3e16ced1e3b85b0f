"""The reference answers of the real benchmarks survive our parsers, checks and comparisons.

Skipped where the benchmarks are missing: name their folder in ADA_DATASETS.
"""

import gzip
import json
import os
from pathlib import Path

import pytest

from scripts.lib.sandbox import PASS, Job, Limits, Sandbox
from scripts.lib.tasks import load_task
from scripts.lib.tasks.code import functions_to_test, nothing_proved
from scripts.lib.tasks.math import canonical_answer, last_boxed
from scripts.lib.verification.answers import group_equal

PROJECT = Path(__file__).parents[2]
DATASETS = Path(os.environ.get("ADA_DATASETS", PROJECT.parent / "shared" / "datasets"))
TASKS = PROJECT / "tasks"
# One of MBPP's reference solutions takes seconds; a loaded machine must fail nobody.
LIMITS = Limits(cpu_seconds=30)


def rows(name: str) -> list[dict]:
    path = DATASETS / f"{name}.jsonl.gz"
    if not path.exists():
        pytest.skip(f"no {name}: name the folder of the benchmarks in ADA_DATASETS")
    with gzip.open(path, "rt", encoding="utf-8") as stream:
        return [json.loads(line) for line in stream]


def fenced(*blocks: str) -> str:
    return "\n".join(f"```python\n{block}\n```" for block in blocks)


def failures(jobs: list[Job]) -> list[object]:
    """The ids of the jobs that do not pass in the sandbox, with the reasons."""
    with Sandbox(limits=LIMITS) as sandbox:
        verdicts = list(sandbox.judge(jobs))
    return [(verdict.id, verdict.reason) for verdict in verdicts if verdict.verdict != PASS]


def test_every_reference_solution_of_mbpp_verifies() -> None:
    task = load_task(TASKS / "mbpp.yaml")
    samples = []
    for row in rows("mbpp"):
        reply = fenced(row["code"], "\n".join(row["test_list"]))
        parsed = task.kind.parse_reply(task, row["text"], reply, "stop", min_tests=1)
        assert parsed.reason == "", row["task_id"]
        functions = functions_to_test(task, row["text"], parsed.output)
        assert nothing_proved(functions, parsed.tests) == "", row["task_id"]
        setup = row["test_setup_code"]
        samples.append(Job(row["task_id"], parsed.output, list(parsed.tests), setup=setup))
    assert len(samples) == 974
    assert failures(samples) == []


def test_every_canonical_solution_of_humaneval_verifies() -> None:
    task = load_task(TASKS / "humaneval.yaml")
    samples = []
    for row in rows("humaneval"):
        reply = fenced(row["prompt"] + row["canonical_solution"])
        stub = f'def {row["entry_point"]}():\n    """Any."""'
        parsed = task.kind.parse_reply(task, stub, reply, "stop", min_tests=0)
        assert parsed.reason == "", row["task_id"]
        tests = [row["test"], f"check({row['entry_point']})"]
        samples.append(Job(row["task_id"], parsed.output, tests, prefix=row["prompt"]))
    assert len(samples) == 164
    assert failures(samples) == []


def test_every_prompt_of_humaneval_is_a_well_formed_instruction() -> None:
    task = load_task(TASKS / "humaneval.yaml")
    reasons = {
        row["task_id"]: task.kind.read_instruction(task, row["prompt"]).reason
        for row in rows("humaneval")
    }
    # One begins with an assignment, in one an import stands before the docstring.
    broken = {at: reason for at, reason in reasons.items() if reason}
    assert broken == {"HumanEval/64": "pattern", "HumanEval/115": "no_docstring"}


def test_every_question_of_gsm8k_and_csqa_is_a_well_formed_instruction() -> None:
    for name, split in [("gsm8k", "gsm8k_test"), ("csqa", "csqa_dev_rand_split")]:
        task = load_task(TASKS / f"{name}.yaml")
        found = rows(split)
        broken = 0
        for row in found:
            if name == "gsm8k":
                text = row["question"]
            else:
                options = [f"{choice['label']}. {choice['text']}" for choice in
                           row["question"]["choices"]]  # fmt: skip
                text = "\n".join([row["question"]["stem"], *options])
            broken += bool(task.kind.read_instruction(task, text).reason)
        # A few are malformed by the original's rules as well: they do not end with a question.
        assert broken / len(found) < 0.03, name


def test_every_answer_of_gsm8k_is_canonical_and_equal_to_itself() -> None:
    task = load_task(TASKS / "gsm8k.yaml")
    found = [row["answer"] for split in ("gsm8k_train", "gsm8k_test") for row in rows(split)]
    assert len(found) == 7473 + 1319
    for solution in found:
        reference = solution.partition("#### ")[2].strip().replace(",", "")
        parsed = task.kind.parse_reply(task, "", solution, "stop")
        assert (parsed.reason, parsed.answer) == ("", canonical_answer("number", reference))
        assert float(parsed.answer) == float(reference)
        assert group_equal([parsed.answer, reference]) == [0, 0]


def test_every_answer_of_math_is_found_and_equal_to_itself() -> None:
    task = load_task(TASKS / "math.yaml")
    found = [row["solution"] for split in ("math_train", "math_test") for row in rows(split)]
    assert len(found) == 12_500
    boxed = [last_boxed(solution) for solution in found]
    assert None not in boxed
    # Two boxes of the data set itself are empty: no answer for us.
    assert sum(not answer for answer in boxed) == 2
    for solution, answer in zip(found, boxed, strict=True):
        found_in_reply = task.kind.parse_reply(task, "", solution, "stop").answer
        assert found_in_reply == canonical_answer("expression", answer, boxed=True)
        assert group_equal([answer, answer]) == [0, 0]
