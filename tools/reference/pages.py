"""Which pages there are, and what stands at the head of each."""

from __future__ import annotations

from pathlib import Path

from tools.reference import commands, flags, licences, python_api, recipe_keys

FOLDER = Path(__file__).parents[2] / "docs/reference"
MADE = "<!-- Made by `make reference` from the code: change it there. -->"
PAGES = {
    "commands.md": commands.page,
    "recipe-keys.md": recipe_keys.page,
    "flags.md": flags.page,
    "python.md": python_api.page,
    "licences.md": licences.page,
}


def text(name: str) -> str:
    """Of one of `PAGES`, as its file has it."""
    return f"{MADE}\n\n{PAGES[name]().strip()}\n"
