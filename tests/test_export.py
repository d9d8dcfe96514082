import json
import sys
from pathlib import Path

import numpy as np
import pytest
from command_line import call

import fastlin
from fastlin import export, packages
from fastlin.commands.export import TARGETS
from fastlin.data.features import FeatureRange
from fastlin.errors import InputError

ROWS, FEATURES = 400, 12


def needed(*names):
    """Return modules, or skip the test with a reason."""
    return [pytest.importorskip(name, reason=f"{name} is not installed") for name in names]


def made(K=5, loss="softmax", kind="float", dtype="float32"):
    """Return a model as training makes it, and rows as they are stored."""
    rng = np.random.default_rng([K, len(kind)])
    X = rng.normal(size=(ROWS, FEATURES)) + 2 * np.eye(K, FEATURES)[rng.integers(0, K, ROWS)]
    offset, scale = None, 1.0
    if kind == "pixels":
        X, scale = np.clip(40 * X + 100, 0, 255).astype(np.uint8), 1 / 255
    elif kind == "offset":  # means far beyond the standard deviations
        X = (X * np.linspace(1, 3, FEATURES) + 5000).astype(dtype)
        offset = X.mean(axis=0, dtype=np.float64).astype(dtype).astype(np.float64)
    else:
        X = X.astype(dtype)
    size = 4.0 if kind == "pixels" else 0.7
    W, b = size * rng.normal(size=(K, FEATURES)), rng.normal(size=K)
    names = ("dog", "cat", "eel", "ant", "bee")[:K]
    model = fastlin.LinearModel(
        W.astype(dtype), b.astype(dtype), names, feature_offset=offset,
        feature_range=FeatureRange.of(X, scale), loss=loss,
    )  # fmt: skip
    return model, X


PROBLEMS = [
    {"K": 5}, {"K": 2}, {"K": 5, "kind": "pixels"}, {"K": 2, "kind": "pixels"},
    {"kind": "offset"}, {"K": 2, "kind": "offset"}, {"dtype": "float64"},
    {"kind": "offset", "dtype": "float64"}, {"loss": "softmax(smoothing=0.1)"},
    {"loss": "hinge"}, {"loss": "hinge", "K": 2}, {"loss": "squared-hinge", "kind": "pixels"},
]  # fmt: skip


@pytest.fixture(params=PROBLEMS, ids=lambda problem: "-".join(map(str, problem.values())))
def problem(request):
    return made(**request.param)


def softmax(scores):
    powers = np.exp(scores - scores.max(axis=1, keepdims=True))
    return powers / powers.sum(axis=1, keepdims=True)


def check(model, X, labels=None, scores=None, probabilities=None):
    """Assert that what another program computes is what the model does."""
    if labels is not None:
        assert list(labels) == model.predict_names(X).tolist()
    if scores is not None:
        np.testing.assert_allclose(scores, model.scores(X), rtol=2e-5, atol=2e-5)
    if model.has_probabilities:
        probabilities = (
            softmax(np.asarray(scores, float)) if probabilities is None else probabilities
        )
        np.testing.assert_allclose(probabilities, model.predict_proba(X), rtol=0, atol=1e-6)


def test_a_standardised_model_is_exported_as_it_was_trained(tmp_path):
    rng = np.random.default_rng(0)
    X = (rng.normal(size=(300, 6)) * np.arange(1, 7) + 300).astype(np.float32)
    split = fastlin.Split.from_arrays(X, np.where(X[:, 0] > 300, "yes", "no"))
    model = fastlin.train(split, epochs=5, standardize=True).model
    assert model.feature_offset is not None
    export.save(model, "npz", tmp_path / "m.npz")
    with np.load(tmp_path / "m.npz") as file:
        scores = X.astype(np.float64) @ file["weight"].T + file["bias"]
        found = file["class_names"][scores.argmax(axis=1)]
    check(model, X, found, scores)
    assert (found == np.where(X[:, 0] > 300, "yes", "no")).mean() > 0.9


def test_npz_holds_weights_for_values_as_they_are_stored(problem, tmp_path):
    model, X = problem
    export.save(model, "npz", tmp_path / "m.npz")
    with np.load(tmp_path / "m.npz") as file:
        arrays = dict(file)
    scores = X.astype(np.float64) @ arrays["weight"].T.astype(float) + arrays["bias"]
    check(model, X, arrays["class_names"][scores.argmax(axis=1)], scores)
    # A model must not take folded weights for its own: it would scale pixels twice.
    with pytest.raises(InputError, match="lacks the array W"):
        fastlin.LinearModel.load(tmp_path / "m.npz")


def test_safetensors_hold_the_same(problem, tmp_path):
    (safetensors,) = needed("safetensors")
    model, X = problem
    model.to_safetensors(tmp_path / "m.safetensors")
    with safetensors.safe_open(tmp_path / "m.safetensors", "numpy") as file:
        W, b, known = file.get_tensor("weight"), file.get_tensor("bias"), file.metadata()
    names = np.array(json.loads(known["class_names"]))
    scores = X.astype(np.float64) @ W.T.astype(float) + b
    check(model, X, names[scores.argmax(axis=1)], scores)
    assert known["loss"] == model.loss


def test_onnx_runs_in_its_own_runtime(problem, tmp_path):
    onnx, runtime = needed("onnx", "onnxruntime")
    model, X = problem
    model.to_onnx(tmp_path / "m.onnx")
    onnx.checker.check_model(str(tmp_path / "m.onnx"), full_check=True)
    session = runtime.InferenceSession(tmp_path / "m.onnx", providers=["CPUExecutionProvider"])
    found = dict(
        zip((out.name for out in session.get_outputs()), session.run(None, {"X": X}), strict=True)
    )
    assert ("probabilities" in found) == model.has_probabilities
    check(model, X, found["label"], found["scores"], found.get("probabilities"))
    known = session.get_modelmeta().custom_metadata_map
    assert json.loads(known["class_names"]) == list(model.class_names)


@pytest.mark.parametrize("kind", ["pixels", "offset"])
@pytest.mark.parametrize("dtype", ["uint8", "float32", "float64"])
def test_onnx_takes_rows_of_the_dtype_that_is_asked_for(kind, dtype, tmp_path):
    (_, runtime) = needed("onnx", "onnxruntime")
    model, X = made(kind=kind)
    if kind == "offset" and dtype == "uint8":
        return  # such values are no uint8
    model.to_onnx(tmp_path / "m.onnx", dtype)
    session = runtime.InferenceSession(tmp_path / "m.onnx", providers=["CPUExecutionProvider"])
    label, scores, probabilities = session.run(None, {"X": X.astype(dtype)})
    check(model, X, label, scores, probabilities)
    assert session.run(["label"], {"X": X[:1].astype(dtype)})[0].tolist() == label[:1].tolist()


@pytest.mark.parametrize("dtype", ["int8", "text", object()])
def test_other_dtypes_of_rows_are_refused(dtype, tmp_path):
    needed("onnx")
    model, _ = made()
    with pytest.raises(InputError, match=r"input_dtype is .* must be one of uint8"):
        model.to_onnx(tmp_path / "m.onnx", dtype)


def test_sklearn_predicts_the_same(problem, tmp_path):
    (linear,) = needed("sklearn.linear_model")
    model, X = problem
    estimator = model.to_sklearn()
    order = np.argsort(model.class_names)
    assert estimator.classes_.tolist() == sorted(model.class_names)
    scores = estimator.decision_function(X)
    if len(order) == 2:
        right = model.scores(X)[:, order]
        np.testing.assert_allclose(scores, right[:, 1] - right[:, 0], rtol=2e-5, atol=2e-5)
        scores = None
    else:
        back = np.argsort(order)
        scores = scores[:, back]
    assert isinstance(estimator, linear.LogisticRegression) == model.has_probabilities
    probabilities = None
    if model.has_probabilities:
        probabilities = estimator.predict_proba(X)[:, np.argsort(order)]
    check(model, X, estimator.predict(X), scores, probabilities)
    names = np.array(model.class_names)[model.predict(X)]
    assert estimator.score(X, names) == 1


def test_sklearn_is_kept_by_skops(problem, tmp_path):
    (skops,) = needed("skops.io")
    model, X = problem
    export.save(model, "sklearn", tmp_path / "m.skops")
    assert skops.get_untrusted_types(file=tmp_path / "m.skops") == []
    estimator = skops.load(tmp_path / "m.skops")
    assert list(estimator.predict(X)) == model.predict_names(X).tolist()


def test_torch_computes_the_same(problem, tmp_path):
    (torch,) = needed("torch")
    model, X = problem
    before = torch.random.get_rng_state()
    linear = model.to_torch()
    assert torch.equal(before, torch.random.get_rng_state())
    rows = torch.from_numpy(X).to(linear.weight.dtype)
    with torch.no_grad():
        scores = linear(rows)
        probabilities = torch.softmax(scores, dim=1).numpy()
    names = np.array(model.class_names)[scores.argmax(dim=1).numpy()]
    check(model, X, names, scores.numpy(), probabilities)
    export.save(model, "torch", tmp_path / "m.pt")
    kept = torch.load(tmp_path / "m.pt", weights_only=True)
    again = torch.nn.Linear(*reversed(linear.weight.shape), dtype=linear.weight.dtype)
    again.load_state_dict(kept["state_dict"])
    assert torch.equal(again.weight, linear.weight)
    assert torch.equal(again.bias, linear.bias)
    assert kept["class_names"] == list(model.class_names)


def test_the_command_names_every_kind():
    assert list(TARGETS) == list(export.TARGETS)


@pytest.fixture
def run(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    rng = np.random.default_rng(0)
    X = rng.normal(size=(90, 5)).astype(np.float32)
    np.savez("t.npz", X_train=X, y_train=np.arange(90) % 5)
    call("train", "--data", "t.npz", "--epochs", 2, "--no-figures", "--out", "run")
    return fastlin.load_run("run")


def test_the_command_writes_beside_the_run_or_where_it_is_told(run):
    assert "Exported: run/export.npz" in call("export", "run", "--to", "npz").stdout
    assert "already" in call("export", "run", "--to", "npz", code=2).stderr
    call("export", "run", "--to", "npz", "--force", "--weights", "best")
    with np.load("run/export.npz") as file:
        np.testing.assert_array_equal(file["weight"], run.best_model.W)
    call("export", "run", "--to", "npz", "--out", "m.npz")
    assert Path("m.npz").exists()
    own = ("--out", "run/model.npz", "--force")
    assert "part of the results in its folder" in call("export", "run", "--to", "npz", *own,
                                                       code=2).stderr  # fmt: skip
    fastlin.load_run("run")


@pytest.mark.parametrize(
    ("to", "module", "advice"),
    [
        ("onnx", "onnx", "pip install 'fastlin[export]'"),
        ("safetensors", "safetensors", "pip install 'fastlin[export]'"),
        ("sklearn", "skops", "pip install 'fastlin[export]'"),
        ("torch", "torch", "pip install torch"),
    ],
)
def test_a_missing_package_is_one_line(run, monkeypatch, to, module, advice):
    for name in list(sys.modules):
        if name.partition(".")[0] == module:
            monkeypatch.delitem(sys.modules, name)
    monkeypatch.setitem(sys.modules, module, None)
    message = call("export", "run", "--to", to, "--out", "m", code=2).stderr
    assert f"needs {module}" in message
    assert advice in message
    assert "to_" not in message  # a command has no functions
    assert not Path("m").exists()


def test_a_broken_package_is_called_broken(tmp_path, monkeypatch):
    (tmp_path / "broken_package.py").write_text("import nothing_of_that_name")
    monkeypatch.syspath_prepend(tmp_path)
    with pytest.raises(InputError, match=r"cannot be imported.*nothing_of_that_name"):
        packages.load("broken_package", "export", "a test")


def test_an_unknown_kind_is_refused(tmp_path):
    model, _ = made()
    with pytest.raises(InputError, match="to is 'pickle'; it must be one of npz, safetensors"):
        export.save(model, "pickle", tmp_path / "m")
