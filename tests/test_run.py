"""A run's folder: rows without holes, one owner, files that are what was written."""

import json
import math
import multiprocessing

import pytest

from minillm import files
from minillm.run import RunFolder, check_manifest, write_manifest


@pytest.fixture
def folder(tmp_path):
    made = RunFolder(tmp_path / "run")
    made.directory.mkdir()
    made.begin({"a": 1})
    return made


def test_rows_come_back_in_order(folder):
    for step in (0, 3, 6):
        folder.append({"step": step, "loss": 1 / (step + 1)})
    assert [row["step"] for row in folder.rows()] == [0, 3, 6]
    assert folder.rows()[1]["loss"] == 0.25


def test_a_loss_that_is_no_number_is_null(folder):
    """float16 meets infinity, and JSON has no word for it: jq could not read on."""

    def refuse(constant):
        raise AssertionError(constant)

    folder.append({"step": 3, "loss": math.nan, "grad_norm": math.inf, "best": -0.5})
    line = folder.metrics_path.read_text(encoding="utf-8")
    row = json.loads(line, parse_constant=refuse)
    assert row == {"step": 3, "loss": None, "grad_norm": None, "best": -0.5}


def test_a_line_without_an_end_is_not_a_row(folder):
    """A power cut in the middle of a line made the whole file unreadable."""
    folder.append({"step": 0})
    with folder.metrics_path.open("a") as file:
        file.write('{"step": 3, "lo')
    assert [row["step"] for row in folder.rows()] == [0]


def test_rewinding_forgets_later_rows_and_the_torn_line(folder):
    """A resumed run wrote the same steps a second time."""
    for step in (0, 3, 6, 9):
        folder.append({"step": step})
    with folder.metrics_path.open("a") as file:
        file.write('{"step"')
    folder.rewind(6)
    folder.append({"step": 9})
    assert [row["step"] for row in folder.rows()] == [0, 3, 6, 9]


@pytest.mark.parametrize(
    "line",
    [
        *("not json", "[3]", '{"loss": 3}', '{"step": "x"}', '{"step": "3"}'),
        *('{"step": 1e400}', '{"step": 3.5}', '{"step": true}', "[" * 100_000),
    ],
)
def test_a_damaged_row_is_named(folder, line):
    """An endless step, or one in quotation marks, ended `--resume` with a traceback."""
    folder.append({"step": 0})
    with folder.metrics_path.open("a") as file:
        file.write(line + "\n")
    with pytest.raises(ValueError, match=r"metrics\.jsonl, line 2 is damaged"):
        folder.rows()


def _hold(directory, ready, release):
    with RunFolder(directory).locked():
        ready.set()
        release.wait(30)


def test_two_processes_cannot_train_in_one_folder(folder):
    context = multiprocessing.get_context("spawn")
    ready, release = context.Event(), context.Event()
    other = context.Process(target=_hold, args=(folder.directory, ready, release))
    other.start()
    try:
        assert ready.wait(60)
        with (
            pytest.raises(ValueError, match=rf"in use by process {other.pid} on"),
            folder.locked(),
        ):
            pass
    finally:
        release.set()
        other.join()
    with folder.locked():  # free again, whoever held it before
        pass


def test_a_killed_owner_leaves_no_lock_behind(folder):
    context = multiprocessing.get_context("spawn")
    ready, release = context.Event(), context.Event()
    other = context.Process(target=_hold, args=(folder.directory, ready, release))
    other.start()
    assert ready.wait(60)
    other.kill()
    other.join()
    with folder.locked():
        pass


def test_the_next_owner_clears_away_what_a_killed_one_left(folder):
    """Every kill in the middle of a checkpoint left one more half of it, for ever."""
    folder.checkpoints.mkdir()
    for left in (
        folder.directory / ".metrics.jsonl.0123456789ab.tmp",
        folder.checkpoints / ".step-00000005.0123456789ab.tmp",
    ):
        left.mkdir()
    exported = folder.directory / ".huggingface.0123456789ab.tmp"
    exported.mkdir()  # guarded by another lock
    with folder.locked():
        assert list(folder.checkpoints.iterdir()) == []
        assert list(folder.directory.glob(".*.tmp")) == [exported]


def test_a_folder_that_loses_its_name_is_noticed(folder):
    """A second run began under the name, and the first one then removed its work."""
    with folder.locked():
        folder.require_held()
        folder.directory.rename(folder.directory.with_name("moved"))
        for _ in range(2):  # there is none; there is another
            with pytest.raises(ValueError, match="was moved or removed while a run"):
                folder.append({"step": 1})
            folder.directory.mkdir(exist_ok=True)
            (folder.directory / ".lock").touch()
    assert not folder.metrics_path.exists()
    folder.append({"step": 1})  # not locked: nothing to lose


def test_metrics_may_be_longer_than_a_description(folder, monkeypatch):
    """A run that had written a row at each step could not be resumed."""
    monkeypatch.setattr(files, "LARGEST_DESCRIPTION", 99)
    for step in range(100):
        folder.append({"step": step, "loss": 1.5})
    assert [row["step"] for row in folder.rows()] == list(range(100))
    folder.rewind(40)
    assert [row["step"] for row in folder.rows()] == list(range(41))


def test_a_row_without_end_is_damage_and_not_read_to_its_end(folder, monkeypatch):
    folder.append({"step": 0})
    with folder.metrics_path.open("ab") as file:
        file.truncate(2**40)
    with pytest.raises(ValueError, match=r"metrics\.jsonl, line 2 is damaged"):
        folder.rows()


@pytest.mark.parametrize(
    ("name", "content", "message"),
    [
        ("model.safetensors", "", "holds a model, not a run"),
        (
            "config.json",
            '{"model_type": "llama"}',
            r"config\.json is another program's",
        ),
    ],
)
def test_what_is_no_run_is_not_taken_for_one(folder, name, content, message):
    """`train --overwrite` went into an export, and ruined it."""
    (folder.directory / name).write_text(content)
    with pytest.raises(ValueError, match=message):
        folder.require_own()


def test_somebody_elses_metrics_are_a_reason_to_ask(tmp_path):
    """They were emptied without a word."""
    (tmp_path / "metrics.jsonl").write_text('{"mine": 1}')
    assert RunFolder(tmp_path).exists


def test_a_damaged_configuration_may_be_replaced(folder, tmp_path):
    RunFolder(tmp_path / "nowhere").require_own()
    folder.config_path.write_text("{")
    folder.require_own()
    folder.begin({"model": {}, "data": {}, "train": {}})
    folder.require_own()


def test_a_run_cannot_be_where_a_file_is(tmp_path):
    (tmp_path / "run").write_text("mine")
    with (
        pytest.raises(ValueError, match="run must be a folder"),
        RunFolder(tmp_path / "run").locked(),
    ):
        pass


@pytest.fixture
def sealed(tmp_path):
    (tmp_path / "a.bin").write_bytes(b"abc")
    (tmp_path / "b.json").write_bytes(b"{}")
    write_manifest(tmp_path)
    check_manifest(tmp_path, "a.bin", "b.json")
    return tmp_path


@pytest.mark.parametrize(
    ("harm", "message"),
    [
        (lambda d: (d / "a.bin").write_bytes(b"ab"), r"a\.bin has 2 bytes, but 3 were"),
        (lambda d: (d / "a.bin").write_bytes(b"abd"), r"a\.bin differs from what was"),
        (lambda d: (d / "a.bin").unlink(), r"a\.bin is missing"),
        (lambda d: (d / "manifest.json").unlink(), r"manifest\.json does not exist"),
        (
            lambda d: (d / "manifest.json").write_text("{}"),
            r"format \(None\) of .*manifest\.json must be 1",
        ),
        (lambda d: (d / "manifest.json").write_text('{"format": 1}'), "lists no files"),
        (
            lambda d: (d / "manifest.json").write_text(
                '{"format": 1, "files": {"../x": {}}}'
            ),
            r"names '\.\./x', which is no file",
        ),
    ],
)
def test_a_file_that_is_not_the_one_written_is_named(sealed, harm, message):
    harm(sealed)
    with pytest.raises(ValueError, match=message):
        check_manifest(sealed)


def test_no_bit_of_a_manifest_can_turn_over_unseen(sealed):
    """The number of its format could, for nobody read it."""
    path = sealed / "manifest.json"
    whole = path.read_bytes()
    for place in range(8 * len(whole)):
        content = bytearray(whole)
        content[place // 8] ^= 1 << place % 8
        path.write_bytes(content)
        with pytest.raises(ValueError, match=r"\S"):
            check_manifest(sealed)
    path.write_bytes(whole)
    check_manifest(sealed)


def test_a_file_that_the_manifest_does_not_list_is_not_vouched_for(sealed):
    """A program laid beside a checkpoint would have been run unchecked."""
    (sealed / "c.pt2").touch()
    check_manifest(sealed)
    with pytest.raises(ValueError, match=r"c\.pt2 must be in .*manifest\.json"):
        check_manifest(sealed, "a.bin", "c.pt2")
