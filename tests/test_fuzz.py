"""A small share of the fuzz in the suite, and faults that it must find.

All of it: ``python -m tests.fuzz --count 100000``.
"""

import os
import signal
import time
import warnings

import fuzz
import numpy as np
import pytest
from fuzz_loaders import LOADERS, Loader

from fastlin.errors import InputError

# Loaders with known faults. Those that are mended are taken out, then they must stay without.
FAULTY = [
    "data.npz",
    "model.npz",
    "config.json",
    "history.csv",
    "grid.json",
    "grid.csv",
    "journal.jsonl",
    "events",
    "journal.npz",
    "results.json",
]
FAULTY_BITS = ["data.npz", "model.npz", "journal.npz"]

COUNT = 300
SECONDS = 30.0  # for one input on a busy machine


def loaders(names, faulty):
    known = pytest.mark.xfail(reason="known faults", strict=False)
    return [pytest.param(name, marks=known if name in faulty else ()) for name in names]


def check(outcome):
    assert not outcome.violations, "\n".join(fuzz.report({outcome.loader: outcome}))


@pytest.mark.parametrize("name", loaders(LOADERS, FAULTY))
def test_damaged_files_are_read_right_or_refused_in_one_line(name):
    outcome = fuzz.run([name], COUNT, seconds=SECONDS)[name]
    assert outcome.inputs == COUNT
    assert outcome.refused > COUNT // 10
    check(outcome)


@pytest.mark.parametrize("name", loaders([n for n in LOADERS if n.endswith(".npz")], FAULTY_BITS))
def test_flipped_bits_of_headers_change_no_value(name):
    outcome = fuzz.run([name], 0, bits=True, every=29, seconds=SECONDS)[name]
    assert outcome.inputs > 200
    check(outcome)


# --- what the fuzz must find ----------------------------------------------------------------


def faulty(load, **more):
    """A loader that does something to inputs that end in 7, of which every tenth does."""

    def mutate(rng, samples):
        return b"%d" % rng.randrange(10), True

    def on_seven(path):
        content = path.read_bytes()
        return load() if content == b"7" else len(content)

    return Loader("faulty", "file", (b"0",), mutate, on_seven, **more)


def fail(error):
    raise error


def allocate():
    return len(bytearray(1_000_000_000))


def leave_open():
    class Left:
        def __del__(self):
            raise OSError("left")

    Left()
    return 1


@pytest.mark.parametrize(
    ("load", "kind"),
    [
        (lambda: fail(KeyError("x")), "KeyError"),
        (lambda: fail(RecursionError()), "RecursionError"),
        (lambda: fail(SystemExit(0)), "SystemExit"),
        (lambda: fail(InputError("a\nb")), "a message of several lines"),
        (lambda: fail(InputError("\x1b[2J")), "a message of several lines"),
        (lambda: fail(InputError("")), "a message of several lines"),
        (lambda: fail(InputError("x" * 5000)), "a message of more than 1,000 characters"),
        (lambda: fail(InputError("it does not fit into memory")), "too much memory"),
        (allocate, "MemoryError"),
        (lambda: warnings.warn("x", UserWarning, stacklevel=1), "UserWarning"),
        (leave_open, "an exception in a finalizer"),
        (lambda: np.array([1.0, np.nan]), "a number that is not finite"),
        (lambda: {"a": [np.inf]}, "a number that is not finite"),
        (lambda: np.array([{}]), "Python objects"),
        (lambda: fail(AssertionError("odd")), "odd"),
    ],
)
def test_a_loader_that_does_wrong_is_found_out(load, kind):
    outcome = fuzz.run(["faulty"], 50, loaders={"faulty": faulty(load)})["faulty"]
    assert outcome.violations
    assert {violation.kind for violation in outcome.violations} == {kind}
    assert outcome.inputs == 50


@pytest.mark.parametrize(
    ("load", "kind"),
    [
        (lambda: os.kill(os.getpid(), signal.SIGKILL), "ends the process"),
        (lambda: os._exit(0), "ends the process"),
        (lambda: time.sleep(1000), "takes more than 2 s"),
    ],
)
def test_a_loader_that_ends_or_never_ends_is_found_out(load, kind):
    outcome = fuzz.run(["faulty"], 12, seconds=2, loaders={"faulty": faulty(load)})["faulty"]
    assert outcome.violations
    assert {violation.kind for violation in outcome.violations} == {kind}
    assert outcome.inputs == 12


def test_values_that_were_not_written_are_found_out():
    loader = faulty(lambda: 5, compare=lambda found, expected: found in expected)
    outcome = fuzz.run(["faulty"], 50, loaders={"faulty": loader})["faulty"]
    assert {violation.kind for violation in outcome.violations} == {
        "other values than those written"
    }


@pytest.mark.parametrize("name", LOADERS)
def test_an_input_depends_on_loader_seed_and_number_alone(name, tmp_path):
    for seed in (0, 1):
        (tmp_path / str(seed)).mkdir()
    first = fuzz.Trial(LOADERS[name](), tmp_path / "0", 0)
    other = fuzz.Trial(LOADERS[name](), tmp_path / "1", 1)
    inputs = [first.input(number) for number in range(20)]
    assert [first.input(number) for number in reversed(range(20))] == inputs[::-1]
    assert [other.input(number) for number in range(20)] != inputs
    assert len({content for content, _ in inputs}) > 15


def test_the_command_prints_a_table_keeps_what_fails_and_repeats_it(tmp_path, capsys, monkeypatch):
    monkeypatch.setitem(LOADERS, "faulty", lambda: faulty(lambda: fail(KeyError("x"))))
    arguments = ["--loader", "faulty", "--count", "50", "--seed", "3"]
    assert fuzz.main([*arguments, "--keep", str(tmp_path / "kept")]) == 1
    printed = capsys.readouterr().out
    assert "violations" in printed.splitlines()[0]
    kept = sorted((tmp_path / "kept").iterdir())
    assert kept
    assert all(path.read_bytes() == b"7" for path in kept)
    _, seed, number = kept[0].name.split("-")
    assert fuzz.main(["--only", f"faulty:{number}", "--seed", seed]) == 1
    assert "KeyError" in capsys.readouterr().err
    monkeypatch.setitem(LOADERS, "faulty", lambda: faulty(lambda: 1))
    assert fuzz.main(arguments) == 0
