"""How do models travel to and from Hugging Face's ``transformers``?

A model's weights have the same meaning there under other names, and a folder of a few
files holds them: ``config.json``, ``generation_config.json``, ``model.safetensors``,
``tokenizer.json`` and ``tokenizer_config.json``. All are written here, and the model is
read, without ``transformers`` itself. Version 5 reads ``rope_parameters``, version 4
``rope_theta``; both are written. Beside them lie ``minillm_tokenizer.json``, so that
minillm reads its own export as it was, and ``manifest.json`` with a SHA-256 of each
file, so that it notices a change; ``transformers`` reads neither.

Of the ladder, ``gpt2`` and ``gpt2-nobias`` (with biases of zero) become a
``GPT2LMHeadModel``, ``swiglu`` and ``llama`` a ``LlamaForCausalLM``. The bigram and the
rungs in between have no counterpart.
"""

import re
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any, Literal

import torch
from jaxtyping import Float
from torch import Tensor

from minillm import tokenizer as tokenizers
from minillm.checkpoint import (
    PICKLE_REFUSED,
    PICKLES,
    TOKENIZER_NOTE,
    Checkpoint,
    build_empty,
    read_safetensors,
    require_enough,
    require_finite,
    write_safetensors,
)
from minillm.config import ModelConfig, RunConfig
from minillm.files import new_folder, read_json, write_json
from minillm.model import LanguageModel
from minillm.run import MANIFEST, check_manifest, write_manifest
from minillm.tokenizer import (
    END_OF_TEXT,
    PRINTABLE_SIGNS,
    BPETokenizer,
    CharTokenizer,
    Tokenizer,
)

ModelType = Literal["gpt2", "llama"]
"""The two of ``transformers``' kinds of model that the ladder reaches."""

PARTS: dict[ModelType, dict[str, str]] = {
    "gpt2": {"norm": "layernorm", "position": "learned", "feed_forward": "gelu"},
    "llama": {"norm": "rmsnorm", "position": "rope", "feed_forward": "swiglu"},
}
"""What each kind is made of, in our words."""

NAMES: dict[ModelType, dict[str, str]] = {
    "gpt2": {
        "embedding": "transformer.wte",
        "position": "transformer.wpe",
        "blocks": "transformer.h",
        "attention_norm": "ln_1",
        "attention.query": "attn.c_attn",  # three matrices in one
        "attention.key": "attn.c_attn",
        "attention.value": "attn.c_attn",
        "attention.out": "attn.c_proj",
        "feed_forward_norm": "ln_2",
        "feed_forward.up": "mlp.c_fc",
        "feed_forward.down": "mlp.c_proj",
        "norm": "transformer.ln_f",
        "head": "lm_head",
    },
    "llama": {
        "embedding": "model.embed_tokens",
        "blocks": "model.layers",
        "attention_norm": "input_layernorm",
        "attention.query": "self_attn.q_proj",
        "attention.key": "self_attn.k_proj",
        "attention.value": "self_attn.v_proj",
        "attention.out": "self_attn.o_proj",
        "feed_forward_norm": "post_attention_layernorm",
        "feed_forward.gate": "mlp.gate_proj",
        "feed_forward.up": "mlp.up_proj",
        "feed_forward.down": "mlp.down_proj",
        "norm": "model.norm",
        "head": "lm_head",
    },
}
"""Our name of each part, and theirs."""

FUSED = ("query", "key", "value")
"""GPT-2 keeps these side by side in one matrix, in this order."""

OWN_TOKENIZER = "minillm_tokenizer.json"
"""The tokenizer in our own words, in a folder that is otherwise in theirs."""

BUFFERS = (".attn.bias", ".attn.masked_bias", ".rotary_emb.inv_freq")
"""Tables that old files hold beside the weights; they follow from the configuration."""


# ------------------------------------------------------------------ models


def to_huggingface(model: LanguageModel) -> tuple[dict[str, Any], dict[str, Tensor]]:
    """The model as the content of ``config.json`` and of ``model.safetensors``.

    As in a ``state_dict``, the tensors may be the model's own, not copies.

    Dropout acts in training only, and there ``transformers``' Llama knows less of it:
    it drops attention shares, but nothing of the residual stream.

    Raises:
        ValueError: ``transformers`` has no such model.
    """
    config = model.config
    model_type = _model_type(config)
    biased = replace(config, bias=True) if model_type == "gpt2" else config
    own, theirs = model.state_dict(), dict[str, Tensor]()
    dtype = own["embedding.weight"].dtype
    for name, expected in build_empty(biased).state_dict().items():
        tensor = own.get(name)
        if tensor is None:  # a rung without biases
            tensor = torch.zeros_like(expected, dtype=dtype)
        if _is_transposed(name, model_type):
            tensor = tensor.T
        their_name = _their_name(name, model_type)
        if their_name in theirs:
            tensor = torch.cat([theirs[their_name], tensor], dim=-1)
        theirs[their_name] = tensor.detach().cpu().contiguous()
    written = _write_config(config, model_type)
    return {**written, "dtype": str(dtype).removeprefix("torch.")}, theirs


def from_huggingface(
    source: Path | str | tuple[Mapping[str, Any], Mapping[str, Tensor]],
) -> LanguageModel:
    """Build the model that ``transformers`` would, in float32 and evaluation mode.

    Llama's queries and keys must be in Hugging Face's split-half layout, as all files
    made for ``transformers`` are; see :func:`interleaved_to_split_half` for Meta's.

    Args:
        source: a folder with ``config.json`` and ``model.safetensors`` (or its parts
            and their index), or the content of the two.

    Raises:
        ValueError: a file is missing, damaged or a pickle; a field of the configuration
            asks for something that minillm does not compute; weights and configuration
            do not fit each other; or a weight is not finite.
    """
    if isinstance(source, tuple):
        foreign, tensors = source
    else:
        folder = Path(source)
        foreign, tensors = read_json(folder / "config.json"), _read_weights(folder)
    try:
        return _converted(foreign, tensors)
    except ValueError as error:
        where = "" if isinstance(source, tuple) else f"{source}: "
        raise ValueError(f"{where}{error}") from None


def _converted(
    foreign: Mapping[str, Any], tensors: Mapping[str, Tensor]
) -> LanguageModel:
    try:
        config = _read_config(foreign)
    except ValueError as error:
        raise ValueError(f"config.json: {error}") from None
    model_type = _model_type(config)
    theirs = {
        _full_name(name, model_type): tensor
        for name, tensor in tensors.items()
        if not name.endswith(BUFFERS)
    }
    require_enough(theirs, config, Path("model.safetensors"))
    model = build_empty(config)
    own, used = model.state_dict(), set()
    for name, expected in own.items():
        their_name = _their_name(name, model_type)
        if their_name not in theirs:
            raise ValueError(f"{their_name} is missing from the weights")
        used.add(their_name)
        tensor, shape = theirs[their_name], list(expected.shape)
        transposed, part = _is_transposed(name, model_type), name.split(".")[-2]
        fused = model_type == "gpt2" and part in FUSED
        if transposed:
            shape.reverse()
        if fused:
            shape[-1] *= len(FUSED)
        if list(tensor.shape) != shape:
            raise ValueError(
                f"{their_name} is {list(tensor.shape)}, but must be {shape}"
            )
        if fused:
            tensor = tensor.chunk(len(FUSED), dim=-1)[FUSED.index(part)]
        own[name] = tensor.T if transposed else tensor
    if config.tied and "lm_head.weight" in theirs:
        used.add("lm_head.weight")
        if not torch.equal(theirs["lm_head.weight"], own["embedding.weight"]):
            raise ValueError(
                "lm_head.weight must equal the embedding: tie_word_embeddings is true"
            )
    if unknown := sorted(theirs.keys() - used):
        raise ValueError(
            f"{unknown[0]} belongs to no part of the model that config.json describes"
        )
    model.load_state_dict(own)
    require_finite(model.state_dict(), "the weights")
    return model.eval()


def interleaved_to_split_half(
    weight: Float[Tensor, "rows ..."], n_heads: int
) -> Float[Tensor, "rows ..."]:
    """Reorder a query or key matrix (or bias) from Meta's RoPE layout to ours.

    Meta's code, and the paper, rotate neighbours: coordinates 0 and 1 of a head, then 2
    and 3. Hugging Face and minillm rotate 0 and E/2, then 1 and E/2 + 1. A model gives
    the same scores under either convention if the rows of its matrices stand in the
    matching order, and gibberish without any error if they do not.

    Args:
        weight: as many rows as ``n_heads`` heads have coordinates.
        n_heads: ``n_kv_heads`` for a key matrix.

    Raises:
        ValueError: the rows cannot be divided into heads of pairs.
    """
    _require_pairs(weight, n_heads)
    pairs = weight.reshape(n_heads, -1, 2, *weight.shape[1:])  # (heads, E/2, 2, ...)
    return pairs.transpose(1, 2).reshape(weight.shape)


def split_half_to_interleaved(
    weight: Float[Tensor, "rows ..."], n_heads: int
) -> Float[Tensor, "rows ..."]:
    """Undo :func:`interleaved_to_split_half`."""
    _require_pairs(weight, n_heads)
    halves = weight.reshape(n_heads, 2, -1, *weight.shape[1:])  # (heads, 2, E/2, ...)
    return halves.transpose(1, 2).reshape(weight.shape)


# ------------------------------------------------------------------ folders


def export(model: LanguageModel, tokenizer: Tokenizer, folder: Path) -> None:
    """Write a folder that ``AutoModelForCausalLM`` and ``AutoTokenizer`` open.

    They give the same scores and the same ids. Ids of characters outside a character
    vocabulary do not exist there either: encoding them fails.

    Raises:
        ValueError: ``transformers`` has no such model, the tokenizer is another
            model's, or ``folder`` exists.
    """
    config, tensors = to_huggingface(model)
    if tokenizer.vocab_size != model.config.vocab_size:
        raise ValueError(
            f"the tokenizer's vocab_size ({tokenizer.vocab_size}) must equal the"
            f" model's ({model.config.vocab_size})"
        )
    ends = {
        "bos_token_id": tokenizer.end_of_text,
        "eos_token_id": tokenizer.end_of_text,
    }
    settings: dict[str, Any] = {
        "tokenizer_class": "PreTrainedTokenizerFast",
        "model_max_length": model.config.context_length,
        "clean_up_tokenization_spaces": False,
        "split_special_tokens": True,  # nobody's text can end a document
    }
    if tokenizer.end_of_text is not None:
        settings |= {"bos_token": END_OF_TEXT, "eos_token": END_OF_TEXT}
    with new_folder(folder) as temporary:
        note = {f"minillm_{TOKENIZER_NOTE}": tokenizer.hash}
        write_json(temporary / "config.json", {**config, **ends, **note})
        write_json(temporary / "generation_config.json", ends)
        write_safetensors(temporary / "model.safetensors", tensors)
        write_json(temporary / "tokenizer.json", _describe_tokenizer(tokenizer))
        write_json(temporary / "tokenizer_config.json", settings)
        tokenizer.save(temporary / OWN_TOKENIZER)
        write_manifest(temporary)


def is_huggingface(folder: Path) -> bool:
    """Whether a folder's ``config.json`` is one of ``transformers``'."""
    try:
        return "model_type" in read_json(folder / "config.json")
    except ValueError:
        return False


def load(folder: Path, device: str = "cpu") -> Checkpoint:
    """Read a folder that :func:`export` wrote, in evaluation mode.

    A model that others published opens with :func:`from_huggingface`; it has no
    tokenizer that minillm reads, and so it cannot speak here.

    Args:
        folder: what ``export`` has made.
        device: where the parameters go.

    Raises:
        ValueError: as :func:`from_huggingface`; or our tokenizer is missing, damaged or
            another model's.
    """
    path = folder / OWN_TOKENIZER
    if not path.is_file():
        raise ValueError(
            f"{folder} holds no {OWN_TOKENIZER}, which minillm export writes beside the"
            " weights: without it, text cannot be read or written"
        )
    if (folder / MANIFEST).exists():
        check_manifest(folder)
    tokenizer, model = tokenizers.load(path), from_huggingface(folder)
    noted = read_json(folder / "config.json").get(f"minillm_{TOKENIZER_NOTE}")
    if tokenizer.vocab_size != model.config.vocab_size or (
        noted not in (None, tokenizer.hash)
    ):
        raise ValueError(
            f"{path} must be the tokenizer that the model was trained with"
        )
    return Checkpoint(
        RunConfig(model=model.config), model.to(device), tokenizer, folder
    )


def _read_weights(folder: Path) -> dict[str, Tensor]:
    whole, index = "model.safetensors", "model.safetensors.index.json"
    if (folder / whole).is_file():
        return read_safetensors(folder / whole)
    if (folder / index).is_file():
        parts = read_json(folder / index).get("weight_map")
        if not isinstance(parts, dict) or not all(
            isinstance(part, str) and Path(part).name == part for part in parts.values()
        ):
            raise ValueError(f"{folder / index} must map names to files beside it")
        tensors: dict[str, Tensor] = {}
        for part in sorted(set(parts.values())):
            tensors |= read_safetensors(folder / part)
        return tensors
    for file in sorted(folder.iterdir()):
        if file.suffix in PICKLES:
            raise ValueError(PICKLE_REFUSED.format(file))
    raise ValueError(f"{folder} holds no {whole}")


# ------------------------------------------------------------------ names


def _model_type(config: ModelConfig) -> ModelType:
    if config.kind == "bigram":
        raise ValueError(
            "kind (bigram) must be transformer: transformers has no bigram"
        )
    parts = {name: getattr(config, name) for name in PARTS["gpt2"]}
    for model_type, wanted in PARTS.items():
        if parts == wanted:
            if model_type == "gpt2" and config.n_kv_heads != config.n_heads:
                raise ValueError(
                    f"n_kv_heads ({config.n_kv_heads}) must equal n_heads"
                    f" ({config.n_heads}): GPT-2 shares no heads"
                )
            return model_type
    described = ", ".join(f"{name} ({value})" for name, value in parts.items())
    raise ValueError(
        f"{described} must be all of GPT-2's or all of Llama's: transformers has no"
        " model in between"
    )


def _their_name(name: str, model_type: ModelType) -> str:
    names = NAMES[model_type]
    part, _, kind = name.rpartition(".")
    if match := re.fullmatch(r"blocks\.(\d+)\.(.+)", part):
        return f"{names['blocks']}.{match[1]}.{names[match[2]]}.{kind}"
    return f"{names[part]}.{kind}"


def _full_name(name: str, model_type: ModelType) -> str:
    """Published files of the bare model leave the first part of each name out."""
    prefix = NAMES[model_type]["blocks"].partition(".")[0] + "."
    return name if name.startswith((prefix, "lm_head.")) else prefix + name


def _is_transposed(name: str, model_type: ModelType) -> bool:
    """GPT-2's blocks multiply from the other side: their matrices are (in, out)."""
    in_block = re.fullmatch(r"blocks\.\d+\.(attention|feed_forward)\..+\.weight", name)
    return model_type == "gpt2" and in_block is not None


def _require_pairs(weight: Tensor, n_heads: int) -> None:
    if len(weight) % (2 * n_heads):
        raise ValueError(
            f"weight ({len(weight)} rows) must hold pairs for each of n_heads"
            f" ({n_heads})"
        )


# ------------------------------------------------------------------ configurations


def _write_config(config: ModelConfig, model_type: ModelType) -> dict[str, Any]:
    common = {
        "model_type": model_type,
        "vocab_size": config.vocab_size,
        "tie_word_embeddings": config.tied,
        "bos_token_id": None,
        "eos_token_id": None,
    }
    if model_type == "gpt2":
        return {
            **common,
            "architectures": ["GPT2LMHeadModel"],
            "n_positions": config.context_length,
            "n_embd": config.d_model,
            "n_layer": config.n_layers,
            "n_head": config.n_heads,
            "n_inner": config.d_ff,
            "activation_function": "gelu_new",
            "layer_norm_epsilon": config.norm_eps,
            "resid_pdrop": config.dropout,
            "embd_pdrop": config.dropout,
            "attn_pdrop": config.dropout,
        }
    return {
        **common,
        "architectures": ["LlamaForCausalLM"],
        "max_position_embeddings": config.context_length,
        "hidden_size": config.d_model,
        "num_hidden_layers": config.n_layers,
        "num_attention_heads": config.n_heads,
        "num_key_value_heads": config.n_kv_heads,
        "head_dim": config.d_head,
        "intermediate_size": config.d_ff,
        "hidden_act": "silu",
        "attention_bias": config.bias,
        "mlp_bias": config.bias,
        "rms_norm_eps": config.norm_eps,
        "rope_theta": config.rope_base,  # transformers 4
        "rope_parameters": {"rope_type": "default", "rope_theta": config.rope_base},
        "attention_dropout": config.dropout,
    }


def _read_config(foreign: Mapping[str, Any]) -> ModelConfig:
    """Our configuration, or the name of the field that we have no word for."""

    def need(name: str, *allowed: Any, default: Any = None) -> Any:
        value = foreign.get(name, default)
        if allowed and value not in allowed:
            choices = " or ".join(map(str, allowed))
            raise ValueError(f"{name} ({value}) must be {choices}")
        if value is None and None not in allowed:
            raise ValueError(f"{name} is missing")
        return value

    model_type: ModelType = need("model_type", "gpt2", "llama")
    need("quantization_config", None)
    common = {"vocab_size": need("vocab_size"), **PARTS[model_type]}
    if model_type == "gpt2":
        need("activation_function", "gelu_new", "gelu_pytorch_tanh", default="gelu_new")
        need("scale_attn_weights", True, default=True)
        need("scale_attn_by_inverse_layer_idx", False, default=False)
        need("add_cross_attention", False, default=False)
        dropout = need("resid_pdrop", default=0.1)
        need("embd_pdrop", dropout, default=0.1)
        need("attn_pdrop", dropout, default=0.1)
        return ModelConfig(
            **common,
            context_length=need("n_positions"),
            n_layers=need("n_layer"),
            n_heads=need("n_head"),
            d_model=need("n_embd"),
            d_ff=foreign.get("n_inner") or 0,
            bias=True,
            tied=need("tie_word_embeddings", True, False, default=True),
            norm_eps=need("layer_norm_epsilon", default=1e-5),
            dropout=dropout,
        )
    need("hidden_act", "silu", "swish", default="silu")
    need("sliding_window", None)
    need("partial_rotary_factor", 1, default=1)
    bias = need("attention_bias", True, False, default=False)
    need("mlp_bias", bias, default=False)
    config = ModelConfig(
        **common,
        context_length=need("max_position_embeddings"),
        n_layers=need("num_hidden_layers"),
        n_heads=need("num_attention_heads"),
        n_kv_heads=foreign.get("num_key_value_heads") or 0,
        d_model=need("hidden_size"),
        d_ff=need("intermediate_size"),
        bias=bias,
        tied=need("tie_word_embeddings", True, False, default=False),
        norm_eps=need("rms_norm_eps", default=1e-6),
        rope_base=_read_rope_base(foreign),
        dropout=need("attention_dropout", default=0.0),
    )
    need("head_dim", config.d_head, None)
    return config


def _read_rope_base(foreign: Mapping[str, Any]) -> Any:
    """The base of a RoPE that is not stretched in any way."""
    unstretched = {
        "rope_type": "default",
        "type": "default",
        "partial_rotary_factor": 1,
    }
    bases = [foreign.get("rope_theta")]
    for where in ("rope_scaling", "rope_parameters"):  # transformers 4, 5
        parameters = foreign.get(where) or {}
        if not isinstance(parameters, dict):
            raise ValueError(f"{where} ({parameters}) must be an object")
        for name, value in parameters.items():
            if name == "rope_theta":
                bases.append(value)
            elif value is not None and value != unstretched.get(name):
                raise ValueError(
                    f"{where} must not hold {name} ({value}): minillm stretches no RoPE"
                )
    found = [base for base in bases if base is not None]
    if any(base != found[0] for base in found):
        raise ValueError(f"rope_theta must be one of {found}")
    return found[0] if found else 10_000.0


# ------------------------------------------------------------------ tokenizers


def _describe_tokenizer(tokenizer: Tokenizer) -> dict[str, Any]:
    """The tokenizer in the words of the ``tokenizers`` library."""
    if isinstance(tokenizer, CharTokenizer):
        vocabulary = {sign: id_ for id_, sign in enumerate(tokenizer.characters)}
        # No unknown token is in the vocabulary: an unknown character is an error.
        model: dict[str, Any] = {
            "type": "WordLevel",
            "vocab": vocabulary,
            "unk_token": "",
        }
        each_character = {"Regex": r"[\s\S]"}
        splitter: dict[str, Any] = {
            "type": "Split",
            "pattern": each_character,
            "behavior": "Isolated",
            "invert": False,
        }
        decoder: dict[str, Any] = {"type": "Fuse"}
    else:
        byte_level = {
            "type": "ByteLevel",
            "add_prefix_space": False,
            "trim_offsets": False,
            "use_regex": True,  # the library's own rule is GPT-2's
        }
        splitter = decoder = byte_level
        tokens = [bytes([value]) for value in range(256)]
        if isinstance(tokenizer, BPETokenizer):
            tokens = list(tokenizer.tokens[:-1])
        model = {
            "type": "BPE",
            # without the end of text: written out in a text, it is text
            "vocab": {_show(token): id_ for id_, token in enumerate(tokens)},
            "merges": _merges(tokens),
            "ignore_merges": True,  # a word that is a token is that token
        }
    added = []
    if tokenizer.end_of_text is not None:
        added.append(
            {
                "id": tokenizer.end_of_text,
                "content": END_OF_TEXT,
                "special": True,
                "normalized": False,
                "single_word": False,
                "lstrip": False,
                "rstrip": False,
            }
        )
    return {
        "version": "1.0",
        "added_tokens": added,
        "normalizer": None,
        "pre_tokenizer": splitter,
        "post_processor": None,
        "decoder": decoder,
        "model": model,
    }


def _merges(tokens: list[bytes]) -> list[str]:
    """Every way to make a token from two others, the earliest token first.

    tiktoken merges whichever neighbours give the earliest token; ``tokenizers`` needs
    each such pair written out.
    """
    known = set(tokens)
    return [
        f"{_show(token[:cut])} {_show(token[cut:])}"
        for token in tokens
        for cut in range(1, len(token))
        if token[:cut] in known and token[cut:] in known
    ]


def _show(token: bytes) -> str:
    """Each byte as one printable character, in GPT-2's way."""
    return "".join(PRINTABLE_SIGNS[b] for b in token)
