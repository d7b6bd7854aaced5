"""How good? The loss over a whole split, in units that can be compared."""

import math
from dataclasses import dataclass

import torch
import torch.nn.functional as F
from jaxtyping import Float, Int
from torch import Tensor

from minillm.data import TokenFile
from minillm.model import LanguageModel
from minillm.precision import Precision


def next_token_loss(
    logits: Float[Tensor, "B T V"], targets: Int[Tensor, "B T"]
) -> Float[Tensor, ""]:
    """Mean cross-entropy in nats per token; ``ln V`` for a model that knows nothing.

    Computed in float32 at least, whatever the logits are in. Infinite if a target's
    score is minus infinity, NaN if a row's best score is not finite.
    """
    wide = logits.to(torch.promote_types(logits.dtype, torch.float32))
    return F.cross_entropy(wide.flatten(0, 1), targets.flatten())


@dataclass(frozen=True, kw_only=True)
class Evaluation:
    """What one pass over a split has shown."""

    loss: float
    """Nats per token."""
    tokens: int
    """Tokens predicted: all of the split but the first."""
    num_bytes: int | None
    """UTF-8 bytes of the split's text; None if its maker did not note them."""

    @property
    def perplexity(self) -> float:
        """Equally likely tokens that would be as hard to guess."""
        return math.exp(self.loss) if self.loss < 700 else math.inf

    @property
    def bits_per_byte(self) -> float | None:
        """Bits needed per byte of text: comparable across tokenizers."""
        if not self.num_bytes:  # not noted, or ends of texts alone
            return None
        return self.loss * self.tokens / self.num_bytes / math.log(2)


@torch.inference_mode()
def evaluate(
    model: LanguageModel,
    split: TokenFile,
    *,
    batch_size: int = 64,
    precision: Precision | None = None,
) -> Evaluation:
    """Predict every token of a split once, from windows that do not overlap.

    Nothing is drawn, so the same model gets the same number every time; the model's
    mode and every random generator are left as they were. A model that has diverged
    gets infinity or NaN, and it is for the caller to say so.

    Args:
        model: whatever maps tokens to scores and has a ``config``.
        split: the tokens.
        batch_size: windows at once; it changes the speed, not the loss.
        precision: as in training; float32 if left out.

    Raises:
        ValueError: the split has fewer than two tokens.
    """
    parameter = next(model.parameters())
    precision = precision or Precision("float32", parameter.device.type)
    was_training = model.training
    model.eval()
    total = torch.zeros((), dtype=torch.float64)
    tokens = 0
    try:
        for inputs, targets in split.windows(model.config.context_length, batch_size):
            with precision.autocast():
                logits = model(inputs.to(parameter.device))
                loss = next_token_loss(logits, targets.to(parameter.device))
            total += loss.double().cpu() * targets.numel()
            tokens += targets.numel()
    finally:
        model.train(was_training)
    return Evaluation(
        loss=total.item() / tokens, tokens=tokens, num_bytes=split.num_bytes
    )
