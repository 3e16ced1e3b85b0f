"""The workflow itself: its plan, and bad input. What reruns is in test_reruns.py."""

import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
import yaml

from scripts.lib.errors import UserError
from tests.conftest import PROJECT, Project, toy_config

STAGES = {
    "train",
    "generate_instructions",
    "filter_instructions",
    "label_instructions",
    "verify_samples",
}
SOURCES = {"select_seeds", "fetch_benchmark"}


@pytest.fixture(scope="module")
def fresh(tmp_path_factory: pytest.TempPathFactory) -> Project:
    return Project(tmp_path_factory.mktemp("fresh"), {})


def test_lint(fresh: Project) -> None:
    done = fresh.run("--lint")
    assert done.returncode == 0, done.stdout


def test_one_target_plans_every_stage(fresh: Project) -> None:
    assert fresh.planned("results/mbpp_verified.jsonl") == STAGES | SOURCES | {"fetch_model"}
    assert fresh.planned("results/mbpp_instructions.jsonl") == {
        "fetch_model", "train", "generate_instructions", "filter_instructions", *SOURCES
    }  # fmt: skip


def test_the_paper_is_planned(fresh: Project) -> None:
    fresh.configure(yaml.safe_load((PROJECT / "configs" / "paper.yaml").read_text()))
    done = fresh.run("-n", "-p", "--resources", "gpu=8")
    fresh.configure({})
    assert done.returncode == 0, done.stdout
    commands = done.stdout
    jobs = dict(re.findall(r"^(\w+) +(\d+)$", commands, re.MULTILINE))
    # 10,000 rows with a margin of 2, in shards of 2,500, of five tasks.
    assert {rule: int(number) for rule, number in jobs.items()} == {
        "all": 1, "fetch_benchmark": 5, "select_seeds": 5, "train": 5,
        "generate_instructions": 40, "filter_instructions": 5, "label_instructions": 5,
        "verify_samples": 5, "total": 71,
    }  # fmt: skip
    for task, model, top_k, tokens in [
        ("humaneval", "codellama/CodeLlama-13b-hf", 80, 256),
        ("mbpp", "codellama/CodeLlama-13b-hf", 100, 128),
        ("gsm8k", "meta-llama/Llama-2-13b-hf", 80, 512),
        ("math", "meta-llama/Llama-2-13b-hf", 80, 512),
        ("csqa", "meta-llama/Llama-2-13b-hf", 100, 256),
    ]:
        train = command_of(commands, "scripts.train", task)
        assert f"--model {model} --chat-format llama2 --method full --epochs 40" in train
        assert "--learning-rate 1e-06" in train
        assert "--learn format" in train
        generate = command_of(commands, "scripts.generate_instructions", task)
        assert f"--temperature 1.0 --top-k {top_k} --top-p 1.0" in generate
        assert f"--max-new-tokens {tokens} " in generate
        label = command_of(commands, "scripts.label_instructions", task)
        assert "--model gpt-3.5-turbo --replies 1" in label
        parameters = '{"max_tokens": 2048, "temperature": 1.0, "top_p": 0.9}'
        assert f"--parameters '{parameters}'" in label
        filtered = command_of(commands, "scripts.filter_instructions", task)
        assert "--encoder sentence-transformers/all-mpnet-base-v2 --threshold 0.8" in filtered
        assert "--set paper" in command_of(commands, "scripts.select_seeds", task)
    resources = re.findall(r"rule (train|generate_instructions):.*?gpu=(\d+)", commands, re.DOTALL)
    assert sorted(set(resources)) == [("generate_instructions", "1"), ("train", "8")]


def test_the_parameters_of_a_label_request_follow_the_config(fresh: Project) -> None:
    section = {
        "endpoint": "openai",
        "model": "m",
        "temperature": 1,
        "top_p": None,
        "max_tokens_name": "max_completion_tokens",
        "extra_body": {"reasoning_effort": "low"},
    }
    fresh.configure({"label": section})
    planned = fresh.run("-n", "-p", "results/mbpp_labeled.jsonl").stdout
    fresh.configure({})
    wanted = '{"max_completion_tokens": 96, "reasoning_effort": "low", "temperature": 1.0}'
    assert f"--parameters '{wanted}'" in command_of(planned, "scripts.label_instructions", "mbpp")


def test_a_missing_key_file_stops_the_plan(fresh: Project) -> None:
    client = {"key_file": "nowhere.json"}
    fresh.configure({"label": {"endpoint": "openai", "model": "m", "client": client}})
    assert "there is no file nowhere.json" in refused(fresh, "-n", "results/mbpp_verified.jsonl")
    fresh.configure({})


def test_one_task_at_a_time_asks_an_endpoint(fresh: Project) -> None:
    fresh.configure({"label": {"endpoint": "openai", "model": "m"}})
    planned = fresh.run("-n", "results/mbpp_labeled.jsonl").stdout
    fresh.configure({})
    assert re.search(r"rule label_instructions:.*?\bapi=1\b", planned, re.DOTALL)
    for profile in ("default", "slurm"):
        path = PROJECT / "profiles" / profile / "profile.v9+.yaml"
        assert yaml.safe_load(path.read_text())["resources"]["api"] == 1


def command_of(output: str, module: str, task: str) -> str:
    """The shell command of a module for a task, on one line."""
    text = " ".join(output.replace("\\\n", " ").split())
    text = re.sub(r"python -m scripts\.launch .*? -- ", "python -m ", text)
    commands = [
        command
        for command in text.split("python -m ")
        if command.startswith(f"{module} ") and f"--task tasks/{task}.yaml " in command
    ]
    return commands[0]


def test_a_larger_target_samples_further_shards_and_redoes_none(finished_toy, tiny_model) -> None:
    project, _ = finished_toy
    config = toy_config(tiny_model)
    config["sampling"]["target_rows"] = 24
    project.configure(config)
    done = project.run("-n", "results/toy_verified.jsonl")
    project.configure(toy_config(tiny_model))
    sampled = re.findall(r"output: results/toy/generations/(\d+).jsonl", done.stdout)
    assert sorted(sampled) == ["3", "4"]
    assert "rule train:" not in done.stdout


@pytest.mark.parametrize(
    ("tasks", "message"),
    [
        ({"gsm9k": {}}, "key 'tasks.gsm9k': there is no tasks/gsm9k.yaml"),
        ({"gsm8k": {"label": {"replys": 3}}}, "'replys' was unexpected"),
        ({"gsm8k": {"labels": {}}}, "'labels'"),
        ({"gsm8k": {"label": {"endpoint": "openai"}}}, "is the same for all tasks"),
        ({"gsm8k": {"sampling": {"engine": "loop"}}}, "'tasks.gsm8k.sampling.engine': is the same"),
        (
            {"mbpp": {"verification": {"method": "agreement", "support": 4}}},
            "key 'verification.support': 4 replies cannot agree where there are 3",
        ),
        (
            {"mbpp": {"verification": {"sandbox": {"level": "none"}}}},
            "set 'verification.sandbox.accept_risk: true' as well",
        ),
    ],
)
def test_wrong_values_for_one_task_stop_the_plan(fresh: Project, tasks: dict, message: str) -> None:
    fresh.configure({"tasks": tasks})
    assert message in refused(fresh, "-n", "results/mbpp_verified.jsonl")
    fresh.configure({})


def test_planning_loads_no_model_library(fresh: Project) -> None:
    done = subprocess.run(
        [sys.executable, "-X", "importtime", "-m", "snakemake", "-n", "all"],
        cwd=fresh.path, env=fresh.environment, capture_output=True, text=True,
    )  # fmt: skip
    assert done.returncode == 0
    modules = {line.split("|")[-1].strip() for line in done.stderr.splitlines() if "|" in line}
    assert "yaml" in modules
    assert not modules & {"torch", "transformers", "peft", "openai", "sentence_transformers"}


def test_planning_needs_no_key_and_no_gpu(fresh: Project) -> None:
    fresh.configure({"label": {"endpoint": "openai", "model": "m"}})
    fresh.environment.pop("OPENAI_API_KEY", None)
    assert "label_instructions" in fresh.planned("results/mbpp_verified.jsonl")
    fresh.configure({})


def test_nothing_reruns_without_a_change(finished_toy) -> None:
    project, _ = finished_toy
    assert project.planned("results/toy_verified.jsonl") == set()


def test_touched_and_copied_files_rerun_nothing(finished_toy, tmp_path: Path) -> None:
    project = finished_toy[0].moved(tmp_path / "touched")
    for part in ("rules", "scripts", "schemas", "tasks", "envs"):
        for path in (project.path / part).rglob("*"):
            if path.is_file() and "__pycache__" not in path.parts:
                # What switching a branch and back does: the same content under a new file.
                content = path.read_bytes()
                path.unlink()
                path.write_bytes(content)
    for name in ("Snakefile", "config.yaml"):
        os.utime(project.path / name)
    assert project.planned("results/toy_verified.jsonl") == set()


def refused(project: Project, *arguments: str) -> str:
    """Run something that must fail, and return what it said."""
    done = project.run(*arguments)
    assert done.returncode != 0, done.stdout
    assert "Traceback (most recent call last)" not in done.stdout
    return done.stdout


@pytest.fixture
def own(tmp_path: Path) -> Project:
    return Project(tmp_path, {})


@pytest.mark.parametrize(
    ("config", "message"),
    [
        ({"typo": 1}, "config.yaml: Additional properties are not allowed ('typo' was unexpected)"),
        ({"seed": "x"}, "config.yaml: key 'seed': 'x' is not of type 'integer'"),
        (
            {"datasets": {"openai/gsm8k:tset": "gsm8k.jsonl"}},
            "key 'datasets.openai/gsm8k:tset': no task asks for it: the names are ",
        ),
    ],
)
def test_a_wrong_config_stops_the_plan(fresh: Project, config: dict, message: str) -> None:
    fresh.configure(config)
    assert message in refused(fresh, "-n", "results/mbpp_verified.jsonl")
    fresh.configure({})


def test_a_task_without_a_file_is_explained(fresh: Project) -> None:
    output = refused(fresh, "-n", "results/haiku_verified.jsonl")
    assert "tasks/haiku.yaml does not exist: describe the task 'haiku' there" in output


def test_broken_seeds_stop_the_plan(own: Project) -> None:
    path = own.path / "tasks" / "mbpp_seeds.jsonl"
    lines = path.read_text().splitlines()
    path.write_text("\n".join([lines[0], '{"instruction": 3}']))
    output = refused(own, "-n", "results/mbpp_verified.jsonl")
    assert "tasks/mbpp_seeds.jsonl, line 2: 'instruction' is not of type str" in output
    path.write_text(lines[0])
    assert "holds 1 seed(s): give at least 2" in refused(own, "-n", "results/mbpp_verified.jsonl")


def test_a_task_that_is_not_ready_yet_stops_no_other_one(own: Project) -> None:
    (own.path / "tasks" / "csqa_seeds.jsonl").unlink()
    assert "verify_samples" in own.planned("results/mbpp_verified.jsonl")
    output = refused(own, "-n", "results/csqa_verified.jsonl")
    assert "tasks/csqa_seeds.jsonl does not exist" in output


def test_tasks_that_share_a_benchmark_fetch_it_once(own: Project) -> None:
    second = (own.path / "tasks" / "mbpp.yaml").read_text()
    (own.path / "tasks" / "mbpp2.yaml").write_text(second)
    done = own.run("-n", "results/mbpp2_verified.jsonl")
    assert re.search(r"^fetch_benchmark +5$", done.stdout, re.MULTILINE)
    assert "split: test" in second
    (own.path / "tasks" / "mbpp2.yaml").write_text(second.replace("split: test", "split: prompt"))
    output = refused(own, "-n", "results/mbpp_verified.jsonl")
    assert "key 'benchmark': differs from that of tasks/mbpp.yaml" in output


def test_the_flags_of_make_do_not_swallow_the_target() -> None:
    for target in ("results/mbpp_verified.jsonl", "all"):
        command = [
            "make",
            "-n",
            "-o",
            ".venv/ready",
            target,
            "SNAKEMAKE_FLAGS=--configfile my.yaml",
        ]
        done = subprocess.run(command, cwd=PROJECT, capture_output=True, text=True, check=True)
        assert f"snakemake {target} --configfile my.yaml" in done.stdout


def test_a_model_path_that_does_not_exist_stops_the_training(own: Project) -> None:
    own.configure({"generator": {"model": "./nowhere"}})
    output = refused(own, "results/mbpp/generator")
    assert "error: model './nowhere': no such directory: mend the path in config.yaml" in output
    assert not (own.path / "results" / "mbpp" / "generator").exists()


def make_wheel(directory: Path, content: bytes) -> None:
    """A wheel of a package `toy-model` that carries one file."""
    import zipfile

    name = "toy_model-1.0"
    with zipfile.ZipFile(directory / f"{name}-py3-none-any.whl", "w") as wheel:
        wheel.writestr("toy_model/toy.gguf", content)
        info = f"{name}.dist-info"
        wheel.writestr(f"{info}/METADATA", "Metadata-Version: 2.1\nName: toy-model\nVersion: 1.0\n")
        wheel.writestr(
            f"{info}/WHEEL", "Wheel-Version: 1.0\nRoot-Is-Purelib: true\nTag: py3-none-any\n"
        )
        wheel.writestr(f"{info}/RECORD", "")


def test_a_wheel_with_a_wrong_checksum_is_refused(own: Project, tmp_path: Path) -> None:
    make_wheel(tmp_path, b"not a model")
    own.configure(
        {
            "models": {
                "toy": {
                    "package": "toy-model",
                    "version": "1.0",
                    "wheel_sha256": "0" * 64,
                    "gguf": "toy_model/toy.gguf",
                    "gguf_sha256": "0" * 64,
                }
            },
            "generator": {"model": "toy"},
        }
    )
    own.environment |= {"PIP_NO_INDEX": "1", "PIP_FIND_LINKS": str(tmp_path)}
    output = refused(own, "results/mbpp/generator")
    assert "toy_model-1.0-py3-none-any.whl: SHA-256 is " in output
    assert "wheel_sha256 in config.yaml says 0000" in output
    assert not list((own.path / "results" / "models").glob("*"))


def test_without_a_sandbox_nothing_is_run(finished_toy, tmp_path: Path, monkeypatch) -> None:
    from scripts import verify_samples
    from scripts.lib.sandbox import SandboxUnavailable, executor

    project, _ = finished_toy
    labeled = tmp_path / "labeled.jsonl"
    shutil.copy(project.path / "results" / "toy_labeled.jsonl", labeled)

    def unavailable(*_: object) -> None:
        raise SandboxUnavailable("bubblewrap was not found; apt-get install bubblewrap")

    monkeypatch.setattr(executor, "Sandbox", unavailable)
    with pytest.raises(UserError, match="not run without a sandbox.*apt-get install bubblewrap"):
        verify_samples.main(
            [
                "--task", str(project.path / "tasks" / "toy.yaml"), "--labeled", str(labeled),
                "--dropped", str(project.path / "results" / "toy" / "dropped.jsonl"),
                "--method", "own_tests", "--support", "2", "--majority", "0.6",
                "--rows-per-instruction", "1", "--sampling", "{}", "--label-sampling", "{}",
                "--timeout", "5", "--memory-mb", "512", "--workers", "1",
                "--sandbox-level", "auto",
                "--verified", str(tmp_path / "v.jsonl"), "--rejected", str(tmp_path / "r.jsonl"),
                "--funnel", str(tmp_path / "f.json"),
            ]
        )  # fmt: skip
    assert not (tmp_path / "v.jsonl").exists()
