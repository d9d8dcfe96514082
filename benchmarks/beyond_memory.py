"""Rows that stay in a file beside the same rows in memory: `python -m benchmarks.beyond_memory`.

Every measurement is a process of its own. The file is in the system's cache, which has read it just
before: what counts is what reading in blocks costs beside the arithmetic, not the disk. Peaks are
of memory that is no part of a file: the system may take back pages of files at any time.
"""

from __future__ import annotations

import json
import subprocess
import sys
import tempfile
from operator import attrgetter
from pathlib import Path
from typing import NamedTuple

import click
import numpy as np

from benchmarks import plots
from benchmarks.machine import describe, header_lines

# Trains an epoch and takes passes of an exact fit, after one of each that is not timed.
_CHILD = """
import json, os, sys, threading, time
folder, where, memory, batch_size, threads = *sys.argv[1:4], *map(int, sys.argv[4:6])
peak, is_over = 0, threading.Event()
def anonymous():
    with open("/proc/self/status") as status:
        return next(int(line.split()[1]) for line in status if line.startswith("RssAnon"))
def watch():
    global peak
    while not is_over.wait(0.005):
        peak = max(peak, anonymous())
threading.Thread(target=watch, daemon=True).start()
import numpy as np
import fastlin
if where == "memory":
    X, y = np.load(folder + "/X.npy"), np.load(folder + "/y.npy")
    split = fastlin.Split.from_arrays(X, y)
else:
    split = fastlin.load_split(folder + "/X.npy", labels=folder + "/y.npy", memory=memory)
trainer = fastlin.Trainer(
    split, fastlin.TrainConfig(lr=0.01, l2=0, batch_size=batch_size, standardize=False), threads,
    eval_train_every=0,
)
trainer.compile()
seconds = []
for _ in range(2):
    began = time.perf_counter()
    trainer.run_epoch()
    seconds.append(time.perf_counter() - began)
steps = []
fastlin.solve(
    split, l2=1e-4, max_passes=6, threads=threads,
    progress=lambda step: steps.append((step.passes, step.seconds)),
)
passes, took = (last - first for first, last in zip(steps[0], steps[-1]))
is_over.set()
print(json.dumps({"epoch": min(seconds), "pass": took / passes, "peak": 1024 * peak}))
"""


class Shape(NamedTuple):
    """Rows of one kind: features, classes, and rows of a step."""

    name: str
    d: int
    K: int
    batch_size: int


SHAPES = {
    "narrow": Shape("64 features, 10 classes", 64, 10, 256),
    "many": Shape("768 features, 1,000 classes", 768, 1000, 1024),
}
DEFAULT_ROWS = {"narrow": (100_000, 1_000_000, 10_000_000), "many": (20_000, 128_000)}


_TIMED = {"an epoch of SGD": "epoch", "a pass of an exact fit": "pass"}


class Measured(NamedTuple):
    """Seconds of an epoch and of a pass, and bytes of memory, of rows in memory and in a file."""

    shape: str
    rows: int
    bytes: int
    in_memory: dict[str, float]
    in_file: dict[str, float]


def write_rows(folder: Path, shape: Shape, rows: int) -> int:
    """Write float16 rows and labels, part after part, and return the bytes of the rows."""
    rng = np.random.default_rng(0)
    centres = rng.standard_normal((shape.K, shape.d), np.float32)
    X = np.lib.format.open_memmap(
        folder / "X.npy", mode="w+", dtype=np.float16, shape=(rows, shape.d)
    )
    y = rng.integers(0, shape.K, rows)
    for first in range(0, rows, 100_000):
        of_part = y[first : first + 100_000]
        noise = rng.standard_normal((len(of_part), shape.d), np.float32)
        X[first : first + len(of_part)] = 0.3 * centres[of_part] + noise
    X.flush()
    np.save(folder / "y.npy", y.astype(np.int32))
    return X.nbytes


def measure(shape: Shape, rows: int, memory: str, threads: int) -> Measured:
    """Measure rows of a kind, in memory and in a file."""
    with tempfile.TemporaryDirectory() as folder:
        size = write_rows(Path(folder), shape, rows)
        found = []
        for where in ("memory", "file"):
            command = [
                sys.executable, "-c", _CHILD, folder, where, memory, str(shape.batch_size),
                str(threads),
            ]  # fmt: skip
            done = subprocess.run(command, capture_output=True, text=True, check=False)
            if done.returncode:
                raise click.ClickException(f"{where}: {done.stderr.strip().splitlines()[-1]}")
            found.append(json.loads(done.stdout))
    return Measured(shape.name, rows, size, *found)


def table(found: list[Measured], memory: str) -> list[str]:
    """Return the lines of a table."""
    other = f"with memory {memory}"
    names = "million rows/s, epoch", "million rows/s, pass", "peak MB"
    columns = ["rows", "MB", *(text for name in names for text in (name, other))]
    lines = [f"| {' | '.join(columns)} |", "|---" * len(columns) + "|"]
    for one in found:
        rates = [
            f"{one.rows / 1e6 / where[what]:.3g}"
            + (f" ({one.in_memory[what] / where[what]:.0%})" if where is one.in_file else "")
            for what in ("epoch", "pass")
            for where in (one.in_memory, one.in_file)
        ]
        peaks = [f"{where['peak'] / 1e6:,.0f}" for where in (one.in_memory, one.in_file)]
        lines.append(
            f"| {one.rows:,} of {one.shape} | {one.bytes / 1e6:,.0f} | "
            + " | ".join([*rates, *peaks]) + " |"
        )  # fmt: skip
    return lines


def _growths(name: str, found: list[Measured]) -> list[plots.Growth]:
    """Return how rows of a kind grow, in memory and in a file."""
    own = [one for one in found if one.shape == SHAPES[name].name]
    return [
        plots.Growth(
            f"{SHAPES[name].name}, in {where}",
            [one.rows for one in own],
            {what: [of(one)[key] for one in own] for what, key in _TIMED.items()},
            [of(one)["peak"] / 1e6 for one in own],
        )
        for where, of in (
            ("memory", attrgetter("in_memory")),
            ("a file", attrgetter("in_file")),
        )
    ]


@click.command()
@click.option("--only", "names", multiple=True, type=click.Choice(list(SHAPES)))
@click.option("--rows", "counts", multiple=True, type=click.IntRange(1000))
@click.option("--memory", default="500MB", show_default=True)
@click.option("--threads", default=2, type=click.IntRange(1), show_default=True)
@click.option(
    "--out",
    type=click.Path(path_type=Path, dir_okay=False),
    help="Write the table there, and beside it its picture, and all figures as .json.",
)
def main(
    names: tuple[str, ...], counts: tuple[int, ...], memory: str, threads: int, out: Path | None
) -> None:
    """Measure what it costs to leave rows in a file, and what memory that saves."""
    for line in header_lines():
        click.echo(line)
    found = []
    for name in names or SHAPES:
        for rows in counts or DEFAULT_ROWS[name]:
            found.append(measure(SHAPES[name], rows, memory, threads))
            click.echo("\n".join(["", *table(found[-1:], memory)]))
    if out is not None:
        about = describe()
        figure = plots.growth([one for name in names or SHAPES for one in _growths(name, found)])
        figure.savefig(out.with_suffix(".png"), dpi=150)
        page = f"""# Rows that stay in a file

Written by `python -m benchmarks.beyond_memory --out`. Peaks are of memory that is no part of a
file. Rows of less than half of the memory are not read in blocks, but mapped.

![Seconds and memory over the number of rows]({out.with_suffix(".png").name})

{chr(10).join(table(found, memory))}

{about["cpu"]}, {about["cores"]} cores, {about["simd"]}; {threads} threads.
"""
        out.write_text(page, encoding="utf-8")
        content = {"machine": about, "memory": memory, "cases": [one._asdict() for one in found]}
        out.with_suffix(".json").write_text(json.dumps(content, indent=1) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
