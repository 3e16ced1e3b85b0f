"""Finished texts on disk, so that no killed run samples a text again.

One folder holds the texts of one shard, named by everything that decides them; each process that
samples has a file of its own in it and appends a line a text.
"""

import json
import os
import time
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from dataclasses import asdict
from pathlib import Path
from typing import IO, Any, Generic, Protocol, TypeVar

from scripts.lib.generation.request import Sample
from scripts.lib.records import parse_row

# A machine that goes down loses at most this; a killed process loses nothing that it has written.
SYNC_SECONDS = 5.0


class Numbered(Protocol):
    """What can be kept: a record with a number of its own."""

    @property
    def number(self) -> int: ...


Kept = TypeVar("Kept", bound=Numbered)


class KeptTexts(Generic[Kept]):
    """The finished texts in a folder, or other records that a number names."""

    def __init__(self, folder: Path, record: type[Kept] = Sample) -> None:
        self._folder = folder
        self._record = record

    def read(self) -> dict[int, Kept]:
        """All finished texts by their number. A line that a kill has cut off counts as absent."""
        texts: dict[int, Kept] = {}
        for path in sorted(self._folder.glob("*.jsonl")):
            for line in path.read_bytes().split(b"\n")[:-1]:
                try:
                    sample = parse_row(json.loads(line), self._record)
                except ValueError:
                    continue
                # Where two runs sampled the same text, any later reader takes the same one.
                texts.setdefault(sample.number, sample)
        return texts

    @contextmanager
    def writer(self) -> Iterator["_Writer"]:
        """A file of this process's own in the folder."""
        self._folder.mkdir(parents=True, exist_ok=True)
        name = f"{time.time_ns():020d}-{os.getpid()}.jsonl"
        with open(self._folder / name, "ab") as stream:
            writer = _Writer(stream)
            try:
                yield writer
            finally:
                os.fsync(stream.fileno())


class _Writer:
    """Appends texts to a file, and syncs it now and then."""

    def __init__(self, stream: IO[bytes]) -> None:
        self._stream = stream
        self._synced = time.monotonic()

    def write(self, samples: Iterable[Any]) -> None:
        """Append finished texts; they are kept when this returns."""
        lines = [json.dumps(asdict(sample), ensure_ascii=False) + "\n" for sample in samples]
        self._stream.write("".join(lines).encode())
        self._stream.flush()
        if time.monotonic() - self._synced > SYNC_SECONDS:
            os.fsync(self._stream.fileno())
            self._synced = time.monotonic()
