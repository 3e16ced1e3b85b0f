"""The real workflow through a real Slurm (cluster.py), and what befalls it there.

Slurm tests mostly wait, so that all runs go on at the same time, in threads: the fixture `outcomes`
starts them, and the tests look at what has come of them. Each is the workflow of a user, by the
project's own profile; shorter are only the times after which the states of jobs are asked for.

    whole         tasks of 1, 2 and 5 shards, with the controller away for 20 s
    interrupted   Ctrl-C while labels are asked for; then once more, and the node is lost
    failing       jobs that fail, take too much memory, take too long (failing.smk)
    spread        a training on two machines with a GPU each
    on_one        what `whole` makes, on this machine without Slurm
"""

import hashlib
import json
import os
import re
import shutil
import signal
import subprocess
import time
from collections import Counter
from collections.abc import Callable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path

import pytest

from tests.conftest import LabelEndpoint, Project, toy_project
from tests.slurm.cluster import NODE_CPUS, Cluster, missing, own_cluster

HERE = Path(__file__).parent
# What differs from the profile: after 40 s and then ever later a run of seconds would be looked at.
QUICK = ["--slurm-init-seconds-before-status-checks", "6"]
LABEL_LOG = "logs/toy/label_instructions.log"
# Seconds after which a run that does not end hangs, on however busy a machine.
HANG = 900
SHARDS = {"toy": 2, "one": 1, "five": 5}
# Behind its generations one shard is what two are, to the same steps: they need not run once more.
WHOLE, FIVE, ONE = (
    "results/toy_verified.jsonl",
    "results/five_verified.jsonl",
    "results/one/generations/1.jsonl",
)


class Run:
    """Snakemake in a project's folder, under way or over."""

    def __init__(self, cluster: Cluster, project: Project, *arguments: str) -> None:
        self.cluster, self.project = cluster, project
        self.file = project.path / f"run-{time.monotonic_ns()}.log"
        command = project.command(*arguments, "--workflow-profile", "profiles/slurm", *QUICK)
        # A shell may have started the tests without Ctrl-C; and without its cluster Snakemake would
        # wait for ever.
        ended_with_tests = [
            "env",
            "--default-signal=INT",
            "setpriv",
            "--pdeathsig",
            "KILL",
        ]
        with self.file.open("w") as output:
            self.process = subprocess.Popen(
                [*ended_with_tests, *command],
                cwd=project.path,
                env=cluster.seen_from(project.environment),
                stdin=subprocess.DEVNULL,
                stdout=output,
                stderr=output,
                start_new_session=True,
            )

    @property
    def output(self) -> str:
        """What Snakemake has said so far."""
        return self.file.read_text()

    def jobs(self, rule: str) -> list[dict[str, str]]:
        """The jobs of a rule of the project, of this run and earlier ones, oldest first."""
        name = re.compile(rf"rule_{rule}(_wildcards_.*)?$")
        return [job for job in self.cluster.jobs(self.project.path) if name.match(job["Comment"])]

    def until(self, ready: Callable[[], object], seconds: float = HANG) -> None:
        """Wait for something to become so while the run goes on."""
        deadline = time.monotonic() + seconds
        while not ready():
            assert self.process.poll() is None, f"the run is over too early:\n{self.output}"
            assert time.monotonic() < deadline, f"it did not come to it:\n{self.output}"
            time.sleep(0.2)

    def end(self) -> int:
        """The exit status, when the run is over."""
        try:
            return self.process.wait(timeout=HANG)
        finally:
            self.process.kill()


def of_three_tasks(project: Project) -> Project:
    """A project with two tasks more, of one and of five shards, whose generators do not learn."""
    config = json.loads(project.overlay.read_text())
    config["tasks"] = {}
    for task, shards in (("one", 1), ("five", 5)):
        shutil.copy(project.path / "tasks/toy.yaml", project.path / f"tasks/{task}.yaml")
        sampling = {"shard_size": -(-24 // shards)}
        config["tasks"][task] = {
            "sampling": sampling,
            "generator": {"method": "in_context"},
        }
    project.configure(config)
    return project


def let_nodes_label(project: Project) -> None:
    """Let remote endpoints be asked by jobs."""
    config = json.loads(project.overlay.read_text())
    project.configure({**config, "cluster": {"nodes_online": True}})


def results(project: Project, *tasks: str) -> dict[str, str]:
    """The checksums of all results of tasks, by name."""
    folder = project.path / "results"
    files = [
        path for task in tasks for path in [*folder.glob(f"{task}_*"), *(folder / task).rglob("*")]
    ]
    return {
        str(path.relative_to(folder)): hashlib.sha256(path.read_bytes()).hexdigest()
        for path in files
        if path.is_file()
    }


def replies_on_disk(project: Project) -> list[str]:
    """The keys of the replies that are in a project's journal."""
    return [
        entry["key"]
        for path in (project.path / ".cache" / "completions").glob("*.jsonl")
        for entry in map(json.loads, path.read_text().splitlines())
        if "response" in entry
    ]


@dataclass
class Outcome:
    """What a scenario leaves behind."""

    run: Run
    status: int
    endpoint: LabelEndpoint
    # What the scenario has noted on its way.
    notes: dict


def whole(cluster: Cluster, project: Project, endpoint: LabelEndpoint) -> Outcome:
    """The workflow, of three tasks, with 20 s in which nobody can say how jobs are."""
    run = Run(cluster, project, WHOLE, FIVE, ONE)
    run.until(lambda: run.jobs("train"))
    name = run.jobs("train")[0]["JobName"]
    with cluster.outage("sacct", "squeue") as asked:
        run.until(lambda: name in asked.read_text())
        time.sleep(20)
        in_vain = asked.read_text().count(name)
    return Outcome(run, run.end(), endpoint, {"in vain": in_vain})


def interrupted(cluster: Cluster, project: Project, endpoint: LabelEndpoint) -> Outcome:
    """The labels of a finished run once more: Ctrl-C; and in the next run the node is lost."""
    let_nodes_label(project)
    shutil.rmtree(project.path / ".cache/completions")
    for name in ("results/toy_labeled.jsonl", "results/toy_verified.jsonl"):
        (project.path / name).unlink()
    notes: dict = {}

    def answered() -> int:
        return endpoint.counts[200]

    # All of a node's CPUs, so that no other job is lost with it.
    command = (
        cluster,
        project,
        WHOLE,
        "--set-threads",
        f"label_instructions={NODE_CPUS}",
    )
    endpoint.latency = 1.5
    first = Run(*command)
    first.until(lambda: answered() >= 3)
    first.process.send_signal(signal.SIGINT)
    notes["status after Ctrl-C"] = first.end()
    while (job := first.jobs("label_instructions")[-1])["JobState"] == "COMPLETING":
        time.sleep(0.2)
    notes["job after Ctrl-C"] = job
    notes["log after Ctrl-C"] = (project.path / LABEL_LOG).read_text()
    notes["requests after Ctrl-C"] = (
        dict(endpoint.counts),
        len(replies_on_disk(project)),
    )

    before = answered()
    second = Run(*command)
    second.until(lambda: answered() >= before + 3)
    # The job that is cut off goes on, and is still at it when another one takes its place.
    endpoint.latency = 10
    lost = second.jobs("label_instructions")[-1]["NodeList"]
    cluster.lose(lost)
    log = project.path / LABEL_LOG
    second.until(lambda: log.exists() and "waiting: another run asks" in log.read_text())
    notes["lost"], notes["answered at the handover"] = lost, answered()
    endpoint.latency = 0
    status = second.end()
    cluster.bring_back(lost)
    return Outcome(second, status, endpoint, notes)


def failing(cluster: Cluster, project: Project, endpoint: LabelEndpoint) -> Outcome:
    """Jobs that go wrong, each by itself."""
    shutil.copy(HERE / "failing.smk", project.path)
    run = Run(cluster, project, "--snakefile", "failing.smk", "--retries", "1", "--keep-going")
    return Outcome(run, run.end(), endpoint, {})


def spread(cluster: Cluster, project: Project, endpoint: LabelEndpoint) -> Outcome:
    """The training of the generator, on two machines."""
    config = json.loads(project.overlay.read_text())
    config["generator"]["training"] |= {"gpus": 2, "nodes": 2, "parallel": "ddp"}
    project.configure(config)
    run = Run(cluster, project, "results/toy/generator")
    return Outcome(run, run.end(), endpoint, {})


def on_one_machine(project: Project) -> Project:
    """The workflow of the tasks of one and five shards as `snakemake --cores` runs it."""
    done = project.run(FIVE, ONE)
    assert done.returncode == 0, done.stdout
    return project


@pytest.fixture(scope="session")
def cluster() -> Iterator[Cluster]:
    if why := missing():
        if "CI" in os.environ:
            pytest.fail(why)
        pytest.skip(why)
    with own_cluster() as found:
        yield found


@pytest.fixture(scope="session")
def outcomes(
    cluster: Cluster,
    tmp_path_factory: pytest.TempPathFactory,
    tiny_model: Path,
    request: pytest.FixtureRequest,
) -> Iterator[dict[str, Future]]:
    """The scenarios, all under way at the same time."""
    base = tmp_path_factory.mktemp("slurm")
    endpoints = {
        name: LabelEndpoint() for name in ("whole", "interrupted", "failing", "spread", "one")
    }

    def new(name: str) -> Project:
        return toy_project(base / name, tiny_model, endpoints[name])

    with ThreadPoolExecutor() as pool:
        started = {
            "whole": pool.submit(whole, cluster, of_three_tasks(new("whole")), endpoints["whole"]),
            "failing": pool.submit(failing, cluster, new("failing"), endpoints["failing"]),
            "spread": pool.submit(spread, cluster, new("spread"), endpoints["spread"]),
            "one": pool.submit(on_one_machine, of_three_tasks(new("one"))),
        }
        finished, _ = request.getfixturevalue("finished_toy")
        project = finished.moved(base / "interrupted")
        endpoint = endpoints["interrupted"]
        project.environment = {**finished.environment, "OPENAI_BASE_URL": endpoint.url}
        started["interrupted"] = pool.submit(interrupted, cluster, project, endpoint)
        yield started
    for endpoint in endpoints.values():
        endpoint.close()


@pytest.fixture
def whole_run(outcomes: dict[str, Future]) -> Outcome:
    return outcomes["whole"].result()


@pytest.fixture
def interrupted_run(outcomes: dict[str, Future]) -> Outcome:
    return outcomes["interrupted"].result()


@pytest.fixture
def failing_run(outcomes: dict[str, Future]) -> Outcome:
    return outcomes["failing"].result()


@pytest.fixture
def spread_run(outcomes: dict[str, Future]) -> Outcome:
    return outcomes["spread"].result()


def megabytes(size: str) -> float:
    """A size as Slurm writes it."""
    return float(size[:-1]) * {"M": 1, "G": 1024}[size[-1]]


def asked_for(output: str, rule: str) -> set[tuple[int, int, int, int]]:
    """Threads, MB, minutes and GPUs that jobs of a rule ask for, as Snakemake tells of it."""
    found = set()
    for block in re.findall(rf"^rule {rule}:\n((?:    .*\n)+)", output, re.MULTILINE):
        threads = re.search(r"threads: (\d+)", block)
        resources = dict(re.findall(r"(\w+)=(\d+)(?=,|\n)", block.partition("resources: ")[2]))
        found.add(
            (
                int(threads[1]) if threads else 1,
                *(int(resources.get(name, 0)) for name in ("mem_mb", "runtime", "gpu")),
            )
        )
    return found


def given(job: dict[str, str]) -> tuple[int, int, int, int]:
    """Threads, MB, minutes and GPUs that a job has got."""
    days, clock = ([0, *job["TimeLimit"].split("-")])[-2:]
    hours, minutes, _ = map(int, clock.split(":"))
    memory = round(megabytes(job["MinMemoryNode"]))
    gpus = re.match(r"gpu:\w+:(\d+)", job["JOB_GRES"])
    time_limit = (int(days) * 24 + hours) * 60 + minutes
    return int(job["NumCPUs"]), memory, time_limit, int(gpus[1]) if gpus else 0


def check_given(
    jobs: list[dict[str, str]], output: str, rule: str, partition: str, gpus: int
) -> None:
    """Check that jobs have what Snakemake has told that their rule asks for."""
    asked = asked_for(output, rule)
    for job in jobs:
        assert job["Partition"] == partition
        threads, memory, minutes, got = given(job)
        assert got == gpus
        # Slurm writes memory to a hundredth of a GB; an array asks for 1 MB more for its commands.
        assert any(
            (threads, minutes, got) == (asked_threads, asked_minutes, asked_gpus)
            and abs(memory - asked_memory) <= 6
            for asked_threads, asked_memory, asked_minutes, asked_gpus in asked
        ), (job, asked)


@pytest.mark.parametrize(
    "rule, jobs, partition, gpus",
    [
        ("train", 1, "gpu", 1),
        ("generate_instructions", 8, "gpu", 1),
        ("filter_instructions", 2, "cpu", 0),
        ("verify_samples", 2, "cpu", 0),
    ],
)
def test_a_job_gets_what_its_rule_asks_for(
    whole_run: Outcome, rule: str, jobs: int, partition: str, gpus: int
) -> None:
    assert whole_run.status == 0, whole_run.run.output
    found = whole_run.run.jobs(rule)
    assert len(found) == jobs
    assert {job["JobState"] for job in found} == {"COMPLETED"}
    check_given(found, whole_run.run.output, rule, partition, gpus)


def test_shards_go_as_tasks_of_arrays(whole_run: Outcome) -> None:
    jobs = whole_run.run.jobs("generate_instructions")
    arrays = Counter(job["ArrayJobId"] for job in jobs if "ArrayJobId" in job)
    # The five of one task are ready at the same time, and so are the two of another.
    assert sorted(arrays.values()) in ([2, 5], [2, 6], [8])


def test_the_bytes_are_those_of_one_machine(
    whole_run: Outcome, outcomes: dict[str, Future], finished_toy
) -> None:
    finished, _ = finished_toy
    assert whole_run.status == 0, whole_run.run.output
    project = whole_run.run.project
    for task, shards in SHARDS.items():
        names = {path.name for path in (project.path / "results" / task / "generations").iterdir()}
        assert names == {f"{number}.jsonl" for number in range(1, shards + 1)}
    assert results(project, "toy") == results(finished, "toy")
    one = outcomes["one"].result()
    assert results(project, "one", "five") == results(one, "one", "five")


def test_an_outage_of_20_s_is_outlasted(whole_run: Outcome) -> None:
    assert whole_run.status == 0, whole_run.run.output
    # States were asked for in vain, again and again; and no job was given up or sent twice for it.
    assert whole_run.notes["in vain"] >= 3
    assert len(whole_run.run.cluster.jobs(whole_run.run.project.path)) == 13


def test_ctrl_c_cancels_jobs_and_what_was_paid_for_is_kept(
    interrupted_run: Outcome,
) -> None:
    notes = interrupted_run.notes
    assert notes["status after Ctrl-C"] != 0
    assert notes["job after Ctrl-C"]["JobState"] == "CANCELLED"
    counts, kept = notes["requests after Ctrl-C"]
    assert "SIGTERM: waiting up to 20 s for" in notes["log after Ctrl-C"]
    # And it has waited: no request broke off.
    assert counts == {200: kept}
    assert 3 <= kept < 46


def test_a_lost_node_leaves_one_result_and_no_request_is_repeated(
    interrupted_run: Outcome, finished_toy
) -> None:
    finished, _ = finished_toy
    assert interrupted_run.status == 0, interrupted_run.run.output
    notes, run = interrupted_run.notes, interrupted_run.run
    jobs = run.jobs("label_instructions")
    assert [job["JobState"] for job in jobs] == ["CANCELLED", "NODE_FAIL", "COMPLETED"]
    check_given(jobs[1:], run.output, "label_instructions", "cpu", gpus=0)
    assert jobs[1]["NodeList"] == jobs[2]["ExcNodeList"] == notes["lost"] != jobs[2]["NodeList"]
    # Both asked at the same time, and yet nothing twice: the second waited.
    labels = run.project.rows("results/toy_labeled.jsonl")
    assert notes["answered at the handover"] < len(labels)
    assert len(interrupted_run.endpoint.requests) == len(labels)
    assert sorted(replies_on_disk(run.project)) == sorted(set(replies_on_disk(run.project)))
    assert results(run.project, "toy") == results(finished, "toy")


def test_a_failing_job_ends_the_run_and_shows_its_log(failing_run: Outcome) -> None:
    assert failing_run.status != 0
    jobs = failing_run.run.jobs("failing")
    assert [job["JobState"] for job in jobs] == ["FAILED"] * 2
    assert [job["ExitCode"] for job in jobs] == ["1:0"] * 2
    assert "error: the seeds are stale: water them" in failing_run.run.output
    # The others went on.
    assert not (failing_run.run.project.path / "out/failing.txt").exists()
    assert (failing_run.run.project.path / "out/greedy.txt").exists()


def test_a_job_that_takes_too_much_memory_gets_more(failing_run: Outcome) -> None:
    jobs = failing_run.run.jobs("greedy")
    assert [job["MinMemoryNode"] for job in jobs] == ["400M", "800M"]
    # With cgroups the state would be OUT_OF_MEMORY.
    assert [job["JobState"] for job in jobs] == ["FAILED", "COMPLETED"]
    assert (failing_run.run.project.path / "out/greedy.txt").read_text() == "800\n"


def test_a_job_that_takes_too_long_is_told_to_end_and_tried_again(
    failing_run: Outcome,
) -> None:
    jobs = failing_run.run.jobs("slow")
    assert [job["JobState"] for job in jobs] == ["TIMEOUT", "COMPLETED"]
    assert jobs[0]["TimeLimit"] == "00:01:00"
    assert (failing_run.run.project.path / "late").read_text() == "drained\n"
    assert "TIMEOUT" in failing_run.run.output


def test_a_training_on_two_machines_learns_what_one_machine_does(
    spread_run: Outcome, finished_toy
) -> None:
    finished, _ = finished_toy
    assert spread_run.status == 0, spread_run.run.output
    (job,) = spread_run.run.jobs("train")
    assert (job["NumNodes"], job["NodeList"], job["Partition"]) == (
        "2",
        "gpu[1-2]",
        "gpu",
    )
    assert sorted(re.findall(r"gpu:\w+:\d", job["JOB_GRES"])) == [
        "gpu:a100:1",
        "gpu:h100:1",
    ]
    steps = spread_run.run.cluster.run("sacct", "-n", "-P", "-j", job["JobId"], "-o", "NTasks")
    assert "2" in steps.split()
    curve = spread_run.run.project.rows("results/toy/generator_curve.jsonl")
    alone = finished.rows("results/toy/generator_curve.jsonl")
    assert [row["step"] for row in curve] == [row["step"] for row in alone]
    assert [row["loss"] for row in curve] == pytest.approx([row["loss"] for row in alone], rel=1e-4)
