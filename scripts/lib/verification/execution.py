"""Verification of code by executing it: by a reply's own tests, or by all replies' tests.

Agreement is the dual execution agreement of CodeT (Chen et al., arXiv 2207.10397): every solution
runs against every reply's tests, solutions that pass the same tests form a consensus set, and the
set with the largest product of solutions and tests wins.
"""

import ast
from collections import Counter
from collections.abc import Callable

from scripts.lib.records import Label
from scripts.lib.tasks.code import nothing_proved, real_tests
from scripts.lib.verification.outcome import PASSED, Outcome

# Executes a label's solution with tests: a verdict and its detail, as the sandbox gives them.
Run = Callable[[Label, list[str]], tuple[str, str]]

# The functions of a label's solution that its tests have to call.
FunctionsOf = Callable[[Label], set[str]]

# A reply's tests that prove something, written for the function `_CANDIDATE`, in order.
Suite = tuple[str, ...]

# A test's function under a name that no reply gives it, so that tests of differently named
# solutions can be compared.
_CANDIDATE = "__candidate__"


def by_own_tests(label: Label, run: Run, functions_of: FunctionsOf) -> Outcome:
    """The outcome of a reply's solution on those of its own tests that prove something.

    `vacuous` where none does; else the sandbox's verdict.
    """
    functions = functions_of(label)
    tests = real_tests(functions, label.tests)
    if not tests:
        return Outcome("vacuous", nothing_proved(functions, label.tests))
    verdict, detail = run(label, list(tests))
    if verdict != PASSED:
        return Outcome(verdict, detail)
    return Outcome(PASSED, support=1, tests=tests)


def by_agreement(
    labels: list[Label], run: Run, functions_of: FunctionsOf, support: int
) -> list[Outcome]:
    """The outcomes of an instruction's replies under dual execution agreement.

    A reply stands behind a solution when the solution passes all of the reply's tests; a reply
    whose tests another one has too adds nothing and does not count. The first solution of the
    winning consensus set passes when at least `support` replies stand behind it, its own one
    included. Other verdicts: `vacuous` (a reply whose solution is called by none of its tests),
    `disagreement` (another set won), `surplus` (another solution of the same set is kept) and
    `unsupported`.
    """
    entries = [_entry_point(label, functions_of(label)) for label in labels]
    suites = [_suite(label, entry) for label, entry in zip(labels, entries, strict=True)]
    passed = [
        _passed_tests(label, entry, suites, run) if entry else frozenset()
        for label, entry in zip(labels, entries, strict=True)
    ]
    sets = Counter(passing for passing in passed if passing)
    if not sets:
        return [_loser(entry, "failed", "passes no test of any reply") for entry in entries]
    # The first of equals is the set of the earliest reply.
    winner = max(sets, key=lambda passing: (sets[passing] * len(passing), sets[passing]))
    behind = _independent([frozenset(suite) for suite in suites if winner.issuperset(suite)])
    first = passed.index(winner)
    outcomes = []
    for at, (entry, passing) in enumerate(zip(entries, passed, strict=True)):
        if passing != winner:
            detail = f"passes {len(passing)} tests, the widest agreement {len(winner)}"
            outcomes.append(_loser(entry, "disagreement", detail))
        elif behind < support:
            detail = f"{behind} replies with tests of their own agree, {support} are asked for"
            outcomes.append(Outcome("unsupported", detail, behind))
        elif at != first:
            outcomes.append(Outcome("surplus", "an equal solution is kept", behind))
        else:
            tests = _kept_tests(suites[at], suites, winner)
            renamed = tuple(_renamed(test, _CANDIDATE, entry) for test in tests)
            outcomes.append(Outcome(PASSED, support=behind, tests=renamed))
    return outcomes


def _loser(entry: str, verdict: str, detail: str) -> Outcome:
    return Outcome(verdict, detail) if entry else Outcome("vacuous", "no test calls the solution")


def _independent(suites: list[frozenset[str]]) -> int:
    """How many different suites of tests there are that are no part of another one."""
    different = {suite for suite in suites if suite}
    return sum(not any(suite < other for other in different) for suite in different)


def _entry_point(label: Label, functions: set[str]) -> str:
    """The one of the functions that most of a reply's tests call, empty where none calls any."""
    calls = Counter(
        name
        for test in label.tests
        for name in {node.id for node in ast.walk(ast.parse(test)) if isinstance(node, ast.Name)}
        if name in functions
    )
    return max(calls, key=lambda name: (calls[name], name)) if calls else ""


def _suite(label: Label, entry: str) -> Suite:
    """A reply's tests about its entry point, in canonical form and order."""
    real = {
        _renamed(test, entry, _CANDIDATE)
        for test in label.tests
        if entry and not nothing_proved({entry}, [test])
    }
    return tuple(sorted(test for test in real if _CANDIDATE in test))


def _renamed(test: str, old: str, new: str) -> str:
    tree = ast.parse(test)
    for node in ast.walk(tree):
        if isinstance(node, ast.Name) and node.id == old:
            node.id = new
    return ast.unparse(tree)


def _passed_tests(label: Label, entry: str, suites: list[Suite], run: Run) -> frozenset[str]:
    """The tests of all replies that a solution passes."""

    def passes(tests: Suite) -> bool:
        return run(label, [_renamed(test, _CANDIDATE, entry) for test in tests])[0] == PASSED

    passed: set[str] = set()
    for suite in dict.fromkeys(suite for suite in suites if suite):
        # Most suites pass as a whole, which one execution shows.
        if passes(suite):
            passed.update(suite)
        elif len(suite) > 1:
            passed.update(test for test in suite if test not in passed and passes((test,)))
    return frozenset(passed)


def _kept_tests(own: Suite, suites: list[Suite], winner: frozenset[str]) -> list[str]:
    """All tests of the consensus, those of the reply itself first."""
    ordered = dict.fromkeys(test for suite in (own, *suites) for test in suite)
    return [test for test in ordered if test in winner]
