"""How well predictions agree with labels."""

from __future__ import annotations

# Of more classes no table of all pairs is made: nobody could read it, and that of 20,000 has 3 GB.
MAX_CONFUSION_CLASSES = 1_000
