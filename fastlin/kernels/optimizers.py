"""What a step does with the gradient of its batch, before and after the rank-B update.

The update adds rows straight into an accumulator of the shape of W: W itself for plain SGD, the
velocity with momentum. No gradient array exists.

Plain      W = W - lr g
Momentum   v = momentum v + g;  W = W - lr v               (Polyak 1964)
Nesterov   v = momentum v + g;  W = W - lr (g + momentum v)  (Sutskever et al. 2013), computed as
           W = (W + lr momentum v_before) - lr (1 + momentum) v_after

with g = dscores^T X / B + 2 l2 W, lr being that of the step. The kind is a named tuple, and its
type selects the code (`by_type`).

W and the velocity of W are packed, as `fastlin.kernels.tiles` has them; what is done to them one by
one is done to elements first to last of the flat arrays.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np

from fastlin.kernels.jit import by_type, inline_kernel


class Plain(NamedTuple):
    """SGD without memory."""


class Momentum(NamedTuple):
    """Classical momentum; velocity_W, packed like W, and velocity_b (K,), updated in place.

    Of many entries, `kernels.grid` takes all three as arrays with one axis more.
    """

    momentum: float | np.ndarray
    velocity_W: np.ndarray
    velocity_b: np.ndarray


class Nesterov(NamedTuple):
    """Nesterov momentum; velocity_W, packed like W, and velocity_b (K,), updated in place."""

    momentum: float | np.ndarray
    velocity_W: np.ndarray
    velocity_b: np.ndarray


@inline_kernel
def _plain_of_entry(optimizer, e):
    """Return the optimizer of one entry of many."""
    return optimizer


@inline_kernel
def _momentum_of_entry(optimizer, e):
    """Return the optimizer of one entry of many; `optimizer` has arrays over all of them."""
    return Momentum(optimizer.momentum[e], optimizer.velocity_W[e], optimizer.velocity_b[e])


@inline_kernel
def _nesterov_of_entry(optimizer, e):
    """Return the optimizer of one entry of many; `optimizer` has arrays over all of them."""
    return Nesterov(optimizer.momentum[e], optimizer.velocity_W[e], optimizer.velocity_b[e])


@inline_kernel
def _weights(optimizer, packed):
    """Return the array that rows are added to."""
    return packed


@inline_kernel
def _velocity(optimizer, packed):
    """Return the array that rows are added to."""
    return optimizer.velocity_W


@inline_kernel
def _minus_lr(optimizer, lr):
    """Return what a gradient is multiplied by when it is added to the accumulator."""
    return -lr


@inline_kernel
def _one(optimizer, lr):
    """Return what a gradient is multiplied by when it is added to the accumulator."""
    return 1.0


@inline_kernel
def _shrinkage(optimizer, lr, l2):
    """Return what the accumulator is multiplied by as its first row is added."""
    return 1 - 2 * lr * l2


@inline_kernel
def _none(optimizer, lr, l2):
    """Return what the accumulator is multiplied by as its first row is added: `prepare` did it."""
    return 1.0


@inline_kernel
def _nothing_before(optimizer, packed, lr, l2, first, last):
    """Ready elements first to last for the update."""


@inline_kernel
def _before_momentum(optimizer, packed, lr, l2, first, last):
    """Ready elements first to last for the update: v = momentum v + 2 l2 W."""
    keep, pull = packed.dtype.type(optimizer.momentum), packed.dtype.type(2 * l2)
    w, v = packed[first:last], optimizer.velocity_W[first:last]
    for j in range(w.size):
        v[j] = keep * v[j] + pull * w[j]


@inline_kernel
def _before_nesterov(optimizer, packed, lr, l2, first, last):
    """Ready elements first to last: v = momentum v + 2 l2 W, and W = W + lr momentum v_before."""
    keep, pull = packed.dtype.type(optimizer.momentum), packed.dtype.type(2 * l2)
    back = packed.dtype.type(lr * optimizer.momentum)
    w, v = packed[first:last], optimizer.velocity_W[first:last]
    for j in range(w.size):
        v_before = v[j]
        v[j] = keep * v_before + pull * w[j]
        w[j] += back * v_before


@inline_kernel
def _nothing_after(optimizer, packed, lr, first, last):
    """Finish elements first to last after the update."""


@inline_kernel
def _after_momentum(optimizer, packed, lr, first, last):
    """Finish elements first to last after the update: W = W - lr v."""
    _take_velocity(packed[first:last], packed.dtype.type(lr), optimizer.velocity_W[first:last])


@inline_kernel
def _after_nesterov(optimizer, packed, lr, first, last):
    """Finish elements first to last after the update: W = W - lr (1 + momentum) v."""
    rate = packed.dtype.type(lr * (1 + optimizer.momentum))
    _take_velocity(packed[first:last], rate, optimizer.velocity_W[first:last])


@inline_kernel
def _take_velocity(w, rate, v):
    for j in range(w.size):
        w[j] -= rate * v[j]


@inline_kernel
def _plain_bias(optimizer, b, gradient, lr):
    """Take the step of b (K,), given its gradient."""
    rate = b.dtype.type(lr)
    for k in range(b.size):
        b[k] -= rate * gradient[k]


@inline_kernel
def _momentum_bias(optimizer, b, gradient, lr):
    """Take the step of b (K,), given its gradient."""
    rate, keep, v = b.dtype.type(lr), b.dtype.type(optimizer.momentum), optimizer.velocity_b
    for k in range(b.size):
        v[k] = keep * v[k] + gradient[k]
        b[k] -= rate * v[k]


@inline_kernel
def _nesterov_bias(optimizer, b, gradient, lr):
    """Take the step of b (K,), given its gradient."""
    rate, keep, v = b.dtype.type(lr), b.dtype.type(optimizer.momentum), optimizer.velocity_b
    for k in range(b.size):
        v[k] = keep * v[k] + gradient[k]
        b[k] -= rate * (gradient[k] + keep * v[k])


optimizer_of_entry = by_type(
    {Plain: _plain_of_entry, Momentum: _momentum_of_entry, Nesterov: _nesterov_of_entry}
)
accumulator = by_type({Plain: _weights, Momentum: _velocity, Nesterov: _velocity})
gradient_factor = by_type({Plain: _minus_lr, Momentum: _one, Nesterov: _one})
accumulator_decay = by_type({Plain: _shrinkage, Momentum: _none, Nesterov: _none})
prepare = by_type({Plain: _nothing_before, Momentum: _before_momentum, Nesterov: _before_nesterov})
finish = by_type({Plain: _nothing_after, Momentum: _after_momentum, Nesterov: _after_nesterov})
step_bias = by_type({Plain: _plain_bias, Momentum: _momentum_bias, Nesterov: _nesterov_bias})
