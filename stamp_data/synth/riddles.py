"""The questions of ReasonSeg: each needs one small inference, from what a thing is good for to how it looks.

The table is the whole truth: a riddle's answer is every thing of its kinds (and, with `which`, the extreme one of all).
What people might argue about is marked as to be ignored.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from stamp_data.synth.phrases import Extreme, Kind, Query, members, select
from stamp_data.synth.scene import Scene


@dataclass(frozen=True)
class Riddle:
    """One row of the table. Its texts leave open how many things are meant: one or several."""

    kinds: tuple[Kind, ...]
    questions: tuple[str, ...]
    phrases: tuple[str, ...]
    answer: str  # "{}" stands for the things' names
    doubtful: tuple[Kind, ...] = ()
    which: Literal["largest", "smallest"] | None = None


def solve(scene: Scene, riddle: Riddle) -> frozenset[int]:
    """The things that answer a riddle: none where it does not fit the scene."""
    if riddle.which is not None:
        return select(scene, Query(Kind(), (Extreme(riddle.which),))) or frozenset()
    return frozenset().union(*(members(scene, kind) for kind in riddle.kinds))


def doubtful(scene: Scene, riddle: Riddle) -> frozenset[int]:
    """The things that count neither for nor against."""
    return frozenset().union(*(members(scene, kind) for kind in riddle.doubtful))


def _shape(*names: str) -> tuple[Kind, ...]:
    return tuple(Kind(shape=name) for name in names)


def _colour_riddle(colour: str, likeness: str, occasion: str) -> Riddle:
    """A riddle about a colour that is named only by something that has it."""
    return Riddle(
        kinds=(Kind(colour=colour),),
        questions=(
            f"What in this picture has the colour of {likeness}?",
            f"{occasion} Where in the picture is that colour?",
            f"If someone wanted to paint {likeness}, what in this picture shows the right colour?",
        ),
        phrases=(f"something with the colour of {likeness}", f"whatever matches {likeness} in colour"),
        answer=f"The colour that is meant is {colour}. In this picture it is the colour of {{}}.",
    )


RIDDLES: tuple[Riddle, ...] = (
    Riddle(
        kinds=_shape("circle", "ring"),
        doubtful=_shape("ellipse"),
        questions=(
            "What in this picture could roll across a table like a wheel?",
            "If the ground were tilted, what would roll away smoothly, without a bump?",
            "A cart has lost a wheel. What in this picture has the right outline to replace it?",
        ),
        phrases=("something that could roll like a wheel", "whatever has no corner and always the same width"),
        answer="To roll smoothly, a thing must be equally wide in every direction. Here that is true of {}.",
    ),
    Riddle(
        kinds=_shape("ring"),
        questions=(
            "What in this picture could be threaded onto a string?",
            "Suppose you want to put a finger through something. What in this picture would let you?",
            "Through what in this picture could one look as through a porthole?",
        ),
        phrases=("something that a finger fits through", "something that can be threaded onto a string"),
        answer="Only something with a hole will do. In this picture that means {}.",
    ),
    Riddle(
        kinds=_shape("star"),
        questions=(
            "What in this picture has the shape that many people put on top of a Christmas tree?",
            "A good hotel is rated with several small signs of one shape. What in this picture looks like such a sign?",
            "What in this picture has the shape that fills a corner of the flag of the United States?",
        ),
        phrases=("the shape that hotels are rated with", "something to put on top of a Christmas tree"),
        answer="The shape that is meant is a star. In this picture it is the shape of {}.",
    ),
    Riddle(
        kinds=_shape("triangle"),
        questions=(
            "In many countries a road sign that warns of danger has three corners. What here has that outline?",
            "What in this picture could be the front of a tent?",
            "What in this picture is bounded by the smallest possible number of straight lines?",
        ),
        phrases=("the outline of a sign that warns of danger", "whatever has exactly three corners"),
        answer="Three corners are asked for, and the outline with three corners belongs to {}.",
    ),
    Riddle(
        kinds=_shape("square"),
        questions=(
            "What in this picture has the outline of a field on a chess board?",
            "What in this picture would look like one face of a die?",
            "A box is as wide as it is high. What in this picture could be its front?",
        ),
        phrases=("the outline of a field on a chess board", "something like one face of a die"),
        answer="What is meant has four equal sides and four right angles. Here they bound {}.",
    ),
    Riddle(
        kinds=_shape("ellipse"),
        questions=(
            "What in this picture has the outline of a rugby ball?",
            "A planet's path is a circle that has been stretched. What in this picture looks like one?",
            "What in this picture looks like a round plate that is seen at an angle?",
        ),
        phrases=("the outline of a rugby ball", "something like a circle that has been stretched"),
        answer="The outline that is meant is an ellipse, a stretched circle. Here it belongs to {}.",
    ),
    Riddle(
        kinds=_shape("cross"),
        questions=(
            "What in this picture looks like the sign between two numbers that are to be added?",
            "A box with plasters and bandages often carries a certain sign. What here has its shape?",
            'Which part of the picture would mean "more" on a volume button?',
        ),
        phrases=("the sign for addition", "the sign on a box of bandages"),
        answer="The sign that is meant has four equal arms. In this picture it is seen in {}.",
    ),
    Riddle(
        kinds=_shape("equals sign"),
        questions=(
            "What in this picture belongs between the two sides of an equation?",
            "What in this picture looks like two rails, side by side?",
            "On a calculator, what is printed on the key that shows the result?",
        ),
        phrases=("what stands between the two sides of an equation", "the sign on the key that shows the result"),
        answer="What is meant consists of two parallel bars. In this picture they make up {}.",
    ),
    _colour_riddle("red", "a ripe tomato", "At a traffic light, one colour tells drivers to stop."),
    _colour_riddle("orange", "a carrot", "One colour is named after a fruit."),
    _colour_riddle("yellow", "a ripe lemon", "Chicks and canaries are known for one colour."),
    _colour_riddle("green", "fresh grass", "At a traffic light, one colour lets drivers go."),
    _colour_riddle("blue", "a cloudless sky", "On maps, lakes and seas are drawn in one colour."),
    _colour_riddle("purple", "an aubergine", "Red and blue paint, mixed, give one colour."),
    _colour_riddle("black", "a piece of coal", "Someone who draws with coal has only one colour."),
    Riddle(
        kinds=(),
        which="largest",
        questions=(
            "What in this picture would need the most paint to be covered?",
            "If all of these were cut from paper, what would use up the most of it?",
            "Behind what in this picture could one hide best?",
        ),
        phrases=("what would need the most paint to be covered", "the best thing to hide behind"),
        answer="The larger a thing is, the more material it takes and the more it hides. The largest one here is {}.",
    ),
    Riddle(
        kinds=(),
        which="smallest",
        questions=(
            "If all of these were cut from metal of the same thickness, what would be the lightest?",
            "What in this picture would be the easiest to carry in a pocket?",
            "What in this picture would be the easiest to overlook?",
        ),
        phrases=("what would be the easiest to carry in a pocket", "what is most easily overlooked"),
        answer="The smaller a thing is, the lighter it is and the easier to miss. The smallest one here is {}.",
    ),
)
