"""What of a model is trained: adapters on frozen weights (`lora`, `qlora`), or all (`full`)."""

import importlib.util
from typing import TYPE_CHECKING, Any

from scripts.lib.errors import UserError
from scripts.lib.models import device_and_dtype, load_weights
from scripts.lib.training.settings import TrainingSettings

if TYPE_CHECKING:
    import torch
    from peft import PeftModel
    from transformers import PreTrainedModel


def load_for_training(
    model: str, settings: TrainingSettings
) -> tuple["PreTrainedModel | PeftModel", "PreTrainedModel"]:
    """A model of which the right weights are trained, and the same without adapters around it.

    What is trained is in float32, and autocast computes in the device's best precision; what is
    frozen need not be kept in a better one than that. Raises `UserError` where `qlora` lacks its
    package.
    """
    import torch

    _, dtype = device_and_dtype()
    if settings.method == "full":
        base = load_weights(model, dtype=torch.float32)
        return base, base
    options: dict[str, Any] = {"dtype": dtype}
    if settings.method == "qlora":
        options["quantization_config"] = four_bits(dtype)
    base = load_weights(model, **options)
    return _with_adapters(base, settings), base


def four_bits(dtype: "torch.dtype") -> Any:
    """How QLoRA (arXiv 2305.14314) keeps frozen weights: NF4, its constants quantized as well.

    Raises `UserError` where bitsandbytes is missing.
    """
    from transformers import BitsAndBytesConfig

    if importlib.util.find_spec("bitsandbytes") is None:
        raise UserError(
            "method qlora needs the package bitsandbytes: pip install bitsandbytes, or set "
            "training.method: lora in config.yaml"
        )
    return BitsAndBytesConfig(
        load_in_4bit=True,
        bnb_4bit_quant_type="nf4",
        bnb_4bit_use_double_quant=True,
        bnb_4bit_compute_dtype=dtype,
        # Of a floating type, so that FSDP can shard the weights.
        bnb_4bit_quant_storage=dtype,
    )


def _with_adapters(model: "PreTrainedModel", settings: TrainingSettings) -> "PeftModel":
    """A model with LoRA on all its linear layers but the one that makes logits.

    Raises `UserError` for a model with which PEFT cannot do that.
    """
    from peft import LoraConfig, get_peft_model
    from peft.tuners.tuners_utils import BaseTunerLayer

    adapters = LoraConfig(
        r=settings.lora_rank,
        lora_alpha=settings.lora_alpha,
        lora_dropout=settings.lora_dropout,
        target_modules="all-linear",
        task_type="CAUSAL_LM",
    )
    try:
        adapted = get_peft_model(model, adapters)
    except ValueError as error:
        raise UserError(
            f"adapters do not go with a model of type {model.config.model_type}: set "
            f"training.method: full in config.yaml ({str(error).splitlines()[0]})"
        ) from error
    for module in adapted.modules():
        if isinstance(module, BaseTunerLayer):
            # Else inputs go to the adapter's float32 and by autocast straight back.
            module.cast_input_dtype_enabled = False
    return adapted
