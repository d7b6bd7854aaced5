"""In which order do things happen? Predict, compare, adjust, and now and then measure.

The loop defines nothing itself and prints nothing: it calls ``report`` with what it
knows, and whoever trains draws, prints or stores it. Book: chapter 7.
"""

import hashlib
import math
import os
import signal
import sys
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager, nullcontext
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, distributed, nn
from torch.nn.parallel import DistributedDataParallel

from minillm import checkpoint
from minillm.checkpoint import TrainerState
from minillm.config import (
    ModelConfig,
    RunConfig,
    TrainConfig,
    fingerprint,
    from_dict,
    to_dict,
)
from minillm.data import Corpus, TokenFile
from minillm.evaluate import evaluate, next_token_loss
from minillm.files import read_json
from minillm.model import LanguageModel
from minillm.model import build as build_model
from minillm.optim import build_optimizers, set_learning_rate
from minillm.precision import Precision, pick_device
from minillm.run import RunFolder


class DivergedError(ValueError):
    """A loss or a parameter is no longer finite; the best checkpoint is from before."""


class PeerLostError(ValueError):
    """Another process of the run has ended; nothing can be computed together."""


@dataclass(frozen=True, kw_only=True)
class Metrics:
    """What is known after ``step`` steps. Losses are in nats per token."""

    step: int
    tokens: int
    """Training tokens read so far."""
    train_loss: float | None
    """Loss on the last step's batch; None before the first step."""
    val_loss: float | None = None
    """Loss on the whole validation split; None if it was not due."""
    val_bits_per_byte: float | None = None
    learning_rate: float
    grad_norm: float | None
    """Length of the last gradient before clipping."""
    skipped: int
    """Steps that float16 gave up so far."""
    seconds: float
    """Wall-clock time in this process since training began or resumed."""
    tokens_per_second: float
    """Since the last measurement, without the time spent on measuring."""


@dataclass(frozen=True)
class Process:
    """This process among those that train together under ``torchrun``."""

    rank: int = 0
    world_size: int = 1

    @property
    def leads(self) -> bool:
        """Whether this is the process that measures and writes."""
        return self.rank == 0


@dataclass(frozen=True)
class Step:
    """What one optimiser step has shown."""

    loss: float
    grad_norm: float
    taken: bool


def train(
    config: RunConfig,
    report: Callable[[Metrics], None] | None = None,
    directory: Path | None = None,
    *,
    build: Callable[[ModelConfig], LanguageModel] = build_model,
    resume: bool = False,
    overwrite: bool = False,
    stop: Callable[[], bool] = lambda: False,
) -> LanguageModel:
    """Train a model.

    Everything random is a function of the seed and the step: equal configurations on
    one machine give equal models, measuring more often changes nothing, and a resumed
    run equals an uninterrupted one, whatever has ended it. The caller's random
    generator is left alone.

    "Equal" is bit for bit on a CPU with the same PyTorch, in whatever process, folder
    or locale. It is not promised of another number of threads, of another machine or
    PyTorch, of ``compile`` (its dropout is another, and with several threads two runs
    differ), nor of a GPU, some of whose sums come in no fixed order: there
    ``torch.use_deterministic_algorithms(True)`` asks for it, at a price.

    A loss, a gradient or a parameter that is not finite ends the run. In float16 alone
    such a gradient is rare and harmless, and only its step is given up.

    Under ``torchrun`` the processes share each batch; ``batch_size`` counts all of
    them together, so their number does not change what is computed. A run may be
    resumed by another number of processes, and with other ``batch_size`` and
    ``accumulate`` of the same product: it reads the same samples, and what it computes
    differs by rounding alone (and by what dropout draws).

    Args:
        config: the whole run. ``vocab_size`` may be 0: the corpus's is taken.
        report: called with each measurement.
        directory: where checkpoints and metrics are kept; omit to keep none.
        build: makes the model; for experiments with altered parts.
        resume: continue the run in ``directory`` from its last checkpoint.
        overwrite: replace the run in ``directory``, once a first gradient is computed.
        stop: asked before each step, and not within a pass over the validation split;
            True writes a checkpoint and ends the run early.

    Returns:
        The model as it is after the last step.

    Raises:
        ValueError: corpus and configuration do not fit, ``directory`` holds a run
            already or none to resume, or the device is missing.
        DivergedError: a loss, a gradient or a parameter is not finite; says at which
            step, and what to try.
        PeerLostError: another process of the run has ended, and this one too.
    """
    corpus = Corpus(config.data.directory)
    config = with_vocabulary(config, corpus)
    # A text too short for one window is refused now, not after the first evaluation.
    corpus.train.batch(0, 0, 1, config.model.context_length)
    with _together(config) as (process, device), _own_random_state(device):
        precision = Precision(config.train.precision, device.type)
        torch.manual_seed(config.train.seed)
        model = build(config.model).to(device)
        optimizers = build_optimizers(model, config.train)
        loop = _Loop(
            config, corpus, model, optimizers, precision, process, device, stop
        )
        folder = None if directory is None else RunFolder(directory)
        with folder.locked() if folder and process.leads else nullcontext():
            start = None
            if folder is not None:
                start = _open_folder(folder, loop, resume, overwrite)
            loop.run(report or (lambda _: None), folder, start)
    return model


def with_vocabulary(config: RunConfig, corpus: Corpus) -> RunConfig:
    """The configuration with the corpus's ``vocab_size``.

    Raises:
        ValueError: the configuration names another one.
    """
    asked = config.model.vocab_size
    if asked not in (0, corpus.vocab_size):
        raise ValueError(
            f"vocab_size ({asked}) must equal the prepared corpus's"
            f" ({corpus.vocab_size}, {corpus.directory})"
        )
    model = replace(config.model, vocab_size=corpus.vocab_size)
    return replace(config, model=model)


def take_step(
    step: int,
    model: LanguageModel,
    optimizers: list[torch.optim.Optimizer],
    precision: Precision,
    split: TokenFile,
    config: RunConfig,
    *,
    skipped: int = 0,
    process: Process | None = None,
    forward: Callable[[Tensor], Tensor] | None = None,
) -> Step:
    """One optimiser step on ``accumulate`` micro-batches.

    Everything random in it depends on ``(seed, step)`` alone.

    Args:
        step: which batch to read; counts every step, taken or skipped.
        model: its parameters move.
        optimizers: from :func:`minillm.optim.build_optimizers`.
        precision: autocast and scaler.
        split: the training tokens.
        config: the run.
        skipped: steps given up so far; they do not advance the schedule.
        process: this process's share of each batch; all of it if left out.
        forward: the model, compiled or wrapped; ``model`` itself if left out.
    """
    settings, process = config.train, process or Process()
    forward = model if forward is None else forward
    device = next(model.parameters()).device
    set_learning_rate(optimizers, step - skipped, settings)
    for optimizer in optimizers:
        optimizer.zero_grad(set_to_none=True)
    share = settings.batch_size // process.world_size
    rows = slice(process.rank * share, (process.rank + 1) * share)
    total = torch.zeros((), device=device)
    for micro in range(settings.accumulate):
        torch.manual_seed(_seed(settings.seed, step, micro, process.rank))  # dropout
        inputs, targets = split.batch(
            settings.seed,
            step * settings.accumulate + micro,
            settings.batch_size,
            config.model.context_length,
            rows=rows,
        )
        inputs, targets = _to_device(inputs, device), _to_device(targets, device)
        last = micro == settings.accumulate - 1
        with precision.autocast():
            # each micro-batch gives its share of the mean over all of them
            loss = next_token_loss(forward(inputs), targets) / settings.accumulate
        with nullcontext() if last else _without_sync(forward):
            precision.backward(loss)
        total += loss.detach()
    if process.world_size > 1:
        distributed.all_reduce(total)
        total /= process.world_size
    parameters = [p for p in model.parameters() if p.requires_grad]
    grad_norm, taken = precision.step(optimizers, parameters, settings.grad_clip)
    mean_loss = total.item()
    if precision.name != "float16" and not (taken and math.isfinite(mean_loss)):
        raise _diverged(
            f"loss ({mean_loss})"
            if not math.isfinite(mean_loss)
            else f"gradient's norm ({grad_norm})",
            step,
            settings,
        )
    if precision.exhausted:
        raise DivergedError(
            f"gradients overflow at every scale at step {step}; try bfloat16, float32"
            f" or a lower learning_rate (now {settings.learning_rate:g})"
        )
    return Step(mean_loss, grad_norm, taken)


def _diverged(what: str, step: int, settings: TrainConfig) -> DivergedError:
    return DivergedError(
        f"{what} is not finite at step {step}; try a lower learning_rate"
        f" (now {settings.learning_rate:g}), more warmup_steps"
        f" (now {settings.warmup_steps}) or float32"
    )


# ------------------------------------------------------------------ the loop


class _Loop:
    """One run in progress: what it is made of, and how far it has come."""

    def __init__(
        self,
        config: RunConfig,
        corpus: Corpus,
        model: LanguageModel,
        optimizers: list[torch.optim.Optimizer],
        precision: Precision,
        process: Process,
        device: torch.device,
        stop: Callable[[], bool],
    ) -> None:
        self.config, self.corpus, self.model = config, corpus, model
        self.optimizers, self.precision = optimizers, precision
        self.process, self.device, self.stop = process, device, stop
        self.skipped, self.best_step = 0, 0
        self.best_val_loss: float | None = None
        self.forward: nn.Module = model
        if process.world_size > 1:
            self.forward = DistributedDataParallel(model)
        if config.train.compile:
            self.forward = torch.compile(self.forward)  # type: ignore[assignment]

    def run(
        self,
        report: Callable[[Metrics], None],
        folder: RunFolder | None,
        start: int | None,
    ) -> None:
        """Measure, save and step until the end, or until someone says stop."""
        settings, first = self.config.train, start or 0
        tokens_per_step = (
            settings.batch_size * settings.accumulate * self.config.model.context_length
        )
        began = clock = time.perf_counter()
        done: Step | None = None
        clock_step, working = first, 0.0
        for step in range(first, settings.steps + 1):
            stopped = self._agree(self.stop())
            # A resumed run was measured and saved here before it was interrupted.
            fresh = start is None or step > start
            ends = step == settings.steps
            evaluates = fresh and (step % settings.eval_every == 0 or ends)
            metrics = None
            if fresh and (evaluates or step % settings.log_every == 0):
                working += time.perf_counter() - clock
                metrics = Metrics(
                    step=step,
                    tokens=step * tokens_per_step,
                    train_loss=done.loss if done else None,
                    learning_rate=self.optimizers[0].param_groups[0]["lr"],
                    grad_norm=done.grad_norm if done else None,
                    skipped=self.skipped,
                    seconds=time.perf_counter() - began,
                    tokens_per_second=(step - clock_step)
                    * tokens_per_step
                    / max(working, 1e-9),
                )
                if evaluates:
                    metrics = self._measure(metrics)
                if folder is not None and self.process.leads:
                    folder.append(asdict(metrics))
                clock_step, working = step, 0.0
                clock = time.perf_counter()
            improved = evaluates and self.best_step == step
            due = step % settings.checkpoint_every == 0 and step > 0
            if folder is not None and fresh and (due or improved or ends or stopped):
                self._save(folder, step)
                working += time.perf_counter() - clock
                clock = time.perf_counter()
            if metrics is not None:
                if self.process.leads:  # saved before: to tell of it may go wrong
                    report(metrics)
                clock = time.perf_counter()
            if ends or stopped:
                return
            done = take_step(
                step,
                self.model,
                self.optimizers,
                self.precision,
                self.corpus.train,
                self.config,
                skipped=self.skipped,
                process=self.process,
                forward=self.forward,
            )
            self.skipped += not done.taken

    def rehearse(self) -> None:
        """Compute a first gradient, and forget it.

        What cannot be computed here, for want of memory say, then fails before the run
        that it was to replace is gone.
        """
        settings = self.config.train
        inputs, targets = self.corpus.train.batch(
            settings.seed,
            0,
            settings.batch_size,
            self.config.model.context_length,
            rows=slice(0, settings.batch_size // self.process.world_size),
        )
        inputs, targets = (_to_device(x, self.device) for x in (inputs, targets))
        with self.precision.autocast():
            loss = next_token_loss(self.forward(inputs), targets)
        loss.backward()  # type: ignore[no-untyped-call]
        for optimizer in self.optimizers:
            optimizer.zero_grad(set_to_none=True)

    def _measure(self, metrics: Metrics) -> Metrics:
        """Add the validation loss; only the leading process computes it."""
        if self.process.leads:
            result = evaluate(self.model, self.corpus.val, precision=self.precision)
            if not math.isfinite(result.loss):
                raise _diverged(
                    f"validation loss ({result.loss})", metrics.step, self.config.train
                )
            if self.best_val_loss is None or result.loss < self.best_val_loss:
                self.best_val_loss, self.best_step = result.loss, metrics.step
            metrics = replace(
                metrics, val_loss=result.loss, val_bits_per_byte=result.bits_per_byte
            )
        if self.process.world_size > 1:
            distributed.barrier()
        return metrics

    def _save(self, folder: RunFolder, step: int) -> None:
        if not self.process.leads:
            return
        folder.require_held()
        for name, parameter in self.model.named_parameters():
            if not checkpoint.is_finite(parameter):
                raise _diverged(f"parameter {name}", step, self.config.train)
        state = TrainerState(
            step=step,
            skipped=self.skipped,
            best_step=self.best_step,
            best_val_loss=self.best_val_loss,
            corpus_hash=self.corpus.hash,
            scaler=self.precision.scaler.state_dict(),
        )
        checkpoint.save(
            folder.checkpoints,
            self.config,
            self.model,
            self.corpus.tokenizer,
            state,
            self.optimizers,
        )

    def restore(self, state: TrainerState) -> None:
        """Take over what a checkpoint knows besides tensors."""
        self.skipped, self.best_step = state.skipped, state.best_step
        self.best_val_loss = state.best_val_loss
        if state.scaler:
            self.precision.scaler.load_state_dict(state.scaler)

    def _agree(self, stopped: bool) -> bool:
        """Stop all processes as soon as one is told to."""
        if self.process.world_size == 1:
            return stopped
        flag = torch.tensor(int(stopped), device=self.device)
        distributed.all_reduce(flag, op=distributed.ReduceOp.MAX)
        return bool(flag)


def _open_folder(
    folder: RunFolder, loop: _Loop, resume: bool, overwrite: bool
) -> int | None:
    """Prepare the run's folder; return the step to resume from, if any."""
    if not resume:
        if folder.exists and not overwrite and loop.process.leads:
            raise ValueError(
                f"{folder.directory} holds a run already; resume it, overwrite it or"
                " choose another folder"
            )
        if overwrite:
            folder.require_own()
            loop.rehearse()
        if loop.process.leads:
            # Before the new configuration stands there: it would lay claim to them.
            checkpoint.keep_only(folder.checkpoints)
            folder.begin(to_dict(loop.config))
        return None
    found = checkpoint.step_folders(folder.checkpoints)
    if not found:
        if folder.exists:  # interrupted before its first checkpoint: begin again
            _require_same(folder, folder.config_path, loop)
            if loop.process.leads:
                folder.begin(to_dict(loop.config))
            return None
        raise ValueError(
            f"{folder.directory} holds no run to resume: start one without --resume"
        )
    _, last = found[-1]
    _require_same(folder, last / "config.json", loop)
    state = checkpoint.load_trainer(last, loop.model, loop.optimizers)
    if state.corpus_hash != loop.corpus.hash:
        raise ValueError(
            f"{loop.corpus.directory} is not the corpus that {folder.directory} was"
            " trained on"
        )
    loop.restore(state)
    if loop.process.leads:
        checkpoint.keep_only(folder.checkpoints, state.step, state.best_step)
        folder.rewind(state.step)
    return state.step


def _require_same(folder: RunFolder, path: Path, loop: _Loop) -> None:
    """A resumed run must be the same run: compare what its results depend on.

    Raises:
        ValueError: something differs from the configuration in ``path``.
    """
    before = from_dict(RunConfig, read_json(path), str(path))
    if fingerprint(before) == fingerprint(loop.config) and (
        before.train.seed == loop.config.train.seed
    ):
        return
    for section in ("model", "train"):
        old, new = (_kept(getattr(one, section)) for one in (before, loop.config))
        for name in old:
            if old[name] != new[name]:
                raise ValueError(
                    f"{name} ({new[name]}) differs from the run in"
                    f" {folder.directory} ({old[name]}): a resumed run keeps it"
                )


def _kept(part: ModelConfig | TrainConfig) -> dict[str, Any]:
    """What a resumed run must have in common with the run before."""
    values = to_dict(part)
    if isinstance(part, TrainConfig):
        # Samples are counted from the first: however a batch is split, they are those.
        del values["batch_size"], values["accumulate"]
        values["batch_size x accumulate"] = part.batch_size * part.accumulate
    return {
        name: value
        for name, value in values.items()
        if name != "device" and not name.endswith("_every")
    }


# ------------------------------------------------------------------ processes


@contextmanager
def _together(config: RunConfig) -> Iterator[tuple[Process, torch.device]]:
    """Join the other processes, if ``torchrun`` has started any, and leave at the end.

    Who loses another process ends too: nothing more can be computed together.

    Raises:
        ValueError: the batch cannot be shared equally, or the others are not found.
        PeerLostError: another process has ended.
    """
    world_size = _world_size()
    device = pick_device(config.train.device)
    if world_size == 1:
        yield Process(), device
        return
    if config.train.batch_size % world_size:
        raise ValueError(
            f"batch_size ({config.train.batch_size}) must be a multiple of the number"
            f" of processes ({world_size})"
        )
    if device.type == "cuda":
        device = torch.device("cuda", int(os.environ["LOCAL_RANK"]))
        torch.cuda.set_device(device)
    try:
        with _system_answers_signals():
            distributed.init_process_group("nccl" if device.type == "cuda" else "gloo")
    except distributed.DistError as error:
        reason = str(error).splitlines()[0]
        raise ValueError(f"the {world_size} processes cannot meet: {reason}") from error
    _GROUPS.append(distributed.group.WORLD)
    try:
        yield Process(distributed.get_rank(), world_size), device
    except RuntimeError as error:
        # Gloo's errors have no class of their own, and name its source file.
        if not isinstance(error, distributed.DistError) and "/gloo/" not in str(error):
            raise
        raise PeerLostError(
            f"another of the {world_size} processes has ended: resume from the last"
            " checkpoint"
        ) from error
    finally:
        distributed.destroy_process_group()


def _world_size() -> int:
    value = os.environ.get("WORLD_SIZE", "1")
    if not value.isdecimal() or int(value) < 1:
        raise ValueError(f"WORLD_SIZE ({value!r}) must be a number of processes")
    return int(value)


@contextmanager
def _system_answers_signals() -> Iterator[None]:
    """Inside, a signal ends the process: C++ waits there, and Python cannot answer."""
    ours = {}
    if threading.current_thread() is threading.main_thread():  # others may not ask
        for name in ("SIGINT", "SIGTERM", "SIGHUP"):
            number = getattr(signal, name, None)  # Windows has no SIGHUP
            if number is not None and callable(signal.getsignal(number)):
                ours[number] = signal.signal(number, signal.SIG_DFL)
    try:
        yield
    finally:
        for number, handler in ours.items():
            signal.signal(number, handler)


_GROUPS: list[Any] = []
"""Kept to the end of the process, or some processes would never end.

To destroy a group waits for its threads, and one of them may wait for the interpreter's
lock. Python's own reference gives the lock up before; DistributedDataParallel's, which
would otherwise be the last, does not.
"""


def _own_random_state(device: torch.device) -> AbstractContextManager[None]:
    """Seed as we like inside; the caller's generators go on where they were."""
    return torch.random.fork_rng(devices=[device] if device.type == "cuda" else [])


def _without_sync(forward: Any) -> AbstractContextManager[Any]:
    """Gradients of all but the last micro-batch need not be exchanged."""
    if isinstance(forward, DistributedDataParallel):
        return forward.no_sync()
    return nullcontext()


def _to_device(tensor: Tensor, device: torch.device) -> Tensor:
    if device.type == "cuda":  # from pinned memory the copy overlaps the computing
        return tensor.pin_memory().to(device, non_blocking=True)
    return tensor.to(device)


def _seed(*parts: int) -> int:
    """A seed of its own for each address, the same on every machine."""
    digest = hashlib.blake2b(repr(parts).encode(), digest_size=7).digest()
    return int.from_bytes(digest, "big")


if __name__ == "__main__":
    from minillm.cli import main

    main(["train", *sys.argv[1:]])
