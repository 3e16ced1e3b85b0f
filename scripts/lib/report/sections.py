"""The sections of the overview: each takes what a step has written and gives a piece of HTML."""

from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from scripts.lib.report.html import Html, element, escape, figure, join, table
from scripts.lib.report.words import (
    MODELS,
    REASONS,
    STAGES,
    interval,
    percent,
    points,
    tally,
)

# A difference whose p-value reaches this may be chance.
CHANCE = 0.05


@dataclass(frozen=True)
class Section:
    """A section of the page: `name` is its anchor."""

    name: str
    title: str
    body: Html


def funnel_section(funnel: dict[str, Any], plot: Path) -> Section:
    """What is left after each stage, and why the rest is not."""
    rows = [
        [
            STAGES.get(stage["stage"], stage["stage"]),
            f"{stage['count']:,}",
            f"{stage['of_previous']:.1f} %" if number else "",
            f"{stage['of_sampled']:.1f} %",
            Html(escape(tally(stage["reasons"]))),
        ]
        for number, stage in enumerate(funnel["stages"])
    ]
    reasons = {name for stage in funnel["stages"] for name in stage["reasons"]}
    explained = {name: REASONS[name] for name in sorted(reasons) if name in REASONS}
    replies = funnel["replies"]
    text = (
        f"{funnel['rows']:,} rows from {replies['asked']:,} replies, of which "
        f"{replies['parsed']:,} could be read."
    )
    if funnel.get("sandbox"):
        text += f" Code was executed in: {funnel['sandbox']}."
    return Section(
        "funnel",
        "Funnel",
        join(
            [
                figure(plot, "Instructions that are left after each stage."),
                table(["stage", "left", "of stage before", "of all", "lost"], rows),
                element("p", text),
                element(
                    "p", "; ".join(f"{name}: {why}" for name, why in explained.items()),
                    class_="soft",
                ),
            ]
        ),
    )  # fmt: skip


def protocol_text(protocol: Any) -> str:
    """A protocol in one line."""
    if not isinstance(protocol, dict):
        return str(protocol)
    parts = [str(protocol.get("name", ""))]
    if tokens := protocol.get("max_new_tokens"):
        parts.append(f"at most {tokens} tokens")
    if scoring := protocol.get("scoring"):
        parts.append(f"scored by: {scoring}")
    return "; ".join(part for part in parts if part)


def prompt_html(protocol: Any) -> Html:
    """The prompt of a protocol, behind a line that opens it."""
    prompt = protocol.get("prompt") if isinstance(protocol, dict) else None
    if not prompt:
        return Html()
    return element("details", element("summary", "The prompt") + element("pre", prompt))


def scores_section(scores: dict[str, Any], plot: Path) -> Section:
    """What the models reach, with intervals, and how far apart they are."""
    parts: list[object] = [
        element("p", verdict(scores), class_="note"),
        figure(plot, "Scores and differences; lines are 95 % intervals."),
    ]
    for benchmark in scores["benchmarks"]:
        parts.append(element("h3", benchmark["benchmark"]))
        all_there = benchmark["problems"] == benchmark["of"]
        number = (
            f"all {benchmark['of']:,} problems"
            if all_there
            else f"{benchmark['problems']:,} of {benchmark['of']:,} problems"
        )
        protocol = benchmark["protocol"]
        parts.append(element("p", f"{number[0].upper()}{number[1:]}. {protocol_text(protocol)}."))
        parts.append(prompt_html(protocol))
        parts.append(
            table(
                ["model", "metric", "score", "interval", "how", "could be read", "finished"],
                _score_rows(benchmark["models"]),
            )
        )
        parts.append(_verdicts(benchmark["models"]))
        parts.append(
            table(
                ["metric", "student less base, points", "interval", "p", "how"],
                [
                    [
                        metric,
                        points(found["value"]),
                        interval(found.get("interval"), points),
                        p_text(found.get("p")),
                        Html(escape(found.get("method", ""))),
                    ]
                    for metric, found in benchmark["differences"].items()
                ],
            )
        )
        if reference := benchmark.get("reference"):
            parts.append(
                element(
                    "p",
                    f"Guard: the benchmark's own solutions, judged in the same way: "
                    f"{reference['right']:,} of {reference['of']:,} right.",
                    class_="soft",
                )
            )
    return Section("scores", "Scores", join(parts))


def _score_rows(models: dict[str, Any]) -> Iterable[list[object]]:
    for model, found in models.items():
        for metric, score in found["metrics"].items():
            sampled = score.get("of") == "sampled" and found.get("sampled")
            responses = sampled if isinstance(sampled, dict) else found
            yield [
                MODELS.get(model, model),
                metric,
                percent(score["value"]),
                interval(score.get("interval")),
                Html(escape(score.get("method", ""))),
                *(percent(responses[name]) if name in responses else ""
                  for name in ("parsed", "finished")),
            ]  # fmt: skip


def _verdicts(models: dict[str, Any]) -> Html:
    """What became of the greedy responses."""
    said = [
        f"{MODELS.get(model, model)}: {tally(found['verdicts'])}"
        for model, found in models.items()
        if found.get("verdicts")
    ]
    return element("p", f"Greedy responses: {'; '.join(said)}.", class_="soft") if said else Html()


def p_text(p: float | None) -> str:
    """A p-value; those that resampling cannot tell from nought are said to be below."""
    if p is None:
        return ""
    return "< 0.001" if p < 0.001 else f"{p:.3f}"


def verdict(scores: dict[str, Any]) -> str:
    """What the differences say in plain words."""
    sentences = []
    for benchmark in scores["benchmarks"]:
        for metric, found in benchmark["differences"].items():
            low, high = found.get("interval") or (float("-inf"), float("inf"))
            where = f"{metric} on {benchmark['benchmark']}"
            p = found.get("p")
            if low <= 0 <= high:
                sentences.append(f"No difference in {where} is shown: its interval holds zero.")
            elif p is not None and p >= CHANCE:
                # A bootstrap of few problems that differ is too sure.
                sentences.append(
                    f"No difference in {where} is shown: chance alone gives as large a one with "
                    f"p = {p:.2f}."
                )
            else:
                side, than = ("better", "above") if low > 0 else ("worse", "below")
                sentences.append(f"The student is {side} in {where}: its interval is {than} zero.")
    return " ".join(sentences)
