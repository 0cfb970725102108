"""The Hugging Face hub through its own client. It finds the token where `hf auth login` puts it; nothing here sees it."""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager
from functools import cached_property
from pathlib import Path
from typing import Any

from stamp_data.files import BLOCK, open_plain
from stamp_data.hub.places import Hub, Progress
from stamp_data.shards.stores.base import brief
from stamp_data.sources.paths import is_plain
from stamp_schemas import StampError, UsageFault

TOGETHER = 16  # files that are sent before the next ones are looked at
_LOGIN = "`hf auth login` with a token that may read it; to push, one that may write"
_KNOWN = {
    "GatedRepoError": ("access to it has to be granted", "ask for it on its page, then `hf auth login`"),
    "RepositoryNotFoundError": ("no such dataset, or it is private", f"check the name; {_LOGIN}"),
    "RevisionNotFoundError": ("no such revision", "check --revision: a branch, a tag or a commit"),
    "EntryNotFoundError": ("a file is gone that was there a moment ago", "run the same command again"),
    "OfflineModeIsEnabled": ("the client is told to stay offline", "unset HF_HUB_OFFLINE"),
}
"""What the client calls its exceptions -> what is said of them, and the remedy."""
_REFUSED = (401, 403)
_AGAIN = "check the connection, and run the same command again: it goes on where it was"


class HuggingFaceHub(Hub):
    """A dataset on the hub. revision: branch, tag or commit, its main branch if "". UsageFault for what is no name."""

    def __init__(self, name: str, revision: str = "") -> None:
        from huggingface_hub import HfApi

        valid_name(name)
        self.name = name
        self._asked = revision or None
        self._api: Any = HfApi(library_name="stamp-seg")

    def revision(self) -> str:
        """The commit that the revision stood at when this was first asked."""
        return self._commit

    @cached_property
    def _commit(self) -> str:
        with told(self.name):
            return str(self._api.dataset_info(self.name, revision=self._asked).sha)

    @cached_property
    def _tree(self) -> dict[str, Any]:
        with told(self.name):
            tree = self._api.list_repo_tree(self.name, recursive=True, revision=self._commit, repo_type="dataset")
            files = {entry.path: entry for entry in tree if hasattr(entry, "blob_id")}  # folders have none
        return {name: entry for name, entry in files.items() if is_plain(name)}  # the client trusts the server in that

    def files(self) -> dict[str, int]:
        return {name: int(entry.size) for name, entry in self._tree.items()}

    def create(self, private: bool) -> None:
        with told(self.name):
            self._api.create_repo(self.name, repo_type="dataset", private=private or None, exist_ok=True)
            if private and not self._api.dataset_info(self.name).private:
                raise UsageFault(
                    f"{self.name}: is there, and public", "make it private in its settings, or push to a new name"
                )
            if self._asked:
                self._api.create_branch(self.name, branch=self._asked, repo_type="dataset", exist_ok=True)

    def same(self, name: str, path: Path) -> bool:
        entry = self._tree[name]
        if entry.lfs is not None:
            return bool(_digest(hashlib.sha256(), path) == entry.lfs.sha256)
        header = f"blob {path.stat().st_size}\0".encode()
        return bool(_digest(hashlib.sha1(header, usedforsecurity=False), path) == entry.blob_id)  # git's own

    def fetch(self, name: str, folder: Path) -> Path:
        with told(self.name):
            return Path(
                self._api.hf_hub_download(self.name, name, repo_type="dataset", revision=self._commit, local_dir=folder)
            )

    def put(self, files: Mapping[str, Path], gone: Iterable[str], message: str, progress: Progress) -> None:
        """In one commit. Large files go ahead of it, so that a push that is stopped goes on where it was."""
        from huggingface_hub import CommitOperationAdd, CommitOperationDelete

        _ = self._tree
        adding = [CommitOperationAdd(path_in_repo=name, path_or_fileobj=str(path)) for name, path in files.items()]
        deleting = [CommitOperationDelete(path_in_repo=name) for name in gone]
        with told(self.name):
            for start in range(0, len(adding), TOGETHER):
                progress(start, len(adding), "sending")
                self._api.preupload_lfs_files(
                    self.name, adding[start : start + TOGETHER], repo_type="dataset", revision=self._asked
                )
            done = self._api.create_commit(
                self.name, [*adding, *deleting], commit_message=message, repo_type="dataset", revision=self._asked
            )
        self.__dict__["_commit"] = str(done.oid)
        del self._tree


def valid_name(name: str) -> None:
    """UsageFault for what cannot be called OWNER/NAME. The client's bars are off from then on: one of our own covers all."""
    from huggingface_hub.errors import HFValidationError
    from huggingface_hub.utils import (  # type: ignore[attr-defined]  # not in its __all__
        disable_progress_bars,
        validate_repo_id,
    )

    disable_progress_bars()
    try:
        validate_repo_id(name)
    except HFValidationError as fault:
        raise UsageFault(f"{name}: no name of a dataset: {brief(str(fault))}", "OWNER/NAME") from None


@contextmanager
def told(name: str) -> Iterator[None]:
    """Whatever the client raises, as one line; its HTTP library, and so its exceptions, differ between versions."""
    try:
        yield
    except (StampError, MemoryError):
        raise
    except Exception as fault:
        if isinstance(fault, OSError) and fault.strerror and not hasattr(fault, "response"):
            raise  # of the disk
        raise _fault(name, fault) from None


def _fault(name: str, fault: Exception) -> StampError:
    if type(fault) is RuntimeError and isinstance(fault.__cause__, Exception):  # "error while uploading"
        fault = fault.__cause__
    kinds = [kind.__name__ for kind in type(fault).__mro__]
    for kind in kinds:
        if kind in _KNOWN and "LocalEntryNotFoundError" not in kinds:  # which is an entry that nobody could ask for
            message, remedy = _KNOWN[kind]
            return StampError(f"{name}: {message}", remedy)
    status = getattr(getattr(fault, "response", None), "status_code", None)
    if status in _REFUSED:
        return StampError(f"{name}: the hub refuses it ({status})", _LOGIN)
    return StampError(f"{name}: the hub cannot be asked: {brief(fault)}", _AGAIN)


def _digest(digest: Any, path: Path) -> str:
    with open_plain(path) as file:
        while block := file.read(BLOCK):
            digest.update(block)
    return str(digest.hexdigest())
