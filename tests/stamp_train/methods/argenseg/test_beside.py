"""Codes beside a set: written once, checked when they are read, refused if they are of another codec or of other shards."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from safetensors.torch import save_file

from stamp_data.shards.reader import ShardSet
from stamp_schemas import StampError, UsageFault
from stamp_train.methods.argenseg import making
from stamp_train.methods.argenseg.beside import CodeStore, read_shard, write_shard
from stamp_train.methods.argenseg.files import open_codec
from stamp_train.methods.argenseg.making import make_codes
from stamp_train.methods.argenseg.settings import ArgensegSettings

from ...runs import make_shards
from .vaes import SCALES, tiny_weights


@pytest.fixture(scope="module")
def shards(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return make_shards(tmp_path_factory.mktemp("codes"), ("refcoco",)) / "refcoco-unc"


@pytest.fixture(scope="module")
def vae(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("vae") / "vae.safetensors"
    save_file(tiny_weights(), path, {"scales": ",".join(map(str, SCALES))})
    return path


def only_file(place: Path) -> Path:
    [found] = place.glob("codes-*/*.safetensors")
    return found


def test_codes_are_those_of_each_mask_and_are_kept(shards: Path, vae: Path) -> None:
    place = shards / "val"
    made = make_codes(str(vae), [str(place)], tried=2)
    codec, shape = open_codec(vae)
    [written] = made.sets
    assert made.kind == "var" and made.digest == shape["digest"] and made.tokens == 30 and made.tried == 2
    assert written.made > 0 == written.kept and Path(written.folder).name == f"codes-{made.digest[:12]}"
    [again] = make_codes(str(vae), [str(place)], tried=0).sets
    assert (again.made, again.kept) == (0, written.made)
    store = CodeStore()
    with ShardSet(place) as one:
        store.open([one], made.digest, 30)
        for row in one.rows:
            record = one.record(row)
            for target in range(len(record.targets)):
                found = store.find(record, target)
                assert found.dtype == np.int16
                assert found.tolist() == codec.encode([record.targets[target].rle])[0].tolist()


def test_what_is_damaged_is_refused_and_made_anew(shards: Path, vae: Path) -> None:
    place = shards / "testA"
    digest = make_codes(str(vae), [str(place)], tried=0).digest
    path = only_file(place)
    whole = path.read_bytes()
    for damaged in (whole[:-1] + bytes([whole[-1] ^ 1]), whole[:100], b""):
        path.write_bytes(damaged)
        with ShardSet(place) as one, pytest.raises(StampError, match="codes") as fault:
            CodeStore().open([one], digest, 30)
        assert "run `stamp-train codes` again" in fault.value.hint
        [written] = make_codes(str(vae), [str(place)], tried=0).sets
        assert written.made > 0 and path.read_bytes() == whole
    path.unlink()
    with ShardSet(place) as one, pytest.raises(StampError, match="no codes of shard"):
        CodeStore().open([one], digest, 30)


@pytest.mark.parametrize("change", [np.float32, np.int64, np.negative, lambda codes: np.ravel(codes)[0]])
def test_codes_that_are_none_are_refused_though_they_hash_right(change: Any, shards: Path, vae: Path) -> None:
    place = shards / "val"
    digest = make_codes(str(vae), [str(place)], tried=0).digest
    path = only_file(place)
    whole = path.read_bytes()
    with ShardSet(place) as one:
        [shard] = one.shards
        found = read_shard(path.parent, shard, digest, 30)
        assert found is not None
        write_shard(path.parent, shard, digest, replace(found, codes=np.asarray(change(found.codes))))
        with pytest.raises(StampError, match="damaged codes"):
            CodeStore().open([one], digest, 30)
    path.write_bytes(whole)


def test_a_stopped_making_goes_on(shards: Path, vae: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    place = shards / "testB"
    write, calls = making.write_shard, [0]

    def stopping(*_: Any) -> None:
        calls[0] += 1
        raise KeyboardInterrupt

    monkeypatch.setattr(making, "write_shard", stopping)
    with pytest.raises(KeyboardInterrupt):
        make_codes(str(vae), [str(place)], tried=0)
    monkeypatch.setattr(making, "write_shard", write)
    assert calls == [1] and not list(place.glob("codes-*/*"))
    assert make_codes(str(vae), [str(place)], tried=0).sets[0].made > 0


def test_codes_of_another_codec_are_refused(shards: Path, vae: Path, tmp_path: Path) -> None:
    place = shards / "testB"
    with ShardSet(place) as one, pytest.raises(StampError, match="no codes of codec 0123456789ab"):
        CodeStore().open([one], "0123456789ab", 30)
    made = make_codes(str(vae), [str(place)], tried=0)
    weights = tiny_weights()
    weights["quant_conv.bias"] = weights["quant_conv.bias"] + 1
    save_file(weights, tmp_path / "other.safetensors", {"scales": "1,2,3,4"})
    settings = ArgensegSettings(codec="var", file=str(tmp_path / "other.safetensors")).complete()
    method = settings.method()
    with ShardSet(place) as one:
        with pytest.raises(StampError, match=f"there are codes-{made.digest[:12]}, of other codecs"):
            method.open_sets([one])
        fine = ArgensegSettings(codec="var", file=str(vae)).complete().method()
        fine.open_sets([one])
        record = next(found for found in map(one.record, one.rows) if found.targets)
        assert fine.label(record, 0, (2, 2), None).shape == (30,)


def test_a_renamed_folder_of_codes_is_still_of_its_own_codec(shards: Path, vae: Path) -> None:
    place = shards / "val"
    make_codes(str(vae), [str(place)], tried=0)
    folder = only_file(place).parent
    moved = folder.rename(folder.with_name("codes-000000000000"))
    with ShardSet(place) as one, pytest.raises(StampError, match="codes of another codec"):
        CodeStore().open([one], "000000000000", 30)
    moved.rename(folder)


def test_wrong_calls_get_a_line(shards: Path, vae: Path, tmp_path: Path) -> None:
    val = str(shards / "val")
    with pytest.raises(UsageFault, match="a fitted codec needs a file"):
        make_codes("residual", [val])
    with pytest.raises(UsageFault, match="--out is where a fitted codec goes"):
        make_codes(str(vae), [val], out=tmp_path / "x.safetensors")
    with pytest.raises(UsageFault, match="no file of a codec"):
        make_codes(str(tmp_path / "none.pth"), [val])
    fitted = tmp_path / "fitted.safetensors"
    made = make_codes("residual", [val], fitted, scales=(1, 2, 4, 8), vocabulary=32, tried=5)
    assert made.kind == "residual" and made.tokens == 85 and not made.sets and made.ciou > 0.4
    again = make_codes(str(fitted), [val], tried=5)
    assert (again.digest, again.ciou) == (made.digest, made.ciou)


def test_a_set_behind_a_url_keeps_no_codes(shards: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with ShardSet(shards / "val") as one:
        monkeypatch.setattr(type(one.store), "__str__", lambda _: "https://example.org/val")
        with pytest.raises(UsageFault, match="nothing can be written behind a URL"):
            CodeStore().open([one], "0" * 64, 30)
