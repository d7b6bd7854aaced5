"""What was asked for? A run as frozen dataclasses, read from TOML, checked when built.

Nothing here computes and nothing imports PyTorch. A configuration is data: it can be
compared, hashed, printed and stored beside a checkpoint, and it cannot change once it
exists.
"""

import dataclasses
import hashlib
import json
import math
import tomllib
import types
import typing
from dataclasses import dataclass, field
from importlib import resources
from pathlib import Path
from typing import Any, Literal, TypeVar

from minillm.files import read_description

Config = TypeVar("Config")


@dataclass(frozen=True, kw_only=True)
class ModelConfig:
    """The shape of a language model: a bigram table or a decoder-only Transformer.

    ``n_`` counts things, ``d_`` measures a width. ``norm``, ``position``,
    ``feed_forward``, ``bias`` and ``n_kv_heads`` are the steps of the book's ladder
    from GPT-2 to Llama.

    Raises:
        ValueError: a size is not positive, or two sizes do not fit each other.
    """

    kind: Literal["bigram", "transformer"] = "transformer"
    vocab_size: int = 0
    """Number of distinct tokens; 0 means: take it from the prepared corpus."""
    context_length: int = 128
    """Longest sequence the model reads, in tokens."""
    n_layers: int = 4
    n_heads: int = 6
    n_kv_heads: int = 0
    """Key/value heads; 0 means n_heads, ordinary multi-head attention."""
    d_model: int = 192
    """Width of the residual stream."""
    d_ff: int = 0
    """Width inside the feed-forward network; 0 means 4 d_model for gelu and
    8/3 d_model, rounded down, for swiglu: the same number of parameters."""
    norm: Literal["layernorm", "rmsnorm"] = "rmsnorm"
    position: Literal["learned", "rope"] = "rope"
    feed_forward: Literal["gelu", "swiglu"] = "swiglu"
    bias: bool = False
    """Whether the blocks' matrices and LayerNorms carry a bias. RMSNorm has none."""
    tied: bool = True
    """Whether the output head is the embedding matrix itself."""
    norm_eps: float = 1e-5
    """Added to the variance or mean square before the root."""
    rope_base: float = 10_000.0
    """The slowest pair turns by about 1/rope_base radians per position."""
    dropout: float = 0.0

    @property
    def d_head(self) -> int:
        """Width of one attention head."""
        return self.d_model // self.n_heads

    def __post_init__(self) -> None:
        _check_types(self)
        for name in ("vocab_size", "n_kv_heads", "d_ff"):
            if getattr(self, name) < 0:
                raise ValueError(f"{name} ({getattr(self, name)}) must not be negative")
        _check_positive(
            self,
            "context_length",
            "n_layers",
            "n_heads",
            "d_model",
            "norm_eps",
            "rope_base",
        )
        if not 0 <= self.dropout < 1:
            raise ValueError(f"dropout ({self.dropout}) must be in [0, 1)")
        if self.d_model % self.n_heads:
            raise ValueError(
                f"d_model ({self.d_model}) must be a multiple of"
                f" n_heads ({self.n_heads})"
            )
        # Zeros are resolved here once, so that every reader meets a real number.
        object.__setattr__(self, "n_kv_heads", self.n_kv_heads or self.n_heads)
        if self.d_ff == 0:
            gated = self.feed_forward == "swiglu"
            width = 8 * self.d_model // 3 if gated else 4 * self.d_model
            object.__setattr__(self, "d_ff", width)
        if self.n_heads % self.n_kv_heads:
            raise ValueError(
                f"n_heads ({self.n_heads}) must be a multiple of"
                f" n_kv_heads ({self.n_kv_heads})"
            )
        if self.kind == "transformer" and self.position == "rope" and self.d_head % 2:
            raise ValueError(
                f"d_head ({self.d_head}) must be even: RoPE rotates pairs"
                f" (d_model {self.d_model} / n_heads {self.n_heads})"
            )


@dataclass(frozen=True, kw_only=True)
class DataConfig:
    """Which prepared corpus a run reads."""

    directory: Path = Path("data/shakespeare")
    """Folder made by ``minillm prepare``."""

    def __post_init__(self) -> None:
        _check_types(self)


@dataclass(frozen=True, kw_only=True)
class TrainConfig:
    """How long, how fast and how carefully a model is trained.

    Raises:
        ValueError: a number lies outside its range, or two do not fit each other.
    """

    steps: int = 1_000
    """Optimiser steps."""
    batch_size: int = 16
    """Sequences per micro-batch, counted over all processes together."""
    accumulate: int = 1
    """Micro-batches per optimiser step."""
    optimizer: Literal["adamw", "muon"] = "adamw"
    """``muon`` moves the matrices of the blocks by Muon and the rest by AdamW."""
    learning_rate: float = 3e-3
    """Peak rate of AdamW."""
    min_learning_rate: float = 3e-4
    """Rate at the last step, for a peak of ``learning_rate``."""
    muon_learning_rate: float = 2e-2
    """Peak rate of Muon; follows the same schedule."""
    muon_momentum: float = 0.95
    """How much of its last direction Muon keeps at each step."""
    muon_newton_schulz_steps: int = 5
    """Iterations by which Muon makes an update orthogonal; each costs three products of
    matrices for every matrix."""
    schedule: Literal["cosine", "linear", "wsd"] = "cosine"
    """How the rate falls after the warm-up: along half a cosine, on a straight line, or
    (``wsd``) not before the last ``decay_steps``."""
    warmup_steps: int = 100
    decay_steps: int = 0
    """Length of the decay of ``wsd``; 0 means a fifth of ``steps``."""
    weight_decay: float = 0.1
    beta1: float = 0.9
    beta2: float = 0.95
    grad_clip: float = 1.0
    """Largest norm of the gradient; longer ones are scaled down to it."""
    precision: Literal["float32", "bfloat16", "float16"] = "float32"
    compile: bool = False
    """Whether the model is compiled by torch.compile."""
    device: str = "auto"
    """``auto``, ``cpu``, ``cuda``, ``cuda:1``, ``mps``."""
    seed: int = 0
    log_every: int = 10
    """Steps between two rows of training loss."""
    eval_every: int = 250
    """Steps between two passes over the validation split."""
    checkpoint_every: int = 250
    """Steps between two checkpoints."""

    def __post_init__(self) -> None:
        _check_types(self)
        _check_positive(
            self,
            "steps",
            "batch_size",
            "accumulate",
            "learning_rate",
            "muon_learning_rate",
            "muon_newton_schulz_steps",
            "grad_clip",
            "log_every",
            "eval_every",
            "checkpoint_every",
        )
        if not 0 <= self.warmup_steps < self.steps:
            raise ValueError(
                f"warmup_steps ({self.warmup_steps}) must be in [0, steps={self.steps})"
            )
        if not 0 <= self.decay_steps <= self.steps - self.warmup_steps:
            raise ValueError(
                f"decay_steps ({self.decay_steps}) must be in"
                f" [0, steps - warmup_steps={self.steps - self.warmup_steps}]"
            )
        if not 0 <= self.min_learning_rate <= self.learning_rate:
            raise ValueError(
                f"min_learning_rate ({self.min_learning_rate}) must be in"
                f" [0, learning_rate={self.learning_rate}]"
            )
        for name in ("beta1", "beta2", "muon_momentum"):
            if not 0 <= getattr(self, name) < 1:
                raise ValueError(f"{name} ({getattr(self, name)}) must be in [0, 1)")
        if self.weight_decay < 0:
            raise ValueError(f"weight_decay ({self.weight_decay}) must not be negative")
        if not 0 <= self.seed < 2**32:
            raise ValueError(f"seed ({self.seed}) must be in [0, 2**32)")
        if self.device.partition(":")[0] not in ("auto", "cpu", "cuda", "mps"):
            raise ValueError(
                f"device ({self.device}) must be auto, cpu, cuda, cuda:N or mps"
            )


@dataclass(frozen=True, kw_only=True)
class RunConfig:
    """One complete, reproducible run."""

    model: ModelConfig = field(default_factory=ModelConfig)
    data: DataConfig = field(default_factory=DataConfig)
    train: TrainConfig = field(default_factory=TrainConfig)

    def __post_init__(self) -> None:
        _check_types(self)


# ------------------------------------------------------------------ plain values


def to_dict(config: Any) -> dict[str, Any]:
    """A configuration as plain numbers, strings and dictionaries."""
    plain: dict[str, Any] = {}
    for key in dataclasses.fields(config):
        value = getattr(config, key.name)
        if dataclasses.is_dataclass(value):
            value = to_dict(value)
        elif isinstance(value, Path):
            value = value.as_posix()
        plain[key.name] = value
    return plain


def from_dict(
    kind: type[Config], values: dict[str, Any], where: str = "config"
) -> Config:
    """Build ``kind`` from plain values, refusing any key it does not declare.

    Raises:
        ValueError: a key is unknown, a value has the wrong type, or the class's own
            checks fail. The message starts with ``where``.
    """
    known = {key.name: key for key in dataclasses.fields(kind)}  # type: ignore[arg-type]
    if "experiment" in values and "experiment" not in known:
        raise ValueError(
            f"{where}: the table [experiment] is for the book's own experiments;"
            " remove it to use the file here"
        )
    for name in values:
        if name not in known:
            raise ValueError(
                f"{where}: unknown key {name!r}; known keys are {', '.join(known)}"
            )
    built: dict[str, Any] = {}
    for name, value in values.items():
        wanted = known[name].type
        if isinstance(wanted, type) and dataclasses.is_dataclass(wanted):
            if not isinstance(value, dict):
                raise ValueError(f"{where}: {name} must be a table, got {value!r}")
            built[name] = from_dict(wanted, value, f"{where}: {name}")
        elif wanted is Path and isinstance(value, str):
            built[name] = Path(value)
        else:
            built[name] = value
    try:
        return kind(**built)
    except ValueError as error:
        message = str(error)
        raise ValueError(
            message if message.startswith(where) else f"{where}: {message}"
        ) from None


def fingerprint(
    config: RunConfig, corpus_hash: str = "", experiment: dict[str, Any] | None = None
) -> str:
    """Twelve hex digits that stand for everything a result depends on.

    Only fields that differ from their defaults enter, so that a field added later
    leaves old fingerprints alone. The seed, the paths, the device and every
    ``*_every`` stay out: the first is a column of its own, and the others must not
    change a result.

    Args:
        config: the run.
        corpus_hash: :attr:`minillm.data.Corpus.hash`.
        experiment: the plain values of a book experiment's own table.
    """
    chosen: dict[str, Any] = {"corpus": corpus_hash, "experiment": experiment or {}}
    for section, default in (
        ("model", {"n_kv_heads": 0, "d_ff": 0}),
        ("train", {"seed": 0, "device": "auto"}),
    ):
        part = getattr(config, section)
        chosen[section] = {
            key.name: getattr(part, key.name)
            for key in dataclasses.fields(part)
            if getattr(part, key.name) != default.get(key.name, key.default)
            and key.name not in ("seed", "device")
            and not key.name.endswith("_every")
        }
    text = json.dumps(chosen, sort_keys=True)
    return hashlib.sha256(text.encode()).hexdigest()[:12]


# ------------------------------------------------------------------ files


def read_toml(path: Path) -> dict[str, Any]:
    """The plain tables of a TOML file.

    Raises:
        ValueError: the file cannot be read, or is not TOML.
    """
    content = read_description(path)
    try:
        return tomllib.loads(content.decode())
    except (ValueError, RecursionError) as error:  # also of a number with many digits
        reason = "it is not UTF-8" if isinstance(error, UnicodeDecodeError) else error
        raise ValueError(f"{path} is not valid TOML: {reason}") from None


def preset_names() -> list[str]:
    """The presets shipped with the package, the ladder first, in the book's order."""
    found = {
        file.name.removesuffix(".toml")
        for file in resources.files("minillm.configs").iterdir()
        if file.name.endswith(".toml")
    }
    return [name for name in LADDER if name in found] + sorted(found - set(LADDER))


LADDER = ("bigram", "gpt2", "gpt2-nobias", "rmsnorm", "rope", "swiglu", "llama")
"""The rungs of the book, from the bottom."""


def preset_values(name: str) -> dict[str, Any]:
    """The plain tables of a preset, or of a TOML file if ``name`` ends in ``.toml``.

    Raises:
        ValueError: there is no such preset or file.
    """
    if name.endswith(".toml"):
        return read_toml(Path(name))
    if name not in preset_names():
        raise ValueError(
            f"unknown preset {name!r}; known presets are {', '.join(preset_names())}"
        )
    text = resources.files("minillm.configs").joinpath(f"{name}.toml")
    return tomllib.loads(text.read_text(encoding="utf-8"))


def preset(
    name: str, vocab_size: int = 0, changes: dict[str, dict[str, Any]] | None = None
) -> RunConfig:
    """A preset as a run, with some of its plain values replaced before it is built.

    ``preset("llama", changes={"model": {"d_model": 96}})`` derives ``d_ff`` *after*
    the change, which ``dataclasses.replace`` on a finished configuration would not.

    Args:
        name: one of :func:`preset_names`, or the path of a TOML file.
        vocab_size: the prepared corpus's, if known.
        changes: plain values by section: ``model``, ``data``, ``train``.

    Raises:
        ValueError: unknown preset, section or key; a value out of range; or the preset
            names another vocabulary than ``vocab_size``.
    """
    values = preset_values(name)
    for section in ("model", "data", "train"):
        if not isinstance(values.get(section, {}), dict):
            raise ValueError(f"{name}: {section} must be a table")
    for section, replaced in (changes or {}).items():
        values[section] = {**values.get(section, {}), **replaced}
    if vocab_size:
        model = values.setdefault("model", {})
        asked = model.setdefault("vocab_size", vocab_size)
        if asked not in (0, vocab_size):
            raise ValueError(
                f"{name}: vocab_size ({asked}) differs from the prepared corpus's"
                f" ({vocab_size})"
            )
        model["vocab_size"] = vocab_size
    return from_dict(RunConfig, values, where=name)


# ------------------------------------------------------------------ checks


def _check_positive(config: Any, *names: str) -> None:
    for name in names:
        if not getattr(config, name) > 0:
            raise ValueError(f"{name} ({getattr(config, name)}) must be positive")


LARGEST = 2**53
"""The whole numbers up to here are floats too, so that costs can be computed."""

LARGEST_FLOAT = 1e30
"""float32 ends at 3.4e38, and a setting is multiplied before it gets there."""


def _check_size(name: str, value: int) -> None:
    if not -LARGEST <= value <= LARGEST:
        # Python itself refuses to write out 4,300 digits.
        shown = value if abs(value) < 10**4000 else "more than 4000 digits"
        raise ValueError(f"{name} ({shown}) must be at most 2**53")


def _check_types(config: Any) -> None:
    """Refuse ``n_heads = "four"`` here, where the name is known, not three files on."""
    for key in dataclasses.fields(config):
        value, wanted = getattr(config, key.name), key.type
        if typing.get_origin(wanted) is Literal:
            choices = typing.get_args(wanted)
            if value not in choices:
                raise ValueError(
                    f"{key.name} ({value!r}) must be one of {', '.join(choices)}"
                )
        elif wanted is float:
            if isinstance(value, bool) or not isinstance(value, int | float):
                raise ValueError(f"{key.name} ({value!r}) must be a number")
            if isinstance(value, int):
                _check_size(key.name, value)
            if not math.isfinite(value):
                raise ValueError(f"{key.name} ({value}) must be finite")
            if abs(value) > LARGEST_FLOAT:
                raise ValueError(f"{key.name} ({value}) must be at most 1e30")
            object.__setattr__(config, key.name, float(value))
        elif wanted is int:
            if isinstance(value, bool) or not isinstance(value, int):
                raise ValueError(f"{key.name} ({value!r}) must be a whole number")
            _check_size(key.name, value)
        elif isinstance(wanted, type | types.UnionType) and not isinstance(
            value, wanted
        ):
            name = getattr(wanted, "__name__", str(wanted))
            raise ValueError(f"{key.name} ({value!r}) must be a {name.lower()}")
