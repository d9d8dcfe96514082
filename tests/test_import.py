"""What fastlin does to the program that imports it (nothing), and packages that do not fit."""

import logging
import os
import subprocess
import sys
from pathlib import Path

import numba
import pooch
import pytest

from fastlin.data import catalog
from fastlin.errors import InputError

ROOT = Path(__file__).parent.parent
EVERYTHING = """
import importlib, pkgutil
import fastlin
for module in pkgutil.walk_packages(fastlin.__path__, "fastlin."):
    if module.name != "fastlin.__main__":
        importlib.import_module(module.name)
for name in fastlin.__all__:
    getattr(fastlin, name)
"""

# What imports of the libraries below change is theirs: they come first.
UNCHANGED = """
import logging, os, signal, sys, threading, warnings
import click, llvmlite.binding, numba, numpy as np, platformdirs, pooch, requests, rich.progress
import jinja2, matplotlib.pyplot, scipy.stats, sklearn.utils.validation
from numba import config

def state():
    found = {f"variable {name}": value for name, value in os.environ.items()}
    found |= {f"numba {n}": repr(getattr(config, n)) for n in dir(config) if n.isupper()}
    for name, logger in [("", logging.root), *logging.root.manager.loggerDict.items()]:
        if isinstance(logger, logging.Logger):
            found[f"logger {name}"] = logger.level, list(logger.handlers), list(logger.filters)
    for number in signal.valid_signals():
        found[f"signal {number}"] = signal.getsignal(number)
    found |= {f"matplotlib {name}": str(value) for name, value in matplotlib.rcParams.items()}
    found["numpy"] = repr((np.geterr(), np.get_printoptions()))
    found["warnings"] = list(warnings.filters)
    found["hooks"] = sys.excepthook, sys.unraisablehook, threading.excepthook, sys.displayhook
    found["limits"] = sys.getrecursionlimit(), sys.getswitchinterval(), threading.stack_size()
    found["threads"] = threading.active_count()
    found["folder"] = os.getcwd()
    found["mask"] = os.umask(0o22)
    os.umask(found["mask"])
    return found

before = state()
BODY
after = state()
print(sorted(key for key in {*before, *after} if before.get(key) != after.get(key)))
"""


def run_python(code, folder, **environment):
    """Run code with a home and a temporary folder of its own, and return what it printed."""
    inherited = {
        name: value
        for name, value in os.environ.items()
        if name not in {"NUMBA_CACHE_DIR", "XDG_CACHE_HOME", "GOMP_SPINCOUNT", "OMP_WAIT_POLICY"}
    }
    places = {"HOME": folder, "LOCALAPPDATA": folder, "TMPDIR": folder, "MPLCONFIGDIR": folder}
    result = subprocess.run(
        [sys.executable, "-B", "-c", code],
        env={**inherited, "PYTHONPATH": str(ROOT), **{k: str(v) for k, v in places.items()}}
        | environment,
        cwd=folder,
        capture_output=True,
        text=True,
        timeout=300,
        check=False,
    )
    assert result.returncode == 0, result.stderr
    return result.stdout.strip()


@pytest.fixture
def empty(tmp_path):
    folder = tmp_path / "empty"
    folder.mkdir()
    return folder


@pytest.mark.parametrize("cache", [{}, {"NUMBA_CACHE_DIR": "named"}])
def test_importing_everything_changes_no_setting_of_the_process(cache, empty):
    assert run_python(UNCHANGED.replace("BODY", EVERYTHING), empty, **cache) == "[]"


def test_importing_everything_writes_no_file(empty):
    fonts = "import matplotlib.font_manager; "  # whose list matplotlib keeps
    listing = "import os; print(sorted(os.listdir()))"
    before = run_python(fonts + listing, empty)
    assert run_python(f"{EVERYTHING}\n{listing}", empty) == before


IN_THREADS = """
import importlib, threading
from numba import config
before, errors = config.CACHE_DIR, []

def load(name):
    try:
        importlib.import_module(name)
        assert config.CACHE_DIR == before
    except BaseException as error:
        errors.append(error)

names = ["fastlin.kernels." + n for n in ("sgd", "grid", "evaluate", "gradients", "features")]
threads = [threading.Thread(target=load, args=(name,)) for name in names]
[thread.start() for thread in threads]
[thread.join() for thread in threads]
print(errors, config.CACHE_DIR == before)
"""


def test_threads_may_import_at_the_same_time(empty):
    assert run_python(IN_THREADS, empty) == "[] True"


@pytest.mark.skipif(bool(numba.config.DISABLE_JIT), reason="needs the compiler")
def test_a_kernel_is_compiled_and_kept_only_when_it_is_called(empty):
    code = """
import os, numpy as np
from fastlin import functional
from fastlin.kernels import jit
before = jit.compiled_count(), os.path.exists("cache")
functional.softmax(np.zeros((1, 2)))
print(before, jit.compiled_count(), os.path.exists("cache"))
"""
    assert run_python(code, empty, NUMBA_CACHE_DIR="cache") == "(0, False) 1 True"


@pytest.mark.parametrize("fails", [False, True])
def test_a_download_leaves_the_log_of_its_library_as_it_was(fails, monkeypatch, tmp_path):
    logger, shown = pooch.get_logger(), []
    handler = logging.Handler()
    handler.emit = lambda record: shown.append(record.getMessage())

    def retrieve(*_, **__):
        logger.info("downloading")
        logger.error("something that matters")
        if fails:
            raise ValueError("another file")
        raise KeyboardInterrupt

    monkeypatch.setattr(pooch, "retrieve", retrieve)
    logger.addHandler(handler)
    before = logger.level, list(logger.filters)
    try:
        with pytest.raises(InputError if fails else KeyboardInterrupt):
            catalog.fetch_cifar10(tmp_path)
        assert (logger.level, list(logger.filters)) == before
        logger.info("of somebody else")
    finally:
        logger.removeHandler(handler)
    assert shown == ["something that matters", "of somebody else"]


# Packages that do not fit together


def command(folder, *arguments, **environment):
    """Run the command line; return its exit code and what it wrote to standard error."""
    result = subprocess.run(
        [sys.executable, "-m", "fastlin", *arguments],
        env={**os.environ, "PYTHONPATH": f"{folder / 'site'}{os.pathsep}{ROOT}", **environment},
        cwd=folder,
        capture_output=True,
        text=True,
        timeout=300,
        check=False,
    )
    return result.returncode, result.stderr


UNFIT = {
    "a newer NumPy": ("sitecustomize.py", "import numpy\nnumpy.__version__ = '9.9.9'\n", "9.9.9"),
    "no Numba": ("numba.py", "raise ModuleNotFoundError('no such module')\n", "no such module"),
    "a broken Numba": ("numba.py", "raise OSError('cannot open\\nlibllvmlite.so')\n", "libllvml"),
    "a broken llvmlite": ("llvmlite.py", "import numpy\nnumpy.no_such_name\n", "no_such_name"),
}


@pytest.mark.parametrize("kind", UNFIT)
def test_packages_that_do_not_fit_are_named_in_one_line(kind, empty):
    (empty / "site").mkdir()
    name, content, reason = UNFIT[kind]
    (empty / "site" / name).write_text(content)
    for arguments in (("--help",), ("--version",), ("train", "--help"), ("grid", "--help")):
        assert command(empty, *arguments) == (0, "")
    for arguments in (("train", "--epochs", "1"), ("grid", "--epochs", "1"), ("gradcheck",)):
        code, message = command(empty, *arguments)
        assert code == 2, message
        assert len(message.splitlines()) == 1
        for word in ("Error: ", reason, "NumPy", "Numba"):
            assert word in message
    assert {path.name for path in empty.iterdir()} == {"site"}


def test_a_library_gets_an_import_error_of_packages_that_do_not_fit(empty):
    (empty / "numba.py").write_text("raise OSError('cannot open')\n")
    code = """
import sys
sys.path.insert(0, ".")
import fastlin
for load in (lambda: fastlin.train, lambda: fastlin.grid_search):
    try:
        load()
    except ImportError as error:
        print(isinstance(error, fastlin.InputError), end=" ")
"""
    assert run_python(code, empty) == "True True"
