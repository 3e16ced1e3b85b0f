"""Judges untrusted code: executes it, isolated by Linux, and says whether its tests pass.

supervisor        one thread a worker (executor, worker); the only part outside of the jails
  jail of players   forks a process for each sample, which never has the tests (inside/player)
  jail of judges    decides by the data that comes back (inside/plan), or executes tests with
                    stand-ins for the sample's functions (inside/trial, inside/standins)
"""

from scripts.lib.sandbox.executor import Sandbox, SandboxAborted, open_sandbox
from scripts.lib.sandbox.model import (
    BAD_TESTS,
    ERROR,
    FAIL,
    PASS,
    TIMEOUT,
    VACUOUS,
    Calls,
    Job,
    Limits,
    SandboxUnavailable,
    Verdict,
)
from scripts.lib.sandbox.settings import SandboxSettings, add_sandbox_options

__all__ = [
    "BAD_TESTS",
    "ERROR",
    "FAIL",
    "PASS",
    "TIMEOUT",
    "VACUOUS",
    "Calls",
    "Job",
    "Limits",
    "Sandbox",
    "SandboxAborted",
    "SandboxSettings",
    "SandboxUnavailable",
    "Verdict",
    "add_sandbox_options",
    "open_sandbox",
]
