"""Training rows in the forms that trainers read. Pure functions: nothing here touches a file.

Every form has the same rows in the same order, so that a row of one is found in the others.
"""

import json
from collections.abc import Callable
from dataclasses import asdict
from typing import TYPE_CHECKING, Any, get_type_hints

from scripts.lib.records import Verified

if TYPE_CHECKING:
    import pyarrow

PARQUET_FILE = "data/train.parquet"

# The roles of a chat, and what ShareGPT calls them.
SPEAKERS = {"system": "system", "user": "human", "assistant": "gpt"}

# Numbers that JSON may write without a fraction, and that are fractions all the same.
_FRACTIONS = {"temperature", "top_p"}


def messages_row(row: Verified) -> dict[str, Any]:
    """A row as a chat, with `role` and `content` (TRL, axolotl, OpenAI).

    There is no other column: trainers tell the form of a data set by its columns.
    """
    return {"messages": row.messages}


def alpaca_row(row: Verified) -> dict[str, Any]:
    """A row as `instruction` and `output`; the `input` of the form is empty."""
    return {"instruction": row.instruction, "input": "", "output": row.output}


def sharegpt_row(row: Verified) -> dict[str, Any]:
    """A row as `conversations` with `from` and `value`."""
    return {
        "conversations": [
            {"from": SPEAKERS[message["role"]], "value": message["content"]}
            for message in row.messages
        ]
    }


JSON_LINES: dict[str, Callable[[Verified], dict[str, Any]]] = {
    "messages.jsonl": messages_row,
    "alpaca.jsonl": alpaca_row,
    "sharegpt.jsonl": sharegpt_row,
}


def llama_factory_info(task: str) -> dict[str, Any]:
    """The content of LLaMA-Factory's `dataset_info.json`: an entry for each JSON Lines file.

    The form is that of https://github.com/hiyouga/LLaMA-Factory/blob/main/data/README.md.
    """
    return {
        f"{task}_messages": {
            "file_name": "messages.jsonl",
            "formatting": "sharegpt",
            "columns": {"messages": "messages"},
            "tags": {
                "role_tag": "role",
                "content_tag": "content",
                "user_tag": "user",
                "assistant_tag": "assistant",
                "system_tag": "system",
            },
        },
        f"{task}_alpaca": {
            "file_name": "alpaca.jsonl",
            "formatting": "alpaca",
            "columns": {"prompt": "instruction", "query": "input", "response": "output"},
        },
        f"{task}_sharegpt": {
            "file_name": "sharegpt.jsonl",
            "formatting": "sharegpt",
            "columns": {"messages": "conversations"},
            "tags": {
                "role_tag": "from",
                "content_tag": "value",
                "user_tag": "human",
                "assistant_tag": "gpt",
                "system_tag": "system",
            },
        },
    }


def defect(row: Verified) -> str:
    """The reason why a row cannot be exported, or an empty string."""
    if not row.messages or not all(
        set(message) == {"role", "content"}
        and message["role"] in SPEAKERS
        and isinstance(message["content"], str)
        for message in row.messages
    ):
        return f"'messages' is not a chat of the roles {', '.join(SPEAKERS)}"
    try:
        json.dumps(asdict(row), ensure_ascii=False).encode()
    except UnicodeEncodeError:
        return "holds half a surrogate pair, which is no character"
    return ""


def arrow_table(rows: list[Verified]) -> "pyarrow.Table":
    """All columns of the rows, with types that do not depend on what a run happens to hold.

    Without them a column of empty lists, or a temperature of 1, would have another type than in
    the next run. Raises `pyarrow.ArrowException` where settings differ in type from row to row.
    """
    import pyarrow

    text = pyarrow.string()
    types = {
        str: text,
        int: pyarrow.int64(),
        list[str]: pyarrow.list_(text),
        list[dict[str, str]]: pyarrow.list_(pyarrow.struct({"role": text, "content": text})),
    }
    columns = {
        name: types.get(hint) or _settings_type([getattr(row, name) for row in rows])
        for name, hint in get_type_hints(Verified).items()
    }
    return pyarrow.Table.from_pylist([asdict(row) for row in rows], pyarrow.schema(columns))


def _settings_type(settings: list[dict[str, Any]]) -> "pyarrow.DataType":
    import pyarrow

    return pyarrow.struct(
        [
            pyarrow.field(field.name, pyarrow.float64()) if field.name in _FRACTIONS else field
            for field in pyarrow.infer_type(settings)
        ]
    )
