"""The kind `code`: an instruction asks for a Python function, assertions check it.

`instruction.form` of the task says what an instruction looks like: a `sentence` (MBPP), or a
`function`, which is a signature with a docstring (HumanEval).
"""

import ast
import re
import textwrap
import warnings
from collections.abc import Iterable

from scripts.lib.records import Problem
from scripts.lib.tasks import (
    Judges,
    Kind,
    ParsedInstruction,
    ParsedReply,
    Task,
    format_reason,
)

# The original and MBPP itself show three tests in a prompt.
TESTS_SHOWN = 3
# How often a cut-off end is looked for in one piece of code.
ATTEMPTS = 50

_FENCE = re.compile(r"```[ \t]*[\w+-]*[ \t]*\n(.*?)(?:\n[ \t]*```|\Z)", re.DOTALL)
# A line that only says what comes next: "Solution:", "**Test cases:**", "### Tests", ...
_HEADING = re.compile(
    r"^[ \t]*+[#*_]*+[ \t]*+"
    r"(?:solution|code|answer|(?:three |3 )?(?:test cases?|tests?|assertions?))"
    r"[ \t]*+[*_]*+[ \t]*+:?[ \t]*+[*_]*+[ \t]*+$",
    re.IGNORECASE | re.MULTILINE,
)
_TAGGED = re.compile(r"\[PYTHON\](.*?)(?:\[/PYTHON\]|\Z)", re.DOTALL)


def _asks_for_function(task: Task) -> bool:
    return task.spec["instruction"]["form"] == "function"


def _read_stub(text: str) -> ParsedInstruction:
    quotes = next((marks for marks in ('"""', "'''") if marks in text), None)
    if quotes is None:
        return ParsedInstruction(reason="no_docstring")
    text = text.strip("\n")
    opened, behind = text, ""
    if text.count(quotes) % 2 == 0:
        opened, _, behind = text.rpartition(quotes)
    if behind.strip():
        return ParsedInstruction(reason="trailing_text")
    stub = f"{opened.rstrip()}\n    {quotes}"
    tree = _parse(stub)
    if tree is None:
        return ParsedInstruction(reason="not_python")
    last = tree.body[-1] if tree.body else None
    if not isinstance(last, ast.FunctionDef) or not (ast.get_docstring(last) or "").strip():
        return ParsedInstruction(reason="no_docstring")
    return ParsedInstruction(stub) if len(last.body) == 1 else ParsedInstruction(reason="body")


def _function(stub: str) -> ast.FunctionDef:
    """The syntax tree of the function that a stub asks for."""
    function = ast.parse(stub).body[-1]
    assert isinstance(function, ast.FunctionDef)
    return function


def _example(test: str) -> list[str]:
    """An assertion as the two lines of a docstring's example: the call, and what it gives.

    None where the docstring could not hold it.
    """
    expression = ast.parse(test).body[0].test  # type: ignore[attr-defined]
    lines = [f">>> {ast.unparse(expression)}", "True"]
    if isinstance(expression, ast.Compare) and len(expression.ops) == 1:
        sides = (expression.left, expression.comparators[0])
        for call, value in (sides, sides[::-1]):
            if isinstance(expression.ops[0], ast.Eq) and _is_literal(value):
                lines = [f">>> {ast.unparse(call)}", ast.unparse(value)]
                break
    return [] if re.search(r"\\|\"\"\"|'''", "".join(lines)) else lines


def _is_literal(node: ast.expr) -> bool:
    try:
        ast.literal_eval(node)
    except (ValueError, TypeError, SyntaxError, MemoryError, RecursionError):
        return False
    return True


def program(task: Task, instruction: str, solution: str) -> str:
    """What is executed for a solution: it stands behind the imports and helpers of a stub."""
    if not _asks_for_function(task):
        return solution
    before = [_source(instruction, node) for node in ast.parse(instruction).body[:-1]]
    lines = solution.split("\n")
    # Nothing may stand before these.
    futures = [line for line in lines if line.startswith("from __future__ import ")]
    return "\n".join([*futures, *before, *(line for line in lines if line not in futures)])


def _parse(code: str) -> ast.Module | None:
    """The syntax tree of a piece of Python, `None` where it is not Python or nested too deeply."""
    return _tree_or_error(code)[0]


def _tree_or_error(code: str) -> tuple[ast.Module | None, int]:
    """The syntax tree of a piece of Python, or the line of its first error, 0 for one without."""
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", SyntaxWarning)
            tree = ast.parse(code)
        # What cannot be written again, or compared, is of no use: numbers of 5,000 digits, sums of
        # 500 terms.
        ast.unparse(tree)
        ast.dump(tree)
    except SyntaxError as error:
        return None, error.lineno or 0
    except (ValueError, RecursionError, MemoryError):
        return None, 0
    return tree, 0


def _blocks(reply: str) -> list[str]:
    """The pieces of code in a reply: its fenced blocks, else what its headings leave."""
    fenced = [textwrap.dedent(block) for block in _FENCE.findall(reply)]
    pieces = fenced or [reply.strip().strip("`")]
    # Some replies hold a heading inside the fence; a comment in Python may look like one.
    parts = [[piece] if _parse(piece) else _HEADING.split(piece) for piece in pieces]
    return [part.strip("\n") for split in parts for part in split if part.strip()]


def _without_broken_end(block: str) -> tuple[str, ast.Module]:
    """The longest beginning of a block, by lines, that is Python, and its tree.

    A reply may be cut off. Empty where it would take many attempts.
    """
    lines = block.split("\n")
    end = len(lines)
    for _ in range(ATTEMPTS):
        beginning = "\n".join(lines[:end])
        tree, error = _tree_or_error(beginning)
        if tree is not None:
            return beginning, tree
        # Whatever ends behind the line of the error holds the error too.
        end = min(end, error or end) - 1
        if end < 1:
            break
    return "", ast.parse("")


def _source(code: str, node: ast.stmt) -> str:
    """The text of a top-level statement, decorators included."""
    first = min([node.lineno, *(item.lineno for item in getattr(node, "decorator_list", []))])
    return "\n".join(code.split("\n")[first - 1 : node.end_lineno])


def _is_example_use(node: ast.stmt) -> bool:
    """Whether a statement only prints or evaluates something: an example, not the solution."""
    if not isinstance(node, ast.Expr) or isinstance(node.value, ast.Constant):
        return False
    # `sys.setrecursionlimit(...)` and `random.seed(...)` belong to a solution.
    return not ast.unparse(node.value).startswith(("sys.", "random."))


def _solution_and_tests(reply: str) -> tuple[str, tuple[str, ...], bool]:
    """The statements and the distinct assertions of a reply, and whether it holds any Python."""
    solution: list[str] = []
    tests: dict[str, str] = {}
    understood = False
    for block in _blocks(reply):
        code, tree = _without_broken_end(block)
        understood = understood or bool(tree.body)
        for node in tree.body:
            if isinstance(node, ast.Assert):
                tests.setdefault(ast.unparse(node.test), ast.unparse(node))
            elif not _is_example_use(node):
                solution.append(_source(code, node))
    return "\n".join(solution), tuple(tests.values()), understood


# Values that are true, or false, whatever a solution computes.
_ALWAYS_TRUE = (
    ast.Tuple, ast.List, ast.Dict, ast.Set, ast.Constant, ast.Lambda, ast.JoinedStr,
    ast.ListComp, ast.SetComp, ast.DictComp, ast.GeneratorExp,
)  # fmt: skip


def _functions_of(tree: ast.Module) -> set[str]:
    """The names that the top level of a program defines as functions or classes."""
    definitions = (ast.FunctionDef, ast.AsyncFunctionDef, ast.ClassDef)
    named = {node.name for node in tree.body if isinstance(node, definitions)}
    lambdas = (
        node.targets[0].id
        for node in tree.body
        if isinstance(node, ast.Assign)
        and isinstance(node.value, ast.Lambda)
        and isinstance(node.targets[0], ast.Name)
    )
    return named.union(lambdas)


def _called_names(node: ast.AST) -> set[str]:
    """The names of the functions that an expression calls."""
    return {
        call.func.id
        for call in ast.walk(node)
        if isinstance(call, ast.Call) and isinstance(call.func, ast.Name)
    }


def _is_real(test: ast.expr, functions: set[str]) -> bool:
    """Whether an assertion says something about what the solution computes, and can fail.

    `assert f(2) == f(2)`, `assert (f(2) == 4, "message")`, `assert f`, `assert f(1) or True`,
    `assert [f(1)]` and `assert True` prove nothing.
    """
    if isinstance(test, ast.BoolOp):
        every = all if isinstance(test.op, ast.Or) else any
        return every(_is_real(value, functions) for value in test.values)
    if isinstance(test, ast.UnaryOp) and isinstance(test.op, ast.Not):
        return _is_real(test.operand, functions)
    if isinstance(test, _ALWAYS_TRUE) or not _called_names(test) & functions:
        return False
    if not isinstance(test, ast.Compare):
        return True
    if isinstance(test.ops[0], (ast.Is, ast.IsNot)):
        return not isinstance(test.left, _ALWAYS_TRUE)
    if isinstance(test.ops[0], ast.Eq):
        calling = [_called_names(side) & functions for side in (test.left, *test.comparators)]
        return not all(calling)
    return len({ast.dump(side) for side in (test.left, *test.comparators)}) > 1


def functions_to_test(task: Task, instruction: str, solution: str) -> set[str]:
    """The functions of a solution that its tests have to call: the one that a stub asks for."""
    tree = _parse(solution)
    defined = _functions_of(tree) if tree else set()
    return defined & {_function(instruction).name} if _asks_for_function(task) else defined


def nothing_proved(functions: set[str], tests: Iterable[str]) -> str:
    """The reason why tests prove nothing about some functions of a solution, or an empty string.

    Every test must be real: one that calls one of the functions, and can fail.
    """
    for test in tests:
        tree = _parse(test)
        if tree is None or len(tree.body) != 1 or not isinstance(tree.body[0], ast.Assert):
            return f"not an assertion: {test}"
        if not _is_real(tree.body[0].test, functions):
            return f"proves nothing: {test}"
    return "" if tests else "no tests"


def real_tests(functions: set[str], tests: Iterable[str]) -> tuple[str, ...]:
    """The tests that prove something about some functions of a solution."""
    return tuple(test for test in tests if not nothing_proved(functions, [test]))


# Statements that give something a name (of functions, those that do anything).
_NAMING = (
    ast.FunctionDef, ast.AsyncFunctionDef, ast.ClassDef, ast.Assign, ast.AnnAssign, ast.Import,
    ast.ImportFrom, ast.If, ast.Try, ast.With, ast.For, ast.While,
)  # fmt: skip


def _gives_names(code: str) -> bool:
    """Whether a piece of code is Python and gives a name to anything but a function's stub."""
    tree = _parse(code)
    return bool(tree) and any(
        isinstance(node, _NAMING) and not _is_stub(node) for node in tree.body
    )


def _is_stub(node: ast.stmt) -> bool:
    """Whether a statement is a function of nothing but a docstring, an ellipsis or `pass`."""
    if not isinstance(node, (ast.FunctionDef, ast.AsyncFunctionDef)):
        return False
    return all(
        isinstance(part, ast.Pass)
        or (isinstance(part, ast.Expr) and isinstance(part.value, ast.Constant))
        for part in node.body
    )


class Code(Kind):
    """Python functions and their assertions."""

    def read_instruction(self, task: Task, text: str, key: str = "") -> ParsedInstruction:
        """Read a sentence, or a function's signature and docstring.

        Reasons: those of `format_reason`, and for functions `not_python`, `no_docstring` (no
        function with a docstring at the end), `trailing_text` (something behind the docstring) and
        `body` (the function is written out). The canonical form of a function ends with the
        docstring's quotes on a line of their own.
        """
        if _asks_for_function(task):
            stub = _read_stub(text)
            if stub.reason:
                return stub
            text = stub.text
        reason = format_reason(task, text)
        return ParsedInstruction(reason=reason) if reason else ParsedInstruction(text)

    def essence(self, task: Task, instruction: str) -> str:
        """A sentence as it is; of a function its name and its docstring before the examples.

        Signatures are much alike and would make different functions look similar.
        """
        if not _asks_for_function(task):
            return instruction
        function = _function(instruction)
        docstring = (ast.get_docstring(function) or "").partition(">>>")[0]
        return f"{function.name.replace('_', ' ')}: {' '.join(docstring.split())}"

    def with_tests(self, task: Task, instruction: str, tests: list[str]) -> str:
        """A function with its first tests as examples of its docstring; a sentence as it is."""
        if not _asks_for_function(task) or not tests:
            return instruction
        opened, quotes = instruction[:-3].rstrip(), instruction[-3:]
        lines = [line for test in tests[:TESTS_SHOWN] for line in _example(test)]
        if not lines:
            return instruction
        return "\n    ".join([opened + "\n", *lines, quotes])

    def parse_reply(
        self,
        task: Task,
        instruction: str,
        reply: str,
        finish_reason: str,
        min_tests: int,
        key: str = "",
    ) -> ParsedReply:
        """Read a solution and its assertions out of a reply.

        Headings and fences may be missing, of any case, or name a language. Assertions that stand
        twice count once. The reasons of a reply without use: `empty`, `not_python`, `no_function`,
        `other_function` (not the one that a stub asks for), `too_few_tests` (fewer distinct ones
        that prove something than `min_tests`), `truncated` when the limit of tokens cut off what is
        missing.
        """
        cut_off = finish_reason == "length"
        reply = reply.replace("\r\n", "\n")
        if cut_off:
            # The last line may be half of one, and half an assertion can still be Python.
            reply = reply.rpartition("\n")[0]
        if not reply.strip():
            return ParsedReply(reason="truncated" if cut_off else "empty")
        solution, tests, understood = _solution_and_tests(reply)
        whole = _parse(solution)
        defined = _functions_of(whole) if whole else set()
        if not understood:
            reason = "not_python"
        elif not defined:
            reason = "no_function"
        elif _asks_for_function(task) and _function(instruction).name not in defined:
            reason = "other_function"
        else:
            tests = real_tests(functions_to_test(task, instruction, solution), tests)
            if len(tests) >= min_tests:
                return ParsedReply(output=solution, tests=tests)
            reason = "too_few_tests"
        return ParsedReply(reason="truncated" if cut_off else reason)

    def read_response(self, task: Task, instruction: str, response: str) -> str:
        """The code of a response: between the tags, else in a fence, else all of it.

        Only what is Python that gives anything a name counts, since no test could call anything
        else: a model that repeats its prompt writes tags around words, or a stub. What nothing
        closes counts up to the last line with which it is Python: the limit of tokens cuts off what
        a model writes behind its solution. Empty where there is none.
        """
        marked = [*_TAGGED.finditer(response), *_FENCE.finditer(response)]
        pieces = [(found[1], found.end(1) < len(response)) for found in marked]
        for piece, closed in (*pieces, (response, False)):
            code = piece.strip("\n")
            if _gives_names(code):
                return code
            if not closed and _gives_names(beginning := _without_broken_end(code)[0]):
                return beginning.rstrip()
        return ""

    def verdict(self, task: Task, problem: Problem, answer: str, judges: Judges) -> tuple[str, str]:
        """The executor's verdict on code, by what judges the problem."""
        return judges.run(problem, program(task, problem.instruction, answer))


KIND = Code()
