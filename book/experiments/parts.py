"""What only an experiment needs: models that differ from a rung in one part.

The package refuses these choices on purpose; they enter by a function from a model's
configuration to a model, which an arm's TOML file names as ``build``. No change here
moves the other matrices: each has a random generator of its own.
"""

from collections.abc import Callable

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
