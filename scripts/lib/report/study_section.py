"""The section on the study."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from scripts.lib.report.html import Html, element, escape, figure, join, table
from scripts.lib.report.quality import plots_html
from scripts.lib.report.sections import Section, p_text, prompt_html, protocol_text
from scripts.lib.report.words import STAGES, VARIED, interval, percent, points


def study_section(study: dict[str, Any], plot: Path, others: Sequence[Path] = ()) -> Section:
    """The arms beside each other, and what differs between them; `others` are plots of what the
    sources of instructions write."""
    titles = {arm["arm"]: arm["title"] for arm in study["arms"]}
    how = study.get("method", "95 % intervals")
    parts: list[object] = [
        figure(plot, f"{study['metric']}; lines are intervals ({how})."),
        _arms_table(study),
        prompt_html(study.get("protocol")),
    ]
    if differences := study.get("differences"):
        holm = any("p_holm" in row for row in differences)
        parts += [
            element("h3", "Differences"),
            table(
                ["arm", "less", "points", "interval", "p", *["p, Holm"] * holm],
                [
                    [
                        titles.get(row["arm"], row["arm"]),
                        titles.get(row["against"], row["against"]),
                        points(row["value"]),
                        interval(row.get("interval"), points),
                        p_text(row.get("p")),
                        *[p_text(row.get("p_holm"))] * holm,
                    ]
                    for row in differences
                ],
                "Holm: corrected for the number of comparisons." if holm else "",
            ),
        ]
    sweeps = study.get("sweeps") or []
    if len({tuple(cell[name] for name in VARIED) for cell in sweeps}) > 1:
        parts += [element("h3", "Sweeps"), _sweeps_table(sweeps, titles)]
    parts += _study_funnels(study.get("funnels") or {})
    if others:
        parts.append(element("h3", "What the sources write"))
        parts.append(plots_html(list(others)))
    return Section("study", "Study", join(parts))


def _arms_table(study: dict[str, Any]) -> Html:
    seeds = list(dict.fromkeys(seed for arm in study["arms"] for seed in arm["values"]))
    number = f"{study['problems']:,} problems"
    if study.get("of", study["problems"]) != study["problems"]:
        number = f"{study['problems']:,} of {study['of']:,} problems"
    return table(
        ["arm", *(f"seed {seed}" for seed in seeds), "mean", "interval", "rows"],
        [
            [
                arm["title"],
                *(percent(arm["values"][seed]) if seed in arm["values"] else "" for seed in seeds),
                percent(arm["mean"]),
                interval(arm.get("interval")),
                Html(escape(_rows_of_arm((study.get("rows") or {}).get(arm["arm"])))),
            ]
            for arm in study["arms"]
        ],
        f"{study['metric']} on {study['benchmark']}, {number}. "
        f"{protocol_text(study.get('protocol', ''))}. Rows: training rows by seed, and in brackets "
        "how many instructions they are of.",
    )


def _rows_of_arm(rows: Any) -> str:
    """How many rows an arm's students learn from, seed by seed."""
    if not isinstance(rows, dict):
        return ""
    return ", ".join(f"{number['rows']} ({number['instructions']})" for number in rows.values())


def _sweeps_table(sweeps: list[dict[str, Any]], titles: dict[str, str]) -> Html:
    return table(
        [*VARIED.values(), "arm", "mean", "interval", "values"],
        [
            [
                *(cell[name] for name in VARIED),
                titles.get(cell["arm"], cell["arm"]),
                percent(cell["mean"]),
                interval(cell.get("interval")),
                Html(escape(", ".join(percent(value) for value in cell["values"].values()))),
            ]
            for cell in sweeps
        ],
        "Samples: sample instructions that the generator learns from; epochs: of its training.",
    )


def _study_funnels(funnels: dict[str, Any]) -> list[Html]:
    """How many instructions each source has left, a row a seed."""
    rows: list[list[object]] = []
    names: list[str] = []
    for source, of_seed in funnels.items():
        for seed, funnel in of_seed.items():
            if not isinstance(funnel, dict) or "stages" not in funnel:
                continue
            counts = {stage["stage"]: stage["count"] for stage in funnel["stages"]}
            names = names or list(counts)
            rows.append([source, seed, *(counts.get(name, "") for name in names), funnel["rows"]])
    if not rows:
        return []
    headings = ["source", "seed", *(STAGES.get(name, name) for name in names), "rows"]
    return [element("h3", "Funnels of the sources"), table(headings, rows)]
