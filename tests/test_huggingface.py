"""A folder written here opens there; one written there opens here or says why not."""

import dataclasses
import json
import os
import stat
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from models import (
    B,
    D,
    E,
    H,
    K,
    V,
    random_model,
    random_tokens,
    small_config,
)
from safetensors import safe_open
from safetensors.torch import load_file, save_file
from torch import Tensor
from transformers import AutoConfig, AutoModelForCausalLM, AutoTokenizer
from transformers.utils import logging

from minillm.config import ModelConfig
from minillm.generate import generate
from minillm.huggingface import (
    export,
    from_huggingface,
    interleaved_to_split_half,
    is_huggingface,
    load,
    split_half_to_interleaved,
    to_huggingface,
)
from minillm.model import Transformer, build, rope_rotation, rotate
from minillm.tokenizer import (
    END_OF_TEXT,
    BPETokenizer,
    ByteTokenizer,
    CharTokenizer,
    Tokenizer,
)

logging.disable_progress_bar()

TEXT = "The cat sat on the mat. It's 12 o'clock,\n\n\tand the cat   sat.  " * 9
SIGNS = "".join(sorted({*TEXT, *"é€😀\r\u2003"}))
TOKENIZERS: dict[str, Tokenizer] = {
    "chars": CharTokenizer(SIGNS),
    "bytes": ByteTokenizer(),
    "bpe": BPETokenizer.train([TEXT], 284),
    "gpt2": BPETokenizer(
        [bytes([b]) for b in reversed(range(256))] + [b"ab", b"aba", b"ba"], kind="gpt2"
    ),
}
TRAVELLERS = ("gpt2", "gpt2-nobias", "swiglu", "llama")


def small_model(rung: str, vocab_size: int = V, **changes: Any) -> Transformer:
    return random_model(
        small_config(rung, n_layers=2, vocab_size=vocab_size, **changes)
    )


# ------------------------------------------------------------------ whole folders


@torch.no_grad()
@pytest.mark.parametrize("rung", TRAVELLERS)
@pytest.mark.parametrize("tied", [True, False], ids=["tied", "untied"])
def test_an_exported_model_scores_there_as_here(
    rung: str, tied: bool, tmp_path: Path
) -> None:
    model = small_model(
        rung, vocab_size=257, tied=tied, rope_base=300.0, norm_eps=1e-3, dropout=0.1
    )
    export(model, ByteTokenizer(), tmp_path / "out")
    theirs = AutoModelForCausalLM.from_pretrained(tmp_path / "out")
    tokens = random_tokens(model.config)
    torch.testing.assert_close(
        theirs(tokens).logits, model(tokens), atol=1e-4, rtol=1e-4
    )
    theirs.save_pretrained(tmp_path / "theirs")
    for folder in ("out", "theirs"):
        back = from_huggingface(tmp_path / folder)
        assert not back.training
        assert torch.equal(back(tokens), model(tokens))


@torch.no_grad()
def test_an_exported_model_writes_there_as_here(tmp_path: Path) -> None:
    """Greedy text from a prompt in words, up to the end-of-text token."""
    model, tokenizer = small_model("llama", 284).double(), TOKENIZERS["bpe"]
    prompt = tokenizer.encode("The cat")
    free = generate(model, torch.tensor([prompt]), 30)[0].tolist()
    # Let the tenth token trade places with the end of text, so that it comes up.
    swap = model.embedding.weight[[free[len(prompt) + 9], 283]]
    model.embedding.weight[[283, free[len(prompt) + 9]]] = swap
    export(model.float(), tokenizer, tmp_path / "out")
    theirs = AutoModelForCausalLM.from_pretrained(tmp_path / "out").double()
    words = AutoTokenizer.from_pretrained(tmp_path / "out")
    asked = words("The cat", return_tensors="pt")
    wanted = theirs.generate(
        **asked, do_sample=False, max_new_tokens=30, pad_token_id=0
    )
    ours = generate(model.double(), asked["input_ids"], 30, stop_tokens=[283])
    assert torch.equal(ours, wanted)
    assert ours[0, -1] == 283
    assert ours.shape[1] < len(prompt) + 30
    assert words.decode(ours[0]) == tokenizer.decode(ours[0].tolist())


def test_an_exported_folder_is_whole_and_everyone_may_read_it(tmp_path: Path) -> None:
    """safetensors once wrote files that only their owner could open."""
    out = tmp_path / "out"
    export(small_model("llama", 257), ByteTokenizer(), out)
    assert sorted(os.listdir(tmp_path)) == ["out"]  # nothing temporary is left
    assert sorted(os.listdir(out)) == [
        "config.json",
        "generation_config.json",
        "manifest.json",
        "minillm_tokenizer.json",
        "model.safetensors",
        "tokenizer.json",
        "tokenizer_config.json",
    ]
    umask = os.umask(0)
    os.umask(umask)
    for file in out.iterdir():
        assert stat.S_IMODE(file.stat().st_mode) == 0o666 & ~umask, file
    with safe_open(out / "model.safetensors", "pt") as weights:
        assert weights.metadata() == {"format": "pt"}
        assert "lm_head.weight" not in set(weights.keys())  # tied: stored once
    with pytest.raises(ValueError, match="exists already"):
        export(small_model("llama", 257), ByteTokenizer(), out)


@torch.no_grad()
@pytest.mark.parametrize("rung", ["gpt2", "llama"])
def test_our_own_export_comes_back_with_its_tokenizer(
    rung: str, tmp_path: Path
) -> None:
    """A model that was exported could be opened by everyone but minillm."""
    model, tokenizer = small_model(rung, 257), ByteTokenizer()
    export(model, tokenizer, tmp_path / "out")
    assert is_huggingface(tmp_path / "out")
    assert not is_huggingface(tmp_path)
    loaded = load(tmp_path / "out")
    assert loaded.tokenizer.hash == tokenizer.hash
    assert loaded.config.model == loaded.model.config == model.config
    assert not loaded.model.training
    tokens = random_tokens(model.config)
    assert torch.equal(loaded.model(tokens), model.eval()(tokens))


def test_an_export_without_its_tokenizer_or_with_another_cannot_speak(
    tmp_path: Path,
) -> None:
    """Ids that mean other text come out as nonsense, and the model is blamed."""
    tokenizer = CharTokenizer("abcde")
    export(small_model("llama", 5), tokenizer, tmp_path / "out")
    path = tmp_path / "out" / "minillm_tokenizer.json"
    (tmp_path / "out" / "manifest.json").unlink()
    for other in ("abcdf", "abcdef"):
        CharTokenizer(other).save(path)
        with pytest.raises(ValueError, match=r"must be the tokenizer that the model"):
            load(tmp_path / "out")
    path.unlink()
    with pytest.raises(ValueError, match=r"out holds no minillm_tokenizer\.json"):
        load(tmp_path / "out")


@pytest.mark.parametrize(
    "name", ["config.json", "model.safetensors", "minillm_tokenizer.json"]
)
def test_an_export_that_has_changed_is_refused(name: str, tmp_path: Path) -> None:
    """One digit of a weight made another model, and nothing said so."""
    export(small_model("llama", 257), ByteTokenizer(), tmp_path / "out")
    load(tmp_path / "out")
    path = tmp_path / "out" / name
    path.write_bytes(path.read_bytes()[:-2] + b"~}")
    with pytest.raises(ValueError, match=rf"{name} differs from what was written"):
        load(tmp_path / "out")


def test_a_failed_export_leaves_nothing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Half a folder opens with weights missing."""

    def full(path: Path, tensors: dict[str, Tensor]) -> None:
        raise OSError("no space left")

    monkeypatch.setattr("minillm.huggingface.write_safetensors", full)
    with pytest.raises(OSError, match="no space left"):
        export(small_model("gpt2", 257), ByteTokenizer(), tmp_path / "out")
    assert not list(tmp_path.iterdir())


def test_a_tokenizer_of_another_model_is_not_exported(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match=r"vocab_size \(257\) must equal the model's"):
        export(small_model("gpt2"), ByteTokenizer(), tmp_path / "out")
    assert not list(tmp_path.iterdir())


# ------------------------------------------------------------------ configurations

ALTERED: dict[str, dict[str, Any]] = {
    "vocab_size": {"vocab_size": 41},
    "context_length": {"context_length": 19},
    "n_layers": {"n_layers": 3},
    "n_heads": {"n_heads": 3, "n_kv_heads": 3},
    "n_kv_heads": {"n_kv_heads": 1},
    "d_model": {"d_model": 24},
    "d_ff": {"d_ff": 45},
    "bias": {"bias": True},
    "tied": {"tied": False},
    "norm_eps": {"norm_eps": 1e-3},
    "rope_base": {"rope_base": 500_000.0},
    "dropout": {"dropout": 0.1},
}


@pytest.mark.parametrize(
    ("rung", "field"),
    [("gpt2", field) for field in ALTERED if field not in ("n_kv_heads", "rope_base")]
    + [("llama", field) for field in ALTERED],
)
def test_every_field_survives_the_journey(rung: str, field: str) -> None:
    """A wrong RoPE base or eps is no error, and shows after a thousand tokens."""
    changes = ALTERED[field]
    config = small_config(rung, **{"n_layers": 1, **changes})
    settings, tensors = to_huggingface(Transformer(config))
    assert from_huggingface((settings, tensors)).config == config
    theirs = AutoConfig.for_model(**settings)
    through_them = json.loads(theirs.to_json_string(use_diff=False))
    assert from_huggingface((through_them, tensors)).config == config
    for name, value in settings.items():  # they know each field that we write
        assert name == "rope_theta" or getattr(theirs, name) in (value, torch.float32)


def test_every_field_is_altered_above() -> None:
    fixed = {"kind", "norm", "position", "feed_forward"}
    names = {field.name for field in dataclasses.fields(ModelConfig)}
    assert {*ALTERED} == names - fixed


def test_a_model_without_biases_returns_with_biases_of_zero() -> None:
    """GPT-2 has a place for them there; the scores are the same."""
    model = small_model("gpt2-nobias")
    back = from_huggingface(to_huggingface(model))
    assert back.config == dataclasses.replace(model.config, bias=True)
    for name, parameter in back.named_parameters():
        assert name in model.state_dict() or not parameter.any()
    tokens = random_tokens(model.config)
    torch.testing.assert_close(back(tokens), model(tokens), atol=1e-5, rtol=1e-5)


@pytest.mark.parametrize(
    ("model", "message"),
    [
        (lambda: build(ModelConfig(kind="bigram", vocab_size=V)), "no bigram"),
        (lambda: small_model("rmsnorm"), r"norm \(rmsnorm\), position \(learned\)"),
        (lambda: small_model("rope"), r"position \(rope\), feed_forward \(gelu\)"),
        (
            lambda: small_model("gpt2", n_kv_heads=2),
            r"n_kv_heads \(2\) must equal n_heads \(6\): GPT-2 shares no heads",
        ),
    ],
    ids=["bigram", "rmsnorm", "rope", "shared heads"],
)
def test_a_model_without_a_counterpart_is_refused(
    model: Callable[[], Transformer], message: str, tmp_path: Path
) -> None:
    with pytest.raises(ValueError, match=message):
        to_huggingface(model())
    with pytest.raises(ValueError, match=message):
        export(model(), ByteTokenizer(), tmp_path / "out")
    assert not list(tmp_path.iterdir())


UNSUPPORTED = [
    (
        "gpt2",
        {"model_type": "mistral"},
        r"model_type \(mistral\) must be gpt2 or llama",
    ),
    ("gpt2", {"model_type": None}, r"model_type \(None\)"),
    ("gpt2", {"activation_function": "gelu"}, r"activation_function \(gelu\) must be"),
    ("gpt2", {"activation_function": "relu"}, r"activation_function \(relu\)"),
    ("gpt2", {"scale_attn_weights": False}, "scale_attn_weights"),
    ("gpt2", {"scale_attn_by_inverse_layer_idx": True}, "by_inverse_layer_idx"),
    ("gpt2", {"add_cross_attention": True}, "add_cross_attention"),
    ("gpt2", {"attn_pdrop": 0.2}, r"attn_pdrop \(0.2\) must be 0.0"),
    ("gpt2", {"embd_pdrop": 0.2}, r"embd_pdrop \(0.2\) must be 0.0"),
    ("gpt2", {"quantization_config": {"bits": 4}}, "quantization_config"),
    ("gpt2", {"n_embd": None}, "n_embd is missing"),
    ("gpt2", {"n_layer": "two"}, "n_layers .'two'. must be a whole number"),
    ("llama", {"hidden_act": "gelu"}, r"hidden_act \(gelu\) must be silu or swish"),
    ("llama", {"sliding_window": 4096}, r"sliding_window \(4096\) must be None"),
    ("llama", {"attention_bias": True}, r"mlp_bias \(False\) must be True"),
    ("llama", {"mlp_bias": True}, r"mlp_bias \(True\) must be False"),
    ("llama", {"head_dim": 32}, r"head_dim \(32\) must be 14"),
    ("llama", {"partial_rotary_factor": 0.5}, "partial_rotary_factor"),
    ("llama", {"rope_theta": 7.0}, r"rope_theta must be one of \[7.0, 10000.0\]"),
    (
        "llama",
        {"rope_scaling": {"type": "linear", "factor": 2.0}},
        r"rope_scaling must not hold type \(linear\)",
    ),
    (
        "llama",
        {"rope_parameters": {"rope_type": "yarn", "rope_theta": 1e4, "factor": 4.0}},
        r"rope_parameters must not hold rope_type \(yarn\)",
    ),
    (
        "llama",
        {"rope_parameters": {"rope_type": "default", "factor": 4.0}},
        r"rope_parameters must not hold factor \(4.0\)",
    ),
    (
        "llama",
        {"rope_parameters": {"partial_rotary_factor": 0.5}},
        r"must not hold partial_rotary_factor \(0.5\)",
    ),
    ("llama", {"vocab_size": None}, "vocab_size is missing"),
    ("llama", {"num_attention_heads": 5}, r"config\.json: d_model \(84\) must be a"),
    ("llama", {"rope_theta": []}, r"config\.json: rope_theta must be one of"),
    ("llama", {"rope_theta": "x"}, r"config\.json: rope_theta must be one of"),
    ("llama", {"rope_parameters": "x"}, r"config\.json: rope_parameters \(x\) must be"),
    ("llama", {"rope_scaling": [1]}, r"config\.json: rope_scaling \(.1.\) must be an"),
    ("gpt2", {"n_layer": 10**9}, r"a model as config\.json describes it has"),
]


@pytest.mark.parametrize(("rung", "changes", "message"), UNSUPPORTED)
def test_what_minillm_does_not_compute_is_refused_by_name(
    rung: str, changes: dict[str, Any], message: str
) -> None:
    """Read anyway, each of these gives other scores than transformers does."""
    config, tensors = to_huggingface(small_model(rung))
    with pytest.raises(ValueError, match=message):
        from_huggingface(({**config, **changes}, tensors))


def test_fields_left_out_mean_what_they_mean_there() -> None:
    """Their defaults differ between families: eps is 1e-5 here and 1e-6 there."""
    for rung, kept in (
        ("gpt2", "model_type vocab_size n_positions n_embd n_layer n_head"),
        (
            "llama",
            "model_type vocab_size max_position_embeddings hidden_size"
            " intermediate_size num_hidden_layers num_attention_heads",
        ),
    ):
        derived = {"d_ff": 4 * D} if rung == "gpt2" else {"n_kv_heads": H}
        source = small_model(rung, tied=False, **derived)
        config, tensors = to_huggingface(source)
        short = {name: config[name] for name in kept.split()}
        if rung == "gpt2":
            del tensors["lm_head.weight"]  # tied unless told otherwise; Llama is not
        found = from_huggingface((short, tensors)).config
        theirs = AutoConfig.for_model(**short)
        assert found.tied == theirs.tie_word_embeddings == (rung == "gpt2")
        eps = theirs.layer_norm_epsilon if rung == "gpt2" else theirs.rms_norm_eps
        assert found.norm_eps == eps
        assert found.dropout == (0.1 if rung == "gpt2" else 0.0)
        assert (found.d_ff, found.n_kv_heads) == (source.config.d_ff, H)
        assert found.rope_base == 10_000


def test_fields_of_transformers_4_are_understood() -> None:
    """It wrote ``rope_theta``; version 5 writes ``rope_parameters``."""
    model = small_model("llama", rope_base=300.0)
    config, tensors = to_huggingface(model)
    del config["rope_parameters"]
    config |= {"rope_scaling": None, "pretraining_tp": 1, "torch_dtype": "bfloat16"}
    assert from_huggingface((config, tensors)).config == model.config
    config, tensors = to_huggingface(small_model("gpt2"))
    config["activation_function"] = "gelu_pytorch_tanh"  # the same function
    from_huggingface((config, tensors))


# ------------------------------------------------------------------ weights


def test_files_of_the_bare_model_are_read() -> None:
    """As published: no prefix, old buffers beside the weights, a head that is tied."""
    for rung, prefix, buffer in (
        ("gpt2", "transformer.", "h.0.attn.bias"),
        ("llama", "model.", "layers.0.self_attn.rotary_emb.inv_freq"),
    ):
        model = small_model(rung)
        config, tensors = to_huggingface(model)
        bare = {name.removeprefix(prefix): t for name, t in tensors.items()}
        bare[buffer] = torch.zeros(3)
        bare["lm_head.weight"] = model.embedding.weight.detach()
        back = from_huggingface((config, bare))
        tokens = random_tokens(model.config)
        assert torch.equal(back(tokens), model(tokens))
        bare["lm_head.weight"] = bare["lm_head.weight"] + 1
        with pytest.raises(
            ValueError, match=r"lm_head.weight must equal the embedding"
        ):
            from_huggingface((config, bare))


def test_weights_that_do_not_fit_are_refused_by_name() -> None:
    """Left as they were drawn, they would make a model that is half random."""
    config, tensors = to_huggingface(small_model("gpt2", tied=False))
    name = "transformer.h.1.attn.c_attn.weight"
    without = {n: t for n, t in tensors.items() if n != name}
    with pytest.raises(ValueError, match=rf"{name} is missing"):
        from_huggingface((config, without))
    shape = rf"{name} is \[252, 84\], but must be \[84, 252\]"
    with pytest.raises(ValueError, match=shape):
        from_huggingface((config, {**tensors, name: tensors[name].T}))
    with pytest.raises(ValueError, match=r"transformer.h.2.ln_1.weight belongs to no"):
        from_huggingface((config, {**tensors, "h.2.ln_1.weight": torch.ones(D)}))
    with pytest.raises(ValueError, match=r"lm_head.weight is missing"):
        from_huggingface(
            (config, {n: t for n, t in tensors.items() if n != "lm_head.weight"})
        )


def test_weights_that_are_no_numbers_are_refused_by_name() -> None:
    """Also those that float32 has no number for."""
    for bad, dtype in ((torch.nan, torch.float32), (1e300, torch.float64)):
        foreign, tensors = to_huggingface(small_model("llama"))
        name = "model.layers.1.self_attn.q_proj.weight"
        tensors[name] = tensors[name].to(dtype)
        tensors[name][3, 4] = bad
        with pytest.raises(
            ValueError, match=r"the weights: blocks\.1\.\S+ must hold finite numbers"
        ):
            from_huggingface((foreign, tensors))


def test_half_precision_weights_are_read_as_float32() -> None:
    model = small_model("llama").bfloat16()
    carried = to_huggingface(model)
    assert carried[0]["dtype"] == "bfloat16"
    back = from_huggingface(carried)
    assert {p.dtype for p in back.parameters()} == {torch.float32}
    tokens = random_tokens(model.config)
    assert torch.equal(back(tokens), model.float()(tokens))


# ------------------------------------------------------------------ files


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    export(small_model("llama", 257), ByteTokenizer(), tmp_path / "model")
    return tmp_path / "model"


def test_a_model_in_several_files_is_read(folder: Path) -> None:
    tokens = random_tokens(small_config("llama", vocab_size=257))
    wanted = from_huggingface(folder)(tokens)
    tensors = load_file(folder / "model.safetensors")
    (folder / "model.safetensors").unlink()
    names = sorted(tensors)
    places = {name: f"part-{i % 3}.safetensors" for i, name in enumerate(names)}
    for part in set(places.values()):
        inside = {name: tensors[name] for name in names if places[name] == part}
        save_file(inside, folder / part)
    index = folder / "model.safetensors.index.json"
    index.write_text(json.dumps({"metadata": {}, "weight_map": places}))
    assert torch.equal(from_huggingface(str(folder))(tokens), wanted)

    index.write_text(json.dumps({"weight_map": {names[0]: "../elsewhere"}}))
    with pytest.raises(ValueError, match="must map names to files beside it"):
        from_huggingface(folder)


def test_a_pickle_is_never_opened(folder: Path) -> None:
    """Reading one runs whatever code its maker put into it."""
    (folder / "model.safetensors").rename(folder / "pytorch_model.bin")
    with pytest.raises(ValueError, match=r"pytorch_model.bin may be a pickle"):
        from_huggingface(folder)


def test_a_folder_without_a_model_says_what_is_missing(folder: Path) -> None:
    (folder / "model.safetensors").write_bytes(b"half a file")
    with pytest.raises(ValueError, match=r"model.safetensors is not a whole"):
        from_huggingface(folder)
    (folder / "model.safetensors").unlink()
    with pytest.raises(ValueError, match=r"holds no model.safetensors"):
        from_huggingface(folder)
    (folder / "config.json").unlink()
    with pytest.raises(ValueError, match=r"config.json does not exist"):
        from_huggingface(folder)


# ------------------------------------------------------------------ RoPE layouts


def rotate_neighbours(x: Tensor, base: float) -> Tensor:
    """Meta's rotation: coordinates 2 i and 2 i + 1 as one complex number."""
    pairs = torch.view_as_complex(x.unflatten(-1, (-1, 2)).contiguous())
    angle = torch.arange(x.shape[-2])[:, None] * base ** (
        -torch.arange(0, x.shape[-1], 2, dtype=torch.float64) / x.shape[-1]
    )
    turned = pairs * torch.polar(torch.ones_like(angle), angle)
    return torch.view_as_real(turned).flatten(-2)


def test_a_layout_is_converted_both_ways_and_must_be() -> None:
    """Unconverted weights run without error; position 0 even gives the same scores."""
    torch.set_default_dtype(torch.float64)
    try:
        x, n_tokens = torch.randn(B, 9, D), 9
        meta = {"query": torch.randn(H * E, D), "key": torch.randn(K * E, D)}
    finally:
        torch.set_default_dtype(torch.float32)
    counts = {"query": H, "key": K}
    rotation = rope_rotation(torch.arange(n_tokens), E, 100.0, torch.float64)

    def scores(weights: dict[str, Tensor], turn: Callable[[Tensor], Tensor]) -> Tensor:
        q, k = (
            turn((x @ weights[name].T).unflatten(-1, (counts[name], E)).transpose(1, 2))
            for name in ("query", "key")
        )
        return q @ k.repeat_interleave(H // K, dim=1).transpose(-1, -2)

    def ours(y: Tensor) -> Tensor:
        return rotate(y, rotation)

    def metas(y: Tensor) -> Tensor:
        return rotate_neighbours(y, 100.0)

    converted = {n: interleaved_to_split_half(w, counts[n]) for n, w in meta.items()}
    wanted = scores(meta, metas)
    torch.testing.assert_close(scores(converted, ours), wanted)
    for name, weight in converted.items():
        assert torch.equal(split_half_to_interleaved(weight, counts[name]), meta[name])
    unconverted = scores(meta, ours)
    torch.testing.assert_close(unconverted[..., 0, 0], wanted[..., 0, 0])
    off_diagonal = torch.ones(n_tokens, n_tokens).tril(-1).bool()
    assert not torch.isclose(unconverted, wanted)[..., off_diagonal].any()


def test_a_layout_is_converted_head_by_head() -> None:
    """By hand: two heads of four, and a bias as well as a matrix."""
    bias = torch.tensor([0.0, 1, 2, 3, 10, 11, 12, 13])
    halves = [0, 2, 1, 3, 10, 12, 11, 13]
    assert interleaved_to_split_half(bias, 2).tolist() == halves
    assert interleaved_to_split_half(bias[:, None], 2).flatten().tolist() == halves
    with pytest.raises(ValueError, match=r"weight \(8 rows\) must hold pairs"):
        interleaved_to_split_half(bias, 3)
    with pytest.raises(ValueError, match=r"must hold pairs for each of n_heads \(8\)"):
        split_half_to_interleaved(bias, 8)


def test_a_model_in_metas_layout_is_gibberish_until_it_is_converted() -> None:
    model = small_model("llama")
    tokens = random_tokens(model.config)
    wanted, state = model(tokens), model.state_dict()

    def with_each(convert: Callable[[Tensor, int], Tensor]) -> dict[str, Tensor]:
        heads = {"query": H, "key": K}
        return {
            name: convert(t, heads[part])
            if (part := name.split(".")[-2]) in heads
            else t.clone()
            for name, t in state.items()
        }

    meta = with_each(split_half_to_interleaved)
    model.load_state_dict(meta)
    unconverted = model(tokens)
    torch.testing.assert_close(unconverted[:, 0], wanted[:, 0])
    assert not torch.isclose(unconverted, wanted)[:, 1:].all(-1).any()
    state = model.state_dict()
    model.load_state_dict(with_each(interleaved_to_split_half))
    assert torch.equal(model(tokens), wanted)


# ------------------------------------------------------------------ tokenizers


@pytest.fixture(scope="module")
def opened(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Any]:
    """What AutoTokenizer makes of each tokenizer, beside either kind of model."""
    found = {}
    for name, tokenizer in TOKENIZERS.items():
        for rung in ("gpt2", "llama"):
            out = tmp_path_factory.mktemp("exported") / "model"
            export(small_model(rung, tokenizer.vocab_size), tokenizer, out)
            found[name, rung] = AutoTokenizer.from_pretrained(out)
    return found


@pytest.mark.parametrize("rung", ["gpt2", "llama"])
@pytest.mark.parametrize("name", TOKENIZERS)
def test_an_exported_tokenizer_says_what_ours_says(
    name: str, rung: str, opened: dict[str, Any]
) -> None:
    """Both models' own tokenizers there bring rules that ours does not have."""
    ours, theirs = TOKENIZERS[name], opened[name, rung]
    text = " The  cat's é€😀\u2003sat\n\n on\tthe mat. \r\n 12o'clock,  "
    ids = ours.encode(text)
    assert theirs(text)["input_ids"] == ids
    assert theirs.decode(ids) == text
    assert len(theirs) == ours.vocab_size
    assert theirs.eos_token_id == ours.end_of_text
    assert theirs.model_max_length == 71
    if ours.end_of_text is not None:
        assert theirs.decode([*ids, ours.end_of_text]) == text + END_OF_TEXT
        # Written out in a text it is text: nobody's prompt can end a document.
        assert theirs(END_OF_TEXT)["input_ids"] == ours.encode(END_OF_TEXT)


def test_a_character_outside_the_vocabulary_is_an_error_there_too(
    opened: dict[str, Any],
) -> None:
    """Dropped in silence, it would make another text."""
    with pytest.raises(Exception, match=r"UNK"):
        opened["chars", "llama"]("Ω")


@given(st.text("abc '1\n\t.é\u2003😀", max_size=25) | st.text(max_size=12))
@settings(deadline=None, max_examples=60)
def test_any_text_is_cut_into_the_same_tokens(
    opened: dict[str, Any], text: str
) -> None:
    """tiktoken merges whatever gives the earliest token, tokenizers a list of pairs."""
    try:
        text.encode()
    except UnicodeEncodeError:
        return
    for name in ("bytes", "bpe", "gpt2"):
        ids = TOKENIZERS[name].encode(text)
        assert opened[name, "gpt2"](text)["input_ids"] == ids
        assert opened[name, "gpt2"].decode(ids) == text
