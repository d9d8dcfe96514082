"""The optimum of the objective, found by few passes over the rows, with a bound on the distance.

problem.py        the objective: its value, its gradient, and the bound
sample.py         some of its rows: second derivatives, and a bound of the second order
curvature.py      what second derivatives are like, from the features' second moments
scaling.py        what that misses along the rows of W and the biases
hessian.py        all second derivatives of a small problem
start_matrices.py which of these a fit begins with, and a path
derivatives.py    second derivatives of a loss by the scores of rows
lbfgs.py          steps from all that, and the line search
config.py         the settings of a fit
blas.py           NumPy's products, on the threads that fastlin may use
solver.py         `solve`: the passes from the start to the bound
solution.py       what they found
run.py            an exact fit as a run
sequence.py       the optima of several settings on the same rows
shared.py         the passes that several fits of the same rows take together
folds.py          the problems of folds, which share passes
shards.py         the passes that workers of a cluster take
walk.py           the fits of a path, of all rows or in folds
path.py           `path`: the optima of many penalties, and the best one
path_result.py    what it found
path_file.py      a path on disk
protocols.py      how others choose penalties, with their sources
"""
