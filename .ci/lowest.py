"""Prints the lowest versions that pyproject.toml allows, as constraints: `name==version`.

An environment with these is where the tests show that the lower bounds are true.
"""

from __future__ import annotations

import re
import tomllib
from pathlib import Path

PYPROJECT = Path(__file__).resolve().parent.parent / "pyproject.toml"
REQUIREMENT = re.compile(r"(?P<name>[\w.-]+)(\[[\w,-]+\])?>=(?P<lowest>[\w.]+)(,.*)?")


def constraints() -> list[str]:
    """Return one constraint for each requirement of fastlin and its tests, sorted."""
    project = tomllib.loads(PYPROJECT.read_text(encoding="utf-8"))["project"]
    extras = project["optional-dependencies"]
    found = {}
    for requirement in [*project["dependencies"], *extras["report"], *extras["test"]]:
        if requirement.startswith(f"{project['name']}["):
            continue
        match = REQUIREMENT.fullmatch(requirement)
        if match is None:
            raise SystemExit(f"pyproject.toml: {requirement!r} does not state a lowest version")
        found[match["name"]] = match["lowest"]
    return [f"{name}=={lowest}" for name, lowest in sorted(found.items())]


if __name__ == "__main__":
    print("\n".join(constraints()))  # noqa: T201
