"""Runs the examples, and puts their pictures and what they print into README.md beside them.

`python docs/examples/build.py --check` changes nothing. It runs every example and looks whether its
picture is drawn, and whether the page has the words that it prints. Numbers are not compared: the
last digits depend on the processor and on the versions of libraries.
"""

from __future__ import annotations

import argparse
import re
import subprocess
import sys
import tempfile
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

FOLDER = Path(__file__).resolve().parent
PAGE = FOLDER / "README.md"
NUMBER = re.compile(r"[-+]?\d[\d.,]*(e[-+]\d+)?")


def run(script: Path, folder: Path) -> str:
    """Run an example in a process of its own, with its picture in a folder; return its output."""
    done = subprocess.run(
        [sys.executable, script, folder], cwd=folder, stdout=subprocess.PIPE, text=True, check=False
    )
    if done.returncode != 0:
        sys.exit(f"{script.name} ended with exit code {done.returncode}")
    if not (folder / f"{script.stem}.png").exists():
        sys.exit(f"{script.name} draws no {script.stem}.png")
    return done.stdout


def shown(name: str, page: str) -> re.Match[str]:
    """Return the block of output below the picture of an example, which is group 1 of the match."""
    found = re.search(rf"^!\[[^]]+\]\({name}\.png\)\n\n```text\n(.*?)^```$", page, re.M | re.S)
    if found is None:
        sys.exit(f"{PAGE.name} has no ![what is seen]({name}.png) with a block ```text below it")
    return found


def words(text: str) -> list[str]:
    """Return the words of a text, in which all numbers are alike."""
    return NUMBER.sub("0", text).split()


def main() -> None:
    """Run the examples, two at a time; the first that fails ends this."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--check", action="store_true", help="change nothing, look for differences")
    is_check = parser.parse_args().check
    scripts = sorted(set(FOLDER.glob("*.py")) - {Path(__file__).resolve()})
    with tempfile.TemporaryDirectory() as temporary, ThreadPoolExecutor(2) as pool:
        folder = Path(temporary) if is_check else FOLDER
        outputs = pool.map(lambda script: run(script, folder), scripts)
        for script, printed in zip(scripts, outputs, strict=True):
            print(script.name, flush=True)
            page = PAGE.read_text(encoding="utf-8")
            start, end = shown(script.stem, page).span(1)
            if not is_check:
                PAGE.write_text(f"{page[:start]}{printed}{page[end:]}", encoding="utf-8")
            elif words(page[start:end]) != words(printed):
                sys.exit(f"{PAGE.name} does not have what {script.name} prints:\n{printed}")


if __name__ == "__main__":
    main()
