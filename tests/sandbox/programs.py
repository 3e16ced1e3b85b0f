"""What a program of the executor's test sets is; see `attacks.py` and `benign.py`."""

from dataclasses import dataclass


@dataclass(frozen=True)
class Program:
    """A sample with its tests and the verdict that it must get.

    `code`, `tests` and `setup` may hold fields of the host, which are filled in by
    `str.replace`: `@DIRECTORY@` (of the host, everybody may write there, with a file `canary`),
    `@PORT@` (a TCP server of the host listens there on 127.0.0.1), `@UNIX@` (the name of an
    abstract Unix socket that a server of the host listens on, without the null byte), `@PID@` (a
    process of the host of the same user) and `@SECRET@` (a variable of our environment holds it;
    written in two halves, "@SECRET1@" and "@SECRET2@", where the program may not hold it itself).
    """

    name: str
    code: str
    tests: str | list[str]
    verdict: str
    setup: str = ""
    timeout: float | None = None
