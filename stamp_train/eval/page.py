"""The page of an evaluation: its tables and card, the worst cases and some drawn at random; one file that opens offline."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from html import escape
from importlib import resources
from itertools import groupby
from pathlib import Path

import msgspec
import numpy as np
from PIL import Image
from xxhash import xxh3_64_intdigest

from stamp_data.draw.outline import mask_path
from stamp_data.pixels import data_uri
from stamp_data.web import source_hash
from stamp_data.writing import write_atomic
from stamp_schemas import StampError
from stamp_train.eval.cases import CaseSet
from stamp_train.eval.journal import PAGE, writing
from stamp_train.eval.results import Results
from stamp_train.eval.scoring import Line
from stamp_train.eval.tables import paper_rows, published, row_cells, score_rows

SHOWN = 24  # worst cases, and as many at random
SIDE = 480  # pixels of a thumbnail's longer side, at most


def write_page(
    folder: Path, results: Results, lines: Sequence[Line], sets: Sequence[CaseSet], convention: str, seed: int = 0
) -> int:
    """Write `page.html` into the folder of an evaluation; how many masks it shows, which are some of the first variant's.

    sets: that were evaluated, open. convention: of the numbers in the tables. seed: of the random choice.
    """
    worst, others = choose([line for line in lines if line.score], seed)
    style = resources.files("stamp_train.eval").joinpath("page.css").read_text("utf-8")
    policy = f"default-src 'none'; img-src data:; style-src {source_hash(style)}; base-uri 'none'; form-action 'none'"
    readers = {one.name: one for one in sets}
    parts = [
        "<!doctype html>",
        '<html lang="en"><head><meta charset="utf-8">',
        f'<meta http-equiv="Content-Security-Policy" content="{policy}">',
        '<meta name="viewport" content="width=device-width, initial-scale=1">',
        f"<title>Evaluation of {escape(results.card.settings.checkpoint)}</title>",
        f"<style>{style}</style></head><body>",
        f"<h1>Evaluation of {escape(results.card.settings.checkpoint)}</h1>",
        *_tables(results, convention),
        '<p><span class="key-truth">– – true outline</span> · <span class="key-drawn">▬ predicted mask</span></p>',
        f'<h2>The {len(worst)} worst</h2><div class="cases">',
        *(_figure(line, readers[line.set]) for line in worst),
        f'</div><h2>{len(others)} others, drawn at random</h2><div class="cases">',
        *(_figure(line, readers[line.set]) for line in others),
        "</div><h2>How the numbers were made</h2>",
        *_card(results),
        "</body></html>\n",
    ]
    with writing(folder / PAGE):
        write_atomic(folder / PAGE, "\n".join(parts).encode())
    return len(worst) + len(others)


def choose(lines: Sequence[Line], seed: int) -> tuple[list[Line], list[Line]]:
    """The worst lines of the first variant, the larger misses first, and others by a hash of (seed, id)."""
    first = [line for line in lines if line.variant == lines[0].variant]
    worst = sorted(first, key=lambda line: (line.iou, -_missed(line), line.set, line.id, line.target))[:SHOWN]
    taken = {(line.set, line.id, line.target) for line in worst}
    others = [line for line in first if (line.set, line.id, line.target) not in taken]
    others.sort(key=lambda line: xxh3_64_intdigest(f"{seed}/{line.set}/{line.id}/{line.target}".encode()))
    return worst, others[:SHOWN]


def _missed(line: Line) -> int:
    return line.score.union - line.score.intersection if line.score else 0


def _figure(line: Line, source: CaseSet) -> str:
    """A picture with both outlines and what was asked and said."""
    height, width = line.size
    picture, truth = _picture(line, source)
    image = f'<image href="{picture}" width="{width}" height="{height}"/>' if picture else ""
    drawn = mask_path(line.mask().astype(np.uint8))
    flags = f" · {', '.join(line.flags)}" if line.flags else ""
    return (
        f'<figure><svg viewBox="0 0 {width} {height}" role="img" aria-label="{escape(line.expression, quote=True)}">{image}'
        f'<path class="drawn" d="{drawn}"/><path class="truth" d="{truth}"/></svg><figcaption>'
        f"<p><b>{line.iou:.3f}</b> {escape(line.expression)}</p><p>{escape(line.answer)}</p>"
        f'<p class="quiet">{escape(line.set)} · {escape(line.id)} · mask {line.target + 1}{escape(flags)}</p>'
        "</figcaption></figure>"
    )


def _picture(line: Line, source: CaseSet) -> tuple[str, str]:
    """(the picture as a data URI, path of the true mask); empty where the record cannot be read any more."""
    try:
        found = source.load(source.shards.find(line.id.partition("/")[0]))
    except StampError:
        return "", ""
    case = next((case for case in found.cases if case.id == line.id), None)
    if case is None or found.image is None:
        return "", ""
    small = found.image.copy()
    small.thumbnail((SIDE, SIDE), Image.Resampling.LANCZOS)
    return data_uri(small), mask_path(case.truths[line.target].mask.astype(np.uint8))


def _tables(results: Results, convention: str) -> Iterator[str]:
    yield f"<h2>All metrics by the convention {escape(convention)}, per cent</h2>"
    heads, scores = score_rows(results, convention)
    yield _table(heads, [("", list(group)) for _, group in groupby(map(_plain, scores), key=lambda row: row[1][0])])
    for table in published().tables:
        rows = paper_rows(results, table, convention)
        if rows:
            yield f"<h2>Table {table.number}. {escape(table.title)}</h2>"
            groups = groupby(rows, key=lambda row: row.group)
            yield _table(table.heads, [(name, [(row.own, row_cells(row)) for row in group]) for name, group in groups])
            note = f"Per cent. Own rows by the convention {convention}; others: {published().source}"
            yield f'<p class="quiet">{escape(note)}</p>'


Cells = tuple[bool, Sequence[str]]
"""A row, and whether it is to stand out."""


def _plain(cells: Sequence[str]) -> Cells:
    return False, cells


def _table(heads: Sequence[str], groups: Sequence[tuple[str, Sequence[Cells]]]) -> str:
    """Rows in groups, each a body of the table, with its name above if it has one."""
    head = "".join(f"<th>{escape(text)}</th>" for text in heads)
    bodies = "".join(_body(name, rows, len(heads)) for name, rows in groups)
    return f'<div class="wide"><table><thead><tr>{head}</tr></thead>{bodies}</table></div>'


def _body(name: str, rows: Sequence[Cells], columns: int) -> str:
    title = f'<tr><td class="quiet" colspan="{columns}">{escape(name)}</td></tr>' if name else ""
    lines = "".join(
        f"<tr{' class=own' if own else ''}>" + "".join(f"<td>{escape(text)}</td>" for text in cells) + "</tr>"
        for own, cells in rows
    )
    return f"<tbody>{title}{lines}</tbody>"


def _card(results: Results) -> Iterator[str]:
    facts = msgspec.to_builtins(results.card)
    facts |= {f"model {name}": value for name, value in (facts.pop("model") or {}).items()}
    facts |= facts.pop("settings")
    yield "<dl>"
    for name, value in facts.items():
        text = value if isinstance(value, str) else msgspec.json.encode(value).decode()
        yield f"<dt>{escape(name.replace('_', ' '))}</dt><dd>{escape(text)}</dd>"
    for damage in results.damaged:
        yield f"<dt>damaged</dt><dd>{escape(f'{damage.set} {damage.id}: {damage.fault}')}</dd>"
    yield "</dl>"
