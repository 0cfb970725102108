"""What commands say of a set behind a URL is what they say of its folder."""

from __future__ import annotations

import contextlib
import io
import json
import shutil
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from stamp_cli.data import app
from stamp_data.inspect.inspection import inspect_sets
from stamp_data.shards.manifest import find_sets
from stamp_data.shards.reader import ShardSet
from stamp_data.shards.stores import Store, StoreFault, open_store
from stamp_data.verify import verify_set
from stamp_schemas import StampError, UsageFault

from ..conftest import Command
from ..far import KINDS, far_away
from ..serving import Handler, serve
from .making import assorted, build

SET = "tiny/train"


def call(*arguments: object) -> str:
    """`stamp-data ARGUMENTS…` in this process; what it prints."""
    printed = io.StringIO()
    with contextlib.redirect_stdout(printed):
        app()([str(argument) for argument in arguments], standalone_mode=False)
    return printed.getvalue()


def examine_all(store: Store) -> object:
    return inspect_sets([store])


@pytest.fixture(scope="module")
def shards(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Two sets; the second has a bit of a picture flipped, and a shard that is not its own."""
    folder = tmp_path_factory.mktemp("far")
    whole = build(assorted(folder / "raw", 15), folder / "shards")
    assert whole == folder / "shards" / SET
    harmed = Path(shutil.copytree(whole, folder / "shards" / "harmed"))
    with ShardSet(whole) as one:
        row = next(row for row in one.rows if row.image_bytes)
    data = bytearray((harmed / row.shard).read_bytes())
    data[row.image_offset + 40] ^= 1
    (harmed / row.shard).write_bytes(data)
    (harmed / "shard-000099.tar").write_bytes(b"")
    return folder / "shards"


@pytest.fixture(scope="module", params=[*KINDS, "file"])
def root(request: pytest.FixtureRequest, shards: Path) -> Iterator[str]:
    with contextlib.ExitStack() as stack:
        yield shards.as_uri() if request.param == "file" else stack.enter_context(far_away(request.param, shards))


def test_inspect(root: str, shards: Path, tmp_path: Path) -> None:
    def stats(place: str) -> Any:
        return {**json.loads(call("inspect", place, "--all", "--json")), "inputs": None}

    assert stats(f"{root}/{SET}") == stats(f"{shards}/{SET}")
    assert call("inspect", f"{root}/{SET}", "-q") == call("inspect", f"{shards}/{SET}", "-q")
    call("inspect", f"{root}/{SET}", "--sheet", tmp_path / "far.png")
    call("inspect", f"{shards}/{SET}", "--sheet", tmp_path / "near.png")
    assert (tmp_path / "far.png").read_bytes() == (tmp_path / "near.png").read_bytes()
    damaged = json.loads(call("inspect", f"{root}/harmed", "--all", "--json"))
    assert [flag["code"] for flag in damaged["flags"] if flag["code"] == "STP-E001"] == ["STP-E001"]


def test_verify(root: str, shards: Path, stamp_data: Command) -> None:
    assert json.loads(call("verify", f"{root}/{SET}", "--workers", "1", "--json"))["faults"] == []
    found, near = verify_set(f"{root}/harmed"), verify_set(shards / "harmed")
    assert {fault.code for fault in near} == {"file-extra", "file-digest", "member-digest"}
    listed = not root.startswith("http")
    assert found == [fault for fault in near if listed or fault.code != "file-extra"]
    done = stamp_data("verify", f"{root}/harmed", "--workers", "2")
    assert done.returncode == 1 and len(done.stdout.splitlines()) == len(found) + 1


def test_export(root: str, shards: Path, tmp_path: Path) -> None:
    for name, place in (("far", root), ("near", shards)):
        call("export", f"{place}/{SET}", "--to", "coco", "--out", tmp_path / name, "--allow-loss")
    files = sorted(path.relative_to(tmp_path / "near") for path in (tmp_path / "near").rglob("*") if path.is_file())
    assert len(files) > 10
    assert files == sorted(
        path.relative_to(tmp_path / "far") for path in (tmp_path / "far").rglob("*") if path.is_file()
    )
    for file in files:
        assert (tmp_path / "far" / file).read_bytes() == (tmp_path / "near" / file).read_bytes()


def test_sets_below_a_place(root: str, shards: Path) -> None:
    place = str(shards) if root.startswith("file") else root
    if root.startswith("http"):  # a web server cannot be listed
        with pytest.raises(StampError, match="give the URL of one built split"):
            find_sets(root)
    else:
        assert [one.place for one in find_sets(root)] == [f"{place}/harmed", f"{place}/{SET}"]
    assert [one.place for one in find_sets(f"{root}/{SET}/", f"{root}/{SET}")] == [f"{place}/{SET}"]


def test_what_is_not_there(root: str) -> None:
    with pytest.raises(StampError, match=r"nothing: no (such folder|manifest\.json here)"):
        call("inspect", f"{root}/nothing")


def test_a_url_is_not_repaired(tmp_path: Path) -> None:
    with pytest.raises(UsageFault, match="is a URL"):
        call("verify", "s3://bucket/set", "--repair", "--root", tmp_path)


@pytest.mark.parametrize("command", [examine_all, verify_set])
def test_a_server_that_goes_away_is_no_damage(command: Callable[[Store], object], shards: Path) -> None:
    """Neither flags nor faults of records that could not be asked for: the command ends, with one line."""

    def answer(handler: Handler) -> None:
        path = Path(handler.translate_path(handler.path))
        if path.suffix == ".tar":
            handler.say(503)
        else:
            handler.file(path)

    with serve(shards, answer=answer) as (url, _), pytest.raises(StoreFault, match="503 Service Unavailable"):
        command(open_store(f"{url}/{SET}", patience=1))


def test_a_corrupted_read_is_read_again(shards: Path) -> None:
    """What is wrong on the way comes right the second time; what is wrong at its place is named."""
    flips: list[str] = []

    def flipping(handler: Handler) -> None:
        path = Path(handler.translate_path(handler.path))
        asked = f"{path} {handler.headers.get('Range')}"
        harm = path.suffix == ".tar" and handler.command == "GET" and asked not in flips
        flips.extend([asked] * harm)
        handler.file(path, harm)

    with serve(shards, answer=flipping) as (url, _), ShardSet(f"{url}/{SET}") as far, ShardSet(shards / SET) as near:
        for row in near.rows:
            assert far.load(row).record == near.load(row).record
        assert len(flips) == len(near)
    with serve(shards) as (url, handler), ShardSet(f"{url}/harmed") as far:
        harmed = [row for row in far.rows if not readable(far, row)]
        assert len(harmed) == 1
        asked = [line for line in handler.requests if harmed[0].shard in line]
        assert len(asked) == len(set(asked)) + 1  # one read twice


def readable(one: ShardSet, row: Any) -> bool:
    try:
        one.load(row)
    except StampError as fault:
        return not ("is damaged" in fault.message and "says more" in fault.hint)
    return True


def test_memory_of_a_far_index_is_not_its_requests(shards: Path) -> None:
    """An index is some ranged reads, not one for each of its columns and shards."""
    with serve(shards) as (url, handler), ShardSet(f"{url}/{SET}") as far:
        assert len(far.rows) == 15
    assert len([line for line in handler.requests if "index.parquet" in line]) < 12
