"""fastlin under a user's own environment: streams, signals, names, settings of other programs."""

import io
import json
import os
import re
import signal
import subprocess
import sys
import threading
import types
from pathlib import Path

import numba
import numpy as np
import pytest
from click.testing import CliRunner
from command_line import ROOT, call, small_images, summary
from hypothesis import given
from hypothesis import strategies as st
from rich.table import Table

from fastlin import compilation, figures, functional, metrics, runs
from fastlin.commands import main, options, outcome, process
from fastlin.data import catalog
from fastlin.errors import InputError, one_line, reason_of
from fastlin.training.trainer import Trainer

NAMES = ["[PAD]", "[/INST]", "[bold red]x", ":cat:", "Kätzchen"]


@pytest.fixture(autouse=True)
def place(tmp_path, monkeypatch):
    (tmp_path / "work").mkdir()
    (tmp_path / "home").mkdir()
    monkeypatch.chdir(tmp_path / "work")
    monkeypatch.setenv("HOME", str(tmp_path / "home"))
    return tmp_path / "work"


@pytest.fixture
def small(place):
    arrays = small_images(noise=120, contrast=60)
    np.savez(place / "small.npz", **arrays, class_names=np.array(NAMES))
    return place / "small.npz"


def train(*arguments, code=0):
    return call(
        "train", "--data", "small.npz", "--epochs", 4, *arguments, "--out", "run", code=code
    )


def command(*arguments, **settings):
    """Run the command line as a process of its own, in this test's folder."""
    environment = {**os.environ, "PYTHONPATH": str(ROOT), **settings.pop("env", {})}
    return subprocess.run(
        [sys.executable, "-m", "fastlin", *map(str, arguments)],
        env=environment, text=True, check=False, timeout=300, **settings,
    )  # fmt: skip


def at_epoch(monkeypatch, epoch, action):
    """Let something happen before an epoch of a run."""
    right = Trainer.run_epoch

    def run_epoch(trainer):
        if trainer.epochs_done == epoch - 1:
            action()
        return right(trainer)

    monkeypatch.setattr(Trainer, "run_epoch", run_epoch)


needs_signals = pytest.mark.skipif(
    threading.current_thread() is not threading.main_thread() or not hasattr(signal, "SIGHUP"),
    reason="signals reach the main thread only",
)


# Figures that cannot be drawn, and results that are there before


def test_a_backend_that_is_not_installed_keeps_no_figure_from_being_drawn(place):
    code = (
        "import os; from pathlib import Path; import numpy as np; from fastlin import figures;"
        "figures.save_figure(figures.gradient_histogram(np.ones(3)), Path('a.png'));"
        "import matplotlib; print(os.environ['MPLBACKEND'])"
    )
    environment = {**os.environ, "PYTHONPATH": str(ROOT), "MPLBACKEND": "module://no.such_backend"}
    found = subprocess.run(
        [sys.executable, "-c", code], env=environment, capture_output=True, text=True, check=False
    )
    assert (found.stdout, found.stderr) == ("module://no.such_backend\n", "")
    figures.save_figure(figures.gradient_histogram(np.ones(3)), place / "b.png")
    assert (place / "a.png").read_bytes() == (place / "b.png").read_bytes()


def test_one_figure_that_fails_is_one_line_and_the_others_are_drawn(small, monkeypatch):
    def fails(*_):
        raise RuntimeError("no fonts\nin [/home]")

    monkeypatch.setattr(figures, "cost_curves", fails)
    result = train()
    assert "cost.png is not drawn: RuntimeError: no fonts in [/home]" in result.stderr.splitlines()
    assert {path.name for path in Path("run/figures").iterdir()} == {
        "accuracy.png", "templates.png", "gradient.png", "confusion.png", "classes.png",
        "calibration.png",
    }  # fmt: skip
    assert summary("run")["status"] == "finished"
    again = call("plot", "run", code=1)
    assert "cost.png is not drawn" in again.stderr
    assert len(again.stdout.split()) == 6


def test_without_matplotlib_the_results_are_there(small, monkeypatch):
    monkeypatch.setitem(sys.modules, "fastlin.figures", None)
    monkeypatch.delattr("fastlin.figures")
    result = train()
    assert "figures are not drawn" in result.stderr
    assert summary("run")["status"] == "finished"


def test_a_disk_that_is_full_for_figures_is_one_line(small):
    Path("run").mkdir()
    right = runs.save_summary

    def in_the_way(folder, content):
        right(folder, content)
        (folder / "figures").touch()

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(runs, "save_summary", in_the_way)
        result = train()
    assert "figures are not drawn: cannot make run/figures" in result.stderr


def test_of_many_classes_no_table_of_all_pairs_is_made(small, monkeypatch):
    def huge(*_):
        raise AssertionError("a table of all pairs was made")

    monkeypatch.setattr(metrics, "MAX_MATRIX_CLASSES", 4)
    monkeypatch.setattr(metrics, "confusion_counts", huge)
    assert "not drawn" not in train().stderr


def test_summary_and_table_are_there_before_a_figure_is_drawn(small, monkeypatch):
    seen = []

    def look(_, folder, *__):
        seen.append(json.loads((folder.parent / "summary.json").read_text())["seconds"])
        return []

    monkeypatch.setattr(figures, "save_figures", look)
    lines = train().stdout.splitlines()
    assert seen[0]["draw"] == 0
    assert summary("run")["seconds"]["draw"] > 0
    assert lines.index("Run folder: run") < next(
        place for place, line in enumerate(lines) if line.startswith("Time: ")
    )
    grid = ("grid", "--data", "small.npz", "--epochs", 1, "--lr", "0.01234,0.1", "--out", "grid")
    assert "Winner" in call(*grid).stdout
    assert [one["draw"] for one in seen] == [0, 0, 0]
    assert set(summary("grid")["seconds"]) == {"compile", "search", "draw", "total"}


def test_ctrl_c_while_drawing_keeps_the_results(small, monkeypatch):
    def interrupt(*_):
        raise KeyboardInterrupt

    monkeypatch.setattr(figures, "save_figures", interrupt)
    result = train(code=130)
    assert "Aborted" not in result.output
    assert "the results are in run" in result.stderr
    assert summary("run")["status"] == "finished"
    grid = ("grid", "--data", "small.npz", "--epochs", 1, "--lr", "0.01,0.1", "--out", "grid")
    result = call(*grid, code=130)
    assert "go on with: fastlin grid --resume grid" in result.stderr
    assert summary("grid")["winner"]["entry"] in {0, 1}


# Signals


@needs_signals
@pytest.mark.parametrize(("name", "code"), [("SIGINT", 130), ("SIGTERM", 143), ("SIGHUP", 129)])
def test_a_signal_keeps_the_finished_epochs(small, monkeypatch, name, code):
    before = [signal.getsignal(getattr(signal, name)) for name in process.STOPS]
    if signal.getsignal(getattr(signal, name)) is signal.SIG_IGN:
        pytest.skip(f"{name} is ignored here")
    number = getattr(signal, name)
    at_epoch(monkeypatch, 3, lambda: signal.raise_signal(number))
    try:
        result = train(code=code)
        after = signal.getsignal(number)
    finally:
        for each, handler in zip(process.STOPS, before, strict=True):
            signal.signal(getattr(signal, each), handler)
    assert "keeping 2 finished epochs" in result.stderr
    found = summary("run")
    assert (found["status"], found["epochs"]["finished"]) == ("interrupted", 2)
    assert not Path("run/figures").exists()  # nobody waits for pictures
    assert after is process._exit_at_once  # a press more must not change the exit code


@needs_signals
def test_a_second_signal_while_results_are_written_waits(small, monkeypatch):
    before = signal.getsignal(signal.SIGINT)
    signal.signal(signal.SIGINT, signal.default_int_handler)
    at_epoch(monkeypatch, 3, lambda: signal.raise_signal(signal.SIGINT))
    from fastlin import summaries

    right = summaries.evaluate_all

    def impatient(*arguments):
        signal.raise_signal(signal.SIGINT)
        return right(*arguments)

    monkeypatch.setattr(summaries, "evaluate_all", impatient)
    try:
        result = train(code=130)
    finally:
        signal.signal(signal.SIGINT, before)
    assert "Aborted" not in result.output
    assert summary("run")["epochs"]["finished"] == 2
    assert not Path("run/figures").exists()


@needs_signals
def test_a_press_right_after_the_first_is_not_heard():
    before = signal.getsignal(signal.SIGINT)
    signal.signal(signal.SIGINT, signal.default_int_handler)
    try:
        with process.orderly_signals():
            with pytest.raises(KeyboardInterrupt):
                signal.raise_signal(signal.SIGINT)
            signal.raise_signal(signal.SIGINT)
            signal.raise_signal(signal.SIGTERM)
    finally:
        signal.signal(signal.SIGINT, before)


@needs_signals
def test_signals_that_were_ignored_stay_so_and_handlers_are_given_back():
    signal.signal(signal.SIGINT, signal.default_int_handler)
    signal.signal(signal.SIGTERM, signal.SIG_DFL)
    signal.signal(signal.SIGHUP, signal.SIG_IGN)
    with process.orderly_signals():
        assert signal.getsignal(signal.SIGHUP) is signal.SIG_IGN
    call("--version")
    assert signal.getsignal(signal.SIGINT) is signal.default_int_handler
    assert signal.getsignal(signal.SIGTERM) is signal.SIG_DFL
    with process.orderly_signals(), pytest.raises(process.Stopped):
        signal.raise_signal(signal.SIGTERM)
    assert signal.getsignal(signal.SIGTERM) is process._exit_at_once
    assert signal.getsignal(signal.SIGHUP) is signal.SIG_IGN
    with process.orderly_signals(), pytest.raises(process.Stopped):
        signal.raise_signal(signal.SIGTERM)  # of the next command in this process


def test_an_interrupt_of_any_command_is_130(monkeypatch):
    def interrupt(*_):
        raise KeyboardInterrupt

    monkeypatch.setattr(options, "load_reference", interrupt)
    for arguments in (("train",), ("data", "info", "cifar10-mini"), ("grid", "--lr", "0.1,0.2")):
        assert call(*arguments, code=130).output.strip() == "Interrupted"


HEEDED = """
import hashlib
import sys
from fastlin.commands import process

def run_on():
    print("ready", flush=True)
    while True: pass

try:
    with process.orderly_signals():
        exec(compile(sys.argv[2], sys.argv[1], "exec"))
except KeyboardInterrupt as stop:
    sys.exit(process.exit_code(stop))
"""
IN_C_CODE = "print('ready', flush=True); hashlib.pbkdf2_hmac('sha256', b'', b'', 200_000_000)"
LOSES_TWO = """
for _ in range(2):
    try: run_on()
    except KeyboardInterrupt: pass
run_on()
"""
BECOMES_ANOTHER = """
try: run_on()
except KeyboardInterrupt: raise AttributeError("_as_parameter_")
"""
LOST_IN_CLEANING_UP = """
class Kept:
    def __del__(self): run_on()
Kept()
run_on()
"""


@pytest.mark.skipif(os.name == "nt", reason="signals are sent otherwise")
@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
@pytest.mark.parametrize(
    ("filename", "code"),
    [
        ("/x/numba/core/compiler.py", IN_C_CODE),
        ("/x/numba/core/dispatcher.py", BECOMES_ANOTHER),
        ("/x/other.py", LOSES_TWO),
        ("/x/other.py", LOST_IN_CLEANING_UP),
        ("/x/other.py", "exec('run_on()')"),
    ],
    ids=["in C code", "becomes another", "lost", "lost in cleaning up", "in text"],
)
def test_a_signal_is_heeded_while_compiling_and_where_it_was_lost(filename, code, number):
    with subprocess.Popen(
        [sys.executable, "-c", HEEDED, filename, code], cwd=ROOT, stdout=subprocess.PIPE,
        stderr=subprocess.PIPE, text=True,
    ) as running:  # fmt: skip
        try:
            assert running.stdout.readline() == "ready\n"
            running.send_signal(number)
            _, err = running.communicate(timeout=30)
        finally:
            running.kill()
    assert running.returncode == 128 + number
    assert "Traceback" not in err
    assert "Exception ignored" not in err


def test_ctrl_c_while_the_command_line_is_imported_is_no_traceback(place):
    (place / "click.py").write_text("raise KeyboardInterrupt")
    environment = {**os.environ, "PYTHONPATH": f"{place}{os.pathsep}{ROOT}"}
    found = subprocess.run(
        [sys.executable, "-c", "from fastlin.commands import main"],
        env=environment, capture_output=True, text=True, check=False,
    )  # fmt: skip
    assert (found.returncode, found.stderr) == (130, "")


def test_too_little_memory_is_one_line(monkeypatch):
    def too_much(*_):
        raise MemoryError("Unable to allocate 3 GiB")

    monkeypatch.setattr(options, "load_reference", too_much)
    result = call("train", code=1)
    assert result.stderr.startswith("Error: not enough memory: ")
    assert result.stderr.count("\n") == 1


# Streams


def test_a_stream_that_fails_is_written_no_more():
    class Full(io.StringIO):
        calls = 0

        def write(self, text):
            self.calls += 1
            raise OSError(28, "No space left on device")

    full = Full()
    stream = process.Stream(full)
    assert stream.write("a") == 1
    stream.write("b")
    stream.flush()
    assert full.calls == 1
    assert stream.failure.errno == 28


def test_a_stream_that_was_closed_from_the_start_takes_everything():
    stream = process.Stream(None)
    stream.write("a")
    stream.flush()
    assert stream.failure is not None
    assert not stream.isatty()


def to_reader_that_has_gone():
    read, write = os.pipe()
    os.close(read)
    return os.fdopen(write, "wb")


def to_full_device():
    return Path("/dev/full").open("wb")


BROKEN = {"gone": to_reader_that_has_gone, "full": to_full_device}
needs_full = pytest.mark.skipif(not Path("/dev/full").exists(), reason="there is no /dev/full")


@needs_full
@pytest.mark.parametrize("how", BROKEN)
def test_progress_that_cannot_be_shown_stops_no_training(small, how):
    arguments = ("train", "--data", small, "--epochs", 40, "--no-figures", "--out")
    with BROKEN[how]() as broken:
        found = command(*arguments, "run", stderr=broken, stdout=subprocess.PIPE)
    assert found.returncode == 0
    assert "Run folder: run" in found.stdout
    assert summary("run")["epochs"]["finished"] == 40
    with BROKEN[how]() as broken:
        found = command(*arguments, "both", stderr=broken, stdout=broken)
    assert found.returncode == 1
    assert summary("both")["epochs"]["finished"] == 40


@needs_full
@pytest.mark.parametrize(
    ("how", "message"),
    [("gone", ""), ("full", "Error: cannot write to standard output: No space left on device\n")],
)
@pytest.mark.parametrize("arguments", [("data", "info", "cifar10-mini"), ("--help",)])
def test_results_that_cannot_be_printed_are_exit_1_and_no_traceback(how, message, arguments):
    with BROKEN[how]() as broken:
        found = command(*arguments, stdout=broken, stderr=subprocess.PIPE)
    assert (found.returncode, found.stderr) == (1, message)


def test_streams_that_are_closed_from_the_start(small):
    line = f"exec {sys.executable} -m fastlin data info small.npz"
    environment = {**os.environ, "PYTHONPATH": str(ROOT)}
    for closed, code in (("2>&-", 0), (">&-", 1), (">&- 2>&-", 1)):
        found = subprocess.run(
            f"{line} {closed}", shell=True, env=environment, capture_output=True, text=True,
            check=False,
        )  # fmt: skip
        assert found.returncode == code, closed
        assert "Traceback" not in found.stderr


def test_letters_that_a_terminal_lacks_are_replaced(small):
    runner = CliRunner(charset="ascii")
    for arguments in (
        ("train", "--data", "small.npz", "--epochs", "1", "--no-figures", "--out", "José[/x]"),
        ("data", "info", "small.npz"),
        ("evaluate", "José[/x]"),
        ("evaluate", "nö"),
    ):
        result = runner.invoke(main, arguments)
        assert result.exit_code == (2 if arguments[-1] == "nö" else 0), result.output
        assert result.output.isascii()
        assert "UnicodeEncodeError" not in result.output
    assert "K?tzchen" in runner.invoke(main, ["data", "info", "small.npz"]).output


# Text


def test_square_brackets_and_colons_are_printed_as_they_are(small):
    told = call("data", "info", "small.npz").stdout
    assert all(name in told for name in NAMES)
    for out in ("probe[lr=0.1]", "probe[/v2]", ":cat:"):
        told = call("train", "--data", "small.npz", "--epochs", 1, "--no-figures", "--out", out)
        assert "softmax on small, with --lr" in told.stdout
        assert f"Run folder: {out}\n" in told.stdout
        assert "0." in call("evaluate", out).stdout
    grid = ("grid", "--data", "small.npz", "--epochs", 1, "--lr", "0.01234,0.1", "--no-figures")
    told = call(*grid, "--out", "[/grid]")
    assert "[/grid]" in told.stdout
    assert re.search(r"\b0\.01234\b", told.stdout.split("Winner")[0])
    assert "[/x].npz" in call("train", "--data", "[/x].npz", code=2).stderr


def test_names_stand_on_one_line_of_a_table(place):
    names = ["a  b", "[31mred", "n" * 200, "\u202eleft"]
    np.savez(
        "t.npz", X_train=np.eye(4), y_train=np.arange(4), class_names=np.array(names)
    )  # fmt: skip
    told = call("data", "info", "t.npz").stdout
    assert "a b" in told
    assert "[31mred" in told
    assert r"\u202eleft" in told
    assert max(map(len, told.splitlines())) < 100


@pytest.mark.parametrize("columns", ["", "40", "10", "0", "-5", "abc", "²", "9" * 5000])
def test_tables_are_whole_at_any_width(columns, monkeypatch, capsys):
    monkeypatch.setenv("COLUMNS", columns)
    monkeypatch.setenv("LINES", columns)
    if not columns:
        monkeypatch.delenv("COLUMNS")
    table = Table("name", *(f"long heading {column}" for column in range(12)))
    numbers = [f"0.{column:02}{column:02}1234" for column in range(12)]
    table.add_row("[a]", *numbers)
    options.print_table(options.console(), table)
    told = capsys.readouterr().out
    assert "…" not in told
    line = next(line for line in told.splitlines() if "[a]" in line)
    assert all(number in line for number in numbers)


@given(st.text(), st.integers(3, 50))
def test_one_line_is_printable_and_short(text, letters):
    shown = one_line(text, letters)
    assert len(shown) <= letters
    assert all(letter.isprintable() or letter in "\u200c\u200d" for letter in shown)
    assert one_line(shown, letters) == shown


def test_one_line_keeps_words_of_any_alphabet():
    for word in ("Kätzchen", "猫", "می\u200cخواهم", "नमस्ते", "кот", "$\\frac$ 50% R&D #1 a_b"):  # noqa: RUF001
        assert one_line(word, 40) == word
    assert reason_of(OSError(28, "No\nspace")) == "OSError: [Errno 28] No space"
    assert reason_of(InputError("x is 1")) == "x is 1"
    assert reason_of(MemoryError()) == "MemoryError"


# Names and places


def test_the_name_of_a_data_set_means_it_whatever_lies_around(place):
    for name in catalog.CATALOG:
        (place / name).mkdir()
        assert options.reference_of({"data": name}).data == name
        assert options.reference_of({"data": f"./{name}"}).data == str(place / name)
    call("train", "--epochs", 1, "--no-figures")
    assert "airplane" in call("data", "info", "cifar10-mini").stdout
    assert "holds no data" in call("data", "info", "./cifar10-mini", code=2).stderr


def test_tilde_is_the_home_folder(small, place, monkeypatch):
    home = place.parent / "home"
    small.rename(home / "t.npz")
    call("train", "--data", "~/t.npz", "--epochs", 1, "--no-figures", "--out", "~/r/x")
    assert summary(home / "r/x")["status"] == "finished"
    call("train", "--config", "~/r/x/config.json", "--no-figures", "--out=~/r/y")
    call("evaluate", "~/r/x")
    assert not (place / "~").exists()
    assert len(catalog.load_split("~/t.npz").train) == 150
    monkeypatch.setenv("FASTLIN_DATA", "~/data")
    assert catalog.data_place(None)[0] == home / "data"
    assert catalog.data_place("~/data")[0] == home / "data"
    assert str(home / "none") in call(
        "train", "--data", "cifar10", "--data-dir", "~/none", code=2
    ).stderr  # fmt: skip


@pytest.mark.parametrize("option", ["--out", "--data", "--data-dir", "--config"])
@pytest.mark.parametrize("value", ["~no.such.user/x", ""])
def test_places_that_mean_nothing_are_refused(option, value, place):
    assert option in call("train", option, value, code=2).stderr
    assert list(place.iterdir()) == []


def test_a_pipe_is_no_data_file(place):
    os.mkfifo(place / "pipe.npz")
    assert "pipe, not a file" in call("train", "--data", "pipe.npz", code=2).stderr
    read, write = os.pipe()
    try:
        line = call("data", "info", f"/dev/fd/{read}", code=2).stderr
    finally:
        os.close(read)
        os.close(write)
    assert f"/dev/fd/{read} is a named pipe" in line


def test_names_that_are_too_long_are_one_line(place):
    assert "File name too long" in call("train", "--data", "n" * 5000, code=2).stderr
    assert "too long" in call(
        "train", "--data", "cifar10", "--data-dir", "n" * 300, code=2
    ).stderr  # fmt: skip


def test_a_working_directory_that_is_gone_is_one_line(place):
    code = (
        "import os; os.mkdir('gone'); os.chdir('gone'); os.rmdir('../gone');"
        "from fastlin.commands import main; main(['train'])"
    )
    environment = {**os.environ, "PYTHONPATH": str(ROOT)}
    found = subprocess.run(
        [sys.executable, "-c", code], env=environment, capture_output=True, text=True, check=False
    )
    assert found.returncode == 2
    assert found.stderr.startswith("Error: the working directory is gone")
    assert found.stderr.count("\n") == 1


# Where the time goes


def test_compiling_is_said_once_and_only_if_something_is_compiled(capsys):
    @numba.njit
    def twice(x):
        return 2 * x

    for compiled in (True, False):
        with outcome.compiling(options.console()) as compilation:
            twice(1)
        assert (compilation.seconds > 0) == compiled
        assert capsys.readouterr().out.count("Compiling") == compiled


def test_kernels_are_compiled_before_training_and_drawing_are_timed(small, monkeypatch):
    calls = []
    moments, init = functional.feature_moments, Trainer.__init__

    def look(X, *arguments, **settings):
        calls.append(len(X))
        return moments(X, *arguments, **settings)

    def make(*arguments, **settings):
        calls.append("trainer")
        return init(*arguments, **settings)

    monkeypatch.setattr(functional, "feature_moments", look)
    monkeypatch.setattr(Trainer, "__init__", make)
    train("--standardize", "--no-figures")
    assert calls[:2] == [1, "trainer"]


def test_drawing_does_not_count_what_was_compiled_meanwhile(capsys, monkeypatch):
    @numba.njit
    def twice(x):
        return 2 * x

    now = iter(range(100))
    clock = types.SimpleNamespace(perf_counter=lambda: float(next(now)))
    for module in (outcome, compilation):
        monkeypatch.setattr(module, "time", clock)
    # Read at: 0 drawing begins, 1 and 2 around the compiler, 3 drawing ends.
    assert outcome.drawing(lambda: twice(1), options.console()) == (1.0, 2.0)


@pytest.mark.parametrize("name", ["safe_streams", "orderly_signals"])
def test_ctrl_c_before_the_command_begins_is_130(monkeypatch, name):
    def interrupt():
        raise KeyboardInterrupt

    monkeypatch.setattr(process, name, interrupt)
    assert call("--version", code=130).output == ""
    with pytest.raises(KeyboardInterrupt):
        main(["--version"], standalone_mode=False)
