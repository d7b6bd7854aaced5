"""Run every benchmark, or the ones named."""

import argparse
import importlib
import time

NAMES = (
    "ladder",
    "speedrun",
    "step",
    "generation",
    "eight_bits",
    "preparation",
    "startup",
    "growth",
)
"""Modules of this package; each has a ``main(threads)`` and writes its results."""

parser = argparse.ArgumentParser(prog="python -m benchmarks", description=__doc__)
parser.add_argument("names", nargs="*", choices=[[], *NAMES], default=[])
parser.add_argument("--threads", type=int, default=1, help="threads of each run (1)")
options = parser.parse_args()
for name in options.names or NAMES:
    began = time.perf_counter()
    print(f"--- {name}", flush=True)
    importlib.import_module(f"benchmarks.{name}").main(options.threads)
    print(f"--- {name}: {time.perf_counter() - began:.0f} s", flush=True)
