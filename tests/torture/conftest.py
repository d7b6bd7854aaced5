"""Windows has neither the signals nor the limits that the attacks are made of."""

import sys
from pathlib import Path

collect_ignore = (
    [path.name for path in Path(__file__).parent.glob("test_*.py")]
    if sys.platform == "win32"
    else []
)
