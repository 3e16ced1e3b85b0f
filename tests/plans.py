"""Snakemake, imported once for the hundred plans that the tests ask for.

Its imports take longer than a plan does. Each plan is a process of its own all the same, forked
from one that has imported Snakemake and nothing of the project.

`python tests/plans.py` reads a JSON object a line, of a command line of Snakemake (`command`), its
folder (`cwd`), its environment (`env`) and the file for what it says (`output`), and answers each
with a line, the exit status. It ends with its input.
"""

import json
import os
import sys

# Snakemake imports these when it plans.
import dpath
import jsonschema
import snakemake.cli
import snakemake.report.html_reporter
import snakemake.workflow
import yte

PRELOADED = (dpath, jsonschema, snakemake.cli, snakemake.report.html_reporter, yte)


def become(command: list[str], cwd: str, env: dict[str, str], output: str) -> None:
    """Be that Snakemake, and leave the process."""
    os.setsid()
    said = os.open(output, os.O_WRONLY | os.O_CREAT | os.O_TRUNC)
    for number, file in enumerate((os.open(os.devnull, os.O_RDONLY), said, said)):
        os.dup2(file, number)
    os.chdir(cwd)
    # Noted when the module was imported.
    snakemake.workflow.Workflow._rundir = cwd
    os.environ.clear()
    os.environ.update(env)
    sys.argv = command
    # Where the interpreter finds modules first, of a script: not beside this file.
    sys.path[0] = os.path.dirname(command[0])
    sys.exit(snakemake.cli.main())


if __name__ == "__main__":
    for line in sys.stdin:
        if not (pid := os.fork()):
            become(**json.loads(line))
        _, status = os.waitpid(pid, 0)
        print(os.waitstatus_to_exitcode(status), flush=True)
