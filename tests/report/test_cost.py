"""What a task has cost, from benchmark files, logs and the journal."""

import argparse
import json
from pathlib import Path
from typing import Any

import pytest

from scripts import sum_up_cost
from scripts.lib.completions.journal import Journal
from scripts.lib.completions.pricing import Price, Usage
from scripts.lib.completions.request import CompletionRequest
from scripts.lib.report.cost import jobs_in, replies_in, steps_of

GPUS = {"train_generator": 2, "generate_instructions": 1}


def benchmark(folder: Path, name: str, log: str | None = None, **values: Any) -> None:
    """The benchmark file of a job that took an hour, and its log."""
    row = {"s": 3600.0, "cpu_time": 7200.0, "max_rss": 2048.0, **values}
    for below, text, suffix in (("benchmarks", json.dumps(row), "jsonl"), ("logs", log, "log")):
        path = folder / below / f"{name}.{suffix}"
        path.parent.mkdir(parents=True, exist_ok=True)
        if text is not None:
            path.write_text(text + "\n", encoding="utf-8")


def steps(folder: Path) -> dict[str, dict[str, Any]]:
    found = steps_of(jobs_in(folder / "benchmarks", folder / "logs", GPUS))
    return {f"{step['part']}/{step['step']}": step for step in found}


def test_shards_are_one_step_and_hours_count_all_gpus(tmp_path: Path) -> None:
    benchmark(tmp_path, "train_generator", "loaded\ngpus: 2\ndone")
    benchmark(tmp_path, "generate_instructions/1", "gpus: 1")
    benchmark(tmp_path, "generate_instructions/2", "gpus: 1")
    benchmark(tmp_path, "verify_samples")
    found = steps(tmp_path)
    assert found["/train_generator"]["gpu_hours"] == 2.0
    assert found["/generate_instructions"]["jobs"] == 2
    assert found["/generate_instructions"]["gpu_hours"] == 2.0
    assert found["/verify_samples"]["gpu_hours"] == 0.0
    assert found["/verify_samples"]["cpu_hours"] == 2.0
    assert all(step["gpu_hours_known"] for step in found.values())


def test_the_steps_of_a_study_are_told_apart(tmp_path: Path) -> None:
    cell = "study/seed_rows~10/epochs~8/seed~1"
    for name in (
        "ada/verify_samples",
        "ada/generate_instructions/1",
        "self_instruct/keep_unverified",
        "arms/ada_verified/evaluate_model/MBPP/student",
    ):
        benchmark(tmp_path, f"{cell}/{name}", "gpus: 1")
    assert set(steps(tmp_path)) == {
        "study/verify_samples", "study/generate_instructions", "study/keep_unverified",
        "study/evaluate_model",
    }  # fmt: skip


def test_a_processor_that_stood_in_is_no_gpu_hour(tmp_path: Path) -> None:
    benchmark(tmp_path, "train_generator", "gpus: 0")
    step = steps(tmp_path)["/train_generator"]
    assert (step["gpu_hours"], step["gpu_hours_known"]) == (0.0, True)


@pytest.mark.parametrize("log", [None, "a log without it"])
def test_gpus_that_no_log_tells_are_those_asked_for(tmp_path: Path, log: str | None) -> None:
    benchmark(tmp_path, "train_generator", log)
    step = steps(tmp_path)["/train_generator"]
    assert (step["gpu_hours"], step["gpu_hours_known"]) == (2.0, False)


def test_an_extended_benchmark_file_knows_what_was_asked_for(tmp_path: Path) -> None:
    benchmark(tmp_path, "train_generator", resources={"gpu": 4})
    assert steps(tmp_path)["/train_generator"]["gpu_hours"] == 4.0


def test_the_jobs_of_a_study_are_counted_by_themselves(tmp_path: Path) -> None:
    benchmark(tmp_path, "train_generator")
    cell = "study/seed_rows~10/epochs~10/seed~1"
    benchmark(tmp_path, f"{cell}/ada/train_generator")
    benchmark(tmp_path, f"{cell}/ada/generate_instructions/1")
    assert {name: step["jobs"] for name, step in steps(tmp_path).items()} == {
        "/train_generator": 1, "study/train_generator": 1, "study/generate_instructions": 1
    }  # fmt: skip


def test_what_is_no_number_is_nought_and_a_broken_file_is_left_out(
    tmp_path: Path, capsys: pytest.CaptureFixture
) -> None:
    benchmark(tmp_path, "verify_samples", cpu_time="NA", max_rss=None)
    benchmark(tmp_path, "broken")
    (tmp_path / "benchmarks/broken.jsonl").write_text("{", encoding="utf-8")
    assert steps(tmp_path)["/verify_samples"]["cpu_hours"] == 0.0
    assert "broken.jsonl: is no benchmark file" in capsys.readouterr().err


def ask(folder: Path, task: str, price: Price | None, sample: int = 0) -> None:
    """Put a reply of 1,000 and 500 tokens into a journal."""
    request = CompletionRequest("m", "m", (("user", "x"),), (("max_tokens", 500),), sample)
    usage = {"prompt_tokens": 1000, "completion_tokens": 500}
    message = {"role": "assistant", "content": "y"}
    response = {"choices": [{"message": message, "finish_reason": "stop"}], "usage": usage}
    with Journal(folder, task) as journal:
        journal.record(request, response, price=price, lost=Usage(10, 0, 1))


def test_replies_count_for_their_task_at_the_price_of_their_time(tmp_path: Path) -> None:
    ask(tmp_path, "t", Price(2.0, 4.0, "config"))
    ask(tmp_path, "t", None, sample=1)
    ask(tmp_path, "other", Price(2.0, 4.0, "config"), sample=2)
    (found,) = replies_in(tmp_path, "t")
    assert (found["replies"], found["prompt_tokens"], found["lost_tokens"]) == (2, 2000, 20)
    assert found["dollars"] == pytest.approx((1010 * 2 + 500 * 4) / 1e6)
    assert found["unpriced"] == 1 and "unknown price" in found["cost"]


def test_without_a_price_there_are_no_dollars(tmp_path: Path) -> None:
    ask(tmp_path, "t", None)
    (found,) = replies_in(tmp_path, "t")
    assert found["dollars"] is None and found["cost"] == "price not known"


def test_a_run_without_anything_costs_nothing(tmp_path: Path) -> None:
    sum_up_cost.main(
        f"--task-name t --benchmarks {tmp_path}/b --logs {tmp_path}/l --gpus train_generator=1 "
        f"--journal {tmp_path}/j --table {tmp_path}/cost.csv --output {tmp_path}/cost.json".split()
    )
    totals = json.loads((tmp_path / "cost.json").read_text(encoding="utf-8"))["totals"]
    assert totals == {
        "seconds": 0, "cpu_hours": 0, "gpu_hours": 0, "gpu_hours_known": True, "tokens": 0,
        "dollars": None, "unpriced": 0,
    }  # fmt: skip
    assert not (tmp_path / "j").exists()


@pytest.mark.parametrize("text", ["train", "=1", "train=", "train=x"])
def test_an_option_of_another_form_is_refused(text: str) -> None:
    with pytest.raises(argparse.ArgumentTypeError, match="STEP=NUMBER"):
        sum_up_cost.gpus_of_step(text)
