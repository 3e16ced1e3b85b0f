"""A user's own task is one YAML file and ten rows: no rule and no script is touched."""

import json
from collections import Counter
from pathlib import Path

import pytest
import yaml

from scripts import label_instructions
from scripts.lib.schema import check_against_schema
from tests.conftest import LabelEndpoint, Project, toy_config

SAMPLING = {"temperature": 1.0, "max_new_tokens": 24}
# What a model that knows nothing soon writes.
CLOSING = ["e", "a", "."]

MOTTO = {
    "kind": "text",
    "seeds": "motto_seeds.jsonl",
    "instruction": {
        "prefix": "Ask for a motto: ",
        "opening": "Town",
        "closing": CLOSING,
        "response": "{solution}",
    },
    "sampling": SAMPLING,
    "filter": {"min_words": 1},
    "label": {"request": "Write a motto for: {instruction}"},
    "reply": {"min_words": 2, "max_words": 8, "pattern": "^[A-Z]"},
    "judge": {
        "request": "Is {reply} a motto for {instruction}?\nAnswer yes or no.",
        "accept": "^yes",
    },
}
SUMS = {
    "kind": "math",
    "answer": "number",
    "seeds": "sums_seeds.jsonl",
    "instruction": {
        "prefix": "Ask: ",
        "opening": "Sum",
        "closing": CLOSING,
        "response": "{solution} So {answer}.",
    },
    "sampling": SAMPLING,
    "filter": {"min_words": 1},
    "label": {"request": "{instruction}"},
}


def scripted(body: dict) -> str:
    """A labelling model that answers sums mostly right, and judges mottos by their length."""
    request = body["messages"][-1]["content"]
    if request.startswith("Write a motto"):
        return "Always be kind." if len(request) % 2 else "never"
    if request.startswith("Is "):
        return "Yes, it is." if "kind" in request else "No."
    scripted.calls[request] += 1
    value = {0: "42", 1: "$42.00", 2: "7"}[scripted.calls[request] % 3]
    return f"I add them up.\nThe answer is {value}"


@pytest.fixture(scope="module")
def own_tasks(tmp_path_factory: pytest.TempPathFactory, tiny_model: Path):
    endpoint = LabelEndpoint()
    scripted.calls = Counter()
    endpoint.reply = scripted
    config = toy_config(tiny_model)
    config["sampling"] = {"target_rows": 4, "margin": 4, "shard_size": 16, "batch_size": 8}
    # One request at a time: the scripted model counts those of each sum.
    config["label"] |= {"replies": 1, "client": {"in_flight": 1}}
    config["tasks"] = {"sums": {"label": {"replies": 3}}}
    project = Project(tmp_path_factory.mktemp("own"), config)
    project.environment |= {"OPENAI_BASE_URL": endpoint.url, "OPENAI_API_KEY": endpoint.key}
    for name, spec, seed in [
        ("motto", MOTTO, "Town on hill"),
        ("sums", SUMS, "Sum of 10 with"),
    ]:
        (project.path / "tasks" / f"{name}.yaml").write_text(yaml.safe_dump(spec))
        rows = [{"instruction": f"{seed} {number}"} for number in range(10)]
        lines = "".join(json.dumps(row) + "\n" for row in rows)
        (project.path / "tasks" / f"{name}_seeds.jsonl").write_text(lines)
    done = project.run("results/motto_verified.jsonl", "results/sums_verified.jsonl")
    assert done.returncode == 0, done.stdout
    project.output = done.stdout
    yield project, endpoint
    endpoint.close()


def test_a_text_task_keeps_what_its_judge_accepts(own_tasks) -> None:
    project, endpoint = own_tasks
    verified = project.rows("results/motto_verified.jsonl")
    for row in verified:
        assert row["instruction"] == "Ask for a motto: " + row["bare_instruction"]
        assert row["output"] == "Always be kind."
        assert (row["verification"], row["support"], row["sandbox"]) == ("judge", 1, "")
    labels = project.rows("results/motto_labeled.jsonl")
    assert {label["judgement"] for label in labels if not label["reason"]} == {"Yes, it is."}
    assert {label["reason"] for label in labels} <= {"", "too_short"}
    judged = [r for r in endpoint.requests if r["messages"][-1]["content"].startswith("Is ")]
    assert len(judged) == len(verified)
    assert all(request["temperature"] == 0 for request in judged)


def test_an_estimate_knows_of_the_judge(own_tasks, tmp_path: Path, monkeypatch, capfd) -> None:
    project, endpoint = own_tasks
    monkeypatch.chdir(project.path)
    for name in ("OPENAI_BASE_URL", "OPENAI_API_KEY"):
        monkeypatch.setenv(name, project.environment[name])
    client: dict = {}
    check_against_schema(client, project.path / "schemas" / "config.schema.yaml", "no config")
    settings = client["label"]["client"] | {"price": {"input": 1.0, "output": 2.0}}
    instructions = project.rows("results/motto_instructions.jsonl")
    options = (
        "--task tasks/motto.yaml --instructions results/motto_instructions.jsonl --model scripted "
        "--endpoint openai --min-tests 1 --seed 1 "
        f"--journal {tmp_path / 'journal'} --server-log {tmp_path / 'log'}"
    ).split()
    options += ["--parameters", '{"max_tokens": 50}', "--client", json.dumps(settings)]
    options += ["--output", str(tmp_path / "out")]
    label_instructions.main([*options, "--replies", "1"])
    rows = [json.loads(line) for line in (tmp_path / "out").read_text().splitlines()]
    usable, sent = sum(not row["reason"] for row in rows), len(endpoint.requests)
    label_instructions.main([*options, "--replies", "3", "--estimate"])
    assert len(endpoint.requests) == sent
    number = len(instructions)
    replies, judgements = json.loads((tmp_path / "out").read_text())["parts"]
    assert (replies["wanted"], replies["missing"]) == (3 * number, 2 * number)
    assert judgements["missing"] == 2 * number
    assert judgements["wanted"] == usable + 2 * number
    for case in ("low", "expected", "worst"):
        # The judge reads the reply.
        assert (
            judgements[case]["usage"]["prompt_tokens"]
            > (replies[case]["usage"]["completion_tokens"])
        )
    said = capfd.readouterr().err
    assert "low in all: " in said
    assert "price: config" in said


def test_a_math_task_keeps_the_answer_of_a_majority(own_tasks) -> None:
    project, _ = own_tasks
    verified = project.rows("results/sums_verified.jsonl")
    assert {row["answer"] for row in verified} == {"42"}
    assert {(row["verification"], row["support"], row["replies"]) for row in verified} == {
        ("majority", 2, 3)
    }
    assert {row["output"] for row in verified} == {"I add them up. So 42."}
    verdicts = {row["verdict"] for row in project.rows("results/sums/rejected.jsonl")}
    assert verdicts == {"duplicate", "minority"}


def test_the_funnel_of_each_task_is_printed(own_tasks) -> None:
    project, _ = own_tasks
    for name in ("motto", "sums"):
        funnel = json.loads((project.path / "results" / name / "funnel.json").read_text())
        assert funnel["stages"][0] | {"reasons": {}} == {
            "stage": "sampled", "count": 16, "of_previous": 100.0, "of_sampled": 100.0,
            "reasons": {},
        }  # fmt: skip
        verified = len(project.rows(f"results/{name}_verified.jsonl"))
        assert funnel["stages"][-1]["count"] == verified == funnel["rows"]
        assert f"{name:<12}    left" in project.output


def test_a_task_of_its_own_is_exported(own_tasks) -> None:
    project, _ = own_tasks
    done = project.run("results/motto/dataset")
    assert done.returncode == 0, done.stdout
    assert "Ask for a motto" in (project.path / "results/motto/dataset/README.md").read_text()
