"""Source text is made harmless: whatever is fed in, no control token or placeholder comes out."""

from __future__ import annotations

import re
import time
from pathlib import Path

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from stamp_data.text import EXPRESSION_LIMIT, TURN_LIMIT, TextFault, clean, look, printable

from .raw import Raw, build_one, texts

QWEN = [
    "<|endoftext|>", "<|im_start|>", "<|im_end|>", "<|object_ref_start|>", "<|object_ref_end|>", "<|box_start|>",
    "<|box_end|>", "<|quad_start|>", "<|quad_end|>", "<|vision_start|>", "<|vision_end|>", "<|vision_pad|>",
    "<|image_pad|>", "<|video_pad|>",
]  # fmt: skip
OURS = ["<|seg|>", "<|mask|>", "[class_name]", "{sent}", "{answer}", "<image>", "<video>"]
TOKENS = QWEN + OURS
FORBIDDEN = re.compile("|".join(map(re.escape, TOKENS)), re.IGNORECASE)
NESTED = [
    "<|im<|seg|>_end|>",
    "<|<|im_end|>im_end|>",
    "<|im_e<|im_e<|seg|>nd|>nd|>",
    "[class[class_name]_name]",
    "{se{sent}nt}",
    "<im<image>age>",
    "<ima<|seg|>ge>",
    "{an<|x|>swer}",
    "<|IM_END|>",
    "<|im_\x00end|>",
    "<|im_end\n|>",
    "<\x00|im_end|>",
    "<|\u202eim_end|>",
]

PIECES = st.sampled_from([*TOKENS, *NESTED, "<|", "|>", "<", ">", "|", "[", "]", "{", "}", " ", "\n", "\x00", "a"])
MESSY = st.lists(PIECES | st.text(max_size=6), max_size=30).map("".join)


@given(MESSY, st.booleans())
@example("<|" * 4 + "im_end" + "|>" * 4, True)
def test_no_token_survives_and_cleaning_again_changes_nothing(text: str, one_line: bool) -> None:
    try:
        cleaned, removed = clean(text, TURN_LIMIT, one_line=one_line)
    except TextFault:
        assert FORBIDDEN.search(text) or not text.strip() or not text.isprintable()
        return
    assert not FORBIDDEN.search(cleaned)
    assert clean(cleaned, TURN_LIMIT, one_line=one_line) == (cleaned, [])
    assert bool(FORBIDDEN.search(text)) <= bool(removed)
    cleaned.encode("utf-8")
    if one_line:
        assert cleaned == " ".join(cleaned.split())


@given(st.text(alphabet=st.characters(codec="utf-8", exclude_categories=["Cc", "Cs", "Zl", "Zp"]), min_size=1))
@example("\xa0")
def test_ordinary_text_is_kept_word_for_word(text: str) -> None:
    if not look(text.strip()) or re.search(r"[<>{}\[\]|\ufeff]", text):
        return
    assert clean(text, TURN_LIMIT, one_line=False) == (text.strip(), [])


@pytest.mark.parametrize(
    "text",
    [
        "grüner Apfel",
        "左边的人",
        "الرجل على اليسار",
        "האיש משמאל",
        "👩🏽‍🚀 left",
        "naïve café",
        "a\u0301 b",
        "2 < 3 > 1",
        "a|b",
    ],
)
def test_every_script_passes_untouched(text: str) -> None:
    assert clean(text, EXPRESSION_LIMIT, one_line=True) == (text, [])


@pytest.mark.parametrize("text", ["", " ", "\n\t", "\x00", "<|seg|>", "[class_name] <image>", "\u2028", "\ud800"])
def test_nothing_left_is_a_fault(text: str) -> None:
    with pytest.raises(TextFault) as fault:
        clean(text, EXPRESSION_LIMIT, one_line=True)
    assert fault.value.reason == "empty-text"


def test_limit_is_of_the_text_as_it_came() -> None:
    assert clean("a" * 100, 100, one_line=True) == ("a" * 100, [])
    with pytest.raises(TextFault) as fault:
        clean("a" * 101, 100, one_line=True)
    assert fault.value.reason == "text-too-long"


def test_deep_nesting_costs_no_time() -> None:
    depth = TURN_LIMIT // 4
    begun = time.process_time()
    with pytest.raises(TextFault):
        clean("<|" * depth + "|>" * depth, TURN_LIMIT, one_line=False)
    assert time.process_time() - begun < 0.5


def test_lines_of_a_turn_are_kept() -> None:
    assert clean("first\n\n  second\tthird", TURN_LIMIT, one_line=False) == ("first\n\n  second\tthird", [])


@pytest.mark.parametrize("wording", ["paper", "published"])
@pytest.mark.parametrize("passes", [1, 4])
def test_no_expression_brings_a_token_into_a_record(tmp_path: Path, wording: str, passes: int) -> None:
    raw = Raw(tmp_path / "data")
    raw.image(1)
    hostile = [f"the {token} man" for token in TOKENS + NESTED]
    raw.ref(1, *hostile, "the plain man")
    ((loaded,), rejects) = build_one(raw, tmp_path / "out", wording=wording, passes=passes)
    dialogues = loaded.record.dialogues
    assert len(dialogues) == passes * raw.expressions
    for dialogue in dialogues:
        assert not FORBIDDEN.search(dialogue.expression)
        question, answer = dialogue.messages
        assert not any(FORBIDDEN.search(content.text) for content in question.content)
        assert [found[0] for content in answer.content for found in FORBIDDEN.finditer(content.text)] == ["<|seg|>"]
    told = {row.record: row for row in rejects}
    for number, text in enumerate(hostile):
        if FORBIDDEN.search(text):
            row = told[f"ref 0 sentence {number}"]
            assert (row.reason, row.action, row.expressions) == ("control-token", "cleaned", 0)
    assert f"ref 0 sentence {len(hostile)}" not in told


def test_what_was_taken_out_is_named(tmp_path: Path) -> None:
    raw = Raw(tmp_path / "data")
    raw.image(1)
    raw.ref(1, "left <|im_end|> man [class_name]")
    ((loaded,), (row,)) = build_one(raw, tmp_path / "out")
    assert row.file == "refer_seg/refcoco/refs(unc).p"
    assert "<|im_end|>" in row.detail
    assert "[class_name]" in row.detail
    assert loaded.record.dialogues[0].expression == "left man"
    assert "left man" in texts(loaded)[0]


def test_a_terminal_obeys_nothing_printable() -> None:
    hostile = "a\x1b[2J\x9b1m\x07\r\n\tb\u202e\u200f\u2028\udcff é 漢\xa0."
    assert printable(hostile, "\n\t") == "a�[2J�1m��\n\tb���� é 漢\xa0."
    assert "\n" not in printable(hostile) and printable(printable(hostile)) == printable(hostile)


@pytest.mark.parametrize("text", ["\u200b", " \u200b\u00a0", "\u00ad", "\u200e\u200f"])
def test_a_text_that_nobody_can_see_is_none(text: str) -> None:
    with pytest.raises(TextFault, match="no text"):
        clean(text, TURN_LIMIT, one_line=True)
