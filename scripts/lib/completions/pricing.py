"""What replies cost: usage, prices and their source."""

from dataclasses import asdict, dataclass
from typing import Any

MILLION = 1_000_000


@dataclass(frozen=True)
class Usage:
    """Tokens of prompt and completion, and the number of requests that took them."""

    prompt_tokens: int = 0
    completion_tokens: int = 0
    requests: int = 0

    @property
    def tokens(self) -> int:
        """All tokens."""
        return self.prompt_tokens + self.completion_tokens

    def __add__(self, other: "Usage") -> "Usage":
        return Usage(
            self.prompt_tokens + other.prompt_tokens,
            self.completion_tokens + other.completion_tokens,
            self.requests + other.requests,
        )

    def __sub__(self, other: "Usage") -> "Usage":
        return Usage(
            self.prompt_tokens - other.prompt_tokens,
            self.completion_tokens - other.completion_tokens,
            self.requests - other.requests,
        )

    def as_dict(self) -> dict[str, int]:
        """The fields by name."""
        return asdict(self)


NOTHING = Usage()


def usage_of(response: dict[str, Any], unknown: Usage) -> Usage:
    """What the body of a chat completion says that it took, as one request.

    Of an endpoint that does not say it, `unknown`: the most that it can have taken.
    """
    usage = response.get("usage")
    counts = usage if isinstance(usage, dict) else {}
    prompt, completion = counts.get("prompt_tokens"), counts.get("completion_tokens")
    if not isinstance(prompt, int) or not isinstance(completion, int):
        return unknown
    return Usage(prompt, completion, 1)


@dataclass(frozen=True)
class Price:
    """Dollars for a million tokens of prompt (`input`) and of completion (`output`)."""

    input: float
    output: float
    source: str

    def dollars(self, usage: Usage) -> float:
        """What the tokens of `usage` cost, in dollars."""
        tokens = usage.prompt_tokens * self.input + usage.completion_tokens * self.output
        return tokens / MILLION

    def times(self, factor: float) -> "Price":
        """The price with a discount, as the Batch API's half."""
        return Price(self.input * factor, self.output * factor, self.source)

    def as_dict(self) -> dict[str, Any]:
        """The fields by name."""
        return asdict(self)


def find_price(model: str, base_url: str, given: dict[str, float | None]) -> Price | None:
    """The price of a model: the config's own `given` one first, then that of `genai-prices`.

    `given` has `input` and `output` in dollars a million tokens, or `None` for both. `None` where
    nobody knows: `genai-prices` is optional, and knows the providers by their addresses.
    """
    of_prompt, of_completion = given["input"], given["output"]
    if of_prompt is not None and of_completion is not None:
        return Price(of_prompt, of_completion, "config")
    try:
        from genai_prices import Usage as Tokens
        from genai_prices import calc_price
    except ImportError:
        return None
    try:
        # A thousand tokens stay below the sizes from which some models cost more.
        found = calc_price(
            Tokens(input_tokens=1000, output_tokens=1000), model, provider_api_url=base_url
        )
    except LookupError:
        return None
    from importlib.metadata import version

    return Price(
        input=float(found.input_price) * 1000,
        output=float(found.output_price) * 1000,
        source=f"genai-prices {version('genai-prices')}",
    )
