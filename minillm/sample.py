"""Which token, given scores? Pure functions of the logits, and one small sampler.

Each ``keep_*`` sets the scores of tokens that are ruled out to minus infinity and
leaves the others as they are. Book: chapter 11.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass

import torch
from jaxtyping import Float, Int
from torch import Generator, Tensor

ROUNDING = 1e-6
"""A sum of probabilities this close below a threshold has reached it."""


def keep_top_k(logits: Float[Tensor, "B V"], k: int) -> Float[Tensor, "B V"]:
    """Keep the ``k`` best tokens, exactly; among equals the lower id is kept.

    Raises:
        ValueError: ``k`` is not positive.
    """
    if k < 1:
        raise ValueError(f"top_k ({k}) must be at least 1")
    order = logits.sort(dim=-1, descending=True, stable=True).indices
    return logits.scatter(-1, order[:, k:], -torch.inf)


def keep_top_p(logits: Float[Tensor, "B V"], p: float) -> Float[Tensor, "B V"]:
    """Keep the smallest set of best tokens whose probability together reaches ``p``.

    The token that crosses ``p`` is kept, none after it is, and one always is. At
    ``p = 1`` every token stays, also one whose probability rounds to zero.

    Paper: Holtzman et al. 2019, arXiv:1904.09751.

    Raises:
        ValueError: ``p`` is not in (0, 1].
    """
    if not 0 < p <= 1:
        raise ValueError(f"top_p ({p}) must be in (0, 1]")
    if p == 1:
        return logits
    order = logits.sort(dim=-1, descending=True, stable=True).indices
    mass = _wide(logits).softmax(dim=-1).gather(-1, order)  # (B, V), best first
    mass_before = mass.cumsum(dim=-1) - mass
    ruled_out = mass_before >= p - ROUNDING
    ruled_out[:, 0] = False
    return logits.masked_fill(
        torch.empty_like(ruled_out).scatter(-1, order, ruled_out), -torch.inf
    )


def keep_min_p(logits: Float[Tensor, "B V"], p: float) -> Float[Tensor, "B V"]:
    """Keep tokens at least ``p`` times as probable as the best one.

    Paper: Nguyen et al. 2024, arXiv:2407.01082.

    Raises:
        ValueError: ``p`` is not in [0, 1].
    """
    if not 0 <= p <= 1:
        raise ValueError(f"min_p ({p}) must be in [0, 1]")
    if p == 0:
        return logits
    wide = _wide(logits)
    least = wide.max(dim=-1, keepdim=True).values + math.log(p) - ROUNDING
    return logits.masked_fill(wide < least, -torch.inf)


@dataclass(frozen=True, kw_only=True)
class Sampler:
    """Temperature, then top-k, then top-p, then min-p, then one draw.

    Each step sees what the one before has left, renormalised. The order matters: a
    temperature above one flattens the scores first, so more tokens fit under ``top_p``.

    A score of minus infinity is never drawn. A temperature of 1e-300 is greedy, and one
    of 1e300 makes all that is left equally likely: nothing overflows.

    Raises:
        ValueError: a setting lies outside its range.
    """

    temperature: float = 1.0
    """Scores are divided by it. 0 is greedy: always the best token."""
    top_k: int | None = None
    top_p: float | None = None
    min_p: float | None = None

    def __post_init__(self) -> None:
        if not 0 <= self.temperature < math.inf:
            raise ValueError(
                f"temperature ({self.temperature}) must be a finite number, 0 or more"
            )
        if self.top_k is not None and self.top_k < 1:
            raise ValueError(f"top_k ({self.top_k}) must be at least 1")
        if self.top_p is not None and not 0 < self.top_p <= 1:
            raise ValueError(f"top_p ({self.top_p}) must be in (0, 1]")
        if self.min_p is not None and not 0 <= self.min_p <= 1:
            raise ValueError(f"min_p ({self.min_p}) must be in [0, 1]")

    def probabilities(self, logits: Float[Tensor, "B V"]) -> Float[Tensor, "B V"]:
        """The distribution that :meth:`__call__` draws from.

        Raises:
            ValueError: a score is NaN or infinite upwards, or all are ruled out.
        """
        best = logits.max(dim=-1, keepdim=True).values  # (B, 1)
        if not best.isfinite().all():  # max passes NaN and infinity on
            raise ValueError(
                f"logits ({best[~best.isfinite()][0].item()} among them) must be"
                " finite: the model has diverged"
            )
        if self.temperature == 0:
            winner = logits.argmax(dim=-1, keepdim=True)
            return torch.zeros_like(logits).scatter(-1, winner, 1.0)
        # The best score becomes 0, so that no small temperature can overflow.
        logits = _wide(logits) - _wide(best)
        # float32, all that MPS has, would take 1e-300 for zero and 1e300 for infinity.
        ends = torch.finfo(logits.dtype)
        logits = logits / min(max(self.temperature, ends.tiny), ends.max)
        if self.top_k is not None:
            logits = keep_top_k(logits, self.top_k)
        if self.top_p is not None:
            logits = keep_top_p(logits, self.top_p)
        if self.min_p is not None:
            logits = keep_min_p(logits, self.min_p)
        return logits.softmax(dim=-1)

    def __call__(
        self,
        logits: Float[Tensor, "B V"],
        generator: Generator | Sequence[Generator] | None = None,
    ) -> Int[Tensor, "B 1"]:
        """Draw one token a row.

        Args:
            logits: the scores at the last position.
            generator: one for all rows, or one a row: then a row's text does not
                depend on which rows stand beside it.

        Raises:
            ValueError: as :meth:`probabilities`, or there is not one generator a row.
        """
        probabilities = self.probabilities(logits)
        if self.temperature == 0:
            return probabilities.argmax(dim=-1, keepdim=True)
        if generator is None or isinstance(generator, Generator):
            return torch.multinomial(probabilities, 1, generator=generator)
        if len(generator) != len(logits):
            raise ValueError(
                f"generator ({len(generator)} of them) must be one, or one for each of"
                f" {len(logits)} rows"
            )
        drawn = [
            torch.multinomial(row, 1, generator=own)
            for row, own in zip(probabilities, generator, strict=True)
        ]
        return torch.stack(drawn)


def _wide(logits: Tensor) -> Tensor:
    """At least float32; float64 where the device has it, for exact thresholds."""
    return logits.float() if logits.device.type == "mps" else logits.double()
