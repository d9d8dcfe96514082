"""Who races in scikit-learn's idiom, and what the process of each runs.

Every one begins with the code of `benchmarks.exact_contestants.FRAME`.
"""

from __future__ import annotations

from collections.abc import Sequence

from benchmarks.exact_contestants import Contestant
from benchmarks.libraries import FASTLIN, SCIKIT_LEARN

# What is asked of whom, from loose to tight.
TOLERANCES = tuple(
    float(f"{one}e-{digits}") for digits in range(1, 8) for one in ((1,) if digits == 1 else (3, 1))
)
EPOCHS = (1, 3, 10, 30)
ALPHAS = (1e-6, 1e-5, 1e-4, 1e-3, 1e-2)
_SCHEDULES = (
    {"learning_rate": "optimal"},
    {"learning_rate": "optimal", "average": True},
    {"learning_rate": "adaptive", "eta0": 0.01},
)

PROOF = Contestant(
    "the least objective", FASTLIN,
    """
import fastlin
found = fastlin.solve(X, y, l2=l2, threads=threads, gap=1e-10)
np.savez(f"{folder}/{out}.npz", W=found.model.W, b=found.model.b, gap=found.gap)
""",
)  # fmt: skip

_SOFTMAX = """
import fastlin
warnings.simplefilter("ignore")
fastlin.SoftmaxClassifier(max_iter=3, n_threads=threads).fit(X, y)  # in float32 and in float64
def run():
    for tol in {tolerances}:
        one = fastlin.SoftmaxClassifier(tol=tol, n_threads=threads)
        began = time.perf_counter()
        one.fit(X, y)
        seconds = time.perf_counter() - began
        keep(one.coef_, one.intercept_, seconds, one.n_iter_, setting=f"tol {{tol:.0e}}")
begin()
"""

# Each number of threads ends at the first tolerance that comes near enough: tighter ones take
# longer. Products of small arrays are faster on one thread of BLAS, which a user has to know: both
# count, and take turns, so that who is cut short has tried both.
_LOGISTIC_REGRESSION = """
from threadpoolctl import threadpool_limits
from sklearn.linear_model import LogisticRegression
from benchmarks.exact_objective import Problem, objective
warnings.simplefilter("ignore")
problem, goal = Problem("", X, scale, y, l2), json.load(open(folder + "/goal.json"))
LogisticRegression(solver={solver!r}, max_iter=3).fit(X, y)
def run():
    counts = list({counts})
    for tol in {tolerances}:
        for count in list(counts):
            with threadpool_limits(count or threads, user_api="blas"):
                one = LogisticRegression(solver={solver!r}, tol=tol, max_iter={iterations})
                began = time.perf_counter()
                one.fit(X, y)
                seconds = time.perf_counter() - began
            setting = f"tol {{tol:.0e}}" + (", 1 thread of BLAS" if count else "")
            keep(one.coef_, one.intercept_, seconds, np.max(one.n_iter_), setting=setting)
            if objective(problem, one.coef_, one.intercept_) <= goal:
                counts.remove(count)
begin()
"""

_EPOCHS_OF_SOFTMAX = """
import fastlin
fastlin.SoftmaxClassifier(solver="sgd", max_iter=1, n_threads=threads).fit(X, y)
def run():
    for settings in [{{}}, *({{"l2": alpha / 2}} for alpha in {alphas})]:
        for epochs in {epochs}:
            one = fastlin.SoftmaxClassifier(solver="sgd", max_iter=epochs, random_state=0,
                                            n_threads=threads, **settings)
            began = time.perf_counter()
            one.fit(X, y)
            seconds = time.perf_counter() - began
            named = settings | {{"max_iter": epochs}}
            keep(one.coef_, one.intercept_, seconds, epochs,
                 setting=", ".join(f"{{name}} {{value:g}}" for name, value in named.items()))
begin()
"""

_EPOCHS_OF_SGD = """
from sklearn.linear_model import SGDClassifier
warnings.simplefilter("ignore")
SGDClassifier(loss="log_loss", max_iter=1, tol=None, n_jobs=threads).fit(X, y)
def run():
    for more in {schedules}:
        for alpha in {alphas}:
            for epochs in {epochs}:
                settings = dict(alpha=alpha, **more, max_iter=epochs)
                one = SGDClassifier(loss="log_loss", tol=None, random_state=0, n_jobs=threads,
                                    **settings)
                began = time.perf_counter()
                one.fit(X, y)
                seconds = time.perf_counter() - began
                keep(one.coef_, one.intercept_, seconds, epochs,
                     setting=", ".join(f"{{name}} {{value}}" for name, value in settings.items()))
begin()
"""

_CALLS = """
def times_of(call, repeats=200):
    found = []
    for _ in range(repeats + 1):
        began = time.perf_counter()
        steps = call()
        found.append(time.perf_counter() - began - steps)
    return float(np.median(found[1:]))
def predict():
    one.predict(X[:1])
    return 0.0
with open(f"{folder}/{out}.json", "w") as file:
    json.dump({"fit": times_of(fit), "predict": times_of(predict)}, file)
"""

_CALLS_OF_SOFTMAX = """
import fastlin
one = fastlin.SoftmaxClassifier(n_threads=threads)
def fit():
    one.fit(X, y)
    return one.history_[-1].seconds - one.history_[0].seconds
"""

_CALLS_OF_LOGISTIC_REGRESSION = """
from sklearn.linear_model import LogisticRegression
warnings.simplefilter("ignore")
one = LogisticRegression(max_iter=1)
def fit():
    one.fit(X, y)
    return 0.0
"""

# Seconds of a fit without those from its first step, where the objective is known at zero, to the
# last; of scikit-learn, which does not tell them, with one step. And of a prediction of one row.
CALLS = (
    Contestant("SoftmaxClassifier", FASTLIN, _CALLS_OF_SOFTMAX + _CALLS),
    Contestant("LogisticRegression", SCIKIT_LEARN, _CALLS_OF_LOGISTIC_REGRESSION + _CALLS),
)


def of_fits(iterations: int, *, small: bool) -> list[Contestant]:
    """Return who comes to the optimum, fastlin first.

    Parameters
    ----------
    iterations : int
        Of L-BFGS, at most.
    small : bool
        Whether rows are few: then scikit-learn's newton-cholesky takes part, which needs a matrix
        of (K d)**2, and BLAS has one thread, too.
    """
    found = [Contestant("SoftmaxClassifier", FASTLIN, _SOFTMAX.format(tolerances=TOLERANCES))]
    for solver in ("lbfgs", "newton-cholesky") if small else ("lbfgs",):
        code = _LOGISTIC_REGRESSION.format(
            solver=solver, tolerances=TOLERANCES, iterations=iterations,
            counts=(0, 1) if small else (0,),
        )  # fmt: skip
        found.append(Contestant(f"LogisticRegression, {solver}", SCIKIT_LEARN, code))
    return found


def of_epochs(epochs: Sequence[int] = EPOCHS) -> list[Contestant]:
    """Return who trains by SGD, fastlin first, for each of some numbers of epochs."""
    ours = _EPOCHS_OF_SOFTMAX.format(alphas=ALPHAS, epochs=tuple(epochs))
    theirs = _EPOCHS_OF_SGD.format(schedules=_SCHEDULES, alphas=ALPHAS, epochs=tuple(epochs))
    return [
        Contestant("SoftmaxClassifier, sgd", FASTLIN, ours),
        Contestant("SGDClassifier", SCIKIT_LEARN, theirs),
    ]
