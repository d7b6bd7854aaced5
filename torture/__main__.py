"""Make every attack, or the ones named, and print what was lost.

The rows go to ``torture/results.json``, which the book shows, unless ``--tries`` says
how often: a few tries are no reason to change the book.
"""

import argparse
import importlib
import sys
from collections.abc import Iterable
from pathlib import Path

from torture import attack, table
from torture.attack import Attack

MODULES = ("kill", "corrupt", "fuzz", "starve", "others", "doors", "numbers")
"""Modules of this package; each has a tuple ``ATTACKS``."""


def attacks(kinds: Iterable[str] = MODULES) -> list[tuple[str, Attack]]:
    """The attacks of these modules, each with the module's name."""
    return [
        (kind, one)
        for kind in kinds
        for one in importlib.import_module(f"torture.{kind}").ATTACKS
    ]


def main() -> int:
    """Attack; the exit code is 1 if anything was lost."""
    parser = argparse.ArgumentParser(
        prog="python -m torture", description=(__doc__ or "").splitlines()[0]
    )
    parser.add_argument(
        "modules", nargs="*", choices=[[], *MODULES], default=[], help="(all)"
    )
    parser.add_argument("--attack", help="only those whose name holds this")
    parser.add_argument("--tries", type=int, help="of each attack, at most (its own)")
    parser.add_argument("--seed", type=int, default=0, help="another draws others (0)")
    parser.add_argument(
        "--out",
        type=Path,
        help="for the rows (torture/results.json; with --tries none)",
    )
    options = parser.parse_args()
    if sys.platform == "win32":
        parser.error("the attacks need signals, limits and locks that Windows lacks")
    out = options.out or (table.RESULTS if options.tries is None else None)
    chosen = [
        (kind, one)
        for kind, one in attacks(options.modules or MODULES)
        if options.attack is None or options.attack in one.name
    ]
    results = []
    for name, one in chosen:
        tries = one.tries if options.tries is None else options.tries
        print(f"{one.name} ...", flush=True)
        result = attack.make(one, tries, options.seed)
        for lost in result.losses:
            print(f"    LOST: {lost}")
        results.append(result)
        if out is not None:
            table.keep(name, result, options.seed, out)
    print()
    print(table.text([result.row() for result in results]))
    return int(any(result.losses for result in results))


if __name__ == "__main__":
    sys.exit(main())
