"""The metrics of a run on its page: a table of all, and figures by class and by probability."""

from __future__ import annotations

from collections.abc import Mapping

from fastlin.metrics import METRICS, Metric, Tally
from fastlin.report.page import Column, Picture, Row, Table
from fastlin.report.wording import NOTHING, PARTS, percent


def metrics_table(tallies: Mapping[str, Tally]) -> Table:
    """Return a table of all metrics of parts of the data, with the interval of the accuracy."""
    rows = []
    values = {part: tally.values() for part, tally in tallies.items()}
    there = [metric for metric in METRICS if any(metric.name in one for one in values.values())]
    for part, of_part in values.items():
        accuracy, *others = (_text(metric, of_part.get(metric.name)) for metric in there)
        low, high = of_part["accuracy_low"], of_part["accuracy_high"]
        interval = f"{percent(low)} to {percent(high)}"
        cells = [PARTS[part], f"{tallies[part].rows:,}", accuracy, interval, *others]
        rows.append(Row(cells))
    heads = ["on", "rows", there[0].title, "95 % interval"]
    columns = [Column(head) for head in (*heads, *(metric.title for metric in there[1:]))]
    meanings = "; ".join(f"{metric.title}: {metric.meaning}" for metric in there[1:])
    return Table(columns, rows, f"After the last epoch; the interval is Wilson's. {meanings}.")


def _text(metric: Metric, value: float | None) -> str:
    """Return a value as pages print it; a dash for none."""
    if value is None:
        return NOTHING
    return percent(value) if metric.is_share else metric.text(value)


def metrics_pictures(
    tally: Tally, class_names: tuple[str, ...], key: str, of: str, foot: str
) -> list[Picture]:
    """Return the figures of the classes, and of the probabilities if there are any."""
    found, calibration = tally.confusions(), tally.calibration
    pictures = [
        Picture(f"{key}-classes", f"Accuracy of {of} by class", "The worst first.", foot,
                draw=lambda figures: figures.class_accuracies(found, class_names))
    ]  # fmt: skip
    if calibration is not None:
        note = "The accuracy of rows by the probability of their predicted class."
        pictures.append(
            Picture(f"{key}-calibration", f"Calibration of {of}", note, foot,
                    draw=lambda figures: figures.reliability_diagram(calibration))
        )  # fmt: skip
    return pictures
