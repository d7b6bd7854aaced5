"""What the rows say to each claim: the tables of the page ``claims``.

Nothing is typed in: parameters and operations come from an arm's configuration, the
rest from the claim's rows.
"""

from collections.abc import Sequence
from pathlib import Path
from statistics import fmean, median

from book.experiments import ablation
from book.experiments.ablation import Run
from book.experiments.clock import BASELINES
from book.experiments.records import read
from book.experiments.sampling import tables as sampling
from minillm import costs
from minillm.config import ModelConfig
from minillm.plots import interval, results

HERE = Path(__file__).resolve().parent
Row = dict[str, str]


def rows(path: str) -> list[Row]:
    """All rows of a table beside this file."""
    return read(HERE / path)


def markdown(header: Sequence[str], lines: Sequence[Sequence[str]]) -> str:
    """A table; every column but the first is aligned at the right."""
    rule = ["---", *["--:"] * (len(header) - 1)]
    return "\n".join(f"| {' | '.join(line)} |" for line in (header, rule, *lines))


# ------------------------------------------------------------------ losses


def minus(claim: str, arm: str, baseline: str) -> list[float]:
    """Held-out loss of ``arm`` minus that of ``baseline``, one difference a seed."""
    found = results(HERE / claim / "results.csv")
    return [a - b for a, b in zip(found[arm], found[baseline], strict=True)]


def bounds(differences: Sequence[float]) -> tuple[float, float]:
    """Both ends of the 95 % interval of the mean difference."""
    middle, half = interval(differences)
    return middle - half, middle + half


def words(differences: Sequence[float], digits: int = 3) -> str:
    """The mean difference in nats with its 95 % interval, and what it says."""
    (low, high), (middle, half) = bounds(differences), interval(differences)
    said = "lower" if high < 0 else "higher" if low > 0 else "not significant"
    return f"{middle:+.{digits}f} ± {half:.{digits}f}, {said}"


def shape(claim: str, arm: str) -> ModelConfig:
    """The model that an arm trains."""
    run = Run(claim, arm, "final", 0.004, 0)  # rate and seed do not matter here
    return ablation.configuration(run, ablation.text()).model


def losses(claim: str) -> str:
    """A claim's arms: what each costs, what it reached, and what it gained."""
    baseline, path = BASELINES[claim], HERE / claim / "results.csv"
    found, steps = results(path), results(path, "step")
    clock = {row["arm"]: float(row["ratio"]) for row in rows(f"{claim}/steps.csv")}
    lines = []
    for arm in sorted(found, key=lambda name: name != baseline):  # the baseline first
        model, number = shape(claim, arm), steps[arm][0]
        time = clock[arm.removesuffix("-longer")] * number / steps[baseline][0]
        gained = "" if arm == baseline else words(minus(claim, arm, baseline))
        lines.append(
            (
                f"`{arm}`",
                f"{costs.num_parameters(model):,}",
                f"{costs.train_flops_per_token(model) / 1e6:.2f}",
                f"{number:.0f}",
                f"{time:.2f}",
                f"{fmean(found[arm]):.3f}",
                gained,
            )
        )
    header = ("arm", "parameters", "MFLOPs a token", "steps", "time", "loss")
    return markdown((*header, f"minus `{baseline}`"), lines)


def bigrams() -> str:
    """The trained bigram tables against the counted one."""
    final = [
        row
        for row in rows("bigram/results.csv")
        if row["stage"] == "final" and row["step"] != "50"
    ]
    lines = []
    for split, alpha in (("train", "0.0"), ("val", "1.0")):
        name = f"{split}_loss"
        [counted] = [float(r[name]) for r in final if r["alpha"] == alpha]
        for arm in ("adamw", "sgd"):
            gaps = [float(r[name]) - counted for r in final if r["arm"] == arm]
            lines.append((f"`{arm}`", split, f"{counted:.4f}", words(gaps, 4)))
    return markdown(("arm", "text", "counted", "minus counted"), lines)


# ------------------------------------------------------------------ lengths, times


def lengths() -> str:
    """Mean loss of the trained models of ``rope`` by length of the window."""
    found = rows("rope/lengths.csv")
    sizes = sorted({int(row["length"]) for row in found})
    lines = []
    for arm, method in dict.fromkeys((row["arm"], row["method"]) for row in found):
        line = [f"`{arm}`, {method}"]
        for size in sizes:
            values = [
                float(row["loss"])
                for row in found
                if (row["arm"], row["method"]) == (arm, method)
                and row["length"] == str(size)
            ]
            line.append(f"{fmean(values):.2f}" if values else "")
        lines.append(line)
    return markdown(("read", *map(str, sizes)), lines)


def times(claim: str, what: str, *names: str) -> str:
    """Ratios of a claim's clock: the median, and where most rounds lay."""
    lines = [
        [
            ", ".join(row[name] for name in names),
            f"{float(row['ratio']):.2f}",
            f"{float(row['low']):.2f} to {float(row['high']):.2f}",
        ]
        for row in rows(f"{claim}/timing.csv")
        if row["what"] == what
    ]
    return markdown((what, "ratio", "8 of 10 rounds"), lines)


# ------------------------------------------------------------------ engineering


def planted() -> str:
    """The planted mistakes of ``refactor``: who notices how many, at what cost."""
    found = rows("refactor/noticed.csv")
    lines = []
    for asked in dict.fromkeys(row["asked"] for row in found):
        mine = [row for row in found if row["asked"] == asked]
        noticed = sum(row["noticed"] == "yes" for row in mine)
        seconds = median(float(row["cpu_seconds"]) for row in mine)
        lines.append((f"`{asked}`", f"{noticed} of {len(mine)}", f"{seconds:.1f}"))
    return markdown(("asked", "mistakes noticed", "CPU seconds"), lines)


def memory() -> str:
    """What a process holds that loads or maps a file, without a limit and with one."""
    ways = {"load": "load", "touch": "map, read all", "train": "map, train"}
    lines = []
    for row in rows("memmap/results.csv"):
        if row["what"] not in ("growth", "limit"):
            continue
        limit = row["limit_mb"] or "none"
        held = (f"{float(row[name]):.0f}" for name in ("anon_mb", "file_mb"))
        failed = row["outcome"] == "MemoryError"
        done = "fails" if failed else "succeeds"
        lines.append(
            (
                ways[row["name"]],
                row["size_mb"],
                limit,
                done,
                *(("", "") if failed else held),
            )
        )
    header = ("way", "file, MB", "limit, MB", "it", "anonymous, MB", "file-backed, MB")
    return markdown(header, lines)


def missed() -> list[float]:
    """Share of an epoch that windows drawn with replacement miss, one a seed."""
    return [
        float(row["share"])
        for row in rows("memmap/results.csv")
        if (row["what"], row["name"], row["epochs"])
        == ("coverage", "with replacement", "1")
    ]


def caching() -> str:
    """Time of a token after so many others, in times of the preallocated cache."""
    found = rows("kvcache/timing.csv")
    sizes = sorted({int(row["context"]) for row in found})
    exponents = {row["name"]: row for row in rows("kvcache/exponents.csv")}
    lines = []
    for name in dict.fromkeys(row["name"] for row in found):
        ratios = {int(r["context"]): r["ratio"] for r in found if r["name"] == name}
        fit = exponents[name]
        low, high = float(fit["low"]), float(fit["high"])
        lines.append(
            (
                f"`{name}`",
                *(f"{float(ratios[size]):.2f}" for size in sizes),
                f"{float(fit['exponent']):.2f} ({low:.2f} to {high:.2f})",
            )
        )
    return markdown(("way", *map(str, sizes), "exponent"), lines)


def texts(*measures: str) -> str:
    """What generated text differs from human text by, for each way to sample."""
    settings = dict.fromkeys(row["arm"] for row in rows("sampling/results.csv"))
    lines = []
    for arm in settings:
        if arm in ("human", "after tail", "after body"):
            continue
        gaps = [interval(sampling.gaps(measure, arm)) for measure in measures]
        lines.append((arm, *(f"{mean:+.3f} ± {half:.3f}" for mean, half in gaps)))
    header = (measure.replace("_", " ") for measure in measures)
    return markdown(("minus human text", *header), lines)


def formats() -> str:
    """The arms of ``amp``: what was reached, skipped and lost in each format."""
    path = HERE / "amp/results.csv"
    found = results(path)
    skipped, zeros = results(path, "skipped"), results(path, "zero_share")
    lines = []
    for arm, values in found.items():
        pairs = zip(values, found["float32"], strict=True)
        gained = "" if arm == "float32" else words([a - b for a, b in pairs])
        lines.append(
            (
                f"`{arm}`",
                f"{fmean(values):.3f}",
                f"{sum(skipped[arm]):.0f}",
                f"{100 * fmean(zeros[arm]):.2f}",
                gained,
            )
        )
    header = ("arm", "loss", "steps skipped", "% of gradients zero", "minus `float32`")
    return markdown(header, lines)
