"""What a task has cost: dollars and tokens of replies, and the hours of GPUs and processors.

The time is that of Snakemake's benchmark files, which hold the last run of each job that ended:
what killed runs and replaced results took is not in them. The replies are those of the journal,
which forgets nothing.
"""

import json
import re
from collections import Counter, defaultdict
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from scripts.lib.completions.journal import entries
from scripts.lib.console import say
from scripts.print_journal import Contents

# The folder of the study's runs, below that of the task.
STUDY = "study"
# The line of a step's log that tells how many GPUs it had.
_HAD = re.compile(r"^gpus: (\d+)$", re.MULTILINE)
# Bytes of a log in which that line stands.
_HEAD = 4096


@dataclass(frozen=True)
class Job:
    """The last run of a job: `seconds` it took, and those of all its processors.

    `part` is `study` for jobs of the study's runs. `gpus` is `None` where the log does not tell how
    many it had: it asked for `gpus_asked`, and without a GPU the processor stands in for them.
    """

    step: str
    part: str
    seconds: float
    cpu_seconds: float
    memory_mb: float
    gpus_asked: int
    gpus: int | None


def jobs_in(benchmarks: Path, logs: Path, gpus: Mapping[str, int]) -> Iterator[Job]:
    """The jobs whose benchmark files lie in a folder; the logs' folder has the same form.

    `gpus` says how many GPUs a job of each step asks for.
    """
    for path in sorted(benchmarks.rglob("*.jsonl")):
        row = _last_row(path)
        if row is None:
            say(f"warning: {path}: is no benchmark file and is left out")
            continue
        place = path.relative_to(benchmarks).with_suffix("")
        step = _step(place)
        asked = int((row.get("resources") or {}).get("gpu", gpus.get(step, 0)))
        yield Job(
            step=step,
            part=STUDY if place.parts[0] == STUDY else "",
            seconds=_number(row.get("s")),
            cpu_seconds=_number(row.get("cpu_time")),
            memory_mb=_number(row.get("max_rss")),
            gpus_asked=asked,
            gpus=_gpus_had(logs / place.with_suffix(".log")) if asked else 0,
        )


def _step(place: Path) -> str:
    """The step that a benchmark file belongs to: the first part of its path below that of its run.

    A run of the study lies in study/{three values of its cell}/{source}, or .../arms/{arm}.
    """
    parts = place.parts
    if parts[0] == STUDY:
        parts = parts[6:] if parts[4:5] == ("arms",) else parts[5:]
    return parts[0] if parts else place.name


def _last_row(path: Path) -> dict[str, Any] | None:
    try:
        row = json.loads(path.read_text(encoding="utf-8").splitlines()[-1])
    except (ValueError, IndexError):
        return None
    return row if isinstance(row, dict) and "s" in row else None


def _number(value: Any) -> float:
    """A number of a benchmark file, which writes others for a job that was too short to measure."""
    return float(value) if isinstance(value, (int, float)) else 0.0


def _gpus_had(log: Path) -> int | None:
    try:
        with open(log, encoding="utf-8", errors="replace") as stream:
            found = _HAD.search(stream.read(_HEAD))
    except OSError:
        return None
    return int(found[1]) if found else None


def steps_of(jobs: Iterable[Job]) -> list[dict[str, Any]]:
    """The jobs summed up by step, the longest first; `gpu_hours` of those that are not known are
    those that were asked for."""
    groups: dict[tuple[str, str], list[Job]] = {}
    for job in jobs:
        groups.setdefault((job.part, job.step), []).append(job)
    steps = [
        {
            "step": step,
            "part": part,
            "jobs": len(group),
            "seconds": round(sum(job.seconds for job in group), 1),
            "cpu_hours": _hours(job.cpu_seconds for job in group),
            "gpu_hours": _hours(job.seconds * _gpus(job) for job in group),
            "gpu_hours_known": all(job.gpus is not None for job in group),
            "memory_mb": round(max(job.memory_mb for job in group)),
        }
        for (part, step), group in groups.items()
    ]
    return sorted(steps, key=lambda step: (step["part"], -step["seconds"], step["step"]))


def _gpus(job: Job) -> int:
    return job.gpus_asked if job.gpus is None else job.gpus


def _hours(seconds: Iterable[float]) -> float:
    return round(sum(seconds) / 3600, 4)


def replies_in(journal: Path, task: str) -> list[dict[str, Any]]:
    """What was asked for a task, by model; `dollars` is `None` where no price is known."""
    broken: Counter[Path] = Counter()
    found: dict[str, Contents] = defaultdict(Contents)
    for entry in entries(journal, task, broken=broken) if journal.is_dir() else ():
        found[entry["model"] if "failed" in entry else entry["request"]["model"]].add(entry)
    for path, number in broken.items():
        say(f"warning: {path}: {number} broken lines are left out")
    return [
        {
            # Of a path on this machine the last part.
            "model": Path(model).name if Path(model).is_absolute() else model,
            "replies": held.replies,
            "given_up": held.failures,
            "prompt_tokens": held.usage.prompt_tokens,
            "completion_tokens": held.usage.completion_tokens,
            "lost_tokens": held.lost.tokens,
            "dollars": round(held.dollars, 6) if held.priced else None,
            "unpriced": held.unpriced,
            "cost": held.cost(),
        }
        for model, held in sorted(found.items())
    ]


def cost_of(task: str, jobs: Iterable[Job], replies: list[dict[str, Any]]) -> dict[str, Any]:
    """All of it, with its sums."""
    steps = steps_of(jobs)
    priced = [row["dollars"] for row in replies if row["dollars"] is not None]
    return {
        "task": task,
        "steps": steps,
        "replies": replies,
        "totals": {
            "seconds": round(sum(step["seconds"] for step in steps), 1),
            "cpu_hours": round(sum(step["cpu_hours"] for step in steps), 4),
            "gpu_hours": round(sum(step["gpu_hours"] for step in steps), 4),
            "gpu_hours_known": all(step["gpu_hours_known"] for step in steps),
            "tokens": sum(row["prompt_tokens"] + row["completion_tokens"] for row in replies),
            "dollars": round(sum(priced), 6) if priced else None,
            "unpriced": sum(row["unpriced"] for row in replies),
        },
    }
