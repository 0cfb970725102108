"""The paper's tables: their numbers against each other, and our rows among them."""

from __future__ import annotations

import msgspec
import pytest
from rich.console import Console

from stamp_data.doctor.published import published as published_data
from stamp_train.eval.card import Card, SetCard, Settings
from stamp_train.eval.results import RESULTS_SCHEMA, Results, SetResult
from stamp_train.eval.tables import drawn, paper_rows, paper_tables, published, score_table, unlike_published

TABLES = {table.number: table for table in published().tables}


def set_card(name: str, other: dict[str, int]) -> SetCard:
    """What the card says of a set: as many sentences and pictures as published, but for `other`."""
    family, _, split = name.partition("/")
    dataset, _, split_by = family.rpartition("-") if "-" in family else (family, "", "")
    known = published_data()[dataset].count(split_by, split) if dataset in published_data() else None
    counts = {"cases": (known and known.sentences) or 0, "pictures": (known and known.images) or 0, **other}
    return SetCard(name, dataset, split_by, split, "", counts["cases"], counts["pictures"], "", 0)


def results(scores: dict[str, dict[str, dict[str, float]]], **named: dict[str, int]) -> Results:
    """set -> variant -> metric -> share. named: counts of sets that are not the published ones."""
    asked = dict.fromkeys(Settings.__struct_fields__, "")
    counts = (
        "records",
        "max_new_tokens",
        "batch_size",
        "no_target_pixels",
        "min_tokens",
        "max_tokens",
        "factor",
        "seed",
    )
    numbers = dict.fromkeys(counts, 1)
    cards = [set_card(name, named.get(name, {})) for name in scores]
    settings = msgspec.convert(
        asked | numbers | {"sets": cards, "modes": [], "prompt": "record", "versions": {}}, Settings
    )
    card = Card(decoding="", threshold="", masks="", no_target="", settings=settings, model=None)
    sets = [
        SetResult(name, "", "", "", "", 10, 10, 0, {v: {"stamp": metrics} for v, metrics in found.items()}, {})
        for name, found in scores.items()
    ]
    return Results(RESULTS_SCHEMA, card, {}, sets, [])


@pytest.mark.parametrize("number", [2, 3, 4])
def test_averages_are_those_of_the_rows(number: int) -> None:
    """A digit that was copied wrongly moves the mean of its row."""
    for row in TABLES[number].rows:
        values = [value for value in row.values if value is not None]
        assert len(row.values) == len(TABLES[number].columns)
        if row.average is None:
            assert len(values) < len(row.values)
        else:
            assert sum(values) / len(values) == pytest.approx(row.average, abs=0.0501)


def test_own_rows_stand_in_their_group() -> None:
    found = results({"refcoco-unc/val": {"free": {"ciou": 0.5}, "free+refined": {"ciou": 0.625}}})
    rows = paper_rows(found, TABLES[2], "stamp")
    assert len(rows) == len(TABLES[2].rows) + 2
    plain, refined = (row for row in rows if row.own)
    assert (plain.values[0], plain.values[1:], plain.average) == (50.0, [None] * 7, None)
    assert (plain.group, refined.group) == ("without mask decoder", "with mask decoder")
    assert [row.method for row in rows][-1] == "labels" and rows[-1] is refined
    assert paper_rows(found, TABLES[3], "stamp") == []


def test_a_whole_row_has_an_average() -> None:
    shares = [0.1 * i for i in range(4)]
    found = results(
        {
            f"reason_seg/{split}": {"free": {"giou": shares[2 * i], "ciou": shares[2 * i + 1]}}
            for i, split in enumerate(["val", "test"])
        }
    )
    (own,) = [row for row in paper_rows(found, TABLES[4], "stamp") if row.own]
    assert own.values == pytest.approx([0, 10, 20, 30]) and own.average == pytest.approx(15)


@pytest.mark.parametrize("width", [80, 140])
def test_numbers_are_never_cut(width: int) -> None:
    found = results({"refcoco-unc/val": {"free": {"ciou": 0.12345, "giou": 1.0, "t_acc": 0.5, "pr@0.7": 0.25}}})
    console = Console(width=width, record=True, no_color=True)
    for table in [score_table(found, "stamp", width), *paper_tables(found, "stamp", width)]:
        console.print(drawn(table))
    text = console.export_text()
    assert "12.3" in text and "100.0" in text and "…" not in text
    assert ("RefCOCOg" in text) == ("25.0" in text) == (width == 140)
    assert "81.9" in text and max(map(len, text.splitlines())) <= width


def test_all_metrics_of_all_sets() -> None:
    found = results({"a/val": {"free": {"ciou": 0.5}}, "b/val": {"free": {"ciou": 0.25, "n_acc": 1.0}}})
    cells = score_table(found, "stamp")
    assert cells.heads == ["Set", "Variant", "Cases", "cIoU", "N-acc"]
    assert cells.rows == [["a/val", "free", "10", "50.0", "–"], ["b/val", "free", "10", "25.0", "100.0"]]


def test_where_every_case_is_damaged_there_is_a_table_without_rows() -> None:
    console = Console(width=140, record=True, no_color=True)
    console.print(drawn(score_table(results({"a/val": {}}), "stamp")))
    assert "Cases" in console.export_text(clear=False) and "a/val" not in console.export_text()


def test_a_set_of_other_counts_is_not_the_published_one() -> None:
    """A playground's `refcoco-unc/val` has the name of the paper's set and nothing else of it."""
    scores = {"refcoco-unc/val": {"free": {"ciou": 0.5}}, "refcoco-unc/testA": {"free": {"ciou": 0.25}}}
    found = results(scores, **{"refcoco-unc/val": {"cases": 57, "pictures": 9}})
    assert unlike_published(found) == {
        "refcoco-unc/val": "57 sentences (published 10,834), 9 pictures (published 1,500)"
    }
    (own,) = [row for row in paper_rows(found, TABLES[2], "stamp") if row.own]
    assert own.values[:2] == [None, 25.0]
    small = {name: {"cases": 1, "pictures": 1} for name in scores}
    assert paper_rows(results(scores, **small), TABLES[2], "stamp") == []
    assert paper_tables(results(scores, **small), "stamp", 140) == []
    assert [row[0] for row in score_table(found, "stamp").rows] == list(scores)


def test_groups_and_sets_are_parted() -> None:
    found = results({name: {"free": {"ciou": 0.5}} for name in ("refcoco-unc/val", "refcoco-unc/testA")})
    console = Console(width=140, record=True, no_color=True)
    console.print(*map(drawn, [score_table(found, "stamp"), *paper_tables(found, "stamp")]))
    lines = [line.strip() for line in console.export_text().splitlines()]
    for group in TABLES[2].groups:
        assert lines[lines.index(group) - 1] == "" or lines[lines.index(group) - 1].startswith("─")
    first = next(place for place, line in enumerate(lines) if line.startswith("refcoco-unc/val"))
    assert lines[first + 1] == "" and lines[first + 2].startswith("refcoco-unc/testA")
