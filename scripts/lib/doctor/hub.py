"""The models and data sets that a config names: where they are, and whether the rest can be had."""

import os
from collections.abc import Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from pathlib import Path
from typing import Any

from scripts.lib.doctor import MISSING, OK, WARN, Finding
from scripts.lib.doctor.setup import Setup
from scripts.lib.doctor.web import NoAnswer, ask, without_secrets
from scripts.lib.errors import UserError

OFFLINE = ("HF_HUB_OFFLINE", "TRANSFORMERS_OFFLINE")
WEIGHTS = (".safetensors", ".bin")
LOGIN = "accept its licence on the hub, and set HF_TOKEN (or hf auth login)"


def hub(setup: Setup) -> Iterator[Finding]:
    """The models of all steps, looked for at once, then the data sets."""
    models = models_of(setup)
    look = partial(model, embedded=setup.config["models"], nodes_online=setup.nodes_online)
    with ThreadPoolExecutor(max_workers=len(models)) as pool:
        looks = list(pool.map(look, models))
    for (name, (purpose, main)), found in zip(models.items(), looks, strict=True):
        worst = found.state if main or found.state != MISSING else WARN
        yield Finding(worst, "model", f"{name} ({purpose}): {found.detail}", found.remedy)
    yield datasets(setup)


def models_of(setup: Setup) -> dict[str, tuple[str, bool]]:
    """Each model with what it is for, and whether verified rows need it."""
    keys = [("generator/model", "generator", True), ("filter/encoder", "encoder", True)]
    if setup.labels_locally:
        keys.append(("label/model", "labels", True))
    keys.append(("student/model", "student", False))
    found: dict[str, tuple[str, bool]] = {}
    for key, purpose, main in keys:
        for name in setup.values(key):
            others, needed = found.get(name, ("", False))
            found[name] = (f"{others}, {purpose}".strip(", "), needed or main)
    return found


def model(name: str, embedded: dict[str, Any], nodes_online: bool) -> Finding:
    """Where a model is, or how it will be had."""
    from scripts.lib.embedding import PACKAGED_ENCODERS, encoder_path
    from scripts.lib.models import check_model_name

    try:
        if name in embedded:
            made = Path("results/models", name).is_dir()
            source = f"to be made of the package {embedded[name]['package']}"
            return Finding(OK, "model", "made" if made else source)
        if name in PACKAGED_ENCODERS:
            encoder_path(name)
            return Finding(OK, "model", "in an installed package")
        check_model_name(name)
    except UserError as error:
        return Finding(MISSING, "model", str(error))
    if Path(name).is_dir():
        return Finding(OK, "model", "a local directory")
    if in_cache("models", name):
        return Finding(OK, "model", f"in {cache()}")
    download = f"hf download {name}, where there is a network"
    if is_offline():
        return Finding(MISSING, "model", f"not in {cache()}, and {is_offline()} is set", download)
    found = on_hub(name)
    if found.state == OK and not nodes_online:
        # Jobs of Slurm load it, and their machines have no way to the hub.
        return Finding(
            MISSING,
            "model",
            f"not in {cache()}, and compute nodes are offline",
            f"hf download {name}",
        )
    return found


def on_hub(name: str) -> Finding:
    """Whether the hub would give a model away, asked for the headers of one small file."""
    # A line break at its end is left out by the hub's client, too.
    token = (os.environ.get("HF_TOKEN") or _token_file()).strip()
    if not (token.isascii() and token.isprintable() and " " not in token):
        detail = "the hub's token holds a character that no token has"
        return Finding(MISSING, "model", detail, "mend HF_TOKEN, or hf auth login")
    headers = {"Authorization": f"Bearer {token}"} if token else {}
    url = f"{hub_url()}/{name}/resolve/main/config.json"
    try:
        answer = ask(url, headers, "HEAD")
    except NoAnswer as error:
        remedy = f"hf download {name} where there is a network, or name a local directory"
        return Finding(
            MISSING, "model", f"not in {cache()}; {without_secrets(hub_url())}: {error}", remedy
        )
    code = answer.headers.get("x-error-code", "")
    if answer.status < 400:
        return Finding(OK, "model", "to be downloaded from the hub at first use")
    if code == "GatedRepo" or answer.status == 403:
        return Finding(MISSING, "model", "the hub asks for a licence", LOGIN)
    if answer.status in (401, 404):
        return Finding(MISSING, "model", "the hub knows no such model, or hides it", LOGIN)
    return Finding(WARN, "model", f"the hub answers with HTTP {answer.status}", "try again later")


def datasets(setup: Setup) -> Finding:
    """The benchmarks and the seeds: local copies, packages, and what must come from the hub."""
    from scripts.lib.dataset_rows import dataset_name, packaged_file

    required = setup.config["decontamination"]["required"]
    total, lacking = 0, []
    for source, needed in sources_of(setup):
        name, total = dataset_name(source["dataset"]), total + 1
        if name in setup.config["datasets"]:
            path = Path(setup.config["datasets"][name])
            if not path.is_file():
                return Finding(MISSING, "datasets", f"{name}: there is no file {path}", "mend it")
        elif packaged_file(source) is None and not in_cache("datasets", source["dataset"]["hub"]):
            lacking.append((name, needed or required))
    if not total:
        return Finding(OK, "datasets", "none is asked for")
    if not lacking:
        return Finding(OK, "datasets", f"all {total} have a local copy, a package or are cached")
    names = ", ".join(dict.fromkeys(name for name, _ in lacking))
    detail = f"{len(lacking)} of {total} must come from the hub: {names}"
    try:
        if not is_offline():
            ask(hub_url(), {}, "HEAD")
            return Finding(OK, "datasets", f"{detail}, which answers")
    except NoAnswer as error:
        detail += f", and {without_secrets(hub_url())}: {error}"
    else:
        detail += f", and {is_offline()} is set"
    state = MISSING if any(needed for _, needed in lacking) else WARN
    return Finding(state, "datasets", detail, "name local copies under 'datasets' of the config")


def sources_of(setup: Setup) -> Iterable[tuple[dict[str, Any], bool]]:
    """What asks for a data set on the way to verified rows; whether it cannot do without."""
    for name, spec in setup.specs.items():
        seeds = spec["seeds"]
        if isinstance(seeds, dict):
            chosen = seeds.get(setup.tasks[name]["seeds"], seeds)
            if isinstance(chosen, dict) and "dataset" in chosen:
                yield chosen, True
    benchmarks = {
        spec["benchmark"]["name"]: spec["benchmark"]
        for spec in setup.specs.values()
        if "benchmark" in spec
    }
    for benchmark in benchmarks.values():
        yield benchmark, False


def hub_url() -> str:
    """Where the hub is."""
    return os.environ.get("HF_ENDPOINT", "https://huggingface.co").rstrip("/")


def cache() -> Path:
    """The folder in which the hub's client keeps what it has downloaded."""
    home = (
        os.environ.get("HF_HOME") or f"{os.environ.get('XDG_CACHE_HOME', '~/.cache')}/huggingface"
    )
    return Path(os.environ.get("HF_HUB_CACHE") or f"{home}/hub").expanduser()


def in_cache(kind: str, name: str) -> bool:
    """Whether the cache holds a data set, or the weights of a model: its small files come first."""
    files = cache().glob(f"{kind}--{name.replace('/', '--')}/snapshots/*/*")
    return any(kind != "models" or path.suffix in WEIGHTS for path in files)


def is_offline() -> str:
    """The variable that keeps the hub's client from the network; empty where none does."""
    for name in OFFLINE:
        if os.environ.get(name, "").upper() in ("1", "ON", "YES", "TRUE"):
            return name
    return ""


def _token_file() -> str:
    path = Path(os.environ.get("HF_TOKEN_PATH") or cache().parent / "token")
    return path.read_text(encoding="utf-8") if path.is_file() else ""
