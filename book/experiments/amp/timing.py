"""What do 16 bits save on a CPU: time, memory, both or neither?

    python -m book.experiments.amp.timing

Writes timing.csv beside this file, four tables in one. ``product``: one product of two
square matrices of 512 rows. ``attention``: PyTorch's attention, forward and backward,
at the sizes of the rung ``llama``. ``step``: a training step of that rung. ``memory``:
what the process holds at the peak of training steps with 64 windows, beyond what it
held before them; each measurement is a process of its own.

Times are CPU milliseconds on one thread, memory is in MB; medians of many rounds. The
rounds are interleaved, so that a busy moment of the machine hits all alike, and each
ratio is to float32 in the same round; ``low`` and ``high`` are the tenth and the
ninetieth percentile of the ratios. Takes a few minutes.
"""

import statistics
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import torch
import torch.nn.functional as F
from torch import Tensor

from book.experiments.amp.run import fresh, text
from book.experiments.records import machine, ratios, write
from minillm.evaluate import next_token_loss
from minillm.model import LanguageModel
from minillm.precision import DTYPES, Precision
from minillm.train import take_step

HERE = Path(__file__).resolve().parent
OUT = HERE / "timing.csv"
FIELDS = ["what", "name", "median", "ratio", "low", "high", "rounds"]
FIELDS += ["torch", "machine"]
ROUNDS, MEMORY_ROUNDS = 21, 5
WINDOWS = 64  # at once, where memory is measured
SIZE = 512

Timed = Callable[[], object]

# ------------------------------------------------------------------ bytes


def bytes_kept(
    model: LanguageModel, inputs: Tensor, targets: Tensor, precision: Precision
) -> dict[str, int]:
    """What forward keeps for backward, by format: all but the parameters themselves.

    Memory that several operations keep is counted once.
    """
    own = {p.untyped_storage().data_ptr() for p in model.parameters()}
    sizes: dict[int, tuple[str, int]] = {}

    def note(tensor: Tensor) -> Tensor:
        memory = tensor.untyped_storage()
        if memory.data_ptr() not in own:
            name = str(tensor.dtype).removeprefix("torch.")
            sizes[memory.data_ptr()] = name, memory.nbytes()
        return tensor

    hooks = torch.autograd.graph.saved_tensors_hooks(note, lambda tensor: tensor)
    with hooks, precision.autocast():
        loss = next_token_loss(model(inputs), targets)
    total: dict[str, int] = {}
    for name, size in sizes.values():
        total[name] = total.get(name, 0) + size
    del loss  # only now: what it keeps must not be freed while we count
    return total


def peak_mb(name: str) -> float:
    """Memory at the peak of two steps, beyond what was held before; for a new process.

    Linux only: the peak so far is reset before the steps.
    """
    torch.set_num_threads(1)
    corpus = text()
    config, model, optimizers, precision = fresh(name, 0, corpus)
    parameters = list(model.parameters())
    Path("/proc/self/clear_refs").write_text("5")
    before = held_kb("VmRSS")
    for step in range(2):
        inputs, targets = corpus.train.batch(0, step, WINDOWS, 64)
        with precision.autocast():
            loss = next_token_loss(model(inputs), targets)
        precision.backward(loss)
        precision.step(optimizers, parameters, config.train.grad_clip)
        for optimizer in optimizers:
            optimizer.zero_grad(set_to_none=True)
    return (held_kb("VmHWM") - before) * 1024 / 1e6


def held_kb(field: str) -> int:
    """A number of this process's status file, in KiB."""
    status = Path("/proc/self/status").read_text(encoding="utf8")
    [line] = [line for line in status.splitlines() if line.startswith(field)]
    return int(line.split()[1])


def memory(rounds: int) -> dict[str, list[float]]:
    """The peak of each format, a process a measurement; the formats take turns."""
    found: dict[str, list[float]] = {name: [] for name in DTYPES}
    for _ in range(rounds):
        for name, values in found.items():
            command = [sys.executable, "-m", __spec__.name, "--peak", name]
            told = subprocess.run(command, check=True, capture_output=True, text=True)
            values.append(float(told.stdout))
    return found


# ------------------------------------------------------------------ the clock


def milliseconds(runs: dict[str, Timed], rounds: int) -> dict[str, list[float]]:
    """CPU time of one pass of each, a number a round; the names take turns."""
    found: dict[str, list[float]] = {name: [] for name in runs}
    for run in runs.values():
        run()  # warm the caches
    for _ in range(rounds):
        for name, run in runs.items():
            began = time.process_time()
            run()
            found[name].append(1000 * (time.process_time() - began))
    return found


def step_runs() -> dict[str, Timed]:
    """A training step in each format, on a model of its own."""
    corpus = text()

    def stepper(name: str) -> Timed:
        config, model, optimizers, precision = fresh(name, 0, corpus)
        count = iter(range(10**6))

        def step() -> None:
            split = corpus.train
            take_step(next(count), model, optimizers, precision, split, config)

        return step

    return {name: stepper(name) for name in DTYPES}


def product_runs(size: int = SIZE) -> dict[str, Timed]:
    """Square matrices, multiplied in each format."""
    source = torch.Generator().manual_seed(0)
    a, b = torch.randn(2, size, size, generator=source)

    def multiplier(dtype: torch.dtype) -> Timed:
        left, right = a.to(dtype), b.to(dtype)
        return lambda: left @ right

    return {name: multiplier(dtype) for name, dtype in DTYPES.items()}


def attention_runs() -> dict[str, Timed]:
    """Causal attention there and back, in each format: 8 windows, 6 heads of 16."""
    source = torch.Generator().manual_seed(0)
    inputs = torch.randn(3, 8, 6, 64, 16, generator=source)  # (q k v, B, H, T, E)

    def attender(dtype: torch.dtype) -> Timed:
        q, k, v = inputs.to(dtype).requires_grad_()

        def there_and_back() -> None:
            mixed = F.scaled_dot_product_attention(q, k, v, is_causal=True)
            torch.autograd.grad(mixed, (q, k, v), torch.ones_like(mixed))

        return there_and_back

    return {name: attender(dtype) for name, dtype in DTYPES.items()}


# ------------------------------------------------------------------ the table


def _machine() -> str:
    """The processor, and the widest vectors that PyTorch uses on it."""
    return f"{machine()} {torch.backends.cpu.get_cpu_capability()}"


def rows(what: str, found: dict[str, list[float]]) -> Iterator[dict[str, str]]:
    """Median, and median and spread of the ratios, for each name."""
    for name, values in ratios(found).items():
        tenths = statistics.quantiles(values, n=10, method="inclusive")
        numbers = (statistics.median(found[name]), statistics.median(values))
        cells = [what, name]
        cells += [f"{number:.3f}" for number in (*numbers, tenths[0], tenths[-1])]
        cells += [str(len(values)), torch.__version__, _machine()]
        yield dict(zip(FIELDS, cells, strict=True))


def main() -> None:
    """Measure everything, and write the table."""
    if sys.argv[1:2] == ["--peak"]:
        print(peak_mb(sys.argv[2]))
        return
    torch.set_num_threads(1)
    table = list(rows("product", milliseconds(product_runs(), ROUNDS)))
    table += rows("attention", milliseconds(attention_runs(), ROUNDS))
    table += rows("step", milliseconds(step_runs(), ROUNDS))
    table += rows("memory", memory(MEMORY_ROUNDS))
    write(OUT, FIELDS, table)
    for row in table:
        print(*row.values())


if __name__ == "__main__":
    main()
