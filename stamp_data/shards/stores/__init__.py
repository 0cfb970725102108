"""Where a shard set lies: a folder, a web server, or anything that fsspec knows (S3, GCS, Azure, HDFS, …)."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING
from urllib.parse import unquote, urlsplit

from stamp_data.shards.stores.base import PATIENCE, Location, Missing, Store, StoreFault
from stamp_data.shards.stores.local import LocalStore
from stamp_schemas import UsageFault

if TYPE_CHECKING:
    from stamp_data.shards.stores.cache import ShardCache  # loaded by those who keep one

__all__ = ["PATIENCE", "LocalStore", "Location", "Missing", "Store", "StoreFault", "is_url", "open_store"]


def is_url(place: Location) -> bool:
    """Whether a place is no folder of this machine's file systems."""
    return "://" in str(place) and not str(place).startswith("file://")


def open_store(place: Location, patience: float = PATIENCE, cache: ShardCache | None = None) -> Store:
    """The store at a folder, an http(s) URL, or a URL of any protocol that fsspec knows; a store itself as it is.

    patience: seconds in which a read that fails is tried again. cache: where its shards are kept. UsageFault for a URL that
    cannot be one of a set.
    """
    if isinstance(place, Store):
        return place
    text = str(place)
    if text.startswith("file://"):
        store: Store = LocalStore(_file_path(text), patience)
    elif not is_url(text):
        store = LocalStore(text, patience)
    elif text.lower().startswith(("http://", "https://")):
        from stamp_data.shards.stores.http import HttpStore

        store = HttpStore(text, patience)
    else:
        from stamp_data.shards.stores.objects import ObjectStore

        store = ObjectStore(text, patience)
    store.cache = cache
    return store


def _file_path(url: str) -> Path:
    parts = urlsplit(url)
    if parts.netloc not in ("", "localhost"):
        raise UsageFault(f"{url}: names the machine {parts.netloc}", "file:///folder has three slashes")
    return Path(unquote(parts.path))
