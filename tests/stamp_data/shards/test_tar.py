"""Headers and blocks are those that Python's own tarfile writes and reads."""

from __future__ import annotations

import io
import tarfile

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from stamp_data.shards import tar

names = st.from_regex(r"[a-z0-9_+-]{1,80}\.(jpg|json|labels\.npy)", fullmatch=True)


def reference(name: str, size: int) -> bytes:
    info = tarfile.TarInfo(name)
    info.mode, info.size = 0o644, size
    return info.tobuf(tarfile.USTAR_FORMAT, "ascii", "strict")


@settings(deadline=None)
@given(names, st.integers(0, 8**11 - 1))
def test_header_is_tarfile_s(name: str, size: int) -> None:
    assert tar.header(name, size) == reference(name, size)


@pytest.mark.parametrize("name", ["", "a" * 101, "é.json"])
def test_names_that_do_not_fit_are_refused(name: str) -> None:
    with pytest.raises(ValueError, match=r"characters|ascii"):
        tar.header(name, 1)


def test_longest_key_fits() -> None:
    assert tarfile.TarInfo.frombuf(tar.header("k" * 80 + ".labels.npy", 3), "ascii", "strict").size == 3


@settings(deadline=None)
@given(st.lists(st.binary(max_size=1500), max_size=6))
def test_blocks_make_a_whole_archive(contents: list[bytes]) -> None:
    data = b"".join(
        tar.header(f"{number}.json", len(content)) + content + tar.padding(len(content))
        for number, content in enumerate(contents)
    )
    data += tar.end(len(data))
    buffer = io.BytesIO()
    with tarfile.open(fileobj=buffer, mode="w", format=tarfile.USTAR_FORMAT) as archive:
        for number, content in enumerate(contents):
            info = tarfile.TarInfo(f"{number}.json")
            info.size = len(content)
            archive.addfile(info, io.BytesIO(content))
    assert data == buffer.getvalue()
    assert len(data) % tar.RECORD == 0
