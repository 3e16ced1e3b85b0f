"""Plot the study: its arms with their intervals, and its sweeps.

    python -m scripts.plot_study --study results/mbpp_study.json \\
        --output results/mbpp/report/study.svg

The numbers lie beside it as study.csv: a row an arm and random seed, and a row `mean` for each arm.
"""

import time
from pathlib import Path
from typing import Any

from scripts.lib import plots
from scripts.lib.console import counts, run_step, step_parser
from scripts.lib.report.files import content_of
from scripts.lib.report.words import VARIED

# A line of a plot: what is varied, and the cell of the sweep that has this value.
Lines = dict[str, list[tuple[float, dict[str, Any]]]]

AXES = {"seed_rows": "sample instructions of the generator", "epochs": "epochs of the generator"}
GREY = "#595959"


def rows_of(study: dict[str, Any]) -> list[dict[str, Any]]:
    """A row a value and a row a mean, in shares; `part` is `arms` or `sweeps`."""
    rows = []
    for part in ("arms", "sweeps"):
        for group in study.get(part) or []:
            common = {"part": part, "arm": group["arm"]}
            common |= {name: group.get(name, "") for name in VARIED}
            rows += [
                {**common, "seed": seed, "value": value, "low": "", "high": ""}
                for seed, value in group["values"].items()
            ]
            low, high = group.get("interval") or ("", "")
            rows.append(
                {**common, "seed": "mean", "value": group["mean"], "low": low, "high": high}
            )
    return rows


def sweeps_by(study: dict[str, Any], varied: str) -> Lines:
    """The lines of a plot over what is varied: of each arm, and each value of the other thing.

    Lines of one point are left out.
    """
    groups: dict[tuple, list[tuple[float, dict[str, Any]]]] = {}
    (other,) = (name for name in VARIED if name != varied)
    for cell in study.get("sweeps") or []:
        groups.setdefault((cell["arm"], cell[other]), []).append((cell[varied], cell))
    titles = {arm["arm"]: arm["title"] for arm in study["arms"]}
    several = len({fixed for _, fixed in groups}) > 1
    return {
        titles.get(arm, arm) + (f", {fixed} {VARIED[other]}" if several else ""): sorted(
            points, key=lambda point: point[0]
        )
        for (arm, fixed), points in groups.items()
        if len({at for at, _ in points}) > 1
    }


def draw(study: dict[str, Any], path: Path) -> None:
    """Draw the arms, and below them a plot for each thing that is swept."""
    swept = {varied: lines for varied in VARIED if (lines := sweeps_by(study, varied))}
    drawn, axes = plots.figure(rows=1 + len(swept), width=8.4, height=3.0)
    _draw_arms(axes[0], study)
    for panel, (varied, lines) in zip(axes[1:], swept.items(), strict=True):
        _draw_sweep(panel, lines, AXES[varied], study["metric"])
    title = f"{study['metric']} on {study['benchmark']} of the arms of the study of {study['task']}"
    plots.save(drawn, path, rows_of(study), title)


def _bounds(group: dict[str, Any]) -> tuple[float, float]:
    """The interval of an arm in percent; its mean alone where it has none."""
    low, high = group.get("interval") or (group["mean"], group["mean"])
    return 100 * low, 100 * high


def _draw_arms(axes: Any, study: dict[str, Any]) -> None:
    arms = study["arms"]
    titles = [arm["title"] for arm in arms]
    means = [100 * arm["mean"] for arm in arms]
    plots.intervals(axes, titles, means, list(map(_bounds, arms)), plots.styles(titles))
    for place, arm in enumerate(arms):
        values = [100 * value for value in arm["values"].values()]
        rings = {"markersize": 3.5, "markerfacecolor": "none", "markeredgewidth": 0.8}
        axes.plot(values, [place + 0.26] * len(values), "o", color=GREY, **rings)
    axes.set_title(f"{study['benchmark']}, {study['problems']} problems; rings: one random seed")
    axes.set_xlabel(f"{study['metric']}, in %")


def _draw_sweep(axes: Any, lines: Lines, varied: str, metric: str) -> None:
    """A plot of all lines over the values of what is varied, at equal distances."""
    axes.set_xlabel(varied)
    axes.set_ylabel(f"{metric}, in %")
    if len(lines) > len(plots.STYLES):
        # More lines than anyone could tell apart: the CSV file has them.
        axes.text(0.5, 0.5, "too many lines: see the data", ha="center", transform=axes.transAxes)
        return
    looks = plots.styles(lines)
    values = sorted({value for points in lines.values() for value, _ in points})
    for number, (name, points) in enumerate(lines.items()):
        # Beside each other, so that no interval hides another one.
        aside = 0.06 * (number - (len(lines) - 1) / 2)
        places = [values.index(value) + aside for value, _ in points]
        look = looks[name]
        means = [100 * cell["mean"] for _, cell in points]
        axes.plot(places, means, marker=look.marker, label=name, **look.line())
        lows, highs = zip(*(_bounds(cell) for _, cell in points), strict=True)
        axes.vlines(places, lows, highs, color=look.colour, linewidth=1)
    axes.set_xticks(range(len(values)), values)
    axes.legend(loc="upper left", bbox_to_anchor=(1.0, 1.02))


def main(argv: list[str] | None = None) -> None:
    parser = step_parser(__doc__)
    parser.add_argument("--study", type=Path, required=True)
    parser.add_argument("--output", type=Path, required=True, help="SVG")
    arguments = parser.parse_args(argv)

    started = time.monotonic()
    with content_of(arguments.study) as study:
        draw(study, arguments.output)
    counts("plot_study", time.monotonic() - started, arms=len(study["arms"]))


if __name__ == "__main__":
    run_step(main)
