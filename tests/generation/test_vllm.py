"""The engine `vllm`: what is asked of vLLM, against its own signatures and against a stand-in."""

import dataclasses
import inspect
import json
import os
import sys
from pathlib import Path
from types import ModuleType, SimpleNamespace
from typing import Literal

import pytest

from scripts.lib.errors import UserError
from scripts.lib.generation import vllm as engine
from scripts.lib.generation.request import Request, Sample, SamplingSettings, text_seed
from scripts.lib.models import load_tokenizer

BATCH = 4
NUMBERS = [3, 4, 5, 9, 10, 11, 12]


@pytest.fixture
def request_(tiny_model: Path) -> Request:
    return Request(
        model=str(tiny_model),
        tokenizer=load_tokenizer(str(tiny_model)),
        prompt="Task: Write",
        closing=["ea", "</s>"],
        settings=SamplingSettings(temperature=0.9, top_k=50, top_p=0.95, max_new_tokens=30),
        seed=42,
        shard=1,
        batch_size=BATCH,
    )


class StandIn:
    """A module `vllm` that records what it is asked and ends its requests in reverse."""

    def __init__(self, tokenizer) -> None:
        self.tokenizer = tokenizer
        self.options: dict = {}
        self.made = 0
        self.requests: list[SimpleNamespace] = []
        self.loras: list = []
        self.waiting: list[SimpleNamespace] = []
        self.reason = "stop"
        self.lost = 0

    def LLM(self, **options: object) -> SimpleNamespace:
        self.options = options
        self.made += 1
        return SimpleNamespace(llm_engine=self)

    def add_request(self, name: str, prompt: dict, params: dict, lora_request: object) -> None:
        self.requests.append(SimpleNamespace(name=name, prompt=prompt, params=params))
        self.loras.append(lora_request)
        self.waiting.append(self.requests[-1])

    def has_unfinished_requests(self) -> bool:
        return len(self.waiting) > self.lost

    def step(self) -> list[SimpleNamespace]:
        if len(self.waiting) % 2:
            going_on = self.waiting.pop()
            return [self.output(going_on, finished=True)]
        ended = [self.output(self.waiting.pop(), finished=True)]
        return [self.output(self.waiting[0], finished=False), *ended]

    def output(self, request: SimpleNamespace, finished: bool) -> SimpleNamespace:
        ids = self.tokenizer(f"text {request.name} ea more", add_special_tokens=False)["input_ids"]
        text = SimpleNamespace(token_ids=tuple(ids), finish_reason=self.reason)
        return SimpleNamespace(request_id=request.name, finished=finished, outputs=[text])


@pytest.fixture
def stand_in(request_: Request, monkeypatch: pytest.MonkeyPatch) -> StandIn:
    """vLLM's modules, as far as the engine uses them, and a GPU."""
    import torch

    stand_in = StandIn(request_.tokenizer)
    modules = {
        "vllm": {
            "LLM": stand_in.LLM,
            "TokensPrompt": dict,
            "SamplingParams": dict,
        },
        "vllm.lora": {},
        "vllm.lora.request": {"LoRARequest": lambda *arguments: arguments},
        "vllm.sampling_params": {"RequestOutputKind": SimpleNamespace(FINAL_ONLY="final")},
        "vllm.config": {},
        "vllm.config.lora": {"MaxLoRARanks": Literal[1, 8, 16, 32]},
    }
    for name, values in modules.items():
        module = ModuleType(name)
        vars(module).update(values)
        monkeypatch.setitem(sys.modules, name, module)
    for name in engine.SETTINGS:
        # Set first, so that what the engine sets is taken back after the test.
        monkeypatch.setenv(name, "")
        monkeypatch.delenv(name)
    monkeypatch.setattr(engine, "_engines", {})
    monkeypatch.setattr(engine, "device_and_dtype", lambda: ("cuda", torch.bfloat16))
    return stand_in


def texts(groups) -> dict[int, Sample]:
    return {sample.number: sample for group in groups for sample in group}


def test_each_text_is_a_request_with_its_own_seed(stand_in: StandIn, request_: Request) -> None:
    groups = list(engine.sample(request_, NUMBERS))
    assert len(groups) > 1
    sampled = texts(groups)
    assert sorted(sampled) == NUMBERS
    for asked in stand_in.requests:
        number = int(asked.name)
        assert asked.params["seed"] == sampled[number].seed == text_seed(42, 1, number)
        assert asked.prompt == {"prompt_token_ids": request_.prompt_ids}
        # What comes behind the closing mark is cut off.
        assert sampled[number].text == f"text {number} "
        assert sampled[number].finished


def test_what_vllm_is_asked_for(stand_in: StandIn, request_: Request) -> None:
    texts(engine.sample(request_, NUMBERS))
    assert stand_in.options == {
        "model": request_.model,
        "tokenizer": request_.model,
        "dtype": "bfloat16",
        "max_num_seqs": BATCH,
        "max_model_len": len(request_.prompt_ids) + 30,
        "generation_config": "vllm",
    }
    assert {**stand_in.requests[0].params, "seed": 0} == {
        "temperature": 0.9,
        "top_k": 50,
        "top_p": 0.95,
        "max_tokens": 30,
        "seed": 0,
        "stop": ["ea", "</s>"],
        "stop_token_ids": sorted(request_.end_ids),
        "ignore_eos": True,
        "output_kind": "final",
    }
    assert set(stand_in.loras) == {None}
    assert os.environ["VLLM_ENABLE_V1_MULTIPROCESSING"] == "0"


def test_each_text_may_have_a_prompt_of_its_own(stand_in: StandIn, request_: Request) -> None:
    rests = {number: " a list" * number for number in NUMBERS}
    greedy = SamplingSettings(temperature=0.0, top_k=50, top_p=0.95, max_new_tokens=30)
    own = dataclasses.replace(request_, rests=rests, settings=greedy)
    texts(engine.sample(own, NUMBERS))
    for asked in stand_in.requests:
        ids = own.tokenizer("Task: Write" + rests[int(asked.name)], add_special_tokens=False)
        assert asked.prompt == {"prompt_token_ids": ids["input_ids"]}
        assert (asked.params["temperature"], asked.params["top_k"]) == (0.0, 0)
        assert asked.params["top_p"] == 1.0
    assert stand_in.options["max_model_len"] == len(own.ids_of(12)) + 30


def test_one_engine_serves_greedy_and_sampled_texts(stand_in: StandIn, request_: Request) -> None:
    rests = {number: " a list" * number for number in NUMBERS}
    sampled = dataclasses.replace(request_, rests=rests)
    greedy = dataclasses.replace(
        sampled, settings=SamplingSettings(0.0, 0, 1.0, 30), seed=0, rests=dict(rests)
    )
    # The greedy text with the longest prompt is there from an earlier run.
    assert sorted(texts(engine.sample(greedy, NUMBERS[:-1]))) == NUMBERS[:-1]
    assert sorted(texts(engine.sample(sampled, NUMBERS))) == NUMBERS
    assert stand_in.made == 1
    assert stand_in.options["max_model_len"] == sampled.length_of(NUMBERS)
    assert {asked.params["temperature"] for asked in stand_in.requests[:6]} == {0.0}
    assert {asked.params["temperature"] for asked in stand_in.requests[6:]} == {0.9}


@pytest.mark.parametrize(("rank", "room"), [(1, 1), (4, 8), (32, 32)])
def test_an_adapter_stays_beside_its_base_model(
    stand_in: StandIn, request_: Request, tmp_path: Path, rank: int, room: int
) -> None:
    adapter = {"base_model_name_or_path": "some/base", "r": rank}
    (tmp_path / "adapter_config.json").write_text(json.dumps(adapter))
    texts(engine.sample(dataclasses.replace(request_, model=str(tmp_path)), NUMBERS))
    assert stand_in.options["model"] == "some/base"
    assert stand_in.options["tokenizer"] == str(tmp_path)
    assert stand_in.options["enable_lora"] is True
    assert stand_in.options["max_lora_rank"] == room
    assert set(stand_in.loras) == {("generator", 1, str(tmp_path))}


def test_an_adapter_of_too_high_a_rank_is_one_line(
    stand_in: StandIn, request_: Request, tmp_path: Path
) -> None:
    adapter = {"base_model_name_or_path": "some/base", "r": 64}
    (tmp_path / "adapter_config.json").write_text(json.dumps(adapter))
    with pytest.raises(UserError, match="knows no adapter of rank 64"):
        texts(engine.sample(dataclasses.replace(request_, model=str(tmp_path)), NUMBERS))


def test_a_text_that_fails_is_one_line(stand_in: StandIn, request_: Request) -> None:
    stand_in.reason = "error"
    with pytest.raises(UserError, match=r"a text failed \(error\)"):
        texts(engine.sample(request_, NUMBERS))


def test_texts_that_do_not_come_back_are_counted(stand_in: StandIn, request_: Request) -> None:
    stand_in.lost = 2
    kept: list[Sample] = []
    with pytest.raises(UserError, match="2 texts did not come back"):
        for group in engine.sample(request_, NUMBERS):
            kept.extend(group)
    assert len(kept) == len(NUMBERS) - 2


def test_without_vllm_or_a_gpu_it_is_one_line(
    stand_in: StandIn, request_: Request, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(engine, "device_and_dtype", lambda: ("cpu", None))
    with pytest.raises(UserError, match="sampling.engine vllm: needs a GPU"):
        texts(engine.sample(request_, NUMBERS))
    monkeypatch.setitem(sys.modules, "vllm", None)
    with pytest.raises(UserError, match="not installed here .*: use envs/vllm.yaml"):
        texts(engine.sample(request_, NUMBERS))


def test_the_arguments_are_those_of_the_installed_vllm(request_: Request) -> None:
    vllm = pytest.importorskip("vllm")
    from vllm.engine.arg_utils import EngineArgs
    from vllm.lora.request import LoRARequest

    adapter = {"base_model_name_or_path": "some/base", "r": 16}
    known = {
        *inspect.signature(vllm.LLM.__init__).parameters,
        *(field.name for field in dataclasses.fields(EngineArgs)),
    }
    assert engine._engine_options(request_, NUMBERS, adapter, "bfloat16").keys() <= known
    params = engine._sampling_params(request_, seed=text_seed(42, 1, 3))
    assert params.seed == text_seed(42, 1, 3)
    assert params.n == 1
    LoRARequest("generator", 1, "/somewhere")
    parameters = inspect.signature(vllm.LLMEngine.add_request).parameters
    assert list(parameters)[1:4] == ["request_id", "prompt", "params"]
    assert "lora_request" in parameters
    assert {"request_id", "outputs", "finished"} <= inspect.signature(
        vllm.RequestOutput
    ).parameters.keys()
    outputs = {field.name for field in dataclasses.fields(vllm.CompletionOutput)}
    assert {"token_ids", "finish_reason"} <= outputs
    assert inspect.isfunction(vllm.LLMEngine.step)
    assert inspect.isfunction(vllm.LLMEngine.has_unfinished_requests)
