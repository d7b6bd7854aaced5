"""What will it cost? Parameters, operations and bytes, by arithmetic alone.

Nothing is run and PyTorch is not imported: every number follows from the
configuration. One multiplication and one addition count as two FLOPs. Normalisation,
activation functions and rotations are left out: together they are under a percent.
"""

from dataclasses import dataclass

from minillm.config import ModelConfig, TrainConfig

BYTES = {"float32": 4, "bfloat16": 2, "float16": 2}

DEVICES = {
    "h100": (989e12, "NVIDIA H100 SXM, bfloat16 dense, data sheet"),
    "a100": (312e12, "NVIDIA A100, bfloat16 dense, data sheet"),
    "rtx4090": (165e12, "NVIDIA RTX 4090, bfloat16 dense, data sheet"),
    "t4": (65e12, "NVIDIA T4, float16, data sheet"),
    "cpu-core": (1e11, "one core with AVX2 or AVX-512, float32, order of magnitude"),
}
"""Peak FLOPs per second, and what the number is."""


@dataclass(frozen=True)
class Part:
    """One named matrix or vector of the model, and how often it stands there."""

    name: str
    shape: tuple[int, ...]
    count: int = 1

    @property
    def parameters(self) -> int:
        """Numbers in all its copies together."""
        size = self.count
        for length in self.shape:
            size *= length
        return size


def parts(config: ModelConfig) -> list[Part]:
    """Every parameter of the model, by name, in the order of the forward pass."""
    if config.kind == "bigram":
        return [Part("table", (config.vocab_size, config.vocab_size))]
    d_model, d_ff, n_layers = config.d_model, config.d_ff, config.n_layers
    d_kv = config.n_kv_heads * config.d_head
    found = [Part("embedding", (config.vocab_size, d_model))]
    if config.position == "learned":
        found.append(Part("position", (config.context_length, d_model)))

    def matrix(name: str, width: int, height: int) -> None:
        found.append(Part(f"{name}.weight", (height, width), n_layers))
        if config.bias:
            found.append(Part(f"{name}.bias", (height,), n_layers))

    def norm(name: str, count: int) -> None:
        found.append(Part(f"{name}.weight", (d_model,), count))
        if config.norm == "layernorm" and config.bias:
            found.append(Part(f"{name}.bias", (d_model,), count))

    norm("blocks.attention_norm", n_layers)
    matrix("blocks.attention.query", d_model, d_model)
    matrix("blocks.attention.key", d_model, d_kv)
    matrix("blocks.attention.value", d_model, d_kv)
    matrix("blocks.attention.out", d_model, d_model)
    norm("blocks.feed_forward_norm", n_layers)
    if config.feed_forward == "swiglu":
        matrix("blocks.feed_forward.gate", d_model, d_ff)
    matrix("blocks.feed_forward.up", d_model, d_ff)
    matrix("blocks.feed_forward.down", d_ff, d_model)
    norm("norm", 1)
    if not config.tied:
        found.append(Part("head", (config.vocab_size, d_model)))
    return found


def num_parameters(config: ModelConfig) -> int:
    """Trainable numbers, a tied embedding counted once."""
    return sum(part.parameters for part in parts(config))


def forward_flops_per_token(config: ModelConfig, attended: float) -> float:
    """FLOPs to score what follows one token that looks at ``attended`` positions.

    Two per number of each matrix, the head included and the embedding's lookup not;
    and ``4 n_layers d_model`` per position attended to: the score, and the mixing.
    """
    if config.kind == "bigram":
        return 0.0  # a row is looked up
    matrices = sum(
        part.parameters
        for part in parts(config)
        if len(part.shape) == 2 and part.name not in ("embedding", "position", "head")
    )
    head = config.vocab_size * config.d_model
    mixing = 4 * config.n_layers * config.d_model * attended
    return 2.0 * (matrices + head) + mixing


def train_flops_per_token(config: ModelConfig) -> float:
    """Forward and backward, averaged over a full context; backward costs twice."""
    return 3 * forward_flops_per_token(config, (config.context_length + 1) / 2)


def cache_bytes(
    config: ModelConfig, batch_size: int, length: int, precision: str = "float32"
) -> int:
    """Keys and values of ``length`` positions: 2 · n_layers · B · K · S · E numbers."""
    if config.kind == "bigram":
        return 0
    per_position = 2 * config.n_layers * config.n_kv_heads * config.d_head
    return per_position * batch_size * length * BYTES[precision]


def activation_bytes(config: ModelConfig, batch_size: int) -> int:
    """Numbers kept from forward for backward, in float32; an estimate within a third.

    Attention scores are not among them: the fused kernel computes them again.
    """
    tokens, d_model = batch_size * config.context_length, config.d_model
    if config.kind == "bigram":
        return 4 * tokens * config.vocab_size
    d_kv = config.n_kv_heads * config.d_head
    norm = 4 * d_model if config.norm == "rmsnorm" else d_model
    inputs = 2 * d_model  # of the two groups of matrices, one after each norm
    attention = 2 * d_model + 2 * d_kv  # queries, mixed values; keys, values
    hidden = (4 if config.feed_forward == "swiglu" else 2) * config.d_ff
    per_layer = 2 * norm + inputs + attention + hidden
    outside = norm + d_model + config.vocab_size  # last norm, its output, log-softmax
    return 4 * tokens * (config.n_layers * per_layer + outside)


@dataclass(frozen=True, kw_only=True)
class Memory:
    """Bytes that training and generation hold. Weights stay in float32."""

    weights: int
    gradients: int
    optimizer: int
    activations: int
    """Of one micro-batch; an estimate."""
    cache: int
    """Keys and values of one sequence of full length."""

    @property
    def training(self) -> int:
        """Everything that a training step holds at its peak."""
        return self.weights + self.gradients + self.optimizer + self.activations


def memory(model: ModelConfig, train: TrainConfig) -> Memory:
    """Where the bytes go. AdamW keeps two numbers a parameter, Muon one."""
    weights = 4 * num_parameters(model)
    optimizer = 2 * weights
    if train.optimizer == "muon":
        matrices = sum(
            part.parameters
            for part in parts(model)
            if part.name.startswith("blocks.") and len(part.shape) == 2
        )
        optimizer -= 4 * matrices
    return Memory(
        weights=weights,
        gradients=weights,
        optimizer=optimizer,
        activations=activation_bytes(model, train.batch_size),
        cache=cache_bytes(model, 1, model.context_length, train.precision),
    )


def train_tokens(model: ModelConfig, train: TrainConfig) -> int:
    """Tokens that a run reads."""
    return train.steps * train.batch_size * train.accumulate * model.context_length


def train_hours(
    model: ModelConfig, train: TrainConfig, device: str, utilisation: float = 0.4
) -> float:
    """Hours that a run would take on a named device.

    Args:
        model: its size.
        train: its length.
        device: one of :data:`DEVICES`.
        utilisation: share of the peak that is reached. Well-tuned training of large
            models on GPUs reports 0.3 to 0.5; small models reach less.

    Raises:
        ValueError: unknown device, or a utilisation outside (0, 1].
    """
    if device not in DEVICES:
        raise ValueError(
            f"unknown device {device!r}; known devices are {', '.join(DEVICES)}"
        )
    if not 0 < utilisation <= 1:
        raise ValueError(f"utilisation ({utilisation}) must be in (0, 1]")
    flops = train_flops_per_token(model) * train_tokens(model, train)
    return flops / (DEVICES[device][0] * utilisation) / 3600
