"""The benchmarks' own solutions are all right by the way that a model's responses take.

Skipped where the benchmarks are missing: name their folder in ADA_DATASETS. Those that take their
time stand here in part; `python -m bench.evaluation --references` judges all of them.
"""

import json
import os
from pathlib import Path

import pytest

from scripts import evaluate_model, fetch_problems, respond_by_reference
from scripts.lib.records import Problem, Score, read_rows, write_rows

PROJECT = Path(__file__).parents[2]
DATASETS = Path(os.environ.get("ADA_DATASETS", PROJECT.parent / "shared" / "datasets"))


@pytest.mark.parametrize(
    ("benchmark", "task", "file", "problems", "taken"),
    [
        ("HumanEval", "humaneval", "humaneval", 164, 164),
        ("HumanEval+", "humaneval", "humanevalplus_v0.1.10", 164, 12),
        ("MBPP", "mbpp", "mbpp", 500, 100),
        ("MBPP+", "mbpp", "mbppplus_v0.2.0", 378, 24),
        ("GSM8K", "gsm8k", "gsm8k_test", 1319, 1319),
        ("MATH", "math", "math_test", 5000, 5000),
        ("CommonsenseQA", "csqa", "csqa_dev_rand_split", 1221, 1221),
    ],
)
def test_every_reference_is_right(
    tmp_path: Path, benchmark: str, task: str, file: str, problems: int, taken: int
) -> None:
    local = DATASETS / f"{file}.jsonl.gz"
    if not local.exists():
        pytest.skip(f"no {local.name}: name the folder of the benchmarks in ADA_DATASETS")
    described = ["--task", str(PROJECT / "tasks" / f"{task}.yaml")]
    fetched, responses = tmp_path / "problems.jsonl", tmp_path / "responses.jsonl"
    scores, result = tmp_path / "scores.jsonl", tmp_path / "result.json"
    fetch_problems.main(
        [*described, "--benchmark", benchmark, "--local", str(local), "--output", str(fetched)]
    )
    found = list(read_rows(fetched, Problem))
    assert len(found) == problems
    write_rows(fetched, found[:taken])
    respond_by_reference.main(
        [*described, "--problems", str(fetched), "--limit", "0", "--output", str(responses)]
    )
    evaluate_model.main(
        [*described, "--benchmark", benchmark, "--problems", str(fetched),
         "--responses", str(responses), "--model-name", "reference", "--min-parsed", "1",
         # A loaded machine must fail nobody.
         "--timeout", "30", "--memory-mb", "1024", "--sandbox-level", "auto", "--workers", "2",
         "--protocol", "{}", "--cache", str(tmp_path / "cache"),
         "--seed", "1", "--rows", str(scores), "--output", str(result)]
    )  # fmt: skip
    judged = list(read_rows(scores, Score))
    assert [(row.problem, row.detail) for row in judged if not row.right] == []
    assert len(judged) == taken
    assert next(iter(json.loads(result.read_text())["metrics"].values()))["right"] == taken
