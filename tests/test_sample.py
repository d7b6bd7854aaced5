"""Each sampler keeps exactly the tokens its definition names, and draws fairly.

The oracle works on exact fractions: a chance that equals its threshold is where
implementations differ.
"""

import math
import sys
from fractions import Fraction

import pytest
import reference
import torch
from hypothesis import example, given, settings
from hypothesis import strategies as st
from torch import Generator, Tensor

from minillm.sample import Sampler, keep_min_p, keep_top_k, keep_top_p

CHANCES = (
    st.lists(st.integers(0, 6), min_size=1, max_size=7)
    .filter(any)
    .map(lambda counts: [Fraction(count, sum(counts)) for count in counts])
)
"""Small counts: ties are frequent, zeros occur, and sums meet thresholds exactly."""
SHARES = st.integers(1, 20).map(lambda share: Fraction(share, 20))
WIDTHS = st.sampled_from([torch.float32, torch.float64])


def scores(chances: list[Fraction], dtype: torch.dtype = torch.float64) -> Tensor:
    """One row of logits; adding a constant changes no chance."""
    return (torch.tensor([[float(c) for c in chances]], dtype=dtype).log() + 3).to(
        dtype
    )


def kept_by(logits: Tensor) -> set[int]:
    return set(torch.where(logits[0] > -torch.inf)[0].tolist())


def possible(chances: list[Fraction]) -> set[int]:
    return {token for token, chance in enumerate(chances) if chance > 0}


@given(CHANCES, st.integers(1, 9), WIDTHS)
@settings(deadline=None)
def test_top_k_keeps_exactly_k(
    chances: list[Fraction], k: int, dtype: torch.dtype
) -> None:
    """Comparing with the k-th score keeps all that tie with it."""
    kept = kept_by(keep_top_k(scores(chances, dtype), k))
    assert kept == reference.top_k(chances, k) & possible(chances)


@given(CHANCES, SHARES, WIDTHS)
@settings(deadline=None, max_examples=100)
def test_top_p_keeps_the_smallest_set_that_reaches_p(
    chances: list[Fraction], p: Fraction, dtype: torch.dtype
) -> None:
    """Off by one at equality: the token after the one that reached p was kept, too."""
    kept = kept_by(keep_top_p(scores(chances, dtype), float(p)))
    assert kept == reference.top_p(chances, p) & possible(chances)


@given(CHANCES, SHARES, WIDTHS)
@settings(deadline=None)
def test_min_p_keeps_what_is_at_least_p_times_as_probable_as_the_best(
    chances: list[Fraction], p: Fraction, dtype: torch.dtype
) -> None:
    kept = kept_by(keep_min_p(scores(chances, dtype), float(p)))
    assert kept == reference.min_p(chances, p) & possible(chances)


@example(
    [Fraction(n, 8) for n in (4, 2, 1, 1)], 1, None, Fraction(3, 5), Fraction(1, 3)
)
@given(
    CHANCES,
    st.integers(1, 3),
    st.none() | st.integers(1, 8),
    st.none() | SHARES,
    st.none() | SHARES,
)
@settings(deadline=None, max_examples=100)
def test_the_sampler_renormalises_between_its_steps(
    chances: list[Fraction],
    power: int,
    k: int | None,
    p: Fraction | None,
    least: Fraction | None,
) -> None:
    """Temperature, top-k, top-p, min-p, in this order; another gives other sets."""
    sampler = Sampler(
        temperature=1 / power,
        top_k=k,
        top_p=None if p is None else float(p),
        min_p=None if least is None else float(least),
    )
    wanted = reference.sharpen(chances, power)
    if k is not None:
        wanted = reference.renormalise(wanted, reference.top_k(wanted, k))
    if p is not None:
        wanted = reference.renormalise(wanted, reference.top_p(wanted, p))
    if least is not None:
        wanted = reference.renormalise(wanted, reference.min_p(wanted, least))
    torch.testing.assert_close(
        sampler.probabilities(scores(chances))[0],
        torch.tensor([float(c) for c in wanted], dtype=torch.float64),
        atol=1e-12,
        rtol=1e-12,
    )


def test_a_kept_score_stays_as_it_is() -> None:
    """Later steps divide and compare: a shifted score would move the result."""
    logits = torch.randn(3, 11)
    for kept in (
        keep_top_k(logits, 5),
        keep_top_p(logits, 0.6),
        keep_min_p(logits, 0.3),
    ):
        assert (
            1 <= (kept == logits).sum(-1).min() <= (kept == logits).sum(-1).max() < 11
        )
        assert torch.equal(kept == logits, kept > -torch.inf)


def test_every_row_has_its_own_set() -> None:
    logits = torch.randn(5, 11) * torch.arange(1, 6)[:, None]
    for keep in (
        lambda rows: keep_top_k(rows, 4),
        lambda rows: keep_top_p(rows, 0.7),
        lambda rows: keep_min_p(rows, 0.2),
        Sampler(temperature=0.8, top_p=0.9).probabilities,
    ):
        alone = torch.cat([keep(row[None]) for row in logits])
        assert torch.equal(keep(logits), alone)


def test_top_p_counts_right_in_a_large_vocabulary() -> None:
    """Summed in float32, 50,000 equal chances miss the half by hundreds of tokens."""
    logits = torch.zeros(1, 50_000)
    assert len(kept_by(keep_top_p(logits, 0.5))) == 25_000


@pytest.mark.parametrize("dtype", [torch.float16, torch.float32])
def test_top_p_of_one_keeps_even_what_is_nearly_impossible(dtype: torch.dtype) -> None:
    """Sums that reach 1.0 by rounding cut the tail off."""
    logits = torch.tensor([[0.0, -20.0, -60.0, -torch.inf]], dtype=dtype)
    assert kept_by(keep_top_p(logits, 1.0)) == {0, 1, 2}
    assert kept_by(keep_min_p(logits, 0.0)) == {0, 1, 2}


def test_a_tiny_top_p_keeps_the_best() -> None:
    """An empty set would divide by zero, and NaN would be drawn from."""
    logits = torch.tensor([[1.0, 3.0, 2.0], [0.0, 0.0, 0.0]])
    assert Sampler(top_p=1e-12).probabilities(logits).tolist() == [[0, 1, 0], [1, 0, 0]]


# ------------------------------------------------------------------ temperature


@pytest.mark.parametrize("temperature", [0.0, 1e-300, 1e-9])
@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16, torch.float32])
def test_temperature_near_zero_is_greedy(
    temperature: float, dtype: torch.dtype
) -> None:
    """Zero was once not greedy for two years; 88 / 1e-9 overflows in float32."""
    logits = (30 * torch.randn(40, 13)).to(dtype)
    logits[:, 4] = logits.amax(-1) + 8  # one clear winner, whatever the rounding
    logits[7, 4], logits[7, 9] = 0, 200
    best = logits.argmax(-1, keepdim=True)
    assert torch.equal(Sampler(temperature=temperature)(logits), best)
    assert best.squeeze().unique().tolist() == [4, 9]


@pytest.mark.parametrize("narrow", [False, True], ids=["double", "float"])
def test_a_temperature_beyond_float32_draws_from_a_distribution(
    narrow: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    """MPS has float32 only, where 1e-300 is zero and 0 / 0 is NaN."""
    if narrow:
        monkeypatch.setattr("minillm.sample._wide", Tensor.float)
    logits = torch.tensor([[1.0, 2.0, -torch.inf], [3e38, -3e38, 0.0]])
    for temperature in (5e-324, 1e-300, 1e-40):
        chances = Sampler(temperature=temperature).probabilities(logits)
        assert chances.tolist() == [[0, 1, 0], [1, 0, 0]]
    for temperature in (1e40, 1e300, sys.float_info.max):
        chances = Sampler(temperature=temperature).probabilities(logits[:1])
        assert chances.tolist() == [[0.5, 0.5, 0]]


def test_a_count_or_share_at_its_end_keeps_all_or_the_best() -> None:
    """A vocabulary of one is an end, too."""
    logits = torch.tensor([[1.0, 3.0, 2.0]])
    for sampler in (
        Sampler(top_k=10**30),
        Sampler(top_p=1 - 1e-12),
        Sampler(min_p=5e-324),
    ):
        assert torch.equal(sampler.probabilities(logits) > 0, logits > 0)
    for sampler in (Sampler(min_p=1), Sampler(top_p=5e-324), Sampler(top_k=1)):
        assert sampler.probabilities(logits).tolist() == [[0, 1, 0]]
        assert sampler(torch.tensor([[-7.0]])).tolist() == [[0]]


def test_greedy_takes_the_lower_of_equal_tokens_whatever_else_is_set() -> None:
    """And draws nothing: the next sampled text does not depend on it."""
    logits = torch.tensor([[1.0, 5.0, 5.0, 2.0], [7.0, 7.0, 7.0, 7.0]])
    generator = Generator().manual_seed(1)
    before = generator.get_state()
    for sampler in (
        Sampler(temperature=0),
        Sampler(temperature=0, top_k=2, top_p=0.3, min_p=0.9),
        Sampler(top_k=1),
        Sampler(temperature=5.0, top_k=1),
    ):
        assert sampler(logits).tolist() == [[1], [0]]
    Sampler(temperature=0)(logits, generator)
    assert torch.equal(generator.get_state(), before)
    assert Sampler(temperature=0).probabilities(logits).tolist() == [
        [0, 1, 0, 0],
        [1, 0, 0, 0],
    ]


def test_a_huge_temperature_makes_all_tokens_equally_likely() -> None:
    """But not the impossible ones."""
    logits = torch.tensor([[100.0, 0.0, -100.0, -torch.inf]])
    chances = Sampler(temperature=1e9).probabilities(logits)
    wanted = torch.tensor([[1 / 3, 1 / 3, 1 / 3, 0]])
    torch.testing.assert_close(chances.float(), wanted)


def test_a_lower_temperature_is_more_certain() -> None:
    """Multiplying instead of dividing turns the knob the other way."""
    logits = torch.tensor([[2.0, 1.0]])
    for temperature in (0.5, 1.0, 2.0):
        first = Sampler(temperature=temperature).probabilities(logits)[0, 0].item()
        assert first == pytest.approx(1 / (1 + math.exp(-1 / temperature)))


# ------------------------------------------------------------------ the draw


@pytest.mark.parametrize("one_each", [False, True], ids=["one", "one a row"])
def test_draws_are_as_frequent_as_they_are_probable(one_each: bool) -> None:
    """Chi-square with six degrees of freedom: 38 or more is one in a million."""
    sampler = Sampler(temperature=1.3, top_k=7, min_p=0.01)
    n_draws = 3_000
    logits = torch.tensor([1.0, 0.2, -1.0, 0.5, 0.4, -0.3, 0.0, -9.0, -3.0])
    rows = logits.expand(n_draws, -1)
    generator = Generator().manual_seed(0)
    each = [Generator().manual_seed(seed) for seed in range(n_draws)]
    drawn = sampler(rows, each if one_each else generator)
    assert drawn.shape == (n_draws, 1)
    assert drawn.dtype == torch.int64
    wanted = n_draws * sampler.probabilities(logits[None])[0]
    seen = drawn.flatten().bincount(minlength=9)
    assert seen[7:].tolist() == wanted[7:].tolist() == [0, 0]
    assert ((seen - wanted)[:7] ** 2 / wanted[:7]).sum() < 38


def test_a_row_with_its_own_generator_draws_as_if_alone() -> None:
    """Else a text depends on which others happen to share its batch."""
    logits, sampler = torch.randn(5, 11), Sampler()
    seeds = [3, 1, 4, 1, 5]
    together = sampler(logits, [Generator().manual_seed(seed) for seed in seeds])
    for row, seed in enumerate(seeds):
        alone = sampler(logits[row : row + 1], Generator().manual_seed(seed))
        assert torch.equal(alone[0], together[row])


def test_a_given_generator_is_the_only_one_used() -> None:
    """Sampling must not move the generators of training."""
    before = torch.get_rng_state()
    first = Sampler()(torch.zeros(9, 100), Generator().manual_seed(2))
    again = Sampler()(torch.zeros(9, 100), Generator().manual_seed(2))
    assert torch.equal(first, again)
    assert torch.equal(torch.get_rng_state(), before)


def test_too_few_generators_are_refused() -> None:
    with pytest.raises(ValueError, match=r"generator \(2 of them\) must be one"):
        Sampler()(torch.zeros(3, 4), [Generator(), Generator()])


# ------------------------------------------------------------------ refusals


@pytest.mark.parametrize("temperature", [0, 1.0])
@pytest.mark.parametrize("bad", [torch.nan, torch.inf], ids=str)
def test_a_diverged_model_is_not_sampled_from(bad: float, temperature: float) -> None:
    """NaN compares false with everything: some token would be drawn for ever."""
    logits = torch.zeros(3, 4)
    logits[1, 2] = bad
    refusal = rf"logits \({bad} among them\) must be finite"
    with pytest.raises(ValueError, match=refusal):
        Sampler(temperature=temperature)(logits)
    with pytest.raises(ValueError, match="must be finite"):
        Sampler()(torch.full((1, 4), -torch.inf))


@pytest.mark.parametrize(
    ("setting", "message"),
    [
        ({"temperature": -0.1}, r"temperature \(-0.1\) must be a finite number"),
        ({"temperature": math.nan}, r"temperature \(nan\) must be a finite number"),
        ({"temperature": math.inf}, r"temperature \(inf\) must be a finite number"),
        ({"top_k": 0}, r"top_k \(0\) must be at least 1"),
        ({"top_p": 0.0}, r"top_p \(0.0\) must be in \(0, 1\]"),
        ({"top_p": 1.1}, r"top_p \(1.1\) must be in \(0, 1\]"),
        ({"top_p": math.nan}, r"top_p \(nan\) must be in \(0, 1\]"),
        ({"min_p": -0.1}, r"min_p \(-0.1\) must be in \[0, 1\]"),
        ({"min_p": 2.0}, r"min_p \(2.0\) must be in \[0, 1\]"),
    ],
)
def test_a_setting_out_of_range_is_refused_by_name(
    setting: dict[str, float], message: str
) -> None:
    """top_k = 0 once meant: token 0 for ever."""
    with pytest.raises(ValueError, match=message):
        Sampler(**setting)
    (name, value), keep = *setting.items(), None
    if name != "temperature":
        keep = {"top_k": keep_top_k, "top_p": keep_top_p, "min_p": keep_min_p}[name]
        with pytest.raises(ValueError, match=message):
            keep(torch.zeros(1, 3), value)
