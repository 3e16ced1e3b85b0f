"""An OpenAI-compatible endpoint on this machine, for as long as a block runs."""

import os
import socket
import subprocess
import sys
import sysconfig
import time
import urllib.error
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager
from functools import partial
from pathlib import Path

from scripts.lib.console import say
from scripts.lib.errors import UserError
from scripts.lib.lifetime import die_with_parent
from scripts.lib.models import device_and_dtype

START_SECONDS = 600
STOP_SECONDS = 3
# Short blocks let the requests of a run share the cache of their common beginning.
BLOCK_TOKENS = 16
# glibc gives each step's large buffers back to the kernel and faults them in again, up to a third
# of the time on a CPU; these settings let it keep them. Other C libraries ignore them.
KEEP_MEMORY = {
    "MALLOC_ARENA_MAX": "1",
    "MALLOC_MMAP_THRESHOLD_": str(32 << 20),
    "MALLOC_TRIM_THRESHOLD_": str(4 << 30),
    "MALLOC_TOP_PAD_": str(256 << 20),
}


# No proxy of the environment leads to this machine.
_DIRECT = urllib.request.build_opener(urllib.request.ProxyHandler({}))


def free_port() -> int:
    """A loopback port that nobody listened on a moment ago."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return probe.getsockname()[1]


def _command(model: str, port: int, cache_tokens: int) -> list[str]:
    device, dtype = device_and_dtype()
    # A GPU is ours, and the server fills it; of the machine's memory it may not take 60 %.
    blocks = [f"--cb-num-blocks={-(-cache_tokens // BLOCK_TOKENS)}"] if device == "cpu" else []
    return [
        sys.executable,
        str(Path(sysconfig.get_path("scripts")) / "transformers"),
        "serve",
        model,
        "--continuous-batching",
        f"--device={device}",
        f"--dtype={str(dtype).removeprefix('torch.')}",
        f"--cb-block-size={BLOCK_TOKENS}",
        *blocks,
        "--host=127.0.0.1",
        f"--port={port}",
    ]


def _healthy(port: int) -> bool:
    try:
        with _DIRECT.open(f"http://127.0.0.1:{port}/health", timeout=5) as reply:
            return reply.status == 200
    except (urllib.error.URLError, OSError):
        return False


def _last_line(log: Path) -> str:
    lines = log.read_text(encoding="utf-8", errors="replace").strip().splitlines()
    return lines[-1][:300] if lines else "no message"


def _wait_until_healthy(server: subprocess.Popen[bytes], port: int, log: Path) -> None:
    deadline = time.monotonic() + START_SECONDS
    while not _healthy(port):
        if server.poll() is not None:
            raise UserError(f"the label server ended at its start: {_last_line(log)} (see {log})")
        if time.monotonic() > deadline:
            raise UserError(f"the label server was not ready after {START_SECONDS} s (see {log})")
        time.sleep(0.5)


def _stop(server: subprocess.Popen[bytes]) -> None:
    server.terminate()
    try:
        server.wait(STOP_SECONDS)
    except subprocess.TimeoutExpired:
        server.kill()
        server.wait()


def check_that_it_samples(model: str) -> None:
    """Raise `UserError` for a model that `transformers serve` would decode greedily.

    The server obeys a request's temperature only where the model's own generation config says that
    it is to be sampled.
    """
    from transformers import GenerationConfig

    try:
        samples = GenerationConfig.from_pretrained(model).do_sample
    except OSError:
        samples = False
    if not samples:
        raise UserError(
            f"{model}/generation_config.json does not set 'do_sample': true, so that every reply "
            "of a local endpoint would be the same: set it, or set label.temperature to 0 and "
            "label.replies to 1"
        )


@contextmanager
def serve(model: str, log: Path, cache_tokens: int) -> Iterator[str]:
    """Serve a model with continuous batching on a free loopback port.

    `cache_tokens` is how many tokens, of all open requests together, the server keeps in memory.
    Yields the endpoint's base URL once the server is healthy. The server is stopped however the
    block ends, and the kernel kills it when this process is killed. Raises `UserError` where the
    server does not come up.
    """
    port = free_port()
    log.parent.mkdir(parents=True, exist_ok=True)
    with open(log, "wb") as stream:
        server = subprocess.Popen(
            _command(model, port, cache_tokens),
            stdin=subprocess.DEVNULL,
            stdout=stream,
            stderr=subprocess.STDOUT,
            # A session of its own: Ctrl-C reaches only us, and we stop it when replies are safe.
            start_new_session=True,
            preexec_fn=partial(die_with_parent, os.getpid()),
            env={**KEEP_MEMORY, **os.environ, "HF_HUB_DISABLE_TELEMETRY": "1"},
        )
        try:
            say(f"label server: starting {model} on port {port}")
            _wait_until_healthy(server, port, log)
            yield f"http://127.0.0.1:{port}/v1"
        finally:
            _stop(server)
