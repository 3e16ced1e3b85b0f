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
from itertools import accumulate, chain

import numpy

from scripts.lib.dedup import nearest
from scripts.lib.records import BenchmarkItem

# Words in a row that two problems hardly share unless one was made from the other.
NGRAM = 10
# The least words with which a short text counts as a part of another; with fewer it must be all.
SHORTEST = 6
# The least share of words in a run; "1 2 3 4 5" or "where a b and c are" say little of a problem.
WORDS = 0.7
# A run of words that more problems of one benchmark have is a manner of speaking.
SHARED = 2

_SIGNATURE = re.compile(r"\bdef\s+(\w+)\s*\([^)]*\)(?:\s*->[^:\"']+)?\s*:")
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
_ASKING = re.compile(
    r"(?:finds?|checks?|determines?|calculates?|computes?|evaluates?|gets?|counts?|returns?"
    r"|if|whether|the|an?|given)$"
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
    start = next((at for at, token in enumerate(run) if not _ASKING.match(token)), len(run))
    return run[start:]


def _is_word(token: str) -> bool:
    """Whether a token is a word, and not a number, a variable or the like."""
    return len(token) > 1 and token.isalpha()


def _windows(run: Sequence[str], size: int) -> Iterator[str]:
    return (" ".join(run[at : at + size]) for at in range(len(run) - size + 1))


def _grams(runs: list[list[str]], size: int) -> set[str]:
    """The n-grams that are made of words for the most part."""
    grams = set()
    for run in runs:
        words_before = [0, *accumulate(map(_is_word, run))]
        for at, gram in enumerate(_windows(run, size)):
            if words_before[at + size] - words_before[at] >= WORDS * size:
                grams.add(gram)
    return grams


def _main(runs: list[list[str]]) -> list[str]:
    """The passage with the most words, which stands for a text that has no n-gram."""
    return max(runs, key=lambda run: sum(map(_is_word, run)), default=[])


class OverlapIndex:
    """Benchmark problems, indexed by the words that a text can share with them.

    `ngram` is how many words in a row make an overlap. A problem that has no such run of its own,
    because it is short or in a common manner of speaking, is known by its main passage: a text
    overlaps it by holding that passage, of `SHORTEST` words at least, or of two where it is all
    that stands between what does not count. Likewise a text without such a run overlaps the
    problems that hold its main passage.
    """

    def __init__(self, items: Sequence[BenchmarkItem], ngram: int = NGRAM) -> None:
        self._items, self._ngram = items, ngram
        self._texts = [passages(item.text) for item in items]
        self._mains = [_main(runs) for runs in self._texts]
        # Each maps some words to the numbers of the problems that have them.
        self._by_gram: dict[str, list[int]] = defaultdict(list)
        self._by_window: dict[str, list[int]] = defaultdict(list)
        self._short_by_start: dict[str, list[int]] = defaultdict(list)
        self._short_by_main: dict[str, list[int]] = defaultdict(list)

        grams = [_grams(runs, ngram) for runs in self._texts]
        # A problem that stands twice in a benchmark does not make its words a manner of speaking.
        different = {
            (item.benchmark, item.text): own for item, own in zip(items, grams, strict=True)
        }
        having = Counter(
            (benchmark, gram) for (benchmark, _), own in different.items() for gram in own
        )
        for number, item in enumerate(items):
            own = [gram for gram in grams[number] if having[item.benchmark, gram] <= SHARED]
            for gram in own:
                self._by_gram[gram].append(number)
            if not own:
                self._add_short(number)
            windows = (_windows(run, SHORTEST) for run in self._texts[number])
            for window in set(chain.from_iterable(windows)):
                self._by_window[window].append(number)

    def _add_short(self, number: int) -> None:
        main = self._mains[number]
        if len(main) > 1:
            self._short_by_main[" ".join(main)].append(number)
        if len(main) >= SHORTEST:
            self._short_by_start[" ".join(main[:SHORTEST])].append(number)

    def find(self, text: str) -> list[Overlap]:
        """The overlaps of a text, at most one for each benchmark, in the order of the problems.

        Of several problems of a benchmark the first one is named.
        """
        runs = passages(text)
        grams = _grams(runs, self._ngram)
        sharing = {number for gram in grams for number in self._by_gram.get(gram, ())}
        holding = dict(self._substrings(runs, short=not grams))
        first: dict[str, int] = {}
        for number in sorted(sharing | holding.keys()):
            first.setdefault(self._items[number].benchmark, number)
        return [
            self._overlap(
                number, "ngram", _longest_shared(runs, passages(self._items[number].text))
            )
            if number in sharing
            else self._overlap(number, "substring", holding[number])
            for number in first.values()
        ]

    def _substrings(self, runs: list[list[str]], short: bool) -> Iterator[tuple[int, list[str]]]:
        """The problems that stand in a text, or that a short text stands in, and these words."""
        for run in runs:
            for number in self._short_by_main.get(" ".join(run), ()):
                yield number, run
            for window in _windows(run, SHORTEST):
                for number in self._short_by_start.get(window, ()):
                    if _holds([run], self._mains[number]):
                        yield number, self._mains[number]
        main = _main(runs)
        if short and len(main) >= SHORTEST:
            for number in self._by_window.get(" ".join(main[:SHORTEST]), ()):
                if _holds(self._texts[number], main):
                    yield number, main

    def _overlap(self, number: int, rule: str, evidence: list[str]) -> Overlap:
        item = self._items[number]
        return Overlap(item.benchmark, item.id, rule, " ".join(evidence))


def _holds(runs: list[list[str]], words: list[str]) -> bool:
    """Whether one of the runs has the words one behind the other."""
    return any(f" {' '.join(words)} " in f" {' '.join(run)} " for run in runs)


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
