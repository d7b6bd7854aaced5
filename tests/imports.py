"""What a piece of code has made Python import, in a process of its own."""

import subprocess
import sys


def imported(code: str, *names: str) -> set[str]:
    """Those of the modules ``names`` that are there after ``code``."""
    code += f"; import sys; print(*set({names!r}) & set(sys.modules))"
    done = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, check=True
    )
    return set(done.stdout.split())
