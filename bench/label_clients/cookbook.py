"""A bulk client in the style of the openai-cookbook's parallel request script, to compare with.

    python -m bench.label_clients.cookbook BASE_URL ROWS

As there: a loop of 1 ms, token buckets for requests and tokens, a task for each request whatever
the number of open ones, results appended to a file unsorted. Through the openai client with its
default transport.
"""

import asyncio
import json
import sys
import tempfile
import time
from pathlib import Path

from bench.label_clients.ours import requests_of

LOOP_SECONDS = 0.001
REQUESTS_PER_MINUTE = TOKENS_PER_MINUTE = 1e9


async def complete(base_url: str, bodies: list[dict], path: Path) -> None:
    """Send every body, and append what comes back to a file."""
    import openai

    requests_left, tokens_left = REQUESTS_PER_MINUTE, TOKENS_PER_MINUTE
    last, tasks, waiting = time.time(), [], list(reversed(bodies))
    async with openai.AsyncOpenAI(base_url=base_url, api_key="sk-bench") as client:

        async def call(body: dict) -> None:
            response = await client.chat.completions.create(**body)
            with open(path, "a") as file:
                file.write(json.dumps([body, response.model_dump()]) + "\n")

        while waiting:
            now = time.time()
            requests_left = min(
                REQUESTS_PER_MINUTE, requests_left + REQUESTS_PER_MINUTE * (now - last) / 60
            )
            tokens_left = min(
                TOKENS_PER_MINUTE, tokens_left + TOKENS_PER_MINUTE * (now - last) / 60
            )
            last = now
            body = waiting[-1]
            tokens = sum(len(message["content"]) for message in body["messages"]) // 4
            tokens += body["max_tokens"]
            if requests_left >= 1 and tokens_left >= tokens:
                requests_left, tokens_left = requests_left - 1, tokens_left - tokens
                tasks.append(asyncio.create_task(call(waiting.pop())))
            await asyncio.sleep(LOOP_SECONDS)
        await asyncio.gather(*tasks)


def main() -> None:
    bodies = [request.body() for request in requests_of(int(sys.argv[2]), 160, 50)]
    import openai  # noqa: F401

    with tempfile.TemporaryDirectory() as folder:
        began, cpu = time.perf_counter(), time.process_time()
        asyncio.run(complete(sys.argv[1], bodies, Path(folder, "out.jsonl")))
        seconds, cpu_seconds = time.perf_counter() - began, time.process_time() - cpu
        assert len(Path(folder, "out.jsonl").read_text().splitlines()) == len(bodies)
    print(json.dumps({"seconds": seconds, "cpu_seconds": cpu_seconds}))


if __name__ == "__main__":
    main()
