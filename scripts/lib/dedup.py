"""Greedy deduplication of instructions against the seeds and against each other.

The result is defined by one similarity of two texts, `similarities`, and by going through the texts
one by one. The work is done by matrix products of whole blocks: they only say which pool members
can be the nearest at all, and those few are then compared exactly. So neither the block size nor
the rounding of a matrix product shows in a result.
"""

import re
import unicodedata
from collections.abc import Sequence
from dataclasses import dataclass

import numpy

# Pool members of one matrix product: block x TILE products stay near the processor's caches.
TILE = 1024
# Pairs whose vectors are gathered at once, which bounds the memory.
PAIRS = 2048
# The share of the squared lengths that a vector's head holds: longer heads cost more to multiply,
# shorter ones leave more candidates to compare.
ENERGY = 0.9
# Where a larger share of a tile is candidates, whole vectors are multiplied instead of heads.
LOOSE = 1 / 64
# Members, the best of as many tiles, that are compared with a text before all others.
PROMISING = 3
# Numbers, words, and every sign that does not merely structure a sentence.
_TOKEN = re.compile(r"""\d+(?:[.,]\d+)+|\.\d+|\w+|[^\w\s.,;:?'"\u2018\u2019\u201c\u201d]""")
# Below every cosine.
NOWHERE = -2.0


@dataclass(frozen=True)
class Match:
    """The nearest text of a pool: which one, how near (cosine), and whether it is the same text."""

    text: str
    similarity: float
    exact: bool


NO_MATCH = Match(text="", similarity=0.0, exact=False)


def normalise(text: str) -> str:
    """A text without what does not make it another: case, spaces, Unicode forms, punctuation.

    Signs stay, since `x + 1` is not `x - 1`, and `1.5` is not `15`.
    """
    return " ".join(_TOKEN.findall(unicodedata.normalize("NFKC", text).casefold()))


def similarities(first: numpy.ndarray, second: numpy.ndarray) -> numpy.ndarray:
    """Cosines of the rows of two (pairs, dimensions) arrays of unit vectors, to four decimals.

    Sums in double precision and in NumPy's own order: no matrix product, whose last bits differ
    between libraries, processors and shapes. There is no negative zero.
    """
    return numpy.multiply(first, second, dtype=numpy.float64).sum(axis=1).round(4) + 0.0


class _Pool:
    """Texts by their numbers, and the nearest of them to others.

    Of each vector there is a head: its coordinates along the leading principal directions, and the
    length of all the rest. The product of two heads is never below that of the vectors
    (Cauchy-Schwarz for the rest), so a short head rules out most of the pool.
    """

    def __init__(self, vectors: numpy.ndarray) -> None:
        self.vectors = vectors
        self.slack = 1e-4 + 4 * vectors.shape[1] * float(numpy.finfo(numpy.float32).eps)
        self.heads = _heads(vectors)
        self._numbers = numpy.empty(len(vectors), dtype=numpy.int64)
        self._member_heads = numpy.empty_like(self.heads)
        self._size = 0

    def add(self, numbers: numpy.ndarray) -> None:
        """Put texts into the pool, whose numbers are higher than all that are there."""
        end = self._size + len(numbers)
        self._numbers[self._size : end] = numbers
        self._member_heads[self._size : end] = self.heads[numbers]
        self._size = end

    def nearest(self, numbers: numpy.ndarray) -> tuple[numpy.ndarray, numpy.ndarray]:
        """The greatest similarity to each text, and the number of the first member that has it.

        `NOWHERE` and -1 while the pool is empty.
        """
        best = _Best(self.vectors, numbers, self.slack)
        heads = self.heads[numbers]
        tiles = [slice(at, min(at + TILE, self._size)) for at in range(0, self._size, TILE)]
        tops = numpy.empty((len(numbers), len(tiles)), dtype=numpy.float32)
        members = numpy.empty(tops.shape, dtype=numpy.int64)
        for column, tile in enumerate(tiles):
            bounds = heads @ self._member_heads[tile].T
            top = bounds.argmax(axis=1, keepdims=True)
            tops[:, [column]] = numpy.take_along_axis(bounds, top, axis=1)
            members[:, [column]] = self._numbers[tile][top]
        # The most promising members are compared first: they rule out almost all others.
        for column in tops.argsort(axis=1).T[: -PROMISING - 1 : -1]:
            rows = numpy.arange(len(numbers))
            best.update(rows, members[rows, column])
        for column, tile in enumerate(tiles):
            rows = numpy.flatnonzero(tops[:, column] >= best.similarity - self.slack)
            bar = (best.similarity[rows] - self.slack)[:, None]
            candidates = heads[rows] @ self._member_heads[tile].T >= bar
            if numpy.count_nonzero(candidates) > LOOSE * candidates.size:
                pool_vectors = self.vectors[self._numbers[tile]]
                candidates = self.vectors[numbers[rows]] @ pool_vectors.T >= bar
            at = numpy.flatnonzero(candidates)
            best.update(
                rows[at // candidates.shape[1]], self._numbers[tile][at % candidates.shape[1]]
            )
        return best.similarity, best.number


class _Best:
    """The nearest members found so far for each of some texts."""

    def __init__(self, vectors: numpy.ndarray, numbers: numpy.ndarray, slack: float) -> None:
        self._vectors, self._numbers, self._slack = vectors, numbers, slack
        self.similarity = numpy.full(len(numbers), NOWHERE)
        self.number = numpy.full(len(numbers), -1)

    def update(self, rows: numpy.ndarray, members: numpy.ndarray) -> None:
        """Compare texts with members, pair by pair."""
        for start in range(0, len(rows), PAIRS):
            row, member = rows[start : start + PAIRS], members[start : start + PAIRS]
            own, other = self._vectors[self._numbers[row]], self._vectors[member]
            # Single precision is enough to say that most of them are not the nearest.
            rival = numpy.einsum("ij,ij->i", own, other) >= self.similarity[row] - self._slack
            if not rival.any():
                continue
            row, member = row[rival], member[rival]
            similarity = similarities(own[rival], other[rival])
            # The nearest of each row behind the others, so that it is the one that is assigned.
            order = numpy.lexsort((-member, similarity, row))
            last = order[numpy.append(row[order][1:] != row[order][:-1], True)]
            row, member, similarity = row[last], member[last], similarity[last]
            better = (similarity > self.similarity[row]) | (
                (similarity == self.similarity[row]) & (member < self.number[row])
            )
            self.similarity[row[better]] = similarity[better]
            self.number[row[better]] = member[better]


class _Turns:
    """The texts of a block, which join the pool one after the other."""

    def __init__(self, pool: _Pool, numbers: numpy.ndarray) -> None:
        self._vectors, self._numbers = pool.vectors, numbers
        self._row = {number: row for row, number in enumerate(numbers.tolist())}
        similarity, nearest = pool.nearest(numbers)
        self._outside = list(zip(similarity.tolist(), nearest.tolist(), strict=True))
        # The earlier texts of the block that could be nearer than the pool; most have none.
        heads = pool.heads[numbers]
        self._rivals = numpy.tril(heads @ heads.T >= (similarity - pool.slack)[:, None], k=-1)
        self._rivalled = self._rivals.any(axis=1).tolist()
        self._kept = numpy.zeros(len(numbers), dtype=bool)

    def nearest(self, number: int) -> tuple[float, int]:
        """The similarity and the number of a text's nearest, in the pool or kept before it here."""
        row = self._row[number]
        similarity, nearest = self._outside[row]
        if not self._rivalled[row]:
            return similarity, nearest
        rivals = self._numbers[self._rivals[row] & self._kept]
        if rivals.size:
            near = similarities(self._vectors[rivals], self._vectors[[number]])
            if near.max() > similarity:
                return float(near.max()), int(rivals[near.argmax()])
        return similarity, nearest

    def keep(self, number: int) -> None:
        self._kept[self._row[number]] = True

    def kept(self) -> numpy.ndarray:
        """The numbers of the texts that were kept, in their order."""
        return self._numbers[self._kept]


def _stacked(seed_vectors: numpy.ndarray, vectors: numpy.ndarray) -> numpy.ndarray:
    """All vectors below each other in single precision, when they are unit vectors."""
    parts = [part for part in (seed_vectors, vectors) if len(part)]
    stacked = numpy.concatenate(parts or [vectors], dtype=numpy.float32)
    # Encoders that work in half precision miss the unit by some thousandths.
    if not (numpy.einsum("ij,ij->i", stacked, stacked) < 1.02).all():
        raise ValueError("the vectors must be unit vectors")
    return stacked


def _leading_directions(vectors: numpy.ndarray) -> tuple[numpy.ndarray, int]:
    """Principal directions as columns, greatest first, and how many of them make a head."""
    energy, directions = numpy.linalg.eigh((vectors.T @ vectors).astype(numpy.float64))
    shares = energy[::-1].cumsum() / max(energy.sum(), 1e-300)
    width = int((shares < ENERGY).sum()) + 1
    dimensions = vectors.shape[1]
    # A head of more than half the dimensions saves less than its loose bounds cost.
    width = width if 2 * width <= dimensions else dimensions
    return directions[:, ::-1].astype(numpy.float32), width


def _heads(vectors: numpy.ndarray, block: int = 4096) -> numpy.ndarray:
    """The heads of all vectors: their leading coordinates, and the length of the rest."""
    directions, width = _leading_directions(vectors)
    heads = numpy.empty((len(vectors), width + 1), dtype=numpy.float32)
    for start in range(0, len(vectors), block):
        turned = vectors[start : start + block] @ directions
        heads[start : start + block, :width] = turned[:, :width]
        heads[start : start + block, width] = numpy.linalg.norm(turned[:, width:], axis=1)
    return heads


def nearest(
    vectors: numpy.ndarray, others: numpy.ndarray, block: int = 2048
) -> tuple[numpy.ndarray, numpy.ndarray]:
    """The similarity of each vector to its nearest of `others`, and the row of that one.

    The arrays hold unit vectors as rows; of equally near ones the first row is meant. `NOWHERE`
    and -1 where `others` is empty. Raises `ValueError` like `greedy_dedup`.
    """
    pool = _Pool(_stacked(others, vectors))
    pool.add(numpy.arange(len(others)))
    numbers = len(others) + numpy.arange(len(vectors))
    parts = [pool.nearest(numbers[at : at + block]) for at in range(0, max(len(numbers), 1), block)]
    similarity, rows = zip(*parts, strict=True)
    return numpy.concatenate(similarity), numpy.concatenate(rows)


def greedy_dedup(
    texts: Sequence[str],
    vectors: numpy.ndarray,
    seeds: Sequence[str],
    seed_vectors: numpy.ndarray,
    threshold: float,
    block: int = 2048,
) -> list[tuple[str, Match]]:
    """Go through texts in order and keep those that are far enough from all before them.

    The pool is made of the seeds and of the texts kept so far. For each text, kept ones too, the
    result has the reason why it is dropped, empty for a kept one, and its nearest neighbour in the
    pool at its turn. The reasons: `duplicate` when the pool holds the same text after `normalise`,
    `similar` when the cosine, to four decimals, reaches `threshold` (the paper, arXiv 2310.04484,
    takes 0.8). A text that is the same is nearest of all, and of equally near ones the first in the
    pool. While the pool is empty, the neighbour is `NO_MATCH`.

    `vectors` and `seed_vectors` hold the texts' unit vectors as rows. `block` texts are compared
    at a time, which changes memory and speed, never the result. Raises `ValueError` when the
    numbers of texts and vectors differ, when a vector is longer than a unit or not a number, and
    when `block` is less than 1.
    """
    if block < 1:
        raise ValueError("a block must hold a text")
    if len(texts) != len(vectors) or len(seeds) != len(seed_vectors):
        raise ValueError("there must be one vector for each text")
    names = [*seeds, *texts]
    forms = [normalise(name) for name in names]
    pool = _Pool(_stacked(seed_vectors, vectors))
    pool.add(numpy.arange(len(seeds)))
    first: dict[str, int] = {}  # The number of the first pool member of each normalised text.
    for number in range(len(seeds)):
        first.setdefault(forms[number], number)

    outcome: list[tuple[str, Match]] = []
    for start in range(len(seeds), len(names), block):
        numbers = range(start, min(start + block, len(names)))
        new = numpy.array([number for number in numbers if forms[number] not in first], dtype=int)
        turns = _Turns(pool, new)
        for number in numbers:
            same = first.get(forms[number])
            if same is not None:
                outcome.append(("duplicate", Match(names[same], 1.0, exact=True)))
                continue
            similarity, near = turns.nearest(number)
            reason = "similar" if similarity >= threshold else ""
            match = NO_MATCH if near < 0 else Match(names[near], similarity, exact=False)
            outcome.append((reason, match))
            if not reason:
                first[forms[number]] = number
                turns.keep(number)
        pool.add(turns.kept())
    return outcome
