"""A cap on what may be spent: the most that a request can cost is reserved before it is sent."""

from dataclasses import asdict, dataclass

from scripts.lib.completions.pricing import NOTHING, Price, Usage
from scripts.lib.errors import UserError


@dataclass(frozen=True)
class Caps:
    """The most that may be spent, `None` for no cap."""

    dollars: float | None = None
    tokens: int | None = None
    requests: int | None = None


@dataclass(frozen=True)
class Amount:
    """Something spent or reserved."""

    usage: Usage = NOTHING
    dollars: float = 0.0

    def __add__(self, other: "Amount") -> "Amount":
        return Amount(self.usage + other.usage, self.dollars + other.dollars)

    def __sub__(self, other: "Amount") -> "Amount":
        return Amount(self.usage - other.usage, self.dollars - other.dollars)

    def measures(self) -> dict[str, float]:
        """The amount by each measure that `Caps` knows."""
        return {
            "dollars": self.dollars,
            "tokens": self.usage.tokens,
            "requests": self.usage.requests,
        }


NO_AMOUNT = Amount()


def amount_text(number: float) -> str:
    """A number of dollars, tokens or requests as users read it."""
    return f"{number:.6f}".rstrip("0").rstrip(".")


def amount_of(usage: Usage, price: Price | None, discount: float = 1.0) -> Amount:
    """What `usage` costs, at `discount` times the price; no dollars where it is unknown."""
    return Amount(usage, price.dollars(usage) * discount if price else 0.0)


class Budget:
    """What was spent, what is reserved for requests in flight, and whether one more fits.

    `spent` is what earlier runs have spent. Spent and reserved together never exceed a cap, unless
    a reply takes more than was asked for. Raises `UserError` for a cap in dollars where the price
    is unknown.
    """

    def __init__(self, caps: Caps, price: Price | None, spent: Amount = NO_AMOUNT) -> None:
        if caps.dollars is not None and price is None:
            raise UserError(
                "label.client.budget.dollars is set, but the price of the model is unknown: set "
                "label.client.price (input and output, dollars a million tokens)"
            )
        self._caps, self.price = caps, price
        self.spent = spent
        self._reserved = NO_AMOUNT
        # What is reserved for longer than a request, by names.
        self._held: dict[str, Amount] = {}

    def amount(self, usage: Usage, discount: float = 1.0) -> Amount:
        """What `usage` costs by the budget's price."""
        return amount_of(usage, self.price, discount)

    def _exceeded(self, most: Amount) -> str | None:
        spent, reserved = self.spent.measures(), self._reserved.measures()
        wanted = (self.spent + self._reserved + most).measures()
        for name, cap in asdict(self._caps).items():
            # The rounding of a sum is no overspending.
            if cap is None or wanted[name] <= cap * (1 + 1e-9):
                continue
            batches = reserved[name] > 1e-9
            held = f", {amount_text(reserved[name])} reserved for open batches" if batches else ""
            return (
                f"label.client.budget.{name} is {amount_text(cap)}, {amount_text(spent[name])} are "
                f"spent{held}, and the next request may take {amount_text(most.measures()[name])}"
            )
        return None

    def reserve(self, most: Amount) -> str | None:
        """Reserve the most that a request may take, or name the cap that it would exceed."""
        exceeded = self._exceeded(most)
        if exceeded is None:
            self._reserved += most
        return exceeded

    def hold(self, name: str, most: Amount) -> None:
        """Reserve for what has been sent already, whatever the caps; once for each name."""
        if name not in self._held:
            self._held[name] = most
            self._reserved += most

    def release(self, name: str, taken: Amount) -> None:
        """Count what something took in place of what is reserved in its name."""
        self.settle(self._held.pop(name, NO_AMOUNT), taken)

    def settle(self, most: Amount, taken: Amount) -> None:
        """Count what a request took in place of what was reserved for it."""
        self._reserved -= most
        self.spent += taken
