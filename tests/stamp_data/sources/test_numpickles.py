"""numpy's numbers in pickles: every way in which numpy 1 and 2 write them, and nothing else that such a file may ask for."""

from __future__ import annotations

import io
import os
import pickle
import random
import struct
from contextlib import suppress
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from stamp_data.sources import numpickles
from stamp_data.sources.pickles import load_plain
from stamp_schemas import StampError

from .raw import read, some_refs, two_images, write_refer


def load(folder: Path, data: bytes) -> object:
    path = folder / "refs.p"
    path.write_bytes(data)
    return load_plain(path)


def numpy_1(data: bytes) -> bytes:
    """The pickle as numpy 1 writes it: its modules had other names. Frames hold a length, which goes with them."""
    assert b"numpy._core" in data or b"numpy.core" in data
    return data.replace(b"numpy._core", b"numpy.core")


VALUES = {
    "integers": [np.int64(7), np.int32(-7), np.uint8(255), np.int8(-128), np.uint64(2**64 - 1)],
    "floats": [np.float64(0.1), np.float32(0.5), np.float16(-2.0), np.float64("inf")],
    "truth": [np.bool_(True), np.bool_(False)],
    "another order of bytes": [np.array([1, 2], ">i4"), np.array([0.5], ">f8")],
    "arrays": [np.arange(5), np.zeros(0), np.array([True, False]), np.arange(6.0).reshape(2, 3)],
    "an array by columns": [np.asfortranarray(np.arange(6).reshape(2, 3))],
    "shared": [np.arange(3)] * 3,
    "among plain data": {"a": [np.int64(1), {"b": (np.float32(2), "text")}], "c": None, "d": b"bytes", 5: 1 << 70},
}


def plain(value: Any) -> Any:
    """The value as plain Python data."""
    if isinstance(value, np.generic | np.ndarray):
        return value.tolist()
    if isinstance(value, dict):
        return {key: plain(one) for key, one in value.items()}
    return type(value)(map(plain, value)) if isinstance(value, list | tuple) else value


@pytest.mark.parametrize("protocol", range(6))
@pytest.mark.parametrize("case", VALUES)
def test_numbers_and_arrays_are_pythons_own(tmp_path: Path, case: str, protocol: int) -> None:
    data = pickle.dumps(VALUES[case], protocol)
    found = load(tmp_path, data)
    assert found == plain(VALUES[case])
    assert not any(isinstance(one, np.generic) for one in (found if isinstance(found, list) else [found]))
    if protocol < 4:  # later ones count the bytes of names and frames
        assert load(tmp_path, numpy_1(data)) == found


def test_both_names_of_numpys_modules(tmp_path: Path) -> None:
    """Protocol 4, as numpy 1 and numpy 2 write it."""
    for module in (b"numpy.core.multiarray", b"numpy._core.multiarray"):
        name = b"\x8c" + bytes([len(module)]) + module
        dtype = b"\x8c\x05numpy\x8c\x05dtype\x93\x8c\x02i8\x89\x88\x87R(K\x03\x8c\x01<NNNK\xffK\xffK\x00tb"
        data = b"\x80\x04" + name + b"\x8c\x06scalar\x93" + dtype + b"C\x08" + struct.pack("<q", 258) + b"\x86R."
        assert load(tmp_path, data) == 258


def test_what_python_2_wrote(tmp_path: Path) -> None:
    """Texts are bytes there, also the names of dtypes and the bytes of numbers."""
    data = (
        b"cnumpy.core.multiarray\nscalar\n(cnumpy\ndtype\n(S'i8'\nI0\nI1\ntR(I3\nS'<'\nNNNI-1\nI-1\nI0\ntb"
        b"S'\\x02\\x01\\x00\\x00\\x00\\x00\\x00\\x00'\ntR."
    )
    assert load(tmp_path, data) == 258


@pytest.mark.parametrize("protocol", range(6))
def test_references_with_numbers_straight_from_numpy(tmp_path: Path, protocol: int) -> None:
    refs: list[Any] = some_refs()
    expected, _ = read("refcoco", write_refer(tmp_path / "plain", refs, two_images()))
    for ref in refs:
        ref |= {
            "ref_id": np.int64(ref["ref_id"]),
            "ann_id": np.float64(ref["ann_id"]),
            "image_id": np.int32(ref["image_id"]),
        }
        ref["sent_ids"] = np.array(ref["sent_ids"])
    found, rejects = read("refcoco", write_refer(tmp_path / "numpy", refs, two_images(), protocol=protocol))
    assert found == expected and not rejects


class Asks:
    """Asks for a call when it is unpickled."""

    def __init__(self, *reduced: Any) -> None:
        self._reduced = reduced

    def __reduce__(self) -> tuple[Any, ...]:
        return self._reduced


I8 = b"cnumpy\ndtype\n(X\x02\x00\x00\x00i8I0\nI1\ntR"
SCALAR = b"cnumpy.core.multiarray\nscalar\n"
ARRAY = b"cnumpy.core.multiarray\n_reconstruct\n(cnumpy\nndarray\n(I0\ntC\x01btR"
NUMPY = b"(X\x05\x00\x00\x00numpy0"  # names numpy, and leaves a mark

HOSTILE = {
    "runs a command": pickle.dumps([np.int64(1), Asks(os.system, ("touch ran",))], 2),
    "runs a command, protocol 4": pickle.dumps([np.int64(1), Asks(os.system, ("touch ran",))], 4),
    "runs a command, protocol 0": pickle.dumps([np.int64(1), Asks(os.system, ("touch ran",))], 0),
    "numpy's own loader": b"cnumpy\nload\n(X\x01\x00\x00\x00atR.",
    "numpy's memmap": b"cnumpy\nmemmap\n(X\x01\x00\x00\x00atR.",
    "a function inside": b"cnumpy.core.multiarray\nfromfile\n(tR.",
    "an attribute of something known": b"cnumpy.core.multiarray\nscalar.__init__\n(tR.",
    "objects": pickle.dumps(np.array([{}, []], dtype=object), 2),
    "objects, protocol 5": pickle.dumps(np.array([{}, []], dtype=object), 5),
    "texts": pickle.dumps([np.str_("a")], 2),
    "an array of texts": pickle.dumps(np.array(["a", "bc"]), 4),
    "dates": pickle.dumps(np.datetime64("2020-01-01"), 2),
    "complex numbers": pickle.dumps(np.complex64(1), 2),
    "a structure": pickle.dumps(np.zeros(2, [("a", "i4"), ("b", "f4")]), 2),
    "three dimensions": pickle.dumps(np.zeros((2, 2, 2)), 2),
    "no dimension": pickle.dumps(np.array(5), 2),
    "a masked array": pickle.dumps(np.ma.array([1, 2]), 2),
    "a matrix": pickle.dumps(np.array([1]).view(np.recarray), 2),
    "too few bytes": SCALAR + b"(" + I8 + b"C\x04abcdtR.",
    "too many bytes": SCALAR + b"(" + I8 + b"C\x10" + b"a" * 16 + b"tR.",
    "no bytes": SCALAR + b"(" + I8 + b"I5\ntR.",
    "no dtype": SCALAR + b"(I8\nC\x08abcdefghtR.",
    "a scalar of nothing": SCALAR + b"(tR.",
    "a larger shape than bytes": ARRAY + b"(I1\n(I1000000000\nt" + I8 + b"I00\nC\x08abcdefghtb.",
    "a negative shape": ARRAY + b"(I1\n(I-1\nt" + I8 + b"I00\nC\x08abcdefghtb.",
    "a shape that is no number": ARRAY + b"(I1\n(X\x01\x00\x00\x00at" + I8 + b"I00\nC\x08abcdefghtb.",
    "a state for a number": SCALAR + b"(" + I8 + b"C\x08abcdefghtR(dtb.",
    "a state for a function": SCALAR + b"(dtb.",
    "a state for a list": NUMPY + b"](dtb.",
    "a call of a text": NUMPY + b"X\x06\x00\x00\x00scalar(tR.",
    "a call of a number": NUMPY + b"K\x01(tR.",
    "another codec": b"c_codecs\nencode\n(X\x05\x00\x00\x00numpyX\x03\x00\x00\x00hextR.",
    "a list in a list's place": NUMPY + b"]K\x01K\x02s.",
    "append to a tuple": NUMPY + b")K\x01a.",
    "append to an array": ARRAY + b"K\x01a.",
    "a tuple for a key": NUMPY + b"})K\x01s.",
    "deep tuples for a key": NUMPY + b"})" + b"\x85" * 300_000 + b"K\x01s.",
    "persistent id": NUMPY + b"Pnowhere\n.",
    "extension code": NUMPY + b"\x82\x01.",
    "new object": NUMPY + b"cnumpy\ndtype\n)\x81.",
    "old-style instance": NUMPY + b"(inumpy\ndtype\n.",
    "a set": NUMPY + b"\x8f.",
    "out-of-band buffer": NUMPY + b"\x97.",
    "a giant memo index": NUMPY + b"]p999999999999\n0g1\n.",
    "a giant text": NUMPY + b"X\xff\xff\xff\x7f.",
    "a giant integer": NUMPY + b"\x8b" + struct.pack("<i", 1 << 30) + b".",
    "a giant decimal": NUMPY + b"I" + b"9" * 100_000 + b"\n.",
    "nothing at the end": NUMPY + b".",
    "two things at the end": b"X\x05\x00\x00\x00numpy]0]].",
    "below its mark": b"X\x05\x00\x00\x00numpy(0.",
    "an unknown memo": NUMPY + b"g7\n.",
    "no opcode": NUMPY + b"\xff.",
    "no end": NUMPY + b"]",
}


@pytest.mark.parametrize("case", HOSTILE)
def test_anything_else_is_one_line(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, case: str) -> None:
    monkeypatch.chdir(tmp_path)
    assert b"numpy" in HOSTILE[case] or case == "a state for a list"
    with pytest.raises(StampError) as caught:
        load(tmp_path, HOSTILE[case])
    assert (
        "refs.p" in caught.value.message
        and "\n" not in str(caught.value)
        and "if the file is your own" in caught.value.hint
    )
    assert not (tmp_path / "ran").exists()


def test_there_is_an_end_to_tuples(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(numpickles, "LIMIT", 1000)
    with pytest.raises(StampError, match="more than 1,000 lists"):
        load(tmp_path, NUMPY + b")" * 1001 + b"t.")


def test_one_text_encoded_a_million_times_is_refused(tmp_path: Path) -> None:
    """Each call would copy a megabyte."""
    text = b"numpy" * 200_000
    call = b"h\x01h\x00X\x06\x00\x00\x00latin1\x86R"
    data = b"(X" + struct.pack("<I", len(text)) + text + b"q\x00c_codecs\nencode\nq\x01" + call * 1000 + b"l."
    with pytest.raises(StampError, match="over and over"):
        load(tmp_path, data)


def test_one_array_in_many_places_is_refused(tmp_path: Path) -> None:
    data = pickle.dumps([np.zeros(1_000_000, "u1")], 2)
    assert load(tmp_path, data) == [[0] * 1_000_000]
    buffer = (
        b"cnumpy.core.numeric\n_frombuffer\nq\x01" + b"B" + struct.pack("<I", 1_000_000) + bytes(1_000_000) + b"q\x00"
    )
    u1 = b"cnumpy\ndtype\n(X\x02\x00\x00\x00u1I0\nI1\ntRq\x02"
    call = b"h\x01(h\x00h\x02(J\x40\x42\x0f\x00tX\x01\x00\x00\x00CtR"
    with pytest.raises(StampError, match="more than 8,000,000"):
        load(tmp_path, b"(" + buffer + u1 + call * 9 + b"l.")


@pytest.mark.filterwarnings("ignore:invalid escape sequence:DeprecationWarning")  # of pickletools
@pytest.mark.parametrize("protocol", [0, 2, 4, 5])
def test_damaged_files_are_read_or_refused(tmp_path: Path, protocol: int) -> None:
    whole = pickle.dumps([{"ref_id": np.int64(3), "boxes": np.arange(4.0), "sent": "a"}], protocol)
    rng = random.Random(protocol)
    for number in range(300):
        damaged = bytearray(whole[: rng.randrange(len(whole))] if number % 3 == 0 else whole)
        for _ in range(rng.choice((0, 1, 4))):
            if damaged:
                damaged[rng.randrange(len(damaged))] = rng.randrange(256)
        with suppress(StampError):
            load(tmp_path, bytes(damaged) + b"numpy")


Plain = st.recursive(
    st.none() | st.booleans() | st.integers(-(2**70), 2**70) | st.floats(allow_nan=False) | st.text() | st.binary(),
    lambda inner: st.lists(inner) | st.dictionaries(st.text(), inner),
    max_leaves=20,
)


@given(value=Plain, protocol=st.integers(0, 5))
def test_plain_data_beside_numpys_comes_back(
    tmp_path_factory: pytest.TempPathFactory, value: Any, protocol: int
) -> None:
    stream = io.BytesIO()
    pickle.dump([np.int64(5), value], stream, protocol)
    assert load(tmp_path_factory.getbasetemp(), stream.getvalue()) == [5, value]
