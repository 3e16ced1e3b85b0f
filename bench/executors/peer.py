"""What the programs of the two peers have in common: samples in, a pool, one line of JSON out."""

import argparse
import json
import resource
import time
from collections.abc import Callable
from concurrent.futures import Executor, as_completed
from typing import Any

Sample = dict[str, Any]


def arguments(description: str | None) -> tuple[int, list[Sample]]:
    """The number of workers, and the samples of a file of JSON Lines or of standard input."""
    parser = argparse.ArgumentParser(description=description)
    parser.add_argument("samples", nargs="?", default="-", type=argparse.FileType("r"))
    parser.add_argument("--workers", type=int, default=2)
    parsed = parser.parse_args()
    return parsed.workers, [json.loads(line) for line in parsed.samples]


def judge(pool: Callable[[], Executor], check: Callable[[Sample], bool], samples: list) -> None:
    """Judge the samples in a pool as both peers do, and print what it took."""
    began, cpu = time.perf_counter(), _cpu_seconds()
    with pool() as executor:
        futures = [executor.submit(check, sample) for sample in samples]
        passed = sum(future.result() for future in as_completed(futures))
    seconds = time.perf_counter() - began
    print(
        json.dumps(
            {"seconds": seconds, "passed": passed, "cpu_seconds": _cpu_seconds() - cpu},
        )
    )


def _cpu_seconds() -> float:
    """CPU time of this process and of its children that have ended."""
    used = [resource.getrusage(who) for who in (resource.RUSAGE_SELF, resource.RUSAGE_CHILDREN)]
    return sum(usage.ru_utime + usage.ru_stime for usage in used)
