"""Run every benchmark, or the ones named."""

import argparse

from benchmarks import ladder

BENCHMARKS = {"ladder": ladder.main}

parser = argparse.ArgumentParser(prog="python -m benchmarks", description=__doc__)
parser.add_argument("names", nargs="*", choices=[[], *BENCHMARKS], default=[])
parser.add_argument("--threads", type=int, default=1, help="threads of each run (1)")
options = parser.parse_args()
for name in options.names or BENCHMARKS:
    BENCHMARKS[name](options.threads)
