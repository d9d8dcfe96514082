"""Kill commands at random moments, and look at what they leave.

    python -m tests.kills --count 200 --seed 0 [--command train|grid]

Every file that a killed command leaves must be readable, the next command must take away its
temporary files, and a grid that was killed and resumed must end with the bytes of one that was not.
"""

import argparse
import contextlib
import os
import random
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import numpy as np

from fastlin import files, runs
from fastlin.errors import InputError
from fastlin.search import journal, request

ROOT = Path(__file__).parent.parent
# The command line, with a journal that is written after every epoch, so that kills find it open.
OFTEN = (
    "import sys; from fastlin.search import checkpoints; from fastlin.commands import main;"
    "checkpoints.CHECKPOINT_SECONDS = checkpoints.CHECKPOINT_SHARE = 0; main(sys.argv[1:])"
)
TRAIN = ("train", "--data", "t.npz", "--epochs", "30", "--lr", "0.05", "--no-figures")
GRID = ("grid", "--data", "t.npz", "--lr", "0.02,0.1", "--l2", "0,0.01", "--batch-size", "16,64",
        "--epochs", "30", "--no-figures")  # fmt: skip
COMPARED = ("grid.csv", "winner/model.npz", "winner/history.csv", "winner/config.json")


class Violation(Exception):  # noqa: N818  (what is broken is fastlin, not this program)
    """A file is damaged, left over, or not what it must be."""


def write_data(path):
    """Write 300 rows around five centres, in three parts."""
    rng = np.random.default_rng(0)
    centres, y = 2 * rng.normal(size=(5, 12)), np.arange(300) % 5
    X = (centres[y] + rng.normal(size=(300, 12))).astype(np.float32)
    parts = {"train": slice(200), "val": slice(200, 250), "test": slice(250, 300)}
    np.savez(path, **{f"X_{part}": X[rows] for part, rows in parts.items()},
             **{f"y_{part}": y[rows] for part, rows in parts.items()})  # fmt: skip


def start(place, words):
    """Start a command in a folder."""
    environment = {**os.environ, "PYTHONPATH": str(ROOT), "NUMBA_NUM_THREADS": "1"}
    return subprocess.Popen(
        [sys.executable, "-c", OFTEN, *words], cwd=place, env=environment,
        stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True,
    )  # fmt: skip


def finish(place, words, codes=(0,)):
    """Run a command to its end and return its exit code and messages."""
    process = start(place, words)
    _, errors = process.communicate(timeout=600)
    if process.returncode not in codes or "Traceback" in errors:
        raise Violation(f"{' '.join(words)}: exit {process.returncode}, {errors.strip()[-500:]}")
    return process.returncode, errors


def kill(place, words, delay, folder, wanted):
    """Kill a command `delay` seconds after a file is there, or after its start if that is None.

    Returns whether it was still running.
    """
    process = start(place, words)
    deadline = time.monotonic() + 600
    while wanted is not None and process.poll() is None and time.monotonic() < deadline:
        with contextlib.suppress(OSError):
            if any(folder.glob(wanted)):
                break
        time.sleep(0.0005)
    with contextlib.suppress(subprocess.TimeoutExpired):
        process.wait(delay)
    was_running = process.poll() is None
    process.kill()
    _, errors = process.communicate()
    if (not was_running and process.returncode not in {0, 2}) or "Traceback" in errors:
        raise Violation(f"{' '.join(words)}: exit {process.returncode}, {errors.strip()[-500:]}")
    return was_running


def temporaries(folder):
    """Return the temporary files below a folder."""
    return sorted(folder.rglob("*.fastlin-tmp"))


def read_run(folder, epochs=30):
    """Read every file that there is of a run; all of it if the weights are there."""
    readers = {
        runs.CONFIG: runs.load_config,
        runs.HISTORY: lambda path: runs.load_history(path, epochs),
        runs.MODEL: runs.load_models,
        runs.SUMMARY: files.read_json,
    }
    present = [name for name in readers if (folder / name).exists()]
    for name in present:
        readers[name](folder / name)
    if present != list(readers)[: len(present)]:
        raise Violation(f"{folder} has {present}, which are not written in that order")
    if runs.MODEL in present:
        runs.load_run(folder)


def read_grid(folder):
    """Read every file that there is of a grid."""
    if (folder / request.REQUEST).exists():
        request.load_request(folder)
    path = folder / request.JOURNAL
    if path.exists() and b"\n" in path.read_bytes():
        journal.read_journal(path)
    weights = path.with_name(f"{path.name}.weights.npz")
    if weights.exists():
        files.read_npz(weights)
    if (folder / request.TABLE).exists():
        list(files.read_csv(folder / request.TABLE))
    if (folder / runs.SUMMARY).exists():
        files.read_json(folder / runs.SUMMARY)
    if (folder / request.WINNER).exists():
        read_run(folder / request.WINNER)


def check_swept(folder, what):
    """Raise Violation if temporary files are left."""
    if left := temporaries(folder):
        raise Violation(f"{what} left {', '.join(path.name for path in left)}")


class Train:
    """Kills of `fastlin train`: the next command takes the same folder, or refuses it whole."""

    def __init__(self, place, rng):
        self.place, self.rng, self.number = place, rng, 0
        finish(place, [*TRAIN, "--out", "whole"])  # kernels are compiled now
        self.killed = 0

    def kill(self):
        """Kill one run, and begin another in its folder."""
        self.number += 1
        folder = self.place / f"run-{self.number}"
        words = [*TRAIN, "--out", folder.name]
        wanted = self.rng.choice((None, ".*", "config.json", "history.csv", "model.npz"))
        longest = 2.0 if wanted is None else 0.05
        self.killed += kill(self.place, words, self.rng.uniform(0, longest), folder, wanted)
        if not folder.exists():
            return
        read_run(folder)
        code, errors = finish(self.place, words, (0, 2))
        check_swept(folder, f"the next command in {folder.name}")
        if code == 2 and not (folder / runs.CONFIG).exists():
            raise Violation(f"{folder.name} has no run and cannot be begun again: {errors}")
        if code == 0:
            compare(folder, self.place / "whole", ("model.npz", "history.csv", "config.json"))

    def end(self):
        """Nothing is left to do: every run was compared."""


class Grid:
    """Kills of `fastlin grid --resume`, in one folder until its search is done."""

    def __init__(self, place, rng):
        self.place, self.rng, self.number, self.folder = place, rng, 0, None
        finish(place, [*GRID, "--out", "whole"])
        self.killed = 0

    def kill(self):
        """Kill the search where it is, or a new one if the last is done."""
        if self.folder is None:
            self.number += 1
            self.folder = self.place / f"grid-{self.number}"
        is_begun = (self.folder / request.REQUEST).exists()
        words = ["grid", "--no-figures", "--resume", self.folder.name]
        words = words if is_begun else [*GRID, "--out", self.folder.name]
        wanted = self.rng.choice((None, ".*", "journal.jsonl", "*.weights.npz", "winner/.*"))
        longest = 3.0 if wanted is None else 0.2
        was_running = kill(self.place, words, self.rng.uniform(0, longest), self.folder, wanted)
        self.killed += was_running
        read_grid(self.folder)
        if not was_running or self.rng.random() < 0.2:
            self.end()

    def end(self):
        """Let the search end, and compare it with one that was never disturbed."""
        if self.folder is None:
            return
        is_begun = (self.folder / request.REQUEST).exists()
        words = ["grid", "--no-figures", "--resume", self.folder.name]
        finish(self.place, words if is_begun else [*GRID, "--out", self.folder.name])
        check_swept(self.folder, f"--resume {self.folder.name}")
        compare(self.folder, self.place / "whole", COMPARED)
        self.folder = None


def compare(folder, whole, names):
    """Raise Violation unless files of two folders have the same bytes."""
    for name in names:
        if (folder / name).read_bytes() != (whole / name).read_bytes():
            raise Violation(f"{name} of {folder.name} is not that of an undisturbed command")


def run(place, command, count, seed, report=print):
    """Do so many kills in a folder.

    Returns how many of them met a running command. Raises Violation.
    """
    rng = random.Random(f"{seed} {command}")  # noqa: S311
    write_data(place / "t.npz")
    kills = {"train": Train, "grid": Grid}[command](place, rng)
    for number in range(1, count + 1):
        try:
            kills.kill()
            if number == count:
                kills.end()
        except (Violation, InputError) as error:
            raise Violation(f"kill {number} of {command} (seed {seed}): {error}") from error
        if number % 10 == 0:
            report(f"{command}: {number} of {count} kills, no violation")
    return kills.killed


def main():
    """Do the kills that the command line asks for."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--count", type=int, default=200, help="kills of each command")
    parser.add_argument("--seed", type=int, default=0, help="of the moments")
    parser.add_argument("--command", choices=("train", "grid"), help="of the two, this one only")
    asked = parser.parse_args()
    for command in [asked.command] if asked.command else ["train", "grid"]:
        started = time.monotonic()
        with tempfile.TemporaryDirectory() as folder:
            try:
                killed = run(Path(folder), command, asked.count, asked.seed)
            except Violation as error:
                sys.exit(f"VIOLATION: {error}")
        sys.stdout.write(
            f"{command}: {asked.count} kills, {killed} of a running command, none left a damaged "
            f"file ({time.monotonic() - started:.0f} s)\n"
        )


if __name__ == "__main__":
    main()
