"""Interrupt commands at random moments, half of them while kernels are compiled.

    python -m tests.interrupts --count 200 --seed 0

Ctrl-C once, twice, or SIGTERM must end `train`, `grid` and `report` within a second (two while
compiling), with exit code 130 or 143 and no traceback, and must keep the finished epochs.
"""

import argparse
import contextlib
import os
import random
import signal
import subprocess
import sys
import tempfile
import time
from pathlib import Path

from fastlin import runs
from tests.kills import read_grid, read_run, write_data

ROOT = Path(__file__).parent.parent
COMMANDS = {
    "train": ("train", "--data", "t.npz", "--epochs", "3000", "--lr", "0.05"),
    "grid": ("grid", "--data", "t.npz", "--lr", "0.02,0.1", "--epochs", "3000"),
    "report": ("report", "--seeds", "3", "--epochs", "40"),
}
HOW = ("SIGINT", "SIGINT twice", "SIGTERM")
WARM_SECONDS, COMPILING_SECONDS = 1.0, 2.0
STARTING = 0.4  # seconds in which Python itself begins, and has no handler of signals yet


def interrupt(place, name, how, cache, delay, second):
    """Send signals to a command; return its exit code, the seconds it took, and its messages."""
    out = place / "out"
    environment = {**os.environ, "PYTHONPATH": str(ROOT), "NUMBA_CACHE_DIR": str(cache)}
    with subprocess.Popen(
        [sys.executable, "-m", "fastlin", *COMMANDS[name], "--out", str(out)], cwd=place,
        env=environment, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True,
    ) as running:  # fmt: skip
        with contextlib.suppress(subprocess.TimeoutExpired):
            running.wait(delay)
        sent = time.monotonic()
        was_running = running.poll() is None
        running.send_signal(signal.SIGTERM if how == "SIGTERM" else signal.SIGINT)
        if how == "SIGINT twice":
            with contextlib.suppress(subprocess.TimeoutExpired):
                running.wait(second)
            running.send_signal(signal.SIGINT)
        try:
            _, errors = running.communicate(timeout=30)
        except subprocess.TimeoutExpired:
            running.kill()
            _, errors = running.communicate()
    return was_running, running.returncode, time.monotonic() - sent, errors


def faults(name, how, place, code, seconds, limit, errors):
    """Say what is wrong with how a command ended."""
    expected = 143 if how == "SIGTERM" else 130
    if code != expected:
        yield f"exit {code} instead of {expected}: {errors.strip()[-300:]}"
    if "Traceback" in errors or "Exception ignored" in errors:
        yield f"a traceback: {errors.strip()[-300:]}"
    if seconds > limit:
        yield f"ended after {seconds:.1f} s"
    out = place / "out"
    if name == "train" and (out / runs.CONFIG).exists():
        read_run(out, 3000)
        finished = [line for line in errors.splitlines() if line.startswith("epoch ")]
        if finished and not (out / runs.MODEL).exists():
            yield "finished epochs are lost"
    if name == "grid" and out.exists():
        read_grid(out)


def main():
    """Run the program."""
    parser = argparse.ArgumentParser(prog="python -m tests.interrupts", description=__doc__)
    parser.add_argument("--count", type=int, default=200)
    parser.add_argument("--seed", type=int, default=0)
    options = parser.parse_args()
    signal.signal(signal.SIGINT, signal.default_int_handler)  # a job in the background ignores it
    rng, wrong, sent, longest = random.Random(options.seed), 0, 0, {False: 0.0, True: 0.0}
    with tempfile.TemporaryDirectory() as folder:
        kept = Path(folder) / "cache"
        for number in range(options.count):
            name, how = rng.choice(list(COMMANDS)), rng.choice(HOW)
            is_cold = number % 2 == 1
            place = Path(folder) / str(number)
            place.mkdir()
            write_data(place / "t.npz")
            if number < len(COMMANDS) and not is_cold:  # kernels are kept for the others
                name, delay = list(COMMANDS)[number], 60.0
            else:
                delay = rng.uniform(STARTING, 15.0 if is_cold else 4.0)
            cache = place / "cache" if is_cold else kept
            was_running, code, seconds, errors = interrupt(
                place, name, how, cache, delay, rng.uniform(0.05, 1.5)
            )
            if not was_running:
                continue
            sent += 1
            is_compiling = is_cold or number < len(COMMANDS)  # the first compile for the others
            longest[is_compiling] = max(longest[is_compiling], seconds)
            limit = COMPILING_SECONDS if is_compiling else WARM_SECONDS
            for fault in faults(name, how, place, code, seconds, limit, errors):
                wrong += 1
                print(f"{number}: {name}, {how} after {delay:.2f} s"
                      f"{', compiling' if is_cold else ''}: {fault}", flush=True)  # fmt: skip
            if (number + 1) % 20 == 0:
                print(f"{number + 1} of {options.count}: {wrong} faults", flush=True)
    print(f"{sent} commands were interrupted, {wrong} faults; the longest took "
          f"{longest[False]:.2f} s, and {longest[True]:.2f} s while compiling")  # fmt: skip
    return 1 if wrong else 0


if __name__ == "__main__":
    sys.exit(main())
