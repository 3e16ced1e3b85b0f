"""The replies that name the options of a question, and how likely a model finds each.

What is measured is kept by the tokens that the model reads, and by nothing else of a task.
"""

import hashlib
import json
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING

from scripts.lib import models
from scripts.lib.chat import answered_turn, tokens_behind
from scripts.lib.console import Progress
from scripts.lib.errors import UserError
from scripts.lib.generation import likelihoods
from scripts.lib.generation.kept import KeptTexts
from scripts.lib.generation.likelihoods import Likelihoods, log_likelihoods
from scripts.lib.generation.shares import PACKAGES, all_texts, own_share
from scripts.lib.kept_work import name_of_work
from scripts.lib.ranks import rank
from scripts.lib.records import Problem
from scripts.lib.tasks import Task
from scripts.lib.tasks.choice import LETTERS, split_question

if TYPE_CHECKING:
    from transformers import PreTrainedTokenizerBase


@dataclass(frozen=True)
class Options:
    """The tokens of a question's prompt, and of the replies that name its options, in order."""

    prompt: list[int]
    replies: list[list[int]]

    @cached_property
    def number(self) -> int:
        """What the likelihoods are kept under: a digest of all that the model reads."""
        tokens = json.dumps([self.prompt, self.replies])
        return int.from_bytes(hashlib.sha256(tokens.encode()).digest()[:16])


def options_of(
    task: Task,
    problem: Problem,
    prompt: str,
    tokenizer: "PreTrainedTokenizerBase",
    chat_format: str,
) -> Options:
    """A problem's options; `prompt` is the text that the model reads of it.

    The token that ends a reply is none of it. Raises `UserError` where the problem has no options
    or the chat template keeps no reply as it is.
    """
    question = split_question(problem.instruction)
    if question is None:
        raise UserError(
            f"problem {problem.id} of {problem.benchmark}: is no question with five options: "
            "switch the likelihood off"
        )
    turn = task.prompt(problem.instruction, problem.shown_tests)
    replies = []
    for letter, option in zip(LETTERS, question.options, strict=True):
        reply = task.response("", f"{letter}. {option}")
        _, target = answered_turn(tokenizer, chat_format, turn, reply)
        named = _up_to(reply, target)
        if named is None:
            raise UserError(
                f"the chat template of {tokenizer.name_or_path} changes a reply: set "
                "'evaluation.likelihood: false' in config.yaml"
            )
        prompt_ids, reply_ids = tokens_behind(tokenizer, prompt, named)
        replies.append(reply_ids)
    return Options(prompt_ids, replies)


def _up_to(reply: str, target: str) -> str | None:
    """What a model writes of a reply in a chat, without what ends it; `None` if it is not there."""
    # Some templates (Llama 3's) trim what they frame.
    for kept in (reply, reply.strip()):
        if kept and (at := target.rfind(kept)) >= 0:
            return target[: at + len(kept)]
    return None


def likelihoods_of(
    model: str, model_id: str, questions: Sequence[Options], cache: Path
) -> dict[int, list[float]]:
    """The log-likelihoods of the options by the numbers of the questions.

    Those that are kept in `cache` are not measured again. Of other processes than the first: none.
    """
    # `questions` hold what else decides a value.
    inputs = {"model": model_id, "precision": models.device_and_dtype()}
    code = [Path(likelihoods.__file__), Path(models.__file__)]
    kept: KeptTexts[Likelihoods] = KeptTexts(
        cache / name_of_work(inputs, code, PACKAGES), Likelihoods
    )
    by_number = {question.number: question for question in questions}
    numbers = sorted(by_number)
    there = kept.read()
    share = own_share(numbers)
    missing = [number for number in share if number not in there]
    with Progress("likelihoods", len(share), "questions") as progress:
        progress.advance(len(share) - len(missing))
        if missing:
            loaded = models.load_tuned_model(model)
            with kept.writer() as writer:
                for number in missing:
                    one = by_number[number]
                    values = log_likelihoods(loaded, one.prompt, one.replies)
                    writer.write([Likelihoods(number, values)])
                    progress.advance()
    if rank() != 0:
        return {}
    return {found.number: found.values for found in all_texts(kept, numbers)}
