"""What a config must be beyond its schema: values that do not go together, and names of nothing.

The plan makes these checks of what it needs, `make doctor` of all tasks. Nothing heavy is imported.
"""

import copy
from collections.abc import Callable, Collection, Iterable
from pathlib import Path
from typing import Any

from scripts.lib.completions.settings import check_client
from scripts.lib.dataset_rows import names_of_datasets
from scripts.lib.errors import UserError
from scripts.lib.resources import training_gpus
from scripts.lib.schema import check_against_schema

Section = dict[str, Any]
# The number of weights of a model that the config names.
Parameters = Callable[[str], float]

CONFIG_SCHEMA = Path("schemas/config.schema.yaml")
# The services that all tasks share.
OF_ALL_TASKS = (("label", "endpoint"), ("sampling", "engine"))


def lay_over(below: Section, above: Section) -> Section:
    """Lay mappings over each other as `snakemake --configfile` does; returns the first."""
    for key, value in above.items():
        if isinstance(value, dict) and isinstance(below.get(key), dict):
            lay_over(below[key], value)
        else:
            below[key] = copy.deepcopy(value)
    return below


def check_names_of_tasks(config: Section, tasks: Collection[str]) -> None:
    """Raise `UserError` where the config has values for a task that has no file."""
    for name in config["tasks"]:
        if name not in tasks:
            raise UserError(
                f"config.yaml: key 'tasks.{name}': there is no tasks/{name}.yaml: mend the name"
            )


def check_names_of_datasets(config: Section, specs: Iterable[Section]) -> None:
    """Raise `UserError` where the config has a copy of what no task's file asks for."""
    known = {dataset for spec in specs for dataset in names_of_datasets(spec)}
    for name in config["datasets"]:
        if name not in known:
            raise UserError(
                f"config.yaml: key 'datasets.{name}': no task asks for it: the names are "
                + ", ".join(sorted(known))
            )


def config_of_task(config: Section, name: str, parameters: Parameters) -> Section:
    """A copy of the config with the section of a task laid over the others.

    Raises `UserError` where it is not one that the workflow can follow.
    """
    own = config["tasks"].get(name, {})
    for section, key in OF_ALL_TASKS:
        if key in own.get(section, {}):
            raise UserError(
                f"config.yaml: key 'tasks.{name}.{section}.{key}': is the same for all tasks: "
                f"set '{section}.{key}'"
            )
    common = {key: value for key, value in config.items() if key != "tasks"}
    merged = lay_over(copy.deepcopy(common), own)
    source = f"config.yaml with tasks.{name}"
    check_against_schema(merged, CONFIG_SCHEMA, source)
    if merged["label"]["endpoint"] != "local":
        check_client(merged["label"]["client"], source)
    _check_numbers(merged, source)
    for role in ("generator", "student"):
        section, key = merged[role], f"{source}: key '{role}.training"
        memory = merged["cluster"]["gpu_memory_gb"]
        _check_gpus(section["model"], section["training"], key, memory, parameters)
    sandbox = merged["verification"]["sandbox"]
    if sandbox["level"] == "none" and not sandbox["accept_risk"]:
        raise UserError(
            f"{source}: key 'verification.sandbox.level': none runs a model's code without "
            "isolation: set 'verification.sandbox.accept_risk: true' as well, or another level"
        )
    return merged


def gpus_asked(model: str, training: Section, memory_gb: float, parameters: Parameters) -> int:
    """How many GPUs, of `memory_gb` each, a training has on all of its machines."""
    if training["gpus"] != "auto":
        return training["gpus"]
    needed = training_gpus(parameters(model), training["method"], memory_gb)
    return max(needed, training["nodes"])


def _check_numbers(merged: Section, source: str) -> None:
    verification, replies = merged["verification"], merged["label"]["replies"]
    if verification["method"] == "agreement" and verification["support"] > replies:
        raise UserError(
            f"{source}: key 'verification.support': {verification['support']} replies cannot "
            f"agree where there are {replies}: raise 'label.replies'"
        )
    evaluation = merged["evaluation"]
    if (most := max(evaluation["k"])) > evaluation["samples"] > 0:
        raise UserError(
            f"{source}: key 'evaluation.k': pass@{most} cannot be told from "
            f"{evaluation['samples']} samples: raise 'evaluation.samples', or lower it"
        )


def _check_gpus(
    model: str, training: Section, key: str, memory_gb: float, parameters: Parameters
) -> None:
    """Raise `UserError` where a training cannot be shared by its GPUs as the config says."""
    nodes = training["nodes"]
    if training["gpus"] == "auto" and training["parallel"] != "fsdp":
        raise UserError(
            f"{key}.gpus': auto counts the GPUs that weights are spread over: set "
            "'parallel: fsdp', or a number of GPUs"
        )
    gpus = gpus_asked(model, training, memory_gb, parameters)
    if nodes > 1 and (gpus < nodes or gpus % nodes):
        raise UserError(
            f"{key}.nodes': {gpus} GPUs cannot be shared evenly by {nodes} machines: 'gpus' "
            "are those of all machines together: set it to a multiple"
        )
    shares = max(1, gpus) * training["accumulation"]
    if training["batch_size"] < shares:
        raise UserError(
            f"{key}.batch_size': {training['batch_size']} examples cannot be shared by "
            f"gpus x accumulation, {shares}: raise it, or lower those"
        )
