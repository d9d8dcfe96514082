"""Kernels that a command is going to need, compiled by a process beside it.

The first run on a kind of data compiles for seconds before it begins, and a process compiles one
kernel at a time. What is needed after the first kernel is compiled in a process of its own
meanwhile, and kept where the command looks for it. Where that fails in any way, the command
compiles it itself.
"""

from __future__ import annotations

import contextlib
import json
import os
import subprocess
import sys
from collections.abc import Callable, Iterator
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    import click

    from fastlin.training.trainer import Trainer

LEAST_CORES = 2  # on one core, both would take longer
_PATIENCE_SECONDS = 10.0

# The other process looks for modules where this one does, and nowhere else.
_CODE = """
import json, sys
given = json.load(sys.stdin)
sys.path[:] = given["path"]
from fastlin.commands import ahead
ahead.compile_kernels(given["needs"], given["parent"])
"""


def of_run(ctx: click.Context, trainer: Trainer) -> Beside:
    """Return what compiles the kernels of a run after its epochs; it ends with the command."""
    beside = Beside(lambda: needs_of(trainer))
    ctx.call_on_close(beside.end)
    return beside


def needs_of(trainer: Trainer) -> dict[str, Any]:
    """Return, as JSON values, what decides the types of the kernels of a run after its epochs."""
    rows, config = trainer.split.train, trainer.config
    return {
        "rows": rows.X.dtype.name,
        "scale": rows.scale,
        "weights": config.dtype,
        "classes": len(rows.class_names),
        "loss": config.to_dict()["loss"],
        "is_shifted": trainer.feature_offset is not None,
        "is_weighted": rows.weights is not None or config.class_weight is not None,
    }


class Beside:
    """A process that compiles what a command needs later, from the moment it compiles anything.

    Parameters
    ----------
    needs : Callable[[], dict[str, Any]]
        Returns what `needs_of` does; called if the process is started.
    """

    def __init__(self, needs: Callable[[], dict[str, Any]]) -> None:
        self._needs = needs
        self._process: subprocess.Popen[bytes] | None = None

    def start(self) -> None:
        """Start the process, if there is a core for it, and a place for what it compiles."""
        from fastlin.threads import default_count

        if self._process is not None or default_count() < LEAST_CORES or not sys.executable:
            return
        if not _are_kept():
            return
        given = {"path": sys.path, "needs": self._needs(), "parent": os.getpid()}
        with contextlib.suppress(OSError):
            self._process = subprocess.Popen(  # noqa: S603  (this Python, and code of our own)
                [sys.executable, "-P", "-c", _CODE],
                stdin=subprocess.PIPE, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL,
            )  # fmt: skip
            if self._process.stdin is not None:
                self._process.stdin.write(json.dumps(given).encode())
                self._process.stdin.close()

    def wait(self) -> None:
        """Wait until the process is done, and no longer than compiling anew would take."""
        if self._process is not None:
            with contextlib.suppress(subprocess.TimeoutExpired):
                self._process.wait(_PATIENCE_SECONDS)

    def end(self) -> None:
        """End the process if it is still there."""
        if self._process is not None:
            self._process.kill()
            self._process.wait()


def _are_kept() -> bool:
    """Return whether kernels are kept where another process finds them."""
    from fastlin.kernels.cache import cache_directory
    from fastlin.kernels.jit import source_digest

    folder = cache_directory(source_digest())
    return folder is not None and os.access(folder, os.W_OK)


def compile_kernels(needs: dict[str, Any], parent: int) -> None:
    """Compile, one after another, what a command needs, as long as it is there.

    Parameters
    ----------
    needs : dict[str, Any]
        Of `needs_of`.
    parent : int
        The number of the process whose needs they are.
    """
    for call in calls(needs):
        if os.getppid() != parent and os.name != "nt":
            return
        call()


def calls(needs: dict[str, Any]) -> Iterator[Callable[[], object]]:
    """Return calls that compile kernels, in the order in which a command needs them."""
    import numpy as np

    from fastlin import functional
    from fastlin.config import TrainConfig

    loss = TrainConfig.from_dict({"loss": needs["loss"]}).loss
    X, y = np.zeros((1, 1), needs["rows"]), np.zeros(1, np.int64)
    W = np.zeros((needs["classes"], 1), needs["weights"])
    b = np.zeros(len(W), W.dtype)
    reading = {
        "scale": needs["scale"],
        "offset": np.zeros(1) if needs["is_shifted"] else None,
    }
    yield lambda: functional.evaluate(X, y, W, b, loss=loss, **reading)
    yield lambda: functional.scores(X, W, b, **reading)
    yield lambda: functional.cross_entropy(functional.scores(X, W, b, **reading), y)
    weights = np.ones(1) if needs["is_weighted"] else None
    yield lambda: functional.loss_and_gradient(X, y, W, b, loss=loss, weights=weights, **reading)
