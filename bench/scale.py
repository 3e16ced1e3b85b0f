"""What a data set of a size takes: jobs, GPU hours, API minutes, dollars, disk and memory.

    python bench/scale.py [--rows 10000 1000000 100000000] [--set NAME=VALUE ...]

Arithmetic alone, nothing is run. Every number that goes in stands below with where it comes from;
`--set tokens_a_second=9000` puts in one of yours. docs/scale.md says what follows from the table.
"""

import argparse
import math
import sys
from dataclasses import dataclass, field, fields
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parents[1]))

from scripts.lib.resources import GPU_TRAINS, TRAINING_OPERATIONS

# Where a number comes from. Measured ones are of two cores of an AMD EPYC.
MEASURED, PUBLISHED, ASSUMED = "measured", "published", "assumed"


def known(value: float, source: str, meaning: str) -> float:
    """A number with its source and meaning."""
    return field(default=value, metadata={"source": source, "meaning": meaning})


@dataclass
class Numbers:
    """What the arithmetic knows."""

    # What is made.
    margin: float = known(3, ASSUMED, "instructions sampled a row: sampling.margin")
    kept: float = known(0.69, MEASURED, "of them left by the filter (bench.filtering)")
    replies: float = known(3, ASSUMED, "replies an instruction: label.replies")
    text_tokens: float = known(60, ASSUMED, "tokens of a sampled text")
    prompt_tokens: float = known(333, MEASURED, "tokens of a label request (MBPP, with examples)")
    reply_tokens: float = known(200, ASSUMED, "tokens of a reply")
    characters: float = known(3.7, MEASURED, "characters a token (MBPP's requests)")
    # GPUs: docs/performance.md, a 13B model on an A100 (80 GB), half of what arithmetic allows.
    tokens_a_second: float = known(6000, ASSUMED, "sampled tokens a second and GPU")
    shard_size: float = known(25_000, ASSUMED, "texts a shard: sampling.shard_size")
    start_seconds: float = known(120, ASSUMED, "to start a shard's job and load the model")
    # Trainings: what jobs ask for is worked out from the same rate (scripts/lib/resources.py).
    generator_parameters: float = known(13e9, ASSUMED, "weights of the generator")
    seeds: float = known(10, PUBLISHED, "seeds that it learns from (the paper)")
    generator_epochs: float = known(40, PUBLISHED, "times that it sees them (configs/paper.yaml)")
    student_parameters: float = known(13e9, ASSUMED, "weights of the student")
    student_epochs: float = known(3, ASSUMED, "times that it sees a row (configs/paper.yaml)")
    trained_tokens: float = known(300, ASSUMED, "tokens of a seed or row, with the form around it")
    operations_a_second: float = known(GPU_TRAINS, ASSUMED, "of a GPU over a whole training")
    # The endpoint.
    requests_a_minute: float = known(10_000, ASSUMED, "requests a minute of all keys")
    tokens_a_minute: float = known(10e6, ASSUMED, "tokens a minute of all keys")
    of_the_limit: float = known(0.99, MEASURED, "of a limit is used (bench.labels)")
    client_requests: float = known(1575, MEASURED, "requests a second of one client (bench.labels)")
    dollars_prompt: float = known(0.15, PUBLISHED, "dollars a million prompt tokens (gpt-4o-mini)")
    dollars_reply: float = known(0.60, PUBLISHED, "dollars a million reply tokens (gpt-4o-mini)")
    # Bytes of a row beside its texts.
    text_bytes: float = known(200, MEASURED, "a raw text, and again in .cache/generations")
    instruction_bytes: float = known(150, MEASURED, "an instruction or a drop, with its neighbour")
    journal_bytes: float = known(1450, MEASURED, "a reply in the journal, beside request and reply")
    label_bytes: float = known(500, MEASURED, "a reply's row, which holds its text twice")
    row_bytes: float = known(715, MEASURED, "a training row, which holds its texts twice")
    rejection_bytes: float = known(264, MEASURED, "a rejected reply")
    # Jobs and files.
    jobs_beside: float = known(13, MEASURED, "jobs that are no shards, of one task (a dry run)")
    inodes_a_shard: float = known(6, MEASURED, "output, log, benchmark, record, two in the cache")
    inodes_beside: float = known(200, MEASURED, "of a task's other steps and models")
    metadata_bytes: float = known(2330, MEASURED, "Snakemake's record of a shard (bench/plan.py)")
    # CPU.
    plan_seconds: float = known(1.7, MEASURED, "a plan, in seconds of CPU (bench/plan.py)")
    plan_a_shard: float = known(0.0007, MEASURED, "and for each shard")
    encoded: float = known(116, MEASURED, "texts a second and core, packaged encoder")
    dedup_seconds: float = known(17.6, MEASURED, "to compare 100,000 texts, on two cores")
    verified: float = known(176, MEASURED, "programs a second and core (bench.executor)")
    # Memory a row, in bytes.
    filter_bytes: float = known(5500, MEASURED, "an instruction in the filter (bench.filtering)")
    journal_index: float = known(300, MEASURED, "a reply of the journal in the label client")
    label_memory: float = known(3700, MEASURED, "a reply in label and verify")


@dataclass
class Scale:
    """What so many rows take."""

    rows: float
    numbers: Numbers

    def trained(self, parameters: float, examples: float) -> float:
        """Seconds of a GPU to train so many weights on so many examples, those of all epochs."""
        operations = TRAINING_OPERATIONS * parameters * examples * self.numbers.trained_tokens
        return operations / self.numbers.operations_a_second

    def figures(self) -> dict[str, tuple[float, str]]:
        """Each figure by its name, with its unit."""
        known, rows = self.numbers, self.rows
        sampled = rows * known.margin
        kept = sampled * known.kept
        requests = kept * known.replies
        shards = math.ceil(sampled / known.shard_size)
        gpu = {
            "sample": sampled * known.text_tokens / known.tokens_a_second
            + shards * known.start_seconds,
            "train generator": self.trained(
                known.generator_parameters, known.seeds * known.generator_epochs
            ),
            "train student": self.trained(known.student_parameters, rows * known.student_epochs),
        }
        gpu_hours = sum(gpu.values()) / 3600
        tokens = requests * (known.prompt_tokens + known.reply_tokens)
        allowed = max(requests / known.requests_a_minute, tokens / known.tokens_a_minute)
        minutes = max(allowed / known.of_the_limit, requests / known.client_requests / 60)
        dollars = (
            requests
            * (
                known.prompt_tokens * known.dollars_prompt
                + known.reply_tokens * known.dollars_reply
            )
            / 1e6
        )
        text = known.text_tokens * known.characters
        prompt = known.prompt_tokens * known.characters
        reply = known.reply_tokens * known.characters
        disk = {
            "texts": 2 * sampled * (known.text_bytes + text),
            "instructions": sampled * (known.instruction_bytes + 2 * text),
            "journal": requests * (known.journal_bytes + prompt + reply),
            "labels": requests * (known.label_bytes + text + 2 * reply),
            "rows": rows * (known.row_bytes + 2 * text + 2 * reply)
            + (requests - rows) * known.rejection_bytes,
            "records": shards * known.metadata_bytes,
        }
        found = {
            "instructions sampled": (sampled, ""),
            "requests": (requests, ""),
            "jobs": (shards + known.jobs_beside, ""),
            "plan": (known.plan_seconds + shards * known.plan_a_shard, "s of CPU"),
            "GPU": (gpu_hours, "h"),
            **{f"GPU, {name}": (seconds / 3600, "h") for name, seconds in gpu.items()},
            "API": (minutes, "min"),
            "API, dollars": (dollars, "$"),
            "Batch API, dollars": (dollars / 2, "$"),
            "GPUs cost as much at": (dollars / gpu_hours, "$ an hour"),
            "Batch API, batches": (math.ceil(requests / 50_000), ""),
        }
        found |= {f"disk, {name}": (size / 1e9, "GB") for name, size in disk.items()}
        return found | {
            "disk": (sum(disk.values()) / 1e9, "GB"),
            "inodes": (shards * known.inodes_a_shard + known.inodes_beside, ""),
            "filter, encoding": (sampled / known.encoded / 3600, "core h"),
            "filter, comparing": (
                known.dedup_seconds * (sampled / 1e5) ** 2 / 3600,
                "h, two cores",
            ),
            "filter, memory": (sampled * known.filter_bytes / 1e9, "GB"),
            "label, memory": (
                requests * (known.label_memory + known.journal_index) / 1e9,
                "GB",
            ),
            "verify": (requests / known.verified / 3600, "core h"),
            "verify, memory": (requests * known.label_memory / 1e9, "GB"),
        }


def shown(value: float) -> str:
    """A number with three digits that count."""
    if value >= 1e6:
        return f"{value / 1e6:,.3g} M" if value < 1e9 else f"{value / 1e6:,.0f} M"
    return f"{value:,.0f}" if value >= 100 else f"{value:.3g}"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--rows", type=float, nargs="+", default=[1e4, 1e6, 1e8])
    parser.add_argument("--set", nargs="+", default=[], metavar="NAME=VALUE", help="your numbers")
    arguments = parser.parse_args()
    try:
        own = {name: float(value) for name, value in (text.split("=") for text in arguments.set)}
        numbers = Numbers(**own)
    except (TypeError, ValueError) as error:
        names = ", ".join(column.name for column in fields(Numbers))
        raise SystemExit(f"error: --set: {error}: give NAME=VALUE, of {names}") from error
    for column in fields(numbers):
        source = "yours" if column.name in own else column.metadata["source"]
        value = getattr(numbers, column.name)
        print(f"{column.name:18} {value:>12,.6g}  {source:9}  {column.metadata['meaning']}")
    print()
    columns = [Scale(rows, numbers).figures() for rows in arguments.rows]
    print(f"{'rows':24}" + "".join(f"{rows:>14,.0f}" for rows in arguments.rows))
    for name, (_, unit) in columns[0].items():
        values = "".join(f"{shown(column[name][0]):>14}" for column in columns)
        print(f"{name:24}{values}  {unit}")


if __name__ == "__main__":
    main()
