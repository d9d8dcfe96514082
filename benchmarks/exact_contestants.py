"""Who races to the exact optimum, and what the process of each runs."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

from benchmarks.libraries import FASTLIN, SCIKIT_LEARN, SCIKIT_LEARN_INTELEX, TORCH, Library

# What is asked of whom, a stage each.
GAPS = (1e-1, 1e-2, 1e-3, 1e-4, 1e-5, 1e-6)
TOLERANCES = (1e-2, 1e-3, 1e-4, 1e-5, 1e-6)
_TOLERANCES_OF_PATH = (*TOLERANCES, 1e-7, 1e-8, 1e-9)  # as weak penalties need them
_SHARES = (0.01, 0.02, 0.05, 0.1, 0.2, 0.5, 1.0)  # of PyTorch's iterations

# Rows come from a file. `keep` is called after every stage of `run`, with the seconds from its
# start; `run` may be called several times.
FRAME = """
import json, os, sys, time, warnings
import numpy as np
folder, out = sys.argv[1:3]
l2, scale, threads, repeats = *map(float, sys.argv[3:5]), *map(int, sys.argv[5:7])
X, y = np.load(folder + "/X.npy"), np.load(folder + "/y.npy")
def scaled(rows):
    return rows.astype(np.float32) * np.float32(scale)
kept, place = [], 0
def keep(W, b, seconds, passes, gap=None, **more):
    global place
    if place == len(kept):
        np.savez(f"{folder}/{out}-{place}.npz", W=np.array(W), b=np.array(b))
        kept.append({"times": [], "passes": int(passes), "gap": gap, **more})
    kept[place]["times"].append(seconds)
    place += 1
    with open(f"{folder}/{out}.part", "w") as file:
        json.dump(kept, file)
    os.replace(f"{folder}/{out}.part", f"{folder}/{out}.json")
def begin():
    global place
    for repeat in range(repeats + (repeats > 1)):
        place = 0
        run()
        if repeats > 1 and repeat == 0:
            for stage in kept:
                stage["times"].clear()
"""

# The last fit is not timed: it proves how little the objective can be.
_FASTLIN = """
import fastlin
fastlin.solve(X, y, l2=l2, threads=threads, max_passes=3)  # in float32 and in float64
def run():
    for gap in {gaps}:
        began = time.perf_counter()
        found = fastlin.solve(X, y, l2=l2, threads=threads, gap=gap)
        keep(found.model.W, found.model.b, time.perf_counter() - began, found.passes, found.gap)
begin()
found = fastlin.solve(X, y, l2=l2, threads=threads, gap=1e-10)
np.savez(f"{{folder}}/{{out}}-best.npz", W=found.model.W, b=found.model.b, gap=found.gap)
"""

_SCIKIT_LEARN = """
from threadpoolctl import threadpool_limits
from sklearn.linear_model import LogisticRegression
"""

_INTELEX = """
import daal4py
daal4py.daalinit(threads)
from sklearnex.linear_model import LogisticRegression
LogisticRegression(max_iter=3).fit(scaled(X[:1000]), y[:1000])  # it loads its library
"""

_COLD_STARTS = """
warnings.simplefilter("ignore")
rows = scaled(X).astype({dtype!r})
def run():
    for tol in {tolerances}:
        began = time.perf_counter()
        found = LogisticRegression(C=1 / (2 * len(y) * l2), tol=tol, max_iter={iterations})
        found.fit(rows, y)
        seconds = time.perf_counter() - began
        keep(found.coef_, found.intercept_, seconds, np.max(found.n_iter_))
begin()
"""

_LIMITED = """
with threadpool_limits(threads, user_api="blas"):
    begin()
"""

_TORCH = """
import torch
torch.set_num_threads(threads)
torch.set_num_interop_threads(1)
rows, labels = torch.from_numpy(scaled(X).astype(np.float32)), torch.from_numpy(y)
def run():
    layer = torch.nn.Linear(rows.shape[1], int(y.max()) + 1)
    torch.nn.init.zeros_(layer.weight)
    torch.nn.init.zeros_(layer.bias)
    steps = torch.optim.LBFGS(layer.parameters(), history_size=10, line_search_fn="strong_wolfe",
                              tolerance_grad=0, tolerance_change=0)
    passes = 0
    def objective():
        nonlocal passes
        passes += 1
        steps.zero_grad()
        cost = torch.nn.functional.cross_entropy(layer(rows), labels)
        cost = cost + l2 * (layer.weight**2).sum()
        cost.backward()
        return cost
    seconds, before = 0.0, 0
    for most in {iterations}:
        steps.param_groups[0].update(max_iter=most - before, max_eval=2 * (most - before))
        began, before = time.perf_counter(), most
        steps.step(objective)
        seconds += time.perf_counter() - began
        keep(layer.weight.detach().numpy(), layer.bias.detach().numpy(), seconds, passes)
begin()
"""


class Contestant(NamedTuple):
    """Who takes part: a name, its library, and what its process runs."""

    name: str
    library: Library
    code: str


def contestants(iterations: int) -> list[Contestant]:
    """Return everyone, with so many iterations of L-BFGS at most."""
    shares = sorted({max(1, round(share * iterations)) for share in _SHARES})
    found = [Contestant("fastlin", FASTLIN, _FASTLIN.format(gaps=GAPS))]
    for name, library, start in _of_scikit_learn():
        for dtype in ("float32", "float64"):
            code = _COLD_STARTS.format(dtype=dtype, tolerances=TOLERANCES, iterations=iterations)
            found.append(Contestant(f"{name}, {dtype}", library, _limited(start, code)))
    code = _TORCH.format(iterations=shares)
    return [*found, Contestant("PyTorch LBFGS, float32", TORCH, code)]


def _of_scikit_learn() -> list[tuple[str, Library, str]]:
    """Return names, libraries and the start of their processes, where the estimator is one."""
    return [
        ("scikit-learn lbfgs", SCIKIT_LEARN, _SCIKIT_LEARN),
        ("scikit-learn-intelex lbfgs", SCIKIT_LEARN_INTELEX, _INTELEX),
    ]


def _limited(start: str, code: str) -> str:
    """Return the code of a process; scikit-learn's products are on BLAS's threads."""
    if start is _SCIKIT_LEARN:
        code = code.replace("\nbegin()\n", _LIMITED)
    return start + code


_PATH_OF_FASTLIN = """
import fastlin
from fastlin.solving.config import FitConfig, PathPlan
from fastlin.solving.path import fit_path
split = fastlin.Split.from_arrays(X, y, X_val=X[:1000], y_val=y[:1000], scale=scale)
fastlin.solve(split, l2=l2, threads=threads, max_passes=3)
def run():
    def tell(fit):
        point, [model], seconds = fit.point, fit.models, time.perf_counter() - began
        keep(model.W, model.b, seconds, point.passes, point.relative_gap, C=point.C, reached=True)
    began = time.perf_counter()
    plan = PathPlan(Cs={Cs}, extend=False)
    fit_path(split, FitConfig(gap={gap}), plan, threads=threads, on_fit=tell)
begin()
"""

# A fit that takes longer than it may is ended, and counts with that time. The first tolerance tried
# is that which a stronger penalty needed; where it is near enough, larger ones are tried as well.
_PATH_OF_COLD_STARTS = """
import signal
from benchmarks.exact_objective import Problem, objective
warnings.simplefilter("ignore")
rows = scaled(X).astype({dtype!r})
tolerances = {tolerances}
class OutOfTime(Exception):
    pass
def stop(number, frame):
    raise OutOfTime
signal.signal(signal.SIGALRM, stop)
def fitted(C, tol):
    signal.setitimer(signal.ITIMER_REAL, {limit})
    try:
        return LogisticRegression(C=C, tol=tol, max_iter={iterations}).fit(rows, y)
    except OutOfTime:
        return None
    finally:
        signal.setitimer(signal.ITIMER_REAL, 0)
def run():
    spent, first = 0.0, 0
    for C, most in json.load(open(folder + "/goals.json")):
        problem = Problem("", X, scale, y, 1 / (2 * len(y) * C))
        def tried(place):
            began = time.perf_counter()
            found = fitted(C, tolerances[place])
            seconds = time.perf_counter() - began
            reached = found is not None and bool(
                objective(problem, found.coef_, found.intercept_) <= most)
            return found, seconds, reached
        place = first
        found, seconds, reached = tried(place)
        while found is not None and not reached and place < len(tolerances) - 1:
            place += 1
            found, seconds, reached = tried(place)
        while reached and 0 < place <= first:
            larger = tried(place - 1)
            if not larger[2]:
                break
            place, (found, seconds, reached) = place - 1, larger
        first, spent = place, spent + seconds
        W, b = (np.zeros(0), np.zeros(0)) if found is None else (found.coef_, found.intercept_)
        iterations = 0 if found is None else np.max(found.n_iter_)
        keep(W, b, spent, iterations, C=C, reached=reached, cut=found is None)
begin()
"""


def path_contestants(
    Cs: Sequence[float], gap: float, iterations: int, limit: float
) -> list[Contestant]:
    """Return who fits a whole path: fastlin first, and who starts every fit from zero.

    The others have `limit` seconds for a fit.
    """
    code = _PATH_OF_FASTLIN.format(Cs=tuple(Cs), gap=gap)
    found = [Contestant("fastlin", FASTLIN, code)]
    for name, library, start in _of_scikit_learn():
        for dtype in ("float32", "float64"):
            code = _PATH_OF_COLD_STARTS.format(
                dtype=dtype, tolerances=_TOLERANCES_OF_PATH, iterations=iterations, limit=limit
            )
            found.append(Contestant(f"{name}, {dtype}", library, _limited(start, code)))
    return found
