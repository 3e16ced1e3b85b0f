"""The label step as users run it: canary, budget, keys, estimate, batches, signals, traces."""

import itertools
import json
import os
import re
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from scripts.lib.schema import check_against_schema
from tests.conftest import REPLY, LabelEndpoint
from tests.openai_server import KeyState

PROJECT = Path(__file__).parents[2]


def client_settings(**changes: object) -> dict:
    config: dict = {}
    check_against_schema(config, PROJECT / "schemas" / "config.schema.yaml", "no config")
    return {**config["label"]["client"], "in_flight": 4, **changes}


class Step:
    """The label step of the toy task, in a folder of its own, with a journal of its own."""

    def __init__(self, project, folder: Path, endpoint: LabelEndpoint) -> None:
        self.project, self.folder, self.endpoint = project, folder, endpoint
        self.environment = {**project.environment, "OPENAI_BASE_URL": endpoint.url}

    def command(self, client: dict | None = None, **changes: object) -> list[str]:
        options = {
            "task": "tasks/toy.yaml",
            "instructions": "results/toy_instructions.jsonl",
            "endpoint": "openai",
            "model": "scripted",
            "replies": 4,
            "min-tests": 1,
            "parameters": json.dumps({"max_tokens": 200, "temperature": 0.4}),
            "seed": 1,
            "client": json.dumps(client_settings(**(client or {}))),
            "journal": self.folder / "journal",
            "server-log": self.folder / "server.log",
            "output": self.folder / "labeled.jsonl",
            "log": self.folder / "step.log",
            **changes,
        }
        arguments = [part for name, value in options.items() for part in (f"--{name}", str(value))]
        return [sys.executable, "-m", "scripts.label_instructions", *arguments]

    def start(self, command: list[str], output: int = subprocess.PIPE) -> subprocess.Popen:
        return subprocess.Popen(
            command,
            cwd=self.project.path,
            env=self.environment,
            text=True,
            stdout=output,
            stderr=subprocess.STDOUT,
        )

    def run(self, client: dict | None = None, **changes: object) -> tuple[int, str]:
        process = self.start(self.command(client, **changes))
        output, _ = process.communicate(timeout=60)
        return process.returncode, output

    @property
    def rows(self) -> list[dict]:
        text = (self.folder / "labeled.jsonl").read_text(encoding="utf-8")
        return [json.loads(line) for line in text.splitlines()]

    @property
    def sent(self) -> int:
        return len(self.endpoint.requests)


@pytest.fixture
def step(finished_toy, tmp_path: Path):
    project, _ = finished_toy
    with LabelEndpoint() as endpoint:
        yield Step(project, tmp_path, endpoint)


def number_of_instructions(step: Step) -> int:
    return len(step.project.rows("results/toy_instructions.jsonl"))


def test_the_output_is_the_same_bytes_whatever_was_asked_when(step: Step) -> None:
    status, output = step.run()
    assert status == 0, output
    number = 4 * number_of_instructions(step)
    assert step.sent == number == len(step.rows)
    assert [row["id"] for row in step.rows] == sorted(row["id"] for row in step.rows)
    first = (step.folder / "labeled.jsonl").read_bytes()
    # A stricter parser, other limits, another order of work: no further request.
    status, output = step.run({"in_flight": 1, "attempts": 9}, **{"min-tests": 3})
    assert (status, step.sent) == (0, number)
    assert "0 newly asked" in output
    assert (step.folder / "labeled.jsonl").read_bytes() == first
    # A further reply to each is asked for alone.
    assert step.run(replies=5)[0] == 0
    assert step.sent == 5 * number_of_instructions(step)


def test_the_canary_stops_what_nobody_can_use_and_shows_two_replies(step: Step) -> None:
    step.endpoint.reply = "I am sorry,\nI cannot help with that."
    canary = {"canary": {"replies": 6, "parsed": 0.5}}
    status, output = step.run(canary)
    assert status == 6
    assert step.sent == 6
    assert output.count("I am sorry,\nI cannot help with that.") == 2
    assert "error: only 0 of the first 6 replies can be used (6 not_python)" in output
    assert not (step.folder / "labeled.jsonl").exists()
    # The same again costs nothing; a lower bar goes on from there.
    assert step.run(canary)[0] == 6
    assert step.sent == 6
    assert step.run({"canary": {"replies": 6, "parsed": 0.0}})[0] == 0
    assert step.sent == 4 * number_of_instructions(step)


def test_requests_that_stay_without_a_reply_are_rows_with_a_reason(step: Step) -> None:
    first = step.project.rows("results/toy_instructions.jsonl")[0]["instruction"]
    step.endpoint.fault_for = lambda body, seen: (
        "400" if first in body["messages"][-1]["content"] else None
    )
    status, output = step.run()
    assert status == 7
    assert "4 of " in output
    assert "requests have no reply (4 refused; the last: HTTP 400: This model's maximum" in output
    assert not (step.folder / "labeled.jsonl").exists()
    sent = step.sent
    # Of all requests, not of those that this run has sent.
    status, output = step.run({"max_failed": 4 / (4 * number_of_instructions(step))})
    assert status == 0, output
    assert step.sent == sent + 4, "only those were asked for again"
    assert [row["reason"] for row in step.rows].count("refused") == 4
    assert "4 invalid as refused" in output


def test_a_model_that_wants_other_parameters_gets_them(step: Step) -> None:
    step.endpoint.fault_for = lambda body, seen: "max_tokens" if "max_tokens" in body else None
    status, output = step.run()
    assert (status, step.sent) == (1, 3)
    assert "Use 'max_completion_tokens' instead.): mend the label section of config.yaml" in output
    wanted = {"max_completion_tokens": 200, "reasoning": {"effort": "low"}}
    batch = {"mode": "batch", "batch": {"poll": 0.05, "discount": 0.5}}
    canary = {"canary": {"replies": 5, "parsed": 0.5}}
    status, output = step.run({**batch, **canary}, parameters=json.dumps(wanted))
    assert status == 0, output
    assert all(body.items() >= wanted.items() for body in step.endpoint.requests[3:])
    assert "temperature" not in step.endpoint.requests[-1]
    assert len(step.endpoint.batched) == 4 * number_of_instructions(step) - 5


def test_a_budget_stops_with_its_status_and_a_higher_one_goes_on(step: Step) -> None:
    number = 4 * number_of_instructions(step)
    budget = {"budget": {"dollars": None, "tokens": None, "requests": 10}}
    status, output = step.run(budget)
    assert (status, step.sent) == (3, 10)
    assert f"stopped: 10 replies received, {number - 10} not asked for" in output
    assert "budget.requests is 10, 10 are spent, and the next request may take 1" in output
    # What earlier runs have spent counts.
    assert step.run(budget)[0] == 3
    assert step.sent == 10
    priced = {
        "price": {"input": 1.0, "output": 2.0},
        "budget": {"dollars": 1.0, "tokens": None, "requests": None},
    }
    status, output = step.run(priced)
    assert (status, step.sent) == (0, number)
    assert "dollars in " in output
    status, output = step.run({"budget": {"dollars": 1.0, "tokens": None, "requests": None}},
                              model="of-unknown-price")  # fmt: skip
    assert status == 1
    assert "the price of the model is unknown: set label.client.price" in output


def test_an_estimate_sends_nothing(step: Step) -> None:
    step.environment.pop("OPENAI_API_KEY")
    price = {"price": {"input": 1.0, "output": 2.0}}
    command = step.command(price, output=step.folder / "estimate.json")
    process = step.start([*command, "--estimate"])
    output, _ = process.communicate()
    assert process.returncode == 0, output
    assert step.sent == 0
    number = 4 * number_of_instructions(step)
    assert f"replies: {number} wanted, {number} to be asked for" in output
    found = json.loads((step.folder / "estimate.json").read_text())
    low, expected, worst = (found["total"][case]["dollars"] for case in found["total"])
    assert 0 < low < expected < worst
    caps = {"dollars": expected, "tokens": 1, "requests": None}
    command = step.command({**price, "budget": caps}, output=step.folder / "estimate.json")
    output, _ = step.start([*command, "--estimate"]).communicate()
    assert "0 are spent or reserved: the expected cost fits" in output
    assert "budget.tokens is 1, 0 are spent or reserved: not even the low cost fits" in output
    assert not (step.folder / "journal").exists(), "nothing is written"


def test_batch_mode_gives_the_same_rows(step: Step) -> None:
    assert step.run()[0] == 0
    live = (step.folder / "labeled.jsonl").read_bytes()
    shutil.rmtree(step.folder / "journal")
    step.endpoint.reset()
    batch = {"mode": "batch", "batch": {"poll": 0.05, "discount": 0.5}}
    status, output = step.run({**batch, "canary": {"replies": 5, "parsed": 0.5}})
    assert status == 0, output
    assert (step.folder / "labeled.jsonl").read_bytes() == live
    # The canary went alone, everything else as a batch.
    assert step.sent == 5
    assert len(step.endpoint.batched) == 4 * number_of_instructions(step) - 5


def test_open_batches_are_told_of(step: Step) -> None:
    """By a run that is stopped, by an estimate, and by the journal."""
    step.endpoint.batch_seconds = 60
    batch = {
        "mode": "batch",
        "batch": {"poll": 0.05, "discount": 0.5},
        "price": {"input": 1.0, "output": 1.0},
        "canary": {"replies": 5, "parsed": 0.5},
    }
    process = step.start(step.command(batch))
    while not step.endpoint.batches:
        time.sleep(0.02)
    time.sleep(0.3)
    process.send_signal(signal.SIGTERM)
    output, _ = process.communicate(timeout=20)
    assert process.returncode == 143
    assert re.search(r"stopped; 1 open batches go on \(batch_\w+ \w+\): run the same", output)
    number = 4 * number_of_instructions(step)
    command = step.command(batch, output=step.folder / "estimate.json")
    output, _ = step.start([*command, "--estimate"]).communicate()
    assert f"{number} wanted, {number - 5} in open batches, 0 to be asked for" in output
    told = subprocess.run(
        [sys.executable, "-m", "scripts.print_journal", step.folder / "journal"],
        cwd=PROJECT,
        capture_output=True,
        text=True,
    ).stdout
    assert f": {number - 5} requests, at most $" in told


@pytest.mark.parametrize("name", ["journal", "output"])
def test_a_file_where_a_folder_is_wanted_is_told(step: Step, name: str) -> None:
    (step.folder / "file").write_text("")
    where = {"journal": step.folder / "file", "output": step.folder / "file" / "rows.jsonl"}[name]
    status, output = step.run(**{name: where})
    assert status == 1
    assert "is a file where a folder is wanted" in output
    assert "Traceback" not in output


@pytest.mark.parametrize(
    ("proxy", "message"),
    [
        ("foo:bar", "HTTP_PROXY, HTTPS_PROXY or ALL_PROXY holds no proxy (Invalid port: 'bar')"),
        ("http://127.0.0.1:9", "(no connection through the proxy of HTTP_PROXY ("),
    ],
)
def test_a_proxy_that_does_not_work_is_named(step: Step, proxy: str, message: str) -> None:
    step.environment |= {"HTTP_PROXY": proxy, "OPENAI_BASE_URL": "http://example.invalid/v1"}
    status, output = step.run({"attempts": 1})
    assert status in (1, 5)
    assert message in output
    assert "Traceback" not in output


def test_keys_of_a_file_are_used_and_retired_and_never_shown(step: Step) -> None:
    keys = [f"sk-file-secret-{number}" for number in range(5)]
    step.endpoint.keys = {key: KeyState() for key in keys}
    step.endpoint.keys[keys[1]] = KeyState("invalid")
    path = step.folder / "keys.json"
    path.write_text(json.dumps({"available": keys, "aborted": []}))
    step.environment.pop("OPENAI_API_KEY")
    status, output = step.run({"key_file": str(path)})
    assert status == 0, output
    assert "key 2 is not used any more" in output
    assert json.loads(path.read_text())["available"] == keys
    step.endpoint.keys = dict.fromkeys(keys, KeyState("quota"))
    status, output = step.run({"key_file": str(path), "update_key_file": True}, replies=5)
    assert status == 4
    assert "accepts none of the keys (5 no quota left)" in output
    assert json.loads(path.read_text()) == {"available": [], "aborted": keys}
    path.unlink()
    for file in step.folder.rglob("*"):
        if file.is_file():
            assert b"sk-file-secret" not in file.read_bytes(), file
    assert "sk-file-secret" not in output


def test_without_a_key_nothing_is_sent(step: Step) -> None:
    step.environment |= {"OPENAI_API_KEY": ""}
    status, output = step.run()
    assert status == 1
    assert output.count("\n") == 1
    assert "OPENAI_API_KEY is not set: export it" in output


def test_a_wrong_key_is_one_line_and_a_status(step: Step) -> None:
    step.environment |= {"OPENAI_API_KEY": "sk-wrong-secret"}
    status, output = step.run()
    assert status == 4
    assert "accepts none of the keys (1 key refused): put a valid one into" in output
    assert "sk-wrong-secret" not in output, "although the endpoint repeats it"


def test_a_dead_endpoint_is_one_line_and_a_status(step: Step) -> None:
    step.endpoint.close()
    status, output = step.run({"attempts": 2})
    assert status == 5
    assert "cannot be reached or does not work (no connection" in output
    assert "Traceback" not in output


def test_a_terminated_step_keeps_what_was_in_flight(step: Step) -> None:
    # Of unequal lengths, so that some are always in flight.
    number = itertools.count()
    step.endpoint.latency = lambda body: 0.3 + 0.3 * (next(number) % 5)
    process = step.start(step.command())
    while not (step.endpoint.answered and step.endpoint.in_flight > 1):
        time.sleep(0.02)
    process.send_signal(signal.SIGTERM)
    output, _ = process.communicate(timeout=20)
    assert process.returncode == 143
    assert "SIGTERM: waiting up to 20 s for" in output
    sent = step.sent
    step.endpoint.latency = 0.0
    assert step.run()[0] == 0
    assert step.sent == 4 * number_of_instructions(step)
    assert sent < step.sent


def test_a_preempted_job_drains(step: Step) -> None:
    """Slurm sends SIGTERM to all processes: Snakemake and its bash are gone at once."""
    step.endpoint.latency = lambda body: 0.05 if step.endpoint.answered.total() < 4 else 3.0
    snakemake = step.folder / "snakemake"
    snakemake.write_text('#!/bin/bash\n"$@"\ntrue\n')
    snakemake.chmod(0o755)
    process = subprocess.Popen(
        [snakemake, *map(str, step.command({"canary": {"replies": 0, "parsed": 0}}))],
        cwd=step.project.path,
        env=step.environment,
        start_new_session=True,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
    )
    while step.endpoint.answered.total() < 4 or step.endpoint.in_flight < 4:
        time.sleep(0.02)
    os.killpg(process.pid, signal.SIGTERM)
    output, _ = process.communicate(timeout=20)
    assert b"waiting up to 20 s for 4 open requests" in output
    received = int(re.search(rb"stopped: (\d+) replies received", output)[1])
    assert received == step.endpoint.counts[200] >= 8
    assert step.endpoint.counts["disconnected"] == 0


def test_the_progress_tells_what_is_going_on(step: Step) -> None:
    """On a terminal, where it is drawn all the time."""
    import pty

    step.endpoint.latency = lambda body: 0.05
    leader, follower = pty.openpty()
    command = step.command({"price": {"input": 1000.0, "output": 1000.0}})
    process = step.start(command, follower)
    os.close(follower)
    shown = b""
    try:
        while chunk := os.read(leader, 65536):
            shown += chunk
    except OSError:
        pass
    assert process.wait() == 0
    text = shown.decode()
    assert "100% valid" in text
    assert "requests/min" in text
    assert "tokens/min" in text
    assert "in flight" in text
    assert "$" in text


def test_the_workflow_shows_a_cap_and_its_remedy(finished_toy, tmp_path: Path, tiny_model) -> None:
    """Through Snakemake, with its log; and no key is in anything that is left behind."""
    from tests.conftest import toy_config

    finished, _ = finished_toy
    project = finished.moved(tmp_path / "capped")
    config = toy_config(tiny_model)
    config["label"]["replies"] = 3
    config["label"]["client"] |= {"budget": {"requests": 4}, "price": {"input": 1, "output": 1}}
    with LabelEndpoint(reply=REPLY) as endpoint:
        project.environment = {**finished.environment, "OPENAI_BASE_URL": endpoint.url}
        project.configure(config)
        done = project.run("results/toy_labeled.jsonl")
        assert done.returncode == 1
        assert re.search(r"requests is 4, \d+ are spent, and the next request may", done.stdout)
        config["label"]["client"] |= {"budget": {"requests": None}}
        project.configure(config)
        done = project.run("results/toy/label_estimate.json")
        assert done.returncode == 0, done.stdout
        assert "expected:" in done.stdout
        done = project.run("results/toy_labeled.jsonl")
        assert done.returncode == 0, done.stdout
        assert endpoint.counts[401] == 0
    for path in project.path.rglob("*"):
        if path.is_file():
            assert endpoint.key.encode() not in path.read_bytes(), path
