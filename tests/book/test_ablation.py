"""The experiments' runner: resumes, widens, copies, and never mixes two runs up."""

import math
from itertools import count

import pytest
import torch

from book.experiments import ablation
from book.experiments.ablation import Run
from book.experiments.parts import BUILDS
from minillm.config import ModelConfig
from minillm.data import Corpus, prepare_text
from minillm.model import Transformer
from minillm.train import DivergedError

SMALL = ModelConfig(
    vocab_size=11, context_length=8, n_layers=1, n_heads=2, d_model=12, position="rope"
)


@pytest.fixture
def lab(tmp_path, monkeypatch):
    """A laboratory of its own: two claims that share an arm, and three steps a run."""
    arms = {"one": {"a": "swiglu", "b": "llama"}, "two": {"same": "swiglu"}}
    for claim, rungs in arms.items():
        (tmp_path / claim).mkdir()
        for arm, rung in rungs.items():
            text = f'[experiment]\npreset = "{rung}"\n'
            (tmp_path / claim / f"{arm}.toml").write_text(text)
    prepare_text("to be or not to be, " * 60, tmp_path / "corpus")
    monkeypatch.setattr(ablation, "HERE", tmp_path)
    monkeypatch.setattr(ablation, "ROOT", tmp_path)
    monkeypatch.setattr(ablation, "CLAIMS", ("one", "two"))
    train = {"steps": 3, "batch_size": 2, "warmup_steps": 1}
    grid = {"learning_rates": [1.0, 2.0, 4.0], "tuning_seeds": [100, 101]}
    monkeypatch.setattr(
        ablation, "COMMON", {"train": train, "experiment": {**grid, "seeds": [0]}}
    )
    monkeypatch.setattr(ablation, "SEEDS", [0, 1])
    monkeypatch.setattr(ablation, "MEASURED", (2,))
    corpus = Corpus(tmp_path / "corpus")
    monkeypatch.setattr(ablation, "text", lambda: corpus)
    return corpus


def in_this_process(runs, corpus, workers):
    for run in runs:
        if not ablation.found(run, corpus):
            ablation.write(run.claim, ablation.make(run))


@pytest.fixture
def invented(lab, monkeypatch):
    """Runs that take no time; the best rate is the one nearest to ``invented.best``."""

    class Invented:
        best, made = 2.0, []

        def __call__(self, run):
            self.made.append(run)
            loss = abs(math.log(run.learning_rate / self.best)) + run.seed / 1e6
            row = dict.fromkeys(ablation.FIELDS, "")
            row |= {"stage": run.stage, "arm": run.arm, "seed": str(run.seed)}
            row |= {"learning_rate": f"{run.learning_rate:g}", "step": "3"}
            row |= {"val_loss": str(loss), "fingerprint": ablation.mark(run, lab)}
            return [row]

    make = Invented()
    monkeypatch.setattr(Invented, "made", [])
    monkeypatch.setattr(ablation, "make", make)
    monkeypatch.setattr(ablation, "all_of", in_this_process)
    return make


def test_a_run_gives_rows_of_every_measured_step(lab):
    rows = ablation.make(Run("one", "a", "final", 0.01, 0))
    assert [row["step"] for row in rows] == ["2", "3"]
    assert [row["tokens"] for row in rows] == [str(2 * 2 * 64), str(3 * 2 * 64)]
    assert all(list(row) == ablation.FIELDS for row in rows)
    tuning = ablation.make(Run("one", "a", "tune", 0.01, 0))
    assert [row["step"] for row in tuning] == ["3"]
    assert tuning[0]["val_loss"] == rows[1]["val_loss"]


def test_what_is_measured_on_the_way_changes_nothing_and_seeds_do(lab):
    losses = [
        ablation.make(Run("one", "a", "tune", 0.01, seed))[-1]["val_loss"]
        for seed in (0, 0, 1)
    ]
    assert losses[0] == losses[1] != losses[2]


def test_the_trained_weights_are_kept(lab):
    run = Run("one", "a", "final", 0.01, 0)
    ablation.make(run)
    assert ablation.weights(run, lab).is_file()
    assert ablation.weights(run, lab) != ablation.weights(
        Run("one", "b", "final", 0.01, 0), lab
    )


def test_an_interrupted_experiment_makes_only_what_is_missing(lab, invented):
    ablation.experiment("one", lab, 1)
    whole = ablation.read("one")
    path = ablation.HERE / "one" / "results.csv"
    path.write_text("".join(path.read_text().splitlines(keepends=True)[:-3]))
    made = len(invented.made)
    ablation.experiment("one", lab, 1)
    assert len(invented.made) == made + 3
    assert sorted(map(str, ablation.read("one"))) == sorted(map(str, whole))


def test_a_best_rate_at_an_edge_widens_the_grid(lab, invented):
    for best in (0.25, 16.0):
        invented.best = best
        (ablation.HERE / "one" / "results.csv").unlink(missing_ok=True)
        assert ablation.tune("one", lab, 1) == {"a": best, "b": best}


def test_a_claim_takes_over_the_runs_that_another_has_made(lab, invented):
    ablation.experiment("one", lab, 1)
    made = len(invented.made)
    ablation.experiment("two", lab, 1)
    assert len(invented.made) == made
    theirs = [row for row in ablation.read("one") if row["arm"] == "a"]
    ours = ablation.read("two")
    assert {row["arm"] for row in ours} == {"same"}
    assert [row["val_loss"] for row in ours] == [row["val_loss"] for row in theirs]


def test_a_run_that_diverges_stays_in_the_table(lab, monkeypatch):
    steps = count()

    def explode(*arguments):
        if next(steps) == 1:
            raise DivergedError("loss (nan) is not finite")

    monkeypatch.setattr(ablation, "take_step", explode)
    [row] = ablation.make(Run("one", "a", "final", 0.01, 0))
    assert (row["val_loss"], row["step"]) == ("inf", "3")


def test_a_fingerprint_knows_rate_arm_and_build_but_not_the_seed(lab):
    run = Run("one", "a", "final", 0.01, 0)
    mark = ablation.mark(run, lab)
    assert mark == ablation.mark(Run("two", "same", "tune", 0.01, 5), lab)
    assert mark != ablation.mark(Run("one", "a", "final", 0.02, 0), lab)
    assert mark != ablation.mark(Run("one", "b", "final", 0.01, 0), lab)
    path = ablation.HERE / "one" / "a.toml"
    path.write_text(path.read_text() + 'build = "nope"\n')
    assert mark != ablation.mark(run, lab)


# ------------------------------------------------------------------ parts


def twins(kind, config):
    """The rung, and the altered model, from the same seed."""
    models = []
    for build in (Transformer, BUILDS[kind]):
        torch.manual_seed(3)
        models.append(build(config))
    return models


@pytest.mark.parametrize("kind", BUILDS)
def test_an_altered_model_starts_from_the_numbers_of_its_rung(kind):
    gelu = ModelConfig(**{**vars(SMALL), "feed_forward": "gelu", "d_ff": 0})
    rung, altered = twins(kind, gelu)
    scaled = ("out.weight", "down.weight") if kind == "unscaled" else ()
    ours = dict(altered.named_parameters())
    assert list(ours) == [name for name, _ in rung.named_parameters()]
    for name, parameter in rung.named_parameters():
        factor = 2**0.5 if name.endswith(scaled) and scaled else 1.0
        torch.testing.assert_close(ours[name], parameter * factor)


@pytest.mark.parametrize(
    ("kind", "bend"),
    [("relu", lambda z: z.clamp(min=0)), ("relu2", lambda z: z.clamp(min=0) ** 2)],
)
def test_an_altered_bend_is_what_it_is_called(kind, bend):
    gelu = ModelConfig(**{**vars(SMALL), "feed_forward": "gelu", "d_ff": 0})
    layer = twins(kind, gelu)[1].blocks[0].feed_forward
    x = torch.randn(2, 3, SMALL.d_model)
    torch.testing.assert_close(
        layer(x), bend(x @ layer.up.weight.T) @ layer.down.weight.T
    )


def test_without_positions_one_layer_cannot_tell_the_order_of_the_past():
    rung, nope = twins("nope", SMALL)
    for model in (rung, nope):
        for parameter in model.parameters():
            parameter.data *= 20
    tokens = torch.tensor([[1, 2, 3, 4, 5]])
    shuffled = torch.tensor([[3, 1, 4, 2, 5]])
    with torch.no_grad():
        torch.testing.assert_close(nope(tokens)[:, -1], nope(shuffled)[:, -1])
        assert (rung(tokens)[:, -1] - rung(shuffled)[:, -1]).abs().max() > 0.01
