"""Plot how many instructions are left after each stage.

    python -m scripts.plot_funnel --funnel results/mbpp/funnel.json \\
        --output results/mbpp/report/funnel.svg

The numbers, with the reasons of what was lost, lie beside it as funnel.csv.
"""

import time
from pathlib import Path
from typing import Any

from scripts.lib import plots
from scripts.lib.console import counts, run_step, step_parser
from scripts.lib.report.files import content_of
from scripts.lib.report.words import STAGES, tally


def rows_of(funnel: dict[str, Any]) -> list[dict[str, Any]]:
    """A row a stage: what is left, what was lost there, and why."""
    rows, before = [], None
    for stage in funnel["stages"]:
        count = stage["count"]
        rows.append(
            {
                "stage": stage["stage"],
                "count": count,
                "lost": 0 if before is None else before - count,
                "of_previous": stage["of_previous"],
                "of_sampled": stage["of_sampled"],
                "reasons": tally(stage["reasons"]),
            }
        )
        before = count
    return rows


def draw(funnel: dict[str, Any], path: Path) -> None:
    """Draw what is left after each stage, and beside it what was lost there."""
    rows = rows_of(funnel)
    drawn, (axes,) = plots.figure(width=7.2, height=0.42 * len(rows) + 1.1)
    looks = plots.styles(["left", "lost"])
    places = range(len(rows))
    left = [row["count"] for row in rows]
    lost = [row["lost"] for row in rows]
    axes.barh(places, left, 0.66, label="left", **looks["left"].area())
    axes.barh(places, lost, 0.66, left=left, label="lost at this stage", **looks["lost"].area())
    widest = max([count + gone for count, gone in zip(left, lost, strict=True)] or [1]) or 1
    for place, row in enumerate(rows):
        text = f"{row['count']:,}  ({row['of_sampled']:.1f} %)"
        axes.text(row["count"] + row["lost"] + 0.012 * widest, place, text, va="center", size=9)
    axes.set_yticks(places, [STAGES.get(row["stage"], row["stage"]) for row in rows])
    axes.invert_yaxis()
    axes.set_xlim(0, 1.22 * widest)
    axes.set_xlabel("instructions (in brackets: of all that were sampled)")
    axes.grid(axis="y", visible=False)
    axes.legend(loc="lower right")
    title = f"How many instructions of {funnel['task']} are left after each stage"
    plots.save(drawn, path, rows, title)


def main(argv: list[str] | None = None) -> None:
    parser = step_parser(__doc__)
    parser.add_argument("--funnel", type=Path, required=True)
    parser.add_argument("--output", type=Path, required=True, help="SVG")
    arguments = parser.parse_args(argv)

    started = time.monotonic()
    with content_of(arguments.funnel) as funnel:
        draw(funnel, arguments.output)
    counts("plot_funnel", time.monotonic() - started, stages=len(funnel["stages"]))


if __name__ == "__main__":
    run_step(main)
