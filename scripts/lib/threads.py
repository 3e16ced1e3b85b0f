"""Work in several threads, of which nobody waits for more than has to be."""

from collections.abc import Callable, Generator, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import TypeVar

Item = TypeVar("Item")
Result = TypeVar("Result")


def in_order(
    function: Callable[[Item], Result],
    items: Sequence[Item],
    threads: int,
    abort: Callable[[], None],
) -> Generator[Result, None, None]:
    """What a function gives for each item, in order; whoever is interrupted waits for none.

    After `abort` the function has to come to an end at once.
    """
    with ThreadPoolExecutor(threads) as executor:
        try:
            yield from executor.map(function, items)
        except BaseException:
            executor.shutdown(wait=False, cancel_futures=True)
            abort()
            raise
