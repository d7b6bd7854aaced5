"""Plots: they draw what they are given, and everyone can read them."""

import re
from itertools import pairwise

import matplotlib as mpl

mpl.use("Agg")

import math

import matplotlib.pyplot as plt
import pytest
import torch
from matplotlib.colors import to_rgb

from minillm import plots


@pytest.fixture(autouse=True)
def axes(monkeypatch):
    """What was on the figure when it was shown; figures are closed afterwards."""
    shown = []
    monkeypatch.setattr(plt, "show", lambda: shown.append(plt.gcf()))
    yield lambda: shown[-1].axes[0]
    plt.close("all")


def draw_all():
    plots.curves({"a": ([0, 1], [2.0, 1.0])})
    plots.bars({"a": 1.0, "b": 2.0}, "nats")
    plots.histogram({"a": torch.rand(9)}, torch.linspace(0, 1, 4), "p")
    plots.paired({"a": [0.1, 0.2, -0.1, 0.3, 0.0]}, "nats")
    plots.heatmap(torch.rand(2, 3), "ab", "cde", "p")
    plots.clouds({"a": torch.rand(4, 3), "b": torch.rand(4, 3)}, torch.rand(4), "p")
    plots.sharing({"MHA": (4, 4), "GQA": (4, 2)})
    plots.layers([["a"], ["b", "c"]], {("a", "b"), ("a", "c")})
    plots.chances({"a": ("xy", [0.7, 0.3])}, {"T 2": [[0.6, 0.4]]})


def test_every_shape_shows_exactly_one_figure_on_white(axes, monkeypatch):
    shown = []
    monkeypatch.setattr(plt, "show", lambda: shown.append(plt.gcf()))
    draw_all()
    assert len(shown) == len(plt.get_fignums()) == 9
    for figure in shown:
        figure.canvas.draw()
        assert to_rgb(figure.get_facecolor()) == (1, 1, 1)


def test_plots_leave_the_readers_own_style_alone():
    before = dict(plt.rcParams)
    draw_all()
    assert dict(plt.rcParams) == before


def test_curves_carry_their_numbers_their_names_and_the_levels(axes):
    plots.curves(
        {"counted": ([0, 5, 9], [3.0, 2.0, 1.0]), "trained": ([0, 9], [4.0, 1.5])},
        levels={"ln V": 4.158},
    )
    first, second, level = axes().get_lines()
    assert list(first.get_ydata()) == [3.0, 2.0, 1.0]
    assert list(second.get_xdata()) == [0, 9]
    assert set(level.get_ydata()) == {4.158}
    names = [text.get_text() for text in axes().get_legend().get_texts()]
    assert names == ["counted", "trained"]
    assert "ln V" in [text.get_text() for text in axes().texts]
    assert axes().get_xlim() == (0, 9)


def test_a_legend_does_not_hide_the_name_of_a_level(axes):
    plots.curves({c: ([0, 1], [1, 2]) for c in "abcde"}, levels={"low": 1.1, "up": 1.9})
    figure = axes().get_figure()
    figure.canvas.draw()
    legend = axes().get_legend().get_window_extent()
    for text in axes().texts:
        assert not legend.overlaps(text.get_window_extent())
    assert legend.x1 <= figure.bbox.x1
    assert legend.y1 <= figure.bbox.y1


def test_two_neighbouring_curves_differ_in_more_than_colour(axes):
    """One that lies on another must still be seen, and so must it in grey."""
    plots.curves({name: ([0, 1], [1, 1]) for name in "abcd"})
    looks = [(line.get_linestyle(), line.get_linewidth()) for line in axes().lines]
    assert all(a != b for a, b in pairwise(looks))


def test_few_places_on_a_logarithmic_axis_are_named_each(axes):
    """Powers of ten say little where the places are 64 and 4,096."""
    plots.curves({"a": ([64, 4096], [1, 2]), "b": ([64, 512], [1, 2])}, log_x=True)
    axes().get_figure().canvas.draw()
    names = [label.get_text() for label in axes().get_xticklabels()]
    assert names == ["64", "512", "4,096"]
    assert len(axes().get_xticks(minor=True)) == 0


def test_logarithmic_axes_are_used_when_asked_for(axes):
    plots.curves({"a": ([1, 10], [1, 10])}, log_x=True, log_y=True, marker="o")
    assert (axes().get_xscale(), axes().get_yscale()) == ("log", "log")
    plots.histogram(
        {"a": torch.rand(9)},
        torch.logspace(-3, 0, 4),
        "share",
        mark=("1/D", 0.1),
        log_x=True,
    )
    assert axes().get_xscale() == "log"


def test_the_first_bar_is_on_top_and_each_has_its_number(axes):
    plots.bars({"first": 1.234, "second": 2.0}, "nats", digits=2)
    low, high = axes().get_ylim()
    assert low > high  # the axis points down
    assert [text.get_text() for text in axes().texts] == ["1.23", "2.00"]


def test_the_interval_of_pairs_is_t_standard_errors_wide(axes):
    values = [1.0, 2.0, 3.0, 4.0, 5.0]
    plots.paired({"a": values, "b": [0.0, 0.5, 1.0, 0.2, 0.1]}, "nats")
    bar = axes().containers[0].lines[2][0].get_segments()[0]
    half = 2.776 * 2.5**0.5 / 5**0.5  # their variance is 2.5
    assert bar[:, 0] == pytest.approx([3 - half, 3 + half])
    assert plots.interval(values) == pytest.approx((3, half))


def test_students_t_is_that_of_the_number_of_pairs():
    """A row too far in the table makes every interval of the book a little wrong."""
    for pairs, t in plots.T_95.items():
        nu = pairs - 1
        inside = torch.linspace(-t, t, 20_001, dtype=torch.float64)
        density = (1 + inside**2 / nu) ** (-(nu + 1) / 2)
        scale = math.gamma((nu + 1) / 2) / math.gamma(nu / 2) / (nu * math.pi) ** 0.5
        assert torch.trapezoid(density * scale, inside) == pytest.approx(0.95, abs=1e-4)


def test_too_few_pairs_make_no_interval():
    with pytest.raises(ValueError, match="not 4"):
        plots.interval([1.0, 2.0, 3.0, 4.0])


ROWS = """stage,arm,seed,step,val_loss
tune,b,100,9,7.0
final,b,1,9,2.5
final,b,1,5,4.0
final,a,0,9,1.0
final,b,0,9,2.0
final,a,1,9,1.5
"""


def test_results_are_the_final_runs_last_rows_in_the_order_of_seeds(tmp_path):
    """Tuning runs flatter; rows are written as runs finish, not seed by seed."""
    (tmp_path / "results.csv").write_text(ROWS)
    assert plots.results(tmp_path / "results.csv") == {"b": [2.0, 2.5], "a": [1.0, 1.5]}
    at_five = plots.results(tmp_path / "results.csv", step=5)
    assert at_five == {"b": [4.0], "a": []}
    with pytest.raises(ValueError, match="column 'loss'"):
        plots.results(tmp_path / "results.csv", "loss")
    with pytest.raises(ValueError, match="no rows at step 7"):
        plots.results(tmp_path / "results.csv", step=7)


def test_an_arm_that_trained_longer_is_read_at_its_own_end(tmp_path):
    """Arms made equal in seconds differ in steps; the shorter must not vanish."""
    longer = ROWS + "final,c,0,12,0.5\nfinal,c,0,9,0.7\n"
    (tmp_path / "results.csv").write_text(longer)
    found = plots.results(tmp_path / "results.csv")
    assert found == {"b": [2.0, 2.5], "a": [1.0, 1.5], "c": [0.5]}


def test_a_heatmap_has_rows_downwards_and_names_on_both_axes(axes):
    table = torch.arange(6.0).view(2, 3)
    plots.heatmap(table, ["q", "u"], ["a", "b", "c"], "count", highest=4.0)
    image = axes().images[0]
    assert image.get_array().tolist() == table.tolist()
    assert image.get_clim() == (0, 4)
    assert [t.get_text() for t in axes().get_yticklabels()] == ["q", "u"]
    assert [t.get_text() for t in axes().get_xticklabels()] == ["a", "b", "c"]
    low, high = axes().get_ylim()
    assert low > high


def test_clouds_share_their_colours_and_show_the_same_space_to_all_sides(axes):
    """Unequal axes would turn a sphere into an egg."""
    points, colour = 3 * torch.rand(7, 3), torch.arange(7.0)
    plots.clouds({"before": points, "after": points / 2}, colour, "mean")
    first, second = axes().figure.axes[:2]
    assert [first.get_title(), second.get_title()] == ["before", "after"]
    for ax in (first, second):
        assert ax.get_xlim() == ax.get_ylim() == ax.get_zlim()
        assert ax.collections[0].get_array().tolist() == colour.tolist()


def test_neighbouring_query_heads_lead_to_the_head_that_they_share(axes):
    """Dealt out in turn, the picture would teach the bug of its chapter."""
    plots.sharing({"MHA": (4, 4), "GQA": (6, 2), "MQA": (3, 1)})
    panels = axes().figure.axes
    assert [ax.get_title() for ax in panels] == ["MHA", "GQA", "MQA"]
    lines = [line for line in panels[1].get_lines() if len(line.get_xdata()) == 2]
    assert [tuple(line.get_xdata()) for line in lines] == [
        *((head, 1) for head in (0, 1, 2)),
        *((head, 4) for head in (3, 4, 5)),
    ]
    assert len({line.get_color() for line in lines}) == 2
    used = [[int(text.get_text()) for text in ax.texts] for ax in panels]
    assert used == [[1, 1, 1, 1], [3, 3], [3]]


def test_chances_before_and_after_stand_in_one_panel(axes):
    """A row a setting, a column a distribution; names only below."""
    before = {"flat": ("xy", [0.5, 0.5]), "peaked": ("zw", [0.9, 0.1])}
    after = {"plain": [[0.5, 0.5], [0.9, 0.1]], "top-k 1": [[1.0, 0.0], [1.0, 0.0]]}
    plots.chances(before, after)
    panels = axes().figure.axes
    assert [ax.get_title() for ax in panels] == ["flat", "peaked", "", ""]
    assert [ax.get_ylabel() for ax in panels] == ["plain", "", "top-k 1", ""]
    heights = [bar.get_height() for bar in panels[3].patches]
    assert heights == [1.0, 0.0, 0.9, 0.1]  # what is left, then the outline
    assert [label.get_text() for label in panels[3].get_xticklabels()] == ["z", "w"]


def test_white_space_becomes_visible_and_the_font_has_its_signs():
    assert plots.visible(" \n\tq") == "␣↵⇥q"
    plots.heatmap(torch.rand(1, 3), ["a"], list("␣↵⇥"), "p")
    plt.gcf().canvas.draw()  # a missing glyph warns, and warnings are errors here


def test_every_colour_stands_out_from_white():
    """3 to 1 is what accessibility rules ask of graphics; sky blue is for areas."""

    def luminance(colour):
        parts = [
            c / 12.92 if c <= 0.03928 else ((c + 0.055) / 1.055) ** 2.4
            for c in to_rgb(colour)
        ]
        return 0.2126 * parts[0] + 0.7152 * parts[1] + 0.0722 * parts[2]

    for colour in plots.COLOURS:
        assert re.fullmatch("#[0-9a-f]{6}", colour)
        assert 1.05 / (luminance(colour) + 0.05) > 2.2
    for colour in plots.COLOURS[:3]:
        assert 1.05 / (luminance(colour) + 0.05) > 3


def test_layers_join_each_box_to_those_that_it_needs(axes):
    plots.layers([["loop"], ["model", "data"], ["config"]], {("loop", "config")})
    words = {text.get_text(): text.get_position() for text in axes().texts}
    assert set(words) == {"loop", "model", "data", "config"}
    assert words["loop"][1] > words["model"][1] == words["data"][1]
    (line,) = axes().lines
    ends = list(zip(*line.get_data(), strict=True))
    assert ends == [words["loop"], words["config"]]
