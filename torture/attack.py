"""What is an attack? Something that is tried again and again, and may lose nothing.

A trial does harm to the package, and then looks whether a promise still holds. It says
in one sentence what was lost, or nothing. An attack that cannot be tried on this
machine says why, which is not the same as having survived.
"""

import sys
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from itertools import islice
from random import Random
from typing import Any

Trial = str | None
"""What was lost, in one sentence; None if nothing was."""


class NotPossibleError(Exception):
    """This machine lacks what the attack needs; the message says what."""


def on_linux(
    trials: Callable[[Random], Iterator[Trial]],
) -> Callable[[Random], Iterator[Trial]]:
    """The same trials, which are not possible elsewhere."""

    def here(random: Random) -> Iterator[Trial]:
        if sys.platform != "linux":
            raise NotPossibleError("tried on Linux only")
        yield from trials(random)

    return here


@dataclass(frozen=True)
class Attack:
    """One way of doing harm.

    Args:
        name: what is done, in a few words; unique.
        promise: what holds nevertheless, in one sentence.
        trials: makes trials as they are asked for, drawing what is random from the
            generator it gets. It may end by itself, when everything has been tried.
        tries: how many ``make torture`` makes at most; None: all there are.
        few: how many the tests make.
    """

    name: str
    promise: str
    trials: Callable[[Random], Iterator[Trial]]
    tries: int | None
    few: int


@dataclass(frozen=True)
class Result:
    """What came of an attack."""

    name: str
    promise: str
    tries: int
    losses: tuple[str, ...]
    seconds: float
    why_not: str = ""
    """What this machine lacked, if the attack could not be made."""

    @property
    def survived(self) -> int:
        """Trials that lost nothing."""
        return self.tries - len(self.losses)

    def row(self) -> dict[str, Any]:
        """The result as it is stored."""
        return {
            "attack": self.name,
            "promise": self.promise,
            "tries": self.tries,
            "survived": self.survived,
            "lost": len(self.losses),
            "losses": list(self.losses[:10]),
            "seconds": round(self.seconds, 1),
            "why_not": self.why_not,
        }


def make(attack: Attack, tries: int | None, seed: int) -> Result:
    """Make an attack, at most ``tries`` times, or until it ends by itself.

    Args:
        attack: what to do.
        tries: how often.
        seed: other seeds draw other moments and other garbage.
    """
    began = time.perf_counter()
    losses: list[str] = []
    done, why_not = 0, ""
    try:
        for lost in islice(attack.trials(Random(seed)), tries):
            done += 1
            if lost is not None:
                losses.append(lost)
    except NotPossibleError as reason:
        why_not = str(reason)
    seconds = time.perf_counter() - began
    return Result(attack.name, attack.promise, done, tuple(losses), seconds, why_not)
