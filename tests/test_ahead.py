"""Kernels that are compiled by a process beside a command."""

import contextlib
import os
import subprocess
import sys
import time

import numpy as np
import pytest
from command_line import call

from fastlin.commands import ahead

NEEDS = {
    "rows": "uint8", "scale": None, "weights": "float32", "classes": 10, "loss": "softmax",
    "is_shifted": False, "is_weighted": False,
}  # fmt: skip

# What is compiled beside, then a whole run; it prints which kernels the run has of its own.
KERNELS_OF_A_RUN = """
from fastlin.commands import ahead, main
from fastlin.kernels import jit

seen = []

class Beside(ahead.Beside):
    def __init__(self, needs):
        super().__init__(needs)
        seen.append(needs())
        ahead.compile_kernels(seen[0], ahead.os.getppid())
        seen.append({one: set(one.overloads) for one in jit.entry_points()})

ahead.Beside, ahead.Beside.start, ahead.Beside.wait = Beside, lambda self: 0, lambda self: 0
try:
    main()
except SystemExit as end:
    assert not end.code
later = {one.py_func.__name__ for one in jit.entry_points() if set(one.overloads) - seen[1][one]}
print("LATER", *sorted(later - {"shared_epoch", "group_epoch", "add_columns"}))
"""


def kernels_of_run(folder, *arguments):
    result = subprocess.run(
        [sys.executable, "-c", KERNELS_OF_A_RUN, "train", "--epochs", "1", *arguments],
        capture_output=True, text=True, check=False, cwd=folder, timeout=300,
    )  # fmt: skip
    assert "LATER" in result.stdout, result.stdout + result.stderr
    return result.stdout.rpartition("LATER")[2].split()


@pytest.mark.parametrize("rows", ["uint8", "shifted"])
def test_all_kernels_of_a_run_but_those_of_its_epochs_are_compiled_beside_it(tmp_path, rows):
    arguments = []
    if rows == "shifted":
        rng = np.random.default_rng(0)
        X = (rng.normal(size=(90, 6)) + 1e6).astype(np.float32)
        np.savez(tmp_path / "rows.npz", X=X, y=np.arange(90) % 5)
        arguments = ["--data", "rows.npz", "--standardize", "--class-weight", "balanced"]
    assert kernels_of_run(tmp_path, *arguments) == []


def finished(beside):
    return beside._process is not None and beside._process.wait(120) == 0


def test_a_process_beside_keeps_what_it_compiles(tmp_path, monkeypatch):
    monkeypatch.setattr(ahead, "LEAST_CORES", 1)
    monkeypatch.setenv("NUMBA_CACHE_DIR", str(tmp_path))
    (tmp_path / "json.py").write_text("raise SystemExit(3)")  # what lies here is not run
    beside = ahead.Beside(lambda: NEEDS)
    with contextlib.chdir(tmp_path):
        beside.start()
    assert finished(beside)
    beside.end()
    kept = {path.name.split("-")[0].split(".")[-1] for path in tmp_path.rglob("*.kernel")}
    assert kept == {"evaluate_rows", "score_rows", "batch_loss", "loss_and_gradient"}


def test_a_process_beside_ends_with_the_command(monkeypatch):
    monkeypatch.setattr(ahead, "LEAST_CORES", 1)
    monkeypatch.setattr(ahead, "_CODE", "import time; time.sleep(600)")
    beside = ahead.Beside(lambda: NEEDS)
    beside.start()
    number = beside._process.pid
    beside.end()
    with pytest.raises(ProcessLookupError):
        os.kill(number, 0)


def test_nothing_is_compiled_for_a_command_that_is_gone(monkeypatch):
    monkeypatch.setattr(ahead, "calls", lambda _: iter([lambda: pytest.fail("compiled")]))
    ahead.compile_kernels(NEEDS, parent=os.getppid() + 1)


@pytest.mark.parametrize("code", ["raise SystemExit(3)", "import nothing_of_that_name"])
def test_a_command_goes_on_where_the_process_beside_fails(code, tmp_path, monkeypatch):
    monkeypatch.setattr(ahead, "LEAST_CORES", 1)
    monkeypatch.setattr(ahead, "_CODE", code)
    start = ahead.Beside.__init__

    def started(self, needs):
        start(self, needs)
        self.start()

    monkeypatch.setattr(ahead.Beside, "__init__", started)
    call("train", "--epochs", "1", "--no-figures", "--out", tmp_path / "run")


def test_waiting_ends_when_the_process_takes_too_long(monkeypatch):
    monkeypatch.setattr(ahead, "LEAST_CORES", 1)
    monkeypatch.setattr(ahead, "_PATIENCE_SECONDS", 0.01)
    monkeypatch.setattr(ahead, "_CODE", "import time; time.sleep(600)")
    beside = ahead.Beside(lambda: NEEDS)
    beside.start()
    began = time.monotonic()
    beside.wait()
    assert time.monotonic() - began < 60
    assert beside._process.poll() is None
    beside.end()


def test_nothing_is_compiled_beside_where_it_cannot_be_kept(monkeypatch):
    monkeypatch.setattr(ahead, "LEAST_CORES", 1)
    monkeypatch.setattr("fastlin.kernels.cache.cache_directory", lambda _: None)
    beside = ahead.Beside(lambda: NEEDS)
    beside.start()
    assert beside._process is None
