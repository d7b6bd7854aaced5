"""How long until something is on the screen?

CPU seconds of whole processes, in turns: bare Python, what answers without PyTorch, the
first token of ``minillm generate`` with the model that ships with the book; and, to
compare with, what importing alone costs. The first round, in which Python compiles what
it meets, is not kept.
"""

import re
import sys
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

from benchmarks.harness import ROOT, Goal, Usage, interleave, run, spread, write

MODEL = ROOT / "book" / "models" / "shakespeare"
PROMPT = "ROMEO:\n"


@dataclass
class Program:
    """What is started, what it must print, and what it has taken, round by round.

    Args:
        words: after ``python``.
        prints: a regular expression.
        threads: how many it may use.
    """

    words: Sequence[str]
    prints: str = ""
    threads: int = 1
    taken: list[Usage] = field(default_factory=list)

    def __call__(self) -> float:
        """Run it once; return its CPU seconds.

        Raises:
            SystemExit: it has printed something else.
        """
        usage, said = run([sys.executable, *self.words], self.threads)
        if not re.search(self.prints, said, re.DOTALL):
            raise SystemExit(
                f"{' '.join(self.words)} must print {self.prints!r}, not {said[:80]!r}"
            )
        self.taken.append(usage)
        return usage.cpu_seconds

    def row(self, name: str, rounds: int) -> dict[str, Any]:
        """What is stored: medians of the rounds that count, which are the last."""
        taken = self.taken[-rounds:]
        cpu = spread([usage.cpu_seconds for usage in taken])
        wall = spread([usage.wall_seconds for usage in taken])
        return {
            "program": name,
            "cpu_seconds": round(cpu.median, 3),
            "cpu_spread": [round(cpu.low, 3), round(cpu.high, 3)],
            "wall_seconds": round(wall.median, 3),
            "peak_mebibytes": round(
                spread([usage.peak_mebibytes for usage in taken]).median, 1
            ),
            "rounds": rounds,
        }


def programs(threads: int) -> dict[int, dict[str, Program]]:
    """All that is started, by how many rounds there is time for."""
    minillm = ("-m", "minillm")
    generate = (*minillm, "generate", str(MODEL), "--device", "cpu")
    greedily = ("--prompt", PROMPT, "--max_new_tokens", "1", "--temperature", "0")
    return {
        9: {
            "python -c pass": Program(("-c", "pass")),
            "minillm --help": Program((*minillm, "--help"), "prepare.*generate"),
            "minillm train --help": Program(
                (*minillm, "train", "--help"), "--learning_rate"
            ),
            "minillm describe llama": Program(
                (*minillm, "describe", "llama"), "FLOPs per token"
            ),
        },
        3: {
            "minillm generate, first token": Program(
                (*generate, *greedily), rf"^{PROMPT}[^\n]", threads
            ),
            "import torch": Program(("-c", "import torch"), threads=threads),
            "import transformers": Program(("-c", "import transformers")),
            "import transformers' Llama": Program(
                ("-c", "from transformers import LlamaForCausalLM"), threads=threads
            ),
        },
    }


def main(threads: int) -> None:
    rows: list[dict[str, Any]] = []
    taken: dict[str, list[float]] = {}
    for rounds, some in programs(threads).items():
        taken |= interleave(some, rounds)
        rows += [program.row(name, rounds) for name, program in some.items()]
    name = "minillm --help"
    goal = Goal(f"start-up, CPU seconds of {name}", 0.2, 0.1, spread(taken[name]))
    write("startup", [goal], rows, threads, ("numpy", "transformers"))
