"""Without the extras: every `stamp-train` command answers with one line and the command that installs what it takes."""

from __future__ import annotations

import json
import re
import subprocess
import sys
from pathlib import Path

import msgspec
import pytest
from PIL import Image

from stamp_cli.train import COMMANDS
from stamp_schemas.extras import EXTRAS, install_line, lacking_module

CALLS = {
    "recipes": ["recipes"],
    "env": ["env"],
    "run": ["run", "tiny"],
    "run --dry-run": ["run", "tiny", "--dry-run"],
    "codes": ["codes", "residual", "{folder}/set", "--out", "{folder}/masks.safetensors"],
    "compare": ["compare", "stamp-fine"],
    "plan show": ["plan", "show", "tiny", "--step", "1"],
    "predict": ["predict", "{folder}/model", "{folder}/photo.png", "--expression", "left dog"],
    "chat": ["chat", "{folder}/model", "{folder}/photo.png"],
    "chat --web": ["chat", "{folder}/model", "{folder}/photo.png", "--web"],
    "eval": ["eval", "{folder}/model", "{folder}/set"],
    "eval --oracle": ["eval", "--oracle", "{folder}/set"],
    "export": ["export", "{folder}/model", "{folder}/out"],
}
SCRIPT = """
import contextlib, importlib.abc, io, json, sys

class Blocker(importlib.abc.MetaPathFinder):
    def find_spec(self, name, path=None, target=None):
        if name.partition(".")[0] in BLOCKED:
            raise ModuleNotFoundError(f"No module named {name!r}", name=name)

BLOCKED, calls = json.loads(sys.argv[1])
sys.meta_path.insert(0, Blocker())
from stamp_cli import data, train
told = {}
for name, call in calls.items():
    sys.argv = ["stamp", *call]
    out, said = io.StringIO(), io.StringIO()
    with contextlib.redirect_stdout(out), contextlib.redirect_stderr(said):
        try:
            (data if call[0] in ("doctor", "inspect") else train).main()
            code = 0
        except SystemExit as end:
            code = end.code
    told[name] = [code, out.getvalue(), said.getvalue()]
print(json.dumps(told))
"""


def answers(calls: dict[str, list[str]], folder: Path) -> dict[str, tuple[int, str, str]]:
    """(exit code, stdout, stderr) of each call in a process that finds none of the extras."""
    given = {name: [part.replace("{folder}", str(folder)) for part in call] for name, call in calls.items()}
    done = subprocess.run(
        [sys.executable, "-c", SCRIPT, json.dumps([[*EXTRAS], given])],
        capture_output=True,
        text=True,
        cwd=folder,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    return msgspec.json.decode(done.stdout.splitlines()[-1], type=dict[str, tuple[int, str, str]])


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    root = tmp_path_factory.mktemp("base")
    (root / "model").mkdir()
    (root / "model/config.json").write_text('{"model_type": "qwen2_vl"}')
    (root / "set").mkdir()
    Image.new("RGB", (64, 64)).save(root / "photo.png")
    return root


def test_every_command_names_what_is_missing_and_the_line_that_installs_it(folder: Path) -> None:
    """`verify` compares bytes, for which a base install does."""
    assert {name.split()[0] for name in CALLS} == set(COMMANDS) - {"verify"}
    for name, (code, out, said) in answers(CALLS, folder).items():
        assert (name, code, out) == (name, 2, "")
        error, hint = said.splitlines()
        assert error.startswith("error: ") and error.endswith(" is not installed"), (name, said)
        assert re.fullmatch(r"hint: pip install '.*\[train\]'", hint), (name, said)


def test_the_data_side_and_comparing_checksums_do_without(folder: Path) -> None:
    calls = {"help": ["--help"], "version": ["--version"], "doctor": ["doctor", "{folder}"]}
    calls["verify"] = ["verify", "{folder}/model"]
    told = answers(calls, folder)
    assert told["help"][0] == told["version"][0] == 0
    assert "no checkpoint of a run" in told["verify"][2]
    assert told["doctor"][2].splitlines()[1:] == []  # what it is examining, and no fault


def test_a_page_names_the_extra_for_pages_before_any_work(folder: Path) -> None:
    code, out, said = answers({"serve": ["inspect", "{folder}/set", "--serve"]}, folder)["serve"]
    assert (code, out) == (2, "")
    assert re.fullmatch(r"error: \w+ is not installed\nhint: pip install '.*\[pages\]'\n", said)


def test_the_line_installs_from_where_this_installation_came(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    wheel = tmp_path / "a folder" / "stamp_seg-0.1.0-py3-none-any.whl"
    wheel.parent.mkdir()
    wheel.touch()

    class Installed:
        told: str | None = json.dumps({"url": wheel.as_uri(), "archive_info": {}})

        def read_text(self, name: str) -> str | None:
            return self.told if name == "direct_url.json" else None

    monkeypatch.setattr("importlib.metadata.distribution", lambda _: Installed())
    assert install_line("train") == f"pip install '{wheel}[train]'"
    for elsewhere in ("https://example.org/stamp.whl", (tmp_path / "gone").as_uri()):
        monkeypatch.setattr(Installed, "told", json.dumps({"url": elsewhere}))
        assert install_line("flash") == "pip install '.[flash]'"
    monkeypatch.setattr(Installed, "told", None)
    assert install_line("train") == "pip install '.[train]'"


def test_a_module_of_nobody_is_a_bug() -> None:
    assert (
        lacking_module(ModuleNotFoundError("No module named 'stamp_data.nothing'", name="stamp_data.nothing")) is None
    )
    assert lacking_module(ModuleNotFoundError("who knows")) is None
    found = lacking_module(ModuleNotFoundError("No module named 'torch.nn'", name="torch.nn"))
    assert found is not None and found.message == "torch is not installed"
