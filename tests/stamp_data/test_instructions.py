"""The questions and answers around an expression: how they are drawn, and that none of them can spoil a dialogue."""

from __future__ import annotations

from collections import Counter
from typing import get_args

import pytest

from stamp_data.instructions import Templates, alternatives, draw, wording
from stamp_schemas import Request, Wording
from stamp_schemas.annotation import Form
from stamp_schemas.record import SEG

WORDINGS = get_args(Wording)
FORMS = get_args(Form)
CASES = [(name, form) for name in WORDINGS for form in FORMS]


def templates(name: str, form: str) -> Templates:
    found = getattr(wording(name), form)
    assert isinstance(found, Templates)
    return found


def request(form: Form, targets: int = 1) -> Request:
    return Request(
        "7", "EXPRESSION", list(range(targets)), "file: record", form, "ANSWER" if form == "explanation" else ""
    )


def filled(template: str) -> str:
    return template.replace("[class_name]", "EXPRESSION").replace("{sent}", "EXPRESSION").replace("{answer}", "ANSWER")


@pytest.mark.parametrize(("name", "form"), CASES)
def test_every_template_asks_for_its_expression_and_every_answer_for_one_mask(name: str, form: Form) -> None:
    for question in templates(name, form).questions:
        assert ("[class_name]" in question) != ("{sent}" in question)
        assert SEG not in question
    for answer in templates(name, form).answers:
        assert answer.count(SEG) == 1
        assert ("{answer}" in answer) == (form == "explanation")


def test_papers_prompt_s1_is_whole() -> None:
    """Six questions and ten answers, of which the printed ninth lacks its token; it has one here, and says so."""
    s1 = wording("paper").phrase
    assert (len(s1.questions), len(s1.answers)) == (6, 10)
    assert "ninth answer" in " ".join(wording("paper").about)


@pytest.mark.parametrize(("name", "form"), CASES)
def test_every_template_is_reached_about_equally_often(name: str, form: Form) -> None:
    draws = 6000
    pairs = [draw(request(form), "key", f"{number}-p0", 0, name) for number in range(draws)]
    for place, choices in enumerate((templates(name, form).questions, templates(name, form).answers)):
        seen = Counter(pair[place] for pair in pairs)
        wanted = Counter(filled(choice) for choice in choices)  # one of the paper's answers is printed twice
        assert set(seen) == set(wanted)
        for text, times in wanted.items():
            expected = draws * times / len(choices)
            assert abs(seen[text] - expected) < 5 * expected**0.5  # five standard deviations, and the draw is fixed


@pytest.mark.parametrize("name", WORDINGS)
def test_question_and_answer_are_drawn_independently(name: str) -> None:
    found = templates(name, "phrase")
    pairs = {draw(request("phrase"), "key", f"{number}-p0", 0, name) for number in range(6000)}
    assert len(pairs) == len(set(found.questions)) * len(set(found.answers))


def test_draw_depends_on_seed_key_and_dialogue_and_on_nothing_else() -> None:
    def several(key: str, seed: int, prefix: str) -> list[tuple[str, str]]:
        return [draw(request("phrase"), key, f"{prefix}{number}", seed, "paper") for number in range(50)]

    first = several("key", 0, "a")
    assert several("key", 0, "a") == first
    assert several("other", 0, "a") != first
    assert several("key", 1, "a") != first
    assert several("key", 0, "b") != first


def test_second_pass_is_another_draw() -> None:
    passes = [[draw(request("phrase"), "k", f"{n}-p{p}", 0, "paper") for n in range(50)] for p in (0, 1)]
    assert passes[0] != passes[1]


@pytest.mark.parametrize(("name", "form"), CASES)
@pytest.mark.parametrize("targets", [0, 1, 2, 5])
def test_answer_holds_one_token_per_target(name: str, form: Form, targets: int) -> None:
    for number in range(40):
        question, answer = draw(request(form, targets), "key", f"{number}", 0, name)
        assert SEG not in question
        assert answer.count(SEG) == targets
        assert "EXPRESSION" in question


def test_alternatives_are_what_the_same_build_could_have_drawn() -> None:
    drawn = "Where is the left dog in this picture? Please respond with segmentation mask."
    assert (
        alternatives(drawn, "questions", "left dog", 1, "paper")[0] == "Please segment only the left dog in the image."
    )
    told = alternatives(
        "Is there a dog? Please respond with segmentation mask.", "questions", "Is there a dog?", 1, "paper"
    )
    assert told[0].startswith("Is there a dog?")
    assert alternatives("Something else", "questions", "left dog", 1, "paper") == []
    for name in WORDINGS:
        for form in FORMS:
            for targets in (0, 1, 3):
                question, answer = draw(request(form, targets), "key", "0-p0", 7, name)
                if form != "explanation":
                    assert question in alternatives(question, "questions", "EXPRESSION", 1, name)
                    assert answer in alternatives(answer, "answers", "EXPRESSION", targets, name)
