"""Pages of commands, for this machine only: server (address, checks, end) and answers, which need the extra `pages`.

What is in this file and beside it as CSS and JavaScript is shared by all pages, also by those that are files.
"""

from __future__ import annotations

import base64
import hashlib
from importlib import resources


def shared(name: str) -> str:
    """The text of `page.css` or `dom.js`."""
    return resources.files(__name__).joinpath(name).read_text("utf-8")


def source_hash(text: str) -> str:
    """What a Content-Security-Policy calls a script or a style that stands within a page."""
    return f"'sha256-{base64.b64encode(hashlib.sha256(text.encode()).digest()).decode()}'"
