"""Why a run of the label client stops before its end: each with an exit status of its own."""

from scripts.lib.errors import UserError


class BudgetReached(UserError):
    """A cap leaves no room for a further request; `cap` names it, and what is spent."""

    status = 3

    def __init__(self, cap: str) -> None:
        super().__init__(
            f"the budget leaves no room for a further request: {cap} (by all runs of this task): "
            "raise the cap and run the same command again"
        )


class NoKeyLeft(UserError):
    """Every key was refused or has no quota left."""

    status = 4


class EndpointDown(UserError):
    """The endpoint gave no reply for as long as the client is patient."""

    status = 5


class CanaryFailed(UserError):
    """Too few of the first replies can be used."""

    status = 6


class TooManyFailed(UserError):
    """More requests stay without a reply than the config tolerates."""

    status = 7


class Interrupted(UserError):
    """A signal asked the run to stop; `status` is what a shell expects of a process so ended."""

    def __init__(self, message: str, signal_number: int) -> None:
        super().__init__(message)
        self.status = 128 + signal_number
