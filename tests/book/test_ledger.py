"""The ledger says what the rows say."""

import pytest

from book.experiments import ablation, clock, ledger


@pytest.mark.parametrize(
    ("differences", "said"),
    [
        ([-0.5, -0.4, -0.6, -0.5, -0.5], "-0.500 ± 0.088, lower"),
        ([0.5, 0.4, 0.6, 0.5, 0.5], "+0.500 ± 0.088, higher"),
        ([0.5, -0.4, 0.6, -0.5, 0.0], "+0.040 ± 0.624, not significant"),
    ],
)
def test_a_difference_is_called_what_its_interval_says(differences, said):
    """A mean below zero whose interval crosses it has shown nothing."""
    assert ledger.words(differences) == said
    low, high = ledger.bounds(differences)
    assert ("not" in said) == (low < 0 < high)


def cells(table):
    return [
        [cell.strip() for cell in line.strip("|").split("|")]
        for line in table.splitlines()
    ]


def test_a_table_has_its_baseline_first_and_a_difference_for_every_other_arm(
    shakespeare,
):
    head, _, first, *others = cells(ledger.losses("rope"))
    assert head[0] == "arm"
    assert head[-1] == "minus `learned`"
    assert first[0] == "`learned`"
    assert first[-1] == ""
    assert first[4] == "1.00"
    assert {line[0] for line in others} == {"`rope`", "`nope`"}
    rows = ablation.read("rope")
    for line in others:
        mine = {
            row["seed"]: float(row["val_loss"])
            for row in rows
            if (f"`{row['arm']}`", row["stage"], row["step"])
            == (line[0], "final", "1000")
        }
        mean = sum(mine.values()) / len(mine)
        assert line[5] == f"{mean:.3f}"
        assert len(mine) == len(ablation.SEEDS)


def test_every_claim_has_a_baseline_that_is_one_of_its_arms():
    assert tuple(clock.BASELINES) == ablation.CLAIMS
    for claim, baseline in clock.BASELINES.items():
        assert baseline in ablation.arms(claim)


def test_the_clock_gives_a_ratio_a_round_and_one_for_the_baseline(
    shakespeare, monkeypatch
):
    monkeypatch.setattr(clock, "WARM", 1)
    found = clock.ratios("rmsnorm", shakespeare, rounds=2)
    assert set(found) == {"layernorm", "rmsnorm"}  # and not the longer run of the first
    assert found["layernorm"] == [1.0, 1.0]
    assert all(0.1 < ratio < 10 for ratio in found["rmsnorm"])


def test_rows_hold_the_median_and_where_most_rounds_lay():
    [row] = clock.rows({"a": [*map(float, range(1, 12)), 100.0]})
    assert (row["arm"], row["ratio"], row["rounds"]) == ("a", "6.500", "12")
    assert 1 <= float(row["low"]) < 6.5 < float(row["high"])


def test_an_unknown_claim_is_refused_by_name(monkeypatch, capsys):
    monkeypatch.setattr("sys.argv", ["clock", "rmsnrom"])
    with pytest.raises(SystemExit) as stop:
        clock.main()
    assert stop.value.code == 2
    assert "'rmsnrom'" in capsys.readouterr().err


@pytest.mark.parametrize("claim", clock.BASELINES)
def test_the_clock_has_measured_every_arm_as_it_is_now(claim):
    """An arm that was added later would be missing from the ledger."""
    timed = {row["arm"] for row in ledger.rows(f"{claim}/steps.csv")}
    assert timed == {a for a in ablation.arms(claim) if not a.endswith("-longer")}


def test_planted_mistakes_are_counted():
    head, _, *lines = cells(ledger.planted())
    assert head[0] == "asked"
    found = ledger.rows("refactor/noticed.csv")
    for name, noticed, _ in lines:
        mine = [row["noticed"] for row in found if f"`{row['asked']}`" == name]
        assert noticed == f"{mine.count('yes')} of {len(mine)}"


def test_what_failed_under_the_limit_held_nothing_worth_telling():
    _, _, *lines = cells(ledger.memory())
    failed = [line for line in lines if line[3] == "fails"]
    assert [line[0] for line in failed] == ["load"]
    assert failed[0][4:] == ["", ""]
    for way, size, _, _, anonymous, backed in lines:
        if way == "load" and anonymous:
            assert abs(int(anonymous) - int(size)) <= 1
        if way == "map, read all":
            assert abs(int(backed) - int(size)) <= 1


def test_the_cache_is_the_first_and_the_measure_of_the_others():
    head, _, first, *others = cells(ledger.caching())
    assert head[1:-1] == sorted(head[1:-1], key=int)
    assert set(first[1:-1]) == {"1.00"}
    assert {line[0] for line in others} == {"`cat`", "`none`"}


def test_human_text_is_what_others_are_compared_with():
    """Its own difference is zero, and the forced draws answer another question."""
    head, _, *lines = cells(ledger.texts("invented"))
    assert head == ["minus human text", "invented"]
    arms = {line[0] for line in lines}
    assert {"plain", "greedy"} <= arms
    assert not {"human", "after tail", "after body"} & arms


def test_formats_are_compared_with_float32():
    _, _, first, *others = cells(ledger.formats())
    assert first[0] == "`float32`"
    assert first[-1] == ""
    assert all("±" in line[-1] for line in others)
