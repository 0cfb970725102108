"""Which pages there are, and what stands at the head of each."""

from __future__ import annotations

from pathlib import Path

from tools.reference import commands, flags, licences, python_api, recipe_keys

FOLDER = Path(__file__).parents[2] / "docs/reference"
MADE = "<!-- Made by `make reference` from the code: change it there. -->"
_PAGES = {
    "commands.md": commands.page,
    "recipe-keys.md": recipe_keys.page,
    "flags.md": flags.page,
    "python.md": python_api.page,
    "licences.md": licences.page,
}


def pages() -> dict[str, str]:
    """File name -> text, of every page."""
    return {name: f"{MADE}\n\n{page().strip()}\n" for name, page in _PAGES.items()}
