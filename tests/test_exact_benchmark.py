"""The race to the optimum: what it measures is what it says, on a small problem."""

import json
from dataclasses import replace

import numpy as np
import pytest

from benchmarks import exact, exact_report, plots
from benchmarks.exact_contestants import Contestant, contestants, path_contestants
from benchmarks.exact_objective import objective
from benchmarks.exact_race import PathOf, PathRace, Race, Stage, as_json, from_json, race, race_path
from benchmarks.libraries import FASTLIN, SCIKIT_LEARN, Library
from benchmarks.report import files as study_files

PATIENCE = 300.0


@pytest.fixture(scope="module")
def problem():
    return exact.embeddings(400, 16, 5, 1e-3)


def test_the_objective_is_that_of_the_weights(problem):
    rng = np.random.default_rng(0)
    W, b = rng.normal(size=(5, 16)), rng.normal(size=5)
    scores = problem.X.astype(float) @ W.T + b
    p = np.exp(scores) / np.exp(scores).sum(axis=1, keepdims=True)
    expected = -np.log(p[np.arange(400), problem.y]).mean() + 1e-3 * (W**2).sum()
    assert objective(problem, W, b) == pytest.approx(expected, rel=1e-12)


def test_all_who_are_installed_come_to_the_same_objective(problem):
    everyone = [one for one in contestants(300) if one.library in (FASTLIN, SCIKIT_LEARN)]
    found = race(problem, everyone, 1, PATIENCE)
    ends = {name: stages[-1].objective for name, stages in found.stages.items()}
    assert {"fastlin", "scikit-learn lbfgs, float64"} <= ends.keys()
    assert max(ends.values()) / min(ends.values()) - 1 < 1e-3
    assert (
        found.least
        <= found.best
        == min(stage.objective for stages in found.stages.values() for stage in stages)
    )
    assert found.best / found.least - 1 < 1e-8  # fastlin proves it
    assert all(found.distance(stage) >= 0 for of in found.stages.values() for stage in of)
    assert any(line.startswith("| fastlin |") for line in exact_report.table(found))
    assert from_json(json.loads(json.dumps(as_json(found)))) == found


def test_one_who_fails_has_no_line(problem, capsys):
    broken = Contestant("broken", FASTLIN, "raise ValueError('so it is')")
    assert race(problem, [broken], 1, PATIENCE).stages == {"broken": []}
    assert "broken failed: ValueError: so it is" in capsys.readouterr().err


def test_who_takes_too_long_keeps_what_was_done(problem, capsys):
    code = "keep(np.zeros((5, 16)), np.zeros(5), 1.0, 1)\ntime.sleep(1000)"
    slow = Contestant("slow", FASTLIN, code)
    (stage,) = race(problem, [slow], 1, 15.0).stages["slow"]
    assert stage.objective == pytest.approx(np.log(5))
    assert "slow took more than 15 s" in capsys.readouterr().err


def test_a_bound_above_the_objective_proves_nothing(problem):
    code = "keep(np.zeros((5, 16)), np.zeros(5), 1.0, 1, gap=100.0)"
    found = race(problem, [Contestant("vague", FASTLIN, code)], 1, PATIENCE)
    assert found.least == found.best == pytest.approx(np.log(5))


def test_the_median_of_several_fits_counts_and_not_the_first(problem):
    code = """
times = iter([100.0, 3.0, 1.0, 2.0])
def run():
    keep(np.zeros((5, 16)), np.zeros(5), next(times), 7)
begin()
"""
    found = race(
        problem._replace(repeats=3), [Contestant("often", FASTLIN, code)], 1, PATIENCE
    )  # fmt: skip
    assert [stage[:2] for stage in found.stages["often"]] == [(2.0, 7)]
    assert "median of 3 fits" in exact_report.table(found)[0]


def test_a_path_is_timed_where_it_came_near_enough(problem, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)  # contestants find the objective wherever it is started
    Cs = (1e-3, 1e-1, 1e1)
    everyone = [one for one in path_contestants(Cs, 1e-4, 300, 60.0)
                if one.library is FASTLIN or one.name == "scikit-learn lbfgs, float64"]  # fmt: skip
    found = race_path(problem, Cs, everyone, 1, PATIENCE, gap=1e-4, every=2)
    ours, peer = found.found["fastlin"], found.found["scikit-learn lbfgs, float64"]
    assert (ours.asked, ours.done, ours.reached) == (3, 3, 3)
    assert (peer.asked, peer.done, peer.reached, peer.cut) == (2, 2, 2, 0)
    assert from_json(json.loads(json.dumps(as_json(found)))) == found


def test_a_fit_of_a_path_that_takes_too_long_is_ended_and_counts(problem, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    everyone = [one for one in path_contestants((1e-3, 1e1), 1e-4, 300, 0.001)
                if one.library is FASTLIN or one.name == "scikit-learn lbfgs, float64"]  # fmt: skip
    found = race_path(problem, (1e-3, 1e1), everyone, 1, PATIENCE, gap=1e-4, every=1, limit=0.001)
    peer = found.found["scikit-learn lbfgs, float64"]
    assert (peer.asked, peer.done, peer.reached, peer.cut) == (2, 2, 0, 2)
    assert peer.seconds >= 0.002
    assert "not within the gap after 0.001 s was ended" in "\n".join(exact_report.path_table(found))


def race_of(*distances, name="fastlin"):
    """Return a race of one contestant, at such relative distances after 1, 2, ... seconds."""
    stages = [Stage(1.0 + i, i, 2.0 * (1 + d), None) for i, d in enumerate(distances)]
    return Race("some rows", 0.1, 1, 2.0, 2.0, {name: stages})


def test_only_stages_that_come_nearer_have_a_line():
    found = race_of(1e-1, 1e-3, 2e-3, 1.01e-3, 9.9e-4, 9.9e-4)
    lines = exact_report.table(found)
    assert [line.split(" | ")[-1] for line in lines if line.startswith("| fast")] == [
        "1.0e-01 |", "1.0e-03 |", "9.9e-04 |",
    ]  # fmt: skip


def test_a_part_of_a_path_is_scaled_up_and_that_is_said():
    found = {"fastlin": PathOf(45, 45, 45, 9.0), "all": PathOf(12, 12, 12, 12.0),
             "late": PathOf(12, 6, 6, 12.0), "near": PathOf(12, 12, 11, 12.0),
             "broken": PathOf(12, 0, 0, 0.0)}  # fmt: skip
    lines = exact_report.path_table(PathRace("rows", 45, 1e-4, found))
    cells = {line.split(" | ")[0][2:]: line.split(" | ") for line in lines if " | " in line}
    assert cells["fastlin"][4] == "9.0 |"
    assert cells["all"][4] == "45 (scaled up) |"
    assert cells["all"][1] == "12 (every 4th)"
    assert cells["late"][4] == "more than 45 (scaled up) |"
    assert cells["late"][1] == "6 of 12 in time (every 4th)"
    assert cells["near"][4] == "more than 45 (scaled up) |"
    assert cells["broken"][4] == "- |"


def test_the_page_keeps_races_of_other_problems(tmp_path):
    page = tmp_path / "docs" / "exact.md"
    first, other = race_of(1e-1, 1e-6), replace(race_of(1e-2), name="other rows")
    exact_report.write(page, [first], 2)
    exact_report.write(page, [other], 2)
    path = exact_report.write(page, [race_of(1e-3)], 2)
    races = [from_json(one) for one in json.loads(path.read_text())["races"]]
    assert {race.name: len(race.stages["fastlin"]) for race in races} == {
        "other rows": 1, "some rows": 1,
    }  # fmt: skip
    assert page.read_text() == exact_report.page_of(path)
    assert "![Distance to the optimum over seconds](exact.png)" in page.read_text()
    assert (page.parent / "exact.png").read_bytes().startswith(b"\x89PNG")
    assert exact_report.latest(page.parent) == path
    assert study_files(page.parent) == []  # the other benchmark does not take it for its own


def test_lines_of_the_picture_hide_nobody():
    everyone = [one.name for one in contestants(10)]
    figure = plots.distances([race_of(1e-1, 1e-2, 1e-3, name=name) for name in everyone])
    (legend,) = figure.legends
    assert {text.get_text() for text in legend.get_texts()} == set(everyone)
    figure.draw_without_rendering()
    (width, height), box = figure.get_size_inches() * figure.dpi, legend.get_window_extent()
    assert 0 <= box.x0 < box.x1 <= width
    assert box.y1 <= height
    for axes in figure.axes:
        assert not axes.get_tightbbox().overlaps(box)
    colours = [plots._LINES[name] for name in everyone]
    assert len({colour for colour, _ in colours}) == len({m for _, m in colours}) == len(everyone)
    assert plots.distances([]) is None


def test_problems_are_what_they_say():
    few = exact.few_shots(1 / 1600)
    assert few.X.shape == (800, 768)
    assert np.bincount(few.y).tolist() == [8] * 100
    assert few.repeats == 20
    np.testing.assert_allclose(np.linalg.norm(few.X, axis=1), 1, rtol=1e-6)


def test_standardised_rows_are_well_conditioned():
    rows = exact.conditioned(50_000, 256, 10, 1e-4)
    values = np.linalg.eigvalsh(np.cov(rows.X[:20_000].T))
    assert values[-1] / values[0] < 10


def test_who_is_not_installed_is_left_out_and_that_is_said(capsys):
    nobody = Contestant("nobody", Library("no_such_module", lambda _: None), "")
    assert exact.installed([nobody]) == []
    assert "no_such_module is not installed: without nobody" in capsys.readouterr().err


def summarised(tmp_path, *races):
    """Return the cells of a summary, a list for every race."""
    path = exact_report.write(tmp_path / "exact.md", races, 2)
    lines = exact_report.summary(path).splitlines()[2 : 2 + len(races)]
    return [[cell.strip() for cell in line.strip("|").split("|")] for line in lines]


def test_a_summary_has_the_first_that_came_near_enough(tmp_path):
    stages = {
        "fastlin": [Stage(1.0, 5, 2.1, 0.5), Stage(2.0, 9, 2 + 1e-7, 1e-3), Stage(3, 12, 2, 1e-7)],
        "slow": [Stage(50.0, 9, 2.0, None)],
        "second": [Stage(4.0, 9, 2.5, None), Stage(20.0, 9, 2 + 1e-6, None)],
    }
    alone = {"fastlin": stages["fastlin"], "never": [Stage(30.0, 9, 2.2, None)], "late": []}
    first, other = summarised(
        tmp_path, Race("rows", 0.1, 1, 2.0, 2.0, stages), Race("more", 0.1, 1, 2.0, 2.0, alone)
    )
    assert first == ["rows, l2 0.1", "2.00", "3.00", "20.00 (second)", "10.0"]
    assert other[1:] == ["2.00", "3.00", "none, after 30.00 s", "> 15.0"]


def test_a_summary_of_a_path_scales_up_a_part_of_it(tmp_path):
    found = {
        "fastlin": PathOf(8, 8, 8, 2.0),
        "cold": PathOf(2, 2, 2, 10.0),
        "late": PathOf(2, 1, 1, 1.0),
    }
    (cells,) = summarised(tmp_path, PathRace("rows", 8, 1e-4, found))
    assert cells[1:] == ["2.00", "2.00", "40.00 (cold)", "20.0"]


def test_a_summary_of_a_path_that_no_other_fitted_has_the_least_bound(tmp_path):
    found = {
        "fastlin": PathOf(8, 8, 8, 2.0),
        "near": PathOf(2, 2, 1, 15.0),
        "late": PathOf(2, 1, 1, 20.0),
        "broken": PathOf(2, 0, 0, 0.0),
    }
    (cells,) = summarised(tmp_path, PathRace("rows", 8, 1e-4, found))
    assert cells[1:] == ["2.00", "2.00", "none, after 60.00 s", "> 30.0"]


def test_a_summary_of_a_path_bounds_no_time_by_fits_that_ended_short_of_the_gap(tmp_path):
    found = {
        "fastlin": PathOf(8, 8, 8, 2.0, 0),
        "single": PathOf(2, 2, 1, 5.0, 0),
        "double": PathOf(2, 2, 1, 15.0, 1),
    }
    path_race = PathRace("rows", 8, 1e-4, found, 14.0)
    (cells,) = summarised(tmp_path, path_race)
    assert cells[1:] == ["2.00", "2.00", "none, after 60.00 s", "> 30.0"]
    assert "| 1 of 2, 1 ended |" in "\n".join(exact_report.path_table(path_race))
