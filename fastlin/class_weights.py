"""How much the rows of each class count: none, balanced, or a weight for some classes by name.

It imports neither NumPy nor Numba.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from fastlin import settings
from fastlin.errors import InputError, quoted

BALANCED, NONE = "balanced", "none"

# As a configuration keeps them, so that it can be compared and hashed: pairs of class and weight.
Pairs = tuple[tuple[str, float], ...]
ClassWeight = str | Mapping[Any, float] | Pairs | None


def lists_words(value: object) -> bool:
    """Return whether a value is a text such as ``balanced,none``."""
    return isinstance(value, str) and {BALANCED, NONE}.issuperset(value.split(","))


class ClassWeights:
    """The kind of the setting `class_weight`."""

    def checked(self, name: str, value: object) -> str | Pairs | None:
        """Return None (also of the text ``"none"``), ``"balanced"``, or pairs by name.

        Raises
        ------
        InputError
            If it is none of them: a weight that is no finite number, 0 or above; all of them 0.
        """
        if value is None or (isinstance(value, str) and value in {BALANCED, NONE}):
            return BALANCED if value == BALANCED else None
        pairs: Any = value.items() if isinstance(value, Mapping) else value
        try:
            given = None if isinstance(pairs, str) else [(key, weight) for key, weight in pairs]
        except (TypeError, ValueError):  # no pairs
            given = None
        if not given:
            raise InputError(
                f"{name} is {quoted(value)}; it must be {BALANCED}, or weights by the name of the "
                "class"
            )
        weights = {_class_name(name, key): _weight(name, key, weight) for key, weight in given}
        if not any(weights.values()):
            raise InputError(f"{name} is 0 for all classes; at least one must count")
        return tuple(sorted(weights.items()))


def _class_name(name: str, key: object) -> str:
    if isinstance(key, str):
        return key
    try:  # labels that are integers name their classes by their digits
        return str(settings.whole_number(name, key, -(2**63)))
    except InputError:
        raise InputError(
            f"{name} has the class {quoted(key)}; classes are called by their names"
        ) from None


def _weight(name: str, key: object, value: object) -> float:
    number = settings.as_float(value)
    if not 0 <= number < math.inf:
        raise InputError(
            f"{name} of the class {quoted(key)} is {quoted(value)}; it must be a finite number, "
            "0 or above"
        )
    return number


def read_class_weights(path: str | Path) -> dict[str, float]:
    """Read the weights of classes from a file.

    Parameters
    ----------
    path : str or Path
        A .json file, an object of weights by the name of the class; or a .csv file of lines
        ``class,weight``, of which the first may be headings.

    Returns
    -------
    dict[str, float]

    Raises
    ------
    InputError
        If the file is missing or holds something else; it names the line.
    """
    from fastlin import files  # noqa: PLC0415  (loads NumPy)

    path = files.as_path(path)
    if path.suffix.lower() == ".json":
        content = files.read_json(path)
        if not isinstance(content, dict):
            raise InputError(f"{path} must hold an object of weights by the name of the class")
        return content
    found: dict[str, float] = {}
    for number, line in enumerate(files.read_csv(path), start=1):
        if len(line) != 2:
            raise InputError(
                f"{path}: line {number} has {len(line)} cells; it must be class,weight"
            )
        try:
            weight = files.parse_number(line[1].strip())
        except ValueError as error:
            if number == 1:
                continue  # headings
            raise InputError(f"{path}: line {number}: {error}") from None
        if line[0] in found:
            raise InputError(f"{path}: line {number}: the class {quoted(line[0])} is there twice")
        found[line[0]] = weight
    return found
