"""A step on several machines of a Slurm job: a stand-in for `srun` starts a task for each here."""

import json
import os
import re
import sys
from collections.abc import Iterator
from pathlib import Path

import jsonlines
import pytest

from scripts.train import main
from tests.conftest import PROJECT
from tests.launch.machine import Machine, soon
from tests.training.learning import train_arguments, write_verified
from tests.training.on_cpu import in_float32

# What of Slurm's `srun` the launcher relies on: a task on each machine, which knows its number; all
# are killed when one ends badly.
SRUN = f"""#!{sys.executable}
import json, os, subprocess, sys, time
options = [argument for argument in sys.argv[1:] if argument.startswith("--")]
options = options[: options.index("--kill-on-bad-exit=1") + 1]
command = sys.argv[1 + len(options):]
nodes = int(dict(option[2:].split("=") for option in options)["nodes"])
open("srun.json", "w").write(json.dumps([options, command]))
tasks = []
for node in range(nodes):
    own = {{"SLURM_NODEID": str(node)}}
    tasks.append(subprocess.Popen(command, env={{**os.environ, **own}}))
while any(task.poll() is None for task in tasks):
    if any(task.poll() for task in tasks):
        for task in tasks:
            task.terminate()
    time.sleep(0.05)
sys.exit(max(abs(task.wait()) for task in tasks))
"""
RANKS = """
import os, sys, time
from pathlib import Path
from scripts.lib import console
from scripts.lib.errors import UserError
from scripts.lib.ranks import local_rank, rank, world_size

def main():
    node = os.environ["SLURM_NODEID"]
    Path(f"pid-{rank()}").write_text(str(os.getpid()))
    console.say(f"rank {rank()}, {local_rank()} on {node}, of {world_size()}")
    if sys.argv[1] == "fail":
        if rank() == 3:
            raise UserError("there is no prompt")
        time.sleep(60)

console.run_step(main)
"""


@pytest.fixture
def cluster(tmp_path: Path) -> Iterator[Machine]:
    """A job of Slurm on machines with one free GPU each, for which the CPU stands in."""
    # The launcher takes its port from the job's number: other tests on this machine have another.
    variables = {"SLURM_JOB_ID": str(os.getpid()), "CUDA_VISIBLE_DEVICES": ""}
    machine = Machine(tmp_path, gpus=0, variables=variables)
    srun = machine.folder / "bin" / "srun"
    srun.write_text(SRUN)
    srun.chmod(0o755)
    yield machine
    machine.close()


def options(processes: int, nodes: int) -> tuple[str, ...]:
    """The options of a launch on several machines."""
    return ("--processes", str(processes), "--nodes", str(nodes))


def test_each_machine_starts_its_share_of_the_processes(cluster: Machine) -> None:
    step = cluster.step(RANKS)
    (cluster.folder / "step.log").write_text("an earlier run\n")
    command = cluster.command(4, step, "go", "--log", "step.log", options=options(4, 2))
    status, output = cluster.run(command)
    assert status == 0, output
    said = sorted(
        (int(rank), int(local), int(node))
        for rank, local, node in re.findall(r"rank (\d), (\d) on (\d), of 4", output)
    )
    assert said == [(0, 0, 0), (1, 1, 0), (2, 0, 1), (3, 1, 1)]
    log = (cluster.folder / "step.log").read_text()
    assert "an earlier run" not in log
    assert log.count("of 4") == 4


def test_srun_is_told_all_that_the_plugin_has_taken_out_of_the_environment(
    cluster: Machine,
) -> None:
    step = cluster.step("import os; print(os.environ['ADA_INSTRUCT_GPUS'])")
    status, output = cluster.run(cluster.command(2, step, options=options(2, 2)))
    assert status == 0, output
    asked, command = json.loads((cluster.folder / "srun.json").read_text())
    assert asked == [
        "--nodes=2", "--ntasks=2", "--ntasks-per-node=1", "--cpus-per-task=1", "--mem=0",
        "--kill-on-bad-exit=1",
    ]  # fmt: skip
    # The same command, so that each machine claims its own GPUs.
    assert command[:3] == [sys.executable, "-m", "scripts.launch"]
    assert command[3:] == cluster.command(2, step, options=options(2, 2))[3:]


def test_the_failure_of_one_process_ends_all_machines(cluster: Machine) -> None:
    step = cluster.step(RANKS)
    status, output = cluster.run(cluster.command(4, step, "fail", options=options(4, 2)))
    assert status != 0
    assert "process 3: error: there is no prompt" in output
    pids = [(cluster.folder / f"pid-{rank}").read_text() for rank in range(4)]
    assert soon(lambda: not any(Path("/proc", pid).exists() for pid in pids))


def test_several_machines_without_slurm_are_one_line(cluster: Machine) -> None:
    del cluster.environment["SLURM_JOB_ID"]
    status, output = cluster.run(cluster.command(2, "step", options=options(2, 2)))
    assert (status, output.count("\n")) == (1, 1)
    assert output.startswith("error: 2 machines are asked for and this is no job of Slurm: ")
    assert "--workflow-profile profiles/slurm" in output


def test_a_training_on_two_machines_learns_what_one_process_does(
    cluster: Machine, tiny_model: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    rows = write_verified(cluster.folder / "rows.jsonl", 8)
    # Two steps, and long ones: the loss of the second tells what the machines made of the first
    # together, and would be another by far if each followed its own gradients.
    settings = {
        "epochs": 1,
        "learning_rate": 0.1,
        "warmup_ratio": 0.0,
        "lora_dropout": 0.0,
        "checkpoint_minutes": 100,
    }
    one, two = cluster.folder / "on-1", cluster.folder / "on-2"
    in_float32(monkeypatch.setattr)
    main(train_arguments(tiny_model, rows, one, **settings))
    shared = ("--accelerate-config", str(PROJECT / "configs" / "accelerate" / "ddp.yaml"))
    command = cluster.command(
        2,
        "tests.training.on_cpu",
        *train_arguments(tiny_model, rows, two, **settings),
        options=(*options(2, 2), *shared),
    )
    status, output = cluster.run(command)
    assert status == 0, output
    losses = []
    for folder in (one, two):
        with jsonlines.open(folder / "curve.jsonl") as curve:
            losses.append([row["loss"] for row in curve])
    assert len(losses[0]) == 2
    assert losses[1] == pytest.approx(losses[0], abs=1e-4)
