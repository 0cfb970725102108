"""One HTML file from the page's parts: everything inline, and a policy that lets it load nothing else."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property
from importlib import resources

import msgspec

from stamp_data.draw.palette import EXTRA, MISSED
from stamp_data.inspect.flags import FLAGS
from stamp_data.inspect.record_page import RecordView
from stamp_data.inspect.report import InspectReport
from stamp_data.inspect.search_index import Entry
from stamp_data.web import shared, source_hash

SCRIPTS = (
    "gallery_dom.js",
    "gallery_state.js",
    "gallery_data.js",
    "gallery_overlay.js",
    "gallery_charts.js",
    "gallery_cards.js",
    "gallery_detail.js",
    "gallery_app.js",
)


class PageData(msgspec.Struct):
    """What the page's script reads. records, entries: all of them in a file; none where a server is asked."""

    mode: str
    title: str
    headline: str
    notice: str
    report: InspectReport
    codes: dict[str, dict[str, str]]
    colours: dict[str, str]
    records: list[RecordView]
    entries: list[Entry]


def page_data(
    report: InspectReport, records: list[RecordView], entries: list[Entry], *, mode: str, notice: str
) -> PageData:
    """The data of a page. mode: `file` or `server`."""
    inputs = report.inputs
    title = inputs[0].name if len(inputs) == 1 else f"{len(inputs)} sets"
    codes = {
        code: {"severity": flag.severity, "title": flag.title, "why": flag.why, "fix": flag.fix}
        for code, flag in FLAGS.items()
    }
    colours = {"missed": MISSED, "extra": EXTRA}
    return PageData(mode, title, report.first_line(), notice, report, codes, colours, records, entries)


@dataclass(frozen=True)
class Page:
    """The page's fixed parts and the policy that allows exactly these."""

    @cached_property
    def style(self) -> str:
        return shared("page.css") + _read("gallery.css")

    @cached_property
    def script(self) -> str:
        scripts = [shared("dom.js").replace("export ", ""), *map(_read, SCRIPTS)]
        return '(() => {\n"use strict";\n' + "\n".join(scripts) + "\n})();"

    def policy(self, *, served: bool) -> str:
        """Content-Security-Policy: our own style and script by hash; pictures inline, or from the page's own server."""
        rules = {
            "default-src": "'none'",
            "img-src": "'self' data:" if served else "data:",
            "style-src": source_hash(self.style),
            "script-src": source_hash(self.script),
            "base-uri": "'none'",
            "form-action": "'none'",
        }
        if served:
            rules["connect-src"] = "'self'"
        return "; ".join(f"{name} {value}" for name, value in rules.items())

    def html(self, data: PageData) -> bytes:
        """The complete document. Data stands in a script block of its own, where no text of it can end the block."""
        page = _read("gallery.html")
        parts = {
            "policy": self.policy(served=data.mode == "server"),
            "style": self.style,
            "data": script_safe(msgspec.json.encode(data)).decode(),
            "script": self.script,
        }
        head, *rest = page.split("{{")
        pieces = [head]
        for part in rest:
            name, _, tail = part.partition("}}")
            pieces += [parts[name], tail]
        return "".join(pieces).encode()


def script_safe(data: bytes) -> bytes:
    """JSON in which no character can end a script block or begin a comment; it parses to the same value."""
    return data.replace(b"<", b"\\u003c").replace(b">", b"\\u003e").replace(b"&", b"\\u0026")


def _read(name: str) -> str:
    return resources.files("stamp_data.inspect").joinpath(name).read_text("utf-8")
