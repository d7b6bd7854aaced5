"""How do parameters move? The optimisers' groups, and the learning-rate schedule."""

import math
from collections.abc import Iterable

import torch
from torch import nn

from minillm.config import TrainConfig


def schedule(step: int, config: TrainConfig) -> float:
    """The learning rate at ``step`` as a share of its peak, in (0, 1].

    Linear warm-up, then down to ``min_learning_rate`` at the last step: along half a
    cosine over all that is left (``cosine``), on a straight line over all that is left
    (``linear``), or over the last ``decay_steps`` only (``wsd``: warm up, stay, decay).

    Papers: Loshchilov & Hutter 2016, arXiv:1608.03983 (cosine); Defazio et al. 2023,
    arXiv:2310.07831 (linear); Hu et al. 2024, arXiv:2404.06395 (WSD).
    """
    if step < config.warmup_steps:
        return (step + 1) / config.warmup_steps
    lowest = config.min_learning_rate / config.learning_rate
    decay_steps = config.steps - config.warmup_steps
    if config.schedule == "wsd":
        decay_steps = config.decay_steps or max(1, min(decay_steps, config.steps // 5))
    began = config.steps - decay_steps
    progress = min(1.0, max(0, step - began) / max(1, decay_steps - 1))
    if config.schedule != "cosine":
        return 1.0 - (1.0 - lowest) * progress
    return lowest + (1.0 - lowest) * 0.5 * (1 + math.cos(math.pi * progress))


def build_optimizers(
    model: nn.Module, config: TrainConfig
) -> list[torch.optim.Optimizer]:
    """AdamW for everything, or Muon for the blocks' matrices and AdamW for the rest.

    Weight decay pulls matrices towards zero and leaves vectors alone: the neutral
    value of a gain is one, and a bias is not a size. A tied embedding is one parameter
    and is listed once.

    Papers: Loshchilov & Hutter 2017, arXiv:1711.05101 (AdamW); Jordan et al. 2024,
    https://kellerjordan.github.io/posts/muon/ (Muon).
    """
    matrices, vectors, hidden = [], [], []
    for name, parameter in model.named_parameters():
        if parameter.dim() < 2:
            vectors.append(parameter)
        elif config.optimizer == "muon" and "blocks." in name:
            hidden.append(parameter)
        else:
            matrices.append(parameter)
    groups = [
        {"params": matrices, "weight_decay": config.weight_decay},
        {"params": vectors, "weight_decay": 0.0},
    ]
    optimizers: list[torch.optim.Optimizer] = [
        torch.optim.AdamW(
            [group for group in groups if group["params"]],
            lr=config.learning_rate,
            betas=(config.beta1, config.beta2),
            fused=True,  # one kernel for all tensors: a third of the time on a CPU
        )
    ]
    if hidden:
        optimizers.append(
            torch.optim.Muon(
                hidden,
                lr=config.muon_learning_rate,
                weight_decay=config.weight_decay,
                momentum=config.muon_momentum,
                ns_steps=config.muon_newton_schulz_steps,
            )
        )
    return optimizers


def set_learning_rate(
    optimizers: Iterable[torch.optim.Optimizer], step: int, config: TrainConfig
) -> float:
    """Give every group its rate for ``step``; return AdamW's."""
    share = schedule(step, config)
    for optimizer in optimizers:
        muon = isinstance(optimizer, torch.optim.Muon)
        peak = config.muon_learning_rate if muon else config.learning_rate
        for group in optimizer.param_groups:
            group["lr"] = peak * share
    return config.learning_rate * share
