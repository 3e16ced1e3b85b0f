"""Time `greedy_dedup` against loops that compare one text at a time.

    python bench/greedy_dedup.py [--texts 100000] [--loop 50000] [--plain 30000]

The instructions are made up: unit vectors whose energy falls like that of the packaged sentence
encoder over the questions of one benchmark, in clusters of unequal sizes, every tenth text the copy
of another with other punctuation. The ways go over the same texts turn by turn in one process: a
loop goes on where it stopped, ours starts anew with all texts so far. Their rows must be equal.

There are two loops. `plain` is what one writes with `sentence_transformers.util.cos_sim`, `tuned`
the fastest that we know: unit vectors in one array, a matrix-vector product a text.
"""

import argparse
import sys
import time
from collections import Counter
from pathlib import Path

import numpy

sys.path.insert(0, str(Path(__file__).parents[1]))

from scripts.lib.dedup import Match, greedy_dedup, normalise, similarities

DIMENSIONS = 384
THRESHOLD = 0.8
SEEDS = 10
# Of all texts, at the end of each turn.
SHARES = (0.1, 0.25, 0.5, 0.75, 1.0)


def unit(vectors: numpy.ndarray) -> numpy.ndarray:
    """The rows, each of length 1."""
    return vectors / numpy.linalg.norm(vectors, axis=1, keepdims=True)


def synthetic(count: int) -> tuple[list[str], numpy.ndarray]:
    """Instructions and their unit vectors."""
    random = numpy.random.default_rng(0)
    # 128 directions hold 86 % of the energy; measured: 84 % (CommonsenseQA) to 95 % (MBPP).
    scale = numpy.exp(-numpy.arange(DIMENSIONS) / 130).astype(numpy.float32)
    turn = numpy.linalg.qr(random.standard_normal((DIMENSIONS, DIMENSIONS)))[0]
    turn = turn.astype(numpy.float32)

    def draw(rows: int) -> numpy.ndarray:
        return unit(random.standard_normal((rows, DIMENSIONS), dtype=numpy.float32) * scale)

    clusters = max(1, count // 5)
    # Some problems are written again and again, most of them once.
    cluster = (clusters * random.random(count) ** 2).astype(int)
    centres = draw(clusters)
    spread = random.uniform(0.2, 1.2, (count, 1)).astype(numpy.float32)
    vectors = unit(centres[cluster] + spread * draw(count))
    texts = [f"Write a function that solves problem {number}." for number in range(count)]
    for at in range(9, count, 10):
        original = int(random.integers(at))
        texts[at] = texts[original].upper().replace(".", " ?")
        vectors[at] = vectors[original]
    return texts, (vectors @ turn).astype(numpy.float32)


class Plain:
    """One text at a time against a growing pool by `util.cos_sim`; only its time is of interest."""

    def __init__(self, capacity: int) -> None:
        import torch
        from sentence_transformers import util

        self._cos_sim, self._from_numpy = util.cos_sim, torch.from_numpy
        self._same: set[str] = set()
        self._vectors = numpy.zeros((capacity, DIMENSIONS), dtype=numpy.float32)
        self.kept = 0

    def add(self, text: str, vector: numpy.ndarray) -> None:
        self._vectors[self.kept] = vector
        self.kept += 1
        self._same.add(normalise(text))

    def turn(self, text: str, vector: numpy.ndarray) -> None:
        if normalise(text) in self._same:
            return
        pool = self._from_numpy(self._vectors[: self.kept])
        if float(self._cos_sim(self._from_numpy(vector), pool).max()) < THRESHOLD:
            self.add(text, vector)


class Loop:
    """One text at a time against a growing pool: a matrix-vector product each."""

    def __init__(self, capacity: int) -> None:
        self.texts: list[str] = []
        self.same: dict[str, str] = {}
        self.vectors = numpy.zeros((capacity, DIMENSIONS), dtype=numpy.float32)

    def add(self, text: str, vector: numpy.ndarray) -> None:
        self.vectors[len(self.texts)] = vector
        self.texts.append(text)
        self.same.setdefault(normalise(text), text)

    def turn(self, text: str, vector: numpy.ndarray) -> tuple[str, Match]:
        """The row of a text, by the same similarity as ours so that the rows can be compared."""
        same = self.same.get(normalise(text))
        if same is not None:
            return "duplicate", Match(same, 1.0, exact=True)
        cosines = self.vectors[: len(self.texts)] @ vector
        near = numpy.flatnonzero(cosines >= cosines.max() - 2e-4)
        exact = similarities(self.vectors[near], vector[None])
        match = Match(self.texts[near[exact.argmax()]], float(exact.max()), exact=False)
        if match.similarity >= THRESHOLD:
            return "similar", match
        self.add(text, vector)
        return "", match


class Stopwatch:
    """Seconds that have passed, and seconds that this process computed, over several laps.

    On a machine that others share the second is the fairer one, with `OPENBLAS_NUM_THREADS=1`.
    """

    def __init__(self) -> None:
        self.passed = self.computed = 0.0

    def __enter__(self) -> "Stopwatch":
        self._started = time.perf_counter(), time.process_time()
        return self

    def __exit__(self, *_: object) -> None:
        self.passed += time.perf_counter() - self._started[0]
        self.computed += time.process_time() - self._started[1]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--texts", type=int, default=100_000)
    parser.add_argument("--loop", type=int, help="compare on so many of the texts, default all")
    parser.add_argument("--plain", type=int, default=0, help="also with the plain loop, on so many")
    arguments = parser.parse_args()

    texts, vectors = synthetic(arguments.texts + SEEDS)
    seeds, seed_vectors = texts[:SEEDS], vectors[:SEEDS]
    texts, vectors = texts[SEEDS:], vectors[SEEDS:]

    def ours(count: int) -> tuple[list[tuple[str, Match]], Stopwatch]:
        with Stopwatch() as watch:
            rows = greedy_dedup(texts[:count], vectors[:count], seeds, seed_vectors, THRESHOLD)
        return rows, watch

    loop, loop_watch = Loop(len(vectors) + SEEDS), Stopwatch()
    for seed, vector in zip(seeds, seed_vectors, strict=True):
        loop.add(seed, vector)
    rows: list[tuple[str, Match]] = []
    compared = min(arguments.loop or arguments.texts, arguments.texts)
    print("  texts   kept   tuned s (computed)     ours s (computed)")
    for end in (round(compared * share) for share in SHARES):
        with loop_watch:
            while len(rows) < end:
                rows.append(loop.turn(texts[len(rows)], vectors[len(rows)]))
        our_rows, watch = ours(end)
        if our_rows != rows:
            raise SystemExit(f"the rows of the first {end} texts differ")
        kept = sum(not reason for reason, _ in rows)
        print(
            f"{end:7} {kept:6} {loop_watch.passed:9.1f} ({loop_watch.computed:8.1f})"
            f"  {watch.passed:9.1f} ({watch.computed:8.1f})",
            flush=True,
        )
    if compared < len(texts):
        our_rows, alone = ours(len(texts))
        print(f"ours alone, {len(texts)} texts: {alone.passed:.1f} s ({alone.computed:.1f})")
    reasons = Counter(reason or "kept" for reason, _ in our_rows)
    print(", ".join(f"{number} {reason}" for reason, number in reasons.most_common()))
    print(
        f"equal rows of {compared} texts; tuned loop {loop_watch.passed:.1f} s, "
        f"ours {watch.passed:.1f} s: {loop_watch.passed / watch.passed:.1f} x"
    )
    if arguments.plain:
        # Ours goes first: PyTorch's threads would go on spinning beside it.
        rows, watch = ours(arguments.plain)
        plain, plain_watch = Plain(len(vectors) + SEEDS), Stopwatch()
        for seed, vector in zip(seeds, seed_vectors, strict=True):
            plain.add(seed, vector)
        with plain_watch:
            for text, vector in zip(texts[: arguments.plain], vectors, strict=False):
                plain.turn(text, vector)
        kept = sum(not reason for reason, _ in rows)
        print(
            f"{arguments.plain} texts; plain loop {plain_watch.passed:.1f} s, {plain.kept - SEEDS} "
            f"kept; ours {watch.passed:.1f} s, {kept} kept: "
            f"{plain_watch.passed / watch.passed:.1f} x"
        )


if __name__ == "__main__":
    main()
