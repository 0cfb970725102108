"""The page of an evaluation: its tables and card, the worst cases and some drawn at random; one file that opens offline."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from html import escape
from itertools import groupby
from pathlib import Path

import msgspec
import numpy as np
from PIL import Image
from xxhash import xxh3_64_intdigest

from stamp_data.draw.outline import mask_path
from stamp_data.pixels import data_uri
from stamp_data.web.document import text_of
from stamp_data.web.reports import Row, facts, report, table
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
    readers = {one.name: one for one in sets}
    body = [
        *_tables(results, convention),
        '<p><span class="key-truth">– – true outline</span> · <span class="key-drawn">▬ predicted mask</span></p>',
        f'<h2>The {len(worst)} worst</h2><div class="cases">',
        *(_figure(line, readers[line.set]) for line in worst),
        f'</div><h2>{len(others)} others, drawn at random</h2><div class="cases">',
        *(_figure(line, readers[line.set]) for line in others),
        "</div>",
        *_card(results),
    ]
    title = f"Evaluation of {results.card.settings.checkpoint}"
    page = report(title, ", ".join(one.name for one in sets), body, text_of("stamp_train.eval", "page.css"))
    with writing(folder / PAGE):
        write_atomic(folder / PAGE, page.encode())
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
    yield table(heads, [("", list(map(Row, group))) for _, group in groupby(scores, key=lambda cells: cells[0])])
    for one in published().tables:
        rows = paper_rows(results, one, convention)
        if rows:
            yield f"<h2>Table {one.number}. {escape(one.title)}</h2>"
            groups = groupby(rows, key=lambda row: row.group)
            yield table(one.heads, [(name, [Row(row_cells(row), row.own) for row in group]) for name, group in groups])
            note = f"Per cent. Own rows by the convention {convention}; others: {published().source}"
            yield f'<p class="quiet">{escape(note)}</p>'


def _card(results: Results) -> Iterator[str]:
    told = msgspec.to_builtins(results.card)
    told |= {f"model {name}": value for name, value in (told.pop("model") or {}).items()}
    told |= told.pop("settings")
    damaged = [("damaged", f"{damage.set} {damage.id}: {damage.fault}") for damage in results.damaged]
    return facts(told, damaged)
