"""The one file of chapter 7, its four steps, and the package compute the same."""

import ast
import csv
import math

import pytest
import torch

from book.experiments.refactor import plant, unit
from book.onefile import stages
from minillm import config, data, model
from minillm.train import train

CORPUS = plant.ROOT / "data" / "shakespeare"

pytestmark = pytest.mark.skipif(
    not (CORPUS / "meta.json").is_file(),
    reason="the text is not prepared: run `make data`",
)


@pytest.fixture(scope="module")
def printed(tmp_path_factory):
    """What each stage prints in the short run."""
    out = tmp_path_factory.mktemp("kept") / "kept.pt"
    settings = {**stages.GOLDEN_RUN, "checkpoint_every": 10, "out": out}
    return {s: stages.run(p, **settings) for s, p in stages.STAGES.items()}


def test_the_one_file_has_its_golden_losses(printed):
    """Twenty steps; whoever changes these numbers changed what is computed."""
    found = plant.all_losses(printed["one file"])
    assert found == pytest.approx(plant.golden(), abs=2e-3)
    assert len(found) == 22
    assert found[0] == pytest.approx(math.log(64), abs=0.1)


def test_no_step_of_the_refactoring_moves_a_loss(printed):
    for lines in printed.values():
        assert lines[:23] == printed["one file"][:23]


def test_the_last_step_has_the_losses_of_the_package():
    """Same first weights, same batches: model, loss, optimiser and schedule agree."""
    settings = {"steps": 20, "warmup_steps": 5, "log_every": 1, "eval_every": 20}
    settings |= {"learning_rate": 4e-3, "min_learning_rate": 4e-4, "seed": 3}
    sections = {"train": {**settings, "device": "cpu"}}
    sections["data"] = {"directory": str(CORPUS)}
    asked = config.preset("llama", vocab_size=64, changes=sections)
    events = []
    train(asked, events.append)

    parts, corpus = stages.load("step4"), data.Corpus(CORPUS)
    llama = parts["model"].Llama(parts["config"].ModelConfig())
    torch.manual_seed(3)
    llama.load_state_dict(model.build(asked.model).state_dict())
    own = parts["config"].TrainConfig(steps=20, warmup_steps=5)
    optimizer, losses = parts["train"].build_optimizer(llama, own), []
    for step in range(20):
        batch = corpus.train.batch(3, step, 16, 64)
        rate = parts["train"].rate_at(step, own)
        loss = parts["train"].take_step(llama, optimizer, batch, rate, own.grad_clip)
        losses.append(loss)
    theirs = [event.train_loss for event in events[1:]]
    assert losses == pytest.approx(theirs, abs=1e-5)


def test_what_step_4_keeps_writes_what_the_one_file_writes(tmp_path):
    """No golden loss sees whether the model reaches generate.py: they write nothing."""
    settings = {**stages.GOLDEN_RUN, "out": tmp_path / "kept.pt"}
    settings |= {"max_new_tokens": 30, "top_k": 1}  # 1: nothing is left to chance
    wanted = stages.run("llama.py", **settings)[23:]
    stages.run("step4/train.py", **settings)
    assert stages.run("step4/generate.py", **settings) == wanted
    assert len("\n".join(wanted)) == 31


def test_step_4_keeps_its_last_step_and_nothing_if_it_made_none(tmp_path):
    """Steps that do not divide by checkpoint_every were lost."""
    settings = {**stages.GOLDEN_RUN, "steps": 3, "out": tmp_path / "kept.pt"}
    settings |= {"eval_batches": 1}
    stages.run("step4/train.py", **settings)
    assert torch.load(settings["out"], weights_only=False)["step"] == 3  # noqa: TID251
    settings["steps"] = 2  # already behind it
    stages.run("step4/train.py", **settings, resume=True)
    assert torch.load(settings["out"], weights_only=False)["step"] == 3  # noqa: TID251


def test_a_file_that_a_step_leaves_alone_is_the_same_as_before():
    """Copies that drift would be four programs instead of four steps of one."""
    texts = {}
    for step in ("step1", "step2", "step3", "step4"):
        for path in sorted((stages.HERE / step).glob("*.py")):
            if path.stem in ("config", "data", "model"):
                assert texts.setdefault(path.stem, path.read_text()) == path.read_text()


def definitions(path):
    tree = ast.parse(path.read_text("utf8"))
    kinds = ast.FunctionDef | ast.ClassDef
    return {n.name: ast.dump(n) for n in tree.body if isinstance(n, kinds)}


@pytest.mark.parametrize(("before", "after"), [(1, 2), (2, 3), (3, 4)])
def test_a_step_changes_only_what_the_chapter_says(before, after):
    """Everything else is cut and pasted: equal to the last node of its syntax tree."""
    old, new = {}, {}
    for step, found in ((before, old), (after, new)):
        for path in (stages.HERE / f"step{step}").glob("*.py"):
            found.update(definitions(path))
    changed = {name for name in old if name in new and old[name] != new[name]}
    said = {
        2: set(),
        3: {"rate_at", "estimate_loss"},  # they get what they read before
        4: {"main", "train"},  # the loop also saves at its end, for generate.py
    }
    assert changed == said[after]


def test_the_tests_of_the_parts_become_possible_step_by_step():
    numbers = []
    for step in ("step1", "step2", "step3", "step4"):
        said = unit.run(stages.load(step))
        assert set(said.values()) == {"ok"}
        numbers.append(len(said))
    assert numbers == [3, 8, 18, 20]


def test_importing_the_one_file_would_train():
    assert stages.acts(stages.HERE / "llama.py")
    assert not stages.acts(stages.HERE / "step4" / "train.py")


def test_hidden_inputs_are_what_a_definition_reads_and_is_not_given():
    tree = ast.parse("def f(a):\n    b = a + c\n    return b * d\n")
    assert stages.reads(tree.body[0], {"a", "b", "c", "d", "e"}) == {"c", "d"}


@pytest.mark.parametrize("mistake", plant.MISTAKES, ids=lambda m: m.name)
def test_a_mistake_fits_in_both_versions(mistake, tmp_path):
    for way in plant.WAYS:
        folder = plant.version(mistake, way, tmp_path)
        for path in folder.glob("*.py"):
            ast.parse(path.read_text())


def test_the_parts_say_again_what_the_rows_say(tmp_path):
    """The cheap third of the table, made anew."""
    with plant.OUT.open(newline="", encoding="utf8") as file:
        rows = [row for row in csv.DictReader(file) if row["asked"] == "unit"]
    assert [row["mistake"] for row in rows] == [m.name for m in plant.MISTAKES]
    for row, mistake in zip(rows, plant.MISTAKES, strict=True):
        room = tmp_path / mistake.name.replace(" ", "-")
        room.mkdir()
        (said,) = plant.answers("parts", plant.version(mistake, "parts", room))
        assert said == row["by"]
