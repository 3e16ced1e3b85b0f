"""The step that lets a model respond to a benchmark: what it is asked, and what is kept."""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
import yaml

from scripts import generate_instructions, respond_to_problems
from scripts.lib.errors import UserError
from scripts.lib.generation.in_context import HEADING, marks, rest_of_prompt
from scripts.lib.generation.likelihoods import log_likelihoods
from scripts.lib.generation.options import options_of
from scripts.lib.models import load_model, load_tokenizer
from scripts.lib.records import Problem, Response, Seed, read_rows, write_rows
from scripts.lib.tasks import load_task
from tests.conftest import PROJECT

TASKS = PROJECT / "tasks"


def problem(number: int, benchmark: str = "MBPP", instruction: str = "") -> Problem:
    text = instruction or f"Write a function to add {number} numbers."
    return Problem(benchmark, str(number), text, ["assert f() == 1"], [], "", "", {}, "", "")


def respond(
    folder: Path, model: Path, problems: list[Problem], **changes: object
) -> list[Response]:
    write_rows(folder / "problems.jsonl", problems)
    values = {
        "task": TASKS / "mbpp.yaml",
        "problems": folder / "problems.jsonl",
        "model": model,
        "chat-format": "model",
        "limit": 0,
        "samples": 0,
        "temperature": 0.8,
        "top-k": 0,
        "top-p": 0.95,
        "max-new-tokens": 8,
        "likelihood": "false",
        "engine": "loop",
        "batch-size": 5,
        "seed": 1,
        "cache": folder / "cache",
        "output": folder / "responses.jsonl",
    }
    respond_to_problems.main(
        [
            part
            for name, value in {**values, **changes}.items()
            for part in (f"--{name}", str(value))
        ]
    )
    return list(read_rows(folder / "responses.jsonl", Response))


def kept(folder: Path) -> int:
    return sum(path.read_bytes().count(b"\n") for path in folder.glob("cache/*/*.jsonl"))


PROBLEMS = [problem(number) for number in range(12)]


def test_a_larger_limit_more_samples_and_another_benchmark_change_no_response(
    tmp_path: Path, tiny_model: Path
) -> None:
    few = respond(tmp_path, tiny_model, PROBLEMS, limit=4, samples=2)
    assert [(row.decoding, row.sample) for row in few[:3]] == [
        ("greedy", 0), ("sampled", 0), ("sampled", 1),
    ]  # fmt: skip
    assert kept(tmp_path) == len(few) == 12
    more = respond(tmp_path, tiny_model, PROBLEMS[::-1], limit=7, samples=3)
    # What was there is not sampled again, and is in the larger one as it was.
    assert kept(tmp_path) == len(more) == 28
    assert {row.problem for row in few} < {row.problem for row in more}
    assert all(row in more for row in few)
    other = [problem(number, "MBPP+") for number in range(12)]
    plus = respond(tmp_path, tiny_model, other, limit=7, samples=3)
    assert kept(tmp_path) == 28
    assert sorted(row.text for row in plus) == sorted(row.text for row in more)
    assert {row.benchmark for row in plus} == {"MBPP+"}


def test_a_response_has_what_a_student_was_trained_with(tiny_model: Path) -> None:
    tokenizer = load_tokenizer(str(tiny_model))
    task = load_task(TASKS / "mbpp.yaml")
    (asked,) = respond_to_problems.asked_of(task, [problem(3)], tokenizer, "model")
    question = task.prompt("Write a function to add 3 numbers.", ["assert f() == 1"])
    assert asked.prompt == f"<s>user\n{question}</s>\n<s>assistant\n"


@pytest.mark.parametrize(
    ("kind", "template", "marks"),
    [
        ("code", "[PYTHON]\n{solution}\n[/PYTHON]", ["\n[/PYTHON]"]),
        ("code", "<code>{solution}</code>", []),
        ("code", "```\n{solution}\n```", ["\n```"]),
        ("code", "{solution}", []),
        ("math", "{solution}\nThe answer is $\\boxed{{answer}}$", []),
    ],
)
def test_the_mark_that_ends_a_response(kind: str, template: str, marks: list[str]) -> None:
    task = load_task(TASKS / "mbpp.yaml")
    task.spec.update(kind=kind, instruction={**task.spec["instruction"], "response": template})
    assert respond_to_problems.closing_mark(task) == marks


def test_a_prompt_without_room_gives_an_empty_response_that_is_told(
    tmp_path: Path, tiny_model: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    long = problem(12, instruction="Write " + "a function " * 900)
    rows = respond(tmp_path, tiny_model, [*PROBLEMS[:2], long])
    assert (rows[2].text, rows[2].tokens, rows[2].finished) == ("", 0, False)
    assert all(row.tokens for row in rows[:2])
    assert "1 of 3 responses stay empty: the model reads at most 1024" in capsys.readouterr().err
    with pytest.raises(UserError, match="each prompt with a response of max_new_tokens 8 may have"):
        respond(tmp_path, tiny_model, [long])


def test_another_seed_decodes_no_greedy_response_again(tmp_path: Path, tiny_model: Path) -> None:
    one = respond(tmp_path, tiny_model, PROBLEMS[:4], samples=2, seed=1)
    assert kept(tmp_path) == 12
    two = respond(tmp_path, tiny_model, PROBLEMS[:4], samples=2, seed=2)
    assert kept(tmp_path) == 12 + 8
    assert [row for row in one if row.decoding == "greedy"] == [
        row for row in two if row.decoding == "greedy"
    ]
    assert [row.text for row in one] != [row.text for row in two]


OPTIONS = ["box", "a much longer option", "hat", "an oven", "lake"]
QUESTION = problem(
    1,
    "CSQA",
    "\n".join(["Where is it?", *(f"{a}. {b}" for a, b in zip("ABCDE", OPTIONS, strict=True))]),
)


def changed_csqa(folder: Path, change: Callable[[dict[str, Any]], None]) -> Path:
    spec = yaml.safe_load((TASKS / "csqa.yaml").read_text())
    change(spec)
    path = folder / "csqa.yaml"
    path.write_text(yaml.safe_dump(spec))
    return path


def test_likelihoods_are_kept_by_what_the_model_reads(tmp_path: Path, tiny_model: Path) -> None:
    asked = {"task": TASKS / "csqa.yaml", "likelihood": "true"}
    (first,) = respond(tmp_path, tiny_model, [QUESTION], **asked)
    assert kept(tmp_path) == 2

    def other_words(spec: dict[str, Any]) -> None:
        spec["label"]["system"] += " Be brief."

    asked["task"] = changed_csqa(tmp_path, other_words)
    assert respond(tmp_path, tiny_model, [QUESTION], **asked) == [first]
    assert kept(tmp_path) == 2

    def other_reply(spec: dict[str, Any]) -> None:
        spec["instruction"]["response"] = "It is {answer}"

    # The prompt, and so the response, is the same.
    asked["task"] = changed_csqa(tmp_path, other_reply)
    (other,) = respond(tmp_path, tiny_model, [QUESTION], **asked)
    assert kept(tmp_path) == 3
    assert other.text == first.text
    assert other.log_likelihoods != first.log_likelihoods


@pytest.mark.parametrize("trim", ["", "|trim"])
@pytest.mark.parametrize(
    "response", ["The answer is: {answer}", "\n It is {answer}\n", " {answer}"]
)
def test_options_are_found_in_a_chat_that_trims(tiny_model: Path, trim: str, response: str) -> None:
    tokenizer = load_tokenizer(str(tiny_model))
    tokenizer.chat_template = tokenizer.chat_template.replace("m['content']", f"m['content']{trim}")
    task = load_task(TASKS / "csqa.yaml")
    task.spec["instruction"] = {**task.spec["instruction"], "response": response}
    (asked,) = respond_to_problems.asked_of(task, [QUESTION], tokenizer, "model")
    options = options_of(task, QUESTION, asked.prompt, tokenizer, "model")
    for letter, words, tokens in zip("ABCDE", OPTIONS, options.replies, strict=True):
        reply = response.format(answer=f"{letter}. {words}")
        assert tokenizer.decode(tokens) == (reply.strip() if trim else reply)


def test_a_chat_that_changes_a_reply_is_one_line(tiny_model: Path) -> None:
    tokenizer = load_tokenizer(str(tiny_model))
    tokenizer.chat_template = tokenizer.chat_template.replace(
        "m['content']", "(m['content']|upper if m['role'] == 'assistant' else m['content'])"
    )
    task = load_task(TASKS / "csqa.yaml")
    (asked,) = respond_to_problems.asked_of(task, [QUESTION], tokenizer, "model")
    with pytest.raises(UserError, match="changes a reply: set 'evaluation.likelihood: false'"):
        options_of(task, QUESTION, asked.prompt, tokenizer, "model")


def test_no_likelihood_behind_a_reasoning_that_is_left_out(
    tmp_path: Path, tiny_model: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    def with_reasoning(spec: dict[str, Any]) -> None:
        spec["instruction"]["response"] = "{solution}\nThe answer is: {answer}"

    task = changed_csqa(tmp_path, with_reasoning)
    (row,) = respond(tmp_path, tiny_model, [QUESTION], task=task, likelihood="true")
    assert row.log_likelihoods == []
    assert "csqa.yaml: the likelihood of options is not measured" in capsys.readouterr().err


def test_the_likelihood_of_options_is_that_of_their_tokens(
    tmp_path: Path, tiny_model: Path
) -> None:
    changes = {"task": TASKS / "csqa.yaml", "likelihood": "true"}
    (row,) = respond(tmp_path, tiny_model, [QUESTION], **changes)
    assert len(row.log_likelihoods) == 5
    assert respond(tmp_path, tiny_model, [QUESTION], samples=1, **changes)[1].log_likelihoods == []

    model = load_model(str(tiny_model), dtype=torch.float32)
    replies = [[5, 6, 7], [8], [9, 10]]
    found = log_likelihoods(model, [1, 2, 3, 4], replies)
    for value, reply in zip(found, replies, strict=True):
        ids = torch.tensor([[1, 2, 3, 4, *reply]])
        with torch.inference_mode():
            logs = model(ids).logits[0].log_softmax(-1)
        expected = sum(float(logs[3 + at, token]) for at, token in enumerate(reply))
        assert value == pytest.approx(expected, abs=1e-4)


def test_what_cannot_be_asked_for_is_one_line(tmp_path: Path, tiny_model: Path) -> None:
    with pytest.raises(UserError, match="samples need a temperature above 0"):
        respond(tmp_path, tiny_model, PROBLEMS, samples=2, temperature=0)
    with pytest.raises(UserError, match="holds no problem"):
        respond(tmp_path, tiny_model, [])
    no_options = {"task": TASKS / "csqa.yaml", "likelihood": "true"}
    with pytest.raises(UserError, match="problem 0 of MBPP: is no question with five options"):
        respond(tmp_path, tiny_model, PROBLEMS[:1], **no_options)


def test_in_context_prompts_show_seeds_in_an_order_of_their_own(
    tmp_path: Path, tiny_model: Path
) -> None:
    seeds = list(read_rows(TASKS / "mbpp_seeds.jsonl", Seed))
    rests = [rest_of_prompt(seeds, "Write", seed) for seed in range(20)]
    assert len(set(rests)) == 20 and rests[3] == rest_of_prompt(seeds, "Write", 3)
    lines = rests[0].splitlines()
    assert lines[8] == "Task 9: Write" and len(lines) == 9
    shown = {line.partition(": ")[2] for line in lines[:8]}
    assert len(shown) == 8 and shown <= {seed.instruction for seed in seeds}
    assert rest_of_prompt(seeds[:2], "", 1).endswith("\nTask 3:")
    lined = [Seed("def f():\n    pass"), Seed("def g():\n    pass")]
    assert rest_of_prompt(lined, "", 1).endswith("pass\n\nTask 3:\n")

    assert marks(seeds) == ["\n"]
    assert marks(lined) == ["\nTask ", "\n\n"]
    assert marks([*lined, Seed("import a\n\n\ndef f():\n    pass")]) == ["\nTask "]

    arguments = [
        "--task", str(TASKS / "mbpp.yaml"), "--generator", str(tiny_model), "--method",
        "in_context", "--chat-format", "model", "--count", "6", "--shard", "1", "--engine", "loop",
        "--batch-size", "4", "--temperature", "1", "--top-k", "0", "--top-p", "1",
        "--max-new-tokens", "6", "--seed", "1", "--cache", str(tmp_path),
        "--output", str(tmp_path / "shard.jsonl"),
    ]  # fmt: skip
    with pytest.raises(UserError, match="in_context needs --seeds"):
        generate_instructions.main(arguments)
    generate_instructions.main([*arguments, "--seeds", str(TASKS / "mbpp_seeds.jsonl")])
    rows = [json.loads(line) for line in (tmp_path / "shard.jsonl").read_text().splitlines()]
    assert len({row["text"] for row in rows}) == 6
    assert all(row["text"].startswith("Write") for row in rows)
    assert HEADING.endswith("\n\n")
