"""Which parameters move, by what, and how fast."""

from itertools import pairwise

import pytest
import torch

from minillm.config import ModelConfig, TrainConfig
from minillm.model import build
from minillm.optim import build_optimizers, schedule, set_learning_rate


def small_model(**changes):
    shape = {"vocab_size": 11, "d_model": 12, "n_layers": 2, "n_heads": 3}
    return build(ModelConfig(**{**shape, **changes}))


@pytest.mark.parametrize("optimizer", ["adamw", "muon"])
@pytest.mark.parametrize("tied", [True, False])
@pytest.mark.parametrize("norm", ["layernorm", "rmsnorm"])
def test_every_parameter_is_optimised_once(optimizer, tied, norm):
    """Vectors left out of the optimiser never moved; tied ones moved twice."""
    model = small_model(
        tied=tied, norm=norm, position="learned", bias=True, feed_forward="gelu"
    )
    optimizers = build_optimizers(model, TrainConfig(optimizer=optimizer))
    listed = [
        id(parameter)
        for one in optimizers
        for group in one.param_groups
        for parameter in group["params"]
    ]
    assert sorted(listed) == sorted(id(p) for p in model.parameters())


@pytest.mark.parametrize("optimizer", ["adamw", "muon"])
def test_only_matrices_decay(optimizer):
    """Decay on a gain pulls it from one towards silence."""
    model = small_model(bias=True, norm="layernorm", feed_forward="gelu")
    settings = TrainConfig(optimizer=optimizer, weight_decay=0.3)
    for one in build_optimizers(model, settings):
        for group in one.param_groups:
            dimensions = {p.dim() for p in group["params"]}
            assert dimensions == ({2} if group["weight_decay"] else {1})
            assert group["weight_decay"] in (0.0, 0.3)


def test_muon_moves_the_matrices_of_the_blocks_and_nothing_else():
    model = small_model(tied=False, position="learned")
    adamw, muon = build_optimizers(model, TrainConfig(optimizer="muon"))
    assert isinstance(muon, torch.optim.Muon)
    names = {id(p): name for name, p in model.named_parameters()}
    by_muon = {names[id(p)] for group in muon.param_groups for p in group["params"]}
    assert by_muon == {
        name
        for name, p in model.named_parameters()
        if name.startswith("blocks.") and p.dim() == 2
    }
    assert isinstance(adamw, torch.optim.AdamW)


def test_muon_has_the_configured_momentum_and_newton_schulz_steps():
    """The fields were checked and printed, and the optimiser kept its own numbers."""
    settings = TrainConfig(
        optimizer="muon", muon_momentum=0.7, muon_newton_schulz_steps=2
    )
    _, muon = build_optimizers(small_model(), settings)
    (group,) = muon.param_groups
    assert (group["momentum"], group["ns_steps"]) == (0.7, 2)


def test_muon_is_by_default_what_pytorch_makes_of_it():
    """Runs from before the two fields must come out again."""
    _, muon = build_optimizers(small_model(), TrainConfig(optimizer="muon"))
    plain = torch.optim.Muon([torch.nn.Parameter(torch.ones(2, 2))])
    for name in ("momentum", "ns_steps"):
        assert muon.param_groups[0][name] == plain.param_groups[0][name]


def test_the_betas_are_the_configured_ones():
    (one,) = build_optimizers(small_model(), TrainConfig(beta1=0.7, beta2=0.8))
    assert {group["betas"] for group in one.param_groups} == {(0.7, 0.8)}


def test_cosine_warms_up_peaks_and_ends_at_the_minimum():
    settings = TrainConfig(
        steps=100, warmup_steps=10, learning_rate=4e-3, min_learning_rate=1e-3
    )
    shares = [schedule(step, settings) for step in range(100)]
    assert shares[:10] == pytest.approx([(i + 1) / 10 for i in range(10)])
    assert shares[10] == 1.0
    assert shares[99] == pytest.approx(0.25)
    assert all(a >= b for a, b in pairwise(shares[10:]))
    halfway = 10 + 89 / 2
    middle = (
        schedule(int(halfway), settings) + schedule(int(halfway) + 1, settings)
    ) / 2
    assert middle == pytest.approx((1 + 0.25) / 2, abs=1e-3)


def test_wsd_stays_at_the_peak_and_decays_at_the_end_only():
    settings = TrainConfig(
        steps=100, warmup_steps=10, schedule="wsd", decay_steps=20,
        learning_rate=4e-3, min_learning_rate=1e-3,
    )  # fmt: skip
    shares = [schedule(step, settings) for step in range(100)]
    assert shares[10:81] == [1.0] * 71
    assert shares[99] == pytest.approx(0.25)
    falls = {round(a - b, 9) for a, b in pairwise(shares[80:])}
    assert len(falls) == 1
    default = TrainConfig(steps=100, warmup_steps=10, schedule="wsd")
    assert schedule(80, default) == 1.0
    assert schedule(81, default) < 1.0


def test_linear_falls_on_one_line_from_the_end_of_the_warm_up():
    settings = TrainConfig(
        steps=100, warmup_steps=10, schedule="linear", decay_steps=20,
        learning_rate=4e-3, min_learning_rate=0,
    )  # fmt: skip
    shares = [schedule(step, settings) for step in range(100)]
    assert shares[9:11] == [1.0, 1.0]
    falls = [a - b for a, b in pairwise(shares[10:])]
    assert falls == pytest.approx([1 / 89] * 89)
    assert shares[99] == pytest.approx(0.0)


@pytest.mark.parametrize("kind", ["cosine", "linear", "wsd"])
@pytest.mark.parametrize(("steps", "warmup"), [(1, 0), (2, 0), (2, 1), (5, 4)])
def test_the_shortest_runs_have_a_rate(kind, steps, warmup):
    settings = TrainConfig(steps=steps, warmup_steps=warmup, schedule=kind)
    assert all(0 < schedule(step, settings) <= 1 for step in range(steps + 1))


def test_both_optimisers_follow_the_schedule_from_their_own_peaks():
    settings = TrainConfig(
        optimizer="muon", learning_rate=1e-3, min_learning_rate=0,
        muon_learning_rate=0.5, warmup_steps=10,
    )  # fmt: skip
    adamw, muon = optimizers = build_optimizers(small_model(), settings)
    assert set_learning_rate(optimizers, 3, settings) == pytest.approx(4e-4)
    assert [g["lr"] for g in adamw.param_groups] == pytest.approx([4e-4, 4e-4])
    assert [g["lr"] for g in muon.param_groups] == pytest.approx([0.2])
