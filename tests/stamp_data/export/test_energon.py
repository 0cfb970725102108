"""energon: the side files of Megatron's loader, and the very bytes of the shards."""

from __future__ import annotations

import os
import struct
import tarfile
from pathlib import Path
from typing import Any

import pytest
import yaml

from stamp_data.export import export_sets
from stamp_data.shards.manifest import read_manifest
from stamp_data.shards.reader import ShardSet
from stamp_schemas import StampError

from ...serving import serve


def side(folder: Path, name: str) -> Any:
    return yaml.safe_load((folder / ".nv-meta" / name).read_text(encoding="utf-8"))


def test_shards_are_listed_and_linked(mixed: Path, tmp_path: Path) -> None:
    export_sets([mixed], "energon", tmp_path / "out")
    folder = tmp_path / "out/tiny"
    shards = {f"train/{shard.path}": shard.records for shard in read_manifest(mixed).shards}
    assert len(shards) > 1
    assert side(folder, "dataset.yaml") == {"__module__": "megatron.energon", "__class__": "CrudeWebdataset"}
    assert side(folder, "split.yaml") == {"split_parts": {"train": list(shards)}, "exclude": []}
    assert side(folder, ".info.yaml") == {"shard_counts": shards}
    for name in shards:
        assert (folder / name).samefile(mixed / Path(name).name)


def test_what_links_lead_to_is_linked(mixed: Path, tmp_path: Path) -> None:
    """As in the hub's cache, where relative links lead to the bytes."""
    linked = tmp_path / "linked"
    linked.mkdir()
    for path in mixed.iterdir():
        (linked / path.name).symlink_to(os.path.relpath(path, linked))
    export_sets([linked], "energon", tmp_path / "a/b/out")
    for path in (tmp_path / "a/b/out/tiny/train").glob("*.tar"):
        assert not path.is_symlink()
        assert path.samefile(mixed / path.name)


def test_the_index_says_where_samples_begin(mixed: Path, tmp_path: Path) -> None:
    """As Energon's own preparation finds it with tarfile: the first header of each key, and what follows the last member."""
    export_sets([mixed], "energon", tmp_path / "out")
    for path in sorted((tmp_path / "out/tiny/train").glob("*.tar")):
        begins: dict[str, int] = {}
        with tarfile.open(path) as tar:
            for member in tar:
                begins.setdefault(member.name.partition(".")[0], member.offset)
            end = tar.offset
        data = path.with_suffix(".tar.idx").read_bytes()
        assert list(struct.unpack(f"<{len(data) // 8}Q", data)) == [*begins.values(), end]


def test_what_is_not_chosen_is_excluded(mixed: Path, tmp_path: Path) -> None:
    export_sets([mixed], "energon", tmp_path / "out", keep=lambda one: one.row.targets > 0)
    with ShardSet(mixed) as shards:
        left_out = [f"train/{row.shard}/{row.row}" for row in shards.rows if not row.targets]
    assert left_out and side(tmp_path / "out/tiny", "split.yaml")["exclude"] == left_out


def test_a_set_behind_a_url_has_no_shards_to_link(mixed: Path, tmp_path: Path) -> None:
    with serve(mixed) as (url, _), pytest.raises(StampError, match="not on this machine") as caught:
        export_sets([url], "energon", tmp_path / "out")
    assert "copy the set" in caught.value.hint and not list(tmp_path.iterdir())


def test_copies_where_there_are_no_links(mixed: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def refused(*_: object) -> None:
        raise OSError(18, "Invalid cross-device link")

    monkeypatch.setattr(os, "link", refused)
    export_sets([mixed], "energon", tmp_path / "out")
    for path in (tmp_path / "out/tiny/train").glob("*.tar"):
        assert path.read_bytes() == (mixed / path.name).read_bytes() and not path.samefile(mixed / path.name)
