"""A practitioner's whole task, command to file: `python -m benchmarks.practitioner`.

Frozen float16 features, text labels of unequal classes in a table, no validation rows, and new rows
to be judged. Each contestant is a process of its own that reads the files, chooses settings on rows
that it holds out, and writes the classes of the new rows to a file. The clock includes starting
Python, and everything else.
"""

from __future__ import annotations

import csv
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import NamedTuple

import click
import numpy as np
from numpy.typing import NDArray

from benchmarks.libraries import SCIKIT_LEARN
from benchmarks.machine import header_lines
from fastlin.files import atomic_write
from fastlin.metrics import wilson_interval

_CLASSES, _FEATURES = 30, 768
_SHOWN = 3  # lines of a table
_NEW, _TRAIN, _LABELS = "X_new.npy", "X_train.npy", "labels.csv"

# As the README has them.
_SETTINGS = "--lr 0.001:0.1:5 --l2 0,0.0001,0.001 --epochs 20"
COMMANDS = (
    f"fastlin grid --data {_TRAIN} --labels {_LABELS}:species {_SETTINGS} --out probe",
    f"fastlin predict probe/winner {_NEW} --top 3 --proba --out pred.csv",
)

# What scikit-learn's users write; liblinear and saga are slower on such rows.
_SCIKIT_LEARN = """
import sys
import numpy as np
from sklearn.linear_model import LogisticRegression
from sklearn.model_selection import train_test_split

X = np.load("X_train.npy").astype(np.float32)
y = np.loadtxt("labels.csv", dtype=str, delimiter=",", skiprows=1, usecols=1)
X, X_val, y, y_val = train_test_split(X, y, test_size=0.1, stratify=y, random_state=0)
models = [LogisticRegression(C=float(C), max_iter=1000).fit(X, y) for C in sys.argv[2:]]
best = max(models, key=lambda model: model.score(X_val, y_val))
new = np.load("X_new.npy").astype(np.float32)
with open(sys.argv[1], "w") as file:
    file.write("row,class\\n")
    file.writelines(f"{row},{name}\\n" for row, name in enumerate(best.predict(new)))
"""


class Contestant(NamedTuple):
    """Somebody who does the task.

    Attributes
    ----------
    name : str
    commands : list of list of str
        Arguments of Python, run one after the other in the folder of the files; the last one
        writes the file of its place in the race, ``{out}``.
    """

    name: str
    commands: list[list[str]]


def contestants() -> list[Contestant]:
    """Return fastlin, and scikit-learn with and without a choice of C."""
    search, prediction = (
        ["-m", *command.replace("probe", "probe-{out}").replace("pred.csv", "{out}").split()]
        for command in COMMANDS
    )
    return [
        Contestant("fastlin, 15 settings", [[*search, "--no-figures"], prediction]),
        Contestant(
            "scikit-learn, C 1", [["-c", _SCIKIT_LEARN, "{out}", "1"]],
        ),
        Contestant(
            "scikit-learn, 5 C",
            [["-c", _SCIKIT_LEARN, "{out}", "0.001", "0.01", "0.1", "1", "10"]],
        ),
    ]  # fmt: skip


def write_task(folder: Path, seed: int, rows: int, new_rows: int) -> NDArray[np.str_]:
    """Write the files of the task; return the classes (new_rows,) of the new rows.

    Features are those of a network in kind: a few directions vary much, most of them little, and
    classes overlap.
    """
    rng = np.random.default_rng(np.random.SeedSequence([seed, 51]))
    names = np.array([f"species {number:02d}" for number in range(_CLASSES)])
    share = 0.9 ** np.arange(_CLASSES)
    centres = 0.4 * rng.standard_normal((_CLASSES, 64))
    mixing = rng.standard_normal((64, _FEATURES)) / np.arange(1, 65)[:, None] ** 0.5
    labels = {}
    for name, count in ((_TRAIN, rows), (_NEW, new_rows)):
        y = np.concatenate([  # every class occurs
            np.arange(_CLASSES), rng.choice(_CLASSES, count - _CLASSES, p=share / share.sum()),
        ])  # fmt: skip
        hidden = centres[y] + rng.standard_normal((count, 64))
        X = hidden @ mixing + 0.3 * rng.standard_normal((count, _FEATURES))
        np.save(folder / name, X.astype(np.float16))
        labels[name] = names[y]
    with (folder / _LABELS).open("w", newline="") as file:
        writer = csv.writer(file)
        writer.writerow(["id", "species"])
        writer.writerows(enumerate(labels[_TRAIN]))
    found: NDArray[np.str_] = labels[_NEW]
    return found


class Done(NamedTuple):
    """What came of one's doing the task.

    Attributes
    ----------
    seconds : float
        From the first command to the file.
    printed : str
        What the first command printed.
    """

    seconds: float
    printed: str


def run(contestant: Contestant, folder: Path, out: str) -> Done:
    """Let one do the task. Raises ClickException if a command fails."""
    printed = []
    started = time.perf_counter()
    for command in contestant.commands:
        done = subprocess.run(
            [sys.executable, *(part.replace("{out}", out) for part in command)],
            cwd=folder, capture_output=True, text=True, check=False,
        )  # fmt: skip
        if done.returncode:
            last = (done.stderr.strip() or "nothing").splitlines()[-1]
            raise click.ClickException(f"{contestant.name}: exit code {done.returncode}: {last}")
        printed.append(done.stdout)
    return Done(time.perf_counter() - started, printed[0])


def accuracy_of(path: Path, truth: NDArray[np.str_]) -> tuple[int, int]:
    """Return how many rows of a table of classes are right, and how many there are."""
    with path.open(newline="") as file:
        found = np.array([row["class"] for row in csv.DictReader(file)])
    return int((found == truth).sum()), len(truth)


def page(rows: int, races: dict[str, list[Done]], folder: Path, truth: NDArray[np.str_]) -> str:
    """Return what was printed, written and measured as Markdown, for the README.

    Parameters
    ----------
    rows : int
        Training rows.
    races : dict[str, list[Done]]
        What every contestant did in every round, by name, fastlin first.
    folder : Path
        Where the file of the contestant i in its first round is ``i-0.csv``.
    truth : NDArray[np.str_]
        The classes of the new rows.
    """
    printed = next(iter(races.values()))[0].printed.splitlines()
    ranking = [
        line.rstrip().replace("probe-0-0.csv", "probe")
        for line in printed[: 1 + _SHOWN + _first(printed, "rank")]
    ]
    predicted = (folder / "0-0.csv").read_text().splitlines()[: 1 + _SHOWN]
    count = len(next(iter(races.values())))
    seconds = {name: float(np.median([d.seconds for d in done])) for name, done in races.items()}
    ours = next(iter(seconds.values()))
    lines = [
        f"On {rows:,} rows of {_FEATURES} float16 features and {_CLASSES} unequal classes the",
        "first command prints", "", "```", *ranking, "```", "", "and the second writes", "", "```",
        *predicted, "```", "",
        f"| from the commands to the file | seconds | ratio | right of {len(truth):,} new rows |",
        "|---|---|---|---|",
    ]  # fmt: skip
    for place, (name, took) in enumerate(seconds.items()):
        right, _ = accuracy_of(folder / f"{place}-0.csv", truth)
        low, high = wilson_interval(right / len(truth), len(truth))
        lines.append(
            f"| {name} | {took:.1f} | {took / ours:.1f}x | {right / len(truth):.2%} "
            f"({low:.2%} to {high:.2%}) |"
        )
    rounds = "one round" if count == 1 else f"median of {count} rounds"
    machine = header_lines()[0].removeprefix("machine: ")
    return "\n".join([*lines, "", f"{machine}; {rounds}; kernels were compiled before."])


def _first(lines: list[str], word: str) -> int:
    """Return the number of lines up to the rule below the headings that begin with a word."""
    return next(i for i, line in enumerate(lines) if line.startswith(word)) + 1


@click.command()
@click.option("--rows", default=50_000, type=click.IntRange(20 * _CLASSES), show_default=True)
@click.option("--new", default=10_000, type=click.IntRange(_CLASSES), show_default=True)
@click.option("--rounds", default=3, type=click.IntRange(1), show_default=True)
@click.option("--seed", default=0, type=click.IntRange(0), show_default=True)
@click.option("--out", type=click.Path(path_type=Path), help="Write the page there, too.")
def main(rows: int, new: int, rounds: int, seed: int, out: Path | None) -> None:
    """Race fastlin against scikit-learn's LogisticRegression, from command to file."""
    if not SCIKIT_LEARN.is_installed():
        raise click.ClickException("scikit-learn is missing: pip install scikit-learn")
    for line in header_lines():
        click.echo(line)
    everyone = contestants()
    races: dict[str, list[Done]] = {one.name: [] for one in everyone}
    with tempfile.TemporaryDirectory() as place:
        folder = Path(place)
        truth = write_task(folder, seed, rows, new)
        run(everyone[0], folder, "compiled.csv")  # kernels are compiled once on a machine
        for number in range(rounds):
            for index, one in enumerate(everyone):
                races[one.name].append(run(one, folder, f"{index}-{number}.csv"))
        text = page(rows, races, folder, truth)
    click.echo(f"\n{text}")
    if out is not None:
        with atomic_write(out) as file:
            file.write(f"{text}\n".encode())


if __name__ == "__main__":
    main()
