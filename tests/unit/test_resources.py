"""What jobs ask a cluster for: sizes of models, and laws of memory, time and GPUs."""

import json
import math
import re
from pathlib import Path

import numpy as np
import pytest
import yaml
from hypothesis import given
from hypothesis import strategies as st
from safetensors.numpy import save_file

from bench.scale import Numbers, Scale
from scripts.lib import resources

PROJECT = Path(__file__).parents[2]
HOUR, DAY = 60, 24 * 60
METHODS = st.sampled_from(["lora", "qlora", "full"])
SIZES = st.floats(1e7, 2e11)
ATTEMPTS = st.integers(1, 5)


@pytest.mark.parametrize(
    ("name", "billions"),
    [
        ("codellama/CodeLlama-13b-hf", 13),
        ("codellama/CodeLlama-13b-Python-hf", 13),
        ("meta-llama/Llama-2-70b-chat-hf", 70),
        ("meta-llama/Llama-3.2-1B", 1),
        ("Qwen/Qwen2.5-0.5B-Instruct", 0.5),
        ("Qwen/Qwen3-30B-A3B", 30),
        ("mistralai/Mixtral-8x7B-v0.1", 56),
        ("TinyLlama/TinyLlama-1.1B-intermediate-step-1431k-3T", 1.1),
        ("EleutherAI/pythia-410m-deduped", 0.41),
        ("smollm2-135m-instruct", 0.135),
        ("/scratch/70b/models/opt-350m/", 0.35),
        ("openai-community/gpt2", None),
        ("microsoft/phi-2", None),
        ("some/model-4bit", None),
        ("some/model-v1.5", None),
    ],
)
def test_names_tell_sizes(name: str, billions: float | None) -> None:
    found = resources.parameters_by_name(name)
    assert found == (None if billions is None else pytest.approx(billions * 1e9))


def test_files_tell_sizes_better_than_names(tmp_path: Path) -> None:
    # By the library that models are saved with; torch would be seconds to import.
    weights = {"embedding": np.zeros((32, 8), np.float16), "norm": np.zeros(8, np.float32)}
    folder = tmp_path / "a-13b"
    folder.mkdir()
    save_file(weights, folder / "model.safetensors", metadata={"format": "pt"})
    assert resources.parameters_of(str(folder)) == 32 * 8 + 8
    # As of a model of the config that is fetched to another place.
    assert resources.parameters_of("made-up-7b", str(folder)) == 32 * 8 + 8
    assert resources.parameters_of("made-up-7b", str(tmp_path / "not-yet-fetched")) == 7e9


@pytest.mark.parametrize("content", [b"", b"\x05\0\0\0\0\0\0\0{}", b"\xff" * 8 + b"{}"])
def test_a_broken_file_does_not_stop_the_plan(tmp_path: Path, content: bytes) -> None:
    folder = tmp_path / "model-1b"
    folder.mkdir()
    (folder / "model.safetensors").write_bytes(content)
    assert resources.parameters_of(str(folder)) == 1e9


def test_the_weights_of_all_files_are_counted_and_no_more(tmp_path: Path) -> None:
    for number, shape in enumerate([[3, 4], [5]]):
        header = {"a": {"shape": shape}, "__metadata__": {"format": "pt"}}
        text = json.dumps(header).encode()
        path = tmp_path / f"model-{number}.safetensors"
        path.write_bytes(len(text).to_bytes(8, "little") + text)
    assert resources.parameters_in_files(tmp_path) == 17
    assert resources.parameters_in_files(tmp_path / "none") is None


@pytest.mark.parametrize(
    ("billions", "method", "memory", "gpus"),
    [
        (0.135, "lora", 80, 1),
        (0.135, "full", 24, 1),
        (7, "lora", 80, 1),
        (7, "lora", 24, 1),
        (7, "full", 80, 2),
        (13, "lora", 80, 1),
        (13, "lora", 40, 2),
        # 208 GB of weights, gradients and moments.
        (13, "full", 80, 4),
        (13, "full", 40, 8),
        (34, "full", 80, 16),
        (70, "lora", 80, 4),
        (70, "qlora", 80, 1),
    ],
)
def test_gpus_of_known_models(billions: float, method: str, memory: float, gpus: int) -> None:
    assert resources.training_gpus(billions * 1e9, method, memory) == gpus


def test_the_documented_training_on_several_machines_fits() -> None:
    page = (PROJECT / "docs" / "cluster.md").read_text(encoding="utf-8")
    role = yaml.safe_load(re.search(r"^student: \{.*nodes: .*\}$", page, re.MULTILINE)[0])[
        "student"
    ]
    partitions = (PROJECT / "profiles" / "slurm" / "partitions.yaml").read_text(encoding="utf-8")
    most = max(one.get("max_gpu", 0) for one in yaml.safe_load(partitions)["partitions"].values())
    training, parameters = role["training"], resources.parameters_by_name(role["model"])
    needed = resources.training_gpus(parameters, training["method"], 80)
    assert needed <= training["gpus"] <= most


@given(SIZES, METHODS, st.floats(8, 200))
def test_gpus_are_a_power_of_two_and_the_fewest_that_hold_the_weights(
    parameters: float, method: str, memory: float
) -> None:
    gpus = resources.training_gpus(parameters, method, memory)
    assert math.log2(gpus).is_integer()
    held = resources.GPU_BYTES[method] * parameters / (resources.GPU_FOR_WEIGHTS * memory * 1e9)
    assert held <= gpus * (1 + 1e-9)
    assert gpus == 1 or held > gpus / 2 * (1 - 1e-9)


@pytest.mark.parametrize(
    ("billions", "method", "processes", "spread", "gigabytes"),
    [
        # The first process reads 52 GB of float32.
        (13, "full", 8, True, (84, 110)),
        # Each of eight processes reads 26 GB.
        (13, "lora", 8, False, (240, 320)),
        (13, "lora", 1, True, (30, 40)),
        (0.135, "lora", 1, True, (4, 6)),
    ],
)
def test_memory_of_known_trainings(
    billions: float, method: str, processes: int, spread: bool, gigabytes: tuple[int, int]
) -> None:
    found = resources.training_mb(billions * 1e9, method, processes, spread, False, 1)
    assert gigabytes[0] <= found / 1000 <= gigabytes[1]


def test_times_are_of_the_right_order() -> None:
    # 10,000 rows of 2,048 tokens, three times, on eight GPUs: some hours for 13 billion weights.
    student = resources.training_minutes(13e9, 3 * 10_000 * 2048, 8, 1, DAY)
    assert 3 * HOUR < student < 12 * HOUR
    # A shard of 2,500 texts of 128 tokens: minutes of work.
    assert 31 < resources.sampling_minutes(13e9, 2500, 128, 256, 1, 1, DAY) < 2 * HOUR
    # The embedded default: little more than a start.
    assert resources.training_minutes(1.35e8, 10 * 10 * 512, 1, 1, DAY) < HOUR
    assert resources.sampling_minutes(1.35e8, 36, 72, 128, 1, 1, DAY) < HOUR


@given(SIZES, SIZES, METHODS, st.integers(1, 8), st.booleans(), st.booleans(), ATTEMPTS)
def test_more_weights_processes_and_attempts_never_get_less_memory(
    one: float, other: float, method: str, processes: int, spread: bool, on_cpu: bool, attempt: int
) -> None:
    small, large = sorted([one, other])

    def training(parameters: float, processes: int, attempt: int) -> int:
        return resources.training_mb(parameters, method, processes, spread, on_cpu, attempt)

    asked = training(small, processes, attempt)
    assert asked % 1000 == 0
    assert asked <= training(large, processes, attempt)
    assert asked <= training(small, processes + 1, attempt)
    assert asked < training(small, processes, attempt + 1)
    sampling = resources.sampling_mb(small, processes, attempt)
    assert sampling <= resources.sampling_mb(large, processes, attempt)
    assert sampling < resources.sampling_mb(small, processes, attempt + 1)
    assert sampling <= resources.sampling_mb(small, processes + 1, attempt)


@given(SIZES, SIZES, st.floats(1e3, 1e10), st.integers(0, 16), ATTEMPTS, st.integers(60, DAY))
def test_time_grows_with_work_and_attempt_up_to_the_limit(
    one: float, other: float, tokens: float, gpus: int, attempt: int, most: int
) -> None:
    small, large = sorted([one, other])
    asked = resources.training_minutes(small, tokens, gpus, attempt, most)
    assert resources.START_MINUTES <= asked <= most
    assert asked <= resources.training_minutes(large, tokens, gpus, attempt, most)
    assert asked <= resources.training_minutes(small, 2 * tokens, gpus, attempt, most)
    assert asked <= resources.training_minutes(small, tokens, gpus, attempt + 1, most)
    if gpus:
        assert asked >= resources.training_minutes(small, tokens, 2 * gpus, attempt, most)


@given(
    st.integers(1, 10**6),
    st.integers(1, 2048),
    st.integers(1, 512),
    st.integers(1, 8),
    ATTEMPTS,
    st.integers(60, DAY),
)
def test_time_of_sampling_falls_with_texts_at_a_time(
    texts: int, tokens: int, batch_size: int, processes: int, attempt: int, most: int
) -> None:
    def minutes(texts: int, batch_size: int, processes: int, attempt: int) -> int:
        return resources.sampling_minutes(7e9, texts, tokens, batch_size, processes, attempt, most)

    asked = minutes(texts, batch_size, processes, attempt)
    assert resources.START_MINUTES <= asked <= most
    assert asked >= minutes(texts, 2 * batch_size, processes, attempt)
    assert asked >= minutes(texts, batch_size, 2 * processes, attempt)
    assert asked <= minutes(2 * texts, batch_size, processes, attempt)
    assert asked <= minutes(texts, batch_size, processes, attempt + 1)


@given(st.integers(0, 10**8), st.integers(1, 64), st.integers(128, 4096), ATTEMPTS)
def test_steps_without_a_model_ask_by_rows_workers_and_attempt(
    rows: int, workers: int, memory_mb: int, attempt: int
) -> None:
    judging = resources.judging_mb(rows, workers, memory_mb, attempt)
    # All programs may take all that they are allowed at the same time.
    assert judging >= workers * memory_mb
    assert judging <= resources.judging_mb(rows + 1000, workers, memory_mb, attempt)
    assert judging < resources.judging_mb(rows, workers, memory_mb, attempt + 1)
    filtering = resources.filtering_mb(rows, attempt)
    assert filtering <= resources.filtering_mb(rows + 1000, attempt)
    assert filtering < resources.filtering_mb(rows, attempt + 1)
    for minutes in (
        resources.filtering_minutes(rows, attempt, DAY),
        resources.judging_minutes(rows, workers, 3, attempt, DAY),
    ):
        assert resources.START_MINUTES <= minutes <= DAY


def test_memory_of_a_million_rows_covers_what_was_measured_and_not_ten_times_it() -> None:
    million = Scale(1e6, Numbers()).figures()
    # The rules count what is sampled, not what a filter will leave.
    sampled = int(million["instructions sampled"][0])
    replies = int(sampled * Numbers().replies)
    asked = {
        "filter": resources.filtering_mb(sampled, 1),
        "label": resources.labelling_mb(replies, None, 1),
        "verify": resources.judging_mb(replies, 8, 512, 1),
    }
    for step, megabytes in asked.items():
        measured = 1000 * million[f"{step}, memory"][0]
        assert 1.3 * measured < megabytes < 3.5 * measured, step
    # A server on the same machine, with 13 billion weights, comes on top of it.
    served = resources.labelling_mb(replies, 13e9, 1)
    assert served >= asked["label"] + 26_000
