"""What did the person say? The only file that reads arguments, prints and exits.

A verb imports what it needs when it runs: ``minillm --help`` never waits for PyTorch.
A user's mistake is one line on standard error and exit code 2.
"""

import argparse
import ast
import dataclasses
import io
import math
import os
import shlex
import signal
import sys
import threading
import typing
from collections import deque
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from itertools import pairwise
from pathlib import Path
from types import FrameType
from typing import TYPE_CHECKING, Any, NoReturn, TextIO

from minillm import __version__, config
from minillm.config import DataConfig, ModelConfig, RunConfig, TrainConfig

if TYPE_CHECKING:
    from tqdm import tqdm

    from minillm.checkpoint import Checkpoint
    from minillm.tokenizer import Tokenizer
    from minillm.train import Metrics

DATA = DataConfig().directory
RUNS = Path("runs")
TRACEBACK = "MINILLM_TRACEBACK"
"""Set this environment variable to see where an error comes from."""


def main(arguments: Sequence[str] | None = None) -> None:
    """Do what the command line says, and exit."""
    words = sys.argv[1:] if arguments is None else list(arguments)
    _open_streams()
    # A terminal without a character for it gets its number, and no error.
    if isinstance(sys.stdout, io.TextIOWrapper):
        sys.stdout.reconfigure(errors="backslashreplace")
    verb = None
    try:
        with _answering(_interrupt):
            parser, known = _parser(words)
            options = parser.parse_args(_spelled(words, known))
            verb = options.verb
            code = verb(options)
    except BrokenPipeError:  # `minillm generate | head` has read enough
        code = 0
    except KeyboardInterrupt as interrupt:
        _say("minillm: interrupted")
        code = 128 + (interrupt.args[0] if interrupt.args else signal.SIGINT)
    except (ValueError, OSError) as error:
        if os.environ.get(TRACEBACK):
            raise
        _fail(one_line(error))
    except (MemoryError, RuntimeError, ImportError) as error:
        if os.environ.get(TRACEBACK) or not _is_out_of_memory(error):
            raise
        _fail(
            "not enough memory: try a smaller batch_size (with a larger accumulate, if"
            " the batch should stay the same) or a smaller context_length"
            if verb is train
            else "not enough memory to prepare this text: try fewer workers"
            if verb is prepare
            else "not enough memory for this model: try a smaller one"
        )
    sys.exit(code)


# ------------------------------------------------------------------ the verbs


def prepare(options: argparse.Namespace) -> int:
    """Turn text into token files."""
    from minillm import data

    if options.verify is not None:
        if options.source:
            raise ValueError(
                f"--verify takes a prepared folder only, not {options.source[0]}"
            )
        data.verify(options.verify)
        _print(f"{options.verify}: every file is the one that was written")
        return 0
    if not options.source:
        raise ValueError("name a source: shakespeare, a file or a folder")
    directory = options.out or _corpus_folder(options.source)
    with _bar(unit="B", unit_scale=True) as bar:

        def report(progress: data.Progress) -> None:
            if progress.stage == "wait":
                bar.clear()
                _say(f"minillm: waiting for {progress.owner} to prepare {directory}")
                return
            bar.set_description(progress.stage, refresh=False)
            bar.total = progress.total
            bar.update(progress.done - bar.n)

        if options.dtype or options.source[0].endswith(".bin"):
            corpus = data.adopt(
                options.source,
                directory,
                tokenizer=options.tokenizer,
                dtype=options.dtype,
                overwrite=options.overwrite,
                report=report,
            )
        else:
            corpus = data.prepare(
                options.source,
                directory,
                tokenizer=options.tokenizer,
                val_fraction=options.val_fraction,
                workers=options.workers,
                overwrite=options.overwrite,
                report=report,
            )
    _print(
        f"{directory}: {len(corpus.train):,} tokens to train on,"
        f" {len(corpus.val):,} to validate, vocabulary {corpus.vocab_size:,}"
        f" ({corpus.tokenizer.kind})"
    )
    return 0


def train(options: argparse.Namespace) -> int:
    """Train a preset, or a TOML file, and keep the run in a folder."""
    from minillm import costs
    from minillm.data import Corpus
    from minillm.train import PeerLostError, with_vocabulary
    from minillm.train import train as run

    plan = _plan(options)
    plan = with_vocabulary(plan, Corpus(plan.data.directory))
    directory = options.out or RUNS / Path(options.preset).stem
    leads = os.environ.get("RANK", "0") == "0"
    signals = _Signals()
    bar = _bar(unit="step", total=plan.train.steps, disable=None if leads else True)

    def show(line: str) -> None:
        with bar.external_write_mode(file=sys.stdout):
            try:
                _print(line)
            except OSError as error:  # that nobody reads is no reason to stop
                _say(
                    f"minillm: {one_line(error)}; nothing more is printed, and the run"
                    f" in {directory} is not stopped"
                )

    def announce() -> None:
        size = f"{costs.num_parameters(plan.model):,} parameters"
        steps = f"{plan.train.steps:,} steps ({plan.train.warmup_steps} of warm-up)"
        show(f"{options.preset}: {size}, {steps}, writing to {directory}")

    begun = False

    def report(metrics: "Metrics") -> None:
        nonlocal begun
        if not begun:  # not before: a mistake is answered by one line and no more
            announce()
            begun = True
        bar.update(metrics.step - bar.n)
        if metrics.train_loss is not None:
            bar.set_postfix(
                loss=f"{metrics.train_loss:.3f}",
                tokens_per_second=f"{metrics.tokens_per_second:,.0f}",
            )
        if metrics.val_loss is not None:
            show(_row(metrics))

    try:
        with _answering(signals.note), bar:
            run(
                plan,
                report,
                directory,
                resume=options.resume,
                overwrite=options.overwrite,
                stop=signals.received,
            )
    except PeerLostError as error:
        _say(f"minillm: error: {error}")
        os._exit(2)  # PyTorch's threads may wait for the other half an hour
    if signals.number:
        if leads:
            instead = " in place of --overwrite" if options.overwrite else ""
            _say(
                f"minillm: stopped; {directory} holds a checkpoint: give the same"
                f" command with --resume{instead}"
            )
        return 128 + signals.number
    if leads:
        show(f"{directory}: done; hear it with: minillm generate {_word(directory)}")
    return 0


def evaluate(options: argparse.Namespace) -> int:
    """Measure a model on a whole split."""
    from minillm.data import Corpus
    from minillm.evaluate import evaluate as measure

    loaded = _load(options)
    corpus = Corpus(options.data or loaded.config.data.directory)
    if corpus.tokenizer.hash != loaded.tokenizer.hash:
        raise ValueError(
            f"{corpus.directory} was prepared with another tokenizer than"
            f" {options.run} was trained with"
        )
    split = corpus.train if options.split == "train" else corpus.val
    result = measure(loaded.model, split)
    if math.isnan(result.loss):
        raise ValueError(f"loss (nan) of {options.run} is no number: it has diverged")
    _print(f"loss            {result.loss:.4f} nats per token")
    _print(f"perplexity      {result.perplexity:.2f}")
    if result.bits_per_byte is not None:
        _print(f"bits per byte   {result.bits_per_byte:.4f}")
    _print(f"tokens          {result.tokens:,} ({options.split}, all but the first)")
    return 0


def generate(options: argparse.Namespace) -> int:
    """Let a model continue a prompt."""
    import torch

    from minillm import fast
    from minillm.complete import complete
    from minillm.sample import Sampler

    sampler = Sampler(
        temperature=options.temperature,
        top_k=options.top_k,
        top_p=options.top_p,
        min_p=options.min_p,
    )
    if options.seed is not None and not 0 <= options.seed < 2**32:
        raise ValueError(f"seed ({options.seed}) must be in [0, 2**32)")
    cache = None
    if options.packaged:
        for name in ("int8", "no_cache"):
            if getattr(options, name):
                raise ValueError(f"--{name} cannot be used with --packaged")
        if options.device not in ("auto", "cpu"):
            raise ValueError(f"device ({options.device}) must be cpu with --packaged")
        loaded = fast.load_package(options.run)
        model = loaded.model
        assert isinstance(model, fast.Packaged)
        cache = model.empty_cache()
    else:
        loaded = _load(options)
        model = fast.quantize(loaded.model) if options.int8 else loaded.model
        model = fast.fuse(model)
    device = next(model.parameters()).device
    generator = torch.Generator(device)
    if options.seed is None:
        generator.seed()
    else:
        generator.manual_seed(options.seed)
    prompt = options.prompt
    if prompt is None:
        prompt = _first_character(loaded.tokenizer)
    pieces = complete(
        model,
        loaded.tokenizer,
        prompt,
        options.max_new_tokens,
        sampler,
        generator,
        stop=options.stop,
        use_cache=not options.no_cache,
        past_key_values=cache,
    )
    first = next(pieces, "")  # a mistake is found before anything is printed
    _print(prompt + first, end="")
    for piece in pieces:
        _print(piece, end="")
    _print()
    return 0


def export(options: argparse.Namespace) -> int:
    """Write a model in another program's format, or as machine code."""
    from minillm import huggingface

    loaded = _load(options)
    out = options.out or options.run / options.format
    if options.format == "aoti":
        from minillm import fast

        fast.package(loaded.model, loaded.config, loaded.tokenizer, out)
        _print(f"{out}: speaks with minillm generate {_word(out)} --packaged")
        return 0
    huggingface.export(loaded.model, loaded.tokenizer, out)
    _print(f"{out}: opens with transformers.AutoModelForCausalLM.from_pretrained")
    return 0


def describe(options: argparse.Namespace) -> int:
    """Print what a run is made of and what it will cost, without running it."""
    from minillm import costs

    plan = _plan(options)
    assumed = ""
    if plan.model.vocab_size == 0:
        plan, assumed = _with_assumed_vocabulary(options, plan)
    model, settings = plan.model, plan.train
    hours = costs.train_hours(
        model, settings, options.on, utilisation=options.utilisation
    )
    _print(f"{options.preset}{assumed}")
    _print()
    _print(f"{'parameter':34}{'shape':>16}{'copies':>8}{'numbers':>14}")
    for part in costs.parts(model):
        shape = " x ".join(str(length) for length in part.shape)
        _print(f"{part.name:34}{shape:>16}{part.count:>8}{part.parameters:>14,}")
    _print(f"{'all':34}{'':24}{costs.num_parameters(model):>14,}")
    _print()
    forward = costs.forward_flops_per_token(model, model.context_length)
    _print(f"{'FLOPs per token, forward, full context':46}{_si(forward):>12}")
    per_token = costs.train_flops_per_token(model)
    _print(f"{'FLOPs per token, training':46}{_si(per_token):>12}")
    tokens = costs.train_tokens(model, settings)
    _print(f"{'tokens read in training':46}{_si(tokens):>12}")
    _print(f"{'FLOPs, training':46}{_si(tokens * per_token):>12}")
    _print()
    bytes_ = costs.memory(model, settings)
    for name, size in (
        ("weights, float32", bytes_.weights),
        ("gradients", bytes_.gradients),
        (f"optimiser ({settings.optimizer})", bytes_.optimizer),
        (
            f"activations of {settings.batch_size} x {model.context_length} tokens"
            " (estimate)",
            bytes_.activations,
        ),
        ("training together", bytes_.training),
        (
            f"cache, one text of {model.context_length} tokens, {settings.precision}",
            bytes_.cache,
        ),
    ):
        _print(f"{name:46}{_bytes(size):>12}")
    _print()
    time = _time(hours * 3600)
    _print(
        f"about {time} on {options.on} at {options.utilisation:.0%} of its peak"
        f" ({costs.DEVICES[options.on][1]})"
    )
    return 0


# ------------------------------------------------------------------ arguments


class _Parser(argparse.ArgumentParser):
    """argparse, whose errors are one line, and whose values may be ``--``."""

    def error(self, message: str) -> NoReturn:
        if message.endswith("expected one argument"):
            name = message.split()[1].rstrip(":")
            message += f"; a value that begins with - is joined to it: {name}=--"
        _fail(message)

    def _print_message(self, message: str, file: Any = None) -> None:
        _print(message, end="")  # argparse's own is silent where nothing can be written

    def _get_values(self, action: argparse.Action, arg_strings: list[str]) -> Any:
        # Until Python 3.12, argparse takes the value of `--stop=--` for a separator.
        if action.nargs is None and action.option_strings and arg_strings == ["--"]:
            return self._get_value(action, "--")
        return super()._get_values(action, arg_strings)


Options = Mapping[str, argparse.Action]
"""The options of a verb by name, ``--top_k``."""


def _parser(words: Sequence[str]) -> tuple[argparse.ArgumentParser, Options]:
    """The parser, and the options of the verb that ``words`` ask for."""
    parser = _Parser(
        prog="minillm",
        description="From text to a language model that speaks.",
        epilog="`minillm VERB --help` tells more. Options may be written with - or _.",
    )
    parser.add_argument("--version", action="version", version=__version__)
    verbs = parser.add_subparsers(required=True, metavar="VERB")
    asked = next((word for word in words if not word.startswith("-")), None)
    known: Options = {}
    for function, add_arguments in (
        (prepare, _prepare_arguments),
        (train, _train_arguments),
        (evaluate, _evaluate_arguments),
        (generate, _generate_arguments),
        (export, _export_arguments),
        (describe, _describe_arguments),
    ):
        name, line = function.__name__, (function.__doc__ or "").partition("\n")[0]
        one = verbs.add_parser(name, help=line, description=line)
        one.set_defaults(verb=function)
        if name == asked:  # a hundred flags cost time; give them to who asks
            add_arguments(one)
            known = one._option_string_actions
    return parser, known


def _prepare_arguments(one: argparse.ArgumentParser) -> None:
    one.add_argument(
        "source",
        nargs="*",
        type=_given,
        help="shakespeare, shakespeare-complete, python-docs, or your own: text"
        " files, a folder, .jsonl, .parquet, hf:DATASET, or nanoGPT's or llm.c's .bin",
    )
    one.add_argument("--out", type=_path, help="folder to write (data/NAME)")
    one.add_argument(
        "--tokenizer", default="chars", help="chars, bytes, bpe:N or gpt2 (chars)"
    )
    one.add_argument(
        "--val_fraction", type=float, default=0.1, help="share held out (0.1)"
    )
    one.add_argument(
        "--dtype", help="uint16 or uint32: SOURCE is .bin files of tokens, to copy"
    )
    one.add_argument("--workers", type=int, default=1, help="threads that encode (1)")
    one.add_argument(
        "--overwrite", action="store_true", help="replace what stands in the folder"
    )
    one.add_argument(
        "--verify", type=_path, metavar="FOLDER", help="check a prepared folder instead"
    )


def _train_arguments(one: argparse.ArgumentParser) -> None:
    _add_plan(one)
    one.add_argument("--out", type=_path, help="folder of the run (runs/PRESET)")
    again = one.add_mutually_exclusive_group()
    again.add_argument("--resume", action="store_true", help="continue the run there")
    again.add_argument("--overwrite", action="store_true", help="replace the run there")


def _evaluate_arguments(one: argparse.ArgumentParser) -> None:
    _add_run(one)
    one.add_argument("--data", type=_path, help="prepared corpus (the run's own)")
    one.add_argument("--split", choices=("val", "train"), default="val")


def _generate_arguments(one: argparse.ArgumentParser) -> None:
    _add_run(one)
    one.add_argument(
        "--prompt",
        help="text to continue (a new line, or the first character of a vocabulary"
        " without one)",
    )
    one.add_argument("--max_new_tokens", type=int, default=500, help="at most (500)")
    one.add_argument("--temperature", type=float, default=0.8, help="0 is greedy (0.8)")
    one.add_argument("--top_k", type=int, help="keep the k best tokens (all)")
    one.add_argument("--top_p", type=float, help="keep this much probability (all)")
    one.add_argument(
        "--min_p", type=float, help="keep tokens this likely beside the best (all)"
    )
    one.add_argument("--seed", type=int, help="for the same text again (a new one)")
    one.add_argument(
        "--stop", action="append", default=[], help="end before this text; repeatable"
    )
    one.add_argument(
        "--no_cache", action="store_true", help="read all again for each token"
    )
    one.add_argument(
        "--int8", action="store_true", help="round matrices to eight bits: less memory"
    )
    one.add_argument(
        "--packaged",
        action="store_true",
        help="run the machine code that `export --format aoti` wrote into RUN",
    )


def _export_arguments(one: argparse.ArgumentParser) -> None:
    _add_run(one)
    one.add_argument(
        "--format",
        choices=("huggingface", "aoti"),
        default="huggingface",
        help="aoti: a step compiled for this machine; needs a C++ compiler and a minute"
        " (huggingface)",
    )
    one.add_argument("--out", type=_path, help="folder to write (RUN/FORMAT)")


def _describe_arguments(one: argparse.ArgumentParser) -> None:
    _add_plan(one)
    one.add_argument(
        "--on", default="a100", help="h100, a100, rtx4090, t4 or cpu-core (a100)"
    )
    one.add_argument(
        "--utilisation", type=float, default=0.4, help="share of the peak (0.4)"
    )


def _add_plan(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "preset",
        nargs="?",
        default="llama",
        help=f"{', '.join(config.preset_names())}, or a .toml file (llama)",
    )
    parser.add_argument(
        "--data", type=_path, default=None, help=f"prepared corpus ({DATA})"
    )
    for section, kind in (("model", ModelConfig), ("train", TrainConfig)):
        group = parser.add_argument_group(f"[{section}], each instead of the preset's")
        notes = _field_notes(kind.__name__)
        for key in dataclasses.fields(kind):
            group.add_argument(
                f"--{key.name}",
                dest=f"{section}.{key.name}",
                metavar=_metavar(key.type),
                type=_reader(key.type),
                help=notes.get(key.name, "").replace("%", "%%") or None,
            )


def _add_run(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "run",
        nargs="?",
        type=_path,
        default=RUNS / "llama",
        help="folder of a run, a checkpoint or an export (runs/llama)",
    )
    parser.add_argument("--which", choices=("best", "last"), default="best")
    parser.add_argument("--device", default="auto", help="auto, cpu, cuda or mps")


def _field_notes(class_name: str) -> dict[str, str]:
    """What config.py says under each field, so that it is said in one place."""
    tree = ast.parse(Path(config.__file__).read_text(encoding="utf-8"))
    body = next(
        node.body
        for node in tree.body
        if isinstance(node, ast.ClassDef) and node.name == class_name
    )
    notes = {}
    for field, note in pairwise(body):
        if (
            isinstance(field, ast.AnnAssign)
            and isinstance(field.target, ast.Name)
            and isinstance(note, ast.Expr)
            and isinstance(note.value, ast.Constant)
        ):
            text = " ".join(str(note.value.value).split())
            notes[field.target.id] = text.replace("``", "")
    return notes


def _metavar(kind: Any) -> str:
    if typing.get_origin(kind) is typing.Literal:
        return "{" + ",".join(typing.get_args(kind)) + "}"
    return {int: "N", float: "X", bool: "{true,false}"}.get(kind, "NAME")


def _reader(kind: Any) -> Any:
    """What turns a word into a value; the dataclass checks the value itself."""
    if kind is bool:
        return _truth
    return kind if kind in (int, float) else str


def _given(word: str) -> str:
    """A name; an empty word is what a shell makes of a variable that is not set."""
    if not word:
        raise argparse.ArgumentTypeError("'' must hold at least one character")
    return word


def _path(word: str) -> Path:
    return Path(_given(word))


def _truth(word: str) -> bool:
    if word not in ("true", "false"):
        raise argparse.ArgumentTypeError(f"{word!r} must be true or false")
    return word == "true"


def _spelled(words: Sequence[str], known: Options) -> list[str]:
    """Let ``--top-k`` be ``--top_k``, and a value begin with ``-``; change no value.

    A value that looks like an option to argparse is joined to its name. A known option
    is no value: ``--prompt --seed 3`` has forgotten one.
    """
    spelled: list[str] = []
    left = deque(words)
    while left:
        word = left.popleft()
        if word == "--":  # nothing after it is an option
            return [*spelled, word, *left]
        name, equals, value = _split_option(word)
        matches = [name] if name in known else [n for n in known if n.startswith(name)]
        if not word.startswith("--") or len(matches) != 1:
            spelled.append(word)
            continue
        spelled.append(name + equals + value)
        if equals or known[matches[0]].nargs == 0 or not left:
            continue
        if left[0].startswith("-") and _split_option(left[0])[0] not in known:
            spelled[-1] += "=" + left.popleft()
    return spelled


def _split_option(word: str) -> tuple[str, str, str]:
    name, equals, value = word.partition("=")
    if name.startswith("--"):
        name = "--" + name[2:].replace("-", "_")
    return name, equals, value


# ------------------------------------------------------------------ helpers


def _plan(options: argparse.Namespace) -> RunConfig:
    """The preset with what the command line says instead."""
    changes: dict[str, dict[str, Any]] = {}
    for name, value in vars(options).items():
        section, dot, key = name.partition(".")
        if dot and value is not None:
            changes.setdefault(section, {})[key] = value
    given = changes.get("train", {})
    if "steps" in given and "warmup_steps" not in given:
        # What the person asked for is short, and the preset's warm-up gives way.
        preset_train = config.preset_values(options.preset).get("train", {})
        warmup = preset_train.get("warmup_steps", TrainConfig.warmup_steps)
        if isinstance(warmup, int) and warmup >= given["steps"] > 0:
            given["warmup_steps"] = given["steps"] - 1
    if options.data is not None:
        changes["data"] = {"directory": options.data.as_posix()}
    return config.preset(options.preset, changes=changes)


def _with_assumed_vocabulary(
    options: argparse.Namespace, plan: RunConfig
) -> tuple[RunConfig, str]:
    """Describe needs a vocabulary: the prepared corpus's, else a guess it admits."""
    from minillm.files import read_json

    size, note = 65, " (no corpus prepared: 65 characters assumed)"
    path = plan.data.directory / "meta.json"
    if path.is_file():
        try:
            size = int(read_json(path)["vocab_size"])
            note = f" (vocabulary of {plan.data.directory})"
        except (ValueError, KeyError, TypeError, OverflowError):
            note = f" ({path} is damaged: 65 characters assumed)"
    model = dataclasses.replace(plan.model, vocab_size=size)
    return dataclasses.replace(plan, model=model), note


def _load(options: argparse.Namespace) -> "Checkpoint":
    from minillm import checkpoint, huggingface
    from minillm.precision import pick_device

    device = pick_device(options.device)
    if huggingface.is_huggingface(options.run):
        return huggingface.load(options.run, str(device))
    return checkpoint.load(options.run, str(device), options.which)


def _corpus_folder(sources: Sequence[str]) -> Path:
    """data/NAME, after the first source; ``shakespeare`` gives the default corpus."""
    source = sources[0]
    if source.startswith("hf:"):  # NAME:CONFIGURATION, but no folder on Windows is
        source = source.removeprefix("hf:").replace(":", "-")
    path = Path(os.path.abspath(source))  # ".." has no name
    name = path.parent.name if path.suffix == ".bin" else path.stem
    return DATA.parent / (name or "corpus")


def _first_character(tokenizer: "Tokenizer") -> str:
    """What a text may begin with: a new line, or what the alphabet has instead."""
    try:
        tokenizer.encode("\n")
    except ValueError:
        return tokenizer.decode([0])
    return "\n"


def _word(path: Path) -> str:
    """A path as one types it, blanks and all."""
    return shlex.quote(str(path))


def _row(metrics: "Metrics") -> str:
    train_loss = "" if metrics.train_loss is None else f"{metrics.train_loss:.4f}"
    bits = metrics.val_bits_per_byte
    return (
        f"step {metrics.step:>6,}   train {train_loss:>7}   val {metrics.val_loss:.4f}"
        + ("" if bits is None else f"   bits per byte {bits:.3f}")
        + f"   {metrics.seconds:>6.0f} s"
    )


@contextmanager
def _answering(handler: Callable[[int, FrameType | None], None]) -> Iterator[None]:
    """Answer Ctrl-C, SIGTERM and a closed terminal; ``nohup`` ignores that one."""
    before = {}
    if threading.current_thread() is threading.main_thread():  # others get no signals
        for name in ("SIGINT", "SIGTERM", "SIGHUP"):
            number = getattr(signal, name, None)  # Windows has no SIGHUP
            if number and signal.getsignal(number) not in (signal.SIG_IGN, None):
                before[number] = signal.signal(number, handler)
    try:
        yield
    finally:
        for number, old in before.items():
            signal.signal(number, old)


def _interrupt(number: int, frame: FrameType | None) -> None:
    raise KeyboardInterrupt(number)


class _Signals:
    """The first signal asks for a checkpoint; the second does not wait for it."""

    def __init__(self) -> None:
        self.number = 0
        self._terminals = [number for number in (1, 2) if os.isatty(number)]

    def received(self) -> bool:
        return bool(self.number)

    def note(self, number: int, frame: FrameType | None) -> None:
        """Answer a signal."""
        if self.number:
            raise KeyboardInterrupt(number)
        self.number = number
        if number == getattr(signal, "SIGHUP", None):
            # The terminal is gone, and whatever is written to it is an error.
            for terminal in self._terminals:
                os.dup2(os.open(os.devnull, os.O_WRONLY), terminal)
        # Not by print: the signal may have come in the middle of one.
        with suppress(OSError):
            os.write(2, f"{STOPPING}\n".encode())


STOPPING = "minillm: writing a checkpoint, then stopping (again to stop at once)"


def _si(number: float) -> str:
    for power, letter in (
        (1e18, "E"),
        (1e15, "P"),
        (1e12, "T"),
        (1e9, "G"),
        (1e6, "M"),
    ):
        if number >= power:
            return f"{number / power:.2f} {letter}"
    return f"{number:,.0f}"


def _bytes(number: int) -> str:
    for power, unit in ((2**30, "GiB"), (2**20, "MiB"), (2**10, "KiB")):
        if number >= power:
            return f"{number / power:.1f} {unit}"
    return f"{number} B"


def _time(seconds: float) -> str:
    for length, unit in ((3600, "h"), (60, "min"), (1, "s")):
        if seconds >= length:
            return f"{seconds / length:.1f} {unit}"
    return f"{seconds:.2g} s"


def one_line(error: Exception) -> str:
    """What an error says, as a line that a terminal can show."""
    line = str(error)
    if isinstance(error, OSError) and error.strerror:
        name = f"{error.filename}: " if error.filename else ""
        line = f"{name}{error.strerror}"
    return _plain(line)


def _plain(line: str) -> str:
    line = " ".join(line.split())
    if len(line) > LONGEST_LINE:  # it repeats a value that fills pages
        line = f"{line[: LONGEST_LINE // 2]} ... {line[-LONGEST_LINE // 2 :]}"
    return "".join(sign if sign.isprintable() else ascii(sign)[1:-1] for sign in line)


LONGEST_LINE = 500
"""Characters of an error's line; what a longer one has in its middle is left out."""


OUT_OF_MEMORY = (
    "out of memory",
    "can't allocate memory",
    "cannot allocate memory",
    "not enough memory",
    "failed to map segment",
    "calculation overflowed",  # of the bytes, for sizes that no machine has
)
"""What PyTorch says, on a CPU without a class of its own, and who loads libraries."""


def _is_out_of_memory(error: Exception) -> bool:
    said = str(error).lower()
    return isinstance(error, MemoryError) or any(w in said for w in OUT_OF_MEMORY)


def _bar(*, disable: bool | None = None, **settings: Any) -> "tqdm[NoReturn]":
    """A progress bar that goes when the work ends; where nobody sees it, none."""
    from tqdm import tqdm

    tqdm.monitor_interval = 0  # a thread of its own would warn if it cannot start
    return tqdm(disable=disable, leave=False, **settings)


def _open_streams() -> None:
    """Open the null device for closed streams: else a file gets their numbers."""
    for name, mode in (("stdin", "r"), ("stdout", "w"), ("stderr", "w")):
        if getattr(sys, name) is None:
            # It gets the lowest number that is free, which is the stream's own.
            stream = open(os.devnull, mode, encoding="utf-8")  # noqa: SIM115
            os.set_inheritable(stream.fileno(), True)
            setattr(sys, name, stream)


def _print(line: str = "", end: str = "\n") -> None:
    """Print at once: what waits in a buffer fails when Python ends, and nobody answers.

    Raises:
        OSError: standard output is full, or its reader gone; names it.
    """
    try:
        print(line, end=end, flush=True)
    except OSError as error:
        _silence(sys.stdout)
        raise OSError(error.errno, error.strerror, "standard output") from error


def _say(line: str) -> None:
    try:
        print(line, file=sys.stderr, flush=True)
    except OSError:  # nobody listens any more: the exit code says it
        _silence(sys.stderr)


def _silence(stream: TextIO) -> None:
    """Let what is written go nowhere, and what is still in the buffer."""
    os.dup2(os.open(os.devnull, os.O_WRONLY), stream.fileno())


def _fail(message: str) -> NoReturn:
    _say(f"minillm: error: {_plain(message)}")
    sys.exit(2)
