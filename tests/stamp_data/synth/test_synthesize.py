"""The public function: determinism, refusals, shares."""

from __future__ import annotations

import hashlib
import subprocess
import sys
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image

from stamp_data.synth import FEWEST_IMAGES, SynthSummary, synthesize
from stamp_data.synth.plan import plan_pictures
from stamp_data.synth.scene import FEWEST, MOST, Stream, generator, sample_scene
from stamp_schemas import UsageFault


def digests(root: Path) -> dict[str, str]:
    files = sorted(p for p in root.rglob("*") if p.is_file())
    return {str(p.relative_to(root)): hashlib.sha256(p.read_bytes()).hexdigest() for p in files}


def test_equal_arguments_write_equal_bytes_in_another_process_too(tmp_path: Path) -> None:
    first = synthesize(tmp_path / "a", images=30, seed=3)
    code = "import sys; from pathlib import Path; from stamp_data.synth import synthesize as s; s(Path(sys.argv[1]), "
    call = [sys.executable, "-c", code + "images=30, seed=3)", str(tmp_path / "b")]
    subprocess.run(call, check=True, env={"PYTHONHASHSEED": "12", "PYTHONPATH": ":".join(sys.path)})
    assert digests(tmp_path / "a") == digests(tmp_path / "b")
    synthesize(tmp_path / "c", images=30, seed=4)
    assert digests(tmp_path / "a") != digests(tmp_path / "c")
    assert isinstance(first, SynthSummary)
    assert sum(first.pictures.values()) == 30
    assert all(first.texts.values())


def test_any_number_of_workers_writes_the_same_bytes(tmp_path: Path) -> None:
    for workers in (1, 2, 3):
        synthesize(tmp_path / str(workers), images=70, size=(64, 64), workers=workers)
    assert digests(tmp_path / "1") == digests(tmp_path / "2") == digests(tmp_path / "3")


def test_progress_and_size(tmp_path: Path) -> None:
    calls: list[tuple[int, int]] = []
    (tmp_path / "out").mkdir()
    synthesize(tmp_path / "out", images=20, size=(90, 120), progress=lambda *done: calls.append(done))
    assert calls == sorted(calls) and calls[-1] == (20, 20)
    pictures = [*(tmp_path / "out").rglob("*.jpg"), *(tmp_path / "out").rglob("*.png")]
    assert len(pictures) == 20
    assert {Image.open(p).size for p in pictures} == {(90, 120)}


def test_refuses_a_folder_with_something_in_it(tmp_path: Path) -> None:
    (tmp_path / "mine.txt").write_text("keep me")
    with pytest.raises(UsageFault, match="not an empty folder"):
        synthesize(tmp_path)
    with pytest.raises(UsageFault, match="not an empty folder"):
        synthesize(tmp_path / "mine.txt")
    assert list(tmp_path.iterdir()) == [tmp_path / "mine.txt"]


def test_refuses_too_few_and_too_small_before_writing(tmp_path: Path) -> None:
    with pytest.raises(UsageFault, match="at least 20"):
        synthesize(tmp_path / "out", images=19)
    with pytest.raises(UsageFault, match="at least 64"):
        synthesize(tmp_path / "out", size=(256, 63))
    assert not (tmp_path / "out").exists()


@given(images=st.integers(FEWEST_IMAGES, 3000), seed=st.integers(-5, 2**70))
def test_plan_uses_every_split_and_names_no_picture_twice(images: int, seed: int) -> None:
    slots = plan_pictures(images, seed)
    assert len(slots) == len({slot.path for slot in slots}) == images
    assert len({(slot.family, slot.role) for slot in slots}) == 18


@given(seed=st.integers(0, 2**32), size=st.tuples(st.integers(64, 300), st.integers(64, 300)))
def test_scenes_hold_several_things_that_can_be_seen(seed: int, size: tuple[int, int]) -> None:
    scene = sample_scene(generator(seed, Stream.SCENE), size)
    assert FEWEST <= len(scene.things) <= MOST
    for i, thing in enumerate(scene.things):
        assert thing.area >= 0.65 * thing.whole_area - 1e-6
        assert thing.visible.bounds[0] >= 0 and thing.visible.bounds[3] <= size[1]
        assert not any(thing.visible.intersects(t.whole) and not thing.visible.touches(t.whole)
                       and thing.visible.intersection(t.whole).area > 1e-6 for t in scene.things[i + 1 :])  # fmt: skip
