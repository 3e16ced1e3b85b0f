"""The profiles: they parse, name what exists, and give each job what it is meant to get."""

import re
from pathlib import Path

import pytest
import yaml

from tests.conftest import PROJECT, Project

PROFILES = sorted((PROJECT / "profiles").glob("*/profile*.yaml"))
SLURM = ("--workflow-profile", "profiles/slurm")
EVERYTHING = (
    "results/mbpp_verified.jsonl", "results/mbpp_eval.json", "results/mbpp/quality.json",
    "results/mbpp/dataset", "results/mbpp/label_estimate.json", "results/mbpp/lm_eval/base.json",
)  # fmt: skip
FETCHING = {"fetch_model", "fetch_benchmark", "fetch_problems", "select_seeds"}
LABELLING = {"label_instructions", "estimate_labels"}
# Rules that ask for GPUs, of a labelling model of one's own too.
ON_GPUS = {
    "train", "generate_instructions", "respond_to_problems", "run_lm_eval", "label_instructions",
}  # fmt: skip


@pytest.fixture
def project(tmp_path: Path) -> Project:
    return Project(tmp_path, {})


def paper() -> dict:
    """The paper's config."""
    return yaml.safe_load((PROJECT / "configs" / "paper.yaml").read_text())


def asked(project: Project, *targets: str) -> dict[str, list[dict]]:
    """What the jobs of each rule ask for under the SLURM profile, in the order of the plan."""
    harness = ("--config", 'lm_eval={"tasks": ["gsm8k"]}')
    # Without a number of cores a dry run counts one.
    done = project.run("-n", "--forceall", "--cores=8", *EVERYTHING, *targets, *SLURM, *harness)
    assert done.returncode == 0, done.stdout
    found: dict[str, list[dict]] = {}
    for block in re.split(r"^(?:local)?rule ", done.stdout, flags=re.MULTILINE)[1:]:
        name = block[: block.index(":")]
        # The figures behind a sized resource repeat it in other units.
        line = re.sub(r", mem=[^,]+, mem_mib=\d+", "", re.findall(r"resources: (.*)", block)[0])
        pairs = dict(part.split("=", 1) for part in line.split(", "))
        pairs["threads"] = (re.findall(r"threads: (\d+)", block) or ["1"])[0]
        found.setdefault(name, []).append(
            {key: int(value) if value.isdigit() else value for key, value in pairs.items()}
        )
    return found


def local_rules(project: Project) -> set[str]:
    """The rules that run where Snakemake does."""
    probe = 'include: "Snakefile"\nprint("local:", *sorted(workflow._localrules))\n'
    (project.path / "probe.smk").write_text(probe)
    done = project.run("-n", "--snakefile", "probe.smk", "results/mbpp/seeds.jsonl")
    assert done.returncode == 0, done.stdout
    return set(re.findall(r"^local: (.*)", done.stdout, re.MULTILINE)[0].split())


def rules_of_the_workflow() -> set[str]:
    """The names of all rules."""
    return {
        name
        for path in (PROJECT / "rules").glob("*.smk")
        for name in re.findall(
            r"^(?:rule|use rule \w+ as) (\w+)(?::| with:)", path.read_text(), re.MULTILINE
        )
    }


def with_gpu_models(profile: str) -> str:
    """The SLURM profile with its block on GPU models, which is a comment there."""
    block = re.search(r"^# set-resources:\n(#.*\n)+", profile, re.MULTILINE)
    return profile.replace(block[0], re.sub(r"^# ", "", block[0], flags=re.MULTILINE))


@pytest.mark.parametrize("path", PROFILES, ids=lambda path: path.parent.name)
def test_every_rule_that_a_profile_names_exists(path: Path) -> None:
    rules, text = rules_of_the_workflow(), path.read_text()
    assert {"train", "estimate_labels", "verify_samples"} <= rules
    if path.parent.name == "slurm":
        text = with_gpu_models(text)
    profile = yaml.safe_load(text)
    named = set(profile.get("set-resources", {})) | set(profile.get("set-threads", {}))
    named |= set(re.findall(r"\w+", profile.get("slurm-array-jobs", "")))
    assert named <= rules
    # It multiplies the tries of a job under this executor: it is for profiles alone.
    for rules_file in (PROJECT / "rules").glob("*.smk"):
        assert not re.search(r"^ +retries:", rules_file.read_text(), re.MULTILINE)


def test_a_slurm_profile_says_what_must_not_be_left_to_defaults() -> None:
    profile = yaml.safe_load((PROJECT / "profiles" / "slurm" / "profile.v9+.yaml").read_text())
    assert profile["slurm-status-command"] in ("sacct", "squeue")
    assert profile["slurm-no-requeue"] is True and "slurm-requeue" not in profile
    assert profile["retries"] > 0
    attempts = profile["slurm-status-attempts"] / profile["max-status-checks-per-second"]
    assert attempts >= 120
    # A part of an array is lost where not all of its jobs may be submitted in one go.
    assert profile["jobs"] >= 2000
    assert int(profile["max-jobs-per-timespan"].split("/")[0]) >= profile["jobs"]
    # The executor's fallback for arrays that are too long for one argument runs the wrong commands.
    assert not profile.get("slurm-pass-command-as-script")
    assert 10 < profile["slurm-array-limit"] <= 50
    assert "gpu_model" not in profile["default-resources"]


def test_partitions_are_known_to_the_executor() -> None:
    from snakemake_executor_plugin_slurm.partitions import read_partition_file

    path = PROJECT / "profiles" / "slurm" / "partitions.yaml"
    partitions = {partition.name: partition.limits for partition in read_partition_file(path)}
    assert partitions["cpu"].max_gpu == 0
    assert partitions["gpu"].max_gpu >= 8
    # As many hours as the config lets a job ask for.
    config = yaml.safe_load((PROJECT / "config.yaml").read_text())
    for limits in partitions.values():
        assert limits.max_runtime >= 60 * config["cluster"]["max_hours"]


def test_the_embedded_default_asks_for_little(project: Project) -> None:
    found = asked(project)
    most = {name: max(job["mem_mb"] for job in jobs) for name, jobs in found.items()}
    assert max(most.values()) <= 13_000
    for name in FETCHING | {"compare_models", "respond_by_reference"}:
        assert (found[name][0]["mem_mb"], found[name][0]["runtime"]) == (4000, 60)
    for name in ON_GPUS:
        for job in found[name]:
            assert job["gpu"] == 1 and job["threads"] == 8
            assert 4000 <= job["mem_mb"] <= 6000
    assert all(job["runtime"] <= 60 for job in found["train"] + found["generate_instructions"])
    assert {job.get("api") for job in found["label_instructions"]} == {0}
    assert "nodes" not in found["train"][0] and "mpi" not in found["train"][0]
    for name in ("filter_instructions", "verify_samples", "measure_instructions"):
        assert not found[name][0].get("gpu")


def test_the_paper_asks_for_what_13_billion_weights_need(project: Project) -> None:
    project.configure(paper())
    found = asked(project)
    for job in found["train"]:
        # 52 GB of float32 are read once; eight processes.
        assert job["gpu"] == 8 and 80_000 < job["mem_mb"] < 120_000
    generator, student = sorted(job["runtime"] for job in found["train"])
    assert 31 < generator < 120 < student < 720
    assert {(job["gpu"], job["mem_mb"]) for job in found["generate_instructions"]} == {(1, 37000)}
    assert found["label_instructions"] == [
        {**found["label_instructions"][0], "gpu": 0, "api": 1, "mem_mb": 2000, "runtime": 720}
    ]
    assert found["estimate_labels"][0]["api"] == 0
    # No job asks for more than the longest partition gives.
    assert max(job["runtime"] for jobs in found.values() for job in jobs) <= 24 * 60


def test_several_machines_and_gpus_by_need(project: Project) -> None:
    config = paper()
    config["generator"]["training"] |= {"gpus": 8, "nodes": 2}
    config["student"]["training"] |= {"gpus": "auto"}
    project.configure(config)
    found = asked(project)
    (generator,) = [job for job in found["train"] if "nodes" in job]
    (student,) = [job for job in found["train"] if "nodes" not in job]
    assert {name: generator[name] for name in ("gpu", "nodes", "tasks", "tasks_per_gpu")} == {
        "gpu": 8, "nodes": 2, "tasks": 2, "tasks_per_gpu": 0
    }  # fmt: skip
    assert (generator["mpi"], generator["slurm_extra"]) == ("srun", "--gpus-per-node=4")
    # 208 GB of weights, gradients and moments on GPUs of 80 GB.
    assert student["gpu"] == 4
    done = project.run("-n", "-p", "results/mbpp/student", "--forceall", *SLURM)
    assert "--gpus 8 --processes 8" in done.stdout
    assert re.search(r"fsdp.yaml --nodes 2 --", done.stdout)
    assert re.search(r"--gpus 4 --processes 4 --accelerate-config \S+ --", done.stdout)


def test_arrays_ask_for_the_most_that_any_task_needs(project: Project) -> None:
    tasks = {
        "mbpp": {"generator": {"model": "x/small-1b"}},
        "gsm8k": {"generator": {"model": "y-70b"}},
    }
    tasks["gsm8k"]["sampling"] = {"processes": 2}
    project.configure({"tasks": tasks})
    found = asked(project, "results/gsm8k_verified.jsonl")
    shards = found["generate_instructions"]
    assert len({(job["gpu"], job["mem_mb"], job["runtime"]) for job in shards}) == 1
    assert shards[0]["gpu"] == 2 and shards[0]["mem_mb"] > 2 * 140_000


def test_memory_is_asked_for_by_rows_and_processes_up_to_the_cap(project: Project) -> None:
    rows = {"target_rows": 1_000_000, "margin": 3, "shard_size": 100_000, "processes": 2}
    config = {
        "sampling": rows,
        "label": {"endpoint": "openai", "model": "m", "replies": 3},
        "student": {"model": "x/y-13b"},
        "cluster": {"nodes_online": True},
    }
    project.configure(config)
    found = asked(project)
    # 24.8 GB measured of the replies that a filter leaves, 36 of all (docs/scale.md).
    for name in (*LABELLING, "verify_samples"):
        assert 36_000 < found[name][0]["mem_mb"] < 75_000
    # The harness is one process, responses come from two.
    (harness,) = found["run_lm_eval"]
    assert 2 * harness["mem_mb"] - 2000 <= found["respond_to_problems"][0]["mem_mb"]
    config["cluster"]["max_mem_gb"] = 7
    project.configure(config)
    assert max(job["mem_mb"] for jobs in asked(project).values() for job in jobs) == 7000


def test_gpu_models_by_one_anchor(project: Project) -> None:
    path = project.path / "profiles" / "slurm" / "profile.v9+.yaml"
    path.write_text(with_gpu_models(path.read_text()))
    found = asked(project)
    assert {name for name, jobs in found.items() if "gpu_model" in jobs[0]} == ON_GPUS
    assert found["train"][0]["gpu_model"] == "a100"
    # On several machines Slurm wants the model in both of its options.
    several = re.search(r"  # (train: .*)\n", path.read_text())[1]
    path.write_text(path.read_text().replace("train: *gpus", several))
    training = {"gpus": 8, "nodes": 2}
    project.configure({"student": {"training": training}})
    student = next(job for job in asked(project)["train"] if "nodes" in job)
    assert (student["gpu"], student["gpu_model"]) == (8, "a100")
    assert student["slurm_extra"] == "--gpus-per-node=a100:8"


def test_steps_that_need_the_internet_follow_the_nodes(project: Project) -> None:
    always = {
        "compare_models",
        "draw_rows",
        "summarize_study",
        "sum_up_cost",
        "take_seeds",
        "top_up",
    }
    remote = {"label": {"endpoint": "openai", "model": "m"}}
    online = {"cluster": {"nodes_online": True}}
    assert local_rules(project) == always | FETCHING
    project.configure(remote)
    assert local_rules(project) == always | FETCHING | LABELLING
    project.configure(remote | online)
    assert local_rules(project) == always


@pytest.mark.parametrize(
    ("training", "message"),
    [
        ({"gpus": 2, "nodes": 4}, "training.nodes': 2 GPUs cannot be shared evenly by 4 machines"),
        ({"gpus": 3, "nodes": 2}, "training.nodes': 3 GPUs cannot be shared evenly by 2 machines"),
        ({"gpus": 0, "nodes": 2}, "training.nodes': 0 GPUs cannot be shared evenly by 2 machines"),
        ({"gpus": "auto", "parallel": "ddp"}, "training.gpus': auto counts the GPUs that weights"),
        ({"gpus": 16, "batch_size": 8}, "training.batch_size': 8 examples cannot be shared by"),
    ],
)
def test_what_cannot_be_shared_is_one_line(project: Project, training: dict, message: str) -> None:
    project.configure({"student": {"training": training}})
    done = project.run("-n", "results/mbpp/seeds.jsonl")
    assert done.returncode == 1
    (line,) = [line for line in done.stdout.splitlines() if "key 'student." in line]
    assert f"key 'student.{message}" in line
