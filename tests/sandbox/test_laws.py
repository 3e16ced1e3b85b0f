"""What holds whatever the programs are: equal verdicts, no leftovers, nothing but data."""

import collections
import datetime
import decimal
import fractions
import itertools
import json
import math
import os
import pathlib
import random
import subprocess
import sys
import threading
import time
import types
import uuid
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from scripts.lib.sandbox import Job, Sandbox, SandboxAborted, Verdict
from scripts.lib.sandbox.executor import JOBS_AHEAD
from scripts.lib.sandbox.inside import codec
from scripts.lib.sandbox.inside.wire import Channel, Ended, TooLarge
from tests.sandbox.attacks import ATTACKS
from tests.sandbox.benign import BENIGN
from tests.sandbox.conftest import Host, descendants, jail_processes, needs_numpy

# Each takes some milliseconds, whatever happens beside it.
SLOW = ("bombs", "floods", "memory", "recursion", "thousands", "source: 10 MB", "crash", "daemons")
QUICK = [
    program
    for program in (*ATTACKS, *BENIGN)
    if program.verdict != "timeout"
    and program.timeout is None
    and not needs_numpy(program)
    and not program.name.startswith(SLOW)
    and not any(word in program.code for word in ("sleep", "subprocess", "multiprocessing"))
][::7]

Outcome = tuple[str, str, int]


def outcomes(verdicts: list[Verdict]) -> dict[str, Outcome]:
    """What of verdicts may depend on nothing but the program."""
    return {v.id: (v.verdict, v.reason, v.assertions) for v in verdicts}


@pytest.fixture(scope="module")
def jobs(host: Host) -> list[Job]:
    """Some eighty quick jobs."""
    assert len(QUICK) >= 70
    return [host.fill(program) for program in QUICK]


@pytest.fixture(scope="module")
def expected(sandbox: Sandbox, jobs: list[Job]) -> dict[str, Outcome]:
    """The outcomes of the jobs in a calm hour, in their order."""
    return outcomes(list(sandbox.judge(jobs)))


def test_repeated(sandbox: Sandbox, jobs: list[Job], expected: dict[str, Outcome]) -> None:
    """Equal jobs end equally, reasons and counts included."""
    for _ in range(3):
        assert outcomes(list(sandbox.judge(jobs))) == expected


@pytest.mark.parametrize("workers", [1, 5])
def test_any_number_of_workers(jobs: list[Job], expected: dict[str, Outcome], workers: int) -> None:
    """How many are judged at a time is no part of a verdict."""
    with Sandbox(workers) as opened:
        assert outcomes(list(opened.judge(jobs))) == expected


@pytest.mark.parametrize("seed", range(3))
def test_any_order(
    sandbox: Sandbox, jobs: list[Job], expected: dict[str, Outcome], seed: int
) -> None:
    """What has been judged before is no part of a verdict; verdicts come in the order of jobs."""
    shuffled = random.Random(seed).sample(jobs, len(jobs))
    verdicts = list(sandbox.judge(shuffled))
    assert [verdict.id for verdict in verdicts] == [job.id for job in shuffled]
    assert outcomes(verdicts) == expected


@pytest.fixture
def load() -> Iterator[None]:
    """Three processes for each processor that do nothing but compute."""
    loops = [
        subprocess.Popen([sys.executable, "-S", "-c", "while True: pass"])
        for _ in range(3 * (os.cpu_count() or 1))
    ]
    yield
    for loop in loops:
        loop.kill()
        loop.wait()


def test_under_load(
    sandbox: Sandbox, jobs: list[Job], expected: dict[str, Outcome], load: None
) -> None:
    """A busy machine changes no verdict."""
    assert outcomes(list(sandbox.judge(jobs))) == expected


def test_from_many_threads(sandbox: Sandbox, jobs: list[Job], expected: dict[str, Outcome]) -> None:
    """Threads that share a sandbox get each their own verdicts."""
    with ThreadPoolExecutor(8) as pool:
        assert outcomes(list(pool.map(sandbox.run, jobs))) == expected


def test_jobs_are_taken_as_workers_get_free(sandbox: Sandbox) -> None:
    """Endless jobs can be judged, and whoever stops taking verdicts stops the giving of jobs."""
    given_out = []

    def endless() -> Iterator[Job]:
        while True:
            given_out.append(None)
            yield Job(len(given_out), "def f(): return 1", "assert f() == 1")

    verdicts = sandbox.judge(endless())
    assert [next(verdicts).id for _ in range(20)] == list(range(1, 21))
    assert len(given_out) <= 20 + 2 * JOBS_AHEAD + 2


def test_a_broken_source_of_jobs_is_noticed(sandbox: Sandbox) -> None:
    """Whatever the giving of jobs raises comes after the verdicts on those before."""

    def broken() -> Iterator[Job]:
        yield Job(1, "def f(): return 1", "assert f() == 1")
        raise LookupError("no more")

    verdicts = sandbox.judge(broken())
    assert next(verdicts).verdict == "pass"
    with pytest.raises(LookupError, match="no more"):
        next(verdicts)


def test_an_aborted_sandbox_judges_nothing_more(bwrap: str) -> None:
    """Whoever waits for a result is told, and so is whoever asks for one afterwards."""
    opened = Sandbox(1)
    endless, good = "def f():\n    while True: pass", "def f(): return 1"
    try:
        with ThreadPoolExecutor(3) as pool:
            waiting = [pool.submit(opened.outputs, endless, "f", [[]], 60.0) for _ in range(3)]
            while not any(process.ticks > 20 for process in jail_processes(os.getpid(), "player")):
                time.sleep(0.02)
            began = time.monotonic()
            opened.abort()
            for asked in waiting:
                with pytest.raises(SandboxAborted):
                    asked.result(5)
            later = [
                pool.submit(opened.outputs, good, "f", [[]]),
                pool.submit(opened.run, Job(1, good, "assert f() == 1")),
                pool.submit(next, opened.judge([Job(1, good, "assert f() == 1")])),
            ]
            for asked in later:
                with pytest.raises(SandboxAborted):
                    asked.result(5)
    finally:
        opened.close()
    assert time.monotonic() - began < 5


def test_a_solution_that_fails_is_told_from_an_aborted_sandbox(sandbox: Sandbox) -> None:
    """A reference that raises says something of itself, so others may be tried."""
    with pytest.raises(RuntimeError) as failed:
        sandbox.outputs("def f(): raise ValueError", "f", [[]])
    assert not isinstance(failed.value, SandboxAborted)


def test_nothing_is_left(host: Host) -> None:
    """Three hundred samples later there is no process, no open descriptor and no file more."""
    bodies = (
        "return 1",
        "return object()",
        "raise ValueError",
        "os._exit(0)",
        "open('left', 'w').write('x'); return 1",
        "return os.fork() and 1",
        "os.pipe(); socket.socketpair(); return 1",
    )
    mixed = [
        Job(number, f"import os, socket\ndef f(): {bodies[number % len(bodies)]}", tests)
        for number in range(150)
        for tests in ("assert f() == 1", "for _ in [1]: assert f() == 1")
    ]
    with Sandbox(2) as opened:
        list(opened.judge(mixed[:40]))
        before = _belongings()
        list(opened.judge(mixed))
        assert _belongings() == before
    host.assert_untouched()


def _belongings() -> tuple[Any, ...]:
    """Our processes, our descriptors, threads, and the descriptors of each jail."""
    family = sorted(process.pid for process in descendants(os.getpid()))
    jails: dict[int, int | None] = {}
    for process in jail_processes(os.getpid()):
        try:
            jails[process.pid] = len(os.listdir(f"/proc/{process.pid}/fd"))
        except PermissionError:
            jails[process.pid] = None
    return family, len(os.listdir("/proc/self/fd")), threading.active_count(), jails


# The codec

ATOMS = st.one_of(
    st.none(),
    st.booleans(),
    st.integers(),
    st.integers(min_value=-(2**200), max_value=2**200),
    st.floats(),
    st.text(),
    st.binary(),
    st.complex_numbers(allow_nan=False),
    st.decimals(),
    st.fractions(),
    st.dates(),
    st.times(),
    st.datetimes(timezones=st.none() | st.just(datetime.UTC)),
    st.timedeltas(),
    st.uuids(),
    st.builds(range, st.integers(), st.integers(), st.integers(min_value=1)),
    st.builds(slice, st.none() | st.integers(), st.none() | st.integers()),
    st.just(...),
    st.just(NotImplemented),
)
KEYS = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False) | st.text(),
    lambda parts: st.lists(parts, max_size=3).map(tuple) | st.frozensets(parts, max_size=3),
    max_leaves=4,
)
DATA = st.recursive(
    ATOMS | st.sets(KEYS, max_size=4) | st.frozensets(KEYS, max_size=4),
    lambda parts: st.one_of(
        st.lists(parts, max_size=4),
        st.lists(parts, max_size=4).map(tuple),
        st.dictionaries(KEYS, parts, max_size=4),
        st.dictionaries(KEYS, parts, max_size=4).map(collections.OrderedDict),
        st.lists(parts, max_size=4).map(lambda p: collections.deque(p, 5)),
        st.dictionaries(KEYS, st.integers(), max_size=4).map(collections.Counter),
        st.dictionaries(KEYS, parts, max_size=4).map(lambda p: collections.defaultdict(list, p)),
        st.binary().map(bytearray),
    ),
    max_leaves=12,
)


def same(one: Any, other: Any) -> bool:
    """Whether two values are of the same types and contents, in the same order."""
    if type(one) is not type(other):
        return False
    if isinstance(one, float):
        signs = math.copysign(1, one) == math.copysign(1, other)
        return (one != one and other != other) or (one == other and signs)
    if isinstance(one, decimal.Decimal):
        return str(one) == str(other)
    if isinstance(one, (list, tuple, collections.deque)):
        pairs = len(one) == len(other) and all(map(same, one, other))
        return pairs and getattr(one, "maxlen", 0) == getattr(other, "maxlen", 0)
    if isinstance(one, dict):
        factories = getattr(one, "default_factory", 0) is getattr(other, "default_factory", 0)
        return factories and same([*one.items()], [*other.items()])
    if isinstance(one, (set, frozenset)):
        return one == other and sorted(map(_kind, one)) == sorted(map(_kind, other))
    return bool(one == other)


def _kind(key: Any) -> str:
    if isinstance(key, frozenset):
        return f"frozenset of {sorted(map(_kind, key))}"
    if isinstance(key, tuple):
        return f"tuple of {[*map(_kind, key)]}"
    return type(key).__name__


@given(DATA)
def test_data_comes_back(value: Any) -> None:
    """Plain data crosses as it is."""
    text = codec.dumps(codec.encode(value))
    assert same(codec.decode(codec.loads(text)), value)


@given(st.text(st.characters(categories=["Cs", "L"])))
@example("\ud83d\ude00")
def test_text_comes_back(value: str) -> None:
    """Any text crosses as it is, halves of surrogate pairs included."""
    assert codec.decode(codec.loads(codec.dumps(codec.encode(value)))) == value


PLAIN = (
    bool, int, float, complex, str, bytes, bytearray, type(None), type(...), type(NotImplemented),
    list, tuple, dict, set, frozenset, range, slice, collections.deque, collections.OrderedDict,
    collections.Counter, collections.defaultdict, decimal.Decimal, fractions.Fraction,
    datetime.date, datetime.time, datetime.datetime, datetime.timedelta, uuid.UUID,
    pathlib.PosixPath, type({}.keys()), type({}.values()), type({}.items()),
)  # fmt: skip
TAGS = [*codec._DECODERS, "call", "object", "no such tag"]
LEAVES = st.one_of(
    st.none(),
    st.booleans(),
    st.integers(),
    st.integers(min_value=-3, max_value=3),
    st.floats(),
    st.text(max_size=8),
    st.sampled_from(
        [*TAGS, "0x1f", "AAAA", "<f8", "|O", "<U4", "1.5", "nan", "2020-01-01", "list"]
    ),
)
JSON = st.recursive(
    LEAVES,
    lambda parts: st.one_of(
        st.lists(parts, max_size=4),
        st.dictionaries(st.sampled_from(TAGS), parts, min_size=1, max_size=1),
        st.dictionaries(st.sampled_from(TAGS), parts, max_size=2),
    ),
    max_leaves=15,
)


def assert_plain(value: Any) -> None:
    """Fail if something in a value is not of a known harmless type."""
    kind = type(value)
    if kind.__module__ == "numpy" or (isinstance(value, tuple) and hasattr(kind, "_fields")):
        assert kind.__name__ in ("ndarray",) or not callable(value)
        if kind.__name__ == "ndarray":
            assert value.dtype.names is None
        return
    assert kind in PLAIN, kind
    if kind is collections.defaultdict:
        assert value.default_factory in (None, *codec.FACTORIES.values())
    if isinstance(value, dict):
        for pair in value.items():
            assert_plain(pair)
    elif kind in (list, tuple, set, frozenset, collections.deque):
        for part in value:
            assert_plain(part)


@settings(max_examples=1500)
@given(st.one_of([JSON.map(lambda payload, tag=tag: {tag: payload}) for tag in TAGS]) | JSON)
def test_whatever_arrives_is_data_or_refused(structure: Any) -> None:
    """A hostile process can send any JSON; it becomes plain data or one of two exceptions."""
    try:
        value = codec.decode(json.loads(json.dumps(structure)))
    except (codec.NotData, RecursionError):
        return
    assert_plain(value)


@pytest.mark.parametrize(
    "structure",
    [
        {"deque": []},
        {"array": ["", None, ""]},
        {"array": ["<f8", None, ""]},
        {"array": ["<f8", [1 << 40], ""]},
        {"objects": [[2], [1]]},
        {"objects": [[-1, 0], []]},
        {"named": ["x", ["class"], [1]]},
        {"named": ["x", ["__init__"], [1]]},
        {"named": ["__import__('os')", ["a"], [1]]},
        {"range": [1.5]},
        {"range": [1, 2, 0]},
        {"int": "0x" + "z"},
        {"int": []},
        {"Decimal": {}},
        {"Decimal": "x"},
        {"Fraction": [1, 0]},
        {"timedelta": [10**20, 0, 0]},
        {"datetime": "never"},
        {"dict": [[[]], [1]]},
        {"dict": [[1, 2], [1]]},
        {"set": [[1]]},
        {"set": 3},
        {"Counter": [["a"], ["b"]]},
        {"defaultdict": [[], [], []]},
        {"UUID": "x"},
        {"UUID": 3},
        {"Path": None},
        {"bytes": "é"},
        {"complex": ["x", "y"]},
        {"complex": [1, 2, 3]},
        {"slice": []},
        {"keys": [[1]]},
        {"a": 1, "b": 2},
        {},
    ],
    ids=str,
)
def test_broken_structures(structure: Any) -> None:
    """One structure for each way of getting it wrong that has come to mind."""
    test = test_whatever_arrives_is_data_or_refused.hypothesis.inner_test  # type: ignore[attr-defined]
    test(structure)


def test_deep_structures_do_not_crash() -> None:
    """Nesting beyond all limits ends as an exception, not as the judge's process."""
    for tag in ("tuple", "dict", "set"):
        structure: Any = 1
        for _ in range(100_000):
            structure = {tag: [structure]} if tag != "dict" else {tag: [[1], [structure]]}
        with pytest.raises((codec.NotData, RecursionError)):
            codec.deeply(codec.decode, structure)
        # Its own end is as deep: it is taken apart step by step.
        while isinstance(structure, dict):
            ((_, payload),) = structure.items()
            structure = payload[-1][0] if tag == "dict" else payload[0]


@given(DATA)
@settings(max_examples=50)
def test_only_data_is_data(value: Any) -> None:
    """Objects are refused wherever they are, and none is taken for the data it is made of."""

    class Sly(list):
        pass

    for odd in (object(), Sly(), print, type, types.SimpleNamespace(), lambda: 1):
        for structure in ([value, odd], {"key": odd}, (odd,), collections.deque([odd])):
            with pytest.raises(codec.NotData):
                codec.encode(structure)


# The connection


def _through_a_pipe(pieces: list[bytes], read: Callable[[Channel], Any], limit: int) -> Any:
    """What `read` makes of a channel into which the pieces are written, one after the other."""
    reader, writer = os.pipe()

    def write() -> None:
        for piece in pieces:
            os.write(writer, piece)
        os.close(writer)

    thread = threading.Thread(target=write)
    thread.start()
    try:
        return read(Channel(reader, limit))
    finally:
        thread.join()
        os.close(reader)


@settings(max_examples=100)
@given(st.lists(st.binary(max_size=50), max_size=8), st.data())
def test_frames_arrive_however_they_are_split(frames: list[bytes], data: st.DataObject) -> None:
    """Where the pieces of a stream end says nothing about where its frames do."""
    stream = b"".join(len(frame).to_bytes(4, "big") + frame for frame in frames)
    cuts = sorted(data.draw(st.sets(st.integers(0, len(stream)), max_size=10)))
    ends = [0, *cuts, len(stream)]
    pieces = [stream[a:b] for a, b in itertools.pairwise(ends)]

    def read(channel: Channel) -> list[bytes]:
        received = [channel.receive() for _ in frames]
        with pytest.raises(Ended):
            channel.receive()
        return received

    assert _through_a_pipe(pieces, read, sum(map(len, frames))) == frames


@given(st.binary(min_size=1, max_size=60))
@settings(max_examples=50)
def test_a_stream_that_breaks_off_has_ended(frame: bytes) -> None:
    """Half a frame is no frame."""
    stream = len(frame).to_bytes(4, "big") + frame
    for length in {0, 1, 3, 4, len(stream) - 1}:

        def read(channel: Channel) -> None:
            with pytest.raises(Ended):
                channel.receive()

        _through_a_pipe([stream[:length]], read, 1000)


@pytest.mark.parametrize("sizes", [[101], [50, 51], [1] * 101, [2**32 - 1]], ids=str)
def test_more_than_the_limit_is_refused(sizes: list[int]) -> None:
    """The limit is one of all frames together, and a frame beyond it is not waited for."""

    def read(channel: Channel) -> None:
        with pytest.raises(TooLarge):
            for _ in sizes:
                channel.receive()

    pieces = [size.to_bytes(4, "big") + bytes(min(size, 1000)) for size in sizes]
    _through_a_pipe(pieces, read, 100)
