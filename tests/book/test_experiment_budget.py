"""Which size wins at a fixed budget: what chapter 12 quotes."""

import math

import pytest

from book.experiments.budget import run
from minillm import costs

FINAL = [row for row in run.read() if row["stage"] == "final"]


def as_run(row):
    numbers = float(row["budget"]), int(row["d_model"]), float(row["learning_rate"])
    return run.Run(row["stage"], *numbers, int(row["seed"]))


def test_every_row_is_what_the_script_would_write_again(shakespeare):
    """A changed preset or corpus makes rows stale, and the chapter quotes them."""
    for row in run.read():
        assert row["fingerprint"] == run.mark(as_run(row), shakespeare)
        plan = run.configuration(as_run(row), shakespeare)
        assert int(row["parameters"]) == costs.num_parameters(plan.model)
        assert int(row["tokens"]) == costs.train_tokens(plan.model, plan.train)


def test_every_width_of_a_budget_costs_the_same():
    """Else the curve compares budgets and not sizes; a step is the smallest coin."""
    for row in run.read():
        step = float(row["flops"]) / int(row["steps"])
        assert abs(float(row["flops"]) - float(row["budget"])) <= 0.6 * step


def test_every_width_has_every_seed_at_one_rate_inside_its_grid():
    assert run.TUNING_SEED not in run.SEEDS
    for budget, widths in run.WIDTHS.items():
        for width in widths:
            mine = [
                row
                for row in run.read()
                if (float(row["budget"]), int(row["d_model"])) == (budget, width)
            ]
            final = [row for row in mine if row["stage"] == "final"]
            assert sorted(int(row["seed"]) for row in final) == sorted(run.SEEDS)
            (chosen,) = {float(row["learning_rate"]) for row in final}
            tuned = {
                float(row["learning_rate"]): float(row["val_loss"])
                for row in mine
                if row["stage"] == "tune"
            }
            assert chosen == min(tuned, key=tuned.__getitem__)
            assert min(tuned) < chosen < max(tuned)


def test_a_parabola_finds_the_lowest_point_between_the_points():
    """Over the logarithm of the size: 0.2 (ln n - ln 50)² + 1.5; tokens are 6000/n."""

    def point(size):
        loss = 0.2 * (math.log(size) - math.log(50)) ** 2 + 1.5
        return size, loss, 6000 / size

    size, tokens = run.lowest([point(n) for n in (400, 10, 30, 90)])
    assert size == pytest.approx(50)
    assert tokens == pytest.approx(120)


def test_a_minimum_at_an_edge_is_refused():
    """It would say that the widths were too few, in the shape of a number."""
    with pytest.raises(ValueError, match="at an edge: 10 parameters"):
        run.lowest([(10, 1.0, 9), (20, 2.0, 4), (30, 3.0, 3)])


def test_the_first_steps_of_a_run_come_out_again(shakespeare):
    assert run.check(shakespeare)
