"""The real workflow from seeds to verified rows, on a tiny model and a real HTTP endpoint."""

import hashlib
import json
import os
import signal
import subprocess
import time
from dataclasses import fields
from pathlib import Path

import pytest

from scripts.lib.records import Drop, Generation, Instruction, Label, Rejection, Verified
from tests.conftest import REPLY, LabelEndpoint, toy_config, toy_project

# The declared outputs of a run, in the order of the stages.
OUTPUTS = [
    "results/toy/seeds.jsonl",
    "results/toy/generator/model.safetensors",
    "results/toy/generator_curve.jsonl",
    "results/toy/generations/1.jsonl",
    "results/toy/generations/2.jsonl",
    "results/toy_instructions.jsonl",
    "results/toy/dropped.jsonl",
    "results/toy/decontamination.json",
    "results/toy_labeled.jsonl",
    "results/toy_verified.jsonl",
    "results/toy/rejected.jsonl",
    "results/toy/funnel.json",
]


def checksums(project) -> dict[str, str]:
    return {
        name: hashlib.sha256((project.path / name).read_bytes()).hexdigest() for name in OUTPUTS
    }


def test_every_row_is_accounted_for(finished_toy) -> None:
    project, endpoint = finished_toy
    generations = project.rows("results/toy/generations/1.jsonl") + project.rows(
        "results/toy/generations/2.jsonl"
    )
    kept = project.rows("results/toy_instructions.jsonl")
    dropped = project.rows("results/toy/dropped.jsonl")
    labels = project.rows("results/toy_labeled.jsonl")
    verified = project.rows("results/toy_verified.jsonl")
    rejected = project.rows("results/toy/rejected.jsonl")

    assert len(generations) == 24
    assert sorted(row["id"] for row in kept + dropped) == sorted(row["id"] for row in generations)
    assert all(row["reason"] for row in dropped)
    assert len(labels) == 2 * len(kept) == len(endpoint.requests)
    assert sorted(row["id"] for row in verified + rejected) == [row["id"] for row in labels]
    # The scripted model gives the same right answer each time: the second is a duplicate.
    assert len(verified) == len(kept)
    assert {row["verdict"] for row in rejected} == {"duplicate"}
    funnel = json.loads((project.path / "results/toy/funnel.json").read_text())
    counts = {stage["stage"]: stage["count"] for stage in funnel["stages"]}
    assert counts["sampled"] == 24
    assert counts["clean"] == counts["labelled"] == counts["verified"] == len(kept)
    lost = sum(number for stage in funnel["stages"] for number in stage["reasons"].values())
    assert lost == len(dropped)


def test_nothing_overlaps_the_local_copies_of_the_benchmarks(finished_toy) -> None:
    project, _ = finished_toy
    report = json.loads((project.path / "results/toy/decontamination.json").read_text())
    assert len(report["benchmarks"]) == 5
    for benchmark in report["benchmarks"]:
        assert (benchmark["source"], benchmark["items"]) == ("toy_problems.jsonl", 2)
        assert (benchmark["dropped"], len(benchmark["closest"])) == (0, 5)


def test_the_columns_are_those_of_the_records(finished_toy) -> None:
    project, _ = finished_toy
    for name, record in [
        ("results/toy/generations/1.jsonl", Generation),
        ("results/toy_instructions.jsonl", Instruction),
        ("results/toy/dropped.jsonl", Drop),
        ("results/toy_labeled.jsonl", Label),
        ("results/toy_verified.jsonl", Verified),
        ("results/toy/rejected.jsonl", Rejection),
    ]:
        for row in project.rows(name):
            assert list(row) == [field.name for field in fields(record)]


def test_a_verified_row_is_ready_for_training(finished_toy) -> None:
    project, _ = finished_toy
    row = project.rows("results/toy_verified.jsonl")[0]
    tests = "\n".join(row["tests"])
    assert row["instruction"] == f"Task: {row['bare_instruction']}\nTests:\n{tests}"
    assert row["output"] == "def add_numbers(a, b):\n    return a + b"
    assert len(row["tests"]) == 3
    assert row["messages"] == [
        {"role": "user", "content": row["instruction"]},
        {"role": "assistant", "content": row["output"]},
    ]
    assert row["generator"].startswith("sha256:")
    assert row["sampling"]["temperature"] == 1.0
    assert row["label_sampling"] == {"temperature": 0.4, "top_p": 0.95, "max_tokens": 96}
    assert row["label_model"] == "scripted"
    assert "bubblewrap" in row["sandbox"]


def test_every_step_ends_with_its_counts_on_the_terminal_and_in_its_log(finished_toy) -> None:
    project, _ = finished_toy
    for log, start in [
        ("logs/toy/train_generator.log", "train generator: 10 examples, "),
        ("logs/toy/generate_instructions/1.log", "generate_instructions shard 1: 12 texts, "),
        ("logs/toy/filter_instructions.log", "filter_instructions: 24 generations, "),
        ("logs/toy/label_instructions.log", "label_instructions: "),
        ("logs/toy/verify_samples.log", "verify_samples: "),
    ]:
        last = (project.path / log).read_text().strip().splitlines()[-1]
        assert last.startswith(start)
        assert last in project.output


def test_the_curve_has_a_row_a_step(finished_toy) -> None:
    project, _ = finished_toy
    curve = project.rows("results/toy/generator_curve.jsonl")
    assert [row["step"] for row in curve] == [1, 2, 3, 4, 5, 6]


def test_the_key_is_nowhere(finished_toy) -> None:
    project, endpoint = finished_toy
    for path in project.path.rglob("*"):
        if path.is_file():
            assert endpoint.key.encode() not in path.read_bytes(), path


def descendants_of(directory: Path) -> list[str]:
    """The command lines of all processes that work in a directory."""
    found = []
    for entry in Path("/proc").iterdir():
        try:
            if entry.name.isdigit() and (entry / "cwd").readlink() == directory:
                found.append((entry / "cmdline").read_bytes().replace(b"\0", b" ").decode())
        except OSError:
            continue
    return found


def kill_when(project, ready, kill) -> bool:
    """Start the workflow and SIGKILL it by `kill` once `ready()`; whether it came to that."""
    process = project.start("results/toy_verified.jsonl")
    deadline = time.monotonic() + 120
    while process.poll() is None and not ready() and time.monotonic() < deadline:
        time.sleep(0.02)
    running = process.poll() is None
    if running:
        kill(process.pid, signal.SIGKILL)
    process.stdout.close()
    process.wait()
    return running


def test_a_run_killed_in_every_stage_ends_with_the_same_bytes(
    finished_toy, tmp_path: Path, tiny_model: Path
) -> None:
    finished, _ = finished_toy
    endpoint = LabelEndpoint()
    project = toy_project(tmp_path / "killed", tiny_model, endpoint)
    log = project.path / "logs" / "toy"

    def journal_lines() -> int:
        return sum(
            path.read_bytes().count(b"\n")
            for path in (project.path / ".cache" / "completions").glob("*.jsonl")
        )

    def texts() -> int:
        kept = (project.path / ".cache" / "generations").glob("*/*.jsonl")
        return sum(path.read_bytes().count(b"\n") for path in kept)

    endpoint.latency = 0.3
    stages = {
        # os.kill ends Snakemake alone, os.killpg all that it started as well.
        "train": ((log / "train_generator.log").exists, os.killpg),
        "generate": (lambda: texts() >= 2, os.kill),
        "filter": ((log / "filter_instructions.log").exists, os.killpg),
        "label": (lambda: journal_lines() >= 5, os.kill),
        "label again": (lambda: journal_lines() >= 12, os.killpg),
        "verify": ((log / "verify_samples.log").exists, os.kill),
    }
    for stage, (ready, kill) in stages.items():
        assert kill_when(project, ready, kill), f"the run was over before {stage}"
        if stage == "label again":
            endpoint.latency = 0.0
        deadline = time.monotonic() + 30
        while (left := descendants_of(project.path)) and time.monotonic() < deadline:
            time.sleep(0.2)
        assert not left, f"left behind in {stage}: {left}"

    done = project.run("results/toy_verified.jsonl")
    assert done.returncode == 0, done.stdout
    assert checksums(project) == checksums(finished)

    # No reply that was in the journal has been asked for again: at most those in flight when the
    # run was killed were.
    entries = [
        entry
        for path in (project.path / ".cache" / "completions").glob("*.jsonl")
        for entry in project.rows(str(path.relative_to(project.path)))
    ]
    keys = [entry["key"] for entry in entries if "key" in entry]
    labels = project.rows("results/toy_labeled.jsonl")
    assert len(set(keys)) == len(keys) == len(labels)
    in_flight = 3
    assert len(endpoint.requests) <= len(labels) + 2 * in_flight
    endpoint.close()


@pytest.mark.skipif(os.geteuid() != 0, reason="a small tmpfs can only be mounted by root")
def test_a_full_disk_is_one_line_and_loses_no_reply(
    finished_toy, tmp_path: Path, tiny_model: Path
) -> None:
    finished, _ = finished_toy
    small = tmp_path / "small"
    small.mkdir()
    mounted = subprocess.run(["mount", "-t", "tmpfs", "-o", "size=9m", "tmpfs", str(small)])
    if mounted.returncode:
        pytest.skip("this machine does not let us mount a tmpfs")
    project = finished.moved(tmp_path / "full", ".cache")
    (project.path / ".cache").symlink_to(small)
    config = toy_config(tiny_model)
    # As long a reply as it takes to fill the disk some way into the run.
    config["label"] |= {"replies": 8, "model": "long-winded", "max_tokens": 20_000}
    project.configure(config)
    endpoint = LabelEndpoint(reply=REPLY + "\n" + "x" * 60_000, latency=0.1)
    project.environment = {**finished.environment, "OPENAI_BASE_URL": endpoint.url}
    try:
        done = project.run("results/toy_labeled.jsonl")
        assert done.returncode == 1
        assert "the disk is full: free some space" in done.stdout
        assert "Traceback" not in done.stdout
        assert not (project.path / "results/toy_labeled.jsonl").exists()
        replies = [
            line
            for path in (small / "completions").glob("*.jsonl")
            for line in path.read_bytes().splitlines()
            if "response" in json.loads(line)
        ]
        # Every reply that was paid for is there.
        assert 5 < len(replies) == endpoint.counts[200]
    finally:
        endpoint.close()
        subprocess.run(["umount", str(small)], check=True)


def test_a_top_up_samples_what_is_missing_and_redoes_nothing(
    finished_toy, tmp_path: Path, tiny_model: Path
) -> None:
    finished, endpoint = finished_toy
    project = finished.moved(tmp_path / "topped-up")
    rows = len(project.rows("results/toy_verified.jsonl"))
    config = toy_config(tiny_model)
    # More rows than there are, at a margin that plans no further shard.
    config["sampling"] |= {"target_rows": rows + 1, "margin": 24 / (rows + 1)}
    project.configure(config)
    first_shard = project.path / "results/toy/generations/1.jsonl"
    before, asked = os.stat(first_shard), len(endpoint.requests)

    done = project.run("results/toy/top_up.json")
    assert done.returncode == 0, done.stdout
    assert f"top_up: {rows} rows of {rows + 1}; run again to sample 1 more shards" in done.stdout
    done = project.run("results/toy/top_up.json")
    assert done.returncode == 0, done.stdout
    assert "top_up: " in done.stdout
    assert len(project.rows("results/toy/generations/3.jsonl")) == 12
    assert os.stat(first_shard).st_ino == before.st_ino
    labels = project.rows("results/toy_labeled.jsonl")
    assert {row["instruction_id"].split("-")[1] for row in labels} >= {"0001", "0003"}
    # Only the replies to the new instructions were asked for.
    new = len(labels) - len(finished.rows("results/toy_labeled.jsonl"))
    assert len(endpoint.requests) - asked == new
    assert len(project.rows("results/toy_verified.jsonl")) > rows
