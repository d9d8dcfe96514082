"""Threads that go through many short phases together: who takes which piece, and who waits.

Starting threads anew for every phase costs microseconds, and far more where a thread has gone to
sleep meanwhile: some systems then wake it on the very core that waits for it, and leave it there.
So threads start once, as members of a team, and meet at every phase.

A phase consists of pieces, and opens when all pieces of the one before are finished. A member
takes its own piece, then those that nobody has begun: one who comes late, or never, keeps nobody
waiting, and one member alone gets through. What is computed must not depend on who does a piece.
"""

from __future__ import annotations

import ctypes
import os

import numpy as np
from llvmlite import binding, ir
from numba import types

from fastlin.kernels import simd
from fastlin.kernels.jit import inline_kernel, pasted_kernel

# A team is an array of counters, each in a cache line of its own: the phase that is open, how many
# pieces were finished in all phases, and for each piece the phase that it was not yet begun in.
_LINE = simd.CACHE_LINE // 8
_OPEN, _FINISHED, _PIECES = 0, _LINE, 2 * _LINE

# Looks at the counter, some 20 to 60 ns each, before a member offers its core to other threads:
# the one it waits for may need it, where there are more threads than cores.
_LOOKS = 500

_INT64, _INT32 = ir.IntType(64), ir.IntType(32)
_YIELD = "fastlin_yield"
_yield = ctypes.windll.kernel32.SwitchToThread if os.name == "nt" else ctypes.CDLL(None).sched_yield
binding.add_symbol(_YIELD, ctypes.cast(_yield, ctypes.c_void_p).value)


@simd.vector_op(lambda counters, i: int(counters[i]))
def read(typingctx, counters, i):
    """Return counters[i], and see all that was written before it was."""

    def emit(context, builder, signature, arguments):
        pointer = simd.flat_pointer(context, builder, signature.args[0], *arguments[:2])
        return builder.load_atomic(pointer, "acquire", 8, typ=_INT64)

    return types.int64(counters, types.int64), emit


def _write(counters, i, value):
    counters[i] = value


@simd.vector_op(_write)
def write(typingctx, counters, i, value):
    """Write counters[i], after all that was written before."""

    def emit(context, builder, signature, arguments):
        pointer = simd.flat_pointer(context, builder, signature.args[0], *arguments[:2])
        builder.store_atomic(arguments[2], pointer, "release", 8)
        return context.get_dummy_value()

    return types.void(counters, types.int64, types.int64), emit


def _add(counters, i, value):
    counters[i] += value
    return int(counters[i])


@simd.vector_op(_add)
def add(typingctx, counters, i, value):
    """Add to counters[i] at once, whoever else does, and return the sum."""

    def emit(context, builder, signature, arguments):
        pointer = simd.flat_pointer(context, builder, signature.args[0], *arguments[:2])
        before = builder.atomic_rmw("add", pointer, arguments[2], "acq_rel")
        return builder.add(before, arguments[2])

    return types.int64(counters, types.int64, types.int64), emit


def _replace(counters, i, old, new):
    if counters[i] != old:
        return False
    counters[i] = new
    return True


@simd.vector_op(_replace)
def replace(typingctx, counters, i, old, new):
    """Write `new` to counters[i] if it is `old`, and return whether: true for one thread only."""

    def emit(context, builder, signature, arguments):
        pointer = simd.flat_pointer(context, builder, signature.args[0], *arguments[:2])
        result = builder.cmpxchg(pointer, arguments[2], arguments[3], "acq_rel", "acquire")
        return builder.extract_value(result, 1)

    return types.boolean(counters, types.int64, types.int64, types.int64), emit


@simd.vector_op(lambda: None)
def pause(typingctx):
    """Wait a moment, as a loop that looks at a counter should."""

    def emit(context, builder, signature, arguments):
        if simd.IS_X86:
            simd.call(builder, "llvm.x86.sse2.pause", ir.VoidType(), [])
        elif binding.get_process_triple().startswith(("aarch64", "arm64")):
            simd.call(builder, "llvm.aarch64.hint", ir.VoidType(), [_INT32(1)])
        return context.get_dummy_value()

    return types.void(), emit


@simd.vector_op(lambda: None)
def offer_core(typingctx):
    """Let another thread run on this core, if one wants to."""

    def emit(context, builder, signature, arguments):
        simd.call(builder, _YIELD, _INT32, [])
        return context.get_dummy_value()

    return types.void(), emit


@inline_kernel
def new_team(pieces):
    """Return the counters of a team that is about to do phase 0, in `pieces` pieces a phase."""
    return np.zeros(_PIECES + pieces * _LINE, np.int64)


@inline_kernel
def wait_for(team, phase):
    """Return when a phase is open."""
    looks = 0
    while read(team, _OPEN) < phase:
        looks += 1
        if looks < _LOOKS:
            pause()
        else:
            offer_core()


@inline_kernel
def next_piece(team, phase, member, pieces):
    """Return what is left to this member of an open phase: a piece, its own first, or -1."""
    for turn in range(pieces):
        piece = (member + turn) % pieces
        place = _PIECES + piece * _LINE
        if read(team, place) == phase and replace(team, place, phase, phase + 1):
            return piece
    return np.int64(-1)


@pasted_kernel
def is_last(team, phase, pieces):
    """Tell that a piece is finished; return whether it was the last, so that a phase may open."""
    return add(team, _FINISHED, 1) == (phase + 1) * pieces


@pasted_kernel
def open_phase(team, phase):
    """Let members begin a phase: for the one who finished the last piece of the one before."""
    write(team, _OPEN, phase)


@pasted_kernel
def is_open(team, phase):
    """Return whether a phase was opened: all pieces of those before it are finished."""
    return read(team, _OPEN) >= phase
