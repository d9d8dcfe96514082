"""The reference study as data: its experiments, its conclusions, and what it left to be tried.

A. Stagge, Deep Learning DD2424, Assignment 1 Bonus (KTH, March 2019): a linear classifier on
CIFAR-10, trained for 40 epochs on data_batch_1, once per setting.
"""

from __future__ import annotations

import itertools
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from typing import Any, Literal

from fastlin.config import TrainConfig

SOURCE = "A. Stagge, Deep Learning DD2424, Assignment 1 Bonus, KTH, March 2019"
DATA_SHA256 = "369d0b2c6a9e6d3dbf3ebf862734159b70f54ce6b658172cf6cc3b820776f346"  # of its split
EPOCHS = 40
PICTURED_SEED = 0  # whose weights and gradients are drawn, and on which trials are tuned
Settings = Mapping[str, Any]
Kind = Literal["setting", "grid", "tuned"]


@dataclass(frozen=True)
class Experiment:
    """Something to run over all seeds.

    Without candidates it is one setting. A ``grid`` runs all candidates on every seed and takes,
    for every seed, the one with the best validation accuracy after the last epoch, as the study
    did on its one seed. ``tuned`` is cheaper: candidates run on the first seed only, the best of
    them on all.

    Attributes
    ----------
    id : by which it is named.
    title : a few words.
    settings : fields of `TrainConfig` that differ from the defaults.
    kind : ``setting``, ``grid`` or ``tuned``.
    swept : settings with several values; the candidates are all combinations, the last fastest.
    candidates : settings of every candidate, where they are no such grid.
    published : test accuracy of the study, a fraction.
    full : whether it trains on all training images rather than on the split of the study.
    has_curves : whether it is evaluated after every epoch, for a figure.
    part : of the epochs of all others that it runs for.
    """

    id: str
    title: str
    settings: Settings
    kind: Kind = "setting"
    swept: Mapping[str, tuple[Any, ...]] = field(default_factory=dict)
    candidates: tuple[Settings, ...] = ()
    published: float | None = None
    full: bool = False
    has_curves: bool = False
    part: float = 1.0

    def config(self, seed: int, epochs: int) -> TrainConfig:
        """Return the configuration without what the candidates add."""
        epochs = max(1, round(self.part * epochs))
        return TrainConfig(**{**self.settings, "epochs": epochs, "seed": seed})

    def configs(self, seed: int, epochs: int) -> list[TrainConfig]:
        """Return the configuration of every candidate."""
        base = self.config(seed, epochs)
        combinations = [
            dict(zip(self.swept, values, strict=True))
            for values in itertools.product(*self.swept.values())
        ]
        return [replace(base, **changes) for changes in self.candidates or combinations]


@dataclass(frozen=True)
class Comparison:
    """The difference between two experiments over seeds, second - first.

    Attributes
    ----------
    id : for links.
    title : what differs.
    change : what turns first into second, to begin a sentence: "<change> changes the accuracy ...".
    first, second : experiments, by id.
    claim : what the study says of it, in one sentence; empty where it says nothing.
    expects : the difference that it claims: ``none``, ``gain`` or ``loss``; empty likewise.
    """

    id: str
    title: str
    change: str
    first: str
    second: str
    claim: str = ""
    expects: Literal["none", "gain", "loss", ""] = ""


_PLAIN: Settings = {"l2": 0.0, "batch_size": 100, "lr": 0.01, "lr_decay": 1.0}
_DECAYED: Settings = {**_PLAIN, "lr": 0.02, "lr_decay": 0.9}
_WINNER: Settings = {"l2": 0.0001, "batch_size": 64, "lr": 0.02, "lr_decay": 0.9}
_STANDARDIZED: Settings = {"standardize": True, "l2": 0.01, "batch_size": 128, "lr": 0.003}
_BATCH_SIZES, _RATES = (64, 100, 128), (0.01, 0.02, 0.03)
PUBLISHED = (
    Experiment(
        "S0", "no shuffling, rows in file order", {**_PLAIN, "l2": 0.01, "shuffle": False},
        published=0.365, has_curves=True,
    ),
    Experiment(
        "S1", "shuffling before every epoch", {**_PLAIN, "l2": 0.01}, published=0.365,
        has_curves=True,
    ),
    Experiment("X0", "Gaussian initialisation", _PLAIN, published=0.3646),
    Experiment("X1", "Xavier initialisation", {**_PLAIN, "init": "xavier"}, published=0.3639),
    Experiment("D1", "decaying learning rate", _DECAYED, published=0.3809, has_curves=True),
    Experiment(
        "G1", "grid search, 27 settings", {"lr_decay": 0.9}, "grid",
        {"l2": (0.0, 0.001, 0.0001), "batch_size": _BATCH_SIZES, "lr": _RATES}, published=0.3865,
    ),
    Experiment(
        "V1", "multiclass hinge loss (SVM)", {**_WINNER, "loss": "hinge"}, published=0.3601,
        has_curves=True,
    ),
)  # fmt: skip

# Settings that the study did not run by themselves, to find out what lies behind its results.
CHECKS = (
    Experiment("G1w", "the grid's published winner", _WINNER, published=0.3865, has_curves=True),
    Experiment("D0", "learning rate 0.02, no decay", {**_DECAYED, "lr_decay": 1.0}),
    Experiment("D2", "learning rate 0.01, decay", {**_DECAYED, "lr": 0.01}),
    Experiment("D3", "decay before the first epoch, too", {**_DECAYED, "lr": 0.018}),
    Experiment("D4", "decaying learning rate, half the epochs", _DECAYED, part=0.5),
    Experiment("D5", "decaying learning rate, file order", {**_DECAYED, "shuffle": False}),
)

# What the study asks and does not try. The losses are tuned over as many settings each; the
# penalty, which hardly matters at 10,000 rows, is that of the published winner.
TRIALS = (
    Experiment(
        "T1", "softmax, tuned", {"l2": 0.0001, "lr_decay": 0.9}, "tuned",
        {"batch_size": _BATCH_SIZES, "lr": _RATES},
    ),
    Experiment(
        "H1", "hinge, tuned alike", {"l2": 0.0001, "lr_decay": 0.9, "loss": "hinge"}, "tuned",
        {"batch_size": _BATCH_SIZES, "lr": (0.002, 0.004, 0.008)},
    ),
    Experiment(
        "N1", "standardised inputs, tuned", {"lr_decay": 0.9, "standardize": True}, "tuned",
        {"l2": (0.0, 0.1, 0.3), "lr": (0.002, 0.004, 0.008)},
    ),
    Experiment("F0", "the grid's published winner, on all training images", _WINNER, full=True),
    Experiment(
        "F1", "all training images, tuned recipe", {}, "tuned",
        candidates=(
            {**_WINNER, "flip": True, "schedule": "cosine"},
            {**_STANDARDIZED, "flip": True},
            {**_STANDARDIZED, "flip": True, "schedule": "cosine"},
        ),
        full=True,
    ),
)  # fmt: skip
CONCLUSIONS = (
    Comparison(
        "shuffling", "Shuffling", "shuffling before every epoch", "S0", "S1",
        "Shuffling makes no visible difference.", "none",
    ),
    Comparison(
        "xavier", "Xavier initialisation", "Xavier initialisation", "X0", "X1",
        "Xavier initialisation makes no difference either.", "none",
    ),
    Comparison(
        "decay", "Decaying learning rate",
        "a learning rate that starts at 0.02 and decays, instead of a constant 0.01,", "X0", "D1",
        "The decaying learning rate is the largest single gain.", "gain",
    ),
    Comparison(
        "grid", "Grid search", "taking the settings of the grid's published winner instead of D1's",
        "D1", "G1w", "Searching a grid finds a setting that is better still.", "gain",
    ),
    Comparison(
        "svm", "Hinge loss", "the hinge loss, at settings tuned for softmax,", "G1w", "V1",
        "The hinge loss is slightly worse at these settings.", "loss",
    ),
)  # fmt: skip

# What lies behind a conclusion, by its id.
DETAILS = {
    "decay": (
        Comparison("decay-0.02", "", "decay alone, at 0.02,", "D0", "D1"),
        Comparison("decay-0.01", "", "decay alone, at 0.01,", "X0", "D2"),
        Comparison("rate", "", "the larger learning rate alone, without decay,", "X0", "D0"),
    ),
}

# What may lie behind a published accuracy that is lower than fastlin's, by experiment: in words,
# and the experiments that test it.
EXPLANATIONS: Mapping[str, tuple[str, tuple[str, ...]]] = {
    "S1": (
        (
            "With a constant learning rate the accuracy after the last epoch depends on the last "
            "few batches, and one run says little."
        ),
        ("S0",),
    ),
    "X0": (
        (
            "With a constant learning rate the accuracy after the last epoch depends on the last "
            "few batches, and one run says little."
        ),
        ("D2",),
    ),
    "X1": (
        (
            "With a constant learning rate the accuracy after the last epoch depends on the last "
            "few batches, and one run says little."
        ),
        ("D2",),
    ),
    "D1": (
        (
            "What may differ, thought of after the result was seen, so that one that fits is a "
            "guess and no finding: the learning rate may have decayed before the first epoch "
            "already, so that it never was 0.02; training may have stopped earlier, although the "
            "study speaks of 40 epochs everywhere; or the rows may have come in file order."
        ),
        ("D3", "D4", "D5"),
    ),
    "G1": (
        "Each seed chooses its own winner here; the published accuracy belongs to one setting.",
        ("G1w",),
    ),
    "V1": ("The study may have counted the hinge's margin or its gradient differently.", ()),
}
OUTLOOK = (
    Comparison("tuned", "Hinge and softmax, both tuned", "the hinge loss, both losses tuned alike,",
               "T1", "H1"),
    Comparison("standardised", "Standardised inputs", "standardising the inputs, both tuned,",
               "T1", "N1"),
    Comparison("data", "All training images", "training the published winner on all images",
               "G1w", "F0"),
    Comparison("recipe", "A better recipe", "the tuned recipe, on all images,", "F0", "F1"),
)  # fmt: skip


def all_experiments() -> tuple[Experiment, ...]:
    """Return every experiment, in the order in which pages show them."""
    return (*PUBLISHED, *CHECKS, *TRIALS)
