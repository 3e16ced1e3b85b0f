"""Fine-tuning: what is learnt, what is refused, and the same bytes twice."""

import json
from pathlib import Path

import pytest

from scripts.lib.chat import answered_turn, user_turn_frame
from scripts.lib.errors import UserError
from scripts.lib.models import fingerprint, load_tokenizer, load_tuned_model, save_tokenizer
from scripts.lib.training.examples import Example, Row, encode, encode_all
from scripts.lib.training.methods import four_bits
from scripts.lib.training.reports import prepare_reports
from scripts.lib.training.run import check_loss, fine_tune, training_arguments
from scripts.lib.training.save import save_tuned_model
from tests.training.learning import settings

EXAMPLES = [
    Example(n, "task: Write", f" a function to add {n}.\n") for n in ("one", "two", "three")
]


def rows(model: Path) -> list[Row]:
    return encode_all(load_tokenizer(str(model)), EXAMPLES, max_length=64)[0]


def test_only_the_target_is_learnt(tiny_model: Path) -> None:
    tokenizer = load_tokenizer(str(tiny_model))
    row, misfit = encode(tokenizer, EXAMPLES[0], max_length=64)
    assert misfit is None
    assert tokenizer.decode(row.tokens[row.start :]) == EXAMPLES[0].target
    assert tokenizer.decode(row.tokens) == EXAMPLES[0].prompt + EXAMPLES[0].target


def test_what_does_not_fit_is_told_and_never_learnt_without_its_end(tiny_model: Path) -> None:
    tokenizer = load_tokenizer(str(tiny_model))
    examples = [
        Example("fits", "a", "b"),
        Example("cut", "a", "many words " * 40),
        Example("no end", "a", "many words " * 40, needs_its_end=True),
        Example("no room", "many words " * 40, "target"),
    ]
    found, misfits = encode_all(tokenizer, examples, max_length=32)
    assert [len(row.tokens) for row in found] == [2, 32]
    assert [(misfit.id, misfit.reason) for misfit in misfits] == [
        ("cut", "cut"), ("no end", "no_end"), ("no room", "no_room")
    ]  # fmt: skip
    assert {misfit.max_length for misfit in misfits} == {32}
    with pytest.raises(UserError, match="none of 2 examples .* raise training.max_length"):
        encode_all(tokenizer, examples[2:], max_length=32)
    with pytest.raises(UserError, match="nothing to learn from"):
        encode_all(tokenizer, [], max_length=32)
    with pytest.raises(UserError, match="example x can be learnt"):
        encode(tokenizer, Example("x", "a", ""), max_length=32)


@pytest.mark.parametrize(
    ("chat_format", "prompt", "target"),
    [
        ("model", "<s>user\nAdd.</s>\n<s>assistant\n", "1 + 1</s>"),
        ("llama2", "<s>[INST] Add. [/INST]", " 1 + 1</s>"),
        ("none", "<s>Add.\n\n", "1 + 1</s>"),
    ],
)
def test_a_student_learns_to_stop(
    tiny_model: Path, chat_format: str, prompt: str, target: str
) -> None:
    tokenizer = load_tokenizer(str(tiny_model))
    assert answered_turn(tokenizer, chat_format, "Add.", "1 + 1") == (prompt, target)
    row, _ = encode(tokenizer, Example("x", prompt, target), max_length=64)
    assert row.tokens[-1] == tokenizer.eos_token_id
    # A template whose turns do not end with the token that ends generation.
    tokenizer.eos_token = "<pad>"
    assert answered_turn(tokenizer, chat_format, "Add.", "1 + 1")[1].endswith("<pad>")
    tokenizer.eos_token = None
    with pytest.raises(UserError, match="has no end-of-sequence token"):
        answered_turn(tokenizer, chat_format, "Add.", "1 + 1")


@pytest.mark.parametrize(("loss", "norm"), [(0.0, 1.0), (float("nan"), 1.0), (1.0, float("inf"))])
def test_a_loss_that_teaches_nothing_stops_the_training(loss: float, norm: float) -> None:
    with pytest.raises(UserError, match="training stopped at step 4"):
        check_loss(loss, norm, step=4)


def test_a_diverging_training_fails(tiny_model: Path, tmp_path: Path) -> None:
    wild = settings(method="full", learning_rate=1e30, epochs=20)
    with pytest.raises(UserError, match="training stopped"):
        fine_tune(str(tiny_model), rows(tiny_model), wild, tmp_path)


@pytest.mark.parametrize("method", ["lora", "full"])
def test_training_learns_and_repeats_to_the_byte(
    tiny_model: Path, tmp_path: Path, method: str
) -> None:
    tokenizer = load_tokenizer(str(tiny_model))
    seen, prints = [], []
    some = settings(method=method, epochs=8, batch_size=2, lora_dropout=0.1)
    for run in ("first", "second"):
        tuned = fine_tune(
            str(tiny_model), rows(tiny_model), some, tmp_path, lambda *step: seen.append(step)
        )
        save_tuned_model(tuned, tokenizer, tmp_path / run)
        prints.append(fingerprint(str(tmp_path / run)))
        curve = tuned.curve
        assert [row["step"] for row in curve] == list(range(1, 17))
        assert [row["epoch"] for row in curve][:3] == [0.5, 1.0, 1.5]
        assert curve[-1]["loss"] < curve[0]["loss"]
        assert curve[0]["learning_rate"] < max(row["learning_rate"] for row in curve)
    assert prints[0] == prints[1]
    assert seen[:16] == [(row["step"], row["loss"]) for row in curve]
    assert (tmp_path / "first" / "adapter_config.json").exists() == (method == "lora")
    tuned = load_tuned_model(tmp_path / "first")
    assert fingerprint(str(tiny_model)) != prints[0]
    assert tuned.config.model_type == "llama"


@pytest.mark.parametrize(
    ("scheduler", "last"), [("cosine", 0.0), ("linear", 0.0), ("constant", 1e-2)]
)
def test_the_learning_rate_rises_and_falls(tmp_path: Path, scheduler: str, last: float) -> None:
    import torch
    from transformers import get_scheduler

    arguments = training_arguments(settings(scheduler=scheduler, epochs=10), 2, tmp_path)
    assert arguments.warmup_steps == 2
    optimizer = torch.optim.AdamW([torch.nn.Parameter(torch.ones(1))], lr=1e-2)
    schedule = get_scheduler(arguments.lr_scheduler_type, optimizer, arguments.warmup_steps, 20)
    rates = []
    for _ in range(21):
        rates.append(schedule.get_last_lr()[0])
        optimizer.step()
        schedule.step()
    assert rates[0] == 0 and max(rates) == rates[2] == 1e-2
    assert rates[-1] == pytest.approx(last)


def test_what_is_not_installed_is_named(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    import torch

    for name in ("TENSORBOARD_LOGGING_DIR", "WANDB_PROJECT"):
        monkeypatch.setenv(name, "as I like it")
    prepare_reports("none", tmp_path)
    monkeypatch.setattr("importlib.util.find_spec", lambda name: None)
    for name in ("tensorboard", "wandb", "trackio"):
        with pytest.raises(UserError, match=f"report_to: {name} needs a package: pip install"):
            prepare_reports(name, tmp_path)
    with pytest.raises(UserError, match="qlora needs the package bitsandbytes: pip install"):
        four_bits(torch.bfloat16)


def test_qlora_asks_for_what_the_paper_describes(monkeypatch: pytest.MonkeyPatch) -> None:
    import torch

    monkeypatch.setattr("importlib.util.find_spec", lambda name: object())
    asked = four_bits(torch.bfloat16)
    assert asked.load_in_4bit and asked.bnb_4bit_use_double_quant
    assert asked.bnb_4bit_quant_type == "nf4"
    assert asked.bnb_4bit_compute_dtype == asked.bnb_4bit_quant_storage == torch.bfloat16


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


def test_a_model_has_the_same_bytes_whether_the_hub_was_allowed(
    tiny_model: Path, tmp_path: Path
) -> None:
    from transformers import AutoTokenizer

    for offline in (True, False):
        tokenizer = AutoTokenizer.from_pretrained(tiny_model, local_files_only=offline)
        save_tokenizer(tokenizer, tmp_path / str(offline))
    assert fingerprint(str(tmp_path / "True")) == fingerprint(str(tmp_path / "False"))
    read = AutoTokenizer.from_pretrained(tmp_path / "True")
    assert read("Write a function") == tokenizer("Write a function")


def test_an_adapter_names_its_modules_in_order(tiny_model: Path, tmp_path: Path) -> None:
    tuned = fine_tune(str(tiny_model), rows(tiny_model), settings(epochs=1), tmp_path)
    save_tuned_model(tuned, load_tokenizer(str(tiny_model)), tmp_path / "out")
    modules = json.loads((tmp_path / "out" / "adapter_config.json").read_text())["target_modules"]
    assert modules == sorted(modules)
    assert len(modules) == 7 * 2
