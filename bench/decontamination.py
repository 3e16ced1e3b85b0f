"""Measure what `OverlapIndex` finds in real benchmarks, and how fast.

    python bench/decontamination.py FOLDER [--ngram 10] [--show 20]

The folder holds gzip-compressed JSON Lines files as their authors published them (humaneval, mbpp,
gsm8k_train, gsm8k_test, math_train, math_test, csqa_train_rand_split, csqa_dev_rand_split). Every
problem of the five test sets is planted, changed in ways that do not make it another problem; the
training sets, which should not overlap the test sets, tell how often an overlap is found where
there is none. Each of these is listed with its words, so that one can judge it.
"""

import argparse
import gzip
import json
import random
import re
import sys
import time
from collections import Counter
from collections.abc import Callable
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parents[1]))

from scripts.fetch_benchmark import read_problems
from scripts.lib.decontamination import NGRAM, OverlapIndex
from scripts.lib.records import BenchmarkItem
from scripts.lib.tasks import load_task

TASKS = Path(__file__).parents[1] / "tasks"


def rows(folder: Path, name: str) -> list[dict]:
    """The rows of one file."""
    with gzip.open(folder / f"{name}.jsonl.gz", "rt", encoding="utf-8") as stream:
        return [json.loads(line) for line in stream]


def choice(row: dict) -> str:
    """A CommonsenseQA question with its options, a line each."""
    options = [f"{option['label']}. {option['text']}" for option in row["question"]["choices"]]
    return "\n".join([row["question"]["stem"], *options])


def benchmark_items(folder: Path) -> list[BenchmarkItem]:
    """The problems of the five test sets."""
    files = {
        "humaneval": "humaneval",
        "mbpp": "mbpp",
        "gsm8k": "gsm8k_test",
        "math": "math_test",
        "csqa": "csqa_dev_rand_split",
    }
    items = [
        item
        for task, name in files.items()
        for item in read_problems(load_task(TASKS / f"{task}.yaml"), folder / f"{name}.jsonl.gz")
    ]
    # The authors' file of MBPP holds all splits; the test set has these numbers.
    return [item for item in items if item.benchmark != "MBPP" or 11 <= int(item.id) <= 510]


def training_texts(folder: Path) -> dict[str, list[str]]:
    """Problems of the same authors that are in no test set."""
    return {
        "GSM8K": [row["question"] for row in rows(folder, "gsm8k_train")][:1000],
        "MBPP": [row["text"] for row in rows(folder, "mbpp") if row["task_id"] > 510],
        "MATH": [row["problem"] for row in rows(folder, "math_train")][:1000],
        "CommonsenseQA": [choice(row) for row in rows(folder, "csqa_train_rand_split")][:1000],
    }


def reshaped(text: str) -> str:
    """The same words in capitals and on one line."""
    return " ".join(text.upper().split())


def renamed(text: str) -> str:
    """A stub whose functions have other names, where they are defined and called."""
    for name in re.findall(r"\bdef (\w+)", text):
        text = re.sub(rf"\b{name}\b(?=\s*\()", "my_solution", text)
    return text


def docstring_sentence(text: str) -> str:
    """The first paragraph of a stub's docstring, up to an example, asked for in a sentence."""
    docstring = re.split(r'"""|\'\'\'', text)[-2].strip()
    opening = re.split(r">>>|\n\s*\n|\bexamples?\b|\bfor example\b", docstring, flags=re.I)[0]
    return f"Write a python function to {' '.join(opening.split())}"


def other_order(text: str) -> str:
    """A question whose options stand in another order."""
    stem, *options = text.split("\n")
    words = [option.partition(" ")[2] for option in options]
    lettered = zip("ABCDE", words[1:] + words[:1], strict=True)
    return "\n".join([stem, *(f"{letter}. {word}" for letter, word in lettered)])


PLANTS: list[tuple[str, str, Callable[[str], str]]] = [
    ("HumanEval", "functions renamed", renamed),
    ("HumanEval", "docstring as a sentence", docstring_sentence),
    ("CommonsenseQA", "options in another order", other_order),
    *(
        (name, way, change)
        for name in ("HumanEval", "MBPP", "GSM8K", "MATH", "CommonsenseQA")
        for way, change in [
            ("capitals, one line", reshaped),
            ("in a longer text", lambda text: f"Please help me with this. {text} Think first."),
        ]
    ),
]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("datasets", type=Path)
    parser.add_argument("--ngram", type=int, default=NGRAM)
    parser.add_argument("--show", type=int, default=20, help="overlaps listed for each pair")
    arguments = parser.parse_args()

    items = benchmark_items(arguments.datasets)
    started = time.perf_counter()
    index = OverlapIndex(items, arguments.ngram)
    print(f"{len(items)} problems indexed in {time.perf_counter() - started:.1f} s")

    print("\nplanted problems that are found")
    for benchmark, way, change in PLANTS:
        own = [item for item in items if item.benchmark == benchmark]
        missed = [
            item.id
            for item in own
            if all(hit.benchmark != benchmark for hit in index.find(change(item.text)))
        ]
        found = len(own) - len(missed)
        print(f"  {benchmark:14} {way:26} {found:5} of {len(own):5}  missed: {missed[:10]}")

    print("\noverlaps between sets that should have none")
    sources = training_texts(arguments.datasets)
    by_test = {item.benchmark: [] for item in items}
    for item in items:
        by_test[item.benchmark].append(item.text)
    pairs = [(f"{name} train", name, texts) for name, texts in sources.items()]
    pairs += [(f"{name} test", name, texts) for name, texts in by_test.items()]
    for source, benchmark, texts in pairs:
        hits = [
            (number, hit)
            for number, text in enumerate(texts)
            for hit in index.find(text)
            if not (source.endswith(" test") and hit.benchmark == benchmark)
        ]
        for target in by_test:
            own = [(number, hit) for number, hit in hits if hit.benchmark == target]
            if not own and target != benchmark:
                continue
            if source == f"{target} test":
                continue
            rules = Counter(hit.rule for _, hit in own)
            print(f"  {source} against {target}: {len(own)} of {len(texts)} {dict(rules)}")
            for number, hit in own[: arguments.show]:
                print(f"    {number:5} ~ {hit.item_id:5} {hit.rule:9} {hit.evidence[:150]}")

    everything = [text for _, _, texts in pairs for text in texts]
    sample = random.Random(0).choices(everything, k=10_000)
    started = time.perf_counter()
    for text in sample:
        index.find(text)
    seconds = time.perf_counter() - started
    print(f"\n{len(sample)} texts in {seconds:.1f} s: 100,000 in {10 * seconds:.0f} s")


if __name__ == "__main__":
    main()
