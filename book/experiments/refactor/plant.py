"""Plant mistakes in the one file and in its parts; which test notices them, and when?

    python -m book.experiments.refactor.plant

Writes noticed.csv and start.csv beside this file; see question.md. Each answer comes
from a process of its own, forked from one that has imported PyTorch and taken a first
step, so ``cpu_seconds`` holds what is spent beyond that. How long the start itself
takes, and the import of some rooms of the package, is in start.csv. Takes about two
minutes of one CPU thread; needs a system that forks.
"""

import json
import os
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import torch

from book.experiments.records import machine, write
from book.experiments.refactor import unit
from book.onefile import stages

HERE = Path(__file__).resolve().parent
ROOT = HERE.parents[2]
OUT, START = HERE / "noticed.csv", HERE / "start.csv"
FIELDS = ["mistake", "part", "asked", "noticed", "by", "cpu_seconds"]
FIELDS += ["torch", "machine"]
WAYS = {"one file": ("learns", "golden"), "parts": ("unit",)}
"""What is run, and what is asked of it."""

GOLDEN = dict(stages.GOLDEN_RUN, checkpoint_every=10)
CLOSE = 1e-3


@dataclass(frozen=True)
class Mistake:
    """One place in both versions, right and wrong."""

    name: str
    part: str
    right: str
    wrong: str
    right_in_part: str = ""
    wrong_in_part: str = ""
    source: str = ""

    def plant(self, text: str, in_part: bool) -> str:
        """The text with the mistake; it must fit in one place exactly."""
        right = (in_part and self.right_in_part) or self.right
        wrong = (in_part and self.wrong_in_part) or self.wrong
        if text.count(right) != 1:
            raise ValueError(f"{self.name}: {right!r} stands {text.count(right)} times")
        return text.replace(right, wrong)


MISTAKES = (
    Mistake("attention sees the future", "model", "is_causal=True", "is_causal=False"),
    Mistake(
        "keys are not turned",
        "model",
        "rotate(q), rotate(k), v",
        "rotate(q), k, v",
        "q, k = rotate(q, self.config.rope_base), rotate(k, self.config.rope_base)",
        "q = rotate(q, self.config.rope_base)",
    ),
    Mistake(
        "eps outside the root",
        "model",
        "torch.rsqrt(mean_square + norm_eps)",
        "1 / (mean_square.sqrt() + norm_eps)",
        "torch.rsqrt(mean_square + self.eps)",
        "1 / (mean_square.sqrt() + self.eps)",
        source="OLMo#281",
    ),
    Mistake(
        "targets not shifted",
        "data",
        "tokens[i + 1 : i + 1 + context_length]",
        "tokens[i : i + context_length]",
    ),
    Mistake(
        "beta2 forgotten",
        "train",
        "betas=(beta1, beta2), fused",
        "betas=(beta1, 0.999), fused",
        "(settings.beta1, settings.beta2)",
        "(settings.beta1, 0.999)",
    ),
    Mistake(
        "gains decay",
        "train",
        '"params": vectors, "weight_decay": 0.0',
        '"params": vectors, "weight_decay": weight_decay',
        wrong_in_part='"params": vectors, "weight_decay": settings.weight_decay',
    ),
    Mistake(
        "gradients add up",
        "train",
        "    optimizer.zero_grad()\n",
        "",
    ),
    Mistake(
        "clipped too early",
        "train",
        "    loss.backward()\n"
        "    torch.nn.utils.clip_grad_norm_(model.parameters(), grad_clip)\n",
        "    torch.nn.utils.clip_grad_norm_(model.parameters(), grad_clip)\n"
        "    loss.backward()\n",
    ),
    Mistake(
        "evaluated on training text",
        "train",
        "get_batch(val_tokens)",
        "get_batch(train_tokens)",
        "estimate_loss(model, batch_of, corpus.val, settings.eval_batches)",
        "estimate_loss(model, batch_of, corpus.train, settings.eval_batches)",
    ),
    Mistake(
        "moments forgotten",
        "train",
        '    optimizer.load_state_dict(kept["optimizer"])\n',
        "",
    ),
    Mistake(
        "step off by one",
        "train",
        '"step": step}, out)',
        '"step": step + 1}, out)',
        '"step": step}, path)',
        '"step": step + 1}, path)',
    ),
    Mistake(
        "oldest tokens read",
        "generate",
        "tokens[:, -context_length:]",
        "tokens[:, :context_length]",
    ),
    Mistake(
        "one token too many",
        "generate",
        "scores.topk(top_k)",
        "scores.topk(top_k + 1)",
        "scores.topk(settings.top_k)",
        "scores.topk(settings.top_k + 1)",
    ),
)

# ------------------------------------------------------------------ one answer


def run_one_file(folder: Path) -> list[str]:
    """The short run of a copy of the one file, in this process."""
    settings = {**GOLDEN, "out": folder / "kept.pt"}
    return stages.run(folder / "llama.py", **settings)


def golden() -> list[float]:
    """The losses of the right file, kept beside the table."""
    lines = (HERE / "golden.txt").read_text("utf8").splitlines()
    return [float(line) for line in lines]


def all_losses(lines: list[str]) -> list[float]:
    """Losses of the batches and of the held-out text, in the order of printing."""
    return [
        *stages.losses(lines).values(),
        *stages.losses(lines, "held-out loss").values(),
    ]


def answers(way: str, folder: Path) -> list[str]:
    """What is noticed about the version in a folder; nothing is an empty text.

    Two answers of the one file, which is run once for both, and one of its parts.
    """
    if way == "parts":
        said = unit.run(stages.load(folder))
        return ["; ".join(name for name, word in said.items() if word != "ok")]
    lines = run_one_file(folder)
    losses = list(stages.losses(lines).values())
    learns = "" if losses[-1] < losses[0] - 1 else f"last loss {losses[-1]:.2f}"
    pairs = zip(all_losses(lines), golden(), strict=True)
    moved = sum(abs(a - b) > CLOSE for a, b in pairs)
    return [learns, f"{moved} losses moved" if moved else ""]


def version(mistake: Mistake | None, way: str, room: Path) -> Path:
    """A copy of the one file or of its parts, with the mistake if there is one."""
    if way == "parts":
        folder = room / "parts"
        shutil.copytree(stages.HERE / "step4", folder)
        path = folder / f"{mistake.part}.py" if mistake else None
    else:
        folder = room / "one"
        folder.mkdir()
        path = folder / "llama.py"
        text = (stages.HERE / "llama.py").read_text("utf8")
        here = "Path(__file__).resolve().parents[2]"  # the copy lies elsewhere
        path.write_text(text.replace(here, f"Path({str(ROOT)!r})"), "utf8")
    if mistake and path:
        planted = mistake.plant(path.read_text("utf8"), way == "parts")
        path.write_text(planted, "utf8")
    return folder


def warm_up() -> None:
    """What every process needs before it can notice anything."""
    weight = torch.nn.Parameter(torch.ones(2))
    optimizer = torch.optim.AdamW([weight], fused=True)
    weight.sum().backward()
    optimizer.step()


def ask(mistake: Mistake | None, way: str) -> tuple[list[str], float]:
    """The answers of a process of their own, and the CPU seconds that it took.

    It is forked from this one, which has warmed up.
    """
    with tempfile.TemporaryDirectory() as name:
        folder = version(mistake, way, Path(name))
        told = Path(name) / "told.json"
        child = os.fork()
        if child == 0:
            try:
                told.write_text(json.dumps(answers(way, folder)))
            finally:
                os._exit(0)
        _, _, used = os.wait4(child, 0)
        return json.loads(told.read_text()), used.ru_utime + used.ru_stime


# ------------------------------------------------------------------ the tables


def rows(mistakes: tuple[Mistake, ...]) -> Iterator[dict[str, str]]:
    """A row for each mistake and question; the ways take turns."""
    for mistake in mistakes:
        for way, questions in WAYS.items():
            told, spent = ask(mistake, way)
            for question, said in zip(questions, told, strict=True):
                cells = [mistake.name, mistake.part, question]
                cells += ["yes" if said else "no", said]
                cells += [f"{spent:.3f}"]
                cells += [torch.__version__, machine()]
                yield dict(zip(FIELDS, cells, strict=True))


def import_seconds(name: str, rounds: int = 5) -> list[float]:
    """CPU seconds of fresh processes that import one thing."""
    found = []
    for _ in range(rounds):
        began = os.times()
        subprocess.run([sys.executable, "-c", f"import {name}"], check=True, cwd=ROOT)
        ended = os.times()
        spent = ended.children_user - began.children_user
        found.append(spent + ended.children_system - began.children_system)
    return found


def main() -> None:
    torch.set_num_threads(1)
    warm_up()
    with tempfile.TemporaryDirectory() as name:
        right = run_one_file(version(None, "one file", Path(name)))
    losses = "".join(f"{loss:.4f}\n" for loss in all_losses(right))
    (HERE / "golden.txt").write_text(losses, "utf8")
    for way in WAYS:  # a way that complains of the right version tells nothing
        told, _ = ask(None, way)
        if any(told):
            raise SystemExit(f"{way} complains without a mistake: {told}")
    table = []
    for row in rows(MISTAKES):
        print(*list(row.values())[:6], sep=" | ", flush=True)
        table.append(row)
    write(OUT, FIELDS, table)
    names = ["sys", "minillm.config", "torch", "minillm.model", "minillm.train"]
    found = {name: [] for name in names}
    for _ in range(5):  # the names take turns
        for name in names:
            found[name] += import_seconds(name, 1)
    cells = [
        {
            "name": name,
            "cpu_seconds": f"{sorted(spent)[2]:.3f}",
            "low": f"{min(spent):.3f}",
            "high": f"{max(spent):.3f}",
            "torch": torch.__version__,
            "machine": machine(),
        }
        for name, spent in found.items()
    ]
    write(START, list(cells[0]), cells)


if __name__ == "__main__":
    main()
