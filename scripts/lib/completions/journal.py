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
from collections.abc import Iterable, Iterator
from datetime import UTC, datetime
from pathlib import Path
from types import TracebackType
from typing import IO, Any, NamedTuple

from scripts.lib.completions.budget import Amount, amount_of
from scripts.lib.completions.pricing import NOTHING, Price, Usage, usage_of
from scripts.lib.completions.request import (
    Completion,
    CompletionRequest,
    NotACompletion,
    completion_of,
)
from scripts.lib.console import say
from scripts.lib.errors import UserError

SAY_EVERY_SECONDS = 30.0
# Replies in flight must find room: below this nothing more is sent.
FREE_BYTES = 8 << 20

_START = b'{"key": "'
_KEY = slice(len(_START), len(_START) + 64)


class _Place(NamedTuple):
    """Where an entry is: the number of its file, and the bytes of its line."""

    file: int
    start: int
    length: int


def now_text() -> str:
    """The time, for an entry."""
    return datetime.now(UTC).isoformat(timespec="milliseconds")


def _key_of(line: bytes) -> str | None:
    """The key of a reply's line; `None` for a failure's. Raises `ValueError` for a broken line."""
    if line.startswith(_START) and line.endswith(b"}\n"):
        return line[_KEY].decode("ascii")
    entry = json.loads(line)
    if "failed" in entry:
        return None
    # Entries of the first form had the parsed completion beside the response.
    return entry["key"] if "key" in entry else entry["completion"]["key"]


def used_in(entry: dict[str, Any]) -> Usage:
    """What the reply of an entry took, or at most took where the endpoint did not say it."""
    used = entry.get("used")
    return Usage(**used) if used else usage_of(entry["response"], NOTHING)


def lost_in(entry: dict[str, Any]) -> Usage:
    """The most that the tries of an entry have cost without a reply."""
    return Usage(**lost) if (lost := entry.get("lost")) else NOTHING


def _lock(file: IO[bytes]) -> bool | None:
    """Take the kernel's lock on an open file if it is free; whether it was.

    `None` on a file system that has no locks.
    """
    try:
        fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    except OSError:
        return None
    return True


class Journal:
    """The replies in a folder, by the key of their request. Use it as a context manager.

    `name` tells what the replies are asked for: of two processes with the same name the second
    waits for the first, instead of paying for the same replies; who only reads (`writes=False`)
    does not wait. The keys are in memory, the replies are read from disk when they are wanted.
    """

    def __init__(self, folder: Path, name: str, writes: bool = True) -> None:
        self._folder, self._name, self._writes = folder, name, writes
        self._places: dict[str, _Place] = {}
        self._files: list[IO[bytes]] = []
        self._read_up_to: dict[str, int] = {}
        self._numbers: dict[str, int] = {}
        self._lost: dict[str, Usage] = {}
        self._own: IO[bytes] | None = None
        self._end = 0
        self._unsynced = False

    def __enter__(self) -> "Journal":
        self._folder.mkdir(parents=True, exist_ok=True)
        self._claim = open(self._folder / f".{self._name}.lock", "ab")
        if self._writes:
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
            for file in [*self._files, self._claim, *([self._own] if self._own else [])]:
                file.close()

    def _wait_for_claim(self) -> None:
        said = -SAY_EVERY_SECONDS
        # Without locks two runs may pay for the same replies; files of their own keep them safe.
        while _lock(self._claim) is False:
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
            for path in sorted(self._folder.glob("*.jsonl")):
                try:
                    if path.name != own:
                        self._take_in(path)
                except FileNotFoundError:
                    # Compacting has removed it; what it held is in a file that was not listed yet.
                    complete = False

    def _take_in(self, path: Path) -> None:
        if path.name not in self._numbers:
            self._files.append(open(path, "rb"))
            self._numbers[path.name] = len(self._files) - 1
        number = self._numbers[path.name]
        file, start = self._files[number], self._read_up_to.get(path.name, 0)
        file.seek(start)
        for line in file:
            # A line without an end is being written, or was when its process was killed.
            if not line.endswith(b"\n"):
                break
            try:
                key = _key_of(line)
            except (ValueError, LookupError, TypeError) as error:
                raise UserError(
                    f"{path}: the line at byte {start} is not a journal entry: remove the line "
                    "(its reply will be asked again), the other replies are kept"
                ) from error
            if key is not None:
                self._places[key] = _Place(number, start, len(line))
            else:
                failure = json.loads(line)
                self._lost[failure["failed"]] = self.lost(failure["failed"]) + lost_in(failure)
            start += len(line)
        self._read_up_to[path.name] = start

    def __contains__(self, key: str) -> bool:
        return key in self._places

    def __len__(self) -> int:
        return len(self._places)

    def entry(self, key: str) -> dict[str, Any]:
        """The whole entry of a reply; raises `KeyError` where there is none."""
        place = self._places[key]
        file = self._files[place.file]
        line = os.pread(file.fileno(), place.length, place.start)
        try:
            return json.loads(line)
        except ValueError as error:
            raise UserError(
                f"{file.name}: the entry at byte {place.start} is broken: remove the line (its "
                "reply will be asked again), the other replies are kept"
            ) from error

    def __getitem__(self, key: str) -> Completion:
        """The reply to a request; raises `KeyError` where there is none."""
        entry = self.entry(key)
        try:
            return completion_of(key, entry["request"]["model"], entry["response"])
        except NotACompletion as error:
            raise UserError(
                f"{self._files[self._places[key].file].name}: the entry of {key} holds no reply: "
                "remove its line (it will be asked again)"
            ) from error

    def lost(self, key: str) -> Usage:
        """The most that failures of a request have cost."""
        return self._lost.get(key, NOTHING)

    def spent(self, keys: Iterable[str], price: Price | None) -> Amount:
        """What the replies to requests have cost so far, with all tries that gave none.

        Dollars are those of each reply's own time; `price` is for entries that know none.
        """
        total = Amount()
        for key in keys:
            total += amount_of(self.lost(key), price)
            if key in self:
                entry = self.entry(key)
                usage, paid = used_in(entry), entry.get("price")
                dollars = paid["dollars"] if paid else amount_of(usage, price).dollars
                total += Amount(usage, dollars) + amount_of(lost_in(entry), price)
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
    ) -> None:
        """Append a reply: its whole request, the endpoint's raw answer, and what it cost.

        `headers` are those that matter, `attempts` the tries with their times, `lost` the most
        that tries without a reply have cost, `discount` what the reply's price is multiplied by.
        `secrets` are blotted out, whatever the endpoint repeats. Raises `OSError` where it cannot
        be written; the file then ends with its last whole line.
        """
        paid, usage = price and price.times(discount), usage_of(response, request.most)
        entry = {
            "key": request.key,
            "received": now_text(),
            "for": self._name,
            "request": {**request.body(), "identity": request.model_identity}
            | {"sample": request.sample},
            "response": response,
            "used": usage.as_dict(),
            "headers": headers or {},
            "price": paid and {**paid.as_dict(), "dollars": paid.dollars(usage)},
            "attempts": attempts or [],
            "lost": lost.as_dict() if lost.requests else None,
        }
        line = _line(entry, secrets)
        start = self._append(line)
        self._places[request.key] = _Place(self._numbers[""], start, len(line))

    def record_failure(
        self,
        request: CompletionRequest,
        reason: str,
        attempts: list[dict[str, Any]],
        *,
        lost: Usage,
        price: Price | None = None,
        secrets: tuple[str, ...] = (),
    ) -> None:
        """Append that a request has no reply, and the most that its tries have cost anyway."""
        entry = {
            "failed": request.key,
            "received": now_text(),
            "for": self._name,
            "model": request.model,
            "reason": reason,
            "attempts": attempts,
            "price": price and price.as_dict(),
            "lost": lost.as_dict(),
        }
        self._append(_line(entry, secrets))

    def _append(self, line: bytes) -> int:
        if self._own is None:
            self._own = self._new_file()
            self._files.append(open(self._own.name, "rb"))
            self._numbers[""] = len(self._files) - 1
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
        return start

    def _new_file(self) -> IO[bytes]:
        while True:
            stamp = datetime.now(UTC).strftime("%Y%m%dT%H%M%S%f")
            name = f"{self._name}-{stamp}-{socket.gethostname()}-{os.getpid()}.jsonl"
            file = open(self._folder / name, "xb", buffering=0)
            # Compacting may have taken it for one of a dead process before it was locked.
            if _lock(file) is not False and os.fstat(file.fileno()).st_nlink:
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

    @property
    def folder(self) -> Path:
        """The folder of the files."""
        return self._folder


def _line(entry: dict[str, Any], secrets: tuple[str, ...]) -> bytes:
    # Half of a surrogate pair cannot be written as UTF-8: JSON's own escapes can hold it.
    try:
        line = json.dumps(entry, ensure_ascii=False).encode()
    except UnicodeEncodeError:
        line = json.dumps(entry).encode()
    for secret in secrets:
        written = json.dumps(secret)[1:-1].encode()
        if written in line:
            line = line.replace(written, b"[key]")
    return line + b"\n"


def entries(folder: Path) -> Iterator[dict[str, Any]]:
    """All whole entries of a folder, file by file; broken lines are passed over."""
    for path in sorted(folder.glob("*.jsonl")):
        for line in _whole_lines(path):
            with contextlib.suppress(ValueError):
                yield json.loads(line)


def _whole_lines(path: Path) -> Iterator[bytes]:
    """The lines of a file, but for one that a kill has torn."""
    with open(path, "rb") as file:
        yield from (line for line in file if line.endswith(b"\n"))


def compact(folder: Path) -> tuple[int, int]:
    """Merge the files that no live process writes into one, with one reply to each request.

    Left out are torn lines; of a second reply to a request, and of failures, what they have cost
    stays. Files of which no lock says that they are free are left alone. Returns the number of the
    others before and after. A process that reads meanwhile is not disturbed.
    """
    with contextlib.ExitStack() as stack:
        claim = stack.enter_context(open(folder / ".compacting.lock", "ab"))
        if _lock(claim) is not True:
            raise UserError(f"{folder}: is being compacted, or its file system has no locks")
        paths = []
        for path in sorted(folder.glob("*.jsonl")):
            file = stack.enter_context(open(path, "r+b"))
            if _lock(file) is True:
                paths.append(path)
        if len(paths) < 2:
            return len(paths), len(paths)
        merged = folder / f"compacted-{datetime.now(UTC).strftime('%Y%m%dT%H%M%S%f')}.jsonl"
        written: set[str] = set()
        # Not a name that a reader's pattern matches before it is whole.
        partial = merged.with_suffix(".partial")
        with open(partial, "wb") as stream:
            for path in paths:
                for key, line in _lines(path):
                    stream.write(_cost_alone(line) if key in written else line)
                    if key is not None:
                        written.add(key)
            stream.flush()
            os.fsync(stream.fileno())
        partial.replace(merged)
        for path in paths:
            path.unlink()
        return len(paths), 1


def _cost_alone(line: bytes) -> bytes:
    """The line of a second reply as that of a failure: the tokens were paid for."""
    entry = json.loads(line)
    failure = {
        "failed": entry["key"],
        "received": entry["received"],
        "for": entry.get("for", ""),
        "model": entry["request"]["model"],
        "reason": "second reply",
        "attempts": [],
        "price": entry.get("price"),
        "lost": (used_in(entry) + lost_in(entry)).as_dict(),
    }
    return _line(failure, ())


def _lines(path: Path) -> Iterator[tuple[str | None, bytes]]:
    """The whole lines of a file with the keys of their replies."""
    for line in _whole_lines(path):
        with contextlib.suppress(ValueError, LookupError, TypeError):
            yield _key_of(line), line
