"""Packages that are not needed by all of fastlin: loaded when a function needs them."""

from __future__ import annotations

import importlib
from types import ModuleType

from fastlin.errors import PackageError, reason_of


def load(name: str, extra: str | None, purpose: str) -> ModuleType:
    """Import a module that comes with fastlin's extras, and return it.

    Parameters
    ----------
    name : str
        Of the module, such as ``pyarrow.parquet``.
    extra : str or None
        Which extra brings it, such as ``export``; None if none does.
    purpose : str
        What needs it, for the message.

    Raises
    ------
    PackageError
        If it is not installed, or cannot be imported.
    """
    package = name.partition(".")[0]
    try:
        return importlib.import_module(name)
    except ImportError as error:
        is_missing = isinstance(error, ModuleNotFoundError) and error.name == package
        why = "" if is_missing else f", which cannot be imported ({reason_of(error)})"
        raise PackageError(
            f"{purpose} needs {package}{why}: pip install "
            f"{package if extra is None else repr(f'fastlin[{extra}]')}"
        ) from None
