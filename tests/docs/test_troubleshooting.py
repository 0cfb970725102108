"""docs/troubleshooting.md: its messages are the program's, and a message that says what happened but not what to do is there.

A message needs no entry if it has a hint, which is the entry, printed where it is needed; if it is of a wrong call (exit code
2), which names the word; or if it is of one of the kinds below. So whoever adds a message gives it a hint, mostly, and nothing
else is to be done.
"""

from __future__ import annotations

import ast
import re
from dataclasses import dataclass
from fnmatch import fnmatchcase
from functools import cache

import pytest

from stamp_schemas.errors import StampError, UsageFault

from ..conftest import ROOT
from ..stamp_train.test_rooms import FOLDERS

PAGE = (ROOT / "docs/troubleshooting.md").read_text(encoding="utf-8")
ENTRIES: list[str] = re.findall(r"^\| `([^`]+)` \|", PAGE, re.MULTILINE)
HOLE = "…"
NEEDS_NONE = {
    "stamp_data/annotate/": "shown on the page, where one clicked",
    "stamp_data/inspect/server.py": "shown on the page, where one clicked",
    "stamp_data/inspect/view_cache.py": "shown on the page, where one clicked",
    "stamp_train/predict/chat/": "said in the chat, and answered there",
    "stamp_train/sequence/": "of a Python program that calls the model in another way than it is meant",
    "stamp_train/generation/": "of a Python program that calls the model in another way than it is meant",
}
"""Where a message without a hint is said -> why it says all."""
PRINTED = {"it does not fit"}
"""Not a fault, but said by a command."""


@dataclass(frozen=True)
class Said:
    """A message of the code, with `…` for what is filled in."""

    file: str
    line: int
    kind: str
    message: str
    hint: bool

    @property
    def place(self) -> str:
        return f"{self.file}:{self.line}: {self.message}"


def kinds() -> dict[str, bool]:
    """Names of classes of faults -> whether they mean a wrong call."""

    def below(kind: type[StampError]) -> list[type[StampError]]:
        return [kind, *(found for one in kind.__subclasses__() for found in below(one))]

    for module in ("sequence.errors", "predict.refine.faults"):
        __import__(f"stamp_train.{module}")
    for module in ("annotate.store", "picture", "build.plan", "shards.stores.base", "shards.manifest"):
        __import__(f"stamp_data.{module}")
    return {kind.__name__: issubclass(kind, UsageFault) for kind in below(StampError)}


def template(node: ast.expr) -> str:
    """The text of an expression, as far as it stands in the code."""
    if isinstance(node, ast.Constant) and isinstance(node.value, str):
        return node.value
    if isinstance(node, ast.JoinedStr):
        parts = [part.value if isinstance(part, ast.Constant) else HOLE for part in node.values]
        return re.sub(f"{HOLE}+", HOLE, "".join(map(str, parts)))
    if isinstance(node, ast.BinOp):
        return template(node.left) + template(node.right)
    return HOLE


@cache
def messages() -> list[Said]:
    """Every fault that the code makes, in the order of files."""
    known, found = kinds(), []
    for folder in FOLDERS.values():
        for path in sorted((ROOT / folder).rglob("*.py")):
            for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
                called = node.func.id if isinstance(node, ast.Call) and isinstance(node.func, ast.Name) else ""
                if isinstance(node, ast.Call) and called in known and node.args:
                    hint = len(node.args) > 1 or any(word.arg in ("hint", "fix") for word in node.keywords)
                    name = path.relative_to(ROOT).as_posix()
                    found.append(Said(name, node.lineno, called, template(node.args[0]), hint))
    return found


def matches(entry: str, message: str) -> bool:
    """Whether an entry's words stand in a message, in order."""
    escaped = re.sub(r"([\[\]?*])", r"[\1]", entry)
    return fnmatchcase(message, f"*{escaped.replace(HOLE, '*')}*")


@pytest.mark.parametrize("entry", ENTRIES)
def test_an_entry_is_of_a_message(entry: str) -> None:
    code = (
        "\n".join(path.read_text(encoding="utf-8") for path in (ROOT / "cli").glob("*.py")) if entry in PRINTED else ""
    )
    assert any(matches(entry, one.message) for one in messages()) or (entry in PRINTED and entry in code)


def test_a_message_without_a_hint_has_an_entry() -> None:
    wrong_call = kinds()
    lacking = [
        one.place
        for one in messages()
        if not one.hint
        and not wrong_call[one.kind]
        and one.message.strip(f"{HOLE}:/ ")  # else the words are the operating system's or a library's
        and not any(one.file.startswith(place) for place in NEEDS_NONE)
        and not any(matches(entry, one.message) for entry in ENTRIES)
    ]
    assert not lacking, "give it a hint, or an entry in docs/troubleshooting.md"


def test_what_needs_none_is_there() -> None:
    assert all(any(one.file.startswith(place) and not one.hint for one in messages()) for place in NEEDS_NONE)


def test_messages_are_found() -> None:
    assert len(messages()) > 400 and len(ENTRIES) > 40
    assert len(set(ENTRIES)) == len(ENTRIES)
