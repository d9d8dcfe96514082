"""Damaged and hostile files, made of intact ones: what `fuzz` gives to the loaders.

Every mutator takes a generator of random numbers and intact samples, and returns a content and
whether it is raw: bytes were changed without regard to what they mean, so that checksums, where a
format has them, are those of the intact file.
"""

import csv
import gzip
import io
import json
import pickletools
import re
import struct
import tarfile
import tomllib
import warnings
import zipfile
import zlib
from collections.abc import Callable, Sequence
from random import Random

import numpy as np

Mutator = Callable[[Random, Sequence[bytes]], tuple[bytes, bool]]

LARGEST = 300_000  # bytes of a mutated file
NUMBERS = (
    "0", "-0", "-1", "1", "2", "1.5", "1e-400", "1e999", "-1e999", "nan", "NaN", "inf", "Infinity",
    "-Infinity", "2147483648", "-2147483649", "4294967296", "9223372036854775808",
    "18446744073709551616", "1" + "0" * 400, "9" * 5000, "0x10", "1_000", "007", "1e5", "0.1e1", "",
)  # fmt: skip
TEXTS = (
    "", " ", "\0", "a\nb", "a\r\nb", "\x1b[2J", "\u2028", "\u202e", "ä", "\U0001f600", "\ud800",
    "x" * 10_000, "[bold]x[/bold]", "../../x", "/dev/zero", "__class__", "True", "null", "1,2",
    "%s", "{0}", "softmax", "float16", "O", "1:2", "1:100:1000000000", "1e-4:1e-1:3",
)  # fmt: skip
WORDS = (0, 1, 2, 0x7F, 0x80, 0xFF, 0x7FFF, 0xFFFF, 2**31 - 1, 2**31, 2**32 - 1, 2**63, 2**64 - 1)


def _at(rng: Random, content: bytes) -> tuple[int, int]:
    """Choose a slice, most often a short one."""
    start = rng.randrange(len(content) + 1)
    return start, min(len(content), start + int(2 ** rng.uniform(0, 10)))


def change_bytes(rng: Random, content: bytes, other: bytes) -> bytes:
    """Make one change that knows nothing of the format."""
    start, stop = _at(rng, content)
    match rng.randrange(10):
        case 0 | 1 if content:
            bit = rng.randrange(8 * len(content))
            changed = bytearray(content)
            changed[bit // 8] ^= 1 << bit % 8
            return bytes(changed)
        case 2 if content:
            start = rng.randrange(len(content))
            return (
                content[:start]
                + rng.choice((0, 0x7F, 0x80, 0xFF, rng.randrange(256))).to_bytes(1)
                + content[start + 1 :]
            )
        case 3:
            return content[:start]
        case 4:
            return content[:start] + rng.randbytes(rng.randrange(1, 20)) + content[start:]
        case 5:
            return content[:start] + content[stop:]
        case 6:
            return content[:stop] + content[start:stop] * rng.choice((1, 1, 2, 50)) + content[stop:]
        case 7:
            return content[:start] + other[rng.randrange(len(other) + 1) :]
        case 8:
            width = rng.choice((1, 2, 4, 8))
            word = rng.choice(WORDS) % 2 ** (8 * width)
            return (
                content[:start]
                + word.to_bytes(width, rng.choice(("little", "big")))
                + content[start + width :]
            )
    return content[start:]


def change_text(rng: Random, content: bytes, other: bytes) -> bytes:
    """Put another number, word or text in the place of one."""
    kind = rng.choice((rb"-?[0-9]+(?:\.[0-9]*)?(?:[eE][+-]?[0-9]+)?", rb'"[^"]*"', rb"[A-Za-z_]+"))
    found = list(re.finditer(kind, content))
    if not found:
        return change_bytes(rng, content, other)
    place = rng.choice(found)
    new = rng.choice((*NUMBERS, *TEXTS)).encode("utf-8", "surrogatepass")
    if content[place.start() : place.start() + 1] == b'"' and rng.random() < 0.8:
        new = b'"' + new + b'"'
    return content[: place.start()] + new + content[place.end() :]


def mutate_bytes(rng: Random, samples: Sequence[bytes]) -> tuple[bytes, bool]:
    """Make one to four changes that know nothing of the format."""
    content, other = rng.choice(samples), rng.choice(samples)
    for _ in range(rng.choice((1, 1, 1, 2, 4))):
        content = change_bytes(rng, content, other)
    return content[:LARGEST], True


def _mutate_text(rng: Random, samples: Sequence[bytes]) -> tuple[bytes, bool]:
    content, other = rng.choice(samples), rng.choice(samples)
    for _ in range(rng.choice((1, 1, 2))):
        content = change_text(rng, content, other)
    return content[:LARGEST], True


def _alternating(*mutators: Mutator) -> Mutator:
    """Return a mutator that is each of some in turn, at random."""
    return lambda rng, samples: rng.choice(mutators)(rng, samples)


# --- JSON, TOML, CSV and the lines of a journal ---------------------------------------------


class _Pairs(list):
    """An object of JSON, in which a name may be there twice."""


def _dumps(value: object) -> str:
    if isinstance(value, _Pairs):
        return "{" + ", ".join(f"{_dumps(name)}: {_dumps(item)}" for name, item in value) + "}"
    if isinstance(value, list):
        return "[" + ", ".join(map(_dumps, value)) + "]"
    if isinstance(value, _Token):
        return value.text
    return json.dumps(value)


class _Token:
    """A piece of text that stands in the JSON as it is."""

    def __init__(self, text: str) -> None:
        self.text = text


def _odd_value(rng: Random) -> object:
    return rng.choice(
        (
            _Token(rng.choice(NUMBERS) or "null"),
            rng.choice(TEXTS),
            None,
            True,
            [],
            _Pairs(),
            [1, "x", None],
            _Pairs([("a", 1), ("low", 2), ("high", 1)]),
            _Token("[" * 200 + "]" * 200),
            _Token("[" * 20_000 + "]" * 20_000),
            _Token('{"a":' * 2000 + "1" + "}" * 2000),
        )
    )


def change_json(rng: Random, value: object) -> object:
    """Drop, double, rename or replace a part of a JSON value at random depth."""
    if isinstance(value, list) and value and rng.random() < 0.85:
        place = rng.randrange(len(value))
        is_object = isinstance(value, _Pairs)
        name, item = value[place] if is_object else (None, value[place])
        changed = type(value)(value)
        match rng.randrange(8):
            case 0:
                del changed[place]
            case 1:
                changed.insert(rng.randrange(len(value) + 1), value[place])
            case 2 if is_object:
                changed[place] = (rng.choice((*TEXTS, name + "x", name.upper())), item)
            case 3 if is_object:
                changed.append((name, _odd_value(rng)))
            case _:
                item = change_json(rng, item)
                changed[place] = (name, item) if is_object else item
        return changed
    return _odd_value(rng)


def _mutate_json(rng: Random, samples: Sequence[bytes]) -> tuple[bytes, bool]:
    value = json.loads(rng.choice(samples), object_pairs_hook=_Pairs)
    for _ in range(rng.choice((1, 1, 2))):
        value = change_json(rng, value)
    return _dumps(value).encode("utf-8", "surrogatepass"), False


mutate_json = _alternating(_mutate_json, _mutate_json, _mutate_text, mutate_bytes)


def _mutate_lines(rng: Random, samples: Sequence[bytes]) -> tuple[bytes, bool]:
    """Drop, double, move or join lines; of TOML, replace a value."""
    lines = rng.choice(samples).split(b"\n")
    for _ in range(rng.choice((1, 1, 2))):
        place = rng.randrange(len(lines))
        match rng.randrange(6):
            case 0 if len(lines) > 1:
                del lines[place]
            case 1:
                lines.insert(rng.randrange(len(lines) + 1), lines[place])
            case 2:
                rng.shuffle(lines)
            case 3:
                lines[place] += lines[(place + 1) % len(lines)]
            case 4:
                lines[place] = rng.choice(rng.choice(samples).split(b"\n"))
            case _:
                name, sign, _ = lines[place].partition(b"=")
                value = _dumps(_odd_value(rng)).replace("null", "1979-05-27T07:32:00Z")
                lines[place] = name + (sign or b"=") + value.encode("utf-8", "surrogatepass")
    return b"\n".join(lines)[:LARGEST], True


def _mutate_toml_values(rng: Random, samples: Sequence[bytes]) -> tuple[bytes, bool]:
    """Replace values of an intact TOML file, keeping it TOML."""
    content = tomllib.loads(rng.choice(samples).decode())
    lines = []
    for table, settings in content.items():
        lines.append(f"[{table}]")
        for name, value in settings.items():
            if rng.random() < 0.3:
                value = change_json(rng, value)
            lines.append(f"{name} = {_dumps(value)}")
    return "\n".join(lines).encode("utf-8", "surrogatepass"), False


mutate_toml = _alternating(_mutate_lines, _mutate_toml_values, _mutate_text, mutate_bytes)


def _mutate_cells(rng: Random, samples: Sequence[bytes]) -> tuple[bytes, bool]:
    rows = list(csv.reader(io.StringIO(rng.choice(samples).decode())))
    for _ in range(rng.choice((1, 1, 3))):
        place = rng.randrange(len(rows))
        row = rows[place]
        column = rng.randrange(len(rows[0]) or 1)
        match rng.randrange(8):
            case 0:
                rows = [[*row[:column], *row[column + 1 :]] for row in rows]
            case 1:
                rows = [[*row, *row[column : column + 1]] for row in rows]
            case 2:
                row.append("1")
            case 3:
                rows.insert(place, list(row))
            case _:
                if column < len(row):
                    row[column] = rng.choice((*NUMBERS, *TEXTS))
    text = io.StringIO(newline="")
    writer = csv.writer(text, lineterminator=rng.choice(("\n", "\n", "\r\n")), escapechar="\\")
    writer.writerows(rows)
    return text.getvalue().encode("utf-8", "surrogatepass")[:LARGEST], False


mutate_csv = _alternating(_mutate_cells, _mutate_cells, _mutate_lines, _mutate_text, mutate_bytes)


def _mutate_journal_lines(rng: Random, samples: Sequence[bytes]) -> tuple[bytes, bool]:
    """Change the JSON of a line, and its checksum with it."""
    lines = rng.choice(samples).split(b"\n")[:-1]
    place = rng.randrange(len(lines))
    value = json.loads(lines[place].partition(b" ")[2], object_pairs_hook=_Pairs)
    content = _dumps(change_json(rng, value)).encode("utf-8", "surrogatepass")
    lines[place] = b"%08x %s" % (zlib.crc32(content), content)
    return b"\n".join(lines) + b"\n", False


mutate_journal = _alternating(_mutate_journal_lines, _mutate_lines, _mutate_text, mutate_bytes)


# --- .npz -----------------------------------------------------------------------------------


def members(content: bytes) -> dict[str, bytes]:
    """Return the members of a zip archive by name."""
    with zipfile.ZipFile(io.BytesIO(content)) as archive:
        return {info.filename: archive.read(info) for info in archive.infolist()}


def _zip(parts: Sequence[tuple[str, bytes]], method: int, comment: bytes = b"") -> bytes:
    buffer = io.BytesIO()
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # a name that is there twice
        with zipfile.ZipFile(buffer, "w", method) as archive:
            for name, content in parts:
                archive.writestr(zipfile.ZipInfo(name), content, method)
            archive.comment = comment
    return buffer.getvalue()


_DESCRS = (
    "<f4", "<f8", ">f4", ">f8", "<f2", "<f16", "<c8", "|u1", "|i1", "|b1", "<i8", ">i8", "<u8",
    "<U3", "<U0", "|S5", "|S0", "|V8", "|V0", "|O", "<m8[s]", "<M8[ns]", "<i4,<i4", "=i8", "i8",
    "float", "<U999999999", "x", "",
)  # fmt: skip
_SHAPES = (
    "()", "(0,)", "(1,)", "(-1,)", "(2, 3)", "(3, 2)", "(0, 5)", "(9223372036854775807, 2)",
    "(4611686018427387904, 4)", "(1000000,)", "(1,) * 9", "(True,)", "(1.0,)", "('a',)", "[2]", "2",
    "None", "(" + "1," * 40 + ")", "(" + "1," * 2000 + ")", "(" * 300 + ")" * 300,
)  # fmt: skip


def change_array(rng: Random, content: bytes, other: bytes) -> bytes:
    """Change an array in the format of .npy: its header, its values, or just bytes."""
    kind = rng.randrange(6)
    try:
        array = np.lib.format.read_array(io.BytesIO(content), allow_pickle=False)
    except Exception:  # noqa: BLE001  (it was changed before)
        kind = 0
    if kind == 0:
        return change_bytes(rng, content, other)
    if kind == 1:
        return other
    if kind == 2:
        return _written(_changed_values(rng, array))
    header = {
        "descr": repr(array.dtype.str),
        "fortran_order": str(array.flags.f_contiguous and array.ndim > 1),
        "shape": str(array.shape),
    }
    match rng.randrange(6):
        case 0 | 1:
            header["descr"] = repr(rng.choice(_DESCRS))
        case 2 | 3:
            header["shape"] = rng.choice((*_SHAPES, str(array.shape[::-1]), str((array.size,))))
        case 4:
            header["fortran_order"] = rng.choice(("True", "False", "1", "None", "'C'"))
        case _:
            del header[rng.choice(list(header))]
    text = "{" + ", ".join(f"{name!r}: {value}" for name, value in header.items()) + ", }"
    text = rng.choice(
        (text, text, text, text + "\n", text + " " * 200 + "\n", text + "x", text[:-1])
    )
    version = rng.choice((1, 1, 1, 2, 3, 4, 0))
    size = struct.pack("<H" if version <= 1 else "<I", len(text))
    start = content.find(b"\n", 10) + 1
    return b"\x93NUMPY" + bytes([version, 0]) + size + text.encode() + content[start:]


def _written(array: np.ndarray) -> bytes:
    buffer = io.BytesIO()
    np.lib.format.write_array(buffer, array, allow_pickle=True)
    return buffer.getvalue()


def _changed_values(rng: Random, array: np.ndarray) -> np.ndarray:
    array = np.array(array, order=rng.choice("CF"))
    with np.errstate(all="ignore"), warnings.catch_warnings():
        warnings.simplefilter("ignore")
        match rng.randrange(5):
            case 0 if array.size and array.dtype.kind == "f":
                array.flat[rng.randrange(array.size)] = rng.choice(
                    (np.nan, np.inf, -np.inf, 1e38, 0)
                )
            case 1 if array.size and array.dtype.kind in "iu":
                limits = np.iinfo(array.dtype)
                array.flat[rng.randrange(array.size)] = rng.choice((limits.min, limits.max, 0, 1))
            case 2:
                return array.reshape(rng.choice(((-1,), (1, *array.shape), (*array.shape, 1))))
            case 3 if array.ndim:
                return rng.choice((array[:0], array[:-1], array.T, array[:, None]))
            case _:
                try:
                    return array.astype(
                        rng.choice(("O", ">f8", "f2", "i2", "u8", "S", "U", "?", "c8"))
                    )
                except (ValueError, TypeError):
                    pass
    return array


def _mutate_members(rng: Random, samples: Sequence[bytes]) -> tuple[bytes, bool]:
    """Change arrays, or the list of them, and write a .npz with right checksums."""
    parts, others = (list(members(rng.choice(samples)).items()) for _ in range(2))
    method = rng.choice((0, 0, 0, zipfile.ZIP_DEFLATED, zipfile.ZIP_BZIP2, zipfile.ZIP_LZMA))
    for _ in range(rng.choice((1, 1, 2))):
        place = rng.randrange(len(parts))
        name, content = parts[place]
        match rng.randrange(9):
            case 0:
                if len(parts) > 1:
                    del parts[place]
            case 1:
                parts.append((name, rng.choice(others)[1]))
            case 2:
                odd = rng.choice(TEXTS).replace("\ud800", "?")
                parts[place] = rng.choice((name + "x", name[:-4], odd + ".npy", odd)), content
            case 3:
                parts.append((rng.choice(("notes.txt", "x.npy", "data.pkl", "a/b.npy")), b"text"))
            case _:
                parts[place] = name, change_array(rng, content, rng.choice(others)[1])
    comment = rng.choice((b"", b"", b"comment", b"PK\5\6" + bytes(18)))
    return _zip(parts, method, comment), False


_END, _CENTRAL, _LOCAL = b"PK\5\6", b"PK\1\2", b"PK\3\4"
# Fields of headers: place, and format of `struct`.
_ZIP_FIELDS = {
    _LOCAL: ((4, "H"), (6, "H"), (8, "H"), (14, "I"), (18, "I"), (22, "I"), (26, "H"), (28, "H")),
    _CENTRAL: (
        (6, "H"), (8, "H"), (10, "H"), (16, "I"), (20, "I"), (24, "I"), (28, "H"), (30, "H"),
        (32, "H"), (34, "H"), (42, "I"),
    ),
    _END: ((4, "H"), (6, "H"), (8, "H"), (10, "H"), (12, "I"), (16, "I"), (20, "H")),
}  # fmt: skip


def _mutate_zip_fields(rng: Random, samples: Sequence[bytes]) -> tuple[bytes, bool]:
    """Set fields of zip headers: flags such as "encrypted", compression, sizes, offsets."""
    content = bytearray(rng.choice(samples))
    for _ in range(rng.choice((1, 1, 2))):
        magic = rng.choice(list(_ZIP_FIELDS))
        start = rng.choice([found.start() for found in re.finditer(re.escape(magic), content)])
        place, form = rng.choice(_ZIP_FIELDS[magic])
        (value,) = struct.unpack_from("<" + form, content, start + place)
        new = rng.choice((*WORDS, value + 1, value - 1, value ^ 1, value ^ 8, 8, 12, 14, 99))
        struct.pack_into("<" + form, content, start + place, new % 2 ** (8 * struct.calcsize(form)))
    return bytes(content), True


mutate_npz = _alternating(_mutate_members, _mutate_members, _mutate_zip_fields, mutate_bytes)


def header_bits(content: bytes) -> list[int]:
    """Return the bits of a .npz that are not in the values of an array."""
    is_header = np.ones(len(content), bool)
    with zipfile.ZipFile(io.BytesIO(content)) as archive:
        for info in archive.infolist():
            name_size, extra_size = struct.unpack_from("<26x2H", content, info.header_offset)
            start = info.header_offset + 30 + name_size + extra_size
            (header_size,) = struct.unpack_from("<H", content, start + 8)
            is_header[start + 10 + header_size : start + info.file_size] = False
    return [8 * byte + bit for byte in np.flatnonzero(is_header).tolist() for bit in range(8)]


# --- pickles and archives -------------------------------------------------------------------


def _mutate_instructions(rng: Random, samples: Sequence[bytes]) -> tuple[bytes, bool]:
    """Drop, double, move or insert whole instructions of a pickle."""
    content = rng.choice(samples)
    starts = [place for _, _, place in pickletools.genops(content)]
    parts = [content[i:j] for i, j in zip(starts, [*starts[1:], len(content)], strict=True)]
    for _ in range(rng.choice((1, 1, 2, 4))):
        place = rng.randrange(len(parts))
        match rng.randrange(5):
            case 0 if len(parts) > 1:
                del parts[place]
            case 1:
                parts[place] *= rng.choice((2, 3, 1000))
            case 2:
                parts.insert(rng.randrange(len(parts)), parts[place])
            case 3:
                opcode = rng.choice(pickletools.opcodes)
                parts.insert(place, opcode.code.encode("latin1") + rng.randbytes(rng.randrange(5)))
            case _:
                parts[place] = change_bytes(rng, parts[place], content)
    return b"".join(parts)[:LARGEST], True


mutate_pickle = _alternating(_mutate_instructions, _mutate_text, mutate_bytes)


def _change_tar_header(rng: Random, content: bytes) -> bytes:
    """Set a field of a header, and its checksum with it."""
    starts = [i for i in range(0, len(content), 512) if content[i + 257 : i + 262] == b"ustar"]
    if not starts:
        return content
    start = rng.choice(starts)
    block = bytearray(content[start : start + 512].ljust(512, b"\0"))
    match rng.randrange(4):
        case 0:
            block[156:157] = rng.choice(b"0123456789DKLMNSVXgx\0").to_bytes(1)
        case 1:
            size = rng.choice((0, 1, 511, 512, 2**20, 2**30, 8**11 - 1, 3 * 3073, 3 * 3073 + 1))
            block[124:136] = b"%011o\0" % size
        case 2:
            size = rng.choice((-1, -(2**63), 2**40, 2**63, 2**87))
            block[124:136] = bytes([0x80 if size > 0 else 0xFF]) + (size % 2**88).to_bytes(11)
        case _:
            text = rng.choice((*TEXTS, "data_batch_1.bin", "test_batch", "a/../data_batch_2"))
            block[0:100] = text.encode("utf-8", "surrogatepass")[:100].ljust(100, b"\0")
    block[148:156] = b"%06o\0 " % tarfile.calc_chksums(bytes(block))[0]
    return content[:start] + bytes(block) + content[start + 512 :]


def _mutate_tar(rng: Random, samples: Sequence[bytes]) -> tuple[bytes, bool]:
    """Change an archive below its compression."""
    content, other = (gzip.decompress(rng.choice(samples)) for _ in range(2))
    for _ in range(rng.choice((1, 1, 2))):
        if rng.random() < 0.6:
            content = _change_tar_header(rng, content)
        else:
            content = change_bytes(rng, content, other)
    return gzip.compress(content[:LARGEST], 1, mtime=0), False


mutate_archive = _alternating(_mutate_tar, mutate_bytes)
