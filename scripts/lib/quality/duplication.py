"""The duplication curve: how many of the first texts of a generator are new.

What counts as new is the filter's own verdict (`duplicate` and `similar` are not), in the order in
which it went through the texts.
"""

from typing import Any

from scripts.lib.funnel import NOT_CLEAN, NOT_UNIQUE
from scripts.lib.quality.estimates import share
from scripts.lib.records import Drop, Instruction

# Points of a curve, at most.
POINTS = 60


def verdicts(kept: list[Instruction], dropped: list[Drop]) -> list[str]:
    """What became of each text, in the order of their ids: `malformed`, `repeated`, `kept` or
    `contaminated`."""
    later = dict.fromkeys(NOT_UNIQUE, "repeated") | dict.fromkeys(NOT_CLEAN, "contaminated")
    found = {row.id: "kept" for row in kept}
    for drop in dropped:
        found[drop.id] = later.get(drop.reason, "malformed")
    return [found[id_] for id_ in sorted(found)]


def curve(verdicts: list[str]) -> list[dict[str, int]]:
    """Points of the curve: among the first `sampled` texts those that are well-formed, of these
    those that are new, and of these those that were kept."""
    every = max(1, -(-len(verdicts) // POINTS))
    counts = {"sampled": 0, "well_formed": 0, "new": 0, "kept": 0}
    points = [dict(counts)]
    for number, verdict in enumerate(verdicts, start=1):
        counts["sampled"] = number
        counts["well_formed"] += verdict != "malformed"
        counts["new"] += verdict in ("kept", "contaminated")
        counts["kept"] += verdict == "kept"
        if number % every == 0 or number == len(verdicts):
            points.append(dict(counts))
    return points


def duplication_summary(verdicts: list[str]) -> dict[str, Any]:
    """The share of new texts among the well-formed ones: of all, of the first fifth, of the last.

    The last says what sampling on would give.
    """
    well_formed = [verdict for verdict in verdicts if verdict != "malformed"]
    fifth = len(well_formed) // 5
    parts = {"new": well_formed, "first_fifth": well_formed[:fifth]}
    parts["last_fifth"] = well_formed[len(well_formed) - fifth :]
    return {
        "sampled": len(verdicts),
        "well_formed": len(well_formed),
        **{
            name: share(sum(verdict != "repeated" for verdict in part), len(part))
            for name, part in parts.items()
        },
    }
