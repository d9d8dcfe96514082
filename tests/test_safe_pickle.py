import pickle
import re
import struct
import time
import tracemalloc
import warnings

import numpy as np
import pytest
from cifar_files import Call
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as arrays

from fastlin.data.formats.safe_pickle import (
    MAX_DEPTH,
    MAX_INSTRUCTIONS,
    MAX_OBJECTS,
    load_dict,
    load_objects,
)
from fastlin.errors import InputError

PROTOCOLS = range(pickle.HIGHEST_PROTOCOL + 1)


def outcome(content):
    """The dict that a pickle gives, or the line with which it is refused."""
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        try:
            return load_dict(content, "f")
        except InputError as error:
            return str(error)


def refused(content, message="f "):
    """A pickle is refused in one line, in little time."""
    start = time.perf_counter()
    found = outcome(content)
    assert time.perf_counter() - start < 20  # on a busy machine
    assert type(found) is str
    assert re.search(message, found), found
    assert found.isprintable()
    assert len(found) < 300


def equal(value, expected):
    """Whether two values are the same in types and content; arrays but for the order of bytes."""
    if isinstance(expected, np.ndarray):
        kinds = [array.dtype.newbyteorder("=") for array in (value, expected)]
        return kinds[0] == kinds[1] and np.array_equal(value, expected)
    if isinstance(expected, dict):
        return value.keys() == expected.keys() and all(equal(value[k], expected[k]) for k in value)
    if isinstance(expected, list | tuple):
        return (
            type(value) is type(expected)
            and len(value) == len(expected)
            and all(map(equal, value, expected))
        )
    return type(value) is type(expected) and (value == expected or value != value)  # noqa: PLR0124


# --- what is read ---------------------------------------------------------------------------

INTEGER_ARRAYS = arrays.arrays(
    st.one_of(
        arrays.integer_dtypes(endianness="?"), arrays.unsigned_integer_dtypes(endianness="?")
    ),
    arrays.array_shapes(min_dims=0, max_dims=4, min_side=0, max_side=4),
)
LAID_OUT = st.builds(
    lambda array, order: {"C": array, "F": np.asfortranarray(array), "T": array.T}.get(
        order, array[..., ::2] if array.ndim else array
    ),
    INTEGER_ARRAYS,
    st.sampled_from("CFT2"),
)
PLAIN = st.one_of(
    st.none(),
    st.booleans(),
    st.integers(-(10**600), 10**600),
    st.floats(),
    st.text(),
    st.binary(),
    LAID_OUT,
)
VALUES = st.recursive(
    PLAIN,
    lambda inner: st.one_of(
        st.lists(inner, max_size=3),
        st.lists(inner, max_size=3).map(tuple),
        st.dictionaries(
            st.text() | st.binary() | st.integers(-(2**31), 2**31 - 1), inner, max_size=3
        ),
    ),
    max_leaves=8,
)


@given(st.dictionaries(st.text(), VALUES, max_size=3), st.sampled_from(PROTOCOLS))
def test_dicts_of_plain_values_are_read_as_pickle_reads_them(value, protocol):
    content = pickle.dumps(value, protocol)
    found = load_dict(content, "f")
    assert equal(found, pickle.loads(content))
    assert equal(found, value)


# What Python 2 writes: its str as bytes, numbers in the place of truth values.
PYTHON_2 = {
    "protocol 2": b"\x80\x02}q\x01(U\x0bbatch_labelq\x02U\x15training batch 1 of 5q\x03U\x06labels"
    b"q\x04]q\x05(K\x06K\x09eU\x04dataq\x06cnumpy.core.multiarray\n_reconstruct\nq\x07cnumpy\nndarray"
    b"\nq\x08K\x00\x85U\x01b\x87Rq\x09(K\x01K\x02K\x03\x86cnumpy\ndtype\nq\x0aU\x02u1K\x00K\x01\x87Rq\x0b("
    b"K\x03U\x01|NNNJ\xff\xff\xff\xffJ\xff\xff\xff\xffK\x00tb\x89T\x06\x00\x00\x00\x00\x7f\x80\xff\n'tbU\t"
    b"filenamesq\x0c]q\x0d(U\x05a.pngq\x0eU\x05b.pngq\x0feu.",
    "protocol 1": b"}q\x01(U\x04dataq\x02cnumpy.core.multiarray\n_reconstruct\nq\x03(cnumpy\n"
    b"ndarray\nq\x04(K\x00tU\x01btRq\x05(K\x01(K\x02K\x01tcnumpy\ndtype\nq\x06(U\x02i2K\x00K\x01tRq\x07(K\x03U\x01>NNNJ\xff\xff\xff"
    b"\xffJ\xff\xff\xff\xffK\x00tbI01\nU\x04\x01\x02\x03\x04tbU\x06labelsq\x08]q\x09(K\x01K\x02eu.",
    "protocol 0": b"(dp1\nS'data'\np2\ncnumpy.core.multiarray\n_reconstruct\np3\n(cnumpy\nndarray\n"
    b"p4\n(I0\ntS'b'\ntRp5\n(I1\n(I2\nI3\ntcnumpy\ndtype\np6\n(S'u1'\nI0\nI1\ntRp7\n(I3\nS'|'\nNNNI-1\nI-1\nI0\n"
    b"tbI00\nS'\\x00\\xff\\\\\\n\\'\"'\ntbsS'labels'\np8\n(lp9\nI6\naL9L\naI01\nasS\"it's\"\np10\nF0.5\nsVu\\u20ac\n"
    b"p11\nNs.",
}


@pytest.mark.parametrize("kind", PYTHON_2)
def test_what_python_2_writes_is_read(kind):
    expected = pickle.loads(PYTHON_2[kind], encoding="bytes")
    named = {k.decode() if isinstance(k, bytes) else k: value for k, value in expected.items()}
    assert named["data"].size
    assert equal(load_dict(PYTHON_2[kind], "f"), named)


@pytest.mark.parametrize("protocol", PROTOCOLS)
def test_arrays_that_share_a_dtype_or_are_shared_are_read(protocol):
    array = np.arange(6, dtype=">i2").reshape(2, 3)
    value = {"a": array, "b": [array, array.astype(">i2"), (array[0], b"", b"x", b"x")]}
    assert equal(load_dict(pickle.dumps(value, protocol), "f"), value)


def test_keys_become_text():
    content = pickle.dumps({"a": 1, b"\xe4": 2, 3: 4})
    assert load_dict(content, "f") == {"a": 1, "\xe4": 2, "3": 4}
    for value in ({"a": 1, b"a": 2}, {"3": 1, 3: 2}):
        refused(pickle.dumps(value), "has the key '.' twice")


def test_arrays_do_not_change():
    found = load_dict(pickle.dumps({"data": np.arange(3)}), "f")
    with pytest.raises(ValueError, match="read-only"):
        found["data"][0] = 1


def test_a_batch_of_full_size_has_few_instructions():
    value = {b"labels": [5] * 10_000, b"filenames": [b"%d" % i for i in range(10_000)]}
    for protocol in PROTOCOLS:
        assert len(load_dict(pickle.dumps(value, protocol), "f")["filenames"]) == 10_000


# --- what is refused ------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"", "cut short"),
        (b"\x80", "cut short"),
        (b"garbage", "memo|there|GET|byte"),
        (b"}", "cut short"),
        (b".", "a value that is not there"),
        (b"}}.", "left over"),
        (b"(}.", "left over"),
        (b"}.x", "goes on after its end"),
        (b"N.", "holds a NoneType; it must hold a dict"),
        (b"\x80\x06}.", "protocol 6"),
        (b"\xff", "byte 0xff, which is no instruction"),
        (b"}2.", "instruction DUP"),
        (b"}0.", "instruction POP"),
        (b"}(1.", "instruction POP_MARK"),
        (b"P1\n.", "instruction PERSID"),
        (b"K\x01Q.", "instruction BINPERSID"),
        (b"\x82\x01.", "instruction EXT1"),
        (b"\x83\x01\x00.", "instruction EXT2"),
        (b"\x84\x01\x00\x00\x00.", "instruction EXT4"),
        (b"\x8b\x01\x00\x00\x00\x01.", "instruction LONG4"),
        (b"\x8f.", "instruction EMPTY_SET"),
        (b"(\x91.", "instruction FROZENSET"),
        (b"\x97.", "instruction NEXT_BUFFER"),
        (b"N\x98.", "instruction READONLY_BUFFER"),
        (b"(cnumpy\nndarray\no.", "instruction OBJ"),
        (b"(ios\nsystem\n.", "instruction INST"),
        (b"cnumpy\nndarray\n)\x81.", "instruction NEWOBJ"),
        (b"cnumpy\nndarray\n)}\x92.", "instruction NEWOBJ_EX"),
        (b"cos\nsystem\n.", r"asks for 'os\.system'"),
        (b"cnumpy\nfrom\x1b[2Jfile\n.", r"asks for 'numpy\.from\\x1b\[2Jfile'"),
        (b"\x8c\x02os\x8c\x06system\x93.", r"asks for 'os\.system'"),
        (b"c" + b"x" * 5000 + b"\ny\n.", r"asks for 'x{57}'\.\.\."),
        (b"N\x8c\x06system\x93.", "whose name is not text"),
        (b"}\x93.", "a value that is not there"),
        (b"cnumpy\nndarray\n(K\x05tR.", "calls numpy.ndarray"),
        (b"NN\x85R.", "calls a NoneType"),
        (b"cnumpy\ndtype\nNR.", "calls a function or class"),
        (b"}K\x01cnumpy\nndarray\ns.", "holds a function or class in the place of a value"),
        (b"}K\x01cnumpy\ndtype\n(U\x02u1tRs.", "holds a dtype in the place of a value"),
        (b"}}b.", "sets the state of a dict"),
        (b"cnumpy\nndarray\n}K\x01K\x02sb.", "sets the state of a function or class"),
        (b"}(K\x01u.", "a key without a value"),
        (b"}K\x01K\x02sK\x01K\x02s.", "has the key 1 twice"),
        (b"(K\x01K\x02K\x01K\x02d.", "has the key 1 twice"),
        (b"}]K\x01s.", "has a list as a key"),
        (b"})K\x01s.", "has a tuple as a key"),
        (b"}NK\x01s.", "has a NoneType as a key"),
        (b"}\x88K\x01s.", "has a bool as a key"),
        (b"}G\x00\x00\x00\x00\x00\x00\x00\x00K\x01s.", "has a float as a key"),
        (b"}cnumpy\ndtype\nK\x01s.", "has a function or class as a key"),
        (b"}\x8a\x05\x00\x00\x00\x00\x01K\x01s.", "more than 32 bits as a key"),
        (b"K\x01K\x01a.", "adds to a int as to a list"),
        (b"}K\x01a.", "adds to a dict as to a list"),
        (b"]K\x01K\x01s.", "adds to a list as to a dict"),
        (b"K\x01(K\x01e.", "adds to a int as to a list"),
        (b"(K\x01\x85\x85\x86.", "that is not there"),
        (b"t.", "mark that is not there"),
        (b"g5\n.", "from its memo that is not there"),
        (b"g-1\n.", "from its memo that is not there"),
        (b"}p-1\n.", "impossible place in its memo"),
        (b"}p4294967296\n.", "impossible place in its memo"),
        (b"q\x00}.", "a value that is not there"),
        (b"}I1_0\n.", "'1_0' in the place of a whole number"),
        (b"}I \n.", "in the place of a whole number"),
        (b"}I" + b"9" * 1_000_000 + b"\n.", "a number of 1,000,000 digits"),
        (b"}L" + b"9" * 1_000_000 + b"L\n.", "a number of 1,000,000 digits"),
        (b"}F" + b"9" * 1_000_000 + b"\n.", "a number of 1,000,000 digits"),
        (b"}Fx\n.", "a number that is none"),
        (b"T\xff\xff\xff\xff.", "negative length"),
        (b"T\xff\xff\xff\x7f.", "cut short"),
        (b"B\xff\xff\xff\xff.", "cut short"),
        (b"\x8e" + b"\xff" * 8 + b".", "cut short"),
        (b"\x96" + b"\xff" * 8 + b".", "cut short"),
        (b"\x8d" + b"\xff" * 8 + b".", "cut short"),
        (b"X\xff\xff\xff\xff.", "cut short"),
        (b"\x95" + b"\xff" * 8 + b"}.", "cut short"),
        (b"S'a\n.", "without its quotes"),
        (b"S'\n.", "without its quotes"),
        (b"Sab\n.", "without its quotes"),
        (rb"S'\d'" + b"\n.", "impossible escape sequence"),
        (rb"S'\x4'" + b"\n.", "impossible escape sequence"),
        (rb"S'\x4\\1'" + b"\n.", "impossible escape sequence"),
        (rb"S'\'" + b"\n.", "impossible escape sequence"),
        (rb"V\u12" + b"\n.", "not Unicode"),
        (b"X\x01\x00\x00\x00\xff.", "not Unicode"),
    ],
)
def test_what_is_no_dict_of_plain_values_is_refused_by_name(content, message):
    refused(content, message)


ARRAY = (
    b"cnumpy.core.multiarray\n_reconstruct\n(cnumpy\nndarray\n(K\x00tC\x01btR"
    b"(K\x01%scnumpy\ndtype\n(U\x02%sK\x00K\x01tR(K\x03U\x01%sNNNK\x00K\x00K\x00tb%s%stb"
)
FROM_BUFFER = (
    b"cnumpy._core.numeric\n_frombuffer\n(%scnumpy\ndtype\n(U\x02u1tR(K\x03U\x01|NNNtb%s%stR"
)


@pytest.mark.parametrize(
    ("array", "message"),
    [
        (ARRAY % (b"(K\x03t", b"u1", b"|", b"\x89", b"C\x02ab"), "shape does not fit"),
        (ARRAY % (b"(K\x01t", b"u1", b"|", b"\x89", b"C\x02ab"), "shape does not fit"),
        (ARRAY % (b"(t", b"u1", b"|", b"\x89", b"C\x02ab"), "shape does not fit"),
        (ARRAY % (b"(K\x02t", b"u2", b"|", b"\x89", b"C\x02ab"), "shape does not fit"),
        (ARRAY % (b"(J\xff\xff\xff\xfft", b"u1", b"|", b"\x89", b"C\x02ab"), "impossible shape"),
        (
            ARRAY % (b"(J\xfe\xff\xff\xffJ\xff\xff\xff\xfft", b"u1", b"|", b"\x89", b"C\x02ab"),
            "impossible",
        ),
        (ARRAY % (b"(\x88K\x02t", b"u1", b"|", b"\x89", b"C\x02ab"), "impossible shape"),
        (ARRAY % (b"(NK\x02t", b"u1", b"|", b"\x89", b"C\x02ab"), "impossible shape"),
        (
            ARRAY % (b"(" + b"K\x01" * 50 + b"t", b"u1", b"|", b"\x89", b"C\x01a"),
            "impossible shape",
        ),
        (
            ARRAY % (b"(K\x00\x8a\x09" + b"\xff" * 8 + b"\x00t", b"u1", b"|", b"\x89", b"C\x00"),
            "does not fit",
        ),
        (ARRAY % (b"K\x02", b"u1", b"|", b"\x89", b"C\x02ab"), "not made of plain bytes"),
        (ARRAY % (b"(K\x02t", b"u1", b"|", b"N", b"C\x02ab"), "not made of plain bytes"),
        (
            ARRAY % (b"(K\x02t", b"u1", b"|", b"\x89", b"X\x02\x00\x00\x00ab"),
            "not made of plain bytes",
        ),
        (ARRAY % (b"(K\x02t", b"u1", b"!", b"\x89", b"C\x02ab"), "not that of plain integers"),
        (
            ARRAY % (b"(K\x02t", b"f4", b"<", b"\x89", b"C\x02ab"),
            "dtype 'f4'; it must be of integers",
        ),
        (ARRAY % (b"(K\x02t", b"O8", b"|", b"\x89", b"C\x02ab"), "of objects is made of bytes"),
        (ARRAY[: ARRAY.index(b"(K\x01%s")], "array without content in the place of a value"),
        (
            ARRAY % (b"(K\x02t", b"u1", b"|", b"\x89", b"C\x02ab") + b"}b",
            "sets the state of a ndarray",
        ),
        (b"cnumpy\ndtype\n(U\x02u1tR" + b"(K\x03U\x01|NNNtb" * 2, "sets the state of a dtype"),
        (b"cnumpy\ndtype\n(U\x02u1tR(K\x03U\x01|N)Ntb", "not that of plain integers"),
        (b"cnumpy\ndtype\n(NtR", "dtype without a name"),
        (b"cnumpy\ndtype\n)R", "dtype without a name"),
        (b"cnumpy._core.multiarray\n_reconstruct\n(NNNtR", "begins an array in an unknown way"),
        (b"cnumpy._core.multiarray\n_reconstruct\n)R", "begins an array in an unknown way"),
        (FROM_BUFFER % (b"C\x02ab", b"(K\x03t", b"U\x01C"), "unknown way"),
        (FROM_BUFFER % (b"C\x02ab", b"(K\x03t", b"X\x01\x00\x00\x00C"), "does not fit"),
        (FROM_BUFFER % (b"C\x02ab", b"(K\x02t", b"X\x01\x00\x00\x00Z"), "unknown way"),
        (FROM_BUFFER % (b"N", b"(K\x02t", b"X\x01\x00\x00\x00C"), "unknown way"),
        (FROM_BUFFER % (b"C\x02ab", b"(K\x02t", b"X\x01\x00\x00\x00K)"), "impossible axes"),
        (FROM_BUFFER % (b"C\x02ab", b"(K\x02t", b"X\x01\x00\x00\x00K(K\x05t"), "impossible axes"),
        (FROM_BUFFER % (b"C\x02ab", b"(K\x02t", b"X\x01\x00\x00\x00K(Nt"), "impossible axes"),
        (b"c_codecs\nencode\n(U\x01aX\x06\x00\x00\x00latin1tR", "something other than text"),
        (
            b"c_codecs\nencode\n(X\x01\x00\x00\x00aX\x03\x00\x00\x00hextR",
            "something other than text",
        ),
        (b"c_codecs\nencode\n(V\\u20ac\nX\x06\x00\x00\x00latin1tR", "latin1 lacks"),
        (b"c__builtin__\nbytes\n(J\xff\xff\xff\x7ftR", "makes bytes of something"),
    ],
)
def test_what_is_no_plain_array_is_refused(array, message):
    refused(b"}U\x01a" + array + b"s.", message)


def test_arrays_are_not_compared_with_what_is_expected_in_their_place():
    array = ARRAY % (b"(K\x02t", b"u1", b"|", b"\x89", b"C\x02ab")
    for content in (
        b"c_codecs\nencode\n(X\x01\x00\x00\x00a%stR",
        b"cnumpy._core.multiarray\n_reconstruct\n(cnumpy\nndarray\n(%stU\x01btR",
        b"cnumpy._core.multiarray\n_reconstruct\n(cnumpy\nndarray\n(K\x00t%stR",
        b"cnumpy\ndtype\n(%stR",
        b"cnumpy\ndtype\n(U\x02u1tR(K\x03%sNNNtb",
    ):
        refused(b"}U\x01a" + content % array + b"s.", "unknown way|other than|without a|not that")


@pytest.mark.parametrize("depth", [MAX_DEPTH, 1000, 1_000_000])
@pytest.mark.parametrize(
    "nested",
    [
        lambda n: b"}K\x00" + b"]" * n + b"a" * (n - 1),
        lambda n: b"}K\x00" + b")" + b"\x85" * (n - 1),
        lambda n: b"}K\x00" + b"}K\x00" * (n - 1) + b"}" + b"s" * (n - 1),
        lambda n: b"}K\x00" + b"(" * n + b"t" * n,
        lambda n: b"}K\x00" + b"(" * n + b"l" * n,
        lambda n: b"}" + b")" + b"\x85" * (n - 1) + b"K\x00",  # as a key
    ],
)
def test_deep_nesting_is_refused(nested, depth):
    refused(nested(depth) + b"s.", "nested more than 20 deep|instructions|tuple as a key")


def test_the_greatest_depth_is_read():
    value = 5
    for _ in range(MAX_DEPTH - 1):
        value = [value]
    assert load_dict(pickle.dumps({"a": value}), "f") == {"a": value}


def test_a_tuple_of_itself_many_times_is_refused():
    refused(b"})" + b"2\x86" * 60 + b"K\x01s.", "instruction DUP")
    refused(b"}U\x01a)q\x000" + b"h\x00h\x00\x86q\x000" * 60 + b"h\x00s.", "POP")
    memoised = b")" + b"".join(b"q%ch%c\x86" % (i, i) for i in range(60))
    refused(b"}U\x01a" + memoised + b"s.", "one tuple in two places")


@pytest.mark.parametrize(
    "content", [b"}U\x01a]q\x00h\x00as.", b"}q\x00U\x01ah\x00s.", b"}U\x01a](q\x00h\x00tas."]
)
def test_what_holds_itself_is_refused(content):
    refused(content, "in two places|not there")


@pytest.mark.parametrize("instruction", [b"r", b"p"])
def test_a_large_place_in_the_memo_takes_no_memory(instruction):
    places = range(2**30, 2**30 + 2000)
    content = b"}" + b"".join(
        b"r" + struct.pack("<I", place) if instruction == b"r" else b"p%d\n" % place
        for place in places
    )
    tracemalloc.start()
    assert load_dict(content + b".", "f") == {}
    assert tracemalloc.get_traced_memory()[1] < 1_000_000
    tracemalloc.stop()


def test_the_number_of_instructions_is_limited():
    refused(b"}U\x01a(" + b"N" * MAX_INSTRUCTIONS + b"ls.", "more than 300,000 instructions")
    tracemalloc.start()
    refused(b"}\x94" * 1_000_000, "more than 300,000 instructions")
    assert tracemalloc.get_traced_memory()[1] < 60_000_000
    tracemalloc.stop()


def test_one_text_is_not_encoded_again_and_again():
    text = b"X" + struct.pack("<I", 100_000) + b"x" * 100_000
    once = b"c_codecs\nencode\nq\x00" + text + b"q\x01X\x06\x00\x00\x00latin1q\x02\x86q\x03R"
    again = b"h\x00h\x01h\x02\x86R"
    refused(b"}U\x01a](" + once + again * 10_000 + b"es.", "encodes one text many times")


def test_keys_that_are_chosen_to_collide_take_no_time():
    # Whole numbers that differ by a multiple of 2**61 - 1 have one hash.
    keys = (
        pickle.LONG1 + b"\x0a" + (i * (2**61 - 1)).to_bytes(10, "little") for i in range(100_000)
    )
    refused(b"}(" + b"".join(key + b"N" for key in keys) + b"u.", "more than 32 bits as a key")


@pytest.mark.parametrize("protocol", PROTOCOLS)
def test_a_call_of_anything_else_is_refused(protocol, tmp_path):
    trace = tmp_path / "executed"
    for bomb in (
        Call(open, str(trace), "w"),
        Call(eval, f"open({str(trace)!r}, 'w')"),
        Call(np.fromfile, str(trace)),
        Call(np.ndarray, (10**15,)),
        Call(np.dtype, "O"),
        Call(bytes, 10**12),
        Call(bytearray, 10**12),
        {1, 2},
        np.float64(3),
        np.zeros(3, "f4"),
        np.zeros(3, "i4,i4"),
        np.array(["a"]),
        np.datetime64("2000"),
    ):
        content = pickle.dumps({"a": bomb}, protocol)
        trace.unlink(missing_ok=True)
        refused(content)
        assert not trace.exists()


SMALL = {
    "labels": [1, 2, -3, 10**20],
    "data": np.arange(6, dtype=">i2").reshape(2, 3),
    "name": ("text\u20ac", b"\xff\n'\"\\", True, None, 0.5),
}


@pytest.mark.parametrize("protocol", PROTOCOLS)
def test_a_pickle_cut_short_anywhere_is_refused(protocol):
    content = pickle.dumps(SMALL, protocol)
    for length in range(len(content)):
        with pytest.raises(InputError):
            load_dict(content[:length], "f")


@pytest.mark.parametrize("kind", [*PROTOCOLS, *PYTHON_2])
def test_a_flipped_bit_gives_a_dict_or_one_line(kind):
    content = PYTHON_2[kind] if kind in PYTHON_2 else pickle.dumps(SMALL, kind)
    for bit in range(8 * len(content)):
        flipped = bytearray(content)
        flipped[bit // 8] ^= 1 << bit % 8
        found = outcome(bytes(flipped))
        assert type(found) is dict or found.isprintable()


@given(st.binary(max_size=60), st.binary(max_size=60))
def test_any_bytes_give_a_dict_or_one_line(before, after):
    content = pickle.dumps(SMALL, 2)
    for mutated in (before + after, b"}" + before + b".", before + content[3:] + after):
        found = outcome(mutated)
        assert type(found) is dict or found.isprintable()


# --- arrays of plain Python objects ---------------------------------------------------------

ITEMS = st.one_of(
    st.none(), st.booleans(), st.integers(-(10**80), 10**80), st.floats(), st.text(), st.binary()
)


@settings(max_examples=150)
@given(st.lists(ITEMS, min_size=1, max_size=30), st.sampled_from(PROTOCOLS), st.booleans())
def test_arrays_of_plain_objects_are_read_as_python_reads_them(items, protocol, repeated):
    array = np.empty(len(items) * (2 if repeated else 1), object)
    array[:] = items * (2 if repeated else 1)
    for shaped in (array, array[:, None], array[None], np.asfortranarray(array.reshape(1, -1))):
        found = load_objects(pickle.dumps(shaped, protocol), shaped.shape)
        assert found.dtype == object
        assert found.shape == shaped.shape
        assert equal(found.tolist(), pickle.loads(pickle.dumps(shaped)).tolist())


@pytest.mark.parametrize(
    ("value", "reason"),
    [
        (np.array(["a", Call(print, "x")], object), "it asks for|it calls"),
        (np.array(["a", ["b"]], object), "a list in place 1"),
        (np.array(["a", {"b": 1}], object), "a dict in place 1"),
        (np.array(["a", np.str_("b")], object), "it asks for 'numpy"),
        (np.array(["a", np.arange(2)], object), "a ndarray in place 1"),
        (np.array(["a", "b", "c"], object), "not that array"),
        (np.array(["a", "b"]), "an array has dtype 'U1'"),
        (np.arange(2), "it holds a ndarray, not that array"),
        (["a", "b"], "it holds a list, not that array"),
    ],
)
def test_other_objects_are_refused_in_one_line(value, reason):
    for protocol in PROTOCOLS:
        with pytest.raises(InputError, match=reason) as caught:
            load_objects(pickle.dumps(value, protocol), (2,))
        assert str(caught.value).isprintable()


def test_an_array_of_objects_that_is_cut_or_endless_is_refused_soon():
    content = pickle.dumps(np.array(["a", "b"] * 50, object), 4)
    for length in range(len(content)):
        with pytest.raises(InputError):
            load_objects(content[:length], (100,))
    with pytest.raises(InputError, match="more than 1,006 instructions"):
        load_objects(b"N" * 10**6 + b".", (2,))
    with pytest.raises(InputError, match="there are more than 5,000,000"):
        load_objects(b"", (MAX_OBJECTS + 1,))


def test_a_dict_with_an_array_of_objects_is_refused():
    for protocol in PROTOCOLS:
        refused(pickle.dumps({"a": np.array(["a"], object)}, protocol), "an array of objects")
