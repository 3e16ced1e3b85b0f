"""What the scores of a model's responses say: shares, estimates, and their intervals."""

import math
from collections import Counter, defaultdict
from collections.abc import Iterable, Sequence
from typing import Any

from scripts.lib.errors import UserError
from scripts.lib.evaluation.intervals import BOOTSTRAP, WILSON, bootstrap_mean, wilson
from scripts.lib.records import Problem, Response, Score

GREEDY, SAMPLED, LIKELIHOOD = "greedy", "sampled", "likelihood"
# The model that knows the benchmark's own solutions.
REFERENCE = "reference"

Metric = dict[str, Any]


def pass_at_k(samples: int, right: int, k: int) -> float:
    """The chance that one of `k` samples is right, estimated from more of them without bias.

    Chen et al., "Evaluating large language models trained on code" (arXiv 2107.03374), equation 1.
    Raises `ValueError` where there are fewer than `k`.
    """
    if not 1 <= k <= samples or not 0 <= right <= samples:
        raise ValueError(f"pass@{k} cannot be told from {right} of {samples} samples")
    return 1.0 - math.prod(1.0 - k / number for number in range(samples - right + 1, samples + 1))


def check_responses(
    problems: Iterable[Problem], responses: Sequence[Response], samples: int, source: str
) -> None:
    """Raise `UserError` unless there is a greedy response to each problem, and `samples` sampled
    ones, and nothing else."""
    decodings = [(GREEDY, 0), *((SAMPLED, number) for number in range(samples))]
    wanted = {(row.id, *decoding) for row in problems for decoding in decodings}
    given = Counter((row.problem, row.decoding, row.sample) for row in responses)
    kinds = [
        ("there is no", wanted - given.keys()),
        ("nobody asked for the", given.keys() - wanted),
        ("there is more than one", {key for key, times in given.items() if times > 1}),
    ]
    for complaint, keys in kinds:
        if keys:
            problem, decoding, sample = min(keys)
            raise UserError(
                f"{source}: {complaint} {decoding} response {sample} to {problem} "
                f"({len(keys)} such): make the file anew with the same 'evaluation' in config.yaml"
            )


def right_by_problem(scores: Iterable[Score], decoding: str = GREEDY) -> dict[str, list[bool]]:
    """By problem whether each of its responses of a decoding is right, in their order."""
    found: dict[str, list[bool]] = defaultdict(list)
    for score in sorted(scores, key=lambda row: row.sample):
        if score.decoding == decoding:
            found[score.problem].append(score.right)
    return dict(found)


def values_by_problem(metric: str, scores: Sequence[Score]) -> dict[str, float]:
    """By problem the value whose mean a metric is (see `metrics`)."""
    if metric == "accuracy by likelihood":
        return _single(right_by_problem(scores, LIKELIHOOD))
    if metric == "accuracy" or metric == "pass@1":
        return _single(right_by_problem(scores, GREEDY))
    k = int(metric.partition("@")[2].split()[0])
    return {
        problem: pass_at_k(len(right), sum(right), k)
        for problem, right in right_by_problem(scores, SAMPLED).items()
    }


def _single(right: dict[str, list[bool]]) -> dict[str, float]:
    return {problem: float(found[0]) for problem, found in right.items()}


def metrics(kind: str, scores: Sequence[Score], ks: Sequence[int], seed: int) -> dict[str, Metric]:
    """What the scores of a kind of task come to, by the metric's name.

    Greedy responses give `pass@1` of code and the `accuracy` of all else, likelihoods an accuracy
    of their own, sampled responses `pass@k` (`pass@1 sampled` where k is 1).
    """
    found = {}
    decodings = {score.decoding for score in scores}
    shares = [("pass@1" if kind == "code" else "accuracy", GREEDY)]
    if LIKELIHOOD in decodings:
        shares.append(("accuracy by likelihood", LIKELIHOOD))
    for name, decoding in shares:
        right = [value[0] for value in right_by_problem(scores, decoding).values()]
        found[name] = {
            "value": sum(right) / len(right),
            "interval": list(wilson(sum(right), len(right))),
            "method": WILSON,
            "of": decoding,
            "right": sum(right),
        }
    for k in sorted(set(ks)) if SAMPLED in decodings else ():
        name = "pass@1 sampled" if k == 1 else f"pass@{k}"
        try:
            values = list(values_by_problem(name, scores).values())
        except ValueError as error:
            raise UserError(
                f"{error}: raise 'evaluation.samples' in config.yaml, or take {k} out of "
                "'evaluation.k'"
            ) from error
        found[name] = {
            "value": sum(values) / len(values),
            "interval": list(bootstrap_mean(values, seed)),
            "method": BOOTSTRAP,
            "of": SAMPLED,
        }
    return found


def summary(scores: Sequence[Score], responses: Sequence[Response], decoding: str) -> Metric:
    """How many responses of a decoding hold an answer and were finished, and their verdicts."""
    scored = [score for score in scores if score.decoding == decoding]
    finished = [row.finished for row in responses if row.decoding == decoding]
    return {
        "responses": len(scored),
        "parsed": sum(bool(score.answer) for score in scored) / len(scored),
        "finished": sum(finished) / len(finished),
        "verdicts": dict(sorted(Counter(score.verdict for score in scored).items())),
    }
