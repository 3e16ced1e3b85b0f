"""Programs that once got a wrong verdict: forgeries that passed, honest samples that did not.

They speak the executor's own protocol, or use the seams between what is read, what is executed and
what is asked for; found by reviewing it, and kept.
"""

from tests.sandbox.programs import Program

SPEAKS_THE_PROTOCOL = """
import sys

def peer():
    frame = sys._getframe()
    while frame and type(frame.f_locals.get("self")).__name__ != "Peer":
        frame = frame.f_back
    return frame.f_locals["self"] if frame else None
"""

EQUALS_EVERYTHING = (
    SPEAKS_THE_PROTOCOL
    + """
def f(*arguments):
    if peer() is None:
        return object()
    ask = peer().ask
    made = ask("call", type, ("E", (int,), {"__eq__": lambda self, other: True}), ())
    return ask("call", made, (0,), ())
"""
)

ALWAYS_RIGHT = """
class F:
    def __init__(self, *arguments): pass
    def __lt__(self, other): return True
    __gt__ = __le__ = __ge__ = __lt__
    def __sub__(self, other): return 0.0
    __rsub__ = __sub__
    def __contains__(self, other): return True
f = F
"""

TWO_FACED = (
    SPEAKS_THE_PROTOCOL
    + """
class I(int):
    pass

looks = []

def f(x):
    if peer() is None:
        return object()
    frame = sys._getframe()
    while "OPERATIONS" not in frame.f_globals:
        frame = frame.f_back
    def base(value):
        looks.append(1)
        return 10**9 if len(looks) % 2 else -(10**9)
    frame.f_globals["OPERATIONS"]["base"] = base
    return I(x)
"""
)

READS_BY_FORMAT = (
    SPEAKS_THE_PROTOCOL
    + """
def f(callback):
    try:
        read = peer().ask("get", "{0.__globals__}", "format")
        return str(read(callback))
    except Exception:
        return "refused"
"""
)

WRONG = "def f(x):\n    return x + 9\n"

FORGERIES = [
    Program("found: a class made in the judge", EQUALS_EVERYTHING, "assert f(1) == 2", "fail"),
    Program(
        "found: a class made in the judge, unittest",
        EQUALS_EVERYTHING,
        "import unittest\nunittest.TestCase().assertEqual(f(1), 2)",
        "fail",
    ),
    Program(
        "found: a helper of the tests inside of check",
        "def f(x):\n    return [3, 1]\n\ndef is_sorted(x):\n    return True\n",
        "def is_sorted(a):\n    return all(x <= y for x, y in zip(a, a[1:]))\n\n"
        "def check(candidate):\n    assert is_sorted(candidate([3, 1]))\n\ncheck(f)",
        "fail",
    ),
    Program("found: close", ALWAYS_RIGHT, "assert abs(f(2.5) - 6.25) < 1e-6", "fail"),
    Program("found: between", ALWAYS_RIGHT, "assert 3 < f(5) < 7", "fail"),
    Program("found: contains", ALWAYS_RIGHT, "assert 5 in f(3)", "fail"),
    Program(
        "found: a module of its own",
        "class math:\n    isclose = staticmethod(lambda *a, **k: True)\n\n" + WRONG,
        "assert math.isclose(f(2), 4.0)",
        "fail",
    ),
    Program(
        "found: a Counter of its own",
        "def Counter(x):\n    return 1\n\ndef f(x):\n    return ''\n",
        "assert Counter(f('aab')) == Counter('aba')",
        "fail",
    ),
    Program("found: two-faced data", TWO_FACED, "r = f(1)\nassert 5 < r and r < 7", "fail"),
    Program(
        "found: a runner that swallows failures",
        WRONG,
        "import unittest\nclass T(unittest.TestCase):\n    def test_a(self):\n"
        "        self.assertEqual(f(1), 2)\n    def test_b(self):\n"
        "        self.assertEqual(f(0), 9)\n"
        "unittest.TextTestRunner().run(unittest.defaultTestLoader.loadTestsFromTestCase(T))",
        "fail",
    ),
    Program(
        "found: a helper that swallows failures",
        WRONG,
        "def test(got, expected):\n    try:\n        assert got == expected\n"
        "    except AssertionError:\n        print('bad')\n\ntest(f(1), 2)\ntest(f(0), 9)",
        "fail",
    ),
    Program(
        "found: an expected exception that never came",
        WRONG,
        "try:\n    f(-1)\n    assert False\nexcept Exception:\n    pass",
        "vacuous",
    ),
    Program(
        "found: StopIteration ends the tests' loop",
        "def f(x):\n    raise StopIteration\n",
        "assert all(map(f, [2, 4, 6]))",
        "fail",
    ),
    Program(
        "found: forty rows changed",
        "def f(matrix):\n    for row in matrix:\n        row[0] = -1\n    return 1\n",
        "matrix = [[n] for n in range(40)]\ncopy = [[n] for n in range(40)]\n"
        "assert f(matrix) == 1\nassert matrix[:5] == copy[:5]",
        "fail",
    ),
    Program(
        "found: a format looks into the tests",
        READS_BY_FORMAT,
        "expected = 4242\nassert f(lambda: expected) == 'refused'",
        "pass",
    ),
    Program(
        "found: shared memory of many processes",
        "import mmap, os, time\n\ndef f():\n    for _ in range(8):\n        if not os.fork():\n"
        "            memory = mmap.mmap(-1, 200 << 20)\n            for at in range(50):\n"
        "                memory[at << 22 : (at + 1) << 22] = bytes(1 << 22)\n"
        "            time.sleep(5)\n            os._exit(0)\n    time.sleep(5)\n    return 1\n",
        "assert f() == 1",
        "fail",
    ),
    Program(
        "found: children that nobody waits for",
        "import signal\ntry:\n    signal.signal(signal.SIGCHLD, signal.SIG_IGN)\n    how = 'done'\n"
        "except PermissionError:\n    how = 'refused'\n",
        "assert how == 'refused'",
        "pass",
    ),
    Program(
        "found: a module with a program in it",
        "import types\nf = types.ModuleType('venv.__main__')\n",
        "x = f\nassert x(1) == 2",
        "fail",
    ),
    Program(
        "found: an endless range",
        "def f():\n    return range(10**15)\n",
        "assert sum(f()) == 3",
        "timeout",
        timeout=0.5,
    ),
]

TRANSPOSE = """
def f(m):
    for i in range(len(m)):
        for j in range(i):
            m[i][j], m[j][i] = m[j][i], m[i][j]
"""

HONEST = [
    Program(
        "found: a large matrix changed in place",
        TRANSPOSE,
        "m = [[i * 50 + j for j in range(50)] for i in range(50)]\n"
        "wanted = [list(row) for row in zip(*m)]\nf(m)\nassert m == wanted",
        "pass",
    ),
    Program(
        "found: a large list sorted in place",
        "def f(items):\n    items.sort()\n",
        "items = list(range(200_000))[::-1]\nf(items)\nassert items == list(range(200_000))",
        "pass",
    ),
    Program(
        "found: a helper in check",
        "def f(x):\n    return [2 * x]\n",
        "def norm(x):\n    return sorted(x)\n\ndef check(candidate):\n"
        "    assert norm(candidate(2)) == [4]\n\ncheck(f)",
        "pass",
    ),
    Program(
        "found: a long product",
        "def f(n):\n    return 1 if n < 2 else n * f(n - 1)\n",
        f"assert f(20) == {'*'.join(map(str, range(1, 21)))}",
        "pass",
    ),
    Program(
        "found: printing into a replaced stream",
        "def f(x):\n    print('ok')\n",
        "import io, sys\nold = sys.stdout\nsys.stdout = io.StringIO()\nf(1)\n"
        "out = sys.stdout.getvalue()\nsys.stdout = old\nassert out == 'ok\\n'",
        "pass",
    ),
    Program(
        "found: numpy of the code in the tests",
        "import numpy as np\n\ndef f(x):\n    return np.array([x, x])\n",
        "assert np.allclose(f(1), np.ones(2))",
        "pass",
    ),
    Program(
        "found: another answer is allowed",
        "def f(x):\n    return [2, 1]\n",
        "try:\n    assert f(1) == [1, 2]\nexcept AssertionError:\n    assert f(1) == [2, 1]",
        "pass",
    ),
    Program(
        "found: the depth that tests ask for",
        "def f(n):\n    return 0 if n == 0 else 1 + f(n - 1)\n",
        "import sys\nsys.setrecursionlimit(10_000)\nassert f(5000) == 5000",
        "pass",
    ),
    # The first one must not decide for the second how its tests are read.
    Program("found: no sum", "def f(x):\n    return x\n", "assert sum([1, 2]) == 3", "vacuous"),
    Program("found: sum", "def sum(x):\n    return 3\n", "assert sum([1, 2]) == 3", "pass"),
    Program("found: sum, a lambda", "sum = lambda x: 3\n", "assert sum([1, 2]) == 3", "pass"),
    Program(
        "found: a wrong test beside good ones",
        "def f(x):\n    return x\n",
        "assert f(1) == 1\nassert 1 / 0 == 1",
        "bad_tests",
    ),
]

FOUND: list[Program] = [*FORGERIES, *HONEST]
