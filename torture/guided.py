"""Feed a target with what atheris makes: ``python -m torture.guided TARGET SEEDS``.

A process of its own, because atheris rewrites the code it watches while that is
imported, and ends the process when it has found something.
"""

import sys
import tempfile
from pathlib import Path

import atheris  # type: ignore[import-not-found]

with atheris.instrument_imports(include=["minillm", "tomllib", "json"]):
    from torture import fuzz


def main() -> None:
    """Feed until all runs are done, or something is lost."""
    name, *options = sys.argv[1:]
    with tempfile.TemporaryDirectory() as folder:

        def feed(content: bytes) -> None:
            lost = fuzz.fed(name, content, Path(folder))
            if lost is not None:
                raise fuzz.BrokenError(lost)

        atheris.Setup([sys.argv[0], *options], feed)
        atheris.Fuzz()


if __name__ == "__main__":
    main()
