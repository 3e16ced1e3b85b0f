"""The jail of judges: decides by what a sample's process answers whether its tests hold.

The supervisor sends a job (see `_Case`) with the other end of the connection to its player, and
gets a ruling back. Plain asserts (see `plan`) are judged by this process itself, which the sample
has no way into: what it sends can only become data. Other tests are executed in a fork.
"""

import ast
import json
import marshal
import os
import select
import sys
from collections import OrderedDict, deque
from collections.abc import Callable, Iterator
from contextlib import suppress
from typing import Any

from . import codec
from .child import Keeper
from .compare import agrees
from .plan import LARGEST_SOURCE, Check, NotPlain, Plan, read_plan
from .trial import (
    BAD_TESTS,
    FAIL,
    LARGEST_CODE,
    LOST,
    PASS,
    VACUOUS,
    Ruling,
    defines_builtin,
    names_of_helpers,
    own_builtins,
    parse,
    try_out,
)
from .wire import REPLY_BYTES, Channel, Ended, TooLarge, receive_message, send_message
from .zygote import start

TIMEOUT, AGAIN = "timeout", "again"
# What this process takes of one sample's replies; a fork takes more.
PLAIN_REPLY_BYTES = 256 << 10
# Types whose values are small where they cross, and may be endless where something is done to them.
ENDLESS = frozenset({"range", "Decimal", "Fraction", "object"})
PLANS_KEPT = 256
# Connections to players that are about to be killed.
KEPT = 2
# In JSON, six bytes each, they fit into one write to a pipe.
REASON_CHARACTERS = 600
UNREADABLE = (SyntaxError, ValueError, MemoryError, RecursionError)


class _Case:
    """A job as it arrives.

    code, setup, prefix: sources; tests: a list of sources; calls: `None` or EvalPlus's inputs;
    outputs: whether what the calls return is wanted, and no ruling;
    apart: whether it is to be judged in a fork, whatever the tests are.
    """

    def __init__(self, message: dict[str, Any], descriptor: int) -> None:
        self.code: str = message["code"]
        self.tests: list[str] = message["tests"]
        self.setup: str = message["setup"]
        self.prefix: str = message["prefix"]
        self.calls: dict[str, Any] | None = message["calls"]
        self.outputs: bool = message["outputs"]
        self.apart: bool = message["apart"]
        self.cpu_seconds: float = message["cpu_seconds"]
        self.descriptor = descriptor
        # Found out by `Judge.prepare`: the plan, `None` where there is none, or why the tests
        # cannot be read; and the code, compiled if it compiles.
        self.prepared = False
        self.plan: Plan | None = None
        self.unreadable: Exception | None = None
        self.program: Any = self.code

    @property
    def sources(self) -> list[str]:
        return [self.setup, *self.tests] if self.setup else self.tests


def main() -> None:
    """Serve the supervisor until it goes."""
    keeper, control = start(json.loads(sys.argv[1]), lambda: None)
    judge = Judge(keeper, control)
    kept: deque[int] = deque()
    try:
        while True:
            case = judge.next_case()
            kept.append(case.descriptor)
            if len(kept) > KEPT:
                # Not before: its player would come to life again to end itself.
                os.close(kept.popleft())
            if case.outputs:
                channel = Channel(case.descriptor, keeper.confines.memory_bytes)
                answer: dict[str, Any] = {"outputs": outputs(case, channel), "clean": True}
            else:
                ruling, clean = judge.judge(case)
                answer = {**ruling._asdict(), "clean": clean}
            os.write(keeper.stop, b".")
            send_message(control, json.dumps(answer).encode())
    except (Ended, OSError):
        os._exit(0)


class Judge:
    """Judges one sample after the other; while one is played, it prepares for the next."""

    def __init__(self, keeper: Keeper, control: Any) -> None:
        self._keeper = keeper
        self._control = control
        self._waiting: deque[_Case] = deque()
        self._poll = select.poll()
        self._poll.register(control, select.POLLIN)
        self._plans: OrderedDict[Any, Plan | None] = OrderedDict()

    def next_case(self) -> _Case:
        """The next case; waits for it. Raises Ended."""
        if not self._waiting:
            self._receive()
        return self._waiting.popleft()

    def _receive(self) -> None:
        frame, descriptor = receive_message(self._control)
        assert descriptor is not None
        self._waiting.append(_Case(marshal.loads(frame), descriptor))

    def _heard(self, descriptor: int) -> bool:
        if descriptor == self._keeper.stop:
            # The players have gone.
            raise Ended
        self._receive()
        return False

    def _look_ahead(self) -> None:
        """Use the time that a player takes."""
        if not self._waiting and self._poll.poll(0):
            self._receive()
            self._prepare(self._waiting[0])

    def _prepare(self, case: _Case) -> None:
        """Read the tests of a case, and compile its code."""
        if case.prepared or case.apart or case.outputs:
            return
        case.prepared = True
        if case.calls is None and sum(map(len, case.sources)) > LARGEST_SOURCE:
            return
        try:
            case.plan = self._plan(case)
        except UNREADABLE as error:
            case.unreadable = error
            return
        if len(case.code) < LARGEST_CODE:
            # Here the compiler finds its memory warm; a fork would copy a hundred pages first.
            # What does not compile is left to the player, which says so. What brings the compiler
            # down is judged again, apart.
            with suppress(Exception):
                case.program = compile(case.code, "<code>", "exec", dont_inherit=True)

    def judge(self, case: _Case) -> tuple[Ruling, bool]:
        """The ruling on a case, and whether the jail is as clean as before."""
        self._prepare(case)
        if case.unreadable:
            return _unreadable(case.unreadable), True
        if case.plan:
            channel = Channel(case.descriptor, PLAIN_REPLY_BYTES)
            return judge_plainly(channel, case, case.plan, self._look_ahead), True
        return self._judge_apart(case)

    def _plan(self, case: _Case) -> Plan | None:
        """The plan for a case, `None` if its tests have to be executed."""
        if case.calls is not None:
            return plan_of_calls(case.calls)
        key = (case.prefix, case.setup, *case.tests)
        # A plan that depends on the code is good for this code alone.
        general = not defines_builtin(case.code)
        if general and key in self._plans:
            self._plans.move_to_end(key)
            return self._plans[key]
        trees = parse(case.sources)
        try:
            known = names_of_helpers(case.prefix)
            plan: Plan | None = read_plan(trees, own_builtins(trees, case.code), known)
        except NotPlain:
            plan = None
        if general:
            self._plans[key] = plan
            if len(self._plans) > PLANS_KEPT:
                self._plans.popitem(last=False)
        return plan

    def _judge_apart(self, case: _Case) -> tuple[Ruling, bool]:
        reader, writer = os.pipe()
        # The largest inputs of EvalPlus make a function return hundreds of megabytes.
        limit = REPLY_BYTES if case.calls is None else self._keeper.confines.memory_bytes

        def judge() -> None:
            os.close(reader)
            ruling = _ruling_apart(case, Channel(case.descriptor, limit))
            os.write(writer, json.dumps(ruling).encode())
            os._exit(0)

        ending = self._keeper.run(judge, case.cpu_seconds, [writer], self._heard, result=reader)
        said = os.read(reader, 4096)
        os.close(reader)
        try:
            return Ruling(*json.loads(said)), ending.clean
        except (ValueError, TypeError):
            pass
        if ending.how in ("cpu", "wall"):
            return Ruling(TIMEOUT, "the tests came to no end"), ending.clean
        return Ruling(BAD_TESTS, "the tests ended their own process"), ending.clean


def _ruling_apart(case: _Case, channel: Channel) -> Ruling:
    if case.calls is not None:
        return _shortened(judge_plainly(channel, case, plan_of_calls(case.calls)))
    try:
        trees = parse(case.sources)
        for source in case.sources:
            # What parses may still not compile: a `return` outside of a function.
            compile(source, "<tests>", "exec", dont_inherit=True)
    except UNREADABLE as error:
        return _shortened(_unreadable(error))
    send_sample(channel, case, remote=True)
    ruling = try_out(channel, case.code, case.prefix, trees)
    return _shortened(ruling)


def _shortened(ruling: Ruling) -> Ruling:
    return ruling._replace(reason=ruling.reason[:REASON_CHARACTERS])


def _unreadable(error: BaseException) -> Ruling:
    text = str(error) or "cannot be parsed"
    return Ruling(BAD_TESTS, f"{type(error).__name__}: {text}"[:REASON_CHARACTERS])


def send_sample(channel: Channel, case: _Case, remote: bool, *calls: bytes) -> None:
    """Send the player the code, what of the set-up it may rely on, and its calls if it gets any."""
    sample = marshal.dumps((remote, case.program, _preparation(case.setup)))
    channel.send(sample, *calls)


def _preparation(setup: str) -> str:
    """What of a set-up the code may rely on: imports, and classes in which nothing is asserted."""
    if "import" not in setup and "class" not in setup:
        return ""
    tree = ast.parse(setup)
    tree.body = [
        node
        for node in tree.body
        if isinstance(node, (ast.Import, ast.ImportFrom, ast.ClassDef))
        and not any(isinstance(part, ast.Assert) for part in ast.walk(node))
    ]
    return ast.unparse(tree)


def plan_of_calls(calls: dict[str, Any]) -> Plan:
    """The plan for EvalPlus's inputs: a call each, and its comparison."""
    inputs = codec.decode(calls["inputs"])
    expected = codec.decode(calls["expected"])

    def check(arguments: list[Any], right: Any) -> Check:
        def holds(returned: Any) -> bool:
            return agrees(
                calls["benchmark"], calls["entry_point"], arguments, returned, right, calls["atol"]
            )

        return Check(1, holds, None)

    asked = [(calls["entry_point"], arguments, {}, False) for arguments in inputs]
    checks = [check(*pair) for pair in zip(inputs, expected, strict=True)]
    return Plan(marshal.dumps(asked), checks)


def outputs(case: _Case, channel: Channel) -> Any:
    """The structures of what the calls return, or a sentence about the first that does not."""
    assert case.calls
    entry_point = case.calls["entry_point"]
    asked = [(entry_point, codec.decode(given), {}, False) for given in case.calls["inputs"]]
    try:
        send_sample(channel, case, False, marshal.dumps(asked))
        replies = _replies(channel)
        _check_ready(next(replies))
        returned = []
        for _ in asked:
            match next(replies):
                case ["ok", structure]:
                    returned.append(structure)
                case ["raised", description]:
                    return f"input {len(returned) + 1}: {_exception(description)}"
                case _:
                    return "the code's process sent what is no data"
        return returned
    except _Raised as raised:
        return str(raised)
    except Ended:
        return "the code's process ended early"
    except (TooLarge, MemoryError):
        return "the code returned more than the memory of its judge takes"
    except (codec.NotData, RecursionError) as error:
        return f"{type(error).__name__}: {error}"


def judge_plainly(
    channel: Channel, case: _Case, plan: Plan, meanwhile: Callable[[], None] = lambda: None
) -> Ruling:
    """Send a player its sample and what it is to call, and check what it returns.

    `AGAIN` where the replies are too large for this process, or objects that are no data.
    meanwhile: called while the player is at work.
    """
    resolve = _refuse if case.calls is None else _opaque
    asserted = at = 0
    try:
        send_sample(channel, case, False, plan.calls)
        meanwhile()
        replies = _replies(channel)
        _check_ready(next(replies))
        for at, check in enumerate(plan.checks, 1):
            values = [_value(next(replies), resolve) for _ in range(check.calls)]
            try:
                holds = check.holds(*values)
            except Exception as error:
                if check.calls:
                    raise
                return Ruling(BAD_TESTS, f"{type(error).__name__}: {error}", asserted)
            if not holds:
                return Ruling(FAIL, f"does not hold: {_shown(plan, at)}", asserted)
            asserted += bool(check.calls)
    except Ended:
        return Ruling(LOST, assertions=asserted)
    except TooLarge:
        if not case.apart:
            return Ruling(AGAIN)
        return Ruling(FAIL, "the sample returned too much", asserted)
    except _Raised as raised:
        place = f" in {_shown(plan, at)}" if at else ""
        return Ruling(FAIL, f"{raised}{place}", asserted)
    except _NoData:
        return Ruling(AGAIN)
    except Exception as error:
        return Ruling(FAIL, f"{type(error).__name__}: {error}", asserted)
    if not asserted:
        return Ruling(VACUOUS, "no executed assertion is about the sample")
    return Ruling(PASS, assertions=asserted)


def _shown(plan: Plan, at: int) -> str:
    """The check with this number, for a message."""
    expression = plan.checks[at - 1].expression
    return ast.unparse(expression) if expression else f"input {at}"


class _Raised(Exception):
    """The sample raised an exception."""


class _NoData(Exception):
    """The sample returned an object, which the tests may want to talk to."""


def _replies(channel: Channel) -> Iterator[Any]:
    """The replies of a player, which come in lists."""
    while True:
        try:
            frame = codec.loads(channel.receive())
        except ValueError:
            raise codec.NotData("not JSON") from None
        if type(frame) is dict and "code" in frame:
            raise _Raised(f"code: {_exception(frame['code'])}")
        if type(frame) is not list:
            raise codec.NotData("the sample's process sent what is no data")
        yield from frame


def _check_ready(reply: Any) -> None:
    if reply != "ready":
        raise codec.NotData("the sample's process sent what is no data")


def _value(reply: Any, resolve: codec.Resolve) -> Any:
    match reply:
        case ["ok", structure]:
            if resolve is _refuse and type(structure) in (dict, list) and _is_endless(structure):
                raise _NoData
            return codec.decode(structure, resolve)
        case ["raised", description]:
            raise _Raised(_exception(description))
    raise codec.NotData("the sample's process sent what is no data")


def _is_endless(structure: Any) -> bool:
    if type(structure) is dict:
        return not ENDLESS.isdisjoint(structure) or any(map(_is_endless, structure.values()))
    return type(structure) is list and any(map(_is_endless, structure))


def _refuse(tag: str, payload: Any) -> Any:
    if tag == "object":
        raise _NoData
    return codec.refuse_tag(tag, payload)


def _opaque(tag: str, payload: Any) -> Any:
    """Something that is equal to nothing."""
    return object() if tag == "object" else codec.refuse_tag(tag, payload)


def _exception(description: Any) -> str:
    match description:
        case [str(name), str(message)]:
            return f"{name}: {message}" if message else name
    return "the sample's process sent what is no data"
