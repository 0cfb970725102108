"""Conversations on the terminal: scripted through a pipe, and by a person at a (pseudo) terminal."""

from __future__ import annotations

import errno
import fcntl
import json
import os
import pty
import re
import select
import signal
import subprocess
import sys
import termios
import time
from collections.abc import Iterator
from pathlib import Path
from urllib.request import urlopen

import numpy as np
import pytest
from PIL import Image
from pycocotools import mask as coco_mask

from ...warm import warm
from .chatting import Spoken, save_checkpoint, scene, tiny_segmenter

COMMAND = [sys.executable, "-c", "from stamp_cli.train import main; main()", "chat"]
TIMEOUT = 120  # seconds


@pytest.fixture(scope="module")
def checkpoint(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return save_checkpoint(tmp_path_factory.mktemp("checkpoint"))


@pytest.fixture
def picture(tmp_path: Path) -> Path:
    scene().save(tmp_path / "scene.png")
    return tmp_path / "scene.png"


def read_mask(path: str | Path) -> np.ndarray:
    pixels = np.asarray(Image.open(path))
    assert set(np.unique(pixels)) <= {0, 255}
    return pixels > 0


@pytest.fixture
def spoken(tmp_path: Path, picture: Path) -> Spoken:
    return Spoken(tmp_path, picture)


def test_a_session_through_a_pipe(tmp_path: Path, checkpoint: Path, picture: Path) -> None:
    Image.new("RGB", (56, 84), "red").save(tmp_path / "tall one.png")
    lines = (
        "the circle", "/nonsense", "/undo", "the square", "/save talk.json", "/save talk.json", "/image nowhere.png",
        f"/image {tmp_path / 'tall one.png'}", "/undo", "all of it", "/mask", "what?", "/quit", "not heard",
    )  # fmt: skip
    options = ("--out", "kept", "--force-mask", "--max-new-tokens", "0")
    done = warm.run("stamp-train", "chat", checkpoint, picture, *options, said="\n".join(lines), cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    assert done.stdout.count("[mask 1]\n") == 3
    paths = re.findall(r"^mask 1: (\S+) \(\d+\.\d% of the picture\)$", done.stdout, re.M)
    assert paths == [f"kept/masks/answer-00{number}-1.png" for number in (1, 2, 3)]
    assert re.findall(r"^overlay: (\S+)$", done.stdout, re.M) == [f"kept/overlays/answer-00{n}.jpg" for n in (1, 2, 3)]
    faults = [line for line in done.stderr.splitlines() if line.startswith("error:")]
    for fault, wanted in zip(faults, ("/nonsense", "there already", "nowhere.png", "take back"), strict=True):
        assert wanted in fault
    assert "taken back: the circle" in done.stderr
    assert "no mask" in done.stderr
    assert "Traceback" not in done.stderr

    for path, asked, image in zip(
        paths, ("the circle", "the square", "all of it"), (picture,) * 2 + (tmp_path / "tall one.png",), strict=True
    ):
        (expected,) = tiny_segmenter().chat(image, max_new_tokens=0).say(asked, "<|seg|>").masks
        np.testing.assert_array_equal(read_mask(tmp_path / path), expected)
    saved = json.loads((tmp_path / "talk.json").read_bytes())
    assert saved["image"] == {"name": str(picture), "width": 112, "height": 84}
    (row,) = saved["rounds"]
    assert (row["prompt"], row["content"], row["text"]) == ("the square", "<|seg|>", "")
    (rle,) = row["masks"]
    decoded = coco_mask.decode({"size": rle["size"], "counts": rle["counts"].encode()})
    np.testing.assert_array_equal(decoded > 0, read_mask(tmp_path / paths[1]))
    assert Image.open(tmp_path / row["overlay"]).size == (112, 84)


@pytest.mark.parametrize(("image", "fault", "code"), [("nothing.png", "nothing.png", 2), ("text.png", "not a JPEG", 1)])
def test_a_bad_picture_is_one_line(image: str, fault: str, code: int, tmp_path: Path, checkpoint: Path) -> None:
    (tmp_path / "text.png").write_text("text")
    done = warm.run("stamp-train", "chat", checkpoint, tmp_path / image)
    assert (done.returncode, done.stdout) == (code, "")
    assert fault in done.stderr.splitlines()[0]
    assert "Traceback" not in done.stderr


def test_the_page_is_served_until_ctrl_c_even_while_it_answers(checkpoint: Path, picture: Path) -> None:
    running = warm.start("stamp-train", "chat", checkpoint, picture, "--web", "--max-new-tokens", "5000")
    until = time.monotonic() + TIMEOUT
    while (line := re.search(r"^http://127\.0\.0\.1:\d+/[\w-]{32}/$", running.told, re.MULTILINE)) is None:
        assert not running.ended and time.monotonic() < until, running.told
        time.sleep(0.01)
    chat = json.load(urlopen(f"{line[0]}api/open", data=b"", timeout=TIMEOUT))["id"]
    answer = urlopen(f"{line[0]}api/say?chat={chat}", data=b'{"text": "one"}', timeout=TIMEOUT)
    assert json.loads(answer.readline())["kind"] == "text"
    os.kill(running.pids[0], signal.SIGINT)
    done = running.wait(TIMEOUT)
    assert (done.returncode, done.stdout) == (130, "")
    assert "Traceback" not in done.stderr


def own_terminal() -> None:
    """Make standard input what a process' Ctrl-C comes from."""
    fcntl.ioctl(0, termios.TIOCSCTTY, 0)


class Person:
    """Someone at a terminal."""

    def __init__(self, command: list[object], cwd: Path) -> None:
        self.master, slave = pty.openpty()
        environment = {**os.environ, "TERM": "xterm-256color", "COLUMNS": "80", "LINES": "24"}
        environment = {name: value for name, value in environment.items() if name not in ("NO_COLOR", "TMUX")}
        self.process = subprocess.Popen(
            list(map(str, command)),
            stdin=slave,
            stdout=slave,
            stderr=slave,
            cwd=cwd,
            env=environment,
            start_new_session=True,
            preexec_fn=own_terminal,
        )
        os.close(slave)
        self.seen = ""

    def type(self, text: str) -> None:
        os.write(self.master, text.encode())

    def see(self, text: str) -> str:
        """What comes up to and with a text that is not seen yet."""
        deadline = time.monotonic() + TIMEOUT
        while text not in self.seen:
            assert time.monotonic() < deadline, f"no {text!r} in {self.seen!r}"
            if select.select([self.master], [], [], 1)[0]:
                self.seen += self._read()
        before, _, self.seen = self.seen.partition(text)
        return before + text

    def press_until(self, key: str, text: str) -> None:
        """Press a key again and again: Ctrl-C between a prompt and readline's waiting is lost in Python itself."""
        deadline = time.monotonic() + TIMEOUT
        while text not in self.seen:
            assert time.monotonic() < deadline, f"no {text!r} in {self.seen!r}"
            self.type(key)
            if select.select([self.master], [], [], 5)[0]:
                time.sleep(0.2)  # until all of it is there
                self.seen += self._read()
        self.see(text)

    def _read(self) -> str:
        try:
            data = os.read(self.master, 65536)
        except OSError as fault:
            if fault.errno != errno.EIO:  # what Linux says when the other side is closed
                raise
            data = b""
        assert data, f"it ended: {self.seen!r}"
        return data.decode(errors="replace")

    def leave(self) -> None:
        self.process.kill()
        self.process.wait()
        os.close(self.master)


@pytest.fixture
def person(tmp_path: Path, checkpoint: Path, picture: Path) -> Iterator[Person]:
    person = Person([*COMMAND, checkpoint, picture, "--max-new-tokens", 5000], tmp_path)
    yield person
    person.leave()


def test_ctrl_c_stops_the_answer_and_ctrl_d_the_conversation(person: Person) -> None:
    person.see("/help lists the commands")
    person.see("> ")
    person.press_until("\x03", "Ctrl-D or /quit ends the conversation")
    person.see("> ")
    person.type("what is it?\n")
    person.see("\n\r\n\r\n")  # this model says nothing but new lines
    person.type("\x03")
    person.see("stopped: no masks")
    person.see("> ")
    person.type("/undo\n")
    person.see("taken back: what is it?")
    person.see("> ")
    person.type("\x04")
    person.see("\n")
    assert person.process.wait(timeout=TIMEOUT) == 0


def test_rounds_and_commands(spoken: Spoken, tmp_path: Path) -> None:
    spoken.hear("", "/save")
    assert spoken.said == ["error: nothing has been said yet"]
    assert not spoken.out.exists()
    spoken.hear("one", "two")
    assert [turn.question for turn in spoken.talk.chat.history] == ["one", "two"]
    assert not spoken.out.exists()  # nothing to keep without masks
    assert spoken.hear("/mask", "three").startswith("[mask 1][mask 2]\n")
    assert "begin with a mask" in "".join(spoken.said)
    spoken.said.clear()
    spoken.hear("/save", "/save", f"/save {tmp_path / 'scene.png'}")
    assert {path.name for path in spoken.out.glob("*.json")} >= {"conversation-1.json", "conversation-2.json"}
    assert "scene.png is there already" in spoken.said[0]
    spoken.said.clear()
    spoken.hear("/help")
    assert [line.split()[0] for line in spoken.said[:-1]] == ["/save", "/undo", "/image", "/mask", "/help", "/quit"]
    spoken.hear("/undo", "/undo", "/undo", "/undo")
    assert spoken.said[-1].startswith("error: nothing to take back")


def test_a_second_conversation_goes_on_in_the_folder_of_the_first(tmp_path: Path, picture: Path) -> None:
    for _ in range(2):
        Spoken(tmp_path, picture, tokens=0).hear("/mask", "the circle")
    assert sorted(path.name for path in (tmp_path / "out" / "masks").iterdir()) == [
        "answer-001-1.png",
        "answer-002-1.png",
    ]
    rows = [
        json.loads(line) for line in (tmp_path / "out" / "predictions.jsonl").read_text(encoding="utf-8").splitlines()
    ]
    assert [row["id"] for row in rows] == ["answer-001", "answer-002"]


def test_a_question_that_is_too_long_is_one_line_and_the_talk_goes_on(spoken: Spoken) -> None:
    spoken.hear("x " * 60_000, "short")
    assert spoken.said[0].startswith("error:")
    assert [turn.question for turn in spoken.talk.chat.history] == ["short"]


def test_text_cannot_command_the_terminal(tmp_path: Path, picture: Path) -> None:
    spoken = Spoken(tmp_path, picture, force_terminal=True)
    spoken.hear("x\x1b]0;title\x07", "/undo")
    assert "\x1b" not in spoken.said[-1]
