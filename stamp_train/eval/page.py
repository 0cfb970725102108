"""The page of an evaluation: its tables and card, the worst cases and some drawn at random; one file that opens offline."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from html import escape
from pathlib import Path
from typing import NamedTuple

import msgspec
from xxhash import xxh3_64_intdigest

from stamp_data.web.document import script_safe, shared, text_of
from stamp_data.web.reports import Row, facts, report, table
from stamp_data.writing import write_atomic
from stamp_schemas import UsageFault
from stamp_train.eval.case_views import PageData, Views, histogram, key_of
from stamp_train.eval.cases import CaseSet
from stamp_train.eval.journal import CASES, PAGE, RESULTS, writing
from stamp_train.eval.results import Results, read_lines, read_results
from stamp_train.eval.scoring import Line
from stamp_train.eval.tables import Cells, paper_tables, published, score_table

SHOWN = 48  # worst cases, and as many at random
HERE = "stamp_train.eval"
_THIS = "this evaluation"


class Against(NamedTuple):
    """Another evaluation that a page compares with. lines: of all of its variants."""

    name: str
    results: Results
    lines: list[Line]


def read_against(folder: Path) -> Against:
    """The evaluation in a folder. UsageFault if there is none, StampError if it is damaged."""
    return Against(str(folder), read_results(folder / RESULTS), read_lines(folder / CASES))


def write_page(
    folder: Path,
    results: Results,
    lines: Sequence[Line],
    sets: Sequence[CaseSet],
    convention: str,
    seed: int = 0,
    against: Against | None = None,
) -> int:
    """Write `page.html` into the folder of an evaluation; how many masks it shows, which are some of the first variant's.

    sets: that were evaluated, open. convention: of the numbers in the tables. seed: of the random choice. UsageFault if
    `against` has scored none of these cases.
    """
    scored = [line for line in lines if line.score]
    worst, others = choose(scored, seed)
    views = Views({one.name: one for one in sets}, _matching(against, scored))
    cases = [views.view(line) for line in (*worst, *others)]
    first = [line for line in scored if line.variant == scored[0].variant] if scored else []
    histograms = [histogram(_THIS, first)]
    if against:
        histograms.append(histogram(against.name, list(views.others.values())))
    data = PageData(views.pictures, cases, histograms, against.name if against else "")
    body = [
        *_own_table(results, against, convention),
        text_of(HERE, "cases.html"),
        *_paper_tables(results, convention),
        *_card(results),
    ]
    scripts = [*map(shared, ("view.js", "masks.js")), text_of(HERE, "page.js")]
    title, names = f"Evaluation of {results.card.settings.checkpoint}", ", ".join(one.name for one in sets)
    held = script_safe(msgspec.json.encode(data))
    page = report(title, names, body, text_of(HERE, "page.css"), scripts, held)
    with writing(folder / PAGE):
        write_atomic(folder / PAGE, page.encode())
    return len(cases)


def choose(lines: Sequence[Line], seed: int) -> tuple[list[Line], list[Line]]:
    """The worst lines of the first variant, the larger misses first, and others by a hash of (seed, id)."""
    first = [line for line in lines if line.variant == lines[0].variant]
    worst = sorted(first, key=lambda line: (line.iou, -_missed(line), line.set, line.id, line.target))[:SHOWN]
    taken = {key_of(line) for line in worst}
    others = [line for line in first if key_of(line) not in taken]
    others.sort(key=lambda line: xxh3_64_intdigest(f"{seed}/{line.set}/{line.id}/{line.target}".encode()))
    return worst, others[:SHOWN]


def _matching(against: Against | None, scored: Sequence[Line]) -> dict[tuple[str, str, int], Line]:
    """The other evaluation's lines of the same cases: of the same variant if it has that, else of its first."""
    if against is None or not scored:
        return {}
    theirs = [line for line in against.lines if line.score]
    variants = [line.variant for line in theirs]
    variant = scored[0].variant if scored[0].variant in variants else next(iter(variants), "")
    found = {key_of(line): line for line in theirs if line.variant == variant}
    own = {key_of(line) for line in scored}
    if not own & found.keys():
        raise UsageFault(
            f"{against.name} has scored none of these cases", "--against takes an evaluation of the same sets"
        )
    return {key: line for key, line in found.items() if key in own}


def _missed(line: Line) -> int:
    return line.score.union - line.score.intersection if line.score else 0


def _own_table(results: Results, against: Against | None, convention: str) -> Iterator[str]:
    yield f"<h2>All metrics by the convention {escape(convention)}, per cent</h2>"
    own = score_table(results, convention)
    if against is None:
        yield table(own.heads, own.groups)
        return
    theirs = score_table(against.results, convention)
    kept = [name for name in own.heads if name in theirs.heads]
    yield table(kept, [(_THIS, _columns(own, kept, True)), (against.name, _columns(theirs, kept, False))])


def _columns(cells: Cells, kept: Sequence[str], own: bool) -> list[Row]:
    places = [cells.heads.index(head) for head in kept]
    return [Row([row[place] for place in places], own) for row in cells.rows]


def _paper_tables(results: Results, convention: str) -> Iterator[str]:
    for one in paper_tables(results, convention):
        yield f"<h2>{escape(one.title)}</h2>"
        yield table(one.heads, one.groups)
        note = f"Per cent. Own rows by the convention {convention}; others: {published().source}"
        yield f'<p class="quiet">{escape(note)}</p>'


def _card(results: Results) -> Iterator[str]:
    told = msgspec.to_builtins(results.card)
    told |= {f"model {name}": value for name, value in (told.pop("model") or {}).items()}
    told |= told.pop("settings")
    damaged = [("damaged", f"{damage.set} {damage.id}: {damage.fault}") for damage in results.damaged]
    return facts(told, damaged)
