"""The surroundings every run of a notebook gets, so that outputs come out the same."""

import os
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
OFFLINE = Path(__file__).resolve().parent / "offline"


def prepare_environment() -> None:
    """Set this process's environment, which the kernels it starts inherit."""
    # one thread: sums come out the same, and two on busy cores are far slower
    os.environ["OMP_NUM_THREADS"] = "1"
    os.environ["PYTHONHASHSEED"] = "0"
    # plots are drawn into the notebook, whatever the shell asks for
    os.environ.pop("MPLBACKEND", None)
    # a notebook makes no request: the first of these folders sees to it
    paths = [str(OFFLINE), str(ROOT), os.environ.get("PYTHONPATH")]
    os.environ["PYTHONPATH"] = os.pathsep.join(filter(None, paths))
