"""A check is only as good as the bugs it has met."""

import importlib
import math
import pkgutil
import random
import re
import subprocess
import sys
import tempfile
from collections import Counter
from fractions import Fraction
from itertools import combinations

import bugzoo
import bugzoo.amp as scalers
import bugzoo.bigram as zoo
import bugzoo.gqa as shared_zoo
import bugzoo.gqa_blind as shared_blind
import bugzoo.kvcache as cache_zoo
import bugzoo.memmap as readers
import bugzoo.rmsnorm as norms
import bugzoo.sampling as sample_zoo
import bugzoo.swiglu as gated_zoo
import bugzoo.swiglu_blind as gated_blind
import numpy as np
import pytest
import torch

from minillm import checks, costs, evaluate, huggingface, model, sample
from minillm.cache import KVCache, LayerCache
from minillm.checks import (
    amp,
    bigram,
    fullrun,
    gpt,
    gqa,
    kvcache,
    memmap,
    rmsnorm,
    rope,
    sampling,
    swiglu,
)
from minillm.config import ModelConfig
from minillm.model import SwiGLU
from minillm.tokenizer import learn_merges


def animals(kind):
    """Every (check, function, words) of every file in the zoo."""
    found = []
    for file in sorted(pkgutil.iter_modules(bugzoo.__path__)):
        module = importlib.import_module(f"bugzoo.{file.name}")
        for check, inmates in getattr(module, kind, {}).items():
            words = inmates if isinstance(inmates, dict) else dict.fromkeys(inmates)
            for function, word in words.items():
                name = f"{file.name}-{check}-{function.__name__}"
                found.append(pytest.param(check, function, word, id=name))
    return found


@pytest.mark.parametrize(("check", "wrong", "words"), animals("BUGS"))
def test_every_bug_is_caught_and_named(check, wrong, words):
    report = getattr(checks, check)(wrong)
    assert report.results, report
    assert not report
    assert re.search(words, report.hint, re.IGNORECASE), report


@pytest.mark.parametrize(("check", "right", "words"), animals("RIGHT"))
def test_no_right_answer_is_accused(check, right, words):
    report = getattr(checks, check)(right)
    assert report, report
    assert report.hint == ""


def test_the_package_passes_its_own_check():
    assert checks.next_token_loss(evaluate.next_token_loss)


class OurGatedLayer(SwiGLU):
    """The package's, for tensors of any shape."""

    def __init__(self, d_model, d_ff):
        sizes = {"n_heads": 1, "d_model": d_model, "d_ff": d_ff}
        super().__init__(ModelConfig(position="learned", **sizes))

    def forward(self, x):
        return super().forward(x.reshape(1, -1, x.shape[-1])).view(x.shape)


def test_the_package_passes_the_check_of_chapter_5():
    assert checks.gated_feed_forward(OurGatedLayer)


class Given(torch.nn.Module):
    """A layer that gives heads from outside, split off as a projection's output."""

    def __init__(self, heads):
        super().__init__()
        self.flat = heads.transpose(1, 2).flatten(start_dim=2)  # (B, T, heads * E)

    def forward(self, x):
        return self.flat


def our_shared_heads(q, k, v):
    """The package's attention, with nothing of its own before and after it."""
    sizes = {"n_heads": q.shape[1], "n_kv_heads": k.shape[1]}
    width = q.shape[1] * q.shape[3]
    layer = model.Attention(ModelConfig(position="learned", d_model=width, **sizes))
    layer.query, layer.key, layer.value = Given(q), Given(k), Given(v)
    layer.out = torch.nn.Identity()
    mixed = layer(layer.query.flat)
    return mixed.unflatten(2, (q.shape[1], q.shape[3])).transpose(1, 2)


def number_by_number(q, k, v):
    """The definition in plain Python: no reshape that could be wrong."""
    (n_texts, n_heads, length, width), n_kv_heads = q.shape, k.shape[1]
    result = torch.empty(q.shape)
    for b in range(n_texts):
        for h in range(n_heads):
            asked = q[b, h].tolist()
            shared = h // (n_heads // n_kv_heads)
            keys, values = k[b, shared].tolist(), v[b, shared].tolist()
            for t in range(length):
                scores = [
                    sum(asked[t][e] * keys[s][e] for e in range(width)) / width**0.5
                    for s in range(t + 1)
                ]
                powers = [math.exp(score - max(scores)) for score in scores]
                for e in range(width):
                    mixed = sum(powers[s] * values[s][e] for s in range(t + 1))
                    result[b, h, t, e] = mixed / sum(powers)
    return result


def test_the_package_passes_the_check_of_chapter_6():
    assert checks.grouped_attention(our_shared_heads)


def test_the_right_numbers_of_chapter_6_are_those_of_the_definition():
    for sizes in ((), (1, 6, 1), (1, 4, 4), (2, 10, 5)):
        q, k, v = gqa._qkv(*sizes)
        assert gqa._close(gqa._right(q, k, v), number_by_number(q, k, v))


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_a_cache_of_the_package_holds_the_bytes_that_the_check_wants(dtype):
    sizes = {"n_layers": 3, "n_kv_heads": 5}
    config = ModelConfig(n_heads=10, d_model=140, **sizes)
    cache = KVCache.empty(config, 11, 13, torch.empty(0, dtype=dtype))
    held = [buffer for layer in cache.layers for buffer in (layer.keys, layer.values)]
    wanted = gqa._bytes(3, 5, 14, 13, 11, dtype.itemsize)
    assert sum(buffer.nbytes for buffer in held) == wanted
    assert cache.num_bytes == wanted
    name = str(dtype).removeprefix("torch.")
    assert costs.cache_bytes(config, 11, 13, name) == wanted


def our_layer_cache(batch_size, n_kv_heads, max_length, d_head):
    shape = (batch_size, n_kv_heads, max_length, d_head)
    return LayerCache(torch.empty(shape), torch.empty(shape))


def our_positions(padding, start, n_tokens):
    config = ModelConfig(n_heads=1, d_model=2)
    room = start + n_tokens
    cache = KVCache.empty(config, len(padding), room, torch.empty(0), padding)
    for layer in cache.layers:
        layer.length = start
    return cache.positions(n_tokens)


def our_mask(padding, start, n_tokens):
    mask = model.causal_mask(n_tokens, start + n_tokens, padding, padding.device)
    return mask[:, 0]  # of all heads


def test_the_package_passes_the_checks_of_chapter_10():
    assert checks.layer_cache(our_layer_cache)
    assert checks.padded_positions(our_positions)
    assert checks.padded_mask(our_mask)


def test_the_right_numbers_of_chapter_10_are_those_of_the_definition():
    """The last T rows of a text of S + T positions read at once."""
    q, old, new = kvcache._probe()
    k, v = kvcache._joined(old, new)
    asked = torch.cat([torch.zeros(kvcache.B, kvcache.H, kvcache.S, kvcache.E), q], 2)
    wanted = number_by_number(asked, k, v)[:, :, kvcache.S :]
    assert gqa._close(kvcache._right(q, old, new), wanted)


def test_the_package_passes_the_check_of_chapter_8():
    assert checks.learn_merges(learn_merges)


def test_the_right_merges_of_chapter_8_are_those_of_the_package():
    for words in (memmap.SMALL, memmap.PLAIN, memmap.EQUAL):
        for num_merges in (1, 5, 100):
            ours = learn_merges(Counter(words), num_merges)
            assert memmap._learn(words, num_merges) == ours


def our_probabilities(logits, temperature, top_k, top_p):
    sampler = sample.Sampler(temperature=temperature, top_k=top_k, top_p=top_p)
    return sampler.probabilities(logits)


def our_draw(probabilities, generator):
    return sample.Sampler()(probabilities.log(), generator)


def test_the_package_passes_the_checks_of_chapter_11():
    assert checks.keep_top_k(sample.keep_top_k)
    assert checks.keep_top_p(sample.keep_top_p)
    assert checks.next_probabilities(our_probabilities)
    assert checks.draw(our_draw)


def test_the_exact_nucleus_is_the_smallest_set_that_reaches_p():
    """Of all sets, by trying each: none with fewer tokens has as much."""
    for shares in sampling.SHARES[:2]:
        for p in (sampling.MASS, Fraction(1, 3), Fraction(shares[1], 100)):
            kept = sampling._nucleus(shares, p)
            inside = [share for share, stays in zip(shares, kept, strict=True) if stays]
            assert sum(inside) >= 100 * p
            smaller = combinations(shares, len(inside) - 1)
            assert max(sum(some) for some in smaller) < 100 * p


def raises(*arguments):
    raise NotImplementedError


def returns_nothing(*arguments):
    pass


def returns_dots(*arguments):
    return ...


@pytest.mark.parametrize("check", checks.CHECKS)
@pytest.mark.parametrize("stub", [raises, returns_nothing, returns_dots])
def test_a_stub_is_not_started_whichever_way_it_is_left_empty(check, stub):
    assert getattr(checks, check)(stub).verdict == "not started"


class EmptyReader:
    def __init__(self, path, dtype):
        pass

    def batch(self, seed, step, batch_size, context_length):
        pass


class EmptyScaler:
    def __init__(self, scale=2.0**16, growth_interval=2000):
        pass

    def backward(self, loss):
        pass

    unscale = step = backward

    def update(self):
        pass


def test_a_class_of_empty_methods_is_not_started():
    assert checks.token_reader(EmptyReader).verdict == "not started"
    assert checks.loss_scaler(EmptyScaler).verdict == "not started"


def test_who_forgets_return_is_told_so():
    assert "return is missing" in checks.draw_token(returns_nothing).hint
    assert checks.draw_token(raises).hint == ""


class Odd:
    def __call__(self, *arguments):
        raise SystemExit(3)


@pytest.mark.parametrize("check", checks.CHECKS)
@pytest.mark.parametrize(
    "thing",
    [
        int,
        None,
        "a word",
        7,
        torch.zeros(2),
        Odd(),
        lambda: None,
        lambda *_: "text",
        lambda *_: torch.tensor([]),
        lambda *_: [[1], [2, 3]],
        lambda *_: object(),
        lambda *_: torch.tensor(float("nan")),
        lambda *_: torch.tensor(2 + 1j),
    ],
)
def test_whatever_is_handed_in_the_answer_is_a_report(check, thing):
    report = getattr(checks, check)(thing)
    assert isinstance(report, checks.Report)
    assert not report
    assert "\n" not in report.hint


def test_a_crash_is_told_in_one_line():
    def crashes(logits, targets):
        return logits @ torch.ones(3, 3, 3)

    hint = checks.next_token_loss(crashes).hint
    assert "RuntimeError" in hint
    assert "\n" not in hint


def test_a_check_leaves_the_random_state_as_it_was():
    """Else a reader's later cells would depend on how often a check was run."""
    before = torch.get_rng_state()
    checks.draw_token(lambda odds, generator: torch.multinomial(odds, 1))
    assert torch.equal(torch.get_rng_state(), before)


def test_a_check_runs_with_gradients_even_inside_no_grad():
    with torch.no_grad():
        assert checks.next_token_loss(evaluate.next_token_loss)


# ------------------------------------------------------------------ suspects


def test_no_two_suspects_of_the_counts_look_alike():
    tables = [f(bigram.ABRACADABRA, bigram.LETTERS) for _, f in bigram.COUNT_SUSPECTS]
    tables.append(bigram._count(bigram.ABRACADABRA, bigram.LETTERS))
    for one, other in combinations(tables, 2):
        assert not bigram._close(one, other, 1e-3)


def test_no_two_suspects_of_the_loss_look_alike():
    z, y = bigram._scores(), bigram._targets()
    losses = [formula(z, y) for _, formula in bigram.LOSS_SUSPECTS]
    losses.append(bigram._right(z, y))
    for one, other in combinations(losses, 2):
        assert not bigram._close(one, other, 1e-3)


def test_no_two_suspects_of_the_draws_look_alike():
    shares = [torch.tensor(odds) for _, odds in bigram.DRAW_SUSPECTS]
    shares.append(torch.tensor(bigram.ODDS))
    for one, other in combinations(shares, 2):
        assert bigram._distance(one, other.tolist()) > 1.5 * bigram.FAR


def test_no_two_suspects_of_attention_look_alike():
    q, k, v = gpt._qkv()
    answers = [formula(q, k, v) for _, formula in gpt.ATTENTION_SUSPECTS]
    answers.append(gpt._right_attention(q, k, v))
    for one, other in combinations(answers, 2):
        assert not gpt._close(one.nan_to_num(), other.nan_to_num(), 1e-2)


def test_no_two_suspects_of_layer_norm_look_alike():
    x, w, b = gpt._vectors()
    answers = [formula(x, w, b, gpt.EPS) for _, formula in gpt.NORM_SUSPECTS]
    answers.append(gpt._right_norm(x, w, b, gpt.EPS))
    for one, other in combinations(answers, 2):
        assert not gpt._close(one, other, 1e-2)


def test_no_two_suspects_of_the_rotation_look_alike():
    x, positions = rope._probe()
    turned = [f(x, positions, rope.BASE) for _, f in rope.ROTATE_SUSPECTS]
    turned.append(rope._right(x, positions, rope.BASE))
    for one, other in combinations(turned, 2):
        assert not rope._close(one, other, 1e-3)


def test_no_two_suspects_of_the_conversion_look_alike():
    weight, heads = rope._weight(), rope.N_HEADS
    matrices = [formula(weight, heads) for _, formula in rope.CONVERT_SUSPECTS]
    matrices.append(rope._converted(weight, heads))
    for one, other in combinations(matrices, 2):
        assert not rope._close(one, other, 1e-3)


def test_the_packages_own_rotation_and_conversion_pass():
    def rotate(x, positions, base):
        angles = model.rope_rotation(positions, x.shape[-1], base, x.dtype)
        return model.rotate(x, angles)

    assert checks.rotate(rotate)
    assert checks.to_split_half(huggingface.interleaved_to_split_half)


def test_no_two_suspects_of_the_gated_layer_look_alike():
    x, weights = swiglu._probe(), swiglu._weights()
    outputs = [formula(x, weights) for _, formula in swiglu.SUSPECTS]
    outputs.append(swiglu._right(x, weights))
    for one, other in combinations(outputs, 2):
        assert not swiglu._close(one, other, 1e-4)


def test_no_two_suspects_of_the_width_look_alike():
    rules = [rule for _, rule in swiglu.WIDTH_SUSPECTS] + [swiglu._fair]
    widths = [tuple(rule(d, m) for d, m in swiglu.GRID) for rule in rules]
    assert len(set(widths)) == len(rules)


def test_no_two_suspects_of_the_shared_heads_look_alike():
    q, k, v = gqa._qkv()
    answers = [formula(q, k, v) for _, formula in gqa.ALL_SUSPECTS]
    answers.append(gqa._right(q, k, v))
    for one, other in combinations(answers, 2):
        assert not gqa._close(one.nan_to_num(), other.nan_to_num(), 1e-2)


def test_no_two_suspects_of_the_pooled_heads_look_alike():
    weight = gqa._weight()
    matrices = [formula(weight) for _, formula in gqa.POOL_SUSPECTS]
    matrices.append(gqa._pooled(weight, gqa.H, gqa.K))
    for one, other in combinations(matrices, 2):
        assert not gqa._close(one, other, 1e-2)


def test_no_two_suspects_of_the_bytes_look_alike():
    """Rounded down, too: some readers will give whole gigabytes."""
    rules = [rule for _, rule in gqa.COUNT_SUSPECTS] + [gqa._bytes]
    for rounded in (float, math.floor):
        counts = [tuple(rounded(rule(*sizes)) for sizes in gqa.GRID) for rule in rules]
        assert len(set(counts)) == len(rules)


def test_no_two_suspects_of_the_full_run_look_alike():
    """Neither does any look like the right answer."""
    for suspects, right, cases in (
        (fullrun.SPLIT_SUSPECTS, fullrun._split, fullrun.BUDGETS),
        (fullrun.BITS_SUSPECTS, fullrun._bits, fullrun.TEXTS),
        (
            fullrun.SHARE_SUSPECTS,
            fullrun._share,
            (*fullrun.SPEEDS, fullrun.IMPOSSIBLE),
        ),
    ):
        rules = [rule for _, rule in suspects] + [right]
        found = [[rule(*case) for case in cases] for rule in rules]
        for one, other in combinations(found, 2):
            assert not all(map(fullrun._alike, one, other))


def test_the_package_passes_the_checks_of_chapter_12():
    def bits(loss, tokens, num_bytes):
        sizes = {"tokens": tokens, "num_bytes": num_bytes}
        return evaluate.Evaluation(loss=loss, **sizes).bits_per_byte

    assert checks.bits_per_byte(bits)


def test_no_two_sizes_of_the_shared_heads_are_equal():
    """ggml-org/llama.cpp#3364: while H / K is K, the two can change places."""
    sizes = (gqa.B, gqa.H, gqa.K, gqa.G, gqa.T, gqa.E, gqa.G * gqa.E, gqa.K * gqa.E)
    assert len(set(sizes)) == len(sizes)
    assert gqa.D % gqa.H == 0  # so that D // H is a width that one can believe in
    assert gqa.D // gqa.H != gqa.WIDTH


def test_no_two_suspects_of_a_first_call_look_alike():
    """The names of chapters 2 and 6, on the numbers of chapter 10."""
    q, _, new = kvcache._probe()
    answers = [formula(q, *new) for _, formula in gqa.ALL_SUSPECTS]
    answers.append(kvcache._alone(q, *new))
    for one, other in combinations(answers, 2):
        assert not kvcache._close(one, other, 1e-2)


def test_no_two_suspects_of_the_past_look_alike():
    q, old, new = kvcache._probe()
    answers = [formula(q, old, new) for _, formula in kvcache.PAST_SUSPECTS]
    answers.append(kvcache._right(q, old, new))
    for one, other in combinations(answers, 2):
        assert not kvcache._close(one, other, 1e-2)


def test_no_two_suspects_of_what_is_remembered_look_alike():
    _, old, new = kvcache._probe()
    pasts = [formula(old, new) for _, formula in kvcache.REMEMBER_SUSPECTS]
    pasts.append(kvcache._joined(old, new))
    for one, other in combinations(pasts, 2):
        assert not all(
            kvcache._close(a, b, 1e-2) for a, b in zip(one, other, strict=True)
        )


def test_no_two_suspects_of_the_positions_look_alike():
    formulas = [formula for _, formula in kvcache.POSITION_SUSPECTS]
    formulas.append(kvcache._right_positions)
    padding = kvcache._padding()
    answers = [[f(padding, *place) for place in kvcache.PLACES] for f in formulas]
    for one, other in combinations(answers, 2):
        assert not all(torch.equal(a, b) for a, b in zip(one, other, strict=True))


def test_no_two_suspects_of_the_mask_look_alike_where_it_is_read():
    formulas = [formula for _, formula in kvcache.MASK_SUSPECTS]
    formulas.append(kvcache._right_mask)
    answers = [
        [kvcache._read(kvcache._suspected(f, place), place) for place in kvcache.PLACES]
        for f in formulas
    ]
    for one, other in combinations(answers, 2):
        assert not all(torch.equal(a, b) for a, b in zip(one, other, strict=True))


def test_no_two_suspects_of_top_k_look_alike():
    scores = sampling._scores()
    answers = [formula(scores) for _, formula in sampling.TOP_K_SUSPECTS]
    answers.append(sampling._keep(scores))
    for one, other in combinations(answers, 2):
        assert not sampling._close(one, other, 1e-3)


def test_no_two_suspects_of_top_p_look_alike():
    scores = sampling._nuclear_scores()
    answers = [formula(scores) for _, formula in sampling.TOP_P_SUSPECTS]
    answers.append(sampling._cut(scores, sampling._wanted_nucleus()))
    for one, other in combinations(answers, 2):
        assert not sampling._close(one, other, 1e-3)


def test_no_two_suspects_of_the_temperature_look_alike():
    scores, warm = sampling._raw(), sampling.WARM
    odds = [formula(scores, warm) for _, formula in sampling.TEMPERATURE_SUSPECTS]
    odds.append((scores / warm).softmax(-1))
    for one, other in combinations(odds, 2):
        assert not sampling._close(one, other, 1e-3)


def test_no_two_suspects_of_the_chain_look_alike():
    setting = (sampling._raw(), sampling.WARM, sampling.FEW, sampling.MOST)
    odds = [formula(*setting) for _, formula in sampling.CHAIN_SUSPECTS]
    odds.append(sampling._right_chain(*setting))
    for one, other in combinations(odds, 2):
        assert not sampling._close(one, other, 1e-3)


def test_no_two_suspects_of_a_batch_of_draws_look_alike():
    odds = sampling._odds()
    shares = [formula(odds) for _, formula in sampling.DRAW_SUSPECTS]
    shares.append(odds)
    for one, other in combinations(shares, 2):
        assert sampling._distance(one, other) > 1.5 * sampling.FAR


def test_chance_alone_stays_far_from_the_threshold_of_a_batch_of_draws():
    rng = np.random.default_rng(0)
    for odds in np.array(sampling.ODDS):
        draws = rng.multinomial(sampling.DRAWS, odds, size=5_000) / sampling.DRAWS
        furthest = np.abs(draws - odds).sum(axis=1).max() / 2
        assert furthest < 0.8 * sampling.FAR


def test_no_two_sizes_of_attention_with_a_past_are_equal():
    sizes = [getattr(kvcache, name) for name in ("B", "K", "G", "E", "T", "S", "H")]
    sizes += [kvcache.S + kvcache.T, kvcache.ROOM]
    assert len(set(sizes)) == len(sizes)


def test_chance_alone_stays_far_from_the_threshold_of_the_draws():
    """A right answer must not be accused, whichever numbers its generator gives."""
    rng = np.random.default_rng(0)
    draws = rng.multinomial(bigram.DRAWS, bigram.ODDS, size=5_000) / bigram.DRAWS
    furthest = np.abs(draws - np.array(bigram.ODDS)).sum(axis=1).max() / 2
    assert furthest < 0.7 * bigram.FAR


@pytest.mark.parametrize(
    ("check", "dropped", "wrong"),
    [
        ("count_bigrams", 3, zoo.index_wraps_in_uint16),
        ("count_bigrams", 4, zoo.counts_wrap_in_uint16),
        ("count_bigrams", 5, zoo.sorts_in_place_afterwards),
        ("next_token_loss", 3, zoo.largest_of_all_rows_in_logs),
        ("next_token_loss", 4, zoo.log_of_softmax),
        ("next_token_loss", 5, zoo.normaliser_detached),
        ("draw_token", 1, zoo.global_randomness),
        ("draw_token", 2, zoo.uniform_over_the_possible),
        ("draw_token", 3, zoo.zero_when_u_is_zero),
        ("draw_token", 4, zoo.normalises_in_place),
        ("gated_feed_forward", 0, gated_zoo.WithBias),
        ("gated_feed_forward", 2, gated_blind.RowsViewed),
        ("gated_feed_forward", 4, gated_blind.ExpWithoutCare),
        ("gated_feed_forward", 5, gated_zoo.GateDetached),
        ("fair_width", 5, gated_zoo.through_a_float),
        ("grouped_attention", 0, shared_blind.mask_number_too_large_for_half),
        ("grouped_attention", 1, shared_zoo.not_scaled),
        ("grouped_attention", 2, shared_zoo.wrong_for_a_single_head),
        ("grouped_attention", 3, shared_zoo.mask_minus_ten_thousand),
        ("grouped_attention", 5, shared_zoo.last_64_only),
        ("grouped_attention", 5, shared_zoo.shortcut_for_one_token),
        ("grouped_attention", 6, shared_zoo.first_of_a_group_learns),
        ("pool_heads", 0, shared_blind.summed_into_the_first_head),
        ("pool_heads", 1, shared_zoo.takes_the_largest),
        ("learn_merges", 6, readers.stops_at_two),
        ("learn_merges", 7, readers.takes_the_words_away),
        ("narrow", 0, readers.big_endian),
        ("narrow", 1, readers.through_float16),
        ("narrow", 2, readers.vocab_size_is_allowed),
        ("narrow", 4, readers.checks_after_the_cast),
        ("narrow", 5, readers.fails_on_none),
        ("narrow", 6, readers.sorts_in_place),
        ("token_reader", 0, readers.TargetsNotShifted),
        ("token_reader", 1, readers.LastWindowLost),
        ("token_reader", 2, readers.EpochIgnored),
        ("token_reader", 3, readers.DropsTheLast),
        ("token_reader", 4, readers.OneBuffer),
        ("token_reader", 5, readers.SeedsNumpyGlobally),
        ("token_reader", 6, readers.SizeNotChecked),
        ("token_reader", 7, readers.OpenForWriting),
        ("loss_scaler", 0, scalers.LossScaledInPlace),
        ("loss_scaler", 1, scalers.ReplacesGradients),
        ("loss_scaler", 2, scalers.OnlyNan),
        ("loss_scaler", 3, scalers.ClearsOnSkip),
        ("loss_scaler", 4, scalers.StartsLower),
        ("loss_scaler", 5, scalers.ShorterInterval),
        ("loss_scaler", 6, scalers.SkipLeavesTheCount),
        ("loss_scaler", 7, scalers.UnscalesByTheFirstScale),
        ("loss_scaler", 8, scalers.SkipForgottenByTheNextOptimizer),
        ("cache_bytes", 1, shared_zoo.a_float),
        ("attend_with_past", 0, cache_zoo.float32_comes_out),
        ("attend_with_past", 3, cache_zoo.kept_new_first),
        ("attend_with_past", 4, cache_zoo.last_64_only),
        ("attend_with_past", 5, cache_zoo.mask_minus_ten_thousand),
        ("attend_with_past", 6, cache_zoo.past_changed_in_place),
        ("layer_cache", 0, cache_zoo.LengthIsTheRoom),
        ("layer_cache", 1, cache_zoo.ValuesFirst),
        ("layer_cache", 2, cache_zoo.Clones),
        ("layer_cache", 3, cache_zoo.FullTooEarly),
        ("layer_cache", 4, cache_zoo.SlidesOn),
        ("layer_cache", 5, cache_zoo.OneRowForAll),
        ("layer_cache", 6, cache_zoo.RoomOfTheClass),
        ("padded_positions", 0, cache_zoo.as_floats),
        ("padded_positions", 1, cache_zoo.counts_from_one),
        ("padded_positions", 2, cache_zoo.not_clamped),
        ("padded_positions", 3, cache_zoo.start_ignored),
        ("padded_mask", 0, cache_zoo.whole_numbers),
        ("padded_mask", 1, cache_zoo.sees_the_next),
        ("padded_mask", 3, cache_zoo.old_keys_hidden),
        ("keep_top_k", 0, sample_zoo.changes_and_returns_another),
        ("keep_top_k", 1, sample_zoo.order_read_as_rank),
        ("keep_top_k", 2, sample_zoo.sort_without_stable),
        ("keep_top_k", 3, sample_zoo.k_above_v_means_one),
        ("keep_top_k", 4, sample_zoo.zero_is_everything),
        ("keep_top_p", 0, sample_zoo.input_filled),
        ("keep_top_p", 2, sample_zoo.above_instead_of_at),
        ("keep_top_p", 2, sample_zoo.float32_with_no_hair),
        ("keep_top_p", 3, sample_zoo.nothing_for_a_tiny_p),
        ("keep_top_p", 4, sample_zoo.one_drops_zeros),
        ("keep_top_p", 5, sample_zoo.zero_accepted),
        ("keep_top_p", 6, sample_zoo.exp_by_hand),
        ("next_probabilities", 0, sample_zoo.scaled_in_place),
        ("next_probabilities", 1, sample_zoo.temperature_multiplied),
        ("next_probabilities", 2, sample_zoo.zero_takes_the_last_of_equals),
        ("next_probabilities", 3, sample_zoo.temperature_clamped),
        ("next_probabilities", 4, sample_zoo.top_p_first),
        ("next_probabilities", 5, sample_zoo.none_is_fifty),
        ("draw", 0, sample_zoo.divides_in_place),
        ("draw", 1, sample_zoo.seeds_the_global_one),
        ("draw", 2, sample_zoo.squared),
        ("draw", 3, sample_zoo.argmax_of_nothing),
        ("draw", 4, sample_zoo.one_u_for_all_rows),
        ("cache_bytes", 4, shared_blind.product_in_float32),
    ],
)
def test_these_properties_catch_what_no_other_does(check, dropped, wrong):
    """The others are kept for the hints they give, and for what they teach."""
    file = importlib.import_module(f"minillm.checks.{checks.CHECKS[check]}")
    properties = getattr(file, check.upper())
    assert not checks.run(wrong, properties)
    assert checks.run(wrong, properties[:dropped] + properties[dropped + 1 :])


@pytest.mark.parametrize(
    ("check", "kept", "wrong", "words"),
    [
        (
            "grouped_attention",
            4,
            shared_zoo.repeat_for_repeat_interleave,
            "keys in head 0 .* change nothing in query head 1 ",
        ),
        (
            "grouped_attention",
            4,
            shared_zoo.values_dealt_keys_shared,
            "values in head 0 .* change nothing in query head 1 ",
        ),
        (
            "grouped_attention",
            4,
            shared_zoo.mean_head_for_all,
            "keys in head 0 .* change query head 4 .* should not",
        ),
        ("pool_heads", 2, shared_zoo.divided_by_the_count, "give the matrix back"),
        ("pool_heads", 3, shared_zoo.mean_of_means, "12 heads to 6 and then to 2"),
        ("pool_heads", 4, shared_zoo.every_kth_head, "attention must not change"),
        ("cache_bytes", 2, shared_zoo.one_text, "twice the batch"),
        ("cache_bytes", 3, shared_zoo.keys_alone, "32 layers.*2\\*\\*30"),
    ],
)
def test_these_properties_alone_would_tell(check, kept, wrong, words):
    """What another property catches as well, they must still say in their own words."""
    properties = getattr(gqa, check.upper())
    report = checks.run(wrong, properties[kept : kept + 1])
    assert not report
    assert re.search(words, report.hint), report


def test_no_two_suspects_of_the_merges_look_alike():
    rules = [rule for _, rule in memmap.MERGE_SUSPECTS] + [memmap._learn]
    merges = [tuple(rule(memmap.SMALL, memmap.N_SMALL)) for rule in rules]
    assert len(set(merges)) == len(rules)


def test_no_two_suspects_of_the_narrow_types_look_alike():
    rules = [rule for _, rule in memmap.TYPE_SUSPECTS] + [memmap._type]
    types = [tuple(rule(size) for size in memmap.SIZES) for rule in rules]
    assert len(set(types)) == len(rules)


def test_no_two_suspects_of_the_tokens_look_alike():
    """Some show in one of the two types alone: the two together tell."""
    types = (np.uint16, np.uint32)
    files = [(memmap._file_values(t), np.dtype(t).itemsize) for t in types]
    reads = [tuple(tuple(read(*f)) for f in files) for _, read in memmap.VALUE_SUSPECTS]
    reads.append(tuple(tuple(values) for values, _ in files))
    assert len(set(reads)) == len(reads)


def test_no_two_suspects_of_the_targets_look_alike():
    places = 5 * np.array([3, 0, 2, 1])[:, None] + np.arange(5)
    rules = [shift for _, shift in memmap.TARGET_SUSPECTS]
    targets = [shift(places).tolist() for shift in rules] + [(places + 1).tolist()]
    for one, other in combinations(targets, 2):
        assert one != other


def test_no_two_suspects_of_the_windows_look_alike():
    t = memmap.T
    rules = [rule for _, rule in memmap.WINDOW_SUSPECTS]
    rules.append(lambda n, t: set(range(0, memmap._n_windows(n, t) * t, t)))
    sizes = (8 * t + 1, 8 * t, 8 * t - 1, 8 * t + 2, 8 * t + 3)
    starts = [tuple(frozenset(rule(n, t)) for n in sizes) for rule in rules]
    assert len(set(starts)) == len(rules)


def test_no_two_suspects_of_the_samples_look_alike():
    n = memmap.N_PLACE
    asked = [
        (k, rows) for rows, steps in memmap.ASKED if rows <= n for k in range(steps)
    ]

    def order(epoch):
        return np.random.default_rng((7, epoch)).permutation(n).tolist()

    rules = [rule for _, rule in memmap.PLACE_SUSPECTS] + [memmap._placed]
    batches = [tuple(tuple(rule(order, n, *key)) for key in asked) for rule in rules]
    assert len(set(batches)) == len(rules)


def test_no_two_suspects_of_the_scaler_look_alike():
    wanted = amp._wanted()
    held = [64.0 * grad for grad in wanted]
    ways = {
        "backward": [
            [rule(grad, 1024.0) for grad in wanted] for _, rule in amp.BACKWARD_SUSPECTS
        ]
        + [[1024.0 * grad for grad in wanted]],
        "unscale": [rule(held, 64.0) for _, rule in amp.UNSCALE_SUSPECTS] + [wanted],
    }
    for grads in ways.values():
        for one, other in combinations(grads, 2):
            assert not amp._close(one, other, 1e-2)


def test_no_two_suspects_of_the_skips_and_scales_look_alike():
    rules = [rule for _, rule in amp.TAKEN_SUSPECTS] + [amp._finite]
    taken = [tuple(rule(amp._case(c)) for _, c in amp.CASES) for rule in rules]
    assert len(set(taken)) == len(rules)
    plans = [plan for _, plan in amp.SCHEDULE_SUSPECTS] + [amp._scheduled()]
    pattern = amp.PATTERN, amp.PATTERN_INTERVAL, amp.PATTERN_START
    assert len({tuple(plan(*pattern)) for plan in plans}) == len(plans)


def test_a_check_leaves_every_random_state_and_no_file(tmp_path, monkeypatch):
    """Also that of NumPy and Python, whatever the reader's class does to it."""
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))
    random.seed(3)
    np.random.seed(3)
    torch.manual_seed(3)
    states = memmap._states()
    for reader in (readers.GlobalRandomness, readers.SeedsTorchGlobally):
        assert not checks.token_reader(reader)
    assert checks.token_reader(readers.RightReader)
    assert memmap._states() == states
    assert not list(tmp_path.iterdir())


def test_no_two_suspects_of_the_norm_look_alike():
    x, gain = rmsnorm._probe(rmsnorm.B, rmsnorm.T, rmsnorm.D), rmsnorm._gain()
    results = [formula(x, gain, rmsnorm.EPS) for _, formula in rmsnorm.SUSPECTS]
    results.append(rmsnorm._right(x, gain, rmsnorm.EPS))
    for one, other in combinations(results, 2):
        assert not rmsnorm._close(one, other, 1e-4)


@pytest.mark.parametrize(
    ("dropped", "wrong"),
    [
        (0, norms.OnePlusGain),
        (1, norms.WithBias),
        (4, norms.UpcastTooLate),
        (5, norms.Narrows),
        (6, norms.RootDetached),
    ],
)
def test_these_properties_of_the_norm_catch_what_no_other_does(dropped, wrong):
    """The other two, vectors alone and zero, are kept for their hints."""
    properties = rmsnorm.RMS_NORM
    assert not checks.run(wrong, properties)
    assert checks.run(wrong, properties[:dropped] + properties[dropped + 1 :])


def test_the_seed_of_zero_gives_exactly_zero():
    """If PyTorch's generator ever changes, the check loses its rarest case."""
    generator = torch.Generator().manual_seed(bigram.SEED_OF_ZERO)
    assert torch.rand((), generator=generator) == 0


def test_the_seed_of_almost_one_gives_the_largest_number_below_one():
    generator = torch.Generator().manual_seed(sampling.SEED_OF_ALMOST_ONE)
    assert torch.rand(1, 1, generator=generator) == 1 - 2**-24
    assert torch.tensor(sampling.SHORT).cumsum(0)[-1] < 1 - 2**-24


# ------------------------------------------------------------------ the report


def test_a_report_reads_the_same_in_a_terminal():
    report = checks.Report("f", (("a", True), ("b", False)), "c")
    assert repr(report) == "f: 1 of 2\n  ok  a\n  no  b\nLikely bug: c"
    assert repr(checks.Report("f")) == "f: not started"


def test_a_report_is_true_only_if_everything_holds():
    assert checks.Report("f", (("a", True),))
    assert not checks.Report("f", (("a", True), ("b", False)))
    assert not checks.Report("f")


def test_a_hint_with_angle_brackets_cannot_break_the_page():
    report = checks.Report("<b>", (("a < b", False),), "x < y")
    html = report._repr_html_()
    assert "<b>" not in html
    assert "a &lt; b" in html
    assert "x &lt; y" in html


def test_a_report_sets_no_text_colour_so_that_it_follows_a_dark_page():
    html = checks.Report("f", (("a", False),), "c")._repr_html_()
    assert not re.search(r"[;\"](color|background)", html)


# ------------------------------------------------------------------ the package


def test_no_check_is_called_like_a_file():
    """``import minillm.checks.x`` would put the module where the check was."""
    files = {file.name for file in pkgutil.iter_modules(checks.__path__)}
    assert not files & set(checks.CHECKS)
    assert set(checks.CHECKS.values()) <= files


def test_every_check_is_offered_and_an_unknown_one_is_refused():
    assert set(checks.CHECKS) <= set(dir(checks))
    assert set(checks.__all__) == {"Report", *checks.CHECKS}
    with pytest.raises(AttributeError, match="no check named 'rnsnorm'"):
        checks.rnsnorm  # noqa: B018


def test_importing_the_package_imports_no_check_and_no_torch():
    code = "import sys, minillm.checks; print(*(m for m in sys.modules))"
    done = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, check=True
    )
    loaded = done.stdout.split()
    assert "minillm.checks" in loaded
    assert "minillm.checks.bigram" not in loaded
    assert "torch" not in loaded
