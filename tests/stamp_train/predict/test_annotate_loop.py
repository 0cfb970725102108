"""The walk of docs/annotate.md at small size: annotate, build, train, propose on other pictures, accept or fix.

Who annotates here knows the truth of simple scenes, and accepts what overlaps with it by half.
"""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from stamp_data import rle
from stamp_data.annotate.change import Change
from stamp_data.annotate.images import Images
from stamp_data.annotate.stats import Proposals, annotate_stats
from stamp_data.annotate.store import Store
from stamp_data.build.jobs import Job, run_job
from stamp_data.build.split import Built
from stamp_data.executors.local import LocalExecutor
from stamp_schemas.annotated import DrawnMask, Proposal, SaidPhrase
from stamp_train.predict import Segmenter
from stamp_train.predict.proposals import Proposer

from ..runs import train
from .chatting import save_checkpoint

SIDE = 168  # pixels: 6 × 6 patches
SCENES = 20  # that are annotated by hand, and as many that a model proposes for
GOOD = 0.5  # IoU
Truth = dict[str, tuple[list[SaidPhrase], list[DrawnMask]]]
"""By the name of a picture."""
RECIPE = """
about: a few annotated scenes
model: {preset: tiny, precision: float32}
method: {head_width: 16}
data: {root: shards, min_tokens: 36, max_tokens: 36, threads: 1}
batch: {dialogues: 10, dialogues_per_image: 1, pack_tokens: 2400}
optimizer: {learning_rate: 4.0e-3}
stages: [{name: own, steps: 80, sets: [{set: annotations/train}]}]
saving: {every: 1000, keep: 1}
threads: 1
"""


@pytest.fixture(scope="module")
def truth(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Truth]:
    """Pictures of a bright disc on dark noise, and what is true of each."""
    photos = tmp_path_factory.mktemp("truth") / "photos"
    photos.mkdir()
    random, said = np.random.default_rng(0), {}
    ys, xs = np.mgrid[:SIDE, :SIDE]
    for number in range(2 * SCENES):
        x, y, radius = *random.uniform(50, SIDE - 50, 2), random.uniform(30, 45)
        disc = np.hypot(xs - x, ys - y) < radius
        pixels = random.integers(0, 60, (SIDE, SIDE, 3)) + np.where(disc[:, :, None], 180, 0)
        Image.fromarray(pixels.astype(np.uint8)).save(photos / f"{number:02}.png")
        said[f"{number:02}.png"] = (
            [SaidPhrase("p1", "the disc", ["m1"])],
            [DrawnMask("m1", rle.encode(disc.astype(np.uint8)))],
        )
    return photos, said


def _build(name: str, root: Path, out: Path, *images: Path) -> list[Built]:
    job = Job(names=(name,), root=root, out=out, images=images, min_tokens=36, max_tokens=36)
    executor = LocalExecutor(1)
    try:
        return list(run_job(job, executor, lambda *_: None))
    finally:
        executor.close()


def rate(folder: Path, checkpoint: Path, photos: Path, said: Truth) -> Proposals:
    """Have a model propose for the later pictures, and decide by the truth; what became of it."""
    images, store, propose = (
        Images(photos),
        Store(folder, "Ada"),
        Proposer(Segmenter.from_pretrained(checkpoint, "cpu")),
    )
    for number in range(SCENES, 2 * SCENES):
        phrases, masks = said[images.names[number]]
        true = {mask.id: mask.rle for mask in masks}
        found = propose(images.pixels(number), [phrase.text for phrase in phrases])
        change = Change()
        for phrase, mask in zip(phrases, found, strict=True):
            if mask is None:
                continue
            proposed, name = rle.encode(mask.astype(np.uint8)), f"x{phrase.id}"
            good = rle.iou(proposed, true[phrase.masks[0]]) >= GOOD
            now = proposed if good else true[phrase.masks[0]]
            change.masks[name] = DrawnMask(name, now, proposal=Proposal(checkpoint.name, proposed))
            change.phrases[phrase.id] = SaidPhrase(phrase.id, phrase.text, [name], status="accepted")
        store.change(images.file(number), 0, change)
    return annotate_stats(folder).proposals.get(checkpoint.name, Proposals(0, 0, 0, 0, None))


@pytest.mark.slow
def test_the_walk(truth: tuple[Path, Truth], tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    photos, said = truth
    folder, images = tmp_path / "annotations", Images(photos)
    for number in range(SCENES):
        phrases, masks = said[images.names[number]]
        accepted = {one.id: SaidPhrase(one.id, one.text, one.masks, status="accepted") for one in phrases}
        Store(folder, "Ada").change(images.file(number), 0, Change(accepted, {mask.id: mask for mask in masks}))
    (built,) = _build("annotations", folder, tmp_path / "shards", photos)
    assert built.manifest.totals.records == SCENES
    before = rate(tmp_path / "proposed-before", save_checkpoint(tmp_path / "base"), photos, said)
    recipe = tmp_path / "own.yaml"
    recipe.write_text(RECIPE, encoding="utf-8")
    done = train(recipe, tmp_path / "shards", tmp_path / "run")
    assert done.returncode == 0, done.stderr
    after = rate(tmp_path / "proposed-after", tmp_path / "run", photos, said)
    assert before.rejected == before.open == after.rejected == after.open == 0
    assert after.unchanged + after.fixed > 0
    assert after.unchanged > before.unchanged
    with capsys.disabled():
        for name, one in (("before", before), ("after", after)):
            print(
                f"\n{name}: {one.unchanged} of {SCENES} masks accepted as they were proposed, {one.fixed} fixed", end=""
            )
