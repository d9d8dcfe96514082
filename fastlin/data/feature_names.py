"""The names of features: columns of tables are matched by them, as scikit-learn does."""

from __future__ import annotations

import warnings
from collections.abc import Iterable, Mapping, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from fastlin.errors import DataWarning, InputError, listed, quoted

if TYPE_CHECKING:
    from fastlin.data.dataset import Dataset

FeatureNames = tuple[str, ...] | None  # one a column; None where they are not known

ORDER_NOTE = "features are matched by name: those of the data are in another order"


def check_feature_names(names: Iterable[str], feature_count: int) -> tuple[str, ...]:
    """Return the names of features as a tuple of plain text.

    Raises
    ------
    InputError
        If they are not one text for each feature, or two are the same.
    """
    try:
        found = () if isinstance(names, str) else tuple(names)
    except TypeError:
        found = ()
    if len(found) != feature_count or not all(isinstance(name, str) for name in found):
        raise InputError(
            f"feature_names is {quoted(names)}; it must be a list of {feature_count:,} texts, one "
            "for each feature"
        )
    texts = tuple(map(str, found))
    if len(set(texts)) < len(texts):
        places: dict[str, int] = {}
        for place, name in enumerate(texts):
            first = places.setdefault(name, place)
            if first != place:
                raise InputError(
                    f"the features {first} and {place} are both called {quoted(name)}; every "
                    "feature needs a name of its own"
                )
    return texts


def names_of(values: object) -> FeatureNames:
    """Return the names of the columns of a DataFrame or a table.

    None of what has none: an array, columns that are called by numbers, or on several levels.

    Raises
    ------
    InputError
        If some columns are called by text and others are not, or two are called the same.
    """
    for attribute in ("column_names", "columns"):  # of pyarrow; of pandas and polars
        try:
            names = tuple(getattr(values, attribute, ()))
        except TypeError:
            continue
        is_text = [isinstance(name, str) for name in names]
        if all(is_text) and names:
            return check_feature_names(names, len(names))
        if any(is_text):
            place = is_text.index(False)
            raise InputError(
                f"column {place} is called {quoted(names[place])}, which is no text, and others "
                "are called by text; features are matched by name: name all of them by text"
            )
    return None


def column_order(
    names: FeatureNames, wanted: FeatureNames, rows: str, whose: str, *, can_have_more: bool = False
) -> NDArray[np.int64] | None:
    """Return which columns of rows are the wanted features, in their order.

    Parameters
    ----------
    names, wanted : tuple[str, ...] or None
        Of the columns that there are, and of the features.
    rows, whose : str
        What the rows are, and whose the wanted features are, for messages.
    can_have_more : bool
        Whether there may be other columns, which are left out.

    Returns
    -------
    NDArray[np.int64] or None
        (d,) numbers of columns; None where the columns are in that order, or one side has no names
        and they are taken by number.

    Raises
    ------
    InputError
        If names are missing, or there are others that may not be; the message has them.
    """
    if names is None or wanted is None or names == wanted:
        return None
    place_of = {name: place for place, name in enumerate(names)}
    known = set(wanted)
    missing = [name for name in wanted if name not in place_of]
    others = [name for name in names if name not in known]
    if can_have_more and not missing:
        others = []
    differences = []
    if missing:
        differences.append(f"lack {listed(missing)}")
    if others:
        differences.append(f"have {listed(others)}")
    if differences:
        raise InputError(
            f"{rows} have other features than {whose}: they {' and '.join(differences)}; features "
            "are matched by name: rename the columns, or give rows without names, which are taken "
            "in their order"
        )
    return np.array([place_of[name] for name in wanted], np.int64)


def order_note(names: FeatureNames, wanted: FeatureNames) -> str:
    """Return the sentence that says what `column_order` changed: order, or other columns."""
    known = set(wanted or ())
    others = [name for name in names or () if name not in known]
    return left_out_note(others) if others else ORDER_NOTE


def left_out_note(others: Sequence[str]) -> str:
    """Return the sentence that says which columns a model does not know."""
    return f"features are matched by name: left out {listed(others)}, which the model does not have"


def select_columns(values: Any, names: tuple[str, ...]) -> Any:
    """Return the columns of these names, in their order, of a DataFrame or a table.

    A selection has the type of the whole: pandas, polars and pyarrow have one of the two ways.
    Of what has neither it is an array.
    """
    for method in ("select", "__getitem__"):
        if hasattr(values, method):
            return getattr(values, method)(list(names))
    every = list(names_of(values) or ())
    return np.take(np.asarray(values), [every.index(name) for name in names], axis=1)


def in_one_order(name: str, parts: Mapping[str, Dataset]) -> dict[str, Dataset]:
    """Return the parts of a split with their columns in the order of the first that has names.

    Parts without names get those; parts with another number of columns are left as they are. What
    is put into another order is a `fastlin.errors.DataWarning`.

    Parameters
    ----------
    name : str
        Of the split, for messages.
    parts : Mapping[str, Dataset]

    Raises
    ------
    InputError
        If both of two parts have names, and not the same.
    """
    first = next((part for part, data in parts.items() if data.feature_names is not None), None)
    if first is None:
        return dict(parts)
    names = parts[first].feature_names or ()
    found: dict[str, Dataset] = {}
    for part, data in parts.items():
        found[part] = data
        if data.feature_names is not None or data.X.shape[1] == len(names):
            described = f"{part} rows", f"the {first} rows"
            column_order(data.feature_names, names, *described)  # refuses other columns
            found[part] = data.with_features(names, *described)
        if found[part].X is not data.X:
            warnings.warn(f"{name}, {part}: {ORDER_NOTE}", DataWarning, stacklevel=4)
    return found
