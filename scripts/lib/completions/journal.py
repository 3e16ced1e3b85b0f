"""The journal of replies: an append-only JSON Lines file that survives every kind of death.

A reply is on disk before it counts. Snakemake does not know the file, so it never deletes it.
"""

import fcntl
import json
import os
import time
from dataclasses import asdict
from datetime import UTC, datetime
from pathlib import Path
from types import TracebackType
from typing import Any

from scripts.lib.completions.request import Completion, CompletionRequest
from scripts.lib.errors import UserError

LOCK_SECONDS = 30


class Journal:
    """The replies of one task, by the key of their request. Use it as a context manager.

    Raises `UserError` where another process is writing the same journal, or where a line other
    than the last is broken: a torn last line is what a kill leaves, and is cut off.
    """

    def __init__(self, path: Path) -> None:
        self._path = path
        self._completions: dict[str, Completion] = {}

    def __enter__(self) -> "Journal":
        self._path.parent.mkdir(parents=True, exist_ok=True)
        self._file = open(self._path, "a+b")
        self._lock()
        self._load()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self._file.close()

    def _lock(self) -> None:
        """Wait for a killed run's last moments, but not for a run that goes on."""
        deadline = time.monotonic() + LOCK_SECONDS
        while True:
            try:
                return fcntl.flock(self._file, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except OSError as error:
                if time.monotonic() > deadline:
                    self._file.close()
                    raise UserError(
                        f"{self._path} is in use by another run: wait until it ends, or stop it"
                    ) from error
            time.sleep(0.2)

    def _load(self) -> None:
        self._file.seek(0)
        end = 0
        for number, line in enumerate(self._file, start=1):
            if not line.endswith(b"\n"):
                break
            try:
                entry = json.loads(line)
                completion = Completion(**entry["completion"])
            except (ValueError, KeyError, TypeError) as error:
                raise UserError(
                    f"{self._path}, line {number}: is not a journal entry: remove the line "
                    "(its reply will be asked again), the other replies are kept"
                ) from error
            self._completions[completion.key] = completion
            end += len(line)
        self._file.truncate(end)
        self._file.seek(0, os.SEEK_END)

    def get(self, key: str) -> Completion | None:
        """The reply to a request, `None` where there is none yet."""
        return self._completions.get(key)

    def __getitem__(self, key: str) -> Completion:
        """The reply to a request; raises `KeyError` where there is none."""
        return self._completions[key]

    def record(
        self, request: CompletionRequest, completion: Completion, raw: dict[str, Any]
    ) -> None:
        """Append a reply, with its whole request and the endpoint's raw answer, and sync it.

        Raises `OSError` where it cannot be written; the journal then ends with its last whole line.
        """
        entry = {
            "completion": asdict(completion),
            "request": {
                "model": request.model,
                "messages": request.chat(),
                "parameters": dict(request.parameters),
                "sample": request.sample,
            },
            "response": raw,
            "received": datetime.now(UTC).isoformat(timespec="seconds"),
        }
        line = json.dumps(entry, ensure_ascii=False).encode() + b"\n"
        end = self._file.seek(0, os.SEEK_END)
        try:
            self._file.write(line)
            self._file.flush()
            os.fsync(self._file.fileno())
        except OSError as error:
            self._abandon(end)
            error.filename = str(self._path)
            raise
        self._completions[completion.key] = completion

    def _abandon(self, end: int) -> None:
        """Cut a half-written line off, past the buffer of the file object."""
        descriptor = os.open(self._path, os.O_WRONLY)
        try:
            os.ftruncate(descriptor, end)
        finally:
            os.close(descriptor)
        # What the buffer still holds must not be written at close.
        self._file.raw.close()
