"""Sampling: stops where it should, and repeats itself for the same seed alone."""

import json
from pathlib import Path

import pytest
import yaml
from hypothesis import given
from hypothesis import strategies as st

from scripts import generate_instructions
from scripts.lib.models import load_model, load_tokenizer
from scripts.lib.sampling import SamplingSettings, batch_seed, batches, sample_batch

SETTINGS = SamplingSettings(temperature=1.0, top_k=0, top_p=1.0, max_new_tokens=24)


@given(count=st.integers(0, 500), size=st.integers(1, 64))
def test_batches_cover_the_samples(count: int, size: int) -> None:
    parts = list(batches(count, size))
    assert sum(part for _, part in parts) == count
    assert [number for number, _ in parts] == list(range(len(parts)))


def test_every_batch_of_every_shard_has_a_seed_of_its_own() -> None:
    seeds = {batch_seed(s, h, b) for s in range(3) for h in range(8) for b in range(20)}
    assert len(seeds) == 3 * 8 * 20
    assert batch_seed(42, 1, 0) == batch_seed(42, 1, 0)


@pytest.fixture(scope="module")
def model(tiny_model: Path):
    return load_model(str(tiny_model)), load_tokenizer(str(tiny_model))


def test_a_seed_repeats_its_texts_and_another_does_not(model) -> None:
    first, again, other = (
        sample_batch(*model, "<s>user\nWrite", ["\n"], SETTINGS, count=6, seed=seed)
        for seed in (1, 1, 2)
    )
    assert first == again != other
    assert len({sample.text for sample in first}) > 1


def test_a_text_ends_at_its_closing_mark_its_end_or_the_limit(model) -> None:
    samples = sample_batch(*model, "Write", ["e"], SETTINGS, count=40, seed=5)
    for sample in samples:
        assert sample.tokens <= SETTINGS.max_new_tokens
        assert sample.finished or sample.tokens == SETTINGS.max_new_tokens
        # The token that completes the mark may hold more: the text ends before the mark.
        assert "e" not in sample.text
    assert any(sample.finished and sample.tokens < 5 for sample in samples)
    never = sample_batch(*model, "Write", ["\u2603\u2603"], SETTINGS, count=20, seed=5)
    assert any(not sample.finished for sample in never)


def test_kept_texts_are_those_of_their_task_and_its_opening(
    tmp_path: Path, tiny_model: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    spec = yaml.safe_load((Path(__file__).parents[2] / "tasks" / "mbpp.yaml").read_text())
    form = spec["instruction"]
    bare = {**spec, "instruction": {**form, "prefix": form["prefix"] + "Write", "opening": ""}}
    for name, described in [("first", spec), ("second", spec), ("bare", bare)]:
        path = tmp_path / f"{name}.yaml"
        path.write_text(yaml.safe_dump(described))
        generate_instructions.main(
            ["--task", str(path), "--generator", str(tiny_model), "--chat-format", "model",
             "--count", "2", "--shard", "1", "--batch-size", "2", "--temperature", "1",
             "--top-k", "0", "--top-p", "1", "--max-new-tokens", "4", "--seed", "1",
             "--cache", str(tmp_path / "cache"), "--output", str(tmp_path / f"{name}.jsonl")]
        )  # fmt: skip
    rows = {
        name: [json.loads(line) for line in (tmp_path / f"{name}.jsonl").read_text().splitlines()]
        for name in ("first", "second", "bare")
    }
    assert [row["id"].split("-")[0] for row in rows["second"]] == ["second", "second"]
    texts = {name: [row["text"] for row in own] for name, own in rows.items()}
    assert texts["first"] == texts["second"] == ["Write" + text for text in texts["bare"]]
    assert "reach max_new_tokens (4) and will be dropped as 'unfinished'" in capsys.readouterr().err
