"""Pages that are read: tables, facts and figures of a run, in one file that opens offline."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from html import escape
from typing import NamedTuple

import msgspec

from stamp_data.web.document import filled, joined, one_file, shared

_TOP = (
    '<a class="skip" href="#content">Skip to the content</a>\n<header class="top"><div class="brand">{{brand}}<div>'
    '<h1>{{title}}</h1><p>{{note}}</p></div></div><div class="actions">{{buttons}}</div></header>\n'
    '<main id="content">\n{{body}}\n</main>'
)
_START = "listenToKeys();\n"


class Row(NamedTuple):
    """Cells of a table. own: to stand out."""

    cells: Sequence[str]
    own: bool = False


def report(
    title: str, note: str, body: Iterable[str], style: str = "", scripts: Sequence[str] = (_START,), data: str = ""
) -> str:
    """A page of HTML parts. note: the line under the title; scripts: beyond the shared ones, the last begins."""
    top = filled(_TOP, title=escape(title), note=escape(note), body="\n".join(body))
    script = joined([shared("dom.js"), shared("report.js"), *scripts])
    return one_file(title, top, shared("page.css") + shared("report.css") + style, script, data)


def table(heads: Sequence[str], groups: Sequence[tuple[str, Sequence[Row]]], wrapped: str = "") -> str:
    """Rows in groups, each a body of the table, its name above if it has one. wrapped: head of a column of sentences."""
    head = "".join(f'<th scope="col">{escape(text)}</th>' for text in heads)
    kinds = [' class="why"' if text == wrapped else "" for text in heads]
    bodies = "".join(_body(name, rows, kinds) for name, rows in groups)
    return f'<div class="wide" tabindex="0"><table><thead><tr>{head}</tr></thead>{bodies}</table></div>'


def _body(name: str, rows: Sequence[Row], kinds: Sequence[str]) -> str:
    title = f'<tr><td class="quiet" colspan="{len(kinds)}">{escape(name)}</td></tr>' if name else ""
    lines = "".join(
        f"<tr{' class=own' if row.own else ''}>"
        + "".join(f"<td{kind}>{escape(text)}</td>" for kind, text in zip(kinds, row.cells, strict=True))
        + "</tr>"
        for row in rows
    )
    return f"<tbody>{title}{lines}</tbody>"


def facts(values: Mapping[str, object], further: Iterable[tuple[str, str]] = ()) -> Iterator[str]:
    """How the numbers were made, as a list of terms; what is no text is shown as JSON."""
    yield '<h2>How the numbers were made</h2>\n<dl class="facts">'
    texts = [
        (name, value if isinstance(value, str) else msgspec.json.encode(value).decode())
        for name, value in values.items()
    ]
    for name, text in [*texts, *further]:
        yield f"<dt>{escape(name.replace('_', ' '))}</dt><dd>{escape(text)}</dd>"
    yield "</dl>"
