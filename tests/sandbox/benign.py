"""Honest programs that are awkward for an executor; each of them must get the verdict `pass`.

They all pass by plain execution in one namespace (code, set-up, tests), so whatever else the
executor says about one of them is a fault of the executor.
"""

from tests.sandbox.programs import Program


def passes(
    name: str,
    code: str,
    tests: str | list[str],
    *,
    setup: str = "",
    timeout: float | None = None,
) -> Program:
    """A program with the verdict that all of this file must get."""
    return Program(name, code, tests, "pass", setup, timeout)


PRINTING = [
    passes(
        "prints two megabytes",
        """
def shout(count):
    for number in range(count):
        print("a line of output that nobody reads", number)
    return count

shout(20000)
""",
        "assert shout(20000) == 20000",
    ),
    passes(
        "prints to stderr with flush",
        """
import sys

def warn(text):
    print("warning:", text, file=sys.stderr, flush=True)
    print("warned", flush=True)
    return len(text)
""",
        """
assert warn("hot") == 3
assert warn("x" * 300000) == 300000
""",
    ),
    passes(
        "writes to sys.stdout and to its buffer and descriptor",
        r"""
import os
import sys

def write(text):
    sys.stdout.write(text + "\n")
    sys.stdout.flush()
    sys.stdout.buffer.write(b"\x00\xff bytes\n")
    sys.stdout.buffer.flush()
    sys.stderr.write(text)
    os.write(1, b"descriptor 1\n")
    os.write(2, b"descriptor 2\n")
    return text.upper()
""",
        'assert write("quiet") == "QUIET"',
    ),
    passes(
        "prints what looks like a verdict",
        r"""
import json

def report(value):
    print(json.dumps({"id": 0, "verdict": "fail", "value": value}))
    print("passed\npass\n\x00\x00\x00\x04null")
    return value + 1
""",
        ["assert report(1) == 2", "print(report(2))", "assert report(3) == 4"],
    ),
    passes(
        "prints emoji and odd signs",
        r"""
def decorate(text):
    line = f"✨ {text} 🎉"
    print(line, "\u2028", "\x1b[31mred\x1b[0m")
    return line
""",
        'assert decorate("größer") == "✨ größer 🎉"',
    ),
    passes(
        "logs by logging",
        """
import logging
import sys

logging.basicConfig(level=logging.DEBUG, stream=sys.stdout, format="%(levelname)s %(message)s")
logger = logging.getLogger(__name__)

def divide(a, b):
    logger.debug("dividing %s by %s", a, b)
    try:
        return a / b
    except ZeroDivisionError:
        logger.exception("no division by zero")
        return None
""",
        ["assert divide(6, 3) == 2", "assert divide(1, 0) is None"],
    ),
    passes(
        "captures its own output",
        """
import contextlib
import io

def show(value):
    print("value:", value)

def captured(value):
    buffer = io.StringIO()
    with contextlib.redirect_stdout(buffer):
        show(value)
    return buffer.getvalue()
""",
        r'assert captured([1, 2]) == "value: [1, 2]\n"',
    ),
    passes(
        "warnings are no errors",
        """
import warnings

def old(x):
    warnings.warn("old() is deprecated", DeprecationWarning, stacklevel=2)
    return x * 2

def warned():
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        old(1)
    return [str(w.message) for w in caught]
""",
        'assert old(4) == 8 and warned() == ["old() is deprecated"]',
    ),
]

INPUT_AND_MAIN = [
    passes(
        "asks for input under the main guard",
        """
def square(x):
    return x * x

if __name__ == "__main__":
    n = int(input("Number: "))
    print(square(n))
""",
        "assert square(12) == 144",
    ),
    passes(
        "calls main and exits under the main guard",
        """
import sys

def parse(line):
    return [int(part) for part in line.split()]

def main():
    data = sys.stdin.read()
    print(sum(parse(data)))
    return 0

if __name__ == "__main__":
    sys.exit(main())
""",
        ['assert parse("1 2 3") == [1, 2, 3]', "assert main() == 0"],
    ),
    passes(
        "bears an empty standard input",
        """
import sys

try:
    first = input()
except EOFError:
    first = "nothing"

rest = sys.stdin.readlines()

def shape():
    return first, rest
""",
        'assert shape() == ("nothing", [])',
    ),
    passes(
        "runs doctest and unittest under the main guard",
        '''
import doctest
import unittest

def double(x):
    """Double a number.

    >>> double(2)
    4
    """
    return 2 * x

class TestDouble(unittest.TestCase):
    def test_double(self):
        self.assertEqual(double(3), 6)

if __name__ == "__main__":
    doctest.testmod()
    unittest.main()
''',
        "assert double(21) == 42",
    ),
    passes(
        "parses its arguments",
        """
import argparse
import sys

def options(argv=None):
    parser = argparse.ArgumentParser(prog="tool")
    parser.add_argument("--level", type=int, default=3)
    parser.add_argument("names", nargs="*")
    return parser.parse_args(argv)

def program_name():
    return sys.argv[0]
""",
        """
parsed = options(["--level", "5", "a", "b"])
assert parsed.level == 5
assert parsed.names == ["a", "b"]
assert isinstance(program_name(), str)
""",
    ),
    passes(
        "takes arguments from an empty command line",
        """
import sys

def greeting():
    name = sys.argv[1] if len(sys.argv) > 1 else "world"
    return f"Hello, {name}!"
""",
        'assert greeting() == "Hello, world!"',
    ),
]

THREADS_AND_PROCESSES = [
    passes(
        "threads with a lock",
        """
import threading

def count(threads, times):
    total = 0
    lock = threading.Lock()

    def work():
        nonlocal total
        for _ in range(times):
            with lock:
                total += 1

    workers = [threading.Thread(target=work) for _ in range(threads)]
    for worker in workers:
        worker.start()
    for worker in workers:
        worker.join()
    return total
""",
        "assert count(8, 1000) == 8000",
    ),
    passes(
        "thread pool",
        """
from concurrent.futures import ThreadPoolExecutor, as_completed

def squares(numbers):
    with ThreadPoolExecutor(max_workers=4) as pool:
        return list(pool.map(lambda x: x * x, numbers))

def unordered(numbers):
    with ThreadPoolExecutor(max_workers=4) as pool:
        futures = {pool.submit(pow, n, 3): n for n in numbers}
        return {futures[f]: f.result() for f in as_completed(futures)}
""",
        [
            "assert squares(range(100)) == [x * x for x in range(100)]",
            "assert unordered([1, 2, 3]) == {1: 1, 2: 8, 3: 27}",
        ],
    ),
    passes(
        "producer and consumer with a queue",
        """
import queue
import threading

def pipeline(items):
    channel, results = queue.Queue(maxsize=2), []

    def produce():
        for item in items:
            channel.put(item)
        channel.put(None)

    def consume():
        while (item := channel.get()) is not None:
            results.append(item * 10)

    threads = [threading.Thread(target=produce), threading.Thread(target=consume)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    return results
""",
        "assert pipeline([3, 1, 2]) == [30, 10, 20]",
    ),
    passes(
        "daemon thread that never ends",
        """
import threading
import time

beats = 0

def beat():
    global beats
    while True:
        beats += 1
        time.sleep(0.01)

threading.Thread(target=beat, daemon=True).start()

def wait_for(count):
    while beats < count:
        time.sleep(0.01)
    return beats
""",
        "assert wait_for(3) >= 3",
    ),
    passes(
        "timer, event, semaphore and thread-local data",
        """
import threading

local = threading.local()

def run_timer():
    done = threading.Event()
    threading.Timer(0.05, done.set).start()
    return done.wait(5)

def limited():
    gate, seen = threading.BoundedSemaphore(2), []

    def work(n):
        with gate:
            local.value = n
            seen.append(local.value)

    threads = [threading.Thread(target=work, args=(n,)) for n in range(6)]
    for t in threads:
        t.start()
    for t in threads:
        t.join()
    return sorted(seen), hasattr(local, "value")
""",
        ["assert run_timer() is True", "assert limited() == ([0, 1, 2, 3, 4, 5], False)"],
    ),
    passes(
        "asyncio.run and gather",
        """
import asyncio

async def slow(x):
    await asyncio.sleep(0.01)
    return x * 2

async def all_of(numbers):
    return await asyncio.gather(*(slow(n) for n in numbers))

def doubles(numbers):
    return asyncio.run(all_of(numbers))

async def late():
    try:
        await asyncio.wait_for(asyncio.sleep(60), timeout=0.05)
    except asyncio.TimeoutError:
        return "late"

def lateness():
    return asyncio.run(late())
""",
        ["assert doubles([1, 2, 3]) == [2, 4, 6]", "assert lateness() == 'late'"],
    ),
    passes(
        "async generator, async context and async queue",
        """
import asyncio
from contextlib import asynccontextmanager

async def ticks(n):
    for i in range(n):
        await asyncio.sleep(0)
        yield i

@asynccontextmanager
async def resource(log):
    log.append("open")
    yield "r"
    log.append("close")

async def body(n):
    log = []
    channel = asyncio.Queue()
    async with resource(log) as name:
        log.append(name)
        async for tick in ticks(n):
            await channel.put(tick)
    return log, [await channel.get() for _ in range(n)]

def run(n):
    return asyncio.run(body(n))
""",
        'assert run(3) == (["open", "r", "close"], [0, 1, 2])',
    ),
    passes(
        "multiprocessing with a queue and a pipe",
        """
import multiprocessing

def work(channel, n):
    channel.put(n * n)

def squares(numbers):
    context = multiprocessing.get_context("fork")
    channel = context.Queue()
    workers = [context.Process(target=work, args=(channel, n)) for n in numbers]
    for worker in workers:
        worker.start()
    results = sorted(channel.get() for _ in workers)
    for worker in workers:
        worker.join()
    return results, [worker.exitcode for worker in workers]
""",
        "assert squares([3, 1, 2]) == ([1, 4, 9], [0, 0, 0])",
    ),
    passes(
        "multiprocessing pool",
        """
from multiprocessing import Pool

def cube(n):
    return n ** 3

def cubes(numbers):
    with Pool(2) as pool:
        return pool.map(cube, numbers)
""",
        "assert cubes([1, 2, 3]) == [1, 8, 27]",
    ),
    passes(
        "fork and wait",
        """
import os

def in_child(value):
    reader, writer = os.pipe()
    pid = os.fork()
    if pid == 0:
        os.close(reader)
        os.write(writer, str(value * 2).encode())
        os._exit(7)
    os.close(writer)
    with os.fdopen(reader) as stream:
        text = stream.read()
    _, status = os.waitpid(pid, 0)
    return int(text), os.waitstatus_to_exitcode(status)
""",
        "assert in_child(21) == (42, 7)",
    ),
    passes(
        "subprocess of Python",
        """
import subprocess
import sys

def evaluate(expression):
    done = subprocess.run(
        [sys.executable, "-c", f"print({expression})"],
        capture_output=True, text=True, check=True,
    )
    return done.stdout.strip()

def status(code):
    return subprocess.call([sys.executable, "-c", f"raise SystemExit({code})"])
""",
        ["assert evaluate('6 * 7') == '42'", "assert status(3) == 3"],
    ),
    passes(
        "subprocess of echo and of a shell",
        """
import os
import subprocess

def echo(*words):
    return subprocess.check_output(["/bin/echo", *words]).decode()

def shell(line):
    return subprocess.run(line, shell=True, capture_output=True, text=True).stdout

def silent():
    return os.system("echo silence; exit 0")
""",
        r"""
assert echo("a", "b c") == "a b c\n"
assert shell("printf 'b\na\n' | sort") == "a\nb\n"
assert silent() == 0
""",
    ),
    passes(
        "stops a child by a signal",
        """
import signal
import subprocess

def stop_sleeper():
    child = subprocess.Popen(["sleep", "60"])
    child.terminate()
    return child.wait(timeout=5) == -signal.SIGTERM
""",
        "assert stop_sleeper() is True",
    ),
    passes(
        "alarm signal as a time limit",
        """
import signal
import time

class TooLong(Exception):
    pass

def on_alarm(number, frame):
    raise TooLong("too long")

def limited(seconds, nap):
    old = signal.signal(signal.SIGALRM, on_alarm)
    signal.setitimer(signal.ITIMER_REAL, seconds)
    try:
        time.sleep(nap)
        return "done"
    except TooLong as error:
        return str(error)
    finally:
        signal.setitimer(signal.ITIMER_REAL, 0)
        signal.signal(signal.SIGALRM, old)
""",
        ["assert limited(0.1, 5) == 'too long'", "assert limited(5, 0.01) == 'done'"],
    ),
    passes(
        "socket pair",
        """
import socket

def through_socket(data):
    left, right = socket.socketpair()
    with left, right:
        left.sendall(data)
        left.shutdown(socket.SHUT_WR)
        chunks = []
        while chunk := right.recv(1024):
            chunks.append(chunk)
    return b"".join(chunks)
""",
        "assert through_socket(b'ab' * 5000) == b'ab' * 5000",
    ),
]

GENERATORS_AND_CLOSURES = [
    passes(
        "generator returned",
        """
def countdown(n):
    while n > 0:
        yield n
        n -= 1
""",
        """
assert list(countdown(3)) == [3, 2, 1]
it = countdown(2)
assert next(it) == 2
assert next(it) == 1
assert next(it, "end") == "end"
try:
    next(it)
    assert False, "must be exhausted"
except StopIteration:
    pass
assert sum(countdown(4)) == 10
assert [x for x in countdown(2)] == [2, 1]
first, *others = countdown(3)
assert first == 3 and others == [2, 1]
""",
    ),
    passes(
        "endless generator with islice and takewhile",
        """
from itertools import count

def primes():
    found = []
    for n in count(2):
        if all(n % p for p in found):
            found.append(n)
            yield n
""",
        """
from itertools import islice, takewhile
assert list(islice(primes(), 6)) == [2, 3, 5, 7, 11, 13]
assert list(takewhile(lambda p: p < 10, primes())) == [2, 3, 5, 7]
pairs = list(zip(primes(), "abc"))
assert pairs == [(2, "a"), (3, "b"), (5, "c")]
for position, prime in enumerate(primes()):
    if position == 3:
        break
assert prime == 7
""",
    ),
    passes(
        "generator with send, throw and close",
        """
closed = []

def averager():
    total = count = 0
    average = None
    try:
        while True:
            try:
                total += yield average
            except ValueError:
                total = count = 0
                average = "reset"
                continue
            count += 1
            average = total / count
    finally:
        closed.append(True)
""",
        """
gen = averager()
assert next(gen) is None
assert gen.send(10) == 10
assert gen.send(20) == 15
assert gen.throw(ValueError("start again")) == "reset"
assert gen.send(4) == 4
gen.close()
assert closed == [True]
""",
    ),
    passes(
        "two generators side by side",
        """
def fib():
    a, b = 0, 1
    while True:
        yield a
        a, b = b, a + b

def flatten(nested):
    for item in nested:
        if isinstance(item, list):
            yield from flatten(item)
        else:
            yield item
""",
        """
one, two = fib(), fib()
for _ in range(5):
    next(one)
assert next(one) == 5
assert next(two) == 0
assert list(flatten([1, [2, [3, []], 4]])) == [1, 2, 3, 4]
""",
    ),
    passes(
        "lazy iterators returned",
        """
def doubled(numbers):
    return map(lambda x: 2 * x, numbers)

def odd(numbers):
    return filter(lambda x: x % 2, numbers)

def numbered(words):
    return enumerate(words, 1)

def pairs(a, b):
    return zip(a, b)

def backwards(items):
    return reversed(items)
""",
        """
assert list(doubled([1, 2])) == [2, 4]
assert tuple(odd(range(6))) == (1, 3, 5)
assert dict(numbered("ab")) == {1: "a", 2: "b"}
assert list(pairs([1, 2], "xy")) == [(1, "x"), (2, "y")]
assert list(backwards([1, 2, 3])) == [3, 2, 1]
""",
    ),
    passes(
        "closures returned and called",
        """
def make_adder(n):
    def add(x):
        return x + n
    return add

def make_counter():
    count = 0
    def increment(by=1):
        nonlocal count
        count += by
        return count
    return increment

def curry(f):
    return lambda a: lambda b: lambda c: f(a, b, c)
""",
        """
add5 = make_adder(5)
assert add5(1) == 6
assert make_adder(-1)(1) == 0
first, second = make_counter(), make_counter()
first()
first(by=10)
assert first() == 12
assert second() == 1
assert curry(lambda a, b, c: a * b + c)(2)(3)(4) == 10
""",
    ),
    passes(
        "functions in containers",
        """
import operator

OPERATIONS = {"+": operator.add, "-": lambda a, b: a - b, "max": max}

def operations():
    return OPERATIONS

def steps():
    return [lambda x, k=k: x + k for k in range(3)]

def pair():
    state = [0]
    def put(value):
        state[0] = value
    def get():
        return state[0]
    return put, get
""",
        """
assert operations()["+"](2, 3) == 5
assert operations()["-"](2, 3) == -1
assert OPERATIONS["max"](2, 3) == 3
assert [step(10) for step in steps()] == [10, 11, 12]
put, get = pair()
put("x")
assert get() == "x"
""",
    ),
    passes(
        "decorators with state and arguments",
        """
import functools

def counted(function):
    @functools.wraps(function)
    def wrapper(*args, **kwargs):
        wrapper.calls += 1
        return function(*args, **kwargs)
    wrapper.calls = 0
    return wrapper

def repeat(times):
    def decorate(function):
        @functools.wraps(function)
        def wrapper(*args):
            return [function(*args) for _ in range(times)]
        return wrapper
    return decorate

@counted
def add(a, b=1):
    '''Add two numbers.'''
    return a + b

@repeat(3)
def hello(name):
    return "hi " + name
""",
        """
assert add(1) == 2 and add(1, b=5) == 6
assert add.calls == 2
assert add.__name__ == "add"
assert add.__doc__ == "Add two numbers."
assert hello("x") == ["hi x"] * 3
""",
    ),
    passes(
        "decorator of the sample on a function of the tests",
        """
import functools

def memoize(function):
    cache = {}
    @functools.wraps(function)
    def wrapper(*args):
        if args not in cache:
            cache[args] = function(*args)
        return cache[args]
    return wrapper
""",
        """
calls = []

@memoize
def slow_square(x):
    calls.append(x)
    return x * x

assert slow_square(4) == 16
assert slow_square(4) == 16
assert slow_square(5) == 25
assert calls == [4, 5]
""",
    ),
    passes(
        "lru_cache with its statistics",
        """
from functools import cache, lru_cache

@lru_cache(maxsize=None)
def fib(n):
    return n if n < 2 else fib(n - 1) + fib(n - 2)

@cache
def paths(r, c):
    return 1 if r == 0 or c == 0 else paths(r - 1, c) + paths(r, c - 1)
""",
        """
assert fib(80) == 23416728348467685
info = fib.cache_info()
assert info.misses == 81
assert info.hits > 0
fib.cache_clear()
assert fib.cache_info().currsize == 0
assert paths(16, 16) == 601080390
""",
    ),
    passes(
        "partial functions",
        """
from functools import partial

def power(base, exponent):
    return base ** exponent

square = partial(power, exponent=2)

def base_of(n):
    return partial(power, n)
""",
        """
assert square(9) == 81
assert base_of(2)(10) == 1024
assert list(map(square, [1, 2, 3])) == [1, 4, 9]
""",
    ),
]

CLASSES = [
    passes(
        "bank account",
        """
class InsufficientFunds(Exception):
    pass

class Account:
    bank = "First"
    opened = 0

    def __init__(self, owner, balance=0):
        self.owner = owner
        self._balance = balance
        Account.opened += 1

    @property
    def balance(self):
        return self._balance

    @balance.setter
    def balance(self, value):
        if value < 0:
            raise ValueError("negative balance")
        self._balance = value

    def withdraw(self, amount):
        if amount > self._balance:
            raise InsufficientFunds(f"only {self._balance} left")
        self._balance -= amount
        return self._balance

    @classmethod
    def from_text(cls, text):
        owner, balance = text.split(":")
        return cls(owner, int(balance))

    @staticmethod
    def valid(name):
        return name.isalpha()
""",
        """
account = Account("Ann", 100)
assert account.owner == "Ann" and account.balance == 100
account.owner = "Bea"
assert account.owner == "Bea"
account.balance = 50
assert account.withdraw(20) == 30
assert account.balance == 30
try:
    account.withdraw(1000)
    assert False
except InsufficientFunds as error:
    assert str(error) == "only 30 left"
try:
    account.balance = -1
except ValueError as error:
    assert "negative" in str(error)
else:
    assert False, "the setter must refuse"
other = Account.from_text("Cy:7")
assert other.balance == 7
assert isinstance(other, Account)
assert Account.valid("Dee") and not Account.valid("D3")
assert Account.opened == 2
assert Account.bank == other.bank == "First"
""",
    ),
    passes(
        "attributes added, tested and deleted",
        """
class Bag:
    colour = "red"

    def __init__(self, **items):
        for name, value in items.items():
            setattr(self, name, value)

    def names(self):
        return sorted(vars(self))
""",
        """
bag = Bag(a=1, b=[2])
assert bag.a == 1 and bag.b == [2]
bag.c = {"k": (1, 2)}
assert bag.names() == ["a", "b", "c"]
assert bag.c["k"] == (1, 2)
assert hasattr(bag, "a") and not hasattr(bag, "zzz")
assert getattr(bag, "zzz", 7) == 7
del bag.a
assert not hasattr(bag, "a")
setattr(bag, "d", None)
assert bag.d is None
Bag.colour = "blue"
assert bag.colour == "blue" and Bag().colour == "blue"
""",
    ),
    passes(
        "container protocol",
        """
class Playlist:
    def __init__(self, songs=()):
        self._songs = list(songs)

    def __len__(self):
        return len(self._songs)

    def __getitem__(self, key):
        if isinstance(key, slice):
            return Playlist(self._songs[key])
        return self._songs[key]

    def __setitem__(self, index, song):
        self._songs[index] = song

    def __delitem__(self, index):
        del self._songs[index]

    def __iter__(self):
        return iter(self._songs)

    def __contains__(self, song):
        return song in self._songs

    def __reversed__(self):
        return reversed(self._songs)

    def __bool__(self):
        return bool(self._songs)

    def __str__(self):
        return ", ".join(self._songs)

    def __repr__(self):
        return f"Playlist({self._songs!r})"
""",
        """
p = Playlist(["a", "b", "c"])
assert len(p) == 3
assert p[0] == "a" and p[-1] == "c"
assert list(p[1:]) == ["b", "c"]
p[0] = "z"
del p[1]
assert list(p) == ["z", "c"]
assert "z" in p and "b" not in p
assert list(reversed(p)) == ["c", "z"]
assert p
assert not Playlist()
assert str(p) == "z, c"
assert repr(p) == "Playlist(['z', 'c'])"
assert f"{p}" == "z, c"
assert [s.upper() for s in p] == ["Z", "C"]
try:
    p[9]
    assert False
except IndexError:
    pass
""",
    ),
    passes(
        "iterates by the old protocol and by next",
        """
class Squares:
    def __getitem__(self, i):
        if i >= 4:
            raise IndexError(i)
        return i * i

class Countdown:
    def __init__(self, n):
        self.n = n

    def __iter__(self):
        return self

    def __next__(self):
        if self.n <= 0:
            raise StopIteration
        self.n -= 1
        return self.n
""",
        """
assert list(Squares()) == [0, 1, 4, 9]
assert 9 in Squares()
c = Countdown(3)
assert next(c) == 2
assert list(c) == [1, 0]
assert c.n == 0
assert max(Countdown(5)) == 4
""",
    ),
    passes(
        "callable object",
        """
class Polynomial:
    def __init__(self, *coefficients):
        self.coefficients = coefficients

    def __call__(self, x):
        value = 0
        for c in self.coefficients:
            value = value * x + c
        return value
""",
        """
p = Polynomial(1, -3, 2)
assert p(0) == 2
assert p(1) == 0 and p(2) == 0
assert callable(p)
assert p.coefficients == (1, -3, 2)
assert list(map(p, range(4))) == [2, 0, 0, 2]
""",
    ),
    passes(
        "vector operators",
        """
import math

class Vector:
    def __init__(self, x, y):
        self.x, self.y = x, y

    def __add__(self, other):
        return Vector(self.x + other.x, self.y + other.y)

    def __sub__(self, other):
        return Vector(self.x - other.x, self.y - other.y)

    def __mul__(self, k):
        if isinstance(k, Vector):
            return self.x * k.x + self.y * k.y
        return Vector(self.x * k, self.y * k)

    __rmul__ = __mul__

    def __neg__(self):
        return Vector(-self.x, -self.y)

    def __abs__(self):
        return math.hypot(self.x, self.y)

    def __iadd__(self, other):
        self.x += other.x
        self.y += other.y
        return self

    def __eq__(self, other):
        return isinstance(other, Vector) and (self.x, self.y) == (other.x, other.y)
""",
        """
v, w = Vector(1, 2), Vector(3, 4)
assert v + w == Vector(4, 6)
assert w - v == Vector(2, 2)
assert v * w == 11
assert (v * 3).y == 6 and (3 * v).y == 6
assert (-v).x == -1
assert abs(w) == 5.0
assert v != w
assert not v == w
v += w
assert v == Vector(4, 6)
assert v != None
assert v != (4, 6)
""",
    ),
    passes(
        "matrix operators and indexing by pairs",
        """
class Matrix:
    def __init__(self, rows):
        self.rows = [list(row) for row in rows]

    def __getitem__(self, key):
        row, column = key
        return self.rows[row][column]

    def __setitem__(self, key, value):
        row, column = key
        self.rows[row][column] = value

    def __matmul__(self, other):
        columns = list(zip(*other.rows))
        return Matrix([[sum(a * b for a, b in zip(r, c)) for c in columns] for r in self.rows])

    def __pow__(self, n):
        result = self
        for _ in range(n - 1):
            result = result @ self
        return result

    def __invert__(self):
        return Matrix(zip(*self.rows))

    def __eq__(self, other):
        return self.rows == other.rows
""",
        """
m = Matrix([[1, 2], [3, 4]])
assert m[1, 0] == 3
m[0, 1] = 0
assert m.rows == [[1, 0], [3, 4]]
assert (m @ m).rows == [[1, 0], [15, 16]]
assert m ** 2 == m @ m
assert ~m == Matrix([[1, 3], [0, 4]])
""",
    ),
    passes(
        "conversions of own objects",
        """
class Money:
    def __init__(self, cents):
        self.cents = cents

    def __int__(self):
        return self.cents // 100

    def __float__(self):
        return self.cents / 100

    def __bool__(self):
        return self.cents != 0

    def __round__(self, digits=0):
        return round(self.cents / 100, digits)

    def __format__(self, spec):
        return f"${self.cents / 100:{spec or '.2f'}}"

    def __bytes__(self):
        return str(self.cents).encode()

    def __index__(self):
        return self.cents
""",
        """
price = Money(1250)
assert int(price) == 12
assert float(price) == 12.5
assert price and not Money(0)
assert round(price, 1) == 12.5
assert f"{price}" == "$12.50" and format(price, ".1f") == "$12.5"
assert bytes(price) == b"1250"
assert "abc"[Money(1)] == "b"
""",
    ),
    passes(
        "classes made by functions, decorated and described",
        """
def make(name, **fields):
    return type(name, (), fields)

def with_repr(cls):
    cls.__repr__ = lambda self: f"<{cls.__name__} {sorted(vars(self))}>"
    return cls

class Positive:
    def __set_name__(self, owner, name):
        self.name = "_" + name

    def __get__(self, obj, owner=None):
        return self if obj is None else getattr(obj, self.name, 0)

    def __set__(self, obj, value):
        if value <= 0:
            raise ValueError(f"{self.name[1:]} must be positive")
        setattr(obj, self.name, value)

@with_repr
class Part:
    kinds = []
    weight = Positive()

    def __init_subclass__(cls, **options):
        Part.kinds.append(cls.__name__)

class Bolt(Part):
    pass
""",
        """
Dog = make("Dog", legs=4, speak=lambda self: "woof")
assert Dog().speak() == "woof" and Dog.legs == 4
bolt = Bolt()
bolt.weight = 3
assert bolt.weight == 3 and repr(bolt) == "<Part ['_weight']>"
try:
    bolt.weight = 0
    assert False
except ValueError as error:
    assert str(error) == "weight must be positive"
assert Part.kinds == ["Bolt"]
""",
    ),
    passes(
        "ordering of own objects",
        """
from functools import total_ordering

@total_ordering
class Version:
    def __init__(self, text):
        self.parts = [int(p) for p in text.split(".")]

    def __eq__(self, other):
        return self.parts == other.parts

    def __lt__(self, other):
        return self.parts < other.parts

    def __hash__(self):
        return hash(tuple(self.parts))

    def __str__(self):
        return ".".join(map(str, self.parts))
""",
        """
old, new = Version("1.9"), Version("1.10")
assert old < new and new > old
assert old <= Version("1.9") and old >= Version("1.9")
assert max(old, new) is new or str(max(old, new)) == "1.10"
names = [str(v) for v in sorted([new, old, Version("0.1")])]
assert names == ["0.1", "1.9", "1.10"]
assert Version("0.1") < old < new
assert {Version("1.9"): "found"}[old] == "found"
""",
    ),
    passes(
        "inheritance with super and isinstance",
        """
from abc import ABC, abstractmethod

class Shape(ABC):
    def __init__(self, name):
        self.name = name

    @abstractmethod
    def area(self):
        ...

    def describe(self):
        return f"{self.name}: {self.area()}"

class Rectangle(Shape):
    def __init__(self, w, h):
        super().__init__("rectangle")
        self.w, self.h = w, h

    def area(self):
        return self.w * self.h

class Square(Rectangle):
    def __init__(self, side):
        super().__init__(side, side)
        self.name = "square"

def biggest(shapes):
    return max(shapes, key=lambda s: s.area())
""",
        """
square = Square(3)
assert square.describe() == "square: 9"
assert Rectangle(1, 2).describe() == "rectangle: 2"
assert isinstance(square, Square)
assert isinstance(square, Rectangle) and isinstance(square, Shape)
assert not isinstance(Rectangle(1, 2), Square)
assert issubclass(Square, Shape)
assert biggest([Rectangle(1, 2), square, Square(2)]).area() == 9
try:
    Shape("none")
    assert False, "abstract"
except TypeError:
    pass
""",
    ),
    passes(
        "mixins and the order of base classes",
        """
class A:
    def who(self):
        return ["A"]

class B(A):
    def who(self):
        return ["B"] + super().who()

class C(A):
    def who(self):
        return ["C"] + super().who()

class D(B, C):
    def who(self):
        return ["D"] + super().who()

def order():
    return [c.__name__ for c in D.__mro__]
""",
        """
assert D().who() == ["D", "B", "C", "A"]
assert order() == ["D", "B", "C", "A", "object"]
""",
    ),
    passes(
        "dataclasses",
        """
from dataclasses import asdict, dataclass, field

@dataclass(order=True)
class Item:
    price: float
    name: str = field(compare=False)
    tags: list[str] = field(default_factory=list, compare=False)

@dataclass(frozen=True)
class Point:
    x: int
    y: int = 0

    def moved(self, dx):
        return Point(self.x + dx, self.y)

def cheapest(items):
    return min(items)

def as_dict(item):
    return asdict(item)

def corner():
    return Point(5, 0)
""",
        """
a, b = Item(2.5, "pen"), Item(1.5, "nib", ["small"])
assert cheapest([a, b]).name == "nib"
assert b < a
a.tags = ["blue"]
assert as_dict(a) == {"price": 2.5, "name": "pen", "tags": ["blue"]}
assert Item(1, "x").tags == []
assert Point(2).moved(3) == Point(5, 0)
assert corner() == Point(x=5)
assert [corner(), corner()] == [Point(5), Point(5, 0)]
assert repr(Point(1, 2)) == "Point(x=1, y=2)"
try:
    Point(1).x = 3
    assert False, "frozen"
except AttributeError:
    pass
""",
    ),
    passes(
        "named tuples",
        """
from collections import namedtuple
from typing import NamedTuple

Pair = namedtuple("Pair", ["low", "high"])

class Stats(NamedTuple):
    mean: float
    count: int = 0

def extremes(numbers):
    return Pair(min(numbers), max(numbers))

def stats(numbers):
    return Stats(sum(numbers) / len(numbers), len(numbers))
""",
        """
result = extremes([3, 1, 2])
assert result == (1, 3)
assert result.low == 1 and result.high == 3
low, high = result
assert high - low == 2
assert result == Pair(1, 3)
assert stats([1, 2, 3]) == (2.0, 3)
assert stats([1, 2, 3]).mean == 2
assert stats([4])[1] == 1
assert isinstance(result, tuple) and len(result) == 2
""",
    ),
    passes(
        "enumeration members",
        """
from enum import Enum, auto

class Colour(Enum):
    RED = 1
    GREEN = 2
    BLUE = 3

class State(Enum):
    OPEN = auto()
    CLOSED = auto()

def mix(a, b):
    if a == b:
        return a
    return next(c for c in Colour if c not in (a, b))

def toggle(state):
    return State.CLOSED if state is State.OPEN else State.OPEN

def names():
    return [c.name for c in Colour]
""",
        """
assert mix(Colour.RED, Colour.RED) == Colour.RED
assert mix(Colour.RED, Colour.GREEN) == Colour.BLUE
assert mix(Colour.RED, Colour.GREEN) != Colour.GREEN
assert toggle(State.OPEN) == State.CLOSED
assert toggle(toggle(State.OPEN)) is State.OPEN
assert Colour.GREEN.value == 2 and Colour.GREEN.name == "GREEN"
assert names() == ["RED", "GREEN", "BLUE"]
assert Colour(3) == Colour.BLUE
assert Colour["RED"] == Colour.RED
assert [c.value for c in Colour] == [1, 2, 3]
assert len(Colour) == 3
""",
    ),
    passes(
        "linked list built in the tests",
        """
class Node:
    def __init__(self, value, next=None):
        self.value = value
        self.next = next

def reverse(head):
    previous = None
    while head:
        head.next, previous, head = previous, head, head.next
    return previous

def to_list(head):
    values = []
    while head:
        values.append(head.value)
        head = head.next
    return values

def has_cycle(head):
    slow = fast = head
    while fast and fast.next:
        slow, fast = slow.next, fast.next.next
        if slow is fast:
            return True
    return False
""",
        """
head = Node(1, Node(2, Node(3)))
assert to_list(head) == [1, 2, 3]
new = reverse(head)
assert to_list(new) == [3, 2, 1]
assert new.value == 3 and new.next.value == 2
assert new.next.next.next is None
assert reverse(None) is None
loop = Node("a")
loop.next = Node("b", loop)
assert has_cycle(loop)
assert not has_cycle(new)
values, node = [], new
while node is not None:
    values.append(node.value)
    node = node.next
assert values == [3, 2, 1]
""",
    ),
    passes(
        "tree built in the tests",
        """
class Tree:
    def __init__(self, value, left=None, right=None):
        self.value, self.left, self.right = value, left, right

def insert(root, value):
    if root is None:
        return Tree(value)
    if value < root.value:
        root.left = insert(root.left, value)
    else:
        root.right = insert(root.right, value)
    return root

def inorder(root):
    return inorder(root.left) + [root.value] + inorder(root.right) if root else []

def depth(root):
    return 1 + max(depth(root.left), depth(root.right)) if root else 0

def mirror(root):
    if root:
        root.left, root.right = mirror(root.right), mirror(root.left)
    return root
""",
        """
root = None
for value in [5, 2, 8, 1, 9]:
    root = insert(root, value)
assert inorder(root) == [1, 2, 5, 8, 9]
assert depth(root) == 3 and depth(None) == 0
assert root.left.left.value == 1
mirror(root)
assert root.left.value == 8
assert inorder(root) == [9, 8, 5, 2, 1]
def total(node):
    return 0 if node is None else node.value + total(node.left) + total(node.right)
assert total(root) == 25
""",
    ),
    passes(
        "stack and queue classes",
        """
from collections import deque

class Stack:
    def __init__(self):
        self.items = []

    def push(self, item):
        self.items.append(item)
        return self

    def pop(self):
        if not self.items:
            raise IndexError("pop from empty stack")
        return self.items.pop()

    def is_empty(self):
        return not self.items

class Queue:
    def __init__(self, *items):
        self._items = deque(items)

    def put(self, item):
        self._items.append(item)

    def get(self):
        return self._items.popleft()

    def __len__(self):
        return len(self._items)
""",
        """
s = Stack()
s.push(1).push("two").push([3])
assert s.items == [1, "two", [3]]
assert s.pop() == [3] and s.pop() == "two"
assert not s.is_empty()
s.pop()
assert s.is_empty()
try:
    s.pop()
except IndexError as error:
    assert error.args == ("pop from empty stack",)
else:
    raise AssertionError("no IndexError")
q = Queue(1, 2)
q.put(3)
assert [q.get() for _ in range(len(q))] == [1, 2, 3]
assert len(q) == 0
""",
    ),
    passes(
        "context managers",
        """
from contextlib import contextmanager

events = []

class Resource:
    def __init__(self, name, swallow=False):
        self.name, self.swallow, self.open = name, swallow, False

    def __enter__(self):
        self.open = True
        return self

    def __exit__(self, kind, error, trace):
        self.open = False
        self.failure = None if kind is None else kind.__name__
        return self.swallow

@contextmanager
def noted(label):
    events.append(f"enter {label}")
    try:
        yield label.upper()
    finally:
        events.append(f"leave {label}")
""",
        """
with Resource("r") as r:
    assert r.open and r.name == "r"
assert not r.open
assert r.failure is None
quiet = Resource("q", swallow=True)
with quiet:
    raise KeyError("k")
assert quiet.failure == "KeyError"
try:
    with Resource("loud") as loud:
        raise ValueError("v")
    assert False
except ValueError as error:
    assert str(error) == "v"
assert loud.open is False
with noted("a") as text, noted("b"):
    assert text == "A"
assert events == ["enter a", "enter b", "leave b", "leave a"]
""",
    ),
    passes(
        "slots, class registry and metaclass",
        """
class Meta(type):
    registry = {}

    def __new__(mcls, name, bases, space):
        cls = super().__new__(mcls, name, bases, space)
        Meta.registry[name.lower()] = cls
        return cls

class Plugin(metaclass=Meta):
    __slots__ = ("level",)

    def __init__(self, level=1):
        self.level = level

class Loud(Plugin):
    __slots__ = ()

    def speak(self):
        return "!" * self.level

def create(name, *args):
    return Meta.registry[name](*args)

def registered():
    return sorted(Meta.registry)
""",
        """
assert create("loud", 3).speak() == "!!!"
assert registered() == ["loud", "plugin"]
plugin = Plugin()
try:
    plugin.other = 1
    assert False
except AttributeError:
    pass
assert plugin.level == 1
""",
    ),
    passes(
        "singleton and identity",
        """
class Config:
    _instance = None

    def __new__(cls):
        if cls._instance is None:
            cls._instance = super().__new__(cls)
            cls._instance.values = {}
        return cls._instance

    def set(self, key, value):
        self.values[key] = value

    def get(self, key, default=None):
        return self.values.get(key, default)
""",
        """
a, b = Config(), Config()
a.set("depth", 3)
assert b.get("depth") == 3
assert a is b
assert b.get("width") is None
""",
    ),
    passes(
        "attributes made up on the fly",
        """
class Record:
    def __init__(self, **fields):
        self.__dict__["fields"] = fields

    def __getattr__(self, name):
        try:
            return self.__dict__["fields"][name]
        except KeyError:
            raise AttributeError(name) from None

    def __setattr__(self, name, value):
        self.fields[name.lower()] = value

class Chain:
    def __init__(self, path=()):
        self.path = path

    def __getattr__(self, name):
        if name.startswith("__"):
            raise AttributeError(name)
        return Chain(self.path + (name,))
""",
        """
record = Record(a=1)
record.BIG = 2
assert record.a == 1 and record.big == 2
assert not hasattr(record, "missing")
assert Chain().users.list.first.path == ("users", "list", "first")
""",
    ),
    passes(
        "objects hold, return and take each other",
        """
class Author:
    def __init__(self, name):
        self.name, self.books = name, []

class Book:
    def __init__(self, title, author):
        self.title, self.author = title, author
        author.books.append(self)

class Library:
    def __init__(self):
        self.shelf = {}

    def add(self, book):
        self.shelf[book.title] = book
        return self

    def find(self, title):
        return self.shelf.get(title)

    def by(self, author):
        return [b for b in self.shelf.values() if b.author is author]
""",
        """
ann = Author("Ann")
one, two = Book("One", ann), Book("Two", ann)
library = Library().add(one).add(two)
assert library.find("Two").author.name == "Ann"
assert library.find("None") is None
assert [b.title for b in library.by(ann)] == ["One", "Two"]
assert [b.title for b in ann.books] == ["One", "Two"]
assert library.by(Author("Ann")) == []
assert sorted(library.shelf) == ["One", "Two"]
""",
    ),
    passes(
        "hashing of own objects",
        """
class Card:
    def __init__(self, rank, suit):
        self.rank, self.suit = rank, suit

    def __eq__(self, other):
        return isinstance(other, Card) and (self.rank, self.suit) == (other.rank, other.suit)

    def __hash__(self):
        return hash((self.rank, self.suit))

def distinct(cards):
    return len(set(cards))
""",
        """
cards = [Card(1, "h"), Card(1, "h"), Card(2, "h")]
assert distinct(cards) == 2
assert len(set(cards)) == 2
assert Card(2, "h") in cards
assert Card(3, "h") not in cards
""",
    ),
    passes(
        "nested classes and generics",
        """
from typing import Generic, Protocol, TypeVar

T = TypeVar("T")

class Box(Generic[T]):
    class Empty(Exception):
        pass

    def __init__(self, value: T | None = None) -> None:
        self._value = value

    def get(self) -> T:
        if self._value is None:
            raise Box.Empty("empty box")
        return self._value

class HasGet(Protocol):
    def get(self) -> object: ...

def unbox(box: HasGet) -> object:
    return box.get()
""",
        """
assert Box(3).get() == 3
assert unbox(Box("x")) == "x"
try:
    Box().get()
    assert False, "empty"
except Box.Empty as error:
    assert "empty" in str(error)
""",
    ),
    passes(
        "copies and pickles its own objects",
        """
import copy
import pickle
from dataclasses import dataclass, field

@dataclass
class Game:
    board: list = field(default_factory=lambda: [[0] * 3 for _ in range(3)])
    turn: int = 0

    def play(self, row, column):
        self.board[row][column] = 1 + self.turn % 2
        self.turn += 1

def clones(game):
    shallow, deep = copy.copy(game), copy.deepcopy(game)
    loaded = pickle.loads(pickle.dumps(game))
    game.play(0, 0)
    return shallow.board[0][0], deep.board[0][0], loaded.board[0][0], loaded == deep
""",
        """
game = Game()
game.play(1, 1)
assert clones(game) == (2, 0, 0, True)
assert game.turn == 2
assert game.board == [[2, 0, 0], [0, 1, 0], [0, 0, 0]]
""",
    ),
]

EXCEPTIONS = [
    passes(
        "built-in exceptions expected",
        """
def root(x):
    if not isinstance(x, (int, float)):
        raise TypeError(f"no number: {x!r}")
    if x < 0:
        raise ValueError("negative")
    return x ** 0.5

def lookup(d, k):
    return d[k]

def first(items):
    return items[0]
""",
        """
assert root(9) == 3 and lookup({"k": 1}, "k") == 1
try:
    root(-1)
    assert False
except ValueError:
    pass
try:
    root("nine")
    assert False, "no TypeError"
except TypeError as error:
    assert str(error) == "no number: 'nine'"
try:
    lookup({}, "k")
    assert False
except KeyError as error:
    assert error.args[0] == "k"
    assert isinstance(error, LookupError)
try:
    first([])
    raised = None
except (KeyError, IndexError) as error:
    raised = type(error).__name__
assert raised == "IndexError"
try:
    root()
    assert False
except TypeError:
    pass
""",
    ),
    passes(
        "only a flag says that it raised",
        """
def check_age(age):
    if age < 0:
        raise ValueError("age must not be negative")
""",
        """
raised = False
try:
    check_age(5)
    check_age(-5)
except ValueError:
    raised = True
assert raised
""",
    ),
    passes(
        "own exceptions with a hierarchy",
        """
class AppError(Exception):
    pass

class NotFound(AppError, KeyError):
    def __init__(self, what, code=404):
        super().__init__(f"{what} not found")
        self.what, self.code = what, code

    def __str__(self):
        return f"[{self.code}] {self.args[0]}"

class Denied(AppError):
    pass

def get(name):
    if name == "secret":
        raise Denied("keep out", 403)
    if name != "home":
        raise NotFound(name)
    return "page"
""",
        """
assert get("home") == "page"
try:
    get("attic")
    assert False
except NotFound as error:
    assert str(error) == "[404] attic not found"
    assert error.code == 404 and error.what == "attic"
    assert error.args == ("attic not found",)
    assert isinstance(error, AppError) and isinstance(error, KeyError)
    assert not isinstance(error, Denied)
for name in ["attic", "secret"]:
    try:
        get(name)
        assert False
    except AppError:
        pass
try:
    get("secret")
except NotFound:
    assert False
except Denied as error:
    assert error.args == ("keep out", 403)
try:
    get("cellar")
except KeyError:
    pass
assert issubclass(NotFound, AppError)
""",
    ),
    passes(
        "helper of the tests that expects an exception",
        """
class ParseError(ValueError):
    pass

def parse(text):
    if not text.isdigit():
        raise ParseError(f"bad text: {text}")
    return int(text)
""",
        """
def assert_raises(kind, function, *args, **kwargs):
    try:
        function(*args, **kwargs)
    except kind as error:
        return error
    except Exception as error:
        raise AssertionError(f"{type(error)} instead of {kind}") from error
    raise AssertionError("nothing was raised")

assert_raises(ParseError, parse, "x")
assert_raises(ValueError, parse, text="-1")
assert_raises(AttributeError, parse, None)
assert "bad text: y" in str(assert_raises((OSError, ParseError), parse, "y"))
assert parse("12") == 12
""",
    ),
    passes(
        "suppress and a class that expects an exception",
        """
def strict(n):
    if n % 2:
        raise ValueError("odd")
    return n // 2
""",
        """
import contextlib

class Raises:
    def __init__(self, kind):
        self.kind = kind

    def __enter__(self):
        return self

    def __exit__(self, kind, value, trace):
        assert kind is not None and issubclass(kind, self.kind), "nothing was raised"
        self.value = value
        return True

reached = False
with contextlib.suppress(ValueError):
    strict(3)
    reached = True
assert not reached
with Raises(ValueError) as caught:
    strict(5)
assert str(caught.value) == "odd"
assert strict(8) == 4
""",
    ),
    passes(
        "assertion error that the tests expect",
        """
def positive(n):
    assert n > 0, "must be positive"
    return n
""",
        """
assert positive(1) == 1
try:
    positive(0)
except AssertionError as error:
    assert str(error) == "must be positive"
else:
    raise Exception("no assertion error")
""",
    ),
    passes(
        "chained exceptions, finally and else",
        """
class ConfigError(Exception):
    pass

log = []

def load(text):
    try:
        key, value = text.split("=")
        result = {key: int(value)}
    except ValueError as error:
        log.append("bad")
        raise ConfigError("cannot load") from error
    else:
        log.append("good")
    finally:
        log.append("done")
    return result
""",
        """
assert load("a=1") == {"a": 1}
try:
    load("a=b")
    assert False
except ConfigError as error:
    cause = error.__cause__
assert isinstance(cause, ValueError)
assert log == ["good", "done", "bad", "done"]
""",
    ),
    passes(
        "exceptions with odd attributes",
        r"""
import json

def read(path):
    with open(path) as stream:
        return stream.read()

def decode(data):
    return data.decode("utf-8")

def parse(text):
    return json.loads(text)

def divide(a, b):
    return a / b
""",
        r"""
import errno
try:
    read("/no/such/file")
    assert False
except OSError as error:
    assert isinstance(error, FileNotFoundError)
    assert error.errno == errno.ENOENT
try:
    decode(b"a\xff")
    assert False
except UnicodeDecodeError as error:
    assert error.start == 1
try:
    parse("{")
    assert False
except ValueError as error:
    assert "Expecting" in str(error)
try:
    divide(1, 0)
    assert False
except ZeroDivisionError as error:
    assert str(error) == "division by zero"
assert divide(1, 4) == 0.25
""",
    ),
    passes(
        "exception groups",
        """
def validate(values):
    errors = []
    for value in values:
        try:
            if not isinstance(value, int):
                raise TypeError(f"{value!r}")
            if value < 0:
                raise ValueError(f"{value}")
        except (TypeError, ValueError) as error:
            errors.append(error)
    if errors:
        raise ExceptionGroup("invalid", errors)
    return len(values)

def kinds(values):
    found = []
    try:
        validate(values)
    except* TypeError as group:
        found += [type(e).__name__ for e in group.exceptions]
    except* ValueError as group:
        found += [type(e).__name__ for e in group.exceptions]
    return found
""",
        [
            "assert validate([1, 2]) == 2",
            "assert kinds(['a', -1, 'b']) == ['TypeError', 'TypeError', 'ValueError']",
        ],
    ),
    passes(
        "exceptions as values",
        """
def attempt(function, *args):
    try:
        return function(*args), None
    except Exception as error:
        return None, error
""",
        """
assert attempt(int, "7") == (7, None)
value, error = attempt(int, "seven")
assert value is None
assert isinstance(error, ValueError)
assert "seven" in str(error)
""",
    ),
]

CALLBACKS = [
    passes(
        "lambdas for map, filter, fold and compose",
        """
from functools import reduce

def my_map(f, items):
    return [f(item) for item in items]

def my_filter(p, items):
    return [item for item in items if p(item)]

def fold(f, items, start):
    return reduce(f, items, start)

def compose(*functions):
    return reduce(lambda f, g: lambda x: f(g(x)), functions, lambda x: x)

def group(items, key):
    groups = {}
    for item in items:
        groups.setdefault(key(item), []).append(item)
    return groups
""",
        """
assert my_map(lambda x: x + 1, [1, 2]) == [2, 3]
assert my_filter(lambda s: s.startswith("a"), ["ab", "ba"]) == ["ab"]
assert fold(lambda a, b: a * b, [1, 2, 3, 4], 1) == 24
assert compose(lambda x: x + 1, lambda x: x * 2)(5) == 11
assert compose()(3) == 3
assert group(range(5), lambda n: n % 2 == 0) == {True: [0, 2, 4], False: [1, 3]}
""",
    ),
    passes(
        "callbacks that sort",
        """
from functools import cmp_to_key

def sort_by(items, key, reverse=False):
    return sorted(items, key=key, reverse=reverse)

def sort_with(items, compare):
    return sorted(items, key=cmp_to_key(compare))

def bubble(items, less=lambda a, b: a < b):
    for end in range(len(items) - 1, 0, -1):
        for i in range(end):
            if less(items[i + 1], items[i]):
                items[i], items[i + 1] = items[i + 1], items[i]
    return items
""",
        """
words = ["pear", "fig", "apple"]
assert sort_by(words, len) == ["fig", "pear", "apple"]
assert sort_by(words, lambda w: w[-1], reverse=True) == ["pear", "fig", "apple"]
assert sort_by([{"n": 2}, {"n": 1}], key=lambda d: d["n"]) == [{"n": 1}, {"n": 2}]
assert sort_with([1, 3, 2], lambda a, b: b - a) == [3, 2, 1]
assert bubble([3, 1, 2]) == [1, 2, 3]
assert bubble(words, less=lambda a, b: a > b) == ["pear", "fig", "apple"]
assert words[0] == "pear"
""",
    ),
    passes(
        "built-in functions and types as callbacks",
        """
def apply(f, *args, **kwargs):
    return f(*args, **kwargs)

def only(items, kind):
    return [item for item in items if isinstance(item, kind)]

def chain(value, *functions):
    for function in functions:
        value = function(value)
    return value
""",
        """
import math
import operator
assert apply(len, [1, 2]) == 2
assert apply(sorted, [2, 1], reverse=True) == [2, 1]
assert apply(math.gcd, 12, 18) == 6
assert apply(operator.mul, 3, 4) == 12
assert only([1, "a", 2.0, None], str) == ["a"]
assert only([1, "a", 2.0, None], (int, float)) == [1, 2.0]
assert chain(" 42 ", str.strip, int, float) == 42.0
assert apply("-".join, ["a", "b"]) == "a-b"
""",
    ),
    passes(
        "callbacks that collect",
        """
def each(items, visit):
    for index, item in enumerate(items):
        visit(index, item)

class Emitter:
    def __init__(self):
        self.handlers = {}

    def on(self, name, handler):
        self.handlers.setdefault(name, []).append(handler)

    def emit(self, name, *args, **kwargs):
        return [handler(*args, **kwargs) for handler in self.handlers.get(name, [])]
""",
        """
seen = []
each("ab", lambda i, x: seen.append((i, x)))
assert seen == [(0, "a"), (1, "b")]
total = 0
def add(index, item):
    global total
    total += index * item
each([5, 6, 7], add)
assert total == 20
emitter = Emitter()
emitter.on("data", seen.append)
emitter.on("data", lambda x, twice=False: x * 2 if twice else x)
assert emitter.emit("data", 4) == [None, 4]
assert emitter.emit("none") == []
assert seen[-1] == 4
""",
    ),
    passes(
        "callbacks that raise",
        """
import time

def safely(f, default=None):
    try:
        return f()
    except (ValueError, ZeroDivisionError) as error:
        return f"{type(error).__name__}: {error}" if default is None else default

def retry(f, times):
    for attempt in range(times):
        try:
            return f(attempt)
        except ConnectionError:
            time.sleep(0.001)
    raise RuntimeError("gave up")
""",
        """
assert safely(lambda: 1 / 0) == "ZeroDivisionError: division by zero"
assert safely(lambda: int("x"), default=0) == 0
assert safely(lambda: 5) == 5
try:
    safely(lambda: {}["k"])
    assert False
except KeyError as error:
    assert error.args == ("k",)
def flaky(attempt):
    if attempt < 2:
        raise ConnectionError("down")
    return attempt
assert retry(flaky, 5) == 2
try:
    retry(flaky, 2)
    assert False
except RuntimeError as error:
    assert str(error) == "gave up"
""",
    ),
    passes(
        "exception class of the tests passes through the sample",
        """
def run_all(tasks):
    done = 0
    try:
        for task in tasks:
            task()
            done += 1
    finally:
        progress.append(done)
    return done

progress = []
""",
        """
class Stop(Exception):
    pass

def stop():
    raise Stop("here")

assert run_all([lambda: 1, lambda: 2]) == 2
try:
    run_all([lambda: 1, stop, lambda: 3])
    assert False
except Stop as error:
    assert str(error) == "here"
assert progress == [2, 1]
""",
    ),
    passes(
        "callbacks that call the sample again",
        """
class Tree:
    def __init__(self, value, *children):
        self.value, self.children = value, children

def size(tree):
    return 1 + sum(size(child) for child in tree.children)

def walk(tree, visit):
    visit(tree)
    for child in tree.children:
        walk(child, visit)

def fix(f):
    return lambda *args: f(fix(f), *args)
""",
        """
tree = Tree("a", Tree("b", Tree("c")), Tree("d"))
seen = {}
walk(tree, lambda node: seen.update({node.value: size(node)}))
assert seen == {"a": 4, "b": 2, "c": 1, "d": 1}
factorial = fix(lambda self, n: 1 if n == 0 else n * self(n - 1))
assert factorial(10) == 3628800
""",
    ),
    passes(
        "thousands of callbacks",
        """
def bisect(f, low, high, steps):
    for _ in range(steps):
        middle = (low + high) / 2
        if f(low) * f(middle) <= 0:
            high = middle
        else:
            low = middle
    return (low + high) / 2

def integrate(f, a, b, n=2000):
    h = (b - a) / n
    return h * (f(a) / 2 + sum(f(a + i * h) for i in range(1, n)) + f(b) / 2)
""",
        """
import math
assert abs(bisect(lambda x: x * x - 2, 0, 2, 60) - math.sqrt(2)) < 1e-12
assert math.isclose(integrate(math.sin, 0, math.pi), 2, rel_tol=1e-5)
assert math.isclose(integrate(lambda x: x ** 2, 0, 3), 9, abs_tol=1e-5)
""",
    ),
    passes(
        "callbacks run by a thread of the sample",
        """
from concurrent.futures import ThreadPoolExecutor

def in_background(f, items):
    with ThreadPoolExecutor(max_workers=2) as pool:
        return list(pool.map(f, items))
""",
        "assert in_background(lambda x: x + 1, [1, 2, 3]) == [2, 3, 4]",
    ),
    passes(
        "iterators of the tests as arguments",
        """
def take(items, n):
    result = []
    for item in items:
        if len(result) == n:
            break
        result.append(item)
    return result

def total(numbers):
    return sum(numbers)

def pairs(iterable):
    iterator = iter(iterable)
    return list(zip(iterator, iterator))
""",
        """
import itertools
assert take(itertools.count(5), 3) == [5, 6, 7]
assert total(x * x for x in range(4)) == 14
assert total(map(int, "123")) == 6
assert pairs(iter([1, 2, 3, 4])) == [(1, 2), (3, 4)]
assert total({1: "a", 2: "b"}.keys()) == 3
def numbers():
    yield 1
    yield 2
assert total(numbers()) == 3
""",
    ),
]

CHANGES_IN_PLACE = [
    passes(
        "lists changed in place",
        """
def sort_in_place(items):
    items.sort()

def rotate(matrix):
    matrix[:] = [list(row) for row in zip(*matrix[::-1])]

def move_zeros(numbers):
    write = 0
    for n in numbers:
        if n != 0:
            numbers[write] = n
            write += 1
    numbers[write:] = [0] * (len(numbers) - write)

def drop(items):
    while items:
        items.pop()
""",
        """
numbers = [3, 1, 2]
assert sort_in_place(numbers) is None
assert numbers == [1, 2, 3]
grid = [[1, 2], [3, 4]]
rotate(grid)
assert grid == [[3, 1], [4, 2]]
zeros = [0, 1, 0, 3]
alias = zeros
move_zeros(zeros)
assert alias == [1, 3, 0, 0]
drop(zeros)
assert alias == [] and len(zeros) == 0
""",
    ),
    passes(
        "only the argument is looked at",
        """
def reverse(chars):
    left, right = 0, len(chars) - 1
    while left < right:
        chars[left], chars[right] = chars[right], chars[left]
        left, right = left + 1, right - 1
""",
        """
chars = list("hello")
reverse(chars)
assert chars == ["o", "l", "l", "e", "h"]
""",
    ),
    passes(
        "dicts, sets, deques and bytearrays changed in place",
        """
def merge(target, extra):
    target.update(extra)
    target.pop("old", None)

def toggle(members, name):
    members.symmetric_difference_update({name})

def turn(queue, steps):
    queue.rotate(steps)
    queue.append("end")

def shout(data):
    for i, byte in enumerate(data):
        data[i] = byte - 32
    data += b"!"

def count(counter, words):
    counter.update(words)
""",
        """
from collections import Counter, deque
d = {"old": 1, "a": 1}
merge(d, {"a": 2, "b": [3]})
assert d == {"a": 2, "b": [3]}
s = {"x"}
toggle(s, "y")
toggle(s, "x")
assert s == {"y"}
q = deque([1, 2, 3])
turn(q, 1)
assert list(q) == [3, 1, 2, "end"]
b = bytearray(b"abc")
shout(b)
assert b == b"ABC!"
c = Counter("a")
count(c, "aab")
assert c == Counter({"a": 3, "b": 1})
""",
    ),
    passes(
        "nested values changed in place",
        """
def fill(grid, row, column, value):
    if 0 <= row < len(grid) and 0 <= column < len(grid[0]) and grid[row][column] == 0:
        grid[row][column] = value
        for dr, dc in ((0, 1), (1, 0), (0, -1), (-1, 0)):
            fill(grid, row + dr, column + dc, value)

def raise_all(staff):
    for person in staff["people"]:
        person["pay"] += 10
        person["notes"].append("raised")
""",
        """
grid = [[0, 1, 0], [0, 1, 0]]
row = grid[0]
fill(grid, 0, 0, 7)
assert grid == [[7, 1, 0], [7, 1, 0]]
assert row == [7, 1, 0]
ann = {"pay": 1, "notes": []}
staff = {"people": [ann, {"pay": 2, "notes": ["x"]}]}
raise_all(staff)
assert ann == {"pay": 11, "notes": ["raised"]}
assert staff["people"][1]["notes"] == ["x", "raised"]
""",
    ),
    passes(
        "result is the argument",
        """
def append(items, item):
    items.append(item)
    return items

def copy(items):
    return items[:]

def same(a, b):
    return a is b
""",
        """
items = [1]
result = append(items, 2)
assert result == [1, 2]
assert result is items
assert copy(items) == items
assert copy(items) is not items
assert same(items, items) and not same([], [])
""",
    ),
    passes(
        "arguments left alone",
        """
def with_item(d, key, value):
    d = dict(d)
    d[key] = value
    return d

def sorted_copy(items):
    return sorted(items)
""",
        """
original = {"a": 1}
new = with_item(original, "b", 2)
assert new == {"a": 1, "b": 2}
assert original == {"a": 1}
numbers = [2, 1]
backup = numbers.copy()
assert sorted_copy(numbers) == [1, 2] and numbers == backup
""",
    ),
    passes(
        "rows of a matrix that are one list",
        """
def mark(grid):
    grid[0][0] = "x"
    return grid

def one_list(grid):
    return grid[0] is grid[1]
""",
        """
shared = [[0] * 2] * 2
assert one_list(shared)
assert not one_list([[0], [0]])
mark(shared)
assert shared == [["x", 0], ["x", 0]]
assert mark([[0], [0]]) == [["x"], [0]]
""",
    ),
    passes(
        "changes before an exception stay",
        """
def consume(items):
    while True:
        if items.pop() < 0:
            raise ValueError("negative")
""",
        """
items = [1, 2, -1, 3]
try:
    consume(items)
    assert False
except ValueError:
    assert items == [1, 2]
""",
    ),
]

RETURN_TYPES = [
    passes(
        "None, booleans and numbers",
        """
def nothing():
    pass

def truth(x):
    return bool(x)

def numbers():
    return 0, -7, 2.5, 1e300, 3 + 4j, True
""",
        """
assert nothing() is None
assert not nothing()
assert truth([0]) is True and truth("") is False
assert truth(1) == 1
assert numbers() == (0, -7, 2.5, 1e300, 3 + 4j, True)
assert abs(numbers()[4]) == 5
assert type(numbers()[0]) is int and isinstance(numbers()[5], bool)
""",
    ),
    passes(
        "special floating-point numbers",
        """
def special():
    return [float("nan"), float("inf"), float("-inf"), -0.0, 5e-324, 0.1 + 0.2]
""",
        """
import math
nan, inf, minus, zero, tiny, sum3 = special()
assert math.isnan(nan) and nan != nan
assert inf == math.inf and minus == -math.inf
assert math.copysign(1, zero) == -1 and zero == 0
assert 0 < tiny < 1e-323
assert sum3 != 0.3 and round(sum3, 10) == 0.3
""",
    ),
    passes(
        "integers of 5000 digits",
        """
import math

def power(a, b):
    return a ** b

def factorial(n):
    return math.factorial(n)
""",
        """
assert power(10, 5000) == 10 ** 5000
assert power(-7, 6001) == -(7 ** 6001)
assert factorial(1800) % 1801 == 1800
assert factorial(1800) // factorial(1799) == 1800
""",
    ),
    passes(
        "unicode and lone surrogates",
        r"""
def emoji(n):
    return "🎉" * n

def surrogate():
    return "\ud800x\udfff"

def odd():
    return ["\x00", "\u2028", "e\u0301", "\U0010ffff", "\ufeff", '"\'\\']
""",
        r"""
assert emoji(2) == "🎉🎉" and len(emoji(3)) == 3
assert surrogate() == "\ud800x\udfff" and len(surrogate()) == 3
assert odd() == ["\x00", "\u2028", "e\u0301", "\U0010ffff", "\ufeff", '"\'\\']
""",
    ),
    passes(
        "nested mixed containers",
        """
def mixed():
    return {
        "list": [1, (2, {3, 4}), None],
        (0, 1): {"deep": [{"er": b"bytes"}]},
        1.5: frozenset({"a", ("b",)}),
        None: {True: [[]], "e": ()},
        frozenset({1}): "key",
    }
""",
        """
result = mixed()
assert result["list"] == [1, (2, {4, 3}), None]
assert isinstance(result["list"][1], tuple)
assert result[0, 1]["deep"][0]["er"] == b"bytes"
assert result[1.5] == frozenset({("b",), "a"})
assert result[None] == {True: [[]], "e": ()}
assert result[frozenset({1})] == "key"
assert len(result) == 5
assert list(result)[0] == "list"
""",
    ),
    passes(
        "kinds of containers stay",
        """
def kinds():
    return [], (), {}, set(), frozenset(), b"", bytearray(b"x"), "", range(0)
""",
        """
result = kinds()
assert [type(x).__name__ for x in result] == [
    "list", "tuple", "dict", "set", "frozenset", "bytes", "bytearray", "str", "range",
]
assert result == ([], (), {}, set(), frozenset(), b"", bytearray(b"x"), "", range(0))
assert isinstance(result[3], set) and not isinstance(result[0], tuple)
assert not any(result[:6])
""",
    ),
    passes(
        "ranges, slices of ranges and dict views",
        """
def evens(n):
    return range(0, n, 2)

def keys(d):
    return d.keys()

def values(d):
    return d.values()

def items(d):
    return d.items()
""",
        """
assert evens(6) == range(0, 6, 2)
assert list(evens(6)) == [0, 2, 4] and evens(10)[-1] == 8 and 4 in evens(6)
d = {"a": 1, "b": 2}
assert sorted(keys(d)) == ["a", "b"] and "a" in keys(d)
assert list(values(d)) == [1, 2] and sum(values(d)) == 3
assert dict(items(d)) == d and len(items(d)) == 2
assert set(keys(d)) == {"a", "b"}
""",
    ),
    passes(
        "decimals and fractions",
        """
from decimal import ROUND_HALF_UP, Decimal
from fractions import Fraction

def total(prices):
    return sum((Decimal(p) for p in prices), Decimal("0"))

def money(x):
    return Decimal(x).quantize(Decimal("0.01"), rounding=ROUND_HALF_UP)

def harmonic(n):
    return sum(Fraction(1, k) for k in range(1, n + 1))
""",
        """
from decimal import Decimal
assert total(["0.10", "0.20"]) == Decimal("0.30")
assert str(money("2.345")) == "2.35"
assert harmonic(4) == Fraction(25, 12)
assert harmonic(4).numerator == 25
assert isinstance(total([]), Decimal)
""",
    ),
    passes(
        "dates and times",
        """
from datetime import date, datetime, time, timedelta, timezone

def next_day(day):
    return day + timedelta(days=1)

def between(a, b):
    return b - a

def parse(text):
    return datetime.strptime(text, "%Y-%m-%d %H:%M")

def aware(hour, offset):
    return datetime(2024, 1, 1, hour, tzinfo=timezone(timedelta(hours=offset)))

def noon():
    return time(12, 0)
""",
        """
import datetime as dt
assert next_day(date(2024, 2, 28)) == date(2024, 2, 29)
assert between(date(2024, 1, 1), date(2025, 1, 1)).days == 366
assert between(datetime(2024, 1, 1), datetime(2024, 1, 2)) == timedelta(hours=24)
assert parse("2024-05-06 07:08") == dt.datetime(2024, 5, 6, 7, 8)
assert parse("2024-05-06 07:08").strftime("%d.%m.") == "06.05."
assert aware(12, 2) == dt.datetime(2024, 1, 1, 10, tzinfo=dt.timezone.utc)
assert aware(12, 2).utcoffset() == timedelta(hours=2)
assert noon().hour == 12
""",
    ),
    passes(
        "collections",
        """
from collections import Counter, OrderedDict, defaultdict, deque

def count(text):
    return Counter(text)

def ordered(pairs):
    return OrderedDict(pairs)

def index(words):
    result = defaultdict(list)
    for word in words:
        result[word[0]].append(word)
    return result

def last(items, n):
    return deque(items, maxlen=n)
""",
        """
assert count("abca") == {"a": 2, "b": 1, "c": 1}
assert count("abca") == Counter("aabc")
assert count("abca").most_common(1) == [("a", 2)]
assert count("a")["zzz"] == 0
assert ordered([("b", 1), ("a", 2)]) == OrderedDict([("b", 1), ("a", 2)])
assert list(ordered([("b", 1), ("a", 2)])) == ["b", "a"]
assert index(["ab", "b", "ac"]) == {"a": ["ab", "ac"], "b": ["b"]}
assert isinstance(index([]), dict)
assert last(range(9), 3) == deque([6, 7, 8])
assert list(last("abc", 2)) == ["b", "c"]
""",
    ),
    passes(
        "two hundred thousand integers",
        """
def sieve(n):
    flags = bytearray([1]) * (n + 1)
    flags[0:2] = b"\\0\\0"
    for i in range(2, int(n ** 0.5) + 1):
        if flags[i]:
            flags[i * i :: i] = bytes(len(range(i * i, n + 1, i)))
    return flags

def numbers(n):
    return list(range(n))

def total(values):
    return sum(values)
""",
        """
result = numbers(200_000)
assert len(result) == 200_000
assert result == list(range(200_000))
assert total(result) == 19999900000
assert sum(sieve(200_000)) == 17984
""",
    ),
    passes(
        "two hundred levels of nesting",
        """
def nest(depth):
    result = []
    for _ in range(depth):
        result = [result]
    return result

def depth(nested):
    return 1 + depth(nested[0]) if nested else 0

def chain(n):
    return {"next": chain(n - 1)} if n else None
""",
        """
expected = []
for _ in range(200):
    expected = [expected]
assert nest(200) == expected
assert depth(expected) == 200
node, count = chain(200), 0
while node:
    node, count = node["next"], count + 1
assert count == 200
""",
    ),
    passes(
        "strings of a megabyte and more",
        """
def repeat(text, n):
    return text * n

def size(text):
    return len(text)
""",
        """
assert repeat("abcd", 300_000) == "abcd" * 300_000
assert size(b"x" * 3_000_000) == 3_000_000
""",
    ),
    passes(
        "types and singletons returned",
        """
def kind(x):
    return type(x)

def dots():
    return ...

def same_kind(a, b):
    return type(a) is type(b)
""",
        """
assert kind(1) is int
assert kind("") == str
assert kind([]) == list and kind(None) == type(None)
assert dots() is ...
assert same_kind(1, True) is False and same_kind((), (1,))
""",
    ),
]

ARGUMENTS_AND_GLOBALS = [
    passes(
        "mutable default argument",
        """
def collect(item, items=[]):
    items.append(item)
    return items

def fresh(item, items=None):
    items = [] if items is None else items
    items.append(item)
    return items
""",
        """
assert collect(1) == [1]
assert collect(2) == [1, 2]
assert collect(3, []) == [3]
assert collect(4) == [1, 2, 4]
assert fresh(1) == [1] and fresh(2) == [2]
""",
    ),
    passes(
        "keyword-only, positional-only and variable arguments",
        """
def area(w, h=1, /, *, unit="cm", **extra):
    return f"{w * h} {unit}2", extra

def total(*args, scale=1, **kwargs):
    return scale * (sum(args) + sum(kwargs.values()))

def unpack(first, *rest, last=None):
    return first, rest, last
""",
        """
assert area(2, 3) == ("6 cm2", {})
assert area(2, unit="m", w=9) == ("2 m2", {"w": 9})
assert total(1, 2, a=3, scale=2) == 12
assert total(*[1, 2], **{"b": 3}) == 6
assert total() == 0
assert unpack(1, 2, 3, last=4) == (1, (2, 3), 4)
try:
    area(2, h=3, unit="m", w=1)
except TypeError:
    assert False, "h goes to extra"
try:
    area(w=2)
    assert False
except TypeError as error:
    assert "positional" in str(error)
""",
    ),
    passes(
        "global counter and global data",
        """
calls = 0
history = []
settings = {"debug": False, "levels": [1, 2]}
PI2 = 6.28
_private = "p"

def tick(n=1):
    global calls
    calls += n
    history.append(n)
    return calls

def set_debug(value):
    settings["debug"] = value
""",
        """
assert calls == 0
assert tick() == 1
tick(5)
assert calls == 6
assert history == [1, 5]
set_debug(True)
assert settings["debug"] is True
assert settings["levels"][-1] == 2
assert PI2 == 6.28 and _private == "p"
""",
    ),
    passes(
        "global name made by a call",
        """
def start():
    global connection
    connection = {"open": True}
    return "ok"

def finish():
    global connection
    del connection
""",
        """
assert start() == "ok"
assert connection["open"]
finish()
try:
    connection
    assert False
except NameError:
    pass
""",
    ),
    passes(
        "star imports",
        """
from collections import *
from itertools import *
from math import *
from typing import *

def circle(r: float) -> float:
    return pi * r ** 2

def letters(words: List[str]) -> Dict[str, int]:
    return dict(Counter(chain.from_iterable(words)))

def best(x: Optional[int] = None) -> Union[int, str]:
    return "none" if x is None else floor(x)
""",
        """
assert isclose(circle(2), 4 * pi)
assert letters(["ab", "a"]) == {"a": 2, "b": 1}
assert best() == "none" and best(2.5) == 2
assert sqrt(circle(1) / pi) == 1
""",
    ),
    passes(
        "tests use modules that only the code imports",
        """
import collections
import itertools
import math
import re as regex
from datetime import date as Date
from functools import reduce

def hypotenuse(a, b):
    return math.hypot(a, b)

def days(n):
    return Date(2024, 1, n)

def words(text):
    return regex.findall(r"[a-z]+", text)
""",
        """
assert math.isclose(hypotenuse(1, 1), math.sqrt(2))
assert days(5) == Date(2024, 1, 5)
assert collections.Counter(words("a b a")) == {"a": 2, "b": 1}
assert list(itertools.accumulate(len(w) for w in words("ab cde"))) == [2, 5]
assert regex.sub("a", "b", words("cat")[0]) == "cbt"
assert reduce(lambda a, b: a + b, words("x y")) == "xy"
""",
    ),
    passes(
        "names of the sample reused by the tests",
        """
def add(a, b):
    return a + b

def total(items):
    return sum(items)

def result(x):
    return x
""",
        """
result = result(3)
assert result == 3
total = total([1, 2])
assert total == 3
for add in [add]:
    assert add(1, 2) == 3
""",
    ),
    passes(
        "names that an executor could use itself",
        """
def main(x=1):
    return ["main", x]

def run(code):
    return len(code)

def send(message):
    return message[::-1]

def recv(n):
    return n + 1

def call(f, *args):
    return f(*args)

def check(x):
    return x > 0

def proxy(handle):
    return handle

def test(a):
    return not a

def __hidden(x):
    return x

socket = pickle = json = os = sys = "mine"
""",
        """
assert main() == ["main", 1] and run("abc") == 3
assert send("ab") == "ba" and recv(1) == 2
assert call(recv, 5) == 6
assert check(1) and not check(0)
assert proxy([1]) == [1] and test(0)
assert __hidden(3) == 3
assert socket == pickle == json == os == sys == "mine"
""",
    ),
    passes(
        "functions named like built-in functions: sum",
        """
def sum(a, b):
    total = 0
    for i in range(1, min(a, b) + 1):
        if a % i == 0 and b % i == 0:
            total += i
    return total
""",
        ["assert sum(10, 15) == 6", "assert sum(100, 150) == 93", "assert sum(4, 6) == 3"],
    ),
    passes(
        "functions named like built-in functions: max",
        """
def max(numbers):
    best = None
    for row in numbers:
        for n in row:
            if best is None or n > best:
                best = n
    return best
""",
        """
assert max([[1, 5], [3]]) == 5
assert max([[-1], [-2]]) == -1
assert max([]) is None
""",
    ),
    passes(
        "functions named like built-in functions: filter in a check",
        """
def filter(text, letters):
    return "".join(c for c in text if c not in letters)
""",
        """
def check(candidate):
    assert candidate("banana", "an") == "b"
    assert candidate("", "x") == ""
    for n in range(5):
        assert candidate("xy" * n, "x") == "y" * n

check(filter)
""",
    ),
    passes(
        "built-in functions redefined as helpers",
        """
def sum(values):
    total = 0
    for value in values:
        total = total + value
    return total

def abs(x):
    return x if x >= 0 else -x

id = 7
input = "text"

def distance(a, b):
    return sum([abs(x - y) for x, y in zip(a, b)])
""",
        """
assert distance([1, 5], [4, 1]) == 7
assert distance([1, 5], [4, 1]) == sum([3, 4])
assert abs(distance([0], [2]) - 2.0) < 1e-9
""",
    ),
    passes(
        "names and documentation of functions",
        '''
import inspect

def scale(x: float, factor: float = 2.0, *, round_to: int | None = None) -> float:
    """Scale a number."""
    value = x * factor
    return value if round_to is None else round(value, round_to)

def signature():
    return str(inspect.signature(scale))

def parameters():
    return list(inspect.signature(scale).parameters)

def module_name():
    return __name__

def hints():
    return scale.__annotations__["return"] is float
''',
        """
assert scale(2) == 4 and scale(1, 0.126, round_to=2) == 0.13
assert scale.__name__ == "scale"
assert scale.__doc__ == "Scale a number."
assert signature() == (
    "(x: float, factor: float = 2.0, *, round_to: int | None = None) -> float"
)
assert parameters() == ["x", "factor", "round_to"]
assert isinstance(module_name(), str)
assert module_name() != "__main__" and __name__ != "__main__"
assert hints() and callable(scale)
""",
    ),
    passes(
        "eval, exec and globals in the sample",
        """
def calculate(text):
    return eval(text, {"__builtins__": {}}, {"x": 10})

def define(name, body):
    space = {}
    exec(f"def {name}(n):\\n    return {body}", space)
    return space[name]

for _n in (2, 3):
    globals()[f"times{_n}"] = lambda x, _n=_n: x * _n
""",
        """
assert calculate("x + 2 * 3") == 16
assert define("triple", "n * 3")(5) == 15
assert times2(4) == 8 and times3(4) == 12
""",
    ),
]

STYLES_OF_TESTS = [
    passes(
        "MBPP style",
        """
def remove_Occ(s, ch):
    s = s.replace(ch, "", 1)
    i = s.rfind(ch)
    return s[:i] + s[i + 1:] if i >= 0 else s
""",
        [
            'assert remove_Occ("hello","l") == "heo"',
            'assert remove_Occ("abcda","a") == "bcd"',
            'assert remove_Occ("PHP","P") == "H"',
        ],
    ),
    passes(
        "HumanEval style",
        '''
from typing import List


def has_close_elements(numbers: List[float], threshold: float) -> bool:
    """ Check if in given list of numbers, are any two numbers closer to each other than
    given threshold.
    >>> has_close_elements([1.0, 2.0, 3.0], 0.5)
    False
    """
    for idx, elem in enumerate(numbers):
        for idx2, elem2 in enumerate(numbers):
            if idx != idx2:
                distance = abs(elem - elem2)
                if distance < threshold:
                    return True
    return False
''',
        """


METADATA = {
    'author': 'jt',
    'dataset': 'test'
}


def check(candidate):
    assert candidate([1.0, 2.0, 3.9, 4.0, 5.0, 2.2], 0.3) == True
    assert candidate([1.0, 2.0, 3.9, 4.0, 5.0, 2.2], 0.05) == False
    assert candidate([1.0, 2.0, 5.9, 4.0, 5.0], 0.95) == True
    assert candidate([], 1) == False

check(has_close_elements)
""",
    ),
    passes(
        "HumanEval style with random numbers",
        """
import math

def poly(xs: list, x: float):
    return sum([coeff * math.pow(x, i) for i, coeff in enumerate(xs)])

def find_zero(xs: list):
    begin, end = -1., 1.
    while poly(xs, begin) * poly(xs, end) > 0:
        begin *= 2.0
        end *= 2.0
    while end - begin > 1e-10:
        center = (begin + end) / 2.0
        if poly(xs, center) * poly(xs, begin) > 0:
            begin = center
        else:
            end = center
    return begin
""",
        """
def check(candidate):
    import math
    import random
    rng = random.Random(42)
    import copy
    for _ in range(100):
        ncoeff = 2 * rng.randint(1, 4)
        coeffs = []
        for _ in range(ncoeff):
            coeff = rng.randint(-10, 10)
            if coeff == 0:
                coeff = 1
            coeffs.append(coeff)
        solution = candidate(copy.deepcopy(coeffs))
        assert math.fabs(poly(coeffs, solution)) < 1e-4

check(find_zero)
""",
    ),
    passes(
        "HumanEval style with messages and try",
        """
def order_by_points(nums):
    def digits_sum(n):
        neg = -1 if n < 0 else 1
        digits = [int(i) for i in str(abs(n))]
        digits[0] *= neg
        return sum(digits)
    return sorted(nums, key=digits_sum)
""",
        """
def check(candidate):

    # Check some simple cases
    assert candidate([1, 11, -1, -11, -12]) == [-1, -11, 1, -12, 11], "This prints if this fails 1"
    assert candidate([]) == [], "Error: " + str(candidate([]))
    try:
        candidate(None)
    except TypeError:
        pass

    # Check some edge cases that are easy to work out by hand.
    assert True, "This prints if this assert fails 2 (also good for debugging!)"


check(order_by_points)
""",
    ),
    passes(
        "check of an encoder with a decoder",
        """
def encode_cyclic(s: str):
    groups = [s[(3 * i):min((3 * i + 3), len(s))] for i in range((len(s) + 2) // 3)]
    groups = [(group[1:] + group[0]) if len(group) == 3 else group for group in groups]
    return "".join(groups)

def decode_cyclic(s: str):
    return encode_cyclic(encode_cyclic(s))
""",
        """
def check(candidate):
    from random import choice, randint, seed
    import string

    seed(7)
    letters = string.ascii_lowercase
    for _ in range(100):
        text = ''.join(choice(letters) for i in range(randint(10, 20)))
        encoded_str = encode_cyclic(text)
        assert candidate(encoded_str) == text


check(decode_cyclic)
""",
    ),
    passes(
        "functions of tests that are called",
        """
def slug(text):
    return "-".join(text.lower().split())
""",
        """
def test_simple():
    assert slug("Hello World") == "hello-world"

def test_spaces():
    for spaces in range(1, 5):
        text = f"a{' ' * spaces}b"
        assert slug(text) == "a-b", f"{text!r} gave {slug(text)!r}"

class TestSlug:
    def setup_method(self):
        self.text = "A B"

    def test_case(self):
        assert slug(self.text).islower()

test_simple()
test_spaces()
t = TestSlug()
t.setup_method()
t.test_case()
""",
    ),
    passes(
        "unittest in the tests",
        """
def clamp(x, low, high):
    return max(low, min(x, high))
""",
        """
import io
import unittest

class TestClamp(unittest.TestCase):
    def test_inside(self):
        self.assertEqual(clamp(5, 0, 10), 5)

    def test_types(self):
        with self.assertRaises(TypeError):
            clamp("a", 0, 1)

suite = unittest.defaultTestLoader.loadTestsFromTestCase(TestClamp)
outcome = unittest.TextTestRunner(stream=io.StringIO()).run(suite)
assert outcome.wasSuccessful()
assert clamp(-5, 0, 10) == 0
""",
    ),
    passes(
        "approximate comparisons",
        """
def mean(numbers):
    return sum(numbers) / len(numbers)

def roots(a, b, c):
    d = (b * b - 4 * a * c) ** 0.5
    return (-b - d) / (2 * a), (-b + d) / (2 * a)
""",
        """
import math
assert math.isclose(mean([0.1, 0.2, 0.3]), 0.2)
assert abs(mean([1, 2]) - 1.5) < 1e-9
assert round(mean([1, 1, 2]), 2) == 1.33
assert all(abs(x - y) < 1e-6 for x, y in zip(roots(1, -3, 2), (1, 2)))
assert 0 < mean([1, 3]) <= 2 < 3
assert f"{mean([1, 2, 2]):.3f}" == "1.667"
""",
    ),
    passes(
        "many kinds of assertions",
        """
def divisors(n):
    return [d for d in range(1, n + 1) if n % d == 0]

def find(items, x):
    return items.index(x) if x in items else None
""",
        """
assert isinstance(divisors(6), list)
assert 3 in divisors(6) and 4 not in divisors(6)
assert not divisors(0)
assert find([1], 2) is None
assert find([1], 1) is not None
assert len(divisors(12)) == 6, "twelve has six divisors"
assert set(divisors(6)) == {6, 3, 2, 1}
assert sorted(divisors(10), reverse=True) == [10, 5, 2, 1]
assert any(d > 5 for d in divisors(6))
assert all(12 % d == 0 for d in divisors(12))
assert (n := len(divisors(7))) == 2
assert n == 2 and (
    divisors(4)
    == [
        1,
        2,
        4,
    ]
), (
    "a long "
    "message"
)
assert 1 <= find("abc", "c") < 3 if hasattr(str, "index") else False
assert {d: d * d for d in divisors(2)} == {1: 1, 2: 4}
assert divisors(5)[0] == 1; assert divisors(5)[-1] == 5
assert max(divisors(9)) == 9 and min(map(len, [divisors(2), divisors(3)])) == 2
assert divisors(6) == [*range(1, 4), 6]
assert (lambda x: divisors(x))(3) == [1, 3]
""",
    ),
    passes(
        "tables of cases",
        """
def fizzbuzz(n):
    return "FizzBuzz" if n % 15 == 0 else "Fizz" if n % 3 == 0 else "Buzz" if n % 5 == 0 else str(n)
""",
        """
cases = [(3, "Fizz"), (5, "Buzz"), (15, "FizzBuzz"), (7, "7")]
for number, expected in cases:
    assert fizzbuzz(number) == expected, f"{number}: {fizzbuzz(number)} != {expected}"
results = {n: fizzbuzz(n) for n in range(1, 101)}
assert sum(value.startswith("Fizz") for value in results.values()) == 33
while cases:
    number, expected = cases.pop()
    assert expected == fizzbuzz(number)
match fizzbuzz(30):
    case "FizzBuzz":
        found = True
    case _:
        found = False
assert found
""",
    ),
    passes(
        "tests with a reference implementation",
        """
def merge_sort(items):
    if len(items) < 2:
        return list(items)
    middle = len(items) // 2
    left, right = merge_sort(items[:middle]), merge_sort(items[middle:])
    merged = []
    while left and right:
        merged.append(left.pop(0) if left[0] <= right[0] else right.pop(0))
    return merged + left + right
""",
        """
import random
random.seed(0)
for _ in range(50):
    data = [random.randint(-99, 99) for _ in range(random.randint(0, 30))]
    assert merge_sort(data) == sorted(data)
""",
    ),
    passes(
        "list of tests that build on each other",
        """
class Cart:
    def __init__(self):
        self.items = {}

    def add(self, name, n=1):
        self.items[name] = self.items.get(name, 0) + n
""",
        [
            "from textwrap import dedent",
            "cart = Cart()",
            "cart.add('pen')\ncart.add('pen', 2)",
            "# A test may be a comment.",
            "assert cart.items == {'pen': 3}",
            "def names(c):\n    return sorted(c.items)",
            "cart.add('ink')\nassert names(cart) == ['ink', 'pen']",
            "assert dedent('  x') == 'x' and len(cart.items) == 2",
        ],
    ),
    passes(
        "assertions within every kind of statement",
        """
def half(n):
    return n / 2
""",
        """
import contextlib
from typing import *
if half(2) == 1:
    assert half(4) == 2
else:
    assert False
try:
    assert half(1) == 0.5
finally:
    checked: List[float] = [half(n) for n in range(3)]
assert checked == [0, 0.5, 1]
with contextlib.nullcontext(0) as zero:
    assert half(zero) == 0
if True: assert half(10) == 5
def later():
    assert half(-2) == -1
    yield half(8)
    assert half(3) == 1.5
assert list(later()) == [4]
assert half(6) == 3 if half(6) else None
[half(n) for n in range(10)]
del checked
""",
    ),
]

SETUP_CODE = [
    passes(
        "imports that only the tests use",
        """
def average(numbers):
    return sum(numbers) / len(numbers)
""",
        ["assert math.isclose(average([0.1] * 3), 0.1)", "assert Decimal(average([1, 2])) == 1.5"],
        setup="import math\nfrom decimal import Decimal",
    ),
    passes(
        "imports that the code uses when it is called",
        """
def area(r):
    return math.pi * r ** 2

def most(words):
    return Counter(words).most_common(1)[0][0]
""",
        ["assert abs(area(1) - 3.14159) < 1e-4", "assert most(['a', 'b', 'a']) == 'a'"],
        setup="import math\nfrom collections import Counter",
    ),
    passes(
        "tree of the set-up",
        """
class Node:
    def __init__(self, data):
        self.data = data
        self.left = None
        self.right = None

def max_height(node):
    if node is None:
        return 0
    return 1 + max(max_height(node.left), max_height(node.right))
""",
        [
            "assert (max_height(root)) == 3",
            "assert (max_height(root1)) == 5",
            "assert root.left.left.data == 4",
        ],
        setup="""
root = Node(1)
root.left = Node(2)
root.right = Node(3)
root.left.left = Node(4)
root1 = Node(1)
root1.right = Node(2)
root1.right.right = root
""",
    ),
    passes(
        "data and helpers of the set-up",
        """
def total(orders, prices):
    return sum(prices[name] * n for name, n in orders)
""",
        ["assert total(ORDERS, PRICES) == 11", "assert near(total([('b', 1)], PRICES), 4)"],
        setup="""
PRICES = {"a": 3.5, "b": 4.0}
ORDERS = [("a", 2), ("b", 1)]

def near(a, b):
    return abs(a - b) < 1e-9
""",
    ),
    passes(
        "linked list of the set-up",
        """
class ListNode:
    def __init__(self, val=0, next=None):
        self.val = val
        self.next = next

def middle(head):
    slow = fast = head
    while fast and fast.next:
        slow, fast = slow.next, fast.next.next
    return slow
""",
        "assert middle(build([1, 2, 3, 4, 5])).val == 3\nassert middle(build([])) is None",
        setup="""
def build(values):
    dummy = tail = ListNode()
    for value in values:
        tail.next = ListNode(value)
        tail = tail.next
    return dummy.next
""",
    ),
]

FILES = [
    passes(
        "writes and reads files",
        r"""
import json
import os
import shutil
import tempfile
from pathlib import Path

def roundtrip(data):
    with open("data.json", "w") as stream:
        json.dump(data, stream)
    with open("data.json") as stream:
        return json.load(stream)

def tree():
    os.makedirs("a/b/c", exist_ok=True)
    Path("a/b/c/x.txt").write_text("naïve ☃\n")
    with open("a/y.txt", "a") as stream:
        stream.write("line 1\nline 2\n")
    shutil.copy("a/y.txt", "a/b/z.txt")
    found = sorted(str(p) for p in Path("a").rglob("*.txt"))
    text = Path("a/b/c/x.txt").read_text()
    shutil.rmtree("a")
    return found, text, os.path.exists("a")

def temporary(content):
    with tempfile.NamedTemporaryFile("w+", suffix=".txt") as stream:
        stream.write(content)
        stream.seek(0)
        name, text = stream.name, stream.read()
    return text, os.path.exists(name)

def directory():
    with tempfile.TemporaryDirectory() as path:
        (Path(path) / "f").touch()
        return os.listdir(path)
""",
        r"""
assert roundtrip({"a": [1, None, True]}) == {"a": [1, None, True]}
assert tree() == (["a/b/c/x.txt", "a/b/z.txt", "a/y.txt"], "naïve ☃\n", False)
assert temporary("text") == ("text", False)
assert directory() == ["f"]
""",
    ),
    passes(
        "sqlite in memory and in a file",
        """
import os
import sqlite3
import tempfile

def query(rows):
    with sqlite3.connect(":memory:") as db:
        db.execute("CREATE TABLE t (name TEXT, n INTEGER)")
        db.executemany("INSERT INTO t VALUES (?, ?)", rows)
        return db.execute("SELECT name, SUM(n) FROM t GROUP BY name ORDER BY name").fetchall()

def stored(value):
    handle, path = tempfile.mkstemp(suffix=".db", dir="/tmp")
    os.close(handle)
    db = sqlite3.connect(path)
    db.execute("CREATE TABLE kv (v)")
    db.execute("INSERT INTO kv VALUES (?)", (value,))
    db.commit()
    db.close()
    db = sqlite3.connect(path)
    result = db.execute("SELECT v FROM kv").fetchone()[0]
    db.close()
    os.remove(path)
    return result
""",
        [
            "assert query([('b', 1), ('a', 2), ('b', 3)]) == [('a', 2), ('b', 4)]",
            "assert stored('x') == 'x'",
        ],
    ),
    passes(
        "csv, zip, gzip and streams in memory",
        r"""
import csv
import gzip
import io
import zipfile

def rows(text):
    return list(csv.DictReader(io.StringIO(text)))

def table(rows):
    stream = io.StringIO()
    csv.writer(stream).writerows(rows)
    return stream.getvalue()

def zipped(files):
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w", zipfile.ZIP_DEFLATED) as archive:
        for name, text in files.items():
            archive.writestr(name, text)
    with zipfile.ZipFile(io.BytesIO(buffer.getvalue())) as archive:
        return {name: archive.read(name).decode() for name in archive.namelist()}

def squeezed(data):
    return gzip.decompress(gzip.compress(data)) == data
""",
        r"""
assert rows("a,b\n1,2\n") == [{"a": "1", "b": "2"}]
assert table([[1, "x,y"]]) == '1,"x,y"\r\n'
assert zipped({"f.txt": "text"}) == {"f.txt": "text"}
assert squeezed(b"a" * 100000) is True
""",
    ),
    passes(
        "file of ten megabytes",
        """
import os

def big(megabytes):
    with open("big.bin", "wb") as stream:
        for _ in range(megabytes):
            stream.write(b"\\0" * (1 << 20))
    size = os.path.getsize("big.bin")
    os.remove("big.bin")
    return size
""",
        "assert big(10) == 10 << 20",
    ),
    passes(
        "open file kept between calls",
        r"""
stream = open("log.txt", "w+", encoding="utf-8")

def note(line):
    stream.write(line + "\n")
    stream.flush()

def lines():
    stream.seek(0)
    return stream.read().splitlines()

def reader():
    return open("log.txt", encoding="utf-8")
""",
        r"""
note("one")
note("two")
assert lines() == ["one", "two"]
with reader() as opened:
    assert opened.readline() == "one\n"
""",
    ),
]

LIMITS = [
    passes(
        "recursion of depth 900",
        """
def depth(n):
    return 0 if n == 0 else 1 + depth(n - 1)
""",
        "assert depth(900) == 900",
    ),
    passes(
        "recursion of depth 20,000",
        """
import sys

sys.setrecursionlimit(50_000)

def total(n):
    if n == 0:
        return 0
    return n + total(n - 1)

def visit(graph, node, seen):
    seen.add(node)
    for other in graph.get(node, ()):
        if other not in seen:
            visit(graph, other, seen)
    return len(seen)
""",
        """
assert total(20_000) == 200_010_000
assert visit({n: [n + 1] for n in range(15_000)}, 0, set()) == 15_001
""",
    ),
    passes(
        "recursion error that is caught",
        """
def endless(n):
    return endless(n + 1)

def is_endless():
    try:
        endless(0)
    except RecursionError:
        return True
""",
        """
assert is_endless()
try:
    endless(0)
    assert False
except RecursionError:
    pass
""",
    ),
    passes(
        "Ackermann, memo and towers",
        """
def ackermann(m, n):
    if m == 0:
        return n + 1
    if n == 0:
        return ackermann(m - 1, 1)
    return ackermann(m - 1, ackermann(m, n - 1))

def collatz(n, memo={1: 1}):
    if n not in memo:
        memo[n] = 1 + collatz(n // 2 if n % 2 == 0 else 3 * n + 1)
    return memo[n]

def hanoi(n, a="A", b="B", c="C"):
    return [] if n == 0 else hanoi(n - 1, a, c, b) + [(a, c)] + hanoi(n - 1, b, a, c)
""",
        """
assert ackermann(2, 3) == 9
assert ackermann(3, 3) == 61
assert collatz(27) == 112
assert len(hanoi(10)) == 1023 and hanoi(2) == [("A", "B"), ("A", "C"), ("B", "C")]
""",
    ),
    passes(
        "a second of computing",
        """
import time

def busy(seconds):
    start, n = time.process_time(), 0
    while time.process_time() - start < seconds:
        for k in range(1000):
            n = (n * 31 + k) % 1_000_003
    return time.process_time() - start
""",
        "assert busy(1.0) >= 1.0",
    ),
    passes(
        "queens by backtracking",
        """
def queens(n, row=0, columns=0, left=0, right=0):
    if row == n:
        return 1
    total = 0
    free = ~(columns | left | right) & ((1 << n) - 1)
    while free:
        bit = free & -free
        free ^= bit
        total += queens(n, row + 1, columns | bit, (left | bit) << 1, (right | bit) >> 1)
    return total
""",
        ["assert queens(6) == 4", "assert queens(9) == 352"],
    ),
    passes(
        "four seconds of computing with a limit of its own",
        """
import time

def busy(seconds):
    end = time.process_time() + seconds
    while time.process_time() < end:
        pass
    return "done"
""",
        'assert busy(4.0) == "done"',
        timeout=12.0,
    ),
    passes(
        "300 megabytes of memory",
        """
def big(megabytes):
    block = bytearray(megabytes << 20)
    for i in range(0, len(block), 4096):
        block[i] = 1
    return sum(block[::4096])
""",
        "assert big(300) == 300 * 256",
    ),
    passes(
        "memory error that is caught",
        """
def too_big():
    try:
        return bytes(1 << 60)
    except MemoryError:
        return "too big"
""",
        'assert too_big() == "too big"',
    ),
    passes(
        "thousands of calls",
        """
def step(x):
    return x + 1
""",
        """
x = 0
for _ in range(3000):
    x = step(x)
assert x == 3000
assert [step(n) for n in range(1000)] == list(range(1, 1001))
""",
    ),
    passes(
        "thousands of objects",
        """
class Cell:
    alive = 0

    def __init__(self, n):
        self.n = n

def total(cells):
    return sum(cell.n for cell in cells)

def cells(n):
    return [Cell(i) for i in range(n)]
""",
        """
mine = [Cell(n) for n in range(2000)]
assert total(mine) == 1999000
theirs = cells(2000)
assert theirs[1999].n == 1999 and len(theirs) == 2000
assert total(theirs) == total(mine)
""",
    ),
]

TIME_CHANCE_AND_SURROUNDINGS = [
    passes(
        "sleeps a little",
        """
import time

def nap(seconds):
    start = time.monotonic()
    time.sleep(seconds)
    return time.monotonic() - start

def timed(f):
    start = time.perf_counter()
    value = f()
    return value, time.perf_counter() - start
""",
        """
assert 0.2 <= nap(0.2) < 5
value, seconds = timed(lambda: 3)
assert value == 3 and 0 <= seconds < 5
""",
    ),
    passes(
        "random numbers with a seed",
        """
import random

def draw(seed, n):
    random.seed(seed)
    return [random.randint(1, 6) for _ in range(n)]

def shuffled(items, seed=0):
    items = list(items)
    random.Random(seed).shuffle(items)
    return items

def dice():
    return random.randint(1, 6)
""",
        """
assert draw(1, 10) == draw(1, 10)
assert draw(42, 5) == [6, 1, 1, 6, 3]
assert draw(1, 10) != draw(2, 10)
assert sorted(shuffled(range(10))) == list(range(10))
assert shuffled("abc") == shuffled("abc")
assert all(1 <= dice() <= 6 for _ in range(50))
""",
    ),
    passes(
        "order and hashes of strings",
        """
def unique(words):
    return set(words)

def order(words):
    return list(set(words))

def hashed(text):
    return hash(text)
""",
        """
words = ["pear", "apple", "fig", "plum"]
assert unique(words + words) == {"apple", "fig", "pear", "plum"}
assert order(words) == order(words)
assert sorted(order(words)) == sorted(words)
assert hashed("text") == hash("text")
assert hashed((1, "a")) == hash((1, "a"))
""",
    ),
    passes(
        "local time is UTC",
        """
import time
from datetime import datetime, timezone

def epoch():
    return datetime.fromtimestamp(0)

def hour():
    return time.localtime(0).tm_hour

def stamp(year):
    return datetime(year, 1, 1).timestamp()

def now():
    return datetime.now(timezone.utc)
""",
        """
import datetime as dt
assert epoch() == dt.datetime(1970, 1, 1)
assert hour() == 0
assert stamp(1971) == 365 * 86400
assert abs((now() - dt.datetime.now(dt.timezone.utc)).total_seconds()) < 5
""",
    ),
    passes(
        "locale and calendar",
        """
import calendar
import locale

locale.setlocale(locale.LC_ALL, "C")

def grouped(n):
    return f"{n:,}", locale.format_string("%.2f", 1.5)

def leap_years(a, b):
    return calendar.leapdays(a, b)

def weekday(y, m, d):
    return calendar.day_name[calendar.weekday(y, m, d)]
""",
        [
            "assert grouped(1234567) == ('1,234,567', '1.50')",
            "assert leap_years(2000, 2025) == 7 and weekday(2024, 2, 29) == 'Thursday'",
        ],
    ),
    passes(
        "environment variables",
        """
import os

DEBUG = os.environ.get("MY_APP_DEBUG", "off")

def setting(name, default=None):
    return os.getenv(name, default)

def store(name, value):
    os.environ[name] = value
""",
        """
assert DEBUG == "off"
assert setting("MY_APP_NONE") is None
store("MY_APP_LEVEL", "3")
assert setting("MY_APP_LEVEL") == "3"
assert setting("PATH")
""",
    ),
    passes(
        "exit functions, finalizers and weak references",
        """
import atexit
import gc
import weakref

atexit.register(print, "bye")
dropped = []

class Thing:
    def __del__(self):
        dropped.append("thing")

def use():
    thing = Thing()
    ref = weakref.ref(thing)
    before = ref() is thing
    del thing
    gc.collect()
    return before, ref() is None, dropped
""",
        "assert use() == (True, True, ['thing'])",
    ),
    passes(
        "facts about the machine",
        """
import os
import platform
import sys

def facts():
    return {
        "pid": os.getpid() > 0,
        "cpus": (os.cpu_count() or 1) >= 1,
        "system": platform.system(),
        "version": sys.version_info >= (3, 8),
        "size": sys.getsizeof([]) > 0,
        "cwd": os.path.isdir(os.getcwd()),
        "encoding": sys.getdefaultencoding(),
    }
""",
        """
found = facts()
assert found.pop("system") == "Linux"
assert found.pop("encoding") == "utf-8"
assert all(found.values()), found
""",
    ),
]

SYNTAX = [
    passes(
        "structural pattern matching",
        """
from dataclasses import dataclass

@dataclass
class Point:
    x: int
    y: int

def describe(value):
    match value:
        case 0 | 0.0:
            return "zero"
        case int(n) if n < 0:
            return f"negative {n}"
        case [first, *rest]:
            return f"list of {first} and {len(rest)} more"
        case {"kind": kind, **rest}:
            return f"{kind} with {sorted(rest)}"
        case Point(x=0, y=y):
            return f"on the axis at {y}"
        case Point():
            return "point"
        case str() as text:
            return text.title()
        case _:
            return "unknown"
""",
        """
assert describe(0) == "zero" and describe(-3) == "negative -3"
assert describe([1, 2, 3]) == describe((1, 2, 3)) == "list of 1 and 2 more"
assert describe({"kind": "box", "w": 1}) == "box with ['w']"
assert describe(Point(0, 4)) == "on the axis at 4"
assert describe(Point(1, 1)) == "point"
assert describe("ab cd") == "Ab Cd" and describe(None) == "unknown"
""",
    ),
    passes(
        "annotations of the future and generic types",
        """
from __future__ import annotations

from typing import Callable, Iterable, TypeVar

T = TypeVar("T")
Predicate = Callable[[T], bool]

def first(items: Iterable[T], where: Predicate[T], default: Unknown | None = None) -> T | None:
    return next((item for item in items if where(item)), default)

class Node:
    def __init__(self, value: int, parent: Node | None = None) -> None:
        self.value, self.parent = value, parent

    def root(self) -> Node:
        return self.parent.root() if self.parent else self
""",
        [
            "assert first([1, 2, 3], lambda n: n > 1) == 2",
            "assert first([], bool, default='none') == 'none'",
            "assert Node(3, Node(2, Node(1))).root().value == 1",
        ],
    ),
    passes(
        "walrus, stars, chained comparisons and semicolons",
        """
def chunks(text, n):
    result = []; i = 0
    while (part := text[i:i + n]): result.append(part); i += n
    return result
def spread(a, *b, **c): return [*b, a], {**c, "a": a}
def between(a, b, c): return a < b <= c != 0
head, *body, tail = [1, 2, 3, 4]; lookup = {k: v for k, v in zip("ab", body)}
""",
        """
assert chunks("abcde", 2) == ["ab", "cd", "e"]; assert chunks("", 3) == []
assert spread(1, 2, x=3) == ([2, 1], {"x": 3, "a": 1})
assert between(1, 2, 2) is True and not between(1, 2, 0)
assert head == 1 and tail == 4 and lookup == {"a": 2, "b": 3}
""",
    ),
    passes(
        "CRLF line ends",
        """
def stanza(lines):
    text = \"\"\"first
second\"\"\"
    if lines:
        return text.count("\\n")
    return len(text)
""".replace("\n", "\r\n"),
        """
assert stanza(True) == 1
for flag in (False,):
    assert stanza(flag) == 12
""".replace("\n", "\r\n"),
    ),
    passes(
        "tabs and no newline at the end",
        "def sign(x):\n\tif x < 0:\n\t\treturn -1\n\telse:\n\t\treturn int(x > 0)",
        "for x, s in [(-2, -1), (0, 0), (3, 1)]:\n\tassert sign(x) == s",
    ),
    passes(
        "unicode identifiers",
        """
class Größe:
    def __init__(self, länge):
        self.länge = länge

def 面积(宽, 高=1):
    return 宽 * 高

def ﬁnd(λ):
    return λ

Ünïcödé = "naïve"
""",
        """
assert 面积(3, 高=2) == 6
assert Größe(5).länge == 5
assert find(1) == 1
assert Ünïcödé == "naïve" and len(Ünïcödé) == 5
""",
    ),
    passes(
        "long lines and large literals",
        "TABLE = ["
        + ", ".join(f"({n}, 'text {n}')" for n in range(3000))
        + "]\ndef total():\n    return "
        + " + ".join(str(n) for n in range(500))
        + "\ndef find(n):\n    return dict(TABLE).get(n)\n",
        "assert total() == 124750\nassert find(2999) == 'text 2999' and len(TABLE) == 3000\n"
        + "assert [find(n) for n in ["
        + ", ".join(str(n) for n in range(300))
        + "]] == ['text %d' % n for n in range(300)]",
    ),
    passes(
        "blank lines, comments and a coding line",
        '''#!/usr/bin/env python3
# -*- coding: utf-8 -*-
"""Module with a docstring: 'quotes' and \\\\ backslashes."""

__all__ = ["twice"]
__version__ = "1.0"


def twice(x):  # Doubles.

    # Nothing to see here.

    return \\
        x * 2


# The end.
''',
        ["", "\n# nothing\n", "assert twice(2) == 4\n\n\n", "assert __version__ == '1.0'"],
    ),
]

STANDARD_LIBRARY = [
    passes(
        "regular expressions and formatting",
        r"""
import re
import string
import textwrap

EMAIL = re.compile(r"(?P<user>[\w.]+)@(?P<host>[\w.]+)")

def split_email(text):
    return EMAIL.search(text)

def camel(text):
    return re.sub(r"_([a-z])", lambda m: m.group(1).upper(), text)

def fill(template, **values):
    return string.Template(template).safe_substitute(values)

def table(rows):
    return "\n".join(f"{name:<6}|{value:>8.2f}|{value:+.1e}" for name, value in rows)

def wrapped(text, width):
    return textwrap.wrap(text, width)
""",
        r"""
match = split_email("to: ann.b@site.org!")
assert match.group("user") == "ann.b"
assert match["host"] == "site.org"
assert match.groups() == ("ann.b", "site.org")
assert split_email("nobody") is None
assert camel("one_two_three") == "oneTwoThree"
assert fill("$a and $b", a=1) == "1 and $b"
assert table([("x", 1.5)]) == "x     |    1.50|+1.5e+00"
assert wrapped("aa bb cc", 5) == ["aa bb", "cc"]
""",
    ),
    passes(
        "itertools, operator and functools",
        """
import itertools
import operator
from functools import reduce

def runs(text):
    return [(key, len(list(group))) for key, group in itertools.groupby(text)]

def subsets(items):
    return list(itertools.chain.from_iterable(
        itertools.combinations(items, n) for n in range(len(items) + 1)))

def product(numbers):
    return reduce(operator.mul, numbers, 1)

def pick(rows, *columns):
    return list(map(operator.itemgetter(*columns), rows))

def windows(items, n):
    return zip(*(itertools.islice(items, i, None) for i in range(n)))
""",
        """
assert runs("aabccc") == [("a", 2), ("b", 1), ("c", 3)]
assert subsets([1, 2]) == [(), (1,), (2,), (1, 2)]
assert product(range(1, 6)) == 120 and product([]) == 1
assert pick([{"a": 1, "b": 2}], "a", "b") == [(1, 2)]
assert list(windows([1, 2, 3], 2)) == [(1, 2), (2, 3)]
""",
    ),
    passes(
        "heaps, bisection and shortest paths",
        """
import bisect
import heapq

def dijkstra(graph, start):
    distances, heap = {start: 0}, [(0, start)]
    while heap:
        distance, node = heapq.heappop(heap)
        if distance > distances[node]:
            continue
        for other, weight in graph.get(node, {}).items():
            new = distance + weight
            if new < distances.get(other, float("inf")):
                distances[other] = new
                heapq.heappush(heap, (new, other))
    return distances

def insert(items, x):
    bisect.insort(items, x)
    return bisect.bisect_left(items, x)

def smallest(items, n):
    return heapq.nsmallest(n, items)
""",
        """
graph = {"a": {"b": 7, "c": 1}, "c": {"b": 2}}
assert dijkstra(graph, "a") == {"a": 0, "c": 1, "b": 3}
items = [1, 3, 5]
assert insert(items, 4) == 2 and items == [1, 3, 4, 5]
assert smallest([5, 1, 4], 2) == [1, 4]
""",
    ),
    passes(
        "hashes, codecs and structures",
        r"""
import base64
import binascii
import hashlib
import struct
import uuid
import zlib

def digest(text):
    return hashlib.sha256(text.encode()).hexdigest()

def encode(data):
    return base64.b64encode(data).decode(), binascii.hexlify(data), zlib.crc32(data)

def pack(*numbers):
    return struct.pack(f"<{len(numbers)}h", *numbers)

def identifier(name):
    return str(uuid.uuid5(uuid.NAMESPACE_DNS, name))
""",
        r"""
assert digest("")[:8] == "e3b0c442" and len(digest("x")) == 64
assert encode(b"\x00\xff") == ("AP8=", b"00ff", zlib.crc32(b"\x00\xff"))
assert pack(1, -2) == b"\x01\x00\xfe\xff"
assert identifier("python.org") == "886313e1-3b8a-5372-9b90-0c9aee199e5d"
""",
    ),
    passes(
        "json, xml, urls and statistics",
        """
import json
import statistics
import xml.etree.ElementTree as ET
from urllib.parse import parse_qs, urlparse

def pretty(data):
    return json.dumps(data, sort_keys=True, separators=(",", ":"))

def titles(text):
    return [element.text for element in ET.fromstring(text).iter("title")]

def query(url):
    return parse_qs(urlparse(url).query)

def summary(numbers):
    return statistics.mean(numbers), statistics.median(numbers), statistics.mode(numbers)
""",
        """
assert pretty({"b": [1, None], "a": "é"}) == '{"a":"\\\\u00e9","b":[1,null]}'
assert titles("<r><title>A</title><x><title>B</title></x></r>") == ["A", "B"]
assert query("http://x.org/?a=1&a=2&b=3") == {"a": ["1", "2"], "b": ["3"]}
assert summary([1, 2, 2, 7]) == (3, 2, 2)
""",
    ),
]

NUMPY = [
    passes(
        "numpy arrays returned",
        """
import numpy as np

def normalize(values):
    array = np.asarray(values, dtype=float)
    return (array - array.mean()) / array.std()

def identity(n):
    return np.eye(n, dtype=int)
""",
        """
assert identity(2).tolist() == [[1, 0], [0, 1]]
assert identity(3).shape == (3, 3)
assert normalize([1, 3]).tolist() == [-1.0, 1.0]
assert len(normalize([1, 2, 3])) == 3
assert identity(2)[0][0] == 1
""",
    ),
    passes(
        "numpy scalars compared with numbers",
        """
import numpy as np

def mean(values):
    return np.mean(values)

def largest(values):
    return np.max(np.array(values))

def any_negative(values):
    return np.any(np.array(values) < 0)
""",
        """
assert mean([1, 2, 3]) == 2.0
assert abs(mean([0.1, 0.2]) - 0.15) < 1e-12
assert largest([3, 9, 2]) == 9
assert any_negative([1, -1]) and not any_negative([1])
assert round(float(mean([1, 2])), 1) == 1.5
""",
    ),
    passes(
        "numpy arrays of the tests as arguments",
        """
import numpy as np

def solve(a, b):
    return np.linalg.solve(a, b)

def rotate(points, angle):
    c, s = np.cos(angle), np.sin(angle)
    return points @ np.array([[c, s], [-s, c]])
""",
        """
import numpy as np
a = np.array([[2.0, 0.0], [1.0, 1.0]])
assert np.allclose(solve(a, np.array([4.0, 3.0])), [2.0, 1.0])
turned = rotate(np.array([[1.0, 0.0]]), np.pi / 2)
assert np.allclose(turned, np.array([[0.0, 1.0]]))
assert np.array_equal(np.round(turned), np.array([[0.0, 1.0]]))
""",
    ),
    passes(
        "numpy in a class and with a seed",
        """
import numpy as np

class Model:
    def __init__(self, seed):
        self.weights = np.random.default_rng(seed).normal(size=3)

    def predict(self, x):
        return float(np.dot(self.weights, x))

def moving_average(values, n):
    return np.convolve(values, np.ones(n) / n, mode="valid").tolist()
""",
        """
assert Model(1).predict([1, 0, 0]) == Model(1).predict([1, 0, 0])
assert Model(1).predict([1, 1, 1]) != Model(2).predict([1, 1, 1])
assert Model(3).weights.shape == (3,)
assert moving_average([1, 2, 3, 4], 2) == [1.5, 2.5, 3.5]
""",
    ),
]

BENIGN: list[Program] = [
    *PRINTING,
    *INPUT_AND_MAIN,
    *THREADS_AND_PROCESSES,
    *GENERATORS_AND_CLOSURES,
    *CLASSES,
    *EXCEPTIONS,
    *CALLBACKS,
    *CHANGES_IN_PLACE,
    *RETURN_TYPES,
    *ARGUMENTS_AND_GLOBALS,
    *STYLES_OF_TESTS,
    *SETUP_CODE,
    *FILES,
    *LIMITS,
    *TIME_CHANCE_AND_SURROUNDINGS,
    *SYNTAX,
    *STANDARD_LIBRARY,
    *NUMPY,
]
