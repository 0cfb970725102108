"""Every command that a page shows is one: the programs know its options, make its target, pip its extra, Python its script.

Nothing is run here; test_pages.py runs what stands in blocks.
"""

from __future__ import annotations

import re
import shlex
import tomllib
from collections.abc import Iterator
from functools import cache
from pathlib import Path
from typing import Any

import pytest
import typer

from stamp_cli import data, train

from ..conftest import ROOT
from .pages import FENCED, name, pages, text

PROGRAMS = {"stamp-data": data, "stamp-train": train}
INLINE = re.compile(r"`([^`\n]+)`")
HOLES = re.compile(r"[…\[]| · |\bX\b")
"""In what is a command only in part."""


def commands(page: Path) -> Iterator[str]:
    """Lines of blocks, indented or fenced, and code in text, that begin with one of the words in `WORDS`."""
    written = text(page)
    blocks = [line for block in FENCED.findall(written) for line in re.sub(r"\\\n\s*", "", block).splitlines()]
    indented = [line[4:] for line in re.sub(r"\\\n\s*", "", written).splitlines() if line.startswith("    ")]
    for line in [*blocks, *indented, *INLINE.findall(FENCED.sub("", written))]:
        words = line.partition("  #")[0].strip()
        if words.startswith(("stamp-data ", "stamp-train ", "make ", "pip install ", "python ")):
            yield words


@pytest.mark.parametrize("page", pages(), ids=name)
def test_commands_are_known(page: Path) -> None:
    wrong = [line for line in commands(page) if problem(line)]
    assert not wrong, [problem(line) for line in wrong]


def problem(line: str) -> str:
    """What is wrong with a command; "" if nothing is."""
    program, _, rest = line.partition(" ")
    if program in PROGRAMS:
        return _unknown(program, rest)
    if program == "make":
        known = set(re.findall(r"^([\w.-]+):", (ROOT / "Makefile").read_text(), re.MULTILINE))
        return "" if set(rest.split()) <= known else line
    if program == "pip":
        extras = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]["optional-dependencies"]
        return (
            ""
            if {one for found in re.findall(r"\[([\w,-]+)\]", rest) for one in found.split(",")} <= {*extras}
            else line
        )
    script = re.match(r"(?:-m )?([\w/.-]+)", rest)
    if script is None or not script[1].startswith(("bench", "tools", "tests")):
        return ""
    path = ROOT / (script[1] if script[1].endswith(".py") else script[1].replace(".", "/"))
    return "" if path.exists() or path.with_suffix(".py").exists() else line


def _unknown(program: str, rest: str) -> str:
    """The words up to the first that is only in part there have to be a command, and all of `--words` its options."""
    command = _app(program)
    words = [word.partition("=")[0] for word in _split(HOLES.split(rest)[0])]
    while words and hasattr(command, "commands"):
        if words[0] not in command.commands:
            return "" if words[0].isupper() or words[0].startswith("-") else f"{program} has no command {words[0]}"
        command = command.commands[words.pop(0)]
    if hasattr(command, "commands"):
        return ""
    options = {option for one in command.params for option in (*one.opts, *one.secondary_opts)} | {"--help", "-h"}
    odd = [word for word in words if re.fullmatch(r"--[a-z][\w-]*|-[a-z]", word) and word not in options]
    return f"{program} {command.name} has no {odd[0]}" if odd else ""


@cache
def _app(program: str) -> Any:
    return typer.main.get_command(PROGRAMS[program].app())


def _split(text: str) -> list[str]:
    try:
        return shlex.split(text)
    except ValueError:  # a quote that is closed further on
        return text.split()


def test_a_wrong_command_is_found() -> None:
    assert problem("stamp-data inspect shards --htlm a.html") == "stamp-data inspect has no --htlm"
    assert problem("stamp-train runn tiny") and problem("make tea") and problem("pip install '.[tea]'")
    assert problem("python bench/tea.py") and problem("python -m tools.tea")
    assert not problem("stamp-train run tiny --set data.root=shards -o out")
