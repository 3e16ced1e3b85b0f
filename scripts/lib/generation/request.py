"""What is asked of an engine, and what comes back."""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from functools import cached_property
from itertools import takewhile
from typing import TYPE_CHECKING

from scripts.lib.errors import UserError
from scripts.lib.tasks.form import closing_position

if TYPE_CHECKING:
    from transformers import PreTrainedConfig, PreTrainedTokenizerBase

# Whatever follows a constant text changes none of the tokens that it keeps before all of these.
_FOLLOWING = ("a", "A", " a", "1", "_", ".", "'", "(", "\n", " ", "\u00e9", "\u4e2d")


@dataclass(frozen=True)
class SamplingSettings:
    """How tokens are drawn; `top_k` 0 and `top_p` 1 switch those filters off.

    `temperature` 0 takes the most probable token each time, of equal ones that of the lowest id,
    and asks for neither filter.
    """

    temperature: float
    top_k: int
    top_p: float
    max_new_tokens: int


@dataclass(frozen=True)
class Sample:
    """One sampled text without its prompt, up to its closing mark.

    `number` is its number in the shard, `seed` what its tokens were drawn with, `tokens` how many
    the model wrote up to the mark. `finished` is false where the token limit cut the text off.
    """

    number: int
    seed: int
    text: str
    tokens: int
    finished: bool


@dataclass(frozen=True)
class Request:
    """Texts to sample: what follows a prompt, each until one of the `closing` marks.

    The prompt of a text is `prompt`, and what `rests` has under its number, if anything. What all
    prompts share belongs in `prompt`: the engine `loop` reads it once. `model` is the directory
    that `train` wrote, or any other model. `batch_size` is how many texts are sampled at a time; it
    changes no text of the engine `loop` on a CPU. With `keep_mark` a text ends behind its closing
    mark, not before it.
    """

    model: str
    tokenizer: "PreTrainedTokenizerBase"
    prompt: str
    closing: list[str]
    settings: SamplingSettings
    seed: int
    shard: int
    batch_size: int
    rests: Mapping[int, str] = field(default_factory=dict)
    keep_mark: bool = False

    @cached_property
    def prompt_ids(self) -> list[int]:
        """The tokens of `prompt`; tokens of its own, such as the first, are in its text."""
        return self._encode(self.prompt)

    @cached_property
    def shared_ids(self) -> list[int]:
        """The tokens that prompts begin with: those of `prompt` that no rest could change.

        They are the same whichever texts are asked for, so that no text depends on another.
        """
        if not self.rests:
            return self.prompt_ids
        followed = [self._encode(self.prompt + text) for text in _FOLLOWING]
        same = takewhile(lambda tokens: len(set(tokens)) == 1, zip(*followed, strict=False))
        return [tokens[0] for tokens in same]

    def ids_of(self, number: int) -> list[int]:
        """The tokens of the whole prompt of a text."""
        rest = self.rests.get(number, "")
        if not rest:
            return self.prompt_ids
        if rest not in self._ids_of_rests:
            self._ids_of_rests[rest] = self._encode(self.prompt + rest)
        return self._ids_of_rests[rest]

    @cached_property
    def _ids_of_rests(self) -> dict[str, list[int]]:
        return {}

    def _encode(self, text: str) -> list[int]:
        return self.tokenizer(text, add_special_tokens=False)["input_ids"]

    @cached_property
    def end_ids(self) -> frozenset[int]:
        """The tokens that end a text by themselves: closing marks, and all special tokens.

        What stands behind a special token, be it the beginning of another turn, is another text.
        """
        added = self.tokenizer.added_tokens_decoder
        ends = {token for token, entry in added.items() if entry.special}
        ends |= {token for token, entry in added.items() if entry.content in self.closing}
        return frozenset(ends | set(self.tokenizer.all_special_ids))

    def length_of(self, numbers: Iterable[int]) -> int:
        """How many tokens the longest of these texts may have, with its prompt."""
        longest = max((len(self.ids_of(number)) for number in numbers), default=0)
        return longest + self.settings.max_new_tokens

    def check_length(self, config: "PreTrainedConfig", numbers: Iterable[int] = (0,)) -> None:
        """Raise `UserError` where the texts may have more tokens than the model has places."""
        places = places_of(config)
        longest = self.length_of(numbers)
        if places and longest > places:
            raise UserError(
                f"the model reads at most {places} tokens, and prompt and text may have "
                f"{longest}: lower max_new_tokens in sampling.override of config.yaml"
            )

    def text_of(self, ids: list[int], number: int = 0) -> str:
        """The text of tokens that follow the prompt of a text.

        It is decoded behind the prompt's last token: by themselves many tokenizers (Llama's) would
        strip the space that it begins with.
        """
        last = self.ids_of(number)[-1:]
        before = self._decode(last)
        whole = self._decode(last + ids)
        return whole.removeprefix(before) if whole.startswith(before) else self._decode(ids)

    def _decode(self, ids: list[int]) -> str:
        return self.tokenizer.decode(ids, clean_up_tokenization_spaces=False)

    def sample(self, number: int, seed: int, ids: list[int]) -> Sample:
        """The sample that its tokens make; those after its end are left out."""
        length = next((at for at, token in enumerate(ids) if token in self.end_ids), len(ids))
        text = self.text_of(ids[:length], number)
        # The token that completes a closing mark may bring more than the mark.
        end, behind = closing_position(text, self.closing)
        if end >= 0:
            text = text[: behind if self.keep_mark else end]
        return Sample(
            number=number,
            seed=seed,
            text=text,
            tokens=length,
            finished=length < len(ids) or end >= 0,
        )


def places_of(config: "PreTrainedConfig") -> int | None:
    """How many tokens a model of this configuration reads; `None` where it has no limit."""
    return getattr(config.get_text_config(), "max_position_embeddings", None)


def text_seed(seed: int, shard: int, number: int) -> int:
    """The random seed of one text of one shard: 63 bits, the same however the other texts go."""
    import numpy

    words = numpy.random.SeedSequence([seed, shard, number]).generate_state(1, numpy.uint64)
    return int(words[0] >> numpy.uint64(1))
