"""The SAM that a command line names."""

from __future__ import annotations

from pathlib import Path

import torch

from stamp_schemas import UsageFault
from stamp_train.predict.pointing.clicks import SamClicks
from stamp_train.predict.pointing.embeddings import Embeddings
from stamp_train.predict.pointing.second import KINDS, open_second
from stamp_train.predict.refine.faults import RefinerFault
from stamp_train.predict.refine.network import Sam, open_sam, settings_of

HOW_TO_GET_WEIGHTS = (
    "name the folder of a SAM or SAM 2, as of `hf download facebook/sam2.1-hiera-small --local-dir DIR` or"
    " facebook/sam-vit-base, or an official sam_vit_*.pth: --assist sam=PATH"
)


def open_clicks(spec: str, device: torch.device, kept: Embeddings | None = None) -> SamClicks:
    """SAM or SAM 2 by a specification, `sam=PATH`: a Hugging Face folder, a model in its cache, or an official file of SAM.

    Which of them it is its configuration says. Nothing is downloaded. kept: where what it sees in pictures is kept.
    UsageFault if it cannot be had.
    """
    kind, _, path = spec.partition("=")
    if kind != "sam" or not path:
        raise UsageFault(f"--assist {spec}: no such help", "--assist sam=PATH")
    try:
        return SamClicks(_network(path, device), kept)
    except RefinerFault as fault:
        raise UsageFault(f"--assist {spec}: {fault.message}", HOW_TO_GET_WEIGHTS) from None


def _network(path: str, device: torch.device) -> Sam:
    if not Path(path).is_file():
        config = settings_of(path)
        if config.model_type in KINDS:
            return open_second(path, config, device)
        if config.model_type != "sam":
            raise RefinerFault(f"holds a model of type {config.model_type!r}, not SAM or SAM 2")
    return open_sam(path, device)
