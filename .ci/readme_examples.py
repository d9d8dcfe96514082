"""Runs every Python example of the README and of docs, each in a process and a folder of its own.

In the folder are the files of a practitioner's task, as the README has them. Names that a page uses
without making them are made before.
"""

from __future__ import annotations

import re
import subprocess
import sys
import tempfile
from pathlib import Path

from benchmarks.practitioner import write_task

ROOT = Path(__file__).resolve().parent.parent

# scikit-learn's users call their rows so.
_DIGITS = """
from sklearn.datasets import load_digits
from sklearn.model_selection import train_test_split
X, y = load_digits(return_X_y=True)
X_train, X_test, y_train, y_test = train_test_split(X, y, random_state=0)
"""
# The pages that must have examples, and what comes before each of them.
BEFORE = {"README.md": "", "docs/scikit-learn.md": _DIGITS}


def examples() -> list[tuple[str, int, str]]:
    """Return the page, the line and the source of all examples."""
    found = []
    for path in (ROOT / "README.md", *sorted((ROOT / "docs").rglob("*.md"))):
        text, page = path.read_text(encoding="utf-8"), path.relative_to(ROOT).as_posix()
        found += [
            (page, text.count("\n", 0, example.start()) + 2, example[1])
            for example in re.finditer(r"^```python\n(.*?)^```$", text, re.MULTILINE | re.DOTALL)
        ]
    return found


def main() -> None:
    """Run the examples one by one; the first that fails ends this."""
    found = examples()
    if missing := set(BEFORE) - {page for page, _, _ in found}:
        sys.exit(f"no Python example in {', '.join(sorted(missing))}")
    for page, line, source in found:
        print(f"{page}, line {line}", flush=True)  # noqa: T201
        command = [sys.executable, "-c", BEFORE.get(page, "") + source]
        with tempfile.TemporaryDirectory() as folder:
            write_task(Path(folder), seed=0, rows=2000, new_rows=300)
            result = subprocess.run(command, cwd=folder, check=False)  # noqa: S603
        if result.returncode != 0:
            sys.exit(f"{page}: the example in line {line} fails")


if __name__ == "__main__":
    main()
