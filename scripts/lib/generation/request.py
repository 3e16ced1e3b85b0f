"""What is asked of an engine, and what comes back."""

from dataclasses import dataclass
from functools import cached_property
from typing import TYPE_CHECKING

from scripts.lib.errors import UserError
from scripts.lib.tasks.form import closing_position

if TYPE_CHECKING:
    from transformers import PreTrainedConfig, PreTrainedTokenizerBase


@dataclass(frozen=True)
class SamplingSettings:
    """How tokens are drawn; `top_k` 0 and `top_p` 1 switch those filters off."""

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
    """Texts to sample: what follows `prompt`, each until one of the `closing` marks.

    `model` is the directory that `train` wrote. `batch_size` is how many texts are sampled at a
    time; it changes no text of the engine `loop` on a CPU.
    """

    model: str
    tokenizer: "PreTrainedTokenizerBase"
    prompt: str
    closing: list[str]
    settings: SamplingSettings
    seed: int
    shard: int
    batch_size: int

    @cached_property
    def prompt_ids(self) -> list[int]:
        """The tokens of the prompt; tokens of its own, such as the first, are in its text."""
        return self.tokenizer(self.prompt, add_special_tokens=False)["input_ids"]

    @cached_property
    def end_ids(self) -> frozenset[int]:
        """The tokens that end a text by themselves: closing marks, and all special tokens.

        What stands behind a special token, be it the beginning of another turn, is another text.
        """
        added = self.tokenizer.added_tokens_decoder
        ends = {token for token, entry in added.items() if entry.special}
        ends |= {token for token, entry in added.items() if entry.content in self.closing}
        return frozenset(ends | set(self.tokenizer.all_special_ids))

    def check_length(self, config: "PreTrainedConfig") -> None:
        """Raise `UserError` where the texts may have more tokens than the model has places."""
        places = getattr(config.get_text_config(), "max_position_embeddings", None)
        longest = len(self.prompt_ids) + self.settings.max_new_tokens
        if places and longest > places:
            raise UserError(
                f"the generator reads at most {places} tokens, and prompt and text may have "
                f"{longest}: lower max_new_tokens in sampling.override of config.yaml"
            )

    def text_of(self, ids: list[int]) -> str:
        """The text of tokens that follow the prompt.

        It is decoded behind the prompt's last token: by themselves many tokenizers (Llama's) would
        strip the space that it begins with.
        """
        last = self.prompt_ids[-1:]
        before = self._decode(last)
        whole = self._decode(last + ids)
        return whole.removeprefix(before) if whole.startswith(before) else self._decode(ids)

    def _decode(self, ids: list[int]) -> str:
        return self.tokenizer.decode(ids, clean_up_tokenization_spaces=False)

    def sample(self, number: int, seed: int, ids: list[int]) -> Sample:
        """The sample that its tokens make; those after its end are left out."""
        length = next((at for at, token in enumerate(ids) if token in self.end_ids), len(ids))
        text = self.text_of(ids[:length])
        # The token that completes a closing mark may bring more than the mark.
        end, _ = closing_position(text, self.closing)
        return Sample(
            number=number,
            seed=seed,
            text=text if end < 0 else text[:end],
            tokens=length,
            finished=length < len(ids) or end >= 0,
        )


def text_seed(seed: int, shard: int, number: int) -> int:
    """The random seed of one text of one shard: 63 bits, the same however the other texts go."""
    import numpy

    words = numpy.random.SeedSequence([seed, shard, number]).generate_state(1, numpy.uint64)
    return int(words[0] >> numpy.uint64(1))
