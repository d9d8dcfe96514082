"""The parameters of estimators: what they may be, and what they are as settings of a fit."""

from __future__ import annotations

from enum import StrEnum
from typing import Any

from fastlin.config import Precision, Schedule, TrainConfig
from fastlin.errors import InputError, quoted
from fastlin.losses import Loss
from fastlin.settings import AUTO, Choice, Kind, Number, OrAuto, Switch, Whole
from fastlin.solving.config import LEAST_PASSES, FitConfig, penalty_of
from fastlin.threads import checked_count

DEFAULT_C = 1.0


class SolverName(StrEnum):
    """How an estimator is fitted."""

    EXACT = "exact"
    SGD = "sgd"


KINDS: dict[str, Kind] = {
    "solver": Choice(SolverName),
    "C": Number(above_low=True),
    "fit_intercept": Switch(),
    "standardize": Switch(),
    "tol": Number(0.0, 1.0, above_low=True),
    "learning_rate_init": OrAuto(Number(above_low=True)),
    "batch_size": Whole(1),
    "momentum": Number(0.0, 1.0, below_high=True),
    "schedule": Choice(Schedule),
    "early_stopping": Switch(),
    "validation_fraction": Number(0.0, 1.0, above_low=True, below_high=True),
    "n_iter_no_change": Whole(1),
    "warm_start": Switch(),
    "verbose": Switch(),
}  # fmt: skip
OPTIONAL: dict[str, Kind] = {"l2": Number(), "max_iter": Whole(1), "n_threads": Whole(1)}


def checked(given: dict[str, Any]) -> dict[str, Any]:
    """Return parameters as Python values of their kinds.

    Raises
    ------
    InputError
        If a value is outside its range, or two exclude each other.
    """
    found = dict(given)
    for name, kind in KINDS.items():
        found[name] = kind.checked(name, given[name])
    for name, kind in OPTIONAL.items():
        if given[name] is not None:
            found[name] = kind.checked(name, given[name])
    if found["n_threads"] is not None:
        checked_count("n_threads", found["n_threads"])
    if found["l2"] is not None and found["C"] != DEFAULT_C:
        raise InputError("l2 and C are given, which say the same; leave one of them out")
    if found["solver"] is SolverName.SGD:
        _check_sgd(found)
    else:
        _check_exact(found)
    return found


def _check_exact(parameters: dict[str, Any]) -> None:
    """Raise InputError if an exact fit cannot be what parameters ask for."""
    if parameters["early_stopping"]:
        raise InputError("early_stopping has no effect with solver exact; use solver sgd")
    passes = parameters["max_iter"]
    if passes is not None and passes < LEAST_PASSES:
        raise InputError(
            f"max_iter is {passes}; an exact fit takes at least {LEAST_PASSES} passes over the rows"
        )


def checked_for_stream(given: dict[str, Any]) -> dict[str, Any]:
    """Return the parameters of one epoch over some of the rows.

    Raises
    ------
    InputError
        As in `checked`, and if one needs all rows.
    """
    found = checked(given)
    for name in ("standardize", "early_stopping"):
        if found[name]:
            raise InputError(f"{name} needs all rows, which partial_fit does not have; use fit")
    if isinstance(found["class_weight"], str):
        raise InputError(
            f"class_weight {quoted(found['class_weight'])} needs all rows, which partial_fit does "
            "not have; give weights by label"
        )
    return found | {"schedule": Schedule.CONSTANT, "max_iter": 1}


def _check_sgd(parameters: dict[str, Any]) -> None:
    """Raise InputError if epochs of SGD cannot be what parameters ask for."""
    if not parameters["fit_intercept"]:
        raise InputError("fit_intercept is False, which solver sgd cannot; use solver exact")
    if parameters["warm_start"] and parameters["standardize"]:
        raise InputError(
            "warm_start and standardize cannot be combined with solver sgd; "
            "put a StandardScaler before the classifier"
        )


def steps_of(parameters: dict[str, Any]) -> tuple[str, int | None]:
    """Return what the steps of a fit are called, and how many there can be; None if unknown."""
    if parameters["solver"] is SolverName.EXACT:
        return "step", None
    return "epoch", parameters["max_iter"] or TrainConfig().epochs


def penalty_of_solver(parameters: dict[str, Any], weight_sum: float, class_count: int) -> float:
    """Return the factor of the penalty on all K rows of W.

    Parameters
    ----------
    parameters : dict[str, Any]
        Of which C and l2 count: the penalty on `coef_` is l2 * sum(coef_**2) beside the mean loss,
        with l2 = 1 / (2 C weight_sum).
    weight_sum : float
        Of the weights of all rows.
    class_count : int
        Of two classes `coef_` is one row w, and W = (-w / 2, w / 2) has half the sum of squares.
    """
    l2 = parameters["l2"]
    if l2 is None:
        return penalty_of(parameters["C"], weight_sum, class_count)
    return float(2 * l2 if class_count == 2 else l2)


def fit_config(parameters: dict[str, Any], loss: Loss, l2: float) -> FitConfig:
    """Return the settings of an exact fit."""
    passes = {} if parameters["max_iter"] is None else {"max_passes": parameters["max_iter"]}
    return FitConfig(
        loss=loss, l2=l2, gap=parameters["tol"], standardize=parameters["standardize"],
        fit_intercept=parameters["fit_intercept"], **passes,
    )  # fmt: skip


def train_config(parameters: dict[str, Any], loss: Loss, l2: float, seed: int) -> TrainConfig:
    """Return the settings of training, from weights of zero.

    Random ones of a given size would be scores of thousands for features of 1e5, which the learning
    rates of such features take long to undo.
    """
    epochs = {} if parameters["max_iter"] is None else {"epochs": parameters["max_iter"]}
    lr = parameters["learning_rate_init"]
    return TrainConfig(
        loss=loss, lr=lr if lr == AUTO else float(lr), l2=l2, seed=seed, sigma=0.0,
        batch_size=parameters["batch_size"], momentum=parameters["momentum"],
        schedule=parameters["schedule"], standardize=parameters["standardize"],
        dtype=Precision.FLOAT32, **epochs,
    )  # fmt: skip
