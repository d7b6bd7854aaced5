"""Others at work lose nothing; and an attack that could not see it if they did."""

import pytest
from planted import plant

from minillm import checkpoint
from torture import attack, others

ATTACKS = {one.name: one for one in others.ATTACKS}


# Bugs of the package, planted in the attacked processes


def replace_whatever_is_there():
    from minillm import files

    put = files._put
    files._put = lambda temporary, path, _: put(temporary, path, None)
    files._require_free = lambda _: None


def trust_the_name():
    from minillm import run

    run.RunFolder.require_held = lambda _: None


def speak_anyway():
    from minillm import cli

    cli._print = print
    cli._open_streams = lambda: None


@pytest.mark.parametrize(
    ("name", "bug", "lost"),
    [
        (
            "a file is saved into a folder that is just made",
            replace_whatever_is_there,
            "is gone",
        ),
        ("a run is moved away while it trains", trust_the_name, "holds a run already"),
        ("nobody listens", speak_anyway, "a traceback"),
    ],
)
def test_an_attack_sees_a_planted_bug(name, bug, lost, monkeypatch):
    """An attack that nothing can fail proves nothing."""
    plant(monkeypatch, others, bug)
    losses = []
    for seed in range(9):  # the moment may be another
        losses += attack.make(ATTACKS[name], 4, seed).losses
        if any(lost in loss for loss in losses):
            break
    assert any(lost in loss for loss in losses), losses


def test_who_reads_only_once_is_found(monkeypatch):
    monkeypatch.setattr(checkpoint, "READ_AGAIN", 0)
    losses = attack.make(ATTACKS["a run is read while it trains"], 300, 0).losses
    assert any("step-" in loss for loss in losses), losses
