"""What a Llama can be asked to do, in the same words for every library.

A script of this folder builds its library's model, says how it is called, and serves
the verbs of :class:`Llama`. Some of them run in an environment of their own: nothing
here needs more than PyTorch and safetensors.
"""

from collections.abc import Callable
from typing import Any

import torch
import torch.nn.functional as F
from safetensors.torch import save_file
from torch import Tensor, nn
from torch.profiler import ProfilerActivity, profile
from torch.utils.flop_counter import FlopCounterMode

from benchmarks.harness import Stopwatch, peak_mebibytes, serve

LEARNING_RATE, WEIGHT_DECAY, BETAS = 1e-3, 0.1, (0.9, 0.95)
GRAD_CLIP = 1.0

Forward = Callable[[Tensor], Tensor]
"""Tokens (B, T) to scores (B, T, V)."""

Generate = Callable[[Tensor, int], Tensor]
"""Prompt (B, T) and how many more to the new tokens (B, n), the likeliest each time."""


class Llama:
    """A model, and the verbs that a benchmark may use on it.

    Args:
        module: holds the parameters.
        forward: scores tokens; what is measured in training.
        generate: writes; left out where only training is compared.
        compiled: whether ``forward`` is to be compiled for training.
    """

    def __init__(
        self,
        module: nn.Module,
        forward: Forward,
        generate: Generate | None = None,
        compiled: bool = False,
    ) -> None:
        self.module, self.forward, self._generate = module, forward, generate
        self._train_forward = torch.compile(forward) if compiled else forward
        self.steps_taken = 0
        self.start_mebibytes = peak_mebibytes()

    def count(self) -> dict[str, int]:
        """Trainable numbers, and the FLOPs of all matrices for one token.

        The counter does not know the CPU's attention kernel; that all peers call it
        for the same heads, their shapes say.
        """
        tokens = torch.zeros(1, 8, dtype=torch.int64)
        with torch.no_grad(), FlopCounterMode(display=False) as counter:
            self.forward(tokens)
        return {
            "parameters": sum(p.numel() for p in self.module.parameters()),
            "flops": counter.get_total_flops() // tokens.numel(),
        }

    def score(self, tokens: list[list[int]], path: str) -> None:
        """Put the scores after each of ``tokens`` into a file."""
        with torch.no_grad():
            scores = self.forward(torch.tensor(tokens))
        save_file({"scores": scores.contiguous()}, path)

    # ------------------------------------------------------------------ training

    def begin(self, batches: list[list[list[int]]]) -> None:
        """Take these batches (N, B, T + 1), again and again, with a new optimiser."""
        self.batches = torch.tensor(batches)
        matrices = [p for p in self.module.parameters() if p.dim() >= 2]
        vectors = [p for p in self.module.parameters() if p.dim() < 2]
        self.optimizer = torch.optim.AdamW(
            [
                {"params": matrices, "weight_decay": WEIGHT_DECAY},
                {"params": vectors, "weight_decay": 0.0},
            ],
            lr=LEARNING_RATE,
            betas=BETAS,
            fused=True,
        )
        self.module.train()

    def train(self, steps: int) -> dict[str, Any]:
        """Take some steps; say how long they took, and the loss before each."""
        with Stopwatch() as watch:
            losses = [self._step() for _ in range(steps)]
        return {
            "losses": losses,
            "wall_seconds": watch.wall_seconds,
            "cpu_seconds": watch.cpu_seconds,
        }

    def _step(self) -> float:
        rows = self.batches[self.steps_taken % len(self.batches)]
        logits = self._train_forward(rows[:, :-1])
        loss = F.cross_entropy(logits.flatten(0, 1), rows[:, 1:].flatten())
        loss.backward()
        nn.utils.clip_grad_norm_(self.module.parameters(), GRAD_CLIP)
        self.optimizer.step()
        self.optimizer.zero_grad(set_to_none=True)
        self.steps_taken += 1
        return loss.item()

    # ------------------------------------------------------------------ generation

    def generate(self, prompt: list[list[int]], new_tokens: int) -> dict[str, Any]:
        """Write, and say what and how long it took."""
        assert self._generate is not None
        self.module.eval()
        tokens = torch.tensor(prompt)
        with torch.inference_mode(), Stopwatch() as watch:
            ids = self._generate(tokens, new_tokens)
        return {
            "ids": ids.tolist(),
            "wall_seconds": watch.wall_seconds,
            "cpu_seconds": watch.cpu_seconds,
        }

    # ------------------------------------------------------------------ shares

    def product_share(
        self, prompt: list[list[int]] | None = None, new_tokens: int = 0
    ) -> float:
        """Which share of writing, or of a training step, are products and attention.

        Those are PyTorch's own, and the same for everybody: whoever spares all the
        rest is 1 / share times as fast, and nobody is faster.
        """
        with profile(activities=[ProfilerActivity.CPU]) as seen:
            if prompt is None:
                self._step()
            else:
                self.generate(prompt, new_tokens)
        spent = {one.key: one.self_cpu_time_total for one in seen.key_averages()}
        products = sum(
            time
            for key, time in spent.items()
            if key in ("aten::mm", "aten::bmm", "aten::addmm")
            or "_scaled_dot_product" in key
        )
        return products / sum(spent.values())

    # ------------------------------------------------------------------ the process

    def memory(self) -> dict[str, float]:
        """The peak once the model was loaded, and the peak so far, in MiB."""
        return {
            "start_mebibytes": self.start_mebibytes,
            "peak_mebibytes": peak_mebibytes(),
        }

    def serve(self, **more: Callable[..., Any]) -> None:
        """Answer until nobody asks any more."""
        names = (
            "count",
            "score",
            "begin",
            "train",
            "product_share",
            "generate",
            "memory",
        )
        serve({**{name: getattr(self, name) for name in names}, **more})
