"""What 16 bits do to a gradient, seen on a CPU: the experiments of chapter 9.

float16 is slow on a CPU, so the laboratory computes in float32 and rounds the gradients
where float16 would hold them: at the outputs of all matrices of the blocks, and in the
weights. It is kinder than the real format, which rounds on the way forward too.
"""

import copy
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from minillm.config import preset
from minillm.data import Corpus
from minillm.evaluate import next_token_loss
from minillm.model import LanguageModel, build
from minillm.optim import build_optimizers
from minillm.precision import Precision
from minillm.train import train

Change = Callable[[Tensor], Tensor]
SMALL = {"n_layers": 1, "n_heads": 2, "n_kv_heads": 1, "d_model": 32}
SMALL |= {"context_length": 32}
"""A model for runs of a second or two."""

# ------------------------------------------------------------------ small tools


def flat(tensors: Iterable[Tensor]) -> Tensor:
    """All numbers of some tensors in a row."""
    return torch.cat([tensor.detach().flatten() for tensor in tensors])


def through_float16(gradient: Tensor) -> Tensor:
    """Round to float16, and keep what is left in float32."""
    return gradient.half().float()


def error(found: Tensor, wanted: Tensor) -> float:
    """The length of the difference, relative to the length of what is wanted."""
    return ((found - wanted).norm() / wanted.norm()).item()


def half_trained(corpus: Corpus) -> LanguageModel:
    """The rung ``llama``, cut down to two layers, after 100 steps."""
    steps = {"steps": 100, "warmup_steps": 20, "device": "cpu"}
    where = {"directory": str(corpus.directory)}
    changes = {"model": {"n_layers": 2}, "train": steps, "data": where}
    return train(preset("llama", corpus.vocab_size, changes))


# ------------------------------------------------------------------ weights


def adamw_direction(model: LanguageModel, corpus: Corpus) -> Tensor:
    """Where AdamW would move each weight next, for a learning rate of 1.

    Its averages settle first, over 19 steps that move next to nothing.
    """
    model = copy.deepcopy(model)
    adamw = torch.optim.AdamW(model.parameters(), weight_decay=0)
    for n in range(20):
        adamw.param_groups[0]["lr"] = 1.0 if n == 19 else 1e-9
        before = flat(model.parameters())
        inputs, targets = corpus.train.batch(1, n, 8, 64)
        adamw.zero_grad()
        next_token_loss(model(inputs), targets).backward()
        adamw.step()
    return flat(model.parameters()) - before


def train_on(
    model: LanguageModel, corpus: Corpus, weights: torch.dtype, rate: float
) -> tuple[LanguageModel, tuple[list[int], list[float]]]:
    """Train a copy for 100 more steps; give it back with its curve of held-out loss.

    float32 weights are multiplied in bfloat16, by autocast; bfloat16 weights are all
    there is.
    """
    model = copy.deepcopy(model).to(weights)
    adamw = torch.optim.AdamW(model.parameters(), rate, weight_decay=0)
    mixed = Precision("bfloat16" if weights == torch.float32 else "float32", "cpu")
    places, losses = [], []
    held_out, following = corpus.val.batch(0, 0, 64, 64)
    for n in range(101):
        if n % 10 == 0:
            wide = copy.deepcopy(model).float()
            with torch.no_grad():
                losses.append(next_token_loss(wide(held_out), following).item())
            places.append(n)
        inputs, targets = corpus.train.batch(2, n, 8, 64)
        with mixed.autocast():
            loss = next_token_loss(model(inputs), targets)
        adamw.zero_grad()
        loss.backward()
        if n < 100:
            adamw.step()
    return model, (places, losses)


# ------------------------------------------------------------------ autocast

Operation = Callable[[Tensor], Tensor]

OPERATIONS: dict[str, Operation] = {
    "linear": lambda x: F.linear(x, torch.ones_like(x)),
    "matmul": lambda x: x @ x,
    "softmax": lambda x: x.softmax(-1),
    "rms_norm": lambda x: F.rms_norm(x, x.shape[-1:]),
    "exp": torch.exp,
    "sum": torch.sum,
    "x + float32": lambda x: x + torch.ones(x.shape),
    "cross_entropy": lambda x: F.cross_entropy(x, torch.zeros(len(x)).long()),
}
"""By name, what autocast may or may not cast; for a square matrix."""

PARTS = {
    "embedding": "embedding",
    "blocks.0.attention_norm": "norm",
    "blocks.0.attention.query": "query",
    "blocks.0.attention.out": "attention's result",
    "blocks.0": "residual stream",
}


def formats(
    model: LanguageModel, inputs: Tensor, targets: Tensor, precision: Precision
) -> dict[str, torch.dtype]:
    """The format in which each part of a model hands on its result."""
    told: dict[str, torch.dtype] = {}

    def note(name: str) -> Callable[..., None]:
        return lambda part, given, out: told.update({name: out.dtype})

    found = [(PARTS[p], m) for p, m in model.named_modules() if p in PARTS]
    hooks = [part.register_forward_hook(note(name)) for name, part in found]
    with precision.autocast(), torch.no_grad():
        logits = model(inputs)
        told["logits"] = logits.dtype
        told["loss"] = next_token_loss(logits, targets).dtype
    for hook in hooks:
        hook.remove()
    order = [*PARTS.values(), "logits", "loss"]
    return {name: told[name] for name in order}


# ------------------------------------------------------------------ gradients


@contextmanager
def gradients_changed(model: nn.Module, change: Change) -> Iterator[list[Tensor]]:
    """Change each gradient that arrives at a matrix's output; list what arrived."""
    arrived: list[Tensor] = []

    def hand_on(gradient: Tensor) -> Tensor:
        arrived.append(gradient)
        return change(gradient)

    def watch(part: nn.Module, inputs: Any, output: Tensor) -> None:
        if output.requires_grad:
            output.register_hook(hand_on)

    matrices = [part for part in model.modules() if isinstance(part, nn.Linear)]
    hooks = [matrix.register_forward_hook(watch) for matrix in matrices]
    yield arrived
    for hook in hooks:
        hook.remove()


def gradients_on_the_way(model: LanguageModel, batch: tuple[Tensor, Tensor]) -> Tensor:
    """All that arrives at the outputs of the blocks' matrices, in a row."""
    inputs, targets = batch
    with gradients_changed(model, lambda gradient: gradient) as arrived:
        next_token_loss(model(inputs), targets).backward()
    return flat(arrived)


def gradient_of(
    model: LanguageModel,
    batch: tuple[Tensor, Tensor],
    scale: float,
    change: Change = lambda gradient: gradient,
    precision: str = "float32",
) -> Tensor:
    """Scale the loss, change each gradient on the way, and unscale the weights'."""
    inputs, targets = batch
    model.zero_grad()
    with gradients_changed(model, change):
        with Precision(precision, "cpu").autocast():
            loss = next_token_loss(model(inputs), targets)
        (loss * scale).backward()
    return change(flat(p.grad for p in model.parameters())) / scale


# ------------------------------------------------------------------ scalers


class PyTorchScaler:
    """PyTorch's scaler behind the methods of the reader's."""

    def __init__(self, scale: float = 2.0**16, growth_interval: int = 2000) -> None:
        self.inner = torch.amp.GradScaler(
            "cpu", init_scale=scale, growth_interval=growth_interval
        )

    @property
    def scale(self) -> float:
        return self.inner.get_scale()

    def backward(self, loss: Tensor) -> None:
        self.inner.scale(loss).backward()

    def unscale(self, optimizer: torch.optim.Optimizer) -> None:
        self.inner.unscale_(optimizer)

    def step(self, optimizer: torch.optim.Optimizer) -> bool:
        self.inner.step(optimizer)  # decides for itself, and does not say
        groups = optimizer.param_groups
        grads = [p.grad for group in groups for p in group["params"]]
        return all(bool(g.isfinite().all()) for g in grads if g is not None)

    def update(self) -> None:
        self.inner.update()


class ScaledRun:
    """A small model that trains on gradients which pass through float16.

    Args:
        corpus: what it reads.
        scaler: the reader's, or PyTorch's behind the same methods.
        plant: a step at which one gradient is made infinite.
    """

    def __init__(self, corpus: Corpus, scaler: Any, plant: int = 40) -> None:
        config = preset("llama", corpus.vocab_size, {"model": SMALL})
        torch.manual_seed(0)
        self.model = build(config.model)
        [self.optimizer] = build_optimizers(self.model, config.train)
        self.corpus, self.scaler, self.plant = corpus, scaler, plant
        self.scales: list[float] = []
        self.taken: list[bool] = []

    def go(self, steps: Iterable[int]) -> "ScaledRun":
        """Take some steps."""
        for n in steps:
            inputs, targets = self.corpus.train.batch(0, n, 8, 32)
            self.optimizer.zero_grad()
            with gradients_changed(self.model, through_float16):
                self.scaler.backward(next_token_loss(self.model(inputs), targets))
            for parameter in self.model.parameters():
                parameter.grad = through_float16(parameter.grad)
            if n == self.plant:
                next(self.model.parameters()).grad[0, 0] = torch.inf
            self.scaler.unscale(self.optimizer)
            nn.utils.clip_grad_norm_(self.model.parameters(), 1.0)
            self.taken.append(self.scaler.step(self.optimizer))
            self.scaler.update()
            self.scales.append(self.scaler.scale)
        return self

    def resumed(self, scaler: Any) -> "ScaledRun":
        """A run that goes on from this one's weights and averages."""
        other = ScaledRun(self.corpus, scaler, self.plant)
        other.model.load_state_dict(copy.deepcopy(self.model.state_dict()))
        other.optimizer.load_state_dict(copy.deepcopy(self.optimizer.state_dict()))
        return other

    @property
    def weights(self) -> Tensor:
        """All of them in a row."""
        return flat(self.model.parameters())


def arriving(length: float, scaler: Any, unscale_first: bool) -> float:
    """How long a gradient is for the optimiser, when clipped to a length of 1."""
    weight = nn.Parameter(torch.zeros(1))
    sgd = torch.optim.SGD([weight])
    scaler.backward((weight * length).sum())
    if unscale_first:
        scaler.unscale(sgd)
    nn.utils.clip_grad_norm_([weight], 1.0)
    if not unscale_first:
        scaler.unscale(sgd)
    return weight.grad.item()


def clipped_run(
    corpus: Corpus,
    scaler: Any,
    kind: type[torch.optim.Optimizer],
    rate: float,
    unscale_first: bool,
) -> float:
    """Held-out loss after 60 steps in float32, each gradient clipped to 1."""
    torch.manual_seed(0)
    model = build(preset("llama", corpus.vocab_size, {"model": SMALL}).model)
    optimizer = kind(model.parameters(), lr=rate)
    for n in range(60):
        inputs, targets = corpus.train.batch(0, n, 8, 32)
        optimizer.zero_grad()
        scaler.backward(next_token_loss(model(inputs), targets))
        if unscale_first:
            scaler.unscale(optimizer)
        nn.utils.clip_grad_norm_(model.parameters(), 1.0)
        if not unscale_first:
            scaler.unscale(optimizer)
        scaler.step(optimizer)
        scaler.update()
    inputs, targets = corpus.val.batch(0, 0, 64, 32)
    with torch.no_grad():
        return next_token_loss(model(inputs), targets).item()
