"""The journal of replies: append-only JSON Lines that survive every kind of death.

A folder holds one file a process, so that nobody ever appends to another one's lines; on a network
file system, too. A reply is on its way to disk before it counts. Snakemake does not know the
folder, so it never deletes it. Which task or file a request was made for is no part of an entry's
key: a reply is found again under whatever name.
"""

import contextlib
import fcntl
import json
import os
import socket
import time
from collections import Counter
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from types import TracebackType
from typing import IO, Any, NamedTuple

from scripts.lib.completions.budget import NO_AMOUNT, Amount
from scripts.lib.completions.entries import (
    FAILED,
    REPLY,
    SENT,
    BrokenLine,
    Line,
    cost_in,
    failure_entry,
    line_in,
    line_of,
    reply_entry,
    sent_entry,
    settled,
)
from scripts.lib.completions.pricing import NOTHING, Price, Usage
from scripts.lib.completions.request import (
    Completion,
    CompletionRequest,
    NotACompletion,
    completion_of,
)
from scripts.lib.console import say
from scripts.lib.errors import UserError
from scripts.lib.locks import lock

SAY_EVERY_SECONDS = 30.0
# Replies in flight must find room: below this nothing more is sent.
FREE_BYTES = 8 << 20
# Files that are held open for reading: a folder may have thousands.
MOST_OPEN = 32
COMPACTING_LOCK = ".compacting.lock"
# How the line of a request that was refused tells it.
REFUSED = b'"reason": "refused"'
# Beside a merged file: the names of those that it replaces, which a kill may have left there.
REPLACED = ".replaced"


@dataclass
class _File:
    """A file of the folder, and how many bytes of it are known."""

    path: Path
    read_up_to: int = 0


class _Place(NamedTuple):
    """Where an entry is: its file, and the bytes of its line."""

    file: _File
    start: int
    length: int


def stamp() -> str:
    """The time, for the name of a file."""
    return datetime.now(UTC).strftime("%Y%m%dT%H%M%S%f")


class Journal:
    """The replies in a folder, by the key of their request. Use it as a context manager.

    `name` tells what the replies are asked for, and so whose budget pays for them: of two processes
    with the same name the second waits for the first, instead of paying for the same replies; who
    only reads (`writes=False`) does not wait. Where no budget is to be kept, processes with another
    `claim` need not wait for each other. The keys are in memory, the replies are read from
    disk when they are wanted.
    """

    def __init__(
        self, folder: Path, name: str, writes: bool = True, claim: str | None = None
    ) -> None:
        self._folder, self._name, self._writes = folder, name, writes
        self._claimed = claim or name
        self._places: dict[str, _Place] = {}
        self._files: dict[str, _File] = {}
        # Keys of requests that were refused for good.
        self._refused: set[str] = set()
        # Open for reading; the one that was used last stands at the end.
        self._handles: dict[Path, IO[bytes]] = {}
        self._own: IO[bytes] | None = None
        self._claim: IO[bytes] | None = None
        self._end = 0
        self._unsynced = False

    def __enter__(self) -> "Journal":
        if self._writes:
            self._folder.mkdir(parents=True, exist_ok=True)
            self._claim = open(self._folder / f".{self._claimed}.lock", "ab")
            self._wait_for_claim()
        self.refresh()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        try:
            self.sync()
        finally:
            for file in (*self._handles.values(), self._claim, self._own):
                if file is not None:
                    file.close()

    def _wait_for_claim(self) -> None:
        said = -SAY_EVERY_SECONDS
        assert self._claim is not None
        # Without locks two runs may pay for the same replies; files of their own keep them safe.
        while lock(self._claim) is False:
            if time.monotonic() - said >= SAY_EVERY_SECONDS:
                said = time.monotonic()
                say(f"waiting: another run asks for the replies of {self._name} right now")
            time.sleep(0.2)

    def refresh(self) -> None:
        """Take in what other processes have written since the last look."""
        own = Path(self._own.name).name if self._own is not None else None
        complete = False
        while not complete:
            complete = True
            for path in files_in(self._folder):
                try:
                    if path.name != own:
                        self._take_in(path)
                except FileNotFoundError:
                    # Compacting has removed it; what it held is in a file that was not listed yet.
                    complete = False

    def _take_in(self, path: Path) -> None:
        file = self._files.setdefault(path.name, _File(path))
        with open(path, "rb") as stream:
            stream.seek(file.read_up_to)
            for line in stream:
                # A line without an end is being written, or was when its process was killed.
                if not line.endswith(b"\n"):
                    break
                start = file.read_up_to
                try:
                    kind, key, _ = line_in(line)
                except BrokenLine as error:
                    raise _broken(path, start) from error
                if kind == REPLY:
                    self._places[key] = _Place(file, start, len(line))
                elif kind == FAILED and REFUSED in line:
                    self._refused.add(key)
                file.read_up_to += len(line)

    def __contains__(self, key: str) -> bool:
        return key in self._places

    def __len__(self) -> int:
        return len(self._places)

    def entry(self, key: str) -> dict[str, Any]:
        """The whole entry of a reply; raises `KeyError` where there is none."""
        try:
            line = self._read(self._places[key])
        except OSError:
            # Compacting has removed the file, and has put the entry into another one.
            self.refresh()
            line = self._read(self._places[key])
        try:
            return json.loads(line)
        except ValueError as error:
            place = self._places[key]
            raise _broken(place.file.path, place.start) from error

    def _read(self, place: _Place) -> bytes:
        path = place.file.path
        handle = self._handles.pop(path, None) or open(path, "rb")
        self._handles[path] = handle
        if len(self._handles) > MOST_OPEN:
            self._handles.pop(next(iter(self._handles))).close()
        return os.pread(handle.fileno(), place.length, place.start)

    def __getitem__(self, key: str) -> Completion:
        """The reply to a request; raises `KeyError` where there is none."""
        entry = self.entry(key)
        try:
            return completion_of(key, entry["request"]["model"], entry["response"])
        except (NotACompletion, LookupError, TypeError) as error:
            place = self._places[key]
            raise _broken(place.file.path, place.start) from error

    def was_refused(self, key: str) -> bool:
        """Whether a run has found that the endpoint refuses a request."""
        return key in self._refused

    def missing(self, requests: Iterable[CompletionRequest]) -> dict[str, CompletionRequest]:
        """Those requests to which there is no reply yet, by their keys."""
        return {request.key: request for request in requests if request.key not in self}

    def spent(self, price: Price | None) -> Amount:
        """What all that was ever asked for in this journal's name has cost.

        Tries that gave no reply count for the most that they can have cost. Dollars are those of
        each entry's own time; `price` is for entries that know none.
        """
        total = NO_AMOUNT
        for entry in entries(self._folder, self._name):
            total += cost_in(entry, price)
        return total

    def get(self, key: str) -> Completion | None:
        """The reply to a request, `None` where there is none yet."""
        return self[key] if key in self._places else None

    def record(
        self,
        request: CompletionRequest,
        response: dict[str, Any],
        *,
        headers: dict[str, str] | None = None,
        price: Price | None = None,
        attempts: list[dict[str, Any]] | None = None,
        lost: Usage = NOTHING,
        discount: float = 1.0,
        secrets: tuple[str, ...] = (),
        name: str | None = None,
    ) -> None:
        """Append a reply: its whole request, the endpoint's raw answer, and what it cost.

        `headers` are those that matter, `attempts` the tries with their times, `lost` the most
        that tries without a reply have cost, `discount` what the reply's price is multiplied by.
        `secrets` are blotted out, whatever the endpoint repeats. `name` is what it was asked for,
        where that is not the journal's own. Raises `OSError` where it cannot be written; the file
        then ends with its last whole line.
        """
        entry = reply_entry(
            request,
            response,
            name or self._name,
            headers=headers or {},
            price=price,
            discount=discount,
            attempts=attempts or [],
            lost=lost,
        )
        self._places[request.key] = self._append(line_of(entry, secrets))

    def record_sent(
        self, request: CompletionRequest, *, lost: Usage, price: Price | None = None
    ) -> None:
        """Append that a request is being sent, and the most that it may cost with its tries so far.

        It counts until a reply or a failure of the request follows it: so a kill forgets no cost.
        """
        self._append(line_of(sent_entry(request, self._name, lost=lost, price=price)))

    def record_failure(
        self,
        request: CompletionRequest,
        reason: str,
        attempts: list[dict[str, Any]],
        *,
        lost: Usage,
        price: Price | None = None,
        secrets: tuple[str, ...] = (),
        name: str | None = None,
    ) -> None:
        """Append that a request has no reply, and the most that its tries have cost anyway."""
        entry = failure_entry(
            request.key,
            request.model,
            name or self._name,
            reason,
            price=price and price.as_dict(),
            attempts=attempts,
            lost=lost,
        )
        self._append(line_of(entry, secrets))
        if reason == "refused":
            self._refused.add(request.key)

    def _append(self, line: bytes) -> _Place:
        if self._own is None:
            self._own = self._new_file()
            self._own_file = _File(Path(self._own.name))
        start = self._end
        try:
            written = 0
            while written < len(line):
                written += os.pwrite(self._own.fileno(), line[written:], start + written)
        except OSError as error:
            os.ftruncate(self._own.fileno(), start)
            error.filename = self._own.name
            raise
        self._end = start + len(line)
        self._unsynced = True
        return _Place(self._own_file, start, len(line))

    def _new_file(self) -> IO[bytes]:
        while True:
            name = f"{self._name}-{stamp()}-{socket.gethostname()}-{os.getpid()}.jsonl"
            file = open(self._folder / name, "xb", buffering=0)
            # Compacting may have taken it for one of a dead process before it was locked.
            if lock(file) is not False and os.fstat(file.fileno()).st_nlink:
                return file
            file.close()

    def sync(self) -> None:
        """Have the kernel write to disk what was recorded; it may take long, and any thread may."""
        if self._unsynced and self._own is not None:
            self._unsynced = False
            os.fsync(self._own.fileno())

    def has_room(self) -> bool:
        """Whether the disk has room for what is in flight."""
        state = os.statvfs(self._folder)
        return state.f_bavail * state.f_frsize >= FREE_BYTES

    def is_claimed(self, name: str) -> bool:
        """Whether another process asks for replies in that name right now."""
        with open(self._folder / f".{name}.lock", "ab") as claim:
            return lock(claim) is False

    @property
    def name(self) -> str:
        """What the replies are asked for."""
        return self._name

    @property
    def folder(self) -> Path:
        """The folder of the files."""
        return self._folder


def _broken(path: Path, start: int) -> UserError:
    """The error of a line that begins at a byte of a file."""
    number = path.read_bytes()[:start].count(b"\n") + 1
    return UserError(
        f"{path}: line {number} is not a journal entry: remove it, or have `make "
        "journal JOURNAL_FLAGS=--compact` do so (its reply is asked again, all others are kept)"
    )


def entries(
    folder: Path, name: str | None = None, holding: str = "", broken: Counter[Path] | None = None
) -> Iterator[dict[str, Any]]:
    """The replies and failures of a folder, file by file, with what is in flight as failures.

    All, or those that were asked for in a `name` and those whose line holds a text. Broken lines
    are passed over, and counted in `broken`. Nobody compacts the folder meanwhile.
    """
    # Parsing all lines would take long; how a name is written depends on the rest of its line.
    written = {json.dumps(name, ensure_ascii=ascii).encode() for ascii in (True, False)}
    held = holding.encode()
    with contextlib.ExitStack() as stack:
        # Who may only read the folder does so without the lock.
        with contextlib.suppress(OSError):
            # A shared lock on a network file system wants the file to be readable.
            reading = stack.enter_context(open(folder / COMPACTING_LOCK, "a+b"))
            lock(reading, fcntl.LOCK_SH)
        for path in files_in(folder):
            for _, _, content in settled(lines_of(path, broken)):
                if held not in content:
                    continue
                if name is not None and not any(text in content for text in written):
                    continue
                try:
                    entry = json.loads(content)
                except ValueError:
                    _count(broken, path)
                    continue
                if name is None or entry.get("for") == name:
                    yield entry


def files_in(folder: Path) -> list[Path]:
    """The files of a folder, less those that a merged one replaces."""
    paths = sorted(folder.glob("*.jsonl"))
    replaced: set[str] = set()
    for path in paths:
        with contextlib.suppress(FileNotFoundError):
            replaced.update(path.with_suffix(REPLACED).read_text(encoding="utf-8").splitlines())
    return [path for path in paths if path.name not in replaced]


def lines_of(
    path: Path, broken: Counter[Path] | None = None, thorough: bool = False
) -> Iterator[Line]:
    """The lines of a file, but for one that a kill has torn, and broken ones, which are counted.

    Of replies and failures only the ends are looked at, unless `thorough`.
    """
    with open(path, "rb") as file:
        for content in file:
            if not content.endswith(b"\n"):
                return
            try:
                line = line_in(content)
                if thorough or line.kind == SENT:
                    json.loads(content)
            except ValueError:
                _count(broken, path)
            else:
                yield line


def _count(broken: Counter[Path] | None, path: Path) -> None:
    if broken is not None:
        broken[path] += 1
