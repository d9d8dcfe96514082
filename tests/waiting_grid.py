"""A search in a process of its own, which waits to be stopped."""

import subprocess
import sys
import time
from pathlib import Path

OFTEN = """
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


def begin(*arguments, lines, **given):
    """Start a grid that writes its journal after every epoch, and waits when it has some lines.

    Its folder is this one; what else is given goes to `subprocess.Popen`.
    """
    process = subprocess.Popen(
        [sys.executable, "-c", OFTEN, str(lines), *map(str, arguments)],
        stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, **given,
    )  # fmt: skip
    deadline = time.monotonic() + 120
    while time.monotonic() < deadline and process.poll() is None and not Path("waiting").exists():
        time.sleep(0.01)
    assert process.poll() is None, process.communicate()
    return process
