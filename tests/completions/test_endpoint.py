"""The endpoint of a step: a model of our own, or a remote one, asked one by one or in batches."""

from dataclasses import replace
from pathlib import Path

import pytest

from scripts.lib.completions.budget import Caps
from scripts.lib.completions.client import Failure
from scripts.lib.completions.endpoint import Endpoint
from scripts.lib.completions.journal import Journal
from scripts.lib.completions.pricing import Usage
from scripts.lib.completions.question import Question
from scripts.lib.completions.settings import BatchSettings, Canary, ClientSettings
from scripts.lib.completions.stops import BudgetReached, CanaryFailed, EndpointDown
from scripts.lib.errors import UserError
from tests.completions.asking import requests
from tests.openai_server import OpenAIServer

BARE_REPLY = '{"choices": [{"message": {"content": "hi"}}]}'
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
# Looks often, and does not wait for what is away.
HASTY = replace(SETTINGS, outage=0, batch=BatchSettings(poll=0.02, discount=0.5))


@pytest.fixture
def local(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    with OpenAIServer(latency=0.02) as server:
        monkeypatch.setattr(Endpoint, "_serve", lambda self, requests, in_flight: server.url)
        with Endpoint("local", "m", SETTINGS, server_log=tmp_path, sampled=False) as endpoint:
            yield endpoint, server


@pytest.fixture
def server(monkeypatch: pytest.MonkeyPatch):
    """A remote endpoint, with a key for it."""
    monkeypatch.setenv("OPENAI_API_KEY", "sk-test-0123456789")
    with OpenAIServer(batch_seconds=0.05) as server:
        monkeypatch.setenv("OPENAI_BASE_URL", server.url)
        yield server


def remote(settings: ClientSettings, folder: Path) -> Endpoint:
    return Endpoint("openai", "m", settings, server_log=folder, sampled=False)


def ask(
    settings: ClientSettings, journal: Journal, number: int, max_tokens: int = 50
) -> dict[str, Failure]:
    """Ask a remote endpoint, which is opened for that, for so many replies."""
    with remote(settings, journal.folder) as endpoint:
        return endpoint.ask(Question("test", requests(number, max_tokens)), journal)


def test_our_own_hardware_costs_nothing_and_knows_no_batches(local, tmp_path: Path) -> None:
    endpoint, server = local
    with Journal(tmp_path, "test") as journal:
        assert endpoint.ask(Question("test", requests(40)), journal) == {}
        assert journal.entry(requests(40)[0].key)["price"]["dollars"] == 0.0
        assert journal.spent(None).dollars == 0.0
    assert server.counts == {200: 40}
    assert server.peak_in_flight == 4


def test_two_questions_have_one_budget(tmp_path: Path, server) -> None:
    """Also where nothing was missing for the first one."""
    settings = replace(SETTINGS, mode="live", budget=Caps(requests=15), canary=Canary(0, 0.0))
    labels, judgements = requests(10), requests(30)[10:]
    with Journal(tmp_path, "test") as journal:
        for _ in range(2):
            with remote(settings, tmp_path) as endpoint, pytest.raises(BudgetReached):
                assert endpoint.ask(Question("labels", labels), journal) == {}
                endpoint.ask(Question("judgements", judgements), journal)
            assert len(server.requests) == 15


def test_what_an_open_batch_holds_is_not_asked_for_again(
    tmp_path: Path, server, monkeypatch
) -> None:
    """Neither by a larger canary, nor by mode live, nor for a slash at the end of the address."""
    batch = replace(HASTY, budget=Caps(), canary=Canary(5, 0.0))
    with Journal(tmp_path, "test") as journal:
        server.resource_fault = lambda method, path: "500" if path.endswith("/content") else None
        with pytest.raises(EndpointDown):
            ask(batch, journal, 20)
        assert (len(server.requests), len(server.batches)) == (5, 1)
        monkeypatch.setenv("OPENAI_BASE_URL", server.url + "/")
        with pytest.raises(UserError, match="15 of the missing replies are in open batches"):
            ask(replace(batch, mode="live"), journal, 20)
        server.resource_fault = None
        assert ask(replace(batch, canary=Canary(10, 0.0)), journal, 20) == {}
        assert len(journal) == 20
        assert (len(server.requests), len(server.batches)) == (5, 1)


def test_a_batch_that_nobody_wants_any_more_is_in_the_budget(tmp_path: Path, server) -> None:
    settings = replace(HASTY, budget=Caps(requests=12), canary=Canary(1, 0.0))
    with Journal(tmp_path, "test") as journal:
        server.resource_fault = lambda method, path: "500" if path.endswith("/content") else None
        with pytest.raises(EndpointDown):
            ask(settings, journal, 10)
        with pytest.raises(BudgetReached, match="3 are spent, 9 reserved for open batches, and"):
            ask(replace(settings, mode="live"), journal, 10, 60)
        assert (len(server.requests), len(server.batched)) == (3, 9)
        server.resource_fault = None
        # Now it is known what the batch has cost, though nobody has asked for its replies.
        with pytest.raises(BudgetReached, match="12, 12 are spent"):
            ask(replace(settings, mode="live"), journal, 10, 60)
        assert ask(settings, journal, 10) == {}


def test_a_budget_holds_whatever_the_settings_were(tmp_path: Path, server) -> None:
    settings = replace(SETTINGS, mode="live", budget=Caps(requests=15), canary=Canary(0, 0.0))
    with Journal(tmp_path, "test") as journal:
        assert ask(settings, journal, 10, 50) == {}
    reached = pytest.raises(BudgetReached, match="requests is 15, 15 are spent")
    with Journal(tmp_path, "test") as journal, reached:
        ask(settings, journal, 10, 60)
    assert len(server.requests) == 15


def test_an_endpoint_that_does_not_count_is_told_of(
    tmp_path: Path, server, monkeypatch, capfd
) -> None:
    settings = replace(SETTINGS, mode="live", budget=Caps(), canary=Canary(0, 0.0))
    monkeypatch.setattr(server, "_completion", lambda body: (BARE_REPLY, 1))
    with Journal(tmp_path, "test") as journal:
        with remote(settings, tmp_path) as endpoint:
            assert endpoint.ask(Question("test", requests(9)), journal) == {}
            assert endpoint._client.budget.spent.usage == journal.spent(None).usage
        most = sum((one.most for one in requests(9)), Usage())
        assert journal.spent(None).usage == most
    assert capfd.readouterr().err.count("does not tell what replies take") == 1


def test_its_canary_stops_without_making_it_wait(local, tmp_path: Path) -> None:
    endpoint, server = local
    question = Question("test", requests(400), lambda request, completion: "useless")
    with Journal(tmp_path, "test") as journal, pytest.raises(CanaryFailed):
        endpoint.ask(question, journal)
    assert 10 <= server.counts[200] <= 10 + 4
