"""Write constraints.txt: the exact versions this environment holds, without torch.

    python book/tools/lock.py

torch stays out because its builds differ from machine to machine (CPU, CUDA), and
requirements.txt already bounds it. Nothing is pinned that only the system has.
"""

import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
HEAD = """\
# The versions that were tested, on Python 3.11 to 3.13. torch is left to
# requirements.txt: its builds differ from machine to machine. Written by `make lock`.
"""


def lock(frozen: str) -> str:
    """Return the constraints for what ``pip freeze`` says."""
    lines = []
    for line in frozen.splitlines():
        name, pinned, version = line.partition("==")
        if pinned and name != "torch":  # an editable or a local install has no ==
            lines.append(f"{name}=={version.partition('+')[0]}\n")
    return HEAD + "".join(lines)


def main() -> None:
    freeze = [sys.executable, "-m", "pip", "freeze", "--exclude-editable"]
    frozen = subprocess.run(freeze, capture_output=True, text=True, check=True)
    (ROOT / "constraints.txt").write_text(lock(frozen.stdout), encoding="utf8")


if __name__ == "__main__":
    main()
