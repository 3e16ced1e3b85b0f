"""The overview: one page with everything that a task has so far."""

from collections.abc import Iterable
from pathlib import Path
from typing import Any

from scripts.lib.report.examples import DRAWN, Group, examples_html
from scripts.lib.report.html import Html, cards, element, escape, join, page
from scripts.lib.report.sections import Section
from scripts.lib.report.words import interval, percent, points

# Examples of each reason on this page; their own page has more.
EXAMPLES = 3


def numbers_of(
    funnel: dict[str, Any], cost: dict[str, Any], scores: dict[str, Any] | None
) -> list[tuple[object, str]]:
    """What a reader asks first."""
    left = {stage["stage"]: stage["count"] for stage in funnel["stages"]}
    numbers: list[tuple[object, str]] = [
        (f"{left['sampled']:,}", "instructions sampled"),
        (f"{left['clean']:,}", "kept by the filter"),
        (f"{funnel['rows']:,}", "verified training rows"),
    ]
    for benchmark in scores["benchmarks"][:1] if scores else ():
        numbers += _first_score(benchmark)
    totals = cost["totals"]
    if totals["dollars"] is not None:
        more = " and requests of unknown price" if totals["unpriced"] else ""
        numbers.append((f"${totals['dollars']:,.2f}", f"paid for replies{more}"))
    most = "" if totals["gpu_hours_known"] else "≤ "
    numbers += [
        (f"{totals['tokens']:,}", "tokens of prompts and replies"),
        (f"{most}{totals['gpu_hours']:.2f}", "GPU hours"),
        (f"{totals['cpu_hours']:.2f}", "CPU hours"),
    ]
    return numbers


def _first_score(benchmark: dict[str, Any]) -> list[tuple[object, str]]:
    """The first metric of a benchmark: base model and student, and the difference."""
    models = benchmark["models"]
    for metric, found in benchmark["differences"].items():
        reached = [models[name]["metrics"][metric]["value"] for name in ("base", "student")]
        before, after = (percent(value) for value in reached)
        gap = f"percentage points ({interval(found.get('interval'), points)})"
        return [
            (
                f"{before.removesuffix(' %')} → {after}",
                f"{metric}, {benchmark['benchmark']}: base model → student",
            ),
            (points(found["value"]), gap),
        ]
    return []


def examples_section(groups: list[Group]) -> Section:
    """A few examples of each reason."""
    return Section(
        "examples",
        "Examples, kept and lost",
        join([element("p", DRAWN, class_="soft"), examples_html(groups, EXAMPLES)]),
    )


def missing_text(sections: Iterable[Section], task: str) -> str:
    """What this page does not show, and how to make it."""
    there = {section.name for section in sections}
    makes = {
        "scores": ("scores", f"results/{task}_eval.json"),
        "quality": ("instruction quality", f"results/{task}/quality.json"),
        "study": ("study", f"results/{task}_study.json"),
    }
    lacking = [
        f"{title} (make {target})" for name, (title, target) in makes.items() if name not in there
    ]
    return f"Not made yet: {', '.join(lacking)}; then make report again." if lacking else ""


def overview_page(task: str, numbers: list[tuple[object, str]], sections: list[Section]) -> str:
    """The whole page."""
    links = join(element("a", section.title, href=f"#{section.name}") for section in sections)
    parts: list[Html] = [
        element("h1", f"Ada-Instruct: {task}"),
        element(
            "p",
            "From ten sample instructions to verified training rows, and what a model learns from "
            "them. Every plot has its numbers as a CSV file beside it.",
            class_="soft",
        ),
        cards(numbers),
        element("nav", links),
    ]
    if missing := missing_text(sections, task):
        parts.append(element("p", missing, class_="soft"))
    for section in sections:
        heading = Html(f'<h2 id="{escape(section.name)}">{escape(section.title)}</h2>')
        parts += [heading, section.body]
    return page(f"Ada-Instruct: {task}", join(parts))


def plots_in(folder: Path | None) -> list[Path]:
    """The plots in a folder, by name; none where there is no folder."""
    return sorted(folder.glob("*.svg")) if folder else []
