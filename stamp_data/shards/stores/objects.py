"""Whatever fsspec has a file system for: s3:// needs s3fs, gs:// gcsfs, and so on."""

from __future__ import annotations

import os
import time
from importlib import import_module
from typing import Any

from stamp_data.shards.stores.base import PATIENCE, PassingFault, Store, StoreFault, brief
from stamp_schemas import UsageFault
from stamp_schemas.extras import lacking


class ObjectStore(Store):
    """Files below a URL of fsspec's. What credentials and endpoints it uses is the library's affair."""

    def __init__(self, url: str, patience: float = PATIENCE) -> None:
        if not url.partition("://")[2].strip("/"):
            raise UsageFault(f"{url}: names no folder", "PROTOCOL://BUCKET/FOLDER")
        super().__init__(url, patience)
        self._opened: tuple[int, Any, str] | None = None
        self._open()

    def names(self) -> list[str] | None:
        found = self._patiently(self._list, "", 1)
        return sorted(path.rpartition("/")[2] for path in found)

    def folders(self, pattern: str) -> list[str]:
        import fnmatch

        found = self._patiently(self._list, "", 0)
        root = self._open()[1]
        kept = {path.rpartition("/")[0] for path in found if fnmatch.fnmatchcase(path.rpartition("/")[2], pattern)}
        return sorted(self.place + path[len(root) :] for path in kept)

    def _read(self, name: str, offset: int, length: int, deadline: float) -> bytes:
        if not length:
            return b""
        data: bytes = self._ask("cat_file", name, deadline, start=offset, end=offset + length)
        if len(data) > length:
            raise StoreFault(f"{self}/{name}: the server does not serve ranges", "use another server")
        return data

    def _size(self, name: str, deadline: float) -> int:
        return int(self._ask("info", name, deadline)["size"])

    def _list(self, name: str, depth: int, deadline: float) -> list[str]:
        self._open()[0].invalidate_cache()
        found: list[str] = self._ask("find", name, deadline, maxdepth=depth or None)
        return found

    def _open(self) -> tuple[Any, str]:
        """File system and path in it, opened by the process that asks: they do not outlive a fork."""
        if self._opened is None or self._opened[0] != os.getpid():
            self._opened = (os.getpid(), *_opened(self.place))
        return self._opened[1:]

    def _ask(self, method: str, name: str, deadline: float, **options: Any) -> Any:
        files, root = self._open()
        path = f"{root}/{name}" if name else root
        try:
            if files.async_impl:  # these can be called back when it takes too long
                options["timeout"] = max(deadline - time.monotonic(), 0.001)
                return import_module("fsspec.asyn").sync(files.loop, getattr(files, f"_{method}"), path, **options)
            return getattr(files, method)(path, **options)
        except FileNotFoundError:
            raise
        except Exception as fault:  # every file system has exceptions of its own
            raise self._told(fault) from None

    def _told(self, fault: Exception) -> Exception:
        """All but what concerns permission is tried again, then told."""
        if isinstance(fault, PermissionError) or "Credential" in type(fault).__name__:
            return StoreFault(f"{self}: not permitted: {brief(fault)}", "are the credentials of this machine right?")
        return PassingFault(brief(fault))


def _opened(url: str) -> tuple[Any, str]:
    try:
        fsspec = import_module("fsspec.core")
    except ModuleNotFoundError:
        raise lacking(f"{url}: reading it needs fsspec", "remote") from None
    try:
        files, root = fsspec.url_to_fs(url)
    except ImportError as fault:  # the protocol's own package is missing
        raise lacking(f"{url}: {brief(str(fault))}", "remote") from None
    except Exception as fault:  # no such protocol, no such URL, or what the library needs is not there
        raise UsageFault(f"{url}: {brief(str(fault))}") from None
    return files, str(root).rstrip("/")
