"""What a decoder-only Transformer must be, whatever parts it is made of."""

import dataclasses
import math
import subprocess
import sys
from collections.abc import Callable

import jaxtyping
import pytest
import torch
import torch.nn.functional as F
from models import (
    RUNGS,
    B,
    C,
    D,
    E,
    H,
    K,
    L,
    M,
    T,
    V,
    cloned,
    random_model,
    random_tokens,
    randomise,
    small_config,
)
from torch import Tensor, nn
from transformers.models.llama.modeling_llama import LlamaRMSNorm

from minillm.cache import KVCache
from minillm.config import ModelConfig
from minillm.model import (
    Attention,
    Bigram,
    Block,
    GeluFeedForward,
    RMSNorm,
    SwiGLU,
    Transformer,
    build,
    causal_mask,
    rope_rotation,
    rotate,
)

# ------------------------------------------------------------------ the whole


@pytest.mark.parametrize("first_changed", [1, 40, T - 1])
def test_a_token_cannot_see_its_future(
    model: Transformer, tokens: Tensor, first_changed: int
) -> None:
    """A mask one step too wide, or a norm that mixes time steps, lets it."""
    changed = tokens.clone()
    changed[:, first_changed:] = (changed[:, first_changed:] + 1) % V
    before, after = model(tokens), model(changed)
    assert torch.equal(before[:, :first_changed], after[:, :first_changed])
    assert not torch.isclose(before, after)[:, first_changed:].all(dim=-1).any()


def test_a_token_sees_its_whole_past(model: Transformer, tokens: Tensor) -> None:
    """A mask too narrow loses the far past; nothing looks broken."""
    changed = tokens.clone()
    changed[:, 0] = (changed[:, 0] + 1) % V
    before, after = model(tokens), model(changed)
    assert not torch.isclose(before, after).all(dim=-1).any()


def test_rows_of_a_batch_do_not_meet(model: Transformer, tokens: Tensor) -> None:
    """Heads folded into the batch in the wrong order mix the rows."""
    together = model(tokens)
    for row in range(B):
        torch.testing.assert_close(
            model(tokens[row : row + 1])[0], together[row], atol=1e-4, rtol=1e-4
        )


def test_an_untrained_model_knows_nothing(rung: str) -> None:
    """Its loss is ln V: a larger one means that the first steps undo the start."""
    model = Transformer(small_config(rung, tied=False)).eval()
    tokens = random_tokens(model.config, B, T + 1)
    logits = model(tokens[:, :-1])
    loss = F.cross_entropy(logits.flatten(0, 1), tokens[:, 1:].flatten())
    assert loss.item() == pytest.approx(math.log(V), rel=0.01)


def test_an_untrained_tied_model_likes_to_repeat(config: ModelConfig) -> None:
    """The last token's own row is still in the stream and scores itself.

    A limit of tying: the loss is a little over ln V. More than 3% is another fault.
    """
    model, tokens = Transformer(config).eval(), random_tokens(config, B, T + 1)
    chances = model(tokens[:, :-1]).softmax(-1)
    again = chances.gather(-1, tokens[:, :-1, None]).mean().item()
    assert 2 < again * V < 6  # times a fair share
    surprise = -chances.gather(-1, tokens[:, 1:, None]).log().mean().item()
    assert 1 < surprise / math.log(V) < 1.03


def test_parameter_names_are_the_ones_the_book_uses() -> None:
    """Checkpoints, optimiser groups and conversions find matrices by their names."""
    small = {"n_layers": 1}
    assert list(random_model(small_config("gpt2", **small)).state_dict()) == [
        "embedding.weight",
        "position.weight",
        "blocks.0.attention_norm.weight",
        "blocks.0.attention_norm.bias",
        "blocks.0.attention.query.weight",
        "blocks.0.attention.query.bias",
        "blocks.0.attention.key.weight",
        "blocks.0.attention.key.bias",
        "blocks.0.attention.value.weight",
        "blocks.0.attention.value.bias",
        "blocks.0.attention.out.weight",
        "blocks.0.attention.out.bias",
        "blocks.0.feed_forward_norm.weight",
        "blocks.0.feed_forward_norm.bias",
        "blocks.0.feed_forward.up.weight",
        "blocks.0.feed_forward.up.bias",
        "blocks.0.feed_forward.down.weight",
        "blocks.0.feed_forward.down.bias",
        "norm.weight",
        "norm.bias",
    ]
    untied = small_config("llama", tied=False, **small)
    assert list(random_model(untied).state_dict()) == [
        "embedding.weight",
        "blocks.0.attention_norm.weight",
        "blocks.0.attention.query.weight",
        "blocks.0.attention.key.weight",
        "blocks.0.attention.value.weight",
        "blocks.0.attention.out.weight",
        "blocks.0.feed_forward_norm.weight",
        "blocks.0.feed_forward.gate.weight",
        "blocks.0.feed_forward.up.weight",
        "blocks.0.feed_forward.down.weight",
        "norm.weight",
        "head.weight",
    ]


def test_a_tied_embedding_is_one_parameter() -> None:
    """Counted twice it is also optimised twice."""
    tied = Transformer(small_config("llama"))
    block = 2 * D + 2 * D * D + 2 * D * K * E + 3 * D * M
    assert tied.num_parameters == V * D + L * block + D
    untied = Transformer(small_config("llama", tied=False))
    assert untied.num_parameters == tied.num_parameters + V * D


def test_a_tied_embedding_learns_as_input_and_as_output() -> None:
    """A head that is a copy, not the matrix itself, would stay behind."""
    config = small_config("llama")
    model, tokens = random_model(config), random_tokens(config)
    tokens[tokens == 0] = 1  # token 0 is never read, but it is always scored
    model(tokens).logsumexp(-1).sum().backward()
    assert model.embedding.weight.grad is not None
    assert model.embedding.weight.grad[0].abs().sum() > 0


def test_the_context_ends_where_the_config_says(rung: str) -> None:
    """Positions past the end were once clamped: fluent nonsense, no error."""
    config = small_config(rung, n_layers=1)
    model = random_model(config)
    assert model(random_tokens(config, 1, C)).shape == (1, C, V)
    refusal = rf"{C + 1} tokens exceed context_length \({C}\)"
    with pytest.raises(ValueError, match=refusal):
        model(random_tokens(config, 1, C + 1))
    cache = KVCache.empty(config, 1, C + 1, model.embedding.weight)
    model(random_tokens(config, 1, C), cache)
    with pytest.raises(ValueError, match=refusal):
        model(random_tokens(config, 1, 1), cache)


def test_a_model_without_a_vocabulary_is_refused() -> None:
    """Zero means "take it from the corpus", and somebody forgot to."""
    for kind in ("bigram", "transformer"):
        with pytest.raises(ValueError, match=r"vocab_size \(0\) must be set"):
            build(ModelConfig(kind=kind))


def test_a_wrong_shape_is_caught_where_it_enters(config: ModelConfig) -> None:
    """The annotations are enforced while tests run; without that they are comments."""
    model = Transformer(config)
    with pytest.raises(jaxtyping.TypeCheckError, match="tokens"):
        model(torch.zeros(5, dtype=torch.long))
    with pytest.raises(jaxtyping.TypeCheckError, match="tokens"):
        model(torch.zeros(B, T))
    with pytest.raises(jaxtyping.TypeCheckError, match="x"):
        model.blocks[0].attention(torch.zeros(T, D))


# ------------------------------------------------------------------ how it starts


def test_rungs_start_from_the_same_numbers(rung: str) -> None:
    """Else two neighbours of the ladder differ in luck as well as in one part."""
    torch.manual_seed(7)
    ours = Transformer(small_config(rung)).state_dict()
    torch.manual_seed(7)
    gpt2 = Transformer(small_config("gpt2")).state_dict()
    shared = [n for n in ours if n in gpt2 and gpt2[n].shape == ours[n].shape]
    assert {"embedding.weight", "blocks.4.feed_forward.down.weight"} <= {*shared}
    assert all(torch.equal(ours[name], gpt2[name]) for name in shared)


def test_the_seed_decides_the_start(config: ModelConfig) -> None:
    """Runs of one seed must repeat, and those of two must differ."""
    starts = []
    for seed in (3, 3, 4):
        torch.manual_seed(seed)
        starts.append(Transformer(config).state_dict())
    for name, first in starts[0].items():
        assert torch.equal(first, starts[1][name])
        assert first.dim() == 1 or not torch.equal(first, starts[2][name])


def test_no_two_matrices_start_equal(config: ModelConfig) -> None:
    """Generators seeded alike would make every layer a copy of the first."""
    matrices = [p for p in Transformer(config).parameters() if p.dim() == 2]
    heads = {round(matrix[0, 0].item(), 12) for matrix in matrices}
    assert len(heads) == len(matrices)


def test_only_matrices_that_write_to_the_stream_start_smaller(
    config: ModelConfig,
) -> None:
    """The shrinking once hit ``w2`` because the names were w1, w2 and w3."""
    writers = 0
    for name, parameter in Transformer(config).named_parameters():
        if parameter.dim() == 1:
            neutral = 0 if name.endswith("bias") else 1
            assert torch.equal(parameter, torch.full_like(parameter, neutral)), name
            continue
        writes = name.endswith(("attention.out.weight", "feed_forward.down.weight"))
        writers += writes
        wanted = 0.02 / math.sqrt(2 * L) if writes else 0.02
        error = 4 / math.sqrt(2 * parameter.numel())  # of a standard deviation, 4 sigma
        assert parameter.std().item() == pytest.approx(wanted, rel=error), name
        assert abs(parameter.mean().item()) < 4 * wanted / math.sqrt(parameter.numel())
    assert writers == 2 * L


def test_a_model_made_without_memory_is_whole_once_it_is_loaded(
    model: Transformer, config: ModelConfig, tokens: Tensor
) -> None:
    """RoPE tables in buffers that no checkpoint holds became garbage this way."""
    with torch.device("meta"):
        empty = Transformer(config)
    assert all(p.is_meta for p in empty.parameters())
    assert not list(empty.buffers())
    empty.to_empty(device="cpu")
    randomise(empty, seed=99)
    empty.load_state_dict(model.state_dict())
    assert torch.equal(empty.eval()(tokens), model(tokens))


def test_a_model_made_without_memory_starts_like_any_other(config: ModelConfig) -> None:
    """Large models are laid out on many devices first and initialised there."""
    with torch.device("meta"):
        empty = Transformer(config)
    empty.to_empty(device="cpu").reset_parameters(seed=5)
    normal = Transformer(config)
    normal.reset_parameters(seed=5)
    for name, tensor in normal.state_dict().items():
        assert torch.equal(empty.state_dict()[name], tensor), name


def test_the_start_does_not_depend_on_the_default_device(config: ModelConfig) -> None:
    """``with torch.device("cuda")`` asks that device for numbers of a CPU generator."""
    model, normal = Transformer(config), Transformer(config)
    normal.reset_parameters(seed=5)
    with torch.device("meta"):
        model.reset_parameters(seed=5)
    for name, tensor in normal.state_dict().items():
        assert torch.equal(model.state_dict()[name], tensor), name


# ------------------------------------------------------------------ dropout


def test_dropout_acts_in_training_only(rung: str) -> None:
    """Left on, it makes every evaluation a different one."""
    config = small_config(rung, dropout=0.5)
    model, tokens = random_model(config), random_tokens(config)
    without = random_model(small_config(rung))
    assert torch.equal(model(tokens), without(tokens))
    model.train()
    assert not torch.allclose(model(tokens), model(tokens))


def test_dropout_acts_in_all_four_places() -> None:
    """Embedding, attention shares, and what each half of a block adds."""
    config = small_config("gpt2", dropout=0.5)
    model = random_model(config).train()
    x = torch.randn(B, T, D)
    attention = model.blocks[0].attention
    assert not torch.allclose(attention(x), attention(x))
    attention.eval()
    assert torch.equal(attention(x), attention(x))

    silent = Block(config).train()
    for parameter in silent.parameters():
        nn.init.zeros_(parameter)
    added = {}
    for name in ("attention.out", "feed_forward.down"):
        nn.init.ones_(silent.get_parameter(f"{name}.bias"))
        added[name] = silent(torch.zeros(B, T, D))
        nn.init.zeros_(silent.get_parameter(f"{name}.bias"))
    for name, value in added.items():  # dropped to 0, or doubled to keep the mean
        assert set(value.unique().tolist()) == {0.0, 2.0}, name

    bare = Transformer(small_config("gpt2", dropout=0.5)).train()
    seen: list[Tensor] = []
    bare.blocks[0].register_forward_pre_hook(lambda _, inputs: seen.append(inputs[0]))
    bare(random_tokens(config))
    assert (seen[0] == 0).float().mean().item() == pytest.approx(0.5, abs=0.02)


# ------------------------------------------------------------------ norm


def test_rmsnorm_agrees_with_pytorch() -> None:
    ours, theirs = RMSNorm(D, eps=0.3), nn.RMSNorm(D, eps=0.3)
    theirs.load_state_dict(randomise(ours).state_dict())
    x = torch.randn(B, T, D)
    torch.testing.assert_close(ours(x), theirs(x))


def test_rmsnorm_gives_length_one_per_coordinate_whatever_the_scale() -> None:
    """It divides by the size of each vector, and knows no mean to subtract."""
    norm = RMSNorm(D, eps=1e-12)
    x = torch.randn(B, T, D) + 3
    unit = norm(x)
    torch.testing.assert_close(unit.pow(2).mean(-1), torch.ones(B, T))
    torch.testing.assert_close(norm(1000 * x), unit)
    torch.testing.assert_close(norm(-x), -unit)
    torch.testing.assert_close(unit / unit[..., :1], x / x[..., :1])  # same direction


def test_rmsnorm_guards_tiny_vectors_inside_the_root() -> None:
    """Outside the root, eps would be a hundred times too small here."""
    x = torch.full((4,), 1e-4, dtype=torch.float64)
    wanted = x / math.sqrt(1e-8 + 1e-5)
    torch.testing.assert_close(RMSNorm(4).double()(x), wanted)
    assert torch.equal(RMSNorm(4)(torch.zeros(4)), torch.zeros(4))


def test_rmsnorm_looks_at_one_position_at_a_time() -> None:
    """A popular tutorial's took the mean over time, too: it saw the future."""
    norm, x = RMSNorm(D), torch.randn(B, T, D)
    torch.testing.assert_close(norm(x)[2, 5], norm(x[2, 5]))


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16, torch.float32])
def test_rmsnorm_squares_in_a_wide_format(dtype: torch.dtype) -> None:
    """300² is infinite in float16; a float32 gain must not widen the output."""
    norm = RMSNorm(D)
    x = (300 + 30 * torch.randn(T, D)).to(dtype)
    y = norm(x)
    assert y.dtype == dtype
    exact = nn.RMSNorm(D, eps=1e-5).double()(x.double())
    rounding = 2 * torch.finfo(dtype).eps
    torch.testing.assert_close(y.double(), exact, atol=0, rtol=max(rounding, 1e-6))
    assert norm.to(dtype)(x).dtype == dtype


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16])
def test_rmsnorm_casts_back_before_the_gain(dtype: torch.dtype) -> None:
    """The other order rounds once less: other bits than Llama's, in half precision."""
    ours, theirs = RMSNorm(D, eps=1e-5), LlamaRMSNorm(D, eps=1e-5)
    with torch.no_grad():
        theirs.weight.copy_(ours.weight.normal_(mean=1.0, std=0.5))
    x = (3 * torch.randn(B, T, D)).to(dtype)
    torch.testing.assert_close(ours.to(dtype)(x), theirs.to(dtype)(x), rtol=0, atol=0)


def test_layernorm_belongs_to_the_gpt2_rungs() -> None:
    kinds = {
        rung: type(Transformer(small_config(rung, n_layers=1)).norm) for rung in RUNGS
    }
    assert kinds == {
        "gpt2": nn.LayerNorm,
        "gpt2-nobias": nn.LayerNorm,
        "rmsnorm": RMSNorm,
        "rope": RMSNorm,
        "swiglu": RMSNorm,
        "llama": RMSNorm,
    }


# ------------------------------------------------------------------ position


def turned(x: Tensor, position: int, base: float = 10_000.0) -> Tensor:
    positions = torch.full((x.shape[2],), position)
    return rotate(x, rope_rotation(positions, x.shape[3], base, x.dtype))


def test_rope_turns_each_pair_by_its_own_angle() -> None:
    """By hand: pair i is (x[i], x[i + E/2]) and turns base^(2i/E) times slower."""
    x = torch.tensor([1.0, 1.0, 0.0, 0.0]).view(1, 1, 1, 4)
    wanted = [math.cos(3), math.cos(0.3), math.sin(3), math.sin(0.3)]
    torch.testing.assert_close(turned(x, 3, base=100.0).flatten(), torch.tensor(wanted))


def test_rope_leaves_position_zero_and_lengths_alone() -> None:
    x = torch.randn(B, H, 1, E)
    assert torch.equal(turned(x, 0), x)
    for position in (1, 66, 5_000):
        y = turned(x, position)
        pairs, before = y.unflatten(-1, (2, -1)), x.unflatten(-1, (2, -1))
        torch.testing.assert_close(pairs.norm(dim=-2), before.norm(dim=-2))
        assert not torch.allclose(x, y)


def test_rope_scores_depend_on_distance_only() -> None:
    """Turning keys and queries in opposite directions, or only one, breaks this."""
    q, k = torch.randn(2, B, H, 1, E, dtype=torch.float64)
    near = (turned(q, 5) * turned(k, 2)).sum(-1)
    far = (turned(q, 155) * turned(k, 152)).sum(-1)
    torch.testing.assert_close(near, far)
    other = (turned(q, 155) * turned(k, 151)).sum(-1)
    assert not torch.isclose(near, other).any()


def test_rope_in_a_model_depends_on_distance_only() -> None:
    """Whole layers see the same pattern wherever it stands in the text."""
    model = random_model(small_config("llama")).double()
    q, k = model.blocks[0].attention, torch.randn(1, T, D, dtype=torch.float64)
    rotations = [
        rope_rotation(torch.arange(start, start + T), E, 10_000.0, torch.float64)
        for start in (0, 1_000)
    ]
    torch.testing.assert_close(q(k, rotations[0]), q(k, rotations[1]))
    assert not torch.allclose(q(k, rotations[0]), q(k, None))


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16])
def test_rope_angles_are_never_narrow(dtype: torch.dtype) -> None:
    """In bfloat16, positions 257 and 258 would be the same place."""
    positions = torch.arange(2_000, 2_050)
    cos, sin = rope_rotation(positions, E, 10_000.0, dtype)
    assert cos.dtype == sin.dtype == torch.float32
    torch.testing.assert_close(cos[:, 0].double(), positions.double().cos())
    x = torch.randn(1, 1, 50, E).to(dtype)
    assert rotate(x, (cos, sin)).dtype == dtype


# ------------------------------------------------------------------ attention


def test_a_query_may_look_at_itself_and_its_own_past() -> None:
    """The queries are the last of the positions: a square mask would be wrong here."""
    assert causal_mask(2, 5, None, torch.device("cpu")).int().tolist() == [
        [1, 1, 1, 1, 0],
        [1, 1, 1, 1, 1],
    ]
    padded = causal_mask(3, 4, torch.tensor([0, 2]), torch.device("cpu"))
    assert padded.int().tolist() == [
        [[[1, 1, 0, 0], [1, 1, 1, 0], [1, 1, 1, 1]]],
        [[[0, 1, 0, 0], [0, 0, 1, 0], [0, 0, 1, 1]]],
    ]


@pytest.mark.parametrize("n_kv_heads", [1, 2, 3])
def test_shared_heads_are_ordinary_heads_repeated(n_kv_heads: int) -> None:
    """Query head h reads key/value head h // (H / K), in blocks and not in turns."""
    shared = random_model(small_config("llama", n_kv_heads=n_kv_heads))
    state = cloned(shared)
    for name in state:
        if name.endswith(("key.weight", "value.weight")):
            heads = state[name].unflatten(0, (n_kv_heads, E))
            state[name] = heads.repeat_interleave(H // n_kv_heads, dim=0).flatten(0, 1)
    ordinary = Transformer(small_config("swiglu")).eval()
    ordinary.load_state_dict(state)
    tokens = random_tokens(shared.config)
    torch.testing.assert_close(shared(tokens), ordinary(tokens), atol=1e-4, rtol=1e-4)


def test_attention_in_equal_scores_is_the_mean_of_the_past() -> None:
    """With no query every key is as good as another: a running mean, exactly."""
    attention = randomise(Attention(small_config("gpt2-nobias"))).eval()
    nn.init.zeros_(attention.query.weight)
    nn.init.eye_(attention.value.weight)
    nn.init.eye_(attention.out.weight)
    x = torch.randn(B, T, D)
    means = x.cumsum(1) / torch.arange(1, T + 1)[:, None]
    torch.testing.assert_close(attention(x), means, atol=1e-5, rtol=1e-4)


# ------------------------------------------------------------------ feed-forward


def test_a_shut_gate_silences_the_feed_forward() -> None:
    """Gate and up trade places without any error, but only one is bent."""
    layer, x = randomise(SwiGLU(small_config("swiglu"))), torch.randn(B, T, D)
    gate, up = layer.gate(x), layer.up(x)
    wanted = layer.down(gate * gate.sigmoid() * up)
    torch.testing.assert_close(layer(x), wanted)
    nn.init.zeros_(layer.gate.weight)
    assert layer(x).abs().max() == 0


def test_gelu_has_the_form_gpt2_was_trained_with() -> None:
    """The two forms differ by up to 0.0005: enough to change GPT-2's words."""
    layer, x = randomise(GeluFeedForward(small_config("gpt2"))), torch.randn(B, T, D)
    u = layer.up(x).double()
    bent = u / 2 * (1 + ((2 / math.pi) ** 0.5 * (u + 0.044715 * u**3)).tanh())
    wanted = layer.double().down(bent)
    torch.testing.assert_close(
        layer(x.double()).float(), wanted.float(), rtol=1e-4, atol=1e-5
    )


# ------------------------------------------------------------------ gradients


def gradient_cases() -> dict[str, tuple[Callable[..., Tensor], tuple[Tensor, ...]]]:
    config = small_config("llama", n_layers=1, d_model=24, d_ff=7)
    x = torch.randn(1, 3, 24, dtype=torch.float64, requires_grad=True)
    heads = torch.randn(2, 5, 3, 4, dtype=torch.float64, requires_grad=True)
    rotation = rope_rotation(torch.arange(3), 4, 10.0, torch.float64)
    double = {
        "rmsnorm": RMSNorm(24),
        "swiglu": SwiGLU(config),
        "gelu": GeluFeedForward(dataclasses.replace(config, feed_forward="gelu")),
        "block": Block(config),
    }
    cases = {n: (randomise(m).double(), (x,)) for n, m in double.items()}
    cases["block"] = (lambda y: double["block"](y, rotation), (x,))
    cases["rope"] = (lambda y: rotate(y, rotation), (heads,))
    return cases


@pytest.mark.parametrize("part", ["rmsnorm", "swiglu", "gelu", "rope", "block"])
def test_gradients_are_those_of_the_formula(part: str) -> None:
    """A step narrowed to float32 on the way cannot pass in float64."""
    function, inputs = gradient_cases()[part]
    assert torch.autograd.gradcheck(function, inputs)


def test_every_parameter_gets_a_gradient(model: Transformer, tokens: Tensor) -> None:
    """A part that is built and never called trains nobody and costs memory."""
    model(tokens).logsumexp(-1).pow(2).mean().backward()
    for name, parameter in model.named_parameters():
        assert parameter.grad is not None, name
        assert parameter.grad.abs().max() > 0 or name.endswith("key.bias"), name


# ------------------------------------------------------------------ formats


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16])
def test_a_half_precision_model_computes_almost_the_same(
    rung: str, dtype: torch.dtype
) -> None:
    config = small_config(rung)
    tokens = random_tokens(config)
    exact = Transformer(config).eval()
    half = Transformer(config).eval()
    half.load_state_dict(exact.state_dict())
    logits = half.to(dtype)(tokens)
    assert logits.dtype == dtype
    error = (logits.float() - exact(tokens)).pow(2).mean().sqrt()
    assert error < 8 * torch.finfo(dtype).eps * exact(tokens).std()


# ------------------------------------------------------------------ the bigram


def test_a_bigram_scores_by_the_last_token_alone() -> None:
    """The floor of every comparison: it must not know more than it claims."""
    model = build(ModelConfig(kind="bigram", vocab_size=V))
    assert isinstance(model, Bigram)
    tokens = random_tokens(model.config)
    assert torch.equal(model(tokens), torch.zeros(B, T, V))  # ln V exactly
    randomise(model)
    assert torch.equal(model(tokens), model.table.weight[tokens])
    cache = KVCache.empty(model.config, B, T, model.table.weight)
    assert torch.equal(model(tokens, cache), model(tokens))
    assert cache.num_bytes == 0
    assert model.num_parameters == V * V


# ------------------------------------------------------------------ no change unseen

GOLDEN = {
    "gpt2": [-0.00410, -0.13835, 0.01200],
    "gpt2-nobias": [-0.00410, -0.13835, 0.01200],
    "rmsnorm": [-0.00484, -0.14169, 0.01137],
    "rope": [0.07767, 0.05304, -0.10180],
    "swiglu": [0.05054, 0.07017, -0.14464],
    "llama": [0.14219, -0.02082, -0.08836],
}


def test_a_refactor_changes_no_number(rung: str) -> None:
    """Three scores of a fresh model, as they were when the book was written."""
    torch.manual_seed(0)
    config = small_config(rung)
    logits = Transformer(config).eval()(torch.arange(20)[None])[0, -1, :3]
    assert logits.tolist() == pytest.approx(GOLDEN[rung], abs=2e-5)


COMPILED = """
import warnings
import torch
from minillm.config import ModelConfig
from minillm.model import Transformer

config = ModelConfig(vocab_size=11, context_length=9, n_layers=1, n_heads=2, d_model=8)
model = Transformer(config)
warnings.filterwarnings("ignore", "Guards may run slower on Python 3.13.0")
whole = torch.compile(model, backend="eager", fullgraph=True)
for rows, length in ((1, 4), (3, 5), (2, 7), (2, 1)):
    tokens = torch.randint(11, (rows, length))
    torch.testing.assert_close(whole(tokens), model(tokens))
"""


@pytest.mark.slow
def test_a_compiled_model_may_meet_any_batch_and_length() -> None:
    """PyTorch gives up on a symbol where attention wants a truth, and only warns."""
    # In a process without this one's checks of shapes, which the compiler reads too.
    done = subprocess.run([sys.executable, "-c", COMPILED], capture_output=True)
    assert (done.returncode, done.stderr.decode()[-500:]) == (0, "")
