"""The three commands, on a recipe in a file."""

from __future__ import annotations

from pathlib import Path

import msgspec
import pytest

from tools.tiny_base.__main__ import main
from tools.tiny_base.recipe import Recipe


def test_train_score_publish(recipe: Recipe, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    path, out, to = tmp_path / "recipe.yaml", tmp_path / "run", tmp_path / "tiny-base"
    path.write_bytes(msgspec.yaml.encode(recipe))
    common = ["--out", str(out), "--recipe", str(path)]
    assert main(["train", *common, "--minutes", "0.0001"]) == 0
    assert main(["publish", *common, "--to", str(to)]) == 0
    printed = capsys.readouterr().out
    assert printed.startswith("After ") and "| **colour** |" in printed
    assert "| **colour** |" in (to / "README.md").read_text()


def test_a_recipe_with_an_unknown_key_is_one_line(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (tmp_path / "recipe.yaml").write_text("seeds: 3\n")
    assert main(["score", "--out", str(tmp_path), "--recipe", str(tmp_path / "recipe.yaml")]) == 1
    assert len(capsys.readouterr().err.splitlines()) == 1
