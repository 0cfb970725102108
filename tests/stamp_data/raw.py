"""Raw REFER sets of a few small pictures, written as the downloads are and with whatever fault a test asks for."""

from __future__ import annotations

import io
import json
import pickle
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

from PIL import Image

from stamp_data.build.jobs import Job, run_job
from stamp_data.build.split import Built
from stamp_data.executors.local import LocalExecutor
from stamp_data.shards.reader import Loaded, ShardSet
from stamp_data.shards.rejects import read_rejects
from stamp_schemas import Reject

WIDTH, HEIGHT = 64, 48
BOX = [[8.0, 8.0, 40.0, 8.0, 40.0, 32.0, 8.0, 32.0]]
PICTURES = "refer_seg/images/coco_2014/train2014"
Command = Callable[..., "subprocess.CompletedProcess[str]"]  # of the fixture `stamp_data`
FAST = {"min_tokens": 4, "max_tokens": 16}  # small grids: nothing here depends on their size
FAST_OPTIONS = ("--min-tokens", 4, "--max-tokens", 16)


def picture(
    size: tuple[int, int] = (WIDTH, HEIGHT), *, form: str = "JPEG", mode: str = "RGB", shade: int = 90, **save: Any
) -> bytes:
    """A plain picture's bytes."""
    buffer = io.BytesIO()
    Image.new(mode, size, shade).save(buffer, form, **save)
    return buffer.getvalue()


class Raw:
    """A REFER set in the making. Tests change the lists as they like before `save` writes them."""

    def __init__(self, root: Path, name: str = "refcoco", split_by: str = "unc") -> None:
        self.root = root
        self.folder = root / "refer_seg" / name
        self.split_by = split_by
        self.pictures = root / PICTURES
        self.pictures.mkdir(parents=True, exist_ok=True)
        self.images: list[Any] = []
        self.annotations: list[Any] = []
        self.refs: list[Any] = []

    def image(
        self, number: int, stored: bytes | None = None, *, name: str = "", size: tuple[int, int] = (WIDTH, HEIGHT)
    ) -> Path:
        """An image entry with its file. stored: the file's bytes; b"" for no file. size: as the entry claims."""
        file_name = name or f"COCO_train2014_{number:012d}.jpg"
        path = self.pictures / file_name
        data = picture(size) if stored is None else stored
        if data:
            path.write_bytes(data)
        self.images.append({"id": number, "file_name": file_name, "width": size[0], "height": size[1]})
        return path

    def ref(
        self, image: int, *sentences: str, segmentation: Any = BOX, split: str = "train", annotation: int | None = None
    ) -> dict[str, Any]:
        """A reference to an image with an annotation of its own, or to the annotation that is named."""
        if annotation is None:
            annotation = 1000 + len(self.annotations)
            self.annotations.append(
                {"id": annotation, "image_id": image, "category_id": 1, "iscrowd": 0, "segmentation": segmentation}
            )
        number = len(self.refs)
        ref = {
            "ref_id": number,
            "ann_id": annotation,
            "image_id": image,
            "category_id": 1,
            "split": split,
            "file_name": "-",
            "sent_ids": [],
            "sentences": [
                {"sent_id": 100 * number + place, "sent": sent, "raw": sent, "tokens": sent.split()}
                for place, sent in enumerate(sentences)
            ],
        }
        self.refs.append(ref)
        return ref

    @property
    def expressions(self) -> int:
        return sum(len(ref["sentences"]) for ref in self.refs)

    def save(self) -> Path:
        self.folder.mkdir(parents=True, exist_ok=True)
        content = {
            "images": self.images,
            "annotations": self.annotations,
            "categories": [{"id": 1, "name": "thing"}],
        }
        (self.folder / "instances.json").write_text(json.dumps(content))
        (self.folder / f"refs({self.split_by}).p").write_bytes(pickle.dumps(self.refs, protocol=0))
        return self.root


def plain_set(root: Path, images: int, *, refused: int = 0) -> Path:
    """Two references per image, one of two sentences. refused: every so manieth picture is none; 0 for a faultless set."""
    raw = Raw(root)
    for number in range(1, images + 1):
        broken = bool(refused) and number % refused == 0
        raw.image(number, b"<html>404</html>" if broken else picture(shade=number % 256, mode="L"))
        raw.ref(number, f"the thing {number}", "the grey one")
        raw.ref(number, "a corner", segmentation=[[0.0, 0.0, 20.0, 0.0, 0.0, 20.0]])
    return raw.save()


def refusing_shards(out: dict[str, bytes]) -> set[str]:
    """The shards, of those in a tree, whose rendering has left rows in rejects.jsonl."""
    lines = [line for name, data in out.items() if name.endswith("rejects.jsonl") for line in data.splitlines()]
    return {json.loads(line)["shard"] for line in lines}


def build(root: Path, out: Path, *names: str, workers: int = 1, **options: Any) -> list[Built]:
    """`stamp-data build` within this process; `refcoco` if no name is given."""
    executor = LocalExecutor(workers)
    job = Job(names or ("refcoco",), root, out, **{**FAST, **options})
    try:
        return list(run_job(job, executor, lambda *_: None))
    finally:
        executor.close()


def build_one(raw: Raw, out: Path, **options: Any) -> tuple[list[Loaded], list[Reject]]:
    """Build the one split of a raw set; its records in index order, and its rejects."""
    raw.save()
    (built,) = build(raw.root, out, raw.folder.name, **options)
    return read_set(built.folder)


def read_set(folder: Path) -> tuple[list[Loaded], list[Reject]]:
    with ShardSet(folder) as shards:
        return list(shards), read_rejects(folder / "rejects.jsonl")


def texts(loaded: Loaded) -> list[str]:
    """Every text of a record that a model would see, and its expressions."""
    dialogues = loaded.record.dialogues
    spoken = [content.text for one in dialogues for message in one.messages for content in message.content]
    return [text for text in spoken + [one.expression for one in dialogues] if text]


def reasons(rejects: list[Reject]) -> list[str]:
    return sorted(row.reason for row in rejects)


def tree(folder: Path) -> dict[str, bytes]:
    """Every file below a folder, hidden ones too, by relative name."""
    return {path.relative_to(folder).as_posix(): path.read_bytes() for path in folder.rglob("*") if path.is_file()}


class Running:
    """`stamp-data build …` as the leader of a session of its own, so that all its processes can be found and signalled."""

    def __init__(self, *arguments: object, **options: Any) -> None:
        command = [sys.executable, "-c", "from stamp_cli.data import main; main()", *map(str, arguments)]
        self.process = subprocess.Popen(
            command,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.PIPE,
            text=True,
            start_new_session=True,
            **options,
        )
        self.said: list[str] = []

    @property
    def pid(self) -> int:
        return self.process.pid

    def wait_for(self, words: str) -> None:
        """Read stderr up to the line that holds `words`."""
        assert self.process.stderr is not None
        for line in self.process.stderr:
            self.said.append(line)
            if words in line:
                return
        raise AssertionError(f"never said {words!r}: {self.said}")

    def finish(self) -> tuple[int, str]:
        """Exit code and all that was said on stderr."""
        _, rest = self.process.communicate(timeout=60)
        return self.process.returncode, "".join(self.said) + rest

    def left_over(self, patience: float = 5.0) -> list[int]:
        """Processes of the session that are still alive after `patience` seconds."""
        end = time.monotonic() + patience
        while alive := session_members(self.pid):
            if time.monotonic() > end:
                return alive
            time.sleep(0.01)
        return []


def session_members(session: int) -> list[int]:
    """Live processes of a session, from /proc."""
    found = []
    for entry in Path("/proc").iterdir():
        if not entry.name.isdecimal():
            continue
        try:
            fields = (entry / "stat").read_text(encoding="utf-8").rpartition(")")[2].split()
        except OSError:
            continue  # gone between the listing and the look
        if int(fields[3]) == session and fields[0] != "Z":
            found.append(int(entry.name))
    return found


def one_line(stderr: str) -> str:
    """The error line of a command that failed; the test fails if there is a traceback or more than one error."""
    assert "Traceback" not in stderr, stderr
    errors = [line for line in stderr.splitlines() if line.startswith("error: ")]
    assert len(errors) == 1, stderr
    return errors[0]
