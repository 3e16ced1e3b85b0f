"""What goes into the sandbox and what comes out of it."""

from dataclasses import dataclass

from scripts.lib.errors import UserError

PASSED, FAILED, ERROR, TIMEOUT = "passed", "failed", "error", "timeout"


@dataclass(frozen=True)
class Limits:
    """What one sample may use.

    The limits on memory and on the size of a file hold for each process of the sample; the number
    of processes counts threads too and holds for all of the sample. (On kernels before 5.14 an
    ordinary user's processes outside of the sandbox are counted with them.)
    """

    wall_seconds: float = 5.0
    memory_bytes: int = 1 << 30
    processes: int = 24
    file_bytes: int = 16 << 20
    tmp_bytes: int = 64 << 20


@dataclass(frozen=True)
class Execution:
    """How the execution of one sample ended.

    verdict: `passed` (the code and every test ran to its end), `failed` (a test raised an
        AssertionError), `error` (another exception, a syntax error, an early exit, a process
        killed by a limit) or `timeout`.
    detail: why it did not pass, one line of at most 300 characters; empty if it passed.
    seconds: wall-clock time of the sample, without the start of the sandbox.
    """

    verdict: str
    detail: str
    seconds: float


class SandboxUnavailable(UserError):
    """Untrusted code cannot be isolated here; the message is one line that says what to do."""
