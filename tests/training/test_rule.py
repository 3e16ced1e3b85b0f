"""The rule `train`: both roles, the command of several GPUs, and what a change reruns."""

import re
from pathlib import Path

import jsonlines
import pytest

from tests.conftest import Project
from tests.training.learning import settings, train_arguments, write_verified


@pytest.fixture(scope="module")
def project(tmp_path_factory: pytest.TempPathFactory) -> Project:
    return Project(tmp_path_factory.mktemp("training"), {})


def train_commands(project: Project, config: dict) -> dict[str, str]:
    """The commands of rule `train` on the way to a student, by role, each on one line."""
    project.configure(config)
    done = project.run("-n", "-p", "results/mbpp/student", "--resources", "gpu=8")
    assert done.returncode == 0, done.stdout
    text = " ".join(done.stdout.replace("\\\n", " ").split())
    commands = [part for part in text.split("python -m ") if " -- scripts.train " in part]
    return {re.search(r"--role (\w+)", command)[1]: command for command in commands}


def test_each_role_learns_from_its_own_rows_with_its_own_settings(project: Project) -> None:
    commands = train_commands(project, {})
    student, generator = commands["student"].partition(".log")[0], commands["generator"]
    assert "--gpus 1 -- scripts.train --role student --rows results/mbpp_verified.jsonl" in student
    assert "--task" not in student and "--learn " not in student
    assert "--epochs 3 --learning-rate 0.0002 --scheduler cosine" in student
    assert "--rows results/mbpp/seeds.jsonl --task tasks/mbpp.yaml --learn" in generator
    assert "--epochs 10 --learning-rate 0.0005 --scheduler cosine" in generator
    for name in settings().__dataclass_fields__:
        assert f"--{name.replace('_', '-')} " in student
        assert f"--{name.replace('_', '-')} " in generator


def test_several_gpus_share_a_training(project: Project) -> None:
    shared = {"gpus": 4, "method": "full"}
    config = {
        "generator": {"training": {**shared, "parallel": "fsdp"}},
        "student": {"training": {**shared, "parallel": "ddp"}},
    }
    commands = train_commands(project, config)
    for role, parallel in (("generator", "fsdp"), ("student", "ddp")):
        assert commands[role].startswith(
            "scripts.launch --gpus 4 --processes 4 --accelerate-config "
            f"configs/accelerate/{parallel}.yaml -- scripts.train --role {role}"
        )
        assert (project.path / "configs" / "accelerate" / f"{parallel}.yaml").exists()
    # What is not said of one role is not taken from the other.
    assert "--method full --epochs 3" in commands["student"]


def test_a_step_that_cannot_be_shared_stops_the_plan(project: Project) -> None:
    project.configure({"student": {"training": {"gpus": 4, "accumulation": 4}}})
    done = project.run("-n", "results/mbpp/student")
    assert done.returncode != 0
    assert (
        "key 'student.training.batch_size': 8 examples cannot be shared by gpus x accumulation, 16"
        in done.stdout
    )


def test_a_training_tells_what_it_left_out(
    tiny_model: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys
) -> None:
    from scripts.train import main

    monkeypatch.chdir(tmp_path)
    rows = write_verified(tmp_path / "rows.jsonl", 6)
    with jsonlines.open(rows) as reader:
        found = list(reader)
    found[2]["messages"][1]["content"] = "far too long " * 200
    with jsonlines.open(rows, "w") as writer:
        writer.write_all(found)
    main(train_arguments(tiny_model, rows, tmp_path, epochs=1, checkpoint_minutes=100))
    with jsonlines.open(tmp_path / "misfits.jsonl") as reader:
        [misfit] = list(reader)
    assert (misfit["id"], misfit["reason"]) == ("toy-2", "no_end")
    said = capsys.readouterr().err
    assert "train student: 5 examples, 0 cut at max length, 1 left out, 2 steps" in said
    assert re.search(r"44,192 parameters, 4,096 of them trained, .* GiB of .* GiB, about", said)
