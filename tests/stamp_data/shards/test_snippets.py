"""docs/shard-format.md, section 9: what it says of each reader is so, for pictures of several kinds and for text alone."""

from __future__ import annotations

import io
import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import msgspec
import numpy as np
import pytest
from PIL import Image

from stamp_data.shards.reader import Loaded, ShardSet
from stamp_schemas import Annotation

from ...conftest import ROOT
from ..making import ListSource, build, pictured, spoken

PAGE = (ROOT / "docs/shard-format.md").read_text(encoding="utf-8")
KINDS = ("jpg", "png", "webp", "bmp", "tif")
Run = Callable[..., list[dict[str, Any]]]


@pytest.fixture(scope="module")
def home(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with `shards/mine/train`: the first records are text alone, the others have a picture of each kind."""
    root = tmp_path_factory.mktemp("snippets")
    made: list[Annotation] = [pictured(root / "raw", n, suffix=KINDS[n % len(KINDS)]) for n in range(10)]
    made += [spoken(root / "raw", 20 + n, picture=n % 2 == 0) for n in range(6)]
    folder = build(ListSource(root / "raw", made), root / "out")
    (root / "shards/mine").mkdir(parents=True)
    folder.rename(root / "shards/mine/train")
    return root


@pytest.fixture
def expected(home: Path) -> dict[str, Loaded]:
    with ShardSet(home / "shards/mine/train") as shards:
        loaded = {one.record.key: one for one in shards}
    assert {one.row.image_extension for one in loaded.values()} == {*KINDS, ""}
    return loaded


@pytest.fixture
def run(home: Path, monkeypatch: pytest.MonkeyPatch) -> Run:
    """Runs the snippet that imports a module, with lines put behind it, which stand in its loop."""
    monkeypatch.chdir(home)

    def snippet(module: str, *replaced: tuple[str, str]) -> list[dict[str, Any]]:
        pytest.importorskip(module)
        (code,) = [one for one in re.findall(r"```python\n(.*?)```", PAGE, re.DOTALL) if f" {module}" in one]
        for old, new in replaced:
            assert old in code
            code = code.replace(old, new)
        rows: list[dict[str, Any]] = []
        code += "    rows.append({'record': record, 'picture': picture, 'labels': labels})\n"
        exec(compile(code, str(ROOT / "docs/shard-format.md"), "exec"), {"rows": rows})
        return rows

    return snippet


def check(rows: list[dict[str, Any]], expected: dict[str, Loaded], same: Callable[[Any, Loaded], bool]) -> None:
    assert [row["record"]["key"] for row in rows] == list(expected)
    for row in rows:
        loaded = expected[row["record"]["key"]]
        assert row["record"]["dialogues"][0]["id"] == loaded.record.dialogues[0].id
        assert (row["labels"] is None) == (loaded.labels is None)
        assert loaded.labels is None or np.array_equal(np.array(row["labels"], np.uint8), loaded.labels)
        assert same(row["picture"], loaded)


def same_bytes(picture: Any, loaded: Loaded) -> bool:
    return bool(picture == loaded.image)


def same_pixels(picture: Any, loaded: Loaded) -> bool:
    if loaded.image is None:
        return picture is None
    with Image.open(io.BytesIO(loaded.image)) as image:
        return bool(np.array_equal(np.asarray(picture.convert("RGB")), np.asarray(image.convert("RGB"))))


def test_webdataset(run: Run, expected: dict[str, Loaded]) -> None:
    check(run("webdataset"), expected, same_bytes)


def test_webdataset_that_decodes(run: Run, expected: dict[str, Loaded]) -> None:
    rows = run(
        "webdataset",
        ("shardshuffle=False)", 'shardshuffle=False).decode("pil")'),
        ('json.loads(sample["json"])', 'sample["json"]'),
        ('np.load(io.BytesIO(sample["labels.npy"]))', 'sample["labels.npy"]'),
    )
    check(rows, expected, same_pixels)


def test_webdataset_names_a_kind_that_a_record_lacks(home: Path, expected: dict[str, Loaded]) -> None:
    webdataset = pytest.importorskip("webdataset")
    paths = sorted(str(path) for path in (home / "shards/mine/train").glob("*.tar"))
    with pytest.raises(ValueError, match="jpg"):
        list(webdataset.WebDataset(paths, shardshuffle=False).to_tuple("jpg", "json"))
    skipping = {"handler": webdataset.ignore_and_continue}
    kept = list(webdataset.WebDataset(paths, shardshuffle=False).to_tuple("jpg", "json", **skipping))
    assert 0 < len(kept) < len(expected)


def test_wids(run: Run, expected: dict[str, Loaded]) -> None:
    check(run("wids"), expected, same_pixels)


@pytest.fixture
def datasets(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Any:
    """The library, with its caches in a folder of the test's own and no network."""
    library = pytest.importorskip("datasets")
    monkeypatch.setattr(library.config, "HF_DATASETS_CACHE", tmp_path / "cache")
    monkeypatch.setattr(library.config, "HF_HUB_OFFLINE", True)
    return library


@pytest.mark.usefixtures("datasets")
def test_hugging_face(run: Run, expected: dict[str, Loaded]) -> None:
    rows = run("datasets")
    check(rows, expected, same_bytes)
    assert [row["record"] for row in rows] == [
        msgspec.json.decode(msgspec.json.encode(one.record)) for one in expected.values()
    ]


@pytest.mark.usefixtures("datasets")
def test_hugging_face_refuses_to_guess_where_records_differ(run: Run) -> None:
    with pytest.raises(ValueError, match="don't share the same prefix or the same types"):
        run("datasets", (", features=Features(columns)", ""))
