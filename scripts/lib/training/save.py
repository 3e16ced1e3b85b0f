"""Writing a tuned model, so that the same training gives the same bytes."""

import json
from pathlib import Path
from typing import TYPE_CHECKING

from scripts.lib.models import ADAPTER_CONFIG, save_tokenizer
from scripts.lib.training.run import Tuned

if TYPE_CHECKING:
    from transformers import PreTrainedTokenizerBase


def save_tuned_model(tuned: Tuned, tokenizer: "PreTrainedTokenizerBase", directory: Path) -> None:
    """Write an adapter or full weights, and the tokenizer."""
    tuned.model.save_pretrained(directory, state_dict=tuned.weights)
    save_tokenizer(tokenizer, directory)
    # PEFT lists the modules in the order of a Python set, which differs from run to run.
    config = directory / ADAPTER_CONFIG
    if config.exists():
        settings = json.loads(config.read_text(encoding="utf-8"))
        settings["target_modules"] = sorted(settings["target_modules"])
        config.write_text(json.dumps(settings, indent=2, sort_keys=True) + "\n", encoding="utf-8")
