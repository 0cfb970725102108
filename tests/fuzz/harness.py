"""Damaged files fed to a reader, one after the other: what it made of each, and how long it took."""

from __future__ import annotations

import random
import signal
import time
import warnings
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path

from stamp_schemas import StampError

from .mutations import Mutation, damage

LONGEST = 2_000  # characters of what is said
SECONDS = 10  # until a single case counts as hanging
WHOLE, PART, REFUSED = "read", "read in part", "refused"


@dataclass(frozen=True)
class Reader:
    """One reader of files from outside.

    write: makes a faultless file, with all that belongs to it, in an empty folder; returns the one to be damaged. read:
    reads that file, and says WHOLE or PART (with rows or faults that tell the rest); StampError where it is refused, and
    anything else that it raises is a bug. share: inputs of every 10,000 that go to it.
    """

    name: str
    write: Callable[[Path], Path]
    read: Callable[[Path], str]
    kinds: tuple[Mutation, ...]
    share: int


@dataclass
class Tally:
    """What came of all inputs to one reader. bugs: number of the case, what was raised, and the input."""

    outcomes: Counter[str] = field(default_factory=Counter)
    slowest: float = 0.0
    bugs: list[tuple[int, BaseException, bytes]] = field(default_factory=list)


def feed(reader: Reader, count: int, folder: Path, seed: str = "") -> Tally:
    """Damage the reader's file `count` times, always the same way for the same seed."""
    path = reader.write(folder)
    whole = path.read_bytes()
    rng = random.Random(reader.name + seed)
    tally = Tally()
    for number in range(count):
        damaged = damage(whole, number, reader.kinds, rng)
        path.write_bytes(damaged)
        began = time.perf_counter()
        try:
            with no_hang(), warnings.catch_warnings():
                warnings.simplefilter("ignore")  # Pillow's, of odd metadata
                tally.outcomes[attempt(reader, path)] += 1
        except Exception as fault:
            tally.bugs.append((number, fault, damaged))
        tally.slowest = max(tally.slowest, time.perf_counter() - began)
    return tally


def attempt(reader: Reader, path: Path) -> str:
    """What a reader makes of a file; whatever is no outcome is raised."""
    try:
        return reader.read(path)
    except StampError as fault:
        refused = fault
    assert refused.message and len(refused.message) + len(refused.hint) < LONGEST, "one line that can be read"
    return REFUSED


@contextmanager
def no_hang() -> Iterator[None]:
    def give_up(_signal: int, _frame: object) -> None:
        raise TimeoutError(f"still reading after {SECONDS} s")

    before = signal.signal(signal.SIGALRM, give_up)
    signal.alarm(SECONDS)
    try:
        yield
    finally:
        signal.alarm(0)
        signal.signal(signal.SIGALRM, before)
