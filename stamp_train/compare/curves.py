"""Learning curves as a small SVG: held-out cIoU over steps and over seconds, a colour for each method."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from html import escape
from itertools import cycle
from statistics import fmean

from stamp_data.draw.palette import COLOURS
from stamp_train.compare.results import Comparison, Point, Row

_WIDE, _HIGH, _LEFT, _LOW, _TOP = 440, 300, 46, 42, 26  # pixels of a panel, and of its margins
_LINE = 16  # of the legend
_TICKS = 4
CURVES_NOTE = (
    "Held-out cIoU while training is teacher-forced in full: where a mask is written (text, codes), each of its tokens is "
    "predicted behind the true ones, which is kinder than to one that is drawn at once. The tables' masks are the model's own."
)
_Place = Callable[[Point], float]


def curves(found: Comparison) -> str:
    """The figure. Thin lines are seeds, thick ones their mean, where there are several."""
    legend = list(zip([row.name for row in found.rows], cycle(COLOURS), strict=False))
    height = _HIGH + _LINE * len(legend) + _LINE
    parts = [
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {2 * _WIDE} {height}" width="{2 * _WIDE}" '
        f'height="{height}" role="img" aria-label="Learning curves" font-family="sans-serif" font-size="11">',
        f'<rect width="{2 * _WIDE}" height="{height}" fill="#ffffff"/>',
        *_panel(found.rows, 0, "steps", lambda point: point.step),
        *_panel(found.rows, _WIDE, "seconds of training steps", lambda point: point.seconds),
    ]
    for number, (name, colour) in enumerate(legend):
        y = _HIGH + _LINE * (number + 1)
        parts.append(
            f'<line x1="{_LEFT}" y1="{y - 4}" x2="{_LEFT + 24}" y2="{y - 4}" stroke="{colour}" stroke-width="2.5"/>'
        )
        parts.append(f'<text x="{_LEFT + 32}" y="{y}" fill="#15181e">{escape(name)}</text>')
    return "\n".join([*parts, "</svg>\n"])


def _panel(rows: Sequence[Row], left: int, label: str, place: _Place) -> Iterator[str]:
    points = [point for row in rows for curve in row.curves.values() for point in curve]
    most, highest = max(map(place, points), default=1) or 1, max((point.ciou for point in points), default=1) or 1
    x0, y0, width, height = left + _LEFT, _HIGH - _LOW, _WIDE - _LEFT - 14, _HIGH - _LOW - _TOP

    def at(x: float, y: float) -> str:
        return f"{x0 + width * x / most:.1f},{y0 - height * y / highest:.1f}"

    yield f'<text x="{x0}" y="{_TOP - 10}" fill="#15181e">held-out cIoU, teacher-forced, over {escape(label)}</text>'
    for tick in range(_TICKS + 1):
        part = tick / _TICKS
        x, y = x0 + width * part, y0 - height * part
        yield f'<line x1="{x0}" y1="{y:.1f}" x2="{x0 + width}" y2="{y:.1f}" stroke="#e2e5ea"/>'
        yield f'<text x="{x0 - 6}" y="{y + 4:.1f}" text-anchor="end" fill="#646c7a">{100 * highest * part:.0f} %</text>'
        yield f'<text x="{x:.1f}" y="{y0 + 16}" text-anchor="middle" fill="#646c7a">{most * part:,.3g}</text>'
    for row, colour in zip(rows, cycle(COLOURS), strict=False):
        for line, thick in _lines(list(row.curves.values())):
            corners = [at(place(point), point.ciou) for point in line]
            look = f'stroke="{colour}" stroke-width="{2.5 if thick else 1}" stroke-opacity="{1 if thick else 0.45}"'
            yield f'<polyline fill="none" {look} points="{" ".join(corners)}"/>'
            for across, up in (corner.split(",") for corner in corners if thick):
                yield f'<circle cx="{across}" cy="{up}" r="2.5" fill="{colour}"/>'


def _lines(seeds: Sequence[Sequence[Point]]) -> Iterator[tuple[Sequence[Point], bool]]:
    """Each seed, thin; and their mean as far as all have come, thick."""
    if len(seeds) > 1:
        yield from ((curve, False) for curve in seeds)
    common = zip(*seeds, strict=False)
    mean = [
        Point(some[0].step, fmean(one.seconds for one in some), fmean(one.ciou for one in some))
        for some in common
        if len({one.step for one in some}) == 1
    ]
    yield mean, True
