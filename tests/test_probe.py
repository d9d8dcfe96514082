"""Probes: the protocols, the run folder, and what a stopped path goes on with."""

import json
import sys

import numpy as np
import pytest
from command_line import call, same_run, summary
from solve_problems import least_objective, random_rows

import fastlin
from fastlin.commands import outcome
from fastlin.commands import probe as probe_command
from fastlin.errors import InputError
from fastlin.files import read_csv
from fastlin.fitting import Fitting
from fastlin.report.paths import path_of
from fastlin.report.wording import percent
from fastlin.runs import load_run
from fastlin.solving.config import penalty_of
from fastlin.solving.path_file import load_path
from fastlin.solving.protocols import PROTOCOLS

HEAD = "l2,C,objective,relative_gap,weight_norm,val_cost,val_accuracy,mark\n"
CS = "0.001:10:5"


@pytest.fixture(scope="module")
def rows():
    X, y = random_rows(3, 5, 400, 8)
    parts = {"train": slice(0, 200), "val": slice(200, 300), "test": slice(300, 400)}
    return {f"{name}_{part}": of[at] for part, at in parts.items()
            for name, of in (("X", X), ("y", y))}  # fmt: skip


@pytest.fixture(scope="module")
def data(rows, tmp_path_factory):
    path = tmp_path_factory.mktemp("data") / "rows.npz"
    np.savez(path, **rows)
    return path


@pytest.fixture(scope="module")
def probed(data, tmp_path_factory):
    folder = tmp_path_factory.mktemp("probe") / "run"
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(outcome, "SECONDS_BETWEEN_LINES", 0.0)
        done = call("probe", "--data", data, "--C", CS, "--refit", "--out", folder)
    return folder, done


def table(folder):
    """Return path.csv without the seconds."""
    columns, *lines = read_csv(folder / "path.csv")
    place = columns.index("seconds")
    return [[cell for i, cell in enumerate(line) if i != place] for line in (columns, *lines)]


def test_the_run_folder_has_the_head_and_the_path(probed, data, rows):
    folder, done = probed
    split = fastlin.load_split(data)
    found = fastlin.probe(split, Cs=[0.001, 0.01, 0.1, 1, 10], refit=True)
    run = load_run(folder)
    assert run.model.W.tobytes() == found.model.W.tobytes()
    assert run.fitting.refit
    X, y = (np.concatenate([rows[f"{of}_train"], rows[f"{of}_val"]]) for of in "Xy")
    l2 = penalty_of(found.path.best.C, 300, 5)
    assert run.config.l2 == pytest.approx(l2)
    objective = summary(folder)["exact_fit"]["objective"]
    assert objective == pytest.approx(least_objective(X, y, 5, l2), rel=1e-6)
    said = summary(folder)["probe"]
    assert said["protocol"] == "fastlin"
    assert said["chosen"]["C"] == found.path.best.C
    assert said["one_standard_error"]["C"] == found.path.one_error.C
    assert "chosen" in done.stdout
    assert "one standard error" in done.stdout
    assert done.stderr.count(" passes  accuracy ") == len(found.path.points)
    assert not (folder / "fits").exists()
    assert (folder / "figures" / "path.png").stat().st_size > 10_000


def test_path_csv_has_every_penalty(probed, data):
    folder, _ = probed
    curves = load_path(folder / "path.csv")
    found = fastlin.path(fastlin.load_split(data), Cs=[0.001, 0.01, 0.1, 1, 10], patience=5)
    assert curves.l2 == tuple(point.l2 for point in found.points)
    assert curves.accuracy == tuple(point.values["accuracy"] for point in found.points)
    assert found.points[curves.best] is found.best
    assert found.points[curves.one_error] is found.one_error


def test_every_command_takes_the_run_folder(probed, tmp_path):
    folder, _ = probed
    evaluated = call("evaluate", folder)
    assert "fitted on the validation rows, too" in evaluated.stderr
    call("predict", folder, "--part", "test", "--out", tmp_path / "p.csv")
    call("export", folder, "--to", "npz", "--out", tmp_path / "m.npz")
    assert "path.png" in call("plot", folder).stdout
    call("report", folder, "--out", tmp_path / "page")
    page = (tmp_path / "page" / "index.html").read_text(encoding="utf-8")
    assert "exact fit of training and validation rows" in page
    assert "fastlin probe --data" in page
    assert "The path of penalties, from the strongest on" in page
    assert (tmp_path / "page" / "figures" / "run-1-path.png").is_file()
    assert "--C 0.001,0.01,0.1,1.0,10.0" in page


def test_a_config_probes_again(probed, data, tmp_path):
    config = probed[0] / "config.json"
    saved = json.loads(config.read_text())["fit"]
    Cs = [0.001, 0.01, 0.1, 1.0, 10.0]
    assert saved["probe"] == {"protocol": "fastlin", "Cs": Cs, "refit": True}
    call("probe", "--config", config, "--out", tmp_path / "again", "--no-figures")
    same_run(probed[0], tmp_path / "again")
    assert table(tmp_path / "again") == table(probed[0])
    words = ("--l2", "0.1,0.01", "--no-refit", "--select", "cost", "--gap", "1e-3")
    call("probe", "--config", config, *words, "--out", tmp_path / "other", "--no-figures")
    other = json.loads((tmp_path / "other" / "config.json").read_text())
    assert other["data"] == json.loads(config.read_text())["data"]
    asked = {"protocol": "fastlin", "refit": False, "l2s": [0.1, 0.01], "select": "val_cost"}
    assert other["fit"] == {"gap": 1e-3, "probe": asked}
    split = fastlin.load_split(data)
    found = fastlin.probe(split, l2s=[0.1, 0.01], select="val_cost", gap=1e-3)
    assert load_run(tmp_path / "other").model.W.tobytes() == found.model.W.tobytes()


def test_a_config_of_another_protocol_keeps_the_settings_of_the_fits(data, tmp_path):
    words = ("--patience", 3, "--gap", "1e-2", "--loss", "squared-hinge", "--no-fit-intercept")
    call("probe", "--data", data, "--C", CS, *words, "--out", tmp_path / "first", "--no-figures")
    config = tmp_path / "first" / "config.json"
    words = ("--protocol", "clip", "--out", tmp_path / "clip", "--no-figures")
    call("probe", "--config", config, *words)
    content = json.loads((tmp_path / "clip" / "config.json").read_text())
    assert content["fit"] == {
        "gap": 1e-2, "fit_intercept": False, "refit": True, "probe": {"protocol": "clip"},
    }  # fmt: skip
    assert content["train"]["loss"] == "squared-hinge"


def test_what_is_held_out_is_held_out_again(rows, tmp_path):
    np.savez(tmp_path / "rows.npz", X=rows["X_train"], y=rows["y_train"])
    words = ("--data", tmp_path / "rows.npz", "--out", tmp_path / "run", "--no-figures")
    assert "held out" in call("probe", "--C", CS, *words).stderr
    config = tmp_path / "run" / "config.json"
    call("probe", "--config", config, "--out", tmp_path / "again", "--no-figures")
    same_run(tmp_path / "run", tmp_path / "again")
    assert table(tmp_path / "run") == table(tmp_path / "again")


@pytest.mark.parametrize("protocol", ["fastlin", "mteb", "linear"])
def test_other_commands_say_which_one_does_a_probe_again(data, tmp_path, protocol):
    """What chose the penalty is not lost without a word."""
    words = ("--protocol", protocol, "--out", tmp_path / "run", "--no-figures")
    call("probe", "--data", data, *words)
    config = tmp_path / "run" / "config.json"
    command = "train" if protocol == "linear" else "probe"
    for other in {"fit", "probe", "train"} - {command}:
        error = call(other, "--config", config, code=2).stderr
        assert f"fastlin {command} --config" in error
    call(command, "--config", config, "--out", tmp_path / "again", "--no-figures")
    same_run(tmp_path / "run", tmp_path / "again")


@pytest.mark.parametrize(
    ("probe", "message"),
    [
        ({"protocol": "nobody"}, "there is no protocol 'nobody'"),
        ({"protocol": ["mteb"]}, "arguments with a protocol"),
        ({"Cs": [1.0]}, "arguments with a protocol"),
        ({"protocol": "fastlin", "seed": 1}, "no other arguments than Cs, l2s"),
        ({"protocol": "fastlin", "Cs": "abc"}, "Cs is 'abc'"),
        ({"protocol": "fastlin", "select": 5}, "select is 5"),
        ({"protocol": "mteb", "Cs": [1.0]}, "Cs has no effect"),
    ],
)
def test_a_damaged_config_of_a_probe_is_refused(probed, tmp_path, probe, message):
    content = json.loads((probed[0] / "config.json").read_text())
    content["fit"]["probe"] = probe
    (tmp_path / "config.json").write_text(json.dumps(content))
    assert message in call("probe", "--config", tmp_path / "config.json", code=2).stderr


def test_a_refit_that_was_written_without_its_arguments_is_fitted_again(probed, tmp_path):
    content = json.loads((probed[0] / "config.json").read_text())
    del content["fit"]["probe"]
    (tmp_path / "config.json").write_text(json.dumps(content))
    assert "fastlin probe --config" in call(
        "fit", "--config", tmp_path / "config.json", code=2).stderr  # fmt: skip
    words = ("--out", tmp_path / "again", "--no-figures")
    call("probe", "--config", tmp_path / "config.json", *words)
    assert load_run(tmp_path / "again").config.l2 == load_run(probed[0]).config.l2


def test_python_saves_the_same_run(probed, data, tmp_path):
    split = fastlin.load_split(data)
    found = fastlin.probe(split, Cs=[0.001, 0.01, 0.1, 1, 10], refit=True)
    saved = fastlin.save_run(tmp_path / "run", found, split)
    same_run(probed[0], saved)
    assert load_run(saved).fitting == load_run(probed[0]).fitting
    assert table(saved) == table(probed[0])


def test_a_stopped_probe_goes_on_to_the_same_table(probed, data, tmp_path, monkeypatch):
    folder = tmp_path / "run"
    seen = []

    def stopping(_):
        def tell(point):
            seen.append(point)
            if len(seen) == 3:
                raise KeyboardInterrupt

        return tell

    with monkeypatch.context() as patch:
        patch.setattr(probe_command, "_lines", stopping)
        words = ("--data", data, "--C", CS, "--refit", "--out", folder, "--no-figures")
        stopped = call("probe", *words, code=130)
    assert f"fastlin probe --resume {folder}" in stopped.stderr
    assert len(table(folder)) == 1 + 3
    assert not (folder / "summary.json").exists()
    monkeypatch.setattr(outcome, "SECONDS_BETWEEN_LINES", 0.0)
    again = call("probe", "--resume", folder, "--no-figures")
    assert again.stderr.count(" passes  accuracy ") == len(table(folder)) - 1 - 3
    assert table(folder) == table(probed[0])
    same_run(folder, probed[0])
    assert "is finished" in call("probe", "--resume", folder, code=2).stderr


def test_kept_fits_are_refused_by_another_path(data, tmp_path):
    split = fastlin.load_split(data)

    def stop(_):
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        fastlin.probe(split, Cs=[0.1, 1], keep=tmp_path, on_fit=stop)
    with pytest.raises(InputError, match="of other settings"):
        fastlin.probe(split, Cs=[0.1, 2], keep=tmp_path)
    with pytest.raises(InputError, match="of other data"):
        fastlin.probe(fastlin.Split("x", split.val, split.train), Cs=[0.1, 1], keep=tmp_path)
    points = tmp_path / "fits" / "points.json"
    content = json.loads(points.read_text())
    content["points"][0]["passes"] = "three"
    points.write_text(json.dumps(content))
    with pytest.raises(InputError, match="passes is 'three'"):
        fastlin.probe(split, Cs=[0.1, 1], keep=tmp_path)


@pytest.mark.parametrize("name", ["dinov2", "kornblith", "clip"])
def test_grids_are_the_published_ones(data, name):
    split = fastlin.load_split(data)
    found = fastlin.probe(split, name, gap=1e-2)
    C = [point.C for point in found.path.points]
    ends = {"dinov2": (1e-6, 1e5), "kornblith": (1e-5, 1e6), "clip": (1e-6, 1e6)}[name]
    assert (min(C), max(C)) == pytest.approx(ends)
    assert found.path.refit
    assert found.fit.rows == 300
    if name != "clip":
        np.testing.assert_allclose(np.diff(np.log10(C)), 0.25, rtol=1e-4)
        assert len(C) == 45


def test_without_validation_rows_a_tenth_is_held_out(rows):
    split = fastlin.Split.from_arrays(rows["X_train"], rows["y_train"])
    notes = []
    found = fastlin.probe(split, "fastlin", Cs=[0.1, 1], note=notes.append)
    assert found.path.validation_rows == 20
    assert "held out" in notes[0]


def test_mteb_draws_eight_rows_of_every_label(data, tmp_path):
    pytest.importorskip("scipy.special")
    split = fastlin.load_split(data)
    found = fastlin.probe(split, "mteb")
    assert len(found.rows) == 10
    for drawn in found.rows:
        assert np.bincount(split.train.y[drawn]).tolist() == [8] * 5
    X, y = split.train.X[found.rows[0]], split.train.y[found.rows[0]]
    l2 = penalty_of(1.0, 40, 5)
    first = fastlin.solve(X, y, l2=l2)
    assert found.model.W.tobytes() == first.model.W.tobytes()
    right = np.mean(found.model.predict(split.test.X) == split.test.y)
    assert found.values["test"]["accuracy"][0] == pytest.approx(right)
    done = call("probe", "--data", data, "--protocol", "mteb", "--out", tmp_path / "run",
                "--no-figures")  # fmt: skip
    assert "8 rows a class (40 training rows), 10 draws" in done.stdout
    assert load_run(tmp_path / "run").fitting.shots == 8
    assert summary(tmp_path / "run")["few_shots"]["draws"] == 10


def test_mteb_without_other_rows_holds_some_out(rows, tmp_path):
    pytest.importorskip("scipy.special")
    split = fastlin.Split.from_arrays(rows["X_train"], rows["y_train"])
    notes = []
    found = fastlin.probe(split, "mteb", note=notes.append)
    assert "20 of 200 training rows are held out to judge by" in notes[0]
    held = split.hold_out(0.1)
    right = np.mean(found.model.predict(held.val.X) == held.val.y)
    assert found.values["val"]["accuracy"][0] == pytest.approx(right)
    assert list(found.values) == ["val"]
    np.savez(tmp_path / "rows.npz", X=rows["X_train"], y=rows["y_train"])
    words = ("--data", tmp_path / "rows.npz", "--out", tmp_path / "run", "--no-figures")
    assert notes[0].partition(" has ")[2] in call("probe", "--protocol", "mteb", *words).stderr
    assert load_run(tmp_path / "run").model.W.tobytes() == found.model.W.tobytes()


def test_linear_trains_with_thirteen_rates(data, tmp_path):
    done = call("probe", "--data", data, "--protocol", "linear", "--out", tmp_path / "run",
                "--no-figures")  # fmt: skip
    assert "no random crops" in done.stderr
    assert "AdviceWarning" not in done.stderr
    assert "set epochs" not in done.stderr
    run = load_run(tmp_path / "run")
    assert run.config.momentum == 0.9
    assert run.config.lr in PROTOCOLS["linear"].lrs
    assert len(run.history) == 10


def test_linear_says_that_the_best_rate_is_at_an_end(rows):
    split = fastlin.Split.from_arrays(
        1e-6 * rows["X_train"], rows["y_train"], X_val=1e-6 * rows["X_val"], y_val=rows["y_val"]
    )
    said = []
    found = fastlin.probe(split, "linear", note=said.append)
    rates = PROTOCOLS["linear"].lrs
    ends = [end for end in (min(rates), max(rates)) if found.best.config.lr == end]
    assert bool(ends) == any("of the protocol; a grid search" in text for text in said)
    assert ends, found.best.config.lr


@pytest.mark.parametrize(
    ("measure", "text"), [("balanced-accuracy", ".2%"), ("macro-f1", ".4f"), ("cost", ".4f")]
)
def test_what_a_penalty_was_chosen_by_is_printed(data, tmp_path, measure, text):
    done = call("probe", "--data", data, "--C", CS, "--select", measure, "--out", tmp_path / "run",
                "--no-figures")  # fmt: skip
    columns, *lines = read_csv(tmp_path / "run" / "path.csv")
    values = [dict(zip(columns, line, strict=True)) for line in lines]
    best = next(point for point in values if "chosen" in point["mark"])
    column = f"val_{measure.replace('-', '_')}"
    value = float(best[column])
    words = measure.replace("-", " ").replace("f1", "F1")
    assert f"Chosen by validation {words}: C {float(best['C']):.4g} " in done.stdout
    assert "Accuracy on 100 test rows: " in done.stdout
    assert f"), {words} {value:{text}}, accuracy " in done.stdout
    table = done.stdout.partition("Chosen by")[0]
    assert all(f"{float(point[column]):{text}}" in table for point in values)


def test_every_protocol_has_a_source_and_says_what_differs():
    for protocol in PROTOCOLS.values():
        assert protocol.source
        assert protocol.differs
        assert (protocol.plan is not None) == (protocol.kind == "path")


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["--l2", "0.1", "--C", "2"], "--l2 and --C say the same"),
        (["--l2", "0.1,x"], "x"),
        (["--l2", "0,1"], "--l2 has 0.0"),
        (["--C", "1:10"], "--C is '1:10'"),
        (["--protocol", "nobody"], "nobody"),
        (["--protocol", "mteb", "--C", "1"], "--C has no effect with --protocol mteb"),
        (["--protocol", "linear", "--refit"], "--refit has no effect with --protocol linear"),
        (
            ["--protocol", "clip", "--patience", "3"],
            "--patience has no effect with --protocol clip",
        ),
        (["--protocol", "linear", "--gap", "0.1"], "gap has no effect with the protocol linear"),
        (["--protocol", "linear", "--no-fit-intercept"], "fit_intercept has no effect"),
        (["--select", "nothing"], "nothing"),
        (["--loss", "hinge"], "needs second derivatives"),
        (["--resume", "nowhere"], "nowhere"),
        (["--resume", "x", "--gap", "0.1"], "--gap has no effect with --resume"),
        (["--resume", "x", "--out", "y"], "--out has no effect with --resume"),
        (["--resume", "x", "--config", "y"], "--config has no effect with --resume"),
        (["--resume", "x", "--C", "1"], "--C has no effect with --resume"),
        (["--config", "nowhere"], "nowhere"),
        (["--threads", "9999"], "threads is 9999"),
    ],
)
def test_bad_input_is_one_line(words, message):
    assert message in call("probe", *words, code=2).stderr


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"protocol": "nobody"}, "there is no protocol 'nobody'"),
        ({"protocol": "mteb", "Cs": [1]}, "Cs has no effect with the protocol mteb"),
        ({"protocol": "mteb", "C": 2.0}, "C has no effect with the protocol mteb"),
        ({"protocol": "linear", "max_passes": 5}, "max_passes has no effect"),
        ({"protocol": "linear", "keep": "x"}, "keep has no effect"),
        ({"Cs": [1], "l2s": [1]}, "say the same"),
    ],
)
def test_bad_arguments_are_refused(data, arguments, message):
    with pytest.raises(InputError, match=message):
        fastlin.probe(fastlin.load_split(data), **arguments)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("l2,C\n1,1\n", "no column"),
        (HEAD, "no line is"),
        (HEAD + "x,1,1,1,1,1,1,chosen and one standard error\n", "line 2"),
        (HEAD + "0,1,1,1,1,1,1,chosen and one standard error\n", "above 0"),
    ],
)
def test_a_damaged_table_is_refused(tmp_path, text, message):
    path = tmp_path / "path.csv"
    path.write_text(text)
    with pytest.raises(InputError, match=message):
        load_path(path)


@pytest.mark.parametrize(
    "content", [{"refit": True}, {"refit": True, "refit_epochs": 3}, {"gap": 1e-6, "refit": 1}]
)
def test_a_refit_is_of_an_exact_fit(content):
    with pytest.raises(InputError, match="refit"):
        Fitting.from_dict(content)


@pytest.mark.parametrize("content", [{}, {"cv": 3}, {"gap": 1e-6, "shots": 8, "draws": 10}])
def test_a_penalty_is_chosen_of_exact_fits(content):
    with pytest.raises(InputError, match="probe has a meaning only beside gap"):
        Fitting.from_dict(content | {"probe": {"protocol": "fastlin"}})


def test_curves_need_a_value_a_penalty():
    figures = pytest.importorskip("fastlin.figures")
    marks = {"best": 0, "one_error": 0, "val_rows": None}
    figures.png(figures.path_curves([1.0], [0.1], [0.5], [1.0], [2.0], **marks))
    with pytest.raises(InputError, match="one value a penalty"):
        figures.path_curves([1.0, 2.0], [0.1, 0.05], [0.5], [1.0], [2.0], **marks)


@pytest.mark.parametrize(
    ("cost", "scale"),
    [
        ([2.3, 0.5, 40.0], "log"), ([2.3, 0.5, 9.0], "linear"), ([2.3, 0.0, 40.0], "linear"),
        ([2.3, float("nan"), 0.1], "log"),
    ],
)  # fmt: skip
def test_costs_over_more_than_a_decade_have_a_logarithmic_axis(cost, scale):
    """On a linear one the least would not be seen."""
    figures = pytest.importorskip("fastlin.figures")
    C, l2, accuracy = [0.1, 1.0, 10.0], [1.0, 0.1, 0.01], [0.5, 0.6, 0.5]
    marks = {"best": 1, "one_error": 0, "val_rows": 100}
    figure = figures.path_curves(C, l2, accuracy, cost, [1.0, 2.0, 3.0], **marks)
    assert figure.axes[1].get_yscale() == scale
    figures.png(figure)


def test_the_passes_of_the_chosen_fit_are_those_of_the_path(data, tmp_path):
    folder = tmp_path / "run"
    call("probe", "--data", data, "--C", CS, "--no-figures", "--out", folder)
    columns, *lines = table(folder)
    [chosen] = [line for line in lines if "chosen" in ",".join(line)]
    assert summary(folder)["exact_fit"]["passes"] == int(chosen[columns.index("passes")])


def test_a_measure_that_decides_is_drawn_above_the_others():
    figures = pytest.importorskip("fastlin.figures")
    marks = {"best": 0, "one_error": 0, "val_rows": 100}
    values = [[0.1, 1.0], [1.0, 0.1], [0.5, 0.6], [1.0, 2.0], [2.0, 3.0]]
    figure = figures.path_curves(*values, **marks, chosen_by=("macro F1", [0.8, 0.7]))
    labels = [axes.get_ylabel() for axes in figure.axes]
    assert labels[:4] == ["macro F1", "accuracy (%)", "cost", "‖W‖"]
    assert figure.axes[0].lines[0].get_ydata().tolist() == [0.8, 0.7]
    with pytest.raises(InputError, match="one value a penalty"):
        figures.path_curves(*values, **marks, chosen_by=("macro F1", [0.8]))


def test_a_page_shows_the_measure_that_decided(data, tmp_path):
    folder = tmp_path / "run"
    call("probe", "--data", data, "--C", CS, "--select", "balanced-accuracy", "--no-figures",
         "--out", folder)  # fmt: skip
    select = load_run(folder).fitting.select_of_path
    [found], [picture] = path_of(folder, "a", "b", "c", 100, select)
    columns, *lines = read_csv(folder / "path.csv")
    place = columns.index("val_balanced_accuracy")
    assert [head.title for head in found.columns[:4]] == [
        "C", "l2", "validation balanced accuracy", "validation accuracy"
    ]  # fmt: skip
    assert [row.cells[2] for row in found.rows] == [float(line[place]) for line in lines]
    assert "Balanced accuracy, accuracy and cost" in picture.note
    [of_accuracy], _ = path_of(folder, "a", "b", "c", 100, "val_accuracy")
    assert [head.title for head in of_accuracy.columns[:3]] == ["C", "l2", "validation accuracy"]
    [without], _ = path_of(folder, "a", "b", "c", 100, "val_no_such_column")
    assert without.columns == of_accuracy.columns


def test_the_path_is_drawn_without_what_pages_need(probed, monkeypatch):
    monkeypatch.setitem(sys.modules, "jinja2", None)
    for name in [name for name in sys.modules if name.startswith("fastlin.report")]:
        monkeypatch.delitem(sys.modules, name)
    folder, _ = probed
    path = folder / "figures" / "path.png"
    path.unlink(missing_ok=True)
    call("plot", folder)
    assert path.is_file()


def test_the_page_of_a_path_in_folds_leads_with_what_folds_held_out(tmp_path):
    rng = np.random.default_rng(8)
    y = rng.integers(0, 5, 120)
    X = (np.eye(5, 30)[y] + rng.normal(size=(120, 30))).astype(np.float32)
    np.savez(tmp_path / "rows.npz", X=X, y=y)
    words = ("--data", tmp_path / "rows.npz", "--cv", 3, "--C", "0.01,0.1,1000", "--no-figures")
    call("probe", *words, "--out", tmp_path / "run")
    call("report", tmp_path / "run", "--out", tmp_path / "page")
    curves = load_path(tmp_path / "run" / "path.csv")
    of_folds = curves.accuracy[curves.best]
    on_all = summary(tmp_path / "run")["results"]["last"]["train"]["accuracy"]
    assert of_folds < on_all
    page = json.loads((tmp_path / "page" / "results.json").read_text())["page"]
    assert page["tiles"][0] == [percent(of_folds), "3 folds' accuracy of the run"]
    assert page["tiles"][1] == [percent(on_all), "its training accuracy"]
    [row] = page["sections"][0]["tables"][0]["rows"]
    assert of_folds in row["cells"]
