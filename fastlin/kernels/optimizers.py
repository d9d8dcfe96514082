"""What a step does with the gradient of its batch, before and after the rank-B update.

The update adds rows straight into an accumulator of the shape of W: W itself for plain SGD, the
velocity with momentum. No gradient array exists. With G = dscores^T X / B + 2 l2 W:

Plain      W = W - lr G
Momentum   v = momentum v + G;  W = W - lr v               (Polyak 1964)
Nesterov   v = momentum v + G;  W = W - lr (G + momentum v)  (Sutskever et al. 2013)

The penalty shrinks W by a factor so near to 1 that float32 cannot hold it: 1 - 2e-8 rounds to 1.
So kernels keep W as scale * weights, with one float64 scale for each classifier (Bottou 2012,
"Stochastic gradient descent tricks", section 5.1), and the penalty changes the scale alone. With
momentum the velocity has a part that the penalty causes. In a run without gradients W and v come to
fall together, W = decay W and v = pull W. Of v only the rest is kept, u = v - pull W, and
with g = dscores^T X / B the steps become

Momentum, Nesterov   u = keep u + gain g;  W = decay W + back u_before - rate u

of which `Rates` holds the factors. Where the penalty is so strong that W and v swing instead of
falling together (2 lr l2 > (1 - sqrt(momentum))^2 for Momentum), decay is 1 and u = v, to which the
penalty's gradient is added: it is large enough to be seen in float32.

The kind of optimizer is a named tuple, and its type selects the code (`by_type`). Weights and the
velocity of W are packed, as `fastlin.kernels.tiles` has them; what is done to them one by one is
done to elements first to last of the flat arrays, which are whole vectors. Of a sum of two products
`outer_fma` says which one is not rounded: LLVM would choose.
"""

from __future__ import annotations

import math
from typing import NamedTuple

import numpy as np

from fastlin.kernels import simd
from fastlin.kernels.jit import by_type, inline_kernel, pasted_kernel

# Beyond these the scale of W is multiplied into the weights, and begins again at 1.
SMALLEST_SCALE, LARGEST_SCALE = 2.0**-20, 2.0**20


class Rates(NamedTuple):
    """The factors of a step, float64, or arrays of them with one element for each classifier.

    Attributes
    ----------
    lr : learning rate, for the bias.
    decay : by which W is multiplied.
    penalty : 2 l2 where the penalty's gradient is added to the velocity, else 0.
    keep : by which the velocity u is multiplied.
    gain : by which a gradient is multiplied as it is added to the accumulator.
    back, rate : by which u before and after the step are multiplied as W takes them.
    pull : v - u over W.
    """

    lr: float | np.ndarray
    decay: float | np.ndarray
    penalty: float | np.ndarray
    keep: float | np.ndarray
    gain: float | np.ndarray
    back: float | np.ndarray
    rate: float | np.ndarray
    pull: float | np.ndarray


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


def rates(kind: type, lr: float, l2: float, momentum: float = 0.0) -> Rates:
    """Return the factors of a step of a kind of optimizer (`Plain`, `Momentum` or `Nesterov`).

    W = decay W and v = pull W satisfy the equations of a step without gradient if delta = 1 - decay
    is a root of delta^2 - linear delta + c = 0, with c = 2 lr l2 and linear = 1 - momentum + c, or
    1 - momentum + c (1 + momentum) for Nesterov. It is the smaller root, written so that nothing
    cancels. There is none where the discriminant is negative.
    """
    c = 2 * lr * l2
    if kind is Plain:
        return Rates(lr, 1 - c, 0.0, 0.0, -lr, 0.0, 0.0, 0.0)
    ahead = 1 + momentum if kind is Nesterov else 1.0
    linear = 1 - momentum + c * ahead
    discriminant = linear * linear - 4 * c
    if not discriminant > 0:
        decay, penalty, pull = 1.0, 2 * l2, 0.0
    else:
        delta = 2 * c / (linear + math.sqrt(discriminant))
        decay, penalty, pull = 1 - delta, 0.0, 2 * l2 / (1 - momentum - delta)
    gain = 1 + pull * lr * ahead
    if kind is Momentum:
        return Rates(lr, decay, penalty, momentum * gain, gain, 0.0, lr / gain, pull)
    keep = momentum * (1 + pull * lr * momentum)
    back = lr * momentum / gain
    return Rates(lr, decay, penalty, keep, gain, back, lr * ahead / gain, pull)


@inline_kernel
def rates_of_entry(rates, e):
    """Return the rates of one entry of many; `rates` has arrays over all of them."""
    return Rates(
        rates.lr[e],
        rates.decay[e],
        rates.penalty[e],
        rates.keep[e],
        rates.gain[e],
        rates.back[e],
        rates.rate[e],
        rates.pull[e],
    )


@inline_kernel
def scale_after(scale, decay):
    """Return the scale of W after a step, and what the weights are multiplied by in it."""
    after = scale * decay
    if SMALLEST_SCALE <= abs(after) <= LARGEST_SCALE:
        return after, 1.0
    return 1.0, after


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


@pasted_kernel
def _gain_of_weights(optimizer, rates, scale):
    """Return what a gradient is multiplied by when it is added to the accumulator."""
    return rates.gain / scale_after(scale, rates.decay)[0]


@pasted_kernel
def _gain_of_velocity(optimizer, rates, scale):
    """Return what a gradient is multiplied by when it is added to the accumulator."""
    return rates.gain


@inline_kernel
def _rescale(optimizer, packed, rates, scale, first, last):
    """Ready elements first to last for the update: they take the scale, where it is too small."""
    _, factor = scale_after(scale, rates.decay)
    if factor != 1:
        shrinkage = simd.splat(packed.dtype.type(factor), packed)
        for j in range(first, last, simd.lanes(packed)):
            w = simd.load_run(packed, j, (0,))[0]
            simd.store_run(packed, j, (w * shrinkage,))


@inline_kernel
def _before_momentum(optimizer, packed, rates, scale, first, last):
    """Ready elements first to last for the update: u = keep u + penalty W."""
    keep = simd.splat(packed.dtype.type(rates.keep), packed)
    penalty = simd.splat(packed.dtype.type(rates.penalty * scale), packed)
    for j in range(first, last, simd.lanes(packed)):
        w = simd.load_run(packed, j, (0,))[0]
        u = simd.load_run(optimizer.velocity_W, j, (0,))[0]
        simd.store_run(optimizer.velocity_W, j, simd.outer_fma((penalty * w,), (keep,), (u,)))
    _rescale(optimizer, packed, rates, scale, first, last)


@inline_kernel
def _before_nesterov(optimizer, packed, rates, scale, first, last):
    """Ready elements first to last for the update: as for momentum, and W = W + back u_before."""
    after, factor = scale_after(scale, rates.decay)
    keep = simd.splat(packed.dtype.type(rates.keep), packed)
    penalty = simd.splat(packed.dtype.type(rates.penalty * scale), packed)
    back = simd.splat(packed.dtype.type(rates.back / after), packed)
    shrinkage = simd.splat(packed.dtype.type(factor), packed)
    for j in range(first, last, simd.lanes(packed)):
        w = simd.load_run(packed, j, (0,))[0]
        u = simd.load_run(optimizer.velocity_W, j, (0,))[0]
        simd.store_run(optimizer.velocity_W, j, simd.outer_fma((penalty * w,), (keep,), (u,)))
        simd.store_run(packed, j, simd.outer_fma((shrinkage * w,), (back,), (u,)))


@inline_kernel
def _nothing_after(optimizer, packed, rates, scale, first, last):
    """Finish elements first to last after the update."""


@inline_kernel
def _take_velocity(optimizer, packed, rates, scale, first, last):
    """Finish elements first to last after the update: W = W - rate u."""
    after, _ = scale_after(scale, rates.decay)
    rate = simd.splat(packed.dtype.type(rates.rate / after), packed)
    for j in range(first, last, simd.lanes(packed)):
        w = simd.load_run(packed, j, (0,))[0]
        u = simd.load_run(optimizer.velocity_W, j, (0,))[0]
        simd.store_run(packed, j, (w - rate * u,))


@inline_kernel
def _plain_bias(optimizer, b, gradient, rates):
    """Take the step of b (K,), given its gradient."""
    rate = b.dtype.type(rates.lr)
    for k in range(b.size):
        b[k] -= rate * b.dtype.type(gradient[k])


@inline_kernel
def _momentum_bias(optimizer, b, gradient, rates):
    """Take the step of b (K,), given its gradient."""
    rate, keep, v = b.dtype.type(rates.lr), b.dtype.type(optimizer.momentum), optimizer.velocity_b
    for k in range(b.size):
        v[k] = keep * v[k] + b.dtype.type(gradient[k])
        b[k] -= rate * v[k]


@inline_kernel
def _nesterov_bias(optimizer, b, gradient, rates):
    """Take the step of b (K,), given its gradient."""
    rate, keep, v = b.dtype.type(rates.lr), b.dtype.type(optimizer.momentum), optimizer.velocity_b
    for k in range(b.size):
        v[k] = keep * v[k] + b.dtype.type(gradient[k])
        b[k] -= rate * (b.dtype.type(gradient[k]) + keep * v[k])


optimizer_of_entry = by_type(
    {Plain: _plain_of_entry, Momentum: _momentum_of_entry, Nesterov: _nesterov_of_entry}
)
gradient_factor = by_type(
    {Plain: _gain_of_weights, Momentum: _gain_of_velocity, Nesterov: _gain_of_velocity}
)
prepare = by_type({Plain: _rescale, Momentum: _before_momentum, Nesterov: _before_nesterov})
finish = by_type({Plain: _nothing_after, Momentum: _take_velocity, Nesterov: _take_velocity})
step_bias = by_type({Plain: _plain_bias, Momentum: _momentum_bias, Nesterov: _nesterov_bias})
