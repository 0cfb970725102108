"""JSON from strangers."""

from __future__ import annotations

import os
from pathlib import Path

import msgspec
import pytest

from stamp_data.sources import jsonfile
from stamp_data.sources.jsonfile import load_json, read_buffer
from stamp_schemas import StampError

from .raw import read, some_refs, two_images, write_refer


def load(folder: Path, data: bytes, encoding: str = "") -> object:
    path = folder / "a.json"
    path.write_bytes(data)
    return load_json(path, list[object], encoding=encoding)


@pytest.mark.parametrize(
    ("data", "said"),
    [
        (b"", "is empty"),
        (b"[1, 2", "ends early, after 5 bytes"),
        (b"[1, 2]]", r"byte 7"),
        (b"[1, }", r"byte 4"),
        (b"{}", "Expected `array`, got `object`"),
        (b"[" * 100_000, "nested too deeply"),
        (b'["\xff"]', "not UTF-8"),
        ("[1]".encode("utf-16"), "not UTF-8 at byte 0"),
        (b"[NaN, }", "malformed"),
        (b"NaN", "Expected `array`"),
        (b'["\\ud800"]', "half of a surrogate pair"),
        (b"\xff\xd8\xff\xe0", "not JSON, it begins with"),
        (b"PAR1\x15\x04", "not JSON, it begins with b'PAR1"),
        (b"<annotations>", "not JSON, it begins with"),
    ],
)
def test_faults_are_one_line_with_a_remedy(tmp_path: Path, data: bytes, said: str) -> None:
    with pytest.raises(StampError, match=said) as caught:
        load(tmp_path, data)
    assert "a.json" in caught.value.message and "\n" not in str(caught.value) and caught.value.hint


@pytest.mark.parametrize(
    ("data", "value"),
    [
        (b"\xef\xbb\xbf[1]", [1]),
        (b"[NaN, Infinity, -Infinity]", [None] * 3),
        (b'["NaN \\" NaN", NaN]', ['NaN " NaN', None]),
        (b'[{"NaN": -Infinity}]', [{"NaN": None}]),
    ],
)
def test_what_is_forgiven(tmp_path: Path, data: bytes, value: list[object]) -> None:
    assert load(tmp_path, data) == value


def test_a_second_encoding(tmp_path: Path) -> None:
    assert load(tmp_path, '["’"]'.encode("cp1252"), "cp1252") == ["’"]
    assert load(tmp_path, '["’"]'.encode(), "cp1252") == ["’"]
    with pytest.raises(StampError, match="neither UTF-8 nor cp1252"):
        load(tmp_path, b'["\xff\x81"]', "cp1252")
    assert load(tmp_path, '["红色方块"]'.encode("gbk"), "gbk") == ["红色方块"]
    assert load(tmp_path, "[1]".encode("utf-16"), "utf-16") == [1]


@pytest.mark.parametrize("place", [0, 1, (1 << 20) - 2, (1 << 20) - 1, 1 << 20])
def test_without_one_any_byte_that_is_not_utf8_refuses_the_file(tmp_path: Path, place: int) -> None:
    """Also within rows that are not decoded yet, and at the border of the pieces in which a file is looked through."""
    text = '["' + "é" * (1 << 20) + '"]'
    assert load(tmp_path, text.encode()) == [text[2:-2]]
    data = bytearray(b'["' + b"a" * ((1 << 20) + 9) + b'"]')
    data[2 + place] = 0xC4
    with pytest.raises(StampError, match=f"not UTF-8 at byte {2 + place:,}") as caught:
        load(tmp_path, bytes(data))
    assert "--encoding gbk" in caught.value.hint


def test_what_is_no_plain_file(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "pipe")
    (tmp_path / "loop").symlink_to(tmp_path / "loop")
    for name in ("", "pipe", "loop", "nowhere", "a\0b", "x" * 300):
        with pytest.raises(StampError):
            read_buffer(tmp_path / name)
    (tmp_path / "large").write_bytes(b"12345")
    with pytest.raises(StampError, match="5 bytes, more than the 4"):
        read_buffer(tmp_path / "large", 4)


def test_mapped_files_are_read_the_same(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    root = write_refer(tmp_path, some_refs(), two_images())
    plain = msgspec.json.encode(read("refcoco", root)[0])
    monkeypatch.setattr(jsonfile, "MAPPED_FROM", 1)
    assert msgspec.json.encode(read("refcoco", root)[0]) == plain
    assert load(tmp_path, b"\xef\xbb\xbf[NaN]") == [None]
