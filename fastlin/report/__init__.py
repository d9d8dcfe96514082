"""The report: the reference study, or any runs, as one page that needs nothing beside it.

study       the experiments, conclusions and trials, as data
running     trains what the study asks for, and remembers what is done
statistics  paired differences, intervals and tests over seeds
findings    runs -> results, plain JSON values: every number that a page shows
folders     run and grid folders -> results of the same kind
pictures    results -> PNG images
page        results and pictures -> HTML and Markdown

Only `running` and `findings` load Numba. Jinja2 and SciPy come with the extra `report`.
"""

from __future__ import annotations

import importlib.util

from fastlin.errors import InputError

NEEDED = ("jinja2", "scipy")


def check_installed() -> None:
    """Raise `InputError` if a package that reports need is not installed."""
    missing = [name for name in NEEDED if importlib.util.find_spec(name) is None]
    if missing:
        raise InputError(
            f"fastlin report needs {' and '.join(missing)}; install with "
            "`pip install 'fastlin[report]'`"
        )
