"""The fine-tuning formats of the design, and what the generator learns of them."""

from pathlib import Path

import pytest

from scripts.lib.chat import user_turn_frame
from scripts.lib.errors import UserError
from scripts.lib.models import load_tokenizer
from scripts.lib.records import Seed
from scripts.lib.tasks import load_task
from scripts.train import generator_examples

TASKS = Path(__file__).parents[2] / "tasks"

STUB = (
    'def add(a: int, b: int) -> int:\n    """Return the sum of two numbers.\n\n'
    '    >>> add(1, 2)\n    3\n    """'
)
QUESTION = "Where do people swim?\nA. sea\nB. attic\nC. car\nD. book\nE. oven"
CODE_END = (
    "\nYour code should start with a [PYTHON] tag and end with a [/PYTHON] tag. [/INST] "
    "[PYTHON]\n# pass\n[/PYTHON]"
)
EXPERT = "[INST] You are an expert Python programmer, "
MATH = (
    "[INST] You are expert at solving math problems that require multi-step reasoning, "
    "and here is your task:\n"
)
# Each task with a seed: the whole text of the design, and what follows the constant prompt up to
# the first closing mark.
FORMATS = {
    "humaneval": (
        Seed(STUB),
        EXPERT + "complete the function below based on its docstring and the given test cases:\n"
        + STUB + CODE_END,
        STUB.partition(">>>")[0] + ">>>",
    ),
    "mbpp": (
        Seed(
            "Write a function to add two numbers.",
            ["assert add(1, 2) == 3", "assert add(0, 0) == 0"],
        ),
        EXPERT + "and here is your task: Write a function to add two numbers.\n"
        "Your code should pass these tests:\n\nassert add(1, 2) == 3\nassert add(0, 0) == 0"
        + CODE_END,
        " a function to add two numbers.\n",
    ),
    "gsm8k": (
        Seed("Ann has 3 apples and eats 1. How many are left?"),
        MATH + "Ann has 3 apples and eats 1. How many are left? [/INST] "
        "Let's think step by step.\n",
        "Ann has 3 apples and eats 1. How many are left? [/INST]",
    ),
    "math": (
        Seed("Find $x$ if $x + 1 = 3$."),
        MATH + "Find $x$ if $x + 1 = 3$. [/INST] Let's think step by step.\n",
        "Find $x$ if $x + 1 = 3$. [/INST]",
    ),
    "csqa": (
        Seed(QUESTION),
        "[INST] You are expert at commonsense reasoning, and here is your task: "
        + QUESTION + " [/INST] ",
        QUESTION + " [/INST]",
    ),
}  # fmt: skip


@pytest.mark.parametrize("name", FORMATS)
def test_the_formats_are_those_of_the_design(name: str, tiny_model: Path) -> None:
    seed, whole, learnt = FORMATS[name]
    task, tokenizer = load_task(TASKS / f"{name}.yaml"), load_tokenizer(str(tiny_model))
    [example] = generator_examples(task, [seed], tokenizer, "llama2", learn="format")
    assert example.prompt + example.target == "<s>" + whole
    [example] = generator_examples(task, [seed], tokenizer, "llama2", learn="instruction")
    assert example.prompt == "<s>[INST] " + task.prompt_prefix
    assert example.target == learnt


@pytest.mark.parametrize("name", FORMATS)
def test_another_template_holds_the_same_text_in_its_user_turn(name: str, tiny_model: Path) -> None:
    seed, whole, _ = FORMATS[name]
    task, tokenizer = load_task(TASKS / f"{name}.yaml"), load_tokenizer(str(tiny_model))
    [example] = generator_examples(task, [seed], tokenizer, "model", learn="format")
    user, _, response = whole.removeprefix("[INST] ").partition(" [/INST] ")
    before, after = user_turn_frame(tokenizer, "model")
    assert example.prompt + example.target == (
        f"{before}{user}{after}<s>assistant\n{response}</s>\n"
    )


def test_a_template_that_changes_the_prompt_is_refused(tiny_model: Path) -> None:
    task, tokenizer = load_task(TASKS / "gsm8k.yaml"), load_tokenizer(str(tiny_model))
    tokenizer.chat_template = (
        "{% for m in messages %}{{ loop.length }} {{ m['content'] }}{% endfor %}"
    )
    with pytest.raises(UserError, match="the chat template changes the prompt"):
        generator_examples(task, [FORMATS["gsm8k"][0]], tokenizer, "model", learn="format")


@pytest.mark.parametrize("name", FORMATS)
def test_a_task_model_is_asked_as_the_generator_was_tuned(name: str) -> None:
    """The prompt of a training row is the user turn of the format."""
    seed, whole, _ = FORMATS[name]
    prompt = load_task(TASKS / f"{name}.yaml").prompt(seed.instruction, seed.tests)
    assert whole.startswith(f"[INST] {prompt} [/INST] ")
