"""What the page shows is what the attacks, as they are now, have given."""

import pytest

from torture import table
from torture.__main__ import attacks

ROWS = table.read()


def test_every_attack_has_its_row_and_no_row_is_left_over():
    """A table of attacks that were changed since would promise what nobody tried."""
    made = [(kind, one.name, one.promise) for kind, one in attacks()]
    kept = [(row["kind"], row["attack"], row["promise"]) for row in ROWS]
    assert sorted(kept) == sorted(made)


@pytest.mark.parametrize("row", ROWS, ids=lambda row: f"{row['kind']}: {row['attack']}")
def test_a_row_was_tried_and_nothing_was_lost(row):
    assert row["losses"] == []
    assert row["tries"] > 0 or row["why_not"]
    assert row["survived"] == row["tries"]


def test_processes_were_killed_often_enough():
    assert sum(row["tries"] for row in ROWS if row["kind"] == "kill") >= 500
