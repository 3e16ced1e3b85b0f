"""API keys: where they come from, and what becomes of one that is refused.

A key is in memory and in the header of a request, nowhere else: it has no text form, so that no log
can show it, and everything that is written passes `redacted`.
"""

import json
import os
import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path

from scripts.lib.completions.stops import NoKeyLeft
from scripts.lib.errors import UserError
from scripts.lib.files import atomic_file
from scripts.lib.locks import locked

# Servers that want no key are given a word; as a word of a reply it must stay.
SHORTEST_SECRET = 8
NO_SECRETS = {"dontcare", "localhost", "lm-studio", "no-key-required", "not-needed", "placeholder"}
LONGEST_MESSAGE = 300


@dataclass(frozen=True)
class ApiKey:
    """A key; messages call it by its `number`, counted from 1, and name its `source`."""

    number: int
    secret: str = field(repr=False)
    source: str = "OPENAI_API_KEY"


def secrets_of(keys: list[ApiKey]) -> tuple[str, ...]:
    """What must not be written to any file; words such as `EMPTY` are no secrets."""
    return tuple(
        key.secret
        for key in keys
        if len(key.secret) >= SHORTEST_SECRET and key.secret.lower() not in NO_SECRETS
    )


def load_keys(environment: Mapping[str, str], key_file: Path | None) -> list[ApiKey]:
    """The keys to use: of the key file where one is named, else of the environment.

    `OPENAI_API_KEYS` holds several, parted by commas or spaces, `OPENAI_API_KEY` one. The file has
    the original's form, `{"available": [...], "aborted": [...]}`; only the available ones are used.
    Raises `NoKeyLeft` where all keys of a file are aborted, `UserError` where there is no key at
    all, or one that no header can carry.
    """
    if key_file is not None:
        listed = _read_key_file(key_file)
        secrets, where = listed["available"], f"'available' in {key_file}"
        if listed["aborted"] and not any(secrets):
            raise NoKeyLeft(f"all keys of {key_file} are aborted: put a valid one into 'available'")
    elif environment.get("OPENAI_API_KEYS", "").strip():
        secrets = re.split(r"[,\s]+", environment["OPENAI_API_KEYS"].strip(" ,\n\t"))
        where = "OPENAI_API_KEYS"
    else:
        secrets, where = [environment.get("OPENAI_API_KEY", "").strip()], "OPENAI_API_KEY"
    secrets = list(dict.fromkeys(secret for secret in secrets if secret))
    if not secrets:
        raise UserError(
            f"{key_file}: 'available' holds no key: put one there"
            if key_file is not None
            else "OPENAI_API_KEY is not set: export it (or OPENAI_API_KEYS, or name a "
            "label.client.key_file), or set 'label.endpoint: local' in config.yaml"
        )
    for number, secret in enumerate(secrets, start=1):
        if not (secret.isascii() and secret.isprintable() and " " not in secret):
            raise UserError(f"{where}: key {number} holds a character that no key has: mend it")
    return [ApiKey(number, secret, where) for number, secret in enumerate(secrets, start=1)]


def _read_key_file(path: Path) -> dict[str, list[str]]:
    try:
        content = json.loads(path.read_text(encoding="utf-8"))
    except (FileNotFoundError, IsADirectoryError, NotADirectoryError) as error:
        raise UserError(f"{path}: is no key file: mend label.client.key_file") from error
    except UnicodeDecodeError as error:
        raise UserError(f"{path}: is not text") from error
    except ValueError as error:
        # Not the error's own text: it may quote the file.
        raise UserError(
            f"{path}: is not JSON (no comments, no trailing commas): "
            'write {"available": ["..."], "aborted": []}'
        ) from error
    for name in ("available", "aborted"):
        listed = content.get(name, []) if isinstance(content, dict) else None
        if not isinstance(listed, list) or not all(isinstance(key, str) for key in listed):
            raise UserError(f"{path}: '{name}' must be a list of keys")
    return {"available": content.get("available", []), "aborted": content.get("aborted", [])}


def move_to_aborted(path: Path, retired: list[ApiKey]) -> None:
    """Rewrite a key file with the retired keys under `aborted`; its owner and mode stay.

    Keys that were added meanwhile stay where they are. Two runs do so one after the other.
    """
    secrets = {key.secret for key in retired}
    with locked(path):
        content = _read_key_file(path)
        moved = [secret for secret in content["available"] if secret in secrets]
        if not moved:
            return
        content["available"] = [key for key in content["available"] if key not in secrets]
        content["aborted"] = list(dict.fromkeys([*content["aborted"], *moved]))
        state = path.stat()
        with atomic_file(path, mode=0o600) as stream:
            json.dump(content, stream, indent=2)
            stream.write("\n")
            os.chmod(stream.fileno(), state.st_mode & 0o777)
            if os.geteuid() == 0:
                os.chown(stream.fileno(), state.st_uid, state.st_gid)


def redacted(text: str, keys: list[ApiKey]) -> str:
    """The beginning of a text, in which every key that an endpoint has repeated is blotted out.

    It is cut afterwards: a part of a key would not be found.
    """
    for key in keys:
        # In a message a word may be blotted out as well: nothing hangs on it.
        if len(key.secret) >= SHORTEST_SECRET:
            text = text.replace(key.secret, f"[key {key.number}]")
    return text[:LONGEST_MESSAGE]
