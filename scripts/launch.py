"""Run a step on GPUs that no other run uses, in one process or in several.

    python -m scripts.launch --gpus 2 --processes 2 -- \\
        scripts.train --task tasks/mbpp.yaml ...

What follows `--` is a module and its arguments. On a machine without a GPU the CPU stands in for
it. On one with GPUs it waits until enough of them are free. --gpus 0 hides all.

With --nodes N it runs within a Slurm job of N machines, on the first of them, and starts itself on
each, where the GPUs and processes of all are shared evenly.
"""

import argparse
import logging
import os
import shutil
import socket
import sys
from pathlib import Path
from typing import NoReturn

from scripts.lib.console import GPUS, LAUNCHER, say, step_parser
from scripts.lib.errors import UserError
from scripts.lib.gpus import claim_visible
from scripts.lib.lifetime import end_with_snakemake

# The variable that tells the task on each machine where the first machine waits for the others.
RENDEZVOUS = "ADA_INSTRUCT_RENDEZVOUS"
# Ports for that: not those of the system, nor those that it hands out itself (from 32768 on).
FIRST_PORT, PORTS = 15000, 15000


def main(argv: list[str] | None = None) -> int:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--gpus", type=_count, required=True, help="0: on the CPU")
    parser.add_argument("--processes", type=int, default=1)
    parser.add_argument("--nodes", type=int, default=1, help="machines of a Slurm job")
    parser.add_argument("--accelerate-config", type=Path, help="how several processes share work")
    parser.add_argument("command", nargs="+", metavar="MODULE ARGUMENT")
    arguments = parser.parse_args(argv)

    if arguments.nodes > 1 and RENDEZVOUS not in os.environ:
        _start_on_all_machines(arguments, sys.argv[1:] if argv is None else argv)
    end_with_snakemake()
    claimed = claim_visible(arguments.gpus // arguments.nodes)
    os.environ[GPUS] = str(claimed * arguments.nodes)
    if claimed and arguments.processes > claimed * arguments.nodes:
        raise UserError(
            f"{arguments.processes} processes need a GPU each and {claimed * arguments.nodes} are "
            "claimed: give the job as many GPUs as processes, --resources gpu=N of snakemake"
        )
    if arguments.processes == 1:
        os.execv(sys.executable, [sys.executable, "-m", *arguments.command])
    return _launch(arguments, on_cpu=not claimed)


def _count(text: str) -> int:
    if (number := int(text)) < 0:
        raise ValueError
    return number


def _start_on_all_machines(arguments: argparse.Namespace, argv: list[str]) -> NoReturn:
    """Become `srun`, which starts this program on each machine of the Slurm job.

    The job of the plugin's inner Snakemake is found by its id. When that Snakemake is gone the job
    ends, and Slurm ends what it runs: nothing has to watch. Raises `UserError` outside of Slurm.
    """
    job = os.environ.get("SLURM_JOB_ID", "")
    if not job.isdecimal() or shutil.which("srun") is None:
        raise UserError(
            f"{arguments.nodes} machines are asked for and this is no job of Slurm: name the "
            "profile, --workflow-profile profiles/slurm, or set training.nodes: 1 in config.yaml"
        )
    _empty_log(arguments)
    port = FIRST_PORT + int(job) % PORTS
    os.environ[RENDEZVOUS] = f"{socket.gethostname()}:{port}"
    os.execvp(
        "srun",
        [
            "srun",
            f"--nodes={arguments.nodes}",
            f"--ntasks={arguments.nodes}",
            "--ntasks-per-node=1",
            f"--cpus-per-task={_threads()}",
            # All that the job has on each machine.
            "--mem=0",
            # When one fails or is lost, the others would wait for it.
            "--kill-on-bad-exit=1",
            sys.executable,
            "-m",
            "scripts.launch",
            *argv,
        ],
    )


def _threads() -> int:
    """The threads of a job on each of its machines."""
    return int(os.environ.get("OMP_NUM_THREADS") or os.cpu_count() or 1)


def _empty_log(arguments: argparse.Namespace) -> None:
    """Empty the step's log, to which all processes append."""
    step, _ = step_parser(None).parse_known_args(arguments.command[1:])
    if step.log and step.log.exists():
        os.truncate(step.log, 0)


def _machine_options(nodes: int) -> list[str]:
    """How `accelerate launch` is told which of the machines this is, and where they meet."""
    if nodes == 1:
        return [
            "--num_machines=1",
            "--machine_rank=0",
            # Any free port: two launches on a machine do not meet.
            "--main_process_port=0",
        ]
    address, _, port = os.environ[RENDEZVOUS].rpartition(":")
    return [
        f"--num_machines={nodes}",
        f"--machine_rank={os.environ['SLURM_NODEID']}",
        f"--main_process_ip={address}",
        f"--main_process_port={port}",
        "--same_network",
    ]


def _launch(arguments: argparse.Namespace, on_cpu: bool) -> int:
    """Run the processes by `accelerate launch`; the status of the first that failed."""
    nodes = arguments.nodes
    if nodes == 1:
        _empty_log(arguments)
    threads = max(1, _threads() * nodes // arguments.processes)
    os.environ[LAUNCHER] = str(os.getpid())
    # Snakemake sets this one to the threads of the whole job.
    os.environ["MKL_NUM_THREADS"] = str(threads)
    if on_cpu:
        # Not `--cpu`, by which accelerate starts one process.
        os.environ["ACCELERATE_USE_CPU"] = "true"
    options = [
        f"--num_processes={arguments.processes}",
        *_machine_options(nodes),
        "--gpu_ids=all",
        f"--num_cpu_threads_per_process={threads}",
        "--dynamo_backend=no",
    ]
    if arguments.accelerate_config:
        options.append(f"--config_file={arguments.accelerate_config}")
    else:
        options += ["--multi_gpu", "--mixed_precision=no"]

    from accelerate.commands.launch import launch_command, launch_command_parser
    from torch.distributed.elastic.multiprocessing import SignalException
    from torch.distributed.elastic.multiprocessing.errors import ChildFailedError

    # What a failing process says itself is enough.
    logging.getLogger("torch.distributed.elastic").setLevel(logging.CRITICAL)
    try:
        launch_command(
            launch_command_parser().parse_args([*options, "--module", *arguments.command])
        )
    except ChildFailedError as error:
        _, failure = error.get_first_failure()
        return failure.exitcode if failure.exitcode > 0 else 128 - failure.exitcode
    except SignalException as error:
        return 128 + error.sigval
    except ConnectionError as error:
        raise UserError(f"the machines of the job cannot meet: {error}") from error
    return 0


if __name__ == "__main__":
    try:
        sys.exit(main())
    except UserError as error:
        say(f"error: {error}")
        sys.exit(1)
