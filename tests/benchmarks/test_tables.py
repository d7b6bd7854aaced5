"""What the page on speed shows is what was measured."""

import pytest

from benchmarks import harness, tables
from benchmarks.harness import Goal, Spread

KEYS = {"name", "at_least", "aim", "measured", "spread", "rounds", "holds", "why_not"}


@pytest.mark.parametrize("name", tables.BENCHMARKS)
def test_every_goal_is_filled_and_every_missed_one_says_why(name):
    """A row without a reason looks like a row that nobody has looked at."""
    goals = harness.read(name)["goals"]
    assert goals
    for goal in goals:
        assert set(goal) == KEYS
        low, high = goal["spread"]
        assert low <= goal["measured"] <= high
        measured = Spread(goal["measured"], low, high, goal["rounds"])
        again = Goal(goal["name"], goal["at_least"], goal["aim"], measured)
        assert goal["holds"] == again.holds
        assert goal["holds"] or goal["why_not"]


@pytest.mark.parametrize(
    ("at_least", "aim", "measured", "verdict"),
    [
        (1.0, 2.0, 0.9, "**missed**"),
        (1.0, 2.0, 1.0, "met"),
        (1.0, 2.0, 2.0, "aim reached"),
        (0.2, 0.1, 0.3, "**missed**"),
        (0.2, 0.1, 0.2, "met"),
        (0.2, 0.1, 0.05, "aim reached"),
    ],
)
def test_a_verdict_knows_which_side_is_better(at_least, aim, measured, verdict):
    goal = Goal("g", at_least, aim, Spread(measured, measured, measured, 1))
    assert tables.verdict(goal.row()) == verdict


@pytest.mark.parametrize(
    ("value", "text"),
    [
        ("words", "words"),
        (7, "7"),
        (12345, "12,345"),
        (12345.6, "12,346"),
        (123.4, "123"),
        (12.34, "12.3"),
        (1.234, "1.23"),
        (0.1234, "0.123"),
        (-1.234, "-1.23"),
        (0.0, "0.000"),
        ([1.0, 2.5], "1.00 to 2.50"),
    ],
)
def test_numbers_have_the_digits_that_mean_something(value, text):
    assert tables.number(value) == text


def test_rows_become_curves_in_their_order():
    some = [{"n": "a", "x": 1, "y": 2.0}, {"n": "b", "x": 1, "y": 5.0}]
    some.append({"n": "a", "x": 3, "y": 4.0})
    expected = {"a": ([1, 3], [2.0, 4.0]), "b": ([1], [5.0])}
    assert tables.series(some, "n", "x", "y") == expected


def test_reasons_are_given_for_what_is_missed_only():
    missed = [
        goal["name"]
        for name in tables.BENCHMARKS
        for goal in harness.read(name)["goals"]
        if not goal["holds"]
    ]
    said = tables.reasons()
    assert said.count("\n- ") + said.startswith("- ") == len(missed)
    assert all(name in said for name in missed)
