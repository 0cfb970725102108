"""What a person or a program at the terminal relies on, whatever the command."""

from __future__ import annotations

import json
import os
import re
import socket
import subprocess
import sys
from pathlib import Path

import pytest

from ..warm import warm

COMMANDS = ("synth", "doctor", "build", "inspect", "explain", "verify", "export", "convert")
HEAVY = {
    "torch",
    "transformers",
    "tokenizers",
    "accelerate",
    "peft",
    "safetensors",
    "webdataset",
    "datasets",
    "numpy",
    "pyarrow",
}
HEAVY |= {
    "PIL",
    "starlette",
    "uvicorn",
    "pycocotools",
    "shapely",
    "pydantic",
    "yaml",
    "fsspec",
    "asyncio",
    "multiprocessing",
    "http.client",
    "ssl",
}
MOST_MODULES = 450  # some 350 are loaded, half of them by typer and rich


def stamp(
    *arguments: object, program: str = "data", cwd: Path | None = None, **environment: str
) -> subprocess.CompletedProcess[str]:
    """Run `stamp-data` (or `stamp-train`) as a process of its own."""
    command = [sys.executable, "-c", f"from stamp_cli.{program} import main; main()", *map(str, arguments)]
    return subprocess.run(
        command,
        capture_output=True,
        text=True,
        env={**os.environ, "COLUMNS": "100", **environment},
        check=False,
        cwd=cwd,
    )


@pytest.fixture(scope="module")
def playground(tmp_path_factory: pytest.TempPathFactory) -> Path:
    root = tmp_path_factory.mktemp("cli") / "playground"
    assert stamp("synth", root, "--images", 24, "--size", "96x64").returncode == 0
    return root


@pytest.fixture(scope="module")
def shards(playground: Path) -> Path:
    out = playground.parent / "shards"
    done = stamp("build", "refcoco", "grefcoco", "--root", playground, "--out", out, "--workers", 1)
    assert done.returncode == 0, done.stderr
    return out


@pytest.mark.parametrize("program", ["data", "train"])
def test_help_loads_nothing_heavy(program: str) -> None:
    """Modules are counted, since time depends on the machine; bench/start.py takes it."""
    code = (
        "import sys\n"
        f"from stamp_cli.{program} import app, COMMANDS\n"
        "from typer.testing import CliRunner\n"
        "for command in ['', *COMMANDS]:\n"
        "    assert CliRunner().invoke(app(), [command, '--help'][not command:]).exit_code == 0\n"
        "print(*sys.modules)"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    loaded = set(done.stdout.split())
    assert HEAVY & loaded == set()
    assert len(loaded) < MOST_MODULES


@pytest.mark.parametrize("program", ["data", "train"])
def test_the_list_of_commands_needs_no_contracts(program: str) -> None:
    code = f"import sys; from stamp_cli.{program} import app; app()(['--help'], standalone_mode=False); print(*sys.modules)"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert {"msgspec", "stamp_schemas.recipe", "stamp_schemas.record"} & set(done.stdout.split()) == set()


def test_a_command_loads_nothing_of_the_others() -> None:
    call = "app('run')(['run', '--help'], standalone_mode=False)"
    code = f"import sys; from stamp_cli.train import app; {call}; print(*sys.modules)"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    loaded = set(done.stdout.split())
    assert "stamp_cli.train_run" in loaded
    assert {"stamp_cli.evaluate", "stamp_cli.chat", "stamp_cli.predict", "msgspec"} & loaded == set()


@pytest.mark.parametrize("command", COMMANDS)
def test_every_command_has_help_with_runnable_examples(command: str) -> None:
    text = stamp(command, "-h").stdout
    assert "Usage: " in text
    assert f"stamp-data {command}" in text.partition("Examples:")[2]


def test_version() -> None:
    assert stamp("--version").stdout.startswith("stamp-seg ")
    assert stamp("--version", program="train").stdout.startswith("stamp-seg ")


def test_completion_script_for_the_shell() -> None:
    done = stamp("--show-completion", "bash", _TYPER_COMPLETE_TEST_DISABLE_SHELL_DETECTION="1")
    assert done.returncode == 0
    assert "complete" in done.stdout


@pytest.mark.parametrize(
    ("arguments", "expected"),
    [
        (["bild"], "build"),
        (["build", "refcocoo", "--root", "{root}", "--out", "x"], "refcoco"),
        (["build", "refcoco", "--root", "{root}", "--out", "x", "--split", "tran"], "train"),
        (["build", "refcoco", "--root", "/nowhere", "--out", "x"], "/nowhere"),
        (["synth", "x", "--size", "12"], "WIDTHxHEIGHT"),
        (["synth", "x", "--images", "8"], "at least 20"),
        (["synth", "{root}"], "not an empty folder"),
        (
            ["build", "refcoco", "--root", "{root}", "--out", "x", "--min-tokens", "9", "--max-tokens", "8"],
            "--min-tokens",
        ),
    ],
)
def test_a_wrong_call_says_what_would_be_right(playground: Path, arguments: list[str], expected: str) -> None:
    done = stamp(*(argument.replace("{root}", str(playground)) for argument in arguments))
    assert done.returncode == 2
    assert expected in done.stderr
    assert "Traceback" not in done.stderr


@pytest.mark.parametrize(
    ("arguments", "named"),
    [
        (["inspect", "{shards}", "--sort", "nope"], "--sort is only for --html"),
        (["inspect", "{shards}", "-q", "--sort", "nope"], "no column 'nope'"),
        (["inspect", "{shards}", "--sort", "area"], "--sort is only for --html"),
        (["inspect", "{shards}", "--html", "x.html", "--fail-on", "wrong"], "--fail-on 'wrong'"),
        (["inspect", "{shards}", "--cells", "3"], "--cells is only for --sheet"),
        (["inspect", "{shards}", "--sheet", "x.png", "--json"], "--json is only for tables"),
        (["inspect", "{shards}", "--html", "x.html", "--serve"], "--html and --serve"),
        (["inspect", "{shards}", "--serve", "--fail-on", "error"], "--fail-on is only for tables"),
        (["inspect", "{shards}", "--html", "x.html", "--port", "80"], "--port is only for --serve"),
        (["inspect", "{shards}", "--key", "k", "--overlay", "grid14"], "--overlay is only for --sheet"),
        (["verify", "{shards}", "--root", "x"], "--root is only for --repair"),
    ],
)
def test_what_was_spelled_is_not_skipped(shards: Path, tmp_path: Path, arguments: list[str], named: str) -> None:
    """An option that would say nothing is refused, and so is a word that names nothing, before any work."""
    done = stamp(*(argument.replace("{shards}", str(shards)) for argument in arguments), cwd=tmp_path)
    assert (done.returncode, done.stdout) == (2, "")
    assert done.stderr.startswith("error: ") and named in done.stderr
    assert not any(tmp_path.iterdir())


@pytest.mark.parametrize(
    ("program", "arguments"),
    [("data", ["inspect", "nowhere", "--serve"]), ("train", ["chat", "nowhere", "{picture}", "--web"])],
)
def test_a_port_that_is_taken_is_told_before_any_work(program: str, arguments: list[str], tmp_path: Path) -> None:
    """So that neither the statistics of a set nor a model are waited for in vain; here both would be found missing."""
    (tmp_path / "picture.png").write_bytes(b"")
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        filled = [one.replace("{picture}", str(tmp_path / "picture.png")) for one in arguments]
        done = warm.run(f"stamp-{program}", *filled, "--port", port)
    assert (done.returncode, done.stdout) == (1, "")
    assert done.stderr.startswith(f"error: port {port} cannot be opened"), done.stderr


def test_json_is_all_that_stands_on_stdout(playground: Path, shards: Path, tmp_path: Path) -> None:
    for arguments in (
        ["doctor", playground],
        ["build", "refclef", "--root", playground, "--out", tmp_path, "--workers", 1],
        ["verify", shards, "--workers", 1],
        ["inspect", shards],
    ):
        done = stamp(*arguments, "--json")
        assert done.returncode == 0, done.stderr
        json.loads(done.stdout)


def test_progress_is_plain_lines_where_there_is_no_terminal(playground: Path, tmp_path: Path) -> None:
    done = stamp("build", "refclef", "--root", playground, "--out", tmp_path, "--workers", 1)
    assert "planning" not in done.stdout and "refclef-unc/train: 1 records" in done.stdout
    assert "refclef-unc/train: planning" in done.stderr.splitlines()
    assert "\x1b" not in done.stderr


def test_progress_goes_on_to_its_end(playground: Path, shards: Path, tmp_path: Path) -> None:
    """`building (0/1)` is followed by `building (1/1)`, whatever counts."""
    calls: list[list[object]] = [
        ["synth", tmp_path / "scenes", "--images", 20, "--size", "96x64"],
        ["build", "refclef", "--root", playground, "--out", tmp_path / "built", "--workers", 1],
        ["verify", shards, "--workers", 1],
        ["inspect", shards, "--html", tmp_path / "few.html", "--where", "area > 0.02"],
        ["export", shards, "--to", "json-png", "--out", tmp_path / "taken", "--allow-loss"],
    ]
    for call in calls:
        done = stamp(*call)
        last = dict(re.findall(r"^(.*) \((\d+/\d+)\)$", done.stderr, re.MULTILINE))
        assert last, done.stderr
        for what, count in last.items():
            counted, _, total = count.partition("/")
            if not what.startswith("exporting ") or what == list(last)[-1]:  # an export counts through all sets
                assert counted == total, (what, count)


def test_verify_finds_a_flipped_bit_and_repairs_it(playground: Path, shards: Path) -> None:
    shard = next(shards.glob("refcoco-unc/val/shard-*.tar"))
    before = shard.read_bytes()
    shard.write_bytes(before[:5000] + bytes([before[5000] ^ 1]) + before[5001:])
    found = stamp("verify", shards, "--workers", 1)
    assert found.returncode == 1
    assert shard.name in found.stdout
    repaired = stamp("verify", shards, "--repair", "--root", playground, "--workers", 1)
    assert repaired.returncode == 0, repaired.stderr
    assert shard.read_bytes() == before


def test_an_unfinished_set_is_a_fault_to_verify(shards: Path, tmp_path: Path) -> None:
    folder = tmp_path / "set/train"
    folder.mkdir(parents=True)
    (folder / "shard-000000.tar").write_bytes(next(shards.glob("refcoco-unc/val/shard-*.tar")).read_bytes())
    done = stamp("verify", tmp_path, "--workers", 1)
    assert done.returncode == 1
    assert "manifest" in done.stdout


def test_no_color_is_honoured(shards: Path) -> None:
    assert "\x1b[3" not in stamp("inspect", shards, NO_COLOR="1", FORCE_COLOR="1").stdout
