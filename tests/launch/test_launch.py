"""Steps are started with GPUs of their own, in one process or in several, and end with the run."""

import os
import signal
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.launch.machine import Machine, soon

HOLD = """
import os, sys, time
print("holds", os.environ["CUDA_VISIBLE_DEVICES"], flush=True)
time.sleep(float(sys.argv[1]))
"""
RANKS = """
import os, sys, time
from pathlib import Path
from scripts.lib import console
from scripts.lib.errors import UserError
from scripts.lib.ranks import local_rank, rank, world_size

def main():
    what = sys.argv[1]
    Path(f"{what}-{rank()}").write_text(f"{os.getpid()} {os.getppid()}")
    with console.Progress("demo", 2, "rows") as progress:
        console.REPORT_SECONDS = 0.0
        progress.advance()
    if what == "fail" and rank() == 1:
        raise UserError("there is no prompt")
    if what == "wait" or what == "fail":
        time.sleep(60)
    console.say(f"{rank()} {local_rank()} of {world_size()} {os.environ['ACCELERATE_USE_CPU']}")
    console.counts("demo", 1, rows=2)

console.run_step(main)
"""
STARTS_LATE = """
import os, time
from pathlib import Path
from scripts.lib import console

launcher = os.getppid()
Path(f"wait-{os.environ['RANK']}").write_text(f"{os.getpid()} {launcher}")
while os.getppid() == launcher:
    time.sleep(0.02)
console.run_step(lambda: Path("worked").touch())
"""
SNAKEMAKE = """
import subprocess, sys
subprocess.run(["bash", "-c", " ".join(sys.argv[1:]) + "; true"])
"""


@pytest.fixture
def machine(tmp_path: Path) -> Iterator[Machine]:
    machine = Machine(tmp_path, gpus=2)
    yield machine
    machine.close()


@pytest.fixture
def without_gpus(tmp_path: Path) -> Iterator[Machine]:
    machine = Machine(tmp_path, gpus=2, variables={"CUDA_VISIBLE_DEVICES": ""})
    yield machine
    machine.close()


def test_a_step_holds_its_gpus_until_it_is_killed(machine: Machine) -> None:
    step = machine.step(HOLD)
    first = machine.start(machine.command(1, step, "60"))
    assert first.stdout.readline() == "holds 0\n"
    second = machine.start(machine.command(1, step, "60"))
    assert second.stdout.readline() == "holds 1\n"
    third = machine.start(machine.command(2, step, "0"))
    assert third.stdout.readline() == "waiting for 2 free GPUs (2 of 2 in use by other runs)\n"
    first.kill()
    second.terminate()
    assert third.communicate(timeout=20)[0] == "holds 0,1\n"
    assert third.returncode == 0
    # Nothing is left behind that would have to be cleared up.
    assert machine.run(machine.command(2, step, "0")) == (0, "holds 0,1\n")


def test_what_is_started_is_python_itself_with_the_arguments(machine: Machine) -> None:
    step = machine.step("import sys; print(sys.argv[1:], sys.executable); sys.exit(5)")
    arguments = ["--gpus", "7", "--", "a b"]
    expected = f"{arguments} {sys.executable}\n"
    assert machine.run(machine.command(1, step, *arguments)) == (5, expected)


def test_a_step_on_the_cpu_sees_no_gpu_and_claims_none(machine: Machine) -> None:
    step = machine.step("import os; print(repr(os.environ.get('CUDA_VISIBLE_DEVICES')))")
    assert machine.run(machine.command(0, step)) == (0, "''\n")
    assert not list(machine.locks.iterdir())


@pytest.mark.parametrize(
    ("gpus", "processes", "message"),
    [
        (3, 1, "error: 3 GPUs are asked for and there are 2: lower training.gpus or "),
        (1, 2, "error: 2 processes need a GPU each and 1 are claimed"),
    ],
)
def test_what_cannot_be_had_is_one_line(
    machine: Machine, gpus: int, processes: int, message: str
) -> None:
    options = ("--processes", str(processes))
    status, output = machine.run(machine.command(gpus, "step", options=options))
    assert status == 1
    assert output.startswith(message)
    assert output.count("\n") == 1


def test_two_processes_of_one_step(without_gpus: Machine) -> None:
    step = without_gpus.step(RANKS)
    options = ("--processes", "2")
    (without_gpus.folder / "step.log").write_text("an earlier run\n")
    command = without_gpus.command(2, step, "go", "--log", "step.log", options=options)
    status, output = without_gpus.run(command)
    assert status == 0, output
    # The first alone shows how far the step is.
    shown = sorted(output.splitlines())
    assert [line for line in shown if "min left" not in line] == [
        "0 0 of 2 true", "demo: 2 rows in 1 s", "process 1: 1 1 of 2 true"
    ]  # fmt: skip
    assert len([line for line in shown if "min left" in line]) == 1
    log = (without_gpus.folder / "step.log").read_text()
    # The report counts GPU hours by what the log tells.
    assert sorted(log.splitlines()) == sorted([*shown, "gpus: 0"])


def test_the_failure_of_one_process_is_its_line_and_ends_the_others(without_gpus: Machine) -> None:
    step = without_gpus.step(RANKS)
    options = ("--processes", "2")
    started = time.monotonic()
    command = without_gpus.command(2, step, "fail", "--log", "step.log", options=options)
    status, output = without_gpus.run(command)
    assert time.monotonic() - started < 30
    assert status == 1
    assert "process 1: error: there is no prompt\n" in output
    assert "Traceback" not in output
    assert (
        "process 1: error: there is no prompt\n" in (without_gpus.folder / "step.log").read_text()
    )


def pids(machine: Machine) -> list[int]:
    """The processes of a waiting step and what launched them."""
    found: set[int] = set()
    for rank in range(2):
        assert soon(lambda: (machine.folder / f"wait-{rank}").exists())  # noqa: B023
        time.sleep(0.05)
        found |= {int(pid) for pid in (machine.folder / f"wait-{rank}").read_text().split()}
    return sorted(found)


def gone(pid: int) -> bool:
    """Whether a process has ended, be it that nobody has waited for it yet."""
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] == "Z"
    except FileNotFoundError:
        return True


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGKILL, signal.SIGINT])
def test_a_signal_to_the_launch_ends_all_processes(without_gpus: Machine, number: int) -> None:
    command = without_gpus.command(
        2, without_gpus.step(RANKS), "wait", options=("--processes", "2")
    )
    launch = without_gpus.start(command)
    started = pids(without_gpus)
    assert launch.pid in started
    assert len(started) == 3
    launch.send_signal(number)
    assert soon(lambda: all(map(gone, started)))
    output, _ = launch.communicate()
    assert launch.returncode == (-9 if number == signal.SIGKILL else 128 + number)
    assert "Traceback" not in output


def test_a_process_that_starts_after_its_launch_was_killed_does_nothing(
    without_gpus: Machine,
) -> None:
    command = without_gpus.command(
        2, without_gpus.step(STARTS_LATE), "late", options=("--processes", "2")
    )
    launch = without_gpus.start(command)
    started = pids(without_gpus)
    launch.kill()
    assert soon(lambda: all(map(gone, started)))
    assert not (without_gpus.folder / "worked").exists()


def test_several_processes_end_with_a_snakemake_that_is_killed(without_gpus: Machine) -> None:
    snakemake = without_gpus.folder / "snakemake"
    snakemake.write_text(SNAKEMAKE)
    command = without_gpus.command(
        2, without_gpus.step(RANKS), "wait", options=("--processes", "2")
    )
    run = without_gpus.start([sys.executable, str(snakemake), *command])
    started = pids(without_gpus)
    assert len(started) == 3
    os.kill(run.pid, signal.SIGKILL)
    assert soon(lambda: all(map(gone, started)))
