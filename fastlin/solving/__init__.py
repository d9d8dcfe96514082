"""The optimum of the objective, found by few passes over the rows, with a bound on the distance.

problem.py     the objective: its value, its gradient, and the bound
curvature.py   what its second derivatives are like, from the features' second moments
scaling.py     what that misses along the rows of W and the biases
derivatives.py second derivatives of a loss by the scores of rows
lbfgs.py       steps from both, and the line search
config.py      the settings of a fit
blas.py        NumPy's products, on the threads that fastlin may use
solver.py      `solve`: the passes from the start to the bound
solution.py    what they found
sequence.py    the optima of several settings on the same rows
path.py        `path`: the optima of many penalties, and the best one by validation rows
path_file.py   a path on disk
protocols.py   how others choose penalties, with their sources
"""
