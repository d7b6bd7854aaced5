"""The loop does what it says, in that order, and the same again every time."""

import dataclasses
import gc
import json
import math
import os
import shutil
import signal
import socket  # noqa: TID251 -- to take an address
import subprocess
import sys
import time
import weakref
from functools import partial
from itertools import count
from pathlib import Path

import pytest
import tiny
import torch
from torch import distributed

from minillm import checkpoint, data
from minillm.config import to_dict
from minillm.evaluate import Evaluation, evaluate
from minillm.files import write_json
from minillm.model import Transformer, build
from minillm.optim import build_optimizers
from minillm.precision import Precision, pick_device
from minillm.train import (
    DivergedError,
    PeerLostError,
    Process,
    _together,
    take_step,
    train,
    with_vocabulary,
)

TIMINGS = ("seconds", "tokens_per_second")


def rows(directory: Path) -> list[dict]:
    """The metrics of a run, without what the clock said."""
    lines = (directory / "metrics.jsonl").read_text().splitlines()
    return [
        {key: value for key, value in json.loads(line).items() if key not in TIMINGS}
        for line in lines
    ]


def same(a: torch.nn.Module, b: torch.nn.Module) -> bool:
    pairs = zip(a.state_dict().values(), b.state_dict().values(), strict=True)
    return all(torch.equal(p, q) for p, q in pairs)


@pytest.fixture
def config(tmp_path):
    return tiny.run(tiny.corpus(tmp_path / "corpus"))


def changed(config, model=None, **train_changes):
    return dataclasses.replace(
        config,
        model=dataclasses.replace(config.model, **(model or {})),
        train=dataclasses.replace(config.train, **train_changes),
    )


def losses(config, **options) -> list[float]:
    found = []
    train(config, lambda m: found.append(m.val_loss), **options)
    return [loss for loss in found if loss is not None]


# ------------------------------------------------------------------ learning


def test_training_learns_and_repeats_exactly(config):
    longer = changed(config, steps=60)
    first, second = losses(longer), losses(longer)
    assert first[0] == pytest.approx(math.log(data.Corpus(
        config.data.directory).vocab_size), rel=0.02)  # fmt: skip
    assert first[-1] < 0.75 * first[0]
    assert first == second


def test_another_seed_gives_another_model(config):
    a = train(config)
    assert not same(a, train(changed(config, seed=1)))


def test_golden_losses(config):
    """Twenty-three steps; whoever changes these numbers changed what is computed."""
    found = losses(config)
    assert found == pytest.approx(GOLDEN, abs=2e-3)


GOLDEN = [3.547, 2.764, 2.296, 2.227]


def test_the_trained_bigram_reaches_the_counted_one(tmp_path):
    """The best table is known in closed form: the counts, divided by their row."""
    tiny.corpus(tmp_path / "corpus")
    corpus = data.Corpus(tmp_path / "corpus")
    tokens = torch.from_numpy(corpus.train.tokens.astype("int64"))
    counts = torch.zeros(corpus.vocab_size, corpus.vocab_size, dtype=torch.float64)
    for a, b in zip(tokens[:-1].tolist(), tokens[1:].tolist(), strict=True):
        counts[a, b] += 1
    chance = counts / counts.sum(dim=1, keepdim=True).clamp(min=1)
    seen = counts > 0
    best = -(counts[seen] * chance[seen].log()).sum() / counts.sum()

    config = tiny.run(
        tmp_path / "corpus", {"kind": "bigram"}, steps=400, batch_size=64,
        learning_rate=0.3, min_learning_rate=0.003, weight_decay=0.0,
    )  # fmt: skip
    trained = evaluate(train(config), corpus.train).loss
    assert best < trained < best + 0.03


def overflowing(honest, at: int):
    """``Precision.step``, with a gradient that overflows in one of its calls."""
    calls = count()

    def step(self, optimizers, parameters, grad_clip):
        if next(calls) == at:
            parameters[0].grad.fill_(math.inf)
        return honest(self, optimizers, parameters, grad_clip)

    return step


def test_a_skipped_step_holds_the_schedule(config, monkeypatch):
    """Else warm-up ends early, after steps that moved nothing."""

    def rates(config):
        found = {}
        train(config, lambda m: found.update({m.step: (m.skipped, m.learning_rate)}))
        return found

    config = changed(config, log_every=1, precision="float16")
    plain = rates(config)
    assert plain[23][0] == 0
    monkeypatch.setattr(Precision, "step", overflowing(Precision.step, at=5))
    held = rates(config)
    assert all(held[step] == plain[step] for step in range(6))
    assert held[6] == (1, plain[6][1])  # the rate it would have moved by
    assert all(held[step] == (1, plain[step - 1][1]) for step in range(7, 24))


def test_a_resumed_run_remembers_what_it_skipped(config, tmp_path, monkeypatch):
    """Else the schedule jumps ahead when a float16 run is resumed."""
    config = changed(config, log_every=1, precision="float16")
    step = Precision.step
    monkeypatch.setattr(Precision, "step", overflowing(step, at=3))
    whole = train(config, directory=tmp_path / "whole")
    monkeypatch.setattr(Precision, "step", overflowing(step, at=3))
    steps = count()
    train(config, directory=tmp_path / "two", stop=lambda: next(steps) == 9)
    resumed = train(config, directory=tmp_path / "two", resume=True)
    assert rows(tmp_path / "two") == rows(tmp_path / "whole")
    assert same(resumed, whole)


def test_accumulated_micro_batches_equal_one_large_batch(config):
    """Gradients were summed where they should be averaged."""
    corpus = data.Corpus(config.data.directory)
    after = {}
    for accumulate, batch_size in ((1, 6), (3, 2)):
        plan = with_vocabulary(
            changed(config, accumulate=accumulate, batch_size=batch_size), corpus
        )
        torch.manual_seed(0)
        model = build(plan.model)
        optimizers = build_optimizers(model, plan.train)
        precision = Precision("float32", "cpu")
        done = take_step(4, model, optimizers, precision, corpus.train, plan)
        after[accumulate] = (done.loss, done.grad_norm, model)
    assert after[1][0] == pytest.approx(after[3][0], rel=1e-5)
    assert after[1][1] == pytest.approx(after[3][1], rel=1e-4)
    for p, q in zip(after[1][2].parameters(), after[3][2].parameters(), strict=True):
        torch.testing.assert_close(p, q, atol=1e-5, rtol=1e-4)


def test_the_gradient_is_clipped_to_the_configured_length(config):
    corpus = data.Corpus(config.data.directory)
    plan = with_vocabulary(changed(config, grad_clip=0.01), corpus)
    model = build(plan.model)
    optimizers = build_optimizers(model, plan.train)
    done = take_step(
        0, model, optimizers, Precision("float32", "cpu"), corpus.train, plan
    )
    clipped = torch.cat([p.grad.flatten() for p in model.parameters()]).norm()
    assert done.grad_norm > 0.1
    assert clipped.item() == pytest.approx(0.01, rel=1e-3)


# ------------------------------------------------------------------ randomness


def test_looking_more_often_changes_nothing(config):
    """Evaluation drew from the generator that the training batches came from."""
    plain = changed(config, model={"dropout": 0.2})
    often = changed(plain, eval_every=2, log_every=1, checkpoint_every=3)
    assert same(train(plain), train(often))


def test_the_callers_random_generator_is_left_alone(config):
    torch.manual_seed(5)
    expected = torch.rand(3)
    torch.manual_seed(5)
    train(config)
    assert torch.equal(torch.rand(3), expected)


def test_dropout_is_on_in_training_and_off_in_evaluation(config):
    with_dropout = changed(config, model={"dropout": 0.5})
    modes = []

    def build_and_note(model_config):
        model = build(model_config)
        model.register_forward_pre_hook(
            lambda module, _: modes.append((module.training, torch.is_grad_enabled()))
        )
        return model

    train(with_dropout, build=build_and_note)
    assert set(modes) == {(True, True), (False, False)}
    assert not same(train(config), train(with_dropout))


# ------------------------------------------------------------------ resuming


@pytest.mark.parametrize(
    "settings",
    [
        {},
        {"model": {"dropout": 0.3}, "accumulate": 2},
        {"optimizer": "muon", "schedule": "wsd"},
        {"precision": "float16"},
        {"precision": "bfloat16"},
    ],
    ids=["plain", "dropout", "muon", "float16", "bfloat16"],
)
@pytest.mark.parametrize("stop_at", [5, 18])
def test_a_resumed_run_equals_an_uninterrupted_one(config, tmp_path, settings, stop_at):
    """A resumed run replayed the first batches (nanoGPT#467)."""
    config = changed(config, **settings)
    whole, split = tmp_path / "whole", tmp_path / "split"
    uninterrupted = train(config, directory=whole)

    asked = iter(range(100))
    train(config, directory=split, stop=lambda: next(asked) == stop_at)
    assert rows(split)[-1]["step"] <= stop_at
    resumed = train(config, directory=split, resume=True)

    assert same(uninterrupted, resumed)
    assert rows(split) == rows(whole)
    for which in ("best", "last"):
        a, b = checkpoint.find(whole, which), checkpoint.find(split, which)
        assert a.name == b.name
        for name in ("model.safetensors", "trainer.safetensors", "trainer.json"):
            assert (a / name).read_bytes() == (b / name).read_bytes()


def test_a_worse_value_does_not_replace_the_best(config, tmp_path, monkeypatch):
    """The best was overwritten at the next measurement, whatever that said."""
    losses_met = iter([3.0, 1.0, 2.0, 1.5])  # at steps 0, 9, 18 and 23
    monkeypatch.setattr(
        "minillm.train.evaluate",
        lambda *_, **__: Evaluation(loss=next(losses_met), tokens=7, num_bytes=None),
    )
    train(config, directory=tmp_path / "run")
    assert checkpoint.find(tmp_path / "run", "best").name == "step-00000009"
    last = checkpoint.find(tmp_path / "run", "last")
    assert json.loads((last / "trainer.json").read_text())["best_val_loss"] == 1.0


def test_a_run_killed_between_checkpoints_repeats_no_row(config, tmp_path):
    whole, killed = tmp_path / "whole", tmp_path / "killed"
    train(config, directory=whole)

    def dies(metrics):
        if metrics.step == 12:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        train(config, dies, killed)
    assert rows(killed)[-1]["step"] == 12
    train(config, directory=killed, resume=True)
    assert rows(killed) == rows(whole)


def test_resuming_a_finished_run_changes_nothing(config, tmp_path):
    train(config, directory=tmp_path / "run")
    before = rows(tmp_path / "run")
    train(config, directory=tmp_path / "run", resume=True)
    assert rows(tmp_path / "run") == before


def test_a_run_stopped_before_its_first_checkpoint_begins_again(config, tmp_path):
    (tmp_path / "run").mkdir()
    plan = with_vocabulary(config, data.Corpus(config.data.directory))
    write_json(tmp_path / "run" / "config.json", to_dict(plan))
    train(config, directory=tmp_path / "run", resume=True)
    train(config, directory=tmp_path / "whole")
    assert rows(tmp_path / "run") == rows(tmp_path / "whole")


def test_a_resumed_run_keeps_what_its_results_depend_on(config, tmp_path):
    train(config, directory=tmp_path / "run", stop=lambda: True)
    for change, message in (
        ({"learning_rate": 5e-3}, r"learning_rate \(0.005\) differs .* \(0.01\)"),
        ({"steps": 50}, r"steps \(50\) differs"),
        ({"seed": 1}, r"seed \(1\) differs"),
        ({"model": {"d_ff": 33}}, r"d_ff \(33\) differs"),
    ):
        with pytest.raises(ValueError, match=message):
            train(changed(config, **change), directory=tmp_path / "run", resume=True)
    often = changed(config, eval_every=4, log_every=2, checkpoint_every=5)
    train(often, directory=tmp_path / "run", resume=True)


def test_a_batch_may_be_split_otherwise_when_resumed(config, tmp_path):
    """Who resumes on a smaller GPU had to begin again, though the samples are the same.

    And they are only if the product is.
    """
    whole = train(config, directory=tmp_path / "whole")
    stops = iter(range(100))
    train(config, directory=tmp_path / "run", stop=lambda: next(stops) == 8)
    for batch_size, accumulate in ((5, 1), (6, 2), (1, 1)):
        plan = changed(config, batch_size=batch_size, accumulate=accumulate)
        message = rf"accumulate \({batch_size * accumulate}\) differs .* \(6\)"
        with pytest.raises(ValueError, match=message):
            train(plan, directory=tmp_path / "run", resume=True)
    plan = changed(config, batch_size=2, accumulate=3)
    stops = iter(range(100))
    train(plan, directory=tmp_path / "run", resume=True, stop=lambda: next(stops) == 7)
    resumed = train(config, directory=tmp_path / "run", resume=True)
    for p, q in zip(whole.parameters(), resumed.parameters(), strict=True):
        torch.testing.assert_close(p, q, atol=1e-4, rtol=1e-3)
    for a, b in zip(rows(tmp_path / "whole"), rows(tmp_path / "run"), strict=True):
        assert (a["step"], a["tokens"]) == (b["step"], b["tokens"])
        assert a["train_loss"] == pytest.approx(b["train_loss"], abs=1e-4)


def test_a_checkpoint_is_resumed_under_its_own_configuration(config, tmp_path):
    """A power cut while a run is overwritten may bring an old checkpoint back.

    Beside the new run's configuration, it was resumed without a word.
    """
    train(config, directory=tmp_path / "run", stop=lambda: True)
    new = with_vocabulary(
        changed(config, learning_rate=5e-3), data.Corpus(config.data.directory)
    )
    write_json(tmp_path / "run" / "config.json", to_dict(new))
    with pytest.raises(ValueError, match=r"learning_rate \(0.005\) differs"):
        train(new, directory=tmp_path / "run", resume=True)


def test_a_resumed_run_removes_what_the_next_checkpoint_would_have(config, tmp_path):
    """Killed after the last checkpoint was written, it kept an older one for ever."""
    train(config, directory=tmp_path / "run")
    checkpoints = tmp_path / "run" / "checkpoints"
    before = sorted(path.name for path in checkpoints.iterdir())
    shutil.copytree(checkpoints / before[-1], checkpoints / "step-00000007")
    train(config, directory=tmp_path / "run", resume=True)
    assert sorted(path.name for path in checkpoints.iterdir()) == before


def test_what_is_told_was_saved_before(config, tmp_path):
    """A notebook's plot that failed lost the steps since the last checkpoint."""

    def fails(metrics):
        if metrics.step == 9:
            raise RuntimeError("no such column")

    config = changed(config, checkpoint_every=9)
    with pytest.raises(RuntimeError, match="no such column"):
        train(config, fails, tmp_path / "run")
    assert checkpoint.find(tmp_path / "run", "last").name == "step-00000009"


def test_a_run_is_the_same_after_other_work_in_the_process(config, tmp_path):
    """A default dtype, a generator or a mode left over changed the next run."""
    plan = changed(config, model={"dropout": 0.2}, steps=8)
    seen = []
    first = train(plan, lambda m: seen.append((m.train_loss, m.val_loss)))
    torch.manual_seed(99)
    torch.rand(7)
    train(changed(plan, seed=5, precision="float16"))
    with torch.inference_mode():
        build(with_vocabulary(plan, data.Corpus(plan.data.directory)).model)
    again = train(plan, lambda m: seen.append((m.train_loss, m.val_loss)))
    assert same(first, again)
    assert seen[: len(seen) // 2] == seen[len(seen) // 2 :]


@pytest.mark.parametrize(
    ("model", "settings"),
    [
        ({"dropout": 0.999}, {"steps": 2}),
        ({"n_layers": 1, "n_heads": 1, "n_kv_heads": 1, "d_model": 2}, {"steps": 1}),
        ({"context_length": 1}, {"batch_size": 1, "accumulate": 40, "steps": 2}),
        ({"norm_eps": 1e-30}, {"weight_decay": 40.0, "steps": 3}),
        ({}, {"grad_clip": 1e-30, "beta1": 0.0, "beta2": 0.0, "steps": 2}),
    ],
)
def test_settings_at_their_ends_train(config, model, settings):
    plan = changed(config, model=model, warmup_steps=0, **settings)
    assert all(math.isfinite(loss) for loss in losses(plan))


def test_a_vocabulary_of_one_leaves_nothing_to_guess(config, tmp_path):
    """A gradient of 0 was divided by its norm in other code."""
    tiny.corpus(tmp_path / "one", "a" * 99)
    where = dataclasses.replace(config.data, directory=tmp_path / "one")
    assert set(losses(dataclasses.replace(config, data=where))) == {0.0}


def test_a_run_is_not_resumed_on_another_corpus(config, tmp_path):
    train(config, directory=tmp_path / "run", stop=lambda: True)
    tiny.corpus(tmp_path / "other", tiny.TEXT[::-1])
    other = dataclasses.replace(
        config, data=dataclasses.replace(config.data, directory=tmp_path / "other")
    )
    with pytest.raises(ValueError, match="is not the corpus that"):
        train(other, directory=tmp_path / "run", resume=True)


def test_an_existing_run_is_not_overwritten_by_accident(config, tmp_path):
    train(config, directory=tmp_path / "run")
    before = rows(tmp_path / "run")
    with pytest.raises(ValueError, match="holds a run already; resume it, overwrite"):
        train(config, directory=tmp_path / "run")
    assert rows(tmp_path / "run") == before
    train(changed(config, steps=9), directory=tmp_path / "run", overwrite=True)
    assert rows(tmp_path / "run")[-1]["step"] == 9
    assert checkpoint.find(tmp_path / "run", "last").name == "step-00000009"


def test_nothing_to_resume_is_said(config, tmp_path):
    with pytest.raises(ValueError, match="holds no run to resume"):
        train(config, directory=tmp_path / "nothing", resume=True)


def test_metrics_have_neither_holes_nor_repeats(config, tmp_path):
    seen = []
    train(config, seen.append, tmp_path / "run")
    steps = [row["step"] for row in rows(tmp_path / "run")]
    assert steps == sorted({*range(0, 24, 3), *range(0, 24, 9), 23})
    assert steps == [metrics.step for metrics in seen]
    assert [m.step for m in seen if m.val_loss is not None] == [0, 9, 18, 23]
    assert seen[0].train_loss is None
    assert all(m.train_loss is not None for m in seen[1:])
    assert [m.tokens for m in seen] == [m.step * 6 * 13 for m in seen]


# ------------------------------------------------------------------ when it fails


def test_a_loss_that_is_no_number_stops_with_the_step_and_what_to_try(config, tmp_path):
    """Training went on for hours on NaN, and the checkpoints with it."""

    def poisoned(model_config):
        model = build(model_config)

        def poison(module, inputs, output):
            calls.append(None)
            return output * float("nan") if len(calls) > 9 else output

        calls = []
        model.blocks[0].register_forward_hook(poison)
        return model

    plan = changed(config, eval_every=100)
    with pytest.raises(
        DivergedError, match=r"loss \(nan\) is not finite at step \d+; t"
    ):
        train(plan, directory=tmp_path / "run", build=poisoned)
    kept = checkpoint.load(tmp_path / "run", which="last")
    assert all(p.isfinite().all() for p in kept.model.parameters())


def test_a_model_that_scores_no_numbers_is_not_called_done(config, tmp_path):
    """float16 skips a step that overflows; it skipped all of them, and then was done.

    The validation loss was NaN, and no later one could be better than NaN.
    """
    plan = changed(
        config,
        precision="float16",
        learning_rate=1e29,
        min_learning_rate=0.0,
        weight_decay=0.0,
    )
    with pytest.raises(DivergedError, match=r"validation loss \(nan\) .* step 9; try"):
        train(plan, directory=tmp_path / "run")
    best = checkpoint.load(tmp_path / "run")
    assert best.folder.name == "step-00000000"
    assert math.isfinite(
        evaluate(best.model, data.Corpus(plan.data.directory).val).loss
    )


def test_parameters_that_are_no_numbers_are_not_kept(config, tmp_path):
    """Attention hides NaN: the loss stays plausible, and a checkpoint was written."""
    models = []

    def remembered(model_config):
        models.append(build(model_config))
        return models[-1]

    asked = count()

    def poison():
        if next(asked) == 14:
            models[0].blocks[1].attention.query.weight.data[2, 3] = math.nan
        return False

    plan = changed(config, eval_every=100, log_every=100)
    with pytest.raises(
        DivergedError, match=r"parameter blocks.1.attention.query.weight is not finite"
    ):
        train(plan, directory=tmp_path / "run", build=remembered, stop=poison)
    assert checkpoint.find(tmp_path / "run", "last").name == "step-00000007"


def test_a_gradient_too_long_to_measure_is_not_called_a_loss(config):
    """The loss was 3.4 and said to be "not finite"."""

    class Steep(Transformer):
        def forward(self, tokens, past_key_values=None):
            logits = super().forward(tokens, past_key_values)
            return logits + 1e38 * (logits - logits.detach())

    with pytest.raises(DivergedError, match=r"^gradient's norm \((inf|nan)\) is not"):
        train(config, build=Steep)


def test_float16_that_overflows_for_ever_stops(config):
    class Exploding(Transformer):
        def forward(self, tokens, past_key_values=None):
            scores = super().forward(tokens, past_key_values)
            return scores * 1e30 if self.training else scores

    with pytest.raises(DivergedError, match="overflow at every scale at step"):
        train(changed(config, steps=100, precision="float16"), build=Exploding)


def test_a_vocabulary_that_is_not_the_corpus_s_is_refused(config):
    with pytest.raises(ValueError, match=r"vocab_size \(99\) must equal the prepared"):
        train(changed(config, model={"vocab_size": 99}))


def test_a_text_shorter_than_a_window_is_refused(config):
    with pytest.raises(ValueError, match=r"context_length \(9000\) must be below"):
        train(changed(config, model={"context_length": 9000}))


def test_a_missing_device_is_refused():
    if not torch.cuda.is_available():
        with pytest.raises(ValueError, match=r"device \(cuda\) is not available here"):
            pick_device("cuda")
    assert pick_device("cpu").type == "cpu"


# ------------------------------------------------------------------ other ways to run


def test_a_chapter_can_train_a_model_it_has_altered(config):
    class Altered(Transformer):
        pass

    assert isinstance(train(config, build=Altered), Altered)


def in_processes(config, tmp_path, *words: str) -> None:
    """Train as a user does: in processes of their own, from a TOML file."""
    lines = [f"[data]\ndirectory = {json.dumps(str(config.data.directory))}"]
    for section in ("model", "train"):
        lines.append(f"[{section}]")
        settings = to_dict(config)[section]
        lines += [f"{key} = {json.dumps(value)}" for key, value in settings.items()]
    (tmp_path / "plan.toml").write_text("\n".join(lines))
    done = subprocess.run(
        [
            *(sys.executable, "-m", *words, "minillm.train"),
            *(str(tmp_path / "plan.toml"), "--out", str(tmp_path / "there")),
        ],
        env={**os.environ, "OMP_NUM_THREADS": "1"},
        capture_output=True,
        text=True,
        timeout=300,
    )
    assert done.returncode == 0, done.stderr


@pytest.mark.parametrize("how", ["compiled", "two processes"])
def test_however_it_is_run_the_same_is_computed(config, tmp_path, how):
    """And no prefix is left in the checkpoint (`_orig_mod.`, `module.`; nanoGPT#325).

    Two processes read the same global batch as one.
    """
    together = ("torch.distributed.run", "--standalone", "--nproc_per_node=2", "-m")
    if how == "compiled":
        plan = changed(config, model={"n_layers": 1}, compile=True)
        in_processes(plan, tmp_path)
        plan = changed(plan, compile=False)
    else:
        plan = changed(config, accumulate=2)
        in_processes(plan, tmp_path, *together)
    train(plan, directory=tmp_path / "here")
    here, there = rows(tmp_path / "here"), rows(tmp_path / "there")
    assert [row["step"] for row in here] == [row["step"] for row in there]
    for a, b in zip(here, there, strict=True):
        assert a["train_loss"] == pytest.approx(b["train_loss"], abs=1e-4)
        assert a["val_loss"] == pytest.approx(b["val_loss"], abs=1e-4)
    last = checkpoint.find(tmp_path / "there", "last") / "model.safetensors"
    own = build(checkpoint.load(tmp_path / "here").config.model).state_dict()
    assert checkpoint.read_safetensors(last).keys() == own.keys()


@pytest.mark.cuda
@pytest.mark.skipif(not torch.cuda.is_available(), reason="no CUDA device here")
@pytest.mark.parametrize("precision", ["float32", "bfloat16", "float16"])
def test_training_learns_on_a_gpu(config, precision):
    on_gpu = changed(config, steps=60, device="cuda", precision=precision)
    found = losses(on_gpu)
    assert found[-1] < 0.75 * found[0]


def test_who_loses_another_process_ends_with_a_sentence(config, monkeypatch):
    """A killed process left the others with a traceback, or hanging at their end."""
    monkeypatch.setenv("WORLD_SIZE", "2")
    for name in ("init_process_group", "destroy_process_group"):
        monkeypatch.setattr(distributed, name, lambda *_: None)
    monkeypatch.setattr(distributed, "get_rank", lambda: 1)

    def fail(message):
        with _together(config) as (process, _):
            assert process == Process(1, 2)
            raise RuntimeError(message)

    with pytest.raises(PeerLostError, match="another of the 2 processes has ended"):
        fail("[/src/third_party/gloo/gloo/pair.cc:537] Connection reset by peer")
    with pytest.raises(RuntimeError, match="a bug of ours"):
        fail("a bug of ours")


def test_the_last_reference_to_a_group_is_pythons(config, monkeypatch):
    """It was DistributedDataParallel's, and now and then a process never ended."""
    alone = partial(
        distributed.init_process_group,
        store=distributed.HashStore(),
        rank=0,
        world_size=1,
    )
    monkeypatch.setattr(distributed, "init_process_group", alone)
    monkeypatch.setenv("WORLD_SIZE", "2")
    with _together(config):
        group = weakref.ref(distributed.group.WORLD)
    assert not distributed.is_initialized()
    gc.collect()
    assert group() is not None


def test_what_cannot_be_computed_does_not_cost_the_old_run(config, tmp_path):
    """A batch too large for memory removed a trained model, and then failed."""
    train(config, directory=tmp_path / "run")
    before = rows(tmp_path / "run")
    huge = changed(config, batch_size=10**14)
    with pytest.raises((MemoryError, RuntimeError, ValueError)):
        train(huge, directory=tmp_path / "run", overwrite=True)
    assert rows(tmp_path / "run") == before
    assert checkpoint.find(tmp_path / "run", "last").name == "step-00000023"


def test_a_model_is_not_overwritten_by_a_run(config, tmp_path):
    train(config, directory=tmp_path / "run")
    kept = checkpoint.find(tmp_path / "run", "last")
    with pytest.raises(ValueError, match="holds a model, not a run"):
        train(config, directory=kept, overwrite=True)
    checkpoint.load(kept)


def test_a_run_that_is_moved_away_harms_nobody_under_its_name(config, tmp_path):
    """It removed the checkpoints of the run that had begun there since."""
    ours, theirs = tmp_path / "moved", tmp_path / "run"

    def move(metrics):
        if metrics.step == 3:
            theirs.rename(ours)
            train(changed(config, seed=7), directory=theirs)

    with pytest.raises(ValueError, match="run was moved or removed"):
        train(config, move, theirs)
    alone = tmp_path / "alone"
    train(changed(config, seed=7), directory=alone)
    assert rows(theirs) == rows(alone)
    assert same(checkpoint.load(theirs).model, checkpoint.load(alone).model)
    checkpoint.load(ours)


@pytest.mark.parametrize("value", ["", "0", "-1", "two", "1.5"])
def test_a_number_of_processes_that_is_none_is_named(config, monkeypatch, value):
    monkeypatch.setenv("WORLD_SIZE", value)
    with pytest.raises(ValueError, match=rf"WORLD_SIZE \('{value}'\) must be"):
        train(config)


def test_processes_that_do_not_meet_say_so(config, monkeypatch):
    """Fifty lines came of an address that was in use."""
    monkeypatch.setenv("WORLD_SIZE", "2")
    monkeypatch.setenv("RANK", "0")
    monkeypatch.setenv("MASTER_ADDR", "127.0.0.1")
    with socket.socket() as busy:
        busy.bind(("127.0.0.1", 0))
        busy.listen()
        monkeypatch.setenv("MASTER_PORT", str(busy.getsockname()[1]))
        with pytest.raises(ValueError, match="the 2 processes cannot meet: ") as told:
            train(config)
    assert str(told.value).count("\n") == 0


@pytest.mark.skipif(os.name == "nt", reason="Windows ends a process at once")
def test_who_waits_for_others_can_be_ended():
    """PyTorch waits in C++, and Python's answer to a signal waited as long."""
    code = "from minillm.train import _together; from minillm.config import RunConfig\n"
    code += "import signal; signal.signal(signal.SIGTERM, lambda *_: print('heard'))\n"
    code += "print('begin', flush=True)\nwith _together(RunConfig()): pass"
    one = subprocess.Popen(
        [sys.executable, "-c", code],
        env=os.environ
        | {"WORLD_SIZE": "2", "RANK": "1", "MASTER_ADDR": "127.0.0.1"}
        | {"MASTER_PORT": "1", "CUDA_VISIBLE_DEVICES": ""},
        stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL,
        text=True,
    )
    try:
        assert one.stdout.readline() == "begin\n"
        time.sleep(1)
        one.send_signal(signal.SIGTERM)
        assert one.wait(30) == -signal.SIGTERM
    finally:
        one.kill()
        one.wait()
        one.stdout.close()
