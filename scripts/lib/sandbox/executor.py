"""Starts a jail for each sample and reads the verdict that comes out of it."""

import itertools
import marshal
import re
import secrets
import signal
import subprocess
import time

from scripts.lib.sandbox.bubblewrap import (
    ENABLE,
    ENVIRONMENT,
    FIRST_ROOT_UID,
    INSTALL,
    NOBODY,
    ROOT_UIDS,
    Bubblewrap,
    can_drop_root,
    command_line,
    find_binaries,
    inspect_binary,
    last_line,
)
from scripts.lib.sandbox.model import (
    ERROR,
    FAILED,
    PASSED,
    TIMEOUT,
    Execution,
    Limits,
    SandboxUnavailable,
)
from scripts.lib.sandbox.runner import NONCE_BYTES, READY
from scripts.lib.sandbox.selftest import failed_promise

# The jail keeps the time by itself; this is for its start, and for a jail that hangs.
GRACE_SECONDS = 20.0
DETAIL_CHARACTERS = 300


class Sandbox:
    """Executes samples of untrusted code, each in a jail of its own. Get one by `open_sandbox`.

    description: what isolates the samples, for the rows of a result.
    """

    def __init__(self, bwrap: Bubblewrap) -> None:
        self._bwrap = bwrap
        self._as_root = can_drop_root()
        # Parallel jails need different users; a random start keeps parallel steps apart as well.
        self._numbers = itertools.count(secrets.randbelow(ROOT_UIDS))
        namespaces, uid = (
            ("pid net ipc uts", f"{FIRST_ROOT_UID}-{FIRST_ROOT_UID + ROOT_UIDS - 1}")
            if self._as_root
            else ("user pid net ipc uts", str(NOBODY))
        )
        self.description = f"bubblewrap {bwrap.version}, namespaces: {namespaces}, uid {uid}"

    def run(self, code: str, tests: list[str], limits: Limits) -> Execution:
        """Execute `code`, then each test in the same fresh namespace. Safe to call from threads.

        `__name__` is not "__main__". The sample sees no network, no file of the host but the
        standard library and the system's, none of our environment, and no earlier sample.

        Passed means that the interpreter executed the last test to its end: the exit status, the
        sample's output, `sys.exit(0)`, `os._exit(0)` and a fork cannot say so. The report carries a
        random nonce which is in no variable while the sample runs.

        It does NOT mean that the tests were honest. Code and tests share an interpreter, so that
        code can still forge a pass: with an object that is equal to everything, by changing what
        the tests use, or by looking for the nonce or the pending tests in the interpreter's memory.
        Tests that assert nothing pass. Memory is limited for each process, not for all of a sample.
        The kernel itself is exposed: no filter of system calls stands before it.

        Raises SandboxUnavailable if the jail did not start or was killed from outside; that is
        never a verdict.
        """
        root_uid = FIRST_ROOT_UID + next(self._numbers) % ROOT_UIDS if self._as_root else None
        nonce = secrets.token_hex(NONCE_BYTES // 2).encode()
        started = time.monotonic()
        with subprocess.Popen(
            command_line(self._bwrap, limits, root_uid),
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            env=ENVIRONMENT,
            cwd="/",
            # Ctrl-C is for us: a sample that is running ends by itself, with its true verdict.
            start_new_session=True,
        ) as process:
            try:
                output, messages = process.communicate(
                    nonce + marshal.dumps((code, tuple(tests))), limits.wall_seconds + GRACE_SECONDS
                )
            except subprocess.TimeoutExpired as expired:
                if not (expired.stdout or b"").startswith(READY):
                    raise SandboxUnavailable(
                        f"a jail did not start within {GRACE_SECONDS:g} s: the machine is too busy"
                    ) from None
                return _timeout(limits, time.monotonic() - started)
            finally:
                # Nothing to do after a normal end; --die-with-parent takes the jail down with it.
                process.kill()
        if not output.startswith(READY) or process.returncode < 0:
            raise _unavailable(process.returncode, messages)
        return _verdict(output.removeprefix(READY), nonce, limits, time.monotonic() - started)


def open_sandbox() -> Sandbox:
    """A sandbox that has just proved that it isolates.

    Raises SandboxUnavailable if there is no bubblewrap, if the kernel does not let it work or if
    the self-test finds a hole. There is no mode without isolation.
    """
    problems = []
    for path in find_binaries():
        try:
            sandbox = Sandbox(inspect_binary(path))
            problem = failed_promise(sandbox.run)
            if problem is None:
                return sandbox
            problems.append(f"{path} does not isolate here: {problem}")
        except SandboxUnavailable as error:
            problems.append(str(error))
    found = "; ".join(dict.fromkeys(problems)) or f"bubblewrap (bwrap) was not found; {INSTALL}"
    raise SandboxUnavailable(f"cannot isolate untrusted code: {found}")


def _unavailable(status: int, messages: bytes) -> SandboxUnavailable:
    if status < 0:
        return SandboxUnavailable(f"the sandbox was killed from outside by {_signal_name(-status)}")
    reason = last_line(messages.decode(errors="replace"))
    return SandboxUnavailable(f"the jail does not start ({reason}); {ENABLE}")


def _timeout(limits: Limits, seconds: float) -> Execution:
    return Execution(TIMEOUT, f"no result after {limits.wall_seconds:g} s", seconds)


def _verdict(output: bytes, nonce: bytes, limits: Limits, elapsed: float) -> Execution:
    """Read `SECONDS HOW\\n[NONCE VERDICT DETAIL]`, the last words of the runner."""
    status, _, report = output.partition(b"\n")
    if not status:
        # Only running out of memory, or a sample that tampers with its limits, can do that.
        return Execution(ERROR, "the first process of the jail was killed", elapsed)
    seconds, how, *number = status.decode().split()
    if how == "timeout" or (how == "signal" and int(number[0]) == signal.SIGXCPU):
        return _timeout(limits, float(seconds))
    verdict, _, detail = report.removeprefix(nonce).decode(errors="replace").partition(" ")
    if report.startswith(nonce) and verdict in (PASSED, FAILED, ERROR):
        return Execution(verdict, _one_line(detail), float(seconds))
    if how == "signal":
        return Execution(ERROR, f"killed by {_signal_name(int(number[0]))}", float(seconds))
    return Execution(ERROR, f"exited early with status {number[0]}", float(seconds))


def _signal_name(number: int) -> str:
    return next((s.name for s in signal.Signals if s == number), f"signal {number}")


def _one_line(detail: str) -> str:
    """A detail on one printable line, without the addresses that differ from run to run."""
    line = re.sub(r"\b0x[0-9a-f]{6,}", "0x...", " ".join(detail.split()))
    return "".join(c if c.isprintable() else "?" for c in line)[:DETAIL_CHARACTERS]
