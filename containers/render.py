"""Write containers/Dockerfile: what `snakemake --containerize` says, and the packages of each lock.

    python containers/render.py [--configfile my.yaml]

It describes the environments that the config asks for, that of vLLM only where the config samples
by it. Snakemake finds them in the image by the hash of their files: render it anew after a change
under envs/, and build it anew.
"""

import os
import re
import subprocess
import sys
import tempfile
from collections.abc import Sequence
from pathlib import Path

# What `--containerize` asks of conda, which it does not use.
CONDA = """\
#!/bin/sh
case "$1" in
    --version) echo "conda 25.1.0" ;;
    config) echo '{"get": {"channel_priority": "strict"}}' ;;
    info) echo '{"conda_prefix": "/opt/conda", "platform": "linux-64"}' ;;
esac
"""
HEADER = """\
# Made by containers/render.py of `snakemake --containerize`: see docs/containers.md.
"""
# The filter of system calls in the sandbox. bubblewrap comes with the packages.
SYSTEM = """\

# For the sandbox: see docs/sandbox.md.
RUN apt-get update && apt-get install -y --no-install-recommends libseccomp2 && \\
    rm -rf /var/lib/apt/lists/*
"""
PACKAGES = """\

COPY {script} {prefix}/post-deploy.sh
RUN PIP_NO_CACHE_DIR=1 conda run --no-capture-output --prefix {prefix} bash {prefix}/post-deploy.sh
"""


def containerized(folder: Path, options: Sequence[str]) -> str:
    """What Snakemake says of the workflow in a folder, with some more options."""
    with tempfile.TemporaryDirectory() as bin_folder:
        conda = Path(bin_folder, "conda")
        conda.write_text(CONDA, encoding="utf-8")
        conda.chmod(0o755)
        path = os.pathsep.join([bin_folder, str(Path(sys.executable).parent), os.environ["PATH"]])
        done = subprocess.run(
            ["snakemake", "--quiet", "all", "--containerize", "dockerfile", *options],
            cwd=folder,
            env={**os.environ, "PATH": path},
            stdout=subprocess.PIPE,
            text=True,
        )
    if done.returncode:
        sys.exit("error: snakemake --containerize failed: see above")
    return done.stdout


def render(folder: Path, options: Sequence[str] = ()) -> str:
    """The Dockerfile of the workflow in a folder. Snakemake leaves out the post-deploy scripts."""
    text = containerized(folder, options)
    parts = [HEADER, text.rstrip("\n"), "\n", SYSTEM]
    for source, prefix in re.findall(r"^#   source: (\S+)\n#   prefix: (\S+)$", text, re.M):
        script = source.removesuffix(".yaml") + ".post-deploy.sh"
        parts.append(PACKAGES.format(script=script, prefix=prefix))
    return "".join(parts)


if __name__ == "__main__":
    project = Path(__file__).parents[1]
    (project / "containers" / "Dockerfile").write_text(render(project, sys.argv[1:]), "utf-8")
