"""A small playground of rendered scenes, in the raw on-disk formats of all seven dataset families.

Pictures show a few coloured shapes; every expression is made from a predicate that was evaluated on the scene, so it is
true of the picture and can be learnt. The tree under OUT is what the published set-up calls `playground/data`.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from stamp_data.executors.local import LocalExecutor
from stamp_data.pixels import encoded
from stamp_data.synth.coco import Entry, annotate
from stamp_data.synth.grefcoco import write_grefcoco
from stamp_data.synth.llava import write_llava
from stamp_data.synth.plan import FEWEST_IMAGES, SMALLEST_SIDE, Slot, plan_pictures
from stamp_data.synth.reasonseg import write_reasonseg
from stamp_data.synth.refer import SETS, write_refer
from stamp_data.synth.render import render
from stamp_data.synth.scene import Stream, generator, sample_scene
from stamp_schemas import UsageFault

__all__ = ["FEWEST_IMAGES", "SMALLEST_SIDE", "SynthSummary", "synthesize"]


_CHUNK = 16  # pictures that a worker draws at a time; fewer in all are not worth a second process


@dataclass(frozen=True)
class SynthSummary:
    """What was written: `pictures` per family, and `texts` per set (sentences; for llava conversations)."""

    out: Path
    images: int
    size: tuple[int, int]
    seed: int
    pictures: dict[str, int]
    texts: dict[str, int]


def synthesize(
    out: Path,
    *,
    images: int = 400,
    size: tuple[int, int] = (256, 192),
    seed: int = 0,
    workers: int = 1,
    progress: Callable[[int, int], None] | None = None,
) -> SynthSummary:
    """Write a playground of `images` pictures, each `size` = (width, height) pixels, under `out`.

    `images` counts all pictures together. About 56% are "train2014", which refcoco, refcoco+, refcocog and grefcoco all
    speak of; the rest is shared by refclef, reason_seg and llava. A picture that one set keeps for evaluation is in no
    set's training split. Equal arguments write equal bytes (with equal versions of Pillow), whatever the number of
    `workers`, processes that draw. `progress` is called with (pictures done, pictures in all). Formats: each writer's module
    names its source.

    Raises UsageFault where `out` holds something or `images` or `size` is too small, OSError where it cannot be written.
    """
    _check(out, size)
    slots = plan_pictures(images, seed)
    out.mkdir(parents=True, exist_ok=True)
    entries = _make_pictures(out, slots, size, seed, workers, progress or (lambda *_: None))
    texts = {wanted.name: write_refer(out, wanted, entries, seed) for wanted in SETS}
    texts["grefcoco"] = write_grefcoco(out, entries, seed)
    texts["reason_seg"] = write_reasonseg(out, entries, seed)
    texts["llava"] = write_llava(out, entries, seed)
    pictures: Counter[str] = Counter(slot.family for slot in slots)
    return SynthSummary(out, images, size, seed, dict(pictures), texts)


def _check(out: Path, size: tuple[int, int]) -> None:
    if min(size) < SMALLEST_SIDE:
        raise UsageFault(f"size is {size[0]}x{size[1]}, but both sides need at least {SMALLEST_SIDE} pixels")
    if out.exists() and (not out.is_dir() or any(out.iterdir())):
        raise UsageFault(f"{out} is not an empty folder", "give a new one, or remove it first")


def _make_pictures(
    out: Path, slots: list[Slot], size: tuple[int, int], seed: int, workers: int, progress: Callable[[int, int], None]
) -> list[Entry]:
    """Every picture, in the order of the slots."""
    chunks = [slots[start : start + _CHUNK] for start in range(0, len(slots), _CHUNK)]
    executor = LocalExecutor(min(workers, len(chunks)))
    entries: list[Entry] = []
    try:
        for done in executor.each(_make_chunk, ((out, chunk, size, seed) for chunk in chunks)):
            entries += done
            progress(len(entries), len(slots))
    finally:
        executor.close()
    return sorted(entries, key=lambda entry: entry.slot.index)


def _make_chunk(out: Path, slots: list[Slot], size: tuple[int, int], seed: int) -> list[Entry]:
    return [_make_picture(out, slot, size, seed) for slot in slots]


def _make_picture(out: Path, slot: Slot, size: tuple[int, int], seed: int) -> Entry:
    """Sample, draw and save one picture. Its random numbers depend on its index alone."""
    scene = sample_scene(generator(seed, Stream.SCENE, slot.index), size)
    drawing = render(scene, generator(seed, Stream.PAINT, slot.index))
    path = out / slot.stored
    path.parent.mkdir(parents=True, exist_ok=True)
    is_png = path.suffix == ".png"
    path.write_bytes(encoded(drawing.picture) if is_png else encoded(drawing.picture, "JPEG", quality=92))
    return Entry(slot, scene, annotate(slot, scene, drawing.shown))
