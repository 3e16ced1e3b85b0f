"""Judge programs: jobs come on standard input, verdicts go to standard output.

    python -m scripts.lib.sandbox [--workers N] [--level L] < jobs.jsonl > verdicts.jsonl

A job is a line of JSON, {"id", "code", "tests", "setup"?, "timeout"?}: tests is a source or a list
of sources, timeout counts seconds of processor time. A verdict is one, {"id", "verdict", "reason",
"cpu_seconds", "wall_seconds", "assertions", "isolation"}, in the order of the jobs and written as
soon as it is known. Exit status: 0, or 1 where nothing can be isolated or a line is no job (it gets
the verdict `error`).
"""

import argparse
import json
import os
import sys
from collections.abc import Iterator
from dataclasses import asdict
from typing import Any, TextIO

from scripts.lib.sandbox.executor import Sandbox
from scripts.lib.sandbox.levels import AUTO, LEVELS
from scripts.lib.sandbox.model import ERROR, Job, Limits, SandboxUnavailable, Verdict

LEAST_MEMORY_MB = 64
FIELDS = {"id", "code", "tests", "setup", "prefix", "timeout"}


class NotAJob(Exception):
    """A line of the input is none; the message says why."""


def read_job(line: str) -> Job:
    """The job of a line. Raises NotAJob."""
    try:
        fields = json.loads(line)
    except (ValueError, RecursionError) as error:
        raise NotAJob(f"not JSON ({error})") from None
    if not isinstance(fields, dict):
        raise NotAJob("not a JSON object")
    if unknown := sorted(fields.keys() - FIELDS):
        raise NotAJob(f"unknown key {unknown[0]!r}; there are {', '.join(sorted(FIELDS))}")
    for name in ("id", "code", "tests"):
        if name not in fields:
            raise NotAJob(f"key {name!r} is missing")
    given = {name: value for name, value in fields.items() if value is not None or name == "code"}
    try:
        return Job(**{"id": None, **given})
    except ValueError as problem:
        raise NotAJob(str(problem)) from None


def read_jobs(stream: TextIO) -> Iterator[Job | Verdict]:
    """The jobs of a stream, one by one; for a line that is none, its verdict."""
    for number, line in enumerate(iter(stream.readline, ""), 1):
        if not line.strip():
            continue
        try:
            yield read_job(line)
        except NotAJob as problem:
            reason = f"line {number}: {problem}"
            yield Verdict(_id_of(line), ERROR, reason[:300], 0.0, 0.0, 0, "")


def _id_of(line: str) -> Any:
    try:
        fields = json.loads(line)
        return fields.get("id") if isinstance(fields, dict) else None
    except (ValueError, RecursionError):
        return None


def main(argv: list[str] | None = None) -> int:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--workers", type=int, help="samples at the same time (default: cores)")
    parser.add_argument("--level", choices=[AUTO, *LEVELS], default=AUTO)
    parser.add_argument("--accept-risk", action="store_true", help="for --level none")
    parser.add_argument("--memory-mb", type=int, default=Limits.memory_bytes >> 20)
    arguments = parser.parse_args(argv)
    if arguments.workers is not None and arguments.workers < 1:
        parser.error("--workers: at least 1")
    if arguments.memory_mb < LEAST_MEMORY_MB:
        parser.error(f"--memory-mb: at least {LEAST_MEMORY_MB}")
    limits = Limits(memory_bytes=arguments.memory_mb << 20)
    try:
        sandbox = Sandbox(arguments.workers, arguments.level, limits, arguments.accept_risk)
    except SandboxUnavailable as error:
        print(f"error: {error}", file=sys.stderr)
        return 1
    status = 0
    sys.stdin.reconfigure(encoding="utf-8-sig", errors="surrogateescape")  # type: ignore[union-attr]
    try:
        with sandbox:
            for verdict in sandbox.judge(read_jobs(sys.stdin)):
                status |= verdict.verdict == ERROR
                sys.stdout.write(json.dumps(asdict(verdict)) + "\n")
                sys.stdout.flush()
    except KeyboardInterrupt:
        return 130
    except BrokenPipeError:
        # Whoever reads has gone; the interpreter shall not complain once more at its end.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 1
    return status


if __name__ == "__main__":
    sys.exit(main())
