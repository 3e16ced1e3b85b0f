"""Time Snakemake's plan of a task whose instructions come in many shards.

    python bench/plan.py [--shards 1 100 2000 10000] [--rounds 3]

Three plans are timed for each number of shards, in a copy of the workflow: of a run that has yet to
begin; of one that is finished, whose outputs are made up and whose records Snakemake wrote itself
(`--touch`); and that of one shard's job, which every job of a cluster makes anew. Each figure is
the best of the rounds, which take turns: `cpu` is the seconds that the process computed, `passed`
those on the wall. The ratio of the last line is that of 2,000 shards to one, in seconds of CPU.
"""

import argparse
import json
import os
import re
import resource
import shutil
import subprocess
import sys
import tempfile
import time
from pathlib import Path

PROJECT = Path(__file__).parents[1]
PARTS = ["Snakefile", "config.yaml", "configs", "rules", "scripts", "schemas", "tasks", "envs",
         "profiles", "report"]  # fmt: skip
TARGET = "results/mbpp_verified.jsonl"
SHARD_SIZE = 100
SNAKEMAKE = Path(sys.executable).parent / "snakemake"
PLANS = {
    "fresh": [TARGET],
    "finished": [TARGET],
    # As an executor of clusters calls Snakemake for the job.
    "one job": ["--target-jobs", "generate_instructions:task=mbpp,shard=1",
                "--allowed-rules", "generate_instructions", "--force"],
}  # fmt: skip


class Workflow:
    """A copy of the workflow with so many shards."""

    def __init__(self, folder: Path, shards: int) -> None:
        self.path = folder
        self.shards = shards
        folder.mkdir()
        for part in PARTS:
            copy = shutil.copytree if (PROJECT / part).is_dir() else shutil.copy2
            copy(PROJECT / part, folder / part)
        sampling = {"target_rows": shards * SHARD_SIZE, "margin": 1, "shard_size": SHARD_SIZE}
        (folder / "overlay.json").write_text(json.dumps({"sampling": sampling}))

    def snakemake(self, *arguments: str) -> str:
        """Run Snakemake; what it prints."""
        done = subprocess.run(
            [SNAKEMAKE, *arguments, "--configfile", "overlay.json"],
            cwd=self.path, text=True, capture_output=True,
        )  # fmt: skip
        if done.returncode:
            raise SystemExit(done.stdout + done.stderr)
        return done.stdout

    def plan(self, kind: str) -> tuple[float, float]:
        """Seconds of CPU and on the wall of a plan."""
        before, began = _cpu_of_children(), time.perf_counter()
        self.snakemake(*PLANS[kind], "--dry-run", "--quiet")
        return _cpu_of_children() - before, time.perf_counter() - began

    def check(self, kind: str) -> None:
        """Stop unless a plan holds the jobs that it ought to."""
        printed = self.snakemake(*PLANS[kind], "--dry-run", "--quiet", "rules")
        jobs = set(re.findall(r"^generate_instructions +(\d+)$", printed, re.MULTILINE))
        if jobs != {"fresh": {str(self.shards)}, "finished": set(), "one job": {"1"}}[kind]:
            raise SystemExit(f"{kind}, {self.shards} shards: not the expected plan:\n{printed}")

    def finish(self) -> None:
        """Make up all outputs, and let Snakemake record them as those of finished jobs."""
        summary = self.snakemake("--summary", TARGET).splitlines()[1:]
        outputs = [self.path / line.split("\t")[0] for line in summary]
        for path in outputs:
            path.parent.mkdir(parents=True, exist_ok=True)
            if path.suffix in (".jsonl", ".json"):
                path.write_text("{}\n")
            else:
                path.mkdir(exist_ok=True)
                (path / "model.safetensors").touch()
        self.snakemake(TARGET, "--touch", "--forceall")


def _cpu_of_children() -> float:
    used = resource.getrusage(resource.RUSAGE_CHILDREN)
    return used.ru_utime + used.ru_stime


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--shards", type=int, nargs="+", default=[1, 100, 2000, 10000])
    parser.add_argument("--rounds", type=int, default=3)
    arguments = parser.parse_args()
    best: dict[tuple[int, str], tuple[float, float]] = {}
    with tempfile.TemporaryDirectory(prefix="plan.") as folder:
        workflows = [Workflow(Path(folder) / str(shards), shards) for shards in arguments.shards]
        for kinds in (("fresh",), ("finished", "one job")):
            if "finished" in kinds:
                for workflow in workflows:
                    workflow.finish()
            for workflow in workflows:
                for kind in kinds:
                    workflow.check(kind)
            for _ in range(arguments.rounds):
                for workflow in workflows:
                    for kind in kinds:
                        key = workflow.shards, kind
                        found = workflow.plan(kind)
                        best[key] = tuple(map(min, found, best.get(key, found)))
        print(f"{'shards':>7}" + "".join(f"{kind + ' cpu':>15}{'passed':>8}" for kind in PLANS))
        for workflow in workflows:
            figures = [best[workflow.shards, kind] for kind in PLANS]
            print(f"{workflow.shards:7}" + "".join(f"{cpu:15.2f}{s:8.2f}" for cpu, s in figures))
        for workflow in workflows:
            metadata = workflow.path / ".snakemake" / "metadata"
            files = [entry.stat().st_size for entry in os.scandir(metadata)]
            print(f"{workflow.shards} shards: {len(files)} records, {sum(files) / 1e6:.1f} MB")
    if {1, 2000} <= set(arguments.shards):
        ratio = best[2000, "fresh"][0] / best[1, "fresh"][0]
        print(f"a plan of 2000 shards takes {ratio:.1f} times the CPU of one of 1 shard")


if __name__ == "__main__":
    main()
