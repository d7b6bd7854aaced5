"""What chapter 9 quotes: formats trained side by side, times, bytes, a laboratory."""

import csv
import math

import pytest
import torch
from torch import nn

from book.experiments.amp import laboratory, run, timing
from minillm.config import ModelConfig
from minillm.evaluate import next_token_loss
from minillm.model import build
from minillm.precision import DTYPES, Precision

TINY = ModelConfig(vocab_size=9, context_length=8, n_layers=1, n_heads=2, d_model=24)


@pytest.fixture
def model():
    torch.manual_seed(0)
    return build(TINY)


@pytest.fixture
def batch():
    tokens = torch.arange(3 * 8).view(3, 8) % 9
    return tokens, (tokens + 1) % 9


# ------------------------------------------------------------------ the rows


def test_every_row_belongs_to_an_arm_as_it_is_now(shakespeare):
    """A changed arm, preset or corpus makes its rows stale."""
    for row in run.read():
        assert row["arm"] in run.ARMS
        assert row["fingerprint"] == run.mark(row["arm"], shakespeare), row
        assert row["threads"] == "1"
        assert len(row["commit"]) == 12


def test_the_rows_are_complete_and_paired():
    found = sorted((r["arm"], int(r["seed"]), int(r["step"])) for r in run.read())
    assert found == sorted(
        (arm, seed, step)
        for arm in run.ARMS
        for seed in run.SEEDS
        for step in (run.EARLY, run.STEPS)
    )
    assert len(run.SEEDS) >= 5


def test_only_the_arm_without_a_scaler_loses_gradients_to_float16():
    """Else the arms were not what they are called."""
    last = [row for row in run.read() if row["step"] == str(run.STEPS)]
    for row in last:
        lost = float(row["zero_share"])
        assert (lost > 1e-4) == (row["arm"] == "float16-bare"), row
        assert math.isfinite(float(row["val_loss"]))


@pytest.mark.slow
def test_the_first_steps_of_a_run_come_out_again(shakespeare):
    assert run.check(shakespeare)


def test_an_arm_differs_from_float32_in_what_it_is_called_for(shakespeare):
    made = {name: run.fresh(name, 0, shakespeare) for name in run.ARMS}
    exact = laboratory.flat(made["float32"][1].parameters())
    for name, (_, model, _, precision) in made.items():
        assert precision.scaler.is_enabled() == (name == "float16"), name
        weights = laboratory.flat(model.parameters())
        narrow = weights.dtype == torch.bfloat16
        assert narrow == (name == "bfloat16-weights")
        rounded = name in ("bfloat16-weights", "float32-nudged")
        assert torch.equal(weights.float(), exact) != rounded, name
        torch.testing.assert_close(weights.float(), exact, rtol=2**-8, atol=0)


# ------------------------------------------------------------------ times and bytes


def test_the_table_of_times_is_complete():
    rows = list(csv.DictReader(timing.OUT.read_text().splitlines()))
    assert list(rows[0]) == timing.FIELDS
    found = [(row["what"], row["name"]) for row in rows]
    kinds = ("product", "attention", "step", "memory")
    assert found == [(what, name) for what in kinds for name in DTYPES]


def test_kept_bytes_are_counted_once_and_parameters_not_at_all(batch):
    """Queries, keys and values share their input; a tied head shares the embedding."""

    class Square(nn.Module):
        def __init__(self):
            super().__init__()
            self.weight = nn.Parameter(torch.ones(9, 9))

        def forward(self, tokens):
            x = nn.functional.one_hot(tokens, 9).float().requires_grad_()
            y = x @ self.weight  # keeps x
            return y + 0 * (x @ self.weight)  # keeps x again

    kept = timing.bytes_kept(Square(), *batch, Precision("float32", "cpu"))
    x, log_softmax = 3 * 8 * 9 * 4, 3 * 8 * 9 * 4
    assert kept["float32"] in range(x + log_softmax, x + log_softmax + 9)


def test_half_formats_keep_less(model, batch):
    total = {
        name: sum(timing.bytes_kept(model, *batch, Precision(name, "cpu")).values())
        for name in DTYPES
    }
    assert total["bfloat16"] == total["float16"] < total["float32"]


def test_ratios_are_to_the_first_name_of_the_same_round():
    found = timing.ratios({"a": [1.0, 2.0], "b": [3.0, 2.0]})
    assert found == {"a": [1.0, 1.0], "b": [3.0, 1.0]}


# ------------------------------------------------------------------ the laboratory


def test_an_unchanged_gradient_is_the_gradient(model, batch):
    """An instrument that alters what it looks at proves nothing."""
    found = laboratory.gradient_of(model, batch, 1.0)
    model.zero_grad()
    next_token_loss(model(batch[0]), batch[1]).backward()
    assert torch.equal(found, laboratory.flat(p.grad for p in model.parameters()))
    assert torch.equal(laboratory.gradient_of(model, batch, 2.0**16), found)


def test_rounding_reaches_gradients_on_the_way_and_in_the_weights(model, batch):
    exact = laboratory.gradient_of(model, batch, 1.0)
    gone = laboratory.gradient_of(model, batch, 2.0**-40, laboratory.through_float16)
    assert gone.abs().max() == 0
    lifted = laboratory.gradient_of(model, batch, 2.0**10, laboratory.through_float16)
    assert 0 < laboratory.error(lifted, exact) < 1e-3
    after = laboratory.gradient_of(model, batch, 1.0)
    assert torch.equal(after, exact)  # no hook stays behind


def test_every_matrix_of_the_blocks_is_watched(model, batch):
    found = laboratory.gradients_on_the_way(model, batch)
    widths = [m.out_features for m in model.modules() if isinstance(m, nn.Linear)]
    assert len(found) == 3 * 8 * sum(widths)


def test_each_part_is_asked_for_its_format(model, batch):
    told = laboratory.formats(model, *batch, Precision("bfloat16", "cpu"))
    assert told["query"] == told["logits"] == torch.bfloat16
    assert told["residual stream"] == told["loss"] == torch.float32


def test_clipping_first_makes_all_lengths_one():
    scaler = laboratory.PyTorchScaler
    lengths = (0.01, 0.5, 7.0)
    right = [laboratory.arriving(n, scaler(2.0**10), True) for n in lengths]
    wrong = [laboratory.arriving(n, scaler(2.0**10), False) for n in lengths]
    assert right == pytest.approx([0.01, 0.5, 1.0], rel=1e-4)
    assert wrong == pytest.approx(3 * [2.0**-10], rel=1e-4)


def test_a_resumed_run_goes_on_as_if_nothing_had_happened(shakespeare):
    def scaler():
        return laboratory.PyTorchScaler(2.0**26, 3)

    whole = laboratory.ScaledRun(shakespeare, scaler(), plant=4).go(range(12))
    stopped = laboratory.ScaledRun(shakespeare, scaler(), plant=4).go(range(7))
    again = stopped.resumed(stopped.scaler).go(range(7, 12))
    assert torch.equal(again.weights, whole.weights)
    assert again.scales == whole.scales[7:]
    assert not whole.taken[4]
