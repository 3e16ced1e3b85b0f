"""Drawing the next token of many texts: temperature, top-k and top-p, then one uniform number each.

The distribution is that of transformers' `TemperatureLogitsWarper`, `TopKLogitsWarper` and
`TopPLogitsWarper`, in this order. What differs is the work: those fill, normalise and draw over the
whole vocabulary, here that is done with the candidates that top-k leaves.

Each text draws by inversion with uniform numbers of its own, which depend on its seed alone. Tokens
are laid out by their id, not by their probability, so that a rounding error in a logit moves the
borders between them by as little and swaps none. With temperature 0 nothing is drawn: the most
probable token is taken.
"""

from typing import TYPE_CHECKING

from scripts.lib.errors import UserError
from scripts.lib.generation.request import SamplingSettings

if TYPE_CHECKING:
    import numpy
    import torch

# Candidates beyond the k-th, among which those are that equal it: in bfloat16 many do.
SPARE = 32


def uniforms(seed: int, count: int) -> "numpy.ndarray":
    """The uniform numbers in [0, 1), one a token, that a text with this seed draws with."""
    import numpy

    return numpy.random.Generator(numpy.random.Philox(seed)).random(count)


def draw(
    logits: "torch.Tensor", uniform: "torch.Tensor", settings: SamplingSettings
) -> "torch.Tensor":
    """Draw a token for each row of `logits` (rows, vocabulary).

    `uniform` holds a number in [0, 1) a row, float64. Returns token ids (rows,), each of which
    depends on its own row alone. Raises `UserError` where a logit is no number.
    """
    if settings.temperature == 0:
        return _most_probable(logits)
    width = settings.top_k + SPARE
    if not settings.top_k or width >= logits.shape[1]:
        return _draw_from_all(logits, uniform, settings)
    scores, ids = logits.topk(width, dim=-1)
    # What is no number counts as the largest: no need to look at the whole vocabulary.
    _check_numbers(scores[:, 0])
    smallest = scores[:, settings.top_k - 1]
    weights = _weights(scores.float(), smallest.float(), settings)
    order = ids.argsort(-1)
    at = invert(weights.gather(-1, order), uniform)
    tokens = ids.gather(-1, order.gather(-1, at[:, None]))[:, 0]
    # Where the last candidate still equals the k-th largest, further tokens may.
    crowded = scores[:, -1] >= smallest
    if crowded.any():
        tokens[crowded] = _draw_from_all(logits[crowded], uniform[crowded], settings)
    return tokens


def _most_probable(logits: "torch.Tensor") -> "torch.Tensor":
    # What is no number counts as the largest; of equal ones the first is found.
    tokens = logits.argmax(-1)
    _check_numbers(logits.gather(-1, tokens[:, None]))
    return tokens


def _draw_from_all(
    logits: "torch.Tensor", uniform: "torch.Tensor", settings: SamplingSettings
) -> "torch.Tensor":
    _check_numbers(logits)
    scores, smallest = logits.float(), None
    if 0 < settings.top_k < logits.shape[1]:
        smallest = scores.topk(settings.top_k, dim=-1).values[:, -1]
    return invert(_weights(scores, smallest, settings), uniform)


def _check_numbers(logits: "torch.Tensor") -> None:
    if logits.isnan().any():
        raise UserError(
            "the model's logits are no numbers: its training has diverged: lower "
            "training.learning_rate of its section (generator or student) in config.yaml"
        )


def _weights(
    scores: "torch.Tensor", smallest: "torch.Tensor | None", settings: SamplingSettings
) -> "torch.Tensor":
    """What the filters leave of the probabilities; all that equal the k-th largest stay."""
    import torch

    if smallest is not None:
        scores = scores.masked_fill(scores < smallest[:, None], -torch.inf)
    weights = (scores / settings.temperature).softmax(-1)
    return weights if settings.top_p >= 1 else weights * nucleus(weights, settings.top_p)


def nucleus(weights: "torch.Tensor", top_p: float) -> "torch.Tensor":
    """Which tokens top-p keeps: the most probable ones that together have at least `top_p`.

    `weights` (rows, tokens) sum to 1. As in transformers: from the least probable up, tokens are
    left out as long as together they have at most 1 - `top_p`; one always stays.
    """
    import torch

    ascending, order = weights.sort(-1)
    kept = ascending.cumsum(-1) > 1 - top_p
    kept[:, -1] = True
    return torch.zeros_like(kept).scatter(-1, order, kept)


def invert(weights: "torch.Tensor", uniform: "torch.Tensor") -> "torch.Tensor":
    """Draw from `weights` (rows, tokens): the place where their running sum exceeds its share.

    `uniform` (rows,) are the shares of the whole sum, from 0 to below 1. Returns places (rows,).
    """
    import torch

    sums = weights.double().cumsum(-1)
    # The product may round up to the whole sum, beyond the last token that has any weight.
    below = sums[:, -1:].nextafter(torch.zeros_like(sums[:, -1:]))
    share = torch.minimum(uniform[:, None] * sums[:, -1:], below)
    return torch.searchsorted(sums, share, right=True)[:, 0]
