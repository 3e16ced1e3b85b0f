"""Print what replies a journal holds, by model and task, and what they have cost.

    python -m scripts.print_journal
    python -m scripts.print_journal .cache/completions --compact

`--compact` first merges the files of runs that have ended into one, without torn lines and with one
reply to each request; what anything else has cost stays on record. Files that other hosts have
written are left alone, as a run there need not be seen from here, unless `--other-hosts` says that
none is under way.
"""

from collections import defaultdict
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from scripts.lib.completions.compacting import compact
from scripts.lib.completions.entries import cost_in, lost_in, used_in
from scripts.lib.completions.journal import entries
from scripts.lib.completions.pricing import NOTHING, Usage
from scripts.lib.console import run_step, say, step_parser
from scripts.lib.errors import UserError

# The reasons of requests that were not merely interrupted.
GIVEN_UP = ("refused", "unanswered")


@dataclass
class Contents:
    """What a journal holds for one model and task."""

    replies: int = 0
    failures: int = 0
    usage: Usage = NOTHING
    lost: Usage = NOTHING
    dollars: float = 0.0
    priced: int = 0
    unpriced: int = 0
    times: list[str] = field(default_factory=list)

    def add(self, entry: dict[str, Any]) -> None:
        """Count an entry: a reply or a failure."""
        self.lost += lost_in(entry)
        self.usage += used_in(entry)
        self.replies += "failed" not in entry
        self.failures += entry.get("reason") in GIVEN_UP
        self.dollars += cost_in(entry).dollars
        if (used_in(entry) + lost_in(entry)).tokens:
            self.priced += entry.get("price") is not None
            self.unpriced += entry.get("price") is None
        self.times = [min([*self.times, entry["received"]]), max([*self.times, entry["received"]])]

    def cost(self) -> str:
        """The cost in words; that of entries whose price was not known is not in it."""
        if self.unpriced and not self.priced:
            return "price not known"
        more = f", and {self.unpriced} requests of unknown price" if self.unpriced else ""
        return f"${self.dollars:.4f}{more}"


def contents(folder: Path) -> dict[tuple[str, str], Contents]:
    """What a journal holds, by model and by what it was asked for."""
    found: dict[tuple[str, str], Contents] = defaultdict(Contents)
    for entry in entries(folder):
        model = entry["model"] if "failed" in entry else entry["request"]["model"]
        found[model, entry.get("for", "")].add(entry)
    return dict(sorted(found.items()))


def main(argv: list[str] | None = None) -> None:
    parser = step_parser(__doc__)
    parser.add_argument("folder", type=Path, nargs="?", default=Path(".cache/completions"))
    parser.add_argument("--compact", action="store_true")
    parser.add_argument("--other-hosts", action="store_true")
    arguments = parser.parse_args(argv)
    if not arguments.folder.is_dir():
        raise UserError(f"{arguments.folder}: there is no journal yet")
    if arguments.compact:
        before, after = compact(arguments.folder, arguments.other_hosts)
        say(f"compacted: {before} files into {after}")
    for (model, task), held in contents(arguments.folder).items():
        print(f"{model}{' for ' + task if task else ''}, {held.times[0]} to {held.times[-1]}:")
        print(
            f"  {held.replies} replies, {held.usage.prompt_tokens:,} prompt and "
            f"{held.usage.completion_tokens:,} completion tokens, {held.cost()}"
        )
        if held.failures or held.lost.tokens:
            print(
                f"  {held.failures} requests given up; tries without a reply, and second replies, "
                f"may have cost {held.lost.tokens:,} tokens more (in the cost above)"
            )


if __name__ == "__main__":
    run_step(main)
