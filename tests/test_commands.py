import csv
import json
import signal
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from command_line import ROOT, call, same_run, small_images, summary
from stopping import begin

import fastlin
from fastlin import functional, threads
from fastlin.commands import COMMANDS
from fastlin.data import catalog
from fastlin.data.formats import cifar
from fastlin.training.trainer import Trainer


def process(*arguments, **settings):
    """Run the command line as a process of its own."""
    return subprocess.run(
        [sys.executable, "-m", "fastlin", *map(str, arguments)],
        capture_output=True, text=True, check=False, **settings,
    )  # fmt: skip


@pytest.fixture(autouse=True)
def place(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("PYTHONPATH", str(ROOT))
    return tmp_path


@pytest.fixture
def small(place):
    np.savez(place / "small.npz", **small_images(noise=120, contrast=60))
    return place / "small.npz"


def history(folder):
    with (Path(folder) / "history.csv").open() as file:
        return list(csv.DictReader(file))


def test_training_leaves_a_whole_run_and_says_what_it_found(small):
    result = call("train", "--data", small, "--epochs", 3)
    assert "Run folder: runs/small-1" in result.stdout
    for word in ("last epoch (3)", "best epoch", "train", "validation", "test", "compiling"):
        assert word in result.stdout
    assert "epoch 3/3" in result.stderr
    assert "samples/s" in result.stderr
    folder = Path("runs/small-1")
    assert {path.name for path in folder.iterdir()} == {
        "config.json", "history.csv", "model.npz", "summary.json", "figures",
    }  # fmt: skip
    assert {path.name for path in (folder / "figures").iterdir()} == {
        "cost.png", "accuracy.png", "templates.png", "gradient.png", "confusion.png",
        "classes.png", "calibration.png",
    }  # fmt: skip
    rows = history(folder)
    assert [row["epoch"] for row in rows] == ["1", "2", "3"]
    found = summary(folder)
    assert found["status"] == "finished"
    assert found["data"]["rows"] == {"train": 150, "val": 40, "test": 30}
    assert found["results"]["last"]["val"]["accuracy"] == float(rows[-1]["val_accuracy"])
    assert set(found["seconds"]) == {"compile", "train", "evaluate", "draw", "total"}


@pytest.mark.parametrize("every", [0, 2])
def test_training_rows_are_evaluated_as_often_as_asked(small, every):
    call("train", "--data", small, "--epochs", 5, "--no-figures", "--out", "usual")
    result = call("train", "--data", small, "--epochs", 5, "--eval-train", every, "--out", "ours")
    assert "nan" not in result.output
    assert "epoch 5/5  val " in result.stderr
    shown = [row["train_cost"] for row in history("ours")]
    usual = [row["train_cost"] for row in history("usual")]
    assert shown == ["" if not every or e % every else usual[e - 1] for e in range(1, 6)]
    assert summary("ours")["results"] == summary("usual")["results"]
    assert summary("ours")["best_epoch"] == summary("usual")["best_epoch"]
    assert Path("ours/figures/cost.png").exists()
    assert Path("ours/model.npz").read_bytes() == Path("usual/model.npz").read_bytes()
    call("evaluate", "ours")
    call("plot", "ours")
    call("report", "ours", "--out", "page")


def test_data_without_images_validation_or_test_train_too(place):
    rng = np.random.default_rng(0)
    np.savez(place / "plain.npz", X_train=rng.random((20, 5)), y_train=np.arange(20) % 5)
    call("train", "--data", "plain.npz", "--epochs", 2, "--dtype", "float64")
    assert {path.name for path in Path("runs/plain-1/figures").iterdir()} == {
        "cost.png", "accuracy.png", "gradient.png", "confusion.png", "classes.png",
        "calibration.png",
    }  # fmt: skip
    assert history("runs/plain-1")[0]["val_cost"] == ""
    call("evaluate", "runs/plain-1")


def test_one_and_two_threads_give_the_same_files(small):
    if threads.available() < 2:
        pytest.skip("this machine has one core")
    for count in (1, 2):
        call("train", "--data", small, "--epochs", 4, "--no-figures", "--threads", count,
             "--out", f"run-{count}")  # fmt: skip
    same_run("run-1", "run-2")


def test_a_run_is_repeated_from_its_config_and_options_take_precedence(small):
    settings = ("--loss", "hinge", "--lr", 0.003, "--seed", 5, "--no-shuffle", "--init", "xavier")
    call("train", "--data", small, "--epochs", 3, *settings, "--no-figures")
    call("train", "--config", "runs/small-1/config.json", "--no-figures")
    same_run("runs/small-1", "runs/small-2")
    call("train", "--config", "runs/small-1/config.json", "--epochs", 1, "--shuffle")
    config = json.loads(Path("runs/small-3/config.json").read_text())["train"]
    assert (config["epochs"], config["shuffle"], config["loss"]) == (1, True, "hinge")


def test_parameters_of_a_loss_go_to_the_config_and_back(small):
    settings = ("--data", small, "--epochs", 1, "--no-figures")
    call("train", *settings, "--loss", "squared-hinge", "--margin", 0.5, "--lr", 1e-4, "--out", "a")
    assert saved_loss("a") == "squared-hinge(margin=0.5)"
    call("train", "--config", "a/config.json", "--no-figures", "--out", "b")
    same_run("a", "b")
    call("train", "--config", "a/config.json", "--margin", 1, "--no-figures", "--out", "c")
    assert saved_loss("c") == "squared-hinge"


def saved_loss(folder):
    return json.loads((Path(folder) / "config.json").read_text())["train"]["loss"]


def test_evaluate_and_plot_read_a_run_back(small):
    call("train", "--data", small, "--epochs", 3, "--no-figures")
    lines = call("evaluate", "runs/small-1").stdout
    expected = summary("runs/small-1")["results"]
    for part in ("train", "val", "test"):
        assert f"{expected['last'][part]['cost']:.4f}" in lines
    assert "runs/small-1, weights of the last epoch" in lines
    best = call("evaluate", "runs/small-1", "--weights", "best", "--data", small).stdout
    assert "runs/small-1, weights of the best epoch" in best
    assert f"{expected['best']['test']['cost']:.4f}" in best
    drawn = call("plot", "runs/small-1").stdout.split()
    assert len(drawn) == 7
    assert all(Path(path).read_bytes().startswith(b"\x89PNG") for path in drawn)


def test_divergence_stops_keeps_the_last_finite_weights_and_exits_1(small):
    result = call("train", "--data", small, "--lr", 1e15, "--l2", 1, "--lr-decay", 1, code=1)
    assert "training diverged: the cost of epoch" in result.stderr
    assert "try a smaller lr, such as 1, or a smaller l2" in result.stderr
    assert "(--lr 1)" in result.stderr
    assert summary("runs/small-1")["status"] == "diverged"
    with np.load("runs/small-1/model.npz") as arrays:
        assert all(np.isfinite(arrays[name]).all() for name in ("W", "b"))
    call("evaluate", "runs/small-1")


def test_an_interrupt_keeps_the_finished_epochs(small, monkeypatch):
    right = Trainer.run_epoch

    def interrupted(trainer):
        if trainer.epochs_done == 2:
            raise KeyboardInterrupt
        return right(trainer)

    with monkeypatch.context() as patch:
        patch.setattr(Trainer, "run_epoch", interrupted)
        result = call("train", "--data", small, code=130)
    assert "keeping 2 finished epochs" in result.stderr
    assert len(history("runs/small-1")) == 2
    assert summary("runs/small-1")["epochs"]["finished"] == 2
    call("train", "--data", small, "--epochs", 2, "--no-figures", "--out", "two")
    assert (Path("two/history.csv")).read_bytes() == Path("runs/small-1/history.csv").read_bytes()


TRAINED = """
import pathlib, sys
from fastlin.commands import main
from fastlin.training.trainer import Trainer

right = Trainer.run_epoch

def run_epoch(trainer):
    record = right(trainer)
    if record.epoch == 2:
        pathlib.Path("begun").touch()
    return record

Trainer.run_epoch = run_epoch
main(["train", *sys.argv[1:]])
"""


def test_ctrl_c_ends_a_real_process_with_130_and_a_readable_run(small):
    call("train", "--data", small, "--epochs", 1, "--out", "first", "--no-figures")  # compiles
    training = begin(
        TRAINED, "--data", small, "--epochs", 1_000_000, "--out", "run", "--no-figures",
        until="begun",
    )  # fmt: skip
    training.send_signal(signal.SIGINT)
    try:
        _, errors = training.communicate(timeout=120)
    finally:
        training.kill()  # a million epochs are nothing to leave behind
    assert training.returncode == 130, errors
    assert "Traceback" not in errors
    assert "finished epoch" in errors
    assert len(history("run")) == summary("run")["epochs"]["finished"]
    call("evaluate", "run")


BAD = {
    "unknown data": ("train", "--data", "cifar11"),
    "missing file": ("train", "--data", "no/such.npz"),
    "missing folder": ("train", "--data", "cifar10", "--data-dir", "nowhere"),
    "unknown split": ("train", "--data", "cifar10", "--split", "half"),
    "negative lr": ("train", "--lr", -1),
    "lr that is no number": ("train", "--lr", "fast"),
    "infinite lr": ("train", "--lr", "inf"),
    "nan l2": ("train", "--l2", "nan"),
    "empty batch": ("train", "--batch-size", 0),
    "no epochs": ("train", "--epochs", 0),
    "growing lr": ("train", "--lr-decay", 1.5),
    "unknown loss": ("train", "--loss", "square"),
    "margin of softmax": ("train", "--margin", 2),
    "smoothing of a hinge": ("train", "--loss", "hinge", "--smoothing", 0.1),
    "smoothing of 1": ("train", "--smoothing", 1),
    "margin beyond float32": ("train", "--loss", "hinge", "--margin", "1e39"),
    "unknown option": ("train", "--learning-rate", 1),
    "negative seed": ("train", "--seed", -1),
    "too many threads": ("train", "--threads", 10_000),
    "no threads": ("train", "--threads", 0),
    "sigma of xavier": ("train", "--init", "xavier", "--sigma", 1),
    "decay of a constant": ("train", "--schedule", "constant", "--lr-decay", 0.5),
    "steps of no steps": ("train", "--step-epochs", 3),
    "lr that float32 takes for 0": ("train", "--lr", "1e-80"),
    "lr beyond float32": ("train", "--lr", "1e39"),
    "missing config": ("train", "--config", "none.json"),
    "unwritable folder": ("train", "--out", "file/run"),
    "full folder": ("train", "--out", "."),
    "no run": ("evaluate", "nowhere"),
    "no run to plot": ("plot", "nowhere"),
    "unknown set": ("data", "fetch", "cifar11"),
    "unknown info": ("data", "info", "cifar11"),
    "unknown command": ("tarin",),
}


@pytest.mark.parametrize("name", BAD)
def test_bad_input_is_one_line_and_exit_2(small, name, monkeypatch):
    monkeypatch.setenv("FASTLIN_DATA", str(small.parent / "data"))
    (small.parent / "data" / cifar.BINARY_FOLDER).mkdir(parents=True)
    (small.parent / "data" / cifar.BINARY_FOLDER / "test_batch.bin").touch()
    (small.parent / "file").touch()
    call(*BAD[name], code=2)
    assert not Path("runs").exists()


def test_missing_cifar_says_how_to_name_its_folder():
    told = call("train", "--data", "cifar10", "--data-dir", "nowhere", code=2).stderr
    assert "name the folder with FASTLIN_DATA or data_dir (--data-dir FOLDER)" in told


def test_a_run_that_does_not_fit_its_data_or_is_damaged_is_one_line(small):
    call("train", "--data", small, "--epochs", 1, "--no-figures", "--out", "run")
    assert "features" in call("evaluate", "run", "--data", "cifar10-mini", code=2).stderr
    assert "features" in call("plot", "run", "--data", "cifar10-mini", code=2).stderr
    model = Path("run/model.npz")
    model.write_bytes(model.read_bytes()[:100])
    for command in ("evaluate", "plot"):
        assert "model.npz is damaged" in call(command, "run", code=2).stderr


@pytest.mark.parametrize(
    "arguments",
    [
        ("evaluate", "NAME"), ("plot", "NAME"), ("report", "NAME"), ("data", "info", "NAME"),
        ("data", "info", "NAME.npz"), ("train", "--config", "NAME"), ("train", "--out", "NAME"),
        ("grid", "--resume", "NAME"), ("report", "--out", "NAME"),
        ("train", "--data", "cifar10", "--data-dir", "NAME"),
    ],
)  # fmt: skip
def test_names_that_are_too_long_or_go_in_circles_are_one_line(place, arguments):
    (place / "circle").symlink_to("circle")
    for name in ("x" * 300, "circle/x"):
        call(*(argument.replace("NAME", name) for argument in arguments), code=2)


def test_a_working_directory_that_is_gone_is_one_line(place, monkeypatch):
    (place / "gone").mkdir()
    monkeypatch.chdir(place / "gone")
    (place / "gone").rmdir()
    for command in (("train",), ("grid", "--lr", "0.1,0.2"), ("evaluate", "x"), ("report", "x")):
        assert "working directory" in call(*command, code=2).stderr


def test_a_file_called_runs_is_named_and_so_is_the_way_out(small):
    Path("runs").write_text("notes")
    for command in (("train",), ("grid", "--lr", "0.1,0.2")):
        errors = call(*command, "--data", small, "--epochs", 1, code=2).stderr
        assert "cannot write to runs" in errors
        assert "--out" in errors


def test_a_wrong_gradient_makes_gradcheck_exit_1(monkeypatch):
    result = call("gradcheck", "--quick", "--coordinates", 4)
    assert "All 148 gradients agree" in result.stdout
    right = functional.loss_and_gradient

    def wrong(*arguments, **settings):
        cost, dW, db = right(*arguments, **settings)
        return cost, 1.01 * dW, db

    monkeypatch.setattr(functional, "loss_and_gradient", wrong)
    result = call("gradcheck", "--quick", "--coordinates", 4, code=1)
    assert "74 of 148 gradients FAILED" in result.stderr


def test_gradcheck_refuses_rows_that_are_no_pixels(place):
    np.savez(place / "f.npz", X_train=np.ones((4, 2)), y_train=[0, 1, 0, 1])
    assert "needs images in uint8" in call("gradcheck", "--data", "f.npz", code=2).stderr


def test_data_are_listed_and_described():
    listed = call("data", "list").stdout
    assert all(name in listed for name in catalog.CATALOG)
    told = call("data", "info", "cifar10-mini").stdout
    for text in ("3,072 features as 3 x 32 x 32 images, uint8", "airplane", "2,000", "Krizhevsky"):
        assert text in told


def test_help_is_there_for_every_command_and_loads_nothing_heavy():
    code = (
        "import sys; from fastlin.commands import main; main(['--help'], standalone_mode=False);"
        "heavy = {'numba', 'numpy', 'matplotlib', 'rich', 'pooch'} & set(sys.modules);"
        "sys.exit(','.join(heavy) or 0)"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    for command in COMMANDS:
        assert command in done.stdout
        assert "--help" in call(command, "--help").stdout


def test_the_package_the_checkout_and_the_console_script_are_one_command_line(small):
    version = process("--version").stdout
    assert version == f"fastlin, version {fastlin.__version__}\n"
    checkout = subprocess.run(
        [sys.executable, ROOT / "cli.py", "train", "--data", small, "--epochs", "1"],
        capture_output=True, text=True, check=False,
    )  # fmt: skip
    assert checkout.returncode == 0, checkout.stderr
    assert "Run folder: runs/small-1" in checkout.stdout
    wrong = process("train", "--lr", "-1")
    assert (wrong.returncode, wrong.stdout) == (2, "")
    assert wrong.stderr.count("\n") == 1


def test_a_closed_pipe_is_no_traceback(small):
    done = subprocess.run(
        f"{sys.executable} -m fastlin train --help | head -1",
        shell=True, capture_output=True, text=True, check=False,
    )  # fmt: skip
    assert "Traceback" not in done.stderr


def test_the_real_data_reach_the_published_accuracy():
    if catalog.locate_cifar10() is None:
        pytest.skip("needs CIFAR-10: set FASTLIN_DATA to the folder that holds it")
    call("train", "--data", "cifar10", "--lr", 0.01, "--l2", 0.01, "--batch-size", 100,
         "--lr-decay", 1, "--no-shuffle", "--no-figures")  # fmt: skip
    accuracy = summary("runs/cifar10-1")["results"]["last"]["test"]["accuracy"]
    assert accuracy == pytest.approx(0.365, abs=0.005)  # one binomial standard error


def test_a_cost_that_its_dtype_cannot_hold_costs_no_result(place):
    rng = np.random.default_rng(0)
    y = np.arange(60) % 5
    X = (rng.normal(size=(60, 5)) + y[:, None]).astype(np.float32)
    far = X.copy()
    far[0] = 1e25
    np.savez(place / "far.npz", X_train=X, y_train=y, X_val=X, y_val=y, X_test=far, y_test=y)
    words = ("--loss", "squared-hinge", "--lr", "0.01", "--epochs", 2, "--no-figures")
    result = call("train", "--data", "far.npz", *words, "--out", "run")
    assert "not finite" in result.stdout
    results = json.loads((place / "run/summary.json").read_text())["results"]
    assert results["last"]["test"]["cost"] is None
    assert results["last"]["val"]["cost"] > 0


def test_rows_of_other_data_are_called_what_they_are(small):
    arrays = small_images(noise=60, contrast=20)
    np.savez("new.npz", X=arrays["X_test"], y=arrays["y_test"])
    quick = ("--epochs", 1, "--no-figures")
    call("train", "--data", small, *quick, "--out", "run")
    found = call("evaluate", "run", "--data", "new.npz", "--per-class").stdout
    assert "rows of new" in found
    assert "class (rows of new)" in found
    assert "train" not in found
    call("train", "--data", "new.npz", *quick, "--out", "own")
    for words in ((), ("--data", "new.npz")):
        assert "train" in call("evaluate", "own", *words).stdout
    assert "train" in call("evaluate", "own", "--data", small).stdout  # which has several parts
