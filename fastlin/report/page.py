"""Pages: headings, tables and pictures -> one HTML file that needs nothing else, and Markdown.

What a report says is a `Page`: texts are plain, numbers are as they were computed. Here they are
escaped and formatted.
"""

from __future__ import annotations

import base64
import re
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from fastlin import machine, packages
from fastlin.errors import counted, reason_of
from fastlin.files import atomic_write, make_directory
from fastlin.report import wording

PAGE, SUMMARY, FIGURES = "index.html", "summary.md", "figures"
MAX_BYTES = 3_500_000  # of all pictures of a page, which are a third larger in it
_MARKDOWN_SIGNS = re.compile(r"([\\`*_{}\[\]<>#|~$])")
_PNG = b"\x89PNG"


@dataclass(frozen=True)
class Picture:
    """A picture and what it shows.

    Attributes
    ----------
    name : str
        Its file name without .png.
    title, note : str
        For its caption.
    foot : str
        The line below it: data, rows and settings, for who meets it alone.
    wide : bool
        Whether it takes the width of the page.
    draw : Callable[[Any], Any] | None
        Returns the figure, given the package `fastlin.figures`, which takes time to load; None of
        a page that was read from a file.
    """

    name: str
    title: str
    note: str
    foot: str
    wide: bool = False
    draw: Callable[[Any], Any] | None = field(default=None, repr=False, compare=False)


@dataclass(frozen=True)
class Column:
    """A column of a table; its cells are values of one of the `KINDS`."""

    title: str
    kind: str = "text"


@dataclass(frozen=True)
class Row:
    """A row of a table: its cells, a remark below the first, and the command that makes it."""

    cells: list[Any]
    remark: str = ""
    command: str = ""


@dataclass(frozen=True)
class Table:
    """A table; with `summary`, it is folded away below that."""

    columns: list[Column]
    rows: list[Row]
    caption: str = ""
    summary: str = ""

    def place(self, value: float) -> str:
        """Return where a value lies on the axis of all strips of the table, in percent."""
        strips = [place for place, column in enumerate(self.columns) if column.kind == "strip"]
        values = [v for row in self.rows for place in strips for v in row.cells[place]]
        known = [0.0, *(v for v in values if v is not None)]
        low, high = 1.05 * min(known), 1.05 * max(known)
        return f"{100 * (value - low) / (high - low or 1):.2f}%"


@dataclass(frozen=True)
class Section:
    """A part of a page: paragraphs, tables and pictures."""

    id: str
    title: str
    text: list[str] = field(default_factory=list)
    tables: list[Table] = field(default_factory=list)
    pictures: list[Picture] = field(default_factory=list)


@dataclass(frozen=True)
class Page:
    """A page; `tiles` are a few large numbers, each with what it is."""

    title: str
    lead: str
    tiles: list[list[str]]
    sections: list[Section]
    notice: str = ""


# What the cells of a column are, and their text. A strip is drawn in HTML alone.
KINDS: dict[str, Callable[[Any], str]] = {
    "text": str,
    "link": str,  # the name of a file beside the page
    "verdict": str,
    "number": str,
    "count": lambda value: wording.NOTHING if value is None else f"{value:,}",
    "cost": lambda value: wording.NOTHING if value is None else f"{value:.4f}",
    "percent": wording.percent,
    "share": lambda value: wording.percent(value, 1),
    "spread": lambda value: wording.NOTHING if value is None else wording.spread(*value),
    "points": lambda value: wording.NOTHING if value is None else wording.points(value),
    "interval": wording.interval,
    "p": wording.p_value,
    "strip": lambda _: "",
}
_AT_THE_LEFT = ("text", "link", "verdict", "share", "strip")


def class_table(names: list[str], columns: Mapping[str, list[float]], summary: str = "") -> Table:
    """Return a table of the accuracy of every class, a column per classifier."""
    rows = [Row([name, *values]) for name, *values in zip(names, *columns.values(), strict=True)]
    return Table(
        [Column("class"), *(Column(title, "share") for title in columns)], rows, summary=summary
    )


def facts_section(facts: Mapping[str, str], command: str, threads: int) -> Section:
    """Return the section that says how a report was computed, here and now."""
    found = machine.describe()
    rows = {
        **facts,
        "machine": f"{found['processor']} ({found['processor_kind']}), {found['cores']} cores, "
        f"{found['system']}; {counted(threads, 'thread')}",
        "versions": ", ".join(f"{name} {version}" for name, version in found["versions"].items()),
        "made": f"{machine.now()}, by {command}",
    }
    table = Table([Column("what"), Column("")], [Row([*item]) for item in rows.items()])
    return Section("computed", "How it was computed", tables=[table])


def draw_pictures(page: Page, on_failure: Callable[[str], None] | None = None) -> dict[str, bytes]:
    """Draw the pictures of a page one by one, up to `MAX_BYTES`; return PNG files by name.

    Parameters
    ----------
    page : Page
        What to draw.
    on_failure : Callable[[str], None] | None
        Called with one line for every picture that cannot be drawn, whatever the reason; the
        others are drawn all the same. None to raise what happened instead.
    """
    from fastlin import figures  # noqa: PLC0415  (loads matplotlib)

    drawn: dict[str, bytes] = {}
    for picture in (picture for section in page.sections for picture in section.pictures):
        try:
            assert picture.draw is not None  # noqa: S101  (the page was just made)
            png = figures.png(figures.with_footer(picture.draw(figures), picture.foot))
        except Exception as error:
            if on_failure is None:
                raise
            on_failure(f"{picture.name} is not drawn: {reason_of(error)}")
        else:
            if sum(map(len, drawn.values())) + len(png) <= MAX_BYTES:
                drawn[picture.name] = png
    return drawn


def read_pictures(folder: Path, page: Page) -> dict[str, bytes]:
    """Return the pictures of a page that stand in its folder, without those that are no PNG."""
    names = [picture.name for section in page.sections for picture in section.pictures]
    paths = {name: folder / FIGURES / f"{Path(name).name}.png" for name in names}
    found = {name: path.read_bytes() for name, path in paths.items() if path.is_file()}
    return {name: content for name, content in found.items() if content.startswith(_PNG)}


def linked_files(page: Page) -> list[str]:
    """Return the names of the files that a page links to, which must stand beside it."""
    tables = [table for section in page.sections for table in section.tables]
    return [
        row.cells[place]
        for table in tables
        for place, column in enumerate(table.columns)
        if column.kind == "link"
        for row in table.rows
    ]


def render(page: Page, pictures: Mapping[str, bytes], name: str, said: str = "") -> str:
    """Return the page as `PAGE` or `SUMMARY`, with the pictures that there are.

    At its foot stands `said`, or else where a report keeps its numbers.
    """
    template = "page.html.j2" if name == PAGE else "page.md.j2"
    jinja2 = packages.load("jinja2", "report", f"writing {name}")
    environment = jinja2.Environment(
        loader=jinja2.PackageLoader("fastlin.report"),
        autoescape=name == PAGE,
        undefined=jinja2.StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
        keep_trailing_newline=True,
    )
    environment.filters |= {
        "data_uri": lambda png: f"data:image/png;base64,{base64.b64encode(png).decode()}",
        "cell": lambda value, column: KINDS[column.kind](value),
        "md": _escape_markdown,
        "code": _markdown_code,
    }
    rendered: str = environment.get_template(template).render(
        p=page, pictures=pictures, folder=FIGURES, left=_AT_THE_LEFT, said=said
    )
    return rendered


def save_page(
    folder: Path, page: Page, pictures: Mapping[str, bytes], names: Iterable[str]
) -> list[Path]:
    """Write a page and its pictures; return the paths of `names`, of `PAGE` and `SUMMARY`.

    Pictures of an earlier page that this one does not have are removed.

    Raises
    ------
    InputError
        If a file cannot be written.
    """
    figures = make_directory(folder / FIGURES)
    for path in figures.glob("*.png"):
        if path.stem not in pictures:
            path.unlink(missing_ok=True)
    files = {figures / f"{name}.png": png for name, png in pictures.items()}
    texts = {folder / name: render(page, pictures, name).encode() for name in names}
    for path, content in {**files, **texts}.items():
        with atomic_write(path) as file:
            file.write(content)
    return list(texts)


def _escape_markdown(text: str) -> str:
    """Return a text that Markdown shows as it is, on one line."""
    return _MARKDOWN_SIGNS.sub(r"\\\1", " ".join(str(text).split()))


def _markdown_code(text: str) -> str:
    """Return a text as code in a table cell of Markdown."""
    text = " ".join(text.split()).replace("|", r"\|")
    longest = max(map(len, re.findall("`+", text)), default=0)
    fence, space = "`" * (longest + 1), " " if longest else ""
    return f"{fence}{space}{text}{space}{fence}"
