"""The book's own tools are scripts beside it; its tests import them by name."""

import os
import shutil
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
sys.path[:0] = [str(ROOT / "book" / "tools"), str(ROOT / "book" / "_ext")]

BROWSERS = ("chromium", "chromium-browser", "google-chrome", "google-chrome-stable")


def absent(reason):
    """Skip, but fail where everything must be there."""
    if os.environ.get("CI"):
        pytest.fail(reason)
    pytest.skip(reason)


@pytest.fixture(scope="session")
def root():
    return ROOT


@pytest.fixture(scope="session")
def book():
    """The folder of the built book."""
    built = ROOT / "_build" / "html"
    if not (built / "index.html").is_file():
        absent("the book is not built: run `make book`")
    return built


@pytest.fixture(scope="session")
def chromium():
    """The path of a Chromium that this machine has."""
    if path := os.environ.get("CHROMIUM"):
        return path
    found = next(filter(None, map(shutil.which, BROWSERS)), None)
    if found is None:
        absent(f"no browser: install one of {', '.join(BROWSERS)}, or set CHROMIUM")
    return found
