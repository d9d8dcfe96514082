"""What a benchmark prints, and keeps."""

from __future__ import annotations

from pathlib import Path

import click

from benchmarks.machine import header_lines


class Log:
    """Lines that are printed and kept; the first ones say on which machine, with what."""

    def __init__(self) -> None:
        self.lines: list[str] = []
        for line in header_lines():
            self.say(line)

    def say(self, line: str) -> None:
        """Print a line."""
        click.echo(line)
        self.lines += line.split("\n")

    def save(self, path: Path) -> None:
        """Write all lines to a file, whose folder is made if need be."""
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text("\n".join([*self.lines, ""]), encoding="utf-8")
