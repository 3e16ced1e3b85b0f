"""What is known of batches, on disk beside the journal: the input and the state of each.

The state is there before a batch is created, and again as soon as it has an id.
"""

import contextlib
import json
from collections.abc import Iterator
from dataclasses import asdict, dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from scripts.lib.completions.budget import Amount
from scripts.lib.completions.pricing import Usage
from scripts.lib.completions.request import CompletionRequest
from scripts.lib.errors import UserError
from scripts.lib.files import atomic_file
from scripts.lib.locks import locked

ENDPOINT = "/v1/chat/completions"
# Of the states and inputs, in that of the journal.
FOLDER = "batches"
LOCK = ".lock"


@dataclass
class BatchState:
    """What is known of a batch.

    `samples` are the reply numbers of its requests by their keys, `name` is what they were asked
    for, and `most` the most that they can take: `prompt_tokens`, `completion_tokens`, `requests`
    and `dollars`.
    """

    input_name: str
    base_url: str
    samples: dict[str, int]
    created: str
    name: str = ""
    most: dict[str, Any] = field(default_factory=dict)
    batch_id: str = ""
    status: str = "new"
    collected: bool = False

    @property
    def most_amount(self) -> Amount:
        """The most that its requests can take."""
        usage = {name: value for name, value in self.most.items() if name != "dollars"}
        return Amount(Usage(**usage), self.most.get("dollars", 0.0))

    @property
    def age(self) -> float:
        """Seconds since it began to be created."""
        return (datetime.now(UTC) - datetime.fromisoformat(self.created)).total_seconds()


class BatchFiles:
    """The states and inputs of all batches of a journal's folder."""

    def __init__(self, journal_folder: Path) -> None:
        self._folder = journal_folder / FOLDER

    def uncollected(self) -> list[BatchState]:
        """The batches whose results are not in the journal yet.

        Raises `UserError` for a state that cannot be read.
        """
        states = (self._read(path) for path in sorted(self._folder.glob("*.state.json")))
        return [state for state in states if state is not None and not state.collected]

    def uncollected_at(self, base_url: str) -> list[BatchState]:
        """Those of an endpoint."""
        return [state for state in self.uncollected() if state.base_url == base_url]

    def _read(self, path: Path) -> BatchState | None:
        try:
            return BatchState(**json.loads(path.read_text(encoding="utf-8")))
        except FileNotFoundError:
            return None  # Another run has just given it up.
        except (ValueError, TypeError) as error:
            raise UserError(
                f"{path}: is not the state of a batch: mend it, or remove it if you do not want "
                "that batch's replies"
            ) from error

    def add(self, state: BatchState, content: bytes) -> None:
        """Keep the state of a batch that is about to be created, and its input."""
        self._folder.mkdir(parents=True, exist_ok=True)
        with atomic_file(self._input(state)) as stream:
            stream.write(content.decode())
        self._write(state)

    def save(self, state: BatchState) -> None:
        """Keep a state that has changed, unless another run has collected the batch meanwhile."""
        with locked(self._folder / LOCK):
            now = self._read(self.path(state))
            if now is not None and not now.collected:
                self._write(state)

    @contextlib.contextmanager
    def collecting(self, state: BatchState) -> Iterator[bool]:
        """Collect a batch in a block, alone; its value is whether that is still to be done.

        The batch is done with when the block ends.
        """
        with locked(self._folder / LOCK):
            now = self._read(self.path(state))
            if now is None or now.collected:
                yield False
                return
            yield True
            state.collected, state.samples = True, {}
            self._write(state)
            self._input(state).unlink(missing_ok=True)

    def forget(self, state: BatchState) -> None:
        """Give up what was never created."""
        self.path(state).unlink(missing_ok=True)
        self._input(state).unlink(missing_ok=True)

    def requests(self, state: BatchState) -> dict[str, CompletionRequest]:
        """The requests of a batch by their keys; none where another run has collected it."""
        found = {}
        with contextlib.suppress(FileNotFoundError), open(self._input(state), "rb") as lines:
            for line in lines:
                row = json.loads(line)
                key, body = row["custom_id"], row["body"]
                model = body.pop("model")
                found[key] = CompletionRequest(
                    model=model,
                    model_identity=model,
                    messages=tuple(
                        (part["role"], part["content"]) for part in body.pop("messages")
                    ),
                    parameters=tuple(body.items()),
                    sample=state.samples[key],
                )
        return found

    def path(self, state: BatchState) -> Path:
        """The file of a state."""
        return self._folder / f"{state.input_name}.state.json"

    def _input(self, state: BatchState) -> Path:
        return self._folder / f"{state.input_name}.input.jsonl"

    def _write(self, state: BatchState) -> None:
        with atomic_file(self.path(state)) as stream:
            json.dump(asdict(state), stream)


def input_line(request: CompletionRequest) -> bytes:
    """The line of a request in a batch's input."""
    row = {"custom_id": request.key, "method": "POST", "url": ENDPOINT, "body": request.body()}
    return json.dumps(row).encode() + b"\n"
