"""One HTML file from the page's parts: everything inline, and a policy that lets it load nothing else."""

from __future__ import annotations

from collections.abc import Sequence
from functools import cache
from typing import Literal

import msgspec

from stamp_data.draw.palette import EXTRA, MISSED
from stamp_data.inspect.flags import FLAGS
from stamp_data.inspect.record_page import View
from stamp_data.inspect.report import InspectReport
from stamp_data.tags import TagList
from stamp_data.web.document import filled, inline_policy, joined, one_file, script_safe, shared, text_of

HERE = "stamp_data.inspect"
SHARED = ("dom.js", "ask.js", "view.js", "masks.js")
SCRIPTS = (
    "gallery_dom.js",
    "gallery_state.js",
    "gallery_data.js",
    "gallery_overlay.js",
    "gallery_charts.js",
    "gallery_tags.js",
    "gallery_cards.js",
    "gallery_detail.js",
    "gallery_app.js",
)


@cache
def style() -> str:
    return shared("page.css") + text_of(HERE, "gallery.css")


@cache
def script() -> str:
    return joined([*map(shared, SHARED), *(text_of(HERE, name) for name in SCRIPTS)])


@cache
def served_policy() -> str:
    """Content-Security-Policy where the page is served: as in a file, and what its own server gives."""
    policy = inline_policy(style(), script()).replace("data:", "'self' data:")
    return f"{policy}; connect-src 'self'"


def page(
    mode: Literal["file", "server"],
    report: InspectReport,
    tags: TagList,
    records: Sequence[View] = (),
    notice: str = "",
) -> bytes:
    """The complete document. records: in a file all of them, each with its `Entry`; none where a server is asked."""
    inputs = report.inputs
    title = inputs[0].name if len(inputs) == 1 else f"{len(inputs)} sets"
    codes = {
        code: {"severity": flag.severity, "title": flag.title, "why": flag.why, "fix": flag.fix}
        for code, flag in FLAGS.items()
    }
    data = {
        "mode": mode,
        "title": title,
        "headline": report.first_line(),
        "notice": notice,
        "report": report,
        "codes": codes,
        "colours": {"missed": MISSED, "extra": EXTRA},
        "records": records,
        "tags": tags.rows(),
        "places": {one.name: one.path for one in inputs},
    }
    body, held = filled(text_of(HERE, "gallery.html")), script_safe(msgspec.json.encode(data))
    policy = served_policy() if mode == "server" else ""
    return one_file(f"{title} · STAMP", body, style(), script(), held, policy).encode()
