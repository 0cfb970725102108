"""The page of `chat --web`: its files, and the policy that lets it load nothing else."""

from __future__ import annotations

from functools import cache
from importlib import resources

ENTRY = "index.html"
TYPES = {
    "html": "text/html; charset=utf-8",
    "css": "text/css; charset=utf-8",
    "js": "text/javascript; charset=utf-8",
}
SHARED = ("page.css", "dom.js")  # with the pages of stamp_data
FILES = (*SHARED, ENTRY, "chat.css", "api.js", "app.js", "stage.js", "talk.js")
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
    package = "stamp_data.web" if name in SHARED else __name__
    return resources.files(package).joinpath(name).read_bytes(), TYPES[name.rpartition(".")[2]]
