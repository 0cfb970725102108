"""Masks in answers that come in pieces."""

from __future__ import annotations

from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st

from stamp_train.methods.text4seg.listener import MaskListener

MASK = "<seg>others *2\n dog *2\n</seg>"
ANSWER = f"Sure, they are \n{MASK} and\n{MASK}.\nAnything < else?"


def heard(pieces: list[str]) -> list[tuple[str, str]]:
    """What is passed on, neighbouring texts joined."""
    listener = MaskListener()
    passed = [found for piece in pieces for found in listener.hear([("text", piece)])] + listener.end()
    joined: list[tuple[str, str]] = []
    for kind, text in passed:
        if joined and kind == joined[-1][0] == "text":
            joined[-1] = (kind, joined[-1][1] + text)
        else:
            joined.append((kind, text))
    return joined


@given(st.lists(st.integers(0, len(ANSWER)), max_size=12))
def test_pieces_do_not_matter(cuts: list[int]) -> None:
    places = [0, *sorted(cuts), len(ANSWER)]
    pieces = [ANSWER[begin:end] for begin, end in pairwise(places)]
    assert heard(pieces) == [
        ("text", "Sure, they are "),
        ("control", "<|seg|>"),
        ("text", " and"),
        ("control", "<|seg|>"),
        ("text", ".\nAnything < else?"),
    ]


def test_a_mask_is_said_as_soon_as_it_is_complete_and_text_as_soon_as_it_is_none() -> None:
    listener = MaskListener()
    assert listener.hear([("text", "Here:\n<se")]) == [("text", "Here:")]
    assert listener.hear([("text", "g>others *2\n dog *2\n</seg")]) == []
    assert listener.hear([("text", "> and a < b <s")]) == [("control", "<|seg|>"), ("text", " and a < b ")]
    assert listener.hear([("text", "o>")]) == [("text", "<so>")]
    assert listener.end() == []
    assert listener.hear([("text", "</seg> <seg></seg>")]) == [("text", "</seg> "), ("control", "<|seg|>")]


@pytest.mark.parametrize(
    ("text", "found"),
    [
        ("Here:\n<seg>others *2\n do", [("text", "Here:"), ("control", "<|seg|>")]),
        ("Here:\n<seg", [("text", "Here:\n<seg")]),
        ("</seg> is <seg></seg>", [("text", "</seg> is "), ("control", "<|seg|>")]),
        ("", []),
    ],
)
def test_answers_that_break_off(text: str, found: list[tuple[str, str]]) -> None:
    assert heard([text]) == found


def test_other_controls_keep_their_place() -> None:
    listener = MaskListener()
    assert listener.hear([("text", "a\n"), ("control", "<|yes|>"), ("text", "b")]) == [
        ("text", "a"),
        ("text", "\n"),
        ("control", "<|yes|>"),
        ("text", "b"),
    ]
