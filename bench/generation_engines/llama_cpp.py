"""Sample texts that follow one prompt by llama.cpp, to compare with.

    PYTHON bench/generation_engines/llama_cpp.py --model FILE.gguf --prompt-file F --count 512 \\
        --batch 64 --temperature 1.0 --top-k 100 --top-p 1.0 --max-tokens 128 --threads 2 \\
        --stop MARK ...

PYTHON is that of an environment of its own with `pip install llama-cpp-python==0.3.36`, built for
the machine (CMAKE_ARGS="-DGGML_NATIVE=ON"); to_gguf.py writes FILE. It gets the best that the
library's batch interface allows: the prompt is read once, a text that ends makes room for the next
one, and the library's own samplers draw, in threads. Its threads wait by spinning: run nothing else
beside it. Prints a line of JSON: texts, whether each has ended, sampled tokens, seconds.
"""

import argparse
import ctypes
import json
import sys
import time
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from pathlib import Path

# This file has the library's name, and its folder is where Python looks first.
del sys.path[0]
import llama_cpp  # noqa: E402

PIECE_BYTES = 256


@dataclass
class Text:
    """A text that grows in a slot: its bytes, its tokens, and whether it has ended."""

    content: bytes = b""
    tokens: list[int] = field(default_factory=list)
    ended: bool = False


class Engine:
    """A model with as many slots as texts are sampled at a time."""

    def __init__(self, options: argparse.Namespace) -> None:
        self.options = options
        self.marks = [mark.encode() for mark in options.stop]
        llama_cpp.llama_backend_init()
        model_params = llama_cpp.llama_model_default_params()
        model_params.n_gpu_layers = 0
        self.model = llama_cpp.llama_model_load_from_file(str(options.model).encode(), model_params)
        if not self.model:
            raise SystemExit(f"error: {options.model}: llama.cpp cannot load it")
        self.vocab = llama_cpp.llama_model_get_vocab(self.model)
        self.prompt = self.tokenize(options.prompt_file.read_bytes())
        self.context = self.new_context()
        self.memory = llama_cpp.llama_get_memory(self.context)
        self.batch = llama_cpp.llama_batch_init(max(options.batch, len(self.prompt)), 0, 1)
        self.samplers = [self.new_sampler(seed) for seed in range(options.batch)]
        self.pieces: dict[int, bytes] = {}

    def new_context(self):
        """A context with room for the longest text in each slot."""
        options = self.options
        params = llama_cpp.llama_context_default_params()
        longest = len(self.prompt) + options.max_tokens
        params.n_ctx = options.batch * longest
        params.n_batch = params.n_ubatch = max(options.batch, len(self.prompt))
        params.n_seq_max = options.batch
        params.n_threads = params.n_threads_batch = options.threads
        # With one buffer for all slots each text would attend, masked, to all others.
        params.kv_unified = options.unified
        context = llama_cpp.llama_init_from_model(self.model, params)
        if not context:
            raise SystemExit("error: llama.cpp made no context: fewer texts at a time?")
        return context

    def new_sampler(self, seed: int):
        """A chain of the library's samplers, in the order of transformers."""
        options = self.options
        chain = llama_cpp.llama_sampler_chain_init(llama_cpp.llama_sampler_chain_default_params())
        steps = [llama_cpp.llama_sampler_init_dist(seed)]
        if options.top_p < 1:
            steps.insert(0, llama_cpp.llama_sampler_init_top_p(options.top_p, 1))
        if options.temperature != 1:
            steps.insert(0, llama_cpp.llama_sampler_init_temp(options.temperature))
        if options.top_k:
            steps.insert(0, llama_cpp.llama_sampler_init_top_k(options.top_k))
        for step in steps:
            llama_cpp.llama_sampler_chain_add(chain, step)
        return chain

    def tokenize(self, text: bytes) -> list[int]:
        """The tokens of a text, special ones too."""
        tokens = (llama_cpp.llama_token * (len(text) + 1))()
        count = llama_cpp.llama_tokenize(
            self.vocab, text, len(text), tokens, len(tokens), False, True
        )
        return list(tokens[:count])

    def piece(self, token: int) -> bytes:
        """The bytes of a token."""
        if token not in self.pieces:
            buffer = ctypes.create_string_buffer(PIECE_BYTES)
            length = llama_cpp.llama_token_to_piece(
                self.vocab, token, buffer, PIECE_BYTES, 0, False
            )
            self.pieces[token] = buffer.raw[:length]
        return self.pieces[token]

    def decode(self, rows: list[tuple[int, int, int]], logits: bool) -> None:
        """Let the model read tokens: (slot, position, token)."""
        batch = self.batch
        batch.n_tokens = len(rows)
        for at, (slot, position, token) in enumerate(rows):
            batch.token[at], batch.pos[at] = token, position
            batch.n_seq_id[at], batch.seq_id[at][0] = 1, slot
            batch.logits[at] = logits
        if llama_cpp.llama_decode(self.context, batch):
            raise SystemExit("error: llama.cpp did not decode a batch")

    def read_prompt(self) -> None:
        """Read all of the prompt but its last token, and copy what was read to all slots."""
        body = self.prompt[:-1]
        self.decode([(0, at, token) for at, token in enumerate(body)], logits=False)
        for slot in range(1, self.options.batch):
            llama_cpp.llama_memory_seq_cp(self.memory, 0, slot, -1, -1)

    def extend(self, text: Text, token: int) -> bool:
        """Add a token to a text; whether it is complete."""
        text.tokens.append(token)
        if llama_cpp.llama_vocab_is_eog(self.vocab, token):
            text.ended = True
            return True
        piece = self.piece(token)
        text.content += piece
        tail = max(map(len, self.marks), default=0) + len(piece)
        found = [
            at
            for mark in self.marks
            if (at := text.content.find(mark, max(0, len(text.content) - tail))) >= 0
        ]
        if found:
            text.content, text.ended = text.content[: min(found)], True
        return text.ended or len(text.tokens) == self.options.max_tokens

    def sample(self) -> list[Text]:
        """Sample all texts."""
        options, last = self.options, len(self.prompt) - 1
        self.read_prompt()
        slots: dict[int, Text] = {slot: Text() for slot in range(min(options.batch, options.count))}
        done: list[Text] = []
        started = len(slots)

        def draw(at_and_slot: tuple[int, int]) -> int:
            at, slot = at_and_slot
            return llama_cpp.llama_sampler_sample(self.samplers[slot], self.context, at)

        with ThreadPoolExecutor(options.threads) as pool:
            while slots:
                rows = [
                    (slot, last + len(text.tokens), (self.prompt + text.tokens)[-1])
                    for slot, text in slots.items()
                ]
                self.decode(rows, logits=True)
                # The first call puts the rows of logits in order, before threads read them.
                llama_cpp.llama_get_logits_ith(self.context, 0)
                size = -(-len(rows) // options.threads)
                places = list(enumerate(slots))
                parts = [places[at : at + size] for at in range(0, len(places), size)]
                tokens = [
                    token
                    for part in pool.map(lambda part: list(map(draw, part)), parts)
                    for token in part
                ]
                for slot, token in zip(list(slots), tokens, strict=True):
                    if not self.extend(slots[slot], token):
                        continue
                    done.append(slots[slot])
                    llama_cpp.llama_memory_seq_rm(self.memory, slot, last, -1)
                    # In the order of slots, as gaps make the library split the batch.
                    if started < options.count:
                        slots[slot] = Text()
                        started += 1
                    else:
                        del slots[slot]
        return done


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--model", type=Path, required=True)
    parser.add_argument("--prompt-file", type=Path, required=True)
    parser.add_argument("--count", type=int, required=True)
    parser.add_argument("--batch", type=int, required=True)
    parser.add_argument("--temperature", type=float, required=True)
    parser.add_argument("--top-k", type=int, required=True)
    parser.add_argument("--top-p", type=float, required=True)
    parser.add_argument("--max-tokens", type=int, required=True)
    parser.add_argument("--threads", type=int, required=True)
    parser.add_argument("--unified", action="store_true", help="one cache for all slots")
    parser.add_argument("--stop", nargs="*", default=[])
    options = parser.parse_args()

    # Kept by name: the library calls it for as long as it runs.
    silence = llama_cpp.llama_log_callback(lambda level, text, data: None)
    llama_cpp.llama_log_set(silence, ctypes.c_void_p())
    engine = Engine(options)
    started = time.perf_counter()
    texts = engine.sample()
    seconds = time.perf_counter() - started
    print(
        json.dumps(
            {
                "texts": [text.content.decode(errors="replace") for text in texts],
                "finished": [text.ended for text in texts],
                "tokens": sum(len(text.tokens) for text in texts),
                "seconds": seconds,
            }
        )
    )


if __name__ == "__main__":
    main()
