"""At their ends numbers behave, and the attacks that say so can fail."""

import math
import shutil
from random import Random

import pytest
import torch

from minillm import checkpoint
from minillm.cache import LayerCache
from minillm.evaluate import Evaluation
from minillm.model import RMSNorm
from minillm.sample import Sampler
from torture import attack, numbers, victims


def losses(name, tries=12):
    [one] = [one for one in numbers.ATTACKS if one.name == name]
    return attack.make(one, tries, seed=0).losses


# ------------------------------------------------------------------ they can fail


def test_a_model_that_is_read_wrong_is_noticed(monkeypatch):
    def load(path, **options):
        kept = real(path, **options)
        next(kept.model.parameters()).data[0] += 1
        return kept

    real = checkpoint.load
    monkeypatch.setattr(checkpoint, "load", load)
    assert "what was read is not what was kept" in losses("tiny models", 1)[0]


def test_a_cache_that_mixes_places_is_noticed(monkeypatch):
    def append(self, keys, values):
        return real(self, keys, values.flip(2) if self.length == 0 else -values)

    real = LayerCache.append
    monkeypatch.setattr(LayerCache, "append", append)
    assert any("with a cache, token" in lost for lost in losses("tiny models"))


def test_an_exception_that_nobody_wanted_is_noticed(monkeypatch):
    def overflow(self, x):
        raise OverflowError("int too large")

    monkeypatch.setattr(RMSNorm, "forward", overflow)
    for name in ("tiny models", "wild settings", "spoilt weights"):
        assert any("OverflowError: int too large" in lost for lost in losses(name))


def test_a_diverged_model_that_is_kept_as_the_best_is_noticed(monkeypatch):
    """As NaN was, before which nothing is better."""
    found = Evaluation(loss=math.nan, tokens=1, num_bytes=None)
    monkeypatch.setattr(numbers, "evaluate", lambda *_, **__: found)
    assert any("no finite loss" in lost for lost in losses("wild settings"))


@pytest.mark.parametrize(
    ("chances", "lost"),
    [
        (lambda x: torch.full_like(x, math.nan), "the chances are"),
        (lambda x: torch.ones_like(x), "the chances are"),
        (lambda x: torch.ones_like(x) / x.shape[-1], "ruled out has a chance"),
    ],
    ids=["nan", "too many", "uniform"],
)
def test_scores_that_give_no_distribution_are_noticed(monkeypatch, chances, lost):
    def draw(self, logits):
        return logits.argmax(dim=-1, keepdim=True)

    monkeypatch.setattr(Sampler, "probabilities", lambda self, x: chances(x))
    monkeypatch.setattr(Sampler, "__call__", draw)
    assert any(lost in found for found in losses("extreme scores", 200))


def test_a_token_that_cannot_be_is_noticed():
    class Worst(Sampler):
        def __call__(self, logits, generator=None):
            self.probabilities(logits)
            return logits.argmin(dim=-1, keepdim=True)

    scores = torch.tensor([[1.0, -torch.inf]])
    assert "which cannot be" in numbers.draws(Worst(), scores)


def test_a_best_score_that_is_no_number_must_be_refused(monkeypatch):
    """As if the sampler did not look."""
    monkeypatch.setattr(
        Sampler, "probabilities", lambda self, x: x.isnan().double().softmax(-1)
    )
    monkeypatch.setattr(Sampler, "__call__", lambda self, x: x.argmax(-1, True))
    scores = torch.tensor([[1.0, math.nan]])
    assert numbers.draws(Sampler(), scores) == (
        "scores without a best one are drawn from"
    )


def test_weights_that_are_no_numbers_must_be_refused(monkeypatch):
    monkeypatch.setattr(checkpoint, "require_finite", lambda *_: None)
    assert any("are loaded" in lost for lost in losses("spoilt weights"))


def test_another_run_is_not_the_same_again(tmp_path):
    folder = victims.corpus(tmp_path)
    words = ["train", "llama", *victims.SMALL, "--steps", "6"]
    for name, more in (("a", ()), ("b", ("--seed", "1"))):
        done = victims.call(*words, *more, "--out", name, folder=folder)
        assert done.code == 0
    assert "differs" in numbers.compare(tmp_path / "a", tmp_path / "b")
    assert numbers.compare(tmp_path / "a", tmp_path / "a") is None
    shutil.copytree(tmp_path / "a", tmp_path / "c")
    metrics = tmp_path / "c" / "metrics.jsonl"
    lines = metrics.read_text(encoding="utf-8").splitlines()
    metrics.write_text("\n".join(lines[:-1]) + "\n", encoding="utf-8")
    assert numbers.compare(tmp_path / "a", tmp_path / "c") == "metrics differ"


def test_tiny_models_are_of_every_kind():
    """A generator that always falls back to one kind would test nothing else."""
    random = Random(0)
    seen = [numbers.a_tiny_model(random) for _ in range(200)]
    for name in ("kind", "norm", "position", "feed_forward", "bias", "tied"):
        assert len({getattr(one, name) for one in seen}) == 2, name
    for name in ("n_layers", "n_heads", "context_length", "d_head", "d_ff"):
        assert {1, 2, 3} <= {getattr(one, name) for one in seen}, name
    assert any(one.n_kv_heads < one.n_heads for one in seen)
