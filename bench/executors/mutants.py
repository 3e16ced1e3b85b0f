"""Small random changes of a program, the same ones in each run."""

import ast
import random
import warnings
from collections.abc import Callable, Iterator
from functools import partial

COMPARISONS: dict[type[ast.cmpop], tuple[type[ast.cmpop], ...]] = {
    ast.Lt: (ast.LtE, ast.Gt),
    ast.LtE: (ast.Lt, ast.GtE),
    ast.Gt: (ast.GtE, ast.Lt),
    ast.GtE: (ast.Gt, ast.LtE),
    ast.Eq: (ast.NotEq,),
    ast.NotEq: (ast.Eq,),
    ast.In: (ast.NotIn,),
    ast.NotIn: (ast.In,),
    ast.Is: (ast.IsNot,),
    ast.IsNot: (ast.Is,),
}


# What changes a node in place or returns another one for it.
Change = Callable[[], ast.AST]


def mutants(source: str, name: str, number: int, after: int = 0) -> Iterator[str]:
    """So many programs, each with one thing of the source changed.

    name: what the random choice depends on.
    after: lines at the beginning in which nothing is changed.
    There are fewer where less can be changed.
    """
    with warnings.catch_warnings():
        # Of escapes in strings that are none.
        warnings.simplefilter("ignore")
        counted = _Mutator(after)
        counted.visit(ast.parse(source))
        possible = range(counted.seen)
        for chosen in random.Random(name).sample(possible, min(number, len(possible))):
            changed = _Mutator(after, chosen).visit(ast.parse(source))
            yield ast.unparse(ast.fix_missing_locations(changed))


class _Mutator(ast.NodeTransformer):
    """Counts the changes that can be made in a program, and makes one of them."""

    def __init__(self, after: int, chosen: int = -1) -> None:
        self.seen = 0
        self._after, self._chosen = after, chosen

    def visit(self, node: ast.AST) -> ast.AST:
        """The node, or what is put in its place."""
        self.generic_visit(node)
        if getattr(node, "lineno", 0) <= self._after:
            return node
        changes = _changes(node)
        at = self._chosen - self.seen
        self.seen += len(changes)
        return changes[at]() if 0 <= at < len(changes) else node


def _changes(node: ast.AST) -> list[Change]:
    """What can be changed about a node."""
    match node:
        case ast.Compare(ops=operators):
            return [
                partial(_set, node, "ops", [*operators[:at], other(), *operators[at + 1 :]])
                for at, operator in enumerate(operators)
                for other in COMPARISONS[type(operator)]
            ]
        case ast.Constant(value=value) if type(value) is int:
            return [partial(_set, node, "value", value + step) for step in (-1, 1)]
        case ast.BinOp(op=ast.Add() | ast.Sub() as operator):
            other = ast.Sub() if isinstance(operator, ast.Add) else ast.Add()
            return [partial(_set, node, "op", other)]
        case ast.BoolOp(op=operator):
            other = ast.Or() if isinstance(operator, ast.And) else ast.And()
            return [partial(_set, node, "op", other)]
        case ast.UnaryOp(op=ast.Not(), operand=operand):
            return [lambda: operand]
        case ast.If(test=test) | ast.While(test=test) | ast.IfExp(test=test):
            return [partial(_set, node, "test", ast.UnaryOp(ast.Not(), test))]
        case ast.Return(value=None | ast.Constant(value=None)):
            return []
        case ast.Return(value=value):
            return [
                partial(_set, node, "value", other)
                for other in (ast.Constant(None), ast.UnaryOp(ast.Not(), value))
            ]
    return []


def _set(node: ast.AST, field: str, value: object) -> ast.AST:
    setattr(node, field, value)
    return node
