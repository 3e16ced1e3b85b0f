"""The study: which runs it is made of, how rows are drawn for its arms, and its statistics."""

import json
from dataclasses import replace
from pathlib import Path

import numpy
import pytest
from hypothesis import given
from hypothesis import strategies as st

from scripts import draw_rows, select_seeds, summarize_study, take_seeds
from scripts.lib import study_statistics
from scripts.lib.errors import UserError
from scripts.lib.records import Drop, Instruction, Score, Seed, Verified, read_rows, write_rows
from scripts.lib.study import ADA, ARMS, SEEDS_ONLY, SELF_INSTRUCT, Run, arms_of, cells
from scripts.lib.study_statistics import effect, holm
from scripts.lib.training.examples import Misfit

TASKS = Path(__file__).parents[2] / "tasks"
STUDY = {"seeds": [1, 2], "seed_rows": [10, 5], "epochs": [8], "seed_replies": 7}
CELL = "seed_rows~10/epochs~8/seed~1"


def test_the_name_of_a_run_says_what_it_is() -> None:
    assert Run.named("my_task") == Run("my_task")
    assert Run.named(f"mbpp/study/{CELL}/ada") == Run("mbpp", CELL, source="ada")
    assert Run.named(f"mbpp/study/{CELL}/arms/ada_verified") == Run(
        "mbpp", CELL, arm="ada_verified"
    )


def test_a_run_differs_from_its_task_in_what_its_cell_and_source_say() -> None:
    cell = {"seed_rows": 5, "epochs": 8, "seed": 3}
    assert Run("mbpp").overrides({}, STUDY) == {}
    common = Run("mbpp", "x", arm="ada_verified").overrides(cell, STUDY)
    assert common == {"seed": 3, "seed_rows": 5, "generator": {"training": {"epochs": 8}}}
    methods = {
        source: Run("mbpp", "x", source).overrides(cell, STUDY)["generator"].get("method")
        for source in (ADA, SELF_INSTRUCT, SEEDS_ONLY)
    }
    assert methods == {ADA: "fine_tuned", SELF_INSTRUCT: "in_context", SEEDS_ONLY: None}
    asked_once = Run("mbpp", "x", SELF_INSTRUCT).overrides(cell, STUDY)
    assert asked_once["label"] == {"replies": 1}
    alone = Run("mbpp", "x", SEEDS_ONLY).overrides(cell, STUDY)
    assert alone["label"]["replies"] == alone["verification"]["rows_per_instruction"] == 7


def test_all_arms_are_in_the_first_setting_and_the_generators_in_all() -> None:
    found = cells(STUDY)
    assert len(found) == 4
    assert [len(arms_of(cell, STUDY)) for cell in found] == [4, 4, 2, 2]
    assert {arm.source for arm in arms_of(found[-1], STUDY)} == {ADA}
    assert sum(arm.verified for arm in ARMS) == 1


def row(instruction: str, reply: int = 0) -> Verified:
    """A training row."""
    return Verified(
        id=f"{instruction}-{reply}", task="mbpp", instruction="", output="", answer="", tests=[],
        messages=[], verification="none", support=1, replies=1, instruction_id=instruction,
        bare_instruction="", reply_number=reply, generator="", sampling={}, label_model="",
        label_sampling={}, request="", sandbox="",
    )  # fmt: skip


@given(
    counts=st.lists(st.integers(1, 6), min_size=1, max_size=12),
    number=st.integers(1, 72),
    seed=st.integers(0, 99),
)
def test_rows_are_drawn_from_as_many_instructions_as_there_are(counts, number, seed) -> None:
    rows = [row(f"i{at}", reply) for at, replies in enumerate(counts) for reply in range(replies)]
    drawn = draw_rows.draw(rows, number, seed)
    assert drawn == draw_rows.draw(rows, number, seed)
    assert len({found.id for found in drawn}) == len(drawn) == min(number, len(rows))
    assert [found.id for found in drawn] == sorted(found.id for found in drawn)
    taken = [sum(found.instruction_id == f"i{at}" for found in drawn) for at in range(len(counts))]
    most = max(taken)
    # Whoever has fewer rows than another one by more than one has no more to give.
    assert all(have >= most - 1 or have == there
               for have, there in zip(taken, counts, strict=True))  # fmt: skip


def test_every_arm_gets_as_many_rows_as_the_poorest_has(tmp_path: Path) -> None:
    files = [tmp_path / "rich.jsonl", tmp_path / "poor.jsonl"]
    write_rows(files[0], [row(f"i{at}") for at in range(9)])
    # Unverified rows of a generator are first replies, so that nothing has chosen them.
    write_rows(files[1], [*(row(f"i{at}") for at in range(4)), row("i9", reply=1)])

    def drawn(fewest: int, most: int) -> int:
        output = tmp_path / "drawn.jsonl"
        draw_rows.main(
            ["--arm", "seeds_only", "--rows", str(files[0]), "--arms", "self_instruct",
             "--others", str(files[1]), "--most", str(most), "--fewest", str(fewest),
             "--seed", "1", "--output", str(output)]
        )  # fmt: skip
        return sum(1 for _ in read_rows(output, Verified))

    assert drawn(fewest=2, most=100) == 4
    assert drawn(fewest=2, most=3) == 3
    with pytest.raises(
        UserError, match="poor.jsonl .self_instruct.: holds 4 rows.*lower study.min_rows"
    ):
        drawn(fewest=5, most=100)


def test_seeds_become_instructions_and_nothing_is_dropped(tmp_path: Path) -> None:
    paths = {name: tmp_path / f"{name}.jsonl" for name in ("seeds", "instructions", "dropped")}
    write_rows(paths["seeds"], [Seed("Write a function to a."), Seed("Write a function to b.")])
    options = [text for name, path in paths.items() for text in (f"--{name}", str(path))]
    take_seeds.main(["--task", str(TASKS / "mbpp.yaml"), *options])
    taken = list(read_rows(paths["instructions"], Instruction))
    assert [found.instruction[-2] for found in taken] == ["a", "b"]
    assert len({found.id for found in taken}) == 2
    assert list(read_rows(paths["dropped"], Drop)) == []


def test_seeds_are_drawn_by_a_seed_and_keep_their_order() -> None:
    seeds = [Seed(str(at)) for at in range(10)]
    assert select_seeds.drawn(seeds, None, 1) == seeds
    five = select_seeds.drawn(seeds, 5, 1)
    assert len(five) == 5 and five == sorted(five, key=seeds.index)
    assert five == select_seeds.drawn(seeds, 5, 1) != select_seeds.drawn(seeds, 5, 2)
    with pytest.raises(UserError, match="11 seeds are asked for and there are 10.*study.seed_rows"):
        select_seeds.drawn(seeds, 11, 1)


def test_the_interval_of_a_mean_covers_it_about_as_often_as_it_says(monkeypatch) -> None:
    monkeypatch.setattr(study_statistics, "RESAMPLES", 1000)
    generator = numpy.random.default_rng(0)
    covered = 0
    for trial in range(60):
        of_problem = generator.random(150)
        scores = (generator.random((6, 150)) < of_problem).astype(float)
        low, high = effect(scores, trial).interval
        covered += low <= 0.5 <= high
    assert 50 <= covered <= 60


def test_a_difference_that_is_there_is_found_and_one_that_is_not_is_none() -> None:
    generator = numpy.random.default_rng(1)
    base = (generator.random((1, 200)) < 0.3).astype(float)
    same = effect(numpy.zeros((3, 200)), 1, low=-1.0)
    # Nothing differs in 200 problems: what differs in one of 55 would have been seen.
    assert (same.value, same.p) == (0.0, 1.0)
    assert same.interval == pytest.approx((-0.0183, 0.0183), abs=1e-4)
    better = numpy.maximum(base, generator.random((3, 200)) < 0.2)
    found = effect(better - base, 1)
    assert found.p < 0.01 < found.interval[0] < found.value < found.interval[1]
    assert effect(better - base, 1) == found


def test_a_lone_seed_and_a_lone_problem_have_an_effect() -> None:
    assert effect(numpy.ones((1, 1)), 1).interval == pytest.approx((0.025, 1.0))
    assert effect(numpy.zeros((1, 9)), 1).interval[0] == 0.0


def test_holm_corrects_by_rank() -> None:
    # The example of the method: the smallest is multiplied by their number, and none falls.
    assert holm([0.01, 0.04, 0.03]) == pytest.approx([0.03, 0.06, 0.06])
    assert holm([]) == []


@given(st.lists(st.floats(0, 1), max_size=8))
def test_holm_never_lowers_a_value_and_keeps_the_order(values: list[float]) -> None:
    corrected = holm(values)
    assert all(new >= old for new, old in zip(corrected, values, strict=True))
    order = sorted(range(len(values)), key=lambda at: values[at])
    assert [corrected[at] for at in order] == sorted(corrected)


class Files:
    """A study's evaluations on disk, with the scores that a test wants."""

    def __init__(self, root: Path) -> None:
        self.root = root
        self.options: dict[str, list[str]] = {}

    def evaluation(self, option: str, place: str, right: list[int]) -> None:
        """Write a model's evaluation, and note the options that name it."""
        folder = self.root / "results" / "mbpp" / place
        folder.mkdir(parents=True, exist_ok=True)
        name = option.rstrip("s")
        metrics = {"pass@1": {"value": sum(right) / len(right), "right": sum(right)}}
        result = {"benchmark": "MBPP", "protocol": {"name": "MBPP test"}, "metrics": metrics,
                  "problems": len(right), "of": 500}  # fmt: skip
        (folder / f"{name}.json").write_text(json.dumps(result))
        write_rows(
            folder / f"{name}.jsonl",
            [Score("MBPP", str(at), "greedy", 0, "x", bool(value), "pass", "")
             for at, value in enumerate(right)],
        )  # fmt: skip
        self.options.setdefault(option, []).append(str(folder / f"{name}.json"))
        if name != "reference":
            self.options.setdefault(f"{name}-rows", []).append(str(folder / f"{name}.jsonl"))

    def misfits(self, place: str, found: list[Misfit]) -> None:
        """Write what does not fit into an arm's training."""
        path = self.root / "results" / "mbpp" / place / "student_misfits.jsonl"
        write_rows(path, found)
        self.options.setdefault("misfits", []).append(str(path))

    def run(self) -> dict:
        """Sum the study up."""
        options = [text for name, files in self.options.items() for text in (f"--{name}", *files)]
        output = self.root / "study.json"
        summarize_study.main(
            ["--task", "mbpp", *options, "--seed", "1", "--output", str(output)]
        )  # fmt: skip
        return json.loads(output.read_text())


@pytest.fixture
def study(tmp_path: Path) -> Files:
    files = Files(tmp_path)
    files.evaluation("reference", "evaluation/MBPP", [1] * 6)
    files.evaluation("base", "evaluation/MBPP", [1, 0, 0, 0, 0, 0])
    for seed in (1, 2):
        cell = f"study/seed_rows~10/epochs~8/seed~{seed}"
        for arm in ARMS:
            right = [1, 1, 1, seed - 1, 0, 0] if arm.verified else [1, 0, 0, 0, 0, 0]
            files.evaluation("students", f"{cell}/arms/{arm.name}/evaluation/MBPP", right)
            rows = tmp_path / "results" / "mbpp" / cell / "arms" / f"{arm.name}_rows.jsonl"
            write_rows(rows, [row("i1"), replace(row("i1"), id="b"), row("i2")])
            files.options.setdefault("rows", []).append(str(rows))
            files.misfits(f"{cell}/arms/{arm.name}", [Misfit("b", "no_end", 9, 9, 9)])
        files.evaluation(
            "students", f"study/seed_rows~5/epochs~8/seed~{seed}/arms/ada_verified/evaluation/MBPP",
            [0] * 6,
        )  # fmt: skip
        swept = tmp_path / "results/mbpp/study/seed_rows~5/epochs~8" / f"seed~{seed}" / "arms"
        write_rows(swept / "ada_verified_rows.jsonl", [row("i1")])
        files.options["rows"].append(str(swept / "ada_verified_rows.jsonl"))
        files.misfits(f"study/seed_rows~5/epochs~8/seed~{seed}/arms/ada_verified", [])
        for source in (ADA, f"{SELF_INSTRUCT}/unverified"):
            funnel = tmp_path / "results" / "mbpp" / cell / source / "funnel.json"
            funnel.parent.mkdir(parents=True)
            funnel.write_text("{}")
            files.options.setdefault("funnels", []).append(str(funnel))
    (tmp_path / "quality.json").write_text("{}")
    files.options["quality"] = [str(tmp_path / "quality.json")]
    return files


def test_a_study_is_summed_up_by_arm_and_seed(study: Files) -> None:
    summary = study.run()
    arms = {arm["arm"]: arm for arm in summary["arms"]}
    assert list(arms) == ["base", *(arm.name for arm in ARMS)]
    assert arms["ada_verified"]["values"] == {"1": 0.5, "2": pytest.approx(4 / 6)}
    assert arms["ada_verified"]["mean"] == pytest.approx(3.5 / 6)
    assert arms["base"]["values"]["1"] == pytest.approx(1 / 6)
    assert (summary["metric"], summary["problems"], summary["of"]) == ("pass@1", 6, 500)
    assert summary["rows"]["ada_verified"]["1"] == {
        "rows": 3, "instructions": 2, "left_out": 1
    }  # fmt: skip
    gaps = {(gap["arm"], gap["against"]): gap for gap in summary["differences"]}
    assert gaps["ada_verified", "base"]["value"] == pytest.approx(2.5 / 6)
    assert gaps["ada_unverified", "self_instruct"]["p"] == 1.0
    assert all(gap["p_holm"] >= gap["p"] for gap in gaps.values())
    swept = {(part["seed_rows"], part["arm"]): part for part in summary["sweeps"]}
    assert swept[5, "ada_verified"]["mean"] == 0 < swept[10, "ada_verified"]["mean"]
    assert swept[5, "ada_verified"]["rows"]["1"] == {
        "rows": 1, "instructions": 1, "left_out": 0
    }  # fmt: skip
    assert set(summary["funnels"]) == {ADA, SELF_INSTRUCT}


def test_a_benchmark_whose_own_solutions_fail_ends_the_study(study: Files) -> None:
    del study.options["reference"]
    study.evaluation("reference", "evaluation/MBPP", [1, 0, 1, 1, 1, 1])
    with pytest.raises(
        UserError, match="1 of 6 solutions of the benchmark itself are judged wrong"
    ):
        study.run()


def test_results_of_different_protocols_are_not_compared(study: Files) -> None:
    path = Path(study.options["students"][0])
    result = json.loads(path.read_text())
    path.write_text(json.dumps({**result, "protocol": {"name": "another"}}))
    with pytest.raises(UserError, match="measured by another protocol, 'name' differs"):
        study.run()
