"""Every model of the book, in the order of its chapters: bigram, GPT, Llama.

Shapes, here and in the book:

    B  sequences in a batch         D  d_model, width of the residual stream
    T  positions being computed     H  n_heads, query heads
    S  positions attended to        K  n_kv_heads, key/value heads
    V  vocab_size                   E  d_head, width of one head
                                    M  d_ff, width of the feed-forward layer
"""

import zlib

import torch
import torch.nn.functional as F
from jaxtyping import Bool, Float, Int
from torch import Tensor, nn

from minillm.cache import KVCache, LayerCache
from minillm.config import ModelConfig


class Bigram(nn.Module):
    """A table whose row ``i`` scores every token that may follow token ``i``.

    The smallest language model, and the floor the others must beat. Book: chapter 1.
    """

    def __init__(self, config: ModelConfig) -> None:
        super().__init__()
        _require_vocabulary(config)
        self.config = config
        self.table = nn.Embedding(config.vocab_size, config.vocab_size)
        self.reset_parameters()

    def reset_parameters(self) -> None:
        """Make every next token equally likely."""
        nn.init.zeros_(self.table.weight)

    def forward(
        self, tokens: Int[Tensor, "B T"], past_key_values: KVCache | None = None
    ) -> Float[Tensor, "B T V"]:
        """Score the next token after each of ``tokens``; there is nothing to cache."""
        return self.table(tokens)

    @property
    def num_parameters(self) -> int:
        """Trainable numbers: V squared."""
        return self.table.weight.numel()


class RMSNorm(nn.Module):
    """Divide each vector by its root mean square, then scale each coordinate.

    In half precision the mean of squares is taken in float32, where it cannot
    overflow, and the result is cast back before it meets the gain, as Llama does. The
    output has the input's dtype.

    Paper: Zhang & Sennrich 2019, arXiv:1910.07467. Book: chapter 3.
    """

    def __init__(self, d_model: int, eps: float = 1e-5) -> None:
        super().__init__()
        self.eps = eps
        self.weight = nn.Parameter(torch.ones(d_model))

    def forward(self, x: Float[Tensor, "*batch D"]) -> Float[Tensor, "*batch D"]:
        wide = x.to(torch.promote_types(x.dtype, torch.float32))
        mean_square = wide.pow(2).mean(dim=-1, keepdim=True)  # (..., 1)
        unit = wide * torch.rsqrt(mean_square + self.eps)
        return unit.to(x.dtype) * self.weight.to(x.dtype)


Rotation = tuple[Float[Tensor, "*B T half"], Float[Tensor, "*B T half"]]
"""Cosine and sine of the angle by which each pair is turned; half = E / 2."""


def rope_rotation(
    positions: Int[Tensor, "*B T"], d_head: int, base: float, dtype: torch.dtype
) -> Rotation:
    """How far RoPE turns each of the E/2 pairs of a head, at each position.

    Pair ``i`` turns by ``position * base ** (-2 i / E)`` radians. Computed anew in
    each forward call, never narrower than float32, and kept nowhere: there is no
    table that ends too early, is cast to half precision or is lost on the way.

    Paper: Su et al. 2021, arXiv:2104.09864. Book: chapter 4.
    """
    dtype = torch.promote_types(dtype, torch.float32)
    pair = torch.arange(0, d_head, 2, device=positions.device, dtype=dtype)  # (E/2,)
    angle = positions[..., None].to(dtype) * base ** (-pair / d_head)  # (..., T, E/2)
    return angle.cos(), angle.sin()


def rotate(x: Float[Tensor, "B H T E"], rotation: Rotation) -> Float[Tensor, "B H T E"]:
    """Turn each pair of coordinates; the two of a pair stand E/2 apart.

    This is the split-half layout of Hugging Face; Meta's code and the paper pair
    neighbours. Weights of one layout are gibberish in the other.
    """
    cos, sin = (part.unsqueeze(-3) for part in rotation)  # (..., 1, T, E/2)
    first, second = x.to(cos.dtype).chunk(2, dim=-1)  # (B, H, T, E/2) each
    turned = torch.cat([first * cos - second * sin, second * cos + first * sin], dim=-1)
    return turned.to(x.dtype)


def causal_mask(
    n_queries: int, n_keys: int, padding: Int[Tensor, " B"] | None, device: torch.device
) -> Bool[Tensor, "T S"] | Bool[Tensor, "B 1 T S"]:
    """True where a query may look: at itself, and at earlier tokens of its own text.

    The T queries are the *last* T of the S positions.
    """
    query = torch.arange(n_keys - n_queries, n_keys, device=device)[:, None]  # (T, 1)
    key = torch.arange(n_keys, device=device)  # (S,)
    if padding is None:
        return key <= query  # (T, S)
    text = key >= padding[:, None, None, None]  # (B, 1, 1, S)
    # A pad token looks at itself: a row without any key would give NaN.
    return ((key <= query) & text) | (key == query)


class Attention(nn.Module):
    """Causal self-attention in which several query heads may share one key/value head.

    Papers: Vaswani et al. 2017, arXiv:1706.03762 (attention); Ainslie et al. 2023,
    arXiv:2305.13245 (shared heads). Book: chapters 2 and 6.
    """

    def __init__(self, config: ModelConfig) -> None:
        super().__init__()
        self.n_heads, self.n_kv_heads = config.n_heads, config.n_kv_heads
        self.d_head, self.dropout = config.d_head, config.dropout
        d_model, d_kv = config.d_model, config.n_kv_heads * config.d_head
        self.query = nn.Linear(d_model, d_model, bias=config.bias)
        self.key = nn.Linear(d_model, d_kv, bias=config.bias)
        self.value = nn.Linear(d_model, d_kv, bias=config.bias)
        self.out = nn.Linear(d_model, d_model, bias=config.bias)

    def forward(
        self,
        x: Float[Tensor, "B T D"],
        rotation: Rotation | None = None,
        mask: Bool[Tensor, "... T S"] | None = None,
        past: LayerCache | None = None,
    ) -> Float[Tensor, "B T D"]:
        """Mix each position with what it may look at.

        Args:
            x: the normalised residual stream.
            rotation: RoPE's angles for these T positions; None for learned positions.
            mask: needed only when T > 1 queries meet S > T keys, or rows are padded.
            past: keys and values read before; the new ones are added to it.
        """
        q = self._split_heads(self.query(x), self.n_heads)  # (B, H, T, E)
        k = self._split_heads(self.key(x), self.n_kv_heads)  # (B, K, T, E)
        v = self._split_heads(self.value(x), self.n_kv_heads)  # (B, K, T, E)
        if rotation is not None:
            q, k = rotate(q, rotation), rotate(k, rotation)
        if past is not None:
            k, v = past.append(k, v)  # (B, K, S, E)
        # PyTorch aligns is_causal at the top left: right only when S equals T. A single
        # query is the last position and may look at everything.
        is_causal = False
        if mask is None and x.shape[1] > 1:  # a branch: compiled, T is no plain number
            is_causal = True
        mixed = F.scaled_dot_product_attention(
            q,
            k,
            v,
            attn_mask=mask,
            is_causal=is_causal,
            dropout_p=self.dropout if self.training else 0.0,
            enable_gqa=self.n_kv_heads != self.n_heads,
        )  # (B, H, T, E)
        return self.out(mixed.transpose(1, 2).flatten(start_dim=2))  # (B, T, D)

    def _split_heads(
        self, x: Float[Tensor, "B T width"], n_heads: int
    ) -> Float[Tensor, "B heads T E"]:
        return x.view(*x.shape[:2], n_heads, self.d_head).transpose(1, 2)


class GeluFeedForward(nn.Module):
    """Widen, bend, narrow: the feed-forward network of GPT-2.

    The bend is the tanh form of GELU, the one GPT-2 was trained with.

    Paper: Hendrycks & Gimpel 2016, arXiv:1606.08415. Book: chapter 2.
    """

    def __init__(self, config: ModelConfig) -> None:
        super().__init__()
        self.up = nn.Linear(config.d_model, config.d_ff, bias=config.bias)
        self.down = nn.Linear(config.d_ff, config.d_model, bias=config.bias)

    def forward(self, x: Float[Tensor, "B T D"]) -> Float[Tensor, "B T D"]:
        return self.down(F.gelu(self.up(x), approximate="tanh"))


class SwiGLU(nn.Module):
    """A feed-forward network whose hidden layer is opened and closed by a gate.

    Paper: Shazeer 2020, arXiv:2002.05202. Book: chapter 5.
    """

    def __init__(self, config: ModelConfig) -> None:
        super().__init__()
        self.gate = nn.Linear(config.d_model, config.d_ff, bias=config.bias)
        self.up = nn.Linear(config.d_model, config.d_ff, bias=config.bias)
        self.down = nn.Linear(config.d_ff, config.d_model, bias=config.bias)

    def forward(self, x: Float[Tensor, "B T D"]) -> Float[Tensor, "B T D"]:
        return self.down(F.silu(self.gate(x)) * self.up(x))


FEED_FORWARDS = {"gelu": GeluFeedForward, "swiglu": SwiGLU}


def build_norm(config: ModelConfig) -> nn.LayerNorm | RMSNorm:
    """The norm of this rung. LayerNorm: Ba et al. 2016, arXiv:1607.06450."""
    if config.norm == "rmsnorm":
        return RMSNorm(config.d_model, config.norm_eps)
    return nn.LayerNorm(config.d_model, config.norm_eps, bias=config.bias)


class Block(nn.Module):
    """One layer: tokens look at each other, then each thinks alone."""

    def __init__(self, config: ModelConfig) -> None:
        super().__init__()
        self.attention_norm = build_norm(config)
        self.attention = Attention(config)
        self.feed_forward_norm = build_norm(config)
        self.feed_forward = FEED_FORWARDS[config.feed_forward](config)
        self.dropout = nn.Dropout(config.dropout)

    def forward(
        self,
        x: Float[Tensor, "B T D"],
        rotation: Rotation | None = None,
        mask: Bool[Tensor, "... T S"] | None = None,
        past: LayerCache | None = None,
    ) -> Float[Tensor, "B T D"]:
        """Add to the residual stream twice; arguments as in :class:`Attention`."""
        attended = self.attention(self.attention_norm(x), rotation, mask, past)
        x = x + self.dropout(attended)
        return x + self.dropout(self.feed_forward(self.feed_forward_norm(x)))


class Transformer(nn.Module):
    """Tokens in, a score for every possible next token out.

    With ``tied`` embeddings the head is the embedding matrix (Press & Wolf 2016,
    arXiv:1608.05859): a token's row is both how it is read and how it is said.
    Book: chapter 2.
    """

    def __init__(self, config: ModelConfig) -> None:
        super().__init__()
        _require_vocabulary(config)
        # Drawn first, so that it does not depend on which modules are built below.
        seed = int(torch.randint(2**31, (), device="cpu"))
        self.config = config
        self.embedding = nn.Embedding(config.vocab_size, config.d_model)
        self.position: nn.Embedding | None = None
        if config.position == "learned":
            self.position = nn.Embedding(config.context_length, config.d_model)
        self.dropout = nn.Dropout(config.dropout)
        self.blocks = nn.ModuleList(Block(config) for _ in range(config.n_layers))
        self.norm = build_norm(config)
        self.head: nn.Module | None = None
        if not config.tied:
            self.head = nn.Linear(config.d_model, config.vocab_size, bias=False)
        self.reset_parameters(seed)

    @torch.no_grad()
    def reset_parameters(self, seed: int = 0) -> None:
        """Draw every matrix from N(0, 0.02²); shrink those that write to the stream.

        Each layer adds two terms to the residual stream. Dividing their writers by
        √(2 n_layers) keeps its variance from growing with depth (GPT-2's report,
        Radford et al. 2019, sec. 2.3).

        Every matrix has a generator of its own, seeded by its name: two rungs of the
        ladder start from the same numbers wherever they have the same matrix.
        """
        for name, parameter in self.named_parameters():
            if parameter.is_meta:
                continue
            if parameter.dim() == 1:  # gains start at one, biases at zero
                parameter.fill_(0.0 if name.endswith("bias") else 1.0)
                continue
            std = 0.02
            if name.endswith(("out.weight", "down.weight")):
                std /= (2 * self.config.n_layers) ** 0.5
            generator = torch.Generator().manual_seed(seed + zlib.crc32(name.encode()))
            noise = torch.randn(parameter.shape, generator=generator, device="cpu")
            parameter.copy_(std * noise)

    def forward(
        self, tokens: Int[Tensor, "B T"], past_key_values: KVCache | None = None
    ) -> Float[Tensor, "B T V"]:
        """Score the next token after each of ``tokens``.

        With ``past_key_values``, ``tokens`` are the ones not yet read; they are added
        to it.

        Raises:
            ValueError: the sequence would run past ``context_length``.
        """
        config, n_tokens = self.config, tokens.shape[1]
        start = 0 if past_key_values is None else past_key_values.length
        padding = None if past_key_values is None else past_key_values.padding
        n_pads = 0 if padding is None else int(padding.min())
        if start + n_tokens - n_pads > config.context_length:
            raise ValueError(
                f"{start + n_tokens - n_pads} tokens exceed"
                f" context_length ({config.context_length})"
            )
        if past_key_values is None:
            positions = torch.arange(n_tokens, device=tokens.device)  # (T,)
        else:
            positions = past_key_values.positions(n_tokens).to(tokens.device)
        mask = None
        if padding is not None or (start > 0 and n_tokens > 1):
            mask = causal_mask(n_tokens, start + n_tokens, padding, tokens.device)

        x = self.embedding(tokens)  # (B, T, D)
        rotation = None
        if self.position is not None:
            x = x + self.position(positions)
        else:
            rotation = rope_rotation(
                positions, config.d_head, config.rope_base, x.dtype
            )
        x = self.dropout(x)
        for layer, block in enumerate(self.blocks):
            past = None if past_key_values is None else past_key_values.layers[layer]
            x = block(x, rotation, mask, past)
        x = self.norm(x)
        if self.head is None:  # tied
            return F.linear(x, self.embedding.weight)  # (B, T, V)
        return self.head(x)

    @property
    def num_parameters(self) -> int:
        """Trainable numbers, a tied embedding counted once."""
        return sum(parameter.numel() for parameter in self.parameters())


LanguageModel = Bigram | Transformer
"""What training and generation accept: tokens in, next-token scores out."""


def build(config: ModelConfig) -> LanguageModel:
    """The model a configuration describes, freshly initialised.

    Raises:
        ValueError: ``vocab_size`` is still 0.
    """
    return Bigram(config) if config.kind == "bigram" else Transformer(config)


def _require_vocabulary(config: ModelConfig) -> None:
    if config.vocab_size == 0:
        raise ValueError(
            "vocab_size (0) must be set: take it from a corpus, or name it"
        )
