"""The kind `choice`: an instruction is a question with five options, a reply names one of them."""

import random
import re
from dataclasses import dataclass

from scripts.lib.records import Problem
from scripts.lib.tasks import (
    RIGHT,
    WRONG,
    Judges,
    Kind,
    ParsedInstruction,
    ParsedReply,
    Task,
    format_reason,
)
from scripts.lib.tasks.statement import statements, without_cut_off_line

LETTERS = "ABCDE"
# A letter at the start of a line, or in a line: never the end of an abbreviation ("U.S.A.").
_LINE_MARK = re.compile(r"^[ \t]*\(?([A-F])[.):][ \t]+", re.MULTILINE)
_INLINE_MARK = re.compile(r"(?:(?<=\s)|^)\(?([A-F])[.):]\s+")
_LETTER = re.compile(
    r"[\s*_\"'$]*+(?:option\s++)?(?:\\(?:boxed|text)\{)*+(?P<bracket>[(\[])?(?P<letter>[A-Ea-e])(?![\w'])"
)
# A letter is followed by punctuation, an end or a reason; "B or C" and "A person" name none.
_BEHIND_LETTER = re.compile(r"\s*(?:$|[.):,;*_\"'\]}$-]|(?:because|since|as|for)\b)", re.IGNORECASE)
_END = re.compile(r"[\s.)*_\"'\]}$]*$")
_ARTICLE = re.compile(r"(?:the|an?)\s+", re.IGNORECASE)
_NONE = re.compile(r"[\s*_(\"']*none\b", re.IGNORECASE)


@dataclass(frozen=True)
class Question:
    """A question and its options, in order."""

    stem: str
    options: tuple[str, ...]

    def text(self) -> str:
        """The question with its lettered options, a line each."""
        lettered = zip(LETTERS, self.options, strict=True)
        return "\n".join([self.stem, *(f"{letter}. {option}" for letter, option in lettered)])


def split_question(text: str) -> Question | None:
    """Read a question and its five options, `None` where they are not there.

    Options stand on lines of their own, or one behind the other; what follows the first five, such
    as an option F, is left out. "find A good place", "Washington D.C. is" and "the U.S.A. has" hold
    no option.
    """
    lines = _runs(list(_LINE_MARK.finditer(text)))
    # In a line the question itself may speak of "plan A." and "plan B.": the last run counts.
    run = lines[0] if lines else next(reversed(_runs(list(_INLINE_MARK.finditer(text)))), None)
    return _split_at(run, text) if run else None


def _runs(marks: list[re.Match[str]]) -> list[list[re.Match[str]]]:
    """The marks of A to E that follow each other, each with the mark behind them, if any."""
    size = len(LETTERS)
    return [
        marks[at : at + size + 1]
        for at in range(len(marks))
        if "".join(mark[1] for mark in marks[at : at + size]) == LETTERS
    ]


def _split_at(run: list[re.Match[str]], text: str) -> Question:
    starts = [*(mark.start() for mark in run[1:]), len(text)]
    options = [
        # An option is one line.
        " ".join(text[mark.end() : end].strip().partition("\n")[0].split())
        for mark, end in zip(run[: len(LETTERS)], starts, strict=False)
    ]
    return Question(" ".join(text[: run[0].start()].split()), tuple(options))


def order(key: str) -> list[int]:
    """A random order of the options, the same for the same key: numbers of the old order."""
    return random.Random(key).sample(range(len(LETTERS)), len(LETTERS))


def shuffled(question: Question, key: str) -> Question:
    """A question with its options in the random order of a key."""
    return Question(question.stem, tuple(question.options[at] for at in order(key)))


def _parsed(instruction: str) -> Question:
    question = split_question(instruction)
    if question is None:
        raise ValueError(f"not a question with five options: {instruction[:80]}")
    return question


def _asked_order(task: Task, key: str) -> list[int]:
    """The order in which a reply is asked for the options.

    Models prefer some letters, so each reply sees another order, and what they agree on is the
    option. Only where the task trains on the reasoning, which may name letters, the order stays.
    """
    keeps_reasoning = "{solution}" in task.spec["instruction"]["response"]
    return list(range(len(LETTERS))) if keeps_reasoning or not key else order(key)


def _words(text: str) -> str:
    """The words of an option as they are compared."""
    return _ARTICLE.sub("", text.strip(" *_.,;:\"'$()[]{}\n").casefold(), count=1)


def _letter(stated: str) -> tuple[int, str] | None:
    """The number of the option whose letter a statement begins with, and what follows it."""
    found = _LETTER.match(stated)
    if found is None:
        return None
    behind = stated[found.end() :]
    # "e.g. the moon" and "a moon" name no option; "(a)" and "a." do.
    if found["letter"].islower() and not found["bracket"] and not _END.match(behind):
        return None
    return LETTERS.index(found["letter"].upper()), behind


def _choice(stated: str, options: tuple[str, ...]) -> int | None:
    """The number of the option that a statement names, by its words or by its letter.

    `None` too where letter and words name different ones.
    """
    words = [_words(option) for option in options]
    if (whole := _words(stated)) in words:
        return words.index(whole)
    letter = _letter(stated)
    if letter is None:
        return None
    at, behind = letter
    said = _words(behind)
    if words[at] and said.startswith(words[at]):
        return at
    others = any(word and (said + " ").startswith(word + " ") for word in words)
    return None if others or not _BEHIND_LETTER.match(behind) else at


def _final_choice(reply: str, options: tuple[str, ...]) -> tuple[str, int] | None:
    """What a reply says before its answer, and the number of the option that it names.

    Of several statements the last one that names an option counts; without a statement the whole
    reply may be an option.
    """
    stated = statements(reply)
    for statement in stated:
        if (chosen := _choice(statement.text, options)) is not None:
            return statement.before, chosen
        if _NONE.match(statement.text):
            return None
    chosen = None if stated else _choice(reply.strip(), options)
    return None if chosen is None else ("", chosen)


class Choice(Kind):
    """Questions with five options."""

    def read_instruction(self, task: Task, text: str, key: str = "") -> ParsedInstruction:
        """Read a question with five options and put the options into the random order of the key.

        A generator tends to write the right option first; without a key the order stays. Reasons:
        `options` (there are not five), `empty_option`, `same_options`, and, of the question without
        its options, those of `format_reason`.
        """
        question = split_question(text)
        if question is None:
            return ParsedInstruction(reason="options")
        if not all(question.options):
            return ParsedInstruction(reason="empty_option")
        if len({option.casefold() for option in question.options}) < len(LETTERS):
            return ParsedInstruction(reason="same_options")
        if reason := format_reason(task, question.stem):
            return ParsedInstruction(reason=reason)
        return ParsedInstruction((shuffled(question, key) if key else question).text())

    def essence(self, task: Task, instruction: str) -> str:
        """What similarity is measured on: the question with its options, whatever their order."""
        question = _parsed(instruction)
        return "\n".join([question.stem, *sorted(question.options)])

    def question(self, task: Task, instruction: str, key: str = "") -> str:
        """A question as the labelling model is asked it, the options in the order of the key."""
        parsed = _parsed(instruction)
        asked = tuple(parsed.options[at] for at in _asked_order(task, key))
        return Question(parsed.stem, asked).text()

    def parse_reply(
        self,
        task: Task,
        instruction: str,
        reply: str,
        finish_reason: str,
        min_tests: int = 0,
        key: str = "",
    ) -> ParsedReply:
        """Read the chosen option and the reasoning out of a reply.

        The answer is the option with its letter in `instruction` ("D. moon"): it follows the option
        from the order in which the reply saw it. The reasons of a reply without use: `empty`,
        `no_answer`, `none` (the model finds no option fitting), and `truncated` when the limit of
        tokens cut off the answer.
        """
        if not reply.strip():
            return ParsedReply(reason="empty")
        options = _parsed(instruction).options
        asked = _asked_order(task, key)
        whole = without_cut_off_line(reply, finish_reason)
        final = _final_choice(whole, tuple(options[at] for at in asked))
        if final is not None:
            reasoning, chosen = final
            at = asked[chosen]
            return ParsedReply(output=reasoning, answer=f"{LETTERS[at]}. {options[at]}")
        last = next((statement.text for statement in statements(whole)), whole)
        if _NONE.match(last):
            return ParsedReply(reason="none")
        return ParsedReply(reason="truncated" if finish_reason == "length" else "no_answer")

    def read_response(self, task: Task, instruction: str, response: str) -> str:
        """The letter of the option that a response names, by its letter or its words."""
        final = _final_choice(response, _parsed(instruction).options)
        return "" if final is None else LETTERS[final[1]]

    def reference_answer(self, task: Task, instruction: str, text: str) -> str:
        """The option that a benchmark's text names, with its letter: "D. moon"."""
        return self.parse_reply(task, instruction, text, "stop").answer

    def verdict(self, task: Task, problem: Problem, answer: str, judges: Judges) -> tuple[str, str]:
        """Whether a letter is that of the problem's answer."""
        right = self.read_response(task, problem.instruction, problem.answer)
        return (RIGHT if answer == right else WRONG), ""


KIND = Choice()
