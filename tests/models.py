"""Small models with awkward shapes, shared by the tests.

Every size differs from every other, so that no wrong shape fits by luck: a permuted
head once went unseen because 64 / 8 == 8. Default initial values are so small that
every block is nearly the identity and hides its own bugs: ``randomise`` draws larger.
"""

from typing import Any

import torch
from torch import Tensor, nn

from minillm.config import ModelConfig
from minillm.model import Transformer

_ROPE = {"norm": "rmsnorm", "position": "rope"}
RUNGS: dict[str, dict[str, Any]] = {
    "gpt2": {
        "norm": "layernorm",
        "position": "learned",
        "feed_forward": "gelu",
        "bias": True,
    },
    "gpt2-nobias": {
        "norm": "layernorm",
        "position": "learned",
        "feed_forward": "gelu",
    },
    "rmsnorm": {"norm": "rmsnorm", "position": "learned", "feed_forward": "gelu"},
    "rope": {**_ROPE, "feed_forward": "gelu"},
    "swiglu": {**_ROPE, "feed_forward": "swiglu"},
    "llama": {**_ROPE, "feed_forward": "swiglu", "n_kv_heads": 2},
}
"""The ladder. Neighbours differ in one thing; ``n_kv_heads`` is else ``n_heads``."""

B, T, L, H, K, E, M, V, C = 4, 67, 5, 6, 2, 14, 44, 37, 71
"""Batch, time, layers, heads, key/value heads, head width, d_ff, vocabulary, context.

And, derived: 3 query heads a key/value head, 7 pairs a head, 28 wide keys.
"""
D = H * E
"""d_model: 84."""


def small_config(rung: str, **changes: Any) -> ModelConfig:
    """A rung in awkward sizes."""
    sizes = {
        "vocab_size": V,
        "context_length": C,
        "n_layers": L,
        "n_heads": H,
        "d_model": D,
        "d_ff": M,
        "dropout": 0.0,
    }
    return ModelConfig(**{**sizes, **RUNGS[rung], **changes})


@torch.no_grad()
def randomise(module: nn.Module, seed: int = 0) -> nn.Module:
    """Draw every parameter anew, large enough that each of them matters."""
    generator = torch.Generator().manual_seed(seed)
    for parameter in module.parameters():
        noise = torch.randn(parameter.shape, generator=generator)
        if parameter.dim() == 1:  # gains and biases, away from their ones and zeros
            parameter.add_(0.5 * noise)
        else:
            parameter.copy_(1.5 * noise / parameter.shape[-1] ** 0.5)
    return module


def random_model(config: ModelConfig, seed: int = 0) -> Transformer:
    """A model in evaluation mode whose every weight matters."""
    model = Transformer(config)
    randomise(model, seed)
    return model.eval()


def random_tokens(
    config: ModelConfig, n_rows: int = B, n_tokens: int = T, seed: int = 1
) -> Tensor:
    """Token ids of shape (n_rows, n_tokens)."""
    generator = torch.Generator().manual_seed(seed)
    return torch.randint(config.vocab_size, (n_rows, n_tokens), generator=generator)


def cloned(model: nn.Module) -> dict[str, Tensor]:
    """A copy of the state that later changes leave alone."""
    return {name: tensor.clone() for name, tensor in model.state_dict().items()}
