"""Threads that go through many short phases together: who takes which piece, and who waits.

Threads start once, as members of a team (see `fastlin.threads`), and meet at every phase: starting
them anew would cost more than a phase takes.

A phase consists of pieces, and opens when all pieces of the one before are finished. A member
takes its own piece, then those that no other has begun: one that comes late, or never, delays no
other, and one member alone gets through. What is computed must not depend on who does a piece.

A member that waits looks at a counter for a moment, then offers its core to other threads, then
sleeps: on a machine that is busy, or has fewer cores than there are members, the one it waits for
needs the core.
"""

from __future__ import annotations

import ctypes
import os

import numpy as np
from llvmlite import binding, ir
from numba import types

from fastlin.kernels import simd
from fastlin.kernels.jit import inline_kernel, pasted_kernel
from fastlin.kernels.registers import IS_X86

# A team is an array of counters, each in a cache line of its own: the phase that is open, how many
# pieces were finished in all phases, whether the team is stopped, and for each piece the phase that
# it was not yet begun in.
_LINE = simd.CACHE_LINE // 8
_OPEN, _FINISHED, _STOPPED, _PIECES = 0, _LINE, 2 * _LINE, 3 * _LINE

# Looks at the counter, some 20 to 60 ns each, before a member offers its core to other threads; how
# often it does so, some 300 ns each where none wants it, before it sleeps; and how long it sleeps
# at first and at most, in microseconds. With 20 offers instead of 1,000 an epoch of CIFAR-10 on two
# cores of a Zen 3 took 1.12 (uint8) and 1.13 (float32) times as long; eight threads on one core
# took 1.10 times as long as one thread with either.
_LOOKS, _OFFERS = 500, 1000
_SHORT_SLEEP, _LONG_SLEEP = 50, 1000

_INT64, _INT32 = ir.IntType(64), ir.IntType(32)
_YIELD, _SLEEP = "fastlin_yield", "fastlin_sleep"
_IS_WINDOWS = os.name == "nt"


def _add_symbol(name: str, of_windows: str, of_others: str) -> None:
    """Let compiled code call a function of the system by a name of our own."""
    library = ctypes.windll.kernel32 if _IS_WINDOWS else ctypes.CDLL(None)
    function = getattr(library, of_windows if _IS_WINDOWS else of_others)
    binding.add_symbol(name, ctypes.cast(function, ctypes.c_void_p).value)


_add_symbol(_YIELD, "SwitchToThread", "sched_yield")
_add_symbol(_SLEEP, "Sleep", "usleep")


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
        if IS_X86:
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


@simd.vector_op(lambda microseconds: None)
def sleep(typingctx, microseconds):
    """Sleep, at least for a moment."""

    def emit(context, builder, signature, arguments):
        duration = builder.trunc(arguments[0], _INT32)
        if _IS_WINDOWS:  # where it is in milliseconds
            duration = builder.add(builder.udiv(duration, _INT32(1000)), _INT32(1))
        simd.call(builder, _SLEEP, _INT32, [duration])
        return context.get_dummy_value()

    return types.void(types.int64), emit


def new_team(pieces: int) -> np.ndarray:
    """Return the counters of a team that is about to do phase 0, in `pieces` pieces a phase."""
    return np.zeros(_PIECES + pieces * _LINE, np.int64)


def stop(team: np.ndarray) -> None:
    """Let every member leave before its next piece, as one of them has failed."""
    team[_STOPPED] = 1


@inline_kernel
def wait_for(team, phase):
    """Return when a phase is open, or the team is stopped."""
    looks, duration = 0, np.int64(_SHORT_SLEEP)
    while read(team, _OPEN) < phase and read(team, _STOPPED) == 0:
        looks += 1
        if looks < _LOOKS:
            pause()
        elif looks < _LOOKS + _OFFERS:
            offer_core()
        else:
            sleep(duration)
            duration = min(2 * duration, _LONG_SLEEP)


@inline_kernel
def next_piece(team, phase, member, pieces):
    """Return what is left to this member of an open phase: a piece, its own first, or -1."""
    if read(team, _STOPPED) == 0:
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
def finish_piece(team, phase, pieces):
    """Tell that a piece is finished; the last one opens the next phase."""
    if is_last(team, phase, pieces):
        open_phase(team, phase + 1)
