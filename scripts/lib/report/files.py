"""What the report shows of the JSON files of earlier steps."""

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from scripts.lib.errors import UserError
from scripts.lib.files import read_json


@contextmanager
def content_of(path: Path) -> Iterator[Any]:
    """The content of a JSON file, for a block that shows it.

    Raises `UserError` where it cannot be read, or lacks what the block asks of it.
    """
    content = read_json(path)
    try:
        yield content
    except (KeyError, TypeError, AttributeError) as error:
        lacks = f" (lacks {error})" if isinstance(error, KeyError) else f" ({error})"
        raise UserError(
            f"{path}: is not what its step writes{lacks}: remove it, and make it again"
        ) from error
