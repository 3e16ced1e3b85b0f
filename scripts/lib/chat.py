"""How the turns of a chat are framed for a model."""

from typing import TYPE_CHECKING

from scripts.lib.errors import UserError

if TYPE_CHECKING:
    from transformers import PreTrainedTokenizerBase

# Any text that no template holds by itself: the frame is what stands around it.
_MARK = "\u2402user-turn\u2403"
# What templates that tell the model today's date (Llama 3) are told: a prompt must not change at
# midnight, when a shard is half sampled. It is the date that Llama's own falls back to.
_THE_DAY = "{%- macro strftime_now(format) -%}26 Jul 2024{%- endmacro -%}"


def _rendered(
    tokenizer: "PreTrainedTokenizerBase", turns: list[dict[str, str]], **options: bool
) -> str:
    """Turns in the tokenizer's chat template, the same on any day."""
    template = _THE_DAY + tokenizer.get_chat_template()
    return tokenizer.apply_chat_template(turns, chat_template=template, tokenize=False, **options)


def user_turn_frame(tokenizer: "PreTrainedTokenizerBase", chat_format: str) -> tuple[str, str]:
    """The texts before and after the content of a chat's first user turn.

    `chat_format` is `model` for the tokenizer's own chat template, `llama2` for
    `[INST] ... [/INST]`, which base models such as Code Llama are tuned with, or `none`.
    Raises `UserError` where `model` is asked of a tokenizer without a template.
    """
    if chat_format == "none":
        return tokenizer.bos_token or "", tokenizer.eos_token or ""
    if chat_format == "llama2":
        return f"{tokenizer.bos_token or ''}[INST] ", " [/INST]"
    if not tokenizer.chat_template:
        raise UserError(
            f"the model {tokenizer.name_or_path} has no chat template: "
            "set 'chat_format: llama2' in config.yaml"
        )
    text = _rendered(tokenizer, [{"role": "user", "content": _MARK}])
    before, _, after = text.partition(_MARK)
    return before, after


def exchange(
    tokenizer: "PreTrainedTokenizerBase", chat_format: str, user: str, assistant: str
) -> str:
    """The whole text of a user turn and the assistant's answer to it, without an end of sequence.

    For `llama2` this is the design's `[INST] {user} [/INST] {assistant}`.
    """
    if chat_format in ("llama2", "none"):
        before, after = user_turn_frame(tokenizer, chat_format)
        return f"{before}{user}{after} {assistant}"
    turns = [{"role": "user", "content": user}, {"role": "assistant", "content": assistant}]
    return _rendered(tokenizer, turns)


def answered_turn(
    tokenizer: "PreTrainedTokenizerBase", chat_format: str, user: str, reply: str
) -> tuple[str, str]:
    """The text that a reply to a user turn follows, and the reply with the token that ends it.

    With `none` the two are parted by an empty line. Raises `UserError` where the chat template does
    not keep the turn as it is once it is answered, or where no token could end the reply.
    """
    if not (end := tokenizer.eos_token):
        raise UserError(
            f"the model {tokenizer.name_or_path} has no end-of-sequence token: name one in its "
            "tokenizer_config.json, else it cannot learn to stop"
        )
    if chat_format == "none":
        return f"{tokenizer.bos_token or ''}{user}\n\n", reply + end
    if chat_format == "llama2":
        before, after = user_turn_frame(tokenizer, chat_format)
        return before + user + after, f" {reply}{end}"
    user_turn_frame(tokenizer, chat_format)
    turn = [{"role": "user", "content": user}]
    prompt = _rendered(tokenizer, turn, add_generation_prompt=True)
    whole = exchange(tokenizer, chat_format, user, reply)
    if not whole.startswith(prompt):
        raise UserError(
            f"the chat template of {tokenizer.name_or_path} changes a turn that is answered: "
            "set 'student.chat_format: llama2' in config.yaml"
        )
    # What a template writes behind the end of a turn is for turns that follow.
    target = whole.removeprefix(prompt).rstrip()
    return prompt, target if target.endswith(end) else target + end


def tokens_behind(
    tokenizer: "PreTrainedTokenizerBase", prompt: str, text: str
) -> tuple[list[int], list[int]]:
    """The tokens of a prompt, as when a model is sampled, and those of a text that follows it."""

    def tokens_of(part: str) -> list[int]:
        return tokenizer(part, add_special_tokens=False)["input_ids"]

    before, whole = tokens_of(prompt), tokens_of(prompt + text)
    if whole[: len(before)] == before:
        # Some tokenizers (Llama's) put a space before whatever is tokenized by itself.
        return before, whole[len(before) :]
    return before, tokens_of(text)
