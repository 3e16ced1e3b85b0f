"""The label client against a server that behaves, and misbehaves, like the API; real sockets."""

import contextlib
import json
import os
import random
import re
import signal
import socket
import subprocess
import sys
import threading
import time
from collections import Counter
from pathlib import Path

import pytest

from scripts.lib.completions.answers import Answer, Meaning, judge
from scripts.lib.completions.budget import Caps
from scripts.lib.completions.journal import Journal, entries
from scripts.lib.completions.pricing import Price
from scripts.lib.completions.stops import BudgetReached, EndpointDown, NoKeyLeft
from scripts.lib.errors import UserError
from tests.completions.asking import ask, asked_again, client_of, request, requests
from tests.openai_server import KeyState, OpenAIServer

PROJECT = Path(__file__).parents[2]


@pytest.fixture
def server():
    with OpenAIServer() as server:
        yield server


def test_every_reply_is_asked_for_once(tmp_path: Path, server) -> None:
    asked = requests(10)
    seen = []
    report = ask(
        client_of(server.url),
        tmp_path,
        [*asked, *asked],
        on_reply=lambda one, response: seen.append((one.key, response["usage"])),
    )
    assert (report.done, report.failed, report.not_sent, report.stop) == (10, [], 0, None)
    assert len(server.requests) == len(seen) == 10
    assert ask(client_of(server.url), tmp_path, [*asked, request("new")]).done == 1
    assert len(server.requests) == 11
    assert server.requests[-1] == {
        "model": "m",
        "messages": [{"role": "user", "content": "new"}],
        "max_tokens": 5,
        "temperature": 0.5,
    }
    with Journal(tmp_path, "test") as journal:
        assert journal[asked[0].key].text == server.reply
        entry = journal.entry(asked[0].key)
    assert entry["request"]["messages"] == asked[0].chat()
    assert entry["headers"]["x-request-id"].startswith("req_")
    [attempt] = entry["attempts"]
    assert (attempt["outcome"], attempt["key"]) == ("reply", 1)


FAULTS = [
    "429",
    "429_retry_after",
    "500",
    "503",
    "reset",
    "hang",
    "truncated",
    "garbage",
    "empty_choices",
    "error_in_200",
    "html_502",
]


@pytest.mark.parametrize("kind", FAULTS)
def test_a_passing_fault_is_tried_again(tmp_path: Path, server, kind: str) -> None:
    # Of the sixth request only: nothing is wrong with the endpoint as such.
    server.fault_for = lambda body, seen: (
        kind if body["messages"][0]["content"] == "question 5" and not seen else None
    )
    report = ask(client_of(server.url, timeout=0.5), tmp_path, requests(12))
    assert (report.done, report.failed, report.stop) == (12, [], None)
    assert len(server.requests) == 13
    with Journal(tmp_path, "test") as journal:
        attempts = journal.entry(requests(12)[5].key)["attempts"]
    assert len(attempts) == 2
    assert attempts[0]["outcome"] != "reply"


def test_a_row_that_never_works_fails_with_its_reason_and_no_other_does(tmp_path, server) -> None:
    kinds = {"question 3": "400", "question 7": "500", "question 8": "truncated"}
    server.fault_for = lambda body, seen: kinds.get(body["messages"][0]["content"])
    report = ask(client_of(server.url, attempts=3), tmp_path, requests(40))
    assert report.done == 37
    found = {one.request.messages[0][1]: (one.reason, one.detail) for one in report.failed}
    assert found["question 3"][0] == "refused"
    assert "maximum context length" in found["question 3"][1]
    assert found["question 7"] == (
        "unanswered",
        "HTTP 500: The server had an error while processing your request.",
    )
    assert found["question 8"][0] == "unanswered"
    assert Counter(body["messages"][0]["content"] for body in server.requests)["question 7"] == 3
    failures = [entry for entry in entries(tmp_path) if "failed" in entry]
    assert sorted(entry["reason"] for entry in failures) == ["refused", "unanswered", "unanswered"]
    # A truncated reply may have been charged for; a refusal was not.
    assert sorted(entry["lost"]["completion_tokens"] for entry in failures) == [0, 0, 3 * 50]
    server.fault_for = None
    again = asked_again(tmp_path, requests(40))
    assert len(again) == 3
    assert ask(client_of(server.url), tmp_path, requests(40)).done == 3


def test_bad_rows_alone_end_a_run_and_a_bad_first_row_does_not(tmp_path: Path, server) -> None:
    server.fault_for = lambda body, seen: (
        "500" if body["messages"][0]["content"] in ("question 0", "question 3") else None
    )
    for _ in range(2):
        # The second time, nothing but the bad rows is missing.
        report = ask(client_of(server.url, attempts=2), tmp_path, requests(20))
        assert report.stop is None
        assert [one.reason for one in report.failed] == ["unanswered"] * 2
    assert len(asked_again(tmp_path, requests(20))) == 2


def test_attempts_hold_for_one_request_at_a_time(tmp_path: Path, server) -> None:
    server.fault_for = lambda body, seen: (
        "500" if body["messages"][0]["content"] == "question 3" else None
    )
    report = ask(client_of(server.url, in_flight=1, attempts=3), tmp_path, requests(300))
    assert report.done == 299
    asked = Counter(body["messages"][0]["content"] for body in server.requests)
    assert asked["question 3"] == 3


def test_rate_limits_delay_and_lose_nothing(tmp_path: Path, server) -> None:
    """More refusals than a request has attempts: they are not the request's fault."""
    server.fault_for = lambda body, seen: "429_retry_after" if seen < 6 else None
    report = ask(client_of(server.url, attempts=1), tmp_path, requests(8))
    assert (report.done, report.failed, report.stop) == (8, [], None)
    assert server.counts["429_retry_after"] == 48


def test_limits_are_learnt_from_the_headers(tmp_path: Path, server) -> None:
    server.requests_per_minute, server.burst_seconds = 1200, 1.0
    began = time.monotonic()
    report = ask(client_of(server.url, in_flight=50), tmp_path, requests(60))
    assert report.done == 60
    assert server.counts[429] == 0
    # 20 a second, of which the first 20 may come at once.
    assert time.monotonic() - began > 1.5


@pytest.mark.parametrize("status", ["quota", "invalid", "forbidden"])
def test_one_bad_key_of_five_is_retired_alone(tmp_path: Path, server, capfd, status: str) -> None:
    keys = tuple(f"sk-secret-{number}" for number in range(5))
    server.keys = {key: KeyState() for key in keys}
    server.keys[keys[2]] = KeyState(status)
    report = ask(client_of(server.url, keys), tmp_path, requests(60))
    assert (report.done, report.failed, report.stop) == (60, [], None)
    by_key = Counter(entry.key for entry in server.log if entry.status != 200)
    assert set(by_key) == {keys[2]}
    assert by_key[keys[2]] <= 8, "no more than were in flight when the first was refused"
    assert {entry.key for entry in server.log} == set(keys)
    said = "".join(capfd.readouterr())
    assert said.count("key 3 is not used any more") == 1
    assert_no_secret(keys, tmp_path, said)


def assert_no_secret(keys: tuple[str, ...], folder: Path, *texts: str) -> None:
    written = [path.read_bytes() for path in folder.rglob("*") if path.is_file()]
    for key in keys:
        assert all(key not in text for text in texts)
        assert all(key.encode() not in content for content in written)


def test_a_key_that_is_a_mere_word_stays_in_the_replies(tmp_path: Path, server) -> None:
    server.reply = "An EMPTY list is a local variable."
    assert ask(client_of(server.url, ("EMPTY", "local")), tmp_path, requests(4)).done == 4
    with Journal(tmp_path, "test") as journal:
        assert {journal[one.key].text for one in requests(4)} == {server.reply}


def test_a_key_that_a_reply_repeats_is_blotted_out(tmp_path: Path, server) -> None:
    server.reply = "The key was sk-secret-0123456789."
    assert ask(client_of(server.url, ("sk-secret-0123456789",)), tmp_path, requests(4)).done == 4
    assert_no_secret(("sk-secret-0123456789",), tmp_path)
    server.reply = "It is passwordofmine, the placeholder of an EMPTY list."
    ask(client_of(server.url, ("passwordofmine", "placeholder")), tmp_path, requests(5))
    with Journal(tmp_path, "test") as journal:
        told = journal[requests(5)[4].key].text
    assert told == "It is [key], the placeholder of an EMPTY list."


def test_a_key_without_quota_midway_hands_over_to_the_others(tmp_path: Path, server) -> None:
    server.keys = {"sk-a-0123456789": KeyState(quota_after=5), "sk-b-0123456789": KeyState()}
    report = ask(
        client_of(server.url, ("sk-a-0123456789", "sk-b-0123456789")), tmp_path, requests(40)
    )
    assert (report.done, report.stop) == (40, None)


@pytest.mark.parametrize("bad", [[7, 8], [0], [38, 39]], ids=str)
@pytest.mark.parametrize("keys", [1, 3])
def test_rows_that_are_forbidden_cost_no_key(tmp_path: Path, server, bad, keys: int) -> None:
    texts = {f"question {at}" for at in bad}
    server.fault_for = lambda body, seen: "403" if body["messages"][0]["content"] in texts else None
    secrets = tuple(f"sk-{at}" for at in range(keys))
    report = ask(client_of(server.url, secrets, in_flight=1), tmp_path, requests(40))
    assert (report.done, report.stop) == (40 - len(bad), None)
    assert {failure.request.messages[0][1] for failure in report.failed} == texts
    assert {failure.reason for failure in report.failed} == {"refused"}
    # Each key says so twice; but one that has not worked yet need not be asked.
    assert 2 * len(bad) <= server.counts["403"] <= 2 * keys * len(bad)


def test_rows_that_were_refused_and_alone_are_missing_cost_no_key(tmp_path: Path, server) -> None:
    bad = [one.messages[0][1] for one in requests(12)[10:]]
    server.fault_for = lambda body, seen: "403" if body["messages"][0]["content"] in bad else None
    for done in (10, 0):
        report = ask(client_of(server.url), tmp_path, requests(12))
        assert (report.done, report.stop) == (done, None)
        assert [failure.reason for failure in report.failed] == 2 * ["refused"]


@pytest.mark.parametrize("missing", [1, 2, 3])
def test_the_last_rows_go_to_keys_that_are_good(tmp_path: Path, server, missing: int) -> None:
    keys = [f"sk-{at}-0123456789" for at in range(5)]
    assert ask(client_of(server.url, keys), tmp_path, requests(10)).done == 10
    server.keys = {key: KeyState() for key in keys} | {keys[0]: KeyState("forbidden")}
    report = ask(client_of(server.url, keys), tmp_path, requests(10 + missing))
    assert (report.done, report.failed, report.stop) == (missing, [], None)


@pytest.mark.parametrize("missing", [1, 2, 3])
@pytest.mark.parametrize("number", [1, 2])
def test_dead_keys_are_not_taken_for_bad_rows(tmp_path, server, missing: int, number: int) -> None:
    """Where all that is left to ask is forbidden, and earlier runs had replies."""
    keys = [f"sk-{at}-0123456789" for at in range(number)]
    assert ask(client_of(server.url, keys), tmp_path, requests(10)).done == 10
    server.keys = {key: KeyState("forbidden") for key in keys}
    report = ask(client_of(server.url, keys), tmp_path, requests(10 + missing))
    assert isinstance(report.stop, NoKeyLeft)
    assert (report.failed, report.not_sent) == ([], missing)


@pytest.mark.parametrize("number", [1, 40])
def test_a_key_that_is_forbidden_from_the_start_is_given_up(tmp_path, server, number) -> None:
    server.keys = {"sk-a-0123456789": KeyState("forbidden")}
    report = ask(client_of(server.url, ("sk-a-0123456789",)), tmp_path, requests(number))
    assert isinstance(report.stop, NoKeyLeft)
    assert (report.not_sent, len(server.log)) == (number, 2)


def test_a_key_that_is_forbidden_midway_is_retired(tmp_path: Path, server, capfd) -> None:
    keys = ("sk-a-0123456789", "sk-b-0123456789")
    server.keys = {key: KeyState() for key in keys}

    def forbid(one, response) -> None:
        server.keys[keys[0]] = KeyState("forbidden")

    report = ask(client_of(server.url, keys), tmp_path, requests(60), on_reply=forbid)
    assert (report.done, report.failed, report.stop) == (60, [], None)
    assert capfd.readouterr().err.count("key 1 is not used any more: key refused") == 1
    assert server.counts[403] <= 8


def test_all_keys_dead_stops_cleanly_and_can_go_on(tmp_path: Path, server, capfd) -> None:
    server.keys = {
        "sk-a-0123456789": KeyState(quota_after=5),
        "sk-b-0123456789": KeyState("invalid"),
    }
    report = ask(
        client_of(server.url, ("sk-a-0123456789", "sk-b-0123456789")), tmp_path, requests(40)
    )
    assert isinstance(report.stop, NoKeyLeft)
    assert report.stop.status == 4
    assert "1 no quota left, 1 key refused" in str(report.stop)
    # What was in flight when the quota ended was answered and is kept.
    assert report.done + report.not_sent == 40
    assert 5 <= report.done == server.counts[200]
    assert_no_secret(
        ("sk-a-0123456789", "sk-b-0123456789"), tmp_path, *capfd.readouterr(), str(report.stop)
    )
    server.keys = {"sk-c": KeyState()}
    assert ask(client_of(server.url, ("sk-c",)), tmp_path, requests(40)).done == report.not_sent


def test_a_wrong_model_or_path_stops_at_the_first_request(tmp_path: Path, server) -> None:
    report = ask(client_of(server.url.replace("/v1", "/v9")), tmp_path, requests(9))
    assert "does not know the model or the path" in str(report.stop)
    assert (report.done, report.not_sent) == (0, 9)


def test_what_is_always_refused_stops_after_a_few(tmp_path: Path, server) -> None:
    server.fault_for = lambda body, seen: "400"
    report = ask(client_of(server.url), tmp_path, requests(9))
    assert "refuses the requests" in str(report.stop)
    assert "maximum context length" in str(report.stop)
    assert (report.done, len(report.failed), report.not_sent) == (0, 3, 6)


def test_an_endpoint_that_is_not_there_is_named(tmp_path: Path, server) -> None:
    server.close()
    report = ask(client_of(server.url, attempts=2), tmp_path, requests(5))
    assert isinstance(report.stop, EndpointDown)
    assert report.stop.status == 5
    assert f"{server.url} cannot be reached" in str(report.stop)
    assert len(report.failed) + report.not_sent == 5


def test_no_row_is_lost_to_an_outage(tmp_path: Path) -> None:
    """The endpoint goes away for longer than a row's attempts last, and comes back."""
    first = OpenAIServer(latency=0.02)
    port, second = first.port, []

    def restart() -> None:
        while sum(first.answered.values()) < 30:
            time.sleep(0.01)
        first.close()
        time.sleep(2.5)
        second.append(OpenAIServer(port=port))

    thread = threading.Thread(target=restart)
    thread.start()
    report = ask(client_of(first.url, attempts=2), tmp_path, requests(150))
    thread.join()
    second[0].close()
    assert (report.done, report.failed, report.stop) == (150, [], None)


def test_the_breaker_opens_when_nothing_comes_back(tmp_path: Path, server) -> None:
    server.fault_for = lambda body, seen: (
        None if body["messages"][0]["content"] == "question 0" else "429"
    )
    report = ask(client_of(server.url, outage=3.0), tmp_path, requests(20))
    assert isinstance(report.stop, EndpointDown)
    assert "Rate limit reached" in str(report.stop)
    assert (report.done, report.failed, report.not_sent) == (1, [], 19)


def test_a_long_wait_is_told_and_not_waited_for(tmp_path: Path, server) -> None:
    server.fault_retry_after = 5000
    server.fault_for = lambda body, seen: "429_retry_after"
    report = ask(client_of(server.url), tmp_path, requests(3))
    assert isinstance(report.stop, EndpointDown)
    assert "asks to wait 5000 s" in str(report.stop)


@pytest.mark.parametrize(
    "caps", [Caps(requests=25), Caps(tokens=2000), Caps(dollars=0.004)], ids=str
)
def test_a_cap_is_never_exceeded_and_a_higher_one_goes_on(
    tmp_path: Path, server, caps: Caps
) -> None:
    server.latency = 0.01
    price = Price(input=1.0, output=5.0, source="config")
    client = client_of(server.url, caps=caps, price=price)
    report = ask(client, tmp_path, requests(200))
    assert isinstance(report.stop, BudgetReached)
    assert report.stop.status == 3
    assert report.done + report.not_sent == 200
    assert 0 < report.done == server.counts[200]
    usage = client.budget.spent.usage
    assert caps.requests is None or usage.requests == len(server.requests) == 25
    assert caps.tokens is None or 1850 < usage.tokens <= 2000
    assert caps.dollars is None or 0.0035 < price.dollars(usage) <= 0.004
    with Journal(tmp_path, "test") as journal:
        spent = journal.spent(price)
    assert spent.usage == usage
    # The next run counts what this one has spent.
    again = client_of(server.url, caps=caps, price=price, spent=spent)
    assert isinstance(ask(again, tmp_path, requests(200)).stop, BudgetReached)
    assert ask(client_of(server.url), tmp_path, requests(200)).done == report.not_sent


def test_a_proxy_is_used_for_other_machines_only(tmp_path: Path, server, monkeypatch) -> None:
    monkeypatch.setenv("HTTP_PROXY", "http://127.0.0.1:9")
    assert ask(client_of(server.url), tmp_path, requests(3)).done == 3
    monkeypatch.setenv("HTTP_PROXY", server.url.removesuffix("/v1"))
    report = ask(client_of("http://api.invalid/v1"), tmp_path / "other", requests(3))
    assert "(HTTP 404: Invalid URL" in str(report.stop), "the server is no proxy, but was asked"


def test_a_connection_that_hangs_costs_nothing(tmp_path: Path) -> None:
    """The queue of a server that accepts nobody is full: the kernel drops what knocks."""
    with socket.socket() as deaf, contextlib.ExitStack() as stack:
        deaf.bind(("127.0.0.1", 0))
        deaf.listen(0)
        for _ in range(4):
            knocking = stack.enter_context(socket.socket())
            knocking.setblocking(False)
            knocking.connect_ex(deaf.getsockname())
        url = f"http://127.0.0.1:{deaf.getsockname()[1]}/v1"
        client = client_of(url, attempts=1, timeout=0.5)
        report = ask(client, tmp_path, requests(3))
    assert isinstance(report.stop, EndpointDown)
    assert "no connection" in str(report.stop)
    assert client.budget.spent.usage.tokens == 0


def test_what_is_no_url_is_told(tmp_path: Path) -> None:
    for url in ("api.openai.com/v1", "ftp://example.org/v1", "http://"):
        with pytest.raises(UserError, match="is not a URL: mend OPENAI_BASE_URL"):
            ask(client_of(url), tmp_path, requests(1))


def test_a_stall_ticks(tmp_path: Path, server) -> None:
    server.latency, ticks = 2.5, []
    ask(client_of(server.url), tmp_path, requests(1), on_tick=lambda: ticks.append(1))
    assert len(ticks) == 2


def test_what_holds_a_run_up_is_in_words(tmp_path: Path, server, monkeypatch) -> None:
    monkeypatch.setattr("scripts.lib.completions.client.SILENT_SECONDS", 0.5)
    server.fault_for = lambda body, seen: "429_retry_after" if seen == 0 else None
    server.fault_retry_after, told = 3.5, []
    client = client_of(server.url, in_flight=1)
    ask(client, tmp_path, requests(1), on_tick=lambda: told.append(client.meter.trouble))
    assert re.fullmatch(
        r"no reply for 1 s, the next request in [23] s \(HTTP 429: Rate limit.*\)", told[0]
    )


def test_a_hanging_request_ends_at_its_deadline(tmp_path: Path, server) -> None:
    server.fault_for = lambda body, seen: (
        "hang" if body["messages"][0]["content"] == "question 4" else None
    )
    began = time.monotonic()
    report = ask(client_of(server.url, timeout=0.4, attempts=2), tmp_path, requests(30))
    assert report.done == 29
    assert report.failed[0].detail == "no answer within 0.4 s"
    assert time.monotonic() - began < 15


def test_an_error_of_the_callback_ends_the_run_and_keeps_the_replies(tmp_path, server) -> None:
    def broken(one, response) -> None:
        raise ZeroDivisionError

    report = ask(client_of(server.url), tmp_path, requests(30), on_reply=broken)
    assert isinstance(report.stop, ZeroDivisionError)
    assert report.done + report.not_sent == 30
    assert len(asked_again(tmp_path, requests(30))) == report.not_sent


RUN = """
import sys
from pathlib import Path
from scripts.lib.console import run_step
from tests.completions.asking import ask, client_of, requests
def main():
    report = ask(client_of(sys.argv[1], in_flight=10, drain=float(sys.argv[4])),
                 Path(sys.argv[2]), requests(int(sys.argv[3])))
    print(report.done, len(report.failed), report.not_sent, flush=True)
    if report.stop:
        raise report.stop
run_step(main)
"""


def start_run(
    server: OpenAIServer, folder: Path, number: int, drain: float = 5
) -> subprocess.Popen:
    return subprocess.Popen(
        [sys.executable, "-c", RUN, server.url, str(folder), str(number), str(drain)],
        cwd=PROJECT,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        # A child of a test run in the background would ignore Ctrl-C.
        preexec_fn=lambda: signal.signal(signal.SIGINT, signal.default_int_handler),
    )


def wait_for_replies(server: OpenAIServer, number: int) -> None:
    deadline = time.monotonic() + 30
    while server.counts[200] < number and time.monotonic() < deadline:
        time.sleep(0.005)


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_a_signal_drains_what_is_in_flight(tmp_path: Path, server, number) -> None:
    # Of unequal lengths, so that some are open at any moment, however busy the machine is.
    server.latency = lambda body: (
        0.3 + 0.1 * (int(body["messages"][0]["content"].removeprefix("question ")) % 10)
    )
    process = start_run(server, tmp_path, 300)
    wait_for_replies(server, 11)
    process.send_signal(number)
    output, errors = process.communicate(timeout=20)
    assert process.returncode == 128 + number
    assert "open requests; nothing more is sent" in errors
    assert f"error: stopped by {signal.Signals(number).name}: run the same command" in errors
    done, failed, not_sent = map(int, output.split())
    # Everything that was sent was answered, and everything that was answered is on disk.
    assert (done, failed) == (len(server.requests), 0)
    assert done + not_sent == 300
    assert len(asked_again(tmp_path, requests(300))) == not_sent


def test_the_drain_ends_with_its_grace(tmp_path: Path, server) -> None:
    server.latency = lambda body: 0.05 if body["messages"][0]["content"] == "question 0" else 60
    process = start_run(server, tmp_path, 300, drain=0.5)
    wait_for_replies(server, 1)
    time.sleep(0.5)
    process.send_signal(signal.SIGTERM)
    output, _ = process.communicate(timeout=10)
    assert process.returncode == 143
    assert list(map(int, output.split())) == [1, 10, 289]
    failed = [entry for entry in entries(tmp_path) if "failed" in entry]
    assert {entry["reason"] for entry in failed} == {"interrupted"}


def test_killed_runs_ask_for_no_reply_twice(tmp_path: Path, server) -> None:
    """bench/labels.py does it 50 times in 5,000 rows."""
    server.latency = 0.02
    chance = random.Random(1)
    for _ in range(6):
        process = start_run(server, tmp_path, 600)
        wait_for_replies(server, server.counts[200] + chance.randint(5, 80))
        process.kill()
        process.communicate()
        on_disk = 600 - len(asked_again(tmp_path, requests(600)))
        assert on_disk <= server.counts[200] <= on_disk + 10 * 6
    on_disk = {one.key for one in requests(600)} - {
        one.key for one in asked_again(tmp_path, requests(600))
    }
    sent = len(server.requests)
    report = ask(client_of(server.url), tmp_path, requests(600))
    assert report.done == 600 - len(on_disk) == len(server.requests) - sent
    assert len(server.requests) <= 600 + 6 * 10


def test_every_row_is_accounted_for_under_all_faults(tmp_path: Path, server) -> None:
    server.faults = dict.fromkeys([*FAULTS, "400", "slow"], 0.01)
    server.fault_retry_after, server.slow_seconds = 0.05, 0.3
    client = client_of(server.url, in_flight=40, timeout=1.0, attempts=5)
    report = ask(client, tmp_path, requests(600))
    assert report.stop is None
    assert report.done + len(report.failed) == 600
    assert {one.reason for one in report.failed} == {"refused"}
    assert len(asked_again(tmp_path, requests(600))) == len(report.failed)


def test_a_thousand_requests_leave_no_connection_behind(tmp_path: Path, server) -> None:
    def sockets() -> int:
        return sum(
            os.readlink(entry).startswith("socket:")
            for entry in Path("/proc/self/fd").iterdir()
            if entry.exists()
        )

    before = sockets()
    assert ask(client_of(server.url, in_flight=64), tmp_path, requests(1000)).done == 1000
    time.sleep(0.2)
    assert sockets() <= before + 5


@pytest.mark.parametrize(
    ("status", "body", "meaning"),
    [
        (200, {"choices": [{"message": {"content": "hi"}}]}, Meaning.REPLY),
        (200, {"choices": [{"message": {"content": None}}]}, Meaning.REPLY),
        (200, {"choices": [{"message": {"content": "hi"}}], "usage": ["?"]}, Meaning.REPLY),
        (200, {"choices": [{"message": {"content": [{"text": "hi"}]}}]}, Meaning.PASSING),
        (200, {"choices": [None]}, Meaning.PASSING),
        (200, {"choices": [{"text": "hi"}]}, Meaning.PASSING),
        (200, [], Meaning.PASSING),
        (200, {"error": {"code": 429, "message": "slow down"}}, Meaning.RATE_LIMITED),
        (200, {"error": "model crashed"}, Meaning.PASSING),
        (402, {"error": {"message": "Insufficient credits"}}, Meaning.KEY_SPENT),
        (429, {"error": {"code": "insufficient_quota", "message": "x"}}, Meaning.KEY_SPENT),
        (429, {"error": {"message": "Your account is not active"}}, Meaning.KEY_SPENT),
        (429, {"error": {"message": "You exceeded your current quota"}}, Meaning.KEY_SPENT),
        (429, [{"error": {"message": "You exceeded your current quota. Please retry in 11s.",
                          "code": 429, "status": "RESOURCE_EXHAUSTED"}}], Meaning.RATE_LIMITED),
        (429, {"error": {"message": "Rate limit reached: 3 / min. Please try again in 20s. Please "
                         "add a payment method to your account to increase your rate limit.",
                         "code": "rate_limit_exceeded"}}, Meaning.RATE_LIMITED),
        (429, {"error": {"message": "Request too large for m: Limit 10000, Requested 12000. The "
                         "input or output tokens must be reduced.", "type": "tokens",
                         "code": "rate_limit_exceeded"}}, Meaning.REFUSED),
        (429, {"error": {"message": "Rate limit", "code": "rate_limit_exceeded"}},
         Meaning.RATE_LIMITED),
        (401, {}, Meaning.KEY_REFUSED),
        (403, {}, Meaning.FORBIDDEN),
        (403, {"error": {"message": "Your input was flagged", "code": 403}}, Meaning.REFUSED),
        (404, {}, Meaning.WRONG_TARGET),
        (400, {}, Meaning.REFUSED),
        (413, {}, Meaning.REFUSED),
        (408, {}, Meaning.PASSING),
        (500, {}, Meaning.PASSING),
        (302, {}, Meaning.PASSING),
        (503, {}, Meaning.OVERLOADED),
        (529, {}, Meaning.OVERLOADED),
    ],
)  # fmt: skip
def test_what_an_answer_means(status: int, body: object, meaning: Meaning) -> None:
    assert judge(Answer(status, {}, json.dumps(body).encode())).meaning is meaning


@pytest.mark.parametrize(
    ("headers", "seconds"),
    [
        ({"retry-after": "7"}, 7.0),
        ({"retry-after-ms": "250", "retry-after": "1"}, 0.25),
        ({"retry-after": "Wed, 21 Oct 2015 07:28:00 GMT"}, 0.0),
        ({"retry-after": "soon"}, None),
        ({"retry-after": "nan"}, None),
        ({"retry-after": "-1"}, None),
        ({}, None),
    ],
)
def test_how_long_an_answer_asks_to_wait(headers: dict, seconds: float | None) -> None:
    assert judge(Answer(429, headers, b"{}")).retry_after == seconds
