import csv
import errno
import io
import json
import os
import shlex
import shutil
import signal
import stat
import sys
from pathlib import Path

import command_line
import numpy as np
import pytest
from command_line import ROOT, same_run, small_images, summary
from rich.console import Console
from stopping import begin_grid

from fastlin.commands.grid_output import progress_shown
from fastlin.config import TrainConfig
from fastlin.data import load_split
from fastlin.report.grid_figures import draw_grid
from fastlin.search import checkpoints
from fastlin.search.progress import GridProgress
from fastlin.search.search import grid_search
from fastlin.training.grid import GridTrainer

LISTS = ("--lr", "0.02,0.2", "--l2", "0,0.001:0.1:2", "--batch-size", "16,32", "--epochs", 4)


def call(*arguments, **expected):
    return command_line.call("grid", *arguments, **expected)


def fastlin(*arguments):
    """Run another command in this process; return what it printed."""
    return command_line.call(*arguments).stdout


@pytest.fixture(autouse=True)
def place(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("PYTHONPATH", str(ROOT))
    return tmp_path


@pytest.fixture
def small(place):
    np.savez(place / "small.npz", **small_images(noise=200, contrast=55))
    return place / "small.npz"


def table(folder):
    with (Path(folder) / "grid.csv").open() as file:
        return list(csv.DictReader(file))


def test_a_grid_leaves_its_table_its_figures_and_its_winner(small):
    result = call("--data", small, *LISTS)
    folder = Path("runs/small-grid-1")
    assert {path.name for path in folder.iterdir()} == {
        "grid.json", "grid.csv", "summary.json", "figures", "winner", "journal.jsonl",
        "journal.jsonl.weights.npz",
    }  # fmt: skip
    assert {path.name for path in (folder / "figures").iterdir()} == {
        "heat-lr-l2.png", "heat-lr-batch_size.png", "heat-l2-batch_size.png", "curves.png",
        "parallel.png",
    }  # fmt: skip
    assert {path.name for path in (folder / "winner").iterdir()} == {
        "config.json", "history.csv", "model.npz", "summary.json", "figures",
    }  # fmt: skip
    rows = table(folder)
    assert [row["rank"] for row in rows] == [str(rank) for rank in range(1, 13)]
    scores = [float(row["score"]) for row in rows]
    assert scores == sorted(scores, reverse=True)
    found = summary(folder)
    assert found["entries"] == {"finished": 12}
    assert found["winner"]["entry"] == int(rows[0]["entry"])
    assert found["winner"]["score"] == scores[0]
    test = summary(folder / "winner")["results"]["last"]["test"]
    assert found["winner"]["test"] == test
    for text in (
        "Best 10 of 12 by validation accuracy at the last epoch",
        "Within noise: less than",
        "one standard error of its accuracy on 40 validation rows",
        f"Test accuracy of the winner, after epoch 4: {test['accuracy']:.2%}",
        f"Train it alone: {found['winner']['command']}",
        "Grid folder: runs/small-grid-1",
        "total",
    ):
        assert text in result.stdout
    assert "epoch 3/4  12 entries: 12 in training  best val. accuracy " in result.stderr
    assert "epoch 4/4  12 entries: 12 finished  best val. accuracy " in result.stderr


def test_the_winner_is_an_ordinary_run_and_its_command_repeats_it(small):
    call("--data", small, *LISTS, "--at", "best", "--no-figures", "--out", "g")
    assert not Path("g/figures").exists()
    assert not Path("g/winner/figures").exists()
    fastlin("evaluate", "g/winner")
    assert len(fastlin("plot", "g/winner").split()) == 7
    fastlin("train", "--config", "g/winner/config.json", "--no-figures", "--out", "again")
    same_run("g/winner", "again")
    command = summary("g")["winner"]["command"].split()
    assert command[:2] == ["fastlin", "train"]
    fastlin(*command[1:], "--no-figures", "--out", "alone")
    same_run("g/winner", "alone")


def test_margins_and_smoothings_are_swept_by_the_losses_that_have_them(small):
    call("--data", small, "--loss", "softmax,hinge", "--margin", "0.5,1", "--smoothing", "0.1",
         "--lr", 0.001, "--epochs", 2, "--no-figures", "--out", "g")  # fmt: skip
    fastlin("report", "g", "--out", "page")
    losses = [row["loss"] for row in table("g")]
    assert losses == ["softmax(smoothing=0.1)", "hinge(margin=0.5)", "hinge"]
    command = summary("g")["winner"]["command"].split()
    fastlin(*command[1:], "--no-figures", "--out", "alone")
    same_run("g/winner", "alone")


SWITCHES = ("--epochs", "2,3", "--standardize", "true,false", "--momentum", "0.5", "--no-nesterov",
            "--no-shuffle", "--no-figures")  # fmt: skip


def test_epochs_and_switches_take_lists(small):
    call("--data", small, *SWITCHES, "--out", "g")
    rows = table("g")
    assert {
        (row["epochs"], row["standardize"], row["nesterov"], row["shuffle"]) for row in rows
    } == {
        (epochs, standardize, "False", "False")
        for epochs in ("2", "3")
        for standardize in ("True", "False")
    }
    assert all(row["epochs_finished"] == row["epochs"] for row in rows)
    command = summary("g")["winner"]["command"].split()
    fastlin(*command[1:], "--no-figures", "--out", "alone")
    same_run("g/winner", "alone")
    nesterov = ("--lr", "0.1,0.2", "--momentum", "0.5", "--nesterov", "--epochs", 1)
    call("--data", small, *nesterov, "--no-figures", "--out", "n")
    assert [row["nesterov"] for row in table("n")] == ["True", "True"]
    fastlin("report", "g", "--out", "page")


def test_class_weights_are_searched(small):
    Path("w.csv").write_text("1,3\n")
    call("--data", small, "--class-weight", "none", "--class-weight", "balanced", "--class-weight",
         "w.csv", "--lr", "0.1,0.2", "--epochs", 2, "--out", "g")  # fmt: skip
    assert {row["class_weight"] for row in table("g")} == {"", "balanced", "{'1': 3.0}"}
    command = summary("g")["winner"]["command"]
    fastlin(*shlex.split(command)[1:], "--no-figures", "--out", "alone")
    same_run("g/winner", "alone")
    fastlin("report", "g", "--out", "page")
    call("--resume", "g")


def test_a_grid_of_different_epochs_goes_on_after_an_interrupt(small, monkeypatch):
    interrupted(monkeypatch, small, "--epochs", 3)
    call("--resume", "g", "--no-figures")
    call("--data", small, *LISTS, "--epochs", 3, "--no-figures", "--out", "whole")
    assert {row["epochs"] for row in table("g")} == {"3", "4"}
    assert Path("g/grid.csv").read_bytes() == Path("whole/grid.csv").read_bytes()


def test_a_loss_with_a_parameter_is_trained_by_its_text(small):
    for out, loss in (("a", ("hinge(margin=0.5)",)), ("b", ("hinge", "--margin", 0.5))):
        fastlin("train", "--data", small, "--loss", *loss, "--epochs", 1, "--no-figures", "--out",
                out)  # fmt: skip
    same_run("a", "b")
    result = command_line.call("train", "--data", small, "--loss", "hinge(margin=0.5)", "--margin",
                               2, code=2)  # fmt: skip
    assert "margin is given twice: in loss hinge(margin=0.5), and by itself" in result.stderr


def test_every_row_of_the_table_is_a_single_run(small):
    call("--data", small, "--loss", "softmax,hinge", "--seed", "0:1:2", "--epochs", 3,
         "--no-figures", "--out", "g")  # fmt: skip
    for row in table("g"):
        out = f"run-{row['entry']}"
        fastlin("train", "--data", small, "--epochs", 3, "--loss", row["loss"], "--seed",
                row["seed"], "--no-figures", "--out", out)  # fmt: skip
        with (Path(out) / "history.csv").open() as file:
            last = list(csv.DictReader(file))[-1]
        for name in ("train_cost", "train_accuracy", "val_cost", "val_accuracy"):
            assert row[name] == last[name]


def test_lists_from_a_file_and_options_that_take_precedence(small):
    Path("grid.toml").write_text(
        "[grid]\nlr = [0.1, 0.2]\nl2 = '0,0.1'\n[train]\nepochs = 2\nseed = 3\n"
    )
    call("--data", small, "--grid", "grid.toml", "--l2", 0.5, "--epochs", 1, "--no-figures",
         "--out", "g")  # fmt: skip
    rows = table("g")
    assert {(row["lr"], row["l2"], row["epochs"], row["seed"]) for row in rows} == {
        ("0.1", "0.5", "1", "3"), ("0.2", "0.5", "1", "3"),
    }  # fmt: skip
    assert summary("g")["swept"] == ["lr"]
    call("--config", "g/winner/config.json", "--lr", "0.3,0.4", "--no-figures", "--out", "h")
    assert {(row["lr"], row["seed"]) for row in table("h")} == {("0.3", "3"), ("0.4", "3")}


RANDOM = ("--lr", "0.001:1", "--batch-size", "8,16,32", "--search", "random", "--trials", 9,
          "--search-seed", 2, "--epochs", 14, "--no-figures")  # fmt: skip


def test_random_search_and_halving(small):
    first = call("--data", small, *RANDOM, "--halving", "--out", "g")
    rows = table("g")
    assert len(rows) == 9
    assert len({row["lr"] for row in rows}) == 9
    found = summary("g")
    assert set(found["entries"]) == {"finished", "stopped"}
    assert [rung["epoch"] for rung in found["halving"]] == [10, 11, 12, 13]
    assert found["epochs_trained"] == sum(int(row["epochs_finished"]) for row in rows) < 9 * 14
    assert [row["status"] for row in rows] == sorted(row["status"] for row in rows)
    again = call("--data", small, *RANDOM, "--halving", "--out", "h")
    assert table("h") == rows
    assert "of 9 entries; " in again.stdout
    assert "entries: 9 in training" in again.stderr
    assert "stopped" in first.stdout
    logged = (Path("g") / "journal.jsonl").read_text()
    assert '"rung":10' in logged
    assert '"stopped"' in logged


def test_a_halving_plan_is_kept_and_resumed(small):
    plan = ("--halving-plan", "0.15:0.36,0.7:0.07")
    result = call("--data", small, *RANDOM, *plan, "--out", "g")
    assert "Stopped early: 8 of 9 entries; 8 after epoch 10" in result.stdout
    asked = json.loads(Path("g/grid.json").read_text())
    assert asked["halving"] == {"decisions": [[0.15, 0.36], [0.7, 0.07]]}
    found = summary("g")
    assert [len(rung["kept"]) for rung in found["halving"]] == [1]  # both decide after epoch 10
    header = Path("g/journal.jsonl").read_text().splitlines()[0]
    assert '"decisions":[[0.15,0.36],[0.7,0.07]]' in header
    rows = table("g")
    again = call("--resume", "g", "--no-figures")
    assert "Stopped early: 8 of 9" in again.stdout
    assert "finished already: nothing was left to train" in again.stderr
    assert "finished already" not in result.stderr
    assert table("g") == rows
    call("--resume", "g", "--data", small, *RANDOM, "--halving", *plan)
    for other in ("0.15:0.36", "0.15:0.36,0.7:0.08"):
        result = call("--resume", "g", "--data", small, *RANDOM, "--halving-plan", other, code=2)
        assert "the grid is not what it was begun with" in result.stderr
    Path("g/grid.json").write_text(json.dumps({**asked, "halving": {"decisions": [[2, 1]]}}))
    assert "grid.json is damaged" in call("--resume", "g", code=2).stderr
    Path("g/grid.json").write_text(json.dumps({**asked, "halving": "yes"}))
    assert "grid.json is damaged" in call("--resume", "g", code=2).stderr


@pytest.mark.parametrize("plan", ["", "0.2:0.5:1", "1.5", "0.5,0.2", "half"])
def test_an_impossible_halving_plan_is_one_line(small, plan):
    result = call("--data", small, *LISTS, "--halving-plan", plan, "--out", "g", code=2)
    assert "halving plan" in result.stderr
    assert not Path("g").exists()


def test_entries_that_were_trained_on_are_named(small):
    call("--data", small, "--lr", 0.1, "--l2", "0,1e-9", "--epochs", 12, "--halving", "--out", "g",
         "--no-figures")  # fmt: skip
    assert summary("g")["trained_on"] == [1]
    assert summary("g")["entries"] == {"finished": 2}
    result = call("--resume", "g", "--no-figures")
    assert "trained to the end as they might have won: entries 1" in result.stdout


def test_a_search_too_short_for_halving_says_so(small):
    result = call("--data", small, *LISTS, "--halving", "--no-figures", "--out", "g")
    assert "No entry is stopped early" in result.stderr


def test_data_without_images_validation_or_test_rows_work(place):
    rng = np.random.default_rng(0)
    arrays = {"X_train": rng.random((20, 5), np.float32), "y_train": np.arange(20) % 5}
    np.savez(place / "bare.npz", **arrays)
    result = call("--data", "bare.npz", "--lr", "0.1,0.2", "--epochs", 2, "--no-figures")
    assert "bare has no validation rows: 2 of 20" in result.stderr
    asked = json.loads((place / "runs/bare-grid-1/grid.json").read_text())
    assert asked["data"]["val_fraction"] == 0.1
    again = call("--resume", "runs/bare-grid-1", "--no-figures")
    assert "held out" not in again.stderr
    winner = Path("runs/bare-grid-1/winner/config.json")
    before = winner.read_text()
    again = call(
        "--data", "bare.npz", "--lr", "0.1,0.2", "--epochs", 2, "--no-figures",
        "--out", "runs/bare-grid-1", "--resume",
    )  # fmt: skip
    assert "--val-fraction 0.1" in again.stdout + again.stderr
    assert winner.read_text() == before
    np.savez(place / "val.npz", **arrays, X_val=arrays["X_train"], y_val=arrays["y_train"])
    result = call("--data", "val.npz", "--lr", "0.1,0.2", "--epochs", 2)
    assert "Test accuracy" not in result.stdout
    assert summary("runs/val-grid-1")["winner"]["test"] is None
    assert {path.name for path in Path("runs/val-grid-1/figures").iterdir()} == {
        "curves.png", "settings.png",
    }  # fmt: skip


def test_divergent_entries_are_told_and_do_not_stop_the_others(small):
    lists = ("--l2", 1, "--lr-decay", 1, "--epochs", 6, "--no-figures")
    result = call("--data", small, "--lr", "0.02,1e32", *lists, "--out", "g")
    assert "diverged in epoch" in result.stdout
    assert [row["status"] for row in table("g")] == ["finished", "diverged"]
    result = call("--data", small, "--lr", "1e31,1e32", *lists, "--out", "h", code=1)
    assert "all 2 configurations diverged; try a smaller lr, such as 1 (--lr 1)\n" in result.stderr
    assert [row["status"] for row in table("h")] == ["diverged", "diverged"]


MANY = ("--lr", "0.02,0.05,1e32", "--l2", "0,1", "--lr-decay", 1, "--epochs", 100, "--no-figures")


@pytest.mark.parametrize("lines", [1, 40])
def test_a_grid_that_was_killed_ends_with_the_same_table_bit_for_bit(small, lines):
    process = begin_grid("--data", small, *MANY, "--out", "g", lines=lines)
    process.send_signal(signal.SIGKILL)
    process.communicate(timeout=60)
    assert not Path("g/grid.csv").exists()
    result = call("--resume", "g", "--no-figures")
    assert "Winner" in result.stdout
    call("--data", small, *MANY, "--out", "whole")
    assert Path("g/grid.csv").read_bytes() == Path("whole/grid.csv").read_bytes()
    same_run("g/winner", "whole/winner")


def test_ctrl_c_ends_with_130_and_says_how_to_go_on(small):
    process = begin_grid("--data", small, *MANY, "--out", "g", lines=20)
    process.send_signal(signal.SIGINT)
    _, errors = process.communicate(timeout=60)
    assert process.returncode == 130, errors
    assert "Traceback" not in errors
    assert "Interrupted; go on with: fastlin grid --resume g" in errors
    call("--data", small, *MANY, "--out", "g", "--resume")
    assert len(table("g")) == 6


def interrupted(monkeypatch, small, *arguments):
    """Begin a grid and interrupt it after its second epoch."""
    right = GridTrainer.run_epoch
    monkeypatch.setattr(checkpoints, "CHECKPOINT_SECONDS", 0)
    monkeypatch.setattr(checkpoints, "CHECKPOINT_SHARE", 0)

    def run_epoch(trainer, active):
        if trainer.epochs_done(active[0]) == 2:
            raise KeyboardInterrupt
        return right(trainer, active)

    monkeypatch.setattr(GridTrainer, "run_epoch", run_epoch)
    call("--data", small, *LISTS, "--no-figures", "--out", "g", *arguments, code=130)
    monkeypatch.setattr(GridTrainer, "run_epoch", right)


def test_who_evaluates_the_folder_of_a_search_is_told_what_to_give(small):
    call("--data", small, "--lr", "0.02,0.2", "--epochs", 1, "--no-figures", "--out", "g")
    probe = ("--data", small, "--l2", "1,0.1", "--no-figures", "--out", "p")
    command_line.call("probe", *probe)
    others = {"predict": ("--out", "predicted.csv"), "export": ("--to", "npz"), "plot": ()}
    for command, more in {"evaluate": (), **others}.items():
        told = command_line.call(command, "g", *more, code=2).stderr
        assert "its winner is g/winner" in told
    shutil.rmtree("g/winner")
    for name in ("config.json", "model.npz", "history.csv", "summary.json"):
        Path("p", name).unlink()
    for folder, again in (("g", "fastlin grid --resume g"), ("p", "fastlin probe --resume p")):
        told = command_line.call("evaluate", folder, code=2).stderr
        assert again in told
        fastlin(*shlex.split(again)[1:])
        name = "g/winner" if folder == "g" else folder
        assert "accuracy" in fastlin("evaluate", name)
    Path("empty").mkdir()
    assert "config.json is missing\n" in command_line.call("evaluate", "empty", code=2).stderr


def test_only_the_same_search_is_resumed(small, monkeypatch):
    interrupted(monkeypatch, small)
    for other in (("--lr", "0.1,0.2"), ("--halving",), ("--epochs", 5), ("--search-seed", 1)):
        result = call("--resume", "g", *other, code=2)
        assert "the grid is not what it was begun with" in result.stderr
        assert result.stderr.count("\n") == 1
    result = call("--resume", "g", "--data", "cifar10-mini", code=2)
    assert "the data is not what it was begun with" in result.stderr
    assert "there is no search to resume" in call("--resume", "none", code=2).stderr
    assert "needs the folder" in call("--resume", code=2).stderr
    assert "name two folders" in call("--resume", "g", "--out", "h", code=2).stderr
    call("--resume", "g", "--select", "cost", "--no-figures", "--threads", 1)
    assert summary("g")["rule"] == "validation cost at the last epoch"


def test_a_damaged_journal_is_one_line_and_can_be_mended(small, monkeypatch):
    interrupted(monkeypatch, small)
    path = Path("g/journal.jsonl")
    lines = path.read_bytes().splitlines(keepends=True)
    path.write_bytes(b"".join([*lines[:3], b"?" + lines[3], *lines[4:]]))
    result = call("--resume", "g", code=2)
    assert f"line 4 of {len(lines)}" in result.stderr
    assert "sed -i '4d' g/journal.jsonl" in result.stderr
    assert result.stderr.count("\n") == 1
    path.write_bytes(b"".join([*lines[:3], *lines[4:], b"cut sho"]))
    result = call("--resume", "g", "--no-figures")
    assert "was cut short" in result.stderr
    call("--data", small, *LISTS, "--no-figures", "--out", "whole")
    assert Path("g/grid.csv").read_bytes() == Path("whole/grid.csv").read_bytes()


BAD_SEARCHES = {
    "cut short": ("{", "not valid JSON"),
    "no dictionary": ("[1]", "must hold the parts of a search"),
    "newer": ('{"format": 2}', "written by a newer fastlin"),
    "a part too few": ('{"data": {"data": "x"}}', "it lacks grid"),
    "a part too many": ({"a\nb": 1}, r"unknown key 'a\nb'"),
    "data that are a list": ({"data": []}, "must name the data"),
    "another kind of search": ({"search": "best"}, "search is 'best'"),
    "a list of kinds": ({"search": ["grid"]}, "search is ['grid']"),
    "half a trial": ({"trials": 0.5}, "trials is 0.5"),
    "a seed below 0": ({"search_seed": -1}, "search_seed is -1"),
    "halving that is text": ({"halving": "no"}, "halving is 'no'"),
    "400 digits": ({"trials": 10**400}, "'trials'"),
    "no grid": ({"grid": []}, "not the description of a grid"),
    "lists of nothing": ({"grid": {"swept": {"lr": []}, "base": {}}}, "lr has no value"),
    "a list that is a number": ({"grid": {"swept": {"lr": 1}, "base": {}}}, "must be a list"),
    "an unknown setting": ({"grid": {"swept": {"rate": [1]}, "base": {}}}, "setting 'rate'"),
    "a range of words": ({"grid": {"swept": {"lr": {"low": "a", "high": 1}}, "base": {}}}, "grid"),
}


@pytest.mark.parametrize("name", BAD_SEARCHES)
def test_a_search_that_makes_no_sense_is_not_resumed(place, name):
    content, words = BAD_SEARCHES[name]
    good = {
        "format": 1, "data": {"data": "cifar10-mini"}, "search": "grid", "trials": None,
        "search_seed": 0, "halving": False, "grid": {"swept": {"lr": [0.1, 0.2]}, "base": {}},
    }  # fmt: skip
    Path("g").mkdir()
    text = content if isinstance(content, str) else json.dumps(good | content)
    Path("g/grid.json").write_text(text)
    errors = call("--resume", "g", code=2).stderr
    assert "g/grid.json" in errors
    assert words in errors


def test_two_processes_do_not_go_on_with_one_search(small):
    process = begin_grid("--data", small, *MANY, "--out", "g", lines=2)
    before = Path("g/journal.jsonl").read_bytes().splitlines()
    errors = call("--resume", "g", code=2).stderr
    assert "journal.jsonl is in use by" in errors
    if sys.platform == "linux":
        assert f"process {process.pid}" in errors
    process.kill()
    process.communicate()
    assert Path("g/journal.jsonl").read_bytes().splitlines()[: len(before) - 1] == before[:-1]
    call("--resume", "g", "--no-figures")


@pytest.mark.parametrize("writes", [0, 1, 2, 3, 5])
def test_a_full_disk_is_one_error_and_what_is_intact_goes_on(small, monkeypatch, writes):
    monkeypatch.setattr(checkpoints, "CHECKPOINT_SECONDS", 0)
    monkeypatch.setattr(checkpoints, "CHECKPOINT_SHARE", 0)
    right, done = os.fsync, []

    def fsync(descriptor):
        if Path("g/grid.json").exists() and not stat.S_ISDIR(os.fstat(descriptor).st_mode):
            if len(done) >= writes:
                raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
            done.append(descriptor)
        right(descriptor)

    monkeypatch.setattr(os, "fsync", fsync)
    result = call("--data", small, *LISTS, "--no-figures", "--out", "g", code=2, begun=True)
    assert "No space left on device" in result.stderr.splitlines()[-1]
    monkeypatch.setattr(os, "fsync", right)
    call("--resume", "g", "--no-figures")
    call("--data", small, *LISTS, "--no-figures", "--out", "whole")
    assert Path("g/grid.csv").read_bytes() == Path("whole/grid.csv").read_bytes()


WIDE = ("--lr", "1e-3:1:10000", "--l2", "1e-6:1:10000")
BAD = {
    "nothing to search": (),
    "one value each": ("--lr", 0.1, "--l2", 0),
    "lr that is no number": ("--lr", "fast,slow"),
    "twice the same": ("--lr", "0.1,0.1"),
    "twice in two options": ("--lr", 0.1, "--lr", 0.1),
    "negative lr": ("--lr", "0.1,-0.1"),
    "range from zero": ("--l2", "0:1:3"),
    "range without count": ("--lr", "0.1:1"),
    "count of one": ("--lr", "0.1:1:1"),
    "too many trials": ("--lr", "0.1,1", "--search", "random", "--trials", 3),
    "no trials": ("--lr", "0.1,1", "--search", "random"),
    "trials of a grid": ("--lr", "0.1,1", "--trials", 3),
    "unknown loss": ("--loss", "softmax,square"),
    "margins of softmax": ("--margin", "0.5,1"),
    "range of margins": ("--loss", "hinge", "--margin", "0.5:1"),
    "margin that is no number": ("--loss", "hinge", "--margin", "1,wide"),
    "unknown search": ("--lr", "0.1,1", "--search", "genetic"),
    "costs of two losses": ("--loss", "softmax,hinge", "--select", "cost"),
    "too many threads": ("--lr", "0.1,1", "--threads", 10_000),
    "halving of different epochs": ("--epochs", "12,24", "--halving"),
    "a switch that is neither": ("--standardize", "true,perhaps"),
    "a switch twice": ("--lr", "0.1,1", "--flip", "--flip", "true"),
    "nesterov without momentum": ("--nesterov", "true,false", "--momentum", "0,0.5"),
    "a margin given twice": ("--loss", "hinge(margin=0.5)", "--margin", "1,2"),
    "sigma of xavier": ("--lr", "0.1,1", "--init", "xavier", "--sigma", 1),
    "decay of constants": ("--lr-decay", "0.9,0.8", "--schedule", "constant,cosine"),
    "missing file": ("--grid", "none.toml"),
    "wrong file": ("--grid", "wrong.toml"),
    "missing config": ("--lr", "0.1,1", "--config", "none.json"),
    "too many combinations": WIDE,
    "too many random trials": (*WIDE, "--search", "random", "--trials", 10**9),
    "unknown data": ("--lr", "0.1,1", "--data", "cifar11"),
    "full folder": ("--lr", "0.1,1", "--out", "."),
}


@pytest.mark.parametrize("name", BAD)
def test_bad_input_is_one_line_and_exit_2(small, name):
    Path("wrong.toml").write_text("[grid\n")
    arguments = BAD[name] if "--data" in BAD[name] else ("--data", small, *BAD[name])
    result = call(*arguments, code=2)
    assert result.stderr.count("\n") == 1
    assert not Path("runs").exists()


def test_a_grid_that_is_too_large_says_how_large_before_data_are_read():
    result = call("--data", "none.npz", *WIDE, code=2)
    assert "10,000 of lr, 10,000 of l2 would have 100,000,000 combinations" in result.stderr


def test_an_option_without_effect_is_named_with_the_option_that_makes_it_so(small):
    result = call("--data", small, *BAD["sigma of xavier"], code=2)
    assert "--sigma has no effect with --init xavier; leave one of them out" in result.stderr


def test_random_trials_are_drawn_from_lists_of_any_length(small):
    call("--data", small, *WIDE, "--search", "random", "--trials", 5, "--epochs", 1,
         "--no-figures", "--out", "g")  # fmt: skip
    assert len(table("g")) == 5


def test_on_a_terminal_a_table_lives_while_the_grid_runs():
    text = io.StringIO()
    console = Console(file=text, force_terminal=True, width=100, height=25)
    configs = (TrainConfig(lr=0.1), TrainConfig(lr=0.2))
    with progress_shown(console, configs, "val_accuracy") as report:
        report(GridProgress(4, 10, 9, 0, 0, 0, 9, None, float("nan"), 12.0, 0.0))
        report(GridProgress(3, 10, 9, 6, 0, 2, 1, 1, 0.4321, 12.0, 34.0))
    shown = text.getvalue()
    for part in (
        "9 entries: 6 in training, 2 stopped early, 1 diverged", "3 of 10",
        "val. accuracy 43.21% (lr 0.2)", "12 s, 34 s left",
    ):  # fmt: skip
        assert part in shown


def test_a_resumed_search_keeps_how_it_was_asked_to_choose_and_draw(small):
    asked = ("--select", "cost", "--at", "best", "--no-figures")
    call("--data", small, *LISTS, *asked, "--out", "g")
    rows = table("g")
    again = call("--resume", "g")
    assert "by validation cost at the best epoch" in again.stdout
    assert table("g") == rows
    assert not Path("g/figures").exists()
    other = call("--resume", "g", "--select", "accuracy", "--figures")
    assert "by validation accuracy at the best epoch" in other.stdout
    assert Path("g/figures").exists()
    content = json.loads(Path("g/grid.json").read_text())
    for name, value in (("select", "speed"), ("at", 3), ("figures", "no")):
        Path("g/grid.json").write_text(json.dumps({**content, name: value}))
        assert f"{name} is" in call("--resume", "g", code=2).stderr
    for name in ("select", "at", "figures"):
        del content[name]  # as older versions wrote it
    Path("g/grid.json").write_text(json.dumps(content))
    assert "by validation accuracy at the last epoch" in call("--resume", "g").stdout


def test_heat_maps_are_of_lists_only(small, place):
    split = load_split(small)
    configs = [TrainConfig(lr=0.1 + i / 1000, l2=i / 1000, epochs=1) for i in range(35)]
    drawn = draw_grid(grid_search(split, configs), split, place)
    assert [path.name for path in drawn] == ["settings.png", "curves.png"]


def test_a_grid_need_not_evaluate_training_rows(small):
    call("--data", small, *LISTS, "--epochs", 3, "--no-figures", "--out", "usual")
    result = call("--data", small, *LISTS, "--epochs", 3, "--eval-train", 0, "--out", "ours")
    assert "nan" not in result.output
    assert [{**row, "train_cost": "", "train_accuracy": ""} for row in table("usual")] == table(
        "ours"
    )
    assert Path("ours/winner/model.npz").read_bytes() == Path("usual/winner/model.npz").read_bytes()
    assert list(Path("ours/figures").glob("*.png"))
    fastlin("report", "ours", "--out", "page")


def test_a_resumed_search_evaluates_training_rows_as_it_was_begun(small):
    words = ("--data", small, *LISTS, "--epochs", 2, "--no-figures", "--eval-train", 0)
    call(*words, "--out", "g")
    table = Path("g/grid.csv").read_bytes()
    call("--resume", "g", "--no-figures")
    assert Path("g/grid.csv").read_bytes() == table
    refused = call("--resume", "g", "--eval-train", 2, code=2)
    assert "not what it was begun with" in refused.stderr
