"""The provider's Batch API: what is asked of it, with which key, and what its errors mean."""

from collections.abc import Callable
from datetime import datetime
from typing import Any, NamedTuple

from scripts.lib.completions.admission import Lane, alive, no_key_left, retire
from scripts.lib.completions.answers import Answer, Meaning, judge, one_line
from scripts.lib.completions.batch_files import ENDPOINT, BatchState
from scripts.lib.completions.keys import redacted
from scripts.lib.completions.stops import EndpointDown
from scripts.lib.completions.transport import check_url, checked_proxies, is_here
from scripts.lib.errors import UserError

# The name under which a batch carries that of its input.
MARK = "ada_instruct_input"
TERMINAL = {"completed", "failed", "expired", "cancelled"}
CLOCKS_DIFFER_SECONDS = 3600.0
# How long a batch may take to be created, of an input that is there.
CREATE_SECONDS = 60.0


class Batch(NamedTuple):
    """A batch as its provider tells of it: `errors` are (code, message) pairs of the whole batch.

    `output_file` and `error_file` are those of its replies and of its failures, "" where there is
    none; `completed` is how many requests have a reply.
    """

    id: str
    status: str
    output_file: str
    error_file: str
    completed: int
    errors: list[tuple[str, str]]


class BatchApi:
    """Calls the Batch API of an endpoint. `timeout` (seconds) bounds each call.

    `lanes` hold the keys; one that is refused is retired. Calls raise `EndpointDown` where it may
    go better later, `NoKeyLeft`, and `UserError` for what the user can put right.
    """

    def __init__(self, base_url: str, lanes: list[Lane], timeout: float) -> None:
        check_url(base_url)
        self.base_url, self.lanes = base_url, lanes
        self.keys = [lane.key for lane in lanes]
        # Whether there is such an endpoint at all.
        self.has_answered = False
        self._timeout = timeout
        self._clients: dict[Lane, Any] = {}

    def close(self) -> None:
        """Close the connections."""
        for client in self._clients.values():
            client.close()
        self._clients.clear()

    def create(self, name: str, content: bytes, before: Callable[[], None]) -> Batch:
        """Create a batch of an input; it carries the input's name, by which `find` knows it.

        `before` is called once the input is uploaded, which may take long: from there on nobody
        knows whether there is a batch until it is confirmed.
        """

        def create(client: Any) -> Any:
            uploaded = client.files.create(file=(f"{name}.jsonl", content), purpose="batch")
            self._check(uploaded, "id")
            self.has_answered = True
            before()
            # Tried again, it might be created twice.
            once = client.with_options(max_retries=0, timeout=min(CREATE_SECONDS, self._timeout))
            return once.batches.create(
                input_file_id=uploaded.id,
                endpoint=ENDPOINT,
                completion_window="24h",
                metadata={MARK: name},
            )

        created = self._with_a_key(create, reading=False)
        if created is None:
            raise UserError(f"{self.base_url} has no Batch API: set label.client.mode: live")
        return self._batch(created)

    def retrieve(self, batch_id: str) -> Batch | None:
        """A batch as it is now; `None` where no key knows it."""
        found = self._with_a_key(lambda client: client.batches.retrieve(batch_id))
        return None if found is None else self._batch(found)

    def find(self, state: BatchState) -> Batch | None:
        """The batch whose creation was never confirmed, among those of the account."""
        begun = datetime.fromisoformat(state.created).timestamp()

        def search(client: Any) -> Any:
            for batch in client.batches.list(limit=100):
                if (batch.metadata or {}).get(MARK) == state.input_name:
                    return batch
                # The newest come first, and clocks differ.
                if batch.created_at < begun - CLOCKS_DIFFER_SECONDS:
                    break
            return None

        found = self._with_a_key(search)
        return None if found is None else self._batch(found)

    def content(self, file_id: str) -> bytes | None:
        """The content of a file; `None` where no key knows it."""
        return self._with_a_key(lambda client: client.files.content(file_id).content)

    def _client(self, lane: Lane) -> Any:
        """The openai client of a key; it tries again what may be repeated."""
        import openai

        if lane not in self._clients:
            with checked_proxies():
                http = openai.DefaultHttpxClient(trust_env=not is_here(self.base_url))
            self._clients[lane] = openai.OpenAI(
                base_url=self.base_url,
                api_key=lane.key.secret,
                timeout=self._timeout,
                max_retries=2,
                http_client=http,
            )
        return self._clients[lane]

    def _with_a_key(self, call: Callable[[Any], Any], reading: bool = True) -> Any:
        """The first result, other than `None`, of a call with one key after the other.

        `None` where the keys know nothing of the thing that is asked for. `reading` costs nothing,
        and keys that cannot pay any more are tried for it, too.
        """
        import openai

        forbidden: UserError | None = None
        limited: UserError | None = None
        unknown = False
        for lane in self.lanes:
            if not (lane.retired is None or (reading and lane.may_read)):
                continue
            try:
                result = call(self._client(lane))
            except openai.APIConnectionError as error:
                raise EndpointDown(
                    f"{self.base_url} cannot be reached ({self.redacted(one_line(error))}): run "
                    "the same command again, the batches are on record"
                ) from None
            except openai.APIStatusError as error:
                self.has_answered = True
                verdict = judge(_answer_of(error))
                told = self.redacted(verdict.message)
                problem = f"{self.base_url}: the Batch API answers: {told}"
                match verdict.meaning:
                    case Meaning.KEY_SPENT | Meaning.KEY_REFUSED:
                        retire(lane, self.lanes, verdict.meaning, told)
                    case Meaning.FORBIDDEN:
                        # A key may be good for single requests and not for batches.
                        forbidden = UserError(f"{problem}: set label.client.mode: live")
                    case Meaning.WRONG_TARGET:
                        unknown = True
                    case Meaning.RATE_LIMITED:
                        limited = EndpointDown(f"{problem}: run the same command again later")
                    case Meaning.REFUSED:
                        raise UserError(
                            f"{problem}: mend the label section of config.yaml, or set "
                            "label.client.mode: live"
                        ) from None
                    case _:
                        raise EndpointDown(f"{problem}: run the same command again") from None
            except (openai.OpenAIError, ValueError, AttributeError, TypeError) as error:
                raise self._nonsense(error) from None
            else:
                self.has_answered = True
                if result is not None:
                    return result
                unknown = True
        if limited is not None:
            raise limited
        # A key that may not use batches has none that the others do not know.
        if forbidden is not None and not (reading and unknown):
            raise forbidden
        if not unknown and not alive(self.lanes):
            raise no_key_left(self.base_url, self.lanes)
        return None

    def _batch(self, raw: Any) -> Batch:
        self._check(raw, "id", "status")
        counts = getattr(raw, "request_counts", None)
        listed = (getattr(raw, "errors", None) and raw.errors.data) or []
        return Batch(
            id=raw.id,
            status=raw.status,
            output_file=getattr(raw, "output_file_id", None) or "",
            error_file=getattr(raw, "error_file_id", None) or "",
            completed=(counts and counts.completed) or 0,
            errors=[(error.code or "", self.redacted(one_line(error.message))) for error in listed],
        )

    def _check(self, raw: Any, *names: str) -> None:
        if not all(isinstance(getattr(raw, name, None), str) for name in names):
            raise self._nonsense(f"{raw!r} lacks {' or '.join(names)}")

    def _nonsense(self, what: object) -> EndpointDown:
        self.has_answered = True
        return EndpointDown(
            f"{self.base_url}: the Batch API answers with what is none of its objects "
            f"({self.redacted(one_line(what))}): run the same command again"
        )

    def redacted(self, text: str) -> str:
        """The beginning of a text, without keys."""
        return redacted(text, self.keys)


def _answer_of(error: Any) -> Answer:
    return Answer(error.status_code, error.response.headers, error.response.content)
