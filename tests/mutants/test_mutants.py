"""The planted bugs still fit the code, and a sample of them is noticed."""

import shutil
from collections import Counter

import pytest
from mutants import run

QUICK = (
    "attention is not causal in training",
    "the cache's counter is off by one",
    "temperature inverted",
    "targets are not shifted",
    "weight decay on norms and biases",
)
"""Bugs of five rooms that are noticed within seconds."""
SAMPLE = [mutant for mutant in run.KNOWN if mutant.why in QUICK]


@pytest.mark.parametrize("mutant", run.MUTANTS, ids=lambda m: f"{m.file}: {m.why}")
def test_every_mutant_can_still_be_planted(mutant, tmp_path):
    """A mutant whose place is gone tests nothing, and nobody would know."""
    shutil.copy(run.ROOT / "minillm" / mutant.file, tmp_path)
    run.apply(mutant, tmp_path)
    changed = (tmp_path / mutant.file).read_text()
    compile(changed, mutant.file, "exec")


def test_there_are_enough_and_no_two_are_alike():
    assert len(SAMPLE) == len(QUICK)
    assert len(run.MUTANTS) >= 40
    assert len(run.BLIND) >= len(run.MUTANTS) / 2 - 1
    assert max(Counter((m.file, m.old, m.new) for m in run.MUTANTS).values()) == 1


@pytest.mark.parametrize("mutant", SAMPLE, ids=lambda m: m.why)
def test_a_sample_of_the_bugs_is_noticed(mutant):
    """The whole table is `make mutants`; this shows that the machinery works."""
    assert run.killer(mutant)
