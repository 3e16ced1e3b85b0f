"""Plain data as JSON, so that what a hostile process sends can only ever become plain data.

Unlike pickle, nothing in it names a function, shares a part with another one or refers back: its
size bounds the memory and the time that decoding takes. Lists are JSON arrays, every other type is
an object with one key, its tag. Values that are no data go through the caller's `export`, which
gives a structure with a tag of its own, and come back through the caller's `resolve`.
"""

import binascii
import builtins
import collections
import json
from collections.abc import Callable
from json.encoder import c_make_encoder
from json.scanner import c_make_scanner
from sys import getrecursionlimit, setrecursionlimit
from typing import Any

Structure = Any
Export = Callable[[Any], Structure]
Resolve = Callable[[str, Structure], Any]

# A sample may replace the built-in functions of its process; the functions here keep their own.
__builtins__ = dict(vars(builtins))

SMALL = 1 << 63
# Frames of Python for nested data: some hundred levels of it.
ROOM = 5000
ATOMS = frozenset({int, float, str, bool, type(None)})
# Containers that can be changed.
SHARED = (
    list, dict, set, bytearray, collections.deque, collections.OrderedDict, collections.Counter,
    collections.defaultdict,
)  # fmt: skip
# What numpy calls plain numbers and truth values.
ARRAY_KINDS = "biufc"

_encode_json = c_make_encoder(
    None, None, json.encoder.encode_basestring, None, ":", ",", False, False, True
)
_scan_json = c_make_scanner(json.JSONDecoder())


def dumps(structure: Structure) -> bytes:
    """JSON of a structure; the module's own C functions, without its layers of Python."""
    return "".join(_encode_json(structure, 0)).encode("utf-8", "surrogatepass")


def loads(frame: bytes) -> Structure:
    """The structure of `dumps`. Raises ValueError."""
    text = frame.decode("utf-8", "surrogatepass")
    try:
        structure, end = _scan_json(text, 0)
    except StopIteration:
        raise ValueError("no JSON") from None
    if end != len(text):
        raise ValueError("more than JSON")
    return structure


class NotData(Exception):
    """A value that is no plain data, or bytes that are none of our making."""


def refuse(value: Any) -> Structure:
    """The `export` of who has nothing but data to send."""
    raise NotData(f"an object of type {type(value).__name__} is no plain data")


def refuse_tag(tag: str, payload: Structure) -> Any:
    """The `resolve` of who takes nothing but data."""
    raise NotData(f"unknown tag {tag!r}")


def encode(value: Any, export: Export = refuse) -> Structure:
    """The structure, which `dumps` takes, of a value.

    Objects of a subclass of a type of data go through `export`, too. Raises NotData,
    RecursionError where the value is nested too deeply, and what `export` raises.
    """
    kind = type(value)
    if kind in ATOMS:
        return {"int": hex(value)} if kind is int and not -SMALL < value < SMALL else value
    if kind is list:
        return _list(value, export)
    tagged = _ENCODERS.get(kind) or _ENCODERS_BY_NAME.get((kind.__module__, kind.__qualname__))
    return tagged(value, export) if tagged else export(value)


def decode(structure: Structure, resolve: Resolve = refuse_tag) -> Any:
    """The value of a structure that `loads` gave. Raises NotData, and what `resolve` raises."""
    kind = type(structure)
    if kind is list:
        if ATOMS.issuperset(map(type, structure)):
            return structure
        return [decode(item, resolve) for item in structure]
    if kind is not dict:
        return structure
    if len(structure) != 1:
        raise NotData("a tag is missing")
    ((tag, payload),) = structure.items()
    decoder = _DECODERS.get(tag)
    if decoder is None:
        return resolve(tag, payload)
    try:
        return decoder(payload, resolve)
    except (TypeError, ValueError, LookupError, ArithmeticError, AttributeError) as error:
        raise NotData(f"a broken {tag}: {type(error).__name__}") from None


def deeply(function: Callable[..., Any], *arguments: Any) -> Any:
    """Call a function that follows nested data, with more room to do so than samples have."""
    limit = getrecursionlimit()
    setrecursionlimit(limit + ROOM)
    try:
        return function(*arguments)
    finally:
        setrecursionlimit(limit)


def base_of(value: Any) -> type | None:
    """The type of data that an object of a subclass of it is made of, `None` if there is none."""
    return next((kind for kind in BASES if isinstance(value, kind)), None)


def as_base(value: Any, base: type) -> Any:
    """The plain data in an object of a subclass of `base`, whatever the subclass overrides."""
    if issubclass(base, dict):
        plain = base(value.default_factory) if base is collections.defaultdict else base()
        plain.update(dict.items(value))
        return plain
    if base in (list, tuple, set, frozenset, bytearray, collections.deque):
        return base(base.__iter__(value))
    return _ATOM_OF[base](value)


_ATOM_OF = {
    int: lambda value: int.__add__(value, 0),
    float: lambda value: float.__add__(value, 0.0) if value == value else float("nan"),
    complex: lambda value: complex.__add__(value, 0),
    str: lambda value: "".join(str.__iter__(value)),
    bytes: lambda value: bytes(bytes.__iter__(value)),
}
BASES = (
    int, float, complex, str, bytes, bytearray, tuple, list, set, frozenset,
    collections.OrderedDict, collections.Counter, collections.defaultdict, dict, collections.deque,
)  # fmt: skip


def is_named_tuple(value: Any) -> bool:
    """Whether a tuple has named fields and nothing else that its class adds."""
    fields = getattr(type(value), "_fields", None)
    own = [name for name in vars(type(value)) if not name.startswith("_")]
    return (
        isinstance(fields, tuple) and type(value).__bases__ == (tuple,) and len(own) == len(fields)
    )


def _items(values: Any, export: Export) -> list[Structure]:
    """The structures of many values; those of numbers and strings are themselves."""
    if _are_atoms(values):
        return list(values)
    return [encode(value, export) for value in values]


def _are_atoms(values: Any) -> bool:
    """Whether values are their own structures."""
    kinds = set(map(type, values))
    if not kinds <= ATOMS:
        return False
    if int not in kinds:
        return True
    numbers = values if kinds == {int} else [value for value in values if type(value) is int]
    return min(numbers) > -SMALL and max(numbers) < SMALL


def _list(values: list[Any], export: Export) -> Structure:
    # Tuples are JSON arrays as they are; a structure of its own for each would be large.
    if values and set(map(type, values)) == {tuple} and all(map(_are_atoms, values)):
        return {"tuples": list(values)}
    return _items(values, export)


def _pairs(mapping: Any, export: Export) -> list[Structure]:
    return [_items(mapping.keys(), export), _items(mapping.values(), export)]


def encode_named_tuple(value: Any, export: Export) -> Structure:
    """The structure of a `collections.namedtuple` or `typing.NamedTuple`."""
    return {"named": [type(value).__name__, list(value._fields), _items(tuple(value), export)]}


def _bytes(value: Any) -> str:
    return binascii.b2a_base64(value, newline=False).decode()


def _date_and_time(value: Any, export: Export) -> Structure:
    if getattr(value, "tzinfo", None) is not None and type(value.tzinfo).__name__ != "timezone":
        return export(value)
    return {type(value).__name__: value.isoformat()}


def _array(value: Any, export: Export) -> Structure:
    """A numpy array or scalar of numbers: type, shape and bytes; scalars have no shape."""
    if value.dtype.kind not in ARRAY_KINDS:
        if type(value).__name__ == "ndarray":
            return {"objects": [list(value.shape), encode(value.ravel().tolist(), export)]}
        return encode(value.item(), export)
    shape = list(value.shape) if type(value).__name__ == "ndarray" else None
    return {"array": [value.dtype.str, shape, _bytes(value.tobytes())]}


def _tagged(tag: str, payload: Callable[[Any, Export], Structure]) -> Callable:
    return lambda value, export: {tag: payload(value, export)}


_ENCODERS: dict[type, Callable[[Any, Export], Structure]] = {
    complex: _tagged("complex", lambda v, _: [v.real, v.imag]),
    bytes: _tagged("bytes", lambda v, _: _bytes(v)),
    bytearray: _tagged("bytearray", lambda v, _: _bytes(v)),
    tuple: _tagged("tuple", _items),
    set: _tagged("set", _items),
    frozenset: _tagged("frozenset", _items),
    dict: _tagged("dict", _pairs),
    range: _tagged("range", lambda v, e: _items((v.start, v.stop, v.step), e)),
    slice: _tagged("slice", lambda v, e: _items((v.start, v.stop, v.step), e)),
    type(...): _tagged("ellipsis", lambda v, _: None),
    type(NotImplemented): _tagged("not_implemented", lambda v, _: None),
    type({}.keys()): _tagged("keys", _items),
    type({}.values()): _tagged("values", _items),
    type({}.items()): _tagged("items", lambda v, e: _pairs(dict(v), e)),
    collections.OrderedDict: _tagged("OrderedDict", _pairs),
    collections.Counter: _tagged("Counter", _pairs),
    collections.deque: _tagged("deque", lambda v, e: [_items(v, e), v.maxlen]),
}


def _default_dict(value: Any, export: Export) -> Structure:
    factory = getattr(value.default_factory, "__name__", "")
    return {"defaultdict": [factory, *_pairs(value, export)]}


_ENCODERS[collections.defaultdict] = _default_dict
# By name, so that nothing is imported for their sake.
_ENCODERS_BY_NAME: dict[tuple[str, str], Callable[[Any, Export], Structure]] = {
    ("decimal", "Decimal"): _tagged("Decimal", lambda v, _: str(v)),
    ("fractions", "Fraction"): _tagged(
        "Fraction", lambda v, e: _items((v.numerator, v.denominator), e)
    ),
    ("datetime", "date"): _date_and_time,
    ("datetime", "time"): _date_and_time,
    ("datetime", "datetime"): _date_and_time,
    ("datetime", "timedelta"): _tagged(
        "timedelta", lambda v, _: [v.days, v.seconds, v.microseconds]
    ),
    ("pathlib", "PosixPath"): _tagged("Path", lambda v, _: str(v)),
    ("uuid", "UUID"): _tagged("UUID", lambda v, _: str(v)),
    ("numpy", "ndarray"): _array,
}
_NUMPY_SCALARS = (
    "bool", "int8", "int16", "int32", "int64", "longlong", "uint8", "uint16", "uint32", "uint64",
    "ulonglong", "float16", "float32", "float64", "complex64", "complex128", "str_", "bytes_",
)  # fmt: skip
_ENCODERS_BY_NAME |= dict.fromkeys((("numpy", name) for name in _NUMPY_SCALARS), _array)


def _dict(payload: Structure, resolve: Resolve) -> dict:
    keys, values = payload
    return dict(zip(decode(keys, resolve), decode(values, resolve), strict=True))


def _whole_numbers(payload: Structure, resolve: Resolve) -> list[int]:
    numbers = decode(payload, resolve)
    if not all(type(number) in (int, type(None)) for number in numbers):
        raise NotData("no whole number")
    return numbers


def _decode_named(payload: Structure, resolve: Resolve) -> Any:
    name, fields, values = payload
    # namedtuple itself refuses what is no identifier.
    return collections.namedtuple(name, fields)(*decode(values, resolve))


FACTORIES = {kind.__name__: kind for kind in (int, float, str, list, dict, set, tuple, bool)}


def _decode_default_dict(payload: Structure, resolve: Resolve) -> Any:
    factory, keys, values = payload
    return collections.defaultdict(FACTORIES.get(factory), _dict([keys, values], resolve))


def _decode_date_and_time(name: str) -> Callable[[Structure, Resolve], Any]:
    def decoder(payload: Structure, resolve: Resolve) -> Any:
        import datetime

        return getattr(datetime, name).fromisoformat(payload)

    return decoder


def _decode_time_delta(payload: Structure, resolve: Resolve) -> Any:
    import datetime

    return datetime.timedelta(*payload)


def _decode_decimal(payload: Structure, resolve: Resolve) -> Any:
    import decimal

    return decimal.Decimal(payload)


def _decode_fraction(payload: Structure, resolve: Resolve) -> Any:
    import fractions

    return fractions.Fraction(*_whole_numbers(payload, resolve))


def _decode_path(payload: Structure, resolve: Resolve) -> Any:
    import pathlib

    return pathlib.Path(payload)


def _decode_uuid(payload: Structure, resolve: Resolve) -> Any:
    import uuid

    return uuid.UUID(payload)


def _decode_array(payload: Structure, resolve: Resolve) -> Any:
    kind, shape, data = payload
    if len(kind) > 4 or kind[1] not in ARRAY_KINDS:
        raise NotData("no array of numbers")
    import numpy

    array = numpy.frombuffer(binascii.a2b_base64(data), numpy.dtype(kind))
    return array[0] if shape is None else array.reshape(shape).copy()


def _decode_objects(payload: Structure, resolve: Resolve) -> Any:
    import numpy

    shape, values = payload
    array = numpy.empty(len(values), dtype=object)
    array[:] = decode(values, resolve)
    return array.reshape(shape)


_DECODERS: dict[str, Callable[[Structure, Resolve], Any]] = {
    "int": lambda p, _: int(p, 16),
    "complex": lambda p, _: complex(*map(float, p)),
    "bytes": lambda p, _: binascii.a2b_base64(p),
    "bytearray": lambda p, _: bytearray(binascii.a2b_base64(p)),
    "tuple": lambda p, r: tuple(decode(p, r)),
    "tuples": lambda p, r: [tuple(decode(item, r)) for item in p],
    "set": lambda p, r: set(decode(p, r)),
    "frozenset": lambda p, r: frozenset(decode(p, r)),
    "dict": _dict,
    "range": lambda p, r: range(*_whole_numbers(p, r)),
    "slice": lambda p, r: slice(*decode(p, r)),
    "ellipsis": lambda p, _: ...,
    "not_implemented": lambda p, _: NotImplemented,
    "keys": lambda p, r: dict.fromkeys(decode(p, r)).keys(),
    "values": lambda p, r: dict(enumerate(decode(p, r))).values(),
    "items": lambda p, r: _dict(p, r).items(),
    "OrderedDict": lambda p, r: collections.OrderedDict(_dict(p, r)),
    "Counter": lambda p, r: collections.Counter(_dict(p, r)),
    "deque": lambda p, r: collections.deque(decode(p[0], r), p[1]),
    "defaultdict": _decode_default_dict,
    "named": _decode_named,
    "Decimal": _decode_decimal,
    "Fraction": _decode_fraction,
    "UUID": _decode_uuid,
    "Path": _decode_path,
    "timedelta": _decode_time_delta,
    "array": _decode_array,
    "objects": _decode_objects,
} | {name: _decode_date_and_time(name) for name in ("date", "time", "datetime")}
