"""How a step executes code: its settings, and the options that give them."""

import argparse
from dataclasses import dataclass
from typing import Self

from scripts.lib.sandbox.levels import AUTO, LEVELS


@dataclass(frozen=True)
class SandboxSettings:
    """How code is executed; see `verification` in config.yaml.

    `timeout` is in processor seconds.
    """

    timeout: float
    memory_mb: int
    workers: int
    sandbox_level: str
    accept_risk: bool

    @classmethod
    def of(cls, arguments: argparse.Namespace) -> Self:
        """The settings that a command line gives, with those that a subclass adds."""
        return cls(**{name: getattr(arguments, name) for name in cls.__dataclass_fields__})


def add_sandbox_options(parser: argparse.ArgumentParser) -> None:
    """Add the options of the settings to the parser of a step."""
    parser.add_argument("--timeout", type=float, required=True, help="processor seconds of a run")
    parser.add_argument("--memory-mb", type=int, required=True)
    parser.add_argument("--sandbox-level", choices=[AUTO, *LEVELS], required=True)
    parser.add_argument("--accept-risk", action="store_true", help="for --sandbox-level none")
    parser.add_argument("--workers", type=int, required=True)
