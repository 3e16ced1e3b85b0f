"""Sending requests to an OpenAI-compatible endpoint, some at a time."""

import asyncio
from collections.abc import Callable, Iterable
from dataclasses import dataclass

from scripts.lib.completions.journal import Journal
from scripts.lib.completions.request import Completion, CompletionRequest
from scripts.lib.errors import UserError


@dataclass(frozen=True)
class Endpoint:
    """Where requests go. `in_flight` bounds the open requests, `timeout` (seconds) each of them.

    `attempts` bounds the tries of a request that meets a passing fault (a broken connection, a
    time-out, HTTP 408, 409, 429 or 5xx); the pauses between them grow and are jittered.
    """

    base_url: str
    api_key: str
    in_flight: int
    timeout: float
    attempts: int


async def _complete_all(
    endpoint: Endpoint,
    requests: Iterable[CompletionRequest],
    journal: Journal,
    on_reply: Callable[[Completion], None],
) -> None:
    import openai

    waiting = iter(requests)
    async with openai.AsyncOpenAI(
        base_url=endpoint.base_url,
        api_key=endpoint.api_key,
        timeout=endpoint.timeout,
        max_retries=endpoint.attempts - 1,
    ) as client:

        async def send(request: CompletionRequest) -> None:
            response = await client.chat.completions.create(
                model=request.model, messages=request.chat(), **dict(request.parameters)
            )
            if not response.choices:
                raise UserError(f"{endpoint.base_url} sent a reply without choices")
            choice, usage = response.choices[0], response.usage
            completion = Completion(
                key=request.key,
                # Half of a surrogate pair, which JSON can hold, could not be written to any file.
                text=(choice.message.content or "").encode("utf-8", "replace").decode(),
                finish_reason=choice.finish_reason or "",
                prompt_tokens=usage.prompt_tokens if usage else 0,
                completion_tokens=usage.completion_tokens if usage else 0,
                model=response.model or request.model,
            )
            journal.record(request, completion, response.model_dump(mode="json"))
            on_reply(completion)

        async def work() -> None:
            for request in waiting:
                await send(request)

        # One alone: a wrong key shows before many are sent, and a server that caches prefixes has
        # the common beginning of all prompts before it meets many of them at once.
        await send(next(waiting))
        async with asyncio.TaskGroup() as group:
            for _ in range(endpoint.in_flight):
                group.create_task(work())


def complete(
    endpoint: Endpoint,
    requests: list[CompletionRequest],
    journal: Journal,
    on_reply: Callable[[Completion], None],
) -> None:
    """Ask for every completion that the journal lacks; each is journalled as it arrives.

    Equal requests are sent once. `on_reply` is called after each reply. Raises `UserError` when the
    endpoint refuses a request for good or does not answer; replies that came before are kept.
    """
    missing = {request.key: request for request in requests if not journal.get(request.key)}
    if not missing:
        return
    try:
        asyncio.run(_complete_all(endpoint, missing.values(), journal, on_reply))
    except* UserError as group:
        raise _first(group) from None
    except* OSError as group:
        raise _first(group) from None
    except* Exception as group:
        error = _first(group)
        raise UserError(
            f"{explain(endpoint.base_url, error)}; finished replies are kept"
        ) from error


def _first(group: BaseException) -> BaseException:
    while isinstance(group, BaseExceptionGroup):
        group = group.exceptions[0]
    return group


def explain(base_url: str, error: BaseException) -> str:
    """One line that says what an endpoint's refusal means and what to do about it."""
    import openai

    if isinstance(error, openai.AuthenticationError | openai.PermissionDeniedError):
        return f"{base_url} refused the key: put a valid one into OPENAI_API_KEY"
    if isinstance(error, openai.NotFoundError):
        return f"{base_url} does not know the model or the path: mend label.model in config.yaml"
    if isinstance(error, openai.RateLimitError):
        return f"{base_url} limits the rate or the quota ({_message(error)}): run again later"
    if isinstance(error, openai.APITimeoutError):
        return f"{base_url} did not answer in time: raise label.timeout or run again later"
    if isinstance(error, openai.APIConnectionError):
        return f"{base_url} cannot be reached: start the endpoint or mend OPENAI_BASE_URL"
    if isinstance(error, openai.APIStatusError):
        return f"{base_url} answered HTTP {error.status_code}: {_message(error)}"
    return f"{base_url}: {type(error).__name__}: {_message(error)}"


def _message(error: BaseException) -> str:
    return " ".join(str(error).split())[:200]
