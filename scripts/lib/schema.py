"""Validating what users write by hand: config.yaml and tasks/*.yaml."""

import copy
from functools import cache
from pathlib import Path
from typing import Any

import jsonschema
import yaml

from scripts.lib.errors import UserError


def _with_defaults(schema: dict[str, Any]) -> type:
    """A JSON-schema validator that fills in the defaults as it goes."""
    base = jsonschema.validators.validator_for(schema)
    check_properties = base.VALIDATORS["properties"]

    def properties(validator: Any, subschemas: dict, instance: Any, whole: dict) -> Any:
        if isinstance(instance, dict):
            for name, subschema in subschemas.items():
                if "default" in subschema:
                    instance.setdefault(name, copy.deepcopy(subschema["default"]))
        yield from check_properties(validator, subschemas, instance, whole)

    return jsonschema.validators.extend(base, {"properties": properties})


@cache
def _validator(schema_path: Path) -> Any:
    """The validator of a schema, which is read once for all that is validated by it."""
    schema = yaml.safe_load(schema_path.read_text(encoding="utf-8"))
    validator = _with_defaults(schema)
    # Without a checker of formats, `format: regex` would be a mere comment.
    return validator(schema, format_checker=validator.FORMAT_CHECKER)


def check_against_schema(value: Any, schema_path: Path, file: str | Path) -> None:
    """Validate a mapping in place, defaults filled in.

    Raises `UserError` with one line that names the file, the key and what is wrong with it.
    """
    error = jsonschema.exceptions.best_match(_validator(schema_path).iter_errors(value))
    if error is None:
        return
    key = ".".join(str(part) for part in error.absolute_path)
    where = f"key '{key}': " if key else ""
    raise UserError(
        f"{file}: {where}{error.message} (see {schema_path.parent.name}/{schema_path.name})"
    )
