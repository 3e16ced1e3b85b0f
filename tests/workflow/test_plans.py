"""The plans that tests ask for are those of a Snakemake that is started anew."""

import re
from pathlib import Path

import pytest

from tests.conftest import Project

TARGET = "results/mbpp_verified.jsonl"


@pytest.fixture
def fresh(tmp_path: Path) -> Project:
    return Project(tmp_path, {})


def words(output: str) -> list[str]:
    """What is the same each time, in any order: no hours, ids and numbers of jobs."""
    changing = re.compile(r"\[| *(Date|Workflow ID|jobid): ?")
    lines = [line for line in output.splitlines() if not changing.match(line)]
    return sorted(re.findall(r"[^\s,;]+", "\n".join(lines)))


def test_a_plan_is_what_snakemake_says(fresh: Project) -> None:
    for arguments in ((TARGET, "--dry-run", "-p"), ("-n", "results/haiku_verified.jsonl")):
        said, _ = (process := fresh.start(*arguments)).communicate()
        planned = fresh.run(*arguments)
        assert planned.returncode == process.returncode
        assert words(planned.stdout) == words(said)
        assert len(words(said)) > 20


def test_a_plan_remembers_no_module_of_the_project(fresh: Project) -> None:
    assert fresh.run("-n", TARGET).returncode == 0
    module = fresh.path / "scripts" / "lib" / "funnel.py"
    module.write_text(module.read_text() + "\nraise RuntimeError('edited')\n")
    planned = fresh.run("-n", TARGET)
    assert planned.returncode == 1
    assert "edited" in planned.stdout
