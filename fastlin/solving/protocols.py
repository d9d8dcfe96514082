"""How others evaluate features by a linear classifier: their settings as records, with sources.

It imports neither NumPy nor Numba.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from fastlin.errors import InputError, listed, quoted
from fastlin.solving.config import DEFAULT_CS, PathPlan, log_steps


@dataclass(frozen=True)
class Protocol:
    """A published way to choose and to judge a linear classifier.

    Attributes
    ----------
    name : str
        What it is called.
    source : str
        Where it is published.
    differs : str
        Where fastlin does something else, in sentences.
    kind : str
        ``"path"``: exact fits of many penalties, one of them chosen by validation rows.
        ``"draws"``: an exact fit to some rows of every class, several times. ``"sgd"``: SGD with
        several learning rates, one of them chosen by validation rows.
    plan : PathPlan or None
        Of a path.
    C : float
        Of draws: scikit-learn's, over the rows of a draw.
    shots, draws : int
        Of draws: rows of every class, and how often they are drawn.
    lrs : tuple[float, ...]
        Of SGD.
    """

    name: str
    source: str
    differs: str
    kind: Literal["path", "draws", "sgd"] = "path"
    plan: PathPlan | None = None
    C: float = 1.0
    shots: int = 0
    draws: int = 0
    lrs: tuple[float, ...] = ()


_EXACT = (
    "every fit ends by a proved gap, not after a number of iterations, and begins at the optimum "
    "of another penalty"
)
_HELD_OUT = "held-out rows are the same share of every class"

_DINO_PLAN = PathPlan(Cs=DEFAULT_CS, refit=True, extend=False)

_ALL = (
    Protocol(
        "fastlin",
        "fastlin",
        "a path from strong to weak penalties, which ends after 5 that are clearly worse than the "
        "best, and of three penalties or more goes on beyond an end that is the best",
        plan=PathPlan(Cs=DEFAULT_CS, patience=5),
    ),
    Protocol(
        "dinov2",
        "Oquab et al. 2023, DINOv2, arXiv:2304.07193; dinov2/eval/log_regression.py: 45 C from "
        "1e-6 to 1e5, chosen by accuracy on a tenth of the training rows, refit on all",
        f"{_EXACT}; {_HELD_OUT}; biases are not penalised",
        plan=_DINO_PLAN,
    ),
    Protocol(
        "dinov3",
        "Siméoni et al. 2025, DINOv3, arXiv:2508.10104: logistic regression as in DINOv2's code",
        f"{_EXACT}; {_HELD_OUT}; biases are not penalised",
        plan=_DINO_PLAN,
    ),
    Protocol(
        "clip",
        "Radford et al. 2021, CLIP, arXiv:2103.00020, appendix A.3: 1e-6 to 1e6 in 96 steps, by "
        "bisection from 7 values a hundredfold apart, refit on training and validation rows",
        f"{_EXACT}; {_HELD_OUT}; its lambda is taken for scikit-learn's C: the same values, as "
        "they lie evenly about 1",
        plan=PathPlan(Cs=log_steps(-6, 6, 96), refit=True, bisect=True, extend=False),
    ),
    Protocol(
        "kornblith",
        "Kornblith, Shlens & Le 2019, Do Better ImageNet Models Transfer Better?, "
        "arXiv:1805.08974: 45 penalties from 1e-6 to 1e5, warm starts, refit on training and "
        "validation rows",
        "every fit ends by a proved gap, not after a number of iterations; the unit of its penalty "
        "is assumed: half of it times the squared weights beside the sum of losses, so that C is 1 "
        "over it, as in linear.py of ssl-transfer (Ericsson, Gouk & Hospedales 2021); linear_eval "
        "of google-research, Kornblith's later code, has no half; one metric (select) for every "
        "data set, not its own",
        plan=PathPlan(Cs=log_steps(-5, 6, 44), refit=True, extend=False),
    ),
    Protocol(
        "mteb",
        "Muennighoff et al. 2022, MTEB, arXiv:2210.07316; AbsTaskClassification: logistic "
        "regression with C 1 on 8 rows of every label, drawn 10 times",
        "every fit ends by a proved gap, not after 100 iterations; draws come from fastlin's "
        "generator, each of all rows",
        kind="draws",
        shots=8,
        draws=10,
    ),
    Protocol(
        "linear",
        "Oquab et al. 2023, DINOv2, arXiv:2304.07193; dinov2/eval/linear.py: SGD with momentum "
        "0.9, 13 learning rates for batches of 256, cosine, 10 epochs",
        "features are those of the file: there are no random crops and flips, and one set of "
        "layers; an epoch is all rows, not 1,250 batches; batches are of 256 rows",
        kind="sgd",
        lrs=(1e-5, 2e-5, 5e-5, 1e-4, 2e-4, 5e-4, 1e-3, 2e-3, 5e-3, 1e-2, 2e-2, 5e-2, 0.1),
    ),
)
PROTOCOLS = {protocol.name: protocol for protocol in _ALL}


def protocol_of(name: str | Protocol) -> Protocol:
    """Return a protocol by its name. Raises InputError if there is none of that name."""
    if isinstance(name, Protocol):
        return name
    if not isinstance(name, str) or name not in PROTOCOLS:
        raise InputError(f"there is no protocol {quoted(name)}; they are {listed(PROTOCOLS)}")
    return PROTOCOLS[name]
