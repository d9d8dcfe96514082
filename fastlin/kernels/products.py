"""The two matrix products of a training step, by the number of classes.

The length of a `class_tile` says whether they are few (`tiles`) or many (`panels`), and it is a
type: what is not chosen is not compiled.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np

from fastlin.kernels import panels, tiles
from fastlin.kernels.jit import by_length
from fastlin.kernels.registers import VECTOR_BYTES

batch_scores = by_length("tile", tiles.MANY_TILE, panels.scores_of_many, tiles.scores_of_few)
batch_update = by_length("tile", tiles.MANY_TILE, panels.update_of_many, tiles.update_of_few)


def rows_of_block(rows: int, tile: tuple[int, ...]) -> int:
    """Return how many of a batch's rows are a block, for which scores and factors lie together.

    Of few classes it is the batch. The scores of many must stay in the caches while the features
    are taken in parts, and the factors while they pass by the panels of an update.
    """
    return panels.PANEL_ROWS if len(tile) == tiles.MANY_TILE else rows


class Scratch(NamedTuple):
    """Arrays of every member of a team for the products; sums and panels (members, size)."""

    sums: np.ndarray
    panels: np.ndarray


def new_scratch(members: int, tile: tuple[int, ...], dtype: np.dtype) -> Scratch:
    """Return the scratch arrays of so many members, for weights of a dtype."""
    lanes = VECTOR_BYTES // dtype.itemsize
    if len(tile) == tiles.MANY_TILE:
        sizes = panels.size_of_score_panels(tile, lanes), panels.size_of_update_panels(tile, lanes)
    else:
        sizes = tiles.size_of_sums(tile, lanes), 0
    return Scratch(*(tiles.aligned_zeros((members, size), dtype) for size in sizes))
