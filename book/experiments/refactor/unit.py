"""The tests that become possible, part by part.

Each takes the parts of a stage, as ``stages.load`` gives them, and asserts. A test can
be run as soon as all parts that it names can be imported.
"""

import contextlib
import math
import tempfile
import time
from collections.abc import Callable, Mapping
from pathlib import Path
from types import ModuleType

import torch

Parts = Mapping[str, ModuleType]
SMALL = {"vocab_size": 11, "n_layers": 2, "n_heads": 6, "n_kv_heads": 2}
SMALL |= {"d_model": 36, "d_ff": 20, "context_length": 16}


def _model(parts: Parts):
    torch.manual_seed(0)
    model = parts["model"].Llama(parts["config"].ModelConfig(**SMALL))
    with torch.no_grad():
        for weight in model.parameters():
            weight.mul_(5 if weight.dim() == 2 else 1)  # loud: nothing hides
    return model


def _tokens(n_tokens=12):
    return torch.arange(n_tokens)[None] * 7 % 11


def _refused(build, **values):
    try:
        build(**values)
    except (TypeError, ValueError):
        return
    raise AssertionError(f"{values} was taken")


# ------------------------------------------------------------------ config


def a_typo_is_refused(parts):
    read = parts["config"].from_arguments
    _refused(lambda name: read([name]), name="learnig_rate=0.1")


def heads_must_divide_the_width(parts):
    _refused(parts["config"].ModelConfig, n_heads=7)
    _refused(parts["config"].ModelConfig, n_heads=6, n_kv_heads=4)


def a_setting_cannot_change_later(parts):
    config = parts["config"].TrainConfig()
    try:
        config.steps = 3
    except AttributeError:
        return
    raise AssertionError("steps was set")


# ------------------------------------------------------------------ model


def the_future_changes_nothing(parts):
    model, tokens = _model(parts), _tokens()
    other = tokens.clone()
    other[0, -1] += 1
    same = torch.isclose(model(tokens), model(other), atol=1e-5).all(dim=-1)
    assert same[0, :-1].all()
    assert not same[0, -1]


def the_order_of_the_past_matters(parts):
    model, tokens = _model(parts), _tokens()
    swapped = tokens[:, [1, 0, *range(2, 12)]]
    assert not torch.allclose(model(tokens)[:, -1], model(swapped)[:, -1], atol=1e-3)


def keys_and_queries_turn_alike(parts):
    """A score depends on the distance alone: shift both, and nothing changes."""
    layer = _model(parts).blocks[0].attention
    repeated = torch.randn(1, 1, 36).repeat(1, 5, 1)
    seen = []
    layer.query.register_forward_hook(lambda *args: seen.append(args[2]))
    attend = torch.nn.functional.scaled_dot_product_attention
    turned = []

    def spy(q, k, v, **options):
        turned.append(q[:, :2] @ k.transpose(-2, -1))
        return attend(q, k, v, **options)

    torch.nn.functional.scaled_dot_product_attention = spy
    try:
        layer(repeated)
    finally:
        torch.nn.functional.scaled_dot_product_attention = attend
    scores = turned[0][0, 0]
    assert torch.allclose(scores[1:, 1:], scores[:-1, :-1], atol=1e-4)
    assert not torch.allclose(scores[1, 0], scores[0, 0], atol=1e-3)


def a_small_vector_is_hardly_divided(parts):
    """By hand: mean square 4e-5 and eps 1e-5 make 5e-5 under the root."""
    norm = parts["model"].RMSNorm(parts["config"].ModelConfig(**SMALL))
    x = torch.full((36,), 4e-5**0.5)
    assert torch.allclose(norm(x), x / 5e-5**0.5, rtol=1e-4)


def a_new_model_knows_nothing(parts):
    torch.manual_seed(0)
    model = parts["model"].Llama(parts["config"].ModelConfig(**SMALL))
    loss = parts["model"].loss_of(model, _batch())
    assert abs(loss.item() - math.log(11)) < 0.1


# ------------------------------------------------------------------ data


def a_target_is_the_next_token(parts):
    inputs, targets = parts["data"].get_batch(torch.arange(50), 5, 7)
    assert torch.equal(targets, inputs + 1)


def every_window_can_be_drawn(parts):
    inputs, _ = parts["data"].get_batch(torch.arange(12), 200, 7)
    assert inputs[:, 0].unique().tolist() == [0, 1, 2, 3, 4]


# ------------------------------------------------------------------ train


def _settings(parts, **changes):
    return parts["config"].TrainConfig(**{"warmup_steps": 4, "steps": 12, **changes})


def gains_do_not_decay(parts):
    settings = _settings(parts)
    optimizer = parts["train"].build_optimizer(_model(parts), settings)
    for group in optimizer.param_groups:
        vectors = {p.dim() == 1 for p in group["params"]}
        assert vectors == {group["weight_decay"] == 0}


def the_settings_reach_the_optimizer(parts):
    settings = _settings(parts, beta1=0.3, beta2=0.6, learning_rate=0.2)
    optimizer = parts["train"].build_optimizer(_model(parts), settings)
    assert optimizer.defaults["betas"] == (0.3, 0.6)
    assert optimizer.defaults["lr"] == 0.2


def the_rate_ends_at_its_minimum(parts):
    settings = _settings(parts)
    rate_at = parts["train"].rate_at
    assert math.isclose(rate_at(3, settings), settings.learning_rate)
    assert math.isclose(rate_at(11, settings), settings.min_learning_rate)


def _batch():
    return _tokens(), (_tokens() + 3) % 11


def gradients_of_old_steps_are_gone(parts):
    """At rate 0 nothing moves, so a second gradient equals the first."""
    model = _model(parts)
    optimizer = parts["train"].build_optimizer(model, _settings(parts))
    grads = []
    for _ in range(2):
        parts["train"].take_step(model, optimizer, _batch(), 0.0, 1e9)
        grads.append(model.norm.weight.grad.clone())
    assert torch.allclose(*grads)


def the_gradient_is_no_longer_than_allowed(parts):
    model = _model(parts)
    optimizer = parts["train"].build_optimizer(model, _settings(parts))
    parts["train"].take_step(model, optimizer, _batch(), 0.0, 1e-3)
    squares = [p.grad.pow(2).sum() for p in model.parameters()]
    assert sum(squares).sqrt() < 1.01e-3


def evaluation_reads_what_it_is_given(parts):
    asked = []

    def batch_of(tokens):
        asked.append(tokens)
        return _batch()

    held_out = torch.arange(3)
    parts["train"].estimate_loss(_model(parts), batch_of, held_out, 2)
    assert all(tokens is held_out for tokens in asked)


def _trained(parts, n_steps):
    model = _model(parts)
    optimizer = parts["train"].build_optimizer(model, _settings(parts))
    for _ in range(n_steps):
        parts["train"].take_step(model, optimizer, _batch(), 0.01, 1.0)
    return model, optimizer


def a_break_changes_no_weight(parts):
    with tempfile.TemporaryDirectory() as room:
        first = _trained(parts, 3)
        parts["train"].save(Path(room) / "kept", *first, 3)
        second = _trained(parts, 1)
        assert parts["train"].load(Path(room) / "kept", *second) == 3
        for model, optimizer in (first, second):
            parts["train"].take_step(model, optimizer, _batch(), 0.01, 1.0)
    pairs = zip(first[0].parameters(), second[0].parameters(), strict=True)
    assert all(torch.equal(a, b) for a, b in pairs)


class _Text:
    """A corpus of eleven tokens."""

    train = val = torch.arange(200) % 11


def the_saved_step_is_the_next_one(parts):
    """By the loop itself: it saves before step 5, breaks at 7, and goes on with 5."""
    told = []

    def until_step_7(event):
        told.append(event)
        if event.step == 7:
            raise KeyboardInterrupt

    with tempfile.TemporaryDirectory() as room:
        asked = {"log_every": 1, "checkpoint_every": 5, "steps": 8}
        asked |= {"eval_every": 99, "eval_batches": 1, "out": Path(room) / "kept"}
        loop = parts["train"].train
        with contextlib.suppress(KeyboardInterrupt):
            loop(_model(parts), _Text, _settings(parts, **asked), until_step_7, 16)
        again = _settings(parts, **asked, resume=True)
        loop(_model(parts), _Text, again, told.append, 16)
    assert [e.step for e in told if e.name == "loss"] == [*range(8), *range(5, 8)]


# ------------------------------------------------------------------ generate


class _Last(torch.nn.Module):
    """Is sure that the token after t is t + 1."""

    def forward(self, tokens):
        return 50.0 * torch.nn.functional.one_hot((tokens + 1) % 11, 11)


def _sampled(parts, model, **changes):
    settings = parts["config"].SampleConfig(**changes)
    return parts["generate"].generate(model, torch.tensor([[4]]), settings, 3)


def the_newest_tokens_are_read(parts):
    text = _sampled(parts, _Last(), max_new_tokens=6, top_k=1)
    assert text.tolist() == [[4, 5, 6, 7, 8, 9, 10]]


class _Ranked(torch.nn.Module):
    """Token 0 is a little better than 1, and so on."""

    def forward(self, tokens):
        return -0.01 * torch.arange(11.0).expand(*tokens.shape, 11)


def top_k_keeps_k(parts):
    torch.manual_seed(0)
    text = _sampled(parts, _Ranked(), max_new_tokens=200, top_k=3)
    assert set(text[0, 1:].tolist()) == {0, 1, 2}


Test = tuple[str, frozenset[str], Callable[[Parts], None]]


def _group(part: str, needs: str, *tests: Callable[[Parts], None]) -> list[Test]:
    return [(part, frozenset([part, *needs.split()]), test) for test in tests]


TESTS = [
    *_group(
        "config",
        "",
        a_typo_is_refused,
        heads_must_divide_the_width,
        a_setting_cannot_change_later,
    ),
    *_group(
        "model",
        "config",
        the_future_changes_nothing,
        the_order_of_the_past_matters,
        keys_and_queries_turn_alike,
        a_small_vector_is_hardly_divided,
        a_new_model_knows_nothing,
    ),
    *_group("data", "", a_target_is_the_next_token, every_window_can_be_drawn),
    *_group(
        "train",
        "config model",
        gains_do_not_decay,
        the_settings_reach_the_optimizer,
        the_rate_ends_at_its_minimum,
        gradients_of_old_steps_are_gone,
        the_gradient_is_no_longer_than_allowed,
        evaluation_reads_what_it_is_given,
        a_break_changes_no_weight,
        the_saved_step_is_the_next_one,
    ),
    *_group("generate", "config model", the_newest_tokens_are_read, top_k_keeps_k),
]


def possible(parts: Parts) -> list[Test]:
    """The tests whose parts are all there."""
    return [test for test in TESTS if test[1] <= parts.keys()]


def run(parts: Parts) -> dict[str, str]:
    """What each possible test says: ``ok``, or the kind of its error."""
    found = {}
    for part, _, test in possible(parts):
        try:
            with torch.random.fork_rng(devices=[]):
                torch.manual_seed(0)
                test(parts)
            found[f"{part}: {test.__name__.replace('_', ' ')}"] = "ok"
        except Exception as error:
            found[f"{part}: {test.__name__.replace('_', ' ')}"] = type(error).__name__
    return found


def seconds(parts: Parts) -> float:
    """CPU time of all possible tests."""
    began = time.process_time()
    run(parts)
    return time.process_time() - began
