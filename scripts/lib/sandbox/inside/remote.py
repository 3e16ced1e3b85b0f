"""The connection over which the judge's stand-ins and the sample's objects talk, and the reverse.

Data crosses as data. Containers are on both sides: every message brings along what has changed in
them. Anything else stays where it is; the other side gets a stand-in (see `standins`) that asks for
every operation (see `operations`).
"""

import _thread
import builtins
import importlib
import io
import operator
import sys
from collections import OrderedDict, defaultdict, deque
from collections.abc import Iterator
from contextlib import contextmanager
from os import _exit as leave
from os import getpid as whoami
from types import ModuleType
from typing import Any

from . import codec
from .codec import SHARED
from .operations import BUILTIN_TYPES, LOOKS, MODULES, OPERATIONS, UNUSED, check_admitted
from .standins import Remote, RemoteClass, RemoteFunction, ask, number_of, peer_of
from .wire import Channel, Ended

# A sample may replace the built-in functions of its process; the functions here keep their own.
__builtins__ = dict(vars(builtins))

SHARED_BY_NAME = {kind.__name__: kind for kind in SHARED}
# Larger containers cross as copies. Changes are looked for in all that cross in an exchange, and
# later in the last small ones.
LARGEST_SHARED = 2_000_000
SMALL = 1000
WATCHED = 128
# More than that is not passed on to tests that look at what is printed.
PRINTED_CHARACTERS = 1 << 20


class Peer:
    """One side of a connection: asks the other side, and answers while it waits.

    names: the global names that the other side may look up; `None` where it may look up none.
    guarded: whether the other side is not to be trusted. Its objects then never decide a comparison
        with data, and it may not ask for everything.
    """

    def __init__(self, channel: Channel, names: dict[str, Any] | None, guarded: bool) -> None:
        self.guarded = guarded
        # How often the other side was asked for what may change something.
        self.asked = 0
        # How often the other side's functions and data were used, for `trial`.
        self.used = 0
        self._channel = channel
        self._names = names
        # Threads ask one after the other; a thread that is asked back may ask again.
        self._lock = _thread.RLock()
        self._process = whoami()
        self._given: list[Any] = []
        self._numbers: dict[int, int] = {}
        self._taken: dict[int, Any] = {}
        # Classes of stand-ins by name: equal ones have the same type.
        self.kinds: dict[tuple[type, str], type] = {}
        # By number, even those of this side if it is guarded: containers, and as they last crossed.
        self._shared: dict[int, Any] = {}
        self._shared_numbers: dict[int, int] = {}
        self._contents: dict[int, Any] = {}
        self._watched: OrderedDict[int, None] = OrderedDict()
        self._crossing: dict[int, None] = {}
        self._depth = 0
        self._next_shared = int(guarded)

    # Asking

    def ask(self, operation: str, *arguments: Any) -> Any:
        """What an operation of the other side's on an object of the other side's gives.

        Raises what the other side raised, Ended, and codec.NotData if the answer is broken.
        """
        with self._lock, self._exchange():
            if operation not in LOOKS:
                self.asked += 1
            if operation not in UNUSED:
                self.used += 1
            structures = [codec.deeply(self._encode, argument) for argument in arguments]
            self.send(["do", operation, structures, *self._news()])
            answer = self._serve_until_answered()
        match answer:
            case ["ok", structure, changes, printed]:
                value = codec.deeply(self._decode, structure)
                self._take_news(changes, printed)
                return value
            case ["raised", structure, changes, printed]:
                error = self._exception(structure)
                self._take_news(changes, printed)
                if isinstance(error, StopIteration) and isinstance(arguments[0], RemoteFunction):
                    # It would end the tests' own loops early.
                    raise RuntimeError("the function raised StopIteration")
                raise error
        raise codec.NotData("an answer is broken")

    def look_up(self, name: str) -> Any:
        """The other side's global of this name. Raises NameError."""
        return self.ask("global", name)

    # Answering

    def serve(self) -> None:
        """Answer until the other side goes. Raises Ended."""
        self._serve_until_answered()

    def send(self, message: codec.Structure) -> None:
        """Send a message. Raises Ended."""
        self._channel.send(codec.dumps(message))

    def hear(self) -> codec.Structure:
        """Receive a message. Raises Ended and codec.NotData."""
        try:
            return codec.loads(self._channel.receive())
        except ValueError:
            raise codec.NotData("not JSON") from None

    def _serve_until_answered(self) -> codec.Structure:
        while True:
            message = self.hear()
            if type(message) is not list or not message or message[0] != "do":
                return message
            with self._exchange():
                try:
                    result = self._answer(message)
                    if whoami() != self._process:
                        # What the sample has forked does not answer for it.
                        leave(0)
                    answer = ["ok", result, *self._news()]
                except Ended:
                    raise
                except BaseException as error:
                    answer = ["raised", self._describe(error), *self._news()]
                self.send(answer)

    def _answer(self, message: list[Any]) -> codec.Structure:
        _, operation, structures, changes, printed = message
        arguments = [codec.deeply(self._decode, structure) for structure in structures]
        self._take_news(changes, printed)
        if operation == "global":
            return self._global(arguments[0])
        if self.guarded:
            # The sample has types and data of its own; those of this process do other things:
            # `type` makes classes, and a string can be a format that looks into objects.
            if type(structures[0]) is not dict or structures[0].keys() != {"own"}:
                raise PermissionError("not an object of the tests")
            check_admitted(operation, arguments)
        return codec.deeply(self._encode, OPERATIONS[operation](*arguments))

    def _global(self, name: str) -> codec.Structure:
        if self._names is None or name not in self._names:
            raise NameError(f"name {name!r} is not defined")
        value = self._names[name]
        if type(value) is ModuleType and value.__name__ in MODULES:
            return {"module": value.__name__}
        return self._encode(value)

    # Containers are on both sides: what crosses once is the same object ever after, and every
    # message brings the changes since the last one along.

    def _encode(self, value: Any) -> codec.Structure:
        kind = type(value)
        if kind in codec.ATOMS:
            return codec.encode(value)
        if kind in SHARED:
            return self._share(value)
        if kind is tuple and not codec.ATOMS.issuperset(map(type, value)):
            return {"tuple": [self._encode(item) for item in value]}
        return codec.encode(value, self._give)

    def _decode(self, structure: codec.Structure) -> Any:
        return codec.decode(structure, self._take)

    def _share(self, container: Any) -> codec.Structure:
        number = self._shared_numbers.get(id(container))
        if number is not None:
            self._watch(number)
            return {"shared": number}
        if len(container) > LARGEST_SHARED:
            return codec.encode(container, self._give)
        number = self._next_shared
        self._next_shared += 2
        self._register(number, container)
        flat = self._flat_structures(container)
        self._contents[number] = _content(container)
        return {"new": [number, type(container).__name__, _extra(container), flat]}

    def _register(self, number: int, container: Any) -> None:
        self._shared[number] = container
        self._shared_numbers[id(container)] = number
        self._watch(number)

    @contextmanager
    def _exchange(self) -> Iterator[None]:
        """A question and its answer, with those that come up in between."""
        self._depth += 1
        try:
            yield
        finally:
            self._depth -= 1
            if not self._depth:
                self._crossing.clear()

    def _watch(self, number: int) -> None:
        """Look for changes of a container until the exchange is over; of a small one, longer."""
        self._crossing[number] = None
        if len(self._shared[number]) <= SMALL:
            self._watched[number] = None
            self._watched.move_to_end(number)
            if len(self._watched) > WATCHED:
                self._watched.popitem(last=False)

    def _flat_structures(self, container: Any) -> codec.Structure:
        if type(container) is bytearray:
            return codec.encode(bytes(container))
        return [self._encode(part) for part in _flat(container)]

    def _news(self) -> list[codec.Structure]:
        """What every message brings along: changed containers, and what the sample has printed."""
        return [codec.deeply(self._changes), "" if self.guarded else _printed()]

    def _take_news(self, changes: codec.Structure, printed: codec.Structure) -> None:
        codec.deeply(self._change, changes)
        if self.guarded and printed:
            # Tests may have put a stream of their own there.
            sys.stdout.write(str(printed))

    def _changes(self) -> list[codec.Structure]:
        """Number and new content of the containers that have changed since they last crossed."""
        changes: list[codec.Structure] = []
        for number in [*self._watched, *(self._crossing.keys() - self._watched.keys())]:
            container = self._shared[number]
            if _differs(self._contents[number], container):
                self._contents[number] = _content(container)
                changes.append([number, self._flat_structures(container)])
        return changes

    def _change(self, changes: codec.Structure) -> None:
        for number, flat in changes:
            container = self._shared[_checked_number(number)]
            _replace(container, self._decode(flat))
            self._contents[number] = _content(container)

    def _take_shared(self, number: int, kind: str, extra: Any, flat: codec.Structure) -> Any:
        made: Any = SHARED_BY_NAME[kind]()
        if kind == "deque":
            made = deque(maxlen=extra)
        elif kind == "defaultdict":
            made = defaultdict(codec.FACTORIES.get(extra))
        self._register(_checked_number(number), made)
        _replace(made, self._decode(flat))
        self._contents[number] = _content(made)
        return made

    # Objects

    def _give(self, value: Any) -> codec.Structure:
        """The structure of an object that stays here."""
        if isinstance(value, Remote) and peer_of(value) is self:
            return {"own": number_of(value)}
        if isinstance(value, type) and getattr(value, "remote_class", None) is not None:
            return {"own": value.remote_class}
        if isinstance(value, tuple) and codec.is_named_tuple(value):
            return codec.encode_named_tuple(value, self._give)
        if isinstance(value, type) and BUILTIN_TYPES.get(value.__name__) is value:
            return {"builtin": value.__name__}
        if isinstance(value, BaseException):
            return {"exception": self._describe(value)}
        return {"object": self._label(value)}

    def _label(self, value: Any) -> codec.Structure:
        """Number, kind, name of the class, and bases of a type or the base of data of a value."""
        number = self._numbers.get(id(value))
        if number is None:
            number = self._numbers[id(value)] = len(self._given)
            self._given.append(value)
        if isinstance(value, type):
            if not issubclass(value, BaseException):
                return [number, "class", value.__name__, None]
            bases = [self._give(base) for base in value.__bases__]
            return [number, "exception class", value.__name__, bases]
        base = codec.base_of(value)
        kind = type(value).__name__
        kind = kind if kind in ("coroutine", "function") else "object"
        return [number, kind, type(value).__name__, base.__name__ if base else None]

    def _take(self, tag: str, payload: codec.Structure) -> Any:
        """The object that a structure of the other side stands for."""
        try:
            match tag:
                case "shared":
                    number = _checked_number(payload)
                    self._watch(number)
                    return self._shared[number]
                case "new":
                    return self._take_shared(*payload)
                case "own":
                    return self._given[_checked_number(payload)]
                case "object":
                    return self._stand_in(*payload)
                case "builtin":
                    return BUILTIN_TYPES[payload]
                case "exception":
                    return self._exception(payload)
                case "module":
                    if payload in MODULES:
                        return importlib.import_module(payload)
        except (TypeError, ValueError, LookupError, AttributeError, ImportError):
            pass
        raise codec.NotData(f"a broken {tag}")

    def _stand_in(self, number: int, kind: str, name: str, base: Any) -> Any:
        number = _checked_number(number)
        if number not in self._taken:
            name = str(name)[:100]
            if kind == "exception class":
                bases = tuple(self._exception_base(structure) for structure in base)
                made: Any = type(name, bases, {"remote_class": number})
            elif kind == "class":
                made = RemoteClass._make(self, number, name, None)
            elif kind == "function":
                made = RemoteFunction._make(self, number, name, None)
            else:
                plain = next((kind for kind in codec.BASES if kind.__name__ == base), None)
                made = Remote._make(self, number, name, plain)
            self._taken[number] = made
        made = self._taken[number]
        if kind == "coroutine":
            return _coroutine(made)
        return made

    def _exception_base(self, structure: codec.Structure) -> type:
        base = codec.decode(structure, self._take)
        if isinstance(base, type) and issubclass(base, BaseException):
            return base
        return Exception

    # Exceptions

    def _describe(self, error: BaseException, depth: int = 3) -> codec.Structure:
        """Class, arguments and message of an exception, which may be hostile."""
        try:
            message = str.__str__(str(error))[:10_000]
        except BaseException:
            message = ""
        arguments = []
        for argument in getattr(error, "args", ()):
            try:
                arguments.append(codec.encode(argument, self._give))
            except BaseException:
                arguments.append(type(argument).__name__)
        mine = not hasattr(type(error), "remote_class")
        own = mine and vars(builtins).get(type(error).__name__) is not type(error)
        handle = self._label(error) if own else None
        cause = None
        if isinstance(error.__cause__, BaseException) and depth:
            cause = self._describe(error.__cause__, depth - 1)
        return [self._give(type(error)), arguments, message, handle, cause]

    def _exception(self, structure: codec.Structure) -> BaseException:
        try:
            kind, arguments, message, handle, cause = structure
            base = self._exception_base(kind)
            arguments = [codec.decode(argument, self._take) for argument in arguments]
            stand_in = handle and Remote._make(self, _checked_number(handle[0]), "", None)
        except (TypeError, ValueError):
            raise codec.NotData("a broken exception") from None
        made = _made_exception(base, arguments, str(message), stand_in)
        made.remote = True
        made.__cause__ = self._exception(cause) if cause else None
        return made


def _made_exception(base: type, arguments: list[Any], message: str, stand_in: Any) -> BaseException:
    members: dict[str, Any] = {"__str__": lambda self: message}
    if stand_in is not None:
        members["__getattr__"] = lambda self, name: getattr(stand_in, name)
        # The sample's own `__init__` is not here.
        kind = _like(base, members)
        made = kind.__new__(kind, *arguments)
        made.args = tuple(arguments)
        return made
    try:
        made = base(*arguments)
        if str(made) == message:
            return made
        made = _like(base, members)(*arguments)
    except Exception:
        return RuntimeError(message)
    return made


def _like(base: type, members: dict[str, Any]) -> Any:
    return type(base.__name__, (base,), {**members, "__module__": base.__module__})


def _checked_number(number: Any) -> int:
    if type(number) is not int or number < 0:
        raise codec.NotData("a broken number")
    return number


def _coroutine(stand_in: Any) -> Any:
    async def wait() -> Any:
        return ask(stand_in, "await")

    return wait()


# Containers that both sides have


def _extra(container: Any) -> Any:
    """What a container is made with beside its content."""
    if type(container) is deque:
        return container.maxlen
    return getattr(getattr(container, "default_factory", None), "__name__", None)


def _content(container: Any) -> Any:
    """A copy to compare with, of the very same objects."""
    return bytes(container) if type(container) is bytearray else list(_flat(container))


def _flat(container: Any) -> Iterator[Any]:
    if isinstance(container, dict):
        return (part for pair in container.items() for part in pair)
    return iter(container)


def _differs(content: Any, container: Any) -> bool:
    kind = type(container)
    if kind is bytearray:
        return content != container
    now = container if kind is list or kind is deque else list(_flat(container))
    return len(now) != len(content) or any(map(operator.is_not, now, content))


def _replace(container: Any, flat: Any) -> None:
    """Put other content into a container."""
    if isinstance(container, (list, bytearray)):
        container[:] = flat
        return
    container.clear()
    if isinstance(container, deque):
        container.extend(flat)
    elif isinstance(container, set):
        container.update(flat)
    else:
        # Not `update`: a Counter adds.
        for key, value in zip(flat[::2], flat[1::2], strict=True):
            container[key] = value


def _printed() -> str:
    """What the sample has printed since the last time."""
    stream = sys.stdout
    if type(stream) is not io.StringIO:
        return ""
    text = stream.getvalue()
    if text:
        stream.seek(0)
        stream.truncate()
    return text if len(text) <= PRINTED_CHARACTERS else ""


def serve_sample(channel: Channel, module: Any) -> None:
    """Tell the judge a sample's names, then answer its questions about them until it goes."""
    sys.stdout = io.StringIO()
    peer = Peer(channel, module.__dict__, guarded=False)
    peer.send(["names", [name for name in list(module.__dict__) if type(name) is str]])
    peer.serve()
