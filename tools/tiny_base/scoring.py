"""Right answers on held-out scenes, form by form and kind by kind."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from tools.tiny_base.batches import Batches, right
from tools.tiny_base.network import look
from tools.tiny_base.questions import FORMS, kind_of
from tools.tiny_base.scenes import Pool

_IMAGES = 16  # at a time
_OF_FORM = 6  # most questions of a form that are asked of one scene


def score(network: Any, batches: Batches, scenes: int) -> dict[str, tuple[int, int]]:
    """How many answers are right, of how many, by form: the first few questions of each form, of the first scenes. An answer
    is right if greedy decoding says it to the letter, and ends there."""
    counts = np.zeros((len(FORMS), 2), np.int64)
    with torch.no_grad():
        for forms, correct in _answered(network, batches, scenes):
            np.add.at(counts, forms, np.stack([correct, np.ones_like(correct)], -1))
    return {form: (int(right), int(all_)) for form, (right, all_) in zip(FORMS, counts.tolist(), strict=True) if all_}


def _answered(network: Any, batches: Batches, scenes: int) -> Iterator[tuple[NDArray[np.int64], NDArray[np.bool_]]]:
    for first in range(0, scenes, _IMAGES):
        numbers = np.arange(first, min(first + _IMAGES, scenes))
        asked = batches.lay_out(numbers, [_first_of_each(batches.pool, scene) for scene in numbers.tolist()])
        yield right(look(network, asked.inputs).logits, asked)


def _first_of_each(pool: Pool, scene: int) -> NDArray[np.int32]:
    asked = pool.asked(scene)
    seen = np.zeros(len(FORMS), np.int64)
    kept = []
    for number, form in enumerate(asked[:, 0].tolist()):
        seen[form] += 1
        if seen[form] <= _OF_FORM:
            kept.append(number)
    return asked[kept]


def by_kind(counts: dict[str, tuple[int, int]]) -> dict[str, tuple[int, int]]:
    """The same, added up over the forms of each kind."""
    found: dict[str, tuple[int, int]] = {}
    for form, (correct, asked) in counts.items():
        before = found.get(kind_of(form), (0, 0))
        found[kind_of(form)] = (before[0] + correct, before[1] + asked)
    return found


def table(counts: dict[str, tuple[int, int]]) -> str:
    """Markdown: kinds, and the forms of those that are asked in several ways."""
    kinds = by_kind(counts)
    lines = ["| | right | of |", "| --- | --- | --- |"]
    for kind, (correct, asked) in kinds.items():
        lines.append(f"| **{kind}** | {correct / asked:.3f} | {asked:,} |")
        forms = {form: count for form, count in counts.items() if form.startswith(f"{kind}/")}
        lines += [f"| {form} | {right / of:.3f} | {of:,} |" for form, (right, of) in forms.items()]
    return "\n".join(lines)
