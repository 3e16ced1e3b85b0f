"""Print the funnels of finished tasks as tables.

python -m scripts.print_funnel results/*/funnel.json
"""

import json
from pathlib import Path

from scripts.lib.console import run_step, step_parser
from scripts.lib.errors import UserError
from scripts.lib.funnel import table


def main(argv: list[str] | None = None) -> None:
    parser = step_parser(__doc__)
    parser.add_argument("funnels", type=Path, nargs="*")
    arguments = parser.parse_args(argv)
    if not arguments.funnels:
        raise UserError("no task has a funnel yet: make results/mbpp_verified.jsonl first")
    for path in arguments.funnels:
        try:
            print(table(json.loads(path.read_text(encoding="utf-8"))))
        except (OSError, ValueError, KeyError, TypeError) as error:
            raise UserError(
                f"{path}: is no funnel: make results/{path.parent.name}_verified.jsonl again"
            ) from error


if __name__ == "__main__":
    run_step(main)
