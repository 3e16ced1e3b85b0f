"""The step that runs the lm-evaluation-harness: what it asks for, what it refuses, how it fails.

The harness itself is not needed: a module of its name stands in for it.
"""

import json
import re
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from scripts import run_lm_eval
from scripts.lib.errors import UserError
from scripts.lib.harness import check_tasks
from tests.conftest import PROJECT, Project

STAND_IN = """
import json, os, sys, time
from pathlib import Path
options = dict(word.lstrip("-").partition("=")[::2] for word in sys.argv[2:])
folder = Path(options["output_path"])
print("options " + json.dumps(options), flush=True)
def report(**more):
    folder.joinpath("model").mkdir()
    found = {"tiny": {"alias": "tiny", "sample_len": 2, "acc,none": 0.5, "em,strict": float("nan")}}
    text = json.dumps({"results": found, "lm_eval_version": "0.4.13", "date": time.time(), **more})
    folder.joinpath("model", "results_2026.json").write_text(text)
"""


@pytest.fixture
def model(tmp_path: Path) -> Path:
    directory = tmp_path / "a model, of = mine"
    directory.mkdir()
    (directory / "config.json").write_text("{}")
    return directory


@pytest.fixture
def harness(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    """Put a harness in place that ends with the given lines of Python."""

    def install(ending: str) -> None:
        package = tmp_path / "path" / "lm_eval"
        package.mkdir(parents=True)
        (package / "__init__.py").touch()
        (package / "__main__.py").write_text(STAND_IN + ending)
        monkeypatch.setenv("PYTHONPATH", str(package.parent))
        monkeypatch.syspath_prepend(str(package.parent))

    return install


def run(model: Path, *options: str) -> Path:
    """Run the step in this process; the path of its result."""
    output = model.parent / "results" / "student.json"
    arguments = ["--model", str(model), "--seed", "7", "--output", str(output), *options]
    run_lm_eval.main(arguments if "--tasks" in options else [*arguments, "--tasks", "tiny"])
    return output


def command_of(*options: str, model: str = "org/model") -> list[str]:
    arguments = ["--model", model, "--seed", "7", "--output", "x.json", "--tasks", *options]
    return run_lm_eval.command(run_lm_eval.parse(arguments), Path("found"), "cpu")


def test_only_what_is_asked_for_is_passed_on() -> None:
    assert command_of("gsm8k", "own.yaml", "--limit", "None", "--num-fewshot", "none") == [
        *(sys.executable, "-m", "lm_eval", "run", "--model=hf"),
        '--model_args={"pretrained": "org/model"}',
        "--tasks=gsm8k,own.yaml",
        *("--batch_size=1", "--device=cpu", "--seed=7", "--output_path=found"),
    ]
    asked = command_of(
        *("gsm8k", "--limit", "5", "--num-fewshot", "0", "--include-path", "own"),
        *("--apply-chat-template", "True", "--confirm-unsafe-code", "true"),
    )
    assert asked[-5:] == [
        *("--limit=5", "--num_fewshot=0", "--include_path=own"),
        *("--apply_chat_template", "--confirm_run_unsafe_code"),
    ]


def test_an_adapter_is_put_on_the_model_that_it_belongs_to(tmp_path: Path) -> None:
    settings = {"base_model_name_or_path": "results/models/base"}
    (tmp_path / "adapter_config.json").write_text(json.dumps(settings))
    expected = {"pretrained": "results/models/base", "peft": str(tmp_path)}
    assert run_lm_eval.model_arguments(str(tmp_path)) == expected
    (tmp_path / "tokenizer_config.json").touch()
    expected["tokenizer"] = str(tmp_path)
    assert run_lm_eval.model_arguments(str(tmp_path)) == expected


def test_a_result_tells_scores_settings_and_the_version_and_repeats(model: Path, harness) -> None:
    harness("report(config={'limit': 5.0})")
    output = run(model, "--limit", "5")
    first = output.read_bytes()
    # NaN would be no JSON.
    result = json.loads(first, parse_constant=pytest.fail)
    assert result["harness"] == {"name": "lm-eval", "version": "0.4.13"}
    assert result["scores"] == {"tiny": {"acc": 0.5}}
    assert (result["limit"], result["tasks"]) == (5, ["tiny"])
    assert result["model_id"].startswith("sha256:")
    assert result["unsafe_code_confirmed"] is False
    assert result["report"]["config"] == {"limit": 5.0}
    assert "date" not in result["report"]
    assert run(model, "--limit", "5").read_bytes() == first


def test_a_path_of_any_characters_reaches_the_harness(model: Path, harness, capfd) -> None:
    harness("report()")
    run(model)
    said = capfd.readouterr().out.partition("options ")[2].splitlines()[0]
    assert json.loads(json.loads(said)["model_args"]) == {"pretrained": str(model)}


@pytest.mark.parametrize("task", ["humaneval", "mbpp_instruct", "HumanEval_64", "cruxeval_input"])
def test_tasks_that_run_code_are_refused(task: str) -> None:
    with pytest.raises(UserError, match=rf"{task}: the harness runs .* WITHOUT a sandbox"):
        check_tasks(["gsm8k", task], None, confirmed=False)
    assert check_tasks(["gsm8k", task], None, confirmed=True) == []


@pytest.mark.parametrize(
    "line", ["unsafe_code: true", "  - metric: code_eval", "  - metric: !function x.code_eval"]
)
def test_a_file_whose_task_runs_code_is_refused(tmp_path: Path, line: str) -> None:
    file = tmp_path / "own.yaml"
    file.write_text(f"task: own\nmetric_list:\n{line}\n")
    with pytest.raises(UserError, match=r"own.yaml: the harness runs"):
        check_tasks([str(file)], None, confirmed=False)
    file.write_text("task: own\n# unsafe_code: true\nunsafe_code: false\n")
    assert check_tasks([str(file)], None, confirmed=False) == [str(file)]


def test_a_folder_of_own_tasks_may_use_any_name_and_is_watched_as_a_whole(tmp_path: Path) -> None:
    for name in ("mbpp_facts.yaml", "data/facts.jsonl", "__pycache__/x.pyc", ".git/x"):
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).touch()
    file = str(tmp_path / "mbpp_facts.yaml")
    files = check_tasks([file, "mbpp_facts"], str(tmp_path), confirmed=False)
    assert files == [file, str(tmp_path / "data" / "facts.jsonl")]


@pytest.mark.parametrize(
    ("tasks", "include_path", "message"),
    [
        ([], None, "lm_eval.tasks: names no task"),
        (["missing.yaml"], None, "missing.yaml: no such file"),
        (["own.yml"], None, r"reads files named \*.yaml"),
        (["gsm8k"], "missing", "lm_eval.include_path: missing: no such folder"),
    ],
)
def test_what_names_no_task_is_explained(tasks, include_path, message: str) -> None:
    with pytest.raises(UserError, match=message):
        check_tasks(tasks, include_path, confirmed=False)


@pytest.mark.parametrize(
    "said",
    [
        "Attempted to run task: own which is marked as unsafe. Set confirm_run_unsafe_code=True",
        'os.environ["HF_ALLOW_CODE_EVAL"] = "1". Within Windows',
    ],
)
def test_what_the_harness_itself_finds_unsafe_is_refused(model: Path, harness, said: str) -> None:
    harness(f"raise ValueError({said!r})")
    with pytest.raises(UserError, match=r"lm_eval.tasks: own_group: the harness runs the code"):
        run(model, "--tasks", "own_group")


def test_code_runs_only_where_that_is_confirmed_and_never_finds_our_keys(
    model: Path, harness, monkeypatch: pytest.MonkeyPatch, capfd
) -> None:
    harness(
        "print('allowed', os.environ.get('HF_ALLOW_CODE_EVAL'), flush=True)\n"
        "assert not any(name.startswith('OPENAI') for name in os.environ)\n"
        "report()"
    )
    monkeypatch.setenv("HF_ALLOW_CODE_EVAL", "1")
    monkeypatch.setenv("OPENAI_API_KEY", "sk-secret")
    run(model)
    assert "allowed None" in capfd.readouterr().out
    output = run(model, "--confirm-unsafe-code", "true", "--tasks", "humaneval")
    out, err = capfd.readouterr()
    assert "allowed 1" in out and "confirm_run_unsafe_code" in out
    assert "WITHOUT a sandbox" in err
    assert json.loads(output.read_text())["unsafe_code_confirmed"] is True


@pytest.mark.parametrize(
    ("ending", "message"),
    [
        (
            "raise ValueError('Tasks not found: tiny')",
            "status 1: ValueError: Tasks not found: tiny",
        ),
        ("raise OSError('no hub\\nlook at your network')", "OSError: no hub look at your network"),
        ("sys.exit(3)", "status 3: options"),
        ("os.kill(os.getpid(), 9)", "was killed, .*: lower lm_eval.batch_size"),
        ("", "wrote no results that can be read"),
        ("report(results={})", "wrote no results that can be read"),
        ("report(); next(folder.rglob('*.json')).write_text('{')", "wrote no results"),
    ],
)
def test_a_harness_that_fails_leaves_one_line_and_no_result(
    model: Path, harness, ending: str, message: str
) -> None:
    harness(ending)
    with pytest.raises(UserError, match=message) as caught:
        run(model)
    assert "\n" not in str(caught.value)
    assert not list(model.parent.glob("results/**/*"))


def test_a_missing_harness_and_a_missing_model_are_explained(model: Path, monkeypatch) -> None:
    monkeypatch.setattr("importlib.util.find_spec", lambda name: None)
    with pytest.raises(UserError, match=r"is not installed here: use envs/lm_eval.yaml"):
        run(model)
    with pytest.raises(UserError, match="no such directory"):
        run(model.parent / "missing")


def test_the_harness_ends_with_the_step(model: Path, harness, tmp_path: Path) -> None:
    note = tmp_path / "pid"
    harness(
        "import subprocess\nchild = subprocess.Popen(['sleep', '60'])\n"
        f"Path({str(note)!r}).write_text(f'{{os.getpid()}} {{child.pid}} ')\ntime.sleep(60)"
    )
    step = subprocess.Popen(
        [
            *(sys.executable, "-m", "scripts.run_lm_eval", "--model", model, "--tasks", "tiny"),
            *("--seed", "7", "--output", tmp_path / "x.json", "--log", tmp_path / "x.log"),
        ],
        cwd=PROJECT,
    )
    deadline = time.monotonic() + 30
    while not (note.exists() and note.read_text().endswith(" ")) and time.monotonic() < deadline:
        time.sleep(0.05)
    step.send_signal(signal.SIGTERM)
    assert step.wait(30) == 143
    for pid in note.read_text().split():
        assert not running(int(pid))
    assert not (tmp_path / "x.json").exists()


def running(pid: int) -> bool:
    """Whether a process runs; one that has ended and not been waited for does not."""
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] not in "ZX"
    except OSError:
        return False


def test_no_other_target_asks_for_the_harness_and_plans_say_what_is_wrong(tmp_path: Path) -> None:
    project = Project(tmp_path, {})
    # A plan of one task takes a third of the time.
    for other in (tmp_path / "tasks").glob("*.yaml"):
        if other.stem != "mbpp":
            other.unlink()
    everything = project.planned("results/mbpp_eval.json", "results/mbpp/quality.json", "all")
    assert "compare_models" in everything and "run_lm_eval" not in everything
    project.configure({"lm_eval": {"tasks": ["humaneval"]}})
    refused = project.run("-n", "results/mbpp/lm_eval/student.json")
    assert refused.returncode and "WITHOUT a sandbox" in refused.stdout
    settings = {"tasks": ["gsm8k", "humaneval"], "limit": 3, "confirm_unsafe_code": True}
    project.configure({"tasks": {"mbpp": {"lm_eval": settings}}})
    planned = project.run("-np", "results/mbpp/lm_eval/student.json")
    assert planned.returncode == 0, planned.stdout
    command = re.sub(r"\s+", " ", planned.stdout)
    assert "scripts.run_lm_eval --model results/mbpp/student" in command
    assert "--tasks gsm8k humaneval --limit 3 --num-fewshot None" in command
    assert "--confirm-unsafe-code True" in command
    assert "scripts.train --role student" in command
