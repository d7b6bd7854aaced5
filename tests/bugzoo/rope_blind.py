"""Wrong and right answers to the exercises of chapter 4, written blind."""

import math

import torch

# rotate, right


def rotate_plain(x, positions, base):
    half = x.shape[-1] // 2
    pairs = torch.arange(half, dtype=torch.float64, device=x.device)
    angles = positions.double()[:, None] * base ** (-2 * pairs / x.shape[-1])
    cos, sin = angles.cos(), angles.sin()
    a, b = x[..., :half].double(), x[..., half:].double()
    return torch.cat([a * cos - b * sin, a * sin + b * cos], dim=-1).to(x.dtype)


def rotate_complex(x, positions, base):
    real, imaginary = x.double().chunk(2, dim=-1)
    numbers = torch.complex(real, imaginary)
    width = x.size(-1)
    speeds = torch.exp(torch.arange(0, width, 2).double() * (-math.log(base) / width))
    angles = torch.outer(positions.double(), speeds.to(x.device))
    turned = numbers * torch.polar(torch.ones_like(angles), angles)
    return torch.cat((turned.real, turned.imag), -1).type_as(x)


def rotate_with_rotated_half(x, positions, base):
    width = x.shape[-1]
    evens = torch.arange(0, width, 2, dtype=torch.float64, device=x.device)
    speeds = base ** -(evens / width)
    angles = torch.einsum("t,i->ti", positions.double(), speeds).repeat(1, 2)
    y = x.double()
    rotated_half = torch.cat((-y[..., width // 2 :], y[..., : width // 2]), dim=-1)
    return (y * angles.cos() + rotated_half * angles.sin()).to(x.dtype)


def rotate_pair_by_pair(x, positions, base):
    half = x.shape[-1] // 2
    first, second = [], []
    for i in range(half):
        angle = positions.double() * float(base) ** (-i / half)
        a, b = x[..., i].double(), x[..., half + i].double()
        first.append(a * torch.cos(angle) - b * torch.sin(angle))
        second.append(a * torch.sin(angle) + b * torch.cos(angle))
    return torch.stack(first + second, dim=-1).to(x.dtype)


def rotate_with_matrices(x, positions, base):
    half = x.shape[-1] // 2
    wide = torch.float64
    turns = torch.zeros(len(positions), 2, 2, half, dtype=wide)
    for row, position in enumerate(positions.tolist()):
        for i in range(half):
            angle = position * base ** (-2.0 * i / x.shape[-1])
            cos, sin = math.cos(angle), math.sin(angle)
            matrix = [[cos, -sin], [sin, cos]]
            turns[row, :, :, i] = torch.tensor(matrix, dtype=wide)
    pairs = x.double().unflatten(-1, (2, half))
    out = torch.einsum("tmni,bhtni->bhtmi", turns.to(x.device), pairs)
    return out.flatten(-2).to(x.dtype)


def rotate_like_llama(x, positions, base):
    # angles in float32: agrees with the others to float32's precision only
    width = x.shape[-1]
    inv_freq = 1.0 / (
        base ** (torch.arange(0, width, 2, device=x.device).float() / width)
    )
    freqs = positions.float()[:, None] * inv_freq
    cos, sin = freqs.cos()[None, None], freqs.sin()[None, None]
    x1, x2 = x[..., : width // 2], x[..., width // 2 :]
    return torch.cat((x1 * cos - x2 * sin, x2 * cos + x1 * sin), dim=-1).to(x.dtype)


# rotate, wrong


def angles_of(x, positions, base):
    half = x.shape[-1] // 2
    pairs = torch.arange(half, dtype=torch.float64, device=x.device)
    return positions.double()[:, None] * base ** (-2 * pairs / x.shape[-1])


def turn(x, cos, sin):
    a, b = x.double().chunk(2, -1)
    return torch.cat([a * cos - b * sin, a * sin + b * cos], -1).to(x.dtype)


def turned_clockwise(x, positions, base):
    # right only for position 0; attention scores are the same
    angles = angles_of(x, positions, base)
    return turn(x, angles.cos(), -angles.sin())


def pairs_are_neighbours(x, positions, base):
    # right only for E == 2 or position 0
    angles = angles_of(x, positions, base)
    a, b = x.double()[..., 0::2], x.double()[..., 1::2]
    first = a * angles.cos() - b * angles.sin()
    second = a * angles.sin() + b * angles.cos()
    return torch.stack([first, second], -1).flatten(-2).to(x.dtype)


def angles_repeat_each(x, positions, base):
    # angles for neighbours, pairs in halves; right only for E == 2 or position 0
    angles = angles_of(x, positions, base).repeat_interleave(2, dim=-1)
    a, b = x.double().chunk(2, -1)
    rotated_half = torch.cat([-b, a], -1)
    return (x.double() * angles.cos() + rotated_half * angles.sin()).to(x.dtype)


def exponent_over_half_less_one(x, positions, base):
    # the last pair turns at 1/base; right only for E == 2 or position 0
    half = x.shape[-1] // 2
    speeds = base ** -torch.linspace(0, 1, half, dtype=torch.float64)
    angles = positions.double()[:, None] * speeds
    return turn(x, angles.cos(), angles.sin())


def base_is_always_ten_thousand(x, positions, base):
    # right for base == 10000
    angles = angles_of(x, positions, 10000.0)
    return turn(x, angles.cos(), angles.sin())


def positions_counted_from_zero(x, positions, base):
    # wrong only when positions are not 0, 1, 2, ...
    angles = angles_of(x, torch.arange(x.shape[2]), base)
    return turn(x, angles.cos(), angles.sin())


def positions_counted_from_the_first(x, positions, base):
    # wrong only when positions have gaps or another order
    counted = positions[0] + torch.arange(x.shape[2])
    angles = angles_of(x, counted, base)
    return turn(x, angles.cos(), angles.sin())


def angles_in_the_dtype_of_x(x, positions, base):
    # wrong only for half precision, most for large positions
    angles = angles_of(x, positions, base).to(x.dtype)
    return turn(x, angles.cos(), angles.sin())


def output_is_wider(x, positions, base):
    # wrong only when x is not float64: the dtype of the output
    angles = angles_of(x, positions, base)
    a, b = x.double().chunk(2, -1)
    first = a * angles.cos() - b * angles.sin()
    return torch.cat([first, a * angles.sin() + b * angles.cos()], -1)


def changes_x(x, positions, base):
    # the answer is right, but the caller's x is turned, too
    angles = angles_of(x, positions, base)
    out = turn(x, angles.cos(), angles.sin())
    x.data.copy_(out.data)
    return out


def positions_go_along_the_heads(x, positions, base):
    # right only for T == 1; crashes unless H == T or one of them is 1
    angles = angles_of(x, positions, base)[:, None, :]
    return turn(x, angles.cos(), angles.sin())


def view_needs_contiguous_x(x, positions, base):
    # crashes only for x that is not contiguous
    angles = angles_of(x, positions, base)
    rows = x.view(-1, *x.shape[-2:])
    return turn(rows, angles.cos(), angles.sin()).view(x.shape)


# to_split_half, right


def order_by_reshape(weight, n_heads):
    rows, columns = weight.shape
    parts = weight.reshape(n_heads, rows // n_heads // 2, 2, columns)
    return parts.transpose(1, 2).reshape(rows, columns)


def order_by_index(weight, n_heads):
    width = weight.shape[0] // n_heads
    order = []
    for head in range(n_heads):
        order += range(head * width, (head + 1) * width, 2)
        order += range(head * width + 1, (head + 1) * width, 2)
    return weight[order]


def order_by_slices(weight, n_heads):
    heads = weight.chunk(n_heads, dim=0)
    pieces = [part for head in heads for part in (head[0::2], head[1::2])]
    return torch.cat(pieces)


def order_by_permutation_matrix(weight, n_heads):
    width = len(weight) // n_heads
    one = torch.zeros(width, width, dtype=weight.dtype, device=weight.device)
    for i in range(width // 2):
        one[i, 2 * i] = 1
        one[i + width // 2, 2 * i + 1] = 1
    return torch.block_diag(*[one] * n_heads) @ weight


# to_split_half, wrong


def order_the_other_way(weight, n_heads):
    # split-half to interleaved; right only for E == 2 and E == 4
    rows, columns = weight.shape
    parts = weight.reshape(n_heads, 2, rows // n_heads // 2, columns)
    return parts.transpose(1, 2).reshape(rows, columns)


def order_over_all_heads(weight, n_heads):
    # right only for one head
    return torch.cat([weight[0::2], weight[1::2]])


def order_of_columns(weight, n_heads):
    rows, columns = weight.shape
    parts = weight.reshape(rows, n_heads, columns // n_heads // 2, 2)
    return parts.transpose(2, 3).reshape(rows, columns)


def odd_rows_first(weight, n_heads):
    rows, columns = weight.shape
    parts = weight.reshape(n_heads, rows // n_heads // 2, 2, columns).flip(2)
    return parts.transpose(1, 2).reshape(rows, columns)


def head_width_from_the_columns(weight, n_heads):
    # right only for a square matrix; crashes or mixes heads for D != n_heads*E
    width = weight.shape[1] // n_heads
    parts = weight.reshape(-1, width // 2, 2, weight.shape[1])
    return parts.transpose(1, 2).reshape(weight.shape)


def heads_taken_for_width(weight, n_heads):
    # n_heads and E exchanged; right only for E == n_heads
    rows, columns = weight.shape
    parts = weight.reshape(rows // n_heads, n_heads // 2, 2, columns)
    return parts.transpose(1, 2).reshape(rows, columns)


def heads_interleaved_too(weight, n_heads):
    # even rows of every head, then odd rows of every head; right only for one head
    rows, columns = weight.shape
    parts = weight.reshape(n_heads, rows // n_heads // 2, 2, columns)
    return parts.permute(2, 0, 1, 3).reshape(rows, columns)


def nothing_moved(weight, n_heads):
    # reshape without transpose: nothing is moved
    rows, columns = weight.shape
    parts = weight.reshape(n_heads, rows // n_heads // 2, 2, columns)
    return parts.reshape(n_heads, 2, -1, columns).reshape(rows, columns)


def order_changed_in_place(weight, n_heads):
    # the answer is right, but the caller's weight is changed
    rows, columns = weight.shape
    parts = weight.reshape(n_heads, rows // n_heads // 2, 2, columns)
    out = parts.transpose(1, 2).reshape(rows, columns)
    weight.data.copy_(out.data)
    return out


def only_first_head_ordered(weight, n_heads):
    # right only for one head
    width = weight.shape[0] // n_heads
    first = weight[:width]
    return torch.cat([first[0::2], first[1::2], weight[width:]])


BUGS = {
    "rotate": {
        turned_clockwise: "clockwise",
        pairs_are_neighbours: "interleaved layout",
        angles_repeat_each: "repeated for neighbours",
        exponent_over_half_less_one: "exponent reaches 1",
        base_is_always_ten_thousand: "10000 stands in the code",
        positions_counted_from_zero: "positions are not used",
        positions_counted_from_the_first: "only the first position",
        angles_in_the_dtype_of_x: "angles are rounded",
        output_is_wider: "came out",
        changes_x: "in place",
        positions_go_along_the_heads: "shapes do not fit",
        view_needs_contiguous_x: "need not be contiguous",
    },
    "to_split_half": {
        order_the_other_way: "way back",
        order_over_all_heads: "across heads",
        order_of_columns: "columns",
        odd_rows_first: "odd rows come first",
        head_width_from_the_columns: "rows / n_heads",
        heads_taken_for_width: "rows / n_heads|number of heads",
        heads_interleaved_too: "across heads",
        nothing_moved: "as it was",
        order_changed_in_place: "in place",
        only_first_head_ordered: "only the first head",
    },
}

RIGHT = {
    "rotate": (
        rotate_plain,
        rotate_complex,
        rotate_with_rotated_half,
        rotate_pair_by_pair,
        rotate_with_matrices,
        rotate_like_llama,
    ),
    "to_split_half": (
        order_by_reshape,
        order_by_index,
        order_by_slices,
        order_by_permutation_matrix,
    ),
}
