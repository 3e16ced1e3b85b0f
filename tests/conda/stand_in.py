"""A stand-in for `conda`: the few commands that Snakemake calls, on rattler's solver and installer.

For machines that reach a Python index and no conda channel. It honours CONDA_CHANNEL_ALIAS as
conda does, so that an unchanged env file (`channels: [conda-forge]`) is deployed from a folder of
packages (channel.py). Packages are cached in CONDA_PKGS_DIRS.
"""

import argparse
import asyncio
import json
import os
import sys
from pathlib import Path

# At least what Snakemake demands; .99 marks the stand-in.
VERSION = "24.11.99"
PLATFORM = "linux-64"


def create(file: str, prefix: str) -> None:
    """Make the environment that an env file describes."""
    import rattler
    import yaml

    described = yaml.safe_load(Path(file).read_text(encoding="utf-8"))
    wanted = described["dependencies"]
    if not all(isinstance(dependency, str) for dependency in wanted):
        sys.exit("conda stand-in: a section pip is not deployed: see docs/environments.md")
    alias = os.environ["CONDA_CHANNEL_ALIAS"].rstrip("/")
    channels = [f"{alias}/{name}" for name in described["channels"] if name != "nodefaults"]

    async def solve_and_install() -> None:
        records = await rattler.solve(
            [rattler.Channel(channel) for channel in channels],
            [rattler.MatchSpec(dependency) for dependency in wanted],
            platforms=[PLATFORM, "noarch"],
            virtual_packages=rattler.VirtualPackage.detect(),
            channel_priority=rattler.ChannelPriority.Strict,
        )
        cache = os.environ.get("CONDA_PKGS_DIRS")
        await rattler.install(records, prefix, cache_dir=cache, show_progress=False)

    try:
        asyncio.run(solve_and_install())
    except Exception as error:  # What the solver says belongs on stderr, with status 1.
        sys.exit(f"{type(error).__name__}: {error}")
    Path(prefix, "conda-meta", "history").touch()


def main(arguments: list[str]) -> None:
    match arguments:
        case ["--version"]:
            print("conda", VERSION)
        case ["info", "--json"]:
            # Snakemake sources `bin/activate` of it.
            home = os.environ["CONDA_STAND_IN"]
            print(json.dumps({"conda_prefix": home, "root_prefix": home, "platform": PLATFORM}))
        case ["config", "--get", *_]:
            print(json.dumps({"get": {"channel_priority": "strict"}}))
        case ["env", "create", *options]:
            parser = argparse.ArgumentParser(prog="conda env create")
            parser.add_argument("--file", required=True)
            parser.add_argument("--prefix", required=True)
            for ignored in ("--quiet", "--no-default-packages", "--yes"):
                parser.add_argument(ignored, action="store_true")
            found = parser.parse_args(options)
            create(found.file, found.prefix)
        case ["clean", *_]:
            pass
        case _:
            sys.exit(f"conda stand-in: not implemented: {arguments}")


if __name__ == "__main__":
    status = 0
    try:
        main(sys.argv[1:])
    except SystemExit as ended:
        if isinstance(ended.code, str):
            print(ended.code, file=sys.stderr)
        status = ended.code if isinstance(ended.code, int) else 1
    sys.stdout.flush()
    sys.stderr.flush()
    # rattler's threads can abort an interpreter that ends in the normal way.
    os._exit(status)
