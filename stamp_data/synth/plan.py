"""Which pictures there are: their families, splits, identifiers and places on disk.

Roles are given to pictures, not to references: a picture that any set keeps for evaluation is trained on by none.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Literal

import numpy as np

from stamp_data.synth.scene import Stream, generator
from stamp_schemas import UsageFault

Family = Literal["train2014", "refclef", "reason_seg", "llava"]

FEWEST_IMAGES = 20  # one for every split and every LLaVA folder
SMALLEST_SIDE = 64  # pixels; below that the smallest things are specks

# Shares of the pictures. The four COCO-based sets (refcoco, refcoco+, refcocog, grefcoco) speak of the same ones.
_FAMILIES: dict[Family, tuple[float, dict[str, float]]] = {  # and among these the shares of roles; for LLaVA, of folders
    "train2014": (0.56, {"train": 0.7, "val": 0.1, "testA": 0.1, "testB": 0.1}),
    "refclef": (0.1, {"train": 0.6, "val": 0.1, "testA": 0.1, "testB": 0.1, "testC": 0.1}),
    "reason_seg": (0.16, {"train": 0.6, "val": 0.2, "test": 0.2}),
    "llava": (0.18, {
        "coco/train2017": 0.3, "gqa/images": 0.2, "ocr_vqa/images": 0.1, "textvqa/train_images": 0.1,
        "vg/VG_100K": 0.15, "vg/VG_100K_2": 0.15,
    }),
}  # fmt: skip
_LARGEST_ID = 581_929  # of train2014; ours are drawn from the same range so that they look alike


@dataclass(frozen=True)
class Slot:
    """One picture to be made: its number, family, role (split, or folder for LLaVA) and identifier.

    `path`, under OUT, is what the annotations call it; `stored` is the file, which OCR-VQA has under another suffix.
    """

    index: int
    family: Family
    role: str
    image_id: int
    path: str
    stored: str


def plan_pictures(images: int, seed: int) -> list[Slot]:
    """Share out `images` pictures among families and roles and name them, each at least once."""
    if images < FEWEST_IMAGES:
        raise UsageFault(f"images is {images}, but a playground needs at least {FEWEST_IMAGES}: one for every split")
    rng = generator(seed, Stream.IDS)
    slots: list[Slot] = []
    shares = [share for share, _ in _FAMILIES.values()]
    least = [len(roles) for _, roles in _FAMILIES.values()]
    for family, count in zip(_FAMILIES, _share_out(images, shares, least), strict=True):
        _, roles = _FAMILIES[family]
        counts = _share_out(count, list(roles.values()), [1] * len(roles))
        # Shuffled, so that neither a role nor a family follows from an identifier.
        order = rng.permutation(np.repeat(np.array(list(roles)), counts)).tolist()
        for role, image_id in zip(order, _identifiers(rng, family, count), strict=True):
            path = _path(family, role, image_id)
            slots.append(Slot(len(slots), family, role, image_id, path, stored=path))
    book = next(k for k, slot in enumerate(slots) if slot.role == "ocr_vqa/images")
    slots[book] = replace(slots[book], stored=slots[book].path.removesuffix(".jpg") + ".png")
    return slots


def _share_out(total: int, shares: Sequence[float], least: Sequence[int]) -> list[int]:
    """Whole numbers close to `total` times the shares, each no smaller than its least, that add up to `total`."""
    counts = [max(low, int(total * share)) for share, low in zip(shares, least, strict=True)]
    while (gap := total - sum(counts)) != 0:
        step = 1 if gap > 0 else -1
        spare = [
            step * (total * share - n) if step > 0 or n > low else -np.inf
            for share, low, n in zip(shares, least, counts, strict=True)
        ]
        counts[int(np.argmax(spare))] += step
    return counts


def _identifiers(rng: np.random.Generator, family: Family, count: int) -> list[int]:
    """Different numbers, unordered, from the range that the family's real downloads use."""
    highest = 41_000 if family == "refclef" else _LARGEST_ID
    lowest = 1 if family != "llava" else 10_000
    span = max(highest - lowest, 2 * count)
    return [int(n) + lowest for n in rng.choice(span, count, replace=False)]


def _path(family: Family, role: str, image_id: int) -> str:
    """Where a picture lies under the playground's root."""
    if family == "train2014":
        return f"refer_seg/images/coco_2014/train2014/COCO_train2014_{image_id:012d}.jpg"
    if family == "refclef":
        return f"refer_seg/images/saiapr_tc-12/{image_id // 1000:02d}/images/{image_id}.jpg"
    if family == "reason_seg":
        return f"reason_seg/ReasonSeg/{role}/{image_id}_{image_id * 2_654_435_761 % 2**40:010x}_o.jpg"
    return f"{role}/{_llava_stem(role, image_id)}.jpg"


def _llava_stem(folder: str, image_id: int) -> str:
    """File names as in the five sources of LLaVA's pictures."""
    if folder == "coco/train2017":
        return f"{image_id:012d}"
    if folder == "ocr_vqa/images":
        return f"{image_id:010d}"
    if folder == "textvqa/train_images":
        return f"{image_id * 11_400_714_819_323_198_485 % 2**64:016x}"  # odd factor: no two identifiers collide
    return str(image_id)
