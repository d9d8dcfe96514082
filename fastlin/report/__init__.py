"""The report: the reference study, or any runs, as one page that needs nothing beside it.

page        a page as data (sections, tables, pictures) -> HTML and Markdown
results     that page on disk, with its numbers as they were computed
statistics  differences over seeds: intervals, tests, and what they say of a claim
wording     numbers and settings as text
mistakes    what a classifier gets wrong
folders     run and grid folders -> what is known of them
runs        that -> their page
study       the reference study: its experiments as data, its runs, its page

Nothing here knows of `study`. Jinja2 and SciPy come with the extra `report`.
"""

from __future__ import annotations

import importlib.util

from fastlin.errors import InputError

NEEDED = ("jinja2", "scipy")


def check_installed() -> None:
    """Raise `InputError` if a package that reports need is not installed."""
    missing = [name for name in NEEDED if importlib.util.find_spec(name) is None]
    if missing:
        raise InputError(
            f"fastlin report needs {' and '.join(missing)}; install with "
            "`pip install 'fastlin[report]'`"
        )
