"""Whoever ends evaluate_model waits for nothing that it judges."""

import signal
import subprocess
import sys
import time
from pathlib import Path

from scripts.lib.records import Problem, Response, write_rows
from tests.conftest import PROJECT
from tests.evaluation.test_problems import task_with
from tests.sandbox.conftest import jail_processes

# More processor time in one process than whatever a sandbox does to try itself out.
BUSY_TICKS = 60
SLOW = "def f(n):\n    for _ in range(n * 10**8):\n        pass\n    return n\n"


def test_it_ends_while_the_results_of_solutions_are_computed(tmp_path: Path) -> None:
    task = task_with(tmp_path, "mbpp", instruction="{t}", tests="t")
    calls = {"entry_point": "f", "inputs": [[1]] * 9, "atol": 0, "rules": ""}
    problems = [Problem("B", at, "Do.", [], [], "", "", calls, "", SLOW) for at in "123"]
    responses = [Response("B", at, "greedy", 0, SLOW, 9, True, [], "m") for at in "123"]
    write_rows(tmp_path / "problems.jsonl", problems)
    write_rows(tmp_path / "responses.jsonl", responses)
    given = {
        "task": task, "benchmark": "B", "problems": tmp_path / "problems.jsonl",
        "responses": tmp_path / "responses.jsonl", "model-name": "base", "min-parsed": 0,
        "timeout": 3, "memory-mb": 1024, "sandbox-level": "auto", "workers": 1, "protocol": "{}",
        "seed": 1, "cache": tmp_path / "cache", "rows": tmp_path / "rows.jsonl",
        "output": tmp_path / "result.json",
    }  # fmt: skip
    options = [part for name, value in given.items() for part in (f"--{name}", str(value))]
    command = [sys.executable, "-m", "scripts.evaluate_model", *options]
    process = subprocess.Popen(command, cwd=PROJECT, stderr=subprocess.DEVNULL)
    try:
        deadline = time.monotonic() + 60
        while not any(found.ticks > BUSY_TICKS for found in jail_processes(process.pid)):
            assert process.poll() is None and time.monotonic() < deadline
            time.sleep(0.05)
        process.send_signal(signal.SIGTERM)
        assert process.wait(10) == 128 + signal.SIGTERM
    finally:
        process.kill()
        process.wait()
    assert not list(tmp_path.glob("cache/*")) and not (tmp_path / "result.json").exists()
