"""The controlled study: which students are compared, and the runs that they are made in.

A cell is one combination of a random seed, a number of samples and a number of epochs of the
generator. In each cell the instructions come from up to three sources, and each arm learns from the
rows of one of them.
"""

import re
from dataclasses import dataclass
from itertools import product
from typing import Any

# Where the instructions of a cell come from: a tuned generator, prompting in context, the seeds.
ADA, SELF_INSTRUCT, SEEDS_ONLY = "ada", "self_instruct", "seeds_only"

# What the cells of a study differ in, in the order in which its folders name them.
CELL_VALUES = ("seed_rows", "epochs", "seed")
CELL = "/".join(rf"{name}~\d+" for name in CELL_VALUES)

Cell = dict[str, int]
Config = dict[str, Any]


@dataclass(frozen=True)
class Arm:
    """A way to rows for a student: the source of instructions, and whether replies are verified."""

    name: str
    title: str
    source: str
    verified: bool

    @property
    def rows(self) -> str:
        """The end of the name of the file that its rows are drawn from."""
        return f"{self.source}_{'verified' if self.verified else 'unverified'}"

    @property
    def first_replies(self) -> bool:
        """Whether only first replies are rows: where they are not verified, nothing chooses.

        The seeds alone are too few for that.
        """
        return not self.verified and self.source != SEEDS_ONLY


# The model that no arm has tuned, to which all are compared.
BASE = "base"
BASE_TITLE = "base model, not tuned"
ARMS = (
    Arm("seeds_only", "the seeds alone", SEEDS_ONLY, verified=False),
    Arm("self_instruct", "Self-Instruct", SELF_INSTRUCT, verified=False),
    Arm("ada_unverified", "Ada-Instruct, unverified", ADA, verified=False),
    Arm("ada_verified", "Ada-Instruct, verified", ADA, verified=True),
)
ARM_NAMED = {arm.name: arm for arm in ARMS}

_RUN = re.compile(
    r"(?P<task>[^/]+)(?:/study/(?P<cell>.+?)/(?:arms/(?P<arm>[a-z_]+)|(?P<source>[a-z_]+)))?"
)


@dataclass(frozen=True)
class Run:
    """What the wildcard `{task}` of the workflow names: a task itself, or a part of its study.

    `mbpp`                                   the task
    `mbpp/study/{cell}/{source}`             from seeds to rows, the instructions from one source
    `mbpp/study/{cell}/arms/{arm}`           from rows to the evaluation of a student
    """

    task: str
    cell: str = ""
    source: str = ""
    arm: str = ""

    @staticmethod
    def named(name: str) -> "Run":
        """The run that a name stands for. Raises `ValueError` for a name of another form."""
        found = _RUN.fullmatch(name)
        if found is None:
            raise ValueError(f"no run: {name}")
        return Run(**{part: text or "" for part, text in found.groupdict().items()})

    def overrides(self, cell: Cell, study: Config) -> Config:
        """The values of the config that differ in this run; `cell` is empty for a task itself."""
        if not cell:
            return {}
        own: Config = {
            "seed": cell["seed"],
            "seed_rows": cell["seed_rows"],
            "generator": {"training": {"epochs": cell["epochs"]}},
        }
        if self.source == SELF_INSTRUCT:
            own["generator"]["method"] = "in_context"
            # Its rows are not verified: the first reply is the row, and others cost for nothing.
            own["label"] = {"replies": 1}
        elif self.source == ADA:
            own["generator"]["method"] = "fine_tuned"
        elif self.source == SEEDS_ONLY:
            replies = study["seed_replies"]
            own["label"] = {"replies": replies}
            own["verification"] = {"rows_per_instruction": replies}
        return own


def cells(study: Config) -> list[Cell]:
    """All cells of a study, in order; `study` is that section of the config."""
    values = product(study["seed_rows"], study["epochs"], study["seeds"])
    return [dict(zip(CELL_VALUES, of_cell, strict=True)) for of_cell in values]


def is_reference(cell: Cell, study: Config) -> bool:
    """Whether all arms are compared in a cell: those of the first number of samples and epochs."""
    return (cell["seed_rows"], cell["epochs"]) == (study["seed_rows"][0], study["epochs"][0])


def arms_of(cell: Cell, study: Config) -> list[Arm]:
    """The arms of a cell: the sweeps are of the generator, which two of them have."""
    reference = is_reference(cell, study)
    return [arm for arm in ARMS if reference or arm.source == ADA]
