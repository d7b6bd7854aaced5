"""The length laboratory: stretched rotations, and losses booked by position."""

import math
from dataclasses import replace
from types import SimpleNamespace

import pytest
import torch
from transformers import LlamaConfig
from transformers.modeling_rope_utils import ROPE_INIT_FUNCTIONS

from book.experiments import ablation
from book.experiments.ablation import Run
from book.experiments.parts import (
    BUILDS,
    STRETCHES,
    YARN_FAST,
    YARN_SLOW,
    frequencies,
    stretched,
)
from book.experiments.rope import lengths
from minillm.config import ModelConfig
from minillm.data import TokenFile
from minillm.evaluate import evaluate
from minillm.model import Transformer

E, BASE, LENGTH = 128, 10_000.0, 2048  # as in Llama, where a ramp has room


def theirs(kind, scale, seq_len=None, **more):
    """transformers' frequencies and factor of cosine and sine."""
    config = LlamaConfig(
        hidden_size=2 * E,
        num_attention_heads=2,
        head_dim=E,
        max_position_embeddings=LENGTH,
        rope_parameters={
            "rope_type": kind,
            "rope_theta": BASE,
            "factor": scale,
            "original_max_position_embeddings": LENGTH,
            **more,
        },
    )
    return ROPE_INIT_FUNCTIONS[kind](config, "cpu", seq_len=seq_len)


def close(ours, other):
    torch.testing.assert_close(ours.float(), other, atol=0.0, rtol=1e-5)


@pytest.mark.parametrize("scale", [2.0, 8.0])
def test_interpolation_is_what_transformers_calls_linear(scale):
    ours, factor = STRETCHES["interpolation"](E, BASE, LENGTH, scale)
    other, _ = theirs("linear", scale)
    close(ours, other)
    assert factor == 1


@pytest.mark.parametrize("scale", [2.0, 8.0])
def test_the_larger_base_is_what_transformers_calls_dynamic_at_full_length(scale):
    """Theirs grows with the text; at ``scale`` times the length it is the same."""
    ours, _ = STRETCHES["ntk"](E, BASE, LENGTH, scale)
    other, _ = theirs("dynamic", 1.0, seq_len=int(scale * LENGTH))
    close(ours, other)


def test_the_larger_base_slows_the_slowest_pair_by_the_scale_and_the_fastest_not():
    ours, _ = STRETCHES["ntk"](E, BASE, LENGTH, 8.0)
    ratio = frequencies(E, BASE) / ours
    assert ratio[0] == 1
    assert ratio[-1].item() == pytest.approx(8)
    assert (ratio.diff() > 0).all()


@pytest.mark.parametrize("scale", [2.0, 8.0])
def test_yarn_is_transformers_outside_of_the_ramp_and_near_it_inside(scale):
    """Their ramp is linear in the pair's number, the paper's in its number of turns."""
    ours, factor = STRETCHES["yarn"](E, BASE, LENGTH, scale)
    other, attention_factor = theirs("yarn", scale)
    assert factor == pytest.approx(attention_factor**2)  # on query and on key
    plain = frequencies(E, BASE)
    turns = plain * LENGTH / (2 * math.pi)
    their_ramp = (other - plain / scale) / (plain - plain / scale)
    outside = ((turns > YARN_FAST) | (turns < YARN_SLOW)) & (
        (their_ramp < 1e-3) | (their_ramp > 1 - 1e-3)
    )
    assert 20 < outside.sum() < E // 2  # of 64 pairs
    close(ours[outside], other[outside])
    inside = (turns < YARN_FAST) & (turns > YARN_SLOW)
    assert (ours[inside] < other[inside] * 1.001).all()
    assert (ours[inside] / other[inside]).min() < 0.8


def test_at_the_courses_training_length_yarn_hardly_differs_from_interpolation():
    """No pair turns 32 times in 64 positions, so none is left as it was."""
    ours, _ = STRETCHES["yarn"](16, BASE, 64, 8.0)
    ratio = ours * 8 / frequencies(16, BASE)
    assert 3 < ratio[0] < 3.2
    assert 1.4 < ratio[1] < 1.6
    assert (ratio[2:] < 1.02).all()


@pytest.mark.parametrize("method", STRETCHES)
def test_a_scale_of_one_changes_nothing(method):
    ours, factor = STRETCHES[method](16, BASE, 64, 1.0)
    torch.testing.assert_close(ours, frequencies(16, BASE))
    assert factor == 1


ARMS = ("learned", "nope", "rope")
CONFIG = ModelConfig(
    vocab_size=11,
    context_length=8,
    n_layers=2,
    n_heads=3,
    d_model=24,
    position="rope",
    feed_forward="gelu",
)


@pytest.fixture
def model():
    torch.manual_seed(0)
    model = Transformer(CONFIG)
    with torch.no_grad():
        for parameter in model.parameters():
            parameter *= 8.0  # small weights hide errors
    return model


def test_plain_stretching_is_the_packages_rope(model):
    longer = Transformer(replace(CONFIG, context_length=32))
    longer.load_state_dict(model.state_dict())
    tokens = torch.arange(32)[None] % 11
    ours = stretched(model, "plain", 4)(tokens)
    torch.testing.assert_close(ours, longer(tokens), atol=1e-3, rtol=1e-3)


def test_interpolation_by_two_reads_every_second_position_as_before(model):
    """Positions 0, 2, 4 of the stretched scale are 0, 1, 2 of the trained one."""
    wide = stretched(model, "interpolation", 2).blocks[0].attention
    x = torch.randn(1, 5, 24)
    spread = torch.zeros(1, 9, 24)
    spread[:, ::2] = x
    mask = torch.zeros(9, 9, dtype=torch.bool)
    mask[:, ::2] = torch.ones(9, 5, dtype=torch.bool)
    mask = mask.tril()
    narrow = stretched(model, "plain", 1).blocks[0].attention
    torch.testing.assert_close(wide(spread, mask=mask)[:, ::2], narrow(x))


def test_yarn_multiplies_scores_by_its_factor(model):
    """Queries alone, made longer by the factor, give the same attention."""
    longer = stretched(model, "yarn", 4)
    attention = longer.blocks[0].attention
    factor = attention.score_factor
    assert factor == pytest.approx((0.1 * math.log(4) + 1) ** 2)
    x = torch.randn(1, 7, 24)
    with torch.no_grad():
        expected = attention(x)
        attention.score_factor = 1.0
        attention.query.weight *= factor
        torch.testing.assert_close(attention(x), expected)


def test_a_stretched_model_refuses_a_cache(model):
    attention = stretched(model, "plain", 2).blocks[0].attention
    with pytest.raises(ValueError, match="past must be None"):
        attention(torch.zeros(1, 1, 24), past=object())


@pytest.fixture
def split(tmp_path):
    tokens = (torch.arange(100) * 7 % 11).numpy().astype("<u2")
    path = tmp_path / "val.bin"
    path.write_bytes(tokens.tobytes())
    return TokenFile.open(path, "<u2")


def test_the_mean_over_positions_is_the_packages_loss(model, split):
    """96 targets are twelve whole windows of 8; the last three are not read."""
    losses, windows = lengths.loss_by_position(model, split)
    assert losses.shape == (8,)
    assert windows == 12
    inputs, targets = next(split.windows(8, 12))
    expected = torch.nn.functional.cross_entropy(
        model(inputs).flatten(0, 1), targets.flatten()
    )
    torch.testing.assert_close(losses.mean().float(), expected.detach())
    assert evaluate(model, split).loss == pytest.approx(losses.mean().item(), abs=0.2)
    assert lengths.loss_by_position(model, split, most=2)[1] >= 2


def test_each_arm_is_read_in_every_way_that_it_can(model):
    ways = [(m, x.config.context_length) for m, x in lengths.readers("rope", model)]
    assert len(ways) == len(set(ways)) == 4 + 3 * 3
    assert {length for _, length in ways} == {8, 16, 32, 64}
    torch.manual_seed(0)
    nope = BUILDS["nope"](CONFIG)
    for method, longer in lengths.readers("nope", nope):
        assert method == "plain"
        tokens = torch.arange(8)[None]
        torch.testing.assert_close(longer(tokens), nope(tokens))
    table = Transformer(replace(CONFIG, position="learned"))
    assert [x for _, x in lengths.readers("learned", table)] == [table]


def test_the_program_goes_on_where_it_stopped(model, split, tmp_path, monkeypatch):
    """A second run must add nothing: rows twice would count a seed twice."""
    runs = [Run("rope", arm, "final", 0.004, seed) for seed in (0, 1) for arm in ARMS]
    table = Transformer(replace(CONFIG, position="learned"))
    models = {"rope": model, "nope": BUILDS["nope"](CONFIG), "learned": table}
    monkeypatch.setattr(lengths, "TABLE", tmp_path / "lengths.csv")
    monkeypatch.setattr(lengths, "BUCKET", 4)
    monkeypatch.setattr(lengths, "final_runs", lambda: runs)
    monkeypatch.setattr(lengths, "trained", lambda run, corpus: models[run.arm].eval())
    monkeypatch.setattr(ablation, "text", lambda: SimpleNamespace(val=split))
    monkeypatch.setattr(ablation, "mark", lambda run, corpus: f"mark of {run.arm}")
    assert lengths.main() == 0
    rows = lengths.read()
    assert len(rows) == 2 * (2 + 30 + 30 + 3 * 28)
    assert lengths.main() == 0
    assert lengths.read() == rows
    firsts = [int(row["first"]) for row in rows if row["length"] == "16"]
    assert set(firsts) == {0, 4, 8, 12}


def test_without_final_runs_the_program_says_what_to_do(monkeypatch, capsys):
    monkeypatch.setattr(lengths, "final_runs", list)
    monkeypatch.setattr(ablation, "text", lambda: None)
    assert lengths.main() == 2
    assert "book.experiments.ablation rope" in capsys.readouterr().out


ROWS = lengths.read()


@pytest.mark.skipif(not ROWS, reason="lengths.csv has not been made")
def test_every_row_belongs_to_a_final_run_and_all_are_there(shakespeare):
    """A row of a model that was trained anew since is stale."""
    runs = {
        (r.arm, str(r.seed)): ablation.mark(r, shakespeare)
        for r in lengths.final_runs()
    }
    for row in ROWS:
        assert row["fingerprint"] == runs[row["arm"], row["seed"]]
    keys = [(r["arm"], r["method"], r["seed"], r["length"], r["first"]) for r in ROWS]
    buckets = {"learned": 2, "nope": 2 * 15, "rope": 2 * 15 + 3 * 2 * 14}
    assert len(keys) == len(set(keys)) == 5 * sum(buckets.values())


@pytest.mark.skipif(not ROWS, reason="lengths.csv has not been made")
def test_at_the_training_length_the_rows_are_those_of_the_ablation():
    """Both measure the same models on the same text, but for the last few tokens."""
    final = {
        (row["arm"], row["seed"]): float(row["val_loss"])
        for row in ablation.read("rope")
        if row["stage"] == "final" and row["step"] == "1000"
    }
    for run, loss in final.items():
        short = [
            float(row["loss"])
            for row in ROWS
            if (row["arm"], row["seed"]) == run and row["length"] == "64"
        ]
        assert sum(short) / len(short) == pytest.approx(loss, abs=1e-3)
