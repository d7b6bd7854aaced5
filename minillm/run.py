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
from pathlib import Path
from typing import Any

from filelock import Timeout

from minillm.files import (
    lock_file,
    make_folder,
    owner,
    read_description,
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


class RunFolder:
    """The files of one run, apart from its checkpoints."""

    def __init__(self, directory: Path) -> None:
        self.directory = directory
        self.metrics_path = directory / "metrics.jsonl"
        self.config_path = directory / "config.json"
        self.checkpoints = directory / "checkpoints"

    @property
    def exists(self) -> bool:
        """Whether a run has begun here."""
        return self.config_path.exists() or self.checkpoints.exists()

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
            path = self.directory / ".lock"
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
                    own = (self.config_path.name, self.metrics_path.name)
                    tidy(self.directory, own.__contains__)
                    tidy(self.checkpoints, lambda _: True)
                yield
        finally:
            lock.release()

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
        """
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
        if not self.metrics_path.exists():
            return []
        rows = []
        whole = read_description(self.metrics_path).rpartition(b"\n")[0]
        for number, line in enumerate(whole.splitlines(), 1):
            try:
                row = json.loads(line)
            except (ValueError, RecursionError):
                row = None
            if not isinstance(row, dict) or type(row.get("step")) is not int:
                raise ValueError(f"{self.metrics_path}, line {number} is damaged")
            rows.append(row)
        return rows

    def rewind(self, step: int) -> None:
        """Forget rows after ``step``: the resumed run will write them again."""
        kept = [row for row in self.rows() if row["step"] <= step]
        text = "".join(json.dumps(row) + "\n" for row in kept)
        write_atomically(self.metrics_path, text.encode())


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


def check_manifest(folder: Path) -> None:
    """Make sure that every file is the one that was written.

    Raises:
        ValueError: the manifest is missing, damaged or of another format, or a file is
            missing, cut short or changed; names it.
    """
    manifest = read_json(folder / MANIFEST)
    if (format_ := manifest.get("format")) != MANIFEST_FORMAT:
        raise ValueError(
            f"format ({format_!r}) of {folder / MANIFEST} must be {MANIFEST_FORMAT}"
        )
    files = manifest.get("files")
    if not isinstance(files, dict) or not files:
        raise ValueError(f"{folder / MANIFEST} lists no files")
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
