"""bespokelabs-curator over made-up rows, to compare with; nothing of it is patched.

    PYTHON bench/label_clients/curator.py BASE_URL ROWS

PYTHON is that of an environment of its own: `pip install bespokelabs-curator==0.1.31`, with a
litellm other than 1.82.7 and 1.82.8, which stole keys. Its files lie in a temporary folder, its
telemetry is off, and it needs no network: the tokenizer that it would load comes with litellm.
"""

import importlib.util
import json
import os
import shutil
import sys
import tempfile
import time
from pathlib import Path

WORDS = "word " * 160
# It reserves 4,096 tokens a request.
UNLIMITED = 10_000_000_000
# The name under which tiktoken keeps cl100k_base: the SHA-1 of its address.
TOKENIZER = "9b5ad71b2ce5302211f9c61530b329a4922fc6a4"


def prepare(folder: Path) -> None:
    """Point everything that curator writes or loads to a folder, before it is imported."""
    os.environ |= {
        "HOME": str(folder),
        "HF_HOME": str(folder / "hf"),
        "HF_HUB_OFFLINE": "1",
        "CURATOR_CACHE_DIR": str(folder / "curator"),
        # Its default, and faster than its plain display.
        "CURATOR_DISABLE_RICH_DISPLAY": "0",
        "TELEMETRY_ENABLED": "0",
        "LITELLM_LOCAL_MODEL_COST_MAP": "True",
        "TIKTOKEN_CACHE_DIR": str(folder / "tiktoken"),
        "OPENAI_API_KEY": "sk-bench",
    }
    (folder / "tiktoken").mkdir()
    found = importlib.util.find_spec("litellm")
    assert found and found.origin
    tokenizers = Path(found.origin).parent / "litellm_core_utils" / "tokenizers"
    # A copy: tiktoken removes a file that it does not accept.
    shutil.copy(tokenizers / TOKENIZER, folder / "tiktoken")


def main() -> None:
    url, rows = sys.argv[1], int(sys.argv[2])
    with tempfile.TemporaryDirectory() as folder:
        prepare(Path(folder))
        from bespokelabs import curator
        from datasets import Dataset

        class Labeller(curator.LLM):
            def prompt(self, input: dict) -> str:
                return input["prompt"]

        prompts = Dataset.from_list([{"prompt": f"{at:06d} {WORDS}"} for at in range(rows)])
        labeller = Labeller(
            model_name="gpt-4o-mini",
            backend="openai",
            generation_params={"max_tokens": 50, "temperature": 0.7},
            backend_params={
                "base_url": url,
                "max_requests_per_minute": UNLIMITED,
                "max_tokens_per_minute": UNLIMITED,
            },
        )
        began, cpu = time.perf_counter(), time.process_time()
        replies = labeller(prompts)
        seconds, cpu_seconds = time.perf_counter() - began, time.process_time() - cpu
        assert len(replies.dataset) == rows
    print(json.dumps({"seconds": seconds, "cpu_seconds": cpu_seconds}))


if __name__ == "__main__":
    main()
