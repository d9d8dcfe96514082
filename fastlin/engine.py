"""From arrays to kernels: pack weights, choose the kernel, run it on threads, unpack.

Nothing here looks at what it is given. `fastlin.functional` has the same with checks; trainers,
which check their data once, call this.
"""

from __future__ import annotations

from collections.abc import Sequence
from functools import cache
from itertools import groupby, pairwise
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from fastlin import threads
from fastlin.data.checks import default_scale, number_dtype
from fastlin.data.features import stored_part
from fastlin.kernels import grid, losses, sgd, stored
from fastlin.kernels.features import Scaled, Standardized, weights_of_rows
from fastlin.kernels.optimizers import Momentum, Nesterov, Plain, Rates, rates
from fastlin.kernels.products import new_scratch
from fastlin.kernels.tiles import class_tile, pack, unpack
from fastlin.losses import Loss
from fastlin.threads import current_count

Array = NDArray[Any]

# Multiply-adds below which a step gains nothing from one thread more: meeting twice, and fetching
# what the other wrote, costs as much as it saves. See benchmarks/break_even.py.
LEAST_WORK_OF_A_PIECE = 250_000

# Bytes of weights and velocities that are packed at once, if those of some entries for each thread
# are no more.
BYTES_OF_GROUP = 2**24

# Bytes of weights and velocities that a thread trains side by side. Entries that share batches read
# each row from memory once, but while others pass, the weights of one leave the caches. Of entries
# with momentum, two threads of a Zen 3 (second-level cache 512 KiB) trained all at once, and these:
# 12 with K 1000, d 768 at 93 and 112 GFLOP/s, 32 with K 100, d 768 at 97 and 121, 64 with K 10,
# d 3072, uint8 at 64 and 78.
BYTES_OF_CHAIN = 3 * 2**19

# Multiply-adds of a thread in one call that trains entries, some 0.02 s on a core; and how many
# such calls it has at least: at the end it may wait for one of them. Two threads of a Zen 3 trained
# 27 entries with K 10, d 3072 and three batch sizes at 98 GFLOP/s in halves, and at 108 in chains.
_WORK_OF_A_STEP, _STEPS_OF_A_THREAD = 800_000_000, 16

# Fewer chains than these could not keep all threads busy to the end.
_CHAINS_OF_A_THREAD = 2


def unchecked_sgd_epoch(
    X: Array, y: Array, order: NDArray[np.int64], W: Array, b: Array, *, lr: float,
    batch_size: int, l2: float, loss: Loss, momentum: float = 0.0, nesterov: bool = False,
    velocity: tuple[Array, Array] | None = None, scale: float | None = None,
    weights: Array | None = None,
) -> float:  # fmt: skip
    """Do `sgd_epoch` without looking at the arrays, for a caller that has checked them once."""
    epoch = EntryEpoch(0, order, lr, l2, batch_size, momentum)
    if velocity is not None:
        velocity = velocity[0][None], velocity[1][None]
    mean_losses = unchecked_sgd_epochs(
        X, y, W[None], b[None], [epoch], loss=loss, velocity=velocity, nesterov=nesterov,
        features=kernel_features(X.dtype, W.dtype, scale), weights=weights,
        pieces=pieces_of_step(min(batch_size, len(order)), *W.shape),
    )  # fmt: skip
    return float(mean_losses[0])


class EntryEpoch(NamedTuple):
    """An epoch of one of many classifiers.

    Attributes
    ----------
    entry : which one.
    order : (m,) int64 row numbers, C-contiguous.
    lr, l2, batch_size, momentum : as in `sgd_epoch`.
    """

    entry: int
    order: NDArray[np.int64]
    lr: float
    l2: float
    batch_size: int
    momentum: float


def unchecked_sgd_epochs(
    X: Array, y: Array, W: Array, b: Array, epochs: Sequence[EntryEpoch], *, loss: Loss,
    features: Scaled | Standardized | None = None, scales: NDArray[np.float64] | None = None,
    velocity: tuple[Array, Array] | None = None, nesterov: bool = False, pieces: int = 1,
    weights: Array | None = None,
) -> NDArray[np.float64]:  # fmt: skip
    """Do `sgd_epoch` for some of many classifiers, for a caller that has checked the arrays.

    Parameters
    ----------
    X, y : as in `sgd_epoch`; weights : (n,) of the rows, of mean 1, or None.
    W : (M, K, d), b : (M, K); velocity : arrays like them, or None without momentum; those of the
        entries are updated in place.
    epochs : of different entries. Neighbours with one order and batch size share their batches.
    loss, nesterov : of all entries.
    features : of `kernel_features`, which says what W holds; None for rows as they are.
    scales : (M,) float64, updated in place: the weights are scales * W, of which the penalty
        changes the scales alone, as float32 would lose a small one. None for 1, in the end, too.
    pieces : if above 1, entries are trained one after another instead, and as many threads share
        every step.

    Returns
    -------
    (m,) float64, the mean loss of each entry's rows as its epoch met them.

    """
    features = features or kernel_features(X.dtype, W.dtype)
    chosen = [epoch.entry for epoch in epochs]
    tile, shape = class_tile(W.shape[1]), W.shape[1:]
    packed, bias = pack(W[chosen], tile), b[chosen]
    scale = np.ones(len(chosen)) if scales is None else scales[chosen]
    kind = (Nesterov if nesterov else Momentum) if velocity is not None else Plain
    of_entries = [rates(kind, e.lr, e.l2, e.momentum) for e in epochs]
    all_rates = Rates(*(np.array(values, np.float64) for values in zip(*of_entries, strict=True)))
    optimizer: Plain | Momentum | Nesterov = Plain()
    if velocity is not None:
        own = velocity[0][chosen], velocity[1][chosen]
        optimizer = _with_momentum(epochs, own, W[chosen], all_rates.pull * scale, tile, nesterov)
    group = _Group(
        kernel_rows(X), kernel_rows(y), kernel_weights(weights, W.dtype), packed,
        weights_of_rows(features, packed, tile), scale, bias, features, optimizer, all_rates,
        kernel_loss(loss), tile,
    )  # fmt: skip
    loss_sums = _run(group, epochs, pieces)
    trained = unpack(packed, tile, shape)
    if velocity is not None and not isinstance(optimizer, Plain):
        velocity_W = unpack(optimizer.velocity_W, tile, shape)
        _add_scaled(velocity_W, trained, all_rates.pull * scale)
        velocity[0][chosen], velocity[1][chosen] = velocity_W, optimizer.velocity_b
    if scales is None:
        _scale_in_place(trained, scale)
    else:
        scales[chosen] = scale
    W[chosen], b[chosen] = trained, bias
    mean_losses: NDArray[np.float64] = loss_sums / [len(epoch.order) for epoch in epochs]
    return mean_losses


def _with_momentum(
    epochs: Sequence[EntryEpoch], velocity: tuple[Array, Array], W: Array,
    pulls: NDArray[np.float64], tile: tuple[int, ...], nesterov: bool,
) -> Momentum | Nesterov:  # fmt: skip
    """Return the optimizer of entries with momentum; their velocity is overwritten.

    Kernels keep of the velocity what the penalty alone does not cause; see `optimizers`.
    """
    own, own_b = velocity
    _add_scaled(own, W, -pulls)
    momentum = np.array([epoch.momentum for epoch in epochs])
    return (Nesterov if nesterov else Momentum)(momentum, pack(own, tile), own_b)


def _add_scaled(target: Array, W: Array, factors: NDArray[np.float64]) -> None:
    """Add factors[m] * W[m] to target[m], both (M, K, d), rounding once."""
    for m in np.flatnonzero(factors):
        target[m] = target[m] + factors[m] * W[m].astype(np.float64)


def _scale_in_place(W: Array, factors: NDArray[np.float64]) -> None:
    """Multiply W[m] by factors[m], rounding once; W (M, K, d)."""
    for m in np.flatnonzero(factors != 1):
        W[m] = factors[m] * W[m].astype(np.float64)


def _of_entries(bundle: Any, chosen: int | slice) -> Any:
    """Return a named tuple of arrays over entries with the values of one of them, or of some."""
    return type(bundle)(*(values[chosen] for values in bundle))


class _Group(NamedTuple):
    """Entries that are trained by one call, as kernels take them; every array is over entries."""

    X: Array
    y: Array
    sample_weights: losses.Unweighted | losses.Weighted
    weights: Array
    row_weights: Array
    scales: Array
    bias: Array
    features: Scaled | Standardized
    optimizer: Plain | Momentum | Nesterov
    rates: Rates
    loss: NamedTuple
    tile: tuple[int, ...]

    def part(self, first: int, last: int) -> _Group:
        """Return the entries first to last: views of the same memory."""
        of_part = slice(first, last)
        return self._replace(
            weights=self.weights[of_part], row_weights=self.row_weights[of_part],
            scales=self.scales[of_part], bias=self.bias[of_part],
            optimizer=_of_entries(self.optimizer, of_part), rates=_of_entries(self.rates, of_part),
        )  # fmt: skip

    def classifiers(self, batch_size: int) -> sgd.Classifier:
        """Return the entries as kernels take them, for batches of so many rows."""
        return sgd.new_classifiers(*self._trained(), batch_size, self.tile)

    def with_scratch(self, others: sgd.Classifier) -> sgd.Classifier:
        """Return the entries as kernels take them, with scratch of others, of as many or more."""
        weights, row_weights, accumulator, scales, bias = self._trained()
        return others._replace(
            weights=weights, row_weights=row_weights, accumulator=accumulator,
            scale=scales[:, None], bias=bias,
        )  # fmt: skip

    def _trained(self) -> tuple[Array, Array, Array, Array, Array]:
        accumulator = self.weights
        if not isinstance(self.optimizer, Plain):
            accumulator = self.optimizer.velocity_W
        return self.weights, self.row_weights, accumulator, self.scales, self.bias


def _run(group: _Group, epochs: Sequence[EntryEpoch], pieces: int) -> NDArray[np.float64]:
    """Train the entries in place, in the way that suits their number; return sums of losses."""
    if pieces > 1:
        return _shared_epochs(group, epochs, pieces)
    return _side_by_side(group, epochs)


def _bytes_of_entry(group: _Group) -> int:
    """Return how many bytes of weights, and of their velocity, a thread has of an entry."""
    numbers = 1 if isinstance(group.optimizer, Plain) else 2
    return numbers * int(group.weights[0].nbytes)


def _shared_epochs(group: _Group, epochs: Sequence[EntryEpoch], pieces: int) -> NDArray[np.float64]:
    """Train entries one after another, every step shared by threads; return sums of losses."""
    X, y, samples, *_, features, _, _, loss, tile = group
    loss_sums, scratch = np.zeros(len(epochs)), new_scratch(pieces, tile, group.bias.dtype)
    work = 2 * group.bias.shape[1] * X.shape[1]
    for e, epoch in enumerate(epochs):
        largest = min(epoch.batch_size, len(epoch.order))
        part = group.part(e, e + 1)
        model = _of_entries(part.classifiers(largest), 0)
        for first, last in threads.parts(len(epoch.order), work, epoch.batch_size, pieces):
            threads.run(
                sgd.shared_epoch, pieces, pieces, X, y, samples, epoch.order[first:last], model,
                features, _of_entries(part.rates, 0), epoch.batch_size, loss,
                _of_entries(part.optimizer, 0), tile, scratch, loss_sums[e : e + 1],
            )  # fmt: skip
    return loss_sums


def _chains(epochs: Sequence[EntryEpoch], bytes_of_entry: int) -> list[tuple[int, int]]:
    """Divide entries into neighbours (first, last) with equal batches, which one thread trains.

    There are chains enough for every thread to find one, and they are no longer than caches hold.
    """
    wanted = _CHAINS_OF_A_THREAD * current_count() if current_count() > 1 else 1
    most = max(1, min(BYTES_OF_CHAIN // bytes_of_entry, -(-len(epochs) // wanted)))
    chains: list[tuple[int, int]] = []
    first = 0
    for _, alike in groupby(epochs, lambda epoch: (id(epoch.order), epoch.batch_size)):
        count = len(list(alike))
        parts = -(-count // most)
        ends = [first + count * part // parts for part in range(parts + 1)]
        chains += pairwise(ends)
        first += count
    return chains


def _side_by_side(group: _Group, epochs: Sequence[EntryEpoch]) -> NDArray[np.float64]:
    """Train entries, every one on one thread; return sums of losses."""
    X, y, samples, *_, loss, tile = group
    chains = _chains(epochs, _bytes_of_entry(group))
    members = min(current_count(), len(chains))
    longest = max(chains, key=lambda chain: chain[1] - chain[0])
    largest = max(min(epoch.batch_size, len(epoch.order)) for epoch in epochs)
    spare = [group.part(*longest).classifiers(largest) for _ in range(members)]
    scratch, loss_sums = new_scratch(members, tile, group.bias.dtype), np.zeros(len(epochs))
    parts, begins = [group.part(*chain) for chain in chains], [0] * len(chains)
    rows = [len(epochs[first].order) * (last - first) for first, last in chains]
    work = 2 * int(group.weights[0].size)  # of a row and an entry
    most = min(_WORK_OF_A_STEP, work * sum(rows) // (_STEPS_OF_A_THREAD * members))

    def train(chain: int, member: int) -> int:
        """Train the next batches of a chain's entries; return how many of their rows are left."""
        (first, last), part, begin = chains[chain], parts[chain], begins[chain]
        batch_size, order = epochs[first].batch_size, epochs[first].order
        batches = max(1, most // (work * (last - first) * batch_size))
        end = min(begin + batches * batch_size, len(order))
        grid.group_epoch(
            X, y, samples, order[begin:end], part.with_scratch(spare[member]), part.features,
            part.optimizer, part.rates, batch_size, loss, tile, scratch.sums[member],
            scratch.panels[member], loss_sums[first:last],
        )  # fmt: skip
        begins[chain] = end
        return (len(order) - end) * (last - first)

    threads.run_chains(train, rows, members)
    if begins != [len(epochs[first].order) for first, _ in chains]:
        raise RuntimeError("rows were left out of an epoch")
    return loss_sums


def pieces_of_step(batch_size: int, class_count: int, feature_count: int) -> int:
    """Return how many threads share a step; the result of the step does not depend on it."""
    work = batch_size * class_count * feature_count
    return min(current_count(), max(1, work // LEAST_WORK_OF_A_PIECE))


def groups(entry_count: int, bytes_of_entry: int) -> list[tuple[int, int]]:
    """Divide entries into groups, (first, last), to be packed and trained one after another.

    A group has more entries than there are threads, if there are so many, so that a fast thread has
    something to do while others are slow. bytes_of_entry: of its weights, and of their velocity if
    it has one.
    """
    most = max(current_count() + 1, BYTES_OF_GROUP // bytes_of_entry)
    count = max(1, entry_count // most)
    return list(pairwise(entry_count * part // count for part in range(count + 1)))


@cache
def _bits_of(dtype: np.dtype[Any]) -> np.dtype[Any] | None:
    """Return the dtype of the bits as which kernels take a dtype; None if as it is."""
    return stored.BITS.get(dtype.name)


def kernel_rows(array: Array) -> Array:
    """Return rows or labels as kernels take them: a view of the same memory, for reading alone.

    Numba compiles a kernel for arrays that may be written, and one more for those that may not, as
    a memory map: all are given as such. Of float16 and bfloat16 kernels take the bits.
    """
    array = np.asarray(array)
    bits = _bits_of(array.dtype)
    view = array.view() if bits is None else array.view(bits)
    view.flags.writeable = False
    return view


def kernel_weights(
    weights: Array | None, dtype: np.dtype[Any]
) -> losses.Unweighted | losses.Weighted:
    """Return the named tuple by which kernels know weights of rows, of mean 1, or None.

    They are (n,), or (M, n) of M classifiers.
    """
    if weights is None:
        return losses.Unweighted()
    return losses.Weighted(kernel_rows(np.ascontiguousarray(weights, dtype).ravel()))


def kernel_features(
    row_dtype: np.dtype[Any], weight_dtype: np.dtype[Any], scale: float | None = None,
    moments: tuple[NDArray[np.float64], NDArray[np.float64]] | None = None,
    offset: NDArray[np.float64] | None = None,
) -> Scaled | Standardized:  # fmt: skip
    """Return the named tuple by which kernels know features.

    Parameters
    ----------
    row_dtype, weight_dtype : of the rows and of W.
    scale : what a stored value is multiplied by; None for the default of the rows' dtype.
    moments : mean and standard deviation of features (d,) to standardise, or None.
    offset : (d,) what is subtracted from rows as they are loaded, in `number_dtype` of the rows;
        None for nothing. It has a meaning beside moments alone.
    """
    scale = default_scale(row_dtype) if scale is None else scale
    if moments is None:
        return Scaled(weight_dtype.type(scale), ())
    mean, std = moments  # of features; kernels take those of the rows as stored
    shift: Array | tuple[()] = ()
    if offset is not None:
        shift, part = stored_part(offset, scale, number_dtype(row_dtype))
        mean = mean - part
    padding = losses.padded_length(len(mean), weight_dtype) - len(mean)
    return Standardized(
        weight_dtype.type(1),
        np.pad((mean / scale).astype(weight_dtype), (0, padding)),
        np.pad(((scale / std) ** 2).astype(weight_dtype), (0, padding)),
        shift,
    )


def kernel_loss(loss: Loss) -> NamedTuple:
    """Return the named tuple by which kernels know a loss."""
    return losses.BY_NAME[loss.name](**loss.parameters())
