"""Plot the scores of the models of a task, and how far apart they are, with their intervals.

    python -m scripts.plot_scores --scores results/mbpp_eval.json \\
        --output results/mbpp/report/scores.svg

At the left the models, at the right the student less the base model; a row of plots a benchmark.
The numbers lie beside it as scores.csv.
"""

import time
from pathlib import Path
from typing import Any

from scripts.lib import plots
from scripts.lib.console import counts, run_step, step_parser
from scripts.lib.report.files import content_of
from scripts.lib.report.words import MODELS


def rows_of(scores: dict[str, Any]) -> list[dict[str, Any]]:
    """A row a benchmark, metric and model, and one a difference, in shares and not in percent."""
    rows = []
    for benchmark in scores["benchmarks"]:
        for model, found in benchmark["models"].items():
            rows += [
                _row(benchmark, metric, model, score) for metric, score in found["metrics"].items()
            ]
        rows += [
            _row(benchmark, metric, "difference", score)
            for metric, score in benchmark["differences"].items()
        ]
    return rows


def _row(
    benchmark: dict[str, Any], metric: str, model: str, score: dict[str, Any]
) -> dict[str, Any]:
    low, high = score.get("interval") or (None, None)
    return {
        "benchmark": benchmark["benchmark"],
        "metric": metric,
        "model": model,
        "value": score["value"],
        "low": low,
        "high": high,
        "p": score.get("p"),
        "problems": benchmark["problems"],
        "method": score.get("method", ""),
    }


def draw(scores: dict[str, Any], path: Path) -> None:
    """Draw all benchmarks."""
    rows = rows_of(scores)
    names = [benchmark["benchmark"] for benchmark in scores["benchmarks"]]
    most = max([sum(row["benchmark"] == name for row in rows) for name in names] or [1])
    drawn, axes = plots.figure(2, max(1, len(names)), width=4.2, height=0.3 * most + 1.3)
    for number, name in enumerate(names):
        found = [row for row in rows if row["benchmark"] == name]
        metrics = list(dict.fromkeys(row["metric"] for row in found))
        models = sorted(
            (row for row in found if row["model"] != "difference"),
            key=lambda row: metrics.index(row["metric"]),
        )
        _panel(
            axes[2 * number],
            models,
            [f"{row['metric']}, {MODELS.get(row['model'], row['model'])}" for row in models],
            f"{name}, {found[0]['problems']} problems" if found else name,
            "of all problems, in %",
        )
        apart = [row for row in found if row["model"] == "difference"]
        other = axes[2 * number + 1]
        other.axvline(0, color="#595959", linewidth=0.8)
        _panel(
            other,
            apart,
            [row["metric"] for row in apart],
            "student less base model",
            "percentage points",
        )
    plots.save(drawn, path, rows, f"Scores of the models of {scores['task']}, with intervals")


def _panel(axes: Any, rows: list[dict[str, Any]], labels: list[str], title: str, unit: str) -> None:
    """One plot of values with their intervals."""
    looks = plots.styles(["base", "student", "reference", "difference"])
    values = [100 * row["value"] for row in rows]
    bounds = [
        (100 * row["low"], 100 * row["high"]) if row["low"] is not None else (value, value)
        for row, value in zip(rows, values, strict=True)
    ]
    of_label = {
        label: looks.get(row["model"], looks["difference"])
        for label, row in zip(labels, rows, strict=True)
    }
    plots.intervals(axes, labels, values, bounds, of_label)
    axes.set_title(title)
    axes.set_xlabel(unit)


def main(argv: list[str] | None = None) -> None:
    parser = step_parser(__doc__)
    parser.add_argument("--scores", type=Path, required=True)
    parser.add_argument("--output", type=Path, required=True, help="SVG")
    arguments = parser.parse_args(argv)

    started = time.monotonic()
    with content_of(arguments.scores) as scores:
        draw(scores, arguments.output)
    counts("plot_scores", time.monotonic() - started, benchmarks=len(scores["benchmarks"]))


if __name__ == "__main__":
    run_step(main)
