"""What a planted bug is."""

from dataclasses import dataclass


@dataclass(frozen=True)
class Mutant:
    """One slip: ``old``, which stands once in ``minillm/file``, becomes ``new``."""

    file: str
    old: str
    new: str
    why: str
