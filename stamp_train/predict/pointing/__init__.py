"""SAM and SAM 2, asked for what somebody points at: for annotating."""

from __future__ import annotations

from stamp_train.predict.pointing.clicks import SamClicks
from stamp_train.predict.pointing.embeddings import Embeddings
from stamp_train.predict.pointing.opening import open_clicks

__all__ = ["Embeddings", "SamClicks", "open_clicks"]
