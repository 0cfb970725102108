"""What holds of every command of both programs; one that is new is covered, or is missed here by name."""

from __future__ import annotations

import gc
import json
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
import typer
from PIL import Image

from stamp_cli import data, train
from stamp_cli.console import run
from stamp_data.annotate.change import Change
from stamp_data.annotate.store import Store
from stamp_schemas.annotated import ImageFile

from ..stamp_train.eval.made_sets import save_lively
from ..stamp_train.runs import make_shards, write_recipe

PROGRAMS = {"stamp-data": data.app(), "stamp-train": train.app()}


def leaves(command: Any, path: tuple[str, ...]) -> Iterator[tuple[tuple[str, ...], Any]]:
    """Every command below another one, with the words that call it."""
    if not hasattr(command, "commands"):
        yield path, command
        return
    for name, below in command.commands.items():
        yield from leaves(below, (*path, name))


COMMANDS = dict(leaf for program, app in PROGRAMS.items() for leaf in leaves(typer.main.get_command(app), (program,)))
NAMES = [" ".join(path) for path in COMMANDS]

# A call of each that names something which is not there.
WRONG = {
    "stamp-data synth": "{world}",
    "stamp-data doctor": "nowhere",
    "stamp-data build": "refcoco --root nowhere --out out",
    "stamp-data annotate": "nowhere",
    "stamp-data inspect": "nowhere",
    "stamp-data explain": "STP-X999",
    "stamp-data verify": "nowhere",
    "stamp-data export": "nowhere --to coco --out out",
    "stamp-data convert": "nowhere out-coco",
    "stamp-data hub push": "nowhere file://{world}/hub",
    "stamp-data hub pull": "file:///nowhere --out out",
    "stamp-train recipes": "nowhere",
    "stamp-train run": "nowhere",
    "stamp-train codes": "nowhere.pth {shards}/refcoco-unc/val",
    "stamp-train verify": "nowhere",
    "stamp-train eval": "nowhere {shards}/refcoco-unc/val",
    "stamp-train predict": "{world}/model nowhere.png -t What?",
    "stamp-train export": "nowhere out",
    "stamp-train chat": "{world}/model nowhere.png",
    "stamp-train plan show": "nowhere --step 1",
    "stamp-train compare": "stamp-fine --recipe nowhere",
}
# Another one, where a command takes more than one path.
ALSO_WRONG = {
    "stamp-data inspect": "{world}/photo",
    "stamp-data verify": "{shards} --repair --root nowhere",
    "stamp-data export": "{world}/photo --to coco --out out",
    "stamp-data convert": "{shards}/refcoco-unc/val out",
    "stamp-data hub push": "{shards}/refcoco-unc/val not/a/name",
    "stamp-data hub pull": "file://{world}/photo --out out",
    "stamp-train codes": "residual nowhere --out codec.safetensors",
    "stamp-train run": "tiny --dry-run --out {shards}/refcoco-unc/train/manifest.json/run",
    "stamp-train eval": "{world}/model nowhere",
    "stamp-train predict": "nowhere {world}/photo/a.png -t What?",
    "stamp-train export": "{world}/photo out",
    "stamp-train chat": "nowhere {world}/photo/a.png",
    "stamp-train verify": "{world}/photo",
    "stamp-train compare": "nothing --recipe {recipe}",
}
# A call of each that goes well, without --json.
RIGHT = {
    "stamp-data synth": "scenes --images 20 --size 96x64",
    "stamp-data doctor": "{world}/raw",
    "stamp-data build": "refcoco --root {world}/raw --out out --min-tokens 4 --max-tokens 16 -w 1",
    "stamp-data annotate": "stats {world}/said",
    "stamp-data inspect": "{shards}",
    "stamp-data explain": "W003",
    "stamp-data verify": "{shards}/refcoco-unc/val -w 1",
    "stamp-data export": "{shards}/refcoco-unc/val --to coco --out out",
    "stamp-data convert": "{world}/raw out-coco --from refcoco -w 1",
    "stamp-data hub push": "{shards}/refcoco-unc/val file://{world}/hub",
    "stamp-data hub pull": "file://{shards} --set refcoco-unc/val --out out",
    "stamp-train recipes": "",
    "stamp-train run": "{recipe} --set data.root={shards} --dry-run",
    "stamp-train codes": "residual {shards}/refcoco-unc/val --vocabulary 32 --out codec.safetensors",
    "stamp-train verify": "{world}/run",
    "stamp-train eval": "--oracle {shards}/refcoco-unc/val --side 1 --labels soft --out out",
    "stamp-train predict": "{world}/model {world}/photo/a.png -t What? --max-new-tokens 2 --out out",
    "stamp-train export": "{world}/model out",
    "stamp-train plan show": "{recipe} --step 1 --set data.root={shards}",
    "stamp-train compare": "stamp-fine --recipe {recipe} --set data.root={shards} --dry-run",
    "stamp-train env": "",
}
TAKES_NOTHING = {"stamp-train env"}
TALKS = {"stamp-train chat"}  # and so has no end of its own
WITHOUT_JSON = {"stamp-data synth", "stamp-data explain", *TALKS}


@pytest.fixture(scope="module")
def world(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    """Built sets, their raw data, a model, a picture, and a run's folder."""
    root = tmp_path_factory.mktemp("world")
    shards = make_shards(root)
    save_lively(root / "model")
    (root / "photo").mkdir()
    Image.new("RGB", (96, 64), "red").save(root / "photo/a.png")
    Store(root / "said").change(ImageFile("a.png", 96, 64), 0, Change())
    (root / "run").mkdir()
    save_lively(root / "run/final")
    (root / "run/recipe.yaml").write_text("# tiny, resolved\n")
    return {"world": root, "shards": shards, "recipe": write_recipe(root)}


Called = tuple[int, str, str]  # exit code, stdout, stderr
Call = Callable[[str, str], Called]


@pytest.fixture
def call(
    world: dict[str, Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> Call:
    """Calls a command in this process, which has torch loaded already, with an empty folder as the current one."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("HF_HUB_OFFLINE", "1")
    monkeypatch.setenv("COLUMNS", "100")

    def run_here(name: str, arguments: str) -> Called:
        program, *words = name.split()
        filled = [word.format(**world) for word in arguments.split()]
        monkeypatch.setattr(sys, "argv", [program, *words, *filled])
        capsys.readouterr()
        with pytest.raises(SystemExit) as ended:
            run(PROGRAMS[program])
        gc.enable()  # which a build does without
        told = capsys.readouterr()
        return int(ended.value.code or 0), told.out, told.err

    return run_here


def test_every_command_is_called_here() -> None:
    assert set(WRONG) == set(NAMES) - TAKES_NOTHING
    assert set(RIGHT) == set(NAMES) - TALKS
    having = {" ".join(path) for path, command in COMMANDS.items() if "--json" in str([p.opts for p in command.params])}
    assert having == set(NAMES) - WITHOUT_JSON


@pytest.mark.parametrize("name", NAMES)
def test_help_has_examples_and_every_exit_code(name: str) -> None:
    command = COMMANDS[tuple(name.split())]
    examples, _, codes = str(command.epilog).partition("Exit codes:")
    assert f"`{name} " in examples or f"`{name}`" in examples
    assert all(f"{code} " in codes for code in (0, 1, 2, 75, 130))


@pytest.mark.parametrize(("name", "arguments"), [*WRONG.items(), *ALSO_WRONG.items()])
def test_what_is_not_there_is_a_wrong_call(name: str, arguments: str, call: Call, tmp_path: Path) -> None:
    """Exit 2, one line that names it, nothing on stdout, and nothing begun."""
    code, out, err = call(name, arguments)
    assert (code, out) == (2, ""), err
    errors = [line for line in err.splitlines() if line.startswith("error: ")]
    assert len(errors) == 1 and "Traceback" not in err
    assert not any(tmp_path.iterdir())


@pytest.mark.parametrize("name", NAMES)
def test_an_empty_word_is_a_wrong_call(
    name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """Of every option that takes a value and every argument: an empty path would be the current folder."""
    monkeypatch.chdir(tmp_path)
    program, *words = name.split()
    for parameter in COMMANDS[tuple(name.split())].params:
        if getattr(parameter, "is_flag", False) or parameter.name == "help":
            continue
        is_option = parameter.opts[0].startswith("-")
        given = [parameter.opts[0], ""] if is_option else [""] * len(COMMANDS[tuple(name.split())].params)
        monkeypatch.setattr(sys, "argv", [program, *words, *given])
        with pytest.raises(SystemExit) as ended:
            run(PROGRAMS[program])
        err = capsys.readouterr().err
        assert ended.value.code == 2 and " is given, and empty" in err, (parameter.name, err)
        assert is_option or err.startswith(f"error: {err[7:].split(' is given')[0].upper()} is given"), err
        assert not is_option or any(f"error: {option} is given" in err for option in parameter.opts), err
    assert not any(tmp_path.iterdir())


@pytest.mark.parametrize("name", RIGHT)
def test_results_go_to_stdout_and_talk_to_stderr(
    name: str, call: Call, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A file that stdout was sent to is not empty; with --json it holds one object and nothing else."""
    code, out, err = call(name, RIGHT[name])
    assert code == 0, err
    assert out.strip()
    assert not any(word in out for word in ("hint: ", "Next: ", "planning", "(1/1)"))
    if name not in WITHOUT_JSON:
        (tmp_path / "json").mkdir()
        monkeypatch.chdir(tmp_path / "json")
        code, out, err = call(name, f"{RIGHT[name]} --json")
        assert code == 0, err
        assert isinstance(json.loads(out), dict)
