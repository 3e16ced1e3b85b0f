"""The engine `paged`: transformers' continuous batching, for a GPU.

A prompt is read once for each `GROUP` of its texts, and a text that ends makes room for the next.
Each text draws with uniform numbers of its own (paged_draws.py), the same as in the engine `loop`,
so that neither the batch nor a resumed run changes a text beyond what rounding does.

Without flash attention every text attends, masked, to the cache of all: install `flash-attn`, or
take the engine `vllm`.
"""

import math
from collections.abc import Iterator, Sequence
from itertools import groupby
from typing import TYPE_CHECKING, Any

from scripts.lib.errors import UserError
from scripts.lib.generation.request import Request, Sample, text_seed
from scripts.lib.models import load_tuned_model, quiet_libraries

if TYPE_CHECKING:
    from transformers import ContinuousBatchingConfig, GenerationConfig, PreTrainedModel
    from transformers.generation.continuous_batching import ContinuousBatchingManager

# Texts that share one reading of the prompt. Up to so many more than `batch_size` hold a cache.
GROUP = 16


def sample(request: Request, numbers: Sequence[int]) -> Iterator[list[Sample]]:
    """Sample the texts of these numbers of a shard; yields them as they end.

    Raises `UserError` where a text fails or does not come back.
    """
    quiet_libraries()
    yield from sample_with(load_tuned_model(request.model), request, numbers)


def sample_with(
    model: "PreTrainedModel", request: Request, numbers: Sequence[int]
) -> Iterator[list[Sample]]:
    """`sample` with a model that is loaded."""
    from scripts.lib.generation.paged_draws import with_own_draws

    request.check_length(model.config, numbers)
    _check_attention(model, request.ids_of(numbers[0]))
    groups = _groups(request, numbers)
    names = {name: number for at, group in enumerate(groups) for name, number in _named(at, group)}
    seeds = {number: text_seed(request.seed, request.shard, number) for number in numbers}
    config = _generation_config(request)
    manager = model.init_continuous_batching(config, _batching_config(model, request, numbers))
    manager.logit_processor = with_own_draws(
        manager.logit_processor.logits_processor,
        request,
        {name: (number, seeds[number]) for name, number in names.items()},
    )
    # The filters above were made for sampling; what is left to do is to take the token drawn.
    config.do_sample = False
    for at, group in enumerate(groups):
        manager.num_return_sequences = len(group)
        manager.add_request(request.ids_of(group[0]), request_id=str(at))
    if model.device.type == "cuda":
        manager.warmup()
    manager.start()
    try:
        while names:
            yield [
                request.sample(number := names.pop(name), seeds[number], ids)
                for name, ids in _ended(manager)
            ]
    finally:
        manager.stop(hard_stop=True)
        manager.destroy()


def _groups(request: Request, numbers: Sequence[int]) -> list[list[int]]:
    """Texts of the same prompt, at most `GROUP` together."""
    groups = []
    for prompt, found in groupby(numbers, request.ids_of):
        same = list(found)
        # A prompt of one token cannot be read but for its last token, which is how a group begins.
        size = GROUP if len(prompt) > 1 else 1
        groups += [same[at : at + size] for at in range(0, len(same), size)]
    return groups


def _check_attention(model: "PreTrainedModel", prompt: list[int]) -> None:
    """Refuse a model that continuous batching would get wrong without a word.

    Its cache knows layers that attend once, through transformers' attention interface.
    """
    import torch
    from transformers import AttentionInterface

    seen: list[int] = []

    def counted(module: Any, query: Any, key: Any, value: Any, *_: Any, **__: Any) -> Any:
        seen.append(module.layer_idx)
        rows, heads, tokens, _ = query.shape
        return value.new_zeros(rows, tokens, heads, value.shape[-1]), None

    if model._supports_attention_backend:
        own = model.config._attn_implementation
        AttentionInterface.register("counted", counted)
        model.set_attn_implementation("counted")
        with torch.inference_mode():
            model(input_ids=torch.tensor([prompt], device=model.device), use_cache=False)
        model.set_attn_implementation(own)
    if sorted(seen) != list(range(model.config.get_text_config().num_hidden_layers)):
        raise UserError(
            f"the engine 'paged' cannot sample from this {type(model).__name__}: its layers do "
            "more than to attend once, or else: set 'sampling.engine' in config.yaml to vllm"
        )


def _named(at: int, group: list[int]) -> Iterator[tuple[str, int]]:
    """The names that continuous batching gives the texts of a group: children, then the parent."""
    for child, number in enumerate(group[:-1]):
        yield f"{at}__child#{child}", number
    yield str(at), group[-1]


def _ended(manager: "ContinuousBatchingManager") -> list[tuple[str, list[int]]]:
    """Wait for texts that have ended; their names and tokens."""
    ended = []
    while result := manager.get_result(timeout=0 if ended else 1):
        if result.error is not None:
            raise UserError(
                f"sampling.engine paged: a text failed, those that ended are kept: {result.error}"
            )
        if result.is_finished():
            ended.append((result.request_id, result.generated_tokens))
    if not ended and not manager.is_running():
        raise UserError(
            "sampling.engine paged: it stopped before all texts were there: run the same command "
            "again, those that ended are kept"
        )
    return ended


def _generation_config(request: Request) -> "GenerationConfig":
    """How tokens are filtered: none of the model's own settings, which may hold penalties."""
    from transformers import GenerationConfig

    settings = request.settings
    filters: dict[str, Any] = {"do_sample": False}
    if settings.temperature:
        filters = {
            "do_sample": True,
            "temperature": settings.temperature,
            "top_k": settings.top_k,
            "top_p": settings.top_p,
        }
    return GenerationConfig(
        **filters,
        max_new_tokens=settings.max_new_tokens,
        eos_token_id=sorted(request.end_ids) or None,
    )


def _batching_config(
    model: "PreTrainedModel", request: Request, numbers: Sequence[int]
) -> "ContinuousBatchingConfig":
    """How many texts at a time, and how large a cache: on a GPU, what its memory holds."""
    from transformers import ContinuousBatchingConfig

    config = ContinuousBatchingConfig(
        max_requests_per_batch=request.batch_size,
        # The prompt fills no page, so that there is nothing to be shared but what a group copies.
        allow_block_sharing=False,
    )
    if model.device.type != "cuda":
        length = request.length_of(numbers)
        config.max_batch_tokens = request.batch_size + length - request.settings.max_new_tokens
        # One page more for each text than it fills, as the scheduler keeps some free.
        config.num_blocks = (request.batch_size + GROUP) * (
            math.ceil(length / config.page_size) + 1
        )
    return config
