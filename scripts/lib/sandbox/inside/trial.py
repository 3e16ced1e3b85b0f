"""Executes tests that are more than plain asserts, with stand-ins for the sample's functions.

It runs in a process of its own, forked from the judge: tests may hang or be hostile, too. They are
compiled apart from the code and never seen by it.
"""

import ast
import builtins
import collections
import decimal
import fractions
import functools
import importlib
import itertools
import math
import random
import re
import statistics
import sys
from collections.abc import Callable, Iterator
from types import CodeType, ModuleType
from typing import Any, NamedTuple

from . import codec
from .operations import MODULES
from .plan import COMPARISONS
from .remote import Peer
from .standins import Remote, RemoteClass
from .taint import TALLY, Counting, Taint, Tally, Untallied
from .wire import Channel, Ended, TooLarge

FAIL, PASS, VACUOUS, BAD_TESTS, LOST = "fail", "pass", "vacuous", "bad_tests", "lost"
# Where the code imports a helper and the tests use it, they get the real one.
HELPERS = {
    name: getattr(module, name)
    for module in (statistics, functools, itertools, collections, math, decimal, fractions)
    for name in (getattr(module, "__all__", None) or vars(module))
    if not name.startswith("_")
}
# A function, a class or a variable of a program's top level.
DEFINITION = re.compile(r"^(?:(?:async def|def|class) +(\w+)|(\w+) ?=(?!=))", re.MULTILINE)
# Longer code is not searched for names of builtins.
LARGEST_CODE = 50_000


class Ruling(NamedTuple):
    """What a judge says: a verdict, the reason if it is no pass, and the assertions that held."""

    verdict: str
    reason: str = ""
    assertions: int = 0


def parse(sources: list[str]) -> list[ast.Module]:
    """Parse tests. Raises SyntaxError, ValueError, MemoryError or RecursionError."""
    return [ast.parse(source, f"<test {number}>") for number, source in enumerate(sources, 1)]


def foreign_names(trees: list[ast.Module]) -> set[str]:
    """Names that tests use and neither define nor find among the builtins."""
    bound, used = set(), set()
    for tree in trees:
        for node in ast.walk(tree):
            if isinstance(node, ast.Name):
                (used if isinstance(node.ctx, ast.Load) else bound).add(node.id)
            elif isinstance(node, (ast.FunctionDef, ast.AsyncFunctionDef, ast.ClassDef)):
                bound.add(node.name)
            elif isinstance(node, ast.arg):
                bound.add(node.arg)
            elif isinstance(node, (ast.Import, ast.ImportFrom)):
                bound.update((alias.asname or alias.name).partition(".")[0] for alias in node.names)
            elif isinstance(node, ast.ExceptHandler) and node.name:
                bound.add(node.name)
    return {name for name in used - bound if not hasattr(builtins, name)}


def defines_builtin(code: str) -> set[str]:
    """The names of builtins that a program's top level defines."""
    found = DEFINITION.findall(code) if len(code) <= LARGEST_CODE else []
    return {name for pair in found for name in pair if name and hasattr(builtins, name)}


def own_builtins(trees: list[ast.Module], code: str) -> frozenset[str]:
    """Names of builtins that the sample defines and that are what the tests are about.

    They are so where the tests use no other name of the sample's, as for "write a function sum".
    Else a sample could put its own `sorted` around what the tests compare.
    """
    defined = defines_builtin(code)
    if not defined or foreign_names(trees):
        return frozenset()
    return frozenset(name for tree in trees for name in _loaded(tree) if name in defined)


def _loaded(tree: ast.Module) -> Iterator[str]:
    return (
        node.id
        for node in ast.walk(tree)
        if isinstance(node, ast.Name) and isinstance(node.ctx, ast.Load)
    )


def _parsed(code: str) -> list[ast.stmt]:
    try:
        return ast.parse(code).body
    except (SyntaxError, ValueError, MemoryError, RecursionError):
        return []


def helpers(foreign: set[str], code: str) -> set[str]:
    """Names that tests use for what the code has imported, and get from the library itself.

    Those of COMPARISONS they always get from there if the tests are about other names: a sample
    could put its own `isclose` around what the tests compare.
    """
    wanted = foreign & HELPERS.keys()
    if not wanted:
        return set()
    imported = {
        alias.asname or alias.name
        for node in _parsed(code)
        if isinstance(node, ast.ImportFrom)
        for alias in node.names
    }
    others = foreign - COMPARISONS - MODULES
    return {name for name in wanted if name in imported or (name in COMPARISONS and others)}


def without_stubs(prefix: str) -> ast.Module:
    """The helpers of a trusted prefix: it without functions that do nothing yet."""
    tree = ast.parse(prefix)
    tree.body = [node for node in tree.body if not _is_stub(node)]
    return tree


def names_of_helpers(prefix: str) -> frozenset[str]:
    """The functions and classes that a trusted prefix defines. Raises SyntaxError and the like."""
    kinds = (ast.FunctionDef, ast.AsyncFunctionDef, ast.ClassDef)
    return frozenset(node.name for node in without_stubs(prefix).body if isinstance(node, kinds))


def _is_stub(node: ast.stmt) -> bool:
    return isinstance(node, ast.FunctionDef) and all(
        isinstance(part, (ast.Pass, ast.Import, ast.ImportFrom))
        or (isinstance(part, ast.Expr) and isinstance(part.value, ast.Constant))
        for part in node.body
    )


class Globals(dict):
    """The tests' global names; what they do not define is looked up in the sample."""

    def __init__(
        self, peer: Peer, names: set[str], builtin: frozenset[str], real: set[str]
    ) -> None:
        super().__init__({"__name__": "tests", "__builtins__": builtins})
        self._peer = peer
        self._names = names
        self._builtin = builtin
        self._real = real

    def __missing__(self, name: str) -> Any:
        if hasattr(builtins, name) and name not in self._builtin:
            raise KeyError(name)
        if name in self._real and name in self._names:
            return HELPERS.get(name) or _imported(name)
        try:
            value = self._peer.look_up(name)
        except NameError:
            raise KeyError(name) from None
        if isinstance(value, RemoteClass):
            value.name_as(name)
        if not isinstance(value, (Remote, type, ModuleType)):
            self._peer.used += 1
        return value


def _imported(name: str) -> Any:
    try:
        return importlib.import_module("numpy" if name == "np" else name)
    except ImportError:
        raise KeyError(name) from None


def modules_used(trees: list[ast.Module]) -> set[str]:
    """Names of modules that tests look into: `math.isclose` is that of the module, always."""
    return {
        node.value.id
        for tree in trees
        for node in ast.walk(tree)
        if isinstance(node, ast.Attribute)
        and isinstance(node.value, ast.Name)
        and (node.value.id in MODULES or node.value.id == "np")
    }


def try_out(channel: Channel, code: str, prefix: str, trees: list[ast.Module]) -> Ruling:
    """Execute tests about the sample that the player at the other end has executed."""
    peer = Peer(channel, None, guarded=True)
    random.seed = _told(peer, "seed", random.seed)
    sys.setrecursionlimit = _told(peer, "recursion limit", sys.setrecursionlimit)
    tally = Tally()
    try:
        heard = peer.hear()
        if type(heard) is dict and "code" in heard:
            return Ruling(FAIL, f"code: {': '.join(map(str, heard['code']))}")
        match heard:
            case ["names", list(names)]:
                known = set(map(str, names))
            case _:
                return Ruling(FAIL, "the sample's process sent what is no data")
        builtin = own_builtins(trees, code)
        foreign = foreign_names(trees)
        real = helpers(foreign, code) | (foreign & modules_used(trees))
        names = Globals(peer, known, builtin, real)
        if prefix:
            exec(compile(without_stubs(prefix), "<prefix>", "exec", dont_inherit=True), names)
        names[TALLY] = tally
        shadowed = {name for tree in trees for name in _loaded(tree) if name in known}
        about = Taint(foreign | builtin | (shadowed - vars(builtins).keys()), trees)
        for number, tree in enumerate(trees, 1):
            for statement in tree.body:
                step = _compiled(statement, about, f"<test {number}>")
                ruling = _execute(step, names, statement, about, peer)
                if ruling:
                    return ruling._replace(assertions=tally.number)
    except Ended:
        return Ruling(LOST, assertions=tally.number)
    except (TooLarge, MemoryError):
        return Ruling(FAIL, "the sample returned too much", tally.number)
    except (codec.NotData, RecursionError) as error:
        return Ruling(FAIL, f"no data came back: {error}", tally.number)
    if tally.failures:
        return Ruling(FAIL, "an assertion does not hold, which the tests catch", tally.number)
    if not tally.number or not peer.used:
        return Ruling(VACUOUS, "no executed assertion is about the sample")
    return Ruling(PASS, assertions=tally.number)


def _told(peer: Peer, operation: str, function: Callable[..., Any]) -> Callable[..., Any]:
    """A function that tests call for the sample as well: its numbers, its depth."""

    def both(*arguments: Any, **keywords: Any) -> Any:
        result = function(*arguments, **keywords)
        peer.ask(operation, *arguments, *keywords.values())
        return result

    return both


def _execute(
    step: CodeType, names: Globals, statement: ast.stmt, about: Taint, peer: Peer
) -> Ruling | None:
    """Execute a statement of the tests; a ruling if it raises."""
    try:
        exec(step, names)
    except (Ended, TooLarge, codec.NotData):
        raise
    except AssertionError as error:
        return Ruling(FAIL, _reason(error, statement))
    except (SystemExit, KeyboardInterrupt, GeneratorExit) as error:
        verdict = FAIL if hasattr(error, "remote") else BAD_TESTS
        return Ruling(verdict, _reason(error, statement))
    except BaseException as error:
        blamed = hasattr(error, "remote") or about.concerns(statement)
        return Ruling(FAIL if blamed else BAD_TESTS, _reason(error, statement))
    return None


def _reason(error: BaseException, statement: ast.stmt) -> str:
    try:
        message = str(error)
    except BaseException:
        message = ""
    shown = statement.test if isinstance(statement, ast.Assert) else statement
    plain = isinstance(statement, (ast.Assert, ast.Expr))
    source = ast.unparse(Untallied().visit(shown)) if plain else ""
    place = source if len(source) <= 200 else f"line {statement.lineno} of the tests"
    if isinstance(error, AssertionError) and not hasattr(error, "remote") and not message:
        return f"does not hold: {place or f'an assertion below line {statement.lineno}'}"
    name = type(error).__name__
    return f"{name}: {message}" + (f" in {place}" if place else "")


def _compiled(statement: ast.stmt, about: Taint, name: str) -> CodeType:
    counting = Counting(about).visit(statement)
    body = counting if isinstance(counting, list) else [counting]
    tree = ast.fix_missing_locations(ast.Module(body, []))
    return compile(tree, name, "exec", dont_inherit=True)
