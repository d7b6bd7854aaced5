"""What the race of training steps rests on: one step for all, and the same losses."""

from dataclasses import replace

import pytest
import torch
from torch.testing import assert_close

from benchmarks import litgpt_environment, race, step
from benchmarks.contenders import llama, ours
from benchmarks.harness import Contender
from minillm.config import ModelConfig, RunConfig, TrainConfig
from minillm.data import TokenFile, prepare
from minillm.huggingface import from_huggingface, to_huggingface
from minillm.model import Transformer
from minillm.optim import build_optimizers
from minillm.precision import Precision
from minillm.train import take_step

SMALL = ModelConfig(vocab_size=23, context_length=12, n_layers=2, n_heads=3, d_model=12)


def loud_model() -> Transformer:
    model = Transformer(SMALL)
    model.reset_parameters(0)
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.mul_(5 if parameter.dim() == 2 else 1)
    return model


@pytest.fixture
def split(tmp_path) -> TokenFile:
    source = torch.Generator().manual_seed(0)
    tokens = torch.randint(23, (90,), generator=source).numpy().astype("<u2")
    (tmp_path / "tokens.bin").write_bytes(tokens.tobytes())
    return TokenFile(tmp_path / "tokens.bin", "uint16")


def batches(split) -> list:
    pairs = [split.batch(0, step, 3, 7) for step in range(2)]
    rows = [torch.cat([ins, outs[:, -1:]], dim=1).tolist() for ins, outs in pairs]
    assert rows[0] != rows[1]
    return rows


def test_the_step_of_the_race_is_the_package_s(split):
    """A forgotten clip, decay or zero_grad would time another step than ours."""
    model = loud_model()
    racer = llama.Llama(model, model)
    racer.begin(batches(split))
    raced = racer.train(2)["losses"]
    raced_weights = [p.detach().clone() for p in model.parameters()]

    model = loud_model()
    config = RunConfig(
        model=replace(SMALL, context_length=7),
        train=TrainConfig(
            batch_size=3,
            warmup_steps=0,
            learning_rate=llama.LEARNING_RATE,
            min_learning_rate=llama.LEARNING_RATE,
        ),
    )
    optimizers = build_optimizers(model, config.train)
    precision = Precision("float32", "cpu")
    steps = [
        take_step(n, model, optimizers, precision, split, config) for n in range(2)
    ]
    assert steps[0].grad_norm > 1.2  # so that clipping matters
    assert raced == [step.loss for step in steps]
    for found, wanted in zip(raced_weights, model.parameters(), strict=True):
        assert_close(found, wanted.detach(), atol=1e-7, rtol=0)


def test_a_racer_goes_on_where_its_last_turn_ended(split):
    model = loud_model()
    racer = llama.Llama(model, model)
    racer.begin(batches(split))
    turns = [loss for steps in (1, 3, 1) for loss in racer.train(steps)["losses"]]
    again = llama.Llama(other := loud_model(), other)
    again.begin(batches(split))
    assert turns == again.train(5)["losses"]


def test_the_work_that_is_counted_is_that_of_all_matrices():
    model = loud_model()
    work = llama.Llama(model, model).count()
    matrices = sum(p.numel() for p in model.parameters() if p.dim() == 2)
    assert work == {"parameters": model.num_parameters, "flops": 2 * matrices}


def losses(*last):
    return {name: [4.0, 3.5, loss] for name, loss in zip("abc", last, strict=False)}


def test_equal_losses_are_accepted():
    step.require_same_losses(losses(3.0, 3.0001, 2.9999))


@pytest.mark.parametrize("wrong", [3.01, 2.99, float("nan")])
def test_another_loss_is_refused(wrong):
    with pytest.raises(SystemExit, match="at step 2 the loss of c is"):
        step.require_same_losses(losses(3.0, 3.0, wrong))


def test_losses_that_have_not_moved_are_refused():
    """Whoever takes no step at all agrees with everyone who takes none."""
    with pytest.raises(SystemExit, match="has not learnt enough"):
        step.require_same_losses(losses(3.9, 3.9))


def test_scores_of_other_weights_are_refused():
    scores = torch.randn(2, 5, 23, generator=torch.Generator().manual_seed(0))
    race.require_close("a", scores, "b", scores + 1e-5)
    with pytest.raises(SystemExit, match=r"the scores of b and a are 0\.001 apart"):
        race.require_close("a", scores, "b", scores + 1e-3)
    with pytest.raises(SystemExit, match="apart"):
        race.require_close("a", scores, "b", scores * float("nan"))
    with pytest.raises(SystemExit, match="shape"):
        race.require_close("a", scores, "b", scores[:1])
    with pytest.raises(SystemExit, match="too quiet"):
        race.require_close("a", scores / 10, "b", scores / 10)


def test_the_weights_are_those_of_a_llama_and_loud_enough(tmp_path):
    race.write_weights(tmp_path)
    model = from_huggingface(tmp_path)
    assert model.config == race.SHAPE
    assert model.num_parameters == 7_155_360
    with torch.no_grad():
        scores = model(torch.tensor(race.random_tokens(1, 16)))
    assert scores.std() > race.QUIET
    assert to_huggingface(model)[0]["model_type"] == "llama"


def test_tokens_are_the_same_each_time():
    assert race.random_tokens(2, 3) == race.random_tokens(2, 3)
    assert race.random_tokens(2, 3) != race.random_tokens(2, 3, seed=1)


def test_a_row_compares_within_rounds():
    speeds = {"a": [10.0, 30.0, 20.0], "b": [5.0, 10.0, 20.0]}
    row = race.row("a", speeds, "b", [1.0, 3.0, 2.0], {"peak_mebibytes": 5.04}, batch=8)
    assert row["tokens_per_second"] == 20
    assert row["ratio_to_b"] == 2  # of 2, 3 and 1
    assert row["cpu_seconds"] == 2
    assert (row["contender"], row["batch"], row["peak_mebibytes"]) == ("a", 8, 5.0)


def test_the_batch_is_a_part_of_the_step(tmp_path):
    text = "a rose is a rose is a rose\n" * 9
    (tmp_path / "text.txt").write_text(text, encoding="utf8")
    corpus = prepare(tmp_path / "text.txt", tmp_path / "corpus", tokenizer="chars")
    model = Transformer(SMALL)
    taken = ours.take_steps(model, str(corpus.directory), 3, 7, steps=4)
    assert len(taken["step_seconds"]) == len(taken["batch_seconds"]) == 4
    assert len(set(taken["batch_seconds"])) > 1
    pairs = zip(taken["batch_seconds"], taken["step_seconds"], strict=True)
    assert all(0 < batch < step for batch, step in pairs)


def test_litgpt_s_environment_is_made_once(tmp_path, monkeypatch):
    """And again if it was left half made, or is of another version."""
    commands = []

    def note(command):
        commands.append(command[-1])
        tmp_path.joinpath("env").mkdir(exist_ok=True)

    monkeypatch.setattr(litgpt_environment, "_run", note)
    folder = tmp_path / "env"
    folder.mkdir()  # half made: no marker
    found = litgpt_environment.python(folder)
    assert found.is_relative_to(folder)
    assert commands == [str(folder), f"litgpt=={litgpt_environment.VERSION}"]
    litgpt_environment.python(folder)
    assert len(commands) == 2
    monkeypatch.setattr(litgpt_environment, "VERSION", "9.9")
    litgpt_environment.python(folder)
    assert commands[2:] == [str(folder), "litgpt==9.9"]


def test_litgpt_s_torch_is_of_our_version():
    asked, _ = litgpt_environment.requirements()
    assert "+" not in asked
    assert torch.__version__.startswith(asked.removeprefix("torch=="))


def test_a_pip_that_fails_says_so():
    with pytest.raises(SystemExit, match=r"(?s)code 3\nno such"):
        litgpt_environment._run(
            ["python", "-c", "import sys; print('no such', file=sys.stderr); exit(3)"]
        )


def test_a_contender_that_dies_is_quoted(tmp_path):
    """Not only where it died, but why: its process cannot be looked at any more."""
    program = tmp_path / "dies.py"
    program.write_text("raise ValueError('no weights here')")
    with (
        pytest.raises(SystemExit, match=r"(?s)asked to count, has died.*no weights"),
        Contender([program], threads=1) as contender,
    ):
        contender.ask("count")
