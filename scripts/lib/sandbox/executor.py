"""The pool of workers: judges many jobs at once and gives their verdicts in order."""

import contextlib
import os
import queue
import threading
from collections.abc import Iterable, Iterator, Sequence
from concurrent.futures import Future
from typing import Any

from scripts.lib.errors import UserError
from scripts.lib.sandbox.levels import AUTO, Isolation, candidates, platform_problem
from scripts.lib.sandbox.model import Calls, Job, Limits, SandboxUnavailable, Verdict
from scripts.lib.sandbox.selftest import broken_promise
from scripts.lib.sandbox.settings import SandboxSettings
from scripts.lib.sandbox.worker import Task, Worker

# How often whoever closes an aborted sandbox ends what its workers have started in the meantime.
AGAIN_SECONDS = 0.2
# Jobs taken ahead of the verdict that is waited for, by worker: enough that no worker runs out
# of them while one of them takes its time, few enough for large sources.
JOBS_AHEAD = 48


class SandboxAborted(RuntimeError):
    """Nothing is judged any more: somebody has aborted the sandbox."""


class Sandbox:
    """Judges samples of untrusted code; a context manager, whose methods any thread may call.

    level: how samples are isolated (see `levels`): `auto` is the best of `full` and `no-netns` that
        works here. accept_risk: has to be true for `none`.

    Raises SandboxUnavailable if samples cannot be isolated in that way, which every worker tries
    out by attacking its own jails first.

    What a pass does NOT mean: that the tests are good, or that what they do not test is right.
    Tests of the same origin as the code may be written for each other. The kernel itself is exposed
    to the calls that the filter lets through.
    """

    def __init__(
        self,
        workers: int | None = None,
        level: str = AUTO,
        limits: Limits | None = None,
        accept_risk: bool = False,
    ) -> None:
        if problem := platform_problem():
            raise SandboxUnavailable(problem)
        self._limits = limits or Limits()
        self._size = workers or os.cpu_count() or 1
        self._tasks: queue.SimpleQueue[Task | None] = queue.SimpleQueue()
        self._threads: list[threading.Thread] = []
        self._workers: list[Worker] = []
        # A task is taken only where somebody is left to judge it.
        self._lock = threading.Lock()
        self._aborted = False
        problems = []
        for candidate in candidates(level, accept_risk):
            problem = candidate if isinstance(candidate, str) else self._open(candidate)
            if not problem:
                return
            problems.append(problem)
        found = "; ".join(dict.fromkeys(problems))
        raise SandboxUnavailable(
            f"cannot isolate untrusted code: {found} (docs/sandbox.md names what else there is)"
        )

    def _open(self, isolation: Isolation) -> str:
        """Start the workers; the reason if one of them cannot work."""
        # What is left in it by workers that could not work is not for others.
        self._tasks = queue.SimpleQueue()
        started: list[Future] = [Future() for _ in range(self._size)]
        self._threads = [
            threading.Thread(target=self._work, args=(isolation, ready), daemon=True)
            for ready in started
        ]
        for thread in self._threads:
            thread.start()
        try:
            problems = [problem for ready in started if (problem := ready.result())]
        except BaseException:
            self.close()
            raise
        if problems:
            self.close()
            return problems[0]
        self._isolation = isolation
        return ""

    def _work(self, isolation: Isolation, ready: Future) -> None:
        """The life of a worker, in a thread of its own: a jail dies with the thread it is from."""
        worker = None
        try:
            worker = Worker(isolation, self._limits)
            self._workers.append(worker)
            problem = broken_promise(worker.judge, worker.facts(), isolation.level, self._limits)
            if problem:
                problem = f"{isolation.description} does not isolate here: {problem}"
            ready.set_result(problem)
            if not problem:
                worker.serve(self._tasks, self._size)
        except SandboxUnavailable as error:
            ready.set_result(str(error))
        except BaseException as error:
            if not ready.done():
                ready.set_exception(error)
        finally:
            if worker:
                worker.close()

    @property
    def level(self) -> str:
        """How samples are isolated; see `levels`."""
        return self._isolation.level

    @property
    def description(self) -> str:
        """What isolates the samples, for the rows of a result."""
        return f"{self._isolation.level}: {self._isolation.description}"

    def run(self, job: Job) -> Verdict:
        """The verdict on one job."""
        return self._submit(job).result()

    def judge(self, jobs: Iterable[Job | Verdict]) -> Iterator[Verdict]:
        """The verdicts on jobs in their order, each as soon as it and all before it are known.

        Jobs are taken from the iterable in a thread of its own, as workers get free: who makes them
        may wait for the verdict on one before giving the next. A verdict among them stays in place.
        """
        ahead = threading.Semaphore(JOBS_AHEAD * self._size)
        waiting: queue.SimpleQueue[Future | None] = queue.SimpleQueue()
        failure: list[BaseException] = []
        wanted = True

        def take() -> None:
            try:
                for job in jobs:
                    ahead.acquire()
                    if not wanted:
                        return
                    waiting.put(self._given(job))
            except BaseException as error:
                failure.append(error)
            finally:
                waiting.put(None)

        threading.Thread(target=take, daemon=True).start()
        try:
            while (future := waiting.get()) is not None:
                yield future.result()
                ahead.release()
        finally:
            # Whoever stops asking leaves nobody waiting.
            wanted = False
            ahead.release()
        if failure:
            raise failure[0]

    def _given(self, job: Job | Verdict) -> Future:
        if isinstance(job, Job):
            return self._submit(job)
        known: Future = Future()
        known.set_result(job)
        return known

    def outputs(
        self,
        code: str,
        entry_point: str,
        inputs: Sequence[Sequence[Any]],
        timeout: float | None = None,
    ) -> list[Any]:
        """What a function returns for each input, as plain data: expected values of a reference.

        Raises RuntimeError if the code or a call of the function fails, and SandboxAborted where
        that says nothing of them.
        """
        job = Job("outputs", code, timeout=timeout, calls=Calls(entry_point, inputs, ()))
        try:
            return self._submit(job, outputs=True).result()
        except RuntimeError as error:
            if self._aborted:
                raise SandboxAborted(str(error)) from error
            raise

    def _submit(self, job: Job, outputs: bool = False) -> Future:
        task = Task(job, Future(), outputs)
        with self._lock:
            if self._aborted:
                raise SandboxAborted("the sandbox was aborted")
            if not self._threads:
                raise RuntimeError("the sandbox is closed")
            self._tasks.put(task)
        return task.future

    def abort(self) -> None:
        """Judge nothing more: who waits for a verdict, or asks for one, gets a RuntimeError.

        To be closed, too.
        """
        with self._lock:
            self._aborted = True
        with contextlib.suppress(queue.Empty):
            while True:
                if task := self._tasks.get_nowait():
                    task.future.set_exception(SandboxAborted("the sandbox was aborted"))
        # Whoever waits for a task is to stop, too.
        for _ in range(self._size):
            self._tasks.put(None)
        self._stop_workers()

    def _stop_workers(self) -> None:
        for worker in list(self._workers):
            # A jail that ends at this moment has no descriptors any more.
            with contextlib.suppress(OSError):
                worker.abort()

    def close(self) -> None:
        """End all workers and their jails, once they have come to the end of their samples.

        Of an aborted sandbox nobody waits for a sample, nor for a jail that was just starting.
        """
        with self._lock:
            threads, self._threads = self._threads, []
            for _ in threads:
                self._tasks.put(None)
        for thread in threads:
            while thread.is_alive():
                thread.join(AGAIN_SECONDS if self._aborted else None)
                if self._aborted:
                    self._stop_workers()
        self._workers = []

    def __enter__(self) -> "Sandbox":
        return self

    def __exit__(self, kind: type | None, *_: object) -> None:
        if kind:
            # Whoever leaves by an exception, Ctrl-C for one, waits for no sample.
            self.abort()
        self.close()


def open_sandbox(settings: SandboxSettings) -> Sandbox:
    """A sandbox by a step's settings.

    Raises `UserError` where code cannot be isolated in that way.
    """
    limits = Limits(cpu_seconds=settings.timeout, memory_bytes=settings.memory_mb << 20)
    try:
        return Sandbox(settings.workers, settings.sandbox_level, limits, settings.accept_risk)
    except SandboxUnavailable as error:
        raise UserError(f"model-written code is not run without a sandbox: {error}") from error
