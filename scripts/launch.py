"""Run a step on GPUs that no other run uses, in one process or in several.

    python -m scripts.launch --gpus 2 --processes 2 -- \\
        scripts.train --task tasks/mbpp.yaml ...

What follows `--` is a module and its arguments. On a machine without a GPU the CPU stands in for
it. On one with GPUs it waits until enough of them are free. --gpus 0 hides all.
"""

import argparse
import logging
import os
import sys
from pathlib import Path

from scripts.lib.console import GPUS, LAUNCHER, say, step_parser
from scripts.lib.errors import UserError
from scripts.lib.gpus import claim_visible
from scripts.lib.lifetime import end_with_snakemake


def main(argv: list[str] | None = None) -> int:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--gpus", type=_count, required=True, help="0: on the CPU")
    parser.add_argument("--processes", type=int, default=1)
    parser.add_argument("--accelerate-config", type=Path, help="how several processes share work")
    parser.add_argument("command", nargs="+", metavar="MODULE ARGUMENT")
    arguments = parser.parse_args(argv)

    end_with_snakemake()
    claimed = claim_visible(arguments.gpus)
    os.environ[GPUS] = str(claimed)
    if claimed and arguments.processes > claimed:
        raise UserError(
            f"{arguments.processes} processes need a GPU each and {claimed} are claimed: "
            "give the job as many GPUs as processes, --resources gpu=N of snakemake"
        )
    if arguments.processes == 1:
        os.execv(sys.executable, [sys.executable, "-m", *arguments.command])
    return _launch(arguments, on_cpu=not claimed)


def _count(text: str) -> int:
    if (number := int(text)) < 0:
        raise ValueError
    return number


def _launch(arguments: argparse.Namespace, on_cpu: bool) -> int:
    """Run the processes by `accelerate launch`; the status of the first that failed."""
    step, _ = step_parser(None).parse_known_args(arguments.command[1:])
    if step.log and step.log.exists():
        os.truncate(step.log, 0)
    threads = int(os.environ.get("OMP_NUM_THREADS") or os.cpu_count() or 1)
    threads = max(1, threads // arguments.processes)
    os.environ[LAUNCHER] = str(os.getpid())
    # Snakemake sets this one to the threads of the whole job.
    os.environ["MKL_NUM_THREADS"] = str(threads)
    if on_cpu:
        # Not `--cpu`, by which accelerate starts one process.
        os.environ["ACCELERATE_USE_CPU"] = "true"
    options = [
        f"--num_processes={arguments.processes}",
        "--num_machines=1",
        "--machine_rank=0",
        # Any free port: two launches on a machine do not meet.
        "--main_process_port=0",
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
    return 0


if __name__ == "__main__":
    try:
        sys.exit(main())
    except UserError as error:
        say(f"error: {error}")
        sys.exit(1)
