"""Classifiers with the methods and conventions of scikit-learn, which comes with an extra.

parameters.py    what the parameters may be, and what they are as settings of a fit
inputs.py        rows and labels in tensors and tables, and what cannot be fitted
fits.py          an exact fit, and epochs of SGD, of rows and parameters
base.py          `LinearClassifier`: fit, partial_fit, predict, and the rest of the contract
classifiers.py   `SoftmaxClassifier` and `HingeClassifier`
together.py      fits of many estimators on the same rows
folds.py         rows that are checked once, and the scores of estimators on a fold
grid.py          `GridSearch`, a grid of parameters in cross-validation
path.py          `SoftmaxClassifierCV`, which chooses C by cross-validation
"""

from fastlin import packages

packages.load("sklearn", "sklearn", "an estimator of fastlin")
