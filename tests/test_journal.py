import errno
import os

import numpy as np
import pytest

from fastlin import journal
from fastlin.errors import InputError
from fastlin.journal import Journal, Weights, read_journal

HEADER = {"format": 1, "data": "abc", "grid": [{"lr": 0.1}]}
EVENTS = [{"entry": 0, "epochs": [[1, 0.1, 1 / 3]]}, {"entry": 1, "diverged": 2}, {"rung": 4}]


@pytest.fixture
def path(tmp_path):
    path = tmp_path / "journal.jsonl"
    Journal.begin(path, HEADER).append(EVENTS)
    return path


def test_what_was_written_comes_back_exactly(path):
    assert Journal.resume(path, HEADER).events == EVENTS
    assert read_journal(path) == (HEADER, EVENTS)
    resumed = Journal.resume(path, HEADER)
    resumed.append([{"more": True}])
    resumed.append([])
    assert resumed.notes == []
    assert Journal.resume(path, HEADER).events == [*EVENTS, {"more": True}]


def test_a_journal_is_never_overwritten_but_begun_if_there_is_none(path, tmp_path):
    with pytest.raises(InputError, match="holds a search already"):
        Journal.begin(path, HEADER)
    assert Journal.resume(tmp_path / "other.jsonl", HEADER).events == []


def test_a_last_line_cut_short_anywhere_is_dropped_with_a_note(path):
    whole = path.read_bytes()
    start = whole[:-1].rindex(b"\n") + 1
    for end in range(start, len(whole)):
        path.write_bytes(whole[:end])
        resumed = Journal.resume(path, HEADER)
        assert resumed.events == EVENTS[:-1]
        assert path.read_bytes() == whole[:start]
        assert len(resumed.notes) == (end > start)
        resumed.append(EVENTS[-1:])
        assert path.read_bytes() == whole


def test_a_last_line_of_garbage_is_dropped(path):
    whole = path.read_bytes()
    for garbage in (b"\x00" * 50, b"\n", b"00000000 \n", b"\xff\xfe\n", b"{}\n"):
        path.write_bytes(whole + garbage)
        assert Journal.resume(path, HEADER).events == EVENTS
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
                Journal.resume(path, HEADER)
            message = str(caught.value)
            assert "is damaged in" in message
            assert ("first line" in message) == (place < header_end)
            assert path.read_bytes() == damaged


def test_the_message_says_how_to_go_on_and_that_works(path):
    lines = path.read_bytes().splitlines(keepends=True)
    path.write_bytes(lines[0] + b"x" + b"".join(lines[1:]))
    with pytest.raises(InputError, match=r"line 2 of 4; .*sed -i '2d'"):
        Journal.resume(path, HEADER)
    path.write_bytes(b"".join([lines[0], *lines[2:]]))
    assert Journal.resume(path, HEADER).events == EVENTS[1:]


@pytest.mark.parametrize("name", HEADER)
def test_another_search_is_refused_in_one_line(path, name):
    with pytest.raises(InputError, match=f"the {name} is not what it was begun with") as caught:
        Journal.resume(path, {**HEADER, name: "other"})
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("at", ["write", "partial write", "fsync"])
def test_a_full_disk_is_one_line_and_leaves_what_was_there(path, monkeypatch, at):
    whole = path.read_bytes()
    full = OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    class Full:
        def __init__(self, file):
            self.file = file

        def __enter__(self):
            return self

        def __exit__(self, *_):
            self.file.close()

        def __getattr__(self, name):
            return getattr(self.file, name)

        def write(self, content):
            if at == "partial write" and len(content) > 5:
                return self.file.write(content[:5])
            raise full

    if at == "fsync":

        def fail(_):
            raise full

        monkeypatch.setattr(journal.os, "fsync", fail)
    else:
        right = type(path).open
        monkeypatch.setattr(type(path), "open", lambda *a, **k: Full(right(*a, **k)))
    book = Journal(path, HEADER)
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


def test_weights_come_back_exactly(path):
    rng = np.random.default_rng(0)
    saved = {
        index: Weights(index + 1, {"W": rng.random((2, 3)), "training.b": rng.random(2)})
        for index in (0, 12)
    }
    book = Journal.resume(path, HEADER)
    assert book.load_weights() == {}
    book.save_weights(saved)
    found = Journal.resume(path, HEADER).load_weights()
    assert {index: entry.epoch for index, entry in found.items()} == {0: 1, 12: 13}
    for index, entry in saved.items():
        for name, array in entry.arrays.items():
            assert found[index].arrays[name].tobytes() == array.tobytes()


def test_damaged_or_strange_weights_are_left_alone_with_a_note(path):
    book = Journal.resume(path, HEADER)
    book.save_weights({0: Weights(1, {"W": np.arange(50.0)})})
    weights = path.with_suffix(".npz")
    whole = weights.read_bytes()
    for content in (b"", whole[: len(whole) // 2], whole.replace(b"\x00\x40", b"\x01\x40")):
        weights.write_bytes(content)
        damaged = Journal.resume(path, HEADER)
        assert damaged.load_weights() == {}
        assert len(damaged.notes) == 1
    weights.write_bytes(whole)
    other = Journal(path, {**HEADER, "data": "other"})
    assert other.load_weights() == {}
    assert "of another search" in other.notes[0]
