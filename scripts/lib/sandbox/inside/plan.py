"""Reads tests that are plain asserts over literals, so that nothing of them needs to be executed.

`assert f([1, 2]) == 3` becomes a call, which the player is asked to make, and a check of the data
that comes back. Tests that need more than that are executed (see `trial`). Checks run in the
long-lived process of the judge, and tests may be hostile, too: only expressions whose cost is
bounded by their own length and by that of their values are plain.
"""

import ast
import builtins
import marshal
import math
from collections.abc import Callable
from typing import Any, NamedTuple

from .player import Call

# Functions that do nothing but compute, in time and memory bounded by what they are given.
_PURE = (
    "abs", "all", "any", "bool", "bytes", "complex", "dict", "divmod", "enumerate", "float",
    "frozenset", "int", "isinstance", "len", "list", "max", "min", "repr", "reversed", "round",
    "set", "sorted", "str", "sum", "tuple", "type", "zip",
)  # fmt: skip
PURE = {name: getattr(builtins, name) for name in _PURE}
MATH = {
    f"math.{name}": value
    for name, value in vars(math).items()
    if not name.startswith("_") and name not in ("comb", "factorial", "perm", "prod", "pow")
}
# What tests compare with; not the sample's to define, where the tests are about something else.
COMPARISONS = frozenset({
    "Counter", "Decimal", "Fraction", "OrderedDict", "defaultdict", "deque", "isclose", "isfinite",
    "isinf", "isnan",
})  # fmt: skip
SAFE_OPERATORS = (ast.Add, ast.Sub, ast.Div, ast.FloorDiv, ast.Mod, ast.BitAnd, ast.BitOr)
BOUNDED_OPERATORS = (ast.Mult, ast.Pow, ast.LShift)
EXPRESSIONS = (
    ast.Compare, ast.UnaryOp, ast.Subscript, ast.Slice, ast.List, ast.Tuple, ast.Set, ast.Dict,
    ast.Constant, ast.keyword,
)  # fmt: skip
# Constant operands of * and **: sizes of numbers and lengths of what is repeated.
LARGEST_OPERAND = 10_000
LARGEST_NUMBER = 1 << 64
LARGEST_RANGE = 1_000_000
# Longer tests are read in a process of their own.
LARGEST_SOURCE = 200_000


class NotPlain(Exception):
    """These tests have to be executed."""


class Check(NamedTuple):
    """One assertion: the number of calls that it takes, and whether their values satisfy it.

    expression: what is asserted, for messages; `None` of one of EvalPlus's inputs.
    """

    calls: int
    holds: Callable[..., Any]
    expression: ast.expr | None


class Plan(NamedTuple):
    """What the player is asked, in the form that it takes (see `player`), and what is checked."""

    calls: bytes
    checks: list[Check]


def read_plan(
    trees: list[ast.Module],
    own_builtins: frozenset[str],
    helpers: frozenset[str] = frozenset(),
) -> Plan:
    """The plan of some tests.

    own_builtins: names of builtins that the sample defines and that are what is tested.
    helpers: names that a trusted prefix defines. Raises NotPlain.
    """
    reader = _Reader(own_builtins, helpers)
    for tree in trees:
        reader.read(tree.body)
    return Plan(marshal.dumps(reader.calls), reader.checks)


class _Reader:
    def __init__(self, own_builtins: frozenset[str], helpers: frozenset[str]) -> None:
        self._helpers = helpers
        self.calls: list[Call] = []
        self.checks: list[Check] = []
        self._own_builtins = own_builtins
        self._constants: dict[str, ast.expr | None] = {}
        self._functions: dict[str, ast.FunctionDef] = {}
        self._modules: set[str] = set()
        self._aliases: dict[str, str] = {}
        self._new_calls = 0
        # Of expressions that are no literals, but do not depend on the sample either.
        self._values: dict[ast.expr, Any] = {}

    def read(self, statements: list[ast.stmt]) -> None:
        for statement in statements:
            self._statement(statement)

    def _statement(self, node: ast.stmt) -> None:
        if isinstance(node, ast.Assert):
            self._assertion(node)
        elif isinstance(node, ast.Pass) or (
            isinstance(node, ast.Expr) and isinstance(node.value, ast.Constant)
        ):
            pass
        elif isinstance(node, ast.Assign):
            self._assignment(node)
        elif isinstance(node, ast.Import):
            self._import(node)
        elif isinstance(node, ast.FunctionDef):
            self._definition(node)
        elif isinstance(node, ast.Expr) and isinstance(node.value, ast.Call):
            self._check_function(node.value)
        else:
            raise NotPlain

    def _assignment(self, node: ast.Assign) -> None:
        if len(node.targets) != 1 or not isinstance(node.targets[0], ast.Name):
            raise NotPlain
        name = node.targets[0].id
        try:
            value = ast.literal_eval(node.value)
        except (ValueError, TypeError, MemoryError, RecursionError):
            raise NotPlain from None
        # What can be changed by one call would be seen by the next.
        constant = isinstance(value, (int, float, complex, str, bytes, type(None)))
        self._constants[name] = node.value if constant else None

    def _import(self, node: ast.Import) -> None:
        if any(alias.name != "math" or alias.asname for alias in node.names):
            raise NotPlain
        self._modules.add("math")

    def _definition(self, node: ast.FunctionDef) -> None:
        """HumanEval's `def check(candidate):`, which is read where it is called."""
        arguments = node.args
        others = (
            arguments.posonlyargs, arguments.kwonlyargs, arguments.defaults, arguments.vararg,
            arguments.kwarg, node.decorator_list,
        )  # fmt: skip
        if len(arguments.args) != 1 or any(others):
            raise NotPlain
        self._functions[node.name] = node

    def _check_function(self, call: ast.Call) -> None:
        match call:
            case ast.Call(ast.Name(name), [ast.Name(candidate)], []) if name in self._functions:
                function = self._functions[name]
            case _:
                raise NotPlain
        parameter = function.args.args[0].arg
        # A call within a call, or a name that means two things, is no plain test.
        if self._aliases or not self._is_samples(candidate):
            raise NotPlain
        if parameter in self._functions or parameter in self._modules:
            raise NotPlain
        constants = self._constants
        self._constants = dict(constants)
        self._constants.pop(parameter, None)
        self._aliases[parameter] = candidate
        self.read(function.body)
        self._aliases.clear()
        self._constants = constants

    def _is_samples(self, name: str) -> bool:
        """Whether a name is one that the sample has to define."""
        if name in self._aliases or name in self._own_builtins:
            return True
        if name in COMPARISONS or name in self._helpers:
            raise NotPlain
        known = name in self._constants or name in self._functions or name in self._modules
        return not known and not hasattr(builtins, name)

    def _assertion(self, node: ast.Assert) -> None:
        self._new_calls = 0
        test = node.test
        if (
            isinstance(test, ast.Compare)
            and len(test.ops) == 1
            and isinstance(test.ops[0], ast.Eq)
            and self._is_sample_call(test.left)
        ):
            # By far the most frequent form, and nothing has to be compiled for it.
            try:
                expected = ast.literal_eval(test.comparators[0])
            except (ValueError, TypeError, MemoryError, RecursionError):
                pass
            else:
                self._ask(test.left)
                self._add(lambda value: value == expected, node)
                return
        if isinstance(test, ast.Tuple):
            # `assert (f(1) == 2, "message")` holds whatever f does.
            raise NotPlain
        body = self._rewrite(test)
        parameters = [ast.arg(f"_{number}") for number in range(self._new_calls)]
        arguments = ast.arguments(
            posonlyargs=[], args=parameters, kwonlyargs=[], kw_defaults=[], defaults=[]
        )
        self._add(_compiled(ast.Lambda(arguments, body)), node)

    def _add(self, holds: Callable[..., Any], node: ast.Assert) -> None:
        self.checks.append(Check(self._new_calls, holds, node.test))

    def _is_sample_call(self, node: ast.expr) -> bool:
        return (
            isinstance(node, ast.Call)
            and isinstance(node.func, ast.Name)
            and self._is_samples(node.func.id)
        )

    def _ask(self, node: ast.expr) -> None:
        self.calls.append(self._call(node))
        self._new_calls += 1

    def _call(self, node: Any) -> Call:
        name = self._aliases.get(node.func.id, node.func.id)
        if any(keyword.arg is None for keyword in node.keywords):
            raise NotPlain
        positional = [self._argument(argument) for argument in node.args]
        keywords = {keyword.arg: self._argument(keyword.value) for keyword in node.keywords}
        if any(is_call for is_call, _ in (*positional, *keywords.values())):
            return name, positional, keywords, True
        values = {key: value for key, (_, value) in keywords.items()}
        return name, [value for _, value in positional], values, False

    def _argument(self, node: ast.expr) -> tuple[bool, Any]:
        """Whether an argument is a call of the sample's itself, and the call or the value."""
        if self._is_sample_call(node):
            return True, self._call(node)
        value = self._literal(node)
        if not _is_literal(value):
            raise NotPlain
        return False, value

    def _literal(self, node: ast.expr) -> Any:
        """The value of an expression in which the sample has no part."""
        try:
            return ast.literal_eval(node)
        except (ValueError, TypeError, MemoryError, RecursionError):
            pass
        if node not in self._values:
            before = len(self.calls)
            body = self._rewrite(node)
            if len(self.calls) != before:
                raise NotPlain
            arguments = ast.arguments(
                posonlyargs=[], args=[], kwonlyargs=[], kw_defaults=[], defaults=[]
            )
            try:
                self._values[node] = _compiled(ast.Lambda(arguments, body))()
            except Exception:
                raise NotPlain from None
        return self._values[node]

    def _rewrite(self, node: Any) -> Any:
        """The expression with each call of the sample replaced by a parameter. Raises NotPlain."""
        if self._is_sample_call(node):
            self._ask(node)
            return ast.Name(f"_{self._new_calls - 1}", ast.Load())
        if isinstance(node, ast.Name):
            return self._name(node)
        if isinstance(node, ast.Attribute):
            return self._attribute(node)
        if isinstance(node, ast.Call):
            return self._pure_call(node)
        if isinstance(node, ast.BoolOp):
            before = self._new_calls
            values = [self._rewrite(value) for value in node.values]
            # What the left side decides alone, the right side's calls may not be made for.
            if isinstance(node.op, ast.Or) and self._new_calls > before:
                raise NotPlain
            return ast.BoolOp(node.op, values)
        if isinstance(node, ast.BinOp):
            return self._operation(node)
        if not isinstance(node, EXPRESSIONS):
            raise NotPlain
        fields = {}
        for name, value in ast.iter_fields(node):
            if isinstance(value, list):
                fields[name] = [self._part(part) for part in value]
            else:
                fields[name] = self._part(value)
        return type(node)(**fields)

    def _part(self, part: Any) -> Any:
        return self._rewrite(part) if isinstance(part, (ast.expr, ast.keyword)) else part

    def _name(self, node: ast.Name) -> ast.expr:
        if node.id in self._constants:
            constant = self._constants[node.id]
            if constant is None:
                raise NotPlain
            return constant
        if node.id in PURE and node.id not in self._own_builtins | self._functions.keys():
            return node
        raise NotPlain

    def _attribute(self, node: ast.Attribute) -> ast.expr:
        match node:
            case ast.Attribute(ast.Name("math"), name) if (
                "math" in self._modules and f"math.{name}" in MATH
            ):
                return ast.Name(f"math.{name}", ast.Load())
        raise NotPlain

    def _pure_call(self, node: ast.Call) -> ast.expr:
        if isinstance(node.func, ast.Name) and node.func.id == "range":
            values = [self._literal(argument) for argument in node.args]
            if node.keywords or any(
                type(value) is not int or abs(value) > LARGEST_RANGE for value in values
            ):
                raise NotPlain
            return ast.Call(ast.Name("range", ast.Load()), node.args, [])
        if any(isinstance(argument, ast.Starred) for argument in node.args) or any(
            keyword.arg is None for keyword in node.keywords
        ):
            raise NotPlain
        function = self._rewrite(node.func)
        arguments = [self._rewrite(argument) for argument in node.args]
        keywords = [self._rewrite(keyword) for keyword in node.keywords]
        if not isinstance(function, ast.Name) or (function.id == "type" and len(arguments) != 1):
            raise NotPlain
        return ast.Call(function, arguments, keywords)

    def _operation(self, node: ast.BinOp) -> ast.expr:
        if isinstance(node.op, BOUNDED_OPERATORS):
            left, right = self._literal(node.left), self._literal(node.right)
            if not (isinstance(node.op, ast.Mult) and _are_numbers(left, right)) and (
                _size(left) > LARGEST_OPERAND or _size(right) > LARGEST_OPERAND
            ):
                raise NotPlain
            if isinstance(node.op, ast.Pow) and not isinstance(right, (int, float)):
                raise NotPlain
        elif not isinstance(node.op, SAFE_OPERATORS):
            raise NotPlain
        return ast.BinOp(self._rewrite(node.left), node.op, self._rewrite(node.right))


def _is_literal(value: Any) -> bool:
    """Whether a value is made of what marshal takes."""
    kind = type(value)
    if kind in (list, tuple, set, frozenset):
        return all(map(_is_literal, value))
    if kind is dict:
        return all(map(_is_literal, value)) and all(map(_is_literal, value.values()))
    return kind in (int, float, complex, str, bytes, bool, type(None), type(...))


def _are_numbers(left: Any, right: Any) -> bool:
    return all(type(x) in (int, float) and abs(x) < LARGEST_NUMBER for x in (left, right))


def _size(operand: Any) -> float:
    if isinstance(operand, (int, float)):
        return abs(operand)
    if isinstance(operand, (str, bytes, list, tuple)):
        return len(operand)
    raise NotPlain


def _compiled(function: ast.Lambda) -> Callable[..., Any]:
    tree = ast.fix_missing_locations(ast.Expression(function))
    code = compile(tree, "<tests>", "eval", dont_inherit=True)
    return eval(code, {"__builtins__": {}, "range": range, **PURE, **MATH})
