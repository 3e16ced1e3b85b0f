"""The name under which unfinished work is kept, so that no other work is ever taken for it."""

import hashlib
import json
from collections.abc import Iterable
from importlib.metadata import version
from pathlib import Path
from typing import Any


def name_of_work(inputs: Any, code: Iterable[Path], packages: Iterable[str]) -> str:
    """A digest of all that decides a result: its inputs, the files and the packages that make it.

    `inputs` is anything that JSON can hold; what it cannot hold counts as its text.
    """
    parts = {
        "inputs": inputs,
        "code": [hashlib.sha256(path.read_bytes()).hexdigest() for path in code],
        "versions": {name: version(name) for name in packages},
    }
    return hashlib.sha256(json.dumps(parts, sort_keys=True, default=str).encode()).hexdigest()[:32]
