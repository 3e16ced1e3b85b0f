"""The section on the quality of the instructions, from the result of `measure_instructions`."""

import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from scripts.lib.report.html import Html, element, escape, figure, join, table
from scripts.lib.report.sections import Section, p_text
from scripts.lib.report.words import MINUS, interval, percent

_TITLE = re.compile("<title>(.*?)</title>", re.DOTALL)

# The plots in the order in which they are looked at; others follow.
ORDER = ("lengths", "duplication", "tsne", "nearest", "distances")

# What the table compares the sets by: where it stands, what it is, whether it is a share.
COMPARED = (
    ("words/mean", "words, mean", False),
    ("words/median", "words, median", False),
    ("self_similarity", "self-similarity: mean cosine of two of the set", False),
    ("vendi", "Vendi score: effective number of different texts", False),
    ("nearest_seed/mean", "cosine to the nearest seed, mean", False),
    ("nearest_target/mean", "cosine to the nearest of the target set, mean", False),
    ("nearest_target/near_copies", "near copies of the target set", True),
    ("shared_with_seeds/share_of_runs", "runs of words that a seed has as well", True),
    ("duplication/new", "new among the well-formed", True),
    ("against_target/words/wasserstein", "distance of the lengths (Wasserstein, words)", False),
    ("against_target/discrepancy/mmd2", "maximum mean discrepancy, squared", False),
    ("against_target/classifier/accuracy", "accuracy of telling it from the target set", True),
)


def found_at(content: Any, path: str) -> dict[str, Any]:
    """The statistic at a place of the result, with the p-value that stands in or above it."""
    above: dict[str, Any] = {}
    for key in path.split("/"):
        above = content if isinstance(content, dict) else {}
        content = above.get(key)
    if not isinstance(content, dict):
        return {}
    return {"p": above.get("p"), **content}


def statistics_in(content: Any, path: tuple[str, ...] = ()) -> Iterator[tuple[str, dict[str, Any]]]:
    """Every statistic in the result, an object with a `value`, and by which keys it is reached."""
    if not isinstance(content, dict):
        return
    if isinstance(content.get("value"), (int, float)):
        yield " · ".join(key.replace("_", " ") for key in path), content
        return
    for key, part in content.items():
        p = {"p": content["p"]} if "p" in content and isinstance(part, dict) else {}
        yield from statistics_in({**p, **part} if p else part, (*path, key))


def number(value: float) -> str:
    """A number to three digits."""
    text = f"{value:.0f}" if abs(value) >= 1000 else f"{value:.3g}"
    return text.replace("-", MINUS)


def quality_section(quality: dict[str, Any], plots: list[Path]) -> Section:
    """What the sets are like beside each other, the plots, and all statistics."""
    parts: list[Html] = []
    if target := quality.get("target"):
        parts.append(element("p", _target_text(target)))
    if sets := quality.get("sets"):
        parts.append(_comparison(sets))
    parts.append(plots_html(plots))
    rows = [
        [
            name,
            number(found["value"]),
            Html(interval(found.get("interval"), number)),
            p_text(found.get("p")),
        ]
        for name, found in statistics_in(quality)
    ]
    if rows:
        summary = element("summary", f"All {len(rows)} statistics")
        statistics = table(["statistic", "value", "95 % interval", "p"], rows)
        parts.append(element("details", summary + statistics))
    return Section("quality", "Instruction quality", join(parts))


def _target_text(target: dict[str, Any]) -> str:
    note = f" {target['note']}" if target.get("note") else ""
    if not target.get("available"):
        return f"Nothing is compared with a target set.{note}"
    return f"Target set, which the instructions ought to resemble: {target['name']}.{note}"


def _comparison(sets: dict[str, Any]) -> Html:
    """The sets beside each other; a row that none of them has is left out."""
    rows: list[list[object]] = [["texts", *(f"{one['texts']:,}" for one in sets.values())]]
    for path, name, is_share in COMPARED:
        found = [found_at(one, path) for one in sets.values()]
        if any("value" in one for one in found):
            rows.append([name, *(_cell(one, percent if is_share else number) for one in found)])
    return table(
        ["", *sets],
        rows,
        "In brackets 95 % intervals. p: of a permutation test of there being no difference from "
        "the target set.",
    )


def _cell(found: dict[str, Any], form: Any) -> Html:
    if "value" not in found:
        return Html()
    small = f" ({interval(found['interval'], form)})" if found.get("interval") else ""
    if found.get("p") is not None:
        p = p_text(found["p"])
        # Its parts stay on one line.
        small += ", " + (f"p {p}" if p.startswith("<") else f"p = {p}").replace(" ", "\u00a0")
    return escape(form(found["value"])) + element("span", small, class_="soft")


def plots_html(plots: list[Path]) -> Html:
    """Plots, beside each other where there is room, each with its own title below it."""
    places = {name: place for place, name in enumerate(ORDER)}
    ordered = sorted(plots, key=lambda plot: (places.get(plot.stem, len(ORDER)), plot.name))
    return element("div", join(map(_captioned, ordered)), class_="plots")


def _captioned(plot: Path) -> Html:
    title = _TITLE.search(plot.read_text(encoding="utf-8"))
    # It is escaped as XML already.
    return figure(plot, Html(title[1]) if title else escape(plot.stem))
