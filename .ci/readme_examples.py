"""Runs every Python example of the README, each in a process and a folder of its own.

In the folder are the files of a practitioner's task, as the README has them.
"""

from __future__ import annotations

import re
import subprocess
import sys
import tempfile
from pathlib import Path

from benchmarks.practitioner import write_task

ROOT = Path(__file__).resolve().parent.parent
README = ROOT / "README.md"


def main() -> None:
    """Run the examples one by one; the first that fails ends this."""
    text = README.read_text(encoding="utf-8")
    examples = list(re.finditer(r"^```python\n(.*?)^```$", text, re.MULTILINE | re.DOTALL))
    if not examples:
        sys.exit("README.md has no Python example")
    for example in examples:
        line = text.count("\n", 0, example.start()) + 2
        print(f"README.md, line {line}", flush=True)  # noqa: T201
        with tempfile.TemporaryDirectory() as folder:
            write_task(Path(folder), seed=0, rows=2000, new_rows=300)
            result = subprocess.run([sys.executable, "-c", example[1]], cwd=folder, check=False)  # noqa: S603
        if result.returncode != 0:
            sys.exit(f"README.md: the example in line {line} fails")


if __name__ == "__main__":
    main()
