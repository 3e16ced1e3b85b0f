"""The label client of the project over made-up rows, as `bench.labels` starts it.

    python -m bench.label_clients.ours ROWS FOLDER SETTINGS_AS_JSON

The journal is in FOLDER, the replies in the order of the rows in FOLDER/out.
"""

import json
import sys
import time
from collections import Counter
from pathlib import Path
from typing import Any

from scripts.lib.completions.endpoint import Endpoint
from scripts.lib.completions.journal import Journal
from scripts.lib.completions.question import Question
from scripts.lib.completions.request import Completion, CompletionRequest
from scripts.lib.completions.settings import ClientSettings
from scripts.lib.console import run_step
from scripts.lib.schema import check_against_schema

OURS = ("words", "max_tokens", "memory")


def requests_of(rows: int, words: int, max_tokens: int) -> list[CompletionRequest]:
    """Requests that are all different, of about so many words."""
    text = "word " * words
    return [
        CompletionRequest(
            model="gpt-4o-mini",
            model_identity="gpt-4o-mini",
            messages=(("user", f"{number:06d} {text}"),),
            parameters=(("max_tokens", max_tokens), ("temperature", 0.7)),
            sample=0,
        )
        for number in range(rows)
    ]


def resident() -> int:
    """Bytes of memory that this process occupies."""
    return int(Path("/proc/self/statm").read_text().split()[1]) * 4096


def main() -> None:
    rows, folder, given = int(sys.argv[1]), Path(sys.argv[2]), json.loads(sys.argv[3])
    own = {name: given.pop(name) for name in OURS if name in given}
    requests = requests_of(rows, own.get("words", 160), own.get("max_tokens", 50))
    settings = ClientSettings.from_json(json.dumps({**client_defaults(), **given}))
    memory: list[int] = []
    received = 0

    def count(request: CompletionRequest, completion: Completion) -> str:
        nonlocal received
        received += 1
        if received in (rows // 5, rows * 9 // 10):
            memory.append(resident())
        return ""

    # Importing the openai package is not part of the run.
    import aiohttp  # noqa: F401
    import openai  # noqa: F401

    began, cpu = time.perf_counter(), time.process_time()
    found: dict[str, Any] = {}
    with Journal(folder, "bench") as journal:
        try:
            with Endpoint(
                "openai", "gpt-4o-mini", settings, server_log=folder / "log", sampled=True
            ) as endpoint:
                failed = endpoint.ask(Question("bench", requests, count), journal)
            found["failed"] = Counter(failure.reason for failure in failed.values())
            found["done"] = rows - len(failed)
        finally:
            found["seconds"] = time.perf_counter() - began
            found["cpu"] = time.process_time() - cpu
            found["memory"] = memory
            print(json.dumps(found), flush=True)
        with open(folder / "out", "w") as out:
            for request in requests:
                reply = journal.get(request.key)
                out.write(f"{request.key} {json.dumps(reply.text) if reply else ''}\n")


def client_defaults() -> dict[str, Any]:
    """The section `label.client` of the config with its defaults."""
    config: dict[str, Any] = {}
    check_against_schema(config, Path("schemas/config.schema.yaml"), "no config")
    return config["label"]["client"]


if __name__ == "__main__":
    run_step(main)
