"""docs/troubleshooting.md holds every line by which a failure is explained, and no other."""

import ast
import re
from collections.abc import Iterator
from functools import cache
from pathlib import Path

import pytest

PROJECT = Path(__file__).parents[2]
PAGE = PROJECT / "docs" / "troubleshooting.md"
# What is below is said by others.
LAST_OF_OURS = "## Slurm and Snakemake"
# The exceptions that a user is meant to read.
RAISED = {
    "UserError", "WorkflowError", "SandboxUnavailable", "NoKeyLeft", "EndpointDown",
    "CanaryFailed", "TooManyFailed",
}  # fmt: skip
# What a remedy begins with.
REMEDIES = {
    "accept", "add", "describe", "fetch", "give", "lower", "make", "mend", "move", "name",
    "pip install", "put", "raise", "remove", "rename", "run", "set", "use",
}  # fmt: skip
# What stands for what differs, on the page and here.
GAP = "…"
# A message of fewer letters is another exception's, passed on.
LEAST_LETTERS = 8


def said(node: ast.expr) -> Iterator[str]:
    """The texts that an expression may be, with a gap for each value in it."""
    if isinstance(node, ast.IfExp):
        yield from said(node.body)
        yield from said(node.orelse)
        return
    if isinstance(node, ast.BinOp):
        parts = [next(said(node.left)), next(said(node.right))]
    elif isinstance(node, ast.JoinedStr):
        parts = [part.value if isinstance(part, ast.Constant) else GAP for part in node.values]
    elif isinstance(node, ast.Constant) and isinstance(node.value, str):
        parts = [node.value]
    else:
        parts = [GAP]
    yield re.sub(f"{GAP}+", GAP, "".join(parts))


def trees() -> Iterator[tuple[Path, ast.AST]]:
    """The modules of the project, and of its rules the calls that explain a failure."""
    # The doctor's own findings are explained where they are printed.
    for path in sorted((PROJECT / "scripts").rglob("*.py")):
        if "doctor" not in path.parts:
            yield path, ast.parse(path.read_text(encoding="utf-8"))
    for path in sorted((PROJECT / "rules").glob("*.smk")):
        text = path.read_text(encoding="utf-8")
        for found in re.finditer(r"WorkflowError\(", text):
            end = found.end()
            while (call := text[found.start() : end]).count("(") != call.count(")"):
                end = text.index(")", end) + 1
            yield path, ast.parse(call)


@cache
def messages() -> dict[str, Path]:
    """Every message that is raised for the user, with the module that does so."""
    found = {}
    for path, tree in trees():
        for node in ast.walk(tree):
            if isinstance(node, ast.Call) and isinstance(node.func, ast.Name) and node.args:
                if node.func.id not in RAISED:
                    continue
                for text in said(node.args[0]):
                    if len(re.findall(r"\w", text.replace(GAP, ""))) >= LEAST_LETTERS:
                        found[text] = path
    return found


@cache
def texts() -> str:
    """All texts of the code, a line each."""
    return "\n".join(
        text.replace("\n", " ")
        for _, tree in trees()
        for node in ast.walk(tree)
        if isinstance(node, ast.JoinedStr | ast.Constant)
        for text in said(node)
    )


@cache
def shown() -> list[str]:
    """The messages of the page: what stands in code in a table's first column, or in its text."""
    ours = PAGE.read_text(encoding="utf-8").partition(LAST_OF_OURS)[0]
    rows = re.findall(r"^\| `([^`]+)` \|", ours, re.MULTILINE)
    by_hand = re.findall(r"`([^`]+)`", ours.partition("Steps that are run by hand")[2])
    return rows + by_hand


def test_the_page_has_its_parts() -> None:
    assert LAST_OF_OURS in PAGE.read_text(encoding="utf-8")
    assert len(shown()) > 150
    assert len(messages()) > 150


def test_what_the_page_shows_is_said_by_the_code() -> None:
    unknown = [message for message in shown() if message not in texts()]
    assert not unknown, f"no code says this any more: mend docs/troubleshooting.md: {unknown}"


def test_what_the_code_says_is_on_the_page() -> None:
    missing = [
        f"{path.relative_to(PROJECT)}: {message}"
        for message, path in messages().items()
        if not any(one in message for one in shown())
    ]
    assert not missing, "docs/troubleshooting.md lacks:\n" + "\n".join(missing)


def explains_itself(message: str) -> bool:
    """Whether a message says what to do: a colon, and then a verb that asks for it."""
    return bool(re.search(rf": ({'|'.join(sorted(REMEDIES))})\b", message))


def test_each_line_has_a_remedy_there_or_in_itself() -> None:
    """A row whose second column is empty must be of messages that all say what to do."""
    page = PAGE.read_text(encoding="utf-8").partition(LAST_OF_OURS)[0]
    lacking = []
    for one in re.findall(r"^\| `([^`]+)` \|\s*\|$", page, re.MULTILINE):
        whole = [text for text in messages() if one in text]
        whole = whole or [text for text in texts().splitlines() if one in text]
        lacking += [text for text in whole if not explains_itself(text)]
    assert not lacking, "docs/troubleshooting.md says nowhere what to do:\n" + "\n".join(lacking)


@pytest.mark.parametrize(
    ("message", "expected"),
    [
        ("…: is not text", False),
        ("…: cannot be read: …", False),
        ("a text failed: namely this one", False),
        ("…: two benchmarks are named …: rename one", True),
        ("no such file: mend the path", True),
    ],
)
def test_a_message_explains_itself_or_not(message: str, expected: bool) -> None:
    assert explains_itself(message) == expected


@pytest.mark.parametrize(
    ("code", "expected"),
    [
        ('f"{a}{b}: is {c!r}"', ["…: is …"]),
        ('"a " "b"', ["a b"]),
        ('"a" if x else f"b{c}"', ["a", "b…"]),
        ('f"a{b}" + ", ".join(c)', ["a…"]),
    ],
)
def test_messages_are_read_from_code(code: str, expected: list[str]) -> None:
    assert list(said(ast.parse(code, mode="eval").body)) == expected


def test_a_link_of_the_operators_pages_leads_somewhere() -> None:
    for name in ("troubleshooting", "cluster", "api-cost", "security", "moving-results"):
        page = PROJECT / "docs" / f"{name}.md"
        for target, anchor in re.findall(r"\]\(([\w./-]+\.\w+)(?:#([\w-]+))?\)", page.read_text()):
            linked = page.parent / target
            assert linked.is_file(), f"{name}: {target}"
            headings = re.findall(r"^#+ (.*)$", linked.read_text(), re.MULTILINE)
            slugs = {re.sub(r"[^\w -]", "", text.lower()).replace(" ", "-") for text in headings}
            assert not anchor or anchor in slugs, f"{name}: {target}#{anchor}"
