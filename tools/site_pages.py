"""MkDocs: pages that lie at the root, where GitHub looks for them, are pages of the site too, and links are kept."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

ROOT = Path(__file__).parents[1]
PAGES = ("CONTRIBUTING.md", "SECURITY.md", "RELEASING.md", "CHANGELOG.md")
_OTHER = re.compile(r"\[([^\]]+)\]\((?!https?:|#)([^)#]+)(#[^)]*)?\)")


def on_files(files: Any, config: Any) -> Any:
    """Adds them to what MkDocs has found in docs/."""
    from mkdocs.structure.files import File

    for name in PAGES:
        text = (ROOT / name).read_text(encoding="utf-8")
        files.append(File.generated(config, name, content=_OTHER.sub(_from_root, text)))
    return files


def on_page_markdown(markdown: str, **_: Any) -> str:
    """Links from a page of docs/ to one at the root."""
    names = "|".join(map(re.escape, PAGES))
    return re.sub(rf"\]\(\.\./({names})", r"](\1", markdown)


def _from_root(link: re.Match[str]) -> str:
    """As seen from docs/; what is no page is left as words."""
    text, path, anchor = link[1], link[2], link[3] or ""
    if path in PAGES:
        return f"[{text}]({path}{anchor})"
    return f"[{text}]({path.removeprefix('docs/')}{anchor})" if path.startswith("docs/") else text
