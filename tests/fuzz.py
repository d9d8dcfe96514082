"""Give damaged and hostile files to everything in fastlin that reads one, and see what happens.

    python -m tests.fuzz --count 100000 --jobs 2          every loader
    python -m tests.fuzz --loader model.npz --count 1000
    python -m tests.fuzz --bits                           every bit of all headers in .npz files
    python -m tests.fuzz --only model.npz:123             one input again, with its traceback

A loader must return something consistent, or raise an InputError whose message is one line. It must
not raise anything else, warn, take much memory or time, or end the process. Where a format has
checksums, bytes that were changed must not change what is read.

Inputs depend on the loader, the seed and a number alone. They are tried in child processes with
little memory, which the parent ends if one input takes too long.
"""

from __future__ import annotations

import argparse
import dataclasses
import gc
import itertools
import math
import multiprocessing
import multiprocessing.connection
import os
import sys
import tempfile
import time
import traceback
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from multiprocessing.sharedctypes import RawArray
from pathlib import Path
from random import Random
from typing import Any

import numpy as np

sys.path.insert(0, str(Path(__file__).parent))  # where pytest looks for them too

import fuzz_loaders
import mutations

import fastlin
from fastlin.errors import InputError

MEMORY = 300_000_000  # bytes that a child may take beyond what it starts with
SECONDS = 5.0  # that one input may take
CHUNK = 2_000  # inputs of one child
LONGEST_MESSAGE = 1_000
MOST_ENDED = 20  # children of a loader that are replaced; then its other inputs are left out
KEPT = 10  # files that are kept of one kind of violation

_PACKAGE = Path(fastlin.__file__).parent
# Places in the memory that a child shares with its parent.
_NUMBER, _STARTED, _ACCEPTED, _REFUSED, _SLOWEST, _IS_DONE = range(6)


@dataclass(frozen=True)
class Violation:
    """One input that was not dealt with as it must be."""

    loader: str
    number: int
    kind: str
    text: str


@dataclass
class Outcome:
    """What came of the inputs of one loader."""

    loader: str
    accepted: int = 0
    refused: int = 0
    slowest: float = 0.0
    violations: list[Violation] = field(default_factory=list)
    ended: int = 0

    @property
    def inputs(self) -> int:
        return self.accepted + self.refused + len(self.violations)


# --- one input ------------------------------------------------------------------------------


class WrongError(Exception):
    """What came of an input is wrong: its kind, and the details."""

    def __init__(self, kind: str, text: str = "") -> None:
        super().__init__(text)
        self.kind = kind


class Trial:
    """A loader at work in a folder of its own."""

    def __init__(
        self, loader: fuzz_loaders.Loader, folder: Path, seed: int, *, bits: bool = False
    ) -> None:
        self.loader = loader
        self.seed = seed
        self.bits = mutations.header_bits(loader.samples[0]) if bits else None
        for name, content in loader.companions.items():
            (folder / name).parent.mkdir(parents=True, exist_ok=True)
            (folder / name).write_bytes(content)
        self.path = folder / loader.file
        self.path.parent.mkdir(parents=True, exist_ok=True)
        self.expected = []
        for sample in loader.samples:
            self.path.write_bytes(sample)
            self.expected.append(plain(loader.load(self.path)))

    def input(self, number: int) -> tuple[bytes, bool]:
        """Return the content with a number, and whether its checksums are those of a sample."""
        if self.bits is not None:
            content = bytearray(self.loader.samples[0])
            content[self.bits[number] // 8] ^= 1 << self.bits[number] % 8
            return bytes(content), True
        rng = Random(f"{self.seed} {self.loader.name} {number}")  # noqa: S311
        return self.loader.mutate(rng, self.loader.samples)

    def run(self, content: bytes, *, is_raw: bool) -> bool:
        """Return whether a content is accepted. Raises what it must not raise."""
        self.path.unlink(missing_ok=True)
        self.path.write_bytes(content)
        with warnings.catch_warnings():
            warnings.simplefilter("error")
            try:
                value = self.loader.load(self.path)
            except InputError as error:
                _check_message(str(error))
                return False
            found = plain(value)
        check_finite(value)
        if (
            is_raw
            and self.loader.compare is not None
            and not self.loader.compare(found, self.expected)
        ):
            raise WrongError("other values than those written")
        return True


def _check_message(message: str) -> None:
    if not message or not message.isprintable():
        raise WrongError("a message of several lines", message)
    if len(message) > LONGEST_MESSAGE:
        raise WrongError(f"a message of more than {LONGEST_MESSAGE:,} characters", message)
    if "memory" in message.partition("the keys are")[0]:  # of which one is called so
        raise WrongError("too much memory", message)


def plain(value: Any) -> Any:
    """Return a value of types that can be compared: arrays, records and NaN become tuples."""
    if isinstance(value, np.ndarray):
        return (value.dtype.str, value.shape, value.tobytes())
    if dataclasses.is_dataclass(value) and not isinstance(value, type):
        return {f.name: plain(getattr(value, f.name)) for f in dataclasses.fields(value)}
    if isinstance(value, dict):
        return {name: plain(item) for name, item in value.items()}
    if isinstance(value, list | tuple):
        return [plain(item) for item in value]
    if isinstance(value, float) and math.isnan(value):
        return "NaN"
    return value


def check_finite(value: Any) -> None:
    """Raise WrongError for a number that is not finite, save where one may be."""
    if dataclasses.is_dataclass(value):
        value = {f.name: getattr(value, f.name) for f in dataclasses.fields(value)}
    if isinstance(value, dict):
        value = [item for name, item in value.items() if name not in fuzz_loaders.MAY_BE_NAN]
    if isinstance(value, np.ndarray):
        if value.dtype.kind == "O":
            raise WrongError("Python objects")
        if value.dtype.kind in "fc" and not np.isfinite(value).all():
            raise WrongError("a number that is not finite", str(value))
    elif isinstance(value, list | tuple):
        for item in value:
            check_finite(item)
    elif isinstance(value, float) and not math.isfinite(value):
        raise WrongError("a number that is not finite", str(value))


# --- child processes ------------------------------------------------------------------------


def _child(
    loader: fuzz_loaders.Loader,
    numbers: range,
    folder: Path,
    seed: int,
    bits: bool,
    shared: Any,
    results: multiprocessing.connection.Connection,
) -> None:
    """Try inputs, count them in shared memory, and send every violation."""
    gc.freeze()  # what is there already is not looked at again by every collection
    unraisable: list[str] = []
    sys.unraisablehook = lambda caught: unraisable.append(repr(caught.exc_value))
    trial = Trial(loader, folder, seed, bits=bits)
    _limit_memory()
    for number in numbers:
        content, is_raw = trial.input(number)
        shared[_NUMBER], shared[_STARTED] = number, time.monotonic()
        try:
            is_accepted = trial.run(content, is_raw=is_raw)
            if unraisable:
                raise WrongError("an exception in a finalizer", unraisable.pop())
        except BaseException as error:  # noqa: BLE001  (whatever it is, it must not be)
            results.send(Violation(loader.name, number, _kind(error), _text(error)))
            del error
            gc.collect()  # finalizers of what the exception held
            unraisable.clear()
        else:
            shared[_ACCEPTED if is_accepted else _REFUSED] += 1
        shared[_SLOWEST] = max(shared[_SLOWEST], time.monotonic() - shared[_STARTED])
        shared[_STARTED] = math.inf
    results.close()
    shared[_IS_DONE] = 1


def _limit_memory() -> None:
    """Bound the address space of this process, where the system can do that."""
    statistics = Path("/proc/self/statm")
    if statistics.exists():
        import resource

        size = int(statistics.read_text().split()[0]) * resource.getpagesize()
        resource.setrlimit(resource.RLIMIT_AS, (size + MEMORY, size + MEMORY))


def _kind(error: BaseException) -> str:
    """Return by what violations are told from one another: the exception, and who raised it."""
    if isinstance(error, WrongError):
        return error.kind
    if isinstance(error, AssertionError):  # of a check in `fuzz_loaders`
        return str(error)
    frames = traceback.extract_tb(error.__traceback__)
    ours = [frame for frame in frames if _PACKAGE in Path(frame.filename).parents]
    where = f" in {Path(ours[-1].filename).stem}.{ours[-1].name}" if ours else ""
    return type(error).__name__ + where


def _text(error: BaseException) -> str:
    return repr(str(error))[:200]


class _Chunk:
    """A child that is at work, as its parent sees it."""

    def __init__(
        self, loader: fuzz_loaders.Loader, numbers: range, folder: Path, seed: int, *, bits: bool
    ) -> None:
        self.loader, self.numbers = loader, numbers
        self.shared = RawArray("d", 6)
        self.shared[_NUMBER], self.shared[_STARTED] = numbers.start, math.inf
        self.results, sender = multiprocessing.Pipe(duplex=False)
        context = multiprocessing.get_context("fork")
        self.process = context.Process(
            target=_child, args=(loader, numbers, folder, seed, bits, self.shared, sender)
        )
        self.process.start()
        sender.close()

    def go_on(self, outcome: Outcome, seconds: float) -> range | None:
        """Take over what the child sent; return None while it works, then what it left out."""
        is_late = time.monotonic() - self.shared[_STARTED] > seconds
        try:
            while self.results.poll():
                outcome.violations.append(self.results.recv())
            if not is_late:
                return None
        except EOFError:
            self.process.join()
        self.end(outcome)
        if self.shared[_IS_DONE]:
            return range(0)
        number = int(self.shared[_NUMBER])
        if self.shared[_STARTED] == math.inf:
            raise RuntimeError(f"the fuzz itself failed near {outcome.loader}:{number}")
        kind = f"takes more than {seconds:g} s" if is_late else "ends the process"
        text = f"exit code {self.process.exitcode}"
        outcome.violations.append(Violation(outcome.loader, number, kind, text))
        outcome.ended += 1
        return self.numbers[self.numbers.index(number) + 1 :]

    def end(self, outcome: Outcome) -> None:
        """Wait for the child, or end it, and count what it did."""
        self.process.kill()
        self.process.join()
        outcome.accepted += int(self.shared[_ACCEPTED])
        outcome.refused += int(self.shared[_REFUSED])
        outcome.slowest = max(outcome.slowest, self.shared[_SLOWEST])


def run(
    names: list[str],
    count: int,
    *,
    seed: int = 0,
    jobs: int = 1,
    bits: bool = False,
    every: int = 1,
    seconds: float = SECONDS,
    loaders: dict[str, fuzz_loaders.Loader] | None = None,
) -> dict[str, Outcome]:
    """Try `count` inputs of every named loader; with `bits`, every so many bits of its headers."""
    loaders = loaders or {name: fuzz_loaders.LOADERS[name]() for name in names}
    outcomes = {name: Outcome(name) for name in names}
    waiting: list[tuple[str, range]] = []
    for name in names:
        total = len(mutations.header_bits(loaders[name].samples[0])) if bits else count
        numbers = range(0, total, every)
        size = min(CHUNK, -(-len(numbers) // jobs))
        waiting += [(name, numbers[i : i + size]) for i in range(0, len(numbers), size)]
    with tempfile.TemporaryDirectory() as place:
        folders = (Path(place) / str(number) for number in itertools.count())
        working: list[_Chunk] = []
        try:
            while waiting or working:
                while waiting and len(working) < jobs:
                    name, numbers = waiting.pop(0)
                    if outcomes[name].ended < MOST_ENDED:
                        chunk = _Chunk(loaders[name], numbers, next(folders), seed, bits=bits)
                        working.append(chunk)
                multiprocessing.connection.wait([chunk.results for chunk in working], timeout=0.2)
                for chunk in list(working):
                    outcome = outcomes[chunk.loader.name]
                    left = chunk.go_on(outcome, seconds)
                    if left is not None:
                        working.remove(chunk)
                        if left:
                            waiting.insert(0, (outcome.loader, left))
        finally:
            for chunk in working:
                chunk.end(outcomes[chunk.loader.name])
    for outcome in outcomes.values():
        outcome.violations.sort(key=lambda violation: violation.number)
    return outcomes


# --- the command ----------------------------------------------------------------------------


def report(outcomes: dict[str, Outcome]) -> Iterator[str]:
    """Give the lines of a table, and an example of every kind of violation."""
    columns = ("inputs", "accepted", "refused", "slowest", "violations")
    yield f"{'loader':<16}" + "".join(f"{column:>12}" for column in columns)
    for outcome in outcomes.values():
        yield (
            f"{outcome.loader:<16}{outcome.inputs:>12,}{outcome.accepted:>12,}"
            f"{outcome.refused:>12,}{outcome.slowest * 1000:>9.0f} ms{len(outcome.violations):>12,}"
        )
    for outcome in outcomes.values():
        for kind, found in _by_kind(outcome.violations).items():
            first = found[0]
            yield f"{first.loader}:{first.number}  {kind} ({len(found):,} times)  {first.text}"
        if outcome.ended >= MOST_ENDED:
            yield f"{outcome.loader}: inputs were left out after {outcome.ended} ended processes"


def _by_kind(violations: list[Violation]) -> dict[str, list[Violation]]:
    kinds: dict[str, list[Violation]] = {}
    for violation in violations:
        kinds.setdefault(violation.kind, []).append(violation)
    return kinds


@contextmanager
def _trial(name: str, seed: int, *, bits: bool) -> Iterator[Trial]:
    with tempfile.TemporaryDirectory() as folder:
        yield Trial(fuzz_loaders.LOADERS[name](), Path(folder), seed, bits=bits)


def keep(outcomes: dict[str, Outcome], folder: Path, seed: int, *, bits: bool) -> None:
    """Write inputs of violations to a folder, some of every kind."""
    folder.mkdir(parents=True, exist_ok=True)
    for outcome in outcomes.values():
        if outcome.violations:
            with _trial(outcome.loader, seed, bits=bits) as trial:
                for found in _by_kind(outcome.violations).values():
                    for violation in found[:KEPT]:
                        name = f"{outcome.loader}-{'bits' if bits else seed}-{violation.number}"
                        (folder / name).write_bytes(trial.input(violation.number)[0])


def try_again(only: str, seed: int, folder: Path | None, *, bits: bool) -> int:
    """Try one input in this process, and print what comes of it."""
    name, _, number = only.rpartition(":")
    with _trial(name, seed, bits=bits) as trial:
        content, is_raw = trial.input(int(number))
        if folder is not None:
            folder.mkdir(parents=True, exist_ok=True)
            (folder / f"{name}-{'bits' if bits else seed}-{number}").write_bytes(content)
        print(f"{len(content):,} bytes: {content[:300]!r}")
        try:
            print(plain(trial.loader.load(trial.path)) and "intact files are read")
            trial.path.write_bytes(content)
            print("accepted" if trial.run(content, is_raw=is_raw) else "refused")
        except BaseException:  # noqa: BLE001  (it is shown)
            traceback.print_exc(limit=-8)
            return 1
    return 0


def main(arguments: list[str] | None = None) -> int:
    """Read the command line, and return its exit code: 1 if there is any violation."""
    names = list(fuzz_loaders.LOADERS)
    parser = argparse.ArgumentParser(
        prog="python -m tests.fuzz", description=__doc__.split("\n")[0]
    )
    parser.add_argument("--count", type=int, default=1000, help="inputs of all loaders together")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--loader", action="append", choices=names, help="may be repeated")
    parser.add_argument("--jobs", type=int, default=min(2, os.cpu_count() or 1))
    parser.add_argument(
        "--bits", action="store_true", help="every bit of the headers of .npz files"
    )
    parser.add_argument("--seconds", type=float, default=SECONDS, help="that one input may take")
    parser.add_argument("--keep", type=Path, metavar="FOLDER", help="write inputs that fail there")
    parser.add_argument("--only", metavar="LOADER:NUMBER", help="try one input, show its traceback")
    given = parser.parse_args(arguments)
    if given.only:
        return try_again(given.only, given.seed, given.keep, bits=given.bits)
    if given.bits:
        names = [name for name in names if name.endswith(".npz")]
    names = [name for name in names if given.loader is None or name in given.loader]
    outcomes = run(
        names, -(-given.count // len(names)), seed=given.seed, jobs=given.jobs, bits=given.bits,
        seconds=given.seconds,
    )  # fmt: skip
    for line in report(outcomes):
        print(line)
    if given.keep is not None:
        keep(outcomes, given.keep, given.seed, bits=given.bits)
    return int(any(outcome.violations for outcome in outcomes.values()))


if __name__ == "__main__":
    sys.exit(main())
