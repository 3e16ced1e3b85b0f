"""config.yaml and its schema agree with each other."""

import re
from pathlib import Path

import pytest
import yaml

from scripts.lib.completions.settings import check_client
from scripts.lib.errors import UserError
from scripts.lib.schema import check_against_schema

PROJECT = Path(__file__).parents[2]
SCHEMA = PROJECT / "schemas" / "config.schema.yaml"


def loaded(name: str) -> dict:
    return yaml.safe_load((PROJECT / name).read_text(encoding="utf-8"))


def test_the_defaults_of_the_schema_are_those_of_config_yaml() -> None:
    empty: dict = {}
    check_against_schema(empty, SCHEMA, "empty")
    assert empty == loaded("config.yaml")


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"typo": 1}, "'typo' was unexpected"),
        ({"label": {"replys": 1}}, "key 'label': .*'replys' was unexpected"),
        ({"seed": "many"}, "key 'seed': 'many' is not of type 'integer'"),
        ({"generator": {"training": {"epochs": 0}}}, "key 'generator.training.epochs'"),
        ({"label": {"endpoint": "http://x"}}, "key 'label.endpoint'"),
        ({"evaluation": {"benchmarks": ["MBPP", "MBPP"]}}, "key 'evaluation.benchmarks': .*unique"),
        ({"student": {"training": {"gpus": "all"}}}, "key 'student.training.gpus': 'all' does not"),
        ({"student": {"training": {"gpus": -1}}}, "key 'student.training.gpus': -1 is less than"),
        ({"student": {"training": {"nodes": 0}}}, "key 'student.training.nodes': 0 is less than"),
        ({"cluster": {"max_hours": 0}}, "key 'cluster.max_hours': 0 is less than or equal to"),
        ({"label": {"extra_body": {"n": 2}}}, "key 'label.extra_body': 'n' should not be"),
    ],
)
def test_a_wrong_config_is_explained_in_one_line(change: dict, message: str) -> None:
    with pytest.raises(UserError, match=message) as caught:
        check_against_schema(change, SCHEMA, "config.yaml")
    assert str(caught.value).startswith("config.yaml: ")
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    ("section", "message"),
    [
        ({"price": {"input": 1}}, "key 'label.client.price': holds one of 'input' and 'output'"),
        ({"key_file": "~nobody-here/keys.json"}, "there is no file ~nobody-here/keys.json"),
        ({"key_file": "/nowhere/keys.json"}, "key 'label.client.key_file': there is no file"),
    ],
)
def test_what_would_stop_the_label_step_stops_the_plan(section: dict, message: str) -> None:
    config: dict = {"label": {"client": section}}
    check_against_schema(config, SCHEMA, "my.yaml")
    with pytest.raises(UserError, match=message):
        check_client(config["label"]["client"], "my.yaml")


def test_a_cap_in_dollars_needs_a_price(monkeypatch) -> None:
    config: dict = {"label": {"client": {"budget": {"dollars": 5}}}}
    check_against_schema(config, SCHEMA, "my.yaml")
    check_client(config["label"]["client"], "my.yaml")  # genai-prices may know it.
    monkeypatch.setattr("scripts.lib.completions.settings.find_spec", lambda name: None)
    with pytest.raises(UserError, match="needs a price: set label.client.price, or install"):
        check_client(config["label"]["client"], "my.yaml")


def test_every_rule_owns_the_script_of_its_name() -> None:
    for path in (PROJECT / "rules").glob("*.smk"):
        for name in re.findall(r"^rule (\w+):", path.read_text(), re.MULTILINE):
            assert (PROJECT / "scripts" / f"{name}.py").exists()
