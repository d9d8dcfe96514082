"""Files and folders that data are read from."""

import re
import subprocess
import sys
import warnings

import formats_table
import numpy as np
import pytest
from command_line import call
from hypothesis import given
from hypothesis import strategies as st

from fastlin import Split, load_rows, load_split
from fastlin.data.arrays import numeric
from fastlin.data.beside import Place
from fastlin.data.checks import ROW_DTYPES
from fastlin.data.formats import csv_text, names, registry
from fastlin.data.labels import classes_that_occur
from fastlin.data.reading import read_rows
from fastlin.data.source import DataReference
from fastlin.errors import DataWarning, InputError, PackageError

RNG = np.random.default_rng(0)
X = RNG.normal(size=(60, 8)).astype(np.float32)
WORDS = np.array(["owl", "cat", "däg"])
Y = RNG.integers(0, 3, 60)
NAMES = ("cat", "däg", "owl")


@pytest.fixture(autouse=True)
def place(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    np.save("X.npy", X)
    np.save("y.npy", WORDS[Y])
    return tmp_path


def refusal(*arguments, **named):
    with pytest.raises(InputError) as caught:
        load_split(*arguments, **named)
    assert str(caught.value).isprintable()
    assert len(str(caught.value)) < 600
    return str(caught.value)


def is_right(split, rows=X):
    """The rows and the names of their classes are those of this module."""
    assert np.array_equal(split.train.X, rows)
    assert split.train.class_names == NAMES
    assert [NAMES[label] for label in split.train.y] == WORDS[Y].tolist()
    return True


def write_csv(path, *, header=True, label=True, delimiter=","):
    lines = [delimiter.join(["id", *(f"f{i}" for i in range(8)), *["species"] * label])] * header
    for row in range(60):
        cells = [*map(repr, X[row].astype(float).tolist()), *[WORDS[Y[row]]] * label]
        lines.append(delimiter.join([*[str(row)] * header, *cells]))
    path.write_text("\n".join(lines) + "\n", encoding="utf-8")


# --- the table --------------------------------------------------------------------------------


@pytest.mark.skipif(sys.platform != "linux", reason="what is mapped is told by Linux")
@pytest.mark.parametrize("name", formats_table.WRITERS)
def test_the_page_of_formats_tells_what_is_read(name):
    if not formats_table.installed(name):
        pytest.skip(f"what reads {name} is not installed: {formats_table.PACKAGES[name]}")
    written = formats_table.PAGE.read_text(encoding="utf-8").splitlines()
    for line in formats_table.lines(name):
        assert line in written, "write it anew: python -m tests.formats_table"


def test_the_page_of_formats_has_every_format_once():
    assert list(formats_table.WRITERS) == [known.name for known in registry.FORMATS]
    written = formats_table.PAGE.read_text(encoding="utf-8").splitlines()

    def as_written(name):
        return [line for line in written if line.startswith(f"| {name} |")]

    assert list(formats_table.page(as_written)) == written


# --- rows and labels in files of their own ----------------------------------------------------


def test_labels_come_from_a_file_an_array_or_a_column(place):
    write_csv(place / "t.csv")
    np.savez("a.npz", other=X[:, :2], kind=WORDS[Y], X=X)
    for labels in ("y.npy", "t.csv", "t.csv:species", "a.npz:kind", place / "y.npy"):
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", DataWarning)
            split = load_split("X.npy", labels=labels)
        assert is_right(split)
    with pytest.warns(DataWarning, match="left out 'other'"):
        assert is_right(load_split("a.npz", labels=":kind"))
    np.savez("only.npz", X)
    assert is_right(load_split("only.npz", labels="y.npy"))
    with pytest.warns(DataWarning, match="left out 'X'"):
        assert load_split("a.npz:other", labels="a.npz:kind").train.X.shape == (60, 2)


def test_validation_and_test_rows_come_from_files_of_their_own(place):
    np.savez("val.npz", X=X[:9], y=WORDS[Y[:9]])
    np.savez("all.npz", X=X, X_test=X[:7], y_test=WORDS[Y[:7]], y=WORDS[Y])
    split = load_split(
        "X.npy", labels="y.npy", val_data="val.npz", test_data="X.npy", test_labels="y.npy"
    )
    assert is_right(split)
    assert np.array_equal(split.val.X, X[:9])
    assert np.array_equal(split.test.y, split.train.y)
    again = load_split(**split.source.arguments())
    assert again.fingerprint() == split.fingerprint()
    assert split.source.val_data == str(place / "val.npz")
    assert np.array_equal(load_split("X.npy", labels="y.npy", test_data="all.npz").test.X, X[:7])
    assert "X_test is in all.npz and in val.npz" in refusal("all.npz", test_data="val.npz")
    assert "for val rows it must have X_val" in refusal("X.npy", labels="y.npy", val_data="all.npz")
    assert "val_labels is a file" in refusal("X.npy", labels="y.npy", val_data="X.npy")


def test_parts_of_other_floats_become_those_of_the_training_rows():
    np.savez("a.npz", X=X, y=Y, X_val=X.astype(float), y_val=Y)
    with pytest.warns(DataWarning, match="X_val is float64; it was converted to float32"):
        assert np.array_equal(load_split("a.npz").val.X, X)
    beyond = X.astype(float)
    beyond[3, 2] = 1e39
    np.savez("a.npz", X=X, y=Y, X_val=beyond, y_val=Y)
    with pytest.warns(DataWarning):
        assert "val: X has the value inf in row 3, column 2" in refusal("a.npz")


def test_rows_of_other_dtypes_are_converted_once_and_this_is_said():
    whole = np.round(X * 4)
    for stored in (whole.astype(">f4"), whole.astype(np.int16), whole.astype("<i8"), whole > 0):
        np.savez("a.npz", X=stored, y=WORDS[Y])
        with pytest.warns(DataWarning, match=r"X_train is not stored .* to float32"):
            assert is_right(load_split("a.npz"), stored.astype(np.float32))
    np.savez("a.npz", X=np.asfortranarray(X), y=WORDS[Y])
    with pytest.warns(DataWarning, match="Fortran order"):
        assert is_right(load_split("a.npz"))
    np.savez("a.npz", X=whole.astype(int), y=Y, X_val=whole.astype(int) + 2**30, y_val=Y)
    with pytest.warns(DataWarning, match="to float64"):
        split = load_split("a.npz")
    assert split.train.X.dtype == split.val.X.dtype == np.float64


@pytest.mark.parametrize("with_half", [False, True])
def test_half_precision_is_kept_where_kernels_take_it(with_half, monkeypatch):
    dtypes = {*ROW_DTYPES} - {np.dtype(np.float16)} | (
        {np.dtype(np.float16)} if with_half else set()
    )
    monkeypatch.setattr("fastlin.data.arrays.ROW_DTYPES", tuple(dtypes))
    half = X.astype(np.float16)
    assert numeric("X", half).dtype == (np.float16 if with_half else np.float32)
    assert (numeric("X", half) is half) == with_half
    assert numeric("X", half.astype(">f2")).dtype == (np.float16 if with_half else np.float32)
    assert np.array_equal(numeric("X", half), half)


@pytest.mark.skipif(sys.platform != "linux", reason="what is mapped is told by Linux")
def test_rows_that_are_mapped_reach_the_data_set_as_they_are():
    rows = np.zeros((1000, 300), np.float32)
    np.save("big.npy", rows)
    np.save("big_y.npy", np.arange(1000) % 3)
    np.savez("pixels.npz", X=rows.astype(np.uint8), y=np.arange(1000) % 3)
    for rows_of_split in (load_split("big.npy", labels="big_y.npy").train.X,):
        assert formats_table._is_mapped(rows_of_split)
        assert not rows_of_split.flags.writeable
    assert not formats_table._is_mapped(load_split("pixels.npz").train.X)  # below a megabyte
    np.savez("pixels.npz", X=np.zeros((2000, 3000), np.uint8), y=np.arange(2000) % 3)
    assert formats_table._is_mapped(load_split("pixels.npz").train.X)


def test_text_as_python_objects_is_read_and_other_objects_name_the_way_out(place):
    words = WORDS[Y].astype(object)
    np.savez("a.npz", X=X, y=words)
    np.save("objects.npy", words)
    np.savez("n.npz", X=X, y=Y, class_names=np.array(["owl", "cat", "däg"], object),
             feature_names=np.array([f"f{i}" for i in range(8)], object))  # fmt: skip
    for split in (load_split("a.npz"), load_split("X.npy", labels="objects.npy")):
        assert is_right(split)
    named = load_split("n.npz").train
    assert named.class_names == ("owl", "cat", "däg")
    assert named.feature_names == tuple(f"f{i}" for i in range(8))
    np.savez("ids.npz", X=X, ids=words)
    assert load_rows("ids.npz").ids.tolist() == words.tolist()
    words[7] = None
    np.savez("a.npz", X=X, y=words)
    assert "no label in row 7" in refusal("a.npz")
    words[7] = np.str_("owl")
    np.savez("a.npz", X=X, y=words)
    np.save("objects.npy", words)
    said = "holds Python objects that are not read: it asks for 'numpy"
    for line in (refusal("a.npz"), refusal("X.npy", labels="objects.npy")):
        assert said in line
        assert line.endswith("; save plain numbers, or text: y.astype(str)")
    np.savez("a.npz", X=X.astype(object), y=Y)
    assert "X_train has dtype object; features must be" in refusal("a.npz")


def test_a_large_array_that_cannot_be_mapped_says_first_what_it_costs(monkeypatch):
    np.savez_compressed("a.npz", X=X, y=WORDS[Y])
    monkeypatch.setattr("fastlin.files.npz._MUCH_MEMORY", X.nbytes)
    with pytest.warns(DataWarning, match="a.npz: 'X' takes 0.0 GB of memory; rows in a .npy"):
        assert is_right(load_split("a.npz"))

    def cannot_be_read(*_, **more):
        raise MemoryError

    monkeypatch.setattr("numpy.empty", cannot_be_read)
    note, error = call("data", "info", "a.npz", code=2, begun=True).stderr.splitlines()
    assert note.endswith("a.npz: 'X' takes 0.0 GB of memory; rows in a .npy file of their own are "
                         "read from the disk as they are needed")  # fmt: skip
    assert error.endswith("a.npz does not fit into memory")


def test_a_flipped_bit_of_mapped_rows_is_found(place):
    np.savez("a.npz", X=RNG.integers(0, 256, (2000, 3000), np.uint8), y=np.arange(2000) % 3)
    content = bytearray((place / "a.npz").read_bytes())
    content[3_000_000] ^= 4
    (place / "a.npz").write_bytes(content)
    assert "a.npz is damaged: Bad CRC-32" in refusal("a.npz")


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (("X.npy", "none.npy"), "there is no file none.npy of labels"),
        (("X.npy", "t.csv:none"), r"t.csv has no column 'none'; the columns are 'id', 'f0'"),
        (("X.npy", "a.npz:none"), "a.npz has no 'none'; there are 'a', 'b'"),
        (("X.npy", "a.npz"), "no array has a usual name of labels"),
        (("a.npz", "y.npy"), "the arrays are 'a', 'b'; name the rows as PATH:ARRAY"),
        (("a.npz:none", "y.npy"), "a.npz has no 'none'; there are 'a', 'b'"),
        (("cifar10-mini", "y.npy"), "cifar10-mini has labels and parts of its own"),
        (("X.npy", "short.npy"), r"short.npy has 5 labels, and .*X.npy 60 rows"),
        (("two.csv", None), "two.csv: the columns 'label', 'Y' are all called like labels"),
        (("words.csv", ":label"), "the column 'a' holds .*'x'.*, no numbers; features must be"),
        (("gap.csv", ":label"), "the column 'b' has no number in row 1; every row needs"),
        (("t.csv", ":none"), "t.csv has no column 'none'"),
        (("twice.csv", None), "has the column 'a' twice"),
        (("mixed.csv", ":label"), "cannot be read as a table|line 3 has 2 cells"),
    ],
)  # fmt: skip
def test_what_does_not_fit_is_one_line(place, arguments, said):
    write_csv(place / "t.csv")
    np.savez("a.npz", a=X, b=Y)
    np.save("short.npy", Y[:5])
    (place / "two.csv").write_text("a,label,Y\n1,1,1\n2,2,2\n")
    (place / "words.csv").write_text("a,label\nx,1\ny,2\n")
    (place / "gap.csv").write_text("a,b,label\n1,1,1\n2,,2\n")
    (place / "twice.csv").write_text("a,a,label\n1,1,1\n2,1,2\n")
    (place / "mixed.csv").write_text("a,b,label\n1,1,1\n2,1\n")
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", DataWarning)
        assert re.search(said, refusal(arguments[0], labels=arguments[1]))


def test_rows_alone_are_read_without_labels(place):
    np.savez("a.npz", X_test=X)
    assert np.array_equal(read_rows("X.npy")["X_train"], X)
    assert np.array_equal(read_rows("a.npz")["X_test"], X)


def test_places_are_paths_with_or_without_a_name(place):
    (place / "a:b.npy").touch()
    assert Place.of("a:b.npy").name is None
    assert Place.of("X.npy:z").name == "z"
    assert Place.of("none.npy:z").name is None
    assert Place.of("X.npy").absolute("X.npy") == str(place / "X.npy")
    assert Place.of("X.npy:z").absolute("X.npy:z") == f"{place / 'X.npy'}:z"


def test_a_reference_without_labels_is_that_of_older_versions():
    old = {"data": "a.npz", "split": None, "data_dir": None, "sha256": "0"}
    assert DataReference.from_dict(old) == DataReference("a.npz", sha256="0")
    with pytest.raises(InputError, match="labels is 3; it must be text"):
        DataReference.from_dict(old | {"labels": 3})


# --- tables -----------------------------------------------------------------------------------


@pytest.fixture(params=["pyarrow", "without pyarrow"])
def reader(request, monkeypatch):
    if request.param == "pyarrow":
        pytest.importorskip("pyarrow")
    else:
        monkeypatch.setitem(sys.modules, "pyarrow", None)


def test_tables_as_text_are_read_with_and_without_names(place, reader):
    write_csv(place / "t.csv")
    assert is_right(load_split("t.csv"))  # the column 'id' is no feature
    for name, delimiter in (("t.tsv", "\t"), ("s.csv", ";"), ("t.data", ",")):
        write_csv(place / name, header=False, delimiter=delimiter)
        assert is_right(load_split(name, labels=":8"))
        assert "the column '8' holds" in refusal(name)
    (place / "y.csv").write_text("\n".join(WORDS[Y]) + "\n", encoding="utf-8")
    assert is_right(load_split("X.npy", labels="y.csv"))  # the first label is no name
    (place / "y.csv").write_text("name of it\n" + "\n".join(WORDS[Y]), encoding="utf-8-sig")
    assert is_right(load_split("X.npy", labels="y.csv"))


@pytest.mark.parametrize(
    ("first", "rows", "names"),
    [
        ("0,1,2,label", "1,2,3,cat\n4,5,6,dog", "0 1 2 label"),  # as pandas writes them
        ("0,1,2", "1,2,3\n4,5,6", "0 1 2"),
        ("0,1", "1.5,2.5\n4.5,.5", "0 1"),
        ("0,1", "1,0\n1,1", None),
        ("0", "cat\ndog", "0"),
        ("0", "1\n2", None),
        ("a,b,2020,label", "1,2,3,cat\n4,5,6,dog", "a b 2020 label"),
        ("a,2020,2021", "1,2,3\n4,5,6", "a 2020 2021"),
        ("nan,inf,1e5,species", "1,2,3,cat\n4,5,6,dog", "nan inf 1e5 species"),
        ("5.1,3.5,setosa", "1,2,virginica\n4,5,setosa", None),
        ("NA,3.5,1", "1,2,3\n4,5,6", None),
        ("?,3.5,1", "1,2,3\n4,5,6", None),
    ],
)
def test_names_of_columns_may_be_numbers(place, reader, first, rows, names):
    (place / "t.csv").write_text(f"{first}\n{rows}\n")
    every = registry.Wanted(lambda _: True, lambda _: True, lambda _: False)
    found = csv_text.read(place / "t.csv", every)
    expected = names.split() if names else [str(place) for place in range(first.count(",") + 1)]
    assert list(found) == expected
    assert {len(column) for column in found.values()} == {2 if names else 3}


def test_cells_are_of_the_same_kinds_whoever_reads_them(place):
    pytest.importorskip("pyarrow")
    text = 'a,b,c,d,e,f,g\n1,1,1.5,true,x,,NA\n-2,,nan,False,"y, z",,2\n3,4,1e3,TRUE,1,,3\n'
    (place / "t.csv").write_text(text)
    every = registry.Wanted(lambda _: True, lambda _: True, lambda _: False)
    found = csv_text.read(place / "t.csv", every)
    layout = csv_text.Layout(",", list("abcdefg"), has_header=True)
    plain = csv_text.plain_columns(place / "t.csv", layout, list("abcdefg"), [])
    for name, column in plain.items():
        if name != "f":  # of nothing at all, which nobody can tell
            assert column.dtype == found[name].dtype
            assert str(column.tolist()) == str(found[name].tolist())


@pytest.mark.parametrize(
    ("cells", "classes"),
    [
        (["1", "2", "10"], ("1", "2", "10")),
        (["01", "02", "10"], ("01", "02", "10")),
        (["+1", "-1", "-1"], ("+1", "-1")),
        (["1.0", "2.0", "10.0"], ("1", "2", "10")),
        (["1", "2.0", "10"], ("1", "2", "10")),
        ([" 1", "2 ", "10"], ("1", "2", "10")),
        ([" 1", "1", "2"], ("1", "2")),
        (["true", "FALSE", "True"], ("False", "True")),
        (["1", "x", "01"], ("01", "1", "x")),
        (["0x10", "16", "x"], ("0x10", "16", "x")),
        (["2020-01-01", "2020-01-02", "2020-01-02"], ("2020-01-01", "2020-01-02")),
    ],
)
@pytest.mark.parametrize("where", ["with the rows", "named", "alone"])
def test_labels_of_a_table_as_text_keep_how_they_are_written(place, reader, cells, classes, where):
    name = {"with the rows": "label", "named": "kind", "alone": "kind"}[where]
    lines = [f"{cell},{row}.5" for row, cell in enumerate(cells * 5)]
    (place / "t.csv").write_text("\n".join([f"{name},a", *lines]))
    (place / "y.csv").write_text("\n".join([name, *cells * 5]))
    if where == "alone":
        split = load_split("t.csv:a", labels="y.csv")
    else:
        split = load_split("t.csv", labels=":kind" if where == "named" else None)
    assert split.train.class_names == classes
    same = [cell.strip() for cell in cells * 5]
    for row, label in enumerate(split.train.y.tolist()):
        assert label == split.train.y[same.index(same[row])]


@pytest.mark.parametrize(
    ("cells", "said"),
    [
        (["1", "2", "1.0"], "labels '1' in row 0 and '1.0' in row 2, the same number written"),
        (["1", "2", "01"], "labels '1' in row 0 and '01' in row 2, the same number written"),
        (["2", "0", "-0"], "labels '0' in row 1 and '-0' in row 2, the same number written"),
        (["10", "2", "1e1"], "labels '10' in row 0 and '1e1' in row 2, the same number written"),
        (["0.5", "2", "0.50"], "float targets"),
        (["1", "2", "9" * 25], "float targets"),
        (["1", "2", ""], "no label in row 2"),
        (["1", "2", "9" * 5000], "float targets"),
    ],
)
def test_labels_that_are_one_number_in_two_ways_are_refused(place, reader, cells, said):
    (place / "t.csv").write_text("\n".join(["label,a", *(f"{cell},0.5" for cell in cells)]))
    assert said in refusal("t.csv")


def test_ids_of_a_table_as_text_keep_how_they_are_written(place, reader):
    for cells, right in (
        (["1", "2", "3"], [1, 2, 3]),
        (["007", "7", "07"], ["007", "7", "07"]),
        (["1.0", "1", "x"], ["1.0", "1", "x"]),
    ):
        (place / "t.csv").write_text("\n".join(["id,a", *(f"{cell},0.5" for cell in cells)]))
        assert load_rows("t.csv").ids.tolist() == right


BARE = [
    ("a,b,label\n", "t.csv has no rows, only the columns 'a', 'b', 'label'"),
    ("label\n", "t.csv has no rows, only the columns 'label'"),
    ("a,b,a,label\n1,2,3,x\n", "has the column 'a' twice; every column needs a name of its own"),
    ("a,label,label\n1,x,x\n", "has the column 'label' twice; every column needs a name of its"),
    ("a,b,label\n1,,x\n2,NA,y\n", "the column 'b' has no value in any row; leave it out"),
    ("a,b,label\n1,2,\n2,3,\n", "the column 'label' has no label in any row"),
    ("a,b,label\n1,2,x\n2,,y\n", "the column 'b' has no number in row 1; every row needs all"),
    ("a,b,label\n0.5,2,x\n2,3,\n", "no label in row 1"),
]


@pytest.mark.parametrize(("text", "said"), BARE)
def test_tables_with_nothing_in_them_are_one_clear_line(place, reader, text, said):
    (place / "t.csv").write_text(text)
    assert said in refusal("t.csv")
    if "label'" in said:
        assert said in refusal("X.npy", labels="t.csv")


def test_other_tables_with_nothing_in_them_are_one_clear_line(place):
    pa = pytest.importorskip("pyarrow")
    from pyarrow import feather, parquet

    none, words = pa.array([None, None]), ["x", "y"]
    lists = pa.list_(pa.float32())
    for table, said in (
        (pa.table({"a": pa.array([], pa.float64()), "label": pa.array([], pa.string())}),
         "has no rows, only the columns 'a', 'label'"),
        (pa.table({"x": pa.array([], lists), "label": pa.array([], pa.string())}), "has no rows"),
        (pa.table({}), "has no column of features"),
        (pa.table([[1.0, 2], [3.0, 4], words], ["a", "a", "label"]), "has the column 'a' twice"),
        (pa.table({"a": none, "b": [1.0, 2], "label": words}), "'a' has no value in any row"),
        (pa.table({"a": none.cast(pa.float64()), "label": words}), "'a' has no value in any row"),
        (pa.table({"a": [1.0, 2], "label": none}), "'label' has no label in any row"),
    ):  # fmt: skip
        parquet.write_table(table, "t.parquet")
        feather.write_feather(table, "t.feather", compression="uncompressed")
        for name in ("t.parquet", "t.feather"):
            assert said in refusal(name)


def test_a_large_table_needs_pyarrow(place, monkeypatch):
    write_csv(place / "t.csv")
    monkeypatch.setitem(sys.modules, "pyarrow", None)
    monkeypatch.setattr(csv_text, "_LARGEST_WITHOUT_PYARROW", 100)
    with pytest.raises(PackageError, match=r"needs pyarrow: pip install 'fastlin\[formats\]'"):
        load_split("t.csv")


def test_columns_of_lists_are_rows(place):
    pa = pytest.importorskip("pyarrow")
    from pyarrow import feather, parquet

    lists = pa.FixedSizeListArray.from_arrays(pa.array(X.ravel()), 8)
    columns = {"embedding": lists, "label": WORDS[Y], "url": ["u"] * 60}
    table = pa.table(columns)
    parquet.write_table(table, "a.parquet")
    feather.write_feather(table, "a.feather")
    with pa.OSFile("a.arrow", "wb") as file, pa.ipc.new_stream(file, table.schema) as stream:
        stream.write_table(table.slice(0, 30))
        stream.write_table(table.slice(30))
    for name in ("a.parquet", "a.feather", "a.arrow"):
        with pytest.warns(DataWarning, match="left out the columns 'url'"):
            assert is_right(load_split(name))
        assert np.array_equal(load_split(f"{name}:embedding", labels=":label").train.X, X)
    parquet.write_table(pa.table({**columns, "other": lists}), "two.parquet")
    assert "'embedding', 'other' all hold lists" in refusal("two.parquet")
    categories = pa.array(WORDS[Y]).dictionary_encode()
    ragged = pa.array([[1.0, 2.0]] * 59 + [[1.0]])
    parquet.write_table(pa.table({"x": ragged, "label": categories}), "ragged.parquet")
    assert "list of 1 values in row 59, and one of 2 in row 0" in refusal("ragged.parquet")
    parquet.write_table(pa.table({"x": lists, "label": categories}), "b.parquet")
    assert is_right(load_split("b.parquet"))
    missing = pa.array([*X[:59].tolist(), None])
    parquet.write_table(pa.table({"x": missing, "label": categories}), "gap.parquet")
    assert "has no list in row 59" in refusal("gap.parquet")


# --- folders ----------------------------------------------------------------------------------


def test_a_folder_of_arrays_is_read(place):
    folder = place / "arrays"
    folder.mkdir()
    for name, array in (("X_train", X), ("y_train", WORDS[Y]), ("features_test", X[:4]),
                        ("labels_test", WORDS[Y[:4]])):  # fmt: skip
        np.save(folder / f"{name}.npy", array)
    (folder / "README.txt").write_text("of no importance")
    split = load_split("arrays")
    assert is_right(split)
    assert np.array_equal(split.test.X, X[:4])
    np.save(folder / "x_train.npy", X)
    assert "has both X_train.npy and x_train.npy" in refusal("arrays")


def test_a_folder_of_images_is_read_class_by_class(place):
    from PIL import Image

    def write(path, shape=(4, 5, 3)):
        path.parent.mkdir(parents=True, exist_ok=True)
        pixels = RNG.integers(0, 256, shape, np.uint8)
        Image.fromarray(pixels).save(path)
        return pixels

    written = [write(place / "img" / "train" / name / f"{i}.png")
               for name in ("cat", "dog") for i in range(3)]  # fmt: skip
    write(place / "img" / "test" / "dog" / "0.png")
    split = load_split("img")
    assert split.train.class_names == ("cat", "dog")
    assert split.train.image_shape == (3, 4, 5)
    expected = np.array(written).transpose(0, 3, 1, 2).reshape(6, -1)
    assert np.array_equal(split.train.X, expected)
    assert split.train.y.tolist() == [0, 0, 0, 1, 1, 1]
    assert split.test.y.tolist() == [1]
    assert load_split("img/train").fingerprint() != split.fingerprint()
    gray = write(place / "gray" / "a" / "1.png", (3, 2))
    write(place / "gray" / "b" / "1.png", (3, 2))
    assert np.array_equal(load_split("gray").train.X[0], gray.ravel())
    write(place / "img" / "train" / "cat" / "9.png", (4, 4, 3))
    said = refusal("img")
    assert "9.png has 4 x 4 pixels, and img/train/cat/0.png has 5 x 4" in said
    (place / "img" / "train" / "cat" / "9.png").write_bytes(b"\x89PNG no image")
    assert "9.png cannot be read as an image" in refusal("img")
    (place / "empty").mkdir()
    assert "the folder empty holds no data" in refusal("empty")


# --- other formats ----------------------------------------------------------------------------


def test_data_sets_in_groups_of_hdf5_are_read(place):
    h5py = pytest.importorskip("h5py")
    with h5py.File("a.h5", "w") as file:
        file["train/features"], file["train/labels"] = X, WORDS[Y].astype(object)
        file.create_dataset("test/features", data=X[:4], compression="gzip")
        file["test/labels"] = WORDS[Y[:4]].astype(object)
    split = load_split("a.h5")
    assert is_right(split)
    assert np.array_equal(split.test.X, X[:4])
    with h5py.File("huge.h5", "w") as file:
        file.create_dataset("X", (10**7, 10**4), "f4", chunks=(100, 100))
        file["y"] = Y
    assert "'X' cannot have 400,000,000,000 bytes, it takes 0" in refusal("huge.h5")


def test_tensors_of_bfloat16_have_their_values_with_and_without_ml_dtypes(monkeypatch):
    safetensors = pytest.importorskip("safetensors.numpy")
    ml_dtypes = pytest.importorskip("ml_dtypes")
    rows = X.astype(ml_dtypes.bfloat16)
    safetensors.save_file({"X": rows, "y": Y}, "a.safetensors")
    for module in (ml_dtypes, None):
        monkeypatch.setitem(sys.modules, "ml_dtypes", module)
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", DataWarning)
            found = load_split("a.safetensors").train.X
        assert np.array_equal(found.astype(np.float32), rows.astype(np.float32))


def test_tensors_of_pytorch_are_read_and_nothing_is_executed(place):
    torch = pytest.importorskip("torch", reason="torch is not installed")
    tensors = torch.from_numpy(X), torch.from_numpy(Y)
    (place / "f").mkdir()
    torch.save(tensors, "pair.pt")
    torch.save({"train": {"X": tensors[0], "y": tensors[1]}}, "nested.pth")
    torch.save(tensors[0], "f/features_train.pt")
    torch.save(tensors[1], "f/targets_train.pt")
    for name in ("pair.pt", "nested.pth", "f"):
        split = load_split(name)
        assert np.array_equal(split.train.X, X)
        assert split.train.y.tolist() == Y.tolist()
    torch.save(torch.nn.Linear(2, 2), "model.pt")
    assert "holds more than tensors" in refusal("model.pt")
    assert Split.from_arrays(tensors[0].to(torch.bfloat16), Y).train.X.dtype == np.float32


@pytest.mark.parametrize(
    ("name", "package"),
    [
        ("a.parquet", "pyarrow"),
        ("a.safetensors", "safetensors"),
        ("a.h5", "h5py"),
        ("a.pt", "torch"),
    ],
)
def test_a_missing_package_is_one_line_that_says_what_to_install(place, monkeypatch, name, package):
    import test_files

    kind = {"a.pt": "PyTorch", "a.h5": "HDF5", "a.parquet": "Parquet"}.get(name, "safetensors")
    (place / name).write_bytes(test_files.KINDS[kind])
    monkeypatch.setitem(sys.modules, package, None)
    with pytest.raises(PackageError, match=rf"{name}: reading {kind} needs {package}: pip install"):
        load_split(name)


@pytest.mark.parametrize("name", ["digits", "iris", "wine", "breast_cancer"])
def test_toy_sets_are_those_of_scikit_learn(name, monkeypatch):
    datasets = pytest.importorskip("sklearn.datasets")
    X, y = getattr(datasets, f"load_{name}")(return_X_y=True)
    split = load_split(name)
    assert np.array_equal(split.train.X, X)
    assert np.array_equal(split.train.y, y)
    assert split.train.image_shape == ((1, 8, 8) if name == "digits" else None)
    monkeypatch.setitem(sys.modules, "sklearn.datasets", None)
    with pytest.raises(PackageError, match="comes with scikit-learn, which is not installed"):
        load_split(name)


def test_a_file_of_another_kind_than_its_name_says_is_read_and_this_is_said(place):
    (place / "X.npy").rename(place / "X.npz")
    with pytest.warns(DataWarning, match=r"X.npz is one NumPy array \(.npy\), and is read as such"):
        assert is_right(load_split("X.npz", labels="y.npy"))


# --- arrays and labels ------------------------------------------------------------------------


def test_frames_tensors_and_other_arrays_are_taken():
    class OnlyDLPack:
        def __dlpack__(self, **more):
            return X.__dlpack__(**more)

        def __dlpack_device__(self):
            return X.__dlpack_device__()

    rows = [OnlyDLPack()]
    labels = [WORDS[Y], WORDS[Y].astype(object), WORDS[Y].tolist()]
    try:
        import pandas as pd
    except ImportError:
        pass
    else:
        rows.append(pd.DataFrame(X))
        labels += [pd.Series(WORDS[Y], dtype=kind) for kind in ("category", "string", "object")]
        labels.append(pd.DataFrame(WORDS[Y]))
    try:
        import polars as pl
    except ImportError:
        pass
    else:
        rows.append(pl.DataFrame(X))
        labels += [pl.Series(WORDS[Y]), pl.Series(WORDS[Y], dtype=pl.Categorical)]
    for given_rows in rows:
        assert is_right(Split.from_arrays(given_rows, labels[0]))
    for given_labels in labels:
        assert is_right(Split.from_arrays(X, given_labels))


@given(
    st.lists(
        st.one_of(st.integers(-5, 5), st.booleans(), st.sampled_from(["a", "b", "ä"]),
                  st.none(), st.floats(), st.sampled_from([b"a", b"b"])),
        min_size=1, max_size=20,
    )
)  # fmt: skip
def test_lists_of_anything_are_labels_or_one_line(items):
    array = np.empty(len(items), object)
    array[:] = items
    try:
        found, numbers = classes_that_occur({"y": array})
    except InputError as error:
        message = str(error)
    else:
        message = ""
    if message:
        assert message.isprintable()
        return
    texts = [item.decode() if isinstance(item, bytes) else item for item in items]
    texts = [int(text) if isinstance(text, float) else text for text in texts]
    assert [found[number] for number in numbers["y"]] == [str(text) for text in texts]


@given(st.integers(1, 30), st.integers(2, 9), st.data())
def test_one_hot_labels_are_the_numbers_of_their_columns(n, K, data):
    numbers = data.draw(st.lists(st.integers(0, K - 1), min_size=n, max_size=n))
    dtype = data.draw(st.sampled_from([bool, np.uint8, np.int64, np.float32]))
    one_hot = np.eye(K, dtype=dtype)[numbers]
    if len(set(numbers)) > 1:
        found, places = classes_that_occur({"y": one_hot})
        assert [int(found[place]) for place in places["y"]] == numbers
    row, column = data.draw(st.integers(0, n - 1)), data.draw(st.integers(0, K - 1))
    one_hot[row, column] = not one_hot[row, column]
    with pytest.raises(InputError, match=rf"multi-label: row {row} is of [02] classes"):
        classes_that_occur({"y": one_hot})


@pytest.mark.parametrize(
    ("name", "meaning"),
    [
        ("X", "X_train"), ("x_train", "X_train"), ("Xtest", "X_test"), ("train_images", "X_train"),
        ("train/labels", "y_train"), ("embeddings", "X_train"), ("features_val", "X_val"),
        ("validation_labels", "y_val"), ("dev.y", "y_val"), ("targets", "y_train"),
        ("class_names", "class_names"), ("target_names", "class_names"),
        ("image_shape", "image_shape"), ("filenames", None), ("train_X_test", None), ("xy", None),
    ],
)  # fmt: skip
def test_usual_names_mean_rows_and_labels_of_parts(name, meaning):
    assert names.meaning_of(name) == meaning


def test_reading_loads_no_package_before_it_is_needed():
    code = (
        "import sys, fastlin; from fastlin.data import catalog;"
        "print({'pyarrow', 'h5py', 'safetensors', 'torch', 'pandas', 'sklearn', 'ml_dtypes', 'PIL'}"
        " & sys.modules.keys())"
    )
    found = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert found.stdout == "set()\n"


def test_text_of_hdf5_that_would_be_read_for_ever_is_refused(place):
    h5py = pytest.importorskip("h5py")
    words = np.array([f"word {number}" for number in range(5000)], object)
    with h5py.File("a.h5", "w") as file:
        file["X"], file["y"] = np.zeros((5000, 1), np.float32), words
    assert load_split("a.h5").train.class_names == tuple(sorted(words))
    content = bytearray((place / "a.h5").read_bytes())
    heap = content.rindex(b"GCOL")
    end, at = heap + int.from_bytes(content[heap + 8 : heap + 16], "little"), heap + 16
    while int.from_bytes(content[at : at + 2], "little"):  # up to the free space of the last heap
        at += 16 + -(-int.from_bytes(content[at + 8 : at + 16], "little") // 8) * 8
    assert at + 16 <= end
    content[at + 8 : at + 16] = bytes(8)
    (place / "a.h5").write_bytes(content)
    assert "a.h5 is damaged: its text is not where it says" in refusal("a.h5")


def test_whole_numbers_in_half_precision_are_labels():
    found, _ = classes_that_occur({"y": np.array([1, 2, 65504], np.float16)})
    assert found == ("1", "2", "65504")
