"""What all tests share: a tiny real model, a copy of the project, a real HTTP endpoint."""

import copy
import json
import os
import select
import shutil
import subprocess
import sys
from collections.abc import Callable, Iterator
from functools import cache
from pathlib import Path

import pytest
from hypothesis import settings

from scripts.lib.dataset_rows import dataset_name
from scripts.lib.locks import locked
from scripts.lib.tasks import load_task
from tests.openai_server import KeyState, OpenAIServer

# No law is a matter of time; and with CI set, the same commit is tried on the same examples.
settings.register_profile("project", deadline=None, derandomize="CI" in os.environ)
settings.load_profile("project")

# Processes share the tests (Makefile): with more threads than cores they wait for each other.
os.environ.setdefault("OMP_NUM_THREADS", "1")
# No test asks the hub; its client reads this once, when it is imported.
os.environ["HF_HUB_OFFLINE"] = "1"

PROJECT = Path(__file__).parents[1]
PARTS = [
    "Snakefile", "config.yaml", "configs", "rules", "scripts", "schemas", "tasks", "envs",
    "profiles", "report",
]  # fmt: skip


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """The longest files first: processes share the files, and the last one is waited for."""
    longest = ["slurm", "conda", "smoke", "workflow", "completions"]

    def place(item: pytest.Item) -> int:
        folder = item.path.parent.name
        return longest.index(folder) if folder in longest else len(longest)

    items.sort(key=place)


def made_once(
    tmp_path_factory: pytest.TempPathFactory, name: str, make: Callable[[Path], None]
) -> Path:
    """A folder that one of the processes that share the tests makes and the others find.

    `make` is given a folder that does not exist yet; one in which it failed is left behind.
    """
    own = tmp_path_factory.getbasetemp()
    shared = own.parent if "PYTEST_XDIST_WORKER" in os.environ else own
    directory = shared / name
    with locked(shared / f"{name}.lock"):
        if not directory.exists():
            unfinished = tmp_path_factory.mktemp("unfinished") / name
            make(unfinished)
            unfinished.rename(directory)
    return directory


@pytest.fixture(scope="session")
def tiny_model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A randomly initialised Llama of some ten thousand parameters, with a chat template."""
    return made_once(tmp_path_factory, "tiny", save_tiny_model)


def save_tiny_model(directory: Path) -> None:
    """Make the model of `tiny_model`."""
    import torch
    from tokenizers import ByteLevelBPETokenizer
    from transformers import LlamaConfig, LlamaForCausalLM, PreTrainedTokenizerFast

    seeds = (PROJECT / "tasks" / "mbpp_seeds.jsonl").read_text(encoding="utf-8").splitlines()
    bpe = ByteLevelBPETokenizer()
    bpe.train_from_iterator(seeds, vocab_size=400, special_tokens=["<pad>", "<s>", "</s>"])
    tokenizer = PreTrainedTokenizerFast(
        tokenizer_object=bpe._tokenizer, pad_token="<pad>", bos_token="<s>", eos_token="</s>"
    )
    tokenizer.chat_template = (
        "{% for m in messages %}<s>{{ m['role'] }}\n{{ m['content'] }}</s>\n{% endfor %}"
        "{% if add_generation_prompt %}<s>assistant\n{% endif %}"
    )
    torch.manual_seed(0)
    model = LlamaForCausalLM(
        LlamaConfig(
            vocab_size=len(tokenizer),
            hidden_size=32,
            intermediate_size=64,
            num_hidden_layers=2,
            num_attention_heads=4,
            num_key_value_heads=2,
            max_position_embeddings=1024,
            bos_token_id=tokenizer.bos_token_id,
            eos_token_id=tokenizer.eos_token_id,
            pad_token_id=tokenizer.pad_token_id,
        )
    )
    model.generation_config.do_sample = True
    model.save_pretrained(directory)
    tokenizer.save_pretrained(directory)


@cache
def planner() -> subprocess.Popen[str]:
    """The process that plans are forked from; it ends with this one."""
    return subprocess.Popen(
        [sys.executable, PROJECT / "tests" / "plans.py"],
        text=True,
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
    )


class Project:
    """A copy of the project in a folder of its own, and Snakemake in it."""

    def __init__(self, directory: Path, config: dict) -> None:
        self.path = directory
        for part in PARTS:
            source = PROJECT / part
            if source.is_dir():
                ignored = shutil.ignore_patterns("__pycache__")
                shutil.copytree(source, directory / part, ignore=ignored)
            else:
                shutil.copy2(source, directory / part)
        self.overlay = directory / "overlay.json"
        self.configure(config)
        self.environment = {
            **os.environ,
            # The scripts run by `python`, which must be the one that runs the tests.
            "PATH": f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}",
        }

    def configure(self, config: dict) -> None:
        """Replace the values that are laid over config.yaml."""
        self.overlay.write_text(json.dumps(config), encoding="utf-8")

    def command(self, *arguments: str) -> list[str]:
        """The command line of Snakemake with this project's overlay."""
        snakemake = Path(sys.executable).parent / "snakemake"
        return [str(snakemake), *arguments, "--configfile", str(self.overlay)]

    def start(self, *arguments: str) -> subprocess.Popen[str]:
        """Start Snakemake in a process group of its own."""
        return subprocess.Popen(
            self.command(*arguments),
            cwd=self.path,
            env=self.environment,
            text=True,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            start_new_session=True,
        )

    def run(self, *arguments: str) -> subprocess.CompletedProcess[str]:
        """Run Snakemake to its end; stdout and stderr come back together."""
        if {"-n", "--dry-run", "--lint"} & set(arguments):
            return self.plan(*arguments)
        process = self.start(*arguments)
        output, _ = process.communicate(timeout=600)
        return subprocess.CompletedProcess(process.args, process.returncode, output)

    def plan(self, *arguments: str) -> subprocess.CompletedProcess[str]:
        """What `run` gives, of a Snakemake that starts no step: without the time of its imports."""
        output = self.path / "plan.log"
        command = self.command(*arguments)
        request = {
            "command": command,
            "cwd": str(self.path),
            "env": self.environment,
            "output": str(output),
        }
        print(json.dumps(request), file=planner().stdin, flush=True)
        assert select.select([planner().stdout], [], [], 600)[0], "Snakemake makes no plan"
        status = int(planner().stdout.readline())
        said = output.read_text(encoding="utf-8")
        output.unlink()
        return subprocess.CompletedProcess(command, status, said)

    def planned(self, *targets: str) -> set[str]:
        """The rules that Snakemake would run for the targets."""
        done = self.run("--dry-run", *targets)
        assert done.returncode == 0, done.stdout
        lines = done.stdout.splitlines()
        return {
            line.split()[1].rstrip(":")
            for line in lines
            if line.startswith(("rule ", "localrule "))
        }

    def moved(self, there: Path, *left_behind: str, keep_times: bool = True) -> "Project":
        """A copy in another folder, without some of what lies in this one, and with its overlay."""
        shutil.copytree(
            self.path,
            there,
            ignore=lambda folder, _: left_behind if Path(folder) == self.path else (),
            copy_function=shutil.copy2 if keep_times else shutil.copy,
        )
        other = copy.copy(self)
        other.path, other.overlay = there, there / self.overlay.name
        return other

    def rows(self, name: str) -> list[dict]:
        """The rows of a JSON Lines file of the project."""
        text = (self.path / name).read_text(encoding="utf-8")
        return [json.loads(line) for line in text.splitlines()]


REPLY = """Of course!

**solution:**
```Python
def add_numbers(a, b):
    return a + b
```
Test Cases:
```
assert add_numbers(1, 2) == 3
assert add_numbers(0, 0) == 0
assert add_numbers(-1, 1) == 0
```"""


class LabelEndpoint(OpenAIServer):
    """The API on loopback, with a scripted model and one good key."""

    key = "sk-test-key-of-the-label-endpoint"

    def __init__(self, **settings: object) -> None:
        super().__init__(**{"keys": {self.key: KeyState()}, "reply": REPLY, **settings})


@pytest.fixture
def label_endpoint() -> Iterator[LabelEndpoint]:
    """A label endpoint for one test."""
    endpoint = LabelEndpoint()
    yield endpoint
    endpoint.close()


TOY_TASK = {
    "kind": "code",
    "seeds": "toy_seeds.jsonl",
    "instruction": {
        "prefix": "Task: ",
        "opening": "Write",
        # A model that knows nothing soon writes one of these.
        "closing": ["\n", "e", "a"],
        "suffix": "\nTests:\n{tests}",
        "placeholder": "pass",
        "response": "{solution}",
    },
    "sampling": {"temperature": 1.0, "top_k": 0, "top_p": 1.0, "max_new_tokens": 40},
    "filter": {"min_words": 1, "max_words": 60},
    "label": {"request": "{instruction}"},
}


def toy_config(model: Path) -> dict:
    """A configuration with which the whole workflow takes a minute and really does everything."""
    specs = [load_task(path).spec for path in sorted((PROJECT / "tasks").glob("*.yaml"))]
    # Two problems of each benchmark: the hub is not asked, and the real ones would take the
    # encoder longer than all other steps take.
    problems = str(PROJECT / "tests" / "toy_problems.jsonl")
    return {
        "datasets": {dataset_name(spec["benchmark"]["dataset"]): problems for spec in specs},
        "generator": {
            "model": str(model),
            "training": {"method": "full", "epochs": 3, "learning_rate": 0.001},
        },
        "sampling": {"target_rows": 12, "margin": 2, "shard_size": 12, "batch_size": 4},
        "filter": {"threshold": 0.98},
        "label": {
            "endpoint": "openai",
            "model": "scripted",
            "replies": 2,
            "client": {"in_flight": 3, "attempts": 2},
        },
    }


def toy_project(directory: Path, model: Path, endpoint: LabelEndpoint) -> Project:
    """A copy of the project with the task `toy`, which a user could have written."""
    directory.mkdir(exist_ok=True)
    project = Project(directory, toy_config(model))
    (project.path / "tasks" / "toy.yaml").write_text(json.dumps(TOY_TASK))
    shutil.copy(PROJECT / "tasks" / "mbpp_seeds.jsonl", project.path / "tasks" / "toy_seeds.jsonl")
    project.environment |= {"OPENAI_BASE_URL": endpoint.url, "OPENAI_API_KEY": endpoint.key}
    return project


@pytest.fixture(scope="session")
def finished_toy(
    tmp_path_factory: pytest.TempPathFactory, tiny_model: Path
) -> Iterator[tuple[Project, LabelEndpoint]]:
    """The project after a whole real run on the toy task. Tests must leave its results alone.

    One process has made the run for all; each has a copy of its own, and an endpoint that has seen
    the requests of the run.
    """
    endpoint = LabelEndpoint()

    def run(directory: Path) -> None:
        directory.mkdir()
        project = toy_project(directory / "toy", tiny_model, endpoint)
        done = project.run("results/toy_verified.jsonl")
        assert done.returncode == 0, done.stdout
        said = {"output": done.stdout, "requests": endpoint.requests}
        (directory / "said.json").write_text(json.dumps(said))

    finished = made_once(tmp_path_factory, "finished", run)
    project = toy_project(tmp_path_factory.mktemp("own") / "toy", tiny_model, endpoint)
    shutil.copytree(finished / "toy", project.path, dirs_exist_ok=True)
    said = json.loads((finished / "said.json").read_text())
    project.output, endpoint.requests = said["output"], said["requests"]
    yield project, endpoint
    endpoint.close()
