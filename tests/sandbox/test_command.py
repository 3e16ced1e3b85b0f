"""The command: jobs on its standard input, verdicts on its standard output."""

import json
import os
import select
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import pytest

from tests.sandbox.conftest import COMMAND, ROOT

pytestmark = pytest.mark.usefixtures("bwrap")

PASSING = {"code": "def f(x): return x + 1", "tests": "assert f(1) == 2"}
FIELDS = ["id", "verdict", "reason", "cpu_seconds", "wall_seconds", "assertions", "isolation"]
PATIENCE = 20


def line_of(number: Any, **fields: Any) -> str:
    """The line of a job that passes, unless `fields` say otherwise."""
    return json.dumps({"id": number, **PASSING, **fields}) + "\n"


def run(text: str | bytes, *options: str) -> tuple[int, list[dict[str, Any]], str]:
    """Exit status, verdicts and messages of the command."""
    data = text if isinstance(text, bytes) else text.encode()
    answer = subprocess.run(
        [*COMMAND, "--workers", "2", *options], input=data, capture_output=True, cwd=ROOT,
        timeout=PATIENCE,
    )  # fmt: skip
    verdicts = [json.loads(line) for line in answer.stdout.splitlines()]
    return answer.returncode, verdicts, answer.stderr.decode()


@contextmanager
def started(**settings: Any) -> Iterator[subprocess.Popen[bytes]]:
    """The command, with pipes; killed in the end."""
    pipes = dict.fromkeys(("stdin", "stdout", "stderr"), subprocess.PIPE)
    command = [*COMMAND, "--workers", "2"]
    with subprocess.Popen(command, cwd=ROOT, bufsize=0, **{**pipes, **settings}) as process:
        try:
            yield process
        finally:
            process.kill()


def next_line(process: subprocess.Popen[bytes]) -> dict[str, Any]:
    """The next verdict; fails where it does not come."""
    assert process.stdout
    line = b""
    while not line.endswith(b"\n"):
        assert select.select([process.stdout], [], [], PATIENCE)[0], "no verdict comes"
        part = process.stdout.read(1 << 16)
        assert part, "the command has ended"
        line += part
    return json.loads(line)


def test_verdicts_come_in_the_order_of_jobs() -> None:
    """A slow job first: the quick ones behind it wait for their turn in the output."""
    slow = "import time\ntime.sleep(0.4)\ndef f(x): return x + 1"
    jobs = line_of("slow", code=slow) + "".join(line_of(number) for number in range(30))
    status, verdicts, messages = run(jobs)
    assert (status, messages) == (0, "")
    assert [verdict["id"] for verdict in verdicts] == ["slow", *range(30)]
    assert all(list(verdict) == FIELDS for verdict in verdicts)
    assert {verdict["verdict"] for verdict in verdicts} == {"pass"}


def test_job_by_job() -> None:
    """Who writes one job and waits for its verdict before the next gets it at once."""
    with started() as process:
        assert process.stdin
        for number in range(20):
            process.stdin.write(line_of(number).encode())
            assert next_line(process)["id"] == number
        process.stdin.close()
        assert process.wait(PATIENCE) == 0


def test_a_job_in_pieces() -> None:
    """A line is a job when it is complete, however it arrives; the last one may lack its end."""
    data = (line_of("ä") + line_of("two").rstrip("\n")).encode()
    with started() as process:
        assert process.stdin
        for at in range(0, len(data), 7):
            process.stdin.write(data[at : at + 7])
        process.stdin.close()
        assert process.stdout
        output = process.stdout.read()
        assert process.wait(PATIENCE) == 0
    assert [json.loads(line)["id"] for line in output.splitlines()] == ["ä", "two"]


def test_fields_of_a_job() -> None:
    """Every field of a job has its effect."""
    lines = [
        line_of(
            1, setup="from math import inf", tests=["assert f(inf) == inf", "assert f(1) == 2"]
        ),
        line_of(2, prefix="def helper(): return 2", tests="for _ in [1]: assert f(1) == helper()"),
        line_of(3, code="def f(x):\n    while True: pass", timeout=0.1),
        line_of({"any": ["JSON", None]}, setup=None, timeout=None, prefix=None),
        line_of(None, code="def f(x): return 3"),
        line_of(5, tests=None),
        line_of(6, tests=[]),
    ]
    status, verdicts, messages = run("".join(lines))
    assert (status, messages) == (0, "")
    found = [(verdict["id"], verdict["verdict"]) for verdict in verdicts]
    assert found == [
        (1, "pass"), (2, "pass"), (3, "timeout"), ({"any": ["JSON", None]}, "pass"), (None, "fail"),
        (5, "vacuous"), (6, "vacuous"),
    ]  # fmt: skip


BROKEN = {
    "not JSON": "{broken",
    "a number": "17",
    "a list": "[]",
    "no keys": "{}",
    "no id": json.dumps(PASSING),
    "no code": json.dumps({"id": 1, "tests": ""}),
    "no tests": json.dumps({"id": 1, "code": ""}),
    "unknown key": line_of(1, test="assert f(1) == 2"),
    "code is a number": line_of(1, code=3),
    "code is a list": line_of(1, code=["x"]),
    "tests is a number": line_of(1, tests=3),
    "tests is an object": line_of(1, tests={}),
    "a test is a number": line_of(1, tests=["assert f(1) == 2", 3]),
    "setup is a number": line_of(1, setup=3),
    "setup is false": line_of(1, setup=False),
    "code is false": line_of(1, code=False),
    "tests is zero": line_of(1, tests=0),
    "timeout is a text": line_of(1, timeout="3"),
    "timeout is zero": line_of(1, timeout=0),
    "timeout is negative": line_of(1, timeout=-1),
    "timeout is true": line_of(1, timeout=True),
    "timeout is infinite": line_of(1, timeout=float("inf")),
    "timeout is not a number": line_of(1, timeout=float("nan")),
    "timeout is beyond floats": line_of(1).replace("}", ', "timeout": 1' + "0" * 400 + "}"),
    "timeout is beyond clocks": line_of(1, timeout=1e300),
    "deeply nested": "[" * 100_000,
    "an id nested deeply": '{"id": ' + "[" * 2000 + "]" * 2000 + ', "code": "", "tests": ""}',
    "a number of too many digits": '{"id": 1' + "0" * 5000 + ', "code": "", "tests": ""}',
    "a bare NUL": "\0",
    "no UTF-8": b'{"id": "\xff", "code": 1}',
}


@pytest.fixture(scope="module")
def broken() -> tuple[int, list[dict[str, Any]], str, list[int]]:
    """What the command says to all broken lines, each between two good ones, and their numbers."""
    data, numbers, number = line_of("first").encode(), [], 1
    for line in BROKEN.values():
        text = line.encode() if isinstance(line, str) else line
        data += text.rstrip(b"\n") + b"\n\n" + line_of("good").encode()
        numbers.append(number + 1)
        number += 3
    return *run(data), numbers


@pytest.mark.parametrize("at", range(len(BROKEN)), ids=list(BROKEN))
def test_broken_lines(broken: tuple[int, list[dict[str, Any]], str, list[int]], at: int) -> None:
    """A line that is no job gets the verdict `error` with its number, and stops no other."""
    _, verdicts, messages, numbers = broken
    assert messages == ""
    assert len(verdicts) == 1 + 2 * len(BROKEN)
    found, next_one = verdicts[1 + 2 * at : 3 + 2 * at]
    assert found["verdict"] == "error", found
    assert f"line {numbers[at]}: " in found["reason"]
    assert found["reason"].isprintable() and len(found["reason"]) <= 300
    assert (next_one["id"], next_one["verdict"]) == ("good", "pass")


def test_a_broken_line_is_an_exit_status(
    broken: tuple[int, list[dict[str, Any]], str, list[int]],
) -> None:
    """The exit status says that something was no job."""
    assert broken[0] == 1


ODD = {
    "lone surrogate": ({"code": "x = '\ud800'\ndef f(x): return x + 1"}, {"fail", "pass"}),
    "lone surrogate in tests": ({"tests": "assert f(1) == '\ud800'"}, {"bad_tests", "fail"}),
    "NUL in the code": ({"code": "x = '\0'"}, {"fail"}),
    "NUL in the tests": ({"tests": "assert f(1) == 2\0"}, {"bad_tests"}),
    "empty code": ({"code": ""}, {"fail"}),
    "10 MB of code": ({"code": "#" * 10_000_000 + "\n" + PASSING["code"]}, {"pass"}),
    "10 MB of tests": ({"tests": "#" * 10_000_000 + "\n" + PASSING["tests"]}, {"pass"}),
    "a surrogate as id": ({"id": "\udcff"}, {"pass"}),
    "much time": ({"timeout": 86400}, {"pass"}),
    "little time": ({"code": "def f(x):\n    while True: pass", "timeout": 1e-9}, {"timeout"}),
}


def test_odd_jobs_are_judged() -> None:
    """Sources that Python does not take are the fault of the sample or the tests."""
    status, verdicts, messages = run("".join(line_of("odd", **odd) for odd, _ in ODD.values()))
    assert (status, messages) == (0, "")
    wrong = {
        name: verdict
        for (name, (_, right)), verdict in zip(ODD.items(), verdicts, strict=True)
        if verdict["verdict"] not in right
    }
    assert not wrong


@pytest.mark.parametrize("text", ["", "\n", " \n\t\n\r\n"])
def test_no_jobs(text: str) -> None:
    """No input is no fault."""
    assert run(text) == (0, [], "")


@pytest.mark.parametrize(
    ("options", "part"),
    [
        (["--workers", "0"], "at least 1"),
        (["--workers", "-3"], "at least 1"),
        (["--workers", "two"], "invalid int"),
        (["--level", "fully"], "invalid choice"),
        (["--level", "none"], "--accept-risk"),
        (["--memory-mb", "0"], "memory"),
        (["--memory-mb", "-1"], "memory"),
        (["jobs.jsonl"], "unrecognized"),
    ],
    ids=str,
)
def test_wrong_options(options: list[str], part: str) -> None:
    """A wrong option is one clear line at the end, no traceback, and no verdict."""
    status, verdicts, messages = run(line_of(1), *options)
    assert status != 0 and verdicts == []
    assert part in messages.splitlines()[-1]
    assert "Traceback" not in messages


def test_closed_output() -> None:
    """A reader that goes away ends the command, even while jobs keep coming."""
    with started() as process:
        assert process.stdin and process.stdout and process.stderr
        process.stdin.write(line_of(1).encode())
        next_line(process)
        process.stdout.close()
        try:
            for number in range(200):
                process.stdin.write(line_of(number).encode())
            process.stdin.close()
        except BrokenPipeError:
            pass
        assert process.wait(PATIENCE) != 0
        messages = process.stderr.read()
    assert b"Exception ignored" not in messages and b"Fatal" not in messages, messages


def test_no_input_at_all() -> None:
    """A closed standard input is an empty one."""
    with started(stdin=subprocess.DEVNULL) as process:
        assert process.wait(PATIENCE) == 0


def test_output_in_an_odd_locale() -> None:
    """Verdicts are ASCII, whatever the terminal takes."""
    environment = {**os.environ, "LC_ALL": "C", "PYTHONIOENCODING": "ascii", "PYTHONUTF8": "0"}
    reason = line_of("ä😀", tests="assert f('ß') == 'ü'")
    answer = subprocess.run(
        [*COMMAND, "--workers", "1"], input=reason.encode(), capture_output=True, cwd=ROOT,
        env=environment, timeout=PATIENCE,
    )  # fmt: skip
    assert json.loads(answer.stdout.decode("ascii"))["id"] == "ä😀", answer.stderr
