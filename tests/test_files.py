import io
import itertools
import os
import re
import stat
import struct
import subprocess
import sys
import threading
import tracemalloc
import zipfile
import zlib

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as st_numpy

from fastlin import files, runs
from fastlin.commands import main
from fastlin.data import load_split
from fastlin.data.formats import registry
from fastlin.errors import InputError, one_line, quoted
from fastlin.files import kinds
from fastlin.model import LinearModel
from fastlin.search.journal import Journal, Weights

linux_or_mac = pytest.mark.skipif(sys.platform == "win32", reason="no file locks on Windows")


def line_of(caught):
    """Return the message of an error, which is one printable line."""
    text = str(caught.value if isinstance(caught, pytest.ExceptionInfo) else caught)
    assert text.isprintable(), text
    return text


def refusal(read, path):
    """Return the one line with which a reader refuses a file."""
    with pytest.raises(InputError) as caught:
        read(path)
    assert path.name in line_of(caught)
    return line_of(caught)


# --- .npz: what is read ----------------------------------------------------------------------

ARRAYS = st_numpy.arrays(
    st.one_of(
        st_numpy.boolean_dtypes(), st_numpy.integer_dtypes(), st_numpy.unsigned_integer_dtypes(),
        st_numpy.floating_dtypes(), st_numpy.complex_number_dtypes(),
        st_numpy.unicode_string_dtypes(min_len=1, max_len=5),
        st_numpy.byte_string_dtypes(min_len=1, max_len=5), st_numpy.datetime64_dtypes(),
    ),
    st_numpy.array_shapes(min_dims=0, min_side=0, max_side=4),
)  # fmt: skip


@settings(max_examples=200)
@given(st.dictionaries(st.sampled_from(["W", "0.W", "Ä x", "epochs"]), ARRAYS), st.booleans(),
       st.booleans())  # fmt: skip
def test_arrays_are_those_that_numpy_reads(tmp_path_factory, arrays, is_small, is_fortran):
    path = tmp_path_factory.mktemp("npz") / "a.npz"
    order = np.asfortranarray if is_fortran else np.asarray
    arrays = {name: order(array) for name, array in arrays.items()}
    (np.savez_compressed if is_small else np.savez)(path, **arrays)
    found = files.read_npz(path)
    with np.load(path) as expected:
        assert list(found) == list(expected)
        for name in found:
            assert found[name].dtype == expected[name].dtype
            assert found[name].shape == expected[name].shape
            assert found[name].flags.f_contiguous == expected[name].flags.f_contiguous
            assert found[name].tobytes() == expected[name].tobytes()
            assert found[name].flags.writeable


class Unseekable(io.RawIOBase):
    """A pipe, as far as zipfile can see: sizes then follow the members."""

    def __init__(self):
        self.content = bytearray()

    def writable(self):
        return True

    def write(self, content):
        self.content += content
        return len(content)


def test_a_file_that_was_written_to_a_pipe_is_read(tmp_path):
    pipe = Unseekable()
    np.savez(pipe, a=np.arange(9), b=np.eye(3))
    path = tmp_path / "a.npz"
    path.write_bytes(pipe.content)
    found = files.read_npz(path)
    assert found["a"].tolist() == list(range(9))
    assert found["b"].tolist() == np.eye(3).tolist()


def test_arrays_are_not_held_twice(tmp_path):
    path = tmp_path / "a.npz"
    np.savez(path, a=np.ones(8_000_000), b=np.ones(1_000_000))
    tracemalloc.start()
    files.read_npz(path)
    _, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert peak < 72e6 + 8e6


# --- .npz: flipped bits ----------------------------------------------------------------------


def model_file(path):
    W = np.random.default_rng(0).standard_normal((3, 12)).astype(np.float32)
    std = np.linspace(1, 2, 12)
    model = LinearModel(W, W[:, 0].copy(), ("a", "b", "ç"), (3, 2, 2), std)
    runs.save_models(path.parent, model, model)
    (path.parent / "model.npz").rename(path)


def data_file(path):
    X = np.random.default_rng(0).integers(0, 256, (6, 8), np.uint8)
    y = np.array([0, 1, 2, 0, 1, 2])
    np.savez_compressed(path, X_train=X, y_train=y, class_names=np.array(["a", "b", "c"]))


def weights_file(path):
    book = Journal.begin(path.with_name("j.jsonl"), {"data": "abc"})
    book.save_weights({0: Weights(2, {"W": np.arange(9.0), "training_W": np.arange(9.0)})})
    book.close()
    book.weights_path.rename(path)


def structure(content):
    """Give the places of all bytes that are not values: headers of zip and of arrays."""
    inside = np.zeros(len(content), bool)
    with zipfile.ZipFile(io.BytesIO(content)) as archive:
        for info in archive.infolist():
            names = struct.unpack_from("<26x2H", content, info.header_offset)
            start = info.header_offset + 30 + sum(names)
            header = 128 if info.compress_type == zipfile.ZIP_STORED else 0
            inside[start + header : start + info.compress_size] = True
    return np.flatnonzero(~inside).tolist()


def same_or_refused(path, places):
    """Flip bits (place, bit) of a .npz file one at a time; return how many of them are refused."""

    def values(arrays):
        return {name: (a.dtype.str, a.shape, a.tobytes()) for name, a in arrays.items()}

    with np.load(path) as arrays:
        expected = values(arrays)
    content, refused = path.read_bytes(), 0
    with path.open("r+b", buffering=0) as file:  # in place, as writing it anew takes 3 ms
        for place, bit in places:
            file.seek(place)
            file.write(bytes([content[place] ^ 1 << bit]))
            message, found = None, None
            try:
                found = files.read_npz(path)
            except InputError as error:
                message = line_of(error)
            if found is None:
                assert path.name in message
                refused += 1
            else:
                assert values(found) == expected, (place, bit)
            file.seek(place)
            file.write(content[place : place + 1])
    return refused


@pytest.mark.filterwarnings("error")
@pytest.mark.parametrize("make", [model_file, data_file, weights_file])
def test_every_flipped_bit_of_a_header_is_refused_or_changes_nothing(tmp_path, make):
    path = tmp_path / "flipped.npz"
    make(path)
    bits = list(itertools.product(structure(path.read_bytes()), range(8)))
    assert same_or_refused(path, bits) > len(bits) / 3  # times and attributes are not used


@pytest.mark.parametrize("make", [model_file, data_file, weights_file])
def test_a_flipped_bit_of_values_is_refused_or_changes_nothing(tmp_path, make):
    path = tmp_path / "flipped.npz"
    make(path)
    content = path.read_bytes()
    values = sorted(set(range(len(content))) - set(structure(content)))
    bits = [(place, place * 5 % 8) for place in values]
    # Bits that deflate does not use, at the end of its blocks, change nothing.
    assert same_or_refused(path, bits) >= len(bits) * (0.95 if make is data_file else 1)


@pytest.mark.parametrize("make", [model_file, data_file, weights_file])
def test_a_file_cut_short_is_refused(tmp_path, make):
    path = tmp_path / "cut.npz"
    make(path)
    content = path.read_bytes()
    for size in range(0, len(content), 41):
        path.write_bytes(content[:size])
        refusal(files.read_npz, path)


# --- .npz: made to do harm -------------------------------------------------------------------


def header(text, version=1):
    raw = text.encode("latin1" if version < 3 else "utf-8")
    size = struct.pack("<H" if version == 1 else "<I", len(raw))
    return b"\x93NUMPY" + bytes([version, 0]) + size + raw


def member(descr="'<f4'", order="False", shape="(2,)", values=b"12345678", version=1):
    text = f"{{'descr': {descr}, 'fortran_order': {order}, 'shape': {shape}, }}\n"
    return header(text, version) + values


def archive(path, **members):
    with zipfile.ZipFile(path, "w", members.pop("how", zipfile.ZIP_STORED)) as file:
        for name, content in members.items():
            file.writestr(name.replace("__", "."), content)
    return path


BAD_MEMBERS = {
    "no array": b"hello",
    "no header": b"\x93NUMPY\1\0",
    "unknown version": member(version=4),
    "header cut short": member()[:40],
    "header too long": header("{" + " " * 20_000 + "}", 2),
    "nested brackets": header("{'descr': " + "(" * 5000 + ")" * 5000 + "}"),
    "call": header("{'descr': __import__('os'), 'fortran_order': False, 'shape': (2,), }"),
    "operators": header("{'descr': '<f4', 'fortran_order': False, 'shape': (1+1,), }"),
    "an item less": header("{'descr': '<f4', 'shape': (2,), }") + b"12345678",
    "an item more": header("{'descr': '<f4', 'fortran_order': False, 'shape': (2,), 'x': ()}"),
    "bad escape": header(r"{'de\scr': '<f4', 'fortran_order': False, 'shape': (2,), }"),
    "no dictionary": header("['<f4', False, (2,)]"),
    "bytes that are no UTF-8": b"\x93NUMPY\3\0\4\0\0\0\xff\xff\xff\xff",
    "unknown dtype": member("'<f3'"),
    "list of dtypes": member("'f4,f4'"),
    "array dtype": member("'(2,)f4'"),
    "dtype without size": member("'<U0'", shape="(1000000000000,)", values=b""),
    "dtype of 4 GB": member("'<U999999999'"),
    "unknown unit": member("'<M8[parsec]'"),
    "dtype that is a number": member("4"),
    "order": member(order="'maybe'"),
    "negative shape": member(shape="(-2, -1)"),
    "shape with a fraction": member(shape="(2.0,)"),
    "shape of words": member(shape="(True, 2)"),
    "huge shape": member(shape="(9223372036854775807, 9223372036854775807)"),
    "shape beyond int64": member(shape=f"({10**18}0,)", values=b""),
    "shape of 5,000 digits": member(shape=f"({'9' * 5000},)"),
    "empty but huge": member(shape=f"(0, {2**62}, {2**62})", values=b""),
    "too many dimensions": member(shape=f"({'1, ' * 100})", values=b"1234"),
    "a value too few": member(values=b"1234567"),
    "a value too many": member(values=b"123456789"),
}


@pytest.mark.filterwarnings("error")
@pytest.mark.parametrize("name", BAD_MEMBERS)
@pytest.mark.parametrize("how", [zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED])
def test_a_member_that_is_no_array_is_refused(tmp_path, name, how):
    path = archive(tmp_path / "a.npz", X__npy=BAD_MEMBERS[name], how=how)
    assert "a.npz is damaged: " in refusal(files.read_npz, path)


def test_shapes_and_headers_as_other_writers_have_them_are_read(tmp_path):
    two = np.frombuffer(b"12345678", np.float32)
    for content in (
        member(shape="(2L,)"),
        member(version=2),
        member(version=3),
        header('{"shape":(2,),"fortran_order":False,"descr":"<f4"}') + b"12345678",
        header("  {'fortran_order' : True , 'descr':'<f4','shape' : ( 2 , )}  \n") + b"12345678",
    ):
        found = files.read_npz(archive(tmp_path / "a.npz", X__npy=content))
        assert found["X"].tobytes() == two.tobytes()
    assert files.read_npz(archive(tmp_path / "b.npz", s__npy=member(shape="()", values=b"1234")))


def patched(path, **fields):
    """Change fields of the central directory of an archive with one member."""
    content = bytearray(path.read_bytes())
    at = content.rindex(b"PK\x01\x02")
    places = {"flags": (8, "<H"), "method": (10, "<H"), "packed": (20, "<I"), "size": (24, "<I")}
    for name, value in fields.items():
        place, kind = places[name]
        struct.pack_into(kind, content, at + place, value)
    path.write_bytes(content)
    return path


@pytest.mark.parametrize("how", [zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED])
def test_sizes_that_cannot_be_take_no_memory(tmp_path, how):
    path = tmp_path / "a.npz"
    bomb = member(shape=f"({2**30},)", values=b"")
    tracemalloc.start()
    archive(path, X__npy=bomb, how=how)
    assert "are needed for float32" in refusal(files.read_npz, path)
    for size in (2**32 - 2, 10**9):
        archive(path, X__npy=bomb, how=how)
        patched(path, size=size)
        assert "is damaged" in refusal(files.read_npz, path)
        patched(path, size=size, packed=size)
        assert "is damaged" in refusal(files.read_npz, path)
    _, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert peak < 4e6


def test_a_member_that_expands_to_more_than_it_says_is_refused(tmp_path):
    content = member(shape="(1000,)", values=bytes(4000))
    path = archive(tmp_path / "a.npz", X__npy=content + bytes(10**6), how=zipfile.ZIP_DEFLATED)
    assert "is damaged" in refusal(files.read_npz, patched(path, size=len(content)))


def test_members_are_told_apart_and_named(tmp_path):
    path = tmp_path / "a.npz"
    for changed, words in (({"flags": 1}, "encrypted"), ({"method": 12}, "compressed in a way")):
        assert words in refusal(files.read_npz, patched(archive(path, X__npy=member()), **changed))
    assert "damaged" in refusal(files.read_npz, patched(archive(path, X__npy=member()), method=8))
    with zipfile.ZipFile(path, "w") as file:
        file.writestr("X.npy", member())
        with pytest.warns(UserWarning, match="Duplicate"):
            file.writestr("X.npy", member(values=b"87654321"))
    assert "holds 'X' twice" in refusal(files.read_npz, path)
    for name in ("notes.txt", "X.npy/", "a\nb"):
        with zipfile.ZipFile(path, "w") as file:
            file.writestr(name, b"hello")
        assert quoted(name) in refusal(files.read_npz, path)


def test_bytes_that_belong_to_no_member_are_refused(tmp_path):
    path = archive(tmp_path / "a.npz", X__npy=member())
    path.write_bytes(b"#!/bin/sh\n" + path.read_bytes())
    refusal(files.read_npz, path)
    # The comment of the first member swallows the entry of the second.
    archive(path, X__npy=member(), Y__npy=member())
    content = bytearray(path.read_bytes())
    first, second = (found.start() for found in re.finditer(b"PK\x01\x02", content))
    struct.pack_into("<H", content, first + 32, content.rindex(b"PK\x05\x06") - second)
    path.write_bytes(content)
    with zipfile.ZipFile(path) as file:
        assert file.namelist() == ["X.npy"]
    assert "is damaged" in refusal(files.read_npz, path)


def test_objects_and_records_are_refused_without_advice_to_load_pickles(tmp_path):
    path = tmp_path / "a.npz"
    np.savez(path, y=np.array(["a", None], object))
    text = refusal(files.read_npz, path)
    assert "'y' holds Python objects" in text
    assert "y.astype(str)" in text
    assert "allow_pickle" not in text
    np.savez(path, t=np.zeros(3, [("x", "<f4"), ("y", "<i8")]))
    assert "'t' holds records" in refusal(files.read_npz, path)


# --- files of other kinds --------------------------------------------------------------------


def npy(array):
    file = io.BytesIO()
    np.save(file, array)
    return file.getvalue()


def zipped(*names):
    file = io.BytesIO()
    with zipfile.ZipFile(file, "w") as content:
        for name in names:
            content.writestr(name, b"x")
    return file.getvalue()


KINDS = {
    "CSV": b"f0,f1,label\n0.1,0.2,1\n",
    "text table": b"a;b\r\n1;2\r\n",
    "text": b"hello\nworld\n",
    "XML": b"<?xml version='1.0'?><a/>",
    "HTML": b"\xef\xbb\xbf\n <!DOCTYPE html><html><title>Virus scan warning</title></html>",
    "web page": b"<html><body>404</body></html>",
    "JSON": b'{"a": 1}',
    "Parquet": b"PAR1" + b"\0" * 60 + b"PAR1",
    "one NumPy array": npy(np.eye(3)),
    "gzip": b"\x1f\x8b\x08\0\0\0\0\0",
    "tar": b"name".ljust(257, b"\0") + b"ustar\x0000" + b"\0" * 300,
    "HDF5": b"\x89HDF\r\n\x1a\n" + b"\0" * 40,
    "PyTorch": zipped("archive/data.pkl", "archive/version"),
    "pickle": b"\x80\x04\x95\x05\0\0\0\0\0\0\0]\x94.",
    "safetensors": struct.pack("<Q", 14) + b'{"a":{"x":[]}}',
    "PNG": b"\x89PNG\r\n\x1a\n" + b"\0" * 30,
    "JPEG": b"\xff\xd8\xff\xe0\0\x10JFIF",
    "PDF": b"%PDF-1.7\n%\xe2\xe3\xcf\xd3",
    "Git LFS": b"version https://git-lfs.github.com/spec/v1\noid sha256:00\n",
    "office document": zipped("[Content_Types].xml", "xl/workbook.xml"),
    "zip archive that holds 'rows.csv'": zipped("rows.csv"),
    "empty": b"",
    "unknown kind": bytes(range(256)),
    "UTF-16": "a,b\n1,2\n".encode("utf-16"),
    "Latin-1": "größe;länge\n1;2\n".encode("latin-1"),
}
CALLED = {"UTF-16": "text", "Latin-1": "text table"}


@pytest.mark.parametrize("name", KINDS)
def test_a_file_of_another_kind_is_called_what_it_is(tmp_path, name):
    path = tmp_path / "thing"
    path.write_bytes(KINDS[name])
    text = refusal(files.read_npz, path)
    assert CALLED.get(name, name) in text
    assert not re.search("damaged|allow_pickle|unsafely|pickled", text)


READ = ("CSV", "text table", "Latin-1", "Parquet", "one NumPy array", "HDF5", "PyTorch",
        "safetensors")  # fmt: skip


@pytest.mark.parametrize("name", [name for name in KINDS if name not in READ and "zip" not in name])
def test_what_is_no_data_is_called_what_it_is(tmp_path, name):
    path = tmp_path / "thing"
    path.write_bytes(KINDS[name])
    text = refusal(load_split, path)
    assert CALLED.get(name, name) in text
    assert "fastlin reads NumPy array, NumPy archive, Parquet, Arrow, CSV" in text
    assert not re.search("damaged|allow_pickle|unsafely|pickled", text)
    assert text.count("data.csv") + text.count("data.npz") == (name in {"JSON", "office document"})


def test_every_kind_that_is_read_or_converted_is_one_that_is_told():
    known = {kind for *_, kind in kinds.MAGIC} | {
        kinds.TABLE, kinds.TEXT, kinds.JSON, kinds.OFFICE, kinds.PYTORCH, kinds.SAFETENSORS,
    }  # fmt: skip
    assert set(registry.CONVERSIONS) <= known
    assert {kind for found in registry.FORMATS for kind in found.kinds} <= known


@linux_or_mac
def test_what_is_no_file_is_refused_without_opening_it(tmp_path):
    os.mkfifo(tmp_path / "pipe.npz")
    (tmp_path / "folder.npz").mkdir()
    (tmp_path / "zero.npz").symlink_to("/dev/zero")
    (tmp_path / "loop.npz").symlink_to("loop.npz")
    for name, kind in (("pipe", "a named pipe"), ("folder", "a folder"), ("zero", "a device"),
                       ("loop", "symbolic links"), ("none", "is missing")):  # fmt: skip
        for reader in (files.read_npz, files.read_json, lambda path: next(files.read_csv(path))):
            assert kind in refusal(reader, tmp_path / f"{name}.npz")
    assert "a named pipe" in refusal(load_split, tmp_path / "pipe.npz")
    with pytest.raises(InputError, match="null"):
        files.read_json(tmp_path / "a\0b")


# --- JSON and CSV ----------------------------------------------------------------------------

BAD_JSON = {
    "NaN": ('{"lr": NaN}', "'lr' is NaN"),
    "infinity": ('{"a": {"lr": [1, -Infinity]}}', "'lr' is NaN, infinite"),
    "too large a float": ('{"lr": 1e999}', "'lr'"),
    "400 digits": ('{"lr": ' + "9" * 400 + "}", "'lr'"),
    "5,000 digits": ('{"lr": -' + "9" * 5000 + "}", "'lr'"),
    "3,000 levels": ("[" * 3000 + "]" * 3000, "nested too deeply"),
    "100,000 levels": ('{"a":' * 100_000 + "1" + "}" * 100_000, "nested too deeply"),
    "200 levels": ("[" * 200 + "]" * 200, "nested too deeply"),
    "a key twice": ('{"lr": 1, "lr": 2}', "'lr' is there twice"),
    "a long key twice": ('{"' + "x" * 999 + '": 1, "' + "x" * 999 + '": 2}', "xx…xx"),
    "a key of two lines": ('{"a\\nb": 1, "a\\nb": 2}', r"'a\nb' is there twice"),
    "cut short": ('{"lr": 1', "not valid JSON"),
    "nothing": ("", "not valid JSON"),
    "other": ("lr = 3\n", "not valid JSON"),
}


@pytest.mark.parametrize("name", BAD_JSON)
def test_json_that_is_none_is_one_line(tmp_path, name):
    content, words = BAD_JSON[name]
    path = tmp_path / "a.json"
    path.write_text(content)
    text = refusal(files.read_json, path)
    assert words in text
    assert len(text) < 400


def test_text_that_is_no_utf8_is_one_line(tmp_path):
    path = tmp_path / "a.json"
    path.write_bytes(b'{"a": "\xff"}')
    assert "not UTF-8 text: byte 7 is 0xff" in refusal(files.read_json, path)
    path.write_bytes(b'\xef\xbb\xbf{"a": 1}')
    assert "byte order mark" in refusal(files.read_json, path)
    with path.open("wb") as file:
        file.truncate(2**30)
    assert "1,073,741,824 bytes" in refusal(files.read_json, path)


json_values = st.recursive(
    st.none() | st.booleans() | st.integers(-(2**63), 2**64) | st.text()
    | st.floats(allow_nan=False, allow_infinity=False),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(), inner, max_size=4),
)  # fmt: skip


@given(json_values)
def test_any_json_comes_back(tmp_path_factory, content):
    path = tmp_path_factory.mktemp("json") / "a.json"
    files.save_json(path, content)
    assert files.read_json(path) == content


BAD_CSV = {
    "nothing": b"",
    "cut short": b"a,b\n1,2\n3,4",
    "a cell too few": b"a,b\n1\n",
    "a cell too many": b"a,b\n1,2,3\n",
    "an empty line": b"a,b\n\n",
    "a field beyond the limit": b"a,b\n1," + b"x" * 200_000 + b"\n",
    "an open quote": b'a,b\n1,"2\n',
    "no UTF-8": b"a,b\n1,\xff\n",
}


@pytest.mark.parametrize("name", BAD_CSV)
def test_a_table_that_is_none_is_one_line(tmp_path, name):
    path = tmp_path / "a.csv"
    path.write_bytes(BAD_CSV[name])
    refusal(lambda path: list(files.read_csv(path)), path)


@given(st.floats(allow_nan=False, allow_infinity=False))
def test_every_finite_number_is_parsed(value):
    assert files.parse_number(repr(value)) == value


@pytest.mark.parametrize(
    "text", ["", "nan", "inf", "-inf", "1e999", "1_0", " 1", "1 ", "0x1", "\u0661", "1e", "."]
)
def test_what_is_no_finite_number_is_refused(text):
    with pytest.raises(ValueError, match="is not a finite number"):
        files.parse_number(text)


# --- messages --------------------------------------------------------------------------------


@given(json_values)
def test_quoted_text_is_one_short_line(value):
    assert len(quoted(value)) <= 60
    assert quoted(value).isprintable()


@given(st.text())
def test_any_message_becomes_one_printable_line(text):
    assert one_line(text).isprintable()
    if text.isprintable():
        assert one_line(text) == text.strip()


def test_an_error_with_line_breaks_is_one_line_on_the_command_line(tmp_path, monkeypatch):
    from click.testing import CliRunner

    def bad(*_, **__):
        raise InputError("a \r\n\tb\x1b[31m\ud800")

    monkeypatch.setattr("fastlin.data.catalog.load_reference", bad)
    result = CliRunner().invoke(main, ["data", "info", "x"])
    assert (result.exit_code, result.stderr) == (2, "Error: a b\\x1b[31m\\ud800\n")


# --- writing ---------------------------------------------------------------------------------


def test_a_failed_write_leaves_what_was_there(tmp_path):
    path = tmp_path / "file"
    path.write_text("old")
    with pytest.raises(TypeError), files.atomic_write(path) as file:
        file.writelines([b"half", None])
    assert path.read_text() == "old"
    assert list(tmp_path.iterdir()) == [path]


def test_a_full_disk_is_one_line(tmp_path):
    with (
        pytest.raises(InputError, match=r"cannot write .*: No space left"),
        files.atomic_write(tmp_path / "f"),
    ):
        raise OSError(28, "No space left on device")
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("place", ["none/f", "file/f", "folder"])
def test_a_place_that_cannot_be_written_is_one_line(tmp_path, place):
    (tmp_path / "file").touch()
    (tmp_path / "folder/below").mkdir(parents=True)
    with pytest.raises(InputError, match="cannot write") as caught:
        files.save_json(tmp_path / place, {})
    line_of(caught)


def test_a_file_is_on_the_disk_before_it_has_its_name_and_the_name_after(tmp_path, monkeypatch):
    steps = []
    right_fsync, right_replace = os.fsync, type(tmp_path).replace

    def fsync(descriptor):
        is_folder = stat.S_ISDIR(os.fstat(descriptor).st_mode)
        size = os.fstat(descriptor).st_size
        steps.append("folder" if is_folder else f"{size} bytes")
        right_fsync(descriptor)

    def replace(path, target):
        steps.append("replace")
        return right_replace(path, target)

    monkeypatch.setattr(os, "fsync", fsync)
    monkeypatch.setattr(type(tmp_path), "replace", replace)
    with files.atomic_write(tmp_path / "f") as file:
        file.write(b"12345")
    assert steps == ["5 bytes", "replace", "folder"]


@linux_or_mac
def test_the_umask_is_heeded_and_never_changed(tmp_path, monkeypatch):
    before = os.umask(0o027)
    try:
        monkeypatch.setattr(os, "umask", None)
        files.save_json(tmp_path / "f", {})
    finally:
        monkeypatch.undo()
        os.umask(before)
    assert stat.S_IMODE((tmp_path / "f").stat().st_mode) == 0o640


WRITER = """
import sys, time; from pathlib import Path; from fastlin import files
with files.atomic_write(Path(sys.argv[1])) as file:
    file.write(b"half"); file.flush(); print("ready", flush=True); sys.stdin.read()
"""


@linux_or_mac
def test_leftovers_of_killed_writers_are_swept_but_nothing_that_is_being_written(tmp_path):
    words = [sys.executable, "-c", WRITER, tmp_path / "f"]
    killed, alive = (
        subprocess.Popen(words, stdin=subprocess.PIPE, stdout=subprocess.PIPE) for _ in range(2)
    )
    for process in (killed, alive):
        assert process.stdout.readline() == b"ready\n"
    assert len(list(tmp_path.iterdir())) == 2
    killed.kill()
    killed.communicate()
    kept = [".f-01234567", ".fastlin-tmp", "f-01234567.fastlin-tmp"]
    for name in kept:
        (tmp_path / name).touch()
    files.save_json(tmp_path / "g", {})
    left = {path.name for path in tmp_path.iterdir()} - {*kept, "g"}
    assert len(left) == 1  # that of the living one
    alive.communicate(b"")
    assert alive.returncode == 0
    assert (tmp_path / "f").read_bytes() == b"half"
    assert {path.name for path in tmp_path.iterdir()} == {*kept, "f", "g"}


def test_threads_that_write_one_file_leave_one_of_theirs(tmp_path):
    errors = []

    def write(number):
        try:
            for _ in range(50):
                files.save_json(tmp_path / "f", [number] * 1000)
        except InputError as error:
            errors.append(error)

    threads = [threading.Thread(target=write, args=(number,)) for number in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert errors == []
    assert len(set(files.read_json(tmp_path / "f"))) == 1
    assert [path.name for path in tmp_path.iterdir()] == ["f"]


@linux_or_mac
def test_a_locked_folder_names_who_holds_it(tmp_path):
    code = (
        "import sys; from pathlib import Path; from fastlin import files\n"
        "with files.locked(Path(sys.argv[1])) as is_locked:\n"
        "    print(is_locked, flush=True); sys.stdin.read()"
    )
    process = subprocess.Popen(
        [sys.executable, "-c", code, tmp_path], stdin=subprocess.PIPE, stdout=subprocess.PIPE
    )
    assert process.stdout.readline() == b"True\n"
    with pytest.raises(InputError) as caught, files.locked(tmp_path):
        pass
    process.kill()
    process.communicate()
    who = f"process {process.pid}" if sys.platform == "linux" else "process"
    assert who in line_of(caught)
    with files.locked(tmp_path) as is_locked:
        assert is_locked


def test_the_checksum_that_is_compared_is_that_of_zip(tmp_path):
    content = member()
    path = archive(tmp_path / "a.npz", X__npy=content)
    raw = bytearray(path.read_bytes())
    at = raw.rindex(b"PK\x01\x02") + 16
    assert struct.unpack_from("<I", raw, at) == (zlib.crc32(content),)
    raw[at] ^= 1
    path.write_bytes(raw)
    assert "Bad CRC-32" in refusal(files.read_npz, path)


def test_formats_of_the_future_are_named(tmp_path):
    path = tmp_path / "a.json"
    files.check_format(path, {}, 1)
    files.check_format(path, {"format": 1}, 2)
    for found, words in (
        (2, "written by a newer fastlin"), (0, "format is 0"), (True, "format is True"),
        ("1\n", r"'1\n'"), (None, "None"),
    ):  # fmt: skip
        text = refusal(
            lambda path, found=found: files.check_format(path, {"format": found}, 1), path
        )
        assert words in text
