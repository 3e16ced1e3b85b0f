"""EvalPlus 0.3.1 over samples, to compare with; nothing of it is patched.

    PYTHON -m bench.executors.evalplus [--workers 2] [SAMPLES]

PYTHON is that of an environment of its own: `pip install --no-deps evalplus==0.3.1 numpy psutil`
is all that its check imports. A sample is a line of JSON: `dataset`, `code`, `reference` (code
whose outputs are the expected ones), `entry_point`, `inputs` and `atol`. They are judged as
`evalplus.evaluate` does it: `untrusted_check` in a pool of processes, stopping at the first test
that fails. The expected outputs are computed before the clock starts. Two things are in its
favour: its evaluation imports much more than its check, and hands the other inputs over as well.
"""

from concurrent.futures import ProcessPoolExecutor
from functools import partial

from evalplus.eval import PASS, untrusted_check
from evalplus.gen.util import trusted_exec

from bench.executors.peer import Sample, arguments, judge

Expected = tuple[list, list[float]]


def check(sample: Sample) -> bool:
    """Whether a sample passes."""
    expected, seconds = sample["expected"]
    verdict, _ = untrusted_check(
        sample["dataset"],
        sample["code"],
        sample["inputs"],
        sample["entry_point"],
        expected=expected,
        atol=sample["atol"],
        ref_time=seconds,
        fast_check=True,
    )
    return verdict == PASS


def expect(samples: list[Sample]) -> list[Sample]:
    """The samples with the outputs of their references, and the seconds that these took."""
    found: dict[str, Expected] = {}
    for sample in samples:
        reference = sample["reference"]
        if reference not in found:
            found[reference] = trusted_exec(
                reference, sample["inputs"], sample["entry_point"], record_time=True
            )
    return [{**sample, "expected": found[sample["reference"]]} for sample in samples]


def main() -> None:
    workers, samples = arguments(__doc__)
    judge(partial(ProcessPoolExecutor, workers), check, expect(samples))


if __name__ == "__main__":
    main()
