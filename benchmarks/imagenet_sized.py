"""What a probe of features of ImageNet's size takes: `python -m benchmarks.imagenet_sized`.

Rows like frozen embeddings, 768 features in float16 with second moments from 1 to 0.001, 1,000
classes of which the best classifier knows some 80 %, as of good embeddings of ImageNet, in a file
beside which little memory is allowed. Three commands, as a user would type them:
one exact fit, a path of 13 penalties with the choice of one and a refit, and a search of 13 rates.
The default is a tenth of ImageNet's rows; `--rows 1281167` is all of them. `--out` keeps what was
printed, a file a command.
"""

from __future__ import annotations

import re
import shlex
import subprocess
import sys
import tempfile
import threading
import time
from pathlib import Path

import click
import numpy as np

from benchmarks.log import Log
from benchmarks.problems import write_embeddings

IMAGENET = 1_281_167
D, K = 768, 1000
_VALIDATION = 0.02
_DISTANCE = 0.18  # of the classes, in standard deviations of every feature
# With 1e-6 as the last one, that was the best, and the path went on beyond it.
_L2S = ",".join(f"{l2:.3g}" for l2 in np.geomspace(1e-3, 3e-8, 13))
# On both sides of the best: of a tenth of the rows, 10 was better than 5 and than 30.
_RATES = "0.01,0.02,0.05,0.1,0.2,0.5,1,2,5,10,20,50,100"

TASKS = {
    "fit": "fit --l2 1e-6 --gap 1e-4",
    "path": f"probe --l2 {_L2S} --gap 1e-4 --refit",
    "grid": f"grid --lr {_RATES} --epochs 10 --l2 0 --momentum 0.9 --batch-size 1024 "
    "--schedule cosine --eval-train 0",
}
LOGS = Path(__file__).resolve().parent.parent / "docs" / "benchmarks" / "imagenet_sized"


def run(command: list[str], folder: Path, log: Log) -> tuple[float, float]:
    """Run a command of fastlin; return its seconds and the peak bytes that are no part of files."""
    began, peak, is_over = time.perf_counter(), 0.0, threading.Event()
    process = subprocess.Popen(
        [sys.executable, "-m", "fastlin", *command], cwd=folder, text=True,
        stdout=subprocess.PIPE, stderr=subprocess.STDOUT,
    )  # fmt: skip

    def watch() -> None:
        nonlocal peak
        while not is_over.wait(0.05):
            try:
                status = Path(f"/proc/{process.pid}/status").read_text("utf-8")
            except OSError:
                return
            lines = (line for line in status.splitlines() if line.startswith("RssAnon"))
            peak = max(peak, *(1024.0 * int(line.split()[1]) for line in lines), 0.0)

    thread = threading.Thread(target=watch)
    thread.start()
    try:
        for line in process.stdout or ():
            log.say(line.rstrip().replace(f"{folder}/", ""))
        code = process.wait()
    finally:
        is_over.set()
        thread.join()
    if code:
        raise click.ClickException(f"exit code {code}")
    return time.perf_counter() - began, peak


def table(folder: Path = LOGS) -> str:
    """Return the table of the logs in a folder."""
    lines = ["| command | time | memory | log |", "|---|---|---|---|"]
    for name in TASKS:
        path = folder / f"{name}.txt"
        if path.exists():
            text = path.read_text("utf-8")
            command = re.search(r"^\$ (.+)$", text, re.MULTILINE)
            of_all = rf"{name}, {IMAGENET:,} x {D}, {K} classes: (.+ min), (.+ MB) without"
            found = re.search(of_all, text)
            if command is None or found is None:
                raise click.ClickException(f"{path} is no log of a command that took all rows")
            log = f"[{name}.txt](benchmarks/{folder.name}/{name}.txt)"
            lines.append(f"| `{command[1]}` | {found[1]} | {found[2]} | {log} |")
    return "\n".join(lines)


@click.command()
@click.option("--rows", default=IMAGENET // 10, type=click.IntRange(20_000), show_default=True)
@click.option("--memory", default="500MB", show_default=True)
@click.option("--only", "names", multiple=True, type=click.Choice(list(TASKS)))
@click.option(
    "--out", type=click.Path(path_type=Path, file_okay=False), help="Keep the logs in this folder."
)
def main(rows: int, memory: str, names: tuple[str, ...], out: Path | None) -> None:
    """Time exact fit, path and grid of features of ImageNet's size."""
    with tempfile.TemporaryDirectory() as place:
        folder = Path(place)
        write_embeddings(folder, rows, D, K, _DISTANCE)
        common = f"--data X.npy --labels y.npy --val-fraction {_VALIDATION} --memory {memory}"
        for name in names or TASKS:
            log = Log()
            command = f"{TASKS[name]} {common} --no-figures --out {name}"
            log.say(f"\n$ fastlin {command}")
            try:
                seconds, peak = run(shlex.split(command), folder, log)
                log.say(
                    f"{name}, {rows:,} x {D}, {K} classes: {seconds / 60:.1f} min, "
                    f"{peak / 1e6:,.0f} MB without pages of files"
                )
            finally:
                if out is not None:
                    log.save(out / f"{name}.txt")


if __name__ == "__main__":
    main()
