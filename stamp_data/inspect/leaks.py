"""Pictures that two splits share (STP-W006), from the hashes in the indexes alone."""

from __future__ import annotations

import numpy as np

from stamp_data.inspect.concat import ConcatDataset

TRAINING = "train"  # name of the split that is trained on, in every dataset family


def find_leaks(dataset: ConcatDataset) -> dict[int, str]:
    """Record number -> where else its picture is, over all sets of the dataset, sampled or not.

    A picture leaks if a training split and an evaluation split have it, of whatever datasets (the union of RefCOCO sets
    is trained on together), or if two splits of one dataset have it. The record that is evaluated on is named.
    """
    if len(dataset.sets) < 2:
        return {}
    hashes = dataset.column("image_xxh3")
    order = np.argsort(hashes, kind="stable")
    ordered = hashes[order]
    known, starts, counts = np.unique(ordered, return_index=True, return_counts=True)
    shared = (counts > 1) & (known != 0)  # hash 0: no picture
    leaks: dict[int, str] = {}
    for start, count in zip(starts[shared].tolist(), counts[shared].tolist(), strict=True):
        leaks.update(_leaks_of(dataset, order[start : start + count].tolist()))
    return leaks


def _leaks_of(dataset: ConcatDataset, numbers: list[int]) -> dict[int, str]:
    """Leaks among records that share one picture."""
    leaks: dict[int, str] = {}
    sets = {number: dataset.sets[dataset.number_of_set(number)].manifest for number in numbers}
    for number in numbers:
        own = sets[number].settings
        if own.split == TRAINING:
            continue
        for other in numbers:
            theirs = sets[other].settings
            trained = theirs.split == TRAINING
            same = (theirs.dataset, theirs.split_by) == (own.dataset, own.split_by) and theirs.split != own.split
            if trained or (same and other < number):
                leaks[number] = f"also in {sets[other].name}"
                break
    return leaks
