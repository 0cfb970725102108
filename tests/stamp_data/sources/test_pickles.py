"""Pickles from strangers."""

from __future__ import annotations

import os
import pickle
import resource
import struct
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from stamp_data.sources.pickles import load_plain, text_of
from stamp_schemas import StampError

from .raw import read, some_refs, two_images, write_refer


def load(folder: Path, data: bytes) -> object:
    path = folder / "refs.p"
    path.write_bytes(data)
    return load_plain(path)


class Runs:
    """Runs a command when it is unpickled."""

    def __reduce__(self) -> tuple[Any, ...]:
        return os.system, ("touch ran",)


HOSTILE = {
    "runs a command, protocol 0": pickle.dumps([Runs()], 0),
    "runs a command, protocol 2": pickle.dumps([Runs()], 2),
    "runs a command, protocol 4": pickle.dumps([Runs()], 4),
    "a class": pickle.dumps([StampError], 0),
    "old-style instance": b"(S'touch ran'\nios\nsystem\n.",
    "persistent id": b"Pnowhere\n.",
    "binary persistent id": b"K\x01Q.",
    "extension code": b"\x82\x01.",
    "out-of-band buffer": b"\x80\x05\x97.",
    "build": b"]}b.",
    "tuples, which hash by recursion": b"}" + b"(" * 9 + b"t" * 9 + b"K\x01s.",
    "an empty file": b"",
    "not a pickle": b"\xff\xd8\xff\xe0 JFIF",
    "text": b"hello, world",
    "stops at once": b".",
    "an empty stack": b"a.",
    "no mark": b"l.",
    "an unknown memo": b"g7\n.",
    "an odd dictionary": b"(K\x01d.",
    "unhashable key": b"}]K\x01s.",
    "a giant memo index": b"]p999999999999\n.",
    "a giant binary memo index": b"]r\xff\xff\xff\xff.",
    "a giant frame": b"\x80\x04\x95" + struct.pack("<Q", 1 << 60) + b"].",
    "a giant text": b"X\xff\xff\xff\xff.",
    "a giant text, 8 bytes of length": b"\x8d" + b"\xff" * 8 + b".",
    "a giant integer": b"\x8b" + struct.pack("<i", 1 << 30) + b".",
    "a giant decimal": b"I" + b"9" * 100_000 + b"\n.",
    "a negative length": b"\x8b" + struct.pack("<i", -1) + b".",
    "a giant array of bytes": b"\x96" + struct.pack("<Q", 1 << 40) + b".",
    "many empty lists": b"(" + b"]" * 9_000_000 + b"l.",
    "bad escapes": b"S'\\x'\n.",
    "no quotes": b"Sx\n.",
    "not a number": b"Ixyz\n.",
}


@pytest.mark.parametrize("case", HOSTILE)
def test_hostile_pickles_are_one_line(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, case: str) -> None:
    monkeypatch.chdir(tmp_path)
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    with pytest.raises(StampError) as caught:
        load(tmp_path, HOSTILE[case])
    assert "refs.p" in caught.value.message and "\n" not in str(caught.value) and caught.value.hint
    assert not (tmp_path / "ran").exists()
    assert resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before < 200 << 10, "KiB"


def test_the_fault_of_code_is_named(tmp_path: Path) -> None:
    with pytest.raises(StampError, match="it would run code"):
        load(tmp_path, pickle.dumps(Runs(), 0))


@pytest.mark.parametrize("protocol", [0, 2, 4])
def test_every_truncation_is_noticed(tmp_path: Path, protocol: int) -> None:
    data = pickle.dumps(some_refs()[:1], protocol)
    for end in range(len(data)):
        with pytest.raises(StampError):
            load(tmp_path, data[:end])


def test_deep_and_circular_structures_do_no_harm(tmp_path: Path) -> None:
    load(tmp_path, b"]" * 200_000 + b"a" * 199_999 + b".")
    for data in (b"]q\x00h\x00a.", b"}q\x00U\x09sentencesh\x00s]q\x01h\x00ah\x01h\x01a."):
        path = write_refer(tmp_path, [], two_images()) / "refer_seg/refcoco/refs(unc).p"
        path.write_bytes(data)
        try:
            records, _ = read("refcoco", tmp_path)
        except StampError:
            continue
        assert not records


def test_one_list_in_a_million_places_is_refused(tmp_path: Path) -> None:
    shared = [{"sent": "a", "sent_id": 1}] * 3000
    one = {"ref_id": 1, "ann_id": 11, "image_id": 1, "split": "train", "sentences": shared}
    with pytest.raises(StampError, match="over and over"):
        read("refcoco", write_refer(tmp_path, [one] * 3000, two_images(), protocol=2))


def python2(texts: list[bytes]) -> bytes:
    """References as Python 2 pickles them: str is bytes, non-ASCII ones escaped."""

    def string(value: bytes) -> bytes:
        return b"S" + repr(value)[1:].encode() + b"\n"

    sentences = b"".join(
        b"(d" + string(b"sent") + string(text) + b"s" + string(b"sent_id") + b"I%d\ns" % k + b"a"
        for k, text in enumerate(texts)
    )
    fields = b"".join(
        string(key) + b"I%d\ns" % value for key, value in ((b"ref_id", 0), (b"ann_id", 11), (b"image_id", 1))
    )
    split = string(b"split") + string(b"train") + b"s"
    return b"(lp0\n(dp1\n" + fields + split + string(b"sentences") + b"(l" + sentences + b"s" + b"a."


def test_python_2_text_is_utf8_or_else_latin_1_string_by_string(tmp_path: Path) -> None:
    texts = ["naïve café".encode(), "naïve café".encode("latin-1"), b"plain", "椅子".encode()]
    root = write_refer(tmp_path, [], two_images())
    (root / "refer_seg/refcoco/refs(unc).p").write_bytes(python2(texts))
    (record,), rejects = read("refcoco", root)
    assert [r.text for r in record.requests] == ["naïve café", "naïve café", "plain", "椅子"] and not rejects


@pytest.mark.parametrize("protocol", range(6))
def test_tuples_are_read(tmp_path: Path, protocol: int) -> None:
    """A script of one's own writes them for sizes and boxes."""
    value = [{"size": (48, 64), "sentences": ({"sent": "a"},), "box": ((1, 2), (3.5, None), ())}]
    assert load(tmp_path, pickle.dumps(value, protocol)) == value


def test_references_may_come_in_tuples(tmp_path: Path) -> None:
    refs = [ref | {"sentences": tuple(ref["sentences"]), "size": (48, 64)} for ref in some_refs()]
    expected = read("refcoco", write_refer(tmp_path / "lists", some_refs(), two_images()))
    assert read("refcoco", write_refer(tmp_path / "tuples", refs, two_images(), protocol=2)) == expected


Plain = st.recursive(
    st.none() | st.booleans() | st.integers(-(2**31), 2**31) | st.floats(allow_nan=False) | st.text(),
    lambda inner: st.lists(inner) | st.dictionaries(st.text(), inner),
    max_leaves=20,
)


@given(value=Plain, protocol=st.integers(0, 5))
def test_plain_data_comes_back(tmp_path_factory: pytest.TempPathFactory, value: Any, protocol: int) -> None:
    folder = tmp_path_factory.getbasetemp()
    assert load(folder, pickle.dumps(value, protocol)) == value


@given(st.text())
def test_utf8_bytes_are_text(value: str) -> None:
    assert text_of(value.encode("utf-8", "replace")) == value.encode("utf-8", "replace").decode()
