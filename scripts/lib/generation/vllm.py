"""The engine `vllm`, for a GPU, in an environment of its own (envs/vllm.yaml).

Each text is a request with a seed of its own; its tokens depend on no other text beyond what
rounding does. vLLM refills its batch, reads the prompt once, and stops at the closing marks.
"""

import json
import os
from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING, Any, get_args

from scripts.lib.errors import UserError
from scripts.lib.generation.request import Request, Sample, text_seed
from scripts.lib.models import adapter_settings, device_and_dtype

if TYPE_CHECKING:
    from vllm import LLM, SamplingParams

# Read by vLLM when it is imported.
SETTINGS = {
    # The engine lives in this process, which holds the claim on the GPU: no other outlives it.
    "VLLM_ENABLE_V1_MULTIPROCESSING": "0",
    "VLLM_LOGGING_LEVEL": "WARNING",
    "VLLM_NO_USAGE_STATS": "1",
}
ENDED_WELL = ("stop", "length")

# This process's engine by its options. It does not give its memory back when it is deleted
# (vllm-project/vllm, issue 21073), so that one serves all requests of a step.
_engines: dict[str, "LLM"] = {}


def sample(request: Request, numbers: Sequence[int]) -> Iterator[list[Sample]]:
    """Sample the texts of these numbers of a shard; yields them as they end.

    Raises `UserError` where vLLM or a GPU is missing, or a text fails or does not come back.
    """
    for name, value in SETTINGS.items():
        os.environ.setdefault(name, value)
    try:
        import vllm
        from vllm.lora.request import LoRARequest
    except ImportError as error:
        raise UserError(
            f"sampling.engine vllm: is not installed here ({error}): use envs/vllm.yaml (snakemake "
            "--sdm conda), or choose another sampling.engine"
        ) from error
    device, dtype = device_and_dtype()
    if device != "cuda":
        raise UserError("sampling.engine vllm: needs a GPU: choose auto or loop on this machine")
    adapter = adapter_settings(request.model)
    precision = str(dtype).removeprefix("torch.")
    llm = _engine(_engine_options(request, numbers, adapter, precision))
    lora = LoRARequest("generator", 1, request.model) if adapter else None
    seeds = {number: text_seed(request.seed, request.shard, number) for number in numbers}
    for number, seed in seeds.items():
        llm.llm_engine.add_request(
            str(number),
            vllm.TokensPrompt(prompt_token_ids=request.ids_of(number)),
            _sampling_params(request, seed),
            lora_request=lora,
        )
    yield from _ended(llm, request, seeds)


def _engine(options: dict[str, Any]) -> "LLM":
    """The engine with these options, made once."""
    from vllm import LLM

    name = json.dumps(options, sort_keys=True)
    if name not in _engines:
        _engines[name] = LLM(**options)
    return _engines[name]


def _ended(llm: "LLM", request: Request, seeds: dict[int, int]) -> Iterator[list[Sample]]:
    """Let the engine work until it is done; the texts that each step ends."""
    missing = set(seeds)
    while llm.llm_engine.has_unfinished_requests():
        samples = []
        for output in llm.llm_engine.step():
            if not output.finished:
                continue
            (text,) = output.outputs
            if text.finish_reason not in ENDED_WELL:
                raise UserError(
                    f"sampling.engine vllm: a text failed ({text.finish_reason}): run the same "
                    "command again, those that ended are kept"
                )
            number = int(output.request_id)
            missing.remove(number)
            samples.append(request.sample(number, seeds[number], list(text.token_ids)))
        if samples:
            yield samples
    if missing:
        raise UserError(
            f"sampling.engine vllm: {len(missing)} texts did not come back: run the same command "
            "again, those that ended are kept"
        )


def _engine_options(
    request: Request, numbers: Sequence[int], adapter: dict[str, Any] | None, dtype: str
) -> dict[str, Any]:
    """The arguments of `LLM`, the same whichever of the request's texts are still missing.

    An adapter stays beside its base model, as merged weights would have to be written to disk for
    each shard.
    """
    options = {
        "model": adapter["base_model_name_or_path"] if adapter else request.model,
        "tokenizer": request.model,
        "dtype": dtype,
        "max_num_seqs": request.batch_size,
        "max_model_len": request.length_of(request.rests or numbers),
        # Not the model's own settings, which may hold penalties.
        "generation_config": "vllm",
    }
    if adapter:
        options |= {"enable_lora": True, "max_lora_rank": _rank_for(adapter["r"])}
    return options


def _rank_for(rank: int) -> int:
    """The smallest rank that vLLM makes room for and that holds the adapter's."""
    from vllm.config.lora import MaxLoRARanks

    ranks = [known for known in get_args(MaxLoRARanks) if known >= rank]
    if not ranks:
        raise UserError(
            f"sampling.engine vllm: knows no adapter of rank {rank}: choose paged, or a smaller "
            "rank in generator.training"
        )
    return min(ranks)


def _sampling_params(request: Request, seed: int) -> "SamplingParams":
    from vllm import SamplingParams
    from vllm.sampling_params import RequestOutputKind

    settings = request.settings
    greedy = settings.temperature == 0
    return SamplingParams(
        temperature=settings.temperature,
        top_k=0 if greedy else settings.top_k,
        top_p=1.0 if greedy else settings.top_p,
        max_tokens=settings.max_new_tokens,
        seed=seed,
        stop=request.closing,
        # These and no others that the model's generation config names.
        stop_token_ids=sorted(request.end_ids),
        ignore_eos=True,
        output_kind=RequestOutputKind.FINAL_ONLY,
    )
