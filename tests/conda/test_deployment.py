"""Every environment is deployed as it stands, and each step of the toy task runs in its own.

By a stand-in for conda (stand_in.py) and a channel of this machine's Python (channel.py): what that
proves, and what not, says docs/environments.md. It takes minutes, of pip: `make test-conda`.
"""

import importlib.util
import json
import os
import platform
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest
import yaml

from tests.conda import channel
from tests.conftest import PROJECT, LabelEndpoint, Project, toy_config, toy_project

NEEDED = ("rattler", "rattler_build")
ENVIRONMENTS = {
    path.stem: yaml.safe_load(path.read_text(encoding="utf-8"))["dependencies"]
    for path in sorted((PROJECT / "envs").glob("*.yaml"))
}
(PYTHON,) = {dependencies[0].split("=")[-1] for dependencies in ENVIRONMENTS.values()}

pytestmark = pytest.mark.skipif(
    (platform.system(), platform.machine()) != ("Linux", "x86_64"),
    reason="the channel of the stand-in is for Linux on x86-64",
)

# Which environment each step of the toy task must run in.
STEPS = {
    "select_seeds": "cpu",
    "fetch_benchmark": "cpu",
    "train": "gpu",
    "generate_instructions": "gpu",
    "filter_instructions": "gpu",
    "label_instructions": "cpu",
    "verify_samples": "cpu",
    "export_dataset": "cpu",
    "measure_instructions": "gpu",
    "plot_funnel": "cpu",
    "list_examples": "cpu",
    "sum_up_cost": "cpu",
    "write_overview": "cpu",
    "run_lm_eval": "lm_eval",
}
TARGETS = [
    "results/toy_verified.jsonl",
    "results/toy/dataset",
    "results/toy/report/overview.html",
    "results/toy/lm_eval/base.json",
]

# Laid into scripts/__init__.py, which every step imports: as a step leaves, it writes down which
# Python ran it, and the files of all modules that it has imported.
RECORDER = """
import contextlib, json, os, sys
from pathlib import Path

leave = os._exit


def write_down_and_leave(status):
    # A jail's processes have no such folder.
    with contextlib.suppress(OSError, AttributeError):
        step = sys.modules["__main__"].__spec__.name.removeprefix("scripts.")
        files = [getattr(module, "__file__", None) for module in list(sys.modules.values())]
        found = {"step": step, "prefix": sys.prefix, "files": sorted(filter(None, files))}
        path = Path(__file__).parents[1] / "imports" / f"{step}-{os.getpid()}.json"
        path.write_text(json.dumps(found))
    leave(status)


os._exit = write_down_and_leave
"""

# A task of the harness that needs no network.
FACTS = {
    "task": "facts",
    "dataset_path": "json",
    "dataset_kwargs": {"data_files": {"test": "facts.jsonl"}},
    "test_split": "test",
    "output_type": "multiple_choice",
    "doc_to_text": "{{question}}",
    "doc_to_target": "{{answer}}",
    "doc_to_choice": ["yes", "no"],
    "metric_list": [{"metric": "acc"}],
}


def missing() -> str | None:
    """Why the stand-in cannot deploy anything here, in a line; `None` where it can."""
    if not all(map(importlib.util.find_spec, NEEDED)):
        return "the stand-in for conda needs the packages of requirements-dev.txt"
    if not PYTHON.startswith(f"{channel.MINOR}."):
        return f"the environments have Python {PYTHON}, these tests {channel.MINOR}"
    return None


@pytest.fixture(scope="module", autouse=True)
def possible() -> None:
    """Skips what cannot be; where CI is set it fails, since nobody would see that it never runs."""
    if why := missing():
        if "CI" in os.environ:
            pytest.fail(why)
        pytest.skip(why)


@pytest.fixture(scope="module")
def conda(tmp_path_factory: pytest.TempPathFactory) -> dict[str, str]:
    """The variables with which `conda` is the stand-in, and `conda-forge` our channel."""
    home = tmp_path_factory.mktemp("conda")
    (home / "bin").mkdir()
    command = home / "bin" / "conda"
    stand_in = Path(__file__).parent / "stand_in.py"
    command.write_text(f'#!/bin/sh\nexec "{sys.executable}" "{stand_in}" "$@"\n')
    command.chmod(0o755)
    (home / "bin" / "activate").write_text('export CONDA_PREFIX="$1" PATH="$1/bin:$PATH"\n')
    (home / "wheels").mkdir()
    pip = next(text for text in ENVIRONMENTS["cpu"] if text.startswith("pip="))
    channel.build(home / "channels" / "conda-forge", PYTHON, [pip], home / "wheels")
    folders = [home / "bin", Path(sys.executable).parent, os.environ["PATH"]]
    return {
        "PATH": os.pathsep.join(map(str, folders)),
        "CONDA_STAND_IN": str(home),
        "CONDA_CHANNEL_ALIAS": f"file://{home / 'channels'}",
        "CONDA_PKGS_DIRS": str(home / "packages"),
        # Half of the time of an installation, for modules that mostly nobody imports.
        "PIP_NO_COMPILE": "1",
    }


@pytest.fixture(scope="module")
def environments() -> Iterator[Path]:
    """A folder for the environments that is not below /tmp: a jail has a /tmp of its own."""
    with tempfile.TemporaryDirectory(dir="/var/tmp") as folder:
        yield Path(folder)


@pytest.fixture(scope="module")
def deployed(
    conda: dict[str, str],
    environments: Path,
    tmp_path_factory: pytest.TempPathFactory,
    tiny_model: Path,
) -> Project:
    """The toy task, from its seeds to the report, with every step in an environment of its own."""
    endpoint = LabelEndpoint()
    project = toy_project(tmp_path_factory.mktemp("deployed") / "toy", tiny_model, endpoint)
    project.environment |= conda
    (project.path / "facts.jsonl").write_text('{"question": "Is it?", "answer": 0}\n' * 4)
    (project.path / "facts.yaml").write_text(yaml.safe_dump(FACTS))
    own = {"student": {"model": str(tiny_model)}, "lm_eval": {"tasks": ["facts.yaml"]}}
    project.configure({**toy_config(tiny_model), **own})
    package = project.path / "scripts" / "__init__.py"
    package.write_text(package.read_text() + RECORDER)
    (project.path / "imports").mkdir()
    # Not `run`, which waits for ten minutes: pip alone may take them on a busy machine.
    process = project.start(*TARGETS, "--sdm", "conda", "--conda-prefix", str(environments))
    output, _ = process.communicate()
    endpoint.close()
    assert process.returncode == 0, output
    return project


def records(project: Project) -> list[dict]:
    """What the steps have written down."""
    found = [json.loads(path.read_text()) for path in (project.path / "imports").iterdir()]
    return [record for record in found if record["step"] in STEPS]


def environment_at(prefix: Path) -> str:
    """Which environment was deployed at a prefix: Snakemake keeps its file beside it."""
    text = prefix.with_name(f"{prefix.name}.yaml").read_text(encoding="utf-8")
    (name,) = (n for n in ENVIRONMENTS if (PROJECT / "envs" / f"{n}.yaml").read_text() == text)
    return name


def test_each_step_runs_in_its_environment_and_imports_from_there_alone(
    deployed: Project, environments: Path
) -> None:
    found = records(deployed)
    assert {record["step"] for record in found} == STEPS.keys()
    for record in found:
        prefix = Path(record["prefix"])
        assert prefix.parent == environments
        assert environment_at(prefix) == STEPS[record["step"]], record["step"]
        strangers = [
            file
            for file in record["files"]
            # torch makes up names without a folder for its operators.
            if Path(file).is_absolute()
            and not Path(file).is_relative_to(prefix)
            and not Path(file).is_relative_to(deployed.path / "scripts")
        ]
        assert not strangers, record["step"]
        third_party = [file for file in record["files"] if "/site-packages/" in file]
        assert third_party, record["step"]


def test_every_row_of_the_toy_task_is_verified_as_without_conda(deployed: Project) -> None:
    rows = deployed.rows("results/toy_verified.jsonl")
    assert rows
    assert all("bubblewrap" in row["sandbox"] for row in rows)
    harness = json.loads((deployed.path / "results/toy/lm_eval/base.json").read_text())
    assert harness["harness"] == {"name": "lm-eval", "version": "0.4.13"}


def to_be_installed(pins: dict[str, str], installed: dict[str, str]) -> dict[str, str]:
    """Those of an environment's pins that belong into it: a CPU build of torch asks for no CUDA."""
    from envs import lock

    if not installed.get("torch", "").endswith("+cpu"):
        return pins
    return {name: version for name, version in pins.items() if not lock.CUDA.match(name)}


def test_a_deployed_environment_holds_its_lock_and_nothing_else(deployed: Project) -> None:
    from envs import lock

    prefixes = {Path(record["prefix"]) for record in records(deployed)}
    assert {environment_at(prefix) for prefix in prefixes} == {"cpu", "gpu", "lm_eval"}
    for prefix in prefixes:
        listed = subprocess.run(
            [prefix / "bin" / "python", "-m", "pip", "list", "--format=json"],
            capture_output=True,
            check=True,
        )
        installed = {lock.normal(p["name"]): p["version"] for p in json.loads(listed.stdout)}
        pins = lock.read(f"envs/{environment_at(prefix)}.post-deploy.sh")
        expected = to_be_installed({n: pin.version for n, pin in pins.items()}, installed)
        found = {name: version.split("+")[0] for name, version in installed.items()}
        assert found == {**expected, "pip": found["pip"]}


def test_the_environment_of_vllm_can_be_made(conda: dict[str, str], tmp_path: Path) -> None:
    """Of its yaml alone: its packages are gigabytes, and need a GPU to be imported."""
    prefix = tmp_path / "vllm"
    file = PROJECT / "envs" / "vllm.yaml"
    create = ["conda", "env", "create", "--file", str(file), "--prefix", str(prefix)]
    subprocess.run(create, env={**os.environ, **conda}, check=True)
    python = [prefix / "bin" / "python", "-m", "pip", "--version"]
    said = subprocess.run(python, capture_output=True, text=True, check=True).stdout
    assert said.startswith("pip 25.2 ")
    assert str(prefix) in said


def test_a_package_with_another_hash_is_not_installed(
    conda: dict[str, str], tmp_path: Path, tiny_model: Path
) -> None:
    project = Project(tmp_path, toy_config(tiny_model))
    project.environment |= conda
    script = project.path / "envs" / "cpu.post-deploy.sh"
    lines = script.read_text(encoding="utf-8").splitlines(keepends=True)
    first = next(number for number, line in enumerate(lines) if "==" in line)
    name = lines[first].split("==")[0]
    # Of this package alone, so that pip comes to it at once.
    lines[first + 1 : lines.index("LOCK\n")] = [f"    --hash=sha256:{'0' * 64}\n"]
    script.write_text("".join(lines), encoding="utf-8")
    done = project.run(
        "--sdm", "conda", "--conda-create-envs-only", "results/mbpp/report/examples.json"
    )
    assert done.returncode == 1
    assert "THESE PACKAGES DO NOT MATCH THE HASHES" in done.stdout
    assert name in done.stdout
    made = project.path / ".snakemake" / "conda"
    assert not any(path.is_dir() for path in made.iterdir()), "half an environment is left"
