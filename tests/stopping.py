"""Commands in processes of their own, which tests stop."""

import subprocess
import sys
import time
from pathlib import Path

WAITING_GRID = """
import pathlib, sys, time
from fastlin.commands import main
from fastlin.search import checkpoints
from fastlin.search.journal import Journal

checkpoints.CHECKPOINT_SECONDS = checkpoints.CHECKPOINT_SHARE = 0
right, lines = Journal.append, int(sys.argv[1])

def append(journal, events):
    right(journal, events)
    if journal.path.read_bytes().count(b"\\n") >= lines:
        pathlib.Path("waiting").touch()
        time.sleep(300)

Journal.append = append
main(["grid", *sys.argv[2:]])
"""


def begin(code, *arguments, until, **given):
    """Start a program; return when it has made a file, which it must before it ends.

    What else is given goes to `subprocess.Popen`.
    """
    process = subprocess.Popen(
        [sys.executable, "-c", code, *map(str, arguments)],
        stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, **given,
    )  # fmt: skip
    deadline = time.monotonic() + 120
    while not Path(until).exists() and process.poll() is None and time.monotonic() < deadline:
        time.sleep(0.01)
    if process.poll() is not None or not Path(until).exists():
        process.kill()
        raise AssertionError(process.communicate())
    return process


def begin_grid(*arguments, lines, **given):
    """Start a grid that writes its journal after every epoch, and waits when it has some lines."""
    return begin(WAITING_GRID, lines, *arguments, until="waiting", **given)
