"""Instructions that overlap the problems of a benchmark.

Two texts overlap when they share a run of words, or when one of them is too short for that and
stands in the other one as a whole: the rule of DeepSeekMath (arXiv 2402.03300, section 2.1), which
takes ten words. Only words and numbers are compared: not case, punctuation, white space or Unicode
forms. What problems share without being copied does not count: the words that ask for a function;
of Python stubs the imports, signatures and calls; the code of drawings; the marks of options; and
runs of words that several problems of the benchmark have.
"""

import re
import unicodedata
from collections import Counter, defaultdict
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from difflib import SequenceMatcher

import numpy

from scripts.lib.dedup import nearest
from scripts.lib.records import BenchmarkItem

# Words in a row that two problems hardly share unless one was made from the other.
NGRAM = 10
# The least words with which a short text counts as a part of another; with fewer it must be all.
SHORTEST = 6
# A run of words that more problems of one benchmark have is a manner of speaking.
SHARED = 2

_SIGNATURE = re.compile(r"\bdef\s+(\w+)\s*\([^)]*\)(?:\s*->[^:]+)?\s*:")
_FURNITURE = re.compile(
    r"""\[asy\].*?\[/asy\]
    | \bfrom\s+[\w.]+\s+import\s+\w+(?:\s*,\s*\w+)* | \bimport\s+\w+
    | >>>
    | \b(?:write|create|implement|develop)\s+(?:an?|the)\s+(?:\w+\s+)?
      (?:function|program|method|script|code)\b(?:\s+(?:to|that|which)\b)?
    """,
    re.VERBOSE | re.DOTALL,
)
_OPTION = re.compile(r"(?:^|(?<=\s))\(?([a-f])[.):]\s")
# What a passage may begin with and still be the same: "return the sum", "find sum".
_ASKING = frozenset(
    [
        "find",
        "finds",
        "check",
        "checks",
        "determine",
        "calculate",
        "compute",
        "evaluate",
        "get",
        "count",
        "return",
        "returns",
        "if",
        "whether",
        "the",
        "a",
        "an",
        "given",
    ]
)
_BREAK = "\0"
_TOKEN = re.compile(r"[^\W_]+")


@dataclass(frozen=True)
class Overlap:
    """A problem of a benchmark that a text overlaps, and how.

    `rule` is `ngram` or `substring`; `evidence` holds the words that both have, as they are
    compared.
    """

    benchmark: str
    item_id: str
    rule: str
    evidence: str


def passages(text: str) -> list[list[str]]:
    """The words of a text that count, in runs between what does not count, all in lower case."""
    folded = unicodedata.normalize("NFKC", text).casefold()
    names = {match[1] for match in _SIGNATURE.finditer(folded)}
    folded = _SIGNATURE.sub(_BREAK, folded)
    if names:
        folded = re.sub(rf"\b(?:{'|'.join(sorted(names))})\s*\(", _BREAK, folded)
    folded = _FURNITURE.sub(_BREAK, folded)
    if set("abc") <= set(_OPTION.findall(folded)):
        folded = _OPTION.sub(_BREAK, folded)
    runs = (_without_asking(_TOKEN.findall(part)) for part in folded.split(_BREAK))
    return [run for run in runs if run]


def _without_asking(run: list[str]) -> list[str]:
    start = next((at for at, token in enumerate(run) if token not in _ASKING), len(run))
    return run[start:]


def _words(run: Sequence[str]) -> int:
    """How many tokens are words: the rest are numbers, variables and the like."""
    return sum(len(token) > 1 and token.isalpha() for token in run)


def _windows(run: Sequence[str], size: int) -> Iterator[str]:
    return (" ".join(run[at : at + size]) for at in range(len(run) - size + 1))


def _grams(runs: list[list[str]], size: int) -> set[str]:
    """The n-grams of which at least half are words; "1 2 3 4 5" says nothing about a problem."""
    return {
        gram
        for run in runs
        for at, gram in enumerate(_windows(run, size))
        if 2 * _words(run[at : at + size]) >= size
    }


def _main(runs: list[list[str]]) -> list[str]:
    """The passage with the most words, which stands for a text that has no n-gram."""
    return max(runs, key=_words, default=[])


class OverlapIndex:
    """Benchmark problems, indexed by the words that a text can share with them.

    `ngram` is how many words in a row make an overlap. A problem without an n-gram of its own (it
    is short, or all are manners of speaking) is represented by its main passage: a text overlaps
    it when it holds that passage, of `SHORTEST` words or more, or when its own main passage is the
    same. Likewise a text without any n-gram overlaps a problem that holds its main passage.
    """

    def __init__(self, items: Sequence[BenchmarkItem], ngram: int = NGRAM) -> None:
        self._items, self._ngram = items, ngram
        texts = [passages(item.text) for item in items]
        grams = [_grams(runs, ngram) for runs in texts]
        shared = Counter(
            (item.benchmark, gram) for item, own in zip(items, grams, strict=True) for gram in own
        )
        # Each maps some words to the numbers of the problems that have them, in order.
        self._by_gram: dict[str, list[int]] = defaultdict(list)
        self._by_window: dict[str, list[int]] = defaultdict(list)
        self._short_by_start: dict[str, list[int]] = defaultdict(list)
        self._short_by_main: dict[str, list[int]] = defaultdict(list)
        self._texts = [f" {_BREAK} ".join(["", *map(" ".join, runs), ""]) for runs in texts]
        self._mains = [" ".join(_main(runs)) for runs in texts]
        for number, (item, runs) in enumerate(zip(items, texts, strict=True)):
            own = [gram for gram in grams[number] if shared[item.benchmark, gram] <= SHARED]
            for gram in own:
                self._by_gram[gram].append(number)
            for window in {window for run in runs for window in _windows(run, SHORTEST)}:
                self._by_window[window].append(number)
            main = _main(runs)
            if main and not own:
                self._short_by_main[" ".join(main)].append(number)
                if len(main) >= SHORTEST:
                    self._short_by_start[" ".join(main[:SHORTEST])].append(number)

    def find(self, text: str) -> list[Overlap]:
        """The overlaps of a text, at most one for each benchmark, in the order of the problems.

        Of several problems of a benchmark the first one is named.
        """
        runs = passages(text)
        found: dict[int, tuple[str, str]] = {
            number: ("substring", evidence) for number, evidence in self._substrings(runs)
        }
        for gram in _grams(runs, self._ngram):
            for number in self._by_gram.get(gram, ()):
                found[number] = ("ngram", "")
        first: dict[str, int] = {}
        for number in sorted(found):
            first.setdefault(self._items[number].benchmark, number)
        return [self._overlap(number, *found[number], runs) for number in first.values()]

    def _substrings(self, runs: list[list[str]]) -> Iterator[tuple[int, str]]:
        """The problems that stand in a text, or that a text stands in, and the words of it."""
        for run in runs:
            joined = f" {' '.join(run)} "
            for window in _windows(run, SHORTEST):
                for number in self._short_by_start.get(window, ()):
                    if f" {self._mains[number]} " in joined:
                        yield number, self._mains[number]
        main = _main(runs)
        whole = " ".join(main)
        for number in self._short_by_main.get(whole, ()):
            yield number, whole
        if len(main) >= SHORTEST and not _grams(runs, self._ngram):
            for number in self._by_window.get(" ".join(main[:SHORTEST]), ()):
                if f" {whole} " in self._texts[number]:
                    yield number, whole

    def _overlap(self, number: int, rule: str, evidence: str, runs: list[list[str]]) -> Overlap:
        item = self._items[number]
        if rule == "ngram":
            evidence = " ".join(_longest_shared(runs, passages(item.text)))
        return Overlap(item.benchmark, item.id, rule, evidence)


def _longest_shared(first: list[list[str]], second: list[list[str]]) -> list[str]:
    """The longest run of words that two texts share, the first of equally long ones."""
    shared: list[str] = []
    for run in first:
        for other in second:
            match = SequenceMatcher(None, run, other, autojunk=False).find_longest_match()
            if match.size > len(shared):
                shared = run[match.a : match.a + match.size]
    return shared


@dataclass(frozen=True)
class Nearest:
    """An instruction and the problem of a benchmark that is nearest to it, by their numbers."""

    instruction: int
    item: int
    similarity: float


def nearest_items(
    vectors: numpy.ndarray,
    items: Sequence[BenchmarkItem],
    item_vectors: numpy.ndarray,
    count: int,
) -> dict[str, list[Nearest]]:
    """The `count` instructions that are nearest to each benchmark, by cosine, nearest first.

    `vectors` and `item_vectors` hold the unit vectors of the instructions and of `items` as rows.
    Each instruction is paired with the problem nearest to it; of equally near ones the first comes
    first. Raises `ValueError` like `dedup.nearest`, and where there is not one vector an item.
    """
    if len(items) != len(item_vectors):
        raise ValueError("there must be one vector for each item")
    numbers: dict[str, list[int]] = defaultdict(list)
    for number, item in enumerate(items):
        numbers[item.benchmark].append(number)
    closest = {}
    for benchmark, own in numbers.items():
        similarity, row = nearest(vectors, item_vectors[own])
        order = numpy.argsort(-similarity, kind="stable")[:count].tolist()
        closest[benchmark] = [Nearest(at, own[row[at]], float(similarity[at])) for at in order]
    return closest
