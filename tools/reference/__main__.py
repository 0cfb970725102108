"""`python -m tools.reference`: writes docs/reference/ anew."""

from __future__ import annotations

from tools.reference.pages import FOLDER, PAGES, text

if __name__ == "__main__":
    FOLDER.mkdir(exist_ok=True)
    for name in PAGES:
        (FOLDER / name).write_text(text(name), encoding="utf-8")
