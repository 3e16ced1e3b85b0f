"""The local endpoint: a real server, which is gone however its block ends."""

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from scripts.lib.completions.journal import Journal
from scripts.lib.completions.local_server import check_that_it_samples, serve
from scripts.lib.completions.request import CompletionRequest
from scripts.lib.errors import UserError
from tests.completions.asking import ask, client_of

PROJECT = Path(__file__).parents[2]


def servers_of(model: Path) -> list[int]:
    """The processes that serve a model."""
    found = []
    for entry in Path("/proc").iterdir():
        try:
            arguments = (entry / "cmdline").read_bytes().split(b"\0")
        except OSError:
            continue
        if b"serve" in arguments and str(model).encode() in arguments:
            found.append(int(entry.name))
    return found


def wait_until_gone(model: Path) -> bool:
    deadline = time.monotonic() + 15
    while servers_of(model) and time.monotonic() < deadline:
        time.sleep(0.2)
    return not servers_of(model)


def test_it_answers_and_is_gone_after_an_error(tiny_model: Path, tmp_path: Path) -> None:
    """The real server of transformers behind the real client."""
    asked = [
        CompletionRequest(
            str(tiny_model), "id", (("user", "Write"),), (("max_tokens", 6),), sample=sample
        )
        for sample in range(12)
    ]
    with pytest.raises(RuntimeError), serve(tiny_model, tmp_path / "s.log", 4096) as url:
        report = ask(client_of(url, in_flight=4, timeout=60), tmp_path, asked)
        raise RuntimeError
    assert (report.done, report.failed, report.stop) == (12, [], None)
    with Journal(tmp_path, "test") as journal:
        replies = [journal[request.key] for request in asked]
    assert all(1 <= reply.completion_tokens <= 6 for reply in replies)
    assert len({reply.text for reply in replies}) > 1, "replies are sampled, not repeated"
    assert wait_until_gone(tiny_model)


def test_it_does_not_outlive_its_owner(tiny_model: Path, tmp_path: Path) -> None:
    """However that one ends; three at a time, as starting takes long."""
    statuses = {signal.SIGKILL: -9, signal.SIGTERM: 143, signal.SIGINT: 130}
    owners = {number: start_owner(tiny_model, tmp_path / f"{number}.log") for number in statuses}
    for owner in owners.values():
        assert owner.stdout.readline() == "up\n"
    assert len(servers_of(tiny_model)) >= len(owners)
    for number, owner in owners.items():
        os.kill(owner.pid, number)
    assert {number: owner.wait(20) for number, owner in owners.items()} == statuses
    assert wait_until_gone(tiny_model)


def start_owner(tiny_model: Path, log: Path) -> subprocess.Popen[str]:
    """A process that serves the model until it is ended, and says when it does."""
    code = (
        "import signal, sys, time\n"
        "from pathlib import Path\n"
        "from scripts.lib.completions.local_server import serve\n"
        "from scripts.lib.console import run_step\n"
        "def main():\n"
        f"    with serve({str(tiny_model)!r}, Path({str(log)!r}), 4096):\n"
        "        print('up', flush=True)\n"
        "        time.sleep(60)\n"
        "run_step(main)\n"
    )
    return subprocess.Popen(
        [sys.executable, "-c", code],
        cwd=PROJECT,
        stdout=subprocess.PIPE,
        text=True,
        # A child of a test run in the background would ignore Ctrl-C.
        preexec_fn=lambda: signal.signal(signal.SIGINT, signal.default_int_handler),
    )


def test_a_model_that_would_not_be_sampled_is_refused(tiny_model: Path, tmp_path: Path) -> None:
    check_that_it_samples(str(tiny_model))
    (tmp_path / "generation_config.json").write_text("{}")
    with pytest.raises(UserError, match="does not set 'do_sample'"):
        check_that_it_samples(str(tmp_path))


def test_a_server_that_cannot_start_is_explained(tmp_path: Path) -> None:
    (tmp_path / "config.json").write_text("{}")
    with pytest.raises(UserError, match="label server"), serve(tmp_path, tmp_path / "s.log", 4096):
        pass
