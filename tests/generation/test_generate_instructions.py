"""The step that samples a shard: the same bytes, however it is cut up, killed and shared."""

import contextlib
import json
import os
import random
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
import yaml

from scripts import generate_instructions
from scripts.lib.errors import UserError
from scripts.lib.generation import engines
from scripts.lib.generation.kept import KeptTexts
from scripts.lib.generation.request import Sample
from tests.conftest import PROJECT
from tests.launch.machine import soon

MBPP = PROJECT / "tasks" / "mbpp.yaml"
COUNT = 48


def arguments(folder: Path, model: Path, **changes: object) -> list[str]:
    """The arguments of a shard on the tiny model, whose texts run to their limit."""
    values = {
        "task": MBPP,
        "generator": model,
        "chat-format": "model",
        "count": COUNT,
        "shard": 1,
        "engine": "loop",
        "batch-size": 7,
        "temperature": 1,
        "top-k": 0,
        "top-p": 1,
        "max-new-tokens": 48,
        "seed": 1,
        "cache": folder / "cache",
        "output": folder / "shard.jsonl",
    }
    return [
        part for name, value in {**values, **changes}.items() for part in (f"--{name}", str(value))
    ]


@pytest.fixture(scope="module")
def undisturbed(tmp_path_factory: pytest.TempPathFactory, tiny_model: Path) -> bytes:
    """The output of a shard that nothing disturbed."""
    folder = tmp_path_factory.mktemp("undisturbed")
    generate_instructions.main(arguments(folder, tiny_model))
    return (folder / "shard.jsonl").read_bytes()


def texts_kept(folder: Path) -> int:
    return sum(path.read_bytes().count(b"\n") for path in folder.glob("cache/*/*.jsonl"))


def test_the_batch_size_and_the_length_of_the_shard_change_no_text(
    tmp_path: Path, tiny_model: Path, undisturbed: bytes
) -> None:
    generate_instructions.main(arguments(tmp_path, tiny_model, **{"batch-size": 64}))
    assert (tmp_path / "shard.jsonl").read_bytes() == undisturbed
    # A longer shard goes on where the shorter one ended.
    kept = texts_kept(tmp_path)
    generate_instructions.main(arguments(tmp_path, tiny_model, count=COUNT + 2))
    assert texts_kept(tmp_path) == kept + 2
    assert (tmp_path / "shard.jsonl").read_bytes().startswith(undisturbed)


def processes_about(folder: Path) -> list[str]:
    """The processes with a folder in their arguments."""
    found = []
    for entry in Path("/proc").glob("[0-9]*"):
        with contextlib.suppress(OSError):
            if bytes(folder) in (entry / "cmdline").read_bytes():
                found.append(entry.name)
    return found


@pytest.mark.parametrize(("processes", "kills"), [(1, 2), (2, 1)])
def test_a_shard_killed_at_random_moments_ends_with_the_same_bytes(
    tmp_path: Path, tiny_model: Path, undisturbed: bytes, processes: int, kills: int
) -> None:
    command = [
        sys.executable, "-m", "scripts.launch", "--gpus", "1", "--processes", str(processes), "--",
        "scripts.generate_instructions", *arguments(tmp_path, tiny_model, **{"batch-size": 3}),
    ]  # fmt: skip
    environment = {**os.environ, "OMP_NUM_THREADS": "1"}
    moments = random.Random(processes)
    killed = 0
    for _ in range(kills):
        process = subprocess.Popen(
            command, cwd=PROJECT, env=environment, start_new_session=True,
            stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL,
        )  # fmt: skip
        wanted = texts_kept(tmp_path) + moments.randrange(1, COUNT // 6)
        while process.poll() is None and texts_kept(tmp_path) < wanted:
            time.sleep(0.002)
        if process.poll() is None:
            killed += 1
            os.killpg(process.pid, signal.SIGKILL)
        process.wait()
    assert killed
    # The processes of a launch end just after it.
    assert soon(lambda: not processes_about(tmp_path))
    assert not (tmp_path / "shard.jsonl").exists()
    # What a kill may leave of a line.
    file = next(tmp_path.glob("cache/*/*.jsonl"))
    with open(file, "ab") as stream:
        stream.write(b'{"number": 47, "seed": 1, "te')
    before = texts_kept(tmp_path)
    done = subprocess.run(command, cwd=PROJECT, env=environment, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    assert (tmp_path / "shard.jsonl").read_bytes() == undisturbed
    assert f"{before} of {COUNT} texts are there from an earlier run" in done.stderr
    # Each process has kept texts of its own, and none was sampled twice.
    assert texts_kept(tmp_path) == COUNT
    last = sorted(tmp_path.glob("cache/*/*.jsonl"))[-processes:]
    assert len({path.name.split("-")[1] for path in last}) == processes


def test_kept_texts_are_those_of_their_task_and_its_opening(
    tmp_path: Path, tiny_model: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    spec = yaml.safe_load(MBPP.read_text())
    form = spec["instruction"]
    bare = {**spec, "instruction": {**form, "prefix": form["prefix"] + "Write", "opening": ""}}
    for name, described in [("first", spec), ("second", spec), ("bare", bare)]:
        path = tmp_path / f"{name}.yaml"
        path.write_text(yaml.safe_dump(described))
        changes = {"task": path, "output": tmp_path / f"{name}.jsonl"}
        short = {"count": 2, "max-new-tokens": 4}
        generate_instructions.main(arguments(tmp_path, tiny_model, **changes, **short))
    rows = {
        name: [json.loads(line) for line in (tmp_path / f"{name}.jsonl").read_text().splitlines()]
        for name in ("first", "second", "bare")
    }
    assert [row["id"] for row in rows["second"]] == ["second-0001-000000", "second-0001-000001"]
    texts = {name: [row["text"] for row in own] for name, own in rows.items()}
    assert texts["first"] == texts["second"] == ["Write" + text for text in texts["bare"]]
    assert "reach max_new_tokens (4) and will be dropped as 'unfinished'" in capsys.readouterr().err


def test_an_engine_that_loses_texts_is_found_out_and_what_came_is_kept(
    tmp_path: Path, tiny_model: Path, undisturbed: bytes, monkeypatch: pytest.MonkeyPatch
) -> None:
    whole = engines.sample

    def losing(engine: str, request: object, numbers: list[int]) -> object:
        return whole(engine, request, numbers[3:])

    monkeypatch.setattr(engines, "sample", losing)
    with pytest.raises(UserError, match="3 texts did not come back from the engine 'loop'"):
        generate_instructions.main(arguments(tmp_path, tiny_model))
    assert texts_kept(tmp_path) == COUNT - 3
    assert not (tmp_path / "shard.jsonl").exists()
    monkeypatch.undo()
    generate_instructions.main(arguments(tmp_path, tiny_model))
    assert (tmp_path / "shard.jsonl").read_bytes() == undisturbed


def test_a_prompt_without_a_token_is_one_line(tmp_path: Path, tiny_model: Path) -> None:
    spec = yaml.safe_load(MBPP.read_text())
    spec["instruction"] |= {"prefix": "", "opening": ""}
    path = tmp_path / "empty.yaml"
    path.write_text(yaml.safe_dump(spec))
    bare = {"task": path, "chat-format": "none"}
    # This tokenizer has a first token of its own, so that only a template without one is empty.
    monkeypatch = pytest.MonkeyPatch()
    with monkeypatch.context() as patch:
        patch.setattr(generate_instructions, "user_turn_frame", lambda *_: ("", ""))
        with pytest.raises(
            UserError, match=r"empty.yaml: key 'instruction.prefix'.*give it a word"
        ):
            generate_instructions.main(arguments(tmp_path, tiny_model, **bare))


def test_broken_lines_are_absent_and_the_first_of_two_stays(tmp_path: Path) -> None:
    kept = KeptTexts(tmp_path)
    assert kept.read() == {}
    with kept.writer() as writer:
        writer.write([Sample(1, 5, "a\u2028b", 3, True)])
    with kept.writer() as writer:
        writer.write([Sample(1, 5, "later", 3, True), Sample(2, 6, "c", 1, False)])
    (tmp_path / "z.jsonl").write_text('{"number": "three"}\nnonsense\n{"number": 4')
    assert kept.read() == {1: Sample(1, 5, "a\u2028b", 3, True), 2: Sample(2, 6, "c", 1, False)}
