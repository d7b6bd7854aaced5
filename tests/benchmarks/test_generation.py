"""What the race of generation rests on: the same text, and passes alike."""

import pytest
import torch

from benchmarks import generation
from benchmarks.contenders import ours
from minillm.config import ModelConfig
from minillm.model import Transformer

SMALL = ModelConfig(vocab_size=23, context_length=24, n_layers=2, n_heads=3, d_model=12)
PROMPT = torch.tensor([[3, 1, 4], [1, 5, 9]])
WRITERS = ("plain", "fused", "none")
WAYS = ("plain", "fused", "cat", "none")


@pytest.fixture
def model() -> Transformer:
    model = Transformer(SMALL).eval()
    model.reset_parameters(0)
    with torch.no_grad():
        for parameter in model.blocks.parameters():
            parameter.mul_(20 if parameter.dim() == 2 else 1)
    return model


@pytest.mark.parametrize("way", WRITERS)
def test_every_way_writes_the_likeliest_tokens(way, model, tmp_path):
    found = ours.MODES[way](model, tmp_path).generate(PROMPT, 9)
    tokens = PROMPT
    with torch.no_grad():
        for _ in range(9):
            tokens = torch.cat([tokens, model(tokens)[:, -1:].argmax(-1)], dim=1)
    assert found.tolist() == tokens[:, 3:].tolist()
    assert found.unique().numel() > 4


@pytest.mark.parametrize("way", WAYS)
def test_one_more_token_may_be_scored_again_and_again(way, model, tmp_path):
    """A pass that found the token of the one before would time another length."""
    writer = ours.MODES[way](model, tmp_path)
    tokens = [7, 2, 11, 5, 20, 13]
    writer.read([tokens])
    with torch.no_grad():
        wanted = model(torch.tensor([tokens]))[0, -1]
    with torch.inference_mode():
        for _ in range(3):
            torch.testing.assert_close(writer._once(), wanted, atol=1e-4, rtol=1e-4)
    said = writer.next_token(passes=2)
    assert said["id"] == wanted.argmax()
    assert said["milliseconds"] > 0


def test_equal_texts_are_accepted():
    generation.require_same_ids({"a": [[1, 2], [3, 4]], "b": [[1, 2], [3, 4]]})


@pytest.mark.parametrize(
    ("other", "said"),
    [
        ([[1, 2], [3, 5]], "b does not write what a writes: row 1 differs at .* 1"),
        ([[1, 2], [3]], "row 1 differs at new token 1"),
        ([[1, 2], [3, 4, 4]], "row 1 differs at new token 2"),
        ([[1, 2]], "b writes 1 rows"),
    ],
)
def test_another_text_is_refused(other, said):
    with pytest.raises(SystemExit, match=said):
        generation.require_same_ids({"a": [[1, 2], [3, 4]], "b": other})


def test_the_lead_is_that_of_the_closest_call():
    scores = torch.tensor([[[9, 0, 0], [4, 6, 0], [0, 1, 1.25], [0, 0, 9]]])
    assert generation.smallest_lead(scores, [[1, 2]]) == 0.25
    with pytest.raises(SystemExit, match="not the likeliest"):
        generation.smallest_lead(scores, [[1, 0]])


class Deaf:
    """A contender that answers the same, whatever it is asked."""

    def __init__(self, token):
        self.token = token

    def ask(self, do, **arguments):
        return {"id": self.token, "milliseconds": 30.0}


def test_ways_that_choose_different_tokens_are_refused():
    same = {"a": Deaf(5), "b": Deaf(5)}
    taken = generation.one_more_token(same, [1, 2, 3], rounds=4)
    assert taken == {"a": [30.0] * 4, "b": [30.0] * 4}
    with pytest.raises(SystemExit, match="after 3 tokens the ways disagree"):
        generation.one_more_token({"a": Deaf(5), "b": Deaf(6)}, [1, 2, 3], rounds=4)


def test_a_way_is_compared_with_the_package_s_own_in_the_same_round():
    taken = {"preallocated": [1.0, 2.0, 4.0], "cat": [3.0, 4.0, 8.0]}
    rows = generation.context_rows(64, taken)
    assert [row["ratio_to_preallocated"] for row in rows] == [1, 2]
    assert [row["milliseconds"] for row in rows] == [2, 4]
    assert {row["context"] for row in rows} == {64}
