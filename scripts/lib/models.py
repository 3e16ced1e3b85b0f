"""Loading language models: where they run, in which precision, and what identifies them.

Heavy libraries are imported inside the functions, so that cheap commands stay cheap.
"""

import hashlib
import json
from pathlib import Path
from typing import TYPE_CHECKING, Any

from scripts.lib.errors import UserError

if TYPE_CHECKING:
    import torch
    from transformers import PreTrainedConfig, PreTrainedModel, PreTrainedTokenizerBase

ADAPTER_CONFIG = "adapter_config.json"


def device_and_dtype() -> tuple[str, "torch.dtype"]:
    """The device that models run on, and bfloat16 where it has that in hardware.

    A CPU without it computes bfloat16 several times slower than float32.
    """
    import torch

    if torch.cuda.is_available():
        return "cuda", torch.bfloat16 if torch.cuda.is_bf16_supported() else torch.float16
    capabilities = torch.cpu.get_capabilities()
    fast_bf16 = capabilities.get("amx_bf16") or capabilities.get("avx512_bf16")
    return "cpu", torch.bfloat16 if fast_bf16 else torch.float32


def quiet_libraries() -> None:
    """Keep the progress bars and notices of transformers out of the terminal and the log."""
    import warnings

    from transformers.utils import logging

    logging.disable_progress_bar()
    logging.set_verbosity_error()
    warnings.filterwarnings("ignore", category=FutureWarning, module="transformers")


def check_model_name(model: str, what: str = "model") -> None:
    """Raise `UserError` for a path without a model, so that it is not taken for a hub id.

    `what` is how the line calls it.
    """
    path = Path(model)
    looks_like_a_path = model.startswith((".", "/", "~")) or model.count("/") != 1
    if path.is_dir():
        if not any((path / name).exists() for name in ("config.json", ADAPTER_CONFIG)):
            raise UserError(f"{model}: holds no config.json: name a Hugging Face model directory")
    elif looks_like_a_path:
        raise UserError(f"{what} '{model}': no such directory: mend the path in config.yaml")


def load_tokenizer(model: str) -> "PreTrainedTokenizerBase":
    """The tokenizer of a model, with a padding token.

    Raises `UserError` where the model is neither a directory nor on the hub.
    """
    from transformers import AutoTokenizer

    check_model_name(model)
    quiet_libraries()
    try:
        tokenizer = AutoTokenizer.from_pretrained(model)
    except (OSError, ValueError) as error:
        raise UserError(_not_loaded(model, error)) from error
    if tokenizer.pad_token_id is None:
        tokenizer.pad_token = tokenizer.eos_token
    return tokenizer


def save_tokenizer(tokenizer: "PreTrainedTokenizerBase", directory: str | Path) -> None:
    """Write a tokenizer, but not how it was loaded: HF_HUB_OFFLINE would change a model's bytes."""
    for name in ("local_files_only", "is_local"):
        tokenizer.init_kwargs.pop(name, None)
    tokenizer.save_pretrained(directory)


def load_config(model: str) -> "PreTrainedConfig":
    """The configuration of a model, without its weights.

    Raises `UserError` where the model is neither a directory nor on the hub.
    """
    from transformers import AutoConfig

    check_model_name(model)
    try:
        return AutoConfig.from_pretrained(model)
    except (OSError, ValueError) as error:
        raise UserError(_not_loaded(model, error)) from error


def load_weights(model: str, **options: Any) -> "PreTrainedModel":
    """A causal language model where `from_pretrained` puts it; `options` are those of that.

    Raises `UserError` where the model is neither a directory nor on the hub.
    """
    from safetensors import SafetensorError
    from transformers import AutoModelForCausalLM

    check_model_name(model)
    try:
        return AutoModelForCausalLM.from_pretrained(model, **options)
    except (OSError, ValueError, SafetensorError) as error:
        raise UserError(_not_loaded(model, error)) from error


def load_model(
    model: str, adapter: str | None = None, dtype: "torch.dtype | None" = None
) -> "PreTrainedModel":
    """A causal language model on the best device, with an adapter merged in where one is named.

    Without `dtype` its weights are in the device's best precision.

    Raises `UserError` where the model is neither a directory nor on the hub.
    """
    device, best_dtype = device_and_dtype()
    dtype = dtype or best_dtype
    if not adapter:
        return load_weights(model, dtype=dtype).to(device)
    from peft import PeftModel

    # Merged in the precision of the checkpoint and rounded once, not twice.
    base = load_weights(model, dtype="auto")
    return PeftModel.from_pretrained(base, adapter).merge_and_unload().to(device, dtype)


def load_tuned_model(directory: str | Path) -> "PreTrainedModel":
    """The model that `train` wrote: full weights, or an adapter and the base model it names."""
    adapter = adapter_settings(directory)
    if adapter is None:
        return load_model(str(directory))
    return load_model(adapter["base_model_name_or_path"], adapter=str(directory))


def adapter_settings(directory: str | Path) -> dict[str, Any] | None:
    """PEFT's description of the adapter in a directory, `None` where it holds a whole model."""
    config = Path(directory) / ADAPTER_CONFIG
    return json.loads(config.read_text(encoding="utf-8")) if config.exists() else None


def _not_loaded(model: str, error: Exception) -> str:
    first_line = str(error).strip().splitlines()[0] if str(error).strip() else type(error).__name__
    return f"model '{model}' could not be loaded: {first_line}"


def fingerprint(model: str) -> str:
    """What identifies a model: the content of a local directory, the name of any other.

    Returns `sha256:...` over names and contents of the directory's files.
    """
    path = Path(model)
    if not path.is_dir():
        return model
    digest = hashlib.sha256()
    for file in sorted(path.rglob("*")):
        if file.is_file() and not file.name.startswith("."):
            digest.update(f"{file.relative_to(path)}\0".encode())
            with open(file, "rb") as stream:
                digest.update(hashlib.file_digest(stream, "sha256").digest())
    return f"sha256:{digest.hexdigest()}"
