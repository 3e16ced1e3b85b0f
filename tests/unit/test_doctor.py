"""`make doctor` under real conditions: what is there, what is missing, and what it may not do."""

import json
import os
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest

from scripts.doctor import look, look_at_all, main
from scripts.lib.doctor import MISSING, OK, WARN, Finding
from scripts.lib.doctor import disk as disks
from scripts.lib.doctor.disk import room, wants
from scripts.lib.doctor.endpoint import endpoint
from scripts.lib.doctor.gpus import gpus
from scripts.lib.doctor.hub import hub
from scripts.lib.doctor.isolation import sandbox
from scripts.lib.doctor.packages import packages
from scripts.lib.doctor.setup import Setup, read_setup
from scripts.lib.doctor.slurm import minutes, slurm
from tests.openai_server import KeyState, OpenAIServer

PROJECT = Path(__file__).parents[2]
KEY, OTHER = "sk-doctor-secret-0001", "sk-doctor-secret-0002"
MODEL = "org/some-7b"


@pytest.fixture(autouse=True)
def surroundings(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """The project as the current directory; no key, no hub, no cache, no proxy."""
    monkeypatch.chdir(PROJECT)
    for name in ("OPENAI_API_KEY", "OPENAI_API_KEYS", "HF_HUB_OFFLINE", "HF_TOKEN", "HF_HUB_CACHE"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("OPENAI_BASE_URL", "http://127.0.0.1:9/v1")
    monkeypatch.setenv("HF_ENDPOINT", "http://127.0.0.1:9")
    monkeypatch.setenv("HF_HOME", str(tmp_path / "hf"))


def setup_of(config: dict, folder: Path, profile: dict | None = None, task: str = "mbpp") -> Setup:
    overlay = folder / "overlay.json"
    overlay.write_text(json.dumps(config), encoding="utf-8")
    if profile is not None:
        (folder / "profile.v9+.yaml").write_text(json.dumps(profile), encoding="utf-8")
    return read_setup([overlay], [], folder if profile is not None else None, [task])


def labelled(folder: Path, **client: object) -> Setup:
    label = {"endpoint": "openai", "model": "test-model", "client": client}
    return setup_of({"label": label}, folder)


def said(found: Finding | list[Finding], state: str, *words: str) -> bool:
    """Whether a finding of that state says all the words."""
    findings = [found] if isinstance(found, Finding) else found
    return any(one.state == state and all(word in str(one) for word in words) for one in findings)


def program(folder: Path, name: str, text: str) -> None:
    """A command that answers as a shell script says."""
    folder.mkdir(exist_ok=True)
    path = folder / name
    path.write_text(f"#!/bin/sh\n{text}\n", encoding="utf-8")
    path.chmod(0o755)


@contextmanager
def web(answer: Callable[[str], tuple[int, dict[str, str]]]) -> Iterator[tuple[str, list[str]]]:
    """A server whose answers a path decides; its address, and the requests that it got."""
    asked: list[str] = []

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            asked.append(f"{self.command} {self.path} {self.headers.get('Authorization', '')}")
            status, headers = answer(self.path)
            self.send_response(status)
            for name, value in headers.items():
                self.send_header(name, value)
            self.end_headers()

        do_HEAD = do_GET

        def log_message(self, *_: object) -> None: ...

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    thread = threading.Thread(target=server.serve_forever, args=(0.01,), daemon=True)
    thread.start()
    try:
        yield f"http://127.0.0.1:{server.server_port}", asked
    finally:
        server.shutdown()
        server.server_close()


# Packages


def test_installed_packages_are_compared_with_the_pins(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    pins = tmp_path / "requirements.txt"
    pins.write_text(
        "# all\nno-such-package==1.0 \\\n    --hash=sha256:00\npytest==0.1\n"
        'colorama==0.4 ; sys_platform == "win32"\n',
        encoding="utf-8",
    )
    assert said(packages(pins), MISSING, "1 of 2", "no-such-package")
    monkeypatch.setattr("scripts.lib.doctor.packages._wants_cuda", lambda: True)
    pins.write_text("pytest==0.1", encoding="utf-8")
    cuda = tmp_path / "requirements-cuda.txt"
    cuda.write_text("nvidia-no-such-package==1.0", encoding="utf-8")
    assert said(packages(pins, cuda), MISSING, "1 of 2", "nvidia-no-such-package")
    monkeypatch.setattr("scripts.lib.doctor.packages._wants_cuda", lambda: False)
    assert said(packages(pins), WARN, "pytest", "not 0.1")


def test_a_bare_python_is_told_what_is_missing_and_gets_no_traceback() -> None:
    done = subprocess.run(
        [sys._base_executable, "-S", "-m", "scripts.doctor"], capture_output=True, text=True
    )
    assert done.returncode == 1
    assert not done.stderr
    lines = done.stdout.splitlines()
    assert any(line.startswith("missing  packages:") for line in lines)
    assert any(line.startswith("missing  config:") for line in lines)
    assert any("disk:" in line for line in lines)


# Keys and the endpoint


def test_a_good_key_is_accepted_by_a_look_that_costs_nothing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with OpenAIServer(keys={KEY: KeyState()}) as server:
        monkeypatch.setenv("OPENAI_BASE_URL", server.url)
        monkeypatch.setenv("OPENAI_API_KEY", KEY)
        found = endpoint(labelled(tmp_path))
        assert {one.state for one in found} == {OK}
        assert said(found, OK, "answers to 1 of 1 keys")
        assert not server.requests
        assert not server.log
        other = setup_of({"label": {"endpoint": "openai", "model": "gpt-none"}}, tmp_path)
        assert said(endpoint(other), WARN, "gpt-none is not among")


@pytest.mark.parametrize(("state", "status"), [("invalid", MISSING), ("forbidden", MISSING)])
def test_a_refused_key_stops_and_is_not_shown(
    state: str, status: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with OpenAIServer(keys={KEY: KeyState(state)}) as server:
        monkeypatch.setenv("OPENAI_BASE_URL", server.url)
        monkeypatch.setenv("OPENAI_API_KEY", KEY)
        found = endpoint(labelled(tmp_path))
    assert said(found, status, "refuses the key")
    assert KEY not in "\n".join(map(str, found))


def test_one_refused_key_of_two_is_a_doubt(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with OpenAIServer(keys={KEY: KeyState()}) as server:
        monkeypatch.setenv("OPENAI_BASE_URL", server.url)
        monkeypatch.setenv("OPENAI_API_KEYS", f"{KEY},{OTHER}")
        found = endpoint(labelled(tmp_path))
    assert said(found, WARN, "refuses key 2 of OPENAI_API_KEYS")
    assert said(found, OK, "1 of 2 keys")
    assert not any(one.state == MISSING for one in found)


def test_a_dead_endpoint_and_a_missing_key_are_told_apart(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert said(endpoint(labelled(tmp_path)), MISSING, "key:", "OPENAI_API_KEY is not set")
    monkeypatch.setenv("OPENAI_API_KEY", KEY)
    found = endpoint(labelled(tmp_path))
    assert said(found, OK, "key:", "1 of OPENAI_API_KEY")
    assert said(found, MISSING, "http://127.0.0.1:9/v1 does not answer", "refused")


@pytest.mark.parametrize(
    "address",
    [
        "http://me:hidden-word@127.0.0.1:9/v1",
        # Without a port, a client may take the password for one.
        "http://me:hidden-word@127.0.0.1/v1",
        "http://me:hidden-word/@127.0.0.1/v1",
        "http://[me:hidden-word@127.0.0.1/v1",
        "http://127.0.0.1:9/v1?key=hidden-word",
        "http://127.0.0.1:9/v1#hidden-word",
        "me:hidden-word@127.0.0.1:9/v1",
    ],
)
def test_a_secret_in_an_address_is_not_shown(
    address: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("OPENAI_API_KEY", KEY)
    monkeypatch.setenv("OPENAI_BASE_URL", address)
    monkeypatch.setenv("HF_ENDPOINT", address)
    findings = look("endpoint", lambda: endpoint(labelled(tmp_path)))
    findings += look("hub", lambda: hub(with_model(tmp_path)))
    assert said(findings, MISSING, "127.0.0.1", "does not answer")
    assert "hidden-word" not in "\n".join(map(str, findings))


def test_an_endpoint_is_looked_at_without_the_password_of_its_address(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with OpenAIServer(keys={KEY: KeyState()}) as server:
        monkeypatch.setenv("OPENAI_BASE_URL", server.url.replace("//", "//me:hidden-word@"))
        monkeypatch.setenv("OPENAI_API_KEY", KEY)
        assert said(endpoint(labelled(tmp_path)), OK, "answers to 1 of 1 keys")


def test_a_redirection_does_not_carry_the_key_away(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("OPENAI_API_KEY", KEY)
    with (
        web(lambda path: (200, {})) as (elsewhere, carried),
        web(lambda path: (307, {"Location": f"{elsewhere}/v1/models"})) as (url, _),
    ):
        monkeypatch.setenv("OPENAI_BASE_URL", f"{url}/v1")
        assert said(endpoint(labelled(tmp_path)), WARN, "HTTP 307")
        assert not carried


def test_a_key_file_that_others_may_read_is_told_of(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    file = tmp_path / "keys.json"
    file.write_text(json.dumps({"available": [KEY], "aborted": []}), encoding="utf-8")
    file.chmod(0o644)
    with OpenAIServer(keys={KEY: KeyState()}) as server:
        monkeypatch.setenv("OPENAI_BASE_URL", server.url)
        assert said(endpoint(labelled(tmp_path, key_file=str(file))), WARN, "chmod 600")
        file.chmod(0o600)
        assert said(endpoint(labelled(tmp_path, key_file=str(file))), OK, "key:", "keys.json")


# Models and the hub


def with_model(folder: Path, profile: dict | None = None, **more: object) -> Setup:
    return setup_of({"generator": {"model": MODEL}, **more}, folder, profile)


def cached(folder: Path) -> None:
    """A snapshot of the model in the hub's cache."""
    snapshot = folder / "hf" / "hub" / "models--org--some-7b" / "snapshots" / "0"
    snapshot.mkdir(parents=True)
    (snapshot / "config.json").touch()
    (snapshot / "model.safetensors").touch()


def test_a_model_is_in_the_cache_or_can_be_had_or_not(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    hub_answers = {
        307: (OK, "to be downloaded"),
        401: (MISSING, "knows no such model"),
        403: (MISSING, "licence"),
        500: (WARN, "HTTP 500"),
    }
    for status, (state, words) in hub_answers.items():
        with web(lambda path, status=status: (status, {})) as (url, asked):
            monkeypatch.setenv("HF_ENDPOINT", url)
            assert said(list(hub(with_model(tmp_path))), state, MODEL, words), status
            assert any(one.startswith(f"HEAD /{MODEL}/resolve/main/config.json") for one in asked)
    monkeypatch.setenv("HF_ENDPOINT", "http://127.0.0.1:9")
    assert said(list(hub(with_model(tmp_path))), MISSING, MODEL, "hf download org/some-7b")
    monkeypatch.setenv("HF_HUB_OFFLINE", "1")
    assert said(list(hub(with_model(tmp_path))), MISSING, MODEL, "HF_HUB_OFFLINE is set")
    cached(tmp_path)
    assert said(list(hub(with_model(tmp_path))), OK, MODEL, str(tmp_path))
    # A download that was cut off has left the small files.
    next(tmp_path.rglob("*.safetensors")).unlink()
    assert said(list(hub(with_model(tmp_path))), MISSING, MODEL)


def test_a_token_is_sent_stripped_and_never_shown(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with web(lambda path: (200, {})) as (url, asked):
        monkeypatch.setenv("HF_ENDPOINT", url)
        monkeypatch.setenv("HF_TOKEN", "hf_hidden\n")
        assert said(list(hub(with_model(tmp_path))), OK, MODEL)
        assert asked[0].endswith("Bearer hf_hidden")
        asked.clear()
        for token in ("hf_hidden\nword", "hf_hidden word", "hf_hidden\u00e9"):
            monkeypatch.setenv("HF_TOKEN", token)
            found = list(hub(with_model(tmp_path)))
            assert said(found, MISSING, MODEL, "mend HF_TOKEN")
            assert "hidden" not in "\n".join(map(str, found))
        assert not any("Bearer" in one for one in asked)


def test_a_model_must_be_there_before_jobs_without_a_network_want_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with web(lambda path: (200, {})) as (url, _):
        monkeypatch.setenv("HF_ENDPOINT", url)
        setup = with_model(tmp_path, {"executor": "slurm"})
        assert said(list(hub(setup)), MISSING, MODEL, "compute nodes are offline")
        cached(tmp_path)
        assert said(list(hub(setup)), OK, MODEL)


def test_what_only_a_student_lacks_does_not_stop_verified_rows(tmp_path: Path) -> None:
    found = list(hub(setup_of({"student": {"model": MODEL}}, tmp_path)))
    assert said(found, WARN, f"{MODEL} (student)")
    assert not any(one.state == MISSING for one in found)


def test_a_benchmark_that_is_required_must_be_had(tmp_path: Path) -> None:
    name = "google-research-datasets/mbpp:test"
    assert said(list(hub(setup_of({}, tmp_path))), WARN, "datasets", name)
    required = {"decontamination": {"required": True}}
    assert said(list(hub(setup_of(required, tmp_path))), MISSING, "datasets", name)
    copy = tmp_path / "mbpp.jsonl"
    required["datasets"] = {name: str(copy)}
    assert said(list(hub(setup_of(required, tmp_path))), MISSING, "there is no file")
    copy.touch()
    assert said(list(hub(setup_of(required, tmp_path))), OK, "datasets")


# Slurm


@pytest.fixture
def no_slurm(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A path on which only what a test puts there is found, beside `sh`."""
    folder = tmp_path / "bin"
    folder.mkdir()
    (folder / "sh").symlink_to("/bin/sh")
    (folder / "sleep").symlink_to("/bin/sleep")
    monkeypatch.setenv("PATH", str(folder))
    return folder


def cluster(folder: Path, accounting: str = "accounting_storage/slurmdbd", age: int = 300) -> None:
    """The answers of a Slurm with two partitions, as Slurm 22.05 writes them."""
    program(folder, "sbatch", "exit 9")
    program(folder, "squeue", "exit 9")
    program(folder, "scancel", "exit 9")
    works = "slurmdbd" in accounting
    disabled = "echo 'Slurm accounting storage is disabled' >&2; exit 1"
    program(folder, "sacct", "exit 0" if works else disabled)
    ping = "Slurmctld(primary) at head is UP"
    config = f"AccountingStorageType   = {accounting}\nMinJobAge               = {age} sec"
    program(folder, "scontrol", f'[ "$1" = ping ] && echo "{ping}" || echo "{config}"')
    program(folder, "sinfo", 'printf "cpu|2:00:00|(null)\\ngpu|1-00:00:00|gpu:a100:2(S:0-1)\\n"')


PROFILE = {
    "executor": "slurm",
    "slurm-status-command": "sacct",
    "default-resources": {"slurm_partition": "cpu"},
    "set-resources": {"train": {"slurm_partition": "gpu"}},
}


def test_slurm_is_not_asked_for_where_nothing_wants_it(no_slurm: Path, tmp_path: Path) -> None:
    assert said(slurm(setup_of({}, tmp_path)), OK, "none on this machine")
    assert said(slurm(setup_of({}, tmp_path, PROFILE)), MISSING, "no command sbatch")


def test_a_cluster_with_the_profiles_partitions_is_well(no_slurm: Path, tmp_path: Path) -> None:
    cluster(no_slurm)
    found = slurm(setup_of({}, tmp_path, PROFILE))
    assert {one.state for one in found} == {OK}
    assert said(found, OK, "partitions cpu, gpu are there")
    assert said(found, OK, "accounting is on")


@pytest.mark.parametrize("accounting", ["accounting_storage/none", "(null)"])
def test_sacct_without_accounting_would_hang(
    accounting: str, no_slurm: Path, tmp_path: Path
) -> None:
    cluster(no_slurm, accounting)
    assert said(slurm(setup_of({}, tmp_path, PROFILE)), MISSING, "accounting is off", "squeue")
    without = {name: value for name, value in PROFILE.items() if "status" not in name}
    assert said(slurm(setup_of({}, tmp_path, without)), MISSING, "its default hangs")


@pytest.mark.parametrize(
    ("age", "sacct", "state", "words"),
    [
        (300, "works", OK, "job states by squeue"),
        (120, "absent", OK, "job states by squeue"),
        (300, "fails", WARN, "a sacct that fails: an outage may hang Snakemake"),
        # The executor then takes sacct, whatever the profile says.
        (119, "works", WARN, "119 s (MinJobAge): Snakemake takes sacct (set it to sacct)"),
        (119, "fails", MISSING, "Snakemake takes sacct, which fails, and would hang"),
        (2, "absent", WARN, "knows ended jobs for 2 s (MinJobAge) (ask your site for 120"),
    ],
)
def test_squeue_is_asked_only_where_it_remembers_or_there_is_no_sacct(
    age: int, sacct: str, state: str, words: str, no_slurm: Path, tmp_path: Path
) -> None:
    storage = "slurmdbd" if sacct == "works" else "none"
    cluster(no_slurm, f"accounting_storage/{storage}", age)
    if sacct == "absent":
        (no_slurm / "sacct").unlink()
    found = slurm(setup_of({}, tmp_path, {**PROFILE, "slurm-status-command": "squeue"}))
    assert said(found, state, words)
    assert {one.state for one in found} == {OK, state}


def test_partitions_gpus_and_times_that_are_not_there_are_named(
    no_slurm: Path, tmp_path: Path
) -> None:
    cluster(no_slurm)
    wrong = {**PROFILE, "set-resources": {"train": {"slurm_partition": "h", "gpu_model": "h100"}}}
    found = slurm(setup_of({}, tmp_path, wrong))
    assert said(found, MISSING, "there is no partition h", "there are cpu, gpu")
    assert said(found, MISSING, "no partition has GPUs h100")
    by_need = tmp_path / "partitions.yaml"
    limits = {
        "cpu": {"max_runtime": "5h", "max_gpu": 0},
        "gpu": {"max_runtime": 1440, "max_gpu": 2},
    }
    by_need.write_text(json.dumps({"partitions": limits}), encoding="utf-8")
    right = {"executor": "slurm", "slurm-partition-config": str(by_need)}
    found = slurm(setup_of({}, tmp_path, {**right, "slurm-status-command": "sacct"}))
    assert said(found, MISSING, "partition cpu: 300 minutes are over its limit, 120")
    assert not said(found, MISSING, "partition gpu")
    assert not said(found, WARN, "max_hours")
    limits["gpu"]["max_runtime"] = "12h"
    limits["cpu"] = {"max_runtime": 60, "max_gpu": 1}
    by_need.write_text(json.dumps({"partitions": limits}), encoding="utf-8")
    found = slurm(setup_of({}, tmp_path, {**right, "slurm-status-command": "sacct"}))
    assert said(found, MISSING, "partition cpu has no GPU")
    assert said(found, WARN, "cluster.max_hours is 24")


def test_an_account_of_others_is_told_of(no_slurm: Path, tmp_path: Path) -> None:
    cluster(no_slurm)
    program(no_slurm, "sacctmgr", "printf 'lab\\nteaching\\n'")
    profile = {**PROFILE, "default-resources": {"slurm_account": "them"}}
    assert said(slurm(setup_of({}, tmp_path, profile)), MISSING, "no account them", "lab")
    profile["default-resources"] = {"slurm_account": "lab"}
    assert not said(slurm(setup_of({}, tmp_path, profile)), MISSING)


def test_a_controller_that_is_down_or_silent_is_told_of(
    no_slurm: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    cluster(no_slurm)
    program(no_slurm, "scontrol", "echo 'Slurmctld(primary) at head is DOWN'; exit 1")
    assert said(slurm(setup_of({}, tmp_path, PROFILE)), MISSING, "no controller is up")
    # Without the profile nobody wants it.
    assert said(slurm(setup_of({}, tmp_path)), WARN, "no controller is up")
    program(no_slurm, "scontrol", "sleep 60")
    monkeypatch.setattr("scripts.lib.doctor.slurm.SECONDS", 0.2)
    assert said(slurm(setup_of({}, tmp_path, PROFILE)), MISSING, "no answer within 0.2 s")


@pytest.mark.parametrize(
    ("limit", "expected"),
    [
        ("90", 90),
        ("30:00", 30),
        ("2:00:00", 120),
        ("1-00:00:00", 1440),
        ("1-12", 2160),
        ("1d12h", 2160),
    ],
)
def test_time_limits_of_slurm_are_read(limit: str, expected: float) -> None:
    assert minutes(limit) == expected
    assert minutes("infinite") == float("inf")


# GPUs


def test_gpus_are_counted_with_those_that_runs_have_claimed(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    import fcntl

    listing = "GPU 0: A (UUID: GPU-aaaa)\nGPU 1: A (UUID: GPU-bbbb)"
    memory = "A100, 70000, 81920, 550.54\nA100, 81000, 81920, 550.54"
    program(tmp_path / "bin", "nvidia-smi", f'[ "$1" = -L ] && echo "{listing}" || echo "{memory}"')
    monkeypatch.setenv("PATH", f"{tmp_path / 'bin'}{os.pathsep}{os.environ['PATH']}")
    monkeypatch.setenv("ADA_INSTRUCT_LOCKS", str(tmp_path))
    monkeypatch.delenv("CUDA_VISIBLE_DEVICES", raising=False)
    found = gpus(setup_of({}, tmp_path))
    assert said(found, OK, "2, 2 not claimed", "68 of 80 GiB free", "driver 550.54")
    # The tests have the CPU's PyTorch, or the machine would have GPUs of its own.
    assert said(found, WARN, "torch:") or said(found, OK, "torch:")
    monkeypatch.setattr("scripts.lib.doctor.gpus.torch", lambda: Finding(OK, "torch", ""))
    with open(tmp_path / "ada-instruct-gpu-GPU-bbbb.lock", "wb") as held:
        fcntl.flock(held, fcntl.LOCK_EX)
        assert said(gpus(setup_of({}, tmp_path)), OK, "2, 1 not claimed")
    many = {"generator": {"training": {"gpus": 4, "batch_size": 4}}}
    assert said(gpus(setup_of(many, tmp_path)), MISSING, "asks for 4 and there are 2")
    assert not list(tmp_path.glob("*aaaa.lock"))


def test_an_engine_that_needs_a_gpu_is_missed_where_there_is_none(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "")
    assert said(gpus(setup_of({}, tmp_path)), OK, "everything runs on the CPU")
    setup = setup_of({"sampling": {"engine": "vllm"}}, tmp_path)
    assert said(gpus(setup), MISSING, "sampling.engine is vllm")


# The sandbox


def test_the_sandbox_says_its_level_or_what_it_lacks(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert said(sandbox(setup_of({}, tmp_path)), OK, "full: bubblewrap")
    lower = {"verification": {"sandbox": {"level": "no-netns"}}}
    assert said(sandbox(setup_of(lower, tmp_path)), WARN, "no-netns: bubblewrap", "full works here")
    assert said(sandbox(setup_of({}, tmp_path, task="gsm8k")), OK, "no task")
    monkeypatch.setattr("scripts.lib.sandbox.bubblewrap.find_binaries", list)
    assert said(sandbox(setup_of({}, tmp_path)), MISSING, "install bubblewrap")
    on_slurm = setup_of({}, tmp_path, {"executor": "slurm"})
    assert said(sandbox(on_slurm), WARN, "on a compute node it may be otherwise")


# The disk


def test_a_disk_that_is_too_small_is_missed(tmp_path: Path) -> None:
    place = tmp_path / "not" / "yet" / "there"
    assert said(room({place: 0.0}, {place: 0.0}), OK, "GB", "free")
    assert said(room({place: 1e18}, {place: 1e18}), MISSING, "wanted")
    # What only students want is a doubt.
    assert said(room({place: 0.0}, {place: 1e18}), WARN, "0.0 without students")
    assert len(room({place: 0.0, tmp_path: 0.0}, {place: 0.0, tmp_path: 0.0})) == 1


def test_few_inodes_are_told_of(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(disks, "LEAST_INODES", 1e18)
    assert said(room({tmp_path: 0.0}, {tmp_path: 0.0}), WARN, "inodes")


def test_a_folder_that_may_not_be_written_is_told_of(tmp_path: Path) -> None:
    tmp_path.chmod(0o500)
    own = os.getuid()
    # Root may write everywhere; what a process may do is asked for by its real user.
    os.setreuid(own or 65534, -1)
    try:
        found = room({tmp_path / "results": 0.0}, {tmp_path / "results": 0.0})
    finally:
        os.setreuid(own, -1)
    assert said(found, MISSING, "results: may not be written")


def test_a_config_is_known_to_want_room_for_its_models(tmp_path: Path) -> None:
    paper = read_setup([PROJECT / "configs" / "paper.yaml"], [], None, ["mbpp"])
    needed, wanted = wants(paper, main=True), wants(paper, main=False)
    cache = tmp_path / "hf" / "hub"
    # Code Llama 13B in 16 bits, once for each of two models; the encoder beside the first.
    assert needed[cache] == 26e9 + 0.5e9
    assert wanted[cache] == needed[cache] + 26e9
    # Weights of full training are written in 32 bits, and the checkpoint is of one role at a time.
    assert 52e9 < needed[Path("results")] < 53e9
    assert 156e9 < needed[Path(".cache")] < 157e9
    small = wants(setup_of({}, tmp_path), main=False)
    assert sum(small.values()) < 1e9


# The whole


def test_all_is_said_in_aligned_lines_and_nothing_is_written(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    before = {path: path.stat().st_mtime_ns for path in PROJECT.iterdir()}
    overlay = tmp_path / "my.yaml"
    overlay.write_text("label: {endpoint: openai, model: m}")
    # As make passes them on: options of snakemake that mean nothing here as well.
    flags = ["--task", "mbpp", "--configfile", str(overlay), "--resources", "gpu=4", "-n"]
    assert main(["--task", "mbpp"]) == 0
    assert main(flags) == 1
    assert main([*flags, "--config", "label={endpoint: local, model: smollm2-135m-instruct}"]) == 0
    lines = capsys.readouterr().out.splitlines()
    assert all(line[:9].strip() in (OK, WARN, MISSING) for line in lines)
    assert all(line[8] == " " and line[9] != " " and ":" in line[9:20] for line in lines)
    assert sum("OPENAI_API_KEY is not set" in line for line in lines) == 1
    assert {path: path.stat().st_mtime_ns for path in PROJECT.iterdir()} == before


@pytest.mark.parametrize(
    ("overlay", "message"),
    [
        ("label: {endpoint: openai, modell: m}", "'modell' was unexpected"),
        ("label: [", "is not YAML"),
        ("- a", "holds no keys"),
        (None, "cannot be read: No such file or directory"),
    ],
)
def test_a_config_that_cannot_be_used_is_missing(
    overlay: str | None, message: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    path = tmp_path / "my.yaml"
    if overlay is not None:
        path.write_text(overlay, encoding="utf-8")
    assert main(["--configfile", str(path)]) == 1
    assert message in capsys.readouterr().out


# What the schema allows and the plan refuses.
REFUSED = {
    "training.gpus': auto counts the GPUs": {
        "student": {"training": {"gpus": "auto", "parallel": "ddp"}}
    },
    "examples cannot be shared by gpus x accumulation": {"student": {"training": {"gpus": 16}}},
    "9 replies cannot agree where there are 3": {
        "verification": {"method": "agreement", "support": 9}
    },
    "pass@10 cannot be told from 5 samples": {"evaluation": {"samples": 5}},
    "key 'tasks.nope': there is no tasks/nope.yaml": {"tasks": {"nope": {}}},
    "is the same for all tasks": {"tasks": {"gsm8k": {"label": {"endpoint": "local"}}}},
    "'replys' was unexpected": {"tasks": {"gsm8k": {"label": {"replys": 3}}}},
    "key 'datasets.a/b:test': no task asks for it": {"datasets": {"a/b:test": "copy.jsonl"}},
    "without isolation: set": {"verification": {"sandbox": {"level": "none"}}},
}


@pytest.mark.parametrize("message", REFUSED)
def test_what_the_plan_refuses_is_missing(
    message: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    overlay = tmp_path / "my.json"
    overlay.write_text(json.dumps(REFUSED[message]), encoding="utf-8")
    assert main(["--task", "mbpp", "--configfile", str(overlay)]) == 1
    lines = capsys.readouterr().out.splitlines()
    assert sum(line.startswith("missing  config:") and message in line for line in lines) == 1


@pytest.mark.parametrize("option", ["--config", "-C"])
@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["seed=x"], "key 'seed': 'x' is not of type 'integer'"),
        # Snakemake leaves numbers within a mapping as texts.
        (["seed=1", "study={rows: 9}"], "key 'study.rows': '9' is not of type 'integer'"),
        (["seed"], "--config: Invalid config definition"),
    ],
)
def test_values_of_the_command_line_are_heeded(
    option: str, words: list[str], message: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["--task", "mbpp", option, *words]) == 1
    assert message in capsys.readouterr().out


def test_a_check_that_breaks_or_hangs_does_not_take_the_others_along(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr("scripts.doctor.PATIENCE", 0.2)

    def breaks() -> Finding:
        raise RuntimeError("odd")

    checks = {
        "hangs": lambda: threading.Event().wait(60) or Finding(OK, "hangs", "no"),
        "breaks": breaks,
        "works": lambda: Finding(OK, "works", "yes"),
    }
    assert [str(one) for one in look_at_all(checks)] == [
        "warn     hangs:     nothing known after 0.2 s",
        "warn     breaks:    cannot be looked at: RuntimeError: odd",
        "ok       works:     yes",
    ]
