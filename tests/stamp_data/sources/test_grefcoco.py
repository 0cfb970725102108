"""gRefCOCO: one, several, none."""

from __future__ import annotations

import pickle
from pathlib import Path

import pytest

from stamp_data.sources import open_source
from stamp_schemas import StampError

from .raw import read, reasons, ref, two_images, write_grefcoco


def test_unions_are_shared_and_nothing_is_one_empty_target(tmp_path: Path) -> None:
    refs = [
        ref(0, [12, 11], 1, ["both cups"]),
        ref(1, [11, 12, 11], 1, ["all cups"]),
        ref(2, [11], 1, ["left cup"]),
        ref(3, [-1], 1, ["a dog"]),
        ref(4, [-1], 1, ["a cat"], no_target=True),
        ref(5, [], 1, ["a bird"], no_target=True),
    ]
    (record,), rejects = read("grefcoco", write_grefcoco(tmp_path, refs, two_images()))
    assert not rejects
    assert [(t.id, len(t.regions), t.instances) for t in record.targets] == [
        ("11-12", 2, ["11", "12"]),
        ("11", 1, ["11"]),
        ("none", 0, []),
    ]
    assert [r.targets for r in record.requests] == [[0], [0], [1], [2], [2], [2]]


@pytest.mark.parametrize(
    ("broken", "row"),
    [
        (ref(9, [11, 999], 1, ["a", "b"]), ("annotation-missing", 2)),
        (ref(9, [11, 21], 1, ["a"]), ("image-mismatch", 1)),
        (ref(9, [], 1, ["a"]), ("bad-reference", 1)),
        (ref(9, [11], 1, ["a"], no_target=True), ("bad-reference", 1)),
        (ref(9, [-1], 5, ["a"]), ("image-missing", 1)),
        (ref(9, [{}], 1, ["a"]), ("bad-reference", 1)),
        (None, ("bad-reference", 0)),
    ],
)
def test_a_mask_is_never_built_from_a_part_of_what_is_meant(
    tmp_path: Path, broken: object, row: tuple[str, int]
) -> None:
    records, rejects = read("grefcoco", write_grefcoco(tmp_path, [ref(0, [11], 1, ["cup"]), broken], two_images()))
    assert [r.text for record in records for r in record.requests] == ["cup"]
    assert reasons(rejects) == [row]


def test_its_references_may_be_pickled(tmp_path: Path) -> None:
    refs = [ref(0, [11, 12], 1, ["cups"]), ref(1, [-1], 1, ["a dog"]), ref(2, 11, 1, ["cup"])]
    expected, _ = read("grefcoco", write_grefcoco(tmp_path, refs, two_images()))
    folder = tmp_path / "refer_seg/grefcoco"
    (folder / "grefs(unc).json").unlink()
    (folder / "grefs(unc).p").write_bytes(pickle.dumps(refs, protocol=0))
    (found,), rejects = read("grefcoco", tmp_path)
    assert not rejects and [found.targets, found.image] == [expected[0].targets, expected[0].image]
    assert [r.text for r in found.requests] == ["cups", "a dog", "cup"]


def test_a_file_that_is_not_utf8_is_refused_with_the_way_out(tmp_path: Path) -> None:
    root = write_grefcoco(tmp_path, [ref(0, [11], 1, ["QQ"]), ref(1, [12], 1, ["cup"])], two_images())
    path = root / "refer_seg/grefcoco/grefs(unc).json"
    path.write_bytes(path.read_bytes().replace(b"QQ", b"\xff\xfe"))
    with pytest.raises(StampError, match=r"grefs\(unc\)\.json: not UTF-8 at byte") as caught:
        read("grefcoco", root)
    assert "--encoding gbk" in caught.value.hint


def test_a_reference_with_half_a_character_is_one_row(tmp_path: Path) -> None:
    root = write_grefcoco(tmp_path, [ref(0, [11], 1, ["QQ"]), ref(1, [12], 1, ["cup"])], two_images())
    path = root / "refer_seg/grefcoco/grefs(unc).json"
    path.write_bytes(path.read_bytes().replace(b"QQ", b"\\ud83d"))
    (record,), rejects = read("grefcoco", root)
    assert [r.text for r in record.requests] == ["cup"] and reasons(rejects) == [("bad-reference", 0)]


def test_a_truncated_file_is_one_line(tmp_path: Path) -> None:
    root = write_grefcoco(tmp_path, [ref(0, [11], 1, ["cup"])], two_images())
    path = root / "refer_seg/grefcoco/grefs(unc).json"
    path.write_bytes(path.read_bytes()[:-40])
    source = open_source("grefcoco", root)
    with pytest.raises(StampError, match=r"grefs\(unc\)\.json: ends early") as caught:
        source.load()
    assert "\n" not in str(caught.value) and caught.value.hint
