"""From which size of a step two threads beat one: `python -m benchmarks.break_even`.

`fastlin.engine.LEAST_WORK_OF_A_PIECE` is set by this: the multiply-adds that a thread must
have to do in a step before another one is called in.
"""

from __future__ import annotations

from collections.abc import Callable
from unittest.mock import patch

import click
import numpy as np

from benchmarks import machine
from benchmarks.peers import Fastlin
from benchmarks.problems import make_problem
from benchmarks.racing import Entry, race
from fastlin import engine
from fastlin.functional import use_threads

# (d, K, batch size), from a step too small for two threads to one that keeps both busy.
SHAPES = (
    (64, 10, 64),
    (64, 10, 256),
    (384, 10, 64),
    (384, 10, 256),
    (3072, 2, 100),
    (3072, 10, 32),
    (3072, 10, 64),
    (3072, 10, 128),
    (768, 100, 64),
    (768, 100, 256),
    (768, 1000, 256),
)
WORK = 2e8  # multiply-adds timed as one


@click.command()
@click.option("--rounds", type=click.IntRange(1), default=11, show_default=True)
def main(rounds: int) -> None:
    """Print, for steps of growing size, how much faster two threads are than one."""
    click.echo("\n".join(machine.header_lines()))
    click.echo(f"{'d':>5} {'K':>5} {'batch':>6} {'rows':>8} {'multiply-adds':>14} {'gain':>6}")
    shapes = sorted(SHAPES, key=np.prod)
    for d, K, batch_size in shapes:
        for row_dtype in (np.uint8, np.float32):
            gain = _gain(d, K, batch_size, row_dtype, rounds)
            work = d * K * batch_size
            click.echo(
                f"{d:5} {K:5} {batch_size:6} {np.dtype(row_dtype).name:>8} {work:14,} {gain:6.2f}"
            )


def _gain(d: int, K: int, batch_size: int, row_dtype: type, rounds: int) -> float:
    """Return the time of a step on one thread over that on two, both really used."""
    problem = make_problem(batch_size, d, K, batch_size=batch_size, row_dtype=row_dtype)
    steps = max(4, round(WORK / (d * K * batch_size)))
    peer = Fastlin(problem)

    def step_on(count: int) -> Callable[[], None]:
        def step() -> None:
            with use_threads(count):
                peer.repeat_batch(steps)

        return step

    with patch.object(engine, "LEAST_WORK_OF_A_PIECE", 1):
        entries = [Entry(str(count), step_on(count), count, peer.reset) for count in (1, 2)]
        for entry in entries:
            entry.run()  # compiles
        return race(entries, rounds).ratio("1", to="2")


if __name__ == "__main__":
    main(prog_name="python -m benchmarks.break_even")
