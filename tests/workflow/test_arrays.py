"""Shards as arrays, by the profile's own values and the real executor: no shard is left behind.

The executor forgets jobs of which it is given only a part, and a command that is too long for one
argument makes all tasks run the first one's. Neither is an error anywhere.
"""

import os
import re
import shutil
import signal
import subprocess
import sys
from contextlib import suppress
from pathlib import Path

import pytest
import yaml

from tests.conftest import PROJECT
from tests.launch.machine import soon

# More than Snakemake selects in a second unless told to (100).
SHARDS = 250
WORKFLOW = f"""
rule all:
    input: expand("{{shard}}.jsonl", shard=range({SHARDS}))
rule generate_instructions:
    output: "{{shard}}.jsonl"
    shell: "touch {{output}}"
"""
# Submits nothing, and writes down what it was asked for.
SBATCH = """#!/bin/sh
array=$(printf '%s\\n' "$@" | grep -o -m 1 '^--array=.*')
echo "$array $(echo "$*" | wc -c)" >> calls
echo 4217
"""
QUIET = "#!/bin/sh\nexit 0\n"
CONTROL = "#!/bin/sh\necho 'MaxArraySize = 1001'\n"


@pytest.fixture
def slurm(tmp_path: Path) -> dict[str, str]:
    """An environment in which Slurm's programs are stand-ins."""
    folder = tmp_path / "bin"
    folder.mkdir()
    programs = dict.fromkeys(("squeue", "sacct", "sacctmgr", "scancel", "sinfo"), QUIET)
    for name, text in {**programs, "sbatch": SBATCH, "scontrol": CONTROL}.items():
        (folder / name).write_text(text)
        (folder / name).chmod(0o755)
    return {**os.environ, "PATH": f"{folder}{os.pathsep}{os.environ['PATH']}"}


def submitted(folder: Path, slurm: dict[str, str]) -> list[tuple[int, int]]:
    """The tasks and the characters of each array that is submitted."""
    profile = yaml.safe_load((PROJECT / "profiles" / "slurm" / "profile.v9+.yaml").read_text())
    profile["slurm-partition-config"] = str(PROJECT / "profiles" / "slurm" / "partitions.yaml")
    (folder / "profile").mkdir()
    (folder / "profile" / "profile.v9+.yaml").write_text(yaml.safe_dump(profile))
    (folder / "Snakefile").write_text(WORKFLOW)
    snakemake = shutil.which("snakemake", path=str(Path(sys.executable).parent))
    with (folder / "run.log").open("w") as output:
        process = subprocess.Popen(
            [snakemake, "--workflow-profile", "profile"],
            cwd=folder, env=slurm, stdout=output, stderr=output, start_new_session=True,
        )  # fmt: skip

    def calls() -> list[tuple[int, int]]:
        text = (folder / "calls").read_text() if (folder / "calls").exists() else ""
        found = re.findall(r"--array=(\d+)-(\d+) (\d+)\n", text)
        return [(int(last) - int(first) + 1, int(size)) for first, last, size in found]

    # What is forgotten never comes.
    try:
        soon(lambda: sum(tasks for tasks, _ in calls()) == SHARDS or process.poll() is not None, 60)
    finally:
        with suppress(ProcessLookupError):
            os.killpg(process.pid, signal.SIGKILL)
        process.wait()
    return calls()


def test_all_shards_are_submitted_and_no_command_is_too_long(
    tmp_path: Path, slurm: dict[str, str]
) -> None:
    arrays = submitted(tmp_path, slurm)
    assert sum(tasks for tasks, _ in arrays) == SHARDS, (tmp_path / "run.log").read_text()
    assert max(size for _, size in arrays) < 128 * 1024
    assert "argument-length" not in (tmp_path / "run.log").read_text()
