"""COCO run-length masks: a checked way in from files, and back to pixels.

pycocotools decodes whatever it is given, past the end of its buffer if the runs say so; counts from files therefore pass
`checked` first. Format: column-major runs, first run background; compressed counts are signed base-32 numbers, six bits a
character from '0', low digits first, from the fourth run on as differences to the run before the last (pycocotools).
"""

from __future__ import annotations

from collections.abc import Sequence
from itertools import accumulate, pairwise

import numpy as np
import numpy.typing as npt
from pycocotools import mask as coco_mask

from stamp_schemas import RLE

UInt8 = npt.NDArray[np.uint8]
Runs = npt.NDArray[np.int64]
MAX_DIGITS = 7  # 35 bits: more than any bounded picture has pixels


def runs(counts: str) -> Runs:
    """Run lengths of compressed `counts`; ValueError if the string is not such counts."""
    return many_runs([counts])[0]


def many_runs(counts: Sequence[str]) -> list[Runs]:
    """`runs` of several masks, in little more than the time of one: it goes with the number of array operations."""
    try:
        digits = np.frombuffer("".join(counts).encode("ascii"), np.uint8) - 48  # below '0' they wrap to more than 63
    except UnicodeEncodeError:
        raise ValueError("counts hold characters that no RLE has") from None
    if not all(counts):
        raise ValueError("counts are empty")
    if digits.max() > 63:
        raise ValueError("counts hold characters that no RLE has")
    last = digits < 32
    stops = list(accumulate(map(len, counts)))
    if not all(last[stop - 1] for stop in stops):
        raise ValueError("counts end within a number")
    ends = last.nonzero()[0]
    starts = np.zeros_like(ends)
    starts[1:] = ends[:-1] + 1
    lengths = ends - starts + 1
    if lengths.max() > MAX_DIGITS:
        raise ValueError("counts hold a number too large")
    place = np.arange(digits.size) - np.repeat(starts, lengths)
    values = np.add.reduceat((digits & 31).astype(np.int64) << (5 * place), starts)
    values -= (digits[ends] >> 4 & 1).astype(np.int64) << (5 * lengths)  # the sign
    bounds = [0, *np.searchsorted(ends, stops).tolist()]
    found = [values[first:stop] for first, stop in pairwise(bounds)]
    for one in found:
        for alternate in (one[1::2], one[2::2]):
            np.add.accumulate(alternate, out=alternate)
    return found


def decode_or_empty(mask: RLE, height: int, width: int) -> UInt8:
    """Decoded mask, uint8 [height, width], of an RLE that need not be good; all 0 if it is not."""
    try:
        lengths = checked_runs(height, width, mask.size, mask.counts)
    except (ValueError, OverflowError):
        return np.zeros((height, width), np.uint8)
    return np.repeat((np.arange(len(lengths)) & 1).astype(np.uint8), lengths).reshape(width, height).T


def checked_runs(height: int, width: int, size: tuple[int, int], counts: str | list[int]) -> Runs:
    """Lengths of the runs of an RLE from a file, proven to fill a picture of height × width pixels: of 0, of 1, and so on.

    counts: compressed string or plain list of runs. ValueError says what is wrong with it; OverflowError if a number has
    more than 64 bits.
    """
    if tuple(size) != (height, width):
        raise ValueError(f"RLE is for {size[1]}×{size[0]} pixels, the picture has {width}×{height}")
    lengths = runs(counts) if isinstance(counts, str) else np.asarray(counts, dtype=np.int64)
    if lengths.size and lengths.min() < 0:
        raise ValueError("RLE holds a negative run")
    if (
        lengths.size and lengths.max() > height * width
    ):  # before the sum, which a few such runs could bring round to fit
        raise ValueError("RLE holds a run longer than the picture")
    total = int(lengths.sum())
    if total != height * width:
        raise ValueError(f"RLE covers {total} pixels, the picture has {height * width}")
    return lengths


def checked(height: int, width: int, size: tuple[int, int], counts: str | list[int]) -> RLE:
    """An RLE from a file with canonical compressed counts, proven to be good; arguments and errors as `checked_runs`."""
    lengths = checked_runs(height, width, size, counts)
    packed = coco_mask.frPyObjects({"size": [height, width], "counts": lengths.tolist()}, height, width)
    return encode(coco_mask.decode(packed))  # runs of no length, which files may hold, are gone after this


def from_coco(packed: dict[str, object]) -> RLE:
    """Our RLE from pycocotools' dictionary."""
    size, counts = packed["size"], packed["counts"]
    assert isinstance(size, list) and isinstance(counts, bytes)
    return RLE((int(size[0]), int(size[1])), counts.decode("ascii"))


def to_coco(rle: RLE) -> dict[str, object]:
    """pycocotools' dictionary of an RLE that is known to be good."""
    return {"size": list(rle.size), "counts": rle.counts.encode("ascii")}


def encode(mask: UInt8) -> RLE:
    """RLE of a [height, width] mask of 0 and 1.

    >>> packed = encode(np.array([[0, 1], [0, 1]], np.uint8))
    >>> packed
    RLE(size=(2, 2), counts='22')
    >>> decode(packed)
    array([[0, 1],
           [0, 1]], dtype=uint8)
    """
    return from_coco(coco_mask.encode(np.asfortranarray(mask)))


def decode(rle: RLE) -> UInt8:
    """uint8 [height, width], 0 or 1, of an RLE that is known to be good (`checked`, or from our own shards)."""
    mask: UInt8 = coco_mask.decode(to_coco(rle))
    return mask


def empty(height: int, width: int) -> RLE:
    """The mask of nothing."""
    return encode(np.zeros((height, width), np.uint8, order="F"))


def area(rle: RLE) -> int:
    """Pixels under the mask."""
    return int(coco_mask.area(to_coco(rle)))


def bbox(rle: RLE) -> tuple[float, float, float, float]:
    """(x, y, width, height) of the mask in pixels; zeros for the empty mask."""
    x, y, width, height = coco_mask.toBbox(to_coco(rle)).tolist()
    return x, y, width, height


def union(parts: list[RLE]) -> RLE:
    """Mask of every pixel that any of `parts` covers: values are 0 and 1 however often the parts overlap."""
    return parts[0] if len(parts) == 1 else from_coco(coco_mask.merge([to_coco(p) for p in parts], intersect=False))


def iou(one: RLE, other: RLE) -> float:
    """Intersection over union of two masks of the same size; 1 for two empty masks.

    >>> iou(encode(np.array([[1, 1]], np.uint8)), encode(np.array([[1, 0]], np.uint8)))
    0.5
    """
    if not area(one) and not area(other):
        return 1.0
    return float(coco_mask.iou([to_coco(one)], [to_coco(other)], [0])[0][0])
