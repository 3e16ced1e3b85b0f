"""Make the locks: requirements*.txt, and the one inside each envs/*.post-deploy.sh.

    python envs/lock.py resolve   # all anew, by `uv` and the package index; pins stay, if they can
    python envs/lock.py           # only the scripts, as requirements.txt and envs/*.in say

A lock pins every package, transitive ones too, with the SHA-256 of each of its wheels for Linux
(x86-64 and aarch64, CPython 3.11 and later), or of its source where there is none. It names no
index: the hash says what is right, wherever it comes from.

torch is pinned without its local version, so that a CPU build satisfies it as well as the CUDA
build of the package index. What only the latter needs, gigabytes, has locks of its own, which are
installed where the installed torch asks for it. requirements-cpu.txt, kept by hand, has the hashes
of CPU builds: it is tried first, since pip prefers a build whose hash its index announces.
"""

import json
import os
import re
import subprocess
import sys
import tempfile
import urllib.request
from collections.abc import Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from pathlib import Path

from pip._internal.models.index import PyPI

PROJECT = Path(__file__).parents[1]

# Environments that hold a part of requirements.txt; those that are tied to versions of their own.
SHARING = ("cpu", "gpu")
TIED = ("lm_eval", "vllm")

# Packages that only a CUDA build of torch needs.
CUDA = re.compile(r"nvidia-|cuda-|triton$")
# The oldest Python that the project runs with, and the machines that its environments are for.
PYTHON = "3.11"
MACHINES = ("x86_64", "aarch64")
# The index that pip asks unless it is told otherwise, or the one that uv is told to ask.
INDEX = os.environ.get("UV_DEFAULT_INDEX", PyPI.simple_url).rstrip("/")


@dataclass
class Pin:
    """A package of a lock: its version, its hashes, and what needs it (a file, if we do)."""

    name: str
    version: str
    hashes: list[str] = field(default_factory=list)
    via: list[str] = field(default_factory=list)

    def lines(self, why: bool) -> Iterator[str]:
        """The lines of a requirements file; `why` adds a comment that says what needs it."""
        yield " \\\n    ".join(
            [f"{self.name}=={self.version}", *(f"--hash={h}" for h in self.hashes)]
        )
        if why and self.via:
            yield f"    # via {', '.join(self.via)}"


Lock = dict[str, Pin]


def normal(name: str) -> str:
    """The name of a package as the index compares names."""
    return re.sub(r"[-_.]+", "-", name).lower()


def parse(text: str) -> Lock:
    """The pins of a lock by name, in the order of the text."""
    pins: Lock = {}
    pin = None
    for line in text.replace("\\\n", " ").splitlines():
        if found := re.match(r"([A-Za-z0-9][\w.-]*)(?:\[[^]]*\])?==([^\s;\\]+)(.*)", line):
            name, version, rest = found.groups()
            pin = Pin(normal(name), version, re.findall(r"--hash=(sha256:[0-9a-f]{64})", rest))
            # Of torch, which a script names twice, the one of the index.
            pins.pop(pin.name, None)
            pins[pin.name] = pin
        elif pin and (found := re.match(r"\s+#\s+(?:via\s*)?(.*)", line)):
            pin.via += [needed for needed in found[1].split(", ") if needed]
    return pins


def render(pins: Iterable[Pin], why: bool = True) -> str:
    """The text of a lock."""
    return "".join(f"{line}\n" for pin in pins for line in pin.lines(why))


def direct(name: str) -> set[str]:
    """The packages that an `.in` file names."""
    lines = (PROJECT / name).read_text(encoding="utf-8").splitlines()
    return {normal(re.split(r"[\[=<>~ ]", line)[0]) for line in lines if line[:1].isalnum()}


def read(*names: str) -> Lock:
    """The locks of some files together; of those that exist."""
    paths = [PROJECT / name for name in names]
    return parse("".join(path.read_text(encoding="utf-8") for path in paths if path.exists()))


# ------------------------------------------------------------------------- scripts of environments

INSTALL = """\
python -m pip install --no-deps --require-hashes --requirement /dev/stdin <<'LOCK'{otherwise}
{lock}LOCK
"""
SCRIPT = """\
#!/usr/bin/env bash
# Made by envs/lock.py. Snakemake runs it in the environment that it has made of {name}.yaml; so can
# you, in a virtual environment of your own.
set -euo pipefail

{installs}
python -m pip check
"""
# torch of a CPU, if pip finds one; all else; and gigabytes, which only the CUDA build asks for.
INSTALLS = """\
# A CPU build of torch, where pip is shown one.
{cpu}
{rest}
# Gigabytes, which only the CUDA build of torch asks for.
asks='import sys, importlib.metadata as m; sys.exit("nvidia-" not in str(m.requires("torch")))'
if python -c "$asks"; then
{cuda}fi
"""


def install(pins: Iterable[Pin], otherwise: str = "") -> str:
    """The command that installs some pins, and what is done if it fails."""
    return INSTALL.format(lock=render(pins, why=False), otherwise=otherwise)


def needed(lock: Lock, names: set[str]) -> list[Pin]:
    """The pins of a lock that some packages need, themselves too.

    The lock says which package needs which, not which extra: a package comes with what all its
    extras that anybody asks for need.
    """
    found = set(names)
    while more := {pin.name for pin in lock.values() if found & set(pin.via)} - found:
        found |= more
    return [pin for pin in lock.values() if pin.name in found]


def script(name: str, pins: Iterable[Pin]) -> str:
    """The script that installs the Python packages of an environment."""
    pins = list(pins)
    torch = next((pin.version for pin in pins if pin.name == "torch"), None)
    cpu = [pin for pin in read("requirements-cpu.txt").values() if pin.version == f"{torch}+cpu"]
    if cpu:
        installs = INSTALLS.format(
            cpu=install(cpu, ' || echo "torch: no CPU build is offered, so the CUDA build"'),
            rest=install(pin for pin in pins if not CUDA.match(pin.name)),
            cuda=install(pin for pin in pins if CUDA.match(pin.name)),
        )
    else:
        # Without torch, or for GPUs alone.
        installs = install(pins)
    return SCRIPT.format(name=name, installs=installs)


def scripts() -> dict[Path, str]:
    """What the scripts must hold: those of SHARING by requirements.txt, of TIED as they stand."""
    lock = read("requirements.txt", "requirements-cuda.txt")
    texts = {}
    for name in (*SHARING, *TIED):
        path = f"envs/{name}.post-deploy.sh"
        if name in SHARING:
            pins: Iterable[Pin] = needed(lock, direct(f"envs/{name}.in"))
        else:
            pins = read(path).values()
        texts[PROJECT / path] = script(name, pins)
    return texts


# ---------------------------------------------------------------------------------------- resolving


def resolve(source: str, preferred: Lock, *, within: Lock | None = None) -> Lock:
    """The pins of an `.in` file by `uv`: those preferred, where they fit; none against `within`."""
    with tempfile.TemporaryDirectory() as folder:
        made, limits = Path(folder, "made.txt"), Path(folder, "limits.txt")
        # uv keeps what its output file holds, where it can.
        made.write_text(render(preferred.values(), False), encoding="utf-8")
        plain = [f"{pin.name}=={pin.version}\n" for pin in (within or {}).values()]
        limits.write_text("".join(plain), encoding="utf-8")
        subprocess.run(
            [
                *("uv", "pip", "compile", "--quiet", "--no-header", "--annotation-style=line"),
                *("--python-version", PYTHON, "--python-platform", "x86_64-manylinux_2_28"),
                *("--constraints", str(limits), "--output-file", str(made), source),
            ],
            cwd=PROJECT,
            check=True,
        )
        pins = parse(re.sub(r" +# via", "\n    # via", made.read_text(encoding="utf-8")))
    for pin in pins.values():
        pin.via = [n.removeprefix("-r ") for n in pin.via if not n.startswith("-c ")]
    return pins


def fits(filename: str) -> bool:
    """Whether a wheel is for Linux, one of MACHINES and of our Pythons (without free threads)."""
    pythons, abi, platforms = filename.removesuffix(".whl").split("-")[-3:]
    machine = rf"any|(many)?linux\w*_({'|'.join(MACHINES)})"
    if not any(re.fullmatch(machine, platform) for platform in platforms.split(".")):
        return False
    for python in pythons.split("."):
        kind, major, minor = re.fullmatch(r"([a-z]+)(\d)(\d*)", python).groups()
        if major == "3" and (abi == "abi3" or (kind, abi) == ("py", "none")):
            return True
        # Of one Python alone.
        oldest = int(PYTHON.split(".")[1])
        if (kind, major) == ("cp", "3") and int(minor) >= oldest and not abi.endswith("t"):
            return True
    return False


def files_of(name: str) -> list[dict]:
    """The files of a package in the index: name and hashes (PEP 691)."""
    request = urllib.request.Request(
        f"{INDEX}/{name}/", headers={"Accept": "application/vnd.pypi.simple.v1+json"}
    )
    with urllib.request.urlopen(request, timeout=60) as answer:
        return json.load(answer)["files"]


def hashed(pin: Pin) -> Pin:
    """A pin with the hashes of its files that fit; its source's where no wheel does."""
    stem = "[-_.]+".join(map(re.escape, pin.name.split("-"))) + f"-{re.escape(pin.version)}"
    wheels, sources = [], []
    for file in files_of(pin.name):
        if re.match(rf"{stem}-.*\.whl$", file["filename"], re.I):
            wheels += [file] * fits(file["filename"])
        elif re.match(rf"{stem}\.(tar\.gz|zip)$", file["filename"], re.I):
            sources.append(file)
    found = {f"sha256:{file['hashes']['sha256']}" for file in wheels or sources}
    if not found:
        sys.exit(f"error: {pin.name}=={pin.version}: the index has no file for Linux")
    pin.hashes = sorted(found)
    return pin


def with_hashes(pins: Lock) -> Lock:
    """A lock with the hashes of all its packages."""
    with ThreadPoolExecutor(8) as pool:
        return {pin.name: pin for pin in pool.map(hashed, pins.values())}


def write(name: str, source: str, remark: str, pins: Iterable[Pin]) -> None:
    """Write a lock and where it comes from."""
    head = f"# Made by envs/lock.py of {source}: pip install --no-deps --require-hashes -r {name}\n"
    (PROJECT / name).write_text(f"{head}# {remark}\n{render(pins)}", encoding="utf-8")


def resolve_all() -> None:
    """Make all locks anew, by the index."""
    source = "requirements.in"
    lock = with_hashes(resolve(source, read("requirements.txt", "requirements-cuda.txt")))
    cuda = [pin for pin in lock.values() if CUDA.match(pin.name)]
    rest = [pin for pin in lock.values() if not CUDA.match(pin.name)]
    write("requirements.txt", source, "The CUDA build of torch needs requirements-cuda.txt.", rest)
    write("requirements-cuda.txt", source, "Gigabytes, for the CUDA build of torch alone.", cuda)

    source = "requirements-dev.in"
    tools = resolve(source, read("requirements-dev.txt"), within=lock)
    own = with_hashes({name: pin for name, pin in tools.items() if name not in lock})
    write(
        "requirements-dev.txt", source, "What it needs of requirements.txt is there.", own.values()
    )

    for name in TIED:
        path = f"envs/{name}.post-deploy.sh"
        # As in requirements.txt wherever the requirements leave that; what differs, its .in pins.
        pins = with_hashes(resolve(f"envs/{name}.in", {**read(path), **lock}))
        (PROJECT / path).write_text(script(name, pins.values()), encoding="utf-8")


def main(arguments: list[str]) -> None:
    if arguments not in ([], ["resolve"]):
        sys.exit(f"usage: python {sys.argv[0]} [resolve]")
    if arguments:
        resolve_all()
    for path, text in scripts().items():
        path.write_text(text, encoding="utf-8")
        path.chmod(0o755)


if __name__ == "__main__":
    main(sys.argv[1:])
