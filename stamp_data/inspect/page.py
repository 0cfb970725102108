"""One HTML file from the page's parts: everything inline, and a policy that lets it load nothing else."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property

import msgspec

from stamp_data.draw.palette import EXTRA, MISSED
from stamp_data.inspect.flags import FLAGS
from stamp_data.inspect.record_page import RecordView
from stamp_data.inspect.report import InspectReport
from stamp_data.inspect.search_index import Entry
from stamp_data.tags import TagList
from stamp_data.web.document import filled, inline_policy, joined, one_file, script_safe, shared, text_of
from stamp_schemas.tags import TaggedRecord

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


class PageData(msgspec.Struct):
    """What the page's script reads. records, entries: all of them in a file; none where a server is asked. tags: of
    records; places: of sets, by name.
    """

    mode: str
    title: str
    headline: str
    notice: str
    report: InspectReport
    codes: dict[str, dict[str, str]]
    colours: dict[str, str]
    records: list[RecordView]
    entries: list[Entry]
    tags: list[TaggedRecord]
    places: dict[str, str]


def page_data(
    report: InspectReport,
    records: list[RecordView],
    entries: list[Entry],
    *,
    mode: str,
    notice: str,
    tags: TagList,
) -> PageData:
    """The data of a page. mode: `file` or `server`."""
    inputs = report.inputs
    title = inputs[0].name if len(inputs) == 1 else f"{len(inputs)} sets"
    codes = {
        code: {"severity": flag.severity, "title": flag.title, "why": flag.why, "fix": flag.fix}
        for code, flag in FLAGS.items()
    }
    colours = {"missed": MISSED, "extra": EXTRA}
    places = {one.name: one.path for one in inputs}
    first = report.first_line()
    return PageData(mode, title, first, notice, report, codes, colours, records, entries, tags.rows(), places)


@dataclass(frozen=True)
class Page:
    """The page's fixed parts and the policy that allows exactly these."""

    @cached_property
    def style(self) -> str:
        return shared("page.css") + text_of(HERE, "gallery.css")

    @cached_property
    def script(self) -> str:
        return joined([*map(shared, SHARED), *(text_of(HERE, name) for name in SCRIPTS)])

    @cached_property
    def policy(self) -> str:
        """Content-Security-Policy where the page is served: as in a file, and what its own server gives."""
        served = inline_policy(self.style, self.script).replace("data:", "'self' data:")
        return f"{served}; connect-src 'self'"

    def html(self, data: PageData) -> bytes:
        """The complete document."""
        body, held = filled(text_of(HERE, "gallery.html")), script_safe(msgspec.json.encode(data))
        policy = self.policy if data.mode == "server" else ""
        return one_file(f"{data.title} · STAMP", body, self.style, self.script, held, policy).encode()
