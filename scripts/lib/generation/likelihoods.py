"""How likely a model finds given replies: the other way to ask it a question with options."""

from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from transformers import PreTrainedModel


@dataclass(frozen=True)
class Likelihoods:
    """The log-likelihoods of the replies to a prompt, in their order; `number` names the prompt."""

    number: int
    values: list[float]


def log_likelihoods(
    model: "PreTrainedModel", prompt: list[int], replies: list[list[int]]
) -> list[float]:
    """The logarithm of each reply's probability behind a prompt, summed over its tokens.

    The prompt is read once, then all replies side by side; no other prompt is read with them, so
    that none changes the numbers.
    """
    import torch

    longest = max(len(reply) for reply in replies)
    # What stands behind a shorter reply is seen by none of its tokens.
    padded = [reply + [0] * (longest - len(reply)) for reply in replies]
    with torch.inference_mode():
        start = model(
            input_ids=torch.tensor([prompt], device=model.device), use_cache=True, logits_to_keep=1
        )
        cache = start.past_key_values
        cache.batch_repeat_interleave(len(replies))
        tokens = torch.tensor(padded, device=model.device)
        further = model(input_ids=tokens, past_key_values=cache, use_cache=True).logits
        first = start.logits.expand(len(replies), -1, -1)
        logits = torch.cat([first, further[:, :-1]], dim=1).float()
        found = logits.log_softmax(-1).gather(-1, tokens[:, :, None])[:, :, 0].double()
    return [float(row[: len(reply)].sum()) for row, reply in zip(found, replies, strict=True)]
