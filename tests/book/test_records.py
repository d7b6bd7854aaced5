"""Rows survive the way to the disk and back, and a table is never half a table."""

import pytest

from book.experiments import records

FIELDS = ["arm", "loss"]


def test_rows_are_added_under_one_header(tmp_path):
    path = tmp_path / "results.csv"
    assert records.read(path) == []
    records.append(path, FIELDS, [{"arm": "a, b", "loss": "1.5"}])
    records.append(path, FIELDS, [{"arm": "c", "loss": "2"}])
    assert path.read_bytes() == b'arm,loss\n"a, b",1.5\nc,2\n'
    assert records.read(path)[0] == {"arm": "a, b", "loss": "1.5"}


def test_a_table_that_cannot_be_written_leaves_the_old_one(tmp_path):
    path = tmp_path / "timing.csv"
    records.write(path, FIELDS, [{"arm": "a", "loss": "1"}])
    with pytest.raises(ValueError, match="seed"):
        records.write(path, FIELDS, [{"arm": "b", "seed": "0"}])
    assert records.read(path) == [{"arm": "a", "loss": "1"}]


def test_each_ratio_is_to_the_first_name_of_its_round():
    found = records.ratios({"a": [1.0, 2.0], "b": [3.0, 2.0]})
    assert found == {"a": [1.0, 1.0], "b": [3.0, 1.0]}


def test_where_rows_came_from_can_be_told():
    assert records.machine()
    assert len(records.commit()) in (12, len("uncommitted"))
