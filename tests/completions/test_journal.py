"""The journal of replies: identity, torn lines, several processes, compacting, cost."""

import errno
import json
import os
import subprocess
import sys
import time
from collections import Counter
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from scripts.lib.completions.compacting import compact
from scripts.lib.completions.entries import lost_in
from scripts.lib.completions.journal import Journal, entries
from scripts.lib.completions.pricing import Price, Usage
from scripts.lib.errors import UserError
from scripts.print_journal import main as print_journal
from tests.completions.asking import request, requests

PROJECT = Path(__file__).parents[2]


def response(text: str = "hi") -> dict:
    return {
        "model": "m-2026",
        "choices": [{"message": {"content": text}, "finish_reason": "stop"}],
        "usage": {"prompt_tokens": 3, "completion_tokens": 2},
    }


def the_file(folder: Path) -> Path:
    [path] = folder.glob("*.jsonl")
    return path


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


def test_a_reply_is_found_again_by_another_name(tmp_path: Path) -> None:
    with Journal(tmp_path, "mbpp") as journal:
        journal.record(request(), response("Grüße"))
        assert journal[request().key].text == "Grüße"
    with Journal(tmp_path, "renamed") as journal:
        found = journal[request().key]
        assert (found.text, found.finish_reason, found.model) == ("Grüße", "stop", "m-2026")
        assert (found.prompt_tokens, found.completion_tokens) == (3, 2)
        assert journal.get(request("other").key) is None


def test_entries_of_the_first_form_are_still_replies(tmp_path: Path) -> None:
    old = {
        "completion": {"key": request().key, "text": "hi"},
        "request": {"model": "m", "messages": [], "parameters": {}, "sample": 0},
        "response": response("paid for long ago"),
        "received": "2026-11-22T00:00:00+00:00",
    }
    (tmp_path / "mbpp.jsonl").write_text(json.dumps(old) + "\n")
    with Journal(tmp_path, "mbpp") as journal:
        assert journal[request().key].text == "paid for long ago"


@given(texts=st.lists(st.text(), max_size=5, unique=True), torn=st.integers(1, 200))
def test_a_torn_journal_keeps_every_whole_reply(texts: list[str], torn: int, tmp_path_factory):
    folder = tmp_path_factory.mktemp("journal")
    with Journal(folder, "test") as journal:
        journal.record(request("first", 8), response())
        for text in texts:
            journal.record(request(text), response(text))
    path = the_file(folder)
    whole = path.read_bytes()
    path.write_bytes(whole[: max(0, len(whole) - torn)])
    kept = path.read_bytes().count(b"\n") - 1
    with Journal(folder, "test") as journal:
        for number, text in enumerate(texts):
            found = journal.get(request(text).key)
            assert (found is not None) == (number < kept)
            # What JSON can hold and UTF-8 cannot is a question mark in the reply.
            assert not found or found.text == text.encode("utf-8", "replace").decode()
        journal.record(request("next", 9), response())
    with Journal(folder, "test") as journal:
        assert request("next", 9).key in journal


def test_a_broken_line_in_the_middle_is_named(tmp_path: Path) -> None:
    (tmp_path / "j.jsonl").write_text("{broken}\n{}\n")
    with (
        pytest.raises(UserError, match=r"j\.jsonl: line 1 is not a journal entry: remove it, or"),
        Journal(tmp_path, "test"),
    ):
        pass


def test_a_full_disk_leaves_a_whole_journal(tmp_path: Path, monkeypatch) -> None:
    with Journal(tmp_path, "test") as journal:
        journal.record(request("a"), response())
        size = the_file(tmp_path).stat().st_size
        real = os.pwrite

        def half(descriptor: int, data: bytes, offset: int) -> int:
            real(descriptor, data[: len(data) // 2], offset)
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

        with monkeypatch.context() as patch:
            patch.setattr(os, "pwrite", half)
            with pytest.raises(OSError, match=r"\.jsonl"):
                journal.record(request("b"), response())
        assert request("b").key not in journal
        assert the_file(tmp_path).stat().st_size == size
        journal.record(request("c"), response("after"))
        assert journal[request("c").key].text == "after"


WRITER = """
import sys
from pathlib import Path
from scripts.lib.completions.journal import Journal
from tests.completions.asking import requests
from tests.completions.test_journal import response
with Journal(Path(sys.argv[1]), sys.argv[2]) as journal:
    print("in", flush=True)
    for at, one in enumerate(requests(int(sys.argv[3]))):
        if one.key not in journal:
            journal.record(one, response(sys.argv[2]))
    if len(sys.argv) > 4:
        sys.stdin.readline()
"""


def writer(*arguments: object) -> subprocess.Popen:
    return subprocess.Popen(
        [sys.executable, "-c", WRITER, *map(str, arguments)],
        cwd=PROJECT,
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )


def test_two_processes_write_one_folder(tmp_path: Path) -> None:
    both = [writer(tmp_path, name, 300) for name in ("mbpp", "gsm8k")]
    assert [process.wait(60) for process in both] == [0, 0]
    assert len(list(tmp_path.glob("*.jsonl"))) in (1, 2)
    with Journal(tmp_path, "csqa") as journal:
        assert all(one.key in journal for one in requests(300))


def test_a_second_run_for_the_same_replies_waits_and_then_pays_nothing(tmp_path: Path) -> None:
    first = writer(tmp_path, "mbpp", 5, "until told")
    assert first.stdout.readline() == "in\n"
    second = writer(tmp_path, "mbpp", 5)
    assert "waiting: another run asks for the replies of mbpp" in second.stderr.readline()
    time.sleep(0.3)
    assert second.poll() is None
    # Who only reads does not wait.
    with Journal(tmp_path, "mbpp", writes=False) as journal:
        assert len(journal) == 5
    first.communicate("\n", timeout=20)
    assert second.wait(20) == 0
    assert len(list(tmp_path.glob("*.jsonl"))) == 1, "the second one had nothing to write"


def test_runs_with_claims_of_their_own_wait_for_no_other_one(tmp_path: Path) -> None:
    # They would wait for ever: both are in one process.
    with (
        Journal(tmp_path, "mbpp", claim="a") as ours,
        Journal(tmp_path, "mbpp", claim="b") as other,
    ):
        ours.record(request("a"), response())
        other.record(request("b"), response())
        ours.refresh()
        assert request("b").key in ours
        assert ours.is_claimed("b")


def test_refresh_takes_in_what_others_have_written(tmp_path: Path) -> None:
    with Journal(tmp_path, "mbpp") as ours, Journal(tmp_path, "gsm8k") as theirs:
        theirs.record(request("a"), response())
        assert request("a").key not in ours
        ours.refresh()
        assert request("a").key in ours
        theirs.record(request("b"), response("second"))
        ours.record(request("c"), response())
        ours.refresh()
        assert ours[request("b").key].text == "second"


def test_compacting_keeps_one_of_each_reply_and_disturbs_nobody(tmp_path: Path) -> None:
    lost = Usage(10, 5, 1)
    with Journal(tmp_path, "mbpp") as journal:
        journal.record(request("a"), response("first"))
        journal.record_failure(request("b"), "unanswered", [], lost=lost)
        journal.record_failure(request("never"), "refused", [], lost=lost)
    with Journal(tmp_path, "mbpp") as journal:
        journal.record(request("a"), response("second"))
        journal.record(request("b"), response())
    with Journal(tmp_path, "mbpp") as journal:
        journal.record(request("torn"), response())
    torn = sorted(tmp_path.glob("*.jsonl"))[-1]
    torn.write_bytes(torn.read_bytes()[:-1])
    with Journal(tmp_path, "live") as live:
        live.record(request("live"), response())
        before = [live[request(text).key] for text in "ab"]
        assert compact(tmp_path)[:2] == (3, 1)
        assert [live[request(text).key] for text in "ab"] == before
        live.record(request("live", 2), response())
    left = list(entries(tmp_path))
    assert len(list(tmp_path.glob("*.jsonl"))) == 2
    assert sorted(entry["key"] for entry in left if "key" in entry) == sorted(
        request(*which).key for which in [("a",), ("b",), ("live",), ("live", 2)]
    )
    with Journal(tmp_path, "mbpp") as journal:
        # Two replies to `a` and one to `b`, and the tries of two failures.
        assert journal.spent(None).usage == Usage(3 * 3 + 20, 3 * 2 + 10, 3 + 2)
    assert compact(tmp_path)[:2] == (2, 1)
    assert compact(tmp_path)[:2] == (1, 1)
    with Journal(tmp_path, "mbpp") as journal:
        # As before: the last one.
        assert journal[request("a").key].text == "second"
        assert journal.spent(None).usage == Usage(3 * 3 + 20, 3 * 2 + 10, 3 + 2)
    [never] = [one for one in entries(tmp_path) if one.get("failed") == request("never").key]
    assert lost_in(never) == lost


def test_a_kill_while_compacting_counts_nothing_twice(tmp_path: Path, monkeypatch) -> None:
    for text in "ab":
        with Journal(tmp_path, "übung") as journal:
            journal.record(request(text), response(), lost=Usage(10, 5, 1))
    expected = Usage(2 * 13, 2 * 7, 4)

    def killed(*_: object, **__: object) -> None:
        raise KeyboardInterrupt

    for method in ("replace", "unlink"):
        monkeypatch.setattr(Path, method, killed)
        with pytest.raises(KeyboardInterrupt):
            compact(tmp_path)
        monkeypatch.undo()
        with Journal(tmp_path, "übung") as journal:
            assert journal.spent(None).usage == expected
            assert all(request(text).key in journal for text in "ab")
    compact(tmp_path)
    assert len(list(tmp_path.glob("*.jsonl"))) == 1
    assert not [*tmp_path.glob("*.replaced"), *tmp_path.glob("*.partial")]
    with Journal(tmp_path, "übung") as journal:
        assert journal.spent(None).usage == expected


def test_compacting_leaves_the_files_of_other_hosts_alone(tmp_path: Path, monkeypatch) -> None:
    for host, text in (("node1", "a"), ("node1", "b"), ("login", "c"), ("login", "d")):
        monkeypatch.setattr("socket.gethostname", lambda host=host: host)
        with Journal(tmp_path, "mbpp") as journal:
            journal.record(request(text), response())
    theirs = sorted(tmp_path.glob("*-node1-*"))
    # The end of another host's name may be that of ours.
    monkeypatch.setattr("socket.gethostname", lambda: "1")
    assert compact(tmp_path) == (0, 0, 4, 0, 0)
    monkeypatch.setattr("socket.gethostname", lambda: "login")
    assert compact(tmp_path)[:2] == (2, 1)
    assert sorted(tmp_path.glob("*-node1-*")) == theirs
    assert len(list(tmp_path.glob("*.jsonl"))) == 3
    assert compact(tmp_path, other_hosts=True)[:2] == (3, 1)
    with Journal(tmp_path, "mbpp") as journal:
        assert all(journal[request(text).key].text == "hi" for text in "abcd")


def test_a_folder_of_many_files_needs_few_descriptors(tmp_path: Path) -> None:
    """A cluster leaves a file a job; and what was compacted meanwhile is found again."""
    for at in range(100):
        with Journal(tmp_path, "mbpp") as journal:
            journal.record(request(sample=at), response(str(at)))

    def texts() -> list[str]:
        return [journal[request(sample=at).key].text for at in range(100)]

    with Journal(tmp_path, "gsm8k") as journal:
        before = len(os.listdir("/proc/self/fd"))
        assert texts() == [str(at) for at in range(100)]
        assert len(os.listdir("/proc/self/fd")) <= before + 32
        assert compact(tmp_path)[:2] == (100, 1)
        assert texts() == [str(at) for at in range(100)]


def test_files_are_merged_a_portion_at_a_time(tmp_path: Path, monkeypatch) -> None:
    """A process may have a thousand open; a later reply still counts before an earlier one."""
    monkeypatch.setattr("scripts.lib.completions.compacting.MOST_AT_ONCE", 3)
    for at in range(10):
        with Journal(tmp_path, "mbpp") as journal:
            journal.record(request(sample=at % 8), response(str(at)))
    assert compact(tmp_path)[:2] == (10, 1)
    with Journal(tmp_path, "mbpp") as journal:
        texts = [journal[request(sample=at).key].text for at in range(8)]
        assert texts == ["8", "9", *map(str, range(2, 8))]
        assert journal.spent(None).usage.requests == 10


def test_compacting_leaves_broken_lines_out_and_counts_them(tmp_path: Path) -> None:
    with Journal(tmp_path, "mbpp") as journal:
        journal.record(request("a"), response())
    path = the_file(tmp_path)
    path.write_bytes(b'{"key": "garbage\n[1]\n' + path.read_bytes() + b'{"a": 1}\n')
    broken = Counter()
    assert len(list(entries(tmp_path, broken=broken))) == 1
    assert broken == {path: 3}
    assert compact(tmp_path) == (1, 1, 0, 0, 3)
    with Journal(tmp_path, "mbpp") as journal:
        assert journal[request("a").key].text == "hi"


def test_a_kill_forgets_nothing_that_was_sent(tmp_path: Path) -> None:
    """What was sent counts for the most until its end is recorded, in its own file."""
    most, lost = Usage(10, 5, 1), Usage(20, 10, 2)
    with Journal(tmp_path, "mbpp") as journal:
        for text in ("replied", "failed", "killed", "again"):
            journal.record_sent(request(text), lost=most)
        journal.record(request("replied"), response())
        journal.record_failure(request("failed"), "refused", [], lost=Usage(requests=1))
        # A second try counts with the first one.
        journal.record_sent(request("again"), lost=lost)
    expected = Usage(3, 2, 1) + Usage(requests=1) + most + lost
    with Journal(tmp_path, "mbpp") as journal:
        assert journal.spent(None).usage == expected
        assert [request(text).key in journal for text in ("replied", "killed")] == [True, False]
        journal.record(request("killed"), response())
    assert compact(tmp_path)[:2] == (2, 1)
    assert b'{"sent"' not in the_file(tmp_path).read_bytes()
    with Journal(tmp_path, "mbpp") as journal:
        assert journal.spent(None).usage == expected + Usage(3, 2, 1)


def test_a_line_that_is_broken_inside_is_mended_by_compacting(tmp_path: Path) -> None:
    with Journal(tmp_path, "mbpp") as journal:
        journal.record_sent(request("cut off"), lost=Usage(1, 1, 1))
        for text in "ab":
            journal.record(request(text), response())
    path = the_file(tmp_path)
    lines = path.read_bytes().splitlines(keepends=True)
    path.write_bytes(b"".join(one[:90] + b"\0" * 9 + one[99:] for one in lines[:2]) + lines[2])
    with Journal(tmp_path, "mbpp") as journal:
        assert journal.spent(None).usage == Usage(3, 2, 1)
        with pytest.raises(UserError, match="line 2 is not a journal entry"):
            journal.get(request("a").key)
    assert compact(tmp_path) == (1, 1, 0, 0, 2)
    with Journal(tmp_path, "mbpp") as journal:
        assert journal.get(request("a").key) is None
        assert journal[request("b").key].text == "hi"


def test_secrets_are_blotted_out_of_what_an_endpoint_repeats(tmp_path: Path) -> None:
    with Journal(tmp_path, "test") as journal:
        journal.record(
            request(), response("your key is sk-1"), headers={"x-a": "sk-1"}, secrets=("sk-1",)
        )
        journal.record_failure(
            request("b"), "refused", [{"outcome": "sk-1"}], lost=Usage(), secrets=("sk-1",)
        )
        assert journal[request().key].text == "your key is [key]"
    assert b"sk-1" not in the_file(tmp_path).read_bytes()


def test_a_reply_without_usage_counts_for_the_most(tmp_path: Path) -> None:
    with Journal(tmp_path, "test") as journal:
        journal.record(request(), {"choices": response()["choices"]}, price=Price(0, 1e6, "x"))
        assert journal.spent(None).dollars == 5
        assert journal.spent(None).usage == request().most


def test_what_replies_have_cost_is_told(tmp_path: Path, capsys) -> None:
    price = Price(input=1.0, output=10.0, source="config")
    with Journal(tmp_path, "mbpp") as journal:
        journal.record(request("a"), response(), price=price, lost=Usage(100, 10, 1))
        journal.record(request("b"), response(), price=price, discount=0.5)
        journal.record_failure(request("c"), "unanswered", [], lost=Usage(7, 1, 1), price=price)
    with Journal(tmp_path, "gsm8k") as journal:
        journal.record(request("d"), response(), price=price)
    with Journal(tmp_path, "mbpp") as journal:
        # The prices of their own time, whatever it is now; nothing that another task has paid for.
        spent = journal.spent(Price(input=5.0, output=5.0, source="config"))
    assert spent.usage == Usage(3 + 3 + 100 + 7, 2 + 2 + 10 + 1, 1 + 1 + 1 + 1)
    expected = (3 + 20) / 1e6 + (3 + 20) / 2e6 + (100 + 100) / 1e6 + (7 + 10) / 1e6
    assert spent.dollars == pytest.approx(expected)
    with Journal(tmp_path, "math") as journal:
        journal.record_failure(request("e"), "refused", [], lost=Usage(0, 1000, 1), price=price)
    with Journal(tmp_path, "csqa") as journal:
        journal.record(request("f"), response())
    print_journal([str(tmp_path)])
    told = capsys.readouterr().out
    assert "m for mbpp" in told
    assert "0 replies, 0 prompt and 0 completion tokens, $0.0100" in told
    assert "1 replies, 3 prompt and 2 completion tokens, price not known" in told
    assert "2 replies, 6 prompt and 4 completion tokens, $0.0003" in told
    assert "1 requests given up" in told
    assert "may have taken 118 tokens more (in the cost above)" in told


def test_the_journal_tells_of_broken_lines_and_mends_them(tmp_path: Path, capsys) -> None:
    with Journal(tmp_path, "mbpp") as journal:
        journal.record(request("a"), {"choices": response()["choices"]})
    path = the_file(tmp_path)
    path.write_bytes(b'{"a": 1}\n' + path.read_bytes())
    print_journal([str(tmp_path)])
    told = capsys.readouterr().out
    assert "of 1 replies the endpoint did not tell what they took" in told
    assert f"{path}: 1 broken lines, which --compact leaves out" in told
    print_journal([str(tmp_path), "--compact"])
    assert "1 broken lines were left out" in capsys.readouterr().err
    print_journal([str(tmp_path)])
    assert "broken" not in capsys.readouterr().out
