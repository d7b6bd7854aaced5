"""Chapter 7: batches with a memory, checkpoints with holes, settings without doors."""

import dataclasses
import hashlib
import itertools
import json
import os
import pickle
import random
import shutil
import tempfile
import time
import typing

import numpy as np
import torch
from safetensors import safe_open
from safetensors.torch import load, load_file, save, save_file

# ------------------------------------------------------------------ batch_of_step


def _number(seed, step):
    return seed * 1_000_003 + step


def _source(number):
    return torch.Generator().manual_seed(number)


def _enough(tokens, context_length):
    if len(tokens) < context_length + 1:
        raise ValueError(f"{len(tokens)} tokens are too few for {context_length}")


def _cut(tokens, starts, length):
    places = torch.as_tensor(starts).view(-1, 1) + torch.arange(length)
    return tokens[places], tokens[places + 1]


def _drawn(tokens, number, batch_size, length):
    _enough(tokens, length)
    high = len(tokens) - length
    return torch.randint(high, (batch_size,), generator=_source(number))


def _by(number):
    """A sampler that is right but for the number that it seeds its generator with."""

    def sampler(tokens, seed, step, batch_size, context_length):
        starts = _drawn(tokens, number(seed, step), batch_size, context_length)
        return _cut(tokens, starts, context_length)

    return sampler


step_ignored = _by(lambda seed, step: seed)
seed_ignored = _by(lambda seed, step: step)
added = _by(lambda seed, step: seed + step)
multiplied = _by(lambda seed, step: seed * step)
exclusive_or = _by(lambda seed, step: seed ^ step)
a_thousand_steps = _by(lambda seed, step: 1000 * seed + step)
ten_thousand_steps = _by(lambda seed, step: 10_000 * seed + step)
sixteen_bits_of_steps = _by(lambda seed, step: (seed << 16) | step)
a_thousand_seeds = _by(lambda seed, step: 1000 * step + seed)
above_32_bits = _by(lambda seed, step: (seed << 32) + step)
hash_of_a_string = _by(lambda seed, step: hash(f"{seed}/{step}") % 2**31)
by_the_clock = _by(lambda seed, step: _number(seed, step) + int(time.time()) // 1000)
by_the_process = _by(lambda seed, step: _number(seed, step) + os.getpid())

for _name, _function in list(globals().items()):
    if getattr(_function, "__name__", "") == "sampler":
        _function.__name__ = _name


def global_generator(tokens, seed, step, batch_size, context_length):
    """karpathy/nanoGPT#467: a resumed run begins the global generator anew."""
    _enough(tokens, context_length)
    starts = torch.randint(len(tokens) - context_length, (batch_size,))
    return _cut(tokens, starts, context_length)


def seeds_the_global_generator(tokens, seed, step, batch_size, context_length):
    _enough(tokens, context_length)
    torch.manual_seed(_number(seed, step))
    starts = torch.randint(len(tokens) - context_length, (batch_size,))
    return _cut(tokens, starts, context_length)


def seeds_numpy(tokens, seed, step, batch_size, context_length):
    _enough(tokens, context_length)
    np.random.seed(_number(seed, step))
    starts = np.random.randint(len(tokens) - context_length, size=batch_size)
    return _cut(tokens, starts, context_length)


def seeds_python(tokens, seed, step, batch_size, context_length):
    _enough(tokens, context_length)
    random.seed(_number(seed, step))
    last = len(tokens) - context_length - 1
    starts = [random.randint(0, last) for _ in range(batch_size)]
    return _cut(tokens, starts, context_length)


def numpys_global(tokens, seed, step, batch_size, context_length):
    _enough(tokens, context_length)
    starts = np.random.randint(len(tokens) - context_length, size=batch_size)
    return _cut(tokens, starts, context_length)


_kept = {}


def generator_kept_by_seed(tokens, seed, step, batch_size, context_length):
    _enough(tokens, context_length)
    source = _kept.setdefault(seed, _source(seed))
    high = len(tokens) - context_length
    starts = torch.randint(high, (batch_size,), generator=source)
    return _cut(tokens, starts, context_length)


_counter = itertools.count()


def counts_its_calls(tokens, seed, step, batch_size, context_length):
    number = _number(seed, step) + 7 * next(_counter)
    return _cut(
        tokens, _drawn(tokens, number, batch_size, context_length), context_length
    )


_first_text = {}


def remembers_the_text(tokens, seed, step, batch_size, context_length):
    _enough(tokens, context_length)
    tokens = _first_text.setdefault((len(tokens), context_length), tokens)
    starts = _drawn(tokens, _number(seed, step), batch_size, context_length)
    return _cut(tokens, starts, context_length)


def row_added_to_step(tokens, seed, step, batch_size, context_length):
    _enough(tokens, context_length)
    starts = [
        _drawn(tokens, _number(seed, step + row), 1, context_length)
        for row in range(batch_size)
    ]
    return _cut(tokens, torch.cat(starts), context_length)


def one_start_for_all(tokens, seed, step, batch_size, context_length):
    start = _drawn(tokens, _number(seed, step), 1, context_length)
    return _cut(tokens, start.repeat(batch_size), context_length)


def _shifted(change):
    def sampler(tokens, seed, step, batch_size, context_length):
        starts = _drawn(tokens, _number(seed, step), batch_size, context_length)
        inputs, targets = _cut(tokens, starts, context_length)
        return inputs, change(tokens, starts, inputs, targets)

    return sampler


targets_are_inputs = _shifted(lambda tokens, starts, x, y: x)
targets_rolled = _shifted(lambda tokens, starts, x, y: x.roll(-1, 1))
targets_rolled_back = _shifted(
    lambda tokens, starts, x, y: tokens[
        (starts[:, None] - 1 + torch.arange(x.shape[1]))
    ]
)
targets_filled_with_zero = _shifted(
    lambda tokens, starts, x, y: torch.cat([x[:, 1:], 0 * x[:, :1]], 1)
)
last_target_repeated = _shifted(
    lambda tokens, starts, x, y: torch.cat([x[:, 1:], x[:, -1:]], 1)
)
targets_one_short = _shifted(lambda tokens, starts, x, y: y[:, :-1])
targets_in_32_bits = _shifted(lambda tokens, starts, x, y: y.to(torch.int32))

for _name, _function in list(globals().items()):
    if getattr(_function, "__name__", "") == "sampler":
        _function.__name__ = _name


def places_for_tokens(tokens, seed, step, batch_size, context_length):
    starts = _drawn(tokens, _number(seed, step), batch_size, context_length)
    return _cut(torch.arange(len(tokens)), starts, context_length)


def never_the_last(tokens, seed, step, batch_size, context_length):
    """randint's end is exclusive, and one was subtracted already."""
    _enough(tokens, context_length)
    high = max(1, len(tokens) - context_length - 1)
    source = _source(_number(seed, step))
    starts = torch.randint(high, (batch_size,), generator=source)
    return _cut(tokens, starts, context_length)


def never_the_first(tokens, seed, step, batch_size, context_length):
    _enough(tokens, context_length)
    last = len(tokens) - context_length - 1
    low = min(1, last)
    source = _source(_number(seed, step))
    starts = torch.randint(low, last + 1, (batch_size,), generator=source)
    return _cut(tokens, starts, context_length)


def one_too_far(tokens, seed, step, batch_size, context_length):
    _enough(tokens, context_length)
    source = _source(_number(seed, step))
    high = len(tokens) - context_length + 1
    starts = torch.randint(high, (batch_size,), generator=source).tolist()
    inputs = [tokens[i : i + context_length] for i in starts]
    targets = [tokens[i + 1 : i + 1 + context_length] for i in starts]
    return torch.stack(inputs), torch.stack(targets)


def moved_inside(tokens, seed, step, batch_size, context_length):
    """Draws anywhere, and moves what does not fit to the last place."""
    _enough(tokens, context_length)
    source = _source(_number(seed, step))
    starts = torch.randint(len(tokens), (batch_size,), generator=source)
    last = len(tokens) - context_length - 1
    return _cut(tokens, starts.clamp(max=last), context_length)


def tiles_only(tokens, seed, step, batch_size, context_length):
    _enough(tokens, context_length)
    source = _source(_number(seed, step))
    high = (len(tokens) - 1) // context_length
    starts = torch.randint(high, (batch_size,), generator=source)
    return _cut(tokens, starts * context_length, context_length)


def without_repeats(tokens, seed, step, batch_size, context_length):
    _enough(tokens, context_length)
    order = torch.randperm(
        len(tokens) - context_length, generator=_source(_number(seed, step))
    )
    return _cut(tokens, order[:batch_size], context_length)


def lets_short_texts_be(tokens, seed, step, batch_size, context_length):
    high = max(1, len(tokens) - context_length)
    source = _source(_number(seed, step))
    starts = torch.randint(high, (batch_size,), generator=source)
    places = starts[:, None] + torch.arange(context_length)
    last = len(tokens) - 1
    return tokens[places.clamp(max=last)], tokens[(places + 1).clamp(max=last)]


def leaves_it_to_torch(tokens, seed, step, batch_size, context_length):
    source = _source(_number(seed, step))
    high = len(tokens) - context_length
    starts = torch.randint(high, (batch_size,), generator=source)
    return _cut(tokens, starts, context_length)


def refuses_the_shortest(tokens, seed, step, batch_size, context_length):
    if len(tokens) <= context_length + 1:
        raise ValueError("too short")
    starts = _drawn(tokens, _number(seed, step), batch_size, context_length)
    return _cut(tokens, starts, context_length)


def sideways(tokens, seed, step, batch_size, context_length):
    starts = _drawn(tokens, _number(seed, step), batch_size, context_length)
    inputs, targets = _cut(tokens, starts, context_length)
    return inputs.T, targets.T


def right_with_numpy(tokens, seed, step, batch_size, context_length):
    _enough(tokens, context_length)
    rng = np.random.default_rng([seed, step])
    starts = rng.integers(len(tokens) - context_length, size=batch_size)
    rows = [tokens[i : i + context_length + 1] for i in starts]
    block = torch.stack(rows)
    return block[:, :-1], block[:, 1:]


def right_with_a_digest(tokens, seed, step, batch_size, context_length):
    _enough(tokens, context_length)
    digest = hashlib.sha256(f"{seed}/{step}".encode()).digest()
    rng = random.Random(digest)
    n = len(tokens) - context_length
    starts = [rng.randrange(n) for _ in range(batch_size)]
    return _cut(tokens, starts, context_length)


def right_in_a_fork(tokens, seed, step, batch_size, context_length):
    _enough(tokens, context_length)
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(_number(seed, step))
        starts = torch.randint(len(tokens) - context_length, (batch_size,))
    windows = tokens.unfold(0, context_length + 1, 1)[starts]
    return windows[:, :-1], windows[:, 1:]


def right_the_long_way(tokens, seed, step, batch_size, context_length):
    """Draws every batch before it: slow, and still a function of its address."""
    _enough(tokens, context_length)
    source = _source(seed)
    for _ in range(step + 1):
        high = len(tokens) - context_length
        starts = torch.randint(high, (batch_size,), generator=source)
    return _cut(tokens, starts, context_length)


def right_row_by_row(tokens, seed, step, batch_size, context_length):
    _enough(tokens, context_length)
    starts = [
        _drawn(tokens, _number(seed, step * batch_size + row), 1, context_length)
        for row in range(batch_size)
    ]
    return _cut(tokens, torch.cat(starts), context_length)


# ------------------------------------------------------------------ resume


def _flat(optimizer):
    state = optimizer.state_dict()["state"]
    return {f"{i}/{key}": t for i, own in state.items() for key, t in own.items()}


def _state(tensors):
    state = {}
    for name, tensor in tensors.items():
        i, _, key = name.partition("/")
        state.setdefault(int(i), {})[key] = tensor
    return state


class Keeper:
    """Right; every animal below changes one thing."""

    def name(self, folder):
        return folder.with_name(f".{folder.name}.tmp")

    def begin(self, folder):
        temporary = self.name(folder)
        shutil.rmtree(temporary, ignore_errors=True)
        temporary.mkdir()
        return temporary

    def finish(self, temporary, folder):
        temporary.rename(folder)

    def weights(self, model):
        return model.state_dict()

    def moments(self, optimizer):
        return _flat(optimizer)

    def facts(self, optimizer, step):
        groups = optimizer.state_dict()["param_groups"]
        return {"step": step, "groups": groups}

    def write(self, folder, model, optimizer, step):
        save_file(self.weights(model), folder / "model.safetensors")
        save_file(self.moments(optimizer), folder / "optimizer.safetensors")
        (folder / "run.json").write_text(json.dumps(self.facts(optimizer, step)))

    def save(self, folder, model, optimizer, step):
        temporary = self.begin(folder)
        self.write(temporary, model, optimizer, step)
        self.finish(temporary, folder)

    def read_model(self, folder, model):
        model.load_state_dict(load_file(folder / "model.safetensors"))

    def read_optimizer(self, folder, optimizer, facts):
        state = _state(load_file(folder / "optimizer.safetensors"))
        optimizer.load_state_dict({"state": state, "param_groups": facts["groups"]})

    def load(self, folder, model, optimizer):
        facts = json.loads((folder / "run.json").read_text())
        self.read_model(folder, model)
        self.read_optimizer(folder, optimizer, facts)
        return facts["step"]


class ForgetsTheMoments(Keeper):
    def read_optimizer(self, folder, optimizer, facts):
        pass


class ForgetsTheWeights(Keeper):
    def read_model(self, folder, model):
        pass


class FirstMomentOnly(Keeper):
    def moments(self, optimizer):
        return {k: t for k, t in _flat(optimizer).items() if "_sq" not in k}


class StepsStartAgain(Keeper):
    def read_optimizer(self, folder, optimizer, facts):
        super().read_optimizer(folder, optimizer, facts)
        for own in optimizer.state.values():
            own["step"] = torch.zeros(())


class OldRates(Keeper):
    """Only the state is restored: a rate that was lowered meanwhile is high again."""

    def read_optimizer(self, folder, optimizer, facts):
        state = _state(load_file(folder / "optimizer.safetensors"))
        groups = optimizer.state_dict()["param_groups"]
        optimizer.load_state_dict({"state": state, "param_groups": groups})


class OneStepLater(Keeper):
    def facts(self, optimizer, step):
        return {**super().facts(optimizer, step), "step": step + 1}


class StepOfZero(Keeper):
    def load(self, folder, model, optimizer):
        super().load(folder, model, optimizer)
        return 0


class StepAsText(Keeper):
    def load(self, folder, model, optimizer):
        return str(super().load(folder, model, optimizer))


class NoStep(Keeper):
    def load(self, folder, model, optimizer):
        super().load(folder, model, optimizer)


class HalfWeights(Keeper):
    def weights(self, model):
        state = model.state_dict()
        return {k: t.half() if t.is_floating_point() else t for k, t in state.items()}


class BrainWeights(Keeper):
    def weights(self, model):
        state = model.state_dict()
        floats = {k for k, t in state.items() if t.is_floating_point()}
        return {k: t.bfloat16() if k in floats else t for k, t in state.items()}


class HalfMoments(Keeper):
    def moments(self, optimizer):
        return {
            k: t if "step" in k else t.bfloat16() for k, t in _flat(optimizer).items()
        }


class ParametersOnly(Keeper):
    def weights(self, model):
        return dict(model.named_parameters())

    def read_model(self, folder, model):
        kept = load_file(folder / "model.safetensors")
        model.load_state_dict(kept, strict=False)


class NewParameters(Keeper):
    """The model gets new parameters, of which the optimiser knows nothing."""

    def read_model(self, folder, model):
        kept = load_file(folder / "model.safetensors")
        model.load_state_dict(kept, assign=True)


class Rounded(Keeper):
    """Weights as decimal numbers with five digits."""

    def read_model(self, folder, model):
        kept = load_file(folder / "model.safetensors")
        kept = {
            k: (t * 1e5).round() / 1e5 if t.is_floating_point() else t
            for k, t in kept.items()
        }
        model.load_state_dict(kept)


class TorchSave(Keeper):
    def write(self, folder, model, optimizer, step):
        kept = {"model": model.state_dict(), "optimizer": optimizer.state_dict()}
        torch.save({**kept, "step": step}, folder / "checkpoint.pt")

    def load(self, folder, model, optimizer):
        kept = torch.load(folder / "checkpoint.pt", weights_only=True)
        model.load_state_dict(kept["model"])
        optimizer.load_state_dict(kept["optimizer"])
        return kept["step"]


class PickledOptimizer(Keeper):
    def write(self, folder, model, optimizer, step):
        super().write(folder, model, optimizer, step)
        (folder / "optimizer.pkl").write_bytes(pickle.dumps(optimizer.state_dict()))


class PickleInDisguise(Keeper):
    def write(self, folder, model, optimizer, step):
        super().write(folder, model, optimizer, step)
        torch.save(optimizer.state_dict(), folder / "optimizer.safetensors")

    def read_optimizer(self, folder, optimizer, facts):
        with (folder / "optimizer.safetensors").open("rb") as file:
            optimizer.load_state_dict(torch.load(file))


class ADictionaryPrinted(Keeper):
    """str() of a dictionary looks like JSON, and is none."""

    def write(self, folder, model, optimizer, step):
        super().write(folder, model, optimizer, step)
        facts = json.loads((folder / "run.json").read_text())
        (folder / "run.json").write_text(str(facts))

    def load(self, folder, model, optimizer):
        facts = eval((folder / "run.json").read_text())
        self.read_model(folder, model)
        self.read_optimizer(folder, optimizer, facts)
        return facts["step"]


class InPlace(Keeper):
    """Written where it is to stand."""

    def begin(self, folder):
        folder.mkdir()
        return folder

    def finish(self, temporary, folder):
        pass


class RenamedTooEarly(Keeper):
    def save(self, folder, model, optimizer, step):
        temporary = self.begin(folder)
        save_file(self.weights(model), temporary / "model.safetensors")
        temporary.rename(folder)
        save_file(self.moments(optimizer), folder / "optimizer.safetensors")
        (folder / "run.json").write_text(json.dumps(self.facts(optimizer, step)))


class CopiedNotRenamed(Keeper):
    def finish(self, temporary, folder):
        shutil.copytree(temporary, folder)
        shutil.rmtree(temporary)


class FileByFile(Keeper):
    def finish(self, temporary, folder):
        folder.mkdir()
        for file in sorted(temporary.iterdir()):
            file.rename(folder / file.name)
        temporary.rmdir()


class CopyLeftBehind(Keeper):
    def finish(self, temporary, folder):
        shutil.copytree(temporary, folder.with_name("again"))
        folder.with_name("again").rename(folder)


class StumblesOverItsOwn(Keeper):
    """After a crash the temporary folder is still there."""

    def begin(self, folder):
        temporary = self.name(folder)
        temporary.mkdir()
        return temporary


class OnePlaceForAll(Keeper):
    """Writes the weights to one place, whatever the folder."""

    def write(self, folder, model, optimizer, step):
        super().write(folder, model, optimizer, step)
        OnePlaceForAll.kept = save(model.state_dict())

    def read_model(self, folder, model):
        model.load_state_dict(load(OnePlaceForAll.kept))


class SwitchesToEval(Keeper):
    def weights(self, model):
        return model.eval().state_dict()


class WakesAll(Keeper):
    def save(self, folder, model, optimizer, step):
        model.eval()
        super().save(folder, model, optimizer, step)
        model.train()


class LeavesHalf(Keeper):
    """``half()`` works in place."""

    def weights(self, model):
        return model.half().state_dict()

    def read_model(self, folder, model):
        kept = load_file(folder / "model.safetensors")
        model.load_state_dict({k: t.clone() for k, t in kept.items()})


class ClearsGradients(Keeper):
    def moments(self, optimizer):
        optimizer.zero_grad()
        return super().moments(optimizer)


class DrawsAName(Keeper):
    def name(self, folder):
        return folder.with_name(f"{folder.name}.{int(torch.randint(9999, ()))}")


class AllHaveMoments(Keeper):
    """Takes it that every parameter has had a gradient."""

    def moments(self, optimizer):
        tensors, i = {}, 0
        for group in optimizer.param_groups:
            for weight in group["params"]:
                for key in ("step", "exp_avg", "exp_avg_sq"):
                    tensors[f"{i}/{key}"] = optimizer.state[weight][key]
                i += 1
        return tensors


class ReseedsOnLoad(Keeper):
    def load(self, folder, model, optimizer):
        torch.manual_seed(1337)
        return super().load(folder, model, optimizer)


class SwitchesToTraining(Keeper):
    def load(self, folder, model, optimizer):
        step = super().load(folder, model, optimizer)
        model.train()
        return step


class OtherOrder(Keeper):
    """Moments by the model's order, which is not that of the optimiser's groups."""

    def save(self, folder, model, optimizer, step):
        self.model = model
        super().save(folder, model, optimizer, step)

    def moments(self, optimizer):
        return {
            f"{i}/{key}": t
            for i, weight in enumerate(self.model.parameters())
            for key, t in optimizer.state.get(weight, {}).items()
        }


class RightByName:
    """Moments under the names of their parameters, facts beside."""

    @staticmethod
    def save(folder, model, optimizer, step):
        temporary = folder.parent / (folder.name + ".part")
        if temporary.exists():
            shutil.rmtree(temporary)
        temporary.mkdir(parents=True)
        names = {weight: name for name, weight in model.named_parameters()}
        tensors = {
            f"{names[weight]}/{key}": t
            for weight, own in optimizer.state.items()
            for key, t in own.items()
        }
        (temporary / "weights.safetensors").write_bytes(save(model.state_dict()))
        (temporary / "moments.safetensors").write_bytes(save(tensors))
        rates = [
            {k: v for k, v in group.items() if k != "params"}
            for group in optimizer.param_groups
        ]
        with (temporary / "trainer.json").open("w") as file:
            json.dump({"step": step, "rates": rates}, file, indent=2)
        os.replace(temporary, folder)

    @staticmethod
    def load(folder, model, optimizer):
        kept = load_file(folder / "weights.safetensors")
        with torch.no_grad():
            for name, tensor in model.state_dict().items():
                tensor.copy_(kept[name])
        facts = json.loads((folder / "trainer.json").read_bytes())
        own = dict(model.named_parameters())
        optimizer.state.clear()
        for name, tensor in load_file(folder / "moments.safetensors").items():
            weight, _, key = name.rpartition("/")
            optimizer.state[own[weight]][key] = tensor
        for group, rates in zip(optimizer.param_groups, facts["rates"], strict=True):
            group.update(rates)
            group["betas"] = tuple(group["betas"])
        return facts["step"]


class RightInOneFile:
    """All tensors in one file, under two prefixes."""

    @staticmethod
    def save(folder, model, optimizer, step):
        room = tempfile.mkdtemp(dir=folder.parent, prefix=".new-")
        tensors = {f"model.{k}": t for k, t in model.state_dict().items()}
        tensors |= {f"optimizer.{k}": t for k, t in _flat(optimizer).items()}
        save_file(tensors, os.path.join(room, "all.safetensors"))
        with open(os.path.join(room, "step.json"), "w") as file:
            json.dump([step, optimizer.state_dict()["param_groups"]], file)
        os.rename(room, folder)

    @staticmethod
    def load(folder, model, optimizer):
        parts = {"model": {}, "optimizer": {}}
        with safe_open(folder / "all.safetensors", framework="pt") as file:
            for name in file.keys():  # noqa: SIM118 -- it is no dictionary
                part, _, rest = name.partition(".")
                parts[part][rest] = file.get_tensor(name)
        model.load_state_dict(parts["model"])
        step, groups = json.loads((folder / "step.json").read_text())
        state = _state(parts["optimizer"])
        optimizer.load_state_dict({"state": state, "param_groups": groups})
        return step


class RightWithManifest(Keeper):
    """One more JSON file, with the sizes of the others."""

    def write(self, folder, model, optimizer, step):
        super().write(folder, model, optimizer, step)
        sizes = {f.name: f.stat().st_size for f in folder.iterdir()}
        (folder / "manifest.json").write_text(json.dumps(sizes))

    def load(self, folder, model, optimizer):
        for name, size in json.loads((folder / "manifest.json").read_text()).items():
            if (folder / name).stat().st_size != size:
                raise ValueError(f"{name} was cut short")
        return super().load(folder, model, optimizer)


# ------------------------------------------------------------------ strict_config

MISSING = dataclasses.MISSING


def _fits(value, wanted):
    return type(value) is wanted or (wanted is float and type(value) is int)


def _needed(key):
    return key.default is MISSING and key.default_factory is MISSING


def _checked(kind, values, fits=_fits, refuse=ValueError, skip=()):
    """Right, with room for one mistake."""
    known = {key.name: key for key in dataclasses.fields(kind)}
    for name in values:
        if name not in known and "unknown" not in skip:
            raise refuse(f"unknown key {name!r}")
    for name, key in known.items():
        if name not in values:
            if _needed(key) and "missing" not in skip:
                raise refuse(f"{name} is missing")
        elif not fits(values[name], key.type):
            raise refuse(f"{name} ({values[name]!r}) must be a {key.type.__name__}")
    return kind(**{name: v for name, v in values.items() if name in known})


def straight_through(kind, values):
    return kind(**values)


def drops_unknown(kind, values):
    return _checked(kind, values, skip=("unknown",))


def python_tells_what_is_missing(kind, values):
    return _checked(kind, values, skip=("missing",))


def true_is_an_int(kind, values):
    return _checked(
        kind,
        values,
        lambda v, t: isinstance(v, (int, float) if t is float else t),
    )


def one_is_true(kind, values):
    return _checked(
        kind, values, lambda v, t: _fits(v, t) or (t is bool and v in (0, 1))
    )


def converts(kind, values):
    known = {key.name: key for key in dataclasses.fields(kind)}
    for name in values:
        if name not in known:
            raise ValueError(f"unknown key {name!r}")
    for name, key in known.items():
        if name not in values and _needed(key):
            raise ValueError(f"{name} is missing")
    return kind(**{name: known[name].type(v) for name, v in values.items()})


def checks_no_type(kind, values):
    return _checked(kind, values, lambda v, t: True)


def whole_floats_are_ints(kind, values):
    return _checked(
        kind, values, lambda v, t: _fits(v, t) or (t is int and v == 3.0 == v)
    )


def none_is_welcome(kind, values):
    return _checked(kind, values, lambda v, t: v is None or _fits(v, t))


def no_int_for_a_float(kind, values):
    return _checked(kind, values, lambda v, t: type(v) is t)


def type_errors(kind, values):
    return _checked(kind, values, refuse=TypeError)


def key_errors(kind, values):
    for name in values:
        if name not in {key.name for key in dataclasses.fields(kind)}:
            raise KeyError(name)
    return _checked(kind, values)


def asserts(kind, values):
    known = [key.name for key in dataclasses.fields(kind)]
    assert all(name in known for name in values), "unknown key"
    return _checked(kind, values)


def names_no_key(kind, values):
    known = [key.name for key in dataclasses.fields(kind)]
    if not all(name in known for name in values):
        raise ValueError("there is an unknown key")
    return _checked(kind, values)


def names_no_value(kind, values):
    for key in dataclasses.fields(kind):
        if key.name in values and not _fits(values[key.name], key.type):
            raise ValueError(f"{key.name} must be a {key.type.__name__}")
    return _checked(kind, values)


def names_the_type_alone(kind, values):
    for key in dataclasses.fields(kind):
        if key.name in values and not _fits(values[key.name], key.type):
            raise ValueError(f"must be a {key.type.__name__}: {values[key.name]!r}")
    return _checked(kind, values)


def returns_a_dictionary(kind, values):
    return dict(dataclasses.asdict(_checked(kind, values)))


def fills_gaps_with_none(kind, values):
    for key in dataclasses.fields(kind):
        if key.name not in values and _needed(key):
            values = {**values, key.name: None}
            return kind(**values)
    return _checked(kind, values)


def a_factory_is_no_default(kind, values):
    for key in dataclasses.fields(kind):
        if key.name not in values and key.default is MISSING:
            raise ValueError(f"{key.name} is missing")
    return _checked(kind, values)


def zero_is_no_default(kind, values):
    for key in dataclasses.fields(kind):
        default = None if key.default is MISSING else key.default
        if key.name not in values and not default and key.default_factory is MISSING:
            raise ValueError(f"{key.name} is missing")
    return _checked(kind, values)


def pops(kind, values):
    own = {}
    for key in dataclasses.fields(kind):
        if key.name in values:
            own[key.name] = values.pop(key.name)
    return _checked(kind, {**own, **values})


def sets_attributes(kind, values):
    known = {key.name for key in dataclasses.fields(kind)}
    made = _checked(kind, {k: v for k, v in values.items() if k in known})
    for name, value in values.items():
        if name not in known:
            object.__setattr__(made, name, value)
    return made


def hasattr_for_known(kind, values):
    """Everything that the class has passes for a field: __class__, too."""
    for name in values:
        if not hasattr(kind, name) and name not in kind.__annotations__:
            raise ValueError(f"unknown key {name!r}")
    return _checked(kind, values, skip=("unknown",))


def capitals_do_not_matter(kind, values):
    return _checked(kind, {name.lower(): v for name, v in values.items()})


def only_the_given_defaults(kind, values):
    """Forgets what was given, if there is a default."""
    _checked(kind, values)
    needed = {key.name for key in dataclasses.fields(kind) if _needed(key)}
    return kind(**{name: v for name, v in values.items() if name in needed})


_read_before = {}


def remembers(kind, values):
    made = _checked(kind, {**_read_before.get(kind, {}), **values})
    _read_before[kind] = dict(values)
    return made


right_config = _checked


def right_config_by_hints(kind, values):
    hints = typing.get_type_hints(kind)
    unknown = sorted(set(values) - set(hints))
    if unknown:
        known = ", ".join(hints)
        raise ValueError(f"unknown key {unknown[0]!r}; known keys are {known}")
    for name, value in values.items():
        allowed = (int, float) if hints[name] is float else (hints[name],)
        wrong_bool = isinstance(value, bool) and hints[name] is not bool
        if wrong_bool or not isinstance(value, allowed):
            raise ValueError(f"{name}: got {value!r}, wanted {hints[name].__name__}")
    try:
        return kind(**values)
    except TypeError as error:  # says which argument is missing
        raise ValueError(str(error)) from None


class RefusedError(ValueError):
    """A ValueError of one's own is one."""


def right_config_in_one_pass(kind, values):
    values, own = dict(values), {}
    for key in dataclasses.fields(kind):
        if key.name in values:
            value = values.pop(key.name)
            if not _fits(value, key.type):
                raise RefusedError(f"{key.name}={value!r}")
            own[key.name] = float(value) if key.type is float else value
        elif key.default is MISSING and key.default_factory is MISSING:
            raise RefusedError(f"missing: {key.name}")
    if values:
        raise RefusedError(f"unknown: {list(values)}")
    return kind(**own)


BUGS = {
    "batch_of_step": {
        step_ignored: "every step gives the same",
        seed_ignored: "every seed gives the same.*lowest 32 bits",
        above_32_bits: "lowest 32 bits",
        added: "seed and step are added",
        multiplied: "multiplied",
        exclusive_or: "change places",
        a_thousand_steps: "step 1000 of seed 0 is step 0 of seed 1",
        ten_thousand_steps: "step 10000 of seed 0",
        sixteen_bits_of_steps: "step 65536 of seed 0",
        a_thousand_seeds: "seed 1000 begins",
        hash_of_a_string: "another process.*hash\\(\\)",
        by_the_clock: "another process.*clock",
        by_the_process: "another process",
        global_generator: "global random state.*torch\\.Generator",
        seeds_the_global_generator: "state of torch is changed",
        seeds_numpy: "state of numpy is changed",
        seeds_python: "state of Python's random is changed",
        numpys_global: "global random state",
        generator_kept_by_seed: "remembers the calls",
        counts_its_calls: "remembers the calls",
        remembers_the_text: "old text is remembered",
        row_added_to_step: "step and row are added",
        one_start_for_all: "all rows of a batch are one window",
        targets_are_inputs: "inputs themselves",
        targets_rolled: "rolled around",
        targets_rolled_back: "backwards|no window|past",
        targets_filled_with_zero: "zero, a filling",
        last_target_repeated: "repeats the window's last",
        targets_one_short: "context_length \\+ 1 tokens",
        targets_in_32_bits: "int64",
        places_for_tokens: "positions instead of tokens",
        never_the_last: "last window.*never drawn",
        never_the_first: "first window.*never drawn",
        one_too_far: "past the end|last start is one less|behind the end",
        moved_inside: "more often|last target would lie",
        tiles_only: "pieces that do not overlap",
        without_repeats: "Starts may repeat",
        lets_short_texts_be: "too short.*no ValueError",
        leaves_it_to_torch: "too short.*RuntimeError",
        refuses_the_shortest: "exactly one window",
        sideways: "One row a window",
    },
    "resume": {
        ForgetsTheMoments: "optimiser's state is not restored",
        ForgetsTheWeights: "no weight arrives",
        FirstMomentOnly: "exp_avg_sq of the optimiser does not come back",
        StepsStartAgain: "own count of steps",
        OldRates: "lr was .* Keep the settings",
        OneStepLater: "saved at step 5, load says 6",
        StepOfZero: "load says 0",
        StepAsText: "returns a str",
        NoStep: "returns None",
        HalfWeights: "rounded to 16 bits",
        BrainWeights: "rounded to 16 bits",
        HalfMoments: "exp_avg.*rounded to 16 bits",
        ParametersOnly: "buffer",
        NewParameters: "not the model's own",
        Rounded: "comes back rounded",
        TorchSave: "is a pickle",
        PickledOptimizer: "optimizer.pkl is a pickle",
        PickleInDisguise: "optimizer.safetensors is a pickle|reads a pickle",
        ADictionaryPrinted: "run.json is not JSON",
        InPlace: "under its own name with",
        RenamedTooEarly: "under its own name with",
        CopiedNotRenamed: "under its own name with",
        FileByFile: "under its own name with",
        CopyLeftBehind: "left beside the folder",
        StumblesOverItsOwn: "left behind stops the next save",
        OnePlaceForAll: "second has overwritten the first",
        SwitchesToEval: "switches the model's mode",
        WakesAll: "asleep",
        LeavesHalf: "rounded|changes|another dtype|not what was saved",
        ClearsGradients: "gradients",
        DrawsAName: "save draws from the global",
        AllHaveMoments: "no gradient has no state",
        ReseedsOnLoad: "load draws from the global random state, or sets it",
        SwitchesToTraining: "training mode",
        OtherOrder: "mixed up|not what was saved|belongs to|does not come back",
    },
    "strict_config": {
        straight_through: "TypeError instead of ValueError",
        drops_unknown: "unknown key must be refused.*taken",
        python_tells_what_is_missing: "missing.*TypeError instead",
        true_is_an_int: "True is no int.*a bool is an int",
        one_is_true: "1 is no bool",
        converts: "is no",
        checks_no_type: "is no",
        whole_floats_are_ints: "3.0 is no int",
        none_is_welcome: "None is no",
        no_int_for_a_float: "rate.*3|in order",
        type_errors: "TypeError instead of ValueError",
        key_errors: "KeyError instead of ValueError",
        asserts: "AssertionError instead of ValueError",
        names_no_key: "does not name the key drop_out",
        names_no_value: "does not name the value",
        names_the_type_alone: "does not name the key",
        returns_a_dictionary: "returns a dict",
        fills_gaps_with_none: "n_heads has no default and is missing, but it was taken",
        a_factory_is_no_default: "in order, but it raised.*note is missing",
        zero_is_no_default: "in order, but it raised.*dropout is missing",
        pops: "changes the dictionary",
        sets_attributes: "drop_out.*taken",
        hasattr_for_known: "__class__.*taken",
        capitals_do_not_matter: "Rate.*taken",
        only_the_given_defaults: "gives d_model = 96, not 48",
        remembers: "gives|remembered",
    },
}

RIGHT = {
    "batch_of_step": (
        right_with_numpy,
        right_with_a_digest,
        right_in_a_fork,
        right_the_long_way,
        right_row_by_row,
    ),
    "resume": (Keeper, RightByName, RightInOneFile, RightWithManifest),
    "strict_config": (
        right_config,
        right_config_by_hints,
        right_config_in_one_pass,
    ),
}
