"""Keys and values of texts that grow from a shared prompt, and the attention that reads them.

Texts sit in slots. The keys and values of what their prompts share are there once, for all of them;
each slot holds those of its own tokens, from position 0: the rest of its prompt, if it has one, and
its text. So a slot is free again when its text ends. A step attends by two products, one with the
shared prompt, which is read once for all slots, and one with each slot's own tokens, and one
softmax over both.

It takes the place of a model's attention by transformers' attention interface, so that every
architecture with that interface runs in it.
"""

from collections.abc import Callable
from typing import TYPE_CHECKING, Any

from scripts.lib.errors import UserError

if TYPE_CHECKING:
    import torch
    from transformers import PreTrainedModel

    # Queries, keys and values of one layer.
    States = tuple[torch.Tensor, torch.Tensor, torch.Tensor]

NAME = "slots"
# What some models add to attention and this does not do: capped scores, sinks, position biases.
MORE_THAN_ATTENTION = ("softcap", "s_aux", "position_bias")
# Own tokens are attended to in multiples of this many.
GRAIN = 16


class Slots:
    """The cache of slots that hold at most `length` tokens each.

    First `start` reads the shared prompt and `reserve` says how many slots there are; then `read`
    reads the rest of a prompt into one of them, and `step` a token in each of the first ones. A
    text's age is how many tokens are in its slot. `start` raises `UserError` for a model that reads
    its past in another way than by plain attention.
    """

    def __init__(self, model: "PreTrainedModel", length: int) -> None:
        from transformers import AttentionInterface

        self._model = model
        if not model._supports_attention_backend:
            raise self._refusal("has an attention of its own", "vllm")
        AttentionInterface.register(NAME, _attend)
        model.set_attn_implementation(NAME)
        self._length = -(-length // GRAIN) * GRAIN
        # What attends while the model reads: a method of this class.
        self._reader: Callable[[int, States, float], torch.Tensor] = self._within_prompt
        # By layer: (heads, prompt, dimension) and (slots, heads, length, dimension), keys first.
        self._prompt: dict[int, tuple[torch.Tensor, torch.Tensor]] = {}
        self._own: dict[int, tuple[torch.Tensor, torch.Tensor]] = {}
        # The rest of a prompt that was read last, the logits behind it, and its keys and values.
        self._last: tuple[list[int], torch.Tensor] | None = None
        self._rest: dict[int, tuple[torch.Tensor, torch.Tensor]] = {}

    def start(self, prompt: list[int]) -> "torch.Tensor":
        """Read the shared prompt; returns the logits (1, vocabulary) of the token that follows it.

        Without a token in it there are no such logits: what is returned then says nothing.
        """
        import torch

        self._prompt.clear()
        self._last = None
        self._reader = self._within_prompt
        # Any token will do to learn what the model's keys and values look like.
        logits = self._forward(prompt or [0], torch.arange(len(prompt) or 1))
        # A layer that is no attention keeps its past elsewhere.
        if len(self._prompt) != self._model.config.get_text_config().num_hidden_layers:
            raise self._refusal("has layers other than attention", "vllm")
        if not prompt:
            self._prompt = {
                layer: (keys[:, :0], values[:, :0])
                for layer, (keys, values) in self._prompt.items()
            }
        return logits

    def read(self, rest: list[int], slot: int) -> "torch.Tensor":
        """Read the rest of a prompt into a slot; returns the logits (1, vocabulary) behind it.

        It is read by itself, so that nothing else changes it. One that was read just before is
        copied.
        """
        import torch

        if self._last is None or self._last[0] != rest:
            self._rest = {}
            self._reader = self._within_rest
            places = self.prompt_length + torch.arange(len(rest))
            self._last = rest, self._forward(rest, places)
        with torch.inference_mode():
            for layer, (keys, values) in self._own.items():
                keys[slot, :, : len(rest)], values[slot, :, : len(rest)] = self._rest[layer]
        return self._last[1]

    def _forward(self, tokens: list[int], places: "torch.Tensor") -> "torch.Tensor":
        """Let the model read tokens of one text; returns the logits (1, vocabulary) behind them."""
        import torch

        ids = torch.tensor([tokens], device=self._model.device)
        with torch.inference_mode():
            output = self._model(
                input_ids=ids,
                position_ids=places[None].to(ids.device),
                use_cache=False,
                logits_to_keep=1,
                slots=self,
            )
        return output.logits[:, -1]

    @property
    def device(self) -> "torch.device":
        """Where the model and the slots are."""
        return self._model.device

    @property
    def bytes_of_one(self) -> int:
        """What one slot takes, in bytes, once the prompt has been read."""
        tensors = [tensor for pair in self._prompt.values() for tensor in pair]
        of_one_token = sum(
            tensor.shape[0] * tensor.shape[2] * tensor.element_size() for tensor in tensors
        )
        return of_one_token * self._length

    def reserve(self, count: int) -> None:
        """Make `count` slots."""

        def empty(prompt: "torch.Tensor") -> "torch.Tensor":
            heads, _, size = prompt.shape
            return prompt.new_zeros(count, heads, self._length, size)

        self._own = {
            layer: (empty(keys), empty(values)) for layer, (keys, values) in self._prompt.items()
        }

    def step(self, tokens: "torch.Tensor", ages: "torch.Tensor", oldest: int) -> "torch.Tensor":
        """Read one more token in each of the first rows of the slots.

        `tokens` and `ages` (rows,) are the tokens and how many stand before each in its slot;
        `oldest` is the largest of `ages`. Returns logits (rows, vocabulary).
        """
        import torch

        self._reader = self._of_token
        self._rows = torch.arange(len(tokens), device=tokens.device)
        self._ages = ages
        self._width = (oldest // GRAIN + 1) * GRAIN
        own = torch.arange(self._width, device=tokens.device)
        self._unseen = (own > ages[:, None])[:, None, None, :]
        places = self.prompt_length + ages[:, None]
        with torch.inference_mode():
            output = self._model(
                input_ids=tokens[:, None], position_ids=places, use_cache=False, slots=self
            )
        return output.logits[:, -1]

    @property
    def prompt_length(self) -> int:
        """How many tokens the shared prompt has."""
        return self._prompt[0][0].shape[1]

    def move(self, source: int, destination: int, age: int) -> None:
        """Copy a text of `age` tokens from one slot to another."""
        import torch

        with torch.inference_mode():
            for keys, values in self._own.values():
                keys[destination, :, :age] = keys[source, :, :age]
                values[destination, :, :age] = values[source, :, :age]

    def attend(
        self,
        layer: int,
        states: "States",
        scale: float,
        window: int | None,
        **more: Any,
    ) -> "torch.Tensor":
        """Attention of one layer; states and result are (rows, heads, tokens, dimension)."""
        if any(more.get(name) is not None for name in MORE_THAN_ATTENTION):
            raise self._refusal("caps or adds to its attention", "paged")
        if window is not None and states[0].shape[2] + self._length > window:
            raise self._refusal(
                f"sees {window} tokens back, fewer than prompt and text have", "paged"
            )
        return self._reader(layer, states, scale)

    def _refusal(self, why: str, engines: str) -> UserError:
        return UserError(
            f"the engine 'loop' cannot sample from this {type(self._model).__name__}: it {why}: "
            f"set 'sampling.engine' in config.yaml to {engines}"
        )

    def _within_prompt(self, layer: int, states: "States", scale: float) -> "torch.Tensor":
        from torch.nn.functional import scaled_dot_product_attention

        query, key, value = states
        if layer in self._prompt:
            raise self._refusal("attends more than once a layer", "vllm")
        self._prompt[layer] = key[0].contiguous(), value[0].contiguous()
        grouped = query.shape[1] != key.shape[1]
        return scaled_dot_product_attention(
            query, key, value, is_causal=True, scale=scale, enable_gqa=grouped
        )

    def _within_rest(self, layer: int, states: "States", scale: float) -> "torch.Tensor":
        import torch
        from torch.nn.functional import scaled_dot_product_attention

        query, key, value = states
        self._rest[layer] = key[0], value[0]
        keys, values = (
            torch.cat([prompt[None], own], dim=2)
            for prompt, own in zip(self._prompt[layer], (key, value), strict=True)
        )
        # All of the shared prompt, and of the rest what stands before.
        shape = query.shape[2], keys.shape[2]
        seen = torch.ones(shape, dtype=torch.bool, device=query.device).tril(shape[1] - shape[0])
        grouped = query.shape[1] != key.shape[1]
        return scaled_dot_product_attention(
            query, keys, values, attn_mask=seen, scale=scale, enable_gqa=grouped
        )

    def _of_token(self, layer: int, states: "States", scale: float) -> "torch.Tensor":
        import torch

        query, key, value = states
        rows, heads, _, size = query.shape
        shared = key.shape[1]
        own_keys, own_values = self._own[layer]
        own_keys[self._rows, :, self._ages] = key[:, :, 0]
        own_values[self._rows, :, self._ages] = value[:, :, 0]
        own_keys = own_keys[:rows, :, : self._width]
        own_values = own_values[:rows, :, : self._width]
        prompt_keys, prompt_values = self._prompt[layer]

        # The query heads that share a key head are rows of one product.
        query = (query * scale).reshape(rows, shared, heads // shared, size)
        to_prompt = self._with_prompt(query, prompt_keys.transpose(1, 2))
        # Faster in this order: the keys are read as they lie.
        to_own = (own_keys @ query.transpose(2, 3)).transpose(2, 3)
        to_own = to_own.masked_fill(self._unseen, -torch.inf)
        weights = torch.cat([to_prompt, to_own], dim=-1).softmax(-1, dtype=torch.float32)
        weights = weights.to(value.dtype)
        length = prompt_keys.shape[1]
        output = self._with_prompt(weights[..., :length], prompt_values)
        output = output + weights[..., length:] @ own_values
        return output.reshape(rows, heads, 1, -1)

    @staticmethod
    def _with_prompt(rows: "torch.Tensor", prompt: "torch.Tensor") -> "torch.Tensor":
        """Multiply (rows, shared heads, group, a) with the prompt's (shared heads, a, b)."""
        count, shared, group, _ = rows.shape
        product = rows.transpose(0, 1).reshape(shared, count * group, -1) @ prompt
        return product.view(shared, count, group, -1).transpose(0, 1)


def _attend(
    module: "torch.nn.Module",
    query: "torch.Tensor",
    key: "torch.Tensor",
    value: "torch.Tensor",
    attention_mask: Any,
    scaling: float | None = None,
    *,
    slots: Slots | None = None,
    sliding_window: int | None = None,
    **more: Any,
) -> tuple["torch.Tensor", None]:
    """Attention in the form of transformers' interface, which wants (rows, tokens, heads, size)."""
    if slots is None:
        raise UserError(
            "the engine 'loop' cannot sample from this model: it does not pass on what attention "
            "needs: set 'sampling.engine' in config.yaml to vllm"
        )
    scale = scaling if scaling is not None else query.shape[-1] ** -0.5
    output = slots.attend(module.layer_idx, (query, key, value), scale, sliding_window, **more)
    return output.transpose(1, 2), None
