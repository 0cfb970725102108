"""The filter language: what it can say, what it refuses, and that it never runs code."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from stamp_data.inspect.filters import COLUMNS, Filter, Sort, Value
from stamp_schemas import UsageFault

SAMPLES: dict[str, Value] = {"number": 3.0, "text": "the left dog", "list": ("dog", "W003")}
ROW: dict[str, Value] = {name: SAMPLES[column.kind] for name, column in COLUMNS.items()}
ROW |= {"kind": "no_target", "area": 0.25, "split": "val", "tokens": 40}


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("kind == 'no_target' or area < 0.01", True),
        ("kind == 'no_target' and area < 0.01", False),
        ("0.2 < area <= 0.25 < 1", True),
        ("not area > 0.5", True),
        ("'left' in text and 'W003' in flags", True),
        ("'right' not in text", True),
        ("split in ['val', 'test']", True),
        ("split in ('train',)", False),
        ("tokens / 2 - 1 >= 19 and -tokens < 0", True),
        ("len(text) == 12 and len(flags) > 1", True),
        ("lower(text) == 'the left dog'", True),
        ("tokens / 0 > 1 or tokens / 0 <= 1", False),
        ("True and (area != 0)", True),
    ],
)
def test_conditions(text: str, expected: bool) -> None:
    assert Filter.parse(text)(ROW) is expected


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("aera < 0.01", "there is no column 'aera'"),
        ("area", "is a number, not a condition"),
        ("text < 3", "compares a text with a number"),
        ("area and True", "is a number where true or false is needed"),
        ("area + text > 3", "is a text where a number is needed"),
        ("3 in text", "compares a number with a text"),
        ("__import__('os').system('true')", "not part of the language"),
        ("text.__class__ == 'x'", "not part of the language"),
        ("[x for x in flags] == flags", "not part of the language"),
        ("(lambda: True)()", "not part of the language"),
        ("area ** 9999 > 1", "not part of the language"),
        ("'a' * 99 == text", "not part of the language|where a number is needed"),
        ("area is 3", "use =="),
        ("split in [1, 2]", "texts in quotes only"),
        ("len(area) > 1", "takes a text, not a number"),
        ("lower(text, text) == ''", "not part of the language"),
        ("area <", "--where"),
        ("", "--where"),
        ("area < 1j", "not part of the language"),
        ("text == f'{area}'", "not part of the language"),
        ("(" * 500 + "area < 1" + ")" * 500, "--where"),
        ("area < 1 or " * 400 + "area < 2", "characters"),
    ],
)
def test_refusals(text: str, message: str) -> None:
    with pytest.raises(UsageFault) as fault:
        Filter.parse(text)
    assert any(part in str(fault.value) for part in message.split("|"))
    assert fault.value.exit_code == 2


def test_deep_nesting_is_no_crash() -> None:
    assert Filter.parse("not " * 300 + "True")(ROW) is True


def test_misspelt_columns_get_a_suggestion_and_the_list() -> None:
    with pytest.raises(UsageFault) as fault:
        Filter.parse("tokns > 3")
    assert "did you mean 'tokens'?" in fault.value.hint
    assert "image_tokens" in fault.value.hint
    with pytest.raises(UsageFault, match="no column"):
        Sort.parse("-nothing")
    with pytest.raises(UsageFault, match="no order"):
        Sort.parse("flags")
    assert Sort.parse("-area") == Sort("area", True)


@given(st.text(max_size=60))
def test_any_text_parses_or_is_refused_in_one_way(text: str) -> None:
    try:
        condition = Filter.parse(text)
    except UsageFault:
        return
    assert condition(ROW) in (True, False)


WORDS = st.sampled_from(
    ["area", "text", "flags", "<", "in", "==", "'dog'", "3", "and", "or", "not", "(", ")", "+", "len(", "[", "]"]
)


@given(st.lists(WORDS, max_size=12))
def test_any_expression_of_its_words_parses_or_is_refused_in_one_way(words: list[str]) -> None:
    try:
        condition = Filter.parse(" ".join(words))
    except UsageFault:
        return
    condition(ROW)
