"""Packing: samples laid end to end do not see each other, and teach what they teach apart."""

import inspect
from pathlib import Path

import pytest
import torch
from transformers import AutoModelForCausalLM

from scripts.lib.errors import UserError
from scripts.lib.training.batches import MicroBatch
from scripts.lib.training.examples import Row
from scripts.lib.training.methods import load_for_training
from scripts.lib.training.packing import ATTENTION, attention_for, packed, padded
from tests.training.learning import other_models, random_rows, settings

ROWS = random_rows(5)
BATCH = MicroBatch(ROWS, sum(row.learnt for row in ROWS))


def loss_and_gradients(model, batch: dict) -> tuple[torch.Tensor, dict[str, torch.Tensor]]:
    """The mean loss of the learnt tokens, all logits made, and the gradients of all weights."""
    model.zero_grad()
    inputs = dict(batch)
    kept, targets = inputs.pop("kept"), inputs.pop("targets")
    logits = model(**without(inputs, "step_tokens"), use_cache=False).logits.flatten(0, 1)[kept]
    loss = torch.nn.functional.cross_entropy(logits, targets)
    loss.backward()
    return loss.detach(), {name: weight.grad for name, weight in model.named_parameters()}


def without(inputs: dict, *names: str) -> dict:
    return {name: value for name, value in inputs.items() if name not in names}


def assert_packed_teaches_as_padded(model) -> None:
    model.set_attn_implementation("eager")
    apart = loss_and_gradients(model, padded(BATCH))
    model.set_attn_implementation(ATTENTION)
    together = loss_and_gradients(model, packed(BATCH))
    torch.testing.assert_close(together[0], apart[0], rtol=1e-6, atol=1e-6)
    for name, gradient in apart[1].items():
        torch.testing.assert_close(together[1][name], gradient, rtol=1e-4, atol=1e-6, msg=name)


def test_a_packed_batch_teaches_as_a_padded_one(tiny_model: Path) -> None:
    model = AutoModelForCausalLM.from_pretrained(tiny_model, dtype=torch.float32)
    assert attention_for(model, "cpu") == ATTENTION
    assert_packed_teaches_as_padded(model)


@pytest.mark.parametrize("name", other_models())
def test_a_model_is_packed_where_that_is_right_and_padded_elsewhere(name: str) -> None:
    torch.manual_seed(0)
    model = AutoModelForCausalLM.from_config(other_models()[name])
    model.eval()
    if attention_for(model, "cpu"):
        assert name in ("sliding window", "one layer in two slides", "learnt positions")
        assert_packed_teaches_as_padded(model)
    else:
        assert name in ("capped attention", "own attention", "state")


def test_a_model_that_takes_no_adapters_is_refused(tmp_path: Path) -> None:
    AutoModelForCausalLM.from_config(other_models()["state"]).save_pretrained(tmp_path)
    with pytest.raises(UserError, match="adapters do not go with a model of type mamba: set"):
        load_for_training(str(tmp_path), settings())


def test_a_gpu_uses_flash_attention_where_it_can(
    tiny_model: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    model = AutoModelForCausalLM.from_pretrained(tiny_model)
    assert attention_for(model, "cuda") == ATTENTION
    monkeypatch.setattr("transformers.utils.is_flash_attn_2_available", lambda: True)
    assert attention_for(model, "cuda") == "flash_attention_2"
    assert attention_for(model, "cpu") == ATTENTION
    # These are its arguments for rows laid end to end.
    from transformers.modeling_flash_attention_utils import _flash_attention_forward

    names = inspect.signature(_flash_attention_forward).parameters
    assert {"cu_seq_lens_q", "cu_seq_lens_k", "max_length_q", "max_length_k"} <= names.keys()


def test_a_sample_does_not_see_the_others(tiny_model: Path) -> None:
    model = AutoModelForCausalLM.from_pretrained(tiny_model, dtype=torch.float32).eval()
    model.set_attn_implementation(attention_for(model, "cpu"))
    changed = [*ROWS]
    changed[2] = Row([token + 1 for token in ROWS[2].tokens], ROWS[2].start)
    before, after = (
        model(**without(packed(MicroBatch(rows, 1)), "kept", "targets", "step_tokens")).logits[0]
        for rows in (ROWS, changed)
    )
    begin = sum(len(row.tokens) for row in ROWS[:2])
    end = begin + len(ROWS[2].tokens)
    torch.testing.assert_close(after[:begin], before[:begin], rtol=1e-5, atol=1e-6)
    torch.testing.assert_close(after[end:], before[end:], rtol=1e-5, atol=1e-6)
    assert (after[begin:end] - before[begin:end]).abs().max() > 1e-3


def test_the_layout_of_batches() -> None:
    batch = MicroBatch([Row([5, 6, 7], start=1), Row([8, 9], start=0)], step_tokens=3)
    row = packed(batch)
    assert row["input_ids"].tolist() == [[5, 6, 7, 8, 9]]
    assert row["position_ids"].tolist() == [[0, 1, 2, 0, 1]]
    assert row["sample_lengths"] == [3, 2]
    assert row["cu_seq_lens_q"].tolist() == row["cu_seq_lens_k"].tolist() == [0, 3, 5]
    # The token at each of these is followed by a learnt one.
    assert (row["kept"].tolist(), row["targets"].tolist()) == ([0, 1, 3], [6, 7, 9])
    rows = padded(batch)
    assert rows["input_ids"].tolist() == [[5, 6, 7], [8, 9, 0]]
    assert rows["attention_mask"].tolist() == [[1, 1, 1], [1, 1, 0]]
    assert (rows["kept"].tolist(), rows["targets"].tolist()) == ([0, 1, 3], [6, 7, 9])
    nothing = packed(MicroBatch([], step_tokens=3))
    assert nothing["kept"].numel() == nothing["targets"].numel() == 0
