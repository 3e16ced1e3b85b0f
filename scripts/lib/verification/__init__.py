"""Which replies to an instruction become training rows; one module a way of finding out."""

from scripts.lib.verification.outcome import PASSED, Outcome, keep_first

__all__ = ["PASSED", "Outcome", "keep_first"]
