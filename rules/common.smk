# What the rules share: the validated config, the tasks, and the only functions of the workflow.

import json
from functools import cache
from pathlib import Path

from snakemake.exceptions import WorkflowError

from scripts.lib.errors import UserError
from scripts.lib.schema import check_against_schema
from scripts.lib.stale_lock import clear_stale_lock
from scripts.lib.tasks import load_task

# Modules that change a step's result: an edit of one of them reruns the steps that list it.
# Modules that only carry data or messages (records, console, ...) are left out on purpose, so that
# an edit there does not train a model again.
TASK_LIBRARY = ["scripts/lib/tasks/__init__.py", "scripts/lib/tasks/code.py"]
TRAINING_LIBRARY = ["scripts/lib/sft.py", "scripts/lib/chat.py"]
SAMPLING_LIBRARY = ["scripts/lib/sampling.py", "scripts/lib/chat.py"]
FILTER_LIBRARY = ["scripts/lib/dedup.py", "scripts/lib/embedding.py", *TASK_LIBRARY]
LABEL_LIBRARY = ["scripts/lib/completions/request.py", *TASK_LIBRARY]
VERIFICATION_LIBRARY = [
    *sorted(str(path) for path in Path("scripts/lib/sandbox").glob("*.py")),
    *TASK_LIBRARY,
]

TASKS = sorted(path.stem for path in Path("tasks").glob("*.yaml"))


def checked(check, *arguments):
    """Call a check of the library; what a user can put right ends the workflow with its line."""
    try:
        return check(*arguments)
    except UserError as error:
        raise WorkflowError(str(error))


if workflow.is_main_process:
    clear_stale_lock(Path(".snakemake"))

checked(check_against_schema, config, Path("schemas/config.schema.yaml"), "config.yaml")


@cache
def task_named(name):
    """The description of a task, with its seeds checked; read once, however many jobs ask."""
    task = checked(load_task, Path("tasks") / f"{name}.yaml")
    checked(task.seeds)
    return task


def task_of(wildcards):
    """The description of the task that a target names."""
    return task_named(wildcards.task)


def task_file(wildcards):
    """The YAML file of a task; `ancient` in rules, since `task_sections` says what has changed."""
    return str(task_of(wildcards).path)


def task_seeds(wildcards):
    """The file of a task's seeds."""
    return str(task_of(wildcards).seeds_path)


def task_sections(*names):
    """The sections of a task's file that a step reads: a change of another one reruns nothing."""

    def sections(wildcards):
        return {name: task_of(wildcards).spec[name] for name in ("kind", *names)}

    return sections


def sampling_settings(wildcards):
    """The task's sampling settings, with those that config.yaml overrides."""
    return {**task_of(wildcards).spec["sampling"], **config["sampling"]["override"]}


def sampling_setting(name):
    """One of the sampling settings."""

    def setting(wildcards):
        return sampling_settings(wildcards)[name]

    return setting


def sampling_record(wildcards):
    """The sampling settings as JSON, for the rows that tell where they came from."""
    return json.dumps(sampling_settings(wildcards), sort_keys=True)


def label_record(wildcards):
    """The label request's sampling settings as JSON, for the same rows."""
    names = ("temperature", "top_p", "max_tokens")
    return json.dumps({name: config["label"][name] for name in names}, sort_keys=True)


def shard_number(wildcards):
    """The number of a shard, from 1."""
    return int(wildcards.scatteritem.partition("-of-")[0])


def model_path(name):
    """Where a model of the config is found: the directory that is fetched, or the name itself."""
    return f"results/models/{name}" if name in config["models"] else name


def fetched(name):
    """The directory of a model as an input, nothing for a model that need not be fetched."""
    return [model_path(name)] if name in config["models"] else []


def model_of_role(wildcards):
    """The base model of a role."""
    return model_path(config[wildcards.role]["model"])


def fetched_model_of_role(wildcards):
    """The base model of a role as an input."""
    return fetched(config[wildcards.role]["model"])


def label_model(wildcards):
    """The labelling model: a directory or hub id for a local endpoint, else the endpoint's name."""
    name = config["label"]["model"]
    return model_path(name) if labels_locally() else name


def fetched_label_model():
    """The labelling model as an input."""
    return fetched(config["label"]["model"]) if labels_locally() else []


def labels_locally():
    """Whether the labelling model runs on our own hardware."""
    return config["label"]["endpoint"] == "local"
