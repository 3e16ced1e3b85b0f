"""Programs that try to get a verdict they do not deserve, to break out, or to break the executor.

Where an attack is contained, the sample says so itself: `attack` returns "refused" if every attempt
was denied, and the verdict is `pass`. A program that forges its results gets `fail`. None may ever
be run outside of the executor: some kill, fill or stop whatever they reach.

A program that only sleeps ends by the wall limit, which takes three seconds: there are few of them.
"""

from tests.sandbox.programs import Program

HOST_FIELDS = (
    "@DIRECTORY@",
    "@PORT@",
    "@UNIX@",
    "@PID@",
    "@SECRET@",
    "@SECRET1@",
    "@SECRET2@",
)

SHORT = 0.5
# For those that move a lot of memory, whose verdict is to be the same on a slow machine.
PATIENT = 20.0
RIGHT = "def f(x):\n    return x + 1\n"
WRONG = "def f(x):\n    return 'wrong'\n"
TESTS = ["assert f(1) == 2", "assert f(41) == 42"]


def indent(code: str) -> str:
    return "".join(f"    {line}" for line in code.strip("\n").splitlines(keepends=True)) + "\n"


def in_function(code: str, result: str = "x + 1") -> str:
    """A function `f` that first executes the code."""
    return f"def f(x):\n{indent(code)}    return {result}\n"


# What an attack is told by the system: `outcome(name=attempt, ...)` calls every attempt.
OUTCOME = """
def outcome(**attempts):
    allowed = []
    for name, attempt in attempts.items():
        try:
            attempt()
        except OSError:
            continue
        allowed.append(name)
    return "allowed: " + ", ".join(allowed) if allowed else "refused"
"""


def contained(name: str, code: str) -> Program:
    """`attack` of the code makes attempts and returns `refused`, if nothing got through."""
    return Program(name, OUTCOME + code, 'assert attack() == "refused"', "pass")


def attempts(name: str, imports: str, /, **expressions: str) -> Program:
    """Each expression has to raise an OSError."""
    lines = "".join(f"        {key}=lambda: {value},\n" for key, value in expressions.items())
    code = f"import {imports}\n\ndef attack():\n    return outcome(\n{lines}    )\n"
    return contained(name, code)


# --- Early exit: never a pass, however the process ends ---

# Each at top level and in a function.
EXITS = {
    "sys.exit(0)": "import sys\nsys.exit(0)",
    "sys.exit('pass')": "import sys\nsys.exit('pass')",
    "raise SystemExit": "raise SystemExit",
    "os._exit(0)": "import os\nos._exit(0)",
    "quit()": "quit()",
    "exit(0) of site": "import site, builtins\nsite.setquit()\nbuiltins.exit(0)",
    "raise KeyboardInterrupt": "raise KeyboardInterrupt",
    "raise GeneratorExit": "raise GeneratorExit",
    "exit in finally": "try:\n    1 / 0\nfinally:\n    import sys\n    sys.exit(0)",
    "exit in exec": "exec('import os; os._exit(0)')",
    "kill itself": "import os\nos.kill(os.getpid(), 9)",
    "terminate itself": "import os\nos.kill(os.getpid(), 15)",
    "exec of true": "import os\nos.execv('/usr/bin/true', ['true'])",
    "the parent leaves after a fork": "import os\nif os.fork():\n    os._exit(0)",
    "a verdict on stdout": 'import os\nos.write(1, b\'{"verdict": "pass"}\\n\')\nos._exit(0)',
}

EARLY_EXIT = [
    *(
        Program(f"exit: {name} at top level", f"{c}\n{RIGHT}", TESTS, "fail")
        for name, c in EXITS.items()
    ),
    *(
        Program(f"exit: {name} in a function", in_function(c), TESTS, "fail")
        for name, c in EXITS.items()
    ),
    Program(
        "exit: os._exit in a thread",
        """
import os, threading

def f(x):
    thread = threading.Thread(target=os._exit, args=(0,))
    thread.start()
    thread.join()
    return x + 1
""",
        TESTS,
        "fail",
    ),
    Program(
        "exit: sys.exit in a thread ends only the thread",
        "import sys, threading\n"
        + in_function("t = threading.Thread(target=sys.exit)\nt.start()\nt.join()"),
        TESTS,
        "pass",
    ),
    Program(
        "exit: os._exit in atexit behind a wrong function",
        f"import atexit, os\natexit.register(os._exit, 0)\n{WRONG}",
        TESTS,
        "fail",
    ),
    Program(
        "exit: os._exit in atexit behind a right function",
        f"import atexit, os\natexit.register(os._exit, 3)\n{RIGHT}",
        TESTS,
        "pass",
    ),
    Program(
        "exit: os._exit in __del__",
        """
import os

class Last:
    def __del__(self):
        os._exit(0)

def f(x):
    last = Last()
    del last
    return x + 1
""",
        TESTS,
        "fail",
    ),
    Program(
        "exit: SystemExit in __del__ is lost",
        """
class Last:
    def __del__(self):
        raise SystemExit(0)

def f(x):
    last = Last()
    del last
    return x + 1
""",
        TESTS,
        "pass",
    ),
    Program(
        "exit: os._exit in weakref.finalize",
        """
import os, weakref

class Last:
    pass

def f(x):
    last = Last()
    weakref.finalize(last, os._exit, 0)
    del last
    return x + 1
""",
        TESTS,
        "fail",
    ),
    Program(
        "exit: a message that exits while it is read",
        """
import os

class Sly(Exception):
    def __str__(self):
        os._exit(0)

    __repr__ = __str__

def f(x):
    raise Sly
""",
        TESTS,
        "fail",
    ),
    Program(
        "exit: a list that exits while it is read",
        """
import os

class Sly(list):
    def __iter__(self):
        os._exit(0)

    __len__ = __getitem__ = __reduce_ex__ = __iter__

def f(x):
    return Sly([x + 5])
""",
        TESTS,
        "fail",
    ),
    Program(
        "exit: on the second call",
        """
import os

calls = []

def f(x):
    calls.append(x)
    if len(calls) > 1:
        os._exit(0)
    return x + 1
""",
        TESTS,
        "fail",
    ),
    Program(
        "exit: in a constructor",
        "class Thing:\n    def __init__(self, x):\n        self.x = x\n        raise SystemExit\n",
        "assert Thing(1).x == 1",
        "fail",
    ),
    Program(
        "exit: in a property",
        """
import os

class Thing:
    @property
    def x(self):
        os._exit(0)
""",
        "assert Thing().x == 1",
        "fail",
    ),
    Program(
        "exit: in a generator",
        "import os\n\ndef count(n):\n    yield 0\n    os._exit(0)\n    yield 1\n",
        "assert list(count(2)) == [0, 1]",
        "fail",
    ),
    Program(
        "exit: in the midst of a callback",
        "import os\n\ndef f(callback):\n    callback(1)\n    os._exit(0)\n",
        "calls = []\nassert f(calls.append) is None",
        "fail",
    ),
    Program(
        "exit: in a function that a callback has called",
        "import os\n\ndef g():\n    os._exit(0)\n\ndef f(callback):\n    return callback()\n",
        "assert f(lambda: g() or 2) == 2",
        "fail",
    ),
    Program(
        "exit: in a class body, by a metaclass",
        """
import sys

class Meta(type):
    def __new__(cls, *arguments):
        sys.exit(0)

class Thing(metaclass=Meta):
    pass
"""
        + RIGHT,
        TESTS,
        "fail",
    ),
    Program(
        "exit: a child kills its parent",
        """
import os, time

def f(x):
    if os.fork() == 0:
        os.kill(os.getppid(), 9)
        os._exit(0)
    time.sleep(0.5)
    return "wrong"
""",
        TESTS,
        "fail",
    ),
    Program(
        "exit: a child answers in the place of its parent",
        """
import os

def f(x):
    if os.fork():
        return "wrong"
    return x + 1
""",
        TESTS,
        "fail",
    ),
    Program(
        "exit: a forked child leaves, the parent goes on",
        "import os\nif os.fork() == 0:\n    os._exit(0)\nos.wait()\n" + RIGHT,
        TESTS,
        "pass",
    ),
    Program(
        "exit: a forked child goes on beside the parent",
        "import os\nchild = os.fork()\n\ndef f(x):\n    return x + 1 if child else 'wrong'\n",
        TESTS,
        "pass",
    ),
    Program(
        "exit: in an audit hook",
        """
import os, sys

def hook(event, arguments):
    if event == "exec":
        os._exit(0)

def f(x):
    sys.addaudithook(hook)
    exec("1")
    return x + 1
""",
        TESTS,
        "fail",
    ),
]


# --- Forged equality: the sample's own idea of equality is not asked ---

# Equal to everything, its truth is always true, and arithmetic with it gives zero.
SLY = """
class Sly:
    def __init__(self, *arguments):
        pass

    def __getattr__(self, name):
        return self

    def __call__(self, *arguments, **options):
        return self

    def __iter__(self):
        return iter([self, self, self])

    def __getitem__(self, key):
        return self

    def __len__(self):
        return 3

    def __hash__(self):
        return hash(2)

    def __bool__(self):
        return True

    def __str__(self):
        return SlyText("sly")

    __repr__ = __str__

    def __format__(self, how):
        return SlyText("sly")

class SlyText(str):
    def __eq__(self, other):
        return True

    def __hash__(self):
        return hash("2")

for name in "eq lt le gt ge contains instancecheck subclasscheck".split():
    setattr(Sly, f"__{name}__", lambda self, other: True)
for name in "add sub mul truediv floordiv mod pow and or xor".split():
    setattr(Sly, f"__{name}__", lambda self, other: 0)
    setattr(Sly, f"__r{name}__", lambda self, other: 0)
for name in "abs neg pos round trunc floor ceil int index".split():
    setattr(Sly, f"__{name}__", lambda self, *digits: 0)
Sly.__ne__ = lambda self, other: False
Sly.__float__ = lambda self: 0.0

def f(x):
    return Sly()
"""

SLY_TESTS = {
    "==": "assert f(1) == 2",
    "== from the right": "assert 2 == f(1)",
    "not !=": "assert not (f(1) != 2)",
    "< and >": "assert 1.9 < f(1) < 2.1",
    ">=": "assert f(1) >= 2",
    "a difference": "assert abs(f(1) - 2) < 1e-9",
    "a difference from the right": "assert abs(2 - f(1)) < 1e-9",
    "math.isclose": "import math\nassert math.isclose(f(1), 2)",
    "round": "assert round(f(1), 2) == 2.0",
    "member of a tuple": "assert f(1) in (2, 3)",
    "member of a set": "assert f(1) in {2}",
    "key of a dict": "assert {2: 'two'}[f(1)] == 'two'",
    "container of everything": "assert 2 in f(1)",
    "index": "assert [1, 2].index(f(1)) == 1",
    "in a list": "assert [f(1)] == [2]",
    "items of a list": "assert list(f(1)) == [1, 2, 3]",
    "indexing": "assert f(1)[0] == 2",
    "attribute": "assert f(1).value == 2",
    "method": "assert f(1).value() == 2",
    "sum": "assert sum([f(1), f(1)]) == 4",
    "sorted": "assert sorted(f(1)) == [1, 2, 3]",
    "str": "assert str(f(1)) == '2'",
    "repr": "assert repr(f(1)) == '2'",
    "f-string": "assert f'{f(1)}' == '2'",
    "identity": "assert f(1) is True",
    "truth and equality": "assert bool(f(1)) and f(1) == True",
    "type": "assert type(f(1)) is int",
    "isinstance and equality": "assert isinstance(f(1), int) and f(1) == 2",
    "Counter": "import collections\nassert collections.Counter([f(1)]) == {2: 1}",
    "unittest": "import unittest\nunittest.TestCase().assertEqual(f(1), 2)\nassert f(1) == 2",
}

# Subclasses of plain types: a wrong value that says to be equal. (imports, base, value, expected)
FAKES = {
    "int": ("", "int", "7", "2"),
    "float": ("", "float", "7.5", "2.0"),
    "complex": ("", "complex", "7j", "2j"),
    "str": ("", "str", "'no'", "'2'"),
    "bytes": ("", "bytes", "b'no'", "b'2'"),
    "bytearray": ("", "bytearray", "b'no'", "bytearray(b'2')"),
    "list": ("", "list", "[7]", "[2]"),
    "tuple": ("", "tuple", "(7,)", "(2,)"),
    "dict": ("", "dict", "{7: 7}", "{2: 2}"),
    "set": ("", "set", "{7}", "{2}"),
    "frozenset": ("", "frozenset", "{7}", "{2}"),
    "Decimal": ("decimal", "decimal.Decimal", "7", "2"),
    "Fraction": ("fractions", "fractions.Fraction", "7", "2"),
    "date": ("datetime", "datetime.date", "1999, 1, 1", "datetime.date(2000, 1, 1)"),
    "timedelta": ("datetime", "datetime.timedelta", "7", "datetime.timedelta(2)"),
    "deque": ("collections", "collections.deque", "[7]", "collections.deque([2])"),
    "OrderedDict": ("collections", "collections.OrderedDict", "{7: 7}", "{2: 2}"),
    "Counter": ("collections", "collections.Counter", "[7]", "{2: 1}"),
    "UserList": ("collections", "collections.UserList", "[7]", "[2]"),
    "namedtuple": ("collections", "collections.namedtuple('Pair', 'x y')", "7, 7", "(2, 2)"),
    "Exception": ("", "Exception", "7", "2"),
}


def fake(name: str, module: str, base: str, value: str, expected: str) -> Program:
    imports = f"import {module}\n" if module else ""
    code = f"""
class Sly({base}):
    def __eq__(self, other):
        return True

    def __ne__(self, other):
        return False

    def __hash__(self):
        return hash(2)

def f(x):
    return Sly({value})
"""
    tests = f"{imports}assert f(1) == {expected}"
    return Program(f"forgery: a false {name}", imports + code, tests, "fail")


# Equal to everything, in places where equality is decided by the container.
EQUAL = """
class Equal:
    def __init__(self, hashed=0):
        self.hashed = hashed

    def __eq__(self, other):
        return True

    def __hash__(self):
        return self.hashed
"""

PLACES = {
    "in a list": ("[Equal(), 2]", "f(1) == [1, 2]"),
    "in a tuple": ("(1, Equal())", "f(1) == (1, 2)"),
    "in a deep list": ("[[[[Equal()]]]]", "f(1) == [[[[2]]]]"),
    "as a value of a dict": ("{1: Equal()}", "f(1) == {1: 2}"),
    "as a key of a dict": ("{Equal(hash(1)): 2}", "f(1) == {1: 2}"),
    "in a set": ("{Equal(hash(2))}", "f(1) == {2}"),
    "in a deque": ("__import__('collections').deque([Equal()])", "list(f(1)) == [2]"),
    "in a defaultdict": (
        "__import__('collections').defaultdict(Equal)",
        "f(1)[2] == 2",
    ),
    "in a generator": ("(Equal() for _ in '12')", "list(f(1)) == [1, 2]"),
    "as a class": ("Equal", "f(1) == 2"),
    "as a method": ("Equal().__eq__", "f(1) == 2"),
}

# Wrong values that lossy ways of moving them make right.
ALMOST = {
    "1 for True": ("1", "f(1) is True"),
    "True for 1": ("True", "type(f(1)) is int"),
    "1 for 1.0": ("1", "type(f(1)) is float"),
    "None for False": ("None", "f(1) == False"),
    "a tuple for a list": ("(1, 2)", "f(1) == [1, 2]"),
    "a list for a tuple": ("[1, 2]", "f(1) == (1, 2)"),
    "a list for a set": ("[1, 2]", "f(1) == {1, 2}"),
    "a tuple in a list for a list in it": ("[(1, 2)]", "f(1) == [[1, 2]]"),
    "a text for a number": ("'2'", "f(1) == 2"),
    "bytes for a text": ("b'2'", "f(1) == '2'"),
    "a bytearray for a list": ("bytearray([1, 2])", "f(1) == [1, 2]"),
    "a range for a list": ("range(3)", "f(1) == [0, 1, 2]"),
    "an iterator for a list": ("map(int, '12')", "f(1) == [1, 2]"),
    "items for a list": ("{1: 2}.items()", "f(1) == [(1, 2)]"),
    "keys that are texts": ("{'1': 2}", "f(1) == {1: 2}"),
    "a number nearby": ("2.0000000000000004", "f(1) == 2"),
    "a large number nearby": ("2**64 + 1", "f(1) == 2**64"),
    "a text that looks the same": ("'e\\u0301'", "f(1) == '\\xe9'"),
    "the name of the function": ("f.__name__", "f(1) == f"),
    "a dict like a handle": ("{'handle': 1, '__class__': 'int'}", "f(1) == 2"),
}

FORGERY = [
    *(
        Program(f"forgery: {name}", f"def f(x):\n    return {value}\n", f"assert {check}", "fail")
        for name, (value, check) in ALMOST.items()
    ),
    *(
        Program(f"forgery: {name} of a sly object", SLY, test, "fail")
        for name, test in SLY_TESTS.items()
    ),
    *(fake(name, *rest) for name, rest in FAKES.items()),
    *(
        Program(
            f"forgery: equal to everything {place}",
            f"{EQUAL}\ndef f(x):\n    return {value}\n",
            f"assert {check}",
            "fail",
        )
        for place, (value, check) in PLACES.items()
    ),
    Program(
        "forgery: ANY of unittest.mock",
        "import unittest.mock\n\ndef f(x):\n    return unittest.mock.ANY\n",
        TESTS,
        "fail",
    ),
    Program(
        "forgery: MagicMock with __eq__",
        """
import unittest.mock

def f(x):
    mock = unittest.mock.MagicMock()
    mock.__eq__.return_value = True
    return mock
""",
        TESTS,
        "fail",
    ),
    Program(
        "forgery: an equality whose result is true",
        """
class Yes:
    def __bool__(self):
        return True

class Sly:
    def __eq__(self, other):
        return Yes()

def f(x):
    return Sly()
""",
        TESTS,
        "fail",
    ),
    Program(
        "forgery: __class__ says int",
        """
class Sly:
    __class__ = int

    def __eq__(self, other):
        return True

def f(x):
    return Sly()
""",
        "assert isinstance(f(1), int) and f(1) == 2",
        "fail",
    ),
    Program(
        "forgery: a registered number",
        """
import numbers

class Sly:
    def __eq__(self, other):
        return True

numbers.Integral.register(Sly)

def f(x):
    return Sly()
""",
        "import numbers\nassert isinstance(f(1), numbers.Number) and f(1) == 2",
        "fail",
    ),
    Program(
        "forgery: a class equal to everything by its metaclass",
        """
class Meta(type):
    def __eq__(cls, other):
        return True

    def __instancecheck__(cls, instance):
        return True

    __hash__ = type.__hash__

class Sly(metaclass=Meta):
    pass

def f(x):
    return Sly
""",
        "assert f(1) == 2",
        "fail",
    ),
    Program(
        "forgery: an enumeration equal to everything",
        """
import enum

class Sly(enum.IntEnum):
    A = 7

    def __eq__(self, other):
        return True

    __hash__ = int.__hash__

def f(x):
    return Sly.A
""",
        TESTS,
        "fail",
    ),
    Program(
        "forgery: a dataclass with a sly field",
        EQUAL
        + """
import dataclasses

@dataclasses.dataclass
class Box:
    x: object

def f(x):
    return Box(Equal())
""",
        "assert f(1).x == 2",
        "fail",
    ),
    Program(
        "forgery: an exception that is equal to everything",
        "class Sly(Exception):\n    def __eq__(self, other):\n        return True\n\n"
        "def f(x):\n    raise Sly\n",
        "try:\n    got = f(1)\nexcept Exception as error:\n    got = error\nassert got == 2",
        "fail",
    ),
    Program(
        "forgery: an exception that is called ValueError",
        """
class Sly(Exception):
    pass

Sly.__name__ = Sly.__qualname__ = "ValueError"
Sly.__module__ = "builtins"

def f(x):
    raise Sly("no")
""",
        "try:\n    f(1)\nexcept ValueError:\n    caught = True\nassert caught and f",
        "fail",
    ),
    Program(
        "forgery: an exception that claims every base",
        """
class Meta(type):
    def __subclasscheck__(cls, other):
        return True

    def mro(cls):
        return [cls, Exception, BaseException, object]

class Sly(Exception, metaclass=Meta):
    __class__ = ValueError

def f(x):
    raise Sly("no")
""",
        "try:\n    f(1)\nexcept ValueError:\n    caught = True\nassert caught and f",
        "fail",
    ),
    Program(
        "forgery: a pickle that makes the expected value",
        """
import copyreg

class Sly:
    def __reduce__(self):
        return eval, ("type('E', (), {'__eq__': lambda *_: True})()",)

class Slier(int):
    pass

copyreg.pickle(Slier, lambda value: (eval, ("__import__('os')._exit(0)",)))

def f(x):
    return Sly() if x == 1 else Slier(7)
""",
        TESTS,
        "fail",
    ),
    Program(
        "forgery: a pickle that ends the judge",
        "import os\n\nclass Sly:\n    def __reduce__(self):\n        return os._exit, (0,)\n\n"
        "def f(x):\n    return [Sly(), {1: Sly()}]\n",
        TESTS,
        "fail",
    ),
    Program(
        "forgery: not a number",
        "def f(x):\n    return float('nan')\n",
        "assert f(1) == f(1)",
        "fail",
    ),
    Program(
        "forgery: a different result on every call",
        "calls = []\n\ndef f(x):\n    calls.append(x)\n    return len(calls)\n",
        ["assert f(1) == 1", "assert f(1) == 1"],
        "fail",
    ),
    Program(
        "forgery: raises AssertionError itself",
        "def f(x):\n    raise AssertionError('pass')\n",
        TESTS,
        "fail",
    ),
    Program(
        "forgery: a list that changes between looks",
        """
class Sly(list):
    looks = 0

    def __iter__(self):
        Sly.looks += 1
        return iter([2] if Sly.looks % 2 else [3])

def f(x):
    return Sly([9])
""",
        "assert f(1) == [2] and f(1) == [3] and f(1) == [4]",
        "fail",
    ),
    Program(
        "forgery: the argument becomes sly",
        EQUAL + "\ndef f(items):\n    items[:] = [Equal(), Equal()]\n",
        "items = [2, 1]\nf(items)\nassert items == [1, 2]",
        "fail",
    ),
]


# --- Patched built-ins and libraries: the tests do not see them ---

ALWAYS = "lambda *arguments, **options: True"

# A function of the built-ins, what it is replaced by, and a test that would then succeed.
PATCHES = {
    "len": ("lambda x: 3", "assert len(f(1)) == 3 and f(1) == [1, 2, 3]"),
    "sorted": ("lambda *a, **k: [1, 2, 3]", "assert sorted(f(1)) == [1, 2, 3]"),
    "set": ("lambda *a: 0", "assert set(f(1)) == set([1, 2])"),
    "abs": ("lambda x: 0", "assert abs(f(1) - 2) < 1e-9"),
    "isinstance": (ALWAYS, "assert isinstance(f(1), int)"),
    "all": (ALWAYS, "assert all([f(1) == 2])"),
    "any": (ALWAYS, "assert any([f(1) == 2])"),
    "round": ("lambda *a: 2", "assert round(f(1)) == 2"),
    "sum": ("lambda *a: 6", "assert sum(f(1)) == 6"),
    "list": ("lambda *a: [1]", "assert list(f(1)) == [1]"),
    "str": ("lambda *a: '2'", "assert str(f(1)) == '2'"),
    "type": ("lambda *a: int", "assert type(f(1)) == int"),
    "max": ("lambda *a: 2", "assert max(f(1)) == 2"),
    "zip": ("lambda *a: [(1, 1)]", "assert all(a == b for a, b in zip(f(1), [2]))"),
    "bool": (ALWAYS, "assert bool(f(1) == 2)"),
    "repr": ("lambda x: '2'", "assert repr(f(1)) == '2'"),
}

# In the library: module, name and a test that would then succeed.
LIBRARY = {
    "math.isclose": "import math\nassert math.isclose(f(1), 2)",
    "operator.eq": "import operator\nassert operator.eq(f(1), 2)",
    "unittest.TestCase.assertEqual": (
        "import unittest\nunittest.TestCase().assertEqual(f(1), 2)\nassert f(1) == 2"
    ),
    "re.fullmatch": "import re\nassert re.fullmatch('2', f(1))",
}

# What an executor may use to move values.
CARRIERS = """
    json.dumps json.loads json.JSONEncoder.encode json.encoder.c_make_encoder pickle.dumps
    pickle.loads pickle.Pickler marshal.dumps marshal.loads struct.pack struct.unpack
    struct.Struct codecs.encode codecs.decode base64.b64encode copy.deepcopy os.write os.read
    socket.socket.send socket.socket.recv socket.socket.sendall select.select
"""


def patched(target: str, replacement: str = ALWAYS) -> str:
    """Code that replaces `target` of a module as often as the system permits."""
    module, *names = target.split(".")
    *owner, name = names
    place = ".".join([module, *owner])
    return (
        f"import {module}\ntry:\n    {place}.{name} = {replacement}\nexcept TypeError:\n    pass\n"
    )


PATCHED = [
    *(
        Program(
            f"patch: builtins.{name}", f"{patched(f'builtins.{name}', new)}{WRONG}", test, "fail"
        )
        for name, (new, test) in PATCHES.items()
    ),
    *(
        Program(f"patch: {name} as a name of the sample", f"{WRONG}{name} = {new}\n", test, "fail")
        for name, (new, test) in PATCHES.items()
    ),
    *(
        Program(f"patch: {name}", patched(name) + WRONG, test, "fail")
        for name, test in LIBRARY.items()
    ),
    Program(
        "patch: everything that may carry values",
        "".join(map(patched, CARRIERS.split())) + WRONG,
        TESTS,
        "fail",
    ),
    Program(
        "patch: everything that may carry values, within the function",
        in_function("".join(map(patched, CARRIERS.split())), "'wrong'"),
        TESTS,
        "fail",
    ),
    Program(
        "patch: def sorted(x) at module level",
        "def unique(x):\n    return None\n\ndef sorted(x):\n    return [1, 3]\n",
        "assert sorted(unique([3, 1, 3])) == [1, 3]",
        "fail",
    ),
    Program(
        "patch: builtins.__import__",
        """
import builtins, types

def fake(name, *arguments, **options):
    return types.SimpleNamespace(isclose=lambda *a, **k: True)

builtins.__import__ = fake
"""
        + WRONG,
        "import math\nassert math.isclose(f(1), 2)",
        "fail",
    ),
    Program(
        "patch: builtins.__build_class__ and __name__",
        "import builtins\nbuiltins.__build_class__ = None\n__name__ = '__main__'\n" + WRONG,
        TESTS,
        "fail",
    ),
    Program(
        "patch: modules in sys.modules",
        """
import sys, types

fake = types.ModuleType("math")
fake.isclose = lambda *arguments, **options: True
for name in ["math", "unittest", "pytest", "judge", "runner", "solution"]:
    sys.modules[name] = fake
"""
        + WRONG,
        "import math\nassert math.isclose(f(1), 2)",
        "fail",
    ),
    Program(
        "patch: sys.modules without anything",
        "import sys\nsys.modules.clear()\n" + WRONG,
        TESTS,
        "fail",
    ),
    Program(
        "patch: the exceptions",
        """
import builtins

class Never(Exception):
    pass

builtins.AssertionError = builtins.Exception = builtins.BaseException = Never
AssertionError = Exception = Never
"""
        + WRONG,
        TESTS,
        "fail",
    ),
    Program(
        "patch: sys.excepthook and its kin",
        """
import os, sys, threading

sys.excepthook = sys.unraisablehook = threading.excepthook = lambda *_: os._exit(0)

def f(x):
    raise ValueError("no")
""",
        TESTS,
        "fail",
    ),
    Program(
        "patch: a trace that rewrites the callers",
        """
import ctypes, sys

def rewrite(frame, event, argument):
    while frame:
        for name, value in list(frame.f_locals.items()):
            if value == "wrong":
                frame.f_locals[name] = 2
                frame.f_trace = rewrite
                ctypes.pythonapi.PyFrame_LocalsToFast(ctypes.py_object(frame), 0)
        frame = frame.f_back
    return rewrite

def f(x):
    sys.settrace(rewrite)
    return ["wrong"]
""",
        TESTS,
        "fail",
    ),
    Program(
        "patch: a profile function that exits",
        """
import os, sys

def f(x):
    sys.setprofile(lambda frame, event, argument: os._exit(0))
    return x + 1
""",
        TESTS,
        "fail",
    ),
    Program(
        "patch: a trace function that raises",
        """
import sys

def stop(frame, event, argument):
    raise SystemExit(0)

def f(x):
    sys.settrace(stop)
    return (lambda: x + 1)()
""",
        TESTS,
        "fail",
    ),
    Program(
        "patch: a callback of the garbage collector exits",
        """
import gc, os

def f(x):
    gc.callbacks.append(lambda phase, information: os._exit(0))
    gc.collect()
    return x + 1
""",
        TESTS,
        "fail",
    ),
    Program(
        "patch: the dictionary of __builtins__ is emptied",
        """
import builtins

def f(x):
    vars(builtins).clear()
    return "wrong"
""",
        TESTS,
        "fail",
    ),
    Program(
        "patch: __builtins__ of the own namespace and of all callers",
        """
import sys

def f(x):
    frame = sys._getframe()
    while frame:
        frame.f_globals["__builtins__"] = {"isinstance": lambda *a: True, "type": lambda *a: int}
        frame = frame.f_back
    return "wrong"
""",
        TESTS,
        "fail",
    ),
    Program(
        "patch: all functions of all callers",
        """
import os, sys, types

def f(x):
    frame = sys._getframe(1)
    while frame:
        for name, value in list(frame.f_globals.items()):
            if isinstance(value, types.FunctionType) and value is not f:
                frame.f_globals[name] = lambda *arguments, **options: os._exit(0)
        frame = frame.f_back
    return "wrong"
""",
        TESTS,
        "fail",
    ),
    Program(
        "patch: the code of all functions in memory",
        """
import gc, types

def leave(*arguments, **options):
    __import__("os")._exit(0)

def f(x):
    for thing in gc.get_objects():
        if type(thing) is types.FunctionType and not thing.__code__.co_freevars:
            thing.__code__ = leave.__code__
    return "wrong"
""",
        TESTS,
        "fail",
    ),
    Program(
        "patch: the methods of int through ctypes",
        """
import ctypes

def f(x):
    slots = ctypes.pythonapi.PyType_Modified
    methods = ctypes.cast(id(type.__dict__["__dict__"].__get__(int)) + 16,
                          ctypes.POINTER(ctypes.py_object)).contents.value
    methods["__eq__"] = lambda self, other: True
    slots(ctypes.py_object(int))
    return 7
""",
        TESTS,
        "fail",
    ),
    Program(
        "patch: the small integers in memory",
        """
import ctypes

def f(x):
    ctypes.memmove(id(7) + 24, id(2) + 24, 4)
    return 7 + 1
""",
        "assert f(1) == 2",
        "fail",
    ),
    Program(
        "patch: the modules of the sample are sly",
        """
import types

class Sly(types.ModuleType):
    def __getattr__(self, name):
        return lambda *arguments: True

    def __eq__(self, other):
        return True

import sys
sys.modules[__name__] = Sly(__name__)
sys.modules["__main__"] = Sly("__main__")
"""
        + WRONG,
        TESTS,
        "fail",
    ),
    Program(
        "patch: __eq__ of the namespace",
        "def __eq__(*_):\n    return True\n\ndef __getattr__(name):\n    return lambda *_: 2\n",
        TESTS,
        "fail",
    ),
]


# --- Frames and memory: the expected value is nowhere to be found ---

NEEDLE = "needle-5f81c2d09e7a"

# `look(text)` keeps what it finds; the pattern itself does not match.
LOOK = """
import re

found = []
pattern = re.compile("need" + "le-[0-9a-f]{12}")

def look(text):
    if isinstance(text, (bytes, bytearray)):
        text = text.decode("latin-1")
    found.extend(pattern.findall(text))

def answer():
    return found[0] if found else "nothing"
"""

SEARCHES = {
    "the variables of all callers": """
import sys

def find():
    frame = sys._getframe()
    while frame:
        look(repr([*frame.f_locals.values(), *frame.f_globals.values()]))
        frame = frame.f_back
    return answer()
""",
    "the constants of all callers": """
import sys

def find():
    frame = sys._getframe()
    while frame:
        look(repr([frame.f_code.co_consts, frame.f_code.co_names]))
        frame = frame.f_back
    return answer()
""",
    "inspect.stack": """
import inspect

def find():
    for entry in inspect.stack(50):
        look(repr([entry.code_context, entry.frame.f_locals]))
    return answer()
""",
    "the frames of all threads": """
import sys

def find():
    for frame in sys._current_frames().values():
        while frame:
            look(repr(frame.f_locals))
            frame = frame.f_back
    return answer()
""",
    "strings in reach of the garbage collector": """
import gc

def find():
    for thing in gc.get_objects():
        for other in gc.get_referents(thing):
            if type(other) in (str, bytes, bytearray) and len(other) < 100_000:
                look(other)
    return answer()
""",
    "code objects in memory": """
import gc, types

def find():
    for thing in gc.get_objects():
        if isinstance(thing, types.FunctionType):
            look(repr(thing.__code__.co_consts))
    return answer()
""",
    "all modules": """
import sys

def find():
    for module in list(sys.modules.values()):
        for value in list(vars(module).values()):
            if type(value) in (str, bytes, list, tuple, dict):
                look(repr(value)[:100_000])
    return answer()
""",
    "linecache and tracebacks": """
import linecache, sys, traceback

def find():
    look(repr(linecache.cache))
    look("".join(traceback.format_stack()))
    try:
        1 / 0
    except ZeroDivisionError as error:
        look("".join(traceback.format_exception(error)))
    look(repr([sys.argv, sys.orig_argv, sys.path, sys.exc_info()]))
    return answer()
""",
    "tracemalloc": """
import tracemalloc

tracemalloc.start(25)

def find():
    for trace in tracemalloc.take_snapshot().traces:
        for line in trace.traceback.format():
            look(line)
    return answer()
""",
    "the heap through ctypes": """
import ctypes

def find():
    try:
        maps = open("/proc/self/maps").read().splitlines()
    except OSError:
        return answer()
    for line in maps:
        span, flags, *rest = line.split()
        start, end = (int(part, 16) for part in span.split("-"))
        readable = flags.startswith("rw") and "[v" not in line and "[stack" not in line
        if readable and end - start < 1 << 26:
            for place in range(start, end, 1 << 20):
                look(ctypes.string_at(place, min(1 << 20, end - place)))
    return answer()
""",
    "the heap through /proc/self/mem": """
import re

def find():
    try:
        maps = open("/proc/self/maps").read().splitlines()
        memory = open("/proc/self/mem", "rb", 0)
    except OSError:
        return answer()
    for line in maps:
        start, end = (int(part, 16) for part in line.split()[0].split("-"))
        if " rw" in line and end - start < 1 << 26:
            try:
                memory.seek(start)
                look(memory.read(end - start))
            except (OSError, OverflowError):
                pass
    return answer()
""",
    "the pages around an object": """
import ctypes

def find():
    for thing in (find, "a string", 3.5, [answer], b"some bytes"):
        page = id(thing) & ~0xFFF
        look(ctypes.string_at(page, 0x1000))
    return answer()
""",
    "the memory of other processes": """
import os

def find():
    for name in os.listdir("/proc"):
        for part in "cmdline environ mem stack auxv syscall".split():
            try:
                with open(f"/proc/{name}/{part}", "rb", 0) as file:
                    look(file.read(1 << 16))
            except OSError:
                pass
    return answer()
""",
    "files of the jail": """
import os

def find():
    for top in ("/tmp", "/dev/shm", "/run", "/var", "/home", "/srv", os.getcwd()):
        for folder, folders, names in os.walk(top):
            del folders[20:]
            for name in names[:100]:
                path = os.path.join(folder, name)
                if os.path.isfile(path) and not name.endswith((".py", ".pyc", ".so", ".a")):
                    try:
                        look(open(path, "rb").read(1 << 16))
                    except OSError:
                        pass
    return answer()
""",
}

SEARCHING = [
    *(
        Program(f"memory: searches {name}", LOOK + code, f'assert find() == "{NEEDLE}"', "fail")
        for name, code in SEARCHES.items()
    ),
    Program(
        "memory: a trace looks at what happens between two calls",
        LOOK
        + """
import sys

def watch(frame, event, argument):
    look(repr(list(frame.f_locals.values()))[:100_000])
    return watch

def find():
    frame = sys._getframe()
    while frame:
        frame.f_trace = watch
        frame = frame.f_back
    sys.settrace(watch)
    return answer()
""",
        [f'assert find() != "{NEEDLE}"', f'assert find() == "{NEEDLE}"'],
        "fail",
    ),
    Program(
        "memory: looks behind a callback of the tests",
        LOOK
        + """
import gc

def find(callback):
    for name in "__globals__ __code__ __closure__ __defaults__ __dict__ __self__".split():
        try:
            look(repr(getattr(callback, name)))
        except Exception:
            pass
    for other in gc.get_referents(callback):
        look(repr(other))
    callback()
    return answer()
""",
        f'expected = "{NEEDLE}"\nassert find(lambda: len(expected)) == expected',
        "fail",
    ),
    Program(
        "memory: looks behind the exception of a callback",
        LOOK
        + """
def find(callback):
    try:
        callback()
    except Exception as error:
        trace = error.__traceback__
        while trace:
            look(repr([trace.tb_frame.f_locals, trace.tb_frame.f_globals]))
            trace = trace.tb_next
    return answer()
""",
        f'expected = "{NEEDLE}"\nassert find(lambda: expected[100]) == expected',
        "fail",
    ),
    Program(
        "memory: looks behind the functions of a callback's globals",
        LOOK
        + """
def find(callback):
    for path in ("__globals__", "__builtins__", "__init__.__globals__", "__call__.__globals__",
                 "__class__.__subclasses__", "__code__.co_consts", "__self__.__dict__",
                 "__func__.__globals__", "__wrapped__.__globals__", "gi_frame.f_globals"):
        thing = callback
        try:
            for name in path.split("."):
                thing = getattr(thing, name)
            look(repr(thing() if callable(thing) else thing))
            look(repr(thing["expected"]))
        except Exception:
            pass
    return answer()
""",
        f'expected = "{NEEDLE}"\n\ndef double(x):\n    return 2 * x\n\n'
        "assert find(double) == expected",
        "fail",
    ),
    Program(
        "memory: gives a callback things that look around",
        LOOK
        + """
import sys

class Spy(list):
    def look_around(self, *arguments):
        frame = sys._getframe()
        while frame:
            look(repr([*frame.f_locals.values(), *frame.f_globals.values()]))
            frame = frame.f_back
        return 0

    __iter__ = __len__ = __eq__ = __hash__ = __str__ = __repr__ = __bool__ = look_around
    __add__ = __radd__ = __getattr__ = __call__ = __format__ = look_around

def find(callback):
    for argument in (Spy(), [Spy()], {1: Spy()}):
        try:
            callback(argument)
        except Exception:
            pass
    return answer()
""",
        f'expected = "{NEEDLE}"\n\ndef use(x):\n    return str(x), x == expected, x + x\n\n'
        "assert find(use) == expected",
        "fail",
    ),
    Program(
        "memory: notes what it is compared with",
        LOOK
        + """
class Ear:
    def __eq__(self, other):
        look(repr(other))
        return False

    def __ne__(self, other):
        look(repr(other))
        return True

    def __hash__(self):
        return 0

    def __iter__(self):
        return iter([Ear()])

def probe():
    return Ear()

def find():
    return answer()
""",
        [
            f'assert probe() != "{NEEDLE}"',
            f'assert "{NEEDLE}" not in probe()',
            f'assert find() == "{NEEDLE}"',
        ],
        "fail",
    ),
    Program(
        "memory: what is left of an earlier assertion",
        LOOK
        + """
import gc

def first():
    return "something"

def find():
    for thing in gc.get_objects():
        values = list(thing.values()) if type(thing) is dict else thing
        for value in values if type(values) is list else ():
            if type(value) in (str, bytes):
                look(value)
    return answer()
""",
        [f'assert first() != "{NEEDLE}"', f'assert find() == "{NEEDLE}"'],
        "fail",
    ),
]


# --- File descriptors: nothing to read in them, and what is written to them is no verdict ---

# What could look like a reply, in several framings.
REPLIES = """
import json, marshal, pickle, struct

VALUES = [{"return": 2}, {"result": 2}, {"verdict": "pass"}, ["return", 2], 2, True, "pass"]
REPLIES = [b"pass", b"passed\\n", b"ok\\n", b"0\\n", b"\\0" * 64, b"\\xff" * 64, b"\\n" * 64]
for value in VALUES:
    for dump in (lambda v: json.dumps(v).encode(), marshal.dumps, pickle.dumps):
        body = dump(value)
        REPLIES += [body, body + b"\\n", body + b"\\0", b"%d\\n" % len(body) + body]
        REPLIES += [struct.pack(form, len(body)) + body for form in ("<I", ">I", "<Q", ">Q", ">H")]
"""

SOCKETS = """
import os, socket, stat

def sockets():
    for number in range(0, 1024):
        try:
            if stat.S_ISSOCK(os.fstat(number).st_mode):
                yield socket.socket(fileno=os.dup(number))
        except OSError:
            pass
"""

DESCRIPTORS = [
    Program(
        "descriptors: forged replies to every socket, then _exit",
        REPLIES
        + SOCKETS
        + """
def f(x):
    for channel in sockets():
        for reply in REPLIES:
            try:
                channel.send(reply, socket.MSG_DONTWAIT)
            except OSError:
                pass
    os._exit(0)
""",
        TESTS,
        "fail",
    ),
    Program(
        "descriptors: forged replies to every descriptor, then _exit, at top level",
        REPLIES
        + """
import os

for number in range(3, 64):
    try:
        os.set_blocking(number, False)
        for reply in REPLIES:
            os.write(number, reply)
    except OSError:
        pass
os._exit(0)
""",
        TESTS,
        "fail",
    ),
    Program(
        "descriptors: one forged reply to every socket, then killed",
        SOCKETS
        + """
def f(x):
    for channel in sockets():
        try:
            channel.send(b'{"return": 2}\\n', socket.MSG_DONTWAIT)
        except OSError:
            pass
    os.kill(os.getpid(), 9)
""",
        TESTS,
        "fail",
    ),
    Program(
        "descriptors: the length of a huge message, then _exit",
        SOCKETS
        + """
def f(x):
    for channel in sockets():
        for head in (b"\\x7f\\xff\\xff\\xff", b"\\xff\\xff\\xff\\x7f", b"\\x7f" + b"\\xff" * 7):
            try:
                channel.send(head, socket.MSG_DONTWAIT)
            except OSError:
                pass
    os._exit(0)
""",
        TESTS,
        "fail",
    ),
    Program(
        "descriptors: a megabyte of noise to every socket, then _exit",
        SOCKETS
        + """
import random

def f(x):
    noise = random.Random(1).randbytes(1 << 20)
    for channel in sockets():
        for start in range(0, len(noise), 4096):
            try:
                channel.send(noise[start : start + 4096], socket.MSG_DONTWAIT)
            except OSError:
                break
    os._exit(0)
""",
        TESTS,
        "fail",
    ),
    Program(
        "descriptors: all are closed",
        "import os\n" + in_function("os.closerange(3, 65536)", "'wrong'"),
        TESTS,
        "fail",
    ),
    Program(
        "descriptors: all are closed, the standard ones too, then _exit",
        "import os\n" + in_function("os.closerange(0, 65536)\nos._exit(0)"),
        TESTS,
        "fail",
    ),
    Program(
        "descriptors: all are shut down",
        SOCKETS
        + """
def f(x):
    for channel in sockets():
        try:
            channel.shutdown(socket.SHUT_RDWR)
        except OSError:
            pass
    return "wrong"
""",
        TESTS,
        "fail",
    ),
    Program(
        "descriptors: all become /dev/null",
        """
import os

def f(x):
    null = os.open("/dev/null", os.O_RDWR)
    for number in range(64):
        if number != null:
            os.dup2(null, number)
    os._exit(0)
""",
        TESTS,
        "fail",
    ),
    Program(
        "descriptors: all become one socket that talks to itself",
        """
import os, socket

def f(x):
    here, there = socket.socketpair()
    here.send(b'{"return": 2}\\n' * 9)
    for number in range(3, 64):
        if number not in (here.fileno(), there.fileno()):
            os.dup2(there.fileno(), number)
    os._exit(0)
""",
        TESTS,
        "fail",
    ),
    Program(
        "descriptors: exchanges them in pairs, then _exit",
        """
import os

def f(x):
    numbers = sorted(map(int, os.listdir("/proc/self/fd")))[3:]
    for one, other in zip(numbers, reversed(numbers)):
        try:
            os.dup2(one, other)
            os.write(other, b"passed\\n")
        except OSError:
            pass
    os._exit(0)
""",
        TESTS,
        "fail",
    ),
    Program(
        "descriptors: reads all for the expected value",
        LOOK
        + """
import os, select

def find():
    for number in range(3, 64):
        try:
            while select.select([number], [], [], 0)[0]:
                data = os.read(number, 1 << 16)
                look(data)
                if not data:
                    break
        except (OSError, ValueError):
            pass
    return answer() if found else os._exit(0)
""",
        f'assert find() == "{NEEDLE}"',
        "fail",
    ),
    Program(
        "descriptors: peeks for the expected value",
        LOOK
        + SOCKETS
        + """
def find():
    for channel in sockets():
        for flags in (0, socket.MSG_OOB, socket.MSG_ERRQUEUE):
            try:
                look(channel.recv(1 << 16, socket.MSG_PEEK | socket.MSG_DONTWAIT | flags))
            except OSError:
                pass
    return answer()
""",
        [f'assert find() != "{NEEDLE}"', f'assert find() == "{NEEDLE}"'],
        "fail",
    ),
    Program(
        "descriptors: opens them anew through /proc/self/fd",
        LOOK
        + """
import os

def find():
    for number in range(3, 64):
        try:
            new = os.open(f"/proc/self/fd/{number}", os.O_RDWR | os.O_NONBLOCK)
            os.lseek(new, 0, os.SEEK_SET)
            look(os.read(new, 1 << 16))
        except OSError:
            pass
    return answer() if found else os._exit(0)
""",
        f'assert find() == "{NEEDLE}"',
        "fail",
    ),
    Program(
        "descriptors: floods every socket with descriptors, then _exit",
        SOCKETS
        + """
import array

def f(x):
    mine = array.array("i", [0] * 250)
    for channel in sockets():
        for _ in range(200):
            try:
                rights = [(socket.SOL_SOCKET, socket.SCM_RIGHTS, mine)]
                channel.sendmsg([b"x"], rights, socket.MSG_DONTWAIT)
            except OSError:
                break
    os._exit(0)
""",
        TESTS,
        "fail",
    ),
    Program(
        "descriptors: sends its own through every socket, then _exit",
        SOCKETS
        + """
import array

def f(x):
    for channel in sockets():
        try:
            rights = [(socket.SOL_SOCKET, socket.SCM_RIGHTS, array.array("i", [0, 1, 2]))]
            channel.sendmsg([b"}"], rights, socket.MSG_DONTWAIT)
        except OSError:
            pass
    os._exit(0)
""",
        TESTS,
        "fail",
    ),
    Program(
        "descriptors: a child keeps them open after the end",
        """
import os, time

def f(x):
    if os.fork() == 0:
        time.sleep(1000)
        os._exit(0)
    os._exit(0)
""",
        TESTS,
        "fail",
    ),
    Program(
        "descriptors: no other processes' files among them",
        """
import os

def f(x):
    kinds = ("socket:", "pipe:", "anon_inode:", "/dev/null", "/proc/", "/tmp", "/dev/shm/")
    links = []
    for number in os.listdir("/proc/self/fd"):
        try:
            links.append(os.readlink(f"/proc/self/fd/{number}"))
        except OSError:
            pass
    return [link for link in links if not link.startswith(kinds)]
""",
        "assert f(1) == []",
        "pass",
    ),
]


# --- Files: read-only, little to read, and nothing stays ---

TO_WRITE = """
/ /usr /usr/bin /usr/lib /etc /dev /proc /sys /var /var/tmp /run /home /root /opt /srv /mnt /boot
/data @DIRECTORY@
"""
TO_READ = """
/etc/passwd /etc/shadow /etc/hosts /etc/hostname /root/.bashrc /root/.ssh/id_rsa /var/log/syslog
/run/secrets /var/run/docker.sock /dev/mem /dev/sda /dev/kmsg /sys/kernel/notes @DIRECTORY@/canary
"""

FILES = [
    contained(
        "files: writes outside of /tmp",
        f"""
def attack():
    places = {TO_WRITE!r}.split()
    return outcome(**{{place: lambda p=place: open(p + "/from-a-sample", "w") for place in places}})
""",
    ),
    contained(
        "files: makes directories outside of /tmp",
        f"""
import os

def attack():
    places = {TO_WRITE!r}.split()
    return outcome(**{{place: lambda p=place: os.mkdir(p + "/from-a-sample") for place in places}})
""",
    ),
    contained(
        "files: reads secrets",
        f"""
def attack():
    paths = {TO_READ!r}.split()
    return outcome(**{{path: lambda p=path: open(p, "rb").read(1) for path in paths}})
""",
    ),
    contained(
        "files: reads secrets through /proc",
        """
def attack():
    paths = []
    for start in ("/proc/1/root", "/proc/1/cwd", "/proc/self/root", "/proc/self/root/.."):
        paths += [start + "/etc/passwd", start + "@DIRECTORY@/canary"]
    return outcome(**{path: lambda p=path: open(p, "rb").read(1) for path in paths})
""",
    ),
    attempts(
        "files: the canary",
        "os, shutil",
        read="open('@DIRECTORY@/canary').read()",
        write="open('@DIRECTORY@/canary', 'w').write('dead')",
        append="open('@DIRECTORY@/canary', 'a').write('dead')",
        remove="os.unlink('@DIRECTORY@/canary')",
        rename="os.rename('@DIRECTORY@/canary', '@DIRECTORY@/dead')",
        chmod="os.chmod('@DIRECTORY@/canary', 0)",
        link="os.link('@DIRECTORY@/canary', '/tmp/canary')",
        tree="shutil.rmtree('@DIRECTORY@')",
        climb="open('/tmp/../../../../@DIRECTORY@/canary').read()",
    ),
    attempts(
        "files: the interpreter and its library",
        "json, os, sys",
        executable="open(sys.executable, 'ab')",
        real="open(os.path.realpath('/proc/self/exe'), 'ab')",
        library="open(json.__file__, 'a')",
        truncate="os.truncate(json.__file__, 0)",
        remove="os.unlink(json.__file__)",
        rename="os.rename(os.path.dirname(json.__file__), '/tmp/json')",
        chmod="os.chmod(json.__file__, 0o777)",
        new="open(os.path.dirname(json.__file__) + '/evil.py', 'w')",
        times="os.utime(json.__file__)",
    ),
    contained(
        "files: symbolic links do not lead out",
        """
import json, os

def attack():
    targets = ["/etc/passwd", "@DIRECTORY@/canary", "/proc/1/root/etc/passwd", "../../etc/passwd"]
    attempts = {}
    for number, target in enumerate(targets):
        os.symlink(target, f"/tmp/link{number}")
        attempts[target] = lambda n=number: open(f"/tmp/link{n}").read()
    os.symlink(json.__file__, "/tmp/library")
    os.symlink("/usr", "/tmp/usr")
    return outcome(
        library=lambda: open("/tmp/library", "a"),
        usr=lambda: open("/tmp/usr/x", "w"),
        **attempts,
    )
""",
    ),
    attempts(
        "files: hard links do not lead out",
        "json, os, sys",
        library="os.link(json.__file__, '/tmp/a')",
        interpreter="os.link(os.path.realpath(sys.executable), '/tmp/b')",
        process="os.link('/proc/self/status', '/tmp/c')",
        device="os.link('/dev/null', '/tmp/d')",
        beside="os.link(json.__file__, json.__file__ + '2')",
    ),
    attempts(
        "files: devices and other roots",
        "os, stat",
        block="os.mknod('/tmp/disk', stat.S_IFBLK | 0o666, os.makedev(8, 0))",
        memory="os.mknod('/tmp/mem', stat.S_IFCHR | 0o666, os.makedev(1, 1))",
        change_root="os.chroot('/tmp')",
        owner="os.chown('/tmp', 0, 0)",
        rename_tmp="os.rename('/tmp', '/tmp2')",
        remove_usr="os.rmdir('/usr')",
        remove_dev="os.unlink('/dev/null')",
    ),
    attempts(
        "files: other users",
        "os",
        user="os.setuid(0)",
        group="os.setgid(0)",
        effective="os.seteuid(0)",
        groups="os.setgroups([0])",
        all_users="os.setresuid(0, 0, 0)",
        some_user="os.setuid(12345)",
    ),
    Program(
        "files: nobody is root, privileges cannot come back",
        """
import os

def f(x):
    status = open("/proc/self/status").read()
    lines = dict(line.split(":\\t", 1) for line in status.splitlines() if ":\\t" in line)
    capabilities = [int(lines[name], 16) for name in ("CapEff", "CapPrm", "CapAmb")]
    return [0 in os.getresuid(), 0 in os.getresgid(), any(capabilities), lines["NoNewPrivs"]]
""",
        "assert f(1) == [False, False, False, '1']",
        "pass",
    ),
    Program(
        "files: leaves some in /tmp and /dev/shm",
        """
import os

def f(x):
    for place in ("/tmp", "/dev/shm", os.getcwd(), os.environ["HOME"], os.environ["TMPDIR"]):
        for name in ("left-by-a-sample", "sitecustomize.py", "json.py", "math.py", ".pythonrc.py"):
            with open(f"{place}/{name}", "w") as file:
                file.write("raise SystemExit(0)")
    os.makedirs("/tmp/left/here")
    os.mkfifo("/tmp/left-pipe")
    os.symlink("/nowhere", "/tmp/left-link")
    os.chmod("/tmp/left/here", 0)
    return x + 1
""",
        TESTS[0],
        "pass",
    ),
    Program(
        "files: looks for what was left in /tmp and /dev/shm",
        """
import os

def f(x):
    return [name for place in ("/tmp", "/dev/shm") for name in os.listdir(place) if "left" in name]
""",
        "assert f(1) == []",
        "pass",
    ),
    Program(
        "files: a library in the working directory is not imported by anybody else",
        """
for name in ("json", "pickle", "struct", "socket", "decimal", "fractions", "datetime"):
    with open(f"{name}.py", "w") as file:
        file.write("import os; os._exit(0)")
"""
        + RIGHT,
        "import datetime, decimal, fractions\n" + TESTS[0],
        "pass",
    ),
    Program(
        "files: /tmp has an end",
        """
def f(x):
    written = 0
    try:
        for number in range(20):
            with open(f"/tmp/{number}", "wb", 0) as file:
                written += file.write(bytes(15 << 20))
    except OSError:
        pass
    return written >> 20
""",
        "assert 10 < f(1) <= 64",
        "pass",
    ),
    Program(
        "files: /dev/shm has an end",
        """
def f(x):
    written = 0
    try:
        for number in range(20):
            with open(f"/dev/shm/{number}", "wb", 0) as file:
                written += file.write(bytes(4 << 20))
    except OSError:
        pass
    return written >> 20
""",
        "assert f(1) <= 16",
        "pass",
    ),
]


# --- Environment: nothing of ours in it ---

ENVIRONMENT = [
    Program(
        "environment: no secret in os.environ",
        """
import os

def f(x):
    secret = "@SECRET1@" + "@SECRET2@"
    return [name for name, value in os.environ.items() if secret in value]
""",
        "assert f(1) == []",
        "pass",
    ),
    Program(
        "environment: no secret in that of any process",
        """
import os

def f(x):
    secret, found = ("@SECRET1@" + "@SECRET2@").encode(), []
    for name in os.listdir("/proc"):
        for part in ("environ", "cmdline"):
            try:
                with open(f"/proc/{name}/{part}", "rb") as file:
                    if secret in file.read():
                        found.append(f"/proc/{name}/{part}")
            except OSError:
                pass
    return found
""",
        "assert f(1) == []",
        "pass",
    ),
    Program(
        "environment: no secret in that of the C library",
        """
import ctypes

def f(x):
    secret, found = ("@SECRET1@" + "@SECRET2@").encode(), []
    variables = ctypes.POINTER(ctypes.c_char_p).in_dll(ctypes.CDLL(None), "environ")
    number = 0
    while variables and variables[number]:
        if secret in variables[number]:
            found.append(number)
        number += 1
    return found
""",
        "assert f(1) == []",
        "pass",
    ),
    Program(
        "environment: no secret on the stack",
        """
import re

def f(x):
    try:
        maps = open("/proc/self/maps").read().splitlines()
        with open("/proc/self/mem", "rb", 0) as memory:
            for line in maps:
                if line.endswith("[stack]"):
                    start, end = (int(part, 16) for part in line.split()[0].split("-"))
                    memory.seek(start)
                    if re.search(b"@SECRET1@(?:@SECRET2@)", memory.read(end - start)):
                        return "found"
    except OSError:
        pass
    return "nothing"
""",
        "assert f(1) == 'nothing'",
        "pass",
    ),
    Program(
        "environment: no name of ours",
        """
import os, re

def f(x):
    pattern = "KEY|TOKEN|SECRET|PASS|AWS|GITHUB|SLURM|SSH|PROXY|VIRTUAL_ENV|PYTEST"
    return [name for name in os.environ if re.search(pattern, name, re.I)]
""",
        "assert f(1) == []",
        "pass",
    ),
    Program(
        "environment: leaves variables",
        """
import os

os.environ.update(LEFT_BY_A_SAMPLE="1", LD_PRELOAD="/tmp/evil.so", PYTHONPATH="/tmp",
                  PYTHONSTARTUP="/tmp/evil.py", PYTHONHASHSEED="7", PATH="/tmp", HOME="/nowhere")
"""
        + RIGHT,
        TESTS,
        "pass",
    ),
    Program(
        "environment: looks for variables that were left",
        """
import os

def f(x):
    names = ("LEFT_BY_A_SAMPLE", "LD_PRELOAD", "PYTHONPATH", "PYTHONSTARTUP")
    return [name for name in names if name in os.environ], os.environ["PYTHONHASHSEED"]
""",
        "assert f(1) == ([], '0')",
        "pass",
    ),
]


# --- /proc: other processes are closed, the kernel's settings are not ours to change ---

PROC = [
    contained(
        "proc: looks into the first process",
        """
import os

def open_any(path):
    if os.path.isdir(path) and not os.path.islink(path):
        return os.listdir(path)
    try:
        return os.readlink(path)
    except OSError:
        with open(path, "rb") as file:
            file.seek(0)
            return file.read(1)

def attack():
    names = "environ mem maps auxv exe cwd root fd ns/net map_files".split()
    return outcome(**{name: lambda n=name: open_any(f"/proc/1/{n}") for name in names})
""",
    ),
    contained(
        "proc: looks into all other processes",
        """
import os

def attack():
    others = [name for name in os.listdir("/proc") if name.isdecimal() and int(name) != os.getpid()]
    attempts = {}
    for pid in others:
        attempts[f"{pid}/mem"] = lambda p=pid: open(f"/proc/{p}/mem", "rb")
        attempts[f"{pid}/fd"] = lambda p=pid: os.listdir(f"/proc/{p}/fd")
        attempts[f"{pid}/cwd"] = lambda p=pid: os.listdir(f"/proc/{p}/cwd/")
        attempts[f"{pid}/root"] = lambda p=pid: os.listdir(f"/proc/{p}/root/")
    return outcome(**attempts)
""",
    ),
    Program(
        "proc: sees few processes",
        "import os\n\ndef f(x):\n    return len([*filter(str.isdecimal, os.listdir('/proc'))])\n",
        "assert 1 <= f(1) <= 8",
        "pass",
    ),
    contained(
        "proc: writes settings of the kernel",
        """
def rewrite(path):
    "Some may be opened by everybody, but not written to."
    with open(path, "r+") as file:
        value = file.read() or "1"
        file.seek(0)
        file.write(value)
        file.flush()

def attack():
    paths = [
        "kernel/core_pattern", "kernel/hostname", "kernel/domainname", "kernel/modprobe",
        "kernel/sysrq", "kernel/randomize_va_space", "kernel/panic", "kernel/ns_last_pid",
        "vm/overcommit_memory", "vm/drop_caches", "fs/file-max", "user/max_user_namespaces",
        "net/ipv4/ip_forward", "fs/binfmt_misc/register",
    ]
    return outcome(**{path: lambda p=path: rewrite("/proc/sys/" + p) for path in paths})
""",
    ),
    attempts(
        "proc: the magic key",
        "os",
        trigger="open('/proc/sysrq-trigger', 'w').write('h')",
        low_level="os.write(os.open('/proc/sysrq-trigger', os.O_WRONLY), b'h')",
    ),
    attempts(
        "proc: protects itself from the out-of-memory killer",
        "os",
        own="open('/proc/self/oom_score_adj', 'w', 1).write('-1000\\n')",
        old="open('/proc/self/oom_adj', 'w', 1).write('-17\\n')",
        first="open('/proc/1/oom_score_adj', 'w', 1).write('1000\\n')",
    ),
    attempts(
        "proc: the memory of the kernel",
        "os",
        kcore="open('/proc/kcore', 'rb').read(1)",
        kmsg="os.read(os.open('/proc/kmsg', os.O_RDONLY | os.O_NONBLOCK), 1)",
        pages="open('/proc/kpageflags', 'rb').read(1)",
        port="open('/dev/port', 'rb').read(1)",
        memory="open('/dev/mem', 'rb').read(1)",
    ),
    attempts(
        "proc: maps of users",
        "os",
        users="open('/proc/self/uid_map', 'w', 1).write('0 0 1\\n')",
        groups="open('/proc/self/gid_map', 'w', 1).write('0 0 1\\n')",
        first="open('/proc/1/uid_map', 'w', 1).write('0 0 1\\n')",
    ),
    attempts(
        "proc: control groups and other file systems",
        "os",
        procs="open('/sys/fs/cgroup/cgroup.procs', 'w')",
        old="open('/sys/fs/cgroup/memory/tasks', 'w')",
        release="open('/sys/fs/cgroup/release_agent', 'w')",
        uevent="open('/sys/kernel/uevent_helper', 'w')",
        debug="os.listdir('/sys/kernel/debug')",
        bpf="os.listdir('/sys/fs/bpf')",
    ),
    attempts(
        "proc: the process of the host",
        "os",
        environ="open('/proc/@PID@/environ', 'rb').read()",
        memory="open('/proc/@PID@/mem', 'rb')",
        root="os.listdir('/proc/@PID@/root/')",
        command="open('/proc/@PID@/cmdline').read()",
    ),
]


# --- Network: there is none ---

TCP = "socket.create_connection({}, 0.2)"
DATAGRAM = "socket.socket({}, socket.SOCK_DGRAM).connect({})"

NETWORK = [
    attempts(
        "network: TCP to the host",
        "socket",
        loopback=TCP.format("('127.0.0.1', @PORT@)"),
        name=TCP.format("('localhost', @PORT@)"),
        any_address=TCP.format("('0.0.0.0', @PORT@)"),
        other_loopback=TCP.format("('127.1.2.3', @PORT@)"),
        sixth=TCP.format("('::1', @PORT@)"),
        mapped=TCP.format("('::ffff:127.0.0.1', @PORT@)"),
    ),
    attempts(
        "network: TCP to the world",
        "socket",
        resolver=TCP.format("('1.1.1.1', 53)"),
        web=TCP.format("('1.1.1.1', 443)"),
        metadata=TCP.format("('169.254.169.254', 80)"),
        private=TCP.format("('10.0.0.1', 80)"),
        docker=TCP.format("('172.17.0.1', 80)"),
    ),
    attempts(
        "network: UDP to the world",
        "socket",
        connect=DATAGRAM.format("socket.AF_INET", "('1.1.1.1', 53)"),
        send="socket.socket(socket.AF_INET, socket.SOCK_DGRAM).sendto(b'x', ('1.1.1.1', 53))",
        multicast="socket.socket(type=socket.SOCK_DGRAM).sendto(b'x', ('224.0.0.251', 5353))",
        broadcast="socket.socket(type=socket.SOCK_DGRAM).sendto(b'x', ('192.168.1.255', 9))",
    ),
    attempts(
        "network: IPv6",
        "socket",
        tcp=TCP.format("('2606:4700:4700::1111', 53)"),
        udp=DATAGRAM.format("socket.AF_INET6", "('2606:4700:4700::1111', 53)"),
        link="socket.socket(socket.AF_INET6, socket.SOCK_DGRAM).sendto(b'x', ('ff02::1%2', 9))",
    ),
    attempts(
        "network: names",
        "socket",
        address="socket.getaddrinfo('example.com', 80)",
        old="socket.gethostbyname('example.org')",
    ),
    attempts(
        "network: urllib and http.client",
        "http.client, urllib.request",
        url="urllib.request.urlopen('http://127.0.0.1:@PORT@/', timeout=0.2)",
        world="http.client.HTTPConnection('1.1.1.1', timeout=0.2).request('GET', '/')",
    ),
    attempts(
        "network: raw sockets",
        "socket",
        icmp="socket.socket(socket.AF_INET, socket.SOCK_RAW, socket.IPPROTO_ICMP)",
        tcp="socket.socket(socket.AF_INET, socket.SOCK_RAW, socket.IPPROTO_TCP)",
        raw="socket.socket(socket.AF_INET, socket.SOCK_RAW, socket.IPPROTO_RAW)",
        sixth="socket.socket(socket.AF_INET6, socket.SOCK_RAW, socket.IPPROTO_ICMPV6)",
    ),
    attempts(
        "network: packet sockets",
        "socket",
        raw="socket.socket(17, socket.SOCK_RAW, 0)",
        datagram="socket.socket(17, socket.SOCK_DGRAM, 0)",
    ),
    attempts(
        "network: netlink",
        "socket",
        route="socket.socket(socket.AF_NETLINK, socket.SOCK_RAW, 0)",
        generic="socket.socket(socket.AF_NETLINK, socket.SOCK_RAW, 16)",
        netfilter="socket.socket(socket.AF_NETLINK, socket.SOCK_RAW, 12)",
        events="socket.socket(socket.AF_NETLINK, socket.SOCK_DGRAM, 15)",
    ),
    attempts(
        "network: the machine below (vsock)",
        "socket",
        create="socket.socket(40, socket.SOCK_STREAM)",
    ),
    attempts(
        "network: other families",
        "socket",
        cryptography="socket.socket(38, socket.SOCK_SEQPACKET)",
        bus="socket.socket(29, socket.SOCK_RAW, 1)",
        tipc="socket.socket(30, socket.SOCK_RDM)",
        express="socket.socket(44, socket.SOCK_RAW)",
        bluetooth="socket.socket(31, socket.SOCK_RAW, 1)",
        phonet="socket.socket(35, socket.SOCK_DGRAM)",
    ),
    attempts(
        "network: settings of interfaces",
        "fcntl, socket, struct",
        up="fcntl.ioctl(socket.socket(), 0x8914, struct.pack('16sH14x', b'lo', 0))",
        bridge="fcntl.ioctl(socket.socket(), 0x89A0, b'evil'.ljust(16, bytes(1)))",
        tunnel="open('/dev/net/tun', 'r+b', 0)",
        host_name="socket.sethostname('evil')",
    ),
]

UNIX_SOCKETS = [
    attempts(
        "unix: the abstract socket of the host",
        "socket",
        stream="socket.socket(socket.AF_UNIX).connect('\\0@UNIX@')",
        datagram="socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM).connect('\\0@UNIX@')",
        sequence="socket.socket(socket.AF_UNIX, socket.SOCK_SEQPACKET).connect('\\0@UNIX@')",
    ),
    attempts(
        "unix: well-known paths",
        "socket",
        docker="socket.socket(socket.AF_UNIX).connect('/var/run/docker.sock')",
        container="socket.socket(socket.AF_UNIX).connect('/run/containerd/containerd.sock')",
        bus="socket.socket(socket.AF_UNIX).connect('/run/dbus/system_bus_socket')",
        log="socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM).connect('/dev/log')",
        canary="socket.socket(socket.AF_UNIX).connect('@DIRECTORY@/canary')",
    ),
    attempts(
        "unix: sockets outside of /tmp",
        "socket",
        root="socket.socket(socket.AF_UNIX).bind('/evil')",
        host="socket.socket(socket.AF_UNIX).bind('@DIRECTORY@/evil')",
        users="socket.socket(socket.AF_UNIX).bind('/usr/evil')",
    ),
    Program(
        "unix: no abstract socket of anybody else is known",
        """
def f(x):
    try:
        return [line for line in open("/proc/net/unix") if "@UNIX@" in line]
    except OSError:
        return []
""",
        "assert f(1) == []",
        "pass",
    ),
]


# --- Signals: nobody else is hurt ---


def survived(name: str, code: str) -> Program:
    """Executes the code, whatever the system says of it, and computes the right result."""
    body = f"import os, signal\n\ndef f(x):\n{indent(code)}    return x + 1\n"
    return Program(name, body, TESTS, "pass")


def signalled(action: str, signals: str = "range(1, 65)") -> str:
    return (
        f"for number in {signals}:\n    try:\n        {action}\n    except OSError:\n        pass\n"
    )


SIGNALS = [
    survived("signals: every one to the first process", signalled("os.kill(1, number)")),
    survived(
        "signals: SIGKILL and SIGSTOP to the parent",
        signalled("os.kill(os.getppid(), number)", "(9, 19)"),
    ),
    survived(
        "signals: SIGCHLD to the first process", signalled("os.kill(1, number)", "[17] * 1000")
    ),
    survived("signals: SIGSTOP to all others", signalled("os.kill(-1, number)", "[19]")),
    survived("signals: SIGKILL to all others", signalled("os.kill(-1, number)", "[9]")),
    survived(
        "signals: the whole group",
        "signal.signal(15, signal.SIG_IGN)\n" + signalled("os.killpg(0, number)", "[15]"),
    ),
    survived(
        "signals: through a descriptor of the first process",
        "try:\n    first = os.pidfd_open(1)\n"
        "    signal.pidfd_send_signal(first, 9)\n    signal.pidfd_send_signal(first, 19)\n"
        "except OSError:\n    pass\n",
    ),
    survived(
        "signals: all are blocked", "signal.pthread_sigmask(signal.SIG_BLOCK, range(1, 65))\n"
    ),
    survived(
        "signals: all are ignored",
        signalled("signal.signal(number, signal.SIG_IGN)").replace(
            "OSError", "(OSError, ValueError)"
        ),
    ),
    Program(
        "signals: kills all others, then itself",
        "import os\n"
        + in_function("try:\n    os.kill(-1, 9)\nfinally:\n    os.kill(os.getpid(), 9)"),
        TESTS,
        "fail",
    ),
    attempts(
        "signals: to the process of the host",
        "os, signal",
        probe="os.kill(@PID@, 0)",
        terminate="os.kill(@PID@, 15)",
        kill="os.kill(@PID@, 9)",
        group="os.killpg(@PID@, 9)",
        descriptor="os.pidfd_open(@PID@)",
    ),
    *(
        Program(
            f"signals: ends by {name}",
            in_function(f"import os, signal\nos.kill(os.getpid(), signal.{name})", "'wrong'"),
            TESTS,
            "fail",
        )
        for name in ("SIGHUP", "SIGQUIT", "SIGUSR1", "SIGTRAP", "SIGSYS", "SIGALRM", "SIGVTALRM")
    ),
    Program(
        "signals: a timer kills a sleeper",
        "import signal, time\n"
        + in_function("signal.setitimer(signal.ITIMER_REAL, 0.05)\ntime.sleep(2)", "'wrong'"),
        TESTS,
        "fail",
    ),
    Program(
        "signals: a timer exits in the midst of a computation",
        """
import os, signal

def f(x):
    signal.signal(signal.SIGVTALRM, lambda *_: os._exit(0))
    signal.setitimer(signal.ITIMER_VIRTUAL, 0.05)
    while True:
        pass
""",
        TESTS,
        "fail",
    ),
    Program(
        "signals: a loop that is deaf to all",
        """
import signal

for number in range(1, 65):
    try:
        signal.signal(number, signal.SIG_IGN)
    except (OSError, ValueError):
        pass
signal.pthread_sigmask(signal.SIG_BLOCK, range(1, 65))

def f(x):
    while True:
        pass
""",
        TESTS,
        "timeout",
        timeout=SHORT,
    ),
    Program(
        "signals: a loop that catches everything",
        """
def f(x):
    while True:
        try:
            while True:
                pass
        except BaseException:
            pass
""",
        TESTS,
        "timeout",
        timeout=SHORT,
    ),
    Program(
        "signals: stops itself",
        in_function("import os\nos.kill(os.getpid(), 19)"),
        TESTS,
        "timeout",
        timeout=SHORT,
    ),
]


# --- System calls: ptrace, namespaces and what else may open a kernel ---

CALL = (
    OUTCOME
    + """
import ctypes, os, platform

machine = platform.machine()
libc = ctypes.CDLL(None, use_errno=True)
libc.syscall.restype = ctypes.c_long

def call(numbers, *arguments):
    "A system call by its number on x86_64 or on aarch64."
    number = numbers[machine != "x86_64"]
    values = [ctypes.c_long(a) if isinstance(a, int) else a for a in arguments]
    result = libc.syscall(ctypes.c_long(number), *values)
    if result == -1:
        raise OSError(ctypes.get_errno(), "refused")
    return result
"""
)


def system_calls(name: str, prepare: str = "", /, **expressions: str) -> Program:
    lines = "".join(f"        {key}=lambda: {value},\n" for key, value in expressions.items())
    code = f"{prepare}\ndef attack():\n    return outcome(\n{lines}    )\n"
    return Program(name, CALL + code, 'assert attack() == "refused"', "pass")


VECTOR = """
class Vector(ctypes.Structure):
    _fields_ = [("base", ctypes.c_void_p), ("size", ctypes.c_size_t)]

buffer = ctypes.create_string_buffer(8)
local = Vector(ctypes.addressof(buffer), 8)
remote = Vector(ctypes.addressof(buffer), 8)
"""

SYSTEM_CALLS = [
    system_calls(
        "syscalls: ptrace",
        seize="call((101, 117), 0x4206, os.getppid(), 0, 0)",
        attach="call((101, 117), 16, 1, 0, 0)",
        trace_me="call((101, 117), 0, 0, 0, 0)",
    ),
    system_calls(
        "syscalls: the memory of other processes",
        VECTOR,
        read="call((310, 270), os.getppid(), ctypes.byref(local), 1, ctypes.byref(remote), 1, 0)",
        write="call((311, 271), os.getppid(), ctypes.byref(local), 1, ctypes.byref(remote), 1, 0)",
        first="call((310, 270), 1, ctypes.byref(local), 1, ctypes.byref(remote), 1, 0)",
        compare="call((312, 272), os.getpid(), 1, 0, 0, 0)",
    ),
    system_calls(
        "syscalls: descriptors of other processes",
        steal="[call((438, 438), os.pidfd_open(1), number, 0) for number in (3, 0, 1)]",
        parent="[call((438, 438), os.pidfd_open(os.getppid()), number, 0) for number in (3, 0, 1)]",
    ),
    system_calls(
        "syscalls: mounts",
        temporary="call((165, 40), b'none', b'/tmp', b'tmpfs', 0, 0)",
        bind="call((165, 40), b'/usr', b'/tmp', 0, 4096, 0)",
        writable="call((165, 40), 0, b'/usr', 0, 32 | 4096, 0)",
        processes="call((165, 40), b'proc', b'/tmp', b'proc', 0, 0)",
        unmount="call((166, 39), b'/proc', 2)",
        pivot="call((155, 41), b'/tmp', b'/tmp')",
    ),
    system_calls(
        "syscalls: mounts of the new kind",
        "writable = (ctypes.c_uint64 * 4)(0, 1, 0, 0)\n",
        context="call((430, 430), b'tmpfs', 0)",
        clone="call((428, 428), -100, b'/usr', 1)",
        attributes="call((442, 442), -100, b'/', 0, writable, 32)",
    ),
    system_calls(
        "syscalls: namespaces by unshare",
        user="call((272, 97), 0x10000000)",
        mount="call((272, 97), 0x00020000)",
        network="call((272, 97), 0x40000000)",
        processes="call((272, 97), 0x20000000)",
        user_and_mount="call((272, 97), 0x10020000)",
    ),
    system_calls(
        "syscalls: namespaces by clone",
        """
def clone(flags):
    child = call((56, 220), flags | 17, 0, 0, 0, 0)
    if child == 0:
        os._exit(0)
    os.waitpid(child, 0)
""",
        user="clone(0x10000000)",
        mount="clone(0x00020000)",
        user_and_network="clone(0x50000000)",
    ),
    system_calls(
        "syscalls: a user namespace by clone3",
        """
import struct

def clone3(flags):
    arguments = ctypes.create_string_buffer(struct.pack("<8Q", flags, 0, 0, 0, 17, 0, 0, 0))
    child = call((435, 435), arguments, 64)
    if child == 0:
        os._exit(0)
    os.waitpid(child, 0)
""",
        user="clone3(0x10000000)",
        user_and_mount="clone3(0x10020000)",
    ),
    system_calls(
        "syscalls: setns",
        user="call((308, 268), os.open('/proc/self/ns/user', 0), 0)",
        mount="call((308, 268), os.open('/proc/self/ns/mnt', 0), 0)",
        first="call((308, 268), os.open('/proc/1/ns/net', 0), 0)",
        descriptor="call((308, 268), os.pidfd_open(1), 0x40000000)",
    ),
    system_calls(
        "syscalls: bpf",
        "map_of = (ctypes.c_uint32 * 32)(2, 4, 4, 1)\n",
        map="call((321, 280), 0, map_of, 72)",
    ),
    system_calls(
        "syscalls: keys",
        add="call((248, 217), b'user', b'left', b'secret', 6, -3)",
        request="call((249, 218), b'user', b'left', 0, 0)",
        session="call((250, 219), 0, -3, 1, 0, 0)",
        join="call((250, 219), 1, 0, 0, 0, 0)",
    ),
    system_calls(
        "syscalls: io_uring",
        "parameters = ctypes.create_string_buffer(120)\n",
        setup="call((425, 425), 4, parameters)",
    ),
    system_calls(
        "syscalls: userfaultfd",
        own="call((323, 282), 1)",
        kernel="call((323, 282), 0)",
    ),
    system_calls(
        "syscalls: perf_event_open",
        """
import struct

# Software, CPU clock, disabled, without kernel and hypervisor.
event = ctypes.create_string_buffer(struct.pack("<IIQQQQQ", 1, 112, 0, 0, 0, 0, 0x61), 112)
""",
        own="call((298, 241), event, 0, -1, -1, 0)",
        everything="call((298, 241), event, -1, 0, -1, 0)",
    ),
    system_calls(
        "syscalls: files in memory",
        memory="call((319, 279), b'evil', 0)",
        secret="call((447, 447), 0)",
    ),
    system_calls(
        "syscalls: limits and priorities of the first process",
        """
limits = (ctypes.c_uint64 * 2)(0, 0)
""",
        limit="call((302, 261), 1, 7, limits, 0)",
        memory="call((302, 261), 1, 9, limits, 0)",
        nice="call((141, 140), 0, 1, 19)",
        group="call((141, 140), 1, 0, -1)",
    ),
    # The kernel looks at 32 bits of these arguments only, a filter may compare 64.
    system_calls(
        "syscalls: numbers with bits that do not count",
        "high = 1 << 32\nlimits = (ctypes.c_uint64 * 2)(0, 0)\n",
        limit="call((302, 261), high | 1, 7, limits, 0)",
        nice="call((141, 140), high, high | 1, 19)",
        netlink="call((41, 198), high | 16, 3, 0)",
        packet="call((41, 198), high | 17, 3, 0)",
        user="call((272, 97), high | 0x10000000)",
        attach="call((101, 117), high | 16, high | 1, 0, 0)",
    ),
    # Where the plain command is allowed, there is nothing to be evaded.
    system_calls(
        "syscalls: commands with bits that do not count",
        """
def evade(command, value):
    pipe = os.pipe()[1]
    try:
        call((72, 25), pipe, command, value)
    except OSError:
        call((72, 25), pipe, 1 << 32 | command, value)
    else:
        raise OSError
""",
        owner="evade(8, 1)",
        signal="evade(10, 9)",
        size="evade(1031, 1 << 17)",
    ),
    system_calls(
        "syscalls: the scheduling of the first process",
        """
mask = ctypes.create_string_buffer(b"\\x01", 128)
priority = ctypes.c_int(0)
""",
        affinity="call((203, 122), 1, 128, mask)",
        scheduler="call((144, 119), 1, 5, ctypes.byref(priority))",
    ),
    system_calls(
        "syscalls: better limits for itself",
        """
import resource

def raise_limit(name):
    hard = resource.getrlimit(name)[1]
    if hard == resource.RLIM_INFINITY:
        return
    try:
        resource.setrlimit(name, (hard + 1, hard + 1))
    except ValueError:
        raise PermissionError from None
""",
        memory="raise_limit(resource.RLIMIT_AS)",
        processes="raise_limit(resource.RLIMIT_NPROC)",
        files="raise_limit(resource.RLIMIT_FSIZE)",
        descriptors="raise_limit(resource.RLIMIT_NOFILE)",
        core="raise_limit(resource.RLIMIT_CORE)",
        nice="os.nice(-5)",
        real_time="os.sched_setscheduler(0, os.SCHED_FIFO, os.sched_param(1))",
    ),
    system_calls(
        "syscalls: extended attributes",
        "open('/tmp/file', 'w').close()\n",
        user="os.setxattr('/tmp', 'user.left', b'1')",
        file="os.setxattr('/tmp/file', 'user.left', b'1')",
        trusted="os.setxattr('/tmp', 'trusted.left', b'1')",
        capability="os.setxattr('/tmp/file', 'security.capability', bytes(20))",
    ),
    system_calls(
        "syscalls: System V and POSIX queues",
        shared="call((29, 194), 0, 4096, 0o1666)",
        semaphores="call((64, 190), 0, 1, 0o1666)",
        messages="call((68, 186), 0, 0o1666)",
        queue="call((240, 180), b'left', 0o102, 0o666, 0)",
    ),
    system_calls(
        "syscalls: modules, clocks and names of the machine",
        "nothing = ctypes.create_string_buffer(64)\n",
        module="call((175, 105), nothing, 64, b'')",
        module_file="call((313, 273), os.open('/dev/null', 0), b'', 0)",
        unload="call((176, 106), b'no-such-module', 0)",
        name="call((170, 161), b'evil', 4)",
        domain="call((171, 162), b'evil', 4)",
        accounting="call((163, 89), b'/tmp/accounting')",
        swap="call((167, 224), b'/tmp/no-such-file', 0)",
        control_alt_delete="call((169, 142), 0xfee1dead, 672274793, 0, 0)",
        kernel="call((246, 104), 0, 0, 0, 0)",
        handle="call((304, 265), -100, nothing, 0)",
    ),
    system_calls(
        "syscalls: capabilities",
        "import struct\nhead = ctypes.create_string_buffer(struct.pack('<II', 0x20080522, 0))\n"
        "every = ctypes.create_string_buffer(b'\\xff' * 24)\n",
        set="call((126, 91), head, every)",
        ambient="call((157, 167), 47, 2, 21, 0, 0)",
    ),
    # A filter may kill a process for calls of a foreign kind, so that this is no `refused`.
    Program(
        "syscalls: a ptrace by its 32-bit number",
        """
import ctypes, mmap, platform

# mov eax, 26 (ptrace); xor of ebx, ecx, edx, esi; int 0x80; ret
CODE = bytes.fromhex("53 b8 1a 00 00 00 31 db 31 c9 31 d2 31 f6 cd 80 5b c3")

def attack():
    if platform.machine() != "x86_64":
        return "another machine"
    try:
        memory = mmap.mmap(-1, 4096, prot=mmap.PROT_READ | mmap.PROT_WRITE | mmap.PROT_EXEC)
    except OSError:
        return "refused"
    memory.write(CODE)
    start = ctypes.addressof(ctypes.c_char.from_buffer(memory))
    result = ctypes.CFUNCTYPE(ctypes.c_int)(start)()
    return "allowed" if result == 0 else "refused"
""",
        'assert attack() == "allowed"',
        "fail",
    ),
    Program(
        "syscalls: ptrace and a file in memory by their x32 numbers",
        """
import ctypes, platform

def attack():
    if platform.machine() != "x86_64":
        return "another machine"
    call = ctypes.CDLL(None).syscall
    call.restype = ctypes.c_long
    x32 = 0x40000000
    results = [call(x32 | 521, 0, 0, 0, 0), call(x32 | 319, b"evil", 0), call(x32 | 272, 1 << 28)]
    return "refused" if results == [-1, -1, -1] else "allowed"
""",
        'assert attack() == "allowed"',
        "fail",
    ),
]


# --- Daemons: nothing outlives its job, and no job waits for them ---

DETACH = """
import os, signal, time

def detach(work):
    "Executes `work` in a process that nobody knows any more."
    child = os.fork()
    if child:
        os.waitpid(child, 0)
        return
    os.setsid()
    if os.fork():
        os._exit(0)
    try:
        work()
    finally:
        os._exit(0)
"""


def daemon(name: str, code: str, tests: list[str] = TESTS, verdict: str = "pass") -> Program:
    return Program(f"daemons: {name}", DETACH + code, tests, verdict)


DAEMONS = [
    daemon("sleeps", "\n" + in_function("detach(lambda: time.sleep(1000))")),
    daemon(
        "ignores all signals and calls itself lurker",
        """
import ctypes

def lurk():
    signal.pthread_sigmask(signal.SIG_BLOCK, range(1, 65))
    ctypes.CDLL(None).prctl(15, b"lurker", 0, 0, 0)
    time.sleep(1000)

def f(x):
    detach(lurk)
    return x + 1
""",
        TESTS[:1],
    ),
    Program(
        "daemons: looks for one that is called lurker",
        """
import os

def f(x):
    found = []
    for name in os.listdir("/proc"):
        try:
            found += [name] if "lurker" in open(f"/proc/{name}/comm").read() else []
        except OSError:
            pass
    return found
""",
        "assert f(1) == []",
        "pass",
    ),
    daemon(
        "writes forged replies later, while its parent is wrong",
        """
def write():
    for _ in range(20):
        time.sleep(0.02)
        for number in range(3, 64):
            try:
                os.set_blocking(number, False)
                os.write(number, b'{"return": 2}\\n')
            except OSError:
                pass

def f(x):
    detach(write)
    time.sleep(0.1)
    os._exit(0)
""",
        verdict="fail",
    ),
    daemon(
        "forks itself anew again and again",
        """
def run():
    while os.fork() == 0:
        time.sleep(0.01)

def f(x):
    detach(run)
    return x + 1
""",
        TESTS[:1],
    ),
    daemon(
        "computes for ever",
        """
def compute():
    while True:
        pass

def f(x):
    detach(compute)
    return x + 1
""",
        TESTS[:1],
    ),
    daemon(
        "is a shell",
        """
def shell():
    os.execv("/usr/bin/sleep", ["sleep", "1000"])

def f(x):
    detach(shell)
    return x + 1
""",
        TESTS[:1],
    ),
    daemon(
        "starts while the code is read, and the parent exits",
        "detach(lambda: time.sleep(1000))\nos._exit(0)\n" + RIGHT,
        verdict="fail",
    ),
    Program(
        "daemons: a thread that never ends",
        "import threading, time\nthreading.Thread(target=time.sleep, args=(1000,)).start()\n"
        + RIGHT,
        TESTS,
        "pass",
    ),
    Program(
        "daemons: a process of multiprocessing that is never joined",
        """
import multiprocessing, time

context = multiprocessing.get_context("fork")

def f(x):
    context.Process(target=time.sleep, args=(1000,)).start()
    return x + 1
""",
        TESTS[:1],
        "pass",
    ),
]


# --- Bombs: processes, threads and memory have an end ---

BOMBS = [
    Program(
        "bombs: forks until it is refused",
        "import os, time\n"
        + in_function("while True:\n    if os.fork() == 0:\n        time.sleep(1000)"),
        TESTS,
        "fail",
    ),
    Program(
        "bombs: forks for ever",
        """
import os

def f(x):
    while True:
        try:
            os.fork()
        except OSError:
            pass
""",
        TESTS,
        "timeout",
        timeout=SHORT,
    ),
    Program(
        "bombs: forks at top level, and in all children",
        "import os\nfor _ in range(10):\n    os.fork()\n" + WRONG,
        TESTS,
        "fail",
    ),
    Program(
        "bombs: children fork, the parent counts them",
        """
import os, time

def f(x):
    read, write = os.pipe()
    if os.fork() == 0:
        os.set_blocking(write, False)
        end = time.monotonic() + 0.2
        while time.monotonic() < end:
            try:
                if os.fork() == 0:
                    os.write(write, b"x")
                    time.sleep(0.3)
            except OSError:
                time.sleep(0.01)
        os._exit(0)
    os.close(write)
    time.sleep(0.1)
    return "few" if len(os.read(read, 10_000)) <= 64 else "many"
""",
        "assert f(1) == 'few'",
        "pass",
    ),
    Program(
        "bombs: threads",
        """
import threading, time

def f(x):
    while True:
        threading.Thread(target=time.sleep, args=(1000,), daemon=True).start()
""",
        TESTS,
        "fail",
    ),
    Program(
        "bombs: processes of a shell",
        """
import subprocess

def f(x):
    return [subprocess.Popen(["/usr/bin/sleep", "1000"]) for _ in range(100)] and x + 1
""",
        TESTS,
        "fail",
    ),
    *(
        Program(f"bombs: {name}", in_function(code), TESTS, "fail")
        for name, code in {
            "4 GiB at once": "data = bytearray(4 << 30)",
            "a list of large pieces": "data = []\nwhile True:\n    data.append(bytes(1 << 24))",
            "a list that grows thirtyfold": "data = [0]\nwhile True:\n    data *= 30",
            "a text that grows fortyfold": "data = 'x'\nwhile True:\n    data *= 40",
            "a dict of large pieces": "data = {}\nwhile True:\n    data[len(data)] = bytes(2**24)",
            "a huge shift": "data = 1 << (1 << 40)",
            "a huge text": "data = 'x' * (1 << 40)",
            "a huge range as a list": "data = list(range(1 << 40))",
            "a huge format": "data = '{:1099511627776}'.format(1)",
            "an anonymous mapping": "import mmap\ndata = mmap.mmap(-1, 8 << 30)",
            "many anonymous mappings": (
                "import mmap\ndata = []\nwhile True:\n    data.append(mmap.mmap(-1, 1 << 26))"
            ),
        }.items()
    ),
    Program(
        "bombs: memory at top level",
        "data = []\nwhile True:\n    data.append(bytes(1 << 24))\n",
        TESTS,
        "fail",
    ),
    contained(
        "bombs: children have no more memory than their parent",
        """
import os

def child(depth):
    "Every child makes a child, and none gets 2 GiB."
    try:
        bytearray(2 << 30)
        code = 1
    except MemoryError:
        code = 0
    if code == 0 and depth:
        pid = os.fork()
        if pid == 0:
            os._exit(child(depth - 1))
        code = os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1])
    return code

def grow():
    if child(8) == 0:
        raise OSError

def attack():
    return outcome(memory=grow)
""",
    ),
    Program(
        "bombs: some children with some memory each",
        """
import os, time

def f(x):
    for _ in range(6):
        if os.fork() == 0:
            data = b"x" * (48 << 20)
            time.sleep(0.1)
            os._exit(0)
    for _ in range(6):
        os.wait()
    return "wrong"
""",
        TESTS,
        "fail",
    ),
    contained(
        "bombs: a sparse file",
        """
import os

def seek():
    with open("/tmp/far", "wb", 0) as file:
        file.seek(1 << 40)
        file.write(b"x")

def attack():
    open("/tmp/sparse", "w").close()
    return outcome(
        truncate=lambda: os.truncate("/tmp/sparse", 1 << 40),
        allocate=lambda: os.posix_fallocate(os.open("/tmp/sparse", os.O_RDWR), 0, 1 << 40),
        seek=seek,
    )
""",
    ),
    Program(
        "bombs: a file without end",
        "def f(x):\n    with open('/tmp/x', 'wb') as file:\n        while True:\n"
        "            file.write(bytes(1 << 20))\n",
        TESTS,
        "fail",
    ),
    contained(
        "bombs: many small files",
        """
def fill():
    for number in range(20_000):
        with open(f"/tmp/{number}", "wb", 0) as file:
            file.write(b"x")

def attack():
    return outcome(fill=fill)
""",
    ),
    contained(
        "bombs: descriptors",
        """
import os

def repeat(opening):
    opened = []
    try:
        for _ in range(5_000):
            opened += opening()
    finally:
        for number in opened:
            os.close(number)

def attack():
    return outcome(
        files=lambda: repeat(lambda: [os.open("/dev/null", os.O_RDONLY)]),
        pipes=lambda: repeat(os.pipe),
    )
""",
    ),
    Program(
        "bombs: a regular expression",
        "import re\n" + in_function("re.match('(a+)+$', 'a' * 40 + 'b')"),
        TESTS,
        "timeout",
        timeout=SHORT,
    ),
    Program(
        "bombs: a power in C that nothing interrupts",
        in_function("y = x + 8\ny ** y ** y ** y"),
        TESTS,
        "timeout",
        timeout=SHORT,
    ),
    Program(
        "bombs: a loop at top level",
        "while True:\n    pass\n",
        TESTS,
        "timeout",
        timeout=SHORT,
    ),
    Program(
        "bombs: a loop in a constructor",
        "class Thing:\n    def __init__(self):\n        while True:\n            pass\n",
        "assert Thing()",
        "timeout",
        timeout=SHORT,
    ),
    Program(
        "bombs: sleeps at top level",
        "import time\ntime.sleep(1000)\n" + RIGHT,
        TESTS,
        "timeout",
        timeout=SHORT,
    ),
    Program(
        "bombs: a lock that is never released",
        "import threading\n"
        + in_function("lock = threading.Lock()\nlock.acquire()\nlock.acquire()"),
        TESTS,
        "timeout",
        timeout=SHORT,
    ),
    Program(
        "bombs: waits for a child that sleeps",
        "import os, time\n"
        + in_function("if os.fork() == 0:\n    time.sleep(1000)\n    os._exit(0)\nos.wait()"),
        TESTS,
        "timeout",
        timeout=SHORT,
    ),
]


# --- Floods of output ---

LARGE = 200_000_000

FLOODS = [
    Program(
        "floods: prints for ever",
        in_function("while True:\n    print('x' * 100_000)"),
        TESTS,
        "timeout",
        timeout=SHORT,
    ),
    Program(
        "floods: prints a lot to both streams, and is right",
        """
import os, sys

def f(x):
    for _ in range(500):
        sys.stdout.write("x" * 100_000)
        sys.stderr.write("x" * 100_000)
        os.write(1, b"x" * 100_000)
        os.write(2, b"x" * 100_000)
    return x + 1
""",
        TESTS,
        "pass",
    ),
    Program(
        "floods: closes the streams, and is right",
        "import os, sys\n" + in_function("sys.stdout.close()\nsys.stderr = None\nos.close(2)"),
        TESTS[0],
        "pass",
    ),
    *(
        Program(f"floods: {name}", code, TESTS, "fail", timeout=PATIENT)
        for name, code in {
            "a giant text": f"def f(x):\n    return 'x' * {LARGE}\n",
            "giant bytes": f"def f(x):\n    return bytes({LARGE})\n",
            "a giant text in a list": f"def f(x):\n    return ['x' * {LARGE}]\n",
            "a giant number": f"def f(x):\n    return 1 << 8 * {LARGE}\n",
            "a giant message": f"def f(x):\n    raise ValueError('x' * {LARGE})\n",
            "a giant message at top level": f"raise ValueError('x' * {LARGE})\n",
            "a giant name of an exception": (
                f"def f(x):\n    raise type('x' * {LARGE // 10}, (Exception,), {{}})\n"
            ),
        }.items()
    ),
    Program(
        "floods: a giant argument",
        f"def f(items):\n    items.append('x' * {LARGE})\n",
        "items = []\nf(items)\nassert items == ['x']",
        "fail",
        timeout=PATIENT,
    ),
]


# --- Recursion ---

RECURSION = [
    Program("recursion: endless", "def f(x):\n    return f(x)\n", TESTS, "fail"),
    Program(
        "recursion: endless in C, without a limit",
        """
import sys

sys.setrecursionlimit(10**9)

class Deep:
    def __repr__(self):
        return repr(self)

    __call__ = __repr__

def f(x):
    return repr(Deep())
""",
        TESTS,
        "fail",
    ),
    Program(
        "recursion: __getattr__ without a limit",
        """
import sys

sys.setrecursionlimit(2**31 - 1)

class Deep:
    def __getattr__(self, name):
        return getattr(self, name + "x")

def f(x):
    return Deep().y
""",
        TESTS,
        "fail",
    ),
    *(
        Program(
            f"recursion: a result a million levels deep, {name}",
            f"def f(x):\n    value = x\n    for _ in range(1_000_000):\n        value = {level}\n"
            "    return value\n",
            TESTS,
            "fail",
        )
        for name, level in {
            "lists": "[value]",
            "tuples": "(value,)",
            "dicts": "{1: value}",
        }.items()
    ),
    *(
        Program(f"recursion: a cyclic {name}", code, "assert f(1) == [1]", "fail")
        for name, code in {
            "list": "def f(x):\n    value = []\n    value.append(value)\n    return value\n",
            "dict": "def f(x):\n    value = {}\n    value[1] = value\n    return value\n",
            "tuple": "def f(x):\n    value = ([],)\n    value[0].append(value)\n    return value\n",
        }.items()
    ),
    Program(
        "recursion: a low limit",
        "import sys\nsys.setrecursionlimit(60)\n\ndef f(x):\n    return f(x)\n",
        TESTS,
        "fail",
    ),
    Program(
        "recursion: a chain of exceptions",
        """
def f(x):
    error = ValueError(0)
    for number in range(100_000):
        new = ValueError(number)
        new.__cause__ = new.__context__ = error
        error = new
    raise error
""",
        TESTS,
        "fail",
    ),
    Program(
        "recursion: exceptions in a circle",
        "def f(x):\n    one, two = ValueError(1), ValueError(2)\n"
        "    one.__cause__, two.__cause__ = two, one\n    raise one\n",
        TESTS,
        "fail",
    ),
]


# --- Crashes in C ---

CRASHES = {
    "reads address 0": "import ctypes\nctypes.string_at(0)",
    "writes to address 1": "import ctypes\nctypes.memset(1, 0, 1)",
    "calls address 1": "import ctypes\nctypes.CFUNCTYPE(ctypes.c_int)(1)()",
    "os.abort": "import os\nos.abort()",
    "SIGSEGV": "import os\nos.kill(os.getpid(), 11)",
    "SIGILL": "import os\nos.kill(os.getpid(), 4)",
    "SIGBUS": "import os\nos.kill(os.getpid(), 7)",
    "SIGFPE": "import os\nos.kill(os.getpid(), 8)",
    "_sigsegv of faulthandler": "import faulthandler\nfaulthandler._sigsegv()",
    "_fatal_error_c_thread of faulthandler": (
        "import faulthandler\nfaulthandler._fatal_error_c_thread()"
    ),
    "_stack_overflow of faulthandler": "import faulthandler\nfaulthandler._stack_overflow()",
    "a deep repr": (
        "import sys\nsys.setrecursionlimit(10**9)\ny = []\n"
        "for _ in range(200_000):\n    y = [y]\nrepr(y)"
    ),
    "a deep comparison": (
        "import sys\nsys.setrecursionlimit(10**9)\ny, z = [], []\n"
        "for _ in range(200_000):\n    y, z = [y], [z]\ny == z"
    ),
    "None is destroyed": "import ctypes\nctypes.memset(id(None), 0, 16)\n[None] * 3",
    "the type of int is destroyed": "import ctypes\nctypes.memset(id(int), 0, 400)\nint('3')",
    "a file of a mapping is cut": (
        "import mmap, os\nfile = open('/tmp/x', 'w+b')\nfile.truncate(8192)\n"
        "data = mmap.mmap(file.fileno(), 8192)\nfile.truncate(0)\ndata[5000]"
    ),
}

C_CRASHES = [
    *(
        Program(f"crash: {name}", in_function(code, "'wrong'"), TESTS, "fail")
        for name, code in CRASHES.items()
    ),
    Program(
        "crash: bad bytecode",
        """
import opcode

def f(x):
    return "wrong"

jump = bytes([opcode.opmap["LOAD_FAST"], 200, opcode.opmap["RETURN_VALUE"], 0])
f.__code__ = f.__code__.replace(co_code=jump * 4, co_consts=())
""",
        TESTS,
        "fail",
    ),
    Program("crash: at top level", "import ctypes\nctypes.string_at(0)\n" + RIGHT, TESTS, "fail"),
    Program(
        "crash: in a thread",
        "import ctypes, threading\n"
        + in_function(
            "t = threading.Thread(target=ctypes.string_at, args=(0,))\nt.start()\nt.join()"
        ),
        TESTS,
        "fail",
    ),
    Program(
        "crash: of a child only",
        "import ctypes, os\n"
        + in_function("if os.fork() == 0:\n    ctypes.string_at(0)\nos.wait()"),
        TESTS,
        "pass",
    ),
]


# --- Odd sources ---

DEEP = 100_000

# None of these compiles, or is right where a newer Python does compile it.
BROKEN = {
    "a null byte": RIGHT + "x = '\0'\n",
    "a null byte in a comment": RIGHT + "# \0\n",
    "a lone surrogate": RIGHT + "x = '\ud800'\n",
    "a lone surrogate in a comment": RIGHT + "# \udfff\n",
    "10 MB of opening parentheses": RIGHT + "(" * 10_000_000,
    "10 MB of nested parentheses": RIGHT + "(" * 5_000_000 + ")" * 5_000_000,
    "10 MB of nested lists": RIGHT + "x = " + "[" * 5_000_000 + "]" * 5_000_000,
    "an unclosed text": RIGHT + "x = 'abc\n",
    "an unclosed long text": RIGHT + "x = '''abc\n",
    "an unclosed f-string": RIGHT + "x = f'{x\n",
    "a backslash at the end": RIGHT + "x = 1 + \\",
    "a byte order mark in the middle": RIGHT + "\ufeffx = 1\n",
    "tabs and spaces": "def f(x):\n        y = x\n\treturn y + 1\n",
    "an odd indentation": "def f(x):\n    y = x\n  return y + 1\n",
    "a future after code": RIGHT + "from __future__ import annotations\n",
    "an unknown future": "from __future__ import braces\n" + RIGHT,
    "many minus signs": WRONG + "x = " + "-" * DEEP + "1\n",
    "many additions": WRONG + "x = " + "f + " * DEEP + "f\n",
    "many attributes": WRONG + "x = lambda: f" + ".a" * DEEP + "\n",
    "many lambdas": WRONG + "x = " + "lambda: " * DEEP + "1\n",
    "many nots": WRONG + "x = " + "not " * DEEP + "1\n",
    "many indented blocks": WRONG
    + "".join(" " * n + "if f:\n" for n in range(500))
    + " " * 500
    + "x\n",
    "many elifs": WRONG + "if f:\n    pass\n" + "elif f:\n    pass\n" * 50_000,
    "a huge number": RIGHT + "x = " + "9" * 1_000_000 + "\n",
    "return outside of a function": RIGHT + "return 1\n",
    "await at top level": RIGHT + "await f(1)\n",
    "yield outside of a function": RIGHT + "yield 1\n",
    "break outside of a loop": RIGHT + "break\n",
    "nonlocal at top level": RIGHT + "nonlocal f\n",
    "a bare walrus": RIGHT + "y := 5\n",
    "an import of everything in a function": RIGHT + "def g():\n    from math import *\n",
    "Python 2": RIGHT + "print 'x'\n",
    "Markdown": "```python\n" + RIGHT + "```\n",
    "a control character": RIGHT + "x = 1 \x1a\n",
}

# These compile and are right.
ODD = {
    "10 MB of comments": "# nothing to see in this line\n" * 350_000 + RIGHT,
    "10 MB in one line": "# " + "x" * 10_000_000 + "\n" + RIGHT,
    "10 MB of blank lines": "\n" * 10_000_000 + RIGHT,
    "lines that end like those of Windows": RIGHT.replace("\n", "\r\n"),
    "form feeds": "\f\n" + RIGHT.replace("\n    ", "\n\f    ") + "\f",
    "no end of the last line": RIGHT.rstrip("\n"),
    "tabs only": RIGHT.replace("    ", "\t"),
    "a coding cookie for Latin-1": "# -*- coding: latin-1 -*-\n" + RIGHT,
    "a walrus": "def f(x):\n    return (y := x) + 1\n",
    "other letters for the name": RIGHT.replace("f(", "\N{FULLWIDTH LATIN SMALL LETTER F}("),
    "text from right to left": "# \N{RIGHT-TO-LEFT OVERRIDE} )x(f\n" + RIGHT,
    "letters beyond the basic plane": "# \N{PILE OF POO}\nname = '\N{PILE OF POO}'\n" + RIGHT,
    "a lambda": "f = lambda x: x + 1\n",
    "a main guard": RIGHT + "if __name__ == '__main__':\n    f = None\n",
    "thousands of functions": "".join(f"def f{n}(x): return {n}\n" for n in range(5_000)) + RIGHT,
    "a future": "'''A text.'''\nfrom __future__ import annotations\n" + RIGHT,
}

ODD_SOURCES = [
    *(Program(f"source: {name}", code, TESTS, "fail") for name, code in BROKEN.items()),
    *(Program(f"source: {name}, right", code, TESTS, "pass") for name, code in ODD.items()),
    *(
        Program(f"source: {name}", code, TESTS, "fail")
        for name, code in {
            "empty": "",
            "only comments": "# def f(x): return x + 1\n",
            "only blank lines": "\n\n \n\t\n",
            "only a text": "'''def f(x): return x + 1'''\n",
            "another name": "def g(x):\n    return x + 1\n",
            "a method only": "class A:\n    def f(self, x):\n        return x + 1\n",
            "deletes its function": RIGHT + "del f\n",
            "a coroutine": "async " + RIGHT,
            "a byte order mark": "\ufeff" + WRONG,
        }.items()
    ),
    Program(
        "source: a result with a lone surrogate",
        "def f(x):\n    return '\\ud800' * x\n",
        "assert f(2) == '\\ud800\\ud800'",
        "pass",
    ),
    Program(
        "source: a result with a null byte",
        "def f(x):\n    return '\\0' * x, b'\\0' * x\n",
        "assert f(2) == ('\\0\\0', b'\\0\\0')",
        "pass",
    ),
    Program(
        "source: a result with many digits",
        "def f(x):\n    return 1 << 100_000\n",
        "assert f(1) == 1 << 100_000",
        "pass",
    ),
]


# --- Hanging and hostile tests: these are no fault of the sample ---


def tested(name: str, tests: str | list[str], verdict: str, code: str = RIGHT) -> Program:
    short = SHORT if verdict == "timeout" else None
    return Program(f"tests: {name}", code, tests, verdict, timeout=short)


HANGING_TESTS = {
    "a loop": "while True:\n    pass",
    "a loop that catches everything": (
        "while True:\n    try:\n        while True:\n            pass\n"
        "    except BaseException:\n        pass"
    ),
    "a loop after an assertion": "assert f(1) == 2\nwhile True:\n    pass",
    "sleep": "import time\ntime.sleep(1000)",
    "a deadlock": "import threading\nlock = threading.Lock()\nlock.acquire()\nlock.acquire()",
    "a power without end": "assert f(1) == 2\nx = 9\nx ** x ** x ** x",
    "a constant power without end": "assert f(9**9**9**9) == 2",
    "a regular expression without end": "import re\nre.match('(a+)+$', 'a' * 40 + 'b')",
    "stops itself": "import os\nos.kill(os.getpid(), 19)",
    "deaf to signals": (
        "import signal\nsignal.pthread_sigmask(signal.SIG_BLOCK, range(1, 65))\n"
        "while True:\n    pass"
    ),
}

BAD_TESTS = {
    "sys.exit(0)": "import sys\nsys.exit(0)",
    "sys.exit(0) after an assertion": "import sys\nassert f(1) == 2\nsys.exit(0)",
    "os._exit(0)": "import os\nos._exit(0)",
    "os._exit(0) after an assertion": "import os\nassert f(1) == 2\nos._exit(0)",
    "raise SystemExit": "raise SystemExit",
    "kills itself": "import os\nassert f(1) == 2\nos.kill(os.getpid(), 9)",
    "aborts": "import os\nassert f(1) == 2\nos.abort()",
    "crashes": "import ctypes\nctypes.string_at(0)",
    "a syntax error": "assert f(1 == 2",
    "a syntax error in the second of two": ["assert f(1) == 2", "assert f(41 == 42"],
    "a null byte": "assert f(1) == 2  # \0",
    "a lone surrogate": "assert f(1) == 2  # \ud800",
    "an odd indentation": "  assert f(1) == 2\nassert f(2) == 3",
    "many parentheses": "assert f(1) == " + "(" * 1_000 + "2" + ")" * 1_000,
    "return outside of a function": "assert f(1) == 2\nreturn",
    "a missing module": "import no_such_module_anywhere\nassert f(1) == 2",
    "a division by zero": "1 / 0\nassert f(1) == 2",
    "an index out of range": "x = [][0]\nassert f(1) == 2",
    "a wrong number": "x = int('two')\nassert f(1) == 2",
    "raises an exception": "raise RuntimeError('no')",
    "too much memory": "x = bytearray(1 << 45)\nassert f(1) == 2",
    "endless recursion": "def g():\n    return g()\n\ng()\nassert f(1) == 2",
}

VACUOUS_TESTS = {
    "none": [],
    "an empty text": "",
    "several empty texts": ["", "\n", ""],
    "only comments": "# assert f(1) == 2",
    "pass": "pass",
    "a text": "'assert f(1) == 2'",
    "assert True": "assert True",
    "an assertion about numbers": "assert 1 + 1 == 2",
    "the function is not called": "assert f",
    "an assertion about a tuple": "assert (f(1) == 3, 'never fails')",
    "a call without an assertion": "f(1)",
    "a comparison without an assertion": "f(1) == 3",
    "prints": "print(f(1))",
    "asserts in a function that is not called": "def test():\n    assert f(1) == 3",
    "asserts in a class that nobody uses": (
        "class Tests:\n    def test(self):\n        assert f(1) == 3"
    ),
    "unittest without a runner": (
        "import unittest\n\nclass Tests(unittest.TestCase):\n    def test(self):\n"
        "        assert f(1) == 3"
    ),
    "under if False": "if False:\n    assert f(1) == 3",
    "in a loop over nothing": "for x in []:\n    assert f(x) == 3",
    "behind the main guard": "if __name__ == '__main__':\n    assert f(1) == 3",
    "a lambda": "check = lambda: f(1) == 3",
    "replaces the function": "f = lambda x: 3\nassert f(1) == 3",
}

HOSTILE_TESTS = [
    *(tested(name, code, "timeout") for name, code in HANGING_TESTS.items()),
    *(tested(name, code, "bad_tests") for name, code in BAD_TESTS.items()),
    *(tested(name, code, "vacuous") for name, code in VACUOUS_TESTS.items()),
    tested(
        "fork",
        "import os\ntry:\n    child = os.fork()\nexcept OSError:\n    child = None\n"
        "if child == 0:\n    os._exit(0)\nassert f(1) == 2",
        "pass",
    ),
    tested(
        "write files",
        "try:\n    open('/tmp/x', 'w').write('x')\nexcept OSError:\n    pass\nassert f(1) == 2",
        "pass",
    ),
    tested("catch everything", "try:\n    assert f(1) == 2\nexcept:\n    pass", "pass"),
    tested(
        "catch everything, then fail",
        ["try:\n    assert f(1) == 3\nexcept:\n    pass", "assert f(1) == 4"],
        "fail",
    ),
    tested("another AssertionError", "AssertionError = KeyError\nassert f(1) == 3", "fail"),
    tested("fail in a function", "def check():\n    assert f(1) == 3\n\ncheck()", "fail"),
    tested("pass in a function", "def check():\n    assert f(1) == 2\n\ncheck()", "pass"),
    tested("fail at last", ["assert f(1) == 2"] * 50 + ["assert f(1) == 3"], "fail"),
    tested("many", ["assert f(1) == 2"] * 2_000, "pass"),
    tested(
        "a long argument",
        "assert len(f('x' * 100_000)) == 100_001",
        "pass",
        code=RIGHT.replace("1", "'y'"),
    ),
    tested(
        "a callback that never ends",
        "def loop():\n    while True:\n        pass\n\nassert f(loop) == 2",
        "timeout",
        code="def f(callback):\n    return callback()\n",
    ),
]


ATTACKS: list[Program] = [
    *EARLY_EXIT,
    *FORGERY,
    *PATCHED,
    *SEARCHING,
    *DESCRIPTORS,
    *FILES,
    *ENVIRONMENT,
    *PROC,
    *NETWORK,
    *UNIX_SOCKETS,
    *SIGNALS,
    *SYSTEM_CALLS,
    *DAEMONS,
    *BOMBS,
    *FLOODS,
    *RECURSION,
    *C_CRASHES,
    *ODD_SOURCES,
    *HOSTILE_TESTS,
]
