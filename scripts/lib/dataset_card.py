"""The card of a data set: what is in it, where every row came from, and what that is worth.

The card is Markdown with YAML front matter, as the Hugging Face hub reads it
(https://huggingface.co/docs/hub/datasets-cards). Texts of models and users stand in it: in tables
they are escaped, elsewhere fenced.
"""

import json
import re
from bisect import bisect_right
from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass, fields, replace
from pathlib import PurePath
from typing import Any

from scripts.lib.export import JSON_LINES, PARQUET_FILE, llama_factory_info
from scripts.lib.funnel import Stage
from scripts.lib.records import Verified, parse_row
from scripts.lib.tasks import Task

CLOSEST_SHOWN = 3

# The sections of a run's settings, which the card shows key by key.
SETTINGS = ("generator", "sampling", "filter", "decontamination", "label", "verification")

_SIZES = ["n<1K", "1K<n<10K", "10K<n<100K", "100K<n<1M", "1M<n<10M"]

_CATEGORIES = {
    "code": ["text-generation"],
    "math": ["text-generation", "question-answering"],
    "choice": ["multiple-choice", "question-answering"],
    "text": ["text-generation"],
}

_LOAD = """from datasets import load_dataset

rows = load_dataset("path/to/this/directory", split="train")"""

_TRL = """SFTTrainer(
    model="...",
    train_dataset=load_dataset("json", data_files="messages.jsonl", split="train"),
)"""

_AXOLOTL = """datasets:
  - path: messages.jsonl
    ds_type: json
    type: chat_template
    field_messages: messages"""

COLUMNS = {
    "id": "the row's id",
    "task": "the task's name",
    "instruction": "the whole prompt: what a model is trained on as the user's turn",
    "output": "the whole response",
    "answer": "the final answer alone, where the task has one",
    "tests": "the assertions that the code passes, where the task has them; a prompt shows a few",
    "messages": "`instruction` and `output` as a chat",
    "verification": "which way the row was verified (see below)",
    "support": "how many of the instruction's replies stand behind the row",
    "replies": "how many replies the instruction has",
    "instruction_id": "the id of the instruction, which several rows may share",
    "bare_instruction": "the instruction as the generator wrote it, without the prompt around it",
    "reply_number": "which of the instruction's replies the row is, from 0",
    "generator": "fingerprint of the instruction generator",
    "sampling": "how the generator was sampled",
    "label_model": "the labelling model",
    "label_sampling": "how the labelling model was sampled",
    "request": "hash of the request to the labelling model",
    "sandbox": "what ran the tests, where there are any",
}

# What each way of verification checks, and what a pass leaves open.
WAYS = {
    "own_tests": (
        "the code passed the tests of the same reply, run in a sandbox",
        "one model wrote code and tests, and both can be wrong in the same way",
    ),
    "agreement": (
        "the solutions of all replies to an instruction were run in a sandbox with the tests of "
        "all of them, and the row is the first solution of the widest agreement",
        "replies of one model can agree on a mistake",
    ),
    "majority": (
        "the final answer is the one that a majority of the replies to the instruction gives",
        "a majority can be wrong, and the reasoning before the answer was not checked",
    ),
    "single_reply": (
        "the one reply to the instruction states a final answer in the form of the task",
        "whether it is right was not checked",
    ),
    "none": (
        "the reply could be parsed",
        "whether it is right was not checked: the config asks for unverified rows",
    ),
    "well_formed": (
        "the reply follows the format rules of the task",
        "whether it is right was not checked",
    ),
    "judge": (
        "the labelling model, asked to judge the reply, accepted it",
        "a model is no independent judge of its own replies",
    ),
}


@dataclass(frozen=True)
class Replies:
    """What the labelling model was asked and what that took."""

    asked: int
    parsed: int
    prompt_tokens: int
    completion_tokens: int


@dataclass(frozen=True)
class Funnel:
    """What is left after each stage of a run; `rows` is the number of training rows."""

    task: str
    stages: list[Stage]
    rows: int
    replies: Replies


@dataclass(frozen=True)
class Neighbour:
    """An instruction, kept or dropped for it, and the problem that it is like."""

    id: str
    instruction: str
    item_id: str
    similarity: float


@dataclass(frozen=True)
class Benchmark:
    """What was dropped for a benchmark; `note` says why it was not `available`."""

    benchmark: str
    source: str
    available: bool
    note: str
    items: int
    dropped: int
    dropped_by: dict[str, int]
    closest: list[Neighbour]


@dataclass(frozen=True)
class Decontamination:
    """What the instructions were compared with, and how."""

    ngram: int
    encoder: str
    benchmarks: list[Benchmark]


@dataclass(frozen=True)
class Provenance:
    """Everything that a card tells beside the rows.

    `seeds` is the number of seeds, `seed_source` the file or the dataset they are from, `settings`
    the values of config.yaml under each of `SETTINGS`, as `public_settings` gives them.
    """

    task: Task
    funnel: Funnel
    decontamination: Decontamination
    seeds: int
    seed_source: str | dict[str, Any]
    settings: dict[str, Any]


def parse_funnel(value: Any) -> Funnel:
    """Make a funnel of the content of `funnel.json`.

    Raises `ValueError` that names the key when one is missing or of another type.
    """
    parts = _known(value, Funnel)
    return parse_row(
        {
            **parts,
            "stages": [parse_row(_known(row, Stage), Stage) for row in _list(parts, "stages")],
            "replies": parse_row(_known(parts.get("replies"), Replies), Replies),
        },
        Funnel,
    )


def parse_decontamination(value: Any) -> Decontamination:
    """Make a record of the content of `decontamination.json`.

    Raises `ValueError` that names the key when one is missing or of another type.
    """
    parts = _known(value, Decontamination)
    benchmarks = [_parse_benchmark(row) for row in _list(parts, "benchmarks")]
    report = parse_row({**parts, "benchmarks": benchmarks}, Decontamination)
    return replace(report, encoder=public_name(report.encoder))


def _parse_benchmark(value: Any) -> Benchmark:
    parts = _known(value, Benchmark)
    closest = [parse_row(_known(row, Neighbour), Neighbour) for row in _list(parts, "closest")]
    return parse_row({**parts, "closest": closest}, Benchmark)


def _known(value: Any, record: type) -> dict[str, Any]:
    """The keys that a record has: what a later version of the report adds is none of ours."""
    if not isinstance(value, dict):
        raise ValueError(f"holds no {record.__name__.lower()}")
    return {column.name: value[column.name] for column in fields(record) if column.name in value}


def _list(parts: dict[str, Any], name: str) -> list[Any]:
    if not isinstance(parts.get(name), list):
        raise ValueError(f"lacks the list '{name}'")
    return parts[name]


def dataset_card(rows: list[Verified], provenance: Provenance) -> str:
    """The card of a data set: front matter, then a section for each thing a reader asks."""
    sections = [
        _front_matter(rows, provenance.task),
        _summary(rows, provenance),
        _columns(),
        _formats(provenance.task),
        _provenance(rows, provenance),
        _prompts(provenance.task),
        _funnel(provenance.funnel),
        _verification(rows),
        _decontamination(rows, provenance.decontamination),
        _licence(rows, provenance),
        _limitations(rows),
    ]
    return "\n\n".join(sections) + "\n"


def size_category(count: int) -> str:
    """The hub's name for a number of rows."""
    return _SIZES[bisect_right([1_000, 10_000, 100_000, 1_000_000], count)]


def escaped(text: str) -> str:
    """A text on one line of Markdown, or in a cell of a table, that is read as it is."""
    line = " ".join(text.split())
    # An underscore between letters or digits is only itself, and names are full of them.
    return re.sub(r"[\\`*\[\]<>|$~&]|(?<![^\W_])_|_(?![^\W_])", r"\\\g<0>", line)


def fenced(text: str, language: str = "text") -> str:
    """A text as a code block, whatever fences it holds itself."""
    longest = max((len(run) for run in re.findall("`+", text)), default=0)
    fence = "`" * max(3, longest + 1)
    return f"{fence}{language}\n{text}\n{fence}"


def table(header: list[str], rows: list[list[object]]) -> str:
    """A Markdown table; the cells are escaped, the header is not."""
    lines = [header, ["---"] * len(header), *([escaped(str(cell)) for cell in row] for row in rows)]
    return "\n".join(f"| {' | '.join(line)} |" for line in lines)


def public_name(model: str) -> str:
    """A model's name for readers elsewhere: of a path on this machine the last part."""
    return PurePath(model).name if PurePath(model).is_absolute() else model


def public_settings(settings: dict[str, Any]) -> dict[str, Any]:
    """Settings whose texts, at any depth, are public names."""

    def public(value: Any) -> Any:
        if isinstance(value, dict):
            return public_settings(value)
        return public_name(value) if isinstance(value, str) else value

    return {name: public(value) for name, value in settings.items()}


def _tally(numbers: dict[str, int]) -> str:
    ranked = sorted(numbers.items(), key=lambda item: (-item[1], item[0]))
    return ", ".join(f"{number} {name}" for name, number in ranked if number)


def _distinct(rows: list[Verified], column: str) -> list[str]:
    return sorted({getattr(row, column) for row in rows} - {""})


def _distinct_settings(settings: Iterable[dict[str, Any]]) -> str:
    return ", ".join(sorted({json.dumps(values, sort_keys=True) for values in settings}))


def _front_matter(rows: list[Verified], task: Task) -> str:
    from huggingface_hub import DatasetCardData

    data = DatasetCardData(
        pretty_name=f"{task.name} (Ada-Instruct)",
        license="other",
        annotations_creators=["machine-generated"],
        language_creators=["machine-generated"],
        size_categories=[size_category(len(rows))],
        task_categories=_CATEGORIES[task.spec["kind"]],
        tags=["synthetic", "ada-instruct"],
        configs=[
            {
                "config_name": "default",
                "data_files": [{"split": "train", "path": PARQUET_FILE}],
            }
        ],
    )
    return f"---\n{data.to_yaml()}\n---"


def _summary(rows: list[Verified], provenance: Provenance) -> str:
    task = provenance.task
    benchmarks = provenance.decontamination.benchmarks
    names = ", ".join(row.benchmark for row in benchmarks if row.available)
    overlap = f", and for overlap with {escaped(names)}" if names else ""
    instructions = len({row.instruction_id for row in rows})
    return f"""# {task.name}: an Ada-Instruct training set

{len(rows)} training rows with {instructions} different instructions for the task `{task.name}`, \
made by the method of
[Ada-Instruct: Adapting Instruction Generators for Complex Reasoning](https://arxiv.org/abs/2310.04484).
A language model was fine-tuned on a few seed instructions of the task and then wrote new ones. They
were filtered for form and for similarity{overlap}; another model answered them,
and the answers that passed verification are the rows.

{fenced(_LOAD, "python")}"""


def _columns() -> str:
    # The meanings are our own Markdown, so they are not escaped.
    lines = [f"| `{name}` | {meaning} |" for name, meaning in COLUMNS.items()]
    return "\n".join(["## Columns", "", "| column | meaning |", "| --- | --- |", *lines])


def _formats(task: Task) -> str:
    files = ", ".join(f"`{name}`" for name in JSON_LINES)
    entries = ", ".join(f"`{name}`" for name in llama_factory_info(task.name))
    return f"""## Formats

`{PARQUET_FILE}` holds all columns. The same rows, in the same order, are in
{files}, with the columns of each form alone.

TRL:

{fenced(_TRL, "python")}

axolotl:

{fenced(_AXOLOTL, "yaml")}

LLaMA-Factory: set `dataset_dir` to this directory, and `dataset` to one of the entries of its
`dataset_info.json`: {entries}."""


def _seed_source(source: str | dict[str, Any]) -> str:
    if isinstance(source, str):
        return f"the task's own file {source}"
    dataset = source["dataset"]
    return f"dataset {dataset['hub']}, split {dataset['split']}"


def _flat(settings: dict[str, Any], prefix: str) -> list[list[object]]:
    """Rows of a table, one for each setting; a nested one is named `a.b`."""
    rows: list[list[object]] = []
    for name, value in settings.items():
        if isinstance(value, dict):
            rows += _flat(value, f"{prefix}{name}.")
        else:
            rows.append([f"{prefix}{name}", value if isinstance(value, str) else json.dumps(value)])
    return rows


def _provenance(rows: list[Verified], provenance: Provenance) -> str:
    told = [
        ["seeds", f"{provenance.seeds} from {_seed_source(provenance.seed_source)}"],
        ["generator, before it was tuned", provenance.settings["generator"]["model"]],
        ["fingerprint of the tuned generator", ", ".join(_distinct(rows, "generator"))],
        ["labelling model", ", ".join(_distinct(rows, "label_model"))],
        ["sandbox", ", ".join(_distinct(rows, "sandbox")) or "none: no code was run"],
        ["sampling of the generator", _distinct_settings(row.sampling for row in rows)],
        ["sampling of the labelling model", _distinct_settings(row.label_sampling for row in rows)],
    ]
    settings = [row for name in SETTINGS for row in _flat(provenance.settings[name], f"{name}.")]
    return f"""## Provenance

{table(["what", "value"], told)}

Settings of the run, as config.yaml has them:

{table(["setting", "value"], settings)}"""


def _prompts(task: Task) -> str:
    form, label, judge = task.spec["instruction"], task.spec["label"], task.spec.get("judge", {})
    request, examples = label["request"], len(label["examples"])
    texts = {
        "Before every instruction": form["prefix"],
        "The first words of every instruction": form["opening"],
        "After every instruction": form["suffix"],
        "The response": form["response"],
        "System message to the labelling model": label["system"],
        f"Request to the labelling model, with {examples} worked examples before it": request,
        "System message to the judge": judge.get("system", ""),
        "Request to the judge": judge.get("request", ""),
        "What an accepting judgement matches": judge.get("accept", ""),
    }
    shown = [f"{title}:\n\n{fenced(text)}" for title, text in texts.items() if text]
    return "\n\n".join(["## Prompts", *shown])


def _funnel(funnel: Funnel) -> str:
    stages = [
        [
            stage.stage,
            stage.count,
            f"{stage.of_previous:.1f}",
            f"{stage.of_sampled:.1f}",
            _tally(stage.reasons),
        ]
        for stage in funnel.stages
    ]
    replies = funnel.replies
    header = ["stage", "left", "% of the stage before", "% of the samples", "lost at this stage"]
    return f"""## Filters

Every stage counts instructions: `labelled` ones have a reply, `valid` ones a reply that could be
parsed, `verified` ones a row. What was lost at the last two stages is counted in replies.

{table(header, stages)}

The labelling model gave {replies.asked} replies, of which {replies.parsed} could be parsed, for
{replies.prompt_tokens} prompt tokens and {replies.completion_tokens} completion tokens, as its
endpoint reported them."""


def _verification(rows: list[Verified]) -> str:
    ways = Counter(row.verification for row in rows)
    support = Counter((row.verification, row.support, row.replies) for row in rows)
    described = [[way, ways[way], _way(way)[0]] for way in sorted(ways)]
    header = ["verification", "support", "of replies", "rows"]
    return f"""## Verification

{table(["verification", "rows", "what was checked"], described)}

How many of the replies to its instruction stand behind a row:

{table(header, [[*group, support[group]] for group in sorted(support)])}"""


def _way(way: str) -> tuple[str, str]:
    """What a way of verification checks, and what it leaves open."""
    return WAYS.get(way, ("", ""))


def _decontamination(rows: list[Verified], report: Decontamination) -> str:
    checked = [row for row in report.benchmarks if row.available]
    missing = [row for row in report.benchmarks if not row.available]
    parts = ["## Decontamination"]
    if checked:
        figures = [
            [row.benchmark, row.source, row.items, row.dropped, _tally(row.dropped_by)]
            for row in checked
        ]
        header = ["benchmark", "source", "problems", "instructions dropped", "dropped by"]
        parts += [
            f"Instructions that share {report.ngram} words in a row with a problem, boilerplate "
            "apart (`ngram`), or a whole\ntext with it (`substring`) were dropped. One that "
            "overlaps several benchmarks counts for each.",
            table(header, figures),
        ]
    exported = {row.instruction_id for row in rows}
    closest = [
        [
            row.benchmark,
            near.item_id,
            f"{near.similarity:.3f}",
            "yes" if near.id in exported else "no",
            near.instruction,
        ]
        for row in checked
        for near in sorted(row.closest, key=lambda near: -near.similarity)[:CLOSEST_SHOWN]
    ]
    if closest:
        header = ["benchmark", "problem", "cosine", "in this data set", "instruction"]
        parts += [
            "The sampled instructions that are most like a problem, by the sentence encoder "
            f"{escaped(report.encoder)}:",
            table(header, closest),
        ]
    if missing:
        parts += [
            "**Nothing was checked against these benchmarks**, which could not be had:",
            table(
                ["benchmark", "source", "reason"],
                [[row.benchmark, row.source, row.note] for row in missing],
            ),
        ]
    if not report.benchmarks:
        parts.append("**No benchmark was checked**: no task of the project names one.")
    return "\n\n".join(parts)


def _licence(rows: list[Verified], provenance: Provenance) -> str:
    generator = escaped(provenance.settings["generator"]["model"])
    labellers = escaped(", ".join(_distinct(rows, "label_model")))
    seeds = escaped(_seed_source(provenance.seed_source))
    return f"""## Licence

`license: other` says that nobody has chosen one yet. The rows carry the terms of the models that
wrote them:

- instructions: the licence of {generator};
- answers: the terms of {labellers}, or of the API that served it;
- seeds, which the generator learnt from: the terms of {seeds}.

Read them, and choose a licence before you publish the rows."""


def _limitations(rows: list[Verified]) -> str:
    ways = sorted({row.verification for row in rows})
    left_open = [
        f"- A pass by `{way}` means that {checked}; {open_question}."
        for way in ways
        for checked, open_question in [_way(way)]
        if checked
    ]
    return "\n".join(
        [
            "## Limitations",
            "",
            "- Models wrote the instructions and the answers; no step has a human read them.",
            *left_open,
            "- Only instructions that the labelling model could answer are left: hard ones may be "
            "rare.",
            "- Overlap is known for the benchmarks above alone, and a paraphrase can pass unseen.",
        ]
    )
