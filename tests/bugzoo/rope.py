"""Chapter 4: rotations and reordered matrices that went wrong."""

import math

import torch

# ------------------------------------------------------------------ rotate


def _angle(x, positions, base):
    width = x.shape[-1]
    speed = base ** (-torch.arange(0, width, 2).double() / width)
    return positions.double()[:, None] * speed


def _halves(x, cos, sin):
    a, b = x.to(cos.dtype).chunk(2, -1)
    return torch.cat([a * cos - b * sin, a * sin + b * cos], -1).to(x.dtype)


def metas_layout(x, positions, base):
    """The paper's and Meta's: right there, gibberish with weights of the other."""
    wide = x.float().reshape(*x.shape[:-1], -1, 2)
    angle = _angle(x, positions, base).float()
    turned = torch.view_as_complex(wide) * torch.polar(torch.ones_like(angle), angle)
    return torch.view_as_real(turned).flatten(-2).to(x.dtype)


def layouts_mixed(x, positions, base):
    """rotate_half with tables of the other layout: the field's commonest accident."""
    angle = _angle(x, positions, base).repeat_interleave(2, -1)
    a, b = x.double().chunk(2, -1)
    turned = x * angle.cos() + torch.cat([-b, a], -1) * angle.sin()
    return turned.to(x.dtype)


def layouts_mixed_the_other_way(x, positions, base):
    angle = torch.cat([_angle(x, positions, base)] * 2, -1)
    a, b = x.double()[..., ::2], x.double()[..., 1::2]
    partner = torch.stack([-b, a], -1).flatten(-2)
    return (x * angle.cos() + partner * angle.sin()).to(x.dtype)


def read_as_neighbours_written_as_halves(x, positions, base):
    angle = _angle(x, positions, base)
    a, b = x.double()[..., ::2], x.double()[..., 1::2]
    first = a * angle.cos() - b * angle.sin()
    return torch.cat([first, a * angle.sin() + b * angle.cos()], -1).to(x.dtype)


def read_as_halves_written_as_neighbours(x, positions, base):
    angle = _angle(x, positions, base)
    a, b = x.double().chunk(2, -1)
    first = a * angle.cos() - b * angle.sin()
    second = a * angle.sin() + b * angle.cos()
    return torch.stack([first, second], -1).flatten(-2).to(x.dtype)


def clockwise(x, positions, base):
    angle = _angle(x, positions, base)
    return _halves(x, angle.cos(), -angle.sin())


def minus_forgotten(x, positions, base):
    angle = _angle(x, positions, base)
    a, b = x.double().chunk(2, -1)
    first = a * angle.cos() + b * angle.sin()
    return torch.cat([first, a * angle.sin() + b * angle.cos()], -1).to(x.dtype)


def rotate_half_without_minus(x, positions, base):
    angle = torch.cat([_angle(x, positions, base)] * 2, -1)
    a, b = x.double().chunk(2, -1)
    return (x * angle.cos() + torch.cat([b, a], -1) * angle.sin()).to(x.dtype)


def overwrites_the_first(x, positions, base):
    angle = _angle(x, positions, base)
    a, b = x.double().chunk(2, -1)
    a = a * angle.cos() - b * angle.sin()
    b = a * angle.sin() + b * angle.cos()
    return torch.cat([a, b], -1).to(x.dtype)


def sine_and_cosine_swapped(x, positions, base):
    angle = _angle(x, positions, base)
    return _halves(x, angle.sin(), angle.cos())


def exponent_half(x, positions, base):
    pair = torch.arange(x.shape[-1] // 2).double()
    angle = positions[:, None] * base ** (-pair / x.shape[-1])
    return _halves(x, angle.cos(), angle.sin())


def exponent_twice(x, positions, base):
    pair = torch.arange(x.shape[-1] // 2).double()
    angle = positions[:, None] * base ** (-2 * pair / (x.shape[-1] // 2))
    return _halves(x, angle.cos(), angle.sin())


def exponent_positive(x, positions, base):
    pair = torch.arange(0, x.shape[-1], 2).double()
    angle = positions[:, None] * base ** (pair / x.shape[-1])
    return _halves(x, angle.cos(), angle.sin())


def counted_from_one(x, positions, base):
    angle = _angle(x, positions + 1, base)
    return _halves(x, angle.cos(), angle.sin())


def one_speed(x, positions, base):
    angle = positions[:, None].double().expand(-1, x.shape[-1] // 2)
    return _halves(x, angle.cos(), angle.sin())


def whole_width_of_the_model(x, positions, base):
    """The angles of one wide vector, cut into heads afterwards."""
    heads, width = x.shape[1], x.shape[3]
    wide = torch.zeros(1, 1, 1, heads * width)
    angle = _angle(wide, positions, base).view(len(positions), heads, width // 2)
    angle = angle.transpose(0, 1)
    return _halves(x, angle.cos(), angle.sin())


def degrees(x, positions, base):
    angle = _angle(x, positions, base) * math.pi / 180
    return _halves(x, angle.cos(), angle.sin())


def base_hard_coded(x, positions, base):
    angle = _angle(x, positions, 10_000.0)
    return _halves(x, angle.cos(), angle.sin())


def starts_again_at_zero(x, positions, base):
    """The decode step of a cache whose offset was forgotten."""
    angle = _angle(x, torch.arange(x.shape[2]), base)
    return _halves(x, angle.cos(), angle.sin())


def row_of_each_head(x, positions, base):
    angle = _angle(x, torch.arange(x.shape[1]), base)[:, None]
    return _halves(x, angle.cos(), angle.sin())


def table_of_fixed_length(x, positions, base):
    table = _angle(x, torch.arange(2048), base)
    angle = table[positions]
    return _halves(x, angle.cos(), angle.sin())


def clamps_positions(x, positions, base):
    angle = _angle(x, positions.clamp(max=2047), base)
    return _halves(x, angle.cos(), angle.sin())


_TABLES: dict[int, torch.Tensor] = {}


def keeps_the_first_table(x, positions, base):
    """Keyed by the width alone: another base finds the old table."""
    table = _TABLES.setdefault(x.shape[-1], _angle(x, torch.arange(5000), base))
    angle = table[positions]
    return _halves(x, angle.cos(), angle.sin())


def angles_in_bfloat16(x, positions, base):
    """``model.to(bfloat16)`` casts the table of frequencies too."""
    width = x.shape[-1]
    speed = (base ** (-torch.arange(0, width, 2).float() / width)).to(x.dtype)
    angle = positions.to(x.dtype)[:, None] * speed
    return _halves(x, angle.cos().float(), angle.sin().float())


def frequencies_in_bfloat16(x, positions, base):
    width = x.shape[-1]
    speed = (base ** (-torch.arange(0, width, 2).float() / width)).to(x.dtype)
    angle = positions.float()[:, None] * speed.float()
    return _halves(x, angle.cos(), angle.sin())


def comes_out_wide(x, positions, base):
    angle = _angle(x, positions, base).float()
    a, b = x.chunk(2, -1)
    first = a * angle.cos() - b * angle.sin()
    return torch.cat([first, a * angle.sin() + b * angle.cos()], -1)


def complex_comes_back(x, positions, base):
    angle = _angle(x, positions, base)
    a, b = x.double().chunk(2, -1)
    return torch.complex(a, b) * torch.polar(torch.ones_like(angle), angle)


def added_like_sinusoids(x, positions, base):
    angle = _angle(x, positions, base)
    return x + torch.cat([angle.cos(), angle.sin()], -1).to(x.dtype)


def without_gradient(x, positions, base):
    with torch.no_grad():
        return right_in_float32(x, positions, base)


def in_place(x, positions, base):
    turned = right_in_float32(x, positions, base)
    with torch.no_grad():
        x.copy_(turned)
    return turned


def right_in_float32(x, positions, base):
    angle = _angle(x, positions, base).float()
    return _halves(x, angle.cos(), angle.sin())


def right_with_complex_numbers(vectors, where, base):
    pairs = torch.stack(vectors.double().chunk(2, dim=-1), dim=-1).contiguous()
    angle = _angle(vectors, where, base)
    turned = torch.view_as_complex(pairs) * torch.exp(1j * angle)
    return torch.cat([turned.real, turned.imag], dim=-1).to(vectors.dtype)


def right_with_a_matrix(x, positions, base):
    """One rotation matrix of E x E a position, as in the paper."""
    width = x.shape[-1]
    angle = _angle(x, positions, base)
    cos, sin = torch.diag_embed(angle.cos()), torch.diag_embed(angle.sin())
    top, bottom = torch.cat([cos, -sin], -1), torch.cat([sin, cos], -1)
    matrix = torch.cat([top, bottom], -2)  # (T, E, E)
    assert matrix.shape == (len(positions), width, width)
    return torch.einsum("tij,bhtj->bhti", matrix, x.double()).to(x.dtype)


# ------------------------------------------------------------------ to_split_half


def as_it_was(weight, n_heads):
    return weight.clone()


def the_way_back(weight, n_heads):
    heads = weight.view(n_heads, 2, -1, weight.shape[1])
    return heads.transpose(1, 2).reshape(weight.shape)


def across_heads(weight, n_heads):
    return torch.cat([weight[0::2], weight[1::2]])


def columns(weight, n_heads):
    return torch.cat([weight[:, 0::2], weight[:, 1::2]], dim=1)


def odd_first(weight, n_heads):
    heads = weight.view(n_heads, -1, weight.shape[1])
    return torch.cat([heads[:, 1::2], heads[:, 0::2]], 1).reshape(weight.shape)


def heads_innermost(weight, n_heads):
    rows = weight.view(-1, 2, n_heads, weight.shape[1])
    return rows.transpose(0, 1).reshape(weight.shape)


def heads_left_apart(weight, n_heads):
    heads = weight.view(n_heads, -1, weight.shape[1])
    return torch.cat([heads[:, 0::2], heads[:, 1::2]], 1)


def only_the_first_head(weight, n_heads):
    size = len(weight) // n_heads
    first = weight[:size]
    return torch.cat([first[0::2], first[1::2], weight[size:]])


def twice(weight, n_heads):
    return right_by_slices(right_by_slices(weight, n_heads), n_heads)


def view_of_the_transposed(weight, n_heads):
    heads = weight.view(n_heads, -1, 2, weight.shape[1])
    return heads.transpose(1, 2).view(weight.shape)


def head_size_of_llama(weight, n_heads):
    heads = weight.view(-1, 64, 2, weight.shape[1])
    return heads.transpose(1, 2).reshape(weight.shape)


def transposed(weight, n_heads):
    return right_by_slices(weight, n_heads).T


def reorders_in_place(weight, n_heads):
    weight.copy_(right_by_slices(weight, n_heads))
    return weight


def right_by_slices(weight, n_heads):
    heads = weight.unflatten(0, (n_heads, -1))
    return torch.cat([heads[:, 0::2], heads[:, 1::2]], dim=1).flatten(0, 1)


def right_by_view(matrix, count):
    heads = matrix.reshape(count, matrix.shape[0] // count // 2, 2, -1)
    return heads.transpose(1, 2).reshape(matrix.shape)


def right_row_by_row(weight, n_heads):
    size = len(weight) // n_heads
    new = torch.empty_like(weight)
    for row in range(len(weight)):
        head, place = divmod(row, size)
        pair, half = divmod(place, 2)
        new[head * size + half * (size // 2) + pair] = weight[row]
    return new


BUGS = {
    "rotate": {
        metas_layout: "interleaved layout",
        layouts_mixed: "repeated for neighbours",
        layouts_mixed_the_other_way: "repeated for halves",
        read_as_neighbours_written_as_halves: "written as halves",
        read_as_halves_written_as_neighbours: "written as neighbours",
        clockwise: "clockwise",
        minus_forgotten: "minus is missing",
        rotate_half_without_minus: "minus is missing",
        overwrites_the_first: "already turned",
        sine_and_cosine_swapped: "swapped",
        exponent_half: "i/E, not 2i/E",
        exponent_twice: "4i/E",
        exponent_positive: "exponent's sign",
        counted_from_one: "counted from 1",
        one_speed: "same speed",
        whole_width_of_the_model: "d_model",
        degrees: "degrees",
        base_hard_coded: "base is ignored",
        starts_again_at_zero: "positions are not used",
        row_of_each_head: "axis 1 is the head",
        table_of_fixed_length: "table of angles is too short",
        clamps_positions: "clamped|in float32 too",
        keeps_the_first_table: "earlier call",
        angles_in_bfloat16: "angles are rounded",
        frequencies_in_bfloat16: "angles are rounded",
        comes_out_wide: "came out",
        complex_comes_back: "complex numbers came back",
        added_like_sinusoids: "added",
        without_gradient: "no gradient",
        in_place: "in place",
    },
    "to_split_half": {
        as_it_was: "as it was",
        the_way_back: "way back",
        across_heads: "across heads",
        columns: "columns",
        odd_first: "odd rows come first",
        heads_innermost: "innermost",
        heads_left_apart: "Flatten the heads",
        only_the_first_head: "only the first head",
        twice: "twice",
        view_of_the_transposed: "reshape instead of view",
        head_size_of_llama: "rows / n_heads",
        transposed: "transposed",
        reorders_in_place: "in place",
    },
}

RIGHT = {
    "rotate": (right_in_float32, right_with_complex_numbers, right_with_a_matrix),
    "to_split_half": (right_by_slices, right_by_view, right_row_by_row),
}
