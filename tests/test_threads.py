"""Threads of our own: as many as a container grants, asleep when idle, and good company."""

import os
import signal
import subprocess
import sys
import threading
import time
from pathlib import Path

import numba
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from numpy.testing import assert_array_equal

from fastlin import engine, functional, threads
from fastlin.config import Loss
from fastlin.errors import InputError
from fastlin.kernels import jit, team
from fastlin.threads import count_within, cpu_quota, default_count, use_threads

ROOT = Path(__file__).parent.parent
compiled_only = pytest.mark.skipif(
    bool(numba.config.DISABLE_JIT), reason="without the compiler one member does all"
)


# --- how many -----------------------------------------------------------------------------------


def control_groups(tmp_path, lines, files):
    process, cgroups = tmp_path / "proc", tmp_path / "cgroup"
    process.mkdir()
    cgroups.mkdir()
    (process / "cgroup").write_text("\n".join(lines) + "\n")
    for name, content in files.items():
        path = cgroups / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(content)
    return cgroups, process


@pytest.mark.parametrize(
    ("lines", "files", "quota"),
    [
        (["0::/"], {"cpu.max": "50000 100000\n"}, 0.5),
        (["0::/"], {"cpu.max": "max 100000\n"}, None),
        (["0::/a/b"], {"a/cpu.max": "150000 100000", "a/b/cpu.max": "max 100000"}, 1.5),
        (["0::/a/b"], {"cpu.max": "300000 100000", "a/b/cpu.max": "200000 100000"}, 2.0),
        (["0::/not/in/here"], {"cpu.max": "100000 100000"}, 1.0),
        (["4:cpu,cpuacct:/d", "0::/"],
         {"cpu,cpuacct/d/cpu.cfs_quota_us": "25000", "cpu,cpuacct/d/cpu.cfs_period_us": "50000"},
         0.5),
        (["4:cpuacct,cpu:/d"],
         {"cpu/cpu.cfs_quota_us": "70000", "cpu/cpu.cfs_period_us": "100000"}, 0.7),
        (["4:cpu:/"], {"cpu/cpu.cfs_quota_us": "-1", "cpu/cpu.cfs_period_us": "100000"}, None),
        (["3:memory:/d"], {"memory/d/cpu.max": "1 100000"}, None),
        (["0::/"], {"cpu.max": "garbage"}, None),
        (["0::/"], {"cpu.max": ""}, None),
        (["nonsense"], {"cpu.max": "1000 100000"}, None),
    ],
)  # fmt: skip
def test_the_quota_of_a_container_is_read(tmp_path, lines, files, quota):
    cgroups, process = control_groups(tmp_path, lines, files)
    assert cpu_quota(cgroups, process) == quota


@pytest.mark.parametrize(("quota", "count"), [(50_000, 1), (100_000, 1), (100_001, 2)])
def test_threads_are_no_more_than_the_quota(tmp_path, quota, count, monkeypatch):
    monkeypatch.setattr(threads, "available", lambda: 8)
    monkeypatch.setattr(os, "sched_getaffinity", lambda _: range(8), raising=False)
    cgroups, process = control_groups(tmp_path, ["0::/"], {"cpu.max": f"{quota} 100000"})
    assert count_within(cpu_quota(cgroups, process)) == count
    assert count_within(cpu_quota(tmp_path / "none", tmp_path / "none")) == 8
    monkeypatch.setattr(os, "sched_getaffinity", lambda _: range(3))
    assert count_within(cpu_quota(tmp_path / "none", tmp_path / "none")) == 3


def test_threads_are_for_enough_work(monkeypatch):
    monkeypatch.setattr(threads, "LEAST_WORK_OF_A_THREAD", 1000)
    with use_threads(2):
        assert [threads.count_for(work) for work in (0, 999, 1999, 2000, 10**9)] == [1, 1, 1, 2, 2]


# --- a team -------------------------------------------------------------------------------------


@numba.njit(**jit.FLAGS)
def count_pieces(member, counters, pieces, done, members):
    phase = np.int64(0)
    piece = team.next_piece(counters, phase, member, pieces)
    while piece >= 0:
        done[piece] += 1
        members[piece] = member
        team.sleep(200)
        team.finish_piece(counters, phase, pieces)
        piece = team.next_piece(counters, phase, member, pieces)
    team.wait_for(counters, phase + 1)


@compiled_only
def test_every_member_takes_part_and_every_piece_is_done_once():
    done, members = np.zeros(64, np.int64), np.full(64, -1)
    threads.run(count_pieces, 3, 64, done, members)
    assert_array_equal(done, 1)
    assert len(set(members.tolist())) > 1


@pytest.mark.parametrize("failing", [0, 1])
@compiled_only
def test_what_a_member_raises_reaches_the_caller_and_nobody_waits_for_it(failing):
    begun = threading.Event()

    def kernel(member, counters, pieces, done, members):
        if member == failing:
            begun.set()
            team.new_team(pieces)
            raise MemoryError(f"member {member}")
        begun.wait(10)
        count_pieces(member, counters, pieces, done, members)

    # The failing member has begun a piece, and never finishes it.
    with pytest.raises(MemoryError, match=f"member {failing}"):
        threads.run(_taking_piece_0(kernel, failing), 2, 4, np.zeros(4, np.int64), np.zeros(4))


def _taking_piece_0(kernel, failing):
    def taking(member, counters, pieces, *arguments):
        if member == failing:
            counters[team._PIECES] = 1  # begun by nobody else
        kernel(member, counters, pieces, *arguments)

    return taking


# --- chains of steps ----------------------------------------------------------------------------


class Chains:
    """Steps that count themselves, and notice if two of them are where only one may be."""

    def __init__(self, lengths):
        self.lengths, self.steps = lengths, [[] for _ in lengths]
        self.at_work, self.members = [], set()

    def step(self, chain, member):
        taken = (("chain", chain), ("member", member))
        assert not set(taken) & set(self.at_work)
        self.at_work.extend(taken)
        self.members.add(member)
        self.body(chain, member)
        self.steps[chain].append(member)
        for one in taken:
            self.at_work.remove(one)
        return self.lengths[chain] - len(self.steps[chain])

    def body(self, chain, member):
        time.sleep(0.0005)

    def run(self, members):
        threads.run_chains(self.step, self.lengths, members)


@given(st.lists(st.integers(1, 6), min_size=1, max_size=7), st.integers(1, 4))
def test_every_step_of_every_chain_is_done_once_and_in_order(lengths, members):
    chains = Chains(lengths)
    chains.run(members)
    assert [len(steps) for steps in chains.steps] == lengths
    assert not chains.at_work
    assert chains.members <= set(range(members))


@compiled_only
def test_a_fast_thread_does_more_steps_and_waits_for_one_at_most():
    chains = Chains([10, 10, 10])
    chains.body = lambda _, member: time.sleep(0.1 if member == 0 else 0.01)
    chains.run(2)
    of_slow = sum(steps.count(0) for steps in chains.steps)
    assert 1 <= of_slow <= 10  # in halves it would do 15


@pytest.mark.parametrize("error", [KeyboardInterrupt, MemoryError])
@pytest.mark.parametrize("failing", [0, 1])
@compiled_only
def test_after_an_error_no_step_is_at_work(failing, error):
    both, chains = threading.Barrier(2), Chains([50, 50, 50])

    def body(chain, member):
        if not chains.steps[chain] and chain < 2:
            both.wait(10)
            if member == failing:
                chains.at_work.remove(("chain", chain))
                chains.at_work.remove(("member", member))
                raise error
        time.sleep(0.05)

    chains.body = body
    with pytest.raises(error):
        chains.run(2)
    assert not chains.at_work
    done = [len(steps) for steps in chains.steps]
    time.sleep(0.2)
    assert [len(steps) for steps in chains.steps] == done
    assert sum(done) < 10


@compiled_only
@pytest.mark.skipif(os.name != "posix", reason="raises signals")
def test_a_second_interrupt_does_not_leave_a_step_at_work():
    chains, main = Chains([3, 3]), threading.get_ident()
    before = signal.signal(signal.SIGINT, signal.default_int_handler)
    began = threading.Event()

    def body(chain, member):
        if member == 1:
            began.set()
            time.sleep(0.1)
            signal.pthread_kill(main, signal.SIGINT)  # while the calling thread waits for this one
            time.sleep(0.2)
        elif began.wait(10):
            raise KeyboardInterrupt

    chains.body = body
    try:
        with pytest.raises(KeyboardInterrupt):
            chains.run(2)
        assert not [one for one in chains.at_work if one[1] == 1 and one[0] == "member"]
    finally:
        signal.signal(signal.SIGINT, before)


def problem(seed=0):
    rng = np.random.default_rng(seed)
    X = rng.integers(0, 256, (400, 200), dtype=np.uint8)
    return X, rng.integers(0, 5, 400), rng.normal(size=(5, 200)).astype(np.float32)


def trained(count=2):
    """Weights after an epoch whose steps two threads share."""
    X, y, W = problem()
    b = np.zeros(5, np.float32)
    with use_threads(count):
        pieces = engine.pieces_of_step(400, 5, 200)
        assert pieces == count
        functional.sgd_epoch(X, y, np.arange(400), W, b, lr=0.1, batch_size=400, l2=0.01)
        functional.loss_and_gradient(X, y, W, b)
    return W


two_threads = pytest.mark.skipif(threads.available() < 2, reason="needs two threads")


@pytest.fixture
def expected(monkeypatch):
    monkeypatch.setattr(engine, "LEAST_WORK_OF_A_PIECE", 1)
    return trained(1)


@two_threads
def test_python_threads_may_call_at_once(expected):
    results = []
    callers = [threading.Thread(target=lambda: results.append(trained())) for _ in range(4)]
    for caller in callers:
        caller.start()
    for caller in callers:
        caller.join(120)
    assert len(results) == 4
    for W in results:
        assert_array_equal(W, expected)


@two_threads
def test_a_thread_count_belongs_to_the_thread_that_set_it(expected):
    counts = []
    with use_threads(1):
        other = threading.Thread(target=lambda: counts.append(threads.current_count()))
        other.start()
        other.join(60)
        assert threads.current_count() == 1
    assert counts == [default_count()]


@two_threads
@pytest.mark.skipif(not hasattr(os, "fork"), reason="the system does not fork")
@pytest.mark.filterwarnings("ignore:.*fork.*:DeprecationWarning")
def test_a_child_of_a_fork_has_threads_of_its_own(expected):
    assert_array_equal(trained(), expected)
    read, write = os.pipe()
    child = os.fork()
    if child == 0:
        try:
            os.write(write, b"y" if (trained() == expected).all() else b"n")
        finally:
            os._exit(0)
    os.close(write)
    for _ in range(600):
        if os.waitpid(child, os.WNOHANG)[0]:
            break
        time.sleep(0.1)
    else:
        os.kill(child, signal.SIGKILL)
        os.waitpid(child, 0)
        pytest.fail("the child hangs")
    assert os.read(read, 1) == b"y"
    os.close(read)


IDLE = """
import os, time
from tests.test_threads import trained
import fastlin.engine as engine
engine.LEAST_WORK_OF_A_PIECE = 1
trained(); trained()
before = time.process_time()
time.sleep(0.5)
print(time.process_time() - before)
"""


@two_threads
def test_idle_threads_sleep():
    result = subprocess.run(
        [sys.executable, "-c", IDLE], cwd=ROOT, capture_output=True, text=True, timeout=300,
        check=True,
    )  # fmt: skip
    assert float(result.stdout) < 0.05


@pytest.mark.parametrize("count", [0, 10_000])
def test_impossible_numbers_of_threads_are_refused(count):
    message = f"threads is {count}; this process can use 1 to"
    with pytest.raises(InputError, match=message), use_threads(count):
        pass


def all_that_kernels_compute():
    X, y, W = problem()
    b, order = np.zeros(5, np.float32), np.arange(400)
    for momentum in (0.0, 0.9):
        velocity = (np.zeros_like(W), np.zeros_like(b)) if momentum else None
        functional.sgd_epoch(
            X, y, order, W, b, lr=0.1, batch_size=30, l2=0.1, momentum=momentum, velocity=velocity
        )
    all_W, all_b = np.stack([W, W, W]), np.stack([b, b, b])
    sizes = (30, 30, 47)
    epochs = [engine.EntryEpoch(e, order, 0.1, 0.0, sizes[e], 0.0) for e in range(3)]
    losses = engine.unchecked_sgd_epochs(X, y, all_W, all_b, epochs, loss=Loss.SOFTMAX)
    found = [
        W, b, all_W, all_b, losses, *functional.loss_and_gradient(X, y, W, b),
        functional.evaluate(X, y, W, b).losses, functional.scores(X, W, b),
        *functional.feature_moments(X),
    ]  # fmt: skip
    return [np.asarray(value).tobytes() for value in found]


@pytest.mark.parametrize("most", [1, 1_000_000])
def test_calls_cut_short_to_heed_signals_change_no_bit(most, monkeypatch):
    expected = all_that_kernels_compute()
    monkeypatch.setattr(threads, "MOST_WORK_OF_A_CALL", most)
    assert all_that_kernels_compute() == expected
