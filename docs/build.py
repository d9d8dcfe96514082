"""Makes the README's pictures and tables anew from real runs: `python docs/build.py`.

Needs CIFAR-10 (see `fastlin data list`). The benchmark table is that of the machine that
`python -m benchmarks` measured last; the practitioner's task is what `python -m
benchmarks.practitioner --out docs/benchmarks/task.md` wrote; the page of the race to the optimum
shows what `python -m benchmarks.exact --out docs/benchmarks/exact.md` measured, that of the race of
estimators what `python -m benchmarks.estimators --out docs/benchmarks/estimators.md` did. The
summary of the study is made by `fastlin report` (see the README). The tables of docs/scale.md are
of what `python -m benchmarks.scale --out docs/scale.json` measured, and of the logs that `python -m
benchmarks.imagenet_sized --rows 1281167 --out docs/benchmarks/imagenet_sized` kept. The examples
have a `build.py` of their own.

`python docs/build.py --check` needs no data and changes nothing. It looks whether the tables are
those of the measured results and the study's commands, and whether all pictures are shown.
"""

from __future__ import annotations

import argparse
import json
import re
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path

from fastlin import load_split, train
from fastlin.commands.command_lines import train_command
from fastlin.report.study.experiments import CHECKS, EPOCHS, PUBLISHED, Experiment
from fastlin.runs import DataReference
from fastlin.training.evaluation import evaluate

sys.path.append(str(Path(__file__).resolve().parent.parent))  # benchmarks are not installed
from benchmarks import (
    estimator_report,
    exact_report,
    imagenet_sized,
    practitioner,
    report,
    scale,
)
from benchmarks.outcomes import Outcome

DOCS = Path(__file__).resolve().parent
README = DOCS.parent / "README.md"
SCALE = DOCS / "scale.md"
PAGES = (
    README,
    DOCS / "report" / "summary.md",
    DOCS / "benchmarks" / "exact.md",
    DOCS / "beyond_memory.md",
    DOCS / "examples" / "README.md",
)
FIGURES = ("cost", "accuracy", "templates", "gradient", "confusion")
GRID_FIGURES = ("heat-lr-batch_size",)
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
        for name in GRID_FIGURES:
            shutil.copy(grid / "figures" / f"{name}.png", target / f"grid-{name}.png")


def measured_accuracies() -> dict[str, str]:
    """Run every single-setting experiment of the study; return its accuracy on the test rows."""
    split = load_split("cifar10")
    if split.test is None:
        sys.exit("CIFAR-10 without test rows")
    found = {}
    for experiment in single_settings():
        config = experiment.config(seed=0, epochs=EPOCHS)
        found[experiment.id] = (
            f"{evaluate(train(split, config).model, split.test, config).accuracy:.2%}"
        )
    return found


def shown_accuracies() -> dict[str, str]:
    """Return the accuracies that the README's table has."""
    cells = re.findall(r"^\| (\w+) \|[^|]*\|[^|]*\| ([\d.]+%) \|", section("study"), re.MULTILINE)
    return dict(cells)


def single_settings() -> list[Experiment]:
    """Return the experiments that are one setting each."""
    return [found for found in (*PUBLISHED, CHECKS[0]) if found.kind == "setting"]


def study_table(accuracies: dict[str, str]) -> str:
    """Return the table of the study's single-setting experiments."""
    rows = ["| | experiment | published | fastlin | command |", "|---|---|---|---|---|"]
    for experiment in single_settings():
        command = train_command(DataReference("cifar10"), experiment.config(seed=0, epochs=EPOCHS))
        accuracy = accuracies.get(experiment.id, "not measured")
        rows.append(
            f"| {experiment.id} | {experiment.title} | {experiment.published:.2%} | {accuracy} "
            f"| `{command}` |"
        )
    return "\n".join(rows)


def benchmark_table(table: str) -> str:
    """Return the table of the machine that was measured last, with its plots."""
    folder = DOCS / "benchmarks"
    path = report.latest(folder)
    table = table.strip()
    others = sorted(other.stem for other in report.files(folder) if other != path)
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


def task() -> str:
    """Return the commands of the practitioner's task, and what they print and take."""
    measured = (DOCS / "benchmarks" / "task.md").read_text(encoding="utf-8").strip()
    commands = "\n".join(practitioner.COMMANDS)
    return f"```sh\n{commands}\n```\n\n{measured}"


def section(name: str, content: str | None = None, page: Path = README) -> str:
    """Return what is between a section's markers in a page; first put content there, if any."""
    text = page.read_text(encoding="utf-8")
    found = re.search(rf"<!-- {name}\b[^>]*-->\n(.*?)<!-- /{name} -->", text, re.DOTALL)
    if found is None:
        sys.exit(f"{page.name} has no section {name}")
    if content is not None:
        start, end = found.span(1)
        page.write_text(f"{text[:start]}\n{content}\n\n{text[end:]}", encoding="utf-8")
    return (found[1] if content is None else content).strip()


def scale_tables() -> str:
    """Return the tables of what clusters take, of the rates that were measured last."""
    return scale.tables(json.loads((DOCS / "scale.json").read_text(encoding="utf-8")))


def faults() -> list[str]:
    """Return what in the documents is not what their sources say."""
    folder = DOCS / "benchmarks"
    path = report.latest(folder)
    results = json.loads(path.read_text(encoding="utf-8"))
    outcomes = [Outcome.from_dict(case) for case in results["cases"]]
    table = (folder / "table.md").read_text(encoding="utf-8")
    found = []
    if table != report.table(results["machine"], outcomes):
        found.append(f"docs/benchmarks/table.md is not the table of {path.name} beside it")
    if section("benchmarks") != benchmark_table(table):
        found.append("README.md: the benchmarks are not those of docs/benchmarks/table.md")
    if section("task") != task():
        found.append("README.md: the task is not that of benchmarks.practitioner and task.md")
    if section("study") != study_table(shown_accuracies()):
        found.append("README.md: the study's table is not that of fastlin.report.study.experiments")
    exact = exact_report.latest(folder)
    page = folder / "exact.md"
    if exact is not None and section("race") != exact_report.summary(exact):
        found.append(f"README.md: the race's table is not that of {exact.name}")
    if exact is not None and page.read_text(encoding="utf-8") != exact_report.page_of(exact):
        found.append(f"docs/benchmarks/exact.md is not the page of {exact.name} beside it")
    estimators = estimator_report.latest(folder)
    page = folder / "estimators.md"
    if estimators is not None and page.read_text("utf-8") != estimator_report.page_of(estimators):
        found.append(
            f"docs/benchmarks/estimators.md is not the page of {estimators.name} beside it"
        )
    if section("scale", page=SCALE) != scale_tables().strip():
        found.append("docs/scale.md: the tables are not those of scale.json beside it")
    if section("imagenet", page=SCALE) != imagenet_sized.table():
        found.append("docs/scale.md: the table of ImageNet's size is not that of the logs")
    shown = {
        (page.parent / target).resolve(): page
        for page in PAGES
        for target in re.findall(r"!\[[^]]*\]\(([^)]+)\)", page.read_text(encoding="utf-8"))
    }
    found += [
        f"{page.relative_to(DOCS.parent)}: no picture {path.name}"
        for path, page in shown.items()
        if not path.exists()
    ]
    found += [f"{path}: shown nowhere" for path in DOCS.rglob("*.png") if path not in shown]
    return found


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--check", action="store_true", help="build nothing, look for differences")
    if parser.parse_args().check:
        sys.exit("\n".join(faults()) or None)
    make_figures()
    section("study", study_table(measured_accuracies()))
    section("task", task())
    section("scale", scale_tables(), SCALE)
    section("imagenet", imagenet_sized.table(), SCALE)
    exact = exact_report.latest(DOCS / "benchmarks")
    if exact is not None:
        exact_report.illustrate(exact, DOCS / "benchmarks" / "exact.md")
        section("race", exact_report.summary(exact))
    section("benchmarks", benchmark_table(report.illustrate(report.latest(DOCS / "benchmarks"))))
