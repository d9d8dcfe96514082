"""Makes the README's pictures and tables anew from real runs: `python docs/build.py`.

Needs CIFAR-10 (see `fastlin data list`). The benchmark table is that of the machine that
`python -m benchmarks` measured last; the summary of the study is made by `fastlin report` (see the
README).
"""

from __future__ import annotations

import re
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path

from benchmarks import report
from fastlin import load_split, train
from fastlin.commands.options import train_command
from fastlin.report.study import CHECKS, EPOCHS, PUBLISHED
from fastlin.runs import DataReference
from fastlin.training import evaluate

DOCS = Path(__file__).resolve().parent
README = DOCS.parent / "README.md"
FIGURES = ("cost", "accuracy", "templates", "gradient", "confusion")
GRID = ("--lr", "0.01,0.02,0.03", "--l2", "0,0.001,0.0001", "--batch-size", "64,100,128")


def run_fastlin(*arguments: str | Path) -> None:
    """Run the command line in a process of its own."""
    subprocess.run([sys.executable, "-m", "fastlin", *map(str, arguments)], check=True)


def make_figures() -> None:
    """Draw a run and a grid on CIFAR-10 into docs/figures."""
    target = DOCS / "figures"
    target.mkdir(exist_ok=True)
    with tempfile.TemporaryDirectory() as folder:
        run, grid = Path(folder) / "run", Path(folder) / "grid"
        run_fastlin("train", "--data", "cifar10", "--out", run)
        for name in FIGURES:
            shutil.copy(run / "figures" / f"{name}.png", target)
        run_fastlin("grid", "--data", "cifar10", *GRID, "--out", grid)
        for picture in (grid / "figures").glob("*.png"):
            shutil.copy(picture, target / f"grid-{picture.name}")


def study_table() -> str:
    """Run every single-setting experiment of the study; return the table."""
    split = load_split("cifar10")
    if split.test is None:
        sys.exit("CIFAR-10 without test rows")
    rows = ["| | experiment | published | fastlin | command |", "|---|---|---|---|---|"]
    for experiment in (*PUBLISHED, CHECKS[0]):
        if experiment.kind != "setting":
            continue
        config = experiment.config(seed=0, epochs=EPOCHS)
        accuracy = evaluate(train(split, config).model, split.test, config).accuracy
        command = train_command(DataReference("cifar10"), config)
        rows.append(
            f"| {experiment.id} | {experiment.title} | {experiment.published:.2%} | {accuracy:.2%} "
            f"| `{command}` |"
        )
    return "\n".join(rows)


def benchmark_table() -> str:
    """Draw the machine that was measured last; return its table and plots."""
    folder = DOCS / "benchmarks"
    path = report.latest(folder)
    table = report.illustrate(path).strip()
    others = sorted(other.stem for other in folder.glob("*.json") if other != path)
    plots = "\n\n".join(
        f"![{text}](docs/benchmarks/{name}.png)"
        for name, text in (
            ("speed", "Speed relative to the fastest peer"),
            ("roofline", "Achieved speed against the limits of arithmetic and memory"),
        )
    )
    links = ", ".join(f"[{name}](docs/benchmarks/{name}.json)" for name in others)
    more = f"\n\nOther machines: {links}." if links else ""
    return f"## How fast\n\n{table}\n\n{plots}{more}"


def replace_section(name: str, content: str) -> None:
    """Put content between a section's markers in the README."""
    text = README.read_text(encoding="utf-8")
    pattern = rf"(<!-- {name}\b[^>]*-->\n).*?(<!-- /{name} -->)"
    new, count = re.subn(
        pattern, lambda match: f"{match[1]}\n{content}\n\n{match[2]}", text, flags=re.DOTALL
    )
    if count != 1:
        sys.exit(f"README.md has no section {name}")
    README.write_text(new, encoding="utf-8")


if __name__ == "__main__":
    make_figures()
    replace_section("study", study_table())
    replace_section("benchmarks", benchmark_table())
