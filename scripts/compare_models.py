"""Compare a task model with the model that it was before, benchmark by benchmark.

    python -m scripts.compare_models --task mbpp \\
        --reference results/mbpp/evaluation/MBPP/reference.json \\
        --base results/mbpp/evaluation/MBPP/base.json \\
        --base-rows results/mbpp/evaluation/MBPP/base.jsonl \\
        --student results/mbpp/evaluation/MBPP/student.json \\
        --student-rows results/mbpp/evaluation/MBPP/student.jsonl \\
        --problems results/mbpp/problems/MBPP.jsonl --rows results/mbpp_verified.jsonl \\
        --seeds results/mbpp/seeds.jsonl --seed 42 --output results/mbpp_eval.json

Each option takes a file a benchmark, all in the same order. Nothing is compared where the
benchmark's own solutions (`--reference`) are not all right, or where the protocols differ. Of what
the pipeline has read, rows and seeds, the result tells which problems it overlaps.
"""

import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from scripts.lib.console import counts, run_step, say, step_parser
from scripts.lib.decontamination import OverlapIndex
from scripts.lib.errors import UserError
from scripts.lib.evaluation.intervals import PAIRED, paired_difference
from scripts.lib.evaluation.results import check_alike, check_reference, read_result
from scripts.lib.evaluation.scores import values_by_problem
from scripts.lib.files import write_json
from scripts.lib.records import BenchmarkItem, Problem, Score, Seed, Verified, read_rows

# What a comparison says once, for both models.
_SHARED = ("task", "benchmark", "protocol", "problems", "of", "limit", "model")


def difference(
    metric: str, base: Sequence[Score], student: Sequence[Score], seed: int
) -> dict[str, Any]:
    """How much higher a metric of the student is, problem by problem.

    Raises `UserError` where they did not respond to the same problems.
    """
    first, second = values_by_problem(metric, student), values_by_problem(metric, base)
    if first.keys() != second.keys():
        raise UserError("the two models did not respond to the same problems: run both again")
    order = sorted(first)
    value, interval, p = paired_difference(
        [first[at] for at in order], [second[at] for at in order], seed
    )
    return {"value": value, "interval": list(interval), "p": p, "method": PAIRED}


def overlap_of(problems: list[Problem], texts: Sequence[str]) -> dict[str, Any]:
    """Which problems of a benchmark overlap what the student, or its generator, has read.

    `texts` are the instructions of its rows and the seeds. Decontamination guards what a task names
    as its `benchmark`; what is measured may be more than that.
    """
    items = [BenchmarkItem(row.benchmark, row.id, row.instruction) for row in problems]
    index = OverlapIndex(items)
    found = [overlap.item_id for text in texts for overlap in index.find(text)]
    return {"texts": len(texts), "overlapping": len(found), "problems": sorted(set(found))}


def compare(files: dict[str, Path], texts: Sequence[str], seed: int) -> dict[str, Any]:
    """The comparison on one benchmark."""
    reference, base, student = (
        read_result(files[name]) for name in ("reference", "base", "student")
    )
    check_reference(reference, files["reference"])
    check_alike(base, student, files["student"])
    check_alike(base, reference, files["reference"], decoding=False)
    scores = {name: list(read_rows(files[f"{name}_rows"], Score)) for name in ("base", "student")}
    metrics = [name for name in student["metrics"] if name in base["metrics"]]
    differences = {
        name: difference(name, scores["base"], scores["student"], seed) for name in metrics
    }
    models = {
        name: {key: value for key, value in result.items() if key not in _SHARED}
        for name, result in (("base", base), ("student", student))
    }
    return {
        "benchmark": base["benchmark"],
        "protocol": base["protocol"],
        "problems": base["problems"],
        "of": base["of"],
        "limit": base["limit"],
        "reference": {"right": reference["problems"], "of": reference["problems"]},
        "overlap": overlap_of(list(read_rows(files["problems"], Problem)), texts),
        "models": models,
        "differences": differences,
    }


def main(argv: list[str] | None = None) -> None:
    parser = step_parser(__doc__)
    parser.add_argument("--task", required=True, help="its name, for the result")
    names = ("reference", "base", "base_rows", "student", "student_rows", "problems")
    for name in names:
        option = f"--{name.replace('_', '-')}"
        parser.add_argument(option, type=Path, nargs="+", required=True)
    parser.add_argument("--rows", type=Path, required=True, help="that the student learnt from")
    parser.add_argument("--seeds", type=Path, required=True, help="that the generator learnt from")
    parser.add_argument("--seed", type=int, required=True, help="of the bootstrap")
    parser.add_argument("--output", type=Path, required=True)
    arguments = parser.parse_args(argv)

    started = time.monotonic()
    given = [getattr(arguments, name) for name in names]
    if len({len(files) for files in given}) > 1:
        raise UserError("the options name different numbers of files: name one a benchmark each")
    texts = [row.bare_instruction for row in read_rows(arguments.rows, Verified)]
    texts += [seed.instruction for seed in read_rows(arguments.seeds, Seed)]
    benchmarks = [
        compare(dict(zip(names, files, strict=True)), texts, arguments.seed)
        for files in zip(*given, strict=True)
    ]
    write_json(arguments.output, {"task": arguments.task, "benchmarks": benchmarks})
    for found in benchmarks:
        if overlapped := found["overlap"]["problems"]:
            say(
                f"warning: {len(overlapped)} problems of {found['benchmark']} overlap a row or a "
                f"seed, as {overlapped[0]}: {arguments.output} names them under 'overlap'"
            )
        for name, gap in found["differences"].items():
            values = [found["models"][model]["metrics"][name]["value"] for model in found["models"]]
            low, high = gap["interval"]
            say(
                f"{found['benchmark']}, {name}: base {values[0]:.1%}, student {values[1]:.1%}, "
                f"difference {100 * gap['value']:+.1f} points ({100 * low:+.1f} to "
                f"{100 * high:+.1f}), p {gap['p']:.3f}, on {found['problems']} of {found['of']} "
                "problems"
            )
    counts("compare_models", time.monotonic() - started, benchmarks=len(benchmarks))


if __name__ == "__main__":
    run_step(main)
