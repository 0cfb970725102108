"""Pictures from strangers: what is whole is taken as it is, the rest refused by name; nothing hangs or is believed."""

from __future__ import annotations

import io
import os
import random
import socket
import struct
import zlib
from pathlib import Path

import pytest
from PIL import Image, PngImagePlugin

from stamp_data.picture import MAX_PIXELS, PictureFault, check_picture, read_file

from .raw import HEIGHT, WIDTH, Raw, build_one, picture

pytestmark = pytest.mark.filterwarnings("ignore::UserWarning", "ignore::RuntimeWarning")  # of odd metadata

GOOD = {
    "rgb": (picture(), "jpg"),
    "grey": (picture(mode="L"), "jpg"),
    "cmyk": (picture(mode="CMYK"), "jpg"),
    "progressive": (picture(progressive=True), "jpg"),
    "palette": (picture(form="PNG", mode="P"), "png"),
    "alpha": (picture(form="PNG", mode="RGBA"), "png"),
    "bilevel": (picture(form="PNG", mode="1"), "png"),
    "grey-16": (picture(form="PNG", mode="I;16"), "png"),
    "gif": (picture(form="GIF", mode="P"), "gif"),
    "bmp": (picture(form="BMP"), "bmp"),
    "webp": (picture(form="WEBP"), "webp"),
    "tiff": (picture(form="TIFF"), "tif"),
    "tiff-grey-16": (picture(form="TIFF", mode="I;16"), "tif"),
    "tiff-lzw": (picture(form="TIFF", compression="tiff_lzw"), "tif"),
    "zeros-after-the-end": (picture() + bytes(40), "jpg"),
}


def rgba16(width: int, height: int) -> bytes:
    """PNG of 16 bits a channel with alpha, which Pillow does not write."""
    rows = b"".join(b"\0" + b"\x12\x34" * 4 * width for _ in range(height))
    return _png(struct.pack(">IIBBBBB", width, height, 16, 6, 0, 0, 0), rows)


def _png(header: bytes, rows: bytes, *more: bytes) -> bytes:
    parts = [_chunk(b"IHDR", header), *more, _chunk(b"IDAT", zlib.compress(rows)), _chunk(b"IEND", b"")]
    return b"\x89PNG\r\n\x1a\n" + b"".join(parts)


def _chunk(kind: bytes, data: bytes) -> bytes:
    return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))


def huge(width: int, height: int) -> bytes:
    """A PNG of a few bytes that claims to be enormous."""
    return _png(struct.pack(">IIBBBBB", width, height, 8, 2, 0, 0, 0), bytes(1000))


def with_exif(orientation: object, size: tuple[int, int] = (WIDTH, HEIGHT)) -> bytes:
    exif = Image.Exif()
    exif[0x0112] = orientation
    return picture(size, exif=exif.tobytes())


def text_bomb() -> bytes:
    info = PngImagePlugin.PngInfo()
    info.add_text("k", "x" * (8 << 20), zip=True)
    buffer = io.BytesIO()
    Image.new("RGB", (WIDTH, HEIGHT)).save(buffer, "PNG", pnginfo=info)
    return buffer.getvalue()


GOOD["rgba-16"] = (rgba16(WIDTH, HEIGHT), "png")


@pytest.mark.parametrize("name", GOOD)
def test_whole_picture_is_stored_byte_for_byte_under_its_real_suffix(name: str, tmp_path: Path) -> None:
    data, extension = GOOD[name]
    raw = Raw(tmp_path / "data")
    raw.image(1, data)
    raw.ref(1, "it")
    ((loaded,), rejects) = build_one(raw, tmp_path / "out")
    assert rejects == []
    assert loaded.image == data
    assert loaded.row.image_extension == extension
    assert (loaded.row.width, loaded.row.height) == (WIDTH, HEIGHT)


BAD = {
    "truncated-jpeg": (picture()[:-200], "picture-broken"),
    "jpeg-without-end": (picture()[:-2], "picture-broken"),
    "truncated-png": (picture(form="PNG")[:-30], "picture-broken"),
    "truncated-progressive": (picture(progressive=True)[:-100], "picture-broken"),
    "header-only": (picture()[:20], None),
    "text": (b"this is no picture, whatever it is called\n" * 20, "not-a-picture"),
    "html": (b"<!DOCTYPE html><html>404 Not Found</html>", "not-a-picture"),
    "empty": (b"\0", "not-a-picture"),
    "truncated-tiff": (picture(form="TIFF")[:-300], "picture-broken"),
    "postscript": (b"%!PS-Adobe-3.0 EPSF-3.0\n%%BoundingBox: 0 0 64 48\n", "not-a-picture"),
    "bomb": (huge(60_000, 60_000), None),
    "largest-bomb": (huge(2**31 - 1, 2**31 - 1), None),
    "just-too-large": (huge(MAX_PIXELS // 1000 + 1, 1000), "picture-too-large"),
    "no-width": (huge(0, 48), None),
    "text-bomb": (text_bomb(), "picture-broken"),
    "other-size": (picture((WIDTH, HEIGHT - 1)), "size-mismatch"),
    "turned-size": (picture((HEIGHT, WIDTH)), "size-mismatch"),
}


@pytest.mark.parametrize("name", BAD)
def test_bad_picture_is_refused_by_name_and_the_rest_is_built(name: str, tmp_path: Path) -> None:
    data, reason = BAD[name]
    raw = Raw(tmp_path / "data")
    raw.image(1)
    raw.ref(1, "kept")
    raw.image(2, data)
    raw.ref(2, "lost", "lost too")
    ((loaded,), (row,)) = build_one(raw, tmp_path / "out")
    assert [dialogue.expression for dialogue in loaded.record.dialogues] == ["kept"]
    assert (row.action, row.expressions) == ("dropped", 2)
    assert row.file.endswith("COCO_train2014_000000000002.jpg")
    assert row.record == "refer_seg/refcoco/instances.json: image 2"
    assert row.reason in ([reason] if reason else ["picture-broken", "picture-too-large", "not-a-picture"])


def test_size_mismatch_names_both_sizes(tmp_path: Path) -> None:
    raw = Raw(tmp_path / "data")
    raw.image(1)
    raw.ref(1, "kept")
    raw.image(2, with_exif(3, (HEIGHT, WIDTH)))
    raw.ref(2, "lost")
    (_, (row,)) = build_one(raw, tmp_path / "out")
    assert f"{HEIGHT}×{WIDTH}" in row.detail
    assert f"{WIDTH}×{HEIGHT}" in row.detail


@pytest.mark.parametrize("orientation", [0, 9, 65535, (6, 6)])
def test_nonsense_in_exif_is_passed_over(orientation: object) -> None:
    picture = check_picture(with_exif(orientation), "x")
    assert (picture.width, picture.height) == (WIDTH, HEIGHT)


@pytest.mark.parametrize("size", [(1, 1), (1, 3), (3, 1), (2, 2), (5, 7), (200, 1), (1, 200)])
def test_few_pixels_are_enough(size: tuple[int, int], tmp_path: Path) -> None:
    raw = Raw(tmp_path / "data")
    raw.image(1, size=size, stored=picture(size, form="PNG"))
    raw.ref(1, "it", segmentation={"size": [size[1], size[0]], "counts": [0, size[0] * size[1]]})
    ((loaded,), rejects) = build_one(raw, tmp_path / "out", min_tokens=1024, max_tokens=1280)
    assert rejects == []
    assert loaded.labels is not None
    assert (loaded.labels == 254).all()


@pytest.mark.parametrize("size", [(201, 1), (1, 201), (4020, 20)])
def test_longer_than_qwen2_vl_takes_is_refused(size: tuple[int, int], tmp_path: Path) -> None:
    raw = Raw(tmp_path / "data")
    raw.image(1)
    raw.ref(1, "kept")
    raw.image(2, size=size)
    raw.ref(2, "lost")
    (_, (row,)) = build_one(raw, tmp_path / "out")
    assert row.reason == "aspect-ratio"


@pytest.fixture
def root(tmp_path: Path) -> Path:
    (tmp_path / "root" / "folder").mkdir(parents=True)
    (tmp_path / "root" / "inside.jpg").write_bytes(picture())
    (tmp_path / "outside.jpg").write_bytes(picture())
    return (tmp_path / "root").resolve()


OUTSIDE = [
    "../outside.jpg", "folder/../../outside.jpg", "/etc/hostname", "..", "\\outside.jpg", "a\0.jpg",
    "link.jpg", "linked/outside.jpg", "chain.jpg", "folder/up/outside.jpg",
]  # fmt: skip


@pytest.mark.parametrize("name", OUTSIDE)
def test_nothing_outside_the_root_is_ever_opened(name: str, root: Path) -> None:
    (root / "link.jpg").symlink_to("../outside.jpg")
    (root / "linked").symlink_to(root.parent, target_is_directory=True)
    (root / "chain.jpg").symlink_to("link.jpg")
    (root / "folder" / "up").symlink_to("../..")
    with pytest.raises(PictureFault) as fault:
        read_file(root, name)
    assert fault.value.reason == "path-outside-root"


def test_links_that_stay_inside_are_followed(root: Path) -> None:
    (root / "folder" / "link.jpg").symlink_to("../inside.jpg")
    (root / "absolute.jpg").symlink_to(root / "inside.jpg")
    assert read_file(root, "folder/link.jpg") == read_file(root, "absolute.jpg")


def test_root_beside_a_folder_of_the_same_beginning_is_not_left(root: Path) -> None:
    beside = root.parent / "rootier"
    beside.mkdir()
    (beside / "x.jpg").write_bytes(picture())
    (root / "link.jpg").symlink_to(beside / "x.jpg")
    with pytest.raises(PictureFault) as fault:
        read_file(root, "link.jpg")
    assert fault.value.reason == "path-outside-root"


def _special(kind: str, path: Path) -> None:
    match kind:
        case "folder":
            path.mkdir()
        case "pipe":
            os.mkfifo(path)
        case "socket":
            listener = socket.socket(socket.AF_UNIX)
            os.chdir(path.parent)  # the address of a socket may have no more than about a hundred characters
            listener.bind(path.name)
            listener.close()
        case "device":
            try:
                os.mknod(path, 0o20600, os.makedev(1, 5))  # /dev/zero: endless
            except PermissionError:
                pytest.skip("making a device takes root")
        case "dangling":
            path.symlink_to("nowhere.jpg")
        case "loop":
            path.symlink_to(path.name)


@pytest.mark.parametrize("kind", ["folder", "pipe", "socket", "device", "dangling", "loop"])
def test_what_is_no_file_is_refused_without_waiting(kind: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)  # is undone, whatever a socket's address made necessary
    raw = Raw(tmp_path / "data")
    raw.image(1)
    raw.ref(1, "kept")
    _special(kind, raw.image(2, b""))
    raw.ref(2, "lost")
    ((loaded,), (row,)) = build_one(raw, tmp_path / "out")
    assert loaded.record.dialogues[0].expression == "kept"
    assert row.reason in ("picture-unreadable", "picture-missing")
    assert row.expressions == 1


@pytest.mark.parametrize("name", ["x" * 300 + ".jpg", "a/" * 600 + "x.jpg", "inside.jpg/x.jpg", "", ".", "folder/"])
def test_impossible_names_are_refused(name: str, root: Path) -> None:
    with pytest.raises(PictureFault):
        read_file(root, name)


SEEDS = [data for data, _ in GOOD.values()] + [with_exif(6), text_bomb()[:4000]]


def test_damaged_bytes_are_taken_or_refused_but_never_crash() -> None:
    chance = random.Random(0)
    refused = 0
    for _ in range(3000):
        data = bytearray(chance.choice(SEEDS))
        for _ in range(chance.randint(1, 5)):
            place = chance.randrange(min(len(data), chance.choice((40, 200, 5000))))
            match chance.randrange(4):
                case 0:
                    data[place] = chance.randrange(256)
                case 1:
                    del data[place : place + chance.randint(1, 8)]
                case 2:
                    data[place:place] = chance.randbytes(chance.randint(1, 8))
                case 3:
                    data[place : place + 2] = b"\xff\xff"
            data = data or bytearray(b"\0")
        try:
            found = check_picture(bytes(data), "x")
            assert found.width * found.height <= MAX_PIXELS
        except PictureFault:
            refused += 1
    assert 500 < refused < 2900, "the mutations should break many pictures, but not all"
