"""What chapter 11 quotes: its measures measure, and its tables are whole."""

import csv

import pytest
import torch

from book.experiments.sampling import run, tables
from minillm.config import ModelConfig
from minillm.model import Transformer


@pytest.fixture
def model():
    torch.manual_seed(0)
    shape = ModelConfig(vocab_size=9, context_length=16, n_layers=1, d_model=24)
    made = Transformer(shape).eval()
    for weight in made.parameters():
        weight.data *= 5  # otherwise all tokens are nearly equal
    return made


@pytest.mark.parametrize(
    ("row", "length"),
    [
        ([7, 7, 7] + 12 * [1, 2], 2),
        (24 * [5], 1),
        (23 * [5], 0),  # too short to be called one
        (3 * list(range(10)), 10),
        (2 * list(range(20)), 0),  # two rounds are none
        (12 * [1, 2] + [3], 0),  # left again
    ],
)
def test_a_loop_is_three_rounds_at_the_end(row, length):
    assert run.loop_length(row) == length


def test_words_that_an_end_may_have_cut_are_not_counted():
    """A prompt ends within a word, and so does a text; neither half was invented."""
    assert run.words("My lo", "rd, the King's ow") == ["the", "king's"]
    assert run.words("My ", "lord, good-night.") == ["lord", "good-night"]


def test_sequences_of_neighbours():
    assert run.n_grams("abcd", 2) == [("a", "b"), ("b", "c"), ("c", "d")]
    assert run.n_grams("ab", 4) == []


def test_windows_of_different_seeds_share_no_token():
    tokens = torch.arange(128 * 400)
    parts = [run.windows(tokens, seed) for seed in run.SEEDS]
    assert all(part.shape == (80, 128) for part in parts)
    assert torch.cat(parts).unique().numel() == 128 * 400


def test_a_beam_of_one_is_greedy_and_a_wide_one_is_exact(model):
    """With room for every text of two tokens, nothing may be missed."""
    prompts = torch.tensor([[1, 2], [3, 4]])
    greedy = run.write(model, prompts, 5, run.SETTINGS["greedy"], 0)
    assert torch.equal(run.beam_search(model, prompts, 5, 1), greedy)
    found = run.beam_search(model, prompts, 2, 9)
    pairs = torch.cartesian_prod(torch.arange(9), torch.arange(9))
    for prompt, row in zip(prompts, found, strict=True):
        every = torch.cat([prompt.expand(81, 2), pairs], dim=1)
        best = run.losses(model, every)[:, 1:].sum(dim=1).argmin()
        assert torch.equal(row, every[best])


def test_a_forced_token_is_from_the_side_it_should_be(model):
    prompts = torch.tensor([[1, 2]]).expand(40, 2)
    chances = model(prompts[:1])[0, -1].softmax(dim=-1).detach()
    for from_tail in (True, False):
        token = run.forced(model, prompts, from_tail, 0)[:, 2]
        assert ((chances[token] < 1 / 9) == from_tail).all()


def test_the_tables_are_whole_and_from_the_shipped_model():
    """A number in the chapter must be one of the model that the reader has."""
    rows = list(csv.DictReader((run.HERE / "results.csv").read_text().splitlines()))
    arms = ["human", *run.SETTINGS, f"beam {run.BEAMS}", "after tail", "after body"]
    found = [(int(row["seed"]), row["arm"]) for row in rows]
    assert found == [(seed, arm) for seed in run.SEEDS for arm in arms]
    assert {row["model"] for row in rows} == {run.fingerprint(run.SHIPPED)}
    after = list(csv.DictReader((run.HERE / "after.csv").read_text().splitlines()))
    assert len(after) == 2 * len(run.SEEDS) * (run.AFTER + 1)
    spread = (run.HERE / "contexts.csv").read_text().splitlines()
    assert len(list(csv.DictReader(spread))) == len(run.SEEDS) * (len(run.SETTINGS) + 1)


def test_differences_are_taken_seed_by_seed():
    """Texts of one seed share their prompts: unpaired, plays would drown settings."""
    rows = {(row["arm"], row["seed"]): row for row in tables.rows("results")}
    for seed, gap in enumerate(tables.gaps("invented", "plain")):
        pair = (float(rows[arm, str(seed)]["invented"]) for arm in ("plain", "human"))
        plain, human = pair
        assert gap == plain - human
    assert tables.told([0.0, 1.0, 2.0, 3.0, 4.0]) == "+2.000 ± 1.963"
    assert len(tables.means(["invented"])) == 1 + len({arm for arm, _ in rows})


def test_loss_after_a_draw_is_told_by_distance():
    tail, body = tables.after("tail"), tables.after("body")
    assert len(tail) == len(body) == run.AFTER + 1
    assert all(len(place) == len(run.SEEDS) for place in tail + body)
    first = [a - b for a, b in zip(tail[0], body[0], strict=True)]
    assert tables.after_gap(0, 0) == pytest.approx(first)
