"""What reruns when something changes: every row of the table in docs/reruns.md.

The table itself says what is expected: this file holds a change for each of its rows, and compares
what Snakemake plans with what depends on the steps that the row names.
"""

import copy
import os
import re
import shutil
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, NamedTuple

import pytest
import yaml

from tests.conftest import PROJECT, Project

PAGE = PROJECT / "docs" / "reruns.md"
TASKS = sorted(path.stem for path in (PROJECT / "tasks").glob("*.yaml"))
TASK = "mbpp"
RESULTS_OF_A_TASK = ("_verified.jsonl", "_eval.json", "/dataset", "/quality.json")
TARGETS = [f"results/{task}{result}" for task in TASKS for result in RESULTS_OF_A_TASK]
OWN_TARGETS = [f"results/{TASK}{result}" for result in RESULTS_OF_A_TASK]
CONFIG = {"label": {"endpoint": "openai", "model": "a model"}}

# Parts of the config whose values a task cannot have for itself.
OF_ALL_TASKS = ("seed", "datasets", "models", "sampling.engine", "label.endpoint",
                "decontamination", "cluster")  # fmt: skip
TRAINING = {
    "method": "full", "epochs": 9, "learning_rate": 0.1, "scheduler": "linear",
    "warmup_ratio": 0.2, "weight_decay": 0.2, "batch_size": 7, "max_length": 333, "lora_rank": 4,
    "lora_alpha": 4, "lora_dropout": 0.2, "gpus": 2, "nodes": 2, "parallel": "ddp",
    "accumulation": 2, "gradient_checkpointing": True, "checkpoint_minutes": 3,
    "report_to": "wandb",
}  # fmt: skip
# Another value for each key of the config; a section here is changed as a whole.
OTHER_VALUES: dict[str, Any] = {
    "seed": 43,
    "seeds": "paper",
    "seed_rows": 5,
    "datasets": {"google-research-datasets/mbpp:test": "problems.jsonl"},
    "models": {"smollm2-135m-instruct": {"wheel_sha256": "0" * 64}},
    "generator.model": "another/model",
    "generator.method": "in_context",
    "generator.chat_format": "none",
    "generator.learn": "format",
    **{f"generator.training.{key}": value for key, value in TRAINING.items()},
    "student.model": "another/model",
    "student.chat_format": "none",
    **{f"student.training.{key}": value for key, value in TRAINING.items()},
    "sampling.target_rows": 24,
    "sampling.margin": 12,
    "sampling.shard_size": 40,
    "sampling.engine": "loop",
    "sampling.batch_size": 2,
    "sampling.processes": 2,
    "sampling.override": {"temperature": 0.3},
    "filter.encoder": "another/encoder",
    "filter.threshold": 0.7,
    "decontamination.ngram": 9,
    "decontamination.required": True,
    "label.endpoint": "local",
    "label.model": "another model",
    "label.replies": 4,
    "label.min_tests": 2,
    "label.temperature": 0.3,
    "label.top_p": 0.3,
    "label.max_tokens": 77,
    "label.max_tokens_name": "max_completion_tokens",
    "label.extra_body": {"reasoning_effort": "low"},
    "label.client": {"mode": "batch", "in_flight": 9, "budget": {"dollars": 1}, "timeout": 5,
                     "canary": {"replies": 0}, "requests_per_minute": 7},
    "verification.method": "agreement",
    "verification.support": 3,
    "verification.majority": 0.9,
    "verification.rows_per_instruction": 2,
    "verification.timeout": 7,
    "verification.memory_mb": 512,
    "verification.sandbox": {"level": "full"},
    "evaluation.benchmarks": ["MBPP"],
    "evaluation.limit": 50,
    "evaluation.max_new_tokens": 99,
    "evaluation.batch_size": 3,
    "evaluation.samples": 10,
    "evaluation.k": [1],
    "evaluation.temperature": 0.3,
    "evaluation.top_p": 0.3,
    "evaluation.likelihood": False,
    "evaluation.min_parsed": 0.2,
    "quality.max_texts": 100,
    "lm_eval": {"limit": 3, "batch_size": 1, "num_fewshot": 1},
    "study": {"seeds": [1, 2], "rows": 50, "min_rows": 2, "seed_replies": 3, "epochs": [1, 2]},
    "cluster": {"nodes_online": True, "gpu_memory_gb": 40, "max_hours": 5,
                "max_mem_gb": 64},
}  # fmt: skip

# Keys that mean something for a certain task alone.
TASK_OF = {"seeds": "mbpp", "evaluation.likelihood": "csqa"}


class Job(NamedTuple):
    """A job of a plan: its rule and its outputs."""

    rule: str
    outputs: tuple[str, ...]


class Finished:
    """A copy of the project whose results are made up, and recorded by Snakemake as finished."""

    def __init__(self, directory: Path) -> None:
        directory.mkdir()
        self.project = Project(directory, CONFIG)
        (directory / "problems.jsonl").write_text("{}\n")
        everything = self.snakemake(*TARGETS, "--dry-run")
        self.jobs, self.inputs = read_plan(everything)
        for job in self.jobs:
            for output in job.outputs:
                path = directory / output
                path.parent.mkdir(parents=True, exist_ok=True)
                if path.suffix:
                    path.write_text("{}\n")
                else:
                    path.mkdir()
                    (path / "weights").touch()
        self.snakemake(*TARGETS, "--touch", "--forceall")

    @property
    def path(self) -> Path:
        return self.project.path

    def place(self, path: Path) -> None:
        """Take the project for one in another folder."""
        self.project.path, self.project.overlay = path, path / self.project.overlay.name

    def snakemake(self, *arguments: str) -> str:
        """Run Snakemake; what it prints."""
        done = self.project.run(*arguments)
        assert done.returncode == 0, done.stdout
        return done.stdout

    def planned(self, *arguments: str, targets: list[str] = TARGETS) -> set[Job]:
        """The jobs that would run."""
        return read_plan(self.snakemake(*targets, "--dry-run", *arguments))[0]

    def needed_by(self, targets: list[str]) -> set[Job]:
        """The jobs that the targets are made by, with those before them."""
        makes = {output: job for job in self.jobs for output in job.outputs}
        found: set[Job] = set()
        paths = list(targets)
        while paths:
            job = makes.get(paths.pop())
            if job and job not in found:
                found.add(job)
                paths += self.inputs[job]
        return found

    def following(self, steps: list[str], task: str) -> set[Job]:
        """The jobs of a task that make the named results or are of the named rules, and all jobs
        that need what those make."""
        named = {name.replace("mbpp", task) for name in steps}
        makes = {output: job for job in self.jobs for output in job.outputs}
        found = {
            job
            for job in self.jobs
            if not named.isdisjoint(job.outputs) or (job.rule in named and is_of(job, task))
        }
        assert found, f"no step of {task} is {', '.join(steps)}"
        while True:
            more = {
                job
                for job in self.jobs - found
                if any(makes.get(path) in found for path in self.inputs[job])
            }
            if not more:
                return found
            found |= more


def is_of(job: Job, task: str) -> bool:
    """Whether a job is of a task: those of the benchmarks are named after one, too."""
    return any(re.search(rf"/{task}[_./]", output) for output in job.outputs) or (
        job.rule == "fetch_model"
    )


def read_plan(printed: str) -> tuple[set[Job], dict[Job, list[str]]]:
    """The jobs of a dry run's output, and the inputs of each."""
    inputs = {}
    for found in re.finditer(
        r"^(?:local)?rule (\w+):\n(?:    input: (.*)\n)?(?:    output: (.*)\n)?",
        printed,
        re.MULTILINE,
    ):
        rule, needs, makes = found.groups()
        inputs[Job(rule, tuple((makes or "").split(", ")))] = (needs or "").split(", ")
    return set(inputs), inputs


def table() -> dict[str, str]:
    """The rows of the page's table: what changes, and what runs again."""
    rows = re.findall(r"^\| (.+?) \| (.+?) \|.*\|$", PAGE.read_text(), re.MULTILINE)
    assert rows[0][0] == "I change"
    # What is bold parts the table.
    return dict(row for row in rows[1:] if not row[0].startswith("**"))


def keys_in(change: str) -> list[str]:
    """The keys of the config that the first column of a row names: `a.{b, c}` are two."""
    keys = []
    for name in re.findall(r"`([^`]+)`", change):
        before, braces, rest = name.partition("{")
        keys += [before + key.strip() for key in rest.rstrip("}").split(",")] if braces else [name]
    return keys


def is_of_config(change: str) -> bool:
    """Whether a row is about keys of the config."""
    keys = keys_in(change)
    return bool(keys) and all(key in OTHER_VALUES for key in keys)


def with_value(config: dict, key: str, value: object) -> None:
    """Set a dotted key of a config."""
    *path, last = key.split(".")
    for part in path:
        config = config.setdefault(part, {})
    config[last] = value


def is_of_all_tasks(key: str) -> bool:
    """Whether a task cannot have the key for itself."""
    return any(key == part or key.startswith(f"{part}.") for part in OF_ALL_TASKS)


def plans_of_config() -> list[tuple[str, dict[str, list[str]]]]:
    """For each plan the row, and the keys that each task changes; "" stands for all tasks.

    A plan tries several keys, each in another task; where nothing runs again, all of them at once.
    """
    plans = []
    for change, again in table().items():
        if not is_of_config(change):
            continue
        keys = keys_in(change)
        of_all = [key for key in keys if is_of_all_tasks(key)]
        own = [key for key in keys if key not in of_all]
        if again == "nothing":
            plans.append((change, {"": of_all, TASK: own}))
            continue
        plans += [(change, {"": [key]}) for key in of_all]
        while own:
            plan: dict[str, list[str]] = {}
            for key in list(own):
                free = [task for task in TASKS if task not in plan]
                wanted = [TASK_OF[key]] if key in TASK_OF else free
                if wanted and wanted[0] in free:
                    plan[wanted[0]] = [key]
                    own.remove(key)
            plans.append((change, plan))
    return plans


def steps_in(again: str) -> list[str]:
    """The steps that the second column of a row names."""
    return re.findall(r"`([^`]+)`", again)


@pytest.fixture(scope="module")
def finished(tmp_path_factory: pytest.TempPathFactory) -> Finished:
    return Finished(tmp_path_factory.mktemp("reruns") / "project")


def compare(
    finished: Finished, again: str, tasks: list[str], planned: set[Job], targets: list[str]
) -> None:
    """Compare what is planned for targets with the second column of a row, for some tasks."""
    new = planned - finished.jobs
    expected: set[Job] = set()
    for task in tasks if again != "nothing" else []:
        expected |= finished.following(steps_in(again), task)
    assert bool(new) == ("new" in again), new
    assert planned - new == expected & finished.needed_by(targets)


@pytest.mark.parametrize(("change", "keys"), plans_of_config(), ids=str)
def test_a_change_of_the_config(
    finished: Finished, change: str, keys: dict[str, list[str]]
) -> None:
    config = copy.deepcopy(CONFIG)
    for task, names in keys.items():
        for name in names:
            path = f"tasks.{task}.{name}" if task else name
            with_value(config, path, copy.deepcopy(OTHER_VALUES[name]))
    finished.project.configure(config)
    try:
        tasks = [TASK] if keys == {"": ["datasets"]} else TASKS if "" in keys else list(keys)
        compare(finished, table()[change], tasks, finished.planned(), TARGETS)
    finally:
        finished.project.configure(CONFIG)


Change = Callable[[Finished], Iterator[list[str]]]


def edit(name: str, old: str, new: str) -> Change:
    """Another text in a file."""

    def change(finished: Finished) -> Iterator[list[str]]:
        path = finished.path / name
        text = path.read_text()
        assert old in text
        path.write_text(text.replace(old, new, 1))
        try:
            yield []
        finally:
            path.write_text(text)

    return change


def longer(*names: str, end: str = "\n# An edit.\n") -> Change:
    """A line more in each of some files."""

    def change(finished: Finished) -> Iterator[list[str]]:
        texts = {finished.path / name: (finished.path / name).read_text() for name in names}
        for path, text in texts.items():
            path.write_text(text + end)
        try:
            yield []
        finally:
            for path, text in texts.items():
                path.write_text(text)

    return change


def without(name: str) -> Change:
    """A file or folder gone."""

    def change(finished: Finished) -> Iterator[list[str]]:
        aside = finished.path / "aside"
        (finished.path / name).rename(aside)
        try:
            yield []
        finally:
            shutil.rmtree(finished.path / name, ignore_errors=True)
            aside.rename(finished.path / name)

    return change


def of_another_task(finished: Finished) -> Iterator[list[str]]:
    """A value for one task, and what belongs to it."""
    finished.project.configure({**CONFIG, "tasks": {"gsm8k": {"seed_rows": 4}}})
    try:
        yield from longer("tasks/gsm8k.yaml", "scripts/lib/tasks/math.py")(finished)
    finally:
        finished.project.configure(CONFIG)


def touched(finished: Finished) -> Iterator[list[str]]:
    """The same content in new files, as after switching a branch and back."""
    for part in ("rules", "scripts", "schemas", "tasks", "envs", "Snakefile", "results"):
        for path in sorted([finished.path / part, *(finished.path / part).rglob("*")]):
            of_model = part == "results" and path.suffix not in (".json", ".jsonl")
            if path.is_file() and "__pycache__" not in path.parts and not of_model:
                content = path.read_bytes()
                path.unlink()
                path.write_bytes(content)
    yield []


def folder_touched(finished: Finished) -> Iterator[list[str]]:
    """Later times in the folder of a model."""
    files = list((finished.path / "results/mbpp/generator").iterdir())
    times = {path: path.stat() for path in files}
    for path in files:
        path.touch()
    try:
        yield []
    finally:
        for path, before in times.items():
            os.utime(path, ns=(before.st_atime_ns, before.st_mtime_ns))


def moved(finished: Finished) -> Iterator[list[str]]:
    """The whole folder elsewhere."""
    here, there = finished.path, finished.path.with_name("elsewhere")
    here.rename(there)
    finished.place(there)
    try:
        yield []
    finally:
        there.rename(here)
        finished.place(here)


def another_endpoint(finished: Finished) -> Iterator[list[str]]:
    """Another key and another address in the environment."""
    before = finished.project.environment
    other = {"OPENAI_API_KEY": "another", "OPENAI_BASE_URL": "http://x/v1"}
    finished.project.environment = before | other
    try:
        yield []
    finally:
        finished.project.environment = before


def run_otherwise(finished: Finished) -> Iterator[list[str]]:
    """Another profile, and options of how to run."""
    yield ["--workflow-profile", "profiles/slurm", "--jobs", "3", "--resources", "gpu=4"]


# A change for each row of the table that is not about keys of the config.
OTHER_CHANGES: dict[str, Change] = {
    "nothing": lambda finished: iter([[]]),
    "another task: its values (`tasks`), its file, the code of its kind": of_another_task,
    "a comment in `tasks/mbpp.yaml`": longer("tasks/mbpp.yaml"),
    "`instruction.prefix` in it, the prompt": edit(
        "tasks/mbpp.yaml", "expert Python", "able Python"
    ),
    "`instruction.response`, the form of a response": edit(
        "tasks/mbpp.yaml", "\\n[/PYTHON]", " [/PYTHON]"
    ),
    "its `sampling`": edit("tasks/mbpp.yaml", "top_k: 100", "top_k: 50"),
    "its `filter`": edit("tasks/mbpp.yaml", "max_words: 60", "max_words: 50"),
    "its `label`: request, examples": edit("tasks/mbpp.yaml", "You write short", "You write good"),
    "its `benchmark`": edit("tasks/mbpp.yaml", 'text: "{text}"', 'text: "{code}"'),
    "a seed in `tasks/mbpp_seeds.jsonl`": edit(
        "tasks/mbpp_seeds.jsonl", " function to ", " function that can "
    ),
    "a step's script, `scripts/filter_instructions.py`": longer("scripts/filter_instructions.py"),
    "`scripts/lib/training/`, `scripts/lib/models.py`": longer("scripts/lib/training/run.py"),
    "`scripts/lib/generation/`": longer("scripts/lib/generation/drawing.py"),
    "`scripts/lib/dedup.py`, `embedding.py`, `decontamination.py`": longer(
        "scripts/lib/embedding.py"
    ),
    "`scripts/lib/completions/request.py`": longer("scripts/lib/completions/request.py"),
    "`scripts/lib/sandbox/`, `scripts/lib/verification/`": longer(
        "scripts/lib/sandbox/inside/player.py"
    ),
    "the rest of `scripts/lib/`: files, messages, limits": longer(
        "scripts/lib/console.py", "scripts/lib/records.py", "scripts/lib/completions/client.py"
    ),
    "the command of a rule, in `rules/filter_instructions.smk`": edit(
        "rules/filter_instructions.smk", "--seed {params.seed} ", "--seed  {params.seed} "
    ),
    "a comment in `rules/`, `schemas/`, the Snakefile": longer(
        "rules/filter_instructions.smk", "Snakefile", "schemas/config.schema.yaml"
    ),
    "a resource or `threads` of a rule": edit(
        "rules/filter_instructions.smk", "threads: 8", "threads: 3"
    ),
    "`envs/*.yaml`, packages": longer("envs/cpu.yaml", "envs/gpu.yaml"),
    "the profile, `--jobs`, `--resources`": run_otherwise,
    "keys and address of the endpoint": another_endpoint,
    "file times: `touch`, another branch and back": touched,
    "times in the folder of a model, `results/mbpp/generator`": folder_touched,
    "the place of the project's folder": moved,
    "`results/mbpp/generations/2.jsonl`, removed": without("results/mbpp/generations/2.jsonl"),
    "`results/mbpp/rejected.jsonl`, removed": without("results/mbpp/rejected.jsonl"),
    "`results/mbpp_verified.jsonl`, removed": without("results/mbpp_verified.jsonl"),
    "a line of `results/mbpp_instructions.jsonl`, by hand": longer(
        "results/mbpp_instructions.jsonl", end="{}\n"
    ),
}


@pytest.mark.parametrize("change", [row for row in table() if not is_of_config(row)])
def test_any_other_change(finished: Finished, change: str) -> None:
    with contextmanager(OTHER_CHANGES[change])(finished) as arguments:
        planned = finished.planned(*arguments, targets=OWN_TARGETS)
    compare(finished, table()[change], [TASK], planned, OWN_TARGETS)


def test_every_row_of_the_table_has_a_change() -> None:
    assert {row for row in table() if not is_of_config(row)} == set(OTHER_CHANGES)


def test_every_key_of_the_config_is_in_the_table() -> None:
    def leaves(section: dict, before: str = "") -> Iterator[str]:
        for name, value in section.items():
            if isinstance(value, dict) and value:
                yield from leaves(value, f"{before}{name}.")
            else:
                yield f"{before}{name}"

    config = yaml.safe_load((PROJECT / "config.yaml").read_text())
    # The values of `tasks` are those of the other sections.
    tried = ["tasks", *(key for row in table() if is_of_config(row) for key in keys_in(row))]
    missing = [
        key
        for key in leaves(config)
        if not any(key == known or key.startswith(f"{known}.") for known in tried)
    ]
    assert not missing
