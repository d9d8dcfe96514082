"""Numbers and settings as text: the same for the page, its Markdown and the foot of figures."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import TYPE_CHECKING, Any

from fastlin.errors import counted
from fastlin.metrics import binomial_error

if TYPE_CHECKING:
    from fastlin.report.statistics import Difference

MINUS, NOTHING = "\N{MINUS SIGN}", "\N{EN DASH}"
PARTS = {"train": "training", "val": "validation", "test": "test"}
# Settings that are always named, and what a text says of others where they differ from the default.
_ALWAYS = {"lr": "lr", "l2": "l2", "batch_size": "batch"}
_WORDS = {
    ("shuffle", False): "file order", ("standardize", True): "standardised",
    ("flip", True): "mirrored images", ("nesterov", True): "Nesterov",
    ("init", "xavier"): "Xavier", ("schedule", "constant"): "constant rate",
    ("schedule", "step"): "steps", ("schedule", "cosine"): "cosine schedule",
}  # fmt: skip


def percent(fraction: float | None, digits: int = 2) -> str:
    """Return a fraction in percent; None and NaN are a dash."""
    is_known = fraction is not None and fraction == fraction  # noqa: PLR0124
    return f"{100 * fraction:.{digits}f} %" if is_known else NOTHING  # type: ignore[operator]


def points(fraction: float, *, sign: bool = True) -> str:
    """Return a difference of fractions in percentage points, without the word."""
    text = f"{100 * fraction:{'+' if sign else ''}.2f}"
    if float(text) == 0:
        text = text.lstrip("+-")
    return text.replace("-", MINUS)


def p_value(p: float | None) -> str:
    """Return a p-value; with its sign where it is too small for digits."""
    return NOTHING if p is None else "< 0.0001" if p < 0.0001 else f"{p:.2g}"


def seconds(value: float) -> str:
    """Return a time span in seconds, or in minutes and seconds."""
    return f"{value:.1f} s" if value < 100 else f"{int(value) // 60} min {int(value) % 60} s"


def spread(mean: float, sd: float | None) -> str:
    """Return mean and standard deviation in percent."""
    return percent(mean) if sd is None else f"{100 * mean:.2f} ± {100 * sd:.2f} %"


def interval(ends: Sequence[float] | None) -> str:
    """Return an interval of differences in points."""
    return NOTHING if ends is None else f"{points(ends[0])} to {points(ends[1])}"


def verdict(found: Difference) -> str:
    """Return the one thing that is said of a difference; the page states the rule."""
    if found.reach is None:
        return "too few seeds" if found.has_few_seeds else "the same in every seed"
    if found.is_seen:
        return f"a difference of {points(found.mean)} points"
    return f"no difference larger than {points(found.reach, sign=False)} points seen"


def noise_note(best: float, rows: int) -> str:
    """Return what "within noise" means beside entries of which the best has that accuracy."""
    return (
        f"Within noise: less than {points(binomial_error(best, rows), sign=False)} points from the "
        f"winner, one standard error of its accuracy on {rows:,} validation rows."
    )


def settings_text(settings: Mapping[str, Any]) -> str:
    """Return the settings of a run that tell it from others, or the few that are given."""
    parts = [str(settings["loss"])] if "loss" in settings else []
    parts += [
        f"{word} {_short(settings[name])}" for name, word in _ALWAYS.items() if name in settings
    ]
    if "lr_decay" in settings and settings.get("schedule", "exponential") == "exponential":
        decay = settings["lr_decay"]
        parts.append("no decay" if decay == 1 else f"decay {decay:g}")
    parts += [word for (name, value), word in _WORDS.items() if settings.get(name) == value]
    if settings.get("momentum"):
        parts.append(f"momentum {settings['momentum']:g}")
    if settings.get("average_epochs", 1) > 1:
        parts.append(f"weights averaged over {settings['average_epochs']} epochs")
    return ", ".join(parts)


def footer(
    data: str,
    parts: Iterable[str],
    settings: Mapping[str, Any],
    seeds: Sequence[int] | None = None,
    swept: Iterable[str] = (),
    epochs_done: int | None = None,
    remark: str = "",
) -> str:
    """Return the line at the foot of a figure: data, rows, loss, settings, epochs and seeds.

    Settings that were `swept` have no one value and are left out. Of a run that was stopped or
    diverged, `epochs_done` is how many epochs it finished. A remark comes last.
    """
    rows = " and ".join(PARTS[part] for part in parts)
    fixed = {name: value for name, value in settings.items() if name not in set(swept)}
    if seeds is None:
        seeds = [fixed["seed"]] if "seed" in fixed else []
    ends = [counted(fixed["epochs"], "epoch")] if "epochs" in fixed else []
    if ends and epochs_done not in {None, fixed["epochs"]}:
        ends[0] = f"{epochs_done:,} of {ends[0]}"
    if seeds:
        ends.append(f"seed {seeds[0]}" if len(seeds) == 1 else counted(len(seeds), "seed"))
    texts = [f"{data}, {rows} rows", settings_text(fixed), ", ".join(ends), remark]
    return " \N{MIDDLE DOT} ".join(text for text in texts if text)


def _short(value: float | str) -> str:
    """Return a number, or the word for one that training chooses."""
    return value if isinstance(value, str) else f"{value:g}"
