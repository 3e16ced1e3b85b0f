"""The sampling loop: the model's own distribution, texts that nothing but their seed decides."""

from pathlib import Path
from typing import Any

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from transformers import AutoConfig, AutoModelForCausalLM, PreTrainedModel

from scripts.lib.errors import UserError
from scripts.lib.generation import loop
from scripts.lib.generation.request import SamplingSettings
from scripts.lib.generation.slots import Slots
from scripts.lib.models import load_model
from tests.generation.sampling import (
    GREEDY,
    RESTS,
    SETTINGS,
    by_number,
    chi_square,
    of_transformers,
    request_of,
)

SIZE = {
    "vocab_size": 300,
    "hidden_size": 32,
    "intermediate_size": 48,
    "num_hidden_layers": 2,
    "num_attention_heads": 4,
    "num_key_value_heads": 2,
    "max_position_embeddings": 256,
}


def random_model(kind: str, **changes: Any) -> PreTrainedModel:
    torch.manual_seed(0)
    config = AutoConfig.for_model(kind, **{**SIZE, **changes})
    return AutoModelForCausalLM.from_config(config).eval()


@pytest.fixture(scope="module")
def model(tiny_model: Path) -> PreTrainedModel:
    return load_model(str(tiny_model), dtype=torch.float32)


@pytest.mark.parametrize(
    ("kind", "changes"),
    [
        ("llama", {}),
        ("llama", {"num_key_value_heads": 4, "attention_bias": True}),
        ("qwen2", {}),
        ("qwen3", {"head_dim": 16}),
        ("mistral", {"sliding_window": 200}),
        ("gemma", {"head_dim": 16}),
        ("phi3", {"pad_token_id": 0}),
        ("gpt_neox", {}),
    ],
)
def test_the_logits_are_those_of_the_whole_text(kind: str, changes: dict) -> None:
    model = random_model(kind, **changes)
    prompt = list(range(5, 16))
    texts = torch.randint(1, 300, (6, 40), generator=torch.Generator().manual_seed(3))
    # Each slot is some tokens ahead of the one before, as after a refill.
    starts = [0, 1, 2, 5, 9, 14]
    with torch.inference_mode():
        whole = model(torch.cat([torch.tensor([prompt]).expand(6, -1), texts], 1)).logits
    slots = Slots(model, 40)
    first = slots.start(prompt)
    slots.reserve(6)
    assert torch.allclose(first, whole[:1, len(prompt) - 1], atol=2e-5)
    for step in range(40):
        rows = [row for row in range(6) if starts[row] <= step]
        ages = [step - starts[row] for row in rows]
        logits = slots.step(texts[rows, ages], torch.tensor(ages), max(ages))
        expected = whole[rows, len(prompt) + torch.tensor(ages)]
        assert torch.allclose(logits, expected, atol=2e-5)


def test_a_moved_text_goes_on_as_it_would_have() -> None:
    model = random_model("llama")
    slots = Slots(model, 20)
    slots.start([1, 2, 3])
    slots.reserve(3)
    tokens = torch.randint(1, 300, (3, 20), generator=torch.Generator().manual_seed(5))
    for age in range(4):
        slots.step(tokens[:, age], torch.full((3,), age), age)
    stay = slots.step(tokens[:, 4], torch.full((3,), 4), 4)
    slots.move(2, 0, 4)
    moved = slots.step(tokens[[2, 1], 4], torch.full((2,), 4), 4)
    assert torch.allclose(moved, stay[[2, 1]], atol=1e-5)


@pytest.mark.parametrize(
    ("kind", "changes", "message"),
    [
        ("mistral", {"sliding_window": 30}, "sees 30 tokens back"),
        ("gemma2", {"head_dim": 16}, "caps or adds to its attention"),
        ("bloom", {"n_layer": 1, "n_head": 4}, "has an attention of its own"),
        ("diffllama", {}, "attends more than once a layer"),
        ("nemotron", {}, "does not pass on what attention needs"),
        ("lfm2", {"layer_types": ["conv", "full_attention"]}, "has layers other than attention"),
    ],
)
def test_a_model_that_reads_its_past_in_another_way_is_refused(
    kind: str, changes: dict, message: str
) -> None:
    with pytest.raises(UserError, match=message + ".*set 'sampling.engine' in config.yaml to "):
        Slots(random_model(kind, **changes), 24).start(list(range(10)))


@settings(max_examples=12)
@given(
    batch_size=st.integers(1, 40),
    numbers=st.sets(st.integers(0, 59), min_size=1),
    dtype=st.sampled_from([torch.float32, torch.bfloat16]),
)
def test_a_text_depends_on_its_seed_alone(
    tiny_model: Path, model: PreTrainedModel, batch_size: int, numbers: set[int], dtype: torch.dtype
) -> None:
    cast = model if dtype is torch.float32 else load_model(str(tiny_model), dtype=dtype)
    request = request_of(tiny_model, batch_size=batch_size)
    texts = by_number(loop.grow(cast, request, sorted(numbers)))
    assert set(texts) == numbers
    undisturbed = by_number(loop.grow(cast, request_of(tiny_model, batch_size=60), range(60)))
    assert all(texts[number] == undisturbed[number] for number in numbers)


def test_a_small_memory_means_fewer_texts_at_a_time_and_the_same_texts(
    tiny_model: Path, model: PreTrainedModel, monkeypatch: pytest.MonkeyPatch, capsys
) -> None:
    request = request_of(tiny_model, batch_size=40)
    expected = by_number(loop.grow(model, request, range(40)))
    # Keys and values in float32: 2 layers, 2 heads of 8, 32 tokens.
    of_one = 2 * 2 * 2 * 8 * 32 * 4
    monkeypatch.setattr(loop, "free_bytes", lambda device: 20 * of_one / loop.MEMORY_SHARE + 1)
    assert by_number(loop.grow(model, request, range(40))) == expected
    assert "the memory holds 20 texts at a time" in capsys.readouterr().err


def test_other_seeds_and_shards_give_other_texts(tiny_model: Path, model: PreTrainedModel) -> None:
    first, seed, shard = (
        by_number(loop.grow(model, request_of(tiny_model, **changes), range(12)))
        for changes in ({}, {"seed": 43}, {"shard": 2})
    )
    texts = [[sample.text for sample in run.values()] for run in (first, seed, shard)]
    assert texts[0] != texts[1] != texts[2] != texts[0]
    assert len(set(texts[0])) > 6


def test_a_text_ends_at_its_closing_mark_its_end_or_the_limit(
    tiny_model: Path, model: PreTrainedModel
) -> None:
    request = request_of(tiny_model, prompt="Write", closing=["e"])
    samples = by_number(loop.grow(model, request, range(60))).values()
    for sample in samples:
        assert sample.tokens <= SETTINGS.max_new_tokens
        assert sample.finished or sample.tokens == SETTINGS.max_new_tokens
        # The token that completes the mark may hold more: the text ends before the mark.
        assert "e" not in sample.text
    assert any(sample.finished and sample.tokens < 5 for sample in samples)
    never = request_of(tiny_model, prompt="Write", closing=["\u2603\u2603"])
    samples = by_number(loop.grow(model, never, range(20))).values()
    assert any(not sample.finished for sample in samples)


@pytest.mark.parametrize("top_k", [0, 20])
@pytest.mark.parametrize("broken_tokens", [slice(None), slice(7, 8)])
def test_a_model_whose_training_diverged_is_one_line(
    tiny_model: Path, top_k: int, broken_tokens: slice
) -> None:
    broken = load_model(str(tiny_model), dtype=torch.bfloat16)
    broken.lm_head.weight.data[broken_tokens] = torch.nan
    wanted = SamplingSettings(temperature=1.0, top_k=top_k, top_p=1.0, max_new_tokens=24)
    with pytest.raises(UserError, match="logits are no numbers"):
        by_number(loop.grow(broken, request_of(tiny_model, settings=wanted), range(3)))


def test_texts_that_end_with_their_first_token_come_back_too(
    tiny_model: Path, model: PreTrainedModel
) -> None:
    one = SamplingSettings(temperature=1.0, top_k=0, top_p=1.0, max_new_tokens=1)
    samples = by_number(loop.grow(model, request_of(tiny_model, settings=one), range(30)))
    assert len(samples) == 30
    assert all(sample.tokens <= 1 for sample in samples.values())


def test_tokens_come_as_often_as_transformers_says_of_the_model(
    tiny_model: Path, model: PreTrainedModel
) -> None:
    """The whole way of a token, after the prompt and after another token; chi-square tests."""
    wanted = SamplingSettings(temperature=1.2, top_k=30, top_p=0.9, max_new_tokens=2)
    request = request_of(tiny_model, settings=wanted, closing=["\u2603\u2603"], batch_size=256)
    seen: dict[int, list[int]] = {}
    drawn = loop._extend

    def recorded(texts: list, logits: torch.Tensor, request: Any) -> None:
        drawn(texts, logits, request)
        seen.update({text.number: text.ids for text in texts})

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(loop, "_extend", recorded)
        assert len(by_number(loop.grow(model, request, range(3000)))) == 3000
    first = torch.tensor([ids[0] for ids in seen.values()])
    common = int(first.mode().values)
    second = torch.tensor([ids[1] for ids in seen.values() if len(ids) == 2 and ids[0] == common])
    model.set_attn_implementation("sdpa")
    with torch.inference_mode():
        logits = model(torch.tensor([[*request.prompt_ids, common]])).logits[0]
    assert chi_square(of_transformers(logits[-2:-1], wanted)[0], first) > 0.01
    assert len(second) > 100
    assert chi_square(of_transformers(logits[-1:], wanted)[0], second) > 0.01


@settings(max_examples=10)
@given(
    batch_size=st.integers(1, 40),
    numbers=st.lists(st.sampled_from(sorted(RESTS)), min_size=1, unique=True),
    dtype=st.sampled_from([torch.float32, torch.bfloat16]),
    wanted=st.sampled_from([SETTINGS, GREEDY]),
)
def test_a_text_with_a_prompt_of_its_own_depends_on_no_other(
    tiny_model: Path,
    model: PreTrainedModel,
    batch_size: int,
    numbers: list[int],
    dtype: torch.dtype,
    wanted: SamplingSettings,
) -> None:
    cast = model if dtype is torch.float32 else load_model(str(tiny_model), dtype=dtype)
    own = {number: RESTS[number] for number in numbers}
    request = request_of(tiny_model, rests=own, settings=wanted, batch_size=batch_size)
    texts = by_number(loop.grow(cast, request, numbers))
    assert set(texts) == set(numbers)
    undisturbed = request_of(tiny_model, rests=RESTS, settings=wanted, batch_size=60)
    others = by_number(loop.grow(cast, undisturbed, sorted(RESTS)))
    assert all(texts[number] == others[number] for number in numbers)


@pytest.mark.parametrize("shared", ["<s>user\nWrite", "<s>", ""])
def test_greedy_texts_are_those_of_transformers(
    tiny_model: Path, model: PreTrainedModel, shared: str
) -> None:
    whole = {number: f"<s>user\nWrite{rest}" for number, rest in RESTS.items()}
    rests = {number: prompt.removeprefix(shared) for number, prompt in whole.items()}
    request = request_of(tiny_model, prompt=shared, rests=rests, settings=GREEDY, closing=[])
    texts = by_number(loop.grow(model, request, sorted(rests)))
    model.set_attn_implementation("sdpa")
    for number in range(0, 30, 3):
        prompt = torch.tensor([request.ids_of(number)])
        written = model.generate(
            prompt, attention_mask=torch.ones_like(prompt), do_sample=False,
            max_new_tokens=GREEDY.max_new_tokens, eos_token_id=sorted(request.end_ids),
        )  # fmt: skip
        expected = request.sample(number, 0, written[0, prompt.shape[1] :].tolist())
        for same in range(number, number + 3):
            assert (texts[same].text, texts[same].tokens) == (expected.text, expected.tokens)


def test_a_prompt_that_does_not_begin_with_what_is_shared_is_read_whole(
    tiny_model: Path, model: PreTrainedModel
) -> None:
    request = request_of(tiny_model, rests=RESTS, settings=GREEDY)
    expected = by_number(loop.grow(model, request, sorted(RESTS)))
    odd = request_of(tiny_model, rests=RESTS, settings=GREEDY)
    vars(odd)["shared_ids"] = [*request.shared_ids, 299]
    assert by_number(loop.grow(model, odd, sorted(RESTS))) == expected


def test_a_prompt_that_several_texts_share_is_read_once(
    tiny_model: Path, model: PreTrainedModel, monkeypatch: pytest.MonkeyPatch
) -> None:
    read: list[int] = []
    whole = Slots._forward

    def counted(slots: Slots, tokens: list[int], places: torch.Tensor) -> torch.Tensor:
        read.append(len(tokens))
        return whole(slots, tokens, places)

    monkeypatch.setattr(Slots, "_forward", counted)
    request = request_of(tiny_model, rests=RESTS)
    by_number(loop.grow(model, request, sorted(RESTS)))
    # What is shared, and ten other prompts.
    assert read[0] == len(request.shared_ids) and len(read) == 11
