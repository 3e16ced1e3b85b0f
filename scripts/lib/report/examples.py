"""Examples of what was kept and of what was lost, drawn without looking at them."""

import hashlib
from collections import defaultdict
from collections.abc import Callable, Hashable, Iterable
from dataclasses import dataclass
from typing import Any, TypeVar

from scripts.lib.records import Drop, Label, Rejection, Verified
from scripts.lib.report.html import Html, cards, clean, element, escape, join, page, table
from scripts.lib.report.words import REASONS

# Characters of a text that are shown.
SHOWN = 1500

Row = TypeVar("Row", Drop, Label, Rejection, Verified)


@dataclass(frozen=True)
class Group:
    """Examples of one fate: `fate` is its name, `of` how many rows share it.

    `stage` is `kept`, `dropped` (by the filter) or `rejected` (a reply, by verification). `rows`
    have `id`, `instruction`, `reply` and `detail`, texts that are empty where there are none.
    """

    stage: str
    fate: str
    of: int
    rows: list[dict[str, str]]


def draw(rows: Iterable[Row], count: int) -> list[Row]:
    """Some of the rows, by the digest of their ids: always the same, and nobody's choice."""
    return sorted(rows, key=lambda row: hashlib.sha256(row.id.encode()).digest())[:count]


def examples(
    verified: list[Verified],
    drops: list[Drop],
    labels: list[Label],
    rejections: list[Rejection],
    count: int,
) -> list[Group]:
    """At most `count` examples of every fate, the kept rows first."""
    label_of = {label.id: label for label in labels}
    groups = [
        Group("kept", way, len(rows), [_kept(row) for row in draw(rows, count)])
        for way, rows in _grouped(verified, lambda row: row.verification)
    ]
    groups += [
        Group("dropped", reason, len(rows), [_dropped(row) for row in draw(rows, count)])
        for reason, rows in _grouped(drops, lambda row: row.reason)
    ]
    return groups + [
        Group("rejected", fate, len(rows), [_rejected(row, label_of) for row in draw(rows, count)])
        for fate, rows in _grouped(rejections, _fate)
    ]


def _grouped(rows: Iterable[Row], key: Callable[[Row], Hashable]) -> list[tuple[Any, list[Row]]]:
    """The rows by a key, the most frequent first."""
    groups: dict[Hashable, list[Row]] = defaultdict(list)
    for row in rows:
        groups[key(row)].append(row)
    return sorted(groups.items(), key=lambda group: (-len(group[1]), group[0]))


def _fate(rejection: Rejection) -> str:
    """The verdict; of a reply that could not be read the reason, too."""
    invalid = rejection.verdict == "invalid" and rejection.detail
    return f"invalid: {rejection.detail}" if invalid else rejection.verdict


def _kept(row: Verified) -> dict[str, str]:
    behind = f"{row.support} of {row.replies} replies stand behind it"
    shown = all(test in row.instruction for test in row.tests)
    tests = [] if shown else _tests(row)
    return _example(row.id, row.instruction, "\n\n".join([row.output, *tests]), behind)


def _dropped(row: Drop) -> dict[str, str]:
    near = f"{row.similarity:.2f} near to: {row.neighbour}" if row.neighbour else ""
    return _example(row.id, row.text, "", near)


def _rejected(row: Rejection, label_of: dict[str, Label]) -> dict[str, str]:
    label = label_of.get(row.id)
    if label is None:
        return _example(row.id, "", "", row.detail)
    answer = [f"Answer: {label.answer}"] if label.answer else []
    read = [label.output, *answer, *_tests(label)] if label.output else [label.reply]
    reply = "\n\n".join(read)
    detail = "" if row.verdict == "invalid" else row.detail
    return _example(row.id, label.instruction, reply, detail)


def _tests(row: Verified | Label) -> list[str]:
    return ["\n".join(row.tests)] if row.tests else []


def _example(name: str, instruction: str, reply: str, detail: str) -> dict[str, str]:
    return {
        "id": name,
        "instruction": _cut(instruction),
        "reply": _cut(reply),
        "detail": _cut(detail),
    }


def _cut(text: str) -> str:
    """The beginning of a text, in characters that any file can hold."""
    text = clean(text.strip())
    more = len(text) - SHOWN
    return f"{text[:SHOWN]} … ({more:,} more characters)" if more > 0 else text


TITLES = {
    "kept": "Kept as training rows",
    "dropped": "Dropped by the filter",
    "rejected": "Replies that were rejected",
}


def examples_html(groups: list[Group], most: int | None = None) -> Html:
    """The examples as tables, one a fate, behind lines that open them.

    `most` examples a fate, where not all are wanted.
    """
    parts: list[Html] = []
    for stage, title in TITLES.items():
        of_stage = [group for group in groups if group.stage == stage]
        if not of_stage:
            continue
        parts.append(element("h3", f"{title} ({sum(group.of for group in of_stage):,})"))
        parts += [_group_html(group, most, first=stage == "kept") for group in of_stage]
    return join(parts)


def _group_html(group: Group, most: int | None, first: bool) -> Html:
    rows = group.rows[:most]
    name, _, detail = group.fate.partition(": ")
    meaning = REASONS.get(detail or name) or REASONS.get(name, "")
    line = element("b", group.fate) + escape(f" {group.of:,}{': ' + meaning if meaning else ''} ")
    number = f"{len(rows)} shown" if len(rows) < group.of else "all shown"
    replies, details = (any(row[column] for row in rows) for column in ("reply", "detail"))
    headings = ["id", "text" if group.stage == "dropped" else "instruction"]
    headings += ["reply"] * replies + ["about it"] * details
    content = table(
        headings,
        [
            [row["id"], _text(row["instruction"])]
            + [_text(row["reply"])] * replies
            + [_text(row["detail"])] * details
            for row in rows
        ],
    )
    opened = " open" if first else ""
    summary = element("summary", line + element("span", number, class_="soft"))
    return Html(f"<details{opened}>{summary}{content}</details>")


def _text(text: str) -> Html:
    return element("pre", text) if text else Html()


def examples_page(task: str, groups: list[Group]) -> str:
    """A page of its own with all examples."""
    of_stage = {
        stage: sum(group.of for group in groups if group.stage == stage) for stage in TITLES
    }
    return page(
        f"Examples of {task}",
        join(
            [
                element("h1", f"Examples of {task}"),
                element("p", DRAWN, class_="soft"),
                cards((f"{number:,}", TITLES[stage].lower()) for stage, number in of_stage.items()),
                examples_html(groups),
            ]
        ),
    )


DRAWN = (
    "Drawn by the digest of their ids, so that nobody chose them. Models wrote these texts; "
    "characters that cannot be seen are spelled out."
)
