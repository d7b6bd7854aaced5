"""The bigram experiment: its rows are what the committed script would write again."""

import math
from collections import defaultdict

from book.experiments.bigram import run
from minillm.config import read_toml

FINAL = [row for row in run.read() if row["stage"] == "final"]


def test_every_row_belongs_to_an_arm_as_it_is_now(shakespeare):
    """A changed arm or corpus makes its rows stale, and the chapter quotes them."""
    for row in run.read():
        setting = float(row["alpha"] or row["learning_rate"])
        assert row["fingerprint"] == run.mark(row["arm"], setting, shakespeare)


def test_each_trained_arm_has_all_seeds_and_one_rate():
    rates, seeds = defaultdict(set), defaultdict(set)
    for row in FINAL:
        if row["arm"] != "counted" and row["step"] == "1000":
            rates[row["arm"]].add(row["learning_rate"])
            seeds[row["arm"]].add(int(row["seed"]))
    assert {name: len(found) for name, found in rates.items()} == {"adamw": 1, "sgd": 1}
    assert set(map(frozenset, seeds.values())) == {frozenset(run.SEEDS)}
    assert len(run.SEEDS) >= 5
    assert not set(run.SEEDS) & set(run.TUNING_SEEDS)


def test_each_chosen_setting_lies_inside_its_grid():
    """A best value at an edge says that the grid was too small."""
    for name, key in (
        ("adamw", "learning_rate"),
        ("sgd", "learning_rate"),
        ("counted", "alpha"),
    ):
        chosen = [float(row[key]) for row in FINAL if row["arm"] == name]
        grid = sorted(read_toml(run.HERE / f"{name}.toml")["experiment"][f"{key}s"])
        grid = [value for value in grid if value > 0]
        for value in set(chosen) - {0.0}:
            assert grid[0] < value < grid[-1]


def test_no_trained_table_beats_the_counts_on_their_own_text():
    """Counting is the maximum of the likelihood; less would be a bug in a loss."""
    floor = next(r for r in FINAL if r["arm"] == "counted" and r["alpha"] == "0.0")
    assert math.isinf(float(floor["val_loss"]))
    assert all(float(row["train_loss"]) >= float(floor["train_loss"]) for row in FINAL)


def test_the_first_steps_of_a_run_come_out_again(shakespeare):
    assert run.check(shakespeare)
