"""Fine-tuning: what is learnt, what is refused, and the same bytes twice."""

import json
from pathlib import Path

import pytest

from scripts.lib.chat import user_turn_frame
from scripts.lib.errors import UserError
from scripts.lib.models import fingerprint, load_tokenizer, load_tuned_model
from scripts.lib.sft import (
    IGNORED,
    Example,
    TrainingSettings,
    check_loss,
    collate,
    encode,
    fine_tune,
    save_tuned_model,
)

EXAMPLES = [Example("task: Write", f" a function to add {n}.\n") for n in ("one", "two", "three")]


def settings(**changes: object) -> TrainingSettings:
    values = {
        "method": "lora",
        "epochs": 8,
        "learning_rate": 1e-2,
        "batch_size": 2,
        "warmup_ratio": 0.1,
        "max_length": 64,
        "lora_rank": 4,
        "lora_alpha": 8,
        "lora_dropout": 0.0,
        "seed": 3,
    }
    return TrainingSettings(**{**values, **changes})


def test_only_the_target_is_learnt(tiny_model: Path) -> None:
    tokenizer = load_tokenizer(str(tiny_model))
    row = encode(tokenizer, EXAMPLES[0], max_length=64)
    learnt = [token for token in row["labels"] if token != IGNORED]
    assert tokenizer.decode(learnt) == EXAMPLES[0].target
    assert tokenizer.decode(row["input_ids"]) == EXAMPLES[0].prompt + EXAMPLES[0].target


def test_padding_is_neither_seen_nor_learnt() -> None:
    rows = [{"input_ids": [5, 6, 7], "labels": [IGNORED, 6, 7]}, {"input_ids": [8], "labels": [8]}]
    batch = collate(rows, pad_id=9)
    assert batch["input_ids"].tolist() == [[5, 6, 7], [8, 9, 9]]
    assert batch["labels"].tolist() == [[IGNORED, 6, 7], [8, IGNORED, IGNORED]]
    assert batch["attention_mask"].tolist() == [[1, 1, 1], [1, 0, 0]]


@pytest.mark.parametrize("example", [Example("a", ""), Example("many words " * 40, "target")])
def test_a_row_without_a_trainable_token_is_refused(tiny_model: Path, example: Example) -> None:
    with pytest.raises(UserError, match="no token of"):
        encode(load_tokenizer(str(tiny_model)), example, max_length=32)


@pytest.mark.parametrize(("loss", "norm"), [(0.0, 1.0), (float("nan"), 1.0), (1.0, float("inf"))])
def test_a_loss_that_teaches_nothing_stops_the_training(loss: float, norm: float) -> None:
    with pytest.raises(UserError, match="training stopped at step 4"):
        check_loss(loss, norm, step=4)


def test_a_diverging_training_fails(tiny_model: Path, tmp_path: Path) -> None:
    with pytest.raises(UserError, match="training stopped"):
        fine_tune(
            str(tiny_model),
            load_tokenizer(str(tiny_model)),
            EXAMPLES,
            settings(method="full", learning_rate=1e30, epochs=20),
            tmp_path,
            lambda loss: None,
        )


@pytest.mark.parametrize("method", ["lora", "full"])
def test_training_learns_and_repeats_to_the_byte(
    tiny_model: Path, tmp_path: Path, method: str
) -> None:
    tokenizer = load_tokenizer(str(tiny_model))
    prints = []
    for run in ("first", "second"):
        model, curve = fine_tune(
            str(tiny_model), tokenizer, EXAMPLES, settings(method=method), tmp_path, lambda _: None
        )
        save_tuned_model(model, tokenizer, tmp_path / run)
        prints.append(fingerprint(str(tmp_path / run)))
        assert [row["step"] for row in curve] == list(range(1, 17))
        assert curve[-1]["loss"] < curve[0]["loss"]
        assert curve[0]["learning_rate"] < max(row["learning_rate"] for row in curve)
    assert prints[0] == prints[1]
    assert (tmp_path / "first" / "adapter_config.json").exists() == (method == "lora")
    tuned = load_tuned_model(tmp_path / "first")
    assert fingerprint(str(tiny_model)) != prints[0]
    assert tuned.config.model_type == "llama"


def test_the_frame_of_a_user_turn(tiny_model: Path) -> None:
    tokenizer = load_tokenizer(str(tiny_model))
    assert user_turn_frame(tokenizer, "model") == ("<s>user\n", "</s>\n")
    assert user_turn_frame(tokenizer, "llama2") == ("<s>[INST] ", " [/INST]")
    tokenizer.chat_template = None
    with pytest.raises(UserError, match="has no chat template: set 'chat_format: llama2'"):
        user_turn_frame(tokenizer, "model")


def test_a_model_path_that_does_not_exist_is_explained(tmp_path: Path) -> None:
    for name in ("./nowhere", str(tmp_path / "none"), "smollm-typo"):
        with pytest.raises(UserError, match="no such directory"):
            load_tokenizer(name)
    with pytest.raises(UserError, match=r"holds no config\.json"):
        load_tokenizer(str(tmp_path))


def test_an_adapter_names_its_modules_in_order(tiny_model: Path, tmp_path: Path) -> None:
    tokenizer = load_tokenizer(str(tiny_model))
    model, _ = fine_tune(
        str(tiny_model), tokenizer, EXAMPLES, settings(epochs=1), tmp_path, lambda _: None
    )
    save_tuned_model(model, tokenizer, tmp_path / "out")
    modules = json.loads((tmp_path / "out" / "adapter_config.json").read_text())["target_modules"]
    assert modules == sorted(modules)
    assert len(modules) == 7 * 2
