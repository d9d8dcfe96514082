import json
import os
import shutil
import signal
import subprocess
import sys
import textwrap
import threading
import time
from functools import partial
from pathlib import Path

import numpy as np
import psutil
import pytest
from click.testing import CliRunner

from benchmarks import cases, contestants, grid_cases, libraries, machine, processes, report
from benchmarks.__main__ import main
from benchmarks.contestants import OwnProcess, Task, Work
from benchmarks.outcomes import FASTLIN, TWIN, Outcome
from benchmarks.peers import Numpy
from benchmarks.problems import make_problem
from benchmarks.racing import Entry, FailedError, Pace, Race, race

ROOT = Path(__file__).resolve().parent.parent
ONE_RUN = Pace(0, 0)
FIRST = np.zeros((2, 3), np.float32), np.zeros(2, np.float32)
TRAINED = FIRST[0] + 1, FIRST[1] + 1
SETTINGS = cases.Settings(rounds=3, quick=True)


def task(name, make, *arguments, is_checked=False):
    return Task(name, libraries.NUMPY, 1, partial(make, *arguments), is_checked=is_checked)


def note(path, name):
    def run():
        with path.open("a") as file:
            file.write(f"{name} {os.getpid()}\n")
        sum(range(100_000))

    return Work(run)


def quiet():
    return Work(lambda: None)


def trained(weights):
    return Work(lambda: sum(range(10_000)), check=lambda: [weights])


def raises(message):
    raise ValueError(message)


def leaves(code, on_run):
    runs = []

    def run():
        runs.append(1)
        if len(runs) == on_run:
            os.write(2, b"first\n\x1b[1mno such instruction\n\n")
            os._exit(code) if code >= 0 else os.kill(os.getpid(), -code)

    return Work(run)


def spins(seconds):
    def spin(until):
        while time.monotonic() < until:
            pass

    def run():
        threading.Thread(target=spin, args=(time.monotonic() + seconds,), daemon=True).start()

    return Work(run)


def fails_in_its_kernel(error):
    def run():
        raise error

    return Work(run)


def environment(path):
    limits = [pool["num_threads"] for pool in libraries.threadpoolctl().threadpool_info()]
    loaded = sorted({"numba", "torch", "jax", "sklearn"} & {*sys.modules})
    path.write_text(f"{limits}\n{loaded}\n{sorted(os.environ.items())}")
    return quiet()


def children():
    """Return the processes that this one started for contestants."""
    return [
        child
        for child in psutil.Process().children(recursive=True)
        if "resource_tracker" not in " ".join(child.cmdline())
    ]


@pytest.fixture(autouse=True)
def nothing_is_left_behind(tmp_path, monkeypatch):
    before = {child.pid for child in children()}
    monkeypatch.setenv("TMPDIR", str(tmp_path / "temporary"))
    monkeypatch.setattr("tempfile.tempdir", None)
    (tmp_path / "temporary").mkdir()
    yield
    assert {child.pid for child in children()} <= before
    assert not list((tmp_path / "temporary").iterdir())


def test_contestants_take_turns_in_processes_of_their_own(tmp_path):
    log = tmp_path / "log"
    names = ["a", "b", "c"]
    rounds = []
    with (
        OwnProcess(task("a", note, log, "a")) as a,
        OwnProcess(task("b", note, log, "b")) as b,
        OwnProcess(task("c", note, log, "c")) as c,
    ):
        team = [a, b, c]
        for one in team:
            assert one.weights() == []
        found = race(team, 2, pace=ONE_RUN, on_round=lambda: rounds.append(log.read_text()))
    lines = [line.split() for line in log.read_text().splitlines()]
    turns = [name for name, _ in lines]
    assert turns[:6] == ["a", "b", "c", "b", "c", "a"]
    assert len(turns) == 3 * len(rounds)
    pids = dict(lines)
    assert len({*pids.values(), str(os.getpid())}) == 4
    assert all([name, pids[name]] in lines for name in names)
    assert [text.count("\n") for text in rounds] == [3 * (i + 1) for i in range(len(rounds))]
    assert sorted(found.seconds) == names
    assert all(len(seconds) == len(rounds) for seconds in found.seconds.values())
    assert all(second > 0 for seconds in found.seconds.values() for second in seconds)


def test_short_runs_are_repeated_until_there_is_enough_to_time():
    ran = []

    def run():
        ran.append(1)
        time.sleep(0.003)

    resets = []
    timing = Entry("a", run, 2, lambda: resets.append(1)).measure(Pace(0, 0.05))
    assert 2 < len(ran) == len(resets) <= 17
    assert 0.003 <= timing.seconds < 0.05


def test_a_ratio_is_taken_within_rounds():
    found = Race({"a": [2.0, 20.0, 200.0], "b": [1.0, 5.0, 400.0]}, [False, False, False])
    assert found.ratio("a", to="b") == 2


@pytest.mark.parametrize(
    ("make", "arguments", "reason"),
    [
        (raises, ["no such\nlibrary \x1b[1m"], "ValueError: no such library  [1m"),
        (leaves, [3, 1], "its process ended with exit code 3:  [1mno such instruction"),
        (leaves, [3, 2], "its process ended with exit code 3:  [1mno such instruction"),
        (leaves, [-signal.SIGSEGV, 2], "its process ended by SIGSEGV:  [1mno such instruction"),
        (fails_in_its_kernel, [MemoryError("1 TB")], "MemoryError: 1 TB"),
        (trained, [(TRAINED[0] * 1.01, TRAINED[1])], "its weights are off the NumPy twin's"),
        (trained, [(TRAINED[0] * np.nan, TRAINED[1])], "its weights are off the NumPy twin's"),
    ],
)
def test_a_rival_that_fails_is_left_out_and_said_so_in_one_line(make, arguments, reason):
    bad = task("PyTorch", make, *arguments, is_checked=make is trained)
    good = [task(name, trained, TRAINED, is_checked=True) for name in (FASTLIN, TWIN)]
    found = cases.contest([good[0], bad, good[1]], good[1], FIRST, SETTINGS, 3)
    assert sorted(found.seconds) == sorted([FASTLIN, TWIN])
    assert [*found.failures] == ["PyTorch"]
    assert found.failures["PyTorch"].startswith(reason)
    outcome = Outcome("case", "title", 1)
    outcome.add_race(found)
    [line] = [line for line in report.summary(outcome).split("\n") if "PyTorch" in line]
    assert line == f"    PyTorch left out: {found.failures['PyTorch']}"
    assert line.isprintable()
    assert Outcome.from_dict(outcome.to_dict()).left_out == found.failures


@pytest.mark.parametrize(("who", "late"), [(FASTLIN, False), (FASTLIN, True), (TWIN, False)])
def test_without_fastlin_or_its_measure_there_is_no_result(who, late):
    tasks = {name: task(name, trained, TRAINED, is_checked=True) for name in (FASTLIN, TWIN)}
    tasks[who] = task(who, leaves, 1, 2) if late else task(who, raises, "broken")
    with pytest.raises(FailedError, match=f"^{who}: "):
        cases.contest([*tasks.values()], tasks[TWIN], FIRST, SETTINGS, 3)


def test_the_next_turn_waits_for_threads_that_still_spin():
    with OwnProcess(task("a", spins, 0.6)) as one:
        one.weights()
        start = time.monotonic()
        one.measure(ONE_RUN)
        one.settle()
        assert time.monotonic() - start > 0.5


def test_a_contestant_that_never_sleeps_is_out(monkeypatch):
    monkeypatch.setattr(contestants, "RESTLESS", 0.3)
    with OwnProcess(task("a", spins, 60)) as restless, OwnProcess(task("b", quiet)) as good:
        for one in (restless, good):
            one.weights()
        found = race([restless, good], 2, pace=ONE_RUN)
    assert found.failures == {"a": "works on 0.3 s after its turn"}
    assert [*found.seconds] == ["b"]


def test_no_answer_is_a_failure(monkeypatch):
    monkeypatch.setattr(contestants, "PATIENCE", 0.2)
    with (
        OwnProcess(task("a", time.sleep, 60)) as one,
        pytest.raises(FailedError, match="no answer"),
    ):
        one.weights()


def test_a_process_has_this_environment_one_library_and_its_threads(tmp_path, monkeypatch):
    monkeypatch.delenv("KMP_DUPLICATE_LIB_OK", raising=False)
    machine.describe()
    before = sorted(os.environ.items())
    path = tmp_path / "found"
    with OwnProcess(task("a", environment, path)) as one:
        one.weights()
    threads, loaded, variables = path.read_text().split("\n")
    assert {*eval(threads)} == {1}  # noqa: S307
    assert loaded == "[]"
    assert eval(variables) == before  # noqa: S307


def test_peers_get_the_problem_itself(tmp_path):
    problem = make_problem(7, 12, 3, batch_size=4, row_dtype=np.uint8)
    problem.save(tmp_path / "p.npz")
    [(W, b)] = cases._training_work(Numpy, tmp_path / "p.npz", 2, 1).check()
    peer = Numpy(problem)
    peer.train(problem.orders(2))
    np.testing.assert_array_equal(W, peer.W)
    np.testing.assert_array_equal(b, peer.b)
    assert problem.head(3).X.shape == problem.head(3).features.shape == (3, 12)


SCRIPT = """
    import os, time
    from functools import partial
    from benchmarks import cases, libraries
    from benchmarks.contestants import Task, Work

    def work(name):
        print("from a contestant")
        return Work(partial(busy, name), check=lambda: [])

    def busy(name):
        os.close(os.open(f"{os.getpid()}.running", os.O_CREAT))
        end = time.monotonic() + (60 if name == "slow" else 0.01)
        while time.monotonic() < end:
            pass

    if __name__ == "__main__":
        tasks = [Task(n, libraries.NUMPY, 1, partial(work, n), False) for n in ("a", "slow")]
        cases.contest(tasks, tasks[0], (), cases.Settings(3, quick=True), 3)
"""


@pytest.mark.skipif(not hasattr(os, "killpg"), reason="needs process groups")
@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM, signal.SIGKILL])
def test_all_end_with_the_process_that_started_them(number, tmp_path):
    """As Ctrl-C does it: the signal goes to the whole group; others to the starter alone."""
    script = tmp_path / "script.py"
    text = textwrap.dedent(SCRIPT)
    if number != signal.SIGINT:  # who cannot clean up: a turn comes to its end before
        text = text.replace("60 if", "3 if")
    script.write_text(text)
    starter = subprocess.Popen(
        [sys.executable, script], cwd=tmp_path, start_new_session=True, text=True,
        env={**os.environ, "PYTHONPATH": str(ROOT)}, stdout=subprocess.PIPE, stderr=subprocess.PIPE,
    )  # fmt: skip
    end = time.monotonic() + 120
    while len(running := list(tmp_path.glob("*.running"))) < 2 and time.monotonic() < end:
        assert starter.poll() is None, starter.communicate()
        time.sleep(0.02)
    started = [psutil.Process(int(path.stem)) for path in running]
    assert len(started) == 2
    if number == signal.SIGINT:
        os.killpg(starter.pid, number)
    else:
        starter.send_signal(number)
    _, errors = starter.communicate(timeout=60)
    gone, alive = psutil.wait_procs(started, timeout=0 if number == signal.SIGINT else 60)
    assert len(gone) == 2
    assert not alive
    if number == signal.SIGINT:
        assert errors.count("Traceback") == 1  # of the starter
        assert errors.strip().endswith("KeyboardInterrupt")
    for path in (tmp_path / "temporary").glob("*.log"):
        assert number != signal.SIGINT
        path.unlink()


class Fails(cases.Case):
    def measure(self, settings):
        raise FailedError("fastlin: ValueError: broken")


class Works(cases.Case):
    def measure(self, settings):
        outcome = Outcome(self.name, self.title, self.threads)
        outcome.add_race(Race({FASTLIN: [0.5]}, [False]))
        settings.on_round()
        return outcome


@pytest.fixture
def two_cases(monkeypatch):
    made = [Fails(name="fails", title="", goals=()), Works(name="works", title="W", goals=())]
    monkeypatch.setattr(cases, "STEPS", made)
    for module, name in (
        (cases, "EPOCHS"), (cases, "COMPARISONS"), (grid_cases, "GRIDS"), (processes, "PROCESSES"),
    ):  # fmt: skip
        monkeypatch.setattr(module, name, [])
    monkeypatch.setattr("benchmarks.__main__._keep_to_cores", lambda _: None)


@pytest.mark.usefixtures("two_cases")
def test_the_study_goes_on_after_a_case_that_fails_and_writes_what_it_has(tmp_path):
    out = tmp_path / "out"
    done = CliRunner().invoke(main, ["--rounds", "1", "--out", str(out)], catch_exceptions=False)
    assert done.exit_code == 1
    assert "\nfails: not measured: fastlin: ValueError: broken\n" in done.stdout
    assert "\nworks (1 thread)\n" in done.stdout
    assert "] works ." in done.stderr
    name = machine.slug(machine.describe())
    assert sorted(path.name for path in out.iterdir()) == [f"{name}.json", "table.md"]
    assert report.latest(out) == out / f"{name}.json"
    assert "| W | 1 | 500 ms |" in (out / "table.md").read_text()


@pytest.mark.parametrize(
    ("cpu", "simd", "name"),
    [
        ("AMD EPYC", "AVX-512", "amd-epyc-avx512"),
        ("AMD EPYC 7B13 64-Core Processor", "AVX2", "amd-epyc-7b13-avx2"),
        ("Intel(R) Xeon(R) CPU @ 2.20GHz", "AVX2", "intel-xeon-avx2"),
        ("arm", "NEON", "arm-neon"),
        ("x86_64", machine.NO_SIMD, "x86-64"),
    ],
)
def test_results_are_named_by_the_processor(cpu, simd, name):
    assert machine.slug({"cpu": cpu, "simd": simd}) == name


def test_the_table_is_of_the_machine_that_was_measured_last(tmp_path):
    [kept, *_] = (ROOT / "docs" / "benchmarks").glob("*.json")
    for name, date in (
        ("older", "2026-11-25"), ("newer", "2026-11-25T10:00:00+00:00"), ("oldest", "2025-12-31"),
    ):  # fmt: skip
        text = shutil.copy(kept, tmp_path / f"{name}.json").read_text()
        before = json.loads(text)["date"]
        (tmp_path / f"{name}.json").write_text(text.replace(before, date))
    path = report.latest(tmp_path)
    assert path.stem == "newer"
    table = report.illustrate(path)
    assert (tmp_path / "table.md").read_text(encoding="utf-8") == table
    assert {"speed.png", "roofline.png"} <= {found.name for found in tmp_path.iterdir()}
    with pytest.raises(FileNotFoundError, match="has no results"):
        report.latest(tmp_path / "empty")


def test_settings_that_hold_a_library_back_are_named(monkeypatch):
    monkeypatch.setenv("OPENBLAS_L2_SIZE", "512")
    assert machine.describe()["limited_by"]["OPENBLAS_L2_SIZE"] == "512"
    assert any("OPENBLAS_L2_SIZE=512" in line for line in machine.header_lines())
