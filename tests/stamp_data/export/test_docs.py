"""docs/formats.md, "Out": every format has its row, every loss its word, and the commands work as typed."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from stamp_cli.data import app
from stamp_data.export import FORMATS, export_sets

from ..making import ListSource, build, pictured
from ..sources.formats.making import put
from ..sources.formats.test_docs import SECTIONS

PAGE = (Path(__file__).parents[3] / "docs/formats.md").read_text(encoding="utf-8")
OUT = PAGE.partition("\n## Out\n")[2]


def test_every_format_has_a_row() -> None:
    rows = re.findall(r"^\| `(\w[\w-]*)` \|", OUT, re.MULTILINE)
    assert sorted(rows) == sorted(FORMATS)


@pytest.mark.parametrize("to", ["labelme", "label_studio", "masks", "saco"])
def test_losses_of_phrases_are_told(to: str, mixed: Path, tmp_path: Path) -> None:
    report = export_sets([mixed], to, tmp_path / "out", allow_loss=True)
    codes = {loss.code for loss in report.losses} - {"in-lost-dialogues", "ignored-regions"}
    assert codes and all(f"`{code}`" in OUT for code in codes)


def test_the_commands_work(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    put(tmp_path, "a.jpg")
    for name in ("cvat", "label_studio"):
        for path, text in SECTIONS[name][1]:
            (tmp_path / path).write_text(text, encoding="utf-8")
    annotation = pictured(tmp_path / "raw", 1)
    annotation.requests = annotation.requests[:1]
    build(ListSource(tmp_path / "raw", [annotation]), tmp_path / "built")
    (tmp_path / "shards").mkdir()
    (tmp_path / "built/tiny").rename(tmp_path / "shards/refcoco-unc")
    (block,) = re.findall(r"```\n(.*?)```", OUT, re.DOTALL)
    commands = [line.split() for line in block.splitlines()]
    assert {command[0] for command in commands} == {"stamp-data"}
    for command in commands:
        app()(command[1:], standalone_mode=False)
    made = ("refcoco-saco/tiny", "pets-coco/cvat", "tasks/label_studio", "pets-openai/losses.jsonl")
    assert all((tmp_path / path).exists() for path in made)
