"""Files and directories that are complete or absent, and what JSON files hold.

What is unfinished lies beside its destination under a name of its own, always the same: what a kill
leaves there is cleared by the next run.
"""

import json
import os
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import IO, Any

from scripts.lib.errors import UserError


def _partial(path: Path) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    return path.parent / f".{path.name}.partial"


@contextmanager
def atomic_file(path: str | Path, mode: int = 0o666) -> Iterator[IO[str]]:
    """Open a text file that appears at `path`, synced to disk, when the block ends.

    It is created with the permissions `mode`, less the umask. When the block raises, `path` stays
    as it was and nothing is left.
    """
    path = Path(path)
    partial = _partial(path)

    def create(name: str, flags: int) -> int:
        return os.open(name, flags, mode)

    try:
        with open(partial, "w", encoding="utf-8", opener=create) as stream:
            yield stream
            stream.flush()
            os.fsync(stream.fileno())
        partial.replace(path)
    except BaseException:
        partial.unlink(missing_ok=True)
        raise


def write_json(path: str | Path, content: Any) -> None:
    """Write a JSON file for people to read, complete or not at all."""
    with atomic_file(path) as stream:
        json.dump(content, stream, indent=2, ensure_ascii=False)
        stream.write("\n")


def read_json(path: Path) -> Any:
    """The content of a JSON file. Raises `UserError` where it cannot be read."""
    try:
        return json.loads(path.read_text(encoding="utf-8"))
    except OSError as error:
        raise UserError(f"{path}: cannot be read: {error.strerror}") from error
    except ValueError as error:
        raise UserError(f"{path}: is not JSON: remove it, and make it again") from error


@contextmanager
def atomic_directory(path: str | Path) -> Iterator[Path]:
    """Yield an empty directory that becomes `path`, in place of any older one, when the block ends.

    When the block raises, `path` stays as it was and nothing is left.
    """
    path = Path(path)
    partial = _partial(path)
    shutil.rmtree(partial, ignore_errors=True)
    partial.mkdir()
    try:
        yield partial
        shutil.rmtree(path, ignore_errors=True)
        partial.replace(path)
    except BaseException:
        shutil.rmtree(partial, ignore_errors=True)
        raise
