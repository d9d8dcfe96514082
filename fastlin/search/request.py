"""What a search was asked for, kept in its folder, so that it can be gone on with.

grid.json        the request
journal.jsonl    what came of it so far; see `fastlin.search.journal`
grid.csv         the entries, best first
winner/          the best entry as a run folder
"""

from __future__ import annotations

from dataclasses import asdict, dataclass, field, fields
from pathlib import Path
from typing import Any

from fastlin.config import TrainConfig
from fastlin.data.source import DataReference
from fastlin.errors import InputError, quoted
from fastlin.files import MissingFileError, check_format, read_json
from fastlin.fitting import check_calibrates_alone, check_repeats
from fastlin.metrics import MEASURES
from fastlin.search.configs import grid_configs
from fastlin.search.halving import Plan
from fastlin.search.spec import GridSpec
from fastlin.settings import Switch, whole_number

REQUEST, JOURNAL, TABLE, WINNER = "grid.json", "journal.jsonl", "grid.csv", "winner"
FILES = (REQUEST, JOURNAL, TABLE)
FORMAT = 1  # of grid.json
# What files of older versions do not say.
_LATER = {
    "eval_train_every": 1,
    "refit": False,
    "cv": None,
    "calibrate": False,
    "select": "accuracy",
    "at": "last",
    "figures": True,
}


@dataclass(frozen=True)
class SearchRequest:
    """What is searched, where, and how: all that `--resume` needs.

    Attributes
    ----------
    data : DataReference
        The data to train on.
    grid : GridSpec
        Lists and ranges of values.
    search, trials, search_seed : str, int or None, int
        As in `fastlin.grid_search`.
    halving : Plan or None
        When entries are stopped early; None for never.
    eval_train_every : int
        As in `fastlin.grid_search`.
    refit : bool
        Likewise.
    cv : int or None
        In how many folds rows are divided, as in `fastlin.cross_validate`; None for validation rows
        that are held out once.
    calibrate : bool
        As in `fastlin.grid_search`.
    select, at : str
        By what the winner is chosen: ``accuracy`` or ``cost``, after the ``last`` epoch or the
        ``best``. Who resumes a search may choose another, unless entries are stopped early.
    figures : bool
        Whether figures are drawn. Likewise.

    Raises
    ------
    InputError
        If a value is impossible.
    """

    data: DataReference
    grid: GridSpec
    search: str = "grid"
    trials: int | None = None
    search_seed: int = 0
    halving: Plan | None = None
    eval_train_every: int = 1
    refit: bool = False
    cv: int | None = None
    calibrate: bool = False
    select: str = field(default="accuracy", compare=False)
    at: str = field(default="last", compare=False)
    figures: bool = field(default=True, compare=False)

    def __post_init__(self) -> None:
        if self.search not in ("grid", "random"):
            raise InputError(f"search is {quoted(self.search)}; it must be grid or random")
        for name, known in (("select", MEASURES), ("at", ("last", "best"))):
            if getattr(self, name) not in known:
                found = quoted(getattr(self, name))
                raise InputError(f"{name} is {found}; it must be {' or '.join(known)}")
        if self.trials is not None:
            whole_number("trials", self.trials, 1)
        whole_number("search_seed", self.search_seed, 0)
        whole_number("eval_train_every", self.eval_train_every, 0)
        for name in ("refit", "calibrate", "figures"):
            Switch().checked(name, getattr(self, name))
        kinds = [name for name in ("refit", "cv") if getattr(self, name)]
        check_calibrates_alone(kinds, calibrate=self.calibrate)
        if self.cv is not None:
            check_repeats("cv", self.cv, 2)
            if self.refit or self.halving or self.data.val_fraction is not None:
                what = "refit" if self.refit else "halving" if self.halving else "val_fraction"
                raise InputError(
                    f"{what} has no effect with cv, which trains every entry on all folds and the "
                    "winner on all rows; leave one of them out"
                )

    def configs(self) -> tuple[TrainConfig, ...]:
        """Return the configurations to train. Raises InputError as `grid_configs` does."""
        return grid_configs(
            self.grid, search=self.search, trials=self.trials, search_seed=self.search_seed
        )

    def content(self) -> dict[str, Any]:
        """Return the content of grid.json."""
        return {"format": FORMAT, **asdict(self), "grid": self.grid.to_dict()}


def load_request(folder: Path) -> SearchRequest:
    """Read what the search in a folder was asked for.

    Raises
    ------
    InputError
        If there is none, or its file is damaged.
    """
    path = folder / REQUEST
    try:
        content = read_json(path)
    except MissingFileError:
        raise InputError(
            f"there is no search to resume in {folder}; it would hold {REQUEST}"
        ) from None
    if not isinstance(content, dict):
        raise InputError(f"{path} is damaged: it must hold the parts of a search by name")
    check_format(path, content, FORMAT)
    for name, default in _LATER.items():
        content.setdefault(name, default)
    known = [part.name for part in fields(SearchRequest)]
    missing = [name for name in known if name not in content]
    unknown = [name for name in content if name not in {"format", *known}]
    if missing or unknown:
        what = f"it lacks {missing[0]}" if missing else f"unknown key {quoted(unknown[0])}"
        raise InputError(f"{path} is damaged: {what}")
    try:
        read = {
            "data": DataReference.from_dict(content["data"]),
            "grid": GridSpec.from_dict(content["grid"]),
            "halving": _plan(content["halving"]),
        }
        return SearchRequest(**{name: content[name] for name in known} | read)
    except InputError as error:
        raise InputError(f"{path} is damaged: {error}") from None


def _plan(content: Any) -> Plan | None:
    """Return the plan of a grid.json; older ones say only whether there was one."""
    if isinstance(content, bool):
        return Plan() if content else None
    if content is None:
        return None
    if not isinstance(content, dict) or set(content) != {"decisions"}:
        raise InputError(f"halving is {quoted(content)}; it must hold the decisions of a plan")
    return Plan(content["decisions"])
