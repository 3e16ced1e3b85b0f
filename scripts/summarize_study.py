"""Sum up a study: what each arm's students score, and how the arms differ.

    python -m scripts.summarize_study --task mbpp \\
        --reference results/mbpp/evaluation/MBPP/reference.json \\
        --base results/mbpp/evaluation/MBPP/base.json \\
        --base-rows results/mbpp/evaluation/MBPP/base.jsonl \\
        --students $CELL/arms/ada_verified/evaluation/MBPP/student.json ... \\
        --student-rows $CELL/arms/ada_verified/evaluation/MBPP/student.jsonl ... \\
        --rows $CELL/arms/ada_verified_rows.jsonl ... \\
        --misfits $CELL/arms/ada_verified/student_misfits.jsonl ... \\
        --funnels $CELL/ada/funnel.json ... \\
        --quality results/mbpp/study/quality.json \\
        --seed 42 --output results/mbpp_study.json

`CELL` is a folder such as results/mbpp/study/seed_rows~10/epochs~10/seed~1: which cell and arm a
file belongs to is read off its path. Greedy responses are compared.
"""

import argparse
import re
import time
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from scripts.lib.console import counts, run_step, say, step_parser
from scripts.lib.errors import UserError
from scripts.lib.evaluation.results import check_alike, check_reference, read_result
from scripts.lib.evaluation.scores import values_by_problem
from scripts.lib.files import read_json, write_json
from scripts.lib.records import Score, Verified, read_rows
from scripts.lib.study import ADA, ARM_NAMED, ARMS, BASE, BASE_TITLE, CELL, CELL_VALUES
from scripts.lib.study_statistics import METHOD, Effect, effect, holm
from scripts.lib.training.examples import Misfit

if TYPE_CHECKING:
    import numpy

# Which arms are set against which.
COMPARISONS = [
    *((arm.name, BASE) for arm in ARMS),
    ("self_instruct", "seeds_only"),
    ("ada_unverified", "seeds_only"),
    ("ada_unverified", "self_instruct"),
    ("ada_verified", "ada_unverified"),
]
_PLACE = re.compile(rf"/study/(?P<cell>{CELL})/(?:arms/)?(?P<name>[a-z_]+?)(?:_rows)?[./]")
# The number of samples and of epochs of a generator.
Setting = tuple[int, int]


@dataclass(frozen=True)
class Place:
    """Where in a study a file belongs: the values of its cell, and its arm or source."""

    seed_rows: int
    epochs: int
    seed: int
    name: str

    @property
    def setting(self) -> Setting:
        """The values of the cell but for its random seed."""
        return self.seed_rows, self.epochs

    @staticmethod
    def of(path: Path) -> "Place":
        """The place of a file by its path."""
        found = _PLACE.search(str(path))
        if found is None:
            raise UserError(f"{path}: is no file of a study's cell")
        numbers = map(int, re.findall(r"~(\d+)", found["cell"]))
        return Place(**dict(zip(CELL_VALUES, numbers, strict=True)), name=found["name"])


class Scores:
    """The greedy scores of all students: a matrix (random seeds, problems) of each."""

    def __init__(self, base: dict[str, float], students: dict[Place, dict[str, float]]) -> None:
        self.problems = sorted(base)
        self._base = base
        self._students = students
        for place, scores in students.items():
            if sorted(scores) != self.problems:
                raise UserError(f"the student {place} has responded to other problems than base")
        # The cells that all arms share come first, as in the config.
        self.settings = list(dict.fromkeys(place.setting for place in students))

    @property
    def reference(self) -> Setting:
        """The setting in which all arms are compared."""
        return max(self.settings, key=lambda setting: len(self.arms(setting)))

    def arms(self, setting: Setting) -> list[str]:
        """The arms of a setting."""
        found = {place.name for place in self._students if place.setting == setting}
        return [arm.name for arm in ARMS if arm.name in found]

    def seeds(self, setting: Setting) -> list[int]:
        """The random seeds of a setting."""
        return sorted({place.seed for place in self._students if place.setting == setting})

    def of(self, name: str, setting: Setting) -> "numpy.ndarray":
        """The scores of an arm; the base model has the same with every seed."""
        import numpy

        rows = [
            self._base if name == BASE else self._students[Place(*setting, seed, name)]
            for seed in self.seeds(setting)
        ]
        return numpy.array([[row[problem] for problem in self.problems] for row in rows])


def told(found: Effect) -> dict[str, Any]:
    """An effect as it stands in the result, but for its p-value."""
    return {"mean": found.value, "interval": list(found.interval)}


def arm_result(scores: Scores, name: str, setting: Setting, seed: int) -> dict[str, Any]:
    """What the students of an arm score, seed by seed and together."""
    matrix = scores.of(name, setting)
    by_seed = dict(zip(map(str, scores.seeds(setting)), matrix.mean(axis=1).tolist(), strict=True))
    title = BASE_TITLE if name == BASE else ARM_NAMED[name].title
    return {"arm": name, "title": title, "values": by_seed, **told(effect(matrix, seed))}


def differences(scores: Scores, seed: int) -> list[dict[str, Any]]:
    """How the arms differ, p-values as they are and corrected for their number."""
    setting = scores.reference
    found = []
    for first, second in COMPARISONS:
        gap = effect(scores.of(first, setting) - scores.of(second, setting), seed, low=-1.0)
        found.append(
            {"arm": first, "against": second, "value": gap.value,
             "interval": list(gap.interval), "p": gap.p}
        )  # fmt: skip
    corrected = holm([row["p"] for row in found])
    return [{**row, "p_holm": p} for row, p in zip(found, corrected, strict=True)]


def sweeps(
    scores: Scores, files: list[Path], misfits: list[Path], seed: int
) -> list[dict[str, Any]]:
    """What the generator's arms score by the number of its samples and epochs.

    The cells may have different numbers of rows (see `rows_of_arms`).
    """
    return [
        {
            "seed_rows": setting[0],
            "epochs": setting[1],
            **arm_result(scores, name, setting, seed),
            "rows": rows_of_arms(files, misfits, setting)[name],
        }
        for setting in scores.settings
        for name in scores.arms(setting)
        if ARM_NAMED[name].source == ADA
    ]


def rows_of_arms(
    files: list[Path], misfits: list[Path], setting: Setting
) -> dict[str, dict[str, dict[str, int]]]:
    """By arm and seed how many rows its students have, and of how many instructions.

    `misfits` are the files of what did not fit into the training: such rows are `left_out`.
    """
    left_out = {Place.of(path): sum(1 for _ in read_rows(path, Misfit)) for path in misfits}
    found: dict[str, dict[str, dict[str, int]]] = {}
    for path in files:
        place = Place.of(path)
        if place.setting == setting:
            rows = list(read_rows(path, Verified))
            numbers = {
                "rows": len(rows),
                "instructions": len({row.instruction_id for row in rows}),
                "left_out": left_out[place],
            }
            found.setdefault(place.name, {})[str(place.seed)] = numbers
    return found


def scores_of(path: Path, metric: str) -> dict[str, float]:
    """By problem the value whose mean a metric is."""
    return values_by_problem(metric, list(read_rows(path, Score)))


def parse(argv: list[str] | None) -> argparse.Namespace:
    """The arguments of the command line."""
    parser = step_parser(__doc__)
    parser.add_argument("--task", required=True)
    for name, number in [
        ("reference", None), ("base", None), ("base-rows", None),
        ("students", "+"), ("student-rows", "+"), ("rows", "+"), ("misfits", "+"), ("funnels", "+"),
        ("quality", None), ("output", None),
    ]:  # fmt: skip
        parser.add_argument(f"--{name}", type=Path, nargs=number, required=True)
    parser.add_argument("--seed", type=int, required=True, help="of the bootstrap")
    return parser.parse_args(argv)


def main(argv: list[str] | None = None) -> None:
    arguments = parse(argv)
    started = time.monotonic()
    base, seed = read_result(arguments.base), arguments.seed
    check_reference(reference := read_result(arguments.reference), arguments.reference)
    check_alike(base, reference, arguments.reference, decoding=False)
    for path in arguments.students:
        check_alike(base, read_result(path), path)
    # The first one is of the greedy responses.
    metric = next(iter(base["metrics"]))
    scores = Scores(
        scores_of(arguments.base_rows, metric),
        {Place.of(path): scores_of(path, metric) for path in arguments.student_rows},
    )
    setting = scores.reference
    funnels: dict[str, dict[str, Any]] = {}
    for path in arguments.funnels:
        place = Place.of(path)
        funnels.setdefault(place.name, {})[str(place.seed)] = read_json(path)
    summary = {
        "task": arguments.task,
        "benchmark": base["benchmark"],
        "metric": metric,
        "problems": base["problems"],
        "of": base["of"],
        "protocol": base["protocol"],
        "seeds": scores.seeds(setting),
        "seed_rows": setting[0],
        "epochs": setting[1],
        "method": METHOD,
        "rows": rows_of_arms(arguments.rows, arguments.misfits, setting),
        "arms": [arm_result(scores, name, setting, seed) for name in (BASE, *scores.arms(setting))],
        "differences": differences(scores, seed),
        "sweeps": sweeps(scores, arguments.rows, arguments.misfits, seed),
        "funnels": funnels,
        "quality": read_json(arguments.quality),
    }
    write_json(arguments.output, summary)
    for arm in summary["arms"]:
        low, high = arm["interval"]
        say(f"{arm['title']:<28} {arm['mean']:7.1%}  [{low:.1%}, {high:.1%}]")
    counts("summarize_study", time.monotonic() - started, students=len(arguments.students))


if __name__ == "__main__":
    run_step(main)
