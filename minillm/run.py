"""What belongs to one run? A folder: its configuration, its metrics, its lock.

runs/llama/
  config.json           the resolved configuration
  metrics.jsonl         one row per measurement, appended as they come
  checkpoints/          the best and the last; see checkpoint.py
  .lock                 held while a process trains here

Whatever ends the process, the folder opens: the configuration is whole or not there, a
row that was appended is on the disk, a row cut short is no row, and what had not become
a checkpoint yet is cleared away by the next process that takes the lock.
"""

import json
import math
import os
from collections.abc import Iterator
from contextlib import contextmanager
from itertools import count
from pathlib import Path
from typing import Any

from filelock import Timeout

from minillm.files import (
    lock_file,
    make_folder,
    owner,
    read_json,
    sha256_file,
    signed,
    status,
    sync_folder,
    tidy,
    write_atomically,
    write_json,
    writing,
)

MANIFEST = "manifest.json"
MANIFEST_FORMAT = 1
LONGEST_ROW = 2**16
"""Bytes of a row of metrics; ours have some 300. What has no end is read so far."""


class RunFolder:
    """The files of one run, apart from its checkpoints."""

    def __init__(self, directory: Path) -> None:
        self.directory = directory
        self.metrics_path = directory / "metrics.jsonl"
        self.config_path = directory / "config.json"
        self.checkpoints = directory / "checkpoints"
        self._lock_path = directory / ".lock"
        self._held: tuple[int, int] | None = None

    @property
    def exists(self) -> bool:
        """Whether a run has begun here, or something else has a run's file."""
        own = (self.config_path, self.metrics_path, self.checkpoints)
        return any(path.exists() for path in own)

    def require_own(self) -> None:
        """Make sure that what is here is a run's, or nothing: it may be replaced.

        Raises:
            ValueError: it is a model's, such as a checkpoint or an export, or another
                program's.
        """
        if (self.directory / "model.safetensors").exists():
            raise ValueError(
                f"{self.directory} holds a model, not a run: choose another folder"
            )
        try:
            config = read_json(self.config_path)
        except ValueError:  # not there, or damaged
            return
        if not config.keys() >= {"model", "data", "train"}:
            raise ValueError(
                f"{self.config_path} is another program's: choose another folder"
            )

    @contextmanager
    def locked(self) -> Iterator[None]:
        """Hold the folder; the lock ends with the process, however it ends.

        What a killed process has left unfinished is cleared away.

        Raises:
            ValueError: another process holds it; says which.
        """
        if self.directory.is_file():
            raise ValueError(f"{self.directory} must be a folder")
        with writing(self.directory):
            make_folder(self.directory)
            path = self._lock_path
            lock = lock_file(path)
            try:
                lock.acquire(timeout=0)
            except Timeout:
                raise ValueError(
                    f"{self.directory} is in use by {owner(path)}"
                ) from None
        try:
            with signed(path):
                with writing(self.directory):
                    self._held = _identity(path)
                    own = (self.config_path.name, self.metrics_path.name)
                    tidy(self.directory, own.__contains__)
                    tidy(self.checkpoints, lambda _: True)
                yield
        finally:
            self._held = None
            lock.release()

    def require_held(self) -> None:
        """Make sure that the folder has still its name, if it is locked.

        Otherwise this run would go on in a folder of somebody else's, or half a one.

        Raises:
            ValueError: it was moved or removed.
        """
        if self._held is not None and self._held != _identity(self._lock_path):
            raise ValueError(
                f"{self.directory} was moved or removed while a run was trained in it:"
                " what came after its last checkpoint is lost"
            )

    def begin(self, config: dict[str, Any]) -> None:
        """Write the configuration, and empty metrics.

        A process killed in between leaves the rows of the run that stood here before,
        and no checkpoint: whoever resumes then begins, and writes them anew.
        """
        write_json(self.config_path, config)
        write_atomically(self.metrics_path, b"")

    def append(self, row: dict[str, Any]) -> None:
        """Add a row to the metrics; it is on the disk when this returns.

        JSON has no NaN and no infinity, which float16 meets: they become null.

        Raises:
            ValueError: the folder was moved or removed since it was locked.
        """
        self.require_held()
        with (
            writing(self.metrics_path),
            # the same bytes on Windows, too
            self.metrics_path.open("a", encoding="utf-8", newline="\n") as file,
        ):
            file.write(json.dumps(_with_finite(row)) + "\n")
            file.flush()
            os.fsync(file.fileno())

    def rows(self) -> list[dict[str, Any]]:
        """All rows of the metrics.

        A last line without an end is what a power cut leaves: it is not a row.

        Raises:
            ValueError: a line is not a JSON object; names the line.
        """
        return [row for row, _ in self._lines()]

    def rewind(self, step: int) -> None:
        """Forget rows after ``step``: the resumed run will write them again."""
        kept = [line for row, line in self._lines() if row["step"] <= step]
        write_atomically(self.metrics_path, b"".join(kept))

    def _lines(self) -> Iterator[tuple[dict[str, Any], bytes]]:
        if not self.metrics_path.exists():
            return
        status(self.metrics_path)
        with self.metrics_path.open("rb") as file:
            for number in count(1):
                line = file.readline(LONGEST_ROW)
                if not line.endswith(b"\n") and len(line) < LONGEST_ROW:
                    return
                try:
                    row = json.loads(line)
                except (ValueError, RecursionError):
                    row = None
                if not isinstance(row, dict) or type(row.get("step")) is not int:
                    raise ValueError(f"{self.metrics_path}, line {number} is damaged")
                yield row, line


def _identity(path: Path) -> tuple[int, int] | None:
    """What tells a file from another of the same name; None: nothing is there."""
    try:
        found = path.stat()
    except (FileNotFoundError, NotADirectoryError):
        return None
    return found.st_dev, found.st_ino


def _with_finite(row: dict[str, Any]) -> dict[str, Any]:
    return {
        key: None if isinstance(value, float) and not math.isfinite(value) else value
        for key, value in row.items()
    }


def write_manifest(folder: Path) -> None:
    """List every file of ``folder`` with its size and SHA-256; written last."""
    files = sorted(path for path in folder.iterdir() if path.name != MANIFEST)
    listed = {
        path.name: {"bytes": path.stat().st_size, "sha256": sha256_file(path)}
        for path in files
    }
    write_json(folder / MANIFEST, {"format": MANIFEST_FORMAT, "files": listed})
    sync_folder(folder)


def check_manifest(folder: Path, *required: str) -> None:
    """Make sure that every file is the one that was written.

    Args:
        folder: what ``write_manifest`` has sealed.
        required: names of files that must be among those.

    Raises:
        ValueError: the manifest is missing, damaged or of another format, or a file is
            missing, cut short, changed or not listed; names it.
    """
    manifest = read_json(folder / MANIFEST)
    if (format_ := manifest.get("format")) != MANIFEST_FORMAT:
        raise ValueError(
            f"format ({format_!r}) of {folder / MANIFEST} must be {MANIFEST_FORMAT}"
        )
    files = manifest.get("files")
    if not isinstance(files, dict) or not files:
        raise ValueError(f"{folder / MANIFEST} lists no files")
    for name in required:
        if name not in files:
            raise ValueError(f"{folder / name} must be in {folder / MANIFEST}")
    for name, noted in files.items():
        path = folder / name
        if path.name != name or not isinstance(noted, dict):
            raise ValueError(f"{folder / MANIFEST} names {name!r}, which is no file")
        if not path.exists():
            raise ValueError(f"{path} is missing")
        size = status(path).st_size
        if size != noted.get("bytes"):
            raise ValueError(
                f"{path} has {size} bytes, but {noted.get('bytes')} were written:"
                " it was cut short or changed"
            )
        if sha256_file(path) != noted.get("sha256"):
            raise ValueError(f"{path} differs from what was written (SHA-256)")
