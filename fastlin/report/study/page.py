"""The page of the study: tables of its experiments, and one rule for what they say."""

from __future__ import annotations

import itertools
from collections.abc import Sequence
from typing import Any

import numpy as np

from fastlin.report import wording
from fastlin.report.mistakes import weights_picture
from fastlin.report.page import (
    Column,
    Page,
    Picture,
    Row,
    Section,
    Table,
    class_table,
    facts_section,
)
from fastlin.report.statistics import RELEVANCE, Difference, Sample
from fastlin.report.study import experiments as study
from fastlin.report.study.experiments import Comparison, Experiment
from fastlin.report.study.findings import Study, best_run

_MARGIN = f"±{100 * RELEVANCE:g} point"
RULE = (
    "One rule holds for every difference on this page. The interval is two-sided, of Student's t "
    "distribution over the seeds; runs of one seed are compared with each other, for they have the "
    "same first weights and orders of rows. In a table, intervals have the levels of Holm's "
    "procedure, 95 % for the table as a whole, and p is adjusted likewise. Where the interval "
    "excludes 0 there is a difference; elsewhere none larger than its farther end is seen. A claim "
    f"of no effect agrees with an interval within {_MARGIN} (two standard errors of an accuracy on "
    "10,000 test images) and disagrees with one outside; a claimed gain or loss agrees with one on "
    f"its side of 0, and disagrees with one on the other side or within {_MARGIN}; else it is "
    "open. The test images are always the same: nothing here says how it would be on others."
)
_EFFECT = (
    Column("difference (points)", "points"), Column("interval", "interval"), Column("", "strip"),
    Column("p", "p"), Column("verdict"),
)  # fmt: skip
_ACCURACIES = [Column(f"{word} accuracy", "spread") for word in wording.PARTS.values()]


def study_page(s: Study) -> Page:
    """Return the page of the study."""
    claims = [s.differences[one.id].agreement(one.expects) for one in study.CONCLUSIONS]
    beside = [one for one in (*study.PUBLISHED, *study.CHECKS) if one.published is not None]
    differ = sum(s.differences[one.id].is_seen for one in beside)
    runs = s.all_runs()
    seconds = wording.seconds(sum(run.seconds for run in runs))
    best = wording.percent(s.sample(s.best, "test_accuracy").mean)
    tiles = [
        [f"{differ} of {len(beside)}", "accuracies differ from the published ones"],
        [
            f"{claims.count('agrees')} of {len(claims)}",
            f"claims agree; {claims.count('disagrees')} disagree, {claims.count('open')} are open",
        ],
        [best, f"test accuracy of {_name(s.best)}, the best by validation accuracy"],
        [wording.counted(len(runs), "run"), f"in {seconds}"],
    ]
    per_class = {_name(name): found.confusions.per_class for name, found in s.mistakes.items()}
    others = [one for one in (*study.CHECKS, *study.TRIALS) if one.published is None]
    facts = {
        **s.facts,
        "seeds, epochs": f"{', '.join(map(str, s.seeds))}; {wording.counted(s.epochs, 'epoch')}",
        "runs": f"{len(runs):,}, of which {len(runs) - s.runner.trained:,} were on disk already",
    }
    sections = [
        Section("results", "Beside what was published", [RULE],
                [_published(s, beside), _published(s, study.VARIANTS)]),
        Section("claims", "What the study claims", [],
                [_claims(s), _effects(s, "part of the decaying rate", study.DETAILS)]),
        Section("figures", "The published figures", [], [],
                [found for one in study.FIGURES for found in _figure(s, *one)]),
        Section("grid", "The grid", [], [_grid(s)], [_heat_map(s, study.GRID)]),
        Section("further", "What the study asked and did not try", [],
                [_effects(s, "change", study.OUTLOOK), _others(s, others)],
                [_heat_map(s, one.id) for one in study.TRIALS if one.swept]),
        Section("errors", "Where linear classifiers err", [],
                [class_table(list(s.class_names), per_class)], _mistakes(s)),
        facts_section(facts, s.source.command, s.threads),
    ]  # fmt: skip
    seeds = wording.counted(len(s.seeds), "seed")
    lead = f"The experiments of {study.SOURCE}, run again by fastlin over {seeds}."
    return Page("The reference study, reproduced", lead, tiles, sections, _notice(s))


def _notice(s: Study) -> str:
    if not s.is_published_data:
        why = f"Made from {s.data_names[False]}, not from the data of the study"
    elif s.epochs != study.EPOCHS:
        why = f"Every run has {wording.counted(s.epochs, 'epoch')}; the study has {study.EPOCHS}"
    else:
        return ""
    return f"Not comparable with the published numbers. {why}: fastlin report --data cifar10"


def _name(name: str) -> str:
    return f"{name} {study.experiment(name).title}"


def _settings(s: Study, experiment: Experiment) -> str:
    if experiment.kind == "grid":
        return "chosen per seed"
    return wording.settings_text(s.runs[experiment.id][0].config.to_dict())


def _effect(found: Difference) -> list[Any]:
    strip = [found.mean, found.low, found.high]
    return [found.mean, found.interval, strip, found.p, wording.verdict(found)]


def _published(s: Study, experiments: Sequence[Experiment]) -> Table:
    rows = [
        Row([_name(one.id), one.published, s.sample(one.id, "test_accuracy").cell,
             *_effect(s.differences[one.id])], _settings(s, one), s.command(one))
        for one in experiments
    ]  # fmt: skip
    caption = (
        "Test accuracy, mean ± standard deviation over seeds. The published value is taken for one "
        "more seed: the interval is of the difference from it. Commands run the first seed."
    )
    columns = [Column("experiment"), Column("published", "percent"), Column("fastlin", "spread")]
    return Table([*columns, *_EFFECT], rows, caption)


def _effects(s: Study, what: str, comparisons: Sequence[Comparison]) -> Table:
    rows = [
        Row([one.title, *_effect(s.differences[one.id])], one.id)
        for one in comparisons
        if s.has(one)
    ]
    return Table([Column(what), *_EFFECT], rows, "Of test accuracy.")


def _claims(s: Study) -> Table:
    table = _effects(s, "change", study.CONCLUSIONS)
    rows = [
        Row([*row.cells, s.differences[one.id].agreement(one.expects)],
            f"{row.remark}. “{one.claim}” Claimed: {one.expects}")
        for row, one in zip(table.rows, study.CONCLUSIONS, strict=True)
    ]  # fmt: skip
    return Table([*table.columns, Column("the claim", "verdict")], rows, table.caption)


def _others(s: Study, experiments: Sequence[Experiment]) -> Table:
    rows = [
        Row([_name(one.id), s.data_rows[one.full]["train"],
             *(s.sample(one.id, f"{part}_accuracy").cell for part in wording.PARTS)],
            _settings(s, one), s.command(one))
        for one in experiments if one.id in s.runs
    ]  # fmt: skip
    caption = (
        "Mean ± standard deviation over seeds. Where settings were tuned, candidates ran on the "
        "first seed and the one with the best validation accuracy on all."
    )
    columns = [Column("experiment"), Column("training rows", "count"), *_ACCURACIES]
    return Table(columns, rows, caption)


def _grid(s: Study) -> Table:
    winner, against = s.against_winner()
    per_seed, swept = s.candidates[study.GRID], study.experiment(study.GRID).swept
    chosen = [records.index(best_run(records)) for records in per_seed]
    val, test = (
        [Sample.of([getattr(run, f"{part}_accuracy") for run in runs])
         for runs in zip(*per_seed, strict=True)]
        for part in ("val", "test")
    )  # fmt: skip
    rows = []
    order = sorted(range(len(val)), key=lambda place: -val[place].mean)
    for rank, place in enumerate(order[:10], start=1):
        settings = {name: getattr(per_seed[0][place].config, name) for name in swept}
        cells = [str(rank), wording.settings_text(settings), val[place].cell, test[place].cell,
                 chosen.count(place)]  # fmt: skip
        if place == winner:
            cells += [None, None, None, "the published winner"]
        else:
            mean, interval, _, p, said = _effect(against[place])
            cells += [mean, interval, p, said]
        rows.append(Row(cells))
    caption = (
        f"The ten best of {len(val)} settings by mean validation accuracy, of which the "
        "differences are; the test accuracy took no part in the choice."
    )
    columns = [
        Column("rank"), Column("settings"), *_ACCURACIES[1:],
        Column("seeds that choose it", "count"),
        Column("published winner minus this", "points"), Column("interval", "interval"),
        Column("p", "p"), Column("verdict"),
    ]  # fmt: skip
    return Table(columns, rows, caption)


def _foot(s: Study, name: str, *parts: str, seeds: Sequence[int] = (0,)) -> str:
    data = s.data_names[study.experiment(name).full]
    swept = study.experiment(name).swept if parts == ("val",) else ()
    return wording.footer(data, parts, s.runs[name][0].config.to_dict(), seeds, swept)


def _figure(s: Study, number: str, what: str, names: tuple[str, ...]) -> list[Picture]:
    """Return a published figure, or none if it shows images and rows are none."""
    title = f"Figure {number}: {' and '.join(_name(name) for name in names)}"
    key, first = f"figure-{number}", s.runs[names[0]]
    if what == "weights":
        return _weights(s, names[0], key, title)
    if what == "gradient":
        gradients = {_name(name): s.gradients[name] for name in names}
        return [Picture(
            key, title, "Of W after training; both on one scale.", _foot(s, names[0], "train"),
            True, lambda figures: figures.gradient_histograms(gradients),
        )]  # fmt: skip
    return [Picture(
        key, title, "Cost after every epoch.", _foot(s, names[0], "train", "val", seeds=s.seeds),
        draw=lambda figures: figures.cost_band([run.history for run in first]),
    )]  # fmt: skip


def _weights(s: Study, name: str, key: str, title: str) -> list[Picture]:
    if s.image_shape is None:
        return []
    return [weights_picture(key, title, s.model(name), _foot(s, name, "train"))]


def _mistakes(s: Study) -> list[Picture]:
    pictures = []
    for name, found in s.mistakes.items():
        foot = _foot(s, name, "test", seeds=s.seeds)
        pictures += found.pictures(f"{name}-", _name(name), foot)
    if s.best not in study.drawn("weights"):
        pictures += _weights(s, s.best, "best-templates", f"Weights of {_name(s.best)}")
    return pictures


def _heat_map(s: Study, name: str) -> Picture:
    """Return mean validation accuracy, the first setting down, all the others across."""
    per_seed, swept = s.candidates[name], study.experiment(name).swept
    first, *others = swept
    columns = list(itertools.product(*(sorted(swept[setting]) for setting in others)))
    means = {
        tuple(getattr(runs[0].config, setting) for setting in swept):
        np.mean([run.val_accuracy for run in runs])
        for runs in zip(*per_seed, strict=True)
    }  # fmt: skip

    rows = sorted(swept[first])
    values = np.array([[means[row, *column] for column in columns] for row in rows])
    names = [" · ".join(f"{value:g}" for value in column) for column in columns]
    note = f"Validation accuracy after the last epoch, {wording.counted(len(per_seed), 'seed')}."
    foot = _foot(s, name, "val", seeds=s.seeds[: len(per_seed)])
    return Picture(
        f"grid-{name}", f"The grid of {_name(name)}", note, foot, len(columns) > 3,
        lambda figures: figures.heat_map(
            values, [f"{row:g}" for row in rows], names, first, " · ".join(others),
            "validation accuracy", s.data_rows[False]["val"],
        ),
    )  # fmt: skip
