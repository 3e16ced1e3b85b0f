"""Print what replies a journal holds, by model and task, and what they have cost.

    python -m scripts.print_journal
    python -m scripts.print_journal .cache/completions --compact

`--compact` first merges the files of runs that have ended into one, without torn or broken lines
and with one reply to each request; what anything else has cost stays on record. Files that other
hosts have written are left alone, as a run there need not be seen from here, unless
`--other-hosts`, which compacts as well, says that none is under way.
"""

from collections import Counter, defaultdict
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from scripts.lib.completions.batch_files import BatchFiles
from scripts.lib.completions.budget import amount_text
from scripts.lib.completions.compacting import compact
from scripts.lib.completions.entries import cost_in, lost_in, used_in
from scripts.lib.completions.journal import entries
from scripts.lib.completions.pricing import NOTHING, Usage, usage_of
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
    uncounted: int = 0
    first: str = ""
    last: str = ""

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
        self.uncounted += "failed" not in entry and not usage_of(entry["response"], NOTHING).tokens
        received = entry.get("received", "")
        self.first, self.last = min(self.first or received, received), max(self.last, received)

    def cost(self) -> str:
        """The cost in words; that of entries whose price was not known is not in it."""
        if self.unpriced and not self.priced:
            return "price not known"
        more = f", and {self.unpriced} requests of unknown price" if self.unpriced else ""
        most = "at most " if self.uncounted else ""
        return f"{most}${self.dollars:.4f}{more}"

    def lines(self) -> list[str]:
        """What there is, in lines for the user."""
        lines = [
            f"{self.replies} replies, {self.usage.prompt_tokens:,} prompt and "
            f"{self.usage.completion_tokens:,} completion tokens, {self.cost()}"
        ]
        if self.uncounted:
            lines.append(
                f"of {self.uncounted} replies the endpoint did not tell what they took: they count "
                "for the most that they can"
            )
        if self.failures:
            lines.append(f"{self.failures} requests given up")
        if self.lost.tokens:
            priced = " (in the cost above)" if self.priced else ""
            lines.append(
                "tries without a reply, second replies, and what was cut off or is in flight may "
                f"have taken {self.lost.tokens:,} tokens more{priced}"
            )
        return lines


def contents(folder: Path, broken: Counter[Path]) -> dict[tuple[str, str], Contents]:
    """What a journal holds, by model and by what it was asked for; counts its broken lines."""
    found: dict[tuple[str, str], Contents] = defaultdict(Contents)
    for entry in entries(folder, broken=broken):
        model = entry["model"] if "failed" in entry else entry["request"]["model"]
        found[model, entry.get("for", "")].add(entry)
    return dict(sorted(found.items()))


def compact_and_tell(folder: Path, other_hosts: bool) -> None:
    """Compact a journal, and say what came of it and what was left as it is."""
    done = compact(folder, other_hosts)
    say(f"compacted: {done.before} files into {done.after}")
    if done.broken_lines:
        say(f"{done.broken_lines} broken lines were left out: their replies will be asked again")
    if done.busy:
        say(f"{done.busy} files of runs that go on were left as they are")
    if done.others:
        say(
            f"{done.others} files of other hosts were left as they are: if no run is under way "
            "there, add --other-hosts"
        )


def main(argv: list[str] | None = None) -> None:
    parser = step_parser(__doc__)
    parser.add_argument("folder", type=Path, nargs="?", default=Path(".cache/completions"))
    parser.add_argument("--compact", action="store_true")
    parser.add_argument("--other-hosts", action="store_true", help="compact their files, too")
    arguments = parser.parse_args(argv)
    if not arguments.folder.is_dir():
        raise UserError(f"{arguments.folder}: there is no journal yet")
    if arguments.compact or arguments.other_hosts:
        compact_and_tell(arguments.folder, arguments.other_hosts)
    broken = Counter[Path]()
    for (model, task), held in contents(arguments.folder, broken).items():
        print(f"{model}{' for ' + task if task else ''}, {held.first} to {held.last}:")
        for line in held.lines():
            print(f"  {line}")
    for state in BatchFiles(arguments.folder).uncollected():
        print(
            f"open batch {state.batch_id or '(not confirmed)'} for {state.name}, {state.status}: "
            f"{len(state.samples)} requests, at most ${amount_text(state.most_amount.dollars)}"
        )
    for path, number in broken.items():
        print(f"{path}: {number} broken lines, which --compact leaves out")


if __name__ == "__main__":
    run_step(main)
