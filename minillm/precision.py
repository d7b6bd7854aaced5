"""Which number format does which work? The one place that knows ``torch.amp``.

float32 is the reference. bfloat16 has float32's range and needs autocast only. float16
has eight times the precision and a small range: gradients are scaled up before
``backward`` and down before the step, and a step whose gradients overflowed is skipped.
Losses and the norms' means of squares are computed in float32. What else exceeds
65,504 in float16 becomes infinite: where it comes from large weights, no scale helps.
Book: chapter 9.
"""

from collections.abc import Sequence
from contextlib import AbstractContextManager, nullcontext
from typing import Any, Literal

import torch
from torch import Tensor

Name = Literal["float32", "bfloat16", "float16"]
DTYPES = {
    "float32": torch.float32,
    "bfloat16": torch.bfloat16,
    "float16": torch.float16,
}
SMALLEST_SCALE = 2.0**-20
"""A scaler that has fallen this low is not meeting rare overflows: training is lost."""


class Precision:
    """Autocast and gradient scaling for one device.

    Raises:
        ValueError: the device cannot compute in this format.
    """

    def __init__(self, name: Name, device_type: str) -> None:
        if (
            name == "bfloat16"
            and device_type == "cuda"
            and not torch.cuda.is_bf16_supported(including_emulation=False)
        ):
            raise ValueError(
                "precision (bfloat16) must be float16 or float32: this GPU has no"
                " bfloat16"
            )
        self.name, self.device_type = name, device_type
        # bfloat16 has the range of float32: nothing underflows, nothing to scale
        self.scaler = torch.amp.GradScaler(device_type, enabled=name == "float16")

    def autocast(self) -> AbstractContextManager[Any]:
        """The context for forward and loss; ``backward`` runs outside it."""
        if self.name == "float32":
            return nullcontext()
        return torch.autocast(self.device_type, dtype=DTYPES[self.name])

    def backward(self, loss: Tensor) -> None:
        """Compute gradients, scaled up if the format needs it."""
        self.scaler.scale(loss).backward()  # type: ignore[no-untyped-call]

    def step(
        self,
        optimizers: Sequence[torch.optim.Optimizer],
        parameters: Sequence[Tensor],
        grad_clip: float,
    ) -> tuple[float, bool]:
        """Unscale, clip, step and update, in the one order that is right.

        With several optimisers an overflow anywhere skips them all: half a step would
        leave a model that no batch has asked for.

        Returns:
            The norm of the true gradient before clipping, and whether the step was
            taken: it is not if the norm is not finite. In float16 that happens now and
            then; in the other formats it means that training has diverged.
        """
        for optimizer in optimizers:
            self.scaler.unscale_(optimizer)
        norm = torch.nn.utils.clip_grad_norm_(parameters, grad_clip)
        taken = bool(norm.isfinite())
        if taken:
            for optimizer in optimizers:
                self.scaler.step(optimizer)
        self.scaler.update()
        return norm.item(), taken

    @property
    def exhausted(self) -> bool:
        """Whether the scale has been halved so often that nothing will help."""
        return self.scaler.is_enabled() and self.scaler.get_scale() < SMALLEST_SCALE


def pick_device(name: str) -> torch.device:
    """The device that a configuration's ``device`` means on this machine.

    Raises:
        ValueError: this machine has no such device.
    """
    if name == "auto":
        if torch.cuda.is_available():
            return torch.device("cuda")
        return torch.device("mps" if torch.backends.mps.is_available() else "cpu")
    kind = name.partition(":")[0]
    there = {
        "cpu": True,
        "cuda": torch.cuda.is_available(),
        "mps": torch.backends.mps.is_available(),
    }
    if not there.get(kind, False):
        raise ValueError(f"device ({name}) is not available here; try cpu")
    names = [kind]
    if kind == "cuda":
        names += [f"cuda:{index}" for index in range(torch.cuda.device_count())]
    if name not in names:
        raise ValueError(f"device ({name}) must be {' or '.join(names)}")
    return torch.device(name)
