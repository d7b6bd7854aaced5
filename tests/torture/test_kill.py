"""Whatever ends a process loses nothing, and the attacks would notice if it did."""

import os
import signal
import types
from contextlib import contextmanager, nullcontext
from dataclasses import replace
from itertools import islice
from random import Random

import pytest

from minillm.run import RunFolder
from torture import kill
from torture.victims import Outcome


def test_float16_skips_steps_where_it_is_killed():
    """Killed between steps that were all taken, it would show nothing of the scaler."""
    [scene] = [one for one in kill.VARIANTS if one.name == "train float16"]
    last = RunFolder(kill.staged(scene).after / "run").rows()[-1]
    assert 0 < last["skipped"] < last["step"]


# ------------------------------------------------------------------ planted bugs


def write_in_place(path, content):
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(content)


@contextmanager
def fill_in_place(path, replace=False, may_go=None):
    path.mkdir(parents=True, exist_ok=True)
    for old in path.iterdir():
        old.unlink()
    yield path


class Forgetful(types.SimpleNamespace):
    """``os``, of a system that flushes nothing."""

    def __getattr__(self, name):
        return getattr(os, name)


def plant(bug):
    """Break the package, in the process that is attacked alone."""
    from minillm import checkpoint, cli, data, files, huggingface, run

    match bug:
        case "files are written in place":
            for room in (files, checkpoint, run):
                room.write_atomically = write_in_place
        case "folders are filled in place":
            for room in (files, huggingface):
                room.new_folder = fill_in_place
        case "nothing is cleared away":
            files.tidy = run.tidy = lambda *_: None
        case "rows are not rewound":
            run.RunFolder.rewind = lambda *_: None
        case "nothing is flushed":
            files.os = Forgetful(fsync=lambda _: None)
        case "signals are not answered":
            cli._answering = lambda _: nullcontext()
        case "a closed terminal is not noticed":
            del cli.signal
            cli.signal = types.SimpleNamespace(**vars(signal))
            del cli.signal.SIGHUP
        case "the split moves the samples":
            honest = data.TokenFile.batch

            def batch(self, seed, step, batch_size, *given, **options):
                return honest(self, seed, step + (batch_size < 6), batch_size, *given)

            data.TokenFile.batch = batch
        case "every process reads all rows":
            reads = data.TokenFile.batch
            data.TokenFile.batch = lambda *given, rows=slice(0, 1): reads(
                *given, rows=slice(0, rows.stop - rows.start)
            )


TRAIN, RESUME, _ = kill.TRAINING


@pytest.mark.parametrize(
    ("bug", "trials", "scene", "tries", "lost"),
    [
        ("nothing is cleared away", kill.killed_before_each, TRAIN, 9, "left over"),
        ("rows are not rewound", kill.killed_before_each, TRAIN, 9, "metrics.jsonl"),
        (
            "folders are filled in place",
            kill.killed_before_each,
            kill.PREPARING[3],
            9,
            "neither the old, nor the new",
        ),
        ("files are written in place", kill.ended_in_write, TRAIN, 9, ""),
        ("folders are filled in place", kill.ended_in_write, kill.EXPORTING, 9, "nor"),
        ("nothing is flushed", kill.power_cut, TRAIN, 9, ""),
        ("nothing is flushed", kill.power_cut, kill.PREPARING[0], 30, "corpus"),
        ("signals are not answered", kill.signalled, TRAIN, 9, "instead of"),
        ("a closed terminal is not noticed", kill.terminal_closed, TRAIN, 1, "code=-1"),
        ("the split moves the samples", kill.resumed_otherwise, TRAIN, 4, "differs"),
        ("every process reads all rows", kill.by_two_processes, TRAIN, 2, "differs"),
    ],
)
def test_a_planted_bug_is_found(bug, trials, scene, tries, lost):
    """An attack that cannot fail would survive everything."""
    harmed = replace(scene, always=((plant, (bug,)),))
    found = next(
        (loss for loss in islice(trials(harmed)(Random(0)), tries) if loss), ""
    )
    assert found
    assert lost in found


def test_who_ends_otherwise_than_told_is_found():
    """A run that went on after SIGTERM, or ended with a traceback, would be fine."""
    told = kill.wrong_answer
    assert told(Outcome(143, "", ""), signal.SIGTERM) is None
    assert told(Outcome(0, "", ""), signal.SIGTERM) is None
    assert told(Outcome(-9, "", ""), signal.SIGKILL) is None
    assert told(Outcome(-15, "", ""), signal.SIGTERM) == "code -15 instead of 143: ''"
    assert "a traceback" in told(Outcome(143, "", "Traceback (most"), signal.SIGTERM)
    assert told(Outcome(None, "", ""), signal.SIGINT) is not None


def test_what_was_done_and_not_saved_is_found(tmp_path):
    run = RunFolder(tmp_path)
    assert kill.not_saved(tmp_path) is None
    run.begin({})
    run.append({"step": 3})
    assert kill.not_saved(tmp_path).startswith("step 3 was done, but step -1 is")
    (run.checkpoints / "step-00000003").mkdir(parents=True)
    assert kill.not_saved(tmp_path) is None


def test_what_is_left_over_is_found(tmp_path):
    (tmp_path / "run").mkdir()
    (tmp_path / "run" / ".lock").touch()
    (tmp_path / ".corpus.0123456789ab.old").mkdir()
    assert kill.left_over(tmp_path) is None
    (tmp_path / "run" / ".a.0123456789ab.tmp").mkdir()
    assert kill.left_over(tmp_path) == ".a.0123456789ab.tmp is left over"


def test_trees_differ_by_the_first_file():
    a, b = {"x": "1", "y": "2"}, {"x": "1", "z": "3"}
    assert kill.difference(a, a) is None
    assert kill.difference(a, b) == "y is left over"
    assert kill.difference(b, a) == "y is missing"
    assert kill.difference(a, {**a, "x": "0"}) == "x is another"
