"""A configuration says what was asked for, and refuses what cannot be."""

import dataclasses
import subprocess
import sys
from pathlib import Path

import pytest

from minillm import config, costs
from minillm.config import DataConfig, ModelConfig, RunConfig, TrainConfig

# What each rung changes from the one before: DESIGN's table, by hand.
STEPS = {
    ("gpt2", "gpt2-nobias"): {"bias": (True, False)},
    ("gpt2-nobias", "rmsnorm"): {"norm": ("layernorm", "rmsnorm")},
    ("rmsnorm", "rope"): {"position": ("learned", "rope")},
    ("rope", "swiglu"): {"feed_forward": ("gelu", "swiglu")},
    ("swiglu", "llama"): {"n_kv_heads": (6, 2)},
}


@pytest.mark.parametrize(("lower", "upper"), STEPS, ids=lambda name: name)
def test_neighbours_on_the_ladder_differ_in_one_choice(lower, upper):
    """A step that changes two things measures neither."""
    a, b = config.preset_values(lower), config.preset_values(upper)
    assert a["train"] == b["train"]
    differ = {
        key: (a["model"].get(key), b["model"].get(key))
        for key in a["model"].keys() | b["model"].keys()
        if a["model"].get(key) != b["model"].get(key)
    }
    assert differ == STEPS[lower, upper]


def test_the_ladder_lists_every_preset_of_the_book_from_the_bottom():
    assert config.preset_names()[: len(config.LADDER)] == list(config.LADDER)
    for name in config.preset_names():
        assert isinstance(config.preset(name), RunConfig)


@pytest.mark.parametrize("d_model", [6, 12, 96, 192, 288])
def test_swiglu_at_two_thirds_has_the_parameters_of_gelu(d_model):
    shape = {"d_model": d_model, "n_heads": 3, "vocab_size": 7}
    gelu = ModelConfig(feed_forward="gelu", **shape)
    swiglu = ModelConfig(feed_forward="swiglu", **shape)
    assert (gelu.d_ff, swiglu.d_ff) == (4 * d_model, 8 * d_model // 3)
    assert costs.num_parameters(gelu) == costs.num_parameters(swiglu)


def test_derived_numbers_follow_what_the_command_line_changes():
    """d_ff computed before the change kept the width of another model."""
    changed = config.preset("llama", changes={"model": {"d_model": 48}})
    assert changed.model.d_ff == 128
    heads = {"model": {"n_heads": 3, "n_kv_heads": 0}}
    assert config.preset("llama", changes=heads).model.n_kv_heads == 3


@pytest.mark.parametrize(
    ("wrong", "message"),
    [
        (
            {"n_heads": 4, "n_kv_heads": 3, "d_model": 32},
            r"n_heads \(4\) must be a multiple of n_kv_heads \(3\)",
        ),
        ({"d_model": 50}, r"d_model \(50\) must be a multiple of n_heads \(6\)"),
        ({"d_model": 18, "n_heads": 6}, r"d_head \(3\) must be even"),
        ({"n_layers": 0}, r"n_layers \(0\) must be positive"),
        ({"n_heads": -2}, r"n_heads \(-2\) must be positive"),
        ({"d_ff": -1}, r"d_ff \(-1\) must not be negative"),
        ({"dropout": 1.0}, r"dropout \(1.0\) must be in \[0, 1\)"),
        ({"dropout": float("nan")}, r"dropout \(nan\) must be finite"),
        ({"norm": "batchnorm"}, r"norm \('batchnorm'\) must be one of layernorm, rms"),
        ({"n_heads": "four"}, r"n_heads \('four'\) must be a whole number"),
        ({"n_heads": 6.0}, r"n_heads \(6.0\) must be a whole number"),
        ({"n_heads": True}, r"n_heads \(True\) must be a whole number"),
        ({"bias": 1}, r"bias \(1\) must be a bool"),
        ({"rope_base": "10k"}, r"rope_base \('10k'\) must be a number"),
        ({"norm_eps": 0}, r"norm_eps \(0.0\) must be positive"),
    ],
)
def test_an_impossible_model_is_refused_by_name_value_and_rule(wrong, message):
    with pytest.raises(ValueError, match=message):
        ModelConfig(**wrong)


@pytest.mark.parametrize(
    ("wrong", "message"),
    [
        ({"steps": 0}, r"steps \(0\) must be positive"),
        ({"steps": 10, "warmup_steps": 10}, r"warmup_steps \(10\) must be in \[0, st"),
        ({"batch_size": -1}, r"batch_size \(-1\) must be positive"),
        ({"learning_rate": 0}, r"learning_rate \(0.0\) must be positive"),
        (
            {"learning_rate": 1e-3, "min_learning_rate": 2e-3},
            r"min_learning_rate \(0.002\) must be in \[0, learning_rate=0.001\]",
        ),
        ({"beta2": 1.0}, r"beta2 \(1.0\) must be in \[0, 1\)"),
        ({"muon_momentum": 1.0}, r"muon_momentum \(1.0\) must be in \[0, 1\)"),
        (
            {"muon_newton_schulz_steps": 0},
            r"muon_newton_schulz_steps \(0\) must be positive",
        ),
        ({"seed": -1}, r"seed \(-1\) must be in \[0, 2\*\*32\)"),
        ({"device": "gpu"}, r"device \(gpu\) must be auto, cpu, cuda"),
        ({"precision": "fp16"}, r"precision \('fp16'\) must be one of float32, bf"),
        ({"decay_steps": 1000}, r"decay_steps \(1000\) must be in"),
        ({"weight_decay": -0.1}, r"weight_decay \(-0.1\) must not be negative"),
        ({"eval_every": 0}, r"eval_every \(0\) must be positive"),
    ],
)
def test_an_impossible_training_is_refused_by_name_value_and_rule(wrong, message):
    with pytest.raises(ValueError, match=message):
        TrainConfig(**wrong)


def test_an_unknown_key_is_refused_with_the_known_ones():
    """A misspelt key was ignored, and the run used the default."""
    with pytest.raises(ValueError, match="unknown key 'n_head'; known keys are kind"):
        config.from_dict(RunConfig, {"model": {"n_head": 4}}, "my.toml")
    with pytest.raises(ValueError, match=r"^my\.toml: unknown key 'modle'"):
        config.from_dict(RunConfig, {"modle": {}}, "my.toml")
    with pytest.raises(ValueError, match=r"model must be a table, got 3"):
        config.from_dict(RunConfig, {"model": 3})


def test_the_experiments_of_the_book_are_not_configurations_of_the_package():
    with pytest.raises(ValueError, match=r"\[experiment\] is for the book"):
        config.from_dict(RunConfig, {"experiment": {"position": "none"}})


def test_a_configuration_survives_the_way_through_plain_values():
    original = config.preset("gpt2", 65, {"train": {"seed": 7}})
    again = config.from_dict(RunConfig, config.to_dict(original))
    assert again == original
    assert hash(again) == hash(original)


def test_a_configuration_cannot_change():
    with pytest.raises(dataclasses.FrozenInstanceError):
        RunConfig().model.n_heads = 3


def test_a_preset_that_names_another_vocabulary_is_refused(tmp_path):
    path = tmp_path / "mine.toml"
    path.write_text("[model]\nvocab_size = 50257\n")
    with pytest.raises(ValueError, match=r"vocab_size \(50257\) differs .* \(65\)"):
        config.preset(str(path), vocab_size=65)
    assert config.preset(str(path)).model.vocab_size == 50257


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"[model", "not valid TOML"),
        (b"\xff", "not valid TOML: it is not UTF-8"),
        (b"model = 3", "model must be a table"),
    ],
)
def test_a_damaged_toml_file_is_named(tmp_path, content, message):
    path = tmp_path / "mine.toml"
    path.write_bytes(content)
    with pytest.raises(ValueError, match=message) as caught:
        config.preset(str(path))
    assert "mine.toml" in str(caught.value)


def test_a_missing_preset_or_file_is_named():
    with pytest.raises(ValueError, match="unknown preset 'lama'; known presets are bi"):
        config.preset("lama")
    with pytest.raises(ValueError, match=r"nowhere\.toml does not exist"):
        config.preset("nowhere.toml")


@pytest.mark.parametrize(
    "changes",
    [
        {"train": TrainConfig(seed=5)},
        {"train": TrainConfig(device="cpu")},
        {"train": TrainConfig(eval_every=3, log_every=1, checkpoint_every=2)},
        {"data": DataConfig(directory=Path("elsewhere"))},
    ],
)
def test_what_cannot_change_a_result_is_not_in_the_fingerprint(changes):
    changed = dataclasses.replace(RunConfig(), **changes)
    assert config.fingerprint(changed) == config.fingerprint(RunConfig())


def _changed(part: object, key: dataclasses.Field) -> object:
    """``part`` with one field at a value that is valid and not the default."""
    value = {
        "kind": "bigram", "vocab_size": 9, "n_heads": 12, "n_kv_heads": 3, "d_ff": 77,
        "norm": "layernorm", "position": "learned", "feed_forward": "gelu",
        "optimizer": "muon", "schedule": "wsd", "precision": "float16", "d_model": 96,
    }.get(key.name)  # fmt: skip
    if value is None:
        old = getattr(part, key.name)
        value = (not old) if isinstance(old, bool) else (old / 2 or 0.25)
        value = 2 * old or 3 if type(old) is int else value
    return dataclasses.replace(part, **{key.name: value})


@pytest.mark.parametrize("section", ["model", "train"])
def test_every_other_field_is_in_the_fingerprint(section):
    part = getattr(RunConfig(), section)
    seen = {config.fingerprint(RunConfig())}
    for key in dataclasses.fields(part):
        if key.name in ("seed", "device") or key.name.endswith("_every"):
            continue
        changed = dataclasses.replace(RunConfig(), **{section: _changed(part, key)})
        digits = config.fingerprint(changed)
        assert digits not in seen, key.name
        seen.add(digits)


@pytest.mark.parametrize(
    ("kind", "values", "message"),
    [
        (
            ModelConfig,
            {"n_layers": 10**40},
            r"n_layers \(10+\) must be at most 2",
        ),
        (TrainConfig, {"steps": 2**53 + 1}, r"steps \(9007\d+\) must be at most 2"),
        (
            TrainConfig,
            {"learning_rate": 10**400},
            r"learning_rate \(10+\) must be",
        ),
        (
            TrainConfig,
            {"weight_decay": 1e31},
            r"weight_decay \(1e\+31\) must be at",
        ),
        (ModelConfig, {"dropout": -(10**400)}, r"dropout \(-10+\) must be at most 2"),
    ],
)
def test_a_number_too_large_to_compute_with_is_refused(kind, values, message):
    """OverflowError: int too large to convert to float; and from inside Muon."""
    with pytest.raises(ValueError, match=message):
        kind(**values)


def test_corpus_and_experiment_are_in_the_fingerprint():
    plain = config.fingerprint(RunConfig())
    assert config.fingerprint(RunConfig(), "abc") != plain
    assert config.fingerprint(RunConfig(), "", {"position": "none"}) != plain


def test_reading_configurations_needs_no_pytorch():
    """`minillm --help` waited two seconds for PyTorch."""
    code = (
        "import sys, minillm, minillm.config, minillm.costs, minillm.cli;"
        "minillm.config.preset('llama');"
        "sys.exit(any(m in sys.modules for m in ('torch', 'numpy', 'tiktoken')))"
    )
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("[train]\nsteps = " + "9" * 5000, "not valid TOML"),
        ("[train]\nsteps = 0x" + "f" * 5000, r"steps \(.*\) must be at most 2\*\*53"),
        ("[train]\nsteps = " + "9" * 20, r"steps \(.*\) must be at most 2\*\*53"),
        ("model = 5", "model must be a table"),
        ("train = []", "train must be a table"),
    ],
)
def test_absurd_toml_is_refused_in_a_line(tmp_path, text, message):
    """A number that no float holds ended `describe`, and `model = 5` any verb."""
    path = tmp_path / "x.toml"
    path.write_text(text)
    with pytest.raises(ValueError, match=message) as error:
        config.preset(str(path), vocab_size=7, changes={"model": {}, "train": {}})
    assert "x.toml" in str(error.value)
