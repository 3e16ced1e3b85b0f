"""Stand-ins for objects of the other process, which ask it for every operation.

The judge gives away nothing by it: what the tests compare with never crosses, and where an answer
of the sample's would decide a comparison with the tests' data, it is not asked:

- an object of the sample's is never equal to data;
- it is not ordered against data, and what comes out of arithmetic with data is not turned into data
  (`abs(f(x) - 3.14) < 1e-6` is no question for an object that f has made up), unless the tests have
  made it themselves by calling a class, which they name with a capital letter.

An object of a subclass of a type of data (`class Stack(list)`) is compared by the data in it.
"""

import builtins
from collections.abc import Callable
from types import MethodType
from typing import Any

from . import codec
from .operations import ARITHMETIC, IN_PLACE, OPERATIONS, ORDER, UNARY

# A sample may replace the built-in functions of its process; the functions here keep their own.
__builtins__ = dict(vars(builtins))


class Remote:
    """The stand-in for an object of the other side."""

    __slots__ = ("_base_", "_derived_", "_kept_", "_made_", "_number_", "_peer_")

    @classmethod
    def _make(cls, peer: Any, number: int, name: str, base: type | None) -> "Remote":
        documentation = property(lambda self: ask(self, "get", "__doc__"))
        key = cls, name
        if key not in peer.kinds:
            members = {"__slots__": (), "__doc__": documentation}
            peer.kinds[key] = type(name or cls.__name__, (cls,), members)
        kind = peer.kinds[key]
        made = object.__new__(kind)
        for slot, value in (
            ("_peer_", peer),
            ("_number_", number),
            ("_base_", base),
            ("_derived_", False),
            ("_kept_", None),
            ("_made_", False),
        ):
            object.__setattr__(made, slot, value)
        return made

    @property
    def __class__(self) -> Any:
        return self._base_ or type(self)

    def __call__(self, *arguments: Any, **keywords: Any) -> Any:
        return ask(self, "call", arguments, tuple(keywords.items()))

    def __getattr__(self, name: str) -> Any:
        if name == "remote_class" or name in Remote.__slots__:
            raise AttributeError(name)
        value = ask(self, "get", name)
        if not callable(value):
            self._peer_.used += 1
        return value

    def __setattr__(self, name: str, value: Any) -> None:
        ask(self, "set", name, value)

    def __delattr__(self, name: str) -> None:
        ask(self, "del", name)

    def __getitem__(self, key: Any) -> Any:
        return ask(self, "item", key)

    def __setitem__(self, key: Any, value: Any) -> None:
        ask(self, "set_item", key, value)

    def __delitem__(self, key: Any) -> None:
        ask(self, "del_item", key)

    def __iter__(self) -> Any:
        if self._base_:
            return iter(_base(self))
        return _Iterator(ask(self, "iter"))

    def __next__(self) -> Any:
        return ask(self, "next")

    def __contains__(self, value: Any) -> bool:
        if self._base_ and not isinstance(value, Remote):
            return value in _base(self)
        if self._peer_.guarded and not self._made_ and not isinstance(value, Remote):
            if ask(self, "iterable"):
                return any(value is item or value == item for item in self)
            raise TypeError("the sample's own objects do not say what they contain")
        return bool(ask(self, "contains", value))

    def __eq__(self, other: object) -> bool:
        if isinstance(other, Remote) and peer_of(other) is self._peer_:
            same = number_of(other) == self._number_
            return same or bool(ask(self, "eq", other))
        if self._base_:
            return bool(_base(self) == other)
        return False if self._peer_.guarded else bool(ask(self, "eq", other))

    def __ne__(self, other: object) -> bool:
        return not self == other

    def __hash__(self) -> int:
        return int(ask(self, "hash"))

    def __dir__(self) -> Any:
        return ask(self, "dir")

    def __format__(self, specification: str) -> str:
        return (
            format(_base(self), specification)
            if self._base_
            else ask(self, "format", specification)
        )

    def __round__(self, *digits: Any) -> Any:
        return _convert(self, "round", *digits)

    def __copy__(self) -> Any:
        return ask(self, "copy")

    def __deepcopy__(self, memo: Any) -> Any:
        return ask(self, "deepcopy")

    def __enter__(self) -> Any:
        return ask(self, "enter")

    def __exit__(self, kind: Any, error: Any, traceback: Any) -> Any:
        return ask(self, "exit", kind, error, None)

    def __await__(self) -> Any:
        yield from ()
        return ask(self, "await")

    def __aiter__(self) -> Any:
        return self

    async def __anext__(self) -> Any:
        return ask(self, "anext")


class RemoteClass(Remote):
    """The stand-in for a class of the other side, other than an exception.

    Its `_made_` says whether the tests name it as a class, with a capital letter.
    """

    __slots__ = ()

    def name_as(self, name: str) -> None:
        """Take note of the name by which the tests know the class."""
        if name[:1].isupper():
            object.__setattr__(self, "_made_", True)

    def __call__(self, *arguments: Any, **keywords: Any) -> Any:
        made = Remote.__call__(self, *arguments, **keywords)
        if isinstance(made, Remote) and self._made_:
            object.__setattr__(made, "_made_", True)
        return made

    def __instancecheck__(self, value: Any) -> bool:
        return bool(ask(self, "instance", value))

    def __subclasscheck__(self, other: Any) -> bool:
        return bool(ask(self, "subclass", other))


class RemoteFunction(Remote):
    """The stand-in for a function; in a class of this side it becomes a method."""

    __slots__ = ()

    def __get__(self, instance: Any, owner: Any) -> Any:
        return self if instance is None else MethodType(self, instance)


class _Iterator:
    """An iterator of the other side, which is no longer needed to be a `Remote` for its user."""

    __slots__ = ("_remote",)

    def __init__(self, remote: Any) -> None:
        self._remote = remote

    def __iter__(self) -> "_Iterator":
        return self

    def __next__(self) -> Any:
        return next(self._remote)


def peer_of(stand_in: Remote) -> Any:
    return stand_in._peer_


def number_of(stand_in: Remote) -> int:
    return stand_in._number_


def ask(stand_in: Remote, operation: str, *arguments: Any) -> Any:
    return stand_in._peer_.ask(operation, stand_in, *arguments)


def _base(stand_in: Remote) -> Any:
    """The data in an object of a subclass of a type of data.

    The other side is asked again only when it has been asked for something that may have changed
    it: whoever answers every look in another way would be larger and smaller than anything.
    """
    kept = stand_in._kept_
    peer = stand_in._peer_
    if kept is None or (kept[0] != peer.asked and stand_in._base_ in codec.SHARED):
        value = ask(stand_in, "base")
        if type(value) is not stand_in._base_:
            raise TypeError("no data where there should be some")
        kept = peer.asked, value
        object.__setattr__(stand_in, "_kept_", kept)
    return kept[1]


def _convert(stand_in: Remote, operation: str, *arguments: Any) -> Any:
    """Turn an object into data, or another object."""
    if stand_in._base_:
        return OPERATIONS[operation](_base(stand_in), *arguments)
    if stand_in._derived_:
        raise TypeError("the sample's own objects do not compute with the tests' data")
    return ask(stand_in, operation, *arguments)


def _unary(operation: str) -> Callable[[Remote], Any]:
    return lambda self: _convert(self, operation)


def _binary(operation: str, in_order: bool, reverse: bool) -> Callable[[Remote, Any], Any]:
    compute = OPERATIONS[operation]

    def forward(self: Remote, other: Any) -> Any:
        with_data = not (isinstance(other, Remote) and peer_of(other) is self._peer_)
        if self._base_ and with_data:
            mine = _base(self)
            return compute(other, mine) if reverse else compute(mine, other)
        free = self._made_ or not self._peer_.guarded or not with_data
        if in_order and not free:
            raise TypeError("the sample's own objects are not ordered against the tests' data")
        pair = (other, self) if reverse else (self, other)
        result = self._peer_.ask(operation, *pair)
        if not free and isinstance(result, Remote) and not result._base_:
            object.__setattr__(result, "_derived_", True)
        elif not free:
            raise TypeError("the sample's own objects do not compute with the tests' data")
        return result

    return forward


def _in_place(operation: str) -> Callable[[Remote, Any], Any]:
    def forward(self: Remote, other: Any) -> Any:
        result = ask(self, operation, other)
        if not isinstance(result, Remote):
            raise TypeError("the sample's own objects do not become data in place")
        return result

    return forward


for _name in UNARY:
    if _name not in ("hash", "dir", "iter", "next", "round", "format"):
        setattr(Remote, f"__{_name}__", _unary(_name))
for _name in ORDER:
    setattr(Remote, f"__{_name}__", _binary(_name, in_order=True, reverse=False))
for _name in IN_PLACE:
    setattr(Remote, f"__{_name}__", _in_place(_name))
for _name in ARITHMETIC:
    _plain = _name.rstrip("_")
    setattr(Remote, f"__{_plain}__", _binary(_name, in_order=False, reverse=False))
    setattr(Remote, f"__r{_plain}__", _binary(_name, in_order=False, reverse=True))
