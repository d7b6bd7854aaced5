"""The same weights give the same scores, gradients and steps in ``transformers``.

Its GPT-2 and Llama were written by other people from the same papers, and run the
models the field has trained. Their configurations are written out by hand here, and
nothing is downloaded. The rungs in between are compared with ``reference.py``.
"""

from typing import Any

import pytest
import torch
from models import (
    B,
    C,
    D,
    H,
    K,
    L,
    M,
    T,
    V,
    random_model,
    random_tokens,
    randomise,
    small_config,
)
from torch import Tensor, nn
from transformers import GPT2Config, GPT2LMHeadModel, LlamaConfig, LlamaForCausalLM

from minillm.cache import KVCache
from minillm.evaluate import next_token_loss
from minillm.huggingface import from_huggingface, to_huggingface
from minillm.model import Transformer

CASES: dict[str, dict[str, Any]] = {
    "gpt2": {},
    "gpt2-untied": {"tie_word_embeddings": False},
    "gpt2-nobias": {},
    "swiglu": {"num_key_value_heads": H},
    "llama": {},
    "llama-untied": {"tie_word_embeddings": False},
    "llama-biased": {"attention_bias": True, "mlp_bias": True},
}


def their_model(case: str) -> nn.Module:
    if case.startswith("gpt2"):
        sizes = {"n_positions": C, "n_embd": D, "n_layer": L, "n_head": H, "n_inner": M}
        off = {"resid_pdrop": 0.0, "embd_pdrop": 0.0, "attn_pdrop": 0.0}
        config = GPT2Config(
            vocab_size=V, layer_norm_epsilon=1e-3, **sizes, **off, **CASES[case]
        )
        theirs = randomise(GPT2LMHeadModel(config))
        if case == "gpt2-nobias":
            for name, parameter in theirs.named_parameters():
                if name.endswith("bias"):
                    nn.init.zeros_(parameter)
        return theirs.eval()
    settings = {
        "num_key_value_heads": K,
        "tie_word_embeddings": True,
        **CASES[case],
    }
    config = LlamaConfig(
        vocab_size=V,
        max_position_embeddings=C,
        hidden_size=D,
        num_hidden_layers=L,
        num_attention_heads=H,
        intermediate_size=M,
        rms_norm_eps=1e-3,
        rope_parameters={"rope_type": "default", "rope_theta": 300.0},
        **settings,
    )
    return randomise(LlamaForCausalLM(config)).eval()


def as_ours(theirs: nn.Module, tensors: dict[str, Tensor], case: str) -> Transformer:
    """A model of ours that holds ``tensors``, theirs by name."""
    ours = from_huggingface((theirs.config.to_dict(), tensors))
    if case != "gpt2-nobias":
        return ours
    state = {n: t for n, t in ours.state_dict().items() if not n.endswith("bias")}
    config = small_config("gpt2-nobias", norm_eps=theirs.config.layer_norm_epsilon)
    bare = Transformer(config).eval()
    bare.load_state_dict(state)
    return bare


@pytest.fixture(params=CASES)
def case(request: pytest.FixtureRequest) -> str:
    return request.param


@pytest.fixture
def pair(case: str) -> tuple[nn.Module, Transformer]:
    """Theirs and ours. GPT-2 in float64; their Llama narrows to float32 on the way."""
    theirs = their_model(case)
    ours = as_ours(theirs, theirs.state_dict(), case)
    if case.startswith("gpt2"):
        theirs.double()
        ours.double()
    return theirs, ours


def check(found: Tensor, wanted: Tensor) -> None:
    exact = {"atol": 1e-9, "rtol": 1e-9} if wanted.dtype == torch.float64 else {}
    torch.testing.assert_close(found, wanted, **exact or {"atol": 1e-4, "rtol": 1e-4})


@torch.no_grad()
def test_scores_are_theirs(pair: tuple[nn.Module, Transformer]) -> None:
    theirs, ours = pair
    tokens = random_tokens(ours.config)
    wanted = theirs(tokens).logits
    assert wanted.std() > 0.5
    check(ours(tokens), wanted)


@torch.no_grad()
@pytest.mark.parametrize("n_kv_heads", [1, 2, 3, 6])
def test_scores_are_theirs_however_many_heads_are_shared(
    n_kv_heads: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(CASES, "llama", {"num_key_value_heads": n_kv_heads})
    theirs = their_model("llama")
    ours = from_huggingface((theirs.config.to_dict(), theirs.state_dict()))
    assert ours.config.n_kv_heads == n_kv_heads
    tokens = random_tokens(ours.config)
    check(ours(tokens), theirs(tokens).logits)


@torch.no_grad()
def test_scores_from_a_cache_are_theirs(pair: tuple[nn.Module, Transformer]) -> None:
    """Read at once there; here in uneven pieces, and then one by one."""
    theirs, ours = pair
    chunks = [9, 1, 30, 2, *[1] * 25]
    tokens = random_tokens(ours.config)
    cache = KVCache.empty(ours.config, B, T, ours.embedding.weight)
    pieces = [ours(piece, cache) for piece in tokens.split(chunks, dim=1)]
    check(torch.cat(pieces, dim=1), theirs(tokens).logits)


@torch.no_grad()
def test_scores_behind_pads_are_theirs(pair: tuple[nn.Module, Transformer]) -> None:
    """They take a mask and positions, we a number of pads."""
    theirs, ours = pair
    tokens, padding = random_tokens(ours.config), torch.tensor([5, 0, 31, 66])
    text = torch.arange(T) >= padding[:, None]
    wanted = theirs(
        tokens,
        attention_mask=text.long(),
        position_ids=(text.cumsum(1) - 1).clamp(min=0),
    ).logits
    cache = KVCache.empty(ours.config, B, T, ours.embedding.weight, padding)
    check(ours(tokens, cache)[text], wanted[text])


def test_gradients_and_a_step_are_theirs(
    pair: tuple[nn.Module, Transformer], case: str
) -> None:
    """The backward pass, a tied embedding's two roles, and what AdamW makes of it.

    ``eps`` is large: a gradient that is zero but for rounding would be amplified.
    """
    theirs, ours = pair
    tokens = random_tokens(ours.config)
    inputs, targets = tokens[:, :-1], tokens[:, 1:]
    loss = next_token_loss(ours(inputs), targets)
    # their own loss narrows to float32, so that its gradients would be compared in it
    torch.testing.assert_close(loss.float(), theirs(tokens, labels=tokens).loss.float())
    loss.backward()
    next_token_loss(theirs(inputs).logits, targets).backward()
    # both return through float32; Llama is computed in it
    exact = loss.dtype == torch.float64
    close = {"atol": 1e-6 if exact else 5e-5, "rtol": 1e-5 if exact else 5e-4}
    gradients = {name: p.grad for name, p in theirs.named_parameters()}
    wanted = as_ours(theirs, gradients, case).state_dict()
    found = dict(ours.named_parameters())
    assert found.keys() == wanted.keys()
    for name, parameter in found.items():
        torch.testing.assert_close(parameter.grad.float(), wanted[name], **close)

    for model in (theirs, ours):
        optimizer = torch.optim.AdamW(
            model.parameters(), lr=0.1, eps=1e-2, weight_decay=0.1
        )
        optimizer.step()
    wanted = as_ours(theirs, theirs.state_dict(), case).state_dict()
    for name, parameter in ours.named_parameters():
        torch.testing.assert_close(parameter.float(), wanted[name], **close)


@torch.no_grad()
@pytest.mark.parametrize("rung", ["gpt2", "gpt2-nobias", "swiglu", "llama"])
@pytest.mark.parametrize("tied", [True, False], ids=["tied", "untied"])
def test_their_scores_are_ours(rung: str, tied: bool) -> None:
    """The other direction: our model, our names, in a model that they build."""
    ours = random_model(small_config(rung, tied=tied, norm_eps=1e-3, rope_base=300.0))
    settings, tensors = to_huggingface(ours)
    kind = {"gpt2": GPT2LMHeadModel, "llama": LlamaForCausalLM}[settings["model_type"]]
    theirs = kind(kind.config_class(**settings)).eval()
    missing, unexpected = theirs.load_state_dict(tensors, strict=False)
    assert missing == (["lm_head.weight"] if tied else [])
    assert unexpected == []
    tokens = random_tokens(ours.config)
    check(theirs(tokens).logits, ours(tokens))
