"""Trainings in processes of their own: killed at any moment, and shared by two of them."""

import os
import random
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import jsonlines
import pytest
import torch
from safetensors.torch import load_file

from scripts.lib.models import load_model, load_tuned_model
from scripts.lib.training.checkpoints import MARK, keep_only, last_checkpoint
from scripts.lib.training.run import fine_tune
from scripts.train import main
from tests.conftest import PROJECT
from tests.training.learning import (
    random_rows,
    results_of,
    settings,
    train_arguments,
    write_verified,
)
from tests.training.on_cpu import in_float32

SECONDS = 60


def start(folder: Path, command: list[str]) -> subprocess.Popen[str]:
    """Start a training in a folder, in a process group of its own."""
    environment = {**os.environ, "PYTHONPATH": str(PROJECT), "OMP_NUM_THREADS": "1"}
    return subprocess.Popen(
        [sys.executable, "-m", *command],
        cwd=folder,
        env=environment,
        text=True,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        start_new_session=True,
    )


def finish(process: subprocess.Popen[str]) -> str:
    """What a training says that must end well."""
    output, _ = process.communicate(timeout=SECONDS)
    assert process.returncode == 0, output
    return output


def kill_after_a_checkpoint(process: subprocess.Popen[str], folder: Path, wait: float) -> None:
    """SIGKILL all processes of a training, a while after it has another whole checkpoint."""

    def marks() -> set[Path]:
        return set(folder.glob(f".cache/training/*/checkpoint-*/{MARK}"))

    before, deadline = marks(), time.monotonic() + SECONDS
    while not marks() - before:
        assert process.poll() is None and time.monotonic() < deadline, process.communicate()[0]
        time.sleep(0.005)
    time.sleep(wait)
    os.killpg(process.pid, signal.SIGKILL)
    process.communicate()
    assert process.returncode == -signal.SIGKILL
    assert marks()


def train_here(folder: Path, arguments: list[str], monkeypatch: pytest.MonkeyPatch) -> None:
    """Train in this process and in a folder, undisturbed, by one thread as the others do."""
    folder.mkdir()
    monkeypatch.chdir(folder)
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    main([*arguments, "--checkpoint-minutes=100"])
    torch.set_num_threads(threads)


def test_a_killed_training_ends_as_an_undisturbed_one(
    tiny_model: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    rows = write_verified(tmp_path / "rows.jsonl", 18)
    options = {"learning_rate": 1e-3, "epochs": 8}
    calm, killed = tmp_path / "calm", tmp_path / "killed"
    arguments = train_arguments(tiny_model, rows, calm / "results", **options)
    train_here(calm, arguments, monkeypatch)
    killed.mkdir()
    command = ["scripts.train", *train_arguments(tiny_model, rows, killed / "results", **options)]
    wait = random.Random().uniform(0, 0.5)
    kill_after_a_checkpoint(start(killed, command), killed, wait)
    assert "40 steps" in finish(start(killed, command)), wait
    assert results_of(killed / "results") == results_of(calm / "results"), wait
    assert not any(path.is_dir() for path in killed.glob(".cache/training/*"))


@pytest.mark.parametrize("step", [1, 4, 6])
@pytest.mark.parametrize("method", ["lora", "full"])
def test_a_training_that_stops_at_any_step_goes_on_from_there(
    tiny_model: Path, tmp_path: Path, method: str, step: int
) -> None:
    rows, some = random_rows(9), settings(method=method, lora_dropout=0.1)

    def trained(folder: str, on_step: Callable[[int, float], None]) -> tuple[list, dict]:
        tuned = fine_tune(
            str(tiny_model), rows, some, tmp_path / folder, on_step, checkpoint_minutes=0
        )
        return tuned.curve, tuned.model.state_dict()

    def stop(now: int, loss: float) -> None:
        steps.append(now)
        if now == step:
            raise KeyboardInterrupt

    steps: list[int] = []
    curve, weights = trained("calm", lambda step, loss: None)
    with pytest.raises(KeyboardInterrupt):
        trained("stopped", stop)
    again: list[int] = []
    other_curve, other_weights = trained("stopped", lambda step, loss: again.append(step))
    # The step at which it stopped had no time to be kept.
    assert (steps, again) == (list(range(1, step + 1)), list(range(max(1, step - 1), 7)))
    assert other_curve == curve
    assert all(torch.equal(weight, other_weights[name]) for name, weight in weights.items())


def launch(parallel: str, arguments: list[str]) -> list[str]:
    """The command that shares a training among two processes."""
    config = PROJECT / "configs" / "accelerate" / f"{parallel}.yaml"
    return [
        *("scripts.launch", "--gpus=0", "--processes=2", f"--accelerate-config={config}", "--"),
        *("tests.training.on_cpu", *arguments),
    ]


@pytest.mark.parametrize(("parallel", "method", "kills"), [("ddp", "lora", 0), ("fsdp", "full", 1)])
def test_two_processes_learn_what_one_does(
    tiny_model: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    parallel: str,
    method: str,
    kills: int,
) -> None:
    rows = write_verified(tmp_path / "rows.jsonl", 9)
    options = {"method": method, "learning_rate": 1e-3, "lora_dropout": 0.0, "epochs": 2}
    in_float32(monkeypatch.setattr)
    one, two = tmp_path / "one", tmp_path / "two"
    train_here(one, train_arguments(tiny_model, rows, one, **options), monkeypatch)
    two.mkdir()
    command = launch(parallel, train_arguments(tiny_model, rows, two, **options))
    for _ in range(kills):
        kill_after_a_checkpoint(start(two, command), two, wait=0.1)
    output = finish(start(two, command))
    # Only the first process shows what is done.
    assert output.count("train student: ") == 2, output
    curves = [list(jsonlines.open(folder / "curve.jsonl")) for folder in (one, two)]
    for row, other in zip(*curves, strict=True):
        assert other == pytest.approx(row, rel=1e-4)
    name = "model.safetensors" if method == "full" else "adapter_model.safetensors"
    weights, others = (load_file(folder / "student" / name) for folder in (one, two))
    assert weights.keys() == others.keys()
    for name, weight in weights.items():
        torch.testing.assert_close(others[name], weight, rtol=1e-3, atol=1e-5)
    tuned, base = load_tuned_model(two / "student"), load_model(str(tiny_model))
    ids = torch.arange(5, 25)[None]
    assert (tuned(ids).logits - base(ids).logits).abs().max() > 1e-3


def test_a_checkpoint_that_was_cut_off_is_neither_loaded_nor_kept(tmp_path: Path) -> None:
    for step in (9, 10, 11):
        (tmp_path / f"checkpoint-{step}").mkdir()
        (tmp_path / f"checkpoint-{step}" / "weights").touch()
    assert last_checkpoint(tmp_path) is None
    for step in (9, 10):
        (tmp_path / f"checkpoint-{step}" / MARK).touch()
    assert last_checkpoint(tmp_path).name == "checkpoint-10"
    keep_only(tmp_path, last_checkpoint(tmp_path))
    assert [path.name for path in tmp_path.iterdir()] == ["checkpoint-10"]
    keep_only(tmp_path / "missing", None)
    shutil.rmtree(tmp_path / "checkpoint-10")
    assert last_checkpoint(tmp_path) is None
