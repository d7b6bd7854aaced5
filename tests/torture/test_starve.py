"""A machine that lacks something loses nothing; and an attack that could not see it."""

import os
import shutil
import subprocess
from pathlib import Path

import numpy as np
import pytest
from planted import plant

from torture import attack, starve
from torture.victims import Outcome

ATTACKS = {one.name: one for one in starve.ATTACKS}


# Bugs of the package, planted in the attacked processes


def be_rude():
    from minillm import cli

    def fail(message):
        raise LookupError(message)

    cli._fail = fail


def forget_advice():
    from minillm import files

    files.ADVICE = {}


def leave_rubbish():
    shutil.rmtree = lambda *_arguments, **_options: None


def call_it_damage():
    from minillm import cli

    fail = cli._fail
    cli._fail = lambda message: fail(f"{message}: damaged")


def read_all():
    np.memmap = lambda file, dtype, *_arguments, **_options: np.fromfile(file, dtype)


def keep_files_open(opened=[]):  # noqa: B006 -- to keep them is its purpose
    real = Path.open

    def keep(*arguments, **options):
        file = real(*arguments, **options)
        opened.append(os.dup(file.fileno()))
        return file

    Path.open = keep


def never_kill():
    subprocess.Popen.kill = lambda _: None


def believe_in_files():
    from minillm import files

    real = files.lock_file

    def lock_file(path):
        if path.exists():
            raise ValueError(f"{path} exists already")
        return real(path)

    files.lock_file = lock_file
    import minillm.run

    minillm.run.lock_file = lock_file


def take_another_tokenizer():
    from minillm import data
    from minillm.tokenizer import CharTokenizer

    data.Corpus.tokenizer = property(lambda _: CharTokenizer.fit("ab"))


@pytest.mark.parametrize(
    ("name", "bug", "lost"),
    [
        ("the disk fills", forget_advice, "free some space"),
        ("files may not grow", leave_rubbish, "left behind"),
        ("a read-only disk", forget_advice, "you may write to"),
        ("few file descriptors", be_rude, "a traceback"),
        ("little memory", call_it_damage, "a lack is called damage"),
        ("no more threads", be_rude, "a traceback"),
        ("more data than memory", read_all, "training: "),
        ("more documents than descriptors", keep_files_open, "Too many open files"),
        ("a bad network", be_rude, "a traceback"),
        ("Ctrl-C while fetching", never_kill, "pip is still running"),
        ("an owner that was stopped", be_rude, "LookupError"),
        ("stale locks", believe_in_files, "exists already"),
        ("a disk without locks", be_rude, "a traceback"),
        ("a corpus prepared under training", take_another_tokenizer, "of nobody's"),
    ],
)
def test_an_attack_sees_a_planted_bug(name, bug, lost, monkeypatch):
    """An attack that nothing can fail proves nothing."""
    plant(monkeypatch, starve, bug)
    one = ATTACKS[name]
    losses = []
    for seed in range(9):  # chance may spare a process or two
        result = attack.make(one, 1, seed)
        if result.why_not:
            pytest.skip(result.why_not)
        losses += result.losses
        if losses:
            break
    assert any(lost in loss for loss in losses), losses


def test_every_attack_has_a_bug_that_it_sees():
    marks = test_an_attack_sees_a_planted_bug.pytestmark
    (cases,) = (mark.args[1] for mark in marks if mark.name == "parametrize")
    assert [case[0] for case in cases] == list(ATTACKS)


# The judges


def test_a_line_without_its_advice_is_a_complaint():
    line = "minillm: error: runs: No space left on device; free some space\n"
    assert starve.complaint(Outcome(2, "", line), "runs", "free some space") is None
    assert "advice" in starve.complaint(Outcome(2, "", line), "advice")
    assert starve.complaint(Outcome(0, "", ""), "advice") is None
    assert starve.complaint(Outcome(1, "", line)) is not None


def test_what_was_there_and_is_not_is_a_change(tmp_path):
    (tmp_path / "a").write_text("a")
    before = starve.tree(tmp_path)
    (tmp_path / "b").write_text("b")
    assert starve._changed(before, starve.tree(tmp_path)) is None
    (tmp_path / "a").write_text("c")
    assert "'a'" in starve._changed(before, starve.tree(tmp_path))
    (tmp_path / ".x.0123.tmp").mkdir()
    assert ".x.0123.tmp" in starve.unfinished(tmp_path)


def test_a_vocabulary_from_nowhere_is_a_loss(monkeypatch):
    """A server that says nothing, and a verb that succeeds, cannot both be right."""
    monkeypatch.setattr(starve, "FETCH", ("describe",))
    monkeypatch.setattr(starve, "ANSWERS", {"nothing": starve.ANSWERS["nothing"]})
    (loss,) = attack.make(ATTACKS["a bad network"], None, 0).losses
    assert "from nowhere" in loss
