"""The page of a comparison: tables, curves, scenes and how the numbers were made; one file that opens offline."""

from __future__ import annotations

import base64
import hashlib
from collections.abc import Iterator, Sequence
from html import escape
from importlib import resources

import msgspec

from stamp_train.compare.curves import CURVES_NOTE
from stamp_train.compare.results import Comparison
from stamp_train.compare.scenes import Scene
from stamp_train.compare.tables import Cells, tables

_WHY = "why"  # a column of sentences


def page(found: Comparison, figure: str, scenes: Sequence[Scene]) -> str:
    """HTML. figure: the curves, as SVG."""
    style = resources.files("stamp_train.compare").joinpath("page.css").read_text("utf-8")
    digest = base64.b64encode(hashlib.sha256(style.encode()).digest()).decode()
    policy = f"default-src 'none'; img-src data:; style-src 'sha256-{digest}'; base-uri 'none'; form-action 'none'"
    title = escape(f"{found.shared.recipe}: {', '.join(row.name for row in found.rows)}")
    parts = [
        "<!doctype html>",
        '<html lang="en"><head><meta charset="utf-8">',
        f'<meta http-equiv="Content-Security-Policy" content="{policy}">',
        '<meta name="viewport" content="width=device-width, initial-scale=1">',
        f"<title>{title}</title><style>{style}</style></head><body><h1>{title}</h1>",
        *map(_table, tables(found)),
        "<h2>Learning curves</h2>",
        figure,
        f'<p class="quiet">{escape(CURVES_NOTE)}</p>',
        "<h2>The same scenes</h2>",
        *map(_figure, scenes),
        "<h2>How the numbers were made</h2>",
        *_facts(found),
        "</body></html>\n",
    ]
    return "\n".join(parts)


def _table(cells: Cells) -> str:
    head = "".join(f"<th>{escape(text)}</th>" for text in cells.heads)
    kinds = [' class="why"' if head == _WHY else "" for head in cells.heads]
    rows = "".join(
        "<tr>" + "".join(f"<td{kind}>{escape(text)}</td>" for kind, text in zip(kinds, row, strict=True)) + "</tr>"
        for row in cells.rows
    )
    return (
        f'<h2>{escape(cells.title)}</h2><div class="wide"><table><thead><tr>{head}</tr></thead>'
        f"<tbody>{rows}</tbody></table></div>"
    )


def _figure(scene: Scene) -> str:
    picture = base64.b64encode(scene.sheet).decode()
    told = ", ".join(f"{name} {iou:.3f}" for name, iou in scene.ious.items())
    return (
        f'<figure><img src="data:image/jpeg;base64,{picture}" alt="{escape(scene.expression, quote=True)}"><figcaption>'
        f'<b>{escape(scene.expression)}</b><br><span class="quiet">{escape(scene.set)} · {escape(scene.id)} · IoU '
        f"{escape(told)}</span></figcaption></figure>"
    )


def _facts(found: Comparison) -> Iterator[str]:
    facts = msgspec.to_builtins(found)
    rows = facts.pop("rows")
    facts |= {f"method {row['name']}": row["method"] for row in rows}
    facts |= {f"flags of {row['name']}": row["flags"] for row in rows if row["flags"]}
    yield "<dl>"
    for name, value in facts.items():
        text = value if isinstance(value, str) else msgspec.json.encode(value).decode()
        yield f"<dt>{escape(name)}</dt><dd>{escape(text)}</dd>"
    yield "</dl>"
