"""Threads that share phases: everything is done once and in order, whoever comes late."""

import numba
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numba import prange
from numpy.testing import assert_array_equal

from fastlin import functional
from fastlin.config import Loss
from fastlin.functional import EntryEpoch, use_threads
from fastlin.kernels import jit, team


@numba.njit(parallel=jit.PRANGE_ONLY, **jit.FLAGS)
def go_through(phases, pieces, delays, times_done, early, sums):
    """Every piece of a phase adds up the results of all pieces of the one before.

    delays (phases + 1, pieces): how long a piece takes; the last row is how late a member comes.
    """
    counters = team.new_team(pieces)
    for member in prange(pieces):
        spend(delays[phases, member])
        for phase in range(phases):
            team.wait_for(counters, phase)
            piece = team.next_piece(counters, phase, np.int64(member), pieces)
            while piece >= 0:
                if phase > 0:
                    for other in range(pieces):
                        early[phase, piece] += times_done[phase - 1, other] != 1
                        sums[phase, piece] += sums[phase - 1, other]
                spend(delays[phase, piece])
                sums[phase, piece] += phase * pieces + piece
                times_done[phase, piece] += 1
                if team.is_last(counters, phase, pieces):
                    sums[phase, 0] += 1
                    team.open_phase(counters, phase + 1)
                piece = team.next_piece(counters, phase, np.int64(member), pieces)


@numba.njit
def spend(looks):
    for _ in range(looks):
        team.pause()


def sums_of(phases, pieces):
    sums = np.zeros((phases, pieces), np.int64)
    for phase in range(phases):
        sums[phase] = phase * pieces + np.arange(pieces)
        if phase > 0:
            sums[phase] += sums[phase - 1].sum()
        sums[phase, 0] += 1
    return sums


def check(phases, delays, threads):
    pieces = delays.shape[1]
    times_done, early = (np.zeros((phases, pieces), np.int64) for _ in range(2))
    sums = np.zeros((phases, pieces), np.int64)
    with use_threads(threads):
        go_through(phases, pieces, delays, times_done, early, sums)
    assert_array_equal(times_done, np.ones_like(times_done))
    assert not early.any()
    assert_array_equal(sums, sums_of(phases, pieces))


THREADS = [1, None]  # one, and all there are


@pytest.mark.parametrize("threads", THREADS)
@settings(deadline=None, max_examples=40)
@given(
    phases=st.integers(1, 12), pieces=st.integers(1, 5), seed=st.integers(0, 99),
    longest=st.sampled_from([1, 30, 1000]),
)  # fmt: skip
def test_every_piece_is_done_once_after_all_of_the_phase_before(
    threads, phases, pieces, seed, longest
):
    delays = np.random.default_rng(seed).integers(0, longest, (phases + 1, pieces))
    check(phases, delays, threads)


@pytest.mark.parametrize("threads", THREADS)
@pytest.mark.parametrize("late", [0, 1, 2])
def test_a_member_that_comes_when_all_is_done_keeps_nobody_waiting(threads, late):
    delays = np.zeros((7, 3), np.int64)
    delays[6, late] = 1_000_000
    check(6, delays, threads)


@pytest.mark.parametrize("threads", THREADS)
def test_many_short_phases(threads):
    check(3_000, np.zeros((3_001, 2), np.int64), threads)


def trained(random_problem, row_dtype, weight_dtype, momentum, pieces):
    X, y, W, b = random_problem(103, 150, 5, row_dtype, weight_dtype)
    velocity = (np.zeros_like(W)[None], np.zeros_like(b)[None]) if momentum else None
    W, b = W[None], b[None]
    losses = [
        functional.unchecked_sgd_epochs(
            X, y, W, b, [EntryEpoch(0, order, 0.1, 0.01, 20, momentum)], loss=Loss.SOFTMAX,
            velocity=velocity, pieces=pieces,
        )
        for order in (np.arange(103), np.random.default_rng(0).permutation(103))
    ]  # fmt: skip
    return W, b, *losses, *(velocity or ())


@pytest.mark.parametrize(
    ("row_dtype", "weight_dtype", "momentum"),
    [(np.uint8, np.float32, 0.0), (np.float64, np.float64, 0.9)],
)
@pytest.mark.parametrize("threads", THREADS)
def test_an_epoch_has_the_same_bits_for_any_number_of_pieces_and_threads(
    random_problem, row_dtype, weight_dtype, momentum, threads
):
    expected = trained(random_problem, row_dtype, weight_dtype, momentum, 1)
    with use_threads(threads):
        for pieces in (2, 3, 40):
            actual = trained(random_problem, row_dtype, weight_dtype, momentum, pieces)
            for one, other in zip(actual, expected, strict=True):
                assert_array_equal(one, other)
