"""What goes into the sandbox and what comes out of it."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

PASS, FAIL, TIMEOUT, VACUOUS = "pass", "fail", "timeout", "vacuous"
BAD_TESTS, ERROR = "bad_tests", "error"
LONGEST_TIMEOUT = 86_400
VERDICTS = (PASS, FAIL, TIMEOUT, VACUOUS, BAD_TESTS, ERROR)


class SandboxUnavailable(Exception):
    """Untrusted code cannot be isolated here; the message is one line that says what to do."""


@dataclass(frozen=True)
class Limits:
    """What one sample may use.

    cpu_seconds: processor time of all its processes; on the wall it may take four times as much and
        a second more, so that a loaded machine fails nobody.
    memory_bytes: the address space of each process, and the resident memory of all together.
    processes: processes and threads together.
    file_bytes, tmp_bytes: of one file, and of all files in its /tmp.
    """

    cpu_seconds: float = 3.0
    memory_bytes: int = 1 << 30
    processes: int = 24
    file_bytes: int = 16 << 20
    tmp_bytes: int = 64 << 20


@dataclass(frozen=True)
class Calls:
    """Inputs of a function and what it is to return, compared as EvalPlus does.

    entry_point: the function's name. inputs: a list of arguments for each call. expected: what each
    call is to return; the sample's process never has it. atol: absolute tolerance for floats.
    benchmark: `humaneval` or `mbpp` where problems with several right answers have rules of their
    own (see `inside.compare.agrees`).
    """

    entry_point: str
    inputs: Sequence[Sequence[Any]]
    expected: Sequence[Any]
    atol: float = 0.0
    benchmark: str = ""


@dataclass(frozen=True)
class Job:
    """A sample and what it is to be judged by.

    Raises ValueError for fields of another kind.

    code: the sample. It never has the tests in its memory.
    tests: Python sources; the sample's names can be used in them.
    setup: source that is executed before the tests and after the code (MBPP's `test_setup_code`);
        its imports are there for the code, too.
    prefix: trusted source whose helpers the tests use rather than the sample's own ones (the prompt
        of HumanEval).
    timeout: processor seconds, where they are not those of the sandbox's limits.
    calls: in place of tests, inputs and expected values.
    """

    id: Any
    code: str
    tests: str | Sequence[str] = ()
    setup: str = ""
    prefix: str = ""
    timeout: float | None = None
    calls: Calls | None = None

    def __post_init__(self) -> None:
        timeout = 1 if self.timeout is None else self.timeout
        number = isinstance(timeout, (int, float)) and not isinstance(timeout, bool)
        if not number or not 0 < timeout <= LONGEST_TIMEOUT:
            raise ValueError(f"timeout: {timeout!r} is no number of seconds from 0 to a day")
        for name in ("code", "setup", "prefix"):
            if not isinstance(getattr(self, name), str):
                raise ValueError(f"{name}: not a string")
        tests = [self.tests] if isinstance(self.tests, str) else self.tests
        if not isinstance(tests, (list, tuple)) or not all(isinstance(t, str) for t in tests):
            raise ValueError("tests: neither a string nor a list of strings")


@dataclass(frozen=True)
class Verdict:
    """How a job ended.

    verdict: `pass` (every test ran to its end, and something was asserted about the sample),
        `fail` (an assertion does not hold; the code or a function of it raises, crashes, ends its
        process or breaks a limit), `timeout`, `vacuous` (nothing is asserted about the sample),
        `bad_tests` (they do not compile, or fail without the sample) or `error` (of the executor:
        nothing is known about the sample).
    reason: why it did not pass, one line of at most 300 characters; empty if it passed.
    cpu_seconds: processor time of all processes of the sample; that of its tests is not counted.
    wall_seconds: from the start of the sample to its end.
    assertions: how many assertions about the sample held.
    isolation: the level at which the sample was isolated; see `levels`.
    """

    id: Any
    verdict: str
    reason: str
    cpu_seconds: float
    wall_seconds: float
    assertions: int
    isolation: str
