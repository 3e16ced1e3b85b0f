"""The rules by which a judge comes to its verdict, one small table for each."""

import math
from typing import Any

import pytest

from scripts.lib.sandbox import Calls, Job, Sandbox, Verdict
from scripts.lib.sandbox.levels import numpy_is_here

ADD = "def f(x):\n    return x + 1\n"


def ruling(sandbox: Sandbox, code: str, tests: Any = (), **fields: Any) -> Verdict:
    """The verdict on a job of these parts."""
    return sandbox.run(Job("job", code, tests, **fields))


# verdict, tests, how many assertions about the sample hold
TESTS: dict[str, tuple[str, str | list[str], int]] = {
    "one": ("pass", "assert f(1) == 2", 1),
    "one in a list": ("pass", ["assert f(1) == 2"], 1),
    "two lines": ("pass", "assert f(1) == 2\nassert f(2) == 3", 2),
    "two in a list": ("pass", ["assert f(1) == 2", "assert f(2) == 3"], 2),
    "a name of the test before": ("pass", ["x = [1]", "x.append(f(1))", "assert x == [1, 2]"], 1),
    "in a loop": ("pass", "for n in range(5):\n    assert f(n) == n + 1", 5),
    "in a function": ("pass", "def check(g):\n    assert g(1) == 2\ncheck(f)", 1),
    "a callback": ("pass", "assert list(map(f, [1, 2])) == [2, 3]", 1),
    "an exception": ("pass", "try:\n    f('a')\n    assert False\nexcept TypeError:\n    pass", 1),
    "true ones are not counted": ("pass", "assert True\nassert 1 == 1\nassert f(1) == 2", 1),
    "the first fails": ("fail", "assert f(1) == 3\nassert f(1) == 2", 0),
    "the last fails": ("fail", ["assert f(1) == 2", "assert f(2) == 3", "assert f(1) == 3"], 2),
    "raises in the sample": ("fail", "assert f(1) == 2\nassert f(None) == 3", 1),
    "a name that is missing": ("fail", "assert g(1) == 2", 0),
    "a wrong call": ("fail", "assert f() == 2", 0),
    "raises in a comparison": ("fail", "assert f(1) < 'a'", 0),
    "no tests": ("vacuous", [], 0),
    "empty": ("vacuous", "", 0),
    "an empty one in a list": ("vacuous", ["", "\n"], 0),
    "a comment": ("vacuous", "# assert f(1) == 2", 0),
    "a text": ("vacuous", "'assert f(1) == 2'", 0),
    "true": ("vacuous", "assert True", 0),
    "a call alone": ("vacuous", "f(1)", 0),
    "printing": ("vacuous", "print(f(1) == 2)", 0),
    "a tuple": ("vacuous", "assert (f(1) == 3, 'message')", 0),
    "the function itself": ("vacuous", "assert f", 0),
    "never called": ("vacuous", "def check():\n    assert f(1) == 3", 0),
    "never reached": ("vacuous", "if False:\n    assert f(1) == 3", 0),
    "an empty loop": ("vacuous", "for n in []:\n    assert f(n) == 3", 0),
    "of itself": ("vacuous", "def g(x): return x\nassert g(1) == 1", 0),
    "no Python": ("bad_tests", "assert f(1) == ", 0),
    "no Python in the second": ("bad_tests", ["assert f(1) == 2", "assert ("], 0),
    "a return": ("bad_tests", "return f(1)", 0),
    "a module that is missing": ("bad_tests", "import no_such_module\nassert f(1) == 2", 0),
    "raises without the sample": ("bad_tests", "1 / 0\nassert f(1) == 2", 0),
    "ends itself": ("bad_tests", "import sys\nsys.exit(0)\nassert f(1) == 2", 0),
    "ends its process": ("bad_tests", "import os\nos._exit(0)\nassert f(1) == 2", 0),
}


@pytest.mark.parametrize("name", TESTS)
def test_verdicts_on_tests(sandbox: Sandbox, name: str) -> None:
    """What tests are worth: only assertions about the sample that were executed count."""
    verdict, tests, assertions = TESTS[name]
    found = ruling(sandbox, ADD, tests)
    assert (found.verdict, found.assertions) == (verdict, assertions), found.reason


CODE = {
    "raises": ("fail", "1 / 0"),
    "no Python": ("fail", "def f(:"),
    "an assertion of its own": ("fail", f"assert False\n{ADD}"),
    "ends early": ("fail", f"import sys\nsys.exit(0)\n{ADD}"),
    "hangs": ("timeout", f"while True: pass\n{ADD}"),
    "hangs in the function": ("timeout", "def f(x):\n    while True: pass"),
    "guarded": ("pass", f"{ADD}if __name__ == '__main__':\n    1 / 0"),
    "an object that is equal to everything": (
        "fail",
        "class A:\n    __eq__ = lambda self, other: True\n\ndef f(x): return A()",
    ),
    "a number that is equal to everything": (
        "fail",
        "class A(int):\n    __eq__ = lambda self, other: True\n\ndef f(x): return A(7)",
    ),
    "true where one is wanted": ("pass", "def f(x): return {1: 2, 2: 3.0}[x]"),
}


@pytest.mark.parametrize("name", CODE)
def test_verdicts_on_code(sandbox: Sandbox, name: str) -> None:
    """How a sample can end, under the same good tests, each with a time limit of its own."""
    verdict, code = CODE[name]
    found = ruling(sandbox, code, ["assert f(1) == 2", "assert f(2) == 3"], timeout=0.2)
    assert found.verdict == verdict, found.reason


def test_reasons_name_what_does_not_hold(sandbox: Sandbox) -> None:
    """Whoever reads a reason finds the assertion, or the exception with its message."""
    assert "f(1) == 3" in ruling(sandbox, ADD, "assert f(1) == 3").reason
    assert "TypeError" in ruling(sandbox, ADD, "assert f('a') == 3").reason
    message = ruling(sandbox, "def f(x): raise ValueError('so\\nwhat')", "assert f(1) == 3").reason
    assert "ValueError: so what" in message


def test_setup(sandbox: Sandbox) -> None:
    """Set-up runs after the code and before the tests; the code can rely on its imports."""
    tests = ["assert f(1) == 2", "assert ready == [1, 1]"]
    found = ruling(sandbox, ADD, tests, setup="ready = [1] * f(1)")
    assert found.verdict == "pass", found.reason
    uses = "def f(x): return math.floor(x) + 1"
    assert ruling(sandbox, uses, "assert f(1.5) == 2", setup="import math").verdict == "pass"
    # What it defines wins over what the code defines.
    overrides = "def wanted(): return 2"
    cheats = f"{ADD}\ndef wanted(): return 3"
    assert ruling(sandbox, cheats, "assert f(1) == wanted()", setup=overrides).verdict == "pass"
    # What it asserts proves nothing about the sample, but has to hold.
    assert ruling(sandbox, ADD, [], setup="assert f(1) == 3").verdict == "fail"
    assert ruling(sandbox, ADD, [], setup="assert ( ").verdict == "bad_tests"


PROMPT = '''
def encode(text):
    """Trusted."""
    return text[::-1]

def decode(text):
    """
    Write the inverse of encode.
    """
'''
SWAPPED = "def encode(text): return 'x'\n\ndef decode(text): return 'x'\n"
RIGHT = "def encode(text): return text[::-1]\n\ndef decode(text): return text[::-1]\n"
WITH_HELPERS = {
    "plain": "assert decode('abc') == encode('abc')",
    "nested": "assert decode(encode('abc')) == 'abc' and encode('abc') == 'cba'",
    "HumanEval": "def check(g):\n    assert g('abc') == encode('abc')\n\ncheck(decode)",
    "in a loop": "for text in ['abc']:\n    assert decode(text) == encode(text)",
}


@pytest.mark.parametrize("name", WITH_HELPERS)
def test_helpers_of_the_prompt_are_trusted(sandbox: Sandbox, name: str) -> None:
    """A sample that redefines a helper of its prompt does not define what is right."""
    tests = WITH_HELPERS[name]
    found = ruling(sandbox, SWAPPED, tests, prefix=PROMPT)
    assert found.verdict == "fail", found.reason
    found = ruling(sandbox, RIGHT, tests, prefix=PROMPT)
    assert found.verdict == "pass", found.reason


def test_a_stub_of_the_prompt_is_no_helper(sandbox: Sandbox) -> None:
    """What the prompt only declares is the sample's to define."""
    prefix = "import math\n\ndef f(x):\n    '''Add one.'''\n"
    assert ruling(sandbox, ADD, "assert f(1) == 2", prefix=prefix).verdict == "pass"
    tests = "for n in [1]:\n    assert f(n) == math.floor(2.5)"
    assert ruling(sandbox, ADD, tests, prefix=prefix).verdict == "pass"


# verdict, code, calls
CALLS: dict[str, tuple[str, str, Calls]] = {
    "right": ("pass", ADD, Calls("f", [[1], [2]], [2, 3])),
    "wrong": ("fail", ADD, Calls("f", [[1], [2]], [2, 4])),
    "missing": ("fail", ADD, Calls("g", [[1]], [2])),
    "raises": ("fail", ADD, Calls("f", [["a"]], [2])),
    "hangs": ("timeout", "def f(x):\n    while True: pass", Calls("f", [[1]], [2])),
    "a tuple for a list": ("fail", "def f(x): return (x,)", Calls("f", [[1]], [[1]])),
    "one for true": ("pass", "def f(x): return 1", Calls("f", [[1]], [True])),
    "None": ("pass", "def f(x): pass", Calls("f", [[1]], [None])),
    "an object": ("fail", "class A: pass\n\ndef f(x): return A()", Calls("f", [[1]], [None])),
    "equal to everything": (
        "fail",
        "class A:\n    __eq__ = lambda self, other: True\n\ndef f(x): return A()",
        Calls("f", [[1]], [1]),
    ),
    "close": ("pass", "def f(x): return x + 1e-9", Calls("f", [[1.0]], [1.0])),
    "not so close": ("fail", "def f(x): return x + 1e-3", Calls("f", [[1.0]], [1.0])),
    "close enough for once": (
        "pass",
        "def f(x): return x + 1e-3",
        Calls("f", [[1.0]], [1.0], 0.01),
    ),
    "whole numbers are not close": (
        "fail",
        "def f(x): return x + 1",
        Calls("f", [[10**9]], [10**9]),
    ),
    "a list of floats": (
        "pass",
        "def f(x): return [x + 1e-9, 2.0]",
        Calls("f", [[1.0]], [[1.0, 2.0]]),
    ),
    "a longer list of floats": (
        "fail",
        "def f(x): return [x, x, x]",
        Calls("f", [[1.0]], [[1.0, 1.0]]),
    ),
    "a whole number for a float": ("pass", "def f(x): return 1", Calls("f", [[1.0]], [1.0])),
    "not a number": ("fail", "def f(x): return float('nan')", Calls("f", [[1.0]], [1.0])),
    "infinity": ("pass", "def f(x): return x * 1e300", Calls("f", [[1e300]], [math.inf])),
    "not infinity": ("fail", "def f(x): return 1e308", Calls("f", [[1e300]], [math.inf])),
    "mbpp: any order": (
        "pass",
        "def similar_elements(a, b): return tuple(reversed(sorted(set(a) & set(b))))",
        Calls("similar_elements", [[(3, 4, 5), (4, 3)]], [(3, 4)], benchmark="mbpp"),
    ),
    "any order elsewhere": (
        "fail",
        "def similar_elements(a, b): return tuple(reversed(sorted(set(a) & set(b))))",
        Calls("similar_elements", [[(3, 4, 5), (4, 3)]], [(3, 4)]),
    ),
    "mbpp: a match for true": (
        "pass",
        "import re\ndef text_match_three(t): return re.search('abbb', t) and 'found'",
        Calls("text_match_three", [["abbb"], ["a"]], [True, False], benchmark="mbpp"),
    ),
    "mbpp: zero for the sum of divisors": (
        "pass",
        "def sum_div(x): return 0",
        Calls("sum_div", [[8]], [7], benchmark="mbpp"),
    ),
    "mbpp: anything is equivalent": (
        "pass",
        "def are_equivalent(a, b): return False",
        Calls("are_equivalent", [[36, 57]], [True], benchmark="mbpp"),
    ),
    "humaneval: any zero": (
        "pass",
        "def find_zero(c): return -0.5",
        Calls("find_zero", [[[1, 2]]], [-0.49], 1e-4, "humaneval"),
    ),
    "humaneval: no zero": (
        "fail",
        "def find_zero(c): return 0.5",
        Calls("find_zero", [[[1, 2]]], [0.5], 1e-4, "humaneval"),
    ),
    "humaneval: a zero that is no number": (
        "fail",
        "def find_zero(c): return 'x'",
        Calls("find_zero", [[[1, 2]]], [-0.5], 1e-4, "humaneval"),
    ),
}


@pytest.mark.parametrize("name", CALLS)
def test_calls(sandbox: Sandbox, name: str) -> None:
    """Inputs and expected values, compared as EvalPlus compares them."""
    verdict, code, calls = CALLS[name]
    found = sandbox.run(Job(name, code, calls=calls, timeout=0.3))
    assert found.verdict == verdict, found.reason
    assert found.assertions == (len(calls.inputs) if verdict == "pass" else found.assertions)


def test_as_many_values_as_inputs(sandbox: Sandbox) -> None:
    """A caller who has lost an expected value is told so."""
    with pytest.raises(ValueError, match="not as many expected values as inputs"):
        sandbox.run(Job("lost", ADD, calls=Calls("f", [[1], [2]], [2])))


def test_no_calls_are_vacuous(sandbox: Sandbox) -> None:
    """Inputs of which there are none prove nothing."""
    assert sandbox.run(Job("none", ADD, calls=Calls("f", [], []))).verdict == "vacuous"


def test_inputs_change_for_one_call_alone(sandbox: Sandbox) -> None:
    """What a sample does to its arguments reaches neither the next input nor what is expected."""
    code = "def f(x):\n    x.append(1)\n    return x"
    shared = [5]
    calls = Calls("f", [[shared], [shared]], [[5, 1], [5, 1]])
    assert sandbox.run(Job("changes", code, calls=calls)).verdict == "pass"
    assert shared == [5]


def test_outputs(sandbox: Sandbox) -> None:
    """What a reference returns comes back with its types, in order."""
    code = "def f(x): return [x, (x,), {x: {1.5}}, str(x), None, 2 ** 100, b'x']"
    found = sandbox.outputs(code, "f", [[1], ["a"]])
    right = [[x, (x,), {x: {1.5}}, str(x), None, 2**100, b"x"] for x in (1, "a")]
    assert found == right
    assert list(map(type, found[0])) == list(map(type, right[0]))
    assert sandbox.outputs(code, "f", []) == []


@pytest.mark.parametrize(
    "code",
    [
        "1 / 0", "x = 1", "def f(x): return x + 'a'", "import os\nos._exit(0)", "def f(:",
        "def f(x):\n    while True: pass", "import os\ndef f(x): os.kill(os.getpid(), 9)",
        "import sys\ndef f(x): sys.exit()",
    ],
)  # fmt: skip
def test_outputs_of_a_broken_reference(sandbox: Sandbox, code: str) -> None:
    """A reference that does not come to its end has no outputs, and says why."""
    with pytest.raises(RuntimeError) as raised:
        sandbox.outputs(code, "f", [[1]], timeout=0.2)
    assert str(raised.value).isprintable()


def test_outputs_that_are_no_data(sandbox: Sandbox) -> None:
    """An object is not `None`, and no other object."""
    made = "class A: pass\n\ndef f(x): return A() if x else None"
    first, second, third = sandbox.outputs(made, "f", [[1], [1], [0]])
    assert third is None and first is not None and first != second


def test_outputs_leave_the_next_sample_alone(sandbox: Sandbox) -> None:
    """Whatever a reference has done, the next verdict is that of its own sample."""
    for code in ("def f(x):\n    while True: pass", "import os\nos._exit(3)"):
        with pytest.raises(RuntimeError):
            sandbox.outputs(code, "f", [[1]], timeout=0.2)
        for verdict, right in (("pass", 2), ("fail", 3), ("pass", 2), ("fail", 3)):
            assert ruling(sandbox, ADD, f"assert f(1) == {right}").verdict == verdict


NUMPY = {
    "an array": ("pass", "return np.array([x, x + 1])", "assert list(f(1)) == [1, 2]"),
    "an array, as a whole": (
        "pass", "return np.arange(3)", "import numpy\nassert numpy.array_equal(f(1), [0, 1, 2])",
    ),
    "a number": ("pass", "return np.float64(x) / 2", "assert f(1) == 0.5"),
    "a wrong array": ("fail", "return np.array([x])", "assert f(1).tolist() == [2]"),
}  # fmt: skip


@pytest.mark.parametrize("name", NUMPY)
def test_numpy(sandbox: Sandbox, name: str) -> None:
    """A job that mentions numpy has it, where we do."""
    if not numpy_is_here():
        pytest.skip("numpy is not installed")
    verdict, body, tests = NUMPY[name]
    found = ruling(sandbox, f"import numpy as np\n\ndef f(x):\n    {body}\n", tests)
    assert found.verdict == verdict, found.reason


def test_others_have_no_packages(sandbox: Sandbox) -> None:
    """Whatever is installed here: a sample has the standard library, and that is all of it."""
    code = "import importlib.util\n\ndef f(name): return importlib.util.find_spec(name) is None"
    tests = [f"assert f({name!r})" for name in ("pytest", "yaml", "pip", "scripts")]
    found = ruling(sandbox, code, tests)
    assert found.verdict == "pass", found.reason
