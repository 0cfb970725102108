"""The page of a comparison: tables, curves, scenes and how the numbers were made; one file that opens offline."""

from __future__ import annotations

import base64
from collections.abc import Sequence
from html import escape

import msgspec

from stamp_data.web.document import shared, text_of
from stamp_data.web.reports import facts, report, table
from stamp_train.compare.curves import CURVES_NOTE
from stamp_train.compare.results import Comparison
from stamp_train.compare.scenes import Scene
from stamp_train.compare.tables import tables

HERE = "stamp_train.compare"
_WHY = "why"  # a column of sentences


def page(found: Comparison, figure: str, scenes: Sequence[Scene]) -> str:
    """HTML. figure: the curves, as SVG."""
    title = f"{found.shared.recipe}: {', '.join(row.name for row in found.rows)}"
    body = [
        *(f"<h2>{escape(one.title)}</h2>{table(one.heads, one.groups, _WHY)}" for one in tables(found)),
        "<h2>Learning curves</h2>",
        f'<div class="wide">{figure}</div>',
        f'<p class="quiet">{escape(CURVES_NOTE)}</p>',
        "<h2>The same scenes</h2>",
        *map(_figure, scenes),
        '<dialog class="large" id="large" aria-label="Scene"></dialog>',
        *facts(_told(found)),
    ]
    scripts = [shared("view.js"), text_of(HERE, "page.js")]
    return report(title, "A comparison of methods", body, text_of(HERE, "page.css"), scripts)


def _figure(scene: Scene) -> str:
    picture = base64.b64encode(scene.sheet).decode()
    told = ", ".join(f"{name} {iou:.3f}" for name, iou in scene.ious.items())
    words = escape(scene.expression, quote=True)
    return (
        f'<figure class="scene"><button title="Large"><img src="data:image/jpeg;base64,{picture}" alt="{words}"></button>'
        f'<figcaption><b>{words}</b> <span class="quiet">{escape(scene.set)} · {escape(scene.id)} · IoU {escape(told)}</span>'
        "</figcaption></figure>"
    )


def _told(found: Comparison) -> dict[str, object]:
    told: dict[str, object] = msgspec.to_builtins(found)
    told.pop("rows")
    told |= {f"method {row.name}": msgspec.to_builtins(row.method) for row in found.rows}
    return told | {f"flags of {row.name}": msgspec.to_builtins(row.flags) for row in found.rows if row.flags}
