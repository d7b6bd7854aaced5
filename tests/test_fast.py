"""Whatever is faster gives what the model gives."""

import dataclasses
import json
import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
import torch
from models import B, T, V, random_model, random_tokens, small_config
from torch import Tensor, nn

from minillm import checkpoint, fast
from minillm.cache import KVCache
from minillm.complete import complete
from minillm.config import ModelConfig, RunConfig
from minillm.generate import generate, left_pad
from minillm.model import LanguageModel, Transformer, build
from minillm.tokenizer import CharTokenizer

EXACT = {"atol": 1e-9, "rtol": 1e-9}
ALPHABET = CharTokenizer("".join(chr(ord("A") + number) for number in range(V)))
CONFIG = small_config("llama", n_layers=1, context_length=11)


def cache(model: LanguageModel, n_rows: int = B, length: int = T) -> KVCache:
    return KVCache.empty(model.config, n_rows, length, next(model.parameters()))


@torch.inference_mode()
def read(model: LanguageModel, tokens: Tensor, chunks: list[int]) -> Tensor:
    """The scores, with ``chunks`` tokens read at a time."""
    room = cache(model, len(tokens), tokens.shape[1])
    return torch.cat([model(piece, room) for piece in tokens.split(chunks, 1)], dim=1)


def steps_taken(decoder: nn.Module, monkeypatch: pytest.MonkeyPatch) -> list[int]:
    """The length of the cache at each step that ``decoder`` takes in its own way."""
    taken: list[int] = []
    own = type(decoder).step

    def noting(self: fast.Decoder, tokens: Tensor, room: KVCache) -> Tensor:
        taken.append(room.length)
        return own(self, tokens, room)

    monkeypatch.setattr(type(decoder), "step", noting)
    return taken


# ------------------------------------------------------------------ fused


@pytest.mark.parametrize("changes", [{}, {"tied": False}, {"bias": True}], ids=str)
def test_fused_steps_give_the_models_scores(
    rung: str, changes: dict, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A head in the wrong place, a lost bias, an angle that is one position off."""
    model = random_model(small_config(rung, **changes)).double()
    tokens = random_tokens(model.config)
    expected = read(model, tokens, [T])
    fused = fast.fuse(model)
    taken = steps_taken(fused, monkeypatch)
    chunks = [5, 1, 1, 3, *[1] * (T - 10)]
    torch.testing.assert_close(read(fused, tokens, chunks), expected, **EXACT)
    assert taken == [5, 6, *range(10, T)]


def test_half_precision_is_rounded_where_the_model_rounds() -> None:
    """PyTorch's own RMSNorm multiplies by the gain before it casts back."""
    model = random_model(small_config("llama")).to(torch.bfloat16)
    tokens = random_tokens(model.config)
    expected = read(model, tokens, [1] * T)
    scores = read(fast.fuse(model), tokens, [1] * T)
    torch.testing.assert_close(scores, expected, atol=0.5, rtol=0.05)
    assert fast.fuse(model).last_norm[0] is model.norm


def test_fusing_keeps_names_values_and_memory() -> None:
    """Trained further, loaded anew or saved, the model is the one it was."""
    model = random_model(small_config("gpt2"))
    before = {name: value.clone() for name, value in model.state_dict().items()}
    fused = fast.fuse(model)
    after = fused.state_dict()
    assert list(after) == list(before)
    for name, value in before.items():
        assert torch.equal(after[name], value)
    other = random_model(small_config("gpt2"), seed=1)
    model.load_state_dict(other.state_dict())
    tokens = random_tokens(model.config)
    expected = read(other, tokens, [1] * T)
    torch.testing.assert_close(read(fused, tokens, [1] * T), expected)


def test_what_a_step_cannot_do_is_left_to_the_model(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Padded rows, dropout, a full context."""
    model = random_model(small_config("llama", dropout=0.5, context_length=9)).eval()
    fused = fast.fuse(model)
    taken = steps_taken(fused, monkeypatch)
    prompt, padding = left_pad([[1, 2, 3], [4]])
    expected = generate(model, prompt, 4, padding=padding)
    room = cache(fused, 2, 9)
    assert torch.equal(
        generate(fused, prompt, 4, padding=padding, past_key_values=room), expected
    )
    fused.train()
    room = cache(fused, 1, 9)
    fused(torch.tensor([[1]]), room)
    scores = [fused(torch.tensor([[2]]), dataclasses.replace(room)) for _ in range(2)]
    assert not torch.equal(*scores)  # dropped anew
    fused.eval()
    room = cache(fused, 1, 20)
    fused(torch.zeros(1, 9, dtype=torch.int64), room)
    with pytest.raises(ValueError, match=r"10 tokens exceed context_length \(9\)"):
        fused(torch.tensor([[1]]), room)
    assert taken == []


def test_generating_leaves_a_fused_model_in_the_mode_it_was_in() -> None:
    fused = fast.fuse(random_model(small_config("llama")).train())
    generate(fused, torch.tensor([[1]]), 2)
    assert fused.training
    assert all(part.training for part in fused.modules())


def test_a_bigram_is_as_fast_as_it_gets() -> None:
    bigram = build(ModelConfig(kind="bigram", vocab_size=V))
    assert fast.fuse(bigram) is bigram


# ------------------------------------------------------------------ eight bits


def test_rounding_errs_by_half_a_step_at_most() -> None:
    """Per row: one loud row must not cost the others their digits."""
    weight = torch.randn(7, 30) * torch.logspace(-3, 3, 7)[:, None]
    layer = fast.Int8Linear.rounded(weight)
    kept = (layer.weight.float() * layer.scale.float()[:, None])[:, :30]
    step = weight.abs().amax(dim=1, keepdim=True) / 127
    # bfloat16 keeps eight bits of the scale: the largest number may be cut by 1/256
    assert ((kept - weight).abs() <= step * (0.5 + 127 / 256)).all()
    assert ((kept - weight).abs() <= 0.51 * step).float().mean() > 0.9


@pytest.mark.parametrize("bias", [True, False])
def test_a_rounded_layer_multiplies_by_what_it_keeps(bias: bool) -> None:
    layer = nn.Linear(40, 9, bias=bias)
    rounded = fast.Int8Linear.rounded(layer.weight, layer.bias)
    x = torch.randn(2, 3, 40)
    kept = (rounded.weight.float() * rounded.scale.float()[:, None])[:, :40]
    expected = x @ kept.T + (layer.bias if bias else 0)
    scores = rounded(x)
    assert scores.dtype == x.dtype
    torch.testing.assert_close(scores, expected, atol=0.05, rtol=0.02)


def test_a_row_of_zeros_stays_zeros() -> None:
    rounded = fast.Int8Linear.rounded(torch.zeros(3, 8))
    assert torch.equal(rounded(torch.ones(2, 8)), torch.zeros(2, 3))


def test_quantizing_changes_scores_a_little_and_shrinks_the_model(rung: str) -> None:
    model = random_model(small_config(rung, bias=True, dropout=0.3))
    tokens = random_tokens(model.config)
    expected = read(model.eval(), tokens, [T])
    linear = sum(isinstance(part, nn.Linear) for part in model.modules())
    quantized = fast.quantize(model)
    rounded = [p for p in quantized.modules() if isinstance(p, fast.Int8Linear)]
    assert len(rounded) == linear + 1  # the tied head has a matrix of its own now
    scores = read(quantized, tokens, [T])
    error = (scores - expected).std() / expected.std()
    assert 0 < error < 0.2


def test_fused_and_quantized_is_quantized(rung: str) -> None:
    model = fast.quantize(random_model(small_config(rung, bias=True)))
    tokens = random_tokens(model.config)
    expected = read(model, tokens, [1] * T)
    fused = fast.fuse(model)
    scores = read(fused, tokens, [1] * T)
    torch.testing.assert_close(scores, expected, atol=0.05, rtol=0.02)
    torch.testing.assert_close(read(model, tokens, [1] * T), expected)
    attention, layer = model.blocks[0].attention, fused.layers[0]
    own = attention.key.weight.untyped_storage().data_ptr()
    assert own == layer.query_key_value.weight.untyped_storage().data_ptr()


def test_what_cannot_be_rounded_is_refused() -> None:
    with pytest.raises(ValueError, match="a bigram is a table"):
        fast.quantize(build(ModelConfig(kind="bigram", vocab_size=V)))
    with pytest.raises(ValueError, match=r"device \(meta\) must be cpu for int8"):
        fast.quantize(random_model(CONFIG).to("meta"))


# ------------------------------------------------------------------ packaged


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A package for two rows, made once: compiling takes its time."""
    if not (shutil.which("g++") or shutil.which("c++") or os.environ.get("CXX")):
        assert "CI" not in os.environ, "packaging needs a C++ compiler, and CI has none"
        pytest.skip("no C++ compiler here")
    folder = tmp_path_factory.mktemp("packaged") / "out"
    # In a process without this one's checks of shapes, which a tracer trips over.
    made = subprocess.run(
        [sys.executable, __file__, str(folder)], capture_output=True, text=True
    )
    # A PyTorch made for CUDA, on a machine without it, says so; nothing else is said.
    said = [line for line in made.stderr.splitlines() if "No CUDA runtime" not in line]
    assert (made.returncode, made.stdout, said) == (0, "", [])
    return folder


def make_package(folder: Path) -> None:
    model = random_model(CONFIG).train()
    run = RunConfig(model=CONFIG)
    fast.package(model, run, ALPHABET, folder, batch_size=2, tune=False)
    assert model.training


@pytest.mark.slow
def test_packaged_steps_give_the_models_scores(
    folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """From tokens that are a slice, as generating hands them over, to the last one."""
    loaded = fast.load_package(folder)
    packaged = loaded.model
    assert isinstance(packaged, fast.Packaged)
    model = checkpoint.load(folder).model
    assert type(model) is Transformer
    tokens = random_tokens(CONFIG, 2, 11)
    taken = steps_taken(packaged, monkeypatch)
    room = packaged.empty_cache()
    with torch.inference_mode():
        pieces = [packaged(tokens[:, at : at + 1], room) for at in range(11)]
    expected = read(model, tokens, [11])
    torch.testing.assert_close(torch.cat(pieces, 1), expected, atol=1e-4, rtol=1e-4)
    assert taken == list(range(1, 11))


@pytest.mark.slow
def test_other_batches_and_caches_are_left_to_the_model(folder: Path) -> None:
    """Machine code does not ask: another shape would be read as if it were its own."""
    packaged = fast.load_package(folder).model
    model = checkpoint.load(folder).model
    for n_rows, length in ((1, 12), (2, 9), (3, 12)):
        prompt = random_tokens(CONFIG, n_rows, 4)
        room = cache(packaged, n_rows, length)
        text = generate(packaged, prompt, 5, past_key_values=room)
        assert torch.equal(text, generate(model, prompt, 5))


@pytest.mark.slow
def test_a_package_slides_like_the_model(folder: Path) -> None:
    packaged = fast.load_package(folder).model
    assert isinstance(packaged, fast.Packaged)
    model = checkpoint.load(folder).model
    prompt = random_tokens(CONFIG, 2, 4)
    room = packaged.empty_cache()
    text = generate(packaged, prompt, 30, past_key_values=room, overflow="slide")
    assert torch.equal(text, generate(model, prompt, 30, overflow="slide"))


@pytest.mark.slow
def test_a_package_that_no_manifest_vouches_for_is_not_run(
    folder: Path, tmp_path: Path
) -> None:
    """A program that was laid beside a checkpoint."""
    copy = shutil.copytree(folder, tmp_path / "copy")
    manifest = json.loads((copy / "manifest.json").read_text())
    del manifest["files"][fast.PACKAGE]
    (copy / "manifest.json").write_text(json.dumps(manifest))
    with pytest.raises(ValueError, match=r"decoder\.pt2 must be in .*manifest\.json"):
        fast.load_package(copy)


@pytest.mark.slow
def test_a_package_for_another_machine_is_refused(folder: Path, tmp_path: Path) -> None:
    """Machine code for another processor does not fail: it kills the process."""
    moved = shutil.copytree(folder, tmp_path / "moved")
    passport = json.loads((moved / fast.PASSPORT).read_text())
    passport["processor"] = "QUANTUM"
    (moved / fast.PASSPORT).write_text(json.dumps(passport))
    with pytest.raises(ValueError, match=r"decoder\.json"):  # not as it was written
        fast.load_package(moved)
    from minillm.run import write_manifest

    write_manifest(moved)
    with pytest.raises(ValueError, match="made for processor QUANTUM, not for"):
        fast.load_package(moved)
    (moved / fast.PASSPORT).write_text("{}")
    write_manifest(moved)
    with pytest.raises(ValueError, match=r"batch_size \(None\) must be at least 1"):
        fast.load_package(moved)


@pytest.mark.slow
def test_a_damaged_package_is_refused(folder: Path, tmp_path: Path) -> None:
    damaged = shutil.copytree(folder, tmp_path / "damaged")
    with (damaged / fast.PACKAGE).open("r+b") as file:
        file.seek(1000)
        file.write(b"\0\1\2")
    with pytest.raises(ValueError, match=r"decoder\.pt2"):
        fast.load_package(damaged)


def test_a_folder_without_a_package_says_how_to_make_one(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="minillm export --format aoti"):
        fast.load_package(tmp_path)


def test_a_compiler_that_errs_leaves_nothing_behind(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What it made is tried before it is kept."""
    model = random_model(CONFIG)
    wrong = random_model(CONFIG, seed=1).eval()
    room = fast._whole_cache(wrong, 1)

    def run(tokens: Tensor, *places: Tensor) -> Tensor:
        return wrong(tokens, room)

    monkeypatch.setattr(fast, "_compile", lambda *arguments: None)
    monkeypatch.setattr(fast, "_run", lambda path: run)
    with pytest.raises(ValueError, match="other scores than the model at position 1"):
        fast.package(model, RunConfig(model=CONFIG), ALPHABET, tmp_path / "out")
    assert list(tmp_path.iterdir()) == []


def test_what_cannot_be_packaged_is_refused(tmp_path: Path) -> None:
    config = ModelConfig(kind="bigram", vocab_size=V)
    run = RunConfig(model=config)
    with pytest.raises(ValueError, match="a bigram is a table"):
        fast.package(build(config), run, ALPHABET, tmp_path / "out")
    model = random_model(CONFIG)
    with pytest.raises(ValueError, match=r"batch_size \(0\) must be at least 1"):
        fast.package(model, run, ALPHABET, tmp_path / "out", batch_size=0)
    with pytest.raises(ValueError, match=r"device \(meta\) must be cpu"):
        fast.package(model.to("meta"), run, ALPHABET, tmp_path / "out")


# ------------------------------------------------------------------ text


def test_text_is_the_same_however_it_is_made() -> None:
    model = random_model(small_config("llama", n_layers=2, context_length=19)).eval()
    plain = "".join(complete(model, ALPHABET, "ABC", 40))
    assert "".join(complete(fast.fuse(model), ALPHABET, "ABC", 40)) == plain


if __name__ == "__main__":
    make_package(Path(sys.argv[1]))
