"""EvalPlus's comparison of a returned value with the expected one.

From `evalplus.eval.unsafe_execute` and `evalplus.eval._special_oracle` 0.3.1 (Liu et al., arXiv
2305.01210), on plain data and without numpy. One thing differs: there, a tolerance that floats of
one input bring about stays in force for all later inputs; here it holds for that input alone.
"""

import cmath
import math
from typing import Any

RELATIVE = 1e-07
FLOAT_TOLERANCE = 1e-6
SETS = (
    "similar_elements", "find_char_long", "common_in_nested_lists", "extract_singly", "larg_nnum",
    "intersection_array", "find_dissimilar", "Diff",
)  # fmt: skip
NOT_NONE = ("check_str", "text_match_three", "text_starta_endb")


def agrees(
    benchmark: str, entry_point: str, inputs: list[Any], returned: Any, expected: Any, atol: float
) -> bool:
    """Whether a returned value is right.

    benchmark: `humaneval` or `mbpp`, whose problems with several right answers have rules of their
        own by `entry_point`; otherwise empty.
    Raises whatever comparing wrong types raises.
    """
    exact = returned == expected
    if benchmark == "mbpp":
        if entry_point == "are_equivalent":
            exact = True
        elif entry_point == "sum_div":
            exact = exact or returned == 0
        elif entry_point == "surface_Area":
            exact = exact or abs(returned - _surface_area(*inputs)) <= atol
        elif entry_point == "digit_distance_nums":
            exact = exact or returned == _digit_distance(*inputs)
        elif entry_point in SETS:
            exact = set(returned) == set(expected)
        elif entry_point in NOT_NONE:
            is_bool = isinstance(returned, bool)
            exact = returned == expected if is_bool else expected == (returned is not None)
    elif benchmark == "humaneval" and entry_point == "find_zero":
        (coefficients,) = inputs
        value = sum(c * math.pow(returned, power) for power, c in enumerate(coefficients))
        return abs(value) <= atol
    if atol == 0 and _are_floats(expected):
        atol = FLOAT_TOLERANCE
    if exact or atol == 0:
        return bool(exact)
    return type(returned) is type(expected) and _close(returned, expected, atol)


def _are_floats(value: Any) -> bool:
    if isinstance(value, (list, tuple)) and value:
        return all(isinstance(item, float) for item in value)
    return isinstance(value, float)


def _close(returned: Any, expected: Any, atol: float) -> bool:
    """`numpy.allclose` with EvalPlus's relative tolerance."""
    if isinstance(expected, (list, tuple)):
        return len(returned) == len(expected) and all(
            _close(a, b, atol) for a, b in zip(returned, expected, strict=True)
        )
    if returned == expected:
        return True
    difference = abs(returned - expected)
    return cmath.isfinite(expected) and difference <= atol + RELATIVE * abs(expected)


def _surface_area(base_edge: float, height: float) -> float:
    slant_height = math.sqrt((base_edge / 2) ** 2 + height**2)
    return round(base_edge**2 + 4 * (base_edge * slant_height) / 2)


def _digit_distance(first: int, second: int) -> int:
    digits, others = str(first), str(second)
    width = max(len(digits), len(others))
    pairs = zip(digits.zfill(width), others.zfill(width), strict=True)
    return sum(abs(int(a) - int(b)) for a, b in pairs)
