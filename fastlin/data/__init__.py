"""Where data comes from; every source ends in one record, `Split`."""

from fastlin.data.catalog import load_split
from fastlin.data.dataset import Dataset, Split

__all__ = ["Dataset", "Split", "load_split"]
