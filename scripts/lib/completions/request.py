"""What a request for one completion is, and what identifies it."""

import hashlib
import json
from dataclasses import dataclass
from typing import Any

# Part of every key: raise it when the meaning of a journal entry changes.
KEY_VERSION = 1


@dataclass(frozen=True)
class CompletionRequest:
    """One request for one completion of a chat.

    `model` is the name that the endpoint is asked for, `model_identity` what is behind it (the
    checksum of local weights; else the name again). `parameters` are sampling parameters in the
    names of the chat completions API. `sample` tells the replies to one chat apart.
    """

    model: str
    model_identity: str
    messages: tuple[tuple[str, str], ...]
    parameters: tuple[tuple[str, Any], ...]
    sample: int

    @property
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


@dataclass(frozen=True)
class Completion:
    """A finished reply: its text and what the endpoint reported about it."""

    key: str
    text: str
    finish_reason: str
    prompt_tokens: int
    completion_tokens: int
    model: str
