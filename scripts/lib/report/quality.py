"""The section on the quality of the instructions."""

import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from scripts.lib.report.html import Html, element, escape, figure, join, table
from scripts.lib.report.sections import Section, p_text
from scripts.lib.report.words import MINUS

_TITLE = re.compile("<title>(.*?)</title>", re.DOTALL)


def statistics_in(content: Any, path: tuple[str, ...] = ()) -> Iterator[tuple[str, dict[str, Any]]]:
    """Every statistic in the result, an object with a `value`, and by which keys it is reached."""
    if not isinstance(content, dict):
        return
    if isinstance(content.get("value"), (int, float)):
        yield " · ".join(key.replace("_", " ") for key in path), content
        return
    for key, part in content.items():
        yield from statistics_in(part, (*path, key))


def number(value: float) -> str:
    """A number to four digits."""
    return f"{value:.4g}".replace("-", MINUS)


def quality_section(quality: dict[str, Any], plots: list[Path]) -> Section:
    """The plots, and the statistics behind them."""
    parts: list[Html] = [captioned(plot) for plot in plots]
    rows = [
        [
            name,
            number(found["value"]),
            Html(" to ".join(number(bound) for bound in found.get("interval") or [])),
            p_text(found.get("p")),
        ]
        for name, found in statistics_in(quality)
    ]
    if rows:
        statistics = table(["statistic", "value", "95 % interval", "p"], rows)
        summary = element("summary", f"All {len(rows)} statistics")
        parts.append(element("details", summary + statistics))
    return Section("quality", "Instruction quality", join(parts))


def captioned(plot: Path) -> Html:
    """A plot with its own title below it."""
    title = _TITLE.search(plot.read_text(encoding="utf-8"))
    # It is escaped as XML already.
    return figure(plot, Html(title[1]) if title else escape(plot.stem))
