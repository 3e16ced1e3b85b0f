"""What a request for one completion is, what identifies it, and what comes back."""

import hashlib
import json
from dataclasses import dataclass
from functools import cached_property
from typing import Any

from scripts.lib.completions.pricing import NOTHING, Usage, usage_of

# Part of every key: raise it when the meaning of a journal entry changes.
KEY_VERSION = 1
# The names of the limit of a completion: the second one is that of newer OpenAI models.
LIMITS = ("max_tokens", "max_completion_tokens")
# A chat's format costs some tokens a message beyond the text.
TOKENS_OF_A_MESSAGE = 16


@dataclass(frozen=True)
class CompletionRequest:
    """One request for one completion of a chat.

    `model` is the name that the endpoint is asked for, `model_identity` what is behind it (the
    checksum of local weights; else the name again). `parameters` are sampling parameters in the
    names of the chat completions API, one of `LIMITS` among them. `sample` tells the replies to one
    chat apart.
    """

    model: str
    model_identity: str
    messages: tuple[tuple[str, str], ...]
    parameters: tuple[tuple[str, Any], ...]
    sample: int

    @cached_property
    def key(self) -> str:
        """The SHA-256 of all that determines the reply, as a hexadecimal string.

        Endpoint, API key and row id are not part of it: a reply stays valid when the same model
        is served elsewhere.
        """
        identity = {
            "version": KEY_VERSION,
            "model": self.model_identity,
            "messages": self.messages,
            "parameters": dict(self.parameters),
            "sample": self.sample,
        }
        canonical = json.dumps(identity, sort_keys=True, separators=(",", ":"), ensure_ascii=False)
        return hashlib.sha256(canonical.encode()).hexdigest()

    def chat(self) -> list[dict[str, str]]:
        """The messages in the form of the chat completions API."""
        return [{"role": role, "content": content} for role, content in self.messages]

    def body(self) -> dict[str, Any]:
        """The body of the request, as the chat completions API takes it."""
        return {"model": self.model, "messages": self.chat(), **dict(self.parameters)}

    @property
    def max_tokens(self) -> int:
        """The most tokens that the completion may have."""
        return next(value for name, value in self.parameters if name in LIMITS)

    @property
    def expected_prompt_tokens(self) -> int:
        """About how many tokens the chat has: four characters of English each."""
        return sum(len(content) // 4 + 4 for _, content in self.messages)

    @cached_property
    def most(self) -> Usage:
        """The most that the request may take: a token stands for a byte of UTF-8 or more."""
        prompt = sum(
            len(content.encode("utf-8", "replace")) + TOKENS_OF_A_MESSAGE
            for _, content in self.messages
        )
        return Usage(prompt, self.max_tokens, 1)


@dataclass(frozen=True)
class Completion:
    """A finished reply: its text and what the endpoint reported about it."""

    key: str
    text: str
    finish_reason: str
    prompt_tokens: int
    completion_tokens: int
    model: str


class NotACompletion(ValueError):
    """A body that is no chat completion; the message says what it lacks."""


def completion_of(key: str, asked_model: str, response: Any) -> Completion:
    """The completion in the decoded body of a chat completion (`choices`, `usage`, `model`).

    Raises `NotACompletion` where it holds none.
    """
    try:
        choice = response["choices"][0]
        text = choice["message"].get("content") or ""
        usage = usage_of(response, NOTHING)
        return Completion(
            key=key,
            # Half of a surrogate pair, which JSON can hold, could not be written to any file.
            text=text.encode("utf-8", "replace").decode(),
            finish_reason=str(choice.get("finish_reason") or ""),
            prompt_tokens=usage.prompt_tokens,
            completion_tokens=usage.completion_tokens,
            model=str(response.get("model") or asked_model),
        )
    except (LookupError, TypeError, AttributeError) as error:
        raise NotACompletion("a reply that is no chat completion") from error
