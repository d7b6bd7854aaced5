"""What the rows of ``run.py`` say: means, differences, intervals."""

from collections.abc import Sequence
from pathlib import Path
from statistics import fmean

from book.experiments.records import read
from minillm.plots import interval

HERE = Path(__file__).resolve().parent


def rows(name: str) -> list[dict[str, str]]:
    """All rows of a table beside this file."""
    return read(HERE / f"{name}.csv")


def column(name: str, key: str, measure: str) -> dict[str, list[float]]:
    """One number a seed, in the order of seeds, for each value of ``key``."""
    found: dict[str, list[float]] = {}
    for row in sorted(rows(name), key=lambda row: int(row["seed"])):
        found.setdefault(row[key], []).append(float(row[measure]))
    return found


def gaps(measure: str, arm: str, other: str = "human") -> list[float]:
    """``arm`` minus ``other``, one difference a seed."""
    found = column("results", "arm", measure)
    return [a - b for a, b in zip(found[arm], found[other], strict=True)]


def told(values: Sequence[float]) -> str:
    """Mean and half of the 95 % interval, for print."""
    return "{:+.3f} ± {:.3f}".format(*interval(values))


def means(measures: Sequence[str]) -> list[str]:
    """A line for each arm, under a line of names."""
    columns = [column("results", "arm", measure) for measure in measures]
    short = [measure.removeprefix("judge_") for measure in measures]
    lines = [" " * 21 + "".join(f"{name:>11}" for name in short)]
    for arm in columns[0]:
        numbers = "".join(f"{fmean(values[arm]):11.3f}" for values in columns)
        lines.append(f"{arm:21}{numbers}")
    return lines


def after(draw: str) -> list[list[float]]:
    """Loss after a forced draw: for each distance, one number a seed."""
    found: dict[int, list[float]] = {}
    for row in rows("after"):
        if row["draw"] == draw:
            found.setdefault(int(row["offset"]), []).append(float(row["loss"]))
    return [found[offset] for offset in sorted(found)]


def after_gap(first: int, last: int) -> list[float]:
    """Loss after the tail minus after the body, over some distances; one a seed."""
    tail, body = after("tail")[first : last + 1], after("body")[first : last + 1]
    return [
        fmean(a) - fmean(b)
        for a, b in zip(zip(*tail, strict=True), zip(*body, strict=True), strict=True)
    ]
