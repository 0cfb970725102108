"""Why a mask is not refined."""

from __future__ import annotations

import re

from stamp_schemas.errors import UsageFault

HOW_TO_GET_WEIGHTS = (
    "get sam_vit_h_4b8939.pth, sam_vit_l_0b3195.pth or sam_vit_b_01ec64.pth from the segment-anything repository, or the"
    " Hugging Face folder facebook/sam-vit-huge, -large or -base (hf download facebook/sam-vit-huge --local-dir DIR), and"
    " name the file or folder: sam:PATH"
)


class RefinerFault(UsageFault):
    """The refiner that was asked for cannot be had."""


def on_one_line(error: Exception) -> str:
    """What a library says, without its line breaks and at most 200 characters of it."""
    return re.sub(r"\s+", " ", str(error)).strip()[:200]
