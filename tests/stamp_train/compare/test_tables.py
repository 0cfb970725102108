"""Tables, page and figure of made-up numbers."""

from __future__ import annotations

import xml.etree.ElementTree as ET
from html.parser import HTMLParser

from stamp_train.compare.curves import curves
from stamp_train.compare.page import page
from stamp_train.compare.scenes import Scene
from stamp_train.compare.tables import markdown, show, tables

from .made import SET, comparison, row

EVIL = "<script>alert(1)</script>|\"'&"


class Tags(HTMLParser):
    """The tags of a page, and its text."""

    def __init__(self) -> None:
        super().__init__()
        self.tags: list[str] = []
        self.text = ""

    def handle_starttag(self, tag: str, attrs: object) -> None:  # noqa: ARG002 - of the parser
        self.tags.append(tag)

    def handle_data(self, data: str) -> None:
        self.text += data


def test_a_row_says_what_was_scored_and_what_it_took() -> None:
    scores, costs = tables(comparison(row("stamp-fine")))
    shown = dict(zip(scores.heads, scores.rows[0], strict=True))
    assert shown["cIoU"] == shown["gIoU, forced"] == "50.0 [25.0, 75.0]"
    assert (shown["method"], shown["ceiling cIoU"], shown["ceiling gIoU"]) == ("stamp-fine", "90.0", "80.0")
    told = dict(zip(costs.heads, costs.rows[0], strict=True))
    assert (told["parameters added"], told["tokens/mask"], told["answer ms"], told["masks ms"]) == (
        "2,500", "7.0", "125.0", "12.5",
    )  # fmt: skip


def test_a_method_that_failed_is_a_row_that_says_why() -> None:
    failed = row("text4seg-16", seeds=[], failed={0: "out of luck"}, scores={}, ceiling={}, costs=None, curves={})
    scores, costs, why = tables(comparison(row("stamp-fine"), failed))
    assert scores.rows[1] == ["text4seg-16", *["–"] * (len(scores.heads) - 1)]
    assert set(costs.rows[1][1:]) == {"–"}
    assert why.rows == [["text4seg-16", "0", "out of luck"]]


def test_markdown_holds_every_cell_and_no_broken_row() -> None:
    failed = row("a", seeds=[], failed={0: "either | or\nnothing"}, scores={}, costs=None)
    text = markdown(comparison(row("stamp-fine"), failed))
    assert "| stamp-fine | 50.0 [25.0, 75.0] |" in text and r"| a | 0 | either \| or nothing |" in text
    for block in text.split("\n\n"):
        lines = [line.replace(r"\|", "") for line in block.splitlines() if line.startswith("|")]
        assert len({line.count("|") for line in lines}) <= 1


def test_brackets_of_intervals_reach_the_terminal(capsys: object) -> None:
    show(comparison(row("stamp-fine")))
    assert "50.0 [25.0, 75.0]" in capsys.readouterr().out  # type: ignore[attr-defined]


def test_names_of_others_are_text_on_the_page() -> None:
    one = row("stamp-fine", failed={1: EVIL}, title=EVIL, method={"name": EVIL})
    scene = Scene(EVIL, EVIL, EVIL, {"stamp-fine": 0.5}, b"jpeg")
    found = comparison(one, recipe=EVIL)
    html = page(found, curves(found), [scene])
    parser = Tags()
    parser.feed(html)
    assert html.count("<script") == 1 and EVIL not in html
    assert parser.text.count(EVIL) >= 6
    assert "default-src 'none'" in html


def test_the_figure_is_xml_with_a_line_for_each_seed_and_their_mean() -> None:
    figure = ET.fromstring(curves(comparison(row("stamp-fine"), row(EVIL))))
    lines = [one.get("points", "").split() for one in figure.iter("{http://www.w3.org/2000/svg}polyline")]
    assert [len(line) for line in lines] == [2, 1, 1] * 4  # two methods, two panels
    assert EVIL in [one.text for one in figure.iter("{http://www.w3.org/2000/svg}text")]


def test_a_comparison_without_curves_has_a_figure_too() -> None:
    assert ET.fromstring(curves(comparison(row("stamp-fine", curves={})))) is not None
    assert SET in tables(comparison(row("stamp-fine")))[0].title
