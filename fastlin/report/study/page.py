"""The page of the study: tables of its experiments, and one rule for what they say."""

from __future__ import annotations

import itertools
from collections.abc import Sequence
from typing import Any

import numpy as np

from fastlin.errors import counted
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
from fastlin.report.statistics import MIN_SEEDS, RELEVANCE, Difference, Sample
from fastlin.report.study import experiments as study
from fastlin.report.study.experiments import Comparison, Experiment
from fastlin.report.study.findings import Study, best_run
from fastlin.report.study.optimum_page import optimum_section

_MARGIN = f"±{100 * RELEVANCE:g} point"
# How every difference on the page is judged.
RULE = {
    "difference": "The mean over seeds of one accuracy minus another, in points. Runs of one seed "
    "are compared with each other: they have the same first weights and orders of rows.",
    "interval": "Of that mean, by Student's t distribution over seeds, two-sided: 95 % for all "
    "rows of a table together (Holm's procedure). The test images are always the same: it does not "
    "say how it would be on others.",
    "p": "Adjusted by the same procedure; below 0.05 where the interval excludes 0.",
    "a difference of x": "The interval excludes 0.",
    "no difference larger than x seen": "The interval holds 0, and x is its farther end.",
    "too few seeds": f"Fewer than {MIN_SEEDS}: neither an interval nor p is given. Nor are they "
    "where a difference is the same in every seed, by chance.",
}
CLAIM_RULE = {
    "agrees, disagrees, open": "A claim is one of three. “Above 0” and “below 0” agree with an "
    "interval that is there as a whole, and disagree with one on the other side. "
    f"“Within {_MARGIN}” agrees with an interval within that margin, and disagrees with one "
    "outside it as a whole; the margin is two standard errors of an accuracy on 10,000 images. "
    "Else the claim is open.",
}
_EFFECT = (
    Column("difference (points)", "points"), Column("interval", "interval"), Column("", "strip"),
    Column("p", "p"), Column("verdict"),
)  # fmt: skip
_ACCURACIES = [Column(f"{word} accuracy", "spread") for word in wording.PARTS.values()]


def study_page(s: Study) -> Page:
    """Return the page of the study."""
    runs = s.all_runs()
    seconds = wording.seconds(sum(run.seconds for run in runs))
    best = wording.percent(s.sample(s.best, "test_accuracy").mean)
    tiles = [
        *(_comparison_tiles(s) if s.is_comparable else []),
        [best, f"test accuracy of {_name(s.best)}, the best by validation accuracy"],
        [counted(len(runs), "run"), f"in {seconds}"],
    ]
    per_class = {_name(name): found.confusions.per_class for name, found in s.mistakes.items()}
    others = [one for one in (*study.CHECKS, *study.TRIALS) if one.published is None]
    facts = {
        **s.facts,
        "seeds, epochs": f"{', '.join(map(str, s.seeds))}; {counted(s.epochs, 'epoch')}",
        "runs": f"{len(runs):,}, of which {len(runs) - s.runner.trained:,} were on disk already",
    }
    columns = [Column("what"), Column("")]
    rules = [Row([*one]) for one in (RULE | (CLAIM_RULE if s.is_comparable else {})).items()]
    sections = [
        *_results(s),
        Section("rule", "How differences are judged", [],
                [Table(columns, rules)]),
        Section("figures", "The published figures", [], [],
                [found for one in study.FIGURES for found in _figure(s, *one)]),
        Section("grid", "The grid", [], [_grid(s)], [_heat_map(s, study.GRID)]),
        Section("further", "What the study asked and did not try", [],
                [_effects(s, "change", study.OUTLOOK), _accuracies(s, others)],
                [_heat_map(s, one.id) for one in study.TRIALS if one.swept]),
        optimum_section(s),
        Section("errors", "Where linear classifiers err", [],
                [class_table(list(s.class_names), per_class)], _mistakes(s)),
        facts_section(facts, s.source.command, s.threads),
    ]  # fmt: skip
    few = len(s.seeds) < MIN_SEEDS
    seeds = counted(len(s.seeds), "seed")
    lead = f"The experiments of {study.SOURCE}, run again by fastlin over {seeds}."
    lead += f" Intervals and p need {MIN_SEEDS} seeds: --seeds {MIN_SEEDS}." if few else ""
    return Page("The reference study, reproduced", lead, tiles, sections, _notice(s))


def _notice(s: Study) -> str:
    if not s.is_published_data:
        why = f"Made from {s.data_names[False]}, not from the data of the study"
    elif s.epochs != study.EPOCHS:
        why = f"Every run has {counted(s.epochs, 'epoch')}; the study has {study.EPOCHS}"
    else:
        return ""
    return (
        f"Not comparable with the published numbers, which are left out. {why}: "
        "fastlin report --data cifar10"
    )


def _comparison_tiles(s: Study) -> list[list[str]]:
    beside = study.with_published()
    differ = sum(s.differences[one.id].is_seen for one in beside)
    claims = [s.differences[one.id].agreement(one.expects) for one in study.CONCLUSIONS]
    words = f"claims agree; {claims.count('disagrees')} disagree, {claims.count('open')} are open"
    return [
        [f"{differ} of {len(beside)}", "accuracies differ from the published ones"],
        [f"{claims.count('agrees')} of {len(claims)}", words],
    ]


def _results(s: Study) -> list[Section]:
    """Return the sections of results and of claims, beside the published ones if comparable."""
    parts = _effects(s, "part of the decaying rate", study.DETAILS)
    if s.is_comparable:
        tables = [_published(s, study.with_published()), _published(s, study.VARIANTS)]
        return [
            Section("results", "Beside what was published", tables=tables),
            Section("claims", "What the study claims", tables=[_claims(s), parts]),
        ]
    experiments = (*study.with_published(), *study.VARIANTS)
    effects = _effects(s, "change", study.CONCLUSIONS)
    return [
        Section("results", "Accuracies", tables=[_accuracies(s, experiments)]),
        Section("claims", "What each change does", tables=[effects, parts]),
    ]


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
    return Table([Column(what), *_EFFECT], rows, "Differences of test accuracy.")


def _claims(s: Study) -> Table:
    table = _effects(s, "change", study.CONCLUSIONS)
    rows = [
        Row([*row.cells, s.differences[one.id].agreement(one.expects)],
            f"The study: {one.claim}. Tested: {one.tested}.")
        for row, one in zip(table.rows, study.CONCLUSIONS, strict=True)
    ]  # fmt: skip
    caption = f"{table.caption} That a gain is the largest is not tested."
    return Table([*table.columns, Column("the claim", "verdict")], rows, caption)


def _accuracies(s: Study, experiments: Sequence[Experiment]) -> Table:
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
    """Return mean validation accuracy, the first setting down, all the others across.

    In the published grid those settings are marked that its table does not tell from the winner.
    """
    per_seed, swept = s.candidates[name], study.experiment(name).swept
    first, *others = swept
    columns = list(itertools.product(*(sorted(swept[setting]) for setting in others)))
    places = {
        tuple(getattr(run.config, setting) for setting in swept): place
        for place, run in enumerate(per_seed[0])
    }
    means = np.mean([[run.val_accuracy for run in runs] for runs in per_seed], axis=0)
    rows = sorted(swept[first])
    cells = np.array([[places[row, *column] for column in columns] for row in rows])
    marks = None
    if name == study.GRID and len(s.seeds) >= MIN_SEEDS:
        _, against = s.against_winner()
        marked = [place not in against or not against[place].is_seen for place in range(len(means))]
        marks = np.array(marked)[cells], "the published winner, and what is not told from it"
    names = [" · ".join(f"{value:g}" for value in column) for column in columns]
    note = f"Validation accuracy after the last epoch, {counted(len(per_seed), 'seed')}."
    foot = _foot(s, name, "val", seeds=s.seeds[: len(per_seed)])
    return Picture(
        f"grid-{name}", f"The grid of {_name(name)}", note, foot, len(columns) > 3,
        lambda figures: figures.heat_map(
            means[cells], [f"{row:g}" for row in rows], names, first, " · ".join(others),
            "validation accuracy", marked=marks,
        ),
    )  # fmt: skip
