"""What labels themselves score under every way of making and of enlarging them, and what the picture's edges add.

    python bench/oracle.py                    # synthetic scenes; some six minutes of one core
    python bench/oracle.py --real FOLDER      # and real masks: the folder that the tests know as STAMP_REAL_DATA
    python bench/oracle.py --scenes 4         # fewer scenes

A mask is turned into labels of a grid of about 256, 576, 1024 or 4096 patches, the labels into a mask of the picture's
size, and that is scored against the first: the ceiling of any model that is trained on such labels. No model is that
sure, so the second table asks the same of labels that were blurred and shaken (docs/benchmarks/labels.md).
"""

from __future__ import annotations

import argparse
import json
import platform
import time
from collections.abc import Iterator
from dataclasses import dataclass
from itertools import chain
from pathlib import Path

import msgspec
import numpy as np
import torch
import torch.nn.functional as F
from PIL import Image
from torch import Tensor

from stamp_data.grid import patch_grid
from stamp_data.masks import paint
from stamp_data.rle import decode
from stamp_data.synth.render import render
from stamp_data.synth.scene import Stream, generator, sample_scene
from stamp_schemas import Region
from stamp_train.eval.metrics import Summary, score_case
from stamp_train.eval.representation import Representation
from stamp_train.methods.patches import coverage_logits
from stamp_train.methods.upsample import Mask, Picture, to_mask

PATCHES = (256, 576, 1024, 4096)
SIZES = ((640, 480), (480, 640), (500, 375), (640, 427), (612, 612))
SEED = 2026  # scenes that nothing was chosen on
# (rule, labels per patch along one side, upsampling)
WAYS = {
    "as published, nearest": ("sampled", 1, "published"),
    "hard, nearest": ("hard", 1, "published"),
    "hard, bilinear": ("hard", 1, "bilinear"),
    "soft, bilinear": ("soft", 1, "bilinear"),
    "soft, guided": ("soft", 1, "guided"),
    "4×4 hard, nearest": ("hard", 4, "published"),
    "4×4 soft, bilinear": ("soft", 4, "bilinear"),
    "4×4 soft, guided": ("soft", 4, "guided"),
}
DAMAGES = {"blurred": (True, False), "blurred and shaken": (True, True)}  # of labels: (blur, shake)


@dataclass(frozen=True)
class Sample:
    """A mask, and the picture that shows it, if there is one."""

    truth: Mask
    image: Picture | None


def scenes(count: int) -> Iterator[Sample]:
    """Masks of synthetic scenes of the sizes that COCO's pictures have."""
    for number in range(count):
        scene = sample_scene(generator(SEED, Stream.SCENE, number), SIZES[number % len(SIZES)])
        drawing = render(scene, generator(SEED, Stream.PAINT, number))
        image = np.asarray(drawing.picture)
        yield from (Sample(shown > 0.5, image) for shown in drawing.shown)


def photographs(root: Path) -> Iterator[Sample]:
    """Outlines that people drew on photographs: COCO's, OCHuman's, labelme's."""
    yield from coco(root / "coco/annotations/person_keypoints_val2017_subset.json", root / "coco/val2017")
    yield from coco(root / "coco_rle/ochuman_subset.json", root / "coco_rle/images")
    for path in sorted((root / "labelme").glob("2011_*.json")):
        image = read(path.with_suffix(".jpg"))
        for shape in json.loads(path.read_text(encoding="utf-8"))["shapes"]:
            yield Sample(painted([np.ravel(shape["points"]).tolist()], *image.shape[:2]), image)


def renders(root: Path) -> Iterator[Sample]:
    """Masks of rendered kitchens, most of them of small things (RefCOCO-3DS)."""
    folder = root / "refer_seg/refcoco_3ds"
    yield from coco(folder / "instances.json", root / "refer_seg/images/refcoco_3ds")


def without_pictures(root: Path) -> Iterator[Sample]:
    """Masks of COCO, as RefCOCO has them, whose pictures are not there."""
    yield from coco(root / "refer_seg/refcoco/instances.json", None)


def coco(path: Path, pictures: Path | None) -> Iterator[Sample]:
    """Masks of an annotation file in COCO's format that cover anything."""
    file = json.loads(path.read_text(encoding="utf-8"))
    for entry in file["images"]:
        image = read(pictures / entry["file_name"]) if pictures else None
        for one in file["annotations"]:
            if one["image_id"] == entry["id"]:
                truth = painted(one["segmentation"], entry["height"], entry["width"])
                if truth.any():
                    yield Sample(truth, image)


def painted(segmentation: object, height: int, width: int) -> Mask:
    region = Region(msgspec.Raw(msgspec.json.encode(segmentation)), "")
    return decode(paint([region], height, width).mask) > 0


def read(path: Path) -> Picture:
    with Image.open(path) as image:
        return np.asarray(image.convert("RGB"))


def logits_of(sample: Sample, patches: int, rule: str, side: int) -> Tensor:
    grid = patch_grid(*sample.truth.shape, patches, patches)
    labels = Representation(rule, side).labels(sample.truth, grid)
    return coverage_logits(labels)


def damaged(logits: Tensor, blur: bool, shake: bool, random: torch.Generator) -> Tensor:
    """Logits as of a model that is not sure: probabilities blurred over the cells, logits up to 4 with noise added."""
    if blur:
        taps = torch.tensor([0.2, 0.6, 0.2])
        padded = F.pad(logits.sigmoid()[None, None], (1, 1, 1, 1), mode="replicate")
        logits = torch.logit(F.conv2d(padded, (taps[:, None] * taps)[None, None])[0, 0], eps=1e-6)
    return logits.clamp(-4, 4) + torch.randn(logits.shape, generator=random) if shake else logits


def ceilings(samples: list[Sample]) -> Iterator[list[str]]:
    """Rows of the first table."""
    for name, (rule, side, method) in WAYS.items():
        if method == "guided" and samples[0].image is None:
            continue
        cells = []
        for patches in PATCHES:
            summary = Summary()
            for sample in samples:
                logits = logits_of(sample, patches, rule, side)
                summary.add(score_case(to_mask(logits, *sample.truth.shape, method, sample.image), sample.truth))
            cells.append(numbers(summary))
        yield [name, *cells]


def edges(samples: list[Sample], side: int) -> Iterator[list[str]]:
    """Rows of the second table."""
    for name, (blur, shake) in DAMAGES.items():
        for method in ("bilinear", "guided"):
            cells = []
            for patches in PATCHES:
                summary, random = Summary(), torch.Generator().manual_seed(SEED)
                for sample in samples:
                    logits = damaged(logits_of(sample, patches, "soft", side), blur, shake, random)
                    summary.add(score_case(to_mask(logits, *sample.truth.shape, method, sample.image), sample.truth))
                cells.append(numbers(summary))
            yield [f"{side}×{side} {name}, {method}", *cells]


def numbers(summary: Summary) -> str:
    metrics = summary.metrics()
    return f"{metrics['ciou']:.4f} / {metrics['giou']:.4f}"


def speed(samples: list[Sample]) -> Iterator[str]:
    """Processor milliseconds of a mask, at 1024 patches."""
    for method in ("published", "bilinear", "guided"):
        pairs = [(logits_of(sample, 1024, "soft", 1), sample) for sample in samples[:20]]
        start = time.process_time()
        for logits, sample in pairs:
            to_mask(logits, *sample.truth.shape, method, sample.image)
        yield f"{method} {1e3 * (time.process_time() - start) / len(pairs):.1f} ms"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--scenes", type=int, default=40)
    parser.add_argument("--real", type=Path, help="folder of real annotations")
    options = parser.parse_args()
    torch.set_num_threads(1)
    print(f"{time.strftime('%Y-%m-%d')}, Python {platform.python_version()}, torch {torch.__version__}\n")
    kinds = {"synthetic scenes": list(scenes(options.scenes))}
    if options.real:
        kinds["photographs"] = list(photographs(options.real))
        kinds["renders of kitchens"] = list(renders(options.real))
        kinds["RefCOCO"] = list(without_pictures(options.real))
    else:
        print("Real masks: skipped, for no folder of them is given (--real).\n")
    print("A mask at 1024 patches: " + ", ".join(speed(kinds["synthetic scenes"])) + "\n")
    table("labels, upsampling", {f"{kind}, {len(some)} masks": ceilings(some) for kind, some in kinds.items()})
    pictured = {kind: some for kind, some in kinds.items() if some[0].image is not None}
    print()
    table("answer, upsampling", {kind: chain(edges(some, 1), edges(some, 4)) for kind, some in pictured.items()})


def table(title: str, parts: dict[str, Iterator[list[str]]]) -> None:
    print(f"| masks | {title} | {' | '.join(f'{patches} patches' for patches in PATCHES)} |")
    print("|" + " --- |" * (2 + len(PATCHES)))
    for part, rows in parts.items():
        for row in rows:
            print(f"| {part} | {' | '.join(row)} |", flush=True)


if __name__ == "__main__":
    main()
