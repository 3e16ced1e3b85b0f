"""Time the sampling loop against the original's algorithm, and against llama.cpp.

    snakemake results/mbpp/generator
    python -m bench.generation [--texts 512] [--rounds 3] [--llama-cpp PYTHON --gguf FILE ...]

All sample the same number of MBPP instructions from the same generator, in the same precision and
with the task's own settings (T 1, top-k 100, at most 128 tokens), turn by turn. The figure is
well-formed instructions a second: those that the filter's check of the form keeps.

- `original` is what the original's code does: `generate` on static batches of 64, which no mark and
  no end token ends before the limit of tokens; the texts are cut afterwards.
- `generate` is the best that one gets of it by its options: stop strings and the end token, so that
  a batch ends with its longest text.
- `ours` is the engine `loop`.
- `llama.cpp` runs in a Python of its own that has llama-cpp-python, on a GGUF file of the same
  weights (bench/generation_engines/: to_gguf.py makes the file, llama_cpp.py runs it).

Then it says where our time goes, and how far that is from the machine's measured rates.
"""

import argparse
import json
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import torch

from scripts.filter_instructions import read_generation
from scripts.lib.chat import user_turn_frame
from scripts.lib.generation import loop
from scripts.lib.generation.request import Request, Sample, SamplingSettings
from scripts.lib.models import load_tokenizer, load_tuned_model
from scripts.lib.records import Generation
from scripts.lib.tasks import Task, load_task

ORIGINAL_BATCH = 64
PEER = Path(__file__).parent / "generation_engines" / "llama_cpp.py"


def static_batches(
    model: torch.nn.Module, request: Request, count: int, ends: bool
) -> Iterator[Sample]:
    """Sample as the original does; with `ends` closing marks and the end token end a text."""
    prompt = torch.tensor([request.prompt_ids])
    settings = request.settings
    stops = {"stop_strings": request.closing, "tokenizer": request.tokenizer} if ends else {}
    model.set_attn_implementation("sdpa")
    for start in range(0, count, ORIGINAL_BATCH):
        inputs = prompt.repeat(min(ORIGINAL_BATCH, count - start), 1)
        torch.manual_seed(request.seed + start)
        with torch.inference_mode():
            output = model.generate(
                inputs,
                attention_mask=torch.ones_like(inputs),
                do_sample=True,
                temperature=settings.temperature,
                top_k=settings.top_k,
                top_p=settings.top_p,
                max_new_tokens=settings.max_new_tokens,
                repetition_penalty=1.0,
                pad_token_id=request.tokenizer.pad_token_id,
                eos_token_id=request.tokenizer.eos_token_id if ends else None,
                **stops,
            )
        for row, ids in enumerate(output[:, prompt.shape[1] :].tolist()):
            yield request.sample(start + row, request.seed, ids)


def ours(model: torch.nn.Module, request: Request, count: int) -> Iterator[Sample]:
    """Sample by the engine `loop`."""
    for samples in loop.grow(model, request, range(count)):
        yield from samples


def llama_cpp(python: str, gguf: Path, request: Request, count: int) -> dict[str, Any]:
    """Sample by llama.cpp: texts, whether each has ended, tokens, seconds without loading."""
    settings = request.settings
    special = request.tokenizer.all_special_tokens
    with tempfile.NamedTemporaryFile("w", suffix=".txt", encoding="utf-8") as prompt:
        prompt.write(request.prompt)
        prompt.flush()
        command = [
            python, str(PEER), "--model", str(gguf), "--prompt-file", prompt.name,
            "--count", str(count), "--batch", str(request.batch_size),
            "--temperature", str(settings.temperature), "--top-k", str(settings.top_k),
            "--top-p", str(settings.top_p), "--max-tokens", str(settings.max_new_tokens),
            "--threads", str(torch.get_num_threads()),
            "--stop", *(mark for mark in request.closing if mark not in special),
        ]  # fmt: skip
        done = subprocess.run(command, capture_output=True, text=True)
    if done.returncode:
        sys.exit(f"error: llama.cpp: {done.stderr.strip().splitlines()[-1]}")
    return json.loads(done.stdout.splitlines()[-1])


def well_formed(task: Task, texts: list[str], finished: list[bool]) -> int:
    """How many of the texts the filter's check of the form keeps."""
    opening = task.spec["instruction"]["opening"]
    rows = [
        Generation(str(at), task.name, opening + text, done, 0, "", 0)
        for at, (text, done) in enumerate(zip(texts, finished, strict=True))
    ]
    return sum(not read_generation(task, row, 0).reason for row in rows)


def best_rate(work: Callable[[], object], amount: float) -> float:
    """`amount` a second at the best of some tries."""
    work()
    best = float("inf")
    for _ in range(20):
        started = time.perf_counter()
        work()
        best = min(best, time.perf_counter() - started)
    return amount / best


def say_where_time_goes(model: torch.nn.Module, request: Request, count: int) -> None:
    """Profile a run of ours, and compare its products with the machine's own rates."""
    config, dtype, rows = model.config, model.dtype, request.batch_size
    weights = torch.randn(config.intermediate_size, config.hidden_size).to(dtype)
    inputs = torch.randn(rows, config.hidden_size).to(dtype)
    flop = 2 * rows * weights.numel()
    product = best_rate(lambda: torch.nn.functional.linear(inputs, weights), flop)
    stream = torch.ones(1 << 28, dtype=torch.uint8).view(torch.float32)
    read = best_rate(lambda: stream.sum(), stream.nbytes)
    linear = [module for module in model.modules() if isinstance(module, torch.nn.Linear)]
    a_token = 2 * sum(module.weight.numel() for module in linear)
    size = sum(module.weight.nbytes for module in linear)

    with torch.profiler.profile(activities=[torch.profiler.ProfilerActivity.CPU]) as profile:
        started = time.perf_counter()
        samples = list(ours(model, request, count))
        seconds = time.perf_counter() - started
    groups = {
        "products with weights": ("aten::mm", "aten::addmm"),
        "products of attention": ("aten::bmm", "aten::_softmax", "aten::_index_put_impl_"),
        "drawing": ("aten::topk", "aten::sort", "aten::cumsum", "aten::searchsorted"),
    }
    events = {event.key: event for event in profile.key_averages()}
    total = {key: event.self_cpu_time_total / 1e6 for key, event in events.items()}
    steps = events["aten::topk"].count
    print(f"\nwhere the time goes ({seconds:.1f} s under the profiler, {rows} texts at a time):")
    named = 0.0
    for name, keys in groups.items():
        part = sum(total.get(key, 0.0) for key in keys)
        named += part
        print(f"  {name}: {part / seconds:.0%}")
    print(f"  everything else (norms, rotations, copies, Python): {1 - named / seconds:.0%}")
    tokens = sum(sample.tokens for sample in samples)
    print(
        f"machine: {product / 1e9:.0f} GFLOP/s in a product of {rows} rows with the model's widest "
        f"layer, {read / 1e9:.1f} GB/s read\n"
        f"model: {a_token / 1e9:.3f} GFLOP a token, {size / 1e6:.0f} MB of weights a step; the "
        f"products alone allow {product / a_token:.0f} tokens/s, reading the weights once a step "
        f"{read / size * rows:.0f} ({tokens} tokens here, {steps} draws)"
    )


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--generator", type=Path, default=Path("results/mbpp/generator"))
    parser.add_argument("--texts", type=int, default=512)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--batch-size", type=int, default=128, help="of ours and of llama.cpp")
    parser.add_argument("--llama-cpp", help="a Python that has llama-cpp-python")
    parser.add_argument("--gguf", type=Path, nargs="*", default=[], help="for llama.cpp")
    arguments = parser.parse_args()
    if not arguments.generator.is_dir():
        sys.exit(f"error: {arguments.generator} is not there: snakemake {arguments.generator}")

    task = load_task(Path("tasks/mbpp.yaml"))
    tokenizer = load_tokenizer(str(arguments.generator))
    before, after = user_turn_frame(tokenizer, "model")
    request = Request(
        model=str(arguments.generator),
        tokenizer=tokenizer,
        prompt=before + task.prompt_prefix,
        closing=task.closing_marks(after),
        settings=SamplingSettings(**task.spec["sampling"]),
        seed=42,
        shard=1,
        batch_size=arguments.batch_size,
    )
    model = load_tuned_model(arguments.generator)
    print(
        f"{arguments.texts} texts, {len(request.prompt_ids)} tokens of prompt, {model.dtype}, "
        f"{torch.get_num_threads()} threads, {request.settings}"
    )
    # What is done once, such as the packing of weights, is not counted.
    list(ours(model, request, 8))

    rates: dict[str, list[float]] = {}

    def note(name: str, texts: list[str], finished: list[bool], seconds: float) -> None:
        kept = well_formed(task, texts, finished)
        # Of what is left of the texts, and not what was written behind it.
        tokens = sum(map(len, tokenizer(texts, add_special_tokens=False)["input_ids"]))
        rates.setdefault(name, []).append(kept / seconds)
        print(
            f"{name:<22} {kept:4d} of {len(texts)} well-formed in {seconds:6.1f} s: "
            f"{kept / seconds:6.2f}/s, {tokens / seconds:6.0f} kept tokens/s",
            flush=True,
        )

    for _ in range(arguments.rounds):
        for name, run in {
            "original": lambda: static_batches(model, request, arguments.texts, ends=False),
            "generate": lambda: static_batches(model, request, arguments.texts, ends=True),
            "ours": lambda: ours(model, request, arguments.texts),
        }.items():
            started = time.perf_counter()
            samples = list(run())
            seconds = time.perf_counter() - started
            assert len(samples) == arguments.texts
            texts = [sample.text for sample in samples]
            note(name, texts, [sample.finished for sample in samples], seconds)
        for gguf in arguments.gguf:
            found = llama_cpp(arguments.llama_cpp, gguf, request, arguments.texts)
            note(f"llama.cpp {gguf.stem}", found["texts"], found["finished"], found["seconds"])

    # A quarter of the texts: the profiler takes longer over its counts than the run.
    say_where_time_goes(model, request, max(request.batch_size, arguments.texts // 4))
    print("\nwell-formed instructions a second, median of the rounds:")
    for name, found in rates.items():
        print(f"  {name}: {statistics.median(found):.2f} ({', '.join(f'{r:.2f}' for r in found)})")
    for name in rates:
        if name != "ours":
            each = [mine / other for mine, other in zip(rates["ours"], rates[name], strict=True)]
            ratios = ", ".join(f"{ratio:.2f}" for ratio in each)
            print(f"ours to {name}, each round: {ratios}; median {statistics.median(each):.2f}")


if __name__ == "__main__":
    main()
