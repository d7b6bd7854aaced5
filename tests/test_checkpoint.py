"""What is kept is whole, belongs together, and needs nothing but itself."""

import dataclasses
import errno
import json
import os
import pickle  # noqa: TID251 -- to see what happens
import shutil
import stat
from itertools import count
from pathlib import Path

import pytest
import tiny
import torch
from imports import imported

from minillm import checkpoint, data, tokenizer
from minillm.checkpoint import TrainerState
from minillm.config import ModelConfig
from minillm.evaluate import next_token_loss
from minillm.files import write_json
from minillm.model import build
from minillm.optim import build_optimizers
from minillm.run import write_manifest
from minillm.train import train, with_vocabulary


def state(step: int, best_step: int = 0) -> TrainerState:
    return TrainerState(
        step=step,
        skipped=2,
        best_step=best_step,
        best_val_loss=1.5,
        corpus_hash="abc",
        scaler={},
    )


@pytest.fixture
def parts(tmp_path):
    corpus = data.Corpus(tiny.corpus(tmp_path / "corpus"))
    config = with_vocabulary(tiny.run(corpus.directory, optimizer="muon"), corpus)
    model = build(config.model)
    optimizers = build_optimizers(model, config.train)
    tokens = torch.randint(corpus.vocab_size, (3, 7))
    next_token_loss(model(tokens), tokens).backward()
    for one in optimizers:
        one.step()
    return config, model, corpus.tokenizer, optimizers


def save(folder: Path, parts, **about) -> Path:
    config, model, tokens, optimizers = parts
    return checkpoint.save(folder, config, model, tokens, state(**about), optimizers)


def test_everything_comes_back_bit_for_bit(tmp_path, parts):
    config, model, tokens, optimizers = parts
    folder = save(tmp_path / "kept", parts, step=7)
    loaded = checkpoint.load(folder)
    assert loaded.config == config
    assert loaded.tokenizer.hash == tokens.hash
    assert not loaded.model.training
    for name, tensor in model.state_dict().items():
        assert torch.equal(loaded.model.state_dict()[name], tensor)

    other = build(config.model)
    others = build_optimizers(other, config.train)
    assert checkpoint.load_trainer(folder, other, others) == state(step=7)
    before = checkpoint.optimizer_tensors(model, optimizers)
    after = checkpoint.optimizer_tensors(other, others)
    assert before.keys() == after.keys()
    assert {key.rpartition("/")[2] for key in before} == {
        "step", "exp_avg", "exp_avg_sq", "momentum_buffer",
    }  # fmt: skip
    assert all(torch.equal(before[key], after[key]) for key in before)


def test_a_checkpoint_speaks_without_its_corpus(tmp_path, parts):
    folder = save(tmp_path / "kept", parts, step=7)
    shutil.rmtree(tmp_path / "corpus")
    loaded = checkpoint.load(folder)
    assert loaded.tokenizer.decode(loaded.tokenizer.encode("the cat")) == "the cat"


@pytest.mark.parametrize("kind", ["transformer", "bigram"])
def test_reading_a_model_does_not_import_the_compiler(kind):
    """Four seconds of every `minillm generate`, more than all the rest of it."""
    code = (
        "from minillm.checkpoint import build_empty;"
        "from minillm.config import ModelConfig;"
        f"build_empty(ModelConfig(kind={kind!r}, vocab_size=7))"
    )
    assert imported(code, "torch", "torch._dynamo", "sympy") == {"torch"}


def test_an_empty_model_has_the_parameters_of_a_full_one():
    """Without a gradient, or tied, it would train to something else."""
    for kind in ("transformer", "bigram"):
        config = ModelConfig(kind=kind, vocab_size=7, n_layers=1)
        empty = dict(checkpoint.build_empty(config).named_parameters())
        full = dict(build(config).named_parameters())
        assert list(empty) == list(full)
        for name, parameter in full.items():
            assert empty[name].shape == parameter.shape
            assert empty[name].requires_grad
            assert str(empty[name].device) == "cpu"


def test_best_and_last_are_kept_and_nothing_else(tmp_path, parts):
    """best_val_loss was overwritten by a worse value, and the best model with it."""
    for step, best in ((0, 0), (7, 7), (14, 7), (21, 7)):
        save(tmp_path, parts, step=step, best_step=best)
    assert [step for step, _ in checkpoint.step_folders(tmp_path)] == [7, 21]
    assert checkpoint.find(tmp_path, "best").name == "step-00000007"
    assert checkpoint.find(tmp_path, "last").name == "step-00000021"
    assert sorted(path.name for path in tmp_path.glob("*step*")) == [
        "step-00000007",
        "step-00000021",
    ]


def test_others_may_read_what_is_written(tmp_path, parts):
    """safetensors writes for the owner only; a published folder was unreadable."""
    folder = save(tmp_path / "kept", parts, step=7)
    for path in folder.iterdir():
        assert path.stat().st_mode & stat.S_IROTH


@pytest.mark.parametrize("name", ["model.safetensors", "config.json", "tokenizer.json"])
@pytest.mark.parametrize("left", [0, 1, 7, 50])
def test_a_file_cut_short_is_named(tmp_path, parts, name, left):
    folder = save(tmp_path / "kept", parts, step=7)
    path = folder / name
    whole = path.read_bytes()
    path.write_bytes(whole[:left])
    with pytest.raises(ValueError, match=name):
        checkpoint.load(folder)
    (folder / "manifest.json").unlink()  # and without the manifest's help
    with pytest.raises(ValueError, match=name):
        checkpoint.load(folder)


def test_a_flipped_bit_is_found(tmp_path, parts):
    folder = save(tmp_path / "kept", parts, step=7)
    path = folder / "model.safetensors"
    harmed = bytearray(path.read_bytes())
    harmed[-1] ^= 1
    path.write_bytes(harmed)
    with pytest.raises(ValueError, match=r"model\.safetensors differs from what was"):
        checkpoint.load(folder)


def test_weights_of_another_shape_are_refused_by_name(tmp_path, parts):
    config, *_ = parts
    folder = save(tmp_path / "kept", parts, step=7)
    other = dataclasses.replace(config.model, n_layers=4)
    with pytest.raises(
        ValueError, match=r"blocks\.3\.\S+ is missing: it belongs to an"
    ):
        checkpoint.load_parameters(build(other), folder / "model.safetensors")
    other = dataclasses.replace(config.model, n_layers=2)
    with pytest.raises(ValueError, match=r"blocks\.2\.\S+ is not in the model"):
        checkpoint.load_parameters(build(other), folder / "model.safetensors")
    other = dataclasses.replace(config.model, d_ff=65)
    with pytest.raises(ValueError, match=r"float32 \(64, 24\), but must be float32"):
        checkpoint.load_parameters(build(other), folder / "model.safetensors")


@pytest.mark.parametrize("bad", [torch.nan, torch.inf, -torch.inf], ids=str)
def test_weights_that_are_no_numbers_are_refused_by_name(tmp_path, parts, bad):
    """A NaN among the queries evaluated to 3.6 nats: attention took it for no score."""
    config, model, tokens, _ = parts
    with torch.no_grad():
        model.blocks[1].attention.query.weight[2, 3] = bad
    checkpoint.write_model(tmp_path, config, model, tokens)
    with pytest.raises(
        ValueError, match=r"blocks\.1\.attention\.query\.weight must hold finite"
    ):
        checkpoint.load(tmp_path)


def test_a_tokenizer_of_another_vocabulary_is_refused(tmp_path, parts):
    folder = save(tmp_path / "kept", parts, step=7)
    tokenizer.CharTokenizer.fit("abc").save(folder / "tokenizer.json")
    write_manifest(folder)
    with pytest.raises(ValueError, match=r"tokenizer's vocab_size \(3\) must equal"):
        checkpoint.load(folder)


def test_a_foreign_tokenizer_of_equal_size_is_refused_without_a_manifest(
    tmp_path, parts
):
    """Weights and tokenizer of two folders gave fluent nonsense and no error."""
    folder = save(tmp_path / "kept", parts, step=7)
    (folder / "manifest.json").unlink()
    own = parts[2].characters
    foreign = tokenizer.CharTokenizer.fit(own[:-1] + chr(ord(own[-1]) + 1))
    assert foreign.vocab_size == parts[2].vocab_size
    foreign.save(folder / "tokenizer.json")
    with pytest.raises(
        ValueError, match=r"must be the tokenizer that the weights were trained with"
    ) as error:
        checkpoint.load(folder)
    assert "\n" not in str(error.value)
    parts[2].save(folder / "tokenizer.json")
    assert checkpoint.load(folder).tokenizer.hash == parts[2].hash


def test_weights_that_name_no_tokenizer_still_load(tmp_path, parts):
    """Folders that were kept before the tokenizer was noted beside the weights."""
    folder = save(tmp_path / "kept", parts, step=7)
    checkpoint.write_safetensors(folder / "model.safetensors", parts[1].state_dict())
    write_manifest(folder)
    assert checkpoint.load(folder).tokenizer.hash == parts[2].hash


@pytest.mark.parametrize("name", ["pytorch_model.bin", "model.pt", "ckpt.pkl", "a.pth"])
def test_a_pickle_is_refused_with_a_sentence(tmp_path, name):
    """Reading a pickle runs whatever code its maker put into it."""
    torch.save({"weight": torch.zeros(3)}, tmp_path / name)
    for path in (tmp_path, tmp_path / name):
        with pytest.raises(ValueError, match="may be a pickle, which can run any code"):
            checkpoint.load(path)


@pytest.mark.parametrize("zipped", [True, False])
def test_a_pickle_under_a_false_name_is_refused_with_the_same_sentence(
    tmp_path, parts, zipped
):
    """ "Not a whole safetensors file" sends its owner to download it again."""
    folder = save(tmp_path / "kept", parts, step=7)
    torch.save(
        {"weight": torch.zeros(3)},
        folder / "model.safetensors",
        _use_new_zipfile_serialization=zipped,
    )
    write_manifest(folder)
    with pytest.raises(ValueError, match=r"model\.safetensors may be a pickle, which"):
        checkpoint.load(folder)


def test_a_safetensors_file_that_begins_like_a_pickle_is_none():
    """A header of 640 bytes begins with the two bytes of a pickle of protocol 2."""
    cut_short = (640).to_bytes(8, "little") + b'{"a"'
    assert cut_short.startswith(pickle.dumps(1, protocol=2)[:2])
    assert not checkpoint._may_be_pickle(cut_short)
    assert checkpoint._may_be_pickle(pickle.dumps([1.5] * 9, protocol=2))


def test_a_damaged_checkpoint_names_the_other_that_is_kept(tmp_path, parts):
    """The best was cut short, and nobody said that the last one is whole."""
    best = save(tmp_path, parts, step=7, best_step=7)
    last = save(tmp_path, parts, step=14, best_step=7)
    path = best / "model.safetensors"
    path.write_bytes(path.read_bytes()[:99])
    with pytest.raises(ValueError, match=rf"cut short .*; {last} is kept too"):
        checkpoint.load(tmp_path)
    assert checkpoint.load(last).folder == last
    (last / "trainer.safetensors").write_bytes(b"")
    _, model, _, optimizers = parts
    with pytest.raises(ValueError, match=rf"cut short .*; remove {last} to resume f"):
        checkpoint.load_trainer(last, model, optimizers)
    shutil.rmtree(last)
    with pytest.raises(ValueError, match=r"cut short or changed$"):
        checkpoint.load(tmp_path)


@pytest.mark.parametrize("lack", [MemoryError(), OSError(errno.EMFILE, "Too many")])
@pytest.mark.parametrize("suffix", [".safetensors", ".json"])
def test_what_the_machine_lacks_is_no_damage(
    tmp_path, parts, monkeypatch, lack, suffix
):
    """With too little memory, the advice was to remove the last checkpoint."""
    save(tmp_path, parts, step=7, best_step=7)
    last = save(tmp_path, parts, step=14, best_step=7)
    _, model, _, optimizers = parts
    real = Path.read_bytes

    def fail(path, *arguments, **options):
        if path.suffix == suffix and path.name != "manifest.json":
            raise lack
        return real(path, *arguments, **options)

    monkeypatch.setattr(Path, "read_bytes", fail)
    for attempt in (
        lambda: checkpoint.load(last),
        lambda: checkpoint.load_trainer(last, model, optimizers),
    ):
        with pytest.raises(type(lack)) as error:
            attempt()
        assert "remove" not in str(error.value)


def test_memory_for_tensors_is_asked_for_before_they_are_read(tmp_path, monkeypatch):
    """safetensors' Rust ended the process, or its RuntimeError was called damage."""
    checkpoint.write_safetensors(tmp_path / "a.safetensors", {"a": torch.zeros(3)})
    monkeypatch.setattr(checkpoint, "MARGIN", 2**60)
    with pytest.raises(MemoryError):
        checkpoint.read_safetensors(tmp_path / "a.safetensors")
    with pytest.raises(MemoryError):
        checkpoint.write_safetensors(tmp_path / "b.safetensors", {"a": torch.zeros(3)})
    assert not (tmp_path / "b.safetensors").exists()


def test_nothing_to_load_is_said_in_words(tmp_path):
    with pytest.raises(ValueError, match="nowhere does not exist"):
        checkpoint.load(tmp_path / "nowhere")
    with pytest.raises(ValueError, match=r"holds no checkpoint: no model\.safetensors"):
        checkpoint.load(tmp_path)


def test_a_half_removed_checkpoint_is_not_a_checkpoint(tmp_path, parts, monkeypatch):
    """A kill in the middle of tidying up left a folder that looked like the best."""
    save(tmp_path / "kept", parts, step=7)
    monkeypatch.setattr(shutil, "rmtree", lambda *a, **k: None)
    save(tmp_path / "kept", parts, step=14, best_step=14)
    steps = [step for step, _ in checkpoint.step_folders(tmp_path / "kept")]
    assert steps == [14]


def test_trainer_state_of_another_version_is_named(tmp_path, parts):
    config, _, _, _ = parts
    folder = save(tmp_path / "kept", parts, step=7)
    plain = json.loads((folder / "trainer.json").read_text())
    del plain["skipped"]
    write_json(folder / "trainer.json", plain)
    write_manifest(folder)
    model = build(config.model)
    with pytest.raises(
        ValueError, match=r"trainer\.json must hold step, skipped, best"
    ):
        checkpoint.load_trainer(folder, model, build_optimizers(model, config.train))


def test_a_folder_of_weights_config_and_tokenizer_is_enough(tmp_path, parts):
    folder = save(tmp_path / "kept", parts, step=7)
    published = tmp_path / "published"
    published.mkdir()
    for name in ("model.safetensors", "config.json", "tokenizer.json"):
        shutil.copy(folder / name, published)
    assert checkpoint.load(published).config == parts[0]


def test_a_trained_run_loads_its_best_by_default(tmp_path):
    config = tiny.run(tiny.corpus(tmp_path / "corpus"))
    seen = []
    train(config, seen.append, tmp_path / "run")
    best = min((m for m in seen if m.val_loss is not None), key=lambda m: m.val_loss)
    loaded = checkpoint.load(tmp_path / "run")
    assert loaded.folder.name == f"step-{best.step:08d}"


@pytest.mark.parametrize(
    "absurd", [{"n_layers": 10**9}, {"d_model": 24 * 10**8}, {"d_ff": 10**12}]
)
def test_a_model_far_larger_than_its_weights_is_never_built(tmp_path, parts, absurd):
    """A billion layers were built, one after the other, until memory ran out."""
    folder = save(tmp_path / "kept", parts, step=7)
    (folder / "manifest.json").unlink()
    plain = json.loads((folder / "config.json").read_text())
    plain["model"] |= absurd
    write_json(folder / "config.json", plain)
    with pytest.raises(ValueError, match=r"but a model as config\.json describes it"):
        checkpoint.load(folder)


def test_weights_full_of_holes_are_refused_before_they_are_read(tmp_path, parts):
    """A terabyte of holes takes no disk, and was read into memory whole."""
    folder = save(tmp_path / "kept", parts, step=7)
    (folder / "manifest.json").unlink()
    os.truncate(folder / "model.safetensors", 2**40)
    with pytest.raises(ValueError, match="is not a whole safetensors file"):
        checkpoint.load(folder)


@pytest.mark.parametrize("best", [[], {}, "7", None, 8])
def test_a_best_step_that_is_none_leaves_the_last(tmp_path, parts, best):
    """A list in the place of a number ended `generate` with a traceback."""
    folder = save(tmp_path / "kept", parts, step=7)
    plain = json.loads((folder / "trainer.json").read_text())
    write_json(folder / "trainer.json", {**plain, "best_step": best})
    assert checkpoint.find(tmp_path / "kept") == folder


@pytest.mark.parametrize("step", [-1, 2.5, "7", None, True])
def test_a_step_that_is_no_step_is_refused(tmp_path, parts, step):
    """It came out where the batch was drawn, without the name of a file."""
    folder = save(tmp_path / "kept", parts, step=7)
    plain = json.loads((folder / "trainer.json").read_text())
    write_json(folder / "trainer.json", {**plain, "step": step})
    write_manifest(folder)
    with pytest.raises(
        ValueError, match=r"trainer\.json: step \(.*must be a number of"
    ):
        checkpoint.load_trainer(folder, parts[1], parts[3])


def test_steps_of_nine_digits_are_found(tmp_path, parts):
    save(tmp_path, parts, step=99_999_999)
    last = save(tmp_path, parts, step=100_000_000)
    assert [step for step, _ in checkpoint.step_folders(tmp_path)][-1] == 100_000_000
    assert checkpoint.find(tmp_path, "last") == last


def test_a_run_that_saves_meanwhile_can_be_read(tmp_path, parts, monkeypatch):
    """What was just to be read was removed, and one in fifteen reads failed."""
    run = tmp_path / "run"
    save(run / "checkpoints", parts, step=1)
    steps = count(2)
    real = checkpoint.check_manifest

    def check_manifest(folder):
        if (step := next(steps)) < 5:
            save(run / "checkpoints", parts, step=step, best_step=step)
        real(folder)

    monkeypatch.setattr(checkpoint, "check_manifest", check_manifest)
    assert checkpoint.load(run, which="last").folder.name == "step-00000004"


def test_what_is_damaged_is_read_once(tmp_path, parts, monkeypatch):
    folder = save(tmp_path / "run" / "checkpoints", parts, step=1)
    (folder / "config.json").unlink()
    looks = []
    real = checkpoint.find
    monkeypatch.setattr(checkpoint, "find", lambda *x: looks.append(1) or real(*x))
    with pytest.raises(ValueError, match=r"config\.json is missing"):
        checkpoint.load(tmp_path / "run")
    assert len(looks) == 1
