"""The funnel: every sampled instruction is counted once, where it was lost."""

from dataclasses import fields

import pytest
from hypothesis import given
from hypothesis import strategies as st

from scripts import print_funnel
from scripts.lib.errors import UserError
from scripts.lib.funnel import build_funnel, table
from scripts.lib.records import Drop, Label, Rejection, Verified


def row(record: type, **values: object):
    """A record of which only the named columns matter."""
    empty = {str: "", int: 0, float: 0.0}
    return record(**{f.name: values.get(f.name, empty.get(f.type)) for f in fields(record)})


def funnel_of(
    drops: list[str], replies: dict[str, list[str]], verification: str = "own_tests"
) -> dict:
    """The funnel of drops by reason, and of replies: `ok`, `invalid`, or another verdict."""
    labels, verified, rejected = [], [], []
    for instruction, verdicts in replies.items():
        for number, verdict in enumerate(verdicts):
            name = {"id": f"{instruction}-{number}", "instruction_id": instruction}
            labels.append(row(Label, **name, reason="empty" if verdict == "invalid" else ""))
            if verdict == "ok":
                verified.append(row(Verified, **name, verification=verification))
            else:
                rejected.append(row(Rejection, **name, verdict=verdict))
    return build_funnel("t", [row(Drop, reason=r) for r in drops], labels, verified, rejected)


def test_rows_that_were_not_verified_are_not_called_so() -> None:
    funnel = funnel_of(["similar"], {"a": ["ok"], "b": ["invalid"]}, verification="none")
    assert (funnel["stages"][-1]["stage"], funnel["stages"][-1]["count"]) == ("valid", 1)
    assert funnel["rows"] == 1


def test_each_stage_counts_what_is_left_and_why_the_rest_is_not() -> None:
    funnel = funnel_of(
        ["unfinished", "pattern", "pattern", "similar", "duplicate", "contaminated"],
        {
            "a": ["ok", "surplus"],
            "b": ["failed", "invalid"],
            "c": ["invalid", "invalid"],
            "d": ["ok"],
        },
    )
    counts = {stage["stage"]: stage["count"] for stage in funnel["stages"]}
    assert counts == {
        "sampled": 10, "well_formed": 7, "unique": 5, "clean": 4,
        "labelled": 4, "valid": 3, "verified": 2,
    }  # fmt: skip
    reasons = {stage["stage"]: stage["reasons"] for stage in funnel["stages"] if stage["reasons"]}
    assert reasons == {
        "well_formed": {"pattern": 2, "unfinished": 1},
        "unique": {"duplicate": 1, "similar": 1},
        "clean": {"contaminated": 1},
        "valid": {"empty": 2},
        "verified": {"failed": 1, "invalid": 1},
    }
    assert funnel["stages"][2]["of_previous"] == 71.4
    assert funnel["stages"][-1]["of_sampled"] == 20.0
    assert (funnel["rows"], funnel["replies"]["asked"], funnel["replies"]["parsed"]) == (2, 7, 4)
    text = table(funnel)
    assert "well_formed       7     70.0%   70.0%  2 pattern, 1 unfinished" in text
    assert text.endswith("2 rows of 7 replies, 4 parsed")


@given(
    st.lists(st.sampled_from(["unfinished", "options", "similar", "contaminated"])),
    st.lists(st.lists(st.sampled_from(["ok", "failed", "invalid"]), min_size=1, max_size=3)),
)
def test_nothing_is_lost_without_a_reason(drops: list[str], replies: list[list[str]]) -> None:
    funnel = funnel_of(drops, {str(at): verdicts for at, verdicts in enumerate(replies)})
    counts = [stage["count"] for stage in funnel["stages"]]
    assert counts == sorted(counts, reverse=True)
    assert counts[0] == len(drops) + len(replies)
    before = counts[0]
    for stage in funnel["stages"][1:4]:
        assert before - stage["count"] == sum(stage["reasons"].values())
        before = stage["count"]
    table(funnel)


def test_what_is_no_funnel_is_explained(tmp_path) -> None:
    with pytest.raises(UserError, match="no task has a funnel yet"):
        print_funnel.main([])
    (tmp_path / "funnel.json").write_text("{}")
    with pytest.raises(UserError, match="funnel.json: is no funnel: make results/.*again"):
        print_funnel.main([str(tmp_path / "funnel.json")])
