"""Trained classifiers in the files and objects of other programs.

What is exported takes values as they are stored: the scale of pixels, standardisation and offsets
are in its weights. Nothing is written as a pickle.
"""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import IO, Any, NamedTuple

import numpy as np
from numpy.typing import DTypeLike, NDArray

from fastlin import __version__, files, packages
from fastlin.data.features import stored_part
from fastlin.errors import InputError, quoted
from fastlin.model import LinearModel

_OPSET, _IR = 17, 8  # of ONNX; runtimes since 2022 read them
_INPUT_DTYPES = ("uint8", "float32", "float64")


def folded(model: LinearModel) -> tuple[NDArray[Any], NDArray[Any]]:
    """Return W (K, d) and b (K,), of which W x + b are the scores of values x as they are stored.

    They are the scores over the temperature of the model, whose softmax are its probabilities.

    Parameters
    ----------
    model : LinearModel

    Returns
    -------
    W, b : NDArray
        Of the dtype of the model; float64 where it subtracts an offset from features, since W x and
        b would cancel in float32.
    """
    W, b = _folded(model, model.feature_offset)
    if model.temperature is not None:
        W, b = W / model.temperature, b / model.temperature
    dtype = model.W.dtype if model.feature_offset is None else np.dtype(np.float64)
    return W.astype(dtype), b.astype(dtype)


def _folded(
    model: LinearModel, offset: NDArray[np.float64] | None
) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Return W and b in float64, for stored values from which nothing is subtracted any more."""
    W, b = model.W.astype(np.float64), model.b.astype(np.float64)
    if offset is not None:
        b = b - W @ offset
    return W * _stored_scale(model), b


def _stored_scale(model: LinearModel) -> float:
    """Return what a stored value was multiplied by to become a feature."""
    return 1.0 if model.feature_range is None else model.feature_range.scale


def metadata(model: LinearModel) -> dict[str, str]:
    """Return what goes with the weights, as text: names, loss, image shape, input."""
    scale = _stored_scale(model)
    known = {name: json.dumps(names) for name, names in _names(model).items()}
    known |= {
        "input": "features"
        if scale == 1
        else f"values as stored; the factor {scale:.6g} is folded into the weights",
        "fastlin": __version__,
    }
    if model.loss is not None:
        known["loss"] = model.loss
    if model.temperature is not None:
        known["temperature"] = f"{model.temperature:.17g}"
    if model.image_shape is not None:
        known["image_shape"] = json.dumps(list(model.image_shape))  # channels, height, width
    return known


def _names(model: LinearModel) -> dict[str, list[str]]:
    """Return the names of classes and, where they are known, of features."""
    known = {"class_names": model.class_names, "feature_names": model.feature_names}
    return {what: list(names) for what, names in known.items() if names is not None}


def to_sklearn(model: LinearModel) -> Any:
    """Return a model as a fitted estimator of scikit-learn, for values as they are stored.

    That is a `LogisticRegression` where the loss is softmax, with the same probabilities; else a
    `LinearSVC`, whose `decision_function` are the scores. ``classes_`` are the class names in
    ascending order, and so are the columns of what it returns. Of two classes `decision_function`
    is the score of the second less that of the first.

    Parameters
    ----------
    model : LinearModel

    Raises
    ------
    PackageError
        If scikit-learn is not installed.
    """
    linear = packages.load("sklearn.linear_model", "export", "an estimator of scikit-learn")
    W, b = folded(model)
    order = np.argsort(np.array(model.class_names))  # scikit-learn's own order
    W, b = W[order], b[order]
    if len(b) == 2:  # one row: the score of the second class less that of the first
        W, b = W[1:] - W[:1], b[1:] - b[:1]
    if model.has_probabilities:
        estimator = linear.LogisticRegression()
    else:
        svm = packages.load("sklearn.svm", "export", "an estimator of scikit-learn")
        estimator = svm.LinearSVC(multi_class="crammer_singer" if len(b) > 1 else "ovr")
    estimator.classes_ = np.array(model.class_names)[order]
    estimator.coef_, estimator.intercept_ = W, b
    estimator.n_features_in_ = W.shape[1]
    if model.feature_names is not None:
        estimator.feature_names_in_ = np.array(model.feature_names, object)
    estimator.n_iter_ = np.zeros(1, np.int32)
    return estimator


def to_torch(model: LinearModel) -> Any:
    """Return a model as a `torch.nn.Linear` that makes scores of values as they are stored.

    It is float64 where the model subtracts an offset from features, else of the dtype of W.

    Parameters
    ----------
    model : LinearModel

    Raises
    ------
    PackageError
        If PyTorch is not installed.
    """
    torch = packages.load("torch", None, "a module of PyTorch")
    W, b = folded(model)
    tensors = {"weight": torch.from_numpy(W), "bias": torch.from_numpy(b)}
    K, d = W.shape
    # Without values at first: random ones would draw from the generator of the process.
    linear = torch.nn.utils.skip_init(torch.nn.Linear, d, K, dtype=tensors["weight"].dtype)
    linear.load_state_dict(tensors)
    return linear


def to_onnx(model: LinearModel, input_dtype: DTypeLike | None = None) -> Any:
    """Return a model as a checked `onnx.ModelProto`; see `save_onnx`."""
    onnx = packages.load("onnx", "export", "an ONNX graph")
    helper, array = onnx.helper, onnx.numpy_helper.from_array
    given = _input_dtype(model, input_dtype)
    computed, scale = model.W.dtype, _stored_scale(model)
    # As the kernels do: subtract what the dtype of the rows can hold, and fold the rest into b.
    shift, rest = None, model.feature_offset
    if rest is not None and given != np.uint8:
        shift, part = stored_part(rest, scale, given)
        rest = rest - part
    W, b = _folded(model, rest)
    constants = [
        array(W.astype(computed), "W"),
        array(b.astype(computed), "b"),
        array(np.array(model.class_names, object), "class_names"),
    ]
    nodes, rows = [], "X"
    if shift is not None:
        constants.append(array(shift, "offset"))
        nodes.append(helper.make_node("Sub", [rows, "offset"], ["centred"]))
        rows = "centred"
    if given != computed:
        to = helper.np_dtype_to_tensor_dtype(computed)
        nodes.append(helper.make_node("Cast", [rows], ["features"], to=to))
        rows = "features"
    nodes += [
        helper.make_node("Gemm", [rows, "W", "b"], ["scores"], transB=1),
        helper.make_node("ArgMax", ["scores"], ["number"], axis=1, keepdims=0),
        helper.make_node("Gather", ["class_names", "number"], ["label"]),
    ]
    K, d = W.shape
    real = helper.np_dtype_to_tensor_dtype(computed)
    outputs = [
        helper.make_tensor_value_info("label", onnx.TensorProto.STRING, ["rows"]),
        helper.make_tensor_value_info("scores", real, ["rows", K]),
    ]
    if model.has_probabilities:
        powers = "scores"
        if model.temperature is not None:
            constants.append(array(np.array(model.temperature, computed), "temperature"))
            nodes.append(helper.make_node("Div", [powers, "temperature"], ["tempered"]))
            powers = "tempered"
        nodes.append(helper.make_node("Softmax", [powers], ["probabilities"], axis=1))
        outputs.append(helper.make_tensor_value_info("probabilities", real, ["rows", K]))
    taken = helper.np_dtype_to_tensor_dtype(given)
    inputs = [helper.make_tensor_value_info("X", taken, ["rows", d])]
    graph = helper.make_graph(nodes, "fastlin", inputs, outputs, constants)
    proto = helper.make_model(
        graph,
        opset_imports=[helper.make_opsetid("", _OPSET)],
        ir_version=_IR,
        producer_name="fastlin",
        producer_version=__version__,
    )
    helper.set_model_props(proto, metadata(model))
    onnx.checker.check_model(proto, full_check=True)
    return proto


def save_onnx(model: LinearModel, path: str | Path, input_dtype: DTypeLike | None = None) -> None:
    """Write a model as an ONNX graph for values as they are stored.

    Its input is ``X`` (rows, d). Its outputs are ``label`` (rows,), the class names, ``scores``
    (rows, K) and, of the softmax loss, ``probabilities`` (rows, K), with the temperature.

    Parameters
    ----------
    model : LinearModel
    path : str or Path
        A file that is there is replaced.
    input_dtype : DTypeLike, optional
        Of X: uint8, float32 or float64; by default uint8 if the model was trained on pixels, else
        that of W.

    Raises
    ------
    PackageError
        If the package onnx is not installed.
    InputError
        If `input_dtype` is another one, or the file cannot be written.
    """
    content = to_onnx(model, input_dtype).SerializeToString()
    with files.atomic_write(path) as file:
        file.write(content)


def _input_dtype(model: LinearModel, given: DTypeLike | None) -> np.dtype[Any]:
    """Return the dtype of rows that an ONNX graph takes."""
    if given is None:
        of_pixels = model.scale is None and _stored_scale(model) != 1
        return np.dtype(np.uint8) if of_pixels else model.W.dtype
    try:
        name = np.dtype(given).name
    except TypeError:
        name = ""
    if name not in _INPUT_DTYPES:
        raise InputError(
            f"input_dtype is {quoted(given)}; it must be one of {', '.join(_INPUT_DTYPES)}"
        )
    return np.dtype(name)


def _write_npz(model: LinearModel, file: IO[bytes]) -> None:
    W, b = folded(model)
    facts = {name: np.array(text) for name, text in (metadata(model) | _names(model)).items()}
    arrays = {"weight": W, "bias": b} | facts
    np.savez(file, **arrays)  # type: ignore[arg-type]


def _write_safetensors(model: LinearModel, file: IO[bytes]) -> None:
    numpy = packages.load("safetensors.numpy", "export", "a .safetensors file")
    W, b = folded(model)
    tensors = {"weight": np.ascontiguousarray(W), "bias": np.ascontiguousarray(b)}
    file.write(numpy.save(tensors, metadata(model)))


def _write_onnx(model: LinearModel, file: IO[bytes]) -> None:
    file.write(to_onnx(model).SerializeToString())


def _write_sklearn(model: LinearModel, file: IO[bytes]) -> None:
    skops = packages.load("skops.io", "export", "a .skops file")
    file.write(skops.dumps(to_sklearn(model)))


def _write_torch(model: LinearModel, file: IO[bytes]) -> None:
    torch = packages.load("torch", None, "a .pt file")
    known = metadata(model) | _names(model)
    torch.save({"state_dict": to_torch(model).state_dict(), **known}, file)


class Target(NamedTuple):
    """A kind of file that a model is exported to.

    Attributes
    ----------
    suffix : str
        The ending of its name.
    write : Callable
        Writes a model to an open file.
    """

    suffix: str
    write: Callable[[LinearModel, IO[bytes]], None]


TARGETS = {
    "npz": Target(".npz", _write_npz),
    "safetensors": Target(".safetensors", _write_safetensors),
    "onnx": Target(".onnx", _write_onnx),
    "sklearn": Target(".skops", _write_sklearn),
    "torch": Target(".pt", _write_torch),
}


def save(model: LinearModel, to: str, path: str | Path) -> None:
    """Write a model as a file of another program.

    Parameters
    ----------
    model : LinearModel
    to : str
        One of `TARGETS`. ``npz`` and ``safetensors`` hold ``weight`` (K, d) and ``bias`` (K,);
        ``onnx`` is the graph of `save_onnx`; ``sklearn`` the estimator of `to_sklearn`, as skops
        keeps it; ``torch`` a dictionary whose ``state_dict`` is that of a `torch.nn.Linear`, for
        `torch.load` with ``weights_only``. The temperature of a model is folded into its weights
        but in ``onnx``, which has scores and probabilities. All have the class names, and the
        names of the features where they are known.
    path : str or Path
        A file that is there is replaced.

    Raises
    ------
    InputError
        If there is no such kind, or the file cannot be written.
    PackageError
        If the package that it needs is not installed.
    """
    if to not in TARGETS:
        raise InputError(f"to is {quoted(to)}; it must be one of {', '.join(TARGETS)}")
    with files.atomic_write(path) as file:
        TARGETS[to].write(model, file)
