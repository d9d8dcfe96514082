"""How fast fastlin is, and against whom: see `python -m benchmarks --help`.

`pytest --benchmark-only` times every kernel beside its NumPy twin; `python -m benchmarks` races
whole cases against NumPy, PyTorch, JAX and scikit-learn and writes a table and plots.
"""
