"""Reading the JSON files of earlier steps for the report."""

import json
from pathlib import Path
from typing import Any

from scripts.lib.errors import UserError


def read_json(path: Path) -> Any:
    """The content of a JSON file.

    Raises `UserError` where it cannot be read.
    """
    try:
        return json.loads(path.read_text(encoding="utf-8"))
    except OSError as error:
        raise UserError(f"{path}: cannot be read: {error.strerror}") from error
    except ValueError as error:
        raise UserError(f"{path}: is not JSON: remove it, and make it again") from error


def other_form(path: Path, error: Exception) -> UserError:
    """The error of a file that lacks what the report shows of it."""
    lacks = f" (lacks {error})" if isinstance(error, KeyError) else f" ({error})"
    return UserError(f"{path}: is not what its step writes{lacks}: remove it, and make it again")
