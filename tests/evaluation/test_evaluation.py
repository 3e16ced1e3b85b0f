"""From problems and responses to scores, and to the comparison of two models."""

import json
import time
from pathlib import Path
from typing import Any

import pytest
import yaml

from scripts import compare_models, evaluate_model, respond_by_reference
from scripts.lib.errors import UserError
from scripts.lib.evaluation import judging
from scripts.lib.evaluation.judging import Settings, open_judging
from scripts.lib.records import Problem, Response, Score, Seed, read_rows, write_rows
from scripts.lib.tasks import load_task
from tests.evaluation.test_problems import fetch, task_with

CODE = "[PYTHON]\ndef double(n):\n    return {}\n[/PYTHON]"
QUESTION = "Where do goats climb?\nA. sea\nB. cellar\nC. lake\nD. hill\nE. desk"


def problem(at: str, **columns: Any) -> Problem:
    given = {
        "instruction": "Write a function to double.", "shown_tests": [], "tests": [], "setup": "",
        "prefix": "", "calls": {}, "answer": "", "solution": "", **columns,
    }  # fmt: skip
    return Problem(benchmark="B", id=at, **given)


def response(at: str, text: str, model: str = "m", likelihoods: tuple[float, ...] = ()) -> Response:
    return Response("B", at, "greedy", 0, text, 9, True, list(likelihoods), model)


class Bench:
    """A folder with a task, its problems, and the responses of models."""

    def __init__(self, folder: Path, task: Path, problems: list[Problem]) -> None:
        self.folder, self.task = folder, task
        self.problems = folder / "problems.jsonl"
        write_rows(self.problems, problems)

    def evaluate(self, model: str, responses: list[Response], **options: str) -> list[Score]:
        file = self.folder / f"{model}_responses.jsonl"
        write_rows(file, responses)
        given = {
            "task": str(self.task), "benchmark": "B", "problems": str(self.problems),
            "responses": str(file), "model-name": model, "ks": "1", "min-parsed": "0.1",
            "timeout": "3", "memory-mb": "1024", "sandbox-level": "auto", "workers": "1",
            "protocol": '{"limit": null, "chat_format": "model"}', "seed": "1",
            "cache": str(self.folder / "cache"), "rows": str(self.rows(model)),
            "output": str(self.result_file(model)), **options,
        }  # fmt: skip
        evaluate_model.main(
            [part for name, value in given.items() for part in (f"--{name}", value)]
        )
        return list(read_rows(self.rows(model), Score))

    def respond_by_reference(self) -> list[Response]:
        output = self.folder / "reference.jsonl"
        respond_by_reference.main(
            ["--task", str(self.task), "--problems", str(self.problems), "--limit", "0",
             "--output", str(output)]
        )  # fmt: skip
        return list(read_rows(output, Response))

    def rows(self, model: str) -> Path:
        return self.folder / f"{model}_rows.jsonl"

    def result_file(self, model: str) -> Path:
        return self.folder / f"{model}.json"

    def result(self, model: str) -> dict[str, Any]:
        return json.loads(self.result_file(model).read_text(encoding="utf-8"))

    def compare(self, seeds: tuple[str, ...] = ()) -> dict[str, Any]:
        output = self.folder / "eval.json"
        learnt, shown = self.folder / "learnt.jsonl", self.folder / "seeds.jsonl"
        write_rows(learnt, [])
        write_rows(shown, [Seed(text) for text in seeds])
        compare_models.main(
            ["--task", "t", "--reference", str(self.result_file("reference")),
             "--base", str(self.result_file("base")), "--base-rows", str(self.rows("base")),
             "--student", str(self.result_file("student")),
             "--student-rows", str(self.rows("student")), "--problems", str(self.problems),
             "--rows", str(learnt), "--seeds", str(shown), "--seed", "1", "--output", str(output)]
        )  # fmt: skip
        return json.loads(output.read_text(encoding="utf-8"))


def test_code_is_run_and_two_models_are_compared(tmp_path: Path) -> None:
    task = task_with(tmp_path, "mbpp", instruction="{text}", tests="tests")
    tests = ["assert double(2) == 4"]
    solution = "def double(n):\n    return 2 * n"
    called = {"entry_point": "double", "inputs": [[1], ["a"], [None]], "atol": 0, "rules": ""}
    bench = Bench(
        tmp_path, task,
        [
            problem("1", tests=tests, solution=solution),
            problem("2", tests=["assert double(2) == four"], setup="four = 4", solution=solution),
            problem("3", calls=called, solution=solution),
            problem("4", tests=tests, solution=solution),
        ],
    )  # fmt: skip
    bench.evaluate("reference", bench.respond_by_reference())
    assert bench.result("reference")["metrics"]["pass@1"]["right"] == 4
    # Nothing is returned for nothing: no response is judged by that input.
    assert bench.result("reference")["inputs_left_out"] == {"3": 1}
    base = [CODE.format("2 * n"), CODE.format("n"), "I cannot", "def double(n):\n    return 5"]
    scores = bench.evaluate("base", [response(str(at), text) for at, text in enumerate(base, 1)])
    assert [score.verdict for score in scores] == ["pass", "fail", "no_answer", "fail"]
    assert scores[1].detail and scores[2].answer == "" and not scores[2].right
    student = [CODE.format("2 * n"), CODE.format("n + n"), CODE.format("n + n"), "def double(:"]
    bench.evaluate("student", [response(str(at), text, "s") for at, text in enumerate(student, 1)])
    result = bench.result("student")
    assert (result["parsed"], result["finished"], result["problems"]) == (0.75, 1.0, 4)
    assert result["verdicts"] == {"no_answer": 1, "pass": 3}
    assert result["model_id"] == "s" and result["sandbox"] and result["sampled"] is None
    assert result["protocol"]["name"] == "B test, greedy"
    assert "{instruction}" in result["protocol"]["prompt"]
    (found,) = bench.compare()["benchmarks"]
    assert found["reference"] == {"right": 4, "of": 4}
    assert [model["metrics"]["pass@1"]["value"] for model in found["models"].values()] == [
        0.25, 0.75,
    ]  # fmt: skip
    gap = found["differences"]["pass@1"]
    assert gap["value"] == 0.5 and gap["interval"][0] <= 0.5 <= gap["interval"][1]
    assert 0 < gap["p"] <= 1 and gap["method"].startswith("paired bootstrap")

    spoilt = bench.result("student")
    spoilt["protocol"]["chat_format"] = "llama2"
    bench.result_file("student").write_text(json.dumps(spoilt))
    with pytest.raises(UserError, match="student.json: was .* another protocol, 'chat_format'"):
        bench.compare()


def test_answers_are_compared_as_mathematics(tmp_path: Path) -> None:
    task = task_with(tmp_path, "math", instruction="{q}", answer="{a}")
    bench = Bench(tmp_path, task, [problem(at, answer="0.5", solution="So.") for at in "123"])
    assert all(score.right for score in bench.evaluate("reference", bench.respond_by_reference()))
    scores = bench.evaluate(
        "base",
        [response("1", r"So $\boxed{\frac{1}{2}}$"), response("2", r"So $\boxed{2}$"),
         response("3", "hm")],
    )  # fmt: skip
    assert [score.verdict for score in scores] == ["right", "wrong", "no_answer"]
    assert scores[0].answer == r"\frac{1}{2}"
    assert bench.result("base")["metrics"]["accuracy"]["value"] == pytest.approx(1 / 3)
    assert bench.result("base")["protocol"]["scoring"].startswith("math-verify ")
    # Solutions that are judged wrong: no model need respond, and nothing is compared.
    wrong = [response("1", r"$\boxed{0.5}$"), response("2", "hm"), response("3", r"$\boxed{3}$")]
    with pytest.raises(UserError) as refused:
        bench.evaluate("reference", wrong)
    assert str(refused.value) == (
        f"{tmp_path}/reference.json: 2 of 3 solutions of the benchmark itself are judged wrong, so "
        "no score can be trusted (2 is no_answer: ''; 3 is wrong: '3'): mend B under 'evaluation' "
        "of the task's file"
    )
    bench.evaluate("student", [response(at, r"$\boxed{3}$") for at in "123"])
    with pytest.raises(UserError, match="reference.json: 2 of 3 solutions .* judged wrong"):
        bench.compare()


def test_a_solution_that_takes_too_long_may_need_more_time(tmp_path: Path) -> None:
    task = task_with(tmp_path, "mbpp", instruction="{t}", tests="t")
    slow = "def f():\n    while True:\n        pass"
    bench = Bench(tmp_path, task, [problem("1", tests=["assert f()"], solution=slow)])
    message = r"1 of 1 solutions .*\(1 is timeout: more than .* or raise 'verification.timeout'"
    with pytest.raises(UserError, match=message):
        bench.evaluate("reference", bench.respond_by_reference(), timeout="0.3")


def test_options_are_named_or_likely(tmp_path: Path) -> None:
    task = task_with(tmp_path, "csqa", instruction="{q}", answer="{a}")
    bench = Bench(
        tmp_path, task, [problem(at, instruction=QUESTION, answer="D. hill") for at in "123"]
    )
    assert all(score.right for score in bench.evaluate("reference", bench.respond_by_reference()))
    likely = (-9.0, -8.0, -7.0, -1.0, -1.0)
    given = [
        response("1", "The answer is: D. hill", likelihoods=likely),
        response("2", "The answer is: the hill", likelihoods=likely[::-1]),
        response("3", "B", likelihoods=likely),
    ]
    scores = bench.evaluate("base", given)
    assert [(score.decoding, score.answer, score.right) for score in scores] == [
        ("greedy", "D", True), ("greedy", "D", True), ("greedy", "B", False),
        ("likelihood", "D", True), ("likelihood", "A", False), ("likelihood", "D", True),
    ]  # fmt: skip
    found = bench.result("base")["metrics"]
    assert [round(metric["value"], 3) for metric in found.values()] == [0.667, 0.667]
    with pytest.raises(UserError, match="B, 2: 0 likelihoods of 5 options"):
        bench.evaluate("base", [given[0], response("2", "B"), given[2]])


def test_texts_are_equal_but_for_case_and_spaces(tmp_path: Path) -> None:
    task = task_with(tmp_path, "mbpp", instruction="{q}", answer="{a}")
    task.write_text(task.read_text(encoding="utf-8").replace("kind: code", "kind: text"))
    bench = Bench(tmp_path, task, [problem(at, answer="New York") for at in "12"])
    scores = bench.evaluate("base", [response("1", " new  york\n"), response("2", "York")])
    assert [score.right for score in scores] == [True, False]


@pytest.mark.parametrize("template", ["{solution}", "{answer}", "The city: {solution}\n[/TEXT]"])
def test_a_text_that_is_right_is_its_own_solution(tmp_path: Path, template: str) -> None:
    task = task_with(tmp_path, "gsm8k", instruction="{q}", answer="{a}")
    spec = yaml.safe_load(task.read_text(encoding="utf-8"))
    del spec["answer"]
    spec |= {"kind": "text", "instruction": {**spec["instruction"], "response": template}}
    task.write_text(yaml.safe_dump(spec), encoding="utf-8")
    (asked,) = fetch(tmp_path, task, [{"q": "Where?", "a": "New York"}])
    assert (asked.answer, asked.solution) == ("New York", "New York")
    bench = Bench(tmp_path, task, [asked])
    (score,) = bench.evaluate("reference", bench.respond_by_reference())
    assert score.right and score.answer == "New York"


@pytest.fixture
def sums(tmp_path: Path) -> Bench:
    task = task_with(tmp_path, "gsm8k", instruction="{q}", answer="{a}")
    return Bench(tmp_path, task, [problem(at, answer="7") for at in "1234"])


def test_responses_in_another_form_are_no_bad_model(sums: Bench) -> None:
    babble = [response(at, f"Sure! I am text {at}.") for at in "1234"]
    with pytest.raises(UserError, match=r"0.0% of 4 .*Sure! I am text 1.* and .*text 2.*mend"):
        sums.evaluate("base", babble)
    assert not sums.rows("base").exists() and not sums.result_file("base").exists()
    assert len(sums.evaluate("base", babble, **{"min-parsed": "0"})) == 4
    assert sums.result("base")["parsed"] == 0


def test_a_limit_takes_the_same_problems_as_the_responses(sums: Bench) -> None:
    limited = {"protocol": '{"limit": 2, "sampled": null}'}
    with pytest.raises(UserError, match="nobody asked for"):
        sums.evaluate("base", [response(at, "The answer is 7") for at in "1234"], **limited)
    chosen = {row.id for row in judging_problems(sums, 2)}
    sums.evaluate("base", [response(at, "The answer is 7") for at in chosen], **limited)
    result = sums.result("base")
    assert (result["problems"], result["of"], result["limit"]) == (2, 4, 2)


def judging_problems(bench: Bench, limit: int) -> list[Problem]:
    from scripts.lib.evaluation.problems import first_problems

    return first_problems(read_rows(bench.problems, Problem), limit)


def test_samples_of_a_model_are_estimated_from(sums: Bench) -> None:
    greedy = [response(at, "The answer is 7") for at in "1234"]
    sampled = [
        Response("B", at, "sampled", number, f"The answer is {7 - number}", 3, True, [], "m")
        for at in "1234"
        for number in range(2)
    ]
    protocol = '{"limit": null, "sampled": {"samples": 2, "temperature": 0.8, "top_p": 0.9}}'
    sums.evaluate("base", [*greedy, *sampled], protocol=protocol)
    result = sums.result("base")
    assert result["metrics"]["pass@1 sampled"]["value"] == 0.5
    assert result["sampled"]["verdicts"] == {"right": 4, "wrong": 4}
    assert result["protocol"]["name"] == "B test, greedy, 2 samples at temperature 0.8"
    # The reference has no samples, whatever is asked of models.
    sums.evaluate("reference", sums.respond_by_reference(), protocol=protocol)


def test_responses_of_two_models_are_refused(sums: Bench) -> None:
    given = [response(at, "The answer is 7", model=f"m{at}") for at in "1234"]
    with pytest.raises(UserError, match="base_responses.jsonl: holds responses of 4 models"):
        sums.evaluate("base", given)


def test_a_sandbox_that_fails_gives_no_score() -> None:
    scores = [Score("B", str(at), "greedy", 0, "x", at > 1, "pass", "") for at in range(200)]
    broken = [Score("B", str(at), "greedy", 0, "x", False, "error", "lost") for at in range(3)]
    evaluate_model.check_errors([*scores[1:], broken[0]])
    with pytest.raises(UserError, match=r"failed on 3 of 200 responses \(lost\)"):
        evaluate_model.check_errors([*scores[3:], *broken])


def test_a_solution_that_returns_nothing_is_explained(tmp_path: Path) -> None:
    task = load_task(task_with(tmp_path, "mbpp", instruction="{t}", tests="t"))
    called = {"entry_point": "missing", "inputs": [[1]], "atol": 0, "rules": ""}
    asked = problem("1", calls=called, solution="x = 1")
    settings = Settings(3, 1024, 1, "auto", False, tmp_path / "cache")
    with (
        pytest.raises(UserError, match="B, 1: its own solution returns nothing"),
        open_judging(task, settings, [asked]),
    ):
        pass


def test_what_a_solution_returns_is_kept_where_it_returns_all(tmp_path: Path, monkeypatch) -> None:
    task = load_task(task_with(tmp_path, "mbpp", instruction="{t}", tests="t"))
    called = {"entry_point": "half", "inputs": [[2], [4]], "atol": 0, "rules": ""}
    whole = problem("1", calls=called, solution="def half(n):\n    return n // 2")
    partly = problem("2", calls=called, solution="def half(n):\n    return {2: 1}[n]")
    cache = tmp_path / "cache"

    def left_out(memory_mb: int, *problems: Problem) -> dict[str, int]:
        settings = Settings(3, memory_mb, 1, "auto", False, cache)
        with open_judging(task, settings, problems or (whole, partly)) as found:
            return dict(found.left_out)

    # A loaded machine may be why an input has no result: it is tried again.
    assert left_out(1024) == left_out(1024) == {"2": 1}
    assert len(list(cache.iterdir())) == 1
    # With less memory some solutions return less.
    left_out(512)
    assert len(list(cache.iterdir())) == 2
    monkeypatch.setattr(judging, "_returned", None)
    assert left_out(512, whole) == {}


def test_problems_that_the_generator_has_read_are_named(tmp_path: Path, capsys) -> None:
    task = task_with(tmp_path, "gsm8k", instruction="{q}", answer="{a}")
    known = (
        "A farmer sells seven baskets of ripe apples at the market every single Saturday morning."
    )
    other = "How many wooden chairs fit around four large round tables in the old village hall?"
    asked = [
        problem("1", instruction=known, answer="7"),
        problem("2", instruction=other, answer="7"),
    ]
    bench = Bench(tmp_path, task, asked)
    for model in ("reference", "base", "student"):
        bench.evaluate(model, [response(at, "The answer is 7") for at in "12"])
    (found,) = bench.compare(seeds=("What is two and two?", known))["benchmarks"]
    assert found["overlap"] == {"texts": 2, "overlapping": 1, "problems": ["1"]}
    assert "warning: 1 problems of B overlap a row or a seed, as 1" in capsys.readouterr().err


def test_whoever_fails_waits_for_no_other_response() -> None:
    asked: list[int] = []
    aborted: list[bool] = []

    def judge(number: int) -> int:
        asked.append(number)
        if number == 2:
            raise KeyboardInterrupt
        time.sleep(0.01)
        return number

    with pytest.raises(KeyboardInterrupt):
        list(judging.in_order(judge, range(1000), 2, lambda: aborted.append(True)))
    assert len(asked) < 500 and aborted == [True]
    assert list(judging.in_order(judge, [5, 4, 3], 2, lambda: None)) == [5, 4, 3]
