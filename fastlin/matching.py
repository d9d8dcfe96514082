"""Whether rows are what a classifier was trained on: classes, features, images, scale, content.

What cannot be right is refused. What may be right is a note: a sentence for people to read.
"""

from __future__ import annotations

import reprlib
import warnings
from collections.abc import Sequence
from dataclasses import replace
from typing import TYPE_CHECKING, Any, TypeAlias

import numpy as np
from numpy.typing import NDArray

from fastlin.data.checks import default_scale
from fastlin.data.dataset import Dataset, Split
from fastlin.data.feature_names import order_note
from fastlin.data.features import FeatureRange
from fastlin.data.rows import Rows
from fastlin.errors import InputError, MatchWarning, counted

if TYPE_CHECKING:
    from fastlin.data.source import DataReference
    from fastlin.model import LinearModel

FAR = 10.0  # times the range of the training features
ENOUGH_VALUES = 1000  # to tell from their range that all of them are small
PIXEL_SCALE = 1 / 255
PIXEL_MARGIN = 0.1  # by which floats may leave 0 to 1 and still be scaled pixels

_SHOWN_NAMES = 5

ImageShape: TypeAlias = tuple[int, int, int] | None


def match(model: LinearModel, data: Dataset) -> tuple[Dataset, list[str]]:
    """Return labelled rows in terms of a model's classes, and what its user should know.

    Features are matched by name where both have names, else by number.

    Parameters
    ----------
    model : LinearModel
        The classifier.
    data : Dataset
        Rows and labels; left as they are.

    Returns
    -------
    matched : Dataset
        The same rows, with features, labels and class names in the order of the model's: `data`
        itself if they are so already.
    notes : list of str
        A sentence for each thing that may be wrong, or was changed.

    Raises
    ------
    InputError
        If the number of features or the image shape are others, features that the model knows by
        name are missing, or a row is of a class that it does not know.
    """
    (matched,), notes = _match_parts(model, [data])
    return matched, notes


def match_split(model: LinearModel, split: Split) -> tuple[Split, list[str]]:
    """Return every part of a split as `match` does, and the notes, each once."""
    parts, notes = _match_parts(model, list(split.parts().values()))
    named: dict[str, Any] = dict(zip(split.parts(), parts, strict=True))
    if named == split.parts():
        return split, notes
    return replace(split, **named), notes


def matched(model: LinearModel, data: Dataset) -> Dataset:
    """Return rows as `match` does; each note is a `MatchWarning` at the caller's caller."""
    found, notes = match(model, data)
    for note in notes:
        warnings.warn(note, MatchWarning, stacklevel=3)
    return found


def match_rows(model: LinearModel, rows: Rows) -> tuple[Rows, list[str]]:
    """Return unlabelled rows with their features in the order of a model's, and notes as `match`.

    Raises
    ------
    InputError
        If the number of features or the image shape are not those of the model, or features that
        it knows by name are missing.
    """
    try:
        matched = rows.with_features(model.feature_names, "the model")
        check_feature_count(model, matched.feature_count)
        _check_image_shape(model, matched.image_shape)
    except InputError as error:
        raise InputError(f"{rows.name}: {error}") from None
    notes = [_layout_note(model, matched.image_shape)]
    if matched is not rows:
        notes.append(order_note(rows.feature_names, model.feature_names))
    if model.feature_range is not None:
        found = matched.feature_range(model.scale)
        notes.append(scale_note(model.feature_range, found, rows.X.size))
    return matched, [note for note in notes if note is not None]


def warn_of_scale(model: LinearModel, X: NDArray[Any], stacklevel: int) -> None:
    """Warn, so many callers up, if rows X (n, d) are on another scale than a model's."""
    if model.feature_range is not None:
        scale = default_scale(X.dtype) if model.scale is None else model.scale
        found = FeatureRange.of(X, scale)
        note = scale_note(model.feature_range, found, X.size)
        if note is not None:
            warnings.warn(note, MatchWarning, stacklevel=stacklevel + 1)


def check_feature_count(model: LinearModel, count: int) -> None:
    """Raise `InputError` if rows of so many features are not what a model takes."""
    expected = model.W.shape[1]
    if count != expected:
        raise InputError(
            f"the rows have {counted(count, 'feature')}, but the model takes {expected}"
        )


def change_note(reference: DataReference, split: Split) -> str | None:
    """Return a sentence if a run's data are not those that it was trained on; else None.

    Nothing is said where the reference holds no digest: that of a run that was ended by force.
    """
    if reference.sha256 is None or reference.sha256 == split.fingerprint():
        return None
    return (
        f"the data {reference.data!r} have changed since the run was trained: what is there now "
        "is not what it was trained on"
    )


def scale_note(trained: FeatureRange, found: FeatureRange, value_count: int) -> str | None:
    """Return a sentence if features are on another scale than those trained on; else None.

    Parameters
    ----------
    trained, found : FeatureRange
        Of the training rows, and of those to be judged.
    value_count : int
        How many values are judged: a few may all be small by chance.
    """
    if {trained.scale, found.scale} == {PIXEL_SCALE, 1.0}:
        floats = trained if found.scale != 1 else found
        if floats.lowest < -PIXEL_MARGIN or floats.highest > 1 + PIXEL_MARGIN:
            return _pixel_note(trained, found)
    reach = FAR * (trained.highest - trained.lowest)
    is_beyond = reach > 0 and (
        found.high > trained.highest + reach or found.low < trained.lowest - reach
    )
    is_small = (
        value_count >= ENOUGH_VALUES
        and 0 < FAR * (found.highest - found.lowest) < trained.high - trained.low
    )
    if not (is_beyond or is_small):
        return None
    return (
        f"the features are on another scale than those trained on: most lie from {found.low:.4g} "
        f"to {found.high:.4g}, those trained on from {trained.low:.4g} to {trained.high:.4g}"
    )


def _pixel_note(trained: FeatureRange, found: FeatureRange) -> str:
    """Say that floats and uint8 pixels, which are divided by 255, do not go together."""
    if found.scale != 1:
        return (
            "the rows are uint8 pixels, read as features from 0 to 1 (pixel / 255), but the model "
            f"was trained on floats from {trained.lowest:.4g} to {trained.highest:.4g}: give it "
            "floats on that scale"
        )
    return (
        f"the rows are floats from {found.lowest:.4g} to {found.highest:.4g}, but the model was "
        "trained on uint8 pixels, read as features from 0 to 1 (pixel / 255): divide by 255 what "
        "goes from 0 to 255, or store it as uint8"
    )


def _match_parts(model: LinearModel, parts: Sequence[Dataset]) -> tuple[list[Dataset], list[str]]:
    """Match data sets that have features, classes and image shape in common."""
    first = parts[0]
    notes: list[str | None] = []
    if first.feature_names is None or model.feature_names is None:
        check_feature_count(model, first.X.shape[1])
    elif first.feature_names != model.feature_names:
        names = model.feature_names
        parts = [data.with_features(names, whose="the model") for data in parts]
        notes.append(order_note(first.feature_names, names))
        first = parts[0]
    _check_image_shape(model, first.image_shape)
    notes.append(_layout_note(model, first.image_shape))
    if first.scale is None and model.scale not in {None, first.feature_scale}:
        parts = [data.changed(scale=model.scale) for data in parts]
        notes.append(f"stored values are multiplied by {model.scale:.6g}, as in training")
    if first.class_names == model.class_names:
        found = list(parts)
    else:
        places = _places(model, parts)
        found = [replace(data, y=places[data.y], class_names=model.class_names) for data in parts]
        notes.append(_class_note(model.class_names, first.class_names))
    if model.feature_range is not None:
        scales = (
            scale_note(model.feature_range, data.feature_range, data.X.size) for data in parts
        )
        notes.append(next((note for note in scales if note is not None), None))
    return found, [note for note in notes if note is not None]


def _check_image_shape(model: LinearModel, shape: ImageShape) -> None:
    if None not in (model.image_shape, shape) and model.image_shape != shape:
        raise InputError(
            f"the rows are images of the shape {shape}, but the model was trained on "
            f"images of the shape {model.image_shape} (channels, height, width)"
        )


def _layout_note(model: LinearModel, theirs: ImageShape) -> str | None:
    """Say what must hold where only one side is known to be of images in color."""
    ours = model.image_shape
    shape = ours or theirs
    if shape is None or shape[0] == 1 or (ours is not None and theirs is not None):
        return None  # pixels of one channel have one order only
    if theirs is None:
        who = f"the model was trained on images of the shape {shape}, but the rows have no shape"
        what = "the rows"
    else:
        who = f"the rows are images of the shape {shape}, but the model was trained on rows"
        what = "those rows"
    return (
        f"{who}: that is right if {what} hold channel after channel (channels, height, width), and "
        "wrong if they were flattened from (height, width, channels)"
    )


def _places(model: LinearModel, parts: Sequence[Dataset]) -> NDArray[np.int64]:
    """Return the model's class number of every class of the data, -1 if it has none."""
    names = parts[0].class_names
    for whose, those in (("the model", model.class_names), ("the data", names)):
        if len(set(those)) < len(those):
            twice = next(name for name in those if those.count(name) > 1)
            raise InputError(
                f"the classes of the data and the model differ, and cannot be matched by name: "
                f"{whose} has two classes {reprlib.repr(twice)}"
            )
    number_of = {name: number for number, name in enumerate(model.class_names)}
    places = np.array([number_of.get(name, -1) for name in names], np.int64)
    used = np.zeros(len(names), bool)
    for data in parts:
        used[data.y] = True
    unknown = [names[number] for number in np.flatnonzero(used & (places < 0))]
    if unknown:
        numbered = names == tuple(str(number) for number in range(len(names)))
        hint = "; classes without names are called by number, give them names" if numbered else ""
        raise InputError(
            f"the data have rows of the class {_listed(unknown)}, which the model does not know; "
            f"it knows {_listed(model.class_names)}{hint}"
        )
    return places


def _class_note(ours: Sequence[str], theirs: Sequence[str]) -> str:
    """Say how the classes of the data differ from the model's, and that this is taken care of."""
    known, missing = set(ours), set(theirs)
    common = [name for name in theirs if name in known]
    missing_names = [name for name in ours if name not in missing]
    differences = []
    if common != [name for name in ours if name in missing]:
        differences.append("are in another order")
    if missing_names:
        differences.append(f"lack {_listed(missing_names)}")
    if len(common) < len(theirs):
        differences.append("have names of no row")
    return f"classes are matched by name: those of the data {' and '.join(differences)}"


def _listed(names: Sequence[str]) -> str:
    """Return names in quotes, each shortened, and of many the first."""
    shown = ", ".join(reprlib.repr(name) for name in names[:_SHOWN_NAMES])
    more = len(names) - _SHOWN_NAMES
    return f"{shown} and {more} more" if more > 0 else shown
