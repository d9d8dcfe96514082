import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from fastlin.config import TrainConfig
from fastlin.errors import InputError
from fastlin.history import EpochRecord, History
from fastlin.search.halving import FIRST_EPOCH, Plan, decide, forecast, to_train_on
from fastlin.search.ranking import Rule, Rung

EPOCHS = 40


def config(lr=0.1, **settings):
    return TrainConfig(lr=lr, epochs=EPOCHS, **settings)


def history(accuracies, costs=None, settings=None):
    n = len(accuracies)
    settings = settings or config()
    costs = [2.0] * n if costs is None else costs
    return History.from_records(
        [
            EpochRecord(e, settings.lr_at(e), 1.0, 0.5, float(cost), float(accuracy))
            for e, cost, accuracy in zip(range(1, n + 1), costs, accuracies, strict=True)
        ]
    )


def lr_sums(settings):
    return np.cumsum([settings.lr_at(e) for e in range(1, EPOCHS + 1)])


def decided(histories, *, most=99, configs=None, rule=None):
    configs = configs or dict.fromkeys(histories, config())
    return decide(histories, configs, rule or Rule(), most)


def test_decisions_of_a_plan_come_at_its_fractions_and_never_before_the_first_epoch():
    assert Plan().rungs(27, 40) == dict.fromkeys(range(10, 37, 2), 27)
    assert min(Plan().rungs(27, 20)) == FIRST_EPOCH
    plan = Plan(((0.15, 0.36), (0.325, 0.2), (0.6, 0.07)))
    assert plan.rungs(27, 40) == {10: 10, 13: 6, 24: 2}
    assert plan.rungs(27, 30) == {10: 6, 18: 2}  # two fall on epoch 10: the lower share holds
    assert plan.rungs(1, 40) == {}
    assert plan.rungs(27, FIRST_EPOCH) == {}
    assert Plan(((0.9, 0.001),)).rungs(3, 40) == {36: 1}


@given(
    st.lists(st.tuples(st.floats(0.001, 0.999), st.floats(0.001, 1)), min_size=1, max_size=6),
    st.integers(2, 300),
    st.integers(1, 120),
)
def test_a_plan_lets_at_least_one_go_on_and_decides_before_the_last_epoch(decisions, count, epochs):
    plan = Plan(tuple(sorted({when: (when, share) for when, share in decisions}.values())))
    for epoch, most in plan.rungs(count, epochs).items():
        assert FIRST_EPOCH <= epoch < epochs
        assert 1 <= most <= count


def test_a_plan_is_read_from_text():
    assert Plan.parse("0.15:0.36,0.325:0.2,0.6:0.07") == Plan(
        ((0.15, 0.36), (0.325, 0.2), (0.6, 0.07))
    )
    assert Plan.parse("0.2, 0.5:0.1") == Plan(((0.2, 1.0), (0.5, 0.1)))
    assert Plan([[0.2, 1], [0.5, 0.1]]) == Plan.parse("0.2,0.5:0.1")  # as JSON has it


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("", "'' is not WHEN or WHEN:SHARE"),
        ("0.2:", "'0.2:' is not WHEN or WHEN:SHARE"),
        ("0.2:0.5:0.1", "is not WHEN or WHEN:SHARE"),
        ("soon\n0.5", r"'soon\\n0.5' is not WHEN"),
        ("0,0.5", "at 0 of the epochs"),
        ("0.5,1", "at 1 of the epochs"),
        ("nan", "at nan of the epochs"),
        ("0.5:0", "lets 0 of the entries"),
        ("0.5:1.5", "lets 1.5 of the entries"),
        ("0.5,0.2", "in order; 0.2 comes after 0.5"),
        ("0.5:0.5,0.5:0.2", "in order; 0.5 comes after 0.5"),
    ],
)
def test_an_impossible_plan_is_one_clear_line(text, said):
    with pytest.raises(InputError, match=said) as caught:
        Plan.parse(text)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("decisions", [0.5, (0.5,), ((0.5,),), (("a", 1),), ((0.5, 1, 1),), ()])
def test_decisions_of_another_form_are_refused(decisions):
    with pytest.raises(InputError, match=r"it must be pairs of numbers|has no decision"):
        Plan(decisions)


def test_scores_on_a_line_reach_its_end():
    settings = config(schedule="cosine")
    on_line = 0.5 + 0.1 * np.log(lr_sums(settings))
    found = forecast(history(on_line[:12], settings=settings), settings, Rule())
    assert found.now == pytest.approx(on_line[11])
    assert found.reach == pytest.approx(on_line[-1] + 0.003)
    costs = 3 - on_line
    by_cost = forecast(
        history(on_line[:12], costs[:12], settings=settings), settings, Rule("val_cost")
    )
    assert by_cost.now == pytest.approx(-costs[11])
    assert by_cost.reach == pytest.approx(-costs[-1] + 0.003 * costs[11])


def test_what_got_worse_is_promised_no_gain_and_noise_may_yet_be_one():
    falling = forecast(history(np.linspace(0.6, 0.5, 10)), config(), Rule())
    assert falling.now < 0.56
    assert falling.reach < 0.6
    shaken = 0.5 + 0.1 * (-1.0) ** np.arange(10)
    assert forecast(history(shaken), config(), Rule()).reach > 0.65
    assert forecast(history(falling_best := [0.3, 0.9, *[0.4] * 8]), config(), Rule()).reach < 0.9
    assert forecast(history(falling_best), config(), Rule("val_accuracy", "best")).reach >= 0.9


def test_the_promised_cost_falls_with_the_square_of_the_learning_rate():
    settings = config()
    lr = np.array([settings.lr_at(e) for e in range(1, 9)])
    last = settings.lr_at(EPOCHS)
    costs = 1.5 + 200 * lr**2
    costs[0] = 99  # the first epoch is left out
    found = forecast(history([0.5] * 8, costs), settings, Rule())
    assert found.promised_cost == pytest.approx(1.5 + 200 * last**2)
    assert costs[1:].min() < found.cost < costs[1:].max()
    rising = forecast(history([0.5] * 8, costs[::-1]), settings, Rule())
    assert rising.promised_cost == pytest.approx(rising.cost)
    constant = config(schedule="constant")
    level = forecast(history([0.5] * 8, costs, settings=constant), constant, Rule())
    assert level.promised_cost == pytest.approx(level.cost)


@pytest.mark.parametrize("rule", [Rule(), Rule("val_cost"), Rule("val_cost", "best")])
def test_costs_that_overflow_speak_against_an_entry(rule):
    good = history([0.5] * 9, [2.0] * 9)
    bad = history([0.1] * 9, [1e300 * 1.1**e for e in range(9)])
    rung = decided({0: bad, 1: good}, rule=rule)
    assert (rung.kept, rung.stopped) == ((1,), (0,))
    alone = decided({0: bad}, rule=Rule("val_cost"))
    assert alone.kept == (0,)


def test_an_entry_stops_only_if_neither_scores_nor_cost_promise_that_it_comes_first():
    lr = np.array([config().lr_at(e) for e in range(1, 11)])
    low, high = np.full(10, 0.2), np.full(10, 0.4)
    histories = {
        0: history(low, np.full(10, 2.0)),
        1: history(high, np.full(10, 1.8)),
        2: history(low, 1.0 + 300 * lr**2),  # shaken by its learning rate
        3: history(high - 0.002, np.full(10, 1.9)),  # within the margin
        4: history(low, 1.9 + 300 * lr**2),
    }
    rung = decided(histories)
    assert (rung.epoch, rung.kept, rung.stopped) == (10, (1, 3, 2), (0, 4))
    assert decided(dict(reversed(histories.items()))) == rung
    # Costs of another loss are not compared.
    hinge = {i: config(loss="hinge" if i == 2 else "softmax") for i in histories}
    histories[5] = history(low + 0.01, np.full(10, 0.5))
    hinge[5] = config(loss="hinge")
    assert 2 not in decided(histories, configs=hinge).kept


def test_of_entries_that_are_alike_one_goes_on():
    curve = np.linspace(0.3, 0.4, 10)
    histories = {3: history(curve), 5: history(curve + 0.0005), 8: history(curve + 0.0022)}
    rung = decided(histories)
    assert rung.kept == (8, 5)
    assert rung.stopped == (3,)
    assert rung.alike == ((3, 5),)
    assert decided(dict.fromkeys([4, 2, 8], history(curve))).kept == (2,)


def test_at_most_a_share_goes_on():
    histories = {i: history(np.full(10, 0.4) + 0.0015 * (i % 2)) for i in range(2)}
    assert decided(histories).kept == (1, 0)
    rung = decided(histories, most=1)
    assert (rung.kept, rung.stopped, rung.alike) == ((1,), (0,), ())


@given(
    st.lists(st.lists(st.floats(0, 1), min_size=9, max_size=9), min_size=1, max_size=6),
    st.lists(st.floats(0, 1e9), min_size=9, max_size=9),
    st.sampled_from(["val_accuracy", "val_cost"]),
    st.sampled_from(["last", "best"]),
)
def test_every_entry_goes_on_or_stops_and_one_goes_on(curves, costs, select, at):
    histories = {3 * i: history(curve, np.roll(costs, i)) for i, curve in enumerate(curves)}
    rung = decided(histories, rule=Rule(select, at))
    assert rung.kept
    assert sorted([*rung.kept, *rung.stopped]) == list(histories)
    assert {i for i, _ in rung.alike} <= set(rung.stopped)
    assert {other for _, other in rung.alike} <= set(rung.kept)


def chosen(rungs, stopped, finished, diverged=(), rule=None):
    return to_train_on(rungs, stopped, finished, diverged, rule or Rule())


def test_what_was_seen_with_a_better_score_than_the_winner_is_trained_on():
    stopped = {0: history([0.5, 0.3]), 1: history([0.3, 0.41]), 2: history([0.1, 0.4])}
    finished = {3: history([0.2, 0.4]), 4: history([0.2, 0.3])}
    assert chosen([], stopped, finished) == (1,)
    assert chosen([], stopped, finished, rule=Rule("val_accuracy", "best")) == (0, 1)
    assert chosen([], stopped, {}) == (0, 1, 2)
    assert chosen([], {}, finished) == ()
    costs = {0: history([0.5, 0.5], [3.0, 1.0]), 1: history([0.5, 0.5], [1.0, 3.0])}
    assert chosen([], costs, {2: history([0.5, 0.5], [9.0, 2.0])}, rule=Rule("val_cost")) == (0,)


def test_what_waited_for_one_that_may_be_passed_is_trained_on():
    rung = Rung(2, (3, 4, 5), (0, 1, 2), alike=((0, 3), (1, 4), (2, 5)))
    stopped = {i: history([0.2, 0.3009]) for i in range(3)}
    winner = {3: history([0.2, 0.3, 0.400])}
    near, far = {4: history([0.2, 0.3, 0.399])}, {4: history([0.2, 0.3, 0.39])}
    assert chosen([rung], stopped, winner | near) == (0, 1)
    assert chosen([rung], stopped, winner | far) == (0,)
    assert chosen([rung], stopped, winner | far, diverged=[5]) == (0, 2)


def test_numbers_stay_numbers_where_the_learning_rate_underflows():
    settings = config(lr=1e-300, lr_decay=1e-200, dtype="float64")
    found = forecast(history([0.3] * 9, settings=settings), settings, Rule())
    assert math.isfinite(found.reach)
