"""What the report shows, and that a page can do nothing but be read."""

import html.parser
import json
import re
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from scripts import list_examples, sum_up_cost, write_overview
from scripts.lib.errors import UserError
from scripts.lib.records import Rejection
from scripts.lib.report.examples import draw, examples, examples_page
from scripts.lib.report.html import Html, clean, element, escape, page, table
from scripts.lib.report.quality import found_at, quality_section, statistics_in
from scripts.lib.report.sections import verdict
from scripts.lib.report.words import percent, points
from tests.report import made_up

ELEMENTS_THAT_LOAD = {"script", "link", "img", "iframe", "object", "embed", "base", "form"}


class Reader(html.parser.HTMLParser):
    """The elements, attributes and text of a page, and those elements that were left open."""

    def __init__(self, content: str) -> None:
        super().__init__()
        self.tags: list[str] = []
        self.attributes: list[tuple[str, str]] = []
        self.text, self.open = "", []
        self.feed(content)

    def handle_starttag(self, tag: str, attrs: list) -> None:
        self.tags.append(tag)
        self.attributes += attrs
        if tag != "meta":
            self.open.append(tag)

    def handle_endtag(self, tag: str) -> None:
        assert self.open.pop() == tag

    def handle_startendtag(self, tag: str, attrs: list) -> None:
        self.tags.append(tag)
        self.attributes += attrs

    def handle_data(self, data: str) -> None:
        self.text += data


def assert_harmless(content: str) -> Reader:
    """A page whose elements are closed, that loads nothing and runs nothing."""
    read = Reader(content)
    assert not read.open
    assert not ELEMENTS_THAT_LOAD & set(read.tags)
    for name, value in read.attributes:
        assert not name.startswith("on"), name
        assert name not in ("href", "xlink:href", "src") or value.startswith("#"), value
    assert "default-src 'none'" in content and "@import" not in content
    return read


@given(st.text())
def test_any_text_reads_in_a_page_as_it_was_but_for_what_cannot_be_seen(text: str) -> None:
    text = text.replace("\r\n", "\n")
    read = assert_harmless(page(text, element("pre", text)))
    assert clean(text) in read.text
    assert clean(clean(text)) == clean(text)
    clean(text).encode()


def test_what_cannot_be_seen_is_spelled_out() -> None:
    assert clean("a\u202eb\x1b\x00\ud800\u200b\r\n\tc") == (
        "a\\u202eb\\u001b\\u0000\\ud800\\u200b\n\tc"
    )


def test_what_is_added_to_html_is_escaped_unless_it_is_html() -> None:
    assert Html("<b>") + "<i>" == "<b>&lt;i&gt;"
    assert isinstance(Html("<b>") + Html("<i>"), Html)
    assert escape("<") == "&lt;" and escape(Html("<")) == "<"


def test_columns_of_numbers_stand_at_the_right() -> None:
    shown = table(["name", "of all"], [["a 1", "5.0 %"], ["b", ""]])
    assert shown.count('class="number"') == 3


def test_shares_have_a_real_minus_and_differences_a_sign() -> None:
    assert (percent(-0.0123), points(0.02), points(-0.02)) == ("\u22121.2 %", "+2.0", "\u22122.0")


def test_examples_have_every_reason_and_the_same_rows_the_same_examples() -> None:
    groups = examples(*made_up.rows(), count=1)
    assert [(group.stage, group.fate, group.of) for group in groups] == [
        ("kept", "own_tests", 3),
        ("dropped", "pattern", 2),
        ("dropped", "contaminated", 1),
        ("dropped", "similar", 1),
        ("dropped", "unfinished", 1),
        ("rejected", "invalid: not_python", 2),
        ("rejected", "failed", 1),
        ("rejected", "surplus", 1),
        ("rejected", "timeout", 1),
    ]
    assert all(len(group.rows) == 1 for group in groups)
    verified, drops, labels, rejected = made_up.rows()
    assert groups == examples(verified[::-1], drops[::-1], labels[::-1], rejected[::-1], count=1)


def test_more_examples_hold_fewer() -> None:
    rows = [made_up.row(Rejection, id=str(number)) for number in range(50)]
    assert draw(rows, 20)[:10] == draw(rows, 10) != rows[:10]


def test_examples_show_hostile_texts_as_text() -> None:
    read = assert_harmless(examples_page("t", examples(*made_up.rows(), count=5)))
    assert read.text.count(clean(made_up.HOSTILE)) > 10


def test_a_long_text_is_cut_and_says_so() -> None:
    verified, _, labels, _ = made_up.rows()
    (kept,) = examples([made_up.row(type(verified[0]), output="x" * 5000)], [], labels, [], 1)
    assert kept.rows[0]["reply"].endswith("(3,500 more characters)")


@pytest.mark.parametrize(
    ("interval", "p", "words"),
    [
        ([0.01, 0.05], 0.01, "is better"),
        ([-0.05, -0.01], 0.01, "is worse"),
        ([-0.01, 0.05], 0.3, "No difference in pass@1 on b is shown: its interval holds zero"),
        # Four problems won of a hundred, and none lost.
        ([0.01, 0.08], 0.127, "chance alone gives as large a one with p = 0.13"),
    ],
)
def test_the_verdict_is_that_of_interval_and_p(interval: list[float], p: float, words: str) -> None:
    found = {"pass@1": {"value": 0.02, "interval": interval, "p": p}}
    assert words in verdict({"benchmarks": [{"benchmark": "b", "differences": found}]})


def test_statistics_are_found_wherever_they_stand() -> None:
    found = {"a": {"length_mean": {"value": 1.5, "interval": [1, 2]}, "p": 0.2}, "b": {"value": 0}}
    assert [(name, one.get("p")) for name, one in statistics_in(found)] == [
        ("a · length mean", 0.2), ("b", None)
    ]  # fmt: skip
    assert found_at(found, "a/length_mean")["p"] == 0.2
    assert found_at(found, "a/n/none") == found_at(found, "c") == {}


def test_without_a_target_set_the_report_says_so() -> None:
    target = {"available": False, "name": "", "note": "the hub cannot be reached"}
    sets = {"instructions": {"texts": 3, "words": {"mean": {"value": 9.5}}, "vendi": None}}
    body = quality_section({"target": target, "sets": sets}, []).body
    assert "Nothing is compared with a target set. the hub cannot be reached" in body
    assert "9.5" in body and "Vendi" not in body


@pytest.fixture(scope="module")
def results(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Made-up results with plots, examples and costs of the report."""
    from scripts import plot_funnel, plot_scores, plot_study

    folder = tmp_path_factory.mktemp("results")
    made_up.write_all(folder)
    for draw_plot, source in (
        (plot_funnel, "funnel=t/funnel.json"),
        (plot_scores, "scores=t_eval.json"),
        (plot_study, "study=t_study.json"),
    ):
        option, _, name = source.partition("=")
        output = folder / f"t/report/{option}.svg"
        draw_plot.main([f"--{option}", str(folder / name), "--output", str(output)])
    list_examples.main(
        f"--verified {folder}/t_verified.jsonl --labeled {folder}/t_labeled.jsonl "
        f"--dropped {folder}/t/dropped.jsonl --rejected {folder}/t/rejected.jsonl "
        f"--task-name t --count 5 --examples {folder}/t/report/examples.json "
        f"--page {folder}/t/report/examples.html".split()
    )
    sum_up_cost.main(
        f"--task-name t --benchmarks {folder}/none --logs {folder}/none --journal {folder}/none "
        f"--table {folder}/t/report/cost.csv --output {folder}/t/report/cost.json".split()
    )
    (folder / "t/quality").mkdir()
    plot = (folder / "t/report/funnel.svg").read_text(encoding="utf-8")
    (folder / "t/quality/lengths.svg").write_text(plot, encoding="utf-8")
    (folder / "t/quality.json").write_text(json.dumps(made_up.quality()), encoding="utf-8")
    return folder


def overview(results: Path, **given: str) -> str:
    """The overview of the results; of options without a file the name alone is given."""
    options = {
        "funnel": "t/funnel.json",
        "funnel-plot": "t/report/funnel.svg",
        "examples": "t/report/examples.json",
        "cost": "t/report/cost.json",
        **dict.fromkeys(["scores", "scores-plot", "study", "study-plot", "study-plots"], ""),
        **dict.fromkeys(["quality", "quality-plots"], ""),
        **given,
    }
    words = ["--task-name", "t", "--output", f"{results}/overview.html"]
    for name, file in options.items():
        words += [f"--{name}", *[f"{results}/{file}"] * bool(file)]
    write_overview.main(words)
    return (results / "overview.html").read_text(encoding="utf-8")


EVERYTHING = {
    "scores": "t_eval.json",
    "scores-plot": "t/report/scores.svg",
    "study": "t_study.json",
    "study-plot": "t/report/study.svg",
    "study-plots": "t/quality",
    "quality": "t/quality.json",
    "quality-plots": "t/quality",
}


def test_the_overview_shows_everything_there_is(results: Path) -> None:
    content = overview(results, **EVERYTHING)
    read = assert_harmless(content)
    anchors = re.findall(r'<h2 id="(\w+)">', content)
    assert anchors == ["funnel", "quality", "scores", "study", "examples", "cost"]
    assert read.tags.count("svg") == 5 and "Not made yet" not in content
    for words in (
        "4.0 → 6.0 %",
        "+2.0",
        "Self-Instruct",
        "2.25 (1.5 to 3), p\u00a0=\u00a00.010",
        "378 of 378 right",
    ):
        assert words in read.text
    assert clean(made_up.HOSTILE) in read.text
    assert content == overview(results, **EVERYTHING)


def test_the_overview_says_how_to_make_what_is_missing(results: Path) -> None:
    content = overview(results)
    assert re.findall(r'<h2 id="(\w+)">', content) == ["funnel", "examples", "cost"]
    for target in ("results/t_eval.json", "results/t/quality.json", "results/t_study.json"):
        assert target in assert_harmless(content).text


@pytest.mark.parametrize("content", ["{}", "[]", "{", '{"benchmarks": [{}]}'])
def test_a_broken_file_is_named(results: Path, content: str) -> None:
    (results / "broken.json").write_text(content, encoding="utf-8")
    with pytest.raises(UserError, match=r"broken\.json: is not .*make it again"):
        overview(results, **{**EVERYTHING, "scores": "broken.json"})
