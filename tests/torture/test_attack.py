"""What was lost is counted, kept and shown."""

import ast
import subprocess
import sys
from pathlib import Path

import pytest

from torture import __main__, attack, table
from torture.attack import Attack, NotPossibleError, Result


def every_third(random):
    for number in range(10):
        yield f"number {number}" if number % 3 == 0 else None


def drawn(random):
    while True:
        yield str(random.random())


def not_here(random):
    yield None
    raise NotPossibleError("no full disk")


def test_losses_are_counted():
    """A harness that counted tries alone would survive everything."""
    result = attack.make(Attack("a", "b", every_third, None, 3), 8, 0)
    assert (result.tries, result.survived) == (8, 5)
    assert result.losses == ("number 0", "number 3", "number 6")
    assert attack.make(Attack("a", "b", every_third, None, 3), None, 0).tries == 10


def test_a_seed_repeats_the_attack_and_another_does_not():
    def losses(seed):
        return attack.make(Attack("a", "b", drawn, 4, 3), 4, seed).losses

    assert losses(1) == losses(1) != losses(2)


def test_what_cannot_be_tried_here_is_said():
    """An attack that was never made would be counted as survived."""
    result = attack.make(Attack("a", "b", not_here, None, 3), None, 0)
    assert (result.tries, result.why_not) == (1, "no full disk")
    assert "not tried: no full disk" in table.text([result.row()])


def test_a_row_takes_the_place_of_its_older_self(tmp_path):
    path = tmp_path / "results.json"
    for kind, name, tries in (
        ("x", "a", 1),
        ("x", "b", 2),
        ("y", "a", 4),
        ("x", "a", 3),
    ):
        table.keep(kind, Result(name, "", tries, (), 0.1), 0, path)
    found = [(row["kind"], row["attack"], row["tries"]) for row in table.read(path)]
    assert found == [("x", "a", 3), ("x", "b", 2), ("y", "a", 4)]


def test_a_summary_shows_losses_and_what_was_not_tried(tmp_path):
    """A page that shows survivors alone would be an advertisement."""
    path = tmp_path / "results.json"
    table.keep("x", Result("a", "this --holds", 1200, ("one", "two"), 0.1), 0, path)
    table.keep("x", Result("b", "that too", 0, (), 0.1, "no root"), 0, path)
    table.keep("y", Result("c", "elsewhere", 3, (), 0.1), 0, path)
    assert table.summary("x", path).splitlines()[2:] == [
        "| a | this `--holds` | 1,200 | 2 |",
        "| b | that too | 0 (not possible: no root) | 0 |",
    ]


def test_where_the_rows_were_made_is_said(tmp_path):
    path = tmp_path / "results.json"
    table.keep("x", Result("a", "", 1200, ("one",), 90.0), 0, path)
    table.keep("y", Result("b", "", 34, ("two",), 31.0), 0, path)
    said = table.made(path)
    assert said.startswith("1,234 tries, 2 lost, in 2 minutes (")
    assert said.count("PyTorch") == 1
    table.replace(path, table.read(path)[0] | {"torch": "9"}, ("kind", "attack"))
    assert table.made(path).count("PyTorch") == 2


def only_two(monkeypatch, *words):
    two = [("x", Attack(name, "", every_third, None, 3)) for name in ("a", "b")]
    monkeypatch.setattr(__main__, "attacks", lambda _: two)
    monkeypatch.setattr("sys.argv", ["torture", *words])
    return __main__.main()


def test_a_few_tries_do_not_change_the_book(tmp_path, monkeypatch, capsys):
    """Who had tried one attack twice had changed the page."""
    path = tmp_path / "results.json"
    monkeypatch.setattr(table, "RESULTS", path)
    assert only_two(monkeypatch, "--tries", "3") == 1
    assert not path.exists()
    assert only_two(monkeypatch, "--tries", "3", "--out", str(path)) == 1
    assert [row["tries"] for row in table.read(path)] == [3, 3]
    assert only_two(monkeypatch, "--attack", "b") == 1
    assert [row["tries"] for row in table.read(path)] == [3, 10]
    assert "LOST: number 9" in capsys.readouterr().out


def test_windows_is_told_that_it_is_not_attacked(monkeypatch, capsys):
    monkeypatch.setattr("sys.platform", "win32")
    with pytest.raises(SystemExit) as ended:
        only_two(monkeypatch)
    assert ended.value.code == 2
    assert "Windows lacks" in capsys.readouterr().err


def test_on_windows_no_test_of_an_attack_is_collected(tmp_path):
    """They import what only other systems have."""
    script = "import runpy, sys; sys.platform = 'win32'; print(runpy.run_path("
    script += f"{str(Path(__file__).with_name('conftest.py'))!r})['collect_ignore'])"
    said = subprocess.run(
        [sys.executable, "-c", script], capture_output=True, text=True, check=True
    ).stdout
    tests = {path.name for path in Path(__file__).parent.glob("test_*.py")}
    assert set(ast.literal_eval(said)) == tests


def test_the_table_adds_up():
    rows = [
        Result("short", "", 5, ("x",), 1.0).row(),
        Result("a longer name", "", 7, ("y", "z"), 2.0).row(),
    ]
    lines = [line.split() for line in table.text(rows).splitlines()]
    assert lines[0] == ["attack", "tries", "survived", "lost", "seconds"]
    assert lines[1] == ["short", "5", "4", "1", "1.0"]
    assert lines[-1] == ["all", "12", "9", "3", "3"]
