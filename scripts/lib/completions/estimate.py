"""What the missing replies will cost, before the first of them is asked for."""

from dataclasses import dataclass
from statistics import mean, quantiles

from scripts.lib.completions.journal import Journal
from scripts.lib.completions.pricing import Price, Usage
from scripts.lib.completions.request import Completion, CompletionRequest

# Where no reply is known: shares of `max_tokens` that a reply takes.
ASSUMED_LOW, ASSUMED_EXPECTED = 0.1, 0.5


@dataclass(frozen=True)
class Estimate:
    """Low, expected and worst usage of `missing` of all `wanted` replies.

    `learnt_from` replies of the same requests the lengths are learnt; 0 where they are assumed.
    The worst holds whatever the replies are, for one request each.
    """

    wanted: int
    missing: int
    learnt_from: int
    low: Usage
    expected: Usage
    worst: Usage
    price: Price | None

    def lines(self) -> list[str]:
        """The estimate in lines for the user."""
        lengths = (
            f"lengths as in {self.learnt_from} known replies"
            if self.learnt_from
            else f"nothing known of lengths: assumed {ASSUMED_LOW:.0%} and "
            f"{ASSUMED_EXPECTED:.0%} of max_tokens"
        )
        source = self.price.source if self.price else "unknown: set label.client.price"
        return [
            f"replies: {self.wanted} wanted, {self.missing} to be asked for ({lengths})",
            f"price: {source}",
            *(self._line(name) for name in ("low", "expected", "worst")),
        ]

    def _line(self, name: str) -> str:
        usage: Usage = getattr(self, name)
        dollars = f", ${self.price.dollars(usage):.4f}" if self.price else ""
        return (
            f"{name:>9}: {usage.prompt_tokens:,} prompt and {usage.completion_tokens:,} "
            f"completion tokens{dollars}"
        )

    def as_dict(self) -> dict[str, object]:
        """The fields by name, with dollars where the price is known."""
        found: dict[str, object] = {
            "wanted": self.wanted,
            "missing": self.missing,
            "learnt_from": self.learnt_from,
            "price": self.price and self.price.as_dict(),
        }
        for name in ("low", "expected", "worst"):
            usage = getattr(self, name)
            dollars = self.price.dollars(usage) if self.price else None
            found[name] = {**usage.as_dict(), "dollars": dollars}
        return found


def estimate(requests: list[CompletionRequest], journal: Journal, price: Price | None) -> Estimate:
    """Estimate what those requests will take that the journal lacks; sends nothing."""
    distinct = {request.key: request for request in requests}
    missing = [request for key, request in distinct.items() if key not in journal]
    known = {key: journal[key] for key in distinct if key in journal}
    ratio = _prompt_ratio(distinct, known)
    lengths = [completion.completion_tokens for completion in known.values()]
    low_length, expected_length = _lengths(lengths)

    def usage(prompt: list[float], share: float | None, length: float) -> Usage:
        completions = sum(
            min(request.max_tokens, length if share is None else share * request.max_tokens)
            for request in missing
        )
        return Usage(round(sum(prompt)), round(completions), len(missing))

    prompts = [ratio * request.expected_prompt_tokens for request in missing]
    return Estimate(
        wanted=len(distinct),
        missing=len(missing),
        learnt_from=len(known),
        low=usage([0.9 * tokens for tokens in prompts], None if known else ASSUMED_LOW, low_length),
        expected=usage(prompts, None if known else ASSUMED_EXPECTED, expected_length),
        worst=usage([request.most.prompt_tokens for request in missing], 1.0, 0.0),
        price=price,
    )


def _prompt_ratio(requests: dict[str, CompletionRequest], known: dict[str, Completion]) -> float:
    guessed = sum(requests[key].expected_prompt_tokens for key in known)
    counted = sum(completion.prompt_tokens for completion in known.values())
    return counted / guessed if guessed and counted else 1.0


def _lengths(lengths: list[int]) -> tuple[float, float]:
    if len(lengths) < 2:
        return (lengths[0], lengths[0]) if lengths else (0.0, 0.0)
    return quantiles(lengths, n=10)[0], mean(lengths)
