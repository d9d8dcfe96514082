"""An option for every setting of `TrainConfig` and every parameter of a loss."""

from __future__ import annotations

import re
from collections.abc import Callable, Container, Iterable, Mapping
from typing import Any

import click

from fastlin.class_weights import ClassWeights, lists_words, read_class_weights
from fastlin.commands import options
from fastlin.config import TrainConfig, as_json
from fastlin.errors import InputError
from fastlin.losses import PARAMETERS, Loss, LossKind, check_given_once
from fastlin.settings import (
    AUTO,
    Choice,
    Kind,
    Number,
    OrAuto,
    Setting,
    Switch,
    Whole,
    settings_of,
)
from fastlin.solving.config import FitConfig

_OFF = "no_"  # before the name of a switch that takes a list: its option that says false


class LossName(click.ParamType[Loss]):
    """The text of a loss, with or without parameters."""

    name = "loss"

    def __init__(self, kind: LossKind) -> None:
        self._kind = kind

    def get_metavar(self, param: click.Parameter, ctx: click.Context) -> str:
        """Return what the help says of the values."""
        return f"[{'|'.join(loss.name for loss in self._kind.losses)}]"

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> Loss:
        """Return the loss. Fails if there is none of that text."""
        try:
            return self._kind.checked(self.name, value)
        except InputError as error:
            self.fail(str(error), param, ctx)


class NumberOrAuto(click.ParamType[Any]):
    """A number as another type takes it, or ``auto``."""

    name = "number|auto"

    def __init__(self, number: click.ParamType[Any]) -> None:
        self._number = number

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> Any:
        """Return the number, or ``auto``. Fails as the other type does."""
        return value if value == AUTO else self._number.convert(value, param, ctx)


class ClassWeightType(click.types.StringParamType):
    """``balanced``, ``none``, a file of weights, or the weights as a JSON object."""

    name = "balanced|none|FILE"

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> Any:
        """Return what the setting takes. Fails if a file is missing or holds something else."""
        from fastlin import files

        if not isinstance(value, str) or lists_words(value):
            return value
        try:
            if value.startswith("{"):
                return files.parse_json(value)
            return read_class_weights(options.PLACE.convert(value, param, ctx))
        except (InputError, ValueError) as error:
            self.fail(str(error), param, ctx)


def settings_options(
    record: type[TrainConfig | FitConfig] = TrainConfig,
    *,
    lists: bool = False,
    without: Container[str] = (),
) -> options.Decorator:
    """Add an option for every setting of a record, and for every parameter of a loss.

    Their values are None or () unless given, see `given_settings`; the help says the default.

    Parameters
    ----------
    record : type
        `TrainConfig` or `FitConfig`.
    lists : bool
        Whether the options take lists of values, as a search does.
    without : Container[str]
        Settings for which there is no option.
    """
    defaults = record()
    added: list[options.Decorator] = []
    for name, declared in settings_of(record).items():
        if name in without:
            continue
        added += _options(name, declared, as_json(getattr(defaults, name)), lists=lists)
        if isinstance(declared.kind, LossKind):
            for parameter, of_loss in PARAMETERS.items():
                default = _default_of_parameter(parameter, declared.kind.losses)
                added += _options(parameter, of_loss, default, lists=lists)

    def decorate(command: Callable[..., Any]) -> Callable[..., Any]:
        for option in reversed(added):
            command = option(command)
        return command

    return decorate


def given_settings(settings: Mapping[str, Any]) -> dict[str, Any]:
    """Return the settings that were given, of the values of `settings_options`."""
    given = {name: value for name, value in settings.items() if value not in (None, ())}
    for name in [name for name in given if name.startswith(_OFF)]:
        if given.pop(name):
            switch = name.removeprefix(_OFF)
            given[switch] = (*given.get(switch, ()), "false")
    return given


def given_with_parameters(settings: Mapping[str, Any]) -> tuple[dict[str, Any], dict[str, Any]]:
    """Return the settings of one run that were given, and the parameters of its loss as lists.

    Raises InputError if a parameter stands in the loss, and is given by its own name, too.
    """
    given = given_settings(settings)
    parameters = {name: [given.pop(name)] for name in PARAMETERS if name in given}
    if "loss" in given:
        check_given_once([given["loss"]], parameters)
    return given, parameters


def _options(
    name: str, declared: Setting, default: object, *, lists: bool
) -> list[options.Decorator]:
    """Return the option of a setting; of a switch that takes a list, two."""
    flag = f"--{name.replace('_', '-')}"
    kind = declared.kind
    is_switch = isinstance(declared.plain_kind, Switch)
    if is_switch and default != AUTO:
        default = flag[2:] if default else f"no-{flag[2:]}"
    text = re.sub(r"`(\w+)`", lambda found: f"--{found[1].replace('_', '-')}", declared.help)
    text += f"  [default: {default}]"
    if not lists:
        flags = f"{flag}/--no-{flag[2:]}" if is_switch else flag
        return [click.option(flags, name, type=_type_of(kind), default=None, help=text)]
    if is_switch:  # given alone, or with a list
        listed = click.option(
            flag,
            multiple=True,
            is_flag=False,
            flag_value="true",
            metavar="[true,false]",
            help=text,
        )
        return [listed, click.option(f"--no-{flag[2:]}", _OFF + name, is_flag=True, hidden=True)]
    if isinstance(kind, ClassWeights):  # each is one value: names of files may have commas
        return [click.option(flag, type=_type_of(kind), multiple=True, help=text)]
    return [click.option(flag, multiple=True, metavar="LIST", help=text)]


def _type_of(kind: Kind) -> Any:
    """Return what click takes as values of a setting."""
    if isinstance(kind, OrAuto):
        # A switch has two options, and is auto where neither is given.
        return None if isinstance(kind.of, Switch) else NumberOrAuto(_type_of(kind.of))
    if isinstance(kind, Number):
        return click.FloatRange(kind.low, kind.high, kind.above_low, kind.below_high)
    if isinstance(kind, Whole):
        return click.IntRange(kind.least)
    if isinstance(kind, Choice):
        return click.Choice([choice.value for choice in kind.of])
    if isinstance(kind, ClassWeights):
        return ClassWeightType()
    return LossName(kind) if isinstance(kind, LossKind) else None


def _default_of_parameter(name: str, losses: Iterable[Loss]) -> str:
    """Return the default of a parameter of losses, and which of them have it."""
    having = [loss for loss in losses if name in loss.parameters()]
    return f"{having[0].parameters()[name]}; of {', '.join(loss.name for loss in having)}"
