"""The Batch API: resumed after every kill, nothing submitted twice, partial results collected."""

import json
import re
import subprocess
import sys
import threading
import time
from collections import Counter
from pathlib import Path

import pytest

from scripts.lib.completions.admission import Lane
from scripts.lib.completions.batch_api import TERMINAL, BatchApi
from scripts.lib.completions.batch_files import BatchFiles, BatchState
from scripts.lib.completions.batches import BatchClient, _BatchRun
from scripts.lib.completions.budget import Amount, Budget, Caps
from scripts.lib.completions.client import Report
from scripts.lib.completions.journal import Journal
from scripts.lib.completions.keys import ApiKey
from scripts.lib.completions.pricing import Price, Usage
from scripts.lib.completions.request import CompletionRequest
from scripts.lib.completions.stops import BudgetReached, EndpointDown, NoKeyLeft
from scripts.lib.errors import UserError
from tests.completions.asking import asked_again, requests
from tests.openai_server import KeyState, OpenAIServer

PROJECT = Path(__file__).parents[2]
PRICE = Price(1.0, 10.0, "config")


@pytest.fixture
def server():
    with OpenAIServer(batch_seconds=0.05) as server:
        yield server


def lanes_of(*secrets: str) -> list[Lane]:
    return [Lane(ApiKey(at, secret), None, None) for at, secret in enumerate(secrets, start=1)]


def batch_run(
    server: OpenAIServer,
    caps: Caps | None = None,
    lanes: list[Lane] | None = None,
    **changes: object,
) -> BatchClient:
    api = BatchApi(server.url, lanes or lanes_of("sk-test"), timeout=10)
    values = {"poll": 0.02, "discount": 0.5, "attempts": 3, "outage": 0.0, "creation": 0.0}
    return BatchClient(api, Budget(caps or Caps(), PRICE), **{**values, **changes})


def submit(run: BatchClient, folder: Path, asked: list[CompletionRequest], name="mbpp") -> Report:
    with Journal(folder, name) as journal:
        return run.complete(asked, journal)


def lose_confirmation(server: OpenAIServer, folder: Path, **changes: object) -> None:
    """Create a batch of six requests, lose its confirmation, and end."""
    server.resource_fault = lambda method, path: (
        "lost" if (method, path) == ("POST", "/v1/batches") else None
    )
    with pytest.raises(EndpointDown):
        submit(batch_run(server, **changes), folder, requests(6))
    server.resource_fault = None


def states(folder: Path) -> list[dict]:
    return [
        json.loads(path.read_text()) for path in sorted((folder / "batches").glob("*.state.json"))
    ]


def test_all_replies_come_at_the_batch_price(tmp_path: Path, server) -> None:
    run = batch_run(server)
    report = submit(run, tmp_path, requests(30))
    assert (report.done, report.failed, report.not_sent, report.stop) == (30, [], 0, None)
    assert server.counts == {}, "no request of its own"
    [state] = states(tmp_path)
    assert state["collected"]
    assert not list((tmp_path / "batches").glob("*.input.jsonl"))
    with Journal(tmp_path, "mbpp") as journal:
        entry = journal.entry(requests(30)[7].key)
        spent = journal.spent(None)
    # The output of a batch is in no order: each reply went to its own request.
    assert entry["request"]["messages"][0]["content"] == "question 7"
    assert entry["price"]["input"] == 0.5
    assert run.budget.spent.dollars == pytest.approx(PRICE.dollars(spent.usage) / 2)
    assert submit(run, tmp_path, requests(30)).done == 0
    assert len(server.batches) == 1


def test_files_stay_within_the_limits_and_hold_one_model(tmp_path: Path, server) -> None:
    server.batch_max_requests = 10
    other = [
        CompletionRequest("other", "other", one.messages, one.parameters, 0) for one in requests(5)
    ]
    run = batch_run(server, most_requests=10)
    assert submit(run, tmp_path, [*requests(23), *other]).done == 28
    assert [len(batch.rows) for batch in server.batches.values()] == [10, 10, 3, 5]
    small = batch_run(server, most_bytes=1000)
    assert submit(small, tmp_path / "small", requests(9)).done == 9
    sizes = [
        file.public["bytes"] for file in server.files.values() if file.public["purpose"] == "batch"
    ]
    assert max(sizes[4:]) <= 1000
    assert set(server.batched.values()) <= {1, 2}


@pytest.mark.parametrize("fate", ["expired", "cancelled"])
def test_the_finished_part_of_a_batch_is_kept_and_the_rest_goes_again(
    tmp_path: Path, server, fate: str
) -> None:
    server.batch_fate = lambda ordinal: fate if ordinal == 0 else "completed"
    server.batch_share = 0.6
    report = submit(batch_run(server), tmp_path, requests(20))
    assert (report.done, report.failed) == (20, [])
    assert [len(batch.rows) for batch in server.batches.values()] == [20, 8]


def test_rows_that_fail_go_again_or_are_given_up(tmp_path: Path, server) -> None:
    bad = {requests(10)[2].key: 400, requests(10)[5].key: 500}
    server.batch_row_fault = bad.get
    report = submit(batch_run(server, attempts=2), tmp_path, requests(10))
    assert report.done == 8
    assert {failure.request.key: failure.reason for failure in report.failed} == {
        requests(10)[2].key: "refused",
        requests(10)[5].key: "unanswered",
    }
    assert server.batched[requests(10)[5].key] == 2
    assert server.batched[requests(10)[2].key] == 1


def test_a_full_queue_of_tokens_makes_smaller_batches(tmp_path: Path, server) -> None:
    # The queue of the account takes five requests, of all its batches together.
    def fate(ordinal: int) -> str:
        batches = list(server.batches.values())
        queued = sum(len(one.rows) for one in batches if one.public["status"] not in TERMINAL)
        return "token_limit" if queued + rows_of_next() > 5 else "completed"

    def rows_of_next() -> int:
        last = list(server.files.values())[-1]
        return last.content.count(b"\n")

    server.batch_fate = fate
    report = submit(batch_run(server), tmp_path, requests(20))
    assert (report.done, report.failed) == (20, [])
    sizes = [len(batch.rows) for batch in server.batches.values()]
    assert sizes[:3] == [20, 10, 5]
    assert all(size <= 5 for size in sizes[2:])
    assert len(sizes) <= 8


def test_a_batch_that_the_provider_refuses_is_explained(tmp_path: Path, server) -> None:
    server.batch_fate = lambda ordinal: "failed"
    with pytest.raises(UserError, match=r"the batch batch_\w+ was refused: It failed"):
        submit(batch_run(server), tmp_path, requests(3))


def test_a_cap_bounds_what_is_submitted(tmp_path: Path, server) -> None:
    one = Budget(Caps(), PRICE).amount(requests(10)[0].most, 0.5).dollars
    run = batch_run(server, Caps(dollars=2.5 * one))
    report = submit(run, tmp_path, requests(10))
    assert isinstance(report.stop, BudgetReached)
    # What the first batch did not take was enough for a second one.
    assert len(server.batches) >= 2
    assert report.done + report.not_sent == 10
    assert run.budget.spent.dollars <= 2.5 * one
    assert len(server.batched) == report.done


def test_other_keys_are_tried_and_none_left_is_told(tmp_path: Path, server, capfd) -> None:
    server.keys = {"sk-bad-0123456789": KeyState("invalid"), "sk-good": KeyState()}
    both = lanes_of("sk-bad-0123456789", "sk-good")
    assert submit(batch_run(server, lanes=both), tmp_path, requests(4)).done == 4
    assert [bool(lane.retired) for lane in both] == [True, False]
    with pytest.raises(NoKeyLeft):
        submit(batch_run(server, lanes=lanes_of("sk-bad-0123456789")), tmp_path, requests(6))
    said = "".join(capfd.readouterr())
    assert "key 1 is not used any more" in said
    assert "sk-bad-0123456789" not in said


def test_an_endpoint_without_batches_and_one_that_is_gone_are_told(tmp_path: Path, server) -> None:
    server.url = server.url.replace("/v1", "/v9/v1")
    server.resource_fault = lambda method, path: None
    with pytest.raises(UserError, match="has no Batch API"):
        submit(batch_run(server), tmp_path, requests(2))
    server.close()
    with pytest.raises(EndpointDown, match="cannot be reached"):
        submit(batch_run(server), tmp_path / "gone", requests(2))


def test_a_batch_whose_creation_was_never_confirmed_is_found_again(tmp_path: Path, server) -> None:
    """The provider made it, and the connection broke before its id came."""
    lose_confirmation(server, tmp_path)
    assert len(server.batches) == 1
    assert [state["batch_id"] for state in states(tmp_path)] == [""]
    assert submit(batch_run(server), tmp_path, requests(6)).done == 6
    assert len(server.batches) == 1, "nothing was submitted twice"


def test_a_batch_that_was_never_created_is_submitted_once_more(tmp_path: Path, server) -> None:
    server.resource_fault = lambda method, path: (
        "500" if (method, path) == ("POST", "/v1/batches") else None
    )
    with pytest.raises(UserError, match="the Batch API answers"):
        submit(batch_run(server), tmp_path, requests(6))
    server.resource_fault = None
    assert submit(batch_run(server), tmp_path, requests(6)).done == 6
    assert len(server.batches) == 1
    assert len(states(tmp_path)) == 1


def test_a_key_that_is_refused_now_may_have_created_a_batch(tmp_path: Path, server) -> None:
    server.keys = {"sk-first": KeyState(), "sk-second": KeyState()}
    lose_confirmation(server, tmp_path, lanes=lanes_of("sk-first"))
    server.keys["sk-first"] = KeyState("invalid")
    both = lanes_of("sk-first", "sk-second")
    with pytest.raises(UserError, match="may have been created with a key that is refused now"):
        submit(batch_run(server, lanes=both), tmp_path, requests(6))
    assert len(server.batches) == 1


def test_a_result_that_is_gone_names_the_file_to_remove(tmp_path: Path, server) -> None:
    server.resource_fault = lambda method, path: "500" if path.endswith("/content") else None
    with pytest.raises(EndpointDown):
        submit(batch_run(server), tmp_path, requests(6))
    server.resource_fault = None
    server.files.clear()
    with pytest.raises(UserError, match=r"no key can read .* or remove (\S*)\.state\.json") as told:
        submit(batch_run(server), tmp_path, requests(6))
    Path(re.search(r"remove (\S*)", str(told.value))[1]).unlink()
    assert submit(batch_run(server), tmp_path, requests(6)).done == 6


def test_results_that_cannot_be_read_are_not_given_up(tmp_path: Path, server) -> None:
    server.resource_fault = lambda method, path: "500" if path.endswith("/content") else None
    with pytest.raises(UserError):
        submit(batch_run(server), tmp_path, requests(6))
    assert [state["collected"] for state in states(tmp_path)] == [False]
    server.resource_fault = None
    assert submit(batch_run(server), tmp_path, requests(6)).done == 6
    assert len(server.batches) == 1


def test_an_endpoint_that_is_away_for_a_while_is_waited_for(tmp_path: Path, server) -> None:
    """For longer than the openai client itself tries again; also while batches are created."""
    away = iter(range(5))
    server.resource_fault = lambda method, path: (
        "503" if method == "GET" and next(away, None) is not None else None
    )
    assert submit(batch_run(server, outage=60.0), tmp_path, requests(6)).done == 6
    assert len(server.batches) == 1
    lost = iter(range(1))
    server.resource_fault = lambda method, path: (
        "lost"
        if (method, path) == ("POST", "/v1/batches") and next(lost, None) is not None
        else None
    )
    run = batch_run(server, outage=60.0)
    assert submit(run, tmp_path, requests(12)).done == 6
    assert len(server.batches) == 2, "the one that was created is found"
    assert run.budget.amount(requests(1)[0].most).usage.requests == 1
    assert run.budget.reserve(run.budget.amount(requests(1)[0].most)) is None


def test_an_endpoint_that_takes_files_and_creates_nothing_is_not_waited_for_for_ever(
    tmp_path: Path, server
) -> None:
    server.resource_fault = lambda method, path: (
        "500" if (method, path) == ("POST", "/v1/batches") else None
    )
    with pytest.raises(EndpointDown):
        submit(batch_run(server, outage=0.3), tmp_path, requests(6))


def test_a_result_that_comes_in_two_tries_is_counted_once(tmp_path: Path, server) -> None:
    """Of a batch with replies and errors the second file cannot be read at first."""
    reads = iter([None, "500", "500", "500"])
    server.resource_fault = lambda method, path: (
        next(reads, None) if path.endswith("/content") else None
    )
    refused = requests(6)[2].key
    server.batch_row_fault = lambda name: 400 if name == refused else None
    run = batch_run(server, outage=60.0)
    with Journal(tmp_path, "mbpp") as journal:
        report = run.complete(requests(6), journal)
        assert (report.done, len(report.failed)) == (5, 1)
        assert next(reads, "all read") == "all read"
        spent = journal.spent(None)
    assert run.budget.spent.usage == spent.usage
    assert run.budget.spent.dollars == pytest.approx(spent.dollars)


def test_what_is_open_is_collected_before_a_run_ends(tmp_path: Path, server, capfd) -> None:
    """The account cannot pay for the second batch: the first one is paid for."""
    created = iter([None])
    server.resource_fault = lambda method, path: (
        next(created, "quota") if (method, path) == ("POST", "/v1/batches") else None
    )
    with pytest.raises(NoKeyLeft):
        submit(batch_run(server, most_requests=4), tmp_path, requests(8))
    assert "nothing more is submitted, other batches are waited for" in capfd.readouterr().err
    assert len(asked_again(tmp_path, requests(8))) == 4
    server.resource_fault = None
    assert submit(batch_run(server), tmp_path, requests(8)).done == 4
    assert (len(server.batches), len(server.batched)) == (2, 8)


def test_a_creation_that_is_refused_leaves_nothing_behind(tmp_path: Path, server) -> None:
    server.resource_fault = lambda method, path: (
        "400" if (method, path) == ("POST", "/v1/batches") else None
    )
    with pytest.raises(UserError, match="the Batch API answers"):
        submit(batch_run(server, lanes=lanes_of("sk-test", "sk-other")), tmp_path, requests(6))
    assert states(tmp_path) == []


def test_a_key_that_may_not_use_batches_is_kept(tmp_path: Path, server) -> None:
    server.resource_fault = lambda method, path: "403"
    both = lanes_of("sk-test", "sk-other")
    with pytest.raises(UserError, match="You may not send this"):
        submit(batch_run(server, lanes=both), tmp_path, requests(6))
    assert not any(lane.retired for lane in both)


def started(client: BatchClient, journal: Journal, number: int) -> _BatchRun:
    """A run that asks for so many requests and has done what it could do at once."""
    run = _BatchRun(client, journal.missing(requests(number)), journal, lambda *_: None)
    assert not run._all_done()
    return run


def test_what_a_dead_run_has_created_for_another_name_is_not_paid_twice(
    tmp_path: Path, server
) -> None:
    lose_confirmation(server, tmp_path)
    assert submit(batch_run(server), tmp_path, requests(6), "gsm8k").done == 6
    assert set(server.batched.values()) == {1}


def test_what_another_run_is_creating_is_waited_for(tmp_path: Path, server) -> None:
    lose_confirmation(server, tmp_path)
    with Journal(tmp_path, "mbpp") as creating, Journal(tmp_path, "gsm8k") as journal:
        other = started(batch_run(server), journal, 8)
        assert sum(server.batched.values()) == 6 + 2, "but for what is being created"
        # The first run finds its batch, and both have its replies.
        assert batch_run(server).complete(requests(6), creating).done == 6
        assert other.run().done == 8
    assert set(server.batched.values()) == {1}


def test_a_creation_that_takes_its_time_is_waited_for(tmp_path: Path, server) -> None:
    """A run is killed and started again while the provider still works on it."""
    lose_confirmation(server, tmp_path)
    hidden, server.batches = server.batches, {}
    looks = Counter()

    def appear(method: str, path: str) -> None:
        looks[path] += method == "GET"
        if looks["/v1/batches"] == 3:
            server.batches = hidden

    server.resource_fault = appear
    assert submit(batch_run(server, creation=60), tmp_path, requests(6)).done == 6
    assert set(server.batched.values()) == {1}


@pytest.mark.parametrize("fault", ["garbage", "truncated", "cut"])
def test_a_result_that_comes_damaged_is_asked_for_again(tmp_path: Path, server, fault) -> None:
    damaged = iter([fault])
    server.resource_fault = lambda method, path: (
        next(damaged, None) if path.endswith("/content") else None
    )
    run = batch_run(server, outage=60.0)
    with Journal(tmp_path, "mbpp") as journal:
        assert run.complete(requests(6), journal).done == 6
        assert run.budget.spent.usage == journal.spent(None).usage
    assert next(damaged, None) is None
    assert set(server.batched.values()) == {1}


def test_a_result_that_is_cut_short_is_not_filled_up_by_errors(tmp_path: Path, server) -> None:
    """Each row of an expired batch is in one of its two files."""
    server.batch_fate = lambda ordinal: "expired" if ordinal == 0 else "completed"
    cut = iter(["cut"])
    server.resource_fault = lambda method, path: (
        next(cut, None) if path.endswith("/content") else None
    )
    assert submit(batch_run(server, outage=60.0), tmp_path, requests(20)).done == 20
    assert [len(batch.rows) for batch in server.batches.values()] == [20, 10]


@pytest.mark.parametrize("wanted", [True, False])
def test_a_batch_that_stays_bad_holds_up_no_other(tmp_path: Path, server, wanted: bool) -> None:
    server.batch_seconds = 0.2
    with Journal(tmp_path, "mbpp") as journal:
        started(batch_run(server, most_requests=4), journal, 8)
    first = next(iter(server.batches.values()))
    server.resource_fault = lambda method, path: (
        "500" if path.split("/")[-2] == first.public.get("output_file_id") else None
    )
    asked = requests(12)[0 if wanted else 4 :]
    if wanted:
        with pytest.raises(EndpointDown):
            submit(batch_run(server, outage=1.0), tmp_path, asked)
    else:
        assert submit(batch_run(server, outage=1.0), tmp_path, asked).done == 8
    assert len(asked_again(tmp_path, requests(12))) == 4
    assert [len(batch.rows) for batch in server.batches.values()] == [4, 4, 4]


def test_an_upload_that_fails_leaves_nothing_to_look_for(tmp_path: Path, server) -> None:
    server.resource_fault = lambda method, path: "500" if path == "/v1/files" else None
    with pytest.raises(EndpointDown):
        submit(batch_run(server), tmp_path, requests(6))
    assert states(tmp_path) == []
    server.resource_fault = None
    assert submit(batch_run(server, creation=60), tmp_path, requests(6)).done == 6


def test_a_queue_that_another_task_fills_is_waited_for(tmp_path: Path, server) -> None:
    def fate(ordinal: int) -> str:
        batches = list(server.batches.values())
        queued = sum(len(one.rows) for one in batches if one.public["status"] not in TERMINAL)
        last = list(server.files.values())[-1]
        return "token_limit" if queued + last.content.count(b"\n") > 12 else "completed"

    server.batch_fate, server.batch_seconds = fate, 0.8
    with Journal(tmp_path, "a") as journal:
        started(batch_run(server), journal, 5)
    report = submit(batch_run(server), tmp_path, requests(17)[5:], "b")
    assert (report.done, report.failed, report.stop) == (12, [], None)
    assert [len(batch.rows) for batch in server.batches.values()] == [5, 12, 12]


def test_states_of_an_earlier_form_are_read(tmp_path: Path, server) -> None:
    server.batch_seconds = 0.2
    with Journal(tmp_path, "mbpp") as journal:
        started(batch_run(server), journal, 4)
    [path] = (tmp_path / "batches").glob("*.state.json")
    state = json.loads(path.read_text())
    del state["name"], state["most"]
    path.write_text(json.dumps(state))
    path.with_name("0.state.json").write_text(json.dumps({**state, "collected": True}))
    assert submit(batch_run(server), tmp_path, requests(4)).done == 4
    assert set(server.batched.values()) == {1}


@pytest.mark.parametrize("fault", ["garbage", "error_in_200", "truncated", "html_502"])
@pytest.mark.parametrize("call", [("POST", "files"), ("POST", "batches"), ("GET", "batches")])
def test_what_is_no_object_of_the_api_is_an_outage(tmp_path: Path, server, fault, call) -> None:
    wrong = iter([fault])
    server.resource_fault = lambda method, path: (
        next(wrong, None) if (method, path.split("/")[2]) == call else None
    )
    assert submit(batch_run(server, outage=60.0), tmp_path, requests(3)).done == 3
    assert set(server.batched.values()) == {1}


def test_a_key_that_may_not_use_batches_does_not_hold_up_the_others(tmp_path, server) -> None:
    server.keys = {"sk-one": KeyState("forbidden"), "sk-two": KeyState()}
    both = lanes_of("sk-one", "sk-two")
    server.resource_fault = lambda method, path: (
        "500" if (method, path) == ("POST", "/v1/batches") else None
    )
    with pytest.raises(EndpointDown):
        submit(batch_run(server, lanes=both), tmp_path, requests(4))
    server.resource_fault = None
    assert submit(batch_run(server, lanes=both), tmp_path, requests(4)).done == 4


@pytest.mark.parametrize(("status", "told"), [("402", "accepts none"), ("405", "no Batch API")])
def test_errors_of_the_batch_api_mean_what_they_mean_elsewhere(tmp_path, server, status, told):
    server.resource_fault = lambda method, path: status
    with pytest.raises(UserError, match=told):
        submit(batch_run(server), tmp_path, requests(4))


def test_who_collects_a_batch_does_not_pay_for_it(tmp_path: Path, server) -> None:
    """Each has a cap that its own requests fill."""
    server.batch_seconds = 0.4
    with Journal(tmp_path, "a") as journal:
        started(batch_run(server, Caps(requests=10)), journal, 10)
    second = batch_run(server, Caps(requests=6))
    assert submit(second, tmp_path, requests(16)[9:], "b").done == 7
    with Journal(tmp_path, "a") as a, Journal(tmp_path, "b") as b:
        assert a.spent(None).usage.requests == 10
        assert b.spent(None).usage == second.budget.spent.usage
        assert b.spent(None).usage.requests == 6
    assert set(server.batched.values()) == {1}


def test_two_runs_that_collect_one_batch_count_it_once(tmp_path: Path, server) -> None:
    server.batch_seconds = 1.0
    with Journal(tmp_path, "a") as a, Journal(tmp_path, "b") as b:
        runs = [started(batch_run(server), journal, 500) for journal in (a, b)]
        threads = [threading.Thread(target=run.run) for run in runs]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        assert [run._report.done for run in runs] == [500, 500]
        assert a.spent(None).usage.requests == 500
        assert b.spent(None).usage.requests == 0
        assert runs[0]._budget.spent.usage == a.spent(None).usage
    assert set(server.batched.values()) == {1}


def test_a_kill_while_a_batch_is_collected_counts_nothing_twice(
    tmp_path: Path, server, monkeypatch
) -> None:
    server.batch_row_fault = lambda name: 200 if int(name, 16) % 2 else None
    write = BatchFiles._write

    def killed(files: BatchFiles, state: BatchState) -> None:
        if state.collected:
            raise KeyboardInterrupt
        write(files, state)

    monkeypatch.setattr(BatchFiles, "_write", killed)
    for _ in range(3):
        with pytest.raises(KeyboardInterrupt):
            submit(batch_run(server, attempts=1), tmp_path, requests(8))
    monkeypatch.undo()
    submit(batch_run(server, attempts=1), tmp_path, requests(8))
    with Journal(tmp_path, "mbpp") as journal:
        assert journal.spent(None).usage.requests == sum(server.batched.values())


def test_a_second_reply_was_paid_for(tmp_path: Path, server) -> None:
    """What was in a batch was asked for in another way meanwhile."""
    with Journal(tmp_path, "mbpp") as journal:
        run = started(batch_run(server), journal, 5)
        usage = {"prompt_tokens": 3, "completion_tokens": 2}
        reply = {"choices": [{"message": {"content": "first"}}], "usage": usage}
        journal.record(requests(5)[0], reply)
        assert run.run().done == 5
        assert journal[requests(5)[0].key].text == "first"
        assert journal.spent(None).usage.requests == 6


def test_what_nobody_wants_any_more_ends_and_is_counted(tmp_path: Path, server) -> None:
    """A cancelled batch gives the part of its reservation back that it has not cost."""
    server.batch_fate = lambda ordinal: "cancelled"
    with Journal(tmp_path, "mbpp") as journal:
        started(batch_run(server, Caps(requests=22)), journal, 20)
    time.sleep(0.2)
    run = batch_run(server, Caps(requests=22))
    with Journal(tmp_path, "mbpp") as journal:
        run.settle_open(journal)
        assert run.budget.spent.usage.requests == journal.spent(None).usage.requests == 10
        assert run.budget.reserve(Amount(Usage(requests=12))) is None
        assert run.budget.reserve(Amount(Usage(requests=1))) is not None


def test_a_batch_that_no_key_knows_holds_up_nothing_else(tmp_path: Path, server, capfd) -> None:
    server.batch_seconds = 0.2
    with Journal(tmp_path, "mbpp") as journal:
        started(batch_run(server), journal, 4)
    server.batches.clear()
    assert submit(batch_run(server), tmp_path, requests(7)[4:]).done == 3
    assert "left alone, since nothing of it is wanted: no key knows" in capfd.readouterr().err


def test_answers_that_are_no_replies_are_counted_as_paid(tmp_path: Path, server) -> None:
    server.batch_row_fault = lambda name: 200
    run = batch_run(server)
    with Journal(tmp_path, "mbpp") as journal:
        report = run.complete(requests(4), journal)
        spent = journal.spent(None)
    assert [failure.reason for failure in report.failed] == 4 * ["unanswered"]
    assert spent.usage.requests == 4 * 3
    assert run.budget.spent.usage == spent.usage
    assert run.budget.spent.dollars == pytest.approx(spent.dollars)
    assert spent.dollars == pytest.approx(3 * 4 * PRICE.dollars(requests(1)[0].most) / 2)


@pytest.mark.parametrize("seconds", [0.05, 0.0], ids=["one by one", "all since the last look"])
def test_a_small_batch_is_not_alone_beside_an_open_one(
    tmp_path: Path, server, seconds: float
) -> None:
    server.batch_seconds = seconds
    fates = iter(["token_limit", "token_limit"])
    server.batch_fate = lambda ordinal: "completed" if ordinal == 0 else next(fates, "completed")
    report = submit(batch_run(server, most_requests=5), tmp_path, requests(11))
    assert (report.done, report.stop) == (11, None)


def test_a_proxy_is_not_asked_for_this_machine(tmp_path: Path, server, monkeypatch) -> None:
    monkeypatch.setenv("HTTP_PROXY", "http://127.0.0.1:9")
    assert submit(batch_run(server), tmp_path, requests(2)).done == 2


def test_the_batches_of_another_endpoint_are_left_alone(tmp_path: Path, server) -> None:
    server.resource_fault = lambda method, path: "500" if path.endswith("/content") else None
    with pytest.raises(UserError):
        submit(batch_run(server), tmp_path, requests(6))
    with OpenAIServer(batch_seconds=0.05) as other:
        assert submit(batch_run(other), tmp_path, requests(6)).done == 6
    assert sorted(state["collected"] for state in states(tmp_path)) == [False, True]


def test_a_batch_for_other_rows_is_not_waited_for_and_found_when_wanted(
    tmp_path: Path, server
) -> None:
    server.batch_seconds = 30
    run = """
import sys
from pathlib import Path
from tests.completions.test_batches import *
server = type("Server", (), {"url": sys.argv[1]})
submit(batch_run(server), Path(sys.argv[2]), requests(12))
"""
    process = subprocess.Popen([sys.executable, "-c", run, server.url, str(tmp_path)], cwd=PROJECT)
    while not any(batch.public["status"] for batch in server.batches.values()):
        time.sleep(0.01)
    time.sleep(0.2)
    process.kill()
    process.wait()
    server.batch_seconds = 0.05
    report = submit(batch_run(server), tmp_path, requests(15)[12:])
    assert report.done == 3, "the open batch of the killed run is left alone"
    [first, _] = server.batches.values()
    # The killed run's batch ends.
    first.move("in_progress")
    import asyncio

    asyncio.run_coroutine_threadsafe(server._finish(first), server._loop).result(10)
    report = submit(batch_run(server), tmp_path, requests(15))
    assert report.done == 12
    assert len(server.batches) == 2


def test_a_killed_run_submits_nothing_twice(tmp_path: Path, server) -> None:
    """Killed at many moments: before, between and after each of its files and calls."""
    server.batch_seconds = 0.3
    code = """
import sys
from pathlib import Path
from tests.completions.test_batches import *
server = type("Server", (), {"url": sys.argv[1]})
print("ready", flush=True)
submit(batch_run(server, most_requests=5), Path(sys.argv[2]), requests(20))
"""
    for moment in range(9):
        process = subprocess.Popen(
            [sys.executable, "-c", code, server.url, str(tmp_path)],
            cwd=PROJECT,
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
        )
        process.stdout.readline()
        time.sleep(0.35 + 0.07 * moment)
        process.kill()
        process.communicate()
    submit(batch_run(server, most_requests=5), tmp_path, requests(20))
    assert not asked_again(tmp_path, requests(20))
    assert set(server.batched.values()) == {1}
