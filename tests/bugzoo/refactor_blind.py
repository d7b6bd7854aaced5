"""Wrong and right answers to chapter 7, by someone who has not read its checks."""

import dataclasses
import hashlib
import json
import os
import random
import shutil
import tempfile
import typing
from pathlib import Path

import numpy as np
import torch
from safetensors import safe_open
from safetensors.torch import load_file, save_file

# strict_config: right


def config_by_matching(kind, values):
    result = {}
    declared = {field.name: field for field in dataclasses.fields(kind)}
    for key, value in values.items():
        if key not in declared:
            raise ValueError(f"{kind.__name__} has no setting {key}")
        match declared[key].type, value:
            case (built_in, bool()) if built_in is not bool:
                raise ValueError(f"{key}: {value} is a bool")
            case (kind_of_number, int()) if kind_of_number is float:
                result[key] = float(value)
            case (wanted, _) if isinstance(value, wanted):
                result[key] = value
            case (wanted, _):
                raise ValueError(f"{key} = {value!r} should be {wanted.__name__}")
    try:
        return kind(**result)
    except TypeError as error:
        raise ValueError(str(error)) from error


class SettingError(ValueError):
    pass


def config_with_all_faults(kind, values):
    hints = typing.get_type_hints(kind)
    needed = {
        f.name
        for f in dataclasses.fields(kind)
        if f.default is f.default_factory is dataclasses.MISSING
    }
    faults = [f"unknown: {name}" for name in values.keys() - hints.keys()]
    faults += [f"missing: {name}" for name in needed - values.keys()]
    faults += [
        f"{name} cannot be {values[name]!r}"
        for name in values.keys() & hints.keys()
        if type(values[name]) is not hints[name]
        and (hints[name], type(values[name])) != (float, int)
    ]
    if faults:
        raise SettingError("; ".join(sorted(faults)))
    return kind(**values)


def config_by_fields(kind, values):
    fits = {int: (int,), float: (int, float), bool: (bool,), str: (str,)}
    left = dict(values)
    given = {}
    for field in dataclasses.fields(kind):
        if field.name in left:
            value = left.pop(field.name)
            if type(value) not in fits[field.type]:
                raise ValueError(f"bad {field.name}: {value}")
            given[field.name] = value
        elif field.default is not dataclasses.MISSING:
            given[field.name] = field.default
        elif field.default_factory is not dataclasses.MISSING:
            given[field.name] = field.default_factory()
        else:
            raise ValueError(f"{field.name} is needed")
    for name in left:
        raise ValueError(f"{name} is not declared")
    return kind(**given)


# strict_config: wrong


def config_with_true_for_float(kind, values):
    fields = {field.name: field for field in dataclasses.fields(kind)}
    for key, value in values.items():
        if key not in fields:
            raise ValueError(f"unknown key {key!r}")
        wanted = fields[key].type
        if wanted is float:
            good = isinstance(value, int | float)
        elif wanted is int:
            good = isinstance(value, int) and not isinstance(value, bool)
        else:
            good = isinstance(value, wanted)
        if not good:
            raise ValueError(f"{key}: expected {wanted.__name__}, got {value!r}")
    for name, field in fields.items():
        has_default = (
            field.default is not dataclasses.MISSING
            or field.default_factory is not dataclasses.MISSING
        )
        if name not in values and not has_default:
            raise ValueError(f"missing key {name!r}")
    return kind(**values)


def config_without_whole_floats(kind, values):
    types = {field.name: field.type for field in dataclasses.fields(kind)}
    for name in values:
        if name not in types:
            raise ValueError(f"what is {name}?")
        if type(values[name]) is not types[name]:
            raise ValueError(f"{name} is {values[name]!r}, not a {types[name]}")
    try:
        return kind(**values)
    except TypeError as error:
        raise ValueError(f"{error}") from None


def config_without_factories(kind, values):
    known = [field.name for field in dataclasses.fields(kind)]
    for key in values:
        if key not in known:
            raise ValueError(f"{key} is unknown; choose from {known}")
    arguments = {}
    for field in dataclasses.fields(kind):
        if field.name not in values:
            if field.default is dataclasses.MISSING:
                raise ValueError(f"{field.name} is missing")
            continue
        value = values[field.name]
        allowed = {int, float} if field.type is float else {field.type}
        if type(value) not in allowed:
            raise ValueError(f"{field.name}={value!r} is no {field.type.__name__}")
        arguments[field.name] = value
    return kind(**arguments)


def config_that_drops_unknown_keys(kind, values):
    arguments = {}
    for field in dataclasses.fields(kind):
        try:
            value = values[field.name]
        except KeyError:
            if (field.default, field.default_factory) == (dataclasses.MISSING,) * 2:
                raise ValueError(f"{field.name} is not there") from None
            continue
        if field.type is float and type(value) is int:
            value = float(value)
        if type(value) is not field.type:
            raise ValueError(f"{field.name} must not be {value!r}")
        arguments[field.name] = value
    return kind(**arguments)


def config_that_lets_python_complain(kind, values):
    fields = {f.name: f.type for f in dataclasses.fields(kind)}
    unknown = set(values) - set(fields)
    if unknown:
        raise ValueError(f"unknown keys: {', '.join(unknown)}")
    for name, value in values.items():
        if fields[name] is float and type(value) is int:
            continue
        if type(value) is not fields[name]:
            raise ValueError(f"{name}: {value!r} is not {fields[name]}")
    return kind(**values)


def config_with_silent_value(kind, values):
    by_name = {f.name: f for f in dataclasses.fields(kind)}
    for key in values:
        if key not in by_name:
            raise ValueError(f"no such key: {key}")
        wanted, got = by_name[key].type, type(values[key])
        if got is not wanted and not (wanted is float and got is int):
            raise ValueError(f"{key} must be {wanted.__name__}, not {got.__name__}")
    for key, field in by_name.items():
        optional = field.default is not dataclasses.MISSING
        optional |= field.default_factory is not dataclasses.MISSING
        if not optional and key not in values:
            raise ValueError(f"no value for {key}")
    return kind(**values)


def config_that_empties_values(kind, values):
    arguments = {}
    for field in dataclasses.fields(kind):
        no_default = field.default is field.default_factory is dataclasses.MISSING
        if field.name in values:
            value = values.pop(field.name)
            if type(value) is not field.type and (type(value), field.type) != (
                int,
                float,
            ):
                raise ValueError(f"{field.name} cannot be {value!r}")
            arguments[field.name] = value
        elif no_default:
            raise ValueError(f"{field.name} has no default")
    if values:
        raise ValueError(f"left over: {list(values)}")
    return kind(**arguments)


def config_with_dashes(kind, values):
    # as on a command line
    settings = {key.replace("-", "_"): value for key, value in values.items()}
    types = {f.name: f.type for f in dataclasses.fields(kind)}
    for key, value in settings.items():
        if key not in types:
            raise ValueError(f"unknown setting {key!r}")
        if type(value) not in ((int, float) if types[key] is float else (types[key],)):
            raise ValueError(f"setting {key!r} has the wrong type: {value!r}")
    try:
        return kind(**settings)
    except TypeError as error:
        raise ValueError(f"incomplete: {error}") from error


def config_with_or(kind, values):
    # nought, the empty string and False are not "not given"
    for key in values:
        if key not in kind.__dataclass_fields__:
            raise ValueError(f"stray key {key}")
    built = {}
    for field in dataclasses.fields(kind):
        default = field.default
        if field.default_factory is not dataclasses.MISSING:
            default = field.default_factory()
        if field.name in values:
            value = values[field.name]
            if type(value) is int and field.type is float:
                value = float(value)
            if type(value) is not field.type:
                raise ValueError(f"{field.name}: {value!r}")
            built[field.name] = value or default
        else:
            built[field.name] = default
        if built[field.name] is dataclasses.MISSING:
            if field.name not in values:
                raise ValueError(f"{field.name} is required")
            built[field.name] = values[field.name]
    return kind(**built)


def config_with_none_for_default(kind, values):
    fields = {field.name: field for field in dataclasses.fields(kind)}
    for key in values:
        if key not in fields:
            raise ValueError(f"{key} does not belong to {kind.__name__}")
    chosen = {}
    for name, field in fields.items():
        value = values.get(name)
        if value is None:
            if field.default is field.default_factory is dataclasses.MISSING:
                raise ValueError(f"{name} is {value}, and has no default")
        elif type(value) is field.type or (field.type is float and type(value) is int):
            chosen[name] = value
        else:
            raise ValueError(f"{name} is {value!r}, which does not fit")
    return kind(**chosen)


def config_by_position(kind, values):
    # right unless the class is kw_only
    fields = dataclasses.fields(kind)
    stray = values.keys() - {field.name for field in fields}
    if stray:
        raise ValueError(f"stray: {sorted(stray)}")
    arguments = []
    for field in fields:
        if field.name in values:
            argument = values[field.name]
            kinds = [field.type, int] if field.type is float else [field.type]
            if type(argument) not in kinds:
                raise ValueError(f"{field.name} got {argument!r}")
        elif field.default is not dataclasses.MISSING:
            argument = field.default
        elif field.default_factory is not dataclasses.MISSING:
            argument = field.default_factory()
        else:
            raise ValueError(f"{field.name} got nothing")
        arguments.append(argument)
    return kind(*arguments)


def config_with_floats_that_are_whole(kind, values):
    # JSON writes some integers as 3.0
    types = {f.name: f.type for f in dataclasses.fields(kind)}
    clean = {}
    for key, value in values.items():
        if key not in types:
            raise ValueError(f"{key!r} is not a field")
        if types[key] is int and isinstance(value, float) and value.is_integer():
            value = int(value)
        if isinstance(value, bool) and types[key] is not bool:
            raise ValueError(f"{key!r}: {value!r} is a truth value")
        if not isinstance(value, (int, float) if types[key] is float else types[key]):
            raise ValueError(f"{key!r}: {value!r} has the wrong type")
        clean[key] = value
    try:
        return kind(**clean)
    except TypeError as error:
        raise ValueError(str(error)) from error


# batch_of_step: right


def batch_by_numpy(tokens, seed, step, batch_size, context_length):
    windows = len(tokens) - context_length
    if windows < 1:
        raise ValueError("the text is too short")
    starts = np.random.default_rng((seed, step)).integers(windows, size=batch_size)
    rows = tokens.unfold(0, context_length + 1, 1)[torch.from_numpy(starts)]
    return rows[:, :-1], rows[:, 1:]


def batch_by_digest(tokens, seed, step, batch_size, context_length):
    windows = tokens.numel() - context_length
    if windows <= 0:
        raise ValueError(f"{tokens.numel()} tokens hold no window")
    digest = hashlib.sha256(f"{seed}/{step}".encode()).digest()
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(int.from_bytes(digest[:8], "big"))
        starts = (torch.rand(batch_size, dtype=torch.float64) * windows).long()
    places = starts[:, None] + torch.arange(context_length)
    return tokens[places], tokens[places + 1]


def batch_by_choices(tokens, seed, step, batch_size, context_length):
    if len(tokens) < context_length + 1:
        raise ValueError("not one window")
    starts = range(len(tokens) - context_length)
    own = random.Random(f"{seed}:{step}").choices(starts, k=batch_size)
    inputs = torch.stack([tokens[i : i + context_length] for i in own])
    targets = torch.stack([tokens[i + 1 : i + context_length + 1] for i in own])
    return inputs, targets


def batch_by_walking(tokens, seed, step, batch_size, context_length):
    generator = torch.Generator().manual_seed(seed)
    windows = tokens.shape[0] - context_length
    if windows < 1:
        raise ValueError("too few tokens")
    for _ in range(step + 1):
        starts = torch.randint(windows, (batch_size, 1), generator=generator)
    rows = torch.take(tokens, starts + torch.arange(context_length + 1))
    return rows[:, :context_length], rows[:, 1:]


# batch_of_step: wrong


def batch_without_last_start(tokens, seed, step, batch_size, context_length):
    # the upper end of randint is exclusive already
    if len(tokens) < context_length + 1:
        raise ValueError("text too short")
    last = len(tokens) - context_length - 1
    g = torch.Generator()
    g.manual_seed(seed * 7_919_003 + step)
    ix = torch.randint(0, max(last, 1), (batch_size,), generator=g)
    x = torch.stack([tokens[i : i + context_length] for i in ix])
    y = torch.stack([tokens[i + 1 : i + 1 + context_length] for i in ix])
    return x, y


def batch_with_seeds_far_apart(tokens, seed, step, batch_size, context_length):
    # not far enough
    count = len(tokens) - context_length
    if count < 1:
        raise ValueError(f"need {context_length + 1} tokens, got {len(tokens)}")
    generator = torch.Generator().manual_seed(100_000 * seed + step)
    starts = torch.randint(count, (batch_size, 1), generator=generator)
    offsets = torch.arange(context_length)
    return tokens[starts + offsets], tokens[starts + offsets + 1]


_generators = {}


def batch_by_kept_generator(tokens, seed, step, batch_size, context_length):
    # right as long as the steps come in order
    if len(tokens) <= context_length:
        raise ValueError("no window fits")
    if step == 0 or seed not in _generators:
        _generators[seed] = torch.Generator().manual_seed(seed)
    starts = torch.randint(
        len(tokens) - context_length, (batch_size,), generator=_generators[seed]
    )
    rows = torch.stack([tokens[s : s + context_length + 1] for s in starts.tolist()])
    return rows[:, :-1], rows[:, 1:]


def batch_by_salted_hash(tokens, seed, step, batch_size, context_length):
    # right within one process
    n = len(tokens) - context_length
    if n <= 0:
        raise ValueError("tokens must be longer than context_length")
    rng = np.random.default_rng(abs(hash(f"{seed}-{step}")))
    idx = rng.integers(0, n, batch_size)[:, None] + np.arange(context_length)
    idx = torch.as_tensor(idx)
    return tokens[idx], tokens[idx + 1]


def batch_without_replacement(tokens, seed, step, batch_size, context_length):
    num_windows = len(tokens) - context_length
    if num_windows < 1:
        raise ValueError("sequence too short")
    rng = random.Random(f"{seed} {step}")
    starts = []
    while len(starts) < batch_size:  # a new round once every window was taken
        wanted = min(batch_size - len(starts), num_windows)
        starts += rng.sample(range(num_windows), wanted)
    inputs = [tokens[s : s + context_length] for s in starts]
    targets = [tokens[s + 1 : s + context_length + 1] for s in starts]
    return torch.stack(inputs), torch.stack(targets)


def batch_of_neighbours(tokens, seed, step, batch_size, context_length):
    windows = len(tokens) - context_length
    if windows < 1:
        raise ValueError("too short a text")
    first = int(np.random.default_rng([seed, step]).integers(windows))
    starts = [(first + row) % windows for row in range(batch_size)]
    x = torch.stack([tokens[s : s + context_length] for s in starts])
    y = torch.stack([tokens[s + 1 : s + 1 + context_length] for s in starts])
    return x, y


def batch_with_rolled_targets(tokens, seed, step, batch_size, context_length):
    # right but for the last column
    if len(tokens) < context_length + 1:
        raise ValueError("a window needs context_length + 1 tokens")
    rng = np.random.default_rng((seed, step))
    starts = torch.from_numpy(
        rng.integers(len(tokens) - context_length, size=batch_size)
    )
    inputs = tokens[starts.unsqueeze(1) + torch.arange(context_length)]
    targets = torch.roll(inputs, shifts=-1, dims=1)
    return inputs, targets


def batch_that_refuses_one_window(tokens, seed, step, batch_size, context_length):
    if len(tokens) <= context_length + 1:
        raise ValueError(f"only {len(tokens)} tokens for a context of {context_length}")
    entropy = hashlib.md5(repr((seed, step)).encode()).hexdigest()
    source = random.Random(entropy)
    last = len(tokens) - context_length - 1
    starts = [source.randint(0, last) for _ in range(batch_size)]
    window = torch.arange(context_length + 1)
    rows = tokens[torch.tensor(starts)[:, None] + window]
    return rows[:, :-1].contiguous(), rows[:, 1:].contiguous()


def batch_with_rounded_starts(tokens, seed, step, batch_size, context_length):
    # the first and the last start are half as likely as the others
    last = len(tokens) - context_length - 1
    if last < 0:
        raise ValueError("text shorter than one window")
    generator = torch.Generator().manual_seed(1_234_567 * seed + step)
    uniform = torch.rand(batch_size, generator=generator, dtype=torch.float64)
    starts = torch.round(uniform * last).long()
    rows = tokens.unfold(0, context_length + 1, 1)[starts]
    return rows[:, :-1], rows[:, 1:]


def batch_of_whole_chunks(tokens, seed, step, batch_size, context_length):
    # the text is cut into pieces that do not overlap
    chunks = (len(tokens) - 1) // context_length
    if chunks == 0:
        raise ValueError("not even one chunk")
    rng = np.random.default_rng((seed, step))
    starts = torch.tensor(rng.integers(chunks, size=batch_size) * context_length)
    where = starts[:, None] + torch.arange(context_length)[None, :]
    return tokens[where], tokens[where + 1]


def batch_one_row_further(tokens, seed, step, batch_size, context_length):
    # the next step brings one new row, not batch_size of them
    windows = len(tokens) - context_length
    if windows < 1:
        raise ValueError("no room for a window")
    generator = torch.Generator().manual_seed(seed)
    drawn = torch.randint(windows, (step + batch_size,), generator=generator)
    starts = drawn[step:].tolist()
    inputs = torch.stack([tokens[i : i + context_length] for i in starts])
    targets = torch.stack([tokens[i + 1 : i + 1 + context_length] for i in starts])
    return inputs, targets


def batch_by_python_random(tokens, seed, step, batch_size, context_length):
    # random.seed is global, too
    n = tokens.size(0)
    if n < context_length + 1:
        raise ValueError(f"text of {n} tokens is too short")
    random.seed(f"{seed},{step}")
    starts = [random.randrange(n - context_length) for _ in range(batch_size)]
    x = torch.stack([tokens[s : s + context_length] for s in starts])
    y = torch.stack([tokens[s + 1 : s + context_length + 1] for s in starts])
    return x, y


# resume: right


def save_by_index(folder, model, optimizer, step):
    partial = Path(tempfile.mkdtemp(prefix=".partial-", dir=folder.parent))
    packed = optimizer.state_dict()
    tensors = {
        f"{index}.{name}": tensor
        for index, state in packed["state"].items()
        for name, tensor in state.items()
    }
    save_file(model.state_dict(), partial / "model.safetensors")
    save_file(tensors, partial / "optimizer.safetensors")
    rest = {"step": step, "groups": packed["param_groups"]}
    (partial / "rest.json").write_text(json.dumps(rest, indent=2))
    partial.rename(folder)


def load_by_index(folder, model, optimizer):
    rest = json.loads((folder / "rest.json").read_text())
    model.load_state_dict(load_file(folder / "model.safetensors"))
    state = {}
    for key, tensor in load_file(folder / "optimizer.safetensors").items():
        index, name = key.split(".")
        state.setdefault(int(index), {})[name] = tensor
    optimizer.load_state_dict({"state": state, "param_groups": rest["groups"]})
    return rest["step"]


class KeeperByIndex:
    save = staticmethod(save_by_index)
    load = staticmethod(load_by_index)


class KeeperByName:
    """All tensors in one file, the optimiser's under the parameters' names."""

    @staticmethod
    def save(folder, model, optimizer, step):
        everything = {f"model/{k}": v for k, v in model.state_dict().items()}
        for name, parameter in model.named_parameters():
            for key, value in optimizer.state.get(parameter, {}).items():
                everything[f"adam/{name}/{key}"] = value
        groups = [
            {key: value for key, value in group.items() if key != "params"}
            for group in optimizer.param_groups
        ]
        half_done = folder.with_name(folder.name + ".new")
        shutil.rmtree(half_done, ignore_errors=True)
        half_done.mkdir()
        save_file(everything, half_done / "tensors.safetensors")
        with open(half_done / "groups.json", "w") as file:
            json.dump(groups, file)
        with open(half_done / "step.json", "w") as file:
            json.dump(step, file)
        os.rename(half_done, folder)

    @staticmethod
    def load(folder, model, optimizer):
        with open(folder / "groups.json") as file:
            for group, settings in zip(
                optimizer.param_groups, json.load(file), strict=True
            ):
                group.update(settings)
        parameters = dict(model.named_parameters())
        own = model.state_dict()
        optimizer.state.clear()
        with (
            safe_open(folder / "tensors.safetensors", "pt") as tensors,
            torch.no_grad(),
        ):
            for key in tensors.keys():  # noqa: SIM118
                place, *path = key.split("/")
                if place == "model":
                    own[path[0]].copy_(tensors.get_tensor(key))
                else:
                    state = optimizer.state[parameters[path[0]]]
                    state[path[1]] = tensors.get_tensor(key)
        with open(folder / "step.json") as file:
            return json.load(file)


class FilesKeeper:
    """One file a parameter, in a folder that takes its temporary home with it."""

    extension = ".safetensors"

    def file(self, folder, *parts):
        return folder / f"{'-'.join(map(str, parts))}{self.extension}"

    def save(self, folder, model, optimizer, step):
        with tempfile.TemporaryDirectory(dir=folder.parent) as home:
            inner = Path(home, "inner")
            inner.mkdir()
            for name, tensor in model.state_dict().items():
                save_file({name: tensor}, self.file(inner, "weight", name))
            settings = []
            for g, group in enumerate(optimizer.param_groups):
                settings.append({k: v for k, v in group.items() if k != "params"})
                for p, parameter in enumerate(group["params"]):
                    if parameter in optimizer.state:
                        state = optimizer.state[parameter]
                        save_file(state, self.file(inner, "state", g, p))
            note = {"settings": settings, "step": step}
            (inner / "note.json").write_bytes(json.dumps(note).encode())
            inner.replace(folder)

    def load(self, folder, model, optimizer):
        note = json.loads((folder / "note.json").read_bytes())
        weights = {}
        for file in folder.glob(f"weight-*{self.extension}"):
            weights |= load_file(file)
        model.load_state_dict(weights)
        for g, group in enumerate(optimizer.param_groups):
            group |= note["settings"][g]
            for p, parameter in enumerate(group["params"]):
                optimizer.state.pop(parameter, None)
                file = self.file(folder, "state", g, p)
                if file.exists():
                    optimizer.state[parameter] = load_file(file)
        return note["step"]


# resume: wrong


class StepCountsForgotten(KeeperByName):
    # the moments come back, but Adam's correction starts anew
    @staticmethod
    def load(folder, model, optimizer):
        groups = json.loads((folder / "groups.json").read_text())
        tensors = load_file(folder / "tensors.safetensors")
        model.load_state_dict(
            {
                key.removeprefix("model/"): value
                for key, value in tensors.items()
                if key.startswith("model/")
            }
        )
        optimizer.state.clear()
        for name, parameter in model.named_parameters():
            if f"adam/{name}/exp_avg" in tensors:
                optimizer.state[parameter] = {
                    "step": torch.tensor(0.0),
                    "exp_avg": tensors[f"adam/{name}/exp_avg"],
                    "exp_avg_sq": tensors[f"adam/{name}/exp_avg_sq"],
                }
        for group, settings in zip(optimizer.param_groups, groups, strict=True):
            group.update(settings)
        return json.loads((folder / "step.json").read_text())


class BuffersForgotten:
    @staticmethod
    def save(folder, model, optimizer, step):
        tmp = Path(tempfile.mkdtemp(dir=folder.parent))
        weights = {name: p.detach() for name, p in model.named_parameters()}
        save_file(weights, tmp / "weights.safetensors")
        state = optimizer.state_dict()
        flat = {}
        for i, entries in state["state"].items():
            for key, value in entries.items():
                flat[f"{i}/{key}"] = value
        save_file(flat, tmp / "adam.safetensors")
        meta = {"step": step, "param_groups": state["param_groups"]}
        (tmp / "meta.json").write_text(json.dumps(meta))
        os.replace(tmp, folder)

    @staticmethod
    def load(folder, model, optimizer):
        weights = load_file(folder / "weights.safetensors")
        with torch.no_grad():
            for name, p in model.named_parameters():
                p.copy_(weights[name])
        meta = json.loads((folder / "meta.json").read_text())
        state = {}
        for key, value in load_file(folder / "adam.safetensors").items():
            i, entry = key.split("/")
            state.setdefault(int(i), {})[entry] = value
        optimizer.load_state_dict(
            {"state": state, "param_groups": meta["param_groups"]}
        )
        return meta["step"]


class OptimizerPickled:
    def save(self, folder, model, optimizer, step):
        tmp = folder.parent / f"tmp-{folder.name}"
        if tmp.exists():
            shutil.rmtree(tmp)
        tmp.mkdir()
        save_file(model.state_dict(), tmp / "model.safetensors")
        torch.save(optimizer.state_dict(), tmp / "optimizer.pt")
        (tmp / "step.json").write_text(json.dumps({"step": step}))
        tmp.rename(folder)

    def load(self, folder, model, optimizer):
        model.load_state_dict(load_file(folder / "model.safetensors"))
        optimizer.load_state_dict(torch.load(folder / "optimizer.pt"))
        return json.loads((folder / "step.json").read_text())["step"]


class SaveLeavesModelInEval(KeeperByName):
    @staticmethod
    def save(folder, model, optimizer, step):
        model.eval()
        KeeperByName.save(folder, model, optimizer, step)


class LeftoverStopsSave:
    # right until the first save that was cut off
    @staticmethod
    def save(folder, model, optimizer, step):
        tmp = folder.with_suffix(".tmp")
        tmp.mkdir()
        sd = optimizer.state_dict()
        save_file(model.state_dict(), tmp / "model.safetensors")
        save_file(
            {f"{i}:{k}": v for i, s in sd["state"].items() for k, v in s.items()},
            tmp / "optim.safetensors",
        )
        (tmp / "train.json").write_text(
            json.dumps({"step": step, "groups": sd["param_groups"]})
        )
        tmp.rename(folder)

    @staticmethod
    def load(folder, model, optimizer):
        model.load_state_dict(load_file(folder / "model.safetensors"))
        info = json.loads((folder / "train.json").read_text())
        sd = {"state": {}, "param_groups": info["groups"]}
        for key, tensor in load_file(folder / "optim.safetensors").items():
            i, k = key.split(":")
            sd["state"].setdefault(int(i), {})[k] = tensor
        optimizer.load_state_dict(sd)
        return info["step"]


def load_with_new_parameters(folder, model, optimizer):
    # the optimiser goes on with the parameters that the model no longer has
    rest = json.loads((folder / "rest.json").read_text())
    weights = load_file(folder / "model.safetensors")
    model.load_state_dict(weights, assign=True)
    state = {}
    for key, tensor in load_file(folder / "optimizer.safetensors").items():
        index, name = key.split(".")
        state.setdefault(int(index), {})[name] = tensor
    optimizer.load_state_dict({"state": state, "param_groups": rest["groups"]})
    return rest["step"]


class LoadsNewParameters:
    save = staticmethod(save_by_index)
    load = staticmethod(load_with_new_parameters)


class StatesCloseUp:
    # numbers the states, not the parameters: one without a state shifts the rest
    @staticmethod
    def save(folder, model, optimizer, step):
        temporary = Path(tempfile.mkdtemp(dir=folder.parent, prefix="saving"))
        tensors = {}
        for number, state in enumerate(optimizer.state.values()):
            for key, value in state.items():
                tensors[f"{key}_{number}"] = value
        save_file(tensors, temporary / "state.safetensors")
        save_file(model.state_dict(), temporary / "model.safetensors")
        groups = optimizer.state_dict()["param_groups"]
        (temporary / "info.json").write_text(json.dumps([step, groups]))
        temporary.rename(folder)

    @staticmethod
    def load(folder, model, optimizer):
        step, groups = json.loads((folder / "info.json").read_text())
        model.load_state_dict(load_file(folder / "model.safetensors"))
        state = {}
        for name, value in load_file(folder / "state.safetensors").items():
            key, number = name.rsplit("_", 1)
            state.setdefault(int(number), {})[key] = value
        optimizer.load_state_dict({"state": state, "param_groups": groups})
        return step


def save_with_late_step(folder, model, optimizer, step):
    # the name is there before the folder is whole
    partial = Path(tempfile.mkdtemp(prefix=".partial-", dir=folder.parent))
    packed = optimizer.state_dict()
    tensors = {
        f"{index}.{name}": tensor
        for index, state in packed["state"].items()
        for name, tensor in state.items()
    }
    save_file(model.state_dict(), partial / "model.safetensors")
    save_file(tensors, partial / "optimizer.safetensors")
    partial.rename(folder)
    rest = {"step": step, "groups": packed["param_groups"]}
    (folder / "rest.json").write_text(json.dumps(rest))


class LateStep:
    save = staticmethod(save_with_late_step)
    load = staticmethod(load_by_index)


class WarmUpStep(KeeperByName):
    # a step with gradients of nought makes the state, but decays the weights
    @staticmethod
    def load(folder, model, optimizer):
        tensors = load_file(folder / "tensors.safetensors")
        weights = {k[6:]: v for k, v in tensors.items() if k.startswith("model/")}
        model.load_state_dict(weights)
        groups = json.loads((folder / "groups.json").read_text())
        for group, settings in zip(optimizer.param_groups, groups, strict=True):
            group.update(settings)
        optimizer.state.clear()
        names = [n for n, _ in model.named_parameters() if f"adam/{n}/step" in tensors]
        parameters = {name: model.get_parameter(name) for name in names}
        optimizer.zero_grad()
        for parameter in parameters.values():
            parameter.grad = torch.zeros_like(parameter)
        optimizer.step()
        optimizer.zero_grad()
        for name, parameter in parameters.items():
            for key, value in optimizer.state[parameter].items():
                value.copy_(tensors[f"adam/{name}/{key}"])
        return json.loads((folder / "step.json").read_text())


class FirstGroupForAll(KeeperByName):
    @staticmethod
    def load(folder, model, optimizer):
        step = KeeperByName.load(folder, model, optimizer)
        settings = json.loads((folder / "groups.json").read_text())[0]
        for group in optimizer.param_groups:
            group.update(settings)
        return step


class OldStateKept(KeeperByName):
    # right for a fresh optimiser
    @staticmethod
    def load(folder, model, optimizer):
        tensors = load_file(folder / "tensors.safetensors")
        own = model.state_dict()
        for key in own:
            own[key].copy_(tensors[f"model/{key}"])
        for name, parameter in model.named_parameters():
            prefix = f"adam/{name}/"
            for key, value in tensors.items():
                if key.startswith(prefix):
                    optimizer.state[parameter][key.removeprefix(prefix)] = value
        groups = json.loads((folder / "groups.json").read_text())
        for group, settings in zip(optimizer.param_groups, groups, strict=True):
            group.update(settings)
        return json.loads((folder / "step.json").read_text())


class FilledElsewhere:
    # the system's folder for temporary files may lie on another disk
    @staticmethod
    def save(folder, model, optimizer, step):
        tmp = Path(tempfile.mkdtemp())
        state = optimizer.state_dict()
        moments = {}
        for index in state["state"]:
            for key in state["state"][index]:
                moments[f"{key}@{index}"] = state["state"][index][key]
        save_file(moments, tmp / "moments.safetensors")
        save_file(model.state_dict(), tmp / "weights.safetensors")
        numbers = {"step": step, "groups": state["param_groups"]}
        (tmp / "numbers.json").write_text(json.dumps(numbers))
        shutil.move(tmp, folder)

    @staticmethod
    def load(folder, model, optimizer):
        numbers = json.loads((folder / "numbers.json").read_text())
        model.load_state_dict(load_file(folder / "weights.safetensors"))
        state = {}
        for name, value in load_file(folder / "moments.safetensors").items():
            key, index = name.split("@")
            state.setdefault(int(index), {})[key] = value
        optimizer.load_state_dict({"state": state, "param_groups": numbers["groups"]})
        return numbers["step"]


BUGS = {
    "strict_config": {
        config_with_true_for_float: "True is no float for rate",
        config_without_whole_floats: "int may stand for a float",
        config_without_factories: "default_factory, which is a default",
        config_that_drops_unknown_keys: "unknown key must be refused",
        config_that_lets_python_complain: "TypeError instead of ValueError",
        config_with_silent_value: "does not name the value",
        config_that_empties_values: "Read, do not pop",
        config_with_dashes: r"refused \(n-kv-heads\)",
        config_with_or: "default took its place",
        config_with_none_for_default: "None is no int",
        config_by_position: "build it by names",
        config_with_floats_that_are_whole: r"3\.0 is no int",
    },
    "batch_of_step": {
        batch_without_last_start: "last window.* is never drawn",
        batch_with_seeds_far_apart: "take a larger factor",
        batch_by_kept_generator: "remembers the calls before",
        batch_by_salted_hash: r"hash\(\) of a string",
        batch_without_replacement: "without replacement",
        batch_of_neighbours: "follow each other at one distance",
        batch_with_rolled_targets: "was rolled around",
        batch_that_refuses_one_window: "holds exactly one window",
        batch_with_rounded_starts: "rounded to the nearest start",
        batch_of_whole_chunks: "pieces that do not overlap",
        batch_one_row_further: "repeats all rows but one",
        batch_by_python_random: "global random state of Python's random",
    },
    "resume": {
        StepCountsForgotten: "own count of steps",
        BuffersForgotten: "buffer, which is no parameter",
        OptimizerPickled: r"optimizer\.pt is a pickle",
        SaveLeavesModelInEval: "save switches the model's mode",
        LeftoverStopsSave: "what was left behind stops",
        LoadsNewParameters: "do not replace them",
        StatesCloseUp: "states were counted, not the parameters",
        LateStep: "rename it when it is whole",
        WarmUpStep: "load takes a step",
        FirstGroupForAll: "every one of the param_groups",
        OldStateKept: "state from before load",
        FilledElsewhere: "elsewhere and moved here",
    },
}

RIGHT = {
    "strict_config": (
        config_by_matching,
        config_with_all_faults,
        config_by_fields,
    ),
    "batch_of_step": (
        batch_by_numpy,
        batch_by_digest,
        batch_by_choices,
        batch_by_walking,
    ),
    "resume": (
        KeeperByIndex,
        KeeperByName,
        FilesKeeper,
    ),
}
