"""Raw sets by their names on the Hugging Face hub, `hf:OWNER/NAME` or `hf:OWNER/NAME@REVISION`, in place of a folder."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

from stamp_data.hub.huggingface import told, valid_name
from stamp_schemas import StampError, UsageFault

PREFIX = "hf:"
READ = ("refcoco_parquet", "reason_seg_parquet")
PATTERNS = ["*.parquet"]


class Root(NamedTuple):
    """follow_links: whether its files may be links that lead out of it, as those in the client's cache are."""

    folder: Path
    follow_links: bool


def located(root: Path, names: Sequence[str], follow_links: bool = False) -> Root:
    """The folder that a root stands for: itself, or for a name on the hub the one in the client's cache, filled where it lacks
    anything. names: of the sets that are to be read. UsageFault for one that is not read from the hub, or what is no name;
    StampError where the hub does not give it, or holds no Parquet.
    """
    text = str(root)
    if not text.startswith(PREFIX) or root.exists():
        return Root(root, follow_links)
    if unread := [name for name in names if name not in READ]:
        raise UsageFault(
            f"--root {text}: {unread[0]} is not read from the hub, {' and '.join(READ)} are",
            "`hf download NAME --repo-type dataset --local-dir DIR`, then --root DIR",
        )
    from huggingface_hub import snapshot_download

    inner = text.removeprefix(PREFIX).lstrip("/").removeprefix("datasets/")  # a path has lost one of two slashes
    name, _, revision = inner.partition("@")
    valid_name(name)
    with told(name):
        folder = Path(snapshot_download(name, repo_type="dataset", revision=revision or None, allow_patterns=PATTERNS))
    if not any(folder.rglob("*.parquet")):
        raise StampError(f"{name}: holds no Parquet files", "the page of the dataset says what it holds")
    return Root(folder, True)
