"""The race to a good character model: who is judged on what, and when a goal holds."""

import ast
import json
from pathlib import Path

import pytest
import torch
import torch.nn.functional as F

from benchmarks import classic, speedrun
from benchmarks.harness import Usage
from minillm.config import preset_names

TEXT = "Was ever woman in this humour woo'd? Was ever woman in this humour won?\n" * 9


def outcome(name, seed, loss, seconds):
    usage = Usage(wall_seconds=1.0, cpu_seconds=seconds, peak_mebibytes=1.0)
    return speedrun.Outcome(name, seed, loss, 10, 100, 1000, usage)


def a_race(**changes):
    """Three seeds a contender: (losses, CPU seconds)."""
    made = {
        "classic": ([1.90, 1.91, 1.89], [120.0, 130.0, 110.0]),
        "speedrun": ([1.60, 1.61, 1.59], [100.0, 100.0, 100.0]),
        "speedrun-short": ([1.87, 1.86, 1.88], [20.0, 20.0, 20.0]),
        "speedrun-adamw": ([1.87, 1.86, 1.88], [40.0, 40.0, 40.0]),
        **changes,
    }
    return {
        name: [
            outcome(name, seed, *pair)
            for seed, pair in enumerate(zip(*two, strict=True))
        ]
        for name, two in made.items()
    }


def test_the_classic_recipe_knows_nothing_of_the_package():
    """A baseline that shares the model's code would share its mistakes."""
    tree = ast.parse(Path(classic.__file__).read_text(encoding="utf8"))
    names = []
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            names += [name.name for name in node.names]
        if isinstance(node, ast.ImportFrom):
            names.append(node.module)
    assert not [name for name in names if name.startswith(("minillm", "benchmarks"))]


def test_the_classic_recipe_predicts_every_character_once():
    """The last, shorter window was dropped, and the loss was that of another text."""
    torch.manual_seed(0)
    ids, rest, vocabulary = classic.split(TEXT, 300)
    assert (len(ids), len(ids) + len(rest)) == (300, len(TEXT))
    model = classic.GPT(vocabulary)
    total = 0.0
    for place in range(1, len(rest)):
        first = (place - 1) // classic.CONTEXT * classic.CONTEXT
        scores = model(rest[None, first:place])[0, -1]
        total += F.cross_entropy(scores, rest[place]).item()
    for rows in (1, 3, 64):
        loss, predicted = classic.evaluate(model, rest, rows)
        assert predicted == len(rest) - 1
        assert loss == pytest.approx(total / predicted, rel=1e-5)


def test_the_classic_rate_is_the_published_one():
    assert classic.rate(0) == pytest.approx(1e-3 / 101)
    assert classic.rate(100) == pytest.approx(1e-3)
    assert classic.rate(1050) == pytest.approx((1e-3 + 1e-4) / 2)
    assert classic.rate(2000) == pytest.approx(1e-4)


def test_the_classic_recipe_learns_and_a_seed_gives_the_same_model():
    ids, rest, vocabulary = classic.split(TEXT)
    once, again = (classic.train(ids, vocabulary, 3, steps=4) for _ in range(2))
    fresh = classic.train(ids, vocabulary, 3, steps=0)
    loss, same, before = (classic.evaluate(m, rest)[0] for m in (once, again, fresh))
    assert loss == same
    assert loss < before


def test_all_goals_hold_where_everybody_is_in_time():
    soon, adamw, long = speedrun.goals(a_race(), 1.88, True)
    assert (soon.measured.median, adamw.measured.median) == (6.0, 3.0)
    assert long.measured.median == 1.60
    assert soon.holds
    assert adamw.holds
    assert long.holds


@pytest.mark.parametrize("name", ["speedrun-short", "speedrun-adamw"])
def test_a_run_that_has_not_arrived_was_not_fast(name):
    """The fewer steps, the better the ratio: a run of one step would win."""
    race = a_race(**{name: ([1.87, 1.8801, 1.87], [1.0, 1.0, 1.0])})
    found = speedrun.goals(race, 1.88, True)
    missed = found[["speedrun-short", "speedrun-adamw"].index(name)]
    assert not missed.holds
    assert "above 1.8800 with seed 1" in missed.row()["why_not"]


def test_a_loss_that_took_longer_than_the_classic_recipe_does_not_count():
    race = a_race(speedrun=([1.5, 1.5, 1.5], [119.0, 131.0, 111.0]))
    goal = speedrun.goals(race, 1.88, True)[2]
    assert goal.measured.median == 1.86
    assert not goal.holds
    assert "longer than the classic recipe with seed 1, 2" in goal.row()["why_not"]


def test_another_text_has_no_goal_in_nats():
    found = speedrun.goals(a_race(), 1.88, False)
    assert len(found) == 2


@pytest.mark.parametrize("losses", [[1.93, 1.93, 1.93], [1.87, 1.87, 1.87]])
def test_a_classic_recipe_that_is_not_the_known_one_gives_no_ratio(losses):
    """A baseline with a mistake is easily beaten."""
    speedrun.require_known([1.89, 1.90, 1.91])
    with pytest.raises(SystemExit, match="no ratio means anything"):
        speedrun.require_known(losses)


def test_a_text_that_is_not_the_exact_one_is_refused(tmp_path, monkeypatch):
    path = tmp_path / "text.txt"
    monkeypatch.setenv(speedrun.VARIABLE, str(path))
    with pytest.raises(SystemExit, match="must be a file"):
        speedrun.find_text(tmp_path)
    path.write_text(TEXT)
    with pytest.raises(SystemExit, match="must be the exact text"):
        speedrun.find_text(tmp_path)


def test_both_sides_are_judged_on_the_same_characters(tmp_path):
    """Cut at a word's end, our text had one character more to train on."""
    path = tmp_path / "text.txt"
    path.write_text(TEXT)
    corpus = speedrun.prepared(path, tmp_path / "corpus")
    said = {"seed": 0, "val_loss": 1.0, "steps": 1, "parameters": 1, "tokens": 1}
    said["train_characters"] = len(corpus.train)
    said["val_characters"] = len(corpus.val) - 1
    usage = Usage(1.0, 1.0, 1.0)
    assert speedrun.classic_outcome(said, usage, corpus).val_loss == 1.0
    _, rest, _ = classic.split(TEXT, len(corpus.train))
    assert len(rest) - 1 == said["val_characters"]
    said["train_characters"] -= 1
    with pytest.raises(SystemExit, match="characters to train on"):
        speedrun.classic_outcome(said, usage, corpus)


def test_a_run_that_was_measured_on_the_way_is_refused(tmp_path):
    """It would have paid for passes that the other did not make."""
    stored = {"train": {"steps": 20}, "model": {"vocab_size": 7}}
    (tmp_path / "config.json").write_text(json.dumps(stored))

    def measured(*steps):
        rows = [
            {"step": n, "val_loss": 2.0 - n / 100 if n in steps else None, "tokens": n}
            for n in (0, 10, 20)
        ]
        lines = "\n".join(map(json.dumps, rows))
        (tmp_path / "metrics.jsonl").write_text(lines)
        return speedrun.our_outcome("speedrun", 0, tmp_path, Usage(1.0, 1.0, 1.0))

    assert measured(0, 20).val_loss == 1.8
    with pytest.raises(SystemExit, match="before its steps and after them"):
        measured(0, 10, 20)


def test_every_contender_is_a_preset_that_ships():
    for name, words in speedrun.CONTENDERS.items():
        assert name == "classic" or words[0] in preset_names()
