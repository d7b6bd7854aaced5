"""Chapter 12: arithmetic of a whole run, as people get it wrong."""

import math

import numpy as np
import torch

# ------------------------------------------------------------------ chinchilla


def tokens_first(flops, tokens_per_parameter=20):
    parameters = math.sqrt(flops / (6 * tokens_per_parameter))
    return tokens_per_parameter * parameters, parameters


def twenty_always(flops, tokens_per_parameter=20):
    parameters = math.sqrt(flops / 120)
    return parameters, 20 * parameters


def forward_alone(flops, tokens_per_parameter=20):
    parameters = math.sqrt(flops / (2 * tokens_per_parameter))
    return parameters, tokens_per_parameter * parameters


def six_forgotten(flops, tokens_per_parameter=20):
    parameters = math.sqrt(flops / tokens_per_parameter)
    return parameters, tokens_per_parameter * parameters


def root_forgotten(flops, tokens_per_parameter=20):
    parameters = flops / (6 * tokens_per_parameter)
    return parameters, tokens_per_parameter * parameters


def ratio_upside_down(flops, tokens_per_parameter=20):
    tokens = math.sqrt(flops / (6 * tokens_per_parameter))
    return tokens * tokens_per_parameter, tokens


def multiplies_by_the_ratio(flops, tokens_per_parameter=20):
    parameters = math.sqrt(flops * tokens_per_parameter / 6)
    return parameters, tokens_per_parameter * parameters


def six_outside_the_root(flops, tokens_per_parameter=20):
    parameters = math.sqrt(flops / tokens_per_parameter) / 6
    return parameters, tokens_per_parameter * parameters


def tokens_without_the_six(flops, tokens_per_parameter=20):
    parameters = math.sqrt(flops / (6 * tokens_per_parameter))
    return parameters, flops / parameters


def tokens_for_parameters(flops, tokens_per_parameter=20):
    parameters = math.sqrt(flops / 6)
    return parameters, parameters


def no_default(flops, tokens_per_parameter):
    parameters = math.sqrt(flops / (6 * tokens_per_parameter))
    return parameters, tokens_per_parameter * parameters


def another_default(flops, tokens_per_parameter=10):
    parameters = math.sqrt(flops / (6 * tokens_per_parameter))
    return parameters, tokens_per_parameter * parameters


def parameters_alone(flops, tokens_per_parameter=20):
    return math.sqrt(flops / (6 * tokens_per_parameter))


def in_billions(flops, tokens_per_parameter=20):
    parameters = math.sqrt(flops / (6 * tokens_per_parameter)) / 1e9
    return parameters, tokens_per_parameter * parameters


def coarsely_rounded(flops, tokens_per_parameter=20):
    parameters = float(f"{math.sqrt(flops / (6 * tokens_per_parameter)):.1g}")
    return parameters, tokens_per_parameter * parameters


def backward_twice(flops, tokens_per_parameter=20):
    parameters = math.sqrt(flops / (8 * tokens_per_parameter))
    return parameters, tokens_per_parameter * parameters


def right_in_whole_numbers(flops, tokens_per_parameter=20):
    parameters = round(math.sqrt(flops / (6 * tokens_per_parameter)))
    return parameters, round(flops / (6 * parameters))


def right_tokens_first(flops, tokens_per_parameter=20):
    tokens = (flops * tokens_per_parameter / 6) ** 0.5
    return [tokens / tokens_per_parameter, tokens]


def right_in_numpy(flops, tokens_per_parameter=20):
    parameters = np.sqrt(flops / 6 / tokens_per_parameter)
    return np.array([parameters, parameters * tokens_per_parameter])


def right_by_search(flops, tokens_per_parameter=20):
    low, high = 0.0, flops
    for _ in range(300):
        middle = (low + high) / 2
        if 6 * middle * middle * tokens_per_parameter < flops:
            low = middle
        else:
            high = middle
    return low, low * tokens_per_parameter


# ------------------------------------------------------------------ bits_per_byte


def nats_per_byte(loss, tokens, num_bytes):
    return loss * tokens / num_bytes


def times_ln_two(loss, tokens, num_bytes):
    return loss * tokens / num_bytes * math.log(2)


def bits_per_token(loss, tokens, num_bytes):
    return loss / math.log(2)


def bytes_over_tokens(loss, tokens, num_bytes):
    return loss / math.log(2) * num_bytes / tokens


def bits_of_the_text(loss, tokens, num_bytes):
    return loss * tokens / math.log(2)


def tokens_forgotten(loss, tokens, num_bytes):
    return loss / num_bytes / math.log(2)


def base_ten(loss, tokens, num_bytes):
    return loss * tokens / num_bytes / math.log(10)


def log_of_the_loss(loss, tokens, num_bytes):
    return math.log2(loss) * tokens / num_bytes


def bytes_per_byte(loss, tokens, num_bytes):
    return loss * tokens / math.log(2) / 8 / num_bytes


def compression_ratio(loss, tokens, num_bytes):
    return 8 * num_bytes / (loss * tokens / math.log(2))


def exponential(loss, tokens, num_bytes):
    return math.exp(loss) * tokens / num_bytes


def rounded(loss, tokens, num_bytes):
    return round(loss * tokens / num_bytes / math.log(2), 3)


def whole_tokens_per_byte(loss, tokens, num_bytes):
    return loss * (tokens // num_bytes) / math.log(2)


def at_least_one_bit(loss, tokens, num_bytes):
    return max(1.0, loss * tokens / num_bytes / math.log(2))


def one_token_less(loss, tokens, num_bytes):
    return loss * (tokens - 1) / num_bytes / math.log(2)


def right_by_log2_of_e(loss, tokens, num_bytes):
    return loss * math.log2(math.e) * (tokens / num_bytes)


def right_in_numpy_bits(loss, tokens, num_bytes):
    return np.float64(loss) * tokens / (np.log(2) * num_bytes)


def right_as_a_tensor(loss, tokens, num_bytes):
    nats = torch.tensor(loss, dtype=torch.float64) * tokens
    return nats / num_bytes / math.log(2)


def right_by_the_total(nats_each, count, size):
    bits_in_all = count * nats_each / math.log(2.0)
    return bits_in_all / size


# ------------------------------------------------------- model_flops_utilisation


def upside_down(tokens_per_second, flops_per_token, peak_flops):
    return peak_flops / (tokens_per_second * flops_per_token)


def per_cent(tokens_per_second, flops_per_token, peak_flops):
    return 100 * tokens_per_second * flops_per_token / peak_flops


def six_again(tokens_per_second, flops_per_token, peak_flops):
    return 6 * tokens_per_second * flops_per_token / peak_flops


def backward_again(tokens_per_second, flops_per_token, peak_flops):
    return 3 * tokens_per_second * flops_per_token / peak_flops


def tokens_over_flops(tokens_per_second, flops_per_token, peak_flops):
    return tokens_per_second / peak_flops


def no_peak(tokens_per_second, flops_per_token, peak_flops):
    return tokens_per_second * flops_per_token


def speed_forgotten(tokens_per_second, flops_per_token, peak_flops):
    return flops_per_token / peak_flops


def seconds_per_token(tokens_per_second, flops_per_token, peak_flops):
    return flops_per_token / tokens_per_second / peak_flops


def divides_twice(tokens_per_second, flops_per_token, peak_flops):
    return tokens_per_second / flops_per_token / peak_flops


def floor_division(tokens_per_second, flops_per_token, peak_flops):
    return tokens_per_second * flops_per_token // peak_flops


def cut_at_one(tokens_per_second, flops_per_token, peak_flops):
    return min(1.0, tokens_per_second * flops_per_token / peak_flops)


def two_digits(tokens_per_second, flops_per_token, peak_flops):
    return round(tokens_per_second * flops_per_token / peak_flops, 2)


def five_digits(tokens_per_second, flops_per_token, peak_flops):
    return round(tokens_per_second * flops_per_token / peak_flops, 5)


def an_hour_of_tokens(tokens_per_second, flops_per_token, peak_flops):
    return 3600 * tokens_per_second * flops_per_token / peak_flops


def peak_in_teraflops(tokens_per_second, flops_per_token, peak_flops):
    return tokens_per_second * flops_per_token / (peak_flops * 1e12)


def a_word(tokens_per_second, flops_per_token, peak_flops):
    return f"{tokens_per_second * flops_per_token / peak_flops:.0%}"


def unused_share(tokens_per_second, flops_per_token, peak_flops):
    return 1 - tokens_per_second * flops_per_token / peak_flops


def right_by_seconds(tokens_per_second, flops_per_token, peak_flops):
    least = flops_per_token / peak_flops  # seconds a token
    return least / (1 / tokens_per_second)


def right_by_possible_tokens(tokens_per_second, flops_per_token, peak_flops):
    return tokens_per_second / (peak_flops / flops_per_token)


def right_by_logarithms(*speed):
    tokens, flops, peak = map(math.log, speed)
    return math.exp(tokens + flops - peak)


BUGS = {
    "chinchilla": {
        tokens_first: "swapped|parameters come first",
        twenty_always: "20 whatever is asked",
        forward_alone: "2 N D",
        six_forgotten: "6 is missing",
        root_forgotten: "root is missing",
        ratio_upside_down: "swapped|upside down",
        multiplies_by_the_ratio: "divide by r",
        six_outside_the_root: "6 stands outside",
        tokens_without_the_six: "6 is missing from the tokens",
        tokens_for_parameters: "parameters and tokens are equal",
        no_default: "default of 20",
        another_default: "must mean 20",
        parameters_alone: "one thing came back",
        in_billions: "billions",
        coarsely_rounded: "gives \\(.*, not",
        backward_twice: "8 N D",
    },
    "bits_per_byte": {
        nats_per_byte: "nats per byte",
        times_ln_two: "multiplied by ln 2",
        bits_per_token: "bits per token",
        bytes_over_tokens: "tokens and bytes are swapped",
        bits_of_the_text: "bits of the whole text",
        tokens_forgotten: "tokens is missing",
        base_ten: "ln 10",
        log_of_the_loss: "logarithm of the loss",
        bytes_per_byte: "bytes per byte",
        compression_ratio: "compression ratio",
        exponential: "perplexity goes in",
        rounded: "rounded",
        whole_tokens_per_byte: "fraction is lost",
        at_least_one_bit: "gives 1, not|needs no bits",
        one_token_less: "tokens - 1",
    },
    "model_flops_utilisation": {
        upside_down: "upside down",
        per_cent: "per cent",
        six_again: "factor of 6",
        backward_again: "factor of 3",
        tokens_over_flops: "tokens are not FLOPs",
        no_peak: "peak is not used",
        speed_forgotten: "speed is not used",
        seconds_per_token: "seconds per token",
        divides_twice: "FLOPs a token",
        floor_division: "//",
        cut_at_one: "cut off at 1",
        two_digits: "two digits",
        five_digits: "rounded",
        an_hour_of_tokens: "per hour",
        peak_in_teraflops: "teraFLOPs",
        a_word: "str came back",
        unused_share: "NOT used",
    },
}

RIGHT = {
    "chinchilla": (
        right_in_whole_numbers,
        right_tokens_first,
        right_in_numpy,
        right_by_search,
    ),
    "bits_per_byte": (
        right_by_log2_of_e,
        right_in_numpy_bits,
        right_as_a_tensor,
        right_by_the_total,
    ),
    "model_flops_utilisation": (
        right_by_seconds,
        right_by_possible_tokens,
        right_by_logarithms,
    ),
}
