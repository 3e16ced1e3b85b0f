"""Rows laid end to end, without padding, in a way that none of them sees another.

A packed batch is one row whose positions start anew with each sample. The models of transformers
then make a block-diagonal mask of the square of its length; attention within each sample by itself
does the same work without a mask and without what the mask hides.
"""

from typing import TYPE_CHECKING, Any

from scripts.lib.errors import UserError
from scripts.lib.training.batches import MicroBatch
from scripts.lib.training.examples import Row

if TYPE_CHECKING:
    import torch
    from transformers import PreTrainedModel

ATTENTION = "attention_within_samples"
# Kinds of layers that see other positions through attention only.
ATTENTION_LAYERS = {"full_attention", "sliding_attention"}
# A process whose share of a step is empty reads this, and learns nothing of it.
FILLER = Row(tokens=[0], start=1)


def attention_within_samples(
    module: "torch.nn.Module",
    query: "torch.Tensor",
    key: "torch.Tensor",
    value: "torch.Tensor",
    attention_mask: None,
    *,
    sample_lengths: list[int] | None = None,
    sliding_window: int | None = None,
    **options: Any,
) -> tuple["torch.Tensor", None]:
    """Causal attention of a packed row, an attention function of transformers.

    `query`, `key` and `value` have the shape (1, heads, tokens, head size); fewer heads of keys
    and values than of queries are grouped. `sample_lengths` are the tokens of each sample. Returns
    a tensor of shape (1, tokens, heads, head size).
    """
    import torch
    from transformers.integrations.sdpa_attention import sdpa_attention_forward

    if sample_lengths is None:
        raise UserError(
            "this model does not pass on to its attention what keeps packed samples apart, and so "
            "cannot be trained here: name another model in config.yaml"
        )
    outputs = []
    # Slices would cost a whole tensor of zeros each in the backward pass.
    parts = (tensor.split(sample_lengths, dim=2) for tensor in (query, key, value))
    for length, one_query, one_key, one_value in zip(sample_lengths, *parts, strict=True):
        mask = None
        if sliding_window is not None and length > sliding_window:
            everything = query.new_ones(length, length, dtype=torch.bool)
            mask = everything.tril().triu(1 - sliding_window)[None, None]
        output, _ = sdpa_attention_forward(module, one_query, one_key, one_value, mask, **options)
        outputs.append(output)
    return torch.cat(outputs, dim=1), None


def attention_for(model: "PreTrainedModel", device: str) -> str | None:
    """The attention function with which rows can be packed, `None` where they have to be padded.

    That is the case for models with layers of another kind (a state space model would carry one
    sample's state into the next) or with attention of their own making.
    """
    from transformers import AttentionInterface
    from transformers.utils import is_flash_attn_2_available

    config = model.config.get_text_config()
    within_samples = (
        model._supports_attention_backend
        and not model._is_stateful
        and set(getattr(config, "layer_types", None) or ()) <= ATTENTION_LAYERS
        and getattr(config, "attn_logit_softcapping", None) is None
    )
    if not within_samples:
        return None
    if device == "cuda" and model._supports_flash_attn and is_flash_attn_2_available():
        return "flash_attention_2"
    if not model._supports_sdpa:
        return None
    # Without a mask function of the same name, transformers makes no mask at all.
    AttentionInterface.register(ATTENTION, attention_within_samples)
    return ATTENTION


def _kept_and_targets(rows: list[Row], width: int | None) -> tuple["torch.Tensor", "torch.Tensor"]:
    """Positions, in the rows laid end to end or padded to `width`, whose next token is learnt."""
    import torch

    kept, targets, begin = [], [], 0
    for row in rows:
        first = max(1, row.start)
        kept += range(begin + first - 1, begin + len(row.tokens) - 1)
        targets += row.tokens[first:]
        begin += width or len(row.tokens)
    return torch.tensor(kept, dtype=torch.long), torch.tensor(targets, dtype=torch.long)


def packed(batch: MicroBatch) -> dict[str, Any]:
    """One row of all samples, with what attention functions need to keep them apart.

    `kept` are the positions whose next tokens, `targets`, are learnt.
    """
    import torch

    rows = batch.rows or [FILLER]
    lengths = [len(row.tokens) for row in rows]
    ends = torch.tensor([0, *lengths]).cumsum(0).to(torch.int32)
    kept, targets = _kept_and_targets(rows, width=None)
    return {
        "input_ids": torch.tensor([[token for row in rows for token in row.tokens]]),
        "position_ids": torch.cat([torch.arange(length) for length in lengths])[None],
        "sample_lengths": lengths,
        # What flash attention wants to know of the samples.
        "cu_seq_lens_q": ends,
        "cu_seq_lens_k": ends,
        "max_length_q": max(lengths),
        "max_length_k": max(lengths),
        "kept": kept,
        "targets": targets,
        "step_tokens": batch.step_tokens,
    }


def padded(batch: MicroBatch) -> dict[str, Any]:
    """A row for each sample, padded on the right; `kept` counts through the rows one by one."""
    import torch

    rows = batch.rows or [FILLER]
    width = max(len(row.tokens) for row in rows)
    kept, targets = _kept_and_targets(rows, width)
    return {
        # The token does not matter: nothing sees it, and nothing of it is learnt.
        "input_ids": torch.tensor([row.tokens + [0] * (width - len(row.tokens)) for row in rows]),
        "attention_mask": torch.tensor(
            [[1] * len(row.tokens) + [0] * (width - len(row.tokens)) for row in rows]
        ),
        "kept": kept,
        "targets": targets,
        "step_tokens": batch.step_tokens,
    }
