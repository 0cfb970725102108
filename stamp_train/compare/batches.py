"""Whether methods have learned from the same dialogues, step by step, by what their runs wrote down.

What a step draws is a function of sets, mixture, seed and `batch.dialogues` alone (`stamp_train.stream.plan`), and its digest
names the dialogues. Packing, for which a mask has another length with each method, comes after: it parts a step's dialogues
over forward passes and never moves one to another step.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

from blake3 import blake3

from stamp_schemas import StampError
from stamp_train.train.folder import LOG
from stamp_train.train.runlog import read_rows

_REMEDY = "the sets were built anew, or a run was made by another recipe: --overwrite begins anew"


def check_equal(runs: Mapping[str, Path]) -> str:
    """Compare the runs of some methods with the first of them; one digest over all steps, "" for no runs.

    StampError: at a step they have seen other dialogues, or one has steps that another lacks; names step and methods. Or a log
    is damaged.
    """
    found = {name: {row["step"]: row["batch_digest"] for row in read_rows(run / LOG)} for name, run in runs.items()}
    if not found:
        return ""
    first, wanted = next(iter(found.items()))
    for name, seen in found.items():
        for step in sorted({*wanted, *seen}):
            if wanted.get(step) != seen.get(step):
                told = f"{first} saw {_told(wanted, step)}, {name} {_told(seen, step)}"
                raise StampError(f"step {step}: {told}: nothing to compare", _REMEDY)
    return blake3("".join(f"{step} {wanted[step]}\n" for step in sorted(wanted)).encode()).hexdigest(16)


def _told(seen: Mapping[int, str], step: int) -> str:
    return f"batch {seen[step]}" if step in seen else "none"
