"""What SGD loses where it shuffles within windows: `python -m benchmarks.windows`.

Rows in files are shuffled within windows of as many rows as memory holds. Here all training images
of CIFAR-10 are trained on in the order of their files, and sorted by class (the hard case), with
windows of a tenth and of a fiftieth of the rows, and of all: the same seeds, compared seed by seed.
"""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import click
import numpy as np

import fastlin
from benchmarks.log import Log
from fastlin.config import TrainConfig
from fastlin.data.dataset import Split
from fastlin.report.statistics import LEVEL, Sample, paired_difference
from fastlin.training.grid import GridTrainer

_PARTS = 10, 50


def accuracies(split: Split, window: int, seeds: int, epochs: int) -> list[float]:
    """Return the accuracy on the test rows after training with every seed."""
    base = TrainConfig(lr=0.01, l2=1e-3, batch_size=64, epochs=epochs, window=window)
    trainer = GridTrainer(
        split, [replace(base, seed=seed) for seed in range(seeds)], eval_train_every=0
    )
    for epoch in range(epochs):
        trainer.run_epoch(range(seeds), range(seeds) if epoch == epochs - 1 else [])
    return [float(trainer.history(e).val_accuracy[-1]) for e in range(seeds)]


@click.command()
@click.option("--seeds", default=10, type=click.IntRange(3), show_default=True)
@click.option("--epochs", default=10, type=click.IntRange(1), show_default=True)
@click.option("--out", type=click.Path(path_type=Path, dir_okay=False), help="Keep the output.")
def main(seeds: int, epochs: int, out: Path | None) -> None:
    """Compare windows with a shuffle of all rows, over seeds."""
    log = Log()
    split = fastlin.load_split("cifar10", split="full")
    assert split.test is not None  # CIFAR-10 has test rows
    by_class = np.argsort(split.train.y, kind="stable")
    n = len(split.train)
    log.say(f"\n{n:,} images, {epochs} epochs, {seeds} seeds: accuracy on the test rows")
    log.say(f"\n| rows | window | accuracy | more than all shuffled, {LEVEL:.0%} interval |")
    log.say("|---|---|---|---|")
    for name, rows in (("as in the files", np.arange(n)), ("sorted by class", by_class)):
        own = Split(split.name, split.train.chosen(rows), split.test)
        whole = accuracies(own, 0, seeds, epochs)
        log.say(f"| {name} | all | {_cell(whole)} | |")
        for part in _PARTS:
            found = accuracies(own, n // part, seeds, epochs)
            interval = paired_difference(whole, found).interval
            shown = "-" if interval is None else "{:+.2%} to {:+.2%}".format(*interval)
            log.say(f"| {name} | {n // part:,} | {_cell(found)} | {shown} |")
    if out is not None:
        log.save(out)


def _cell(values: list[float]) -> str:
    sample = Sample.of(values)
    return f"{sample.mean:.2%} ± {sample.sd:.2%}"


if __name__ == "__main__":
    main()
