"""What is kept on disk of what a model saw: bounded, and never believed when it is damaged."""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from safetensors.torch import save_file
from torch import Tensor

from stamp_train.predict.pointing import SamClicks
from stamp_train.predict.pointing.embeddings import Embeddings
from stamp_train.predict.refine.network import Sam

from ..tiny_sam import picture, tiny_sam

SHAPES = ((1, 4, 8, 8), (1, 2, 16, 16))


def seen(seed: int = 0) -> list[Tensor]:
    random = torch.Generator().manual_seed(seed)
    return [torch.randn(shape, generator=random).half() for shape in SHAPES]


def test_what_is_put_is_got(tmp_path: Path) -> None:
    Embeddings(tmp_path / "new").put("a", seen())
    found = Embeddings(tmp_path / "new").get("a", SHAPES)
    assert found is not None and all(torch.equal(one, other) for one, other in zip(found, seen(), strict=True))
    assert Embeddings(tmp_path / "new").get("b", SHAPES) is None


def flipped(path: Path) -> None:
    data = bytearray(path.read_bytes())
    data[-100] ^= 1
    path.write_bytes(data)


def other_shapes(path: Path) -> None:
    Embeddings(path.parent).put(path.stem, seen()[:1])


def emptied(path: Path) -> None:
    path.write_bytes(b"")


def cut(path: Path) -> None:
    path.write_bytes(path.read_bytes()[:-10])


def unsigned(path: Path) -> None:
    save_file({str(i): one for i, one in enumerate(seen())}, path)


def pickled(path: Path) -> None:
    torch.save(seen(), path)


def a_pipe(path: Path) -> None:
    path.unlink()
    os.mkfifo(path)


@pytest.mark.parametrize("damage", [flipped, other_shapes, emptied, cut, unsigned, pickled, a_pipe])
def test_damaged_files_are_named_and_made_again(
    damage: Callable[[Path], None], tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    kept = Embeddings(tmp_path)
    kept.put("a", seen())
    path = tmp_path / "a.safetensors"
    damage(path)
    assert kept.get("a", SHAPES) is None
    assert f"{path}: damaged, and made again" in caplog.text and caplog.text.count(str(path)) == 1
    kept.put("a", seen())
    assert kept.get("a", SHAPES) is not None


def test_what_was_not_used_for_longest_goes_first(tmp_path: Path) -> None:
    kept = Embeddings(tmp_path)
    kept.put("a", seen())
    size = (tmp_path / "a.safetensors").stat().st_size
    kept = Embeddings(tmp_path, 3 * size + 100)
    for age, name in enumerate(("b", "c")):
        kept.put(name, seen())
        os.utime(tmp_path / f"{name}.safetensors", (age + 1, age + 1))
    os.utime(tmp_path / "a.safetensors", (0, 0))
    assert kept.get("a", SHAPES) is not None  # used just now
    kept.put("d", seen())
    assert sorted(path.stem for path in tmp_path.iterdir()) == ["a", "c", "d"]


def test_where_nothing_can_be_written_sam_works_all_the_same(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    (tmp_path / "file").write_text("no folder")
    clicks = SamClicks(Sam(tiny_sam()), Embeddings(tmp_path / "file"))
    for seed in (0, 1):
        assert len(clicks(picture(20, 30, seed), [(3.0, 4.0)], [], [])) == 3
    assert caplog.text.count("what SAM sees is not kept") == 1


def test_others_files_are_left_alone(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    """Beyond the limit only what was kept here goes; and where the folder is a link, nothing is kept."""
    others = tmp_path / "others"
    others.mkdir()
    (others / "letter.txt").write_text("mine")
    kept = Embeddings(others, limit=1)
    kept.put("a", seen())
    assert [path.name for path in others.iterdir()] == ["letter.txt"]
    (others / "model.safetensors").write_text("mine, too")
    (tmp_path / "seen").symlink_to(others)
    kept = Embeddings(tmp_path / "seen", limit=1)
    kept.put("a", seen())
    kept.put("b", seen())
    assert kept.get("a", SHAPES) is None and caplog.text.count("is not kept: it is a link") == 1
    assert sorted(path.name for path in others.iterdir()) == ["letter.txt", "model.safetensors"]
