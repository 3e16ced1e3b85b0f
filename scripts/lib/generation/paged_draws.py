"""How the engine `paged` draws: each text with numbers of its own.

Continuous batching has one seed for all and no closing marks. Both are put in as the last of its
logits processors, which leaves each text one token. Imported by `paged` alone: it loads torch.
"""

import numpy
import torch
from transformers import LogitsProcessorList
from transformers.generation.continuous_batching import RequestState
from transformers.generation.continuous_batching.cb_logits_processors import (
    ContinuousBatchingLogitsProcessor,
    ContinuousBatchingLogitsProcessorList,
)
from transformers.generation.continuous_batching.requests import FutureRequestState

from scripts.lib.generation.drawing import invert
from scripts.lib.generation.ending import Ending
from scripts.lib.generation.request import Request

# Uniform numbers travel as integers of so many bits, beside which the sign tells that a text ends.
UNIFORM_BITS = 31
END = -1


class OwnDraws(ContinuousBatchingLogitsProcessor):
    """Draws by inversion, with the uniform numbers that `drawing.uniforms` gives each seed.

    `texts` are the numbers and the seeds of the texts by their names. A text that has ended draws
    an ending token. With temperature 0 the most probable token is taken.
    """

    supported_kwargs: dict[str, type] = {}  # noqa: RUF012
    ignored_kwargs = ()

    def __init__(self, request: Request, texts: dict[str, tuple[int, int]]) -> None:
        self._texts = texts
        self._greedy = request.settings.temperature == 0
        self._ending = Ending(request)
        self._end = min(request.end_ids, default=None)
        self._streams: dict[str, numpy.random.Generator] = {}

    def fill_defaults(self, int32_tensor: torch.Tensor) -> None:
        int32_tensor.fill_(0)

    def prepare_tensor_args(
        self, requests_with_new_token: list[FutureRequestState]
    ) -> torch.Tensor:
        """The next number of each text that gets a token."""
        numbers = [self._next(future.state) for future in requests_with_new_token]
        return torch.tensor(numbers, dtype=torch.int32)

    def _next(self, state: RequestState) -> int:
        # The texts of a warm-up have other names.
        if state.request_id not in self._texts:
            return 0
        number, seed = self._texts[state.request_id]
        ids = state.generated_tokens
        if self._end is not None and ids and self._ending.reached(ids, number):
            return END
        # Counted here: of asynchronous batches the text does not know its last token yet.
        if state.request_id not in self._streams:
            self._streams[state.request_id] = numpy.random.Generator(numpy.random.Philox(seed))
        return int(self._streams[state.request_id].random() * (1 << UNIFORM_BITS))

    def __call__(self, scores: torch.Tensor, tensor_arg: torch.Tensor) -> torch.Tensor:
        """Scores that leave each row the token at which its running sum exceeds its share.

        Nothing here waits for the device, so that a CUDA graph can hold it.
        """
        drawn = tensor_arg[: scores.shape[0]]
        uniform = drawn.clamp(min=0).double() / (1 << UNIFORM_BITS)
        tokens = scores.argmax(-1) if self._greedy else invert(scores.softmax(-1), uniform)
        if self._end is not None:
            tokens = torch.where(drawn < 0, self._end, tokens)
        return torch.full_like(scores, -torch.inf).scatter(-1, tokens[:, None], 0.0)


def with_own_draws(
    filters: LogitsProcessorList, request: Request, texts: dict[str, tuple[int, int]]
) -> ContinuousBatchingLogitsProcessorList:
    """The filters of continuous batching, and behind them the draws of the texts."""
    draws = OwnDraws(request, texts)
    processors = ContinuousBatchingLogitsProcessorList(LogitsProcessorList([*filters, draws]))
    # Lines of integers that travel to the device: the one of `draws`.
    processors.tensors_required = 1
    return processors
