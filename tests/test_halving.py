import numpy as np
import pytest

from fastlin.config import TrainConfig
from fastlin.grids import Rule
from fastlin.halving import Plan, decide, promised_cost
from fastlin.results import EpochRecord, History


def history(costs, accuracies=None, lrs=None):
    n = len(costs)
    accuracies = [0.5] * n if accuracies is None else accuracies
    lrs = 0.1 * 0.9 ** np.arange(n) if lrs is None else lrs
    return History.from_records(
        [EpochRecord(e + 1, float(lrs[e]), 1.0, 0.5, costs[e], accuracies[e]) for e in range(n)]
    )


def test_rungs_spend_less_than_a_third_of_the_epochs():
    for count, epochs in ((27, 40), (100, 100), (12, 20), (300, 40)):
        rungs = Plan().rungs(count, epochs)
        spent, alive, before = 0, count, 0
        for epoch, keep in rungs.items():
            spent += alive * (epoch - before)
            alive, before = keep, epoch
        assert spent + alive * (epochs - before) <= count * epochs / 3
    assert Plan().rungs(27, 40) == {6: 10, 13: 6, 24: 2}
    assert Plan().rungs(1, 40) == {}
    assert Plan().rungs(27, 1) == {}
    assert all(1 <= epoch < 3 for epoch in Plan().rungs(27, 3))


def test_the_promise_of_a_cost_that_falls_with_the_learning_rate_is_its_limit():
    lrs = 0.1 * 0.9 ** np.arange(8)
    straight = history(1.5 + 20 * lrs, lrs=lrs)
    assert promised_cost(straight, 0.001) == pytest.approx(1.52)
    constant = history([2.0, 1.9, 1.8, 1.8], lrs=[0.1] * 4)
    assert 1.8 <= promised_cost(constant, 0.1) < 1.9
    rising = history([1.0, 1.1, 1.2, 1.3], lrs=[0.4, 0.3, 0.2, 0.1])
    assert 1.0 < promised_cost(rising, 0.01) < 1.3
    assert promised_cost(history([2.0], lrs=[0.1]), 0.01) == 2.0


def decided(histories, keep, *, configs=None, penalties=None, rule=None):
    configs = configs or dict.fromkeys(histories, TrainConfig())
    penalties = penalties or dict.fromkeys(histories, 0.0)
    return decide(histories, configs, penalties, rule or Rule(), keep)


def test_rankings_by_promise_and_by_score_take_turns_and_twins_come_last():
    histories = {
        3: history([2.0, 2.0], [0.30, 0.30]),
        5: history([1.0, 1.0], [0.10, 0.10]),
        7: history([3.0, 3.0], [0.40, 0.40]),
        9: history([1.1, 1.1], [0.101, 0.101]),
    }
    rung = decided(histories, 2)
    assert (rung.epoch, rung.kept, rung.stopped) == (2, (5, 7), (3, 9))
    assert decided(histories, 10).kept == (5, 7, 3, 9)
    reverse = dict(reversed(histories.items()))
    assert decided(reverse, 2) == rung


def test_costs_are_compared_without_penalty_and_within_one_loss():
    histories = {
        0: history([2.0], [0.1]),
        1: history([1.9], [0.2]),
        2: history([9.0], [0.3]),
    }
    losses = {0: "softmax", 1: "softmax", 2: "hinge"}
    configs = {index: TrainConfig(loss=loss) for index, loss in losses.items()}
    without = decided(histories, 2, configs=configs, penalties={0: 0.5, 1: 0.0, 2: 0.0})
    assert without.kept == (2, 0)
    rule = Rule("val_cost")
    assert decided(histories, 1, penalties={0: 0.5, 1: 0.0, 2: 0.0}, rule=rule).kept == (1,)


def test_equal_entries_go_on_in_grid_order():
    histories = dict.fromkeys([4, 2, 8], history([1.0, 1.0]))
    assert decided(histories, 1).kept == (2,)
