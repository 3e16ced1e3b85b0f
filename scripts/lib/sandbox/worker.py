"""A worker: a jail of players, a jail of judges, and one sample after the other between them."""

import marshal
import re
import signal
import socket
import time
from collections import deque
from collections.abc import Callable, Sequence
from concurrent.futures import Future
from dataclasses import dataclass
from functools import cached_property
from queue import Empty, SimpleQueue
from typing import Any

from scripts.lib.sandbox import model
from scripts.lib.sandbox.inside import codec
from scripts.lib.sandbox.inside.child import wall_limit
from scripts.lib.sandbox.inside.judges import AGAIN
from scripts.lib.sandbox.inside.trial import LOST
from scripts.lib.sandbox.jail import Jail, JailLost
from scripts.lib.sandbox.levels import JUDGES, PLAYERS, Isolation, numpy_is_here
from scripts.lib.sandbox.model import Calls, Job, Limits, SandboxUnavailable, Verdict

# The first process of a jail keeps the time; beyond that and this, the jail is stuck.
GRACE_SECONDS = 10.0
REASON_CHARACTERS = 300
ATTEMPTS = 2
# Tasks in the jails at a time.
AHEAD = 2


@dataclass
class Task:
    """A job on its way, and where its result goes: a verdict, or what its calls return."""

    job: Job
    future: Future
    outputs: bool = False
    # In the hands of a worker:
    apart: bool = False
    lost: int = 0
    trouble: str = "a jail died while it was judged"
    deadline: float = 0.0

    @cached_property
    def with_numpy(self) -> bool:
        """Whether it goes to the jails in which numpy is loaded: those that mention it."""
        texts = (self.job.code, self.job.setup, self.job.prefix, *_sources(self.job.tests))
        return numpy_is_here() and any("numpy" in text for text in texts)


class Worker:
    """Judges jobs one after the other. It belongs to the thread that makes it.

    While one is judged the next is already in the jails, so that its player starts at once and its
    tests are read in the meantime. Where something goes wrong, nobody knows which of the two it
    was: both are judged again, alone, and what goes wrong then is charged to the one:

    - the judge or the player is stuck: `timeout`, and the jail is replaced;
    - a jail dies, or none can be started: another try, with a judge of its own; then `error`.
    """

    def __init__(self, isolation: Isolation, limits: Limits) -> None:
        self.isolation = isolation
        self.limits = limits
        # By role and flavour, those with numpy only when the first job wants it.
        self._jails: dict[tuple[str, bool], Jail] = {}
        # In the jails, in their order; and given back.
        self._line: deque[Task] = deque()
        self._waiting: deque[Task] = deque()
        # How many are to be judged alone.
        self._alone = 0
        self._aborted = False
        try:
            self._start(False)
        except BaseException:
            self.close()
            raise

    def judge(self, job: Job) -> Verdict:
        """The verdict on a job."""
        task = Task(job, Future())
        self._waiting.append(task)
        while not task.future.done():
            self._launch_next(lambda: None)
            self._land()
        return task.future.result()

    def serve(self, tasks: SimpleQueue[Task | None], workers: int) -> None:
        """Judge tasks until one of them is `None`.

        workers: how many there are; none takes a task ahead that another one is free for.
        """
        more = True

        def take() -> Task | None:
            nonlocal more
            if not more or (self._line and tasks.qsize() < workers):
                return None
            try:
                task = tasks.get(block=not self._line)
            except Empty:
                return None
            more = task is not None
            return task

        while (more or self._line or self._waiting) and not self._aborted:
            try:
                self._launch_next(take)
                self._land()
            except Exception as error:
                # Whatever it was, what is in the jails now belongs to nobody.
                self._drop(error)
        self._drop(RuntimeError("the sandbox was closed before the job was judged"))

    def _drop(self, error: Exception) -> None:
        """Give up everything that is not decided, and the jails."""
        for task in (*self._line, *self._waiting):
            task.future.set_exception(error)
        self._line.clear()
        self._waiting.clear()
        self.close()

    def facts(self) -> list[dict[str, Any]]:
        """What the first processes of the jails said of themselves."""
        return [jail.facts for jail in self._jails.values()]

    def abort(self) -> None:
        """Have the worker's thread stop, whatever runs in its jails; any thread may ask for it."""
        self._aborted = True
        for jail in list(self._jails.values()):
            jail.kill()

    def close(self) -> None:
        """End the jails."""
        while self._jails:
            self._jails.popitem()[1].close()

    def _start(self, with_numpy: bool) -> None:
        """Start the jails of a flavour if they are not running."""
        if (PLAYERS, with_numpy) in self._jails:
            return
        ours, theirs = socket.socketpair()
        try:
            with ours, theirs:
                for role, stop in ((PLAYERS, ours), (JUDGES, theirs)):
                    launch = self.isolation.launch(role, self.limits, with_numpy)
                    self._jails[role, with_numpy] = Jail(launch, stop.fileno())
            for role in (PLAYERS, JUDGES):
                self._jails[role, with_numpy].wait_until_ready()
        except BaseException:
            self._end(with_numpy)
            raise

    def _end(self, with_numpy: bool) -> None:
        """End the jails of a flavour: they are connected, and go together."""
        for role in (PLAYERS, JUDGES):
            if jail := self._jails.pop((role, with_numpy), None):
                jail.close()

    def _seconds(self, task: Task) -> float:
        return task.job.timeout or self.limits.cpu_seconds

    def _launch_next(self, take: Callable[[], Task | None]) -> None:
        """Bring tasks into the jails, as many as there may be at a time."""
        while len(self._line) < (1 if self._alone else AHEAD):
            if not self._waiting:
                task = take()
                if task is None:
                    return
                self._waiting.append(task)
            task = self._waiting[0]
            if self._line and (task.apart or task.with_numpy != self._line[0].with_numpy):
                return
            self._waiting.popleft()
            self._launch(task)

    def _launch(self, task: Task) -> None:
        if task.lost == ATTEMPTS:
            task.future.set_result(self._verdict(task.job, model.ERROR, task.trouble))
            return
        try:
            self._start(task.with_numpy)
            seconds = self._seconds(task)
            message = _message(task, seconds)
            ours, theirs = socket.socketpair()
        except (SandboxUnavailable, OSError) as error:
            # Another try, then it is an error of the executor.
            task.lost, task.trouble = task.lost + 1, str(error)
            self._waiting.appendleft(task)
            return
        except Exception as error:
            task.future.set_exception(error)
            return
        self._line.append(task)
        task.deadline = time.monotonic() + wall_limit(seconds) + GRACE_SECONDS
        try:
            with ours, theirs:
                self._jails[JUDGES, task.with_numpy].send(message, ours.fileno())
                self._jails[PLAYERS, task.with_numpy].send(str(seconds).encode(), theirs.fileno())
        except JailLost:
            self._give_back()

    def _land(self) -> None:
        """Wait for the end of the task that is first in line."""
        if not self._line:
            return
        task = self._line[0]
        with_numpy = task.with_numpy
        players, judges = self._jails[PLAYERS, with_numpy], self._jails[JUDGES, with_numpy]
        try:
            ruling, stuck = self._hear(judges, task.deadline)
            ending, frozen = None, stuck
            if not stuck:
                ending, frozen = self._hear(players, time.monotonic() + GRACE_SECONDS)
        except JailLost:
            self._give_back()
            return
        if (stuck or frozen) and len(self._line) > 1:
            self._give_back()
            return
        self._line.popleft()
        self._alone = max(0, self._alone - 1)
        if frozen or not (ruling["clean"] and ending["clean"]):
            self._end(with_numpy)
            if self._line:
                # The next one was in them already.
                self._give_back(charge=False)
        elif self._line:
            limit = wall_limit(self._seconds(self._line[0]))
            self._line[0].deadline = time.monotonic() + limit + GRACE_SECONDS
        try:
            self._decide(task, ruling, ending or {"how": "wall", "cpu": 0.0, "wall": 0.0})
        except Exception as error:
            task.future.set_exception(error)

    def _hear(self, jail: Jail, deadline: float) -> tuple[Any, bool]:
        """A jail's answer, and whether it is stuck. Raises JailLost if it died."""
        try:
            return jail.receive(deadline), False
        except JailLost as lost:
            if not lost.late:
                raise
            return None, True

    def _give_back(self, charge: bool = True) -> None:
        """Take everything out of the jails, which end, to be judged again."""
        if charge and len(self._line) == 1:
            self._line[0].lost += 1
        self._alone = len(self._line)
        self._end(self._line[0].with_numpy)
        self._waiting.extendleft(reversed(self._line))
        self._line.clear()

    def _decide(self, task: Task, ruling: dict[str, Any] | None, ending: dict[str, Any]) -> None:
        """Give a task its result, or another turn."""
        job, seconds = task.job, self._seconds(task)
        if task.outputs:
            self._give_outputs(task, ruling["outputs"] if ruling else "came to no end", ending)
        elif ruling is None:
            reason = "its judge had to be stopped"
            task.future.set_result(self._verdict(job, model.TIMEOUT, reason, ending))
        elif ruling["verdict"] == AGAIN:
            task.apart = True
            self._waiting.append(task)
        else:
            verdict, reason = ruling["verdict"], ruling["reason"]
            if verdict == LOST:
                verdict, reason = _blame(ending["how"], seconds, self.limits)
            elif verdict == model.PASS and ending["cpu"] > seconds:
                verdict, reason = _blame("cpu", seconds, self.limits)
            found = self._verdict(job, verdict, reason, ending, ruling["assertions"])
            task.future.set_result(found)

    def _give_outputs(self, task: Task, found: Any, ending: dict[str, Any]) -> None:
        if isinstance(found, str):
            raise RuntimeError(f"{found} ({ending['how']})")
        # A value that is no data is told from `None`, and no more.
        values = [codec.decode(structure, lambda tag, payload: object()) for structure in found]
        task.future.set_result(values)

    def _verdict(
        self,
        job: Job,
        verdict: str,
        reason: str,
        ending: dict[str, Any] | None = None,
        assertions: int = 0,
    ) -> Verdict:
        ending = ending or {"cpu": 0.0, "wall": 0.0}
        return Verdict(
            id=job.id,
            verdict=verdict,
            reason=_one_line(reason),
            cpu_seconds=round(ending["cpu"], 6),
            wall_seconds=round(ending["wall"], 6),
            assertions=assertions,
            isolation=self.isolation.level,
        )


def _sources(tests: str | Sequence[str]) -> list[str]:
    return [tests] if isinstance(tests, str) else list(tests)


def _message(task: Task, seconds: float) -> bytes:
    """A job as `inside.judges` takes it. Raises ValueError or codec.NotData for a broken one."""
    job = task.job
    if job.calls and not task.outputs and len(job.calls.expected) != len(job.calls.inputs):
        raise ValueError("calls: not as many expected values as inputs")
    return marshal.dumps(
        {
            "code": job.code,
            "tests": _sources(job.tests),
            "setup": job.setup,
            "prefix": job.prefix,
            "calls": _calls(job.calls) if job.calls else None,
            "outputs": task.outputs,
            "cpu_seconds": seconds,
            # Whatever brought the judge down the first time gets one of its own.
            "apart": task.apart or task.lost > 0,
        }
    )


def _calls(calls: Calls) -> dict[str, Any]:
    return {
        "entry_point": calls.entry_point,
        "inputs": [codec.encode(list(arguments)) for arguments in calls.inputs],
        # An object that is no data is equal to nothing.
        "expected": [codec.encode(value, lambda _: {"object": None}) for value in calls.expected],
        "atol": calls.atol,
        "benchmark": calls.benchmark,
    }


def _blame(how: str, seconds: float, limits: Limits) -> tuple[str, str]:
    """Verdict and reason for a sample that did not come to its end."""
    if how == "cpu":
        return model.TIMEOUT, f"more than {seconds:g} s of processor time"
    if how == "wall":
        return model.TIMEOUT, f"no end after {wall_limit(seconds):g} s"
    if how == "memory":
        return model.FAIL, f"more than {limits.memory_bytes >> 20} MiB of memory"
    word, _, number = how.partition(" ")
    if word == "signal":
        return model.FAIL, f"killed by {_signal_name(int(number))}"
    if word == "exit":
        return model.FAIL, f"ended its process with status {number}"
    return model.FAIL, "closed the connection to its judge"


def _signal_name(number: int) -> str:
    return next((s.name for s in signal.Signals if s == number), f"signal {number}")


def _one_line(reason: str) -> str:
    """A reason on one printable line, without the addresses that differ from run to run."""
    line = re.sub(r"\b0x[0-9a-f]{6,}", "0x...", " ".join(reason.split()))
    return "".join(c if c.isprintable() else "?" for c in line)[:REASON_CHARACTERS]
