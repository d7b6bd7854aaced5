"""What every test starts from: one thread, a seed, no network, the six rungs.

And the shapes in the signatures are enforced, in every room but ``config``: that one
checks its own values, in words that tests compare.
"""

# ruff: noqa: E402  -- what is set and hooked here must come before what is imported

import os
import runpy
from importlib.util import find_spec
from pathlib import Path

OFFLINE = Path(__file__).parents[1] / "book" / "tools" / "offline" / "sitecustomize.py"
if OFFLINE.exists():  # not where these tests stand beside an installed package
    runpy.run_path(str(OFFLINE))

os.environ["HF_HUB_OFFLINE"] = "1"
os.environ["TOKENIZERS_PARALLELISM"] = "false"

from jaxtyping import install_import_hook

ROOMS = Path(find_spec("minillm").origin).parent.glob("[a-z]*.py")  # or a wheel's
install_import_hook(
    [f"minillm.{room.stem}" for room in ROOMS if room.stem != "config"],
    "beartype.beartype(conf=beartype.BeartypeConf(is_pep484_tower=True))",
)

import pytest
import torch
from models import RUNGS, random_model, random_tokens, small_config
from torch import Tensor

from minillm.config import ModelConfig
from minillm.data import Corpus
from minillm.model import Transformer

torch.set_num_threads(1)


@pytest.fixture(autouse=True)
def seeded() -> None:
    torch.manual_seed(0)


@pytest.fixture(params=RUNGS)
def rung(request: pytest.FixtureRequest) -> str:
    return request.param


@pytest.fixture
def config(rung: str) -> ModelConfig:
    return small_config(rung)


@pytest.fixture
def model(config: ModelConfig) -> Transformer:
    return random_model(config)


@pytest.fixture
def tokens(config: ModelConfig) -> Tensor:
    return random_tokens(config)


@pytest.fixture(scope="session")
def shakespeare() -> Corpus:
    """The course's text, where it is prepared, as ``make test`` sees to."""
    folder = Path(__file__).parents[1] / "data" / "shakespeare"
    if not (folder / "meta.json").is_file():
        pytest.skip("the text is not prepared: run `make data`")
    return Corpus(folder)
