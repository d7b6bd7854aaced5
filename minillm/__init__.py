"""minillm: from a bigram table to a Llama-style model, one idea at a time.

The names below are found when they are first used, so that ``import minillm`` costs
nothing; everything else is imported from its own module, for example
``from minillm.train import train``.
"""

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from minillm.cache import KVCache
    from minillm.config import ModelConfig, RunConfig, TrainConfig
    from minillm.data import Corpus
    from minillm.model import Bigram, Transformer
    from minillm.sample import Sampler

__version__ = "0.1.0"

__all__ = [
    "Bigram",
    "Corpus",
    "KVCache",
    "ModelConfig",
    "RunConfig",
    "Sampler",
    "TrainConfig",
    "Transformer",
    "__version__",
]

_HOMES = {
    "Bigram": "model",
    "Corpus": "data",
    "KVCache": "cache",
    "ModelConfig": "config",
    "RunConfig": "config",
    "Sampler": "sample",
    "TrainConfig": "config",
    "Transformer": "model",
}


def __getattr__(name: str) -> Any:
    if name not in _HOMES:
        raise AttributeError(f"module 'minillm' has no attribute {name!r}")
    return getattr(import_module(f"minillm.{_HOMES[name]}"), name)


def __dir__() -> list[str]:
    return sorted(__all__)
