"""Which assertions of tests are about the sample, and how they are counted.

Tests are rewritten before they are executed: every `assert` about the sample, and what stands for
one, tells a `Tally` whether it holds. A trial in which nothing is tallied proves nothing, and one
in which something does not hold is no pass, even where the tests catch it.
"""

import ast
import sys
from typing import Any

TALLY = "__tally__"


class Tally:
    """The assertions about the sample that held, and those that did not."""

    def __init__(self) -> None:
        self.number = 0
        self.failures = 0

    def judge(self, value: Any) -> bool:
        """Count an assertion by the truth of a value, which is returned."""
        truth = bool(value)
        (self.held if truth else self.failed)()
        return truth

    def held(self) -> None:
        self.number += 1

    def failed(self) -> None:
        self.failures += 1

    def forgiven(self) -> None:
        """Another answer is allowed, in place of the one that did not hold."""
        self.failures = max(0, self.failures - 1)

    def caught(self) -> None:
        """Count an exception that was asked for; one of the tests' own assertions was not."""
        error = sys.exc_info()[1]
        if hasattr(error, "remote") or not isinstance(error, AssertionError):
            self.held()


class Taint:
    """Which names of the tests depend on the sample: a fixpoint over all their statements."""

    def __init__(self, foreign: set[str] | frozenset[str], trees: list[ast.Module]) -> None:
        self._names = set(foreign)
        self._found: dict[ast.AST, set[str]] = {}
        # Functions of the tests that get something of the sample's.
        self._called: set[str] = set()
        statements = [node for tree in trees for node in ast.walk(tree)]
        before = -1
        while before != len(self._names) + len(self._called):
            before = len(self._names) + len(self._called)
            for node in statements:
                self._spread(node)

    def concerns(self, node: ast.AST | None) -> bool:
        """Whether something within a node depends on the sample."""
        return node is not None and not self._names.isdisjoint(self._names_in(node))

    def _names_in(self, node: ast.AST) -> set[str]:
        found = self._found.get(node)
        if found is None:
            found = {node.id} if isinstance(node, ast.Name) else set()
            found.update(*map(self._names_in, ast.iter_child_nodes(node)))
            self._found[node] = found
        return found

    def _spread(self, node: ast.AST) -> None:
        match node:
            case ast.Assign([ast.Attribute(module, "stdout" | "stderr")], value):
                # What the sample prints goes there.
                self._add(value)
                self._add(module)
            case ast.With(items, body) if any(map(self.concerns, body)):
                for item in items:
                    self._add(item)
            case ast.Assign(targets, value) if self.concerns(value):
                for target in targets:
                    self._add(target)
            case ast.AugAssign(target, _, value) | ast.AnnAssign(target, _, value) if self.concerns(
                value
            ):
                self._add(target)
            case ast.NamedExpr(target, value) if self.concerns(value):
                self._add(target)
            case ast.For() | ast.AsyncFor() | ast.comprehension() if self.concerns(node.iter):
                self._add(node.target)
            case ast.withitem(value, target) if target and self.concerns(value):
                self._add(target)
            case ast.FunctionDef() | ast.AsyncFunctionDef() | ast.ClassDef():
                if any(map(self.concerns, (*node.body, *node.decorator_list))):
                    self._names.add(node.name)
                elif node.name in self._names:
                    # A callback: what it changes tells what the sample has done.
                    for part in node.body:
                        self._add(part)
            case ast.Try(body, handlers, orelse) if any(map(self.concerns, body)):
                self._add_assigned([*body, *(h for handler in handlers for h in handler.body)])
                self._add_assigned(orelse)
                self._names.update(handler.name for handler in handlers if handler.name)
            case ast.If(test, body, orelse) | ast.While(test, body, orelse) if self.concerns(test):
                self._add_assigned([*body, *orelse])
            case ast.Call(function, arguments, keywords):
                if self.concerns(function):
                    # What the sample is given it may have changed.
                    for argument in (*arguments, *(k.value for k in keywords)):
                        self._add(argument)
                given = any(map(self.concerns, (*arguments, *(k.value for k in keywords))))
                if given and isinstance(function, ast.Attribute):
                    self._add(function.value)
                elif given and isinstance(function, ast.Name):
                    self._called.add(function.id)
        match node:
            case ast.FunctionDef(name) | ast.AsyncFunctionDef(name) if name in self._called:
                arguments = node.args
                for argument in (*arguments.posonlyargs, *arguments.args, *arguments.kwonlyargs):
                    self._names.add(argument.arg)

    def _add_assigned(self, statements: list[ast.stmt]) -> None:
        for statement in statements:
            for node in ast.walk(statement):
                if isinstance(node, ast.Name) and isinstance(node.ctx, ast.Store):
                    self._names.add(node.id)

    def _add(self, target: ast.AST) -> None:
        self._names |= self._names_in(target)


def always_true(test: ast.expr) -> bool:
    """Whether an expression is true whatever the sample does, as `(f(1) == 2, "message")` is."""
    if isinstance(test, ast.BoolOp) and isinstance(test.op, ast.Or):
        return any(map(always_true, test.values))
    if isinstance(test, (ast.Tuple, ast.List, ast.Set)):
        return bool(test.elts)
    if isinstance(test, ast.Constant):
        return bool(test.value)
    return isinstance(test, (ast.Lambda, ast.GeneratorExp))


class Counting(ast.NodeTransformer):
    """Has assertions about the sample tallied."""

    def __init__(self, about: Taint) -> None:
        self._about = about

    def visit_Assert(self, node: ast.Assert) -> Any:
        self.generic_visit(node)
        if self._about.concerns(node.test) and not always_true(node.test):
            node.test = _tally("judge", node.test)
        return node

    def visit_Expr(self, node: ast.Expr) -> Any:
        """`self.assertEqual(f(1), 2)`."""
        self.generic_visit(node)
        match node.value:
            case ast.Call(ast.Attribute(_, name)) if name.startswith(
                "assert"
            ) and self._about.concerns(node.value):
                return _tallied(node)
        return node

    def visit_With(self, node: ast.With) -> Any:
        """`with self.assertRaises(ValueError): f(-1)`."""
        self.generic_visit(node)
        for item in node.items:
            match item.context_expr:
                case ast.Call(ast.Attribute(_, name) | ast.Name(name)) if (
                    "raises" in name.lower() and any(map(self._about.concerns, node.body))
                ):
                    return _tallied(node)
        return node

    def visit_If(self, node: ast.If) -> Any:
        """`if f(1) != 2: raise AssertionError`."""
        self.generic_visit(node)
        if self._about.concerns(node.test) and any(map(_raises_assertion, node.body)):
            node.body.insert(0, ast.Expr(_tally("failed")))
            return [node, ast.Expr(_tally("held"))]
        return node

    def visit_Try(self, node: ast.Try) -> Any:
        """`try: f(-1); assert False` with a handler: that an exception came is what is asserted."""
        concerned = any(map(self._about.concerns, node.body))
        guarded = concerned and any(
            isinstance(part, ast.Raise)
            or (isinstance(part, ast.Assert) and not self._about.concerns(part.test))
            for statement in (*node.body, *node.orelse)
            for part in ast.walk(statement)
        )
        # `except AssertionError: assert f(1) == 3` allows for another answer.
        others = [
            any(isinstance(p, ast.Assert) and self._about.concerns(p) for p in ast.walk(handler))
            for handler in node.handlers
        ]
        self.generic_visit(node)
        for handler, other in zip(node.handlers, others, strict=True):
            if guarded or (concerned and other):
                wanted = "forgiven" if other else "caught"
                handler.body = [ast.Expr(_tally(wanted)), *handler.body]
        return node


class Untallied(ast.NodeTransformer):
    """Shows assertions as they were."""

    def visit_Call(self, node: ast.Call) -> Any:
        self.generic_visit(node)
        match node.func:
            case ast.Attribute(ast.Name(name), "judge") if name == TALLY:
                return node.args[0]
        return node


def _raises_assertion(node: ast.stmt) -> bool:
    return isinstance(node, ast.Raise) and any(
        isinstance(part, ast.Name) and part.id == "AssertionError" for part in ast.walk(node)
    )


def _tally(method: str, *arguments: ast.expr) -> ast.Call:
    function = ast.Attribute(ast.Name(TALLY, ast.Load()), method, ast.Load())
    return ast.Call(function, list(arguments), [])


def _tallied(node: ast.stmt) -> ast.Try:
    """A statement that is an assertion of its own."""
    failed = [ast.Expr(_tally("failed")), ast.Raise()]
    handler = ast.ExceptHandler(ast.Name("AssertionError", ast.Load()), None, failed)
    return ast.Try([node], [handler], [ast.Expr(_tally("held"))], [])
