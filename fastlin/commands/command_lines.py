"""The command lines that do again what was done."""

from __future__ import annotations

import json
import shlex
from typing import TYPE_CHECKING, Any

from fastlin.config import TrainConfig

if TYPE_CHECKING:
    from fastlin.data.source import DataReference
    from fastlin.fitting import Fitting

# The options of lists of penalties, by the arguments of `fastlin.probe`.
PENALTIES = {"Cs": "--C", "l2s": "--l2"}


def data_words(reference: DataReference) -> list[str]:
    """Return the options that name the data of a reference."""
    words = []
    for name, value in reference.arguments().items():
        words += [f"--{name.replace('_', '-')}", str(value)]
    return words


def command_of(reference: DataReference, config: TrainConfig, fitting: Fitting) -> str:
    """Return the command of a run: that of an exact fit, of a probe, or `train_command`."""
    if fitting.gap is None:
        return train_command(reference, config)
    content = fitting.counting(config.to_dict()) | fitting.content()
    defaults = {"standardize": False, "class_weight": None, "gap": 1e-6, "dtype": str(config.dtype)}
    words = ["fastlin", "fit", *data_words(reference)]
    probe = fitting.as_probe(config.penalty_factor)
    if probe is not None:  # it decided the penalty, and on which rows it is fitted
        words = ["fastlin", "probe", *data_words(reference), *_probe_words(probe)]
        for name in ("l2", "refit", "shots", "draws", "probe"):
            content.pop(name, None)
    for name, value in content.items():
        if name not in defaults or value != defaults[name]:
            words += setting_words(name, value)
    return shlex.join(words)


def _probe_words(probe: dict[str, Any]) -> list[str]:
    """Return the options of the arguments of `fastlin.probe`."""
    words: list[str] = []
    for name, value in probe.items():
        if name in PENALTIES:
            words += [PENALTIES[name], ",".join(map(repr, value))]
        elif name == "select":
            words += ["--select", value.removeprefix("val_").replace("_", "-")]
        elif (name, value) != ("protocol", "fastlin"):
            words += setting_words(name, value)
    return words


def train_command(reference: DataReference, config: TrainConfig) -> str:
    """Return the `fastlin train` command of settings, to the last digit; defaults are left out."""
    words = ["fastlin", "train", *data_words(reference)]
    defaults = TrainConfig().to_dict()
    parameters = type(config.loss)().parameters().items()
    changed = {p: v for p, v in config.loss.parameters().items() if (p, v) not in parameters}
    defaults |= dict.fromkeys(changed)
    for name, value in (config.to_dict() | {"loss": config.loss.name} | changed).items():
        if value != defaults[name]:
            words += setting_words(name, value)
    return shlex.join(words)


def setting_words(name: str, value: Any) -> list[str]:
    """Return the option of a setting with a value as `as_json` returns it, or a tuple of values."""
    flag = name.replace("_", "-")
    if isinstance(value, bool):
        return [f"--{flag}" if value else f"--no-{flag}"]
    if isinstance(value, dict):
        return [f"--{flag}", json.dumps(value, ensure_ascii=False)]
    if isinstance(value, tuple):
        return [f"--{flag}", ",".join(f"{one:g}" for one in value)]
    return [f"--{flag}", str(value)]
