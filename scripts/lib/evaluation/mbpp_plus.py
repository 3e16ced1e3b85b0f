"""The inputs of MBPP+ as its functions take them; JSON has neither tuples nor sets.

Which task takes what is taken from EvalPlus 0.3.1 (Apache-2.0), `mbpp_deserialize_inputs`.
"""

import re
from collections.abc import Callable
from typing import Any

# An input: the arguments of one call.
Input = list[Any]


def _each(values: Any) -> list[tuple]:
    return [tuple(value) for value in values]


def _deep(value: Any) -> Any:
    return tuple(_deep(item) for item in value) if isinstance(value, list) else value


def _arguments_are_tuples(given: Input) -> Input:
    return _each(given)


def _arguments_are_lists_of_tuples(given: Input) -> Input:
    return [_each(argument) for argument in given]


def _arguments_are_tuples_of_tuples(given: Input) -> Input:
    return [tuple(_each(argument)) for argument in given]


def _first_is_a_list_of_tuples(given: Input) -> Input:
    return [_each(given[0]), *given[1:]]


def _first_is_a_tuple(given: Input) -> Input:
    return [tuple(given[0]), *given[1:]]


def _second_is_a_tuple(given: Input) -> Input:
    return [given[0], tuple(given[1])]


def _first_holds_sets(given: Input) -> Input:
    # An empty one is a dictionary there.
    return [[set(item) if isinstance(item, list) and item else {} for item in given[0]]]


def _first_holds_tuples(given: Input) -> Input:
    return [tuple(tuple(item) if isinstance(item, list) else item for item in given[0])]


def _first_maps_to_tuples(given: Input) -> Input:
    return [{key: tuple(value) for key, value in given[0].items()}, *given[1:]]


def _all_lists_are_tuples(given: Input) -> Input:
    return [_deep(argument) for argument in given]


def _number_and_complex(given: Input) -> Input:
    return [float(given[0]), complex(given[1])]


def _complex(given: Input) -> Input:
    return [complex(given[0])]


TASKS: dict[Callable[[Input], Input], str] = {
    _arguments_are_tuples: "2 116 132 143 222 261 273 394 399 421 424 429 470 560 579 596 616 630 "
    "726 740 744 809",
    _arguments_are_lists_of_tuples: "63 64 70 94 120 237 272 299 400 409 417 438 473 614 780",
    _arguments_are_tuples_of_tuples: "259 401 445",
    _first_is_a_list_of_tuples: "75 413 444 753",
    _first_is_a_tuple: "250 307 405 446 617 720 763 808",
    _second_is_a_tuple: "106 750",
    _first_holds_sets: "115",
    _first_holds_tuples: "278",
    _first_maps_to_tuples: "722",
    _all_lists_are_tuples: "580 615 791",
    _number_and_complex: "124",
    _complex: "252",
}
_CHANGES = {f"Mbpp/{task}": change for change, tasks in TASKS.items() for task in tasks.split()}


def is_task(task_id: str) -> bool:
    """Whether an id is in the form of EvalPlus's ("Mbpp/2"): no other says what a task takes."""
    return bool(re.fullmatch(r"Mbpp/\d+", task_id))


def as_taken(task_id: str, inputs: list[Input]) -> list[Input]:
    """The inputs of a task ("Mbpp/2") as its function takes them."""
    change = _CHANGES.get(task_id)
    return [change(given) for given in inputs] if change else inputs
