"""SAM and SAM 2, asked for what somebody points at: for annotating."""

from __future__ import annotations

from stamp_train.predict.pointing.clicks import SamClicks
from stamp_train.predict.pointing.opening import open_clicks

__all__ = ["SamClicks", "open_clicks"]
