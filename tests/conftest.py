"""What every test starts from: one thread, a seed, no network, the six rungs."""

import os

os.environ["HF_HUB_OFFLINE"] = "1"
os.environ["TOKENIZERS_PARALLELISM"] = "false"

import pytest
import torch
from models import RUNGS, random_model, random_tokens, small_config
from torch import Tensor

from minillm.config import ModelConfig
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
