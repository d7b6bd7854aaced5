"""How does the same model answer faster? In three ways, of which it need not know.

    fuse        one token a step with fewer and larger products; the same numbers
    quantize    matrices in eight bits: a quarter of the memory, other numbers
    package     the step as machine code, compiled once for one kind of machine

``model.py`` says what is computed and stays as it is. Whatever is here must give what
the model gives, which the tests ask of every rung of the ladder.

A step reads few numbers and all of the matrices, so what counts is how quickly memory
comes in and how few operations PyTorch has to start. Book: the page on speed.
"""

import platform
import warnings
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, cast

import torch
import torch.nn.functional as F
from jaxtyping import Float, Int
from torch import Tensor, nn

from minillm.cache import KVCache, LayerCache
from minillm.checkpoint import Checkpoint, load, write_model
from minillm.config import RunConfig
from minillm.files import new_folder, read_json, write_json
from minillm.model import LanguageModel, RMSNorm, SwiGLU, Transformer, rope_rotation
from minillm.run import check_manifest, write_manifest
from minillm.tokenizer import Tokenizer

Product = Callable[[Tensor], Tensor]
"""What a linear layer does."""


class Decoder(Transformer):
    """A model with another way to read a single token a row.

    Everything else, a prompt, padded rows, a text without a cache, is read as before.
    It is made of the parts of the model it is given, under the same names.
    """

    def __init__(self, model: Transformer) -> None:
        nn.Module.__init__(self)  # nothing is built or drawn: the parts are there
        self.config, self.embedding = model.config, model.embedding
        self.position, self.dropout = model.position, model.dropout
        self.blocks, self.norm, self.head = model.blocks, model.norm, model.head
        self.train(model.training)

    def forward(
        self, tokens: Int[Tensor, "B T"], past_key_values: KVCache | None = None
    ) -> Float[Tensor, "B T V"]:
        """As :meth:`minillm.model.Transformer.forward`."""
        cache = past_key_values
        if (
            cache is not None
            and tokens.shape[1] == 1
            and cache.padding is None
            and 0 < cache.length < self.config.context_length
            and not self.training
            and self.fits(tokens, cache)
        ):
            return self.step(tokens, cache)
        return super().forward(tokens, cache)

    def fits(self, tokens: Tensor, cache: KVCache) -> bool:
        """Whether :meth:`step` was made for such a batch and such a cache."""
        return True

    def step(
        self, tokens: Int[Tensor, "B 1"], cache: KVCache
    ) -> Float[Tensor, "B 1 V"]:
        """Read one token a row, and add it to the cache."""
        raise NotImplementedError


# ------------------------------------------------------------------ fused


@dataclass
class _Layer:
    """A block whose matrices that read the same vector stand in one."""

    attention_norm: Product
    query_key_value: Product
    out: Product
    feed_forward_norm: Product
    widen: Product
    """Gate and up side by side, or up alone."""
    bend: Product
    down: Product


class Fused(Decoder):
    """One token a step in fewer operations; made by :func:`fuse`."""

    def __init__(self, model: Transformer) -> None:
        super().__init__(model)
        self.layers = [_fuse_block(block) for block in model.blocks]
        self.last_norm = [_norm(model.norm)]  # in a list, a module is no second part
        head = model.embedding if model.head is None else model.head
        self.unembed = [_join([head])]
        self.rotation: tuple[Tensor, Tensor] | None = None
        if model.position is None:
            weight, config = model.embedding.weight, model.config
            positions = torch.arange(config.context_length, device=weight.device)
            cos, sin = rope_rotation(
                positions, config.d_head, config.rope_base, weight.dtype
            )
            # As wide as a head: x · cos + (its halves exchanged) · sin is a rotation.
            self.rotation = (
                torch.cat([cos, cos], dim=-1),  # (context, E)
                torch.cat([-sin, sin], dim=-1),
            )

    def step(
        self, tokens: Int[Tensor, "B 1"], cache: KVCache
    ) -> Float[Tensor, "B 1 V"]:
        """As in :class:`Decoder`."""
        config, position = self.config, cache.length
        n_heads, n_kv_heads, d_head = config.n_heads, config.n_kv_heads, config.d_head
        n_rotated = n_heads + n_kv_heads
        x = self.embedding(tokens[:, 0])  # (B, D)
        if self.position is not None:
            x = x + self.position.weight[position]
        turn = None
        if self.rotation is not None:
            turn = [table[position] for table in self.rotation]  # (E,) each
        for layer, past in zip(self.layers, cache.layers, strict=True):
            joined = layer.query_key_value(layer.attention_norm(x))
            heads = joined.view(len(x), -1, 1, d_head)  # (B, H+K+K, 1, E)
            q_k, v = heads[:, :n_rotated], heads[:, n_rotated:]
            if turn is not None:
                cos, sin = turn
                first, second = q_k.to(cos.dtype).chunk(2, dim=-1)
                exchanged = torch.cat([second, first], dim=-1)
                q_k = (q_k * cos + exchanged * sin).to(x.dtype)
            keys, values = past.append(q_k[:, n_heads:], v)  # (B, K, S, E)
            mixed = F.scaled_dot_product_attention(
                q_k[:, :n_heads], keys, values, enable_gqa=n_kv_heads != n_heads
            )  # (B, H, 1, E)
            x = x + layer.out(mixed.flatten(start_dim=1))
            wide = layer.widen(layer.feed_forward_norm(x))  # (B, M) or (B, 2M)
            x = x + layer.down(layer.bend(wide))
        return self.unembed[0](self.last_norm[0](x))[:, None]


def fuse(model: LanguageModel) -> LanguageModel:
    """The same model, whose steps of one token are made of fewer operations.

    Query, key and value are one product, and so are gate and up. The model's matrices
    are laid out anew for that, column by column, which also is how a CPU multiplies a
    single row most quickly; names, shapes and values stay, and no second copy is kept.
    Move a model to its device first: afterwards the parts no longer share memory.

    A bigram has nothing to fuse and comes back as it is.
    """
    return Fused(model) if isinstance(model, Transformer) else model


@torch.no_grad()
def _fuse_block(block: Any) -> _Layer:
    attention, feed_forward = block.attention, block.feed_forward
    gated = isinstance(feed_forward, SwiGLU)
    return _Layer(
        _norm(block.attention_norm),
        _join([attention.query, attention.key, attention.value]),
        _join([attention.out]),
        _norm(block.feed_forward_norm),
        _join([feed_forward.gate, feed_forward.up] if gated else [feed_forward.up]),
        _gated_silu if gated else _gelu,
        _join([feed_forward.down]),
    )


def _gated_silu(wide: Tensor) -> Tensor:
    gate, up = wide.chunk(2, dim=-1)
    return F.silu(gate) * up


def _gelu(wide: Tensor) -> Tensor:
    return F.gelu(wide, approximate="tanh")


def _norm(norm: nn.Module) -> Product:
    """PyTorch's own RMSNorm, which is one call; in half precision ours is Llama's."""
    if isinstance(norm, RMSNorm) and norm.weight.dtype in (
        torch.float32,
        torch.float64,
    ):
        return lambda x: F.rms_norm(x, x.shape[-1:], norm.weight, norm.eps)
    return norm


@torch.no_grad()
def _join(parts: Sequence[Any]) -> Product:
    """Linear layers that read the same vector, as one; they keep sharing its memory."""
    if isinstance(parts[0], Int8Linear):
        joined = Int8Linear(
            torch.cat([part.weight for part in parts]),
            torch.cat([part.scale for part in parts]),
            _cat([part.bias for part in parts]),
        )
        begin = 0
        for part in parts:
            rows = slice(begin, begin + len(part.weight))
            part.weight, part.scale = joined.weight[rows], joined.scale[rows]
            part.bias = None if joined.bias is None else joined.bias[rows]
            begin = rows.stop
        return joined
    columns = torch.cat([part.weight for part in parts]).t().contiguous()  # (D, all)
    # An embedding, the tied head, has no bias and knows of none.
    bias, begin = _cat([getattr(part, "bias", None) for part in parts]), 0
    for part in parts:
        end = begin + part.weight.shape[0]
        part.weight.data = columns[:, begin:end].t()
        if bias is not None:
            part.bias.data = bias[begin:end]
        begin = end
    return lambda x: F.linear(x, columns.t(), bias)


def _cat(biases: Sequence[Tensor | None]) -> Tensor | None:
    there = [bias.detach() for bias in biases if bias is not None]
    return torch.cat(there) if there else None


# ------------------------------------------------------------------ eight bits


BLOCK = 32
"""Numbers that the product with eight-bit weights takes at once, and then some."""


class Int8Linear(nn.Module):
    """A linear layer that keeps its matrix in eight bits, with one scale a row.

    Activations pass through in bfloat16, the format that PyTorch's product with
    eight-bit weights takes.
    """

    weight: Int[Tensor, "out in"]
    scale: Float[Tensor, " out"]
    bias: Tensor | None

    def __init__(self, weight: Tensor, scale: Tensor, bias: Tensor | None) -> None:
        super().__init__()
        self.register_buffer("weight", weight)
        self.register_buffer("scale", scale)
        self.register_buffer("bias", bias)

    @classmethod
    @torch.no_grad()
    def rounded(
        cls, weight: Float[Tensor, "out in"], bias: Tensor | None = None
    ) -> "Int8Linear":
        """Round each row to multiples of its largest number / 127."""
        largest = weight.abs().amax(dim=1).float()
        # What is divided by is what is multiplied by later: the rounded scale.
        scale = (largest / 127).clamp(min=1e-30).to(torch.bfloat16)
        steps = (weight.float() / scale.float()[:, None]).round().clamp(-128, 127)
        # The product reads whole blocks of a row: beyond its end there must be zeros.
        steps = F.pad(steps, (0, -weight.shape[1] % BLOCK))
        return cls(steps.to(torch.int8), scale, None if bias is None else bias.detach())

    def forward(self, x: Float[Tensor, "*batch in"]) -> Float[Tensor, "*batch out"]:
        rows = x.reshape(-1, x.shape[-1]).to(torch.bfloat16)
        rows = F.pad(rows, (0, -rows.shape[1] % BLOCK))
        product = torch._weight_int8pack_mm(rows, self.weight, self.scale)
        product = product.view(*x.shape[:-1], -1).to(x.dtype)
        return product if self.bias is None else product + self.bias


def quantize(model: LanguageModel) -> LanguageModel:
    """Round a model's matrices to eight bits, in place; the embedding stays as it is.

    For generating only: what is rounded cannot be trained. A tied head is parted from
    its embedding, because rows that are looked up cost nothing to keep exact.

    Raises:
        ValueError: the model is a bigram, which has no matrix to multiply by, or not on
            a CPU.
    """
    if not isinstance(model, Transformer):
        raise ValueError("a bigram is a table: it has no matrix to round to int8")
    if model.embedding.weight.device.type != "cpu":
        raise ValueError(
            f"device ({model.embedding.weight.device}) must be cpu for int8"
        )
    head = model.embedding.weight if model.head is None else model.head.weight
    for module in list(model.blocks.modules()):
        for name, part in list(module.named_children()):
            if isinstance(part, nn.Linear):
                setattr(module, name, Int8Linear.rounded(part.weight, part.bias))
    model.head = Int8Linear.rounded(cast(Tensor, head))
    return model.eval()


# ------------------------------------------------------------------ packaged

PACKAGE = "decoder.pt2"
PASSPORT = "decoder.json"
"""What the package was made for; it must be met again where the package is run."""


class _LastPlace(LayerCache):
    """A layer's cache that ends with the place for the token that is being read."""

    def append(self, keys: Tensor, values: Tensor) -> tuple[Tensor, Tensor]:
        self.keys[:, :, -1:] = keys
        self.values[:, :, -1:] = values
        return self.keys, self.values


class _Step(nn.Module):
    """The model's step as a function of tensors only, as ``torch.export`` wants it."""

    def __init__(self, model: Transformer) -> None:
        super().__init__()
        self.model = model

    def forward(self, tokens: Tensor, *places: Tensor) -> Tensor:
        layers: list[LayerCache] = [
            _LastPlace(keys, values, keys.shape[2] - 1)
            for keys, values in zip(places[::2], places[1::2], strict=True)
        ]
        return self.model(tokens, KVCache(layers))


class Packaged(Decoder):
    """One token a step by machine code; made by :func:`load_package`."""

    def __init__(
        self, model: Transformer, run: Callable[..., Tensor], batch_size: int
    ) -> None:
        super().__init__(model)
        self.run, self.batch_size = run, batch_size

    def empty_cache(self) -> KVCache:
        """The cache whose shape the machine code knows."""
        return _whole_cache(self, self.batch_size)

    def fits(self, tokens: Tensor, cache: KVCache) -> bool:
        """Whether batch and cache are as large as the machine code expects."""
        return len(tokens) == self.batch_size and cache.max_length == _room(self)

    def step(
        self, tokens: Int[Tensor, "B 1"], cache: KVCache
    ) -> Float[Tensor, "B 1 V"]:
        """As in :class:`Decoder`."""
        stop = cache.length + 1
        # Machine code takes the memory's layout on trust.
        scores = self.run(tokens.contiguous(), *_places(cache, stop))
        for layer in cache.layers:
            layer.length = stop
        return scores


def package(
    model: LanguageModel,
    config: RunConfig,
    tokenizer: Tokenizer,
    folder: Path,
    *,
    batch_size: int = 1,
    tune: bool = True,
) -> None:
    """Compile the model's step, and write it beside a checkpoint of the model.

    The folder is a checkpoint like any other, and holds ``decoder.pt2`` besides: a
    library for this kind of processor and this version of PyTorch. Takes a C++ compiler
    and about a minute.

    Args:
        model: on the CPU.
        config: the run it comes from.
        tokenizer: the one it was trained with.
        folder: to write; it must not exist.
        batch_size: rows that are generated together.
        tune: whether to try several ways to multiply and keep the fastest. Without,
            packaging is quicker and the step slower.

    Raises:
        ValueError: the model is a bigram or not on a CPU, there is no compiler, or what
            it made computes something else than the model.
        OSError: the folder cannot be written.
    """
    if not isinstance(model, Transformer):
        raise ValueError("a bigram is a table: there is nothing to compile")
    if model.embedding.weight.device.type != "cpu":
        raise ValueError(
            f"device ({model.embedding.weight.device}) must be cpu: packages are made"
            " for processors"
        )
    if batch_size < 1:
        raise ValueError(f"batch_size ({batch_size}) must be at least 1")
    with new_folder(folder) as unfinished:
        write_model(unfinished, config, model, tokenizer)
        was_training = model.training
        try:
            _compile(model.eval(), batch_size, tune, unfinished / PACKAGE)
            _compare(model, batch_size, unfinished / PACKAGE)
        finally:
            model.train(was_training)
        write_json(unfinished / PASSPORT, {**_here(), "batch_size": batch_size})
        write_manifest(unfinished)


@torch.no_grad()
def _compile(model: Transformer, batch_size: int, tune: bool, path: Path) -> None:
    from torch._inductor.exc import InvalidCxxCompiler  # seconds to import

    cache = _whole_cache(model, batch_size)
    # Any length but those that the compiler takes for special: none, one and all.
    length = torch.export.Dim("length", min=2, max=model.config.context_length)
    places = _places(cache, min(3, model.config.context_length))
    exported = torch.export.export(
        _Step(model),
        (torch.zeros(batch_size, 1, dtype=torch.int64), *places),
        dynamic_shapes={"tokens": None, "places": tuple({2: length} for _ in places)},
    )
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # about PyTorch's own insides
        try:
            torch._inductor.aoti_compile_and_package(
                exported,
                package_path=str(path),
                inductor_configs={
                    "freezing": True,  # weights are constants, laid out at leisure
                    "max_autotune": tune,
                    "autotune_num_choices_displayed": 0,
                    "max_autotune_report_choices_stats": False,
                },
            )
        except InvalidCxxCompiler:
            raise ValueError(
                "packaging needs a C++ compiler, and none is found; CXX may name one"
            ) from None


@torch.inference_mode()
def _compare(model: Transformer, batch_size: int, path: Path) -> None:
    """Let model and machine code read the same tokens: a compiler may err as well."""
    generator = torch.Generator().manual_seed(0)
    length = min(model.config.context_length, 24)
    rows = torch.randint(
        model.config.vocab_size, (batch_size, length), generator=generator
    )
    packaged = Packaged(model, _run(path), batch_size)
    cache, ours = packaged.empty_cache(), _whole_cache(model, batch_size)
    for at in range(length):
        expected = model(rows[:, at : at + 1], ours)
        scores = packaged(rows[:, at : at + 1], cache)
        if not torch.allclose(scores, expected, rtol=1e-3, atol=1e-3):
            raise ValueError(
                f"the compiled step gives other scores than the model at position {at}"
            )


def _run(path: Path) -> Callable[..., Tensor]:
    return cast(Callable[..., Tensor], torch._inductor.aoti_load_package(str(path)))


def load_package(folder: Path) -> Checkpoint:
    """Read what :func:`package` has written; its model is a :class:`Packaged`.

    Unlike a checkpoint, a package is a program: run only what you have made yourself
    or would install.

    Raises:
        ValueError: there is no package, it is damaged, or it was made for another kind
            of machine or version of PyTorch.
    """
    if not (folder / PACKAGE).is_file():
        raise ValueError(
            f"{folder} holds no {PACKAGE}; make one with: minillm export --format aoti"
        )
    check_manifest(folder, PACKAGE, PASSPORT)
    passport = read_json(folder / PASSPORT)
    batch_size = passport.get("batch_size")
    if not isinstance(batch_size, int) or batch_size < 1:
        raise ValueError(
            f"{folder / PASSPORT}: batch_size ({batch_size}) must be at least 1"
        )
    for name, value in _here().items():
        if passport.get(name) != value:
            raise ValueError(
                f"{folder / PACKAGE} was made for {name} {passport.get(name)}, not for"
                f" {value}: export it here again"
            )
    loaded = load(folder)
    assert isinstance(loaded.model, Transformer)
    packaged = Packaged(loaded.model, _run(folder / PACKAGE), batch_size)
    return Checkpoint(loaded.config, packaged, loaded.tokenizer, folder)


def _here() -> dict[str, str]:
    """What machine code depends on."""
    return {
        "torch": torch.__version__,
        "system": f"{platform.system()} {platform.machine()}",
        "processor": torch.backends.cpu.get_cpu_capability(),
    }


def _room(model: Transformer) -> int:
    """One place more than is ever filled.

    So the filled part is never the whole buffer, for which other code is compiled.
    """
    return model.config.context_length + 1


def _whole_cache(model: Transformer, batch_size: int) -> KVCache:
    like = model.embedding.weight
    return KVCache.empty(model.config, batch_size, _room(model), like)


def _places(cache: KVCache, stop: int) -> list[Tensor]:
    """The filled part of every buffer, and the place behind it."""
    return [
        buffer[:, :, :stop]
        for layer in cache.layers
        for buffer in (layer.keys, layer.values)
    ]
