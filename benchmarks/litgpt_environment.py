"""Where does litgpt live? In an environment of its own, made when it is first needed.

litgpt and transformers 5 ask for versions of huggingface-hub that exclude each other.
Its PyTorch is of the same version as ours, from wherever pip takes it.
"""

import shutil
import subprocess
import sys
from pathlib import Path

import torch

from benchmarks.harness import ROOT

VERSION = "0.5.13"
FOLDER = ROOT / ".litgpt"
MARKER = ".ready"


def requirements() -> list[str]:
    """What pip is asked for."""
    return [f"torch=={torch.__version__.partition('+')[0]}", f"litgpt=={VERSION}"]


def python(folder: Path = FOLDER) -> Path:
    """The interpreter that can import litgpt; takes minutes only the first time.

    The environment is made again if it is of other versions, or was left half made.

    Raises:
        SystemExit: pip has failed; says what it said.
    """
    found = folder / "bin" / "python"
    asked = "\n".join([sys.version, *requirements()])
    marker = folder / MARKER
    if marker.is_file() and marker.read_text() == asked:
        return found
    print(f"{folder}: installing litgpt {VERSION}, once", flush=True)
    shutil.rmtree(folder, ignore_errors=True)
    _run([sys.executable, "-m", "venv", str(folder)])
    _run([str(found), "-m", "pip", "install", "--quiet", *requirements()])
    marker.write_text(asked)
    return found


def _run(command: list[str]) -> None:
    done = subprocess.run(command, capture_output=True, text=True)
    if done.returncode:
        raise SystemExit(
            f"{' '.join(command)}: code {done.returncode}\n{done.stderr[-2000:]}"
        )
