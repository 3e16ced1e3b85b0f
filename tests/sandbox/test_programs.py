"""Hostile and honest programs: each gets exactly the verdict that it deserves."""

import json
import os
from collections.abc import Iterator
from dataclasses import asdict

import pytest

from scripts.lib.sandbox import Sandbox, Verdict
from scripts.lib.sandbox.levels import numpy_is_here
from tests.sandbox.attacks import ATTACKS
from tests.sandbox.benign import BENIGN
from tests.sandbox.conftest import ORDINARY_UID, SECRET_VARIABLE, Host, OrdinaryUser, needs_numpy
from tests.sandbox.found import FOUND
from tests.sandbox.programs import Program

PROGRAMS = [p for p in (*ATTACKS, *BENIGN, *FOUND) if numpy_is_here() or not needs_numpy(p)]


@pytest.fixture(scope="session")
def verdicts(sandbox: Sandbox, host: Host) -> dict[str, Verdict]:
    """The verdicts on all programs, judged in one pass, by the programs' names."""
    judged = sandbox.judge([host.fill(program) for program in PROGRAMS])
    return {verdict.id: verdict for verdict in judged}


def test_names_are_unique() -> None:
    """Two programs of the same name would hide each other's verdict."""
    assert len({program.name for program in PROGRAMS}) == len(PROGRAMS)


@pytest.mark.parametrize("program", PROGRAMS, ids=lambda program: program.name)
def test_verdict(verdicts: dict[str, Verdict], program: Program) -> None:
    """A program gets the verdict that it must get."""
    found = verdicts[program.name]
    assert found.verdict == program.verdict, found.reason


def assert_sound(verdict: Verdict, program: Program, level: str) -> None:
    """Fail if a field of a verdict says what cannot be."""
    assert verdict.verdict != "error", verdict.reason
    assert verdict.isolation == level
    assert (verdict.reason == "") == (verdict.verdict == "pass")
    assert verdict.reason.isprintable() and len(verdict.reason) <= 300
    assert verdict.assertions > 0 or verdict.verdict != "pass"
    assert verdict.assertions >= 0
    # What cannot be: more time than the limits leave, with what a stuck jail is granted.
    seconds = program.timeout or 3.0
    assert 0 <= verdict.cpu_seconds <= 24 * (4 * seconds + 1)
    assert 0 <= verdict.wall_seconds < 4 * seconds + 1 + 12


def test_verdicts_are_sound(verdicts: dict[str, Verdict], sandbox: Sandbox) -> None:
    """No program is the executor's fault, and every field of its verdict says what can be."""
    assert list(verdicts) == [program.name for program in PROGRAMS]
    for program in PROGRAMS:
        assert_sound(verdicts[program.name], program, sandbox.level)


def test_nothing_was_touched(verdicts: dict[str, Verdict], host: Host) -> None:
    """After all attacks the host is as it was."""
    assert verdicts
    host.assert_untouched()


@pytest.fixture
def other_host() -> Iterator[Host]:
    """A host whose victim and files belong to the ordinary user."""
    made = Host(ORDINARY_UID if os.geteuid() == 0 else os.geteuid())
    yield made
    made.close()


def test_ordinary_user(ordinary_user: OrdinaryUser, other_host: Host) -> None:
    """The same programs get the same verdicts from the command of a user without rights."""
    programs = [program for program in PROGRAMS if not needs_numpy(program)]
    jobs = []
    for program in programs:
        job = asdict(other_host.fill(program))
        jobs.append({key: job[key] for key in ("id", "code", "tests", "setup", "timeout")})
    secret = {SECRET_VARIABLE: other_host.secret}
    with ordinary_user.start("--workers", "2", environment=secret) as process:
        output, messages = process.communicate("".join(json.dumps(job) + "\n" for job in jobs))
    assert (process.returncode, messages) == (0, "")
    found = [Verdict(**json.loads(line)) for line in output.splitlines()]
    assert [verdict.id for verdict in found] == [program.name for program in programs]
    wrong = [
        (program.name, program.verdict, verdict.verdict, verdict.reason)
        for program, verdict in zip(programs, found, strict=True)
        if verdict.verdict != program.verdict
    ]
    assert not wrong
    for program, verdict in zip(programs, found, strict=True):
        assert_sound(verdict, program, "full")
    other_host.assert_untouched()
