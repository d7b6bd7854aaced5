"""The search behind the preset `speedrun`: its rows, its table, and what was chosen."""

import pytest
import torch

from benchmarks import speedrun
from book.experiments import records
from book.experiments.speedrun import run
from minillm.config import ModelConfig, fingerprint, preset

ROWS = records.read(run.RESULTS)
VOCABULARY = 65


def test_every_row_is_what_the_script_would_write_again():
    """A changed preset makes rows stale, and the README quotes them."""
    for row in ROWS:
        mine = run.Run(row["changes"], int(row["seed"]))
        assert row["fingerprint"] == run.mark(mine, row["corpus"], VOCABULARY)
        config, _ = run.configuration(mine, VOCABULARY)
        assert int(row["steps"]) == config.train.steps
    assert len({row["corpus"] for row in ROWS}) == 1


def test_every_run_has_a_row_and_every_row_a_run():
    """Rows left out would be results chosen by their value."""
    corpus = ROWS[0]["corpus"]
    asked = {(run.mark(r, corpus, VOCABULARY), str(r.seed)) for r in run.runs()}
    assert asked == {(row["fingerprint"], row["seed"]) for row in ROWS}
    assert len(asked) == len(ROWS)


def test_the_readme_shows_the_rows():
    assert run.table() in run.README.read_text(encoding="utf8")


def test_nothing_is_measured_on_seeds_that_tuned():
    assert not set(run.TUNING_SEEDS) & set(speedrun.SEEDS)
    assert {int(row["seed"]) for row in ROWS} == set(run.TUNING_SEEDS)


def test_the_preset_is_the_one_that_was_found():
    """A preset edited afterwards would carry numbers that are not its own."""
    found = run.mark(run.Run(run.SHORT, 0), "", VOCABULARY)
    same = preset("speedrun", VOCABULARY, {"train": {"steps": 420}})
    assert fingerprint(same) == found


def test_the_benchmark_trains_plain_adamw_as_it_was_found():
    """Given on the command line, a setting is easily forgotten."""
    name, *words = speedrun.CONTENDERS["speedrun-adamw"]
    pairs = zip(words[::2], words[1::2], strict=True)
    changes = " ".join(f"{key.removeprefix('--')}={value}" for key, value in pairs)
    train = run.plain_values(changes)["train"]
    asked = preset(name, VOCABULARY, {"train": train}).train
    found, _ = run.configuration(run.Run(run.ADAMW_SHORT, 0), VOCABULARY)
    for field in ("optimizer", "learning_rate", "min_learning_rate", "warmup_steps"):
        assert getattr(asked, field) == getattr(found.train, field)
    for field in ("schedule", "batch_size", "weight_decay", "beta2"):
        assert getattr(asked, field) == getattr(found.train, field)


def test_changes_are_read_by_section_and_type():
    values = run.plain_values("n_layers=2 learning_rate=3e-2 optimizer=muon build=nope")
    assert values == {
        "model": {"n_layers": 2},
        "train": {"learning_rate": 0.03, "optimizer": "muon"},
        "experiment": {"build": "nope"},
    }


def test_a_change_replaces_the_pair_of_its_base():
    assert run.joined("steps=3 batch_size=2", "steps=5 seed=1") == (
        "batch_size=2 seed=1 steps=5"
    )


def test_the_build_is_part_of_the_fingerprint():
    """Two models of one name would share a row."""
    plain, silent = (run.Run(f"steps=200{b}", 0) for b in ("", " build=silent"))
    assert run.mark(plain, "", VOCABULARY) != run.mark(silent, "", VOCABULARY)


def test_silent_blocks_say_nothing_at_first():
    """Each block is the identity until its writers have moved."""
    model = run.silent(ModelConfig(vocab_size=9, d_model=24, n_layers=2, n_heads=3))
    x = torch.randn(2, 5, 24)
    for block in model.blocks:
        assert torch.equal(block(x), x)
    with pytest.raises(ValueError, match="unknown key"):
        run.configuration(run.Run("n_layer=2", 0), VOCABULARY)
