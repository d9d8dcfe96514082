"""Rows as images that can be drawn: without Jinja2, which pages need."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray


def as_pixels(X: NDArray[Any]) -> NDArray[np.uint8]:
    """Return rows as pixels: as they are, or each stretched from its least to its largest value."""
    if X.dtype == np.uint8:
        return X
    low, high = X.min(axis=1, keepdims=True), X.max(axis=1, keepdims=True)
    span = np.where(high > low, high - low, 1)
    return np.asarray(255 * (X - low) / span).round().astype(np.uint8)
