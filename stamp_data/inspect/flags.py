"""Stable flag codes: what each means, why it matters and what to do. `checks` finds them; this table needs no import."""

from __future__ import annotations

import difflib
from dataclasses import dataclass
from typing import Literal

from stamp_schemas.errors import UsageFault

Severity = Literal["error", "warning", "info"]
SEVERITIES: tuple[Severity, ...] = ("error", "warning", "info")


@dataclass(frozen=True)
class Flag:
    """One code. heuristic: may be wrong, and says so. at_build: raised by `build` in rejects.jsonl, never by `inspect`."""

    code: str
    title: str
    why: str
    fix: str
    heuristic: bool = False
    at_build: bool = False

    @property
    def severity(self) -> Severity:
        return {"E": SEVERITIES[0], "W": SEVERITIES[1], "I": SEVERITIES[2]}[self.code[4]]


@dataclass(frozen=True)
class Finding:
    """One flag raised on a record. dialogue, target: which one it concerns, -1 if the record as a whole."""

    code: str
    detail: str
    dialogue: int = -1
    target: int = -1


_TABLE = (
    Flag(
        "STP-E001",
        "picture, mask, record or labels cannot be read",
        "A damaged member stops training or is skipped there. Every record that is looked at is parsed and its bytes are "
        "compared with the index; pictures and masks are decoded for a sample only.",
        "`stamp-data verify SET --repair` rebuilds the shard from the raw files.",
    ),
    Flag(
        "STP-E002",
        "size of the mask or of the patch labels is not that of the picture",
        "The mask would be trained on at the wrong place.",
        "Rebuild the set; if the raw annotation was made on another version of the picture, correct it there.",
    ),
    Flag(
        "STP-E003",
        "a target with instances has an empty mask",
        "The model would learn that a thing which is there is not.",
        "Correct the instance's regions in the raw annotation, or make the expression a no-target one.",
    ),
    Flag(
        "STP-E004",
        "a no-target expression points at a mask",
        "The expression says that nothing fits, the mask says otherwise.",
        "Correct the annotation: either give the target its instances or empty the mask.",
    ),
    Flag(
        "STP-E005",
        "text is empty or holds control characters or control tokens",
        "Control tokens act on the model; an empty text asks for nothing.",
        "Rebuild the set with this version: its build cleans texts and notes that in rejects.jsonl.",
    ),
    Flag(
        "STP-E006",
        "a dialogue and its targets do not fit together",
        "Every `<|seg|>` of an answer needs exactly one target of the record.",
        "Rebuild the set; if the shards were edited by hand, correct `dialogues[].targets`.",
    ),
    Flag(
        "STP-W001",
        "the same expression for the same mask twice in one picture",
        "It counts twice in training and in evaluation. Passes of one expression are not meant.",
        "Remove one of the two from the raw annotation, if the repetition is not intended.",
    ),
    Flag(
        "STP-W002",
        "the same expression for different masks in one picture",
        "The expression is ambiguous: IoU of the two masks is below 0.5, and no model can please both.",
        "Make the expressions tell the objects apart, or join the masks to one target.",
    ),
    Flag(
        "STP-W003",
        "the mask vanishes in the model's labels",
        "No label is at least half covered, so a hard decision for each can never show this target.",
        "Build with more --min-tokens/--max-tokens, or leave the target out. `--side 1` reckons with one label to a patch, the "
        "`patch` readout; without it there are 4×4, the `fine` one.",
    ),
    Flag(
        "STP-W004",
        "the model's labels lose more than half of the mask's IoU",
        "A perfect prediction in them would still score below 0.5: a thin or small target.",
        "Build with more --min-tokens/--max-tokens for such targets. `--side 1` reckons with one label to a patch, the `patch` "
        "readout; without it there are 4×4, the `fine` one.",
    ),
    Flag(
        "STP-W005",
        "the mask covers more than 95% of the picture",
        "Often an inverted or a failed mask.",
        "Look at it (`--key KEY`, or the gallery) and correct the annotation if it is wrong.",
    ),
    Flag(
        "STP-W006",
        "the same picture is in two splits",
        "A picture that is trained on in one set and evaluated on in another leaks: scores come out too high.",
        "Leave the picture out of the training mixture (`--where` with its key), or report without this split.",
    ),
    Flag(
        "STP-W007",
        "the picture carries an EXIF rotation",
        "Orientations 2 to 8. Viewers turn such a picture, records hold it as stored. The build turns what labelme and "
        "ReasonSeg files say, which mean the upright picture; COCO files mean the stored one, unless the tool that wrote them "
        "thought otherwise. Looked for in the sample of pictures that is decoded.",
        "Look at it; if the mask is off, turn the picture itself and drop the EXIF tag, then build again.",
    ),
    Flag(
        "STP-W008",
        "a polygon lies partly or wholly outside the picture, or is degenerate",
        "What is outside is lost. Shards hold the mask, no longer the polygons, so only the build can see this.",
        "See the rows `polygon-clipped`, `polygon-out-of-frame` and `degenerate-polygon` of rejects.jsonl.",
        at_build=True,
    ),
    Flag(
        "STP-W009",
        "the dialogue is longer than the packing budget",
        "With --budget N: picture, text and one mask block per `<|seg|>` are more than N tokens, so it would be dropped.",
        "Raise the budget, lower --max-tokens, or split the dialogue.",
    ),
    Flag(
        "STP-W010",
        "left, right, top or bottom contradicts where the mask lies",
        "Among the picture's targets of the same category the named one is at the opposite end.",
        "Look at it; mirrored pictures and swapped annotations look like this.",
        heuristic=True,
    ),
    Flag(
        "STP-I001",
        "the expression is only the category, and the picture has several of it",
        "Which one is meant cannot be known from the text. Only annotated targets of the picture are counted.",
        "Make the expression more specific.",
        heuristic=True,
    ),
    Flag(
        "STP-I002",
        "the mask has specks apart from the rest",
        "A patch that no other patch of the mask touches is covered by less than 5%: often slips of a brush or a tracer.",
        "Remove the specks from the annotation.",
        heuristic=True,
    ),
    Flag(
        "STP-I003",
        "joined or unusual words in the expression",
        "A word of more than 18 letters, or words joined by punctuation or by case (`redShirt`, `left,blue`).",
        "Correct the spelling if it is wrong.",
        heuristic=True,
    ),
    Flag(
        "STP-I004",
        "very long expression",
        "More than 300 characters: more an essay than an expression.",
        "See that it is meant.",
    ),
)

FLAGS: dict[str, Flag] = {flag.code: flag for flag in _TABLE}


def full_code(text: str) -> str:
    """The code meant by `text`: `STP-W003`, `w003`. UsageFault if there is none."""
    code = text.strip().upper()
    code = code if code.startswith("STP-") else f"STP-{code}"
    if code not in FLAGS:
        near = difflib.get_close_matches(code, FLAGS, n=1)
        raise UsageFault(
            f"no flag is called {text!r}", f"did you mean {near[0]}?" if near else f"known: {', '.join(FLAGS)}"
        )
    return code


def explain(code: str) -> str:
    """What a flag means, why it matters and what to do, in a few lines. UsageFault for an unknown code."""
    flag = FLAGS[full_code(code)]
    lines = [f"{flag.code} ({flag.severity}): {flag.title}", "", f"Why: {flag.why}", f"Fix: {flag.fix}"]
    if flag.heuristic:
        lines.append("Note: a heuristic; it can be wrong.")
    if flag.at_build:
        lines.append("Note: raised by `stamp-data build` in rejects.jsonl, never by `inspect`.")
    return "\n".join(lines)
