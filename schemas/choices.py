"""Names that recipes and commands choose among, apart from all else: the list of commands needs no more than the names."""

from __future__ import annotations

from typing import Literal

Upsampling = Literal["bilinear", "published", "guided"]
"""How masks are brought to the picture's size, see `stamp_train.methods.upsample`."""
