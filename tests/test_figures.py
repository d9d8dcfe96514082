import io
import itertools
import subprocess
import sys
from dataclasses import replace

import matplotlib as mpl
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.collections import LineCollection
from matplotlib.patches import Rectangle, StepPatch
from PIL import Image
from sklearn.metrics import confusion_matrix

from fastlin import figures, metrics
from fastlin.errors import InputError
from fastlin.figures.style import styled
from fastlin.history import EpochRecord, History


def history(epochs=12, validation=True, seed=0):
    rng = np.random.default_rng(seed)
    val = rng.random((epochs, 2)) if validation else np.full((epochs, 2), np.nan)
    return History.from_records(
        [
            EpochRecord(epoch, 0.1, *map(float, rng.random(2)), *map(float, val[epoch - 1]))
            for epoch in range(1, epochs + 1)
        ]
    )


def names(K):
    return tuple(f"class {k}" for k in range(K))


def texts(figure):
    """Every text that is drawn, in one string."""
    figures.png(figure)
    return "\n".join(text.get_text() for text in figure.findobj(mpl.text.Text))


def lines(figure):
    return {line.get_label(): line for line in figure.axes[0].lines}


def tile(figure, index, columns, shape):
    """The pixels of one tile, found by where its caption is."""
    mosaic = np.asarray(figure.axes[0].images[0].get_array())
    x, y = figure.axes[0].texts[index].xy
    height, width = shape
    top, left = round(y + 0.5), round(x + 0.5 - width / 2)
    assert left // (mosaic.shape[1] // columns) == index % columns
    return mosaic[top : top + height, left : left + width]


# Gradient


def test_gradient_panels_share_bins_and_axes():
    rng = np.random.default_rng(0)
    wide, narrow = rng.normal(size=(3, 400)).astype(np.float32), 0.1 * rng.normal(size=(3, 50))
    figure = figures.gradient_histograms({"wide": wide, "narrow": narrow})
    first, second = (axes.findobj(StepPatch)[0].get_data() for axes in figure.axes)
    np.testing.assert_array_equal(first.edges, second.edges)
    assert first.edges[-1] == -first.edges[0] == np.abs(wide).max()
    assert (first.values.sum(), second.values.sum()) == (wide.size, narrow.size)
    np.testing.assert_array_equal(second.values, np.histogram(narrow, first.edges)[0])
    assert figure.axes[0].get_ylim() == figure.axes[1].get_ylim()
    assert figure.axes[0].get_xlim() == figure.axes[1].get_xlim()
    assert [axes.get_title().split("\n")[0] for axes in figure.axes] == ["wide", "narrow"]


@pytest.mark.parametrize("panels", [1, 2])
@pytest.mark.parametrize("largest", [1.5e-7, 0.00123, 0.00445, 0.0205, 1.0, 98.7, 4_560.0])
def test_labels_of_gradients_do_not_overlap(largest, panels):
    values = largest * np.linspace(-1, 1, 50)
    figure = figures.gradient_histograms({str(panel): values for panel in range(panels)})
    canvas = FigureCanvasAgg(figure)
    with styled():
        canvas.draw()
    boxes = [
        label.get_window_extent(canvas.get_renderer())
        for axes in figure.axes
        for label in axes.get_xticklabels()
        if label.get_text() and axes.get_xlim()[0] <= label.get_position()[0] <= axes.get_xlim()[1]
    ]
    assert len(boxes) >= 3 * panels
    assert all(left.x1 < right.x0 for left, right in itertools.pairwise(boxes))


def test_gradient_histogram_names_its_size_and_spread():
    figure = figures.gradient_histogram(np.array([[-3.0, 1.0], [1.0, 1.0]]))
    assert "4 values, standard deviation 1.73, largest size 3" in texts(figure)


def test_a_gradient_of_zeros_is_one_bar_at_zero():
    figure = figures.gradient_histogram(np.zeros((2, 5), np.float32))
    bars = figure.findobj(StepPatch)[0].get_data()
    (bar,) = np.flatnonzero(bars.values)
    assert bars.values[bar] == 10
    assert bars.edges[bar] < 0 < bars.edges[bar + 1]
    figures.png(figure)


@pytest.mark.parametrize("gradients", [{}, {"a": np.zeros(0)}, {"a": np.array([1.0, np.nan])}])
def test_gradients_that_cannot_be_drawn(gradients):
    with pytest.raises(InputError):
        figures.gradient_histograms(gradients)


# Curves


@pytest.mark.parametrize("epochs", [1, 12])
def test_cost_curves_are_the_history(epochs):
    past = history(epochs)
    figure = figures.cost_curves(past)
    drawn = lines(figure)
    for label, cost in (("training", past.train_cost), ("validation", past.val_cost)):
        np.testing.assert_array_equal(drawn[label].get_xdata(), past.epoch)
        np.testing.assert_array_equal(drawn[label].get_ydata(), cost)
    (best,) = (line for label, line in drawn.items() if label.startswith("best"))
    assert best.get_xdata() == [past.best_epoch]
    assert best.get_ydata() == past.val_cost[past.best_epoch - 1]
    assert f"best epoch: {past.best_epoch}\n(highest validation accuracy)" in texts(figure)


def test_axes_of_epochs_begin_and_end_where_the_data_do():
    drawn = (
        figures.cost_curves(history()),
        figures.cost_band([history(), history(seed=1)]),
        figures.curve_overlay([("a", np.arange(1, 13), np.arange(12.0))], 0, "cost"),
    )
    for figure in drawn:
        figures.png(figure)
        assert figure.axes[0].get_xlim() == (1, 12)


def test_accuracy_curves_are_in_percent():
    past = history()
    figure = figures.accuracy_curves(past)
    np.testing.assert_array_equal(lines(figure)["training"].get_ydata(), 100 * past.train_accuracy)
    np.testing.assert_array_equal(lines(figure)["validation"].get_ydata(), 100 * past.val_accuracy)
    assert figure.axes[0].get_ylabel() == "accuracy (%)"


def test_without_validation_rows_there_is_no_validation_curve():
    figure = figures.cost_curves(history(validation=False))
    assert "validation" not in texts(figure)
    assert "lowest training cost" in texts(figure)


def test_a_single_epoch_is_a_visible_point():
    for figure in (figures.cost_curves(history(1)), figures.cost_band([history(1)])):
        assert lines(figure)["training"].get_marker() == "o"
        figures.png(figure)


def test_epochs_without_evaluation_leave_no_gap():
    past = history(12)
    sparse = np.where(past.epoch % 5 == 0, past.train_cost, np.nan)
    for figure in (
        figures.cost_curves(replace(past, train_cost=sparse)),
        figures.cost_band([replace(past, train_cost=sparse)] * 2),
    ):
        drawn = lines(figure)["training"]
        np.testing.assert_array_equal(drawn.get_xdata(), [5, 10])
        np.testing.assert_allclose(drawn.get_ydata(), past.train_cost[[4, 9]])
        assert drawn.get_marker() == "o"
        assert len(lines(figure)["validation"].get_xdata()) == 12
        figures.png(figure)
    never = np.full(12, np.nan)
    figure = figures.cost_curves(replace(past, train_cost=never))
    assert "training" not in lines(figure)
    figures.png(figure)
    blind = replace(history(12, validation=False), train_cost=never)
    figure = figures.cost_curves(blind)
    assert "best epoch: 12\n(the last; no epoch was evaluated)" in texts(figure)
    figures.png(figure)


def test_an_empty_history_has_no_curves():
    with pytest.raises(InputError, match="no epoch"):
        figures.accuracy_curves(History.from_records([]))


def test_cost_band_is_the_mean_and_one_standard_deviation():
    pasts = [history(seed=seed) for seed in range(4)]
    figure = figures.cost_band(pasts)
    costs = np.array([past.val_cost for past in pasts])
    np.testing.assert_allclose(lines(figure)["validation"].get_ydata(), costs.mean(axis=0))
    outline = figure.axes[0].collections[1].get_paths()[0].vertices
    at_third_epoch = outline[outline[:, 0] == 3, 1]
    mean, spread = costs[:, 2].mean(), costs[:, 2].std(ddof=1)
    assert at_third_epoch.min() == pytest.approx(mean - spread)
    assert at_third_epoch.max() == pytest.approx(mean + spread)
    assert "4 seeds" in texts(figure)


def test_cost_band_without_validation_rows():
    assert list(lines(figures.cost_band([history(validation=False)] * 2))) == ["training"]


@pytest.mark.parametrize(
    "pasts", [[], [history(0)], [history(2), history(3)], [history(2), history(2, False)]]
)
def test_cost_band_needs_histories_of_the_same_epochs(pasts):
    with pytest.raises(InputError):
        figures.cost_band(pasts)


def test_curve_overlay_shows_the_winner_over_the_others():
    epochs = np.arange(1, 6)
    curves = [(f"run {i}", epochs, 2.0 + i / np.sqrt(epochs)) for i in range(6)]
    curves[2][2][3:] = 1e9, np.nan
    figure = figures.curve_overlay(curves, 1, "cost")
    np.testing.assert_array_equal(lines(figure)["run 1"].get_ydata(), curves[1][2])
    (others,) = figure.axes[0].findobj(LineCollection)
    assert len(others.get_segments()) == 5
    np.testing.assert_array_equal(others.get_segments()[4][:, 1], curves[5][2])
    assert figure.axes[0].get_ylim()[1] < 100  # the curve that runs away does not set the scale
    assert "5 others" in texts(figure)
    assert figure.axes[0].get_ylabel() == "cost"


def test_a_lone_curve_has_no_others():
    figure = figures.curve_overlay([("only", np.array([1]), np.array([0.5]))], 0, "cost")
    assert "other" not in texts(figure)


@pytest.mark.parametrize(("winner", "value"), [(1, 0.5), (-1, 0.5), (0, np.nan)])
def test_curve_overlay_needs_a_winner(winner, value):
    with pytest.raises(InputError):
        figures.curve_overlay([("only", np.array([1]), np.array([value]))], winner, "cost")


# Images


def test_rgb_templates_are_grey_where_the_weight_is_zero():
    W = np.zeros((7, 3 * 4 * 4), np.float32)
    W[3] = np.repeat([1.0, 0.0, -1.0], 16)  # red positive, blue negative
    figure = figures.weight_templates(W, (3, 4, 4), names(7))
    np.testing.assert_array_equal(tile(figure, 0, 4, (4, 4)), 0.5)
    red, green, blue = np.moveaxis(tile(figure, 3, 4, (4, 4)), -1, 0)
    assert (red == 1).all()
    assert (green == 0.5).all()
    assert (blue == 0).all()
    assert "|weight| of 1 and above" in texts(figure)
    assert [text.get_text() for text in figure.axes[0].texts] == list(names(7))


def test_templates_keep_the_order_of_pixels():
    W = np.linspace(-1, 1, 2 * 3 * 5 * 2).reshape(2, 30)
    figure = figures.weight_templates(W, (3, 5, 2), names(2))
    limit = np.percentile(np.abs(W), 99)
    expected = np.clip(0.5 + W[1].reshape(3, 5, 2) / (2 * limit), 0, 1)
    np.testing.assert_allclose(tile(figure, 1, 2, (5, 2)), np.moveaxis(expected, 0, -1), rtol=1e-6)


def test_one_channel_templates_have_a_colour_bar_centred_on_zero():
    W = np.random.default_rng(0).normal(size=(10, 6)).astype(np.float32)
    figure = figures.weight_templates(W, (1, 2, 3), names(10))
    np.testing.assert_array_equal(tile(figure, 9, 5, (2, 3)), W[9].reshape(2, 3))
    low, high = figure.axes[0].images[0].get_clim()
    assert high == -low == pytest.approx(np.percentile(np.abs(W), 99))
    assert len(figure.axes) == 2
    figures.png(figure)


@pytest.mark.parametrize("K", [1, 2, 26, 100, 101])
def test_templates_of_any_number_of_classes(K):
    figure = figures.weight_templates(np.ones((K, 4)), (1, 2, 2), names(K))
    assert len(figure.axes[0].texts) == min(K, 100)
    assert ("the first 100 of 101 classes" in texts(figure)) == (K == 101)


def test_one_pixel_of_a_template_is_a_whole_number_of_figure_pixels():
    figure = figures.weight_templates(np.ones((10, 3072)), (3, 32, 32), names(10))
    pixels = figure.axes[0].get_window_extent().size[::-1]
    zoom = pixels / figure.axes[0].images[0].get_array().shape[:2]
    np.testing.assert_allclose(zoom, figures.TILE_PIXELS / 32)


@pytest.mark.parametrize(
    ("W", "shape", "K"),
    [
        (np.ones((2, 8)), (2, 2, 2), 2),
        (np.ones((2, 8)), (1, 2, 2), 2),
        (np.ones((2, 4)), (1, 2, 2), 3),
        (np.ones((0, 4)), (1, 2, 2), 0),
        (np.full((2, 4), np.nan), (1, 2, 2), 2),
    ],
)
def test_templates_that_cannot_be_drawn(W, shape, K):
    with pytest.raises(InputError):
        figures.weight_templates(W, shape, names(K))


def test_image_grid_takes_channels_first_and_last():
    images = np.random.default_rng(0).integers(0, 256, (6, 5, 4, 3), dtype=np.uint8)
    captions = ["cat 99 %\ntrue: a rather long name of a class"] * 6
    last = figures.image_grid(images, captions)
    first = figures.image_grid(images.transpose(0, 3, 1, 2), captions)
    np.testing.assert_allclose(tile(last, 4, 3, (5, 4)), images[4] / 255, rtol=1e-6)
    assert figures.png(first) == figures.png(last)
    first_line, second_line = last.axes[0].texts[0].get_text().split("\n")
    assert first_line == "cat 99 %"
    assert "…" in second_line


def test_grey_and_large_images_are_drawn():
    images = np.full((2, 1, 300, 200), 51, np.uint8)
    figure = figures.image_grid(images, ["a", "b"])
    np.testing.assert_allclose(tile(figure, 1, 2, (300, 200)), 0.2, rtol=1e-6)
    figures.png(figure)


@pytest.mark.parametrize(
    "images", [np.zeros((1, 2, 2, 3)), np.zeros((1, 4, 4, 2), np.uint8), np.zeros((2, 2), np.uint8),
               np.zeros((2, 4, 4, 3), np.uint8)]
)  # fmt: skip
def test_images_that_cannot_be_drawn(images):
    with pytest.raises(InputError):
        figures.image_grid(images, ["one"])


# Tables


def test_confusion_cells_are_percents_of_their_row():
    counts = np.array([[3, 1, 0], [0, 0, 0], [1, 1, 198]])
    figure = figures.confusion_matrix(counts, ("cat", "dog", r"$\frac$"))
    cells = [cell.get_text() for cell in figure.axes[0].texts]
    assert cells == ["75", "25", "", "", "", "", "0", "0", "99"]
    shares = figure.axes[0].images[0].get_array()
    np.testing.assert_allclose(shares, [[75, 25, 0], [0, 0, 0], [0.5, 0.5, 99]])
    assert "accuracy 98.5 % of 204 rows" in texts(figure)
    assert r"$\frac$" in texts(figure)  # not read as (wrong) mathematics
    assert figure.axes[0].get_ylabel() == "true class"


@pytest.mark.parametrize("K", [2, 20])
def test_confusion_of_few_classes(K):
    figure = figures.confusion_matrix(np.eye(K, dtype=np.int64), names(K))
    assert len(figure.axes[0].texts) == K * K
    assert f"class {K - 1}" in texts(figure)
    assert max(figure.get_size_inches()) < 12


def test_of_many_classes_the_worst_pairs_are_drawn():
    y = np.array([5] * 8 + [20] * 4 + [7] * 2)
    predictions = np.array([9] * 6 + [5] * 2 + [3] * 3 + [20] + [7] * 2)
    found = metrics.confusions(y, predictions, 21)
    assert found.counts is None
    assert found.pairs == [(5, 9, 6), (20, 3, 3)]
    figure = figures.confusions(found, names(21))
    assert [bar.get_width() for bar in figure.axes[0].patches] == [6, 3]
    assert [label.get_text() for label in figure.axes[0].get_yticklabels()] == [
        "class 5 → class 9", "class 20 → class 3",
    ]  # fmt: skip
    assert [text.get_text() for text in figure.axes[0].texts] == ["75%", "75%"]
    assert "accuracy 35.7 % of 14 rows" in texts(figure)


@given(
    K=st.integers(2, 30),
    data=st.data(),
)
def test_confusions_agree_with_scikit_learn(K, data):
    n = data.draw(st.integers(1, 40))
    y, *runs = (np.array(data.draw(st.lists(st.integers(0, K - 1), min_size=n, max_size=n)))
                for _ in range(3))  # fmt: skip
    counts = sum(confusion_matrix(y, predictions, labels=range(K)) for predictions in runs)
    found = metrics.confusions(y, np.stack(runs), K)
    assert found.rows_of_class == counts.sum(axis=1).tolist()
    assert found.right_of_class == np.diag(counts).tolist()
    assert (found.counts is None) == (K > metrics.MAX_MATRIX_CLASSES)
    if found.counts is not None:
        np.testing.assert_array_equal(found.counts, counts)
    for true, predicted, rows in found.pairs:
        assert true != predicted
        assert counts[true, predicted] == rows
    left = counts * (1 - np.eye(K, dtype=int))
    largest = np.sort(left[left > 0])[::-1][: metrics.MAX_PAIRS]
    assert [rows for _, _, rows in found.pairs] == largest.tolist()


@pytest.mark.parametrize("wrong", [0, 30])
def test_pairs_of_no_error_and_of_many(wrong):
    found = metrics.confusions(np.arange(wrong + 1), np.zeros(wrong + 1, int), 40)
    assert len(found.pairs) == min(wrong, metrics.MAX_PAIRS)
    figures.png(figures.confusions(found, names(40)))


def test_confusion_of_no_rows():
    assert "0 rows" in texts(figures.confusion_matrix(np.zeros((2, 2), np.int64), ("a", "b")))


def test_long_names_keep_both_ends():
    long = [f"a class with a long name, number {k}" for k in range(3)]
    figure = figures.confusion_matrix(np.eye(3, dtype=np.int64), long)
    shown = [label.get_text() for label in figure.axes[0].get_xticklabels()]
    assert len(set(shown)) == 3
    assert all(len(name) == 18 for name in shown)


@pytest.mark.parametrize(("shape", "K"), [((2, 2), 3), ((0, 0), 0), ((2, 3), 2)])
def test_confusion_counts_must_fit_the_names(shape, K):
    with pytest.raises(InputError):
        figures.confusion_matrix(np.zeros(shape, np.int64), names(K))


def test_heat_map_marks_the_best_cell():
    values = np.array([[0.1, 0.25, np.nan], [0.3, 0.9, 0.2]])
    figure = figures.heat_map(values, ["0", "1"], ["x", "y", "z"], "l2", "rate", "accuracy")
    axes = figure.axes[0]
    cells = [cell.get_text() for cell in axes.texts]
    assert cells == ["10.00", "25.00", "", "30.00", "90.00", "20.00"]
    (outline,) = (patch for patch in axes.patches if isinstance(patch, Rectangle))
    assert outline.get_xy() == (0.5, 0.5)  # around row 1, column 1
    assert [label.get_text() for label in axes.get_xticklabels()] == ["x", "y", "z"]
    assert (axes.get_ylabel(), axes.get_xlabel()) == ("l2", "rate")
    assert "accuracy (%)" in texts(figure)


@pytest.mark.parametrize("value", [0.5, np.nan])
def test_heat_map_of_equal_values(value):
    figures.png(figures.heat_map(np.full((2, 2), value), ["0", "1"], ["2", "3"], "a", "b", "c"))


def test_cells_within_the_noise_of_the_best_are_marked():
    values = np.array([[0.31, 0.40, np.nan], [0.39, 0.385, 0.392]])
    figure = figures.heat_map(values, ["0", "1"], ["x", "y", "z"], "a", "b", "c", 1000)
    noise = np.sqrt(0.4 * 0.6 / 1000)
    dashed = [p.get_xy() for p in figure.axes[0].patches if p.get_linestyle() != "solid"]
    assert dashed == [(-0.5, 0.5), (0.5, 0.5), (1.5, 0.5)]
    assert f"within {100 * noise:.2f} points" in texts(figure)
    plain = figures.heat_map(values, ["0", "1"], ["x", "y", "z"], "a", "b", "c")
    assert len(plain.axes[0].patches) == 1


def test_a_grid_of_two_settings_is_a_heat_map_of_the_best():
    columns = {"lr": [0.1, 0.2, 0.1, 0.2, 0.1], "l2": [0.0, 0.0, 1e-3, 1e-3, 0.0]}
    score = np.array([0.3, 0.4, np.nan, 0.2, 0.35])
    figure = figures.grid_figure(columns, score, 100)
    cells = [cell.get_text() for cell in figure.axes[0].texts]
    assert cells == ["35.00", "", "40.00", "20.00"]
    more = figures.grid_figure({**columns, "seed": [0, 1, 0, 1, 1]}, score)
    assert "best, 40" in texts(more)
    drawn = figures.grid_figure({**columns, "sigma": [0.1, 0.2, 0.3, 0.4, 0.5]}, score, 100)
    assert [panel.get_xlabel() for panel in drawn.axes] == ["lr", "l2", "sigma"]
    assert figures.grid_figure({"lr": [1, 2]}, score[:2], 100).axes[0].get_xlabel() == "lr"


def test_heat_map_values_must_fit_the_labels():
    with pytest.raises(InputError):
        figures.heat_map(np.zeros((2, 2)), ["0", "1"], ["2"], "a", "b", "c")


# Settings


def test_parallel_coordinates_colour_lines_by_score_and_mark_the_best():
    columns = {"l2": [0.0, 0.0, 1e-3, 1e-3], "loss": ["softmax", "hinge", "softmax", "hinge"]}
    score = np.array([30.0, 20.0, 40.0, np.nan])
    figure = figures.parallel_coordinates(columns, score, "accuracy (%)")
    (drawn,) = (c for c in figure.axes[0].collections if c.get_array() is not None)
    np.testing.assert_array_equal(drawn.get_array().filled(-1), [-1, 20, 30, 40])
    (best,) = (line for line in figure.axes[0].lines if line.get_label().startswith("best"))
    assert best.get_label() == "best, 40: l2 0.001, loss softmax"
    np.testing.assert_array_equal(best.get_ydata(), drawn.get_segments()[-1][:, 1])
    assert (best.get_ydata() > 0.5).all()  # the upper of two values on both axes
    assert "accuracy (%)" in texts(figure)
    assert [text.get_text() for text in figure.axes[0].texts] == ["0", "0.001", "hinge", "softmax"]


def test_scores_are_drawn_over_each_setting_and_the_winner_is_marked():
    columns = {"lr": [0.001, 0.01, 0.1, 1], "momentum": [0.0, 0.5, 0.9, 0.9], "loss": list("abab")}
    score = np.array([30.0, 40.0, 39.9, np.nan])
    figure = figures.score_by_setting(columns, score, "accuracy (%)", 1, 1000)
    assert [panel.get_xscale() for panel in figure.axes] == ["log", "linear", "linear"]
    assert [panel.get_xlabel() for panel in figure.axes] == list(columns)
    for panel, values in zip(figure.axes, columns.values(), strict=True):
        others, close = (group.get_offsets().tolist() for group in panel.collections)
        (winner,) = panel.lines
        at = [list("ab").index(v) for v in values] if values == list("abab") else values
        assert winner.get_xydata().tolist() == [[at[1], 40]]
        assert (others, close) == ([[at[0], 30]], [[at[2], 39.9]])
    noise = 100 * np.sqrt(0.4 * 0.6 / 1000)
    shown = texts(figure)
    assert f"less than {noise:.2f} points" in shown
    assert "0.001" in shown
    assert "$" not in shown
    alone = figures.score_by_setting({"lr": [1, 2]}, np.array([1.0, 2.0]), "accuracy (%)", 1)
    assert len(alone.axes[0].collections) == 1
    with pytest.raises(InputError):
        figures.score_by_setting(columns, score[:2], "accuracy (%)", 1)


def test_parallel_coordinates_names_only_some_of_many_values():
    columns = {"lr": np.geomspace(1e-4, 1, 200).tolist(), "shuffle": [True, False] * 100}
    figure = figures.parallel_coordinates(columns, np.arange(200.0))
    shown = [text.get_text() for text in figure.axes[0].texts]
    assert len(shown) == figures.MAX_TICKS + 2
    assert shown[-2:] == ["False", "True"]


@pytest.mark.parametrize(
    ("columns", "score"), [({}, [1.0]), ({"a": []}, []), ({"a": [1, 2]}, [1.0])]
)
def test_parallel_coordinates_needs_a_value_and_a_score_for_every_setting(columns, score):
    with pytest.raises(InputError):
        figures.parallel_coordinates(columns, np.array(score))


# Files and imports


def test_saved_figures_are_the_same_bytes_without_software_or_date(tmp_path):
    for name in ("a.png", "b.png"):
        figures.save_figure(figures.cost_curves(history()), tmp_path / name)
    content = (tmp_path / "a.png").read_bytes()
    assert content == (tmp_path / "b.png").read_bytes()
    image = Image.open(io.BytesIO(content))
    assert image.format == "PNG"
    assert set(image.info) == {"dpi"}
    assert image.size == (960, 660)


def test_a_figure_that_cannot_be_written_keeps_the_old_file(tmp_path, monkeypatch):
    path = tmp_path / "cost.png"
    path.write_bytes(b"old")

    def full_disk(*_):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr("pathlib.Path.replace", full_disk)
    with pytest.raises(InputError, match=r"cost\.png: No space left"):
        figures.save_figure(figures.cost_curves(history()), path)
    assert path.read_bytes() == b"old"
    assert list(tmp_path.iterdir()) == [path]


def test_a_missing_folder_is_an_input_error(tmp_path):
    with pytest.raises(InputError, match="cannot write"):
        figures.save_figure(figures.cost_curves(history()), tmp_path / "none" / "cost.png")


def test_drawing_leaves_the_settings_of_matplotlib_alone(tmp_path):
    before = dict(mpl.rcParams)
    figures.save_figure(figures.accuracy_curves(history()), tmp_path / "accuracy.png")
    assert dict(mpl.rcParams) == before


def test_neither_pyplot_nor_numba_is_loaded(tmp_path):
    code = (
        "import sys; from pathlib import Path; import numpy as np; import fastlin.figures as f;"
        "f.save_figure(f.gradient_histogram(np.ones(3)), Path(sys.argv[1]));"
        "print([name for name in ('matplotlib.pyplot', 'numba') if name in sys.modules])"
    )
    found = subprocess.run(
        [sys.executable, "-c", code, tmp_path / "a.png"], capture_output=True, text=True, check=True
    )
    assert found.stdout.strip() == "[]"


def every_figure():
    """One figure of each kind; names with signs that mean something to TeX and to mathtext."""
    signs = ["a_b", "50%", "R&D #1", "$x^2$", r"\alpha{}", "猫", "\x00\ud800"]
    K = len(signs)
    rng = np.random.default_rng(0)
    W = rng.normal(size=(K, 12))
    curve = np.arange(5), rng.random(5)
    return {
        "gradient": lambda: figures.gradient_histograms({"a $": W, "b_c": W}),
        "cost": lambda: figures.cost_curves(history()),
        "accuracy": lambda: figures.accuracy_curves(history()),
        "band": lambda: figures.cost_band([history(), history(seed=1)]),
        "curves": lambda: figures.curve_overlay([(n, *curve) for n in signs], 3, "50% $"),
        "templates": lambda: figures.weight_templates(W, (3, 2, 2), signs),
        "grey": lambda: figures.weight_templates(W, (1, 3, 4), signs),
        "images": lambda: figures.image_grid(np.zeros((K, 4, 4, 3), np.uint8), signs),
        "pairs": lambda: figures.confusions(
            metrics.confusions(np.arange(30) % K, np.arange(30) % 3, 30), [*signs, *names(23)]
        ),
        "confusion": lambda: figures.confusion_matrix(np.eye(K, dtype=np.int64), signs),
        "heat": lambda: figures.heat_map(W[:, :7], signs, signs, "l2_$", "50%", "R&D"),
        "parallel": lambda: figures.parallel_coordinates(
            {"$a": signs, "b_": list(range(K)), "50%": signs}, rng.random(K), "R&D #1"
        ),
    }


HOSTILE = {
    "text.usetex": True, "text.parse_math": True, "axes.facecolor": "black", "image.cmap": "gray",
    "lines.linestyle": "--", "savefig.bbox": "tight", "savefig.facecolor": "red",
    "font.family": "serif", "figure.autolayout": True, "image.interpolation": "lanczos",
    "axes.formatter.use_locale": True, "path.sketch": (1, 100, 2), "savefig.transparent": True,
}  # fmt: skip


@pytest.mark.parametrize("name", every_figure())
def test_a_figure_is_the_same_whatever_the_users_settings_are(name):
    plain = figures.png(every_figure()[name]())
    with mpl.rc_context(HOSTILE):
        before = dict(mpl.rcParams)
        assert figures.png(every_figure()[name]()) == plain
        assert dict(mpl.rcParams) == before


def test_a_confusion_matrix_has_a_largest_size():
    with pytest.raises(InputError, match="21 classes are too many"):
        figures.confusion_matrix(np.empty((0, 0), np.int64), names(21))


@pytest.mark.parametrize("name", every_figure())
def test_a_footer_adds_to_a_figure_and_changes_nothing_of_it(name):
    figure = every_figure()[name]()
    plain = np.asarray(Image.open(io.BytesIO(figures.png(every_figure()[name]()))))
    text = "data $x$, test rows · softmax, lr 0.02, l2 0.01, batch 64 · 40 epochs, seed 0"
    noted = np.asarray(Image.open(io.BytesIO(figures.png(figures.with_footer(figure, text)))))
    height, width = plain.shape[:2]
    assert noted.shape[0] > height
    assert abs(noted.shape[1] - width) <= 1
    np.testing.assert_array_equal(noted[: height - 2, : width - 2], plain[: height - 2, :-2])
    below = noted[height + 1 :, :, :3]
    assert (below == 255).all(axis=2).mean() > 0.5  # paper
    ink = np.argwhere((below < 160).all(axis=2))
    assert len(ink) > 100
    assert ink[:, 1].max() < noted.shape[1] - 2  # nothing is cut off
    assert ink[:, 0].max() < len(below) - 2


def test_figures_that_fail_are_told_and_the_others_saved(tmp_path):
    def breaks():
        raise ZeroDivisionError

    drawings = {
        "bad": breaks,
        "good": lambda: figures.cost_curves(history()),
        "drawn": figures.cost_curves(history()),
        "none/such": lambda: figures.cost_curves(history()),
    }
    told = []
    paths = figures.save_figures(drawings, tmp_path / "new", told.append)
    assert [path.name for path in paths] == ["good.png", "drawn.png"]
    assert told[0] == "bad.png is not drawn: ZeroDivisionError"
    assert "cannot write" in told[1]
    with pytest.raises(ZeroDivisionError):
        figures.save_figures(drawings, tmp_path / "new")
