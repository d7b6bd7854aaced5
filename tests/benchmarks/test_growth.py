"""Memory is that of the program alone, of the right kind, and ratios stand upright."""

import sys

import numpy as np
import pytest

from benchmarks import growth
from benchmarks.growth import Held
from minillm import costs

KEEP = "import mmap, time; {}; time.sleep(0.1)"


def test_memory_that_a_program_holds_is_seen(tmp_path):
    """A peak missed, inherited from us, or pages of a file counted as its own."""
    ours = np.ones(20_000_000)
    own = growth.watch([sys.executable, "-c", KEEP.format("x = b'x' * 2**26")], 1)
    assert 64 < own.anonymous_mebibytes < 90
    assert own.resident_mebibytes < 100 < ours.nbytes / 2**20
    path = tmp_path / "file"
    path.write_bytes(b"x" * 2**26)
    mapped = f"f = open({str(path)!r}, 'rb'); x = mmap.mmap(f.fileno(), 0, prot=1)"
    mapped += "; x.find(b'y')"
    file = growth.watch([sys.executable, "-c", KEEP.format(mapped)], 1)
    assert file.anonymous_mebibytes < 20
    assert file.resident_mebibytes > 64


def test_a_program_that_fails_is_not_measured():
    """A process that dies at once needs very little memory."""
    with pytest.raises(SystemExit, match="code 1\nbad luck"):
        growth.watch([sys.executable, "-c", "import sys; sys.exit('bad luck')"], 1)


def test_a_text_has_the_size_that_is_asked_for(tmp_path, monkeypatch):
    """A text of whole blocks is larger, and a short one no text at all."""
    source = growth.corpora.text_source("To be, or not to be. é\n" * 10)
    monkeypatch.setattr(growth.corpora, "open_source", lambda _name: source)
    for size in (7, 1000):
        growth.write_text(tmp_path / "text", size)
        assert (tmp_path / "text").stat().st_size == size


def test_growth_is_the_largest_over_the_smallest():
    """The other way round, every leak would hold."""
    held = {10: [Held(50, 0, 0, 0)], 100: [Held(9, 0, 0, 0)], 20: [Held(75, 0, 0, 0)]}
    assert growth.growth(held).median == 9 / 50


def test_every_shape_reads_equally_many_tokens():
    """Times of steps of unequal length lie on no line."""
    shapes = growth.shapes()
    for config in shapes:
        read = config.train.batch_size * config.model.context_length
        assert read == growth.TOKENS
        assert config.model.d_head == 32
    seen = {(c.model.d_model, c.model.n_layers, c.model.context_length) for c in shapes}
    assert len(seen) == len(shapes) == 16
    assert growth.flops(shapes[0]) == 1024 * costs.train_flops_per_token(
        shapes[0].model
    )


def test_a_share_is_taken_within_its_round():
    """A round in which the machine was slow is slow for both."""
    row = growth.timing([1.0, 2.0, 4.0], 2e9, peak=[4.0, 2.0, 1.0])
    assert row["gflop_per_second"] == 1.0
    assert row["share_of_peak"] == row["share_spread"][0] == 0.5


def test_an_exponent_is_found_again():
    """The slope of the other axis, or of numbers without their logarithm."""
    x = [1.0, 3.0, 10.0, 40.0]
    assert growth.exponent(x, [7 * one**0.8 for one in x]) == pytest.approx(0.8)
    sizes = [
        {"what": "step", "varies": "size", "gflop": one, "cpu_seconds": one**0.5}
        for one in x
    ]
    others = {"what": "step", "varies": "context", "gflop": 9.0, "cpu_seconds": 1.0}
    gemm = {"what": "gemm", "gflop": 1.0, "cpu_seconds": 9.0}
    assert growth.fitted([*sizes, others, gemm]) == 0.5
