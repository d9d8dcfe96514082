import errno
import hashlib
import logging
import os
import pickle
import shutil
import stat
import subprocess
import sys
import tempfile
import time
from contextlib import contextmanager
from pathlib import Path

import numba
import numpy as np
import pytest

from fastlin.kernels import cache, jit, losses

ROOT = Path(__file__).parent.parent
KERNELS = ROOT / "fastlin" / "kernels"
COMPILE_ONE = """
import numpy as np
from fastlin import functional
from fastlin.kernels import jit, losses
probabilities = functional.softmax(np.array([[0.0, 0.0], [1e3, 0.0]]))
np.testing.assert_allclose(probabilities, [[0.5, 0.5], [1, 0]])
print(jit.compiled_count(), losses.batch_loss.stats.cache_path)
"""
posix = pytest.mark.skipif(not hasattr(os, "getuid"), reason="owners and modes are POSIX")
compiled_only = pytest.mark.skipif(
    bool(numba.config.DISABLE_JIT), reason="without the compiler nothing is kept"
)


def chosen(digest="0123456789abcdef"):
    return cache.cache_directory.__wrapped__(digest)


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


def finish(process, notes=0):
    """Return how many kernels a process compiled, its folder, and the lines it said of that."""
    out, err = process.communicate(timeout=300)
    assert process.returncode == 0, err
    lines = [line for line in err.splitlines() if line.startswith("fastlin: ")]
    assert len(lines) == len(err.splitlines()) == notes, err
    count, directory = out.split(maxsplit=1)
    return int(count), directory.strip(), lines


def files(folder):
    return {path for path in folder.rglob("*") if path.is_file()}


@pytest.fixture
def nothing_but_a_temporary_folder(monkeypatch, tmp_path):
    """No NUMBA_CACHE_DIR, a home that cannot be written; yields the temporary folder."""
    (tmp_path / "home").write_text("a file where a folder should be")
    monkeypatch.setattr(numba.config, "CACHE_DIR", "")
    monkeypatch.setattr(cache, "user_cache_path", lambda name: tmp_path / "home" / name)
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))
    return tmp_path


# Where kernels are kept


def test_a_named_folder_is_used(monkeypatch, tmp_path):
    monkeypatch.setattr(numba.config, "CACHE_DIR", str(tmp_path / "named"))
    assert chosen().parent == tmp_path / "named" / "fastlin"
    assert chosen().is_dir()
    assert not files(tmp_path)


def test_the_users_cache_folder_is_used_otherwise(monkeypatch, tmp_path):
    monkeypatch.setattr(numba.config, "CACHE_DIR", "")
    monkeypatch.setattr(cache, "user_cache_path", lambda name: tmp_path / "user" / name)
    assert chosen().parent == tmp_path / "user" / "fastlin"


@pytest.mark.parametrize("changed", sorted(path.name for path in KERNELS.glob("*.py")))
def test_a_change_in_any_kernel_source_is_another_digest(changed, monkeypatch, tmp_path):
    copy = tmp_path / "kernels"
    shutil.copytree(KERNELS, copy, ignore=shutil.ignore_patterns("__pycache__"))
    monkeypatch.setattr(jit, "__file__", str(copy / "jit.py"))
    assert jit.source_digest.__wrapped__() == jit.source_digest()
    with (copy / changed).open("a") as source:
        source.write("\n# changed\n")
    assert jit.source_digest.__wrapped__() != jit.source_digest()


def test_another_source_or_compiler_has_another_folder(monkeypatch, tmp_path):
    monkeypatch.setattr(numba.config, "CACHE_DIR", str(tmp_path))
    folders = [chosen("1" * 16), chosen("2" * 16)]
    for module in (numba, cache.llvmlite):
        monkeypatch.setattr(module, "__version__", "0.0.0")
        folders.append(chosen("1" * 16))
    assert len(set(folders)) == 4
    assert {folder.parent for folder in folders} == {tmp_path / "fastlin"}


def test_kernels_without_source_are_not_kept(monkeypatch, tmp_path):
    monkeypatch.setattr(jit, "__file__", str(tmp_path / "archive.zip" / "jit.py"))
    assert chosen(jit.source_digest.__wrapped__()) is None


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
@pytest.mark.parametrize("mode", [0o770, 0o702])
def test_a_folder_of_kernels_that_others_can_write_is_not_used(mode, monkeypatch, tmp_path):
    monkeypatch.setattr(numba.config, "CACHE_DIR", str(tmp_path))
    folder = chosen()
    assert stat.S_IMODE(folder.stat().st_mode) == 0o700
    folder.chmod(mode)
    assert chosen() is None


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


def test_a_folder_that_can_only_be_read_is_read(monkeypatch, tmp_path):
    monkeypatch.setattr(numba.config, "CACHE_DIR", str(tmp_path))
    folder = chosen()

    def refuse(**_):
        raise OSError(errno.EROFS, "Read-only file system")

    monkeypatch.setattr(tempfile, "TemporaryFile", refuse)
    assert chosen() == folder
    folder.rmdir()
    assert chosen() == folder  # it could be made
    shutil.rmtree(tmp_path)
    tmp_path.write_text("a file")
    assert chosen() is None


# What other processes find


@compiled_only
@pytest.mark.parametrize("named", [True, False])
def test_kernels_run_where_nothing_can_be_kept(named, tmp_path):
    blocked = tmp_path / "file"
    blocked.write_text("a file where a folder should be")
    uid = os.getuid() if hasattr(os, "getuid") else 0
    (tmp_path / f"fastlin-{uid}").write_text("a file here too")
    environment = {"HOME": blocked, "LOCALAPPDATA": blocked, "TMPDIR": tmp_path}
    if named:
        environment["NUMBA_CACHE_DIR"] = blocked / "cache"
    before = files(tmp_path)
    count, directory, (line,) = finish(start_python(COMPILE_ONE, **environment), notes=1)
    assert (count, directory) == (1, "None")
    assert "no folder can be written" in line
    assert files(tmp_path) == before


@compiled_only
def test_a_second_process_finds_what_the_first_compiled(tmp_path):
    assert finish(start_python(COMPILE_ONE, NUMBA_CACHE_DIR=tmp_path))[0] == 1
    compiled = {path: path.stat().st_mtime_ns for path in files(tmp_path)}
    assert {path.suffix for path in compiled} == {".kernel"}
    assert finish(start_python(COMPILE_ONE, NUMBA_CACHE_DIR=tmp_path))[0] == 0
    assert {path: path.stat().st_mtime_ns for path in files(tmp_path)} == compiled


@compiled_only
def test_two_processes_may_compile_at_once(tmp_path):
    pair = [start_python(COMPILE_ONE, NUMBA_CACHE_DIR=tmp_path) for _ in range(2)]
    results = [finish(process) for process in pair]
    assert results[0][1] == results[1][1]
    assert len(files(tmp_path)) == 1
    assert finish(start_python(COMPILE_ONE, NUMBA_CACHE_DIR=tmp_path))[0] == 0


@posix
@compiled_only
def test_a_process_without_space_uses_kernels_without_keeping_them(tmp_path):
    no_large_files = "import resource\nresource.setrlimit(resource.RLIMIT_FSIZE, (16384, 16384))"
    process = start_python(f"{no_large_files}\n{COMPILE_ONE}", NUMBA_CACHE_DIR=tmp_path)
    count, _, (line,) = finish(process, notes=1)
    assert count == 1
    assert "File too large" in line
    assert not files(tmp_path)  # no unfinished file either


# Faults, one by one


@contextmanager
def logged():
    """Yield the lines that are logged in the body, each of which may be the first of a process."""
    lines, logger = [], logging.getLogger("fastlin")
    handler = logging.Handler()
    handler.emit = lambda record: lines.append(record.getMessage())
    logger.addHandler(handler)
    cache._said.clear()
    try:
        yield lines
    finally:
        cache._said.clear()
        logger.removeHandler(handler)


def twice(x):
    total = 0.0
    for i in range(x.size):
        total += 2 * x[i]
    return total


@pytest.fixture
def kept(monkeypatch, tmp_path):
    """A folder to keep kernels in, and a function that calls `twice` as a new process would."""
    monkeypatch.setattr(cache, "cache_directory", lambda _: tmp_path / "kernels-x")
    monkeypatch.setattr(jit, "_ENTRY_POINTS", [])
    monkeypatch.setattr(cache, "_remove_old", lambda _: None)
    (tmp_path / "kernels-x").mkdir(mode=0o700)

    def call(dtype=np.float64):
        kernel = jit.kernel(twice)
        assert kernel(np.arange(4, dtype=dtype)) == 12
        return jit._ENTRY_POINTS.pop()._cache.compiled

    call.folder = tmp_path / "kernels-x"
    return call


@compiled_only
def test_code_is_loaded_for_the_types_it_is_for(kept):
    assert [kept(), kept(), kept(np.float32), kept(np.float32), kept()] == [1, 0, 1, 0, 0]
    assert len(files(kept.folder)) == 2
    # The name of one kernel on the content of the other.
    first, second = sorted(files(kept.folder))
    first.write_bytes(second.read_bytes())
    with logged() as lines:
        assert kept() + kept(np.float32) == 1
    assert len(lines) == 1
    assert "other types" in lines[0]
    assert [kept(), kept(np.float32)] == [0, 0]


def emptied(path):
    path.write_bytes(b"")


def cut_short(path):
    content = path.read_bytes()
    path.write_bytes(content[: len(content) // 2])


def one_bit_flipped(path):
    content = bytearray(path.read_bytes())
    content[len(content) // 2] ^= 1
    path.write_bytes(content)


def not_a_pickle(path):
    path.write_bytes(hashlib.sha256(b"nonsense").digest() + b"nonsense")


def of_another_layout(path):
    body = pickle.dumps(((numba.float64[::1],), ("too", "few")))
    path.write_bytes(hashlib.sha256(body).digest() + body)


@compiled_only
@pytest.mark.parametrize(
    "damage", [emptied, cut_short, one_bit_flipped, not_a_pickle, of_another_layout]
)
def test_a_damaged_file_is_as_good_as_none_and_is_replaced(damage, kept):
    assert kept() == 1
    (path,) = files(kept.folder)
    damage(path)
    with logged() as lines:
        assert kept() == 1
        damage(path)
        assert kept() == 1
    assert len(lines) == 1  # once a process
    assert "compiled again" in lines[0]
    with logged() as lines:
        assert kept() == 0
    assert lines == []


@compiled_only
def test_a_folder_in_place_of_a_file_is_left_alone(kept):
    kept()
    (path,) = files(kept.folder)
    path.unlink()
    path.mkdir()
    with logged() as lines:
        assert [kept(), kept()] == [1, 1]
    assert len(lines) == 1
    assert path.is_dir()


@posix
@compiled_only
@pytest.mark.parametrize("mode", [0o620, 0o602])
def test_a_file_that_others_can_write_is_not_loaded(mode, kept):
    kept()
    (path,) = files(kept.folder)
    assert stat.S_IMODE(path.stat().st_mode) == 0o600
    path.chmod(mode)
    with logged() as lines:
        assert kept() == 1
    assert "others can write" in lines[0]
    assert stat.S_IMODE(path.stat().st_mode) == 0o600
    assert kept() == 0


@posix
@compiled_only
def test_a_file_of_somebody_else_is_not_loaded(kept, monkeypatch):
    kept()
    stranger = os.getuid() + 1
    monkeypatch.setattr(os, "getuid", lambda: stranger)
    assert kept() == 1


@compiled_only
@pytest.mark.parametrize("number", [errno.ENOSPC, errno.EFBIG, errno.EDQUOT, errno.EROFS])
@pytest.mark.parametrize("place", ["mkstemp", "replace", "write"])
def test_a_kernel_that_cannot_be_written_is_used_all_the_same(number, place, kept, monkeypatch):
    def refuse(*_, **__):
        raise OSError(number, os.strerror(number))

    with monkeypatch.context() as patch, logged() as lines:
        if place == "mkstemp":
            patch.setattr(tempfile, "mkstemp", refuse)
        elif place == "replace":
            patch.setattr(Path, "replace", refuse)
        else:
            patch.setattr(os, "fdopen", lambda handle, _: FullDisk(handle, number))
        assert [kept(), kept(np.float32)] == [1, 1]
    assert len(lines) == 1
    assert os.strerror(number) in lines[0]
    assert not files(kept.folder)
    assert [kept(), kept()] == [1, 0]


class FullDisk:
    """A file of which nothing can be written."""

    def __init__(self, handle, number):
        self.handle, self.number = handle, number

    def __enter__(self):
        return self

    def __exit__(self, *_):
        os.close(self.handle)

    def write(self, content):
        os.write(self.handle, content[:100])
        raise OSError(self.number, os.strerror(self.number))


@compiled_only
def test_a_folder_that_vanished_is_made_again(kept):
    kept.folder.rmdir()
    assert [kept(), kept()] == [1, 0]
    assert stat.S_IMODE(kept.folder.stat().st_mode) == 0o700


@compiled_only
def test_compiling_goes_on_if_numba_changes(kept, monkeypatch):
    monkeypatch.delattr(cache.CompileResult, "_reduce")
    with logged() as lines:
        assert kept() == 1
    assert len(lines) == 1
    assert "AttributeError" in lines[0]


@compiled_only
def test_what_is_forgotten_is_compiled_again(kept):
    kernel = jit.kernel(twice)
    kernel(np.zeros(1))
    kernel(np.zeros(1, np.float32))
    kernel.recompile()
    assert kernel._cache.compiled == 4
    assert kept() == 0


@compiled_only
def test_kernels_are_registered_and_what_is_compiled_is_counted(kept):
    assert jit.entry_points() == ()
    first, second = jit.kernel(twice), jit.kernel(twice)
    assert jit.entry_points() == (first, second)
    assert jit.compiled_count() == 0
    first(np.zeros(1))
    first(np.zeros(1))
    assert jit.compiled_count() == 1
    again = jit.kernel(twice)
    again(np.zeros(1))
    assert (jit.compiled_count(), again.stats.cache_hits.total()) == (1, 1)


NAMES_COMPILED = """
import sys
import numpy as np
from numba.core import event
from fastlin import functional
names = set()
class Names(event.Listener):
    def on_start(self, compiled):
        names.add(compiled.data["dispatcher"].py_func.__name__)
    def on_end(self, compiled):
        pass
event.register("numba:compile", Names())
K = int(sys.argv[1])
W, b, X, y = np.zeros((K, 5)), np.zeros(K), np.ones((4, 5)), np.arange(4) % K
functional.evaluate(X, y, W, b)
functional.sgd_epoch(X, y, np.arange(4), W, b, lr=0.1, batch_size=2)
print(*sorted(names))
"""


@compiled_only
@pytest.mark.parametrize(("K", "kind", "other"), [(10, "few", "many"), (60, "many", "few")])
def test_kernels_of_few_classes_compile_nothing_of_many(K, kind, other, tmp_path):
    process = start_python(f"import sys; sys.argv = ['', '{K}']" + NAMES_COMPILED,
                           NUMBA_CACHE_DIR=tmp_path)  # fmt: skip
    out, err = process.communicate(timeout=300)
    assert process.returncode == 0, err
    names = set(out.split())
    assert {f"scores_of_{kind}", f"update_of_{kind}"} <= names
    assert not {f"scores_of_{other}", f"update_of_{other}"} & names
    # What is compiled of its own, not as a part of a kernel, takes time: these are for all.
    assert len(names) < 25


@compiled_only
def test_entry_points_of_the_package_are_registered():
    assert losses.batch_loss in jit.entry_points()


# Old folders


def test_unused_folders_and_unfinished_files_are_removed(tmp_path):
    old = time.time() - 15 * 24 * 3600
    own = tmp_path / f"kernels-{'0' * 16}"
    unused, used, other = (
        tmp_path / name for name in (f"kernels-{'1' * 16}", f"kernels-{'2' * 16}", "kernels-mine")
    )
    for folder in (own, unused, used, other):
        (folder / "sub").mkdir(parents=True)
        (folder / "sub" / "x.kernel").write_text("code")
    (own / "old.tmp").write_text("half")
    (own / "new.tmp").write_text("half")
    (tmp_path / f"kernels-{'3' * 16}").write_text("a file")
    (tmp_path / f"kernels-{'4' * 16}").symlink_to(other, target_is_directory=True)
    for path in (own, own / "old.tmp", unused, other):
        os.utime(path, (old, old))
    cache._remove_old.__wrapped__(own)
    assert not unused.exists()
    assert {path.name for path in tmp_path.iterdir()} == {
        own.name, used.name, other.name, f"kernels-{'3' * 16}", f"kernels-{'4' * 16}",
    }  # fmt: skip
    assert (other / "sub" / "x.kernel").exists()
    assert {path.name for path in own.iterdir()} == {"sub", "new.tmp"}


def test_a_folder_that_is_used_is_touched(monkeypatch, tmp_path):
    monkeypatch.setattr(numba.config, "CACHE_DIR", str(tmp_path))
    folder = chosen()
    os.utime(folder, (0, 0))
    assert chosen() == folder
    assert time.time() - folder.stat().st_mtime < 3600


def test_removing_old_folders_survives_their_vanishing(monkeypatch, tmp_path):
    monkeypatch.setattr(Path, "iterdir", lambda _: iter([tmp_path / "gone"]))
    cache._remove_old.__wrapped__(tmp_path / "own")
