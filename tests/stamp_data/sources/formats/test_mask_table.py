"""Masks as pictures with a table of phrases, as people write them down."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from stamp_data.doctor import examine
from stamp_schemas import StampError

from ...raw import build
from .making import HEIGHT, WIDTH, Mask, Said, put, refused

RNG = np.random.default_rng(11)
ONE, TWO = RNG.random((HEIGHT, WIDTH)) > 0.5, RNG.random((HEIGHT, WIDTH)) > 0.8


def save(path: Path, pixels: Mask | np.ndarray, mode: str | None = None) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    image = Image.fromarray(pixels if pixels.dtype == bool else pixels.astype(np.uint8))
    (image.convert(mode) if mode else image).save(path)


def jsonl(path: Path, *rows: object) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text("".join(json.dumps(row) + "\n" for row in rows), encoding="utf-8")


@pytest.mark.parametrize("mode", ["1", "L", "RGB", "RGBA", "LA", "P"])
def test_a_mask_per_phrase(mode: str, tmp_path: Path) -> None:
    """All that is not black is meant, whatever kind of PNG it is."""
    root = tmp_path / "data"
    put(root, "images/a.jpg", "images/b.jpg")
    save(root / "masks/a.png", ONE * 255, mode)
    save(root / "masks/b.png", TWO * 255, mode)
    table = 'image,mask,phrase\na.jpg,a.png,the left one\na.jpg,masks/b.png,"right, of all"\nb.jpg,b.png,the left one\n'
    (root / "table.csv").write_text(table + "b.jpg,,a unicorn\n")
    found = Said(root, tmp_path / "out", "masks")
    assert not found.rows and found.records == {"train": 2}
    assert np.array_equal(found.mask("the left one", "a"), ONE) and np.array_equal(
        found.mask("right, of all", "a"), TWO
    )
    assert np.array_equal(found.mask("the left one", "b"), TWO) and not found.mask("a unicorn").any()


@pytest.mark.parametrize("images", ["annotations/images", "images"])
def test_a_folder_called_annotations(images: str, tmp_path: Path) -> None:
    """Pictures and masks are found in it, as in the export of a set of that name; pictures also beside it, as COCO's are."""
    root = tmp_path / "data"
    put(root, f"{images}/a.jpg")
    save(root / "annotations/masks/a.png", ONE)
    jsonl(root / "annotations/train.jsonl", {"image": "images/a.jpg", "mask": "masks/a.png", "phrase": "it"})
    found = Said(root, tmp_path / "out", "masks")
    assert not found.rows and np.array_equal(found.mask("it"), ONE)


def test_indexed_and_coloured_masks(tmp_path: Path) -> None:
    root = tmp_path / "data"
    put(root, "a.jpg")
    indices = RNG.integers(0, 4, (HEIGHT, WIDTH)).astype(np.uint8)
    save(root / "grey.png", indices)
    Image.fromarray(indices.astype(np.int32) * 300).convert("I;16").save(root / "deep.png")
    palette = Image.fromarray(indices, "P")
    palette.putpalette([0, 0, 0, 255, 0, 0, 0, 255, 0, 0, 0, 255])
    palette.save(root / "indexed.png")
    palette.convert("RGB").save(root / "coloured.png")
    rows = [
        {"file_name": "a.jpg", "mask_path": "grey.png", "caption": "grey two", "value": 2},
        {"file_name": "a.jpg", "mask_path": "deep.png", "caption": "deep three", "value": 900},
        {"file_name": "a.jpg", "mask_path": "indexed.png", "caption": ["one", "the first"], "value": "1"},
        {"file_name": "a.jpg", "mask_path": "indexed.png", "caption": "green by colour", "value": "#00ff00"},
        {"file_name": "a.jpg", "mask_path": "coloured.png", "caption": "green", "value": [0, 255, 0]},
        {"file_name": "a.jpg", "mask_path": "coloured.png", "caption": "blue", "value": "0,0,255"},
        {"file_name": "a.jpg", "mask_path": "coloured.png", "caption": "anything"},
        {"file_name": "a.jpg", "mask_path": None, "caption": "nothing"},
    ]
    jsonl(root / "masks.jsonl", *rows)
    found = Said(root, tmp_path / "out", "masks")
    assert not found.rows
    wanted = {"grey two": 2, "deep three": 3, "one": 1, "the first": 1, "green by colour": 2, "green": 2, "blue": 3}
    assert all(np.array_equal(found.mask(phrase), indices == index) for phrase, index in wanted.items())
    assert np.array_equal(found.mask("anything"), indices != 0) and not found.mask("nothing").any()


def test_splits_are_columns_or_names_of_tables(tmp_path: Path) -> None:
    root = tmp_path / "data"
    put(root, "a.jpg")
    save(root / "a.png", ONE)
    jsonl(
        root / "mine.jsonl",
        *({"image": "a.jpg", "mask": "a.png", "text": s or "x", "split": s} for s in ("val", "test", "")),
    )
    found = Said(root, tmp_path / "out", "masks")
    assert sorted((split, phrase) for split, _, phrase in found.masks) == [
        ("test", "test"),
        ("train", "x"),
        ("val", "val"),
    ]
    (root / "mine.jsonl").unlink()
    for split in ("train", "val"):
        (root / f"{split}.tsv").write_text(f"img\tmask\tsentence\na.jpg\ta.png\tof {split}\n")
    found = Said(root, tmp_path / "out2", "masks")
    assert sorted((split, phrase) for split, _, phrase in found.masks) == [("train", "of train"), ("val", "of val")]


def test_a_mask_that_changes_is_noticed(tmp_path: Path) -> None:
    root = tmp_path / "data"
    put(root, "a.jpg")
    save(root / "a.png", ONE)
    (root / "t.csv").write_text("image;mask;phrase\na.jpg;a.png;it\n")
    build(root, tmp_path / "out", "masks")
    save(root / "a.png", TWO)
    with pytest.raises(StampError, match=r"a\.png has changed"):
        build(root, tmp_path / "out", "masks")


def test_a_mask_of_the_upright_picture(tmp_path: Path) -> None:
    """EXIF turns the picture by 90 degrees, and the mask was drawn as people see it."""
    root = tmp_path / "data"
    exif = Image.Exif()
    exif[0x0112] = 6
    put(root, "a.jpg", exif=exif)
    upright = np.zeros((WIDTH, HEIGHT), bool)
    upright[3:20, 5:11] = True
    save(root / "a.png", upright)
    (root / "t.csv").write_text("image,mask,phrase\na.jpg,a.png,it\n")
    found = Said(root, tmp_path / "out", "masks")
    assert np.array_equal(found.mask("it"), np.rot90(upright))
    assert [reason for _, reason in found.reasons] == ["exif-orientation"]


def test_what_cannot_be_used_is_told(tmp_path: Path) -> None:
    root = tmp_path / "data"
    put(root, "a.jpg", "b.jpg", "c.jpg")
    (tmp_path / "outside.png").write_bytes(b"x")
    save(root / "a.png", ONE)
    save(root / "small.png", ONE[:9, :9])
    save(root / "black.png", ONE * 0)
    save(root / "lossy.jpg", ONE * 255)
    (root / "broken.png").write_bytes((root / "a.png").read_bytes()[:60])
    (root / "link.png").symlink_to(tmp_path / "outside.png")
    rows = [
        ("a.jpg", "a.png", "good", ""),
        ("b.jpg", "small.png", "small", ""),
        ("c.jpg", "black.png", "black", ""),
        ("c.jpg", "lossy.jpg", "lossy", ""),
        ("c.jpg", "broken.png", "broken", ""),
        ("c.jpg", "link.png", "linked", ""),
        ("c.jpg", "../outside.png", "outside", ""),
        ("c.jpg", "none.png", "absent", ""),
        ("c.jpg", "a.png", "no index", "77"),
        ("c.jpg", "a.png", "no value", "blue"),
        ("c.jpg", "a.png", "grey colour", "#ff0000"),
        ("../a.jpg", "a.png", "escape", ""),
        ("", "a.png", "pictureless", ""),
        ("a.jpg", "a.png", "", ""),
    ]
    (root / "t.csv").write_text("image,mask,phrase,value\n" + "".join(",".join(row) + "\n" for row in rows))
    found = Said(root, tmp_path / "out", "masks")
    assert found.phrases == ["good"]
    told = {row.record: row.reason for row in found.rows}
    assert [told.get(f"line {line}") for line in range(4, 16)] == [
        *["bad-shape"] * 7, "bad-annotation", "bad-shape", "path-escape", "picture-missing", "empty-text",
    ]  # fmt: skip
    assert "size-mismatch" in {row.reason for row in found.rows if row.file == "b.jpg"}
    assert "outside" not in [row.file for row in found.rows] and len(found.rows) == 13


def test_a_row_without_its_mask_is_not_taken_for_nothing(tmp_path: Path) -> None:
    root = tmp_path / "data"
    put(root, "a.jpg")
    save(root / "a.png", ONE)
    (root / "t.csv").write_text("image,phrase,mask\na.jpg,good,a.png\na.jpg,short\na.jpg,nothing,\n")
    jsonl(root / "u.jsonl", {"image": "a.jpg", "text": "x", "mask": "a.png"}, {"image": "a.jpg", "text": "odd"})
    found = Said(root, tmp_path / "out", "masks")
    assert found.phrases == ["good", "nothing", "x"]
    assert found.reasons == [("line 2", "bad-annotation"), ("line 3", "bad-annotation")]


def test_a_mask_is_not_taken_for_its_picture(tmp_path: Path) -> None:
    root = tmp_path / "data"
    save(root / "masks/a.png", ONE)
    (root / "t.csv").write_text("image,mask,phrase\na.png,a.png,it\n")
    with refused("picture-missing"):
        Said(root, tmp_path / "out", "masks")


@pytest.mark.parametrize(
    ("name", "content", "told"),
    [
        ("t.csv", b"image,box,phrase\na.jpg,3,x\n", "no file of masks"),
        ("t.csv", b"\n\n", "no file of masks"),
        ("t.jsonl", b'{"image": "a", "mask": "b", "phrase": "c"}\n{"image"\n', "line 2"),
        ("t.jsonl", b'{"image": "a", "mask": "b", "phrase": "c"}\n[1]\n', "line 2"),
        ("t.csv", b'image,mask,phrase\na,b,"c\n', "line"),
    ],
)
def test_a_table_that_is_none_ends_in_one_line(name: str, content: bytes, told: str, tmp_path: Path) -> None:
    (tmp_path / name).write_bytes(content)
    with refused(told):
        Said(tmp_path, tmp_path / "out", "masks")


def test_the_doctor_examines_it(tmp_path: Path) -> None:
    put(tmp_path, "images/a.jpg")
    save(tmp_path / "masks/a.png", ONE)
    (tmp_path / "t.csv").write_text("image,mask,phrase\na.jpg,a.png,it\n")
    (report,) = [one for one in examine(tmp_path).datasets if one.splits]
    assert (report.dataset, report.state, report.splits[0].opened) == ("masks", "ready", 1) and not report.splits[
        0
    ].findings


def test_a_table_of_which_no_row_can_be_used_is_not_sent_to_where_it_is(tmp_path: Path) -> None:
    root = tmp_path / "data"
    put(root, "a.jpg")
    (root / "table.csv").write_text("image,mask,phrase\na.jpg,gone.png,it\n")
    with refused("no usable record: bad-shape 1 .the first because"):
        Said(root, tmp_path / "out", "masks")


def test_words_are_not_cut_short(tmp_path: Path) -> None:
    """A comma without quotes, and what is no text in a list, cost the row and are told."""
    root = tmp_path / "data"
    put(root, "a.jpg")
    save(root / "m.png", ONE * 255)
    (root / "cells.csv").write_text(",image,mask,phrase\n0,a.jpg,m.png,the dog, left\n1,a.jpg,m.png,the cat,\n")
    jsonl(root / "lists.jsonl", {"image": "a.jpg", "mask": "m.png", "phrase": ["one", 5]})
    found = Said(root, tmp_path / "out", "masks")
    assert found.phrases == ["the cat"]
    assert found.reasons == [("line 1", "bad-sentence"), ("line 2", "bad-annotation")]


def test_palettes_say_what_is_black_and_what_is_seen(tmp_path: Path) -> None:
    """Tools that make files small may put any colour first, and any number may be the transparent one."""
    root = tmp_path / "data"
    put(root, "a.jpg")
    for name, number, colours, options in (
        ("white.png", 0, [255, 255, 255, 0, 0, 0], {}),
        ("seen.png", 2, [0, 0, 0, 0, 9, 0, 9, 0, 0], {"transparency": 1}),
    ):
        image = Image.fromarray(np.where(ONE, number, 1).astype(np.uint8), "P")
        image.putpalette(colours)
        image.save(root / name, **options)
    (root / "table.csv").write_text("image,mask,phrase\na.jpg,white.png,the white\na.jpg,seen.png,the seen\n")
    found = Said(root, tmp_path / "out", "masks")
    assert np.array_equal(found.mask("the white"), ONE) and np.array_equal(found.mask("the seen"), ONE)
    assert not found.rows


def test_tables_as_spreadsheets_write_them(tmp_path: Path) -> None:
    """With a byte-order mark and CRLF; as "Unicode text", which is UTF-16; and with a column twice."""
    root = tmp_path / "data"
    put(root, "a.jpg")
    save(root / "a.png", ONE)
    text = 'image,mask,phrase\r\na.jpg,a.png,"la tasse à café, bleue"\r\n'
    (root / "t.csv").write_text("\ufeff" + text, encoding="utf-8", newline="")
    assert Said(root, tmp_path / "out", "masks").phrases == ["la tasse à café, bleue"]
    (root / "t.csv").write_text(text, encoding="utf-16", newline="")
    with refused("t.csv: not UTF-8"):
        Said(root, tmp_path / "out2", "masks")
    assert Said(root, tmp_path / "out3", "masks", encoding="utf-16").phrases == ["la tasse à café, bleue"]
    (root / "t.csv").write_text("image,mask,phrase,phrase\na.jpg,a.png,one,two\n")
    with refused("several columns are called 'phrase'"):
        Said(root, tmp_path / "out4", "masks")


def test_lines_of_which_the_first_lacks_the_mask(tmp_path: Path) -> None:
    root = tmp_path / "data"
    put(root, "a.jpg")
    save(root / "a.png", ONE)
    jsonl(root / "t.jsonl", {"image": "a.jpg", "phrase": "x"}, {"image": "a.jpg", "mask": "a.png", "phrase": "y"})
    found = Said(root, tmp_path / "out", "masks")
    assert found.phrases == ["y"] and found.reasons == [("line 1", "bad-annotation")]
