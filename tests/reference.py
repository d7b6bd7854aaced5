"""The package's mathematics once more: loops, complex numbers, exact fractions.

Nothing here is shared with the package. The model reads weights by their names from a
``state_dict`` and sizes from a plain dictionary, one sequence and one token at a time,
in float64. The samplers know exact fractions only, and search where the package is
clever. If package and reference disagree, one of them misread a paper.
"""

import cmath
import math
from collections.abc import Callable, Mapping, Sequence
from fractions import Fraction
from itertools import combinations
from typing import Any

import numpy as np
from numpy.typing import NDArray

Vector = NDArray[np.float64]
Config = Mapping[str, Any]

# ------------------------------------------------------------------ the model


class Weights:
    """A ``state_dict`` as float64 arrays; ``at("blocks.0")`` is one part of it."""

    def __init__(self, state: Mapping[str, Any], prefix: str = "") -> None:
        self.state, self.prefix = state, prefix

    def at(self, name: str) -> "Weights":
        return Weights(self.state, f"{self.prefix}{name}.")

    def __contains__(self, name: str) -> bool:
        return self.prefix + name in self.state

    def __getitem__(self, name: str) -> Vector:
        return self.state[self.prefix + name].detach().cpu().double().numpy()


def linear(weights: Weights, x: Vector) -> Vector:
    y = np.array([row @ x for row in weights["weight"]])
    return y + weights["bias"] if "bias" in weights else y


def norm(weights: Weights, config: Config, x: Vector) -> Vector:
    if config["norm"] == "rmsnorm":
        mean_square = sum(c * c for c in x) / len(x)
        return x / math.sqrt(mean_square + config["norm_eps"]) * weights["weight"]
    mean = sum(x) / len(x)
    variance = sum((c - mean) ** 2 for c in x) / len(x)
    y = (x - mean) / math.sqrt(variance + config["norm_eps"]) * weights["weight"]
    return y + weights["bias"] if "bias" in weights else y


def rotate(x: Vector, position: int, base: float) -> Vector:
    """Read (x[i], x[i + E/2]) as a complex number and multiply it by e^(i angle)."""
    half = len(x) // 2
    turned = [
        complex(x[i], x[i + half]) * cmath.exp(1j * position / base ** (i / half))
        for i in range(half)
    ]
    return np.array([z.real for z in turned] + [z.imag for z in turned])


def softmax(scores: Sequence[float]) -> list[float]:
    highest = max(scores)
    powers = [math.exp(score - highest) for score in scores]
    return [power / sum(powers) for power in powers]


def attention(weights: Weights, config: Config, xs: list[Vector]) -> list[Vector]:
    """``xs[t]`` is the vector of token t; its query looks at the keys of 0 .. t."""
    n_heads, n_kv_heads = config["n_heads"], config["n_kv_heads"]
    size, group = config["d_model"] // n_heads, n_heads // n_kv_heads

    def heads(name: str, x: Vector, count: int, position: int | None) -> list[Vector]:
        y = linear(weights.at(name), x)
        parts = [y[h * size : (h + 1) * size] for h in range(count)]
        if position is None or config["position"] != "rope":
            return parts
        return [rotate(part, position, config["rope_base"]) for part in parts]

    queries = [heads("query", x, n_heads, t) for t, x in enumerate(xs)]
    keys = [heads("key", x, n_kv_heads, t) for t, x in enumerate(xs)]
    values = [heads("value", x, n_kv_heads, None) for x in xs]
    outputs = []
    for t in range(len(xs)):
        mixed = []
        for h in range(n_heads):
            scores = [
                float(queries[t][h] @ keys[s][h // group]) / math.sqrt(size)
                for s in range(t + 1)
            ]
            shares = softmax(scores)
            mixed.append(sum(shares[s] * values[s][h // group] for s in range(t + 1)))
        outputs.append(linear(weights.at("out"), np.concatenate(mixed)))
    return outputs


def gelu(x: float) -> float:
    return x / 2 * (1 + math.tanh(math.sqrt(2 / math.pi) * (x + 0.044715 * x**3)))


def silu(x: float) -> float:
    return x / (1 + math.exp(-x))


def feed_forward(weights: Weights, config: Config, x: Vector) -> Vector:
    up = linear(weights.at("up"), x)
    if config["feed_forward"] == "gelu":
        return linear(weights.at("down"), np.array([gelu(u) for u in up]))
    gate = linear(weights.at("gate"), x)
    opened = np.array([silu(g) * u for g, u in zip(gate, up, strict=True)])
    return linear(weights.at("down"), opened)


def logits(
    state: Mapping[str, Any], config: Config, tokens: Sequence[int]
) -> NDArray[np.float64]:
    """The scores after each of ``tokens``: an array of shape (T, V)."""
    weights = Weights(state)
    xs = [weights["embedding.weight"][token] for token in tokens]
    if config["position"] == "learned":
        xs = [x + weights["position.weight"][t] for t, x in enumerate(xs)]
    for layer in range(config["n_layers"]):
        block = weights.at(f"blocks.{layer}")
        calm = [norm(block.at("attention_norm"), config, x) for x in xs]
        mixed = attention(block.at("attention"), config, calm)
        xs = [x + m for x, m in zip(xs, mixed, strict=True)]
        calm = [norm(block.at("feed_forward_norm"), config, x) for x in xs]
        thought = [feed_forward(block.at("feed_forward"), config, c) for c in calm]
        xs = [x + f for x, f in zip(xs, thought, strict=True)]
    head = weights["embedding.weight" if config["tied"] else "head.weight"]
    return np.array([head @ norm(weights.at("norm"), config, x) for x in xs])


# ------------------------------------------------------------------ the samplers


def top_k(chances: Sequence[Fraction], k: int) -> set[int]:
    """The k best, taken one by one; among equals the lower id goes first."""
    left, kept = list(range(len(chances))), set()
    for _ in range(min(k, len(chances))):
        best = left[0]
        for token in left:
            if chances[token] > chances[best]:
                best = token
        left.remove(best)
        kept.add(best)
    return kept


def top_p(chances: Sequence[Fraction], p: Fraction) -> set[int]:
    """Of all sets whose mass reaches p, a smallest; of these, the heaviest.

    Tries every set. Of equally heavy ones, the first in the order of ids.
    """
    if p == 1:
        return set(range(len(chances)))
    for size in range(1, len(chances) + 1):
        found = [
            tokens
            for tokens in combinations(range(len(chances)), size)
            if sum(chances[token] for token in tokens) >= p
        ]
        if found:
            return set(max(found, key=lambda tokens: sum(chances[t] for t in tokens)))
    raise AssertionError("the chances do not sum to one")


def min_p(chances: Sequence[Fraction], p: Fraction) -> set[int]:
    """Every token at least p times as probable as the best one."""
    return {token for token, c in enumerate(chances) if c >= p * max(chances)}


def renormalise(chances: Sequence[Fraction], kept: set[int]) -> list[Fraction]:
    """The chances of the kept tokens, scaled to sum to one; zero for the others."""
    mass = sum((chances[token] for token in kept), Fraction(0))
    return [
        c / mass if token in kept else Fraction(0) for token, c in enumerate(chances)
    ]


def sharpen(chances: Sequence[Fraction], power: int) -> list[Fraction]:
    """Temperature 1/power: dividing log-chances by it raises chances to ``power``."""
    return renormalise([c**power for c in chances], set(range(len(chances))))


# ------------------------------------------------------------------ generation


def window_start(length: int, context_length: int) -> int:
    """Hop by half a context whenever the text no longer fits."""
    start = 0
    while length - start > context_length:
        start += max(1, context_length // 2)
    return start


def generate(
    score: Callable[[list[int]], Sequence[float]],
    prompt: Sequence[int],
    max_new_tokens: int,
    context_length: int,
    choose: Callable[[Sequence[float]], int],
    stop_tokens: Sequence[int] = (),
) -> list[int]:
    """Read the whole window again for every token; remember nothing.

    Args:
        score: window of tokens -> scores of the next one.
        choose: scores -> token.
    """
    tokens = list(prompt)
    for _ in range(max_new_tokens):
        window = tokens[window_start(len(tokens), context_length) :]
        tokens.append(choose(score(window)))
        if tokens[-1] in stop_tokens:
            break
    return tokens


def greedy(scores: Sequence[float]) -> int:
    """The best token; among equals the lowest id."""
    return max(range(len(scores)), key=lambda token: (scores[token], -token))
