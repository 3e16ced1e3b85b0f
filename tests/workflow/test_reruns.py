"""What reruns when something changes: every row of the table in docs/reruns.md.

The table itself says what is expected: this file holds a change for each of its rows, and compares
what Snakemake plans with what depends on the steps that the row names. A plan tries as many changes
as cannot hide each other: those of tasks, of which one does not concern another, and all those by
which nothing runs again.
"""

import ast
import copy
import os
import re
import shutil
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Any, NamedTuple

import pytest
import yaml

from scripts.lib.training import DECIDE_NOTHING
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
        found = {
            job
            for job in self.jobs
            if not named.isdisjoint(job.outputs) or (job.rule in named and is_of(job, task))
        }
        assert found, f"no step of {task} is {', '.join(steps)}"
        return self.needing(found)

    def needing(self, jobs: set[Job]) -> set[Job]:
        """Some jobs, and all that need what those make."""
        makes = {output: job for job in self.jobs for output in job.outputs}
        found = set(jobs)
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


def rows_of_config(nothing: bool) -> dict[str, list[str]]:
    """The rows about the config, by which nothing runs again or something does, and their keys."""
    return {
        change: keys_in(change)
        for change, again in table().items()
        if is_of_config(change) and (again == "nothing") == nothing
    }


def plans_of_own_keys() -> list[dict[str, str]]:
    """For each plan the key that each task changes: each key that has an effect is in one."""
    rows = rows_of_config(nothing=False).values()
    left = [key for keys in rows for key in keys if not is_of_all_tasks(key)]
    plans = []
    while left:
        plan: dict[str, str] = {}
        # Those that mean something for a certain task come first.
        for key in sorted(left, key=lambda key: key not in TASK_OF):
            free = [task for task in TASKS if task not in plan]
            task = TASK_OF.get(key, free[0] if free else None)
            if task in free:
                plan[task] = key
                left.remove(key)
        plans.append(plan)
    return plans


def steps_in(again: str) -> list[str]:
    """The steps that the second column of a row names."""
    return re.findall(r"`([^`]+)`", again)


@pytest.fixture(scope="module")
def finished(tmp_path_factory: pytest.TempPathFactory) -> Finished:
    return Finished(tmp_path_factory.mktemp("reruns") / "project")


def compare(
    finished: Finished, again: dict[str, str], planned: set[Job], targets: list[str]
) -> None:
    """Compare what is planned for targets with the second column of a row, by task."""
    new = planned - finished.jobs
    expected: set[Job] = set()
    for task, said in again.items():
        expected |= finished.following(steps_in(said), task)
        assert any(is_of(job, task) for job in new) == ("new" in said), new
    assert planned - new == expected & finished.needed_by(targets)


def row_of(key: str) -> str:
    """What runs again for a key of the config."""
    (again,) = (again for change, again in table().items() if key in keys_in(change))
    return again


def planned_with(finished: Finished, keys: list[tuple[str, str]]) -> set[Job]:
    """What is planned with other values for some keys, each of a task; "" stands for all tasks."""
    config = copy.deepcopy(CONFIG)
    for task, key in keys:
        path = f"tasks.{task}.{key}" if task else key
        with_value(config, path, copy.deepcopy(OTHER_VALUES[key]))
    finished.project.configure(config)
    try:
        return finished.planned()
    finally:
        finished.project.configure(CONFIG)


@pytest.mark.parametrize("keys", plans_of_own_keys(), ids=lambda keys: ", ".join(keys.values()))
def test_a_change_of_a_tasks_config(finished: Finished, keys: dict[str, str]) -> None:
    again = {task: row_of(key) for task, key in keys.items()}
    compare(finished, again, planned_with(finished, [*keys.items()]), TARGETS)


@pytest.mark.parametrize(
    "key",
    [
        key
        for keys in rows_of_config(nothing=False).values()
        for key in keys
        if is_of_all_tasks(key)
    ],
)
def test_a_change_of_the_config_of_all_tasks(finished: Finished, key: str) -> None:
    # What is named there is a dataset of this task alone.
    tasks = [TASK] if key == "datasets" else TASKS
    again = dict.fromkeys(tasks, row_of(key))
    compare(finished, again, planned_with(finished, [("", key)]), TARGETS)


def test_a_change_of_the_config_that_reruns_nothing(finished: Finished) -> None:
    rows = {
        change: [("" if is_of_all_tasks(key) else TASK, key) for key in keys]
        for change, keys in rows_of_config(nothing=True).items()
    }
    if planned_with(finished, [key for keys in rows.values() for key in keys]):
        # Which row it is.
        assert not {change for change, keys in rows.items() if planned_with(finished, keys)}
        pytest.fail("some rows together rerun something")


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
        aside = finished.path / name.replace("/", "-")
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


# A change for each row of the table that is not about keys of the config; of the library,
# whose modules are all looked for among the inputs, for some: one of an input, one of a parameter.
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
    "`scripts/lib/generation/`": longer("scripts/lib/generation/drawing.py"),
    "`scripts/lib/{dedup, embedding, decontamination}.py`": longer("scripts/lib/embedding.py"),
    "the rest of `scripts/lib/`, `scripts/lib/training/{checkpoints, estimate, reports}.py`: "
    "files, messages, limits": longer(
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


# Each in a plan of its own: they change how Snakemake is called, or what it compares.
ALONE = {
    "nothing",
    "the profile, `--jobs`, `--resources`",
    "file times: `touch`, another branch and back",
    "the place of the project's folder",
}


def planned_after(finished: Finished, changes: list[str]) -> set[Job]:
    """What is planned for the task after those changes."""
    with ExitStack() as stack:
        made = [
            stack.enter_context(contextmanager(OTHER_CHANGES[change])(finished))
            for change in changes
        ]
        arguments = [argument for given in made for argument in given]
        return finished.planned(*arguments, targets=OWN_TARGETS)


def changes_together() -> list[str]:
    """The changes by which nothing runs again, and which one plan tries."""
    again = table()
    return [row for row in OTHER_CHANGES if again.get(row) == "nothing" and row not in ALONE]


@pytest.mark.parametrize("change", [row for row in OTHER_CHANGES if row not in changes_together()])
def test_any_other_change(finished: Finished, change: str) -> None:
    again = table()[change]
    planned = planned_after(finished, [change])
    compare(finished, {} if again == "nothing" else {TASK: again}, planned, OWN_TARGETS)


def test_any_other_change_that_reruns_nothing(finished: Finished) -> None:
    changes = changes_together()
    if planned_after(finished, changes):
        # Which row it is.
        assert not {change for change in changes if planned_after(finished, [change])}
        pytest.fail("some rows together rerun something")


def rows_of_library() -> dict[str, str]:
    """For each path of the library that the table names, a module or a folder, what runs again."""
    return {
        path: again
        for change, again in table().items()
        for name in re.findall(r"`(scripts/lib/[^`]*)`", change)
        for path in paths_in(name)
    }


def paths_in(name: str) -> list[str]:
    """The paths that a name stands for: `a/{b, c}.py` are two."""
    before, braces, rest = name.partition("{")
    inside, _, after = rest.partition("}")
    return [before + part.strip() + after for part in inside.split(",")] if braces else [name]


def libraries() -> dict[str, list[str]]:
    """The lists of modules in rules/common.smk."""
    found = {"Path": Path, "DECIDE_NOTHING": DECIDE_NOTHING}
    for statement in ast.parse((PROJECT / "rules" / "common.smk").read_text()).body:
        if isinstance(statement, ast.Assign) and statement.targets[0].id.endswith("_LIBRARY"):
            exec(ast.unparse(statement), found)
    return {name: value for name, value in found.items() if name.endswith("_LIBRARY")}


def in_a_parameter() -> dict[str, list[str]]:
    """For each rule that has files of code as a parameter (`content_of`), which ones."""
    text = "".join(path.read_text() for path in sorted((PROJECT / "rules").glob("*.smk")))
    rules = re.findall(r"^rule (\w+):\n((?:(?: .*)?\n)+)", text, re.MULTILINE)
    named = {rule: re.search(r"=content_of\((.+)\),$", body, re.MULTILINE) for rule, body in rules}
    return {rule: eval(found[1], libraries()) for rule, found in named.items() if found}


def test_every_module_of_the_library_reruns_what_its_row_says(
    finished: Finished, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(PROJECT)
    rows, parameters = rows_of_library(), in_a_parameter()
    assert "generate_instructions" in parameters
    own = finished.needed_by(OWN_TARGETS)
    wrong = {}
    for path in sorted(Path("scripts/lib").rglob("*.py")):
        module = str(path)
        claim = max((row for row in rows if module.startswith(row)), key=len)
        told = {
            job
            for job in own
            if module in finished.inputs[job] or module in parameters.get(job.rule, [])
        }
        reruns = finished.needing(told) & own
        expected: set[Job] = set()
        # A task's instructions are compared with the benchmarks of all tasks.
        for task in TASKS if rows[claim] != "nothing" else []:
            expected |= finished.following(steps_in(rows[claim]), task) & own
        if reruns != expected:
            wrong[module] = (claim, sorted({job.rule for job in reruns ^ expected}))
    assert not wrong


def test_every_row_of_the_table_has_a_change() -> None:
    others = {row for row in table() if not is_of_config(row)}
    assert OTHER_CHANGES.keys() <= others
    assert all("`scripts/lib/" in row for row in others - OTHER_CHANGES.keys())
    assert all((PROJECT / path).exists() for path in rows_of_library())


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
