"""What does it look like? The few shapes of plot in the book: numbers in, a figure out.

Colours are Okabe and Ito's, which most colour-blind readers can tell apart, and no
meaning hangs on colour alone. Figures keep a white ground, so that they read the same
on a light and on a dark page. Every function draws one figure and shows it.
"""

import csv
import statistics
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import matplotlib.pyplot as plt
from matplotlib.axes import Axes
from torch import Tensor

COLOURS = ("#0072b2", "#d55e00", "#009e73", "#cc79a7", "#56b4e9", "#777777")
"""Okabe and Ito's, the darkest first, and a grey; yellow is too faint on white."""

STYLE: Any = {  # keys of matplotlib.rcParams
    "figure.dpi": 110,
    "figure.facecolor": "white",
    "figure.constrained_layout.use": True,
    "axes.facecolor": "white",
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.axisbelow": True,
    "legend.frameon": False,
    "font.family": "DejaVu Sans",
    "font.size": 10,
}
WIDTH = 6.4  # inches: the text column of the book

Curve = tuple[Sequence[float], Sequence[float]]
"""Where, and how high."""

T_95 = {5: 2.776, 6: 2.571, 7: 2.447, 8: 2.365, 9: 2.306, 10: 2.262}
"""By number of pairs: Student's t, in standard errors, for a 95 % interval."""


def results(
    path: str | Path, column: str = "val_loss", step: int | None = None
) -> dict[str, list[float]]:
    """One column of an experiment's rows: a list for each arm, in the order of seeds.

    Args:
        path: the experiment's results.csv.
        column: which number.
        step: after which step; each arm's last one if left out.

    Raises:
        ValueError: the file has no such column, or no such step.
    """
    with Path(path).open(newline="", encoding="utf8") as file:
        rows = [row for row in csv.DictReader(file) if row["stage"] == "final"]
    if not rows or column not in rows[0]:
        raise ValueError(f"{path} has no finished runs with a column {column!r}")
    last = {row["arm"]: 0 for row in rows}
    for row in rows:
        last[row["arm"]] = max(last[row["arm"]], int(row["step"]))
    wanted = {arm: end if step is None else step for arm, end in last.items()}
    kept = [row for row in rows if int(row["step"]) == wanted[row["arm"]]]
    if not kept:
        raise ValueError(f"{path} has no rows at step {step}")
    kept.sort(key=lambda row: int(row["seed"]))
    return {a: [float(r[column]) for r in kept if r["arm"] == a] for a in last}


def interval(values: Sequence[float]) -> tuple[float, float]:
    """Mean of 5 to 10 values, and half the width of its 95 % interval.

    Raises:
        ValueError: there are fewer than 5 values, or more than 10.
    """
    if len(values) not in T_95:
        raise ValueError(f"an interval needs 5 to 10 values, not {len(values)}")
    error = statistics.stdev(values) / len(values) ** 0.5
    return statistics.mean(values), T_95[len(values)] * error


def curves(
    series: Mapping[str, Curve],
    *,
    xlabel: str = "training step",
    ylabel: str = "validation loss (nats per token)",
    levels: Mapping[str, float] | None = None,
    log_x: bool = False,
    log_y: bool = False,
    marker: str = "",
) -> None:
    """Curves by name; every second one is dashed, so that none hides another.

    Args:
        series: the curves.
        xlabel: of the horizontal axis.
        ylabel: of the vertical axis.
        levels: heights to compare with, drawn as dotted lines and named at the edge.
        log_x: whether the horizontal axis is logarithmic.
        log_y: whether the vertical axis is logarithmic.
        marker: matplotlib's sign for the points, if they are to be seen.
    """
    with _figure(3.4) as ax:
        for i, (name, (places, heights)) in enumerate(series.items()):
            dashed = i % 2 == 1
            ax.plot(
                places,
                heights,
                color=COLOURS[i % len(COLOURS)],
                label=name,
                linewidth=1.8 if dashed else 3.5,
                linestyle="--" if dashed else "-",
                alpha=1.0 if dashed else 0.55,
                marker=marker,
            )
        for name, height in (levels or {}).items():
            ax.axhline(height, color="black", linestyle=":", linewidth=1.2)
            # outside of the curves, which mostly run between two levels
            above = height > sum(ax.get_ylim()) / 2
            ax.annotate(
                name,
                (1, height),
                xycoords=("axes fraction", "data"),
                xytext=(0, 3 if above else -3),
                textcoords="offset points",
                horizontalalignment="right",
                verticalalignment="bottom" if above else "top",
                fontsize=9,
            )
        if levels:
            ax.margins(y=0.1)
        ax.set(xlabel=xlabel, ylabel=ylabel)
        every = sorted({place for places, _ in series.values() for place in places})
        if log_x:
            ax.set_xscale("log")
            if len(every) <= 10:  # few enough to name each, in place of powers of ten
                ax.set_xticks(every, [f"{place:,g}" for place in every], minor=False)
                ax.minorticks_off()
        elif not marker:  # a marker at the edge would be cut in half
            ax.set_xlim(every[0], every[-1])
        if log_y:
            ax.set_yscale("log")
        if levels:  # their names need the room inside
            ax.legend(loc="lower left", bbox_to_anchor=(0, 1), ncols=3)
        else:
            ax.legend(frameon=True, framealpha=0.9, edgecolor="none")


def bars(values: Mapping[str, float], label: str, *, digits: int = 1) -> None:
    """One horizontal bar a name, its number at the end; the first on top."""
    with _figure(0.6 + 0.36 * len(values)) as ax:
        drawn = ax.barh(list(values), list(values.values()), color=COLOURS[0])
        numbers = [f"{value:.{digits}f}" for value in values.values()]
        ax.bar_label(drawn, numbers, padding=4)
        ax.invert_yaxis()
        ax.set(xlabel=label, xlim=(0, 1.12 * max(values.values())))


def histogram(
    samples: Mapping[str, Tensor],
    bins: Tensor,
    xlabel: str,
    *,
    ylabel: str = "count",
    mark: tuple[str, float] | None = None,
    log_x: bool = False,
) -> None:
    """Distributions over the same bins, and one value marked by a dashed line."""
    with _figure(3.0) as ax:
        for i, (name, values) in enumerate(samples.items()):
            colour = COLOURS[i % len(COLOURS)]
            ax.hist(
                values.flatten().tolist(),
                bins=bins.tolist(),
                color=colour,
                alpha=0.6,
                label=name,
            )
        if log_x:
            ax.set_xscale("log")
        if mark is not None:
            text, value = mark
            ax.axvline(value, color="black", linestyle="--", linewidth=1)
            ax.annotate(
                text,
                (value, 1),
                xycoords=("data", "axes fraction"),
                xytext=(5, 0),
                textcoords="offset points",
                verticalalignment="top",
            )
        ax.set(xlabel=xlabel, ylabel=ylabel, xlim=(bins[0].item(), bins[-1].item()))
        ax.legend()


def paired(differences: Mapping[str, Sequence[float]], label: str) -> None:
    """A dot a pair, and below it the mean with its 95 % interval.

    Args:
        differences: for each comparison, one difference a seed.
        label: of the axis.
    """
    with _figure(0.9 + 0.7 * len(differences)) as ax:
        for i, values in enumerate(differences.values()):
            colour = COLOURS[i % len(COLOURS)]
            mean, half = interval(values)
            ax.plot(values, [i + 0.18] * len(values), "o", color=colour, alpha=0.5)
            ax.errorbar(
                mean,
                i - 0.12,
                xerr=half,
                fmt="D",
                color=colour,
                capsize=5,
                linewidth=2,
            )
        ax.axvline(0, color="black", linestyle="--", linewidth=1)
        ax.set(yticks=range(len(differences)), yticklabels=list(differences))
        ax.set(ylim=(len(differences) - 0.5, -0.5), xlabel=label)


def heatmap(
    table: Tensor,
    rows: Sequence[str],
    columns: Sequence[str],
    label: str,
    *,
    xlabel: str = "",
    ylabel: str = "",
    highest: float | None = None,
) -> None:
    """A table as a picture: the darker a field, the larger its number.

    Args:
        table: of shape (rows, columns).
        rows: a name for each row, written at the left.
        columns: a name for each column, written below.
        label: what the numbers are.
        xlabel: what the columns are.
        ylabel: what the rows are.
        highest: the number of the darkest shade; larger ones look the same.
    """
    square = 0.78 * WIDTH * len(rows) / len(columns)
    with _figure(1.1 + min(square, 0.38 * len(rows))) as ax:
        picture = ax.imshow(
            table.tolist(), cmap="Blues", vmin=0, vmax=highest, aspect="auto"
        )
        size = 10 if len(columns) <= 32 else 6
        ax.set_xticks(range(len(columns)), columns, fontsize=size)
        ax.set_yticks(range(len(rows)), rows, fontsize=size)
        ax.tick_params(length=0)
        ax.spines[:].set_visible(False)
        ax.set(xlabel=xlabel, ylabel=ylabel)
        ax.figure.colorbar(picture, ax=ax, label=label, fraction=0.04, pad=0.02)


def clouds(panels: Mapping[str, Tensor], colour: Tensor, label: str) -> None:
    """Points in three dimensions, side by side, and the line along (1, 1, 1).

    Args:
        panels: points of shape (n, 3) under each title.
        colour: one number for each point, the same in all panels.
        label: what the colour says.
    """
    with plt.rc_context(STYLE):
        figure = plt.figure(figsize=(1.25 * WIDTH, 2.9))
        for i, (title, points) in enumerate(panels.items()):
            ax: Any = figure.add_subplot(1, len(panels), i + 1, projection="3d")
            reach = points.abs().max().item()
            line = (-reach, reach)
            ax.plot(line, line, line, color=COLOURS[-1], linewidth=1)
            across, along, up = points.T.tolist()
            dots = ax.scatter(
                across, along, up, c=colour.tolist(), cmap="viridis", s=10, alpha=0.9
            )
            ax.set(xlim=line, ylim=line, zlim=line)
            ax.set(xticklabels=[], yticklabels=[], zticklabels=[])
            ax.set_title(title, y=0.98)
            ax.view_init(16, -22)
            ax.set_box_aspect((1, 1, 1), zoom=1.1)
        figure.colorbar(dots, ax=figure.axes, shrink=0.7, pad=0.04, label=label)
        plt.show()


def sharing(panels: Mapping[str, tuple[int, int]]) -> None:
    """Which query head, a circle, uses which key/value head, a square below it.

    Neighbours share, and the heads of a group have one colour. The number in a square
    is how many query heads use it.

    Args:
        panels: query heads and key/value heads under each title.
    """
    with plt.rc_context(STYLE):
        figure = plt.figure(figsize=(WIDTH, 1.9))
        figure.subplots(1, len(panels))
        for ax, (title, (n_heads, n_kv_heads)) in zip(
            figure.axes, panels.items(), strict=True
        ):
            size = n_heads // n_kv_heads
            for head in range(n_heads):
                group = head // size
                colour = COLOURS[group % len(COLOURS)]
                below = (group + 0.5) * size - 0.5
                ax.plot((head, below), (1, 0), color=colour, linewidth=2, zorder=1)
                ax.plot(head, 1, "o", color=colour, markersize=12)
                ax.plot(below, 0, "s", color=colour, markersize=15)
            for group in range(n_kv_heads):
                place = (group + 0.5) * size - 0.5, 0
                ax.annotate(str(size), place, color="white", ha="center", va="center")
            ax.set(xlim=(-0.7, n_heads - 0.3), ylim=(-0.4, 1.3), title=title)
            ax.set_xticks([])
            ax.set_yticks((0, 1), ("keys and\nvalues", "queries"))
            ax.tick_params(length=0, labelleft=ax is figure.axes[0])
            ax.spines[:].set_visible(False)
        plt.show()


def chances(
    before: Mapping[str, tuple[Sequence[str], Sequence[float]]],
    after: Mapping[str, Sequence[Sequence[float]]],
) -> None:
    """What each setting makes of a few distributions: a column each, a row a setting.

    A grey outline is the chance before, a bar the chance after. Where the outline is
    empty, nothing is left.

    Args:
        before: names of tokens and their chances under each title.
        after: for each setting, the chances in each column.
    """
    with plt.rc_context(STYLE):
        size = (1.15 * WIDTH, 1.0 + 1.25 * len(after))
        figure = plt.figure(figsize=size)
        axes = figure.subplots(len(after), len(before), squeeze=False, sharex="col")
        for i, (setting, columns) in enumerate(after.items()):
            for j, (title, (names, old)) in enumerate(before.items()):
                ax, places, new = axes[i][j], range(len(names)), columns[j]
                ax.bar(places, new, color=COLOURS[i % len(COLOURS)], alpha=0.75)
                ax.bar(places, old, color="none", edgecolor="#555555", linewidth=0.9)
                highest = max(*old, *(c for every in after.values() for c in every[j]))
                ax.set_ylim(0, 1.1 * highest)  # one scale a column
                if i == 0:
                    ax.set_title(title, fontsize=10)
                if j == 0:
                    ax.set_ylabel(setting)
                ax.set_xticks(places, names, rotation=90, fontsize=8)
                ax.tick_params(axis="x", length=0, labelbottom=i == len(after) - 1)
        figure.align_ylabels(axes[:, 0])
        plt.show()


def layers(rows: Sequence[Sequence[str]], arrows: Iterable[tuple[str, str]]) -> None:
    """Boxes in rows, and a line from each to every box below that it needs.

    Args:
        rows: names, from the top.
        arrows: pairs of names: the upper one, and one that it needs.
    """
    widest = max(len(row) for row in rows)
    places = {
        name: ((i + 0.5) * widest / len(row), -j)
        for j, row in enumerate(rows)
        for i, name in enumerate(row)
    }
    with _figure(0.62 * len(rows) + 0.2) as ax:
        for upper, lower in sorted(arrows):
            (x, y), (u, v) = places[upper], places[lower]
            ax.plot([x, u], [y, v], color=COLOURS[-1], linewidth=0.8, alpha=0.6)
        for name, (x, y) in places.items():
            box = {"boxstyle": "round,pad=0.35", "fc": "white", "ec": COLOURS[0]}
            ax.text(x, y, name, ha="center", va="center", bbox=box, fontsize=9)
        ax.set(xlim=(0, widest), ylim=(-len(rows) + 0.5, 0.5))
        ax.axis("off")


def visible(token: str) -> str:
    """A token as a label: a space, a line end and a tab get a sign of their own."""
    return token.replace(" ", "␣").replace("\n", "↵").replace("\t", "⇥")


@contextmanager
def _figure(height: float) -> Iterator[Axes]:
    """An empty figure in the book's style; shown when the drawing is done."""
    with plt.rc_context(STYLE):
        _, ax = plt.subplots(figsize=(WIDTH, height))
        yield ax
        plt.show()
