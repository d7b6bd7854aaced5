import errno
import json
import os
import pickle  # noqa: TID251 -- to see what happens
import subprocess
import sys
import threading
import tracemalloc
from collections import Counter
from math import factorial
from pathlib import Path

import numpy as np
import pytest
import torch
from filelock import FileLock
from hypothesis import given, settings
from hypothesis import strategies as st
from imports import imported

from minillm import corpora, data, files
from minillm.data import Corpus, Shuffle, TokenFile, prepare, prepare_text, verify
from minillm.tokenizer import BPETokenizer, ByteTokenizer, CharTokenizer

quick = settings(derandomize=True, deadline=None, max_examples=100)

LINES = "".join(f"line {i} says {i * i % 97} and no more.\n" for i in range(400))


def numbered(folder: Path, count: int, dtype: str = "<u2") -> TokenFile:
    """A file in which each token is its own position."""
    path = folder / "numbered.bin"
    np.arange(count).astype(dtype).tofile(path)
    return TokenFile.open(path, dtype)


@pytest.fixture
def corpus(tmp_path) -> Corpus:
    return prepare_text(LINES, tmp_path / "corpus")


@pytest.fixture
def documents(tmp_path) -> Path:
    path = tmp_path / "documents.jsonl"
    texts = [f"document {i} " + "é\n" * (i % 5) + "word " * i for i in range(60)]
    path.write_text("\n".join(json.dumps({"text": text}) for text in texts))
    return path


def content(folder: Path) -> dict[str, bytes]:
    return {path.name: path.read_bytes() for path in folder.iterdir()}


def text_of(corpus: Corpus) -> str:
    both = (corpus.train.tokens, corpus.val.tokens)
    return "".join(corpus.tokenizer.decode(tokens) for tokens in both)


# Batches


def test_a_target_is_the_token_that_follows_its_input(tmp_path):
    """Targets that equal the inputs, or are two ahead, still train, to a bad model."""
    inputs, targets = numbered(tmp_path, 1000).batch(3, 5, 7, 11)
    assert inputs.shape == targets.shape == (7, 11)
    assert inputs.dtype == targets.dtype == torch.int64
    assert torch.equal(targets, inputs + 1)
    assert torch.equal(inputs, inputs[:, :1] + torch.arange(11))
    assert inputs.is_contiguous()
    assert targets.is_contiguous()


@quick
@given(
    count=st.integers(2, 400),
    context_length=st.integers(1, 40),
    seed=st.integers(-3, 3),
    epoch=st.integers(0, 3),
)
def test_an_epoch_visits_every_window_once(count, context_length, seed, epoch):
    """Windows drawn with replacement miss 36 % of a corpus in every epoch."""
    context_length = min(context_length, count - 1)
    num_windows = max(1, (count - context_length) // context_length)
    samples = np.arange(epoch * num_windows, (epoch + 1) * num_windows)
    starts = data.window_starts(count, context_length, seed, samples)
    steps = np.diff(np.sort(starts))
    assert (steps == context_length).all()
    assert starts.min() < context_length
    assert starts.max() + context_length + 1 <= count
    # What no window of this epoch reaches is less than two windows, at the two ends.
    assert num_windows * context_length > count - 2 * context_length


def test_the_phase_of_an_epoch_takes_every_value():
    """With one phase for ever, no window ever begins between two others."""
    phases = Counter(
        int(data.window_starts(200, 7, 0, np.arange(27) + 27 * epoch).min())
        for epoch in range(300)
    )
    assert set(phases) == set(range(7))
    assert min(phases.values()) > 20


@pytest.mark.parametrize("size", [*range(1, 70), 255, 256, 257, 4096, 4097, 9973])
def test_a_shuffle_has_every_number_in_one_place(size):
    """Two places with one number would leave another out for a whole epoch."""
    numbers = Shuffle(size, seed=1, epoch=2)(np.arange(size))
    assert np.array_equal(np.sort(numbers), np.arange(size))


def test_a_place_of_a_shuffle_is_found_without_the_others():
    """A list of all windows is as long as the corpus."""
    size = 10**15
    places = np.array([0, 1, size // 2, size - 1])
    numbers = Shuffle(size, 0, 0)(places)
    assert len(set(numbers.tolist())) == 4
    assert ((numbers >= 0) & (numbers < size)).all()
    assert Shuffle(size, 0, 0)(places[2:3]) == numbers[2]


def test_orders_of_few_numbers_are_equally_frequent():
    """Too few shifts, and some orders never come."""
    for size in (2, 3, 4, 5):
        expected = 15
        orders = Counter(
            tuple(Shuffle(size, 0, epoch)(np.arange(size)).tolist())
            for epoch in range(expected * factorial(size))
        )
        assert len(orders) == factorial(size)
        chi2 = sum((n - expected) ** 2 / expected for n in orders.values())
        freedom = factorial(size) - 1
        assert chi2 < freedom + 4 * (2 * freedom) ** 0.5


def test_a_shuffle_shows_no_pattern():
    """Neighbours that stay neighbours would make batches of one scene of one play."""
    size = 5000
    places = np.arange(size)
    one, two, three = (Shuffle(size, s, e)(places) for s, e in ((0, 0), (0, 1), (1, 0)))
    for left, right in ((one, two), (one, three), (one, places), (one[1:], one[:-1])):
        assert abs(np.corrcoef(left, right)[0, 1]) < 4 / size**0.5
        assert (left == right).sum() < 8
    assert (np.abs(np.diff(one)) == 1).sum() < 10
    distances = np.bincount(np.diff(one) % size * 50 // size, minlength=50)
    assert np.abs(distances - size / 50).max() < 5 * (size / 50) ** 0.5


def test_the_order_is_the_same_on_every_machine(tmp_path):
    """Published losses and resumed runs depend on these very numbers."""
    assert Shuffle(10, 1337, 0)(np.arange(10)).tolist() == [
        *(6, 8, 2, 7, 4, 0, 5, 1, 3, 9)
    ]
    inputs, _ = numbered(tmp_path, 1000).batch(1337, 2, 4, 8)
    assert inputs[:, 0].tolist() == [955, 515, 635, 899]


def test_a_batch_depends_on_its_arguments_alone(tmp_path):
    """Resuming at step n must not need the n batches before it."""
    tokens = numbered(tmp_path, 3000)
    in_order = [tokens.batch(7, step, 5, 9) for step in range(60)]
    again = TokenFile.open(tokens.path, "<u2")
    torch.manual_seed(123)
    np.random.seed(123)
    for step in (59, 3, 3, 30):
        for left, right in zip(in_order[step], again.batch(7, step, 5, 9), strict=True):
            assert torch.equal(left, right)
    assert not torch.equal(in_order[3][0], tokens.batch(8, 3, 5, 9)[0])
    assert not torch.equal(in_order[3][0], in_order[4][0])


def test_shares_of_a_batch_join_to_the_batch(tmp_path):
    """With more processes, the run must see the same samples in the same steps."""
    tokens = numbered(tmp_path, 3000)
    for step in (0, 31, 500):
        whole = tokens.batch(2, step, 12, 5)
        for num_shares in (1, 2, 3, 4):
            size = 12 // num_shares
            shares = [
                tokens.batch(2, step, 12, 5, rows=slice(r * size, (r + 1) * size))
                for r in range(num_shares)
            ]
            for part in (0, 1):
                joined = torch.cat([share[part] for share in shares])
                assert torch.equal(joined, whole[part])


def test_a_batch_may_span_epochs(tmp_path):
    """A text shorter than a batch, as in the first lesson."""
    tokens = numbered(tmp_path, 30)  # four windows of 6, and room for the phase
    inputs, _ = tokens.batch(0, 1, 11, 6)  # samples 11 to 21: epochs 2 to 5
    alone = [data.window_starts(30, 6, 0, np.array([i])).item() for i in range(11, 22)]
    assert inputs[:, 0].tolist() == alone
    assert len(set(inputs[1:5, 0].tolist())) == 4  # the whole of epoch 3
    assert len(set(inputs[5:9, 0].tolist())) == 4


@quick
@given(
    count=st.integers(2, 100),
    context_length=st.integers(1, 30),
    batch_size=st.integers(1, 6),
)
def test_the_full_pass_has_each_token_but_the_first_as_a_target_once(
    count, context_length, batch_size, tmp_path_factory
):
    """The tail left out, or a window repeated to fill the last batch."""
    tokens = numbered(tmp_path_factory.mktemp("tokens"), count)
    seen = []
    for inputs, targets in tokens.windows(context_length, batch_size):
        assert torch.equal(targets, inputs + 1)
        assert inputs.shape[0] <= batch_size
        assert inputs.shape[1] <= context_length
        seen += targets.flatten().tolist()
    assert seen == list(range(1, count))


def test_the_full_pass_fills_its_batches(tmp_path):
    """One window a batch gives the same loss, sixteen times slower."""
    shapes = [tuple(i.shape) for i, _ in numbered(tmp_path, 100).windows(8, 5)]
    assert shapes == [(5, 8), (5, 8), (2, 8), (1, 3)]


@pytest.mark.parametrize(
    ("arguments", "rule"),
    [
        ((0, 0, 0, 4), r"batch_size \(0\) must be at least 1"),
        ((0, 0, 4, 0), r"context_length \(0\) must be at least 1"),
        ((0, -1, 4, 4), r"step \(-1\) must not be negative"),
        ((0, 0, 4, 10), r"context_length \(10\) must be below the 10 tokens"),
    ],
)
def test_a_batch_that_cannot_be_is_refused(arguments, rule, tmp_path):
    """numpy would return an empty window and the loss would be nan."""
    with pytest.raises(ValueError, match=rule):
        numbered(tmp_path, 10).batch(*arguments)
    assert numbered(tmp_path, 10).batch(0, 0, 4, 9)[0].shape == (4, 9)


# Token files


def test_ids_above_65535_survive(tmp_path):
    """A cast to 16 bits turns 128000 into 62464 and says nothing."""
    path = tmp_path / "large.bin"
    np.array([128_000, 5, 65_536, 7], dtype="<u4").tofile(path)
    ((inputs, targets),) = TokenFile.open(path, "uint32").windows(3, 1)
    assert inputs.tolist() == [[128_000, 5, 65_536]]
    assert targets.tolist() == [[5, 65_536, 7]]
    with pytest.raises(ValueError, match=r"id \(128000\) must be at most 65535"):
        data.narrow(np.array([3, 128_000], dtype=np.uint32), np.dtype("<u2"))


def test_the_vocabulary_decides_how_wide_a_token_is(tmp_path):
    """65,536 ids still fit into 16 bits; one more does not."""
    pairs = [bytes([a, b]) for a in range(256) for b in range(256)]
    tokens = [bytes([value]) for value in range(256)]
    for size, dtype in ((65_536, "uint16"), (65_537, "uint32")):
        tokenizer = BPETokenizer([*tokens, *pairs[: size - 257]])
        path = tmp_path / dtype
        corpus = prepare_text("\xff\xfe and more" * 9, path, tokenizer)
        assert corpus.meta["dtype"] == dtype
        assert (path / "train.bin").stat().st_size == 2 * len(corpus.train) * (
            2 if dtype == "uint32" else 1
        )
        assert text_of(corpus) == "\xff\xfe and more" * 9


@pytest.mark.parametrize(
    ("magic", "version", "dtype"),
    [(20240520, 1, "<u2"), (20240801, 7, "<u4")],
)
def test_a_shard_with_a_header_is_read(magic, version, dtype, tmp_path):
    """The header read as 512 tokens, or passed over in tokens instead of bytes."""
    path = tmp_path / "shard.bin"
    header = np.zeros(256, dtype="<i4")
    header[:3] = magic, version, 9
    tokens = np.arange(9).astype(dtype)
    path.write_bytes(header.tobytes() + tokens.tobytes())
    opened = TokenFile.open(path)
    assert opened.tokens.tolist() == list(range(9))
    assert opened.tokens.dtype == np.dtype(dtype)
    assert len(TokenFile.open(path, dtype)) == 9
    wrong = "uint32" if dtype == "<u2" else "uint16"
    with pytest.raises(ValueError, match="must be that of the header"):
        TokenFile.open(path, wrong)
    path.write_bytes(header.tobytes() + tokens[:8].tobytes())
    with pytest.raises(ValueError, match=r"\(8 tokens\) must hold as many"):
        TokenFile.open(path)
    path.write_bytes(header.tobytes()[:500])
    with pytest.raises(ValueError, match=r"\(500 bytes\) must hold whole tokens"):
        TokenFile.open(path)


def test_a_bare_file_needs_its_dtype(tmp_path):
    """Read as the wrong type, tokens are plausible numbers in half the length."""
    path = numbered(tmp_path, 10).path
    with pytest.raises(ValueError, match="has no header, so its dtype must be given"):
        TokenFile.open(path)
    with pytest.raises(ValueError, match=r"dtype \(int64\) must be uint16 or uint32"):
        TokenFile.open(path, "int64")
    path.write_bytes(path.read_bytes()[:-1])
    with pytest.raises(ValueError, match=r"\(19 bytes\) must hold whole tokens of 2"):
        TokenFile.open(path, "uint16")
    with pytest.raises(ValueError, match="does not exist"):
        TokenFile.open(tmp_path / "none.bin", "uint16")


def test_a_file_is_opened_when_it_is_used_and_never_pickled(tmp_path):
    """Pickling a memmap copies the file: 10 GB to each worker of a data loader."""
    tokens = numbered(tmp_path, 50_000)
    assert "tokens" not in vars(tokens)
    first = tokens.batch(0, 0, 3, 5)
    assert isinstance(tokens.tokens, np.memmap)
    pickled = pickle.dumps(tokens)
    assert len(pickled) < 1000
    again = pickle.loads(pickled)  # noqa: S301
    assert "tokens" not in vars(again)
    assert torch.equal(again.batch(0, 0, 3, 5)[0], first[0])
    with pytest.raises(ValueError, match="read-only"):
        tokens.tokens[0] = 1


def test_a_batch_is_a_copy(tmp_path):
    """Torch tensors over a read-only map are undefined behaviour when written to."""
    tokens = numbered(tmp_path, 100)
    inputs, _ = tokens.batch(0, 0, 2, 4)
    inputs += 1
    assert tokens.tokens.tolist() == list(range(100))
    for inputs, targets in tokens.windows(5, 3):
        inputs += 7
        assert torch.equal(targets, inputs - 6)


@pytest.mark.skipif(sys.platform == "win32", reason="a mapped file cannot be cut there")
def test_a_file_that_shrinks_while_it_is_open_is_noticed(tmp_path):
    """Touching a page that is gone is no exception: the process is killed."""
    tokens = numbered(tmp_path, 50_000)
    tokens.batch(0, 0, 3, 5)
    os.truncate(tokens.path, 20)
    with pytest.raises(ValueError, match=r"\(20 bytes\) must stay as it was opened"):
        tokens.batch(0, 1, 3, 5)


@pytest.mark.skipif(
    sys.platform == "win32", reason="a mapped file stays in place there"
)
def test_what_is_being_read_outlives_its_replacement(tmp_path):
    """A run died at its next step when its corpus was prepared anew, in other words."""
    first = prepare_text(LINES, tmp_path / "c")
    before = first.train.batch(0, 0, 3, 5)[0]
    prepare_text(LINES.upper() + LINES, tmp_path / "d")
    (tmp_path / "c").rename(tmp_path / "old")
    (tmp_path / "d").rename(tmp_path / "c")
    assert torch.equal(first.train.batch(0, 0, 3, 5)[0], before)


def test_half_of_another_corpus_is_never_read(tmp_path):
    """Files are opened late: a run trained on the old corpus and measured on the new,
    and its first checkpoint got the new one's tokenizer.
    """
    swapped = LINES.swapcase()  # as many bytes, other signs
    first = prepare_text(LINES, tmp_path / "c")
    own = first.tokenizer.hash
    first = Corpus(tmp_path / "c")
    first.train.batch(0, 0, 3, 5)
    path = tmp_path / "swapped.txt"
    path.write_text(swapped)
    prepare(path, tmp_path / "c", overwrite=True)
    with pytest.raises(ValueError, match=r"val\.bin must stay as it was opened"):
        next(first.val.windows(5, 3))
    assert first.tokenizer.hash == own != Corpus(tmp_path / "c").tokenizer.hash


def test_reading_needs_little_memory(tmp_path):
    """A corpus larger than memory, read into memory by a stray copy."""
    path = tmp_path / "large.bin"
    with path.open("wb") as file:
        file.truncate(400_000_000)  # sparse: takes no room on the disk
    tokens = TokenFile.open(path, "uint16")
    tracemalloc.start()
    for step in range(20):
        tokens.batch(0, step, 8, 64)
    next(tokens.windows(64, 8))
    _, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert peak < 1_000_000


# A corpus


@pytest.mark.parametrize("tokenizer", ["chars", "bytes", "bpe:300"])
@pytest.mark.parametrize("val_fraction", [0.1, 0.37])
def test_train_and_val_are_disjoint_and_together_the_whole(
    tokenizer, val_fraction, tmp_path
):
    """Held-out text that is trained on makes every loss a lie."""
    path = tmp_path / "own.txt"
    text = LINES.replace("says", "säys")
    path.write_bytes(text.encode())
    corpus = prepare(
        path, tmp_path / "c", tokenizer=tokenizer, val_fraction=val_fraction
    )
    train, val = (corpus.tokenizer.decode(s.tokens) for s in (corpus.train, corpus.val))
    assert train + val == text
    assert corpus.train.num_bytes == len(train.encode())
    assert corpus.val.num_bytes == len(val.encode())
    assert abs(corpus.val.num_bytes / len(text.encode()) - val_fraction) < 0.001
    assert not train[-1].isspace()
    assert val[0] in " \n"
    assert corpus.vocab_size == corpus.tokenizer.vocab_size
    assert corpus.meta["largest_id"] == max(
        s.tokens.max() for s in (corpus.train, corpus.val)
    )
    assert corpus.meta["source"]["sha256"] == files.sha256_file(path)
    verify(corpus.directory)


def test_the_alphabet_is_that_of_the_whole_text(tmp_path):
    """A sign that only the held-out part has could not be scored."""
    corpus = prepare_text("abc " * 100 + "xyz", tmp_path / "c")
    assert "z" not in corpus.tokenizer.decode(corpus.train.tokens)
    assert corpus.tokenizer.decode(corpus.val.tokens).endswith("xyz")
    assert isinstance(corpus.tokenizer, CharTokenizer)
    assert corpus.tokenizer.characters == " abcxyz"


def test_byte_pairs_are_learnt_from_the_train_part_only(tmp_path):
    """Merges learnt from held-out text make it look easier than it is."""
    train, val = "the cat sat on the mat\n" * 90, "QZQZQZQZ " * 25
    corpus = prepare_text(train + val, tmp_path / "c", "bpe:268")
    assert isinstance(corpus.tokenizer, BPETokenizer)
    assert "QZQZ" in corpus.tokenizer.decode(corpus.val.tokens)
    assert not [token for token in corpus.tokenizer.tokens[256:] if b"QZ" in token]
    in_train = corpus.tokenizer.decode(corpus.train.tokens)
    assert corpus.tokenizer.hash == BPETokenizer.train([in_train], 268).hash


def read_documents(corpus: Corpus, split: TokenFile) -> list[list[int]]:
    ends = np.fromfile(split.path.with_suffix(".idx"), dtype="<u8").tolist()
    assert ends[-1] == len(split)
    starts = [0, *ends[:-1]]
    return [split.tokens[s:e].tolist() for s, e in zip(starts, ends, strict=True)]


@pytest.mark.parametrize("tokenizer", ["chars", "bytes", "bpe:270"])
def test_documents_are_split_whole_and_end_where_the_index_says(
    tokenizer, documents, tmp_path
):
    """A document cut in two by the split, without its end, or in no split at all."""
    corpus = prepare(documents, tmp_path / "c", tokenizer=tokenizer, val_fraction=0.3)
    texts = [json.loads(line)["text"] for line in documents.read_text().splitlines()]
    end = "\n" if tokenizer == "chars" else "<|endoftext|>"
    found: dict[str, list[str]] = {"train": [], "val": []}
    for name, split in (("train", corpus.train), ("val", corpus.val)):
        for ids in read_documents(corpus, split):
            if tokenizer != "chars":
                assert ids[-1] == corpus.meta["end_of_text"]
                assert corpus.meta["end_of_text"] not in ids[:-1]
            text = corpus.tokenizer.decode(ids)
            assert text.endswith(end)
            found[name].append(text[: -len(end)])
        assert found[name] == [text for text in texts if text in set(found[name])]
        said = corpus.meta["files"][f"{name}.idx"]["documents"]
        assert said == len(found[name])
        # A line end is text and is scored as such; the end-of-text token is no text.
        num_bytes = sum(len(text.encode()) for text in found[name])
        assert split.num_bytes == num_bytes + said * (tokenizer == "chars")
    assert sorted(found["train"] + found["val"]) == sorted(texts)
    assert not set(found["train"]) & set(found["val"])
    assert 8 <= len(found["val"]) <= 28
    verify(corpus.directory)


def test_a_document_stays_on_its_side(documents, tmp_path):
    """Hashes of places, not of texts, let a copy of a held-out document into train."""
    first = prepare(documents, tmp_path / "one", tokenizer="bytes", val_fraction=0.3)
    lines = documents.read_text().splitlines()
    documents.write_text("\n".join([*lines[::-1], *lines, '{"text": "a new one"}']))
    second = prepare(documents, tmp_path / "two", tokenizer="bytes", val_fraction=0.3)
    held_out = [set(map(tuple, read_documents(c, c.val))) for c in (first, second)]
    trained = set(map(tuple, read_documents(second, second.train)))
    assert held_out[0] <= held_out[1]
    assert not held_out[0] & trained


@pytest.mark.parametrize("tokenizer", ["chars", "bytes", "bpe:270"])
def test_a_single_document_is_split_like_a_text(tokenizer, tmp_path):
    """By its hash, all of it was held out, and `prepare FOLDER` gave bad advice."""
    folder = tmp_path / "in"
    folder.mkdir()
    (folder / "a.txt").write_text(LINES)
    (folder / "b.txt").write_text("")
    (tmp_path / "one.jsonl").write_text(json.dumps({"text": LINES}))
    sources = [folder / "a.txt", folder, tmp_path / "one.jsonl"]
    made = [
        prepare(source, tmp_path / f"out{i}", tokenizer=tokenizer)
        for i, source in enumerate(sources)
    ]
    assert {corpus.hash for corpus in made} == {made[0].hash}
    for corpus in made:
        assert {path.name for path in corpus.directory.iterdir()} == {
            *("meta.json", "tokenizer.json", "train.bin", "val.bin")
        }
        assert corpus.meta["split"] == data.TAIL
        assert text_of(corpus) == LINES


@pytest.mark.parametrize("tokenizer", ["chars", "bytes", "bpe:270"])
@pytest.mark.parametrize("count", [2, 5, 19])
def test_of_few_documents_each_has_its_tail_held_out(count, tokenizer, tmp_path):
    """Of two files, whole ones by hash held out two fifths where a tenth was asked."""
    folder = tmp_path / "in"
    folder.mkdir()
    texts = [f"{i} " + LINES[: 300 + 1700 * (i % 7)] + "é" * i for i in range(count)]
    for i, text in enumerate(texts):
        (folder / f"{i:02}.txt").write_text(text)
    corpus = prepare(folder, tmp_path / "out", tokenizer=tokenizer)
    assert corpus.meta["split"] == data.TAILS
    end = "\n" if tokenizer == "chars" else "<|endoftext|>"
    heads, tails = (
        [corpus.tokenizer.decode(ids) for ids in read_documents(corpus, split)]
        for split in (corpus.train, corpus.val)
    )
    for text, head, tail in zip(texts, heads, tails, strict=True):
        assert head.endswith(end)
        assert tail.endswith(end)
        assert head[: -len(end)] + tail[: -len(end)] == text
        share = len(tail[: -len(end)].encode()) / len(text.encode())
        assert share == pytest.approx(0.1, abs=0.04)
    whole = sum(len(text.encode()) for text in texts)
    assert corpus.val.num_bytes / whole == pytest.approx(0.1, abs=0.03)
    verify(corpus.directory)


@pytest.mark.parametrize(
    ("count", "val_fraction", "rule"),
    [
        (1, 0.1, data.TAIL),
        (2, 0.1, data.TAILS),
        (19, 0.1, data.TAILS),
        (20, 0.1, data.HASHES),
        (3, 0.5, data.TAILS),
        (4, 0.5, data.HASHES),
        (19, 0.9, data.TAILS),  # else chance may leave nothing to train on
    ],
)
def test_the_manifest_says_how_the_documents_were_split(
    count, val_fraction, rule, tmp_path
):
    """Two corpora of one source differ, and nothing says why."""
    path = tmp_path / "own.jsonl"
    lines = [json.dumps({"text": f"document {i} and so on"}) for i in range(count)]
    path.write_text("\n".join([*lines, json.dumps({"text": ""})]))
    corpus = prepare(path, tmp_path / "out", val_fraction=val_fraction)
    assert corpus.meta["split"] == rule


def test_a_corpus_that_was_split_by_another_rule_is_another(tmp_path):
    """A folder prepared before the rule changed passed for what is asked now."""
    path = tmp_path / "own.jsonl"
    path.write_text("\n".join(json.dumps({"text": f"text {i} " * 9}) for i in range(3)))
    corpus = prepare(path, tmp_path / "out")
    files.write_json(
        corpus.directory / "meta.json", {**corpus.meta, "split": data.HASHES}
    )
    with pytest.raises(ValueError, match="holds another corpus already"):
        prepare(path, tmp_path / "out")


@pytest.mark.parametrize("tokenizer", ["chars", "bpe:300"])
def test_the_number_of_workers_changes_no_byte(tokenizer, tmp_path, monkeypatch):
    """Results written as they come: the order then depends on the machine's load."""
    monkeypatch.setattr(corpora, "PIECE_LENGTH", 500)
    sources = tmp_path / "in"
    sources.mkdir()
    for i in range(7):
        (sources / f"{i}.txt").write_text(LINES[: 211 * i * i + 5])
    (tmp_path / "one.txt").write_text(LINES)
    many = [json.dumps({"text": LINES[i * i : i * 90]}) for i in range(60)]
    (tmp_path / "many.jsonl").write_text("\n".join(many))
    for source in (sources, tmp_path / "one.txt", tmp_path / "many.jsonl"):
        made = []
        for workers in (1, 2, 5):
            out = tmp_path / f"{source.stem}{workers}"
            prepare(source, out, tokenizer=tokenizer, workers=workers)
            made.append(content(out))
        assert made[0] == made[1] == made[2]


@pytest.mark.parametrize("num_files", [1, 2])
def test_preparing_needs_memory_for_some_pieces_only(num_files, tmp_path, monkeypatch):
    """A text read whole, or encoded whole by threads that outrun the disk."""
    monkeypatch.setattr(corpora, "PIECE_LENGTH", 10_000)
    paths = [tmp_path / f"{i}.txt" for i in range(num_files)]
    for path in paths:
        path.write_text(LINES * (400 // num_files))  # 5 MB, and 500 pieces
    tracemalloc.start()
    prepare(paths, tmp_path / "c", tokenizer="bytes", workers=2)
    _, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert peak < 2_000_000


def test_preparing_does_not_wait_for_pytorch(tmp_path):
    """Three seconds, and more memory than all the rest of it."""
    code = (
        "from minillm import data;"
        f"data.prepare_text('to be or not ' * 9, {str(tmp_path / 'c')!r})"
    )
    assert imported(code, "numpy", "torch") == {"numpy"}


def test_progress_is_reported_and_reaches_the_end(tmp_path):
    """A bar that stops at 93 %, or one for a single stage of three."""
    seen: list[data.Progress] = []
    path = tmp_path / "own.txt"
    path.write_text(LINES)
    prepare(path, tmp_path / "c", tokenizer="bpe:280", report=seen.append)
    last = {progress.stage: progress.done for progress in seen}
    assert list(last) == ["read", "learn", "encode"]
    assert last["read"] == last["encode"] == len(LINES)
    assert last["learn"] == pytest.approx(0.9 * len(LINES), rel=0.01)
    assert [p.done for p in seen if p.stage == "read"] == sorted(
        {p.done for p in seen if p.stage == "read"}
    )
    assert seen[-1] == data.Progress("encode", len(LINES), len(LINES))


# Tokens of other programs


def shard(path: Path, tokens: list[int]) -> None:
    header = np.zeros(256, dtype="<i4")
    header[:3] = 20240520, 1, len(tokens)
    path.write_bytes(header.tobytes() + np.array(tokens, "<u2").tobytes())


@pytest.mark.parametrize("dtype", ["uint16", "uint32"])
def test_bare_token_files_become_a_corpus(dtype, tmp_path, monkeypatch):
    """nanoGPT's files could be read in Python, but not trained on."""
    monkeypatch.setattr(corpora, "PIECE_LENGTH", 100)
    folder = tmp_path / "nano"
    folder.mkdir()
    known = ByteTokenizer()
    texts = {"train": LINES + "é", "val": LINES[:99]}
    for split, text in texts.items():
        ids = [*known.encode(text), known.end_of_text]
        np.array(ids).astype(dtype).tofile(folder / f"{split}.bin")
    with pytest.raises(
        ValueError, match=r"prepare .*nano --out .*corpus --tokenizer gpt2"
    ):
        Corpus(folder)
    seen: list[data.Progress] = []
    corpus = data.adopt(
        [folder], tmp_path / "c", tokenizer="bytes", dtype=dtype, report=seen.append
    )
    verify(corpus.directory)
    assert corpus.meta["dtype"] == "uint16"
    for split, text in zip((corpus.train, corpus.val), texts.values(), strict=True):
        assert known.decode(split.tokens) == text + "<|endoftext|>"
        assert split.num_bytes == len(text.encode())
    assert seen[-1].done == seen[-1].total


def test_shards_are_joined_in_their_order(tmp_path):
    """Headers read as tokens, or the validation shard trained on."""
    shard(tmp_path / "web_train_000002.bin", [7, 8])
    shard(tmp_path / "web_val_000000.bin", [1, 2, 3])
    shard(tmp_path / "web_train_000001.bin", [4, 5, 6])
    corpus = data.adopt([tmp_path], tmp_path / "c", tokenizer="bytes")
    assert corpus.train.tokens.tolist() == [4, 5, 6, 7, 8]
    assert corpus.val.tokens.tolist() == [1, 2, 3]


def test_token_files_that_do_not_fit_are_refused(tmp_path):
    """Two tokens read as one, or the ids of another vocabulary, train to nonsense."""
    shard(tmp_path / "a_val.bin", [1, 2, 3])
    shard(tmp_path / "carnival.bin", [4, 257, 6])
    val, train = tmp_path / "a_val.bin", tmp_path / "carnival.bin"
    np.arange(9, dtype="<u2").tofile(tmp_path / "bare.bin")
    for paths, options, rule in (
        ([val, train], {"tokenizer": "bytes"}, r"holds token 257, .* below vocab_size"),
        ([val, train], {"tokenizer": "chars"}, r"\('chars'\) must be gpt2 or bytes"),
        ([val], {"tokenizer": "bytes"}, "train would be empty"),
        ([train], {"tokenizer": "bytes"}, "val would be empty"),
        ([val, tmp_path / "bare.bin"], {"tokenizer": "bytes"}, "dtype must be given"),
        ([tmp_path / "no.bin"], {"tokenizer": "bytes"}, "does not exist"),
    ):
        with pytest.raises(ValueError, match=rule):
            data.adopt(paths, tmp_path / "c", **options)
        assert not (tmp_path / "c").exists()


# The folder


def test_the_same_request_again_returns_what_is_there(tmp_path):
    """The first cell of every notebook prepares the corpus, if it is missing."""
    path = tmp_path / "own.txt"
    path.write_text(LINES)
    made = prepare(path, tmp_path / "c", tokenizer="bytes")
    before = (tmp_path / "c" / "train.bin").stat().st_mtime_ns
    again = prepare(path, tmp_path / "c", tokenizer="bytes", workers=3)
    assert again.hash == made.hash
    assert (tmp_path / "c" / "train.bin").stat().st_mtime_ns == before


def test_what_is_put_there_meanwhile_stays(tmp_path):
    """Preparing takes hours; a file saved into the folder was removed at their end."""
    path, thesis = tmp_path / "own.txt", tmp_path / "c" / "thesis.md"
    path.write_text(LINES)

    def save(progress):
        if progress.stage == "encode":
            thesis.parent.mkdir(exist_ok=True)
            thesis.write_text("mine")

    with pytest.raises(ValueError, match=r"but it holds thesis\.md"):
        prepare(path, tmp_path / "c", report=save)
    assert [one.name for one in thesis.parent.iterdir()] == ["thesis.md"]
    thesis.unlink()
    prepare(path, tmp_path / "c")
    with pytest.raises(ValueError, match=r"but it holds thesis\.md"):
        prepare(path, tmp_path / "c", report=save, tokenizer="bytes", overwrite=True)
    thesis.unlink()
    assert data.Corpus(tmp_path / "c").tokenizer.kind == "chars"


def test_another_programs_files_of_our_names_are_not_overwritten(tmp_path):
    """`--overwrite` was advised, and took them for a corpus of an old version."""
    path, theirs = tmp_path / "own.txt", tmp_path / "c"
    path.write_text(LINES)
    theirs.mkdir()
    for name in ("meta.json", "train.bin", "val.bin"):
        (theirs / name).write_text('{"mine": 1}')
    for overwrite in (False, True):
        with pytest.raises(ValueError, match=r"its meta\.json is another program's"):
            prepare(path, theirs, overwrite=overwrite)
    with pytest.raises(ValueError, match=r"format \(None\) of .*meta\.json must be"):
        data.Corpus(theirs)
    assert {one.read_text() for one in theirs.iterdir()} == {'{"mine": 1}'}
    (theirs / "meta.json").write_text("{")  # ours, after a fault of the disk?
    prepare(path, theirs, overwrite=True)


def test_another_request_does_not_replace_what_is_there(tmp_path):
    """Another tokenizer, another split, a text that has changed since."""
    path = tmp_path / "own.txt"
    path.write_text(LINES)
    prepare(path, tmp_path / "c", tokenizer="bytes")
    before = content(tmp_path / "c")
    with pytest.raises(ValueError, match="holds another corpus"):
        prepare(path, tmp_path / "c", tokenizer="chars")
    with pytest.raises(ValueError, match="holds another corpus"):
        prepare(path, tmp_path / "c", tokenizer="bytes", val_fraction=0.2)
    path.write_text(LINES[1:])
    with pytest.raises(ValueError, match="holds another corpus"):
        prepare(path, tmp_path / "c", tokenizer="bytes")
    assert content(tmp_path / "c") == before
    made = prepare(path, tmp_path / "c", tokenizer="bytes", overwrite=True)
    assert text_of(made) == LINES[1:]


def test_a_prepared_shakespeare_is_found_without_a_network(tmp_path, monkeypatch):
    """A notebook on a train, with data/ in place and the cache elsewhere."""
    made = prepare("shakespeare", tmp_path / "c")
    monkeypatch.setenv("MINILLM_CACHE", str(tmp_path / "none"))
    monkeypatch.setattr(subprocess, "Popen", None)
    assert prepare("shakespeare", tmp_path / "c").hash == made.hash


def test_a_folder_of_the_users_is_never_replaced(tmp_path):
    """`minillm prepare --overwrite` pointed at one's home."""
    (tmp_path / "thesis.txt").write_text("three years of work")
    for overwrite in (False, True):
        with pytest.raises(ValueError, match=r"it holds thesis\.txt"):
            prepare("python-docs", tmp_path, overwrite=overwrite)
        with pytest.raises(ValueError, match="must be a folder"):
            prepare("python-docs", tmp_path / "thesis.txt", overwrite=overwrite)
    assert (tmp_path / "thesis.txt").read_text() == "three years of work"
    (tmp_path / "nanogpt").mkdir()
    (tmp_path / "nanogpt" / "train.bin").write_bytes(b"9 GB of tokens")
    for overwrite in (False, True):
        with pytest.raises(ValueError, match=r"it holds train\.bin"):
            prepare("python-docs", tmp_path / "nanogpt", overwrite=overwrite)


def test_an_empty_folder_is_filled(tmp_path, monkeypatch):
    """`mkdir out` first is no mistake; `cd out` would be left in a deleted folder."""
    (tmp_path / "out").mkdir()
    assert len(prepare_text(LINES, tmp_path / "out").val) > 1000
    (tmp_path / "here").mkdir()
    monkeypatch.chdir(tmp_path / "here")
    with pytest.raises(ValueError, match=r"directory \(\.\) must not be the one"):
        prepare_text(LINES, ".")


def test_what_goes_wrong_leaves_nothing_behind(tmp_path, monkeypatch):
    """Half a corpus that opens, and trains."""
    path = tmp_path / "own.txt"
    path.write_bytes(LINES.encode() * 9)

    class FullDiskError(OSError):
        pass

    def write(self, encoded):
        raise FullDiskError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(data._Writer, "write", write)
    with pytest.raises(OSError, match="No space left on device") as error:
        prepare(path, tmp_path / "c")
    assert str(tmp_path / "c") in str(error.value)
    assert {p.name for p in tmp_path.iterdir()} == {"own.txt"}


def test_a_source_that_changes_under_our_hands_is_refused(tmp_path, monkeypatch):
    """A log file that is being written: the manifest would describe another text."""
    path = tmp_path / "own.txt"
    path.write_text(LINES)

    def fit(*_arguments):
        with path.open("a") as file:
            file.write("one more\n")
        return ByteTokenizer()

    monkeypatch.setattr(data, "_fit", fit)
    with pytest.raises(ValueError, match="must not change while it is read"):
        prepare(path, tmp_path / "c")
    assert not (tmp_path / "c").exists()


def test_two_at_once_make_one_corpus(tmp_path):
    """Two notebooks started together, both preparing the corpus they share."""
    path = tmp_path / "own.txt"
    path.write_text(LINES)
    made: list[Corpus] = []

    def work():
        made.append(prepare(path, tmp_path / "c", tokenizer="bpe:290"))

    threads = [threading.Thread(target=work) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len({corpus.hash for corpus in made}) == 1
    assert len(made) == 4
    assert {p.name for p in tmp_path.iterdir()} == {"own.txt", "c"}


def test_waiting_for_another_process_ends_with_a_sentence(tmp_path, monkeypatch):
    """A process that was stopped, not killed, holds its lock for ever."""
    monkeypatch.setattr(data, "LOCK_SECONDS", 0.05)
    with (
        FileLock(tmp_path / ".c.lock"),
        pytest.raises(ValueError, match="prepared by another process"),
    ):
        prepare_text(LINES, tmp_path / "c")


def test_who_waits_is_told_for_whom(tmp_path, monkeypatch):
    """Ten minutes of silence looked like a program that hangs."""
    monkeypatch.setattr(files, "MOMENT", 0.05)
    monkeypatch.setattr(data, "LOCK_SECONDS", 0.1)
    path = tmp_path / "own.txt"
    path.write_text(LINES)
    told = []
    with (
        files.only_process(tmp_path / ".c.lock", 0),
        pytest.raises(ValueError, match=f"prepared by process {os.getpid()} on "),
    ):
        prepare(path, tmp_path / "c", report=told.append)
    assert [progress.stage for progress in told] == ["wait"]
    assert told[0].owner.startswith(f"process {os.getpid()} on ")
    assert {path.name for path in tmp_path.iterdir()} == {"own.txt"}


@pytest.mark.parametrize(
    ("text", "rule"),
    [
        ("", "must hold some text"),
        ("ab", "must be longer"),
        ("hello world", "val would have 1 tokens of the 2"),
        ("a", "must be longer"),
        ("a\ud83d", "surrogate"),
    ],
)
def test_too_little_text_is_refused(text, rule, tmp_path):
    """A corpus without a window to train on fails much later, with less to say."""
    with pytest.raises(ValueError, match=rule) as error:
        prepare_text(text, tmp_path / "c")
    assert "\n" not in str(error.value)
    assert not (tmp_path / "c").exists()


@pytest.mark.parametrize(
    ("wrong", "rule"),
    [
        ({"tokenizer": "words"}, r"tokenizer \('words'\) must be chars, bytes, bpe:N"),
        ({"tokenizer": "bpe"}, "must be chars, bytes, bpe:N"),
        ({"tokenizer": "bpe:-5"}, "must be chars, bytes, bpe:N"),
        ({"tokenizer": "bpe:256"}, r"vocab_size \(256\) must be at least 257"),
        ({"tokenizer": "bpe:99999"}, r"vocab_size \(99999\) must be at most"),
        ({"val_fraction": 0.0}, r"val_fraction \(0.0\) must be between 0 and 1"),
        ({"val_fraction": 1.0}, r"val_fraction \(1.0\) must be between 0 and 1"),
        ({"workers": 0}, r"workers \(0\) must be at least 1"),
    ],
)
def test_a_wrong_argument_is_refused(wrong, rule, tmp_path):
    """Each mistake in one line that names it."""
    path = tmp_path / "own.txt"
    path.write_text(LINES)
    with pytest.raises(ValueError, match=rule):
        prepare(path, tmp_path / "c", **wrong)
    assert not (tmp_path / "c").exists()


def test_a_text_with_a_sign_the_given_tokenizer_lacks_is_refused(tmp_path):
    """A second text for the same model: its alphabet is not refitted."""
    known = CharTokenizer.fit(LINES)
    corpus = prepare_text(LINES[::-1], tmp_path / "c", known)
    assert corpus.tokenizer.hash == known.hash
    with pytest.raises(ValueError, match="one of the 24 characters"):
        prepare_text(LINES + "é", tmp_path / "d", known)


# Opening


def test_a_folder_without_a_manifest_is_no_corpus(tmp_path):
    """meta.json is written last: without it, nothing else is to be trusted."""
    with pytest.raises(ValueError, match=r"not a prepared corpus .* minillm prepare"):
        Corpus(tmp_path)
    with pytest.raises(ValueError, match="not a prepared corpus"):
        Corpus(tmp_path / "none")


@pytest.mark.parametrize("change", ["cut", "odd", "longer", "swapped", "missing"])
def test_a_token_file_of_another_size_is_refused(change, corpus):
    """Cut by whole tokens, nothing but the manifest can tell."""
    train, val = (corpus.directory / f"{split}.bin" for split in data.SPLITS)
    held, other = train.read_bytes(), val.read_bytes()
    if change == "missing":
        train.unlink()
    else:
        train.write_bytes(
            {"cut": held[:-2], "odd": held[:-1], "longer": held + b"12"}.get(
                change, other
            )
        )
        if change == "swapped":
            val.write_bytes(held)
    with pytest.raises(ValueError, match=r"train\.bin") as error:
        Corpus(corpus.directory)
    assert "\n" not in str(error.value)


@pytest.mark.parametrize("name", ["train.bin", "val.bin"])
def test_one_changed_byte_is_found_by_verify(name, corpus):
    """Opening looks at sizes only; a bad disk keeps them."""
    verify(corpus.directory)
    path = corpus.directory / name
    changed = bytearray(path.read_bytes())
    changed[len(changed) // 2] ^= 1
    path.write_bytes(changed)
    Corpus(corpus.directory)
    with pytest.raises(ValueError, match=rf"SHA-256 of .*{name}"):
        verify(corpus.directory)


def test_verify_looks_at_the_index_too(documents, tmp_path):
    """Where documents end matters as much as what they say."""
    corpus = prepare(documents, tmp_path / "c")
    held = (corpus.directory / "train.idx").read_bytes()
    (corpus.directory / "train.idx").write_bytes(held[:-1] + b"1")
    with pytest.raises(ValueError, match=r"SHA-256 of .*train\.idx"):
        verify(corpus.directory)
    (corpus.directory / "train.idx").unlink()
    with pytest.raises(ValueError, match=r"train\.idx does not exist"):
        verify(corpus.directory)
    path = corpus.directory / "meta.json"
    corpus.meta["files"]["train.idx"] = {"documents": 3}
    path.write_text(json.dumps(corpus.meta))
    with pytest.raises(ValueError, match=r"sha256 of train\.idx of files \(None\)"):
        verify(corpus.directory)


@pytest.mark.parametrize("name", ["../secret", "..", "/etc/hostname", "other.txt"])
def test_a_manifest_leads_to_no_other_file(name, corpus):
    """A manifest from somebody else could have any file of this machine read."""
    (corpus.directory.parent / "secret").write_text("mine")
    path = corpus.directory / "meta.json"
    meta = json.loads(path.read_text())
    meta["files"][name] = {"sha256": "0" * 64}
    del meta[data.SEAL]
    path.write_text(json.dumps(meta))
    with pytest.raises(ValueError, match="which is no file of a corpus"):
        verify(corpus.directory)


def test_a_damaged_corpus_says_how_to_make_it_again(corpus):
    """The same `prepare` that made it must not stop at it for ever."""
    (corpus.directory / "val.bin").write_bytes(b"12")
    with pytest.raises(ValueError, match="to make it again, overwrite it"):
        prepare_text(LINES, corpus.directory)


def test_a_link_to_a_folder_stays_a_link(tmp_path):
    """data/ is often a link to a larger disk."""
    (tmp_path / "disk").mkdir()
    (tmp_path / "link").symlink_to(tmp_path / "disk")
    prepare_text(LINES, tmp_path / "link")
    assert (tmp_path / "link").is_symlink()
    assert len(Corpus(tmp_path / "disk").val) > 1000


def test_a_tokenizer_that_did_not_make_the_corpus_is_refused(corpus):
    """The text comes out as nonsense, and the model is blamed."""
    CharTokenizer.fit(LINES.swapcase()).save(corpus.directory / "tokenizer.json")
    with pytest.raises(ValueError, match="must be the tokenizer that made the corpus"):
        Corpus(corpus.directory)


@pytest.mark.parametrize(
    ("key", "value"),
    [
        ("format", "something else"),
        ("version", 99),
        ("vocab_size", None),
        ("vocab_size", "many"),
        ("dtype", "float32"),
        ("dtype", "rubbish"),
        ("dtype", None),
        ("tokenizer", None),
        ("tokenizer", "chars"),
        ("files", []),
        ("files", {}),
        ("files", {"train.bin": {}, "val.bin": {}}),
        ("source", None),
        ("request", None),
    ],
)
def test_a_damaged_manifest_is_refused_by_name(key, value, corpus):
    """KeyError: 'files' tells a beginner nothing."""
    path = corpus.directory / "meta.json"
    meta = json.loads(path.read_text())
    for damaged in ({**meta, key: value}, {k: v for k, v in meta.items() if k != key}):
        path.write_text(json.dumps(damaged))
        with pytest.raises(ValueError, match=r"meta\.json|dtype") as error:
            Corpus(corpus.directory)
        assert "\n" not in str(error.value)


def test_an_id_outside_the_vocabulary_is_named_with_its_place(corpus):
    """On a GPU it fails an assertion in a kernel, three hundred lines later."""
    tokens = np.fromfile(corpus.directory / "train.bin", dtype="<u2")
    tokens[777] = corpus.vocab_size
    tokens.tofile(corpus.directory / "train.bin")
    damaged = Corpus(corpus.directory).train
    rule = (
        rf"token 777 of .*train\.bin \({corpus.vocab_size}\) must be below vocab_size"
    )
    with pytest.raises(ValueError, match=rule):
        list(damaged.windows(64, 8))
    with pytest.raises(ValueError, match=rule):
        damaged.batch(0, 0, 300, 64)
    tokens.byteswap().tofile(corpus.directory / "train.bin")
    with pytest.raises(ValueError, match="must be below vocab_size"):
        Corpus(corpus.directory).train.batch(0, 0, 8, 64)


def test_the_hash_is_that_of_tokens_and_tokenizer(tmp_path):
    """A corpus is the same wherever it lies and whatever its file was called."""
    for name in ("one.txt", "two.txt"):
        (tmp_path / name).write_text(LINES)
    one = prepare(tmp_path / "one.txt", tmp_path / "a")
    two = prepare(tmp_path / "two.txt", tmp_path / "b")
    other = prepare(tmp_path / "two.txt", tmp_path / "c", val_fraction=0.2)
    assert one.hash == two.hash == Corpus(tmp_path / "a").hash
    assert other.hash != one.hash


def test_the_book_corpus_is_what_the_book_measured(tmp_path):
    """Every loss in the book is on these tokens."""
    corpus = prepare("shakespeare", tmp_path / "c")
    assert (corpus.vocab_size, len(corpus.train), len(corpus.val)) == (
        *(64, 1_070_030, 118_886),
    )
    assert corpus.tokenizer.decode(corpus.train.tokens[:14]) == "First Citizen:"


@pytest.mark.parametrize(
    "change",
    [
        lambda meta: meta["files"]["val.bin"].update(bytes=3),
        lambda meta: meta["source"].update(name="another"),
        lambda meta: meta.update(largest_id=0),
        lambda meta: meta.pop("split"),
    ],
)
def test_a_manifest_that_has_changed_is_noticed(change, corpus):
    """A digit of `bytes` changed bits per byte, and nothing said so."""
    path = corpus.directory / "meta.json"
    meta = json.loads(path.read_text())
    path.write_text(json.dumps(meta))  # without its white space it is the same
    Corpus(corpus.directory)
    change(meta)
    path.write_text(json.dumps(meta))
    with pytest.raises(ValueError, match=r"meta\.json is damaged"):
        Corpus(corpus.directory)
    del meta[data.SEAL]  # as an early version wrote it
    path.write_text(json.dumps(meta))
    Corpus(corpus.directory)


def test_a_corpus_whose_files_are_no_files_is_refused(corpus):
    """A pipe in the place of train.bin was waited for, for ever."""
    if not hasattr(os, "mkfifo"):
        pytest.skip("Windows has no such pipes")
    path = corpus.directory / "train.bin"
    path.unlink()
    os.mkfifo(path)
    for read in (Corpus, verify, lambda _: TokenFile.open(path)):
        with pytest.raises(ValueError, match=r"train\.bin is a pipe"):
            read(corpus.directory)


def test_an_index_of_another_length_is_not_read_to_its_end(corpus):
    """A terabyte of holes was hashed, for an hour."""
    path = corpus.directory / "meta.json"
    meta = json.loads(path.read_text())
    meta["files"]["train.idx"] = {"documents": 3, "sha256": "0" * 64}
    del meta[data.SEAL]
    path.write_text(json.dumps(meta))
    (corpus.directory / "train.idx").touch()
    os.truncate(corpus.directory / "train.idx", 2**40)
    with pytest.raises(ValueError, match="8 bytes for each document"):
        verify(corpus.directory)


def test_what_a_killed_preparation_left_is_mended_by_the_next(tmp_path):
    """Killed between two renames it left no corpus; killed before, half of one."""
    corpus = data.prepare_text("a text to keep, " * 99, tmp_path / "own")
    corpus.directory.rename(tmp_path / ".own.0123456789ab.old")
    half = tmp_path / ".own.ba9876543210.tmp"
    half.mkdir()
    (half / "train.bin").touch()
    with pytest.raises(ValueError, match="holds another corpus already"):
        data.prepare_text("another text, " * 99, tmp_path / "own")
    again = data.prepare_text("a text to keep, " * 99, tmp_path / "own")
    assert again.hash == corpus.hash
    assert [path.name for path in tmp_path.iterdir()] == ["own"]


def test_a_link_to_itself_is_no_folder_to_write(tmp_path):
    """Python 3.11 and 3.12 find such a loop with an error of their own."""
    (tmp_path / "x").symlink_to("x")
    with pytest.raises(OSError, match="x"):
        prepare_text("some words, and some more of them", tmp_path / "x")
    assert [path.name for path in tmp_path.iterdir()] == ["x"]
