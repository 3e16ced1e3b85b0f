"""List examples of what was kept and of what was lost, with the reasons, as JSON and as a page.

    python -m scripts.list_examples --verified results/mbpp_verified.jsonl \\
        --labeled results/mbpp_labeled.jsonl --dropped results/mbpp/dropped.jsonl \\
        --rejected results/mbpp/rejected.jsonl --task-name mbpp --count 10 \\
        --examples results/mbpp/report/examples.json --page results/mbpp/report/examples.html

Every reason has its examples. They are drawn by the digest of their ids: the same rows give the
same examples, and nobody has chosen them.
"""

import time
from dataclasses import asdict
from pathlib import Path

from scripts.lib.console import counts, run_step, step_parser
from scripts.lib.files import atomic_file, write_json
from scripts.lib.records import Drop, Label, Rejection, Verified, read_rows
from scripts.lib.report.examples import examples, examples_page


def main(argv: list[str] | None = None) -> None:
    parser = step_parser(__doc__)
    parser.add_argument("--verified", type=Path, required=True)
    parser.add_argument("--labeled", type=Path, required=True)
    parser.add_argument("--dropped", type=Path, required=True)
    parser.add_argument("--rejected", type=Path, required=True)
    parser.add_argument("--task-name", required=True)
    parser.add_argument("--count", type=int, required=True, help="examples of each reason")
    parser.add_argument("--examples", type=Path, required=True, help="JSON")
    parser.add_argument("--page", type=Path, required=True, help="HTML")
    arguments = parser.parse_args(argv)

    started = time.monotonic()
    groups = examples(
        list(read_rows(arguments.verified, Verified)),
        list(read_rows(arguments.dropped, Drop)),
        list(read_rows(arguments.labeled, Label)),
        list(read_rows(arguments.rejected, Rejection)),
        arguments.count,
    )
    with atomic_file(arguments.page) as stream:
        stream.write(examples_page(arguments.task_name, groups))
    write_json(arguments.examples, [asdict(group) for group in groups])
    counts(
        "list_examples",
        time.monotonic() - started,
        reasons=len(groups),
        examples=sum(len(group.rows) for group in groups),
    )


if __name__ == "__main__":
    run_step(main)
