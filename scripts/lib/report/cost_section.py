"""The section on the cost."""

from typing import Any

from scripts.lib.report.html import Html, escape, join, table
from scripts.lib.report.sections import Section
from scripts.lib.report.words import duration


def cost_section(cost: dict[str, Any]) -> Section:
    """Dollars and tokens, and the hours of machines."""
    parts = [_replies_table(cost["replies"])] if cost["replies"] else []
    return Section("cost", "Cost", join([*parts, _steps_table(cost)]))


def _replies_table(replies: list[dict[str, Any]]) -> Html:
    return table(
        ["model", "replies", "prompt tokens", "completion tokens", "lost tokens", "cost"],
        [
            [
                row["model"],
                f"{row['replies']:,}",
                f"{row['prompt_tokens']:,}",
                f"{row['completion_tokens']:,}",
                f"{row['lost_tokens']:,}",
                Html(escape(row["cost"])),
            ]
            for row in replies
        ],
        "All that was ever asked for this task, in any run, by the journal of replies. What a "
        "model on this machine costs is the time below. Lost: tries without a reply, and second "
        "replies.",
    )


def _steps_table(cost: dict[str, Any]) -> Html:
    steps, totals = cost["steps"], cost["totals"]
    of_all = {
        "step": "all",
        "part": "",
        "jobs": sum(step["jobs"] for step in steps),
        "memory_mb": max([step["memory_mb"] for step in steps] or [0]),
        **totals,
    }
    rows = [
        [
            f"{step['part']}: {step['step']}" if step["part"] else step["step"],
            step["jobs"],
            Html(duration(step["seconds"])),
            f"{step['cpu_hours']:.3f}",
            f"{'' if step['gpu_hours_known'] else '≤ '}{step['gpu_hours']:.3f}",
            f"{step['memory_mb'] / 1024:.1f}",
        ]
        for step in (*steps, of_all)
    ]
    caption = (
        "The last run of each job that ended, by Snakemake's benchmark files: the time of runs "
        "that were killed or replaced is not in it. GPU hours are hours times GPUs. "
    )
    if not totals["gpu_hours_known"]:
        caption += (
            "≤: the log does not tell how many GPUs the job had, so that those that it asked for "
            "count; on a machine without one the processor stood in, and the GPU hours are 0."
        )
    headings = ["step", "jobs", "time", "CPU hours", "GPU hours", "most memory, GiB"]
    return table(headings, rows, caption)
