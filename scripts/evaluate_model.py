"""Judge a model's responses to the problems of a benchmark, and sum up its scores.

    python -m scripts.evaluate_model --task tasks/mbpp.yaml --benchmark MBPP \\
        --problems results/mbpp/problems/MBPP.jsonl \\
        --responses results/mbpp/responses/MBPP/student.jsonl --model-name student --ks 1 10 \\
        --min-parsed 0.1 --timeout 3 --memory-mb 1024 --sandbox-level auto --workers 2 \\
        --protocol '{"limit": 100, "chat_format": "model", "max_new_tokens": 192}' \\
        --seed 42 --rows results/mbpp/evaluation/MBPP/student.jsonl \\
        --output results/mbpp/evaluation/MBPP/student.json

`--protocol` tells how the responses were decoded: `limit` of the problems, `sampled` (with
`samples`, how many to each problem), and whatever else the result is to name. The model `reference`
is the benchmark's own solutions, one response to each problem: unless all of them are right the
step fails, and no model need respond.
"""

import json
import time
from collections.abc import Sequence
from importlib.metadata import version
from pathlib import Path
from typing import Any

from scripts.lib.console import counts, run_step, say, step_parser
from scripts.lib.dataset_rows import dataset_name
from scripts.lib.errors import UserError
from scripts.lib.evaluation.judging import Settings, judge_all, open_judging
from scripts.lib.evaluation.problems import Benchmark, benchmark_named, first_problems
from scripts.lib.evaluation.results import check_reference
from scripts.lib.evaluation.scores import (
    GREEDY,
    REFERENCE,
    SAMPLED,
    check_responses,
    metrics,
    summary,
)
from scripts.lib.files import write_json
from scripts.lib.records import Problem, Response, Score, read_rows, write_rows
from scripts.lib.sandbox import ERROR, add_sandbox_options
from scripts.lib.tasks import Task, load_task
from scripts.lib.tasks.form import prompt

# Share of the responses on which the executor may fail.
MAX_ERRORS = 0.01
# What a message shows of a response.
SHOWN = 160


def model_of(responses: Sequence[Response], source: Path) -> str:
    """The model that all responses are of. Raises `UserError` where there are several, or none."""
    models = sorted({response.model for response in responses})
    if len(models) != 1:
        raise UserError(
            f"{source}: holds responses of {len(models)} models: make it anew, by one model"
        )
    return models[0]


def check_parsed(scores: Sequence[Score], responses: Sequence[Response], least: float) -> None:
    """Raise `UserError` where too few responses hold any answer: they are in no form that is read.

    A score of 0 would say that a model is bad, where the prompt or the parser is.
    """
    without = [
        response.text
        for score, response in zip(scores, responses, strict=False)
        if not score.answer
    ]
    parsed = 1 - len(without) / len(responses)
    if parsed >= least:
        return
    examples = " and ".join(repr(text[:SHOWN]) for text in without[:2])
    raise UserError(
        f"{parsed:.1%} of {len(responses)} responses hold an answer in the form of the task, less "
        f"than 'evaluation.min_parsed' of config.yaml ({least:.1%}); two others: {examples}: "
        "mend the prompt, raise 'evaluation.max_new_tokens', or lower that limit to score them all "
        "the same"
    )


def check_errors(scores: Sequence[Score]) -> None:
    """Raise `UserError` where the executor failed so often that the score says something of it."""
    failed = [score for score in scores if score.verdict == ERROR]
    if not failed:
        return
    problem = f"the sandbox failed on {len(failed)} of {len(scores)} responses"
    if len(failed) > MAX_ERRORS * len(scores):
        raise UserError(f"{problem} ({failed[0].detail}): mend that, and run the step again")
    say(f"warning: {problem} ({failed[0].detail}), which count as wrong")


def scoring_of(task: Task, benchmark: Benchmark, settings: Settings) -> str:
    """How responses are judged, for a result."""
    kind = task.spec["kind"]
    if kind == "code":
        how = "results equal the solution's (EvalPlus)" if "calls" in benchmark else "tests pass"
        return f"executor, {how}, {settings.timeout:g} s and {settings.memory_mb} MB"
    if kind == "math":
        return f"math-verify {version('math-verify')}"
    return "the option's letter or words" if kind == "choice" else "equal texts"


def protocol_of(
    task: Task, benchmark: Benchmark, settings: Settings, decoding: dict[str, Any]
) -> dict[str, Any]:
    """What has to be the same where two results are compared."""
    sampled = decoding.get("sampled")
    name = f"{benchmark['protocol']}, greedy"
    if sampled:
        name += f", {sampled['samples']} samples at temperature {sampled['temperature']:g}"
    return {
        "name": name,
        "split": dataset_name(benchmark["dataset"]),
        "rows": benchmark.get("rows"),
        "shots": 0,
        "prompt": prompt(task.spec["instruction"], "{instruction}", ["{tests}"]),
        "greedy": {"temperature": 0},
        "sampled": sampled,
        **{key: value for key, value in decoding.items() if key not in ("limit", "sampled")},
        "scoring": scoring_of(task, benchmark, settings),
    }


def main(argv: list[str] | None = None) -> None:
    parser = step_parser(__doc__)
    parser.add_argument("--task", type=Path, required=True)
    parser.add_argument("--benchmark", required=True, help="its name in the task's file")
    parser.add_argument("--problems", type=Path, required=True)
    parser.add_argument("--responses", type=Path, required=True)
    parser.add_argument("--model-name", required=True, help="base, student, reference, ...")
    parser.add_argument("--ks", type=int, nargs="+", default=[], help="of pass@k, where sampled")
    parser.add_argument("--min-parsed", type=float, required=True, help="share of the responses")
    add_sandbox_options(parser)
    parser.add_argument("--protocol", type=json.loads, required=True, help="JSON, see above")
    parser.add_argument("--cache", type=Path, default=Path(".cache/solutions"))
    parser.add_argument("--seed", type=int, required=True, help="of the bootstrap")
    parser.add_argument("--rows", type=Path, required=True, help="the scores, one a response")
    parser.add_argument("--output", type=Path, required=True)
    arguments = parser.parse_args(argv)

    started = time.monotonic()
    task = load_task(arguments.task)
    benchmark = benchmark_named(task, arguments.benchmark)
    decoding = arguments.protocol
    limit = decoding.get("limit") or 0
    is_reference = arguments.model_name == REFERENCE
    if is_reference:
        decoding = {"limit": limit}
    sampled = decoding.get("sampled")
    all_problems = list(read_rows(arguments.problems, Problem))
    problems = first_problems(all_problems, limit)
    responses = list(read_rows(arguments.responses, Response))
    check_responses(
        problems, responses, sampled["samples"] if sampled else 0, str(arguments.responses)
    )
    # Some benchmarks have solutions that take longer than a verification may.
    arguments.timeout = max(arguments.timeout, benchmark.get("seconds", 0))
    settings = Settings.of(arguments)
    with open_judging(task, settings, problems) as judging:
        scores = judge_all(task, problems, responses, judging, settings.workers)
    check_errors(scores)
    if not is_reference:
        check_parsed(scores, responses, arguments.min_parsed)
    found = metrics(task.spec["kind"], scores, arguments.ks, arguments.seed)
    result = {
        "task": task.name,
        "benchmark": benchmark["name"],
        "model": arguments.model_name,
        "model_id": model_of(responses, arguments.responses),
        "problems": len(problems),
        "of": len(all_problems),
        "limit": limit or None,
        "protocol": protocol_of(task, benchmark, settings, decoding),
        "metrics": found,
        **summary(scores, responses, GREEDY),
        "sampled": summary(scores, responses, SAMPLED) if sampled else None,
        "inputs_left_out": judging.left_out,
        "sandbox": judging.sandbox,
    }
    write_rows(arguments.rows, scores)
    write_json(arguments.output, result)
    if is_reference:
        check_reference(result, arguments.output, scores)
    for name, metric in found.items():
        low, high = metric["interval"]
        say(
            f"{benchmark['name']}, {arguments.model_name}: {name} {metric['value']:.1%} "
            f"({low:.1%} to {high:.1%}; {metric['method']}) on {len(problems)} of "
            f"{len(all_problems)} problems"
        )
    counts("evaluate_model", time.monotonic() - started, responses=len(responses))


if __name__ == "__main__":
    run_step(main)
