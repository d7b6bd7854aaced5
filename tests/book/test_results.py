"""The rows that chapters quote are what the committed arms would give again."""

import json
from pathlib import Path

import pytest

from book.experiments import ablation

BOOK = Path(ablation.HERE).parent
STARTED = [claim for claim in ablation.CLAIMS if ablation.read(claim)]


def quoted():
    """The claims whose rows some chapter reads."""
    cells = []
    for path in BOOK.glob("[0-9]*.ipynb"):
        notebook = json.loads(path.read_text(encoding="utf8"))
        cells += ["".join(cell["source"]) for cell in notebook["cells"]]
    text = "\n".join(cells)
    return [c for c in ablation.CLAIMS if f"experiments/{c}/results.csv" in text]


def run_of(claim, row):
    rate, seed = float(row["learning_rate"]), int(row["seed"])
    return ablation.Run(claim, row["arm"], row["stage"], rate, seed)


@pytest.mark.parametrize("claim", STARTED)
def test_every_row_belongs_to_an_arm_as_it_is_now(claim, shakespeare):
    """A changed arm, preset or corpus makes its rows stale, and chapters quote them."""
    for row in ablation.read(claim):
        assert row["arm"] in ablation.arms(claim)
        assert row["fingerprint"] == ablation.mark(run_of(claim, row), shakespeare), row


@pytest.mark.parametrize("claim", STARTED)
def test_every_row_says_which_code_made_it(claim):
    for row in ablation.read(claim):
        assert len(row["commit"]) == 12, row
        assert row["threads"] == "1"


@pytest.mark.parametrize("claim", quoted())
def test_a_quoted_claim_is_complete_and_paired(claim, shakespeare):
    rows = [row for row in ablation.read(claim) if row["stage"] == "final"]
    for arm in ablation.arms(claim):
        run = ablation.Run(claim, arm, "final", 0.004, 0)
        last = ablation.configuration(run, shakespeare).train.steps
        steps = {*map(str, ablation.MEASURED), str(last)}
        mine = [row for row in rows if row["arm"] == arm]
        assert len({row["learning_rate"] for row in mine}) == 1
        for seed in map(str, ablation.SEEDS):
            found = [row["step"] for row in mine if row["seed"] == seed]
            assert sorted(found) == sorted(steps), (arm, seed)
        assert {row["seed"] for row in mine} == set(map(str, ablation.SEEDS))


@pytest.mark.parametrize("claim", quoted())
def test_each_chosen_rate_is_the_best_of_its_grid_and_lies_inside(claim, shakespeare):
    """A best rate at an edge says that the grid was too small."""
    rows = ablation.read(claim)
    for arm in ablation.arms(claim):
        mine = [row for row in rows if row["arm"] == arm]
        [chosen] = {r["learning_rate"] for r in mine if r["stage"] == "final"}
        tune = [row for row in mine if row["stage"] == "tune"]
        assert {row["seed"] for row in tune} == set(map(str, ablation.TUNING_SEEDS))
        grid = sorted({float(row["learning_rate"]) for row in tune})
        assert ablation.tuned(claim, arm, shakespeare, grid) == float(chosen)
        assert grid[0] < float(chosen) < grid[-1]


def test_seeds_that_tuned_are_not_reported():
    assert len(ablation.SEEDS) >= 5
    assert not set(ablation.SEEDS) & set(ablation.TUNING_SEEDS)


@pytest.mark.slow
@pytest.mark.parametrize("claim", quoted())
def test_the_first_steps_of_a_run_come_out_again(claim, shakespeare):
    assert ablation.check(claim, shakespeare)
