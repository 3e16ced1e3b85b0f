"""Greedy deduplication of instructions against the seeds and against each other."""

import re
import unicodedata
from collections.abc import Iterable, Iterator
from dataclasses import dataclass

import numpy


@dataclass(frozen=True)
class Match:
    """The nearest text of a pool: which one, how near (cosine), and whether it is the same text."""

    text: str
    similarity: float
    exact: bool


NO_MATCH = Match(text="", similarity=0.0, exact=False)


def normalise(text: str) -> str:
    """A text without what does not make it another: case, punctuation, spaces, Unicode forms."""
    folded = unicodedata.normalize("NFKC", text).casefold()
    return " ".join(re.findall(r"\w+", folded))


class Pool:
    """Texts with their unit vectors, and the nearest of them to a new one."""

    def __init__(self, dimensions: int) -> None:
        self._texts: list[str] = []
        self._normalised: dict[str, str] = {}
        self._vectors = numpy.zeros((64, dimensions), dtype=numpy.float32)

    def add(self, text: str, vector: numpy.ndarray) -> None:
        """Put a text into the pool."""
        if len(self._texts) == len(self._vectors):
            self._vectors = numpy.concatenate([self._vectors, numpy.zeros_like(self._vectors)])
        self._vectors[len(self._texts)] = vector
        self._texts.append(text)
        self._normalised.setdefault(normalise(text), text)

    def nearest(self, text: str, vector: numpy.ndarray) -> Match:
        """The pool's text that is nearest to another; a text that is the same is nearest of all."""
        if not self._texts:
            return NO_MATCH
        cosines = self._vectors[: len(self._texts)] @ vector
        best = int(cosines.argmax())
        same = self._normalised.get(normalise(text))
        if same is not None:
            return Match(text=same, similarity=1.0, exact=True)
        # Rounded, so that the last bits of a matrix product do not show in a result.
        return Match(self._texts[best], round(float(cosines[best]), 4), exact=False)


def greedy_dedup(
    texts: Iterable[str], vectors: numpy.ndarray, pool: Pool, threshold: float
) -> Iterator[tuple[str, Match]]:
    """Go through texts in order and keep those that are far enough from all before them.

    Yields for each text the reason why it is dropped, empty where it is kept, and its nearest
    neighbour. A text is dropped as `duplicate` when the pool holds the same one, as `similar` when
    the cosine reaches `threshold` (the paper: 0.8); kept texts join the pool.
    """
    for text, vector in zip(texts, vectors, strict=True):
        match = pool.nearest(text, vector)
        if match.exact:
            yield "duplicate", match
        elif match.similarity >= threshold:
            yield "similar", match
        else:
            pool.add(text, vector)
            yield "", match
