"""What ``pytest --nbval book/`` needs, wherever it is started from."""

import sys
from pathlib import Path

HERE = Path(__file__).resolve().parent
sys.path.insert(0, str(HERE / "tools"))

from notebook_kernel import prepare_environment  # noqa: E402


def pytest_configure(config):
    prepare_environment()
    if hasattr(config.option, "nbval_sanitize_with"):  # nbval is installed
        if not config.option.nbval_sanitize_with:
            config.option.nbval_sanitize_with = str(HERE / "sanitize.cfg")
        if not config.option.nbval_kernel_name:
            config.option.nbval_current_env = True  # the environment of this pytest


def pytest_itemcollected(item):
    if hasattr(item, "output_timeout"):
        item.output_timeout = 60  # nbval allows 5 s, too few on a busy machine
