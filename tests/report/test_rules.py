"""The rules of the report, the words beside its plots, and what `make report` may run."""

import re
from pathlib import Path

RULES = Path("rules/report.smk").read_text(encoding="utf-8")
ALL_RULES = "".join(path.read_text(encoding="utf-8") for path in Path("rules").glob("*.smk"))


def test_make_report_runs_the_rules_of_the_report_and_what_measures_instructions() -> None:
    makefile = Path("Makefile").read_text(encoding="utf-8").replace("\\\n", " ")
    named = re.search(r"^REPORT_RULES = (.*)$", makefile, re.MULTILINE)
    assert named is not None
    of_report = re.findall(r"^rule (\w+):", RULES, re.MULTILINE)
    assert sorted(named[1].split()) == sorted([*of_report, "measure_instructions"])


def test_every_caption_is_there_and_every_text_is_used() -> None:
    used = set(re.findall(r'"\.\./report/(\w+\.rst)"', ALL_RULES))
    there = {path.name for path in Path("report").glob("*.rst")}
    assert used <= there
    # Rules outside of the report's own name it as well.
    assert there - used <= {"quality.rst"}


def test_the_rules_hold_no_functions() -> None:
    assert not re.search(r"\b(def|lambda|import)\b", RULES)
