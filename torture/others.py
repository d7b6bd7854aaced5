"""Does it go well with others at work in the same folders, or with nobody who listens?

People save a file into the folder that is just made, move a run away while it trains,
read it meanwhile, and close the pipe that its words go into. None of this may cost
them a file, or the run.
"""

import os
import shutil
import sys
import tempfile
import time
from collections.abc import Iterator, Sequence
from contextlib import suppress
from itertools import cycle
from pathlib import Path
from random import Random

from minillm import checkpoint
from torture import starve
from torture.attack import Attack, Trial, on_linux
from torture.numbers import compare
from torture.starve import EXPORT, PREPARE, TRAIN, VERBS, home, unfinished
from torture.victims import Call, call

# ------------------------------------------------------------------ files and folders

MAKERS: dict[tuple[str, ...], str] = {
    PREPARE: "data/own",
    ("prepare", "own.txt", "--out", "data/shakespeare", "--overwrite"): (
        "data/shakespeare"
    ),
    EXPORT: "exported",
}
"""Verbs that make a folder, and which."""


def saved_meanwhile(random: Random) -> Iterator[Trial]:
    """Save a file into a folder, at some moment while it is made."""
    with home() as template, tempfile.TemporaryDirectory() as name:
        seconds = {verb: _seconds(verb, template, Path(name)) for verb in MAKERS}
        for verb in cycle(MAKERS):
            place = Path(shutil.copytree(template, Path(name) / "place"))
            mine = place / MAKERS[verb] / "mine.txt"
            at = random.uniform(0, seconds[verb])
            one = Call(verb, place)
            time.sleep(at)
            _save(mine)
            done = one.wait()
            lost = done.fault or unfinished(place)
            if not mine.is_file() or mine.read_text() != "mine":
                lost = "the file that was saved is gone"
            yield lost and f"{verb}, after {at:.3f} seconds: {lost}"
            shutil.rmtree(place)


def _seconds(verb: Sequence[str], template: Path, folder: Path) -> float:
    place = Path(shutil.copytree(template, folder / "place"))
    began = time.monotonic()
    call(*verb, folder=place)
    shutil.rmtree(place)
    return time.monotonic() - began


def _save(path: Path) -> None:
    """Save as an editor does; it tries again if the folder is just exchanged."""
    while not path.exists():
        with suppress(OSError):
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_text("mine")


ANOTHER = (*TRAIN, "--seed", "7")
SELDOM = (
    *(*TRAIN, "--steps", "100", "--checkpoint_every", "25"),
    *("--eval_every", "100", "--log_every", "100"),
)
"""A run that writes so seldom that another can begin in between."""
OFTEN = (*TRAIN, "--steps", "60", "--checkpoint_every", "1", "--eval_every", "1")


def moved_away(random: Random) -> Iterator[Trial]:
    """Move a run away while it trains, and train another under its name."""
    with home() as template, tempfile.TemporaryDirectory() as name:
        whole = Path(shutil.copytree(template, Path(name) / "whole"))
        call(*ANOTHER, folder=whole)
        seconds = _seconds(SELDOM, template, Path(name))
        while True:
            place = Path(shutil.copytree(template, Path(name) / "place"))
            run, moved = place / "runs" / "llama", place / "moved"
            one = Call(SELDOM, place)
            _wait_for(run / "checkpoints")
            time.sleep(random.uniform(0, seconds / 2))
            run.rename(moved)
            second = call(*ANOTHER, folder=place)
            first = one.wait()
            lost = first.fault or second.fault
            if second.code != 0:
                lost = lost or second.err
            lost = lost or compare(whole / "runs" / "llama", run)
            if lost is None and list(moved.glob("checkpoints/step-*")):
                lost = _unreadable(moved, "last")
            yield lost
            shutil.rmtree(place)


def read_meanwhile(random: Random) -> Iterator[Trial]:
    """Read a run, its best and its last, while it saves at every step."""
    with home() as template, tempfile.TemporaryDirectory() as name:
        while True:
            place = Path(shutil.copytree(template, Path(name) / "place"))
            run = place / "runs" / "llama"
            one = Call(OFTEN, place)
            try:
                _wait_for(run / "checkpoints" / "step-00000000")
                while one.process.is_alive():
                    yield _unreadable(run, random.choice(("best", "last")))
            except GeneratorExit:  # enough was tried
                one.process.kill()
                raise
            finally:
                done = one.wait()
            yield done.fault or (None if done.code == 0 else done.err)
            shutil.rmtree(place)


def _wait_for(path: Path) -> None:
    until = time.monotonic() + 60
    while not path.exists():
        if time.monotonic() > until:
            raise RuntimeError(f"{path.name} was never made")
        time.sleep(0.005)


def _unreadable(run: Path, which: str) -> Trial:
    try:
        checkpoint.load(run, which=which)
    except (ValueError, OSError) as error:
        return f"{which}: {error}"
    return None


# ------------------------------------------------------------------ nobody listens


def deafen(way: str) -> None:
    """Let nobody hear this process, in one of the ``WAYS``."""
    if way == "standard output is full":
        _lead(1, os.open("/dev/full", os.O_WRONLY))
    elif way == "the reader has gone":
        ours, theirs = os.pipe()
        os.close(ours)
        _lead(1, theirs)
    for number in WAYS[way]:
        os.close(number)
        name = ("stdin", "stdout", "stderr")[number]
        setattr(sys, name, None)
        setattr(sys, f"__{name}__", None)


def _lead(number: int, descriptor: int) -> None:
    """As a shell does it, before Python begins: what is printed is kept in a buffer."""
    os.dup2(descriptor, number)
    os.close(descriptor)
    sys.stdout = sys.__stdout__ = open(  # noqa: SIM115 -- to the end of the process
        number, "w", encoding="utf-8", closefd=False
    )


WAYS: dict[str, tuple[int, ...]] = {
    "standard output is full": (),
    "the reader has gone": (),
    "standard output is closed": (1,),
    "standard error is closed": (2,),
    "all are closed": (0, 1, 2),
}
"""How nobody can listen, and which descriptors are closed for it."""


def unheard(random: Random) -> Iterator[Trial]:
    """Every verb, while nobody can hear it."""
    trials = [(verb, way) for verb in VERBS for way in WAYS]
    random.shuffle(trials)
    with home() as template, tempfile.TemporaryDirectory() as name:
        for verb, way in trials:
            place = Path(shutil.copytree(template, Path(name) / "place"))
            done = Call(verb, place, [(deafen, (way,))]).wait()
            lost = done.fault
            full = way == "standard output is full" and verb[0] != "train"
            if done.code != 0 and not full:
                lost = lost or f"it failed: {done.err!r}"
            if "ignored" in done.err:
                lost = lost or done.err
            if lost is None and verb == TRAIN:
                lost = compare(
                    starve.finished() / "runs/llama", place / "runs" / "llama"
                )
            yield lost and f"{verb[:3]}, {way}: {lost}"
            shutil.rmtree(place)


ATTACKS = (
    Attack(
        "a file is saved into a folder that is just made",
        "the file is there in the end, whatever became of the folder",
        on_linux(saved_meanwhile),
        tries=90,
        few=3,
    ),
    Attack(
        "a run is moved away while it trains",
        "it stops with one line; another run under its name ends bit-equal; what was"
        " moved opens",
        on_linux(moved_away),
        tries=30,
        few=2,
    ),
    Attack(
        "a run is read while it trains",
        "the best and the last can be read, though it saves at every step",
        on_linux(read_meanwhile),
        tries=1000,
        few=20,
    ),
    Attack(
        "nobody listens",
        "pipes and streams that are full or closed stop no verb, or with one line; a"
        " run trains on and ends bit-equal",
        on_linux(unheard),
        tries=None,
        few=8,
    ),
)
