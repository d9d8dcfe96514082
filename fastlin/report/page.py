"""Results and pictures -> one HTML page that needs nothing beside it, and a Markdown summary."""

from __future__ import annotations

import base64
import re
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path

import jinja2

from fastlin.files import atomic_write, make_directory
from fastlin.report.pictures import Picture, runs_pictures, study_pictures
from fastlin.report.results import Json
from fastlin.report.study import wording

PAGE, SUMMARY, FIGURES = "index.html", "summary.md", "figures"
_MARKDOWN_SIGNS = re.compile(r"([\\`*_{}\[\]<>#|~$])")


def draw(results: Json, on_failure: Callable[[str], None] | None = None) -> dict[str, Picture]:
    """Draw the pictures of a page, by name; see `fastlin.report.pictures.draw_each`."""
    of_kind = study_pictures if results["kind"] == "study" else runs_pictures
    return of_kind(results, on_failure)


def render_html(results: Json, pictures: Mapping[str, Picture]) -> str:
    """Return the page; every number on it comes from the results."""
    environment = _environment(autoescape=True)
    template = environment.get_template(f"{results['kind']}.html.j2")
    return template.render(r=results, pictures=pictures)


def render_markdown(results: Json, pictures: Mapping[str, Picture]) -> str:
    """Return the summary; pictures are in the folder `FIGURES` beside it."""
    environment = _environment(autoescape=False)
    template = environment.get_template(f"{results['kind']}.md.j2")
    return template.render(r=results, pictures=pictures, folder=FIGURES)


def save_page(folder: Path, results: Json, pictures: Mapping[str, Picture]) -> Path:
    """Write the HTML page and return its path. Raises InputError if it cannot be written."""
    path = folder / PAGE
    with atomic_write(path) as file:
        file.write(render_html(results, pictures).encode())
    return path


def save_summary(folder: Path, results: Json, pictures: Mapping[str, Picture]) -> Path:
    """Write the Markdown summary and its pictures, and return its path.

    Pictures of an earlier summary that this one does not have are removed.

    Raises
    ------
    InputError
        If a file cannot be written.
    """
    figures = make_directory(folder / FIGURES)
    for picture in pictures.values():
        with atomic_write(figures / f"{picture.name}.png") as file:
            file.write(picture.png)
    path = folder / SUMMARY
    with atomic_write(path) as file:
        file.write(render_markdown(results, pictures).encode())
    return path


def _environment(*, autoescape: bool) -> jinja2.Environment:
    environment = jinja2.Environment(
        loader=jinja2.PackageLoader("fastlin.report"),
        autoescape=autoescape,  # noqa: S701  (off for Markdown, which has an escape of its own)
        undefined=jinja2.StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
        keep_trailing_newline=True,
    )
    environment.filters |= {
        **wording.FILTERS, "data_uri": _data_uri, "md": _escape_markdown, "md_code": _markdown_code,
        "track": _track,
        "data_key": _data_key,
        "pictures_of_run": _pictures_of_run,
    }  # fmt: skip
    environment.globals |= {
        "largest_gain_sentence": wording.largest_gain_sentence,
        "published": wording.published,
        "summary_sentence": wording.summary_sentence,
        "unexplained": wording.unexplained,
        "winners_sentence": wording.winners_sentence,
        "track_range": track_range,
    }
    return environment


def _data_uri(picture: Picture) -> str:
    return f"data:image/png;base64,{base64.b64encode(picture.png).decode()}"


def _data_key(data: Json) -> tuple[str, str]:
    return data["name"], data["sha256"]


def _pictures_of_run(pictures: Mapping[str, Picture], number: int) -> list[Picture]:
    """Return the pictures of a run, which may lack one that could not be drawn."""
    return [found for name, found in pictures.items() if name.startswith(f"run-{number + 1}-")]


def _escape_markdown(text: str) -> str:
    """Return a text that Markdown shows as it is, on one line."""
    return _MARKDOWN_SIGNS.sub(r"\\\1", " ".join(str(text).split()))


def _markdown_code(text: str) -> str:
    """Return a text as code in a table cell of Markdown."""
    text = " ".join(text.split()).replace("|", r"\|")
    longest = max(map(len, re.findall("`+", text)), default=0)
    fence, space = "`" * (longest + 1), " " if longest else ""
    return f"{fence}{space}{text}{space}{fence}"


def track_range(values: Sequence[float | None]) -> tuple[float, float]:
    """Return the ends of an axis that holds all values, with a margin."""
    known = [value for value in values if value is not None]
    low, high = min(known), max(known)
    margin = 0.06 * (high - low) or 0.01
    return low - margin, high + margin


def _track(value: float, ends: tuple[float, float]) -> str:
    """Return where on an axis a value lies, in percent of its length, for CSS."""
    low, high = ends
    return f"{100 * min(max((value - low) / (high - low), 0), 1):.2f}%"
