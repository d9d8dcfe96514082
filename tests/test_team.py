"""Threads that share phases: everything is done once and in order, whoever comes late."""

import numba
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.testing import assert_array_equal

from fastlin import engine, threads
from fastlin.config import Loss
from fastlin.engine import EntryEpoch
from fastlin.functional import use_threads
from fastlin.kernels import jit, team


@numba.njit(**jit.FLAGS)
def go_through(member, counters, pieces, phases, delays, times_done, early, sums):
    """Every piece of a phase adds up the results of all pieces of the one before.

    delays (phases + 1, pieces): how long a piece takes; the last row is how late a member comes.
    """
    spend(delays[phases, member])
    for phase in range(phases):
        team.wait_for(counters, phase)
        piece = team.next_piece(counters, phase, member, pieces)
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
            piece = team.next_piece(counters, phase, member, pieces)
    team.wait_for(counters, phases)


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


def check(phases, delays, members):
    pieces = delays.shape[1]
    times_done, early = (np.zeros((phases, pieces), np.int64) for _ in range(2))
    sums = np.zeros((phases, pieces), np.int64)
    threads.run(go_through, members or pieces, pieces, phases, delays, times_done, early, sums)
    assert_array_equal(times_done, np.ones_like(times_done))
    assert not early.any()
    assert_array_equal(sums, sums_of(phases, pieces))


MEMBERS = [1, 2, None]  # fewer than pieces, and as many


@pytest.mark.parametrize("members", MEMBERS)
@settings(max_examples=40)
@given(
    phases=st.integers(1, 12), pieces=st.integers(1, 5), seed=st.integers(0, 99),
    longest=st.sampled_from([1, 30, 1000]),
)  # fmt: skip
def test_every_piece_is_done_once_after_all_of_the_phase_before(
    members, phases, pieces, seed, longest
):
    delays = np.random.default_rng(seed).integers(0, longest, (phases + 1, max(pieces, 2)))
    check(phases, delays, members)


@pytest.mark.parametrize("members", MEMBERS)
@pytest.mark.parametrize("late", [0, 1, 2])
def test_a_member_that_comes_when_all_is_done_delays_no_other(members, late):
    delays = np.zeros((7, 3), np.int64)
    delays[6, late] = 1_000_000
    check(6, delays, members)


@pytest.mark.parametrize("members", MEMBERS)
def test_many_short_phases(members):
    check(3_000, np.zeros((3_001, 2), np.int64), members)


def trained(random_problem, row_dtype, weight_dtype, momentum, pieces, K=5, n=103, batch_size=20):
    X, y, W, b = random_problem(n, 150, K, row_dtype, weight_dtype)
    velocity = (np.zeros_like(W)[None], np.zeros_like(b)[None]) if momentum else None
    W, b = W[None], b[None]
    losses = [
        engine.unchecked_sgd_epochs(
            X, y, W, b, [EntryEpoch(0, order, 0.1, 0.01, batch_size, momentum)], loss=Loss.SOFTMAX,
            velocity=velocity, pieces=pieces,
        )
        for order in (np.arange(n), np.random.default_rng(0).permutation(n))
    ]  # fmt: skip
    return W, b, *losses, *(velocity or ())


@pytest.mark.parametrize(
    ("row_dtype", "weight_dtype", "momentum"),
    [(np.uint8, np.float32, 0.0), (np.float64, np.float64, 0.9)],
)
@pytest.mark.parametrize("count", [1, 2])
def test_an_epoch_has_the_same_bits_for_any_number_of_pieces_and_threads(
    random_problem, row_dtype, weight_dtype, momentum, count
):
    expected = trained(random_problem, row_dtype, weight_dtype, momentum, 1)
    with use_threads(count):
        for pieces in (2, 3, 40):
            actual = trained(random_problem, row_dtype, weight_dtype, momentum, pieces)
            for one, other in zip(actual, expected, strict=True):
                assert_array_equal(one, other)


@pytest.mark.parametrize("batch_size", [128, 200, 300])
def test_an_epoch_of_many_classes_has_the_same_bits_wherever_pieces_divide_blocks_of_rows(
    random_problem, batch_size
):
    problem = {"K": 49, "n": 430, "batch_size": batch_size}
    expected = trained(random_problem, np.uint8, np.float32, 0.0, 1, **problem)
    with use_threads(2):
        for pieces in (2, 3, 40):
            actual = trained(random_problem, np.uint8, np.float32, 0.0, pieces, **problem)
            for one, other in zip(actual, expected, strict=True):
                assert_array_equal(one, other)
