"""Decontamination: what overlaps a benchmark's problem, and what only looks like it."""

import os
from pathlib import Path

import numpy
import pytest

from bench.decontamination import PLANTS, TASKS, benchmark_items, reshaped, training_texts
from scripts.lib.decontamination import Nearest, Overlap, OverlapIndex, nearest_items, passages
from scripts.lib.records import BenchmarkItem
from scripts.lib.seeds import load_seed_file
from scripts.lib.tasks import load_task

STUB = '''from typing import List


def paint_fences(fences: List[int], brushes: int) -> int:
    """ Every fence takes as many minutes as it has boards, and each brush paints one fence
    at a time. Return the fewest minutes after which all fences are painted.
    >>> paint_fences([4, 4, 2], 2)
    6
    >>> paint_fences([7], 3)
    7
    """
'''
SHORT_STUB = '''def shelf(books: list) -> list:
    """Return books ordered by the colour of their spines.
    >>> shelf([])
    []
    """
'''
SENTENCE = "Write a python function to find the number of lighthouses seen from a given island."
SHORT = "Write a function to knit a scarf."
STORY = (
    "Mirela bakes 14 walnut loaves every Tuesday and sells each of them for 3 coins at the harbour "
    "market. Flour costs her 9 coins. How many coins does she keep after two Tuesdays?"
)
EQUATION = r"Let $g(t) = 7t^{3} - 2t + 11$. Evaluate $g(-2) + g(5)$."
CHOICE = "Where do foxes sleep?\nA. burrow\nB. kettle\nC. orchestra\nD. glacier\nE. envelope"

ITEMS = [
    BenchmarkItem("stubs", "fences", STUB),
    BenchmarkItem("stubs", "shelf", SHORT_STUB),
    BenchmarkItem("sentences", "lighthouses", SENTENCE),
    BenchmarkItem("sentences", "scarf", SHORT),
    BenchmarkItem("stories", "walnuts", STORY),
    BenchmarkItem("equations", "g", EQUATION),
    BenchmarkItem("choices", "foxes", CHOICE),
]
INDEX = OverlapIndex(ITEMS)


def test_a_problem_that_stands_thrice_is_still_found() -> None:
    items = [BenchmarkItem("stories", str(number), STORY) for number in range(3)]
    assert [hit.rule for hit in OverlapIndex(items).find(STORY + " Say why.")] == ["ngram"]


def found(text: str) -> list[tuple[str, str]]:
    return [(overlap.item_id, overlap.rule) for overlap in INDEX.find(text)]


@pytest.mark.parametrize("item", ITEMS, ids=lambda item: item.id)
@pytest.mark.parametrize(
    "change", [str, reshaped, str.title, lambda text: text.replace(" ", "\n ")]
)
def test_case_and_white_space_hide_no_copy(item, change) -> None:
    assert item.id in [item_id for item_id, _ in found(change(item.text))]


def test_an_overlap_says_where_it_is() -> None:
    text = f"Solve this: {STORY[:75]}... or not."
    assert INDEX.find(text) == [
        Overlap(
            benchmark="stories",
            item_id="walnuts",
            rule="ngram",
            evidence="mirela bakes 14 walnut loaves every tuesday and sells each of them for 3",
        )
    ]


def test_punctuation_and_unicode_forms_hide_no_copy() -> None:
    assert found(STORY.replace(" ", " , ").replace("14", "\uff11\uff14")) == [("walnuts", "ngram")]


@pytest.mark.parametrize("stub", [STUB, SHORT_STUB])
def test_another_name_of_the_function_hides_no_docstring(stub: str) -> None:
    renamed = stub.replace("paint_fences", "solve").replace("shelf", "solve")
    assert renamed != stub
    assert found(renamed) == found(stub) != []


def test_a_docstring_in_a_sentence_is_found() -> None:
    sentence = "Write a function to return books ordered by the colour of their spines."
    assert found(sentence) == [("shelf", "substring")]
    assert found(f"{sentence} Use recursion.") == [("shelf", "substring")]
    sentence = (
        "Create a function that returns the fewest minutes when every fence takes as many minutes "
        "as it has boards, and each brush paints one fence at a time."
    )
    assert found(sentence) == [("fences", "ngram")]


def test_a_short_problem_is_found_in_a_longer_text() -> None:
    text = "Print the number of lighthouses seen from a given island, and their colours."
    assert found(text) == [("lighthouses", "substring")]


def test_a_short_text_is_found_in_a_longer_problem() -> None:
    assert found("Write a function to keep track how many coins does she keep") == []
    assert found("How many coins does she keep?") == [("walnuts", "substring")]


def test_a_very_short_problem_must_be_the_whole_text() -> None:
    assert found("Write a python function that can knit a scarf.") == []
    assert found("Write a python function to knit a scarf!") == [("scarf", "substring")]
    assert found("Write a function to knit a scarf and a pair of mittens.") == []


def test_the_order_of_options_hides_no_copy() -> None:
    shuffled = "Where do foxes sleep?\nA. glacier\nB. envelope\nC. kettle\nD. burrow\nE. orchestra"
    assert found(shuffled) == [("foxes", "substring")]
    assert found(" ".join(shuffled.split())) == [("foxes", "substring")]


def test_words_are_compared_whole() -> None:
    assert found("The number of lighthouses seen from a given islander") == []


@pytest.mark.parametrize(
    "text",
    [
        "",
        "Write a function to find the",
        "Write a python function to find the number of windmills in a valley.",
        STUB.partition(" Every")[0] + ' Water the tulips. """',
        "from typing import List\n\n\ndef paint_fences(fences: List[int], brushes: int) -> int:",
        ">>> [1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12]",
        "A. burrow\nB. kettle\nC. orchestra\nD. glacier\nE. envelope",
    ],
)
def test_what_any_problems_share_is_no_overlap(text: str) -> None:
    assert found(text) == []


def test_runs_of_numbers_are_no_overlap() -> None:
    numbers = "4 8 15 16 23 42 7 9 11 13 17 19"
    index = OverlapIndex([BenchmarkItem("b", "1", f"{STORY} Her list says {numbers}.")])
    assert index.find(f"Sort the list {numbers} in the quickest of all possible ways.") == []


def test_what_several_problems_of_a_benchmark_share_is_a_manner_of_speaking() -> None:
    manner = "Give the answer in whole coins and round it up where needed to be fair."
    asked = ["How tall is the mast of the ferry?", "How deep is the quarry lake in May?"]
    asked += ["How wide is the mill wheel of the monks?"]
    items = [BenchmarkItem("b", text[:9], f"{text} {manner}") for text in asked]
    other = f"How old is the oldest oak? {manner}"
    assert OverlapIndex(items).find(other) == OverlapIndex(items).find(manner) == []
    assert [hit.item_id for hit in OverlapIndex(items[:2]).find(other)] == ["How tall "]
    for item in items:
        assert OverlapIndex(items).find(item.text)


def test_a_benchmark_is_named_once_by_its_first_problem() -> None:
    items = [BenchmarkItem(name, number, STORY) for number in "12" for name in ("x", "y")]
    overlaps = OverlapIndex(items).find(STORY)
    assert [(hit.benchmark, hit.item_id) for hit in overlaps] == [("x", "1"), ("y", "1")]


def test_the_length_of_the_run_can_be_chosen() -> None:
    text = "Yesterday she sells each of them for 3 coins in town."
    assert OverlapIndex(ITEMS).find(text) == []
    assert [hit.item_id for hit in OverlapIndex(ITEMS, ngram=7).find(text)] == ["walnuts"]


def test_an_empty_index_finds_nothing() -> None:
    assert OverlapIndex([]).find(STORY) == []
    assert OverlapIndex([BenchmarkItem("b", "1", "Write a function to")]).find("Write it") == []


def test_passages_leave_out_what_does_not_count() -> None:
    assert passages(SHORT_STUB) == [
        ["books", "ordered", "by", "the", "colour", "of", "their", "spines"],
    ]
    assert passages('"""Add one.\n>>> 1 + 1\n2\n"""') == [["add", "one"], ["1", "1", "2"]]
    assert passages("[asy] draw((0,0)); [/asy] What is $x$?") == [["what", "is", "x"]]


def test_the_nearest_items_of_each_benchmark() -> None:
    items = [BenchmarkItem(name, str(at), "") for at, name in enumerate("aab")]
    item_vectors = numpy.eye(3, dtype=numpy.float32)
    vectors = numpy.array([[0.6, 0, 0.8], [0, 1, 0], [0.6, 0.8, 0]], dtype=numpy.float32)
    assert nearest_items(vectors, items, item_vectors, 2) == {
        "a": [Nearest(1, 1, 1.0), Nearest(2, 1, 0.8)],
        "b": [Nearest(0, 2, 0.8), Nearest(1, 2, 0.0)],
    }
    assert nearest_items(vectors[:0], items, item_vectors, 2) == {"a": [], "b": []}
    with pytest.raises(ValueError, match="one vector for each item"):
        nearest_items(vectors, items, item_vectors[:2], 2)


SIBLING = Path(__file__).parents[2].parent / "shared" / "datasets"
DATASETS = Path(os.environ.get("ADA_DATASETS", SIBLING))
needs_datasets = pytest.mark.skipif(not DATASETS.is_dir(), reason="no folder of local datasets")


@pytest.fixture(scope="module")
def real() -> tuple[list[BenchmarkItem], OverlapIndex]:
    items = benchmark_items(DATASETS)
    return items, OverlapIndex(items)


@needs_datasets
@pytest.mark.parametrize(
    ("benchmark", "change"),
    [
        pytest.param(benchmark, change, id=f"{benchmark}, {way}")
        for benchmark, way, change in PLANTS
        if way != "in a longer text"
    ],
)
def test_every_planted_problem_is_found(real, benchmark, change) -> None:
    items, index = real
    missed = [
        item.id
        for item in items
        if item.benchmark == benchmark
        and all(hit.benchmark != benchmark for hit in index.find(change(item.text)))
    ]
    assert missed == []


@needs_datasets
def test_other_problems_are_seldom_found(real) -> None:
    _, index = real
    texts = training_texts(DATASETS)
    assert sum(bool(index.find(text)) for text in texts["GSM8K"]) <= 5
    assert sum(bool(index.find(text)) for text in texts["CommonsenseQA"]) <= 2


@needs_datasets
@pytest.mark.parametrize("name", ["humaneval", "mbpp", "gsm8k", "math", "csqa"])
def test_no_seed_of_ours_overlaps_a_benchmark(real, name: str) -> None:
    _, index = real
    task = load_task(TASKS / f"{name}.yaml")
    for seed in load_seed_file(task, TASKS / f"{name}_seeds.jsonl"):
        assert index.find(seed.instruction) == [], seed.instruction
