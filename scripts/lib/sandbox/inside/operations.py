"""What one side of the process line may ask of an object of the other side.

The sample's process answers everything. The judge's answers what does not show the tests: see
`check_admitted`.
"""

import builtins
import copy
import functools
import operator
import random
import sys
from collections.abc import Callable
from types import (
    BuiltinFunctionType,
    CodeType,
    FrameType,
    FunctionType,
    MethodType,
    ModuleType,
    TracebackType,
)
from typing import Any

from . import codec

# A sample may replace the built-in functions of its process; the functions here keep their own.
__builtins__ = dict(vars(builtins))

ARITHMETIC = (
    "add", "sub", "mul", "matmul", "truediv", "floordiv", "mod", "pow", "lshift", "rshift", "and_",
    "or_", "xor",
)  # fmt: skip
IN_PLACE = tuple(f"i{name.rstrip('_')}" for name in ARITHMETIC)
ORDER = ("lt", "le", "gt", "ge")
UNARY = {
    "len": len, "str": str, "repr": repr, "hash": hash, "bool": bool, "int": int, "float": float,
    "complex": complex, "abs": abs, "neg": operator.neg, "pos": operator.pos, "round": round,
    "invert": operator.invert, "index": operator.index, "bytes": bytes, "format": format,
    "dir": dir, "iter": iter, "next": next, "reversed": reversed,
}  # fmt: skip
# What the sample may ask about an object whose class the tests define.
ORDINARY = frozenset({
    *UNARY, *ARITHMETIC, *IN_PLACE, *ORDER, "eq", "contains", "get", "set", "del", "item",
    "set_item", "del_item", "enter", "exit", "call", "iterable", "instance",
})  # fmt: skip
# Objects of the tests whose attributes a sample may not see, and attributes of all others.
CLOSED = (
    FunctionType, MethodType, BuiltinFunctionType, type, ModuleType, FrameType, TracebackType,
    CodeType, functools.partial,
)  # fmt: skip
HIDDEN = ("_", "gi_", "cr_", "ag_", "tb_", "f_", "co_")
# Modules of the code that the tests get, if they use them, from their own library.
MODULES = frozenset({
    "abc", "array", "ast", "asyncio", "base64", "bisect", "calendar", "cmath", "collections",
    "collections.abc", "contextlib", "copy", "csv", "dataclasses", "datetime", "decimal", "difflib",
    "enum", "fractions", "functools", "hashlib", "heapq", "inspect", "io", "itertools", "json",
    "logging", "math", "numbers", "numpy", "operator", "os", "pathlib", "pickle", "posixpath",
    "queue", "random", "re", "statistics", "string", "struct", "sys", "tempfile", "textwrap",
    "threading", "time", "types", "typing", "unittest", "unittest.mock", "uuid", "warnings",
})  # fmt: skip
# What is no use that an assertion could be about.
UNUSED = frozenset({"global", "get", "bool", "base", "iterable", "seed", "recursion limit"})
# What a question that changes nothing asks for.
LOOKS = frozenset({"base", "global", "iterable", "instance", "subclass", "str", "repr", "hash"})
DESCRIPTIONS = ("__name__", "__qualname__", "__doc__", "__module__")
BUILTIN_TYPES = {
    kind.__name__: kind
    for kind in (*vars(builtins).values(), type(None), type(...), type(NotImplemented))
    if isinstance(kind, type)
}


def _await(awaitable: Any) -> Any:
    import asyncio

    async def wait() -> Any:
        return await awaitable

    return asyncio.run(wait())


OPERATIONS: dict[str, Callable[..., Any]] = {
    "call": lambda function, positional, keywords: function(*positional, **dict(keywords)),
    "get": getattr,
    "set": setattr,
    "del": delattr,
    "item": operator.getitem,
    "set_item": operator.setitem,
    "del_item": operator.delitem,
    "contains": operator.contains,
    "iterable": lambda value: hasattr(type(value), "__iter__"),
    "eq": operator.eq,
    "instance": lambda kind, value: isinstance(value, kind),
    "subclass": lambda kind, other: issubclass(other, kind),
    "enter": lambda value: value.__enter__(),
    "exit": lambda value, *error: value.__exit__(*error),
    "copy": copy.copy,
    "deepcopy": copy.deepcopy,
    "seed": random.seed,
    "recursion limit": sys.setrecursionlimit,
    "await": _await,
    "anext": lambda value: _await(value.__anext__()),
    "base": lambda value: codec.as_base(value, codec.base_of(value) or type(value)),
    **UNARY,
    **{name: getattr(operator, name) for name in (*ARITHMETIC, *IN_PLACE, *ORDER)},
}


# What the sample may ask of the tests' objects


def check_admitted(operation: str, arguments: list[Any]) -> None:
    """Refuse what would show the tests, or lead to what shows them. Raises PermissionError.

    Functions and classes may be called, and described; other objects be asked for attributes that
    do not begin with an underscore. A function's `__globals__`, a generator's `gi_frame` or a
    traceback's `tb_frame` would tell it all.
    """
    if not arguments or operation not in ORDINARY:
        raise PermissionError("not for samples")
    target = arguments[0]
    if isinstance(target, type) and not (target.__module__ == "tests" and type(target) is type):
        raise PermissionError("a class that is not the tests' own")
    if isinstance(target, str) or getattr(target, "__name__", "").startswith("format"):
        raise PermissionError("a format looks into objects")
    if operation in ("get", "set", "del"):
        name = arguments[1]
        hidden = type(name) is not str or name.startswith(HIDDEN) or isinstance(target, CLOSED)
        if hidden and (operation != "get" or name not in DESCRIPTIONS):
            raise AttributeError(f"{name!r} is not for samples")
