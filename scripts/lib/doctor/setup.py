"""What a run is told to do: its config, as the rules would see it, and its profile."""

from collections.abc import Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

from scripts.lib.errors import UserError

Section = dict[str, Any]
SLURM = Path("profiles/slurm")
PROFILE_FILES = ("profile.v9+.yaml", "config.v8+.yaml", "config.yaml")


@dataclass(frozen=True)
class Setup:
    """`config` is that of all tasks, `tasks` that of each by its name, `specs` what its file holds.

    `profile` is the one that is named, else that of Slurm; `on_slurm` says whether it was named and
    sends jobs through Slurm.
    """

    config: Section
    tasks: dict[str, Section]
    specs: dict[str, Section]
    profile: Section
    on_slurm: bool

    @property
    def labels_locally(self) -> bool:
        """Whether the labelling model runs on our own hardware."""
        return self.config["label"]["endpoint"] == "local"

    @property
    def nodes_online(self) -> bool:
        """Whether the machines that jobs run on reach the internet."""
        return not self.on_slurm or self.config["cluster"]["nodes_online"]

    def values(self, path: str) -> list[Any]:
        """The values that a key, as `label/model`, has in any of the tasks; each once."""
        found = []
        for value in self.tasks.values():
            for key in path.split("/"):
                value = value[key]
            if value not in found:
                found.append(value)
        return found


def read_setup(
    overlays: Sequence[Path], values: Sequence[str], profile: Path | None, tasks: Sequence[str]
) -> Setup:
    """The setup of a run in the current directory, of all tasks where none is named.

    `overlays` and `values` are what `--configfile` and `--config` of snakemake name.
    Raises `UserError` where a file cannot be used, `ImportError` where a package is missing.
    """
    from scripts.lib import config_checks as checks
    from scripts.lib.schema import check_against_schema
    from scripts.lib.tasks import load_task

    config: Section = {}
    for path in (Path("config.yaml"), *overlays):
        checks.lay_over(config, read_mapping(path))
    checks.lay_over(config, _read_values(values))
    known = sorted(path.stem for path in Path("tasks").glob("*.yaml"))
    for name in tasks:
        if name not in known:
            raise UserError(f"there is no tasks/{name}.yaml: mend the name")
    check_against_schema(config, checks.CONFIG_SCHEMA, "config.yaml")
    checks.check_names_of_tasks(config, known)
    parameters = partial(_parameters, config["models"])
    chosen = tasks or known
    merged = {
        name: checks.config_of_task(config, name, parameters)
        for name in [*chosen, *config["tasks"]]
    }
    described = {name: load_task(Path("tasks", f"{name}.yaml")).spec for name in known}
    checks.check_names_of_datasets(config, described.values())
    merged = {name: merged[name] for name in chosen}
    specs = {name: described[name] for name in chosen}
    settings = _profile(profile or SLURM)
    on_slurm = bool(profile) and settings.get("executor") == "slurm"
    return Setup(config, merged, specs, settings, on_slurm)


def _read_values(values: Sequence[str]) -> Section:
    """What `snakemake --config` makes of its words: a number within a mapping stays a text."""
    if not values:
        return {}
    # Late: it takes a second.
    from snakemake.cli import parse_config

    try:
        return parse_config(values)
    except ValueError as error:
        raise UserError(f"--config: {error}") from error


def _parameters(embedded: Section, model: str) -> float:
    """The number of weights of a model, as the plan counts them."""
    from scripts.lib.resources import parameters_of

    return parameters_of(model, f"results/models/{model}" if model in embedded else None)


def read_mapping(path: Path) -> Section:
    """The mapping that a YAML file holds. Raises `UserError`."""
    import yaml

    try:
        value = yaml.safe_load(path.read_text(encoding="utf-8"))
    except OSError as error:
        raise UserError(f"{path}: cannot be read: {error.strerror}") from error
    except (yaml.YAMLError, UnicodeDecodeError) as error:
        raise UserError(f"{path}: is not YAML: {' '.join(str(error).split())}") from error
    if not isinstance(value or {}, dict):
        raise UserError(f"{path}: holds no keys")
    return value or {}


def _profile(folder: Path) -> Section:
    files = [folder / name for name in PROFILE_FILES if (folder / name).is_file()]
    if not files:
        raise UserError(f"{folder}: holds no profile: name a folder with profile.v9+.yaml")
    return read_mapping(files[0])
