"""What the label client does with limits, with none, with kills, with faults and with dead keys.

    python -m bench.labels [capped uncapped kills faults keys] [--seconds 120] [--curator PYTHON]

The server is `tests.openai_server` in a process of its own, on another core. The client is the one
of the label step, in a process of its own. Compared with it, on the same server and turn by turn:
the openai-cookbook style (bench/label_clients/cookbook.py) and, where `--curator` names the Python
of an environment that has it, bespokelabs-curator 0.1.31 (bench/label_clients/curator.py). The
ratios come last.
"""

import argparse
import json
import os
import random
import signal
import statistics
import subprocess
import sys
import tempfile
import time
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from scripts.lib.completions.journal import Journal, entries

PROJECT = Path(__file__).parents[1]
CLIENT_CORE, SERVER_CORE = 0, 1
PARTS = ("capped", "uncapped", "kills", "faults", "keys")
FAULTS = (
    "429", "429_retry_after", "500", "503", "reset", "hang", "truncated", "garbage",
    "empty_choices", "error_in_200", "html_502", "slow", "400",
)  # fmt: skip


class Server:
    """The API in a process of its own."""

    def __init__(self, **settings: Any) -> None:
        self._process = subprocess.Popen(
            ["taskset", "-c", str(SERVER_CORE), sys.executable, "-m", "tests.openai_server"],
            cwd=PROJECT,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
        )
        assert self._process.stdout
        self._root = f"http://127.0.0.1:{self._process.stdout.readline().split()[1]}"
        self.url = f"{self._root}/v1"
        self._call("/control", settings)

    def _call(self, path: str, content: Any = None) -> Any:
        data = None if content is None else json.dumps(content).encode()
        request = urllib.request.Request(self._root + path, data)
        with urllib.request.urlopen(request) as reply:
            return json.load(reply)

    def stats(self, seconds: float = 1e9) -> dict[str, Any]:
        """What the server has seen in the first so many seconds."""
        return self._call(f"/stats?seconds={seconds}")

    def reset(self) -> None:
        """Forget what was seen."""
        self._call("/reset", {})

    def close(self) -> None:
        """End the server."""
        self._process.terminate()
        self._process.wait()


@contextmanager
def serving(**settings: Any) -> Iterator[Server]:
    """A server for a block."""
    server = Server(**settings)
    try:
        yield server
    finally:
        server.close()


def start_client(
    server: Server, rows: int, folder: Path, keys: str = "sk-bench", **settings: Any
) -> subprocess.Popen[str]:
    """The label client in a process of its own; the last line that it prints is JSON."""
    environment = {"OPENAI_BASE_URL": server.url, "OPENAI_API_KEYS": keys, "PYTHONPATH": "."}
    return subprocess.Popen(
        [
            *("taskset", "-c", str(CLIENT_CORE), sys.executable, "-m", "bench.label_clients.ours"),
            *(str(rows), str(folder), json.dumps(settings)),
        ],
        cwd=PROJECT,
        env={**os.environ, **environment},
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )


def run_client(server: Server, rows: int, folder: Path, **settings: Any) -> dict[str, Any]:
    """What the label client prints after a whole run, with its exit status and its messages."""
    process = start_client(server, rows, folder, **settings)
    output, errors = process.communicate()
    found = json.loads(output.splitlines()[-1]) if output else {}
    return {**found, "status": process.returncode, "errors": errors}


def capped(seconds: float) -> None:
    """How much of a cap is used, and how many requests are refused."""
    workloads = {
        "requests": {"words": 60, "max_tokens": 128, "completion_tokens": 60, "latency": 0.5},
        "tokens": {"words": 150, "max_tokens": 512, "completion_tokens": 400, "latency": 2.0},
    }
    for binding, load in workloads.items():
        for window in ("bucket", "sliding"):
            settings = {
                "requests_per_minute": 3000,
                "tokens_per_minute": 1_000_000,
                "window": window,
                "completion_tokens": load["completion_tokens"],
                "latency": load["latency"],
            }
            with serving(**settings) as server, tempfile.TemporaryDirectory() as folder:
                client = start_client(
                    server,
                    int(60 * seconds),
                    Path(folder),
                    words=load["words"],
                    max_tokens=load["max_tokens"],
                )
                while not server.stats()["entries"]:
                    time.sleep(0.05)
                time.sleep(seconds)
                stats = server.stats(seconds)
                client.send_signal(signal.SIGTERM)
                client.communicate()
            cap = {"requests": 3000, "tokens": 1_000_000}[binding] * seconds / 60
            used = stats["successes" if binding == "requests" else "tokens"] / cap
            refused = stats["refusals"] / max(1, stats["successes"] + stats["refusals"])
            print(
                f"capped by {binding}, {window}: {stats['successes']} replies, "
                f"{stats['tokens']} tokens in {seconds:g} s: {used:.1%} of the cap, "
                f"{refused:.2%} answered 429: {_holds(used >= 0.97 and refused < 0.01)}",
                flush=True,
            )


def uncapped(rows: int, rounds: int, curator: str | None) -> None:
    """Requests a second and CPU time a request of one process on one core, beside others."""
    others = {"cookbook": [sys.executable, "-m", "bench.label_clients.cookbook"]}
    if curator:
        others["curator"] = [curator, str(PROJECT / "bench/label_clients/curator.py")]
    found: dict[str, list[tuple[float, float]]] = {name: [] for name in ("ours", *others)}
    with serving() as server:
        for _ in range(rounds):
            with tempfile.TemporaryDirectory() as folder:
                result = run_client(server, rows, Path(folder))
                found["ours"].append((rows / result["seconds"], 1000 * result["cpu"] / rows))
            for name, command in others.items():
                found[name].append(_other(command, server.url, rows))
    for name, figures in found.items():
        rate, cpu = (statistics.median(figure[at] for figure in figures) for at in (0, 1))
        all_rates = ", ".join(f"{figure[0]:.0f}" for figure in figures)
        held = f": {_holds(rate >= 700 and cpu <= 1.2)}" if name == "ours" else ""
        print(
            f"uncapped, {name}: {rate:.0f} requests/s ({all_rates}), {cpu:.2f} ms of CPU each{held}"
        )
    for name in others:
        ratios = [
            ours[0] / other[0] for ours, other in zip(found["ours"], found[name], strict=True)
        ]
        print(f"uncapped, ours to {name}: {statistics.median(ratios):.1f} times", flush=True)


def _holds(condition: bool) -> str:
    """Whether the client does what it was built for: figures of docs/performance.md."""
    return "as it must" if condition else "LESS THAN IT MUST"


def _other(command: list[str], url: str, rows: int) -> tuple[float, float]:
    done = subprocess.run(
        ["taskset", "-c", str(CLIENT_CORE), *command, url, str(rows)],
        cwd=PROJECT,
        check=True,
        text=True,
        capture_output=True,
    )
    result = json.loads(done.stdout.splitlines()[-1])
    return rows / result["seconds"], 1000 * result["cpu_seconds"] / rows


def kills(rows: int = 5000, number: int = 50, in_flight: int = 32) -> None:
    """kill -9 at random moments of a run; what is asked again, and what comes of it."""
    chance = random.Random(0)
    with serving(latency=0.05) as server, tempfile.TemporaryDirectory() as folder:
        killed = Path(folder, "killed")
        for _ in range(number):
            before = _replies(killed)
            process = start_client(server, rows, killed, in_flight=in_flight)
            while server.stats()["in_flight"] == 0 and process.poll() is None:
                time.sleep(0.01)
            time.sleep(chance.uniform(0, 0.25))
            process.kill()
            process.communicate()
            # An answer to a client that is gone is counted by the server, too.
            time.sleep(0.1)
            assert _replies(killed) >= before
        left = rows - _replies(killed)
        assert left > 0, "the run was over before the last kill"
        run_client(server, rows, killed, in_flight=in_flight)
        stats = server.stats()
        repeated = stats["entries"] - rows
        undisturbed = Path(folder, "undisturbed")
        run_client(server, rows, undisturbed, in_flight=in_flight)
        replies = [entry["key"] for entry in entries(killed) if "key" in entry]
        assert len(replies) == len(set(replies)) == rows, "a reply on disk was asked for again"
        assert repeated <= number * in_flight
        assert (killed / "out").read_bytes() == (undisturbed / "out").read_bytes()
    print(
        f"kills: {number} of {rows} rows ({left} left after the last): no reply on disk asked for "
        f"again; {repeated} requests repeated, {repeated / number:.1f} a kill of {in_flight} in "
        "flight; same output",
        flush=True,
    )


def _replies(folder: Path) -> int:
    if not folder.exists():
        return 0
    with Journal(folder, "bench", writes=False) as journal:
        return len(journal)


def faults(rows: int) -> None:
    """All faults at once, each in one of a hundred requests."""
    settings = {
        "faults": dict.fromkeys(FAULTS, 0.01),
        "latency": 0.2,
        "slow_seconds": 3.0,
    }
    with serving(**settings) as server, tempfile.TemporaryDirectory() as folder:
        result = run_client(
            server, rows, Path(folder), timeout=5.0, outage=120, max_failed=0.05, memory=True
        )
        counts = server.stats()["counts"]
    assert result["status"] == 0, result["errors"]
    assert result["done"] + sum(result["failed"].values()) == rows
    flat = result["memory"][1] <= 1.1 * result["memory"][0]
    print(
        f"faults: {rows} rows in {result['seconds']:.0f} s: {result['done']} done, "
        f"failed {result['failed']}; the server answered {counts}; resident memory "
        f"{result['memory'][0] >> 20} MiB after a fifth, "
        f"{result['memory'][1] >> 20} MiB after nine tenths: {_holds(flat)}",
        flush=True,
    )


def dead_keys() -> None:
    """One bad key among five, and none that is good."""
    keys = [f"sk-bench-{number}" for number in range(5)]
    for bad, title, status in (
        (keys[2:3], "one of five keys bad", 0),
        (keys, "all five keys dead", 4),
    ):
        states = {key: {"status": "quota" if key in bad else "good"} for key in keys}
        with serving(keys=states) as server, tempfile.TemporaryDirectory() as folder:
            result = run_client(server, 1000, Path(folder), keys=",".join(keys))
            assert result["status"] == status, result["errors"]
            last = result["errors"].splitlines()[-1] if result["errors"] else ""
            print(
                f"keys: {title}: exit status {result['status']}, {result.get('done', 0)} replies "
                f"in {result.get('seconds', 0):.1f} s{'; ' + last if result['status'] else ''}",
                flush=True,
            )


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("parts", nargs="*", choices=[*PARTS, []], default=[])
    parser.add_argument("--seconds", type=float, default=120.0, help="of each capped run")
    parser.add_argument("--rows", type=int, default=10_000)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--curator", help="the Python of an environment with curator")
    arguments = parser.parse_args()
    parts = arguments.parts or PARTS
    if "capped" in parts:
        capped(arguments.seconds)
    if "kills" in parts:
        kills()
    if "faults" in parts:
        faults(arguments.rows)
    if "keys" in parts:
        dead_keys()
    if "uncapped" in parts:
        uncapped(arguments.rows, arguments.rounds, arguments.curator)


if __name__ == "__main__":
    main()
