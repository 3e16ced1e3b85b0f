"""Measure a model by EleutherAI's lm-evaluation-harness, for numbers to hold beside published ones.

    python -m scripts.run_lm_eval --model results/mbpp/student --tasks gsm8k --limit 100 \\
        --seed 42 --output results/mbpp/lm_eval/student.json

The harness runs as a process of its own, in the environment of envs/lm_eval.yaml. The model is a
directory, a hub id, or the directory that `train` wrote. The result holds the scores, and under
`report` all that the harness reports but times and its description of the machine:

    {"model", "model_id", "harness": {"name", "version"}, "tasks", "limit", "num_fewshot",
     "apply_chat_template", "unsafe_code_confirmed", "scores": {task: {metric: value}}, "report"}
"""

import argparse
import importlib.util
import json
import os
import re
import signal
import subprocess
import sys
import tempfile
import time
from collections import deque
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from functools import partial
from pathlib import Path
from typing import Any

from scripts.lib.console import counts, run_step, say, step_parser, truth
from scripts.lib.errors import UserError
from scripts.lib.files import write_json
from scripts.lib.gpus import visible_gpus
from scripts.lib.harness import check_tasks, refusal
from scripts.lib.lifetime import die_with_parent
from scripts.lib.models import adapter_settings, check_model_name, fingerprint

STOP_SECONDS = 10.0
TAIL_LINES = 60
MOST_CHARACTERS = 300

# What differs from one run to the next, and what describes the machine.
LEFT_OUT = {
    "date",
    "start_time",
    "end_time",
    "total_evaluation_time_seconds",
    "pretty_env_info",
    # Of the folder that the harness runs in: ours.
    "git_hash",
    "upper_git_hash",
}
# How the harness says that a task would run code: its own mark, and the metric `code_eval`.
UNSAFE_SIGNS = ("which is marked as unsafe", "HF_ALLOW_CODE_EVAL")
ALLOW_CODE = "HF_ALLOW_CODE_EVAL"
SECRETS = ("OPENAI_API_KEY", "OPENAI_API_KEYS")

_ERROR = re.compile(r"^[\w.]*(Error|Exception|error:)")


def number(word: str) -> int | None:
    """A number of the command line, or `none`."""
    return None if word.lower() == "none" else int(word)


def parse(argv: list[str] | None) -> argparse.Namespace:
    """The arguments of the command line."""
    parser = step_parser(__doc__)
    parser.add_argument("--model", required=True, help="directory or hub id")
    parser.add_argument(
        "--tasks", nargs="*", default=[], help="names of the harness's tasks, or YAML files"
    )
    parser.add_argument("--include-path", help="folder of further tasks")
    parser.add_argument("--limit", type=number, help="problems of each task, none for all")
    parser.add_argument("--num-fewshot", type=number, help="none for what the task says")
    parser.add_argument("--apply-chat-template", type=truth, default=False)
    parser.add_argument("--batch-size", type=int, default=1)
    parser.add_argument("--seed", type=int, required=True)
    parser.add_argument(
        "--confirm-unsafe-code",
        type=truth,
        default=False,
        help="let the harness run the code that the model writes, WITHOUT a sandbox",
    )
    parser.add_argument("--output", type=Path, required=True)
    return parser.parse_args(argv)


def model_arguments(model: str) -> dict[str, str]:
    """What the harness is told of a model: of an adapter also the model that it belongs to."""
    adapter = adapter_settings(model)
    if adapter is None:
        return {"pretrained": model}
    tokenizer = {"tokenizer": model} if (Path(model) / "tokenizer_config.json").exists() else {}
    return {"pretrained": adapter["base_model_name_or_path"], "peft": model, **tokenizer}


def command(arguments: argparse.Namespace, folder: Path, device: str) -> list[str]:
    """The command that runs the harness, whose results come into `folder`."""
    options = [
        # As JSON: in the harness's own notation a comma or an equals sign ends a path.
        f"--model_args={json.dumps(model_arguments(arguments.model))}",
        f"--tasks={','.join(arguments.tasks)}",
        f"--batch_size={arguments.batch_size}",
        f"--device={device}",
        f"--seed={arguments.seed}",
        f"--output_path={folder}",
    ]
    for name in ("limit", "num_fewshot", "include_path"):
        if (value := getattr(arguments, name)) is not None:
            options.append(f"--{name}={value}")
    for name, wanted in (
        ("apply_chat_template", arguments.apply_chat_template),
        ("confirm_run_unsafe_code", arguments.confirm_unsafe_code),
    ):
        if wanted:
            options.append(f"--{name}")
    return [sys.executable, "-m", "lm_eval", "run", "--model=hf", *options]


def environment(unsafe: bool) -> dict[str, str]:
    """The environment of the harness; only `unsafe` lets its metric `code_eval` run code.

    A model's code must not find the keys of the labelling endpoint there.
    """
    kept = {name: value for name, value in os.environ.items() if name not in (*SECRETS, ALLOW_CODE)}
    # Its bars would fill the log.
    return {"TQDM_MININTERVAL": "30", **kept, **({ALLOW_CODE: "1"} if unsafe else {})}


@contextmanager
def _started(command: Sequence[str], environment: dict[str, str]) -> Iterator[subprocess.Popen]:
    """A process whose output is read here; it and its children end when the block does."""
    process = subprocess.Popen(
        command,
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        errors="replace",
        env=environment,
        start_new_session=True,
        preexec_fn=partial(die_with_parent, os.getpid()),
    )
    try:
        yield process
    finally:
        if process.poll() is None:
            with suppress(ProcessLookupError):
                os.killpg(process.pid, signal.SIGTERM)
            with suppress(subprocess.TimeoutExpired):
                process.wait(STOP_SECONDS)
        with suppress(ProcessLookupError):
            os.killpg(process.pid, signal.SIGKILL)
        process.wait()


def end_of_log(lines: Sequence[str]) -> str:
    """What a program said at its end, as one line: from the last error that it names."""
    said = [line.strip() for line in lines if line.strip()]
    start = max((at for at, line in enumerate(said) if _ERROR.match(line)), default=len(said) - 1)
    return " ".join(said[max(start, 0) :])[:MOST_CHARACTERS] or "no message"


def run_harness(command: Sequence[str], environment: dict[str, str], tasks: Sequence[str]) -> None:
    """Run the harness and show what it says. Raises `UserError` where it fails."""
    tail: deque[str] = deque(maxlen=TAIL_LINES)
    with _started(command, environment) as process:
        assert process.stdout is not None
        for line in process.stdout:
            print(line, end="", flush=True)
            tail.append(line)
        status = process.wait()
    if status == 0:
        return
    if (
        any(sign in line for line in tail for sign in UNSAFE_SIGNS)
        and ALLOW_CODE not in environment
    ):
        raise refusal(", ".join(tasks))
    if status == -signal.SIGKILL:
        raise UserError(
            "lm_eval was killed, by the system if memory ran short: lower lm_eval.batch_size"
        )
    raise UserError(f"lm_eval ended with status {status}: {end_of_log(tail)}")


def read_report(folder: Path) -> dict[str, Any]:
    """What the harness reports. Raises `UserError` where that is not one file with scores."""
    files = list(folder.rglob("results_*.json"))
    if len(files) == 1:
        with suppress(ValueError, AttributeError):
            # NaN is no JSON.
            report = json.loads(files[0].read_text("utf-8"), parse_constant=lambda _: None)
            if report.get("results") and report.get("lm_eval_version"):
                return {name: value for name, value in report.items() if name not in LEFT_OUT}
    raise UserError(
        "lm_eval ended well and wrote no results that can be read: use the version that "
        "envs/lm_eval.yaml pins"
    )


def scores_of(report: dict[str, Any]) -> dict[str, dict[str, float]]:
    """The values by task or group and metric, and their standard errors.

    The harness writes `acc,none` for the metric `acc` without a filter: the filter stays in the
    name where there is one.
    """
    return {
        task: {
            name.removesuffix(",none"): value
            for name, value in found.items()
            if "," in name and isinstance(value, int | float)
        }
        for task, found in {**report["results"], **report.get("groups", {})}.items()
    }


def result_of(arguments: argparse.Namespace, report: dict[str, Any]) -> dict[str, Any]:
    """What the step writes."""
    return {
        "model": arguments.model,
        "model_id": fingerprint(arguments.model),
        "harness": {"name": "lm-eval", "version": report["lm_eval_version"]},
        "tasks": arguments.tasks,
        "limit": arguments.limit,
        "num_fewshot": arguments.num_fewshot,
        "apply_chat_template": arguments.apply_chat_template,
        "unsafe_code_confirmed": arguments.confirm_unsafe_code,
        "scores": scores_of(report),
        "report": report,
    }


def main(argv: list[str] | None = None) -> None:
    arguments = parse(argv)
    started = time.monotonic()
    unsafe = arguments.confirm_unsafe_code
    check_tasks(arguments.tasks, arguments.include_path, unsafe)
    check_model_name(arguments.model)
    if importlib.util.find_spec("lm_eval") is None:
        raise UserError(
            "lm_eval: is not installed here: use envs/lm_eval.yaml (snakemake --sdm conda)"
        )
    if unsafe:
        say("lm_eval.confirm_unsafe_code: tasks that judge code run the model's WITHOUT a sandbox")
    device = "cuda" if visible_gpus() else "cpu"
    with tempfile.TemporaryDirectory(prefix="lm_eval-") as folder:
        run_harness(command(arguments, Path(folder), device), environment(unsafe), arguments.tasks)
        report = read_report(Path(folder))
    result = result_of(arguments, report)
    write_json(arguments.output, result)
    for task, scores in result["scores"].items():
        say(f"{task}: " + ", ".join(f"{name} {value:.4g}" for name, value in scores.items()))
    counts("run_lm_eval", time.monotonic() - started, tasks=len(result["scores"]))


if __name__ == "__main__":
    run_step(main)
