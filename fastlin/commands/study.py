"""What `fastlin train --cv` and `fastlin train --shots` do: several fits, and one run folder."""

from __future__ import annotations

from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING

from fastlin.commands import few_shots, folds, options, outcome, process

if TYPE_CHECKING:
    from rich.console import Console

    from fastlin.config import TrainConfig
    from fastlin.data import Split
    from fastlin.data.source import DataReference
    from fastlin.fitting import Fitting
    from fastlin.search.fold_results import CrossValidation
    from fastlin.training.few_shots import FewShots


@dataclass(frozen=True)
class Study:
    """Several fits with the same settings, as a command asks for them."""

    reference: DataReference
    config: TrainConfig
    fitting: Fitting
    split: Split
    threads: int | None
    eval_train_every: int

    def run(self, out: Path | None, notes: Console, started: float, *, figures: bool) -> int:
        """Do all fits and leave a run folder; return the exit code, 1 if one diverged."""
        from fastlin import runs

        count = options.thread_count(self.threads)
        split = self.split
        outcome.note_if_changed(self.reference, split, notes)
        reference = replace(self.reference, sha256=split.fingerprint())
        content = runs.config_content(reference, self.config, self.fitting)
        folder = outcome.new_folder(out, split.name, runs.CONFIG, content)
        found = None
        try:
            found, compile_seconds = self._fit(count, notes)
            if found is None:
                return 1
            with process.writing_results():
                summary = runs.write_run(
                    folder,
                    reference,
                    found.result,
                    split,
                    "finished",
                    count,
                    compile_seconds=compile_seconds,
                    started=started,
                    study=found,
                )
            self._print(found, summary["results"]["last"].get("test"), folder)
            drawn = 0.0, 0.0
            if figures:
                drawn = self._draw(found, folder, count, notes)
            outcome.save_times(folder, summary, drawn, started)
        except KeyboardInterrupt as stop:
            what = "draws" if self.fitting.cv is None else "folds"
            kept = "in it is what was written before"
            if found is None:
                kept = f"of finished {what} nothing is kept, only the settings in {runs.CONFIG}"
            notes.print(f"Interrupted; {folder}: {kept}")
            return process.exit_code(stop)
        return 0

    def _fit(self, threads: int, notes: Console) -> tuple[CrossValidation | FewShots | None, float]:
        """Do all fits; return what was found, None if one diverged, and seconds of compiling."""
        if self.fitting.shots is not None:
            return few_shots.draws_of(self.split, self.config, self.fitting, threads, notes)
        return folds.folds_of(
            self.split,
            notes,
            cv=self.fitting.cv,
            config=self.config,
            threads=threads,
            eval_train_every=self.eval_train_every,
        )

    def _print(
        self, found: CrossValidation | FewShots, test: dict[str, float] | None, folder: Path
    ) -> None:
        """Print what was found, and where it is."""
        from fastlin.training.few_shots import FewShots

        console = options.console()
        of = found.result if isinstance(found, FewShots) else found.ranking.best
        outcome.print_heading(self.split.name, self.config, of.config)
        if isinstance(found, FewShots):
            few_shots.print_draws(console, found, folder)
        else:
            folds.print_folds(console, found, test, folder)
        console.print(f"Run folder: {folder}")

    def _draw(
        self, found: CrossValidation | FewShots, folder: Path, threads: int, notes: Console
    ) -> tuple[float, float]:
        """Draw all figures; return seconds as `outcome.draw` does."""
        from fastlin.training.few_shots import FewShots

        if isinstance(found, FewShots):
            split = found.fitted_on(self.split)
            remark = found.fitting.remark
            return outcome.draw(found.result, split, folder, threads, notes, remark=remark)
        return folds.draw_folds(found, self.split, folder, threads, notes)
