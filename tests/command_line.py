"""What the tests of several commands share."""

import json
from pathlib import Path

import numpy as np
from click.testing import CliRunner

from fastlin.commands import main

ROOT = Path(__file__).parent.parent


def call(*arguments, code=0, begun=False):
    """Run a command in this process; an error must be one line, unless work had begun."""
    result = CliRunner().invoke(main, [str(argument) for argument in arguments])
    if result.exception is not None and not isinstance(result.exception, SystemExit):
        raise result.exception
    assert result.exit_code == code, result.output
    if code == 2:
        assert result.stdout == ""
        lines = result.stderr.splitlines()
        assert lines[-1].startswith("Error: ")
        assert begun or len(lines) == 1
    return result


def small_images(*, noise, contrast, parts=(("train", 150), ("val", 40), ("test", 30))):
    """Return arrays of an .npz file: pixels of 2 x 3 RGB images, 0 to 255.

    There are five classes, as many as a tile of ten has: the kernels are those of other tests.
    """
    rng = np.random.default_rng(0)
    arrays = {}
    for part, n in parts:
        y = rng.integers(0, 5, n)
        bright = np.eye(5, 6, dtype=int)[y].reshape(n, 2, 3, 1)
        X = rng.integers(0, noise, (n, 2, 3, 3)) + contrast * bright
        arrays |= {f"X_{part}": X.astype(np.uint8), f"y_{part}": y}
    return arrays


def summary(folder):
    return json.loads((Path(folder) / "summary.json").read_text())


def same_run(first, second):
    """Assert that two run folders have the same history and weights, bit for bit."""
    assert (Path(first) / "history.csv").read_bytes() == (Path(second) / "history.csv").read_bytes()
    with np.load(Path(first) / "model.npz") as ours, np.load(Path(second) / "model.npz") as theirs:
        assert set(ours) == set(theirs)
        for name in ours:
            assert ours[name].tobytes() == theirs[name].tobytes(), name
