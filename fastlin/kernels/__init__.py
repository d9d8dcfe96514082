"""Every compiled function of fastlin; they see arrays and scalars that Python has validated.

Nothing here checks its input: call `fastlin.functional`, `fastlin.train` or `fastlin.evaluate`
unless you do. Read in this order: `stored` (numbers as rows hold them), `simd`, `views`,
`elementary` and `unrolled` (vectors and parts of arrays as Numba values), `tiles` and `panels` (the
two matrix products for few and for many classes), `losses`, `features` and `optimizers` (what a
step is made of), then `sgd`, `grid`, `evaluate` and `gradients`, which put them together.

Time to compile counts: it is a newcomer's first minute. Arrays for scratch come from Python, so
that no kernel counts references; a small function that one kernel calls is a `pasted_kernel`; one
that several call with the same types is an `inline_kernel`, compiled once; and what is not a loop
over a tile asks for `small_code`. LLVM optimises every kernel with all that it calls.
"""

import importlib.metadata

from fastlin.errors import PackageError


def _installed(package: str) -> str:
    try:
        return importlib.metadata.version(package)
    except importlib.metadata.PackageNotFoundError:
        return "(not installed)"


# Modules above the kernels take these from here, where what does not fit is one clear error.
try:
    import llvmlite.binding
    import numba
except Exception as error:
    import numpy as np

    raise PackageError(
        f"Numba {_installed('numba')} cannot be used with NumPy {np.__version__} and llvmlite "
        f"{_installed('llvmlite')} ({' '.join(str(error).split())[:200]}); "
        "`pip install --force-reinstall numba` installs versions that fit together"
    ) from error

__all__ = ["llvmlite", "numba"]
