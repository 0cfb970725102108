"""A run, a LoRA run, an export and predictions, in one process that lists every operation on half-precision numbers.

    python halves.py SHARDS OUT

Prints one JSON object: operations with how often they were called, by part.
"""

from __future__ import annotations

import json
import sys
from collections import Counter
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves

from stamp_train.eval.heldout import held_out_score
from stamp_train.predict import Segmenter, question
from stamp_train.predict.opening import load_folder
from stamp_train.publish.export import export
from stamp_train.recipes import resolve
from stamp_train.train.loop import Run

HALVES = (torch.bfloat16, torch.float16)
_MOVES = "_to_copy copy_ clone detach view select empty empty_like ones fill_ zero_ uniform_ normal_"
MOVES = {f"aten::{name}" for name in _MOVES.split()}
"""What makes and stores weights, and turns stored ones of half precision into whole ones; nothing that computes."""


class Halves(TorchDispatchMode):
    """Counts operations that take or give half-precision numbers, other than `MOVES`."""

    def __init__(self) -> None:
        super().__init__()
        self.found: Counter[str] = Counter()

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        given = func(*args, **(kwargs or {}))
        tensors = [leaf for leaf in tree_leaves((args, kwargs, given)) if isinstance(leaf, torch.Tensor)]
        name = func._schema.name
        if name not in MOVES and any(tensor.dtype in HALVES for tensor in tensors):
            self.found[name] += 1
        return given


def main(recipe: Path, shards: Path, out: Path) -> dict[str, dict[str, int]]:
    torch.set_num_threads(1)
    found = {}

    def counted(name: str, act: Any) -> None:
        with Halves() as halves:
            act()
        found[name] = dict(halves.found)

    few = ["stages.0.steps=2", "stages.1.steps=1", "batch.dialogues=6", "evaluation.records=2", "model.precision=bf16"]
    sets = [
        f"data.root={shards}",
        "stages.1.sets=[{set: refcoco-unc/train}]",
        "stages.0.sets=[{set: refcoco-unc/train}]",
    ]
    tiny = resolve(str(recipe), [*sets, *few, "evaluation.sets=[refcoco-unc/val]"])
    counted("a product, to see that it is counted", lambda: torch.ones(2, 2).bfloat16() @ torch.ones(2, 2).bfloat16())
    counted("run", lambda: Run(tiny, out / "run", score=held_out_score(tiny.recipe, out / "run")).train())
    model, processor = load_folder(out / "run/final")
    for part in (model.to(torch.bfloat16), processor):  # as a machine with bfloat16 units stores it
        part.save_pretrained(out / "half")
    counted("predict", lambda: predict(out / "half"))
    counted("export", lambda: export(out / "half", out / "exported"))
    lora = ["model.tuning=lora", "model.lora.rank=2", "model.preset=", f"model.start={out / 'half'}"]
    adapted = resolve(str(recipe), [*sets, *few, "evaluation.sets=[]", *lora])
    counted("LoRA run", lambda: Run(adapted, out / "lora").train())
    counted("LoRA checkpoint", lambda: predict(next((out / "lora/checkpoints").iterdir())))
    return found


def predict(folder: Path) -> None:
    picture = np.zeros((64, 96, 3), np.uint8)
    Segmenter.from_pretrained(folder).segment(picture, question("the dog"), force_mask=True, max_new_tokens=4)


if __name__ == "__main__":
    print(json.dumps(main(*map(Path, sys.argv[1:]))))
