"""Ways of damaging a file, each a function of its bytes and a source of chance."""

from __future__ import annotations

import random
import re
import struct
from collections.abc import Callable

Mutation = Callable[[bytes, random.Random], bytes]

TOKEN = re.compile(rb'"(?:[^"\\]|\\.)*"|-?[0-9.eE+-]+|[A-Za-z_]+|[\[\]{}:,]')
NASTY = (
    b"null", b"true", b"NaN", b"-Infinity", b"-1", b"0", b"1e999", b"1e308", b"9" * 400, b'""', b'"\\ud800"', b'"\\u0000"',
    b'"../../x"', b'"/etc/passwd"', b"[]", b"{}", b"[[[]]]", b"[" * 2000, b'{"a":' * 2000, b'"\xff\xfe"', b"\x00", b"1" * 30,
    b'"<image>"', b'"<|seg|>"', b'"a\\nb"', b"[null]", b"{}}", b'{"size":[1,1],"counts":"0"}', b"18446744073709551616",
)  # fmt: skip
NUMBERS = (0, 1, 0x7F, 0x80, 0xFF, 0x7FFF, 0x8000, 0xFFFF, 0x7FFFFFFF, 0x80000000, 0xFFFFFFFF, 0xFFFFFFFFFFFFFFFF)


def flip(data: bytes, rng: random.Random) -> bytes:
    damaged = bytearray(data)
    for _ in range(rng.choice((1, 1, 2, 8))):
        damaged[rng.randrange(len(damaged))] = rng.randrange(256)
    return bytes(damaged)


def truncate(data: bytes, rng: random.Random) -> bytes:
    return data[: rng.randrange(len(data))]


def cut(data: bytes, rng: random.Random) -> bytes:
    start = rng.randrange(len(data))
    return data[:start] + data[start + rng.randrange(1, 40) :]


def repeat(data: bytes, rng: random.Random) -> bytes:
    start = rng.randrange(len(data))
    end = start + rng.randrange(1, 40)
    return data[:end] + data[start:end] * rng.choice((1, 2, 50)) + data[end:]


def extreme(data: bytes, rng: random.Random) -> bytes:
    """A number at the edge of its kind, where sizes, offsets and counts of binary formats may stand."""
    value = struct.pack(rng.choice("<>") + "Q", rng.choice(NUMBERS))
    width = rng.choice((1, 2, 4, 8))
    part = value[:width] if rng.random() < 0.5 else value[-width:]
    start = rng.randrange(len(data))
    return data[:start] + part + data[start + width :]


def tokens(data: bytes) -> list[tuple[int, int]]:
    """Places of what looks like words, numbers and brackets; the whole, where nothing does."""
    return [match.span() for match in TOKEN.finditer(data)] or [(0, len(data))]


def delete_token(data: bytes, rng: random.Random) -> bytes:
    start, end = rng.choice(tokens(data))
    return data[:start] + data[end:]


def swap_type(data: bytes, rng: random.Random) -> bytes:
    start, end = rng.choice(tokens(data))
    return data[:start] + rng.choice(NASTY) + data[end:]


def scramble(data: bytes, rng: random.Random) -> bytes:
    """Damage within the longest text, as an embedded mask."""
    start, end = max(tokens(data), key=lambda span: span[1] - span[0])
    letters = bytearray(data)
    for _ in range(rng.choice((1, 2, 8))):
        letters[rng.randrange(start, end)] = rng.choice(b"AZaz09+/=")
    return bytes(letters)


def exchange(data: bytes, rng: random.Random) -> bytes:
    (a, b), (c, d) = sorted((rng.choice(tokens(data)), rng.choice(tokens(data))))
    return data[:a] + data[c:d] + data[b:c] + data[a:b] + data[d:] if b <= c else data


BYTES: tuple[Mutation, ...] = (flip, truncate, cut, repeat, extreme)
TEXT: tuple[Mutation, ...] = (flip, truncate, cut, repeat, delete_token, swap_type, exchange, scramble)


def damage(data: bytes, number: int, kinds: tuple[Mutation, ...], rng: random.Random) -> bytes:
    """The damage of one case: the kinds by turns, and now and then a second one on top."""
    damaged = kinds[number % len(kinds)](data, rng)
    if rng.random() < 0.2 and damaged:
        damaged = rng.choice(BYTES[:4])(damaged, rng)
    return damaged
