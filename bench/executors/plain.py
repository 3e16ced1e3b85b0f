"""Plain execution of programs in a lean Python, without any isolation.

    python -P -s -S bench/executors/plain.py forked|together

A program is a line of JSON on standard input: `id`, `parts` (sources that are executed one after
the other in one namespace) and `timeout` (CPU seconds, or null for 3). `forked` executes each in a
child with limits of CPU time, wall-clock time and memory, and prints a line for each: `id`,
`passed`, `how` it ended and its `cpu_seconds`.
`together` executes all in this very process and prints one line: `seconds` and `passed`.
"""

import json
import os
import resource
import signal
import sys
import time
import warnings

CPU_SECONDS = 3
MEMORY_BYTES = 1 << 30


def outcome(parts: list[str]) -> str:
    """How the execution of a program ends: "passed" or the name of an exception."""
    names: dict = {"__name__": "sample", "__builtins__": __builtins__}
    try:
        for part in parts:
            exec(compile(part, "<sample>", "exec", dont_inherit=True), names)
    except BaseException as error:
        return type(error).__name__
    return "passed"


def forked(parts: list[str], cpu_seconds: int) -> tuple[str, float]:
    """The same in a child with limits, and the CPU time that it took."""
    reads, writes = os.pipe()
    process = os.fork()
    if process == 0:
        os.close(reads)
        resource.setrlimit(resource.RLIMIT_CPU, (cpu_seconds, cpu_seconds + 1))
        resource.setrlimit(resource.RLIMIT_AS, (MEMORY_BYTES, MEMORY_BYTES))
        signal.alarm(4 * cpu_seconds + 1)
        os.write(writes, outcome(parts).encode())
        os._exit(0)
    os.close(writes)
    with os.fdopen(reads, "rb") as pipe:
        said = pipe.read().decode()
    _, status, usage = os.wait4(process, 0)
    if os.WIFSIGNALED(status):
        said = signal.Signals(os.WTERMSIG(status)).name
    return said or "an early exit", usage.ru_utime + usage.ru_stime


def main() -> None:
    warnings.simplefilter("ignore")
    programs = [json.loads(line) for line in sys.stdin]
    # What a program reads and prints goes nowhere.
    report = os.fdopen(os.dup(1), "w")
    nowhere = os.open(os.devnull, os.O_RDWR)
    for number in (0, 1, 2):
        os.dup2(nowhere, number)
    if sys.argv[1] == "together":
        began = time.perf_counter()
        passed = sum(outcome(program["parts"]) == "passed" for program in programs)
        seconds = time.perf_counter() - began
        print(json.dumps({"seconds": seconds, "passed": passed}), file=report, flush=True)
        return
    for program in programs:
        how, used = forked(program["parts"], int(program["timeout"] or CPU_SECONDS))
        line = {"id": program["id"], "passed": how == "passed", "how": how, "cpu_seconds": used}
        print(json.dumps(line), file=report, flush=True)


if __name__ == "__main__":
    main()
