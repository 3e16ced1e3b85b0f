"""Where keys come from and what becomes of them; prices; what replies will cost."""

import json
import os
import stat
from pathlib import Path

import pytest

from scripts.lib.completions.budget import NO_AMOUNT, Budget, Caps
from scripts.lib.completions.estimate import Terms, estimate, total, within_budget
from scripts.lib.completions.journal import Journal
from scripts.lib.completions.keys import ApiKey, load_keys, move_to_aborted, redacted, secrets_of
from scripts.lib.completions.pricing import Price, find_price
from scripts.lib.errors import UserError
from tests.completions.asking import requests

UNKNOWN = {"input": None, "output": None}


def secrets(keys: list[ApiKey]) -> list[str]:
    return [key.secret for key in keys]


@pytest.mark.parametrize(
    ("environment", "expected"),
    [
        ({"OPENAI_API_KEY": "sk-1"}, ["sk-1"]),
        ({"OPENAI_API_KEY": " sk-1\n"}, ["sk-1"]),
        ({"OPENAI_API_KEYS": "sk-1, sk-2\nsk-3", "OPENAI_API_KEY": "x"}, ["sk-1", "sk-2", "sk-3"]),
        ({"OPENAI_API_KEYS": "sk-1,,sk-1,", "OPENAI_API_KEY": ""}, ["sk-1"]),
        ({"OPENAI_API_KEYS": " ", "OPENAI_API_KEY": "sk-1"}, ["sk-1"]),
    ],
)  # fmt: skip
def test_keys_of_the_environment(environment: dict, expected: list[str]) -> None:
    assert secrets(load_keys(environment, None)) == expected


def test_a_key_has_no_text_form() -> None:
    key = ApiKey(3, "sk-secret-0123456789")
    assert "sk-secret" not in f"{key} {key!r} {[key]}"
    assert redacted("Incorrect API key provided: sk-secret-0123456789.", [key]) == (
        "Incorrect API key provided: [key 3]."
    )
    assert "sk-s" not in redacted("x" * 290 + key.secret, [key]), "cut when it is blotted out"
    words = [ApiKey(1, "placeholder"), ApiKey(2, "EMPTY")]
    assert secrets_of([key, *words]) == (key.secret,)
    assert redacted("an EMPTY list", words) == "an EMPTY list"


@pytest.mark.parametrize(
    ("environment", "message"),
    [
        ({}, "OPENAI_API_KEY is not set: export it"),
        ({"OPENAI_API_KEY": "sk-1\nsk-2"}, "key 1 holds a character that no key has"),
        ({"OPENAI_API_KEYS": "sk-1,schlüssel"}, "key 2 holds a character that no key has"),
    ],
)
def test_missing_and_broken_keys_are_told_without_being_shown(environment, message) -> None:
    with pytest.raises(UserError, match=message) as caught:
        load_keys(environment, None)
    assert "sk-" not in str(caught.value)


def test_a_key_file_in_the_original_form(tmp_path: Path) -> None:
    path = tmp_path / "openai_keys.json"
    path.write_text(json.dumps({"available": ["sk-1", "sk-2"], "aborted": ["sk-0"]}))
    path.chmod(0o640)
    before = path.read_bytes()
    keys = load_keys({"OPENAI_API_KEY": "sk-9"}, path)
    assert secrets(keys) == ["sk-1", "sk-2"]
    assert path.read_bytes() == before
    # A key that somebody adds meanwhile is not lost.
    path.write_text(json.dumps({"available": ["sk-1", "sk-2", "sk-3"], "aborted": ["sk-0"]}))
    move_to_aborted(path, [keys[0]])
    assert json.loads(path.read_text()) == {
        "available": ["sk-2", "sk-3"],
        "aborted": ["sk-0", "sk-1"],
    }
    assert stat.S_IMODE(os.stat(path).st_mode) == 0o640
    assert os.listdir(tmp_path) == ["openai_keys.json"]


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ('{"available": ["sk-1"]} // ours', "is not JSON"),
        ('{"available": "sk-1"}', "'available' must be a list of keys"),
        ('["sk-1"]', "'available' must be a list of keys"),
        ('{"available": [], "aborted": ["sk-1"]}', "all keys of .* are aborted"),
        ('{"available": [""]}', "holds no key: put one there"),
        (None, "is no key file"),
    ],
)
def test_a_broken_key_file_is_named_and_not_shown(tmp_path: Path, content, message: str) -> None:
    path = tmp_path / "keys.json"
    if content is not None:
        path.write_text(content)
    with pytest.raises(UserError, match=message) as caught:
        load_keys({}, path)
    assert str(path) in str(caught.value)
    assert "sk-1" not in str(caught.value)


def test_the_price_of_the_config_comes_first() -> None:
    url = "https://api.openai.com/v1"
    assert find_price("gpt-4o-mini", url, {"input": 0.15, "output": 0.6}) == Price(
        0.15, 0.6, "config"
    )
    pytest.importorskip("genai_prices")
    found = find_price("gpt-4o-mini", url, UNKNOWN)
    assert (found.input, found.output) == pytest.approx((0.15, 0.6))
    assert found.source.startswith("genai-prices ")
    assert find_price("no-such-model", url, UNKNOWN) is None
    assert find_price("gpt-4o-mini", "http://127.0.0.1:1/v1", UNKNOWN) is None


def test_a_cap_in_dollars_without_a_price_refuses() -> None:
    with pytest.raises(
        UserError, match="the price of the model is unknown: set label.client.price"
    ):
        Budget(Caps(dollars=1.0), None)
    Budget(Caps(tokens=1), None)


def test_a_cost_that_nobody_knows_does_not_fit(tmp_path: Path) -> None:
    with Journal(tmp_path, "test") as journal:
        found = total([estimate(requests(3), journal, Terms(None))])
    [dollars, of_requests] = within_budget(Caps(dollars=9.0, requests=3), NO_AMOUNT, found)
    assert "whether the cost fits is not known" in dollars
    assert of_requests.endswith("requests is 3, 0 are spent or reserved: the worst cost fits")


def test_an_estimate_encloses_what_it_will_cost(tmp_path: Path) -> None:
    asked, price = requests(100, max_tokens=200), Price(1.0, 10.0, "config")
    with Journal(tmp_path, "test") as journal:
        blind = estimate(asked, journal, Terms(price))
        assert (blind.wanted, blind.missing, blind.learnt_from) == (100, 100, 0)
        assert "nothing known of lengths" in "\n".join(blind.lines())
        assert blind.low.usage.completion_tokens == 100 * 20
        assert blind.worst.usage.completion_tokens == 100 * 200
        # An endpoint that does not count teaches nothing of lengths.
        journal.record(requests(1, max_tokens=9)[0], {"choices": [{"message": {"content": "x"}}]})
        assert estimate(requests(2, max_tokens=9), journal, Terms(price)).learnt_from == 0
        # The worst is the worst, though the canary holds the longest.
        mixed = [requests(1, max_tokens=1000)[0], *requests(9, max_tokens=10)]
        worst = estimate(mixed, journal, Terms(price, alone=1, discount=0.5)).worst
        dollars = [price.dollars(one.most) for one in mixed]
        assert worst.dollars == pytest.approx(dollars[0] + sum(dollars[1:]) / 2)
        for at, one in enumerate(asked[:40]):
            usage = {"prompt_tokens": 8, "completion_tokens": 30 + at}
            choices = [{"message": {"content": "x"}}]
            journal.record(one, {"choices": choices, "usage": usage})
        found = estimate(asked, journal, Terms(price))
        # Of the canary 10 are missing, at the full price.
        batch = estimate(asked, journal, Terms(price, alone=50, discount=0.5))
    assert (found.wanted, found.missing, found.learnt_from) == (100, 60, 40)
    assert found.expected.usage.completion_tokens == pytest.approx(60 * 49.5, rel=0.01)
    assert found.expected.usage.prompt_tokens == pytest.approx(60 * 8, rel=0.1)
    for less, more in [("low", "expected"), ("expected", "worst")]:
        assert getattr(found, less).dollars < getattr(found, more).dollars
    dollars = price.dollars(found.expected.usage)
    assert f"${dollars:.4f}" in "\n".join(found.lines())
    assert batch.expected.dollars == pytest.approx((10 + 50 / 2) / 60 * dollars)
    assert "$" not in "\n".join(estimate(asked, Journal(tmp_path, "t"), Terms(None)).lines())
