"""Results of a made-up run, in the forms that the steps write."""

import json
from dataclasses import fields
from pathlib import Path
from typing import Any

from scripts.lib.funnel import build_funnel
from scripts.lib.records import Drop, Label, Rejection, Verified, write_rows

HOSTILE = '<script>alert("x")</script> & \u202egnp.exe\x1b[31m'


def row(record: type, **values: object):
    """A record of which only the named columns matter."""
    empty = {str: "", int: 0, float: 0.0, list[str]: [], dict[str, Any]: {}}
    empty[list[dict[str, str]]] = []
    return record(**{f.name: values.get(f.name, empty.get(f.type)) for f in fields(record)})


def rows() -> tuple[list[Verified], list[Drop], list[Label], list[Rejection]]:
    """The rows of all stages: 5 drops, 4 instructions with 2 replies each, 3 training rows."""
    drops = [
        row(Drop, id=f"t-drop-{number}", text=f"Write {HOSTILE}", reason=reason)
        for number, reason in enumerate(["unfinished", "pattern", "pattern"])
    ]
    drops += [
        row(
            Drop, id="t-drop-s", text="Write b", reason="similar", neighbour="Write a",
            similarity=0.9,
        ),
        row(Drop, id="t-drop-c", text="Write c", reason="contaminated", neighbour="MBPP 11: w"),
    ]  # fmt: skip
    labels, verified, rejected = [], [], []
    verdicts = [("ok", "surplus"), ("failed", "invalid"), ("ok", "ok"), ("invalid", "timeout")]
    for at, of_replies in enumerate(verdicts):
        for number, verdict in enumerate(of_replies):
            name = {"id": f"t-{at}-{number}", "instruction_id": f"t-{at}", "reply_number": number}
            invalid = verdict == "invalid"
            label = row(
                Label, **name, instruction=f"Write {HOSTILE}", reply=f"reply {HOSTILE}",
                output="" if invalid else f"def f():\n    return '{HOSTILE}'",
                tests=[] if invalid else ["assert f() == 1"],
                reason="not_python" if invalid else "",
                prompt_tokens=100, completion_tokens=20,
            )  # fmt: skip
            labels.append(label)
            if verdict == "ok":
                verified.append(
                    row(
                        Verified, **name, instruction=label.instruction, output=label.output,
                        tests=label.tests, verification="own_tests", support=1, replies=2,
                        sandbox="full",
                    )
                )  # fmt: skip
            else:
                detail = label.reason if invalid else f"AssertionError {HOSTILE}"
                rejected.append(row(Rejection, **name, verdict=verdict, detail=detail))
    return verified, drops, labels, rejected


def funnel() -> dict[str, Any]:
    """The funnel of those rows."""
    verified, drops, labels, rejected = rows()
    return build_funnel("t", drops, labels, verified, rejected)


def _score(value: float, low: float, high: float, method: str = "Wilson, 95 %") -> dict[str, Any]:
    return {"value": value, "interval": [low, high], "method": method}


def scores() -> dict[str, Any]:
    """Scores on two benchmarks, of which one has a second metric."""
    paired = "paired bootstrap over problems, 10,000 resamples, 95 %"

    def model(first: float) -> dict[str, Any]:
        return {
            "metrics": {
                "pass@1": {**_score(first, first - 0.02, first + 0.05), "of": "greedy"},
                "pass@10": {
                    **_score(3 * first, 3 * first - 0.05, 3 * first + 0.05, "bootstrap, 95 %"),
                    "of": "sampled",
                },
            },
            "parsed": 0.97,
            "finished": 0.99,
            "verdicts": {"pass": 4, "fail": 93, "timeout": 3},
            "sampled": {"parsed": 0.9, "finished": 0.98, "verdicts": {}},
        }

    def benchmark(name: str, problems: int, of: int) -> dict[str, Any]:
        return {
            "benchmark": name,
            "protocol": {
                "name": f"{name} test, 0-shot, 3 tests shown, greedy", "split": "mbpp:test",
                "shots": 0, "prompt": "You are an expert.\n{instruction}", "max_new_tokens": 192,
                "sampled": {"samples": 10, "temperature": 0.8}, "scoring": "executor, level full",
            },
            "problems": problems,
            "of": of,
            "reference": {"right": problems, "of": problems},
            "models": {"base": model(0.04), "student": model(0.06)},
            "differences": {
                "pass@1": {"value": 0.02, "interval": [-0.01, 0.05], "p": 0.24, "method": paired},
                "pass@10": {"value": 0.06, "interval": [0.01, 0.11], "p": 0.0004, "method": paired},
            },
        }  # fmt: skip

    return {"task": "t", "benchmarks": [benchmark("MBPP", 100, 500), benchmark("MBPP+", 378, 378)]}


ARMS = {
    "base": "base model, not tuned",
    "seeds_only": "the seeds alone",
    "self_instruct": "Self-Instruct",
    "ada_unverified": "Ada-Instruct, unverified",
    "ada_verified": "Ada-Instruct, verified",
}


def study() -> dict[str, Any]:
    """A study of five arms with three random seeds, with sweeps."""

    def group(arm: str, mean: float) -> dict[str, Any]:
        return {
            "arm": arm,
            "values": {"1": mean - 0.01, "2": mean, "3": mean + 0.01},
            "mean": mean,
            "interval": [mean - 0.02, mean + 0.02],
        }

    return {
        "task": "t", "benchmark": "MBPP", "metric": "pass@1", "problems": 100,
        "of": 500, "protocol": {"name": "MBPP test, 0-shot, 3 tests shown, greedy"},
        "seeds": [1, 2, 3], "seed_rows": 10, "epochs": 10,
        "method": "bootstrap over seeds and problems, 10,000 resamples, 95%",
        "rows": {
            arm: {seed: {"rows": 30, "instructions": 21} for seed in ("1", "2", "3")}
            for arm in ARMS if arm != "base"
        },
        "arms": [
            {**group(arm, 0.03 + 0.01 * at), "title": title}
            for at, (arm, title) in enumerate(ARMS.items())
        ],
        "differences": [
            {"arm": "ada_verified", "against": against, "value": value,
             "interval": [value - 0.02, value + 0.02], "p": 0.2, "p_holm": 0.4}
            for against, value in (("base", 0.04), ("self_instruct", -0.01))
        ],
        "sweeps": [
            {**group(arm, 0.02 + seed_rows / 400 + epochs / 1000), "seed_rows": seed_rows,
             "epochs": epochs}
            for arm in ("ada_unverified", "ada_verified")
            for seed_rows in (3, 10)
            for epochs in (5, 10, 20)
        ],
        "funnels": {"ada": {"1": funnel(), "2": funnel()}, "self_instruct": {"1": funnel()}},
        "quality": {},
    }  # fmt: skip


def quality() -> dict[str, Any]:
    """Some statistics of two sets."""
    distance = {"value": 2.25, "interval": [1.5, 3.0], "p": 0.01}
    return {
        "target": {"available": True, "name": "MBPP train split", "note": ""},
        "sets": {
            "instructions": {"texts": 52, "against_target": {"words": {"wasserstein": distance}}},
            "target": {"texts": 374, "self_similarity": {"value": 0.29, "interval": [0.28, 0.3]}},
        },
    }


def write_all(folder: Path) -> None:
    """Write the files as a workflow has them below `folder`, for the task `t`."""
    verified, drops, labels, rejected = rows()
    write_rows(folder / "t_verified.jsonl", verified)
    write_rows(folder / "t_labeled.jsonl", labels)
    write_rows(folder / "t/dropped.jsonl", drops)
    write_rows(folder / "t/rejected.jsonl", rejected)
    for name, content in (
        ("t/funnel.json", funnel()), ("t_eval.json", scores()), ("t_study.json", study())
    ):  # fmt: skip
        (folder / name).write_text(json.dumps(content), encoding="utf-8")
