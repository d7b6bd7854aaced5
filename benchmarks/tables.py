"""What the results say: the tables of the page on speed.

Nothing is typed in: every number comes from ``results/*.json``, as ``make bench`` has
written them.
"""

from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any

from benchmarks import harness
from book.experiments.ledger import markdown

Row = Mapping[str, Any]

BENCHMARKS = (
    "speedrun",
    "step",
    "generation",
    "preparation",
    "startup",
    "growth",
)
"""In the order of the page; each has goals."""


def rows(name: str, **where: Any) -> list[Row]:
    """The rows of a benchmark whose columns have these values."""
    return [
        row
        for row in harness.read(name)["rows"]
        if all(row.get(key) == value for key, value in where.items())
    ]


def table(some: Iterable[Row], columns: Mapping[str, str]) -> str:
    """Rows as Markdown.

    Args:
        some: the rows.
        columns: what stands at the top of each column, and the key of its values.
    """
    lines = [[number(row.get(key, "")) for key in columns.values()] for row in some]
    return markdown(list(columns), lines)


def number(value: Any) -> str:
    """Three digits that mean something, and whole numbers as they are."""
    if isinstance(value, str):
        return value
    if isinstance(value, list):
        return " to ".join(number(one) for one in value)
    if isinstance(value, int) or abs(value) >= 1000:
        return f"{value:,.0f}"
    digits = next(
        d for d, least in ((0, 100), (1, 10), (2, 1), (3, 0)) if abs(value) >= least
    )
    return f"{value:.{digits}f}"


def goals(names: Sequence[str] = BENCHMARKS) -> str:
    """All goals, with what was measured and its quartiles, and whether they hold."""
    lines = [
        [
            goal["name"].replace("--", r"\-\-"),  # or a typographer makes a dash of it
            number(goal["at_least"]),
            number(goal["aim"]),
            number(goal["measured"]),
            number(goal["spread"]),
            verdict(goal),
        ]
        for name in names
        for goal in harness.read(name)["goals"]
    ]
    header = ["goal", "at least", "aim", "measured", "quartiles", "verdict"]
    return markdown(header, lines)


def verdict(goal: Row) -> str:
    """One word: the aim is reached, the goal is met, or missed."""
    if not goal["holds"]:
        return "**missed**"
    less = goal["at_least"] > goal["aim"]
    reached = (
        goal["measured"] <= goal["aim"] if less else goal["measured"] >= goal["aim"]
    )
    return "aim reached" if reached else "met"


def reasons(names: Sequence[str] = BENCHMARKS) -> str:
    """What is known about each goal that is missed, as a list."""
    missed = [
        f"- *{goal['name']}*: {goal['why_not']}"
        for name in names
        for goal in harness.read(name)["goals"]
        if not goal["holds"]
    ]
    return "\n".join(missed) or "Every goal is met."


def machines(names: Sequence[str] = BENCHMARKS) -> str:
    """Where the results come from: machine, threads and versions, once each."""
    found: dict[str, list[str]] = {}
    for name in names:
        about = harness.read(name)["about"]
        versions = ", ".join(f"{what} {v}" for what, v in about["versions"].items())
        if "litgpt" in about:
            versions += f", litgpt {about['litgpt']}"
        threads = f"{about['threads']} thread{'s' * (about['threads'] > 1)}"
        found.setdefault(f"{about['machine']}, {threads}; {versions}", []).append(name)
    return "\n".join(f"- {', '.join(n)}: {where}" for where, n in found.items())


def series(
    some: Iterable[Row],
    curve: str,
    x: str,
    y: str,
    rename: Callable[[Any], str] = str,
) -> dict[str, tuple[list[float], list[float]]]:
    """Rows as curves: one for each value of the column ``curve``."""
    found: dict[str, tuple[list[float], list[float]]] = {}
    for row in some:
        xs, ys = found.setdefault(rename(row[curve]), ([], []))
        xs.append(row[x])
        ys.append(row[y])
    return found
