import os
import shutil
import stat
import subprocess
import sys
import tempfile
from pathlib import Path

import numba
import numpy as np
import pytest
from numba import prange

from fastlin.kernels import jit

ROOT = Path(__file__).parent.parent
KERNELS = ROOT / "fastlin" / "kernels"
COMPILE_ONE = """
import numpy as np
from fastlin import functional
from fastlin.kernels import jit, losses
probabilities = functional.softmax(np.array([[0.0, 0.0], [1e3, 0.0]]))
np.testing.assert_allclose(probabilities, [[0.5, 0.5], [1, 0]])
hits = sum(losses.batch_loss.stats.cache_hits.values())
print(hits, jit.cache_directory())
"""
posix = pytest.mark.skipif(not hasattr(os, "getuid"), reason="owners and modes are POSIX")


def chosen():
    return jit.cache_directory.__wrapped__()


def start_python(code, **environment):
    inherited = {
        name: value
        for name, value in os.environ.items()
        if name not in {"NUMBA_CACHE_DIR", "XDG_CACHE_HOME", "NUMBA_DISABLE_JIT"}
    }
    return subprocess.Popen(
        [sys.executable, "-W", "error", "-c", code],
        env={**inherited, **{name: str(value) for name, value in environment.items()}},
        cwd=ROOT,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )


def finish(process):
    out, err = process.communicate(timeout=300)
    assert process.returncode == 0, err
    hits, directory = out.split(maxsplit=1)
    return int(hits), directory.strip()


def files(folder):
    return {path for path in folder.rglob("*") if path.is_file()}


@pytest.fixture
def nothing_but_a_temporary_folder(monkeypatch, tmp_path):
    """No NUMBA_CACHE_DIR, a home that cannot be written; yields the temporary folder."""
    (tmp_path / "home").write_text("a file where a folder should be")
    monkeypatch.setattr(numba.config, "CACHE_DIR", "")
    monkeypatch.setattr(jit, "user_cache_path", lambda name: tmp_path / "home" / name)
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))
    return tmp_path


def test_a_named_folder_is_used(monkeypatch, tmp_path):
    monkeypatch.setattr(numba.config, "CACHE_DIR", str(tmp_path / "named"))
    assert chosen().parent == tmp_path / "named" / "fastlin"
    assert chosen().is_dir()
    assert not files(tmp_path)


def test_the_users_cache_folder_is_used_otherwise(monkeypatch, tmp_path):
    monkeypatch.setattr(numba.config, "CACHE_DIR", "")
    monkeypatch.setattr(jit, "user_cache_path", lambda name: tmp_path / "user" / name)
    assert chosen().parent == tmp_path / "user" / "fastlin"


@pytest.mark.parametrize("changed", sorted(path.name for path in KERNELS.glob("*.py")))
def test_a_change_in_any_kernel_source_is_another_folder(changed, monkeypatch, tmp_path):
    monkeypatch.setattr(numba.config, "CACHE_DIR", str(tmp_path / "cache"))
    original = chosen()
    copy = tmp_path / "kernels"
    shutil.copytree(KERNELS, copy, ignore=shutil.ignore_patterns("__pycache__"))
    monkeypatch.setattr(jit, "__file__", str(copy / "jit.py"))
    assert chosen() == original
    with (copy / changed).open("a") as source:
        source.write("\n# changed\n")
    assert chosen() != original
    assert chosen().parent == original.parent


@posix
def test_without_a_home_a_private_temporary_folder_is_used(nothing_but_a_temporary_folder):
    private = nothing_but_a_temporary_folder / f"fastlin-{os.getuid()}"
    assert chosen().parent == private
    assert stat.S_IMODE(private.stat().st_mode) == 0o700


@posix
@pytest.mark.parametrize("mode", [0o770, 0o702, 0o777])
def test_a_temporary_folder_that_others_can_write_is_not_used(mode, nothing_but_a_temporary_folder):
    private = nothing_but_a_temporary_folder / f"fastlin-{os.getuid()}"
    private.mkdir()
    private.chmod(mode)
    assert chosen() is None
    assert not list(private.iterdir())


@posix
def test_a_temporary_folder_of_somebody_else_is_not_used(
    monkeypatch, nothing_but_a_temporary_folder
):
    stranger = os.getuid() + 1
    monkeypatch.setattr(os, "getuid", lambda: stranger)
    private = nothing_but_a_temporary_folder / f"fastlin-{stranger}"
    private.mkdir(mode=0o700)
    assert chosen() is None
    assert not list(private.iterdir())


def test_a_file_in_place_of_the_temporary_folder_is_left_alone(nothing_but_a_temporary_folder):
    uid = os.getuid() if hasattr(os, "getuid") else 0
    private = nothing_but_a_temporary_folder / f"fastlin-{uid}"
    private.write_text("mine")
    private.chmod(0o600)
    assert chosen() is None
    assert private.read_text() == "mine"


@pytest.mark.parametrize("named", [True, False])
def test_kernels_run_where_nothing_can_be_cached(named, tmp_path):
    blocked = tmp_path / "file"
    blocked.write_text("a file where a folder should be")
    uid = os.getuid() if hasattr(os, "getuid") else 0
    (tmp_path / f"fastlin-{uid}").write_text("a file here too")
    environment = {"HOME": blocked, "LOCALAPPDATA": blocked, "TMPDIR": tmp_path}
    if named:
        environment["NUMBA_CACHE_DIR"] = blocked / "cache"
    before = files(tmp_path)
    assert finish(start_python(COMPILE_ONE, **environment)) == (0, "None")
    assert files(tmp_path) == before


def test_a_second_process_finds_what_the_first_compiled(tmp_path):
    assert finish(start_python(COMPILE_ONE, NUMBA_CACHE_DIR=tmp_path))[0] == 0
    compiled = {path: path.stat().st_mtime_ns for path in files(tmp_path)}
    assert {path.suffix for path in compiled} == {".nbi", ".nbc"}
    assert finish(start_python(COMPILE_ONE, NUMBA_CACHE_DIR=tmp_path))[0] == 1
    assert {path: path.stat().st_mtime_ns for path in files(tmp_path)} == compiled


def test_two_processes_may_compile_at_once(tmp_path):
    pair = [start_python(COMPILE_ONE, NUMBA_CACHE_DIR=tmp_path) for _ in range(2)]
    results = [finish(process) for process in pair]
    assert results[0][1] == results[1][1]
    assert finish(start_python(COMPILE_ONE, NUMBA_CACHE_DIR=tmp_path))[0] == 1


def test_other_libraries_keep_their_own_cache_folder(tmp_path):
    code = (
        "import numba; before = numba.config.CACHE_DIR\n"
        "import fastlin.functional\n"
        "print(int(before == numba.config.CACHE_DIR), 'same')"
    )
    assert finish(start_python(code, XDG_CACHE_HOME=tmp_path))[0] == 1
    assert finish(start_python(code, NUMBA_CACHE_DIR=tmp_path))[0] == 1


@numba.njit
def _write(counts, x):
    counts[0] += x[0]


@numba.njit(parallel=jit.PRANGE_ONLY, **jit.FLAGS)
def _read_after(x):
    counts = np.zeros(1)
    for _ in prange(1):
        _write(counts, x)
    return counts[0]


def test_every_specialisation_of_a_kernel_is_parallel_in_its_prange_loops_only():
    # Numba empties a dict of such options as it compiles: the next time it took arrays, too, for
    # loops to divide, and read `counts` before the loop that fills it.
    assert [_read_after(np.ones(1, dtype)) for dtype in "fdBq"] == [1, 1, 1, 1]
