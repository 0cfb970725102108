"""Ten thousand damaged files: every one is read, in part or not at all, and none ends in a traceback or a hang."""

from __future__ import annotations

import random
import re
import signal
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import msgspec
import numpy as np
import pytest

from stamp_data.rejects import RejectLog
from stamp_data.sources import open_source
from stamp_data.sources.faults import REASONS
from stamp_schemas import Annotation, StampError

from .raw import (
    annotation,
    base64_png,
    image,
    instances,
    reasoning,
    ref,
    shape,
    some_refs,
    talk,
    two_images,
    write_grefcoco,
    write_json,
    write_refer,
)

CASES = 10_000
SECONDS = 10  # until a single case counts as hanging

TOKEN = re.compile(rb'"(?:[^"\\]|\\.)*"|-?[0-9.eE+-]+|[a-z]+|[\[\]{}:,]')
NASTY = (
    b"null", b"true", b"NaN", b"-Infinity", b"-1", b"0", b"1e999", b"1e308", b"9" * 400, b'""', b'"\\ud800"', b'"\\u0000"',
    b'"../../x"', b'"/etc/passwd"', b"[]", b"{}", b"[[[]]]", b"[" * 2000, b'{"a":' * 2000, b'"\xff\xfe"', b"\x00", b"1" * 30,
    b'"<image>"', b'"<|seg|>"', b'"a\\nb"', b"[null]", b"{}}", b'{"size":[1,1],"counts":"0"}',
)  # fmt: skip


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


def token(data: bytes) -> list[tuple[int, int]]:
    return [match.span() for match in TOKEN.finditer(data)]


def delete_token(data: bytes, rng: random.Random) -> bytes:
    start, end = rng.choice(token(data))
    return data[:start] + data[end:]


def swap_type(data: bytes, rng: random.Random) -> bytes:
    start, end = rng.choice(token(data))
    return data[:start] + rng.choice(NASTY) + data[end:]


def scramble(data: bytes, rng: random.Random) -> bytes:
    """Damage within the longest text, as an embedded mask."""
    start, end = max(token(data) or [(0, len(data))], key=lambda span: span[1] - span[0])
    letters = bytearray(data)
    for _ in range(rng.choice((1, 2, 8))):
        letters[rng.randrange(start, end)] = rng.choice(b"AZaz09+/=")
    return bytes(letters)


def exchange(data: bytes, rng: random.Random) -> bytes:
    (a, b), (c, d) = sorted((rng.choice(token(data)), rng.choice(token(data))))
    return data[:a] + data[c:d] + data[b:c] + data[a:b] + data[d:] if b <= c else data


MUTATIONS: tuple[Callable[[bytes, random.Random], bytes], ...] = (
    flip, truncate, cut, repeat, delete_token, swap_type, exchange, scramble,
)  # fmt: skip


def refer(root: Path, protocol: int) -> None:
    write_refer(root, some_refs(), two_images(), protocol=protocol)


def grefcoco(root: Path) -> None:
    refs = [ref(0, [11, 12], 1, ["cups"]), ref(1, [-1], 1, ["a dog"], no_target=True), ref(2, [21], 2, ["cup"], "val")]
    write_grefcoco(root, refs, two_images())


def reason_seg(root: Path) -> None:
    shapes = [shape("target"), shape("ignore"), shape("flag")]
    write_json(root / "reason_seg/train/a.json", reasoning(["what?", "which?"], shapes))
    write_json(root / "reason_seg/explanatory/train.json", [{"image": "a.jpg", "query": "why?", "outputs": "because"}])


def llava(root: Path) -> None:
    rows = [
        {"id": "1", "image": "coco/a.jpg", "conversations": talk("<image>\nwhat?", "that"), "system_prompt": "be kind"},
        {"id": 2, "image": ["ocr_vqa/images/b.jpg"], "conversations": talk("what?\n<image>", "that", "why?", "so")},
        {"conversations": talk("what?", "that")},
    ]
    write_json(root / "llava_v1_5_mix665k.json", rows)
    (root / "ocr_vqa/images").mkdir(parents=True)
    (root / "ocr_vqa/images/b.png").touch()


def coco(root: Path) -> None:
    crowd = annotation(2, 1, iscrowd=1, segmentation={"size": [48, 64], "counts": [3000, 72]})
    held = instances(
        [image(1)], [annotation(1, 1), crowd, annotation(3, 1, expressions=["left", "right"], caption="c")]
    )
    write_json(root / "annotations/instances_train.json", held)


def labelme(root: Path) -> None:
    png = base64_png(np.eye(5, dtype=np.uint8))
    shapes = [
        shape("cup", group_id=1),
        shape("box", [[1, 1], [5, 5]], shape_type="rectangle", description="the box"),
        shape("disc", [[9, 9], [12, 9]], shape_type="circle"),
        shape("cut", [[2, 2], [6, 6]], shape_type="mask", mask=png),
        shape("__ignore__"),
    ]
    write_json(root / "a.json", {"shapes": shapes, "imagePath": "a.jpg", "imageHeight": 40, "imageWidth": 60})


# name: (source, writer, file that is damaged)
READERS: dict[str, tuple[str, Callable[[Path], None], str]] = {
    "references, text pickle": ("refcoco", lambda root: refer(root, 0), "refer_seg/refcoco/refs(unc).p"),
    "references, binary pickle": ("refcoco", lambda root: refer(root, 2), "refer_seg/refcoco/refs(unc).p"),
    "references, framed pickle": ("refcoco", lambda root: refer(root, 4), "refer_seg/refcoco/refs(unc).p"),
    "instances": ("refcoco", lambda root: refer(root, 2), "refer_seg/refcoco/instances.json"),
    "generalised references": ("grefcoco", grefcoco, "refer_seg/grefcoco/grefs(unc).json"),
    "reasoning": ("reason_seg", reason_seg, "reason_seg/train/a.json"),
    "explanations": ("reason_seg", reason_seg, "reason_seg/explanatory/train.json"),
    "conversations": ("llava", llava, "llava_v1_5_mix665k.json"),
    "coco": ("coco", coco, "annotations/instances_train.json"),
    "labelme": ("labelme", labelme, "a.json"),
}


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


def survive(name: str, root: Path) -> None:
    """Read everything; what comes out can be stored and read back, and every row gives a known reason."""
    rejects = RejectLog()
    refused: StampError | None = None
    try:
        source = open_source(name, root)
        source.load()
        for split in source.splits():
            for record in source.annotations(split, rejects):
                assert msgspec.json.decode(msgspec.json.encode(record), type=Annotation).id == record.id
                assert all(0 <= place < len(record.targets) for r in record.requests for place in r.targets)
    except StampError as fault:
        refused = fault
    assert refused is None or ("\n" not in refused.message and refused.hint), "one line, with a remedy"
    for row in rejects.rows:
        assert row.reason in REASONS and row.file and msgspec.json.encode(row)


@pytest.mark.parametrize("name", READERS)
def test_damaged_files(tmp_path: Path, name: str) -> None:
    source, write, file = READERS[name]
    write(tmp_path)
    path = tmp_path / file
    whole = path.read_bytes()
    rng = random.Random(name)
    for number in range(CASES // len(READERS)):
        damaged = MUTATIONS[number % len(MUTATIONS)](whole, rng)
        if rng.random() < 0.2 and damaged:
            damaged = rng.choice(MUTATIONS[:4])(damaged, rng)
        path.write_bytes(damaged)
        try:
            with no_hang():
                survive(source, tmp_path)
        except BaseException:
            print(f"case {number}: {damaged!r}")
            raise


def test_the_undamaged_files_are_read_whole(tmp_path: Path) -> None:
    for number, (source, write, file) in enumerate(READERS.values()):
        root = tmp_path / str(number)
        write(root)
        assert (root / file).is_file()
        opened = open_source(source, root)
        opened.load()
        rejects = RejectLog()
        assert [record for split in opened.splits() for record in opened.annotations(split, rejects)], source
        assert not rejects.rows, source
