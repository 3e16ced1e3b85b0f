"""The next token is drawn as transformers draws it."""

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from scripts.lib.errors import UserError
from scripts.lib.generation.drawing import draw, uniforms
from scripts.lib.generation.request import SamplingSettings, text_seed
from tests.generation.sampling import chi_square, of_transformers

VOCABULARY = 700


def settings(temperature: float = 1.0, top_k: int = 0, top_p: float = 1.0) -> SamplingSettings:
    return SamplingSettings(temperature, top_k, top_p, max_new_tokens=8)


CASES = [
    settings(),
    settings(temperature=0.6),
    settings(top_k=5),
    settings(top_k=100, temperature=1.3),
    settings(top_p=0.8),
    settings(top_k=40, top_p=0.7, temperature=0.8),
    settings(top_k=VOCABULARY + 1),
]


@pytest.mark.parametrize("wanted", CASES, ids=str)
def test_tokens_come_as_often_as_transformers_probabilities_say(wanted: SamplingSettings) -> None:
    """A chi-square test; its seed is fixed, so that it does not fail one run in a thousand."""
    torch.manual_seed(1)
    logits = 3 * torch.randn(1, VOCABULARY)
    probabilities = of_transformers(logits, wanted)[0].double()
    count = 200_000
    uniform = torch.tensor(uniforms(7, count))
    tokens = torch.cat(
        [draw(logits.expand(len(part), -1), part, wanted) for part in uniform.split(2000)]
    )
    assert chi_square(probabilities, tokens) > 0.01


@given(
    seed=st.integers(0, 1000),
    dtype=st.sampled_from([torch.float32, torch.bfloat16]),
    wanted=st.sampled_from(CASES),
    share=st.floats(0, 1, exclude_max=True),
)
def test_each_token_is_the_one_at_its_share_of_transformers_probabilities(
    seed: int, dtype: torch.dtype, wanted: SamplingSettings, share: float
) -> None:
    logits = 2 * torch.randn(3, VOCABULARY, generator=torch.Generator().manual_seed(seed))
    if wanted.top_p == 1:
        # Few distinct logits, so that many tokens equal the k-th largest. Where top-p cuts among
        # equal ones, which of them stay is a matter of sorting.
        logits = logits.round(decimals=1).to(dtype)
    tokens = draw(logits, torch.full((3,), share, dtype=torch.float64), wanted)
    sums = of_transformers(logits, wanted).double().cumsum(-1)
    for row, token in enumerate(tokens.tolist()):
        below = sums[row, token - 1].item() if token else 0.0
        assert below - 1e-5 <= share * sums[row, -1] <= sums[row, token] + 1e-5


def test_a_row_with_many_equal_logits_is_drawn_from_all_of_them() -> None:
    wanted = settings(top_k=3)
    flat = torch.zeros(1, VOCABULARY)
    peaked = torch.zeros(1, VOCABULARY)
    peaked[0, :3] = 50.0
    uniform = torch.tensor([0.999, 0.5], dtype=torch.float64)
    tokens = draw(torch.cat([flat, peaked]), uniform, wanted)
    # All equal the third largest, so that all stay, as in transformers.
    assert tokens.tolist() == [int(0.999 * VOCABULARY), 1]


def test_the_last_share_never_falls_on_a_token_without_weight() -> None:
    logits = torch.tensor([[0.0, 0.0, -torch.inf, -torch.inf]])
    below_one = torch.tensor([1 - 2**-53], dtype=torch.float64)
    assert draw(logits, below_one, settings()).tolist() == [1]


def test_every_text_of_every_shard_has_a_seed_and_numbers_of_its_own() -> None:
    seeds = {text_seed(s, h, n) for s in range(3) for h in range(8) for n in range(50)}
    assert len(seeds) == 3 * 8 * 50
    assert text_seed(42, 1, 0) == text_seed(42, 1, 0)
    first, again, longer = uniforms(5, 10), uniforms(5, 10), uniforms(5, 30)
    assert (first == again).all() and (first == longer[:10]).all()
    assert not (first == uniforms(6, 10)).any()


@given(seed=st.integers(0, 1000), top_k=st.sampled_from([0, 3, 90]), top_p=st.floats(0.1, 1))
def test_without_a_temperature_the_most_probable_token_of_the_lowest_id_is_taken(
    seed: int, top_k: int, top_p: float
) -> None:
    # Few distinct logits, so that some rows have several largest ones.
    logits = torch.randn(4, VOCABULARY, generator=torch.Generator().manual_seed(seed)).round()
    tokens = draw(logits, torch.rand(4).double(), settings(0.0, top_k, top_p))
    for row, token in zip(logits, tokens.tolist(), strict=True):
        assert row[token] == row.max()
        assert not (row[:token] == row.max()).any()


def test_without_a_temperature_what_is_no_number_is_seen_too() -> None:
    logits = torch.zeros(2, VOCABULARY)
    logits[1, 7] = torch.nan
    with pytest.raises(UserError, match="logits are no numbers"):
        draw(logits, torch.zeros(2).double(), settings(0.0))
