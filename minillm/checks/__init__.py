"""Does a reader's own code do what the chapter asks, and if not, which bug is it?

A check never raises: whatever it is handed, the answer is a :class:`Report` that shows
itself. It says ``not started``, ``6 of 6``, or which properties fail and the one most
likely cause. ``tests/bugzoo`` holds the wrong versions that every check has met.

One file a chapter. A file is named for its chapter and a check for what it checks, and
no check is called like a file: ``checks.x`` must never be a function in one cell and a
module in the next. Checks are found on first use, so importing this package imports
neither PyTorch nor the other chapters.
"""

import importlib
import warnings
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from html import escape
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from minillm.checks.amp import loss_scaler
    from minillm.checks.bigram import count_bigrams, draw_token, next_token_loss
    from minillm.checks.fullrun import (
        bits_per_byte,
        chinchilla,
        model_flops_utilisation,
    )
    from minillm.checks.gpt import causal_attention, layer_norm
    from minillm.checks.gqa import cache_bytes, grouped_attention, pool_heads
    from minillm.checks.kvcache import (
        attend_with_past,
        layer_cache,
        padded_mask,
        padded_positions,
    )
    from minillm.checks.memmap import learn_merges, narrow, token_reader
    from minillm.checks.refactor import batch_of_step, resume, strict_config
    from minillm.checks.rmsnorm import rms_norm
    from minillm.checks.rope import rotate, to_split_half
    from minillm.checks.sampling import (
        draw,
        keep_top_k,
        keep_top_p,
        next_probabilities,
    )
    from minillm.checks.swiglu import fair_width, gated_feed_forward

CHECKS = {
    "count_bigrams": "bigram",
    "next_token_loss": "bigram",
    "draw_token": "bigram",
    "causal_attention": "gpt",
    "layer_norm": "gpt",
    "rms_norm": "rmsnorm",
    "rotate": "rope",
    "to_split_half": "rope",
    "gated_feed_forward": "swiglu",
    "fair_width": "swiglu",
    "grouped_attention": "gqa",
    "pool_heads": "gqa",
    "cache_bytes": "gqa",
    "strict_config": "refactor",
    "batch_of_step": "refactor",
    "resume": "refactor",
    "learn_merges": "memmap",
    "narrow": "memmap",
    "token_reader": "memmap",
    "loss_scaler": "amp",
    "attend_with_past": "kvcache",
    "layer_cache": "kvcache",
    "padded_positions": "kvcache",
    "padded_mask": "kvcache",
    "keep_top_k": "sampling",
    "keep_top_p": "sampling",
    "next_probabilities": "sampling",
    "draw": "sampling",
    "chinchilla": "fullrun",
    "bits_per_byte": "fullrun",
    "model_flops_utilisation": "fullrun",
}
"""Which file holds which check, in the order of the book."""

__all__ = [
    "Report",
    "attend_with_past",
    "batch_of_step",
    "bits_per_byte",
    "cache_bytes",
    "causal_attention",
    "chinchilla",
    "count_bigrams",
    "draw",
    "draw_token",
    "fair_width",
    "gated_feed_forward",
    "grouped_attention",
    "keep_top_k",
    "keep_top_p",
    "layer_cache",
    "layer_norm",
    "learn_merges",
    "loss_scaler",
    "model_flops_utilisation",
    "narrow",
    "next_probabilities",
    "next_token_loss",
    "padded_mask",
    "padded_positions",
    "pool_heads",
    "resume",
    "rms_norm",
    "rotate",
    "strict_config",
    "to_split_half",
    "token_reader",
]


def __getattr__(name: str) -> Any:
    if name not in CHECKS:
        raise AttributeError(f"minillm.checks has no check named {name!r}")
    return getattr(importlib.import_module(f"minillm.checks.{CHECKS[name]}"), name)


def __dir__() -> list[str]:
    return [*globals(), *CHECKS]


# ------------------------------------------------------------------ the answer


@dataclass(frozen=True)
class Report:
    """What was tried, what held, and the likely cause of the first failure."""

    subject: str
    results: tuple[tuple[str, bool], ...] = ()
    hint: str = ""

    @property
    def verdict(self) -> str:
        """``not started``, or how many properties hold out of how many."""
        if not self.results:
            return "not started"
        return f"{sum(held for _, held in self.results)} of {len(self.results)}"

    @property
    def _lead(self) -> str:
        return "Likely bug" if self.results else "Or"

    def __bool__(self) -> bool:
        return bool(self.results) and all(held for _, held in self.results)

    def __repr__(self) -> str:
        lines = [f"{self.subject}: {self.verdict}"]
        lines += [f"  {'ok ' if held else 'no '} {name}" for name, held in self.results]
        if self.hint:
            lines.append(f"{self._lead}: {self.hint}")
        return "\n".join(lines)

    def _repr_html_(self) -> str:
        """The same in a notebook: a coloured edge, text in the page's own colour."""
        edge = "#009e73" if self else "#d55e00" if self.results else "#888888"
        items = "".join(
            f'<li><span role="img" aria-label="{"holds" if held else "fails"}">'
            f"{'✓' if held else '✗'}</span> {escape(name)}</li>"
            for name, held in self.results
        )
        if items:
            items = f'<ul style="list-style:none;margin:0;padding:0">{items}</ul>'
        hint = (
            f'<p style="margin:.4em 0 0"><strong>{self._lead}:</strong>'
            f" {escape(self.hint)}</p>"
            if self.hint
            else ""
        )
        return (
            f'<div style="border-left:4px solid {edge};padding:.2em 0 .2em 1em">'
            f'<p style="margin:0"><strong>{escape(self.subject)}:'
            f" {self.verdict}</strong></p>{items}{hint}</div>"
        )


class NotStartedError(Exception):
    """The stub is still a stub; the message, if any, is a doubt about that."""


class FailedError(Exception):
    """A property does not hold; the message is the hint."""


# ------------------------------------------------------------------ the mechanism

Property = tuple[str, Callable[[Any], None]]
"""What should hold, in words, and a function that raises FailedError if it does not."""


def run(thing: Any, properties: Sequence[Property]) -> Report:
    """Try ``thing`` against every property, and report the first failure's hint.

    The random state is put back afterwards, so that a reader's later cells do not
    depend on how often a check was run, and warnings stay quiet.
    """
    import torch

    subject = getattr(thing, "__name__", None)
    if not isinstance(subject, str):
        subject = type(thing).__name__
    results, hints = [], []
    for name, holds in properties:
        held = False
        try:
            with (
                torch.random.fork_rng(devices=[]),
                torch.enable_grad(),
                warnings.catch_warnings(),
            ):
                warnings.simplefilter("ignore")
                holds(thing)
            held = True
        except NotStartedError as doubt:
            return Report(subject, hint=str(doubt))
        except FailedError as failure:
            hints.append(str(failure))
        except (Exception, SystemExit) as error:  # an answer nobody had thought of
            hints.append(one_line(error))
        results.append((name, held))
    return Report(subject, tuple(results), hints[0] if hints else "")


def attempt(
    function: Any, *arguments: Any, hints: Mapping[str, str] | None = None
) -> Any:
    """Call a reader's function; what it raises becomes a hint in words.

    Args:
        function: whatever was handed to the check.
        arguments: what to call it with.
        hints: what to say if the error's text contains the key.

    Raises:
        NotStartedError: it raised NotImplementedError, or returned None or ``...``.
        FailedError: it cannot be called, or it raised something else.
    """
    if not callable(function):
        kind = type(function).__name__
        raise FailedError(f"a {kind} cannot be called. Hand in the function itself.")
    try:
        result = function(*arguments)
    except (Exception, SystemExit) as error:
        told = one_line(error)
        known = [hint for text, hint in (hints or {}).items() if text in told]
        # PyTorch raises NotImplementedError too, and says for what
        stub = isinstance(error, NotImplementedError) and "implemented for" not in told
        if stub and not known:
            raise NotStartedError from error
        raise FailedError(known[0] if known else f"it raised {told}") from error
    if result is ...:
        raise NotStartedError
    if result is None:
        raise NotStartedError("it returns None. If you have begun, return is missing.")
    return result


def one_line(error: BaseException) -> str:
    """The kind of an error and the first line of what it says."""
    text = next(iter(str(error).splitlines()), "")
    return f"{type(error).__name__}: {text}" if text else type(error).__name__
