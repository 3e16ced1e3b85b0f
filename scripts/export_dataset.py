"""Export the training rows in the forms that trainers read, with a card that says what they are.

    python -m scripts.export_dataset --task tasks/mbpp.yaml \\
        --verified results/mbpp_verified.jsonl --funnel results/mbpp/funnel.json \\
        --decontamination results/mbpp/decontamination.json --seeds results/mbpp/seeds.jsonl \\
        --seed-set own --settings '{"generator": {"model": "smollm2-135m-instruct"}, ...}' \\
        --output results/mbpp/dataset

The settings are the sections `generator`, `sampling`, `filter`, `decontamination`, `label` and
`verification` of config.yaml. The same inputs give the same bytes.
"""

import json
import time
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any, TypeVar

import jsonlines

from scripts.lib.console import counts, run_step, step_parser
from scripts.lib.dataset_card import (
    SETTINGS,
    Provenance,
    dataset_card,
    parse_decontamination,
    parse_funnel,
    public_name,
    public_settings,
)
from scripts.lib.errors import UserError
from scripts.lib.export import JSON_LINES, PARQUET_FILE, arrow_table, defect, llama_factory_info
from scripts.lib.files import atomic_directory
from scripts.lib.records import Seed, Verified, read_rows
from scripts.lib.seeds import seed_source
from scripts.lib.tasks import load_task

Report = TypeVar("Report")


def read_verified(path: Path) -> list[Verified]:
    """The training rows of a file.

    Raises `UserError` where it cannot be read, holds no row, or a row cannot be exported.
    """
    rows = list(read_rows(path, Verified))
    if not rows:
        raise UserError(f"{path}: holds no rows: remove it and run the same command again")
    for row in rows:
        if reason := defect(row):
            raise UserError(f"{path}, row '{row.id}': {reason}: mend or remove the row")
    return [replace(row, label_model=public_name(row.label_model)) for row in rows]


def read_report(path: Path, parse: Callable[[Any], Report]) -> Report:
    """The report of an earlier step, a JSON file.

    Raises `UserError` where it cannot be read or is not what the step writes.
    """
    remedy = f"make it again: snakemake --force {path}"
    try:
        return parse(json.loads(path.read_text(encoding="utf-8")))
    except OSError as error:
        raise UserError(f"{path}: cannot be read: {error.strerror}: {remedy}") from error
    except json.JSONDecodeError as error:
        raise UserError(f"{path}: is not valid JSON: {remedy}") from error
    except ValueError as error:
        raise UserError(f"{path}: {error}: {remedy}") from error


def write_dataset(directory: Path, rows: list[Verified], provenance: Provenance) -> None:
    """Write all files of a data set, complete or not at all.

    Raises `UserError` where the rows have no common type.
    """
    import pyarrow
    from pyarrow import parquet

    with atomic_directory(directory) as partial:
        (partial / PARQUET_FILE).parent.mkdir()
        try:
            parquet.write_table(arrow_table(rows), partial / PARQUET_FILE)
        except pyarrow.ArrowException as error:
            reason = " ".join(str(error).split())
            raise UserError(
                f"{provenance.task.name}: the settings in the rows have no common type ({reason}): "
                "verify the labels again"
            ) from error
        for name, form in JSON_LINES.items():
            with jsonlines.open(partial / name, "w") as writer:
                writer.write_all(form(row) for row in rows)
        info = json.dumps(llama_factory_info(provenance.task.name), indent=2)
        (partial / "dataset_info.json").write_text(f"{info}\n", encoding="utf-8")
        (partial / "README.md").write_text(dataset_card(rows, provenance), encoding="utf-8")


def main(argv: list[str] | None = None) -> None:
    parser = step_parser(__doc__)
    parser.add_argument("--task", type=Path, required=True)
    parser.add_argument("--verified", type=Path, required=True)
    parser.add_argument("--funnel", type=Path, required=True)
    parser.add_argument("--decontamination", type=Path, required=True)
    parser.add_argument("--seeds", type=Path, required=True)
    parser.add_argument("--seed-set", required=True, help="name of the set of seeds")
    parser.add_argument("--settings", type=json.loads, required=True, help="JSON, for the card")
    parser.add_argument("--output", type=Path, required=True)
    arguments = parser.parse_args(argv)

    started = time.monotonic()
    if missing := [name for name in SETTINGS if name not in arguments.settings]:
        raise UserError(f"--settings: lacks '{missing[0]}': give that section of config.yaml")
    task = load_task(arguments.task)
    rows = read_verified(arguments.verified)
    funnel = read_report(arguments.funnel, parse_funnel)
    if funnel.rows != len(rows):
        raise UserError(
            f"{arguments.funnel}: counts {funnel.rows} rows, but {arguments.verified} holds "
            f"{len(rows)}: make it again: snakemake --force {arguments.funnel}"
        )
    provenance = Provenance(
        task=task,
        funnel=funnel,
        decontamination=read_report(arguments.decontamination, parse_decontamination),
        seeds=sum(1 for _ in read_rows(arguments.seeds, Seed)),
        seed_source=seed_source(task, arguments.seed_set),
        settings=public_settings(arguments.settings),
    )
    write_dataset(arguments.output, rows, provenance)
    counts(
        "export_dataset",
        time.monotonic() - started,
        rows=len(rows),
        different_instructions=len({row.instruction_id for row in rows}),
    )


if __name__ == "__main__":
    run_step(main)
