"""Tokens become text as it stands behind the prompt, and texts end where they should."""

from pathlib import Path

import pytest
from tokenizers import AddedToken, SentencePieceBPETokenizer
from transformers import LlamaConfig, PreTrainedTokenizerBase, PreTrainedTokenizerFast

from scripts.lib.chat import exchange, user_turn_frame
from scripts.lib.errors import UserError
from scripts.lib.generation import engines
from scripts.lib.generation.ending import Ending
from scripts.lib.training.examples import Example, encode
from tests.conftest import PROJECT
from tests.generation.sampling import SETTINGS, request_of

PROMPT = "<s>Task: Write"
TEXT = " a function to add two numbers."


# Modules of the package that decide no text, or whose users name them among what decides theirs.
NO_ENGINES = ("__init__", "engines", "in_context", "kept", "likelihoods", "options", "shares")


@pytest.fixture(scope="module")
def like_llama() -> PreTrainedTokenizerBase:
    """A tokenizer of the kind of Llama 2: spaces are parts of words, the first one is stripped."""
    seeds = (PROJECT / "tasks" / "mbpp_seeds.jsonl").read_text(encoding="utf-8").splitlines()
    pieces = SentencePieceBPETokenizer()
    pieces.train_from_iterator(seeds, vocab_size=400, special_tokens=["<unk>", "<s>", "</s>"])
    tokenizer = PreTrainedTokenizerFast(
        tokenizer_object=pieces._tokenizer, unk_token="<unk>", bos_token="<s>", eos_token="</s>"
    )
    # Flagged as special and named nowhere, as the end of a turn often is.
    tokenizer.add_tokens([AddedToken("<end_of_turn>", special=True)])
    return tokenizer


def test_the_space_behind_the_opening_stays(
    tiny_model: Path, like_llama: PreTrainedTokenizerBase
) -> None:
    for tokenizer in (like_llama, request_of(tiny_model).tokenizer):
        request = request_of(tiny_model, tokenizer=tokenizer, prompt=PROMPT, closing=["\n"])
        row, _ = encode(tokenizer, Example("one", PROMPT, TEXT), max_length=200)
        whole = tokenizer(PROMPT + TEXT, add_special_tokens=False)["input_ids"]
        # What is learnt is what stands in the whole text, and is read back as it was.
        assert row.tokens == whole
        assert row.tokens[: row.start] == request.prompt_ids
        assert request.sample(0, 0, row.tokens[row.start :]).text == TEXT


def test_a_mark_that_ends_in_a_space_is_seen_at_once(
    tiny_model: Path, like_llama: PreTrainedTokenizerBase
) -> None:
    request = request_of(tiny_model, tokenizer=like_llama, prompt=PROMPT, closing=[" to "])
    ids = like_llama(PROMPT + TEXT, add_special_tokens=False)["input_ids"]
    ids = ids[len(request.prompt_ids) :]
    ending = Ending(request)
    length = next(n for n in range(1, len(ids) + 1) if ending.reached(ids[:n]))
    sample = request.sample(0, 0, ids[:length])
    assert (sample.text, sample.finished) == (" a function", True)
    assert not request.sample(0, 0, ids[: length - 1]).finished


@pytest.mark.parametrize("end", ["</s>", "<end_of_turn>", "<s>"])
def test_special_tokens_end_a_text(
    tiny_model: Path, like_llama: PreTrainedTokenizerBase, end: str
) -> None:
    closing = ["\n", "<end_of_turn>"]
    request = request_of(tiny_model, tokenizer=like_llama, prompt=PROMPT, closing=closing)
    ids = like_llama(f"{PROMPT} a{end} list", add_special_tokens=False)["input_ids"]
    sample = request.sample(0, 0, ids[len(request.prompt_ids) :])
    assert (sample.text, sample.finished) == (" a", True)


def test_a_text_longer_than_the_model_reads_is_refused(tiny_model: Path) -> None:
    request = request_of(tiny_model)
    longest = len(request.prompt_ids) + SETTINGS.max_new_tokens
    request.check_length(LlamaConfig(max_position_embeddings=longest))
    with pytest.raises(UserError, match="reads at most .* lower max_new_tokens"):
        request.check_length(LlamaConfig(max_position_embeddings=longest - 1))


def test_a_template_that_tells_the_day_gives_the_same_prompt_on_any_day(tiny_model: Path) -> None:
    tokenizer = request_of(tiny_model).tokenizer
    tokenizer.chat_template = "{{ strftime_now('%d %b %Y') }}" + tokenizer.chat_template
    assert user_turn_frame(tokenizer, "model")[0].startswith("26 Jul 2024<s>user")
    assert exchange(tokenizer, "model", "a", "b").startswith("26 Jul 2024<s>user")


def test_every_module_that_decides_texts_is_known_to_do_so() -> None:
    package = Path(engines.__file__).parent
    decides = {path for engine in engines.MODULES for path in engines.files_of(engine)}
    carries = {package / f"{name}.py" for name in NO_ENGINES}
    assert decides | carries == set(package.glob("*.py"))
