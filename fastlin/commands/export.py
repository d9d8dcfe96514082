"""`fastlin export`: a saved classifier in the files of other programs."""

from __future__ import annotations

from pathlib import Path

import click

from fastlin.commands import options, outcome

TARGETS = ("npz", "safetensors", "onnx", "sklearn", "torch")  # of fastlin.export, which loads NumPy


@click.command()
@click.argument("run", type=options.PLACE)
@click.option("--to", type=click.Choice(TARGETS), required=True, help="For which program.")
@click.option(
    "--out", type=options.PLACE, help="The file  [default: RUN/export.npz, .safetensors, ...]"
)
@options.weights_option()
@options.force_option()
def export(run: Path, to: str, out: Path | None, weights: str, force: bool) -> None:
    """Write the classifier in the run folder RUN as a file of another program.

    It takes values as they are stored: the scale of pixels and standardisation are in its weights.
    All files hold the class names, none is a pickle. npz and safetensors hold weight and bias;
    sklearn is a LogisticRegression, or a LinearSVC of the hinge losses, kept by skops; torch the
    state of a torch.nn.Linear.
    """
    from fastlin import export as exporting

    saved = outcome.load_run(run)
    model = saved.model if weights == "last" else saved.best_model
    path = run / f"export{exporting.TARGETS[to].suffix}" if out is None else out
    outcome.check_new_file(path, force)
    exporting.save(model, to, path)
    options.console().print(f"Exported: {path}")
