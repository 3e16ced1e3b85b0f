"""The endpoint of a step where the model is our own."""

from pathlib import Path

import pytest

from scripts.lib.completions.budget import Caps
from scripts.lib.completions.endpoint import Endpoint, Question
from scripts.lib.completions.journal import Journal
from scripts.lib.completions.settings import BatchSettings, Canary, ClientSettings
from scripts.lib.completions.stops import CanaryFailed
from tests.completions.asking import requests
from tests.openai_server import OpenAIServer

SETTINGS = ClientSettings(
    mode="batch",
    in_flight=4,
    timeout=10,
    attempts=3,
    outage=10,
    drain=1,
    requests_per_minute=None,
    tokens_per_minute=None,
    budget=Caps(dollars=0.0),
    price={"input": None, "output": None},
    canary=Canary(replies=10, parsed=0.5),
    max_failed=0.0,
    key_file=None,
    update_key_file=False,
    batch=BatchSettings(poll=1, discount=0.5),
)


@pytest.fixture
def local(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    with OpenAIServer(latency=0.02) as server:
        monkeypatch.setattr(Endpoint, "_serve", lambda self, requests: server.url)
        with Endpoint("local", "m", SETTINGS, server_log=tmp_path, sampled=False) as endpoint:
            yield endpoint, server


def test_our_own_hardware_costs_nothing_and_knows_no_batches(local, tmp_path: Path) -> None:
    endpoint, server = local
    with Journal(tmp_path, "test") as journal:
        assert endpoint.ask(Question("test", requests(40)), journal) == {}
        assert journal.entry(requests(40)[0].key)["price"]["dollars"] == 0.0
    assert endpoint.dollars == 0.0
    assert server.counts == {200: 40}
    assert server.peak_in_flight == 4


def test_its_canary_stops_without_making_it_wait(local, tmp_path: Path) -> None:
    endpoint, server = local
    question = Question("test", requests(400), lambda request, completion: False)
    with Journal(tmp_path, "test") as journal, pytest.raises(CanaryFailed):
        endpoint.ask(question, journal)
    assert 10 <= server.counts[200] <= 10 + 4
