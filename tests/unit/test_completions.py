"""The label client: identity, journal, and every way in which an endpoint can fail."""

import errno
import json
import os
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from scripts.lib.completions.client import Endpoint, complete
from scripts.lib.completions.journal import Journal
from scripts.lib.completions.request import Completion, CompletionRequest
from scripts.lib.errors import UserError


def request(text: str = "hello", sample: int = 0, **changes: object) -> CompletionRequest:
    values = {
        "model": "m",
        "model_identity": "m",
        "messages": (("user", text),),
        "parameters": (("max_tokens", 5), ("temperature", 0.5)),
        "sample": sample,
    }
    return CompletionRequest(**{**values, **changes})


def endpoint(url: str, key: str = "test-key", attempts: int = 1) -> Endpoint:
    return Endpoint(base_url=url, api_key=key, in_flight=4, timeout=20, attempts=attempts)


def test_the_key_is_that_of_all_that_determines_the_reply() -> None:
    keys = {
        request().key,
        request("other").key,
        request(sample=1).key,
        request(model_identity="sha256:1").key,
        request(parameters=(("max_tokens", 6), ("temperature", 0.5))).key,
        request(messages=(("system", "hello"),)).key,
    }
    assert len(keys) == 6
    # The same weights under another name or at another place are the same model.
    assert request(model="elsewhere").key == request().key
    # Journals that users have paid for hang on this value.
    assert request().key == "979c81f4491adbfd65f38d8dc6d179faaa6fb183259775c296ec3b304154f7d3"


def completion_of(asked: CompletionRequest, text: str = "hi") -> Completion:
    return Completion(asked.key, text, "stop", 1, 1, "m")


@given(texts=st.lists(st.text(), max_size=5, unique=True), torn=st.integers(1, 200))
def test_a_torn_journal_keeps_every_whole_reply(texts: list[str], torn: int, tmp_path_factory):
    path = tmp_path_factory.mktemp("journal") / "j.jsonl"
    with Journal(path) as journal:
        for text in texts:
            journal.record(request(text), completion_of(request(text), text), {})
    whole = path.read_bytes()
    lines = whole.splitlines(keepends=True)
    path.write_bytes(whole[: max(0, len(whole) - torn)])
    kept = path.read_bytes().count(b"\n")
    with Journal(path) as journal:
        for number, text in enumerate(texts):
            found = journal.get(request(text).key)
            assert (found is not None) == (number < kept)
        # What is written next begins on a line of its own.
        journal.record(request("next", 9), completion_of(request("next", 9)), {})
    assert path.read_bytes().splitlines(keepends=True)[:kept] == lines[:kept]
    assert all(json.loads(line) for line in path.read_bytes().splitlines())


def test_a_broken_line_in_the_middle_is_named(tmp_path: Path) -> None:
    path = tmp_path / "j.jsonl"
    path.write_text("{broken}\n{}\n")
    with pytest.raises(UserError, match=r"j\.jsonl, line 1: is not a journal entry"), Journal(path):
        pass


def test_two_runs_do_not_write_one_journal(tmp_path: Path, monkeypatch) -> None:
    monkeypatch.setattr("scripts.lib.completions.journal.LOCK_SECONDS", 0.3)
    with (
        Journal(tmp_path / "j.jsonl"),
        pytest.raises(UserError, match="in use by another run"),
        Journal(tmp_path / "j.jsonl"),
    ):
        pass


def test_a_full_disk_leaves_a_whole_journal(tmp_path: Path, monkeypatch) -> None:
    path = tmp_path / "j.jsonl"
    with Journal(path) as journal:
        journal.record(request("a"), completion_of(request("a")), {})
        size = path.stat().st_size

        def full(descriptor: int) -> None:
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

        monkeypatch.setattr(os, "fsync", full)
        with pytest.raises(OSError, match=r"j\.jsonl"):
            journal.record(request("b"), completion_of(request("b")), {})
        assert journal.get(request("b").key) is None
    assert path.stat().st_size == size


def test_every_reply_is_asked_for_once(tmp_path: Path, label_endpoint) -> None:
    asked = [request(str(number)) for number in range(10)]
    replies = []
    with Journal(tmp_path / "j.jsonl") as journal:
        complete(endpoint(label_endpoint.url), [*asked, *asked], journal, replies.append)
        assert len(label_endpoint.requests) == len(replies) == 10
    with Journal(tmp_path / "j.jsonl") as journal:
        complete(endpoint(label_endpoint.url), [*asked, request("new")], journal, replies.append)
        assert len(label_endpoint.requests) == 11
        found = journal.get(request("new").key)
    assert found.text == label_endpoint.reply
    assert (found.prompt_tokens, found.completion_tokens, found.finish_reason) == (11, 7, "stop")
    body = label_endpoint.requests[-1]
    assert body["messages"] == [{"role": "user", "content": "new"}]
    assert (body["max_tokens"], body["temperature"]) == (5, 0.5)


@pytest.mark.parametrize(
    ("status", "message"),
    [
        (404, "does not know the model"),
        (429, "limits the rate"),
        (400, "answered HTTP 400"),
        (500, "answered HTTP 500"),
    ],
)
def test_a_refusal_is_one_line_and_loses_nothing(
    tmp_path: Path, label_endpoint, status: int, message: str
) -> None:
    with Journal(tmp_path / "j.jsonl") as journal:
        complete(endpoint(label_endpoint.url), [request("paid")], journal, lambda _: None)
        label_endpoint.status = status
        with pytest.raises(UserError) as caught:
            complete(endpoint(label_endpoint.url), [request("next")], journal, lambda _: None)
        assert message in str(caught.value)
        assert "\n" not in str(caught.value)
    with Journal(tmp_path / "j.jsonl") as journal:
        assert journal.get(request("paid").key)


def test_a_wrong_key_is_not_shown(tmp_path: Path, label_endpoint) -> None:
    with Journal(tmp_path / "j.jsonl") as journal, pytest.raises(UserError) as caught:
        wrong = endpoint(label_endpoint.url, key="sk-very-secret", attempts=3)
        complete(wrong, [request()], journal, lambda _: None)
    assert "refused the key: put a valid one into OPENAI_API_KEY" in str(caught.value)
    assert "sk-very-secret" not in str(caught.value) + (tmp_path / "j.jsonl").read_text()


def test_an_endpoint_that_is_down_is_named(tmp_path: Path, label_endpoint) -> None:
    label_endpoint.close()
    with (
        Journal(tmp_path / "j.jsonl") as journal,
        pytest.raises(UserError, match=f"{label_endpoint.url} cannot be reached"),
    ):
        complete(endpoint(label_endpoint.url), [request()], journal, lambda _: None)


def test_a_passing_fault_is_tried_again(tmp_path: Path, label_endpoint) -> None:
    label_endpoint.status = 503

    def recover(url: str) -> None:
        import threading

        threading.Timer(0.3, lambda: setattr(label_endpoint, "status", 200)).start()

    recover(label_endpoint.url)
    with Journal(tmp_path / "j.jsonl") as journal:
        again = endpoint(label_endpoint.url, attempts=6)
        complete(again, [request()], journal, lambda _: None)
        assert journal.get(request().key)
