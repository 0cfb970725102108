"""Pictures within a terminal: what it is sent, read back."""

from __future__ import annotations

import base64
import io
import re
from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from rich.console import Console

from stamp_train.predict.chat.inline import best_way, half_blocks, show_image

from .chatting import Spoken, scene


@pytest.fixture
def picture(tmp_path: Path) -> Path:
    scene().save(tmp_path / "scene.png")
    return tmp_path / "scene.png"


def cells(text: str) -> list[list[tuple[tuple[int, ...], tuple[int, ...]]]]:
    """(upper, lower) colours of every cell of half blocks as a terminal is told them."""
    rows = []
    for line in text.splitlines():
        row, style = [], ((0,), (0,))
        for codes, blocks in re.findall(r"\x1b\[([\d;]*)m(▀*)", line):
            numbers = [int(code) for code in codes.split(";") if code]
            if len(numbers) == 10:
                assert (numbers[0:2], numbers[5:7]) == ([38, 2], [48, 2])
                style = (tuple(numbers[2:5]), tuple(numbers[7:10]))
            row += [style] * len(blocks)
        rows.append(row)
    return rows


def test_half_blocks_are_the_picture(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("NO_COLOR", raising=False)
    pixels = np.random.default_rng(0).integers(0, 256, (6, 5, 3)).astype(np.uint8)
    file = io.StringIO()
    console = Console(file=file, force_terminal=True, color_system="truecolor", width=40)
    console.print(half_blocks(Image.fromarray(pixels), 5), end="")
    found = np.array(cells(file.getvalue()))  # [rows, columns, upper and lower, colour]
    np.testing.assert_array_equal(found.transpose(0, 2, 1, 3).reshape(6, 5, 3), pixels)


@pytest.mark.parametrize("way", ["kitty", "iterm", "blocks", "off"])
def test_the_overlay_is_shown(way: str, tmp_path: Path, picture: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("NO_COLOR", raising=False)
    spoken = Spoken(tmp_path, picture, way=way, force_terminal=True, color_system="truecolor")
    _, _, shown = spoken.hear("/mask", "the circle").partition(".jpg\n")
    expected = spoken.talk.chat.history[0].overlay()
    if way == "off":
        assert shown == ""
    elif way == "blocks":
        assert len(cells(shown)) == 22
        assert {len(row) for row in cells(shown)} == {59}
    else:
        if way == "kitty":
            parts = re.findall(r"\x1b_G([^;]*);([^\x1b]*)\x1b\\", shown)
            assert parts[0][0].startswith("a=T,f=100,c=59,")
            assert [part[0][-3:] for part in parts] == ["m=1"] * (len(parts) - 1) + ["m=0"]
            assert all(len(data) <= 4096 for _, data in parts)
            data = "".join(data for _, data in parts)
        else:
            ((size, data),) = re.findall(r"\x1b\]1337;File=inline=1;size=(\d+);width=59;[^:]*:([^\a]*)\a", shown)
            assert int(size) == len(base64.b64decode(data))
        sent = Image.open(io.BytesIO(base64.b64decode(data)))
        np.testing.assert_array_equal(np.asarray(sent), np.asarray(expected))


def test_large_pictures_are_sent_small(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("NO_COLOR", raising=False)
    file = io.StringIO()
    show_image(scene(4000, 1000), Console(file=file, force_terminal=True, width=100), "iterm")
    sent = Image.open(io.BytesIO(base64.b64decode(file.getvalue().partition(":")[2].rstrip("\a\n"))))
    assert sent.size == (960, 240)


@pytest.mark.parametrize(
    ("environ", "way"),
    [
        ({"TERM": "xterm-kitty"}, "kitty"),
        ({"TERM": "xterm-256color", "KITTY_WINDOW_ID": "1"}, "kitty"),
        ({"TERM": "xterm-256color", "TERM_PROGRAM": "ghostty"}, "kitty"),
        ({"TERM": "xterm-256color", "TERM_PROGRAM": "iTerm.app"}, "iterm"),
        ({"TERM": "xterm-256color", "TERM_PROGRAM": "WezTerm"}, "iterm"),
        ({"TERM": "xterm-256color", "LC_TERMINAL": "iTerm2"}, "iterm"),
        ({"TERM": "screen-256color", "LC_TERMINAL": "iTerm2"}, "blocks"),
        ({"TERM": "xterm-kitty", "TMUX": "/tmp/x"}, "blocks"),
        ({"TERM": "xterm-256color"}, "blocks"),
        ({"TERM": "xterm-256color", "NO_COLOR": "1"}, "off"),
        ({"TERM": "dumb"}, "off"),
    ],
)
def test_the_way_follows_from_what_the_terminal_says(environ: dict[str, str], way: str) -> None:
    console = Console(file=io.StringIO(), force_terminal=True, _environ=environ)
    assert best_way(console, environ) == way
    assert best_way(Console(file=io.StringIO(), _environ=environ), environ) == "off"
