"""What is kept? A model ready to speak, and all that training needs to go on.

    checkpoints/step-00000500/
      model.safetensors     parameters, under their names, and the tokenizer's hash
      config.json           the whole run, readable without PyTorch
      tokenizer.json        so that a checkpoint never needs its corpus
      trainer.safetensors   the optimisers' state, by parameter name
      trainer.json          step, scaler, best loss, the corpus's hash
      manifest.json         SHA-256 of each file, written last

A folder is filled under a temporary name, flushed and renamed: it is whole or it is
not there. An older one is removed only when the new one is on the disk. So of a run
that has saved once there is always a whole checkpoint, whether the process is killed or
the power is cut. Nothing is pickled, so that reading a checkpoint runs no code.
"""

import dataclasses
import json
import re
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from safetensors import SafetensorError
from safetensors.torch import load as load_bytes
from safetensors.torch import save as save_bytes
from torch import Tensor, nn
from torch.overrides import TorchFunctionMode

from minillm import tokenizer as tokenizers
from minillm.config import ModelConfig, RunConfig, from_dict, to_dict
from minillm.costs import num_parameters
from minillm.files import (
    new_folder,
    read_json,
    remove_folder,
    status,
    write_atomically,
    write_json,
)
from minillm.model import LanguageModel, build
from minillm.run import check_manifest, write_manifest
from minillm.tokenizer import Tokenizer

STEP_FOLDER = re.compile(r"step-(\d{8,})")
PICKLES = (".pt", ".pth", ".ckpt", ".pkl", ".bin")
PICKLE_REFUSED = (
    "{} may be a pickle, which can run any code when it is read; convert it to"
    " safetensors first"
)
MARGIN = 2**23
"""Bytes of memory that must be left when tensors are read or written."""

READ_AGAIN = 9
"""Times that training may remove a checkpoint that is just read; it has a newer one."""

TOKENIZER_NOTE = "tokenizer_sha256"
"""What the hash of the tokenizer is called beside the weights it belongs to."""


@dataclass(frozen=True)
class Checkpoint:
    """A model ready to speak, with the configuration and tokenizer it learnt under."""

    config: RunConfig
    model: LanguageModel
    tokenizer: Tokenizer
    folder: Path


@dataclass(frozen=True, kw_only=True)
class TrainerState:
    """What a resumed run must know to continue as if nothing had happened."""

    step: int
    skipped: int
    """Steps that float16 gave up because a gradient overflowed."""
    best_step: int
    best_val_loss: float | None
    corpus_hash: str
    scaler: dict[str, Any]


def save(
    checkpoints: Path,
    config: RunConfig,
    model: LanguageModel,
    tokenizer: Tokenizer,
    state: TrainerState,
    optimizers: list[torch.optim.Optimizer],
) -> Path:
    """Write ``step-NNNNNNNN`` and remove all but it and the best; returns the folder.

    It is on the disk when this returns. The caller holds the run's lock.

    Raises:
        OSError: the disk is full or read-only; what was there before is untouched.
    """
    final = checkpoints / f"step-{state.step:08d}"
    with new_folder(final, replace=True) as folder:
        write_model(folder, config, model, tokenizer)
        write_safetensors(
            folder / "trainer.safetensors", optimizer_tensors(model, optimizers)
        )
        write_json(folder / "trainer.json", dataclasses.asdict(state))
        write_manifest(folder)
    keep_only(checkpoints, state.step, state.best_step)
    return final


def keep_only(checkpoints: Path, *steps: int) -> None:
    """Remove the checkpoints of all other steps, for good when this returns."""
    for step, folder in step_folders(checkpoints):
        if step not in steps:
            remove_folder(folder)


def write_model(
    folder: Path, config: RunConfig, model: LanguageModel, tokenizer: Tokenizer
) -> None:
    """Write what :func:`load` reads: the weights, the run and the tokenizer."""
    # One note only: safetensors writes several in an order that changes.
    write_safetensors(
        folder / "model.safetensors",
        model.state_dict(),
        {TOKENIZER_NOTE: tokenizer.hash},
    )
    write_json(folder / "config.json", to_dict(config))
    tokenizer.save(folder / "tokenizer.json")


def load(path: Path, device: str = "cpu", which: str = "best") -> Checkpoint:
    """Read a model back, in evaluation mode.

    Args:
        path: a run's folder, a checkpoint's, or any folder holding
            ``model.safetensors``, ``config.json`` and ``tokenizer.json``.
        device: where the parameters go.
        which: ``best`` or ``last``, if ``path`` is a run.

    Raises:
        ValueError: nothing to load is there, a file is damaged, or the parts do not
            belong together.
    """
    for _ in range(READ_AGAIN):
        before = step_folders(path / "checkpoints")
        try:
            return _load(path, device, which)
        except (ValueError, OSError):
            if step_folders(path / "checkpoints") == before:
                raise
    return _load(path, device, which)


def _load(path: Path, device: str, which: str) -> Checkpoint:
    folder = find(path, which)
    with _other_kept(folder, "{other} is kept too, and can be read instead"):
        return _load_folder(folder, device)


def _load_folder(folder: Path, device: str) -> Checkpoint:
    if (folder / "manifest.json").exists():
        check_manifest(folder)
    where = str(folder / "config.json")
    config = from_dict(RunConfig, read_json(folder / "config.json"), where)
    tokenizer = tokenizers.load(folder / "tokenizer.json")
    if tokenizer.vocab_size != config.model.vocab_size:
        raise ValueError(
            f"{folder}: the tokenizer's vocab_size ({tokenizer.vocab_size}) must equal"
            f" the model's ({config.model.vocab_size})"
        )
    weights = folder / "model.safetensors"
    tensors = read_safetensors(weights)
    require_enough(tensors, config.model, weights)
    model = build_empty(config.model)
    _fill(model, tensors, weights)
    trained_with = read_notes(weights).get(TOKENIZER_NOTE)
    if trained_with not in (None, tokenizer.hash):  # None: kept by an older version
        raise ValueError(
            f"{folder / 'tokenizer.json'} ({tokenizer.hash[:12]}...) must be the"
            f" tokenizer that the weights were trained with ({trained_with[:12]}...)"
        )
    return Checkpoint(config, model.to(device).eval(), tokenizer, folder)


def load_trainer(
    folder: Path, model: LanguageModel, optimizers: list[torch.optim.Optimizer]
) -> TrainerState:
    """Put parameters and optimiser state back where they were; return the rest.

    Raises:
        ValueError: a file is missing or damaged, or belongs to another model.
    """
    with _other_kept(folder, "remove {folder} to resume from {other}"):
        return _load_trainer(folder, model, optimizers)


def _load_trainer(
    folder: Path, model: LanguageModel, optimizers: list[torch.optim.Optimizer]
) -> TrainerState:
    check_manifest(folder)
    plain = read_json(folder / "trainer.json")
    known = [key.name for key in dataclasses.fields(TrainerState)]
    if plain.keys() != set(known):
        raise ValueError(f"{folder / 'trainer.json'} must hold {', '.join(known)}")
    for name in ("step", "skipped", "best_step"):
        if type(plain[name]) is not int or plain[name] < 0:
            raise ValueError(
                f"{folder / 'trainer.json'}: {name} ({plain[name]!r}) must be a number"
                " of steps"
            )
    load_parameters(model, folder / "model.safetensors")
    tensors = read_safetensors(folder / "trainer.safetensors")
    for name, parameter in model.named_parameters():
        for optimizer in optimizers:
            if any(parameter is p for g in optimizer.param_groups for p in g["params"]):
                optimizer.state[parameter] = {
                    key.rpartition("/")[2]: tensor.to(parameter.device)
                    for key, tensor in tensors.items()
                    if key.rpartition("/")[0] == name
                }
    return TrainerState(**plain)


@contextmanager
def _other_kept(folder: Path, advice: str) -> Iterator[None]:
    """Let an error name the other checkpoint of the run, if there is one."""
    try:
        yield
    except ValueError as error:
        others = [f for _, f in step_folders(folder.parent) if f != folder]
        if STEP_FOLDER.fullmatch(folder.name) is None or not others:
            raise
        advice = advice.format(folder=folder, other=others[-1])
        raise ValueError(f"{error}; {advice}") from None


def find(path: Path, which: str = "best") -> Path:
    """The folder that holds the model which ``path`` means.

    Raises:
        ValueError: there is none, or only a pickle, which is never read.
    """
    if (path / "model.safetensors").is_file():
        return path
    checkpoints = path / "checkpoints" if (path / "checkpoints").is_dir() else path
    if found := step_folders(checkpoints):
        step, last = found[-1]
        if which == "last":
            return last
        best = read_json(last / "trainer.json").get("best_step", step)
        return next((folder for step, folder in found if step == best), last)
    looked_at = [path] if path.is_file() else sorted(path.glob("*"))
    pickles = [file for file in looked_at if file.suffix in PICKLES]
    if pickles:
        raise ValueError(PICKLE_REFUSED.format(pickles[0]))
    if not path.exists():
        raise ValueError(f"{path} does not exist")
    raise ValueError(f"{path} holds no checkpoint: no model.safetensors in it")


def step_folders(checkpoints: Path) -> list[tuple[int, Path]]:
    """Complete checkpoints with their steps, the oldest first."""
    if not checkpoints.is_dir():
        return []
    found = [
        (int(match[1]), folder)
        for folder in checkpoints.iterdir()
        if (match := STEP_FOLDER.fullmatch(folder.name)) and folder.is_dir()
    ]
    return sorted(found)


# ------------------------------------------------------------------ tensors


def build_empty(config: ModelConfig) -> LanguageModel:
    """A model whose parameters hold nothing yet, without the time to draw them."""
    with torch.device("meta"), _NothingDrawn():
        model = build(config)
    for module in model.modules():  # as to_empty, which would import the compiler too
        for name, parameter in module.named_parameters(recurse=False):
            room = torch.empty(parameter.shape, dtype=parameter.dtype)
            setattr(module, name, nn.Parameter(room))
    return model


class _NothingDrawn(TorchFunctionMode):
    """Inside, what initialises a tensor leaves it as it is.

    Even of a tensor without content, PyTorch wants to know what drawing it would do,
    and imports its compiler to find out: four seconds before the first token.
    """

    def __torch_function__(
        self,
        func: Callable[..., Any],
        types: Sequence[type],
        args: tuple[Any, ...] = (),
        kwargs: dict[str, Any] | None = None,
    ) -> Any:
        given = kwargs or {}
        if getattr(func, "__module__", None) == nn.init.__name__:
            return given["tensor"]
        return func(*args, **given)


def load_parameters(model: LanguageModel, path: Path) -> None:
    """Fill every parameter of ``model`` from a file.

    Raises:
        ValueError: the file is damaged, a name, shape or dtype differs, or a number is
            not finite; names it.
    """
    _fill(model, read_safetensors(path), path)


def _fill(model: LanguageModel, tensors: dict[str, Tensor], path: Path) -> None:
    own = model.state_dict()
    for name in sorted(tensors.keys() ^ own.keys()):
        verb = "is not in the model" if name in tensors else "is missing"
        raise ValueError(f"{path}: {name} {verb}: it belongs to another configuration")
    for name in own:  # in the model's order: safetensors' own changes
        tensor = tensors[name]
        if tensor.shape != own[name].shape or tensor.dtype != own[name].dtype:
            raise ValueError(
                f"{path}: {name} is {_describe(tensor)}, but must be"
                f" {_describe(own[name])}"
            )
    require_finite(tensors, str(path))
    model.load_state_dict(tensors)


def require_finite(tensors: Mapping[str, Tensor], where: str) -> None:
    """Refuse weights that are no numbers: attention can hide them.

    PyTorch's kernel for a CPU takes NaN scores for no scores. The model speaks on, and
    evaluates to a plausible loss, of a sentence it has not read.

    Raises:
        ValueError: a weight is NaN or infinite; names the tensor, and where it is.
    """
    for name, tensor in tensors.items():
        if not is_finite(tensor):
            raise ValueError(
                f"{where}: {name} must hold finite numbers only: the model has diverged"
            )


def is_finite(tensor: Tensor) -> bool:
    """Whether all of at least one number are finite."""
    # Least and most pass NaN on, and are found thirty times as fast as isfinite().all()
    return all(bool(end.isfinite()) for end in tensor.aminmax())


def require_enough(
    tensors: Mapping[str, Tensor], config: ModelConfig, path: Path
) -> None:
    """See that a model is not far larger than what it is to be filled with.

    A damaged configuration could ask for all memory, or a billion layers. If only a
    part is missing, it is named later, when names are compared.

    Raises:
        ValueError: it is more than twice as large; names the path of the weights.
    """
    needed, there = num_parameters(config), sum(t.numel() for t in tensors.values())
    if 2 * there < needed:
        raise ValueError(
            f"{path} holds {there} numbers, but a model as config.json describes it has"
            f" {needed}: it belongs to another configuration"
        )


def optimizer_tensors(
    model: LanguageModel, optimizers: list[torch.optim.Optimizer]
) -> dict[str, Tensor]:
    """The optimisers' state as ``parameter name/what``, for example ``.../exp_avg``."""
    tensors = {}
    for name, parameter in model.named_parameters():
        for optimizer in optimizers:
            for key, value in optimizer.state.get(parameter, {}).items():
                tensors[f"{name}/{key}"] = torch.as_tensor(value)
    return tensors


def write_safetensors(
    path: Path, tensors: dict[str, Tensor], notes: dict[str, str] | None = None
) -> None:
    """Write tensors atomically, readable by everyone who may read the folder.

    Args:
        path: the file.
        tensors: by name.
        notes: kept beside them; ``transformers`` needs the one that is the default.
    """
    plain = {name: tensor.detach().contiguous() for name, tensor in tensors.items()}
    with _memory_for(sum(tensor.nbytes for tensor in plain.values())):
        content = save_bytes(plain, metadata=notes or {"format": "pt"})
    write_atomically(path, content)


def read_safetensors(path: Path) -> dict[str, Tensor]:
    """Read tensors.

    Raises:
        ValueError: the file is missing, not whole, or a pickle; names it.
        OSError: the system does not let us read; that is no damage.
    """
    _require_whole(path)
    content = path.read_bytes()
    try:
        with _memory_for(len(content)):
            return load_bytes(content)
    except (SafetensorError, json.JSONDecodeError, KeyError, RuntimeError):
        raise ValueError(f"{path} is not a whole safetensors file") from None


LARGEST_HEADER = 100_000_000
"""Bytes of a header; safetensors itself refuses a longer one."""


def _require_whole(path: Path) -> None:
    """See that a file is as long as its header says, before all of it is read."""
    size = status(path).st_size
    with path.open("rb") as file:
        beginning = file.read(8)
        length = int.from_bytes(beginning, "little")
        try:
            header = json.loads(file.read(length) if length < LARGEST_HEADER else b"")
            header.pop("__metadata__", None)
            ends = [tensor["data_offsets"][1] for tensor in header.values()]
            whole = size == 8 + length + max(ends, default=0)
        except (ValueError, RecursionError, AttributeError, TypeError, LookupError):
            whole = False
    if not whole:
        if _may_be_pickle(beginning):
            raise ValueError(PICKLE_REFUSED.format(path))
        raise ValueError(f"{path} is not a whole safetensors file")


@contextmanager
def _memory_for(num_bytes: int) -> Iterator[None]:
    """Let safetensors copy so many bytes, or raise MemoryError.

    Where memory ends, its Rust panics, which is no ``Exception``, or ends the process.
    So we ask for what it will need, and give it back untouched, before it asks.
    """
    np.empty(3 * num_bytes + MARGIN, np.uint8)
    try:
        yield
    except BaseException as error:
        if type(error).__name__ != "PanicException":
            raise
        raise MemoryError from error


def _may_be_pickle(content: bytes) -> bool:
    """Whether bytes that are no safetensors begin as ``torch.save`` writes them."""
    zipped = content.startswith(b"PK\x03\x04")
    # a pickle names its protocol; safetensors' length of the header ends with zeros
    plain = content[:1] == b"\x80" and content[1:2] in (b"\2", b"\3", b"\4", b"\5")
    return zipped or (plain and content[4:8] != bytes(4))


def read_notes(path: Path) -> dict[str, str]:
    """The notes that a whole safetensors file has beside its tensors."""
    with path.open("rb") as file:
        header = json.loads(file.read(int.from_bytes(file.read(8), "little")))
    notes: dict[str, str] = header.get("__metadata__", {})
    return notes


def _describe(tensor: Tensor) -> str:
    return f"{str(tensor.dtype).removeprefix('torch.')} {tuple(tensor.shape)}"
