"""What a training will take: counts are exact, and only what clearly cannot fit is refused."""

from dataclasses import replace
from pathlib import Path

import pytest

from scripts.lib.errors import UserError
from scripts.lib.training import estimate as module
from scripts.lib.training.estimate import check_fits, estimate, memory_bytes, model_size
from scripts.lib.training.examples import Row
from scripts.lib.training.methods import load_for_training
from tests.training.learning import other_models, random_rows, settings

GIB = 2**30
SEEDS = [Row(list(range(400)), start=60)] * 10
PAPER = settings(method="full", epochs=40, learning_rate=1e-6, batch_size=10, max_length=1024)


@pytest.fixture(scope="module")
def thirteen_billion(tmp_path_factory: pytest.TempPathFactory) -> str:
    """Code Llama 13B as far as it can be known without its weights."""
    from transformers import LlamaConfig

    directory = tmp_path_factory.mktemp("13b")
    LlamaConfig(
        vocab_size=32016,
        hidden_size=5120,
        intermediate_size=13824,
        num_hidden_layers=40,
        num_attention_heads=40,
    ).save_pretrained(directory)
    return str(directory)


@pytest.fixture
def eighty_gib(monkeypatch: pytest.MonkeyPatch) -> None:
    """Processes with a GPU of 80 GB each."""
    monkeypatch.setattr(module, "free_bytes", lambda device: 79.0 * GIB)


@pytest.mark.parametrize("method", ["lora", "full"])
def test_weights_are_counted_as_they_are(tiny_model: Path, method: str) -> None:
    some = settings(method=method)
    size = model_size(str(tiny_model), some)
    model, base = load_for_training(str(tiny_model), some)
    if method == "full":
        assert size.parameters == base.num_parameters()
    assert size.trained == sum(
        weight.numel() for weight in model.parameters() if weight.requires_grad
    )


@pytest.mark.parametrize("name", other_models())
def test_models_of_other_kinds_are_estimated(name: str, tmp_path: Path) -> None:
    other_models()[name].save_pretrained(tmp_path)
    expected = estimate(str(tmp_path), random_rows(8), settings(), 1)
    assert 0 < expected.size.trained < expected.size.parameters
    assert expected.bytes > 0 and expected.seconds > 0


def test_what_cannot_fit_is_refused_with_what_would_help(
    thirteen_billion: str, eighty_gib: None
) -> None:
    expected = estimate(thirteen_billion, SEEDS, PAPER, processes=1)
    assert str(expected).startswith(
        "13.0 billion parameters, 13.0 billion of them trained, 160,000 tokens; about "
    )
    with pytest.raises(UserError) as caught:
        check_fits(expected)
    line = str(caught.value)
    assert "GiB on each device and 79.0 GiB are free" in line and "\n" not in line
    for remedy in (
        "training.method: lora", "training.method: qlora", "training.accumulation: 10",
        "training.gradient_checkpointing: true", "training.max_length", "training.gpus",
    ):  # fmt: skip
        assert remedy in line
    # Each is named with what it would leave, the best one first.
    assert line.index("qlora (about ") < line.index("lora (about ", line.index("qlora") + 6)


@pytest.mark.parametrize("change", [{"method": "lora"}, {"method": "qlora"}], ids=str)
def test_adapters_of_a_large_model_fit_on_one_gpu(
    thirteen_billion: str, eighty_gib: None, change: dict
) -> None:
    check_fits(estimate(thirteen_billion, SEEDS, replace(PAPER, **change), processes=1))


def test_eight_gpus_that_share_the_weights_hold_what_the_paper_trains(
    thirteen_billion: str, eighty_gib: None, monkeypatch: pytest.MonkeyPatch
) -> None:
    with pytest.raises(UserError, match=r"training.parallel: fsdp \(about "):
        check_fits(estimate(thirteen_billion, SEEDS, PAPER, processes=8))
    monkeypatch.setenv("ACCELERATE_USE_FSDP", "true")
    check_fits(estimate(thirteen_billion, SEEDS, PAPER, processes=8))


def test_an_estimate_that_may_be_wrong_stops_nothing(
    tiny_model: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    rows = random_rows(8)
    size = model_size(str(tiny_model), settings())
    needed = memory_bytes(size, rows, settings(), 1, shards=False, item=2)
    monkeypatch.setattr(module, "free_bytes", lambda device: needed / 1.2)
    check_fits(estimate(str(tiny_model), rows, settings(), 1))
