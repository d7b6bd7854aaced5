"""In which order do things happen? The loop, which reports; only ``main`` prints.

    python book/onefile/step4/train.py steps=300 seed=7

At the end it keeps the model for generate.py.
"""

import math
import sys
from dataclasses import dataclass, replace

import torch
from config import from_arguments
from model import Llama, loss_of

from data import Corpus, get_batch


@dataclass(frozen=True)
class Event:
    """What is known about a step: a loss, of the batch or of held-out text."""

    step: int
    name: str
    value: float

    def __str__(self):
        return f"step {self.step}: {self.name} {self.value:.4f}"


def build_optimizer(model, settings):
    matrices = [p for p in model.parameters() if p.dim() == 2]
    vectors = [p for p in model.parameters() if p.dim() == 1]
    groups = [
        {"params": matrices, "weight_decay": settings.weight_decay},
        {"params": vectors, "weight_decay": 0.0},
    ]
    betas = (settings.beta1, settings.beta2)
    return torch.optim.AdamW(groups, lr=settings.learning_rate, betas=betas, fused=True)


def rate_at(step, settings):
    peak, lowest = settings.learning_rate, settings.min_learning_rate
    warmup, steps = settings.warmup_steps, settings.steps
    if step < warmup:
        return peak * (step + 1) / warmup
    progress = (step - warmup) / max(1, steps - warmup - 1)
    share = 0.5 * (1 + math.cos(math.pi * progress))
    return lowest + (peak - lowest) * share


@torch.no_grad()
def estimate_loss(model, batch_of, tokens, n_batches):
    model.eval()
    losses = [loss_of(model, batch_of(tokens)) for _ in range(n_batches)]
    model.train()
    return torch.stack(losses).mean().item()


def take_step(model, optimizer, batch, rate, grad_clip):
    for group in optimizer.param_groups:
        group["lr"] = rate
    loss = loss_of(model, batch)
    optimizer.zero_grad()
    loss.backward()
    torch.nn.utils.clip_grad_norm_(model.parameters(), grad_clip)
    optimizer.step()
    return loss.item()


def save(path, model, optimizer, step):
    path.parent.mkdir(exist_ok=True)
    states = {"model": model.state_dict(), "optimizer": optimizer.state_dict()}
    torch.save({**states, "step": step}, path)


def load(path, model, optimizer):
    kept = torch.load(path, weights_only=False)
    model.load_state_dict(kept["model"])
    optimizer.load_state_dict(kept["optimizer"])
    return kept["step"]


def train(model, corpus, settings, report, context_length):
    optimizer = build_optimizer(model, settings)
    first_step = load(settings.out, model, optimizer) if settings.resume else 0

    def batch_of(tokens):
        return get_batch(tokens, settings.batch_size, context_length)

    for step in range(first_step, settings.steps):
        if step % settings.eval_every == 0:
            loss = estimate_loss(model, batch_of, corpus.val, settings.eval_batches)
            report(Event(step, "held-out loss", loss))
        if step % settings.checkpoint_every == 0 and step > first_step:
            save(settings.out, model, optimizer, step)
        rate = rate_at(step, settings)
        batch = batch_of(corpus.train)
        loss = take_step(model, optimizer, batch, rate, settings.grad_clip)
        if step % settings.log_every == 0 or step == settings.steps - 1:
            report(Event(step, "loss", loss))
    if first_step < settings.steps:
        save(settings.out, model, optimizer, settings.steps)


def main(arguments):
    config = from_arguments(arguments)
    torch.manual_seed(config.train.seed)
    corpus = Corpus(config.train.corpus)
    shape = replace(config.model, vocab_size=corpus.vocab_size)
    model = Llama(shape)
    print(f"{sum(p.numel() for p in model.parameters()):,} parameters")
    train(model, corpus, config.train, print, shape.context_length)


if __name__ == "__main__":
    main(sys.argv[1:])
