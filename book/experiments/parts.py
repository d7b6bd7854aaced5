"""What only an experiment needs: models that differ from a rung in one part.

The package refuses these choices on purpose; they enter by a function from a model's
configuration to a model, which an arm's TOML file names as ``build``. No change here
moves the other matrices: each has a random generator of its own.
"""

import math
from collections.abc import Callable
from dataclasses import replace

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from minillm.cache import LayerCache
from minillm.config import ModelConfig
from minillm.model import Attention, GeluFeedForward, Rotation, Transformer


class ReluFeedForward(GeluFeedForward):
    """The feed-forward network of the 2017 Transformer: zero below zero."""

    def forward(self, x: Tensor) -> Tensor:
        return self.down(F.relu(self.up(x)))


class SquaredReluFeedForward(GeluFeedForward):
    """The square of ReLU. Paper: So et al. 2021, arXiv:2109.08668."""

    def forward(self, x: Tensor) -> Tensor:
        return self.down(F.relu(self.up(x)).square())


class UnrotatedAttention(Attention):
    """No position encoding at all (NoPE): only the mask tells the order.

    Paper: Kazemnejad et al. 2023, arXiv:2305.19466.
    """

    def forward(
        self,
        x: Tensor,
        rotation: Rotation | None = None,
        mask: Tensor | None = None,
        past: LayerCache | None = None,
    ) -> Tensor:
        return super().forward(x, None, mask, past)


Stretch = tuple[Tensor, float]
"""How fast each pair turns, in radians per position; what scores are multiplied by."""


def frequencies(d_head: int, base: float) -> Tensor:
    """Plain RoPE: pair ``i`` turns by ``base ** (-2 i / E)`` radians per position."""
    return base ** (-torch.arange(0, d_head, 2, dtype=torch.float64) / d_head)


def plain_rope(d_head: int, base: float, length: int, scale: float) -> Stretch:
    """As trained, whatever the length."""
    return frequencies(d_head, base), 1.0


def position_interpolation(
    d_head: int, base: float, length: int, scale: float
) -> Stretch:
    """All pairs turn ``scale`` times more slowly, so that no angle is new.

    Paper: Chen et al. 2023, arXiv:2306.15595.
    """
    return frequencies(d_head, base) / scale, 1.0


def ntk_aware(d_head: int, base: float, length: int, scale: float) -> Stretch:
    """A larger base: the slowest pair is slowed by ``scale``, the fastest not at all.

    The name is the authors' (neural tangent kernel). As told in arXiv:2309.00071.
    """
    return frequencies(d_head, base * scale ** (d_head / (d_head - 2))), 1.0


YARN_SLOW, YARN_FAST = 1.0, 32.0
"""Turns within the training length: below the first, a pair is slowed by ``scale``;
above the second, not at all. The paper calls them alpha and beta."""


def yarn(d_head: int, base: float, length: int, scale: float) -> Stretch:
    """Slow down each pair by how often it turned within the training length.

    Scores grow by (0.1 ln scale + 1)², which sharpens the softmax. The ramp is linear
    in the number of turns, as in the paper; transformers' is linear in the pair's
    number, between limits rounded to whole pairs.

    Paper: Peng et al. 2023, arXiv:2309.00071.
    """
    trained = frequencies(d_head, base)
    turns = trained * length / (2 * math.pi)
    kept = ((turns - YARN_SLOW) / (YARN_FAST - YARN_SLOW)).clamp(0, 1)
    score_factor = (0.1 * math.log(scale) + 1) ** 2
    return trained * (kept + (1 - kept) / scale), score_factor


STRETCHES: dict[str, Callable[[int, float, int, float], Stretch]] = {
    "plain": plain_rope,
    "interpolation": position_interpolation,
    "ntk": ntk_aware,
    "yarn": yarn,
}
"""From (d_head, base, training length, scale) to the turning of each pair."""


class StretchedAttention(Attention):
    """RoPE with frequencies of its own, and scores multiplied by a factor.

    Without a cache: positions are counted from zero.
    """

    def __init__(self, config: ModelConfig, stretch: Stretch) -> None:
        super().__init__(config)
        self.frequencies, self.score_factor = stretch

    def forward(
        self,
        x: Tensor,
        rotation: Rotation | None = None,
        mask: Tensor | None = None,
        past: LayerCache | None = None,
    ) -> Tensor:
        if past is not None:
            raise ValueError("past must be None: stretched attention keeps no cache")
        positions = torch.arange(x.shape[1], dtype=torch.float64)
        angle = positions[:, None] * self.frequencies  # (T, E/2)
        longer = self.score_factor**0.5  # of query and of key
        rotation = tuple((longer * part).float() for part in (angle.cos(), angle.sin()))
        return super().forward(x, rotation, mask)


def stretched(model: Transformer, method: str, scale: int) -> Transformer:
    """A copy of a trained model that reads windows ``scale`` times as long.

    ``method`` is one of :data:`STRETCHES`. Nothing is trained.
    """
    config = model.config
    longer = Transformer(replace(config, context_length=scale * config.context_length))
    longer.load_state_dict(model.state_dict())
    stretch = STRETCHES[method](
        config.d_head, config.rope_base, config.context_length, scale
    )
    for block in longer.blocks:
        attention = StretchedAttention(config, stretch)
        attention.load_state_dict(block.attention.state_dict())
        block.attention = attention
    return longer.eval()


def replaced(name: str, kind: type[nn.Module]) -> Callable[[ModelConfig], Transformer]:
    """A builder that puts ``kind`` in the place ``name`` of every block."""

    def build(config: ModelConfig) -> Transformer:
        model = Transformer(config)
        for block in model.blocks:
            part = kind(config)
            part.load_state_dict(block.get_submodule(name).state_dict())
            block.set_submodule(name, part)
        return model

    return build


@torch.no_grad()
def unscaled(config: ModelConfig) -> Transformer:
    """Matrices that write to the residual stream start as large as all others."""
    model = Transformer(config)
    for name, parameter in model.named_parameters():
        if name.endswith(("out.weight", "down.weight")):
            parameter *= (2 * config.n_layers) ** 0.5
    return model


BUILDS: dict[str, Callable[[ModelConfig], Transformer]] = {
    "plain": Transformer,
    "relu": replaced("feed_forward", ReluFeedForward),
    "relu2": replaced("feed_forward", SquaredReluFeedForward),
    "nope": replaced("attention", UnrotatedAttention),
    "unscaled": unscaled,
}
