"""What somebody else has made stays data; and an attack that could not see it."""

import os
import subprocess

import pytest
from planted import plant

from torture import attack, doors
from torture.victims import Call

ATTACKS = {one.name: one for one in doors.ATTACKS}


# Bugs of the package, planted in the attacked processes


class Everything:
    def __contains__(self, name):
        return True


def allow_any_name():
    from minillm import data

    data.FILE_NAMES = Everything()


def evaluate_json():
    from minillm import data, files

    def read_json(path):
        return eval(path.read_text())  # noqa: S307

    data.files.read_json = files.read_json = read_json


def stand_in_the_path():
    from minillm import corpora

    run = corpora._run
    corpora._run = lambda command, folder: run(
        [word for word in command if word != "-P"], folder
    )


def believe_every_hash():
    from minillm import corpora

    corpora.files.sha256_file = lambda _: corpora.VOCABULARY_WHEEL.sha256
    corpora.files.sha256_bytes = lambda _: corpora.VOCABULARY_SHA256


def print_as_it_is():
    from minillm import cli

    cli._plain = str


@pytest.mark.parametrize(
    ("name", "bug", "lost"),
    [
        ("names that lead out", allow_any_name, "exit code 77"),
        ("programs in data", evaluate_json, "it was run"),
        ("programs where one stands", stand_in_the_path, "it was run"),
        ("other archives", believe_every_hash, "_climbing"),
        ("strange names", print_as_it_is, "reach the terminal"),
    ],
)
def test_an_attack_sees_a_planted_bug(name, bug, lost, monkeypatch):
    """An attack that nothing can fail proves nothing."""
    monkeypatch.setattr(doors, "_outside", lambda _, *paths: os.path.relpath(*paths))
    monkeypatch.setattr(doors, "FOLDERS", doors.FOLDERS[:1])
    monkeypatch.setattr(doors, "PROGRAMS", (doors._python,))
    monkeypatch.setattr(doors, "TEMPTING", ("meta.json",))
    plant(monkeypatch, doors, bug)
    losses = attack.make(ATTACKS[name], 9, 0).losses
    assert any(lost in loss for loss in losses), losses


def do(what, path):
    if what == "open":
        open(path).close()
    elif what == "start":
        subprocess.run(["true"])
    else:
        import pickle  # noqa: TID251
        from pathlib import Path

        pickle.loads(pickle.dumps(Path))  # noqa: S301


@pytest.mark.parametrize(
    ("what", "told"),
    [("open", "open"), ("start", "subprocess.Popen"), ("load", "pickle.find_class")],
)
def test_the_guard_ends_who_does_what_is_forbidden(tmp_path, what, told):
    secret = tmp_path / "secret"
    secret.touch()
    before = [doors.guarded(secret), (do, (what, str(secret)))]
    done = Call(["describe"], tmp_path, before).wait()
    assert done.code == doors.CAUGHT
    assert f"CAUGHT: {told}" in done.err
    assert Call(["describe"], tmp_path, [doors.guarded(secret)]).wait().code == 0
