"""The labelling endpoint: its keys, and whether it answers to them; asks only for its models."""

import json
import os
from pathlib import Path
from typing import TYPE_CHECKING

from scripts.lib.doctor import MISSING, OK, WARN, Finding
from scripts.lib.doctor.setup import Setup
from scripts.lib.doctor.web import NoAnswer, ask, without_secrets
from scripts.lib.errors import UserError

if TYPE_CHECKING:
    from scripts.lib.completions.keys import ApiKey

# More keys than these are not tried: a look shall take seconds.
MOST_KEYS = 8


def endpoint(setup: Setup) -> list[Finding]:
    """The keys of all tasks, and the endpoint; nothing of it for a local one."""
    if setup.labels_locally:
        return [Finding(OK, "endpoint", "local: the step that labels serves the model itself")]
    found = []
    for name in setup.values("label/client/key_file"):
        keys, finding = load(Path(os.path.expanduser(name)) if name else None)
        found += [finding, *(looks(keys, setup.values("label/model")) if keys else [])]
    return found


def load(key_file: Path | None) -> tuple[list["ApiKey"], Finding]:
    """The keys to use, and what there is to say of them, which is never what they are."""
    from scripts.lib.completions.keys import load_keys

    try:
        keys = load_keys(os.environ, key_file)
    except UserError as error:
        return [], Finding(MISSING, "key", str(error))
    detail = f"{len(keys)} of {keys[0].source}"
    if key_file and key_file.stat().st_mode & 0o077:
        detail += ", which others may read or write"
        return keys, Finding(WARN, "key", detail, f"chmod 600 {key_file}")
    return keys, Finding(OK, "key", detail)


def looks(keys: list["ApiKey"], models: list[str]) -> list[Finding]:
    """What the endpoint says to each key when it is asked for its models, which costs nothing."""
    from scripts.lib.completions.endpoint import remote_url

    url = remote_url()
    shown, refused, listed = without_secrets(url), [], None
    for key in keys[:MOST_KEYS]:
        try:
            answer = ask(f"{url}/models", {"Authorization": f"Bearer {key.secret}"})
        except NoAnswer as error:
            remedy = "is OPENAI_BASE_URL right, is a proxy needed (HTTPS_PROXY)?"
            return [Finding(MISSING, "endpoint", f"{shown} does not answer: {error}", remedy)]
        if answer.status in (401, 403):
            refused.append(key.number)
        elif answer.status == 200:
            listed = _names(answer.body)
        else:
            detail = f"{shown} answers, but to a look at its models with HTTP {answer.status}"
            remedy = "it may label all the same, if the address is right (it often ends with /v1)"
            return [Finding(WARN, "endpoint", detail, remedy)]
    tried = min(len(keys), MOST_KEYS)
    if len(refused) == tried:
        detail = f"{shown} answers and refuses {'the key' if tried == 1 else 'every key'}"
        return [Finding(MISSING, "endpoint", detail, "is the key of this endpoint, and valid?")]
    found = [Finding(OK, "endpoint", f"{shown} answers to {tried - len(refused)} of {tried} keys")]
    if refused:
        detail = f"{shown} refuses key {', '.join(map(str, refused))} of {keys[0].source}"
        found.append(Finding(WARN, "endpoint", detail, "take them out, or renew them"))
    for model in models:
        if listed and model not in listed:
            detail = f"{model} is not among the {len(listed)} models that {shown} lists"
            found.append(Finding(WARN, "endpoint", detail, "is label.model spelt right?"))
    return found


def _names(body: bytes) -> set[str]:
    """The models that an answer lists; none where it has another form."""
    try:
        return {one["id"] for one in json.loads(body)["data"]}
    except (ValueError, LookupError, TypeError):
        return set()
