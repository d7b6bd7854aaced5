"""Wrong and right answers to chapter 12, by someone who has not read its checks."""

import math
from fractions import Fraction

# chinchilla: right


def sizes_by_ratio_of_roots(flops, tokens_per_parameter=20):
    parameters = (flops / 6) ** 0.5 / tokens_per_parameter**0.5
    return parameters, flops / (6 * parameters)


def sizes_to_whole_numbers(flops, tokens_per_parameter=20.0):
    tokens = math.sqrt(flops * tokens_per_parameter / 6)
    return [round(tokens / tokens_per_parameter), round(tokens)]


def sizes_by_bisection(flops, tokens_per_parameter=20):
    low, high = 0.0, float(flops)
    for _ in range(300):
        middle = (low + high) / 2
        if 6 * middle * (tokens_per_parameter * middle) < flops:
            low = middle
        else:
            high = middle
    return high, high * tokens_per_parameter


# chinchilla: wrong


def sizes_without_the_ratio(flops, tokens_per_parameter=20):
    n = math.sqrt(flops / 6)
    return n, tokens_per_parameter * n


def sizes_swapped(flops, tokens_per_parameter=20):
    n = math.sqrt(flops / (6 * tokens_per_parameter))
    d = n * tokens_per_parameter
    return d, n


def sizes_with_twenty_tokens(flops, tokens_per_parameter=20):
    # right for a ratio of 20
    parameters = (flops / (6 * tokens_per_parameter)) ** 0.5
    tokens = 20 * parameters
    return parameters, tokens


def sizes_of_forward_pass(flops, tokens_per_parameter=20):
    flops_per_parameter_and_token = 2
    n = math.sqrt(flops / flops_per_parameter_and_token / tokens_per_parameter)
    return n, n * tokens_per_parameter


def sizes_with_free_tokens(flops, tokens_per_parameter=20):
    n = math.sqrt(flops / (6 * tokens_per_parameter))
    return n, flops / n


def sizes_by_half_of_square(flops, tokens_per_parameter=20):
    # ** binds before /
    n = (flops / (6 * tokens_per_parameter)) ** 1 / 2
    return n, tokens_per_parameter * n


def sizes_times_ratio(flops, tokens_per_parameter=20):
    # / and * from left to right
    n = math.sqrt(flops / 6 * tokens_per_parameter)
    return n, tokens_per_parameter * n


def sizes_in_whole_millions(flops, tokens_per_parameter=20):
    n = (flops / 6 / tokens_per_parameter) ** 0.5
    return round(n, -6), round(n * tokens_per_parameter, -6)


def sizes_the_other_way(flops, tokens_per_parameter=20):
    tokens = math.sqrt(flops / (6 * tokens_per_parameter))
    parameters = tokens_per_parameter * tokens
    return parameters, tokens


# bits_per_byte: right


def bits_by_log2_of_e(loss_nats_per_token, tokens, num_bytes):
    return loss_nats_per_token * math.log2(math.e) * tokens / num_bytes


def bits_by_bytes_per_token(loss_nats_per_token, tokens, num_bytes):
    bytes_per_token = num_bytes / tokens
    nats_per_byte = loss_nats_per_token / bytes_per_token
    return nats_per_byte / math.log(2)


def bits_by_fractions(loss_nats_per_token, tokens, num_bytes):
    whole = Fraction(loss_nats_per_token) * tokens
    return float(whole / num_bytes / Fraction(math.log(2)))


# bits_per_byte: wrong


def nats_by_byte(loss_nats_per_token, tokens, num_bytes):
    return loss_nats_per_token * tokens / num_bytes


def bits_times_ln_two(loss_nats_per_token, tokens, num_bytes):
    bits_per_token = loss_nats_per_token * math.log(2)
    return bits_per_token * tokens / num_bytes


def bits_by_inverse_share(loss_nats_per_token, tokens, num_bytes):
    bits_per_token = loss_nats_per_token / math.log(2)
    return bits_per_token * (num_bytes / tokens)


def bits_by_decimal_logarithm(loss_nats_per_token, tokens, num_bytes):
    total_nats = loss_nats_per_token * tokens
    return total_nats / math.log10(2) / num_bytes


def bits_by_token(loss_nats_per_token, tokens, num_bytes):
    return loss_nats_per_token / math.log(2)


def bits_to_two_places(loss_nats_per_token, tokens, num_bytes):
    bits = loss_nats_per_token / math.log(2) * tokens
    return round(bits / num_bytes, 2)


def bits_by_logarithm_of_loss(loss_nats_per_token, tokens, num_bytes):
    return math.log2(loss_nats_per_token) * tokens / num_bytes


def bits_with_whole_bytes_per_token(loss_nats_per_token, tokens, num_bytes):
    # right where every token has the same number of bytes
    bytes_per_token = num_bytes // tokens
    return loss_nats_per_token / math.log(2) / bytes_per_token


def bits_by_eighths(loss_nats_per_token, tokens, num_bytes):
    total_bits = loss_nats_per_token * tokens / math.log(2)
    return total_bits / (8 * num_bytes)


# model_flops_utilisation: right


def share_by_time(tokens_per_second, flops_per_token, peak_flops):
    seconds_per_token = 1 / tokens_per_second
    best_seconds_per_token = flops_per_token / peak_flops
    return best_seconds_per_token / seconds_per_token


def share_by_fractions(tokens_per_second, flops_per_token, peak_flops):
    used = Fraction(tokens_per_second) * Fraction(flops_per_token)
    return used / Fraction(peak_flops)


def share_in_teraflops(tokens_per_second, flops_per_token, peak_flops):
    tera = 1e12
    achieved = tokens_per_second * (flops_per_token / tera)
    return achieved / (peak_flops / tera)


# model_flops_utilisation: wrong


def share_in_percent(tokens_per_second, flops_per_token, peak_flops):
    return 100 * tokens_per_second * flops_per_token / peak_flops


def share_cut_off(tokens_per_second, flops_per_token, peak_flops):
    return min(1.0, tokens_per_second * flops_per_token / peak_flops)


def share_that_refuses(tokens_per_second, flops_per_token, peak_flops):
    share = tokens_per_second * flops_per_token / peak_flops
    if not 0 <= share <= 1:
        raise ValueError(f"utilisation must lie between 0 and 1, not {share}")
    return share


def share_with_backward_again(tokens_per_second, flops_per_token, peak_flops):
    forward = flops_per_token
    backward = 2 * forward
    return (forward + backward) * tokens_per_second / peak_flops


def share_upside_down(tokens_per_second, flops_per_token, peak_flops):
    return peak_flops / (tokens_per_second * flops_per_token)


def share_of_teraflops(tokens_per_second, flops_per_token, peak_flops):
    achieved = tokens_per_second * flops_per_token
    return achieved / (peak_flops * 1e12)


def share_of_flops_by_tokens(tokens_per_second, flops_per_token, peak_flops):
    achieved = flops_per_token / tokens_per_second
    return achieved / peak_flops


def share_to_two_places(tokens_per_second, flops_per_token, peak_flops):
    mfu = tokens_per_second * flops_per_token / peak_flops
    return float(f"{mfu:.2f}")


def share_in_whole_numbers(tokens_per_second, flops_per_token, peak_flops):
    return tokens_per_second * flops_per_token // peak_flops


BUGS = {
    "chinchilla": {
        sizes_without_the_ratio: "ratio is not used for the parameters",
        sizes_swapped: "the two are swapped",
        sizes_with_twenty_tokens: "tokens are 20 times the parameters",
        sizes_of_forward_pass: "forward pass alone",
        sizes_with_free_tokens: "6 is missing from the tokens",
        sizes_by_half_of_square: "half of .* not its square root",
        sizes_times_ratio: "root is of C · r / 6",
        sizes_in_whole_millions: "something rounded",
        sizes_the_other_way: "ratio is upside down",
    },
    "bits_per_byte": {
        nats_by_byte: "nats per byte",
        bits_times_ln_two: "multiplied by ln 2",
        bits_by_inverse_share: "tokens and bytes are swapped",
        bits_by_decimal_logarithm: "log 10 of 2",
        bits_by_token: "bits per token",
        bits_to_two_places: "something rounded",
        bits_by_logarithm_of_loss: "logarithm of the loss",
        bits_with_whole_bytes_per_token: "bytes / tokens is divided with //",
        bits_by_eighths: "bits are divided by 8",
    },
    "model_flops_utilisation": {
        share_in_percent: "per cent",
        share_cut_off: "cut off at 1",
        share_that_refuses: "share above 1 is refused",
        share_with_backward_again: "holds the backward pass already",
        share_upside_down: "upside down",
        share_of_teraflops: "taken for teraFLOPs",
        share_of_flops_by_tokens: "taken for seconds per token",
        share_to_two_places: "rounded to two digits",
        share_in_whole_numbers: "divided with //",
    },
}

RIGHT = {
    "chinchilla": (
        sizes_by_ratio_of_roots,
        sizes_to_whole_numbers,
        sizes_by_bisection,
    ),
    "bits_per_byte": (
        bits_by_log2_of_e,
        bits_by_bytes_per_token,
        bits_by_fractions,
    ),
    "model_flops_utilisation": (
        share_by_time,
        share_by_fractions,
        share_in_teraflops,
    ),
}
