"""Temperature scaling: one number, fitted on validation rows."""

from dataclasses import replace

import numpy as np
import pytest
from command_line import call, same_run, small_images, summary
from scipy.optimize import minimize_scalar
from scipy.special import log_softmax

import fastlin
from fastlin import export
from fastlin.data import Dataset
from fastlin.errors import AdviceWarning, InputError
from fastlin.training import calibration, measuring

NAMES = ("ant", "bee", "cat", "dog", "eel")


def problem(factor=3.0, rows=4000, dtype=np.float32, seed=0):
    """Return a model whose scores are too large by a factor, and rows whose labels are drawn."""
    rng = np.random.default_rng(seed)
    X = rng.normal(size=(rows, 6)).astype(dtype)
    W, b = rng.normal(size=(5, 6)), rng.normal(size=5)
    truth = X.astype(float) @ W.T + b
    y = (truth + rng.gumbel(size=truth.shape)).argmax(axis=1)  # drawn from softmax(truth)
    model = fastlin.LinearModel(
        (factor * W).astype(dtype), (factor * b).astype(dtype), NAMES, loss="softmax"
    )
    return model, Dataset(X, y, NAMES)


def log_loss(model, data, T):
    scores = model.scores(data.X).astype(np.float64)
    return -log_softmax(scores / T, axis=1)[np.arange(len(data)), data.y].mean()


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
@pytest.mark.parametrize("factor", [0.05, 0.5, 1.0, 3.0, 40.0])
def test_the_temperature_is_that_of_scipy_and_near_the_true_one(factor, dtype):
    model, data = problem(factor, dtype=dtype)
    found = calibration.fit_temperature(model, data)
    wanted = minimize_scalar(
        lambda inverse: log_loss(model, data, 1 / inverse), bounds=(0.01, 100), method="bounded",
        options={"xatol": 1e-9},
    )  # fmt: skip
    assert found.value == pytest.approx(1 / wanted.x, rel=1e-4)
    assert found.value == pytest.approx(factor, rel=0.1)
    assert found.log_loss_before == pytest.approx(log_loss(model, data, 1))
    assert found.log_loss_after == pytest.approx(wanted.fun, rel=1e-9)
    assert found.log_loss_after <= found.log_loss_before
    assert (found.rows, found.note) == (4000, None)


def test_scores_and_predictions_stay_and_probabilities_are_those_of_divided_scores(tmp_path):
    model, data = problem()
    found = fastlin.calibrate(model, data)
    assert found.scores(data.X).tobytes() == model.scores(data.X).tobytes()
    assert (found.predict(data.X) == model.predict(data.X)).all()
    expected = np.exp(log_softmax(model.scores(data.X).astype(float) / found.temperature, axis=1))
    np.testing.assert_allclose(found.predict_proba(data.X), expected, atol=1e-6)
    config = fastlin.TrainConfig(l2=0.0)
    before, after = (measuring.cost_and_tally(each, data, config) for each in (model, found))
    assert after[0] == before[0]
    values = after[1].values()
    assert values["log_loss"] == pytest.approx(log_loss(model, data, found.temperature), rel=1e-5)
    assert values["calibration_error"] < before[1].values()["calibration_error"] / 3
    assert values["accuracy"] == before[1].values()["accuracy"]
    found.save(tmp_path / "m.npz")
    again = fastlin.LinearModel.load(tmp_path / "m.npz")
    assert again.temperature == found.temperature
    fastlin.save_predictions(again, data.X, tmp_path / "p.npy", probabilities=True)
    assert (np.load(tmp_path / "p.npy") == found.predict_proba(data.X)).all()
    assert fastlin.calibrate(found, data).temperature == found.temperature  # not of tempered scores


def test_blocks_and_threads_change_nothing(monkeypatch):
    model, data = problem()
    whole = calibration.fit_temperature(model, data)
    with fastlin.functional.use_threads(1):
        one = calibration.fit_temperature(model, data)
    with fastlin.functional.use_threads(2):
        assert calibration.fit_temperature(model, data) == one == whole
    monkeypatch.setattr(measuring, "_BYTES_OF_BLOCK", 4096)
    assert calibration.fit_temperature(model, data).value == pytest.approx(whole.value, rel=1e-9)


def test_a_temperature_at_a_bound_is_said():
    model, data = problem()
    right = replace(data, y=model.predict(data.X))
    with pytest.warns(AdviceWarning, match=r"separated so well.*kept at 0\.01"):
        assert fastlin.calibrate(model, right).temperature == calibration.LEAST
    nothing = replace(model, W=0 * model.W, b=0 * model.b)
    assert fastlin.calibrate(nothing, data).temperature == 1
    sure = replace(model, W=10 * np.eye(5, 6, dtype=np.float32), b=0 * model.b)
    each = Dataset(np.eye(5, 6, dtype=np.float32), np.arange(5), NAMES)
    with pytest.warns(AdviceWarning, match="separated so well"):  # exp(-1000) is 0
        assert fastlin.calibrate(sure, each).temperature == calibration.LEAST
    wrong = replace(data, y=model.scores(data.X).argmin(axis=1))
    with pytest.warns(AdviceWarning, match="kept at 100"):
        assert fastlin.calibrate(model, wrong).temperature == calibration.MOST


def test_what_cannot_be_calibrated_is_refused():
    model, data = problem()
    with pytest.raises(InputError, match="loss hinge, whose scores are no probabilities"):
        fastlin.calibrate(replace(model, loss="hinge"), data)
    with pytest.raises(InputError, match="of one class only"):
        fastlin.calibrate(model, replace(data, y=np.ones(len(data), int)))
    with pytest.raises(InputError, match=r"calibrate got LinearModel and ndarray"):
        fastlin.calibrate(model, data.X)
    for wrong in (0.0, -1.0, np.nan, np.inf):
        with pytest.raises(InputError, match=r"temperature is .* above 0"):
            replace(model, temperature=wrong)
    with pytest.raises(InputError, match="no probabilities"):
        replace(model, temperature=2.0, loss="hinge")
    with pytest.raises(InputError, match="temperature is int64"):
        fastlin.LinearModel.from_arrays(model.to_arrays() | {"temperature": np.array([2])})


def softmax(scores):
    return np.exp(log_softmax(np.asarray(scores, np.float64), axis=1))


@pytest.mark.parametrize("kind", ["npz", "sklearn", "onnx"])
def test_what_is_exported_has_the_calibrated_probabilities(kind, tmp_path):
    model, data = problem()
    found, X = fastlin.calibrate(model, data), data.X
    if kind == "npz":
        export.save(found, "npz", tmp_path / "m.npz")
        with np.load(tmp_path / "m.npz") as file:
            probabilities = softmax(X @ file["weight"].T + file["bias"])
            assert float(str(file["temperature"])) == found.temperature
    elif kind == "sklearn":
        probabilities = found.to_sklearn().predict_proba(X)
    else:
        pytest.importorskip("onnx", reason="onnx is not installed")
        runtime = pytest.importorskip("onnxruntime", reason="onnxruntime is not installed")
        found.to_onnx(tmp_path / "m.onnx")
        session = runtime.InferenceSession(tmp_path / "m.onnx", providers=["CPUExecutionProvider"])
        scores, probabilities = session.run(["scores", "probabilities"], {"X": X})
        np.testing.assert_allclose(scores, found.scores(X), rtol=2e-5, atol=2e-5)
    np.testing.assert_allclose(probabilities, found.predict_proba(X), atol=2e-6)


@pytest.fixture
def place(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    np.savez(tmp_path / "small.npz", **small_images(noise=200, contrast=35))
    return tmp_path


def split_of(rows=600):
    _, data = problem(rows=rows)
    X, y, half = data.X, data.y, rows // 2
    return fastlin.Split.from_arrays(X[:half], y[:half], X_val=X[half:], y_val=y[half:])


def test_training_and_searching_calibrate_both_models(tmp_path):
    split, settings = split_of(), {"lr": 0.5, "epochs": 4, "l2": 0.0}
    plain = fastlin.train(split, **settings)
    result = fastlin.train(split, **settings, calibrate=True)
    for name, model in (("last", result.model), ("best", result.best_model)):
        assert model.temperature == result.calibration[name].value
    assert result.model.temperature == fastlin.calibrate(plain.model, split.val).temperature
    assert result.model.W.tobytes() == plain.model.W.tobytes()
    base = fastlin.TrainConfig(epochs=4, l2=0.0)
    grid = fastlin.grid_search(split, {"lr": [0.5]}, base=base, calibrate=True)
    assert grid.model.temperature == result.model.temperature
    for number, found in enumerate((result, grid)):
        fastlin.save_run(tmp_path / str(number), found, split)
        run = fastlin.load_run(tmp_path / str(number))
        assert run.model.temperature == result.model.temperature
        assert run.best_model.temperature == result.best_model.temperature
        assert run.fitting.calibrate
        known = summary(tmp_path / str(number))
        assert known["calibration"]["last"]["value"] == run.model.temperature
        found = known["results"]["last"]["val"]["log_loss"]
        assert found == pytest.approx(known["calibration"]["last"]["log_loss_after"], rel=1e-5)


def test_a_run_and_a_grid_are_calibrated_from_the_shell(place):
    lists = ("--lr", "0.02,0.2", "--epochs", 3, "--no-figures")
    said = call("grid", "--data", "small.npz", *lists, "--calibrate", "--out", "g").stdout
    assert "Calibrated (last epoch): temperature" in said
    command = summary("g")["winner"]["command"].split()
    assert command[-1] == "--calibrate"
    said = call(*command[1:], "--no-figures", "--out", "alone").stdout
    assert "log loss of 40 validation rows" in said
    call("train", "--config", "g/winner/config.json", "--no-figures", "--out", "again")
    same_run("g/winner", "alone")
    same_run("g/winner", "again")
    assert summary("g")["calibration"] == summary("alone")["calibration"]
    assert f"{summary('alone')['results']['last']['val']['log_loss']:.4f}" in (
        call("evaluate", "alone").stdout
    )
    call("train", "--config", "alone/config.json", "--no-calibrate", "--no-figures", "--out", "raw")
    assert fastlin.load_run("raw").model.temperature is None
    call("grid", "--data", "small.npz", *lists, "--calibrate", "--resume", "g")
    same_run("g/winner", "alone")
    call("grid", "--data", "small.npz", *lists, "--no-calibrate", "--resume", "g", code=2)
    call("predict", "alone", "small.npz", "--part", "test", "--proba", "--out", "p.npy")


def test_the_shell_refuses_what_cannot_be_calibrated(place):
    train = ("train", "--data", "small.npz", "--epochs", 1, "--no-figures", "--calibrate")
    for words, said in (
        (("--refit",), "cannot be combined with refit"),
        (("--cv", 3), "cannot be combined with cv"),
        (("--shots", 3), "cannot be combined with shots"),
        (("--loss", "hinge"), "no effect with the loss hinge"),
    ):
        assert said in call(*train, *words, code=2).stderr
    with np.load("small.npz") as found:
        np.savez("alone.npz", X=found["X_train"], y=found["y_train"])
    said = call("train", "--data", "alone.npz", "--calibrate", "--epochs", 1, code=2).stderr
    assert "no validation rows to calibrate on" in said
    grid = ("grid", "--data", "small.npz", "--lr", "0.1,0.2", "--calibrate")
    assert "cannot be combined with cv" in call(*grid, "--cv", 3, code=2).stderr
    assert "no effect with the loss hinge" in (
        call(*grid, "--loss", "hinge,softmax", code=2).stderr
    )


def test_a_run_that_diverges_says_that_it_is_not_calibrated(place):
    train = ("train", "--data", "small.npz", "--epochs", 3, "--no-figures", "--calibrate")
    said = call(*train, "--lr", "1e30", "--out", "d", code=1).stderr
    assert "; not calibrated" in said
    assert "calibration" not in summary("d")


def test_a_temperature_at_its_bound_is_advice_wherever_it_is_fitted():
    split = split_of()
    wrong = replace(split, val=replace(split.val, y=(split.val.y + 1) % 5))
    settings = {"lr": 0.5, "epochs": 4, "l2": 0.0}
    with pytest.warns(AdviceWarning, match="kept at 100"):
        fastlin.train(wrong, **settings, calibrate=True)
    base = fastlin.TrainConfig(epochs=4, l2=0.0)
    with pytest.warns(AdviceWarning, match="kept at 100") as said:
        fastlin.grid_search(wrong, {"lr": [0.5, 0.4]}, base=base, calibrate=True)
    of_temperature = [one for one in said if "kept at 100" in str(one.message)]
    assert [one.category for one in of_temperature] == [AdviceWarning]


@pytest.mark.parametrize("is_calibrated", [True, False])
def test_a_run_whose_settings_and_model_disagree_on_it_is_refused(tmp_path, is_calibrated):
    split = split_of()
    for name, calibrate in (("run", is_calibrated), ("other", not is_calibrated)):
        result = fastlin.train(split, lr=0.5, epochs=1, l2=0.0, calibrate=calibrate)
        fastlin.save_run(tmp_path / name, result, split)
    (tmp_path / "other/model.npz").replace(tmp_path / "run/model.npz")
    first = "config.json" if is_calibrated else "model.npz"
    with pytest.raises(InputError, match=f"{first} is of a calibrated run, and .* one of them is"):
        fastlin.load_run(tmp_path / "run")
