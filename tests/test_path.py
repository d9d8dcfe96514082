"""Paths of penalties: the optima that `solve` finds, the choice, and what a stopped path gives."""

import numpy as np
import pytest
from solve_problems import least_objective, random_rows

import fastlin
from fastlin.data.joining import training_and_validation
from fastlin.errors import InputError
from fastlin.solving import walk
from fastlin.solving.config import FitConfig, PathPlan, log_steps, penalty_of
from fastlin.solving.path import fit_path
from fastlin.solving.path_result import PathFit

CS = log_steps(-3, 1, 8)


@pytest.fixture(scope="module")
def split():
    X, y = random_rows(0, 5, 320, 8)
    return fastlin.Split.from_arrays(X[:200], y[:200], X_val=X[200:], y_val=y[200:])


@pytest.fixture(scope="module")
def found(split):
    return fastlin.path(split, Cs=CS)


def test_every_point_is_an_optimum(split, found):
    X, y = split.train.X, split.train.y
    for point in found.points[::4]:
        least = least_objective(X, y, 5, point.l2)
        assert point.converged
        assert least * (1 - 1e-7) <= point.objective <= least * (1 + 2e-6)


def test_norms_and_objectives_go_one_way(found):
    assert all(np.diff([point.l2 for point in found.points]) < 0)
    assert all(np.diff([point.weight_norm for point in found.points]) > 0)
    assert all(np.diff([point.objective for point in found.points]) < 0)


def test_the_best_is_that_of_validation_rows(split, found):
    best = max(point.values["accuracy"] for point in found.points)
    assert found.best.values["accuracy"] == best
    model = found.model
    assert np.mean(model.predict(split.val.X) == split.val.y) == pytest.approx(best)
    assert found.one_error.l2 >= found.best.l2
    assert found.one_error.values["accuracy"] >= best - np.sqrt(best * (1 - best) / 120)


@pytest.mark.parametrize("select", ["val_accuracy", "val_cost", "val_balanced_accuracy"])
def test_one_standard_error_is_never_weaker_than_the_best(split, select):
    found = fastlin.path(split, Cs=CS, select=select)
    near, accuracy = found.one_error, found.best.values["accuracy"]
    assert near.l2 >= found.best.l2
    least = accuracy - np.sqrt(accuracy * (1 - accuracy) / 120)
    assert near.values["accuracy"] >= least
    for point in found.points:
        assert point.l2 <= near.l2 or point.values["accuracy"] < least


def test_another_measure_chooses_another_way(split):
    found = fastlin.path(split, Cs=CS, select="val_cost")
    assert found.best.values["cost"] == min(point.values["cost"] for point in found.points)


def test_a_path_goes_on_where_an_end_is_the_best(split):
    few = fastlin.path(split, Cs=[1e-6, 2e-6, 4e-6], select="val_log_loss")
    assert len(few.points) > 3
    assert few.points[-1].l2 < penalty_of(4e-6, 200, 5)
    config, plan = FitConfig(), PathPlan(Cs=(1e-6, 2e-6, 4e-6), extend=False)
    kept = fit_path(split, config, plan)
    assert [point.C for point in kept.points] == pytest.approx([1e-6, 2e-6, 4e-6])


def test_penalties_beyond_an_end_take_no_more_passes_than_planned_ones(split):
    """Of so strong penalties as are given nothing of the curvature is known."""
    settings = {"select": "val_log_loss", "gap": 1e-8}
    found = fastlin.path(split, Cs=[1e-7, 1e-6, 1e-5], **settings)
    assert len(found.points) > 6
    planned = fastlin.path(split, Cs=[point.C for point in found.points], **settings)
    ours, theirs = (sum(point.passes for point in of.points) for of in (found, planned))
    assert ours <= 1.1 * theirs


@pytest.mark.parametrize("name", ["Cs", "l2s"])
def test_a_refit_keeps_the_unit_that_was_given(split, name):
    values = [0.1] if name == "Cs" else [0.01]
    found = fastlin.path(split, **{name: values}, refit=True)
    same = penalty_of(0.1, 320, 5) if name == "Cs" else 0.01
    assert found.solution.l2 == pytest.approx(same, rel=1e-12)
    X, y = (np.concatenate([getattr(p, of) for p in (split.train, split.val)]) for of in "Xy")
    assert found.solution.objective == pytest.approx(least_objective(X, y, 5, same), rel=1e-6)


def test_a_refit_goes_on_from_the_optimum_of_the_training_rows():
    rng = np.random.default_rng(5)
    y = rng.integers(0, 20, 4400)
    X = (0.6 * rng.normal(size=(20, 60))[y] + rng.normal(size=(4400, 60))).astype(np.float32)
    rows = fastlin.Split.from_arrays(X[:4000], y[:4000], X_val=X[4000:], y_val=y[4000:])
    found = fastlin.path(rows, l2s=[1e-4], gap=1e-4, refit=True, standardize=True)
    every = fastlin.Split("every", training_and_validation(rows))
    alone = fastlin.solve(every, l2=1e-4, gap=1e-4, standardize=True)
    assert found.solution.converged
    assert found.solution.passes <= 0.8 * alone.passes
    assert found.solution.objective == pytest.approx(alone.objective, rel=1e-4)


def test_patience_ends_a_path():
    rng = np.random.default_rng(4)  # rows on which weak penalties do much worse
    y = rng.integers(0, 5, 1100)
    X = (0.9 * np.eye(5, 60)[y] + rng.normal(size=(1100, 60))).astype(np.float32)
    data = fastlin.Split.from_arrays(X[:100], y[:100], X_val=X[100:], y_val=y[100:])
    Cs = [10.0**place for place in range(-4, 5)]
    every = fastlin.path(data, Cs=Cs, gap=1e-3)
    short = fastlin.path(data, Cs=Cs, gap=1e-3, patience=1)
    assert short.points == tuple(
        point._replace(seconds=short.points[i].seconds)
        for i, point in enumerate(every.points[: len(short.points)])
    )
    left_out = len(Cs) - len(short.points)
    assert left_out > 0
    assert any(f"ended {left_out} step" in note for note in short.notes)
    assert not any("early" in note for note in every.notes)


def test_a_bisection_finds_the_neighbours_of_its_best(split):
    Cs = log_steps(-6, 6, 96)
    plan = PathPlan(Cs=Cs, bisect=True, extend=False, select="val_log_loss")
    found = fit_path(split, FitConfig(gap=1e-4), plan)
    assert len(found.points) <= 7 + 2 * 4
    places = [int(np.argmin(np.abs(np.log(np.array(Cs) / point.C)))) for point in found.points]
    assert set(range(0, 97, 16)) <= set(places)
    best = places[found.points.index(found.best)]
    assert {best - 1, best + 1} <= set(places)
    every = fit_path(split, FitConfig(gap=1e-4), PathPlan(Cs=Cs, select="val_log_loss"))
    assert found.best.l2 == every.best.l2  # of a measure with one valley


@pytest.mark.parametrize(
    "plan",
    [
        PathPlan(Cs=log_steps(-4, 2, 12)),
        PathPlan(Cs=log_steps(-4, 2, 12), bisect=True),
        PathPlan(Cs=(1e-7, 1e-6, 1e-5), select="val_log_loss"),  # which goes on
    ],
    ids=["down", "bisect", "beyond"],
)
def test_a_stopped_path_goes_on_with_the_same_bits(split, plan):
    whole = fit_path(split, FitConfig(), plan)

    for stop_after in (1, 4, len(whole.points)):
        kept = []

        def stop(fit, kept=kept, stop_after=stop_after):
            kept.append(fit)
            if len(kept) == stop_after:
                raise KeyboardInterrupt

        with pytest.raises(KeyboardInterrupt):
            fit_path(split, FitConfig(), plan, on_fit=stop)
        again = fit_path(split, FitConfig(), plan, known=kept)
        for ours, theirs in zip(again.points, whole.points, strict=True):
            assert ours._replace(seconds=0) == theirs._replace(seconds=0)
        assert again.model.W.tobytes() == whole.model.W.tobytes()


def test_what_is_known_must_be_of_these_rows(split, found):
    X, y = random_rows(1, 5, 60, 7)
    other = fastlin.Split.from_arrays(X[:40], y[:40], X_val=X[40:], y_val=y[40:])
    known = [PathFit(found.best, (found.model,), (found.best.objective,))]
    with pytest.raises(InputError, match="start is a classifier of 8 features"):
        fit_path(other, FitConfig(), PathPlan(), known=known)


def test_threads_do_not_change_a_bit(split, found):
    one = fastlin.path(split, Cs=CS, threads=1)
    assert one.model.W.tobytes() == found.model.W.tobytes()
    assert [p.objective for p in one.points] == [p.objective for p in found.points]


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"l2s": [1e-3], "Cs": [1]}, "say the same"),
        ({"l2s": []}, "l2s is empty"),
        ({"Cs": [0.0]}, "Cs"),
        ({"Cs": 3.0}, "Cs is 3.0; it must be a list"),
        ({"l2s": "abc"}, "l2s is 'abc'; it must be a list"),
        ({"l2s": [1, "x"]}, "l2s is 'x'"),
        ({"Cs": [1e-320]}, "C is 9.99989e-321"),
        ({"patience": 0}, "patience"),
        ({"select": "val_nothing"}, "val_nothing"),
        ({"loss": "hinge"}, "second derivatives"),
        ({"l2": 1.0}, "l2 is one penalty, and here are several: give them as l2s"),
        ({"C": 1.0}, "C is one penalty"),
        ({"l2s": [1.0, 1e39]}, r"l2s has 1e\+39; an exact fit takes at most 1.7e\+38"),
    ],
)
def test_bad_input_is_refused(split, arguments, message):
    with pytest.raises(InputError, match=message):
        fastlin.path(split, **arguments)


def test_validation_rows_are_needed(split):
    with pytest.raises(InputError, match="no validation rows"):
        fastlin.path(fastlin.Split("rows", split.train))
    with pytest.raises(InputError, match="the data are a ndarray; they must be a Split"):
        fastlin.path(split.train.X)


@pytest.mark.parametrize("name", ["l2s", "Cs"])
def test_penalties_are_looked_at_before_rows(split, name):
    """They are there at once; rows may take long to be read."""
    with pytest.raises(InputError, match=f"{name} is empty"):
        fastlin.path(fastlin.Split("rows", split.train), **{name: []})
    with pytest.raises(InputError, match=f"{name} is empty"):
        PathPlan(**{name: ()})


@pytest.mark.parametrize(
    ("given", "message"),
    [
        ({"C": 1e-320}, "C is 9.99989e-321, which over 100 rows is an l2 of inf; give a larger C"),
        ({"C": 5e-310}, "C is 5e-310"),
        ({"C": 1e308}, "C is 1e.308, which over 100 rows is an l2 of 0; give a smaller C"),
        ({"l2": 1e39}, "l2 is 1e.39; an exact fit takes at most 1.7e.38"),
    ],
)
def test_a_penalty_that_no_fit_can_have_is_named_as_it_was_given(given, message):
    rng = np.random.default_rng(0)
    with pytest.raises(InputError, match=message):
        fastlin.solve(rng.normal(size=(100, 4)), np.arange(100) % 3, **given)


def test_the_penalty_that_is_given_takes_the_place_of_the_other():
    rng = np.random.default_rng(0)
    X, y = rng.normal(size=(60, 4)), np.arange(60) % 3
    found = fastlin.solve(X, y, config=FitConfig(l2=1.0), C=0.1)
    assert found.l2 == penalty_of(0.1, 60, 3)
    assert fastlin.solve(X, y, config=FitConfig(C=0.1), l2=2.0).l2 == 2.0
    assert fastlin.solve(X, y, config=FitConfig(l2=2.0), C="auto").l2 == 2.0
    with pytest.raises(InputError, match="l2 and C are given"):
        fastlin.solve(X, y, l2=1.0, C=0.1)


@pytest.mark.parametrize("config", [{"l2": 1}, fastlin.TrainConfig(), "softmax"])
def test_settings_of_another_kind_are_refused(split, config):
    message = f"config is a {type(config).__name__}; it must be a FitConfig"
    for call in (fastlin.solve, fastlin.path, fastlin.probe):
        with pytest.raises(InputError, match=message):
            call(split, config=config)


def test_weak_penalties_start_on_the_line_through_the_optima_of_two_others(monkeypatch):
    X, y = random_rows(1, 6, 300, 40)
    split = fastlin.Split.from_arrays(X, y, X_val=X[:50], y_val=y[:50])
    plan, config = PathPlan(Cs=tuple(log_steps(1, 5, 16)), extend=False), FitConfig(gap=1e-4)

    def passes():
        points = fit_path(split, config, plan).points
        assert all(point.converged for point in points)
        return sum(point.passes for point in points)

    with_guesses = passes()
    monkeypatch.setattr(walk._Fits, "_guess", lambda *_: None)
    assert with_guesses < 0.8 * passes()


@pytest.mark.parametrize("away", [1e6, -1e6])
def test_a_guess_that_is_no_better_than_the_nearest_optimum_is_not_begun_from(
    split, found, monkeypatch, away
):
    right = walk._Fits._guess

    def wrong(walk, l2):
        guess = right(walk, l2)
        return None if guess is None else guess._replace(point=guess.point + away)

    monkeypatch.setattr(walk._Fits, "_guess", wrong)
    for one, other in zip(fastlin.path(split, Cs=CS).points, found.points, strict=True):
        assert one.objective == pytest.approx(other.objective, rel=2e-6)
        assert one.converged


def noise(rows=400):
    rng = np.random.default_rng(1)
    X, y = rng.normal(size=(rows, 5)), (rng.random(rows) < 0.1).astype(int)
    return fastlin.Split.from_arrays(X, y).hold_out(0.25, 0)


@pytest.mark.parametrize(
    "penalties",
    [{"Cs": [1, 1e-4, 1e-8]}, {"l2s": [1e3, 1, 1e-3]}, {"l2s": [1.6e38, 1e38, 1e37]},
     {"l2s": [1e-3, 1e-30, 1e-100, 1e-300]}],
)  # fmt: skip
def test_a_path_does_not_go_on_where_nothing_changes(penalties):
    found = fastlin.path(noise(), **penalties)
    given = len(next(iter(penalties.values())))
    assert len(found.points) <= given + 1  # one tells that stronger penalties are no better


def test_penalties_that_are_nearly_the_same_give_no_step():
    l2s = [1e-3, np.nextafter(1e-3, 0), np.nextafter(1e-3, 1)]
    found = fastlin.path(noise(), l2s=l2s)
    assert found.points[0].l2 > 1.5e-3
