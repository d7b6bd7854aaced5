"""What was asked for? Frozen settings that refuse what they do not know."""

import ast
from contextlib import suppress
from dataclasses import dataclass, field, fields, replace
from pathlib import Path

ROOT = Path(__file__).resolve().parents[3]


@dataclass(frozen=True, kw_only=True)
class ModelConfig:
    vocab_size: int = 64
    context_length: int = 64
    n_layers: int = 4
    n_heads: int = 6
    n_kv_heads: int = 2
    d_model: int = 96
    d_ff: int = 256
    norm_eps: float = 1e-5
    rope_base: float = 10_000.0

    def __post_init__(self):
        for name, of in (("d_model", "n_heads"), ("n_heads", "n_kv_heads")):
            value, part = getattr(self, name), getattr(self, of)
            if value % part:
                raise ValueError(
                    f"{name} ({value}) must be a multiple of {of} ({part})"
                )


@dataclass(frozen=True, kw_only=True)
class TrainConfig:
    corpus: Path = ROOT / "data" / "shakespeare"
    out: Path = ROOT / "runs" / "onefile.pt"
    resume: bool = False
    seed: int = 1337
    steps: int = 1_500
    batch_size: int = 16
    learning_rate: float = 4e-3
    min_learning_rate: float = 4e-4
    warmup_steps: int = 100
    weight_decay: float = 0.1
    beta1: float = 0.9
    beta2: float = 0.95
    grad_clip: float = 1.0
    log_every: int = 10
    eval_every: int = 500
    eval_batches: int = 20
    checkpoint_every: int = 500


@dataclass(frozen=True, kw_only=True)
class SampleConfig:
    prompt: str = "\n"
    max_new_tokens: int = 300
    temperature: float = 0.8
    top_k: int = 20


@dataclass(frozen=True, kw_only=True)
class RunConfig:
    model: ModelConfig = field(default_factory=ModelConfig)
    train: TrainConfig = field(default_factory=TrainConfig)
    sample: SampleConfig = field(default_factory=SampleConfig)


def from_arguments(arguments):
    """steps=300 on the command line; a name that no part knows is refused."""
    config = RunConfig()
    for argument in arguments:
        name, _, value = argument.partition("=")
        for part in ("model", "train", "sample"):
            known = {key.name: key.type for key in fields(getattr(config, part))}
            if name in known:
                settings = replace(
                    getattr(config, part), **{name: read(value, known[name])}
                )
                config = replace(config, **{part: settings})
                break
        else:
            raise ValueError(f"unknown setting {name!r}")
    return config


def read(value, kind):
    if kind in (Path, str):
        return kind(value)
    with suppress(ValueError, SyntaxError):
        value = ast.literal_eval(value)
    if type(value) not in ((int, float) if kind is float else (kind,)):
        raise ValueError(f"{value!r} must be a {kind.__name__}")
    return value
