"""Which backend computes: by name, or the fastest that works here."""

from __future__ import annotations

import torch

from stamp_train.attention.dense import DensePlan
from stamp_train.attention.flash import FlashPlan, find_kernel
from stamp_train.attention.flex import NO_BACKWARD, FlexPlan
from stamp_train.attention.interface import AttentionPlan
from stamp_train.attention.segments import SegmentsPlan
from stamp_train.sequence.errors import StampModelError
from stamp_train.sequence.structure import AttentionStructure

BACKENDS = ("auto", "sdpa", "segments", "flex", "flash")


def resolve(name: str, device: torch.device, dtype: torch.dtype) -> str:
    """The backend that `name` means on this device and in this precision; StampModelError if there is none, or it is not there.

    `auto` is `flash` where there is a kernel for it (half precision only), else `flex` on CUDA, else `segments`.
    """
    if name not in BACKENDS:
        raise StampModelError(
            f"no attention backend {name!r} (transformers' flash_attention_2 and the like compute plain causal attention "
            "and would drop the rule of documents and mask blocks without a word)",
            fix=f"choose one of {', '.join(BACKENDS)}",
        )
    flash_works = device.type == "cuda" and dtype in (torch.bfloat16, torch.float16) and find_kernel() is not None
    if name == "flash" and not flash_works:
        raise StampModelError(
            f"attention 'flash' needs CUDA, half precision and flash-attn or PyTorch's varlen_attn (here: {device}, {dtype})",
            fix="use attention='auto'",
        )
    if name != "auto":
        return name
    if device.type != "cuda":
        return "segments"
    return "flash" if flash_works else "flex"


def check_training(name: str, device: torch.device, dtype: torch.dtype) -> None:
    """Refuse a backend with which nothing can be trained on this device and in this precision (StampModelError)."""
    if resolve(name, device, dtype) == FlexPlan.name and device.type == "cpu":
        raise StampModelError(NO_BACKWARD, fix="use attention='segments'")


def make_plan(structure: AttentionStructure, name: str = "auto", dtype: torch.dtype = torch.float32) -> AttentionPlan:
    """Work out a sequence's attention once, for all layers; the plan's `name` says which backend `auto` chose.

    structure: of the whole sequence, on the device that computes. name: one of `BACKENDS`; StampModelError if it is not there.
    dtype: of the queries.
    """
    chosen = resolve(name, structure.document.device, dtype)
    if chosen == "flash":
        kernel = find_kernel()
        assert kernel is not None  # resolve() has looked
        return FlashPlan(structure, kernel)
    if chosen == "flex":
        return FlexPlan(structure)
    return SegmentsPlan(structure) if chosen == "segments" else DensePlan(structure)
