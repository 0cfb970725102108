"""The files of a page that is served: its own, which lie in a package, and those that all pages share."""

from __future__ import annotations

from functools import cached_property
from http import HTTPStatus
from importlib import resources

from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route

from stamp_data.web.document import NOTHING, filled, rules, shell, text_of

ENTRY, START = "index.html", "app.js"  # what stands in the page's body, and the script that begins
TYPES = {"css": "text/css; charset=utf-8", "js": "text/javascript; charset=utf-8"}
POLICY = rules(
    {
        **NOTHING,
        "script-src": "'self'",
        "style-src": "'self'",
        "img-src": "'self' data: blob:",
        "connect-src": "'self'",
        "frame-ancestors": "'none'",
    }
)
"""Content-Security-Policy: only what our own server gives, and no script or style within the page itself."""


class PageFiles:
    """What a page loads. package: holds its `index.html`, `app.js`, further scripts and styles. title: of the window."""

    def __init__(self, package: str, title: str) -> None:
        self._package, self._title = package, title

    @cached_property
    def names(self) -> dict[str, str]:
        """The package in which each file lies. One of the page's own that has the name of a shared one is a bug."""
        held = [
            (path.name, package)
            for package in (__package__, self._package)
            for path in resources.files(package).iterdir()
            if path.name.rpartition(".")[2] in TYPES
        ]
        assert len(dict(held)) == len(held), held
        return dict(held)

    @cached_property
    def entry(self) -> str:
        """The page itself. The shared style stands before its own, which may say otherwise."""
        own = sorted(name for name, package in self.names.items() if package == self._package and name.endswith(".css"))
        head = [f'<link rel="stylesheet" href="{name}">' for name in ("page.css", *own)]
        head.append(f'<script type="module" src="{START}"></script>')
        return shell(self._title, "\n".join(head), filled(text_of(self._package, ENTRY)))

    def routes(self) -> list[Route]:
        """What can be asked of the server, before whatever else the page asks for."""
        return [Route("/", self._entry), Route("/{name}", self._file)]

    def _entry(self, _request: Request) -> Response:
        return Response(self.entry, media_type="text/html")

    def _file(self, request: Request) -> Response:
        name = request.path_params["name"]
        if name not in self.names:
            raise HTTPException(HTTPStatus.NOT_FOUND)
        return Response(text_of(self.names[name], name), media_type=TYPES[name.rpartition(".")[2]])
