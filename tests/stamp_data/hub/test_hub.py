"""Sets pushed and pulled: to a folder in place of a hub, and to as much of a hub as the client needs."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from pycocotools import mask as coco_mask

from stamp_data.hub import pull, push
from stamp_data.hub.card import MARK
from stamp_data.shards.manifest import manifest_bytes, read_manifest, with_checksum
from stamp_data.verify import verify_set
from stamp_schemas import StampError, UsageFault

from ..making import ListSource, assorted, build, tree
from ..raw import picture
from .fake_hub import TOKEN, Datasets, serving

NAME = "me/tiny-sets"
RUN = [sys.executable, "-c", "from stamp_cli.data import main; main()"]


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with one built set of three shards."""
    home = tmp_path_factory.mktemp("made")
    build(assorted(home / "raw", 5), home / "sets", shard_records=2)
    return home / "sets"


class Other(ListSource):
    dataset = "other"
    licence = "a licence | of its own"


def test_there_and_back_by_a_folder(made: Path, tmp_path: Path) -> None:
    place = f"file://{tmp_path}/shared/tiny"
    done = push(made, place)
    assert done.sets == ["tiny/train"] and done.kept == 0 and done.revision == "" and done.files == len(tree(made)) + 1
    (one,) = pull(place, tmp_path / "back")
    assert tree(tmp_path / "back") == tree(made) and one.kept == 0 and one.folder == str(tmp_path / "back/tiny/train")
    assert verify_set(one.folder) == []
    again, (kept,) = push(made, place), pull(place, tmp_path / "back")
    assert (again.files, kept.files) == (0, 0) and kept.kept == len(tree(made)) - 1


def test_what_was_damaged_is_not_pushed(made: Path, tmp_path: Path) -> None:
    copy = tmp_path / "copy"
    for name, data in tree(made).items():
        (copy / name).parent.mkdir(parents=True, exist_ok=True)
        (copy / name).write_bytes(data[:-600] + b"x" + data[-599:] if name.endswith("1.tar") else data)
    with pytest.raises(StampError, match=r"nothing is pushed") as caught:
        push(copy, f"file://{tmp_path}/hub")
    assert "--repair" in caught.value.hint and not (tmp_path / "hub").exists()


def test_what_is_damaged_there_takes_no_place_and_the_rest_is_kept(made: Path, tmp_path: Path) -> None:
    hub = tmp_path / "hub"
    push(made, f"file://{hub}")
    shard = hub / "tiny/train/shard-000001.tar"
    whole = shard.read_bytes()
    shard.write_bytes(whole[:-1] + b"x")
    with pytest.raises(StampError, match=r"shard-000001\.tar: its BLAKE3"):
        list(pull(f"file://{hub}", tmp_path / "out"))
    got = {path.name for path in (tmp_path / "out/tiny/train").iterdir()}
    assert got == {"shard-000000.tar"}, "neither the damaged one nor a manifest"
    shard.write_bytes(whole[:-1])
    with pytest.raises(StampError, match="the manifest says"):
        list(pull(f"file://{hub}", tmp_path / "out"))
    shard.unlink()
    with pytest.raises(StampError, match=r"lacks shard-000001\.tar"):
        list(pull(f"file://{hub}", tmp_path / "out"))
    assert push(made, f"file://{hub}").files == 1, "the same push goes on"
    (one,) = pull(f"file://{hub}", tmp_path / "out")
    assert one.kept == 1 and tree(tmp_path / "out") == tree(made)


def test_another_set_of_that_name_replaces_it_there_and_not_here(made: Path, tmp_path: Path) -> None:
    place = f"file://{tmp_path}/hub"
    push(made, place)
    list(pull(place, tmp_path / "out"))
    build(assorted(tmp_path / "raw", 3), tmp_path / "fewer", shard_records=2)
    push(tmp_path / "fewer", place)
    assert not (tmp_path / "hub/tiny/train/shard-000002.tar").exists(), "which the smaller set has not"
    with pytest.raises(StampError, match="holds another set"):
        list(pull(place, tmp_path / "out"))
    list(pull(place, tmp_path / "new"))
    assert tree(tmp_path / "new") == tree(tmp_path / "fewer")


def test_what_lies_beside_a_set_is_told_of(made: Path, tmp_path: Path) -> None:
    copy = tmp_path / "copy"
    shutil.copytree(made, copy)
    (copy / "tiny/train/codes.parquet").touch()
    done = push(copy, f"file://{tmp_path}/hub")
    assert "not sent: codes.parquet" in done.notes[1] and not list((tmp_path / "hub").rglob("codes*"))


def test_files_that_are_none_of_the_set_stay(made: Path, tmp_path: Path) -> None:
    push(made, f"file://{tmp_path}/hub")
    mine = tmp_path / "out/tiny/train/shard-000000.tar"
    mine.parent.mkdir(parents=True)
    mine.write_bytes(b"mine")
    with pytest.raises(StampError, match="none of the set's files"):
        list(pull(f"file://{tmp_path}/hub", tmp_path / "out"))
    assert mine.read_bytes() == b"mine"


def test_a_set_leads_nowhere_else(made: Path, tmp_path: Path) -> None:
    """A manifest in order, whose name leads out of the folder."""
    hub = tmp_path / "hub"
    push(made, f"file://{hub}")
    path = hub / "tiny/train/manifest.json"
    manifest = read_manifest(path.parent)
    for name, dataset in (("../../x/train", "../../x"), ("/x/train", "/x"), ("else/train", "tiny")):
        manifest.name = name
        manifest.settings = type(manifest.settings)(dataset, "", "train")
        path.write_bytes(manifest_bytes(with_checksum(manifest)))
        with pytest.raises(StampError, match=r"manifest\.json"):
            list(pull(f"file://{hub}", tmp_path / "a/b/out"))
    assert not list(tmp_path.rglob("x")) and not list((tmp_path / "a").rglob("*.tar"))


def test_a_card_names_licences_and_losses_of_all_sets_there(made: Path, tmp_path: Path) -> None:
    place, card = f"file://{tmp_path}/hub", tmp_path / "hub/README.md"
    push(made, place, licence="cc-by-4.0")
    text = card.read_text()
    assert text.startswith("---\nlicense: cc-by-4.0\n") and 'path: "tiny/train/*.tar"' in text
    assert "| tiny/train | CC0-1.0 | https://example.org/tiny |" in text
    assert "| tiny/train | dropped | empty-text | 1 | 1 | the expression is empty |" in text
    other = assorted(tmp_path / "raw", 2)
    build(Other(other.root, other._annotations), tmp_path / "other", shard_records=2)
    done = push(tmp_path / "other", place)
    text = card.read_text()
    assert "| tiny/train | CC0-1.0 |" in text and "| other/train | a licence \\| of its own |" in text
    assert text.startswith("---\nlicense: other\n") and done.notes == [
        "licences of the sources: a licence | of its own"
    ]
    assert {one.set for one in pull(place, tmp_path / "both")} == {"tiny/train", "other/train"}
    assert [one.set for one in pull(place, tmp_path / "one", ["other/train"])] == ["other/train"]
    assert not (tmp_path / "one/tiny").exists()
    card.write_text(text.replace(MARK, "") + "by hand")
    assert "by people" in push(made, place).notes[-1] and card.read_text().endswith("by hand")


@pytest.mark.parametrize(
    ("place", "options", "match"),
    [
        ("./mine", {}, "no name of a dataset"),
        ("a b/c", {}, "no name of a dataset"),
        ("https://huggingface.co/datasets/me/x", {}, "no name of a dataset"),
        ("file://{}", {"private": True}, "--private is for the Hugging Face hub"),
        ("file://{}", {"revision": "x"}, "no revisions"),
        ("file://{}", {"licence": "do what you want"}, "no licence"),
    ],
)
def test_wrong_places(place: str, options: dict[str, Any], match: str, made: Path, tmp_path: Path) -> None:
    with pytest.raises(UsageFault, match=match) as caught:
        push(made, place.format(tmp_path / "hub"), **options)
    assert caught.value.hint and not (tmp_path / "hub").exists()


def test_a_folder_among_the_sets_is_no_place_for_their_copies(made: Path) -> None:
    """The next push would find every set twice."""
    before = tree(made)
    for place in (made / "copy", made / "tiny/train/copy"):
        with pytest.raises(UsageFault, match="copy"):
            push(made, f"file://{place}")
    assert tree(made) == before


def test_what_is_not_there(made: Path, tmp_path: Path) -> None:
    with pytest.raises(UsageFault, match=r"no manifest\.json"):
        push(tmp_path, f"file://{tmp_path}/hub")
    with pytest.raises(UsageFault, match="has no set 'none/train'"):
        list(pull(f"file://{made}", tmp_path / "out", ["none/train"]))


def test_a_place_without_sets(tmp_path: Path) -> None:
    with pytest.raises(UsageFault, match="no such folder"):
        list(pull(f"file://{tmp_path}/none", tmp_path / "out"))
    (tmp_path / "hub").mkdir()
    with pytest.raises(UsageFault, match="holds no built set"):
        list(pull(f"file://{tmp_path}/hub", tmp_path / "out"))
    assert not (tmp_path / "out").exists()


# --- the Hugging Face hub ------------------------------------------------------------------------------------------------


@pytest.fixture
def hub() -> Iterator[tuple[str, Datasets]]:
    with serving() as served:
        yield served


def call(address: str, *words: str, token: str = TOKEN, home: Path) -> tuple[int, str, str]:
    """The command by itself: its client reads the environment once. Exit code, stdout, stderr."""
    env = {key: value for key, value in os.environ.items() if not key.lower().startswith(("hf_", "http", "all_proxy"))}
    env |= {"HF_ENDPOINT": address, "HF_HOME": str(home), "HF_HUB_DISABLE_XET": "1", "HF_HUB_DISABLE_TELEMETRY": "1"}
    env |= {"HF_TOKEN": token} if token else {}
    done = subprocess.run([*RUN, *words], capture_output=True, text=True, env=env, timeout=120)
    assert TOKEN not in done.stdout + done.stderr and "Traceback" not in done.stderr
    return done.returncode, done.stdout, done.stderr


def one_line(err: str) -> bool:
    """Whether a fault is told in one line with a remedy, whatever was told of the progress before."""
    lines = [
        line.partition(":")[0]
        for line in err.splitlines()
        if not line.endswith("/3)") and not line.startswith("sending")
    ]
    return lines == ["error", "hint"]


def test_there_and_back_by_the_client(hub: tuple[str, Datasets], made: Path, tmp_path: Path) -> None:
    address, held = hub
    code, out, err = call(address, "hub", "push", str(made), NAME, "--private", "--json", home=tmp_path / "home")
    assert code == 0, err
    told = json.loads(out)
    assert code == 0 and told["files"] == len(tree(made)) + 1 and NAME in held.private and held.commits == 1
    files = held.held[NAME]["main"]
    assert {name: data for name, data in files.items() if name.startswith("tiny/")} == tree(made)
    assert told["revision"] == held.commit(NAME, "main") and files["README.md"].startswith(b"---\nlicense: other\n")
    code, out, _ = call(address, "hub", "pull", f"hf:{NAME}", "--out", str(tmp_path / "back"), home=tmp_path / "home")
    assert code == 0 and "tiny/train" in out and tree(tmp_path / "back") == tree(made)
    code, out, _ = call(address, "hub", "push", str(made), NAME, home=tmp_path / "home")
    assert code == 0 and "0 files of 0 bytes sent" in out and held.commits == 1


def test_a_push_that_was_stopped_goes_on(hub: tuple[str, Datasets], made: Path, tmp_path: Path) -> None:
    address, held = hub
    held.stop_after = 2
    code, _, err = call(address, "hub", "push", str(made), NAME, home=tmp_path)
    assert code == 1 and one_line(err) and held.commits == 0 and len(held.stored) == 2
    held.stop_after = 10**9
    before = sum(name.startswith("PUT") for name in held.calls)
    code, _, err = call(address, "hub", "push", str(made), NAME, home=tmp_path)
    large = [data for data in tree(made).values() if len(data) > 300]
    assert code == 0, err
    assert held.commits == 1 and sum(name.startswith("PUT") for name in held.calls) - before <= len(large) + 1 - 2


def test_branches(hub: tuple[str, Datasets], made: Path, tmp_path: Path) -> None:
    address, held = hub
    code, _, err = call(address, "hub", "push", str(made), NAME, "--revision", "draft", home=tmp_path)
    assert code == 0, err
    assert "README.md" in held.held[NAME]["draft"] and "README.md" not in held.held[NAME]["main"]
    commit = held.commit(NAME, "draft")
    assert call(address, "hub", "pull", NAME, "-o", str(tmp_path / "out"), "--revision", commit, home=tmp_path)[0] == 0
    assert tree(tmp_path / "out") == tree(made)
    code, _, err = call(address, "hub", "pull", NAME, "-o", str(tmp_path / "main"), home=tmp_path)
    assert code == 2 and "holds no built set" in err
    code, _, err = call(address, "hub", "pull", NAME, "-o", str(tmp_path / "main"), "--revision", "none", home=tmp_path)
    assert code == 1 and "--revision" in err and one_line(err)


def test_what_the_hub_refuses_is_one_line(hub: tuple[str, Datasets], made: Path, tmp_path: Path) -> None:
    address, held = hub
    code, _, err = call(address, "hub", "push", str(made), NAME, token="", home=tmp_path)
    assert code == 1 and "hf auth login" in err and one_line(err)
    code, _, err = call(address, "hub", "pull", NAME, "-o", str(tmp_path / "out"), home=tmp_path)
    assert code == 1 and "check the name" in err and one_line(err)
    assert call(address, "hub", "push", str(made), NAME, home=tmp_path)[0] == 0
    code, _, err = call(address, "hub", "push", str(made), NAME, "--private", home=tmp_path)
    assert code == 2 and "public" in err
    held.private.add(NAME)
    code, _, err = call(address, "hub", "pull", NAME, "-o", str(tmp_path / "out"), token="", home=tmp_path)
    assert code == 1 and "private" in err and one_line(err)
    code, _, err = call("http://127.0.0.1:9", "hub", "pull", NAME, "-o", str(tmp_path / "out"), home=tmp_path)
    assert code == 1 and "connection" in err and one_line(err)


def test_bytes_that_changed_on_the_way(hub: tuple[str, Datasets], made: Path, tmp_path: Path) -> None:
    address, held = hub
    assert call(address, "hub", "push", str(made), NAME, home=tmp_path)[0] == 0
    files = held.held[NAME]["main"]
    files["tiny/train/shard-000002.tar"] = b"x" + files["tiny/train/shard-000002.tar"][1:]
    code, _, err = call(address, "hub", "pull", NAME, "-o", str(tmp_path / "out"), home=tmp_path)
    assert (
        code == 1 and "shard-000002.tar: its BLAKE3" in err and not (tmp_path / "out/tiny/train/manifest.json").exists()
    )


def test_names_that_lead_elsewhere_are_not_asked_for(hub: tuple[str, Datasets], made: Path, tmp_path: Path) -> None:
    address, held = hub
    inner = {f"../../../evil/{name}": data for name, data in tree(made).items()}
    held.held[NAME] = {"main": {**inner, **{f"/evil/{name}": data for name, data in tree(made).items()}, **tree(made)}}
    code, out, err = call(address, "hub", "pull", NAME, "-o", str(tmp_path / "a/b/out"), home=tmp_path / "home")
    assert code == 0 and out.count("\n") == 1, err
    assert tree(tmp_path / "a/b/out") == tree(made) and not list(tmp_path.rglob("evil"))
    assert not any("evil" in name for name in held.calls)


def test_files_that_the_hub_passes_over_are_missed(hub: tuple[str, Datasets], made: Path, tmp_path: Path) -> None:
    address, held = hub
    held.ignored.add("tiny/train/shard-000002.tar")
    code, _, err = call(address, "hub", "push", str(made), NAME, home=tmp_path)
    assert code == 1 and "shard-000002.tar: was sent, and is not there" in err and ".gitignore" in err


# --- raw sets ------------------------------------------------------------------------------------------------------------


def moondream(folder: Path) -> bytes:
    """RefCOCO-M's layout: a picture inside, with two sentences of a mask."""
    mask = {"size": [48, 64], "counts": coco_mask.encode(np.asfortranarray(np.eye(48, 64, dtype=np.uint8)))["counts"]}
    sample = {"id": 5, "image_id": 7, "category": "x", "label": "x", "sentences": ["the line", "a line"], "mask": mask}
    image = {"bytes": picture((64, 48)), "path": None}
    row = {"image": image, "image_id": 7, "file_name": "COCO_train2014_000000000007.jpg", "samples": [sample]}
    path = folder / "x.parquet"
    pq.write_table(pa.Table.from_pylist([row]), path)
    return path.read_bytes()


def test_raw_parquet_by_its_name_on_the_hub(hub: tuple[str, Datasets], tmp_path: Path) -> None:
    """Pictures inside the files of the client's cache, which are links."""
    address, held = hub
    files = {
        "data/validation-00000-of-00001.parquet": moondream(tmp_path),
        "README.md": b"# x",
        "huge.zip": b"PK" * 500,
    }
    held.held["moondream/refcoco-m"] = {"main": files}
    words = ["build", "refcoco_parquet", "--root", "hf:moondream/refcoco-m", "--out", str(tmp_path / "out"), "-w", "1"]
    code, _, err = call(address, *words, home=tmp_path / "home")
    assert code == 0, err
    (found,) = (tmp_path / "out").rglob("manifest.json")
    manifest = read_manifest(found.parent)
    assert (manifest.name, manifest.totals.dialogues, manifest.totals.rejects) == ("refcoco_parquet/val", 2, 0)
    assert not any("huge.zip" in name for name in held.calls if name.startswith("GET"))
    words_of_convert = ["convert", "hf:moondream/refcoco-m", str(tmp_path / "m-coco"), "-w", "1"]
    code, said, err = call(address, *words_of_convert, home=tmp_path / "home")
    assert code == 0 and "2 dialogues" in said, err
    words[3] = f"hf://datasets/moondream/refcoco-m@{held.commit('moondream/refcoco-m', 'main')}"
    before = len(held.calls)
    code, _, err = call(address, *words, home=tmp_path / "home")
    assert code == 0 and not any("resolve" in name for name in held.calls[before:]), "the cache has it"
    shard = found.with_name("shard-000000.tar")
    whole = shard.read_bytes()
    shard.write_bytes(whole[:-600] + b"x" + whole[-599:])
    again = ["verify", str(found.parent), "--repair", "--root", words[3], "-w", "1"]
    code, _, err = call(address, *again, home=tmp_path / "home")
    assert code == 0 and shard.read_bytes() == whole, err


@pytest.mark.parametrize(
    ("name", "source", "code", "said"),
    [
        ("hf:me/none", "refcoco_parquet", 1, "no such dataset"),
        ("hf:me/none", "coco", 2, "coco is not read from the hub"),
        ("hf:me/pictures", "refcoco_parquet", 1, "holds no Parquet"),
        ("hf:a b", "refcoco_parquet", 2, "no name of a dataset"),
        ("hf:me/pictures@none", "refcoco_parquet", 1, "no such revision"),
    ],
)
def test_raw_sets_that_are_not_there(
    name: str, source: str, code: int, said: str, hub: tuple[str, Datasets], tmp_path: Path
) -> None:
    address, held = hub
    held.held["me/pictures"] = {"main": {"a.jpg": b"x"}}
    found, _, err = call(address, "build", source, "--root", name, "--out", str(tmp_path / "out"), home=tmp_path)
    assert found == code and said in err and len([line for line in err.splitlines() if line.startswith("error")]) == 1
