"""Equality of mathematical answers by math-verify, in processes that may be killed.

math-verify limits its time by signals, which reach only the main thread of a process, and a power
tower can keep an interpreter from seeing them at all. So each comparison runs in a process of its
own kind, with limits on memory and time.
"""

import multiprocessing
import resource
import threading
from collections.abc import Sequence
from multiprocessing.connection import Connection

SECONDS_AN_ANSWER = 3
MEMORY_BYTES = 4 << 30


def group_equal(answers: Sequence[str]) -> list[int]:
    """Groups of equal answers: each answer's group is the first answer that equals it."""
    parsed: dict[str, list] = {}
    groups: list[int] = []
    for at, answer in enumerate(answers):
        same = (first for first in dict.fromkeys(groups) if _equal(answers[first], answer, parsed))
        groups.append(next(same, at))
    return groups


def _equal(first: str, second: str, parsed: dict[str, list]) -> bool:
    if first == second:
        return True
    from math_verify import verify

    gold, answer = _parsed(first, parsed), _parsed(second, parsed)
    return bool(gold and answer and verify(gold, answer, timeout_seconds=SECONDS_AN_ANSWER))


def _parsed(answer: str, parsed: dict[str, list]) -> list:
    from math_verify import LatexExtractionConfig, parse

    if answer not in parsed:
        # Only as LaTeX: plain expressions would go through sympy's parser, which evaluates Python.
        parsed[answer] = parse(
            f"${answer}$",
            extraction_config=[LatexExtractionConfig()],
            parsing_timeout=SECONDS_AN_ANSWER,
        )
    return parsed[answer]


def _serve(connection: Connection) -> None:
    import logging

    logging.disable(logging.CRITICAL)
    resource.setrlimit(resource.RLIMIT_AS, (MEMORY_BYTES, MEMORY_BYTES))
    while (answers := connection.recv()) is not None:
        try:
            groups = group_equal(answers)
        except (MemoryError, RecursionError, OverflowError):
            groups = None
        connection.send(groups)


class AnswerGrouper:
    """Groups equal answers in a child process of each calling thread; a context manager."""

    def __init__(self) -> None:
        self._mine = threading.local()
        self._children: list[tuple[multiprocessing.Process, Connection]] = []
        # A child that begins anew: it inherits no thread, no lock and no open file of ours.
        self._context = multiprocessing.get_context("spawn")

    def __enter__(self) -> "AnswerGrouper":
        return self

    def __exit__(self, *_: object) -> None:
        for child, _connection in self._children:
            child.kill()

    def _start(self) -> tuple[multiprocessing.Process, Connection]:
        ours, theirs = self._context.Pipe()
        child = self._context.Process(target=_serve, args=(theirs,), daemon=True)
        child.start()
        theirs.close()
        self._children.append((child, ours))
        self._mine.child = (child, ours)
        return child, ours

    def __call__(self, answers: Sequence[str]) -> list[int]:
        """Groups of equal answers, as `group_equal` gives them.

        Where the comparison fails or does not end in time, answers with the same text are equal.
        """
        if len(set(answers)) <= 1:
            return [0] * len(answers)
        child, connection = getattr(self._mine, "child", None) or self._start()
        groups = None
        try:
            connection.send(list(answers))
            # Each answer is parsed once and compared with each other one; the first call of a
            # child also loads its libraries.
            if connection.poll(30 + SECONDS_AN_ANSWER * len(answers) ** 2):
                groups = connection.recv()
        except (EOFError, OSError):
            pass
        if groups is None:
            child.kill()
            self._mine.child = None
            return [answers.index(answer) for answer in answers]
        return groups
