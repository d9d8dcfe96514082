"""The two matrix products of a training step, by the number of classes.

The length of a `class_tile` says whether they are few (`tiles`) or many (`panels`), and it is a
type: what is not chosen is not compiled.
"""

from __future__ import annotations

from fastlin.kernels import panels, tiles
from fastlin.kernels.jit import by_length

batch_scores = by_length("tile", tiles.MANY_TILE, panels.scores_of_many, tiles.scores_of_few)
batch_update = by_length("tile", tiles.MANY_TILE, panels.update_of_many, tiles.update_of_few)
scratch_sums = by_length("tile", tiles.MANY_TILE, panels.scratch_scores, tiles.scratch_sums)
scratch_panels = by_length("tile", tiles.MANY_TILE, panels.scratch_columns, tiles.no_scratch)
