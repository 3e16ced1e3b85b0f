"""Executes a sample and answers for it. The tests never come near this process.

The zygote forks one player for each sample, and hands it one end of a connection to the judge,
which sends

    {"remote": ..., "preparation": ...}     whether requests follow; source of the set-up
    the code, in UTF-8
    the calls, all at once, or requests

and gets data back. What arrives from here is the sample's word: it is whatever a hostile program
wants it to be, and may only be compared with what the sample cannot know.
"""

import builtins
import os
import sys
from collections.abc import Callable
from contextlib import suppress
from time import monotonic
from typing import Any

from . import codec
from .wire import Channel, Ended

# A sample may replace the built-in functions of its process; the functions here keep their own.
__builtins__ = dict(vars(builtins))

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
    settings = codec.loads(channel.receive().decode())
    source = channel.receive().decode("utf-8", "surrogatepass")
    # A real module: dataclasses, pickle and typing look it up. Its name keeps main guards shut.
    module = type(sys)("solution")
    sys.modules["solution"] = module
    whoami, leave = os.getpid, os._exit
    myself = whoami()
    try:
        for number, text in enumerate((source, settings["preparation"])):
            name = "<setup>" if number else "<code>"
            exec(compile(text, name, "exec", dont_inherit=True), module.__dict__)
    except BaseException as error:
        failure = describe(error)
    else:
        failure = None
    finally:
        # What the sample has forked does not answer for it.
        if whoami() != myself:
            leave(0)
    if failure:
        channel.send(codec.dumps({"code": failure}).encode())
    elif settings["remote"]:
        from .remote import serve_sample

        serve_sample(channel, module)
    else:
        calls = codec.loads(channel.receive().decode())
        _answer(channel, module.__dict__, calls, lambda: whoami() == myself)
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
    channel.send(b'{"remote": false, "preparation": ""}', WARM_UP.encode())
    channel.send(b'[["f", [[1, 2], "a", {"tuple": [1.5]}], {}], ["g", [], {}]]')
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
    channel: Channel, names: dict[str, Any], calls: list[Any], is_player: Callable[[], bool]
) -> None:
    """Make the calls in turn, up to the first that raises, and send what they return.

    A call is [function, arguments, keyword arguments]; each argument is a structure of the codec,
    in which {"call": ...} stands for what another call returns. A process that a call has forked
    does not answer: `is_player` is false there.
    """
    clock, encode, dumps, deeply = monotonic, codec.encode, codec.dumps, codec.deeply
    # That the code has come to its end; what follows is sent with it if it does not take long.
    waiting = [b'["ready"]']
    sent = clock()
    for call in calls:
        try:
            value = _call(names, call)
            reply = dumps(["ok", deeply(encode, value, _mark)])
        except BaseException as error:
            reply = dumps(["raised", describe(error)])
            waiting.append(reply.encode())
            break
        finally:
            if not is_player():
                raise Ended
        waiting.append(reply.encode())
        if clock() - sent > FLUSH_SECONDS:
            channel.send(*waiting)
            waiting.clear()
            sent = clock()
    if waiting:
        channel.send(*waiting)


def _mark(value: Any) -> codec.Structure:
    """Objects that are no data: the judge may want to talk to them, which takes another way."""
    if isinstance(value, tuple) and codec.is_named_tuple(value):
        return codec.encode_named_tuple(value, _mark)
    return {"object": type(value).__name__}


def _call(names: dict[str, Any], call: list[Any]) -> Any:
    name, positional, keywords = call

    def resolve(tag: str, payload: codec.Structure) -> Any:
        if tag != "call":
            raise codec.NotData(f"unknown tag {tag!r}")
        return _call(names, payload)

    try:
        function: Callable[..., Any] = names[name]
    except KeyError:
        raise NameError(f"name {name!r} is not defined") from None
    arguments = codec.decode(positional, resolve)
    if not keywords:
        return function(*arguments)
    return function(*arguments, **{key: codec.decode(keywords[key], resolve) for key in keywords})


def describe(error: BaseException) -> list[str]:
    """The type and the message of an exception, which may be the sample's own and hostile."""
    try:
        message = str(error)[:MESSAGE_CHARACTERS]
    except BaseException:
        message = ""
    return [type(error).__name__, message if type(message) is str else ""]
