import errno
import math
import os
import subprocess
import sys
from contextlib import closing

import numpy as np
import pytest
from interrupting import ZIP_WRITERS, interrupt_everywhere

from fastlin.errors import InputError
from fastlin.history import EpochRecord
from fastlin.search import events
from fastlin.search.journal import Journal, Weights, read_journal
from fastlin.search.ranking import Rung

HEADER = {"format": 1, "data": "abc", "grid": [{"lr": 0.1}]}
EVENTS = [{"entry": 0, "epochs": [[1, 0.1, 1 / 3]]}, {"entry": 1, "diverged": 2}, {"rung": 4}]


@pytest.fixture
def path(tmp_path):
    path = tmp_path / "journal.jsonl"
    with closing(Journal.begin(path, HEADER)) as book:
        book.append(EVENTS)
    return path


def resume(path, header=HEADER):
    """Open a journal again and close it: its lock is gone, what was read is there."""
    book = Journal.resume(path, header)
    book.close()
    return book


def test_what_was_written_comes_back_exactly(path):
    assert resume(path).events == EVENTS
    assert read_journal(path) == (HEADER, EVENTS)
    with closing(Journal.resume(path, HEADER)) as resumed:
        resumed.append([{"more": True}])
        resumed.append([])
    assert resumed.notes == []
    assert resume(path).events == [*EVENTS, {"more": True}]


def test_a_journal_is_never_overwritten_but_begun_if_there_is_none(path, tmp_path):
    with pytest.raises(InputError, match="holds a search already"):
        Journal.begin(path, HEADER)
    assert resume(tmp_path / "other.jsonl").events == []


def test_a_last_line_cut_short_anywhere_is_dropped_with_a_note(path):
    whole = path.read_bytes()
    start = whole[:-1].rindex(b"\n") + 1
    for end in range(start, len(whole)):
        path.write_bytes(whole[:end])
        with closing(Journal.resume(path, HEADER)) as resumed:
            assert resumed.events == EVENTS[:-1]
            assert path.read_bytes() == whole[:start]
            assert len(resumed.notes) == (end > start)
            resumed.append(EVENTS[-1:])
        assert path.read_bytes() == whole


def test_a_last_line_of_garbage_is_dropped(path):
    whole = path.read_bytes()
    for garbage in (b"\x00" * 50, b"\n", b"00000000 \n", b"\xff\xfe\n", b"{}\n"):
        path.write_bytes(whole + garbage)
        assert resume(path).events == EVENTS
        assert path.read_bytes() == whole


def test_a_wrong_byte_anywhere_else_is_found_and_nothing_is_lost(path):
    whole = path.read_bytes()
    header_end = whole.index(b"\n") + 1
    last = whole[:-1].rindex(b"\n")  # without this line break, two lines are the last, and broken
    for place in range(last):
        for wrong in (whole[place] ^ 1, ord("\n")):
            if wrong == whole[place]:
                continue
            damaged = whole[:place] + bytes([wrong]) + whole[place + 1 :]
            path.write_bytes(damaged)
            with pytest.raises(InputError) as caught:
                resume(path)
            message = str(caught.value)
            assert "is damaged in" in message
            assert ("first line" in message) == (place < header_end)
            assert path.read_bytes() == damaged


def test_the_message_says_how_to_go_on_and_that_works(path):
    lines = path.read_bytes().splitlines(keepends=True)
    path.write_bytes(lines[0] + b"x" + b"".join(lines[1:]))
    with pytest.raises(InputError, match=r"line 2 of 4; .*sed -i '2d'"):
        resume(path)
    path.write_bytes(b"".join([lines[0], *lines[2:]]))
    assert resume(path).events == EVENTS[1:]


@pytest.mark.parametrize("name", HEADER)
def test_another_search_is_refused_in_one_line(path, name):
    with pytest.raises(InputError, match=f"the {name} is not what it was begun with") as caught:
        resume(path, {**HEADER, name: "other"})
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("at", ["write", "partial write", "fsync"])
def test_a_full_disk_is_one_line_and_leaves_what_was_there(path, monkeypatch, at):
    whole = path.read_bytes()
    right = os.write

    def full(descriptor, content=b""):
        if at == "partial write" and len(content) > 5:
            return right(descriptor, content[:5])
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    with closing(Journal.resume(path, HEADER)) as book:
        monkeypatch.setattr(os, "fsync" if at == "fsync" else "write", full)
        with pytest.raises(
            InputError, match=r"cannot write .*No space left on device; what was written before"
        ):
            book.append([{"more": True}])
        if at == "fsync":
            with pytest.raises(InputError, match=r"cannot write .*\.npz: No space left on device"):
                book.save_weights({0: Weights(1, {"W": np.zeros(3)})})
        monkeypatch.undo()
    assert path.read_bytes() == whole
    assert [file.name for file in path.parent.iterdir()] == [path.name]


def test_a_journal_that_cannot_be_begun_leaves_nothing(tmp_path, monkeypatch):
    path = tmp_path / "journal.jsonl"
    with pytest.raises(InputError, match=r"cannot write .*: No such file or directory"):
        Journal.begin(tmp_path / "none" / "journal.jsonl", HEADER)

    def full(_):
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    monkeypatch.setattr(os, "fsync", full)
    with pytest.raises(InputError, match=r"cannot write .*: No space left"):
        Journal.begin(path, HEADER)
    assert list(tmp_path.iterdir()) == []


def test_weights_come_back_exactly(path):
    rng = np.random.default_rng(0)
    saved = {
        index: Weights(index + 1, {"W": rng.random((2, 3)), "training.b": rng.random(2)})
        for index in (0, 12)
    }
    book = resume(path)
    assert book.load_weights() == {}
    book.save_weights(saved)
    found = resume(path).load_weights()
    assert {index: entry.epoch for index, entry in found.items()} == {0: 1, 12: 13}
    for index, entry in saved.items():
        for name, array in entry.arrays.items():
            assert found[index].arrays[name].tobytes() == array.tobytes()


def test_damaged_or_strange_weights_are_left_alone_with_a_note(path):
    book = resume(path)
    book.save_weights({0: Weights(1, {"W": np.arange(50.0)})})
    whole = book.weights_path.read_bytes()
    for content in (b"", whole[: len(whole) // 2], whole.replace(b"\x00\x40", b"\x01\x40"),
                    b"<html>", whole.replace(b"'<f8'", b"'|O8'")):  # fmt: skip
        book.weights_path.write_bytes(content)
        damaged = resume(path)
        assert damaged.load_weights() == {}
        assert len(damaged.notes) == 1
        assert damaged.notes[0].isprintable()
    book.weights_path.write_bytes(whole)
    other = Journal(path, {**HEADER, "data": "other"}, os.open(path, os.O_RDWR))
    assert other.load_weights() == {}
    assert "of another search" in other.notes[0]
    other.close()


@pytest.mark.parametrize(
    ("arrays", "words"),
    [
        ({"epochs": np.zeros((1, 2), np.int64)}, "array epochs"),
        ({"epochs": np.array([[0, -1]])}, "array epochs"),
        ({"epochs": np.array([0, 1])}, "array epochs"),
        ({"epochs": np.array([["0", "1"]])}, "array epochs"),
        ({"header": np.array(["x"])}, "another search"),
        ({"0.W": np.array([1.0, np.nan])}, "0.W has values that are not finite"),
        ({"0.W": np.array([1.0, np.inf])}, "0.W has values that are not finite"),
        ({"0.W": np.array(["a"])}, "0.W has values that are not finite"),
    ],
)
def test_weights_that_no_search_writes_are_not_used(path, arrays, words):
    book = resume(path)
    book.save_weights({0: Weights(1, {"W": np.arange(5.0)})})
    with np.load(book.weights_path) as stored:
        content = dict(stored) | arrays
    np.savez(book.weights_path, **content)
    assert book.load_weights() == {}
    assert words in book.notes[0]


def test_a_flipped_bit_in_the_weights_is_found_out(path):
    book = resume(path)
    book.save_weights({0: Weights(1, {"W": np.arange(50.0)})})
    content = bytearray(book.weights_path.read_bytes())
    content[content.index(np.float64(7).tobytes())] ^= 1
    book.weights_path.write_bytes(content)
    assert book.load_weights() == {}
    assert "Bad CRC-32" in book.notes[0]


# --- other files, other processes ------------------------------------------------------------


@pytest.mark.parametrize("name", ["digits.jsonl", "digits.npz", "digits"])
def test_a_journal_never_touches_the_data_beside_it(tmp_path, name):
    data = tmp_path / ("digits.npz" if name != "digits.npz" else "other.npz")
    np.savez(data, X_train=np.eye(3))
    before = data.read_bytes()
    with closing(Journal.begin(tmp_path / name, HEADER)) as book:
        book.append(EVENTS)
        book.save_weights({0: Weights(1, {"W": np.arange(5.0)})})
    assert data.read_bytes() == before
    resumed = resume(tmp_path / name)
    assert resumed.events == EVENTS
    assert set(resumed.load_weights()) == {0}
    assert book.weights_path.name == f"{name}.weights.npz"


def test_a_file_that_is_no_journal_is_never_changed(tmp_path):
    path = tmp_path / "notes"
    for content in (b"x", b"hello\n", b"\x00" * 99):
        path.write_bytes(content)
        with pytest.raises(InputError, match="damaged in its first line"):
            resume(path)
        with pytest.raises(InputError, match="holds a search already"):
            Journal.begin(path, HEADER)
        assert path.read_bytes() == content


def test_a_journal_killed_before_its_first_line_was_whole_is_begun_again(path):
    whole = path.read_bytes()
    first = whole[: whole.index(b"\n")]
    for size in range(len(first) + 1):
        path.write_bytes(first[:size])
        book = resume(path)
        assert (book.events, book.notes) == ([], [])
        assert path.read_bytes() == first + b"\n"
    path.write_bytes(first[:-3])
    with pytest.raises(InputError, match="damaged in its first line"):
        resume(path, {**HEADER, "data": "other"})


@pytest.mark.skipif(sys.platform == "win32", reason="no file locks on Windows")
def test_a_journal_is_open_in_one_process_until_that_ends(path):
    code = (
        "import sys; from pathlib import Path; from fastlin.search.journal import Journal\n"
        f"book = Journal.resume(Path(sys.argv[1]), {HEADER!r})\n"
        "print('open', flush=True); sys.stdin.read()"
    )
    process = subprocess.Popen(
        [sys.executable, "-c", code, path], stdin=subprocess.PIPE, stdout=subprocess.PIPE
    )
    assert process.stdout.readline() == b"open\n"
    before = path.read_bytes()
    who = str(process.pid) if sys.platform == "linux" else "process"
    with pytest.raises(InputError, match=rf"is in use by .*{who}; wait for its end") as caught:
        resume(path)
    assert str(caught.value).isprintable()
    assert path.read_bytes() == before
    process.kill()
    process.communicate()
    assert resume(path).events == EVENTS


def test_a_journal_that_is_forgotten_is_closed(path):
    book = Journal.resume(path, HEADER)
    with pytest.raises(InputError, match="in use"):
        resume(path)
    del book
    assert resume(path).events == EVENTS


def test_an_interrupt_while_weights_are_written_stays_one(path):
    weights = {0: Weights(3, {"W": np.ones((2, 3))}), 1: Weights(2, {"W": np.zeros((2, 3))})}
    with closing(Journal.resume(path, HEADER)) as book:
        interrupt_everywhere(lambda: book.save_weights(weights), ZIP_WRITERS)
        assert {e: w.epoch for e, w in book.load_weights().items()} == {0: 3, 1: 2}


DECISION = Rung(4, (3, 1), (0, 2), ((0, 3),))
EPOCH = EpochRecord(2, 0.1, 1 / 3, 0.5, 2.0, 0.25)


@pytest.mark.parametrize(
    "event",
    [
        DECISION,
        events.DivergedEvent(3, 5),
        events.EpochsEvent(0, (EPOCH, EPOCH._replace(epoch=3))),
        events.EpochsEvent(1, (EPOCH._replace(train_cost=math.nan, train_accuracy=math.nan),)),
    ],
)
def test_events_come_back_from_a_journal_as_they_were(event, tmp_path):
    with closing(Journal.begin(tmp_path / "journal.jsonl", HEADER)) as book:
        book.append([events.to_json(event)])
    (content,) = resume(tmp_path / "journal.jsonl").events
    assert repr(events.of_json(content, 4 * [5])) == repr(event)


@pytest.mark.parametrize(
    "content",
    [
        {},
        {"entry": 4, "diverged": 1},
        {"entry": True, "diverged": 1},
        {"entry": 0, "diverged": 6},
        {"entry": 0, "diverged": 0},
        {"rung": 1, "kept": [0], "stopped": [9], "alike": []},
        {"rung": 1, "kept": [0], "stopped": [1], "alike": [[0]]},
        {"entry": 0, "epochs": [[1, 0.1, 1.0, 0.5, 2.0]]},
        {"entry": 0, "epochs": [[1, 0.1, 1.0, 0.5, 2.0, 0.5, 0.5]]},
        {"entry": 0, "epochs": [[1, None, 1.0, 0.5, 2.0, 0.5]]},
        {"entry": 0, "epochs": [[1, 0.1, None, 0.5, 2.0, 0.5]]},
        {"entry": 0, "epochs": [[1, 0.1, 1.0, 0.5, None, None]]},
        {"entry": 0, "epochs": [[1, 0.1, "1.0", 0.5, 2.0, 0.5]]},
        {"entry": 0, "epochs": [[1.0, 0.1, 1.0, 0.5, 2.0, 0.5]]},
        {"entry": 0, "epochs": [[1, 0.1, 1e999, 0.5, 2.0, 0.5]]},
        {"entry": 0, "epochs": [[1, 0.1, 10**400, 0.5, 2.0, 0.5]]},
        {"entry": 0, "epochs": 3},
    ],
)
def test_what_is_no_event_of_a_search_is_found_out(content):
    with pytest.raises((KeyError, TypeError, ValueError, OverflowError)):
        events.of_json(content, 4 * [5])


def test_epochs_are_the_same_as_far_as_both_were_evaluated():
    unseen = EPOCH._replace(train_cost=math.nan, train_accuracy=math.nan)
    assert events.same_epoch(EPOCH, EPOCH)
    assert events.same_epoch(EPOCH, unseen)
    assert events.same_epoch(unseen, unseen)
    assert not events.same_epoch(EPOCH, EPOCH._replace(train_cost=np.nextafter(1 / 3, 1)))
    assert not events.same_epoch(unseen, EPOCH._replace(val_cost=2.5))
