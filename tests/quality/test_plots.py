"""The style of plots: told apart without colour, the same bytes, data beside."""

import csv
import re
import xml.etree.ElementTree as xml
from pathlib import Path

import pytest

from scripts.lib import plots


def drawn(path: Path) -> Path:
    figure, (first, second) = plots.figure(2)
    looks = plots.styles(["one", "a_b $x$ <two>"])
    for name, look in looks.items():
        first.plot([0, 1], [0, 1], label=name, **look.line())
        first.bar([0], [1], **look.area())
    first.legend()
    plots.intervals(second, list(looks), [0.5, 0.6], [(0.4, 0.7), (0.5, 0.8)], looks)
    rows = [{"name": "one", "value": 0.5}, {"name": 'a "b", c', "value": 0.6}]
    plots.save(figure, path, rows, "Two <things>")
    return path


def luminance(colour: str) -> float:
    parts = [int(colour[at : at + 2], 16) / 255 for at in (1, 3, 5)]
    linear = [c / 12.92 if c <= 0.04045 else ((c + 0.055) / 1.055) ** 2.4 for c in parts]
    return 0.2126 * linear[0] + 0.7152 * linear[1] + 0.0722 * linear[2]


def test_the_same_figure_gives_the_same_bytes_and_asks_nothing_of_a_network(
    tmp_path: Path,
) -> None:
    first, second = drawn(tmp_path / "first.svg"), drawn(tmp_path / "second.svg")
    assert first.read_bytes() == second.read_bytes()
    text = first.read_text()
    assert not re.search(r"(?:href|src)=\"http|url\(http|@import|<script", text)
    words = "".join(xml.parse(first).getroot().itertext())
    assert "Two <things>" in words and "a_b $x$ <two>" in words
    assert sorted(path.name for path in tmp_path.iterdir()) == [
        "first.csv", "first.svg", "second.csv", "second.svg",
    ]  # fmt: skip


def test_the_data_lie_beside_a_plot(tmp_path: Path) -> None:
    with open(drawn(tmp_path / "plot.svg").with_suffix(".csv"), newline="") as stream:
        assert list(csv.DictReader(stream)) == [
            {"name": "one", "value": "0.5"},
            {"name": 'a "b", c', "value": "0.6"},
        ]


def test_series_can_be_told_apart_without_their_colours() -> None:
    for part in ("marker", "dash", "hatch", "colour"):
        assert len({getattr(style, part) for style in plots.STYLES}) == len(plots.STYLES)
    # WCAG asks for a contrast of 3 of graphics on white, which markers of 2 get a dash and a shape.
    assert all(1.05 / (luminance(style.colour) + 0.05) > 2 for style in plots.STYLES)


def test_more_series_than_styles_are_an_error() -> None:
    with pytest.raises(ValueError, match="8 series"):
        plots.styles("abcdefgh")
