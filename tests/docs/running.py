"""Blocks of code of a page, from top to bottom, in one folder: what stands there works as typed."""

from __future__ import annotations

import json
import os
import re
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

import msgspec
from PIL import Image

from ..conftest import ROOT
from ..warm import warm
from .exceptions import ADDED, NOT_RUN, PROGRAMS, REPLACED

BLOCK = re.compile(r"^```([^\n`]*)\n(.*?)^```$", re.MULTILINE | re.DOTALL)
TIMEOUT = 900  # seconds, on a machine with much else to do

RUNNER = """
import io, json, os, shlex, sys, torch, transformers, stamp_train.predict, stamp_train.publish.export, stamp_train.train.loop
from stamp_cli import data, train

def act(kind, text):
    if kind == "python":
        exec(compile(text, "page.md", "exec"), {"__name__": "page"})
    else:
        program, *arguments = shlex.split(text)
        sys.argv = [program, *arguments]
        {"stamp-data": data, "stamp-train": train}[program].main()

if __name__ == "__main__":  # builders start processes of their own, which import this anew
    told = []
    for number, (kind, text) in enumerate(json.load(sys.stdin)):
        with open(f".said-{number}", "w+b") as said:
            if (child := os.fork()) == 0:
                for stream in (1, 2):
                    os.dup2(said.fileno(), stream)
                os.dup2(os.open(os.devnull, os.O_RDONLY), 0)
                code = 0
                torch.set_num_threads(1)  # or threads that load weights make the pool anew at once, and some find none
                try:
                    act(kind, text)
                except SystemExit as end:
                    code = end.code if isinstance(end.code, int) else bool(end.code)
                except BaseException:
                    import traceback
                    traceback.print_exc()
                    code = 99
                sys.stdout.flush()
                os._exit(code or 0)
            code = os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])
            said.seek(0)
            told.append([code, said.read().decode(errors="replace")])
        if code:
            break
    print(json.dumps(told))
"""
"""Runs calls as they come, each in a child of a process that has imported what takes seconds to import."""


@dataclass(frozen=True)
class Call:
    """A line of a shell block, or a whole block of Python, as it is written and as it is run here ("" if not at all)."""

    kind: str
    text: str
    small: str


def written(place: str) -> str:
    """The text of a page, or of what stands under one of its headings of the second rank: `PAGE: HEADING`."""
    page, _, heading = place.partition(": ")
    text = (ROOT / page).read_text(encoding="utf-8")
    return (
        text
        if not heading
        else re.split(rf"^## {re.escape(heading)}$", text, flags=re.MULTILINE)[1].partition("\n## ")[0]
    )


def calls(place: str) -> list[Call]:
    found = []
    for kind, text in BLOCK.findall(written(place)):
        if kind == "python":
            found.append(Call(kind, text, _replaced(text)))
        elif not kind:
            joined = re.sub(r"\\\n\s*", "", text)
            lines = [line.partition("  #")[0].strip() for line in joined.splitlines()]
            found += [Call("shell", line, _small(line)) for line in lines if line.split(" ")[0] in PROGRAMS]
    return found


def files(place: str) -> dict[str, str]:
    """Name -> content, of blocks that are a file: their first line has its name behind the language."""
    return {kind.split()[1]: text for kind, text in BLOCK.findall(written(place)) if len(kind.split()) == 2}


def _small(line: str) -> str:
    if any(part in line for part in NOT_RUN):
        return ""
    return " ".join([line, *(more for part, more in ADDED.items() if part in line)])


def _replaced(code: str) -> str:
    for part, other in REPLACED.items():
        code = code.replace(part, other)
    return code


def pictures(folder: Path) -> None:
    """The files that the pages say are the reader's own."""
    picture = Image.new("RGB", (96, 64), "navy")
    picture.paste("red", (10, 10, 40, 40))
    (folder / "photos").mkdir()
    for name in ("photo.jpg", "photos/one.jpg", "photos/two.jpg"):
        picture.save(folder / name)
    rows = [{"id": number, "image": "photo.jpg", "expression": f"thing {number}"} for number in range(2)]
    (folder / "requests.jsonl").write_text("".join(f"{json.dumps(row)}\n" for row in rows), encoding="utf-8")


def run(place: str, folder: Path, given: str = "", environment: Mapping[str, str] = {}) -> None:
    """Every call of a page or section in `folder`, in order; each ends with 0 and without a traceback.

    given: Python that stands before its blocks of Python. environment: what is set besides.
    """
    for name, text in files(place).items():
        (folder / name).write_text(text, encoding="utf-8")
    ours = [call for call in calls(place) if call.small]
    runner = folder / ".runner.py"
    runner.write_text(RUNNER, encoding="utf-8")
    asked = json.dumps([(call.kind, given + call.small if call.kind == "python" else call.small) for call in ours])
    done = warm.run(
        "python", runner, cwd=folder, environment={**os.environ, **environment}, said=asked, timeout=TIMEOUT
    )
    assert done.returncode == 0, done.stderr
    told = msgspec.json.decode(done.stdout.splitlines()[-1], type=list[tuple[int, str]])
    for call, (code, said) in zip(ours, told, strict=False):
        assert code == 0, f"{call.text}\nas {call.small}\n{said}"
        assert "Traceback" not in said
    assert len(told) == len(ours)


def made(folder: Path, *names: str) -> None:
    """Each of these is there."""
    assert [name for name in names if not (folder / name).exists()] == []
