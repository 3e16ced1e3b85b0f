"""The engine `paged` runs transformers' continuous batching and writes the texts of `loop`."""

import copy
import dataclasses
from pathlib import Path

import pytest
from transformers import AutoConfig, AutoModelForCausalLM

from scripts.lib.errors import UserError
from scripts.lib.generation import loop, paged
from scripts.lib.generation.request import Request, Sample, SamplingSettings
from scripts.lib.models import load_model, load_tokenizer
from tests.generation.sampling import GREEDY, RESTS, by_number

NUMBERS = list(range(3, 40))


@pytest.fixture(scope="module")
def model(tiny_model: Path):
    import torch

    # In float32 two ways to the same logits differ too little to change a token.
    return load_model(str(tiny_model), dtype=torch.float32)


@pytest.fixture(scope="module")
def in_loop(model):
    """The texts that the engine `loop` samples; it sets its own attention in its model."""
    own = copy.deepcopy(model)
    return lambda request, numbers: by_number(loop.grow(own, request, numbers))


@pytest.fixture(scope="module")
def request_(tiny_model: Path) -> Request:
    return Request(
        model=str(tiny_model),
        tokenizer=load_tokenizer(str(tiny_model)),
        prompt="Task: Write",
        closing=["ea", "\n", "</s>"],
        settings=SamplingSettings(temperature=0.9, top_k=50, top_p=0.95, max_new_tokens=30),
        seed=42,
        shard=1,
        batch_size=8,
    )


@pytest.fixture(scope="module")
def expected(in_loop, request_: Request) -> dict[int, Sample]:
    return in_loop(request_, NUMBERS)


def without_tokens(samples: dict[int, Sample]) -> dict[int, tuple]:
    return {
        number: (sample.seed, sample.text, sample.finished) for number, sample in samples.items()
    }


@pytest.mark.parametrize("batch_size", [1, 8, 64])
def test_the_texts_are_those_of_the_loop(model, request_, expected, batch_size: int) -> None:
    sampled = by_number(
        paged.sample_with(model, dataclasses.replace(request_, batch_size=batch_size), NUMBERS)
    )
    assert sorted(sampled) == NUMBERS
    assert without_tokens(sampled) == without_tokens(expected)
    assert 0 < sum(sample.finished for sample in sampled.values()) < len(NUMBERS)


def test_missing_texts_are_sampled_as_they_would_have_been(model, request_, expected) -> None:
    missing = NUMBERS[5::7]
    sampled = by_number(paged.sample_with(model, request_, missing))
    assert without_tokens(sampled) == without_tokens({at: expected[at] for at in missing})


def test_all_filters_off(model, in_loop, request_) -> None:
    open_ = dataclasses.replace(request_, settings=SamplingSettings(1.0, 0, 1.0, 12))
    sampled = by_number(paged.sample_with(model, open_, NUMBERS))
    assert without_tokens(sampled) == without_tokens(in_loop(open_, NUMBERS))


def test_a_prompt_of_one_token(model, in_loop, request_) -> None:
    short = dataclasses.replace(request_, prompt="T")
    assert len(short.prompt_ids) == 1
    sampled = by_number(paged.sample_with(model, short, NUMBERS))
    assert without_tokens(sampled) == without_tokens(in_loop(short, NUMBERS))


@pytest.mark.parametrize("greedy", [False, True])
def test_texts_with_prompts_of_their_own(model, in_loop, request_, greedy: bool) -> None:
    own = dataclasses.replace(request_, rests=RESTS)
    if greedy:
        own = dataclasses.replace(own, settings=GREEDY)
    numbers = sorted(RESTS)
    sampled = by_number(paged.sample_with(model, own, numbers))
    assert without_tokens(sampled) == without_tokens(in_loop(own, numbers))


def test_the_settings_of_the_model_do_not_leak_in(
    model, request_, expected, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(model.generation_config, "repetition_penalty", 9.0)
    monkeypatch.setattr(model.generation_config, "min_p", 0.5)
    assert without_tokens(by_number(paged.sample_with(model, request_, NUMBERS))) == without_tokens(
        expected
    )


def test_a_text_stops_behind_its_closing_mark(model, request_, expected) -> None:
    sampled = by_number(paged.sample_with(model, request_, NUMBERS))
    # Not where the token limit would have stopped it.
    assert {at: sample.tokens for at, sample in sampled.items()} == {
        at: sample.tokens for at, sample in expected.items()
    }
    assert any(
        sample.finished and sample.tokens < request_.settings.max_new_tokens - 5
        for sample in sampled.values()
    )


def test_yields_while_others_go_on(model, request_) -> None:
    groups = list(paged.sample_with(model, request_, NUMBERS))
    assert len([group for group in groups if group]) > 1


def test_a_text_that_fails_is_one_line(model, request_, monkeypatch: pytest.MonkeyPatch) -> None:
    def out_of_memory(*_: object, **__: object) -> None:
        raise RuntimeError("out of memory")

    monkeypatch.setattr(paged, "_check_attention", lambda *_: None)
    monkeypatch.setattr(model, "forward", out_of_memory)
    with pytest.raises(UserError, match="a text failed, those that ended are kept: out of memory"):
        by_number(paged.sample_with(model, request_, NUMBERS))


@pytest.mark.parametrize("kind", ["gptj", "diffllama", "mamba"])
def test_a_model_that_it_would_get_wrong_is_refused(kind: str) -> None:
    config = AutoConfig.for_model(
        kind, vocab_size=300, hidden_size=32, num_hidden_layers=2, num_attention_heads=4,
        num_key_value_heads=2, rotary_dim=4,
    )  # fmt: skip
    with pytest.raises(UserError, match="'paged' cannot sample from this .* to vllm"):
        paged._check_attention(AutoModelForCausalLM.from_config(config), [1, 2, 3])


def test_texts_that_do_not_come_back_are_noticed() -> None:
    class Stopped:
        def get_result(self, timeout: float) -> None:
            return None

        def is_running(self) -> bool:
            return False

    with pytest.raises(UserError, match="stopped before all texts were there"):
        paged._ended(Stopped())


def test_loads_what_train_wrote(request_) -> None:
    assert sorted(by_number(paged.sample(request_, [0, 1]))) == [0, 1]
