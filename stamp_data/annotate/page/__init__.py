"""The page of `annotate`: its files, and the policy that lets it load nothing else."""

from __future__ import annotations

from functools import cache
from importlib import resources

from stamp_data import web

ENTRY = "index.html"
TYPES = {
    "html": "text/html; charset=utf-8",
    "css": "text/css; charset=utf-8",
    "js": "text/javascript; charset=utf-8",
}
SHARED = ("page.css", "dom.js")
FILES = (
    *SHARED, ENTRY, "annotate.css", "api.js", "app.js", "commands.js", "dialogues.js", "hints.js", "outline.js", "panel.js",
    "runs.js", "session.js", "shapes.js", "stage.js", "tools.js",
)  # fmt: skip
POLICY = "; ".join(
    (
        "default-src 'none'",
        "script-src 'self'",
        "style-src 'self'",
        "img-src 'self' data:",
        "connect-src 'self'",
        "base-uri 'none'",
        "form-action 'none'",
        "frame-ancestors 'none'",
    )
)
"""Content-Security-Policy: only what our own server gives, and no script or style within the page itself."""


@cache
def read(name: str) -> tuple[bytes, str]:
    """(content, media type) of one of `FILES`."""
    kind = TYPES[name.rpartition(".")[2]]
    if name in SHARED:
        return web.shared(name).encode(), kind
    return resources.files(__name__).joinpath(name).read_bytes(), kind
