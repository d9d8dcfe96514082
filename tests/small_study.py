"""A study of a small data set, run in this process: what the tests of reports share."""

from contextlib import contextmanager
from dataclasses import replace

import numpy as np
import pytest
from command_line import small_images

import fastlin
from fastlin.report.study import experiments, findings

SEEDS, EPOCHS = 3, 2
HOSTILE = ("<script>alert(1)</script>", 'a|b & "c"', "$x_1$ *d*", "`e`", "</style><b> f' f")


class Silent:
    """A progress that only counts."""

    planned = done = 0

    def begin(self, rows):
        self.planned = rows

    def stage(self, title):
        pass

    def advance(self, rows, *, trained):
        self.done += rows


def write_images(path):
    """Write pixels of 2 x 3 RGB images in five classes, with all parts."""
    np.savez(path, class_names=np.array(HOSTILE), **small_images(noise=120, contrast=60))


@contextmanager
def published_as(split):
    """While in it, the published study is one of these data and so many epochs."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(experiments, "DATA_SHA256", split.fingerprint())
        patch.setattr(experiments, "EPOCHS", EPOCHS)
        yield


def study_of(data, folder, *, seeds=SEEDS, full=False, progress=None, client=None):
    """Return the study of a data file; with full, one with more training rows beside it."""
    split = fastlin.load_split(data)
    both = (split.train, split.val)
    X, y = (np.concatenate([getattr(part, name) for part in both]) for name in ("X", "y"))
    more = replace(split, train=replace(split.train, X=X, y=y))

    def command_of(experiment, config):
        return f"fastlin train --data '{' '.join(HOSTILE)}' --seed {config.seed}"

    source = findings.Source(
        lambda is_full: more if is_full else split, len(X) if full else 0, "fastlin report",
        command_of, lambda config, fitting: f"fastlin fit --l2 {config.l2} --gap {fitting.gap}",
    )  # fmt: skip
    return findings.Study(source, seeds, EPOCHS, None, folder, progress or Silent(), client)
