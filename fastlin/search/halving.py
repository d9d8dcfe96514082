"""Which entries of a grid are stopped early: those that can no longer come first.

This is a race, as in Maron and Moore (1994), not the successive halving of Jamieson and Talwalkar
(2016): no fixed share is dropped. At every decision each entry has a forecast from its history:

- its score now: the end of a line fitted to score against log(sum of learning rates so far), in
  which the last epochs weigh most;
- its reach: the end of that line after the last epoch, plus twice the spread of the scores about
  it, plus a margin;
- its promised cost: a line fitted to validation cost against the squared learning rate, at the
  learning rate of the last epoch. Large learning rates shake the weights; what is worst then is
  often best when they have fallen, and its cost tells so long before its accuracy does.

An entry is stopped if its reach is below the best score now, and its promised cost above the cost
now of the best entry with the same loss. The promised cost has no lower bound, but it only keeps
entries: it puts none before another. Of entries whose scores are all but equal, as those are that
differ in a setting without effect, one goes on and the others wait.

After the last epoch two kinds of stopped entries are trained on, until there is none: those whose
score was better than the winner's is, and those that waited for one that came close to the winner.
So no stopped entry was ever seen with a better score than the winner's.

`python -m benchmarks.halving` measures what the winner loses against a search without stops.
"""

from __future__ import annotations

import itertools
import math
from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import NamedTuple, Self

import numpy as np
from numpy.typing import NDArray

from fastlin.config import Loss, TrainConfig
from fastlin.errors import InputError
from fastlin.history import History
from fastlin.search.ranking import Rule, Rung

# A score weighs this much relative to that of the next epoch.
_WEIGHT_PER_EPOCH = 0.64

# How many spreads about its line an entry may gain. Half a spread more costs 3 % of the epochs.
_SPREADS = 2.0

# A reach may be this much too low: of accuracy, or as a fraction of a cost.
_MARGIN = 0.003

# Entries whose scores differ by less than this, of accuracy or as a fraction of a cost, are alike;
# after the last epoch they may differ by this many times what they did.
_ALIKE, _GROWTH = 0.001, 3.0

# No decision is taken before this epoch: while all learning rates are large, the curves of the
# best and the worst look the same. With decisions after epoch 4 or 5 searches lost up to 1.1
# points, with one after epoch 8 one grid of 20 lost 0.32. From epoch 10 on, in 52 searches, the
# best entry was never further than 1.3 spreads out of reach, of the 2 that are allowed.
FIRST_EPOCH = 10


@dataclass(frozen=True)
class Plan:
    """When entries are compared, and how many may go on at most.

    Attributes
    ----------
    decisions : tuple of (float, float)
        For each decision, when it is taken, as a fraction of all epochs (one that falls before
        epoch `FIRST_EPOCH` is taken after that), and the fraction of all entries that go on at
        most. A fraction of 1 stops only entries that can no longer come first; one below 1 may stop
        others, those with the lowest reach, and the winner may be worse.

    Raises
    ------
    InputError
        If there is no decision, they are not in order, or a number is outside its range.
    """

    decisions: tuple[tuple[float, float], ...] = tuple((k / 20, 1.0) for k in range(5, 19))

    def __post_init__(self) -> None:
        try:
            decisions = tuple((float(when), float(share)) for when, share in self.decisions)
        except (TypeError, ValueError):
            raise InputError(
                f"halving plan {self.decisions!r}; it must be pairs of numbers: when, as a "
                "fraction of all epochs, and the fraction of all entries that go on at most"
            ) from None
        if not decisions:
            raise InputError("the halving plan has no decision")
        for when, share in decisions:
            if not 0 < when < 1:
                raise InputError(
                    f"a decision of the halving plan is at {when:g} of the epochs; it must be "
                    "above 0 and below 1"
                )
            if not 0 < share <= 1:
                raise InputError(
                    f"the halving plan lets {share:g} of the entries go on; it must be above 0 "
                    "and at most 1"
                )
        for (before, _), (when, _) in itertools.pairwise(decisions):
            if when <= before:
                raise InputError(
                    f"the decisions of the halving plan must be in order; {when:g} comes after "
                    f"{before:g}"
                )
        object.__setattr__(self, "decisions", decisions)

    @classmethod
    def parse(cls, text: str) -> Self:
        """Return the plan that a text describes: ``WHEN`` or ``WHEN:SHARE``, between commas.

        Raises
        ------
        InputError
            If it describes none.
        """
        decisions = []
        for part in text.split(","):
            when, colon, share = part.partition(":")
            try:
                decisions.append((float(when), float(share) if colon else 1.0))
            except ValueError:
                raise InputError(
                    f"halving plan {text[:60]!r}: {part[:20]!r} is not WHEN or WHEN:SHARE, such "
                    "as 0.2 or 0.2:0.5"
                ) from None
        return cls(tuple(decisions))

    def rungs(self, count: int, epochs: int) -> dict[int, int]:
        """Return {epoch: how many go on at most} for a grid of `count` entries."""
        rungs: dict[int, int] = {}
        for when, share in self.decisions:
            epoch, most = max(round(when * epochs), FIRST_EPOCH), math.ceil(count * share)
            if epoch < epochs and count > 1:
                rungs[epoch] = min(most, rungs.get(epoch, count))
        return rungs


class Forecast(NamedTuple):
    """What the history of an entry says. Scores are better the higher: costs are taken negative.

    Attributes
    ----------
    now : float
        Its score now, without the noise of single epochs.
    reach : float
        The best score after the last epoch that its scores make plausible.
    cost : float
        Its validation cost, the mean of the last epochs.
    promised_cost : float
        That after the last epoch, when the learning rate has fallen.
    """

    now: float
    reach: float
    cost: float
    promised_cost: float


def forecast(history: History, config: TrainConfig, rule: Rule) -> Forecast:
    """Return the forecast of an entry; where numbers overflow, one that speaks against it.

    Parameters
    ----------
    history : History
        At least two epochs.
    config : TrainConfig
    rule : Rule
        By which the winner will be chosen.
    """
    scores = rule.sign * getattr(history, rule.select)
    with np.errstate(all="ignore"):  # costs of an entry that is about to diverge overflow
        lr_sums = np.cumsum(history.lr)
        rest = sum(config.lr_at(e) for e in range(len(history) + 1, config.epochs + 1))
        ahead = math.log1p(rest / lr_sums[-1])
        now, gain, spread = _fit_line(np.log(lr_sums / lr_sums[-1]), scores, ahead)
        reach = now + gain + _SPREADS * spread + _MARGIN * _unit(now, rule)
        cost, promised = _promise(history, config)
    if not math.isfinite(reach):
        now = reach = -math.inf
    elif rule.at == "best":
        reach = max(reach, float(scores.max()))
    if not math.isfinite(promised):
        cost = promised = math.inf
    return Forecast(now, reach, cost, promised)


def _promise(history: History, config: TrainConfig) -> tuple[float, float]:
    """Return the mean cost of the last epochs, and the one promised for the last learning rate.

    The first epoch, in which everything improves, is left out.
    """
    cost, largest = history.val_cost[1:], float(history.lr.max())
    squares = (history.lr[1:] / largest) ** 2
    ahead = float(squares[-1]) - (config.lr_at(config.epochs) / largest) ** 2
    now, gain, _ = _fit_line(squares[-1] - squares, -cost, max(ahead, 0.0))
    return float(_weights(len(cost)) @ cost), -(now + gain)


def _fit_line(
    x: NDArray[np.float64], y: NDArray[np.float64], ahead: float
) -> tuple[float, float, float]:
    """Fit a line that does not fall; x ends with 0.

    Returns
    -------
    tuple of float
        Its value at 0, what it gains from there to `ahead`, and the spread of y about it.
    """
    weights = _weights(len(x))
    mean_x, mean_y = float(weights @ x), float(weights @ y)
    variance = float(weights @ (x - mean_x) ** 2)
    slope = float(weights @ ((x - mean_x) * (y - mean_y))) / variance if variance > 0 else 0.0
    slope = max(slope, 0.0)
    residuals = y - mean_y - slope * (x - mean_x)
    count = 1 / float(weights @ weights)  # of equally weighted epochs that would say as much
    spread = math.sqrt(float(weights @ residuals**2) * count / max(count - 2, 1.0))
    return mean_y - slope * mean_x, slope * ahead, spread


def _weights(count: int) -> NDArray[np.float64]:
    """Return the weights (count,) of as many epochs, the last one's the largest; their sum is 1."""
    weights: NDArray[np.float64] = np.logspace(
        count - 1, 0, count, base=_WEIGHT_PER_EPOCH, dtype=np.float64
    )
    weights /= weights.sum()
    return weights


def _unit(score: float, rule: Rule) -> float:
    """Return what small differences of scores are measured in: 1 for accuracies, else the cost."""
    return 1.0 if rule.select == "val_accuracy" else abs(score)


def decide(
    histories: Mapping[int, History],
    configs: Mapping[int, TrainConfig],
    rule: Rule,
    most: int,
) -> Rung:
    """Return which entries go on and which stop, from equally long histories.

    Parameters
    ----------
    histories, configs : mapping of int to History, to TrainConfig
        Of the entries that are compared, by index.
    rule : Rule
        By which the winner will be chosen.
    most : int
        How many go on at most, at least 1.
    """
    forecasts = {i: forecast(history, configs[i], rule) for i, history in histories.items()}
    order = sorted(forecasts, key=lambda i: (-forecasts[i].reach, i))
    best_now = max(found.now for found in forecasts.values())
    best_of_loss: dict[Loss, int] = {}
    for i in sorted(forecasts, key=lambda i: (-forecasts[i].now, i)):
        best_of_loss.setdefault(configs[i].loss, i)
    in_reach = [
        i
        for i in order
        if forecasts[i].reach >= best_now
        or forecasts[i].promised_cost <= forecasts[best_of_loss[configs[i].loss]].cost
    ]
    different, alike = _apart(in_reach, histories, rule)
    kept = different[:most]
    return Rung(
        epoch=len(histories[order[0]]),
        kept=tuple(kept),
        stopped=tuple(i for i in order if i not in set(kept)),
        alike=tuple((i, other) for i, other in alike.items() if other in set(kept)),
    )


def _apart(
    order: Sequence[int], histories: Mapping[int, History], rule: Rule
) -> tuple[list[int], dict[int, int]]:
    """Return entries of which no two are alike, and of every other one the first it is like."""
    different: list[int] = []
    alike: dict[int, int] = {}
    for index in order:
        for other in different:
            unit = _unit(rule.score(histories[other]), rule)
            if _difference(histories[index], histories[other], rule) < _ALIKE * unit:
                alike[index] = other
                break
        else:
            different.append(index)
    return different, alike


def _difference(history: History, other: History, rule: Rule) -> float:
    """Return the mean distance of two entries' scores, over the epochs that both have."""
    count = min(len(history), len(other))
    ours, theirs = (getattr(h, rule.select)[:count] for h in (history, other))
    with np.errstate(all="ignore"):
        return float(_weights(count) @ np.abs(ours - theirs))


def to_train_on(
    rungs: Iterable[Rung],
    stopped: Mapping[int, History],
    finished: Mapping[int, History],
    diverged: Collection[int],
    rule: Rule,
) -> tuple[int, ...]:
    """Return which of the stopped entries must be trained to the end before one has won.

    Those whose score is better than the best of the finished ones, or all if none is finished; and
    those that waited for one that diverged, or that came so close to the best that they may have
    passed it.

    Parameters
    ----------
    rungs : iterable of Rung
        All decisions.
    stopped, finished : mapping of int to History
        By index; of stopped entries, up to the epoch in which they were stopped.
    diverged : collection of int
        Indices of those that diverged.
    rule : Rule
        By which the winner is chosen.
    """
    scores = {i: rule.sign * rule.score(history) for i, history in finished.items()}
    best = max(scores.values(), default=-math.inf)
    chosen = {i for i, history in stopped.items() if rule.sign * rule.score(history) > best}
    for index, other in itertools.chain.from_iterable(rung.alike for rung in rungs):
        if index not in stopped:
            continue
        if other in diverged:
            chosen.add(index)
        elif other in finished:
            change = _GROWTH * _difference(stopped[index], finished[other], rule)
            if scores[other] + change >= best:
                chosen.add(index)
    return tuple(sorted(chosen))
