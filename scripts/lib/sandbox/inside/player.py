"""Executes a sample and answers for it. The tests never come near this process.

The zygote forks one player for each sample, and hands it one end of a connection to the judge,
which sends

    remote, code, preparation     marshalled: whether requests follow, the sample as a source or
                                  compiled, the source of its set-up
    the calls                     marshalled, or requests one by one

and gets data back. What arrives from here is the sample's word: it is whatever a hostile program
wants it to be, and may only be compared with what the sample cannot know.
"""

import builtins
import marshal
import os
import sys
from collections.abc import Callable
from contextlib import suppress
from time import monotonic
from typing import Any

from . import codec
from .remote import serve_sample
from .wire import Channel, Ended

# A sample may replace the built-in functions of its process; the functions here keep their own.
__builtins__ = dict(vars(builtins))

# Name of a function, arguments, keyword arguments, and whether these are pairs: whether they are
# calls themselves, and the call or the value.
Call = tuple[str, list[Any], dict[str, Any], bool]

# A sample's replies are sent when they have waited for so long.
FLUSH_SECONDS = 0.001
MESSAGE_CHARACTERS = 2000
# Nobody but a hostile judge would send more.
REQUEST_BYTES = 1 << 32


def play(descriptor: int) -> None:
    """Execute the sample that the judge at the other end of the connection sends."""
    leave = os._exit
    channel = Channel(descriptor, REQUEST_BYTES)
    try:
        _play(channel)
        leave(0)
    except Ended:
        leave(0)
    finally:
        leave(1)


def _play(channel: Channel) -> None:
    remote, source, preparation = marshal.loads(channel.receive())
    # A real module: dataclasses, pickle and typing look it up. Its name keeps main guards shut.
    module = type(sys)("solution")
    sys.modules["solution"] = module
    names = module.__dict__
    whoami, leave = os.getpid, os._exit
    myself, failure = whoami(), None
    try:
        if type(source) is str:
            source = compile(source, "<code>", "exec", dont_inherit=True)
        exec(source, names)
        if preparation:
            exec(compile(preparation, "<setup>", "exec", dont_inherit=True), names)
    except BaseException as error:
        failure = describe(error)
    finally:
        # What the sample has forked does not answer for it.
        if whoami() != myself:
            leave(0)
    if failure:
        channel.send(codec.dumps({"code": failure}))
        # Its judge may still be sending what is to be called.
        channel.receive()
        channel.receive()
    elif remote:
        serve_sample(channel, module)
    else:
        _answer(channel, names, marshal.loads(channel.receive()), lambda: whoami() == myself)
        # The supervisor ends this process; until then nothing of the sample runs but its threads.
        channel.receive()


def warm_up() -> None:
    """Execute a sample in this process, so that its forks find everything initialised.

    What is done here for the first time (the compiler alone makes hundreds of objects) would be
    done by every fork again, in memory of its own.
    """
    ours, theirs = os.pipe()
    back, forth = os.pipe()
    channel = Channel(theirs, REQUEST_BYTES)
    calls = [("f", [[1, 2], "a", (1.5,)], {}, False), ("g", [], {}, False)]
    code = compile(WARM_UP, "<code>", "exec")
    channel.send(marshal.dumps((False, code, "")), marshal.dumps(calls))
    os.close(theirs)
    player = _TwoPipes(ours, forth)
    with suppress(Ended):
        _play(player)
    for descriptor in (ours, back, forth):
        os.close(descriptor)
    del sys.modules["solution"]


class _TwoPipes(Channel):
    """A connection to nobody."""

    def __init__(self, reader: int, writer: int) -> None:
        super().__init__(reader, REQUEST_BYTES)
        self._writer = Channel(writer, 0)

    def send(self, *frames: bytes) -> None:
        self._writer.send(*frames)


WARM_UP = """
from typing import List
import math

class A:
    def __init__(self, x: int) -> None:
        self.x = x

def f(items: List[int], text: str, pair) -> List[str]:
    \"\"\"Something of everything.\"\"\"
    found = {}
    for number, item in enumerate(sorted(items, reverse=True)):
        if item % 2 == 0 and text:
            found[str(item)] = [A(n).x for n in range(number)]
    try:
        return [f"{key}: {max(value, default=0)}" for key, value in found.items()]
    except ValueError:
        return text.upper().split(",")

def g():
    raise ValueError("none")
"""


def _answer(
    channel: Channel, names: dict[str, Any], calls: list[Call], is_player: Callable[[], bool]
) -> None:
    """Make the calls in turn, up to the first that raises, and send what they return.

    Frames are lists of replies, the first one of which says that the code came to its end. A
    process that a call has forked does not answer: `is_player` is false there.
    """
    encode, dumps = codec.encode, codec.dumps
    waiting: list[Any] = ["ready"]
    sent = monotonic()
    for call in calls:
        try:
            value = _call(names, call)
            try:
                reply = ["ok", encode(value, _mark)]
            except RecursionError:
                reply = ["ok", codec.deeply(encode, value, _mark)]
        except BaseException as error:
            waiting.append(["raised", describe(error)])
            break
        finally:
            if not is_player():
                raise Ended
        waiting.append(reply)
        if monotonic() - sent > FLUSH_SECONDS:
            channel.send(dumps(waiting))
            waiting.clear()
            sent = monotonic()
    if waiting:
        channel.send(dumps(waiting))


def _mark(value: Any) -> codec.Structure:
    """Objects that are no data: the judge may want to talk to them, which takes another way."""
    if isinstance(value, tuple) and codec.is_named_tuple(value):
        return codec.encode_named_tuple(value, _mark)
    return {"object": type(value).__name__}


def _call(names: dict[str, Any], call: Call) -> Any:
    name, positional, keywords, nested = call
    if nested:
        positional = [_call(names, value) if is_call else value for is_call, value in positional]
        keywords = {
            key: _call(names, value) if is_call else value
            for key, (is_call, value) in keywords.items()
        }
    try:
        function = names[name]
    except KeyError:
        raise NameError(f"name {name!r} is not defined") from None
    return function(*positional, **keywords)


def describe(error: BaseException) -> list[str]:
    """The type and the message of an exception, which may be the sample's own and hostile."""
    try:
        message = str(error)[:MESSAGE_CHARACTERS]
    except BaseException:
        message = ""
    return [type(error).__name__, message if type(message) is str else ""]
