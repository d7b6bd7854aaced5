"""Does any input, however odd, end in something else than a result or a plain line?

Each target is fed with bytes: with valid ones that were changed a little, with what
hypothesis draws, and with what atheris, which watches which lines are reached, makes
of them. What once did harm is kept in ``tests/torture/findings`` and fed again for
ever.
"""

import contextlib
import importlib.util
import io
import json
import math
import subprocess
import sys
import tempfile
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from functools import cache
from itertools import pairwise
from pathlib import Path
from random import Random
from typing import Any, TypeVar

from hypothesis import HealthCheck, Phase, given, seed, settings
from hypothesis import strategies as st
from hypothesis.strategies import SearchStrategy

from minillm import cli, config, corpora, data, files, run
from minillm import tokenizer as tokenizers
from minillm.config import RunConfig, from_dict, to_dict
from minillm.tokenizer import (
    END_OF_TEXT,
    SINGLE_BYTES,
    BPETokenizer,
    ByteTokenizer,
    CharTokenizer,
    IncrementalDecoder,
    Tokenizer,
)
from torture.attack import Attack, NotPossibleError, Trial
from torture.trials import objection, tried
from torture.victims import TEXT, Outcome

FINDINGS = Path(__file__).parents[1] / "tests" / "torture" / "findings"
"""Folders by the name of the target; a file is an input that once did harm."""

Drawn = TypeVar("Drawn")


class BrokenError(Exception):
    """An input was taken, and a promise about the result does not hold."""


def _promise(holds: bool, what: str) -> None:
    if not holds:
        raise BrokenError(what)


# What is fed ------------------------------------------------------------------------


@cache
def _pairs() -> BPETokenizer:
    return BPETokenizer.train([TEXT], 300)


def _text(content: bytes) -> str:
    """Any text, also with halves of surrogate pairs, that bytes can stand for."""
    try:
        return content.decode("utf-8", "surrogatepass")
    except UnicodeDecodeError:
        return content.decode("latin-1")


def feed_text(content: bytes, folder: Path) -> None:
    """Text to every tokenizer, and back, at once and in pieces."""
    text = _text(content)
    whole = text.isprintable() or not any("\ud800" <= c <= "\udfff" for c in text)
    for tokenizer in (ByteTokenizer(), _pairs(), _characters(text)):
        if not whole:
            try:
                tokenizer.encode(text)
            except ValueError as error:
                _promise("surrogate" in str(error), f"another reason: {error}")
                continue
            raise BrokenError("half of a surrogate pair was encoded")
        ids = tokenizer.encode(text)
        _promise(tokenizer.decode(ids) == text, "another text came back")
        _promise(tokenizer.end_of_text not in ids, "a text ended a document")
        _same_in_pieces(tokenizer, ids)
    _same_in_pieces(_pairs(), [byte * 7 % 300 for byte in content])
    _same_in_pieces(ByteTokenizer(), list(content))


def _characters(text: str) -> Tokenizer:
    known = "".join(c for c in text if not "\ud800" <= c <= "\udfff")
    return CharTokenizer.fit(known + "a")


def _same_in_pieces(tokenizer: Tokenizer, ids: Sequence[int]) -> None:
    decoder = IncrementalDecoder(tokenizer)
    pieces = [decoder.feed([id_]) for id_ in ids]
    together = "".join([*pieces, decoder.flush()])
    _promise(together == tokenizer.decode(ids), "pieces are not the whole")


def feed_merges(content: bytes, folder: Path) -> None:
    """Text to learn byte pairs from; they must be those that slow counting finds."""
    text = _text(content[:80]).encode("utf-8", "replace").decode()
    words = tokenizers.count_words([text])
    learnt = tokenizers.learn_merges(words, 12)
    _promise(learnt == _slow_merges(words, 12), f"other pairs: {learnt}")


def _slow_merges(words: Counter[bytes], num_merges: int) -> list[tuple[int, int]]:
    """Byte-pair training as in its definition: count every pair again, each time."""
    spellings = {tuple(word): count for word, count in words.items()}
    merges: list[tuple[int, int]] = []
    while len(merges) < num_merges:
        counts: Counter[tuple[int, int]] = Counter()
        for word, count in spellings.items():
            for pair in pairwise(word):
                counts[pair] += count
        if not counts or max(counts.values()) < 2:
            break
        best = min(counts, key=lambda pair: (-counts[pair], pair))
        merges.append(best)
        new = 255 + len(merges)
        spellings = {_joined(w, best, new): n for w, n in spellings.items()}
    return merges


def _joined(word: tuple[int, ...], pair: tuple[int, int], new: int) -> tuple[int, ...]:
    for at in range(len(word) - 1):
        if word[at : at + 2] == pair:
            return (*word[:at], new, *_joined(word[at + 2 :], pair, new))
    return word


def feed_tokenizer(content: bytes, folder: Path) -> None:
    """A tokenizer's file; one that is taken must survive being written again."""
    path = _written(content, folder / "tokenizer.json")
    tokenizer = tokenizers.load(path)
    again = tokenizers.from_dict(tokenizer.to_dict())
    _promise(again.hash == tokenizer.hash, "written again it is another")
    text = tokenizer.decode(range(min(300, tokenizer.vocab_size)))
    _promise(isinstance(text, str), "no text")
    if tokenizer.kind != "chars":
        _promise(tokenizer.decode(tokenizer.encode("Añ 1")) == "Añ 1", "text is lost")


def feed_toml(content: bytes, folder: Path) -> None:
    """A run's TOML, as ``describe`` and ``train`` read it."""
    path = _written(content, folder / "plan.toml")
    _same_again(config.preset(str(path), changes={"model": {}, "train": {}}))


def feed_config(content: bytes, folder: Path) -> None:
    """A run's ``config.json``."""
    path = _written(content, folder / "config.json")
    _same_again(from_dict(RunConfig, files.read_json(path), str(path)))


def _same_again(plan: RunConfig) -> None:
    plain = json.loads(json.dumps(to_dict(plan)))
    _promise(from_dict(RunConfig, plain) == plan, "written again it is another")


def feed_foreign_config(content: bytes, folder: Path) -> None:
    """A ``config.json`` of transformers', with weights that fit none."""
    from minillm import huggingface

    path = _written(content, folder / "config.json")
    huggingface.from_huggingface((files.read_json(path), {}))
    raise BrokenError("a model was made of no weights")


def feed_lines(content: bytes, folder: Path) -> None:
    """A ``.jsonl`` file."""
    corpora.survey(corpora.open_source(_written(content, folder / "x.jsonl")))


def feed_text_file(content: bytes, folder: Path) -> None:
    """A ``.txt`` file; what is taken is all there."""
    source = corpora.open_source(_written(content, folder / "x.txt"))
    survey = corpora.survey(source, want_characters=True)
    (document,) = source.documents()
    text = "".join(document.pieces())
    _promise(len(text.encode()) == survey.num_bytes, "bytes are missing")
    expected = content.decode().removeprefix("\ufeff").replace("\r\n", "\n")
    _promise(text == expected, "another text")


def feed_rows(content: bytes, folder: Path) -> None:
    """A run's metrics, read and written again."""
    _written(content, folder / "metrics.jsonl")
    metrics = run.RunFolder(folder)
    rows = metrics.rows()
    metrics.rewind(10**18)
    _promise(str(metrics.rows()) == str([r for r in rows if r["step"] <= 10**18]), "")


def feed_manifest(content: bytes, folder: Path) -> None:
    """A checkpoint's manifest."""
    (folder / "a.json").write_text("{}")
    _written(content, folder / run.MANIFEST)
    run.check_manifest(folder)


def feed_meta(content: bytes, folder: Path) -> None:
    """A corpus's manifest, which nothing vouches for."""
    place = folder / "corpus"
    if not place.exists():
        data.prepare_text(TEXT[:200], place)
    _written(content, place / "meta.json")
    corpus = data.verify(place)
    corpus.train.batch(0, 0, 2, 5)
    _promise(corpus.tokenizer.vocab_size > 0, "no tokenizer")


def feed_safetensors(content: bytes, folder: Path) -> None:
    """A file of weights; what is taken is no larger than the file."""
    from minillm.checkpoint import read_notes, read_safetensors

    path = _written(content, folder / "model.safetensors")
    tensors = read_safetensors(path)
    size = sum(tensor.numel() * tensor.element_size() for tensor in tensors.values())
    _promise(size <= len(content), "there is more than the file holds")
    notes = read_notes(path)
    _promise(all(isinstance(x, str) for x in notes.values()), "notes are no text")


SHARD = b"".join(n.to_bytes(4, "little") for n in (20240520, 1, 7))
SHARD = SHARD.ljust(data.SHARD_HEADER_BYTES, b"\0") + bytes(14)
"""Seven tokens under the header of llm.c."""


def feed_shard(content: bytes, folder: Path) -> None:
    """A token file of llm.c's, or a bare one."""
    path = _written(content, folder / "x.bin")
    dtype = None if content[:4] == SHARD[:4] else "uint16"
    opened = data.TokenFile.open(path, dtype)
    tokens = sum(targets.numel() for _, targets in opened.windows(5, 3))
    _promise(tokens == len(opened) - 1, f"{tokens} targets of {len(opened)} tokens")


def feed_vocabulary(content: bytes, folder: Path) -> None:
    """GPT-2's list of merges."""
    made = tokenizers.gpt2(content)
    _promise(made.decode(made.encode("Añ 1")) == "Añ 1", "text is lost")


def feed_sampler(content: bytes, folder: Path) -> None:
    """Settings of the sampler and scores, as JSON."""
    import torch

    from minillm.sample import Sampler

    said = json.loads(content)
    logits = torch.tensor([said.pop("logits")], dtype=torch.float32)
    sampler = Sampler(**said)
    probabilities = sampler.probabilities(logits)
    total = float(probabilities.sum())
    _promise(math.isclose(total, 1, rel_tol=1e-4), f"together they are {total}")
    token = int(sampler(logits, torch.Generator().manual_seed(0)))
    _promise(float(probabilities[0, token]) > 0, "a token without probability")


def feed_words(content: bytes, folder: Path) -> None:
    """What somebody types: one word a line. Only ``describe`` does what it says."""
    words = [w.decode("utf-8", "surrogateescape") for w in content.split(b"\n")]
    verbs = {
        name: _only_understood(getattr(cli, name))
        for name in ("prepare", "train", "evaluate", "generate", "export")
    }
    kept = {name: getattr(cli, name) for name in verbs}
    vars(cli).update(verbs)
    out, err = io.StringIO(), io.StringIO()
    try:
        with (
            contextlib.redirect_stdout(out),
            contextlib.redirect_stderr(err),
            contextlib.chdir(folder),
        ):
            cli.main(words)
        raise BrokenError("it did not exit")
    except SystemExit as ended:
        code = ended.code
    finally:
        vars(cli).update(kept)
    fault = Outcome(code if isinstance(code, int) else 1, "", err.getvalue()).fault
    _promise(fault is None, str(fault))


def _only_understood(verb: Callable[..., int]) -> Callable[..., int]:
    def understood(options: Any) -> int:
        if hasattr(options, "preset"):
            cli._plan(options)
        return 0

    understood.__name__, understood.__doc__ = verb.__name__, verb.__doc__
    return understood


def _written(content: bytes, path: Path) -> Path:
    path.write_bytes(content)
    return path


# What it may look like --------------------------------------------------------------

LEAVES = (
    st.none()
    | st.booleans()
    | st.integers(-(2**70), 2**70)
    | st.floats()
    | st.sampled_from(["", "x", "../x", "chars", "bpe", "\ud800", "\0", END_OF_TEXT])
    | st.text(max_size=5)
)
JSON = st.recursive(
    LEAVES,
    lambda inner: (
        st.lists(inner, max_size=4)
        | st.dictionaries(st.text(max_size=5), inner, max_size=4)
    ),
    max_leaves=8,
)
NUMBERS = st.floats() | st.sampled_from([0.0, -0.0, 1.0, 1e-45, 5e-324, 1e30, -1.0])


def _near(example: dict[str, Any]) -> SearchStrategy[bytes]:
    """JSON objects that say something else in a few places, often of the same kind."""
    places = list(_places(example))
    alike = [st.tuples(st.just(k), _alike(_at(example, k))) for k in places]
    change = st.one_of(*alike) | st.tuples(st.sampled_from(places), JSON)

    def changed(changes: list[tuple[tuple[str, ...], Any]]) -> bytes:
        said = json.loads(json.dumps(example))
        for keys, value in changes:
            inner = said
            for key in keys[:-1]:
                inner = inner.get(key) if isinstance(inner, dict) else None
            if isinstance(inner, dict):
                inner[keys[-1]] = value
        return json.dumps(said).encode()

    return st.lists(change, max_size=3).map(changed)


def _at(said: Any, keys: Sequence[str]) -> Any:
    for key in keys:
        said = said[key]
    return said


def _alike(value: Any) -> SearchStrategy[Any]:
    match value:
        case bool():
            return st.booleans()
        case int():
            return st.integers(0, 300)
        case float():
            return st.floats(0, 1)
    return st.just(value)


def _places(
    said: dict[str, Any], outer: tuple[str, ...] = ()
) -> Iterator[tuple[str, ...]]:
    for key, value in said.items():
        yield (*outer, key)
        if isinstance(value, dict):
            yield from _places(value, (*outer, key))


def _words() -> SearchStrategy[bytes]:
    known: list[str] = []
    for verb in ("prepare", "train", "evaluate", "generate", "export", "describe"):
        known += [verb, *cli._parser([verb])[1]]
    odd = ["", "-", "--", "=", "--=", "-1", "1e400", "nan", "9" * 5000, "\0", "llama"]
    odd += ["None", "true", "--d_model=", "--steps=1e3", "--d_model=" + "9" * 400]
    numbers = st.integers(-3, 2**70).map(str) | NUMBERS.map(str)
    word = st.sampled_from(known * 3 + odd) | numbers | st.text(max_size=6)
    words = st.lists(word, max_size=8)
    verb = st.sampled_from(["describe", "train", "generate", "prepare"])
    return st.tuples(verb, words).map(
        lambda typed: "\n".join([typed[0], *typed[1]]).encode("utf-8", "surrogatepass")
    )


@dataclass(frozen=True)
class Target:
    """What is fed, and with what.

    Args:
        feed: uses an input; what it raises is judged.
        name: of the file that a message must name, if it is one.
        examples: valid inputs, for whoever changes bytes of them.
        strategy: what hypothesis draws.
    """

    feed: Callable[[bytes, Path], None]
    name: str
    examples: tuple[bytes, ...]
    strategy: SearchStrategy[bytes]


def _json(value: Any) -> bytes:
    return json.dumps(value).encode()


def _safetensors() -> bytes:
    import torch
    from safetensors.torch import save

    tensors = {"a": torch.zeros(2, 3), "b.c": torch.ones(4, dtype=torch.int64)}
    return save(tensors, metadata={"format": "pt"})


def _safetensors_like(drawn: tuple[Any, int, bytes]) -> bytes:
    header, wrong, content = drawn
    text = json.dumps(header).encode()
    return max(0, len(text) + wrong).to_bytes(8, "little") + text + content


def _targets() -> dict[str, Target]:
    text = st.text().map(lambda t: t.encode("utf-8", "surrogatepass"))
    special = st.sampled_from([END_OF_TEXT, "\ud83d", "\ud83d\ude00", " ", "'ll", "é"])
    texts = st.lists(text | special.map(lambda t: t.encode("utf-8", "surrogatepass")))
    any_text = texts.map(b"".join)
    plan = to_dict(config.preset("llama", vocab_size=65))
    foreign = {
        **{"model_type": "llama", "vocab_size": 65, "hidden_size": 8},
        **{"num_hidden_layers": 1, "num_attention_heads": 2, "intermediate_size": 8},
        **{"num_key_value_heads": 2, "max_position_embeddings": 9, "head_dim": 4},
        **{"rms_norm_eps": 1e-5, "rope_theta": 1e4, "hidden_act": "silu"},
        **{"rope_parameters": {"rope_type": "default", "rope_theta": 1e4}},
        **{"rope_scaling": None, "attention_bias": False, "mlp_bias": False},
    }
    gpt2 = {
        **{"model_type": "gpt2", "vocab_size": 65, "n_embd": 8, "n_layer": 1},
        **{"n_head": 2, "n_positions": 9, "n_inner": None, "resid_pdrop": 0.1},
    }
    tokenizers_ = (
        CharTokenizer("ab\u00e9").to_dict(),
        ByteTokenizer().to_dict(),
        BPETokenizer([*SINGLE_BYTES, b"ab"]).to_dict(),
    )
    row = {"step": 3, "tokens": 30, "train_loss": 1.5, "val_loss": None, "seconds": 0.1}
    listed = {"a.json": {"bytes": 2, "sha256": files.sha256_bytes(b"{}")}}
    manifest = {"format": 1, "files": listed}
    with tempfile.TemporaryDirectory() as folder:
        meta = data.prepare_text(TEXT[:200], Path(folder) / "x").meta
    sampler = st.fixed_dictionaries(
        {"logits": st.lists(NUMBERS, min_size=1, max_size=6)},
        optional={
            "temperature": NUMBERS,
            "top_k": st.integers(-1, 9),
            "top_p": NUMBERS,
            "min_p": NUMBERS,
        },
    ).map(_json)
    tensor = st.fixed_dictionaries(
        {
            "dtype": st.sampled_from(["F32", "I64", "BF16", "F8_E4M3", "X"]) | JSON,
            "shape": st.lists(st.integers(-1, 2**66), max_size=3) | JSON,
            "data_offsets": st.lists(st.integers(-1, 70), max_size=3) | JSON,
        }
    )
    headers = st.dictionaries(st.text(max_size=3), tensor | JSON, max_size=3)
    weights = st.tuples(
        headers | JSON, st.sampled_from([0, 0, 0, 1, -1, 2**62]), st.binary(max_size=70)
    ).map(_safetensors_like)
    lines = st.lists(JSON.map(_json) | st.binary(max_size=9), max_size=4)
    lines_with = st.lists(_near({"text": "a b", "id": 3}), max_size=4)
    toml = "[model]\nd_model = 24\nn_heads = 4\n[data]\ndirectory = 'x'\n[train]\n"
    toml += "steps = 9\nwarmup_steps = 2\nlearning_rate = 1e-3\n"
    toml += "compile = false\nschedule = 'wsd'\n"
    return {
        "text": Target(feed_text, "", (TEXT[:60].encode(), b"a"), any_text),
        "merges": Target(feed_merges, "", (b"aaab aab", b"abab ab"), any_text),
        "tokenizer": Target(
            feed_tokenizer,
            "tokenizer.json",
            tuple(map(_json, tokenizers_)),
            st.one_of(*map(_near, tokenizers_)),
        ),
        "toml": Target(
            feed_toml,
            "plan.toml",
            (toml.encode(),),
            any_text | st.lists(st.sampled_from(toml.split("\n"))).map(_lines_of),
        ),
        "config": Target(feed_config, "config.json", (_json(plan),), _near(plan)),
        "foreign-config": Target(
            feed_foreign_config,
            "",
            (_json(foreign), _json(gpt2)),
            _near(foreign) | _near(gpt2),
        ),
        "lines": Target(
            feed_lines,
            "x.jsonl",
            (b'{"text": "a"}\n{"text": "b", "id": 3}\n',),
            (lines | lines_with).map(b"\n".join),
        ),
        "text-file": Target(
            feed_text_file, "x.txt", (b"\xef\xbb\xbfa\r\nb\n",), any_text | st.binary()
        ),
        "rows": Target(
            feed_rows,
            "metrics.jsonl",
            (_json(row) + b"\n" + _json(row) + b"\n",),
            st.lists(_near(row), max_size=3).map(lambda r: b"\n".join([*r, b""])),
        ),
        "manifest": Target(
            feed_manifest, "manifest.json", (_json(manifest),), _near(manifest)
        ),
        "meta": Target(feed_meta, "corpus", (_json(meta),), _near(meta)),
        "safetensors": Target(
            feed_safetensors, "model.safetensors", (_safetensors(),), weights
        ),
        "shard": Target(
            feed_shard,
            "x.bin",
            (SHARD, bytes(40)),
            st.binary(),
        ),
        "vocabulary": Target(
            feed_vocabulary, "", ("#version: 0.2\na b\nĠ a\n".encode(),), st.binary()
        ),
        "sampler": Target(feed_sampler, "", (), sampler),
        "words": Target(
            feed_words,
            "",
            (b"describe\nllama\n--d_model=96", b"train\n--steps\n3\n--resume"),
            _words(),
        ),
    }


def _lines_of(lines: Sequence[str]) -> bytes:
    return "\n".join(lines).encode()


TARGETS = _targets()


def fed(name: str, content: bytes, folder: Path) -> Trial:
    """Feed a target; says what was lost, or nothing."""
    target = TARGETS[name]
    try:
        target.feed(content, folder)
    except BaseException as error:
        return objection(error, (target.name, folder.name) if target.name else ())
    return None


# Attacks ----------------------------------------------------------------------------


@dataclass(frozen=True)
class Fed:
    """An input of a target's, as it is tried."""

    target: str
    content: bytes

    def __str__(self) -> str:
        return f"{self.target} {self.content[:300]!r}"


@dataclass(frozen=True)
class _InFolder:
    folder: Path

    def __call__(self, item: Fed) -> Trial:
        return fed(item.target, item.content, self.folder)


def _in_child(items: Iterator[Fed]) -> Iterator[Trial]:
    with tempfile.TemporaryDirectory() as folder:
        yield from tried(_InFolder(Path(folder)), items)


PIECES = (
    *(
        b"\0",
        b"\xff",
        b"\n",
        b'"',
        b"{",
        b"}",
        b"[" * 40,
        b",",
        b"=",
        b"-",
        b"\xed\xa0",
    ),
    *(b"null", b"true", b"1e400", b"NaN", b"9" * 25, b"-1", b"\\ud800", b"../", b"0x"),
)


def mutated(examples: Sequence[bytes], random: Random) -> bytes:
    """A valid input, changed in a few places."""
    content = bytearray(random.choice(examples))
    for _ in range(random.randrange(1, 5)):
        at = random.randrange(len(content) + 1)
        until = min(len(content), at + random.choice([0, 1, 1, 2, 5, 30]))
        match random.randrange(4):
            case 0:
                content[at:until] = random.choice(PIECES)
            case 1:
                content[at:until] = random.randbytes(until - at)
            case 2:
                content[at:at] = content[at:until]
            case 3:
                other = random.choice(examples)
                content[at:until] = other[at : at + random.randrange(20)]
    return bytes(content)


def drawn(strategy: SearchStrategy[Drawn], random: Random) -> Iterator[Drawn]:
    """What hypothesis draws, without end."""
    while True:
        yield from _batch(strategy, random.randrange(2**32))


def _batch(strategy: SearchStrategy[Drawn], number: int) -> list[Drawn]:
    batch: list[Drawn] = []

    @settings(
        max_examples=100,
        database=None,
        deadline=None,
        phases=[Phase.generate],
        suppress_health_check=list(HealthCheck),
    )
    @seed(number)
    @given(strategy)
    def collect(example: Drawn) -> None:
        batch.append(example)

    collect()
    return batch


def _mutated(random: Random) -> Iterator[Trial]:
    def items() -> Iterator[Fed]:
        while True:
            for name, target in TARGETS.items():
                if target.examples:
                    yield Fed(name, mutated(target.examples, random))

    return _in_child(items())


def _drawn(random: Random) -> Iterator[Trial]:
    def items() -> Iterator[Fed]:
        streams = {n: drawn(t.strategy, random) for n, t in TARGETS.items()}
        while True:
            for name, stream in streams.items():
                yield Fed(name, next(stream))

    return _in_child(items())


def findings() -> list[Path]:
    """The files of inputs that once did harm."""
    return sorted(path for path in FINDINGS.glob("*/*") if path.is_file())


def _found_before(random: Random) -> Iterator[Trial]:
    return _in_child(Fed(p.parent.name, p.read_bytes()) for p in findings())


RUNS = 4_000
"""Inputs that atheris makes for each target."""

GUIDED = tuple(name for name, target in TARGETS.items() if target.examples)


def _guided(random: Random) -> Iterator[Trial]:
    if importlib.util.find_spec("atheris") is None:
        raise NotPossibleError("atheris is not installed: pip install atheris")
    for name in GUIDED:
        yield guided(name, RUNS, random.randrange(1, 2**31))


def guided(name: str, runs: int, number: int) -> Trial:
    """Let atheris make inputs for a target; what it finds is kept with the findings."""
    with tempfile.TemporaryDirectory() as folder:
        seeds = Path(folder) / "seeds"
        seeds.mkdir()
        for at, content in enumerate(TARGETS[name].examples):
            (seeds / f"{at}").write_bytes(content)
        FINDINGS.joinpath(name).mkdir(parents=True, exist_ok=True)
        done = subprocess.run(
            [
                *(sys.executable, "-m", "torture.guided", name, f"{seeds}"),
                *(f"-runs={runs}", f"-seed={number}", "-timeout=20", "-max_len=4096"),
                *("-rss_limit_mb=4096", f"-artifact_prefix={FINDINGS / name}/"),
            ],
            capture_output=True,
            text=True,
            errors="replace",
            check=False,
            timeout=1800,
        )
    if done.returncode == 0:
        return None
    return f"{name}: {done.stderr[-500:]}"


PROMISE = "a valid result, such as text that decodes to itself, or a plain line"

ATTACKS = (
    Attack("a valid input is changed a little", PROMISE, _mutated, 30_000, 900),
    Attack("hypothesis draws an input", PROMISE, _drawn, 15_000, 600),
    Attack(
        "what once did harm is fed again",
        PROMISE,
        _found_before,
        None,
        len(findings()),
    ),
    Attack("atheris looks for lines not yet reached", PROMISE, _guided, None, 1),
)
