"""Pictures that are nearly the same, told by difference hashes: of neighbouring grey values, which is the brighter."""

from __future__ import annotations

import threading
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence

import numpy as np
import numpy.typing as npt
from PIL import Image

from stamp_data.inspect.concat import ConcatDataset
from stamp_data.pixels import decode_picture
from stamp_data.shards.stores import Location, StoreFault
from stamp_schemas import StampError

SIDE = 8  # the hash compares the cells of a (SIDE + 1)² grid with those to their left and above them
BITS = 2 * SIDE**2
# Bits that may differ. Of a playground of 300 pictures, different ones differed in 25 at least; copies of half the size, at
# JPEG quality 60 or 15% brighter in 9 at most.
MOST = 16
ONE_IN = 8  # of the bits that are set in both together, one in so many may differ: few are set where a picture is mostly plain
ANY = "any"  # asks for all records with nearly the same picture elsewhere
_DECODED = 64  # pixels: side at which a picture is decoded
_BLOCK = 256  # records that are compared with all others at a time

Bits = npt.NDArray[np.bool_]


def difference_hash(picture: Image.Image) -> Bits:
    """bool [BITS] of an RGB picture: right neighbours brighter, then lower ones (Krawetz' dHash, in both directions)."""
    grey = np.asarray(picture.convert("L").resize((SIDE + 1, SIDE + 1), Image.Resampling.BOX))
    across, down = grey[:-1, 1:] > grey[:-1, :-1], grey[1:, :-1] > grey[:-1, :-1]
    return np.concatenate([across.ravel(), down.ravel()])


def hashes_of(dataset: ConcatDataset, numbers: Iterable[int]) -> Iterator[tuple[int, Bits | None]]:
    """Of each record's picture; None without one, or where it cannot be read, which is a flag of its own."""
    for number, one, row in dataset.rows(numbers):
        try:
            data = one.member(row, "image")
            picture = decode_picture(data, row.member_name("image"), side=_DECODED) if data else None
        except StoreFault:
            raise  # says nothing about the record
        except StampError:
            picture = None
        yield number, None if picture is None else difference_hash(picture)


def groups_of(hashes: Mapping[int, Bits], dataset: ConcatDataset) -> dict[int, str]:
    """Record number -> name of its group, "1" and on in the order of their first records; groups of two and more.

    The same bytes in two sets are no duplicate: datasets share pictures, and STP-W006 tells of splits that must not.
    """
    if not hashes:
        return {}
    numbers = np.array(sorted(hashes), np.int64)
    bits = np.stack([hashes[number] for number in numbers.tolist()])
    signs, few = np.where(bits, 1, -1).astype(np.float32), bits.sum(1) / ONE_IN
    first = list(range(len(numbers)))  # of the group, as far as is known

    def root(one: int) -> int:
        while first[one] != one:
            first[one] = one = first[first[one]]
        return one

    places = np.searchsorted(dataset.starts, numbers, side="right")
    contents = dataset.column("image_xxh3")[numbers]
    for start in range(0, len(numbers), _BLOCK):
        block = slice(start, start + _BLOCK)
        differ = (BITS - signs[block] @ signs[start:].T) / 2
        close = (differ <= MOST) & (differ <= few[block, None] + few[None, start:])
        close &= (places[block, None] == places[None, start:]) | (contents[block, None] != contents[None, start:])
        for one, other in zip(*(found.tolist() for found in np.nonzero(np.triu(close, 1))), strict=True):
            low, high = sorted((root(start + one), root(start + other)))
            first[high] = low
    roots = [root(one) for one in range(len(numbers))]
    several = sorted(one for one, count in Counter(roots).items() if count > 1)
    names = {one: str(number) for number, one in enumerate(several, 1)}
    return {number: names[one] for number, one in zip(numbers.tolist(), roots, strict=True) if one in names}


class NearPictures:
    """Groups of all records' pictures, found by a thread that begins when somebody first asks. Every picture is read for it.

    groups: as `groups_of`, empty until `done`. scanned: records so far. fault: why it stopped, "" if it did not.
    """

    def __init__(self, paths: Sequence[Location]) -> None:
        self.groups: dict[int, str] = {}
        self.scanned, self.done, self.fault = 0, False, ""
        self._paths = paths
        self._stop = threading.Event()
        self._once = threading.Lock()
        self._thread = threading.Thread(target=self._compare, name="near pictures", daemon=True)

    def start(self) -> None:
        """Begin, unless it has begun."""
        with self._once:
            if self._thread.ident is None:
                self._thread.start()

    def close(self) -> None:
        self._stop.set()
        if self._thread.ident is not None:
            self._thread.join(0.5)

    def fits(self, number: int, wanted: str) -> bool:
        """Whether a record is in the group that is wanted, or in any."""
        group = self.groups.get(number, "")
        return bool(group) and wanted in (ANY, group)

    def _compare(self) -> None:
        try:
            with ConcatDataset(self._paths) as dataset:
                hashes: dict[int, Bits] = {}
                for number, found in hashes_of(dataset, range(len(dataset))):
                    self.scanned = number
                    if self._stop.is_set():
                        return
                    if found is not None:
                        hashes[number] = found
                self.groups = groups_of(hashes, dataset)
                self.scanned = len(dataset)
        except Exception as fault:  # a thread has nobody to raise to: the page shows it
            self.fault = str(fault)
        finally:
            self.done = True
