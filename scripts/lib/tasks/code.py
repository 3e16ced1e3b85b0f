"""The kind `code`: an instruction asks for a Python function, assertions check it."""

import ast
import re
import textwrap
import warnings

from scripts.lib.records import Label
from scripts.lib.tasks import ParsedReply, Task

_FENCE = re.compile(r"```[ \t]*[\w+-]*[ \t]*\n(.*?)(?:\n[ \t]*```|\Z)", re.DOTALL)
# A line that only says what comes next: "Solution:", "**Test cases:**", "### Tests", ...
_HEADING = re.compile(
    r"^[ \t]*[#*_]*[ \t]*(?:solution|code|answer|(?:three |3 )?(?:test cases?|tests?|assertions?))"
    r"[ \t]*[*_]*[ \t]*:?[ \t]*[*_]*[ \t]*$",
    re.IGNORECASE | re.MULTILINE,
)


def check_instruction(task: Task, text: str) -> str:
    """The reason why a generated instruction breaks the task's format, or an empty string.

    `opening`, `too_short`, `too_long`, and `pattern` where `filter.pattern` does not match.
    """
    opening, rules = task.spec["instruction"]["opening"], task.spec["filter"]
    if not text.startswith(opening):
        return "opening"
    words = len(text.split())
    if words < rules["min_words"]:
        return "too_short"
    if words > rules["max_words"]:
        return "too_long"
    if not re.search(rules["pattern"], text):
        return "pattern"
    return ""


def _parse(code: str) -> ast.Module | None:
    """The syntax tree of a piece of Python, `None` where it is not Python."""
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", SyntaxWarning)
            return ast.parse(code)
    except (SyntaxError, ValueError, RecursionError, MemoryError):
        return None


def _blocks(reply: str) -> list[str]:
    """The pieces of code in a reply: its fenced blocks, else what its headings leave."""
    fenced = [textwrap.dedent(block) for block in _FENCE.findall(reply)]
    # Some replies hold a heading inside the fence.
    pieces = fenced or [reply.strip().strip("`")]
    return [part.strip("\n") for piece in pieces for part in _HEADING.split(piece) if part.strip()]


def _without_broken_end(block: str) -> str:
    """The longest beginning of a block, by lines, that is Python: a reply may be cut off."""
    lines = block.split("\n")
    for end in range(len(lines), 0, -1):
        if _parse("\n".join(lines[:end])) is not None:
            return "\n".join(lines[:end])
    return ""


def _source(code: str, node: ast.stmt) -> str:
    """The text of a top-level statement, decorators included."""
    first = min([node.lineno, *(item.lineno for item in getattr(node, "decorator_list", []))])
    return "\n".join(code.split("\n")[first - 1 : node.end_lineno])


def _is_example_use(node: ast.stmt) -> bool:
    """Whether a statement only prints or evaluates something: an example, not the solution."""
    return isinstance(node, ast.Expr) and not isinstance(node.value, ast.Constant)


def parse_reply(reply: str, finish_reason: str, min_tests: int) -> ParsedReply:
    """Read a solution and its assertions out of a reply.

    Headings and fences may be missing, of any case, or name a language. Assertions that stand
    twice count once. The reasons of a reply without use: `empty`, `not_python`, `no_function`,
    `too_few_tests` (fewer distinct ones than `min_tests`), `truncated` when the
    limit of tokens cut off what is missing.
    """
    cut_off = finish_reason == "length"
    if cut_off:
        # The last line may be half of one, and half an assertion can still be Python.
        reply = reply.rpartition("\n")[0]
    if not reply.strip():
        return ParsedReply(reason="truncated" if cut_off else "empty")
    solution, tests = [], {}
    understood = False
    for block in _blocks(reply):
        code = block if _parse(block) is not None else _without_broken_end(block)
        tree = _parse(code)
        understood = understood or bool(tree and tree.body)
        for node in tree.body if tree else []:
            if isinstance(node, ast.Assert):
                tests.setdefault(ast.unparse(node.test), ast.unparse(node))
            elif not _is_example_use(node):
                solution.append(_source(code, node))
    whole = _parse("\n".join(solution))
    if not understood:
        return ParsedReply(reason="truncated" if cut_off else "not_python")
    if whole is None or not _defined_functions(whole):
        return ParsedReply(reason="truncated" if cut_off else "no_function")
    if len(tests) < min_tests:
        return ParsedReply(reason="truncated" if cut_off else "too_few_tests")
    return ParsedReply(output="\n".join(solution), tests=tuple(tests.values()))


def _defined_functions(tree: ast.Module) -> set[str]:
    """The names that the top level of a program defines as functions or classes."""
    definitions = (ast.FunctionDef, ast.AsyncFunctionDef, ast.ClassDef)
    return {node.name for node in tree.body if isinstance(node, definitions)}


def _called_names(node: ast.AST) -> set[str]:
    """The names of the functions that an expression calls."""
    return {
        call.func.id
        for call in ast.walk(node)
        if isinstance(call, ast.Call) and isinstance(call.func, ast.Name)
    }


def _is_real(test: ast.expr, functions: set[str]) -> bool:
    """Whether an assertion compares what the solution computes with something else.

    `assert f(2) == f(2)`, `assert (f(2) == 4, "message")`, `assert f` and `assert True` prove
    nothing.
    """
    if isinstance(test, (ast.Tuple, ast.List, ast.Dict, ast.Set, ast.Constant)):
        return False
    if not _called_names(test) & functions:
        return False
    if isinstance(test, ast.Compare):
        sides = [ast.dump(side) for side in (test.left, *test.comparators)]
        return len(set(sides)) > 1
    return True


def vacuous(label: Label) -> str:
    """The reason why a label's tests prove nothing, or an empty string.

    Every test must be real: one that calls a function which the solution defines, and can fail.
    """
    functions = _defined_functions(ast.parse(label.output))
    for test in label.tests:
        tree = _parse(test)
        if tree is None or len(tree.body) != 1 or not isinstance(tree.body[0], ast.Assert):
            return f"not an assertion: {test}"
        if not _is_real(tree.body[0].test, functions):
            return f"proves nothing: {test}"
    return "" if label.tests else "no tests"
