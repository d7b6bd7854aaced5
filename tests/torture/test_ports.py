"""What the wheel holds and runs on; that it was tried elsewhere is `torture.ports`."""

import json
import os
import re
import subprocess
import sys
import tomllib
import zipfile
from pathlib import Path

import pytest

from torture import ports

PROJECT = tomllib.loads((ports.ROOT / "pyproject.toml").read_text(encoding="utf-8"))
ROWS = json.loads(ports.RESULTS.read_text(encoding="utf-8"))["rows"]


@pytest.fixture(scope="module")
def wheel(tmp_path_factory):
    return ports.build_wheel(tmp_path_factory.mktemp("wheel"))


# ------------------------------------------------------------------ the wheel


def test_the_wheel_holds_the_package_and_nothing_else(wheel):
    """Tests in a wheel land in everybody's site-packages; a preset left out fails."""
    package = ports.ROOT / "minillm"
    wanted = {
        path.relative_to(ports.ROOT).as_posix()
        for pattern in ("*.py", "checks/*.py", "configs/*.py", "configs/*.toml")
        for path in package.glob(pattern)
    }
    names = zipfile.ZipFile(wheel).namelist()
    held = {
        name for name in names if not re.match(r"minillm_course-\S+\.dist-info/", name)
    }
    assert held == wanted | {"minillm/py.typed"}
    assert any(name.endswith("licenses/LICENSE") for name in names)


def test_the_wheel_alone_trains_and_speaks(wheel, tmp_path):
    """A file that only a checkout has was read by the command that needed it."""
    site, here = tmp_path / "site", tmp_path / "here"
    here.mkdir()
    pip = [sys.executable, "-m", "pip", "install", "--quiet", "--no-deps", "--no-index"]
    subprocess.run([*pip, "--target", site, wheel], check=True)
    environment = {**os.environ, "PYTHONPATH": str(site)}

    def run(*words):
        done = subprocess.run(
            [sys.executable, *words],
            cwd=here,
            env=environment,
            capture_output=True,
            text=True,
        )
        assert done.returncode == 0, done.stderr
        return done.stdout

    where = run("-c", "import minillm; print(minillm.__file__)")
    assert Path(where.strip()).is_relative_to(site)
    assert run("-m", "minillm", "--version").strip() == wheel.name.split("-")[1]
    assert "parameter" in run("-m", "minillm", "describe")
    (here / "a.txt").write_text("ab cd. " * 99, encoding="utf-8")
    small = ["--n_layers", "1", "--d_model", "12", "--steps", "2", "--device", "cpu"]
    small += ["--context_length", "9", "--batch_size", "2"]
    run("-m", "minillm", "prepare", "a.txt")
    run("-m", "minillm", "train", "--data", "data/a", *small)
    text = run("-m", "minillm", "generate", "--prompt", "ab", "--max_new_tokens", "5")
    assert len(text.rstrip(os.linesep)) == 7


# ------------------------------------------------------------------ the bounds


def test_what_is_installed_for_the_book_meets_the_bounds_of_the_package():
    """A course that is only tested with newer packages has untested lower bounds."""
    lines = (ports.ROOT / "requirements.txt").read_text(encoding="utf-8").splitlines()
    ranges = dict(
        re.fullmatch(r"([\w-]+)([=<>].+)", x).groups()
        for x in lines
        if x[:1] not in ("", "#")
    )
    for one in PROJECT["project"]["dependencies"]:
        name, bound = one.split(">=")
        assert ranges[name].startswith(f">={bound}"), name


def test_lower_bounds_become_constraints():
    assert ports.lowest(["torch>=2.9", "regex>=2024.5", "transformers>=5"]) == [
        "torch==2.9.*",
        "regex==2024.5.*",
        "transformers==5.0.*",
    ]
    for wrong in ("torch", "torch==2.9", "torch>=2.9,<3", "torch>=2.9; python_version"):
        with pytest.raises(ValueError, match="must be a lower bound"):
            ports.lowest([wrong])
    assert len(ports.lowest(ports.requirements())) == len(ports.requirements()) > 8


def test_the_oldest_python_is_the_first_that_is_tried():
    assert PROJECT["project"]["requires-python"] == f">={ports.PYTHONS[0]}"


def test_what_was_tried_is_what_the_bounds_say_now():
    """A bound that was lowered since was never tried."""
    places = [(row["python"], row["bounds"]) for row in ROWS]
    assert len(set(places)) == len(places)
    assert set(places) == {(p, b) for p in ports.PYTHONS for b in ports.BOUNDS}
    bounds = dict(one.split(">=") for one in PROJECT["project"]["dependencies"])
    for row in ROWS:
        if row["why_not"]:
            continue
        assert row["exact"].startswith(row["python"])
        assert row["failed"] == len(row["failures"]) == 0, row
        assert row["passed"] > 1000
        if row["bounds"] == "lowest":
            for name in ("torch", "numpy"):
                assert f"{row[name]}.".startswith(f"{bounds[name]}."), row


# ------------------------------------------------------------------ the tool

JUNIT = """<testsuites><testsuite>
<testcase classname="tests.test_a" name="test_b" />
<testcase classname="tests.test_a" name="test_c">
<failure message="no&#10;more" /></testcase>
<testcase classname="tests.test_a" name="test_d"><error message="worse" /></testcase>
<testcase classname="tests.test_a" name="test_e"><skipped message="why" /></testcase>
</testsuite></testsuites>"""


def test_failures_and_errors_are_counted_and_named():
    """A table that counted only what passed would always look well."""
    assert ports.counted(JUNIT) == {
        "passed": 1,
        "failed": 2,
        "skipped": 1,
        "failures": ["tests.test_a::test_c: no", "tests.test_a::test_d: worse"],
    }


def test_a_row_takes_the_place_of_its_older_self(tmp_path):
    path = tmp_path / "ports.json"
    for python, bounds, passed in (
        ("3.13", "newest", 1),
        ("3.11", "lowest", 2),
        ("3.13", "newest", 3),
    ):
        ports.keep({"python": python, "bounds": bounds, "passed": passed}, path)
    rows = json.loads(path.read_text(encoding="utf-8"))["rows"]
    assert [row["passed"] for row in rows] == [3, 2]


def test_the_table_tells_why_a_row_is_empty(tmp_path):
    rows = [
        {
            "python": "3.11",
            "bounds": "lowest",
            "exact": "3.11.7",
            "torch": "2.9.1",
            "numpy": "2.1.3",
            **ports.counted(JUNIT),
            "why_not": "",
        },
        {"python": "3.12", "bounds": "newest", "why_not": "no python3.12 on PATH"},
    ]
    lines = ports.text(rows).splitlines()
    assert lines[1].split() == ["3.11.7", "lowest", "2.9.1", "2.1.3", "1", "2", "1"]
    assert lines[2].split() == ["3.12", "newest"]
    assert "failed: tests.test_a::test_d: worse" in lines
    assert lines[-1] == "3.12 newest: no python3.12 on PATH"
    for row in rows:
        ports.keep(row, tmp_path / "ports.json")
    assert ports.summary(tmp_path / "ports.json").splitlines()[2:] == [
        "| 3.11.7 | lowest | 2.9.1 | 2.1.3 | 1 | 2 | 1 |",
        "| 3.12 | newest | not possible: no python3.12 on PATH |  |  |  |  |",
    ]


def test_a_python_that_is_not_there_is_said(monkeypatch, tmp_path):
    monkeypatch.setenv("PATH", str(tmp_path))
    with pytest.raises(ports.NotPossibleError, match=r"no python3\.12 on PATH"):
        ports.measure("3.12", "newest", tmp_path / "a.whl", tmp_path / "b")


def test_the_tests_of_the_wheel_need_no_checkout(tmp_path):
    """Two of them imported the book, and could be run nowhere else."""
    ports.copy_tests(tmp_path)
    for path in (tmp_path / "tests").rglob("*.py"):
        found = re.findall(
            r"(?m)^(?:from|import) (\w+)", path.read_text(encoding="utf-8")
        )
        assert not {"book", "benchmarks", "torture", "mutants"} & set(found), path
