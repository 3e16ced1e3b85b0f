"""The locks are whole, and the environments hold what the locks say (envs/lock.py)."""

import re
import subprocess
import sys
from pathlib import Path

import pytest
import yaml

from envs import lock

PROJECT = Path(__file__).parents[2]
LOCKS = ["requirements.txt", "requirements-cuda.txt", "requirements-dev.txt"]
ENVIRONMENTS = sorted(path.stem for path in (PROJECT / "envs").glob("*.yaml"))


def locked(environment: str) -> lock.Lock:
    """The pins in the script of an environment."""
    return lock.read(f"envs/{environment}.post-deploy.sh")


def pinned(name: str) -> lock.Lock:
    """What an `.in` file itself pins to a version."""
    return lock.read(name)


# ------------------------------------------------------------------------------------------- locks


@pytest.mark.parametrize("name", [*LOCKS, *(f"envs/{e}.post-deploy.sh" for e in ENVIRONMENTS)])
def test_a_lock_pins_everything_by_hashes_and_names_no_index(name: str) -> None:
    text = (PROJECT / name).read_text(encoding="utf-8")
    pins = lock.read(name)
    assert pins
    assert all(pin.hashes for pin in pins.values())
    # A public version: the CPU build of torch satisfies it as well as the CUDA build.
    assert all(re.fullmatch(r"[0-9][0-9a-z.]*", pin.version) for pin in pins.values())
    assert not re.search(r"index-url|find-links|trusted-host|://|file:|[a-z]\.org\b", text)


def test_the_cpu_build_of_torch_is_of_the_version_that_is_locked() -> None:
    (cpu,) = lock.read("requirements-cpu.txt").values()
    torch = lock.read("requirements.txt")["torch"]
    assert (cpu.name, cpu.version) == ("torch", f"{torch.version}+cpu")
    assert cpu.hashes and not set(cpu.hashes) & set(torch.hashes)
    for name in ("gpu", "lm_eval"):
        text = (PROJECT / "envs" / f"{name}.post-deploy.sh").read_text(encoding="utf-8")
        # First: pip leaves what is installed and fits.
        assert text.index(f"torch=={cpu.version} ") < text.index(f"torch=={torch.version} ")


def test_no_package_is_in_two_locks() -> None:
    names = [name for path in LOCKS for name in lock.read(path)]
    assert len(names) == len(set(names))


def test_the_cuda_lock_holds_what_only_torch_asks_for() -> None:
    both = lock.read(*LOCKS[:2])
    cuda = lock.read("requirements-cuda.txt")
    assert {"triton", "cuda-toolkit"} < set(cuda)
    assert all(set(pin.via) <= {"torch", *cuda} for pin in cuda.values())
    assert not any(lock.CUDA.match(name) for name in both.keys() - cuda.keys())


@pytest.mark.parametrize("name", ["requirements", "requirements-dev"])
def test_a_lock_holds_what_its_source_names_and_nothing_else(name: str) -> None:
    pins = lock.read(*LOCKS[:2], f"{name}.txt")
    assert lock.direct(f"{name}.in") <= pins.keys()
    for pin in pinned(f"{name}.in").values():
        assert pins[pin.name].version == pin.version
    roots = {"requirements.in", f"{name}.in"}
    for pin in lock.read(f"{name}.txt").values():
        assert pin.via, f"{pin.name}: nothing needs it"
        assert set(pin.via) <= roots | pins.keys()


@pytest.mark.parametrize(
    ("wheel", "fits"),
    [
        ("a-1-py3-none-any.whl", True),
        ("a-1-py2.py3-none-any.whl", True),
        ("a-1-cp311-cp311-manylinux_2_17_x86_64.manylinux2014_x86_64.whl", True),
        ("a-1-cp314-cp314-manylinux_2_28_aarch64.whl", True),
        ("a-1-cp38-abi3-manylinux1_x86_64.whl", True),
        ("a-1-py3-none-linux_x86_64.whl", True),
        ("a-1-cp310-cp310-manylinux_2_28_x86_64.whl", False),
        ("a-1-cp313-cp313t-manylinux_2_28_x86_64.whl", False),
        ("a-1-cp311-cp311-musllinux_1_2_x86_64.whl", False),
        ("a-1-cp311-cp311-macosx_14_0_arm64.whl", False),
        ("a-1-cp311-cp311-win_amd64.whl", False),
        ("a-1-py2-none-any.whl", False),
    ],
)
def test_a_lock_hashes_the_wheels_that_our_machines_take(wheel: str, fits: bool) -> None:
    assert lock.fits(wheel) is fits


# ------------------------------------------------------------------------------------ environments


@pytest.mark.parametrize("environment", ENVIRONMENTS)
def test_an_environment_is_pinned_exactly(environment: str) -> None:
    path = PROJECT / "envs" / f"{environment}.yaml"
    found = yaml.safe_load(path.read_text(encoding="utf-8"))
    assert set(found) == {"channels", "dependencies"}
    # `nodefaults` keeps a user's own channels out.
    assert found["channels"] == ["conda-forge", "nodefaults"]
    # No section `pip`: Snakemake skips it beside a pin file, and it has no hashes.
    assert all(isinstance(dependency, str) for dependency in found["dependencies"])
    pins = dict(
        re.fullmatch(r"([a-z0-9-]+)==?(.+)", text).groups() for text in found["dependencies"]
    )
    assert pins.keys() >= {"python", "pip"}
    # One `=` with fewer than three components takes any version that begins so.
    assert all(
        re.fullmatch(r"\w[\w-]*(==\d+(\.\d+)+|=\d+\.\d+\.\d+)", text)
        for text in found["dependencies"]
    )
    assert pins["python"].startswith(f"{lock.PYTHON}.")


def test_the_environments_have_one_python_and_one_pip() -> None:
    found = {
        tuple(yaml.safe_load((PROJECT / "envs" / f"{e}.yaml").read_text())["dependencies"])
        for e in ENVIRONMENTS
    }
    assert len(found) == 1


def test_the_scripts_are_what_the_locks_say() -> None:
    for path, text in lock.scripts().items():
        assert path.read_text(encoding="utf-8") == text, "run python envs/lock.py"


@pytest.mark.parametrize("environment", ENVIRONMENTS)
def test_an_environment_holds_its_direct_dependencies(environment: str) -> None:
    own = pinned(f"envs/{environment}.in")
    pins = locked(environment)
    assert lock.direct(f"envs/{environment}.in") <= pins.keys()
    assert all(pins[name].version == pin.version for name, pin in own.items())


@pytest.mark.parametrize("environment", ENVIRONMENTS)
def test_an_environment_agrees_with_requirements_txt(environment: str) -> None:
    main = lock.read("requirements.txt")
    # What one of them is tied to, its own `.in` pins.
    tied = pinned(f"envs/{environment}.in")
    assert not tied or environment in lock.TIED
    for name, pin in locked(environment).items():
        if name in main and (name not in tied or tied[name].version == main[name].version):
            assert (pin.version, pin.hashes) == (main[name].version, main[name].hashes), name


def test_cpu_has_no_torch_and_each_requirement_has_its_environment() -> None:
    assert not {"torch", "transformers"} & locked("cpu").keys()
    sharing = set().union(*(lock.direct(f"envs/{name}.in") for name in lock.SHARING))
    snakemake = {"snakemake", "snakemake-executor-plugin-slurm"}
    # pyarrow comes with datasets; requirements.in leaves it out.
    assert sharing - {"pyarrow"} == lock.direct("requirements.in") - snakemake


def test_every_rule_names_an_environment_and_every_environment_is_used() -> None:
    texts = [path.read_text(encoding="utf-8") for path in (PROJECT / "rules").glob("*.smk")]
    text = "".join(texts)
    # Directly, or by a function of rules/common.smk that chooses one of two.
    named = set(re.findall(r"envs/(\w+)\.yaml", text))
    choice = r'name = "(\w+)" if .* else "(\w+)"\n +return f"\.\./envs/\{name\}\.yaml"'
    named |= {name for pair in re.findall(choice, text) for name in pair}
    assert named == set(ENVIRONMENTS)
    rules = re.findall(r"^rule \w+:\n(?:(?: .*)?\n)+", text, re.M)
    assert len(rules) > 20
    for rule in rules:
        assert "\n    conda:\n" in rule, rule.splitlines()[0]


def faults_of_pins(text: str, dependencies: list[str]) -> list[str]:
    """What is wrong with a pin file of conda's for an environment with those dependencies."""
    lines = text.splitlines()
    urls = [line for line in lines if "://" in line]
    faults = [] if "@EXPLICIT" in lines else ["is no explicit list"]
    faults += [
        f"has no hash: {url}" for url in urls if not re.search(r"#(sha256:)?[0-9a-f]{32,64}$", url)
    ]
    for dependency in dependencies:
        name, version = re.split("==?", dependency)
        if not any(f"/{name}-{version}-" in url for url in urls):
            faults.append(f"lacks {dependency}")
    return faults


def test_a_pin_file_covers_what_its_environment_pins() -> None:
    # A site makes such files for itself (docs/environments.md).
    for pins in (PROJECT / "envs").glob("*.pin.txt"):
        file = PROJECT / "envs" / f"{pins.name.split('.')[0]}.yaml"
        dependencies = yaml.safe_load(file.read_text(encoding="utf-8"))["dependencies"]
        assert not faults_of_pins(pins.read_text(encoding="utf-8"), dependencies), pins.name


def test_faults_of_pin_files_are_found() -> None:
    wanted = ["python=3.11.13", "pip=25.2"]
    python = f"file://linux-64/python-3.11.13-h1_0_cpython.conda#{'a' * 32}"
    pip = f"file://noarch/pip-25.2-pyh1_0.conda#sha256:{'b' * 64}"
    good = ["# platform: linux-64", "@EXPLICIT", python, pip]
    assert faults_of_pins("\n".join(good), wanted) == []
    assert faults_of_pins("\n".join([python, pip]), wanted) == ["is no explicit list"]
    bare = pip.partition("#")[0]
    assert faults_of_pins("\n".join([*good[:3], bare]), wanted) == [f"has no hash: {bare}"]
    assert faults_of_pins("\n".join(good[:3]), wanted) == ["lacks pip=25.2"]
    older = pip.replace("25.2", "25.1")
    assert faults_of_pins("\n".join([*good[:3], older]), wanted) == ["lacks pip=25.2"]


# ------------------------------------------------------------------ what only a CUDA build asks for


def asks_for_cuda(code: str, folder: Path, *requirements: str) -> bool:
    """Whether the code takes a torch that requires those for the CUDA build."""
    made = folder / "torch-2.13.0.dist-info"
    made.mkdir(exist_ok=True)
    lines = [f"Requires-Dist: {text}\n" for text in requirements]
    head = "Metadata-Version: 2.1\nName: torch\nVersion: 2.13.0\n"
    (made / "METADATA").write_text(head + "".join(lines), encoding="utf-8")
    done = subprocess.run([sys.executable, "-S", "-c", code], env={"PYTHONPATH": str(folder)})
    return done.returncode == 0


@pytest.mark.parametrize(
    "file", ["Makefile", "envs/gpu.post-deploy.sh", "envs/lm_eval.post-deploy.sh"]
)
def test_a_cpu_build_of_torch_brings_no_cuda(file: str, tmp_path: Path) -> None:
    text = (PROJECT / file).read_text(encoding="utf-8")
    (code,) = re.findall(r"import sys, importlib.*\)(?='?$)", text, re.M)
    assert not asks_for_cuda(code, tmp_path, "filelock", "sympy>=1.13.3")
    assert asks_for_cuda(
        code, tmp_path, "filelock", 'nvidia-cudnn-cu13==9.20.0.48; platform_system == "Linux"'
    )
