"""`fastlin data`: which data sets there are, what is in them, and how to get them."""

from __future__ import annotations

from pathlib import Path

import click

from fastlin.commands import options
from fastlin.errors import counted

_data_dir = click.option(
    "--data-dir",
    type=options.PLACE,
    help="Folder that holds the data sets  [default: $FASTLIN_DATA, else the user's cache]",
)


@click.group()
def data() -> None:
    """List, describe and fetch data sets."""


@data.command("list")
@_data_dir
def list_data(data_dir: Path | None) -> None:
    """List the data sets that have a name, and where they are."""
    from fastlin.data import catalog
    from fastlin.data.formats import registry

    for known in catalog.CATALOG.values():
        click.echo(f"{known.name}: {known.description}")
        if known.splits:
            click.echo(f"    splits: {', '.join(known.splits)}")
            found = catalog.locate_cifar10(data_dir)
            place = catalog.data_place(data_dir)[0]
            click.echo(f"    {f'found: {found}' if found else f'not there yet: {place}'}")
    click.echo("Or give --data a file or folder of rows and labels:")
    for kind in registry.FORMATS:
        click.echo(f"    {kind.name}: {', '.join(kind.suffixes)}")
    click.echo("    a folder of such files (X_train.npy, y_train.npy), or of images by class")


@data.command()
@click.argument("name", metavar="NAME|PATH", type=options.DATA)
@options.data_options("NAME|PATH", without=["data"])
def info(name: str, data: options.Data) -> None:
    """Describe the data set NAME|PATH: rows, classes, values, checksum, source."""
    import numpy as np
    from rich.table import Table

    from fastlin.data import catalog
    from fastlin.functional import feature_moments

    loaded = options.load_reference(options.reference_of({"data": name} | data))
    console = options.console()
    train = loaded.train
    shape = (
        "" if train.image_shape is None else " as {} x {} x {} images".format(*train.image_shape)
    )
    console.print(f"{loaded.name}: {counted(train.X.shape[1], 'feature')}{shape}, {train.X.dtype}")
    table = Table("class")
    for part in loaded.parts():
        table.add_column(part, justify="right")
    counts = [
        np.bincount(rows.y, minlength=len(train.class_names)) for rows in loaded.parts().values()
    ]
    shown = min(len(train.class_names), 50)
    for label in range(shown):
        shown_name = options.name_in_table(train.class_names[label])
        table.add_row(shown_name, *(f"{count[label]:,}" for count in counts))
    if shown < len(train.class_names):
        table.add_row(f"{len(train.class_names) - shown} more", *("..." for _ in counts))
    table.add_section()
    table.add_row("all", *(f"{len(rows):,}" for rows in loaded.parts().values()))
    options.print_table(console, table)
    channels = train.image_shape[0] if train.image_shape else 1
    means, stds = (values.reshape(channels, -1) for values in feature_moments(train.X, train.scale))
    mean = means.mean(axis=1)
    std = np.sqrt((stds**2 + (means - mean[:, None]) ** 2).mean(axis=1))
    for name_of, numbers in (("mean", mean), ("standard deviation", std)):
        per = " per channel" if channels > 1 else ""
        console.print(f"{name_of}{per}, training rows: {', '.join(f'{n:.4f}' for n in numbers)}")
    console.print(f"SHA-256: {loaded.fingerprint()}")
    known = catalog.CATALOG.get(name)
    if known is not None:
        console.print(f"source: {known.source}")
        console.print(f"citation: {known.citation}")


@data.command()
@click.argument("name", metavar="NAME", type=click.Choice(["cifar10"]))
@_data_dir
@click.option("--url", help="Mirror to download from; the MD5 must be that of the original.")
def fetch(name: str, data_dir: Path | None, url: str | None) -> None:
    """Download the data set NAME and check it."""
    from fastlin.data import catalog

    folder = catalog.fetch_cifar10(catalog.data_place(data_dir)[0], url)
    options.console().print(f"{name} is in {folder}")
