"""What has been read? Keys and values, kept so that no token is read twice.

The model holds no state. Whoever generates text makes a cache, passes it to every
forward call as ``past_key_values`` and throws it away. Book: chapter 10.
"""

from dataclasses import dataclass

import torch
from jaxtyping import Float, Int
from torch import Tensor

from minillm.config import ModelConfig


@dataclass
class LayerCache:
    """Room for the keys and values of one attention layer.

    The room holds the K key/value heads, not the H query heads: sharing heads makes
    it H / K times smaller.
    """

    keys: Float[Tensor, "B K S_max E"]
    values: Float[Tensor, "B K S_max E"]
    length: int = 0

    def append(
        self, keys: Float[Tensor, "B K T E"], values: Float[Tensor, "B K T E"]
    ) -> tuple[Float[Tensor, "B K S E"], Float[Tensor, "B K S E"]]:
        """Store T new positions; return all S = length + T of them, as views.

        Raises:
            ValueError: the new positions do not fit, or are of another batch.
        """
        if len(keys) != len(self.keys):  # one row would silently be copied into all
            raise ValueError(
                f"past_key_values has {len(self.keys)} rows, but the batch {len(keys)}"
            )
        stop = self.length + keys.shape[2]
        if stop > self.keys.shape[2]:
            raise ValueError(
                f"past_key_values has room for {self.keys.shape[2]} positions,"
                f" not for {stop}"
            )
        self.keys[:, :, self.length : stop] = keys
        self.values[:, :, self.length : stop] = values
        self.length = stop
        return self.keys[:, :, :stop], self.values[:, :, :stop]


@dataclass
class KVCache:
    """One :class:`LayerCache` per layer, and where each row of the batch begins."""

    layers: list[LayerCache]
    padding: Int[Tensor, " B"] | None = None
    """Tokens at the left of each row that are only there to make the rows equally
    long. They are never attended to, and positions are counted from behind them."""

    @classmethod
    def empty(
        cls,
        config: ModelConfig,
        batch_size: int,
        max_length: int,
        like: Tensor,
        padding: Int[Tensor, " B"] | None = None,
    ) -> "KVCache":
        """Allocate room for ``max_length`` positions.

        Args:
            config: the model's. A bigram reads nothing back: its cache has no layers.
            batch_size: rows.
            max_length: positions, padding included.
            like: a tensor with the model's device and dtype.
            padding: see the field; at least one row should have none.
        """
        shape = (batch_size, config.n_kv_heads, max_length, config.d_head)
        n_layers = 0 if config.kind == "bigram" else config.n_layers
        return cls(
            [
                LayerCache(like.new_empty(shape), like.new_empty(shape))
                for _ in range(n_layers)
            ],
            padding,
        )

    @property
    def length(self) -> int:
        """Positions read so far, padding included."""
        return self.layers[0].length if self.layers else 0

    @property
    def max_length(self) -> int | None:
        """Positions there is room for; None if there are no layers to fill."""
        return self.layers[0].keys.shape[2] if self.layers else None

    @property
    def num_bytes(self) -> int:
        """Memory held, in bytes: 2 · n_layers · B · K · S_max · E · bytes a number."""
        return sum(
            buffer.numel() * buffer.element_size()
            for layer in self.layers
            for buffer in (layer.keys, layer.values)
        )

    def clear(self) -> None:
        """Forget everything read, and keep the room."""
        self.padding = None
        for layer in self.layers:
            layer.length = 0

    def positions(self, n_tokens: int) -> Int[Tensor, "*B T"]:
        """Positions of the next T tokens; one row for all, or one each if padded."""
        start = self.length
        if self.padding is None:
            return torch.arange(start, start + n_tokens)
        positions = torch.arange(start, start + n_tokens, device=self.padding.device)
        # A pad token stands before the text; it reads position 0 and nobody reads it.
        return (positions - self.padding[:, None]).clamp(min=0)  # (B, T)
