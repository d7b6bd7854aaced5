"""Ask a database of advisories about every locked version: ``python3 .ci/audit.py``.

It needs a network, and its answer changes from day to day: so it reports, and is no
part of ``make test``. What could not be asked is said, and not taken for safe.
"""

import json
import subprocess
import sys
import tempfile
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
SECONDS = 120
"""How long each of the three commands may take."""


def summary(answer: str) -> tuple[int, str]:
    """Exit code and sentence for what ``pip-audit --format json`` has printed."""
    try:
        asked = json.loads(answer)["dependencies"]
    except (ValueError, KeyError, TypeError):
        return 0, "audit: NOT RUN: the database of advisories cannot be asked"
    known = [one for one in asked if "skip_reason" not in one]
    weak = [one for one in known if one["vulns"]]
    if not known:
        return 0, "audit: NOT RUN: the database of advisories knows no package"
    lines = [f"audit: {len(known)} of {len(asked)} packages asked about"]
    for one in weak:
        names = ", ".join(sorted(found["id"] for found in one["vulns"]))
        lines.append(f"audit: {one['name']} {one['version']}: {names}")
    return int(bool(weak)), "\n".join(lines)


def main() -> int:
    """Install pip-audit somewhere else, and ask."""
    answer = ""
    with tempfile.TemporaryDirectory() as folder:
        python = Path(folder) / "bin" / "python"
        words = ["--requirement", str(ROOT / "constraints.txt"), "--format", "json"]
        words += ["--no-deps", "--disable-pip", "--progress-spinner", "off"]
        for command in (
            [sys.executable, "-m", "venv", folder],
            [python, "-m", "pip", "install", "--quiet", "pip-audit"],
            [python, "-m", "pip_audit", "--timeout", "15", *words],
        ):
            try:
                done = subprocess.run(
                    command, capture_output=True, text=True, timeout=SECONDS
                )
            except subprocess.TimeoutExpired:
                break
            answer = done.stdout
    code, said = summary(answer)
    print(said)
    return code


if __name__ == "__main__":
    sys.exit(main())
