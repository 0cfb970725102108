"""Built sets on a hub: pushed with a card once they are verified, pulled by the digests of their manifests."""

from __future__ import annotations

from stamp_data.hub.pull import Pulled, pull
from stamp_data.hub.push import Pushed, push

__all__ = ["Pulled", "Pushed", "pull", "push"]
