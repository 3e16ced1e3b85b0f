"""A worker: a jail of players and a jail of judges, and one sample at a time between them."""

import marshal
import re
import signal
import socket
import time
from collections.abc import Sequence
from dataclasses import replace
from typing import Any

from scripts.lib.sandbox import model
from scripts.lib.sandbox.inside import codec
from scripts.lib.sandbox.inside.child import wall_limit
from scripts.lib.sandbox.inside.judges import AGAIN
from scripts.lib.sandbox.inside.players import STOP
from scripts.lib.sandbox.inside.trial import LOST
from scripts.lib.sandbox.jail import Jail, JailLost
from scripts.lib.sandbox.levels import JUDGES, PLAYERS, Isolation, numpy_is_here
from scripts.lib.sandbox.model import Calls, Job, Limits, Verdict

# The first process of a jail keeps the time; beyond that and this, the jail is stuck.
GRACE_SECONDS = 10.0
REASON_CHARACTERS = 300
ATTEMPTS = 2


class Worker:
    """Judges one job at a time. It belongs to the thread that makes it."""

    def __init__(self, isolation: Isolation, limits: Limits) -> None:
        self.isolation = isolation
        self.limits = limits
        # By role and flavour, those with numpy only when the first job wants it.
        self._jails: dict[tuple[str, bool], Jail] = {}
        try:
            self._start(False)
        except BaseException:
            self.close()
            raise

    def judge(self, job: Job) -> Verdict:
        """The verdict on a job. Raises SandboxUnavailable if no jail can be started any more."""
        trouble = ""
        for attempt in range(ATTEMPTS):
            try:
                # Whatever brought the judge down the first time gets one of its own.
                return self._judge(job, apart=attempt > 0)
            except JailLost:
                trouble = "a jail died while it was judged"
        return self._verdict(job, model.ERROR, trouble)

    def outputs(self, job: Job) -> list[Any]:
        """What a function returns for each of a job's calls. Raises RuntimeError if it does not."""
        answer, ending = self._play(job, apart=False)
        found = answer["outputs"] if answer else "came to no end"
        if isinstance(found, str):
            raise RuntimeError(f"{found} ({ending['how']})")
        # A value that is no data is told from `None`, and no more.
        return [codec.decode(structure, lambda tag, payload: object()) for structure in found]

    def facts(self) -> list[dict[str, Any]]:
        """What the first processes of the jails said of themselves."""
        return [jail.facts for jail in self._jails.values()]

    def close(self) -> None:
        """End the jails."""
        while self._jails:
            self._jails.popitem()[1].close()

    def _start(self, with_numpy: bool) -> None:
        """Start the jails of a flavour that are not running."""
        missing = [role for role in (PLAYERS, JUDGES) if (role, with_numpy) not in self._jails]
        for role in missing:
            launch = self.isolation.launch(role, self.limits, with_numpy)
            self._jails[role, with_numpy] = Jail(launch)
        for role in missing:
            self._jails[role, with_numpy].wait_until_ready()

    def _end(self, role: str, with_numpy: bool) -> None:
        self._jails.pop((role, with_numpy)).close()

    def _judge(self, job: Job, apart: bool) -> Verdict:
        ruling, ending = self._play(job, apart)
        if ruling is None:
            return self._verdict(job, model.TIMEOUT, "its judge had to be stopped", ending)
        if ruling["verdict"] == AGAIN:
            return self._judge(job, apart=True)
        verdict, reason = ruling["verdict"], ruling["reason"]
        seconds = job.timeout or self.limits.cpu_seconds
        if verdict == LOST:
            verdict, reason = _blame(ending["how"], seconds, self.limits)
        elif verdict == model.PASS and ending["cpu"] > seconds:
            verdict, reason = _blame("cpu", seconds, self.limits)
        return self._verdict(job, verdict, reason, ending, ruling["assertions"])

    def _play(self, job: Job, apart: bool) -> tuple[dict[str, Any] | None, dict[str, Any]]:
        """The judge's ruling, `None` if it is stuck, and the ending of the sample's process.

        Raises JailLost if a jail died; it is replaced by the next call.
        """
        texts = (job.code, job.setup, job.prefix, *_sources(job.tests))
        with_numpy = numpy_is_here() and any("numpy" in text for text in texts)
        self._start(with_numpy)
        players, judges = self._jails[PLAYERS, with_numpy], self._jails[JUDGES, with_numpy]
        seconds = job.timeout or self.limits.cpu_seconds
        ours, theirs = socket.socketpair()
        started = time.monotonic()
        try:
            with ours, theirs:
                judges.send(_message(job, seconds, apart), ours.fileno())
                players.send(str(seconds).encode(), theirs.fileno())
            deadline = started + wall_limit(seconds) + GRACE_SECONDS
            ruling = None
            try:
                ruling = judges.receive(deadline)
            except JailLost as lost:
                if not lost.late:
                    raise
                self._end(JUDGES, with_numpy)
            players.send(STOP)
            ending = self._ending(players, with_numpy, started)
        except JailLost:
            # The other jail has half of a sample, too.
            self._end(PLAYERS, with_numpy)
            if (JUDGES, with_numpy) in self._jails:
                self._end(JUDGES, with_numpy)
            raise
        if ruling and not ruling["clean"]:
            self._end(JUDGES, with_numpy)
        return ruling, ending

    def _ending(self, players: Jail, with_numpy: bool, started: float) -> dict[str, Any]:
        try:
            ending = players.receive(time.monotonic() + GRACE_SECONDS)
        except JailLost as lost:
            if not lost.late:
                raise
            wall = time.monotonic() - started
            ending = {"how": "wall", "cpu": 0.0, "wall": wall, "clean": False}
        if not ending["clean"]:
            self._end(PLAYERS, with_numpy)
        return ending

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


def _message(job: Job, seconds: float, apart: bool) -> bytes:
    return marshal.dumps(
        {
            "code": job.code,
            "tests": _sources(job.tests),
            "setup": job.setup,
            "prefix": job.prefix,
            "calls": _calls(job.calls),
            "cpu_seconds": seconds,
            "apart": apart,
        }
    )


def _calls(calls: Calls | None) -> dict[str, Any] | None:
    if calls is None:
        return None
    # An object that is no data is equal to nothing.
    expected = [codec.encode(value, lambda _: {"object": None}) for value in calls.expected]
    return {
        "entry_point": calls.entry_point,
        "inputs": [codec.encode(list(arguments)) for arguments in calls.inputs],
        "expected": expected or None,
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


def without_expected(entry_point: str, inputs: Sequence[Sequence[Any]]) -> Calls:
    """Calls of which only the returned values are wanted."""
    return replace(Calls(entry_point, inputs, ()), expected=())
