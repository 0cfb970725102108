"""Any record a source may yield comes back the same through tarfile, webdataset, wids and Hugging Face datasets."""

from __future__ import annotations

import io
import json
import tarfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import msgspec
import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from stamp_data.shards.reader import ShardSet
from stamp_data.verify import verify_set
from stamp_schemas import Annotation, ImageRef, Record, Request, Target, Turn

from ..making import ListSource, assorted, box, build, draw, pictured, spoken

WIDTH, HEIGHT = 52, 40
Members = dict[str, dict[str, bytes]]

texts = st.text(max_size=40) | st.sampled_from(
    ["<|seg|>", "a <|im_end|> b", "größe → 猫", "[class_name]", "\U0001f600"]
)
identities = st.text(min_size=1, max_size=30)
targets = st.builds(
    Target,
    st.text("abc0-", min_size=1, max_size=5),
    st.lists(
        st.builds(
            box,
            st.integers(0, 20),
            st.integers(0, 15),
            st.floats(21, 60),
            st.floats(16, 50),
            st.sampled_from(["target", "ignore"]),
        ),
        max_size=3,
    ),
    st.lists(st.text(max_size=5), max_size=2),
    st.lists(st.text(max_size=5), max_size=2),
)
forms = st.sampled_from(["phrase", "question", "description"])


@st.composite
def annotations(draw_from: st.DrawFn) -> Annotation:
    """A picture with targets and requests, or a conversation."""
    identity, pictured_ = draw_from(identities), draw_from(st.booleans())
    if not pictured_:
        rounds = draw_from(st.integers(1, 3))
        turns = [Turn(role, draw_from(texts)) for _ in range(rounds) for role in ("user", "assistant")]
        return Annotation(identity, ("a.json", "1"), conversation=turns)
    found = draw_from(st.lists(targets, min_size=1, max_size=3))
    index = st.integers(0, len(found) - 1)
    requests = [
        Request(
            str(n),
            draw_from(texts),
            draw_from(st.lists(index, min_size=1, max_size=3)),
            ("a.json", "2"),
            draw_from(forms),
        )
        for n in range(draw_from(st.integers(1, 3)))
    ]
    return Annotation(identity, ("a.json", "1"), ImageRef("images/one.jpg", WIDTH, HEIGHT), found, requests)


def ours(folder: Path) -> Members:
    """Members of every record by key, as our own reader has them."""
    with ShardSet(folder) as shards:
        return {
            row.key: {row.member_name(kind).split(".", 1)[1]: shards.member(row, kind) for kind in row.members}
            for row in shards.rows
        }


def by_tarfile(folder: Path) -> Members:
    found: Members = {}
    for path in sorted(folder.glob("*.tar")):
        with tarfile.open(path) as archive:
            for member in archive:
                key, _, suffix = member.name.partition(".")
                content = archive.extractfile(member)
                assert content is not None
                found.setdefault(key, {})[suffix] = content.read()
    return found


def by_webdataset(folder: Path) -> Members:
    webdataset = pytest.importorskip("webdataset")
    paths = sorted(str(path) for path in folder.glob("*.tar"))
    samples = webdataset.WebDataset(paths, shardshuffle=False, empty_check=False)
    return {sample["__key__"]: {k: v for k, v in sample.items() if not k.startswith("__")} for sample in samples}


def by_wids(folder: Path, cache: Path) -> Members:
    wids = pytest.importorskip("wids")
    listing = wids.ShardListDataset(
        str(folder / "wids.json"), base=str(folder), cache_dir=str(cache), transformations=[], keep=True
    )
    found = {}
    for number in range(len(listing)):
        sample = listing[number]
        found[sample["__key__"]] = {
            name.removeprefix("."): stream.read() for name, stream in sample.items() if name.startswith(".")
        }
    return found


@pytest.fixture(scope="module")
def root(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("raw")
    draw(folder, "one.jpg", WIDTH, HEIGHT, 1)
    return folder


@settings(suppress_health_check=[HealthCheck.function_scoped_fixture], max_examples=40, deadline=None)
@given(found=st.lists(annotations(), min_size=1, max_size=6))
def test_any_record_comes_back_through_every_reader(
    root: Path, tmp_path_factory: pytest.TempPathFactory, found: list[Annotation]
) -> None:
    valid = Annotation("valid", ("a.json", "3"), conversation=[Turn("user", "One?"), Turn("assistant", "Two.")])
    out = tmp_path_factory.mktemp("out")
    folder = build(ListSource(root, [*found, valid]), out, shard_records=3)
    expected = ours(folder)
    assert by_tarfile(folder) == expected
    assert by_webdataset(folder) == expected
    assert by_wids(folder, out / "cache") == expected
    for key, members in expected.items():
        record = msgspec.json.decode(members["json"], type=Record)
        assert json.loads(members["json"])["key"] == record.key == key
        if record.targets:
            labels = np.load(io.BytesIO(members["labels.npy"]))
            assert record.grid is not None
            assert labels.shape == (len(record.targets), record.grid.height, record.grid.width)
    assert verify_set(folder) == []


# --- Hugging Face datasets -------------------------------------------------------------------------------------------


@pytest.fixture
def hf(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Any]:
    """The library, with its caches in a folder of the test's own and no network."""
    datasets = pytest.importorskip("datasets")
    monkeypatch.setattr(datasets.config, "HF_DATASETS_CACHE", tmp_path / "cache")
    monkeypatch.setattr(datasets.config, "HF_HUB_OFFLINE", True)
    yield datasets
    datasets.utils.logging.set_verbosity_warning()


def stream(datasets: Any, folder: Path, **options: object) -> list[dict[str, Any]]:
    files = {"train": [str(path) for path in sorted(folder.glob("*.tar"))]}
    return list(datasets.load_dataset("webdataset", data_files=files, split="train", streaming=True, **options))


def without_nulls(row: Any) -> Any:
    """A column of structs has every field in every row: the `text` of a picture's place comes back as None."""
    for dialogue in row["dialogues"]:
        for message in dialogue["messages"]:
            message["content"] = [{k: v for k, v in part.items() if v is not None} for part in message["content"]]
    return row


def test_hf_datasets_streams_the_shards(hf: Any, tmp_path: Path) -> None:
    folder = build(ListSource(tmp_path / "raw", [pictured(tmp_path / "raw", n) for n in range(9)]), tmp_path / "out")
    expected = ours(folder)
    rows = stream(hf, folder)
    assert [row["__key__"] for row in rows] == list(expected)
    for row in rows:
        members = expected[row["__key__"]]
        record = msgspec.convert(without_nulls(row["json"]), Record)
        assert record == msgspec.json.decode(members["json"], type=Record)
        assert np.array_equal(np.array(row["labels.npy"], np.uint8), np.load(io.BytesIO(members["labels.npy"])))
        assert record.image is not None
        assert row["jpg"].size == (record.image.width, record.image.height)


class Talks(ListSource):
    dataset = "llava"


def test_image_ids_of_a_set_are_of_one_type(hf: Any, tmp_path: Path) -> None:
    """Conversations are called by numbers and by hashes; as two types they could not stand in one column."""
    talks = [spoken(tmp_path / "raw", number, picture=True) for number in range(6)]
    for number, talk in enumerate(talks):
        talk.id = ("000000123456", "12345", "0a1b2c")[number % 3] + str(number)
    folder = build(Talks(tmp_path / "raw", talks), tmp_path / "out")
    ids = [row["json"]["source"]["image_id"] for row in stream(hf, folder)]
    assert sorted(ids) == sorted(talk.id for talk in talks)


def test_hf_datasets_streams_mixed_sets_with_given_features(hf: Any, tmp_path: Path) -> None:
    """Pictures of two kinds and conversations without any: the library cannot guess such columns from five records."""
    folder = build(assorted(tmp_path / "raw", 12), tmp_path / "out")
    image, text = hf.Image(decode=False), hf.Value("string")
    labels = hf.List(hf.List(hf.List(hf.Value("uint8"))))
    features = {"jpg": image, "png": image, "json": hf.Json(), "labels.npy": labels, "__key__": text, "__url__": text}
    rows = stream(hf, folder, features=hf.Features(features))
    expected = ours(folder)
    assert [row["__key__"] for row in rows] == list(expected)
    for row in rows:
        members = expected[row["__key__"]]
        assert row["json"] == json.loads(members["json"])
        for kind in ("jpg", "png"):
            assert (row[kind]["bytes"] if row[kind] else None) == members.get(kind)
        if "labels.npy" in members:
            assert np.array_equal(np.array(row["labels.npy"], np.uint8), np.load(io.BytesIO(members["labels.npy"])))
        else:
            assert row["labels.npy"] is None
