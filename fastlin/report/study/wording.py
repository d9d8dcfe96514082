"""Numbers as text, and sentences made from numbers: the same for HTML and Markdown."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Any

from fastlin.report.results import Json

MINUS, NOTHING = "\N{MINUS SIGN}", "\N{EN DASH}"
SETTING_NAMES = {"l2": "λ", "batch_size": "batch", "lr": "η", "lr_decay": "decay"}
FLAGS = {"standardize": "standardised", "flip": "mirrored images", "nesterov": "Nesterov"}
CHOICES = {
    ("loss", "hinge"): "hinge",
    ("init", "xavier"): "Xavier",
    ("schedule", "constant"): "constant rate",
    ("schedule", "step"): "steps",
    ("schedule", "cosine"): "cosine schedule",
}


def percent(fraction: float | None, digits: int = 2) -> str:
    """Return a fraction in percent."""
    return NOTHING if fraction is None else f"{100 * fraction:.{digits}f} %"


def points(fraction: float | None, digits: int = 2, *, sign: bool = True) -> str:
    """Return a difference of fractions in percentage points, without the word."""
    if fraction is None:
        return NOTHING
    text = f"{100 * fraction:{'+' if sign else ''}.{digits}f}"
    if float(text) == 0:
        text = text.lstrip("+-")
    return text.replace("-", MINUS)


def p_value(p: float | None) -> str:
    """Return a p-value with its sign of equality: ``= 0.034`` or ``< 0.0001``."""
    if p is None:
        return NOTHING
    return "< 0.0001" if p < 0.0001 else f"= {p:.2g}" if p < 0.1 else f"= {p:.2f}"


def number(value: float, digits: int = 3) -> str:
    """Return a number with so many significant digits, thousands separated."""
    if value == 0 or abs(value) >= 10 ** (digits - 1):
        return f"{value:,.0f}".replace("-", MINUS)
    return f"{value:.{digits}g}".replace("-", MINUS)


def seconds(value: float) -> str:
    """Return a time span in seconds, or in minutes and seconds."""
    if value < 100:
        return f"{value:.1f} s"
    return f"{int(value) // 60} min {int(value) % 60} s"


def listed(words: Iterable[str]) -> str:
    """Return words as a list in a sentence."""
    words = list(words)
    return " and ".join([", ".join(words[:-1]), words[-1]] if len(words) > 1 else words)


def settings_text(settings: Json) -> str:
    """Return the settings that tell experiments apart, in the study's letters."""
    parts = []
    order = [name for name in SETTING_NAMES if name in settings]
    for name in dict.fromkeys([*order, *settings]):
        value = settings[name]
        if name == "lr_decay" and settings.get("schedule", "exponential") == "exponential":
            parts.append("no decay" if value == 1 else f"decay {value:g}")
        elif name in SETTING_NAMES and name != "lr_decay":
            parts.append(f"{SETTING_NAMES[name]} {value:g}")
        elif value is True and name in FLAGS:
            parts.append(FLAGS[name])
        elif name == "shuffle" and not value:
            parts.append("file order")
        elif (name, value) in CHOICES:
            parts.append(CHOICES[name, value])
        elif name == "momentum" and value:
            parts.append(f"momentum {value:g}")
        elif name == "average_epochs" and value > 1:
            parts.append(f"weights averaged over {value} epochs")
    return ", ".join(parts)


def spread(sample: Json) -> str:
    """Return mean and standard deviation in percent."""
    if sample["sd"] is None:
        return percent(sample["mean"])
    return f"{100 * sample['mean']:.2f} ± {100 * sample['sd']:.2f} %"


def interval(paired: Json) -> str:
    """Return a confidence interval in points."""
    return f"{points(paired['low'])} to {points(paired['high'])}"


def judge(comparison: Json) -> str:
    """Return what the interval says of the claim: confirmed, refuted, open or one seed."""
    paired, expects = comparison["test"], comparison["expects"]
    if paired["low"] is None:
        return "one seed"
    low, high = paired["low"], paired["high"]
    found = "none" if low <= 0 <= high else "gain" if low > 0 else "loss"
    if found == expects:
        return "confirmed"
    return "open" if found == "none" else "refuted"


def compare_sentence(comparison: Json) -> str:
    """Return what a comparison found, as a sentence or two."""
    paired, change = comparison["test"], comparison["change"]
    start = change[0].upper() + change[1:]
    effect = f"{start} changes the test accuracy by {points(paired['mean'])} points"
    if paired["low"] is None:
        return f"{effect} on the one seed that was run; nothing tells how much of it is chance."
    tested = (
        f"95 % interval {interval(paired)}, paired t test over {paired['n']} seeds "
        f"p {p_value(paired['p'])}"
    )
    if paired["low"] <= 0 <= paired["high"]:
        reach = points(max(-paired["low"], paired["high"]), sign=False)
        meaning = f"no difference can be seen, and one of more than {reach} points is unlikely"
        if judge(comparison) == "open":
            meaning = f"{paired['n']} seeds are too few to tell it from no difference"
    else:
        direction = "gain" if paired["mean"] > 0 else "loss"
        meaning = f"the {direction} is more than the seeds explain"
        error = comparison["error_over_rows"]
        if error is not None:
            is_larger = abs(paired["mean"]) > 2 * error
            meaning += (
                f"{', and also' if is_larger else ', but not'} more than the choice of test images "
                f"does (standard error {points(error, sign=False)})"
            )
    return f"{effect} ({tested}): {meaning}."


def spread_sentence(comparison: Json) -> str:
    """Return how much the seeds of both experiments scatter; empty with one seed."""
    first, second = comparison["spreads"]
    if first is None:
        return ""
    return (
        f"The seeds of {comparison['first']} scatter by {points(first, sign=False)} points "
        f"(standard deviation), those of {comparison['second']} by {points(second, sign=False)}."
    )


def largest_gain_sentence(conclusions: Sequence[Json], claimed: str) -> str:
    """Return whether the change with that id brings the largest gain of all changes."""
    by_gain = sorted(conclusions, key=lambda c: -c["test"]["mean"])
    winner = by_gain[0]
    if winner["id"] == claimed:
        second = by_gain[1]
        return (
            f"Of the {len(by_gain)} changes it brings the largest gain; the next, "
            f"{_lower(second['title'])}, brings {points(second['test']['mean'])} points."
        )
    return (
        f"It is not the largest gain: {_lower(winner['title'])} brings "
        f"{points(winner['test']['mean'])} points."
    )


def winner_sentence(grid: Json) -> str:
    """Return whether the published winner of a grid can be told from its runners-up."""
    winner, order, others = grid["published_winner"], grid["order"], grid["against_winner"]
    rank = order.index(winner) + 1
    own = grid["entries"][winner]["val_accuracy"]["mean"]
    text = (
        f"By mean validation accuracy ({percent(own)}) the published winner ranks "
        f"{rank} of {len(order)}."
    )
    if grid["seeds"] < 2:
        return text + " With one seed nothing more can be said."
    found = [other["val_accuracy"] for other in others]
    alike = sum(one["p_holm"] > 0.05 for one in found)
    better = sum(one["p_holm"] <= 0.05 and one["mean"] < 0 for one in found)
    worse = len(found) - alike - better
    return text + (
        f" Of the other {len(found)} settings, {better} are better and {worse} worse than it; "
        f"{alike} cannot be told from it (paired t tests over seeds, Holm's correction, 5 % level)."
    )


def winners_sentence(grid: Json, seeds: Sequence[int]) -> str:
    """Return what each seed would have chosen."""
    chosen = grid["winners"]
    different = _counted(len(set(chosen)), "different winner")
    agree = sum(winner == grid["published_winner"] for winner in chosen)
    return (
        f"Searched with one seed, as the study did, the grid has {different} in "
        f"{_counted(len(seeds), 'seed')}; {agree} of them chose the published one."
    )


def summary_sentence(results: Json) -> str:
    """Return how many of the published values were reproduced."""
    verdicts = [found["against_published"]["verdict"] for found in published(results)]
    words = {
        "reproduced": "within noise of the published one",
        "higher": "clearly higher",
        "lower": "clearly lower",
    }
    told = [
        f"{verdicts.count(verdict)} {'is' if verdicts.count(verdict) == 1 else 'are'} {text}"
        for verdict, text in words.items()
        if verdict in verdicts
    ]
    seeds = _counted(len(results["seeds"]), "seed")
    if set(verdicts) == {"reproduced"}:
        return f"All {len(verdicts)} accuracies, means over {seeds}, are {words['reproduced']}."
    return f"Of {len(verdicts)} accuracies, means over {seeds}, {listed(told)}."


def unexplained(results: Json) -> list[Json]:
    """Return the explanations of experiments that are higher than one more seed would be."""
    return [
        found
        for found in results["explanations"]
        if found["within_seeds"][found["id"]] is False
        and results["experiments"][found["id"]]["against_published"]["difference"] > 0
    ]


def explanation(found: Json, results: Json) -> str:
    """Return what may lie behind a difference, and what became of the test of it."""
    text = [found["text"]]
    published = percent(results["experiments"][found["id"]]["published"])
    for name in found["tests"]:
        tested = results["experiments"][name]
        is_within = found["within_seeds"][name]
        text.append(
            f"Tested by {name}, {tested['title']}: {spread(tested['test_accuracy'])}, and the "
            f"published {published} is {'within' if is_within else 'outside'} the reach of its "
            "seeds."
        )
    if not found["tests"]:
        text.append("That cannot be tested here.")
    return " ".join(text)


def published(results: Json) -> list[Json]:
    """Return the experiments of the study itself, not the checks and trials."""
    return [
        found
        for found in results["experiments"].values()
        if found["published"] is not None and found["id"] in results["study_ids"]
    ]


def _counted(count: int, noun: str) -> str:
    return f"{count} {noun}{'' if count == 1 else 's'}"


def _lower(title: str) -> str:
    return title[0].lower() + title[1:]


FILTERS: dict[str, Any] = {
    function.__name__: function
    for function in (
        percent, points, p_value, number, seconds, listed, settings_text, spread, interval, judge,
        compare_sentence, explanation, spread_sentence, winner_sentence,
    )
}  # fmt: skip
