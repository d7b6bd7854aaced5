"""Does anything get lost when a process is killed? Signals, SIGKILL, power cuts.

Each attack plays a scene: a command at work in a folder, which is ended before its
time. Then the folder must open, and whoever types the command again must end where an
uninterrupted command ends, byte for byte, with nothing left over.
"""

import hashlib
import json
import os
import shutil
import signal
import socket  # noqa: TID251 -- to find a port for processes of one's own
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import cache
from itertools import count, cycle
from pathlib import Path
from random import Random
from typing import Any

import torch
from torch import Tensor

from minillm import checkpoint, data, files
from minillm.run import RunFolder, check_manifest
from torture import traps, victims
from torture.attack import Attack, NotPossibleError, Trial
from torture.victims import SMALL, STOPS, TEXT, Call, Outcome

TIMINGS = ("seconds", "tokens_per_second")
"""What a row of metrics has from the clock."""

RUN = (
    *("train", *SMALL, "--out", "run", "--steps", "9"),
    *("--eval_every", "4", "--checkpoint_every", "6"),
)
"""Checkpoints at steps 0, 4, 6, 8 and 9, rows at these but 6, and at 3 and 6."""


# What is attacked -------------------------------------------------------------------


@dataclass(frozen=True)
class Scene:
    """A command, in a folder where something stands already.

    Args:
        name: what is done.
        words: the command that is ended before its time.
        lay: makes what stands in the folder before.
        again: commands that are tried one after the other, until one succeeds; the
            others may refuse in one line, and all if the work is done. The command
            itself, if left out.
        made: what the command makes, in the folder.
        always: traps that belong to the scene, and harm nothing; see ``traps``.
    """

    name: str
    words: tuple[str, ...]
    lay: Callable[[Path], object]
    again: tuple[tuple[str, ...], ...] = ()
    made: str = "run"
    always: tuple[tuple[Callable[..., Any], tuple[Any, ...]], ...] = ()

    @property
    def trains(self) -> bool:
        """Whether it is a run that is attacked."""
        return self.words[0] == "train"


def _stopped(*words: str, step: int = 5) -> Callable[[Path], None]:
    """What a run leaves that was told to stop."""

    def lay(folder: Path) -> None:
        victims.corpus(folder)
        stop = (traps.signal_at, (step, signal.SIGTERM))
        done = victims.call(*words, folder=folder, before=[stop])
        assert done.code == 128 + signal.SIGTERM, done

    return lay


def _finished(*words: str) -> Callable[[Path], None]:
    def lay(folder: Path) -> None:
        victims.corpus(folder)
        assert victims.call(*words, folder=folder).code == 0

    return lay


def _documents(folder: Path) -> None:
    lines = TEXT.splitlines(keepends=True)
    (folder / "own.txt").write_text(TEXT)
    documents = ["".join(lines[start : start + 9]) for start in range(0, len(lines), 9)]
    text = "".join(json.dumps({"text": document}) + "\n" for document in documents)
    (folder / "own.jsonl").write_text(text)


def _old_corpus(folder: Path) -> None:
    _documents(folder)
    data.prepare_text(TEXT[::-1], folder / "corpus")


def _token_files(folder: Path) -> None:
    _old_corpus(folder)
    for name in ("train.bin", "val.bin"):
        (folder / name).write_bytes(bytes([7, 0, 97, 0, 98, 0, 0, 1]) * 700)


OVERFLOW = ((traps.overflow, (2.0**24,)),)

TRAINING = (
    Scene("train", RUN, victims.corpus, ((*RUN, "--resume"), RUN)),
    Scene("train --resume", (*RUN, "--resume"), _stopped(*RUN)),
    Scene(
        "train --overwrite",
        (*RUN, "--overwrite"),
        _finished(*RUN, "--learning_rate", "2e-2"),
        ((*RUN, "--resume"), (*RUN, "--overwrite")),
    ),
)

VARIANTS = (
    *TRAINING,
    *(
        Scene(
            name,
            (*RUN, *words),
            victims.corpus,
            ((*RUN, *words, "--resume"), (*RUN, *words)),
            always=always,
        )
        for name, words, always in (
            ("train muon", ("--optimizer", "muon", "--schedule", "wsd"), ()),
            ("train dropout", ("--dropout", "0.2", "--accumulate", "2"), ()),
            ("train float16", ("--precision", "float16"), OVERFLOW),
        )
    ),
)

WORK = ("prepare", "--out", "corpus", "--tokenizer")
OVER = "--overwrite"
TOKENS = ("train.bin", "val.bin", "--dtype", "uint16")

PREPARING = tuple(
    Scene(name, (*WORK, *words), lay, made="corpus")
    for name, words, lay in (
        ("prepare", ("chars", "own.txt"), _documents),
        ("prepare bpe", ("bpe:280", "own.txt"), _documents),
        ("prepare documents", ("bytes", "own.jsonl"), _documents),
        ("prepare --overwrite", ("bpe:280", "own.txt", OVER), _old_corpus),
        ("prepare .bin --overwrite", ("bytes", *TOKENS, OVER), _token_files),
    )
)

EXPORTING = Scene(
    "export", ("export", "run", "--out", "out"), _finished(*RUN), made="out"
)


# How it is judged -------------------------------------------------------------------


def tree(folder: Path) -> dict[str, str]:
    """Every file of a folder with what identifies its content; times are left out."""
    return {
        path.relative_to(folder).as_posix(): _content(path)
        for path in sorted(folder.rglob("*"))
        if path.is_file()
    }


def _content(path: Path) -> str:
    if path.name == "metrics.jsonl":
        return json.dumps(_rows(path.parent))
    return hashlib.sha256(path.read_bytes()).hexdigest()


def _rows(run: Path) -> list[dict[str, object]]:
    rows = RunFolder(run).rows()
    return [{k: v for k, v in row.items() if k not in TIMINGS} for row in rows]


def difference(found: dict[str, str], expected: dict[str, str]) -> Trial:
    """The first file in which two trees differ."""
    for name in sorted(found.keys() | expected.keys()):
        if name not in found:
            return f"{name} is missing"
        if name not in expected:
            return f"{name} is left over"
        if found[name] != expected[name]:
            return f"{name} is another"
    return None


class Stage:
    """A scene, with what it looks like before and after, uninterrupted."""

    def __init__(self, scene: Scene, place: Path) -> None:
        self.scene, self._place = scene, place
        self._numbers = count()
        self.before = self._place / "before"
        self.before.mkdir(parents=True)
        scene.lay(self.before)
        self.after = after = self.fresh()
        notes = self._place / "operations"
        began = time.perf_counter()
        done = self.call(scene.words, after, (traps.die_before, (0, notes)))
        self.seconds = time.perf_counter() - began
        if done.code != 0:
            raise RuntimeError(f"{scene.name}: {done}")
        self.operations = notes.read_text().splitlines()
        self.old, self.new = tree(self.before), tree(after)
        self.sizes = sorted(
            {
                path.stat().st_size
                for path in after.rglob("*")
                if path.is_file() and path.stat().st_size
            }
        )
        self._old_rows, self._new_rows = (
            _rows(self.before / "run"),
            _rows(after / "run"),
        )

    def call(self, words: Sequence[str], folder: Path, *traps: Any) -> Outcome:
        """Type a command of this scene, with traps of the trial beside its own."""
        return self.begin(words, folder, *traps).wait()

    def begin(self, words: Sequence[str], folder: Path, *traps: Any) -> Call:
        """Type a command, and do not wait for it."""
        return Call(words, folder, before=[*self.scene.always, *traps])

    def fresh(self) -> Path:
        """A folder as it is before."""
        folder = self._place / str(next(self._numbers))
        shutil.copytree(self.before, folder)
        return folder

    def lost(self, folder: Path) -> Trial:
        """What cannot be opened in a folder where the command was ended."""
        if self.scene.trains:
            return self.lost_of_run(folder / self.scene.made)
        made = self._made(tree(folder))
        if made in ({}, self._made(self.old), self._made(self.new)):
            return None
        return f"{self.scene.made} is neither the old, nor the new, nor gone"

    def _made(self, files: dict[str, str]) -> dict[str, str]:
        return {n: c for n, c in files.items() if n.startswith(f"{self.scene.made}/")}

    def lost_of_run(self, run: Path, exactly: bool = True) -> Trial:
        """What cannot be opened of a run, or has other rows."""
        try:
            rows = _rows(run)
            folders = checkpoint.step_folders(run / "checkpoints")
            for _, folder in folders:
                check_manifest(folder)
            for which in ("best", "last") if folders else ():
                checkpoint.load(run, which=which)
        except (ValueError, OSError) as error:
            return str(error)
        if exactly and rows not in (
            self._old_rows[: len(rows)],
            self._new_rows[: len(rows)],
        ):
            return f"{run.name}: the rows are not those of an uninterrupted run"
        return None

    def wrong_end(self, folder: Path) -> Trial:
        """What differs when the command is typed again; the folder is gone then."""
        for words in self.scene.again or (self.scene.words,):
            done = self.call(words, folder)
            if done.fault is not None:
                return f"{' '.join(words[:1])} again: {done.fault}"
            if done.code == 0:
                break
        found = difference(tree(folder), self.new)
        shutil.rmtree(folder)
        return found and f"{found}; again: {done.err.strip()!r}"

    def judge(self, folder: Path) -> Trial:
        """What was lost, at once or in the end."""
        return self.lost(folder) or self.wrong_end(folder)


@cache
def staged(scene: Scene) -> Stage:
    """The stage of a scene, which all its trials share; gone when the process ends."""
    if sys.platform != "linux":
        raise NotPossibleError("what a process does is watched through Linux's /proc")
    return Stage(scene, Path(_place().name) / str(staged.cache_info().currsize))


@cache
def _place() -> tempfile.TemporaryDirectory[str]:
    place = tempfile.TemporaryDirectory()
    victims.call("--version", folder=Path(place.name))  # starts the server
    return place


Trials = Callable[[Random], Iterator[Trial]]

# Killed before an operation ---------------------------------------------------------


def killed_before_each(*scenes: Scene) -> Trials:
    """Kill at each operation of each scene, in any order."""

    def trials(random: Random) -> Iterator[Trial]:
        stages = [staged(scene) for scene in scenes]
        moments = [
            (stage, number)
            for stage in stages
            for number in range(1, len(stage.operations) + 1)
        ]
        random.shuffle(moments)
        for moment in moments:
            yield _killed_before(*moment)

    return trials


def _killed_before(stage: Stage, number: int) -> Trial:
    folder = stage.fresh()
    notes = folder.with_name(f"{folder.name}.notes")
    trap = (traps.die_before, (number, notes))
    done = stage.call(stage.scene.words, folder, trap)
    if done.code != -signal.SIGKILL:
        lost: Trial = f"it was to be killed, but: {done}"
    else:
        lost = stage.judge(folder)
    where = stage.operations[number - 1]
    return lost and f"{stage.scene.name}, killed before {number} ({where}): {lost}"


# Ended inside a write ---------------------------------------------------------------


def ended_in_write(*scenes: Scene) -> Trials:
    """Let no file grow beyond a size below that of one that is written."""

    def trials(random: Random) -> Iterator[Trial]:
        while True:
            stage = staged(random.choice(scenes))
            size = random.randrange(random.choice(stage.sizes))
            lost = _ended_in_write(stage, size)
            name = stage.scene.name
            yield lost and f"{name}, ended at byte {size} of a file: {lost}"

    return trials


def _ended_in_write(stage: Stage, size: int) -> Trial:
    folder = stage.fresh()
    done = stage.call(stage.scene.words, folder, (traps.end_in_write, (size,)))
    if done.code not in (0, -signal.SIGXFSZ):
        return f"it was to be ended, but: {done}"
    return stage.judge(folder)


# A power cut ------------------------------------------------------------------------


def power_cut(*scenes: Scene) -> Trials:
    """Cut the power before each operation of each scene, and after the end."""

    def trials(random: Random) -> Iterator[Trial]:
        moments = [
            (stage, number, names_survive)
            for stage in map(staged, scenes)
            for number in range(1, len(stage.operations) + 2)
            for names_survive in (False, True)
        ]
        random.shuffle(moments)
        for moment in moments:
            yield _cut_power(*moment)

    return trials


def _cut_power(stage: Stage, number: int, names_survive: bool) -> Trial:
    folder = stage.fresh()
    disk = folder.with_name(f"{folder.name}.disk")
    trap = (traps.cut_power_before, (number, disk, names_survive))
    done = stage.call(stage.scene.words, folder, trap)
    shutil.rmtree(folder)
    ended = number > len(stage.operations)
    where = "the end" if ended else stage.operations[number - 1]
    if done.code != -signal.SIGKILL:
        lost: Trial = f"it was to be killed, but: {done}"
    else:
        lost = stage.lost(disk) or _broken_promise(stage, disk, ended)
        lost = lost or stage.wrong_end(disk)
    where += ", names survive" if names_survive else ""
    return lost and f"{stage.scene.name}, power cut before {number} ({where}): {lost}"


def _broken_promise(stage: Stage, disk: Path, ended: bool) -> Trial:
    """What a function had returned from, and yet is not on the disk."""
    made = disk / stage.scene.made
    if not stage.scene.trains:
        if ended and stage._made(tree(disk)) != stage._made(stage.new):
            return f"{made.name} is not there, though the command has ended"
        return None
    said = disk.with_name(f"{disk.name}.promised").read_text().split()
    step, num_rows = map(int, said)
    steps = [step for step, _ in checkpoint.step_folders(made / "checkpoints")]
    if step > max(steps, default=-1):
        return f"the checkpoint of step {step} is gone, though it was written"
    if len(RunFolder(made).rows()) < num_rows:
        return f"there are less than {num_rows} rows, though they were written"
    return None


# A signal at any moment -------------------------------------------------------------


def signalled(*scenes: Scene) -> Trials:
    """Send signals at any moment, go on, and send some more."""

    def trials(random: Random) -> Iterator[Trial]:
        while True:
            stage = staged(random.choice(scenes))
            lost = _signal_again_and_again(stage, random)
            yield lost and f"{stage.scene.name}, {lost}"

    return trials


def _signal_again_and_again(stage: Stage, random: Random) -> Trial:
    folder = stage.fresh()
    words = stage.scene.words
    told, clean = "", True
    for _ in range(random.randint(1, 4)):
        number = random.choice((signal.SIGKILL, *STOPS))
        moment, times = random.uniform(0, 1.1 * stage.seconds), random.choice((1, 1, 2))
        told += f"{signal.Signals(number).name} x {times} after {moment:.2f} s, "
        mark = folder.with_name(f"{folder.name}.mark")
        rows = _rows(folder / stage.scene.made)
        began = stage.begin(words, folder, (traps.note_begin, (mark,)))
        while not mark.exists() and began.process.is_alive():
            time.sleep(0.002)
        mark.unlink()
        time.sleep(moment)
        for _ in range(times):
            if began.process.is_alive():
                os.kill(began.process.pid, number)
                time.sleep(random.uniform(0, 0.02))
        done = began.wait()
        if words != stage.scene.words and done.code == 2 and done.fault is None:
            words = stage.scene.words  # the old run stands there, not to be resumed
            continue
        lost = wrong_answer(done, number, times) or stage.lost(folder)
        # Who is killed leaves what the next one clears away, if it gets that far.
        clean = clean and number != signal.SIGKILL and times == 1
        if done.code == 128 + number and times == 1:
            lost = lost or (left_over(folder) if clean else None)
            run = folder / stage.scene.made
            # Asked before it began, it has nothing to save but what stood there.
            if stage.scene.trains and _rows(run) != rows:
                lost = lost or not_saved(run)
        if lost:
            return f"{told}: {lost}"
        if done.code == 0:
            break
        if RunFolder(folder / "run").exists and stage.scene.again:
            words = stage.scene.again[0]
    lost = stage.wrong_end(folder)
    return lost and f"{told}: {lost}"


ENDED = "minillm: interrupted\n"
"""The last that a command says; a second Ctrl-C after it is answered by Python."""


def wrong_answer(done: Outcome, number: int, times: int = 1) -> Trial:
    """What is wrong with the end of a command that got a signal, or got it twice.

    The second may come when the command has ended, and Python alone is left to end.
    """
    if times > 1 and ENDED in done.err:
        return None
    if "Traceback" in done.err:
        return f"a traceback: {done.err[-500:]!r}"
    expected = -number if number == signal.SIGKILL else 128 + number
    if done.code not in (0, expected) and (times == 1 or done.code != -number):
        return f"code {done.code} instead of {expected}: {done.err[-300:]!r}"
    return None


def not_saved(run: Path) -> Trial:
    """What a run that was told to stop has done and not saved."""
    done = max([-1, *(row["step"] for row in RunFolder(run).rows())])
    last = max([-1, *(n for n, _ in checkpoint.step_folders(run / "checkpoints"))])
    if done > last:
        return f"step {done} was done, but step {last} is the last that was saved"
    return None


def left_over(folder: Path) -> Trial:
    """What is half done in a folder where a command was asked to end.

    What it was just removing may be there for the next one to remove.
    """
    for path in folder.rglob("*"):
        if (trace := files.TRACE.fullmatch(path.name)) and trace[2] == "tmp":
            return f"{path.name} is left over"
    return None


def terminal_closed(scene: Scene) -> Trials:
    """Close the terminal before each step."""

    def trials(random: Random) -> Iterator[Trial]:
        for step in random.sample(range(9), 9):
            lost = _close_terminal(staged(scene), step)
            yield lost and f"terminal closed at step {step}: {lost}"

    return trials


def _close_terminal(stage: Stage, step: int) -> Trial:
    folder = stage.fresh()
    trap = (traps.close_terminal_at, (step,))
    done = stage.call(stage.scene.words, folder, trap)
    if done.code != 128 + signal.SIGHUP:
        return f"it ended with {done}"
    return not_saved(folder / stage.scene.made) or stage.judge(folder)


# Other settings, other processes ----------------------------------------------------


def resumed_otherwise(scene: Scene) -> Trials:
    """End a run twice, each time under other settings, and let it go on."""

    def trials(random: Random) -> Iterator[Trial]:
        while True:
            yield _resume_otherwise(staged(scene), random)

    return trials


def _resume_otherwise(stage: Stage, random: Random) -> Trial:
    folder, told = stage.fresh(), ""
    split = random.choice((False, True))
    again: tuple[str, ...] = ()
    for step in sorted(random.sample(range(1, 9), 2)):
        changes = _otherwise(random, split)
        told += f"{' '.join(changes)}, ended at step {step}; "
        number = random.choice((signal.SIGKILL, signal.SIGTERM))
        words = (*stage.scene.words, *changes, *again)
        done = stage.call(words, folder, (traps.signal_at, (step, number)))
        if lost := wrong_answer(done, number):
            return f"{told}: {lost}"
        again = ("--resume",)
    return _same_in_the_end(stage, folder, told, exactly=not split)


def _otherwise(random: Random, split: bool) -> list[str]:
    words = []
    for name in ("log_every", "eval_every", "checkpoint_every"):
        words += [f"--{name}", str(random.randint(1, 9))]
    if split:
        batch_size = random.choice((1, 2, 3, 6))
        words += ["--batch_size", str(batch_size)]
        words += ["--accumulate", str(6 // batch_size)]
    return words


def _same_in_the_end(stage: Stage, folder: Path, told: str, exactly: bool) -> Trial:
    """Resume under the scene's own settings, and compare the last checkpoint."""
    done = stage.call((*stage.scene.words, "--resume"), folder)
    if done.code != 0:
        return f"{told}: {done}"
    runs = [folder / "run", stage.after / "run"]
    lasts = [checkpoint.find(run, "last") for run in runs]
    if lasts[0].name != lasts[1].name:
        return f"{told}: ended with {lasts[0].name} instead of {lasts[1].name}"
    for name in ("model.safetensors", "trainer.safetensors"):
        found, expected = (checkpoint.read_safetensors(f / name) for f in lasts)
        if difference := far_apart(found, expected, exactly):
            return f"{told}: {name}: {difference}"
    found_rows, expected_rows = ({r["step"]: r for r in _rows(run)} for run in runs)
    for step in found_rows.keys() & expected_rows.keys():
        a, b = (rows[step]["train_loss"] or 0.0 for rows in (found_rows, expected_rows))
        if abs(a - b) > (0 if exactly else 1e-3):
            return f"{told}: train_loss of step {step} is {a} instead of {b}"
    steps = [row["step"] for row in _rows(runs[0])]
    if steps != sorted(set(steps)):
        return f"{told}: rows of steps {steps}"
    shutil.rmtree(folder)
    return None


def far_apart(
    found: Mapping[str, Tensor], expected: Mapping[str, Tensor], exactly: bool
) -> Trial:
    """The first tensor that is another, or unless ``exactly`` by more than rounding."""
    for name, tensor in expected.items():
        other = found[name]
        near = torch.allclose(other, tensor, rtol=1e-2, atol=1e-3)
        if not (torch.equal(other, tensor) or (near and not exactly)):
            return f"{name} differs by {(other - tensor).abs().max().item():.1e}"
    return None


def by_two_processes(scene: Scene) -> Trials:
    """Let one process begin, two go on until one is killed or stopped, and one end."""

    def trials(random: Random) -> Iterator[Trial]:
        for number in cycle((signal.SIGKILL, signal.SIGTERM)):
            first, second = sorted(random.sample(range(1, 9), 2))
            rank = random.randrange(2)
            lost = _two_processes(staged(scene), first, second, rank, number)
            yield lost and (
                f"one until {first}, two until {second}, signal {number} to {rank},"
                f" and one again: {lost}"
            )

    return trials


def _two_processes(
    stage: Stage, first: int, second: int, rank: int, number: int
) -> Trial:
    folder = stage.fresh()
    stop = (traps.signal_at, (first, signal.SIGTERM))
    stage.call(stage.scene.words, folder, stop)
    ends = _together(stage, folder, rank, second, number)
    for end in ends:
        if end.code is None or "Traceback" in end.err:
            return f"a process ended with {end}"
    lost = stage.lost_of_run(folder / stage.scene.made, exactly=False)
    if number == signal.SIGTERM:
        lost = lost or not_saved(folder / stage.scene.made)
    return lost or _same_in_the_end(stage, folder, "", exactly=False)


def _together(
    stage: Stage, folder: Path, rank: int, step: int, number: int
) -> list[Outcome]:
    """Resume with two processes, one of which gets a signal at a step."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    words = (*stage.scene.words, "--resume")
    calls = []
    for own in (0, 1):
        laid = [(traps.join, (own, 2, port))]
        if own == rank:
            laid.append((traps.signal_at, (step, number)))
        calls.append(stage.begin(words, folder, *laid))
    return [call.wait() for call in calls]


UNDONE = (
    "the old, the new or nothing is there; the same command then ends as if undisturbed"
)

ATTACKS: tuple[Attack, ...] = (
    Attack(
        "kill train before each file operation",
        "the folder opens, and the run that goes on ends bit-equal, nothing left over",
        killed_before_each(*TRAINING),
        tries=None,
        few=6,
    ),
    Attack(
        "kill prepare or export before each file operation",
        UNDONE,
        killed_before_each(*PREPARING, EXPORTING),
        tries=None,
        few=5,
    ),
    Attack(
        "kill train inside a write",
        "the folder opens, and the run that goes on ends bit-equal, nothing left over",
        ended_in_write(*TRAINING),
        tries=60,
        few=3,
    ),
    Attack(
        "kill prepare or export inside a write",
        UNDONE,
        ended_in_write(*PREPARING, EXPORTING),
        tries=60,
        few=3,
    ),
    Attack(
        "cut the power (simulated) while training",
        "what was flushed suffices: the last checkpoint is whole, the run goes on",
        power_cut(*TRAINING),
        tries=200,
        few=4,
    ),
    Attack(
        "cut the power (simulated) while preparing or exporting",
        UNDONE,
        power_cut(*PREPARING, EXPORTING),
        tries=200,
        few=4,
    ),
    Attack(
        "signals to train, again and again",
        "asked to stop it saves first; whatever ends it, it goes on and ends bit-equal",
        signalled(*VARIANTS),
        tries=150,
        few=6,
    ),
    Attack(
        "signals to prepare and export",
        "asked to stop, they end with 128 + the signal and leave nothing half done;"
        " typed again, they end as if undisturbed",
        signalled(*PREPARING, EXPORTING),
        tries=60,
        few=4,
    ),
    Attack(
        "close the terminal of train",
        "the run saves and stops, though it can tell nobody",
        terminal_closed(TRAINING[0]),
        tries=None,
        few=1,
    ),
    Attack(
        "resume with other --eval_every and so on, or another --batch_size",
        "the weights end bit-equal, with another split of a batch within 1 % or 0.001",
        resumed_otherwise(TRAINING[0]),
        tries=40,
        few=3,
    ),
    Attack(
        "train with one process, two, and one again",
        "one ends if the other is killed; the run goes on, its weights end within 1 %"
        " or 0.001",
        by_two_processes(TRAINING[0]),
        tries=16,
        few=2,
    ),
)
