"""`stamp-train codes`: a codec fitted to the masks of sets, codes written beside them, and how good a mask in codes can be."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from itertools import groupby, islice
from pathlib import Path

import numpy as np
import torch

from stamp_data.rle import area, decode
from stamp_data.shards.manifest import find_sets
from stamp_data.shards.reader import ShardSet
from stamp_data.writing import hold
from stamp_schemas import RLE, Record, StampError, UsageFault
from stamp_schemas.manifest import ShardEntry
from stamp_train.methods.argenseg.beside import ShardCodes, folder_of, mask_digest, read_shard, write_shard
from stamp_train.methods.argenseg.codec import Codec
from stamp_train.methods.argenseg.files import RESIDUAL, VAR, open_codec, save_residual
from stamp_train.methods.argenseg.residual import ResidualCodec, sample
from stamp_train.methods.upsample import to_mask

Report = Callable[[int, int, str], None]
_TOGETHER = 8  # masks that are encoded at a time


@dataclass(frozen=True)
class SetCodes:
    """A set's codes. made, kept: targets whose codes were written now, and were there."""

    set: str
    folder: str
    made: int
    kept: int


@dataclass(frozen=True)
class Made:
    """What was done. tokens: codes of a mask. tried: masks that were turned into codes and back: their scores are a ceiling."""

    codec: str
    kind: str
    digest: str
    tokens: int
    vocabulary: int
    tried: int
    ciou: float
    giou: float
    sets: tuple[SetCodes, ...] = ()


def make_codes(
    codec: str,
    sets: Sequence[str],
    out: Path | None = None,
    *,
    scales: Sequence[int] = (1, 2, 4, 8, 16),
    vocabulary: int = 512,
    tried: int | None = None,
    report: Report = lambda *_: None,
) -> Made:
    """Fit the codec, if that is asked for, or write the codes of all sets beside them; then try the codec on their masks.

    codec: a file, or `residual`: fitted to the sets, into `out`. sets: built splits, or folders of them. scales, vocabulary: of
    a fitted one. tried: on how many masks the codec is tried; None: 200, or 20 of one that is a network. What has been written
    is checked and kept, so that the same command goes on where it was stopped. A fitted codec encodes masks while they are
    read, and nothing is written for it. UsageFault: a set behind a URL, or nowhere to put a fitted codec. StampError: no set,
    no codec, no masks.
    """
    opened = [ShardSet(store) for store in find_sets(*sets)]
    written: list[SetCodes] = []
    found: Codec
    if codec == RESIDUAL:
        fitted, path = _fitted(opened, out, scales, vocabulary, report)
        found, digest = fitted, fitted.digest
    else:
        if out:
            raise UsageFault("--out is where a fitted codec goes", f"stamp-train codes residual SETS --out {out}")
        path = Path(codec).expanduser()
        found, shape = open_codec(path)
        digest = shape["digest"]
        found.to("cuda" if torch.cuda.is_available() else "cpu")
        if not isinstance(found, ResidualCodec):
            written = [_write(one, found, digest, report) for one in opened]
    kind, most = (RESIDUAL, 200) if isinstance(found, ResidualCodec) else (VAR, 20)
    masks = _masks(opened, most if tried is None else tried)
    ciou, giou = _ceiling(found, masks, report)
    return Made(str(path), kind, digest, found.scales.cells, found.vocabulary, len(masks), ciou, giou, tuple(written))


def _fitted(
    sets: Sequence[ShardSet], out: Path | None, scales: Sequence[int], vocabulary: int, report: Report
) -> tuple[ResidualCodec, Path]:
    if out is None or out.suffix != ".safetensors":
        raise UsageFault("a fitted codec needs a file of its own", "--out masks.safetensors, say")
    report(0, 1, "fitting codebooks")
    codec = ResidualCodec({"scales": tuple(scales), "vocabulary": vocabulary})
    codec.begin(_records(sets))
    save_residual(codec, out)
    report(1, 1, "fitting codebooks")
    return codec, out


def _records(sets: Sequence[ShardSet]) -> Iterator[Record]:
    for one in sets:
        yield from map(one.record, one.rows)


def _write(one: ShardSet, codec: Codec, digest: str, report: Report) -> SetCodes:
    """The codes of a set, shard by shard."""
    folder = folder_of(one, digest)
    folder.mkdir(exist_ok=True)
    rows = {path: list(members) for path, members in groupby(one.rows, key=lambda row: row.shard)}
    total, done, kept = sum(shard.targets for shard in one.shards), 0, 0
    with hold(folder, "making of codes"):
        for shard in one.shards:
            if _is_there(folder, shard, digest, codec.scales.cells):
                kept += shard.targets
            else:
                records = [one.record(row) for row in rows.get(shard.path, [])]
                masks = [target.rle for record in records for target in record.targets]
                parts = [np.zeros((0, codec.scales.cells), np.int16)]
                for first in range(0, len(masks), _TOGETHER):
                    parts.append(codec.encode(masks[first : first + _TOGETHER]).numpy().astype(np.int16))
                    report(done + first, total, one.name)
                digests = np.frombuffer(b"".join(map(mask_digest, masks)), np.uint8).reshape(-1, 16)
                counts = [(record.key, len(record.targets)) for record in records]
                write_shard(folder, shard, digest, ShardCodes(np.concatenate(parts), digests, counts))
            done += shard.targets
            report(done, total, one.name)
    return SetCodes(str(one.store), str(folder), total - kept, kept)


def _is_there(folder: Path, shard: ShardEntry, digest: str, cells: int) -> bool:
    """Whether a shard's codes are there and whole; others are made anew."""
    try:
        return read_shard(folder, shard, digest, cells) is not None
    except StampError:
        return False


def _masks(sets: Sequence[ShardSet], most: int) -> list[RLE]:
    """Masks to try a codec on: of records that are spread over all sets."""
    found: list[RLE] = []
    for one in sets:
        share = -(-most // len(sets))
        step = max(len(one.rows) // max(share, 1), 1)
        records = (one.record(row) for row in one.rows[::step])
        found += islice((mask for record in records for mask in sample([record], 1) if area(mask)), share)
    return found[:most]


def _ceiling(codec: Codec, masks: Sequence[RLE], report: Report) -> tuple[float, float]:
    """cIoU and gIoU of masks that were turned into codes and back."""
    both, either, ratios = 0, 0, []
    for first in range(0, len(masks), _TOGETHER):
        some = masks[first : first + _TOGETHER]
        pictures = codec.decode(codec.encode(some).to(codec.device))
        for mask, picture in zip(some, torch.logit(pictures, eps=1e-6).cpu(), strict=True):
            truth = decode(mask) > 0
            found = to_mask(picture, *truth.shape)
            same, all_ = int((found & truth).sum()), int((found | truth).sum())
            both, either = both + same, either + all_
            ratios.append(same / all_)
        report(min(first + _TOGETHER, len(masks)), len(masks), "trying the codec")
    return both / max(either, 1), float(np.mean(ratios)) if ratios else 0.0
