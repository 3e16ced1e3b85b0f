"""What missing replies will cost, before the first of them is asked for."""

from collections.abc import Mapping, Set
from dataclasses import asdict, dataclass
from statistics import mean, quantiles

from scripts.lib.completions.budget import Amount, Caps, amount_text
from scripts.lib.completions.journal import Journal
from scripts.lib.completions.pricing import NOTHING, Price, Usage
from scripts.lib.completions.request import Completion, CompletionRequest

# Where no reply is known: shares of `max_tokens` that a reply takes.
ASSUMED_LOW, ASSUMED_EXPECTED = 0.1, 0.5


@dataclass(frozen=True)
class Terms:
    """What replies cost: the first `alone` the whole price, the others `discount` times as much.

    The first are those of a canary, if there are more; `price` is `None` where nobody knows it.
    """

    price: Price | None
    alone: int = 0
    discount: float = 1.0


@dataclass(frozen=True)
class Range:
    """A low, an expected and a worst number of tokens."""

    low: float
    expected: float
    worst: float


NONE_MORE = Range(0.0, 0.0, 0.0)


@dataclass(frozen=True)
class Cost:
    """Tokens, and dollars where the price is known."""

    usage: Usage
    dollars: float | None

    def __add__(self, other: "Cost") -> "Cost":
        known = self.dollars is not None and other.dollars is not None
        return Cost(self.usage + other.usage, self.dollars + other.dollars if known else None)

    def __str__(self) -> str:
        dollars = "" if self.dollars is None else f", ${self.dollars:.4f}"
        return (
            f"{self.usage.prompt_tokens:,} prompt and {self.usage.completion_tokens:,} "
            f"completion tokens{dollars}"
        )


@dataclass(frozen=True)
class Estimate:
    """Low, expected and worst cost of `missing` of all `wanted` replies.

    `in_batches` more are in open batches, and asked for already. The lengths are learnt from
    `learnt_from` replies to the same requests; 0 where they are assumed.
    The worst holds whatever the replies are, for one request each.
    """

    what: str
    wanted: int
    missing: int
    in_batches: int
    learnt_from: int
    low: Cost
    expected: Cost
    worst: Cost

    @property
    def length(self) -> Range:
        """Tokens of one missing reply."""
        costs = (self.low, self.expected, self.worst)
        return Range(*(cost.usage.completion_tokens / max(1, self.missing) for cost in costs))

    def lines(self) -> list[str]:
        """The estimate in lines for the user."""
        lengths = (
            f"lengths as in {self.learnt_from} known ones"
            if self.learnt_from
            else f"nothing known of lengths: assumed {ASSUMED_LOW:.0%} and "
            f"{ASSUMED_EXPECTED:.0%} of max_tokens"
        )
        return [
            f"{self.what}: {self.wanted} wanted, "
            f"{f'{self.in_batches} in open batches, ' if self.in_batches else ''}"
            f"{self.missing} to be asked for ({lengths})",
            *(f"{name:>9}: {getattr(self, name)}" for name in ("low", "expected", "worst")),
        ]


def estimate(
    requests: list[CompletionRequest],
    journal: Journal,
    terms: Terms,
    what: str = "replies",
    more: Mapping[str, Range] | None = None,
    in_batches: Set[str] = frozenset(),
) -> Estimate:
    """Estimate what those requests will cost that the journal lacks; sends nothing.

    `more` has, by keys, the tokens that prompts will hold beyond what is known of them;
    `in_batches` are the keys of what open batches hold.
    """
    missing = journal.missing(requests)
    submitted = missing.keys() & in_batches
    missing = {key: request for key, request in missing.items() if key not in submitted}
    wanted = {request.key: request for request in requests}
    known = {key: journal[key] for key in wanted if key in journal}
    # Of an endpoint that does not count nothing can be learnt.
    known = {key: one for key, one in known.items() if one.prompt_tokens + one.completion_tokens}
    ratio, lengths = _prompt_ratio(wanted, known), _lengths(list(known.values()))

    def prompt(key: str) -> Range:
        about = ratio * missing[key].expected_prompt_tokens
        extra = (more or {}).get(key, NONE_MORE)
        return Range(
            0.9 * about + extra.low,
            about + extra.expected,
            missing[key].most.prompt_tokens + extra.worst,
        )

    def completion(request: CompletionRequest) -> Range:
        most = request.max_tokens
        if lengths is None:
            return Range(ASSUMED_LOW * most, ASSUMED_EXPECTED * most, most)
        return Range(min(most, lengths[0]), min(most, lengths[1]), most)

    prompts = [prompt(key) for key in missing]
    completions = [completion(request) for request in missing.values()]
    alone = terms.alone if terms.alone < len(requests) else 0
    first = {request.key for request in requests[:alone]}
    factors = [1.0 if key in first else terms.discount for key in missing]

    def cost(case: str) -> Cost:
        tokens = [
            (getattr(prompt, case), getattr(completion, case))
            for prompt, completion in zip(prompts, completions, strict=True)
        ]
        usage = Usage(*(round(sum(column)) for column in zip(*tokens, strict=True)))
        dollars = None
        if terms.price:
            dollars = sum(
                factor * terms.price.dollars(Usage(*of_one))
                for factor, of_one in zip(factors, tokens, strict=True)
            )
        return Cost(usage + Usage(requests=len(missing)), dollars)

    return Estimate(
        what,
        len(wanted),
        len(missing),
        len(submitted),
        len(known),
        cost("low"),
        cost("expected"),
        cost("worst"),
    )


def total(estimates: list[Estimate]) -> dict[str, Cost]:
    """The `low`, `expected` and `worst` cost of all together."""
    free = Cost(NOTHING, 0.0)
    return {
        case: sum((getattr(one, case) for one in estimates), free)
        for case in ("low", "expected", "worst")
    }


def within_budget(caps: Caps, spent: Amount, costs: Mapping[str, Cost]) -> list[str]:
    """A line for each cap: what is spent, and which of the `low`, `expected`, `worst` fits."""
    lines = []
    for name, cap in asdict(caps).items():
        if cap is None:
            continue
        gone = spent.measures()[name]
        fits = [
            case
            for case, cost in costs.items()
            if gone + Amount(cost.usage, cost.dollars or 0.0).measures()[name] <= cap
        ]
        verdict = f"the {fits[-1]} cost fits" if fits else "not even the low cost fits"
        if name == "dollars" and any(cost.dollars is None for cost in costs.values()):
            verdict = "whether the cost fits is not known, as the price is not"
        lines.append(
            f"label.client.budget.{name} is {amount_text(cap)}, {amount_text(gone)} are spent or "
            f"reserved: {verdict}"
        )
    return lines


def as_dict(estimates: list[Estimate], price: Price | None) -> dict[str, object]:
    """All that is estimated by names, for a file."""
    return {
        "price": price and price.as_dict(),
        "parts": [asdict(one) for one in estimates],
        "total": {case: asdict(cost) for case, cost in total(estimates).items()},
    }


def _prompt_ratio(requests: dict[str, CompletionRequest], known: dict[str, Completion]) -> float:
    guessed = sum(requests[key].expected_prompt_tokens for key in known)
    counted = sum(completion.prompt_tokens for completion in known.values())
    return counted / guessed if guessed and counted else 1.0


def _lengths(known: list[Completion]) -> tuple[float, float] | None:
    """A low and the mean length of replies, in tokens; `None` where none is known."""
    lengths = [completion.completion_tokens for completion in known]
    if len(lengths) < 2:
        return (lengths[0], lengths[0]) if lengths else None
    return quantiles(lengths, n=10)[0], mean(lengths)
