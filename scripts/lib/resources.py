"""What a job asks a cluster for: memory, time and GPUs, by the size of its model and the attempt.

Plans are made with these functions, so that nothing heavy is imported. Memory is that of one
machine, in MB as Snakemake counts them (10^6 bytes); time is in minutes. What a job is given is an
upper bound: it ends where the work ends, and a step that was killed goes on from what it has kept.
"""

import json
import math
import re
import struct
from pathlib import Path

# A model that tells its size nowhere is taken for one of 7 billion weights, the usual size of those
# that this workflow trains.
ASSUMED_PARAMETERS = 7e9

# Bytes that a header of safetensors may have, by its own definition.
LONGEST_HEADER = 100_000_000

# One process with PyTorch, transformers and, on a GPU, what CUDA keeps in the machine's memory.
PROCESS_MB = 4000
# Snakemake itself, which runs two or three times in each job (140 MB each where it was measured).
SNAKEMAKE_MB = 500
# What reading a checkpoint takes beyond its weights: buffers, and the tensor that is being cast.
LOADING = 1.25

# Bytes of a weight in the machine's memory while a model is loaded for training: float32 where all
# weights are trained, else the half precision in which models are published (before `qlora`
# quantizes them, too).
LOADED_BYTES = {"full": 4.0, "lora": 2.0, "qlora": 2.0}
# A trained weight, its gradient and the two moments of Adam, in float32.
TRAINED_BYTES = 16.0
# Bytes that a weight takes of the GPUs while it is trained: all of the above, a frozen one in
# bfloat16, or in NF4. Adapters are a hundredth of it.
GPU_BYTES = {"full": TRAINED_BYTES, "lora": 2.2, "qlora": 0.7}
# Share of a GPU for weights; the rest is for activations, logits and what CUDA needs.
GPU_FOR_WEIGHTS = 0.7
# Where a CPU trains: activations of a few thousand tokens.
ACTIVATIONS_MB = 4000

# Starting the libraries, reading data, writing results.
START_MINUTES = 30
# Bytes a second of a busy shared file system, on which a model is read and written.
DISK = 1e8
# Operations a second of one GPU over a whole training (a third of an A100's products in bfloat16),
# and of a CPU of eight cores.
GPU_TRAINS = 1e14
CPU_TRAINS = 5e10
# Operations of a trained weight a token: two forward, four backward, two to compute activations
# again.
TRAINING_OPERATIONS = 8.0
# Sampling: operations a second, bytes of weights a second (a quarter of an A100's memory), and
# what a step of one token for each text takes besides.
GPU_SAMPLES = 3e13
GPU_READS = 5e11
STEP_SECONDS = 0.05
# How much longer than worked out a step may take before it is killed.
MARGIN = 2.0

# The sentence encoder and what it holds.
ENCODER_MB = 6000
# An instruction in the filter: its embedding in float32 twice, its text, its n-grams. 5,500 bytes
# measured with 384 numbers (docs/scale.md), thus 8,600 with the 768 of the paper's encoder, of
# which this is 1.4 times.
INSTRUCTION_BYTES = 12_000
# A sentence encoder's texts a second on eight cores, the paper's (all-mpnet-base-v2).
ENCODES = 50.0
# A reply in memory: with its verdict and records where it is judged, with its line of the journal's
# index where it is asked for. Half as much again as the 3,700 and 4,000 bytes of docs/scale.md.
JUDGED_BYTES = 5_600
LABELLED_BYTES = 6_000
# The step that asks for replies, beside those: 90 MB measured, and batches' files of 200 MB.
CLIENT_MB = 1000
# The step itself beside the programs that it runs.
JUDGE_MB = 3000


def parameters_by_name(name: str) -> float | None:
    """The number of weights that a model's name tells: `13b`, `135M`; `8x7B` are 56 billion.

    `None` where it tells none. Of several numbers the largest counts.
    """
    last = name.rstrip("/").rpartition("/")[2].lower()
    found = re.findall(r"(?<![a-z0-9.])(?:(\d+)x)?(\d+(?:\.\d+)?)([bm])(?![a-z0-9])", last)
    units = {"b": 1e9, "m": 1e6}
    return max(
        (int(times or 1) * float(number) * units[unit] for times, number, unit in found),
        default=None,
    )


def parameters_in_files(folder: Path) -> float | None:
    """The number of weights in a folder's safetensors files, by their headers alone.

    `None` where there are none, or one cannot be read.
    """
    total = 0
    try:
        for path in sorted(folder.glob("*.safetensors")):
            with open(path, "rb") as stream:
                (length,) = struct.unpack("<Q", stream.read(8))
                header = json.loads(stream.read(min(length, LONGEST_HEADER)))
            total += sum(
                math.prod(tensor["shape"])
                for name, tensor in header.items()
                if name != "__metadata__"
            )
    except (OSError, ValueError, KeyError, struct.error):
        return None
    return float(total) or None


def parameters_of(model: str, path: str | None = None) -> float:
    """The number of weights of a model: by its files where there are any, else by its name.

    `path` is where it is found, if not under its name. A model without files whose name tells
    nothing has `ASSUMED_PARAMETERS`.
    """
    folder = Path(path or model)
    found = parameters_in_files(folder) if folder.is_dir() else None
    return found or parameters_by_name(model) or ASSUMED_PARAMETERS


def grown(amount: float, attempt: int, most: float = math.inf) -> int:
    """An amount that grows with the attempt, and never beyond `most`."""
    return math.ceil(min(most, amount * attempt))


def _megabytes(amount: float, attempt: int, most: float) -> int:
    """Megabytes of an attempt, in whole GB, and never beyond `most`."""
    return math.ceil(min(most, 1000 * math.ceil(grown(amount, attempt) / 1000)))


def _minutes(seconds: float, attempt: int, most: int, start: float = START_MINUTES) -> int:
    """Minutes of an attempt for work of some seconds."""
    return grown(start + MARGIN * seconds / 60, attempt, most)


def training_gpus(parameters: float, method: str, gpu_memory_gb: float) -> int:
    """How many GPUs a training needs over which its weights are spread: a power of two.

    Twice as many always take twice as large a model, and batches can be shared evenly.
    """
    needed = GPU_BYTES[method] * parameters / (GPU_FOR_WEIGHTS * gpu_memory_gb * 1e9)
    return 2 ** max(0, math.ceil(math.log2(needed))) if needed > 0 else 1


def training_mb(
    parameters: float,
    method: str,
    processes: int,
    spread: bool,
    on_cpu: bool,
    attempt: int,
    most: float = math.inf,
) -> int:
    """Memory of a machine on which `processes` train, each with a GPU or on the CPU.

    Where the weights are spread, the first process alone reads them; else each reads its own.
    """
    if on_cpu:
        frozen = 0.0 if method == "full" else 4.0
        trained = TRAINED_BYTES if method == "full" else 0.0
        weights, activations = (frozen + trained) * parameters / 1e6, ACTIVATIONS_MB
    else:
        weights, activations = LOADED_BYTES[method] * parameters / 1e6, 0
    copies = 1 if spread else processes
    return _megabytes(
        SNAKEMAKE_MB + processes * (PROCESS_MB + activations) + copies * LOADING * weights,
        attempt,
        most,
    )


def training_minutes(parameters: float, tokens: float, gpus: int, attempt: int, most: int) -> int:
    """Time of a training on `tokens`, those of all epochs; it goes on from its checkpoints."""
    rate = gpus * GPU_TRAINS if gpus else CPU_TRAINS
    seconds = TRAINING_OPERATIONS * parameters * tokens / rate
    # Read once, written once, in float32.
    return _minutes(seconds + 2 * 4 * parameters / DISK, attempt, most)


def sampling_mb(parameters: float, processes: int, attempt: int, most: float = math.inf) -> int:
    """Memory of a machine on which each of some processes loads a model in half precision."""
    return _megabytes(
        SNAKEMAKE_MB + processes * (PROCESS_MB + LOADING * 2 * parameters / 1e6), attempt, most
    )


def sampling_minutes(
    parameters: float,
    texts: float,
    tokens: float,
    batch_size: int,
    processes: int,
    attempt: int,
    most: int,
) -> int:
    """Time to sample texts of at most `tokens` each, `batch_size` of them at a time in a process.

    Every step reads all weights; every token takes two operations of each.
    """
    steps = math.ceil(texts / (batch_size * processes)) * tokens
    reading = steps * (STEP_SECONDS + 2 * parameters / GPU_READS)
    computing = texts * tokens * 2 * parameters / (processes * GPU_SAMPLES)
    return _minutes(reading + computing + 2 * parameters / DISK, attempt, most)


def filtering_mb(instructions: int, attempt: int, most: float = math.inf) -> int:
    """Memory to compare instructions with each other and with benchmarks."""
    held = instructions * INSTRUCTION_BYTES / 1e6
    return _megabytes(SNAKEMAKE_MB + ENCODER_MB + held, attempt, most)


def filtering_minutes(instructions: int, attempt: int, most: int) -> int:
    """Time to embed and to compare instructions."""
    return _minutes(instructions / ENCODES, attempt, most)


def labelling_mb(replies: int, server: float | None, attempt: int, most: float = math.inf) -> int:
    """Memory to ask for replies: of a remote endpoint, or of a server with `server` parameters that
    runs beside."""
    served = 0.0 if server is None else PROCESS_MB + LOADING * 2 * server / 1e6
    asking = CLIENT_MB + replies * LABELLED_BYTES / 1e6
    return _megabytes(SNAKEMAKE_MB + served + asking, attempt, most)


def judging_mb(
    replies: int, workers: int, memory_mb: int, attempt: int, most: float = math.inf
) -> int:
    """Memory to judge replies, of which `workers` run code at a time, each in up to `memory_mb`."""
    programs = workers * (memory_mb + 100)
    held = replies * JUDGED_BYTES / 1e6
    return _megabytes(SNAKEMAKE_MB + JUDGE_MB + programs + held, attempt, most)


def judging_minutes(runs: int, workers: int, timeout: float, attempt: int, most: int) -> int:
    """Time to run programs, were half of them to take all of their time."""
    return _minutes(0.5 * runs * timeout / workers, attempt, most)
